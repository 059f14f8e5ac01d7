"""Figures of a run: made in each step, kept in files of one JSON object a line, and sent to trackers."""

from __future__ import annotations

import json
import math
import resource
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from tuwen.data.collator import Batch
from tuwen.train.measuring.tracked_samples import TrackedSamples
from tuwen.train.utilisation import Utilisation

METRICS, VALIDATION, SAMPLES = "metrics.jsonl", "validation.jsonl", "samples.jsonl"
LOSSES = ("answers", "regions", "preference")
# Means over pairs of a better and a worse answer.
OF_PAIRS = ("margin", "preferred", "chosen reward", "rejected reward")
_LOSS, _TOKENS = "loss of ", "tokens of "


class StepFigures:
    """What a step took, from its beginning on.

    Args:
        utilisation: counts operations, where it is known what the device could do.
        updating: seconds that the update of the step before took. This step's own comes behind its figures; without
            any, rates would leave out a part of every step.
    """

    def __init__(self, utilisation: Utilisation | None = None, updating: float = 0.0) -> None:
        self._utilisation, self._updating = utilisation, updating
        self._began = time.monotonic()
        self._waited = 0.0

    def data_is_there(self) -> None:
        """What came before was waiting."""
        self._waited = time.monotonic() - self._began

    def own(self, batches: Sequence[Batch]) -> dict[str, float]:
        """This process's part of the figures."""
        counted = {} if self._utilisation is None else {"operations": self._utilisation.operations(batches)}
        return {
            **counted,
            "answer tokens": float(sum(int(batch.trained.sum()) for batch in batches)),
            "tiles": float(sum(batch.pictures for batch in batches)),
            "waited": self._waited,
            "processes": 1.0,
        }

    def line(self, totals: Mapping[str, float]) -> dict[str, Any]:
        """The step's figures from the sums over processes: losses, throughput, and each task's loss a token."""
        seconds = max(1e-9, time.monotonic() - self._began + self._updating)
        tasks = {
            name.removeprefix(_LOSS): value / totals[_TOKENS + name.removeprefix(_LOSS)]
            for name, value in totals.items()
            if name.startswith(_LOSS)
        }
        return {
            **{name: totals[name] for name in (*LOSSES, *OF_PAIRS) if name in totals},
            "tokens/s": totals["answer tokens"] / seconds,
            "images/s": totals["tiles"] / seconds,
            "data wait": totals["waited"] / totals["processes"] / seconds,
            "peak memory": float(peak_memory()),
            **({} if self._utilisation is None else {"mfu": self._share(totals, seconds)}),
            **({"tasks": tasks} if len(tasks) > 1 else {}),
        }

    def _share(self, totals: Mapping[str, float], seconds: float) -> float:
        assert self._utilisation is not None, "operations are counted"
        return totals["operations"] / seconds / (totals["processes"] * self._utilisation.peak)


def peak_memory() -> int:
    """Bytes that this process has held at most: of its accelerator, or of the machine's memory without one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class MetricsLog:
    """Writes figures to the run's folder and its trackers; only the main process does.

    Args:
        folder: of the run.
        accelerator: knows the processes and the trackers.
    """

    def __init__(self, folder: Path, accelerator: Accelerator) -> None:
        self.folder, self._accelerator = folder, accelerator
        self._done_before = 0
        self._tracked = TrackedSamples(folder)

    def step(self, stage: str, step: int, record: Mapping[str, Any], rates: Mapping[str, float]) -> None:
        """Add a step's figures and the learning rates of its modules."""
        self.add(METRICS, {"stage": stage, "step": step, **record, "lr": rates})
        curves = {name: value for name, value in record.items() if isinstance(value, float)}
        curves |= {f"lr/{name}": rate for name, rate in rates.items()}
        curves |= {f"task/{name}": loss for name, loss in record.get("tasks", {}).items()}
        self._accelerator.log(curves, step=self._done_before + step)

    def validation(self, stage: str, step: int, record: Mapping[str, Any]) -> None:
        """Add what was measured on other data: ``loss``, ``tasks``, and what each task counts under ``weights``."""
        self.add(VALIDATION, {"stage": stage, "step": step, **record})
        curves = {f"validation/{name}": loss for name, loss in record["tasks"].items()}
        curves |= {f"validation/{name}": record[name] for name in (*LOSSES, *OF_PAIRS) if name in record}
        curves |= {f"weight/{name}": weight for name, weight in record.get("weights", {}).items()}
        self._accelerator.log({"validation": record["loss"], **curves}, step=self._done_before + step)

    def samples(self, stage: str, step: int, answers: Sequence[Mapping[str, str]]) -> None:
        """Add what was answered to samples of other data."""
        self.add(SAMPLES, {"stage": stage, "step": step, "samples": list(answers)})
        if self._accelerator.is_main_process:
            self._tracked.send(self._accelerator.trackers, answers, self._done_before + step)

    def add(self, name: str, line: Mapping[str, Any]) -> None:
        """Add a line to a file of the run."""
        if not self._accelerator.is_main_process:
            return
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(_plain({**line, "time": time.time()}), ensure_ascii=False) + "\n")

    def stage_is_done(self, steps: int) -> None:
        """The next stage's steps are counted on from here in trackers."""
        self._done_before += steps

    def cut(self, stages: Sequence[str], step: int) -> None:
        """Drop what was written after a position, which is gone through again.

        Args:
            stages: those that were begun before it, the one that it is in last.
            step: that is the last one done in that stage.
        """
        if not self._accelerator.is_main_process:
            return
        for name in (METRICS, VALIDATION, SAMPLES):
            path = self.folder / name
            if not path.exists():
                continue
            kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _is_before(line, stages, step)]
            beside = path.with_suffix(".partial")
            beside.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
            beside.replace(path)


def _plain(value: Any) -> Any:
    """The same for strict JSON, which has no word for what is not a number."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_before(line: str, stages: Sequence[str], step: int) -> bool:
    try:
        values = json.loads(line)
    except ValueError:
        # Half a line is all that a killed run may leave.
        return False
    name = values.get("stage")
    return name in stages and (name != stages[-1] or values.get("step", 0) <= step)
