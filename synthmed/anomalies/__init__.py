"""What happens inside a mask."""

from synthmed.anomalies.base import Anomaly, Identity
from synthmed.anomalies.calcifications import Calcifications
from synthmed.anomalies.cutout import Cutout
from synthmed.anomalies.cutpaste import CutPaste
from synthmed.anomalies.deformation import Sink, Source
from synthmed.anomalies.flow import Atrophy, Swelling
from synthmed.anomalies.intensity import GaussianIntensityChange, SmoothIntensityChange
from synthmed.anomalies.interpolation import Interpolation
from synthmed.anomalies.lesion import Cavity, Haemorrhage, Lesion, ThinStructure
from synthmed.anomalies.texture import TextureBlend

__all__ = [
    "Anomaly",
    "Atrophy",
    "Calcifications",
    "Cavity",
    "CutPaste",
    "Cutout",
    "GaussianIntensityChange",
    "Haemorrhage",
    "Identity",
    "Interpolation",
    "Lesion",
    "Sink",
    "SmoothIntensityChange",
    "Source",
    "Swelling",
    "TextureBlend",
    "ThinStructure",
]
