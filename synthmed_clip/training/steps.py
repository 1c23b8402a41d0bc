"""The stream of synthetic images that a fit learns from, the same for any number of workers."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import SeedSequence
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import synthmed
from synthmed_clip.backbone.pixels import to_pixels
from synthmed_clip.training.seeds import ORDER, SYNTHETIC, Entropy

_TRIES = 5
Pair = tuple[NDArray[np.uint8], NDArray[np.bool_]]


class EmptyImage(synthmed.NothingToSee):
    """A support image that carries no anomaly.

    Attributes
    ----------
    index : int
        Which one, from 0.

    Examples
    --------
    >>> print(EmptyImage(2, "every pixel has one value"))
    support image 2, counted from 0: every pixel has one value
    """

    def __init__(self, index: int, reason: object) -> None:
        super().__init__(f"support image {index}, counted from 0: {reason}")
        self.index = index

    def __reduce__(self) -> tuple[type[EmptyImage], tuple[int, str]]:
        """Pickle by its arguments: workers raise it, too."""
        return type(self), (self.index, str(self).partition(": ")[2])


def synthesise(
    recipe: synthmed.Generator,
    images: NDArray[np.uint8],
    index: int,
    entropy: Entropy,
    key: tuple[int, ...],
    inside: NDArray[np.bool_] | None = None,
) -> Pair:
    """Put a fresh anomaly on one support image; every other support image may be a donor.

    Parameters
    ----------
    recipe : synthmed generator
    images : ndarray
        The support images, `(k, S, S)` grey or `(k, S, S, 3)` colour, uint8.
    index : int
        Which of them.
    entropy, key
        Together the seed: the same pair comes out wherever and whenever it is called.
    inside : ndarray, optional
        The images' regions of interest, `(k, S, S)` bool, in which anomalies are drawn.

    Returns
    -------
    image, mask : ndarray
        `(S, S)` or `(S, S, 3)` uint8, and `(S, S)` bool.

    Raises
    ------
    EmptyImage
        If the image carries no visible anomaly in several attempts.

    Examples
    --------
    `scans` are a few arrays of normal images.

    >>> image, mask = synthesise(synthmed.preset("paper"), np.stack(scans), 0, (7,), (0,))
    >>> image.shape, image.dtype, bool(mask.any())
    ((40, 48), dtype('uint8'), True)
    """
    axis = None if images.ndim == 3 else -1
    roi = None if inside is None else inside[index]
    for attempt in range(_TRIES):
        try:
            rng = SeedSequence(entropy, spawn_key=(*key, index, attempt))
            image, mask = recipe(
                images[index], rng=rng, roi=roi, donors=list(images), channel_axis=axis
            )
            return image, mask
        except synthmed.NothingToSee as error:
            reason = error
    raise EmptyImage(index, reason)


class Steps(Dataset, ABC):
    """Every training step's batch, by its number; an epoch shows each of `count` images once, in a
    new order.

    A subclass says how many images there are, and what an epoch shows of each; see
    `SyntheticSteps`. A batch is a pair of tensors: images `(B, C, S, S)` float32, 0 to 255, C = 1
    (grey) or 3, and masks `(B, S, S)` bool.

    Attributes
    ----------
    batch_size : int
        Images a batch; the last one of an epoch may have fewer.
    entropy : tuple of int
        The seed.
    """

    batch_size: int
    entropy: Entropy

    @property
    @abstractmethod
    def count(self) -> int:
        """How many images there are."""

    @abstractmethod
    def pair(self, epoch: int, index: int) -> Pair:
        """Return what an epoch shows of an image, `(S, S)` or `(S, S, 3)` uint8, and its mask."""

    @property
    def per_epoch(self) -> int:
        return -(-self.count // self.batch_size)

    def shown(self, step: int) -> tuple[int, list[int]]:
        """Return a step's epoch, and which images it shows, in their order."""
        epoch, position = divmod(step, self.per_epoch)
        order = np.random.default_rng(SeedSequence(self.entropy, spawn_key=(ORDER, epoch)))
        first = position * self.batch_size
        return epoch, order.permutation(self.count)[first : first + self.batch_size].tolist()

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        epoch, chosen = self.shown(step)
        pairs = [self.pair(epoch, index) for index in chosen]
        images, masks = (np.stack(part) for part in zip(*pairs, strict=True))
        return to_pixels(images), torch.from_numpy(masks)


@dataclass
class SyntheticSteps(Steps):
    """One fresh synthetic image per support image and epoch.

    Attributes
    ----------
    recipe : synthmed generator
    images : ndarray
        The support images, `(k, S, S)` or `(k, S, S, 3)` uint8.
    batch_size, entropy
        As in `Steps`.
    inside : ndarray or None
        Where anomalies are drawn, `(k, S, S)` bool.

    Examples
    --------
    `scans` are a few arrays of normal images.

    >>> recipe = synthmed.preset("paper")
    >>> steps = SyntheticSteps(recipe, np.stack(scans), batch_size=3, entropy=(7,))
    >>> steps.count, steps.per_epoch
    (4, 2)
    >>> images, masks = steps[0]
    >>> images.shape, masks.dtype
    (torch.Size([3, 1, 40, 48]), torch.bool)
    """

    recipe: synthmed.Generator
    images: NDArray[np.uint8]
    batch_size: int
    entropy: Entropy
    inside: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        """Require a region an image."""
        if self.inside is not None and self.inside.shape != self.images.shape[:3]:
            expected = self.images.shape[:3]
            raise ValueError(f"inside must have shape {expected}, not {self.inside.shape}")

    @property
    def count(self) -> int:
        return len(self.images)

    def pair(self, epoch: int, index: int) -> Pair:
        return synthesise(
            self.recipe, self.images, index, self.entropy, (SYNTHETIC, epoch), self.inside
        )


def as_bytes(support: Tensor) -> NDArray[np.uint8]:
    """Bring support images `(k, C, S, S)` back to the 8-bit ones they were made of: `(k, S, S)`
    where they are grey (C = 1), `(k, S, S, 3)` where in colour.

    Raises
    ------
    ValueError
        If they are of another shape, or not of whole numbers from 0 to 255.

    Examples
    --------
    >>> as_bytes(torch.full((2, 1, 8, 8), 255.0)).shape
    (2, 8, 8)
    >>> as_bytes(torch.full((2, 1, 8, 8), 0.5))
    Traceback (most recent call last):
    ValueError: support must hold whole numbers from 0 to 255
    """
    if support.ndim != 4 or support.shape[1] not in (1, 3):
        raise ValueError(f"support must be (N, 1 or 3, S, S), not {tuple(support.shape)}")
    images = np.moveaxis(support.cpu().numpy(), 1, -1)
    images = images[..., 0] if images.shape[-1] == 1 else images
    converted = images.astype(np.uint8)
    if not np.array_equal(converted, images):
        raise ValueError("support must hold whole numbers from 0 to 255")
    return converted


def require_anomalies(steps: Steps) -> None:
    """Draw once on every image, so that an empty one is named now and not by a worker later.

    Raises
    ------
    EmptyImage
        If one is too empty to carry an anomaly.

    Examples
    --------
    >>> flat = np.zeros((1, 64, 64), np.uint8)
    >>> steps = SyntheticSteps(synthmed.preset("paper"), flat, batch_size=1, entropy=(7,))
    >>> try:
    ...     require_anomalies(steps)
    ... except EmptyImage as error:
    ...     print(error.index)
    0
    """
    for index in range(steps.count):
        steps.pair(0, index)


def stream(steps: Steps, first: int, stop: int, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of steps `first` to `stop` in order; `workers` processes make them ahead of
    time.

    Examples
    --------
    `scans` are a few arrays of normal images.

    >>> recipe = synthmed.preset("paper")
    >>> steps = SyntheticSteps(recipe, np.stack(scans), batch_size=3, entropy=(7,))
    >>> [len(images) for images, masks in stream(steps, 0, 4, workers=0)]
    [3, 1, 3, 1]
    """
    if workers == 0:
        return (steps[step] for step in range(first, stop))
    import cv2

    # fork where it can be had: a worker starts in milliseconds, and a script needs no __main__
    # guard. OpenCV's idle threads would not be there after it, and be waited for without end.
    context = "fork" if sys.platform == "linux" else "spawn"
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return iter(
            DataLoader(
                steps,
                batch_size=None,
                sampler=range(first, stop),
                num_workers=workers,
                multiprocessing_context=context,
                worker_init_fn=_start_worker,
            )
        )
    finally:
        cv2.setNumThreads(threads)


def _start_worker(_: int) -> None:
    import cv2

    cv2.setNumThreads(1)  # the cores belong to the backbone
