"""Few-shot anomaly detection on medical images with frozen features and synthetic anomalies.

`fit` makes a `Detector` of a handful of normal images, by MediCLIP or another `Method`; it gives a
score and a map of anomalies for any image. Torch is loaded when something needs it.
"""

import lazy_loader as _lazy

from synthmed_clip.calibrate import calibrate
from synthmed_clip.fit import fit, import_release, pretrain
from synthmed_clip.methods import (
    CrossedHeads,
    Fitted,
    GlobalNeighbour,
    Joined,
    MediCLIP,
    Method,
    NearestPatch,
    PatchCore,
    Scores,
    Subspace,
    ZeroShot,
)
from synthmed_clip.training.history import Epoch

__getattr__, __dir__, _ = _lazy.attach(
    __name__,
    submod_attrs={
        "backbone.model": ["Backbone", "load_backbone"],
        "detector": ["Detector", "Failure", "Prediction"],
    },
)

__all__ = [
    "Backbone",
    "CrossedHeads",
    "Detector",
    "Epoch",
    "Failure",
    "Fitted",
    "GlobalNeighbour",
    "Joined",
    "MediCLIP",
    "Method",
    "NearestPatch",
    "PatchCore",
    "Prediction",
    "Scores",
    "Subspace",
    "ZeroShot",
    "calibrate",
    "fit",
    "import_release",
    "load_backbone",
    "pretrain",
]
