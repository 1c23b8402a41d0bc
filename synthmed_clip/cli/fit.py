"""`synthmed-clip fit`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Union

import tyro

import synthmed_clip
from synthmed import io
from synthmed_clip.cli.options import Axis, BackboneOptions, MaskLevel, Output, Roi, ValueRange
from synthmed_clip.data.images import collect
from synthmed_clip.data.layouts import Item, read_dataset, read_datasets
from synthmed_clip.files import Kind, check_outputs, write_csv
from synthmed_clip.methods import MediCLIP, Method

if TYPE_CHECKING:
    from synthmed_clip.backbone.model import Backbone
    from synthmed_clip.detector import Detector

if TYPE_CHECKING:
    AnyMethod = Method
else:
    AnyMethod = Union[  # noqa: UP007 (made of what is known)
        tuple(Annotated[cls, tyro.conf.subcommand(cls.name)] for cls in Method.known.values())
    ]


@dataclass
class Fit:
    """Fit a detector to a folder of normal images; by MediCLIP, or by the method that is named."""

    normals: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="NORMALS")]
    """Folder of normal images."""
    output: Output
    """The detector, NAME.safetensors; for a method that learns, a log, NAME.csv, and the loss
    curve, NAME.png, are written beside it."""
    model: tyro.conf.OmitArgPrefixes[BackboneOptions] = field(default_factory=BackboneOptions)
    seed: int | None = None
    """The same seed, device and precision give the same detector."""
    workers: int | None = None
    """Processes that draw synthetic images ahead."""
    auxiliary: tuple[Path, ...] = ()
    """Data sets with masks to learn from first: MVTec-AD, VisA, or any layout that evaluate
    reads."""
    auxiliary_epochs: int = 5
    validation: Path | None = None
    """Labelled images, apart from the test images, to choose the epoch by; without them it is the
    last."""
    mask_level: MaskLevel = None
    """Which levels of masks and regions are inside, where these have others than 0 and one more:
    numbers, or any but 0."""
    roi: Roi = None
    """A folder with a region of interest an image, of its name, or auto for the foreground: where
    anomalies are drawn, and what the threshold is of. Give it to predict, too."""
    axis: Axis = None
    """Take volumes (NIfTI, stacks, folders of DICOM slices), seen slice by slice: axial, coronal,
    sagittal, or an array axis from 0."""
    slices: int = 16
    """How many slices of each volume are support images."""
    value_range: ValueRange = None
    """Which stored values are darkest and brightest: two numbers, window, dtype, or percentile A B
    of all normal images; by default 0 to 255 of 8-bit images, the window of DICOM, else the
    percentiles 0.5 and 99.5. The detector keeps it."""
    checkpoint: Path | None = None
    """Written after every epoch; if it is there, the fit goes on from it."""
    folds: int | None = None
    """Judge the normal images by as many further fits, each on all but one part of them: p-values
    (heuristic) and a threshold for a method that cannot leave images out."""
    progress: bool = True
    force: bool = False
    """Replace files of these names that fit did not write."""
    method: tyro.conf.OmitSubcommandPrefixes[tyro.conf.OmitArgPrefixes[AnyMethod]] = field(
        default_factory=MediCLIP
    )
    """By what to find anomalies; each has options of its own (METHOD --help)."""

    @property
    def goes_on(self) -> bool:
        """Whether the same command, after an interruption, goes on."""
        return self.checkpoint is not None

    def run(self) -> int:
        """Fit, save, and write log and loss curve beside the detector."""
        if self.auxiliary and self.checkpoint and self.seed is None:
            raise ValueError(
                "with --auxiliary, a fit that is to go on from its --checkpoint needs a --seed"
            )
        method: Method = self.method
        normals, _ = collect(self.normals, volumes=self.axis is not None)
        if self.normals.is_dir():
            print(f"{self.normals}: {_contents(self.normals, normals)}")
        log, curve = self._check_outputs([path for path in normals if isinstance(path, Path)])
        validation: Sequence[Item] | None = None
        if self.validation is not None:
            validation = read_dataset(self.validation, mask_level=self.mask_level).test
        backbone = self.model.load()
        detector = synthmed_clip.fit(
            normals,
            method,
            backbone=backbone,
            rng=self.seed,
            start=self._pretrained(method, backbone) if self.auxiliary else None,
            validation=validation,
            checkpoint=self.checkpoint,
            folds=self.folds,
            axis=self.axis,
            slices=self.slices,
            roi=self.roi,
            mask_level=self.mask_level,
            value_range=self.value_range,
            workers=self.workers,
            progress=self.progress,
        )
        detector.save(self.output)
        learnt, history = "", detector.fitted.history
        if history is not None:
            from synthmed_clip.evaluation.plots import loss_curve

            check_outputs([(log, Kind.LOG), (curve, Kind.PLOT)], force=self.force)
            write_csv(log, [asdict(epoch) for epoch in history.log])
            loss_curve(history.log, curve)
            learnt = f"loss {history.log[-1].loss:.4f} after {len(history.log)} epochs, "
        kind = "image" if self.axis is None else "volume"
        taken = f"{len(normals)} {kind}{'s' * (len(normals) != 1)}, values {detector.values}"
        print(f"{self.output}: {method.name}, {taken}, {learnt}threshold {detector.threshold:.4f}")
        return 0

    def _pretrained(self, method: Method, backbone: Backbone) -> Detector:
        if not isinstance(method, MediCLIP):
            raise TypeError(f"{method.name} takes no --auxiliary")
        datasets = [
            dataset
            for folder in self.auxiliary
            for dataset in read_datasets(folder, mask_level=self.mask_level)
        ]
        return synthmed_clip.pretrain(
            [item for data in datasets for item in data.test],
            replace(method, epochs=self.auxiliary_epochs),
            backbone=backbone,
            rng=self.seed,
            workers=self.workers,
            progress=self.progress,
        )

    def _check_outputs(self, read: Sequence[Path]) -> tuple[Path, Path]:
        """Name the log and the loss curve, and refuse outputs that would harm what is read."""
        if self.output.suffix in (".csv", ".png"):
            raise ValueError(
                f"{self.output} is the detector's name; .csv and .png are those of its log and "
                f"curve"
            )
        name = self.output.name.removesuffix(".safetensors")
        log, curve = (self.output.with_name(f"{name}{suffix}") for suffix in (".csv", ".png"))
        if self.normals.is_dir() and self.output.resolve().parent == self.normals.resolve():
            raise ValueError(
                f"{self.output} lies among the normal images; its loss curve would become one of "
                f"them"
            )
        inputs: list[str | Path | None] = [*read, self.model.weights, self.model.backbone]
        outputs = [(self.output, Kind.DETECTOR), (self.checkpoint, Kind.CHECKPOINT)]
        learns = [(log, Kind.LOG), (curve, Kind.PLOT)] if self.method.takes("checkpoint") else []
        check_outputs([*outputs, *learns], inputs, force=self.force)
        return log, curve


def _contents(folder: Path, taken: Sequence[object]) -> str:
    """How many images of a folder are taken, and how much of what else lies in it is not."""
    known = set(taken)
    deeper = [p for p in io.find_images(folder) if not known & {p, p.parent}]
    others = [f"{count} {kind}" for kind, count in sorted(io.count_others(folder).items())]
    left = [f"{len(deeper)} images in its folders"] * bool(deeper) + others
    return f"{len(taken)} taken" + (f"; not taken: {', '.join(left)}" if left else "")
