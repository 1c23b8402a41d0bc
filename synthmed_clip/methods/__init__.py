"""What finds anomalies, all through the door in `base`; a line here makes a method known."""

from synthmed_clip.methods.base import Fitted, Method, Scores
from synthmed_clip.methods.joined import Joined
from synthmed_clip.methods.mediclip import MediCLIP
from synthmed_clip.methods.nearest_patch import NearestPatch
from synthmed_clip.methods.subspace import Subspace
from synthmed_clip.methods.zero_shot import ZeroShot

__all__ = [
    "Fitted",
    "Joined",
    "MediCLIP",
    "Method",
    "NearestPatch",
    "Scores",
    "Subspace",
    "ZeroShot",
]
