"""BMP."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL.BmpImagePlugin import BmpImageFile

from synthmed.io.image import Image, Unreadable
from synthmed.io.readers.base import Reader
from synthmed.io.readers.limits import require_room
from synthmed.io.readers.samples import drop_alpha, look_up


def _matches(head: bytes, name: str) -> bool:
    return head.startswith(b"BM")


def _read(path: Path) -> Image:
    with path.open("rb") as file:
        declared = int.from_bytes(file.read(6)[2:], "little")
    stored = path.stat().st_size
    if declared > stored:
        raise Unreadable(f"cannot be decoded: it is truncated to {stored} bytes of {declared}")
    # The class and not PIL.Image.open, which refuses what is large whether there is room or not.
    with path.open("rb") as file, BmpImageFile(file) as image:
        shape = (image.height, image.width, len(image.getbands()))
        require_room(shape, shape[0] * shape[1] * shape[2], stored)
        array = np.array(image)
        mode, palette = image.mode, image.getpalette("RGB")
    if mode == "1":
        return Image(array.astype(np.uint8) * np.uint8(255))
    if mode == "L":
        return Image(array)
    if mode == "P":
        colours = np.array(palette, np.uint8).reshape(-1, 3)
        if (colours == colours[:, :1]).all():  # BMP knows no other grey
            return Image(look_up(array, colours[:, 0]))
        return Image(look_up(array, colours), channel_axis=-1)
    if mode == "RGBA":
        array = np.ascontiguousarray(drop_alpha(array))
    elif mode != "RGB":
        raise Unreadable(f"has pixels of the kind {mode}; grey, palettes and RGB are read")
    return Image(array, channel_axis=-1)


BMP = Reader("BMP", (".bmp",), _matches, _read)
