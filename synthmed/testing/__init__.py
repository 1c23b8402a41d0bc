"""Property-based tests for augmentations and anomaly generators, yours or ours.

>>> import synthmed
>>> from synthmed.testing import check_anomaly, check_augmentation
>>> report = check_anomaly(synthmed.CutPaste(), examples=10)
>>> report = check_augmentation(lambda image, rng: rng.permutation(image), examples=10)

`check_anomaly` and `check_augmentation` draw calls and shrink the one that fails; `strategies` are
Hypothesis strategies for tests of your own; `invariants` are plain functions of one `Trial`. Needs
the extra ``synthmed[testing]``.
"""

try:
    import hypothesis as _hypothesis  # noqa: F401
except ImportError as _error:
    raise ModuleNotFoundError(
        "synthmed.testing needs Hypothesis: pip install 'synthmed[testing]'"
    ) from _error

from synthmed.testing import invariants, strategies
from synthmed.testing.checks import Report, check_anomaly, check_augmentation
from synthmed.testing.detectors import ScoreShift, check_detector
from synthmed.testing.phantoms import phantom, phantom_mask
from synthmed.testing.trial import DoesNotApply, Fault, Result, Trial

__all__ = [
    "DoesNotApply",
    "Fault",
    "Report",
    "Result",
    "ScoreShift",
    "Trial",
    "check_anomaly",
    "check_augmentation",
    "check_detector",
    "invariants",
    "phantom",
    "phantom_mask",
    "strategies",
]
