"""An input as the generators get it: read, made grey, resized, checked, with its region of
interest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from synthmed.digests import digest_file
from synthmed.foreground import foreground
from synthmed.io import Input, Unreadable, channel_axis_of, grey, read_image, resize
from synthmed.io.images import SUFFIXES

if TYPE_CHECKING:
    from synthmed.generate.plan import Settings

_CACHE_BYTES = 256 * 2**20


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image ready for a generator, and its region of interest."""

    image: NDArray[Any]
    roi: NDArray[np.bool_] | None

    @property
    def channel_axis(self) -> int | None:
        """The image's channel axis."""
        return channel_axis_of(self.image)

    @property
    def form(self) -> tuple[int, int | None, str]:
        """What two images must share for one to be the other's donor: axes, channel axis
        and dtype.
        """
        return self.image.ndim, self.channel_axis, self.image.dtype.str


def prepare(source: Input, settings: Settings) -> Prepared:
    """Read an input and bring it to the form that the settings ask for.

    Raises
    ------
    Unreadable
        If it cannot be used: unreadable, not finite, constant, a volume that is to be resized, or
        without its region of interest.
    """
    image = source.read()
    if image.size == 0:
        raise Unreadable(f"{source.path}: has no pixels")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise Unreadable(
            f"{source.path}: {np.count_nonzero(~np.isfinite(image))} values are NaN or infinite"
        )
    if settings.channels == "grey":
        image = grey(image)
    if settings.size != "native":
        if image.ndim - (channel_axis_of(image) is not None) == 3:
            raise Unreadable(
                f"{source.path}: is a volume of shape {image.shape}; take it with size native"
            )
        image = resize(image, int(settings.size))
    if image.min() == image.max():
        raise Unreadable(f"{source.path}: the image is constant, there is nothing to see on it")
    return Prepared(image, _region_of_interest(source, image, settings))


def roi_digest(source: Input, settings: Settings) -> str | None:
    """SHA-256 of the file that holds an input's region of interest; None where none is read."""
    if settings.roi in ("none", "auto"):
        return None
    return digest_file(_roi_file(source, settings.roi))


def _region_of_interest(
    source: Input, image: NDArray[Any], settings: Settings
) -> NDArray[np.bool_] | None:
    if settings.roi == "none":
        return None
    axis = channel_axis_of(image)
    if settings.roi == "auto":
        return foreground(image, channel_axis=axis)
    path = _roi_file(source, settings.roi)
    roi = read_image(path)
    roi = grey(roi)
    shape = image.shape if axis is None else image.shape[:-1]
    if settings.size != "native" and roi.shape != shape:
        roi = resize((roi > roi.max() / 2).astype(np.float32), int(settings.size)) >= 0.5
    else:
        roi = roi > roi.max() / 2
    if roi.shape != shape:
        raise Unreadable(f"{path}: the region of interest has shape {roi.shape}, its image {shape}")
    if not roi.any():
        raise Unreadable(f"{path}: the region of interest is empty")
    return roi


def _roi_file(source: Input, folder: str) -> Path:
    stem = Path(folder) / Path(source.name).with_suffix("")
    for suffix in SUFFIXES:
        path = stem.with_name(stem.name + suffix)
        if path.is_file():
            return path
    raise Unreadable(f"{source.path}: no region of interest {stem}.png (or .jpg, .tif, .bmp)")


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
        self._bytes += prepared.image.nbytes
        while self._bytes > _CACHE_BYTES and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].image.nbytes
        return prepared
