"""Maps as files of numbers: 32-bit float TIFF, 16-bit PNG."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from synthmed_clip.evaluation.map_scale import HIGHEST, MapScale
from synthmed_clip.files import write_bytes

_LEVELS = 65535


def png16_coding(scale: MapScale) -> tuple[float, float]:
    """Return what level 0 of a 16-bit PNG stands for, and one level's step, in a map's own values.

    Probabilities have the levels from 0 to 1; others 1024 a standard deviation, from 16 below the
    mean of normal pixels to 48 above it.

    Examples
    --------
    >>> png16_coding(MapScale())
    (0.0, 1.5259021896696422e-05)
    >>> png16_coding(MapScale(2.0, 10.0, "standard deviations of normal"))
    (-14.0, 0.0009765625)
    """
    if scale.unit == "probability":
        return 0.0, 1 / _LEVELS
    deviation = (scale.high - scale.low) / HIGHEST
    return scale.low - 16 * deviation, deviation / 1024


def save_png16(anomaly_map: NDArray[np.floating], scale: MapScale, path: Path) -> None:
    """Write a map as a 16-bit grey PNG; value = zero + level x step, by `png16_coding`.

    Parameters
    ----------
    anomaly_map : ndarray
        `(H, W)` float.
    scale : MapScale
    path : Path
        Its folder is made where it is missing.

    Raises
    ------
    ValueError
        If a value lies outside what the levels can say; none is clipped.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from synthmed.io import read_image
    >>> with TemporaryDirectory() as folder:
    ...     save_png16(np.array([[0.0, 0.5, 1.0]]), MapScale(), Path(folder, "map.png"))
    ...     read_image(Path(folder, "map.png")).array.tolist()
    [[0, 32768, 65535]]
    """
    zero, step = png16_coding(scale)
    levels = np.rint((anomaly_map.astype(np.float64) - zero) / step)
    if levels.min() < 0 or levels.max() > _LEVELS:
        least, most = float(anomaly_map.min()), float(anomaly_map.max())
        raise ValueError(
            f"{path}: the map's values, {least:.4g} to {most:.4g}, go beyond what 16 bits hold, "
            f"{zero:.4g} to {zero + step * _LEVELS:.4g}; write it as float"
        )
    out = io.BytesIO()
    about = PngInfo()
    about.add_text("Software", "synthmed-clip map")
    Image.fromarray(levels.astype(np.uint16)).save(out, "PNG", pnginfo=about)
    write_bytes(path, out.getvalue())


def save_float(anomaly_map: NDArray[np.floating], path: Path) -> None:
    """Write a map as a TIFF of 32-bit floats, its values as they are.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from synthmed.io import read_image
    >>> with TemporaryDirectory() as folder:
    ...     save_float(np.array([[0.25, -3.0]]), Path(folder, "map.tif"))
    ...     read_image(Path(folder, "map.tif")).array.tolist()
    [[0.25, -3.0]]
    """
    out = io.BytesIO()
    tifffile.imwrite(
        out,
        anomaly_map.astype(np.float32),
        photometric="minisblack",
        software="synthmed-clip map",
    )
    write_bytes(path, out.getvalue())
