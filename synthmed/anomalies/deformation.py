"""Mass effect: content pushed away from a point, or drawn to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from synthmed import kernels, validation
from synthmed.anomalies.base import Anomaly
from synthmed.distributions import Number, draw_number, require_number
from synthmed.generator import Generator, Parameters
from synthmed.masks import EllipseMask, RectangleMask
from synthmed.scene import Region, Scene


@dataclass(frozen=True, repr=False)
class _Radial(Anomaly):
    mask: Generator = EllipseMask() | RectangleMask()
    exponent: Number = (0.5, 2.0)
    order: int = 1

    is_sink: ClassVar[bool]

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number(self, "exponent", 0)
        validation.choice(self, "order", range(6))

    def draw(self, rng: np.random.Generator, scene: Scene, region: Region) -> Parameters:
        """Draw the centre from the mask's pixels, and the strength."""
        pixels = np.flatnonzero(region.inside)
        centre = np.unravel_index(pixels[rng.integers(len(pixels))], region.inside.shape)
        alpha = 2 ** draw_number(rng, self.exponent)
        return {
            "centre": [int(c + k) for c, k in zip(region.corner, centre, strict=True)],
            "alpha": float(alpha),
        }

    def change(
        self, parameters: Parameters, scene: Scene, region: Region
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Read each pixel elsewhere on its ray."""
        centre = [p - c for p, c in zip(parameters["centre"], region.corner, strict=True)]
        inside = region.inside
        if region.figure is not None:
            ratio = kernels.edge_ratio(
                inside.shape, centre, region.figure.to_unit, region.figure.is_box
            )
        else:
            ratio = kernels.exit_ratio(inside, centre)
            inside = inside & (ratio < 1)
        coordinates = kernels.radial_coordinates(ratio, centre, parameters["alpha"], self.is_sink)
        # The edge lies up to half a pixel beyond the box, and a spline reaches further than its
        # point.
        reach = 1 if self.order < 2 else 12
        grown = region.grown_box(reach, scene.shape)
        for axis, core in enumerate(region.core(grown)):
            coordinates[axis] += core.start
        return kernels.interpolate(scene.patch(grown), coordinates, self.order), inside


@dataclass(frozen=True, repr=False)
class Source(_Radial):
    """Content is pushed away from a centre, as by a growing mass.

    The value at distance ``d`` from the centre, on a ray whose distance to the mask's edge is
    ``D``, is read at ``D (d / D)**alpha`` on the same ray. The edge is taken in closed form for
    ellipses and rectangles; for any other mask it is where the ray first leaves it, and the label
    is the part of the mask that the centre sees.

    Parameters
    ----------
    mask : Mask
        Where it happens.
    exponent : Number
        ``u`` in ``alpha = 2**u``.
    order : int
        Order of the spline by which values are read: 1 linear, 3 cubic.

    References
    ----------
    Baugh et al., "Many tasks make light work", MICCAI 2023; Zhang et al., "MediCLIP", MICCAI 2024,
    section 2.2.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import Source
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> sample = Source()(scan, rng=7)
    >>> sample.image.shape, sample.image.dtype, sample.mask.dtype
    ((64, 64), dtype('float64'), dtype('bool'))
    >>> bool((sample.image == scan)[~sample.mask].all())
    True
    >>> sample.record["anomalies"]
    ['Source']
    """

    is_sink: ClassVar[bool] = False


@dataclass(frozen=True, repr=False)
class Sink(_Radial):
    """Content is drawn to a centre: as `Source`, but read at ``D (1 - (1 - d / D)**alpha)``.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import Sink
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> sample = Sink()(scan, rng=7)
    >>> sample.image.shape, sample.image.dtype, sample.mask.dtype
    ((64, 64), dtype('float64'), dtype('bool'))
    >>> bool((sample.image == scan)[~sample.mask].all())
    True
    >>> sample.record["anomalies"]
    ['Sink']
    """

    is_sink: ClassVar[bool] = True
