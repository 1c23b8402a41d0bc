"""`synthmed-clip predict` on volumes: scores, and maps as NIfTI."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from gzip import GzipFile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from synthmed import io
from synthmed_clip.cli.journal import Journal, Row
from synthmed_clip.cli.options import MaskLevel, Roi
from synthmed_clip.cli.predict_outputs import place_of
from synthmed_clip.data.regions import regions_in
from synthmed_clip.data.slices import Axis
from synthmed_clip.files import write_bytes

if TYPE_CHECKING:
    from synthmed_clip.detector import Detector, Prediction


def predict_volumes(
    detector: Detector,
    images: Mapping[str, Path],
    output: Path,
    journal: Journal,
    *,
    axis: Axis,
    roi: Roi,
    mask_level: MaskLevel,
    value_range: io.ValueRange | None,
    alpha: float | None,
    batch_size: int,
) -> None:
    """Score volumes one by one, those that the journal does not know; write `maps/NAME.nii.gz`,
    which have the volumes' own geometry. One that is left out is told with its reason.
    """
    for name, path in images.items():
        if journal.knows([name]):
            continue
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
            journal.leave_out(name, path, reason.replace(str(path), name))
            continue
        found = cast("Prediction", predicted)
        if found.anomaly_map is not None:
            image = io.Image(found.anomaly_map, spacing=volume.spacing, affine=volume.affine)
            write_bytes(place_of(output, "volume", name), _packed(io.encode(image, ".nii")))
        row: Row = {"image": name, "score": found.score, "p_value": found.p_value}
        journal.add(name, path, row | {"is_anomalous": found.is_anomalous})


def _packed(content: bytes) -> bytes:
    """Compress a map, with a name in the header by which predict knows it as its own."""
    out = BytesIO()
    with GzipFile("synthmed-clip map.nii", "wb", fileobj=out, mtime=0) as file:
        file.write(content)
    return out.getvalue()
