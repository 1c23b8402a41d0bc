"""What finds anomalies, all through the door in `base`; a line here makes a method known."""

from synthmed_clip.methods.base import Fitted, Method, Scores
from synthmed_clip.methods.crossed_heads import CrossedHeads
from synthmed_clip.methods.global_neighbour import GlobalNeighbour
from synthmed_clip.methods.joined import Joined
from synthmed_clip.methods.mediclip import MediCLIP
from synthmed_clip.methods.nearest_patch import NearestPatch
from synthmed_clip.methods.patchcore import PatchCore
from synthmed_clip.methods.subspace import Subspace
from synthmed_clip.methods.zero_shot import ZeroShot

__all__ = [
    "CrossedHeads",
    "Fitted",
    "GlobalNeighbour",
    "Joined",
    "MediCLIP",
    "Method",
    "NearestPatch",
    "PatchCore",
    "Scores",
    "Subspace",
    "ZeroShot",
]
