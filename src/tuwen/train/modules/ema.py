"""A moving average of the trained weights, which is steadier than they are (Polyak and Juditsky 1992)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from tuwen.config import TuwenError
from tuwen.train.modules.groups import Group

UPDATES = "updates"


class MovingAverage:
    """An exponential moving average of all tensors of some groups.

    In the first steps it forgets faster, so that where training began soon counts no more: the decay in step t is
    (1 + t) / (10 + t) at most.

    Args:
        groups: from ``make_groups``.
        decay: how much of the average is left after a step.
        held: a tensor of the model → what this process holds of it.
    """

    def __init__(
        self, groups: Sequence[Group], decay: float, held: Callable[[Tensor], Tensor] = lambda tensor: tensor
    ) -> None:
        self.decay, self.updates = decay, 0
        pairs = [pair for group in groups for pair in zip(group.names, group.tensors, strict=True)]
        self._tensors = dict(pairs)
        self._trained = {name: held(tensor) for name, tensor in pairs}
        self._average = {name: trained.detach().clone() for name, trained in self._trained.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are after a step."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, average in self._average.items():
            average.lerp_(self._trained[name], 1 - decay)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """While this lasts, the model has the averages, to be measured or saved."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, average in self._average.items():
            trained = self._trained[name].clone()
            self._trained[name].copy_(average)
            average.copy_(trained)

    @torch.no_grad()
    def take(self) -> None:
        """Give the model the averages for good, at the end of a stage."""
        for name, average in self._average.items():
            self._trained[name].copy_(average)

    def state_tensors(self, whole: Callable[[Tensor, Tensor], Tensor] = lambda held, tensor: held) -> dict[str, Tensor]:
        """The averages themselves and how many steps are in them, by the tensors' names; see ``GroupedOptimizer``'s."""
        found = {name: whole(average, self._tensors[name]) for name, average in self._average.items()}
        return {**found, UPDATES: torch.tensor(self.updates)}

    @torch.no_grad()
    def load_state_tensors(
        self,
        tensors: Mapping[str, Tensor],
        as_held: Callable[[Tensor, Tensor], Tensor] = lambda whole, tensor: whole.to(tensor.device),
    ) -> None:
        """Take up what ``state_tensors`` gave.

        Raises:
            TuwenError: when it is of other tensors.
        """
        if differing := tensors.keys() ^ {*self._average, UPDATES}:
            raise TuwenError(f"ema: {min(differing)} is not in both the average and what the stage trains")
        self.updates = int(tensors[UPDATES])
        for name, average in self._average.items():
            average.copy_(as_held(tensors[name], self._tensors[name]))
