"""The command line: synthmed-clip fit | predict | evaluate."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from PIL import Image
from tqdm import tqdm

from synthmed import io, read_recipe
from synthmed_clip.datasets import read_dataset
from synthmed_clip.detector import Detector
from synthmed_clip.evaluation import evaluate
from synthmed_clip.images import SUFFIXES, eight_bit
from synthmed_clip.pictures import heat_map, loss_curve, overlay
from synthmed_clip.settings import Epoch
from synthmed_clip.training import fit

Output = Annotated[Path, tyro.conf.arg(aliases=["-o"])]
Precision = Literal["auto", "float32", "bfloat16"]
_CHUNK = 64  # images whose full-size maps are held at a time


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
        _write_csv(self.output.with_suffix(".csv"), [asdict(epoch) for epoch in detector.log])
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


@dataclass
class Loading:
    """How to load a detector."""

    weights: str | None = None
    """Where the backbone's weights are, if not where fit found them."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    precision: Precision = "auto"
    """auto is bfloat16 where the device is faster with it."""

    def load(self, model: Path) -> Detector:
        """Load it."""
        return Detector.load(model, weights=self.weights, device=self.device, precision=self.precision)


@dataclass
class Predict:
    """Score images; write scores.csv, scores.json, heat maps and overlays."""

    model: tyro.conf.Positional[Path]
    """A detector that fit wrote."""
    images: tyro.conf.Positional[Path]
    """An image, or a folder of images (with all its folders)."""
    output: Output
    """Folder to write to."""
    loading: tyro.conf.OmitArgPrefixes[Loading] = field(default_factory=Loading)
    batch_size: int = 16
    progress: bool = True

    def run(self) -> int:
        """Predict in chunks, so that any number of images fits into memory."""
        root, paths = _images_under(self.images)
        detector = self.loading.load(self.model)
        rows = []
        with tqdm(total=len(paths), desc="predict", unit="image", disable=None if self.progress else True) as bar:
            for start in range(0, len(paths), _CHUNK):
                chunk = paths[start : start + _CHUNK]
                for path, found in zip(chunk, detector.predict(chunk, batch_size=self.batch_size), strict=True):
                    name = path.relative_to(root)
                    rows.append({"image": name.as_posix(), "score": found.score, "is_anomalous": found.is_anomalous})
                    self._draw(path, name, found.anomaly_map)
                    bar.update()
        self.output.mkdir(parents=True, exist_ok=True)
        _write_csv(self.output / "scores.csv", rows)
        report = {"model": str(self.model), "threshold": detector.threshold, "images": rows}
        (self.output / "scores.json").write_text(json.dumps(report, indent=1) + "\n")
        flagged = sum(row["is_anomalous"] for row in rows)
        print(f"{self.output}: {len(rows)} images, {flagged} above the threshold {detector.threshold:.4f}")
        return 0

    def _draw(self, path: Path, name: Path, anomaly_map: np.ndarray) -> None:
        grey = io.grey(eight_bit(path))
        for folder, picture in (("heatmaps", heat_map(anomaly_map)), ("overlays", overlay(grey, anomaly_map))):
            place = self.output / folder / f"{name.as_posix()}.png"  # the suffix stays: a.png and a.jpg may both be
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(place)


@dataclass
class Evaluate:
    """Evaluate a detector on labelled images: AUROC, AP, F1-max, AUPRO, with 95 % intervals."""

    model: tyro.conf.Positional[Path]
    """A detector that fit wrote."""
    dataset: tyro.conf.Positional[Path]
    """normal/ and abnormal/ (and masks/), MVTec's layout, or samples/test.json with images/."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Write the figures and every score to this JSON file, too."""
    loading: tyro.conf.OmitArgPrefixes[Loading] = field(default_factory=Loading)
    batch_size: int = 16

    def run(self) -> int:
        """Print the figures."""
        items = read_dataset(self.dataset)
        detector = self.loading.load(self.model)
        found = evaluate(detector, items, batch_size=self.batch_size)
        print(found)
        if self.output is not None:
            names = [item.image.relative_to(self.dataset).as_posix() for item in items]
            rows = [
                {"image": n, "abnormal": i.abnormal, "score": s} for n, i, s in zip(names, items, found.scores, strict=True)
            ]
            self.output.parent.mkdir(parents=True, exist_ok=True)
            self.output.write_text(json.dumps(found.to_dict() | {"scores": rows}, indent=1) + "\n")
        return 0


def main(args: list[str] | None = None) -> int:
    """Run the command line; a foreseeable error is one line on stderr and exit status 1."""
    command = tyro.extras.subcommand_cli_from_dict(
        {"fit": Fit, "predict": Predict, "evaluate": Evaluate},
        prog="synthmed-clip",
        args=args,
        description="Few-shot anomaly detection on medical images.",
    )
    try:
        return command.run()
    except (FileNotFoundError, MemoryError, TypeError, ValueError) as error:
        print(f"synthmed-clip: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        hint = "; the same command goes on from the checkpoint" if getattr(command, "checkpoint", None) else ""
        print(f"synthmed-clip: interrupted{hint}", file=sys.stderr)
        return 130


def _images_under(path: Path) -> tuple[Path, list[Path]]:
    """All images under a folder, or the one image; and the folder that their names are relative to."""
    if path.is_file():
        return path.parent, [path]
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not found:
        raise FileNotFoundError(f"no image in {path}")
    return path, found


def _write_csv(path: Path, rows: list[dict]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(main())
