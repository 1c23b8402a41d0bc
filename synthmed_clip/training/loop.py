"""What every kind of training shares: settings, a head to begin with, and the loop that
teaches it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from math import isfinite

import numpy as np
import torch
from numpy.random import SeedSequence

from synthmed_clip.backbone.memory import explained_memory
from synthmed_clip.backbone.model import Backbone
from synthmed_clip.detector import Detector
from synthmed_clip.methods.mediclip.assembly import build_head, encode_classes, precision_name
from synthmed_clip.methods.mediclip.head import Head, anomaly_map
from synthmed_clip.methods.mediclip.prompts import class_features, embed_prompts
from synthmed_clip.methods.mediclip.settings import VARIANTS, Epoch, Settings, Words
from synthmed_clip.training.losses import dice_loss, focal_loss
from synthmed_clip.training.steps import INITIAL, Steps, stream


def require_valid(variant: str, *, epochs: int, batch_size: int, tokens: int) -> None:
    """Raise ValueError for an unknown variant, or a number out of its range."""
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, not {variant!r}")
    for name, value, least in (
        ("epochs", epochs, 1),
        ("batch_size", batch_size, 1),
        ("tokens", tokens, 0),
    ):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, not {value}")


def resolve(
    backbone: Backbone,
    *,
    variant: str = "paper",
    layers: Iterable[int] | None = None,
    words: Words | None = None,
    tokens: int = 8,
    temperature: float | None = None,
    adapters: bool = True,
    recipe: dict,
    epochs: int,
    batch_size: int = 8,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.5, 0.999),
    average: float = 0.0,
    rng: int | SeedSequence | np.random.BitGenerator | np.random.Generator | None = None,
    support: tuple[str, ...] = (),
) -> Settings:
    """Fill in the variant's and the backbone's defaults; the arguments are those of `fit`."""
    require_valid(variant, epochs=epochs, batch_size=batch_size, tokens=tokens)
    if temperature is None:
        temperature = VARIANTS[variant].temperature
    for name, value in (("temperature", temperature), ("lr", lr)):
        if not (isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a positive number, not {value}")
    if not 0 <= average < 1:
        raise ValueError(f"average must be at least 0 and below 1, not {average}")
    chosen = backbone.default_layers() if layers is None else tuple(int(layer) for layer in layers)
    first, second = betas
    return Settings(
        variant=variant,
        backbone=backbone.name,
        config=backbone.config,
        weights=backbone.weights,
        random_text=backbone.random_text,
        image_size=backbone.image_size,
        layers=chosen,
        words=VARIANTS[variant].words if words is None else _checked_words(words),
        tokens=tokens,
        temperature=float(temperature),
        recipe=recipe,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        betas=(first, second),
        average=float(average),
        entropy=tuple(int(n) for n in np.random.default_rng(rng).integers(2**32, size=4)),
        precision=precision_name(backbone),
        adapters=adapters,
        support=support,
    )


def _checked_words(words: Words) -> Words:
    groups = [() if isinstance(group, str) else tuple(group) for group in words]
    if (
        len(groups) != 2
        or not all(groups)
        or not all(isinstance(word, str) and word.strip() for g in groups for word in g)
    ):
        raise ValueError(
            f"words must be two non-empty groups of words, normal and abnormal, not {words!r}"
        )
    return groups[0], groups[1]


@dataclass(eq=False)
class Learner:
    """What changes while a head is taught.

    Attributes
    ----------
    head : Head
        As the last step left it.
    optimiser : Adam
        Over what the head learns.
    mean : Head
        The mean of the head over all steps so far, each weighing `average` times as much as the
        next one; with an average of 0 the head itself. It is what a training results in.
    """

    head: Head
    optimiser: torch.optim.Adam
    mean: Head

    @classmethod
    def begin(
        cls, backbone: Backbone, settings: Settings, start: Detector | None = None
    ) -> Learner:
        """Begin with a head that is random, by the settings' entropy, or with that of another
        detector.
        """
        if start is not None:
            head = build_head(backbone, settings, start.head.state_dict(), "start")
        else:
            seed = int(SeedSequence(settings.entropy, spawn_key=(INITIAL,)).generate_state(1)[0])
            head = build_head(backbone, settings, seed=seed)
        optimiser = torch.optim.Adam(head.parameters(), lr=settings.lr, betas=settings.betas)
        return cls(head, optimiser, deepcopy(head).requires_grad_(False))

    @torch.no_grad()
    def take_mean(self, average: float, step: int) -> None:
        """Let the mean take in the head after a step, counted from 1."""
        weight = (1 - average) / (1 - average**step)
        for mean, parameter in zip(self.mean.parameters(), self.head.parameters(), strict=True):
            mean.lerp_(parameter, weight)


def finished(backbone: Backbone, settings: Settings, head: Head, log: list[Epoch]) -> Detector:
    """Make a detector of a trained head; its threshold is not calibrated."""
    return Detector(
        backbone, head, encode_classes(backbone, settings, head), settings, 0.5, tuple(log)
    )


def train(
    backbone: Backbone,
    settings: Settings,
    learner: Learner,
    steps: Steps,
    done: int = 0,
    workers: int | None = None,
) -> Iterator[Epoch]:
    """Teach the learner in place, yielding after every epoch; `done` epochs are taken as done."""
    variant, head, optimiser = VARIANTS[settings.variant], learner.head, learner.optimiser
    prompts = embed_prompts(backbone.text, settings.words, settings.tokens, variant.causal)
    batches = stream(
        steps,
        done * steps.per_epoch,
        settings.epochs * steps.per_epoch,
        _default_workers() if workers is None else workers,
    )
    for number in range(done + 1, settings.epochs + 1):
        sums = torch.zeros(2, device=backbone.device)
        for step in range((number - 1) * steps.per_epoch, number * steps.per_epoch):
            images, masks = next(batches)
            with explained_memory(settings.batch_size):
                features = backbone.features(images, settings.layers)
                classes = class_features(backbone.text, prompts, head.context)
                probability = anomaly_map(
                    head,
                    features,
                    classes,
                    size=settings.image_size,
                    temperature=settings.temperature,
                    softmax_first=variant.softmax_first,
                )
                masks = masks.to(backbone.device)
                losses = torch.stack(
                    [focal_loss(probability, masks), dice_loss(probability, masks)]
                )
                optimiser.zero_grad()
                losses.sum().backward()
                optimiser.step()
                learner.take_mean(settings.average, step + 1)
            sums += losses.detach() * (len(images) / steps.count)
        focal, dice = sums.tolist()
        if not np.isfinite(focal + dice):
            raise ValueError(
                f"the loss is no longer finite in epoch {number}; a smaller lr may help"
            )
        yield Epoch(number, focal + dice, focal, dice)


def _default_workers() -> int:
    """Leave a core to the process that drives the backbone; without fork, starting workers costs
    seconds.
    """
    return min(8, max(1, (os.cpu_count() or 1) - 1)) if sys.platform == "linux" else 0
