"""The plan of the paper's few-shot experiments: which methods, on which support sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.random import SeedSequence

from synthmed_clip.datasets import Dataset, Item
from synthmed_clip.methods import Method


@dataclass(frozen=True)
class Protocol:
    """What is to be run.

    Attributes
    ----------
    datasets : sequence of Dataset
        Their names must differ.
    shots : sequence of int
    repeats : int
        Support sets per data set. Within a repeat the smaller sets are part of the larger ones.
    variants, ablations : sequence of Method
        Variants are fitted for all shots, ablations for `ablation_shots`.
    ablation_shots : int
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
            raise ValueError(f"data sets need different names, and at least one: {', '.join(names) or 'none'}")
        if self.repeats < 1 or not self.shots or min(self.shots) < 1:
            raise ValueError(f"repeats and shots must be at least 1, not {self.repeats} and {tuple(self.shots)}")
        most = max(*self.shots, self.ablation_shots if self.ablations else 0)
        for dataset in self.datasets:
            if len(dataset.train) < most:
                raise ValueError(f"{dataset.name} has {len(dataset.train)} normal training images; {most} shots asked for")

    def support(self, dataset: Dataset, repeat: int, shots: int) -> list[Path]:
        """The support set: the first images of the repeat's own order of the training images."""
        order = np.random.default_rng(SeedSequence(self.seed, spawn_key=(repeat,))).permutation(len(dataset.train))
        return [dataset.train[i] for i in order[:shots]]

    def groups(self) -> Iterator[tuple[Dataset, int, int, list[Method]]]:
        """Data set, shots, repeat and the methods that see the same synthetic images; variants come first."""
        every: list[tuple[bool, Dataset, int, int, list[Method]]] = []
        for shots in sorted({*self.shots, *([self.ablation_shots] if self.ablations else [])}):
            wanted = list(self.variants) if shots in self.shots else []
            known = {method.name for method in wanted}
            if shots == self.ablation_shots:
                wanted += [method for method in self.ablations if method.name not in known]
            wanted.sort(key=lambda method: method.stream)  # stable: within a stream the order stays
            for dataset in self.datasets:
                for repeat in range(self.repeats):
                    for _, members in groupby(wanted, key=lambda method: method.stream):
                        chosen = list(members)
                        late = not known & {method.name for method in chosen}
                        every.append((late, dataset, shots, repeat, chosen))
        every.sort(key=lambda group: group[0])
        return (group[1:] for group in every)
