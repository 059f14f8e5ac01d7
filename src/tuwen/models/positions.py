"""Learned or fixed positions of a square grid, for grids of other sizes.

Shape legend: P places of a square grid, N patches, D width.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional


def resize_positions(table_PD: Tensor, rows: int, columns: int) -> Tensor:
    """Positions of a square grid brought to another by bicubic interpolation, as CLIP's and Qwen-VL's are.

    Args:
        table_PD: of the square grid, row by row.
        rows: of the other grid.
        columns: of the other grid.

    Returns:
        [N, D]: the table itself where the grids are the same; else in fp32, in which it is computed.
    """
    side = math.isqrt(len(table_PD))
    if (rows, columns) == (side, side):
        return table_PD
    square = table_PD.float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    resized = functional.interpolate(square, size=(rows, columns), mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1).reshape(rows * columns, -1)
