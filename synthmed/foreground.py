"""A proposal for the region of interest."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from synthmed.scene import channels_last


def foreground(image: ArrayLike, *, channel_axis: int | None = None) -> NDArray[np.bool_]:
    """Propose the region that shows the body rather than the background around it.

    The image, smoothed, above Otsu's threshold of its square root (which keeps dark tissue); the
    largest connected component of that, its holes filled. Meant for what modalities put on a dark
    ground: fundus photographs, ultrasound sectors, MR and CT slices, X-rays with collimated
    borders.

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

    grey = channels_last(image, channel_axis, "image").mean(axis=-1, dtype=np.float64)
    low, high = grey.min(), grey.max()
    if not np.isfinite(high - low):
        raise ValueError("image must be finite, with a range that a float64 holds")
    if not high > low:
        return np.ones(grey.shape, bool)
    smooth = scipy.ndimage.gaussian_filter(
        np.sqrt((grey - low) / (high - low)), [n / 224 * 2 for n in grey.shape]
    )
    labels, count = scipy.ndimage.label(smooth > threshold_otsu(smooth))
    largest = 1 + np.argmax(np.bincount(labels.ravel(), minlength=count + 1)[1:])
    return scipy.ndimage.binary_fill_holes(labels == largest)
