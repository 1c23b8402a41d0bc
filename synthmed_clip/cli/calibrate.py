"""`synthmed-clip calibrate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

import synthmed_clip
from synthmed_clip.cli.options import Loading, Output, Roi
from synthmed_clip.data.images import collect
from synthmed_clip.evaluation.operating_point import Rule, check_target
from synthmed_clip.files import Kind, check_outputs


@dataclass
class Calibrate:
    """Set a detector's threshold from images that it has not seen; write a new detector.

    Its p-values are then against the normal images.
    """

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DETECTOR")]
    """A detector that fit wrote."""
    normals: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="NORMALS")]
    """Folder of normal images, none of them a support image."""
    output: Output
    """The new detector."""
    abnormal: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="[ABNORMAL]")] = (
        None
    )
    """Folder of abnormal images; sensitivity, youden and f1 need it."""
    rule: Rule = "false-alarm-rate"
    """What the threshold is to attain: false-alarm-rate (conformal), percentile (of the normal
    scores), specificity, sensitivity, youden (largest sensitivity + specificity - 1), f1 (largest
    F1)."""
    target: float | None = None
    """How much of it: above 0 and below 1, for percentile 100; none for youden and f1."""
    roi: Roi = None
    """A folder with a region of interest an image, of its name, or auto, as it was given to fit."""
    force: bool = False
    """Replace the output where there is a file of its name."""
    loading: tyro.conf.OmitArgPrefixes[Loading] = field(default_factory=Loading)
    batch_size: int = 16

    def run(self) -> int:
        """Calibrate, save, and print the figures."""
        check_target(self.rule, self.target, abnormal=self.abnormal is not None)
        normals, _ = collect(self.normals)
        abnormal, _ = collect(() if self.abnormal is None else self.abnormal)
        read = [item for item in (*normals, *abnormal) if isinstance(item, Path)]
        inputs = [self.model, self.loading.weights, *read]
        check_outputs([(self.output, Kind.DETECTOR)], inputs, force=self.force)
        if self.output.exists() and not self.force:
            raise ValueError(f"{self.output} is there; name another output, or give --force")
        detector = synthmed_clip.calibrate(
            self.loading.load(self.model),
            normals,
            abnormal,
            rule=self.rule,
            target=self.target,
            roi="auto" if self.roi == "auto" else None if self.roi is None else Path(self.roi),
            batch_size=self.batch_size,
        )
        detector.save(self.output)
        found = detector.provenance.calibration
        assert found is not None
        print(f"{self.output}: threshold {detector.threshold:.4f}, {found}")
        for name, interval in found.figures.items():
            print(f"{name:<16} {interval}")
        return 0
