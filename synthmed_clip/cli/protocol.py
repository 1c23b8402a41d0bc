"""`synthmed-clip protocol`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

from synthmed_clip.cli.options import BackboneOptions, MaskLevel, Output, ValueRange
from synthmed_clip.data.layouts import read_dataset, read_datasets
from synthmed_clip.files import Kind, check_outputs
from synthmed_clip.methods import MediCLIP
from synthmed_clip.protocol.plan import Protocol
from synthmed_clip.protocol.variants import ablations, entries

if TYPE_CHECKING:
    from synthmed_clip.protocol.results import Result


@dataclass
class RunProtocol:
    """Run the paper's few-shot experiments; print and write tables, plots and every detector.

    Called again with the same output, it goes on where it stopped; data sets, shots, repeats and
    methods may be added.
    """

    datasets: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="DATASET [DATASET ...]")
    ]
    """Folders with normal training images and labelled test images."""
    output: Output
    """Folder for detectors, results, tables and plots."""
    shots: tuple[int, ...] = (4, 8, 16, 32)
    """Sizes of the support sets; the smaller are part of the larger."""
    repeats: int = 3
    """Support sets per data set."""
    methods: tuple[str, ...] = ("paper", "nearest-patch", "subspace", "patchcore", "joined")
    """What to fit for all shots: paper and release are MediCLIP's variants, anomaly-dino and
    superadd those of nearest-patch, and any other method goes by its name."""
    ablations: bool = False
    """Also without learnable tokens, adapters or temperature, with averaged weights, each task
    alone and in pairs, and the release."""
    ablation_shots: int = 16
    """Size of the support sets for ablations and transfer."""
    transfer: bool = False
    """Test on the other data sets, too."""
    auxiliary: tuple[Path, ...] = ()
    """Data sets with masks to pre-train on: MVTec-AD, VisA, or any layout that is known."""
    auxiliary_epochs: int = 5
    model: tyro.conf.OmitArgPrefixes[BackboneOptions] = field(default_factory=BackboneOptions)
    base: tyro.conf.OmitArgPrefixes[MediCLIP] = field(default_factory=MediCLIP)
    mask_level: MaskLevel = None
    """Which levels of masks are inside, where they have others than 0 and one more: numbers, or any
    but 0."""
    value_range: ValueRange = None
    """Which stored values are darkest and brightest; as for fit, of each support set."""
    seed: int = 0
    workers: int | None = None
    force: bool = False
    """Replace tables and plots of the output that protocol did not write."""

    goes_on = True

    def run(self) -> int:
        """Run, report each result as it comes, and print the table."""
        from synthmed_clip.protocol.engine import Engine
        from synthmed_clip.protocol.tables import write_tables

        if self.base.variant != "paper":
            raise ValueError(f"variants go by --methods: --methods {self.base.variant} ...")
        auxiliary = [
            item
            for folder in self.auxiliary
            for data in read_datasets(folder, mask_level=self.mask_level)
            for item in data.test
        ]
        chosen = entries(self.methods, self.base, auxiliary=bool(auxiliary))
        if self.ablations:
            known = {entry.name for entry in chosen}
            rivals = [entry.name for entry in chosen if not entry.baselines]
            chosen += [e for e in ablations(self.base, rivals) if e.name not in known]
        protocol = Protocol(
            datasets=[read_dataset(folder, mask_level=self.mask_level) for folder in self.datasets],
            entries=chosen,
            shots=self.shots,
            repeats=self.repeats,
            ablation_shots=self.ablation_shots,
            transfer=self.transfer,
            auxiliary=auxiliary,
            auxiliary_epochs=self.auxiliary_epochs,
            value_range=self.value_range,
            seed=self.seed,
        )
        tables = {
            "runs.csv": Kind.RUNS,
            "summary.csv": Kind.SUMMARY,
            "summary.json": Kind.SUMMARY_JSON,
            "table.md": Kind.TABLE,
        }
        plots = {f"auroc-{data.name}.png": Kind.PLOT for data in protocol.datasets}
        outputs = [(self.output / name, kind) for name, kind in (tables | plots).items()]
        check_outputs(outputs, force=self.force)
        engine = Engine(protocol, self.model.load(), self.output, self.workers, _print_result)
        try:
            engine.run()
        finally:  # an interrupted run leaves the tables of what is done
            results = engine.results()
            if results:
                abnormal = {
                    data.name: np.array([item.abnormal for item in data.test])
                    for data in protocol.datasets
                }
                notes = engine.notes()
                print(write_tables(self.output, results, abnormal, notes, protocol.entries))
        return 0


def _print_result(result: Result) -> None:
    where = "" if result.test == result.run.dataset else f" on {result.test}"
    figures = ", ".join(
        f"{name} {result.figures[name]:.3f}"
        for name in ("Image-AUROC", "Pixel-AUROC")
        if name in result.figures
    )
    print(f"{result.run}{where}: {figures} ({result.seconds:.0f} s)", flush=True)
