"""`synthmed-clip fit`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import tyro

from synthmed import read_recipe
from synthmed_clip.commands.common import Output, Precision, write_csv
from synthmed_clip.pictures import loss_curve
from synthmed_clip.settings import Epoch
from synthmed_clip.training import fit


@dataclass
class Fit:
    """Fit a detector to a folder of normal images."""

    normals: tyro.conf.Positional[Path]
    """Folder of normal images."""
    output: Output
    """The detector (.safetensors); a log (.csv) and the loss curve (.png) are written beside it."""
    variant: Literal["paper", "release"] = "paper"
    """The method as published, or as its authors' code has it."""
    backbone: str = "ViT-L-14-quickgelu"
    """Name of an open_clip model, or path of a configuration (.json)."""
    weights: str = "openai"
    """Tag of open_clip's, or a local file."""
    random_text: bool = False
    """The weights cover the visual tower alone; the text tower stays random."""
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
    recipe: str | None = None
    """A preset of synthmed's, or a JSON or TOML file of a recipe; by default the variant's preset."""
    image_size: int | None = None
    """By default the model's own."""
    epochs: int = 200
    batch_size: int = 8
    lr: float = 1e-3
    betas: tuple[float, float] = (0.5, 0.999)
    seed: int | None = None
    """The same seed, device and precision give the same detector."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    precision: Precision = "auto"
    """auto is bfloat16 where the device is faster with it."""
    workers: int | None = None
    """Processes that draw synthetic images ahead."""
    checkpoint: Path | None = None
    """Written after every epoch; if it is there, the fit goes on from it."""
    progress: bool = True

    def run(self) -> int:
        """Fit, save, and write log and loss curve beside the detector."""
        rows: list[Epoch] = []
        detector = fit(
            self.normals,
            backbone=self.backbone,
            weights=self.weights,
            random_text=self.random_text,
            variant=self.variant,
            layers=self.layers,
            words=self._words(),
            tokens=self.tokens,
            temperature=self.temperature,
            recipe=None if self.recipe is None else read_recipe(self.recipe),
            image_size=self.image_size,
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            betas=self.betas,
            rng=self.seed,
            device=self.device,
            precision=self.precision,
            workers=self.workers,
            checkpoint=self.checkpoint,
            callback=rows.append,
            progress=self.progress,
        )
        detector.save(self.output)
        write_csv(self.output.with_suffix(".csv"), [asdict(epoch) for epoch in detector.log])
        loss_curve(detector.log, self.output.with_suffix(".png"))
        print(
            f"{self.output}: loss {detector.log[-1].loss:.4f} after {len(detector.log)} epochs, "
            f"threshold {detector.threshold:.4f}"
        )
        return 0

    def _words(self) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        if (self.normal_words is None) != (self.abnormal_words is None):
            raise ValueError("--normal-words and --abnormal-words come together")
        return None if self.normal_words is None else (self.normal_words, self.abnormal_words)
