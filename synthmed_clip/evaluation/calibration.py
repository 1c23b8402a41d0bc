"""The decision of a detector that has seen no real anomaly: its threshold, its p-values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

import synthmed
from synthmed_clip.training.seeds import CALIBRATION, Entropy

if TYPE_CHECKING:
    from torch import Tensor

_ROUNDS = 4
_BATCH = 8


def p_value(score: float, normal: Sequence[float]) -> float:
    """Return how rarely a normal image would score as high (conformal; Vovk et al., 2005).

    Parameters
    ----------
    score : float
        Of the image in question.
    normal : sequence of float
        Scores of k normal images, each left out of what judges it.

    Returns
    -------
    float
        `(1 + #{s >= score}) / (k + 1)`: at least 1 / (k + 1). If the image is normal and
        exchangeable with the k, and all are judged alike, it is at most alpha with a probability
        of at most alpha.

    Examples
    --------
    >>> p_value(0.9, [0.1, 0.2, 0.95, 0.3])
    0.4
    >>> p_value(1.0, [0.1, 0.2, 0.95, 0.3])
    0.2
    """
    return (1 + sum(other >= score for other in normal)) / (len(normal) + 1)


def require_attainable(alpha: float, count: int) -> None:
    """Refuse a level that no p-value against `count` normal images can reach.

    Raises
    ------
    ValueError
        That says how many images are needed; or if `alpha` is not above 0 and below 1.

    Examples
    --------
    >>> require_attainable(0.05, 19)
    >>> require_attainable(0.05, 16)
    Traceback (most recent call last):
    ValueError: alpha=0.05 needs 19 normal images: against 16, a p-value is at least 0.0588
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be above 0 and below 1, not {alpha}")
    if alpha * (count + 1) < 1 - 1e-9:
        needed = math.ceil(1 / alpha - 1e-9) - 1
        least = f"a p-value is at least {1 / (count + 1):.4f}"
        raise ValueError(f"alpha={alpha} needs {needed} normal images: against {count}, {least}")


def threshold_of(alpha: float, normal: Sequence[float]) -> float:
    """Return the score above which the p-value is at most alpha.

    Parameters
    ----------
    alpha : float
    normal : sequence of float
        The scores that p-values are against.

    Raises
    ------
    ValueError
        As `require_attainable`.

    Examples
    --------
    >>> threshold_of(0.4, [0.1, 0.2, 0.95, 0.3]), p_value(0.31, [0.1, 0.2, 0.95, 0.3])
    (0.3, 0.4)
    """
    require_attainable(alpha, len(normal))
    return float(sorted(normal)[-math.floor(alpha * (len(normal) + 1) + 1e-9)])


def synthetic_threshold(
    score: Callable[[Tensor, Tensor | None], Tensor],
    support: Tensor,
    recipe: synthmed.Generator,
    entropy: Entropy,
    inside: Tensor | None = None,
) -> float:
    """Return the score that best separates support images from synthetic anomalies on them.

    Parameters
    ----------
    score : callable
        Scores `(B,)` of images `(B, C, S, S)`, and of their regions where there are any.
    support : Tensor
        `(k, C, S, S)` float32, whole numbers from 0 to 255.
    recipe : Generator
        Draws four anomalies on each.
    entropy : tuple of int
        The seed.
    inside : Tensor, optional
        The images' regions of interest, `(k, S, S)` bool, in which the anomalies are drawn.

    Examples
    --------
    >>> import torch
    >>> from synthmed import PerlinMask, Source
    >>> support = torch.arange(64 * 64.0).reshape(1, 1, 64, 64).mul(7).remainder(256)
    >>> recipe = Source(PerlinMask())
    >>> threshold = synthetic_threshold(lambda p, _: -p.mean((1, 2, 3)), support, recipe, (7,))
    >>> -255 < threshold < 0
    True
    """
    import torch

    from synthmed_clip.backbone.pixels import to_pixels
    from synthmed_clip.training.steps import as_bytes, synthesise

    images = as_bytes(support)
    regions = None if inside is None else inside.numpy()
    pairs = [
        synthesise(recipe, images, index, entropy, (CALIBRATION, turn), regions)
        for turn in range(_ROUNDS)
        for index in range(len(images))
    ]
    pixels = torch.cat([support, to_pixels(np.stack([image for image, _ in pairs]))])
    batches = list(pixels.split(_BATCH))
    within: list[Tensor | None] = [None] * len(batches)
    if inside is not None:
        within = list(inside.repeat(_ROUNDS + 1, 1, 1).split(_BATCH))
    scored = [score(batch, part).cpu() for batch, part in zip(batches, within, strict=True)]
    scores = torch.cat(scored)
    abnormal = np.array([False] * len(images) + [bool(mask.any()) for _, mask in pairs])
    return best_threshold(scores.numpy(), abnormal)


def best_threshold(
    scores: NDArray[np.floating],
    abnormal: NDArray[np.bool_],
    criterion: Literal["youden", "f1"] = "youden",
) -> float:
    """Return the threshold of highest balanced accuracy or F1, in the middle of the widest gap that
    attains it.

    Parameters
    ----------
    scores : ndarray
        `(n,)`, higher is more abnormal.
    abnormal : ndarray
        `(n,)` bool; without any abnormal one the largest score is returned.
    criterion : {'youden', 'f1'}
        Youden's index is twice the balanced accuracy, less 1.

    Examples
    --------
    >>> best_threshold(np.array([0.0, 1.0, 3.0, 4.0]), np.array([False, False, True, True]))
    2.0
    >>> kinds = np.array([False, True, False, False, False, True])
    >>> best_threshold(np.arange(6.0), kinds), best_threshold(np.arange(6.0), kinds, "f1")
    (4.5, 4.5)
    """
    if not abnormal.any():
        return float(scores.max())
    scores = scores.astype(np.float64)
    levels = np.unique(scores)
    middle = (levels[1:] + levels[:-1]) / 2
    if not len(middle):
        return float(levels[0])
    flagged = len(scores) - np.searchsorted(np.sort(scores), middle, "right")
    hits = abnormal.sum() - np.searchsorted(np.sort(scores[abnormal]), middle, "right")
    if criterion == "f1":
        value = 2 * hits / (flagged + abnormal.sum())
    else:
        value = hits / abnormal.sum() - (flagged - hits) / max(1, (~abnormal).sum())
    best = np.flatnonzero(value >= value.max() - 1e-12)
    return float(middle[best[np.argmax(np.diff(levels)[best])]])
