"""``VLM``: a loaded model that answers questions about pictures; ``Session``: a conversation with it.

Shape legend: B conversations, L tokens, P tiles of all pictures.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from transformers import TextIteratorStreamer

from tuwen.chat.grounding import Grounding, parse_boxes
from tuwen.chat.messages import Image, Message, Part, Text
from tuwen.checkpoints.folder import ModelFolder, load_model
from tuwen.config import TuwenError
from tuwen.data.sample import Picture
from tuwen.infer.options import GenerationOptions
from tuwen.models.processing import Encoded
from tuwen.vision import open_picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the model said.

    Attributes:
        text: without control tokens.
        token_ids: as generated, the end-of-turn token included where it came.
        prompt_ids: as the model saw them, pictures expanded.
        finish_reason: ``stop`` or ``length``.
    """

    text: str
    token_ids: list[int]
    prompt_ids: list[int]
    finish_reason: str

    @property
    def boxes(self) -> list[Grounding]:
        """Boxes in the text, as fractions of the picture's width and height."""
        return parse_boxes(self.text)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation that waits for an answer, and its pictures in order of appearance."""

    messages: tuple[Message, ...]
    images: tuple[Picture, ...] = ()


class VLM:
    """A model folder that is ready to answer.

    Args:
        folder: model and processor.
    """

    def __init__(self, folder: ModelFolder) -> None:
        self.model = folder.model
        self.processor = folder.processor

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
        history: Sequence[Message] = (),
        **options: Any,
    ) -> Answer:
        """Answer a question about some pictures.

        Args:
            text: the question; nothing in it is taken for a control token or a picture.
            images: pictures that come before the question: paths, bytes or opened pictures.
            system: instructions that come first.
            history: earlier turns without pictures; use ``session`` for conversations with them.
            **options: see ``GenerationOptions``.

        Raises:
            TuwenError: when a picture cannot be opened or an option is wrong.
        """
        session = self.session(system=system)
        session.messages.extend(history)
        return session.ask(text, images, **options)

    def stream(
        self, text: str, images: Sequence[Picture | str] = (), *, system: str | None = None, **options: Any
    ) -> Iterator[str]:
        """As ``chat``, but gives the answer's text piece by piece; a character is never cut."""
        return self.session(system=system).stream(text, images, **options)

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

    def _encode(self, prompt: Prompt) -> Encoded:
        opened: list[PIL.Image.Image] = [open_picture(image) for image in prompt.images]
        return self.processor.encode(prompt.messages, opened, add_generation_prompt=True)

    @torch.inference_mode()
    def _answer(self, encoded: Sequence[Encoded], options: GenerationOptions, streamer: Any = None) -> list[Answer]:
        inputs = self._inputs(encoded)
        arguments = options.arguments(self.model.generation_config, self.device)
        length = inputs["input_ids"].shape[1]
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
        images: their pictures, in order of appearance.
    """

    vlm: VLM
    system: str | None = None
    messages: list[Message] = field(default_factory=list)
    images: list[PIL.Image.Image] = field(default_factory=list)

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
        self.images.clear()

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
        self, turn: Message, opened: list[PIL.Image.Image], encoded: Encoded, chosen: GenerationOptions
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

    def _turn(self, text: str, images: Sequence[Picture | str]) -> tuple[Message, list[PIL.Image.Image]]:
        opened = [open_picture(image) for image in images]
        parts: list[Part] = [*(Image() for _ in opened), *([Text(text)] if text else [])]
        if not parts:
            raise TuwenError("the question is empty: give a text or a picture")
        return Message("user", tuple(parts)), opened

    def _all_messages(self) -> list[Message]:
        first = [Message.of("system", self.system)] if self.system is not None else []
        return [*first, *self.messages]

    def _encode(self, turn: Message, opened: Sequence[PIL.Image.Image]) -> Encoded:
        messages = [*self._all_messages(), turn]
        return self.vlm.processor.encode(messages, [*self.images, *opened], add_generation_prompt=True)

    def _remember(self, turn: Message, opened: Sequence[PIL.Image.Image], answer: str) -> None:
        self.messages += [turn, Message.of("assistant", answer)]
        self.images += opened


def load(path: str | Path, *, device: str | None = None, dtype: str | None = None) -> VLM:
    """Open a model folder, ready to chat.

    Args:
        path: the folder.
        device: e.g. ``cpu`` or ``cuda:0``; a GPU where there is one unless said.
        dtype: ``float32``, ``bfloat16`` or ``float16``; as stored unless said.

    Raises:
        TuwenError: when the folder is not a model, or device or dtype is not to be had.
    """
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    types = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype is not None and dtype not in types:
        raise TuwenError(f"dtype {dtype!r}: choose one of {', '.join(types)}")
    try:
        place = torch.device(chosen)
    except RuntimeError:
        raise TuwenError(f"device {chosen!r}: expected cpu, cuda or cuda:NUMBER") from None
    if place.type == "cuda" and not torch.cuda.is_available():
        raise TuwenError(f"device {chosen!r}: no GPU is to be had here; choose cpu")
    return VLM(load_model(Path(path), place, types[dtype] if dtype else None))
