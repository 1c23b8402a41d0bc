"""What the data elements of a DICOM file say about each of its planes, before any pixel is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from synthmed.io.image import Unreadable
from synthmed.io.readers.dicom_elements import (
    declared,
    has_pixels,
    hiding_content,
    modality_of,
    numbers,
    whole,
)
from synthmed.io.readers.linear import Linear

if TYPE_CHECKING:
    from pydicom import Dataset

_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_OTHERS = ("YBR_PARTIAL_422", "YBR_PARTIAL_420", "HSV", "ARGB", "CMYK")
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")


@dataclass(frozen=True, eq=False)
class Plane:
    """One plane of a file.

    Attributes
    ----------
    path : Path
    index : int
        The number of its frame, from 0.
    shape : (int, int)
        Rows and columns.
    photometric : {"grey", "inverted", "palette", "colour"}
        White at the top of the values, white at their bottom, colours of a table, or RGB.
    bits : int
        Of a sample: 1 to 64.
    line : Linear or None
        From stored values, or those of the modality table, to modality values; None for colour, and
        for floating point without a scale.
    window : (float, float) or None
        The values between which the file asks to be shown.
    position : ndarray of float64, shape (3,), or None
        Of the first pixel, in millimetres of the patient's left, posterior, superior.
    orientation : ndarray of float64, shape (2, 3), or None
        Directions in which column index and row index grow.
    spacing : (float, float) or None
        Of rows and of columns, in millimetres.
    thickness : float or None
        In millimetres.
    """

    path: Path
    index: int
    shape: tuple[int, int]
    photometric: Literal["grey", "inverted", "palette", "colour"]
    bits: int
    line: Linear | None
    window: tuple[float, float] | None
    position: NDArray[np.float64] | None
    orientation: NDArray[np.float64] | None
    spacing: tuple[float, float] | None
    thickness: float | None

    @property
    def is_placed(self) -> bool:
        """Whether it says where in the patient it lies."""
        return self.position is not None and self.orientation is not None


def planes_of(dataset: Dataset, path: Path) -> list[Plane]:
    """Return the planes of a file, in the order of its frames.

    Raises
    ------
    Unreadable
        If it holds no image, or one of a meaning that is not defined.
    """
    with hiding_content():
        return _planes_of(dataset, path)


def _planes_of(dataset: Dataset, path: Path) -> list[Plane]:
    if not has_pixels(dataset):
        raise Unreadable(f"holds no image (DICOM, {modality_of(dataset) or 'without a modality'})")
    shape = (whole(dataset, "Rows"), whole(dataset, "Columns"))
    photometric = _photometric(dataset)
    count = whole(dataset, "NumberOfFrames", 1)
    if min(*shape, count) < 1:
        raise Unreadable(f"has no pixels: {count} frames of {shape[0]} x {shape[1]}")
    is_grey = photometric in ("grey", "inverted")
    offsets = _offsets(dataset, count)
    bits = _bits(dataset)
    planes = []
    for i in range(count):
        position = numbers(dataset, i, "ImagePositionPatient", 3)
        orientation = _orientation(dataset, i)
        if "PerFrameFunctionalGroupsSequence" not in dataset and count > 1:
            if offsets is None or position is None or orientation is None:
                position = None  # that of the first frame, or of all together
            else:
                position = position + offsets[i] * np.cross(*orientation)
        thickness = numbers(dataset, i, "SliceThickness", 1)
        planes.append(
            Plane(
                path=path,
                index=i,
                shape=shape,
                photometric=photometric,
                bits=bits,
                line=_line(dataset, i, bits) if is_grey else None,
                window=_window(dataset, i) if is_grey else None,
                position=position,
                orientation=orientation,
                spacing=_spacing(dataset, i),
                thickness=None if thickness is None or thickness[0] <= 0 else float(thickness[0]),
            )
        )
    return planes


def _photometric(dataset: Dataset) -> Literal["grey", "inverted", "palette", "colour"]:
    declared = str(dataset.get("PhotometricInterpretation", "")).strip()
    samples = whole(dataset, "SamplesPerPixel", 1)
    expected = 3 if declared in _COLOUR else 1
    if declared not in (*_GREY, *_COLOUR, "PALETTE COLOR"):
        known = ", ".join((*_GREY, "PALETTE COLOR", *_COLOUR))
        named = declared if declared in _OTHERS else "that is not defined"
        raise Unreadable(f"has a photometric interpretation {named}; read are {known}")
    if samples != expected:
        raise Unreadable(f"has {samples} samples a pixel, {declared} has {expected}")
    if declared in _COLOUR:
        return "colour"
    if declared == "PALETTE COLOR":
        return "palette"
    return "inverted" if declared == "MONOCHROME1" else "grey"


def _bits(dataset: Dataset) -> int:
    allocated = whole(dataset, "BitsAllocated")
    stored = whole(dataset, "BitsStored", allocated)
    high = whole(dataset, "HighBit", stored - 1)
    if not 0 < stored <= allocated or not stored <= high + 1 <= allocated:
        raise Unreadable(
            f"declares {stored} bits up to the bit {high} of {allocated}, which is not possible"
        )
    return stored


def _line(dataset: Dataset, frame: int, bits: int) -> Linear | None:
    """From stored values, or those of the modality table, to modality values."""
    slope = numbers(dataset, frame, "RescaleSlope", 1)
    intercept = numbers(dataset, frame, "RescaleIntercept", 1)
    scale = 1.0 if slope is None else float(slope[0])
    if dataset.get("Modality") == "RTDOSE" and "DoseGridScaling" in dataset:
        scaling = numbers(dataset, frame, "DoseGridScaling", 1)
        scale *= 1.0 if scaling is None else float(scaling[0])
    if scale == 0:
        raise Unreadable("is damaged: its rescale slope is 0")
    offset = 0.0 if intercept is None else float(intercept[0])
    table = dataset.get("ModalityLUTSequence")
    if table:
        depth = numbers(table[0], 0, "LUTDescriptor", 3)
        if depth is None or depth[2] not in (8, 16):
            raise Unreadable("has a modality table of neither 8 nor 16 bits")
        return Linear(1.0, 0.0, (0, 2 ** int(depth[2]) - 1))
    if "PixelRepresentation" not in dataset:  # floating point
        return None if (scale, offset) == (1, 0) else Linear(scale, offset, None)
    if whole(dataset, "PixelRepresentation") == 1:
        return Linear(scale, offset, (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
    return Linear(scale, offset, (0, 2**bits - 1))


def _window(dataset: Dataset, frame: int) -> tuple[float, float] | None:
    """Ends of the first window (PS3.3, C.11.2.1.2); none of a sigmoid, which has no ends."""
    centre = numbers(dataset, frame, "WindowCenter")
    width = numbers(dataset, frame, "WindowWidth")
    if centre is None or width is None:
        return None
    function = declared(dataset, frame, "VOILUTFunction") or "LINEAR"
    if function == "LINEAR":
        half, middle = (float(width[0]) - 1) / 2, float(centre[0]) - 0.5
    elif function == "LINEAR_EXACT":
        half, middle = float(width[0]) / 2, float(centre[0])
    else:
        return None
    return (middle - half, middle + half) if half > 0 else None


def _orientation(dataset: Dataset, frame: int) -> NDArray[np.float64] | None:
    cosines = numbers(dataset, frame, "ImageOrientationPatient", 6)
    if cosines is None:
        return None
    cosines = cosines.reshape(2, 3)
    if not np.allclose(cosines @ cosines.T, np.eye(2), atol=1e-3):
        raise Unreadable("is damaged: its image orientation is not two directions at right angles")
    return cosines


def _spacing(dataset: Dataset, frame: int) -> tuple[float, float] | None:
    for name in _SPACINGS:
        spacing = numbers(dataset, frame, name, 2)
        if spacing is not None:
            if min(spacing) <= 0:
                raise Unreadable(f"is damaged: its {name} is not positive")
            return float(spacing[0]), float(spacing[1])
    return None


def _offsets(dataset: Dataset, count: int) -> NDArray[np.float64] | None:
    """Along the normal, of the planes of a dose (PS3.3, C.8.8.3.2)."""
    offsets = numbers(dataset, 0, "GridFrameOffsetVector")
    if offsets is None or count == 1:
        return None
    if len(offsets) != count:
        raise Unreadable(f"is damaged: it has {count} frames and {len(offsets)} offsets of frames")
    if offsets[0] != 0:
        raise Unreadable("has offsets of frames that do not begin at its position")
    return offsets
