"""A training run: recipe → model → stages → model folder."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from peft import LoraConfig
from rich.console import Console

import tuwen
from tuwen.checkpoints.build import build_model
from tuwen.checkpoints.folder import ModelFolder, load_model, written_whole
from tuwen.checkpoints.refusal import quiet
from tuwen.config import TuwenError, to_yaml
from tuwen.data.bad_samples import BadSampleLog
from tuwen.data.epochs.packed_steps import PackedSteps
from tuwen.data.loader import Collator, StepGroups, noted, step_batches
from tuwen.data.source import Mixture, parse_sources
from tuwen.models.attention import prefer_products
from tuwen.models.recipe import ModelRecipe
from tuwen.train.feeding import check_mixture, stage_feed
from tuwen.train.loop import StageLoop
from tuwen.train.lora import add_lora, fold_lora, merged_state_dict, save_adapter
from tuwen.train.optimizer import make_groups
from tuwen.train.plan import describe_groups
from tuwen.train.progress import RunDisplay
from tuwen.train.recipe import Recipe, find_recipe, read_recipe
from tuwen.train.stage import Stage

TOKENIZER_TEXTS = 20_000


def train(recipe: str | Path, overrides: Sequence[str] = (), out: Path | None = None) -> Path:
    """Train as a recipe says and write the run's folder (`tuwen train`).

    Args:
        recipe: a YAML file, or the name of a recipe that comes with Tuwen.
        overrides: ``key=value`` assignments.
        out: the run's folder; ``runs/NAME`` unless said.

    Returns:
        The folder of the trained model.

    Raises:
        TuwenError: when the recipe, the data or the disk does not allow it.
    """
    path = find_recipe(recipe)
    return run_recipe(read_recipe(path, list(overrides)), out or Path("runs") / path.stem)


def run_recipe(recipe: Recipe, out: Path, display: RunDisplay | None = None) -> Path:
    """Train as ``recipe`` says into the run folder ``out``; see ``train``."""
    if (out / "metrics.jsonl").exists():
        raise TuwenError(f"{out}: holds an earlier run; choose another folder with --out or remove it")
    for tracker in recipe.trackers:
        # Without its package, accelerate would warn and go on without the tracker.
        if find_spec(tracker) is None:
            raise TuwenError(f"trackers: {tracker} is not installed; run `pip install {tracker}` or leave it out")
    accelerator = Accelerator(
        # Without being told, accelerate does not join several processes on CPUs.
        cpu=not torch.accelerator.is_available(),
        mixed_precision="bf16" if recipe.precision == "bf16" else "no",
        log_with=list(recipe.trackers) or None,
        project_dir=str(out),
    )
    set_seed(recipe.seed)
    check_mixture(recipe)
    mixture = parse_sources(recipe.sources, "sources")
    stage_mixtures = [
        parse_sources(stage.sources, f"stages.{place}.sources") if stage.sources else mixture
        for place, stage in enumerate(recipe.stages)
    ]
    folder = _start_model(recipe, mixture)
    folder.model.to(accelerator.device)
    if accelerator.device.type == "cpu":
        prefer_products(folder.model)
    if accelerator.is_main_process:
        _freeze_setup(recipe, out)
    if recipe.trackers:
        accelerator.init_trackers("tuwen", config={"recipe": to_yaml(recipe)})
    feeds = [
        stage_feed(recipe, number, stage_mixtures[number], folder.processor, accelerator)
        for number in range(len(recipe.stages))
    ]
    console = Console(quiet=not accelerator.is_main_process)
    display = display or RunDisplay([(stage.name, stage.steps or 0) for stage, _ in feeds], console)
    adapter = None
    with display:
        for number, (stage, groups) in enumerate(feeds):
            log = _bad_sample_log(recipe, stage_mixtures[number], groups, accelerator, out)
            adapter = _run_stage(recipe, stage, folder, accelerator, groups=groups, log=log, out=out, display=display)
            last = number == len(feeds) - 1
            if accelerator.is_main_process:
                _save(folder, adapter, out / "model" if last else out / "stages" / stage.name)
            if adapter is not None:
                fold_lora(folder.model)
    accelerator.end_training()
    return out / "model"


def _start_model(recipe: Recipe, mixture: Mixture) -> ModelFolder:
    if not isinstance(recipe.model, ModelRecipe):
        return load_model(recipe.model, dtype=torch.float32)
    texts = None
    if recipe.model.tokenizer is not None and recipe.model.tokenizer.train is not None:
        texts = mixture.texts(recipe.seed, TOKENIZER_TEXTS)
    built = build_model(recipe.model, texts)
    built.model.float()
    return built


def _run_stage(
    recipe: Recipe,
    stage: Stage,
    folder: ModelFolder,
    accelerator: Accelerator,
    *,
    groups: StepGroups,
    log: BadSampleLog,
    out: Path,
    display: RunDisplay,
) -> LoraConfig | None:
    model, processor, steps = folder.model, folder.processor, stage.steps or 0
    adapter = add_lora(model, stage)
    trained = make_groups(model, stage)
    display.console.print(describe_groups(model, trained, stage))
    collator = Collator(
        processor,
        token_grid=_token_grid(folder, stage),
        answers=stage.objectives.get("answers", 0) > 0,
        max_length=stage.max_length,
        too_long=stage.too_long,
        length_exponent=stage.length_exponent,
    )
    batches = step_batches(groups, collator, steps=range(steps), workers=recipe.workers)

    def checkpoint(step: int) -> None:
        if stage.save_every and step % stage.save_every == 0 and step < steps and accelerator.is_main_process:
            _save(folder, adapter, out / "checkpoints" / f"{stage.name}-{step:06d}")

    model.train()
    # One file for all processes; each step's figures are those of all of them.
    metrics = out / "metrics.jsonl" if accelerator.is_main_process else Path(os.devnull)
    loop = StageLoop(model, trained, stage, accelerator=accelerator, metrics=metrics)
    loop.run(noted(batches, log), display, after_step=checkpoint)
    model.eval()
    return adapter


def _bad_sample_log(
    recipe: Recipe, mixture: Mixture, groups: StepGroups, accelerator: Accelerator, out: Path
) -> BadSampleLog:
    """Names what is left out; every process names its own."""
    own = "" if accelerator.is_main_process else f".{accelerator.process_index}"
    log = BadSampleLog(out / f"bad_samples{own}.jsonl", recipe.bad_samples, mixture.samples)
    if accelerator.is_main_process:
        log.add([*mixture.bad, *(groups.epochs.rejected if isinstance(groups, PackedSteps) else [])])
    return log


def _token_grid(folder: ModelFolder, stage: Stage) -> tuple[int, int] | None:
    """Rows and columns of a picture's tokens, where the stage trains regions.

    Raises:
        TuwenError: when the connector or the image policy does not keep places.
    """
    if not stage.objectives.get("regions"):
        return None
    config = folder.model.config
    policy = folder.processor.policy
    grid = config.connector.token_grid(config.patch_grid(policy.plan(1, 1)))
    if grid is None:
        raise TuwenError(
            f"stages.{stage.name}.objectives.regions: connector {config.connector_config['type']!r} does not keep "
            "the grid of patches; choose one that does, e.g. mlp, or leave regions out"
        )
    if not policy.keeps_fractions:
        raise TuwenError(
            f"stages.{stage.name}.objectives.regions: image_policy {policy.to_dict()['type']!r} cuts or pads the "
            "picture; choose square, or leave regions out"
        )
    return grid


def _freeze_setup(recipe: Recipe, out: Path) -> None:
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
            "packages": {name: version(name) for name in packages},
        }
        (out / "environment.json").write_text(json.dumps(environment, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise TuwenError(f"{out}: cannot be written ({error.strerror})") from None


def _save(folder: ModelFolder, adapter: LoraConfig | None, place: Path) -> None:
    """Write a whole model, adapters folded in; the adapters alone go beside it, in PEFT's format."""
    with written_whole(place) as partial, quiet():
        folder.model.save_pretrained(partial, state_dict=merged_state_dict(folder.model))
        folder.processor.save_pretrained(partial)
        if adapter is not None:
            save_adapter(folder.model, adapter, partial / "adapter")
