"""Readers of file formats, one a format, and the table in which they are found."""

from __future__ import annotations

from pathlib import Path

import PIL.Image

from synthmed.io.image import Unreadable
from synthmed.io.readers.base import Reader
from synthmed.io.readers.bmp import BMP
from synthmed.io.readers.dicom import DICOM
from synthmed.io.readers.jpeg import JPEG
from synthmed.io.readers.nifti import NIFTI
from synthmed.io.readers.png import PNG
from synthmed.io.readers.tiff import TIFF

__all__ = ["READERS", "Reader", "add_reader", "find_reader", "suffixes"]

# DICOM's first 128 bytes may be those of any other format, most often of TIFF: it comes first.
READERS: list[Reader] = [DICOM, PNG, JPEG, TIFF, BMP, NIFTI]
"""The table: the first reader that matches a file reads it."""

_HEAD = 512  # DICOM's mark ends at byte 132, NIfTI's at 348


def add_reader(reader: Reader) -> None:
    r"""Put a reader at the head of the table, so that its format is found and read like any other.

    Parameters
    ----------
    reader : Reader
        Its functions at the top level of a module, so that worker processes find them, too.

    Raises
    ------
    TypeError
        If it is no `Reader`.
    ValueError
        If a suffix is not in lower case with a leading dot.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from synthmed.io import Image, Reader, add_reader, read_image
    >>> def is_npy(head, name):
    ...     return head.startswith(b"\x93NUMPY")
    >>> def read_npy(path):
    ...     return Image(np.load(path, allow_pickle=False))
    >>> npy = Reader("NumPy", (".npy",), is_npy, read_npy)
    >>> add_reader(npy)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(Path(folder) / "volume.npy", np.zeros((4, 5, 6)))
    ...     read_image(Path(folder) / "volume.npy").array.shape
    (4, 5, 6)
    >>> READERS.remove(npy)
    """
    if not isinstance(reader, Reader):
        raise TypeError(f"reader must be a Reader, got {type(reader).__name__}")
    for suffix in reader.suffixes:
        if not suffix.startswith(".") or suffix != suffix.lower():
            raise ValueError(f"suffixes must be in lower case with a leading dot, got {suffix!r}")
    READERS.insert(0, reader)


def suffixes() -> tuple[str, ...]:
    """Every suffix in the table, in its order.

    Examples
    --------
    >>> from synthmed.io import suffixes
    >>> suffixes()
    ('.dcm', '.png', '.jpg', '.jpeg', '.tif', '.tiff', '.bmp', '.nii', '.nii.gz')
    """
    return tuple(suffix for reader in READERS for suffix in reader.suffixes)


def find_reader(path: Path) -> Reader:
    """Return the reader of a file.

    Raises
    ------
    OSError
        If the file cannot be opened.
    Unreadable
        If it is empty or of a format that is not in the table; the message does not name it.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    for reader in READERS:
        if reader.matches(head, path.name.lower()):
            return reader
    known = ", ".join(reader.name for reader in READERS)
    if not head:
        raise Unreadable("the file is empty")
    try:
        with PIL.Image.open(path) as image:
            frames = getattr(image, "n_frames", 1)
            kind = f"animated {image.format} of {frames} frames" if frames > 1 else image.format
    except Exception:  # whatever Pillow raises for what it cannot open
        raise Unreadable(f"not an image in a format that is read ({known})") from None
    raise Unreadable(f"is {kind}; what is read is {known}")
