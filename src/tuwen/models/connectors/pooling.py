"""Neighbouring patches averaged or maximised, then an MLP (as in DeCo, arXiv 2405.20985)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tuwen.models.connectors.base import CONNECTORS, Connector, ConnectorConfig
from tuwen.vision.grid import PatchGrid


class PoolingConfig(ConnectorConfig):
    """Settings of ``PoolingConnector``.

    Attributes:
        factor: patches in each direction that become one token; a last row or column may be of fewer.
        kind: ``average`` or ``max``.
        hidden_size: width inside the MLP; the language model's unless said.
    """

    factor: int = Field(default=2, ge=1)
    kind: Literal["average", "max"] = "average"
    hidden_size: int | None = Field(default=None, ge=1)

    def num_tokens(self, grid: PatchGrid) -> int:
        """One token for each ``factor`` × ``factor`` patches, rounded up."""
        rows, columns = self.token_grid(grid)
        return rows * columns

    def token_grid(self, grid: PatchGrid) -> tuple[int, int]:
        """The grid of patches, coarser."""
        return -(-grid.rows // self.factor), -(-grid.columns // self.factor)


@CONNECTORS.register("pooling")
class PoolingConnector(Connector[PoolingConfig]):
    """Pooling over the grid of patches and two linear layers; class tokens are left out."""

    config_class: ClassVar[type[PoolingConfig]] = PoolingConfig

    def __init__(self, config: PoolingConfig, vision_dim: int, language_dim: int) -> None:
        super().__init__(config, vision_dim, language_dim)
        hidden = config.hidden_size or language_dim
        self.layers = nn.Sequential(nn.Linear(vision_dim, hidden), nn.GELU(), nn.Linear(hidden, language_dim))

    def forward(self, features_BND: Tensor, grid: PatchGrid) -> Tensor:
        """[B, N, D] → [B, T, H]."""
        batch = features_BND.shape[0]
        patches = features_BND[:, grid.prefix :].reshape(batch, grid.rows, grid.columns, self.vision_dim)
        map_BDRC = patches.permute(0, 3, 1, 2)
        factor = self.config.factor
        if self.config.kind == "average":
            pooled = functional.avg_pool2d(map_BDRC, factor, ceil_mode=True, count_include_pad=False)
        else:
            pooled = functional.max_pool2d(map_BDRC, factor, ceil_mode=True)
        tokens_BTH: Tensor = self.layers(pooled.flatten(2).transpose(1, 2))
        return tokens_BTH
