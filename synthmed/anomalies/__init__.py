"""What happens inside a mask."""

from synthmed.anomalies.base import Anomaly, Identity
from synthmed.anomalies.cutpaste import CutPaste
from synthmed.anomalies.deformation import Sink, Source
from synthmed.anomalies.intensity import GaussianIntensityChange, SmoothIntensityChange

__all__ = [
    "Anomaly",
    "CutPaste",
    "GaussianIntensityChange",
    "Identity",
    "Sink",
    "SmoothIntensityChange",
    "Source",
]
