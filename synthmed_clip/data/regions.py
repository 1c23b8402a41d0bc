"""Regions of interest: what was passed for which image, read, brought to the backbone's size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import synthmed
from synthmed import io
from synthmed.io import MaskLevel
from synthmed_clip.data.images import name_of

Region = Literal["auto"] | Path | NDArray[np.bool_]
RegionLike = str | Path | NDArray[np.bool_] | Iterable[str | Path | NDArray[np.bool_]]


def collect_regions(
    roi: RegionLike | None, items: Sequence[Path | io.Image], single: bool
) -> list[Region] | None:
    """List the regions of interest of images, none read yet.

    Parameters
    ----------
    roi : "auto", folder, path, array, or an iterable of paths and arrays
        "auto" stands for `synthmed.foreground` of each image; a folder for the file in it that has
        the image's name, with any suffix that is read. A path or an array is for a single image.
    items, single
        As `synthmed_clip.data.images.collect` gives them.

    Returns
    -------
    list of "auto", Path or ndarray; or None
        One an image; None without regions.

    Raises
    ------
    FileNotFoundError
        If a folder or file is not there, or an image has no region in the folder.
    TypeError, ValueError
        If there are not as many as images, an array is not bool, or a folder is given for images
        that are no files.

    Examples
    --------
    >>> scan = io.Image(np.zeros((40, 48), np.uint8))
    >>> collect_regions("auto", [scan, scan], single=False)
    ['auto', 'auto']
    """
    if roi is None:
        return None
    if isinstance(roi, str) and roi == "auto":
        return ["auto"] * len(items)
    if isinstance(roi, str | Path) and Path(roi).is_dir():
        if not all(isinstance(item, Path) for item in items):
            raise ValueError(f"roi is the folder {roi}, but the images are no files")
        names = [item.name for item in items if isinstance(item, Path)]
        return list(regions_in(Path(roi), names))
    given = [roi] if single or isinstance(roi, str | Path | np.ndarray) else list(roi)
    if len(given) != len(items):
        raise ValueError(f"roi must be one region an image: {len(items)} images, got {len(given)}")
    return [one_region(region) for region in given]


def regions_in(folder: Path, names: Sequence[str]) -> list[Path]:
    """Find the regions of images by their names, which may begin with names of folders.

    Raises
    ------
    FileNotFoundError
        If one has none.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     Path(folder, "a.png").touch()
    ...     [path.name for path in regions_in(Path(folder), ["a.jpg"])]
    ['a.png']
    """
    found = {name: io.find_region(folder, name) for name in names}
    for name, path in found.items():
        if path is None:
            raise FileNotFoundError(f"{name}: no region of interest of its name in {folder}")
    return [path for path in (found[name] for name in names) if path is not None]


def each_region(roi: RegionLike) -> Iterator[Any]:
    """Return regions of interest one after the other, without going through an iterable first;
    "auto" has no end.

    Raises
    ------
    ValueError
        If it is one folder or file for images that are not yet known.

    Examples
    --------
    >>> next(each_region("auto"))
    'auto'
    """
    if isinstance(roi, str) and roi == "auto":
        return repeat("auto")
    if isinstance(roi, str | Path | np.ndarray):
        raise ValueError(f"roi must be 'auto', or an iterable of one region an image, not {roi!r}")
    return iter(roi)


def one_region(region: Any) -> Region:
    """Return what stands for one region.

    Raises
    ------
    FileNotFoundError, TypeError
        If it is none.

    Examples
    --------
    >>> one_region("auto")
    'auto'
    """
    if isinstance(region, np.ndarray):
        if region.dtype != bool:
            raise TypeError(f"roi must be arrays of bool, not {region.dtype}; say what is inside")
        return region
    if not isinstance(region, str | Path):
        raise TypeError(f"roi must be arrays, paths or 'auto', not {type(region).__name__}")
    if region == "auto":
        return "auto"
    if not Path(region).is_file():
        raise FileNotFoundError(f"no region of interest at {region}")
    return Path(region)


def read_inside(
    region: Region, item: Path | io.Image, image: io.Image, level: MaskLevel = None
) -> NDArray[np.bool_]:
    """Return what lies inside the region of interest of an image.

    Parameters
    ----------
    region : "auto", Path or ndarray
    item : Path or Image
        The image as it was passed.
    image : Image
        The same, read.
    level : int, sequence of int, "any" or None
        Which levels of a file are inside; see `synthmed.io.read_mask`.

    Returns
    -------
    ndarray of bool, of the image's spatial shape

    Raises
    ------
    ValueError
        If it has another shape than the image as stored, is empty, or cannot be read.

    Examples
    --------
    >>> scan = io.Image(np.zeros((40, 48), np.uint8))
    >>> int(read_inside(np.eye(40, 48, dtype=bool), scan, scan).sum())
    40
    """
    if isinstance(region, str):
        return _foreground(item, image)
    if isinstance(region, Path):
        of = item if isinstance(item, Path) else region
        return io.read_region(region, image, of, level=level)
    if region.shape != image.spatial_shape:
        raise ValueError(
            f"{name_of(item)}: its region of interest has shape {region.shape}; expected "
            f"{image.spatial_shape}"
        )
    if not region.any():
        raise ValueError(f"{name_of(item)}: its region of interest is empty")
    return region


def _foreground(item: Path | io.Image, image: io.Image) -> NDArray[np.bool_]:
    """The foreground of what the window shows, where there is one: padding lies far below it."""
    seen = image.array if image.value_range is None else np.clip(image.array, *image.value_range)
    return synthmed.foreground(seen, channel_axis=image.channel_axis)


def square_inside(inside: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Bring a region `(H, W)` to `(size, size)`: inside is what lies in it by half, or, of a region
    that is too small for that, what lies in it most.

    Examples
    --------
    >>> spot = np.zeros((64, 64), bool)
    >>> spot[3, 3] = True
    >>> int(square_inside(spot, 8).sum())
    1
    """
    share = io.resize(io.Image(inside.astype(np.float32)), size).array
    return share >= min(0.5, share.max())
