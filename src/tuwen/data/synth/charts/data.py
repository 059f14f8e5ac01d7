"""What drawn charts show: made-up figures that can be read off exactly."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from tuwen.data.sample import Language
from tuwen.data.synth.shape_wordings import Words
from tuwen.data.synth.vocabulary import chinese, english

Kind = Literal["bars", "grouped", "lines", "pie", "rows"]
KINDS: tuple[Kind, ...] = ("bars", "grouped", "lines", "pie", "rows")
FEWEST, MOST = 3, 6
# Of a slice, in per cent: a smaller one has no room for its figure.
THINNEST = 7


@dataclass(frozen=True, slots=True)
class Series:
    """Figures that share a name and a colour.

    Attributes:
        name: in the legend; empty where there is one series.
        values: one for each category.
        colours: index in ``COLOURS`` of each value; equal ones outside pies.
    """

    name: str
    values: tuple[int, ...]
    colours: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart.

    Attributes:
        kind: of drawing.
        language: that it is written in.
        title: above it.
        across: what the categories are.
        upward: what the values are.
        categories: in order.
        series: at least one.
        tick: from one line of the scale to the next.
        top: of the scale.
        printed: each value stands beside its drawing.
        trends: index in ``TRENDS`` for each series of a line chart.
    """

    kind: Kind
    language: Language
    title: str
    across: str
    upward: str
    categories: tuple[str, ...]
    series: tuple[Series, ...]
    tick: int
    top: int
    printed: bool
    trends: tuple[int, ...] = ()

    def markdown(self) -> str:
        """Its figures as a table."""
        named = [series.name or self.upward for series in self.series]
        rows = [(self.across, *named), ("---",) * (len(named) + 1)]
        rows += zip(self.categories, *([str(value) for value in series.values] for series in self.series), strict=True)
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)


TRENDS: tuple[Words, ...] = (
    {"zh": "一直上升", "en": "rising"},
    {"zh": "一直下降", "en": "falling"},
    {"zh": "先升后降", "en": "rising, then falling"},
    {"zh": "先降后升", "en": "falling, then rising"},
)
# Names of categories that follow each other in time; a run of them is taken.
ORDERED: dict[Language, tuple[tuple[str, ...], ...]] = {
    "zh": (
        tuple(f"{month}月" for month in range(1, 13)),
        ("周一", "周二", "周三", "周四", "周五", "周六", "周日"),
        tuple(f"{year}年" for year in range(2011, 2029)),
    ),
    "en": (
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
        ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
        tuple(str(year) for year in range(2011, 2029)),
    ),
}
TIMES: dict[Language, tuple[str, ...]] = {"zh": ("月份", "星期", "年份"), "en": ("Month", "Day", "Year")}
# What the categories are, and their names; any of them are taken.
GROUPS: dict[Language, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "zh": (
        ("城市", tuple(city for city in chinese.CITIES if len(city) == 2)),
        ("水果", ("苹果", "香蕉", "葡萄", "西瓜", "草莓", "橘子", "桃子", "梨", "樱桃", "芒果")),
        ("运动", ("足球", "篮球", "排球", "游泳", "跑步", "网球", "乒乓球", "羽毛球", "滑雪", "骑行")),
        ("班级", ("一班", "二班", "三班", "四班", "五班", "六班", "七班", "八班")),
        ("图书", ("小说", "历史", "科学", "艺术", "漫画", "诗歌", "传记", "词典")),
        ("交通", ("步行", "公交", "地铁", "自行车", "汽车", "火车", "飞机", "轮船")),
    ),
    "en": (
        ("City", english.CITIES),
        ("Fruit", ("Apple", "Banana", "Grape", "Melon", "Lemon", "Orange", "Peach", "Pear", "Cherry", "Mango")),
        ("Sport", ("Soccer", "Tennis", "Rowing", "Skiing", "Running", "Golf", "Judo", "Boxing", "Cycling", "Chess")),
        ("Team", ("Red", "Blue", "Green", "Lions", "Bears", "Eagles", "Wolves", "Sharks")),
        ("Genre", ("Novels", "History", "Science", "Art", "Comics", "Poetry", "Travel", "Cooking")),
        ("Transport", ("Walk", "Bus", "Metro", "Bike", "Car", "Train", "Plane", "Boat")),
    ),
}
MEASURES: dict[Language, tuple[str, ...]] = {
    "zh": ("销量", "人数", "产量", "得分", "访问量", "订单数", "收入", "票数"),
    "en": ("Sales", "Visitors", "Output", "Points", "Visits", "Orders", "Income", "Votes"),
}
NAMES: dict[Language, tuple[tuple[str, ...], ...]] = {
    "zh": (("甲店", "乙店", "丙店"), ("东区", "西区", "南区"), ("早班", "中班", "晚班"), ("A型", "B型", "C型")),
    "en": (
        ("Store A", "Store B", "Store C"),
        ("East", "West", "South"),
        ("Morning", "Noon", "Night"),
        ("Model X", "Model Y", "Model Z"),
    ),
}
PIE_WORDS: dict[Language, tuple[str, str]] = {"zh": ("项目", "占比(%)"), "en": ("Item", "Share (%)")}
# Draws the figures of a chart whose words and scale are settled: two charts of a maker differ in figures only.
Maker = Callable[[random.Random], Chart]


def plan_chart(rng: random.Random, language: Language, colours: int) -> Maker:
    """Settle a chart's words, kind and scale.

    Args:
        rng: of everything that is chosen.
        language: of its words.
        colours: how many there are to choose from.
    """
    kind = rng.choice(KINDS)
    count = rng.randint(FEWEST, MOST)
    across, categories = _categories(
        rng, language, count, ordered=kind == "lines" or (kind != "pie" and rng.random() < 0.4)
    )
    measure = rng.choice(MEASURES[language])
    title = _title(rng, language, across, measure)
    if kind == "pie":
        words = PIE_WORDS[language]
        paints = tuple(rng.sample(range(colours), count))
        return lambda rng: Chart(
            kind, language, title, *words, categories, (Series("", shares(rng, count), paints),), 10, 100, True
        )
    number = {"bars": 1, "rows": 1, "grouped": 2, "lines": rng.choice((1, 2, 3))}[kind]
    names = rng.sample(rng.choice(NAMES[language]), number) if number > 1 else [""]
    paints = tuple(rng.sample(range(colours), number))
    printed = rng.random() < 0.5 and not (kind == "lines" and number > 1)
    tick, ticks = rng.choice((10, 20, 100)), rng.randint(4, 6)
    step = tick // 10 if printed else tick // 2
    trends = tuple(rng.randrange(len(TRENDS)) for _ in names) if kind == "lines" else ()

    def make(rng: random.Random) -> Chart:
        series = []
        for place, name in enumerate(names):
            levels = [level * step for level in rng.sample(range(1, tick * ticks // step + 1), count)]
            values = _shaped(rng, levels, trends[place]) if trends else levels
            series.append(Series(name, tuple(values), (paints[place],) * count))
        return Chart(
            kind, language, title, across, measure, categories, tuple(series), tick, tick * ticks, printed, trends
        )

    return make


def _categories(rng: random.Random, language: Language, count: int, ordered: bool) -> tuple[str, tuple[str, ...]]:
    if ordered:
        which = rng.randrange(len(TIMES[language]))
        run = ORDERED[language][which]
        first = rng.randint(0, len(run) - count)
        return TIMES[language][which], run[first : first + count]
    across, names = rng.choice(GROUPS[language])
    return across, tuple(rng.sample(names, count))


def _title(rng: random.Random, language: Language, across: str, measure: str) -> str:
    if language == "zh":
        return f"{rng.choice(chinese.SHOP_NAMES)}{rng.choice(('公司', '集团', '中心', '协会'))}各{across}{measure}"
    return f"{measure} by {across}, {rng.choice(english.FIRMS)}"


def shares(rng: random.Random, count: int) -> tuple[int, ...]:
    """So many different whole numbers that come to 100, none below ``THINNEST``."""
    while True:
        cuts = sorted(rng.sample(range(1, 100), count - 1))
        parts = [stop - start for start, stop in zip([0, *cuts], [*cuts, 100], strict=True)]
        if min(parts) >= THINNEST and len(set(parts)) == count:
            return tuple(parts)


def _shaped(rng: random.Random, levels: Sequence[int], trend: int) -> list[int]:
    """The values in an order that goes up, down, up and down, or down and up."""
    rising = sorted(levels)
    if trend < 2:
        return rising[:: -1 if trend else 1]
    if trend == 3:
        rising.reverse()
    # The end of the sorted values is the turning point; the others stand on either side of it, at least one on each.
    *others, turn = rising
    left = set(rng.sample(range(len(others)), rng.randint(1, len(others) - 1)))
    before = [value for place, value in enumerate(others) if place in left]
    after = [value for place, value in enumerate(others) if place not in left]
    return [*before, turn, *reversed(after)]
