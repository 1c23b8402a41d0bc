"""The threshold of a detector that has seen no real anomaly."""

from __future__ import annotations

import numpy as np
import torch

from synthmed_clip.backbone.pixels import to_pixels
from synthmed_clip.detector import Detector
from synthmed_clip.training.steps import CALIBRATION, SyntheticSteps, synthesise

_ROUNDS = 4


def calibrate(detector: Detector, steps: SyntheticSteps) -> float:
    """Return the score that best separates the support images from synthetic anomalies on them."""
    support, size = steps.images, steps.batch_size
    pairs = [(image, np.zeros(image.shape, bool)) for image in support]
    for turn in range(_ROUNDS):
        key = (CALIBRATION, turn)
        pairs += [
            synthesise(steps.recipe, support, i, steps.entropy, key) for i in range(len(support))
        ]
    images = to_pixels(np.stack([image for image, _ in pairs]))
    scores = torch.cat(
        [detector.map_batch(batch).amax((1, 2)).cpu() for batch in images.split(size)]
    )
    return best_threshold(scores.numpy(), np.array([mask.any() for _, mask in pairs]))


def best_threshold(scores: np.ndarray, abnormal: np.ndarray) -> float:
    """Return the threshold of highest balanced accuracy, in the middle of the widest gap that
    attains it.

    Parameters
    ----------
    scores : ndarray
        `(n,)`, higher is more abnormal.
    abnormal : ndarray
        `(n,)` bool; without any abnormal one the largest score is returned.
    """
    if not abnormal.any():
        return float(scores.max())
    levels = np.unique(scores.astype(np.float64))
    middle = (levels[1:] + levels[:-1]) / 2
    if not len(middle):
        return float(levels[0])
    hits = (scores[abnormal] > middle[:, None]).mean(1)
    passes = (scores[~abnormal] <= middle[:, None]).mean(1)
    best = np.flatnonzero(hits + passes >= (hits + passes).max() - 1e-12)
    return float(middle[best[np.argmax(np.diff(levels)[best])]])
