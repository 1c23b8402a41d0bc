"""Pre-training on other images with real masks, before the support images are seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import SeedSequence
from tqdm import tqdm

from synthmed_clip.backbone.model import Backbone
from synthmed_clip.data.images import square
from synthmed_clip.data.layouts import Item, read_mask
from synthmed_clip.detector import Detector
from synthmed_clip.training.loop import Learner, finished, resolve, train
from synthmed_clip.training.steps import Steps


@dataclass
class MaskedSteps(Steps):
    """Real images with their masks, as they are; read anew in every epoch, so that any
    number fits.
    """

    items: Sequence[Item]
    size: int
    batch_size: int
    entropy: tuple[int, ...]

    @property
    def count(self) -> int:
        return len(self.items)

    def pair(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        item = self.items[index]
        return square(item.image, self.size)[0], read_mask(item.mask, self.size, item.mask_level)


def pretrain(
    items: Sequence[Item],
    backbone: Backbone,
    *,
    epochs: int = 5,
    rng: int | SeedSequence | np.random.BitGenerator | np.random.Generator | None = None,
    workers: int | None = None,
    progress: bool = True,
    **options: Any,
) -> Detector:
    """Teach a head on real images with masks, such as industrial ones, to begin a `fit` with:
    `fit(start=...)`.

    The paper reports such an experiment with MVTec-AD and VisA, without its details; the number of
    epochs is ours.

    Parameters
    ----------
    items : sequence of Item
        As `synthmed_clip.data.layouts.read_dataset` lists them. Abnormal ones without a mask are
        left out.
    backbone : Backbone
    epochs : int
        Each shows every image once.
    rng, workers, progress
        As in `fit`.
    **options
        variant, layers, words, tokens, temperature, adapters, batch_size, lr, betas and average, as
        in `fit`; the fit that begins with the result must have the same layers, words, tokens and
        adapters.

    Returns
    -------
    Detector
        Its threshold is 0.5, not calibrated.

    Raises
    ------
    ValueError
        If no abnormal image has a mask.
    """
    chosen = usable(items)
    settings = resolve(backbone, recipe={}, epochs=epochs, rng=rng, **options)
    learner = Learner.begin(backbone, settings)
    steps = MaskedSteps(chosen, backbone.image_size, settings.batch_size, settings.entropy)
    log = []
    training = train(backbone, settings, learner, steps, workers=workers)
    for epoch in tqdm(
        training, desc="pretrain", total=epochs, disable=None if progress else True, unit="epoch"
    ):
        log.append(epoch)
    return finished(backbone, settings, learner.mean, log)


def usable(items: Sequence[Item]) -> list[Item]:
    """Leave out abnormal images without a mask; ValueError if no other abnormal one is there."""
    chosen = [item for item in items if item.mask is not None or not item.abnormal]
    if not any(item.abnormal for item in chosen):
        raise ValueError(f"none of the {len(items)} auxiliary images is abnormal and has a mask")
    return chosen
