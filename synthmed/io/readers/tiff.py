"""TIFF of any real dtype; equal pages are a volume."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from synthmed.io.image import Image, Unreadable
from synthmed.io.readers.base import Reader
from synthmed.io.readers.samples import (
    drop_alpha,
    look_up,
    narrow_palette,
    orient,
    rgb_from_cmyk,
    rgb_from_ycbcr,
    scale_levels,
)
from synthmed.io.readers.tiff_pages import Planes, find_planes, require_whole

if TYPE_CHECKING:
    from tifffile import TiffPage

_PROPER = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_CONTRADICTORY = (b"MM*\0", b"II\0*")

# Photometric interpretations, by number: what each is called and how many samples it has.
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_SAMPLES = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3}
_REFUSED = {
    4: "a transparency mask",
    8: "CIELab, whose conversion to RGB depends on a white point and a gamut: convert it first",
    9: "ICCLab, whose conversion to RGB depends on a gamut: convert it first",
    10: "ITULab, whose conversion to RGB depends on a gamut: convert it first",
    32803: "raw data of a colour filter array",
    34892: "linear raw data of a camera",
}
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3  # sample formats
_FORMATS = {4: "undefined samples", 5: "complex integers", 6: "complex numbers"}

_OLD_JPEG, _JPEG, _APERIO_YCBCR = 6, 7, 33003
# Compressions that keep YCbCr as it is; of the others, JPEG alone is known to bring it to RGB.
_EXACT = {1, 5, 8, 32773, 32946, 34925, 34926, 50000}


def _matches(head: bytes, name: str) -> bool:
    return head.startswith(_PROPER + _CONTRADICTORY)


def _read(path: Path) -> Image:
    import tifffile

    with path.open("rb") as opened:
        if opened.read(4).startswith(_CONTRADICTORY):
            raise Unreadable("is a damaged TIFF: its byte order and its version contradict")
    with tifffile.TiffFile(path) as file:
        planes = find_planes(file)
        for page in planes.pages:
            _require_defined(page)
        require_whole(file, planes)
        volume: NDArray | None = None
        for i, page in enumerate(planes.pages):
            part = _meaning(page, _decode(page, planes))
            if volume is None:
                volume = np.empty((planes.count, *part.shape[1:]), part.dtype)
                if len(part) == planes.count:
                    volume = part
                    break
            if part.shape[1:] != volume.shape[1:] or part.dtype != volume.dtype:
                raise Unreadable(
                    f"has pages that differ: page 0 is of {volume.shape[1:]} {volume.dtype}, "
                    f"page {i} of {part.shape[1:]} {part.dtype}"
                )
            volume[i] = part[0]
    assert volume is not None
    array = volume[0] if planes.count == 1 else volume
    colour = volume.ndim == 4
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    return Image(array, channel_axis=-1 if colour else None)


def _decode(page: TiffPage, planes: Planes) -> NDArray:
    """Samples as stored, of shape (planes, H, W, samples)."""
    if planes.unlisted:
        handle = page.parent.filehandle
        assert page.dtype is not None
        handle.seek(page.dataoffsets[0])
        dtype = np.dtype(page.parent.byteorder + page.dtype.char)
        separate, _, *shape = page.shaped
        array = handle.read_array(dtype, planes.count * page.size).reshape(
            planes.count, separate, *shape
        )
        return np.moveaxis(array, 1, -1)[..., 0, :] if separate > 1 else array[:, 0]
    array = page.asarray(squeeze=False)  # separate samples, depth, rows, columns, samples
    return np.moveaxis(array, 0, -1)[..., 0, :] if len(array) > 1 else array[0]


def _require_defined(page: TiffPage) -> None:
    """Check that the page declares what its samples are, in a way that is read."""
    tags = page.tags
    photometric = tags.valueof(262)
    if photometric is None:
        raise Unreadable("does not declare what its values mean (no photometric interpretation)")
    if photometric not in _SAMPLES:
        named = _REFUSED.get(photometric, f"of the photometric interpretation {photometric}")
        raise Unreadable(f"is {named}")
    bits, formats = _all(page, 258, 1), _all(page, 339, _UNSIGNED)
    if len(bits) > 1 or len(formats) > 1:
        raise Unreadable(
            f"has samples that differ: bits {sorted(bits)}, sample formats {sorted(formats)}"
        )
    (form,), (depth,) = formats, bits
    if form not in (_UNSIGNED, _SIGNED, _FLOAT):
        raise Unreadable(f"holds {_FORMATS.get(form, f'samples of the format {form}')}")
    read = {
        _UNSIGNED: {1, 2, 4, *range(8, 33), 64},
        _SIGNED: {8, 16, 32, 64},
        _FLOAT: {16, 24, 32, 64},
    }[form]
    if depth not in read or page.dtype is None:
        kind = {_UNSIGNED: "unsigned", _SIGNED: "signed", _FLOAT: "floating point"}[form]
        raise Unreadable(f"has {kind} samples of {depth} bits, which are not read")
    if page.compression == _OLD_JPEG:
        raise Unreadable("is in the old JPEG compression of TIFF 6.0, which is not well defined")
    if page.compression == _APERIO_YCBCR:
        raise Unreadable("is in Aperio's JPEG 2000 of YCbCr (33003), which is not read")
    _require_samples(page)


def _require_samples(page: TiffPage) -> None:
    """Check that samples beyond those of the photometric interpretation are one alpha channel."""
    from tifffile import PHOTOMETRIC

    count, usual = page.samplesperpixel, _SAMPLES[page.photometric]
    name = PHOTOMETRIC(page.photometric).name
    extra = tuple(page.extrasamples)
    if count < usual:
        raise Unreadable(f"has {count} samples a pixel, {name} has {usual}")
    if count > usual and (count - usual > 1 or len(extra) != 1 or extra[0] not in (1, 2)):
        raise Unreadable(
            f"has {count} samples a pixel, {count - usual} of them beyond {name} "
            f"and not declared as one alpha channel: bands that are neither grey nor RGB"
        )


def _meaning(page: TiffPage, samples: NDArray) -> NDArray:
    """From samples of shape (planes, H, W, samples) to (planes, H, W) or (planes, H, W, 3)."""
    photometric = page.photometric
    if samples.shape[-1] > _SAMPLES[photometric]:
        samples = drop_alpha(samples)
    if samples.dtype == np.float16:
        samples = samples.astype(np.float32)
    convert = {_PALETTE: _colours, _CMYK: _inks, _YCBCR: _luma_and_chroma}.get(photometric, _levels)
    array = convert(page, samples)
    if array.shape[-1] == 1 and photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO):
        array = array[..., 0]
    return orient(array, page.tags.valueof(274, 1), rows=1)


def _levels(page: TiffPage, samples: NDArray) -> NDArray:
    bits = page.bitspersample
    if page.photometric == _WHITE_IS_ZERO:
        if _all(page, 339, _UNSIGNED) != {_UNSIGNED}:
            raise Unreadable(f"is white at zero in {samples.dtype}, where no value means black")
        samples = samples ^ True if samples.dtype == bool else 2**bits - 1 - samples
    return scale_levels(samples, bits) if bits < 8 else samples


def _colours(page: TiffPage, samples: NDArray) -> NDArray:
    palette = page.colormap
    if palette is None or samples.dtype.kind not in "bu" or page.bitspersample > 16:
        raise Unreadable(f"has a palette for samples of {samples.dtype}, or none")
    return look_up(samples[..., 0], narrow_palette(palette.T))


def _inks(page: TiffPage, samples: NDArray) -> NDArray:
    tags = page.tags
    if tags.valueof(332, 1) != 1 or tags.valueof(334, 4) != 4:
        raise Unreadable("has inks other than cyan, magenta, yellow and black")
    full = 2**page.bitspersample - 1
    if samples.dtype not in (np.uint8, np.uint16) or page.bitspersample not in (8, 16):
        raise Unreadable(f"is CMYK of {page.bitspersample} bits; 8 and 16 are read")
    if tuple(tags.valueof(336, (0, full)))[:2] != (0, full):
        raise Unreadable(f"is CMYK with the dot range {tags.valueof(336)}; 0 to {full} is read")
    return rgb_from_cmyk(samples)


def _luma_and_chroma(page: TiffPage, samples: NDArray) -> NDArray:
    if samples.dtype != np.uint8:
        raise Unreadable(f"is YCbCr of {samples.dtype}; uint8 is read")
    joined = page.planarconfig == 1 and not page.extrasamples
    if page.compression == _JPEG and joined:
        return samples  # the decoder has brought them to RGB
    if page.compression not in _EXACT:
        raise Unreadable(f"is YCbCr in the compression {int(page.compression)}, which is not read")
    red, green, blue = _numbers(page, 529, (0.299, 0.587, 0.114))
    reference = _numbers(page, 532, (0, 255, 128, 255, 128, 255))
    return rgb_from_ycbcr(samples, (red, green, blue), reference)


def _numbers(page: TiffPage, tag: int, default: tuple[float, ...]) -> tuple[float, ...]:
    """Numbers of a tag that may hold fractions."""
    value = page.tags.valueof(tag)
    if value is None:
        return default
    if len(value) == 2 * len(default):
        return tuple(a / b for a, b in zip(value[::2], value[1::2], strict=True))
    return tuple(value)


def _all(page: TiffPage, tag: int, default: int) -> set[int]:
    """Values of a tag that holds one a sample."""
    value = page.tags.valueof(tag, default)
    return {int(v) for v in value} if isinstance(value, tuple) else {int(value)}


TIFF = Reader("TIFF", (".tif", ".tiff"), _matches, _read)
