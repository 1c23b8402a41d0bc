"""Images brought to a fitted method, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from synthmed import io
from synthmed.io import MaskLevel
from synthmed_clip.backbone.memory import explained_memory
from synthmed_clip.backbone.model import Backbone
from synthmed_clip.backbone.pixels import to_pixels
from synthmed_clip.data.images import ImageLike, name_of, one_of, read_plane, square
from synthmed_clip.data.regions import Region, one_region, read_inside, square_inside
from synthmed_clip.data.slices import Axis, Slices, read_volume
from synthmed_clip.data.values import Values
from synthmed_clip.detector.prediction import Failure
from synthmed_clip.methods.base import Fitted, Scores

OnError = Literal["raise", "yield"]


@dataclass(frozen=True, eq=False)
class Entry:
    """An image at the backbone's size; its shape, and its region of interest at that shape."""

    pixels: NDArray[np.uint8]
    shape: tuple[int, int]
    inside: NDArray[np.bool_] | None


@dataclass(frozen=True, eq=False)
class Batch:
    """What was found in images: scores and maps of their regions of interest, and as if there were
    none; and the images, with what could not be read in its place.
    """

    scored: Scores
    whole: Scores
    entries: list[Entry | Failure]


@dataclass(frozen=True, eq=False)
class Scorer:
    """Reads images and scores them; the next batch is read while the backbone works.

    Attributes
    ----------
    fitted : Fitted
    backbone : Backbone
    grey : bool
        Whether the method scores grey images.
    values : Values
        How stored values are seen.
    batch_size : int
        Images through the backbone at a time.
    """

    fitted: Fitted
    backbone: Backbone
    grey: bool
    values: Values
    batch_size: int

    def __post_init__(self) -> None:
        """Refuse batches of nothing."""
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {self.batch_size}")

    def batches(
        self,
        items: Iterable[ImageLike],
        regions: Iterable[Region] | None = None,
        channel_axis: int | None = None,
        level: MaskLevel = None,
        on_error: OnError = "raise",
    ) -> Iterator[Batch]:
        """Yield what is found in images, in their order; what cannot be read raises, or stands in
        its place.
        """
        size, batch_size = self.backbone.image_size, self.batch_size
        numbered = enumerate(items)

        own_regions = None if regions is None else iter(regions)

        def read_one(item: ImageLike, region: Region | None) -> Entry:
            found = one_of(item, channel_axis)
            pixels, shape = square(found, size, self.values, self.grey)
            inside = None
            if region is not None:
                inside = read_inside(one_region(region), found, read_plane(found), level)
            return Entry(pixels, shape, inside)

        def read() -> list[Entry | Failure]:
            batch: list[Entry | Failure] = []
            for index, item in islice(numbered, batch_size):
                region = None if own_regions is None else next(own_regions, None)
                if own_regions is not None and region is None:
                    raise ValueError(f"roi must be one region an image; it has only {index}")
                try:
                    batch.append(read_one(item, region))
                except (OSError, TypeError, ValueError) as error:
                    if on_error == "raise":
                        raise
                    batch.append(Failure(index, _name(item, channel_axis), str(error)))
            ended = own_regions is not None and len(batch) < batch_size
            if (
                ended
                and not isinstance(own_regions, repeat)
                and any(True for _ in own_regions or ())
            ):
                raise ValueError("roi must be one region an image; it has more than there are")
            return batch

        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(read)
            while entries := ahead.result():
                ahead = reader.submit(read)
                good = [entry for entry in entries if isinstance(entry, Entry)]
                whole = scored = Scores(torch.empty(0), torch.empty(0, size, size))
                if good:
                    with explained_memory(batch_size):
                        pixels = np.stack([entry.pixels for entry in good])
                        whole = scored = self.fitted.score(to_pixels(pixels))
                        insides = [e.inside for e in good if e.inside is not None]
                        if insides:
                            small = np.stack([square_inside(own, size) for own in insides])
                            scored = self.fitted.within(whole, torch.from_numpy(small))
                yield Batch(scored, whole, entries)

    def volume(self, slices: Slices) -> Scores:
        """The score of a volume, and the maps of all its slices, `(D, S, S)`."""
        found = [batch.scored for batch in self.slices(slices)]
        maps = torch.cat([part.maps.cpu() for part in found])
        full = maps
        if slices.inside is not None and maps.numel():
            full = maps.new_full((len(slices), *maps.shape[1:]), float(maps.min()))
            full[slices.numbers] = maps
        highest = torch.cat([part.scores.cpu() for part in found]).max()
        return Scores(highest[None], full, depths=(len(full),))

    def slices(self, slices: Slices) -> Iterator[Batch]:
        """What is found in the slices that are looked at, in their order."""
        numbers = slices.numbers
        items = [slices[number] for number in numbers]
        regions = slices.regions(numbers)
        return self.batches(items, regions)


def volumes_of(
    items: Iterable[Path | io.Image],
    axis: Axis,
    regions: Sequence[Region] | None,
    level: MaskLevel,
) -> Iterator[Slices]:
    """Read volumes with their regions of interest, one at a time."""
    for number, item in enumerate(items):
        yield read_volume(item, axis, None if regions is None else regions[number], level)


def _name(item: ImageLike, channel_axis: int | None) -> str:
    """Name an image in a failure, whatever it is."""
    try:
        return str(item) if isinstance(item, str) else name_of(one_of(item, channel_axis))
    except (OSError, TypeError, ValueError):
        return str(item) if isinstance(item, Path) else f"a {type(item).__name__}"
