"""How the grey levels of images are spread: whether two sets of them come from one source."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

_SHARES = (5, 25, 50, 75, 95)
_LEAST = 16  # levels of 255, that images of one source may always differ by

Levels = tuple[float, ...]
"""An image's 5, 25, 50, 75 and 95 percentiles."""


def levels_of(pixels: NDArray[np.uint8]) -> Levels:
    """Return the percentiles of an image's levels.

    Parameters
    ----------
    pixels : ndarray
        Of any shape, uint8, as a backbone sees it.

    Examples
    --------
    >>> levels_of(np.arange(101, dtype=np.uint8))
    (5.0, 25.0, 50.0, 75.0, 95.0)
    """
    return tuple(np.percentile(pixels, _SHARES).tolist())


def shift_between(support: Sequence[Levels], images: Sequence[Levels]) -> tuple[float, float]:
    """Say how far images lie from support images in their levels, and how far they may.

    An image's distance is that to the nearest support image, the mean over the percentiles; the
    median over images is given.

    Parameters
    ----------
    support, images : sequence of tuple of float
        At least one each, as `levels_of` gives them.

    Returns
    -------
    distance, allowed : float
        In levels of 255. Allowed is twice the largest distance of a support image to its nearest
        other, and at least 16.

    Examples
    --------
    >>> dark, light = levels_of(np.full(9, 20, np.uint8)), levels_of(np.full(9, 200, np.uint8))
    >>> shift_between([dark, dark], [light])
    (180.0, 16.0)
    """
    own, theirs = np.array(support), np.array(images)
    near = np.abs(theirs[:, None] - own).mean(-1).min(1)
    among = np.abs(own[:, None] - own).mean(-1)
    np.fill_diagonal(among, np.inf)
    spread = float(among.min(1).max()) if len(own) > 1 else 0.0
    return float(np.median(near)), max(float(_LEAST), 2 * spread)


def read_levels(data: Iterable[Iterable[float]]) -> tuple[Levels, ...]:
    """Take the levels of several images from JSON.

    Raises
    ------
    TypeError, ValueError
        If they are not five rising numbers an image, from 0 to 255.

    Examples
    --------
    >>> read_levels([[0, 0, 9, 9, 255]])
    ((0.0, 0.0, 9.0, 9.0, 255.0),)
    """
    found = tuple(tuple(map(float, levels)) for levels in data)
    for levels in found:
        inside = all(0 <= level <= 255 for level in levels)
        if len(levels) != len(_SHARES) or not inside or list(levels) != sorted(levels):
            raise ValueError(f"levels must be 5 rising numbers from 0 to 255, not {levels}")
    return found
