"""From one image to another: grey, and of another size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from synthmed.io.image import Image

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow converts to grey


def grey(image: Image) -> Image:
    """Bring an image with three channels to its luma (ITU-R BT.601), in its dtype.

    Parameters
    ----------
    image : Image
        One without channels is returned as it is.

    Returns
    -------
    Image

    Raises
    ------
    ValueError
        If it has another number of channels.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed.io import Image, grey
    >>> red = np.zeros((4, 6, 3), np.uint8)
    >>> red[..., 0] = 200
    >>> luma = grey(Image(red, channel_axis=-1)).array
    >>> luma.shape, int(luma[0, 0])
    ((4, 6), 60)
    """
    if image.channel_axis is None:
        return image
    array = np.moveaxis(image.array, image.channel_axis, -1)
    if array.shape[-1] != 3:
        raise ValueError(f"image must have 3 channels to be made grey, got {array.shape[-1]}")
    if array.dtype == np.uint8 and array.ndim == 3:
        luma: NDArray = np.array(PIL.Image.fromarray(np.ascontiguousarray(array)).convert("L"))
    else:
        values = array @ np.array(LUMA)
        luma = (np.rint(values) if array.dtype.kind in "iu" else values).astype(array.dtype)
    return replace(image, array=luma, channel_axis=None)


def resize(image: Image, size: int) -> Image:
    """Resize an image to `size` x `size` with Pillow's bilinear filter, which smooths when it
    shrinks.

    Images of 8 bits are resized as such, all others in float32 and rounded to their dtype. The
    spacing and the affine go with the size.

    Parameters
    ----------
    image : Image
        Of two spatial axes.
    size : int
        In pixels.

    Returns
    -------
    Image
        Channels, if there are any, along the last axis.

    Raises
    ------
    ValueError
        If the image is a volume.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed.io import Image, resize
    >>> small = resize(Image(np.zeros((40, 60), np.uint8), spacing=(1.0, 0.5)), 20)
    >>> small.array.shape, small.spacing
    ((20, 20), (2.0, 1.5))
    """
    shape = image.spatial_shape
    if len(shape) != 2:
        raise ValueError(
            f"a volume of shape {shape} cannot be resized to a square; keep its native size"
        )
    if shape == (size, size):
        return image
    array = image.array
    if image.channel_axis is not None:
        array = np.moveaxis(array, image.channel_axis, -1)
    factors = (shape[0] / size, shape[1] / size)
    spacing = image.spacing and tuple(s * f for s, f in zip(image.spacing, factors, strict=True))
    affine = image.affine
    if affine is not None:
        # Index i of the result is the middle of the pixels that become one: f (i + 1/2) - 1/2.
        to_old = np.diag([*factors, 1.0, 1.0])
        to_old[:2, 3] = [(f - 1) / 2 for f in factors]
        affine = affine @ to_old
    return replace(
        image,
        array=_resize(array, size),
        channel_axis=None if image.channel_axis is None else -1,
        spacing=spacing,
        affine=affine,
    )


def _resize(array: NDArray, size: int) -> NDArray:
    if array.dtype == np.uint8:
        return _bilinear(np.ascontiguousarray(array), size)
    planes = array[..., None] if array.ndim == 2 else array
    out = np.stack([_bilinear(p.astype(np.float32), size) for p in np.moveaxis(planes, -1, 0)], -1)
    if array.dtype.kind in "iu":
        out = np.clip(np.rint(out), np.iinfo(array.dtype).min, np.iinfo(array.dtype).max)
    return out.reshape((size, size, *array.shape[2:])).astype(array.dtype)


def _bilinear(plane: NDArray, size: int) -> NDArray:
    return np.array(PIL.Image.fromarray(plane).resize((size, size), PIL.Image.Resampling.BILINEAR))
