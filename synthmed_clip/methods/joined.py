"""Several methods in one: the sum of their maps, each standardised on the support images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
from annotated_types import Interval, MinLen
from numpy.typing import NDArray

import synthmed
from synthmed_clip.methods.base import Channels, Fitted, Method, Scores, State
from synthmed_clip.methods.mediclip.method import MediCLIP
from synthmed_clip.methods.nearest_patch import NearestPatch
from synthmed_clip.training.seeds import RNG, draw_entropy

if TYPE_CHECKING:
    from torch import Tensor

    from synthmed_clip.backbone.model import Backbone
    from synthmed_clip.training.history import History


@dataclass(frozen=True)
class Joined(Method):
    """The sum of several methods' maps, each standardised by mean and deviation on the support.

    A score is of the largest values of the sum: standard deviations above the support's mean pixel.
    What can leave a support image out of what judges it does so; MediCLIP cannot, and its maps are
    nearly zero on the images that it was fitted on: the smaller their deviation, the more they
    weigh.

    Parameters
    ----------
    parts : tuple of Method
        Two or more.
    weights : tuple of float, optional
        Of the parts in the sum; 1 each by default.
    pool : float
        A score is the mean of this share of the sum's pixels, the largest ones; at least the
        largest one.

    Examples
    --------
    `scans` are a few arrays of normal images, `backbone` is a loaded one.

    >>> from synthmed_clip import Joined, NearestPatch, ZeroShot, fit
    >>> detector = fit(scans, Joined((ZeroShot(), NearestPatch())), backbone=backbone)
    >>> [part.name for part in detector.method.parts]
    ['zero-shot', 'nearest-patch']
    >>> detector.predict(scans[0]).anomaly_map.shape
    (40, 48)
    """

    parts: Annotated[tuple[Method, ...], MinLen(2)] = (MediCLIP(), NearestPatch())
    weights: tuple[float, ...] | None = None
    pool: Annotated[float, Interval(ge=0, le=1)] = 0.0

    least_support = 2

    def __post_init__(self) -> None:
        """Check the values; there is a weight a part."""
        super().__post_init__()
        if self.weights is not None and len(self.weights) != len(self.parts):
            raise ValueError(f"weights must be {len(self.parts)} values, not {self.weights}")

    @property
    def support_channels(self) -> Channels:
        """Colour if any part takes colour; the others see it as grey."""
        return max((part.support_channels for part in self.parts), key=("grey", "colour").index)

    @property
    def scored_channels(self) -> Channels:
        """Likewise."""
        return max((part.scored_channels for part in self.parts), key=("grey", "colour").index)

    @property
    def training_recipe(self) -> synthmed.Generator | None:
        """That of the first part that has one."""
        return next((part.training_recipe for part in self.parts if part.training_recipe), None)

    def resolved(self, backbone: Backbone) -> Self:
        """Resolve the parts."""
        return replace(self, parts=tuple(part.resolved(backbone) for part in self.parts))

    def fit(
        self,
        support: Tensor,
        backbone: Backbone,
        rng: RNG = None,
        *,
        fitted: Mapping[Method, Fitted] = MappingProxyType({}),
        inside: NDArray[np.bool_] | None = None,
        workers: int | None = None,
        progress: bool = False,
    ) -> FittedJoined:
        """Fit the parts, each with the same seed, and standardise them.

        Parameters
        ----------
        support, backbone, rng
            As in `Method.fit`.
        fitted : mapping of Method to Fitted
            Parts that are fitted on this very support already, and need not be again.
        inside, workers, progress
            For the parts that take them.

        Raises
        ------
        ValueError
            If a part gives no maps on this backbone, or `fitted` holds what is no part.
        """
        import torch

        from synthmed_clip.backbone.pixels import as_channels

        method = self.resolved(backbone)
        known = {part.resolved(backbone): made for part, made in fitted.items()}
        strangers = [part for part in known if part not in method.parts]
        if strangers:
            raise ValueError(f"fitted holds {strangers[0]!r}, which is no part of this join")
        if not isinstance(rng, int | np.integer):  # what would move on, or be drawn anew, stays
            rng = np.random.SeedSequence(draw_entropy(rng))
        options = {"inside": inside, "workers": workers, "progress": progress}
        members = tuple(
            known.get(part)
            or part.fit(
                as_channels(support, part.support_channels),
                backbone,
                rng,
                **{name: value for name, value in options.items() if part.takes(name)},
            )
            for part in method.parts
        )
        normal = []
        for part, made in zip(method.parts, members, strict=True):
            seen = as_channels(support, part.support_channels)
            normal.append((made.score_left_out(seen) or made.score(seen)).maps)
        if any(maps.shape[-1] == 0 for maps in normal):
            raise ValueError(f"a part has no maps on {backbone.name} that could be joined")
        means = torch.stack([maps.mean() for maps in normal])
        deviations = torch.stack([maps.std(correction=0) for maps in normal]).clamp_min(1e-6)
        return FittedJoined(method, members, means, deviations)

    @classmethod
    def restore(cls, state: State, backbone: Backbone) -> FittedJoined:
        """Restore the parts."""
        method = cls.from_dict(state["method"])
        members = []
        for index, part in enumerate(method.parts):
            prefix = f"parts.{index}."
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            members.append(type(part).restore(own, backbone))
        count = (len(members),)
        means, deviations = (state[name] for name in ("means", "deviations"))
        if means.shape != count or deviations.shape != count:
            raise ValueError(f"means and deviations must be {count}")
        device = backbone.device
        return FittedJoined(method, tuple(members), means.to(device), deviations.to(device))


@dataclass(frozen=True, eq=False)
class FittedJoined(Fitted):
    """Fitted parts, and how their maps are standardised.

    Attributes
    ----------
    method : Joined
        Resolved.
    members : tuple of Fitted
    means, deviations : Tensor
        `(P,)`, of each part's maps of the support images.
    """

    method: Joined
    members: tuple[Fitted, ...]
    means: Tensor
    deviations: Tensor

    @property
    def history(self) -> History | None:  # type: ignore[override]
        """That of the first part that learnt."""
        return next((part.history for part in self.members if part.history), None)

    def score(self, pixels: Tensor) -> Scores:
        """Add the standardised maps, and pool their largest values."""
        from synthmed_clip.backbone.pixels import as_channels

        parts = zip(self.method.parts, self.members, strict=True)
        return self._sum([m.score(as_channels(pixels, p.scored_channels)) for p, m in parts])

    def score_left_out(self, support: Tensor) -> Scores | None:
        """Score them where every part can leave them out."""
        from synthmed_clip.backbone.pixels import as_channels

        pairs = zip(self.method.parts, self.members, strict=True)
        parts = [m.score_left_out(as_channels(support, p.support_channels)) for p, m in pairs]
        known = [part for part in parts if part is not None]
        return self._sum(known) if len(known) == len(parts) else None

    def state(self) -> State:
        """Return the parts' states, and how their maps are standardised."""
        state: State = {"means": self.means, "deviations": self.deviations}
        state["method"] = self.method.to_dict()
        for index, part in enumerate(self.members):
            state |= {f"parts.{index}.{name}": value for name, value in part.state().items()}
        return state

    def pool(self, values: Tensor) -> Tensor:
        """Average the largest share."""
        from synthmed_clip.methods.maps import largest_mean

        return largest_mean(values, self.method.pool)

    def _sum(self, parts: Sequence[Scores]) -> Scores:
        weights = self.method.weights or (1.0,) * len(parts)
        columns = zip(weights, parts, self.means, self.deviations, strict=True)
        maps = sum(w * (part.maps - mean) / deviation for w, part, mean, deviation in columns)
        return Scores(self.pool(maps.flatten(1)), maps)
