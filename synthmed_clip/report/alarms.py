"""What speaks against the figures of an evaluation: for the terminal, its JSON and its page."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from synthmed.digests import digest_array
from synthmed_clip.data.duplicates import duplicates_between
from synthmed_clip.data.images import square
from synthmed_clip.data.layouts import Dataset
from synthmed_clip.data.levels import Levels, levels_of, shift_between
from synthmed_clip.detector import Detector
from synthmed_clip.evaluation.evaluate import Evaluation
from synthmed_clip.methods.base import Method


@dataclass(frozen=True)
class Alarm:
    """A reason to doubt figures.

    Attributes
    ----------
    title, message : str
    names : tuple of str
        Of the images that it is about; empty where it is about all.
    grave : bool
        Whether the figures are worth nothing as they are.

    Examples
    --------
    >>> print(Alarm("Scores may be reversed", "Check labels.", (), grave=True))
    Scores may be reversed. Check labels.
    """

    title: str
    message: str
    names: tuple[str, ...]
    grave: bool

    def __str__(self) -> str:
        shown = ", ".join(self.names[:3]) + ", ..." * (len(self.names) > 3)
        return f"{self.title}. {self.message}" + (f" ({shown})" if self.names else "")


def find_alarms(detector: Detector, dataset: Dataset, evaluation: Evaluation) -> list[Alarm]:
    """Look for what speaks against an evaluation's figures; the gravest first.

    Support images among the test images, near-copies of training images and test images that are
    the same; an AUROC whose interval lies below 0.5; levels that are spread otherwise than those of
    the support images; a random text tower that the method reads. Of volumes, what can be said
    without reading them again.

    Parameters
    ----------
    detector : Detector
    dataset : Dataset
    evaluation : Evaluation
        Of the detector on `dataset.test`.
    """
    found = [*_of_scores(evaluation), *_of_text(detector)]
    if detector.axis is None:
        found += _of_images(detector, dataset)
    return sorted(found, key=lambda alarm: not alarm.grave)


def _of_scores(evaluation: Evaluation) -> Iterator[Alarm]:
    auroc = evaluation.image.get("AUROC")
    if auroc is not None and auroc.high < 0.5:
        yield Alarm(
            "The scores are reversed",
            f"Image-AUROC is {auroc}: normal images score higher than abnormal ones. Check the "
            f"labels, and whether the detector was fitted on this modality.",
            (),
            grave=True,
        )


def _of_text(detector: Detector) -> Iterator[Alarm]:
    backbone = detector.backbone
    random = backbone.random_text or backbone.weights is None
    if random and backbone.text is not None and _reads_text(detector.method):
        yield Alarm(
            "The text tower is random",
            f"{detector.method.name} compares images with texts, and the weights of "
            f"{backbone.name} do not cover its text tower: words have no meaning there.",
            (),
            grave=False,
        )


def _reads_text(value: object) -> bool:
    """Whether a method, or one that is among its values, reads texts."""
    if isinstance(value, tuple):
        return any(map(_reads_text, value))
    if not isinstance(value, Method):
        return False
    fields = dataclasses.fields(value)  # type: ignore[arg-type]
    return value.reads_text or any(_reads_text(getattr(value, field.name)) for field in fields)


def _of_images(detector: Detector, dataset: Dataset) -> Iterator[Alarm]:
    named: dict[str, list[str]] = defaultdict(list)
    levels: list[Levels] = []
    grey = detector.method.support_channels == "grey"
    normal = any(not item.abnormal for item in dataset.test)
    names = {item.image: dataset.relative(item.image) for item in dataset.test}
    for item in dataset.test:
        pixels = square(item.image, detector.backbone.image_size, detector.values, grey)[0]
        named[digest_array(pixels)].append(names[item.image])
        if not (item.abnormal and normal):  # an anomaly may well change them
            levels.append(levels_of(pixels))
    support = detector.provenance.support
    leaked = [name for found in dict.fromkeys(support) for name in named.get(found, ())]
    if leaked:
        yield Alarm(
            "Training and test images were not kept apart",
            f"Of the test images, {len(leaked)} served as support when the detector was fitted: "
            f"the same pixels at its size. The figures below are not to be trusted.",
            tuple(leaked),
            grave=True,
        )
    if detector.provenance.levels:
        distance, allowed = shift_between(detector.provenance.levels, levels)
        if distance > allowed:
            own, theirs = (
                ", ".join(f"{level:.0f}" for level in np.median(part, axis=0))
                for part in (detector.provenance.levels, levels)
            )
            yield Alarm(
                "Test images have other intensities than the support images",
                f"Half of the {'normal ' * normal}test images lie {distance:.0f} levels of 255 or "
                f"more from every support image (up to {allowed:.0f} would be no surprise): their "
                f"5, 25, 50, 75 and 95 percentiles are {theirs} in the median, those of support "
                f"images {own}. Check value range, modality and preprocessing.",
                (),
                grave=True,
            )
    near = [
        f"{names[pair.second]} is nearly {dataset.relative(pair.first)} ({pair.correlation:.3f})"
        for pair in duplicates_between(dataset.train, list(names))
        if names[pair.second] not in leaked
    ]
    if near:
        yield Alarm(
            "Some test images nearly repeat training images",
            "They correlate by at least 0.99 at 48 x 48 pixels, and flatter the figures where "
            "their partner was a support image.",
            tuple(near),
            grave=False,
        )
    twins = [" = ".join(group) for group in named.values() if len(group) > 1]
    if twins:
        yield Alarm(
            "Some test images are the same picture",
            "They are equal pixel for pixel at the detector's size and count more than once.",
            tuple(twins),
            grave=False,
        )
