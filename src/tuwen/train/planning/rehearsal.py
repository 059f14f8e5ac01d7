"""A batch put through a model without numbers: what a forward and a backward pass hold, whatever the model.

All tensors have shapes and no content (torch's ``meta`` device), so that a model of any size and kind is gone through
in seconds, and nothing has to be known of what is inside it. What `torch` does on a device alone, autocast and the
choice of a fused attention, is done here in its place.

Shape legend: R rows, L tokens of a row, P tiles, T connector tokens of a tile, H width, A places that are trained.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from tuwen.models.configuration import TuwenConfig
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.train.losses import token_losses
from tuwen.train.modules.gradient_checkpointing import set_gradient_checkpointing
from tuwen.train.modules.groups import Group, make_groups
from tuwen.train.modules.lora import add_lora
from tuwen.train.stage import Stage
from tuwen.vision.grid import Grid

# Attention for which `transformers` makes no mask.
UNMASKED = "tuwen_unmasked"
# What holds memory in a pass: the batch, modules, the head with the losses, copies of weights that autocast makes, and
# what the backward pass needs for a moment.
PARTS = ("batch", "vision", "connector", "language", "losses", "copies", "backward")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchShape:
    """The sizes of what one forward and backward pass takes.

    Attributes:
        rows: R.
        length: L, padding included.
        tiles: P.
        height: of a tile, in pixels.
        width: of a tile, in pixels.
        answers: trained tokens.
        regions: picture tokens that name what is at their place.
    """

    rows: int
    length: int
    tiles: int
    height: int
    width: int
    answers: int
    regions: int = 0


@dataclass(slots=True)
class Moment:
    """The most that is held between the arrival of one gradient and the next.

    Attributes:
        weight: whose gradient it begins with; None for the beginning of the pass.
        held: bytes by part (``PARTS``), gradients of weights not counted.
    """

    weight: nn.Parameter | None = None
    held: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Bytes of all parts together."""
        return sum(self.held.values())


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a pass holds.

    Attributes:
        kept: bytes by part (``PARTS``) that the forward pass leaves for the backward pass.
        moments: the course of the whole pass.
    """

    kept: Mapping[str, int]
    moments: list[Moment]

    @property
    def most(self) -> Moment:
        """The moment that holds the most, gradients not counted."""
        return max(self.moments, key=lambda moment: moment.total)


class _Ledger(TorchDispatchMode):
    """Counts the storages that operations make, while they live."""

    def __init__(self, weights: list[nn.Parameter]) -> None:
        super().__init__()
        self.part = PARTS[0]
        self.held: Counter[str] = Counter()
        self.moments = [Moment()]
        self._total = self._most = 0
        self._weights = weakref.WeakSet(weight.untyped_storage() for weight in weights)
        self._records: weakref.WeakKeyDictionary[Any, list[Any]] = weakref.WeakKeyDictionary()
        for weight in weights:
            if weight.requires_grad:
                weight.register_post_accumulate_grad_hook(self._gradient_is_there)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        is_copy = func is torch.ops.aten._to_copy.default and args[0].untyped_storage() in self._weights
        for made in tree_leaves(result):
            if isinstance(made, Tensor) and made.untyped_storage() not in self._records:
                self._add(made.untyped_storage(), "copies" if is_copy else self.part)
        if self._total > self._most:
            self._most = self._total
            self.moments[-1].held = dict(self.held)
        return result

    def _add(self, storage: Any, part: str) -> None:
        if storage in self._weights:
            return
        record = [part, storage.nbytes()]
        self._records[storage] = record
        self._change(part, record[1])
        weakref.finalize(storage, self._remove, record)

    def _remove(self, record: list[Any]) -> None:
        part, size = record
        self._change(part, -size)
        record[1] = 0

    def _change(self, part: str, size: int) -> None:
        self.held[part] += size
        self._total += size

    def _gradient_is_there(self, weight: Tensor) -> None:
        assert isinstance(weight, nn.Parameter)
        assert weight.grad is not None
        record = self._records.get(weight.grad.untyped_storage())
        if record is not None:
            self._remove(record)
        self.moments.append(Moment(weight))
        self._most = 0


def _all_forms(names: str) -> frozenset[Callable[..., Any]]:
    """Functions of these names wherever torch has them."""
    homes = (torch, functional, Tensor)
    return frozenset(getattr(home, name) for name in names.split() for home in homes if hasattr(home, name))


_IN_BF16 = _all_forms(
    "linear matmul __matmul__ __rmatmul__ mm bmm addmm addbmm baddbmm mv addmv einsum bilinear conv1d conv2d conv3d "
    "conv_transpose1d conv_transpose2d conv_transpose3d scaled_dot_product_attention"
)
# What GPUs take in fp32; processors take it as it comes.
_IN_FP32 = _all_forms(
    "layer_norm group_norm rms_norm pow __pow__ rsqrt reciprocal exp expm1 log log2 log10 log1p softplus logsumexp "
    "softmax log_softmax cumsum cumprod prod sum norm cosine_similarity cross_entropy nll_loss mse_loss l1_loss"
)


class _Autocast(TorchFunctionMode):
    """What ``torch.autocast`` to bf16 does on GPUs, for tensors that are on no device; and fused attention."""

    def __init__(self, enabled: bool, in_fp32: frozenset[Callable[..., Any]]) -> None:
        super().__init__()
        self._in_bf16, self._in_fp32 = (_IN_BF16, in_fp32) if enabled else (frozenset(), frozenset())
        self._copies: dict[int, Tensor] = {}
        self._is_open = True

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in self._in_bf16:
            args, kwargs = tree_map_only(Tensor, self._lowered, (args, kwargs))
        elif func in self._in_fp32:
            args, kwargs = tree_map_only(Tensor, _raised, (args, kwargs))
        if func is functional.scaled_dot_product_attention:
            return _fused_attention(*args, **kwargs)
        return func(*args, **kwargs)

    def close(self) -> None:
        """Drop the copies of weights that no operation has kept; from now on copies serve once."""
        self._copies, self._is_open = {}, False

    def _lowered(self, tensor: Tensor) -> Tensor:
        if tensor.dtype != torch.float32:
            return tensor
        if not (self._is_open and tensor.requires_grad and tensor.is_leaf):
            return tensor.bfloat16()
        # As autocast does, a trained weight is copied once.
        if id(tensor) not in self._copies:
            self._copies[id(tensor)] = tensor.bfloat16()
        return self._copies[id(tensor)]


def _raised(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor


def _fused_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Attention that keeps its inputs, its output and a number a row, as FlashAttention (arXiv 2205.14135) does."""
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    attended: Tensor = kernel(query, key, value, 0.0, is_causal, attn_mask=attn_mask, scale=scale)[0]
    return attended


def _unmasked_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    # Kernels that cap scores keep no more than others.
    kwargs.pop("softcap", None)
    result: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, None, **kwargs)
    return result


AttentionInterface.register(UNMASKED, _unmasked_attention)


def imagined_model(config: TuwenConfig, stage: Stage) -> tuple[TuwenForConditionalGeneration, list[Group]]:
    """The model of a stage with its adapters on the ``meta`` device, and what of it is trained.

    Args:
        config: of the model; left as it is.
        stage: says what is trained.

    Raises:
        TuwenError: when the stage does not fit the model.
    """
    with torch.device("meta"):
        model = TuwenForConditionalGeneration(deepcopy(config))
    model.tie_weights()
    # Encoder and language model have the types that they were published in, which say how they can be held.
    model.lm_head.to(next(model.get_decoder().parameters()).dtype)
    add_lora(model, stage)
    groups = make_groups(model, stage)
    model.set_attn_implementation({"text_config": UNMASKED, "vision_config": UNMASKED})
    return model.train(), groups


def rehearse(
    model: TuwenForConditionalGeneration, stage: Stage, shape: BatchShape, *, autocast: bool, on_gpu: bool = True
) -> Rehearsal:
    """Go through a forward and a backward pass.

    Args:
        model: from ``imagined_model``, its weights in the types that they have when they are used; its layers keep or
            compute again what the stage says.
        stage: its objectives.
        shape: of the batch.
        autocast: whether products are computed in bf16 whatever the types of weights.
        on_gpu: whether autocast is that of GPUs, which takes norms and the like in fp32; else that of processors.
    """
    set_gradient_checkpointing(model, stage)
    modes = _Autocast(autocast, _IN_FP32 if on_gpu else frozenset())
    ledger = _Ledger(list(model.parameters()))
    with ledger, torch.device("meta"), modes:
        pixels_P3HW = blank_pixels(shape)
        loss = forward_pass(model, stage, shape, pixels_P3HW, enter=lambda part: setattr(ledger, "part", part))
        modes.close()
        kept = {part: size for part, size in ledger.held.items() if size}
        ledger.part = "backward"
        # What is computed once more is computed as in the forward pass; `loss.backward()` would suspend the modes.
        engine = torch.autograd.Variable._execution_engine
        engine.run_backward((loss,), (torch.ones_like(loss),), False, False, (), True, True)
    return Rehearsal(kept, ledger.moments)


def blank_pixels(shape: BatchShape) -> Tensor:
    """Pixels of a batch, [P, 3, height, width]; as in training, one without pictures has a blank tile."""
    return torch.zeros(max(1, shape.tiles), 3, shape.height, shape.width)


def forward_pass(
    model: TuwenForConditionalGeneration,
    stage: Stage,
    shape: BatchShape,
    pixels_P3HW: Tensor,
    enter: Callable[[str], None] = lambda part: None,
) -> Tensor:
    """What ``TrainedModel`` does, without looking at content: attention goes without a mask.

    Args:
        model: with ``UNMASKED`` attention, on the current default device.
        stage: its objectives.
        shape: of the batch.
        pixels_P3HW: from ``blank_pixels``.
        enter: told of each part (``PARTS``) before it is gone through.
    """
    grid = model.config.patch_grid(Grid(shape.tiles, shape.height, shape.width))
    enter("vision")
    features_PND = model.model.vision_features(pixels_P3HW)
    enter("connector")
    tokens_PTH = model.model.connector(features_PND, grid)
    del features_PND
    losses: list[Tensor] = []
    if "answers" in stage.sums:
        enter("language")
        hidden_AH = _answer_states(model, tokens_PTH, shape)
        enter("losses")
        labels_A = torch.zeros(shape.answers, dtype=torch.long)
        losses.append(token_losses(model.lm_head, hidden_AH, labels_A).sum())
    if "regions" in stage.wanted:
        enter("losses")
        losses.append(_region_losses(model, tokens_PTH, shape.regions))
    return torch.stack(losses).sum()


def _answer_states(model: TuwenForConditionalGeneration, tokens_PTH: Tensor, shape: BatchShape) -> Tensor:
    """The language model's states of the answers' places, [A, H]."""
    places = torch.arange(shape.rows * shape.length)
    places_RL = places.view(shape.rows, shape.length)
    embeddings_RLH = model.get_input_embeddings()(places_RL * 0)
    flat = tokens_PTH.flatten(0, 1).to(embeddings_RLH.dtype)
    # In content, the first places are those of pictures.
    is_picture_RL1 = (places_RL < len(flat)).unsqueeze(-1)
    embeddings_RLH = embeddings_RLH.masked_scatter(is_picture_RL1, flat)
    output = model.model.language_model(inputs_embeds=embeddings_RLH, use_cache=False)
    states_AH: Tensor = output.last_hidden_state.flatten(0, 1)[places[: shape.answers]]
    return states_AH


def _region_losses(model: TuwenForConditionalGeneration, tokens_PTH: Tensor, regions: int) -> Tensor:
    """What ``losses.regions`` does with so many places, each with one word."""
    places_A = torch.arange(regions)
    hidden_AH = tokens_PTH.flatten(0, 1)[places_A]
    hidden_AH = functional.rms_norm(hidden_AH.float(), (hidden_AH.shape[-1],), eps=1e-6)
    log_AV = model.lm_head(hidden_AH).float().log_softmax(dim=-1)
    return -log_AV[places_A, places_A * 0].sum()
