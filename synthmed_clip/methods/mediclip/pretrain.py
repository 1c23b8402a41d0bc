"""Learning from other images with real masks, before the support images are seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthmed_clip.backbone.model import Backbone
from synthmed_clip.data.images import read_plane, square, values_in
from synthmed_clip.data.layouts import Item
from synthmed_clip.data.masks import read_mask_of
from synthmed_clip.data.values import Values
from synthmed_clip.methods.mediclip.method import FittedMediCLIP, MediCLIP
from synthmed_clip.training.history import History
from synthmed_clip.training.seeds import INITIAL, RNG, Entropy, draw_entropy, seed_of
from synthmed_clip.training.steps import Steps


@dataclass
class MaskedSteps(Steps):
    """Real images with their masks, as they are; read anew in every epoch, so that any number
    fits.
    """

    items: Sequence[Item]
    size: int
    values: Values
    grey: bool
    batch_size: int
    entropy: Entropy

    @property
    def count(self) -> int:
        return len(self.items)

    def pair(self, epoch: int, index: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        item = self.items[index]
        image = read_plane(item.image)
        mask = read_mask_of(item, self.size, image)
        return square(image, self.size, self.values, self.grey)[0], mask


def pretrain(
    items: Sequence[Item],
    backbone: Backbone,
    method: MediCLIP,
    rng: RNG = None,
    *,
    workers: int | None = None,
    progress: bool = False,
) -> FittedMediCLIP:
    """Teach a head on real images with masks; see `synthmed_clip.pretrain`."""
    chosen, method = usable(items), method.resolved(backbone)
    history = History(draw_entropy(rng))
    model = method.model(backbone, seed_of(history.entropy, INITIAL))
    values = values_in(item.image for item in chosen)
    size, grey = backbone.image_size, method.support_channels == "grey"
    steps = MaskedSteps(chosen, size, values, grey, method.batch_size, history.entropy)
    shown = "pretrain" if progress else None
    return method.taught(model, steps, history, workers=workers, progress=shown)


def usable(items: Sequence[Item]) -> list[Item]:
    """Leave out abnormal images without a mask; ValueError if no other abnormal one is there."""
    chosen = [item for item in items if item.mask is not None or not item.abnormal]
    if not any(item.abnormal for item in chosen):
        raise ValueError(f"none of the {len(items)} auxiliary images is abnormal and has a mask")
    return chosen
