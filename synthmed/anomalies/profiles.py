"""What several anomalies are made of: how far the mask's edge is, its mean."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

from synthmed.scene import Region, Scene


def edge_distance(region: Region, scene: Scene) -> NDArray[np.float64]:
    """Distance of each pixel of the region's box to the nearest pixel outside its mask, in the
    unit of the spacing; what lies beyond the image is not the mask's edge.
    """
    grown = region.grown_box(1, scene.shape)
    inside = region.inside_of(grown)
    if inside.all():
        return np.full(region.inside.shape, np.inf)
    distance = scipy.ndimage.distance_transform_edt(inside, sampling=scene.spacing)
    return distance[region.core(grown)]


def erf_edge(region: Region, scene: Scene, width: float) -> NDArray[np.float64]:
    """A weight that grows from 0 at the mask's edge to 1 by the error function, as a sharp edge
    seen through a Gaussian point spread.

    Parameters
    ----------
    width : float
        Standard deviation, in pixels at an image side of 224.
    """
    sigma = width * scene.side / 224
    distance = edge_distance(region, scene)
    if sigma == 0:
        return (distance > 0).astype(np.float64)
    return scipy.special.erf(distance / (np.sqrt(2) * sigma))


def mean_inside(values: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean of each channel over a mask; one order of summation, whatever the memory layout and
    the number of channels.
    """
    return np.ascontiguousarray(values[inside].T).mean(axis=-1)
