"""Reading an image between its pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from synthmed.kernels.compiled import compiled


def interpolate(
    values: NDArray[np.float64], coordinates: NDArray[np.float64], order: int = 1
) -> NDArray[np.float64]:
    """Values of an image at fractional coordinates; coordinates beyond its border read the border.

    Parameters
    ----------
    values : ndarray of float64, shape (*spatial, channels)
        An image of 2 or 3 spatial axes.
    coordinates : ndarray of float64, shape (n, *out)
        In pixels, one row for each spatial axis.
    order : int
        1: linear. 0, 2 to 5: splines of that order as in `scipy.ndimage.map_coordinates`.

    Returns
    -------
    ndarray of float64, shape (*out, channels)

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed.kernels import interpolate
    >>> ramp = np.arange(12.0).reshape(3, 4, 1)
    >>> interpolate(ramp, np.array([[0.0, 1.5], [0.5, 2.0]]), 1)[:, 0].tolist()
    [0.5, 8.0]
    """
    n, channels = len(coordinates), values.shape[-1]
    out_shape = coordinates.shape[1:]
    if order != 1:
        return np.stack(
            [
                scipy.ndimage.map_coordinates(
                    values[..., c], coordinates, order=order, mode="nearest"
                )
                for c in range(channels)
            ],
            axis=-1,
        )
    volume = np.ascontiguousarray(values).reshape(*(1,) * (3 - n), *values.shape)
    points = np.ascontiguousarray(coordinates).reshape(n, -1)
    out = np.empty((points.shape[1], channels))
    _linear(volume, points, out)
    return out.reshape(*out_shape, channels)


def affine_coordinates(
    shape: Sequence[int], matrix: ArrayLike, origin: ArrayLike
) -> NDArray[np.float64]:
    """Coordinates ``origin + matrix @ index`` for every index of an array.

    Parameters
    ----------
    shape : sequence of 2 or 3 ints
    matrix : array_like, shape (n, n)
    origin : array_like, shape (n,)
        Coordinates of the first element.

    Returns
    -------
    ndarray of float64, shape (n, *shape)

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed.kernels import affine_coordinates
    >>> affine_coordinates([2, 3], np.eye(2) * 2, [1.0, 0.0])[1].tolist()
    [[0.0, 2.0, 4.0], [0.0, 2.0, 4.0]]
    """
    n = len(shape)
    linear, start = np.zeros((3, 3)), np.zeros(3)
    linear[3 - n :, 3 - n :], start[3 - n :] = matrix, origin
    out = np.empty((3, *(1,) * (3 - n), *shape))
    _affine(linear, start, out)
    return out[3 - n :].reshape(n, *shape)


@compiled
def _affine(linear, start, out):
    for axis in range(3):
        for z in range(out.shape[1]):
            for y in range(out.shape[2]):
                first = start[axis] + linear[axis, 0] * z + linear[axis, 1] * y
                for x in range(out.shape[3]):
                    out[axis, z, y, x] = first + linear[axis, 2] * x


@compiled
def _linear(volume, points, out):
    depth, height, width, channels = volume.shape
    last = len(points) - 1
    for i in range(points.shape[1]):
        y, x = (
            min(max(points[last - 1, i], 0.0), height - 1.0),
            min(max(points[last, i], 0.0), width - 1.0),
        )
        y0, x0 = (
            min(np.uint64(y), np.uint64(max(height - 2, 0))),
            min(np.uint64(x), np.uint64(max(width - 2, 0))),
        )
        y1, x1 = (
            np.uint64(min(y0 + np.uint64(1), height - 1)),
            np.uint64(min(x0 + np.uint64(1), width - 1)),
        )
        fy, fx = y - y0, x - x0
        z0, z1, fz = np.uint64(0), np.uint64(0), 0.0
        if last == 2:
            z = min(max(points[0, i], 0.0), depth - 1.0)
            z0 = min(np.uint64(z), np.uint64(max(depth - 2, 0)))
            z1 = np.uint64(min(z0 + np.uint64(1), depth - 1))
            fz = z - z0
        for c in range(channels):
            a, b = volume[z0, y0, x0, c], volume[z0, y0, x1, c]
            d, e = volume[z0, y1, x0, c], volume[z0, y1, x1, c]
            a += fx * (b - a)
            d += fx * (e - d)
            a += fy * (d - a)
            if last == 2:
                f, b = volume[z1, y0, x0, c], volume[z1, y0, x1, c]
                d, e = volume[z1, y1, x0, c], volume[z1, y1, x1, c]
                f += fx * (b - f)
                d += fx * (e - d)
                f += fy * (d - f)
                a += fz * (f - a)
            out[i, c] = a
