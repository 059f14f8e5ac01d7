"""``VLM``: a loaded model that answers questions about pictures; ``Session``: a conversation with it.

Shape legend: B conversations, L tokens, P tiles of all pictures.
"""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import TextIteratorStreamer

from tuwen.chat.messages import Image, Message, Part, Text
from tuwen.checkpoints.folder import ModelFolder
from tuwen.config import TuwenError
from tuwen.data.media import fetch
from tuwen.data.sample import Picture
from tuwen.infer.history import History, parse_list_format
from tuwen.infer.options import GenerationOptions
from tuwen.infer.prompts import Answer, EncodedPrompt, NamedPicture, Prompt
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.models.processing import Encoded, TuwenProcessor

Question = str | Sequence[Mapping[str, Any]]


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
        text: Question,
        images: Sequence[Picture | str] = (),
        *,
        system: str | None = None,
        history: History | Sequence[Message] = (),
        **options: Any,
    ) -> Answer:
        """Answer a question about some pictures.

        Args:
            text: the question; nothing in it is taken for a control token or a picture. Or a list of texts and
                pictures in Qwen-VL's list format, see ``parse_list_format``.
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
        text: Question,
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
        return NamedPicture(self.processor.policy.open(fetch(picture)), name)

    def encode(self, messages: Sequence[Message], pictures: Sequence[NamedPicture]) -> EncodedPrompt:
        """A conversation that waits for an answer, as the model takes it."""
        images, names = [picture.image for picture in pictures], [picture.name for picture in pictures]
        encoded: EncodedPrompt = self.processor.encode(messages, images, names=names, add_generation_prompt=True)
        return encoded

    def _answer(
        self, encoded: Sequence[EncodedPrompt], options: GenerationOptions, streamer: Any = None
    ) -> list[Answer]:
        inputs = self._inputs(encoded)
        length = inputs["input_ids"].shape[1]
        arguments = options.arguments(self.model.generation_config, self.device, length)
        output_BL = self._generated(**inputs, **arguments, streamer=streamer)
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

    @torch.inference_mode()
    def _generated(self, **arguments: Any) -> Tensor:
        """Token ids of prompts and answers, [B, L]."""
        generated: Tensor = self.model.generate(**arguments)
        return generated

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

    def ask(self, text: Question, images: Sequence[Picture | str] = (), **options: Any) -> Answer:
        """Ask the next question and remember the answer; see ``VLM.chat``."""
        chosen = GenerationOptions.of(options)
        turn, opened = self._turn(text, images)
        encoded = self._encode(turn, opened)
        answer = self.vlm._answer([encoded], chosen)[0]
        self._remember(turn, opened, answer.text)
        return replace(answer, pictures=tuple(picture.image for picture in self.pictures))

    def stream(self, text: Question, images: Sequence[Picture | str] = (), **options: Any) -> Iterator[str]:
        """As ``ask``, but gives the answer's text piece by piece; what was given is remembered.

        Raises:
            TuwenError: at once, before the first piece, when a picture or option is wrong.
        """
        chosen = GenerationOptions.of(options)
        turn, opened = self._turn(text, images)
        return self._pieces(turn, opened, self._encode(turn, opened), chosen)

    def _repr_html_(self) -> str:
        from tuwen.infer.notebook import session_html

        return session_html(self)

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

    def _turn(self, text: Question, images: Sequence[Picture | str]) -> tuple[Message, list[NamedPicture]]:
        own, paths = ([Text(text)] if text else [], []) if isinstance(text, str) else parse_list_format(text)
        opened = [self.vlm.open(image) for image in [*images, *paths]]
        parts: list[Part] = [*(Image() for _ in images), *own]
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
