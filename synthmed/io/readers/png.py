"""PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image

from synthmed.io.image import Image, Unreadable
from synthmed.io.readers.base import Reader
from synthmed.io.readers.pillow import read_with_pillow


def _matches(head: bytes, name: str) -> bool:
    return head.startswith(b"\x89PNG\r\n\x1a\n")


def _read(path: Path) -> Image:
    data = path.read_bytes()
    depth, colour = data[24:25], data[25:26]
    if depth != b"\x10" or colour not in (b"\2", b"\6"):
        return read_with_pillow(path, "PNG")
    # Pillow cuts colour of 16 bits to 8; OpenCV keeps it, but does not say what is broken.
    import cv2

    with PIL.Image.open(path) as image:
        image.verify()
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None:
        raise Unreadable("cannot be decoded")
    return Image(np.ascontiguousarray(decoded[..., 2::-1]), channel_axis=-1)


PNG = Reader("PNG", (".png",), _matches, _read)
