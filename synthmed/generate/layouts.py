"""Which file of a dataset goes where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from synthmed.generate.settings import LayoutName

GOOD = "good"
"""The kind of an image without an anomaly."""


@dataclass(frozen=True)
class Layout:
    """Where the files of a dataset lie: their paths from its folder on, without suffix.

    Attributes
    ----------
    has_originals : bool
        Whether inputs are split into those for training and those for test, and each is written as
        it is; samples are made of the inputs for test alone.
    original : callable
        From an item's index and whether it is for training, the path of an original.
    image : callable
        From an item's index and its kind, the path of a sample's image.
    mask : callable
        From the same, the path of its mask; None where the layout has none.
    """

    has_originals: bool
    original: Callable[[int, bool], str]
    image: Callable[[int, str], str]
    mask: Callable[[int, str], str | None]


LAYOUTS: dict[LayoutName, Layout] = {
    "pairs": Layout(
        has_originals=False,
        original=lambda index, train: f"images/{index:06d}",
        image=lambda index, kind: f"images/{index:06d}",
        mask=lambda index, kind: f"masks/{index:06d}",
    ),
    "mvtec": Layout(
        has_originals=True,
        original=lambda index, train: f"{'train' if train else 'test'}/{GOOD}/{index:06d}",
        image=lambda index, kind: f"test/{kind}/{index:06d}",
        mask=lambda index, kind: None if kind == GOOD else f"ground_truth/{kind}/{index:06d}_mask",
    ),
}
