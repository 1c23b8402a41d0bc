"""From paths and arrays of any kind to the square 8-bit images that the backbone sees."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synthmed import io

ImageLike = str | Path | NDArray[Any]


def collect(images: ImageLike | Iterable[ImageLike]) -> tuple[list[Path | NDArray[Any]], bool]:
    """List what was passed, and tell whether it was a single image.

    Parameters
    ----------
    images : path, array, or iterable of them
        A folder stands for the images directly in it, sorted by name. An array `(H, W)` or `(H, W,
        C)` with C at most 4 is one image; `(N, H, W)` and `(N, H, W, C)` are stacks.

    Returns
    -------
    items : list of path or array
        One an image.
    single : bool
        Whether a single image was passed, rather than a list, stack or folder.

    Raises
    ------
    FileNotFoundError
        If a path is not there, or a folder holds no image.
    TypeError
        If something is neither a path nor an array.
    ValueError
        If an array has another shape, or a list holds a folder or a stack.

    Examples
    --------
    >>> items, single = collect(np.zeros((5, 40, 48), np.uint8))
    >>> len(items), items[0].shape, single
    (5, (40, 48), False)
    >>> collect(np.zeros((40, 48, 3), np.uint8))[1]
    True
    """
    if isinstance(images, np.ndarray):
        channels = images.ndim > 2 and images.shape[-1] <= 4
        if images.ndim not in (2, 3, 4) or (images.ndim == 4 and not channels):
            raise ValueError(
                f"an array must be (H, W), (H, W, C), (N, H, W) or (N, H, W, C) with C at most "
                f"4, not {images.shape}"
            )
        single = images.ndim - channels == 2
        return ([images] if single else list(images)), single
    if isinstance(images, (str, Path)):
        path = Path(images)
        if path.is_dir():
            return list(image_files(path)), False
        if not path.exists():
            raise FileNotFoundError(f"no image or folder at {path}")
        return [path], True
    out: list[Path | NDArray[Any]] = []
    if not isinstance(images, Iterable):
        raise TypeError(
            f"images must be paths, arrays, or an iterable of them, not {type(images).__name__}"
        )
    for item in images:
        if not isinstance(item, (str, Path, np.ndarray)):
            raise TypeError(f"an image must be a path or an array, not {type(item).__name__}")
        part, single = collect(item)
        if not single:
            raise ValueError("a list must hold single images, not folders or stacks")
        out += part
    return out, False


def image_files(folder: Path) -> list[Path]:
    """Return the image files directly in a folder, sorted by name; at least one.

    Raises
    ------
    FileNotFoundError
        If it holds no image; the message names the folders in it.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     for name in ("b.png", "a.png", "notes.txt"):
    ...         Path(folder, name).touch()
    ...     [path.name for path in image_files(Path(folder))]
    ['a.png', 'b.png']
    """
    found = io.find_images(folder, recursive=False)
    if not found:
        inner = ", ".join(sorted(p.name for p in folder.iterdir() if p.is_dir()))
        raise FileNotFoundError(
            f"no image in {folder}" + (f"; it has the folders {inner}" if inner else "")
        )
    return found


def square(
    image: Path | NDArray[Any], size: int, grey: bool = True
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Bring an image to the backbone's size, as the method does: grey, then Pillow's bilinear
    resize.

    Parameters
    ----------
    image : path or array
        As `eight_bit` reads it.
    size : int
        Side of the result, in pixels.
    grey : bool
        Whether colour is reduced to its luma (ITU-R 601).

    Returns
    -------
    pixels : ndarray
        `(size, size)`, or `(size, size, 3)` unless grey; uint8.
    shape : pair of int
        Height and width of the input, in pixels.

    Raises
    ------
    TypeError, ValueError
        As `eight_bit`.

    Examples
    --------
    >>> pixels, shape = square(np.zeros((40, 48, 3), np.uint8), 32)
    >>> pixels.shape, pixels.dtype, shape
    ((32, 32), dtype('uint8'), (40, 48))
    """
    array = eight_bit(image)
    shape = array.shape[:2]
    if not grey and array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    native = io.Image(array, channel_axis=None if array.ndim == 2 else -1)
    return io.resize(io.grey(native) if grey else native, size).array, shape


def eight_bit(image: Path | NDArray[Any]) -> NDArray[np.uint8]:
    """Return an image as uint8, `(H, W)` or `(H, W, 3)`.

    Parameters
    ----------
    image : path or array
        `(H, W)` or `(H, W, C)`, C from 1 to 4 (an alpha channel is dropped). uint8 is taken as it
        is, bool as 0 and 255, every other dtype is stretched from its own minimum and maximum.

    Raises
    ------
    TypeError
        If it is not of real numbers.
    ValueError
        If the file cannot be read, or the array is empty, of another shape, or not finite.

    Examples
    --------
    >>> eight_bit(np.array([[0.0, 1.0, 2.0]])).tolist()
    [[0, 128, 255]]
    """
    name = str(image) if isinstance(image, Path) else f"an image of shape {image.shape}"
    if isinstance(image, Path):
        found = io.read_image(image)
        array = found.array
        if len(found.spatial_shape) != 2:
            raise ValueError(f"{name}: expected an image, not a volume of shape {array.shape}")
        if found.channel_axis is not None:
            array = np.moveaxis(array, found.channel_axis, -1)
    else:
        array = image
    if array.ndim not in (2, 3) or 0 in array.shape or (array.ndim == 3 and array.shape[2] > 4):
        raise ValueError(
            f"{name}: expected (H, W) or (H, W, C) with C at most 4, not {array.shape}"
        )
    if array.ndim == 3:
        array = array[..., 0] if array.shape[2] <= 2 else array[..., :3]
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype != np.uint8:
        if not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
            raise TypeError(f"{name}: expected real numbers, not {array.dtype}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds NaN or infinity")
        values = array.astype(np.float64)
        low, high = values.min(), values.max()
        array = np.rint((values - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    return np.ascontiguousarray(array)


def resize_map(values: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Bring a float32 map to `(H, W)` by the same Pillow bilinear resize that the image went
    through.

    Examples
    --------
    >>> resize_map(np.zeros((32, 32), np.float32), (40, 48)).shape
    (40, 48)
    """
    if values.shape == tuple(shape):
        return values.copy()  # not a view that keeps a batch alive
    return np.array(Image.fromarray(values).resize((shape[1], shape[0]), Image.Resampling.BILINEAR))
