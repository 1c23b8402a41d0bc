"""Few-shot anomaly detection on medical images with CLIP and synthetic anomalies (MediCLIP).

`fit` adapts a frozen CLIP model to a handful of normal images; the `Detector` it returns gives a
score and a map of anomalies for any image.
"""

from synthmed_clip.auxiliary import pretrain
from synthmed_clip.backbone import Backbone, load_backbone
from synthmed_clip.detector import Detector, Prediction
from synthmed_clip.settings import Epoch
from synthmed_clip.training import fit

__all__ = ["Backbone", "Detector", "Epoch", "Prediction", "fit", "load_backbone", "pretrain"]
