"""`synthmed-clip protocol`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from synthmed_clip.cli.options import BackboneOptions, Output
from synthmed_clip.data.layouts import read_dataset, read_datasets
from synthmed_clip.protocol.engine import Engine
from synthmed_clip.protocol.plan import Protocol
from synthmed_clip.protocol.results import Result
from synthmed_clip.protocol.tables import write_tables
from synthmed_clip.protocol.variants import ablations, variants


@dataclass
class RunProtocol:
    """Run the paper's few-shot experiments; print and write tables, plots and every detector.

    Called again with the same output, it goes on where it stopped; data sets, shots, repeats and
    methods may be added.
    """

    datasets: tyro.conf.Positional[tuple[Path, ...]]
    """Folders with normal training images and labelled test images."""
    output: Output
    """Folder for detectors, results, tables and plots."""
    shots: tuple[int, ...] = (4, 8, 16, 32)
    """Sizes of the support sets; the smaller are part of the larger."""
    repeats: int = 3
    """Support sets per data set."""
    variants: tuple[Literal["paper", "release"], ...] = ("paper",)
    """What to fit for all shots."""
    ablations: bool = False
    """Also without learnable tokens, adapters or temperature, with averaged weights, each task
    alone and in pairs, and the release.
    """
    ablation_shots: int = 16
    """Size of the support sets for ablations and transfer."""
    baselines: bool = True
    """Compare with zero-shot, nearest patch and the join of nearest patch and detector."""
    transfer: bool = False
    """Test on the other data sets, too."""
    auxiliary: tuple[Path, ...] = ()
    """Data sets with masks to pre-train on: MVTec-AD, VisA, or any layout that is known."""
    auxiliary_epochs: int = 5
    model: tyro.conf.OmitArgPrefixes[BackboneOptions] = field(default_factory=BackboneOptions)
    layers: tuple[int, ...] = ()
    """Layers to read, counted from 1; by default half, three quarters and all of the depth."""
    epochs: int = 200
    batch_size: int = 8
    lr: float = 1e-3
    average: float = 0.0
    """As in fit, for every method."""
    seed: int = 0
    workers: int | None = None

    def run(self) -> int:
        """Run, report each result as it comes, and print the table."""
        auxiliary = [
            item
            for folder in self.auxiliary
            for data in read_datasets(folder)
            for item in data.test
        ]
        protocol = Protocol(
            datasets=[read_dataset(folder) for folder in self.datasets],
            variants=variants(self.variants, bool(auxiliary)),
            shots=self.shots,
            repeats=self.repeats,
            ablations=ablations() if self.ablations else (),
            ablation_shots=self.ablation_shots,
            baselines=self.baselines,
            transfer=self.transfer,
            auxiliary=auxiliary,
            auxiliary_epochs=self.auxiliary_epochs,
            seed=self.seed,
            layers=self.layers,
            options={
                "epochs": self.epochs,
                "batch_size": self.batch_size,
                "lr": self.lr,
                "average": self.average,
            },
        )
        backbone = self.model.load()
        engine = Engine(protocol, backbone, self.output, self.workers, _print_result)
        try:
            engine.run()
        finally:  # an interrupted run leaves the tables of what is done
            results = engine.results()
            if results:
                abnormal = {
                    data.name: np.array([item.abnormal for item in data.test])
                    for data in protocol.datasets
                }
                print(write_tables(self.output, results, abnormal, engine.notes()))
        return 0


def _print_result(result: Result) -> None:
    where = "" if result.test == result.run.dataset else f" on {result.test}"
    figures = ", ".join(
        f"{name} {result.figures[name]:.3f}"
        for name in ("Image-AUROC", "Pixel-AUROC")
        if name in result.figures
    )
    print(f"{result.run}{where}: {figures} ({result.seconds:.0f} s)", flush=True)
