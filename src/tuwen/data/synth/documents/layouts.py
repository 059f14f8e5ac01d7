"""Which blocks each kind of document is set in."""

from __future__ import annotations

import random
from collections.abc import Callable

from tuwen.data.synth.documents.blocks import Bars, Boxes, Grid, Heading, Pairs, Portrait, Rule, Ruling
from tuwen.data.synth.documents.press import Block, Style
from tuwen.data.synth.documents.records import Record

RULINGS: tuple[Ruling, ...] = ("grid", "lines", "zebra", "head")
# The blocks, and the least width between the margins, in characters.
Plan = tuple[list[Block], float]


def _receipt(record: Record, rng: random.Random) -> Plan:
    assert record.table is not None
    rule = Rule(rng.choice(("solid", "dashed", "dashed", "double")))
    blocks: list[Block] = [Heading(record.title), rule, Pairs(record.fields), rule, Grid(record.table), rule]
    blocks.append(Pairs(record.totals, spread=True, strong=("应付", "Total")))
    if record.note:
        blocks += [rule, Heading(record.note, Style())]
    return [*blocks, *_bars(rng)], 15.0


def _invoice(record: Record, rng: random.Random) -> Plan:
    assert record.table is not None
    banded = rng.random() < 0.4
    heading = Heading(record.title, Style(1.7, heavy=True), rng.choice((0.0, 0.5, 1.0)), banded)
    totals = Pairs(record.totals, spread=True, strong=[record.totals[-1].label])
    return [heading, Pairs(record.fields, rng.choice((1, 2))), Grid(record.table, rng.choice(RULINGS)), totals], 22.0


def _form(record: Record, rng: random.Random) -> Plan:
    body: Block = Boxes(record.fields) if rng.random() < 0.6 else Pairs(record.fields, rng.choice((1, 2)))
    return [Heading(record.title, band=rng.random() < 0.3), body], 20.0


def _table(record: Record, rng: random.Random) -> Plan:
    assert record.table is not None
    blocks: list[Block] = [Heading(record.title), Grid(record.table, rng.choice(RULINGS))]
    if record.totals:
        blocks.append(Pairs(record.totals, spread=rng.random() < 0.5))
    return blocks, 18.0


def _badge(record: Record, rng: random.Random) -> Plan:
    return [Heading(record.title, Style(1.6, heavy=True), band=True), Portrait(record.fields), *_bars(rng)], 20.0


def _ticket(record: Record, rng: random.Random) -> Plan:
    heading = Heading(record.title, Style(1.4, heavy=True), rng.choice((0.0, 0.5)), rng.random() < 0.5)
    return [heading, Pairs(record.fields, 2, strong=("出发站", "到达站", "From", "To")), *_bars(rng)], 26.0


def _bars(rng: random.Random) -> list[Block]:
    """A bar code below some documents."""
    return [Bars([rng.choice((0.1, 0.2, 0.3)) for _ in range(61)])] if rng.random() < 0.4 else []


# The blocks of a kind of document, and the least width between its margins, in characters.
BLOCKS: dict[str, Callable[[Record, random.Random], Plan]] = {
    "badge": _badge,
    "form": _form,
    "invoice": _invoice,
    "receipt": _receipt,
    "table": _table,
    "ticket": _ticket,
}
