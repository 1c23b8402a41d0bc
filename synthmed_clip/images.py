"""From paths and arrays of any kind to the square 8-bit images that the backbone sees."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

ImageLike = str | Path | np.ndarray

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}


def collect(images: ImageLike | Iterable[ImageLike]) -> tuple[list[Path | np.ndarray], bool]:
    """List what was passed, and tell whether it was a single image.

    Parameters
    ----------
    images : path, array, or iterable of them
        A folder stands for the images directly in it, sorted by name. An array `(H, W)` or `(H, W, C)` with C
        at most 4 is one image; `(N, H, W)` and `(N, H, W, C)` are stacks.

    Raises
    ------
    FileNotFoundError
        If a path is not there, or a folder holds no image.
    """
    if isinstance(images, np.ndarray):
        channels = images.ndim > 2 and images.shape[-1] <= 4
        if images.ndim not in (2, 3, 4) or (images.ndim == 4 and not channels):
            raise ValueError(
                "an array must be (H, W), (H, W, C), (N, H, W) or (N, H, W, C) with C at most 4, "
                f"not {images.shape}"
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
    out: list[Path | np.ndarray] = []
    for item in images:
        part, single = collect(item)
        if not single:
            raise ValueError("a list must hold single images, not folders or stacks")
        out += part
    return out, False


def image_files(folder: Path) -> list[Path]:
    """Return the image files directly in a folder, sorted by name; at least one."""
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not found:
        inner = ", ".join(sorted(p.name for p in folder.iterdir() if p.is_dir()))
        raise FileNotFoundError(f"no image in {folder}" + (f"; it has the folders {inner}" if inner else ""))
    return found


def read(image: Path | np.ndarray) -> np.ndarray:
    """Return the image as an array, `(H, W)` or `(H, W, C)`, in its own dtype."""
    if isinstance(image, np.ndarray):
        return image
    try:
        with Image.open(image) as opened:
            if opened.mode in ("P", "CMYK", "YCbCr", "LAB", "HSV"):
                return np.asarray(opened.convert("RGB"))
            return np.asarray(opened)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{image} is not a readable image: {error}") from error


def square(image: Path | np.ndarray, size: int, grey: bool = True) -> tuple[np.ndarray, tuple[int, int]]:
    """Bring an image to the backbone's size, as the method does: grey, then Pillow's bilinear resize.

    Parameters
    ----------
    image : path or array
        `(H, W)` or `(H, W, C)`, C from 1 to 4 (an alpha channel is dropped). uint8 is taken as it is, bool as
        0 and 255, every other dtype is stretched from its own minimum and maximum.
    size : int
        Side of the result.
    grey : bool
        Whether colour is reduced to its luma (ITU-R 601).

    Returns
    -------
    pixels : ndarray
        `(size, size)`, or `(size, size, 3)` unless grey; uint8.
    shape : pair of int
        Height and width of the input.
    """
    array = _eight_bit(read(image), image)
    shape = array.shape[:2]
    picture = Image.fromarray(array).convert("L" if grey else "RGB")
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(picture), shape


def _eight_bit(array: np.ndarray, source: object) -> np.ndarray:
    name = str(source) if isinstance(source, Path) else f"an image of shape {array.shape}"
    if array.ndim not in (2, 3) or 0 in array.shape or (array.ndim == 3 and array.shape[2] > 4):
        raise ValueError(f"{name}: expected (H, W) or (H, W, C) with C at most 4")
    if array.ndim == 3:
        colours = 1 if array.shape[2] <= 2 else 3
        array = array[..., 0] if colours == 1 else array[..., :3]
    if array.dtype == bool:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype != np.uint8:
        if not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
            raise TypeError(f"{name}: expected real numbers, not {array.dtype}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds NaN or infinity")
        values = array.astype(np.float64)
        low, high = values.min(), values.max()
        array = np.rint((values - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    return np.ascontiguousarray(array)


def resize_map(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bring a float32 map to `(H, W)` by the same Pillow bilinear resize that the image went through."""
    if values.shape == tuple(shape):
        return values
    return np.asarray(Image.fromarray(values).resize((shape[1], shape[0]), Image.Resampling.BILINEAR))
