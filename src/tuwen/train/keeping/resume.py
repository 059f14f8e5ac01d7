"""Where a run goes on: what of it is on the disk, and whether the recipe is still the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tuwen.config import StrictConfig, TuwenError
from tuwen.train.keeping.checkpoint import SavedCheckpoint, open_checkpoint
from tuwen.train.keeping.checkpoint_store import Checkpoints
from tuwen.train.recipe import Recipe, read_recipe
from tuwen.train.stage import Stage

AUTO = "auto"
# What may be said anew when a run goes on: none of it changes what is computed in a step.
FREE = {"workers", "bad_samples", "checkpoints", "distribution", "guards", "save_precision", "trackers", "validation"}
FREE_IN_STAGES = {"accumulate", "groups", "sequences"}


@dataclass(frozen=True, slots=True)
class Start:
    """Where a run begins.

    Attributes:
        stage: number of the first stage that is not done, from 0; the number of stages when all are.
        model: folder of the model that the stages before have made; None where there is none before.
        checkpoint: in that stage; None for its beginning.
    """

    stage: int = 0
    model: Path | None = None
    checkpoint: SavedCheckpoint | None = None


def stage_folder(out: Path, stages: Sequence[Stage], number: int) -> Path:
    """Where the model after a stage lies."""
    return out / "model" if number == len(stages) - 1 else out / "stages" / stages[number].name


def find_start(recipe: Recipe, out: Path, checkpoints: Checkpoints, resume: str) -> Start:
    """What a run that was stopped goes on from.

    Args:
        recipe: of the run.
        out: its folder.
        checkpoints: in it.
        resume: ``auto`` for the newest checkpoint that is whole, or the folder of one.

    Raises:
        TuwenError: when the checkpoint is not one of this run, or none can be used.
    """
    done = 0
    while done < len(recipe.stages) and stage_folder(out, recipe.stages, done).is_dir():
        done += 1
    found = checkpoints.latest() if resume == AUTO else open_checkpoint(Path(resume))
    names = [stage.name for stage in recipe.stages]
    if found is not None and found.stage not in names:
        raise TuwenError(f"{found.path}: is of stage {found.stage}; the recipe has {', '.join(names)}")
    number = names.index(found.stage) if found is not None else -1
    if found is None or (resume == AUTO and number < done):
        return Start(done, stage_folder(out, recipe.stages, done - 1) if done else None)
    if number > done:
        raise TuwenError(f"{found.path}: {stage_folder(out, recipe.stages, done)} is missing, which came before it")
    return Start(number, stage_folder(out, recipe.stages, number - 1) if number else None, found)


def check_same(recipe: Recipe, out: Path) -> None:
    """Make sure that a run goes on with the recipe that it was begun with.

    Raises:
        TuwenError: naming the first key that differs.
    """
    before = read_recipe(out / "recipe.yaml", [])
    # Where the course of validation balances the tasks, it is a part of the training.
    free = FREE - {"validation"} if any(stage.balance is not None for stage in recipe.stages) else FREE
    if (key := _difference(before, recipe, free)) is not None:
        raise TuwenError(f"{key} is not what {out / 'recipe.yaml'} says; go on with the same, or begin another run")


def _difference(before: StrictConfig, now: StrictConfig, free: set[str]) -> str | None:
    for name in type(before).model_fields:
        old, new = getattr(before, name), getattr(now, name)
        if name in free or old == new:
            continue
        if not isinstance(now, Recipe) or name != "stages":
            return name
        if len(old) != len(new):
            return "stages: their number"
        for place, (mine, theirs) in enumerate(zip(old, new, strict=True)):
            if (key := _difference(mine, theirs, FREE_IN_STAGES)) is not None:
                return f"stages.{place}.{key}"
    return None


def same_steps(recipe: Recipe, out: Path, processes: int) -> Recipe:
    """The recipe for another number of processes, with steps that hold what they did before.

    Args:
        recipe: as it is said now.
        out: the run, begun with its own recipe and number of processes.
        processes: that there are now.

    Raises:
        TuwenError: when the batches of a step cannot be shared out among them.
    """
    before = read_recipe(out / "recipe.yaml", [])
    then = json.loads((out / "environment.json").read_text(encoding="utf-8"))["processes"]
    stages = []
    for old, stage in zip(before.stages, recipe.stages, strict=True):
        size, name = (stage.groups, "groups") if stage.sequences is None else (stage.sequences, "sequences")
        before_size = old.groups if old.sequences is None else old.sequences
        assert size is not None, "a batch has groups or sequences"
        assert before_size is not None, "a batch has groups or sequences"
        whole = before_size * old.accumulate * then
        if whole % (size * processes) == 0:
            stages.append(stage.model_copy(update={"accumulate": whole // (size * processes)}))
        elif whole % processes == 0:
            stages.append(stage.model_copy(update={name: whole // processes, "accumulate": 1}))
        else:
            raise TuwenError(
                f"stages.{stage.name}: a step of {whole} {name} cannot be shared out among {processes} processes; "
                f"take a number of them that {whole} can be divided by"
            )
    return recipe.model_copy(update={"stages": stages})
