"""`fit`: from a few normal images to a detector."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.random import SeedSequence
from tqdm import tqdm

import synthmed
from synthmed_clip import checkpoint as checkpoints
from synthmed_clip.backbone import Backbone, load_backbone
from synthmed_clip.detector import (
    Detector,
    build_head,
    encode_classes,
    explained_memory,
    precision_name,
)
from synthmed_clip.head import Head, anomaly_map
from synthmed_clip.images import ImageLike, collect, digest, square
from synthmed_clip.losses import dice_loss, focal_loss
from synthmed_clip.prompts import class_features, embed_prompts
from synthmed_clip.settings import VARIANTS, Epoch, Settings, Words
from synthmed_clip.synthesis import CALIBRATION, INITIAL, SYNTHETIC, Steps, stream, synthesise

_CALIBRATION_ROUNDS = 4


def fit(
    images: ImageLike | Iterable[ImageLike],
    *,
    backbone: str | Path | Backbone = "ViT-L-14-quickgelu",
    weights: str | Path | None = "openai",
    random_text: bool = False,
    variant: str = "paper",
    layers: Iterable[int] | None = None,
    words: Words | None = None,
    tokens: int = 8,
    temperature: float | None = None,
    adapters: bool = True,
    recipe: synthmed.Generator | str | dict | None = None,
    image_size: int | None = None,
    epochs: int = 200,
    batch_size: int = 8,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.5, 0.999),
    rng: int | SeedSequence | np.random.BitGenerator | np.random.Generator | None = None,
    device: str | torch.device = "auto",
    precision: str = "auto",
    workers: int | None = None,
    checkpoint: str | Path | None = None,
    callback: Callable[[Epoch], object] | None = None,
    progress: bool = True,
) -> Detector:
    """Adapt a frozen CLIP model to a handful of normal images (MediCLIP, Zhang et al. 2024).

    Every epoch draws one fresh synthetic anomaly on each image; adapters and prompt context learn to map it,
    by focal plus Dice loss with Adam. The detector is that of the last epoch.

    Parameters
    ----------
    images : folder, paths or arrays
        The normal images; see `synthmed_clip.images.collect`.
    backbone : str, Path or Backbone
        An open_clip model name, the path of a configuration in open_clip's JSON form, or a loaded backbone
        (then `weights`, `random_text`, `image_size`, `device` and `precision` are its own).
    weights : str, Path or None
        A tag or a local file; None for random weights.
    random_text : bool
        The weights cover the visual tower alone; the text tower is left random.
    variant : {'paper', 'release'}
        The method as published, or as the authors' code has it: words, temperature, causal mask, where the
        softmax comes, and the recipe.
    layers : iterable of int, optional
        Layers to read, from 1; by default half, three quarters and all of the depth (12, 18, 24).
    words : pair of tuple of str, optional
        Class words, normal and abnormal; the variant's by default.
    tokens : int
        Learnable context vectors before each word.
    temperature : float, optional
        What similarities are divided by; 0.07 (paper) or 1 (release).
    adapters : bool
        Whether to learn adapters; without them the channels of the patch tokens are average-pooled to the length
        of a text feature (an ablation of the paper).
    recipe : synthmed generator, str or dict, optional
        What to draw anomalies with: a generator, a preset's name or a generator's `to_dict`. By default the
        preset of the variant's name.
    image_size : int, optional
        Side to which images are brought; the model's own by default.
    epochs, batch_size, lr, betas
        Of the optimisation.
    rng : int, SeedSequence, BitGenerator, Generator or None
        All randomness comes from it (SPEC 7).
    device, precision
        As in `load_backbone`.
    workers : int, optional
        Processes that draw synthetic images ahead of the backbone; the result does not depend on it.
    checkpoint : path, optional
        Written after every epoch. If it is there already, the fit goes on from it, to the same result.
    callback : callable, optional
        Called with an `Epoch` after each.
    progress : bool
        Whether to show a bar; there is none where there is no terminal.

    Returns
    -------
    Detector
        Its threshold is the score that best separates (balanced accuracy) the support images from fresh
        synthetic anomalies on them, four each. It has seen no real anomaly, and normal images that were not
        in the support set score somewhat higher: treat it as a start, and set your own from validation data.

    Raises
    ------
    ValueError
        For an argument out of its range, a checkpoint of another fit, or a loss that is no longer finite.
    synthmed.NothingToSee
        If an image is too empty to carry an anomaly.
    FileNotFoundError
        If images or weights are not there.
    MemoryError
        If a batch does not fit; says which size to try.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, not {variant!r}")
    for name, value, least in (("epochs", epochs, 1), ("batch_size", batch_size, 1), ("tokens", tokens, 0)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, not {value}")
    items, _ = collect(images)
    if not items:
        raise ValueError("images is empty: a detector needs at least one normal image")
    generator = _generator(variant if recipe is None else recipe)
    if not isinstance(backbone, Backbone):
        backbone = load_backbone(
            backbone,
            weights,
            random_text=random_text,
            image_size=image_size,
            device=device,
            precision=precision,
        )
    support = np.stack([square(item, backbone.image_size)[0] for item in items])
    settings = Settings(
        variant=variant,
        backbone=backbone.name,
        config=backbone.config,
        weights=backbone.weights,
        random_text=backbone.random_text,
        image_size=backbone.image_size,
        layers=tuple(layers or backbone.default_layers()),
        words=VARIANTS[variant].words if words is None else tuple(tuple(group) for group in words),
        tokens=tokens,
        temperature=VARIANTS[variant].temperature if temperature is None else temperature,
        recipe=generator.to_dict(),
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        betas=(betas[0], betas[1]),
        entropy=tuple(int(n) for n in np.random.default_rng(rng).integers(2**32, size=4)),
        precision=precision_name(backbone),
        adapters=adapters,
        support=tuple(digest(pixels) for pixels in support),
    )
    identity = {
        "digest": backbone.digest,
        "device": backbone.device.type,
    }
    saved = None
    if checkpoint is not None and Path(checkpoint).exists():
        # More epochs may be asked for than before; and with rng=None the checkpoint's seed goes on.
        free = {"epochs"} | ({"entropy"} if rng is None else set())
        saved = checkpoints.read(checkpoint, settings.to_dict() | identity, free)
        settings = replace(settings, entropy=tuple(saved[1]["identity"]["entropy"]))
    head = build_head(backbone, settings, seed=_initial_seed(settings))
    optimiser = torch.optim.Adam(head.parameters(), lr=lr, betas=settings.betas)
    log = checkpoints.restore(head, optimiser, *saved) if saved else []
    if len(log) > epochs:
        raise ValueError(f"{checkpoint} is at epoch {len(log)}, past epochs={epochs}")
    steps = Steps(generator, support, batch_size, settings.entropy)
    _require_anomalies(steps, items)
    bar = tqdm(total=epochs, desc="fit", initial=len(log), disable=None if progress else True, unit="epoch")
    for epoch in train(backbone, settings, head, optimiser, steps, len(log), workers):
        log.append(epoch)
        bar.update()
        bar.set_postfix(loss=f"{epoch.loss:.4f}")
        if checkpoint is not None:
            checkpoints.write(checkpoint, head, optimiser, log, settings.to_dict() | identity)
        if callback is not None:
            callback(epoch)
    bar.close()
    detector = Detector(backbone, head, encode_classes(backbone, settings, head), settings, 0.5, tuple(log))
    return replace(detector, threshold=_calibrate(detector, steps))


def train(
    backbone: Backbone,
    settings: Settings,
    head: Head,
    optimiser: torch.optim.Optimizer,
    steps: Steps,
    done: int = 0,
    workers: int | None = None,
) -> Iterator[Epoch]:
    """Train the head in place, yielding after every epoch; `done` epochs are taken as done."""
    variant = VARIANTS[settings.variant]
    prompts = embed_prompts(backbone.text, settings.words, settings.tokens, variant.causal)
    batches = stream(
        steps,
        done * steps.per_epoch,
        settings.epochs * steps.per_epoch,
        _default_workers() if workers is None else workers,
    )
    for number in range(done + 1, settings.epochs + 1):
        sums = torch.zeros(2, device=backbone.device)
        for _ in range(steps.per_epoch):
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
                losses = torch.stack([focal_loss(probability, masks), dice_loss(probability, masks)])
                optimiser.zero_grad()
                losses.sum().backward()
                optimiser.step()
            sums += losses.detach() * (len(images) / len(steps.images))
        focal, dice = sums.tolist()
        if not np.isfinite(focal + dice):
            raise ValueError(f"the loss is no longer finite in epoch {number}; a smaller lr may help")
        yield Epoch(number, focal + dice, focal, dice)


def _require_anomalies(steps: Steps, items: list[Path | np.ndarray]) -> None:
    """Draw once on every image, so that an empty one is named now and not by a worker in some epoch."""
    for index, item in enumerate(items):
        try:
            synthesise(steps.recipe, steps.images, index, steps.entropy, (SYNTHETIC, 0))
        except synthmed.NothingToSee as error:
            name = f"{item}: " if isinstance(item, Path) else ""
            raise synthmed.NothingToSee(f"{name}{error}") from None


def _initial_seed(settings: Settings) -> int:
    return int(SeedSequence(settings.entropy, spawn_key=(INITIAL,)).generate_state(1)[0])


def _default_workers() -> int:
    """Leave a core to the process that drives the backbone; without fork, starting workers costs seconds."""
    return min(8, max(1, (os.cpu_count() or 1) - 1)) if sys.platform == "linux" else 0


def _generator(recipe: synthmed.Generator | str | dict) -> synthmed.Generator:
    if isinstance(recipe, str):
        return synthmed.preset(recipe)
    return synthmed.from_dict(recipe) if isinstance(recipe, dict) else recipe


def _calibrate(detector: Detector, steps: Steps) -> float:
    """Return the score that best separates the support images from synthetic anomalies on them."""
    support, size = steps.images, steps.batch_size
    pairs = [(image, np.zeros(image.shape, bool)) for image in support]
    for turn in range(_CALIBRATION_ROUNDS):
        key = (CALIBRATION, turn)
        pairs += [synthesise(steps.recipe, support, i, steps.entropy, key) for i in range(len(support))]
    images = torch.from_numpy(np.stack([image for image, _ in pairs]))
    scores = torch.cat([detector.map_batch(batch).amax((1, 2)).cpu() for batch in images.split(size)])
    return best_threshold(scores.numpy(), np.array([mask.any() for _, mask in pairs]))


def best_threshold(scores: np.ndarray, abnormal: np.ndarray) -> float:
    """Return the threshold of highest balanced accuracy, in the middle of the widest gap that attains it.

    Parameters
    ----------
    scores : ndarray
        `(n,)`, higher is more abnormal.
    abnormal : ndarray
        `(n,)` bool; without any abnormal one the largest score is returned.
    """
    if not abnormal.any():
        return float(scores.max())
    levels = np.unique(scores.astype(np.float64))
    middle = (levels[1:] + levels[:-1]) / 2
    if not len(middle):
        return float(levels[0])
    hits = (scores[abnormal] > middle[:, None]).mean(1)
    passes = (scores[~abnormal] <= middle[:, None]).mean(1)
    best = np.flatnonzero(hits + passes >= (hits + passes).max() - 1e-12)
    return float(middle[best[np.argmax(np.diff(levels)[best])]])
