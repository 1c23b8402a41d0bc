"""Search for nearest neighbours: exact, or in inverted lists."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from synthmed_clip.backbone.pixels import in_batches

if TYPE_CHECKING:
    import faiss

_BLOCK = 2**24  # similarities held at a time
_LISTS = 4  # times the square root of how many vectors there are
_PROBES = 4  # lists that a search looks in
_SAMPLE = 40  # vectors a list that the clusters are found from


def nearest(queries: Tensor, memory: Tensor, skip: slice | None = None) -> Tensor:
    """Return which of `memory` is nearest to each query, by Euclidean distance.

    Parameters
    ----------
    queries : Tensor
        `(Q, C)` float32.
    memory : Tensor
        `(M, C)` float32.
    skip : slice, optional
        A part of the memory, not all of it, that is left out.

    Returns
    -------
    Tensor
        `(Q,)` int64.

    Examples
    --------
    >>> nearest(torch.tensor([[0.0], [8.0]]), torch.tensor([[1.0], [5.0], [9.0]])).tolist()
    [0, 2]
    >>> nearest(torch.tensor([[8.0]]), torch.tensor([[1.0], [5.0], [9.0]]), slice(2, 3)).tolist()
    [1]
    """
    half = -memory.square().sum(-1) / 2  # nearest is where q m - |m|^2 / 2 is largest
    if skip is not None:
        half[skip] = -torch.inf
    rows = max(1, _BLOCK // len(memory))
    blocks = in_batches(queries, rows)
    return torch.cat([torch.addmm(half, block, memory.T).argmax(-1) for block in blocks])


@dataclass(frozen=True, eq=False)
class Lists:
    """Vectors in lists, each with what is nearest to one centre: faiss's IndexIVFFlat.

    Attributes
    ----------
    centres : Tensor
        `(n, C)` float32.
    memory : Tensor
        `(M, C)` float32.
    """

    centres: Tensor
    memory: Tensor

    @classmethod
    def cluster(cls, memory: Tensor) -> Self:
        """Find 4 sqrt(M) centres, at most M / 2, the same for the same memory, by k-means.

        Raises
        ------
        ImportError
            If faiss is not installed.
        """
        import numpy as np

        vectors = np.ascontiguousarray(memory.cpu().numpy())
        count = max(1, min(round(_LISTS * len(vectors) ** 0.5), len(vectors) // 2))
        means = _faiss().Kmeans(
            vectors.shape[1],
            count,
            niter=8,
            seed=1234,
            min_points_per_centroid=1,
            max_points_per_centroid=_SAMPLE,
        )
        means.train(vectors)
        return cls(torch.from_numpy(means.centroids), memory)

    @cached_property
    def index(self) -> faiss.IndexIVFFlat:
        """The lists."""
        faiss = _faiss()
        width = self.memory.shape[1]
        coarse = faiss.IndexFlatL2(width)
        coarse.add(self.centres.cpu().numpy())
        index = faiss.IndexIVFFlat(coarse, width, len(self.centres))
        index.add(self.memory.cpu().numpy())
        return index

    def nearest(self, queries: Tensor, skip: slice | None = None) -> Tensor:
        """Like `nearest`, but looking in the lists of the nearest centres alone.

        Where these hold nothing that is not skipped, the search is exact.

        Raises
        ------
        ValueError
            While a graph is traced, which cannot have such lists.
        """
        if torch.jit.is_tracing():
            raise ValueError("search='approximate' has no form in it, search='exact' has")
        faiss = _faiss()
        rest = None
        if skip is not None:
            rest = faiss.IDSelectorNot(faiss.IDSelectorRange(skip.start, skip.stop))
        options = faiss.SearchParametersIVF(sel=rest, nprobe=min(_PROBES, len(self.centres)))
        found = self.index.search(queries.cpu().numpy(), 1, params=options)[1][:, 0]
        chosen = torch.from_numpy(found).to(queries.device)
        if (chosen < 0).any():
            chosen[chosen < 0] = nearest(queries[chosen < 0], self.memory, skip)
        return chosen


def _faiss() -> ModuleType:
    try:
        import faiss
    except ImportError:
        raise ImportError(
            "search='approximate' needs faiss: pip install 'synthmed[search]'"
        ) from None
    return faiss
