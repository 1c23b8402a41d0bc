"""DICOM: planes of one file or of a series, in modality values."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from synthmed.io.image import Image, Unreadable
from synthmed.io.readers.base import Reader
from synthmed.io.readers.dicom_elements import load
from synthmed.io.readers.dicom_geometry import order_planes, plane_affine
from synthmed.io.readers.dicom_pixels import decode
from synthmed.io.readers.dicom_planes import Plane, planes_of
from synthmed.io.readers.linear import Linear, apply_linear, common_dtype

_MARK = b"DICM"
_FIRST_GROUPS = (b"\2\0", b"\0\2", b"\x08\0", b"\0\x08")  # of what lacks the mark


def _matches(head: bytes, name: str) -> bool:
    return head[128:132] == _MARK or (name.endswith(".dcm") and head[:2] in _FIRST_GROUPS)


def _read(path: Path) -> Image:
    return _read_frame(path, None)


def _read_frame(path: Path, frame: int | None) -> Image:
    planes = planes_of(load(path, pixels=False), path)
    if frame is not None:
        if not 0 <= frame < len(planes):
            raise Unreadable(f"has the frames 0 to {len(planes) - 1}; there is no frame {frame}")
        planes = planes[frame : frame + 1]
    if len(planes) > 1 and not all(plane.is_placed for plane in planes):
        raise Unreadable(
            f"holds {len(planes)} frames that do not say where they lie and are no volume; "
            f"choose one by its frame, 0 to {len(planes) - 1}"
        )
    return read_planes(planes, lambda plane: f"frame {plane.index}")


def read_planes(planes: Sequence[Plane], name: Callable[[Plane], str]) -> Image:
    """Read an image of one plane, or a volume of several.

    Parameters
    ----------
    planes : sequence of Plane
        In any order; those of one file follow each other.
    name : callable
        What a plane is called in a message.

    Returns
    -------
    Image
        Slices in ascending order along their normal, (D, H, W); of one plane (H, W).

    Raises
    ------
    Unreadable
        If the planes are no volume, or one of them cannot be decoded.
    """
    ordered, affine = list(planes), plane_affine(planes[0])
    spacing: tuple[float, ...] | None = planes[0].spacing
    if len(planes) > 1:
        ordered, spacing, affine = order_planes(planes, name)
    window = _common_window(ordered)
    lines = [_upright_line(plane, window) for plane in ordered]
    stored = decode(ordered)
    first = next(stored)
    volume = np.empty((len(ordered), *first.shape), _dtype(lines, first.dtype))
    for i, (values, line) in enumerate(zip(itertools.chain([first], stored), lines, strict=True)):
        if line is not None:
            apply_linear(values, line, volume[i])
        elif (values.shape, values.dtype) != (volume.shape[1:], volume.dtype):
            raise Unreadable(
                f"mixed values: {name(ordered[0])} has {volume.dtype}, {name(ordered[i])} "
                f"{values.dtype}"
            )
        else:
            volume[i] = values
    return Image(
        volume if len(ordered) > 1 else volume[0],
        channel_axis=-1 if planes[0].photometric in ("colour", "palette") else None,
        spacing=spacing,
        value_range=window,
        affine=affine,
    )


def _common_window(planes: Sequence[Plane]) -> tuple[float, float] | None:
    """From the lowest to the highest end: slices of MR have windows of their own."""
    windows = [plane.window for plane in planes if plane.window is not None]
    if not windows:
        return None
    return min(low for low, _ in windows), max(high for _, high in windows)


def _upright_line(plane: Plane, window: tuple[float, float] | None) -> Linear | None:
    """The line of a plane; white at the bottom is turned within the window or what is declared."""
    line = plane.line
    if plane.photometric != "inverted":
        return line
    if window is None and (line is None or line.stored is None):
        raise Unreadable("is MONOCHROME1 in floating point, and has no window to be turned in")
    line = line or Linear(1.0, 0.0, None)
    low, high = window or line.range
    both = Fraction(low) + Fraction(high)
    return Linear(-line.slope, float(both - Fraction(line.intercept)), line.stored)


def _dtype(lines: Sequence[Linear | None], decoded: np.dtype) -> np.dtype:
    known = [line for line in lines if line is not None]
    if len(known) not in (0, len(lines)):
        raise Unreadable("mixed values: of some slices the scale is declared, of others it is not")
    if not known:
        return decoded.newbyteorder("=")
    return common_dtype(known)


DICOM = Reader("DICOM", (".dcm",), _matches, _read, read_frame=_read_frame)
