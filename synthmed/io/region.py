"""Regions of interest in files: found by the name of their image, turned with it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from synthmed.io.find import find_image
from synthmed.io.image import Image, Unreadable
from synthmed.io.read import MaskLevel, read_mask
from synthmed.io.readers import suffixes

_ORIENTATION = 0x0112  # the tag, of EXIF and TIFF alike

# From the stored frame to the upright one, by the value of the orientation tag (TIFF 6.0, EXIF).
_TURNS: dict[int | None, Callable[[NDArray[np.bool_]], NDArray[np.bool_]]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].T,
    8: lambda a: np.rot90(a, 1),
}


def find_region(folder: Path | str, name: str) -> Path | None:
    """Return the file in a folder of regions that belongs to an image; None if there is none.

    Parameters
    ----------
    folder : path-like
    name : str
        The image's name, with its suffix, which is left out; it may begin with names of folders.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from synthmed.io import find_region
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     (Path(folder) / "scan.1.PNG").touch()
    ...     find_region(folder, "scan.1.tif").name
    'scan.1.PNG'
    """
    ends = [suffix for suffix in suffixes() if name.lower().endswith(suffix)]
    end = max(ends, key=len, default=Path(name).suffix)
    return find_image(Path(folder), name[: len(name) - len(end)])


def read_region(
    path: Path | str, image: Image, image_path: Path | str, *, level: MaskLevel = None
) -> NDArray[np.bool_]:
    """Read the region of interest of an image that was read from a file.

    Parameters
    ----------
    path : path-like
        The region: a mask as `read_mask` reads it. Without an orientation tag of its own it has the
        frame in which the image is stored, and is turned with it.
    image : Image
        As it was read, before any resizing.
    image_path : path-like
        Its file, whose orientation tag counts.
    level : int, sequence of int, "any" or None
        Which levels are inside; see `read_mask`.

    Returns
    -------
    ndarray of bool, of the image's spatial shape

    Raises
    ------
    Unreadable
        (a ValueError) If it cannot be read, has another shape than the image, or is empty.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from synthmed.io import Image, encode, read_image, read_region
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     scan, region = Path(folder) / "scan.png", Path(folder) / "region.png"
    ...     _ = scan.write_bytes(encode(Image(np.zeros((4, 6), np.uint8)), ".png"))
    ...     _ = region.write_bytes(encode(Image(np.eye(4, 6, dtype=np.uint8)), ".png"))
    ...     int(read_region(region, read_image(scan), scan).sum())
    4
    """
    roi = read_mask(path, level=level)
    turn = _orientation(Path(image_path))
    if turn in _TURNS and roi.ndim == 2 and _orientation(Path(path)) is None:
        roi = _TURNS[turn](roi)
    if roi.shape != image.spatial_shape:
        raise Unreadable(
            f"{path}: the region of interest has shape {roi.shape}, its image "
            f"{image.spatial_shape}; it must be drawn on the image as it is stored"
        )
    if not roi.any():
        raise Unreadable(f"{path}: the region of interest is empty")
    return roi


def _orientation(path: Path) -> int | None:
    """The value of a file's orientation tag; None if it has none."""
    if path.is_dir():  # a series
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the reader speaks of what is wrong
            with PIL.Image.open(path) as image:
                return image.getexif().get(_ORIENTATION)
    except PIL.UnidentifiedImageError:
        return None
    except PIL.Image.DecompressionBombError:
        raise Unreadable(f"{path}: is too large for its orientation to be looked up") from None
