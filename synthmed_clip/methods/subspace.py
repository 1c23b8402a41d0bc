"""Distance to the linear subspace that the support images' patches span."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Self

from annotated_types import Ge, Gt, Interval, MinLen

from synthmed_clip.methods.base import Depth, Fitted, Method, Scores, State

if TYPE_CHECKING:
    from torch import Tensor

    from synthmed_clip.backbone.model import Backbone
    from synthmed_clip.training.seeds import RNG

_CHUNK = 16  # images through the backbone at a time


@dataclass(frozen=True)
class Subspace(Method):
    """Squared distance of each patch to the principal subspace of the support images' patches.

    Parameters
    ----------
    layers : tuple of int, optional
        Whose patch tokens are averaged, from 1; by default those of the depth.
    depth : (float, float)
        In place of layers: those between two shares of the depth.
    variance : float
        The subspace is of the fewest principal components that explain this share of it.
    rotations : int
        How many random rotations of each support image are added; for images whose orientation is
        free.
    sigma : float
        Standard deviation of the Gaussian blur of maps, in pixels.
    pool : float
        An image's score is the mean of this share of its pixels, those of largest distance.

    References
    ----------
    Lendering, Akdag, Bondarev, "SubspaceAD: Training-Free Few-Shot Anomaly Detection via Subspace
    Modeling", CVPR 2026, arXiv 2602.23013.

    Examples
    --------
    >>> from synthmed_clip import fit
    >>> fit(scans, Subspace(variance=0.9), backbone=backbone).method.layers
    (3,)
    """

    layers: Annotated[tuple[int, ...], MinLen(1)] | None = None
    depth: Depth = (0.57, 0.72)
    variance: Annotated[float, Interval(gt=0, lt=1)] = 0.99
    rotations: Annotated[int, Ge(0)] = 0
    sigma: Annotated[float, Gt(0)] = 4.0
    pool: Annotated[float, Interval(gt=0, le=1)] = 0.01

    def resolved(self, backbone: Backbone) -> Self:
        """Fill in the layers."""
        layers = backbone.layers_between(*self.depth) if self.layers is None else self.layers
        return replace(self, layers=backbone.checked_layers(layers))

    def fit(self, support: Tensor, backbone: Backbone, rng: RNG = None) -> FittedSubspace:
        """Find the subspace, by an eigenvalue decomposition in float64."""
        import torch

        method = self.resolved(backbone)
        images = torch.cat([support, *method.rotated(support, rng)])
        tokens = torch.cat(list(_tokens(images, method, backbone))).flatten(0, 1)
        return FittedSubspace(method, backbone, *_principal(tokens, method.variance))

    @classmethod
    def restore(cls, state: State, backbone: Backbone) -> FittedSubspace:
        """Take mean and components from a state."""
        method = cls.from_dict(state["method"]).resolved(backbone)
        mean, components = state["mean"], state["components"]
        channels = backbone.channels[(method.layers or (1,))[0] - 1]
        if mean.shape != (channels,) or components.ndim != 2 or len(components) != channels:
            shapes = f"{tuple(mean.shape)} and {tuple(components.shape)}"
            raise ValueError(f"mean and components are {shapes}, not of {channels} channels")
        device = backbone.device
        return FittedSubspace(method, backbone, mean.to(device), components.to(device))

    def rotated(self, images: Tensor, rng: RNG) -> Iterator[Tensor]:
        """Yield the images under random rotations, each image by an angle of its own."""
        import numpy as np
        import torch
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms.functional import rotate

        generator = np.random.default_rng(rng)
        for _ in range(self.rotations):
            angles = generator.uniform(0, 360, len(images))
            pairs = zip(images, angles, strict=True)
            turned = [rotate(image, angle, InterpolationMode.BILINEAR) for image, angle in pairs]
            yield torch.stack(turned).clamp(0, 255)  # which rounding may pass


@dataclass(frozen=True, eq=False)
class FittedSubspace(Fitted):
    """The subspace.

    Attributes
    ----------
    method : Subspace
        Resolved.
    backbone : Backbone
    mean : Tensor
        `(C,)` float32.
    components : Tensor
        `(C, r)` float32, orthonormal.
    """

    method: Subspace
    backbone: Backbone
    mean: Tensor
    components: Tensor

    def score(self, pixels: Tensor) -> Scores:
        """Measure what of each patch the subspace does not explain."""
        import torch

        tokens = torch.cat(list(_tokens(pixels, self.method, self.backbone)))
        return self._scores(_residual(tokens, self.mean, self.components))

    def score_left_out(self, support: Tensor) -> Scores | None:
        """Find the subspace anew without each image, and measure it; None where it was rotated."""
        import torch

        if len(support) < 2 or self.method.rotations:
            return None
        tokens = torch.cat(list(_tokens(support, self.method, self.backbone)))
        found = []
        for index, own in enumerate(tokens):
            others = tokens[torch.arange(len(tokens)) != index].flatten(0, 1)
            found.append(_residual(own[None], *_principal(others, self.method.variance)))
        return self._scores(torch.cat(found))

    def state(self) -> State:
        """Return mean and components, and the method as data."""
        return {
            "mean": self.mean,
            "components": self.components,
            "method": self.method.to_dict(),
        }

    def pool(self, values: Tensor) -> Tensor:
        """Average the largest share."""
        from synthmed_clip.methods.maps import largest_mean

        return largest_mean(values, self.method.pool)

    def _scores(self, residual: Tensor) -> Scores:
        """Bring residuals `(B, L)` to pixels, blur them, and pool."""
        from synthmed_clip.methods.maps import blur, upsample

        side = int(residual.shape[1] ** 0.5)
        maps = upsample(residual.reshape(-1, side, side), self.backbone.image_size)
        maps = blur(maps, self.method.sigma)
        return Scores(self.pool(maps.flatten(1)), maps)


def _tokens(pixels: Tensor, method: Subspace, backbone: Backbone) -> Iterator[Tensor]:
    """Yield patch tokens `(B, L, C)` float32, averaged over layers, as they are."""
    import torch

    for batch in pixels.split(_CHUNK):
        with torch.inference_mode():
            layers = [f.float() for f in backbone.features(batch, method.layers or ())]
            if len({layer.shape for layer in layers}) > 1:
                raise ValueError(f"layers {method.layers} of {backbone.name} differ in shape")
            yield torch.stack(layers).mean(0).flatten(2).transpose(1, 2)


def _principal(tokens: Tensor, variance: float) -> tuple[Tensor, Tensor]:
    """Mean `(C,)` and principal components `(C, r)` of tokens `(M, C)`, found in float64."""
    import torch

    exact = tokens.double().cpu()  # not every device has float64
    mean = exact.mean(0)
    centred = exact - mean
    values, vectors = torch.linalg.eigh(centred.T @ centred)
    explained = values.flip(0).clamp_min(0).cumsum(0)
    rank = int((explained < variance * explained[-1]).sum()) + 1
    components = vectors.flip(1)[:, :rank]
    return mean.to(tokens), components.contiguous().to(tokens)


def _residual(tokens: Tensor, mean: Tensor, components: Tensor) -> Tensor:
    """Squared distance of tokens `(B, L, C)` to the subspace: `(B, L)`."""
    centred = tokens - mean
    return (centred - centred @ components @ components.T).square().sum(-1)
