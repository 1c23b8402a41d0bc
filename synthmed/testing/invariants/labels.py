"""What a soft label tells."""

from __future__ import annotations

import json

import numpy as np

import synthmed
from synthmed.testing import differences
from synthmed.testing.invariants.base import invariant
from synthmed.testing.trial import Result, Trial


@invariant
def soft_label_agrees_with_mask(trial: Trial) -> str | None:
    """With ``soft=True`` the image is the same, and the label float32 within [0, 1], above 0
    somewhere in the mask where there is one, 0 outside it; the record replays it.

    Examples
    --------
    >>> from synthmed import CutPaste
    >>> from synthmed.testing import Trial, invariants, phantom
    >>> trial = Trial(CutPaste(), phantom("smooth", (24, 40)), seed=7)
    >>> invariants.soft_label_agrees_with_mask(trial)
    """
    _ = trial.generator
    soft, mask = trial.run(soft=True), np.asarray(trial.mask)
    difference = differences.between(Result(trial.result.image), Result(soft.image))
    if difference:
        return f"with a soft label the image is another: {difference}"
    label = soft.mask
    if not isinstance(label, np.ndarray) or label.dtype != np.float32 or label.shape != mask.shape:
        return (
            f"the soft label is {getattr(label, 'dtype', type(label).__name__)} of shape "
            f"{np.shape(label)}, not float32 of shape {mask.shape}"
        )
    if not (label.min() >= 0 and label.max() <= 1):
        return f"the soft label lies within [{label.min()}, {label.max()}], not [0, 1]"
    if label[~mask].any() or (mask.any() and not label.any()):
        return "the soft label is above 0 outside the mask, or nowhere within it"
    record = json.loads(json.dumps(soft.record))
    again = synthmed.replay(record, trial.image, donors=trial.donors)
    if not np.array_equal(again.mask, label):
        return "the record replays another soft label"
    return None
