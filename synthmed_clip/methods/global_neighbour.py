"""Distance of the whole image to the nearest support image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from synthmed_clip.methods.base import Channels, Fitted, Method, Scores, State

if TYPE_CHECKING:
    from torch import Tensor

    from synthmed_clip.backbone.model import Backbone
    from synthmed_clip.training.seeds import RNG


@dataclass(frozen=True)
class GlobalNeighbour(Method):
    """Euclidean distance of an image's one feature to that of the nearest support image; no maps.

    The feature is the unit vector of the mean of the class token and the mean patch token, of the
    last layer through the tower's final norm. A tower without a class token gives the mean patch
    token alone.

    Parameters
    ----------
    channels : {'grey', 'colour'}
        How images are seen, to fit and to score.

    References
    ----------
    The global score of RetriVAD (retrieval in place of training, on DINOv2).

    Examples
    --------
    `scans` are a few arrays of normal images, `backbone` is a loaded one.

    >>> from synthmed_clip import GlobalNeighbour, fit
    >>> detector = fit(scans, GlobalNeighbour(), backbone=backbone)
    >>> prediction = detector.predict(255 - scans[0])
    >>> prediction.is_anomalous, prediction.anomaly_map
    (True, None)
    """

    channels: Channels = "grey"

    def fit(self, support: Tensor, backbone: Backbone, rng: RNG = None) -> FittedGlobalNeighbour:
        """Remember the support images' features."""
        return FittedGlobalNeighbour(self, backbone, global_features(backbone, support))

    @classmethod
    def restore(cls, state: State, backbone: Backbone) -> FittedGlobalNeighbour:
        """Take the features from a state."""
        method, memory = cls.from_dict(state["method"]), state["memory"]
        channels = backbone.channels[-1]
        if memory.ndim != 2 or memory.shape[1] != channels:
            raise ValueError(f"memory is {tuple(memory.shape)}, not (k, {channels})")
        return FittedGlobalNeighbour(method, backbone, memory.to(backbone.device))


@dataclass(frozen=True, eq=False)
class FittedGlobalNeighbour(Fitted):
    """The support images' features.

    Attributes
    ----------
    method : GlobalNeighbour
    backbone : Backbone
    memory : Tensor
        `(k, C)` float32, of unit length.
    """

    method: GlobalNeighbour
    backbone: Backbone
    memory: Tensor

    left_out_is_conservative = True  # with more images no distance to the nearest grows

    def score(self, pixels: Tensor) -> Scores:
        """Compare images with the support images; from 0 to 2."""
        features = global_features(self.backbone, pixels)
        return _without_maps(_distances(features, self.memory).amin(1))

    def score_left_out(self, support: Tensor) -> Scores | None:
        """Compare each support image with the others."""
        if len(self.memory) < 2:
            return None
        distances = _distances(self.memory, self.memory)
        return _without_maps(distances.fill_diagonal_(float("inf")).amin(1))

    def state(self) -> State:
        """Return the features, and the method as data."""
        return {"memory": self.memory, "method": self.method.to_dict()}


def global_features(backbone: Backbone, pixels: Tensor) -> Tensor:
    """Return one feature an image, `(N, C)` float32, of unit length; see `GlobalNeighbour`."""
    import torch
    from torch.nn.functional import normalize

    from synthmed_clip.backbone.pixels import in_batches
    from synthmed_clip.methods.patches import CHUNK

    found = []
    with torch.inference_mode():
        for batch in in_batches(pixels, CHUNK):
            class_token, patches = backbone.last_tokens(batch)
            mean = patches.float().mean(1)
            mean = mean if class_token is None else (class_token.float() + mean) / 2
            found.append(normalize(mean, dim=-1))
    return torch.cat(found)


def _distances(features: Tensor, memory: Tensor) -> Tensor:
    import torch

    return torch.cdist(features, memory, compute_mode="donot_use_mm_for_euclid_dist")


def _without_maps(scores: Tensor) -> Scores:
    return Scores(scores, scores.new_empty(len(scores), 0, 0))
