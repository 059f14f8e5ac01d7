"""A training run: recipe → model → stages → model folder; begun, or gone on with."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from rich.console import Console

import tuwen
from tuwen.checkpoints.build import build_model
from tuwen.checkpoints.folder import ModelFolder, load_model
from tuwen.checkpoints.opening import open_model
from tuwen.config import TuwenError, to_yaml
from tuwen.data.bad_samples import BadSampleLog
from tuwen.data.epochs.packed_steps import PackedSteps
from tuwen.data.loader import StepGroups
from tuwen.data.source import Mixture, parse_sources
from tuwen.models.attention import prefer_packed
from tuwen.models.recipe import ModelRecipe
from tuwen.train.feeding import check_mixture, stage_feed, tokenizer_texts
from tuwen.train.keeping.checkpoint_store import Checkpoints
from tuwen.train.keeping.resume import AUTO, Start, check_same, find_start, same_steps, stage_folder
from tuwen.train.looking.run_page import write_run_page
from tuwen.train.measuring.held_out import open_held_out
from tuwen.train.metrics import METRICS, MetricsLog
from tuwen.train.modules.lora import fold_lora
from tuwen.train.processes import Interruption, Processes
from tuwen.train.progress import RunDisplay
from tuwen.train.recipe import Recipe, find_recipe, read_recipe, run_name
from tuwen.train.run_folder import RunFolder
from tuwen.train.stage_run import RunParts, StageRun, Stopped

__all__ = ["Stopped", "run_recipe", "train"]


def train(
    recipe: str | Path, overrides: Sequence[str] = (), out: Path | None = None, resume: str | None = None
) -> Path:
    """Train as a recipe says and write the run's folder (`tuwen train`).

    Args:
        recipe: a YAML file, or the name of a recipe that comes with Tuwen.
        overrides: ``key=value`` assignments.
        out: the run's folder; ``runs/NAME`` unless said.
        resume: go on with the run in that folder: ``auto`` from its newest checkpoint that is whole, or from the
            checkpoint whose folder is named.

    Returns:
        The folder of the trained model.

    Raises:
        TuwenError: when the recipe, the data or the disk does not allow it.
        Stopped: when the run was asked to end by a signal; it is saved and can be gone on with.
    """
    path = find_recipe(recipe)
    return run_recipe(read_recipe(path, list(overrides)), out or Path("runs") / run_name(path), resume=resume)


def run_recipe(recipe: Recipe, out: Path, *, display: RunDisplay | None = None, resume: str | None = None) -> Path:
    """Train as ``recipe`` says into the run folder ``out``; see ``train``."""
    check_mixture(recipe)
    for tracker in recipe.trackers:
        # Without its package, accelerate would warn and go on without the tracker.
        if find_spec(tracker) is None:
            raise TuwenError(f"trackers: {tracker} is not installed; run `pip install {tracker}` or leave it out")
    accelerator = _accelerator(recipe, out)
    processes = Processes(accelerator)
    console = Console(quiet=not accelerator.is_main_process)
    with ExitStack() as stack:

        def begin() -> tuple[Recipe, Start]:
            stack.enter_context(_alone_in(out))
            begun = _begun(out, resume)
            checked = _continued(recipe, out, accelerator.num_processes) if begun else recipe
            _freeze_setup(checked, out, accelerator.num_processes)
            return checked, find_start(checked, out, checkpoints_of(checked), resume or AUTO) if begun else Start()

        def checkpoints_of(checked: Recipe) -> Checkpoints:
            settings = checked.checkpoints
            return Checkpoints(
                out / "checkpoints",
                [stage.name for stage in checked.stages],
                keep=settings.keep,
                asynchronous=settings.asynchronous,
                say=lambda line: console.print(line, highlight=False, soft_wrap=True),
            )

        recipe, start = processes.decided(begin)
        set_seed(recipe.seed)
        if start.stage == len(recipe.stages):
            console.print(f"{out}: this run is complete 已完成")
            return out / "model"
        checkpoints = stack.enter_context(checkpoints_of(recipe)) if accelerator.is_main_process else None
        _run_stages(
            recipe, out, start, accelerator=accelerator, checkpoints=checkpoints, console=console, display=display
        )
    accelerator.end_training()
    if accelerator.is_main_process:
        write_run_page([RunFolder(out)], out / "training.html")
    return out / "model"


def _begun(out: Path, resume: str | None) -> bool:
    """Whether the run goes on with an earlier one."""
    begun = (out / METRICS).exists()
    if begun and resume is None:
        raise TuwenError(f"{out}: holds an earlier run; go on with it by --resume auto, or choose another by --out")
    if resume not in (None, AUTO) and not begun:
        raise TuwenError(f"{out}: holds no run to go on with")
    return begun


def _continued(recipe: Recipe, out: Path, processes: int) -> Recipe:
    check_same(recipe, out)
    # A run that was killed may have left models that it had begun to write.
    for place in (out, out / "stages"):
        for path in place.glob(".*.partial-*"):
            shutil.rmtree(path)
    return same_steps(recipe, out, processes)


@contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    """Keep other runs out of a folder, as long as this process lives.

    Raises:
        TuwenError: when another one is at work in it.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / ".lock").open("w")
    except OSError as error:
        raise TuwenError(f"{out}: cannot be written ({error.strerror})") from None
    with file:
        try:
            # Not `flock`, which processes that prepare batches would hold on to.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise TuwenError(f"{out}: another process is training in it; choose another folder by --out") from None
        yield


def _accelerator(recipe: Recipe, out: Path) -> Accelerator:
    for name in ("FSDP", "DEEPSPEED"):
        if os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() in ("1", "true"):
            raise TuwenError(
                f"accelerate's configuration asks for {name}; say it in the recipe instead, by distribution.type, "
                "and launch with `accelerate launch --multi_gpu`"
            )
    accelerator = Accelerator(
        # Without being told, accelerate does not join several processes on CPUs.
        cpu=not torch.accelerator.is_available(),
        mixed_precision="bf16" if recipe.precision == "bf16" else "no",
        log_with=list(recipe.trackers) or None,
        project_dir=str(out),
        # A vision encoder has layers behind the one whose features are taken.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if recipe.trackers:
        accelerator.init_trackers("tuwen", config={"recipe": to_yaml(recipe)})
    return accelerator


def _run_stages(
    recipe: Recipe,
    out: Path,
    start: Start,
    *,
    accelerator: Accelerator,
    checkpoints: Checkpoints | None,
    console: Console,
    display: RunDisplay | None,
) -> None:
    mixture = parse_sources(recipe.sources, "sources")
    mixtures = [_own_mixture(recipe, place) or mixture for place in range(len(recipe.stages))]
    held_out = open_held_out(recipe, out, accelerator)
    folder = _first_model(recipe, mixture) if start.model is None else load_model(start.model)
    feeds = [
        stage_feed(recipe, number, mixtures[number], folder.processor, accelerator)
        for number in range(len(recipe.stages))
    ]
    log = MetricsLog(out, accelerator)
    display = display or RunDisplay([(stage.name, stage.steps or 0) for stage, _ in feeds], console)
    with display, Interruption() as interruption:
        parts = RunParts(
            recipe=recipe,
            out=out,
            accelerator=accelerator,
            checkpoints=checkpoints,
            log=log,
            display=display,
            interruption=interruption,
            held_out=held_out,
        )
        for number, (stage, groups) in enumerate(feeds):
            if number < start.stage:
                log.stage_is_done(stage.steps or 0)
                continue
            if number == start.stage and start.checkpoint is None and accelerator.is_main_process:
                # The stage is begun anew, with what is measured before its first step.
                log.cut([one.name for one in recipe.stages[: number + 1]], -1)
            prefer_packed(folder.model, accelerator.device)
            bad = _bad_sample_log(recipe, mixtures[number], groups, accelerator, out)
            run = StageRun(parts, stage, folder, groups=groups, bad=bad)
            run.go(start.checkpoint if number == start.stage else None)
            place = stage_folder(out, recipe.stages, number)
            run.save(place)
            log.stage_is_done(stage.steps or 0)
            if number < len(feeds) - 1:
                folder = load_model(place) if run.engine.splits else _without_adapters(folder)


def _own_mixture(recipe: Recipe, place: int) -> Mixture | None:
    """The data of a stage that no other stage has in the same way."""
    stage = recipe.stages[place]
    if stage.sources:
        return parse_sources(stage.sources, f"stages.{place}.sources")
    # Of the same data it uses other samples, of other lengths.
    return parse_sources(recipe.sources, "sources") if "preference" in stage.wanted else None


def _without_adapters(folder: ModelFolder) -> ModelFolder:
    fold_lora(folder.model)
    return folder


def _first_model(recipe: Recipe, mixture: Mixture) -> ModelFolder:
    if not isinstance(recipe.model, ModelRecipe):
        return open_model(recipe.model)
    texts = tokenizer_texts(recipe.model, mixture, recipe.seed)
    built = build_model(recipe.model, texts)
    return built


def _bad_sample_log(
    recipe: Recipe, mixture: Mixture, groups: StepGroups, accelerator: Accelerator, out: Path
) -> BadSampleLog:
    """Names what is left out; every process names its own."""
    own = "" if accelerator.is_main_process else f".{accelerator.process_index}"
    log = BadSampleLog(out / f"bad_samples{own}.jsonl", recipe.bad_samples, mixture.samples)
    if accelerator.is_main_process:
        log.add([*mixture.bad, *(groups.epochs.rejected if isinstance(groups, PackedSteps) else [])])
    return log


def _freeze_setup(recipe: Recipe, out: Path, processes: int) -> None:
    """Keep the resolved recipe and the environment beside what they made."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "recipe.yaml").write_text(to_yaml(recipe), encoding="utf-8")
        packages = ("torch", "transformers", "accelerate", "peft", "tokenizers", "numpy", "pillow")
        environment = {
            "tuwen": tuwen.__version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
            "processes": processes,
            "devices": [torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())],
            "packages": {name: version(name) for name in packages},
        }
        (out / "environment.json").write_text(json.dumps(environment, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise TuwenError(f"{out}: cannot be written ({error.strerror})") from None
