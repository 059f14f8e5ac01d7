"""Operations of a training step, counted on a pass without numbers, and what devices can do of them.

Counted are the operations that the model needs: matrix products and convolutions, forward and backward, whatever is
computed once more to save memory left out, and of causal attention the half that is used (as in FlashAttention,
arXiv 2205.14135; PaLM's count of model FLOPs utilisation, arXiv 2204.02311, takes the whole).

Shape legend: P tiles, L tokens, H width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from tuwen.models.configuration import TuwenConfig
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.train.planning.rehearsal import imagined_model
from tuwen.train.stage import Stage
from tuwen.vision.grid import Grid

# Lengths at which the language model is counted; two say what grows with the length and what with its square.
SHORT, LONG = 64, 128


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFlops:
    """Floating-point operations of a stage, forward and backward.

    Attributes:
        tile: of the vision encoder and the connector, for each tile.
        token: of the language model without attention, for each token.
        square: of causal attention, for the length of each sample squared.
        answer: of the output head, for each place whose logits are computed.
    """

    tile: float
    token: float
    square: float
    answer: float

    def of(self, tokens: float, squares: float, tiles: float, answers: float) -> float:
        """Operations of a step, or of anything else that is so large.

        Args:
            tokens: of all samples, without padding.
            squares: sum of the samples' lengths squared.
            tiles: of all pictures.
            answers: trained tokens, and picture tokens that name what is at their place.
        """
        return self.token * tokens + self.square * squares + self.tile * tiles + self.answer * answers


def stage_flops(config: TuwenConfig, stage: Stage, tile: Grid) -> StepFlops:
    """Operations of a stage; takes seconds for the largest models, as nothing is computed.

    Args:
        config: of the model.
        stage: says what is trained, and by which objectives.
        tile: any picture's grid; its tiles' size counts.

    Raises:
        TuwenError: when the stage does not fit the model.
    """
    model, _ = imagined_model(config, stage)
    return count_flops(model, stage, tile)


def count_flops(model: TuwenForConditionalGeneration, stage: Stage, tile: Grid) -> StepFlops:
    """As ``stage_flops``, for a model fresh from ``imagined_model``."""
    vision = nn.ModuleList([model.model.vision_tower, model.model.connector])
    reached = _is_trained(vision)
    decoder = model.get_decoder()
    width = model.config.text_config.hidden_size

    def see() -> Tensor:
        features_PND = model.model.vision_features(torch.empty(1, 3, tile.height, tile.width))
        tokens_PTH: Tensor = model.model.connector(features_PND, model.config.patch_grid(tile))
        return tokens_PTH

    def read(length: int) -> Tensor:
        embeddings_1LH = torch.empty(
            1, length, width, requires_grad=reached or _is_trained(model.get_input_embeddings())
        )
        hidden_1LH: Tensor = decoder(inputs_embeds=embeddings_1LH, use_cache=False).last_hidden_state
        return hidden_1LH

    def name() -> Tensor:
        # What comes before the head is trained, or else the head is.
        return model.lm_head(torch.empty(1, width, requires_grad=reached or _is_trained(decoder)))

    def count(forward: Callable[[], Tensor]) -> int:
        # The reference goes the same way, forward alone.
        return _count(forward) + (_count(torch.no_grad()(forward)) if compares else 0)

    compares = "preference" in stage.wanted and stage.preference.has_reference
    # On no device, attention is made of plain products, none of which is computed twice.
    with torch.device("meta"):
        short = long = 0
        if "answers" in stage.sums:
            short, long = count(lambda: read(SHORT)), count(lambda: read(LONG))
        # a · L + c · L²
        square = (long / LONG - short / SHORT) / (LONG - SHORT)
        return StepFlops(tile=count(see), token=short / SHORT - square * SHORT, square=square / 2, answer=count(name))


def _is_trained(module: nn.Module) -> bool:
    return any(weight.requires_grad for weight in module.parameters())


class _Counter(TorchDispatchMode):
    """Adds up what `torch`'s formulas say of operations; without the modules that ``FlopCounterMode`` looks for."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.total += formula(*args, **kwargs, out_val=result)
        return result


def _count(forward: Callable[[], Tensor]) -> int:
    """Operations of a forward pass and of the backward pass from all that it gives."""
    with _Counter() as counter:
        result = forward()
        if result.requires_grad:
            result.backward(torch.empty_like(result))
    return counter.total
