"""`synthmed-clip predict`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import tyro
from PIL import Image
from tqdm import tqdm

from synthmed import io
from synthmed_clip.commands.common import Loading, Output, write_csv
from synthmed_clip.detector import Prediction
from synthmed_clip.images import SUFFIXES, eight_bit
from synthmed_clip.pictures import heat_map, overlay

_CHUNK = 64  # images whose full-size maps are held at a time


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
        rows: list[dict[str, Any]] = []
        with tqdm(total=len(paths), desc="predict", unit="image", disable=None if self.progress else True) as bar:
            for start in range(0, len(paths), _CHUNK):
                chunk = paths[start : start + _CHUNK]
                predictions = cast(list[Prediction], detector.predict(chunk, batch_size=self.batch_size))
                for path, found in zip(chunk, predictions, strict=True):
                    name = path.relative_to(root)
                    rows.append({"image": name.as_posix(), "score": found.score, "is_anomalous": found.is_anomalous})
                    self._draw(path, name, found.anomaly_map)
                    bar.update()
        self.output.mkdir(parents=True, exist_ok=True)
        write_csv(self.output / "scores.csv", rows)
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


def _images_under(path: Path) -> tuple[Path, list[Path]]:
    """All images under a folder, or the one image; and the folder that their names are relative to."""
    if path.is_file():
        return path.parent, [path]
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not found:
        raise FileNotFoundError(f"no image in {path}")
    return path, found
