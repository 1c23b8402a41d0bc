"""What several commands share: the output argument, loading a detector, writing CSV."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from synthmed_clip.detector import Detector

Output = Annotated[Path, tyro.conf.arg(aliases=["-o"])]
Precision = Literal["auto", "float32", "bfloat16"]


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


def write_csv(path: Path, rows: list[dict]) -> None:
    """Write rows that share their keys."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
