"""What the report shows, as JSON-ready data: figures, classes, warnings, images, provenance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from synthmed_clip.data.layouts import Dataset, Item
from synthmed_clip.detector import Detector
from synthmed_clip.evaluation.curves import Curve, curves
from synthmed_clip.evaluation.evaluate import Evaluation, read_masks
from synthmed_clip.evaluation.map_scale import MapScale, Unit
from synthmed_clip.evaluation.metrics import image_metrics
from synthmed_clip.report.alarms import find_alarms
from synthmed_clip.report.decision import decision_of
from synthmed_clip.report.facts import fact_tables, recipes
from synthmed_clip.report.heatmaps import heat_map, opacity_of
from synthmed_clip.report.images import MAP_SIDE, MEDIA, SIDE, image_rows, support_rows

if TYPE_CHECKING:  # needs the extra `testing`
    from synthmed.testing import ScoreShift


def report_data(
    detector: Detector,
    dataset: Dataset,
    evaluation: Evaluation,
    maps: NDArray[np.float32],
    shifts: Sequence[ScoreShift] = (),
) -> dict[str, object]:
    """Return all that the page shows as JSON-ready data. Parameters as `write_report`."""
    scores = np.array(evaluation.scores)
    abnormal = np.array([item.abnormal for item in dataset.test])
    kinds = kinds_of(dataset.test)
    images = image_rows(detector, dataset, evaluation.scores, kinds, maps)
    history, support = detector.fitted.history, detector.provenance.support
    shots = f", {len(support)} support images" if support else ""
    roc, pr = curves(scores, abnormal)
    return {
        "name": dataset.name,
        "detector": f"{detector.method.name} on {detector.backbone.name}{shots}",
        "counts": {
            "normal": evaluation.normal,
            "abnormal": evaluation.abnormal,
            "masked": evaluation.masked,
            "train": len(dataset.train),
        },
        "warnings": [asdict(alarm) for alarm in find_alarms(detector, dataset, evaluation)],
        "left_out": dataset.left_out,
        "metrics": {
            level: {name: asdict(interval) for name, interval in metrics.items()}
            for level, metrics in (("Image", evaluation.image), ("Pixel", evaluation.pixel))
        },
        "baselines": _baselines(dataset, evaluation, maps.shape[-1]),
        "scale": scale_of(detector.map_scale.unit, [*evaluation.scores, evaluation.threshold]),
        "threshold": evaluation.threshold,
        "decision": decision_of(detector),
        "heuristic": detector.p_values_are_heuristic,
        "curves": {"roc": _rounded(roc), "pr": _rounded(pr)},
        "classes": _classes(dataset.test, kinds, scores, abnormal),
        "robustness": [asdict(shift) for shift in shifts],
        "support": support_rows(detector, dataset),
        "log": [] if history is None else [asdict(epoch) for epoch in history.log],
        "facts": fact_tables(detector),
        "recipes": recipes(detector.method),
        "maps": _maps(detector.map_scale, maps.shape[-1]),
        "media": MEDIA,
        "side": SIDE,
        "images": images,
    }


def scale_of(unit: Unit, scores: Sequence[float]) -> Literal["log-odds", "linear"]:
    """Choose the axis that scores are drawn on: log-odds for what lies in [0, 1] by its nature.

    Parameters
    ----------
    unit : {'probability', 'standard deviations of normal'}
        Of the method's maps.
    scores : sequence of float
        All that will be drawn.

    Examples
    --------
    >>> scale_of("probability", [0.2, 0.99]), scale_of("probability", [0.2, 1.5])
    ('log-odds', 'linear')
    """
    inside = all(0 <= score <= 1 for score in scores)
    return "log-odds" if unit == "probability" and inside else "linear"


def kinds_of(items: Sequence[Item]) -> list[str]:
    """Name every image's class; a name that both share says which.

    Examples
    --------
    >>> from pathlib import Path
    >>> shared = [Item(Path("a"), abnormal, None, "brain") for abnormal in (False, True)]
    >>> kinds_of([*shared, Item(Path("c"), True)])
    ['brain, normal', 'brain, abnormal', 'abnormal']
    """
    words = ["abnormal" if item.abnormal else "normal" for item in items]
    flags = defaultdict(set)
    for item in items:
        flags[item.kind].add(item.abnormal)
    return [
        (item.kind if len(flags[item.kind]) == 1 else f"{item.kind}, {word}") if item.kind else word
        for item, word in zip(items, words, strict=True)
    ]


def _baselines(
    dataset: Dataset, evaluation: Evaluation, side: int
) -> dict[str, dict[str, tuple[float, str]]]:
    """What each metric is for scores and maps that know nothing, and what that stands for."""
    ill = evaluation.abnormal / (evaluation.normal + evaluation.abnormal)
    baselines = {
        "Image": {
            "AUROC": (0.5, "chance"),
            "AP": (ill, "prevalence"),
            "F1-max": (2 * ill / (1 + ill), "flagging all"),
        }
    }
    if evaluation.pixel:
        masks = read_masks(dataset.test, side)
        normal = np.array([not item.abnormal for item in dataset.test])
        known = masks[masks.any((1, 2)) | normal]
        baselines["Pixel"] = {
            "AUROC": (0.5, "chance"),
            "AP": (float(known.mean()), "share of abnormal pixels"),
            "AUPRO": (0.15, "chance"),  # the mean of false positive rates from 0 to 0.3
        }
    return baselines


def _maps(scale: MapScale, side: int) -> dict[str, object] | None:
    """How maps are to be looked at: as `predict` draws them."""
    if not side:
        return None
    levels = np.arange(256, dtype=np.uint8)
    return {
        "side": min(side, MAP_SIDE),
        "range": scale.span,
        "shown": (scale.shown(scale.low), scale.shown(scale.high)),
        "unit": scale.unit,
        "colours": heat_map(levels[None] / 255.0).ravel().tolist(),
        "opacity": opacity_of(levels).tolist(),
        "matching": scale.matching(),
    }


def _rounded(curve: Curve) -> dict[str, list[float]]:
    return {name: np.round(values, 4).tolist() for name, values in asdict(curve).items()}


def _classes(
    items: Sequence[Item],
    kinds: Sequence[str],
    scores: NDArray[np.float64],
    abnormal: NDArray[np.bool_],
) -> list[dict[str, object]]:
    """Count every class, normal ones first, and compare abnormal ones with all normal images."""
    named = np.array(kinds)
    out = []
    for is_abnormal, kind in sorted(set(zip(abnormal.tolist(), kinds, strict=True))):
        members = named == kind
        chosen = members | ~abnormal
        metrics = image_metrics(scores[chosen], abnormal[chosen]) if is_abnormal else {}
        out.append(
            {
                "kind": kind,
                "abnormal": is_abnormal,
                "count": int(members.sum()),
                "masked": sum(
                    item.mask is not None
                    for item, member in zip(items, members, strict=True)
                    if member
                ),
                "auroc": asdict(metrics["AUROC"]) if metrics else None,
            }
        )
    return out
