"""Seeded, composable synthetic anomalies for medical images.

>>> import numpy as np, synthmed
>>> scan = np.random.default_rng(0).integers(0, 255, (224, 224), dtype=np.uint8)
>>> image, mask = synthmed.CutPaste(synthmed.PerlinMask())(scan, rng=7)
"""

from synthmed.anomalies import (
    Anomaly,
    Atrophy,
    Calcifications,
    Cavity,
    Cutout,
    CutPaste,
    GaussianIntensityChange,
    Haemorrhage,
    Identity,
    Interpolation,
    Lesion,
    Sink,
    SmoothIntensityChange,
    Source,
    Swelling,
    TextureBlend,
    ThinStructure,
)
from synthmed.compose import OneOf, Repeat, Sequence
from synthmed.distractors import (
    BurnedInText,
    Callipers,
    Distractor,
    GainChange,
    Shift,
    SideMarker,
    Speckle,
)
from synthmed.distributions import Choice, Gamma, Normal
from synthmed.foreground import foreground
from synthmed.generator import Generator, from_dict
from synthmed.io import FileMask
from synthmed.masks import (
    BlobMask,
    EllipseMask,
    IntersectionMask,
    LesionMask,
    Mask,
    PerlinMask,
    RectangleMask,
    ScatterMask,
    Shape,
    StrokeMask,
    UnionMask,
)
from synthmed.presets import preset, read_recipe
from synthmed.replay import replay
from synthmed.sample import NothingToSee, Sample
from synthmed.scene import Region, Scene
from synthmed.version import __version__

__all__ = [
    "Anomaly",
    "Atrophy",
    "BlobMask",
    "BurnedInText",
    "Calcifications",
    "Callipers",
    "Cavity",
    "Choice",
    "CutPaste",
    "Cutout",
    "Distractor",
    "EllipseMask",
    "FileMask",
    "GainChange",
    "Gamma",
    "GaussianIntensityChange",
    "Generator",
    "Haemorrhage",
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
    "ScatterMask",
    "Scene",
    "Sequence",
    "Shape",
    "Shift",
    "SideMarker",
    "Sink",
    "SmoothIntensityChange",
    "Source",
    "Speckle",
    "StrokeMask",
    "Swelling",
    "TextureBlend",
    "ThinStructure",
    "UnionMask",
    "__version__",
    "foreground",
    "from_dict",
    "preset",
    "read_recipe",
    "replay",
]
