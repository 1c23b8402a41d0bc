"""Which pages of a TIFF file are the image, and whether all of them are there."""

from __future__ import annotations

import math
import struct
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synthmed.io.image import Unreadable
from synthmed.io.readers.limits import require_room

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffFormat, TiffPage, TiffPageSeries

_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_LAST_STANDARD = 700  # tags above are of vendors and metadata
_TYPES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_TYPES |= {16: 8, 17: 8, 18: 8}
_PLAIN = ("generic", "uniform")  # files in which nothing but the pages says what belongs together
_SLIDE = "Baseline"  # by this name go the pixels of a slide scanner's file beside its overviews
_PLANES = "ZIQ"  # axes along which a volume may be stacked: depth, or pages without a name
_NAMES = {"C": "channels", "T": "time points", "R": "tiles", "H": "lifetimes", "A": "angles"}


@dataclass(frozen=True)
class Planes:
    """The pages that are an image or a volume.

    Attributes
    ----------
    pages : list of TiffPage
    count : int
        Planes of the volume; 1 for an image.
    unlisted : bool
        Whether the planes follow each other behind the first page's, without pages of their own.
    """

    pages: list[TiffPage]
    count: int
    unlisted: bool = False


def find_planes(file: TiffFile) -> Planes:
    """Return the pages that are the image; levels of lower resolution and masks are left out.

    Raises
    ------
    Unreadable
        If the file is truncated, or holds several images that are not one volume.
    """
    _require_pages(file)
    series = list(file.series)
    if not series:
        raise Unreadable("holds no image")
    if series[0].kind in _PLAIN:
        pages = [page.aspage() for page in file.pages]
        pages = [page for page in pages if _is_picture(page)] or pages[:1]
        _require_equal(pages)
        found = Planes(pages, sum(page.imagedepth for page in pages))
    else:
        found = _of_series(_only(series))
    return found


def require_whole(file: TiffFile, planes: Planes) -> None:
    """Check that the data of all planes lie in the file, and that there is room to decode them.

    Raises
    ------
    Unreadable
        If the file is truncated, or its header asks for more than is possible.
    """
    size = file.filehandle.size
    first = planes.pages[0]
    assert first.dtype is not None
    decoded = sum(page.nbytes for page in planes.pages)
    for page in planes.pages:
        _require_data(page, size)
    if planes.unlisted:
        decoded = planes.count * first.nbytes
        if first.dataoffsets[0] + decoded > size:
            raise Unreadable(
                f"is truncated: it declares {planes.count} planes of {first.nbytes} bytes, and has "
                f"{size} bytes in all"
            )
    segment = math.prod(first.chunks) * first.dtype.itemsize  # a tile may be larger than the image
    shape = (planes.count, first.imagelength, first.imagewidth, first.samplesperpixel)
    require_room(shape, max(decoded, segment), size)


def _is_picture(page: TiffPage) -> bool:
    declared = int(page.tags.valueof(254, 0))
    old = page.tags.valueof(255, 1)  # 2 is of lower resolution
    return not declared & (_REDUCED | _MASK) and old != 2


def _require_equal(pages: list[TiffPage]) -> None:
    kinds = Counter(f"{' x '.join(map(str, page.shape))} {page.dtype}" for page in pages)
    if len(kinds) > 1:
        named = ", ".join(f"{count} of {kind}" for kind, count in kinds.items())
        raise Unreadable(
            f"has pages that differ: {named}; an image or a volume of equal pages is expected"
        )
    if len(pages) > 1 and pages[0].imagedepth > 1:
        raise Unreadable(f"holds {len(pages)} volumes; one is expected")


def _only(series: list[TiffPageSeries]) -> TiffPageSeries:
    """The series that is not of lower resolution, a label or an overview."""
    pictures = [s for s in series if _is_picture(s.keyframe.aspage())] or series[:1]
    slides = [s for s in series if s.name == _SLIDE]
    if len(slides) == 1:
        return slides[0]
    if len(pictures) > 1:
        named = ", ".join(
            f"{s.name or i}: {' x '.join(map(str, s.shape))} {s.dtype}"
            for i, s in enumerate(pictures)
        )
        raise Unreadable(f"holds {len(pictures)} series ({named}); one is expected")
    return pictures[0]


def _of_series(series: TiffPageSeries) -> Planes:
    """The planes of a series whose axes the file declares (OME, ImageJ, ...)."""
    lengths = [
        (axis, length)
        for axis, length in zip(series.axes, series.shape, strict=True)
        if axis != "S" and (length > 1 or axis in "YX")
    ]
    axes = "".join(axis for axis, _ in lengths)
    if not axes.endswith("YX") or len(axes) > 3 or not set(axes[:-2]) <= set(_PLANES):
        named = ", ".join(
            f"{length} {_NAMES.get(axis, axis)}" for axis, length in lengths if axis in _NAMES
        )
        raise Unreadable(
            f"has axes {series.axes} of shape {series.shape}{named and f' ({named})'}; an image or "
            f"one volume is expected"
        )
    if series.is_multifile:
        raise Unreadable("is one file of several that make up an image; join them in one")
    count = math.prod(length for _, length in lengths[:-2])
    if any(page is None for page in series.pages):
        missing = sum(page is None for page in series.pages)
        raise Unreadable(f"is truncated: {missing} of the {count} planes that it declares are gone")
    pages = [page.aspage() for page in series.pages if page is not None]
    if len(pages) == 1 and count > pages[0].imagedepth and series.dataoffset is not None:
        return Planes(pages, count, unlisted=True)
    held = sum(page.imagedepth for page in pages)
    if held != count:
        raise Unreadable(f"is truncated: it declares {count} planes and holds {held}")
    _require_equal(pages)
    return Planes(pages, count)


def _require_pages(file: TiffFile) -> None:
    """Check that the chain of pages ends where it says so; tifffile reads what it reaches."""
    form = file.tiff
    if form.is_ndpi:  # its offsets have bits elsewhere
        return
    handle = file.filehandle
    link = 8 if form.offsetsize == 8 else 4
    seen: set[int] = set()
    while True:
        handle.seek(link)
        (offset,) = struct.unpack(form.offsetformat, handle.read(form.offsetsize))
        if offset == 0:
            return
        if offset in seen:
            raise Unreadable(f"is damaged: page {len(seen)} points back to an earlier one")
        if offset + form.tagnosize <= handle.size:
            handle.seek(offset)
            (tags,) = struct.unpack(form.tagnoformat, handle.read(form.tagnosize))
            table = handle.read(tags * form.tagsize)
            link = offset + form.tagnosize + tags * form.tagsize
            _require_values(table, form, handle.size)
        if link + form.offsetsize > handle.size or offset + form.tagnosize > handle.size:
            raise Unreadable(
                f"cannot be decoded: it is truncated, page {len(seen)} begins at byte {offset} of "
                f"{handle.size}"
            )
        seen.add(offset)


def _require_values(table: bytes, form: TiffFormat, size: int) -> None:
    """Check that the values of tags lie in the file: else tifffile takes the tags as absent."""
    entry = form.byteorder + ("HHQ8s" if form.offsetsize == 8 else "HHI4s")
    whole = len(table) - len(table) % form.tagsize
    for tag, kind, count, value in struct.iter_unpack(entry, table[:whole]):
        length = count * _TYPES.get(kind, 0)
        if tag > _LAST_STANDARD or length <= len(value):
            continue
        (offset,) = struct.unpack(form.byteorder + ("Q" if len(value) == 8 else "I"), value)
        if offset + length > size:
            raise Unreadable(
                f"cannot be decoded: it is truncated, the tag {tag} ends at byte {offset + length} "
                f"of {size}"
            )


def _require_data(page: TiffPage, size: int) -> None:
    """Check that every strip or tile of a page lies in the file."""
    offsets, counts = page.dataoffsets, page.databytecounts
    needed = math.prod(page.chunked)
    if page.is_contiguous:  # tifffile has joined the strips, and reads on whatever they hold
        tiled = 324 in page.tags
        declared = _numbers(page.tags.valueof(325 if tiled else 279, page.nbytes))
        parts = len(_numbers(page.tags.valueof(324 if tiled else 273)))
        if sum(declared) < page.nbytes:
            raise Unreadable(
                f"is damaged: page {page.index} has {sum(declared)} bytes of data, {page.nbytes} "
                f"are needed"
            )
        counts = (page.nbytes,)
    else:
        parts = min(len(offsets), len(counts))
    if parts != needed and page.jpegheader is None:
        raise Unreadable(f"is damaged: page {page.index} has {parts} strips or tiles of {needed}")
    for offset, count in zip(offsets, counts, strict=False):
        if offset == 0 or count == 0:
            raise Unreadable(f"is damaged: page {page.index} has a strip or tile without data")
        if offset + count > size:
            raise Unreadable(
                f"cannot be decoded: it is truncated, page {page.index} has data up to byte "
                f"{offset + count} of {size}"
            )


def _numbers(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)
