"""Neighbouring patches averaged or maximised, then an MLP (as in DeCo, arXiv 2405.20985).

Shape legend: B tiles, N features, D vision width, R rows, C columns, T tokens, H language width.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from tuwen.models.connectors.base import CONNECTORS, Connector, ConnectorConfig, SquareNumber
from tuwen.vision.grid import PatchGrid

DEFAULT_FACTOR = 2


class PoolingConfig(ConnectorConfig):
    """Settings of ``PoolingConnector``.

    Attributes:
        factor: patches in each direction that become one token, 2 unless ``tokens`` is said; a last row or column may
            be of fewer.
        tokens: in place of ``factor``, tokens that a tile becomes whatever its grid; a square number.
        kind: ``average`` or ``max``.
        hidden_size: width inside the MLP; the language model's unless said.
    """

    factor: int | None = Field(default=None, ge=1)
    tokens: SquareNumber | None = None
    kind: Literal["average", "max"] = "average"
    hidden_size: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one_size(self) -> PoolingConfig:
        if self.factor is not None and self.tokens is not None:
            raise ValueError(f"factor {self.factor} and tokens {self.tokens} exclude each other; keep one of them")
        return self

    def num_tokens(self, grid: PatchGrid) -> int:
        """One token for each ``factor`` × ``factor`` patches, rounded up; or ``tokens``."""
        rows, columns = self.token_grid(grid)
        return rows * columns

    def token_grid(self, grid: PatchGrid) -> tuple[int, int]:
        """The grid of patches, coarser; or a square of ``tokens``."""
        if self.tokens is not None:
            side = math.isqrt(self.tokens)
            return side, side
        factor = self.factor or DEFAULT_FACTOR
        return -(-grid.rows // factor), -(-grid.columns // factor)


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
        tokens_BTH: Tensor = self.layers(self._pool(map_BDRC, grid).flatten(2).transpose(1, 2))
        return tokens_BTH

    def _pool(self, map_BDRC: Tensor, grid: PatchGrid) -> Tensor:
        average = self.config.kind == "average"
        if self.config.tokens is not None:
            adaptive = functional.adaptive_avg_pool2d if average else functional.adaptive_max_pool2d
            return adaptive(map_BDRC, self.config.token_grid(grid))
        factor = self.config.factor or DEFAULT_FACTOR
        if average:
            return functional.avg_pool2d(map_BDRC, factor, ceil_mode=True, count_include_pad=False)
        return functional.max_pool2d(map_BDRC, factor, ceil_mode=True)
