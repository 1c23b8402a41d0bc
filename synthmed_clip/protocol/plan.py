"""The plan of the few-shot experiments: which methods, on which support sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import SeedSequence

from synthmed.io import ValueRange
from synthmed_clip.data.layouts import Dataset, Item
from synthmed_clip.methods import MediCLIP
from synthmed_clip.protocol.results import folder_name
from synthmed_clip.protocol.variants import Entry


@dataclass(frozen=True)
class Group:
    """Entries that see the same synthetic images on the same support set.

    Attributes
    ----------
    dataset : Dataset
    shots : int
        Support images; 0 for entries that need none.
    repeat : int
        Which support set of this size, from 0.
    entries : list of Entry

    Examples
    --------
    >>> from synthmed_clip import NearestPatch
    >>> brain = Dataset(Path("brain"), train=(Path("0.png"), Path("1.png")), test=())
    >>> protocol = Protocol([brain], [Entry("nearest", NearestPatch())], shots=[1, 2], repeats=2)
    >>> [(group.shots, group.repeat) for group in protocol.groups()]
    [(1, 0), (1, 1), (2, 0), (2, 1)]
    """

    dataset: Dataset
    shots: int
    repeat: int
    entries: list[Entry]


@dataclass(frozen=True)
class Protocol:
    """What is to be run.

    Attributes
    ----------
    datasets : sequence of Dataset
        Their names must differ. One without training images is tested on only, with `transfer`.
    entries : sequence of Entry
        Fitted for all shots, ablations for `ablation_shots` alone. Their names must differ.
    shots : sequence of int
    repeats : int
        Support sets per data set. Within a repeat the smaller sets are part of the larger ones.
    ablation_shots : int
        With ablations or transfer, the other entries are fitted for it, too.
    transfer : bool
        Test the entries of `ablation_shots`, but for ablations, on the other data sets, too.
    auxiliary : sequence of Item
        For the entries that begin with them.
    auxiliary_epochs : int
    value_range : optional
        As in `fit`, of each support set.
    seed : int
        Of the support sets and of every fit.

    Raises
    ------
    ValueError
        If names are missing or not different, a number is below 1, or a data set has too few
        training images.

    Examples
    --------
    >>> from synthmed_clip import NearestPatch
    >>> brain = Dataset(Path("brain"), train=(Path("0.png"), Path("1.png")), test=())
    >>> protocol = Protocol([brain], [Entry("nearest", NearestPatch())], shots=[1, 2], repeats=2)
    >>> small, large = (protocol.support(brain, repeat=0, shots=shots) for shots in (1, 2))
    >>> small == large[:1], len(protocol.groups())
    (True, 4)
    """

    datasets: Sequence[Dataset]
    entries: Sequence[Entry]
    shots: Sequence[int] = (4, 8, 16, 32)
    repeats: int = 3
    ablation_shots: int = 16
    transfer: bool = False
    auxiliary: Sequence[Item] = ()
    auxiliary_epochs: int = 5
    value_range: ValueRange | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse names that stand for two things, and what could not be run."""
        names = [dataset.name for dataset in self.datasets]
        if not names or len(set(names)) < len(names):
            raise ValueError(
                f"data sets need different names, and at least one: {', '.join(names) or 'none'}"
            )
        methods = [folder_name(entry.name) for entry in self.entries]
        if not methods or len(set(methods)) < len(methods):
            raise ValueError(
                f"methods need different names, and at least one: {', '.join(methods) or 'none'}"
            )
        if self.repeats < 1 or min(self.shots, default=0) < 1 or self.ablation_shots < 1:
            raise ValueError(
                f"repeats and shots must be at least 1, not {self.repeats} and {tuple(self.shots)}"
            )
        self._check_entries()
        if self.transfer and len(names) < 2:
            raise ValueError(f"transfer needs another data set beside {names[0]}")
        largest = max(self.all_shots)
        for dataset in self.datasets:
            if len(dataset.train) < largest and (dataset.train or not self.transfer):
                raise ValueError(
                    f"{dataset.name} has {len(dataset.train)} normal training images; "
                    f"{largest} shots asked for"
                )

    def _check_entries(self) -> None:
        least = min(entry.method.least_support for entry in self.entries)
        if max(self.all_shots) < least:
            raise ValueError(f"the methods need at least {least} shots, not {max(self.all_shots)}")
        for entry in self.entries:
            if entry.auxiliary and not isinstance(entry.method, MediCLIP):
                raise ValueError(f"{entry.name} cannot begin with auxiliary images")

    @property
    def all_shots(self) -> list[int]:
        """Sizes of support sets, that of ablations and transfer included where there are any."""
        wide = self.transfer or any(entry.ablation for entry in self.entries)
        return sorted({*self.shots, *([self.ablation_shots] if wide else [])})

    def support(self, dataset: Dataset, repeat: int, shots: int) -> list[Path]:
        """The support set: the first images of the repeat's own order of the training images."""
        seed = SeedSequence(self.seed, spawn_key=(repeat,))
        order = np.random.default_rng(seed).permutation(len(dataset.train))
        return [dataset.train[i] for i in order[:shots]]

    def groups(self) -> list[Group]:
        """All fits: those that need no support image first, ablations last, and together what sees
        the same synthetic images.
        """
        bare = [entry for entry in self.entries if entry.method.least_support == 0]
        groups = [Group(dataset, 0, 0, bare) for dataset in self.datasets if bare]
        for ablation in (False, True):
            for shots in self.all_shots if not ablation else [self.ablation_shots]:
                wanted = [
                    entry
                    for entry in self.entries
                    if entry.ablation == ablation and 0 < entry.method.least_support <= shots
                ]
                streams = dict.fromkeys(entry.stream for entry in wanted)
                members = [[e for e in wanted if e.stream == stream] for stream in streams]
                groups += [
                    Group(dataset, shots, repeat, together)
                    for dataset in self.datasets
                    if dataset.train
                    for repeat in range(self.repeats)
                    for together in members
                ]
        return groups
