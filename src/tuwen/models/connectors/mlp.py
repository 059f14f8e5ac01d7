"""A multi-layer perceptron, two layers in LLaVA-1.5 (arXiv 2310.03744)."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

from pydantic import Field, field_validator
from torch import Tensor, nn
from transformers.activations import ACT2FN

from tuwen.config import unknown_name
from tuwen.models.connectors.base import CONNECTORS, Connector, ConnectorConfig
from tuwen.vision.grid import PatchGrid


class MLPConfig(ConnectorConfig):
    """Settings of ``MLPConnector``.

    Attributes:
        depth: linear layers.
        hidden_size: width between them; the language model's unless said.
        activation: between them, by its name in `transformers`.
        input_norm: whether a layer norm comes first.
    """

    depth: int = Field(default=2, ge=1)
    hidden_size: int | None = Field(default=None, ge=1)
    activation: str = "gelu"
    input_norm: bool = False

    @field_validator("activation")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in ACT2FN:
            raise ValueError(unknown_name("activation", value, sorted(ACT2FN)))
        return value

    def token_grid(self, grid: PatchGrid) -> tuple[int, int] | None:
        """A token a patch."""
        return (grid.rows, grid.columns) if grid.prefix == 0 else None


@CONNECTORS.register("mlp")
class MLPConnector(Connector[MLPConfig]):
    """Linear layers with activations between them."""

    config_class: ClassVar[type[MLPConfig]] = MLPConfig

    def __init__(self, config: MLPConfig, vision_dim: int, language_dim: int) -> None:
        super().__init__(config, vision_dim, language_dim)
        hidden = config.hidden_size or language_dim
        widths = [vision_dim, *[hidden] * (config.depth - 1), language_dim]
        layers: list[nn.Module] = [nn.LayerNorm(vision_dim)] if config.input_norm else []
        for place, (before, after) in enumerate(pairwise(widths)):
            layers += [ACT2FN[config.activation]] if place else []
            layers.append(nn.Linear(before, after))
        self.layers = nn.Sequential(*layers)

    def forward(self, features_BND: Tensor, grid: PatchGrid) -> Tensor:
        """[B, N, D] → [B, N, H]."""
        tokens_BNH: Tensor = self.layers(features_BND)
        return tokens_BNH
