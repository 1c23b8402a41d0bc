"""Measuring marks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthmed.distractors.base import Distractor, paint
from synthmed.distributions import Number, draw_number, draw_whole, require_number, require_whole
from synthmed.generator import Parameters
from synthmed.scene import Scene


@dataclass(frozen=True, repr=False)
class Callipers(Distractor):
    """Pairs of crosses with a dotted line between them, as sonographers leave them.

    In the plane of the last two axes; of a volume, on one slice.

    Parameters
    ----------
    count : Number
        Pairs, at least 1.
    length : Number
        Of the line, as a fraction of the shorter side.
    size : Number
        Of the crosses, in pixels at an image side of 224; arms are one such pixel wide.
    gap : Number
        Between the line's dots, in pixels at an image side of 224; 0 leaves the crosses alone.
    level : Number
        Of the ink, as a share of the value range.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import Callipers
    >>> scan = np.random.default_rng(0).random((64, 64)) / 2
    >>> image, mask = Callipers(level=1.0)(scan, rng=7, value_range=(0, 1))
    >>> bool((image[image != scan] == 1).all()), bool(mask.any())
    (True, False)
    """

    count: Number = (1, 2)
    length: Number = (0.1, 0.5)
    size: Number = (5.0, 9.0)
    gap: Number = (4.0, 8.0)
    level: Number = (0.85, 1.0)

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_whole(self, "count", 1)
        require_number(self, "length", 0, 1)
        require_number(self, "size", 0)
        require_number(self, "gap", 0)
        require_number(self, "level", 0, 1)

    def draw(self, rng: np.random.Generator, scene: Scene) -> Parameters:
        """Draw the ends of each line, in pixels, and the form of the marks."""
        plane = scene.shape[-2:]
        lines = []
        for _ in range(draw_whole(rng, self.count)):
            angle = rng.uniform(0, math.pi)
            half = draw_number(rng, self.length) * (min(plane) - 1) / 2
            arm = half * np.array([math.sin(angle), math.cos(angle)])
            room = [(n - 1) / 2 - abs(a) for n, a in zip(plane, arm, strict=True)]
            middle = [(n - 1) / 2 + rng.uniform(-r, r) for n, r in zip(plane, room, strict=True)]
            lines.append([(middle - arm).tolist(), (middle + arm).tolist()])
        return {
            "lines": lines,
            "slice": int(rng.integers(scene.shape[0])) if len(scene.shape) == 3 else None,
            "size": draw_number(rng, self.size),
            "gap": draw_number(rng, self.gap),
            "level": draw_number(rng, self.level),
        }

    def change(self, parameters: Parameters, scene: Scene) -> NDArray[np.float64]:
        """Draw the crosses and the dots."""
        plane = np.zeros(scene.shape[-2:], bool)
        pixel = min(scene.pixels(1.0)[-2:])
        thick = max(round(pixel), 1)
        arm = max(round(parameters["size"] * pixel / 2), 1)
        gap = parameters["gap"] * pixel
        for first, last in parameters["lines"]:
            for end in (first, last):
                _dot(plane, end, arm, 0, thick)
                _dot(plane, end, 0, arm, thick)
            if gap > 0:
                count = math.floor(math.dist(first, last) / max(gap, 2 * thick))
                for share in np.linspace(0, 1, count + 1):
                    place = [a + share * (b - a) for a, b in zip(first, last, strict=True)]
                    _dot(plane, place, 0, 0, thick)
        ink = plane
        if parameters["slice"] is not None:
            ink = np.zeros(scene.shape, bool)
            ink[parameters["slice"]] = plane
        return paint(scene, ink, parameters["level"])


def _dot(plane: NDArray[np.bool_], place: list[float], rows: int, columns: int, thick: int) -> None:
    """Ink a rectangle about a place, of one stroke's thickness more than its reach."""
    y, x = (round(p) - (thick - 1) // 2 for p in place)
    top, left = max(y - rows, 0), max(x - columns, 0)
    plane[top : max(y + rows + thick, 0), left : max(x + columns + thick, 0)] = True
