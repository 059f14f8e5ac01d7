"""Records that do not even become samples, and why."""

from __future__ import annotations

from tuwen.config import TuwenError
from tuwen.data.checks.base import Finding, Reason
from tuwen.data.containers.base import Record, RecordError
from tuwen.data.formats.base import Format

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


def why_refused(error: TuwenError, record: Record | TuwenError, format: Format) -> Finding:
    """Under which reason a record that did not become a sample is counted.

    Args:
        error: what the container or the format says.
        record: what was read; an error where not even that worked.
        format: that refused it.
    """
    if isinstance(record, TuwenError):
        return Finding(record.reason if isinstance(record, RecordError) else "broken_record", str(record))
    # Of what is no object inside a record, the record is at fault.
    if isinstance(error, RecordError) and error.reason not in ("refused_record", "not_an_object"):
        return Finding(error.reason, str(error))
    return Finding(_reason(record, format), str(error))


def _reason(record: Record, format: Format) -> str:
    present = [record[key] for key in dict.fromkeys((*format.keys, *_TURNS)) if record.get(key) is not None]
    if not present:
        return "no_conversation"
    turns = next((value for value in present if isinstance(value, list)), [])
    speakers = [turn[key] for turn in turns if isinstance(turn, dict) for key in _SPEAKERS if key in turn]
    return "unknown_role" if any(speaker not in _ROLES for speaker in speakers) else "refused_record"
