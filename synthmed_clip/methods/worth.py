"""What heads are worth on a support set, found without labels."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import mannwhitneyu
from torch import Tensor

from synthmed_clip.backbone.model import Backbone
from synthmed_clip.backbone.pixels import as_channels
from synthmed_clip.methods.base import Fitted, Method
from synthmed_clip.methods.crossed_heads import FittedCrossedHeads
from synthmed_clip.methods.crossed_steps import CrossedSteps, kinds_of
from synthmed_clip.methods.maps import upsample
from synthmed_clip.training.seeds import RNG
from synthmed_clip.training.steps import as_bytes

_IMAGES = 96  # synthetic ones, at least
_POINTS = 28  # a side, at which maps are compared
_EVEN, _SLOPE, _MOST = 0.5, 1.5, 0.75
_CHANCE = 0.6


@dataclass(frozen=True)
class Skill:
    """How well synthetic anomalies are told from normal tissue, both of images that were left out.

    Attributes
    ----------
    heads, others : float
        AUROC over points of the maps, mean over what is left out: each time a part of the support
        images, and for the heads the kind of anomaly, too.
    """

    heads: float
    others: float

    @property
    def weight(self) -> float:
        """Return the heads' weight where the others' is 1: 0.5 where they are as good, by 0.15 more
        or less for every 0.1 that their AUROC is better or worse as a normal quantile, within 0 and
        0.75.

        Examples
        --------
        >>> Skill(0.9, 0.9).weight, Skill(0.6, 0.9).weight, Skill(0.9, 0.6).weight
        (0.5, 0.0, 0.75)
        """
        # An AUROC of exactly 0 or 1 has no quantile.
        own, other = (float(ndtri(min(max(a, 1e-3), 1 - 1e-3))) for a in (self.heads, self.others))
        return min(max(_EVEN + _SLOPE * (own - other), 0.0), _MOST)

    def warn_near_chance(self) -> None:
        """Warn where neither finds what was put there to be found."""
        if max(self.heads, self.others) < _CHANCE:
            warnings.warn(
                f"on these images the detector is near chance: on synthetic anomalies that it was "
                f"not taught, its maps have an AUROC of {self.heads:.2f} (heads) and "
                f"{self.others:.2f} (the other parts)",
                stacklevel=2,
            )


def skill_of(
    heads: FittedCrossedHeads,
    others: Sequence[Method],
    support: Tensor,
    backbone: Backbone,
    rng: RNG = None,
    inside: NDArray[np.bool_] | None = None,
) -> Skill | None:
    """Compare heads with other methods, fitted anew on the images that the heads have seen.

    Parameters
    ----------
    heads : FittedCrossedHeads
    others : sequence of Method
        Resolved; those that learn from synthetic images take no part.
    support : Tensor
        What the heads were fitted on, as `Method.fit` gets it.
    backbone : Backbone
    rng
        For the others' fits.
    inside : ndarray, optional
        Where anomalies are drawn, `(k, S, S)` bool.

    Returns
    -------
    Skill or None
        None where nothing was left out, or no other method is there.
    """
    others = [method for method in others if method.training_recipe is None]
    if max(heads.fold_of) == 0 or not others:
        return None
    images = as_channels(support, heads.method.support_channels)
    kinds, weights = kinds_of(heads.method.training_recipe)
    entropy = heads.history.entropy
    steps = CrossedSteps(kinds, weights, as_bytes(images), heads.fold_of, 1, entropy, inside)
    folds = torch.tensor(heads.fold_of)
    drawn = steps.held_out(math.ceil(_IMAGES / (len(images) * len(kinds))))
    size, figures = backbone.image_size, []
    for fold in range(max(heads.fold_of) + 1):
        apart = support[folds != fold]
        fits = [
            (method, method.fit(as_channels(apart, method.support_channels), backbone, rng))
            for method in others
        ]
        normal = support[folds == fold]
        scale = [(maps.mean(), maps.std(correction=0)) for maps in _maps(fits, normal)]
        normal_heads = heads.evidence(as_channels(normal, heads.method.scored_channels))
        normal_others = _at_points(_total(_maps(fits, normal), scale), size)
        for cell, ((own, _), (pixels, masks)) in enumerate(zip(steps.cells, drawn, strict=True)):
            inside = _at_points(masks.float(), size) > 0.5
            if own != fold or not inside.any():
                continue
            by_heads = _at_points(heads.evidence(pixels)[cell], size)[inside]
            by_others = _at_points(_total(_maps(fits, pixels), scale), size)[inside]
            reference = _at_points(normal_heads[cell], size)
            figures.append((_auroc(by_heads, reference), _auroc(by_others, normal_others)))
    if not figures:
        return None
    mean = np.mean(figures, axis=0)
    return Skill(float(mean[0]), float(mean[1]))


def _maps(fits: Sequence[tuple[Method, Fitted]], pixels: Tensor) -> list[Tensor]:
    return [made.score(as_channels(pixels, m.scored_channels)).maps for m, made in fits]


def _total(maps: Sequence[Tensor], scale: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Standardise maps, and add them."""
    pairs = zip(maps, scale, strict=True)
    return torch.stack(
        [(m - mean) / deviation.clamp_min(1e-6) for m, (mean, deviation) in pairs]
    ).sum(0)


def _at_points(maps: Tensor, size: int) -> NDArray[np.float32]:
    """Read maps `(B, h, w)` at points of a grid, `(B, p, p)`."""
    full = upsample(maps, size) if maps.shape[-1] != size else maps
    at = ((torch.arange(min(_POINTS, size)) + 0.5) * size / min(_POINTS, size)).long()
    return full.cpu()[:, at][:, :, at].numpy()


def _auroc(positive: NDArray[np.float32], negative: NDArray[np.float32]) -> float:
    pairs = positive.size * negative.size
    return float(mannwhitneyu(positive.ravel(), negative.ravel()).statistic / pairs)
