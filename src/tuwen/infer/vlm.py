"""``VLM``: a loaded model that answers questions about pictures; ``Session``: a conversation with it.

Shape legend: B conversations, L tokens, P tiles of all pictures.
"""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TextIteratorStreamer

from tuwen.chat.messages import Image, Message, Part, Text
from tuwen.checkpoints.folder import ModelFolder
from tuwen.checkpoints.opening import load_published, open_model, read_parts
from tuwen.config import TuwenError
from tuwen.data.sample import Picture
from tuwen.infer.history import History
from tuwen.infer.options import GenerationOptions
from tuwen.infer.prompts import Answer, EncodedPrompt, NamedPicture, Prompt
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.models.processing import Encoded, TuwenProcessor


class Chatter(ABC):
    """What answers questions about pictures: a model, and a processor with a ``tokenizer`` and an ``encode``."""

    model: Any
    processor: Any

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return torch.device(self.model.device)

    def chat(
        self,
        text: str,
        images: Sequence[Picture | str] = (),
        *,
        system: str | None = None,
        history: History | Sequence[Message] = (),
        **options: Any,
    ) -> Answer:
        """Answer a question about some pictures.

        Args:
            text: the question; nothing in it is taken for a control token or a picture.
            images: pictures that come before the question: paths, bytes or opened pictures.
            system: instructions that come first.
            history: earlier turns; a ``History`` may have pictures.
            **options: see ``GenerationOptions``.

        Raises:
            TuwenError: when a picture cannot be opened or an option is wrong.
        """
        session, own = self.recall(system, history, images)
        return session.ask(text, own, **options)

    def stream(
        self,
        text: str,
        images: Sequence[Picture | str] = (),
        *,
        system: str | None = None,
        history: History | Sequence[Message] = (),
        **options: Any,
    ) -> Iterator[str]:
        """As ``chat``, but gives the answer's text piece by piece; a character is never cut."""
        session, own = self.recall(system, history, images)
        return session.stream(text, own, **options)

    def recall(
        self, system: str | None, history: History | Sequence[Message], images: Sequence[Picture | str]
    ) -> tuple[Session, Sequence[Picture | str]]:
        """A session that goes on from a history, and the pictures that are left for the question."""
        if not isinstance(history, History):
            history = History(list(history))
        session, given = self.session(system=system), list(images)
        session.messages.extend(history.messages)
        for path in history.images:
            if path is None and not given:
                raise TuwenError("history: a turn has a picture that is given with the question; give --image")
            session.pictures.append(self.open(given.pop(0) if path is None else path))
        return session, given

    def session(self, system: str | None = None) -> Session:
        """A new conversation."""
        return Session(self, system)

    def generate(self, prompts: Sequence[Prompt], *, batch_size: int = 16, **options: Any) -> list[Answer]:
        """Answer many conversations, in batches of similar length; in fp32 the answers equal those given one by one.

        Args:
            prompts: the conversations.
            batch_size: how many are answered at a time.
            **options: see ``GenerationOptions``.

        Returns:
            Answers in the order of ``prompts``.
        """
        chosen = GenerationOptions.of(options)
        encoded = [self._encode(prompt) for prompt in prompts]
        order = sorted(range(len(encoded)), key=lambda place: -len(encoded[place].rendered.input_ids))
        answers: dict[int, Answer] = {}
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            for place, answer in zip(places, self._answer([encoded[p] for p in places], chosen), strict=True):
                answers[place] = answer
        return [answers[place] for place in range(len(encoded))]

    def _encode(self, prompt: Prompt) -> EncodedPrompt:
        return self.encode(prompt.messages, [self.open(image) for image in prompt.images])

    def open(self, picture: Picture | str) -> NamedPicture:
        """Open a picture under guard, as the model's image policy sees it; its name is its path.

        Raises:
            TuwenError: when it cannot be opened.
        """
        name = str(picture) if isinstance(picture, str | Path) else ""
        return NamedPicture(self.processor.policy.open(picture), name)

    def encode(self, messages: Sequence[Message], pictures: Sequence[NamedPicture]) -> EncodedPrompt:
        """A conversation that waits for an answer, as the model takes it."""
        images, names = [picture.image for picture in pictures], [picture.name for picture in pictures]
        encoded: EncodedPrompt = self.processor.encode(messages, images, names=names, add_generation_prompt=True)
        return encoded

    @torch.inference_mode()
    def _answer(
        self, encoded: Sequence[EncodedPrompt], options: GenerationOptions, streamer: Any = None
    ) -> list[Answer]:
        inputs = self._inputs(encoded)
        length = inputs["input_ids"].shape[1]
        arguments = options.arguments(self.model.generation_config, self.device, length)
        output_BL = self.model.generate(**inputs, **arguments, streamer=streamer)
        ends = self.model.generation_config.eos_token_id
        stop = set(ends if isinstance(ends, list) else [ends])
        answers = []
        for one, row in zip(encoded, output_BL[:, length:].tolist(), strict=True):
            end = next((place for place, token in enumerate(row) if token in stop), None)
            tokens = row if end is None else row[: end + 1]
            answers.append(
                Answer(
                    text=self.processor.tokenizer.decode(tokens, skip_special_tokens=True).strip(),
                    token_ids=tokens,
                    prompt_ids=list(one.rendered.input_ids),
                    finish_reason="length" if end is None else "stop",
                )
            )
        return answers

    @abstractmethod
    def _inputs(self, encoded: Sequence[Any]) -> dict[str, Any]:
        """Conversations of ``processor.encode``, padded on the left to one length, for ``model.generate``."""


class VLM(Chatter):
    """A model folder that is ready to answer.

    Args:
        folder: model and processor.
    """

    model: TuwenForConditionalGeneration
    processor: TuwenProcessor

    def __init__(self, folder: ModelFolder) -> None:
        self.model = folder.model
        self.processor = folder.processor

    def _inputs(self, encoded: Sequence[Encoded]) -> dict[str, Any]:
        """Conversations padded on the left to one length, and their pictures."""
        ids = [one.rendered.input_ids for one in encoded]
        width = max(len(row) for row in ids)
        pad = self.processor.tokenizer.pad_token_id or 0
        inputs: dict[str, Any] = {
            "input_ids": torch.tensor([[pad] * (width - len(row)) + list(row) for row in ids], device=self.device),
            "attention_mask": torch.tensor(
                [[0] * (width - len(row)) + [1] * len(row) for row in ids], device=self.device
            ),
        }
        pixels = np.concatenate([one.pixel_values for one in encoded])
        if len(pixels):
            inputs["pixel_values"] = torch.from_numpy(pixels).to(self.device)
        return inputs


@dataclass(slots=True)
class Session:
    """A conversation of several turns, with pictures in any of them.

    Attributes:
        vlm: who answers.
        system: instructions that come first.
        messages: the turns so far.
        pictures: their pictures, in order of appearance.
    """

    vlm: Chatter
    system: str | None = None
    messages: list[Message] = field(default_factory=list)
    pictures: list[NamedPicture] = field(default_factory=list)

    def ask(self, text: str, images: Sequence[Picture | str] = (), **options: Any) -> Answer:
        """Ask the next question and remember the answer; see ``VLM.chat``."""
        chosen = GenerationOptions.of(options)
        turn, opened = self._turn(text, images)
        encoded = self._encode(turn, opened)
        answer = self.vlm._answer([encoded], chosen)[0]
        self._remember(turn, opened, answer.text)
        return answer

    def stream(self, text: str, images: Sequence[Picture | str] = (), **options: Any) -> Iterator[str]:
        """As ``ask``, but gives the answer's text piece by piece; what was given is remembered.

        Raises:
            TuwenError: at once, before the first piece, when a picture or option is wrong.
        """
        chosen = GenerationOptions.of(options)
        turn, opened = self._turn(text, images)
        return self._pieces(turn, opened, self._encode(turn, opened), chosen)

    def reset(self) -> None:
        """Forget all turns."""
        self.messages.clear()
        self.pictures.clear()

    def save(self, path: Path) -> None:
        """Write the conversation as JSON: roles and texts, ``<image>`` for a picture.

        Raises:
            TuwenError: when the file cannot be written.
        """
        turns = [
            {
                "role": message.role,
                "content": [
                    {"type": "text", "text": part.text} if isinstance(part, Text) else {"type": "image"}
                    for part in message.parts
                ],
            }
            for message in self._all_messages()
        ]
        try:
            path.write_text(json.dumps(turns, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise TuwenError(f"{path}: cannot be written ({error.strerror})") from None

    def _pieces(
        self, turn: Message, opened: list[NamedPicture], encoded: EncodedPrompt, chosen: GenerationOptions
    ) -> Iterator[str]:
        tokenizer = self.vlm.processor.tokenizer
        streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
        failure: list[BaseException] = []

        def work() -> None:
            try:
                self.vlm._answer([encoded], chosen, streamer)
            except BaseException as error:
                failure.append(error)
                streamer.end()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        pieces: list[str] = []
        for piece in streamer:
            if piece:
                pieces.append(piece)
                yield piece
        thread.join()
        if failure:
            raise failure[0]
        self._remember(turn, opened, "".join(pieces).strip())

    def _turn(self, text: str, images: Sequence[Picture | str]) -> tuple[Message, list[NamedPicture]]:
        opened = [self.vlm.open(image) for image in images]
        parts: list[Part] = [*(Image() for _ in opened), *([Text(text)] if text else [])]
        if not parts:
            raise TuwenError("the question is empty: give a text or a picture")
        return Message("user", tuple(parts)), opened

    def _all_messages(self) -> list[Message]:
        first = [Message.of("system", self.system)] if self.system is not None else []
        return [*first, *self.messages]

    def _encode(self, turn: Message, opened: Sequence[NamedPicture]) -> EncodedPrompt:
        return self.vlm.encode([*self._all_messages(), turn], [*self.pictures, *opened])

    def _remember(self, turn: Message, opened: Sequence[NamedPicture], answer: str) -> None:
        self.messages += [turn, Message.of("assistant", answer)]
        self.pictures += opened


def parse_dtype(name: str) -> torch.dtype:
    """A type of weights by its name.

    Raises:
        TuwenError: for a name that is none of float32, bfloat16 and float16.
    """
    types = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in types:
        raise TuwenError(f"dtype {name!r}: choose one of {', '.join(types)}")
    return types[name]


def parse_device(name: str | None) -> torch.device:
    """A device by its name; a GPU where there is one for None.

    Raises:
        TuwenError: for a name that is no device, and a GPU where there is none.
    """
    chosen = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(chosen)
    except RuntimeError:
        raise TuwenError(f"device {chosen!r}: expected cpu, cuda or cuda:NUMBER") from None
    if place.type == "cuda" and not torch.cuda.is_available():
        raise TuwenError(f"device {chosen!r}: no GPU is to be had here; choose cpu")
    return place


def load(
    path: str | Path,
    *,
    adapter: str | Path | None = None,
    language: str | Path | None = None,
    vision: str | Path | None = None,
    device: str | None = None,
    dtype: str | None = None,
) -> VLM:
    """Open a model, ready to chat: a Tuwen folder, a published one, or a base with an adapter.

    Args:
        path: the folder; with ``language`` and ``vision``, that of a delta on them.
        adapter: a LoRA adapter, or what `tuwen delta` wrote, that was trained on the model in ``path``.
        language: folder of the language model that a delta (VisualCLA) was trained on.
        vision: folder of its vision encoder.
        device: e.g. ``cpu`` or ``cuda:0``; a GPU where there is one unless said.
        dtype: ``float32``, ``bfloat16`` or ``float16``; unless said, as stored on a GPU, and ``float32`` on a CPU,
            most of which compute nothing faster than that.

    Raises:
        TuwenError: when the folder is not a model, or device or dtype is not to be had.
    """
    place = parse_device(device)
    chosen = torch.float32 if place.type == "cpu" else None
    if dtype is not None:
        chosen = parse_dtype(dtype)
    if (language is None) != (vision is None) or (adapter is not None and language is not None):
        raise TuwenError("give language and vision together, for a delta in path, and no adapter beside them")
    if language is not None and vision is not None:
        return VLM(load_published(read_parts(Path(path), Path(language), Path(vision)), place, chosen))
    return VLM(open_model(Path(path), place, chosen, adapter=Path(adapter) if adapter is not None else None))
