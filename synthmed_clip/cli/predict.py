"""`synthmed-clip predict`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast

import numpy as np
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

from synthmed import io
from synthmed_clip.cli.journal import Journal, Row, keep_journal
from synthmed_clip.cli.options import Axis, Loading, MaskLevel, Output, Roi, ValueRange
from synthmed_clip.cli.predict_outputs import (
    JOURNAL,
    MapKind,
    Place,
    coding,
    draw,
    settings_of,
    take_output,
    write_scores,
)
from synthmed_clip.cli.predict_volumes import predict_volumes
from synthmed_clip.data.images import eight_bit, read_plane, volumes_under
from synthmed_clip.data.regions import read_inside, regions_in
from synthmed_clip.data.values import Values
from synthmed_clip.evaluation.calibration import threshold_of

if TYPE_CHECKING:
    from synthmed_clip.detector import Detector, Prediction

_CHUNK = 32  # images that are held at full size, with their maps, at a time


@dataclass
class Predict:
    """Score images; write scores.csv, scores.json, and maps.

    A file that cannot be read is reported with its reason, and listed in scores.json; the others
    are scored all the same, and the exit status is 1. Until the end, scores.part.jsonl holds what
    is done; after any interruption the same command goes on from it.
    """

    goes_on: ClassVar[bool] = True

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DETECTOR")]
    """A detector that fit wrote."""
    images: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="IMAGES")]
    """An image, or a folder of images (with all its folders)."""
    output: Output
    """Folder to write to, outside the folder of images."""
    loading: tyro.conf.OmitArgPrefixes[Loading] = field(default_factory=Loading)
    alpha: float | None = None
    """Flag what normal images would score with a probability of at most this, by the left-out
    scores of the support images; 0.05 needs 19 of them. By default the threshold decides."""
    threshold: float | None = None
    """Flag scores above this, in place of the detector's own threshold."""
    maps: tuple[MapKind, ...] = ("overlay", "heatmap")
    """What to write of maps, if anything: overlays/ (the image, the map's colours, a contour at the
    decision, a cross at the peak, a legend), heatmaps/ (colours alone), maps/ as float (32-bit
    TIFF) or png16 (16-bit PNG; scores.json says what its levels mean)."""
    value_range: ValueRange = None
    """Which stored values are darkest and brightest: two numbers, window (each image's own) or
    dtype; by default as for the support images."""
    axis: Axis = None
    """Take volumes, seen slice by slice: axial, coronal, sagittal, or an array axis from 0; by
    default as the detector was fitted. Maps are then NIfTI files."""
    roi: Roi = None
    """A folder with a region of interest an image, under the image's path from IMAGES, or auto for
    the foreground: scores are of what lies inside."""
    mask_level: MaskLevel = None
    """Which levels of regions are inside, where they have others than 0 and one more: numbers, or
    any but 0."""
    batch_size: int = 16
    force: bool = False
    """Replace files of the output that predict did not write, and remove maps of another run."""
    progress: bool = True

    def run(self) -> int:
        """Write each image's row and maps when they are there, and the tables at the end."""
        if self.images.is_dir() and self.output.resolve().is_relative_to(self.images.resolve()):
            raise ValueError(
                f"{self.output} lies in {self.images}: its heat maps would be scored the next time"
            )
        if self.alpha is not None and self.threshold is not None:
            raise ValueError("--alpha and --threshold are two rules; give one")
        detector = self.loading.load(self.model)
        axis = detector.axis if self.axis is None else self.axis
        root, paths = _images_under(self.images, axis is not None)
        if self.threshold is not None:
            detector = replace(detector, threshold=self.threshold)
        images = {
            path.resolve().name if path == root else path.relative_to(root).as_posix(): path
            for path in paths
        }
        kinds: tuple[Place, ...] = self.maps if axis is None else ("volume",)
        take_output(self.output, kinds, list(images), self.model, force=self.force)
        own = ("alpha", "value_range", "roi", "mask_level", "batch_size")
        others = {name: getattr(self, name) for name in own} | {"maps": kinds, "axis": axis}
        settings = settings_of(detector, self.model, others)
        with keep_journal(self.output / JOURNAL, settings, images, force=self.force) as journal:
            done = len(journal.rows) + len(journal.faults)
            if done:
                print(f"{self.output}: goes on after {done} of {len(images)} images")
            if axis is None:
                about = self._predict(detector, images, journal)
            else:
                predict_volumes(
                    detector,
                    images,
                    self.output,
                    journal,
                    axis=axis,
                    roi=self.roi,
                    mask_level=self.mask_level,
                    value_range=self.value_range,
                    alpha=self.alpha,
                    batch_size=self.batch_size,
                )
                about = {"axis": axis}
            about = {
                "model": {"name": self.model.name, "sha256": settings["detector"]},
                "threshold": detector.threshold,
                "alpha": self.alpha,
                **about,
            }
            rows = [journal.rows[name] for name in images if name in journal.rows]
            faults = {name: journal.faults[name] for name in images if name in journal.faults}
            if rows:
                write_scores(self.output, about, rows, faults)
        if not rows:
            raise ValueError(f"none of the {len(images)} images in {self.images} can be read")
        self._tell(detector, rows, faults, "images" if axis is None else "volumes")
        return 1 if faults else 0

    def _predict(
        self, detector: Detector, images: Mapping[str, Path], journal: Journal
    ) -> dict[str, Any]:
        """Predict in chunks, each whole: a batch of other images may round otherwise."""
        level = self._level(detector)
        values = detector.values_for(self.value_range)
        about = {
            "p_values": {
                "against": len(detector.normal_scores),
                "source": detector.normal_source,
                "heuristic": detector.p_values_are_heuristic,
            },
            "maps": coding(detector.map_scale, level),
        }
        detector = replace(detector, values=Values())  # for images that are of 8 bits by then
        names = list(images)
        with tqdm(
            total=len(names), desc="predict", unit="image", disable=None if self.progress else True
        ) as bar:
            for start in range(0, len(names), _CHUNK):
                chunk = names[start : start + _CHUNK]
                bar.update(len(chunk))
                if journal.knows(chunk):
                    continue
                planes, regions = self._read(
                    {name: images[name] for name in chunk}, values, journal
                )
                predictions = cast(
                    "list[Prediction]",
                    detector.predict(
                        planes.values(),
                        roi=None if self.roi is None else regions,
                        batch_size=self.batch_size,
                        alpha=self.alpha,
                    ),
                )
                for (name, image), found in zip(planes.items(), predictions, strict=True):
                    if journal.knows([name]):
                        continue
                    draw(self.maps, self.output, name, image, found, detector.map_scale, level)
                    x, y = found.peak or (None, None)
                    row: Row = {
                        "image": name,
                        "score": found.score,
                        "p_value": found.p_value,
                        "is_anomalous": found.is_anomalous,
                        "peak_x": x,
                        "peak_y": y,
                    }
                    journal.add(name, images[name], row)
        return about

    def _tell(
        self, detector: Detector, rows: Sequence[Row], faults: Mapping[str, str], what: str
    ) -> None:
        flagged = sum(bool(row["is_anomalous"]) for row in rows)
        left = f", {len(faults)} left out" if faults else ""
        rule = f"above the threshold {detector.threshold:.4f}"
        if self.alpha is not None:
            rule = f"with a p-value of at most {self.alpha:g}"
        print(f"{self.output}: {len(rows)} {what}, {flagged} {rule}{left}")
        if detector.p_values_are_heuristic:
            print(
                f"p-values are heuristic: nothing shows that those against the "
                f"{detector.normal_source} scores of {detector.method.name} keep their level; "
                f"calibrate on further normal images for that"
            )

    def _level(self, detector: Detector) -> float | None:
        """Where a map's contour lies: at what corresponds to the threshold, or to alpha."""
        threshold = detector.threshold
        if self.alpha is not None and detector.normal_scores:
            threshold = threshold_of(self.alpha, detector.normal_scores)
        return detector.map_scale.level_of(threshold)

    def _read(
        self, images: Mapping[str, Path], values: Values, journal: Journal
    ) -> tuple[dict[str, io.Image], list[NDArray[np.bool_]]]:
        """Read images by name, in 8 bits, with their regions; of the others the journal says why
        they cannot be.
        """
        planes, regions = {}, []
        for name, path in images.items():
            try:
                if self.roi is not None:
                    roi = self.roi if self.roi == "auto" else regions_in(Path(self.roi), [name])[0]
                    regions.append(read_inside(roi, path, read_plane(path), self.mask_level))
                planes[name] = eight_bit(path, values)
            except (OSError, TypeError, ValueError) as error:
                del regions[len(planes) :]
                tqdm.write(f"synthmed-clip: left out: {error}", sys.stderr)
                journal.leave_out(name, path, str(error).replace(str(path), name))
        return planes, regions


def _images_under(path: Path, volumes: bool) -> tuple[Path, list[Path]]:
    """All images under a folder but hidden ones, or the one image; and the folder that their names
    are relative to.
    """
    if path.is_file():
        return path.parent, [path]
    if volumes and path.is_dir():
        return path, volumes_under(path)
    found = io.find_images(path)
    if not found:
        raise FileNotFoundError(f"no image in {path}")
    return path, found
