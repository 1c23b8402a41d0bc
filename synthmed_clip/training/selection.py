"""Choosing an epoch by a validation set, where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor

from synthmed_clip.backbone.model import Backbone
from synthmed_clip.backbone.pixels import to_pixels
from synthmed_clip.data.images import square
from synthmed_clip.data.layouts import Item
from synthmed_clip.evaluation.metrics import image_metrics
from synthmed_clip.methods.mediclip.assembly import encode_classes
from synthmed_clip.methods.mediclip.head import Head, anomaly_map
from synthmed_clip.methods.mediclip.settings import VARIANTS, Settings


class Selection:
    """Keeps the head of the epoch with the highest Image-AUROC; of equals, the first.

    The validation images pass the frozen backbone once.

    Attributes
    ----------
    digest : str
        Of images and labels.
    best : dict of Tensor
        The head's state at that epoch.
    highest : float
        Its Image-AUROC.
    """

    def __init__(self, backbone: Backbone, settings: Settings, items: Sequence[Item]) -> None:
        grey = VARIANTS[settings.variant].grey_test
        pixels = np.stack([square(item.image, settings.image_size, grey)[0] for item in items])
        self._abnormal = np.array([item.abnormal for item in items])
        if self._abnormal.all() or not self._abnormal.any():
            raise ValueError("validation needs normal and abnormal images; all are of one kind")
        self.digest = sha256(pixels.tobytes() + self._abnormal.tobytes()).hexdigest()
        batches = to_pixels(pixels).split(settings.batch_size)
        self._features = [backbone.features(batch, settings.layers) for batch in batches]
        self._backbone, self._settings = backbone, settings
        self.best: dict[str, Tensor] = {}
        self.highest = -1.0

    def consider(self, head: Head) -> float:
        """Return the head's Image-AUROC, and remember its state if it is the best so far."""
        settings = self._settings
        with torch.inference_mode():
            classes = encode_classes(self._backbone, settings, head)
            maps = [
                anomaly_map(
                    head,
                    features,
                    classes,
                    size=settings.image_size,
                    temperature=settings.temperature,
                    softmax_first=VARIANTS[settings.variant].softmax_first,
                )
                for features in self._features
            ]
        scores = torch.cat([found.amax((1, 2)).cpu() for found in maps]).numpy()
        found = image_metrics(scores, self._abnormal, resamples=1)["AUROC"].value
        if found > self.highest:
            self.highest = found
            self.best = {
                name: tensor.detach().clone() for name, tensor in head.state_dict().items()
            }
        return found
