"""Extremes that dwarf the tissue: one hot pixel, a mark that was burnt in, a value for no data."""

from __future__ import annotations

import numpy as np

from synthmed.io.image import Image

_SMALL_PART = 10  # the tissue has less than one part in so many of the range
_SHARE = (0.5, 99.5)  # percent
_LOOKED_AT = 2**20  # values


def dwarfed_by_extremes(image: Image, value_range: tuple[float, float]) -> str | None:
    """Say so where 99 % of the values, leaving out the smallest and the largest one, have less than
    a tenth of what all of them have within the value range.

    What is relative to such a range leaves the tissue far behind. Of a large image every n-th value
    is looked at, about a million.

    Parameters
    ----------
    image : Image
    value_range : (low, high)
        That is in use.

    Returns
    -------
    str or None
        For people, with the option that mends it; None where it is not so.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed.io import Image, dwarfed_by_extremes
    >>> scan = np.arange(500, 3500, dtype=np.uint16).reshape(50, 60)
    >>> dwarfed_by_extremes(Image(scan), (500, 3499))
    >>> scan[3, 3] = 65535
    >>> dwarfed_by_extremes(Image(scan), (500, 65535))
    '99 % of the values lie within 516 to 3484, but the value range is 500 to 65535: if its ends \
are no tissue (a hot pixel, no data), give --value-range LOW HIGH or percentile 0.5 99.5'
    """
    array = image.array
    low, high = max(value_range[0], array.min().item()), min(value_range[1], array.max().item())
    looked_at = array.reshape(-1)[:: max(array.size // _LOOKED_AT, 1)]
    rest = looked_at[(looked_at > low) & (looked_at < high)]
    if rest.size == 0:
        return None  # two values, as a mask has them
    first, last = (float(v) for v in np.percentile(rest, _SHARE))
    if (last / 2 - first / 2) * _SMALL_PART >= high / 2 - low / 2:
        return None
    return (
        f"99 % of the values lie within {first:.4g} to {last:.4g}, but the value range is "
        f"{value_range[0]:.5g} to {value_range[1]:.5g}: if its ends are no tissue (a hot pixel, no "
        f"data), give --value-range LOW HIGH or percentile {_SHARE[0]} {_SHARE[1]}"
    )
