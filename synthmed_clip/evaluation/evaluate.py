"""Evaluate a detector on labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from synthmed_clip.data.layouts import Item, read_mask
from synthmed_clip.evaluation.metrics import Interval, image_metrics, pixel_metrics
from synthmed_clip.methods.base import Scores


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes
    ----------
    normal, abnormal, masked : int
        Images of each kind, and abnormal images with a mask.
    image : dict of Interval
        AUROC, AP and F1-max of the scores.
    pixel : dict of Interval
        AUROC, AP and AUPRO of the maps at the backbone's size; empty where no abnormal image has a
        mask.
    threshold, sensitivity, specificity : float
        At the detector's own threshold.
    scores : tuple of float
        In the order of the items.
    """

    normal: int
    abnormal: int
    masked: int
    image: dict[str, Interval]
    pixel: dict[str, Interval]
    threshold: float
    sensitivity: float
    specificity: float
    scores: tuple[float, ...] = field(repr=False)

    def to_dict(self) -> dict:
        """Return JSON-ready data."""
        return asdict(self)

    def figures(self) -> dict[str, float]:
        """Return every metric's value, by names as 'Image-AUROC'."""
        levels = (("Image", self.image), ("Pixel", self.pixel))
        return {
            f"{level}-{name}": found.value
            for level, metrics in levels
            for name, found in metrics.items()
        }

    def __str__(self) -> str:
        lines = [f"{self.normal} normal, {self.abnormal} abnormal images, {self.masked} with masks"]
        for level, metrics in (("Image", self.image), ("Pixel", self.pixel)):
            lines += [f"{level}-{name:<7} {interval}" for name, interval in metrics.items()]
        lines.append(
            f"at threshold {self.threshold:.4f}: sensitivity {self.sensitivity:.3f}, specificity "
            f"{self.specificity:.3f}"
        )
        return "\n".join(lines)


class Scorer(Protocol):
    """What can be evaluated: a detector."""

    @property
    def threshold(self) -> float:
        """Scores above it are anomalous."""

    def score(self, images: Sequence[Path], *, batch_size: int) -> Scores:
        """Score many images."""


def evaluate(
    detector: Scorer, items: Sequence[Item], *, batch_size: int = 16, resamples: int = 1000
) -> Evaluation:
    """Score labelled images and say how well the detector tells them apart.

    Parameters
    ----------
    detector : Detector
    items : sequence of Item
        As `read_dataset` lists them; of both kinds.
    batch_size : int
    resamples : int
        Of the bootstrap over images.

    Notes
    -----
    Pixels are compared at the backbone's size, to which masks are brought by nearest neighbour.
    Abnormal images without a mask take no part in it.
    """
    found = detector.score([item.image for item in items], batch_size=batch_size)
    return evaluate_scores(found, items, detector.threshold, resamples=resamples)


def evaluate_scores(
    found: Scores, items: Sequence[Item], threshold: float, *, resamples: int = 1000
) -> Evaluation:
    """Say how well a method's scores and maps tell labelled images apart.

    Parameters
    ----------
    found : Scores
        Of the items, in their order, on the CPU; where it has no maps, nothing is said of pixels.
    items : sequence of Item
    threshold : float
        Scores above it count as anomalous.
    resamples : int
        Of the bootstrap over images; 0 leaves the intervals out.

    Notes
    -----
    An abnormal image whose mask is empty at the maps' size counts as one without a mask.
    """
    scores, maps = found.scores.numpy(), found.maps.numpy()
    abnormal = np.array([item.abnormal for item in items])
    flagged = scores.astype(np.float64) > threshold
    masks = read_masks(items, maps.shape[-1])
    masked = masks.reshape(len(items), -1).any(1)
    known = masked | ~abnormal
    pixel = (
        pixel_metrics(maps[known], masks[known], abnormal[known], resamples) if masked.any() else {}
    )
    return Evaluation(
        normal=int((~abnormal).sum()),
        abnormal=int(abnormal.sum()),
        masked=int(masked.sum()),
        image=image_metrics(scores, abnormal, resamples),
        pixel=pixel,
        threshold=threshold,
        sensitivity=float(flagged[abnormal].mean()),
        specificity=float((~flagged[~abnormal]).mean()),
        scores=tuple(scores.tolist()),
    )


def read_masks(items: Sequence[Item], size: int) -> np.ndarray:
    """Return the masks of abnormal items, `(N, size, size)` bool; empty where there is none."""
    return np.stack([read_mask(i.mask if i.abnormal else None, size, i.mask_level) for i in items])
