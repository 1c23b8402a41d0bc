"""MediCLIP fitted as most tests want it: quietly, in this process."""

from __future__ import annotations

from synthmed_clip import MediCLIP, fit

_OF_THE_FIT = ("callback", "checkpoint", "start", "validation")


def fit_mediclip(images, backbone, *, rng=0, workers=0, **options):
    """Fit with hyperparameters and options of the fit mixed, as a test names them."""
    of_the_fit = {name: options.pop(name) for name in _OF_THE_FIT if name in options}
    method = MediCLIP(**options)
    running = {"rng": rng, "workers": workers, "progress": False}
    return fit(images, method, backbone=backbone, **running, **of_the_fit)
