"""Synthetic anomalies as a PyTorch data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch.utils.data
from numpy.typing import ArrayLike, NDArray

from synthmed import validation
from synthmed.generator import Generator

__all__ = ["AnomalyDataset"]


class AnomalyDataset(torch.utils.data.Dataset[tuple[NDArray[Any], NDArray[Any]]]):
    """Images with anomalies that are drawn when they are asked for.

    Item *i* depends on the seed, the epoch and *i* alone: it is the same in any worker process and
    in any order. (One NumPy Generator kept in a data set is copied into each worker, which then
    repeat each other.)

    Parameters
    ----------
    images : sequence of array_like
        Normal images; items are read when they are asked for.
    generator : Generator
    seed : int
    epoch : int
        Another one draws other anomalies; set `epoch` before a loader's workers start.
    **call : Any
        What comes with every call of the generator, such as ``channel_axis`` or ``value_range``.

    Raises
    ------
    TypeError, ValueError
        If `generator` is no generator, or `seed` or `epoch` no whole number at least 0.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import preset
    >>> from synthmed.integrations.torch import AnomalyDataset
    >>> scans = np.random.default_rng(0).random((4, 64, 64), np.float32)
    >>> items = AnomalyDataset(scans, preset("paper"), seed=7)
    >>> image, mask = items[2]
    >>> len(items), image.shape, mask.dtype
    (4, (64, 64), dtype('bool'))
    >>> bool((items[2][0] == image).all())
    True
    """

    def __init__(
        self,
        images: Sequence[ArrayLike],
        generator: Generator,
        seed: int = 0,
        *,
        epoch: int = 0,
        **call: Any,
    ) -> None:
        if not isinstance(generator, Generator):
            raise TypeError(f"generator must be a Generator, got {type(generator).__name__}")
        for name in {"rng"} & call.keys():
            raise TypeError(f"{name} is not taken: give a seed, which every worker shares")
        self.images, self.generator, self.call = images, generator, call
        self.seed, self.epoch = seed, epoch
        validation.whole(self, "seed", 0)
        validation.whole(self, "epoch", 0)

    def __len__(self) -> int:
        """The number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """The image of an index with its anomaly, and the mask.

        Raises
        ------
        IndexError
            If there is no such image.
        NothingToSee
            If it cannot carry a visible anomaly.
        """
        index = range(len(self))[index]
        rng = np.random.SeedSequence(self.seed, spawn_key=(self.epoch, index))
        image, mask = self.generator(self.images[index], rng=rng, **self.call)
        return np.ascontiguousarray(image), mask
