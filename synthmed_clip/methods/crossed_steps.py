"""What crossed heads learn from: synthetic images of known kind, and who may see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import SeedSequence
from numpy.typing import NDArray
from torch import Tensor

import synthmed
from synthmed_clip.backbone.pixels import to_pixels
from synthmed_clip.methods.maps import mean_of, resize
from synthmed_clip.methods.mediclip.head import logits
from synthmed_clip.methods.mediclip.model import Model
from synthmed_clip.training.seeds import HELD_OUT, KIND, SYNTHETIC, Entropy
from synthmed_clip.training.steps import Pair, Steps, synthesise


def kinds_of(
    recipe: synthmed.Generator,
) -> tuple[tuple[synthmed.Generator, ...], tuple[float, ...]]:
    """Return the kinds of anomaly that a recipe draws, and their probabilities.

    Examples
    --------
    >>> kinds, weights = kinds_of(synthmed.Source() | synthmed.Sink())
    >>> [type(kind).__name__ for kind in kinds], weights
    (['Source', 'Sink'], (0.5, 0.5))
    """
    if not isinstance(recipe, synthmed.OneOf):
        return (recipe,), (1.0,)
    weights = np.array(recipe.weights or (1.0,) * len(recipe.options))
    return recipe.options, tuple((weights / weights.sum()).tolist())


@dataclass
class CrossedSteps(Steps):
    """Fresh synthetic images, each of one kind, made for heads that leave out a fold and a kind.

    An epoch shows every support image equally often, and a batch's worth at least. A batch's masks
    are repeated for every head that may see their image, head by head, in the order of `cells`.

    Attributes
    ----------
    kinds : tuple of synthmed generator
    weights : tuple of float
        Their probabilities.
    images : ndarray
        The support images, `(k, S, S)` or `(k, S, S, 3)` uint8.
    fold_of : tuple of int
        Of each of them.
    batch_size, entropy
        As in `Steps`.
    inside : ndarray or None
        Where anomalies are drawn, `(k, S, S)` bool.

    Examples
    --------
    `scans` are a few arrays of normal images.

    >>> kinds, weights = kinds_of(synthmed.preset("paper"))
    >>> steps = CrossedSteps(kinds, weights, np.stack(scans), (0, 1, 0, 1), 8, entropy=(7,))
    >>> steps.count, len(steps.cells)
    (8, 6)
    >>> images, masks = steps[0]
    >>> [len(images), len(masks), sum(map(len, steps.seen(0)))]
    [8, 16, 16]
    """

    kinds: tuple[synthmed.Generator, ...]
    weights: tuple[float, ...]
    images: NDArray[np.uint8]
    fold_of: tuple[int, ...]
    batch_size: int
    entropy: Entropy
    inside: NDArray[np.bool_] | None = None

    @property
    def count(self) -> int:
        return len(self.images) * -(-self.batch_size // len(self.images))

    @property
    def cells(self) -> list[tuple[int, int]]:
        """Fold and kind that each head leaves out."""
        return [(f, k) for f in range(max(self.fold_of) + 1) for k in range(len(self.kinds))]

    def kind(self, epoch: int, index: int) -> int:
        """Draw the kind of one synthetic image."""
        key = (KIND, epoch, index)
        rng = np.random.default_rng(SeedSequence(self.entropy, spawn_key=key))
        return int(rng.choice(len(self.kinds), p=self.weights))

    def pair(self, epoch: int, index: int) -> Pair:
        turn, source = divmod(index, len(self.images))
        recipe = self.kinds[self.kind(epoch, index)]
        key = (SYNTHETIC, epoch, turn)
        return synthesise(recipe, self.images, source, self.entropy, key, self.inside)

    def seen(self, step: int) -> list[list[int]]:
        """Return for each head the places in a step's batch of the images that it may see; where
        there is one fold, or one kind, nothing is left out by it.
        """
        epoch, chosen = self.shown(step)
        folds = [self.fold_of[index % len(self.images)] for index in chosen]
        kinds = [self.kind(epoch, index) for index in chosen]
        return [
            [
                place
                for place in range(len(chosen))
                if (max(self.fold_of) == 0 or folds[place] != fold)
                and (len(self.kinds) == 1 or kinds[place] != kind)
            ]
            for fold, kind in self.cells
        ]

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        images, masks = super().__getitem__(step)
        return images, masks[[place for places in self.seen(step) for place in places]]

    def held_out(self, rounds: int) -> list[tuple[Tensor, Tensor]]:
        """Draw images that no training shows: for each cell, `rounds` images of its kind on every
        support image of its fold, with their masks.
        """
        found = []
        for fold, kind in self.cells:
            sources = [index for index, own in enumerate(self.fold_of) if own == fold]
            pairs = [
                synthesise(
                    self.kinds[kind],
                    self.images,
                    source,
                    self.entropy,
                    (HELD_OUT, kind, turn),
                    self.inside,
                )
                for turn in range(rounds)
                for source in sources
            ]
            images, masks = (np.stack(part) for part in zip(*pairs, strict=True))
            found.append((to_pixels(images), torch.from_numpy(masks)))
        return found


def evidence_of(model: Model, features: Sequence[Tensor]) -> Tensor:
    """Return a head's evidence of features, `(B, h, w)` float32: the mean logit over layers."""
    return mean_of(logits(model.head, features, model.classes, model.temperature))


def crossed_maps(models: Sequence[Model], pixels: Tensor, seen: Sequence[Sequence[int]]) -> Tensor:
    """Map the images that each head may see, head by head, `(P, S, S)`, with gradient; the images
    pass the backbone once.
    """
    features = models[0].features(pixels)
    small = []
    for model, places in zip(models, seen, strict=True):
        if not places:
            continue
        own = [feature[list(places)] for feature in features]
        layers = logits(model.head, own, model.class_features(), model.temperature)
        small.append(mean_of([layer.sigmoid() for layer in layers]))
    size = models[0].backbone.image_size
    return resize(torch.cat(small), (size, size))
