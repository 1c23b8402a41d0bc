"""Synthetic anomalies as a transform of TorchIO."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchio import Image, LabelMap, ScalarImage, Subject
from torchio.transforms import IntensityTransform
from torchio.transforms.augmentation import RandomTransform

from synthmed.generator import Generator
from synthmed.replay import replay
from synthmed.sample import Sample

__all__ = ["Anomaly", "AnomalyReplay"]


class Anomaly(RandomTransform, IntensityTransform):
    """Draw an anomaly on one image of a subject, and add its mask as a label map.

    Voxel sizes are those of the image, whose affine the label map has. An image of one slice,
    shape (C, W, H, 1), is taken as a plane.

    Parameters
    ----------
    generator : Generator
    image : str
        Name of the image in the subject, a `torchio.ScalarImage`.
    label : str
        Name of the label map to add. It must be new: none that is there is replaced.
    p : float
        Within [0, 1]. Otherwise the image stays as it is and the label map is empty, so that
        subjects collate.
    value_range : (low, high), optional
        As a generator takes it: by default (0, 255) for uint8, the image's own minimum and maximum
        for other dtypes.
    roi : str, optional
        Name of a label map, of one channel, that says where an anomaly may be placed: inside what
        is not 0.
    soft : bool
        A label map of float32 that says how much changed; by default it is uint8, 0 and 1.
    copy : bool
        Whether the subject given is left as it is.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    Randomness is torch's global state, as in all of TorchIO: `torch.manual_seed` determines it. The
    subject's history gets an `AnomalyReplay`, so that ``subject.get_composed_history()`` makes the
    same pair again.

    Examples
    --------
    >>> import torch, torchio
    >>> from synthmed import Lesion
    >>> from synthmed.integrations.torchio import Anomaly
    >>> _ = torch.manual_seed(7)
    >>> subject = torchio.Subject(t1=torchio.ScalarImage(tensor=torch.rand(1, 24, 24, 12)))
    >>> result = Anomaly(Lesion(), image="t1", label="anomaly")(subject)
    >>> result.anomaly.shape, result.anomaly.count_nonzero() > 0
    ((1, 24, 24, 12), True)
    >>> again = result.get_composed_history()(subject)
    >>> torch.equal(again.t1.data, result.t1.data)
    True
    """

    def __init__(
        self,
        generator: Generator,
        image: str,
        label: str = "anomaly",
        p: float = 1.0,
        *,
        value_range: tuple[float, float] | None = None,
        roi: str | None = None,
        soft: bool = False,
        copy: bool = True,
    ) -> None:
        # The base would leave out the label map, too, where the transform is not applied.
        super().__init__(p=1, copy=copy)
        if not isinstance(generator, Generator):
            raise TypeError(f"generator must be a Generator, got {type(generator).__name__}")
        self.generator, self.image, self.label = generator, image, label
        self.p, self.value_range, self.roi, self.soft = (
            self.parse_probability(p),
            value_range,
            roi,
            soft,
        )
        self.args_names = ["generator", "image", "label", "p", "value_range", "roi", "soft"]

    def apply_transform(self, subject: Subject) -> Subject:
        """The subject with anomaly, label map and history.

        Raises
        ------
        KeyError, ValueError
            If the image or the region is missing, or the label is there.
        NothingToSee
            If the image cannot carry a visible anomaly.
        """
        scan = _image_of(subject, self.image, self.label)
        is_drawn, seeds = torch.rand(1).item() < self.p, torch.randint(2**32, (4,)).tolist()
        sample = self._draw(subject, scan, seeds) if is_drawn else None
        _add(subject, scan, sample, self.label, self.soft)
        record = None if sample is None else sample.record
        again = AnomalyReplay(record, self.image, self.label, self.soft)
        subject.add_transform(again, {name: getattr(again, name) for name in again.args_names})
        return subject

    def _draw(self, subject: Subject, scan: Image, seeds: list[int]) -> Sample:
        roi = None
        if self.roi is not None:
            region = subject[self.roi]
            if region.shape != (1, *scan.spatial_shape):
                raise ValueError(
                    f"roi {self.roi!r} must be of shape {(1, *scan.spatial_shape)}, got "
                    f"{region.shape}"
                )
            roi = _array_of(region)[0] != 0
        array = _array_of(scan)
        return self.generator(
            array,
            rng=seeds,
            roi=roi,
            value_range=self.value_range,
            channel_axis=0,
            spacing=scan.spacing[: array.ndim - 1],
            soft=self.soft,
        )


class AnomalyReplay(IntensityTransform):
    """Make a pair of `Anomaly` again, from its record.

    Parameters
    ----------
    record : dict or None
        `Sample.record`; None leaves the image as it is and adds an empty label map.
    image, label, soft
        As in `Anomaly`.
    **base : Any
        As all of TorchIO's transforms take it.

    Examples
    --------
    >>> import torch, torchio
    >>> from synthmed.integrations.torchio import AnomalyReplay
    >>> subject = torchio.Subject(t1=torchio.ScalarImage(tensor=torch.rand(1, 24, 24, 12)))
    >>> AnomalyReplay(None, "t1")(subject).anomaly.count_nonzero()
    0
    """

    def __init__(
        self,
        record: dict[str, Any] | None,
        image: str,
        label: str = "anomaly",
        soft: bool = False,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self.record, self.image, self.label, self.soft = record, image, label, soft
        self.args_names = ["record", "image", "label", "soft"]

    def apply_transform(self, subject: Subject) -> Subject:
        """The subject with anomaly and label map.

        Raises
        ------
        KeyError, ValueError
            If the image is missing or not as the record says, or the label is there.
        """
        scan = _image_of(subject, self.image, self.label)
        sample = None if self.record is None else replay(self.record, _array_of(scan))
        _add(subject, scan, sample, self.label, self.soft)
        return subject


def _image_of(subject: Subject, name: str, label: str) -> Image:
    if name not in subject:
        raise KeyError(f"image {name!r} is not in the subject, which has {', '.join(subject)}")
    scan = subject[name]
    if not isinstance(scan, ScalarImage):
        raise TypeError(f"image {name!r} must be a ScalarImage, got {type(scan).__name__}")
    if label in subject:
        raise ValueError(f"label must be new, {label!r} is in the subject")
    return scan


def _array_of(image: Image) -> NDArray[Any]:
    """The voxels, shape (C, W, H, D); without the last axis where there is but one slice."""
    array = image.data.numpy()
    return array[..., 0] if image.is_2d() else array


def _add(subject: Subject, scan: Image, sample: Sample | None, label: str, soft: bool) -> None:
    mask = torch.zeros((1, *scan.spatial_shape), dtype=torch.float32 if soft else torch.uint8)
    if sample is not None:
        mask[:] = torch.from_numpy(sample.mask).reshape(mask.shape)
        changed = torch.from_numpy(np.ascontiguousarray(sample.image))
        scan.set_data(changed.reshape(scan.shape))
    subject.add_image(LabelMap(tensor=mask, affine=scan.affine), label)
