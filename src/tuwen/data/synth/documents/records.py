"""What stands in drawn documents: receipts, invoices, forms, tables, badges and tickets of people who do not exist."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tuwen.data.sample import Language
from tuwen.data.synth.shape_wordings import Words
from tuwen.data.synth.vocabulary import chinese, english
from tuwen.data.synth.vocabulary.corpus import chinese_name

TITLE: Words = {"zh": "标题", "en": "title"}
ITEMS: Words = {"zh": "明细", "en": "items"}


@dataclass(frozen=True, slots=True)
class Field:
    """A label with its value, as printed."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class Table:
    """Headings and rows, as printed; the first column names the row.

    Attributes:
        headings: of the columns.
        rows: of cells.
        summed: index of a column whose cells can be added up.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    summed: int


@dataclass(frozen=True, slots=True)
class Record:
    """All that is printed on a document.

    Attributes:
        kind: name in ``KINDS``.
        language: that it is written in.
        title: at its top.
        fields: above the table.
        table: of goods or figures.
        totals: below the table.
        note: at its foot; empty for none.
    """

    kind: str
    language: Language
    title: str
    fields: tuple[Field, ...]
    table: Table | None = None
    totals: tuple[Field, ...] = ()
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """Title, fields, items and totals under their printed labels."""
        result: dict[str, Any] = {TITLE[self.language]: self.title}
        result.update((field.label, field.value) for field in self.fields)
        if self.table is not None:
            result[ITEMS[self.language]] = [dict(zip(self.table.headings, row, strict=True)) for row in self.table.rows]
        result.update((field.label, field.value) for field in self.totals)
        return result


_AMOUNT = re.compile(r"([¥$]?)([0-9]{1,9})(?:\.([0-9]{2}))?")
Generator = Callable[[random.Random, Language], str]


def money(cents: int, sign: str) -> str:
    """An amount as it is printed.

    Args:
        cents: in hundredths.
        sign: of the currency; may be empty.
    """
    return f"{sign}{cents // 100}.{cents % 100:02}"


def added(one: str, two: str) -> str:
    """The sum of two printed numbers or amounts, printed as they are."""
    found = [_AMOUNT.fullmatch(text) for text in (one, two)]
    assert found[0] is not None, one
    assert found[1] is not None, two
    sign, _, cents = found[0].groups()
    whole = [int(match[2]) * 100 + int(match[3] or 0) for match in found if match]
    return money(sum(whole), sign) if cents else f"{sign}{sum(whole) // 100}"


def person(rng: random.Random, language: Language) -> str:
    """A made-up name."""
    if language == "zh":
        return chinese_name(rng)
    return f"{rng.choice(english.FIRST_NAMES)} {rng.choice(english.LAST_NAMES)}"


def shop(rng: random.Random, language: Language) -> str:
    """A made-up name of a shop."""
    if language == "zh":
        return rng.choice(chinese.SHOP_NAMES) + rng.choice(chinese.SHOP_KINDS)
    return f"{rng.choice(english.SHOP_NAMES)} {rng.choice(english.SHOP_KINDS)}"


def _firm(rng: random.Random, language: Language) -> str:
    if language == "zh":
        return rng.choice(chinese.FIRMS) + rng.choice(chinese.FIRM_KINDS)
    return f"{rng.choice(english.FIRMS)} {rng.choice(english.FIRM_KINDS)}"


def _address(rng: random.Random, language: Language) -> str:
    number = rng.randint(1, 299)
    if language == "zh":
        return f"{rng.choice(chinese.CITIES)}市{rng.choice(chinese.STREETS)}{number}号"
    return f"{number} {rng.choice(english.STREETS)} Street, {rng.choice(english.CITIES)}"


def _email(rng: random.Random, language: Language) -> str:
    host = f"{rng.choice(english.SHOP_NAMES)}{rng.choice(english.SHOP_KINDS)}".lower()
    return f"{rng.choice(english.FIRST_NAMES).lower()}{rng.randint(1, 99)}@{host}.com"


def _date(first: int, last: int) -> Generator:
    """A date between two years."""

    def draw(rng: random.Random, language: Language) -> str:
        return f"{rng.randint(first, last)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"

    return draw


def _digits(count: int) -> Generator:
    return lambda rng, language: "".join(rng.choices("0123456789", k=count))


def _choice(chinese_words: str, english_words: str) -> Generator:
    words = {"zh": chinese_words.split(), "en": english_words.split(", ")}
    return lambda rng, language: rng.choice(words[language])


GENERATORS: dict[str, Generator] = {
    "address": _address,
    "birth": _date(1950, 2009),
    "card": _digits(10),
    "city": lambda rng, language: rng.choice(chinese.CITIES if language == "zh" else english.CITIES),
    "clock": lambda rng, language: f"{rng.randint(6, 22):02}:{rng.randint(0, 59):02}",
    "date": _date(2011, 2029),
    "degree": _choice("高中 大专 本科 硕士 博士", "High school, College, Bachelor, Master, Doctor"),
    "department": _choice(
        "市场部 财务部 人事部 研发部 设计部 后勤部", "Marketing, Finance, People, Research, Design, Support"
    ),
    "email": _email,
    "firm": _firm,
    "gate": lambda rng, language: f"{rng.choice('ABCDEF')}{rng.randint(1, 30)}",
    "hobby": _choice("阅读 音乐 旅行 摄影 下棋 游泳", "Reading, Music, Travel, Photos, Chess, Swimming"),
    "job": lambda rng, language: (
        rng.choice(chinese.ROLES[:6]) if language == "zh" else rng.choice(english.ROLES).title()
    ),
    "payment": _choice("现金 银行卡 手机支付 会员卡", "Cash, Card, Phone, Voucher"),
    "person": person,
    "phone": lambda rng, language: f"{rng.randint(130, 199)}-{rng.randint(1000, 9999)}-{rng.randint(1000, 9999)}",
    "price": lambda rng, language: money(
        rng.randint(20, 999) * 100 + 50 * rng.randint(0, 1), {"zh": "¥", "en": "$"}[language]
    ),
    "seat": lambda rng, language: f"{rng.randint(1, 18):02}-{rng.randint(1, 20):02}{rng.choice('ABCDF')}",
    "serial": _digits(8),
    "shop": shop,
    "sex": _choice("男 女", "Male, Female"),
    "train": lambda rng, language: f"{rng.choice('GDKZT')}{rng.randint(10, 9999)}",
}


# Chinese label, English label, generator.
Spec = tuple[str, str, str]


def draw_fields(specs: Sequence[Spec], language: Language, rng: random.Random) -> tuple[Field, ...]:
    """Labels in the language, with values."""
    return tuple(Field(zh if language == "zh" else en, GENERATORS[name](rng, language)) for zh, en, name in specs)


@dataclass(frozen=True, slots=True)
class Goods:
    """How a list of goods is printed.

    Attributes:
        language: of the names and headings.
        count: of rows.
        sign: of the currency.
        narrow: without unit prices.
        cents: that prices end in.
    """

    language: Language
    count: int
    sign: str
    narrow: bool = False
    cents: tuple[int, ...] = (0, 0, 50, 90, 99)

    def draw(self, rng: random.Random) -> tuple[Table, int]:
        """Goods, and the sum of their amounts in hundredths."""
        names = rng.sample(chinese.THINGS if self.language == "zh" else english.THINGS, self.count)
        headings = ("品名", "数量", "单价", "金额") if self.language == "zh" else ("Item", "Qty", "Price", "Amount")
        rows, total = [], 0
        for name in names:
            quantity, price = rng.randint(1, 9), rng.randint(1, 60) * 100 + rng.choice(self.cents)
            amount = quantity * price
            total += amount
            label = name if self.language == "zh" else name.title()
            rows.append((label, str(quantity), money(price, self.sign), money(amount, self.sign)))
        kept = (0, 1, 3) if self.narrow else (0, 1, 2, 3)
        shown = tuple(tuple(row[place] for place in kept) for row in rows)
        return Table(tuple(headings[place] for place in kept), shown, len(kept) - 1), total
