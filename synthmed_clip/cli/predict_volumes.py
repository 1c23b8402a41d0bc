"""`synthmed-clip predict` on volumes: scores, and maps as NIfTI."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from gzip import GzipFile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from synthmed import io
from synthmed_clip.cli.options import MaskLevel, Roi
from synthmed_clip.data.regions import regions_in
from synthmed_clip.data.slices import Axis
from synthmed_clip.files import write_bytes, write_csv, write_text

if TYPE_CHECKING:
    from synthmed_clip.detector import Detector, Prediction


def predict_volumes(
    detector: Detector,
    paths: Sequence[Path],
    root: Path,
    output: Path,
    *,
    axis: Axis,
    roi: Roi,
    mask_level: MaskLevel,
    value_range: io.ValueRange | None,
    alpha: float | None,
    batch_size: int,
) -> int:
    """Score volumes one by one; write scores.csv, scores.json and `maps/NAME.nii.gz`, which have
    the volumes' own geometry. Return 1 if one is left out, which is told with its reason.
    """
    rows, left_out = [], []
    for path in paths:
        name = path.name if path == root else path.relative_to(root).as_posix()
        try:
            volume = io.read_image(path)
            region: Roi | NDArray[np.bool_] = roi
            if isinstance(roi, Path):
                region = io.read_region(regions_in(roi, [name])[0], volume, path, level=mask_level)
            predicted = detector.predict(
                volume,
                axis=axis,
                roi=region,
                value_range=value_range,
                alpha=alpha,
                batch_size=batch_size,
            )
        except (OSError, TypeError, ValueError) as error:
            # The volume was read before, so that the message may not know its name.
            reason = str(error) if str(path) in str(error) else f"{path}: {error}"
            print(f"synthmed-clip: left out: {reason}", file=sys.stderr)
            left_out.append({"image": name, "reason": reason})
            continue
        found = cast("Prediction", predicted)
        row = {"image": name, "score": found.score, "p_value": found.p_value}
        rows.append(row | {"is_anomalous": found.is_anomalous})
        if found.anomaly_map is not None:
            image = io.Image(found.anomaly_map, spacing=volume.spacing, affine=volume.affine)
            write_bytes(output / "maps" / f"{name}.nii.gz", _packed(io.encode(image, ".nii")))
    if not rows:
        raise ValueError(f"none of the {len(paths)} volumes in {root} can be read")
    write_csv(output / "scores.csv", rows)
    report = {
        "format": "synthmed-clip predictions 1",
        "threshold": detector.threshold,
        "alpha": alpha,
        "axis": axis,
        "images": rows,
        "left_out": left_out,
    }
    write_text(output / "scores.json", json.dumps(report, indent=1) + "\n")
    flagged = sum(bool(row["is_anomalous"]) for row in rows)
    left = f", {len(left_out)} left out" if left_out else ""
    print(f"{output}: {len(rows)} volumes, {flagged} anomalous{left}")
    return 1 if left_out else 0


def _packed(content: bytes) -> bytes:
    """Compress a map, with a name in the header by which predict knows it as its own."""
    out = BytesIO()
    with GzipFile("synthmed-clip map.nii", "wb", fileobj=out, mtime=0) as file:
        file.write(content)
    return out.getvalue()
