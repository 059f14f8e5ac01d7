"""An evaluation: ask what has not been asked yet, then score, then write the report (``tuwen eval``).

What is asked and what is scored are apart: answers are records on disk, and scoring reads nothing else, so that scoring
again needs no model and gives the same bytes.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuwen.config import TuwenError
from tuwen.data.storage import written_whole
from tuwen.evaluate.answerers import Answerer, Given
from tuwen.evaluate.benchmark import BENCHMARKS, Benchmark, Item, Prediction, Score
from tuwen.evaluate.benchmarks._judged import Judged
from tuwen.evaluate.intervals import Intervals, ends, ends_of, intervals
from tuwen.evaluate.judge import Judge, judge_answers
from tuwen.evaluate.records import Record, RecordLog, images_digest, left_to_ask, prompt_hash

RECORDS, BLIND = "records", "blind"
SETTINGS = "run.json"
# What each answer was worth; two of these can be compared without the data.
VERDICTS = "verdicts.jsonl"
# Between looks at what other processes have done.
POLL_SECONDS = 0.5
Asked = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """This process among those that answer together.

    Attributes:
        rank: its number, from 0.
        world: how many there are.
    """

    rank: int = 0
    world: int = 1

    @classmethod
    def of_environment(cls) -> Process:
        """As ``torchrun`` says it."""
        return cls(rank=int(os.environ.get("RANK", "0")), world=int(os.environ.get("WORLD_SIZE", "1")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One benchmark's outcome.

    Attributes:
        benchmark: what was measured.
        scorer: by which the score is.
        items: all of them.
        records: the answers by item.
        score: by that scorer.
        intervals: of all its figures.
        blind: the score with pictures of other items, and its intervals; None where it was not asked for.
    """

    benchmark: Benchmark
    scorer: str
    items: Sequence[Item]
    records: dict[str, Record]
    score: Score
    intervals: Intervals
    blind: tuple[Score, Intervals] | None


def find_data(name: str, data: Path, several: bool) -> Path:
    """The folder of a benchmark's data: ``DATA/NAME``, or the folder itself where it is the only one that is measured.

    Raises:
        TuwenError: when neither is there.
    """
    own = data / name
    if own.is_dir():
        return own
    if several or not data.is_dir():
        raise TuwenError(f"{own}: not found; expected the data of {name}, see `tuwen bench show {name}`")
    return data


def open_benchmarks(names: Sequence[str], data: Path, style: str | None = None) -> list[Benchmark]:
    """Benchmarks by name, with their data.

    Raises:
        TuwenError: for a name that there is not, and data that is not there.
    """
    if len(set(names)) < len(names):
        raise TuwenError(f"--bench {','.join(names)}: a benchmark is named twice")
    found: list[Benchmark] = [BENCHMARKS.get(name)(find_data(name, data, len(names) > 1), style) for name in names]
    return found


def shuffled_pictures(items: Sequence[Item], seed: int = 0) -> list[Item]:
    """The same questions, each about the pictures of another item with as many of them; those without are left out."""
    groups: dict[int, list[Item]] = {}
    for item in items:
        if item.images:
            groups.setdefault(len(item.images), []).append(item)
    result = []
    for members in groups.values():
        clusters = sorted({member.cluster or member.id for member in members})
        random.Random(seed).shuffle(clusters)
        # Each cluster is shown the pictures of the next one.
        following = dict(zip(clusters, clusters[1:] + clusters[:1], strict=True))
        images = {member.cluster or member.id: member.images for member in members}
        result += [replace(item, images=images[following[item.cluster or item.id]]) for item in members]
    return result


def ask(
    benchmark: Benchmark,
    items: Sequence[Item],
    answerer: Answerer,
    folder: Path,
    *,
    kind: str = RECORDS,
    process: Process = Process(),
    asked: Asked | None = None,
) -> None:
    """Ask those of the items that belong to this process and have no answer yet.

    Args:
        benchmark: what they are of.
        items: all items.
        answerer: who answers.
        folder: of the benchmark's records.
        kind: of records.
        process: this one.
        asked: called with the kind, and how many of all items are answered.

    Raises:
        TuwenError: when answers in the folder were given to other prompts, or an item cannot be asked.
    """
    settings = {**answerer.settings, "kind": kind}
    hashes = {item.id: prompt_hash(item.messages, {**settings, "tokens": item.tokens}) for item in items}
    with RecordLog(folder, kind, process.rank) as log:
        done = log.read()
        # Shared out before looking at what is done, which other processes add to meanwhile.
        left = left_to_ask(items[process.rank :: process.world], done, hashes, folder)
        count = len(done)

        def take(found: list[tuple[Item, Given, float]]) -> None:
            nonlocal count
            log.add(_record(benchmark, item, given, seconds, hashes[item.id]) for item, given, seconds in found)
            count += len(found)
            if asked is not None:
                asked(kind, count, len(items))

        if asked is not None:
            asked(kind, count, len(items))
        answerer.answer(left, take)


def _record(benchmark: Benchmark, item: Item, given: Given, seconds: float, prompt: str) -> Record:
    text, finish_reason, tokens = given
    return Record(
        id=item.id,
        images=images_digest(item.images),
        prompt=prompt,
        answer=text,
        parsed=benchmark.parse(item, text),
        parser_version=benchmark.parser_version,
        finish_reason=finish_reason,
        tokens=tokens,
        seconds=round(seconds, 4),
    )


def wait_for_all(items: Sequence[Item], folder: Path, kind: str = RECORDS, asked: Asked | None = None) -> None:
    """Return when other processes have answered all items."""
    log = RecordLog(folder, kind)
    while (count := log.count()) < len(items):
        if asked is not None:
            asked(kind, count, len(items))
        time.sleep(POLL_SECONDS)


def score_records(benchmark: Benchmark, folder: Path, judge: Judge | None = None) -> Result:
    """Score what is on disk, and write predictions in the official form and in Tuwen's own, and the scores.

    Args:
        benchmark: what was asked.
        folder: of its records.
        judge: asked for what it has not said yet, where a benchmark is judged; without one, its kept replies count.

    Raises:
        TuwenError: when an item has no answer, or a judged benchmark has no judge.
    """
    items = benchmark.items()
    records = RecordLog(folder).read()
    missing = [item.id for item in items if item.id not in records]
    if missing:
        raise TuwenError(
            f"{folder}: {len(missing)} items have no answer, the first is {missing[0]}; run again to go on"
        )
    predictions = [Prediction(item.id, records[item.id].answer) for item in items]
    judged = isinstance(benchmark, Judged)
    said = judge_answers(benchmark, items, predictions, judge, folder) if isinstance(benchmark, Judged) else predictions
    scorer = benchmark.usual_scorer(said)
    score = benchmark.score(said, scorer)
    blind_records = RecordLog(folder, BLIND).read()
    blind = None
    # Judging everything once more would cost as much again.
    if blind_records and not judged:
        # Items without pictures are the same blind.
        given = {**records, **blind_records}
        blind = benchmark.score([Prediction(item.id, given[item.id].answer) for item in items])
    result = Result(
        benchmark=benchmark,
        scorer=scorer,
        items=items,
        records=records,
        score=score,
        intervals=intervals(items, score),
        blind=None if blind is None else (blind, intervals(items, blind)),
    )
    benchmark.write_predictions(predictions, folder / "official")
    _write(folder / "predictions.jsonl", "".join(_line(one) for one in predictions))
    _write(folder / VERDICTS, "".join(_verdict(item, score) for item in items))
    _write(folder / "score.json", json.dumps(summary(result), ensure_ascii=False, indent=2) + "\n")
    return result


def _line(prediction: Prediction) -> str:
    return json.dumps({"id": prediction.id, "answer": prediction.text}, ensure_ascii=False) + "\n"


def _verdict(item: Item, score: Score) -> str:
    parsed = score.parsed.get(item.id)
    line = {
        "id": item.id,
        "category": item.category,
        "cluster": item.cluster or item.id,
        "parsed": None if parsed is None else parsed.value,
        "credit": None if parsed is None else parsed.credit,
    }
    return json.dumps(line, ensure_ascii=False) + "\n"


def _write(path: Path, text: str) -> None:
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def summary(result: Result) -> dict[str, Any]:
    """A result as JSON: scores, intervals, parse failures, what it was blind."""
    score, benchmark = result.score, result.benchmark
    unread = [name for name, parsed in score.parsed.items() if parsed.value is None]
    return {
        "benchmark": benchmark.name,
        "scorer": result.scorer,
        "style": benchmark.style,
        "parser_version": benchmark.parser_version,
        "items": len(result.items),
        "headline": dict(score.headline),
        "headline_intervals": ends(result.intervals.headline),
        "scores": score.scores,
        "score_intervals": ends(result.intervals.scores),
        "credits": {
            name or "all": {"mean": one.value, "interval": ends_of(one)}
            for name, one in result.intervals.credits.items()
        },
        "parse_failures": unread,
        "cut_off": [name for name, record in result.records.items() if record.finish_reason == "length"],
        "blind": None if result.blind is None else dict(result.blind[0].headline),
        "blind_intervals": None if result.blind is None else ends(result.blind[1].headline),
        "per_item": score.per_item,
    }


def begin(out: Path, settings: dict[str, Any]) -> None:
    """Note what is measured in a folder of results, or check that it is the same as before.

    Raises:
        TuwenError: when the folder holds another model's results.
    """
    path = out / SETTINGS
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise TuwenError(f"{path}: not valid JSON; expected what an earlier run has written") from None
        for name, value in settings.items():
            if before.get(name) != value:
                raise TuwenError(
                    f"{out}: holds results with {name} {before.get(name)!r}, not {value!r}; choose another --out"
                )
        return
    _write(path, json.dumps(settings, ensure_ascii=False, indent=2) + "\n")
