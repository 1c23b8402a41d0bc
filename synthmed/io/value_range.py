"""To which range the intensities of images are relative: the rule, and the pair that it gives."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from synthmed.io.image import Image

Percentiles = tuple[Literal["percentile"], float, float]
ValueRange = tuple[float, float] | Literal["dtype", "window"] | Percentiles
"""A pair (low, high); or how it is found, see `value_range_of`."""


def value_range_of(images: Iterable[Image], rule: ValueRange) -> tuple[float, float]:
    """Return the range of values that a rule gives for one image, or for several together.

    Parameters
    ----------
    images : iterable of Image
        One or more, of any shape.
    rule : (float, float), "dtype", "window" or ("percentile", float, float)
        The range itself; all that the dtype, an integer one, can hold; the window that the file
        declares (`Image.value_range`); or two percentiles of all values, which one hot pixel or a
        no-data value does not move.

    Returns
    -------
    low, high : float
        low < high.

    Raises
    ------
    TypeError, ValueError
        If `rule` is none, or gives no range for these images; says why.

    Examples
    --------
    >>> import numpy as np
    >>> scan = Image(np.arange(1001, dtype=np.uint16).reshape(7, 143))
    >>> value_range_of([scan], "dtype")
    (0.0, 65535.0)
    >>> value_range_of([scan], ("percentile", 0.5, 99.5))
    (5.0, 995.0)
    >>> value_range_of([scan], "window")
    Traceback (most recent call last):
    ValueError: value_range='window': there is an image without a window; give a pair or percentiles
    """
    chosen = require_value_range(rule)
    if isinstance(chosen, tuple) and len(chosen) == 2:
        return chosen
    images = list(images)
    if not images:
        raise ValueError(f"value_range={rule!r} needs at least one image")
    if chosen == "dtype":
        low, high = _common({_of_dtype(image) for image in images}, rule)
    elif chosen == "window":
        if any(image.value_range is None for image in images):
            raise ValueError(
                "value_range='window': there is an image without a window; give a pair or "
                "percentiles"
            )
        low, high = _common({image.value_range for image in images if image.value_range}, rule)
    else:
        values = [image.array.ravel() for image in images]
        low, high = np.percentile(np.concatenate(values), [float(p) for p in chosen[1:]]).tolist()
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(
            f"value_range={rule!r} gives {low:g} and {high:g}; a finite range, low below high, is "
            f"needed: give a pair"
        )
    return float(low), float(high)


def require_value_range(rule: Any) -> ValueRange:
    """Check a rule and bring it to one form: numbers as float, sequences as tuples.

    Raises
    ------
    TypeError
        If it is none of the rules.
    ValueError
        If its numbers are not finite, not in rising order, or no percentiles.

    Examples
    --------
    >>> require_value_range([-1000, 400]), require_value_range("dtype")
    ((-1000.0, 400.0), 'dtype')
    >>> require_value_range(["percentile", 0.5, 99.5])
    ('percentile', 0.5, 99.5)
    """
    if isinstance(rule, str) and rule in ("dtype", "window"):
        return "dtype" if rule == "dtype" else "window"
    values = rule.tolist() if isinstance(rule, np.ndarray) else rule
    parts = list(values) if isinstance(values, list | tuple) else []
    by_rank = len(parts) == 3 and isinstance(parts[0], str) and parts[0] == "percentile"
    numbers = parts[1:] if by_rank else parts
    if len(numbers) != 2 or not all(_is_number(number) for number in numbers):
        raise TypeError(
            f"value_range must be (low, high), 'dtype', 'window' or ('percentile', low, high), "
            f"got {rule!r}"
        )
    low, high = (float(number) for number in numbers)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"value_range must be finite, low below high, got {rule!r}")
    if by_rank and not 0 <= low < high <= 100:
        raise ValueError(f"value_range: percentiles must lie within [0, 100], got {rule!r}")
    return ("percentile", low, high) if by_rank else (low, high)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _of_dtype(image: Image) -> tuple[float, float]:
    dtype = image.array.dtype
    if dtype.kind not in "iu":
        raise ValueError(
            f"value_range='dtype' is of integers, and an image is {dtype}: give a pair or "
            f"percentiles"
        )
    return float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)


def _common(found: set[tuple[float, float]], rule: ValueRange) -> tuple[float, float]:
    if len(found) > 1:
        several = ", ".join(f"{low:g} to {high:g}" for low, high in sorted(found))
        raise ValueError(f"value_range={rule!r} differs between the images: {several}")
    return found.pop()
