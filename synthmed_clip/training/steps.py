"""The stream of synthetic images that a fit learns from, the same for any number of workers."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.random import SeedSequence
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import synthmed
from synthmed_clip.backbone.pixels import to_pixels

# First entries of the spawn keys: what a random number is for.
INITIAL, SYNTHETIC, ORDER, CALIBRATION = range(4)
_TRIES = 5


def synthesise(
    recipe: synthmed.Generator,
    images: np.ndarray,
    index: int,
    entropy: tuple[int, ...],
    key: tuple[int, ...],
) -> tuple[np.ndarray, np.ndarray]:
    """Put a fresh anomaly on one support image; every other support image may be a donor.

    Parameters
    ----------
    recipe : synthmed generator
    images : ndarray
        The support images, `(k, S, S)` uint8.
    index : int
        Which of them.
    entropy, key
        Together the seed: the same pair comes out wherever and whenever it is called.

    Returns
    -------
    image, mask : ndarray
        `(S, S)`, uint8 and bool.

    Raises
    ------
    synthmed.NothingToSee
        If the image carries no visible anomaly in several attempts.
    """
    for attempt in range(_TRIES):
        try:
            rng = SeedSequence(entropy, spawn_key=(*key, index, attempt))
            image, mask = recipe(images[index], rng=rng, donors=list(images))
            return image, mask
        except synthmed.NothingToSee as error:
            reason = error
    raise synthmed.NothingToSee(f"support image {index}, counted from 0: {reason}")


class Steps(Dataset, ABC):
    """Every training step's batch, by its number; an epoch shows each of `count` images once, in a
    new order.
    """

    batch_size: int
    entropy: tuple[int, ...]

    @property
    @abstractmethod
    def count(self) -> int:
        """How many images there are."""

    @abstractmethod
    def pair(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return what an epoch shows of an image: `(S, S)` uint8, and its mask, bool."""

    @property
    def per_epoch(self) -> int:
        return -(-self.count // self.batch_size)

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        epoch, place = divmod(step, self.per_epoch)
        order = np.random.default_rng(SeedSequence(self.entropy, spawn_key=(ORDER, epoch)))
        chosen = order.permutation(self.count)[
            place * self.batch_size : (place + 1) * self.batch_size
        ]
        pairs = [self.pair(epoch, int(index)) for index in chosen]
        images, masks = (np.stack(part) for part in zip(*pairs, strict=True))
        return to_pixels(images), torch.from_numpy(masks)


@dataclass
class SyntheticSteps(Steps):
    """One fresh synthetic image per support image and epoch."""

    recipe: synthmed.Generator
    images: np.ndarray
    batch_size: int
    entropy: tuple[int, ...]

    @property
    def count(self) -> int:
        return len(self.images)

    def pair(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        return synthesise(self.recipe, self.images, index, self.entropy, (SYNTHETIC, epoch))


def require_anomalies(steps: SyntheticSteps, items: Sequence[Path | np.ndarray]) -> None:
    """Draw once on every image, so that an empty one is named now and not by a worker in some
    epoch.

    Raises
    ------
    synthmed.NothingToSee
        If one of `items`, from which the steps' images were made, is too empty to carry an anomaly.
    """
    for index, item in enumerate(items):
        try:
            steps.pair(0, index)
        except synthmed.NothingToSee as error:
            name = f"{item}: " if isinstance(item, Path) else ""
            raise synthmed.NothingToSee(f"{name}{error}") from None


def stream(steps: Steps, first: int, stop: int, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of steps `first` to `stop` in order; `workers` processes make them ahead of
    time.
    """
    if workers == 0:
        return (steps[step] for step in range(first, stop))
    # fork where it can be had: a worker starts in milliseconds, and a script needs no __main__
    # guard.
    context = "fork" if sys.platform == "linux" else "spawn"
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


def _start_worker(_: int) -> None:
    import cv2

    cv2.setNumThreads(
        1
    )  # its thread pool does not survive a fork, and the cores belong to the backbone
