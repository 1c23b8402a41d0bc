"""What the report shows of images, as JSON-ready data: pictures, maps, outlines of masks."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synthmed import io as image_io
from synthmed.digests import digest_array
from synthmed_clip.data.images import eight_bit, read_plane, resize_map, square
from synthmed_clip.data.layouts import Dataset
from synthmed_clip.detector import Detector
from synthmed_clip.evaluation.calibration import p_value
from synthmed_clip.evaluation.evaluate import read_masks
from synthmed_clip.report.heatmaps import levels_of

SIDE = 384  # the longer one of a picture embedded; a test set of some 750 stays below 15 MB
MAP_SIDE = 56  # a map is smooth: it arises on the backbone's patches, 16 to 37 a side
MEDIA = "data:image/webp;base64,"
_THUMBNAIL = 96

Row = dict[str, object]


def image_rows(
    detector: Detector,
    dataset: Dataset,
    scores: Sequence[float],
    kinds: Sequence[str],
    maps: NDArray[np.float32],
) -> list[Row]:
    """Return what the page shows of every test image.

    Parameters
    ----------
    detector : Detector
    dataset : Dataset
    scores, kinds : sequence
        Of `dataset.test`, in its order.
    maps : ndarray
        Likewise, `(N, S, S)`, finite; S is 0 where the method has no maps.
    """
    grey = detector.method.scored_channels == "grey"
    normal = detector.normal_scores
    rows: list[Row] = []
    for item, kind, score, found in zip(dataset.test, kinds, scores, maps, strict=True):
        read = read_plane(item.image)
        height, width = read.spatial_shape
        extent = np.array([width, height]) * (read.spacing or (1, 1))[::-1]
        rows.append(
            {
                "name": dataset.relative(item.image),
                "kind": kind,
                "abnormal": item.abnormal,
                "score": score,
                "p": p_value(score, normal) if normal else None,
                "size": [width, height],
                "extent": (extent / extent.max()).tolist(),
                "pixels": _picture(read, detector, grey, SIDE),
                "outline": outline(read_masks([item], SIDE)[0]),
                "map": _map(found, (height, width)) if found.size else None,
            }
        )
    return rows


def _map(found: NDArray[np.float32], shape: tuple[int, int]) -> dict[str, object]:
    """A map as a picture of 256 levels from its lowest value to its highest, and where that is."""
    side = min(len(found), MAP_SIDE)
    small = resize_map(found, (side, side))
    # The peak itself is kept, so that a contour is there if and only if something lies above it.
    y, x = np.unravel_index(int(found.argmax()), found.shape)
    small[y * side // len(found), x * side // len(found)] = found.max()
    low, high = float(small.min()), float(small.max())
    levels = levels_of(small.astype(np.float64), (low, high) if low < high else (low, low + 1))
    row, column = np.unravel_index(int(resize_map(found, shape).argmax()), shape)
    return {
        "pixels": _webp(levels, lossless=True),
        "low": low,
        "high": high,
        "peak": [int(column), int(row)],
    }


def support_rows(detector: Detector, dataset: Dataset) -> dict[str, object]:
    """Find the support images among the training images, by digest; say how many there are."""
    support = detector.provenance.support
    wanted, total = set(support), len(support)
    images = []
    grey = detector.method.support_channels == "grey"
    for path in dataset.train:
        if not wanted:
            break
        read = read_plane(path)
        pixels = square(read, detector.backbone.image_size, detector.values, grey)[0]
        if (found := digest_array(pixels)) in wanted:
            wanted.remove(found)
            source = MEDIA + _picture(read, detector, grey, _THUMBNAIL)
            images.append({"name": path.name, "source": source})
    if total:
        note = f"The detector was fitted on {total}"
        if wanted:
            note += (
                f"; {len(wanted)} of them are not among the training images of this data set and "
                f"cannot be shown (the detector keeps only their digests)."
            )
        else:
            note += ", all among the training images of this data set."
    elif detector.method.least_support:
        note = "The detector does not say which images it was fitted on."
    else:
        note = "The detector was fitted on no images; its method needs none."
    return {"note": note, "images": images}


def outline(mask: NDArray[np.bool_]) -> str:
    """Return a mask's borders as an SVG path, one unit a pixel.

    Parameters
    ----------
    mask : ndarray
        `(H, W)` bool.

    Examples
    --------
    >>> outline(np.eye(2, 3, dtype=bool) | True)
    'M0.5 0.5L0.5 1.5L2.5 1.5L2.5 0.5Z'
    """
    borders, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    paths = []
    for border in borders:
        # OpenCV names a pixel's corner, we mean its middle.
        points = cv2.approxPolyDP(border, 0.6, True)[:, 0] + 0.5
        paths.append("M" + "L".join(f"{x:g} {y:g}" for x, y in points) + "Z")
    return "".join(paths)


def _picture(read: image_io.Image, detector: Detector, grey: bool, side: int) -> str:
    """An image as the detector sees it, but in its own aspect; its longer side is at most that."""
    image = eight_bit(read, detector.values)
    pixels = image_io.grey(image).array if grey else image.array
    height, width = image.spatial_shape
    factor = min(1, side / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    resized = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)
    return _webp(np.asarray(resized), quality=75)


def _webp(pixels: NDArray[np.uint8], **options: object) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", **options)
    return base64.b64encode(buffer.getvalue()).decode()
