"""`synthmed-clip evaluate`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

from synthmed_clip.cli.options import (
    Axis,
    Loading,
    MaskLevel,
    Roi,
    ValueRange,
    described,
    not_default,
)
from synthmed_clip.data.layouts import Item, read_dataset
from synthmed_clip.data.regions import regions_in
from synthmed_clip.files import Kind, check_outputs, write_text
from synthmed_clip.methods import Scores

if TYPE_CHECKING:
    from synthmed_clip.detector import Detector

FORMAT = "synthmed-clip evaluation 1"


@dataclass
class Evaluate:
    """Evaluate a detector on labelled images: AUROC, AP, F1-max, AUPRO, with 95 % intervals."""

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DETECTOR")]
    """A detector that fit wrote."""
    dataset: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DATASET")]
    """normal/ and abnormal/ (and masks/), MVTec's or VisA's layout, or samples/test.json with
    images/.
    """
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Write the figures and every score to this JSON file, too."""
    report: Path | None = None
    """Write one HTML page to this file, too: curves, every image with its map, and a threshold to
    move.
    """
    against: Path | None = None
    """Another detector: compare the two on the same images (DeLong's test for Image-AUROC, else a
    paired bootstrap).
    """
    loading: tyro.conf.OmitArgPrefixes[Loading] = field(default_factory=Loading)
    mask_level: MaskLevel = None
    """Which levels of masks and regions are inside, where they have others than 0 and one more:
    numbers, or any but 0."""
    roi: Roi = None
    """A folder with a region of interest an image, under the image's path from the data set's
    folder, or auto for the foreground: what lies outside is ignored."""
    value_range: ValueRange = None
    """Which stored values are darkest and brightest: two numbers, window (each image's own) or
    dtype; by default as for the support images."""
    robustness: bool = False
    """Lay what is no disease (callipers, text, gain, speckle and the like) over up to 32 normal
    test images, and say how far their scores move; needs the extra testing."""
    batch_size: int = 16
    force: bool = False
    """Replace files of these names that evaluate did not write."""

    def run(self) -> int:
        """Print the figures."""
        from synthmed_clip.evaluation.evaluate import evaluate_scores
        from synthmed_clip.report.alarms import find_alarms

        if self.robustness:
            import synthmed_clip.evaluation.robustness as robust  # what it needs is asked for first

            if self.roi is not None:
                raise ValueError("--robustness is measured on whole images: leave --roi out")
        detector = self._load(self.model)
        other = None if self.against is None else self._load(self.against)
        axis = detector.axis
        if other is not None and other.axis != axis:
            raise ValueError(f"detectors of axis {axis} and {other.axis} cannot be compared")
        if axis is not None and self.report is not None:
            raise ValueError("--report is of images; a detector of volumes (axis) has none")
        if axis is not None and self.robustness:
            raise ValueError("--robustness is of images; a detector of volumes (axis) has none")
        dataset = read_dataset(self.dataset, mask_level=self.mask_level, volumes=axis is not None)
        items = dataset.test
        one_kind = len({item.abnormal for item in items}) < 2
        if one_kind and (self.report is not None or other is not None):
            raise ValueError(
                f"{self.dataset}: --report and --against compare normal with abnormal images; all "
                f"{len(items)} are of one kind"
            )
        read = [path for item in items for path in (item.image, item.mask)]
        check_outputs(
            [(self.output, Kind.EVALUATION), (self.report, Kind.REPORT)],
            [self.model, self.against, self.loading.weights, *read],
            force=self.force,
        )
        sizes = [d.backbone.image_size for d in (detector, other) if d is not None]
        if len(set(sizes)) > 1:
            raise ValueError(f"maps of {sizes[0]} and {sizes[1]} pixels a side cannot be compared")
        images = [item.image for item in items]
        roi: list[Path] | Roi = self.roi
        if isinstance(roi, Path):
            roi = regions_in(roi, [dataset.relative(image) for image in images])

        def scored(by: Detector) -> Scores:
            level, size = self.mask_level, self.batch_size
            return by.score(images, roi=roi, mask_level=level, batch_size=size)

        scores = scored(detector)
        found = evaluate_scores(scores, items, detector.threshold, axis=axis)
        for told in dataset.left_out:
            print(f"synthmed-clip: left out: {told}", file=sys.stderr)
        alarms = find_alarms(detector, dataset, found)
        for alarm in alarms:
            print(f"synthmed-clip: {alarm}", file=sys.stderr)
        print(found)
        shifts = robust.robustness(detector, items) if self.robustness else ()
        if shifts:
            print(robust.table(shifts))
        if self.output is not None:
            names = [dataset.relative(item.image) for item in items]
            rows = [
                {"image": n, "abnormal": i.abnormal, "score": s}
                for n, i, s in zip(names, items, found.scores, strict=True)
            ]
            figures = (
                {"format": FORMAT}
                | found.to_dict()
                | {
                    "alarms": [asdict(alarm) for alarm in alarms],
                    "detector": described(detector, self.model),
                    "settings": not_default(self),
                    "left_out": dataset.left_out,
                    "scores": rows,
                }
            )
            if shifts:
                figures["robustness"] = [asdict(shift) for shift in shifts]
            write_text(self.output, json.dumps(figures, indent=1) + "\n")
        if self.report is not None:
            from synthmed_clip.report.write import write_report

            write_report(self.report, detector, dataset, found, scores, shifts)
        if other is not None:
            theirs = scored(other)
            lines = _compared(scores, theirs, items, axis)
            print("\n".join([f"against {self.against}:", *lines]))
        return 0

    def _load(self, model: Path) -> Detector:
        detector = self.loading.load(model)
        return replace(detector, values=detector.values_for(self.value_range))


def _compared(ours: Scores, theirs: Scores, items: Sequence[Item], axis: Axis | None) -> list[str]:
    """A line for every metric of two detectors' scores and maps."""
    from synthmed_clip.evaluation.comparison import delong, paired_bootstrap
    from synthmed_clip.evaluation.evaluate import maps_of, masks_of

    abnormal = np.array([item.abnormal for item in items])
    scores = ours.scores.numpy(), theirs.scores.numpy()
    image = paired_bootstrap(*scores, abnormal) | {"AUROC": delong(*scores, abnormal)}
    pixel = {}
    if 0 not in (ours.maps.shape[-1], theirs.maps.shape[-1]):
        both = maps_of(ours), maps_of(theirs)
        masks = masks_of(items, both[0], axis)
        masked = np.array([mask.any() for mask in masks], bool)
        known = np.flatnonzero(masked | ~abnormal)
        if masked.any():
            one, two = ([part[k] for k in known] for part in both)
            pixel = paired_bootstrap(one, two, abnormal[known], [masks[k] for k in known])
    return [
        f"{level}-{name:<7} {comparison}"
        for level, metrics in (("Image", image), ("Pixel", pixel))
        for name, comparison in metrics.items()
    ]
