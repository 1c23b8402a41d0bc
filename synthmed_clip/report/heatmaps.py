"""Maps as pictures."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from synthmed_clip.files import write_bytes

Map = NDArray[np.floating]


def levels_of(anomaly_map: Map, span: tuple[float, float] = (0.0, 1.0)) -> NDArray[np.uint8]:
    """Bring a map to 256 levels, of which the first and the last stand for the span's ends.

    Parameters
    ----------
    anomaly_map : ndarray
        `(H, W)` float; what lies outside the span takes the nearer end.
    span : (float, float)
        Lowest and highest value, as `Detector.map_range` has them.

    Returns
    -------
    ndarray
        `(H, W)` uint8.

    Examples
    --------
    >>> levels_of(np.array([[0.0, 5.0, 20.0]]), span=(0, 10)).tolist()
    [[0, 128, 255]]
    """
    low, high = span
    return np.rint(((anomaly_map - low) / (high - low)).clip(0, 1) * 255).astype(np.uint8)


def heat_map(anomaly_map: Map, span: tuple[float, float] = (0.0, 1.0)) -> NDArray[np.uint8]:
    """Colour a map `(H, W)` on a fixed scale from black to yellow (inferno): `(H, W, 3)` RGB.

    Examples
    --------
    >>> heat_map(np.array([[0.0, 1.0]])).tolist()
    [[[0, 0, 4], [252, 255, 164]]]
    """
    coloured = cv2.applyColorMap(levels_of(anomaly_map, span), cv2.COLORMAP_INFERNO)
    return np.ascontiguousarray(coloured[..., ::-1])


def overlay(
    image: NDArray[np.uint8], anomaly_map: Map, span: tuple[float, float] = (0.0, 1.0)
) -> NDArray[np.uint8]:
    """Lay the heat map over a grey image, the more opaque the more anomalous.

    Parameters
    ----------
    image : ndarray
        `(H, W)` uint8.
    anomaly_map, span
        As in `levels_of`.

    Returns
    -------
    ndarray
        `(H, W, 3)` uint8, RGB.

    Examples
    --------
    >>> overlay(np.array([[200, 200]], np.uint8), np.array([[0.0, 1.0]])).tolist()
    [[[200, 200, 200], [236, 238, 175]]]
    """
    opacity = 0.7 * (levels_of(anomaly_map, span) / 255.0)[..., None]
    mixed = (1 - opacity) * image[..., None] + opacity * heat_map(anomaly_map, span)
    return np.rint(mixed).astype(np.uint8)


def save_picture(picture: NDArray[np.uint8], path: Path) -> None:
    """Write a picture as a PNG that is either whole or as it was.

    Parameters
    ----------
    picture : ndarray
        `(H, W, 3)` uint8, RGB.
    path : Path
        Its folder is made where it is missing.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     save_picture(heat_map(np.eye(4)), Path(folder, "map.png"))
    ...     with Image.open(Path(folder, "map.png")) as saved:
    ...         saved.size
    (4, 4)
    """
    out = io.BytesIO()
    about = PngInfo()
    about.add_text("Software", "synthmed-clip picture")
    Image.fromarray(picture).save(out, "PNG", pnginfo=about)
    write_bytes(path, out.getvalue())
