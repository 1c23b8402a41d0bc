"""Evaluate a detector on labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from synthmed.io import MaskLevel
from synthmed_clip.data.layouts import Item
from synthmed_clip.data.masks import read_mask_of, read_volume_mask
from synthmed_clip.data.regions import RegionLike
from synthmed_clip.data.slices import Axis
from synthmed_clip.evaluation.metrics import Interval, image_metrics
from synthmed_clip.evaluation.pixels import pixel_metrics
from synthmed_clip.methods.base import Scores


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes
    ----------
    normal, abnormal, masked : int
        Images of each kind, and abnormal images with a mask.
    image : dict of Interval
        AUROC, AP and F1-max of the scores; empty where all images are of one kind.
    pixel : dict of Interval
        AUROC, AP and AUPRO of the maps at the backbone's size; empty where no abnormal image has a
        mask.
    threshold, sensitivity, specificity : float
        At the detector's own threshold; NaN where there is no image of the kind.
    scores : tuple of float
        In the order of the items.
    missing : tuple of str
        Which metrics there are not, and why.

    Examples
    --------
    >>> from synthmed_clip.evaluation import Evaluation, Interval
    >>> metrics = {"AUROC": Interval(0.9, 0.85, 0.94)}
    >>> found = Evaluation(2, 2, 0, metrics, {}, 0.5, 1.0, 0.5, (0.1, 0.6, 0.8, 0.9))
    >>> found.figures()
    {'Image-AUROC': 0.9}
    >>> found.to_dict()["image"]
    {'AUROC': {'value': 0.9, 'low': 0.85, 'high': 0.94}}
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
    missing: tuple[str, ...] = ()

    def to_dict(self) -> dict:
        """Return JSON-ready data; None stands for NaN."""
        return _without_nan(asdict(self))

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
        rates = [("sensitivity", self.sensitivity), ("specificity", self.specificity)]
        known = ", ".join(f"{name} {value:.3f}" for name, value in rates if not np.isnan(value))
        lines += [f"at threshold {self.threshold:.4f}: {known}", *self.missing]
        return "\n".join(lines)


def _without_nan(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _without_nan(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return type(data)(map(_without_nan, data))
    return None if isinstance(data, float) and np.isnan(data) else data


class Scorer(Protocol):
    """What can be evaluated: a detector."""

    @property
    def threshold(self) -> float:
        """Scores above it are anomalous."""

    @property
    def axis(self) -> Axis | None:
        """Along which it sees volumes; None for images."""

    def score(
        self,
        images: Sequence[Path],
        *,
        roi: RegionLike | None,
        mask_level: MaskLevel,
        batch_size: int,
    ) -> Scores:
        """Score many images."""


def evaluate(
    detector: Scorer,
    items: Sequence[Item],
    *,
    roi: RegionLike | None = None,
    mask_level: MaskLevel = None,
    batch_size: int = 16,
    resamples: int = 1000,
) -> Evaluation:
    """Score labelled images and say how well the detector tells them apart.

    Parameters
    ----------
    detector : Detector
    items : sequence of Item
        As `read_dataset` lists them. Of images of one kind there are no image metrics, and what
        masks allow of the others: those of pixels need no normal image.
    roi, mask_level
        Regions of interest, as `Detector.predict` takes them.
    batch_size : int
    resamples : int
        Of the bootstrap over images.

    Raises
    ------
    ValueError
        As `evaluate_scores`.

    Notes
    -----
    Pixels are compared at the backbone's size, to which masks are brought by nearest neighbour; of
    volumes, in each of their slices along the detector's axis, and regions are those in space.
    Abnormal images without a mask take no part in it. Pixels outside a region of interest do, with
    their map's lowest value: what is abnormal there is missed.

    Examples
    --------
    `scans` are a few arrays of normal images, `backbone` is a loaded one.

    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> from synthmed_clip import NearestPatch, fit
    >>> with TemporaryDirectory() as folder:
    ...     items = [Item(Path(folder, "a.png"), False), Item(Path(folder, "b.png"), True)]
    ...     for item, pixels in zip(items, (scans[0], 255 - scans[1])):
    ...         Image.fromarray(pixels).save(item.image)
    ...     found = evaluate(fit(scans, NearestPatch(), backbone=backbone), items)
    >>> found.image["AUROC"].value, found.specificity
    (1.0, 1.0)
    """
    paths = [item.image for item in items]
    found = detector.score(paths, roi=roi, mask_level=mask_level, batch_size=batch_size)
    return evaluate_scores(
        found, items, detector.threshold, axis=detector.axis, resamples=resamples
    )


def evaluate_scores(
    found: Scores,
    items: Sequence[Item],
    threshold: float,
    *,
    axis: Axis | None = None,
    resamples: int = 1000,
) -> Evaluation:
    """Say how well a method's scores and maps tell labelled images apart.

    Parameters
    ----------
    found : Scores
        Of the items, in their order, on the CPU; where it has no maps, nothing is said of pixels.
    items : sequence of Item
    threshold : float
        Scores above it count as anomalous.
    axis : int, "axial", "coronal", "sagittal" or None
        Of items that are volumes, the detector's.
    resamples : int
        Of the bootstrap over images; 0 leaves the intervals out.

    Raises
    ------
    ValueError
        If there is no metric at all: all images are of one kind, and there are no masks or no maps.

    Notes
    -----
    An abnormal image whose mask is empty at the maps' size counts as one without a mask.

    Examples
    --------
    >>> import torch
    >>> items = [Item(Path("normal.png"), abnormal=False), Item(Path("tumour.png"), abnormal=True)]
    >>> found = Scores(torch.tensor([0.2, 0.7]), torch.empty(2, 0, 0))  # without maps
    >>> print(evaluate_scores(found, items, threshold=0.5, resamples=0))
    1 normal, 1 abnormal images, 0 with masks
    Image-AUROC   1.0000
    Image-AP      1.0000
    Image-F1-max  1.0000
    at threshold 0.5000: sensitivity 1.000, specificity 1.000
    """
    scores, maps = found.scores.numpy(), maps_of(found)
    abnormal = np.array([item.abnormal for item in items])
    flagged = scores.astype(np.float64) > threshold
    masks = masks_of(items, maps, axis)
    masked = np.array([mask.any() for mask in masks], bool)
    known = np.flatnonzero(masked | ~abnormal)
    both = abnormal.any() and not abnormal.all()
    missing = []
    if not both:
        word = "abnormal" if abnormal.any() else "normal"
        missing.append(
            f"no image metrics: all {len(items)} test images are {word}, and AUROC, AP and F1-max "
            f"compare the two kinds"
        )
    pixel = {}
    if masked.any():
        kept = [maps[k] for k in known], [masks[k] for k in known]
        if all(mask.all() for mask in kept[1]):
            missing.append("no pixel metrics: the masks cover their images, and no pixel is normal")
        else:
            pixel = pixel_metrics(*kept, abnormal[known], resamples)
    if not both and not pixel:
        raise ValueError("; ".join([*missing, "nor are there masks and maps to compare"][:2]))
    return Evaluation(
        normal=int((~abnormal).sum()),
        abnormal=int(abnormal.sum()),
        masked=int(masked.sum()),
        image=image_metrics(scores, abnormal, resamples) if both else {},
        pixel=pixel,
        threshold=threshold,
        sensitivity=float(flagged[abnormal].mean()) if abnormal.any() else np.nan,
        specificity=float((~flagged[~abnormal]).mean()) if not abnormal.all() else np.nan,
        scores=tuple(scores.tolist()),
        missing=tuple(missing),
    )


def read_masks(items: Sequence[Item], size: int) -> NDArray[np.bool_]:
    """Return the masks of abnormal items, `(N, size, size)` bool; empty where there is none.

    Examples
    --------
    >>> read_masks([Item(Path("normal.png"), abnormal=False)], 8).shape
    (1, 8, 8)
    """
    return np.stack([read_mask_of(item, size) for item in items])


def maps_of(found: Scores) -> list[NDArray[np.float32]]:
    """Return the map of each image `(S, S)`, of each volume `(D, S, S)`, as views.

    Examples
    --------
    >>> import torch
    >>> found = Scores(torch.zeros(2), torch.zeros(5, 8, 8), depths=(2, 3))
    >>> [own.shape for own in maps_of(found)]
    [(2, 8, 8), (3, 8, 8)]
    """
    maps = found.maps.numpy()
    return list(maps) if found.depths is None else np.split(maps, np.cumsum(found.depths)[:-1])


def masks_of(
    items: Sequence[Item], maps: Sequence[NDArray[np.floating]], axis: Axis | None
) -> list[NDArray[np.bool_]]:
    """Return the mask of each item, of its map's shape; empty where there is none.

    Raises
    ------
    ValueError
        If a mask cannot be read, or does not fit its image.
    """
    size = maps[0].shape[-1]
    if axis is None:
        return [read_mask_of(item, size) for item in items]
    masks = []
    for item, own in zip(items, maps, strict=True):
        mask = np.zeros(own.shape, bool)
        if item.mask is not None and item.abnormal and size:
            mask = read_volume_mask(item.mask, item.image, axis, size, item.mask_level)
        masks.append(mask)
    return masks
