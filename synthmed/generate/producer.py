"""One item of a plan: its files' bytes, and its line of the manifest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from synthmed.generate.layouts import GOOD, LAYOUTS
from synthmed.generate.plan import Plan
from synthmed.generate.prepare import Cache, Form
from synthmed.io import Image, encode, suffix_for, write_atomically
from synthmed.sample import NothingToSee, Sample


@dataclass(frozen=True)
class Item:
    """What one index of a plan makes.

    Attributes
    ----------
    line : dict
        For the manifest; with the key ``rejected``, the reason why there is no sample, for the list
        of skipped inputs.
    files : dict of str to bytes
        By path relative to the output folder.

    Examples
    --------
    >>> from synthmed.generate import Producer, Settings, make_plan
    >>> item = Producer(make_plan(["sample:retina"], Settings())).item(0)
    >>> item.line["files"]
    {'image': 'images/000000.png', 'mask': 'masks/000000.png'}
    """

    line: dict[str, Any]
    files: dict[str, bytes]


class Donors(Sequence[NDArray[Any]]):
    """Prepared inputs as donors, all of a group but one, read when they are taken."""

    def __init__(self, cache: Cache, group: Sequence[int], without: int) -> None:
        self._cache, self._group, self._without = cache, group, without

    def __len__(self) -> int:
        return len(self._group) - 1

    @overload
    def __getitem__(self, index: int) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[NDArray[Any]]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        return self._cache[self._group[index + (index >= self._without)]].image.array


class Producer:
    """Makes the items of a plan, each from its index alone.

    In a layout without originals the samples, `per_image` for each input. In one with them, first
    the originals of all inputs, then the samples of the test inputs.

    Parameters
    ----------
    plan : Plan

    Examples
    --------
    >>> from synthmed.generate import Producer, Settings, make_plan
    >>> producer = Producer(make_plan(["sample:retina"], Settings(per_image=2)))
    >>> len(producer)
    28
    >>> item = producer.item(3)
    >>> item.line["source"], sorted(item.files)
    ('retina-01', ['images/000003.png', 'masks/000003.png'])
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.cache = Cache(plan.inputs, plan.settings)
        self._layout = LAYOUTS[plan.settings.layout]
        self._train = set(plan.train_inputs())
        self._sampled = [k for k in range(len(plan.inputs)) if k not in self._train]
        self._originals = len(plan.inputs) if self._layout.has_originals else 0
        self._alike: dict[Form | None, list[int]] = {}
        self._position: dict[int, int] = {}
        for k in self._sampled:
            group = self._alike.setdefault(plan.examined[k].form, [])
            self._position[k] = len(group)
            group.append(k)

    def __len__(self) -> int:
        return self._originals + len(self._sampled) * self.plan.settings.per_image

    def source_of(self, index: int) -> int:
        """The input of an item."""
        if index < self._originals:
            return index
        return self._sampled[(index - self._originals) // self.plan.settings.per_image]

    def item(self, index: int) -> Item:
        """Make an item; where that fails its line says why, whatever the fault is."""
        line = {"index": index, "source": self.plan.inputs[self.source_of(index)].name}
        try:
            item = self._make(index, line)
            json.dumps(item.line)  # what a generator of one's own drew must be JSON
            return item
        except NothingToSee as error:
            return Item(line | {"rejected": str(error)}, {})
        except Exception as error:
            reason = f"sample {index}: {type(error).__name__}: {error}"
            return Item(line | {"rejected": reason}, {})

    def _make(self, index: int, line: dict[str, Any]) -> Item:
        k = self.source_of(index)
        if index < self._originals:
            path, data = _file(self._layout.original(index, k in self._train), self.cache[k].image)
            return Item(line | {"kind": GOOD, "files": {"image": path}}, {path: data})
        sample = self.sample(index)
        kind = kind_of(sample.record)
        image = replace(self.cache[k].image, array=sample.image)
        path, data = _file(self._layout.image(index, kind), image)
        names, files = {"image": path}, {path: data}
        mask_stem = self._layout.mask(index, kind)
        if mask_stem is not None:
            path, data = _file(mask_stem, label_image(sample.mask, image))
            names["mask"], files[path] = path, data
        return Item(line | {"kind": kind, "files": names, "record": sample.record}, files)

    def sample(self, index: int) -> Sample:
        """Draw the sample of an index; it depends on the plan and the index alone."""
        prepared = self.cache[self.source_of(index)]
        rng = np.random.default_rng(
            np.random.SeedSequence(self.plan.settings.seed, spawn_key=(index,))
        )
        return self.plan.settings.recipe(
            prepared.image.array,
            rng=rng,
            roi=prepared.roi,
            donors=self.donors(index),
            value_range=prepared.image.value_range,
            channel_axis=prepared.image.channel_axis,
            spacing=prepared.image.spacing,
            soft=self.plan.settings.soft,
        )

    def donors(self, index: int) -> Donors | None:
        """The other inputs on the same side of the split that are alike in axes, channels and
        dtype, if any.
        """
        k = self.source_of(index)
        group = self._alike[self.plan.examined[k].form]
        return Donors(self.cache, group, self._position[k]) if len(group) > 1 else None


def _file(stem: str, image: Image) -> tuple[str, bytes]:
    """The path and the bytes of the file that holds an image."""
    suffix = ".nii.gz" if has_place(image) else suffix_for(image)
    return f"{stem}{suffix}", encode(image, suffix)


def has_place(image: Image) -> bool:
    """Whether an image is a volume that has its place in the patient, which NIfTI keeps."""
    return image.affine is not None and len(image.spatial_shape) == 3


def label_image(mask: NDArray[Any], image: Image) -> Image:
    """A label as its file holds it: a soft one as it is, a bool mask as 0 and 255; in NIfTI as 0
    and 1, as label maps have it.
    """
    inside = np.uint8(1 if has_place(image) else 255)
    array = mask.astype(np.uint8) * inside if mask.dtype == bool else mask
    return Image(array, spacing=image.spacing, affine=image.affine)


def kind_of(record: dict[str, Any]) -> str:
    """The names of the anomalies in a sample, each once, joined by ``+``; ``good`` if there is
    none.
    """
    return "+".join(sorted(set(record["anomalies"]))) or GOOD


def write_items(producer: Producer, out: Path, indices: Iterable[int]) -> list[str]:
    """Write the files of some items into a folder, and return their lines of the manifest.

    Parameters
    ----------
    producer : Producer
    out : Path
    indices : iterable of int

    Returns
    -------
    list of str
        One JSON object each, with the line's end.

    Raises
    ------
    OSError
        If a file cannot be written; what is there is whole.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from synthmed.generate import Producer, Settings, make_plan, write_items
    >>> producer = Producer(make_plan(["sample:retina"], Settings()))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     lines = write_items(producer, Path(folder), range(2))
    ...     sorted(p.name for p in (Path(folder) / "images").iterdir())
    ['000000.png', '000001.png']
    >>> len(lines)
    2
    """
    lines = []
    for item in map(producer.item, indices):
        for name, data in item.files.items():
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, data)
        lines.append(json.dumps(item.line, separators=(",", ":")) + "\n")
    return lines
