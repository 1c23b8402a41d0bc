"""ROC and precision-recall curves of image scores, with pointwise bootstrap bands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthmed_clip.evaluation.metrics import bootstrap_counts

_GRID = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Curve:
    """A curve and its 95 % band.

    Attributes
    ----------
    x, y : ndarray
        The curve itself, `(P,)` float64, a point for every distinct score.
    grid, low, high : ndarray
        The band, `(G,)` float64: at each place of `grid`, 2.5th and 97.5th percentile over
        resamples.

    Examples
    --------
    >>> roc, _ = curves(np.array([0.1, 0.9]), np.array([False, True]))
    >>> isinstance(roc, Curve), roc.grid.shape == roc.low.shape == roc.high.shape
    (True, True)
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    grid: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def curves(
    scores: NDArray[np.floating], abnormal: NDArray[np.bool_], resamples: int = 1000
) -> tuple[Curve, Curve]:
    """Return the ROC curve and the precision-recall curve.

    Parameters
    ----------
    scores : ndarray
        `(N,)`.
    abnormal : ndarray
        `(N,)` bool, with both kinds.
    resamples : int
        Of the bootstrap over images, the same as that of the metrics' intervals.

    Notes
    -----
    The areas under the two, by trapezoids and by steps, are AUROC and AP as
    `synthmed_clip.evaluation.metrics` has them.

    Examples
    --------
    >>> scores, abnormal = np.array([0.1, 0.4, 0.3, 0.9]), np.array([False, False, True, True])
    >>> roc, precision_recall = curves(scores, abnormal)
    >>> roc.x.tolist(), roc.y.tolist()
    ([0.0, 0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0])
    >>> precision_recall.x.tolist()
    [0.5, 0.5, 1.0, 1.0]
    """
    levels, level_of = np.unique(-np.asarray(scores, np.float64), return_inverse=True)
    counts = np.concatenate(
        [np.ones((1, len(scores))), bootstrap_counts(abnormal, resamples)]
    )  # all, then the draws
    at_level = np.eye(len(levels))[level_of]
    hits = (counts[:, abnormal] @ at_level[abnormal]).cumsum(1)
    alarms = (counts[:, ~abnormal] @ at_level[~abnormal]).cumsum(1)
    recall = hits / hits[:, -1:]
    rate = np.concatenate([np.zeros((len(counts), 1)), alarms / alarms[:, -1:]], axis=1)
    roc = np.concatenate([np.zeros((len(counts), 1)), recall], axis=1)
    precision = hits / np.maximum(hits + alarms, 1)  # a resample may lack the highest scores
    at_rate = np.stack([np.interp(_GRID, *pair) for pair in zip(rate[1:], roc[1:], strict=True)])
    reach = _GRID[1:]  # no precision without any recall
    at_recall = np.stack(
        [
            p[np.searchsorted(r, reach - 1e-12)]
            for r, p in zip(recall[1:], precision[1:], strict=True)
        ]
    )
    return (
        Curve(rate[0], roc[0], _GRID, *np.percentile(at_rate, [2.5, 97.5], axis=0)),
        Curve(recall[0], precision[0], reach, *np.percentile(at_recall, [2.5, 97.5], axis=0)),
    )
