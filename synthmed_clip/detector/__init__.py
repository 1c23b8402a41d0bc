"""A fitted method on its backbone with its decision rule, what it says, and its file."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "detector": ["Detector"],
        "prediction": ["Failure", "Prediction"],
        "provenance": ["Provenance"],
        "saved": ["NormalSource"],
    },
)
