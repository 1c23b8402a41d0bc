"""What the fixture `synthmed_check` does: check, and save the smallest failing call so that a
person can look at it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synthmed.generator import Generator
from synthmed.testing.checks import Report, check_anomaly, check_augmentation
from synthmed.testing.trial import Fault, Trial

_PANEL = 240  # pixels, at least, along the longer side of a panel
_GAP = 8


def checker(folder: Path) -> Callable[..., Report]:
    """A function that checks a generator or an augmentation, and saves what fails into `folder`."""

    def check(subject: Any, **options: Any) -> Report:
        __tracebackhide__ = True
        run: Callable[..., Report] = (
            check_anomaly if isinstance(subject, Generator) else check_augmentation
        )
        try:
            return run(subject, **options)
        except Fault as fault:
            image, script = save(fault, folder)
            named = Fault(
                fault.invariant, fault.trial, fault.what, f"\n\nPicture: {image}\nScript:  {script}"
            )
            raise named from fault.__cause__

    return check


def save(fault: Fault, folder: Path) -> tuple[Path, Path]:
    """Write a fault's trial as a picture (input, result, difference, mask) and as a script; return
    their paths.
    """
    folder.mkdir(parents=True, exist_ok=True)
    image, script = folder / f"{fault.invariant}.png", folder / f"{fault.invariant}.py"
    Image.fromarray(sheet(fault)).save(image)
    script.write_text(fault.trial.code(fault.invariant, folder) + "\n", encoding="utf-8")
    return image, script


def sheet(fault: Fault) -> NDArray[np.uint8]:
    """Input, and where there are any result, difference (stretched) and mask; of a volume the slice
    that shows most.
    """
    trial = fault.trial
    result = None if fault.invariant == "runs" else trial.result
    low, high = (v * 0.5 for v in trial.limits)
    panels = [(_flat(trial.image, trial) - low) / (high - low if high > low else 1)]
    shown = None
    if result is not None and np.shape(result.image) == trial.image.shape:
        after = _flat(np.asarray(result.image), trial)
        change = np.abs(np.nan_to_num(after) - _flat(trial.image, trial))
        panels += [(after - low) / (high - low if high > low else 1), change / (change.max() or 1)]
        shown = change
    if result is not None and np.shape(result.mask) == trial.spatial_shape:
        panels.append(np.asarray(result.mask, float))
        shown = panels[-1] if shown is None or not shown.any() else shown
    if trial.image.ndim - (trial.channel_axis is not None) == 3:
        most = 0 if shown is None else int(np.argmax(shown.sum(axis=(1, 2))))
        panels = [p[most] for p in panels]
    size = max(1, -(-_PANEL // max(panels[0].shape)))
    grey = [np.kron(np.clip(np.nan_to_num(p), 0, 1) * 255, np.ones((size, size))) for p in panels]
    gap = np.full((grey[0].shape[0], _GAP), 128.0)
    return np.hstack([part for panel in grey for part in (gap, panel)][1:]).astype(np.uint8)


def _flat(array: NDArray[Any], trial: Trial) -> NDArray[np.float64]:
    """Half the values, as a difference of two need not be representable; the mean over channels."""
    half: NDArray[np.float64] = array * np.float64(0.5)
    return half if trial.channel_axis is None else half.mean(axis=trial.channel_axis)
