"""imagecodecs as a decoder of pydicom's.

It is there in every installation, knows every compression below, and gives the same samples on
every machine, where pydicom takes whichever decoder happens to be installed.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.pixels import get_decoder

from synthmed.io.image import Unreadable
from synthmed.io.readers.jpeg import require_whole

if TYPE_CHECKING:
    from pydicom.pixels.decoders.base import Decoder, DecodeRunner

_NAME = "imagecodecs"
_JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
_JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
_JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000)
_HTJ2K = (uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
_CODESTREAM = b"\xff\x4f\xff\x51"  # of JPEG 2000: its start, and its size behind
_STARTS_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # of JPEG, and of JPEG-LS

# By these names pydicom asks a decoder what it can do.
DECODER_DEPENDENCIES = {u: (_NAME,) for u in (*_JPEG, *_JPEG_LS, *_JPEG_2000, *_HTJ2K)}


def is_available(syntax: str) -> bool:
    """Whether a transfer syntax is decoded here."""
    return syntax in DECODER_DEPENDENCIES


def decoder_of(syntax: uid.UID) -> tuple[Decoder, str]:
    """Return pydicom's decoder of a transfer syntax, and the name of its plugin to be used.

    Raises
    ------
    Unreadable
        If there is none.
    """
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        named = "of its own" if syntax.is_private or syntax.name == syntax else syntax.name
        raise Unreadable(f"is in a transfer syntax that is not read: {named}") from None
    if not syntax.is_encapsulated:
        return decoder, ""
    if syntax == uid.RLELossless:
        return decoder, "pydicom"
    if _NAME not in decoder.available_plugins:
        decoder.add_plugin(_NAME, (__name__, "decode_frame"))
    return decoder, _NAME


def decode_frame(source: bytes, runner: DecodeRunner) -> bytes:
    """Decode one frame, for pydicom."""
    shape = (runner.rows, runner.columns, runner.samples_per_pixel)
    held = _size(source, runner.transfer_syntax)
    if held != shape:  # before memory is asked for
        raise Unreadable(
            f"is damaged: it declares {' x '.join(map(str, shape))} samples, and its compressed "
            f"data {' x '.join(map(str, held))}"
        )
    array = _decoded(source, runner)
    # What the decoder has done, so that pydicom does the rest.
    runner.set_option("bits_allocated", 8 * array.dtype.itemsize)
    if shape[2] > 1:
        runner.set_option("planar_configuration", 0)
    in_colour = runner.photometric_interpretation in ("YBR_ICT", "YBR_RCT")
    if runner.transfer_syntax in (*_JPEG_2000, *_HTJ2K) and in_colour:
        runner.set_option("photometric_interpretation", "RGB")
    return np.ascontiguousarray(array).tobytes()


def _size(source: bytes, syntax: uid.UID) -> tuple[int, int, int]:
    """Rows, columns and samples a pixel, as the compressed data declare them."""
    try:
        if syntax in (*_JPEG_2000, *_HTJ2K):
            start = source.index(_CODESTREAM) + 8
            right, bottom, left, top = struct.unpack_from(">4I", source, start)
            (samples,) = struct.unpack_from(">H", source, start + 32)
            return bottom - top, right - left, samples
        position = 2
        while (marker := source[position + 1]) not in _STARTS_OF_FRAME:
            if source[position] != 0xFF:
                break
            fill = marker == 0xFF
            position += 1 if fill else 2 + int.from_bytes(source[position + 2 : position + 4])
        else:
            return struct.unpack_from(">HHB", source, position + 5)
    except (IndexError, ValueError, struct.error):
        pass
    raise Unreadable("is damaged: its compressed data do not say what size they have")


def _decoded(source: bytes, runner: DecodeRunner) -> NDArray:
    syntax = runner.transfer_syntax
    if syntax in _JPEG:
        require_whole(source)
        if runner.samples_per_pixel == 1:
            return imagecodecs.jpeg8_decode(source)
        # The components as they are: whether they are RGB, pydicom knows from the data elements.
        return imagecodecs.jpeg8_decode(source, colorspace="RGB", outcolorspace="RGB")
    if syntax in _JPEG_LS:
        return imagecodecs.jpegls_decode(source)
    return imagecodecs.jpeg2k_decode(source)
