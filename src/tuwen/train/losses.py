"""What a model is trained to do: losses of each sample as sums, so that any split of a step adds up to the same.

Shape legend: R rows, L tokens of a row, S samples, A trained places, P tiles, T connector tokens, H width,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from tuwen.chat.renderer import IGNORE_INDEX
from tuwen.data.collator import Batch
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.models.packing import packed_mask
from tuwen.train.stage import SumName

# Logits that are held at once, in numbers: 256 MiB in fp32.
MOST_LOGITS = 2**26


def answers(model: TuwenForConditionalGeneration, batch: Batch, image_tokens_PTH: Tensor) -> Tensor:
    """Cross-entropy of each sample's answers, summed over their tokens, [S]; logits are computed for those alone."""
    if batch.pictures:
        embeddings_RLH = model.model.embed(batch.input_ids, image_tokens_PTH)
    else:
        embeddings_RLH = model.get_input_embeddings()(batch.input_ids)
        # The layers' inputs need a gradient in all processes or in none, or these wait for each other in vain.
        embeddings_RLH = embeddings_RLH + image_tokens_PTH.sum().to(embeddings_RLH.dtype) * 0
    output = model.model(
        inputs_embeds=embeddings_RLH,
        position_ids=batch.position_ids,
        attention_mask=packed_mask(batch.segments, batch.parents, model.config.text_config),
        use_cache=False,
    )
    trained_RL = batch.labels != IGNORE_INDEX
    losses_A = token_losses(model.lm_head, output.last_hidden_state[trained_RL], batch.labels[trained_RL])
    return losses_A.new_zeros(batch.samples).index_add(0, batch.owners[trained_RL], losses_A)


def token_losses(head: nn.Module, hidden_AH: Tensor, labels_A: Tensor, most_logits: int = MOST_LOGITS) -> Tensor:
    """Cross-entropy of each place in fp32, [A].

    Where the logits would be many, they are computed stretch by stretch and once more in the backward pass, so that
    those of one stretch are held at a time.

    Args:
        head: hidden states [A, H] → logits [A, V].
        hidden_AH: of the places that are trained.
        labels_A: their tokens.
        most_logits: numbers that may be held at once.
    """
    places = max(1, most_logits // head.out_features if isinstance(head, nn.Linear) else most_logits)
    # Engines that hold weights in parts gather them when a module is called, which all processes must do equally often.
    logits = head.forward
    if len(labels_A) <= places:
        return _token_losses(logits, hidden_AH, labels_A)
    stretches = zip(hidden_AH.split(places), labels_A.split(places), strict=True)
    return torch.cat(
        [checkpoint(_token_losses, logits, hidden, labels, use_reentrant=False) for hidden, labels in stretches]
    )


def _token_losses(logits: Callable[[Tensor], Tensor], hidden_AH: Tensor, labels_A: Tensor) -> Tensor:
    return functional.cross_entropy(logits(hidden_AH).float(), labels_A, reduction="none")


def regions(model: TuwenForConditionalGeneration, batch: Batch, image_tokens_PTH: Tensor) -> Tensor:
    """Dense alignment: each picture token, read by the output head, names what is at its place; one sum, [1].

    The token is normalised to unit root mean square first, as a language model's last norm would.
    """
    places, inverse = torch.unique(batch.region_places, return_inverse=True)
    hidden_AH = image_tokens_PTH.flatten(0, 1)[places]
    hidden_AH = functional.rms_norm(hidden_AH.float(), (hidden_AH.shape[-1],), eps=1e-6)
    log_AV = model.lm_head(hidden_AH).float().log_softmax(dim=-1)
    losses = -log_AV[inverse, batch.region_tokens] * batch.region_weights
    return losses.sum(dim=0, keepdim=True)


OBJECTIVES: dict[SumName, Callable[[TuwenForConditionalGeneration, Batch, Tensor], Tensor]] = {
    "answers": answers,
    "regions": regions,
}


class TrainedModel(nn.Module):
    """A model with its losses: one forward pass for whatever spreads it over devices.

    Pictures are encoded in every pass, one blank tile where a batch has none: processes that wait for each other must
    all call the same modules.

    Args:
        model: what is trained.
        objectives: losses that are wanted.
    """

    def __init__(self, model: TuwenForConditionalGeneration, objectives: list[SumName]) -> None:
        super().__init__()
        self.model, self.objectives = model, objectives

    def forward(self, batch: Batch) -> dict[SumName, Tensor]:
        """Sums of each objective: ``answers`` of each sample [S], ``regions`` of all pictures [1]."""
        pixels = batch.pixel_values
        if not batch.pictures:
            pixels = pixels.new_zeros(1, *pixels.shape[1:])
        tokens_PTH = self.model.get_image_features(pixels).pooler_output
        return {name: OBJECTIVES[name](self.model, batch, tokens_PTH) for name in self.objectives}

    def generate(self, **inputs: Any) -> Tensor:
        """Token ids that the model answers with; here so that split weights are gathered for it, too."""
        generated: Tensor = self.model.generate(**inputs)
        return generated
