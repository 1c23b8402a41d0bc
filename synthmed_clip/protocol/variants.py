"""What the protocol compares: the variants, their ablations, and the baselines."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations
from typing import cast

import synthmed
from synthmed_clip.methods.mediclip.prompts import HARD_WORDS

ZERO_SHOT, PATCHES = "zero-shot", "nearest patch"


def joined(method: str) -> str:
    """Name the baseline that adds nearest-patch distances to a method's maps."""
    return f"{method} + {PATCHES}"


@dataclass(frozen=True)
class Method:
    """A way to fit a detector.

    Attributes
    ----------
    name : str
        As it stands in tables.
    options : dict
        Arguments of `fit`, where they are not its defaults.
    auxiliary : bool
        Whether it begins with a head pre-trained on auxiliary images.
    """

    name: str
    options: dict = field(default_factory=dict, hash=False)
    auxiliary: bool = False

    @property
    def variant(self) -> str:
        """The variant that it is, or takes its defaults from."""
        return self.options.get("variant", "paper")

    @property
    def recipe(self) -> synthmed.Generator:
        """What it draws synthetic anomalies with."""
        return self.options.get("recipe") or synthmed.preset(self.variant)

    @property
    def stream(self) -> str:
        """Methods of the same stream see the same synthetic images, given support set and seed."""
        return json.dumps(self.recipe.to_dict())


def variants(names: Iterable[str], auxiliary: bool = False) -> list[Method]:
    """The method as the paper or the release has it; with auxiliary data, each a second time
    beginning with it.
    """
    plain = [Method(name, {"variant": name}) for name in dict.fromkeys(names)]
    return plain + [Method(f"{m.name} + auxiliary", m.options, True) for m in plain if auxiliary]


def ablations() -> list[Method]:
    """The paper's ablations of its own variant, averaged weights, and the release beside it."""
    tasks = {
        type(task).__name__: task for task in cast(synthmed.OneOf, synthmed.preset("paper")).options
    }
    return [
        Method("hard prompts", {"tokens": 0, "words": HARD_WORDS}),
        Method("no adapters", {"adapters": False}),
        Method("no temperature", {"temperature": 1.0}),
        Method("averaged weights", {"average": 0.995}),
        Method("release", {"variant": "release"}),
        *(Method(f"{name} alone", {"recipe": task}) for name, task in tasks.items()),
        *(
            Method(" + ".join(pair), {"recipe": synthmed.OneOf(*(tasks[name] for name in pair))})
            for pair in combinations(tasks, 2)
        ),
    ]
