"""Distance to a coreset of the support images' patches, which carry their surroundings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Self

from annotated_types import Ge, Interval, MinLen

from synthmed_clip.methods.base import Channels, Depth, Fitted, Method, Scores, State, layers_of

if TYPE_CHECKING:
    from torch import Tensor

    from synthmed_clip.backbone.model import Backbone
    from synthmed_clip.training.seeds import RNG

_WIDTH = 128  # of the random projection in which the coreset is chosen


@dataclass(frozen=True)
class PatchCore(Method, name="patchcore"):
    """Distance of each patch to a coreset of those of the support images; nothing is learnt.

    A patch's feature is the mean over its neighbourhood in each layer, layers side by side. The
    coreset is greedy: again and again the feature that is farthest from those chosen, in a random
    projection to 128 values. An image's score is the largest distance s to the nearest remembered
    feature m, times 1 less the softmax, at m, of the distances to m's own nearest neighbours among
    the remembered ones.

    Parameters
    ----------
    layers : tuple of int, optional
        Whose features are taken, from 1; by default those at half and three quarters of the depth,
        as the paper has the second and third of a ResNet's four stages.
    depth : (float, float), optional
        In place of layers: those between two shares of the depth.
    neighbourhood : int
        Side of the square of patches that is averaged, odd; beyond the border are zeros.
    ratio : float
        Share of the features that are remembered, at least one.
    neighbours : int
        How many neighbours of m, m among them, the softmax is over; 1 leaves the distance as it is.
    sigma : float
        Standard deviation of the Gaussian blur of maps, in pixels; 0 for none.
    channels : {'grey', 'colour'}
        How images are seen, to fit and to score.

    References
    ----------
    Roth, Pemula, Zepeda, Schölkopf, Brox, Gehler, "Towards Total Recall in Industrial Anomaly
    Detection", CVPR 2022, equations 1 to 7 and algorithm 1.

    Examples
    --------
    `scans` are a few arrays of normal images, `backbone` is a loaded one.

    >>> from synthmed_clip import PatchCore, fit
    >>> detector = fit(scans, PatchCore(ratio=0.5), backbone=backbone, rng=0)
    >>> detector.method.layers, detector.fitted.memory.shape
    ((2, 3), torch.Size([32, 64]))
    """

    layers: Annotated[tuple[int, ...], MinLen(1)] | None = None
    depth: Depth | None = None
    neighbourhood: Annotated[int, Ge(1)] = 3
    ratio: Annotated[float, Interval(gt=0, le=1)] = 0.1
    neighbours: Annotated[int, Ge(1)] = 9
    sigma: Annotated[float, Ge(0)] = 4.0
    channels: Channels = "grey"

    def __post_init__(self) -> None:
        """Check the values; a neighbourhood has a middle."""
        super().__post_init__()
        if self.neighbourhood % 2 == 0:
            raise ValueError(f"neighbourhood must be odd, not {self.neighbourhood}")

    def resolved(self, backbone: Backbone) -> Self:
        """Fill in the layers."""
        default = backbone.default_layers()[:2]
        return replace(self, layers=layers_of(backbone, self.layers, self.depth, default))

    def fit(self, support: Tensor, backbone: Backbone, rng: RNG = None) -> FittedPatchCore:
        """Choose the coreset, the same for the same rng."""
        import numpy as np
        import torch

        method = self.resolved(backbone)
        features = features_of(method, backbone, support)
        flat = features.flatten(0, 1)
        generator = np.random.default_rng(rng)
        projection = torch.from_numpy(
            generator.standard_normal((flat.shape[1], _WIDTH), np.float32) / _WIDTH**0.5
        ).to(flat)
        first = int(generator.integers(len(flat)))
        count = max(1, round(method.ratio * len(flat)))
        chosen = coreset(flat @ projection, count, first)
        owners = chosen // features.shape[1]
        return FittedPatchCore(method, backbone, flat[chosen], owners)

    @classmethod
    def restore(cls, state: State, backbone: Backbone) -> FittedPatchCore:
        """Take the coreset from a state."""
        method = cls.from_dict(state["method"]).resolved(backbone)
        memory, owners = state["memory"], state["owners"]
        channels = sum(backbone.channels[layer - 1] for layer in method.layers or ())
        if memory.ndim != 2 or memory.shape[1] != channels or owners.shape != memory.shape[:1]:
            shapes = f"{tuple(memory.shape)} and {tuple(owners.shape)}"
            raise ValueError(f"memory and owners are {shapes}, not (M, {channels}) and (M,)")
        device = backbone.device
        return FittedPatchCore(method, backbone, memory.to(device), owners.to(device))


@dataclass(frozen=True, eq=False)
class FittedPatchCore(Fitted):
    """The coreset.

    Attributes
    ----------
    method : PatchCore
        Resolved.
    backbone : Backbone
    memory : Tensor
        `(M, C)` float32, C the layers' channels together.
    owners : Tensor
        `(M,)` int64: which support image each is from.
    """

    method: PatchCore
    backbone: Backbone
    memory: Tensor
    owners: Tensor

    def score(self, pixels: Tensor) -> Scores:
        """Compare every patch with the coreset."""
        return self._scores(features_of(self.method, self.backbone, pixels), self.memory)

    def score_left_out(self, support: Tensor) -> Scores | None:
        """Compare each image with the coreset less what is its own; None where nothing is left.

        The coreset is not chosen anew: where the image's features stood for others', these are
        missing, too, and its distances are, if anything, larger for it.
        """
        import torch

        images = range(len(support))
        others = [self.memory[self.owners != index] for index in images]
        if any(not len(memory) for memory in others):
            return None
        features = features_of(self.method, self.backbone, support)
        found = [self._scores(features[index, None], others[index]) for index in images]
        return Scores(torch.cat([f.scores for f in found]), torch.cat([f.maps for f in found]))

    def state(self) -> State:
        """Return the coreset, and the method as data."""
        return {
            "memory": self.memory,
            "owners": self.owners,
            "method": self.method.to_dict(),
        }

    def _scores(self, features: Tensor, memory: Tensor) -> Scores:
        """Score features `(N, L, C)` against a memory `(M, C)`."""
        import torch

        from synthmed_clip.methods.maps import blur, upsample
        from synthmed_clip.methods.neighbours import nearest
        from synthmed_clip.methods.patches import square_of

        flat = features.flatten(0, 1)
        chosen = nearest(flat, memory)
        distances = (flat - memory[chosen]).norm(dim=-1).reshape(-1, features.shape[1])
        worst = distances.argmax(1, keepdim=True)
        query = features.gather(1, worst[..., None].expand(-1, 1, features.shape[2]))[:, 0]
        match = memory[chosen.reshape(-1, features.shape[1]).gather(1, worst)[:, 0]]
        near = torch.cdist(match, memory, compute_mode="donot_use_mm_for_euclid_dist")
        near = near.topk(min(self.method.neighbours, len(memory)), largest=False).indices
        around = (query[:, None] - memory[near]).norm(dim=-1)
        largest = distances.amax(1)
        # The match is the first of its own neighbours, but for copies of it, which are as near.
        weight = 1 - around.softmax(1)[:, 0] if near.shape[1] > 1 else 1.0
        maps = upsample(square_of(distances), self.backbone.image_size)
        return Scores(
            largest * weight, blur(maps, self.method.sigma) if self.method.sigma else maps
        )


def features_of(method: PatchCore, backbone: Backbone, pixels: Tensor) -> Tensor:
    """Return patches with their surroundings, `(N, L, C)` float32: each layer's mean over the
    neighbourhood, at the size of the largest layer, side by side.
    """
    import torch
    from torch.nn.functional import avg_pool2d, interpolate

    from synthmed_clip.backbone.pixels import in_batches
    from synthmed_clip.methods.patches import CHUNK

    side, found = method.neighbourhood, []
    with torch.inference_mode():
        for batch in in_batches(pixels, CHUNK):
            layers = [f.float() for f in backbone.features(batch, method.layers or ())]
            layers = [avg_pool2d(layer, side, stride=1, padding=side // 2) for layer in layers]
            size = max((layer.shape[2:] for layer in layers), key=lambda shape: shape.numel())
            layers = [interpolate(f, size, mode="bilinear", align_corners=False) for f in layers]
            found.append(torch.cat(layers, dim=1).flatten(2).transpose(1, 2))
    return torch.cat(found)


def coreset(points: Tensor, count: int, first: int) -> Tensor:
    """Choose points greedily: again and again the one that is farthest from those chosen.

    Parameters
    ----------
    points : Tensor
        `(N, D)` float32.
    count : int
        How many, from 1 to N.
    first : int
        With which to begin.

    Returns
    -------
    Tensor
        `(count,)` int64, in the order of choice; no point twice.

    Examples
    --------
    >>> import torch
    >>> coreset(torch.tensor([[0.0], [1.0], [9.0], [4.0]]), 3, first=0).tolist()
    [0, 2, 3]
    """
    import torch

    chosen = [first]
    distance = (points - points[first]).square().sum(-1)
    distance[first] = -1.0  # below any distance: copies of a chosen point come last, itself never
    for _ in range(count - 1):
        farthest = int(distance.argmax())
        chosen.append(farthest)
        distance = torch.minimum(distance, (points - points[farthest]).square().sum(-1))
        distance[farthest] = -1.0
    return torch.tensor(chosen, device=points.device)
