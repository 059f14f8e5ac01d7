"""What the formats of published corpora share: options, pictures beside the data, boxes in pixels, questions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator

from tuwen.chat.grounding import Box
from tuwen.chat.messages import Image, Message, Text
from tuwen.config import TuwenError
from tuwen.data.containers.base import Record
from tuwen.data.formats.base import EXTRA, Reading, extra, refusal
from tuwen.data.media import fetch
from tuwen.data.sample import Language, Picture, Region, Sample, Stored, language_of
from tuwen.vision.pictures import picture_size

# Corpora round their boxes; what stands out of the picture by no more than this is cut off.
OVERHANG = 1.0
MOST_PIXELS = 10**6
ALL = "all"

Wording = Mapping[Language, str]
REGION: Wording = {"zh": "描述方框{box}中的东西。", "en": "Describe the region {box}."}
GROUNDING: Wording = {"zh": "框出:{phrase}", "en": "Give the box of: {phrase}"}

Name = TypeVar("Name")
# One name stands for a list of one, as on a command line.
Names = Annotated[tuple[Name, ...], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]


def holding(*slots: str) -> AfterValidator:
    """Of an option that is a wording: that it has a place for each of these, such as ``{box}``."""

    def check(value: str | None) -> str | None:
        if value is not None and (missing := [slot for slot in slots if slot not in value]):
            raise ValueError(f"must hold {' and '.join(missing)}, found {value!r}")
        return value

    return AfterValidator(check)


def worded(chosen: str | None, wording: Wording, about: str) -> str:
    """The question: the chosen one, else the wording in the language of what is asked about."""
    return wording[language_of([Message.of("user", about)])] if chosen is None else chosen


def find_picture(names: Sequence[Any], reading: Reading, where: str) -> Picture:
    """The first of these names under which there is a picture.

    Args:
        names: as in the data, most often paths. In an archive or a store the first is taken, and looked for when it
            is opened.
        reading: says where pictures are.
        where: to name in a message.

    Raises:
        TuwenError: when there is none.
    """
    for name in names:
        picture = reading.image(name, where)
        # Unlike Path.is_file this takes any name for a question, however long or broken.
        if not isinstance(picture, Path) or os.path.isfile(picture):
            return picture
    others = f" (nor {', '.join(f'{name!r:.60}' for name in names[1:4])})" if len(names) > 1 else ""
    raise TuwenError(
        f"{where}: no picture {names[0]!r:.120}{others} in {reading.pictures.place}; say where with --images"
    )


def size_of(width: Any, height: Any, picture: Picture, where: str) -> tuple[int, int]:
    """Width and height in pixels: those that the data gives, else those of the picture's header.

    Raises:
        TuwenError: when they are no sizes, or the picture cannot be opened.
    """
    if width is None and height is None:
        shown = f"{where}: {picture}" if isinstance(picture, Path | Stored) else where
        return picture_size(fetch(picture), name=shown)
    if not all(isinstance(side, int) and 0 < side < MOST_PIXELS for side in (width, height)):
        raise TuwenError(f"{where}: width and height: expected pixels above 0, found {width!r:.20} and {height!r:.20}")
    return width, height


def pixel_box(sides: Sequence[Any], size: tuple[int, int], where: str, overhang: float = OVERHANG) -> Box:
    """A box in pixels as fractions of the picture's sides.

    Args:
        sides: left, top, right, bottom in pixels.
        size: width and height of the picture in pixels.
        where: to name in a message.
        overhang: pixels by which it may stand out of the picture; so much is cut off.

    Raises:
        TuwenError: for a box that is none, is empty, or stands out further.
    """
    if len(sides) != 4 or not all(_is_side(side) for side in sides):
        raise TuwenError(f"{where}: box {list(sides)!r:.80}: expected four numbers of pixels")
    left, top, right, bottom = sides
    width, height = size
    shown = f"box [{', '.join(f'{side:g}' for side in sides)}]"
    outside = max(-left, -top, right - width, bottom - height)
    if outside > overhang:
        raise TuwenError(f"{where}: {shown} stands {outside:g} pixels out of the picture of {width}x{height}")
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if not (left < right and top < bottom):
        raise TuwenError(f"{where}: {shown} is empty; expected left < right and top < bottom")
    return left / width, top / height, right / width, bottom / height


def corner_box(box: Any, where: str) -> tuple[Any, Any, Any, Any]:
    """Left, top, right, bottom of COCO's left, top, width, height.

    Raises:
        TuwenError: when it is none.
    """
    if not isinstance(box, list | tuple) or len(box) != 4 or not all(_is_side(side) for side in box):
        raise TuwenError(f"{where}: box {box!r:.80}: expected [left, top, width, height] in pixels")
    left, top, width, height = box
    return left, top, left + width, top + height


def _is_side(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < MOST_PIXELS


def text_of(record: Record, key: str, where: str) -> str:
    """The text under a key, without blanks around it.

    Raises:
        TuwenError: when there is none, or it is empty.
    """
    value = record.get(key)
    if not isinstance(value, str) or not value.strip():
        raise TuwenError(f"{where}: {key}: expected a text, found {value!r:.60}")
    return value.strip()


def asked(
    record: Record, where: str, reading: Reading, turns: Sequence[tuple[str, str]], picture: Picture, **own: Any
) -> Sample:
    """A sample of questions put to one picture, which stands before the first.

    Args:
        record: our own keys in it go before what is said here, its ``id`` excepted.
        where: to name in a message.
        reading: settings; a task that is chosen there goes before the corpus' own.
        turns: questions and answers.
        picture: what is asked about.
        **own: ``id``, ``task``, ``source`` and ``regions`` as the corpus gives them.
    """
    regions: tuple[Region, ...] = own.pop("regions", ())
    said = {key: record[key] for key in EXTRA if record.get(key)}
    values = {**own, **({"task": reading.task} if reading.task else {}), **said}
    messages = []
    for number, (question, answer) in enumerate(turns):
        place = () if number else (Image(),)
        messages += [Message.of("user", *place, question), Message.of("assistant", answer)]
    settings = {} if "regions" in said or not regions else {"regions": regions}
    return reading.sample(values, where, messages, [picture], **settings)


def turns_of(sample: Sample) -> list[tuple[str, str]]:
    """The questions and answers of a sample that ``asked`` could have made.

    Raises:
        TuwenError: naming the sample, for any other.
    """
    messages = sample.messages
    roles: list[Literal["system", "user", "assistant"]] = [message.role for message in messages]
    if not messages or roles != ["user", "assistant"] * (len(messages) // 2):
        raise refusal(sample, "this format keeps questions and answers in turn, nothing else")
    if len(sample.images) != 1 or messages[0].parts[:1] != (Image(),):
        raise refusal(sample, "this format keeps one picture, which stands before the question and has no label")
    texts = [messages[0].parts[1:], *(message.parts for message in messages[1:])]
    if any(len(parts) != 1 or not isinstance(parts[0], Text) for parts in texts):
        raise refusal(sample, "this format keeps one text in every turn")
    return [(question.text, answer.text) for question, answer in zip(messages[::2], messages[1::2], strict=True)]


def one_turn(sample: Sample) -> tuple[str, str]:
    """The question and answer of a sample that has one of each.

    Raises:
        TuwenError: naming the sample, for any other.
    """
    (turn, *others) = turns_of(sample)
    if others:
        raise refusal(sample, f"this format keeps one question, found {len(others) + 1}")
    return turn


def own_keys(sample: Sample) -> Record:
    """The sample's id, and what goes under keys of our own."""
    return {"id": sample.id, **extra(sample)}
