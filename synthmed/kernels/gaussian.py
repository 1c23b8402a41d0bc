"""Gaussian filter in n dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def gaussian_blur(values: NDArray[np.float32], sigma: Sequence[float], truncate: float = 4.0) -> NDArray[np.float32]:
    """Gaussian filter, reflected at the border, as `scipy.ndimage.gaussian_filter` computes it.

    Parameters
    ----------
    values : ndarray of float32, shape (H, W) or (D, H, W)
    sigma : sequence of float
        Standard deviation along each axis, in pixels; 0 leaves the axis alone.
    truncate : float
        Radius of the filter in standard deviations.

    Returns
    -------
    ndarray of float32, shape of `values`
    """
    *outer, rows, columns = (_taps(s, truncate) for s in sigma)
    out: NDArray[Any] = np.empty(values.shape, np.float32)
    for plane, blurred in zip(values.reshape(-1, *values.shape[-2:]), out.reshape(-1, *values.shape[-2:]), strict=True):
        cv2.sepFilter2D(plane, -1, columns, rows, dst=blurred, borderType=cv2.BORDER_REFLECT)
    for taps in outer:  # the axis of a volume's planes, as the rows of a matrix
        flat = out.reshape(len(out), -1)
        out = cv2.sepFilter2D(flat, -1, np.ones(1, np.float32), taps, borderType=cv2.BORDER_REFLECT).reshape(out.shape)
    return out


def _taps(sigma: float, truncate: float) -> NDArray[np.float32]:
    radius = int(truncate * sigma + 0.5)
    if radius == 0:
        return np.ones(1, np.float32)
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return (taps / taps.sum()).astype(np.float32)
