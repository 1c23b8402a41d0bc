"""Metrics of all pixels of many images, without a step for each pixel; and their bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from synthmed_clip.evaluation.metrics import (
    Interval,
    Resampled,
    StepWeights,
    aupro,
    auroc,
    average_precision,
    bootstrap_counts,
)

_BINS = 2000  # of the resampled metrics, whose values stay exact


def pixel_metrics(
    maps: Sequence[NDArray[np.floating]] | NDArray[np.floating],
    masks: Sequence[NDArray[np.bool_]] | NDArray[np.bool_],
    abnormal: NDArray[np.bool_],
    resamples: int = 1000,
) -> dict[str, Interval]:
    """AUROC, AP and AUPRO of all pixels, with intervals over images.

    Parameters
    ----------
    maps : ndarray, or sequence of ndarray
        `(N, H, W)`, or N of `(H, W)` or, of volumes, `(D, H, W)`; float32, without NaN; higher is
        more abnormal.
    masks : ndarray, or sequence of ndarray
        Of the same shapes, bool, neither all empty nor all full. AUPRO's regions touch by a corner
        at least, in volumes too.
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


def pixel_resamples(
    maps: Sequence[NDArray[np.floating]] | NDArray[np.floating],
    masks: Sequence[NDArray[np.bool_]] | NDArray[np.bool_],
    abnormal: NDArray[np.bool_],
    resamples: int = 1000,
) -> dict[str, Resampled]:
    """AUROC, AP and AUPRO of all pixels, and of a bootstrap over images.

    Parameters
    ----------
    maps, masks : ndarray, or sequence of ndarray
        As of `pixel_metrics`.
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
        name: Resampled(values[name], np.clip(metric(*drawn) + values[name] - metric(*whole), 0, 1))
        for name, metric in metrics.items()
    }


@dataclass(frozen=True)
class _Pixels:
    """All pixels in rising order, and those of every image in rising order.

    `inside` are the abnormal values, each with the `weight` one over the size of its region, which
    is connected by corners.
    """

    outside: NDArray[np.float32]
    inside: NDArray[np.float32]
    weight: NDArray[np.float64]
    outside_of: list[NDArray[np.float32]]
    inside_of: list[NDArray[np.float32]]
    weight_of: list[NDArray[np.float64]]


def _pixels(
    maps: Sequence[NDArray[np.floating]] | NDArray[np.floating],
    masks: Sequence[NDArray[np.bool_]] | NDArray[np.bool_],
) -> _Pixels:
    outside_of, inside_of, weight_of = [], [], []
    for own, mask in zip(maps, masks, strict=True):
        values = np.asarray(own, np.float32)
        outside_of.append(np.sort(values[~mask]))
        numbers = label(mask, np.ones((3,) * mask.ndim, int))[0][mask]
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
