"""From nothing to a small model that sees: draw, build, train, measure, show (`tuwen quickstart`)."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tuwen.config import TuwenError, to_yaml
from tuwen.data.media import fetch
from tuwen.data.sample import Sample
from tuwen.data.source import parse_sources
from tuwen.evaluate.held_out import Outcome, measure, score
from tuwen.evaluate.report import scores_json, write_report
from tuwen.infer import Chatter, load
from tuwen.train.recipe import Recipe, find_recipe, read_recipe
from tuwen.train.run import run_recipe
from tuwen.vision import open_picture

MARKER = ".tuwen-quickstart"
ITEMS_PER_TASK = 100
# Far from any seed a person would give, so that no measured picture was ever trained on.
HELD_OUT_SEED = 1_000_003
EXAMPLES = 4


def run(
    out: Path, *, seed: int = 0, recipe: str | Path = "quickstart", overrides: Sequence[str] = ()
) -> dict[str, Any]:
    """Run the quickstart and write its folder: model, pictures, ``scores.json``, ``report.html``.

    Args:
        out: the folder; an earlier quickstart in it is replaced.
        seed: of weights, pictures and order.
        recipe: what is built and trained.
        overrides: ``key=value`` assignments in it.

    Returns:
        What ``scores.json`` holds.

    Raises:
        TuwenError: when ``out`` holds something else, a font is missing, or the disk is full.
    """
    console = Console()
    chosen = read_recipe(find_recipe(recipe), [f"seed={seed}", *overrides])
    _prepare(out)
    console.print(f"[bold]图文 Tuwen quickstart[/] · seed {seed} · {torch.get_num_threads()} threads · [cyan]{out}[/]")
    started = time.monotonic()
    samples = held_out_samples(chosen, seed)
    drawn = time.monotonic()
    console.print(f"drew {len(samples)} held-out questions in {drawn - started:.1f} s")
    model_path = run_recipe(chosen, out)
    trained = time.monotonic()
    vlm = load(model_path)
    outcomes = _measure(vlm, samples, seed, console)
    seconds = {"data": drawn - started, "train": trained - drawn, "evaluate": time.monotonic() - trained}
    scores = scores_json(score(outcomes), seconds)
    (out / "scores.json").write_text(json.dumps(scores, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    _write_report(out, chosen, scores, outcomes, vlm)
    _show(console, out, scores, outcomes, vlm)
    return scores


def held_out_samples(recipe: Recipe, seed: int, per_task: int = ITEMS_PER_TASK) -> list[Sample]:
    """Labelled samples of every task of the recipe's last stage, on pictures that training never draws.

    Both halves of a yes/no pair are taken or left together.
    """
    stage = recipe.stages[-1]
    mixture = parse_sources(stage.sources or recipe.sources, "sources")
    counts: dict[str, int] = {}
    taken: list[Sample] = []
    index, since_new = 0, 0
    while since_new < 200:
        since_new += 1
        pairs: set[str | None] = set()
        for sample in mixture.group(HELD_OUT_SEED + seed, index):
            in_pair = sample.pair is not None and sample.pair in pairs
            if sample.images and (in_pair or counts.get(sample.task, 0) < per_task):
                counts[sample.task] = counts.get(sample.task, 0) + 1
                pairs.add(sample.pair)
                taken.append(sample)
                since_new = 0
        index += 1
    return taken


def _prepare(out: Path) -> None:
    if out.exists() and any(out.iterdir()) and not (out / MARKER).is_file():
        raise TuwenError(f"{out}: holds files that are not a quickstart's; choose another folder with --out")
    try:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        (out / MARKER).write_text("A folder that `tuwen quickstart` may replace.\n", encoding="utf-8")
    except OSError as error:
        raise TuwenError(f"{out}: cannot be written ({error.strerror})") from None


def _measure(vlm: Chatter, samples: Sequence[Sample], seed: int, console: Console) -> list[Outcome]:
    columns = (TextColumn("[bold]measuring"), BarColumn(bar_width=None), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("measuring", total=2 * len(samples))
        return measure(vlm, samples, seed=seed, after_batch=lambda done: progress.update(task, completed=done))


def _write_report(out: Path, recipe: Recipe, scores: dict[str, Any], outcomes: Sequence[Outcome], vlm: Chatter) -> None:
    parameters = sum(tensor.numel() for tensor in vlm.model.parameters())
    write_report(
        out / "report.html",
        title="图文 Tuwen quickstart",
        scores=scores,
        outcomes=outcomes,
        metrics=out / "metrics.jsonl",
        facts={
            "模型 model": f"{parameters / 1e6:.2f} M parameters, {vlm.processor.tokens_per_tile} tokens a picture",
            "组成 parts": f"{vlm.model.config.vision_config.model_type} × "
            f"{vlm.model.config.connector_config['type']} × {vlm.model.config.text_config.model_type}",
            "阶段 stages": ", ".join(f"{stage.name}: {stage.duration}, {stage.batch}" for stage in recipe.stages),
            "种子 seed": str(recipe.seed),
            "线程 threads": str(torch.get_num_threads()),
            "torch": torch.__version__,
        },
        recipe=to_yaml(recipe),
    )


def _show(console: Console, out: Path, scores: dict[str, Any], outcomes: Sequence[Outcome], vlm: Chatter) -> None:
    table = Table(title="held-out pictures, % right", title_justify="left")
    for heading in ("task", "accuracy", "blind", "chance", "n"):
        table.add_column(heading, justify="left" if heading == "task" else "right")
    for name, task in scores["tasks"].items():
        table.add_row(name, *(f"{task[kind]:.1f}" for kind in ("accuracy", "blind", "chance")), str(task["n"]))
    mean = scores["mean"]
    table.add_row("[bold]mean", *(f"[bold]{mean[kind]:.1f}" for kind in ("accuracy", "blind", "chance")), "")
    console.print(table)
    pictures = out / "pictures"
    pictures.mkdir()
    for number, outcome in enumerate(_examples(outcomes)):
        place = pictures / f"{number + 1}.png"
        open_picture(fetch(outcome.sample.images[0])).save(place)
        question = outcome.sample.messages[-2].text
        answer = vlm.chat(question, [place], greedy=True, max_new_tokens=24)
        colour = "green" if outcome.right else "red"
        console.print(
            f"[dim]{place}[/]  {question}  [{colour}]{answer}[/]  [dim](应为 expected {outcome.sample.answer})"
        )
    example = pictures / "1.png"
    console.print(
        f"\n报告 report   [cyan]{out / 'report.html'}[/]\n得分 scores   [cyan]{out / 'scores.json'}[/]\n"
        f"对话 chat     [cyan]tuwen chat {out / 'model'} --image {example}[/]"
    )


def _examples(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """One outcome of each of a few tasks, whatever came out, in alternating languages."""
    chosen: dict[str, Outcome] = {}
    for outcome in outcomes:
        wanted = "zh" if len(chosen) % 2 == 0 else "en"
        if outcome.sample.task not in chosen and outcome.sample.language == wanted:
            chosen[outcome.sample.task] = outcome
        if len(chosen) == EXAMPLES:
            break
    return list(chosen.values())
