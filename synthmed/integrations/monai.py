"""Synthetic anomalies as a dictionary transform of MONAI."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform, RandomizableTransform
from monai.utils import convert_to_dst_type, convert_to_numpy, ensure_tuple

from synthmed.generator import Generator
from synthmed.sample import Sample

__all__ = ["RandAnomalyd"]


class RandAnomalyd(RandomizableTransform, MapTransform, InvertibleTransform):
    """Draw an anomaly on images of a dictionary, and put its mask beside each.

    Voxel sizes are those of a MetaTensor's affine. The mask has the image's affine and applied
    operations, so that what inverts the image inverts it, too. Each image gets an anomaly of its
    own; contrasts that share one are channels of one image (`ConcatItemsd`).

    Parameters
    ----------
    keys : str or sequence of str
        Of the images: arrays, tensors or MetaTensors of shape (C, H, W) or (C, D, H, W), the axes
        in any order after the channels.
    generator : Generator
    mask_key : str or sequence of str
        One for each key. It must be new: no label that is there is replaced.
    prob : float
        Within [0, 1]. Otherwise the image stays as it is and its mask is empty, so that items
        collate.
    value_range : (low, high), optional
        As a generator takes it: by default (0, 255) for uint8, the image's own minimum and maximum
        for other dtypes.
    roi_key : str, optional
        Of a region (1, H, W) or (1, D, H, W) where an anomaly may be placed: inside what is not 0.
    soft : bool
        Masks of float32 that say how much changed.
    allow_missing_keys : bool

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    Randomness is the transform's own `R`, which `set_random_state` sets, as `Compose` and MONAI's
    loaders do for every worker. The inverse changes nothing: it takes the transform off the stack.
    While it is there, `applied_operations[-1]["extra_info"]["record"]` is the record as JSON, with
    which `synthmed.replay` makes the channel-first array again ("" where nothing was drawn).

    Examples
    --------
    >>> import torch
    >>> from monai.data import MetaTensor
    >>> from synthmed import Lesion
    >>> from synthmed.integrations.monai import RandAnomalyd
    >>> voxels = torch.rand(1, 24, 24, 12, generator=torch.Generator().manual_seed(0))
    >>> scan = MetaTensor(voxels, affine=torch.diag(torch.tensor([1.0, 1.0, 3.0, 1.0])))
    >>> transform = RandAnomalyd("image", Lesion(), mask_key="mask", prob=1.0)
    >>> item = transform.set_random_state(7)({"image": scan})
    >>> item["mask"].shape, item["mask"].dtype, item["mask"].pixdim.tolist()
    (torch.Size([1, 24, 24, 12]), torch.bool, [1.0, 1.0, 3.0])
    """

    def __init__(
        self,
        keys: KeysCollection,
        generator: Generator,
        mask_key: KeysCollection,
        prob: float = 0.1,
        *,
        value_range: tuple[float, float] | None = None,
        roi_key: Hashable | None = None,
        soft: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        if not isinstance(generator, Generator):
            raise TypeError(f"generator must be a Generator, got {type(generator).__name__}")
        if not 0 <= prob <= 1:  # MONAI would clip it
            raise ValueError(f"prob must be within [0, 1], got {prob}")
        RandomizableTransform.__init__(self, prob)
        self.generator = generator
        self.mask_keys = ensure_tuple(mask_key)
        names = (*self.keys, *self.mask_keys)
        if len(self.mask_keys) != len(self.keys) or len(set(names)) != len(names):
            raise ValueError(
                f"mask_key must be one new key for each of {self.keys!r}, got {mask_key!r}"
            )
        self.value_range, self.roi_key, self.soft = value_range, roi_key, soft
        self._seeds: list[list[int]] = []

    def randomize(self, data: Any = None) -> None:
        """Draw whether the transform does anything, and a seed for each image."""
        super().randomize(None)
        seeds = self.R.randint(2**32, size=(len(self.keys), 4), dtype=np.uint32)
        self._seeds = seeds.tolist()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with anomalies and masks; what was given is not written to.

        Raises
        ------
        KeyError
            If a key is missing, unless that is allowed.
        NothingToSee
            If an image cannot carry a visible anomaly.
        ValueError
            If `mask_key` is there, or an image has another number of axes than 3 or 4.
        """
        item = dict(data)
        self.randomize()
        for key, mask_key, seeds in self.key_iterator(item, self.mask_keys, self._seeds):
            if mask_key in item:
                raise ValueError(f"mask_key must be new, {mask_key!r} is in the data")
            image = item[key]
            array = convert_to_numpy(image)
            if array.ndim not in (3, 4):
                raise ValueError(
                    f"{key!r} must be of shape (C, H, W) or (C, D, H, W), got {array.shape}"
                )
            record, mask = "", np.zeros(array.shape[1:], np.float32 if self.soft else bool)
            if self._do_transform:
                sample = self._draw(image, array, seeds, item)
                record, mask = json.dumps(sample.record), sample.mask
                image = convert_to_dst_type(np.ascontiguousarray(sample.image), image)[0]
            elif isinstance(image, MetaTensor):
                image = image.clone()  # its stack of operations grows, the one given must not
            if isinstance(image, MetaTensor):
                self.push_transform(image, extra_info={"record": record})
            item[key] = image
            item[mask_key] = convert_to_dst_type(mask[None], image, dtype=mask.dtype)[0]
        return item

    def _draw(
        self, image: Any, array: np.ndarray, seeds: list[int], item: Mapping[Hashable, Any]
    ) -> Sample:
        roi = None
        if self.roi_key is not None:
            roi = convert_to_numpy(item[self.roi_key])
            if roi.shape != (1, *array.shape[1:]):
                raise ValueError(
                    f"{self.roi_key!r} must be of shape {(1, *array.shape[1:])}, got {roi.shape}"
                )
            roi = roi[0] != 0
        return self.generator(
            array,
            rng=seeds,
            roi=roi,
            value_range=self.value_range,
            channel_axis=0,
            spacing=image.pixdim.tolist() if isinstance(image, MetaTensor) else None,
            soft=self.soft,
        )

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary as it is, with this transform off the stacks of applied operations."""
        item = dict(data)
        for key, mask_key in self.key_iterator(item, self.mask_keys):
            for name in (key, mask_key):
                if isinstance(item.get(name), MetaTensor):
                    item[name] = item[name].clone()
                    self.pop_transform(item[name])
        return item
