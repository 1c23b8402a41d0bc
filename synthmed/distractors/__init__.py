"""Changes that are no disease."""

from synthmed.distractors.base import Distractor
from synthmed.distractors.callipers import Callipers
from synthmed.distractors.exposure import GainChange, Speckle
from synthmed.distractors.lettering import BurnedInText, SideMarker
from synthmed.distractors.motion import Shift

__all__ = [
    "BurnedInText",
    "Callipers",
    "Distractor",
    "GainChange",
    "Shift",
    "SideMarker",
    "Speckle",
]
