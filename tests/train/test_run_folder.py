"""A run's folder can be read at any moment, and what is read is what the run went through."""

from __future__ import annotations

import json
import math
import os
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tuwen.config import TuwenError
from tuwen.train.looking.charts import Curve, make_charts, shorten, smooth
from tuwen.train.looking.run_facts import differences
from tuwen.train.looking.run_page import write_run_page
from tuwen.train.looking.run_table import size_on_disk, summarise
from tuwen.train.looking.step_lines import JsonLines, StepNumbers
from tuwen.train.looking.terminal import drawn_charts
from tuwen.train.run_folder import RunFolder, find_runs, open_run, open_runs

STAGES = ("align", "instruct")
TWO_STAGES = "stages: [{name: align}, {name: instruct}]"
JUNK = (b"[" * 100_000, b'{"stage": 3, "step": 1}', b'{"stage": "\\ud800", "step": 1}', b'{"stage": "a", "step": -1}')
VALUES = st.floats(allow_nan=False, width=32)
LINES = st.lists(
    st.fixed_dictionaries(
        {"stage": st.sampled_from(STAGES), "step": st.integers(1, 12)},
        optional={
            "answers": VALUES,
            "time": st.floats(0, 2e9),
            "lr": st.dictionaries(st.sampled_from(["vision", "connector"]), VALUES),
            "note": st.text(),
            "a new one": VALUES,
        },
    ),
    max_size=30,
)


def write(path: Path, lines: list[Any]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def make_run(
    path: Path, lines: list[dict[str, Any]], recipe: str = "stages: [{name: align}, {name: instruct}]"
) -> Path:
    """A run's folder with these metrics."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "recipe.yaml").write_text(recipe, encoding="utf-8")
    write(path / "metrics.jsonl", lines)
    return path


def steady(stage: str, steps: int, *, began: float = 1000.0, **values: float) -> list[dict[str, Any]]:
    """Lines of a stage, a second each."""
    return [{"stage": stage, "step": step, "time": began + step, **values} for step in range(1, steps + 1)]


def course(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a run went through in the end: a line takes the place of its step and of all that came after it."""
    kept: list[dict[str, Any]] = []
    for line in lines:
        key = (STAGES.index(line["stage"]), line["step"])
        kept = [one for one in kept if (STAGES.index(one["stage"]), one["step"]) < key] + [line]
    return kept


@given(LINES)
def test_a_run_that_went_back_is_read_as_it_went_on(lines: list[dict[str, Any]]) -> None:
    numbers = StepNumbers(STAGES)
    for line in lines:
        assert numbers.add(line)
    expected = course(lines)
    assert [(STAGES[stage], step) for stage, step in numbers.track.keys] == [
        (line["stage"], line["step"]) for line in expected
    ]
    for name in ("answers", "a new one"):
        assert [value for value in numbers.column(name) if not math.isnan(value)] == [
            line[name] for line in expected if name in line
        ]
    rates = [line.get("lr", {}).get("vision") for line in expected]
    assert [None if math.isnan(value) else value for value in numbers.column("lr/vision")] == rates
    assert "note" not in numbers.columns


@given(LINES, st.data())
def test_half_a_last_line_is_still_being_written(
    tmp_path_factory: pytest.TempPathFactory, lines: list[dict[str, Any]], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("cut") / "metrics.jsonl"
    write(path, lines)
    whole = path.read_bytes()
    kept = whole[: data.draw(st.integers(0, len(whole)))]
    path.write_bytes(kept)
    found = JsonLines(path)
    parsed = list(found)
    assert parsed == lines[: len(parsed)]
    assert kept.count(b"\n") <= len(parsed) <= kept.count(b"\n") + 1
    assert found.broken == 0


@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from(JUNK))), st.binary(max_size=40))
def test_whatever_lies_in_the_files_there_is_no_traceback(
    tmp_path_factory: pytest.TempPathFactory, junk: list[bytes], recipe: bytes
) -> None:
    path = tmp_path_factory.mktemp("junk")
    for name in ("metrics", "validation", "samples", "bad_samples"):
        (path / f"{name}.jsonl").write_bytes(b"\n".join(junk) + b"\n")
    (path / "recipe.yaml").write_bytes(recipe)
    run = open_run(path)
    assert summarise(run).step == 0
    assert not run.samples
    assert not run.stages
    assert not make_charts([run])


def test_lines_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", steady("align", 3, answers=1.0))
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('\0\0\n{"step": 4}\n{"stage": "align", "step": 5, "answers": 2.0}\n{"stage": "al')
    folder = RunFolder(run)
    assert len(folder.metrics) == 4
    assert folder.problems == ["metrics.jsonl: lines that cannot be read and are left out: 2"]


@pytest.mark.parametrize("name", ["recipe.yaml", "metrics.jsonl", "samples.jsonl"])
def test_a_file_that_cannot_be_opened_is_named_and_the_rest_is_read(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path / "run", steady("align", 3, answers=1.0))
    (run / name).unlink(missing_ok=True)
    (run / name).mkdir()
    folder = open_run(run)
    assert len(folder.metrics) == (0 if name == "metrics.jsonl" else 3)
    assert not folder.samples
    assert folder.recipe == {} or name != "recipe.yaml"
    assert folder.problems == [f"{name}: cannot be read (Is a directory)"]


def test_the_end_of_a_long_run_is_as_the_whole_of_it(tmp_path: Path) -> None:
    lines = steady("align", 10, answers=9.0) + [
        {"stage": "instruct", "step": step, "answers": step / 100, "padding": 0.5} for step in range(1, 4001)
    ]
    folder = RunFolder(make_run(tmp_path / "run", lines))
    assert len(folder.latest) < 4000
    assert folder.latest.track.keys[-1] == folder.metrics.track.keys[-1] == (1, 4000)
    assert folder.latest.recent("answers", 20) == folder.metrics.recent("answers", 20) == pytest.approx(39.905)


def test_means_do_not_reach_into_the_stage_before(tmp_path: Path) -> None:
    lines = [*steady("align", 50, answers=9.0), *steady("instruct", 2, answers=1.0)]
    assert summarise(RunFolder(make_run(tmp_path / "run", lines))).losses == {"answers": 1.0}


def test_state_as_far_as_files_tell(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", steady("align", 100, answers=1.0))
    assert RunFolder(run).state(now=1100 + 599) == "running"
    assert RunFolder(run).state(now=1100 + 601) == "failed"
    # What is being written is hidden.
    (run / "checkpoints" / ".align-000050~1234").mkdir(parents=True)
    assert RunFolder(run).state(now=9999) == "failed"
    (run / "checkpoints" / "align-000050").mkdir()
    assert RunFolder(run).state(now=9999) == "stopped"
    assert summarise(RunFolder(run), now=9999).quiet == 9999 - 1100
    write(run / "validation.jsonl", [{"stage": "align", "step": 100, "loss": 1.0, "time": 9000.0}])
    assert RunFolder(run).state(now=9100) == "running"
    (run / "model").mkdir()
    (run / "model" / "config.json").write_text("{}", encoding="utf-8")
    assert RunFolder(run).state(now=9999) == "done"


def test_slow_steps_are_waited_for(tmp_path: Path) -> None:
    lines = [{"stage": "align", "step": step, "time": 300.0 * step} for step in range(1, 5)]
    run = make_run(tmp_path / "run", lines)
    assert RunFolder(run).state(now=1200 + 19 * 300) == "running"
    assert RunFolder(run).state(now=1200 + 21 * 300) == "failed"


def test_runs_are_found_in_folders_of_folders_the_newest_first(tmp_path: Path) -> None:
    make_run(tmp_path / "old", steady("align", 1, began=100))
    make_run(tmp_path / "sweep" / "new", steady("align", 1, began=300))
    make_run(tmp_path / "sweep" / "new" / "stages" / "inner", steady("align", 1))
    make_run(tmp_path / "middle", steady("align", 1, began=200))
    (tmp_path / "nothing").mkdir()
    assert [run.name for run in find_runs(tmp_path)] == ["sweep/new", "middle", "old"]
    assert [run.name for run in find_runs(tmp_path / "old")] == ["old"]
    with pytest.raises(TuwenError, match=r"nowhere: not found; give the folder that holds the runs"):
        find_runs(tmp_path / "nowhere")


def test_runs_of_one_name_are_told_apart_and_one_given_twice_is_one(tmp_path: Path) -> None:
    for place in ("a/toy", "b/toy", "b/other"):
        make_run(tmp_path / place, [])
    paths = [tmp_path / "a" / "toy", tmp_path / "b" / "toy", tmp_path / "b" / ".." / "a" / "toy", tmp_path / "b/other"]
    assert [run.name for run in open_runs(paths)] == ["a/toy", "b/toy", "other"]
    with pytest.raises(TuwenError, match="not a run's folder, it has neither recipe.yaml nor metrics.jsonl"):
        open_run(tmp_path / "b")


def test_steps_are_counted_over_stages(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [*steady("align", 7, answers=1.0), *steady("instruct", 2, answers=1.0)])
    write(run / "validation.jsonl", [{"stage": "instruct", "step": 2, "loss": 0.5}])
    folder = RunFolder(run)
    assert folder.starts == {"align": 0, "instruct": 7}
    answers, validation = make_charts([folder])
    assert list(answers.curves[0].steps) == list(range(1, 10))
    assert answers.curves[0].ends == (7, 9)
    assert (validation.name, list(validation.curves[0].steps)) == ("validation/loss", [9])


def test_bad_samples_of_all_processes_count(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [])
    write(run / "bad_samples.jsonl", [{"reason": "broken", "left_out": True}, {"reason": "long", "left_out": False}])
    write(run / "bad_samples.1.jsonl", [{"reason": "broken", "left_out": True}])
    found = RunFolder(run).bad_samples
    assert (found.left_out, found.shortened, dict(found.reasons)) == (2, 1, {"broken": 2})


def test_sizes_count_each_file_once(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(bytes(1000))
    os.link(tmp_path / "one", tmp_path / "the same")
    (tmp_path / "link").symlink_to(tmp_path / "one")
    size = size_on_disk(tmp_path)
    assert 1000 <= size < 2000


@given(st.lists(st.one_of(st.floats(), st.integers(), st.just(10**400)), min_size=1, max_size=9), st.floats(0, 0.9999))
def test_whatever_numbers_a_run_writes_they_are_drawn(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], weight: float
) -> None:
    path = tmp_path_factory.mktemp("drawn")
    lines = [{"stage": "align", "step": step, "answers": value} for step, value in enumerate(values)]
    runs = [RunFolder(make_run(path, lines))]
    console = Console(width=60, file=StringIO())
    for chart in drawn_charts(runs, [], weight=weight, width=60):
        console.print(chart)
    assert "loss of answers" in console.file.getvalue()  # type: ignore[attr-defined]
    write_run_page(runs, path / "report.html", weight=weight)
    assert "Infinity" not in (path / "report.html").read_text(encoding="utf-8")


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=60), st.floats(0, 0.999), st.data())
def test_smoothing_is_a_mean_of_the_stage_so_far(values: list[float], weight: float, data: st.DataObject) -> None:
    middle = data.draw(st.integers(0, len(values)))
    ends = tuple(dict.fromkeys(end for end in (middle, len(values)) if end))
    curve = Curve(0, "", range(1, len(values) + 1), values, values, ends)
    smoothed = list(smooth(curve, weight).values)
    assert list(smooth(curve, 0).values) == pytest.approx(values)
    first = 0
    for end in ends:
        assert smoothed[first] == pytest.approx(values[first])
        for place in range(first, end):
            so_far = values[first : place + 1]
            assert min(so_far) - 1e-6 <= smoothed[place] <= max(so_far) + 1e-6
        first = end


@given(st.lists(st.one_of(st.floats(-1e3, 1e3), st.just(math.nan)), min_size=1, max_size=200), st.integers(1, 50))
def test_a_short_curve_keeps_range_and_stages(values: list[float], most: int) -> None:
    ends = tuple(dict.fromkeys((len(values) // 3 or len(values), len(values))))
    short = shorten(Curve(0, "", range(1, len(values) + 1), values, values, ends), most)
    assert len(short.steps) <= most + len(ends)
    assert len(short.ends) == len(ends)
    assert all(short.steps[end - 1] <= last for end, last in zip(short.ends, ends, strict=True))
    assert short.steps == sorted(set(short.steps))
    finite = [value for value in values if math.isfinite(value)]
    lows, highs = ([value for value in side if math.isfinite(value)] for side in (short.low, short.high))
    assert min(lows, default=None) == min(finite, default=None)
    assert max(highs, default=None) == max(finite, default=None)
    for low, value, high in zip(short.low, short.values, short.high, strict=True):
        assert math.isnan(value) or low - 1e-9 <= value <= high + 1e-9


def test_one_run_has_a_chart_for_a_family_and_several_have_one_for_each_member(tmp_path: Path) -> None:
    lines = [{"stage": "align", "step": 1, "answers": 1.0, "tokens/s": 9.0, "lr": {"vision": 1e-5, "connector": 1e-3}}]
    one, other = (RunFolder(make_run(tmp_path / name, lines)) for name in ("one", "other"))
    assert [chart.name for chart in make_charts([one])] == ["answers", "lr", "tokens/s"]
    assert [chart.name for chart in make_charts([one, other], ["lr"])] == ["lr/connector", "lr/vision"]
    (connector, _) = make_charts([one, other], ["lr"])
    assert [curve.label for curve in connector.curves] == ["one", "other"]
    with pytest.raises(TuwenError, match=r"unknown metric 'answer': .*did you mean 'answers'"):
        make_charts([one], ["answer"])


def test_only_what_differs_between_recipes_is_listed_and_stages_by_name(tmp_path: Path) -> None:
    runs = [
        RunFolder(make_run(tmp_path / name, [], recipe))
        for name, recipe in {
            "one": "{seed: 1, model: m, stages: [{name: align, steps: 5}, {name: instruct, steps: 9}]}",
            "two": "{seed: 1, model: m, stages: [{name: instruct, steps: 8}]}",
        }.items()
    ]
    assert differences(runs) == [
        ("stages.align.name", ["align", "–"]),
        ("stages.align.steps", ["5", "–"]),
        ("stages.instruct.steps", ["9", "8"]),
    ]
    assert differences([runs[0], runs[0]]) == []
