"""What a detector's decision rests on, in words."""

from __future__ import annotations

from synthmed_clip.detector import Detector
from synthmed_clip.report.facts import is_imported

_START = (
    "It has seen no real anomaly, and normal images that were not in the support set may score "
    "higher: treat it as a start, and calibrate it on further images (synthmed-clip calibrate)."
)


def decision_of(detector: Detector) -> list[str]:
    """Say where a detector's threshold comes from, what its p-values are against, and what both
    are worth; a paragraph each.

    Examples
    --------
    `scans` are a few arrays of normal images, `backbone` is a loaded one.

    >>> from synthmed_clip import NearestPatch, calibrate, fit
    >>> detector = fit(scans[:2], NearestPatch(), backbone=backbone)
    >>> decision_of(detector)[0][:69]
    'The threshold is the largest score of its 2 support images, each left'
    >>> decision_of(calibrate(detector, scans[2:], target=0.5))[0]
    'The threshold was set by calibrate: false-alarm-rate 0.5, from 2 normal images.'
    """
    return [*_threshold(detector), _p_values(detector)]


def _threshold(detector: Detector) -> list[str]:
    made, normal = detector.provenance.calibration, detector.normal_scores
    if made is not None:
        own = made.rule in ("youden", "f1")
        measured = "; ".join(
            f"{name} {found.value:.4g} ({found.low:.4g} to {found.high:.4g})"
            for name, found in made.figures.items()
        )
        flatter = ". The images are those that chose it, so these figures flatter" * own
        return [
            f"The threshold was set by calibrate: {made}.",
            f"On those images, with 95 % intervals: {measured}{flatter}.",
        ]
    if is_imported(detector):
        return [
            "The detector was imported from a checkpoint that has no threshold; this one was not "
            "calibrated."
        ]
    if not detector.provenance.support:
        return ["The detector was fitted without support images; its threshold is not calibrated."]
    if not normal:
        return [
            f"fit sets the threshold that best separates (balanced accuracy) the support images "
            f"from fresh synthetic anomalies on them: {detector.method.name} could not leave "
            f"support images out, and no folds were asked for. {_START}"
        ]
    if detector.threshold != max(normal):
        return ["The threshold was set by hand: it is not the largest score of the support images."]
    judges = "each left out of what judges it"
    if detector.normal_source == "out-of-fold":
        judges = (
            f"each judged by one of {detector.provenance.folds} refits that had not seen it, and "
            f"had seen fewer images than the detector"
        )
    return [
        f"The threshold is the largest score of its {len(normal)} support images, {judges}. "
        f"{_START}"
    ]


def _p_values(detector: Detector) -> str:
    count = len(detector.normal_scores)
    if not count:
        return "The detector has no p-values: no normal image is known that it had not seen."
    source = {
        "left-out": "support images, each left out of what judges it",
        "out-of-fold": "support images, each out of its fold",
        "calibration": "normal images of the calibration",
        None: "normal images",
    }[detector.normal_source]
    keeps = (
        "They keep their level: a normal image that is exchangeable with those has one of at most "
        "alpha with a probability of at most alpha."
    )
    if detector.p_values_are_heuristic:
        keeps = "They are heuristic: nothing shows that they keep their level."
    return (
        f"p-values are against {count} {source}, and at least "
        f"1/{count + 1}\u00a0=\u00a0{1 / (count + 1):.3g}. {keeps}"
    )
