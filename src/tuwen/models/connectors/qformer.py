"""BLIP-2's Q-Former (arXiv 2301.12597), as `transformers` has it, and a linear layer."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from tuwen.config import TuwenError
from tuwen.models.connectors.base import CONNECTORS, Connector, ConnectorConfig
from tuwen.vision.grid import PatchGrid


class QFormerConfig(ConnectorConfig):
    """Settings of ``QFormerConnector``.

    Attributes:
        num_queries: tokens that a tile becomes.
        hidden_size: width of the Q-Former.
        num_layers: layers.
        num_heads: attention heads.
        intermediate_size: width of the feed-forward layers; four times ``hidden_size`` unless said.
        cross_attention_frequency: every so many layers attend to the features.
    """

    num_queries: int = Field(default=32, ge=1)
    hidden_size: int = Field(default=768, ge=1)
    num_layers: int = Field(default=12, ge=1)
    num_heads: int = Field(default=12, ge=1)
    intermediate_size: int | None = Field(default=None, ge=1)
    cross_attention_frequency: int = Field(default=2, ge=1)

    def num_tokens(self, grid: PatchGrid) -> int:
        """As many as queries, whatever the grid."""
        return self.num_queries


@CONNECTORS.register("qformer")
class QFormerConnector(Connector[QFormerConfig]):
    """Learned queries through a Q-Former, then a linear layer; class tokens are seen too.

    Raises:
        TuwenError: when the width cannot be split into the heads.
    """

    config_class: ClassVar[type[QFormerConfig]] = QFormerConfig

    def __init__(self, config: QFormerConfig, vision_dim: int, language_dim: int) -> None:
        super().__init__(config, vision_dim, language_dim)
        if config.hidden_size % config.num_heads:
            raise TuwenError(
                f"connector qformer: num_heads {config.num_heads} does not divide hidden_size {config.hidden_size}"
            )
        self.query_tokens = nn.Parameter(torch.empty(1, config.num_queries, config.hidden_size))
        self.qformer = Blip2QFormerModel(
            Blip2QFormerConfig(
                hidden_size=config.hidden_size,
                num_hidden_layers=config.num_layers,
                num_attention_heads=config.num_heads,
                intermediate_size=config.intermediate_size or 4 * config.hidden_size,
                encoder_hidden_size=vision_dim,
                cross_attention_frequency=config.cross_attention_frequency,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
            )
        )
        self.projection = nn.Linear(config.hidden_size, language_dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Queries near zero, different from each other."""
        nn.init.normal_(self.query_tokens, std=0.02)

    def forward(self, features_BND: Tensor, grid: PatchGrid) -> Tensor:
        """[B, N, D] → [B, Q, H]."""
        queries = self.query_tokens.to(features_BND.dtype).expand(len(features_BND), -1, -1)
        if not len(features_BND):
            # The Q-Former cannot split an empty batch into heads.
            no_tokens_BQH: Tensor = self.projection(queries)
            return no_tokens_BQH
        hidden_BQD = self.qformer(query_embeds=queries, encoder_hidden_states=features_BND).last_hidden_state
        tokens_BQH: Tensor = self.projection(hidden_BQD)
        return tokens_BQH
