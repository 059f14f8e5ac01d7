"""Answers to held-out samples in trackers, each in the form that the tracker has for pictures and texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

Answers = Sequence[Mapping[str, str]]
TEXTS = ("prompt", "expected", "generated")
COLUMNS = ("name", "picture", *TEXTS)


def _tensorboard(tracker: Any, answers: Answers, folder: Path, step: int, fresh: bool) -> None:
    """A picture once, and under the same name the text at each step, to leaf through."""
    for one in answers:
        tag = f"samples/{one['name']}"
        if fresh and one["picture"]:
            with PIL.Image.open(folder / one["picture"]) as picture:
                tracker.writer.add_image(tag, np.asarray(picture), step, dataformats="HWC")
        text = "\n\n".join(f"{key}\n\n{_literal(one[key])}" for key in TEXTS)
        tracker.writer.add_text(tag, text, step)
    tracker.writer.flush()


def _literal(text: str) -> str:
    """Text in Markdown that nothing in it can format."""
    return "\n".join(f"    {line}" for line in text.splitlines() or [""])


def _wandb(tracker: Any, answers: Answers, folder: Path, step: int, fresh: bool) -> None:
    import wandb  # type: ignore[import-not-found]

    rows = [
        [wandb.Image(str(folder / one[key])) if key == "picture" and one[key] else one[key] for key in COLUMNS]
        for one in answers
    ]
    tracker.log_table("samples", columns=list(COLUMNS), data=rows, step=step)


def _swanlab(tracker: Any, answers: Answers, folder: Path, step: int, fresh: bool) -> None:
    import swanlab  # type: ignore[import-not-found]

    found: dict[str, list[Any]] = {}
    for one in answers:
        text = "\n".join(f"{key}: {one[key]}" for key in TEXTS)
        if one["picture"]:
            found.setdefault("samples", []).append(swanlab.Image(str(folder / one["picture"]), caption=text))
        else:
            found.setdefault("samples/text", []).append(swanlab.Text(text))
    tracker.log(found, step=step)


# Others have no word for pictures through `accelerate`.
SHOW: dict[str, Callable[[Any, Answers, Path, int, bool], None]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "swanlab": _swanlab,
}


class TrackedSamples:
    """Sends answers to those trackers of a run that can show them.

    Args:
        folder: of the run, which the pictures' paths are relative to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fresh = True

    def send(self, trackers: Sequence[Any], answers: Answers, step: int) -> None:
        """Show what was answered at a step."""
        for tracker in trackers:
            if (show := SHOW.get(tracker.name)) is not None:
                show(tracker, answers, self._folder, step, self._fresh)
        self._fresh = False
