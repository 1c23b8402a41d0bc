"""JPEG and BMP, and whatever other formats leave to Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps

from synthmed.io.image import Image, Unreadable
from synthmed.io.readers.base import Reader


def read_with_pillow(path: Path, form: str) -> Image:
    """Read a file of the format that Pillow calls `form`: grey as it is, all else as RGB.

    Transparency is dropped, palettes are resolved, the orientation that EXIF tells is applied.
    """
    with PIL.Image.open(path) as opened:
        if opened.format != form:
            raise Unreadable(f"is {opened.format}, which is not read")
        image: PIL.Image.Image = PIL.ImageOps.exif_transpose(opened)
        if image.mode in ("1", "LA", "La"):
            image = image.convert("L")
        elif image.mode not in ("L", "I", "F") and not image.mode.startswith("I;16"):
            image = image.convert("RGB")
        array = np.array(image)
    if image.mode == "I" and array.size and array.min() >= 0 and array.max() <= 65535:
        array = array.astype(np.uint16)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return Image(array, channel_axis=-1 if image.mode == "RGB" else None)


def _is_jpeg(head: bytes, name: str) -> bool:
    return head.startswith(b"\xff\xd8\xff")


def _read_jpeg(path: Path) -> Image:
    return read_with_pillow(path, "JPEG")


def _is_bmp(head: bytes, name: str) -> bool:
    return head.startswith(b"BM")


def _read_bmp(path: Path) -> Image:
    return read_with_pillow(path, "BMP")


JPEG = Reader("JPEG", (".jpg", ".jpeg"), _is_jpeg, _read_jpeg, lossy=True)
BMP = Reader("BMP", (".bmp",), _is_bmp, _read_bmp)
