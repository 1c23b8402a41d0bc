"""How well scores and maps tell normal from abnormal, with bootstrap intervals.

Every metric is computed from *steps*: what lies between two neighbouring thresholds, highest first, as the weight
of abnormal and of normal. With one step per distinct score the metric is exact; with the steps of many resamples
side by side it is a bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import label

_BINS = 2000
_EIGHT_NEIGHBOURS = np.ones((3, 3), int)


@dataclass(frozen=True)
class Interval:
    """A metric and its 95 % bootstrap interval over images."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


def auroc(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Area under the ROC curve.

    Parameters
    ----------
    positive, negative : ndarray
        Steps, `(..., T)`: weight of abnormal and of normal, highest threshold first.

    Returns
    -------
    ndarray
        `(...)`.
    """
    hits = positive.cumsum(-1)
    area = (negative * (hits - positive / 2)).sum(-1)
    return area / (hits[..., -1] * negative.sum(-1))


def average_precision(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Average precision: the sum over thresholds of precision times the gain in recall. Shapes as `auroc`."""
    hits = positive.cumsum(-1)
    precision = hits / np.maximum(hits + negative.cumsum(-1), 1e-300)
    return (precision * positive).sum(-1) / hits[..., -1]


def f1_max(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Highest F1 of any threshold. Shapes as `auroc`."""
    hits = positive.cumsum(-1)
    return (2 * hits / (hits + negative.cumsum(-1) + hits[..., -1:])).max(-1)


def aupro(regions: np.ndarray, negative: np.ndarray, limit: float = 0.3) -> np.ndarray:
    """Area under the per-region overlap curve up to a false positive rate (Bergmann et al., IJCV 2021).

    Parameters
    ----------
    regions : ndarray
        Steps, `(..., T)`: each abnormal pixel weighs one over the size of its connected region.
    negative : ndarray
        Steps, `(..., T)`: normal pixels.
    limit : float
        False positive rate at which integration ends; the area is divided by it.
    """
    overlap = regions.cumsum(-1)
    overlap, gain = overlap / overlap[..., -1:], regions / overlap[..., -1:]
    rate = negative / negative.sum(-1, keepdims=True)
    width = np.clip(limit - (rate.cumsum(-1) - rate), 0, rate)
    share = np.divide(width, rate, out=np.zeros_like(width), where=rate > 0)
    return (width * (overlap - gain + share * gain / 2)).sum(-1) / limit


def image_metrics(scores: np.ndarray, abnormal: np.ndarray, resamples: int = 1000) -> dict[str, Interval]:
    """AUROC, AP and F1-max of image scores, with intervals.

    Parameters
    ----------
    scores : ndarray
        `(N,)`.
    abnormal : ndarray
        `(N,)` bool, with both kinds.
    resamples : int
        Of the bootstrap (normal and abnormal images drawn separately, seed 0).
    """
    levels, place = np.unique(-np.asarray(scores, np.float64), return_inverse=True)
    steps = np.zeros((2, len(scores), len(levels)))
    steps[abnormal.astype(int), np.arange(len(scores)), place] = 1
    exact = steps[1].sum(0), steps[0].sum(0)
    counts = bootstrap_counts(abnormal, resamples)
    drawn = counts @ steps[1], counts @ steps[0]
    metrics = {"AUROC": auroc, "AP": average_precision, "F1-max": f1_max}
    return {name: _interval(metric(*exact), metric(*drawn)) for name, metric in metrics.items()}


def pixel_metrics(maps: np.ndarray, masks: np.ndarray, abnormal: np.ndarray, resamples: int = 1000) -> dict[str, Interval]:
    """AUROC, AP and AUPRO of all pixels, with intervals over images.

    Parameters
    ----------
    maps : ndarray
        `(N, H, W)` float32.
    masks : ndarray
        `(N, H, W)` bool, not all empty.
    abnormal : ndarray
        `(N,)` bool, for the bootstrap: the two kinds are drawn separately.
    resamples : int
        The intervals are from histograms of some 2000 bins; the values are exact.
    """
    regions, sizes = _regions(masks)
    weight = np.concatenate([[0.0], 1 / sizes])
    exact = _exact_steps(maps, regions, weight)
    binned = _binned_steps(maps, masks, regions, weight)
    counts = bootstrap_counts(abnormal, resamples)
    drawn = [counts @ part for part in binned]
    metrics: dict[str, Callable] = {
        "AUROC": lambda positive, negative, _: auroc(positive, negative),
        "AP": lambda positive, negative, _: average_precision(positive, negative),
        "AUPRO": lambda _, negative, regions: aupro(regions, negative),
    }
    return {name: _interval(metric(*exact), metric(*drawn)) for name, metric in metrics.items()}


def _interval(value: np.ndarray, resampled: np.ndarray) -> Interval:
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Interval(float(value), float(low), float(high))


def bootstrap_counts(abnormal: np.ndarray, resamples: int) -> np.ndarray:
    """How often each image is drawn in each resample, `(resamples, N)` float64."""
    rng = np.random.default_rng(0)
    counts = np.zeros((resamples, len(abnormal)))
    for kind in (True, False):
        members = np.flatnonzero(abnormal == kind)
        if len(members):
            counts[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), resamples)
    return counts


def _regions(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the 8-connected regions of all masks from 1, and give their sizes in this order."""
    numbered, total = np.zeros(masks.shape, np.uint32), 0
    for out, mask in zip(numbered, masks, strict=True):
        if mask.any():
            found, count = label(mask, _EIGHT_NEIGHBOURS)
            out[mask] = found[mask] + total
            total += count
    return numbered, np.bincount(numbered.ravel(), minlength=total + 1)[1:]


def _exact_steps(maps: np.ndarray, regions: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, ...]:
    """One step per distinct score. A single sort of integers carries score and region together."""
    bits = np.ascontiguousarray(maps, np.float32).ravel().view(np.uint32)
    order = bits ^ np.where(bits >> 31, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))  # sorts as the floats do
    keys = (~order).astype(np.uint64) << np.uint64(32) | regions.ravel()
    keys.sort()
    region, score = keys.astype(np.uint32), (keys >> np.uint64(32)).astype(np.uint32)
    starts = np.flatnonzero(np.concatenate([[True], score[1:] != score[:-1]]))
    inside = region > 0
    positive = np.add.reduceat(inside, starts, dtype=np.int64)
    total = np.diff(np.append(starts, len(keys)))
    return positive.astype(float), (total - positive).astype(float), np.add.reduceat(weight[region], starts)


def _binned_steps(maps: np.ndarray, masks: np.ndarray, regions: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, ...]:
    """The steps of every image, `(N, T)`, between quantiles of abnormal and of normal pixels."""
    quantiles = np.linspace(0, 1, _BINS // 2)
    sample = slice(None, None, max(1, maps.size // 2_000_000))
    flat, inside = maps.ravel(), masks.ravel()
    edges = np.unique(
        np.concatenate(
            [np.quantile(flat[sample][~inside[sample]], quantiles), np.quantile(flat[inside], quantiles)]
        ).astype(np.float32)
    )
    steps = np.zeros((3, len(maps), len(edges) + 1))
    for i, (found, mask, region) in enumerate(zip(maps, masks, regions, strict=True)):
        place = len(edges) - np.searchsorted(edges, found.ravel(), "right")
        outside = np.bincount(place, minlength=len(edges) + 1)
        if mask.any():
            chosen = mask.ravel()
            steps[0, i] = np.bincount(place[chosen], minlength=len(edges) + 1)
            steps[2, i] = np.bincount(place[chosen], weight[region.ravel()[chosen]], len(edges) + 1)
        steps[1, i] = outside - steps[0, i]
    return tuple(steps)
