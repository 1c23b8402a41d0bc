"""Local shrinkage and growth of tissue, by a smooth flow that folds nowhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy
from numpy.typing import NDArray

from synthmed import kernels, validation
from synthmed.anomalies.base import Anomaly
from synthmed.distributions import Number, draw_number, require_number
from synthmed.generator import Generator, Parameters
from synthmed.masks import LesionMask
from synthmed.scene import Region, Scene


@dataclass(frozen=True, repr=False)
class _Flow(Anomaly):
    mask: Generator = LesionMask(size=(0.2, 0.5))
    volume_ratio: Number = (1.5, 3.0)
    order: int = 1

    sign: ClassVar[int]

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number(self, "volume_ratio", 1)
        validation.choice(self, "order", range(6))

    def draw(self, rng: np.random.Generator, scene: Scene, region: Region) -> Parameters:
        """Draw the bound of the change of volume."""
        return {"volume_ratio": draw_number(rng, self.volume_ratio)}

    def change(
        self, parameters: Parameters, scene: Scene, region: Region
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Read each pixel where the flow takes it."""
        coordinates = flow_coordinates(
            region.inside, scene.spacing, parameters["volume_ratio"], self.sign
        )
        reach = 1 if self.order < 2 else 12
        grown = region.grown_box(reach, scene.shape)
        for axis, core in enumerate(region.core(grown)):
            coordinates[axis] += core.start
        return kernels.interpolate(scene.patch(grown), coordinates, self.order), region.inside


@dataclass(frozen=True, repr=False)
class Atrophy(_Flow):
    """Tissue shrinks: content is drawn to the middle of the mask by a smooth flow.

    A velocity field within the mask, along the gradient of the blurred mask and 0 at its edge, is
    integrated by scaling and squaring; the map is one to one, and the Jacobian of neither it nor
    its inverse exceeds `volume_ratio`. The smooth kin of `Sink`.

    Parameters
    ----------
    mask : Mask
        Where it happens.
    volume_ratio : Number
        The largest local change of volume, at least 1, either way: what shrinks in the middle is
        stretched towards the edge.
    order : int
        Order of the spline by which values are read: 1 linear, 3 cubic.

    References
    ----------
    V. Arsigny et al., "A log-Euclidean framework for statistics on diffeomorphisms", MICCAI 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import Atrophy
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> sample = Atrophy()(scan, rng=7)
    >>> bool((sample.image == scan)[~sample.mask].all())
    True
    """

    sign: ClassVar[int] = -1


@dataclass(frozen=True, repr=False)
class Swelling(_Flow):
    """Tissue grows: as `Atrophy`, the other way round. The smooth kin of `Source`.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import Swelling
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> sample = Swelling()(scan, rng=7)
    >>> bool((sample.image == scan)[~sample.mask].all())
    True
    """

    sign: ClassVar[int] = 1


def flow_coordinates(
    inside: NDArray[np.bool_], spacing: Sequence[float], volume_ratio: float, sign: int
) -> NDArray[np.float64]:
    """Where each pixel of a mask's box is read.

    Parameters
    ----------
    inside : ndarray of bool, shape (H, W) or (D, H, W)
    spacing : sequence of float
    volume_ratio : float
        Bound of the Jacobian determinant and of its inverse.
    sign : {1, -1}
        1 reads towards the middle (content grows), -1 away from it.

    Returns
    -------
    ndarray of float64, shape (n, *inside.shape)
        In pixels of the box; outside the mask, the pixel itself.
    """
    n = inside.ndim
    here = np.indices(inside.shape, dtype=np.float64)
    distance = scipy.ndimage.distance_transform_edt(np.pad(inside, 1), sampling=spacing)
    depth = distance.max()
    sigma = [0.5 * depth / s for s in spacing]
    margin = [math.ceil(3 * s) for s in sigma]
    padded = np.pad(inside.astype(np.float32), [(m, m) for m in margin])
    core = tuple(slice(m, m + k) for m, k in zip(margin, inside.shape, strict=True))
    hill = kernels.gaussian_blur(padded, sigma, truncate=3.0)[core].astype(np.float64)
    ratio = np.minimum(distance[(slice(1, -1),) * n] / (0.6 * depth), 1)
    fade = ratio * ratio * (3 - 2 * ratio)  # 0 at the edge, and smooth there
    velocity = np.zeros((n, *inside.shape))
    for axis in range(n):
        if inside.shape[axis] > 1:
            # A gradient per unit of length, as a step in pixels.
            velocity[axis] = fade * np.gradient(hill, axis=axis) / spacing[axis] ** 2
    divergence = sum(
        np.gradient(velocity[axis], axis=axis) for axis in range(n) if inside.shape[axis] > 1
    )
    # The logarithm of the flow's Jacobian is the divergence summed along its path (Liouville).
    largest = np.abs(divergence).max()
    if not largest > 0:
        return here
    velocity *= sign * math.log(volume_ratio) / largest
    halvings = max(math.ceil(math.log2(max(np.abs(velocity).max() / 0.25, 1))), 2)
    step = velocity / 2**halvings
    for _ in range(halvings):
        step += np.moveaxis(
            kernels.interpolate(np.ascontiguousarray(np.moveaxis(step, 0, -1)), here + step), -1, 0
        )
    return here + np.where(inside, step, 0)
