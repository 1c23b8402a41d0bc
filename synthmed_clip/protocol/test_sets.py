"""Test sets as the protocol sees them, and the figures of what a method found on one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np
from torch import Tensor

from synthmed_clip.backbone.pixels import to_pixels
from synthmed_clip.data.duplicates import Duplicate
from synthmed_clip.data.images import square
from synthmed_clip.data.layouts import Dataset, Item
from synthmed_clip.detector import Detector
from synthmed_clip.evaluation.evaluate import evaluate_maps
from synthmed_clip.methods.baselines import Found
from synthmed_clip.protocol.results import Result, Run


class TestSet:
    """A data set's test images as the backbone sees them, read when they are needed."""

    def __init__(self, dataset: Dataset, size: int) -> None:
        self.name, self.items, self._size = dataset.name, dataset.test, size

    @cached_property
    def grey(self) -> Tensor:
        return self._read(True)

    @cached_property
    def colour(self) -> Tensor:
        return self._read(False)

    @cached_property
    def abnormal(self) -> np.ndarray:
        """Labels, bool."""
        return np.array([item.abnormal for item in self.items])

    def apart(self, repeated: Sequence[Duplicate]) -> np.ndarray:
        """Which items are not the second of any pair, bool."""
        seen = {pair.second for pair in repeated}
        return np.array([item.image not in seen for item in self.items], bool)

    def _read(self, grey: bool) -> Tensor:
        return to_pixels(np.stack([square(item.image, self._size, grey)[0] for item in self.items]))


def judge(
    run: Run, test: TestSet, found: Found, detector: Detector | None, apart: np.ndarray
) -> Result:
    """Compute a result's figures, over all test images and over those that are `apart` from what
    the run has seen.
    """
    threshold = detector.threshold if detector else 0.0
    whole = evaluate_maps(found.maps, found.scores, test.items, threshold, resamples=0)
    part = whole.figures()
    if not apart.all():
        part = {}
        if len(set(test.abnormal[apart].tolist())) == 2:
            items = [item for item, keep in zip(test.items, apart, strict=True) if keep]
            part = evaluate_maps(
                found.maps[apart], found.scores[apart], items, threshold, resamples=0
            ).figures()
    return Result(
        run=run,
        test=test.name,
        figures=whole.figures(),
        apart=part,
        threshold=whole.threshold if detector else None,
        sensitivity=whole.sensitivity if detector else None,
        specificity=whole.specificity if detector else None,
        seconds=0.0,
        scores=whole.scores,
    )


def content(training: Iterable[Path], items: Iterable[Item]) -> str:
    """Digest of what a result depends on: training images and labelled items in their order, not
    where they lie.
    """
    sha = sha256()
    rows = [("train", path, None) for path in training] + [
        (str(item.abnormal), item.image, item.mask) for item in items
    ]
    for label, image, mask in rows:
        files = [
            sha256(path.read_bytes()).hexdigest() for path in (image, mask) if path is not None
        ]
        sha.update(" ".join([label, *files, ""]).encode())
    return sha.hexdigest()
