"""Is one method better than another on the same images? DeLong's test, and a paired bootstrap for
other metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from synthmed_clip.evaluation.metrics import Resampled, image_resamples
from synthmed_clip.evaluation.pixels import pixel_resamples


@dataclass(frozen=True)
class Comparison:
    """A metric of two methods, `a` and `b`, on the same images.

    Attributes
    ----------
    a, b : float
    difference : float
        `a - b`.
    standard_error : float
        Of the difference.
    low, high : float
        95 % interval of the difference.
    z : float
        The difference in standard errors; 0 where there is no difference.
    p : float
        Two-sided, against no difference.

    Examples
    --------
    >>> print(Comparison(0.9, 0.8, 0.1, 0.05, 0.002, 0.198, z=2.0, p=0.0455))
    0.9000 against 0.8000: +0.1000 [+0.0020, +0.1980], p = 0.045
    """

    a: float
    b: float
    difference: float
    standard_error: float
    low: float
    high: float
    z: float
    p: float

    def __str__(self) -> str:
        interval = f"{self.difference:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"
        return f"{self.a:.4f} against {self.b:.4f}: {interval}, p = {self.p:.2g}"


def delong(
    a: NDArray[np.floating], b: NDArray[np.floating], abnormal: NDArray[np.bool_]
) -> Comparison:
    """Compare the AUROC of two methods on the same images by DeLong's test.

    Parameters
    ----------
    a, b : ndarray
        `(N,)` scores of the two methods, finite; higher is more abnormal.
    abnormal : ndarray
        `(N,)` bool, at least two images of each kind.

    Returns
    -------
    Comparison
        Where the difference has no variance by this estimate (as between scores that both separate
        the kinds fully, or not at all), p is 1 if there is no difference and 0 if there is one.

    Raises
    ------
    ValueError
        If the shapes differ, a score is not finite, or there are fewer than two images of a kind.

    Notes
    -----
    The test is asymptotic and takes images as independent of each other: several images of one
    patient are not. O(N log N), by the mid-ranks of Sun and Xu.

    References
    ----------
    DeLong, DeLong, Clarke-Pearson, Biometrics 44 (1988) 837. Sun, Xu, IEEE Signal Processing
    Letters 21 (2014) 1389.

    Examples
    --------
    >>> abnormal = np.array([False, False, False, True, True, True])
    >>> good, worse = np.array([1.0, 2, 3, 4, 5, 6]), np.array([1.0, 5, 3, 4, 2, 6])
    >>> found = delong(good, worse, abnormal)
    >>> round(found.a, 3), round(found.b, 3), found.p < 0.05
    (1.0, 0.667, False)
    """
    *both, abnormal = _checked(a, b, abnormal)
    scores = np.stack(both)
    positives, negatives = scores[:, abnormal], scores[:, ~abnormal]
    m, n = positives.shape[1], negatives.shape[1]
    if min(m, n) < 2:
        raise ValueError(
            f"at least two images of each kind are needed, not {m} abnormal and {n} normal"
        )
    ranks = rankdata(scores, axis=1)
    # The share of normal images below each abnormal one, and of abnormal images above each normal
    # one; ties are half.
    above = (ranks[:, abnormal] - rankdata(positives, axis=1)) / n
    below = 1 - (ranks[:, ~abnormal] - rankdata(negatives, axis=1)) / m
    area = above.mean(1)
    difference = float(area[0] - area[1])
    variance = (above[0] - above[1]).var(ddof=1) / m + (below[0] - below[1]).var(ddof=1) / n
    error = float(np.sqrt(variance))
    z = _in_errors(difference, error)
    half = norm.ppf(0.975) * error
    return Comparison(
        float(area[0]),
        float(area[1]),
        difference,
        error,
        difference - half,
        difference + half,
        z,
        float(2 * norm.sf(abs(z))),
    )


def paired_bootstrap(
    a: Sequence[NDArray[np.floating]] | NDArray[np.floating],
    b: Sequence[NDArray[np.floating]] | NDArray[np.floating],
    abnormal: NDArray[np.bool_],
    masks: Sequence[NDArray[np.bool_]] | NDArray[np.bool_] | None = None,
    resamples: int = 1000,
) -> dict[str, Comparison]:
    """Compare two methods on the same images by every metric, on the same resamples of the images
    for both.

    Parameters
    ----------
    a, b : ndarray, or sequence of ndarray
        Scores `(N,)`, or with masks maps `(N, H, W)`, of the two methods; finite. Of volumes, N
        maps `(D, H, W)`.
    abnormal : ndarray
        `(N,)` bool, with both kinds.
    masks : ndarray, or sequence of ndarray, optional
        Of the maps' shapes, bool.
    resamples : int
        Normal and abnormal images are drawn separately, seed 0, as for the intervals of `metrics`.

    Returns
    -------
    dict of Comparison
        AUROC, AP and F1-max of scores; AUROC, AP and AUPRO of maps. The standard error and the
        interval are of the resampled differences; p is twice the share of them on the rarer side of
        zero, at least 2 / (resamples + 1).

    Raises
    ------
    ValueError
        If the shapes differ, a value is not finite, or a kind of image or the resamples are
        missing.

    References
    ----------
    Efron, Tibshirani, An Introduction to the Bootstrap (1993), chapters 13 and 15.

    Examples
    --------
    >>> abnormal = np.array([False, False, False, True, True, True])
    >>> good, worse = np.array([1.0, 2, 3, 4, 5, 6]), np.array([1.0, 5, 3, 4, 2, 6])
    >>> found = paired_bootstrap(good, worse, abnormal)
    >>> list(found), round(found["AUROC"].difference, 3)
    (['AUROC', 'AP', 'F1-max'], 0.333)
    """
    if resamples < 1:
        raise ValueError("a bootstrap needs resamples")
    abnormal = np.asarray(abnormal, bool)
    if masks is None:
        *scores, abnormal = _checked(np.asarray(a), np.asarray(b), abnormal)
        _require_both_kinds(abnormal)
        first, second = (image_resamples(part, abnormal, resamples) for part in scores)
    else:
        for one, other in zip(a, b, strict=True):
            _checked(one[None], other[None], np.ones(1, bool))
        _require_both_kinds(abnormal)
        shapes = [[np.shape(part) for part in parts] for parts in (masks, a)]
        if shapes[0] != shapes[1] or len(a) != len(abnormal):
            raise ValueError(
                f"masks of shape {_shape(masks)} for maps of shape {_shape(a)} of {len(abnormal)} "
                f"images"
            )
        first, second = (pixel_resamples(part, masks, abnormal, resamples) for part in (a, b))
    return {name: _bootstrapped(first[name], second[name]) for name in first}


def _bootstrapped(a: Resampled, b: Resampled) -> Comparison:
    drawn = a.drawn - b.drawn
    rarer = min((drawn <= 0).sum(), (drawn >= 0).sum())
    difference, error = a.value - b.value, float(drawn.std(ddof=1)) if len(drawn) > 1 else 0.0
    low, high = np.percentile(drawn, [2.5, 97.5])
    p = min(1.0, 2 * (int(rarer) + 1) / (len(drawn) + 1))
    return Comparison(
        a.value,
        b.value,
        difference,
        error,
        float(low),
        float(high),
        _in_errors(difference, error),
        p,
    )


def _require_both_kinds(abnormal: NDArray[np.bool_]) -> None:
    if abnormal.all() or not abnormal.any():
        raise ValueError("the images are all of one kind; normal and abnormal ones are needed")


def _shape(arrays: Sequence[NDArray[np.generic]] | NDArray[np.generic]) -> str:
    return str(arrays.shape if isinstance(arrays, np.ndarray) else [part.shape for part in arrays])


def _in_errors(difference: float, error: float) -> float:
    if difference == 0:
        return 0.0
    return difference / error if error > 0 else float(np.copysign(np.inf, difference))


def _checked(
    a: NDArray[np.floating], b: NDArray[np.floating], abnormal: NDArray[np.bool_]
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.bool_]]:
    a, b, abnormal = np.asarray(a), np.asarray(b), np.asarray(abnormal, bool)
    if a.shape != b.shape or a.shape[:1] != abnormal.shape:
        raise ValueError(f"values of shapes {a.shape} and {b.shape} for {abnormal.shape} images")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("the values hold NaN or infinity")
    return a, b, abnormal
