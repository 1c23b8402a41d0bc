"""A proposal for the region of interest."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from synthmed.scene import channels_last

Ground = Literal["dark", "white", "unclear"]

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
    `ground_of` tells which ground it is.

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
    scaled, steps = _sampled(full)
    if scaled is None:
        return np.ones(full.shape[:-1], bool)
    if _ground(scaled) == "white":
        scaled = 1 - scaled
    smooth = scipy.ndimage.gaussian_filter(np.sqrt(scaled), [n / 224 * 2 for n in scaled.shape])
    labels, count = scipy.ndimage.label(smooth > threshold_otsu(smooth))
    largest = 1 + np.argmax(np.bincount(labels.ravel(), minlength=count + 1)[1:])
    body = scipy.ndimage.binary_fill_holes(labels == largest)
    for axis, (n, step) in enumerate(zip(full.shape[:-1], steps, strict=True)):
        if step > 1:  # each pixel is as the one that was looked at next to it
            body = body.take(np.minimum(np.arange(n) // step, body.shape[axis] - 1), axis)
    return body


def ground_of(image: ArrayLike, *, channel_axis: int | None = None) -> Ground:
    """What lies around the body, as far as the image's border tells.

    Parameters
    ----------
    image : array_like, shape (H, W) or (D, H, W), with channels where `channel_axis` says so
    channel_axis : int, optional

    Returns
    -------
    {"dark", "white", "unclear"}
        Dark where three quarters of the border (of a volume, of the borders of its slices) are
        within a fifth of the range from its bottom, white where they are from its top; otherwise
        unclear, and then `foreground` is not to be relied on.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed.foreground import ground_of
    >>> scan = np.zeros((64, 64), np.uint8)
    >>> scan[16:48, 16:48] = 200
    >>> ground_of(scan), ground_of(255 - scan), ground_of(np.indices((64, 64))[0])
    ('dark', 'white', 'unclear')
    """
    scaled, _ = _sampled(channels_last(image, channel_axis, "image"))
    return "unclear" if scaled is None else _ground(scaled)


def _sampled(full: NDArray) -> tuple[NDArray[np.float64] | None, list[int]]:
    """The grey image of which not all pixels are looked at, scaled to [0, 1], None if it is
    constant; and the steps from one to the next.
    """
    side = max(full.shape[:-1])
    steps = [math.ceil(n / _SIDE) if side > _LARGE else 1 for n in full.shape[:-1]]
    ends = float(full.min()), float(full.max())
    if not np.isfinite(ends[1] - ends[0]):
        raise ValueError("image must be finite, with a range that a float64 holds")
    sampled = full[tuple(slice(step // 2, None, step) for step in steps)]
    grey = sampled.mean(axis=-1, dtype=np.float64)
    low, high = grey.min(), grey.max()
    if not high > low:
        return None, steps
    return (grey - low) / (high - low), steps


def _ground(scaled: NDArray[np.float64]) -> Ground:
    axes = range(scaled.ndim - 2, scaled.ndim)
    border = np.concatenate([np.take(scaled, [0, -1], axis).ravel() for axis in axes])
    if np.quantile(border, 0.25) > 0.8:
        return "white"
    return "dark" if np.quantile(border, 0.75) < 0.2 else "unclear"
