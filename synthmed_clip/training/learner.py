"""What changes during a training: the module, its optimiser, its mean over the steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


@dataclass(eq=False)
class Learner:
    """What changes during a training.

    Attributes
    ----------
    module : Module
        As the last step left it.
    lr : float
        The learning rate that a schedule starts from.
    optimiser : Adam
        Over all its parameters.
    mean : AveragedModel
        The mean of the module over all steps so far, each weighing `average` times as much as the
        next one; with an average of 0 the module itself. It is what a training results in.

    Examples
    --------
    >>> learner = Learner.begin(nn.Linear(2, 1), lr=1e-3, betas=(0.9, 0.999), average=0.0)
    >>> learner.module(torch.ones(3, 2)).sum().backward()
    >>> learner.optimiser.step()
    >>> learner.mean.update_parameters(learner.module)
    >>> torch.equal(learner.mean.module.weight, learner.module.weight)
    True
    """

    module: nn.Module
    lr: float
    optimiser: torch.optim.Adam
    mean: AveragedModel

    @classmethod
    def begin(
        cls, module: nn.Module, lr: float, betas: tuple[float, float], average: float
    ) -> Learner:
        """Begin with a module as it is."""

        def average_of(mean: Tensor, now: Tensor, count: Tensor | int) -> Tensor:
            return mean.lerp(now, (1 - average) / (1 - average ** (int(count) + 1)))

        optimiser = torch.optim.Adam(module.parameters(), lr=lr, betas=betas)
        mean = AveragedModel(module, avg_fn=average_of).requires_grad_(False)
        return cls(module, lr, optimiser, mean)
