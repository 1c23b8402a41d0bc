"""An input as the generators get it: read, made grey, resized, checked, with its region of
interest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from synthmed.digests import digest_file
from synthmed.foreground import foreground, ground_of
from synthmed.generate.settings import Settings
from synthmed.io import (
    Image,
    Input,
    Unreadable,
    ValueRange,
    dwarfed_by_extremes,
    find_region,
    grey,
    read_region,
    resize,
    value_range_of,
)
from synthmed.scene import Scene

Form = tuple[int, int | None, str]
"""Number of axes, channel axis and dtype of an array."""

_CACHE_BYTES = 256 * 2**20


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image ready for a generator, its region of interest, and what people should know of
    it.
    """

    image: Image
    roi: NDArray[np.bool_] | None
    notes: tuple[str, ...] = ()

    @property
    def form(self) -> Form:
        """What two images must share for one to be the other's donor: axes, channel axis
        and dtype.
        """
        array = self.image.array
        return array.ndim, self.image.channel_axis, array.dtype.str


def prepare(source: Input, settings: Settings) -> Prepared:
    """Read an input and bring it to the form that the settings ask for.

    Raises
    ------
    Unreadable
        If it cannot be used: unreadable, not finite, constant, a volume that is to be resized, or
        without its region of interest.
    TypeError, ValueError
        If a generator would refuse it, or the rule for the value range gives none for it.
    """
    image = source.read()
    array = image.array
    if array.size == 0:
        raise Unreadable(f"{source.path}: has no pixels")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise Unreadable(
            f"{source.path}: {np.count_nonzero(~np.isfinite(array))} values are NaN or infinite"
        )
    as_stored = image
    if settings.channels == "grey":
        image = grey(image)
    if settings.size != "native":
        if len(image.spatial_shape) == 3:
            raise Unreadable(
                f"{source.path}: is a volume of shape {array.shape}; take it with size native"
            )
        image = resize(image, int(settings.size))
    if image.array.min() == image.array.max():
        raise Unreadable(f"{source.path}: the image is constant, there is nothing to see on it")
    image = replace(image, value_range=_value_range(image, settings.value_range))
    scene = Scene.of(
        image.array,
        value_range=image.value_range,
        channel_axis=image.channel_axis,
        spacing=image.spacing,
    )
    ends = scene.low, scene.high
    if scene.is_constant:
        raise Unreadable(
            f"{source.path}: all values lie on one side of the value range {ends[0]:g} to "
            f"{ends[1]:g}, there is nothing to see"
        )
    said = dwarfed_by_extremes(image, ends)
    notes: tuple[str, ...] = () if said is None else (said,)
    if settings.roi == "none":
        return Prepared(image, None, notes)
    if settings.roi == "auto":
        seen = np.clip(image.array, *ends)
        if ground_of(seen, channel_axis=image.channel_axis) == "unclear":
            notes += (
                "the ground is neither evenly dark nor evenly white, so that the foreground may be "
                "anything: look at it, or give --roi FOLDER or --roi none",
            )
        return Prepared(image, foreground(seen, channel_axis=image.channel_axis), notes)
    return Prepared(image, _region_from_file(source, as_stored, settings), notes)


def _value_range(image: Image, rule: ValueRange | None) -> tuple[float, float] | None:
    """The range by a rule; of a window, which is in decimals and may begin below zero, the part
    that the dtype reaches.
    """
    if rule not in (None, "window"):
        return value_range_of([image], rule)
    if rule is None and image.value_range is None:
        return None
    low, high = value_range_of([image], "window")
    if image.array.dtype.kind in "iu":
        limits = np.iinfo(image.array.dtype)
        low, high = max(low, limits.min), min(high, limits.max)
    return low, high


def roi_digest(source: Input, settings: Settings) -> str | None:
    """SHA-256 of the file that holds an input's region of interest; None where none is read."""
    if settings.roi in ("none", "auto"):
        return None
    return digest_file(_roi_file(source, settings.roi))


def _region_from_file(source: Input, image: Image, settings: Settings) -> NDArray[np.bool_]:
    """The region drawn on an image as it was read, at the size that the settings ask for."""
    path = _roi_file(source, settings.roi)
    roi = read_region(path, image, source.path, level=settings.mask_level)
    if settings.size != "native":
        roi = resize(Image(roi.astype(np.float32)), int(settings.size)).array >= 0.5
    if not roi.any():
        raise Unreadable(f"{path}: the region of interest is empty")
    return roi


def _roi_file(source: Input, folder: str) -> Path:
    path = find_region(folder, source.name)
    if path is None:
        stem = PurePosixPath(source.name).with_suffix("")
        raise Unreadable(f"{source.path}: no region of interest {stem}.png, .tif, ... in {folder}")
    return path


class Cache:
    """Prepared inputs by index, the latest used kept up to a bound of memory."""

    def __init__(self, inputs: Sequence[Input], settings: Settings) -> None:
        self._inputs, self._settings = inputs, settings
        self._kept: OrderedDict[int, Prepared] = OrderedDict()
        self._bytes = 0

    def __getitem__(self, index: int) -> Prepared:
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        prepared = prepare(self._inputs[index], self._settings)
        self._kept[index] = prepared
        self._bytes += prepared.image.array.nbytes
        while self._bytes > _CACHE_BYTES and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].image.array.nbytes
        return prepared
