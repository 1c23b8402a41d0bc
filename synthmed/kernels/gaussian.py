"""Gaussian filter in n dimensions."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import scipy
from numpy.typing import NDArray

from synthmed.kernels.compiled import compiled
from synthmed.kernels.noise import sign_noise

_LONG = 60  # taps of half a filter, beyond which the cosine transform is faster


def gaussian_blur(
    values: NDArray[np.float32], sigma: Sequence[float], truncate: float = 4.0
) -> NDArray[np.float32]:
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

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed.kernels import gaussian_blur
    >>> point = np.zeros((9, 9), np.float32)
    >>> point[4, 4] = 1
    >>> blurred = gaussian_blur(point, (1.0, 1.0))
    >>> blurred.dtype, round(float(blurred.sum()), 3), round(float(blurred[4, 4]), 3)
    (dtype('float32'), 1.0, 0.159)
    """
    kernels = [_half(s, truncate) for s in sigma]
    if max(map(len, kernels)) > _LONG:
        return _in_cosines(values, kernels)
    out = np.ascontiguousarray(values, np.float32)
    for taps in kernels:  # each pass filters the first axis and moves it to the end
        count, *others = out.shape
        filtered = np.empty((*others, count), np.float32)
        _across(out.reshape(count, -1), taps, filtered.reshape(-1, count))
        out = filtered
    return out


def standard_noise(shape: Sequence[int], seed: int, sigma: Sequence[float]) -> NDArray[np.float32]:
    """Noise of mean 0 and standard deviation 1 over a box: the sign of white noise, blurred.

    Parameters
    ----------
    shape : sequence of 2 or 3 ints
    seed : int
        Determines it.
    sigma : sequence of float
        Standard deviation of the blur along each axis, in pixels.

    Returns
    -------
    ndarray of float32, shape `shape`
        All 0 where the blur leaves no differences.

    Examples
    --------
    >>> from synthmed.kernels import standard_noise
    >>> noise = standard_noise((64, 64), 7, (2.0, 2.0))
    >>> noise.shape, abs(float(noise.mean())) < 1e-5, round(float(noise.std()), 3)
    ((64, 64), True, 1.0)
    """
    noise = gaussian_blur(sign_noise(shape, seed), sigma)
    noise -= noise.mean()
    deviation = noise.std()
    return noise / deviation if deviation > 1e-6 else np.zeros_like(noise)


@compiled
def _across(lines, taps, out):
    """Filter across lines, continued by their mirror image at both ends, into columns.

    `taps` is the filter's half from its centre on.
    """
    count, width = lines.shape
    radius = len(taps) - 1
    padded = np.empty((count + 2 * radius, width), np.float32)
    for y in range(len(padded)):
        k = (y - radius) % (2 * count)
        k = k if k < count else 2 * count - 1 - k
        for x in range(width):
            padded[y, x] = lines[k, x]
    total = np.empty(width, np.float32)
    for y in range(count):
        m = y + radius
        for x in range(width):
            total[x] = taps[0] * lines[y, x]
        for j in range(
            1, radius - 2, 4
        ):  # four pairs at a time: the sum is loaded and stored less often
            s, t, u, v = taps[j], taps[j + 1], taps[j + 2], taps[j + 3]
            for x in range(width):
                total[x] += (
                    s * (padded[m - j, x] + padded[m + j, x])
                    + t * (padded[m - j - 1, x] + padded[m + j + 1, x])
                    + u * (padded[m - j - 2, x] + padded[m + j + 2, x])
                    + v * (padded[m - j - 3, x] + padded[m + j + 3, x])
                )
        for j in range(1 + radius // 4 * 4, radius + 1):
            for x in range(width):
                total[x] += taps[j] * (padded[m - j, x] + padded[m + j, x])
        for x in range(width):
            out[x, y] = total[x]


def _in_cosines(
    values: NDArray[np.float32], kernels: Sequence[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """The same filter as a product: a symmetric filter with reflected borders is diagonal in the
    cosine basis.
    """
    spectrum = scipy.fft.dctn(values, type=2)
    for axis, taps in enumerate(kernels):
        n = values.shape[axis]
        folded = np.zeros(2 * n)  # the filter on the period of the reflected line
        np.add.at(folded, np.arange(len(taps)) % (2 * n), taps.astype(np.float64))
        np.add.at(folded, -np.arange(1, len(taps)) % (2 * n), taps[1:].astype(np.float64))
        response = scipy.fft.rfft(folded).real[:n].astype(np.float32)
        spectrum *= response.reshape([-1 if a == axis else 1 for a in range(values.ndim)])
    return scipy.fft.idctn(spectrum, type=2, overwrite_x=True)


@functools.lru_cache(maxsize=64)
def _half(sigma: float, truncate: float) -> NDArray[np.float32]:
    """Half the filter, from its centre on."""
    radius = int(truncate * sigma + 0.5)
    if radius == 0:
        return np.ones(1, np.float32)
    taps = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2)
    return (taps / (2 * taps.sum() - taps[0])).astype(np.float32)
