"""Several shapes with a gap between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy
from numpy.typing import NDArray

from synthmed.distributions import Number, draw_number, draw_whole, require_number, require_whole
from synthmed.generator import Generator, Parameters, region_of
from synthmed.masks.lesion import LesionMask
from synthmed.sample import NothingToSee
from synthmed.scene import Region, Scene

_TRIES = 20


@dataclass(frozen=True, repr=False)
class ScatterMask(Generator):
    """Several shapes of a mask, each at a place of its own, with a least gap between any two:
    metastases, nodules.

    One mask, and so one anomaly with one contrast; for anomalies that differ use `Repeat`.

    Parameters
    ----------
    mask : Mask
        Of each shape.
    count : Number
        How many, at least 1.
    gap : Number
        Least distance between two shapes, as a fraction of the image's median side.

    Examples
    --------
    >>> import numpy as np
    >>> import scipy
    >>> from synthmed import LesionMask, ScatterMask
    >>> scan = np.random.default_rng(0).random((96, 96))
    >>> mask = ScatterMask(LesionMask(size=0.1, deformation=0.1), count=4)(scan, rng=7).mask
    >>> scipy.ndimage.label(mask)[1]
    4
    """

    mask: Generator = LesionMask(size=(0.04, 0.12))
    count: Number = (2, 5)
    gap: Number = 0.03

    is_mask: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the parameters."""
        if not (isinstance(self.mask, Generator) and self.mask.is_mask):
            raise TypeError(f"ScatterMask: mask must be a mask, got {self.mask!r}")
        require_whole(self, "count", 1)
        require_number(self, "gap", 0)

    def run(self, rng: np.random.Generator, scene: Scene) -> tuple[Parameters, Region]:
        """Draw shape after shape, each again where it comes too near to one before."""
        count = draw_whole(rng, self.count)
        gap = draw_number(rng, self.gap) * scene.side
        drawn: list[Parameters] = []
        placed: list[Region] = []
        near = np.zeros(scene.shape, bool)
        for _ in range(_TRIES * count):
            parameters, result = self.mask.run(rng, scene)
            region = region_of(result)
            if (near[region.box] & region.inside).any():
                continue
            drawn.append(parameters)
            placed.append(region)
            if len(placed) == count:
                return {"shapes": drawn}, _union(placed)
            near = _near(placed, scene, gap)
        raise NothingToSee(
            f"{self!r} found room for {len(placed)} of {count} shapes in {_TRIES * count} draws"
        )

    def apply(self, parameters: Parameters, scene: Scene) -> Region:
        """Put the shapes where they were."""
        return _union([region_of(self.mask.apply(p, scene)) for p in parameters["shapes"]])


def _near(placed: list[Region], scene: Scene, gap: float) -> NDArray[np.bool_]:
    """Where another shape would be too near to those that are placed."""
    free = np.ones(scene.shape, bool)
    for region in placed:
        free[region.box] &= ~region.inside
    return scipy.ndimage.distance_transform_edt(free, sampling=scene.spacing) <= gap


def _union(placed: list[Region]) -> Region:
    """One region of several."""
    corner = np.min([r.corner for r in placed], axis=0)
    end = np.max([[s.stop for s in r.box] for r in placed], axis=0)
    inside = np.zeros(end - corner, bool)
    for region in placed:
        box = tuple(slice(s.start - c, s.stop - c) for s, c in zip(region.box, corner, strict=True))
        inside[box] |= region.inside
    return Region(tuple(corner.tolist()), inside, roi_overlap=min(r.roi_overlap for r in placed))
