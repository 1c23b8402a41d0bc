"""`synthmed-clip fit`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from synthmed import read_recipe
from synthmed_clip.cli.options import BackboneOptions, Output
from synthmed_clip.data.images import collect
from synthmed_clip.data.layouts import read_dataset, read_datasets
from synthmed_clip.evaluation.pictures import loss_curve
from synthmed_clip.files import check_outputs, write_csv
from synthmed_clip.fit import fit
from synthmed_clip.methods.mediclip.pretrain import pretrain


@dataclass
class Fit:
    """Fit a detector to a folder of normal images."""

    normals: tyro.conf.Positional[Path]
    """Folder of normal images."""
    output: Output
    """The detector, NAME.safetensors; a log, NAME.csv, and the loss curve, NAME.png, are written
    beside it.
    """
    variant: Literal["paper", "release"] = "paper"
    """The method as published, or as its authors' code has it."""
    model: tyro.conf.OmitArgPrefixes[BackboneOptions] = field(default_factory=BackboneOptions)
    layers: tuple[int, ...] | None = None
    """Layers to read, counted from 1; by default half, three quarters and all of the depth."""
    normal_words: tuple[str, ...] | None = None
    """Class words for normal; by default the variant's."""
    abnormal_words: tuple[str, ...] | None = None
    """Class words for abnormal; by default the variant's."""
    tokens: int = 8
    """Learnable vectors before each class word."""
    temperature: float | None = None
    """By default 0.07 (paper) or 1 (release)."""
    adapters: bool = True
    """Without adapters, channels are average-pooled in their place."""
    recipe: str | None = None
    """A preset of synthmed's, or a JSON or TOML file of a recipe; by default the variant's preset.
    """
    epochs: int = 200
    batch_size: int = 8
    lr: float = 1e-3
    betas: tuple[float, float] = (0.5, 0.999)
    average: float = 0.0
    """Take the moving average of the head over the steps with this decay (0.995, say), rather than
    the last step's.
    """
    seed: int | None = None
    """The same seed, device and precision give the same detector."""
    workers: int | None = None
    """Processes that draw synthetic images ahead."""
    auxiliary: tuple[Path, ...] = ()
    """Data sets with masks to learn from first: MVTec-AD, VisA, or any layout that evaluate reads.
    """
    auxiliary_epochs: int = 5
    validation: Path | None = None
    """Labelled images, apart from the test images, to choose the epoch by; without them it is the
    last.
    """
    checkpoint: Path | None = None
    """Written after every epoch; if it is there, the fit goes on from it."""
    progress: bool = True

    def run(self) -> int:
        """Fit, save, and write log and loss curve beside the detector."""
        if self.auxiliary and self.checkpoint and self.seed is None:
            raise ValueError(
                "with --auxiliary, a fit that is to go on from its --checkpoint needs a --seed"
            )
        normals, _ = collect(self.normals)
        log, curve = self._check_outputs(normals)
        recipe = None if self.recipe is None else read_recipe(self.recipe)
        auxiliary = [
            item
            for folder in self.auxiliary
            for data in read_datasets(folder)
            for item in data.test
        ]
        validation = () if self.validation is None else read_dataset(self.validation).test
        options: dict = {
            "variant": self.variant,
            "layers": self.layers,
            "words": self._words(),
            "tokens": self.tokens,
            "temperature": self.temperature,
            "adapters": self.adapters,
            "batch_size": self.batch_size,
            "lr": self.lr,
            "betas": self.betas,
            "average": self.average,
            "rng": self.seed,
            "workers": self.workers,
            "progress": self.progress,
        }
        backbone = self.model.load()
        detector = fit(
            normals,
            backbone=backbone,
            recipe=recipe,
            epochs=self.epochs,
            start=pretrain(auxiliary, backbone, epochs=self.auxiliary_epochs, **options)
            if auxiliary
            else None,
            validation=validation,
            checkpoint=self.checkpoint,
            **options,
        )
        detector.save(self.output)
        write_csv(log, [asdict(epoch) for epoch in detector.log])
        loss_curve(detector.log, curve)
        print(
            f"{self.output}: loss {detector.log[-1].loss:.4f} after {len(detector.log)} epochs, "
            f"threshold {detector.threshold:.4f}"
        )
        return 0

    def _check_outputs(self, normals: list[Path | np.ndarray]) -> tuple[Path, Path]:
        """Name the log and the loss curve, and refuse outputs that would harm what is read."""
        if self.output.suffix in (".csv", ".png"):
            raise ValueError(
                f"{self.output} is the detector's name; .csv and .png are those of its log and "
                f"curve"
            )
        name = self.output.name.removesuffix(".safetensors")
        beside = self.output.with_name(f"{name}.csv"), self.output.with_name(f"{name}.png")
        if self.normals.is_dir() and self.output.resolve().parent == self.normals.resolve():
            raise ValueError(
                f"{self.output} lies among the normal images; its loss curve would become one of "
                f"them"
            )
        read = [path for path in normals if isinstance(path, Path)]
        check_outputs(
            [self.output, *beside, self.checkpoint],
            [*read, self.model.weights, self.model.backbone],
        )
        return beside

    def _words(self) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        normal, abnormal = self.normal_words, self.abnormal_words
        if (normal is None) != (abnormal is None):
            raise ValueError("--normal-words and --abnormal-words come together")
        return None if normal is None or abnormal is None else (normal, abnormal)
