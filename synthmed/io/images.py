"""Images and volumes from files and to files, in their own dtype."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow converts to grey


class Unreadable(ValueError):
    """A file that holds no image that can be used, and why."""


def read_image(path: Path | str) -> NDArray[Any]:
    """Read an image or a volume in its own dtype.

    Parameters
    ----------
    path : path-like
        PNG, JPEG or BMP; or TIFF of any real dtype, several pages being a volume.

    Returns
    -------
    ndarray, shape (H, W), (H, W, 3), (D, H, W) or (D, H, W, 3)
        Channels as RGB; transparency is dropped, palettes are resolved. `channel_axis_of` tells the
        cases apart.

    Raises
    ------
    Unreadable
        If the file is missing, a directory, truncated, of another format, or of axes that are
        neither an image's nor a volume's; the message names it.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror or error}") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong beyond repair raises
            return (
                _decode_tiff(data)
                if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
                else _decode(data)
            )
    except Unreadable as error:
        raise Unreadable(f"{path}: {error}") from None
    except Exception as error:  # decoders raise whatever their library raises
        reason = (
            "not an image in a format that is read (PNG, JPEG, TIFF, BMP)"
            if isinstance(error, Image.UnidentifiedImageError)
            else f"cannot be decoded: {error or type(error).__name__}"
        )
        raise Unreadable(f"{path}: {reason if data else 'the file is empty'}") from None


def _decode(data: bytes) -> NDArray[Any]:
    image: Image.Image = Image.open(io.BytesIO(data))
    if image.format not in ("PNG", "JPEG", "BMP", "TIFF"):
        raise Unreadable(f"is {image.format}; PNG, JPEG, TIFF and BMP are read")
    if (
        image.format == "PNG" and data[24] == 16 and data[25] in (2, 6)
    ):  # Pillow cuts 16-bit colour to 8 bits
        import cv2

        image.verify()
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if decoded is None:
            raise Unreadable("cannot be decoded")
        return np.ascontiguousarray(decoded[..., 2::-1])
    image = ImageOps.exif_transpose(image)
    if image.mode in ("1", "LA", "La"):
        image = image.convert("L")
    elif image.mode not in ("L", "I", "F") and not image.mode.startswith("I;16"):
        image = image.convert("RGB")
    array = np.array(image)
    if image.mode == "I" and array.size and array.min() >= 0 and array.max() <= 65535:
        array = array.astype(np.uint16)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _decode_tiff(data: bytes) -> NDArray[Any]:
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        series = file.series[0]
        page = file.pages.first
        try:
            array = series.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            if len(file.pages) > 1:  # a compression that Pillow alone knows here
                raise Unreadable(
                    f"is a volume in a compression that is not read ({error})"
                ) from None
            return _decode(data)
        axes = series.axes
        inverted = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
        palette = page.photometric == tifffile.PHOTOMETRIC.PALETTE
    if palette:
        return _decode(data)
    keep = tuple(i for i, n in enumerate(array.shape) if n > 1 or axes[i] in "YX")
    axes = "".join(axes[i] for i in keep)
    array = array.reshape([array.shape[i] for i in keep])
    if "S" in axes:
        array = np.moveaxis(array, axes.index("S"), -1)[..., :3]
        axes = axes.replace("S", "") + "S"
    spatial = axes.rstrip("S")
    if (
        len(spatial) not in (2, 3)
        or not spatial.endswith("YX")
        or (axes.endswith("S") and array.shape[-1] != 3)
    ):
        raise Unreadable(
            f"has axes {axes} of shape {array.shape}; an image or one volume is expected"
        )
    if array.dtype.kind not in "iuf" or array.dtype == np.float16:
        raise Unreadable(f"has dtype {array.dtype}; integers, float32 and float64 are read")
    if inverted and array.dtype.kind == "u":
        array = np.iinfo(array.dtype).max - array
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))


def channel_axis_of(image: NDArray[Any]) -> int | None:
    """The channel axis of what `read_image` returns: the last axis if it holds three channels,
    otherwise None.
    """
    return -1 if image.ndim > 2 and image.shape[-1] == 3 else None


def grey(image: NDArray[Any]) -> NDArray[Any]:
    """The luma of an image that has channels (ITU-R BT.601), in its dtype; an image without them as
    it is.
    """
    if channel_axis_of(image) is None:
        return image
    if image.dtype == np.uint8 and image.ndim == 3:
        return np.array(Image.fromarray(image).convert("L"))
    luma = image @ np.array(_LUMA)
    return (np.rint(luma) if image.dtype.kind in "iu" else luma).astype(image.dtype)


def resize(image: NDArray[Any], size: int) -> NDArray[Any]:
    """Resize an image to `size` x `size` with Pillow's bilinear filter, which smooths when it
    shrinks.

    Images of 8 bits are resized as such, all others in float32 and rounded to their dtype.
    """
    axis = channel_axis_of(image)
    if image.ndim - (axis is not None) != 2:
        raise ValueError(
            f"a volume of shape {image.shape} cannot be resized to a square; keep its native size"
        )
    if image.shape[:2] == (size, size):
        return image
    if image.dtype == np.uint8:
        return np.array(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
    planes = [image] if axis is None else [image[..., c] for c in range(image.shape[-1])]
    out = np.stack(
        [
            np.array(
                Image.fromarray(p.astype(np.float32)).resize(
                    (size, size), Image.Resampling.BILINEAR
                )
            )
            for p in planes
        ],
        axis=-1,
    )
    if image.dtype.kind in "iu":
        out = np.clip(np.rint(out), np.iinfo(image.dtype).min, np.iinfo(image.dtype).max)
    return (out[..., 0] if axis is None else out).astype(image.dtype)


def suffix_for(image: NDArray[Any]) -> str:
    """The format that keeps an image as it is: PNG for images of 8 and 16 bits, TIFF for everything
    else.
    """
    spatial = image.ndim - (channel_axis_of(image) is not None)
    return ".png" if image.dtype in (np.uint8, np.uint16) and spatial == 2 else ".tif"


def encode(image: NDArray[Any], suffix: str) -> bytes:
    """The bytes of a PNG or TIFF file."""
    if suffix == ".png":
        import cv2

        colour = channel_axis_of(image) is not None
        done, data = cv2.imencode(suffix, image[..., ::-1] if colour else image)
        assert done
        return bytes(data)
    import tifffile

    buffer = io.BytesIO()
    colour = channel_axis_of(image) is not None
    tifffile.imwrite(buffer, image, photometric="rgb" if colour else "minisblack", metadata=None)
    return buffer.getvalue()
