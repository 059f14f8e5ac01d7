"""What a connector is, and how to add one.

A connector turns the features of a vision encoder into the language model's input embeddings. It is one
file: a configuration that knows how many tokens it gives, a module that gives them, one registration::

    class DoubleConfig(ConnectorConfig):
        bias: bool = True

    @CONNECTORS.register("double")
    class Double(Connector[DoubleConfig]):
        config_class = DoubleConfig

        def __init__(self, config, vision_dim, language_dim):
            super().__init__(config, vision_dim, language_dim)
            self.projection = nn.Linear(vision_dim, language_dim, bias=config.bias)

        def forward(self, features_BND, grid):
            return self.projection(features_BND)

Shape legend: B tiles, N features of a tile (``grid.length``), D width of the vision features, T tokens
that the connector gives for a tile, H width of the language model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from pydantic import AfterValidator, Field
from torch import Tensor, nn

from tuwen.config import Registry, StrictConfig, TuwenError, parse_config
from tuwen.vision.grid import PatchGrid

_HERE = "tuwen.models.connectors"
CONNECTORS = Registry(
    "connector",
    {
        "abstractor": f"{_HERE}.abstractor",
        "cross_attention": f"{_HERE}.cross_attention",
        "identity": f"{_HERE}.identity",
        "linear": f"{_HERE}.linear",
        "mlp": f"{_HERE}.mlp",
        "pixel_shuffle": f"{_HERE}.pixel_shuffle",
        "pooling": f"{_HERE}.pooling",
        "qformer": f"{_HERE}.qformer",
        "resampler": f"{_HERE}.resampler",
    },
)


def _square(value: int) -> int:
    if math.isqrt(value) ** 2 != value:
        raise ValueError(f"{value} is not a square number; choose e.g. {max(1, round(math.sqrt(value))) ** 2}")
    return value


# Tokens that form a square grid.
SquareNumber = Annotated[int, Field(ge=1), AfterValidator(_square)]


class ConnectorConfig(StrictConfig):
    """Settings of one kind of connector."""

    def num_tokens(self, grid: PatchGrid) -> int:
        """Tokens given for one tile whose features form ``grid``; as many as features by default.

        Raises:
            TuwenError: when a tile of this shape cannot be connected.
        """
        return grid.length

    def token_grid(self, grid: PatchGrid) -> tuple[int, int] | None:
        """Rows and columns of a tile's tokens where each stands for its place; None where places are not kept."""
        return None


ConfigType = TypeVar("ConfigType", bound=ConnectorConfig)


class Connector(nn.Module, Generic[ConfigType]):
    """Base of all connectors.

    Args:
        config: its settings.
        vision_dim: D, width of the features that the vision encoder gives.
        language_dim: H, width of the language model's embeddings.
    """

    config_class: ClassVar[type[ConnectorConfig]]

    def __init__(self, config: ConfigType, vision_dim: int, language_dim: int) -> None:
        super().__init__()
        self.config = config
        self.vision_dim = vision_dim
        self.language_dim = language_dim

    def forward(self, features_BND: Tensor, grid: PatchGrid) -> Tensor:
        """Features [B, N, D] of tiles that all form ``grid`` → tokens [B, T, H]."""
        raise NotImplementedError

    def reset_parameters(self) -> None:
        """Start values for parameters that are not inside a standard torch layer."""


def parse_connector(values: Mapping[str, Any], where: str = "connector") -> ConnectorConfig:
    """The configuration in ``{"type": NAME, …settings}``.

    Raises:
        TuwenError: for a missing or unknown type, and for settings that the type does not have.
    """
    if not isinstance(values, Mapping):
        raise TuwenError(f"{where}: expected keys and values, found {values!r}; write e.g. {{type: mlp}}")
    settings = dict(values)
    name = settings.pop("type", None)
    if not isinstance(name, str):
        raise TuwenError(f"{where}.type: name a connector, one of {', '.join(CONNECTORS.names())}")
    return parse_config(CONNECTORS.get(name).config_class, settings, where)


def build_connector(values: Mapping[str, Any], vision_dim: int, language_dim: int) -> Connector[Any]:
    """The connector in ``{"type": NAME, …settings}`` with fresh parameters."""
    config = parse_connector(values)
    return CONNECTORS.get(values["type"])(config, vision_dim, language_dim)
