"""Benchmarks one after the other on one model, by one process or several, and one report (``tuwen eval``)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tuwen.config import TuwenError
from tuwen.evaluate.answerers import ENDPOINT, Answerer, EndpointAnswerer, LocalAnswerer
from tuwen.evaluate.benchmark import MOST_NAMED, Benchmark, Item, missing_pictures
from tuwen.evaluate.judge import Judge
from tuwen.evaluate.records import RecordLog
from tuwen.evaluate.results_page import write_results
from tuwen.evaluate.run import (
    BLIND,
    RECORDS,
    Process,
    Result,
    ask,
    begin,
    open_benchmarks,
    score_records,
    shuffled_pictures,
    wait_for_all,
)

# Children of this process know by it that they answer and do not score.
CHILD = "TUWEN_EVAL_CHILD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """What is measured.

    Attributes:
        model: a model's folder, or ``openai:URL#MODEL``.
        benchmarks: their names.
        data: folder with the data of each in a folder of its name, or of the only one.
        out: folder of the results.
        style: of prompts; each benchmark's usual one unless said.
        blind: also ask everything about the pictures of other items.
        batch_size: items that a local model answers at a time.
        nproc: processes that answer.
        device: of a local model.
        dtype: of its weights.
        endpoint: limits of an endpoint, see ``EndpointLimits``.
        api_key_file: for an endpoint.
        judge: of benchmarks that are judged.
    """

    model: str
    benchmarks: Sequence[str]
    data: Path
    out: Path
    style: str | None = None
    blind: bool = False
    batch_size: int = 16
    nproc: int = 1
    device: str | None = None
    dtype: str | None = None
    endpoint: dict[str, Any] = field(default_factory=dict)
    api_key_file: Path | None = None
    judge: Judge | None = None


def evaluate(campaign: Campaign, console: Console | None = None) -> list[Result]:
    """Ask, score and report.

    Raises:
        TuwenError: when the model, the data or earlier results do not allow it.
    """
    benchmarks = open_benchmarks(campaign.benchmarks, campaign.data, campaign.style)
    questions = {benchmark.name: list(benchmark.items()) for benchmark in benchmarks}
    process = Process.of_environment()
    first = process.rank == 0 and CHILD not in os.environ
    if first:
        begin(campaign.out, {"model": campaign.model, "style": campaign.style})
    display = _Display(console) if first else None
    with display or nullcontext():
        if campaign.nproc > 1 and CHILD not in os.environ:
            _answer_in_children(campaign, benchmarks, questions, display)
        else:
            _answer(campaign, benchmarks, questions, process, display)
            if first and process.world > 1:
                _wait(campaign, benchmarks, questions, display)
    if not first:
        return []
    results = [score_records(benchmark, campaign.out / benchmark.name, campaign.judge) for benchmark in benchmarks]
    write_results(results, campaign.out / "report.html", campaign.model)
    return results


def _kinds(campaign: Campaign, items: list[Item]) -> dict[str, list[Item]]:
    """What is asked, by the kind of its records."""
    return {RECORDS: items, **({BLIND: shuffled_pictures(items)} if campaign.blind else {})}


def _answer(
    campaign: Campaign,
    benchmarks: Sequence[Benchmark],
    questions: dict[str, list[Item]],
    process: Process,
    display: _Display | None,
) -> None:
    answerer: Answerer | None = None
    for benchmark in benchmarks:
        for kind, items in _kinds(campaign, questions[benchmark.name]).items():
            folder = campaign.out / benchmark.name
            if RecordLog(folder, kind).count() >= len(items) and answerer is None:
                # A run that is whole needs no model; scoring notices what does not belong to it.
                continue
            _require_pictures(benchmark, items)
            # Loaded when the first question is to be asked.
            answerer = answerer or open_answerer(campaign)
            asked = display.watcher(benchmark.name) if display else None
            ask(benchmark, items, answerer, folder, kind=kind, process=process, asked=asked)


def _require_pictures(benchmark: Benchmark, items: Sequence[Item]) -> None:
    """Refuse to ask before all pictures are there: what is asked without them would have to be asked again."""
    missing = missing_pictures(items)
    if missing:
        named = ", ".join(missing[:MOST_NAMED]) + (", …" if len(missing) > MOST_NAMED else "")
        raise TuwenError(f"{benchmark.data}: {benchmark.name}: {len(missing)} pictures are not there: {named}")


def open_answerer(campaign: Campaign) -> Answerer:
    """Who answers in a campaign.

    Raises:
        TuwenError: when the model cannot be opened.
    """
    if campaign.model.startswith(ENDPOINT):
        from tuwen.config import parse_config
        from tuwen.data.endpoint.client import EndpointLimits

        limits = parse_config(EndpointLimits, campaign.endpoint, "endpoint")
        return EndpointAnswerer(campaign.model, limits, campaign.api_key_file)
    from tuwen.infer import load

    device = campaign.device
    if device is None and "LOCAL_RANK" in os.environ:
        import torch

        device = f"cuda:{os.environ['LOCAL_RANK']}" if torch.cuda.is_available() else None
    return LocalAnswerer(campaign.model, load(campaign.model, device=device, dtype=campaign.dtype), campaign.batch_size)


def _answer_in_children(
    campaign: Campaign,
    benchmarks: Sequence[Benchmark],
    questions: dict[str, list[Item]],
    display: _Display | None,
) -> None:
    """Let processes of this machine answer a share each.

    Raises:
        TuwenError: when one of them failed; its own message stands above.
    """
    environment = {**os.environ, CHILD: "1", "WORLD_SIZE": str(campaign.nproc)}
    command = [sys.executable, "-m", "tuwen", *sys.argv[1:]]
    children = [
        subprocess.Popen(
            command, env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}, stdout=subprocess.DEVNULL
        )
        for rank in range(campaign.nproc)
    ]
    try:
        while any(child.poll() is None for child in children):
            _show(campaign, benchmarks, questions, display)
            if any(child.poll() not in (None, 0) for child in children):
                break
            time.sleep(0.2)
    finally:
        for child in children:
            if child.poll() is None and any(other.poll() not in (None, 0) for other in children):
                child.terminate()
            child.wait()
    if any(child.returncode for child in children):
        raise TuwenError("a process that answers has failed (its message stands above); run again to go on")
    _show(campaign, benchmarks, questions, display)


def _wait(
    campaign: Campaign,
    benchmarks: Sequence[Benchmark],
    questions: dict[str, list[Item]],
    display: _Display | None,
) -> None:
    for benchmark in benchmarks:
        for kind, items in _kinds(campaign, questions[benchmark.name]).items():
            asked = display.watcher(benchmark.name) if display else None
            wait_for_all(items, campaign.out / benchmark.name, kind, asked)


def _show(
    campaign: Campaign,
    benchmarks: Sequence[Benchmark],
    questions: dict[str, list[Item]],
    display: _Display | None,
) -> None:
    if display is None:
        return
    for benchmark in benchmarks:
        for kind, items in _kinds(campaign, questions[benchmark.name]).items():
            count = RecordLog(campaign.out / benchmark.name, kind).count()
            display.watcher(benchmark.name)(kind, count, len(items))


class _Display(AbstractContextManager["_Display"]):
    """A progress bar for each benchmark."""

    def __init__(self, console: Console | None) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._bars: dict[tuple[str, str], Any] = {}

    def __enter__(self) -> _Display:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def watcher(self, name: str) -> Any:
        """Shows how many of a benchmark's items are answered."""

        def asked(kind: str, count: int, total: int) -> None:
            key = (name, kind)
            if key not in self._bars:
                label = name if kind == RECORDS else f"{name} {kind} 打乱图片"
                self._bars[key] = self._progress.add_task(label, total=total)
            self._progress.update(self._bars[key], completed=count)

        return asked
