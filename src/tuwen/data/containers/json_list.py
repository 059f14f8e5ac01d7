"""A JSON file that holds a list of objects, read piece by piece, however large it is.

A record's place is where its text begins and how many bytes it has.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from tuwen.config import TuwenError
from tuwen.data.containers.base import CONTAINERS, Columns, Container, Record, as_record
from tuwen.data.containers.json_lines import dumped, parsed
from tuwen.data.storage import open_binary, read_bytes

CHUNK = 2**20
LARGEST_RECORD = 64 * 2**20
_BLANKS = " \t\r\n\ufeff"


@CONTAINERS.register("json")
class JsonList(Container):
    """See the module."""

    name: ClassVar[str] = "json"
    suffixes: ClassVar[tuple[str, ...]] = (".json",)

    def scan(self, file: str) -> Iterator[tuple[int, int, Record | TuwenError]]:
        """The list's elements."""
        text = JsonText(file)
        if text.next_sign() != "[":
            raise TuwenError(f"{file}: expected a JSON list of objects")
        for number, (offset, length, value) in enumerate(text.elements()):
            try:
                yield offset, length, as_record(value, f"{file}: record {number}")
            except TuwenError as error:
                yield offset, length, error

    def fetch(self, file: str, offset: int, length: int) -> Record:
        """The element whose text begins at ``offset``."""
        return parsed(read_bytes(file, offset, length), f"{file}: byte {offset}")

    def write(self, records: Iterable[Record], out: Path, columns: Columns) -> int:
        """A list with an object a line."""
        count = 0
        with out.open("w", encoding="utf-8") as file:
            for count, record in enumerate(records, start=1):
                file.write(("[\n" if count == 1 else ",\n") + dumped(record))
            file.write("\n]\n" if count else "[]\n")
        return count


class JsonText:
    """A window that moves over a file's text; ``offset`` is where it stands, in bytes of the file."""

    def __init__(self, file: str) -> None:
        self._name = file
        self._file = open_binary(file)
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._window, self._at, self._ended = "", 0, False
        self._decoder = json.JSONDecoder()
        self.offset = 0

    def _more(self, size: int = CHUNK) -> bool:
        """Read on; false at the end of the file."""
        if self._ended:
            return False
        data = self._file.read(size)
        self._ended = not data
        try:
            self._window = self._window[self._at :] + self._decode(data, self._ended)
        except UnicodeDecodeError as error:
            raise TuwenError(f"{self._name}: not UTF-8 after byte {self.offset} ({error.reason})") from None
        self._at = 0
        if self._ended:
            self._file.close()
        return True

    def skip(self, signs: int) -> None:
        """Go over so many characters of the window."""
        self.offset += len(self._window[self._at : self._at + signs].encode("utf-8"))
        self._at += signs

    def next_sign(self) -> str:
        """Go over blanks and say what stands behind them; empty at the end of the file."""
        while True:
            while self._at < len(self._window):
                sign = self._window[self._at]
                if sign not in _BLANKS:
                    return sign
                self.skip(1)
            if not self._more():
                return ""

    def value(self, where: str) -> tuple[object, int]:
        """The JSON value that begins here, and its length in bytes."""
        size = CHUNK
        while True:
            try:
                found, end = self._decoder.raw_decode(self._window, self._at)
            except (ValueError, RecursionError) as error:
                # Most often the value goes on behind the window; each time as much again is read.
                size = max(size, len(self._window) - self._at)
                if size > LARGEST_RECORD or not self._more(size):
                    raise TuwenError(f"{where}: not valid JSON: {error}") from None
                continue
            # Behind a number that ends where the window does, more of its digits may follow.
            if end == len(self._window) and self._more():
                continue
            before = self.offset
            self.skip(end - self._at)
            return found, self.offset - before

    def elements(self) -> Iterator[tuple[int, int, object]]:
        """The elements of the list that begins here: where each begins, how many bytes it has, and its value."""
        self.skip(1)
        number = 0
        while (sign := self.next_sign()) != "]":
            where = f"{self._name}: record {number}"
            if number:
                self._expect(",", sign, where)
            offset = self.offset
            value, length = self.value(where)
            yield offset, length, value
            number += 1
        self.skip(1)

    def members(self) -> Iterator[tuple[int, str]]:
        """The keys of the object that begins here and where each begins; its value is read before the next one."""
        self.skip(1)
        number = 0
        while (sign := self.next_sign()) != "}":
            where = f"{self._name}: key {number}"
            if number:
                self._expect(",", sign, where)
            offset = self.offset
            key, _ = self.value(where)
            if not isinstance(key, str):
                raise TuwenError(f"{where}: expected a key in quotes, found {key!r:.60}")
            self._expect(":", self.next_sign(), f"{self._name}: the value of {key!r:.60}")
            yield offset, key
            number += 1
        self.skip(1)

    def lists(self) -> Iterator[tuple[str, int, int, object]]:
        """The elements of all lists in the object that begins here, each behind the key of its list."""
        for _, key in self.members():
            if self.next_sign() == "[":
                yield from ((key, *element) for element in self.elements())
            else:
                self.value(f"{self._name}: {key!r:.60}")

    def _expect(self, wanted: str, sign: str, where: str) -> None:
        """Go over a sign and the blanks behind it."""
        if sign != wanted:
            raise TuwenError(f"{where}: expected {wanted!r} before it, found {sign or 'the end of the file'!r}")
        self.skip(1)
        self.next_sign()

    def close(self) -> None:
        """Read no further."""
        self._file.close()
