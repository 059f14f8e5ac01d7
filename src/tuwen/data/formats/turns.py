"""Turns with ``<image>`` in their text and a list of pictures beside them, as LLaMA-Factory and ms-swift keep them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuwen.chat.messages import Message, Role
from tuwen.config import TuwenError
from tuwen.data.containers.base import Record
from tuwen.data.formats.base import Reading, refusal
from tuwen.data.formats.placeholders import PLACE, join_places, split_places
from tuwen.data.sample import Picture, Sample

WORSE = "worse answers are read in the formats tuwen, swift, sharegpt and preference, each in its own form"
NOT_LEARNT = "it is not to be learnt, which no sample can say here; leave out the turns up to it"
# What changes the meaning of a conversation and is not known here, and what it is.
_UNKNOWN = {
    "videos": "only pictures are read",
    "audios": "only pictures are read",
    "tools": "conversations with tools are not read",
    "rejected_response": WORSE,
    "rejected_messages": WORSE,
    "rejected_images": WORSE,
    "rejected": WORSE,
    "kto_tag": "judged answers are not read",
}


@dataclass(frozen=True, slots=True)
class TurnKeys:
    """How a turn is written.

    Attributes:
        role: key of who speaks.
        text: key of what is said.
        roles: its names of roles → ours; the first for each of ours is written.
    """

    role: str
    text: str
    roles: Mapping[str, Role]

    def name(self, role: Role) -> str:
        """What a role is called."""
        return next(name for name, ours in self.roles.items() if ours == role)

    def knows(self, turns: Any) -> bool:
        """Whether these are turns of roles that are known, or of tools, that say text."""
        return isinstance(turns, list) and all(
            isinstance(turn, dict) and isinstance(turn.get(self.text), str) and isinstance(turn.get(self.role), str)
            for turn in turns
        )


def read_turns(turns: Any, keys: TurnKeys, where: str) -> list[Message]:
    """Messages from turns.

    Raises:
        TuwenError: naming the turn and the role that is not known.
    """
    if not isinstance(turns, list):
        raise TuwenError(f"{where}: expected a list of turns, found {type(turns).__name__}")
    messages = []
    for number, turn in enumerate(turns, start=1):
        here = f"{where}: turn {number}"
        name = turn.get(keys.role) if isinstance(turn, dict) else None
        if not isinstance(name, str) or not isinstance(turn.get(keys.text), str):
            raise TuwenError(f"{here}: expected {keys.role} and {keys.text} (texts), found {turn!r:.80}")
        if name not in keys.roles:
            raise TuwenError(f"{here}: {keys.role} {name!r:.40} is not known; known are {', '.join(keys.roles)}")
        if turn.get("loss") is False or turn.get("weight") == 0:
            raise TuwenError(f"{here}: {NOT_LEARNT}")
        messages.append(read_turn(keys.roles[name], turn[keys.text]))
    return messages


def read_turn(role: Role, text: str) -> Message:
    """A message from a text with places for pictures."""
    return Message(role, tuple(split_places(text, breaks=False)))


def write_turns(messages: Sequence[Message], keys: TurnKeys, sample: Sample) -> list[Record]:
    """Turns from which ``read_turns`` gives the messages again.

    Raises:
        TuwenError: naming the sample, when a text or label cannot be kept.
    """
    return [
        {keys.role: keys.name(message.role), keys.text: join_places(message.parts, sample, breaks=False)}
        for message in messages
    ]


def refuse_unknown(record: Record, where: str, *, but: str = "") -> None:
    """Refuse a record with keys that change what the conversation means.

    Args:
        record: of a format.
        where: to name in a message.
        but: one of them that the format knows.

    Raises:
        TuwenError: naming the key.
    """
    for key, reason in _UNKNOWN.items():
        if key != but and record.get(key) not in (None, "", "[]", [], {}):
            raise TuwenError(f"{where}: {key}: {reason}")
    if isinstance(record.get("label"), bool):
        raise TuwenError(f"{where}: label: judged answers are not read")


def packs_answers(record: Record) -> bool:
    """Whether a record has a better and a worse answer in JSON under ``text``, as RLHF-V does."""
    packed = record.get("text")
    return isinstance(packed, str) and packed[:1] == "{" and '"chosen"' in packed and '"rejected"' in packed


def unpacked_turns(value: Any, key: str) -> Any:
    """A turn or turns that a table keeps as JSON text; anything else, a text in brackets too, as it is.

    Args:
        value: as a record has it.
        key: that every turn has.
    """
    if not isinstance(value, str) or value[:1] not in ("[", "{"):
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return value
    turns = found if isinstance(found, list) else [found]
    return found if turns and all(isinstance(turn, dict) and key in turn for turn in turns) else value


def read_pictures(record: Record, reading: Reading, where: str) -> list[Picture]:
    """The pictures under ``images``, one or a list of them."""
    named = record.get("images")
    values = named if isinstance(named, list) else [] if named in (None, "") else [named]
    return [reading.image(value, where) for value in values]


def split_system(sample: Sample) -> tuple[str | None, Sequence[Message]]:
    """What the system says first, where that is a text for a key of its own, and the other messages.

    Raises:
        TuwenError: when the text holds ``<image>``.
    """
    first = sample.messages[0] if sample.messages else None
    if first is None or first.role != "system" or len(first.parts) != 1 or not first.text:
        return None, sample.messages
    if PLACE in first.text:
        raise refusal(sample, f"its text holds {PLACE}, which would become the place of a picture")
    return first.text, sample.messages[1:]
