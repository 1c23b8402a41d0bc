"""The plan of the paper's few-shot experiments: which methods, on which support sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.random import SeedSequence

from synthmed_clip.data.layouts import Dataset, Item
from synthmed_clip.protocol.results import folder_name
from synthmed_clip.protocol.variants import Method


@dataclass(frozen=True)
class Group:
    """Methods that see the same synthetic images on the same support set."""

    dataset: Dataset
    shots: int
    repeat: int
    methods: list[Method]


@dataclass(frozen=True)
class Protocol:
    """What is to be run.

    Attributes
    ----------
    datasets : sequence of Dataset
        Their names must differ. One without training images is tested on only, with `transfer`.
    shots : sequence of int
    repeats : int
        Support sets per data set. Within a repeat the smaller sets are part of the larger ones.
    variants, ablations : sequence of Method
        Variants are fitted for all shots, ablations for `ablation_shots`. Their names must differ.
    ablation_shots : int
        With ablations or transfer, the variants are fitted for it, too.
    baselines : bool
    transfer : bool
        Test the variants of `ablation_shots` on the other data sets, too.
    auxiliary : sequence of Item
        For the methods that begin with them.
    seed : int
    layers : tuple of int
        Of the backbone; the middle one serves the nearest-patch baseline.
    options : dict
        Further arguments of every `fit` (epochs, batch_size, lr, betas).
    auxiliary_epochs : int
    """

    datasets: Sequence[Dataset]
    variants: Sequence[Method]
    shots: Sequence[int] = (4, 8, 16, 32)
    repeats: int = 3
    ablations: Sequence[Method] = ()
    ablation_shots: int = 16
    baselines: bool = True
    transfer: bool = False
    auxiliary: Sequence[Item] = ()
    seed: int = 0
    layers: tuple[int, ...] = ()
    options: dict = field(default_factory=dict)
    auxiliary_epochs: int = 5

    def __post_init__(self) -> None:
        names = [dataset.name for dataset in self.datasets]
        if not names or len(set(names)) < len(names):
            raise ValueError(
                f"data sets need different names, and at least one: {', '.join(names) or 'none'}"
            )
        methods = [folder_name(method.name) for method in (*self.variants, *self.ablations)]
        repeated = {name for name in methods if methods.count(name) > 1} - {
            method.name for method in self.variants
        }
        if repeated or not self.variants:
            raise ValueError(
                f"methods need different names, and at least one variant: "
                f"{', '.join(methods) or 'none'}"
            )
        if self.repeats < 1 or min(self.shots, default=0) < 1 or self.ablation_shots < 1:
            raise ValueError(
                f"repeats and shots must be at least 1, not {self.repeats} and {tuple(self.shots)}"
            )
        if self.transfer and len(names) < 2:
            raise ValueError(f"transfer needs another data set beside {names[0]}")
        for dataset in self.datasets:
            if len(dataset.train) < max(self.all_shots) and (dataset.train or not self.transfer):
                raise ValueError(
                    f"{dataset.name} has {len(dataset.train)} normal training images; "
                    f"{max(self.all_shots)} shots asked for"
                )

    @property
    def all_shots(self) -> list[int]:
        """Sizes of support sets, that of ablations and transfer included where there are any."""
        return sorted(
            {*self.shots, *([self.ablation_shots] if self.ablations or self.transfer else [])}
        )

    def support(self, dataset: Dataset, repeat: int, shots: int) -> list[Path]:
        """The support set: the first images of the repeat's own order of the training images."""
        order = np.random.default_rng(SeedSequence(self.seed, spawn_key=(repeat,))).permutation(
            len(dataset.train)
        )
        return [dataset.train[i] for i in order[:shots]]

    def groups(self) -> list[Group]:
        """All fits, those of the variants first, together where they see the same
        synthetic images.
        """
        known = {method.name for method in self.variants}
        groups = []
        for shots in self.all_shots:
            ablations = self.ablations if shots == self.ablation_shots else ()
            wanted = [*self.variants, *(method for method in ablations if method.name not in known)]
            wanted.sort(key=lambda method: method.stream)  # stable: within a stream the order stays
            streams = [
                list(members) for _, members in groupby(wanted, key=lambda method: method.stream)
            ]
            groups += [
                Group(dataset, shots, repeat, members)
                for dataset in self.datasets
                if dataset.train
                for repeat in range(self.repeats)
                for members in streams
            ]
        return sorted(
            groups, key=lambda group: not known & {method.name for method in group.methods}
        )
