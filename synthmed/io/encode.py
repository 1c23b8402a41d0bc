"""The bytes of image files."""

from __future__ import annotations

import gzip
import io

import numpy as np
from numpy.typing import NDArray

from synthmed.io.image import Image
from synthmed.io.readers.medical import needing_medical

_LARGEST_AXIS = 2**15 - 1  # of NIfTI 1


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
    r"""Encode an image as a PNG, TIFF or NIfTI file.

    NIfTI keeps the geometry: affine or, without one, spacing; and the value range as
    ``cal_min`` and ``cal_max``. Both are single precision there. PNG and TIFF keep none of it.

    Parameters
    ----------
    image : Image
        With three channels, or without channels. For NIfTI the array may be bool, which becomes
        0 and 1 in uint8, and ``read_mask`` reads it back.
    suffix : {".png", ".tif", ".nii", ".nii.gz"}

    Returns
    -------
    bytes
        The same for the same image, with the same versions of the libraries.

    Raises
    ------
    ValueError
        If the suffix is another one, or the format cannot hold the image.
    MissingExtra
        If NIfTI is asked for without the extra ``medical``.

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
    if suffix in (".nii", ".nii.gz"):
        nifti = _encode_nifti(image, array)
        return nifti if suffix == ".nii" else gzip.compress(nifti, mtime=0)  # of no time or name
    if suffix != ".tif":
        raise ValueError(f"suffix must be '.png', '.tif', '.nii' or '.nii.gz', got {suffix!r}")
    import tifffile

    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, photometric="rgb" if colour else "minisblack", metadata=None)
    return buffer.getvalue()


def _encode_nifti(image: Image, array: NDArray) -> bytes:
    """The array with its channels last, if it has any; axes in their order."""
    with needing_medical():
        import nibabel
    if image.channel_axis is not None:
        if array.dtype != np.uint8:
            raise ValueError(f"NIfTI holds colour of uint8, got {array.dtype}")
        array = np.ascontiguousarray(array).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    elif array.dtype in (np.bool_, np.float16):  # which NIfTI does not have
        array = array.astype(np.uint8 if array.dtype == np.bool_ else np.float32)
    large = max(array.shape) > _LARGEST_AXIS
    nifti = (nibabel.Nifti2Image if large else nibabel.Nifti1Image)(array, None, dtype=array.dtype)
    header = nifti.header
    header.set_xyzt_units("mm")
    if image.affine is not None:
        header.set_sform(image.affine, code="scanner")
        header.set_zooms(np.linalg.norm(image.affine[:3, : array.ndim], axis=0))
    elif image.spacing is not None:
        header.set_zooms(image.spacing)
    if image.value_range is not None:
        header["cal_min"], header["cal_max"] = image.value_range
    content: bytes = nifti.to_bytes()
    return content
