"""Recipes by name: the two of MediCLIP, as the paper states it and as the authors' code does it;
those of other papers; those for a kind of disease; and from files.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from synthmed.anomalies import (
    Atrophy,
    Calcifications,
    Cavity,
    Cutout,
    CutPaste,
    GaussianIntensityChange,
    Haemorrhage,
    Identity,
    Interpolation,
    Lesion,
    Sink,
    SmoothIntensityChange,
    Source,
    Swelling,
    TextureBlend,
    ThinStructure,
)
from synthmed.compose import OneOf, Repeat
from synthmed.distributions import Gamma, Normal
from synthmed.generator import Generator, from_dict
from synthmed.masks import (
    BlobMask,
    EllipseMask,
    LesionMask,
    PerlinMask,
    RectangleMask,
    StrokeMask,
)

_SQUARE = RectangleMask(box=(0.1, 0.4), side=(0.1, 0.4), regular=True, shear=0.0, rotation=0.0)
_FIGURE = EllipseMask() | RectangleMask()

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
    "small": OneOf(
        Lesion(LesionMask(size=(0.03, 0.12))),
        CutPaste(PerlinMask(box=(0.04, 0.15))),
        Haemorrhage(BlobMask(box=(0.04, 0.15))),
        ThinStructure(StrokeMask(length=(0.08, 0.25), width=(1.0, 2.5))),
        Calcifications(),
    ),
    "diffuse": OneOf(
        Lesion(
            LesionMask(size=(0.3, 0.7)), contrast=(0.04, 0.15), opacity=(0.1, 0.4), edge=(6.0, 16.0)
        ),
        TextureBlend(PerlinMask(box=(0.4, 0.9)), opacity=(0.1, 0.4)),
        Interpolation(PerlinMask(box=(0.4, 0.9)), factor=(0.1, 0.4)),
        SmoothIntensityChange(PerlinMask(box=(0.4, 0.9)), step=(10.0, 40.0), width=(0.05, 0.15)),
        Swelling(LesionMask(size=(0.4, 0.7))),
        Atrophy(LesionMask(size=(0.4, 0.7))),
    ),
    "all": OneOf(
        CutPaste(),
        GaussianIntensityChange(),
        SmoothIntensityChange(),
        Source(),
        Sink(),
        Swelling(),
        Atrophy(),
        Lesion(),
        Haemorrhage(),
        ThinStructure(),
        Calcifications(),
        Cavity(),
        Cutout(),
        Interpolation(),
        Interpolation(blend="poisson"),
        TextureBlend(),
    ),
    "fpi": Interpolation(_SQUARE),
    "pii": Interpolation(_SQUARE, blend="poisson"),
    "nsa": Repeat(
        CutPaste(
            RectangleMask(
                box=(0.06, 0.8),
                side=Gamma(2.0, 0.1, offset=0.06),
                shear=0.0,
                rotation=0.0,
                roi_overlap=0.25,
            ),
            rotation=0.0,
            scale=Normal(1.0, 0.25, bounds=(0.7, 1.3)),
            inverse=False,
            label="changed",
            logistic=(1 / 12, 24.0),
        ),
        times=(1, 2, 3),
        weights=(1.0, 2.0, 1.0),
    ),
    "draem": TextureBlend(
        OneOf(
            *(
                PerlinMask(box=(1.0, 1.0), cells=2**octave, threshold=0.5, least_cover=0.0)
                for octave in range(7)
            )
        ),
        texture="donors",
    ),
    "mtml": OneOf(
        CutPaste(_FIGURE),
        SmoothIntensityChange(_FIGURE),
        Source(_FIGURE),
        Sink(_FIGURE),
        weights=(2.0, 1.0, 1.0, 1.0),
    ),
}

PRESETS = tuple(_RECIPES)


def preset(name: str) -> Generator:
    """A recipe by its name.

    Parameters
    ----------
    name : str
        Of MediCLIP [1]_: ``"paper"``: CutPaste with Poisson editing, GaussianIntensityChange or
        Source, with equal probability, one an image, linear interpolation. ``"release"``, the
        authors' code: those three or Identity; CutPaste pasted directly and labelled by what
        visibly changed; the texture of GaussianIntensityChange made over the whole image; cubic
        splines; with probability one half a second anomaly on top.

        Of other papers: ``"fpi"`` [2]_ and ``"pii"`` [3]_: square patches of 0.1 to 0.4 of the
        side, mixed in by a factor of 0.05 to 0.95, linearly or by gradients. ``"nsa"`` [4]_: one to
        three patches whose sides are ``0.06 + Gamma(2, 0.1)`` of the image's, at most 0.8, resized
        by 0.7 to 1.3, with Poisson editing and, with ``soft=True``, a logistic label; at least a
        quarter in the region of interest. ``"draem"`` [5]_: textures of `donors` over the whole
        image where gradient noise of 1 to 64 cells exceeds 0.5, of opacity 0.1 to 1. ``"mtml"``
        [6]_: Poisson blending (twice as often, for its two kinds of donors), smooth intensity
        change, Source or Sink in ellipses and rectangles. Each makes anomalies alone: that half of
        a batch stays normal is the training's affair.

        For a kind of disease: ``"small"``: focal lesions, specks and thin structures;
        ``"diffuse"``: large areas of low contrast; ``"all"``: every anomaly, equally
        often.

    Returns
    -------
    Generator

    References
    ----------
    .. [1] X. Zhang et al., "MediCLIP: Adapting CLIP for few-shot medical image anomaly detection",
       MICCAI 2024.
    .. [2] J. Tan et al., "Detecting outliers with foreign patch interpolation", 2020.
    .. [3] J. Tan et al., "Detecting outliers with Poisson image interpolation", MICCAI 2021.
    .. [4] H. M. Schlueter et al., "Natural synthetic anomalies for self-supervised anomaly
       detection and localization", ECCV 2022.
    .. [5] V. Zavrtanik et al., "DRAEM", ICCV 2021.
    .. [6] M. Baugh et al., "Many tasks make light work", MICCAI 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import preset
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> preset("release").times
    (1, 2)
    >>> image, mask = preset("paper")(scan, rng=7)
    >>> image.shape, mask.dtype
    ((64, 64), dtype('bool'))
    """
    if name not in _RECIPES:
        raise ValueError(f"unknown preset {name!r}; known: {', '.join(_RECIPES)}")
    return _RECIPES[name]


def read_recipe(name: str) -> Generator:
    """A recipe by the name of a preset, or from a JSON or TOML file.

    The file holds what `Generator.to_dict` gives, parameters left out having their defaults, or the
    ``recipe.json`` of a run.

    Raises
    ------
    ValueError
        If there is neither such a preset nor such a file, or the file is not a recipe; the message
        names what is wrong.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
        >>> from synthmed import read_recipe
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "recipe.json"
    ...     _ = path.write_text('{"type": "CutPaste", "blend": "mixed"}')
    ...     read_recipe(str(path))
    CutPaste(blend='mixed')
    """
    if name in _RECIPES:
        return preset(name)
    path = Path(name)
    if not path.is_file():
        raise ValueError(f"recipe {name!r} is neither a preset ({', '.join(_RECIPES)}) nor a file")
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
        if not isinstance(data, dict):
            raise ValueError("a table with the key 'type' is expected")
        return from_dict(data["recipe"] if "recipe" in data and "type" not in data else data)
    except (ValueError, TypeError) as error:  # both parsers' errors are ValueErrors
        raise ValueError(f"{path}: {error}") from None
