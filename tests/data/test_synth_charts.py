"""Charts: their table is what the pixels measure, and all answers follow from it."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from tests.data.test_synth_reading import asked, draw
from tuwen.data.sample import Region, Sample
from tuwen.data.synth import Drawn
from tuwen.data.synth.charts.data import KINDS, TRENDS
from tuwen.data.synth.charts.plot import PAINTS
from tuwen.data.synth.charts.wordings import KIND_NAMES
from tuwen.data.synth.shape_wordings import COLOURS


def table_of(drawn: Drawn) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the Markdown table that is the answer."""
    lines = asked(drawn, "chart_table")[0].answer.split("\n")
    header, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:]))
    return header, rows


def question_of(sample: Sample) -> str:
    """Its question, with Chinese quotes in both languages."""
    return re.sub('"([^"]*)"', "“\\1”", sample.messages[0].text)


def kind_of(drawn: Drawn) -> str:
    """Name of its kind in ``KINDS``."""
    answer = next(sample.answer for sample in asked(drawn, "chart_kind") if sample.language == "en")
    return next(kind for kind in KINDS if KIND_NAMES[kind]["en"] == answer)


def painted(drawn: Drawn) -> np.ndarray:
    """Number of the paint of each pixel, −1 where there is none: (height, width)."""
    assert drawn.image is not None
    pixels = np.asarray(drawn.image).astype(np.int16)
    apart = np.stack([np.abs(pixels - np.array(paint, np.int16)).max(axis=-1) for paint in PAINTS])
    numbers: np.ndarray = np.where(apart.min(axis=0) < 60, apart.argmin(axis=0), -1)
    return numbers


def scale_of(drawn: Drawn, axis: int) -> tuple[float, float]:
    """Pixel of zero, and pixels for one unit, from the middles of the scale's own figures (axis 0: across)."""
    assert drawn.image is not None
    side = drawn.image.size[axis]
    marks = {}
    figures = [region for region in drawn.regions if region.text.isdigit()]
    # The figures of the scale stand in one line; so does nothing else that begins with 0.
    zero = next(region for region in figures if region.text == "0")
    for region in figures:
        across = (region.box[1 - axis] + region.box[3 - axis]) / 2
        if axis == 1:
            aligned = abs(region.box[2] - zero.box[2]) < 0.004
        else:
            aligned = abs(across - (zero.box[1] + zero.box[3]) / 2) < 0.004
        if aligned:
            marks[int(region.text)] = (region.box[axis] + region.box[axis + 2]) / 2 * side
    top = max(marks)
    return marks[0], (marks[top] - marks[0]) / top


def test_the_table_of_a_chart_is_what_its_pixels_measure() -> None:
    """Bars by their ends, lines by their marks, slices by their area; the scale by its printed figures."""
    measured: Counter[str] = Counter()
    for drawn in draw("chart", 90):
        assert drawn.image is not None
        kind, (_, rows) = kind_of(drawn), table_of(drawn)
        paints = painted(drawn)
        if kind == "pie":
            areas = [int((paints == number).sum()) for number in range(len(PAINTS))]
            whole, values = sum(areas), {row[0]: int(row[1]) for row in rows}
            shares = sorted(100 * area / whole for area in areas)[-len(values) :]
            assert shares == pytest.approx(sorted(values.values()), abs=2), drawn.samples[0].id
            for sample in asked(drawn, "chart_color"):
                paint = [colour[sample.language] for colour in COLOURS].index(sample.answer)
                name = next(name for name in values if f"“{name}”" in question_of(sample))
                assert 100 * areas[paint] / whole == pytest.approx(values[name], abs=2)
        else:
            axis = 0 if kind == "rows" else 1
            zero, unit = scale_of(drawn, axis)
            names = [row[0] for row in rows]
            for number, region in enumerate(drawn.regions[: len(rows) * (len(rows[0]) - 1)]):
                series, place = divmod(number, len(rows))
                value = int(rows[place][series + 1])
                assert region.text.split()[0] == names[place].split()[0]
                end = end_of_ink(paints, region, kind)
                assert (end - zero) / unit == pytest.approx(value, abs=2.5 / abs(unit)), (region, drawn.samples[0].id)
        measured[kind] += 1
    assert set(measured) == set(KINDS)


def end_of_ink(paints: np.ndarray, region: Region, kind: str) -> float:
    """Where a bar ends or a mark has its middle, along the scale, in pixels."""
    height, width = paints.shape
    left, top, right, bottom = (
        side * size for side, size in zip(region.box, (width, height, width, height), strict=True)
    )
    x, y = int((left + right) / 2), int((top + bottom) / 2)
    number = paints[y, x]
    assert number >= 0, region
    if kind == "lines":
        return (top + bottom) / 2
    # The run of the paint around the bar's middle: a legend above has the paint, too.
    gaps = np.nonzero((paints[y] if kind == "rows" else paints[:, x]) != number)[0]
    return float(gaps[gaps > x].min() if kind == "rows" else gaps[gaps < y].max() + 1)


def test_answers_about_charts_follow_from_the_table() -> None:
    checked: Counter[str] = Counter()
    for drawn in draw("chart", 90):
        header, rows = table_of(drawn)
        columns = {name: {row[0]: int(row[number + 1]) for row in rows} for number, name in enumerate(header[1:])}
        for sample in drawn.samples:
            question = sample.messages[0].text
            quoted = ["".join(pair) for pair in re.findall('“([^”]*)”|"([^"]*)"', question)]
            series = next((name for name in header[1:] if name in quoted and len(header) > 2), header[1])
            values, named = columns[series], [name for name in quoted if name in columns[series]]
            match sample.task:
                case "chart_value":
                    assert sample.answer == str(values[named[0]])
                case "chart_value_yesno":
                    said = str(values[named[0]]) in re.findall("[0-9]+", question.replace(named[0], ""))
                    assert (sample.answer in ("是", "yes")) == said
                case "chart_highest" | "chart_lowest":
                    pick = max if sample.task == "chart_highest" else min
                    assert sample.answer == pick(values, key=lambda name: values[name])
                case "chart_difference":
                    assert sample.answer == str(abs(values[named[0]] - values[named[1]]))
                case "chart_compare_yesno":
                    assert (sample.answer in ("是", "yes")) == (values[named[0]] > values[named[1]])
                case "chart_count":
                    assert sample.answer == str(len(rows))
                case "chart_trend":
                    signs = np.sign(np.diff(list(values.values()))).tolist()
                    turns = [sign for place, sign in enumerate(signs) if not place or sign != signs[place - 1]]
                    shape = {(1.0,): 0, (-1.0,): 1, (1.0, -1.0): 2, (-1.0, 1.0): 3}[tuple(turns)]
                    assert sample.answer == TRENDS[shape][sample.language]
                case "chart_color":
                    number = [colour[sample.language] for colour in COLOURS].index(sample.answer)
                    assert (painted(drawn) == number).sum() > 20
                case _:
                    continue
            checked[sample.task] += 1
    assert len(checked) == 9


def test_kinds_are_equally_frequent_so_that_none_is_a_good_guess() -> None:
    charts = Counter(kind_of(drawn) for drawn in draw("chart", 90))
    assert set(charts) == set(KINDS)
    assert max(charts.values()) < 90 * 0.4
