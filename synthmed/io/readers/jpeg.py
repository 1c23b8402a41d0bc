"""JPEG."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile
from PIL.MpoImagePlugin import MpoImageFile

from synthmed.io.image import Image, Unreadable
from synthmed.io.readers.base import Reader
from synthmed.io.readers.limits import require_room
from synthmed.io.readers.samples import orient, rgb_from_cmyk

_ORIENTATION = 0x0112
_MP_ENTRIES = 0xB002
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
# In a scan 0xFF is a marker unless 0 follows, which escapes it, or it separates intervals.
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


def _matches(head: bytes, name: str) -> bool:
    return head.startswith(b"\xff\xd8\xff")


def _read(path: Path) -> Image:
    data = path.read_bytes()
    if require_whole(data):
        _require_one_picture(data)
    # The class and not PIL.Image.open, which refuses what is large whether there is room or not.
    with JpegImageFile(io.BytesIO(data)) as image:
        shape = (image.height, image.width, len(image.getbands()))
        require_room(shape, shape[0] * shape[1] * shape[2], len(data))
        if image.mode not in ("L", "RGB", "CMYK"):
            raise Unreadable(f"has pixels of the kind {image.mode}; grey, RGB and CMYK are read")
        if image.mode == "CMYK" and "adobe" not in image.info:
            raise Unreadable("has 4 channels, but no Adobe marker that says what they mean")
        orientation = image.getexif().get(_ORIENTATION, 1)
        array = np.array(image)
    if image.mode == "CMYK":  # Pillow has undone the inversion that the Adobe marker stands for
        array = rgb_from_cmyk(array)
    array = np.ascontiguousarray(orient(array, orientation))
    return Image(array, channel_axis=None if array.ndim == 2 else -1)


def require_whole(data: bytes) -> bool:
    """Check that the data reach the end of the image; whether an index of pictures is in them.

    Raises
    ------
    Unreadable
        If they do not: decoders would fill the rest with grey.
    """
    position, indexed = 2, False
    while True:
        if data[position : position + 1] != b"\xff":
            break
        while data[position + 1 : position + 2] == b"\xff":  # fill bytes
            position += 1
        if position + 2 > len(data):
            break
        marker = data[position + 1]
        if marker == _END_OF_IMAGE:
            return indexed
        position += 2
        if marker in _ALONE:
            continue
        indexed |= marker == 0xE2 and data[position + 2 : position + 6] == b"MPF\0"
        length = int.from_bytes(data[position : position + 2])
        if length < 2:
            break
        position += length
        if marker == _START_OF_SCAN:
            found = _MARKER_IN_SCAN.search(data, position)
            if found is None:
                break
            position = found.start()
    raise Unreadable("cannot be decoded: it is truncated or damaged before the end of the image")


def _require_one_picture(data: bytes) -> None:
    """Check that all pictures but the first are declared to be thumbnails of it."""
    with MpoImageFile(io.BytesIO(data)) as image:
        entries = (image.mpinfo or {}).get(_MP_ENTRIES, ())
    kinds = [str(entry["Attribute"]["MPType"]) for entry in entries]
    others = [kind for kind in kinds[1:] if not kind.startswith("Large Thumbnail")]
    if others:
        raise Unreadable(
            f"holds {1 + len(others)} pictures (MPO: {', '.join(kinds)}); save the one that is "
            f"meant as a file of its own"
        )


JPEG = Reader("JPEG", (".jpg", ".jpeg"), _matches, _read, lossy=True)
