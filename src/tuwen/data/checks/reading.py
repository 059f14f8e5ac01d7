"""Records that do not even become samples, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from tuwen.chat.messages import Message
from tuwen.config import TuwenError
from tuwen.data.checks.base import Finding, Reason
from tuwen.data.containers.base import Record
from tuwen.data.dataset import Dataset
from tuwen.data.formats.base import Format, Reading, read_regions
from tuwen.data.sample import Picture, Sample, count_places

REASONS = (
    Reason("broken_record", "error", "not valid JSON, or cannot be read", "无法解析的记录"),
    Reason("not_an_object", "error", "a record without keys and values", "记录不是键值对象"),
    Reason("broken_file", "error", "the rest of a file cannot be read", "文件后半部分无法读取"),
    Reason("no_conversation", "error", "a record without a conversation", "记录中没有对话"),
    Reason("unknown_role", "error", "a speaker that the format does not know", "未知的角色"),
    Reason("refused_record", "error", "a record that the format refuses", "不符合格式的记录"),
    Reason("more_places", "error", "more places for pictures than pictures", "图片占位符多于图片"),
    Reason("fewer_places", "error", "fewer places for pictures than pictures", "图片占位符少于图片"),
    Reason("bad_base64", "error", "a picture in the data that is not base64", "图片的 base64 无法解码"),
)
_TURNS = ("messages", "conversations", "conversation")
_SPEAKERS = ("from", "role")
_ROLES = {"human", "gpt", "user", "assistant", "system"}


class Defect(TuwenError):
    """A refusal whose reason is known.

    Args:
        reason: its name.
        message: what is wrong, and where.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[Defect], tuple[str, str]]:
        return Defect, (self.reason, str(self))


@dataclass(frozen=True, slots=True)
class CheckedReading(Reading):
    """The same reading, which says why it refuses."""

    def image(self, value: Any, where: str) -> Picture:
        """As ``Reading.image``."""
        try:
            return Reading.image(self, value, where)
        except TuwenError as error:
            if isinstance(value, str) and value[:5].lower() == "data:":
                raise Defect("bad_base64", str(error)) from None
            raise

    def sample(
        self, record: Record, where: str, messages: Sequence[Message], images: Sequence[Picture], **settings: Any
    ) -> Sample:
        """As ``Reading.sample``."""
        places = count_places(messages)
        if places != len(images):
            reason = "more_places" if places > len(images) else "fewer_places"
            raise Defect(reason, f"{places} places for pictures in the text, but {len(images)} pictures")
        try:
            return Reading.sample(self, record, where, messages, images, **settings)
        except TuwenError:
            if record.get("regions"):
                _check_regions(record["regions"], where)
            raise


def checked(dataset: Dataset) -> Dataset:
    """The same data set, which says why it refuses records."""
    reading = CheckedReading(**{part.name: getattr(dataset.reading, part.name) for part in fields(dataset.reading)})
    return Dataset(dataset.files, dataset.container, dataset.format, reading)


def _check_regions(values: Any, where: str) -> None:
    try:
        read_regions(values, where)
    except TuwenError as error:
        raise Defect("bad_region", str(error)) from None


def why_refused(error: TuwenError, record: Record | TuwenError, format: Format) -> Finding:
    """Under which reason a record that did not become a sample is counted.

    Args:
        error: what the container or the format says.
        record: what was read; an error where not even that worked.
        format: that refused it.
    """
    if isinstance(error, Defect):
        return Finding(error.reason, str(error))
    if isinstance(record, TuwenError):
        # A container says no more than this about what it could read as JSON but not use.
        known = "expected keys and values" in str(record)
        return Finding("not_an_object" if known else "broken_record", str(record))
    return Finding(_reason(record, format), str(error))


def _reason(record: Record, format: Format) -> str:
    present = [record[key] for key in dict.fromkeys((*format.keys, *_TURNS)) if record.get(key) is not None]
    if not present:
        return "no_conversation"
    turns = next((value for value in present if isinstance(value, list)), [])
    speakers = [turn[key] for turn in turns if isinstance(turn, dict) for key in _SPEAKERS if key in turn]
    return "unknown_role" if any(speaker not in _ROLES for speaker in speakers) else "refused_record"
