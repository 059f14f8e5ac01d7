"""Qwen-VL's resampler: one layer of cross-attention from learned queries (arXiv 2308.12966).

Queries and keys carry fixed two-dimensional sine-cosine positions (as in MAE, arXiv 2111.06377), brought to the
features' grid by bicubic interpolation. There is no residual; a norm and an output projection follow. Names of weights
are those of the original, whose ``ln_post`` and ``proj`` stand beside the resampler.

Shape legend: B tiles, N patches, D vision width, Q queries, E width of the attention, H language width.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import initialization

from tuwen.config import TuwenError
from tuwen.models.connectors.base import CONNECTORS, Connector, ConnectorConfig, SquareNumber
from tuwen.models.positions import resize_positions
from tuwen.vision.grid import PatchGrid

HEAD_WIDTH = 128


class CrossAttentionConfig(ConnectorConfig):
    """Settings of ``CrossAttentionConnector``.

    Attributes:
        num_queries: tokens that a tile becomes; a square number.
        width: of the queries and the attention; the language model's unless said, as in Qwen-VL.
        num_heads: attention heads; one for each 128 of the width unless said.
        layer_norm_eps: of the norms.
    """

    num_queries: SquareNumber = 256
    width: int | None = Field(default=None, ge=1)
    num_heads: int | None = Field(default=None, ge=1)
    layer_norm_eps: float = Field(default=1e-6, gt=0)

    def num_tokens(self, grid: PatchGrid) -> int:
        """As many as queries, whatever the grid."""
        return self.num_queries


@CONNECTORS.register("cross_attention")
class CrossAttentionConnector(Connector[CrossAttentionConfig]):
    """The resampler with its final norm and projection; class tokens are left out.

    Raises:
        TuwenError: when the width cannot be split into the heads, or not into four for the positions.
    """

    config_class: ClassVar[type[CrossAttentionConfig]] = CrossAttentionConfig

    def __init__(self, config: CrossAttentionConfig, vision_dim: int, language_dim: int) -> None:
        super().__init__(config, vision_dim, language_dim)
        self.width = config.width or language_dim
        heads = config.num_heads or max(1, self.width // HEAD_WIDTH)
        if self.width % heads or self.width % 4:
            raise TuwenError(
                f"connector cross_attention: a width of {self.width} must be divisible by 4 and by num_heads {heads}"
            )
        eps = config.layer_norm_eps
        self.query = nn.Parameter(torch.empty(config.num_queries, self.width))
        # Saved with the weights: in published models the table is no longer what the formula gives.
        self.pos_embed: Tensor
        self.register_buffer("pos_embed", torch.empty(config.num_queries, self.width))
        same = vision_dim == self.width
        self.kv_proj = nn.Identity() if same else nn.Linear(vision_dim, self.width, bias=False)
        self.attn = nn.MultiheadAttention(self.width, heads, batch_first=True)
        self.ln_q = nn.LayerNorm(self.width, eps=eps)
        self.ln_kv = nn.LayerNorm(self.width, eps=eps)
        self.ln_post = nn.LayerNorm(self.width, eps=eps)
        self.proj = nn.Parameter(torch.empty(self.width, language_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Queries near zero; a projection that keeps the scale; sine-cosine positions."""
        side = math.isqrt(self.config.num_queries)
        # On ``meta`` no numbers are wanted, and settings that are still to be checked may ask for any amount of them.
        if not self.pos_embed.is_meta:
            # This copy leaves alone what was loaded from a folder, as ``nn.init`` does while `transformers` loads one.
            initialization.copy_(self.pos_embed, sine_cosine_positions(self.width, side))
        nn.init.trunc_normal_(self.query, std=0.02)
        nn.init.normal_(self.proj, std=self.width**-0.5)

    def forward(self, features_BND: Tensor, grid: PatchGrid) -> Tensor:
        """[B, N, D] → [B, Q, H]."""
        values_BNE = self.ln_kv(self.kv_proj(features_BND[:, grid.prefix :]))
        keys_NE = resize_positions(self.pos_embed, grid.rows, grid.columns).to(values_BNE.dtype)
        queries_QE = self.ln_q(self.query) + self.pos_embed.to(values_BNE.dtype)
        queries = queries_QE.expand(len(values_BNE), -1, -1)
        attended_BQE = self.attn(queries, values_BNE + keys_NE, values_BNE, need_weights=False)[0]
        tokens_BQH: Tensor = self.ln_post(attended_BQE) @ self.proj
        return tokens_BQH


def sine_cosine_positions(width: int, side: int) -> Tensor:
    """Positions of a square grid, [side², width], row by row: half of the width for the column, half for the row."""
    quarter = width // 4
    frequencies = 1.0 / 10000 ** (torch.arange(quarter, dtype=torch.float64, device="cpu") / quarter)
    angles = torch.arange(side, dtype=torch.float64, device="cpu")[:, None] * frequencies
    one_way = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows = one_way[:, None].expand(side, side, -1)
    columns = one_way[None].expand(side, side, -1)
    return torch.cat([columns, rows], dim=-1).reshape(side * side, width).float()
