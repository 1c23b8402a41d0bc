"""Hypothesis strategies for images, masks, seeds, generators and whole calls.

What they draw shrinks to a call of `phantom` or `phantom_mask`, to a generator's constructor or to
a small int: to something a person can read.
"""

from synthmed.testing.strategies.arrays import DTYPES, images, masks, rois, shapes
from synthmed.testing.strategies.calls import rngs, trials
from synthmed.testing.strategies.generators import anomalies, mask_generators, recipes

__all__ = [
    "DTYPES",
    "anomalies",
    "images",
    "mask_generators",
    "masks",
    "recipes",
    "rngs",
    "rois",
    "shapes",
    "trials",
]
