"""`synthmed-clip predict`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

from synthmed import io
from synthmed_clip.cli.options import Loading, MaskLevel, Output, Roi, ValueRange
from synthmed_clip.data.images import eight_bit, read_plane
from synthmed_clip.data.regions import read_inside, regions_in
from synthmed_clip.data.values import Values
from synthmed_clip.files import Kind, check_outputs, write_csv, write_text

if TYPE_CHECKING:
    from synthmed_clip.detector import Prediction

_CHUNK = 32  # images that are held at full size, with their maps, at a time


@dataclass
class Predict:
    """Score images; write scores.csv, scores.json, heat maps and overlays.

    A file that cannot be read is reported with its reason, and listed in scores.json; the others
    are scored all the same, and the exit status is 1.
    """

    model: tyro.conf.Positional[Path]
    """A detector that fit wrote."""
    images: tyro.conf.Positional[Path]
    """An image, or a folder of images (with all its folders)."""
    output: Output
    """Folder to write to, outside the folder of images."""
    loading: tyro.conf.OmitArgPrefixes[Loading] = field(default_factory=Loading)
    alpha: float | None = None
    """Flag what normal images would score with a probability of at most this, by the left-out
    scores of the support images; 0.05 needs 19 of them. By default the threshold decides."""
    threshold: float | None = None
    """Flag scores above this, in place of the detector's own threshold."""
    value_range: ValueRange = None
    """Which stored values are darkest and brightest: two numbers, window (each image's own) or
    dtype; by default as for the support images."""
    roi: Roi = None
    """A folder with a region of interest an image, under the image's path from IMAGES, or auto for
    the foreground: scores are of what lies inside."""
    mask_level: MaskLevel = None
    """Which levels of regions are inside, where they have others than 0 and one more: numbers, or
    any but 0."""
    batch_size: int = 16
    progress: bool = True

    def run(self) -> int:
        """Predict in chunks, so that any number of images fits into memory."""
        root, paths = _images_under(self.images)
        if self.images.is_dir() and self.output.resolve().is_relative_to(self.images.resolve()):
            raise ValueError(
                f"{self.output} lies in {self.images}: its heat maps would be scored the next time"
            )
        table, report = (self.output / f"scores.{kind}" for kind in ("csv", "json"))
        outputs = [(table, Kind.SCORES), (report, Kind.PREDICTIONS)]
        check_outputs(outputs, [self.model], force=self.force)
        if self.alpha is not None and self.threshold is not None:
            raise ValueError("--alpha and --threshold are two rules; give one")
        detector = self.loading.load(self.model)
        if self.threshold is not None:
            detector = replace(detector, threshold=self.threshold)
        values = detector.values_for(self.value_range)
        detector = replace(detector, values=Values())  # for images that are of 8 bits by then
        rows: list[dict[str, str | float | None]] = []
        unread: list[dict[str, str]] = []
        with tqdm(
            total=len(paths), desc="predict", unit="image", disable=None if self.progress else True
        ) as bar:
            for start in range(0, len(paths), _CHUNK):
                images, regions, faults = self._read(root, paths[start : start + _CHUNK], values)
                unread += faults
                for fault in faults:
                    tqdm.write(f"synthmed-clip: left out: {fault['reason']}", sys.stderr)
                predictions = cast(
                    "list[Prediction]",
                    detector.predict(
                        images.values(),
                        roi=None if self.roi is None else regions,
                        batch_size=self.batch_size,
                        alpha=self.alpha,
                    ),
                )
                for (name, image), found in zip(images.items(), predictions, strict=True):
                    rows.append(
                        {
                            "image": name,
                            "score": found.score,
                            "p_value": found.p_value,
                            "is_anomalous": found.is_anomalous,
                        }
                    )
                    if found.anomaly_map is not None:
                        self._draw(name, image, found.anomaly_map, detector.map_range)
                bar.update(len(images) + len(faults))
        if not rows:
            raise ValueError(f"none of the {len(paths)} images in {self.images} can be read")
        write_csv(self.output / "scores.csv", rows)
        report = {
            "model": str(self.model),
            "threshold": detector.threshold,
            "alpha": self.alpha,
            "images": rows,
            "left_out": unread,
        }
        write_text(self.output / "scores.json", json.dumps(report, indent=1) + "\n")
        flagged = sum(bool(row["is_anomalous"]) for row in rows)
        left = f", {len(unread)} left out" if unread else ""
        rule = f"above the threshold {detector.threshold:.4f}"
        if self.alpha is not None:
            rule = f"with a p-value of at most {self.alpha:g}"
        print(f"{self.output}: {len(rows)} images, {flagged} {rule}{left}")
        return 1 if unread else 0

    def _draw(
        self,
        name: str,
        image: io.Image,
        anomaly_map: NDArray[np.float32],
        span: tuple[float, float],
    ) -> None:
        from synthmed_clip.report.heatmaps import heat_map, overlay, save_picture

        luma = io.grey(image).array
        pictures = {
            "heatmaps": heat_map(anomaly_map, span),
            "overlays": overlay(luma, anomaly_map, span),
        }
        for folder, picture in pictures.items():
            # The suffix stays: a.png and a.jpg may both be.
            save_picture(picture, self.output / folder / f"{name}.png")

    def _read(
        self, root: Path, paths: Sequence[Path], values: Values
    ) -> tuple[dict[str, io.Image], list[NDArray[np.bool_]], list[dict[str, str]]]:
        """Read images by name, in 8 bits, with their regions, and say of the others why they cannot
        be.
        """
        images, regions, faults = {}, [], []
        for path in paths:
            name = path.relative_to(root).as_posix()
            try:
                if self.roi is not None:
                    roi = self.roi if self.roi == "auto" else regions_in(Path(self.roi), [name])[0]
                    regions.append(read_inside(roi, path, read_plane(path), self.mask_level))
                images[name] = eight_bit(path, values)
            except (OSError, TypeError, ValueError) as error:
                del regions[len(images) :]
                faults.append({"image": name, "reason": str(error)})
        return images, regions, faults


def _images_under(path: Path) -> tuple[Path, list[Path]]:
    """All images under a folder but hidden ones, or the one image; and the folder that their names
    are relative to.
    """
    if path.is_file():
        return path.parent, [path]
    found = io.find_images(path)
    if not found:
        raise FileNotFoundError(f"no image in {path}")
    return path, found
