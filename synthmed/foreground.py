"""A proposal for the region of interest."""

from __future__ import annotations

import math

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from synthmed.scene import channels_last

_LARGE, _SIDE = 1024, 512  # pixels: of a large image so many a side show what is foreground


def foreground(image: ArrayLike, *, channel_axis: int | None = None) -> NDArray[np.bool_]:
    """Propose the region that shows the body rather than the background around it.

    The image, smoothed, above Otsu's threshold of its square root (which keeps dark tissue); the
    largest connected component of that, its holes filled. Meant for what modalities put on a dark
    ground: fundus photographs, ultrasound sectors, MR and CT slices, X-rays with collimated
    borders; and, turned round, for what lies on an evenly white ground: histology on glass,
    inverted X-rays. The ground is taken for white where three quarters of the image's border are
    within a fifth of the range from its top. A ground of both kinds is not told from the body.

    Of an image of more than 1024 pixels a side, at most about 512 a side are looked at.

    Parameters
    ----------
    image : array_like, shape (H, W) or (D, H, W), with channels where `channel_axis` says so
    channel_axis : int, optional
        The axis of channels; their mean is taken.

    Returns
    -------
    ndarray of bool, the spatial shape
        All True for a constant image.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import foreground
    >>> scan = np.zeros((64, 64), np.uint8)
    >>> scan[16:48, 16:48] = 200
    >>> roi = foreground(scan)
    >>> roi.dtype, bool(roi[32, 32]), bool(roi[0, 0])
    (dtype('bool'), True, False)
    """
    from skimage.filters import threshold_otsu

    full = channels_last(image, channel_axis, "image")
    side = max(full.shape[:-1])
    steps = [math.ceil(n / _SIDE) if side > _LARGE else 1 for n in full.shape[:-1]]
    ends = float(full.min()), float(full.max())
    if not np.isfinite(ends[1] - ends[0]):
        raise ValueError("image must be finite, with a range that a float64 holds")
    sampled = full[tuple(slice(step // 2, None, step) for step in steps)]
    grey = sampled.mean(axis=-1, dtype=np.float64)
    low, high = grey.min(), grey.max()
    if not high > low:
        return np.ones(full.shape[:-1], bool)
    scaled = (grey - low) / (high - low)
    if np.quantile(_border(scaled), 0.25) > 0.8:
        scaled = 1 - scaled
    smooth = scipy.ndimage.gaussian_filter(np.sqrt(scaled), [n / 224 * 2 for n in grey.shape])
    labels, count = scipy.ndimage.label(smooth > threshold_otsu(smooth))
    largest = 1 + np.argmax(np.bincount(labels.ravel(), minlength=count + 1)[1:])
    body = scipy.ndimage.binary_fill_holes(labels == largest)
    for axis, (n, step) in enumerate(zip(full.shape[:-1], steps, strict=True)):
        if step > 1:  # each pixel is as the one that was looked at next to it
            body = body.take(np.minimum(np.arange(n) // step, body.shape[axis] - 1), axis)
    return body


def _border(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """The pixels of an image's border; of a volume, the borders of its slices."""
    edges = [np.take(image, [0, -1], axis).ravel() for axis in range(image.ndim - 2, image.ndim)]
    return np.concatenate(edges)
