"""Recipes by name: the two of MediCLIP, as the paper states it and as the authors' code does it;
and from files.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from synthmed.anomalies import CutPaste, GaussianIntensityChange, Identity, Source
from synthmed.compose import OneOf, Repeat
from synthmed.generator import Generator, from_dict

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
        ``"paper"``: CutPaste with Poisson editing, GaussianIntensityChange or Source, with equal
        probability, one an image, linear interpolation. ``"release"``, the authors' code: those
        three or Identity; CutPaste pasted directly and labelled by what visibly changed; the
        texture of GaussianIntensityChange made over the whole image; cubic splines; with
        probability one half a second anomaly on top.

    Returns
    -------
    Generator

    References
    ----------
    .. [1] X. Zhang et al., "MediCLIP: Adapting CLIP for few-shot medical image anomaly detection",
    MICCAI 2024.

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
