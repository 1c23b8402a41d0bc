"""From samples as they are stored to the image that they mean: the arithmetic of every format."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from synthmed.io.image import ImageWarning, Unreadable

# How the stored rows and columns become those of the upright image: transposed, then the rows
# reversed, then the columns reversed (TIFF 6.0, page 36; EXIF uses the same numbers).
_UPRIGHT = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def orient(array: NDArray, orientation: object, *, rows: int = 0) -> NDArray:
    """Bring an image upright.

    Parameters
    ----------
    array : ndarray
        As stored.
    orientation : object
        As declared by TIFF or EXIF: 1 to 8.
    rows : int
        The axis of rows; that of columns is the next.

    Returns
    -------
    ndarray
        A view.

    Raises
    ------
    Unreadable
        If the orientation is none of these.
    """
    if not isinstance(orientation, int) or orientation not in _UPRIGHT:
        raise Unreadable(f"has the orientation {orientation!r}; 1 to 8 are defined")
    transpose, up, left = _UPRIGHT[orientation]
    if transpose:
        array = array.swapaxes(rows, rows + 1)
    if up:
        array = np.flip(array, rows)
    return np.flip(array, rows + 1) if left else array


def drop_alpha(array: NDArray) -> NDArray:
    """Drop the last channel, which is alpha, and warn of it."""
    warn_of_alpha()
    return array[..., :-1]


def warn_of_alpha() -> None:
    """Warn that transparency is dropped."""
    warnings.warn(
        "the alpha channel (transparency) is dropped, the colours stay as stored",
        ImageWarning,
        stacklevel=2,
    )


def scale_levels(array: NDArray, bits: int) -> NDArray[np.uint8]:
    """Scale samples of 1, 2 or 4 bits to 0 to 255, which is exact."""
    return array.astype(np.uint8) * np.uint8(255 // (2**bits - 1))


def look_up(indices: NDArray, palette: NDArray) -> NDArray:
    """Colours of palette indices.

    Parameters
    ----------
    indices : ndarray of unsigned int or bool
    palette : ndarray, shape (colours, 3)

    Returns
    -------
    ndarray
        Of one axis more, RGB, in the palette's dtype.

    Raises
    ------
    Unreadable
        If an index lies beyond the palette.
    """
    indices = indices.astype(np.uint8, copy=False) if indices.dtype == bool else indices
    if indices.size and int(indices.max()) >= len(palette):
        raise Unreadable(
            f"is damaged: it uses the colour {int(indices.max())} of a palette of {len(palette)}"
        )
    return palette[indices]


def narrow_palette(palette: NDArray[np.uint16]) -> NDArray:
    """Bring a palette of 16-bit entries to 8 bits where that loses nothing.

    Entries of 8-bit colours are written as 257 v (the full range) or as 256 v. A palette of neither
    kind stays as it is.
    """
    for factor in (257, 256):
        if not (palette % factor).any():
            return (palette // factor).astype(np.uint8)
    return palette


def rgb_from_cmyk(inks: NDArray) -> NDArray:
    """RGB of inks: each is (full - ink) (full - black) / full, rounded to the nearest.

    `full` is 255 for uint8 and 65535 for uint16, and there are no ties. An ICC profile is not
    applied: what it would give depends on the rendering intent and the engine.

    Parameters
    ----------
    inks : ndarray of uint8 or uint16, shape (..., 4)
        Cyan, magenta, yellow, black; 0 is no ink.

    Returns
    -------
    ndarray, shape (..., 3)
        Of the same dtype.
    """
    full = np.uint32(np.iinfo(inks.dtype).max)
    light = full - inks[..., 3].astype(np.uint32)
    rgb = np.empty((*inks.shape[:-1], 3), inks.dtype)
    for i in range(3):  # 65535 * 65535 + 32767 still fits 32 bits
        rgb[..., i] = ((full - inks[..., i]) * light + full // 2) // full
    return rgb


def rgb_from_ycbcr(
    samples: NDArray[np.uint8],
    luma: tuple[float, float, float],
    reference: tuple[float, ...],
) -> NDArray[np.uint8]:
    """RGB of luma and chroma, as TIFF 6.0 (section 21) defines it, rounded and clipped to 8 bits.

    Parameters
    ----------
    samples : ndarray of uint8, shape (..., 3)
        Y, Cb, Cr.
    luma : (float, float, float)
        YCbCrCoefficients: the weights of red, green and blue in Y.
    reference : tuple of 6 float
        ReferenceBlackWhite: the codes of black and white of Y, Cb and Cr.
    """
    full = [
        (samples[..., i].astype(np.float64) - reference[2 * i])
        * ((255 if i == 0 else 127) / (reference[2 * i + 1] - reference[2 * i]))
        for i in range(3)
    ]
    red = full[2] * (2 - 2 * luma[0]) + full[0]
    blue = full[1] * (2 - 2 * luma[2]) + full[0]
    green = (full[0] - luma[2] * blue - luma[0] * red) / luma[1]
    rgb = np.stack([red, green, blue], axis=-1)
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)
