"""Maps as pictures."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from synthmed_clip.evaluation.map_scale import MapScale
from synthmed_clip.files import write_bytes

Map = NDArray[np.floating]


def levels_of(anomaly_map: Map, span: tuple[float, float] = (0.0, 1.0)) -> NDArray[np.uint8]:
    """Bring a map to 256 levels, of which the first and the last stand for the span's ends.

    Parameters
    ----------
    anomaly_map : ndarray
        `(H, W)` float; what lies outside the span takes the nearer end.
    span : (float, float)
        Lowest and highest value, as `MapScale.span` has them.

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
    """Colour a map `(H, W)` on a fixed scale, blue by red to yellow (plasma): `(H, W, 3)` RGB.

    None of its colours is a grey, nor so dark that it vanishes on black.

    Examples
    --------
    >>> heat_map(np.array([[0.0, 1.0]])).tolist()
    [[[13, 8, 135], [240, 249, 33]]]
    """
    coloured = cv2.applyColorMap(levels_of(anomaly_map, span), cv2.COLORMAP_PLASMA)
    return np.ascontiguousarray(coloured[..., ::-1])


def opacity_of(levels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How much of the image a colour hides: nothing where a normal pixel may lie, 0.8 at most.

    Nothing up to a quarter of the scale (two standard deviations), then linearly up to 0.6 of it.

    Examples
    --------
    >>> opacity_of(np.array([0, 63, 128, 255], np.uint8)).round(2).tolist()
    [0.0, 0.0, 0.58, 0.8]
    """
    return 0.8 * ((levels / 255.0 - 0.25) / 0.35).clip(0, 1)


def overlay(
    image: NDArray[np.uint8],
    anomaly_map: Map,
    scale: MapScale,
    level: float | None = None,
    peak: tuple[int, ...] | None = None,
) -> NDArray[np.uint8]:
    """Lay a map over a grey image, the more opaque the more anomalous, with its scale below.

    Parameters
    ----------
    image : ndarray
        `(H, W)` uint8.
    anomaly_map : ndarray
        `(H, W)` float.
    scale : MapScale
    level : float, optional
        A contour is drawn around what lies above it: the decision.
    peak : (int, int), optional
        Column and row of a cross.

    Returns
    -------
    ndarray
        `(H + S, max(W, 240), 3)` uint8, RGB: the image at the upper left, and S rows of legend.

    Examples
    --------
    >>> from synthmed_clip.evaluation.map_scale import MapScale
    >>> scan = np.full((100, 300), 90, np.uint8)
    >>> picture = overlay(scan, np.zeros((100, 300)), MapScale(), level=0.5, peak=(3, 4))
    >>> picture.shape, picture[50, 150].tolist()
    ((146, 300, 3), [90, 90, 90])
    """
    levels = levels_of(anomaly_map, scale.span)
    opacity = opacity_of(levels)[..., None]
    mixed = (1 - opacity) * image[..., None] + opacity * heat_map(anomaly_map, scale.span)
    picture = np.rint(mixed).astype(np.uint8)
    unit = max(1, round(max(image.shape) / 500))  # of lines, so that they are seen on large images
    lines: list[cv2.typing.MatLike] = []
    if level is not None:
        above = (anomaly_map > level).astype(np.uint8)
        lines += cv2.findContours(above, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[0]
    if peak is not None:
        lines += [np.array(arm) for arm in _cross(peak, 4 * unit)]
    for colour, width in (((0, 0, 0), 3 * unit), ((255, 255, 255), unit)):
        for line in lines:
            closed = len(line) != 2
            cv2.polylines(picture, [line.astype(np.int32)], closed, colour, width, cv2.LINE_AA)
    strip = legend(scale, max(picture.shape[1], 240), level)
    canvas = np.zeros((picture.shape[0] + len(strip), strip.shape[1], 3), np.uint8)
    canvas[: picture.shape[0], : picture.shape[1]] = picture
    canvas[picture.shape[0] :] = strip
    return canvas


def legend(scale: MapScale, width: int, level: float | None = None) -> NDArray[np.uint8]:
    """Draw the colours with their values, and where the contour lies: `(S, width, 3)` uint8, RGB.

    Examples
    --------
    >>> from synthmed_clip.evaluation.map_scale import MapScale
    >>> legend(MapScale(), 300).shape
    (46, 300, 3)
    """
    size = max(11, round(width / 45))
    strip = Image.new("RGB", (width, round(4.2 * size)))
    draw = ImageDraw.Draw(strip)
    font = ImageFont.load_default(size)
    left, right, top = 2 * size, width - 2 * size, round(0.6 * size)
    ramp = heat_map(np.linspace(0, 1, right - left)[None]).repeat(size, 0)
    strip.paste(Image.fromarray(ramp), (left, top))
    low, high = scale.shown(scale.low), scale.shown(scale.high)

    def place(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    for value in np.linspace(low, high, 5):
        draw.text((place(value), top + size), f"{value:g}", "white", font, "mt")
    words: str = scale.unit
    if level is not None:
        shown = scale.shown(level)
        words += f"; contour at {shown:.3g}"
        at = min(max(place(shown), left), right)
        draw.line([at, top - 2, at, top + size + 1], "black", 4)
        draw.line([at, top - 2, at, top + size + 1], "white", 2)
    while draw.textlength(words, font) > width and size > 6:
        size -= 1
        font = ImageFont.load_default(size)
    draw.text((width / 2, strip.height - 3), words, "white", font, "mb")
    return np.asarray(strip)


def _cross(at: tuple[int, ...], arm: int) -> list[list[tuple[int, int]]]:
    """Four lines around a pixel, which stays visible."""
    x, y = at
    ways = ((1, 0), (-1, 0), (0, 1), (0, -1))
    return [[(x + dx * arm, y + dy * arm), (x + 3 * dx * arm, y + 3 * dy * arm)] for dx, dy in ways]


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
    about.add_text("Software", "synthmed-clip map")
    Image.fromarray(picture).save(out, "PNG", pnginfo=about)
    write_bytes(path, out.getvalue())
