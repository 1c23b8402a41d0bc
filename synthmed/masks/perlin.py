"""Ragged shapes from thresholded gradient noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from synthmed import kernels, validation
from synthmed.distributions import (
    Number,
    draw_number,
    draw_whole,
    require_number,
    require_whole,
)
from synthmed.generator import Parameters
from synthmed.masks.base import Mask, Shape, is_level, side_bounds
from synthmed.scene import Scene


@dataclass(frozen=True, repr=False)
class PerlinMask(Mask):
    """Gradient noise on a rotated lattice over a random box, thresholded.

    Parameters
    ----------
    box : (float, float)
        Bounds of the box's sides as fractions of the image's; each side is drawn on its own.
    cells : Number
        Lattice cells along each side of the box, whole numbers, each drawn on its own; more give
        more ragged shapes.
    threshold : float
        The mask is where the noise, scaled to [-1, 1], exceeds it.
    least_cover : float
        Share of the box that the mask covers at least; the shape is drawn again until it does.
    rotation : Number
        Of the lattice about the box's centre, in degrees (in 3-D, one angle for
        each pair of axes). What is turned in from outside the box does not belong to the mask.
    roi_overlap : float
        Least share of the mask that lies in the region of interest.

    References
    ----------
    Zhang et al., "MediCLIP", MICCAI 2024, section 2.2; K. Perlin, "Improving noise", 2002.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import PerlinMask
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> mask = PerlinMask(box=(0.2, 0.4), cells=2)(scan, rng=7).mask
    >>> mask.shape, mask.dtype, bool(mask.any())
    ((64, 64), dtype('bool'), True)
    """

    box: tuple[float, float] = (0.1, 0.6)
    cells: Number = 1
    threshold: float = 0.3
    least_cover: float = 0.2
    rotation: Number = (-90.0, 90.0)
    roi_overlap: float = 0.5

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        validation.interval(self, "box", 0, 1)
        require_whole(self, "cells", 1)
        validation.number(self, "threshold", -1, 1)
        validation.number(self, "least_cover", 0, 1)
        require_number(self, "rotation", -180, 180)

    def draw(self, rng: np.random.Generator, scene: Scene) -> Parameters:
        """Draw the box, the seed of the lattice's gradients and the rotation."""
        bounds = side_bounds(self.box, scene, "PerlinMask")
        sides = [int(rng.integers(low, high + 1)) for low, high in bounds]
        turns = np.array([draw_number(rng, self.rotation) for _ in range(math.comb(len(sides), 2))])
        if is_level(bounds, scene):
            turns = scene.levelled(turns)
        return {
            "box": sides,
            "seed": int(rng.integers(2**53)),
            "rotation": turns.tolist(),
            "cells": [draw_whole(rng, self.cells) for _ in sides],
        }

    def render(self, parameters: Parameters, scene: Scene) -> Shape:
        """Evaluate the noise over the box."""
        sides = parameters["box"]
        gradients = kernels.unit_gradients(parameters["cells"], parameters["seed"])
        turn = kernels.rotation_matrix(parameters["rotation"], scene.spacing)
        return Shape(kernels.gradient_noise(sides, gradients, turn) > self.threshold)

    def accepts(self, shape: Shape) -> bool:
        """Whether the mask covers enough of its box."""
        covered = np.count_nonzero(shape.inside)
        return bool(0 < covered >= self.least_cover * shape.inside.size)
