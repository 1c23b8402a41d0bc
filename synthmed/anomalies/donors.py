"""Of which image foreign tissue is taken: one of the call's donors, or the image itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthmed.digests import digest_array
from synthmed.generator import Parameters
from synthmed.scene import Scene


def draw_donor(rng: np.random.Generator, scene: Scene) -> tuple[Parameters | None, NDArray[Any]]:
    """Draw a donor.

    Returns
    -------
    drawn : dict or None
        Its index and digest; None for the image itself, where the call has no donors.
    donor : ndarray, shape (*spatial, channels)
        In its own dtype.
    """
    if scene.donors is None:
        return None, scene.image
    index = int(rng.integers(len(scene.donors)))
    donor = scene.donor(index)
    return {"index": index, "digest": digest_array(donor)}, donor


def drawn_donor(drawn: Parameters | None, scene: Scene, name: str) -> NDArray[Any]:
    """The donor that was drawn, channels last.

    Raises
    ------
    ValueError
        If it is missing, or is another image than the one that was drawn; `name` is who took the
        patch.
    """
    if drawn is None:
        return scene.image
    index = drawn["index"]
    if scene.donors is None:
        raise ValueError(f"{name} took its patch from donors[{index}], but no donors were given")
    if index >= len(scene.donors):
        raise ValueError(
            f"{name} took its patch from donors[{index}], but only {len(scene.donors)} were given"
        )
    donor = scene.donor(index)
    if digest_array(donor) != drawn["digest"]:
        raise ValueError(
            f"donors[{index}] is not the image from which {name} took its patch: its digest differs"
        )
    return donor
