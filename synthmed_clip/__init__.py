"""Few-shot anomaly detection on medical images with CLIP and synthetic anomalies (MediCLIP).

`fit` adapts a frozen CLIP model to a handful of normal images; the `Detector` it returns gives a
score and a map of anomalies for any image.
"""

from synthmed_clip.backbone.model import Backbone, load_backbone
from synthmed_clip.detector import Detector, Prediction
from synthmed_clip.fit import fit
from synthmed_clip.methods.mediclip.pretrain import pretrain
from synthmed_clip.methods.mediclip.settings import Epoch

__all__ = ["Backbone", "Detector", "Epoch", "Prediction", "fit", "load_backbone", "pretrain"]
