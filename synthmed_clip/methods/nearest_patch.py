"""Distance to the nearest patch of the support images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal, Self

from annotated_types import Ge, Interval, MinLen

from synthmed_clip.methods.base import Channels, Depth, Fitted, Method, Scores, State, layers_of

if TYPE_CHECKING:
    from torch import Tensor

    from synthmed_clip.backbone.model import Backbone
    from synthmed_clip.methods.neighbours import Lists
    from synthmed_clip.training.seeds import RNG

Metric = Literal["cosine", "l2", "l2-per-channel"]
VariantName = Literal["middle-layers", "anomaly-dino", "superadd"]


@dataclass(frozen=True)
class _Variant:
    """What a variant decides, as the fields of `NearestPatch`; layers by their share of the depth,
    one by one or from one to another.
    """

    shares: tuple[float, ...] | Depth
    metric: Metric
    rotations: int
    pool: float
    pool_over: Literal["patches", "pixels"]
    sigma: float
    final_norm: bool = False
    between: bool = False


VARIANTS: dict[VariantName, _Variant] = {
    "middle-layers": _Variant((0.58, 0.75), "cosine", 1, 0.01, "patches", 0.0, between=True),
    "anomaly-dino": _Variant((1.0,), "cosine", 8, 0.01, "patches", 4.0, final_norm=True),
    "superadd": _Variant(
        (3 / 12, 5 / 12, 8 / 12, 10 / 12), "l2-per-channel", 1, 0.001, "pixels", 4
    ),
}


@dataclass(frozen=True)
class NearestPatch(Method):
    """Distance of each patch to the nearest one of the support images; nothing is learnt.

    Patch tokens are compared layer by layer; distances are averaged over layers. Maps are bilinear,
    patches' centres in the middle of their pixels.

    Parameters
    ----------
    variant : {'middle-layers', 'anomaly-dino', 'superadd'}
        Where the other values come from unless they are given. AnomalyDINO: last layer through the
        final norm, cosine, 8 rotations, the top 1 % of patches, sigma 4. SuperADD: layers 3, 5, 8,
        10 of 12, L2 per channel, the top 0.1 % of pixels, sigma 4. Middle layers, which neither of
        them published: 0.58 to 0.75 of the depth, cosine, the top 1 % of patches.
    layers : tuple of int, optional
        Whose patch tokens are compared, from 1.
    depth : (float, float), optional
        In place of layers: those between two shares of the depth.
    final_norm : bool, optional
        Whether patch tokens, which must then be the last layer's, pass through the final norm of a
        tower that has a class token.
    metric : {'cosine', 'l2', 'l2-per-channel'}, optional
        Of the distance: 1 less the cosine, Euclidean, or that over the number of channels.
    rotations : int, optional
        The support images are remembered turned by all multiples of 360 degrees over this number;
        1 is as they are.
    pool : float, optional
        An image's score is the mean of this share of its distances, the largest ones; at least the
        largest one.
    pool_over : {'patches', 'pixels'}, optional
        Whether those are of patches, or of the map's pixels.
    sigma : float, optional
        Standard deviation of the Gaussian blur of maps, in pixels; 0 for none.
    search : {'exact', 'approximate'}
        Approximate looks for the nearest patch in the 4 nearest of 4 sqrt(M) clusters of the M
        remembered ones (faiss's inverted lists, the extra `search`); for hundreds of images. The
        distance to what it finds is exact, and never smaller than the true one.
    channels : {'grey', 'colour'}
        How images are seen, to fit and to score.

    References
    ----------
    Damm, Laszkiewicz, Lederer, Fischer, "AnomalyDINO: Boosting Patch-based Few-shot Anomaly
    Detection with DINOv2", WACV 2025. "SuperADD", a training-free entry to the VAND challenge.
    Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022, is `PatchCore`.

    Examples
    --------
    `scans` are a few arrays of normal images, `backbone` is a loaded one.

    >>> from synthmed_clip import NearestPatch, fit
    >>> detector = fit(scans, NearestPatch(pool=0.05), backbone=backbone)
    >>> detector.predict(255 - scans[0]).is_anomalous
    True
    >>> fit(scans, NearestPatch("anomaly-dino"), backbone=backbone).method.rotations
    8
    """

    variant: VariantName = "middle-layers"
    layers: Annotated[tuple[int, ...], MinLen(1)] | None = None
    depth: Depth | None = None
    final_norm: bool | None = None
    metric: Metric | None = None
    rotations: Annotated[int, Ge(1)] | None = None
    pool: Annotated[float, Interval(ge=0, le=1)] | None = None
    pool_over: Literal["patches", "pixels"] | None = None
    sigma: Annotated[float, Ge(0)] | None = None
    search: Literal["exact", "approximate"] = "exact"
    channels: Channels = "grey"

    def resolved(self, backbone: Backbone) -> Self:
        """Fill in the variant's values and its layers."""
        own = VARIANTS[self.variant]
        if own.between:
            default = backbone.layers_between(own.shares[0], own.shares[-1])
        else:
            numbers = {max(1, round(share * backbone.depth)) for share in own.shares}
            default = tuple(sorted(numbers))
        names = ("final_norm", "metric", "rotations", "pool", "pool_over", "sigma")
        missing = {name: getattr(own, name) for name in names if getattr(self, name) is None}
        layers = layers_of(backbone, self.layers, self.depth, default)
        found = replace(self, layers=layers, **missing)
        if found.final_norm and layers != (backbone.depth,):
            raise ValueError(
                f"final_norm is the last layer's, {backbone.depth} of {backbone.name}, not that of "
                f"{layers}; pass final_norm=False"
            )
        return found

    def fit(self, support: Tensor, backbone: Backbone, rng: RNG = None) -> FittedNearestPatch:
        """Remember the patches of the support images; ImportError if faiss is needed, and not
        installed.
        """
        import torch

        from synthmed_clip.methods.neighbours import Lists
        from synthmed_clip.methods.patches import rotated

        method = self.resolved(backbone)
        empty = FittedNearestPatch(method, backbone, ())
        count = method.rotations or 1
        turns = [
            empty.patches_of(rotated(support, [turn * 360 / count] * len(support)))
            for turn in range(count)
        ]
        memory = tuple(torch.cat(layer, dim=1) for layer in zip(*turns, strict=True))
        lists = None
        if method.search == "approximate":
            lists = tuple(Lists.cluster(patches.flatten(0, 1)) for patches in memory)
        return replace(empty, memory=memory, lists=lists)

    @classmethod
    def restore(cls, state: State, backbone: Backbone) -> FittedNearestPatch:
        """Take the remembered patches from a state."""
        from synthmed_clip.methods.neighbours import Lists

        method = cls.from_dict(state["method"]).resolved(backbone)
        memory = []
        lists = []
        for layer in method.layers or ():
            patches, channels = state[f"patches.{layer}"], backbone.channels[layer - 1]
            if patches.ndim != 3 or patches.shape[-1] != channels:
                shape = tuple(patches.shape)
                raise ValueError(f"patches of layer {layer} are {shape}, not (k, L, {channels})")
            memory.append(patches.to(backbone.device))
            if method.search == "approximate":
                lists.append(Lists(state[f"centres.{layer}"], patches.flatten(0, 1)))
        return FittedNearestPatch(method, backbone, tuple(memory), tuple(lists) or None)


@dataclass(frozen=True, eq=False)
class FittedNearestPatch(Fitted):
    """The support images' patches.

    Attributes
    ----------
    method : NearestPatch
        Resolved.
    backbone : Backbone
    memory : tuple of Tensor
        `(k, R L, C)` float32 for each layer, rotation by rotation, the unrotated image first; of
        unit length where the metric is cosine.
    lists : tuple of Lists or None
        What an approximate search looks in, for each layer.
    """

    method: NearestPatch
    backbone: Backbone
    memory: tuple[Tensor, ...]
    lists: tuple[Lists, ...] | None = None

    @property
    def left_out_is_conservative(self) -> bool:  # type: ignore[override]
        """With more to compare with no distance grows, if every one is looked at."""
        return self.method.search == "exact"

    def score(self, pixels: Tensor) -> Scores:
        """Compare every patch with all remembered ones."""
        from synthmed_clip.backbone.pixels import in_batches
        from synthmed_clip.methods.patches import CHUNK

        batches = [self.patches_of(batch) for batch in in_batches(pixels, CHUNK)]
        return self._scores([self._distances(patches) for patches in batches])

    def score_left_out(self, support: Tensor) -> Scores | None:
        """Compare the patches of each support image with those of the others."""
        count = len(self.memory[0])
        if count < 2:
            return None
        rotations = self.method.rotations or 1
        own = [patches[:, : patches.shape[1] // rotations] for patches in self.memory]
        return self._scores(
            [self._distances([o[index, None] for o in own], index) for index in range(count)]
        )

    def state(self) -> State:
        """Return the patches, and the method as data."""
        layers = self.method.layers or ()
        state: State = {f"patches.{n}": p for n, p in zip(layers, self.memory, strict=True)}
        for layer, lists in zip(layers, self.lists or (), strict=False):
            state[f"centres.{layer}"] = lists.centres
        return state | {"method": self.method.to_dict()}

    def patches_of(self, pixels: Tensor) -> list[Tensor]:
        """Return the patch tokens of images, `(N, L, C)` float32, for each layer; of unit length
        where the metric is cosine.
        """
        from torch.nn.functional import normalize

        from synthmed_clip.methods.patches import tokens_of

        layers, final = self.method.layers or (), bool(self.method.final_norm)
        tokens = tokens_of(self.backbone, pixels, layers, final)
        if self.method.metric == "cosine":
            return [normalize(t, dim=-1) for t in tokens]
        return tokens

    def _distances(self, patches: list[Tensor], left_out: int | None = None) -> list[Tensor]:
        """Distances `(B, L)` of patches `(B, L, C)` in each layer; one support image may be left
        out.
        """
        from synthmed_clip.methods.neighbours import nearest

        found = []
        for index, (queries, memory) in enumerate(zip(patches, self.memory, strict=True)):
            size = memory.shape[1]
            skip = None if left_out is None else slice(left_out * size, (left_out + 1) * size)
            flat, wanted = memory.flatten(0, 1), queries.flatten(0, 1)
            if self.lists is None:
                chosen = nearest(wanted, flat, skip)
            else:
                chosen = self.lists[index].nearest(wanted, skip)
            neighbour = flat[chosen]
            if self.method.metric == "cosine":
                distance = 1 - (wanted * neighbour).sum(-1)
            else:
                distance = (wanted - neighbour).norm(dim=-1)
            if self.method.metric == "l2-per-channel":
                distance = distance / wanted.shape[-1]
            found.append(distance.reshape(-1, queries.shape[1]))
        return found

    def pool(self, values: Tensor) -> Tensor:
        """Average the largest share."""
        from synthmed_clip.methods.maps import largest_mean

        return largest_mean(values, self.method.pool or 0.0)

    def _scores(self, distances: list[list[Tensor]]) -> Scores:
        """Average distances `(B, L)` over layers, bring them to pixels, and pool them."""
        import torch

        from synthmed_clip.methods.maps import blur, upsample
        from synthmed_clip.methods.patches import square_of

        layers = [square_of(torch.cat(layer)) for layer in zip(*distances, strict=True)]
        side = max(int(layer.shape[1]) for layer in layers)
        small = torch.stack([upsample(layer, side) for layer in layers]).mean(0)
        maps = upsample(small, self.backbone.image_size)
        if self.method.sigma:
            maps = blur(maps, self.method.sigma)
        pooled = small if self.method.pool_over == "patches" else None
        values = maps if pooled is None else pooled
        return Scores(self.pool(values.flatten(1)), maps, pooled)
