"""What the report shows of images, as JSON-ready data: pictures, maps, outlines of masks."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synthmed.digests import digest_array
from synthmed_clip.data.images import square
from synthmed_clip.data.layouts import Dataset
from synthmed_clip.detector import Detector
from synthmed_clip.evaluation.evaluate import read_masks
from synthmed_clip.report.heatmaps import levels_of

SIDE = 256  # of the largest picture embedded; a test set of some 750 stays below 15 MB
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
        Likewise, `(N, S, S)`; S is 0 where the method has no maps.
    """
    size = detector.backbone.image_size
    grey = detector.method.scored_channels == "grey"
    side, map_side = min(size, SIDE), min(maps.shape[-1], MAP_SIDE)
    rows: list[Row] = []
    for item, kind, score, found in zip(dataset.test, kinds, scores, maps, strict=True):
        seen = square(item.image, size, detector.values, grey)[0]
        levels = levels_of(found, detector.map_scale.span)
        rows.append(
            {
                "name": dataset.relative(item.image),
                "kind": kind,
                "abnormal": item.abnormal,
                "score": score,
                "pixels": _webp(seen, side, quality=75),
                "map": _webp(levels, map_side, lossless=True) if map_side else "",
                "outline": outline(read_masks([item], side)[0]),
            }
        )
    return rows


def support_rows(detector: Detector, dataset: Dataset) -> dict[str, object]:
    """Find the support images among the training images, by digest; say how many there are."""
    support = detector.provenance.support
    wanted, total = set(support), len(support)
    images = []
    grey = detector.method.support_channels == "grey"
    for path in dataset.train:
        if not wanted:
            break
        pixels = square(path, detector.backbone.image_size, detector.values, grey)[0]
        if (found := digest_array(pixels)) in wanted:
            wanted.remove(found)
            source = MEDIA + _webp(pixels, _THUMBNAIL, quality=75)
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


def _webp(pixels: NDArray[np.uint8], side: int, **options: object) -> str:
    image = Image.fromarray(pixels)
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", **options)
    return base64.b64encode(buffer.getvalue()).decode()
