"""Several methods in one: the sum of their maps, each standardised on the support images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
from annotated_types import Interval, MinLen
from numpy.typing import NDArray

import synthmed
from synthmed_clip.methods.base import Channels, Fitted, Method, Scores, State
from synthmed_clip.methods.crossed_heads import CrossedHeads, FittedCrossedHeads
from synthmed_clip.methods.nearest_patch import NearestPatch
from synthmed_clip.training.seeds import RNG, draw_entropy

if TYPE_CHECKING:
    from torch import Tensor

    from synthmed_clip.backbone.model import Backbone
    from synthmed_clip.training.history import History

_Share = Annotated[float, Interval(ge=0, le=1)]


@dataclass(frozen=True)
class Joined(Method):
    """The sum of several methods' maps, each standardised by mean and deviation on the support.

    By default heads that were taught on synthetic anomalies, and distances to the nearest patch.
    Maps are in standard deviations of normal pixels; a score is in about those of normal images,
    unbounded. What judges a support image has not seen it: a part that leaves images out does so;
    of another, and of a single image, the mirror image is judged.

    Parameters
    ----------
    parts : tuple of Method
        Two or more.
    weights : tuple of float, optional
        Of the parts in the sum. By default 1 each, but for `CrossedHeads` from 0 to 0.75, by how
        well they tell synthetic anomalies of a kind that they were not taught, on support images
        that they have not seen, and how well the other parts do, refitted without these images: 0.5
        where both do as well. A part that learns from synthetic anomalies is no such other one.
    pool : tuple of float
        Shares of the sum's pixels. The mean of each share's largest ones, at least the largest one,
        is standardised on the support images' own, and a score is the mean over shares: small
        lesions show in small ones, diffuse disease in large ones.

    Notes
    -----
    Deviations of pooled values count one more image, which deviates by a pixel's standard
    deviation, so that a handful of alike images does not make every other one anomalous.

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

    parts: Annotated[tuple[Method, ...], MinLen(2)] = (CrossedHeads(), NearestPatch())
    weights: tuple[float, ...] | None = None
    pool: Annotated[tuple[_Share, ...], MinLen(1)] = (0.0, 0.01, 0.05, 0.1, 0.5)

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
        inside: NDArray[np.bool_] | None = None,
        workers: int | None = None,
        progress: bool = False,
    ) -> FittedJoined:
        """Fit the parts, each with the same seed, standardise them, and weigh heads.

        Parameters
        ----------
        support, backbone, rng
            As in `Method.fit`.
        inside, workers, progress
            For the parts that take them.

        Raises
        ------
        ValueError
            If a part gives no maps on this backbone.

        Warns
        -----
        UserWarning
            If heads and the other parts are near chance on synthetic anomalies.
        """
        import torch

        from synthmed_clip.backbone.pixels import as_channels

        method = self.resolved(backbone)
        if not isinstance(rng, int | np.integer):  # what would move on, or be drawn anew, stays
            rng = np.random.SeedSequence(draw_entropy(rng))
        options = {"inside": inside, "workers": workers, "progress": progress}
        members = tuple(
            part.fit(
                as_channels(support, part.support_channels),
                backbone,
                rng,
                **{name: value for name, value in options.items() if part.takes(name)},
            )
            for part in method.parts
        )
        normal = [maps for maps, _ in _normal_maps(method.parts, members, support)]
        if any(maps.shape[-1] == 0 for maps in normal):
            raise ValueError(f"a part has no maps on {backbone.name} that could be joined")
        weights = method.weights or method.weights_by_worth(members, support, backbone, rng, inside)
        made = FittedJoined(
            method,
            members,
            torch.tensor(weights, device=backbone.device),
            torch.stack([maps.mean() for maps in normal]),
            torch.stack([maps.std(correction=0) for maps in normal]).clamp_min(1e-6),
            torch.empty(0),
        )
        total = made.sum_of(normal)
        values = list(total.flatten(1))
        if inside is not None:  # scores are then of the regions alone
            chosen = torch.from_numpy(inside).to(total.device)
            values = [own[place] for own, place in zip(total, chosen, strict=True)]
        return replace(made, pooled=torch.cat([made.pooled_of(own[None]) for own in values]))

    def weights_by_worth(
        self,
        members: Sequence[Fitted],
        support: Tensor,
        backbone: Backbone,
        rng: RNG = None,
        inside: NDArray[np.bool_] | None = None,
    ) -> tuple[float, ...]:
        """Find the weights where none are given; the method must be resolved."""
        from synthmed_clip.backbone.shared import shared_features
        from synthmed_clip.methods.worth import Skill, skill_of

        others = [part for part in self.parts if not isinstance(part, CrossedHeads)]
        weights = []
        for made in members:
            if not isinstance(made, FittedCrossedHeads):
                weights.append(1.0)
                continue
            with shared_features(_layers_of(self.parts)):
                skill = skill_of(made, others, support, backbone, rng, inside)
            if skill is not None:
                skill.warn_near_chance()
            weights.append((skill or Skill(0.5, 0.5)).weight)  # not known: as if both did as well
        return tuple(weights)

    @classmethod
    def restore(cls, state: State, backbone: Backbone) -> FittedJoined:
        """Restore the parts."""
        method = cls.from_dict(state["method"])
        members = []
        for index, part in enumerate(method.parts):
            prefix = f"parts.{index}."
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            members.append(type(part).restore(own, backbone))
        names = ("weights", "means", "deviations", "pooled")
        weights, means, deviations, pooled = (state[name].to(backbone.device) for name in names)
        if not weights.shape == means.shape == deviations.shape == (len(members),):
            raise ValueError(f"weights, means and deviations must be {(len(members),)}")
        if pooled.ndim != 2 or not len(pooled) or pooled.shape[1] != len(method.pool):
            raise ValueError(f"pooled is {tuple(pooled.shape)}, not (k, {len(method.pool)})")
        return FittedJoined(method, tuple(members), weights, means, deviations, pooled)


@dataclass(frozen=True, eq=False)
class FittedJoined(Fitted):
    """Fitted parts, and how their maps and the sum's pooled values are standardised.

    Attributes
    ----------
    method : Joined
        Resolved.
    members : tuple of Fitted
    weights, means, deviations : Tensor
        `(P,)` float32: the parts' weights; of each part's maps of the support images.
    pooled : Tensor
        `(k, Q)` float32: the sum's mean over each share of `pool`, of each support image.
    """

    method: Joined
    members: tuple[Fitted, ...]
    weights: Tensor
    means: Tensor
    deviations: Tensor
    pooled: Tensor

    @property
    def history(self) -> History | None:  # type: ignore[override]
        """That of the first part that learnt."""
        return next((part.history for part in self.members if part.history), None)

    def score(self, pixels: Tensor) -> Scores:
        """Add the standardised maps, and pool the sum; the images pass the backbone once."""
        import torch

        from synthmed_clip.backbone.pixels import as_channels, in_batches
        from synthmed_clip.backbone.shared import shared_features
        from synthmed_clip.methods.patches import CHUNK

        found = []
        for batch in in_batches(pixels, CHUNK):
            with shared_features(_layers_of(self.method.parts)):
                parts = zip(self.method.parts, self.members, strict=True)
                maps = [m.score(as_channels(batch, p.scored_channels)).maps for p, m in parts]
            found.append(self.sum_of(maps))
        total = torch.cat(found)
        return Scores(self.pool(total.flatten(1)), total)

    def score_left_out(self, support: Tensor) -> Scores | None:
        """Score them where every part can leave them out, each by the pooled values of the others.

        Heads that leave an image out have seen fewer images, and all images are in the means and
        deviations of maps, so that p-values are heuristic.
        """
        import torch

        pairs = _normal_maps(self.method.parts, self.members, support)
        if not all(left_out for _, left_out in pairs):
            return None
        total = self.sum_of([maps for maps, _ in pairs])
        pooled, count = self.pooled_of(total.flatten(1)), len(total)
        scores = [
            self._standard(pooled[i, None], pooled[torch.arange(count) != i]) for i in range(count)
        ]
        return Scores(torch.cat(scores), total)

    def state(self) -> State:
        """Return the parts' states, and how they are joined."""
        names = ("weights", "means", "deviations", "pooled")
        state: State = {name: getattr(self, name) for name in names}
        state["method"] = self.method.to_dict()
        for index, part in enumerate(self.members):
            state |= {f"parts.{index}.{name}": value for name, value in part.state().items()}
        return state

    def sum_of(self, maps: Sequence[Tensor]) -> Tensor:
        """Standardise and weigh the parts' maps, and add them: `(N, S, S)`."""
        columns = zip(self.weights, maps, self.means, self.deviations, strict=True)
        return sum(w * (part - mean) / deviation for w, part, mean, deviation in columns)

    def pool(self, values: Tensor) -> Tensor:
        """Average the largest shares, and standardise them on those of the support images."""
        return self._standard(self.pooled_of(values), self.pooled)

    def pooled_of(self, values: Tensor) -> Tensor:
        """Average the largest share of values `(N, M)`, for all shares: `(N, Q)`."""
        import torch

        from synthmed_clip.methods.maps import largest_mean

        return torch.stack([largest_mean(values, share) for share in self.method.pool], 1)

    def _standard(self, pooled: Tensor, normal: Tensor) -> Tensor:
        """Standardise pooled values `(N, Q)` on those of normal images `(k, Q)`, and average them
        over shares: `(N,)`.
        """
        mean = normal.mean(0)
        unit = (self.weights.square().sum()).sqrt()  # a pixel's deviation, if parts are unrelated
        squares = (normal - mean).square().sum(0) + unit.square()
        deviation = (squares / (len(normal) + 1)).sqrt()
        return ((pooled - mean) / deviation).mean(1)


def _normal_maps(
    parts: Sequence[Method], members: Sequence[Fitted], support: Tensor
) -> list[tuple[Tensor, bool]]:
    """Return each part's maps of the support images, and whether these were left out."""
    from synthmed_clip.backbone.pixels import as_channels

    found = []
    for part, made in zip(parts, members, strict=True):
        seen = as_channels(support, part.support_channels)
        left_out = made.score_left_out(seen)
        maps = made.score(seen.flip(-1)).maps if left_out is None else left_out.maps
        found.append((maps, left_out is not None))
    return found


def _layers_of(parts: Sequence[Method]) -> list[int]:
    """Return all layers that the parts, which must be resolved, read by this name."""
    return [layer for part in parts for layer in getattr(part, "layers", None) or ()]
