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
from synthmed.distributions import Choice, Gamma, Normal
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
_RESIZED = Normal(1.0, 0.5, bounds=(0.7, 1.3))
_DEFORMED = EllipseMask(box=(0.06, 0.8)) | RectangleMask(box=(0.06, 0.8))

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
                box=(0.03, 0.4),
                side=Gamma(2.0, 0.06, offset=0.1),
                scale=_RESIZED,
                shear=0.0,
                rotation=0.0,
                roi_overlap=0.49,
            ),
            blend="mixed",
            rotation=0.0,
            scale=_RESIZED,
            inverse=False,
            label="changed",
            logistic=(0.5, 4.0),
        ),
        times=Choice((1, 2, 3), weights=(1, 2, 1)),
    ),
    "draem": TextureBlend(
        PerlinMask(
            box=(1.0, 1.0), cells=Choice((1, 2, 4, 8, 16, 32)), threshold=0.5, least_cover=0.0
        ),
        texture="donors",
    ),
    "mtml": OneOf(
        *(
            Repeat(task, times=Choice((1, 2, 3, 4), weights=(4, 2, 1, 1)))
            for task in (
                CutPaste(_DEFORMED, blend="mixed", order=3),
                SmoothIntensityChange(_DEFORMED, step=Gamma(3.0, 25.5, offset=12.75)),
                Source(_DEFORMED, order=3),
                Sink(_DEFORMED, order=3),
            )
        ),
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

        Of other papers, the constants as in the authors' code; each makes anomalies alone, that a
        share of a batch stays normal is the training's affair.

        - ``"fpi"`` [2]_ and ``"pii"`` [3]_: a square of 0.1 to 0.4 of the side, mixed in by a
          factor of 0.05 to 0.95, linearly or by gradients. The code centres it within the middle
          0.8 of the image, in each slice of a volume, and cuts off what lies outside; here it lies
          wholly inside, and a volume gets a cube.
        - ``"nsa"`` [4]_, as for chest X-rays: one to three patches, 1 + Binomial(2, 1/2), of sides
          ``0.1 + Gamma(2, 0.06)`` of the image's, resized by a normal number of mean 1 and
          deviation 0.5 clipped to 0.7 to 1.3, at most 0.4; mixed gradients; with ``soft=True`` a
          logistic label of steepness 1/2 about 4 grey levels. For MVTec AD the code has ``0.06 +
          Gamma(2, 0.1)``, and other labels. The code cuts patches off at the donor's border,
          filters the change with medians and asks that 0.7 of the patch hold the object, and 0.7 of
          that lie on the image's; here 0.49 of the patch lies in the region of interest, and the
          content is resized on its own.
        - ``"draem"`` [5]_: textures of `donors` over the whole image where gradient noise exceeds
          0.5, its cells 1 to 32 along each axis, of opacity 0.1 to 1 as in the paper (0.2 to 1 in
          the code). The code resizes the texture to the image and augments it; here it is mirrored,
          and another augmentation is that of the donors.
        - ``"mtml"`` [6]_: one task an image, Poisson blending with mixed gradients (twice as often,
          for its two kinds of donors), smooth intensity change (as for chest X-rays), Source or
          Sink, by cubic splines, in an ellipse or rectangle of sides ``0.03 + Gamma(2, 0.1)``, 0.06
          to 0.8; once, and each time again with probability one half, at most four times. The code
          draws the sign of the change for each channel, and Source's and Sink's strength from a
          displacement of 0.5 to 10 pixels; here it is ``2**u`` with u from 0.5 to 2, as in the
          tasks that the code's are derived from.

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
