"""How stored values become the 8 bits that a backbone sees: one rule, fixed by the support images.

A picture's unsigned integers are relative to what their type holds: 8 and 16 bits of one picture
are the same. What is signed, floating, or comes with a window or an affine is a measurement, in a
unit of its own, and is never converted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from synthmed import io
from synthmed.io import ValueRange

_PERCENTILES: ValueRange = ("percentile", 0.5, 99.5)


@dataclass(frozen=True)
class Values:
    """From stored values to 0 to 255.

    Attributes
    ----------
    span : (float, float), "window" or "dtype"
        The values that become 0 and 255, those beyond them likewise; or, for each image, the window
        that its file declares, or all that its dtype holds.
    unit : str
        What the numbers of a pair are: the name of an unsigned integer dtype, whose full range
        stands for that of any other; "measured"; or "any", for a pair that was given as it is.

    Examples
    --------
    >>> values = Values((0, 255), "uint8")
    >>> scan = np.array([[0, 100, 255]], np.uint8)
    >>> values.to_bytes(io.Image(scan)).tolist()
    [[0, 100, 255]]
    >>> values.to_bytes(io.Image(scan.astype(np.uint16) * 257)).tolist()  # the same, in 16 bits
    [[0, 100, 255]]
    """

    span: tuple[float, float] | Literal["window", "dtype"] = (0.0, 255.0)
    unit: str = "uint8"

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> Values:
        """Rebuild from what `dataclasses.asdict` gave, through JSON or not.

        Raises
        ------
        KeyError, TypeError, ValueError
            If something is missing or out of its bounds.
        """
        span, unit = io.require_value_range(data["span"]), str(data["unit"])
        if unit not in ("any", "measured", "uint8", "uint16", "uint32", "uint64"):
            raise ValueError(f"unit is {unit!r}")
        if isinstance(span, tuple) and len(span) == 3:
            raise ValueError(f"span is {span!r}")
        return cls(span, unit)

    def to_bytes(self, image: io.Image) -> NDArray[np.uint8]:
        """Return an image's values as 0 to 255, in its shape.

        Raises
        ------
        TypeError
            If it is not of real numbers.
        ValueError
            If it is empty, not finite, has no window where that is the rule, or is in another unit;
            the message does not name the image.
        """
        array = _real(image)
        if isinstance(self.span, str):
            low, high = io.value_range_of([_numbers(image)], self.span)
            ours = theirs = 1
        else:
            low, high = self.span
            ours, theirs = self._largest(unit_of(image))
        if array.dtype == np.uint8 and (low, high) == (0, 255) and ours == theirs:
            return array
        # Either ratio is a whole number, so that no rounding tells 8 from 16 bits.
        values = array.astype(np.float64)
        values = values * (ours // theirs) if ours > theirs else values / (theirs // ours)
        return np.rint(((values - low) * (255 / (high - low))).clip(0, 255)).astype(np.uint8)

    def _largest(self, unit: str) -> tuple[int, int]:
        """The largest values of the own unit and another; equal where nothing is converted."""
        if self.unit in (unit, "any"):
            return 1, 1
        if "measured" in (unit, self.unit):
            raise ValueError(
                f"holds {_in_words(unit)}, the support images {_in_words(self.unit)}: say with "
                f"value_range= which values stand for darkest and brightest"
            )
        return int(np.iinfo(self.unit).max), int(np.iinfo(unit).max)

    def __str__(self) -> str:
        if self.span == "window":
            return "each image's own window"
        if self.span == "dtype":
            return "all that each image's dtype holds"
        low, high = self.span
        return f"{low:g} to {high:g}" + ("" if self.unit == "any" else f" ({self.unit})")


def values_of(images: Iterable[io.Image], rule: ValueRange | None = None) -> Values:
    """Fix how values are seen, by a rule or by the support images.

    Parameters
    ----------
    images : iterable of Image
        The support images.
    rule : optional
        As `synthmed.io.value_range_of` takes it; "window" and "dtype" are then taken of each image
        by itself. By default 0 to 255 for images of 8 bits; else the window that all declare, or
        each its own where they differ; else the percentiles 0.5 and 99.5 of all together.

    Raises
    ------
    ValueError
        If the images are of several units, or the rule gives no range.

    Examples
    --------
    >>> scan = io.Image(np.arange(1001, dtype=np.uint16).reshape(7, 143))
    >>> str(values_of([scan]))
    '5 to 995 (uint16)'
    >>> str(values_of([scan], (0, 4095))), str(values_of([scan], "dtype"))
    ('0 to 4095 (uint16)', "all that each image's dtype holds")
    >>> values_of([io.Image(np.zeros((4, 4), np.int16), value_range=(-160, 240))])
    Values(span=(-160.0, 240.0), unit='measured')
    """
    chosen = None if rule is None else io.require_value_range(rule)
    if chosen == "window" or chosen == "dtype":
        return Values(chosen, "any")
    units: set[str] = set()
    windows: set[tuple[float, float] | None] = set()
    kept: list[io.Image] = []  # those alone whose values count: images of 8 bits may be many
    counts = chosen is None or len(chosen) == 3
    for image in images:
        units.add(unit_of(image))
        windows.add(image.value_range)
        if counts and (chosen or _real(image).dtype != np.uint8):
            kept.append(_numbers(image))
    if len(units) > 1:
        several = " and ".join(map(_in_words, sorted(units)))
        raise ValueError(f"the images hold {several}: bring them to one kind")
    unit = units.pop() if units else "any" if chosen else "uint8"
    if chosen is not None:
        return Values(io.value_range_of(kept, chosen), unit)
    if not kept:
        return Values((0.0, 255.0), unit)
    if None not in windows:
        return (
            Values("window", "any")
            if len(windows) > 1
            else Values(io.value_range_of(kept, "window"), unit)
        )
    return Values(io.value_range_of(kept, _PERCENTILES), unit)


def unit_of(image: io.Image) -> str:
    """Return what an image's numbers are: the name of an unsigned dtype, or "measured".

    Examples
    --------
    >>> unit_of(io.Image(np.zeros((4, 4), bool))), unit_of(io.Image(np.zeros((4, 4))))
    ('uint8', 'measured')
    """
    array = _real(image)
    has_unit = image.value_range is not None or image.affine is not None
    return "measured" if has_unit or array.dtype.kind != "u" else array.dtype.name


def _real(image: io.Image) -> NDArray:
    """The array, bool as 0 and 255; refused where it is empty, not finite or not of numbers."""
    array = image.array
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"must be of real numbers, not {array.dtype}")
    if not array.size:
        raise ValueError(f"is empty, of shape {array.shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError("holds NaN or infinity")
    return array


def _numbers(image: io.Image) -> io.Image:
    return io.Image(_real(image), image.channel_axis, value_range=image.value_range)


def _in_words(unit: str) -> str:
    return "measured values (signed, floating or with a window)" if unit == "measured" else unit
