"""A conversation of the page: its turns, who answers them, and answers as they grow.

Nothing here knows of the page's library, and nothing is written to disk: pictures are bytes in memory, forgotten with
the conversation.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from tuwen.chat.messages import Image, Message, Part, Text
from tuwen.config import TuwenError
from tuwen.infer.engine.interface import Engine, Finish, Request, Sampling, Ticket
from tuwen.infer.prompts import EncodedPrompt, NamedPicture
from tuwen.infer.vlm import Chatter
from tuwen.vision.pictures import PictureLimits, picture_size

MOST_PICTURES = 32
MOST_BYTES = 96 * 2**20
MOST_CHARACTERS = 100_000
LIMITS = PictureLimits(max_bytes=32 * 2**20, max_pixels=40_000_000)
# Seconds between two looks at growing answers: more often than eyes follow costs the browser more than it shows.
TICK = 0.05
SEEDS = 2**31


@dataclass(frozen=True, slots=True)
class Speaker:
    """A model that answers.

    Attributes:
        name: that the page shows.
        chatter: the model.
        engine: that computes with it.
    """

    name: str
    chatter: Chatter
    engine: Engine


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture of the conversation.

    Attributes:
        name: by which the page knows it.
        data: of its file; it is decoded anew for each use, since pixels take many times as much memory.
    """

    name: str
    data: bytes


@dataclass(slots=True)
class Reply:
    """An answer as it grows.

    Attributes:
        text: so far.
        pieces: text and number of tokens of each step.
        token_ids: so far.
        finish: how it ended; None while it has not.
        error: in one line; empty for none.
        seconds: from asking to the last piece.
        first_seconds: to the first piece.
    """

    text: str = ""
    pieces: list[tuple[str, int]] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    finish: Finish | None = None
    error: str = ""
    seconds: float = 0.0
    first_seconds: float | None = None

    @property
    def done(self) -> bool:
        """Whether no more will come."""
        return self.finish is not None or bool(self.error)


@dataclass(slots=True)
class Turn:
    """A question and its answers, one a speaker.

    Attributes:
        text: the question's.
        shots: its pictures.
        sampling: that was asked for; its seed is the one that was used.
        system: instructions that came first.
        replies: in the order of the speakers.
        target: name of the picture that the question's boxes were drawn on; empty for none.
    """

    text: str
    shots: list[Shot]
    sampling: Sampling
    system: str = ""
    target: str = ""
    replies: list[Reply] = field(default_factory=list)


class Conversation:
    """What one visitor has said and been told.

    Args:
        speakers: one model, or two that answer the same questions.
    """

    def __init__(self, speakers: Sequence[Speaker]) -> None:
        self.speakers = tuple(speakers)
        self.turns: list[Turn] = []
        self.busy = False
        self._tickets: list[Ticket] = []
        self._stopping = False
        # What the engine keeps to save work is found again by this visitor alone.
        self._salt = secrets.token_bytes(16)

    async def ask(
        self, text: str, pictures: Mapping[str, bytes], sampling: Sampling, *, system: str = "", target: str = ""
    ) -> AsyncGenerator[None]:
        """Ask the next question; yields whenever there is something new to show.

        Args:
            text: the question; nothing in it is taken for a control token or a picture.
            pictures: files by the names that the page gave them.
            sampling: how tokens are chosen; a seed is drawn where none is given, the same for all speakers.
            system: instructions that come first.
            target: name of the picture that the question's boxes were drawn on.

        Raises:
            TuwenError: before anything is changed, when the question is empty or too long, or a picture cannot be
                opened.
        """
        self._check(text, pictures)
        self.busy = True
        try:
            shots = [Shot(name, data) for name, data in pictures.items()]
            await asyncio.to_thread(self._try, shots)
        except BaseException:
            self.busy = False
            raise
        turn = Turn(text, shots, _seeded(sampling), system, target)
        self.turns.append(turn)
        async with aclosing(self._answer(turn)) as answering:
            async for _ in answering:
                yield

    async def again(self, sampling: Sampling, system: str = "") -> AsyncGenerator[None]:
        """Answer the last question once more.

        Raises:
            TuwenError: when there is none, or it is being answered.
        """
        self._check_free()
        if not self.turns:
            raise TuwenError("there is no question yet")
        turn = self.turns[-1]
        turn.sampling, turn.system = _seeded(sampling), system
        async with aclosing(self._answer(turn)) as answering:
            async for _ in answering:
                yield

    def stop(self) -> None:
        """Give up all that is being answered; what was said stays."""
        self._stopping = True
        for ticket in self._tickets:
            ticket.cancel()

    def clear(self) -> None:
        """Forget everything."""
        self.stop()
        self.turns.clear()

    def prompt(self, place: int, speaker: int) -> EncodedPrompt:
        """What a speaker was given at a turn.

        Args:
            place: of the turn, from 0.
            speaker: number of the speaker.
        """
        return _prompt(self.turns[: place + 1], speaker, self.speakers[speaker].chatter)

    def shots(self, place: int) -> list[Shot]:
        """All pictures up to a turn."""
        return [shot for turn in self.turns[: place + 1] for shot in turn.shots]

    def opened(self, place: int, speaker: int) -> list[NamedPicture]:
        """The same, as a speaker sees them."""
        return [self.speakers[speaker].chatter.open(shot.data) for shot in self.shots(place)]

    @property
    def picture_bytes(self) -> int:
        """Of all pictures."""
        return sum(len(shot.data) for turn in self.turns for shot in turn.shots)

    def figure(self, place: int) -> Shot | None:
        """The picture that a turn's boxes belong to: what the question's were drawn on, or else the last one."""
        shots = self.shots(place)
        return next((shot for shot in shots if shot.name == self.turns[place].target), shots[-1] if shots else None)

    def reply(self, place: Any, speaker: Any) -> Reply:
        """An answer that has ended.

        Raises:
            TuwenError: when there is none.
        """
        known = isinstance(place, int) and 0 <= place < len(self.turns)
        if not known or not isinstance(speaker, int) or not 0 <= speaker < len(self.speakers):
            raise TuwenError("there is no such answer")
        reply = self.turns[place].replies[speaker]
        if not reply.done:
            raise TuwenError("the answer has not ended yet")
        return reply

    def _check(self, text: str, pictures: Mapping[str, bytes]) -> None:
        self._check_free()
        if not text and not pictures:
            raise TuwenError("the question is empty: give a text or a picture")
        if len(text) > MOST_CHARACTERS:
            raise TuwenError(f"the question has {len(text):,} characters, {MOST_CHARACTERS:,} are possible")
        count = len(pictures) + sum(len(turn.shots) for turn in self.turns)
        if count > MOST_PICTURES:
            raise TuwenError(f"the conversation would have {count} pictures, {MOST_PICTURES} are possible")
        size = self.picture_bytes + sum(len(data) for data in pictures.values())
        if size > MOST_BYTES:
            raise TuwenError(f"the conversation's pictures would have {size:,} bytes, {MOST_BYTES:,} are possible")

    def _check_free(self) -> None:
        if self.busy:
            raise TuwenError("the last question is still being answered")

    def _try(self, shots: Sequence[Shot]) -> None:
        for shot in shots:
            picture_size(shot.data, LIMITS)
            for speaker in self.speakers:
                speaker.chatter.open(shot.data)

    async def _answer(self, turn: Turn) -> AsyncGenerator[None]:
        turn.replies = [Reply() for _ in self.speakers]
        self.busy, self._stopping = True, False
        changed = asyncio.Event()
        # The conversation may be cleared meanwhile.
        turns = list(self.turns)
        tasks = [asyncio.create_task(self._follow(turns, number, changed)) for number in range(len(self.speakers))]
        try:
            yield
            while not all(task.done() for task in tasks):
                await changed.wait()
                changed.clear()
                yield
                await asyncio.sleep(TICK)
        finally:
            # Also when the visitor has gone.
            self.stop()
            await asyncio.gather(*tasks)
            self._tickets.clear()
            self.busy = False
        yield

    async def _follow(self, turns: Sequence[Turn], number: int, changed: asyncio.Event) -> None:
        """Let one speaker answer the last of some turns."""
        reply, speaker, start = turns[-1].replies[number], self.speakers[number], time.monotonic()
        try:
            prompt = await asyncio.to_thread(_prompt, turns, number, speaker.chatter)
            request = Request(prompt=prompt, sampling=turns[-1].sampling, salt=self._salt, name="question")
            ticket = speaker.engine.submit(request)
            self._tickets.append(ticket)
            if self._stopping:
                ticket.cancel()
            async for piece in ticket:
                reply.seconds = time.monotonic() - start
                if reply.first_seconds is None:
                    reply.first_seconds = reply.seconds
                reply.text += piece.text
                reply.pieces.append((piece.text, len(piece.token_ids)))
                reply.token_ids += piece.token_ids
                changed.set()
            reply.finish = ticket.finish
            if reply.finish is not None and reply.finish.reason == "error":
                reply.error = "the model failed; see the terminal"
        except TuwenError as error:
            reply.error = str(error)
        changed.set()


def _prompt(turns: Sequence[Turn], speaker: int, chatter: Chatter) -> EncodedPrompt:
    """All turns, the last of which waits for the speaker's answer."""
    messages = [Message.of("system", turns[-1].system)] if turns[-1].system else []
    for turn in turns:
        parts: list[Part] = [Image() for _ in turn.shots]
        messages.append(Message("user", (*parts, Text(turn.text)) if turn.text else tuple(parts)))
        if turn is not turns[-1]:
            messages.append(Message.of("assistant", turn.replies[speaker].text))
    return chatter.encode(messages, [chatter.open(shot.data) for turn in turns for shot in turn.shots])


def _seeded(sampling: Sampling) -> Sampling:
    return sampling if sampling.seed is not None else sampling.model_copy(update={"seed": secrets.randbelow(SEEDS)})
