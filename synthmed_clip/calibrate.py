"""Set a detector's decision rule from further images. Loads torch when it is used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from synthmed.digests import digest_array
from synthmed.io import Image

if TYPE_CHECKING:
    from synthmed_clip.data.images import ImageLike
    from synthmed_clip.detector import Detector
    from synthmed_clip.evaluation.operating_point import Rule

_CHUNK = 64  # images whose maps are held at a time


def calibrate(
    detector: Detector,
    normal: ImageLike | Iterable[ImageLike],
    abnormal: ImageLike | Iterable[ImageLike] = (),
    *,
    rule: Rule = "false-alarm-rate",
    target: float | None = None,
    roi: Literal["auto"] | Path | None = None,
    channel_axis: int | None = None,
    batch_size: int = 16,
) -> Detector:
    """Set a detector's threshold from images that it has not seen, and take its p-values from them.

    Parameters
    ----------
    detector : Detector
    normal : folder, paths or arrays
        Normal images, as many as can be had, drawn as those to come will be; none of the support
        images.
    abnormal : folder, paths or arrays
        Abnormal ones, which 'sensitivity', 'youden' and 'f1' need.
    rule : {'false-alarm-rate', 'percentile', 'specificity', 'sensitivity', 'youden', 'f1'}
        What the threshold is to attain; see
        `synthmed_clip.evaluation.operating_point.operating_point`.
    target : float, optional
        How much of it: a share above 0 and below 1, for 'percentile' 0 to 100; none for 'youden'
        and 'f1', which are made largest.
    roi : "auto" or folder, optional
        Regions of interest, as `fit` takes them: give them where they were given to `fit`.
    channel_axis : int, optional
        The axis of channels of arrays and tensors that have one.
    batch_size : int
        Images through the backbone at a time.

    Returns
    -------
    Detector
        With that threshold, and p-values against the normal images: for an image exchangeable with
        them these keep their level, whatever the method. `provenance.calibration` has the rule, the
        figures with their 95 % intervals, and the images' digests.

    Raises
    ------
    ValueError
        If the detector is of volumes, an image is a support image or comes twice, the rule or its
        target does not fit, or the normal images are too few for the false alarm
        rate; says how many are needed.

    References
    ----------
    Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World (2005). Vovk, "Conditional
    validity of inductive conformal predictors", ACML 2012.

    Examples
    --------
    `scans` are a few arrays of normal images, `backbone` is a loaded one.

    >>> from synthmed_clip import NearestPatch, fit
    >>> detector = fit(scans[:2], NearestPatch(), backbone=backbone)
    >>> further = [image[::-1] for image in scans]
    >>> calibrated = calibrate(detector, further, rule="false-alarm-rate", target=0.2)
    >>> print(calibrated.provenance.calibration)
    false-alarm-rate 0.2, from 4 normal images
    >>> print(calibrated.provenance.calibration.figures["false alarm rate"])
    0.2000 [0.0063, 0.6024]
    >>> calibrated.predict(255 - scans[0]).p_value
    0.2
    """
    from synthmed_clip.data.images import collect
    from synthmed_clip.evaluation.operating_point import (
        Calibration,
        check_target,
        operating_point,
    )

    if detector.axis is not None:
        raise ValueError("calibrate is of images; a detector of volumes (axis) is not taken")
    normals, abnormals = (collect(images, channel_axis)[0] for images in (normal, abnormal))
    check_target(rule, target, abnormal=bool(abnormals))
    digests = _digests(detector, [*normals, *abnormals])
    scores, peaks = _scored(detector, normals, roi, batch_size)
    against, _ = _scored(detector, abnormals, roi, batch_size)
    threshold, figures = operating_point(scores, against, rule, target)
    count = len(normals)
    made = Calibration(rule, target, figures, digests[:count], digests[count:])
    known = tuple(scores.tolist())
    scale = detector.map_scale
    if peaks is not None:
        scale = replace(scale, scores=known, peaks=tuple(peaks.tolist()))
    return replace(
        detector,
        threshold=threshold,
        provenance=replace(detector.provenance, calibration=made),
        map_scale=scale,
        normal_scores=known,
        normal_source="calibration",
    )


def _digests(detector: Detector, items: list[Path | Image]) -> tuple[str, ...]:
    """Digest images as the backbone sees them; refuse support images, and those that come twice."""
    from synthmed_clip.data.images import square

    seen = {digest: "a support image" for digest in detector.provenance.support}
    found, grey = [], detector.method.support_channels == "grey"
    for number, item in enumerate(items, 1):
        name = str(item) if isinstance(item, Path) else f"image {number} of {len(items)}"
        pixels, _ = square(item, detector.backbone.image_size, detector.values, grey)
        digest = digest_array(pixels)
        if digest in seen:
            raise ValueError(
                f"{name} is the same picture as {seen[digest]}; images to calibrate with must "
                f"be new to the detector, and each come once"
            )
        seen[digest] = name
        found.append(digest)
    return tuple(found)


def _scored(
    detector: Detector,
    items: list[Path | Image],
    roi: Literal["auto"] | Path | None,
    batch_size: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Scores `(n,)`, and the maps' largest values `(n,)` where there are maps."""
    scores, peaks = [np.empty(0)], [np.empty(0)]
    for start in range(0, len(items), _CHUNK):
        part = detector.score(items[start : start + _CHUNK], roi=roi, batch_size=batch_size)
        scores.append(part.scores.double().numpy())
        if part.maps.numel():
            peaks.append(part.maps.flatten(1).amax(1).double().numpy())
    every, highest = np.concatenate(scores), np.concatenate(peaks)
    return every, highest if len(highest) == len(every) else None
