"""Every process has the whole model; gradients are averaged while the backward pass still runs (arXiv 2006.15704)."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from accelerate import Accelerator

from tuwen.train.engines.base import ENGINES, Engine
from tuwen.train.losses import TrainedModel
from tuwen.train.settings import Distribution


@ENGINES.register("ddp")
class DataParallel(Engine):
    """Data parallelism by `accelerate`; one process alone needs nothing of it."""

    def __init__(self, trained: TrainedModel, settings: Distribution, accelerator: Accelerator) -> None:
        super().__init__(trained, settings, accelerator)
        if accelerator.num_processes > 1:
            self.module = accelerator.prepare_model(trained)

    def accumulating(self, last: bool) -> AbstractContextManager[object]:
        """Gradients are averaged after the last batch of a step alone."""
        if last or self.accelerator.num_processes == 1:
            return nullcontext()
        context: AbstractContextManager[object] = self.accelerator.no_sync(self.module)
        return context

    def release(self) -> None:
        """Forget the wrapper."""
        self.accelerator.free_memory()
