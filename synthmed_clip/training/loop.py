"""The loop that teaches a module to map anomalies; it knows no method."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from tqdm import tqdm

from synthmed_clip.backbone.memory import explained_memory
from synthmed_clip.training.checkpoint import Checkpoint
from synthmed_clip.training.history import Epoch
from synthmed_clip.training.learner import Learner
from synthmed_clip.training.losses import dice_loss, focal_loss
from synthmed_clip.training.schedule import Schedule
from synthmed_clip.training.selection import Selection
from synthmed_clip.training.steps import Steps, stream

M = TypeVar("M", bound=nn.Module)
Predict = Callable[[Tensor], Tensor]
"""From images `(B, 1, S, S)` to the probability of being abnormal, `(B, S, S)`, with gradient."""


def learn(
    module: M,
    steps: Steps,
    predict: Predict,
    *,
    epochs: int,
    lr: float,
    betas: tuple[float, float],
    average: float = 0.0,
    schedule: Schedule = Schedule(),  # noqa: B008 (frozen)
    selection: Selection[M] | None = None,
    checkpoint: Checkpoint | None = None,
    callback: Callable[[Epoch], object] | None = None,
    workers: int | None = None,
    progress: str | None = None,
) -> tuple[M, tuple[Epoch, ...]]:
    """Teach a module by focal plus Dice loss with Adam.

    Parameters
    ----------
    module : Module
        Its parameters learn, in place.
    steps : Steps
        What is shown.
    predict : callable
        What the module makes of images.
    epochs, lr, betas
        Of the optimisation.
    average : float
        Decay of the mean over steps; 0 takes the last step's values.
    schedule : Schedule
        Of the learning rate; by default constant.
    selection : Selection, optional
        Keeps the epoch of highest Image-AUROC on a validation set, in place of the last.
    checkpoint : Checkpoint, optional
        Written after every epoch; what it holds already is gone on from.
    callback : callable, optional
        Called with every new epoch.
    workers : int, optional
        Processes that draw synthetic images ahead; the result does not depend on it.
    progress : str, optional
        Label of a progress bar; there is none without a label or a terminal.

    Returns
    -------
    module, log
        What was learnt, and the losses of every epoch.

    Raises
    ------
    ValueError
        If the checkpoint is past `epochs`, or a loss is no longer finite.

    Examples
    --------
    `scans` are a few arrays of normal images.

    >>> import numpy as np
    >>> import synthmed
    >>> from synthmed_clip.training import SyntheticSteps
    >>> steps = SyntheticSteps(synthmed.preset("paper"), np.stack(scans), 2, entropy=(7,))
    >>> module = nn.Conv2d(1, 1, 3, padding=1)
    >>> maps = lambda images: module(images / 255)[:, 0].sigmoid()
    >>> module, log = learn(module, steps, maps, epochs=3, lr=1e-3, betas=(0.9, 0.999), workers=0)
    >>> [epoch.number for epoch in log]
    [1, 2, 3]
    """
    learner = Learner.begin(module, lr, betas, average)
    log = [] if checkpoint is None else checkpoint.restore(learner, selection)
    if len(log) > epochs:
        raise ValueError(f"{checkpoint} is at epoch {len(log)}, past epochs={epochs}")
    new = train(learner, steps, predict, epochs, len(log), workers, schedule)
    hidden = None if progress else True
    with tqdm(total=epochs, desc=progress, initial=len(log), disable=hidden, unit="epoch") as bar:
        for epoch in new:
            if selection is not None:
                epoch = replace(epoch, validation=selection.consider(cast(M, learner.mean.module)))
            log.append(epoch)
            bar.update()
            bar.set_postfix(loss=f"{epoch.loss:.4f}")
            if checkpoint is not None:
                checkpoint.write(learner, selection, log)
            if callback is not None:
                callback(epoch)
    if selection is not None:
        learner.mean.module.load_state_dict(selection.best)
    return cast(M, learner.mean.module), tuple(log)


def train(
    learner: Learner,
    steps: Steps,
    predict: Predict,
    epochs: int,
    done: int = 0,
    workers: int | None = None,
    schedule: Schedule = Schedule(),  # noqa: B008 (frozen)
) -> Iterator[Epoch]:
    """Teach the learner in place, yielding after every epoch; `done` epochs are taken as done.

    Parameters
    ----------
    learner : Learner
    steps, predict, epochs, workers, schedule
        As in `learn`.
    done : int
        Epochs that the learner has behind it.

    Yields
    ------
    Epoch

    Raises
    ------
    ValueError
        If a loss is no longer finite.

    Examples
    --------
    `scans` are a few arrays of normal images.

    >>> import numpy as np
    >>> import synthmed
    >>> from synthmed_clip.training import Learner, SyntheticSteps
    >>> steps = SyntheticSteps(synthmed.preset("paper"), np.stack(scans), 2, entropy=(7,))
    >>> learner = Learner.begin(nn.Conv2d(1, 1, 1), lr=1e-3, betas=(0.9, 0.999), average=0.0)
    >>> maps = lambda images: learner.module(images / 255)[:, 0].sigmoid()
    >>> [epoch.number for epoch in train(learner, steps, maps, epochs=3, done=1, workers=0)]
    [2, 3]
    """
    module, per_epoch = learner.module, steps.per_epoch
    device = next(module.parameters()).device
    ahead = _default_workers() if workers is None else workers
    batches = stream(steps, done * per_epoch, epochs * per_epoch, ahead)
    for number in range(done + 1, epochs + 1):
        sums = torch.zeros(2, device=device)
        for position in range(per_epoch):
            step = (number - 1) * per_epoch + position
            for group in learner.optimiser.param_groups:
                group["lr"] = learner.lr * schedule.factor(step, per_epoch, epochs)
            images, masks = next(batches)
            with explained_memory(steps.batch_size):
                probability = predict(images)
                masks = masks.to(device)
                terms = focal_loss(probability, masks), dice_loss(probability, masks)
                losses = torch.stack(terms)
                learner.optimiser.zero_grad()
                losses.sum().backward()
                learner.optimiser.step()
                learner.mean.update_parameters(module)
            sums += losses.detach() * (len(images) / steps.count)
        focal, dice = sums.tolist()
        if not math.isfinite(focal + dice):
            raise ValueError(
                f"the loss is no longer finite in epoch {number}; a smaller lr may help"
            )
        yield Epoch(number, focal + dice, focal, dice)


def _default_workers() -> int:
    """Leave a core to the process that drives the backbone; without fork, starting workers costs
    seconds.
    """
    return min(8, max(1, (os.cpu_count() or 1) - 1)) if sys.platform == "linux" else 0
