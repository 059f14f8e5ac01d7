"""An MME of our own pictures is one in MME's form, and scores as one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import PIL.Image
import pytest

from tests.conftest import run_cli
from tuwen.chat.messages import Image, Message
from tuwen.config import TuwenError
from tuwen.data.sample import Sample
from tuwen.data.synth import SUITES, SynthConfig, Synthesiser
from tuwen.evaluate.benchmark import Prediction
from tuwen.evaluate.benchmarks.mme import MME
from tuwen.evaluate.mme_folder import SUBTASKS, write_mme
from tuwen.evaluate.score import score_files
from tuwen.vision import open_picture


def pair(number: int, task: str = "existence", answers: Sequence[str] = ("yes", "no")) -> list[Sample]:
    image = PIL.Image.new("RGB", (8 + number, 8), "red")
    return [
        Sample(
            id=f"{number}-{answer}-{place}",
            messages=(
                Message.of("user", Image(), f"Is it {place}?\nPlease answer yes or no."),
                Message.of("assistant", answer),
            ),
            images=(image,),
            task=task,
            pair=f"pair-{number}",
        )
        for place, answer in enumerate(answers)
    ]


def test_every_subtask_s_tasks_are_drawn_by_some_suite() -> None:
    assert set(SUBTASKS) <= {task for name in SUITES.names() for task in SUITES.get(name).tasks}


def test_drawn_pairs_become_an_mme_that_the_official_program_scores(tmp_path: Path) -> None:
    synthesiser = Synthesiser(SynthConfig(suites={"shapes": 1, "words": 1}, questions=None, size=64))
    samples = [sample for index in range(6) for sample in synthesiser.draw(3, index).samples]
    written = write_mme(samples, tmp_path)
    assert sum(written.left_out.values()) + 2 * sum(written.pictures.values()) == len(samples)
    benchmark = MME(tmp_path)
    items = benchmark.items()
    assert len(items) == 2 * sum(written.pictures.values())
    assert (
        {item.category for item in items} == set(written.pictures) == {"existence", "count", "position", "color", "OCR"}
    )
    assert all(open_picture(item.images[0]).size == (64, 64) for item in items)
    right = [Prediction(item.id, item.answer) for item in items]
    benchmark.write_predictions(right, tmp_path / "results")
    scores = score_files("mme", tmp_path, [tmp_path / "results"]).score.scores
    assert {task: figures["score"] for task, figures in scores["per_task"].items()} == dict.fromkeys(
        written.pictures, 200
    )
    always = benchmark.score([Prediction(item.id, "Yes.") for item in items])
    # Half of the questions, and no picture.
    assert always.headline["perception"] == 50 * len(written.pictures)


def test_the_quickstarts_model_scores_the_same_by_eval_and_by_score(tmp_path: Path) -> None:
    model = Path(__file__).parents[2] / "quickstart" / "model"
    if not (model / "config.json").is_file():
        pytest.skip("there is no quickstart/model: run `make quickstart` first")
    data, out = tmp_path / "mme", tmp_path / "results"
    synthesiser = Synthesiser(SynthConfig(suites={"shapes": 1, "words": 1}, size=128, languages=["en"]))
    write_mme((sample for index in range(10) for sample in synthesiser.draw(7, index).samples), data)
    result = run_cli("eval", model, "--bench", "mme", "--data", data, "--out", out, "--style", "plain")
    assert result.returncode == 0, result.stderr
    measured = json.loads((out / "mme" / "score.json").read_text(encoding="utf-8"))
    tables = sorted((out / "mme" / "official").glob("*.txt"))
    assert {path.stem for path in tables} == set(measured["scores"]["per_task"])
    # Picture, question, right answer and the model's, as the official program reads them.
    assert all(line.count("\t") == 3 for path in tables for line in path.read_text(encoding="utf-8").splitlines())
    scored = run_cli("score", "mme", "--data", data, "--predictions", out / "mme" / "official", "--json")
    found = json.loads(scored.stdout)
    assert (found["scores"], found["per_item"]) == (measured["scores"], measured["per_item"])
    others = sum(task["other_num"] for task in measured["scores"]["per_task"].values())
    assert len(measured["parse_failures"]) == others < len(found["per_item"])


def test_questions_end_as_mme_s_do(tmp_path: Path) -> None:
    chinese = [
        replace(
            sample,
            messages=(Message.of("user", Image(), "图里有红色吗?请回答是或否。"), Message.of("assistant", answer)),
            pair="zh",
        )
        for sample, answer in zip(pair(0), ("是", "否"), strict=True)
    ]
    write_mme([*pair(1), *chinese], tmp_path)
    lines = (tmp_path / "Your_Results/existence.txt").read_text(encoding="utf-8").splitlines()
    assert lines == [
        "0001.png\tIs it 0? Please answer yes or no.\tYes",
        "0001.png\tIs it 1? Please answer yes or no.\tNo",
        "0002.png\t图里有红色吗? Please answer yes or no.\tYes",
        "0002.png\t图里有红色吗? Please answer yes or no.\tNo",
    ]


def test_subtasks_in_folders_of_their_own(tmp_path: Path) -> None:
    write_mme(pair(1, "mood"), tmp_path, {"mood": "posters"})
    assert (tmp_path / "MME_Benchmark_release_version/posters/images/0001.png").is_file()
    assert (tmp_path / "MME_Benchmark_release_version/posters/questions_answers_YN/0001.txt").is_file()
    (tmp_path / "Your_Results/posters.txt").unlink()
    (tmp_path / "Your_Results").rmdir()
    assert [item.id for item in MME(tmp_path).items()] == ["posters/0001.png#0", "posters/0001.png#1"]


@pytest.mark.parametrize(
    ("samples", "subtasks", "message"),
    [
        (pair(1, answers=("yes", "yes")), None, "pair pair-1: answers 'yes', 'yes'; expected one yes and one no"),
        (pair(1)[:1], None, "pair pair-1: answers 'yes'; expected one yes and one no"),
        (pair(1, answers=("yes", "red")), None, "answers 'yes', 'red'"),
        (pair(1, "grounding"), None, "no yes/no pairs to write an MME of"),
        (pair(1), {"existence": "colour"}, "unknown subtask of MME 'colour'"),
    ],
)
def test_what_is_no_mme_is_refused(
    samples: list[Sample], subtasks: dict[str, str] | None, message: str, tmp_path: Path
) -> None:
    with pytest.raises(TuwenError) as caught:
        write_mme(samples, tmp_path, SUBTASKS if subtasks is None else subtasks)
    assert message in str(caught.value)
