"""Data elements of DICOM files: read, looked up, and brought to numbers."""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from synthmed.io.image import Unreadable
from synthmed.io.readers.medical import needing_medical

if TYPE_CHECKING:
    from pydicom import Dataset, FileDataset

# The sequence that holds an element in a file that describes its frames one by one.
_SEQUENCES = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "WindowCenter": "FrameVOILUTSequence",
    "WindowWidth": "FrameVOILUTSequence",
    "VOILUTFunction": "FrameVOILUTSequence",
}


@contextlib.contextmanager
def hiding_content() -> Iterator[None]:
    """Say of an error of pydicom's only its kind: its words may hold a name, a date, or an ID.

    Raises
    ------
    Unreadable
        In place of whatever else is raised.
    """
    try:
        yield
    except (Unreadable, OSError, ImportError, MemoryError):
        raise
    except Exception as error:
        raise Unreadable(
            f"cannot be decoded: its data elements are damaged ({type(error).__name__})"
        ) from None


def load(path: Path, *, pixels: bool = True) -> FileDataset:
    """Read the data elements of a file.

    Raises
    ------
    MissingExtra
        If pydicom is not installed.
    Unreadable
        If it is no DICOM, or damaged. No message repeats the content of an element.
    """
    with needing_medical():
        import pydicom
    with hiding_content():
        try:
            dataset = pydicom.dcmread(path, stop_before_pixels=not pixels)
        except pydicom.errors.InvalidDicomError:
            raise Unreadable(
                "has no mark of DICOM, so that its transfer syntax is not known"
            ) from None
        if "TransferSyntaxUID" not in dataset.file_meta:
            raise Unreadable("does not declare its transfer syntax")
    return dataset


def series_key(dataset: Dataset) -> str:
    """Twelve hexadecimal digits that stand for the series: of the hash of its UID."""
    return hashlib.sha256(str(dataset.get("SeriesInstanceUID", "")).encode()).hexdigest()[:12]


def modality_of(dataset: Dataset) -> str:
    """Return the modality; empty where it is not declared, or is no code (in a damaged file)."""
    code = str(dataset.get("Modality") or "")
    return code if re.fullmatch("[A-Z]{2,9}", code) else ""


def has_pixels(dataset: Dataset) -> bool:
    """Whether the data elements describe an image."""
    return all(name in dataset for name in ("Rows", "Columns", "BitsAllocated"))


def declared(dataset: Dataset, frame: int, name: str) -> Any:
    """The value of an element: for the frame, for all frames, or for the file."""
    sequence = _SEQUENCES.get(name)
    if sequence is not None:
        groups = dataset.get("PerFrameFunctionalGroupsSequence")
        if groups and frame >= len(groups):
            raise Unreadable(f"is damaged: it describes {len(groups)} frames and declares more")
        of_frame = groups[frame] if groups else None
        of_all = next(iter(dataset.get("SharedFunctionalGroupsSequence") or ()), None)
        for group in (of_frame, of_all):
            items = group.get(sequence) if group is not None else None
            if items and items[0].get(name) is not None:
                return items[0].get(name)
    return dataset.get(name)


def numbers(
    dataset: Dataset, frame: int, name: str, count: int | None = None
) -> NDArray[np.float64] | None:
    """Numbers of an element; None where it is absent or empty."""
    value = declared(dataset, frame, name)
    if value is None or (isinstance(value, str | Sequence) and not len(value)):
        return None
    try:
        values = np.atleast_1d(np.array(value, np.float64))
    except (TypeError, ValueError):
        raise Unreadable(f"is damaged: its {name} is not a number") from None
    if not np.isfinite(values).all() or (count is not None and len(values) != count):
        raise Unreadable(f"is damaged: its {name} is not {count or 'some'} finite numbers")
    return values


def whole(dataset: Dataset, name: str, default: int | None = None) -> int:
    value = dataset.get(name)
    if (value is None or value == "") and default is not None:
        return default
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not number.is_integer():
        raise Unreadable(f"is damaged: its {name} is not a whole number")
    return int(number)
