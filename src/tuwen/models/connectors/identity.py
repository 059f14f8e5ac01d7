"""No connector: for an encoder whose features are as wide as the language model's embeddings."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from tuwen.config import TuwenError
from tuwen.models.connectors.base import CONNECTORS, Connector, ConnectorConfig
from tuwen.vision.grid import PatchGrid


class IdentityConfig(ConnectorConfig):
    """``IdentityConnector`` has no settings."""

    def token_grid(self, grid: PatchGrid) -> tuple[int, int] | None:
        """A token a patch."""
        return (grid.rows, grid.columns) if grid.prefix == 0 else None


@CONNECTORS.register("identity")
class IdentityConnector(Connector[IdentityConfig]):
    """Features as they are.

    Raises:
        TuwenError: when the two widths differ.
    """

    config_class: ClassVar[type[IdentityConfig]] = IdentityConfig

    def __init__(self, config: IdentityConfig, vision_dim: int, language_dim: int) -> None:
        super().__init__(config, vision_dim, language_dim)
        if vision_dim != language_dim:
            raise TuwenError(
                f"connector identity: the vision features are {vision_dim} wide and the language model {language_dim}; "
                "choose linear or mlp"
            )

    def forward(self, features_BND: Tensor, grid: PatchGrid) -> Tensor:
        """[B, N, D] → [B, N, D]."""
        return features_BND
