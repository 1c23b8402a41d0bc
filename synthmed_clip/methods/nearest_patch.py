"""Distance to the nearest patch of the support images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Self

from annotated_types import Interval, MinLen

from synthmed_clip.methods.base import Depth, Fitted, Method, Scores, State, layers_of

if TYPE_CHECKING:
    from torch import Tensor

    from synthmed_clip.backbone.model import Backbone
    from synthmed_clip.training.seeds import RNG

_CHUNK = 16  # images through the backbone at a time


@dataclass(frozen=True)
class NearestPatch(Method):
    """Cosine distance of each patch to the nearest one of the support images; nothing is learnt.

    Parameters
    ----------
    layers : tuple of int, optional
        Whose patch tokens are compared, from 1, layer by layer; distances are averaged. By default
        the one at three quarters of the depth.
    depth : (float, float), optional
        In place of layers: those between two shares of the depth.
    pool : float
        An image's score is the mean of this share of its patches, those of largest distance;
        at least the largest one.

    References
    ----------
    Roth et al., "Towards Total Recall in Industrial Anomaly Detection" (PatchCore), CVPR 2022,
    here without subsampling and reweighting. Damm et al., "AnomalyDINO", WACV 2025.

    Examples
    --------
    `scans` are a few arrays of normal images, `backbone` is a loaded one.

    >>> from synthmed_clip import NearestPatch, fit
    >>> detector = fit(scans, NearestPatch(pool=0.01), backbone=backbone)
    >>> detector.predict(255 - scans[0]).is_anomalous
    True
    """

    layers: Annotated[tuple[int, ...], MinLen(1)] | None = None
    depth: Depth | None = None
    pool: Annotated[float, Interval(ge=0, le=1)] = 0.0

    def resolved(self, backbone: Backbone) -> Self:
        """Fill in the layer."""
        defaults = backbone.default_layers()
        middle = (defaults[len(defaults) // 2],)
        return replace(self, layers=layers_of(backbone, self.layers, self.depth, middle))

    def fit(self, support: Tensor, backbone: Backbone, rng: RNG = None) -> FittedNearestPatch:
        """Remember the patches of the support images."""
        import torch

        empty = FittedNearestPatch(self.resolved(backbone), backbone, ())
        batches = [empty.patches_of(pixels) for pixels in support.split(_CHUNK)]
        return replace(empty, memory=tuple(map(torch.cat, zip(*batches, strict=True))))

    @classmethod
    def restore(cls, state: State, backbone: Backbone) -> FittedNearestPatch:
        """Take the remembered patches from a state."""
        method = cls.from_dict(state["method"]).resolved(backbone)
        memory = []
        for layer in method.layers or ():
            patches, channels = state[f"patches.{layer}"], backbone.channels[layer - 1]
            if patches.ndim != 3 or patches.shape[-1] != channels:
                shape = tuple(patches.shape)
                raise ValueError(f"patches of layer {layer} are {shape}, not (k, L, {channels})")
            memory.append(patches.to(backbone.device))
        return FittedNearestPatch(method, backbone, tuple(memory))


@dataclass(frozen=True, eq=False)
class FittedNearestPatch(Fitted):
    """The support images' patches.

    Attributes
    ----------
    method : NearestPatch
        Resolved.
    backbone : Backbone
    memory : tuple of Tensor
        `(k, L, C)` float32, unit length, for each layer.
    """

    method: NearestPatch
    backbone: Backbone
    memory: tuple[Tensor, ...]

    left_out_is_conservative = True

    def score(self, pixels: Tensor) -> Scores:
        """Compare every patch with all remembered ones."""
        flat = [patches.flatten(0, 1) for patches in self.memory]
        return self._scores(
            [
                [_distance(*pair) for pair in zip(self.patches_of(batch), flat, strict=True)]
                for batch in pixels.split(_CHUNK)
            ]
        )

    def score_left_out(self, support: Tensor) -> Scores | None:
        """Compare the patches of each support image with those of the others."""
        import torch

        count = len(self.memory[0])
        if count < 2:
            return None
        distances = []
        for index in range(count):
            others = torch.arange(count) != index
            distances.append(
                [
                    _distance(patches[index, None], patches[others].flatten(0, 1))
                    for patches in self.memory
                ]
            )
        return self._scores(distances)

    def state(self) -> State:
        """Return the patches, and the method as data."""
        layers = self.method.layers or ()
        patches = {f"patches.{layer}": p for layer, p in zip(layers, self.memory, strict=True)}
        return {**patches, "method": self.method.to_dict()}

    def patches_of(self, pixels: Tensor) -> list[Tensor]:
        """Return the patch tokens of images, `(B, L, C)` float32, unit length, for each layer."""
        import torch
        from torch.nn.functional import normalize

        with torch.inference_mode():
            return [
                normalize(feature.flatten(2).transpose(1, 2).float(), dim=-1)
                for feature in self.backbone.features(pixels, self.method.layers or ())
            ]

    def _scores(self, distances: list[list[Tensor]]) -> Scores:
        """Average distances `(B, L)` over layers, pool them, and bring them to pixels."""
        import torch

        from synthmed_clip.methods.maps import largest_mean, mean_of, resize

        size = self.backbone.image_size
        small = mean_of([_square(torch.cat(layer)) for layer in zip(*distances, strict=True)])
        scores = largest_mean(small.flatten(1), self.method.pool)
        return Scores(scores, resize(small, (size, size)))


def _distance(patches: Tensor, memory: Tensor) -> Tensor:
    """Cosine distance of patches `(B, L, C)` to the nearest of `(M, C)`: `(B, L)`."""
    return 1 - (patches @ memory.T).amax(-1)


def _square(flat: Tensor) -> Tensor:
    """Bring values of patches `(B, L)` to the square that they lie on."""
    side = int(flat.shape[1] ** 0.5)
    return flat.reshape(-1, side, side)
