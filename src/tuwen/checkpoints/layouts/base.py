"""What a published layout is: how a folder is recognised, read, and written back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch

from tuwen.checkpoints.refusal import blamed_on
from tuwen.checkpoints.renames import Rule
from tuwen.checkpoints.weights import WeightFiles
from tuwen.config import Registry, TuwenError
from tuwen.models.configuration import TuwenConfig
from tuwen.models.processing import TuwenProcessor

_HERE = "tuwen.checkpoints.layouts"
# A folder is of one of them at most.
LAYOUTS = Registry(
    "published layout",
    {name: f"{_HERE}.{name.replace('-', '_')}" for name in ("qwen-vl", "codefuse-vlm", "visualcla", "llava")},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A published folder, read up to its weights.

    Attributes:
        layout: the layout's name.
        config: the composition in our terms.
        processor: tokenizer, template and image policy in our terms.
        generation: generation defaults, as keyword arguments of `transformers`' ``GenerationConfig``.
        files: the weights, under their published names.
        rules: their names ↔ ours; every tensor of ours is in exactly one.
        dtype: of the weights as published.
        ignored: published names that are of no use to anyone.
        keep: small files by their relative paths, as they were, for writing the folder back.
    """

    layout: str
    config: TuwenConfig
    processor: TuwenProcessor
    generation: dict[str, Any]
    files: WeightFiles
    rules: Sequence[Rule]
    dtype: torch.dtype
    ignored: Callable[[str], bool] = lambda name: False
    keep: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A published folder that is to be written.

    Attributes:
        rules: their names ↔ ours.
        files: relative path → content of all files but weights.
        weight_map: published name → relative path of its weight file (``.bin`` or ``.safetensors``).
        dtypes: type of the numbers of a weight file, by its relative path; ours where it is not named.
    """

    rules: Sequence[Rule]
    files: Mapping[str, bytes]
    weight_map: Mapping[str, str]
    dtypes: Mapping[str, torch.dtype] = field(default_factory=dict)


class Layout(ABC):
    """One published layout; a file each, found by its name in ``LAYOUTS``."""

    name: ClassVar[str]
    title: ClassVar[str]

    @abstractmethod
    def recognises(self, folder: Path) -> bool:
        """Whether a folder is of this layout, by its ``config.json`` and the names of its files alone."""

    @abstractmethod
    def read(self, folder: Path) -> Published:
        """All but the weights.

        Raises:
            TuwenError: naming the file and key that is missing or wrong.
        """

    @abstractmethod
    def write(self, config: TuwenConfig, processor: TuwenProcessor, keep: Mapping[str, bytes]) -> Outgoing:
        """What ``export`` has to write so that the original loader reads it.

        Args:
            config: of the model.
            processor: of the model.
            keep: ``Published.keep`` of the folder that the model came from; empty for a model made elsewhere.

        Raises:
            TuwenError: naming what of the model this layout cannot express.
        """

    def adapt(self, base: Published, adapter: Path) -> Published:
        """``base`` with a LoRA adapter in this layout's names folded in as it is read.

        Raises:
            TuwenError: when the layout knows no adapters, or this one does not fit the base.
        """
        raise TuwenError(f"{adapter}: adapters on a folder in the layout {self.name} are not known")

    def recognises_delta(self, folder: Path) -> bool:
        """Whether a folder is this layout's delta on a language model and a vision encoder."""
        return False

    def read_delta(self, delta: Path, language: Path, vision: Path) -> Published:
        """All but the weights of a delta together with what it was trained on.

        Raises:
            TuwenError: when the layout knows no deltas, or the parts do not fit together.
        """
        raise TuwenError(f"{delta}: the layout {self.name} knows no deltas")


def recognise(folder: Path, *, delta: bool = False) -> Layout | None:
    """The layout of a folder, or that of a delta on a language model and a vision encoder; None when it is of none."""
    for name in LAYOUTS.names():
        layout: Layout = LAYOUTS.get(name)()
        with blamed_on(folder / "config.json"):
            known = layout.recognises_delta(folder) if delta else layout.recognises(folder)
        if known:
            return layout
    return None
