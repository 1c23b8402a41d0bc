"""MediCLIP as a method: its hyperparameters, fitted and restored. Loads torch when it is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
from annotated_types import Ge, Gt, Interval, MinLen
from numpy.typing import NDArray

import synthmed
from synthmed.digests import digest_array
from synthmed_clip.methods.base import (
    Channels,
    Depth,
    Fitted,
    Method,
    Scores,
    State,
    layers_of,
)
from synthmed_clip.methods.mediclip.settings import (
    VARIANTS,
    ScoreKind,
    Variant,
    VariantName,
    Words,
)
from synthmed_clip.training.history import Epoch, History
from synthmed_clip.training.schedule import Schedule, ScheduleKind
from synthmed_clip.training.seeds import INITIAL, RNG, draw_entropy, seed_of

if TYPE_CHECKING:
    from torch import Tensor

    from synthmed_clip.backbone.model import Backbone
    from synthmed_clip.methods.mediclip.model import Model
    from synthmed_clip.training.selection import Labelled
    from synthmed_clip.training.steps import Steps

_Beta = Annotated[float, Interval(ge=0, lt=1)]
_Words = Annotated[tuple[str, ...], MinLen(1)]


@dataclass(frozen=True)
class MediCLIP(Method, name="mediclip"):
    """CLIP with adapters and prompts that learn from synthetic anomalies.

    Every epoch draws one fresh synthetic anomaly on each support image; adapters and prompt
    context learn to map it, by focal plus Dice loss with Adam. On a backbone without a text tower,
    two class vectors of the last layer's length learn in place of prompts.

    Parameters
    ----------
    variant : {'paper', 'release'}
        The method as published, or as its authors' code has it.
    layers : tuple of int, optional
        Layers to read, from 1; by default half, three quarters and all of the depth.
    depth : (float, float), optional
        In place of layers: those between two shares of the depth.
    normal_words, abnormal_words : tuple of str, optional
        Class words; by default the variant's. None on a backbone without a text tower.
    tokens : int
        Learnable context vectors before each word; 0 for prompts as they stand. Of no effect on a
        backbone without a text tower.
    temperature : float, optional
        What similarities are divided by; by default 0.07 (paper) or 1 (release).
    adapters : bool
        Learn adapters; otherwise channels are average-pooled in their place.
    recipe : Generator, optional
        What draws the anomalies: a generator, a preset's name; by default the variant's preset.
    epochs, batch_size : int
        Of the training; an epoch shows each support image once.
    lr : float
        Adam's learning rate.
    betas : (float, float)
        Adam's.
    schedule : {'constant', 'cosine'}
        Of the learning rate after the warm-up: as it is, as in the paper, or falling to zero at the
        last epoch along half a cosine.
    warmup : int
        Epochs over which the learning rate first rises linearly, step by step.
    average : float
        The result is the mean of the head over all steps, each weighing this much of the next
        (bias corrected; Polyak and Juditsky, 1992); 0 takes the last step's alone, as the paper.
    score : {'max', 'evidence'}
        What a score is: the largest probability of the map, as in the paper, which saturates; or
        the evidence, the mean over layers of the difference of similarities over the temperature,
        unbounded, of which maps are made and whose largest hundredth is averaged.
    channels : {'grey', 'colour'}, optional
        How images are seen, to learn from and to score. By default in grey; but the release, which
        learns from grey images, scores in colour.

    References
    ----------
    Zhang, Xu, Qiu, Yan, Lang, Zhou, "MediCLIP: Adapting CLIP for Few-shot Medical Image Anomaly
    Detection", MICCAI 2024, arXiv 2405.11315.

    Examples
    --------
    >>> MediCLIP(tokens=4).to_dict()["tokens"]
    4
    """

    reads_text = True
    variant: VariantName = "paper"
    layers: Annotated[tuple[int, ...], MinLen(1)] | None = None
    depth: Depth | None = None
    normal_words: _Words | None = None
    abnormal_words: _Words | None = None
    tokens: Annotated[int, Ge(0)] = 8
    temperature: Annotated[float, Gt(0)] | None = None
    adapters: bool = True
    recipe: synthmed.Generator | None = None
    epochs: Annotated[int, Ge(1)] = 200
    batch_size: Annotated[int, Ge(1)] = 8
    lr: Annotated[float, Gt(0)] = 1e-3
    betas: tuple[_Beta, _Beta] = (0.5, 0.999)
    schedule: ScheduleKind = "constant"
    warmup: Annotated[int, Ge(0)] = 0
    average: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    score: ScoreKind = "max"
    channels: Channels | None = None

    def __post_init__(self) -> None:
        """Check the values; a class word must not be blank, nor the warm-up longer than the
        training.
        """
        super().__post_init__()
        if self.warmup > self.epochs:
            raise ValueError(
                f"warmup must be at most epochs, which are {self.epochs}, not {self.warmup}"
            )
        for name in ("normal_words", "abnormal_words"):
            if any(not word.strip() for word in getattr(self, name) or ()):
                raise ValueError(f"{name} must hold no blank word, not {getattr(self, name)!r}")

    @property
    def behaviour(self) -> Variant:
        """What the variant decides beside its defaults."""
        return VARIANTS[self.variant]

    @property
    def scored_channels(self) -> Channels:
        """As `channels` says; by default the paper scores in grey, the release in colour."""
        return self.channels or self.behaviour.channels

    @property
    def training_recipe(self) -> synthmed.Generator:
        """The recipe, or the variant's preset."""
        return synthmed.preset(self.variant) if self.recipe is None else self.recipe

    @property
    def words(self) -> Words:
        """The class words, or the variant's."""
        normal, abnormal = self.behaviour.words
        return self.normal_words or normal, self.abnormal_words or abnormal

    def resolved(self, backbone: Backbone) -> Self:
        """Fill in the variant's and the backbone's defaults; ValueError for words where there is no
        text tower.
        """
        layers = layers_of(backbone, self.layers, self.depth, backbone.default_layers())
        normal: tuple[str, ...] | None
        abnormal: tuple[str, ...] | None
        normal, abnormal = self.words
        if backbone.text is None:
            normal, abnormal = self.normal_words, self.abnormal_words
            if normal or abnormal:
                backbone.require_text("a class word")
        temperature = self.temperature or self.behaviour.temperature
        return replace(
            self,
            layers=layers,
            normal_words=normal,
            abnormal_words=abnormal,
            temperature=temperature,
            recipe=self.training_recipe,
        )

    def fit(
        self,
        support: Tensor,
        backbone: Backbone,
        rng: RNG = None,
        *,
        start: Fitted | None = None,
        validation: Labelled | None = None,
        checkpoint: str | Path | None = None,
        callback: Callable[[Epoch], object] | None = None,
        inside: NDArray[np.bool_] | None = None,
        workers: int | None = None,
        progress: bool = False,
    ) -> FittedMediCLIP:
        """Learn from synthetic anomalies on the support images; options as in `synthmed_clip.fit`.

        Anomalies are drawn in what is `inside`, `(k, S, S)` bool, where that is given.

        Raises
        ------
        ValueError
            For support images that are not of whole numbers, a checkpoint of another fit, a start
            that does not fit, or a loss that is no longer finite.
        NothingToSee
            If an image is too empty to carry an anomaly.
        """
        from synthmed_clip.training.checkpoint import Checkpoint
        from synthmed_clip.training.selection import Selection
        from synthmed_clip.training.steps import SyntheticSteps, as_bytes, require_anomalies

        method, images = self.resolved(backbone), as_bytes(support)
        entropy = draw_entropy(rng)
        history = History(
            entropy,
            start=None if start is None else start.digest(),
            validation=None if validation is None else validation.digest,
        )
        saving = None
        if checkpoint is not None:
            identity = method.to_dict() | {
                "images": digest_array(images),
                "backbone": backbone.fingerprint,
                "start": history.start,
                "validation": history.validation,
            }
            if inside is not None:
                identity["inside"] = digest_array(inside)
            # More epochs may be asked for than before, unless the schedule ends with them; and with
            # rng=None the checkpoint's goes on.
            free = {"epochs"} if self.schedule == "constant" else set()
            free |= {"entropy"} if rng is None else set()
            saving = Checkpoint.open(checkpoint, identity, entropy, free)
            history = replace(history, entropy=saving.entropy)
        recipe, batch = method.training_recipe, method.batch_size
        steps = SyntheticSteps(recipe, images, batch, history.entropy, inside)
        require_anomalies(steps)
        model = method.model(backbone, seed_of(history.entropy, INITIAL))
        if start is not None:
            if not isinstance(start, FittedMediCLIP):
                raise TypeError(f"start must be a fitted MediCLIP, not {type(start).__name__}")
            model = model.with_weights(start.model.head.state_dict(), "start")
        selection = None
        if validation is not None:
            batches = validation.pixels.split(method.batch_size)
            selection = Selection(validation.abnormal, model.scorer(batches, method.score))
        return method.taught(
            model,
            steps,
            history,
            selection=selection,
            checkpoint=saving,
            callback=callback,
            workers=workers,
            progress="fit" if progress else None,
        )

    def taught(
        self, model: Model, steps: Steps, history: History, **options: Any
    ) -> FittedMediCLIP:
        """Teach a model what the steps show; options as in `synthmed_clip.training.learn`."""
        from synthmed_clip.training.loop import learn

        head, log = learn(
            model.head,
            steps,
            lambda pixels: model.maps_of(model.features(pixels), model.class_features()),
            epochs=self.epochs,
            lr=self.lr,
            betas=self.betas,
            average=self.average,
            schedule=Schedule(self.schedule, self.warmup),
            **options,
        )
        return FittedMediCLIP(self, model.with_head(head), replace(history, log=log))

    def model(self, backbone: Backbone, seed: int = 0) -> Model:
        """Bind the method, which must be resolved, to its backbone; what learns is random."""
        from synthmed_clip.methods.mediclip.model import Model

        return Model.begin(
            backbone,
            layers=self.layers or (),
            words=self.words,
            tokens=self.tokens,
            temperature=self.temperature or self.behaviour.temperature,
            variant=self.behaviour,
            adapters=self.adapters,
            seed=seed,
        )

    @classmethod
    def restore(cls, state: State, backbone: Backbone) -> FittedMediCLIP:
        """Put a saved head on its backbone."""
        method = cls.from_dict(state["method"]).resolved(backbone)
        head = {name: state[name] for name in state if name not in ("method", "history", "classes")}
        model = method.model(backbone).with_weights(head, "it")
        classes = state["classes"]
        if classes.shape != model.classes.shape:
            expected = tuple(model.classes.shape)
            raise ValueError(f"classes is {tuple(classes.shape)}, not {expected}")
        saved = state["history"]
        history = None if saved is None else History.from_dict(saved)
        return FittedMediCLIP(method, replace(model, classes=classes.to(backbone.device)), history)


@dataclass(frozen=True, eq=False)
class FittedMediCLIP(Fitted):
    """A taught MediCLIP.

    Attributes
    ----------
    method : MediCLIP
        Resolved.
    model : Model
    history : History or None
        None for a head that was imported.
    """

    method: MediCLIP
    model: Model
    history: History | None = None

    def __post_init__(self) -> None:
        """Let the head learn no more."""
        self.model.head.requires_grad_(False)

    @property
    def maps_are_probabilities(self) -> bool:  # type: ignore[override]
        """Those of the paper are; evidence is unbounded."""
        return self.method.score == "max"

    def score(self, pixels: Tensor) -> Scores:
        """Map images, and score them by the largest values; see `MediCLIP`."""
        return Scores(*self.model.scores_of(self.model.features(pixels), self.method.score))

    def pool(self, values: Tensor) -> Tensor:
        """Take the largest, or the mean of the largest hundredth."""
        from synthmed_clip.methods.mediclip.model import pool

        return pool(values, self.method.score)

    def state(self) -> State:
        """Return the head's tensors, the class features, and method and history as data."""
        history = None if self.history is None else self.history.to_dict()
        tensors = {**self.model.head.state_dict(), "classes": self.model.classes}
        return {**tensors, "method": self.method.to_dict(), "history": history}
