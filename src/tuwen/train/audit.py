"""The check of a stage's first gradients: what the recipe says must be what happens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from accelerate import Accelerator
from accelerate.utils import gather_object
from rich.console import Console
from torch import Tensor

from tuwen.config import TuwenError
from tuwen.train.modules.optimizer import Group
from tuwen.train.stage import Stage


class GradientAudit:
    """Every trained module must get a gradient.

    Single tensors may get none: a vision encoder has layers behind the one whose features are taken.

    Args:
        groups: what is trained.
        stage: how.
        accelerator: knows the processes.
        console: where tensors without a gradient are named.
        reached: whether a tensor has a gradient; engines may have taken it away from it.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        stage: Stage,
        accelerator: Accelerator,
        console: Console,
        reached: Callable[[Tensor], bool] = lambda tensor: tensor.grad is not None,
    ) -> None:
        self._reached = reached
        self._groups, self._stage, self._console = groups, stage, console
        self._processes = accelerator.num_processes
        self._done = False

    def check(self, pictures: int) -> None:
        """Look at the gradients of a step, once there is one that can tell.

        Args:
            pictures: tiles that this process has had in the step.

        Raises:
            TuwenError: naming the module that no objective reaches.
        """
        if self._done:
            return
        reached = [[self._reached(tensor) for tensor in group.tensors] for group in self._groups]
        everyone = [(pictures, reached)] if self._processes == 1 else gather_object([(pictures, reached)])
        # Without a picture a connector behind a frozen language model gets nothing, and rightly so.
        if not any(count for count, _ in everyone) and any(group.module != "language" for group in self._groups):
            return
        self._done = True
        found: dict[str, bool] = {}
        unreached: list[str] = []
        for place, group in enumerate(self._groups):
            anywhere = [any(flags) for flags in zip(*(theirs[place] for _, theirs in everyone), strict=True)]
            unreached += [name for name, flag in zip(group.names, anywhere, strict=True) if not flag]
            found[group.module] = found.get(group.module, False) or any(anywhere)
        for module, reached_at_all in found.items():
            if not reached_at_all:
                raise TuwenError(
                    f"stages.{self._stage.name}.modules.{module}: it gets no gradient from the objectives "
                    f"{', '.join(self._stage.objectives)}; freeze it or add an objective that reaches it"
                )
        if unreached:
            rest = f" and {len(unreached) - 1} more" if len(unreached) > 1 else ""
            self._console.print(
                f"{self._stage.name}: not reached by the loss, so left as they are: {unreached[0]}{rest}"
            )
