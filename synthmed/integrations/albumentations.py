"""Synthetic anomalies as a transform of albumentations, and of its successor AlbumentationsX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from albumentations.core.transforms_interface import DualTransform
from albumentations.core.type_definitions import Targets
from numpy.typing import NDArray

from synthmed.generator import Generator, from_dict
from synthmed.replay import replay

__all__ = ["Anomaly"]

_SAMPLES = hasattr(DualTransform, "sample_parameters")  # AlbumentationsX asks for them there


class Anomaly(DualTransform):
    """Draw an anomaly on an image, and set its mask to 1 there.

    A pipeline with it is called as ``pipeline(image=image, mask=mask)``, the mask 0 everywhere: the
    images are normal. Other targets (`masks`, `bboxes`, `keypoints`) stay as they are, since
    nothing moves.

    Parameters
    ----------
    generator : Generator, or dict
        The dict as `Generator.to_dict` gives it, which is how a saved pipeline has it.
    value_range : (low, high), optional
        As a generator takes it: by default (0, 255) for uint8, the image's own minimum and maximum
        for floats.
    p : float
        Within [0, 1].

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described. In a call: if image or mask is missing, or the mask is
        not 0 everywhere. `NothingToSee` if the image cannot carry a visible anomaly.

    Notes
    -----
    Randomness is the pipeline's (``Compose([...], seed=7)``). The pipeline can be saved with
    ``albumentations.save``; to load it, import this module first. `ReplayCompose` makes the same
    pair again on the same image, and refuses one on which the anomaly would have another mask.

    Examples
    --------
    >>> import albumentations
    >>> import numpy as np
    >>> from synthmed import Lesion
    >>> from synthmed.integrations.albumentations import Anomaly
    >>> scan = np.random.default_rng(0).integers(0, 256, (64, 64, 1), dtype=np.uint8)
    >>> pipeline = albumentations.Compose([Anomaly(Lesion(), p=1.0)], seed=7)
    >>> result = pipeline(image=scan, mask=np.zeros((64, 64), np.uint8))
    >>> bool((result["image"] != scan)[result["mask"] == 1].any())
    True
    >>> bool((result["image"] == scan)[result["mask"] == 0].all())
    True
    """

    _targets = (Targets.IMAGE, Targets.MASK, Targets.BBOXES, Targets.KEYPOINTS)

    def __init__(
        self,
        generator: Generator | Mapping[str, Any],
        value_range: tuple[float, float] | None = None,
        p: float = 0.5,
    ) -> None:
        if not 0 <= p <= 1:  # their check is skipped for classes without a schema of pydantic's
            raise ValueError(f"p must be within [0, 1], got {p}")
        super().__init__(p=p)
        if isinstance(generator, Mapping):
            generator = from_dict(generator)
        if not isinstance(generator, Generator):
            raise TypeError(f"generator must be a Generator, got {type(generator).__name__}")
        self.generator = generator
        self.value_range: tuple[float, float] | None = None
        if value_range is not None:
            low, high = value_range
            self.value_range = (low, high)

    def get_transform_init_args(self) -> dict[str, Any]:
        """The arguments as JSON data."""
        value_range = None if self.value_range is None else list(self.value_range)
        return {"generator": self.generator.to_dict(), "value_range": value_range, "p": self.p}

    @property
    def targets(self) -> dict[str, Callable[..., Any]]:
        """What each target goes through."""
        kept = dict.fromkeys(("masks", "bboxes", "keypoints"), _kept)
        return {"image": self.apply, "mask": self.apply_to_mask, **kept}

    @property
    def targets_as_params(self) -> list[str]:
        """What must be there."""
        return ["image", "mask"]

    if _SAMPLES:

        def sample_parameters(
            self, params: dict[str, Any], data: dict[str, Any], targets: Any, sampling: Any
        ) -> Any:
            """The record of an anomaly, and its mask."""
            from albumentations.core.transforms_interface import SampledParams

            return SampledParams(params=self._drawn(data, sampling.random_generator))

    else:

        def get_params_dependent_on_data(
            self, params: dict[str, Any], data: dict[str, Any]
        ) -> dict[str, Any]:
            """The record of an anomaly, and its mask."""
            return self._drawn(data, self.random_generator)

    def _drawn(self, data: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        if "image" not in data:
            raise ValueError(f"Anomaly needs the target image, got {', '.join(data)}")
        if np.any(data["mask"]):
            raise ValueError(
                "mask must be 0 everywhere: where images have labels already, give them as masks"
            )
        image = np.asarray(data["image"])
        sample = self.generator(
            image,
            rng=rng,
            value_range=self.value_range,
            channel_axis=-1 if image.ndim == 3 else None,
        )
        return {"record": sample.record, "anomaly": sample.mask}

    def apply(
        self,
        img: NDArray[Any],
        record: Mapping[str, Any],
        anomaly: NDArray[np.bool_],
        **params: Any,
    ) -> NDArray[Any]:
        """The image with the anomaly.

        Raises
        ------
        ValueError
            If it is not the image that the anomaly was drawn on, and the mask would be another.
        """
        image, mask = replay(record, img)
        if not np.array_equal(mask, anomaly):
            raise ValueError("image must be the one that was recorded: on this, the mask differs")
        return np.ascontiguousarray(image)

    def apply_to_mask(
        self, mask: NDArray[Any], anomaly: NDArray[np.bool_], **params: Any
    ) -> NDArray[Any]:
        """The mask, 1 in the anomaly; shape (H, W) or (H, W, C)."""
        return np.where(anomaly[(..., *[None] * (mask.ndim - 2))], mask.dtype.type(1), mask)


def _kept(target: Any, **params: Any) -> Any:
    return target
