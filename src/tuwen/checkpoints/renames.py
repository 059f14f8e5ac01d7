"""Between the weight names of a published layout and ours: every rule goes both ways.

Because it does, loading, exporting, checking shapes and checking a full-size model without weights are one thing:
our tensors, real or on the ``meta`` device, put backwards through the rules are what must be on the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from tuwen.checkpoints.weights import WeightFiles
from tuwen.config import TuwenError

Change = Callable[[list[Tensor]], list[Tensor]]


def _as_it_is(tensors: list[Tensor]) -> list[Tensor]:
    return tensors


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Some published tensors that are some of ours.

    Attributes:
        theirs: published names.
        ours: names in ``TuwenForConditionalGeneration``.
        forward: their tensors → ours.
        backward: our tensors → theirs; exactly undoes ``forward``.
    """

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    forward: Change = _as_it_is
    backward: Change = _as_it_is


def same(theirs: str, ours: str) -> Rule:
    """The very same tensor under another name."""
    return Rule(theirs=(theirs,), ours=(ours,))


def unchanged(names: Iterable[str]) -> list[Rule]:
    """All tensors under their own names."""
    return [same(name, name) for name in names]


def stacked(theirs: str, ours: Sequence[str]) -> Rule:
    """Several tensors of ours, of equal shape, that are published one below the other (query, key, value …)."""
    return Rule(
        theirs=(theirs,),
        ours=tuple(ours),
        forward=lambda tensors: [part.contiguous() for part in tensors[0].chunk(len(ours), dim=0)],
        backward=lambda tensors: [torch.cat(tensors, dim=0)],
    )


def interleaved(theirs: str, ours: str, heads: int, parts: int = 3) -> Rule:
    """Rows that are published head by head (query, key, value of head 0, then of head 1 …) and ours part by part."""

    def regroup(tensor: Tensor, outer: int, inner: int) -> Tensor:
        rows = tensor.unflatten(0, (outer, inner, -1)).transpose(0, 1)
        return rows.reshape(tensor.shape).contiguous()

    return Rule(
        theirs=(theirs,),
        ours=(ours,),
        forward=lambda tensors: [regroup(tensors[0], heads, parts)],
        backward=lambda tensors: [regroup(tensors[0], parts, heads)],
    )


def published_shapes(rules: Iterable[Rule], ours: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Names and shapes that a published folder must hold, from our tensors (on ``meta``, for one)."""
    shapes: dict[str, tuple[int, ...]] = {}
    for rule in rules:
        tensors = rule.backward([ours[name].to("meta") for name in rule.ours])
        shapes.update({name: tuple(tensor.shape) for name, tensor in zip(rule.theirs, tensors, strict=True)})
    return shapes


def check_published(
    files: WeightFiles,
    rules: Sequence[Rule],
    ours: Mapping[str, Tensor],
    ignored: Callable[[str], bool] = lambda name: False,
) -> None:
    """Make sure that what is on the disk is what the rules want, before anything is read.

    Args:
        files: the published weights.
        rules: all of them.
        ours: our tensors or their likes on ``meta``.
        ignored: published names that mean nothing to a loader, such as rotary tables of old `transformers`.

    Raises:
        TuwenError: naming missing and unexpected tensors and those of a wrong shape, with the file.
    """
    wanted = published_shapes(rules, ours)
    missing = [name for name in wanted if name not in files]
    if missing:
        raise TuwenError(f"{files.folder}: {_listed(missing, 'weight')} missing: the configuration asks for it")
    unexpected = [name for name in files if name not in wanted and not ignored(name)]
    if unexpected:
        raise TuwenError(f"{files.path(unexpected[0])}: {_listed(unexpected, 'weight')} not expected in this layout")
    for name, shape in wanted.items():
        if files.shape(name) != shape:
            raise TuwenError(
                f"{files.path(name)}: {name} has shape {list(files.shape(name))}, "
                f"but the configuration asks for {list(shape)}"
            )


def _listed(names: Sequence[str], word: str) -> str:
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{len(names)} {word}{'s are' if len(names) > 1 else ' is'} ({shown})"


class OurWeights(WeightFiles):
    """Published weights under our names; each is read and changed when it is asked for, in the order of the files.

    Of several that are published as one, the rest wait until they are asked for or a tensor of another rule is.

    Args:
        files: the published weights.
        rules: all of them.
        shapes: our tensors or their likes on ``meta``.
    """

    def __init__(self, files: WeightFiles, rules: Iterable[Rule], shapes: Mapping[str, Tensor]) -> None:
        super().__init__(files.folder, [])
        self._waiting: dict[str, Tensor] = {}
        order: dict[str, int] = {}
        for name in files:
            order.setdefault(files.file(name), len(order))
        # In the order of the files, so that who goes through all of them opens each once.
        for rule in sorted(rules, key=lambda one: order.get(files.file(one.theirs[0]), 0)):
            for name in rule.ours:
                first = rule.theirs[0]
                self._files[name] = files.file(first)
                self._shapes[name] = (tuple(shapes[name].shape), files.dtype(first))
                self._readers[name] = partial(self._changed, files, rule, name)

    def _changed(self, files: WeightFiles, rule: Rule, name: str) -> Tensor:
        if name not in self._waiting:
            self._waiting.clear()
            tensors = rule.forward([files[theirs] for theirs in rule.theirs])
            self._waiting.update(zip(rule.ours, tensors, strict=True))
        return self._waiting.pop(name)
