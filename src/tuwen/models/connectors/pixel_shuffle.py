"""Patches folded into channels, then an MLP, as InternVL 1.5 (arXiv 2404.16821) and SmolVLM (arXiv 2504.05299) do."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from tuwen.config import TuwenError
from tuwen.models.connectors.base import CONNECTORS, Connector, ConnectorConfig
from tuwen.vision.grid import PatchGrid


class PixelShuffleConfig(ConnectorConfig):
    """Settings of ``PixelShuffleConnector``.

    Attributes:
        scale: patches in each direction that become one token.
        hidden_size: width inside the MLP; the language model's unless said.
    """

    scale: int = Field(default=2, ge=1)
    hidden_size: int | None = Field(default=None, ge=1)

    def num_tokens(self, grid: PatchGrid) -> int:
        """One token for each ``scale`` × ``scale`` patches.

        Raises:
            TuwenError: when the rows or columns cannot be divided.
        """
        rows, columns = self.token_grid(grid)
        return rows * columns

    def token_grid(self, grid: PatchGrid) -> tuple[int, int]:
        """The grid of patches, coarser."""
        if grid.rows % self.scale or grid.columns % self.scale:
            raise TuwenError(
                f"connector pixel_shuffle: a grid of {grid.rows}x{grid.columns} patches cannot be divided by scale "
                f"{self.scale}; choose another scale or picture size"
            )
        return grid.rows // self.scale, grid.columns // self.scale


@CONNECTORS.register("pixel_shuffle")
class PixelShuffleConnector(Connector[PixelShuffleConfig]):
    """LayerNorm and two linear layers on ``scale``² patches side by side; class tokens are left out."""

    config_class: ClassVar[type[PixelShuffleConfig]] = PixelShuffleConfig

    def __init__(self, config: PixelShuffleConfig, vision_dim: int, language_dim: int) -> None:
        super().__init__(config, vision_dim, language_dim)
        folded = vision_dim * config.scale**2
        hidden = config.hidden_size or language_dim
        self.layers = nn.Sequential(
            nn.LayerNorm(folded), nn.Linear(folded, hidden), nn.GELU(), nn.Linear(hidden, language_dim)
        )

    def forward(self, features_BND: Tensor, grid: PatchGrid) -> Tensor:
        """[B, N, D] → [B, N / scale², H]."""
        rows, columns = self.config.token_grid(grid)
        scale, batch = self.config.scale, features_BND.shape[0]
        patches = features_BND[:, grid.prefix :].reshape(batch, rows, scale, columns, scale, self.vision_dim)
        folded = patches.permute(0, 1, 3, 2, 4, 5).reshape(batch, rows * columns, scale * scale * self.vision_dim)
        tokens_BTH: Tensor = self.layers(folded)
        return tokens_BTH
