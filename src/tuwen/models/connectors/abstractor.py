"""Honeybee's C-Abstractor (arXiv 2312.06742): convolutions, pooling to few tokens, convolutions.

The blocks are RegNet's bottlenecks with squeeze-and-excitation (arXiv 2003.13678, 1709.01507).

Shape legend: B tiles, N patches, D vision width, C channels, R rows, K columns, T tokens, H language width.
"""

from __future__ import annotations

import math
from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_layers import GradientCheckpointingLayer

from tuwen.models.connectors.base import CONNECTORS, Connector, ConnectorConfig, SquareNumber
from tuwen.vision.grid import PatchGrid


class AbstractorConfig(ConnectorConfig):
    """Settings of ``AbstractorConnector``.

    Attributes:
        num_queries: tokens that a tile becomes; a square number.
        hidden_size: channels of the convolutions; the vision width unless said.
        depth: blocks before the pooling, and as many behind it.
    """

    num_queries: SquareNumber = 144
    hidden_size: int | None = Field(default=None, ge=4)
    depth: int = Field(default=3, ge=0)

    def num_tokens(self, grid: PatchGrid) -> int:
        """As many as said, whatever the grid."""
        return self.num_queries

    def token_grid(self, grid: PatchGrid) -> tuple[int, int]:
        """A square."""
        side = math.isqrt(self.num_queries)
        return side, side


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of a map [B, C, R, K]."""

    def forward(self, map_BCRK: Tensor) -> Tensor:
        """[B, C, R, K] → [B, C, R, K]."""
        return super().forward(map_BCRK.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Bottleneck(GradientCheckpointingLayer):
    """1×1, depthwise 3×3, squeeze-and-excitation, 1×1, added to the input (or its projection)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        squeezed = max(1, before // 4)
        self.first = nn.Sequential(nn.Conv2d(before, after, 1, bias=False), ChannelNorm(after), nn.SiLU())
        self.depthwise = nn.Sequential(
            nn.Conv2d(after, after, 3, padding=1, groups=after, bias=False), ChannelNorm(after), nn.SiLU()
        )
        self.squeeze = nn.Conv2d(after, squeezed, 1)
        self.excite = nn.Conv2d(squeezed, after, 1)
        self.last = nn.Sequential(nn.Conv2d(after, after, 1, bias=False), ChannelNorm(after))
        self.shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, 1, bias=False)

    def forward(self, map_BCRK: Tensor) -> Tensor:
        """[B, C, R, K] → [B, C', R, K]."""
        hidden = self.depthwise(self.first(map_BCRK))
        gate = self.excite(functional.silu(self.squeeze(hidden.mean(dim=(2, 3), keepdim=True)))).sigmoid()
        return functional.silu(self.last(hidden * gate) + self.shortcut(map_BCRK))


@CONNECTORS.register("abstractor")
class AbstractorConnector(Connector[AbstractorConfig]):
    """Blocks, average pooling to a square of tokens, blocks, two linear layers; class tokens are left out."""

    config_class: ClassVar[type[AbstractorConfig]] = AbstractorConfig

    def __init__(self, config: AbstractorConfig, vision_dim: int, language_dim: int) -> None:
        super().__init__(config, vision_dim, language_dim)
        channels = config.hidden_size or vision_dim
        widths = [vision_dim] + [channels] * config.depth
        self.before = nn.Sequential(*(Bottleneck(widths[place], channels) for place in range(config.depth)))
        self.after = nn.Sequential(*(Bottleneck(channels, channels) for _ in range(config.depth)))
        self.readout = nn.Sequential(
            nn.Linear(widths[-1], language_dim), nn.SiLU(), nn.Linear(language_dim, language_dim)
        )

    def forward(self, features_BND: Tensor, grid: PatchGrid) -> Tensor:
        """[B, N, D] → [B, T, H]."""
        batch = features_BND.shape[0]
        patches = features_BND[:, grid.prefix :].reshape(batch, grid.rows, grid.columns, self.vision_dim)
        map_BCRK = self.before(patches.permute(0, 3, 1, 2))
        pooled = functional.adaptive_avg_pool2d(map_BCRK, self.config.token_grid(grid))
        tokens_BTH: Tensor = self.readout(self.after(pooled).flatten(2).transpose(1, 2))
        return tokens_BTH
