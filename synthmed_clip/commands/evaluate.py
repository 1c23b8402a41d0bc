"""`synthmed-clip evaluate`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from synthmed_clip.commands.common import Loading
from synthmed_clip.datasets import read_dataset
from synthmed_clip.evaluation import evaluate_maps
from synthmed_clip.report import write_report


@dataclass
class Evaluate:
    """Evaluate a detector on labelled images: AUROC, AP, F1-max, AUPRO, with 95 % intervals."""

    model: tyro.conf.Positional[Path]
    """A detector that fit wrote."""
    dataset: tyro.conf.Positional[Path]
    """normal/ and abnormal/ (and masks/), MVTec's or VisA's layout, or samples/test.json with images/."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Write the figures and every score to this JSON file, too."""
    report: Path | None = None
    """Write one HTML page to this file, too: curves, every image with its map, and a threshold to move."""
    loading: tyro.conf.OmitArgPrefixes[Loading] = field(default_factory=Loading)
    batch_size: int = 16

    def run(self) -> int:
        """Print the figures."""
        for path in (self.output, self.report):
            if path is not None and path.is_dir():
                raise ValueError(f"{path} is a folder; a file's name is needed")
        dataset = read_dataset(self.dataset)
        items = dataset.test
        detector = self.loading.load(self.model)
        maps = detector.maps([item.image for item in items], batch_size=self.batch_size)
        found = evaluate_maps(maps, maps.max((1, 2)), items, detector.threshold)
        print(found)
        if self.output is not None:
            names = [item.image.relative_to(self.dataset).as_posix() for item in items]
            rows = [
                {"image": n, "abnormal": i.abnormal, "score": s} for n, i, s in zip(names, items, found.scores, strict=True)
            ]
            self.output.parent.mkdir(parents=True, exist_ok=True)
            self.output.write_text(json.dumps(found.to_dict() | {"scores": rows}, indent=1) + "\n")
        if self.report is not None:
            write_report(self.report, detector, dataset, found, maps)
        return 0
