"""What only shows when all samples are seen together: copies, contradictions, halves of pairs.

Of a sample only hashes of 64 bits are kept. In one of 37 million data sets of a million samples, chance makes two of
them look alike.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tuwen.chat.messages import Image
from tuwen.data.checks.base import Reason, Subject

REASONS = (
    Reason("duplicate_sample", "error", "the same pictures and the same words as another", "重复样本"),
    Reason("duplicate_id", "warning", "the id of another sample", "重复的 id"),
    Reason("contradiction", "error", "the same question with another answer elsewhere", "同图同问, 答案矛盾"),
    Reason("lone_half", "warning", "a yes/no pair without its other half", "是非对缺另一半"),
)
# Columns of a sample's hashes; 0 stands for none.
ID, CONTENT, QUESTION, ANSWER, PAIR = range(5)
COLUMNS = 5
_YES = {"yes", "true", "是", "是的", "对", "对的", "有", "有的"}
_NO = {"no", "false", "否", "不", "不是", "不对", "没有", "错"}
_CLOSED = re.compile(r"[a-h]|-?[0-9]{1,12}(?:\.[0-9]{1,6})?")
_AROUND = " \t\r\n.。!！,，()（）"


@dataclass(frozen=True, slots=True)
class Repeat:
    """A sample that has to do with another.

    Attributes:
        entry: its number.
        reason: of the finding.
        other: number of the other one; -1 for none.
    """

    entry: int
    reason: str
    other: int = -1


def hashes(subject: Subject, has_id: bool) -> list[int]:
    """What is kept of a sample, see the columns.

    Args:
        subject: the sample.
        has_id: whether its id is its own, and not made of its place.
    """
    sample = subject.sample
    pictures = b"".join(look.key for look in subject.pictures)
    asked = "\0".join(
        f"{message.role}\1" + "".join("\2" if isinstance(part, Image) else part.text for part in message.parts)
        for message in sample.messages[:-1]
    )
    said = subject.texts[-1] if subject.texts else ""
    answer = f"{sample.messages[-1].role}\1{said}" if sample.messages else ""
    closed = closed_answer(said) if answer.startswith("assistant") else ""
    rejected = "" if sample.rejected is None else f"\3{sample.rejected}"
    question = pictures + asked.encode(errors="surrogatepass")
    return [
        _hash(sample.id.encode(errors="surrogatepass")) if has_id else 0,
        _hash(question + b"\3" + (answer + rejected).encode(errors="surrogatepass")),
        _hash(question),
        _hash(closed.encode()) if closed else 0,
        _hash(sample.pair.encode(errors="surrogatepass")) if sample.pair else 0,
    ]


def closed_answer(text: str) -> str:
    """An answer of which only one can be right (yes or no, a letter, a number) in one form; empty for any other.

    A picture has many descriptions, so two that differ contradict nothing.
    """
    answer = text.strip(_AROUND).lower()
    if answer in _YES:
        return "yes"
    if answer in _NO:
        return "no"
    return answer if _CLOSED.fullmatch(answer) else ""


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") or 1


def find_repeats(table: np.ndarray) -> Iterator[Repeat]:
    """What is wrong among samples, by their hashes.

    Args:
        table: uint64 [samples, ``COLUMNS``]; a row of zeros is no sample.
    """
    copies: set[int] = set()
    for first, others in _alike(table[:, CONTENT]):
        for entry in others:
            copies.add(entry)
            yield Repeat(entry, "duplicate_sample", first)
    for first, others in _alike(table[:, ID]):
        for entry in others:
            # A copy has its id from the original, which is no second fault.
            if entry not in copies:
                yield Repeat(entry, "duplicate_id", first)
    yield from _contradictions(table)
    yield from _lone_halves(table)


def _contradictions(table: np.ndarray) -> Iterator[Repeat]:
    answers = table[:, ANSWER]
    for first, others in _alike(np.where(answers != 0, table[:, QUESTION], 0)):
        different = [entry for entry in others if answers[entry] != answers[first]]
        if different:
            yield Repeat(first, "contradiction", different[0])
            for entry in others:
                yield Repeat(entry, "contradiction", first if entry in different else different[0])


def _lone_halves(table: np.ndarray) -> Iterator[Repeat]:
    entries = np.flatnonzero(table[:, PAIR])
    # A pair that is only there as copies of one half is not whole either.
    _, kept = np.unique(table[entries][:, [PAIR, CONTENT]], axis=0, return_index=True)
    halves = entries[kept]
    _, places, counts = np.unique(table[halves, PAIR], return_index=True, return_counts=True)
    for place in np.sort(places[counts == 1]):
        yield Repeat(int(halves[place]), "lone_half")


def _alike(column: np.ndarray) -> Iterator[tuple[int, list[int]]]:
    """Numbers of the rows that share a value other than 0: the first, and the others; in order of the first."""
    rows = np.flatnonzero(column)
    # A stable sort keeps rows with the same value in their order.
    rows = rows[np.argsort(column[rows], kind="stable")]
    values = column[rows]
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]]) if len(rows) else np.zeros(0, dtype=np.int64)
    ends = np.r_[starts[1:], len(rows)]
    several = np.flatnonzero(ends - starts > 1)
    for group in several[np.argsort(rows[starts[several]], kind="stable")]:
        members = rows[starts[group] : ends[group]].tolist()
        yield members[0], members[1:]
