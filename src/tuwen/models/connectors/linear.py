"""One linear layer (LLaVA, arXiv 2304.08485)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from tuwen.models.connectors.base import CONNECTORS, Connector, ConnectorConfig
from tuwen.vision.grid import PatchGrid


class LinearConfig(ConnectorConfig):
    """Settings of ``LinearConnector``."""

    bias: bool = True

    def token_grid(self, grid: PatchGrid) -> tuple[int, int] | None:
        """A token a patch."""
        return (grid.rows, grid.columns) if grid.prefix == 0 else None


@CONNECTORS.register("linear")
class LinearConnector(Connector[LinearConfig]):
    """One linear layer."""

    config_class: ClassVar[type[LinearConfig]] = LinearConfig

    def __init__(self, config: LinearConfig, vision_dim: int, language_dim: int) -> None:
        super().__init__(config, vision_dim, language_dim)
        self.projection = nn.Linear(vision_dim, language_dim, bias=config.bias)

    def forward(self, features_BND: Tensor, grid: PatchGrid) -> Tensor:
        """[B, N, D] -> [B, N, H]."""
        return self.projection(features_BND)
