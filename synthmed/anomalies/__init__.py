"""What happens inside a mask."""

from synthmed.anomalies.base import Anomaly, Identity
from synthmed.anomalies.calcifications import Calcifications
from synthmed.anomalies.cutout import Cutout
from synthmed.anomalies.cutpaste import CutPaste
from synthmed.anomalies.deformation import Sink, Source
from synthmed.anomalies.intensity import GaussianIntensityChange, SmoothIntensityChange
from synthmed.anomalies.interpolation import Interpolation
from synthmed.anomalies.lesion import Cavity, Lesion
from synthmed.anomalies.texture import TextureBlend

__all__ = [
    "Anomaly",
    "Calcifications",
    "Cavity",
    "CutPaste",
    "Cutout",
    "GaussianIntensityChange",
    "Identity",
    "Interpolation",
    "Lesion",
    "Sink",
    "SmoothIntensityChange",
    "Source",
    "TextureBlend",
]
