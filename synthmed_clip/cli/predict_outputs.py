"""What `synthmed-clip predict` writes: maps beside one another, a table, its JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from synthmed import io
from synthmed_clip.cli.journal import Row
from synthmed_clip.evaluation.map_scale import MapScale
from synthmed_clip.files import Kind, check_outputs, write_csv, write_text

if TYPE_CHECKING:
    from synthmed_clip.detector import Detector, Prediction

MapKind = Literal["overlay", "heatmap", "float", "png16"]
Place = MapKind | Literal["volume"]
# Where a map goes, by its kind and the image's name, whose suffix stays: a.png and a.jpg may both
# be.
_PLACES: dict[Place, tuple[str, str]] = {
    "overlay": ("overlays", ".png"),
    "heatmap": ("heatmaps", ".png"),
    "float": ("maps", ".tif"),
    "png16": ("maps", ".png"),
    "volume": ("maps", ".nii.gz"),
}
_LONGEST = 255  # bytes of a file's name
JOURNAL = "scores.part.jsonl"


def place_of(output: Path, kind: Place, name: str) -> Path:
    """Return where the map of an image goes: under its name; what of a name is too long for the
    file system gives way to a digest of it.

    Examples
    --------
    >>> place_of(Path("out"), "float", "a/scan.png").as_posix()
    'out/maps/a/scan.png.tif'
    """
    folder, end = _PLACES[kind]
    place = output / folder / f"{name}{end}"
    whole = os.fsencode(place.name)
    if len(whole) <= _LONGEST:
        return place
    mark = f"~{sha256(whole).hexdigest()[:16]}{end}"
    return place.with_name(os.fsdecode(whole[: _LONGEST - len(mark)]) + mark)


def take_output(
    output: Path,
    kinds: Sequence[Place],
    names: Sequence[str],
    model: Path,
    *,
    force: bool,
) -> None:
    """Refuse an output that would replace other files, or hold maps of another run, too; with
    force, remove those.

    Raises
    ------
    ValueError
        If it is such an output.
    """
    planned = {place_of(output, kind, name) for kind in kinds for name in names}
    there = {
        path
        for folder in dict(_PLACES.values())
        for path in (output / folder).rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
    outputs = [
        (output / "scores.csv", Kind.SCORES),
        (output / "scores.json", Kind.PREDICTIONS),
        (output / JOURNAL, Kind.JOURNAL),
    ]
    outputs += [(path, Kind.MAP) for path in sorted(planned & there)]
    check_outputs(outputs, [model], force=force)
    stale = [path for path in sorted(there - planned) if io.has_mark(path, Kind.MAP.value)]
    if stale and not force:
        raise ValueError(
            f"{output} holds {len(stale)} maps of another run, such as {stale[0]}; name another "
            f"output, or give --force to remove them"
        )
    for path in stale:
        path.unlink()
    if stale:
        print(f"{output}: {len(stale)} maps of another run removed")


def settings_of(detector: Detector, model: Path, others: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that rows and maps depend on but for the images, JSON-ready."""
    import synthmed

    return {
        "synthmed": synthmed.__version__,
        "detector": sha256(model.read_bytes()).hexdigest(),
        "backbone": detector.backbone.fingerprint,
        "threshold": detector.threshold,
        **{name: str(value) for name, value in others.items()},
    }


def draw(
    kinds: Collection[MapKind],
    output: Path,
    name: str,
    image: io.Image,
    found: Prediction,
    scale: MapScale,
    level: float | None,
) -> None:
    """Write the maps of an image, if its method has any."""
    from synthmed_clip.report.heatmaps import heat_map, overlay, save_picture
    from synthmed_clip.report.raw_maps import save_float, save_png16

    if found.anomaly_map is None:
        return
    paths = {kind: place_of(output, kind, name) for kind in kinds}
    if "overlay" in paths:
        picture = overlay(io.grey(image).array, found.anomaly_map, scale, level, found.peak)
        save_picture(picture, paths["overlay"])
    if "heatmap" in paths:
        save_picture(heat_map(found.anomaly_map, scale.span), paths["heatmap"])
    if "float" in paths:
        save_float(found.anomaly_map, paths["float"])
    if "png16" in paths:
        save_png16(found.anomaly_map, scale, paths["png16"])


def coding(scale: MapScale, level: float | None) -> dict[str, Any]:
    """Return what the numbers and colours of maps mean."""
    from synthmed_clip.report.raw_maps import png16_coding

    zero, step = png16_coding(scale)
    return {
        "unit": scale.unit,
        "colours": {"lowest": scale.low, "highest": scale.high},
        "contour": level,
        "png16": {"zero": zero, "step": step},
    }


def write_scores(
    output: Path,
    about: Mapping[str, Any],
    rows: Sequence[Row],
    faults: Mapping[str, str],
) -> None:
    """Write scores.csv, and scores.json with what else there is to say."""
    write_csv(output / "scores.csv", rows)
    report = {
        "format": "synthmed-clip predictions 1",
        **about,
        "images": rows,
        "left_out": [{"image": name, "reason": why} for name, why in faults.items()],
    }
    write_text(output / "scores.json", json.dumps(report, indent=1) + "\n")
