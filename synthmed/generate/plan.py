"""What a run is: its settings and its inputs, and so every sample's identity."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from synthmed.generate.prepare import prepare, roi_digest
from synthmed.generator import Generator, from_dict
from synthmed.io import Input, MaskLevel, Unreadable, find_inputs, require_mask_level
from synthmed.presets import preset
from synthmed.version import __version__

RECIPE_FILE = "recipe.json"


@dataclass(frozen=True)
class Settings:
    """How to generate a dataset: all that, beside the inputs, decides what the files hold.

    Attributes
    ----------
    recipe : Generator
    per_image : int
        Samples for each input.
    seed : int
    size : int or "native"
        Side of the square to which images are resized, or their own size.
    channels : {"grey", "keep"}
    roi : str
        ``"none"``, ``"auto"`` (`synthmed.foreground`), or a folder with one mask for each input, of
        the same relative name.
    mask_level : int, sequence of int, "any" or None
        Which levels of the masks in the folder `roi` are inside; see `synthmed.io.read_mask`.
    layout : {"pairs", "mvtec"}
    train_share : float
        Layout mvtec: share of the inputs whose originals become ``train/good``; the others are for
        test.
    """

    recipe: Generator = field(default_factory=lambda: preset("paper"))
    per_image: int = 10
    seed: int = 0
    size: int | str = 224
    channels: str = "grey"
    roi: str = "none"
    mask_level: MaskLevel = None
    layout: str = "pairs"
    train_share: float = 0.5

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.recipe.is_mask:
            raise ValueError(
                f"recipe must be an anomaly or a composition, got the mask {self.recipe!r}"
            )
        if self.per_image < 1:
            raise ValueError(f"per-image must be at least 1, got {self.per_image}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        if self.size != "native" and not (isinstance(self.size, int) and self.size >= 1):
            raise ValueError(f"size must be a number of pixels or 'native', got {self.size!r}")
        if self.channels not in ("grey", "keep"):
            raise ValueError(f"channels must be 'grey' or 'keep', got {self.channels!r}")
        if self.layout not in ("pairs", "mvtec"):
            raise ValueError(f"layout must be 'pairs' or 'mvtec', got {self.layout!r}")
        if not 0 < self.train_share < 1:
            raise ValueError(f"train-share must lie between 0 and 1, got {self.train_share}")
        object.__setattr__(self, "mask_level", require_mask_level(self.mask_level))
        if self.roi not in ("none", "auto") and not Path(self.roi).is_dir():
            raise ValueError(f"roi must be 'none', 'auto' or a folder of masks, got {self.roi!r}")


@dataclass(frozen=True)
class Examined:
    """What an input was found to be: what it shares with possible donors, or why it
    cannot be used.
    """

    name: str
    sha256: str
    roi_sha256: str | None = None
    form: tuple[Any, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class Plan:
    """A run: the settings, and the ordered inputs that can be used."""

    source: tuple[str, ...]
    settings: Settings
    inputs: tuple[Input, ...]
    examined: tuple[Examined, ...]
    skipped: tuple[Examined, ...]

    def train_inputs(self) -> list[int]:
        """Layout mvtec: the inputs whose originals are the training set, drawn by the seed."""
        if self.settings.layout == "pairs":
            return []
        count = len(self.inputs)
        train = min(max(round(self.settings.train_share * count), 1), count - 1)
        order = np.random.default_rng(
            np.random.SeedSequence(self.settings.seed, spawn_key=(0, 0))
        ).permutation(count)
        return sorted(order[:train].tolist())

    def to_dict(self) -> dict[str, Any]:
        """The run as JSON data: the content of ``recipe.json``."""
        settings = {k: v for k, v in vars(self.settings).items() if k != "recipe"}
        if self.settings.layout == "pairs":
            del settings["train_share"]
        return {
            "synthmed": __version__,
            "source": list(self.source),
            "recipe": self.settings.recipe.to_dict(),
            **settings,
            "inputs": [
                {
                    k: v
                    for k, v in asdict(e).items()
                    if k in ("name", "sha256") or (k == "roi_sha256" and v)
                }
                for e in self.examined
            ],
            "skipped": [{"name": e.name, "reason": e.problem} for e in self.skipped],
        }


def make_plan(
    source: Sequence[str],
    settings: Settings,
    examine_all: Callable[[Sequence[Input], Settings], Iterable[Examined]] | None = None,
) -> Plan:
    """Find and examine the inputs.

    Raises
    ------
    FileNotFoundError
        If the source names nothing.
    ValueError
        If no input can be used; the message gives the first reasons.
    """
    inputs = find_inputs(source)
    examined = list(
        examine_all(inputs, settings) if examine_all else (examine(i, settings) for i in inputs)
    )
    good = [k for k, e in enumerate(examined) if e.problem is None]
    plan = Plan(
        tuple(source),
        settings,
        tuple(inputs[k] for k in good),
        tuple(examined[k] for k in good),
        tuple(e for e in examined if e.problem is not None),
    )
    if not good:
        reasons = "\n  ".join(e.problem or "" for e in plan.skipped[:5])
        raise ValueError(f"none of the {len(inputs)} inputs can be used:\n  {reasons}")
    if settings.layout == "mvtec" and len(good) < 2:
        raise ValueError("layout mvtec needs at least 2 inputs, one for each side of the split")
    return plan


def examine(source: Input, settings: Settings) -> Examined:
    """Prepare an input once, to see whether it can be used and what it is."""
    try:
        prepared = prepare(source, settings)
        return Examined(source.name, source.digest(), roi_digest(source, settings), prepared.form)
    except Unreadable as error:
        return Examined(source.name, source.digest(), problem=str(error))


def read_plan(folder: Path, source: Sequence[str] = ()) -> Plan:
    """The plan of a run that is in a folder, its inputs found again and checked against their
    digests.

    Parameters
    ----------
    folder : Path
        Where ``recipe.json`` is.
    source : sequence of str
        Where the inputs are now, if not where they were.

    Raises
    ------
    ValueError
        If an input is missing, or is not the file that it was.
    """
    data = json.loads((folder / RECIPE_FILE).read_text(encoding="utf-8"))
    names = {
        f: data[f]
        for f in (
            "per_image",
            "seed",
            "size",
            "channels",
            "roi",
            "mask_level",
            "layout",
            "train_share",
        )
        if f in data
    }
    settings = Settings(recipe=from_dict(data["recipe"]), **names)
    where = tuple(source) or tuple(data["source"])
    inputs = {i.name: i for i in find_inputs(where)}
    found = []
    for entry in data["inputs"]:
        if entry["name"] not in inputs:
            raise ValueError(f"input {entry['name']!r} of the run is not in {', '.join(where)}")
        if inputs[entry["name"]].digest() != entry["sha256"]:
            raise ValueError(
                f"input {entry['name']!r} in {', '.join(where)} is not the file that the run read"
            )
        found.append(examine(inputs[entry["name"]], settings))
    bad = [e.problem for e in found if e.problem]
    if bad:
        raise ValueError(bad[0])
    skipped = tuple(Examined(s["name"], "", problem=s["reason"]) for s in data["skipped"])
    return Plan(
        tuple(data["source"]), settings, tuple(inputs[e.name] for e in found), tuple(found), skipped
    )
