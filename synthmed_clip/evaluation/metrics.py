"""How well scores and maps tell normal from abnormal, with bootstrap intervals.

Every metric is computed from *steps*: what lies between two neighbouring thresholds, highest first,
as the weight of abnormal and of normal. With one step per distinct score the metric is exact; with
the steps of many resamples side by side it is a bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

_BINS = 2000  # of the resampled pixel metrics, whose values stay exact
_CHUNK = 100  # resamples of images at a time
_EIGHT_NEIGHBOURS = np.ones((3, 3), int)


StepWeights = NDArray[np.float64]
"""What lies between neighbouring thresholds, `(..., T)`: weights, highest threshold first."""


@dataclass(frozen=True)
class Interval:
    """A metric and its 95 % bootstrap interval over images.

    Attributes
    ----------
    value : float
    low, high : float
        The 2.5 and 97.5 percentiles over resamples; NaN without resamples.

    Examples
    --------
    >>> print(Interval(0.9, 0.85, 0.94))
    0.9000 [0.8500, 0.9400]
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f}" + (
            "" if np.isnan(self.low) else f" [{self.low:.4f}, {self.high:.4f}]"
        )


@dataclass(frozen=True)
class Resampled:
    """A metric and what it is on resamples of the images.

    Attributes
    ----------
    value : float
    drawn : ndarray
        `(resamples,)`. The resamples depend on which images are abnormal alone: those of two
        methods on the same images pair up.
    """

    value: float
    drawn: NDArray[np.float64]

    @property
    def interval(self) -> Interval:
        """The value with the 2.5 and 97.5 percentiles."""
        low, high = np.percentile(self.drawn, [2.5, 97.5]) if self.drawn.size else (np.nan, np.nan)
        return Interval(self.value, float(low), float(high))


def auroc(positive: StepWeights, negative: StepWeights) -> StepWeights:
    """Area under the ROC curve.

    Parameters
    ----------
    positive, negative : ndarray
        Steps, `(..., T)`: weight of abnormal and of normal, highest threshold first.

    Returns
    -------
    ndarray
        `(...)`.

    Examples
    --------
    Two abnormal images score highest, then come two normal ones.

    >>> float(auroc(np.array([1.0, 1, 0, 0]), np.array([0.0, 0, 1, 1])))
    1.0
    """
    hits = positive.cumsum(-1)
    area = (negative * (hits - positive / 2)).sum(-1)
    return area / (hits[..., -1] * negative.sum(-1))


def average_precision(positive: StepWeights, negative: StepWeights) -> StepWeights:
    """Average precision: the sum over thresholds of precision times the gain in recall. Shapes as
    `auroc`.

    Examples
    --------
    >>> float(average_precision(np.array([0.0, 1]), np.array([1.0, 0])))
    0.5
    """
    hits = positive.cumsum(-1)
    precision = hits / np.maximum(hits + negative.cumsum(-1), 1e-300)
    return (precision * positive).sum(-1) / hits[..., -1]


def f1_max(positive: StepWeights, negative: StepWeights) -> StepWeights:
    """Highest F1 of any threshold. Shapes as `auroc`.

    Examples
    --------
    >>> float(f1_max(np.array([1.0, 1, 0]), np.array([0.0, 0, 1])))
    1.0
    """
    hits = positive.cumsum(-1)
    return (2 * hits / (hits + negative.cumsum(-1) + hits[..., -1:])).max(-1)


def aupro(regions: StepWeights, negative: StepWeights, limit: float = 0.3) -> StepWeights:
    """Area under the per-region overlap curve up to a false positive rate (Bergmann et al., IJCV
    2021).

    Parameters
    ----------
    regions : ndarray
        Steps, `(..., T)`: each abnormal pixel weighs one over the size of its connected region.
    negative : ndarray
        Steps, `(..., T)`: normal pixels.
    limit : float
        False positive rate at which integration ends; the area is divided by it.

    Returns
    -------
    ndarray
        `(...)`.

    Examples
    --------
    >>> float(aupro(np.array([1.0, 0]), np.array([0.0, 9])))
    1.0
    """
    overlap = regions.cumsum(-1)
    overlap, gain = overlap / overlap[..., -1:], regions / overlap[..., -1:]
    rate = negative / negative.sum(-1, keepdims=True)
    width = np.clip(limit - (rate.cumsum(-1) - rate), 0, rate)
    share = np.divide(width, rate, out=np.zeros_like(width), where=rate > 0)
    return (width * (overlap - gain + share * gain / 2)).sum(-1) / limit


def image_metrics(
    scores: NDArray[np.floating], abnormal: NDArray[np.bool_], resamples: int = 1000
) -> dict[str, Interval]:
    """AUROC, AP and F1-max of image scores, with intervals.

    Parameters
    ----------
    scores : ndarray
        `(N,)`, without NaN; higher is more abnormal.
    abnormal : ndarray
        `(N,)` bool, with both kinds.
    resamples : int
        Of the bootstrap; 0 leaves the intervals out, which are NaN then.

    Raises
    ------
    ValueError
        If a score is NaN.

    Examples
    --------
    >>> scores, abnormal = np.array([0.1, 0.4, 0.3, 0.9]), np.array([False, False, True, True])
    >>> image_metrics(scores, abnormal)["AUROC"].value
    0.75
    >>> list(image_metrics(scores, abnormal))
    ['AUROC', 'AP', 'F1-max']
    """
    return {
        name: found.interval for name, found in image_resamples(scores, abnormal, resamples).items()
    }


def pixel_metrics(
    maps: NDArray[np.floating],
    masks: NDArray[np.bool_],
    abnormal: NDArray[np.bool_],
    resamples: int = 1000,
) -> dict[str, Interval]:
    """AUROC, AP and AUPRO of all pixels, with intervals over images.

    Parameters
    ----------
    maps : ndarray
        `(N, H, W)` float32, without NaN; higher is more abnormal.
    masks : ndarray
        `(N, H, W)` bool, neither all empty nor all full.
    abnormal : ndarray
        `(N,)` bool.
    resamples : int
        Of the bootstrap; 0 leaves the intervals out, which are NaN then.

    Raises
    ------
    ValueError
        If a map holds NaN.

    Examples
    --------
    >>> masks = np.zeros((4, 16, 16), bool)
    >>> masks[2:, 4:9, 4:9] = True
    >>> found = pixel_metrics(masks.astype(np.float32), masks, abnormal=masks.any((1, 2)))
    >>> {name: round(interval.value, 6) for name, interval in found.items()}
    {'AUROC': 1.0, 'AP': 1.0, 'AUPRO': 1.0}
    """
    return {
        name: found.interval
        for name, found in pixel_resamples(maps, masks, abnormal, resamples).items()
    }


def image_resamples(
    scores: NDArray[np.floating], abnormal: NDArray[np.bool_], resamples: int = 1000
) -> dict[str, Resampled]:
    """AUROC, AP and F1-max of image scores, and of their bootstrap.

    Parameters
    ----------
    scores : ndarray
        `(N,)`, without NaN.
    abnormal : ndarray
        `(N,)` bool, with both kinds.
    resamples : int
        Of the bootstrap (normal and abnormal images drawn separately, seed 0); 0 leaves it out.

    Raises
    ------
    ValueError
        If a score is NaN.

    Examples
    --------
    >>> scores, abnormal = np.array([0.1, 0.4, 0.3, 0.9]), np.array([False, False, True, True])
    >>> image_resamples(scores, abnormal, resamples=100)["AUROC"].drawn.shape
    (100,)
    """
    scores = np.asarray(scores, np.float64)
    if np.isnan(scores).any():
        raise ValueError("the scores hold NaN")
    order = np.argsort(-scores, kind="stable")
    falling, kind = scores[order], np.asarray(abnormal, bool)[order]
    starts = np.flatnonzero(np.concatenate([[True], falling[1:] != falling[:-1]]))
    metrics = {"AUROC": auroc, "AP": average_precision, "F1-max": f1_max}

    def steps(counts: NDArray[np.float64]) -> tuple[StepWeights, StepWeights]:
        return np.add.reduceat(counts * kind, starts, -1), np.add.reduceat(
            counts * ~kind, starts, -1
        )

    exact = steps(np.ones(len(scores)))
    drawn: dict[str, list[NDArray[np.float64]]] = {name: [np.empty(0)] for name in metrics}
    counts = bootstrap_counts(abnormal, resamples)[:, order]
    for start in range(0, resamples, _CHUNK):
        part = steps(counts[start : start + _CHUNK])
        for name, metric in metrics.items():
            drawn[name].append(metric(*part))
    return {
        name: Resampled(float(metric(*exact)), np.concatenate(drawn[name]))
        for name, metric in metrics.items()
    }


def pixel_resamples(
    maps: NDArray[np.floating],
    masks: NDArray[np.bool_],
    abnormal: NDArray[np.bool_],
    resamples: int = 1000,
) -> dict[str, Resampled]:
    """AUROC, AP and AUPRO of all pixels, and of a bootstrap over images.

    Parameters
    ----------
    maps : ndarray
        `(N, H, W)` float32, without NaN.
    masks : ndarray
        `(N, H, W)` bool, neither all empty nor all full.
    abnormal : ndarray
        `(N,)` bool, for the bootstrap: the two kinds are drawn separately.
    resamples : int
        Their metrics are from histograms of some 2000 bins and shifted by what this changes in the
        value, which is exact; 0 leaves them out.

    Raises
    ------
    ValueError
        If a map holds NaN.

    Examples
    --------
    >>> masks = np.zeros((4, 16, 16), bool)
    >>> masks[2:, 4:9, 4:9] = True
    >>> found = pixel_resamples(masks.astype(np.float32), masks, masks.any((1, 2)), resamples=50)
    >>> found["AUPRO"].drawn.shape
    (50,)
    """
    pixels = _pixels(maps, masks)
    exact = _exact_steps(pixels)
    metrics: dict[str, Callable[[StepWeights, StepWeights, StepWeights], StepWeights]] = {
        "AUROC": lambda positive, negative, _: auroc(positive, negative),
        "AP": lambda positive, negative, _: average_precision(positive, negative),
        "AUPRO": lambda _, negative, regions: aupro(regions, negative),
    }
    values = {name: float(metric(*exact)) for name, metric in metrics.items()}
    if not resamples:
        return {name: Resampled(value, np.empty(0)) for name, value in values.items()}
    counts = bootstrap_counts(abnormal, resamples)
    binned = _binned_steps(pixels)
    drawn = [counts @ part for part in binned]
    whole = [part.sum(0) for part in binned]  # what the bins cost here they cost every resample
    return {
        name: Resampled(values[name], metric(*drawn) + values[name] - metric(*whole))
        for name, metric in metrics.items()
    }


def bootstrap_counts(abnormal: NDArray[np.bool_], resamples: int) -> NDArray[np.float64]:
    """How often each image is drawn in each resample, `(resamples, N)` float64.

    Examples
    --------
    >>> bootstrap_counts(np.array([True, False, False]), 2)[:, 0].tolist()
    [1.0, 1.0]
    """
    rng = np.random.default_rng(0)
    counts = np.zeros((resamples, len(abnormal)))
    for kind in (True, False):
        members = np.flatnonzero(abnormal == kind)
        if len(members):
            counts[:, members] = rng.multinomial(
                len(members), np.full(len(members), 1 / len(members)), resamples
            )
    return counts


@dataclass(frozen=True)
class _Pixels:
    """All pixels in rising order, and those of every image in rising order.

    `inside` are the abnormal values, each with the `weight` one over the size of its 8-connected
    region.
    """

    outside: NDArray[np.float32]
    inside: NDArray[np.float32]
    weight: NDArray[np.float64]
    outside_of: list[NDArray[np.float32]]
    inside_of: list[NDArray[np.float32]]
    weight_of: list[NDArray[np.float64]]


def _pixels(maps: NDArray[np.floating], masks: NDArray[np.bool_]) -> _Pixels:
    outside_of, inside_of, weight_of = [], [], []
    for values, mask in zip(np.asarray(maps, np.float32), masks, strict=True):
        outside_of.append(np.sort(values[~mask]))
        numbers = label(mask, _EIGHT_NEIGHBOURS)[0][mask]
        order = np.argsort(values[mask])
        inside_of.append(values[mask][order])
        weight_of.append(1 / np.bincount(numbers)[numbers[order]])
    outside, inside = np.concatenate(outside_of), np.concatenate(inside_of)
    outside.sort()
    order = np.argsort(inside)
    inside = inside[order]
    if any(len(part) and np.isnan(part[-1]) for part in (outside, inside)):  # NaN sorts last
        raise ValueError("the maps hold NaN")
    return _Pixels(
        outside, inside, np.concatenate(weight_of)[order], outside_of, inside_of, weight_of
    )


def _exact_steps(pixels: _Pixels) -> tuple[StepWeights, ...]:
    """A step per distinct abnormal value, and between two of them one of all the normal pixels
    there.

    No metric here tells such normal pixels apart: hits and overlap do not change between them. So
    the many normal pixels need no more than a sort of bare values.
    """
    inside = pixels.inside
    starts = np.flatnonzero(np.concatenate([[True], inside[1:] != inside[:-1]]))
    below = np.searchsorted(pixels.outside, inside[starts], "left")
    upto = np.searchsorted(pixels.outside, inside[starts], "right")
    steps = np.zeros((3, 2 * len(starts) + 1))
    steps[0, 1::2] = np.diff(np.append(starts, len(inside)))
    steps[1, 0::2] = np.append(below, len(pixels.outside)) - np.insert(upto, 0, 0)
    steps[1, 1::2] = upto - below
    steps[2, 1::2] = np.add.reduceat(pixels.weight, starts)
    return tuple(steps[:, ::-1])


def _binned_steps(pixels: _Pixels) -> tuple[StepWeights, ...]:
    """The steps of every image, `(N, T)`, between quantiles of abnormal and of normal pixels."""
    ranks = np.linspace(0, 1, _BINS // 2)
    parts = (pixels.outside, pixels.inside)
    edges = np.unique(
        np.concatenate([part[np.rint(ranks * (len(part) - 1)).astype(int)] for part in parts])
    )
    steps = np.zeros((3, len(pixels.outside_of), len(edges) + 1))
    for i, (outside, inside, weight) in enumerate(
        zip(pixels.outside_of, pixels.inside_of, pixels.weight_of, strict=True)
    ):
        # What is below each edge in turn: a few searches in sorted pixels, not one for every pixel.
        steps[1, i] = np.diff(np.searchsorted(outside, edges), prepend=0, append=len(outside))
        if len(inside):
            ends = np.searchsorted(inside, edges)
            steps[0, i] = np.diff(ends, prepend=0, append=len(inside))
            sums = np.insert(np.cumsum(weight), 0, 0)
            steps[2, i] = np.diff(sums[ends], prepend=0, append=sums[-1])
    return tuple(steps[:, :, ::-1])
