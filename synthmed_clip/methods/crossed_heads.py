"""Heads of MediCLIP's kind that leave out support images and kinds of anomaly: evidence that is
honest about the support.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Self, cast

import numpy as np
from annotated_types import Ge, Gt, Interval, MinLen
from numpy.typing import NDArray

import synthmed
from synthmed_clip.methods.base import Channels, Depth, Fitted, Method, Scores, State
from synthmed_clip.methods.mediclip.method import MediCLIP
from synthmed_clip.training.history import History
from synthmed_clip.training.seeds import FOLDS, INITIAL, RNG, draw_entropy, seed_of

if TYPE_CHECKING:
    from torch import Tensor

    from synthmed_clip.backbone.model import Backbone
    from synthmed_clip.methods.mediclip.head import Head
    from synthmed_clip.methods.mediclip.model import Model

_LAYERS = 5  # at most, of those that `depth` names
_POOL = 0.01


@dataclass(frozen=True)
class CrossedHeads(Method):
    """MediCLIP's evidence by heads that were each taught without some images and a kind of anomaly.

    There is one head for each part of the support images and each kind of anomaly that the recipe
    draws (the options of a `synthmed.OneOf`; any other recipe is one kind). It sees the synthetic
    images that have neither. All learn at once from the same images, which pass the backbone once,
    by focal plus Dice loss with Adam. A map is the mean of the heads' evidence (see
    `MediCLIP(score="evidence")`); a support image that is to be left out is mapped by the heads
    that did not see it.

    Parameters
    ----------
    layers : tuple of int, optional
        Layers to read, from 1; by default five at most, evenly from those of the depth.
    depth : (float, float)
        From one share of the backbone's depth to another.
    tokens : int
        Learnable context vectors before each of the paper's words; of no effect on a backbone
        without a text tower, where two class vectors learn.
    recipe : Generator, optional
        What draws the anomalies: a generator, a preset's name; by default the paper's preset.
    folds : int
        Parts of the support images; as many as there are images, if these are fewer. Of one image
        nothing is left out.
    images : int
        Synthetic images to learn from, at least; each support image is used equally often.
    batch_size : int
        Of the training.
    lr : float
        Adam's learning rate.
    average : float
        The heads are means over all steps, as in MediCLIP.
    channels : {'grey', 'colour'}
        How images are seen, to learn from and to score.

    References
    ----------
    The heads are those of Zhang et al., MediCLIP, MICCAI 2024, arXiv 2405.11315; that they leave
    out is cross-fitting, as in Vovk, "Cross-conformal predictors", 2015.

    Examples
    --------
    `scans` are a few arrays of normal images, `backbone` is a loaded one.

    >>> from synthmed_clip import CrossedHeads, fit
    >>> method = CrossedHeads(images=16)
    >>> detector = fit(scans, method, backbone=backbone, rng=0, progress=False)
    >>> len(detector.fitted.models), len(detector.normal_scores)
    (6, 4)
    """

    reads_text = True
    layers: Annotated[tuple[int, ...], MinLen(1)] | None = None
    depth: Depth = (0.5, 0.84)
    tokens: Annotated[int, Ge(0)] = 8
    recipe: synthmed.Generator | None = None
    folds: Annotated[int, Ge(2)] = 2
    images: Annotated[int, Ge(1)] = 1280
    batch_size: Annotated[int, Ge(1)] = 8
    lr: Annotated[float, Gt(0)] = 1e-3
    average: Annotated[float, Interval(ge=0, lt=1)] = 0.995
    channels: Channels = "grey"

    @property
    def training_recipe(self) -> synthmed.Generator:
        """The recipe, or the paper's preset."""
        return synthmed.preset("paper") if self.recipe is None else self.recipe

    def resolved(self, backbone: Backbone) -> Self:
        """Fill in layers and recipe."""
        layers = self.layers
        if layers is None:
            there = backbone.layers_between(*self.depth)
            chosen = np.linspace(0, len(there) - 1, min(_LAYERS, len(there))).round()
            layers = tuple(there[int(index)] for index in chosen)
        layers = backbone.checked_layers(layers)
        return replace(self, layers=layers, recipe=self.training_recipe)

    def fit(
        self,
        support: Tensor,
        backbone: Backbone,
        rng: RNG = None,
        *,
        inside: NDArray[np.bool_] | None = None,
        workers: int | None = None,
        progress: bool = False,
    ) -> FittedCrossedHeads:
        """Teach all heads at once; options as in `synthmed_clip.fit`.

        Anomalies are drawn in what is `inside`, `(k, S, S)` bool, where that is given.

        Raises
        ------
        ValueError
            For support images that are not of whole numbers, or a loss that is no longer finite.
        NothingToSee
            If an image is too empty to carry an anomaly.
        """
        from torch import nn

        from synthmed_clip.methods.crossed_steps import CrossedSteps, crossed_maps, kinds_of
        from synthmed_clip.training.loop import learn
        from synthmed_clip.training.steps import as_bytes, require_anomalies

        method, entropy = self.resolved(backbone), draw_entropy(rng)
        kinds, weights = kinds_of(method.training_recipe)
        steps = CrossedSteps(
            kinds,
            weights,
            as_bytes(support),
            method.fold_of(len(support), entropy),
            method.batch_size,
            entropy,
            inside,
        )
        require_anomalies(steps)
        models = method.models(backbone, len(steps.cells), entropy)
        shown = iter(range(-(-method.images // steps.count) * steps.per_epoch))

        def maps(pixels: Tensor) -> Tensor:
            return crossed_maps(models, pixels, steps.seen(next(shown)))

        heads, log = learn(
            nn.ModuleList(model.head for model in models),
            steps,
            maps,
            epochs=-(-method.images // steps.count),
            lr=method.lr,
            betas=(0.5, 0.999),
            average=method.average,
            workers=workers,
            progress="fit" if progress else None,
        )
        pairs = zip(models, heads, strict=True)
        taught = [model.with_head(cast("Head", head)) for model, head in pairs]
        history = History(entropy, log)
        return FittedCrossedHeads(method, tuple(taught), steps.fold_of, len(kinds), history)

    def models(self, backbone: Backbone, count: int, entropy: tuple[int, ...]) -> list[Model]:
        """Bind as many heads as are wanted to the backbone, each with initial values of its own."""
        method = self.resolved(backbone)
        single = MediCLIP(layers=method.layers, tokens=self.tokens, recipe=self.recipe)
        single = single.resolved(backbone)
        return [
            single.model(backbone, seed_of(entropy, INITIAL, number)) for number in range(count)
        ]

    def fold_of(self, count: int, entropy: tuple[int, ...]) -> tuple[int, ...]:
        """Draw the fold of each support image, from 0; of one image there is one fold."""
        order = np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(FOLDS,)))
        return tuple(int(place) % min(self.folds, count) for place in order.permutation(count))

    @classmethod
    def restore(cls, state: State, backbone: Backbone) -> FittedCrossedHeads:
        """Put saved heads on their backbone."""
        method = cls.from_dict(state["method"]).resolved(backbone)
        history, kinds = History.from_dict(state["history"]), int(state["kinds"])
        fold_of = tuple(int(fold) for fold in state["fold_of"])
        blank = method.models(backbone, (max(fold_of) + 1) * kinds, history.entropy)
        models = []
        for number, model in enumerate(blank):
            prefix = f"heads.{number}."
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            classes = own.pop("classes")
            if classes.shape != model.classes.shape:
                expected = tuple(model.classes.shape)
                raise ValueError(f"{prefix}classes is {tuple(classes.shape)}, not {expected}")
            model = model.with_weights(own, f"head {number}")
            model.head.requires_grad_(False)
            models.append(replace(model, classes=classes.to(backbone.device)))
        return FittedCrossedHeads(method, tuple(models), fold_of, kinds, history)


@dataclass(frozen=True, eq=False)
class FittedCrossedHeads(Fitted):
    """Taught heads.

    Attributes
    ----------
    method : CrossedHeads
        Resolved.
    models : tuple of Model
        Fold by fold, and within each kind by kind: what the head of that place has not seen.
    fold_of : tuple of int
        Of each support image.
    kinds : int
        How many kinds of anomaly there are.
    history : History
    """

    method: CrossedHeads
    models: tuple[Model, ...]
    fold_of: tuple[int, ...]
    kinds: int
    history: History

    def score(self, pixels: Tensor) -> Scores:
        """Average the heads' evidence; a score is the mean of the map's largest hundredth."""
        return self._scores(self.evidence(pixels).mean(0))

    def score_left_out(self, support: Tensor) -> Scores | None:
        """Average the evidence of those heads that have not seen the image, nor its fold.

        They have seen fewer images than all heads together, so that p-values are heuristic.
        """
        import torch

        if len(support) != len(self.fold_of):
            raise ValueError(f"support has {len(support)} images, not {len(self.fold_of)}")
        if max(self.fold_of) == 0:
            return None
        folds = torch.tensor(self.fold_of)
        own = self.evidence(support).unflatten(0, (-1, self.kinds)).mean(1)
        return self._scores(own[folds, torch.arange(len(support))])

    def evidence(self, pixels: Tensor) -> Tensor:
        """Return each head's map of patches, `(H, N, h, w)` float32."""
        import torch

        from synthmed_clip.backbone.pixels import in_batches
        from synthmed_clip.methods.crossed_steps import evidence_of
        from synthmed_clip.methods.patches import CHUNK

        with torch.inference_mode():
            backbone, layers = self.models[0].backbone, self.models[0].layers
            batches = []
            for batch in in_batches(pixels, CHUNK):
                features = backbone.features(batch, layers)
                batches.append(torch.stack([evidence_of(m, features) for m in self.models]))
            return torch.cat(batches, 1)

    def state(self) -> State:
        """Return the heads' tensors, class features among them, and the rest as data."""
        state: State = {}
        for number, model in enumerate(self.models):
            tensors = {**model.head.state_dict(), "classes": model.classes}
            state |= {f"heads.{number}.{name}": value for name, value in tensors.items()}
        data = {"method": self.method.to_dict(), "history": self.history.to_dict()}
        return state | data | {"fold_of": list(self.fold_of), "kinds": self.kinds}

    def pool(self, values: Tensor) -> Tensor:
        """Average the largest hundredth."""
        from synthmed_clip.methods.maps import largest_mean

        return largest_mean(values, _POOL)

    def _scores(self, small: Tensor) -> Scores:
        """Bring maps of patches to pixels, and pool them."""
        from synthmed_clip.methods.maps import upsample

        maps = upsample(small, self.models[0].backbone.image_size)
        return Scores(self.pool(maps.flatten(1)), maps)
