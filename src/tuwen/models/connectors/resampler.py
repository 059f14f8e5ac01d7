"""VisualCLA's resampler: learned queries through BERT-like layers, then a linear layer.

Each layer attends from the queries to queries and picture together (as Flamingo's, arXiv 2204.14198), with norms after
the sums (as BERT's, arXiv 1810.04805). The picture's features are the same for every layer.

Shape legend: B tiles, N features, D vision width, Q queries, A heads, E width of a head, H language width.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_layers import GradientCheckpointingLayer

from tuwen.config import TuwenError
from tuwen.models.connectors.base import CONNECTORS, Connector, ConnectorConfig
from tuwen.vision.grid import PatchGrid


class ResamplerConfig(ConnectorConfig):
    """Settings of ``ResamplerConnector``.

    Attributes:
        num_queries: tokens that a tile becomes.
        num_layers: layers.
        num_heads: attention heads.
        intermediate_size: width of the feed-forward layers; four times the vision width unless said.
        layer_norm_eps: of the norms.
    """

    num_queries: int = Field(default=64, ge=1)
    num_layers: int = Field(default=6, ge=1)
    num_heads: int = Field(default=16, ge=1)
    intermediate_size: int | None = Field(default=None, ge=1)
    layer_norm_eps: float = Field(default=1e-12, gt=0)

    def num_tokens(self, grid: PatchGrid) -> int:
        """As many as queries, whatever the grid."""
        return self.num_queries


class ResamplerLayer(GradientCheckpointingLayer):
    """Attention from the queries to queries and features, then a feed-forward layer."""

    def __init__(self, config: ResamplerConfig, width: int) -> None:
        super().__init__()
        inner = config.intermediate_size or 4 * width
        self.heads = config.num_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.attention_output = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.intermediate = nn.Linear(width, inner)
        self.output = nn.Linear(inner, width)
        self.output_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)

    def forward(self, queries_BQD: Tensor, features_BND: Tensor) -> Tensor:
        """Queries [B, Q, D], features [B, N, D] → queries [B, Q, D]."""
        seen = torch.cat([queries_BQD, features_BND], dim=1)
        query, key, value = (
            layer(source).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, source in ((self.query, queries_BQD), (self.key, seen), (self.value, seen))
        )
        attended_BAQE = functional.scaled_dot_product_attention(query, key, value)
        attended_BQD = self.attention_output(attended_BAQE.transpose(1, 2).flatten(2))
        attended_BQD = self.attention_norm(attended_BQD + queries_BQD)
        changed = self.output(functional.gelu(self.intermediate(attended_BQD)))
        result: Tensor = self.output_norm(changed + attended_BQD)
        return result


@CONNECTORS.register("resampler")
class ResamplerConnector(Connector[ResamplerConfig]):
    """The query transformer and a linear layer to the language model's width; class tokens are seen too.

    Raises:
        TuwenError: when the vision width cannot be split into the heads.
    """

    config_class: ClassVar[type[ResamplerConfig]] = ResamplerConfig

    def __init__(self, config: ResamplerConfig, vision_dim: int, language_dim: int) -> None:
        super().__init__(config, vision_dim, language_dim)
        if vision_dim % config.num_heads:
            raise TuwenError(
                f"connector resampler: num_heads {config.num_heads} does not divide the vision width {vision_dim}"
            )
        self.query_embedding = nn.Parameter(torch.empty(1, config.num_queries, vision_dim))
        self.layers = nn.ModuleList(ResamplerLayer(config, vision_dim) for _ in range(config.num_layers))
        self.projection = nn.Linear(vision_dim, language_dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Queries near zero, different from each other."""
        nn.init.normal_(self.query_embedding, std=0.02)

    def forward(self, features_BND: Tensor, grid: PatchGrid) -> Tensor:
        """[B, N, D] → [B, Q, H]."""
        queries_BQD = self.query_embedding.to(features_BND.dtype).expand(len(features_BND), -1, -1)
        for layer in self.layers:
            queries_BQD = layer(queries_BQD, features_BND)
        tokens_BQH: Tensor = self.projection(queries_BQD)
        return tokens_BQH
