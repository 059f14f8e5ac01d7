"""Preferring better answers to worse ones: direct preference optimisation and its kin.

All of them read the summed cross-entropies of both answers, which are log-probabilities with their sign turned, and
most of them compare those with a reference: the model as it was before the stage.

Shape legend: S samples of a batch, P pairs of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn import functional

from tuwen.data.collator import Batch
from tuwen.train.engines.base import Engine
from tuwen.train.modules.groups import Group
from tuwen.train.stage import Preference, PreferenceType


@dataclass(frozen=True, slots=True)
class Compared:
    """Pairs, each compared.

    Attributes:
        losses_P: what is trained; its gradient lowers the worse answer's probability in favour of the better one's.
        chosen_P: rewards of the better answers: β times what the stage has added to their log-probability.
        rejected_P: of the worse ones.
    """

    losses_P: Tensor
    chosen_P: Tensor
    rejected_P: Tensor

    def figures(self) -> dict[str, Tensor]:
        """Of each pair [P]: its loss under ``preference``, and what ``metrics.OF_PAIRS`` names."""
        margin_P = (self.chosen_P - self.rejected_P).detach()
        return {
            "preference": self.losses_P.detach(),
            "margin": margin_P,
            # A pair that nothing is known of yet is as good as one for which a coin was thrown.
            "preferred": (margin_P > 0).float() + 0.5 * (margin_P == 0).float(),
            "chosen reward": self.chosen_P.detach(),
            "rejected reward": self.rejected_P.detach(),
        }


def compare(settings: Preference, losses_S: Tensor, reference_S: Tensor | None, batch: Batch) -> Compared:
    """The preference loss of each pair.

    Args:
        settings: which loss.
        losses_S: summed cross-entropy of each answer.
        reference_S: the same under the reference; None for a loss without one.
        batch: with the pairs.
    """
    gained_S = -losses_S if reference_S is None else reference_S - losses_S
    if settings.by_token:
        gained_S = gained_S / batch.trained.clamp(min=1)
    rewards_P2 = settings.strength * gained_S[batch.pairs]
    chosen_P, rejected_P = rewards_P2.unbind(1)
    return Compared(_LOSSES[settings.type](chosen_P - rejected_P, settings), chosen_P, rejected_P)


def _dpo(margin_P: Tensor, settings: Preference) -> Tensor:
    """arXiv 2305.18290; label smoothing as in Mitchell's note on conservative DPO (2023)."""
    wrong = settings.label_smoothing
    return (1 - wrong) * functional.softplus(-margin_P) + wrong * functional.softplus(margin_P)


def _ipo(margin_P: Tensor, settings: Preference) -> Tensor:
    """arXiv 2310.12036; β is its τ."""
    return (margin_P / settings.strength - 1 / (2 * settings.strength)) ** 2


def _simpo(margin_P: Tensor, settings: Preference) -> Tensor:
    """arXiv 2405.14734."""
    return functional.softplus(settings.margin - margin_P)


_LOSSES: dict[PreferenceType, Callable[[Tensor, Preference], Tensor]] = {
    "dpo": _dpo,
    "dpo_norm": _dpo,
    "ipo": _ipo,
    "simpo": _simpo,
}


class Reference:
    """The model as it was before a stage, without a second one in memory: adapters are left out, and what is trained
    beside them changes places with copies for as long as the reference is asked.

    Made before the first step, also of a stage that goes on from a checkpoint. Copies are held as the tensors are, in
    parts where those are.

    Args:
        engine: holds the model.
        groups: what is trained.

    Attributes:
        numbers: that are copied, in all processes.
    """

    def __init__(self, engine: Engine, groups: Sequence[Group]) -> None:
        self._engine = engine
        trained = [tensor for group in groups if group.part != "lora" for tensor in group.tensors]
        self._copies = [(held, held.detach().clone()) for held in map(engine.held, trained)]
        self.numbers = sum(engine.shape(tensor).numel() for tensor in trained)

    @torch.no_grad()
    def losses(self, batch: Batch) -> Tensor:
        """Summed cross-entropy of each sample's answers, [S]; every process must call it."""
        with self._before(self._engine.trained.model):
            return self._engine.losses(batch)["answers"]

    @contextmanager
    def _before(self, model: nn.Module) -> Iterator[None]:
        training = [module for module in model.modules() if module.training]
        adapted = [module for module in model.modules() if isinstance(module, LoraLayer)]
        model.eval()
        self._swap()
        # `enable_adapters` would also take the adapters' gradients away, which FSDP2 looks at once and for all.
        for module in adapted:
            module._disable_adapters = True
        try:
            yield
        finally:
            for module in adapted:
                module._disable_adapters = False
            self._swap()
            for module in training:
                module.training = True

    def _swap(self) -> None:
        for held, copy in self._copies:
            now = held.clone()
            held.copy_(copy)
            copy.copy_(now)
        if self._copies:
            self._engine.give_back()


class PreferenceObjective:
    """The objective ``preference`` of a stage.

    Args:
        settings: of the stage.
        engine: holds the model.
        groups: what is trained.
    """

    def __init__(self, settings: Preference, engine: Engine, groups: Sequence[Group]) -> None:
        self.settings = settings
        self.reference = Reference(engine, groups) if settings.has_reference else None

    def reference_losses(self, batch: Batch) -> Tensor | None:
        """What ``compare`` needs of the reference; it must not be asked inside a pass that is trained."""
        return self.reference.losses(batch) if self.reference is not None else None

    def compare(self, losses_S: Tensor, reference_S: Tensor | None, batch: Batch) -> Compared:
        """The loss of each pair of a batch."""
        return compare(self.settings, losses_S, reference_S, batch)

    def describe(self) -> str:
        """What is compared with, and what it costs, in a line for people."""
        settings = self.settings
        said = f"preference 偏好: {settings.type}, β {settings.strength:g}"
        if self.reference is None:
            return f"{said}, no reference 无参考模型"
        copied = self.reference.numbers
        copies = f"a copy of {copied:,} numbers ({4 * copied / 2**30:.2f} GiB)" if copied else "without a copy"
        adapters = "the model without adapters" if copied else "the model without its adapters"
        return f"{said}, reference 参考: {adapters}, {copies}"


def pair_sums(compared: Sequence[Compared]) -> dict[str, float]:
    """Sums over pairs of everything that ``Compared.figures`` gives."""
    sums: defaultdict[str, float] = defaultdict(float)
    for one in compared:
        for name, values_P in one.figures().items():
            sums[name] += float(values_P.sum())
    return dict(sums)
