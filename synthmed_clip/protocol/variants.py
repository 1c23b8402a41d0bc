"""What the protocol compares: methods under names, as they stand in its tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import cast

import synthmed
from synthmed_clip.methods import MediCLIP, Method, NearestPatch
from synthmed_clip.methods.mediclip.settings import HARD_WORDS, VARIANTS
from synthmed_clip.methods.nearest_patch import VARIANTS as NEAREST


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
        Variants by their own ('paper' and 'release' of MediCLIP, 'anomaly-dino' and 'superadd' of
        NearestPatch), all else is `Method.name`, with its defaults.
    base : MediCLIP
        What MediCLIP's variants have in common.
    auxiliary : bool
        Add each of MediCLIP's a second time, beginning with auxiliary images.

    Examples
    --------
    >>> [entry.name for entry in entries(["paper", "superadd", "joined"])]
    ['paper', 'superadd', 'joined']
    """
    names = list(dict.fromkeys(names))
    methods = {name: _method(name, base) for name in names}
    learnt = [name for name in names if methods[name].training_recipe is not None]
    rivals = tuple(name for name in names if name not in learnt)
    found = [
        Entry(name, method, baselines=rivals if name in learnt else ())
        for name, method in methods.items()
    ]
    if auxiliary:
        found += [
            replace(entry, name=f"{entry.name} + auxiliary", auxiliary=True)
            for entry in found
            if isinstance(entry.method, MediCLIP)
        ]
    return found


def _method(name: str, base: MediCLIP) -> Method:
    if name in VARIANTS:
        return replace(base, variant=name)
    if name in NEAREST:
        return NearestPatch(variant=name)
    return base if name == MediCLIP.name else Method.named(name)()


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
