"""Winding lines."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy

from synthmed import validation
from synthmed.distributions import Number, draw_number, require_number
from synthmed.generator import Parameters
from synthmed.masks.base import Mask, Shape
from synthmed.scene import Scene


@dataclass(frozen=True, repr=False)
class StrokeMask(Mask):
    """A winding line of varying width: a scar, a crack, a wire.

    A smooth curve through points whose directions wander, thickened by a radius that varies along
    it; lengths, widths and angles are those of physical space.

    Parameters
    ----------
    length : Number
        As a fraction of the image's median side.
    width : Number
        Drawn anew for each of the curve's points, in pixels at an image side of 224; the line is
        one pixel wide at least.
    waviness : Number
        How far the direction wanders from point to point: 0 is straight, 1 about 45 degrees.
    points : int
        Of the curve, at least 2.
    roi_overlap : float
        Least share of the mask that lies in the region of interest.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import StrokeMask
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> mask = StrokeMask(width=1.0, length=0.5, waviness=0.0)(scan, rng=7).mask
    >>> float(np.linalg.norm(np.ptp(np.argwhere(mask), axis=0)).round())
    32.0
    """

    length: Number = (0.15, 0.5)
    width: Number = (1.0, 4.0)
    waviness: Number = (0.1, 0.6)
    points: int = 6
    roi_overlap: float = 0.5

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        for name in ("length", "width", "waviness"):
            require_number(self, name, 0)
        validation.whole(self, "points", 2)

    def draw(self, rng: np.random.Generator, scene: Scene) -> Parameters:
        """Draw the curve's points, in the unit of the spacing, and its widths there."""
        n = len(scene.shape)
        level = np.ones(n) if scene.tilts else np.arange(n) != scene.thin_axis
        step = draw_number(rng, self.length) * scene.side / (self.points - 1)
        waviness = draw_number(rng, self.waviness)
        direction = rng.normal(size=n) * level
        points = [np.zeros(n)]
        for _ in range(self.points - 1):
            direction = direction / max(math.hypot(*direction), 1e-12)
            points.append(points[-1] + step * direction)
            direction = direction + waviness * rng.normal(size=n) * level
        return {
            "points": np.array(points).tolist(),
            "widths": [draw_number(rng, self.width) for _ in points],
        }

    def render(self, parameters: Parameters, scene: Scene) -> Shape:
        """Draw the curve pixel by pixel, and thicken it."""
        spacing = np.array(scene.spacing)
        points = np.array(parameters["points"])
        radii = np.array(parameters["widths"]) * scene.side / 224 / 2
        # Dense enough that no pixel on the way is left out.
        span = np.abs(np.diff(points / spacing, axis=0)).sum()
        along = np.linspace(0, 1, 2 * math.ceil(span) + 2)
        knots = np.linspace(0, 1, len(points))
        degree = min(3, len(points) - 1)
        curve = scipy.interpolate.make_interp_spline(knots, points, k=degree)(along) / spacing
        low, high = curve.min(axis=0), curve.max(axis=0)
        margin = np.ceil(radii.max() / spacing).astype(int)
        sides = np.round(high - low).astype(int) + 1 + 2 * margin
        if any(s > 2 * n + 2 * m for s, n, m in zip(sides, scene.shape, margin, strict=True)):
            return Shape(np.zeros((1,) * len(sides), bool))
        places = tuple(np.round(curve - low).astype(int).T + margin[:, None])
        line, radius = np.zeros(sides, bool), np.zeros(sides)
        line[places] = True
        radius[places] = np.interp(along, knots, radii)
        distance, nearest = scipy.ndimage.distance_transform_edt(
            ~line, sampling=scene.spacing, return_indices=True
        )
        inside = line | (distance <= radius[tuple(nearest)] - spacing.min() / 2)
        return Shape(inside[scipy.ndimage.find_objects(inside.astype(np.uint8))[0]])
