"""From stored values to those that they stand for, by slope and intercept, and their dtype."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

_INTEGERS = (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64)
_MANTISSA = 2**24  # whole numbers up to here are exact in float32


@dataclass(frozen=True)
class Linear:
    """value = slope * stored + intercept.

    Attributes
    ----------
    slope, intercept : float
    stored : (int, int) or None
        The least and the greatest stored integer; None for stored floats.
    """

    slope: float
    intercept: float
    stored: tuple[int, int] | None

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing."""
        return self.slope == 1 and self.intercept == 0

    @property
    def is_whole(self) -> bool:
        """Whether integers stay integers."""
        whole = float(self.slope).is_integer() and float(self.intercept).is_integer()
        return whole and self.stored is not None

    @property
    def range(self) -> tuple[Fraction, Fraction]:
        """The least and the greatest value that a stored integer may mean."""
        assert self.stored is not None
        ends = [Fraction(self.slope) * s + Fraction(self.intercept) for s in self.stored]
        return min(ends), max(ends)


def common_dtype(lines: Iterable[Linear]) -> np.dtype:
    """Return the smallest dtype that holds exactly whatever stored integers may mean.

    An integer dtype where slopes and intercepts are whole; otherwise float32 if it holds every
    value exactly, and float64 if not. It follows from what is declared and not from the pixels, so
    that the images of one source share it.

    Examples
    --------
    >>> from synthmed.io.readers.linear import Linear, common_dtype
    >>> common_dtype([Linear(1, -1024, (0, 4095))]), common_dtype([Linear(0.5, 0, (0, 4095))])
    (dtype('int16'), dtype('float32'))
    >>> common_dtype([Linear(0.1, 0, (0, 4095))])
    dtype('float64')
    """
    lines = list(lines)
    if any(line.stored is None for line in lines):
        return np.dtype(np.float64)
    low = min(line.range[0] for line in lines)
    high = max(line.range[1] for line in lines)
    if all(line.is_whole for line in lines):
        for kind in _INTEGERS:
            info = np.iinfo(kind)
            if info.min <= low and high <= info.max:
                return np.dtype(kind)
    parts = [Fraction(part) for line in lines for part in (line.slope, line.intercept)]
    finest = max(part.denominator for part in parts)  # powers of two, as all floats have
    exact = max(abs(low), abs(high)) * finest <= _MANTISSA
    return np.dtype(np.float32 if exact else np.float64)


def apply_linear(stored: NDArray, line: Linear, out: NDArray) -> None:
    """Write the values of stored ones to an array of the same shape, in its dtype."""
    if line.is_identity:
        out[...] = stored
    elif out.dtype.kind in "iu":
        # What overflows here comes back: the result is known to fit, and integers wrap around.
        out[...] = stored.astype(np.int64) * int(line.slope) + int(line.intercept)
    else:
        out[...] = stored.astype(np.float64) * line.slope + line.intercept
