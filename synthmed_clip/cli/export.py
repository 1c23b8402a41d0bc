"""`synthmed-clip export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from synthmed_clip.files import Kind, check_outputs


@dataclass
class Export:
    """Write a detector and its backbone to one ONNX file: squared images in, scores and maps out.

    The file is compared with the detector, by onnxruntime, before it is written.
    """

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DETECTOR")]
    """A detector that fit wrote."""
    output: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="NAME.onnx")]
    """The file to write, NAME.onnx."""
    weights: str | None = None
    """Where the backbone's weights are, if not where fit found them."""
    pixel_type: Literal["float32", "uint8"] = "float32"
    """Of the images, 0 to 255."""
    force: bool = False
    """Replace a file of this name that export did not write."""

    def run(self) -> int:
        """Export it, in float32."""
        from synthmed_clip.detector import Detector

        outputs = [(self.output, Kind.ONNX)]
        check_outputs(outputs, [self.model, self.weights], force=self.force)
        detector = Detector.load(
            self.model, weights=self.weights, device="cpu", precision="float32"
        )
        detector.export(self.output, pixel_type=self.pixel_type)
        print(f"{self.output}: {self.output.stat().st_size / 1e6:.1f} MB, {detector}")
        return 0
