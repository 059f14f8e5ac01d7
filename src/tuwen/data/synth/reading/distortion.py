"""How a sheet lies in the picture: turned, seen at an angle, bent; with the way there for pixels and for points."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import PIL.Image

CELLS = 16
# Pixels of the sheet for one of the picture: with more, thin strokes would be skipped.
FINEST = 1.3
# Of the picture's sides; nothing of the sheet comes nearer to its edge.
MARGIN = 0.015
Points = np.ndarray


class Warp:
    """A sheet's way into the picture: bent by a wave, then seen in perspective.

    Args:
        sheet: its width and height in pixels.
        corners: where its corners go in the picture, clockwise from the top left, in pixels: (4, 2).
        wave: height in pixels, number of periods over the sheet's length, and phase in radians.
        upright: the wave runs down the sheet and moves points sideways, instead of the other way round.
    """

    def __init__(
        self, sheet: tuple[int, int], corners: Points, wave: tuple[float, float, float], upright: bool = False
    ) -> None:
        width, height = sheet
        self._sheet, self._wave, self._axis = sheet, wave, int(upright)
        flat = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64)
        self._there = _homography(flat, np.asarray(corners, np.float64))
        self._back = np.linalg.inv(self._there)

    @classmethod
    def straight(cls, sheet: tuple[int, int], picture: tuple[int, int]) -> Warp:
        """The sheet is the picture, as large as that is."""
        width, height = picture
        return cls(sheet, np.array([(0, 0), (width, 0), (width, height), (0, height)]), (0.0, 1.0, 0.0))

    @classmethod
    def random(cls, rng: random.Random, sheet: tuple[int, int], picture: tuple[int, int], strength: float) -> Warp:
        """A sheet that lies whole in the picture, filling most of it.

        Args:
            rng: of everything that is chosen.
            sheet: its width and height in pixels.
            picture: width and height in pixels.
            strength: of turning, perspective and bending, 0–1.
        """
        upright = rng.random() < 0.3
        bent = rng.random() < 0.6
        height = min(sheet) * 0.018 * strength * rng.uniform(-1, 1) * bent
        wave = (height, rng.uniform(0.4, 1.6), rng.uniform(0, math.tau))
        angle = math.radians(rng.uniform(-9, 9) * strength)
        half = np.array(sheet) / 2
        corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half
        jitter = np.array([[rng.uniform(-1, 1), rng.uniform(-1, 1)] for _ in range(4)])
        corners = corners + jitter * 0.05 * strength * min(sheet)
        turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        corners = corners @ turn
        room = np.array(picture) * (1 - 2 * MARGIN) - 2 * abs(height)
        low, high = corners.min(axis=0), corners.max(axis=0)
        fit = float((room / (high - low)).min()) * rng.uniform(0.9, 1)
        low, high = low * fit, high * fit
        spare = (np.array(picture) - (high - low)) / 2 - abs(height)
        shift = np.array(picture) / 2 - (low + high) / 2 + spare * [rng.uniform(-0.9, 0.9), rng.uniform(-0.9, 0.9)]
        return cls(sheet, corners * fit + shift, wave, upright)

    def forward(self, points: Sequence[Sequence[float]] | Points) -> Points:
        """Places of the sheet as places of the picture, both in pixels: (number, 2)."""
        bent = np.array(points, np.float64)
        bent[:, 1 - self._axis] += self._bend(bent[:, self._axis])
        return _project(self._there, bent)

    def backward(self, points: Sequence[Sequence[float]] | Points) -> Points:
        """Places of the picture as places of the sheet, both in pixels: (number, 2)."""
        flat = _project(self._back, np.array(points, np.float64))
        flat[:, 1 - self._axis] -= self._bend(flat[:, self._axis])
        return flat

    def bounds(self, corners: Sequence[Sequence[float]]) -> tuple[float, float, float, float]:
        """Left, top, right, bottom in the picture of a polygon on the sheet, in pixels."""
        outline = np.array(corners, np.float64)
        steps = np.linspace(0, 1, 9)[:, None]
        sides = [start + (stop - start) * steps for start, stop in zip(outline, np.roll(outline, -1, 0), strict=True)]
        places = self.forward(np.concatenate(sides))
        (left, top), (right, bottom) = places.min(axis=0).tolist(), places.max(axis=0).tolist()
        return left, top, right, bottom

    def apply(self, sheet: PIL.Image.Image, ground: PIL.Image.Image) -> PIL.Image.Image:
        """The sheet on the ground.

        Args:
            sheet: RGB, at any scale.
            ground: RGB, of the picture's size.
        """
        width, height = ground.size
        fine = self._fineness(sheet.size)
        if fine > FINEST:
            sides = [max(1, round(side * FINEST / fine)) for side in sheet.size]
            sheet = sheet.resize((sides[0], sides[1]), PIL.Image.Resampling.BOX)
        scale = np.array(sheet.size) / self._sheet
        xs, ys = (np.round(np.linspace(0, side, CELLS + 1)).astype(int) for side in (width, height))
        places = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2)
        nodes = (self.backward(places) * scale).reshape(CELLS + 1, CELLS + 1, 2)
        mesh = []
        for row in range(CELLS):
            for column in range(CELLS):
                box = (int(xs[column]), int(ys[row]), int(xs[column + 1]), int(ys[row + 1]))
                # Corners in PIL's order: top left, bottom left, bottom right, top right.
                quad = nodes[[row, row + 1, row + 1, row], [column, column, column + 1, column + 1]]
                mesh.append((box, tuple(quad.ravel().tolist())))
        opaque = sheet.copy()
        opaque.putalpha(255)
        laid = opaque.transform(ground.size, PIL.Image.Transform.MESH, mesh, PIL.Image.Resampling.BILINEAR)
        result = ground.copy()
        result.paste(laid, (0, 0), laid)
        return result

    def _fineness(self, drawn: tuple[int, int]) -> float:
        """How many pixels of the sheet, as it is drawn, come to one of the picture along its longer side."""
        width, height = self._sheet
        ends = self.forward([(0, height / 2), (width, height / 2), (width / 2, 0), (width / 2, height)])
        across, down = np.hypot(*(ends[1] - ends[0])), np.hypot(*(ends[3] - ends[2]))
        return float(max(drawn[0] / across, drawn[1] / down))

    def _bend(self, along: Points) -> Points:
        height, periods, phase = self._wave
        return height * np.sin(math.tau * periods * along / self._sheet[self._axis] + phase)


def _project(matrix: np.ndarray, points: Points) -> Points:
    projected = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ matrix.T
    return projected[:, :2] / projected[:, 2:]


def _homography(source: Points, target: Points) -> np.ndarray:
    """The projective map of four points onto four others, by the eight linear equations that they give."""
    rows, values = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.append(np.linalg.solve(np.array(rows), np.array(values)), 1.0).reshape(3, 3)
