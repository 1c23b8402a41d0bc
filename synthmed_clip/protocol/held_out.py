"""Held-out test images as the protocol sees them, and the figures of a detector on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from synthmed.digests import digest_file, digest_json
from synthmed_clip.backbone.pixels import to_pixels
from synthmed_clip.data.duplicates import Duplicate
from synthmed_clip.data.images import squares_of
from synthmed_clip.data.layouts import Dataset, Item
from synthmed_clip.data.values import Values
from synthmed_clip.detector import Detector
from synthmed_clip.evaluation.evaluate import evaluate_scores
from synthmed_clip.methods.base import Channels, Scores
from synthmed_clip.protocol.results import Result, Run

_BATCH = 16


class HeldOut:
    """A data set's test images as the backbone sees them, read when they are needed."""

    def __init__(self, dataset: Dataset, size: int) -> None:
        self.name, self.items, self._size = dataset.name, dataset.test, size
        self._squares: dict[Channels, tuple[Values, NDArray[np.uint8]]] = {}

    @cached_property
    def abnormal(self) -> NDArray[np.bool_]:
        """Labels."""
        return np.array([item.abnormal for item in self.items])

    def unseen(self, repeated: Sequence[Duplicate]) -> NDArray[np.bool_]:
        """Which items are not the second of any pair."""
        seen = {pair.second for pair in repeated}
        return np.array([item.image not in seen for item in self.items], bool)

    def scored_by(self, detector: Detector) -> Scores:
        """Score the images, in batches."""
        channels = detector.method.scored_channels
        values, images = self._squares.get(channels, (None, np.empty(0, np.uint8)))
        if values != detector.values:  # of 8-bit images they are always the same
            paths = [item.image for item in self.items]
            images = squares_of(paths, self._size, detector.values, channels == "grey")
            self._squares[channels] = detector.values, images
        found = [
            detector.fitted.score(to_pixels(images[start : start + _BATCH]))
            for start in range(0, len(images), _BATCH)
        ]
        return Scores(
            torch.cat([part.scores.cpu() for part in found]),
            torch.cat([part.maps.cpu() for part in found]),
        )


def result_of(run: Run, test: HeldOut, detector: Detector, unseen: NDArray[np.bool_]) -> Result:
    """Compute a result's figures, over all test images and over those that the run has not nearly
    seen.
    """
    found, threshold = test.scored_by(detector), detector.threshold
    whole = evaluate_scores(found, test.items, threshold, resamples=0)
    part = whole.figures()
    if not unseen.all():
        part = {}
        if len(set(test.abnormal[unseen].tolist())) == 2:
            items = [item for item, keep in zip(test.items, unseen, strict=True) if keep]
            kept = Scores(found.scores[unseen], found.maps[unseen])
            part = evaluate_scores(kept, items, threshold, resamples=0).figures()
    return Result(
        run=run,
        test=test.name,
        figures=whole.figures(),
        unseen=part,
        threshold=whole.threshold,
        sensitivity=whole.sensitivity,
        specificity=whole.specificity,
        seconds=0.0,
        scores=whole.scores,
    )


def content(training: Iterable[Path], items: Iterable[Item]) -> str:
    """Digest of what a result depends on: training images and labelled items in their order, not
    where they lie.
    """
    rows = [["train", digest_file(path)] for path in training]
    rows += [
        [str(item.abnormal), *(digest_file(p) for p in (item.image, item.mask) if p is not None)]
        for item in items
    ]
    return digest_json(rows)
