"""Embeddings and output heads of which only the rows of added tokens are trained.

The rows are a tensor of their own, so that gradients and optimiser need memory for them alone. On disk they are what
`peft` calls trainable tokens.

Shape legend: L any places, H width, V vocabulary, N new rows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tuwen.config import TuwenError
from tuwen.models.modeling import TuwenForConditionalGeneration

# What the tensor is called, in the model and in a file of `peft`.
NAME = "new_rows"
PEFT_NAME = "token_adapter.trainable_tokens_delta"


class EmbeddingWithNewRows(nn.Embedding):
    """Token embeddings; the table of ``plain`` is shared, not copied.

    Args:
        plain: the embeddings as they were.
        new_rows: the rows that are trained, [N, H].
    """

    def __init__(self, plain: nn.Embedding, new_rows: nn.Parameter) -> None:
        super().__init__(
            plain.num_embeddings, plain.embedding_dim, padding_idx=plain.padding_idx, _weight=plain.weight.data
        )
        self.weight = plain.weight
        self.new_rows = new_rows

    @property
    def first_new(self) -> int:
        """V - N."""
        return self.num_embeddings - len(self.new_rows)

    def forward(self, input: Tensor) -> Tensor:
        """Token ids [L] → embeddings [L, H], in the type of the table."""
        known_LH = super().forward(input)
        new_LH = functional.embedding((input - self.first_new).clamp(min=0), self.new_rows)
        return torch.where((input >= self.first_new)[..., None], new_LH.to(known_LH.dtype), known_LH)

    def plain(self) -> nn.Embedding:
        """Embeddings without new rows, with the same table."""
        plain = nn.Embedding(self.num_embeddings, self.embedding_dim, self.padding_idx, _weight=self.weight.data)
        plain.weight = self.weight
        return plain


class LinearWithNewRows(nn.Linear):
    """An output head without bias; the table of ``plain`` is shared, not copied.

    Args:
        plain: the head as it was.
        new_rows: the rows that are trained, [N, H].
    """

    def __init__(self, plain: nn.Linear, new_rows: nn.Parameter) -> None:
        super().__init__(plain.in_features, plain.out_features, bias=False, device="meta")
        self.weight = plain.weight
        self.new_rows = new_rows

    @property
    def first_new(self) -> int:
        """V - N."""
        return self.out_features - len(self.new_rows)

    def forward(self, input: Tensor) -> Tensor:
        """Hidden states [L, H] → logits [L, V]."""
        logits_LV = super().forward(input)
        logits_LV[..., self.first_new :] = functional.linear(input, self.new_rows)
        return logits_LV

    def plain(self) -> nn.Linear:
        """The head without new rows, with the same table."""
        plain = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        plain.weight = self.weight
        return plain


def add_new_rows(model: TuwenForConditionalGeneration, first: int, where: str) -> None:
    """Make the rows from ``first`` on tensors of their own, in the embeddings and the output head.

    Args:
        model: changed in place.
        first: the first new row.
        where: the recipe's key, for messages.

    Raises:
        TuwenError: when there is no such row, or the model's embeddings are more than a table.
    """
    embeddings, head = model.get_input_embeddings(), model.lm_head
    if type(embeddings) is not nn.Embedding or type(head) is not nn.Linear or head.bias is not None:
        raise TuwenError(f"{where}: the embeddings are a {type(embeddings).__name__}, not a table; train them in full")
    rows = min(len(embeddings.weight), len(head.weight))
    if first >= rows:
        raise TuwenError(f"{where}: there is no row {first}, the last one is {rows - 1}")
    tied = head.weight is embeddings.weight
    rows_NH = nn.Parameter(embeddings.weight.data[first:].float())
    model.set_input_embeddings(EmbeddingWithNewRows(embeddings, rows_NH))
    # A tied head has the embeddings' rows.
    head_NH = rows_NH if tied else nn.Parameter(head.weight.data[first:].float())
    model.set_output_embeddings(LinearWithNewRows(head, head_NH))


@torch.no_grad()
def whole_table(layer: EmbeddingWithNewRows | LinearWithNewRows) -> Tensor:
    """The table [V, H] of a layer with its new rows in it, float32."""
    return torch.cat([layer.weight.data[: layer.first_new].float(), layer.new_rows.data.float()])


@torch.no_grad()
def remove_new_rows(model: TuwenForConditionalGeneration) -> None:
    """Put new rows into their tables and the plain layers back; tables that are tied stay so."""
    embeddings, head = model.get_input_embeddings(), model.lm_head
    if not isinstance(embeddings, EmbeddingWithNewRows) or not isinstance(head, LinearWithNewRows):
        return
    tied = head.weight is embeddings.weight
    embeddings.weight.data = whole_table(embeddings)
    if not tied:
        head.weight.data = whole_table(head)
    model.set_input_embeddings(embeddings.plain())
    model.set_output_embeddings(head.plain())
