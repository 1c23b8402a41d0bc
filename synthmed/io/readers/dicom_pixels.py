"""The stored values of DICOM's planes, decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from synthmed.io.image import Unreadable
from synthmed.io.readers.dicom_elements import load
from synthmed.io.readers.dicom_planes import Plane
from synthmed.io.readers.limits import require_room
from synthmed.io.readers.samples import drop_alpha, look_up, narrow_palette

if TYPE_CHECKING:
    from pydicom import FileDataset

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def decode(planes: Sequence[Plane]) -> Iterator[NDArray]:
    """Decode planes one after the other.

    Parameters
    ----------
    planes : sequence of Plane
        Those of one file follow each other; all of one shape.

    Yields
    ------
    ndarray, shape (H, W) or (H, W, 3)
        Stored integers within their declared bits (for a modality table, what it gives), floats, or
        RGB.

    Raises
    ------
    Unreadable
        If one cannot be decoded, or there is no room for all.
    """
    paths = list(dict.fromkeys(plane.path for plane in planes))
    shape = (len(planes), *planes[0].shape)
    samples = 3 if planes[0].photometric in ("colour", "palette") else 1
    size = len(planes) * shape[1] * shape[2] * samples * max(1, planes[0].bits // 8)
    require_room(shape, size, sum(path.stat().st_size for path in paths))
    for path, group in groupby(planes, key=lambda plane: plane.path):
        yield from _of_file(load(path), list(group))


def _of_file(dataset: FileDataset, planes: Sequence[Plane]) -> Iterator[NDArray]:
    from synthmed.io.readers.dicom_codecs import decoder_of

    element = next((name for name in _PIXELS if name in dataset), None)
    if element is None:
        raise Unreadable("is truncated, or holds no pixels")
    syntax = dataset.file_meta.TransferSyntaxUID
    decoder, plugin = decoder_of(syntax)
    _require_count(dataset, element, planes[0])
    frames = decoder.iter_array(
        dataset,
        indices=[plane.index for plane in planes],
        decoding_plugin=plugin,
        # Overlays in unused bits are masked below, wherever the bits in use lie.
        correct_unused_bits=planes[0].photometric == "colour",
    )
    table = _palette(dataset) if planes[0].photometric == "palette" else None
    packed = syntax.is_encapsulated and plugin != "pydicom"
    for plane in planes:
        try:
            array, properties = next(frames)
        except RuntimeError as error:  # pydicom's, around the decoder's own
            raise Unreadable(str(error).rsplit(f"{plugin}: ", 1)[-1].strip()) from None
        if plane.photometric == "colour":
            if properties["photometric_interpretation"] != "RGB":
                raise Unreadable(
                    f"is {properties['photometric_interpretation']} in the transfer syntax "
                    f"{syntax.name}, which is not read"
                )
            yield array
            continue
        if array.dtype.kind in "iu":
            if not packed:
                array = _used_bits(array, dataset)
            _require_bits(array, dataset)
        if table is not None:
            yield look_up(array, table)
        elif dataset.get("ModalityLUTSequence"):
            from pydicom.pixels import apply_modality_lut

            yield apply_modality_lut(array, dataset)
        else:
            yield array


def _require_count(dataset: FileDataset, element: str, plane: Plane) -> None:
    """Check that there are no more frames than declared, of which the rest would be passed over."""
    from pydicom.encaps import parse_basic_offsets

    count = int(dataset.get("NumberOfFrames") or 1)
    data = dataset[element].value
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        held = len(parse_basic_offsets(data))
    else:
        samples = 3 if plane.photometric == "colour" else 1
        pixels = plane.shape[0] * plane.shape[1] * samples
        if dataset.PhotometricInterpretation == "YBR_FULL_422":
            pixels = pixels * 2 // 3
        held = len(data) * 8 // max(1, pixels * int(dataset.BitsAllocated))
        padding = len(data) * 8 - count * pixels * int(dataset.BitsAllocated)
        held = count if padding <= 8 else held
    if held > count:
        raise Unreadable(f"declares {count} frames, and holds pixels of {held}")


def _used_bits(array: NDArray, dataset: FileDataset) -> NDArray:
    """Without what lies above and below the bits in use, such as overlays."""
    allocated, stored = int(dataset.BitsAllocated), int(dataset.get("BitsStored", 0))
    if not stored or allocated in (1, stored):
        return array
    above = allocated - 1 - int(dataset.get("HighBit", stored - 1))
    return (array << above) >> (allocated - stored)  # of signed integers the sign is extended


def _require_bits(array: NDArray, dataset: FileDataset) -> None:
    """Check that a decoder has not given more bits than are declared."""
    bits = int(dataset.get("BitsStored") or dataset.BitsAllocated)
    signed = int(dataset.get("PixelRepresentation") or 0)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if int(array.min()) < low or int(array.max()) > high:
        raise Unreadable(
            f"is damaged: it declares {bits} bits, {low} to {high}, and holds values from "
            f"{array.min()} to {array.max()}"
        )


def _palette(dataset: FileDataset) -> NDArray:
    """The colour of every stored value; alpha is dropped."""
    from pydicom.pixels import apply_color_lut

    bits = int(dataset.BitsStored)
    if bits > 16 or int(dataset.get("PixelRepresentation") or 0):
        raise Unreadable("has a palette for signed values, or for more than 16 bits")
    table = apply_color_lut(np.arange(2**bits, dtype=np.uint16), dataset)
    if table.dtype.itemsize > 1 and not dataset.file_meta.TransferSyntaxUID.is_little_endian:
        raise Unreadable("has a palette of 16 bits in big endian, which is not read")
    if table.shape[-1] == 4:
        table = drop_alpha(table)
    return narrow_palette(table) if table.dtype == np.uint16 else table
