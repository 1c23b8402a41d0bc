"""Shapes with a closed form: ellipses and rectangles, sheared and rotated (in 3-D, ellipsoids and
boxes).
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from synthmed import kernels, validation
from synthmed.distributions import Gamma, Number, draw_number, require_number
from synthmed.generator import Parameters
from synthmed.masks.base import Mask, Shape, is_level, side_bounds
from synthmed.scene import Figure, Scene


@dataclass(frozen=True, repr=False)
class _FigureMask(Mask):
    box: tuple[float, float] = (0.2, 0.6)
    side: Number = Gamma(2.0, 0.1, offset=0.03)
    regular: bool = False
    scale: Number = 1.0
    shear: float = 0.2
    rotation: Number = (-90.0, 90.0)
    roi_overlap: float = 0.5

    is_box: ClassVar[bool]

    def __post_init__(self) -> None:
        super().__post_init__()
        validation.interval(self, "box", 0, 1)
        require_number(self, "side", 0)
        validation.choice(self, "regular", (False, True))
        require_number(self, "scale", 0)
        validation.number(self, "shear", 0)
        require_number(self, "rotation", -180, 180)

    def draw(self, rng: np.random.Generator, scene: Scene) -> Parameters:
        """Draw a figure that fits the bounds: the map from the unit ball or cube to offsets in
        pixels.
        """
        n = len(scene.shape)
        bounds = side_bounds(self.box, scene, type(self).__name__)
        fractions = [draw_number(rng, self.side) for _ in range(1 if self.regular else n)]
        fractions *= n if self.regular else 1
        scale = draw_number(rng, self.scale)
        sides = [
            min(max(scale * f * k, low), high)
            for f, k, (low, high) in zip(fractions, scene.shape, bounds, strict=True)
        ]
        spacing = np.array(scene.spacing)
        shear = np.where(np.eye(n, dtype=bool), 1.0, rng.normal(0, self.shear, size=(n, n)))
        shear = shear * spacing / spacing[:, None]
        turns = np.array([draw_number(rng, self.rotation) for _ in range(math.comb(n, 2))])
        if is_level(bounds, scene):
            turns = scene.levelled(turns)
            thin = np.arange(n) == scene.thin_axis
            shear[(thin[:, None] | thin) & ~np.eye(n, dtype=bool)] = 0
        turn = kernels.rotation_matrix(turns, scene.spacing)
        to_pixels = turn @ shear @ np.diag(sides) / 2
        # Shrunk, all axes alike, if shear and rotation made it outgrow the bounds.
        reach = self._reach(to_pixels)
        to_pixels *= min(1.0, *(high / (2 * r) for (_, high), r in zip(bounds, reach, strict=True)))
        return {"to_pixels": to_pixels.tolist()}

    def render(self, parameters: Parameters, scene: Scene) -> Shape:
        """Rasterise the figure: a pixel belongs to it if its centre does."""
        to_pixels = np.array(parameters["to_pixels"])
        box = [max(math.floor(2 * r * (1 + 1e-9)), 1) for r in self._reach(to_pixels)]
        try:
            to_unit = np.linalg.inv(to_pixels)
        except np.linalg.LinAlgError:  # a shear that flattens the figure
            return Shape(np.zeros(box, bool))
        middle = [(b - 1) / 2 for b in box]
        # Seen from its own middle, the ratio to the edge tells the inside.
        inside = kernels.edge_ratio(box, middle, to_unit, self.is_box) <= 1
        return Shape(inside, Figure(to_unit, self.is_box))

    @abc.abstractmethod
    def _reach(self, to_pixels: NDArray[np.float64]) -> list[float]:
        """Half the bounding box's sides."""


@dataclass(frozen=True, repr=False)
class EllipseMask(_FigureMask):
    """A random ellipse, sheared and rotated (in 3-D an ellipsoid).

    Parameters
    ----------
    box : (float, float)
        Bounds of the sides as fractions of the image's.
    side : Number
        Each side is drawn on its own, a fraction of the image's side; times `scale` it is clipped
        to `box`.
    regular : bool
        One draw for all sides, which are then equal fractions of the image's.
    scale : Number
        A factor of all sides alike.
    shear : float
        Standard deviation of the off-diagonal factors of the shear.
    rotation : Number
        In degrees (in 3-D, one angle for each pair of axes). A figure that
        shear and rotation made outgrow `box` is shrunk.
    roi_overlap : float
        Least share of the mask that lies in the region of interest.

    References
    ----------
    Baugh et al., "Many tasks make light work", MICCAI 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import EllipseMask
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> mask = EllipseMask()(scan, rng=7).mask
    >>> mask.shape, mask.dtype, bool(mask.any())
    ((64, 64), dtype('bool'), True)
    """

    is_box: ClassVar[bool] = False

    def _reach(self, to_pixels: NDArray[np.float64]) -> list[float]:
        return np.sqrt((to_pixels**2).sum(axis=1)).tolist()


@dataclass(frozen=True, repr=False)
class RectangleMask(_FigureMask):
    """A random rectangle, sheared and rotated (in 3-D a box); parameters as of `EllipseMask`.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import RectangleMask
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> mask = RectangleMask()(scan, rng=7).mask
    >>> mask.shape, mask.dtype, bool(mask.any())
    ((64, 64), dtype('bool'), True)
    """

    is_box: ClassVar[bool] = True

    def _reach(self, to_pixels: NDArray[np.float64]) -> list[float]:
        return np.abs(to_pixels).sum(axis=1).tolist()
