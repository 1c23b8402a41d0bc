"""How well scores and maps tell normal from abnormal, with bootstrap intervals.

Every metric is computed from *steps*: what lies between two neighbouring thresholds, highest first,
as the weight of abnormal and of normal. With one step per distinct score the metric is exact; with
the steps of many resamples side by side it is a bootstrap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CHUNK = 100  # resamples of images at a time


StepWeights = NDArray[np.float64]
"""What lies between neighbouring thresholds, `(..., T)`: weights, highest threshold first."""


@dataclass(frozen=True)
class Interval:
    """A figure and its 95 % interval over images.

    Attributes
    ----------
    value : float
    low, high : float
        Of metrics the 2.5 and 97.5 percentiles over resamples; NaN without resamples.

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
        If a score is NaN, or the images are all of one kind.

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
        If a score is NaN, or the images are all of one kind.

    Examples
    --------
    >>> scores, abnormal = np.array([0.1, 0.4, 0.3, 0.9]), np.array([False, False, True, True])
    >>> image_resamples(scores, abnormal, resamples=100)["AUROC"].drawn.shape
    (100,)
    """
    scores = np.asarray(scores, np.float64)
    if np.isnan(scores).any():
        raise ValueError("the scores hold NaN")
    if len(set(np.asarray(abnormal, bool).tolist())) < 2:
        raise ValueError(
            f"AUROC, AP and F1-max compare normal with abnormal images; all {len(scores)} are of "
            f"one kind"
        )
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
