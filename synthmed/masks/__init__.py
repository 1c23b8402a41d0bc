"""Where an anomaly goes: random shapes and their place in the image."""

from synthmed.masks.base import Mask, Shape
from synthmed.masks.figures import EllipseMask, RectangleMask
from synthmed.masks.lesion import LesionMask
from synthmed.masks.overlay import IntersectionMask, UnionMask
from synthmed.masks.perlin import PerlinMask

__all__ = [
    "EllipseMask",
    "IntersectionMask",
    "LesionMask",
    "Mask",
    "PerlinMask",
    "RectangleMask",
    "Shape",
    "UnionMask",
]
