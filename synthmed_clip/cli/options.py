"""What several commands share: the output argument, loading a backbone or a detector."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from synthmed_clip.backbone.model import Backbone, load_backbone
from synthmed_clip.detector import Detector

Output = Annotated[Path, tyro.conf.arg(aliases=["-o"])]
Precision = Literal["auto", "float32", "bfloat16"]


@dataclass
class BackboneOptions:
    """Which backbone, and how to load it."""

    backbone: str = "ViT-L-14-quickgelu"
    """Name of an open_clip model, path of a configuration (.json) or of a folder with one, or
    hf-hub:owner/model.
    """
    weights: str = "openai"
    """Tag of open_clip's, or a local file."""
    random_text: bool = False
    """The weights cover the visual tower alone; the text tower stays random."""
    image_size: int | None = None
    """By default the model's own."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    precision: Precision = "auto"
    """auto is bfloat16 where the device is faster with it."""

    def load(self) -> Backbone:
        """Load it."""
        return load_backbone(
            self.backbone,
            self.weights,
            random_text=self.random_text,
            image_size=self.image_size,
            device=self.device,
            precision=self.precision,
        )


@dataclass
class Loading:
    """How to load a detector."""

    weights: str | None = None
    """Where the backbone's weights are, if not where fit found them."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    precision: Precision = "auto"
    """auto is bfloat16 where the device is faster with it."""

    def load(self, model: Path) -> Detector:
        """Load it."""
        return Detector.load(
            model, weights=self.weights, device=self.device, precision=self.precision
        )
