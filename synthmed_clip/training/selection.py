"""Choosing an epoch by a validation set, where there is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu
from torch import Tensor, nn

from synthmed.digests import digest_array, digest_json

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, eq=False)
class Labelled:
    """Labelled images, as a method sees them.

    Attributes
    ----------
    pixels : Tensor
        `(N, C, S, S)` float32, 0 to 255.
    abnormal : ndarray
        `(N,)` bool.

    Raises
    ------
    ValueError
        If all are of one kind.

    Examples
    --------
    >>> import torch
    >>> images = Labelled(torch.zeros(2, 1, 8, 8), np.array([False, True]))
    >>> len(images.digest)
    64
    >>> Labelled(torch.zeros(2, 1, 8, 8), np.array([False, False]))
    Traceback (most recent call last):
    ValueError: validation needs normal and abnormal images; all are of one kind
    """

    pixels: Tensor
    abnormal: NDArray[np.bool_]

    def __post_init__(self) -> None:
        """Require both kinds."""
        if self.abnormal.all() or not self.abnormal.any():
            raise ValueError("validation needs normal and abnormal images; all are of one kind")

    @property
    def digest(self) -> str:
        """Of images and labels."""
        return digest_json([digest_array(self.pixels.numpy()), digest_array(self.abnormal)])


class Selection(Generic[M]):
    """Keeps the module of the epoch with the highest Image-AUROC; of equals, the first.

    Parameters
    ----------
    abnormal : ndarray
        `(N,)` bool, labels of the validation images.
    score : callable
        The images' scores `(N,)` by a module.

    Attributes
    ----------
    best : dict of Tensor
        The module's state at that epoch.
    highest : float
        Its Image-AUROC.

    Examples
    --------
    >>> import torch
    >>> pixels = torch.tensor([[0.1], [0.9]])  # the second one is abnormal
    >>> selection = Selection(np.array([False, True]), lambda module: module(pixels).detach()[:, 0])
    >>> module = nn.Linear(1, 1)
    >>> _ = nn.init.constant_(module.weight, 1.0)
    >>> selection.consider(module), sorted(selection.best)
    (1.0, ['bias', 'weight'])
    """

    def __init__(self, abnormal: NDArray[np.bool_], score: Callable[[M], Tensor]) -> None:
        self._abnormal, self._score = abnormal, score
        self.best: dict[str, Tensor] = {}
        self.highest = -1.0

    def consider(self, module: M) -> float:
        """Return the module's Image-AUROC, and remember its state if it is the best so far."""
        scores, abnormal = self._score(module).numpy(), self._abnormal
        pairs = abnormal.sum() * (~abnormal).sum()
        found = float(mannwhitneyu(scores[abnormal], scores[~abnormal]).statistic / pairs)
        if found > self.highest:
            self.highest = found
            self.best = {name: t.detach().clone() for name, t in module.state_dict().items()}
        return found
