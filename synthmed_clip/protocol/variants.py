"""What the protocol compares: methods under names, as they stand in its tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import cast

import synthmed
from synthmed_clip.methods import Joined, MediCLIP, Method, NearestPatch
from synthmed_clip.methods.mediclip.settings import HARD_WORDS, VARIANTS


@dataclass(frozen=True)
class Entry:
    """A method that is fitted and tested.

    Attributes
    ----------
    name : str
        As it stands in tables.
    method : Method
    ablation : bool
        Whether it is fitted for the shots of ablations alone.
    auxiliary : bool
        Whether it begins with a head that was taught on auxiliary images.
    baselines : tuple of str
        Names of the entries that it has to beat.
    shares : str
        Name of the entry whose fit is one of its parts; empty for none.

    Examples
    --------
    >>> from synthmed_clip import MediCLIP, ZeroShot
    >>> entry = Entry("short", MediCLIP(epochs=50), baselines=("zero-shot",))
    >>> entry.ablation, entry.stream == Entry("long", MediCLIP(epochs=500)).stream
    (False, True)
    >>> Entry("zero-shot", ZeroShot()).stream
    ''
    """

    name: str
    method: Method
    ablation: bool = False
    auxiliary: bool = False
    baselines: tuple[str, ...] = ()
    shares: str = ""

    @property
    def stream(self) -> str:
        """Entries of the same stream see the same synthetic images, given support set and seed."""
        recipe = self.method.training_recipe
        return "" if recipe is None else json.dumps(recipe.to_dict())


def entries(
    names: Iterable[str],
    base: MediCLIP = MediCLIP(),  # noqa: B008 (frozen)
    *,
    auxiliary: bool = False,
) -> list[Entry]:
    """List methods by their names.

    Parameters
    ----------
    names : iterable of str
        'paper' and 'release' are MediCLIP's variants, all else is `Method.name`, with its defaults;
        'joined' stands for the join of each variant with the nearest patch.
    base : MediCLIP
        What the variants have in common.
    auxiliary : bool
        Add each variant a second time, beginning with auxiliary images.

    Examples
    --------
    >>> [entry.name for entry in entries(["paper", "nearest-patch", "joined"])]
    ['paper', 'nearest-patch', 'paper + nearest-patch']
    """
    names = list(dict.fromkeys(names))
    variants = [variant for name in names for variant in VARIANTS if variant == name]
    learnt = [Entry(name, replace(base, variant=name)) for name in variants]
    if auxiliary:
        learnt += [replace(e, name=f"{e.name} + auxiliary", auxiliary=True) for e in learnt]
    nearest = NearestPatch(layers=base.layers and (base.layers[len(base.layers) // 2],))
    own: dict[str, Method] = {NearestPatch.name: nearest, MediCLIP.name: base}
    others = [
        Entry(name, own[name] if name in own else Method.named(name)())
        for name in names
        if name not in (*VARIANTS, Joined.name)
    ]
    found = []
    for entry in learnt:
        rivals = [other.name for other in others]
        if Joined.name in names:
            rivals.append(f"{entry.name} + {NearestPatch.name}")
        found.append(replace(entry, baselines=tuple(rivals)))
    if Joined.name in names:
        others += [
            Entry(
                f"{entry.name} + {NearestPatch.name}",
                Joined((entry.method, nearest)),
                auxiliary=entry.auxiliary,
                shares=entry.name,
            )
            for entry in learnt
        ]
    return found + others


def ablations(
    base: MediCLIP = MediCLIP(),  # noqa: B008 (frozen)
    baselines: Sequence[str] = (),
) -> list[Entry]:
    """The paper's ablations of its own variant, averaged weights, and the release as a reference.

    Parameters
    ----------
    base : MediCLIP
        What they have in common.
    baselines : sequence of str
        Names of the entries that each has to beat.

    Returns
    -------
    list of Entry
        All of them ablations.

    Examples
    --------
    >>> entries = ablations(MediCLIP(epochs=50))
    >>> entries[0].name, entries[0].method.tokens, entries[0].method.epochs
    ('hard prompts', 0, 50)
    >>> all(entry.ablation for entry in entries)
    True
    """
    base = replace(base, variant="paper")
    tasks = {
        type(task).__name__: task for task in cast(synthmed.OneOf, synthmed.preset("paper")).options
    }
    pairs = combinations(tasks, 2)
    methods = {
        "hard prompts": replace(
            base, tokens=0, normal_words=HARD_WORDS[0], abnormal_words=HARD_WORDS[1]
        ),
        "no adapters": replace(base, adapters=False),
        "no temperature": replace(base, temperature=1.0),
        "averaged weights": replace(base, average=0.995),
        "release": replace(base, variant="release"),
        **{f"{name} alone": replace(base, recipe=task) for name, task in tasks.items()},
        **{
            " + ".join(pair): replace(base, recipe=synthmed.OneOf(*(tasks[name] for name in pair)))
            for pair in pairs
        },
    }
    rivals = tuple(baselines)
    return [Entry(n, method, ablation=True, baselines=rivals) for n, method in methods.items()]
