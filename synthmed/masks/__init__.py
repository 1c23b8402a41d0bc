"""Where an anomaly goes: random shapes and their place in the image."""

from synthmed.masks.base import Mask, Shape
from synthmed.masks.blob import BlobMask
from synthmed.masks.figures import EllipseMask, RectangleMask
from synthmed.masks.lesion import LesionMask
from synthmed.masks.overlay import IntersectionMask, UnionMask
from synthmed.masks.perlin import PerlinMask
from synthmed.masks.scatter import ScatterMask
from synthmed.masks.stroke import StrokeMask

__all__ = [
    "BlobMask",
    "EllipseMask",
    "IntersectionMask",
    "LesionMask",
    "Mask",
    "PerlinMask",
    "RectangleMask",
    "ScatterMask",
    "Shape",
    "StrokeMask",
    "UnionMask",
]
