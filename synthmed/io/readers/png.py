"""PNG."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
from PIL.PngImagePlugin import PngImageFile

from synthmed.io.image import Image, Unreadable
from synthmed.io.readers.base import Reader
from synthmed.io.readers.limits import require_room
from synthmed.io.readers.samples import drop_alpha, look_up, orient, warn_of_alpha

_ORIENTATION = 0x0112
_MARK = b"\x89PNG\r\n\x1a\n"
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_COLOUR, _PALETTE = {2, 3, 6}, 3


def _matches(head: bytes, name: str) -> bool:
    return head.startswith(_MARK)


def _read(path: Path) -> Image:
    data = path.read_bytes()
    chunks = dict(_chunks(data))
    header = chunks.get(b"IHDR", b"")
    if len(header) != 13 or header[9] not in _SAMPLES:
        raise Unreadable("cannot be decoded: its header is damaged")
    depth, kind = header[8], header[9]
    frames = int.from_bytes(chunks.get(b"acTL", b"")[:4])
    if frames > 1:
        raise Unreadable(f"is animated, with {frames} frames; one image is expected")
    shape = (int.from_bytes(header[4:8]), int.from_bytes(header[:4]), _SAMPLES[kind])
    require_room(shape, shape[0] * shape[1] * shape[2] * max(1, depth // 8), len(data))
    if kind == _PALETTE:
        array = _through_palette(data, chunks)
    else:
        import imagecodecs

        array = imagecodecs.png_decode(data)
        if array.ndim == 3 and array.shape[-1] in (2, 4):  # stored, or of one transparent colour
            array = drop_alpha(array)
        if array.ndim == 3 and array.shape[-1] == 1:
            array = array[..., 0]
    array = np.ascontiguousarray(orient(array, _orientation(data, chunks)))
    return Image(array, channel_axis=-1 if kind in _COLOUR else None)


def _through_palette(data: bytes, chunks: dict[bytes, bytes]) -> np.ndarray:
    with PngImageFile(io.BytesIO(data)) as image:
        indices = np.array(image)
    if b"tRNS" in chunks:
        warn_of_alpha()
    return look_up(indices, np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3))


def _orientation(data: bytes, chunks: dict[bytes, bytes]) -> object:
    """Of EXIF, in its chunk or as ImageMagick writes it, or of XMP."""
    if not {b"eXIf", b"iTXt", b"tEXt", b"zTXt"} & chunks.keys():
        return 1
    with PngImageFile(io.BytesIO(data)) as image:
        if b"eXIf" in chunks:  # it may follow the pixels
            image.info["exif"] = b"Exif\0\0" + chunks[b"eXIf"]
        # Not PngImageFile's own, which decodes the pixels first.
        return PIL.Image.Image.getexif(image).get(_ORIENTATION, 1)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kinds and contents up to the end of the image, with their checksums tested."""
    position = len(_MARK)
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4])
        kind, content = (
            data[position + 4 : position + 8],
            data[position + 8 : position + 8 + length],
        )
        end = position + 12 + length
        if end > len(data):
            break
        if zlib.crc32(kind + content) != int.from_bytes(data[end - 4 : end]):
            name = kind.decode("ascii", "replace")
            raise Unreadable(f"cannot be decoded: the checksum of its chunk {name} is wrong")
        yield kind, b"" if kind == b"IDAT" else content
        if kind == b"IEND":
            return
        position = end
    raise Unreadable("cannot be decoded: it is truncated before the end of the image")


PNG = Reader("PNG", (".png",), _matches, _read)
