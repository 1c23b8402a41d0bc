"""What a detector has to beat, on the same frozen features."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from synthmed_clip.backbone.model import Backbone
from synthmed_clip.methods.mediclip.head import resize
from synthmed_clip.methods.mediclip.prompts import HARD_WORDS, class_features, embed_prompts
from synthmed_clip.methods.mediclip.settings import Words

_LOGIT_SCALE = 100  # CLIP's, at the end of its training
_CHUNK = 16


@dataclass(frozen=True, eq=False)
class Found:
    """Scores `(N,)` and maps `(N, S, S)` float32, S = 0 where a method has none; the higher, the
    more abnormal.
    """

    scores: np.ndarray
    maps: np.ndarray


@torch.inference_mode()
def zero_shot(backbone: Backbone, pixels: Tensor, words: Words = HARD_WORDS) -> Found:
    """CLIP as it is, with hard prompts: similarity to the two classes, softmax.

    Parameters
    ----------
    backbone : Backbone
    pixels : Tensor
        Squared images, as `Backbone.features` takes them.
    words : pair of tuple of str
        Prompts, normal and abnormal.

    Returns
    -------
    Found
        Scores from the pooled image feature; maps from the last layer's patch tokens through the
        tower's own norm and projection; none for a tower that has no such thing, as convolutional
        ones.
    """
    prompts = embed_prompts(backbone.text, words, 0)
    classes = class_features(
        backbone.text,
        prompts,
        prompts.embedded.new_zeros(len(prompts.read), 0, backbone.text.width),
    )
    direction = (classes[1] - classes[0]) * _LOGIT_SCALE
    scores, maps = [], []
    for batch in pixels.split(_CHUNK):
        pooled, tokens = backbone.joint_features(batch)
        scores.append((normalize(pooled.float(), dim=-1) @ direction).sigmoid().cpu())
        if tokens is None:
            continue
        side = int(tokens.shape[1] ** 0.5)
        small = (normalize(tokens.float(), dim=-1) @ direction).sigmoid().reshape(-1, side, side)
        maps.append(resize(small, (backbone.image_size, backbone.image_size)).cpu())
    return Found(
        torch.cat(scores).numpy(),
        torch.cat(maps).numpy() if maps else np.empty((len(pixels), 0, 0)),
    )


@dataclass(frozen=True, eq=False)
class PatchMemory:
    """The support images' patches of one layer (PatchCore, Roth et al. 2022, without subsampling;
    AnomalyDINO, 2025).

    Attributes
    ----------
    backbone : Backbone
    layers : tuple of int
        Read in one pass, counted from 1.
    layer : int
        The one of them that is remembered.
    pixels : Tensor
        The support images, `(k, 1, S, S)` float32, 0 to 255.
    patches : Tensor
        `(k, L, C)` float32, unit length.
    """

    backbone: Backbone
    layers: tuple[int, ...]
    layer: int
    pixels: Tensor
    patches: Tensor

    @classmethod
    def of(
        cls, backbone: Backbone, pixels: Tensor, layers: tuple[int, ...], layer: int
    ) -> PatchMemory:
        """Remember the patches of squared support images."""
        memory = cls(backbone, layers, layer, pixels, torch.empty(0))
        return replace(
            memory, patches=torch.cat([memory._patches(batch) for batch in pixels.split(_CHUNK)])
        )

    def find(self, pixels: Tensor) -> Found:
        """Return the cosine distance of every patch to its nearest remembered one; an image's score
        is the largest.
        """
        return self._found(
            [self._nearest(self._patches(batch), self.patches) for batch in pixels.split(_CHUNK)]
        )

    def find_left_out(self) -> Found:
        """The same for the remembered images, each against the others; at least two are needed."""
        rest = torch.ones(len(self.patches), dtype=torch.bool)
        distances = []
        for index, patches in enumerate(self.patches):
            rest[index] = False
            distances.append(self._nearest(patches[None], self.patches[rest]))
            rest[index] = True
        return self._found(distances)

    @torch.inference_mode()
    def _patches(self, pixels: Tensor) -> Tensor:
        feature = self.backbone.features(pixels, self.layers)[self.layers.index(self.layer)]
        return normalize(feature.flatten(2).transpose(1, 2).float(), dim=-1)

    @staticmethod
    @torch.inference_mode()
    def _nearest(patches: Tensor, memory: Tensor) -> Tensor:
        return 1 - (patches @ memory.flatten(0, 1).T).amax(-1)

    def _found(self, distances: list[Tensor]) -> Found:
        size = self.backbone.image_size
        flat = torch.cat(distances)
        side = int(flat.shape[1] ** 0.5)
        maps = resize(flat.reshape(-1, side, side), (size, size)).cpu().numpy()
        return Found(flat.amax(1).cpu().numpy(), maps)


def join(
    detector: np.ndarray, distance: np.ndarray, on_support: tuple[np.ndarray, np.ndarray]
) -> Found:
    """Add a detector's maps and the distances, each standardised by mean and deviation over the
    support's pixels.

    Parameters
    ----------
    detector, distance : ndarray
        Maps `(N, S, S)` of the images to be judged.
    on_support : pair of ndarray
        Both methods' maps of the support images: the distances with each image left out of the
        memory.

    Notes
    -----
    A detector's maps are nearly zero on the images that it was fitted on. The smaller their
    deviation, the more they weigh in the sum.
    """
    maps = _standardised(detector, on_support[0]) + _standardised(distance, on_support[1])
    return Found(maps.max((1, 2)), maps)


def _standardised(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    return (values - reference.mean()) / max(float(reference.std()), 1e-6)
