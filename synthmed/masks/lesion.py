"""Ellipses under elastic deformation, of a given size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy
from numpy.typing import NDArray

from synthmed import kernels, validation
from synthmed.distributions import Number, draw_number, require_number
from synthmed.generator import Parameters
from synthmed.masks.base import Mask, Shape
from synthmed.scene import Scene


@dataclass(frozen=True, repr=False)
class LesionMask(Mask):
    """An ellipse (in 3-D an ellipsoid) under elastic deformation, of exactly the size drawn.

    The shape of physical space that the deformation makes is scaled so that it covers the drawn
    area (in 3-D volume) to within half a pixel (voxel), and one pixel at least.

    Parameters
    ----------
    size : Number
        From what the size is drawn, in `unit`.
    unit : {"fraction", "length", "volume"}
        What `size` is: the diameter of the disc (ball) of the same area (volume), as a fraction of
        the image's median side; that diameter in the unit of the call's `spacing`, millimetres as a
        rule; or the area (volume) in that unit squared (cubed). A size in fractions is cut at the
        ends of a volume that is thinner than the shape; of a size in other units such a shape is
        refused.
    elongation : Number
        Longest axis over shortest, at least 1.
    deformation : Number
        Largest displacement along each axis, as a share of the radius, within [0, 1]: 0 leaves an
        ellipse.
    cells : int
        Waves of the deformation across the shape; more give more lobes.
    rotation : Number
        In degrees (in 3-D, one angle for each pair of axes).
    roi_overlap : float
        Least share of the mask that lies in the region of interest.

    References
    ----------
    Q. Hu et al., "Label-free liver tumor segmentation", CVPR 2023, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import LesionMask
    >>> volume = np.random.default_rng(0).random((20, 64, 64))
    >>> mask = LesionMask(size=500, unit="volume")(volume, rng=7, spacing=(3, 1, 1)).mask
    >>> int(mask.sum()) * 3  # cubic millimetres
    501
    """

    size: Number = (0.08, 0.3)
    unit: Literal["fraction", "length", "volume"] = "fraction"
    elongation: Number = (1.0, 1.8)
    deformation: Number = (0.1, 0.4)
    cells: int = 3
    rotation: Number = (-90.0, 90.0)
    roi_overlap: float = 0.5

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        require_number(self, "size", 0)
        validation.choice(self, "unit", ("fraction", "length", "volume"))
        require_number(self, "elongation", 1)
        require_number(self, "deformation", 0, 1)
        validation.whole(self, "cells", 1)
        require_number(self, "rotation", -180, 180)

    def draw(self, rng: np.random.Generator, scene: Scene) -> Parameters:
        """Draw the axes of an ellipse of the size drawn, its rotation and its deformation."""
        n = len(scene.shape)
        size = draw_number(rng, self.size)
        ball = math.pi ** (n / 2) / math.gamma(n / 2 + 1)
        if self.unit == "volume":
            size = 2 * (size / ball) ** (1 / n)
        elif self.unit == "fraction":
            size *= scene.side
        longest = math.log(draw_number(rng, self.elongation))
        exponents = np.array([0.5, -0.5, *rng.uniform(-0.5, 0.5, size=n - 2)])
        axes = size * np.exp(longest * (exponents - exponents.mean()))
        turns = np.array([draw_number(rng, self.rotation) for _ in range(math.comb(n, 2))])
        if not scene.tilts:
            turns = scene.levelled(turns)
        return {
            "axes": rng.permutation(axes).tolist(),
            "rotation": turns.tolist(),
            "deformation": draw_number(rng, self.deformation),
            "seed": int(rng.integers(2**53)),
        }

    def render(self, parameters: Parameters, scene: Scene) -> Shape:
        """Deform the ellipse, and take as many of its innermost pixels as make up its size."""
        n, spacing = len(scene.shape), np.array(scene.spacing)
        radii = np.array(parameters["axes"]) / 2
        if not radii.min() > 0:
            return Shape(np.zeros((1,) * n, bool))
        ball = math.pi ** (n / 2) / math.gamma(n / 2 + 1)
        count = max(round(ball * float(np.prod(radii / spacing))), 1)
        turn = kernels.rotation_matrix(parameters["rotation"], scene.spacing)
        to_pixels = turn @ np.diag(radii / spacing)
        strength = parameters["deformation"]
        reach = np.sqrt((to_pixels**2).sum(axis=1)) * (1 + strength * math.sqrt(n))
        half = np.ceil(reach).astype(int) + 1
        if self.unit == "fraction":  # of a shape that is cut, only what is left is computed
            half = np.minimum(half, np.array(scene.shape))
        sides = (2 * half + 1).tolist()
        unit = kernels.affine_coordinates(
            sides, np.linalg.inv(to_pixels), -np.linalg.inv(to_pixels) @ half
        )
        if strength > 0:
            for axis in range(n):
                lattice = kernels.unit_gradients((self.cells,) * n, parameters["seed"] + axis)
                unit[axis] += strength * kernels.gradient_noise(sides, lattice)
        inside = _smallest((unit**2).sum(axis=0), count)
        if self.unit == "fraction":
            inside = inside[
                tuple(
                    slice((s - k) // 2, (s - k) // 2 + k)
                    for s, k in zip(sides, np.minimum(sides, scene.shape).tolist(), strict=True)
                )
            ]
        box = scipy.ndimage.find_objects(inside.astype(np.uint8))
        return Shape(inside[box[0]] if box else inside)


def _smallest(values: NDArray[np.float64], count: int) -> NDArray[np.bool_]:
    """Where the `count` smallest values are; among equals, the first ones."""
    flat = values.ravel()
    if count >= flat.size:
        return np.ones(values.shape, bool)
    limit = np.partition(flat, count - 1)[count - 1]
    inside = flat < limit
    inside[np.flatnonzero(flat == limit)[: count - np.count_nonzero(inside)]] = True
    return inside.reshape(values.shape)
