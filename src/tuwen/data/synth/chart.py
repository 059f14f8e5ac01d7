"""Charts: turn them into a table, read values, compare, find the greatest, follow a line."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from tuwen.chat.grounding import Box, format_box
from tuwen.data.sample import Language
from tuwen.data.synth.asking import Asker
from tuwen.data.synth.base import LANGUAGES, SUITES, Page, Suite, SuiteSettings, region
from tuwen.data.synth.charts.data import KINDS, TRENDS, Chart, plan_chart
from tuwen.data.synth.charts.drawing import draw_chart
from tuwen.data.synth.charts.plot import PAINTS
from tuwen.data.synth.charts.wordings import KIND_NAMES, OF_SERIES, WORDINGS
from tuwen.data.synth.fonts import typefaces
from tuwen.data.synth.reading.camera import compressed
from tuwen.data.synth.shape_wordings import COLOURS
from tuwen.data.synth.vocabulary import chinese, english
from tuwen.data.synth.vocabulary.corpus import LATIN, Corpus


class ChartSettings(SuiteSettings):
    """Settings of the suite ``chart``.

    Attributes:
        size: longer side of the picture, in pixels.
    """

    size: int = Field(default=448, ge=320, le=2048)


@SUITES.register("chart")
class Charts(Suite[ChartSettings]):
    """One chart of made-up figures, in Chinese or English."""

    name: ClassVar[str] = "chart"
    tasks: ClassVar[tuple[str, ...]] = tuple(sorted(WORDINGS))
    settings_class: ClassVar[type[SuiteSettings]] = ChartSettings

    def __init__(self, settings: ChartSettings) -> None:
        super().__init__(settings)
        self._faces = {
            "zh": typefaces("simplified", Corpus("simplified").alphabet(), settings.font),
            "en": typefaces("latin", LATIN, settings.font),
        }

    def compose(self, page: Page, rng: random.Random) -> None:
        """A chart and questions about it."""
        written = rng.choice(LANGUAGES)
        make = plan_chart(rng, written, len(PAINTS))
        # With the same words, and as likely: wrong values are taken from it.
        chart, other = make(rng), make(rng)
        image, plot = draw_chart(chart, rng.choice(self._faces[written]), self.settings.size, rng)
        page.image = compressed(image, rng.randint(55, 95)) if rng.random() < 0.5 else image
        boxes = {}
        for (series, place), box in plot.spots.items():
            names = (chart.categories[place], chart.series[series].name, str(chart.series[series].values[place]))
            spot = region(box, image.size, " ".join(name for name in names if name))
            boxes[series, place] = spot.box
            page.regions.append(spot)
        page.regions += [region(box, image.size, text) for text, box in plot.texts]
        for language in LANGUAGES:
            _Interview(Asker(page, language, rng, WORDINGS), chart, other, boxes).ask()

    def words(self) -> list[str]:
        """Names of categories, colours, kinds and trends."""
        named = [words[language] for words in (*COLOURS, *TRENDS, *KIND_NAMES.values()) for language in LANGUAGES]
        return [*named, *chinese.CITIES, *english.CITIES]


@dataclass(slots=True)
class _Interview:
    """All questions about a chart in one language; names stay in the chart's own."""

    asker: Asker
    chart: Chart
    other: Chart
    boxes: dict[tuple[int, int], Box]

    def ask(self) -> None:
        """Add them to the page."""
        asker, chart, rng = self.asker, self.chart, self.asker.rng
        language = asker.language
        asker.ask("chart_table", chart.markdown())
        asker.ask("chart_title", chart.title)
        asker.ask("chart_count", str(len(chart.categories)))
        asker.ask(
            "chart_kind", KIND_NAMES[chart.kind][language], kinds=self._listed([KIND_NAMES[kind] for kind in KINDS])
        )
        self._ask_values()
        self._ask_order()
        if chart.trends:
            number = rng.randrange(len(chart.series))
            trends = self._listed(list(TRENDS))
            asker.ask("chart_trend", TRENDS[chart.trends[number]][language], trends=trends, **self._of(number))
        self._ask_colour()

    def _of(self, number: int) -> dict[str, str]:
        """Names the series where there are several."""
        name = self.chart.series[number].name
        return {"of": OF_SERIES[self.asker.language].format(series=name) if name else ""}

    def _listed(self, choices: list[dict[Language, str]]) -> str:
        names = [choice[self.asker.language] for choice in choices]
        self.asker.rng.shuffle(names)
        return ("、" if self.asker.language == "zh" else ", ").join(names)

    def _spot(self) -> tuple[int, int, dict[str, str]]:
        """A series and a category of it, and their names."""
        number = self.asker.rng.randrange(len(self.chart.series))
        place = self.asker.rng.randrange(len(self.chart.categories))
        return number, place, {"name": self.chart.categories[place], **self._of(number)}

    def _ask_values(self) -> None:
        """A value, whether it is another one, and where it is drawn."""
        asker, chart = self.asker, self.chart
        number, place, names = self._spot()
        asker.ask("chart_value", str(chart.series[number].values[place]), **names)
        number, place, names = self._spot()
        value, wrong = (one.series[number].values[place] for one in (chart, self.other))
        if value != wrong:
            asker.ask_pair("chart_value_yesno", {**names, "value": str(value)}, {**names, "value": str(wrong)})
        number, place, names = self._spot()
        asker.ask("chart_grounding", format_box(names["name"], self.boxes[number, place]), **names)

    def _ask_order(self) -> None:
        """The greatest, the least, a difference, and which of two is greater."""
        asker, chart, rng = self.asker, self.chart, self.asker.rng
        for task, pick in (("chart_highest", max), ("chart_lowest", min)):
            number = rng.randrange(len(chart.series))
            values = chart.series[number].values
            asker.ask(task, chart.categories[values.index(pick(values))], **self._of(number))
        number = rng.randrange(len(chart.series))
        values = chart.series[number].values
        one, two = rng.sample(range(len(values)), 2)
        names = {"one": chart.categories[one], "two": chart.categories[two], **self._of(number)}
        asker.ask("chart_difference", str(abs(values[one] - values[two])), **names)
        number = rng.randrange(len(chart.series))
        values = chart.series[number].values
        more, less = sorted(rng.sample(range(len(values)), 2), key=lambda place: -values[place])
        names = self._of(number)
        true, false = (
            {**names, "one": chart.categories[first], "two": chart.categories[second]}
            for first, second in ((more, less), (less, more))
        )
        asker.ask_pair("chart_compare_yesno", true, false)

    def _ask_colour(self) -> None:
        """The colour of a series or slice, where colours tell them apart."""
        chart, rng = self.chart, self.asker.rng
        if chart.kind == "pie":
            place = rng.randrange(len(chart.categories))
            name, colour = chart.categories[place], chart.series[0].colours[place]
        elif len(chart.series) > 1:
            series = rng.choice(chart.series)
            name, colour = series.name, series.colours[0]
        else:
            return
        self.asker.ask("chart_color", COLOURS[colour][self.asker.language], name=name)
