"""From a record and an image, the pair again."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from synthmed.generator import from_dict, image_of, outcome_of
from synthmed.sample import Sample
from synthmed.scene import Scene
from synthmed.version import __version__

_FIELDS = (
    "synthmed",
    "generator",
    "parameters",
    "shape",
    "dtype",
    "value_range",
    "channel_axis",
    "spacing",
)


def replay(
    record: Mapping[str, Any], image: ArrayLike, *, donors: Sequence[ArrayLike] | None = None
) -> Sample:
    """Make the pair of a record again, bit for bit on the same platform and version.

    Parameters
    ----------
    record : mapping
        `Sample.record`, possibly from JSON.
    image : array_like
        The image that the generator was called on.
    donors : sequence of array_like, optional
        The donors that came with the call, if any.

    Returns
    -------
    Sample

    Raises
    ------
    ValueError
        If the record is incomplete or damaged, the image has another shape or dtype than the record
        says, or a donor is missing or is not the one that was used.

    Warns
    -----
    UserWarning
        If the record is of another version of this library.

    Examples
    --------
    >>> import json
    >>> import numpy as np
    >>> from synthmed import preset, replay
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> sample = preset("paper")(scan, rng=7)
    >>> again = replay(json.loads(json.dumps(sample.record)), scan)
    >>> bool((again.image == sample.image).all())
    True
    """
    missing = [f for f in _FIELDS if f not in record]
    if missing:
        raise ValueError(f"record has no {', '.join(map(repr, missing))}")
    array = np.asarray(image)
    try:
        return _replayed(record, array, donors)
    except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError) as error:
        # What a generator makes of numbers that it has not drawn.
        raise ValueError(f"record is damaged: {type(error).__name__}: {error}") from error


def _replayed(
    record: Mapping[str, Any], array: NDArray[Any], donors: Sequence[ArrayLike] | None
) -> Sample:
    if list(array.shape) != list(record["shape"]) or array.dtype != np.dtype(record["dtype"]):
        raise ValueError(
            f"the record is of an image of shape {tuple(record['shape'])} and dtype "
            f"{np.dtype(record['dtype'])}, "
            f"got {array.shape} and {array.dtype}"
        )
    if record["synthmed"] != __version__:
        warnings.warn(
            f"the record is of synthmed {record['synthmed']}, this is {__version__}: results may "
            f"differ",
            stacklevel=3,
        )
    low, high = record["value_range"]
    scene = Scene.of(
        array,
        donors=donors,
        value_range=(low, high) if low < high else None,
        channel_axis=record["channel_axis"],
        spacing=record["spacing"],
        soft=record.get("soft", False),
    )
    outcome = outcome_of(scene, from_dict(record["generator"]).apply(record["parameters"], scene))
    return Sample(image_of(outcome.scene), outcome.label, dict(record))
