"""Seeded, composable synthetic anomalies for medical images.

>>> import numpy as np, synthmed
>>> scan = np.random.default_rng(0).integers(0, 255, (224, 224), dtype=np.uint8)
>>> image, mask = synthmed.CutPaste(synthmed.PerlinMask())(scan, rng=7)
"""

from synthmed.anomalies import (
    Anomaly,
    Calcifications,
    Cavity,
    Cutout,
    CutPaste,
    GaussianIntensityChange,
    Identity,
    Interpolation,
    Lesion,
    Sink,
    SmoothIntensityChange,
    Source,
    TextureBlend,
)
from synthmed.compose import OneOf, Repeat, Sequence
from synthmed.distributions import Choice, Gamma, Normal
from synthmed.foreground import foreground
from synthmed.generator import Generator, from_dict
from synthmed.masks import (
    EllipseMask,
    IntersectionMask,
    LesionMask,
    Mask,
    PerlinMask,
    RectangleMask,
    Shape,
    UnionMask,
)
from synthmed.presets import preset, read_recipe
from synthmed.replay import replay
from synthmed.sample import NothingToSee, Sample
from synthmed.scene import Region, Scene
from synthmed.version import __version__

__all__ = [
    "Anomaly",
    "Calcifications",
    "Cavity",
    "Choice",
    "CutPaste",
    "Cutout",
    "EllipseMask",
    "Gamma",
    "GaussianIntensityChange",
    "Generator",
    "Identity",
    "Interpolation",
    "IntersectionMask",
    "Lesion",
    "LesionMask",
    "Mask",
    "Normal",
    "NothingToSee",
    "OneOf",
    "PerlinMask",
    "RectangleMask",
    "Region",
    "Repeat",
    "Sample",
    "Scene",
    "Sequence",
    "Shape",
    "Sink",
    "SmoothIntensityChange",
    "Source",
    "TextureBlend",
    "UnionMask",
    "__version__",
    "foreground",
    "from_dict",
    "preset",
    "read_recipe",
    "replay",
]
