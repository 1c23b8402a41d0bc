"""The bytes of image files."""

from __future__ import annotations

import io

import numpy as np

from synthmed.io.image import Image


def suffix_for(image: Image) -> str:
    """Return the suffix of the format that keeps an image's values.

    Parameters
    ----------
    image : Image

    Returns
    -------
    str
        ``".png"`` for images of 8 and 16 bits, ``".tif"`` for everything else.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed.io import Image, suffix_for
    >>> suffix_for(Image(np.zeros((4, 6), np.uint16)))
    '.png'
    >>> suffix_for(Image(np.zeros((4, 6), np.float32)))
    '.tif'
    """
    flat = len(image.spatial_shape) == 2
    return ".png" if flat and image.array.dtype in (np.uint8, np.uint16) else ".tif"


def encode(image: Image, suffix: str) -> bytes:
    r"""Encode an image as a PNG or TIFF file; its geometry is not kept.

    Parameters
    ----------
    image : Image
        With three channels along the last axis, or without channels.
    suffix : {".png", ".tif"}

    Returns
    -------
    bytes

    Raises
    ------
    ValueError
        If the suffix is another one, or PNG cannot hold the image.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed.io import Image, encode
    >>> encode(Image(np.zeros((4, 6), np.uint8)), ".png")[:4]
    b'\x89PNG'
    """
    colour = image.channel_axis is not None
    array = image.array
    if colour:
        array = np.moveaxis(array, image.channel_axis or 0, -1)
        if array.shape[-1] != 3:
            raise ValueError(f"image must have 3 channels or none, got {array.shape[-1]}")
    if suffix == ".png":
        if suffix_for(image) != ".png":
            raise ValueError(
                f"PNG holds images of uint8 and uint16, got {array.dtype} of shape {array.shape}"
            )
        import cv2

        done, data = cv2.imencode(suffix, array[..., ::-1] if colour else array)
        assert done
        return bytes(data)
    if suffix != ".tif":
        raise ValueError(f"suffix must be '.png' or '.tif', got {suffix!r}")
    import tifffile

    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, photometric="rgb" if colour else "minisblack", metadata=None)
    return buffer.getvalue()
