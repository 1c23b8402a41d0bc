"""Masks laid over each other: their union, their intersection."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthmed.generator import Generator, Parameters, region_of
from synthmed.masks.base import Mask, Shape
from synthmed.scene import Scene


@dataclass(frozen=True, repr=False, init=False)
class _Overlay(Mask):
    masks: tuple[Generator, ...] = ()
    roi_overlap: float = 0.5

    def __init__(self, *masks: Generator, roi_overlap: float = 0.5) -> None:
        if len(masks) < 2 or not all(isinstance(m, Generator) and m.is_mask for m in masks):
            raise TypeError(f"{type(self).__name__} takes two or more masks, got {masks!r}")
        object.__setattr__(self, "masks", masks)
        object.__setattr__(self, "roi_overlap", roi_overlap)
        super().__post_init__()

    @classmethod
    def _from_fields(cls, fields: dict[str, Any]) -> Generator:
        return cls(*fields.pop("masks", ()), **fields)

    def _repr_arguments(self) -> list[str]:
        overlap = [f"roi_overlap={self.roi_overlap!r}"] if self.roi_overlap != 0.5 else []
        return [repr(m) for m in self.masks] + overlap

    def draw(self, rng: np.random.Generator, scene: Scene) -> Parameters:
        """Draw a shape of each mask, each again until its mask accepts it; their own places play no
        part.
        """
        anywhere = replace(scene, roi=None)
        return {"masks": [mask.run(rng, anywhere)[0] for mask in self.masks]}

    def _middles(self, parameters: Parameters, scene: Scene) -> NDArray[np.bool_]:
        """The shapes on one box, middle over middle, along a new first axis."""
        drawn = [
            region_of(m.apply(p, scene)).inside
            for m, p in zip(self.masks, parameters["masks"], strict=True)
        ]
        sides = np.max([s.shape for s in drawn], axis=0)
        layers = np.zeros((len(drawn), *sides), bool)
        for layer, inside in zip(layers, drawn, strict=True):
            first = [(n - k) // 2 for n, k in zip(sides, inside.shape, strict=True)]
            layer[tuple(slice(a, a + k) for a, k in zip(first, inside.shape, strict=True))] = inside
        return layers


@dataclass(frozen=True, repr=False, init=False)
class UnionMask(_Overlay):
    """The union of random shapes that share their middle: a spiculated outline from an ellipse and
    Perlin noise, say.

    For lesions at several places use `Repeat`.

    Parameters
    ----------
    *masks : Mask
        Two or more.
    roi_overlap : float
        Least share of the union that lies in the region of interest.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import EllipseMask, PerlinMask, UnionMask
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> mask = UnionMask(EllipseMask(), PerlinMask())(scan, rng=7).mask
    >>> mask.shape, mask.dtype, bool(mask.any())
    ((64, 64), dtype('bool'), True)
    """

    def render(self, parameters: Parameters, scene: Scene) -> Shape:
        """Lay the shapes over each other."""
        return Shape(np.any(self._middles(parameters, scene), axis=0))


@dataclass(frozen=True, repr=False, init=False)
class IntersectionMask(_Overlay):
    """The intersection of random shapes that share their middle; drawn again where it is empty.

    Parameters
    ----------
    *masks : Mask
        Two or more.
    roi_overlap : float
        Least share of the intersection that lies in the region of interest.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed import EllipseMask, IntersectionMask, PerlinMask
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> mask = IntersectionMask(EllipseMask(), PerlinMask())(scan, rng=7).mask
    >>> mask.shape, mask.dtype, bool(mask.any())
    ((64, 64), dtype('bool'), True)
    """

    def render(self, parameters: Parameters, scene: Scene) -> Shape:
        """Lay the shapes over each other."""
        return Shape(np.all(self._middles(parameters, scene), axis=0))
