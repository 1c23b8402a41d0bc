"""`fit`: from a few normal images to a detector."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.random import SeedSequence
from tqdm import tqdm

import synthmed
from synthmed_clip.backbone.device import Precision
from synthmed_clip.backbone.model import Backbone, load_backbone
from synthmed_clip.data.images import ImageLike, collect, digest, square
from synthmed_clip.data.layouts import Item
from synthmed_clip.detector import Detector
from synthmed_clip.evaluation.calibration import calibrate
from synthmed_clip.files import check_outputs
from synthmed_clip.methods.mediclip.settings import Epoch, Words
from synthmed_clip.training import checkpoint as checkpoints
from synthmed_clip.training.loop import Learner, finished, require_valid, resolve, train
from synthmed_clip.training.selection import Selection
from synthmed_clip.training.steps import SyntheticSteps, require_anomalies


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
    average: float = 0.0,
    rng: int | SeedSequence | np.random.BitGenerator | np.random.Generator | None = None,
    device: str | torch.device = "auto",
    precision: Precision = "auto",
    workers: int | None = None,
    start: Detector | None = None,
    validation: Sequence[Item] = (),
    checkpoint: str | Path | None = None,
    callback: Callable[[Epoch], object] | None = None,
    progress: bool = True,
) -> Detector:
    """Adapt a frozen CLIP model to a handful of normal images (MediCLIP, Zhang et al. 2024).

    Every epoch draws one fresh synthetic anomaly on each image; adapters and prompt context learn
    to map it, by focal plus Dice loss with Adam. The detector is that of the last epoch, unless
    there is a validation set.

    Parameters
    ----------
    images : folder, paths or arrays
        The normal images; see `synthmed_clip.data.images.collect`.
    backbone : str, Path or Backbone
        An open_clip model name, the path of a configuration in open_clip's JSON form or of a folder
        with a model, 'hf-hub:owner/model', or a loaded backbone (then `weights`, `random_text`,
        `image_size`, `device` and `precision` are its own).
    weights : str, Path or None
        A tag or a local file; None for random weights.
    random_text : bool
        The weights cover the visual tower alone; the text tower is left random.
    variant : {'paper', 'release'}
        The method as published, or as the authors' code has it: words, temperature, causal mask,
        where the softmax comes, and the recipe.
    layers : iterable of int, optional
        Layers to read, from 1; by default half, three quarters and all of the depth (12, 18, 24).
    words : pair of tuple of str, optional
        Class words, normal and abnormal; the variant's by default.
    tokens : int
        Learnable context vectors before each word.
    temperature : float, optional
        What similarities are divided by; 0.07 (paper) or 1 (release).
    adapters : bool
        Whether to learn adapters; without them the channels of the patch tokens are average-pooled
        to the length of a text feature (an ablation of the paper).
    recipe : synthmed generator, str or dict, optional
        What to draw anomalies with: a generator, a preset's name or a generator's `to_dict`. By
        default the preset of the variant's name.
    image_size : int, optional
        Side to which images are brought; the model's own by default.
    epochs, batch_size, lr, betas
        Of the optimisation.
    average : float
        At least 0 and below 1: the detector is the mean of the head over all steps, each weighing
        this much of the next (an exponential moving average, bias corrected; Polyak and Juditsky,
        1992). 0, the paper's way, takes the last step's alone, whose Image-AUROC swings from epoch
        to epoch; 0.995 evens that out.
    rng : int, SeedSequence, BitGenerator, Generator or None
        All randomness comes from it (SPEC 7).
    device, precision
        As in `load_backbone`.
    workers : int, optional
        Processes that draw synthetic images ahead of the backbone; the result does not depend on
        it.
    start : Detector, optional
        One whose adapters and context the fit begins with, instead of random ones: see `pretrain`.
    validation : sequence of Item
        Labelled images (`synthmed_clip.data.layouts.read_dataset`) of both kinds, which must not be
        test images. With them the epoch of highest Image-AUROC on them is kept, not the last, and
        the log holds that figure.
    checkpoint : path, optional
        Written after every epoch. If it is there already, the fit goes on from it, to the same
        result.
    callback : callable, optional
        Called with an `Epoch` after each.
    progress : bool
        Whether to show a bar; there is none where there is no terminal.

    Returns
    -------
    Detector
        Its threshold is the score that best separates (balanced accuracy) the support images from
        fresh synthetic anomalies on them, four each. It has seen no real anomaly, and normal images
        that were not in the support set score somewhat higher: treat it as a start, and set your
        own from validation data.

    Raises
    ------
    ValueError
        For an argument out of its range, a checkpoint of another fit, a start that does not fit, or
        a loss that is no longer finite.
    synthmed.NothingToSee
        If an image is too empty to carry an anomaly.
    FileNotFoundError
        If images or weights are not there.
    MemoryError
        If a batch does not fit; says which size to try.
    """
    require_valid(variant, epochs=epochs, batch_size=batch_size, tokens=tokens)
    if checkpoint is not None:
        check_outputs([Path(checkpoint)], [] if isinstance(backbone, Backbone) else [weights])
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
    settings = resolve(
        backbone,
        variant=variant,
        layers=layers,
        words=words,
        tokens=tokens,
        temperature=temperature,
        adapters=adapters,
        recipe=generator.to_dict(),
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        betas=betas,
        average=average,
        rng=rng,
        support=tuple(digest(pixels) for pixels in support),
    )
    selection = Selection(backbone, settings, validation) if validation else None
    settings = replace(
        settings,
        start=None if start is None else start.head_digest(),
        validation=None if selection is None else selection.digest,
    )
    identity = {"fingerprint": backbone.fingerprint}
    saved = None
    if checkpoint is not None and Path(checkpoint).exists():
        # More epochs may be asked for than before; and with rng=None the checkpoint's seed goes on.
        # The fingerprint tells the weights, wherever they lie now.
        free = {"epochs", "weights"} | ({"entropy"} if rng is None else set())
        saved = checkpoints.read(checkpoint, settings.to_dict() | identity, free)
        settings = replace(settings, entropy=tuple(saved[1]["identity"]["entropy"]))
    learner = Learner.begin(backbone, settings, start)
    log = checkpoints.restore(learner, selection, *saved) if saved else []
    if len(log) > epochs:
        raise ValueError(f"{checkpoint} is at epoch {len(log)}, past epochs={epochs}")
    steps = SyntheticSteps(generator, support, batch_size, settings.entropy)
    require_anomalies(steps, items)
    bar = tqdm(
        total=epochs, desc="fit", initial=len(log), disable=None if progress else True, unit="epoch"
    )
    for epoch in train(backbone, settings, learner, steps, len(log), workers):
        log.append(
            epoch
            if selection is None
            else replace(epoch, validation=selection.consider(learner.mean))
        )
        bar.update()
        bar.set_postfix(loss=f"{epoch.loss:.4f}")
        if checkpoint is not None:
            checkpoints.write(checkpoint, learner, selection, log, settings.to_dict() | identity)
        if callback is not None:
            callback(log[-1])
    bar.close()
    if selection is not None:
        learner.mean.load_state_dict(selection.best)
    detector = finished(backbone, settings, learner.mean, log)
    return replace(detector, threshold=calibrate(detector, steps))


def _generator(recipe: synthmed.Generator | str | dict) -> synthmed.Generator:
    if isinstance(recipe, str):
        return synthmed.preset(recipe)
    if isinstance(recipe, dict):
        return synthmed.from_dict(recipe)
    if not isinstance(recipe, synthmed.Generator):
        raise TypeError(
            f"recipe must be a generator, a preset's name or a dict, not {type(recipe).__name__}"
        )
    return recipe
