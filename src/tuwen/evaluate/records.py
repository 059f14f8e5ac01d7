"""What was asked and answered, one line a question, on the disk before the next one is asked.

Several processes write to files of their own in one folder; whoever reads it sees all of them. Killing them loses the
questions that are being answered and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tuwen.chat.messages import Image, Message
from tuwen.config import TuwenError
from tuwen.data.media import picture_bytes
from tuwen.data.sample import Picture
from tuwen.evaluate.benchmark import Item


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An answered question.

    Attributes:
        id: of the item.
        images: digest of its pictures' bytes; empty without one.
        prompt: hash of the messages and of the settings that the answer depends on.
        answer: as it was given.
        parsed: what the usual scorer reads it as; None where it cannot, which is no guess.
        parser_version: of the benchmark's parser.
        finish_reason: ``stop``, ``length``, or what an endpoint says.
        tokens: of the answer.
        seconds: until it was there, its share of the batch's.
    """

    id: str
    images: str
    prompt: str
    answer: str
    parsed: Any
    parser_version: int
    finish_reason: str
    tokens: int
    seconds: float


def images_digest(images: Sequence[Picture]) -> str:
    """A digest of pictures' bytes, in order; empty for none.

    Raises:
        PictureError: when one cannot be read.
    """
    if not images:
        return ""
    digest = hashlib.blake2b(digest_size=12)
    for image in images:
        data = picture_bytes(image)
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def prompt_hash(messages: Sequence[Message], settings: Mapping[str, Any]) -> str:
    """A hash of all but the pictures that an answer depends on."""
    turns = [
        (turn.role, [("image", part.label) if isinstance(part, Image) else ("text", part.text) for part in turn.parts])
        for turn in messages
    ]
    return hashlib.blake2b(json.dumps([turns, dict(sorted(settings.items()))]).encode(), digest_size=12).hexdigest()


class RecordLog:
    """The records of one benchmark. Use as ``with RecordLog(folder, writer=rank) as log``.

    Args:
        folder: for the record files of all processes.
        kind: ``records``, or ``blind`` for what was asked about other pictures.
        writer: number of this process; None only reads.
    """

    def __init__(self, folder: Path, kind: str = "records", writer: int | None = None) -> None:
        self.folder, self.kind, self.writer = folder, kind, writer
        self._file: int | None = None

    def __enter__(self) -> RecordLog:
        if self.writer is None:
            return self
        path = self.folder / f"{self.kind}-{self.writer}.jsonl"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise TuwenError(f"{path}: cannot be written ({error.strerror})") from None
        size = os.fstat(self._file).st_size
        # A line that a kill has cut off was never an answer; the next one must not be glued to it.
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            data = path.read_bytes()
            os.ftruncate(self._file, data.rfind(b"\n") + 1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)

    def add(self, records: Iterable[Record]) -> None:
        """Append records; they are on the disk when this returns."""
        assert self._file is not None, "opened for reading only"
        lines = "".join(json.dumps(asdict(record), ensure_ascii=False) + "\n" for record in records)
        os.write(self._file, lines.encode("utf-8", errors="surrogatepass"))
        os.fsync(self._file)

    def read(self) -> dict[str, Record]:
        """All whole records of all processes, by the item's id; the first of an item counts.

        Raises:
            TuwenError: naming the line that is no record.
        """
        found: dict[str, Record] = {}
        for path in sorted(self.folder.glob(f"{self.kind}-*.jsonl")):
            for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
                try:
                    record = Record(**json.loads(line))
                except (ValueError, TypeError) as error:
                    raise TuwenError(f"{path}: line {number}: not a record of an answer ({error})") from None
                found.setdefault(record.id, record)
        return found

    def count(self) -> int:
        """How many whole records there are; cheap enough to ask for often."""
        return sum(path.read_bytes().count(b"\n") for path in self.folder.glob(f"{self.kind}-*.jsonl"))


def left_to_ask(
    items: Sequence[Item], done: Mapping[str, Record], hashes: Mapping[str, str], folder: Path
) -> list[Item]:
    """The items without an answer.

    Args:
        items: all of them.
        done: their records so far.
        hashes: ``prompt_hash`` of each item as it would be asked now.
        folder: of the records, for messages.

    Raises:
        TuwenError: when an answer was given to another prompt than would be asked now.
    """
    for item in items:
        if item.id in done and done[item.id].prompt != hashes[item.id]:
            raise TuwenError(
                f"{folder}: item {item.id} was asked with another prompt, model or setting; choose another --out"
            )
    return [item for item in items if item.id not in done]
