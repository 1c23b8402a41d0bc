"""Masks and regions of interest of images: found by the name of their image, turned with it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from synthmed.io.find import find_image
from synthmed.io.image import Image, Unreadable
from synthmed.io.read import MaskLevel, read_mask_with_affine
from synthmed.io.readers import suffixes

_ORIENTATION = 0x0112  # the tag, of EXIF and TIFF alike

_OFF = 0.1  # voxels, of grids that are taken for the same: NIfTI's affines are single precision

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
    return find_image(Path(folder), stem_of(name))


def stem_of(name: str) -> str:
    """Return an image's name without the suffix of a format that is read; as it is without one.

    What follows another dot stays: series and their slices are often named by numbers with dots.

    Parameters
    ----------
    name : str

    Examples
    --------
    >>> from synthmed.io import stem_of
    >>> [stem_of(name) for name in ("brain/7.nii.gz", "scan.1.PNG", "IM.0001", "1.2.840.7")]
    ['brain/7', 'scan.1', 'IM.0001', '1.2.840.7']
    """
    ends = [suffix for suffix in suffixes() if name.lower().endswith(suffix)]
    return name[: len(name) - len(max(ends, key=len, default=""))]


def read_region(
    path: Path | str, image: Image, image_path: Path | str, *, level: MaskLevel = None
) -> NDArray[np.bool_]:
    """Read the region of interest of an image that was read from a file.

    Parameters
    ----------
    path, image, image_path, level
        As of `read_mask_of`.

    Returns
    -------
    ndarray of bool, of the image's spatial shape

    Raises
    ------
    Unreadable
        (a ValueError) As `read_mask_of`, and if it is empty.

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
    roi = read_mask_of(path, image, image_path, level=level)
    if not roi.any():
        raise Unreadable(f"{path}: the region of interest is empty")
    return roi


def read_mask_of(
    path: Path | str, image: Image, image_path: Path | str, *, level: MaskLevel = None
) -> NDArray[np.bool_]:
    """Read a mask in the frame of its image.

    Parameters
    ----------
    path : path-like
        The mask, as `read_mask` reads it. Without an orientation tag of its own it has the frame in
        which the image is stored, and is turned with it. Where it and the image are volumes with an
        affine, its axes are brought to the image's, as a NIfTI mask of a DICOM series needs.
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
        (a ValueError) If it cannot be read, has another shape than the image, or lies on another
        grid.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from synthmed.io import Image, encode, read_image, read_mask_of
    >>> scan = Image(np.zeros((3, 4, 5), np.uint8), affine=np.diag([1.0, 1.0, 1.0, 1.0]))
    >>> flipped = np.diag([-1.0, 1.0, 1.0, 1.0])
    >>> flipped[0, 3] = 2
    >>> first = np.zeros((3, 4, 5), np.uint8)
    >>> first[0] = 1
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     mask = Path(folder) / "mask.nii.gz"
    ...     _ = mask.write_bytes(encode(Image(first, affine=flipped), ".nii.gz"))
    ...     inside = read_mask_of(mask, scan, "scan.nii.gz")
    >>> inside.any(axis=(1, 2)).tolist()
    [False, False, True]
    """
    mask, affine = read_mask_with_affine(Path(path), level)
    if mask.ndim == 3 and affine is not None and image.affine is not None:
        mask = _brought_to(mask, affine, image, path)
    turn = _orientation(Path(image_path)) if mask.ndim == 2 else None
    if turn in _TURNS and _orientation(Path(path)) is None:
        mask = _TURNS[turn](mask)
    if mask.shape != image.spatial_shape:
        raise Unreadable(
            f"{path}: the mask has shape {mask.shape}, its image {image.spatial_shape}; it must be "
            f"drawn on the image as it is stored"
        )
    return mask


def _brought_to(
    mask: NDArray[np.bool_], affine: NDArray[np.float64], image: Image, path: Path | str
) -> NDArray[np.bool_]:
    """A volume's mask with its axes in the image's order and direction, by both affines."""
    assert image.affine is not None
    shape = image.spatial_shape
    to_image = np.linalg.solve(image.affine, affine)
    steps = np.rint(to_image[:3, :3])
    order = np.abs(steps).argmax(axis=1)
    one_to_one = np.array_equal(np.abs(steps), np.eye(3)[order]) and len(set(order.tolist())) == 3
    if not one_to_one or tuple(mask.shape[axis] for axis in order) != shape:
        raise Unreadable(
            f"{path}: lies on another grid than its image (shape {mask.shape} on {shape}, by their "
            f"affines); resample it to the image's"
        )
    signs = steps[np.arange(3), order]
    # Where the first voxel must lie so that one grid covers the other.
    first = np.where(signs > 0, 0.0, np.array(shape) - 1.0)
    expected = np.column_stack([steps, first])
    corners = np.array([[x, y, z, 1.0] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
    corners[:, :3] *= np.array(mask.shape) - 1
    off = np.abs(corners @ (to_image[:3] - expected).T).max()
    if off > _OFF:
        raise Unreadable(
            f"{path}: lies on another grid than its image, up to {off:.3g} voxels off by their "
            f"affines; resample it to the image's"
        )
    return mask.transpose(order)[tuple(slice(None, None, int(sign)) for sign in signs)]


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
