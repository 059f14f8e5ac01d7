"""Published adapters, read safely and folded into their base one tensor at a time.

LoRA (arXiv 2106.09685), DoRA (arXiv 2402.09353), rows of tokens that were trained alone, and what was trained in full.

Shape legend: R rank, I input width, O output width of a linear layer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tuwen.checkpoints.weights import WeightFiles, read_json
from tuwen.config import TuwenError

CONFIG = "adapter_config.json"
STEMS = ("adapter_model.safetensors", "adapter_model.bin")
PREFIX = "base_model.model."

# Settings of `peft` that change what a layer computes in ways that W + alpha/r · B A does not say.
_REFUSED = (
    "lora_bias", "use_qalora", "fan_in_fan_out", "layer_replication", "target_parameters",
    "alora_invocation_tokens", "arrow_config", "velora_config", "megatron_config",
)  # fmt: skip
# Other ways to start change the base too, so that the published base is not the one that was trained with.
_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
_PAIR = re.compile(r"(?P<module>.+)\.lora_(?P<half>[AB])(?:\.default)?\.weight")
_MAGNITUDE = re.compile(r"(?P<module>.+)\.lora_magnitude_vector(?:\.default)?(?:\.weight)?")
_ROWS = re.compile(r"(?P<module>.+)\.token_adapter\.trainable_tokens_delta(?:\.default)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """An adapter as published, read up to its weights.

    Attributes:
        files: its weights, under the names in its file.
        pairs: module of the adapted model → names of its A [R, I] and B [O, R], and the factor alpha/r.
        full: tensor of the adapted model → its name in the file, for what was trained in full.
        magnitudes: module of the adapted model → the name of its outputs' lengths [O], for DoRA.
        rows: module of the adapted model → the name of rows of its weight that were trained alone, and their places.
    """

    files: WeightFiles
    pairs: Mapping[str, tuple[str, str, float]]
    full: Mapping[str, str]
    magnitudes: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, tuple[str, Sequence[int]]] = field(default_factory=dict)

    @property
    def modules(self) -> set[str]:
        """Modules whose weight the adapter changes."""
        return {*self.pairs, *self.rows}

    def names(self, module: str) -> list[str]:
        """What the adapter's file holds of a module's change."""
        if module in self.rows:
            return [self.rows[module][0]]
        magnitude = [self.magnitudes[module]] if module in self.magnitudes else []
        return [*self.pairs[module][:2], *magnitude]

    @torch.no_grad()
    def delta(self, module: str) -> Tensor:
        """B A alpha/r of a module: float32 [O, I]."""
        name_A, name_B, factor = self.pairs[module]
        return factor * (self.files[name_B].float() @ self.files[name_A].float())

    @torch.no_grad()
    def folded(self, module: str, weight: Tensor) -> Tensor:
        """A module's weight [O, I] as the adapter changes it, float32."""
        if module in self.rows:
            name, places = self.rows[module]
            return weight.float().index_copy(0, torch.tensor(places), self.files[name].float())
        changed = weight.float() + self.delta(module)
        if module in self.magnitudes:
            magnitude_O = self.files[self.magnitudes[module]].float()
            changed = changed * (magnitude_O / torch.linalg.norm(changed, dim=1))[:, None]
        return changed


def read_adapter(folder: Path) -> Adapter:
    """An adapter in the format of `peft`: ``adapter_config.json`` and ``adapter_model.safetensors`` or ``.bin``.

    Raises:
        TuwenError: naming the file and key of what is missing or broken, and of a setting that cannot be folded.
    """
    where = folder / CONFIG
    settings = read_json(where)
    _check_settings(settings, where)
    files = WeightFiles.find(folder, stems=STEMS)
    halves: dict[str, dict[str, str]] = {}
    full: dict[str, str] = {}
    magnitudes: dict[str, str] = {}
    rows: dict[str, tuple[str, Sequence[int]]] = {}
    for name in files:
        if not name.startswith(PREFIX):
            raise TuwenError(f"{files.path(name)}: {name}: expected a name that begins with {PREFIX}")
        plain = name.removeprefix(PREFIX)
        if match := _PAIR.fullmatch(plain):
            halves.setdefault(match["module"], {})[match["half"]] = name
        elif settings.get("use_dora") and (match := _MAGNITUDE.fullmatch(plain)):
            magnitudes[match["module"]] = name
        elif match := _ROWS.fullmatch(plain):
            rows[match["module"]] = name, _places(files, match["module"], name, settings, where)
        elif ".lora_" in plain:
            raise TuwenError(f"{files.path(name)}: {name}: only LoRA on linear layers can be folded")
        elif ".original_module." not in plain:
            full[re.sub(r"\.(modules_to_save(\.default)?|base_layer)(?=\.)", "", plain)] = name
    pairs = {module: _pair(files, module, names, settings, where) for module, names in halves.items()}
    if settings.get("use_dora"):
        _check_magnitudes(files, pairs, magnitudes)
    return Adapter(files=files, pairs=pairs, full=full, magnitudes=magnitudes, rows=rows)


def _check_settings(settings: Mapping[str, Any], where: Path) -> None:
    if settings.get("peft_type") != "LORA":
        raise TuwenError(f"{where}: peft_type: {settings.get('peft_type')!r} cannot be folded, only LORA can")
    for key in _REFUSED:
        if settings.get(key):
            raise TuwenError(f"{where}: {key}: {settings[key]!r} cannot be folded; merge the adapter with `peft` first")
    if settings.get("init_lora_weights") not in _STARTS:
        raise TuwenError(
            f"{where}: init_lora_weights: {settings['init_lora_weights']!r} changes the base too; "
            "merge the adapter with `peft` first"
        )
    for key in ("r", "lora_alpha"):
        value = settings.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise TuwenError(f"{where}: {key}: expected a number above 0, found {value!r}")


def _pair(
    files: WeightFiles, module: str, names: Mapping[str, str], settings: Mapping[str, Any], where: Path
) -> tuple[str, str, float]:
    """Names of A and B and their factor, checked against each other and the settings."""
    for half in "AB":
        if half not in names:
            there = names["A" if half == "B" else "B"]
            raise TuwenError(f"{files.path(there)}: {there}: its lora_{half} is missing")
    shape_A, shape_B = files.shape(names["A"]), files.shape(names["B"])
    if len(shape_A) != 2 or len(shape_B) != 2 or shape_A[0] != shape_B[1]:
        raise TuwenError(
            f"{files.path(names['A'])}: {names['A']} of shape {list(shape_A)} and its lora_B of shape {list(shape_B)} "
            "cannot be multiplied"
        )
    rank = _of_module(settings, "rank_pattern", module, where, settings["r"])
    alpha = _of_module(settings, "alpha_pattern", module, where, settings["lora_alpha"])
    if rank != shape_A[0]:
        raise TuwenError(
            f"{files.path(names['A'])}: {names['A']} has shape {list(shape_A)}, but {CONFIG} says rank {rank}"
        )
    return names["A"], names["B"], alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)


def _check_magnitudes(
    files: WeightFiles, pairs: Mapping[str, tuple[str, str, float]], magnitudes: Mapping[str, str]
) -> None:
    for module, (_, name_B, _) in pairs.items():
        if module not in magnitudes:
            raise TuwenError(
                f"{files.path(name_B)}: {name_B}: its lora_magnitude_vector is missing, and use_dora is on"
            )
        shape, wanted = files.shape(magnitudes[module]), files.shape(name_B)[:1]
        if shape != wanted:
            name = magnitudes[module]
            raise TuwenError(f"{files.path(name)}: {name} has shape {list(shape)}, expected {list(wanted)}")


def _places(files: WeightFiles, module: str, name: str, settings: Mapping[str, Any], where: Path) -> Sequence[int]:
    """Which rows of a module's weight were trained alone."""
    key = "trainable_token_indices"
    found: Any = settings.get(key)
    if isinstance(found, dict):
        found = next((value for end, value in found.items() if f".{module}".endswith(f".{end}")), None)
    is_list = isinstance(found, list) and all(type(place) is int and place >= 0 for place in found)
    if not is_list or len(set(found)) != len(found):
        raise TuwenError(f"{where}: {key}: expected whole numbers for {module}, each once, found {str(found)[:60]}")
    shape = files.shape(name)
    if len(shape) != 2 or shape[0] != len(found):
        raise TuwenError(
            f"{files.path(name)}: {name} has shape {list(shape)}, but {CONFIG} names {len(found)} rows of {module}"
        )
    places: Sequence[int] = found
    return places


def _of_module(settings: Mapping[str, Any], key: str, module: str, where: Path, default: Any) -> float:
    """The value of the first pattern that fits the end of a module's name, as `peft` chooses it."""
    value = default
    try:
        for pattern, found in (settings.get(key) or {}).items():
            if re.fullmatch(rf"(.*\.)?({pattern})", module):
                value = found
                break
    except (re.error, AttributeError) as error:
        raise TuwenError(f"{where}: {key}: not a mapping of patterns: {error}") from None
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise TuwenError(f"{where}: {key}: expected numbers above 0, found {value!r}")
    return float(value)


class FoldedFiles(WeightFiles):
    """Weights with an adapter folded in; each is read, changed and given when it is asked for.

    Made by ``fold``.
    """

    def __init__(
        self, base: WeightFiles, adapter: Adapter, rename: Callable[[str], str], dtype: torch.dtype | None = None
    ) -> None:
        super().__init__(base.folder, [])
        self._dtype = dtype
        for name in base:
            self._put(name, base, name)
        for name, stored in adapter.full.items():
            self._put(rename(name), adapter.files, stored, like=base)
        for module in sorted(adapter.modules):
            self._change(base, adapter, module, rename(f"{module}.weight"))

    def _change(self, base: WeightFiles, adapter: Adapter, module: str, name: str) -> None:
        names = adapter.names(module)
        file = adapter.files.path(names[0])
        if name not in base:
            raise TuwenError(f"{file}: {names[0]}: the base in {base.folder} has no {name}")
        found, shape = base.shape(name), adapter.files.shape(names[0])
        where = f"but {name} in {base.path(name)} has shape {list(found)}"
        if module in adapter.rows:
            last = max(adapter.rows[module][1], default=0)
            if len(found) != 2 or found[1] != shape[1] or last >= found[0]:
                raise TuwenError(f"{file}: {names[0]} gives rows up to {last} of width {shape[1]}, {where}")
        elif found != (wanted := (adapter.files.shape(names[1])[0], shape[1])):
            raise TuwenError(f"{file}: {names[0]} and its lora_B give a change of shape {list(wanted)}, {where}")
        self._readers[name] = _folded(base, name, adapter, module, self._shapes[name][1])

    def _put(self, name: str, files: WeightFiles, stored: str, like: WeightFiles | None = None) -> None:
        dtype = files.dtype(stored) if like is None or name not in like else like.dtype(name)
        if self._dtype is not None and dtype.is_floating_point:
            dtype = self._dtype
        self._readers[name] = lambda: files[stored].to(dtype)
        self._files[name] = str(files.path(stored).absolute())
        self._shapes[name] = (files.shape(stored), dtype)


def _folded(base: WeightFiles, name: str, adapter: Adapter, module: str, dtype: torch.dtype) -> Callable[[], Tensor]:
    return lambda: adapter.folded(module, base[name]).to(dtype)


def fold(
    files: WeightFiles,
    adapter: Adapter,
    rename: Callable[[str], str] = lambda name: name,
    *,
    dtype: torch.dtype | None = None,
) -> FoldedFiles:
    """The weights of a base with an adapter folded in: W + alpha/r · B A, and what was trained in full put in place.

    With DoRA each output's weights are brought to the length that the adapter gives them.

    Each sum is formed in float32 and rounded once to the type of the base's tensor, which tensors trained in full
    take too. Tensors that the base does not have (a new connector) are added; ``check_published`` says whether all
    of them are wanted and of the right shape.

    Args:
        files: the base.
        adapter: from ``read_adapter``.
        rename: a parameter's name in the adapted model (without ``base_model.model.``) → its name in ``files``.
        dtype: of all results, in place of the base's own types.

    Raises:
        TuwenError: naming the adapter's file and key, when it changes a layer that the base does not have or that
            is of another shape.
    """
    return FoldedFiles(files, adapter, rename, dtype)
