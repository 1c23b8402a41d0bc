"""What a detector says of images."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Prediction:
    """What a detector says of one image.

    Attributes
    ----------
    score : float
        The higher, the more abnormal; of which scale, the method says.
    anomaly_map : ndarray or None
        `(H, W)` float32, the image's own size: how abnormal every pixel is; None where the method
        has no maps on its backbone.
    is_anomalous : bool
        Whether the score is above the detector's threshold; or, where an alpha was given, whether
        the p-value is at most that.
    p_value : float or None
        How rarely a normal image would score as high, by k normal images that what judges them
        has not seen: at least 1 / (k + 1). None where there are none; see `Detector`.
    p_value_is_heuristic : bool
        False where the p-value keeps its level: a normal image that is exchangeable with those k
        has one of at most alpha with a probability of at most alpha. True where nothing shows
        that; see `Detector`.

    Examples
    --------
    `scans` are a few arrays of normal images, `backbone` is a loaded one.

    >>> from synthmed_clip import NearestPatch, fit
    >>> prediction = fit(scans, NearestPatch(), backbone=backbone).predict(scans[0])
    >>> prediction.is_anomalous, prediction.anomaly_map.shape
    (False, (40, 48))
    >>> prediction.p_value
    1.0
    """

    score: float
    anomaly_map: NDArray[np.float32] | None = field(repr=False)
    is_anomalous: bool
    p_value: float | None = None
    p_value_is_heuristic: bool = False

    @property
    def peak(self) -> tuple[int, ...] | None:
        """Where the map is largest: column and row (x, y), from 0, in pixels of the image as it is
        stored; of a volume, its array indices.
        """
        if self.anomaly_map is None:
            return None
        at = np.unravel_index(int(self.anomaly_map.argmax()), self.anomaly_map.shape)
        return tuple(map(int, at if len(at) > 2 else at[::-1]))


@dataclass(frozen=True)
class Failure:
    """An image that could not be read, in its place among predictions.

    Attributes
    ----------
    index : int
        Which one of the images, counted from 0.
    image : str
        Its path, or what an array is like.
    reason : str
        What is wrong with it.

    Examples
    --------
    `scans` are a few arrays of normal images, `backbone` is a loaded one.

    >>> from synthmed_clip import NearestPatch, fit
    >>> detector = fit(scans, NearestPatch(), backbone=backbone)
    >>> list(detector.predict_stream(["nothing.png"], on_error="yield"))
    [Failure(index=0, image='nothing.png', reason='no image or folder at nothing.png')]
    """

    index: int
    image: str
    reason: str
