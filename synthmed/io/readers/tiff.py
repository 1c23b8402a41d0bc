"""TIFF of any real dtype; several pages are a volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from synthmed.io.image import Image, Unreadable
from synthmed.io.readers.base import Reader
from synthmed.io.readers.pillow import read_with_pillow

_PROPER = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SWAPPED = (b"MM*\0", b"II\0*")  # wrong, but written, and read by Pillow


def _matches(head: bytes, name: str) -> bool:
    return head.startswith(_PROPER + _SWAPPED)


def _read(path: Path) -> Image:
    import tifffile

    with path.open("rb") as opened:
        if not opened.read(4).startswith(_PROPER):
            return read_with_pillow(path, "TIFF")
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        page = file.pages.first
        try:
            array = series.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            if len(file.pages) > 1:  # a compression that Pillow alone knows here
                raise Unreadable(
                    f"is a volume in a compression that is not read ({error})"
                ) from None
            return read_with_pillow(path, "TIFF")
        axes = series.axes
        inverted = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
        palette = page.photometric == tifffile.PHOTOMETRIC.PALETTE
    if palette:
        return read_with_pillow(path, "TIFF")
    keep = tuple(i for i, n in enumerate(array.shape) if n > 1 or axes[i] in "YX")
    axes = "".join(axes[i] for i in keep)
    array = array.reshape([array.shape[i] for i in keep])
    if "S" in axes:
        array = np.moveaxis(array, axes.index("S"), -1)[..., :3]
        axes = axes.replace("S", "") + "S"
    has_channels = axes.endswith("S")
    spatial = axes.rstrip("S")
    if (
        len(spatial) not in (2, 3)
        or not spatial.endswith("YX")
        or (has_channels and array.shape[-1] != 3)
    ):
        raise Unreadable(
            f"has axes {axes} of shape {array.shape}; an image or one volume is expected"
        )
    if array.dtype.kind not in "iuf" or array.dtype == np.float16:
        raise Unreadable(f"has dtype {array.dtype}; integers, float32 and float64 are read")
    if inverted and array.dtype.kind == "u":
        array = np.iinfo(array.dtype).max - array
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    return Image(array, channel_axis=-1 if has_channels else None)


TIFF = Reader("TIFF", (".tif", ".tiff"), _matches, _read)
