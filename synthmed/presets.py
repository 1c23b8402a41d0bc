"""The two recipes of MediCLIP: as the paper states it, and as the authors' code does it."""

from __future__ import annotations

from synthmed.anomalies import CutPaste, GaussianIntensityChange, Identity, Source
from synthmed.compose import OneOf, Repeat
from synthmed.generator import Generator

_RECIPES: dict[str, Generator] = {
    "paper": OneOf(CutPaste(), GaussianIntensityChange(), Source()),
    "release": Repeat(
        OneOf(
            CutPaste(blend="direct", order=3, label="changed"),
            GaussianIntensityChange(texture="image"),
            Source(order=3),
            Identity(),
        ),
        times=(1, 2),
    ),
}

PRESETS = tuple(_RECIPES)


def preset(name: str) -> Generator:
    """The synthesis of MediCLIP [1]_ by name.

    Parameters
    ----------
    name : {"paper", "release"}
        ``"paper"``: CutPaste with Poisson editing, GaussianIntensityChange or Source, with equal probability, one an
        image, linear interpolation. ``"release"``, the authors' code: those three or Identity; CutPaste pasted directly
        and labelled by what visibly changed; the texture of GaussianIntensityChange made over the whole image; cubic
        splines; with probability one half a second anomaly on top.

    Returns
    -------
    Generator

    References
    ----------
    .. [1] X. Zhang et al., "MediCLIP: Adapting CLIP for few-shot medical image anomaly detection", MICCAI 2024.
    """
    if name not in _RECIPES:
        raise ValueError(f"unknown preset {name!r}; known: {', '.join(_RECIPES)}")
    return _RECIPES[name]
