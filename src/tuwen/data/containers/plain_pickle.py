"""Pickles of basic types, read by hand: text, numbers, lists and dictionaries, as the ``refs(….p)`` of RefCOCO are.

A pickle is a program for a small machine, and what makes it dangerous are the instructions that look up and call
functions. This machine does not have them, so that nothing can run; a pickle that holds one is refused. Nor is anything
made of a size that a pickle merely claims. The format: https://peps.python.org/pep-3154/ and ``pickletools``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from tuwen.config import TuwenError

# What a broken pickle makes the machine's own steps raise.
_BROKEN = (IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error)


def read_plain_pickle(data: bytes, where: str) -> Any:
    """The value that a pickle of basic types holds, of any protocol, from Python 2 or 3.

    Args:
        data: the whole pickle.
        where: to name in a message.

    Raises:
        TuwenError: when it holds anything else, or is broken.
    """
    machine = _Machine(data)
    try:
        while True:
            code = data[machine.at]
            machine.at += 1
            step = _STEPS.get(code)
            if step is None:
                if code == _STOP:
                    return machine.stack.pop()
                raise TuwenError(
                    f"{where}: not a pickle of basic types: instruction {chr(code)!r} at byte {machine.at - 1};"
                    " what could run code is never read"
                )
            step(machine)
    except TuwenError:
        raise
    except _BROKEN as error:
        raise TuwenError(f"{where}: broken pickle at byte {machine.at} ({error or type(error).__name__})") from None


class _Machine:
    """A stack of values, where its open lists begin, and values that are named to be used again."""

    __slots__ = ("at", "data", "marks", "memo", "stack")

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def take(self, count: int) -> bytes:
        """The next bytes."""
        found = self.data[self.at : self.at + count]
        if len(found) != count:
            raise ValueError(f"{count} bytes announced, {len(found)} are left")
        self.at += count
        return found

    def line(self) -> bytes:
        """The bytes up to the end of the line."""
        end = self.data.index(b"\n", self.at)
        found = self.data[self.at : end]
        self.at = end + 1
        return found

    def number(self, form: str, count: int) -> int:
        """An integer of so many bytes."""
        found: int = struct.unpack(form, self.take(count))[0]
        return found

    def since_mark(self) -> list[Any]:
        """The values above the last mark, taken off."""
        start = self.marks.pop()
        found = self.stack[start:]
        del self.stack[start:]
        return found

    def extend_list(self, values: list[Any]) -> None:
        """Append to the list on top."""
        target = self.stack[-1]
        if type(target) is not list:
            raise TypeError("values for a list, but there is none")
        target.extend(values)

    def extend_dictionary(self, values: list[Any]) -> None:
        """Put keys and values, in turn, into the dictionary on top."""
        target = self.stack[-1]
        if type(target) is not dict or len(values) % 2:
            raise TypeError("keys and values for a dictionary, but there is none")
        for key, value in zip(values[::2], values[1::2], strict=True):
            # Numbers could be chosen so that a dictionary of them takes for ever.
            if type(key) is not str:
                raise TypeError(f"a key of type {type(key).__name__}, expected text")
            target[key] = value

    def two(self) -> list[Any]:
        """The two values on top, taken off."""
        above = self.stack.pop()
        return [self.stack.pop(), above]


def _passes(count: int) -> Callable[[_Machine], None]:
    def step(machine: _Machine) -> None:
        machine.take(count)

    return step


def _pushes(value: Callable[[_Machine], Any]) -> Callable[[_Machine], None]:
    def step(machine: _Machine) -> None:
        machine.stack.append(value(machine))

    return step


def _text(size: Callable[[_Machine], int]) -> Callable[[_Machine], None]:
    """Text of a stated number of bytes; what Python 2 called strings are taken for UTF-8."""

    def step(machine: _Machine) -> None:
        machine.stack.append(machine.take(size(machine)).decode("utf-8", "surrogatepass"))

    return step


def _names(index: Callable[[_Machine], int]) -> Callable[[_Machine], None]:
    def step(machine: _Machine) -> None:
        machine.memo[index(machine)] = machine.stack[-1]

    return step


def _quoted(machine: _Machine) -> str:
    text = machine.line()
    if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in b"'\"":
        raise ValueError("text without its quotes")
    return text[1:-1].decode("unicode_escape").encode("latin-1").decode("utf-8")


def _integer_line(machine: _Machine) -> int | bool:
    text = machine.line()
    return {b"00": False, b"01": True}.get(text, int(text))


def _tuple(count: int) -> Callable[[_Machine], None]:
    def step(machine: _Machine) -> None:
        if len(machine.stack) < count:
            raise IndexError("a tuple of more values than there are")
        machine.stack[len(machine.stack) - count :] = [tuple(machine.stack[len(machine.stack) - count :])]

    return step


def _dictionary(machine: _Machine) -> None:
    values = machine.since_mark()
    machine.stack.append({})
    machine.extend_dictionary(values)


def _byte(machine: _Machine) -> int:
    found = machine.data[machine.at]
    machine.at += 1
    return found


def _size(machine: _Machine) -> int:
    return machine.number("<I", 4)


def _index_line(machine: _Machine) -> int:
    found = int(machine.line())
    if not 0 <= found < 2**32:
        raise ValueError(f"name {found}")
    return found


_STOP = ord(".")
_STEPS: dict[int, Callable[[_Machine], None]] = {
    0x80: _passes(1),  # the protocol
    0x95: _passes(8),  # how long a frame is
    ord("("): lambda machine: machine.marks.append(len(machine.stack)),
    ord("N"): _pushes(lambda machine: None),
    0x88: _pushes(lambda machine: True),
    0x89: _pushes(lambda machine: False),
    ord("I"): _pushes(_integer_line),
    ord("J"): _pushes(lambda machine: machine.number("<i", 4)),
    ord("K"): _pushes(_byte),
    ord("M"): _pushes(lambda machine: machine.number("<H", 2)),
    ord("L"): _pushes(lambda machine: int(machine.line().removesuffix(b"L"))),
    0x8A: _pushes(lambda machine: int.from_bytes(machine.take(_byte(machine)), "little", signed=True)),
    ord("F"): _pushes(lambda machine: float(machine.line())),
    ord("G"): _pushes(lambda machine: struct.unpack(">d", machine.take(8))[0]),
    ord("S"): _pushes(_quoted),
    ord("T"): _text(_size),
    ord("U"): _text(_byte),
    ord("V"): _pushes(lambda machine: machine.line().decode("raw_unicode_escape")),
    ord("X"): _text(_size),
    0x8C: _text(_byte),
    ord("]"): _pushes(lambda machine: []),
    ord("l"): _pushes(_Machine.since_mark),
    ord("a"): lambda machine: machine.extend_list([machine.stack.pop()]),
    ord("e"): lambda machine: machine.extend_list(machine.since_mark()),
    ord("}"): _pushes(lambda machine: {}),
    ord("d"): _dictionary,
    ord("s"): lambda machine: machine.extend_dictionary(machine.two()),
    ord("u"): lambda machine: machine.extend_dictionary(machine.since_mark()),
    ord(")"): _pushes(lambda machine: ()),
    ord("t"): _pushes(lambda machine: tuple(machine.since_mark())),
    0x85: _tuple(1),
    0x86: _tuple(2),
    0x87: _tuple(3),
    ord("p"): _names(_index_line),
    ord("q"): _names(_byte),
    ord("r"): _names(_size),
    0x94: _names(lambda machine: len(machine.memo)),
    ord("g"): _pushes(lambda machine: machine.memo[_index_line(machine)]),
    ord("h"): _pushes(lambda machine: machine.memo[_byte(machine)]),
    ord("j"): _pushes(lambda machine: machine.memo[_size(machine)]),
}
