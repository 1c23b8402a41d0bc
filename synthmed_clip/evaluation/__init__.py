"""How well scores and maps tell images apart: metrics, curves, comparison, calibration."""

from synthmed_clip.evaluation.calibration import p_value
from synthmed_clip.evaluation.comparison import Comparison, delong, paired_bootstrap
from synthmed_clip.evaluation.curves import Curve, curves
from synthmed_clip.evaluation.evaluate import Evaluation, evaluate, evaluate_scores
from synthmed_clip.evaluation.metrics import Interval, image_metrics
from synthmed_clip.evaluation.operating_point import Calibration, operating_point
from synthmed_clip.evaluation.pixels import pixel_metrics

__all__ = [
    "Calibration",
    "Comparison",
    "Curve",
    "Evaluation",
    "Interval",
    "curves",
    "delong",
    "evaluate",
    "evaluate_scores",
    "image_metrics",
    "operating_point",
    "p_value",
    "paired_bootstrap",
    "pixel_metrics",
]
