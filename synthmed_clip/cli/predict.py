"""`synthmed-clip predict`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import numpy as np
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

from synthmed import io
from synthmed_clip.cli.options import Axis, Loading, MaskLevel, Output, Roi, ValueRange
from synthmed_clip.cli.predict_volumes import predict_volumes
from synthmed_clip.data.images import collect, eight_bit, read_plane
from synthmed_clip.data.regions import read_inside, regions_in
from synthmed_clip.data.values import Values
from synthmed_clip.evaluation.calibration import threshold_of
from synthmed_clip.evaluation.map_scale import MapScale
from synthmed_clip.files import Kind, check_outputs, write_csv, write_text

if TYPE_CHECKING:
    from synthmed_clip.detector import Detector, Prediction

MapKind = Literal["overlay", "heatmap", "float", "png16"]
# Where a map goes, by its kind and the image's name, whose suffix stays: a.png and a.jpg may both
# be.
_MAPS = {
    "overlay": "overlays/{}.png",
    "heatmap": "heatmaps/{}.png",
    "float": "maps/{}.tif",
    "png16": "maps/{}.png",
    "volume": "maps/{}.nii.gz",
}
_CHUNK = 32  # images that are held at full size, with their maps, at a time


@dataclass
class Predict:
    """Score images; write scores.csv, scores.json, and maps.

    A file that cannot be read is reported with its reason, and listed in scores.json; the others
    are scored all the same, and the exit status is 1.
    """

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
        """Predict in chunks, so that any number of images fits into memory."""
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
        names = [path.name if path == root else path.relative_to(root).as_posix() for path in paths]
        self._take_output(names, axis is not None)
        if axis is not None:
            if self.roi is not None:
                raise ValueError("--roi is of images; regions of volumes (--axis) are not taken")
            return predict_volumes(
                detector,
                paths,
                root,
                self.output,
                axis=axis,
                value_range=self.value_range,
                alpha=self.alpha,
                batch_size=self.batch_size,
            )
        level = self._level(detector)
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
                    x, y = found.peak or (None, None)
                    rows.append(
                        {
                            "image": name,
                            "score": found.score,
                            "p_value": found.p_value,
                            "is_anomalous": found.is_anomalous,
                            "peak_x": x,
                            "peak_y": y,
                        }
                    )
                    if found.anomaly_map is not None:
                        self._draw(name, image, found, detector.map_scale, level)
                bar.update(len(images) + len(faults))
        if not rows:
            raise ValueError(f"none of the {len(paths)} images in {self.images} can be read")
        write_csv(self.output / "scores.csv", rows)
        report = {
            "format": "synthmed-clip predictions 1",
            "model": str(self.model),
            "threshold": detector.threshold,
            "alpha": self.alpha,
            "p_values": {
                "against": len(detector.normal_scores),
                "source": detector.normal_source,
                "heuristic": detector.p_values_are_heuristic,
            },
            "maps": _coding(detector.map_scale, level),
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
        if detector.p_values_are_heuristic:
            print(
                f"p-values are heuristic: nothing shows that those against the "
                f"{detector.normal_source} scores of {detector.method.name} keep their level; "
                f"calibrate on further normal images for that"
            )
        return 1 if unread else 0

    def _take_output(self, names: Sequence[str], volumes: bool) -> None:
        """Refuse an output that would replace other files, or hold maps of another run, too; with
        --force, remove those.
        """
        kinds: Sequence[str] = ["volume"] if volumes else self.maps
        planned = {self.output / _MAPS[kind].format(name) for kind in kinds for name in names}
        folders = {Path(place).parts[0] for place in _MAPS.values()}
        there = {
            path
            for folder in folders
            for path in (self.output / folder).rglob("*")
            if path.is_file() and not path.name.startswith(".")
        }
        table, report = self.output / "scores.csv", self.output / "scores.json"
        outputs = [(table, Kind.SCORES), (report, Kind.PREDICTIONS)]
        outputs += [(path, Kind.MAP) for path in sorted(planned & there)]
        check_outputs(outputs, [self.model], force=self.force)
        stale = [path for path in sorted(there - planned) if io.has_mark(path, Kind.MAP.value)]
        if stale and not self.force:
            raise ValueError(
                f"{self.output} holds {len(stale)} maps of another run, such as {stale[0]}; name "
                f"another output, or give --force to remove them"
            )
        for path in stale:
            path.unlink()
        if stale:
            print(f"{self.output}: {len(stale)} maps of another run removed")

    def _level(self, detector: Detector) -> float | None:
        """Where a map's contour lies: at what corresponds to the threshold, or to alpha."""
        threshold = detector.threshold
        if self.alpha is not None and detector.normal_scores:
            threshold = threshold_of(self.alpha, detector.normal_scores)
        return detector.map_scale.level_of(threshold)

    def _draw(
        self,
        name: str,
        image: io.Image,
        found: Prediction,
        scale: MapScale,
        level: float | None,
    ) -> None:
        from synthmed_clip.report.heatmaps import heat_map, overlay, save_picture
        from synthmed_clip.report.raw_maps import save_float, save_png16

        assert found.anomaly_map is not None
        paths = {kind: self.output / _MAPS[kind].format(name) for kind in self.maps}
        if "overlay" in paths:
            picture = overlay(io.grey(image).array, found.anomaly_map, scale, level, found.peak)
            save_picture(picture, paths["overlay"])
        if "heatmap" in paths:
            picture = heat_map(found.anomaly_map, scale.span)
            save_picture(picture, paths["heatmap"])
        if "float" in paths:
            save_float(found.anomaly_map, paths["float"])
        if "png16" in paths:
            save_png16(found.anomaly_map, scale, paths["png16"])

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


def _images_under(path: Path, volumes: bool) -> tuple[Path, list[Path]]:
    """All images under a folder but hidden ones, or the one image; and the folder that their names
    are relative to.
    """
    if path.is_file():
        return path.parent, [path]
    if volumes:
        found = [item for item in collect(path, volumes=True)[0] if isinstance(item, Path)]
        return path.parent if found == [path] else path, found
    found = io.find_images(path)
    if not found:
        raise FileNotFoundError(f"no image in {path}")
    return path, found


def _coding(scale: MapScale, level: float | None) -> dict[str, Any]:
    """What the numbers and colours of maps mean."""
    from synthmed_clip.report.raw_maps import png16_coding

    zero, step = png16_coding(scale)
    return {
        "unit": scale.unit,
        "colours": {"lowest": scale.low, "highest": scale.high},
        "contour": level,
        "png16": {"zero": zero, "step": step},
    }
