"""One MediCLIP object: backbone, settings and head bound together, from images to maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from synthmed_clip.backbone.model import Backbone
from synthmed_clip.backbone.open_clip_internals.state_dicts import first_mismatch
from synthmed_clip.methods.maps import largest_mean
from synthmed_clip.methods.mediclip.head import Head, anomaly_map, evidence_map
from synthmed_clip.methods.mediclip.prompts import Prompts, class_features, embed_prompts
from synthmed_clip.methods.mediclip.settings import ScoreKind, Variant, Words

_SHARE = 0.01  # of the pixels, whose mean evidence is an image's score


@dataclass(frozen=True, eq=False)
class Model:
    """A head on its backbone: class features, maps of features, maps of images.

    Attributes
    ----------
    backbone : Backbone
    head : Head
        What learns: adapters, and context or class vectors, float32.
    prompts : Prompts or None
        The frozen parts of the prompts; None on a backbone without a text tower.
    layers : tuple of int
        Which the adapters belong to, from 1.
    temperature : float
    softmax_first : bool
        As in `anomaly_map`.
    classes : Tensor
        `(2, D)` float32, f_n and f_a as the head gives them: constants once it is learnt.
    """

    backbone: Backbone
    head: Head
    prompts: Prompts | None
    layers: tuple[int, ...]
    temperature: float
    softmax_first: bool
    classes: Tensor

    @classmethod
    def begin(
        cls,
        backbone: Backbone,
        *,
        layers: tuple[int, ...],
        words: Words,
        tokens: int,
        temperature: float,
        variant: Variant,
        adapters: bool,
        seed: int,
    ) -> Model:
        """Make one with random values, always the same for the same seed."""
        channels = [backbone.channels[layer - 1] for layer in layers]
        if backbone.text is None:
            dim, prompts = backbone.channels[-1], None
            head = Head(channels, dim, None, 0, 0, seed, adapters)
        else:
            text, dim = backbone.require_text("a prompt")
            prompts = embed_prompts(text, words, tokens, variant.causal)
            counts = len(words[0]), len(words[1])
            head = Head(channels, dim, counts, tokens, text.width, seed, adapters)
        head.to(backbone.device)
        classes = torch.empty(2, dim)
        model = cls(backbone, head, prompts, layers, temperature, variant.softmax_first, classes)
        return model.with_head(head)

    def with_head(self, head: Head) -> Model:
        """Return the same with another head, and the class features that its context gives."""
        with torch.no_grad():
            changed = replace(self, head=head)
            return replace(changed, classes=changed.class_features())

    def with_weights(self, state: dict[str, Tensor], source: str) -> Model:
        """Let the head have other weights; ValueError names the first that does not fit."""
        problem = first_mismatch(self.head.state_dict(), state)
        if problem:
            where = f"{self.backbone.name} with layers {self.layers}"
            raise ValueError(f"{source} does not fit {where}: {problem}")
        self.head.load_state_dict(state)
        return self.with_head(self.head)

    def class_features(self) -> Tensor:
        """Return f_n and f_a of the head as it is now, `(2, D)`, with gradient: the prompts encoded
        with its context, or its class vectors, at unit length.
        """
        if self.prompts is None:
            return normalize(self.head.class_vectors, dim=1)
        text, _ = self.backbone.require_text("a prompt")
        return class_features(text, self.prompts, self.head.context)

    def features(self, pixels: Tensor) -> list[Tensor]:
        """Return the frozen features of images, one tensor a layer."""
        return self.backbone.features(pixels, self.layers)

    def maps_of(self, features: Sequence[Tensor], classes: Tensor | None = None) -> Tensor:
        """Return the maps `(B, S, S)` of features, in [0, 1], by its own classes or others."""
        return anomaly_map(
            self.head,
            features,
            self.classes if classes is None else classes,
            size=self.backbone.image_size,
            temperature=self.temperature,
            softmax_first=self.softmax_first,
        )

    def scores_of(self, features: Sequence[Tensor], kind: ScoreKind) -> tuple[Tensor, Tensor]:
        """Return scores `(B,)` and maps `(B, S, S)` of features, without gradient.

        By kind 'max' maps are probabilities and a score is the largest; by 'evidence' they are
        unbounded, and a score is the mean of the largest hundredth.
        """
        with torch.inference_mode():
            if kind == "max":
                maps = self.maps_of(features)
            else:
                maps = evidence_map(
                    self.head,
                    features,
                    self.classes,
                    size=self.backbone.image_size,
                    temperature=self.temperature,
                )
            return pool(maps.flatten(1), kind), maps

    def scorer(self, batches: Sequence[Tensor], kind: ScoreKind) -> Callable[[Head], Tensor]:
        """Return what scores images `(N,)` with other heads; they pass the backbone once, now."""
        kept = [self.features(pixels) for pixels in batches]

        def score(head: Head) -> Tensor:
            model = self.with_head(head)
            return torch.cat([model.scores_of(part, kind)[0].cpu() for part in kept])

        return score


def pool(values: Tensor, kind: ScoreKind) -> Tensor:
    """Return scores `(B,)` of the pixels of maps, `(B, M)`; see `Model.scores_of`."""
    return values.amax(1) if kind == "max" else largest_mean(values, _SHARE)
