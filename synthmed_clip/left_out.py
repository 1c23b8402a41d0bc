"""Support images judged by refits that have not seen them: folds of images, volumes one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from synthmed.io import Image, MaskLevel
from synthmed_clip.methods.base import Fitted, Method, Scores
from synthmed_clip.training.seeds import FOLDS, RNG, Entropy

if TYPE_CHECKING:
    from torch import Tensor

    from synthmed_clip.backbone.model import Backbone
    from synthmed_clip.data.regions import Region
    from synthmed_clip.detector import Detector, Prediction


def check_folds(folds: int, count: int, method: Method) -> None:
    """Refuse folds that leave a fit without the images that it needs."""
    if not 2 <= folds <= count:
        raise ValueError(f"folds must be from 2 to the number of images, {count}, not {folds}")
    left = count - -(-count // folds)
    if left < method.least_support:
        raise ValueError(
            f"folds={folds} leaves {left} of {count} images to a fit; {method.name} needs at "
            f"least {method.least_support}"
        )


def out_of_fold(
    method: Method,
    support: Tensor,
    backbone: Backbone,
    folds: int,
    entropy: Entropy,
    options: Mapping[str, Any],
) -> Scores:
    """Score each support image by a fit on the other folds."""
    import torch

    order = np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(FOLDS,)))
    fold_of = torch.from_numpy(order.permutation(len(support)) % folds)
    found = []
    for fold in range(folds):
        seed = np.random.SeedSequence(entropy, spawn_key=(FOLDS, fold))
        made = _refit(method, support, backbone, seed, options, fold_of != fold, fold)
        found.append(made.score(support[fold_of == fold]))
    places = torch.cat([torch.nonzero(fold_of == fold)[:, 0] for fold in range(folds)]).argsort()
    scores = torch.cat([part.scores for part in found])
    maps = torch.cat([part.maps for part in found])
    pooled = [part.pooled for part in found if part.pooled is not None]
    places = places.to(scores.device)
    every = torch.cat(pooled)[places] if pooled else None
    return Scores(scores[places], maps[places], every)


def _refit(
    method: Method,
    support: Tensor,
    backbone: Backbone,
    rng: RNG,
    options: Mapping[str, Any],
    others: Tensor,
    part: int,
) -> Fitted:
    """Fit on some of the images, to judge the rest of them."""
    import torch

    from synthmed_clip.training.steps import EmptyImage

    kept = {name: value for name, value in options.items() if name != "callback"}  # of one fit
    if "checkpoint" in kept:
        kept["checkpoint"] = part_of(kept["checkpoint"], part)
    if "inside" in kept:
        kept["inside"] = kept["inside"][others.numpy()]
    try:
        return method.fit(support[others], backbone, rng, **kept)
    except EmptyImage as error:  # counted among the images of this fit
        index = int(torch.nonzero(others)[error.index])
        raise EmptyImage(index, str(error).partition(": ")[2]) from None


def part_of(checkpoint: str | Path, part: int) -> Path:
    return Path(f"{checkpoint}.fold-{part + 1}")


@dataclass(frozen=True)
class Volumes:
    """Volumes, for each support slice the number of its volume, and the volumes' regions."""

    volumes: Sequence[Path | Image]
    owners: NDArray[np.int64]
    regions: Sequence[Region] | None
    level: MaskLevel


def volumes_left_out(
    judge: Detector, support: Tensor, left: Volumes, rng: RNG, options: Mapping[str, Any]
) -> tuple[float, ...]:
    """Score each volume, all its slices, by a fit on the others; none where there is one alone."""
    import torch

    method, scores = judge.method, []
    for number, volume in enumerate(left.volumes):
        others = torch.from_numpy(left.owners != number)
        if int(others.sum()) < max(1, method.least_support):
            return ()
        fitted = _refit(method, support, judge.backbone, rng, options, others, number)
        roi = None if left.regions is None else [left.regions[number]]
        found = replace(judge, fitted=fitted).predict([volume], roi=roi, mask_level=left.level)
        scores.append(cast("list[Prediction]", found)[0].score)
    return tuple(scores)


def within(found: Scores, inside: Tensor | None, fitted: Fitted) -> Scores:
    """Let scores be of the regions alone, where there are regions."""
    return found if inside is None else fitted.within(found, inside)
