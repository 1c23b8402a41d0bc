"""The base class of masks: draw a shape, find a place for it."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from synthmed import validation
from synthmed.generator import Generator, Parameters
from synthmed.sample import NothingToSee
from synthmed.scene import Figure, Region, Scene

SMALLEST_SIDE = 2  # pixels
_TRIES = 200
_PLACES = 50


@dataclass(frozen=True, eq=False)
class Shape:
    """A mask within its box, not placed yet; with its closed form where it has one.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import Shape
    >>> Shape(np.ones((3, 4), bool)).inside.shape
    (3, 4)
    """

    inside: NDArray[np.bool_]
    figure: Figure | None = None


class Mask(Generator):
    """A random shape at a random place.

    A subclass draws the parameters of a shape in `draw` and renders it in `render`; this class
    places it so that its box lies in the image and enough of it in the region of interest.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import numpy as np
    >>> from synthmed import Mask, Shape
    >>> @dataclass(frozen=True, repr=False)
    ... class LineMask(Mask):
    ...     roi_overlap: float = 0.5
    ...     def draw(self, rng, scene):
    ...         return {"length": int(rng.integers(2, scene.shape[1]))}
    ...     def render(self, parameters, scene):
    ...         return Shape(np.ones((1, parameters["length"]), bool))
    >>> mask = LineMask()(np.zeros((64, 64)), rng=7).mask
    >>> int(mask.any(axis=1).sum())
    1
    """

    is_mask: ClassVar[bool] = True
    roi_overlap: float = 0.5
    """Least share of the mask that lies in the region of interest; a field of subclasses that
    expose it.
    """

    def __post_init__(self) -> None:
        """Check the parameters."""
        validation.number(self, "roi_overlap", 0, 1)

    @abc.abstractmethod
    def draw(self, rng: np.random.Generator, scene: Scene) -> Parameters:
        """Draw the parameters of a shape, as plain JSON values."""

    @abc.abstractmethod
    def render(self, parameters: Parameters, scene: Scene) -> Shape:
        """Make the shape of drawn parameters."""

    def accepts(self, shape: Shape) -> bool:
        """Whether the shape may be used; one that may not is drawn again, as is one that covers the
        whole image.
        """
        return bool(shape.inside.any())

    def run(self, rng: np.random.Generator, scene: Scene) -> tuple[Parameters, Region]:
        """Draw shapes until one is accepted and has a place."""
        accepted = 0
        scenes = [scene] * _TRIES
        if scene.thin_axis is not None:  # a shape that tilts may leave too little of itself there
            scenes += [replace(scene, tilts=False)] * _TRIES
        for drawn_on in scenes:
            parameters = self.draw(rng, drawn_on)
            shape = self.render(parameters, scene)
            if not self.accepts(shape):
                continue
            # Without a pixel outside nothing holds the mask's edge, and nothing is normal.
            if shape.inside.shape == scene.shape and shape.inside.all():
                continue
            accepted += 1
            corner = self._place(rng, shape.inside, scene)
            if corner is not None:
                region = Region(corner, shape.inside, shape.figure, self.roi_overlap)
                return {"shape": parameters, "corner": list(corner)}, region
        if not accepted:
            raise NothingToSee(
                f"{self!r} drew {len(scenes)} shapes for an image of shape {scene.shape} and "
                f"accepted none"
            )
        where = (
            f"an image of shape {scene.shape}" if scene.roi is None else "the region of interest"
        )
        raise NothingToSee(f"no place in {where} was found for {accepted} shapes of {self!r}")

    def apply(self, parameters: Parameters, scene: Scene) -> Region:
        """Render a shape at the place that was found for it."""
        shape = self.render(parameters["shape"], scene)
        return Region(tuple(parameters["corner"]), shape.inside, shape.figure, self.roi_overlap)

    def _place(
        self, rng: np.random.Generator, inside: NDArray[np.bool_], scene: Scene
    ) -> tuple[int, ...] | None:
        free = [n - b for n, b in zip(scene.shape, inside.shape, strict=True)]
        if min(free) < 0:
            return None
        if scene.roi is None:
            return tuple(int(rng.integers(f + 1)) for f in free)
        area = np.count_nonzero(inside)
        # Only corners at which the box meets the region's own box can do.
        low = [max(r.start - b + 1, 0) for r, b in zip(scene.roi_box, inside.shape, strict=True)]
        high = [min(r.stop - 1, f) for r, f in zip(scene.roi_box, free, strict=True)]
        for _ in range(_PLACES):
            corner = tuple(int(rng.integers(a, b + 1)) for a, b in zip(low, high, strict=True))
            within = scene.roi[Region(corner, inside).box] & inside
            if np.count_nonzero(within) >= self.roi_overlap * area:
                return corner
        return None


def side_bounds(bounds: tuple[float, float], scene: Scene, name: str) -> list[tuple[int, int]]:
    """Smallest and largest box side in pixels along each axis, from fractions of the image's
    sides; one voxel along the thin axis of a volume where the fractions give less than two.
    """
    sides = []
    for axis, n in enumerate(scene.shape):
        smallest = SMALLEST_SIDE
        most = math.floor(bounds[1] * n)
        if axis == scene.thin_axis and most < smallest:
            smallest = most = 1
        # Between close bounds there may be no whole number: then the one below.
        sides.append((max(min(math.ceil(bounds[0] * n), most), smallest), most))
    if any(low > high for low, high in sides):
        raise NothingToSee(
            f"an image of shape {scene.shape} is too small for a {name} whose sides are "
            f"{bounds[0]:g} to {bounds[1]:g} of the image's: each must be at least {SMALLEST_SIDE} "
            f"pixels (1 along the shortest axis of a thin volume)"
        )
    return sides


def is_level(bounds: list[tuple[int, int]], scene: Scene) -> bool:
    """Whether a shape with these bounds of its sides stays within the slices of a thin volume."""
    return not scene.tilts or any(high < SMALLEST_SIDE for _, high in bounds)
