"""What a generator returns, and what it raises when there is nothing to return."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


class NothingToSee(ValueError):
    """The image cannot carry a visible anomaly of this generator.

    It is constant, too small, has no room in the region of interest, or stayed visibly unchanged in
    every draw. Checks and dataset runs treat it as a rejected input, not as a fault.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import CutPaste, NothingToSee
    >>> try:
    ...     sample = CutPaste()(np.zeros((64, 64)), rng=7)
    ... except NothingToSee as error:
    ...     print(error)
    CutPaste has nothing to show on a constant image
    """


@dataclass(frozen=True, eq=False)
class Sample:
    """An image with its anomaly, the anomaly's mask, and the record of how they came to be.

    Unpacks as the pair: ``image, mask = generator(image, rng=7)``.

    Attributes
    ----------
    image : ndarray
        Shape and dtype of the input.
    mask : ndarray of bool, or of float32 with ``soft=True``
        The spatial shape; True, or above 0, where the anomaly is. Outside it the image equals the
        input to the bit.
    record : dict
        Plain JSON data from which `synthmed.replay` makes the pair again: ``synthmed`` (the
        version), ``generator``, ``parameters`` (all that was drawn), ``anomalies`` (names, in the
        order applied; Identity is not one), ``shape``, ``dtype``, ``value_range``,
        ``channel_axis``, ``spacing``, and ``soft`` where the label is.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import Source
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> sample = Source()(scan, rng=7)
    >>> image, mask = sample
    >>> image is sample.image, sample.record["shape"]
    (True, [64, 64])
    """

    image: NDArray[Any]
    mask: NDArray[np.bool_] | NDArray[np.float32]
    record: dict[str, Any]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """The pair: image, mask."""
        return iter((self.image, self.mask))
