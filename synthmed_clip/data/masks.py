"""Masks of labelled images and volumes, at the size at which maps are compared with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synthmed import io
from synthmed.io import MaskLevel
from synthmed_clip.data.layouts import Item
from synthmed_clip.data.slices import Axis, read_volume


def read_mask(path: Path | None, size: int, level: MaskLevel = None) -> NDArray[np.bool_]:
    """Read a mask and bring it to a size, nearest neighbour.

    Parameters
    ----------
    path : Path or None
        None stands for a mask with nothing inside.
    size : int
        Side of the result, in pixels.
    level : int, sequence of int, "any" or None
        Which levels are inside; see `synthmed.io.read_mask`.

    Returns
    -------
    ndarray of bool, shape (size, size)

    Raises
    ------
    ValueError
        If the file cannot be read, its levels do not say what is inside, or it is a volume; the
        message names it.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     mask = np.zeros((40, 48), np.uint8)
    ...     mask[:20] = 255  # the upper half
    ...     Image.fromarray(mask).save(Path(folder, "mask.png"))
    ...     found = read_mask(Path(folder, "mask.png"), size=8)
    >>> found.shape, float(found.mean())
    ((8, 8), 0.5)
    """
    if path is None or size == 0:
        return np.zeros((size, size), bool)
    inside = io.read_mask(path, level=level)
    if inside.ndim != 2:
        raise ValueError(f"{path}: expected an image's mask, not a volume of shape {inside.shape}")
    return nearest(inside, size)


def read_mask_of(item: Item, size: int, image: io.Image | None = None) -> NDArray[np.bool_]:
    """Read the mask of an abnormal image, turned with it, and bring it to a size as `read_mask`
    does; nothing is inside where there is none.

    Parameters
    ----------
    item : Item
    size : int
        Side of the result, in pixels.
    image : Image, optional
        The item's image, where it is read already.

    Raises
    ------
    ValueError
        As `read_mask`, and if it has another shape than the image.

    Examples
    --------
    >>> read_mask_of(Item(Path("normal.png"), abnormal=False), 8).any()
    np.False_
    """
    if item.mask is None or not item.abnormal or size == 0:
        return np.zeros((size, size), bool)
    image = io.read_image(item.image) if image is None else image
    inside = io.read_mask_of(item.mask, image, item.image, level=item.mask_level)
    if inside.ndim != 2:
        raise ValueError(
            f"{item.image}: expected an image, not a volume of shape {inside.shape}; volumes need "
            f"a detector of volumes"
        )
    return nearest(inside, size)


def nearest(inside: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Bring a mask `(H, W)` to `(size, size)`, nearest neighbour.

    Examples
    --------
    >>> nearest(np.eye(2, dtype=bool), 4).sum()
    np.int64(8)
    """
    resized = Image.fromarray(inside).resize((size, size), Image.Resampling.NEAREST)
    return np.asarray(resized)


def read_volume_mask(
    path: Path, item: Path, axis: Axis, size: int, level: MaskLevel = None
) -> NDArray[np.bool_]:
    """Read the mask of a volume that is a file or a folder of slices, as its slices are seen.

    Returns
    -------
    ndarray of bool, shape (slices, size, size)
        Brought to the size by nearest neighbour.

    Raises
    ------
    ValueError
        As `synthmed.io.read_mask_of` and `read_volume`.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> scan = io.Image(np.zeros((3, 20, 30), np.uint8))
    >>> half = np.zeros((3, 20, 30), np.uint8)
    >>> half[:, :10] = 1
    >>> with TemporaryDirectory() as folder:
    ...     paths = [Path(folder, name) for name in ("scan.tif", "mask.tif")]
    ...     for path, array in zip(paths, (scan.array, half)):
    ...         _ = path.write_bytes(io.encode(io.Image(array), ".tif"))
    ...     found = read_volume_mask(paths[1], paths[0], axis=0, size=8)
    >>> found.shape, found.mean()
    ((3, 8, 8), np.float64(0.5))
    """
    slices = read_volume(item, axis)
    inside = slices.view(io.read_mask_of(path, slices.volume, item, level=level))
    return np.stack([nearest(own, size) for own in inside])
