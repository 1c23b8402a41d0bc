"""The learning rate of every step: constant or falling as a cosine, after a warm-up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

ScheduleKind = Literal["constant", "cosine"]


@dataclass(frozen=True)
class Schedule:
    """How the learning rate goes over the epochs of a training.

    Attributes
    ----------
    kind : {'constant', 'cosine'}
        After the warm-up: as it is, or falling to zero at the end of the training along half a
        cosine (Loshchilov and Hutter, "SGDR", ICLR 2017, eq. 5, without restarts).
    warmup : int
        Epochs over which it rises linearly, step by step; the last of their steps has all of it.

    Examples
    --------
    >>> schedule = Schedule("cosine", warmup=1)
    >>> [round(schedule.factor(step, per_epoch=2, epochs=3), 3) for step in range(6)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    """

    kind: ScheduleKind = "constant"
    warmup: int = 0

    def factor(self, step: int, per_epoch: int, epochs: int) -> float:
        """Return what the learning rate is multiplied by in a step, counted from 0."""
        rising, total = self.warmup * per_epoch, epochs * per_epoch
        if step < rising:
            return (step + 1) / rising
        if self.kind == "constant":
            return 1.0
        return (1 + math.cos(math.pi * (step - rising) / (total - rising))) / 2
