"""What several commands share: outputs, values of methods, a backbone or a detector."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields, is_dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

import synthmed
from synthmed import io
from synthmed_clip.backbone.device import Precision
from synthmed_clip.methods import Method

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from synthmed_clip.backbone.model import Backbone
    from synthmed_clip.detector import Detector

Output = Annotated[Path, tyro.conf.arg(aliases=["-o"])]
MaskLevel = tuple[int, ...] | Literal["any"] | None

ValueRange = io.ValueRange | None
Axis = int | Literal["axial", "coronal", "sagittal"] | None
Roi = Literal["auto"] | Path | None

values = ConstructorRegistry()
"""How fields of methods are written: a recipe as a preset or a file, a method as its name."""


@values.primitive_rule
def _recipe(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[synthmed.Generator] | None:
    if info.type is not synthmed.Generator:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PRESET|FILE",
        instance_from_str=lambda words: synthmed.read_recipe(words[0]),
        is_instance=lambda value: isinstance(value, synthmed.Generator),
        str_from_instance=lambda value: [repr(value)],
    )


@values.primitive_rule
def _method(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Method] | None:
    if info.type is not Method:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="METHOD",
        instance_from_str=lambda words: Method.named(words[0])(),
        is_instance=lambda value: isinstance(value, Method),
        str_from_instance=lambda value: [value.name],
    )


@dataclass
class BackboneOptions:
    """Which backbone, and how to load it."""

    backbone: str = "ViT-L-14-quickgelu"
    """Name of an open_clip model, timm/NAME, hf-hub:owner/model, or the path of a configuration
    (.json) or of a folder with one."""
    weights: str = "openai"
    """Tag of open_clip's, or a local file; models of timm's and of the hub bring their own."""
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
        from synthmed_clip.backbone.model import load_backbone

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
        from synthmed_clip.detector import Detector

        return Detector.load(
            model, weights=self.weights, device=self.device, precision=self.precision
        )


def described(detector: Detector, path: Path) -> dict[str, object]:
    """Say which detector a file holds, JSON-ready, without where it lies."""
    own = detector.backbone
    return {
        "name": path.name,
        "sha256": sha256(path.read_bytes()).hexdigest(),
        "method": detector.method.to_dict(),
        "backbone": {"name": own.name, "weights": own.weights_name, "sha256": own.digest},
    }


def not_default(command: DataclassInstance) -> dict[str, object]:
    """Return the options of a command that are not by default, but for its outputs, JSON-ready;
    of paths the last name.

    Examples
    --------
    >>> not_default(Loading(weights=None, device="cpu"))
    {'device': 'cpu'}
    """
    found: dict[str, object] = {}
    for field in fields(command):
        value = getattr(command, field.name)
        if is_dataclass(value) and not isinstance(value, type):
            found |= not_default(value)
        elif field.name in ("output", "report", "force"):  # nothing depends on them
            continue
        elif field.default is not MISSING and value != field.default:
            found[field.name] = value.name if isinstance(value, Path) else value
    return found
