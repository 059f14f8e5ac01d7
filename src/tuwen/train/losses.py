"""What a model is trained to do: losses as sums, so that any split of a step adds up to the same.

Shape legend: R rows, L tokens of a row, A trained places, P tiles, T connector tokens, H width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tuwen.chat.renderer import IGNORE_INDEX
from tuwen.data.loader import Batch
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.train.stage import ObjectiveName


@dataclass(slots=True)
class Objective:
    """A loss of a batch.

    Attributes:
        total: weighted sum over trained places, with a gradient.
        weight: sum of the weights.
    """

    total: Tensor
    weight: Tensor


def image_tokens(model: TuwenForConditionalGeneration, batch: Batch) -> Tensor | None:
    """Connector tokens of the batch's pictures, [P, T, H]; None without a picture."""
    if not len(batch.pixel_values):
        return None
    tokens: Tensor = model.get_image_features(batch.pixel_values).pooler_output
    return tokens


def answers(model: TuwenForConditionalGeneration, batch: Batch, image_tokens_PTH: Tensor | None) -> Objective:
    """Cross-entropy of the assistant's tokens; logits are computed for those places alone."""
    output = model.model(
        input_ids=batch.input_ids,
        image_embeds=image_tokens_PTH,
        position_ids=batch.position_ids,
        attention_mask=batch.attention_mask,
        use_cache=False,
    )
    trained_RL = batch.labels != IGNORE_INDEX
    hidden_AH = output.last_hidden_state[trained_RL]
    logits_AV = model.lm_head(hidden_AH).float()
    losses_A = functional.cross_entropy(logits_AV, batch.labels[trained_RL], reduction="none")
    weights_A = batch.weights[trained_RL]
    return Objective((losses_A * weights_A).sum(), weights_A.sum())


def regions(model: TuwenForConditionalGeneration, batch: Batch, image_tokens_PTH: Tensor | None) -> Objective:
    """Dense alignment: each picture token, read by the output head, names what is at its place.

    The token is normalised to unit root mean square first, as a language model's last norm would.
    """
    if image_tokens_PTH is None or not len(batch.region_places):
        zero = batch.weights.sum() * 0
        return Objective(zero, zero)
    places, inverse = torch.unique(batch.region_places, return_inverse=True)
    hidden_AH = image_tokens_PTH.flatten(0, 1)[places]
    hidden_AH = functional.rms_norm(hidden_AH.float(), (hidden_AH.shape[-1],), eps=1e-6)
    log_AV = model.lm_head(hidden_AH).float().log_softmax(dim=-1)
    losses = -log_AV[inverse, batch.region_tokens] * batch.region_weights
    return Objective(losses.sum(), batch.region_weights.sum())


OBJECTIVES: dict[ObjectiveName, Callable[[TuwenForConditionalGeneration, Batch, Tensor | None], Objective]] = {
    "answers": answers,
    "regions": regions,
}
