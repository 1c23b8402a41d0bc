"""Distance to the linear subspace that the support images' patches span."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Self

from annotated_types import Ge, Gt, Interval, MinLen

from synthmed_clip.methods.base import Channels, Depth, Fitted, Method, Scores, State
from synthmed_clip.training.seeds import RNG, Entropy, draw_entropy

if TYPE_CHECKING:
    from torch import Tensor

    from synthmed_clip.backbone.model import Backbone


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
        How many random rotations of each support image are added. The paper has 30 where
        orientation is free, and none elsewhere.
    sigma : float
        Standard deviation of the Gaussian blur of maps, in pixels.
    pool : float
        An image's score is the mean of this share of its pixels, those of largest distance.
    channels : {'grey', 'colour'}
        How images are seen, to fit and to score.

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
    channels: Channels = "grey"

    def resolved(self, backbone: Backbone) -> Self:
        """Fill in the layers."""
        layers = backbone.layers_between(*self.depth) if self.layers is None else self.layers
        return replace(self, layers=backbone.checked_layers(layers))

    def fit(self, support: Tensor, backbone: Backbone, rng: RNG = None) -> FittedSubspace:
        """Find the subspace, by an eigenvalue decomposition in float64."""
        method, entropy = self.resolved(backbone), draw_entropy(rng)
        turns = _turned_tokens(method, backbone, support, entropy)
        mean, components = _principal(_sum(map(_moments, turns)), method.variance)
        device = backbone.device
        return FittedSubspace(method, backbone, mean.to(device), components.to(device), entropy)

    @classmethod
    def restore(cls, state: State, backbone: Backbone) -> FittedSubspace:
        """Take mean and components from a state."""
        method = cls.from_dict(state["method"]).resolved(backbone)
        mean, components = state["mean"], state["components"]
        channels = backbone.channels[(method.layers or (1,))[0] - 1]
        if mean.shape != (channels,) or components.ndim != 2 or len(components) != channels:
            shapes = f"{tuple(mean.shape)} and {tuple(components.shape)}"
            raise ValueError(f"mean and components are {shapes}, not of {channels} channels")
        device, entropy = backbone.device, tuple(map(int, state["entropy"]))
        return FittedSubspace(method, backbone, mean.to(device), components.to(device), entropy)


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
    entropy : tuple of int
        What the rotations were drawn from.
    """

    method: Subspace
    backbone: Backbone
    mean: Tensor
    components: Tensor
    entropy: Entropy

    def score(self, pixels: Tensor) -> Scores:
        """Measure what of each patch the subspace does not explain."""
        tokens = _tokens(pixels, self.method, self.backbone)
        return self._scores(_residual(tokens, self.mean, self.components))

    def score_left_out(self, support: Tensor) -> Scores | None:
        """Find the subspace anew without each image and its rotations, and measure the image."""
        import torch

        if len(support) < 2:
            return None
        turns = list(_turned_tokens(self.method, self.backbone, support, self.entropy))
        total = _sum(map(_moments, turns))
        found = []
        for index, own in enumerate(turns[0]):
            without = _moments(torch.stack([tokens[index] for tokens in turns]))
            rest = [whole - part for whole, part in zip(total, without, strict=True)]
            found.append(_residual(own[None], *_principal(rest, self.method.variance)))
        return self._scores(torch.cat(found))

    def state(self) -> State:
        """Return mean and components, and the method as data."""
        return {
            "mean": self.mean,
            "components": self.components,
            "entropy": list(self.entropy),
            "method": self.method.to_dict(),
        }

    def pool(self, values: Tensor) -> Tensor:
        """Average the largest share."""
        from synthmed_clip.methods.maps import largest_mean

        return largest_mean(values, self.method.pool)

    def _scores(self, residual: Tensor) -> Scores:
        """Bring residuals `(B, L)` to pixels, blur them, and pool."""
        from synthmed_clip.methods.maps import blur, upsample
        from synthmed_clip.methods.patches import square_of

        maps = upsample(square_of(residual), self.backbone.image_size)
        maps = blur(maps, self.method.sigma)
        return Scores(self.pool(maps.flatten(1)), maps)


def _tokens(pixels: Tensor, method: Subspace, backbone: Backbone) -> Tensor:
    """Patch tokens `(N, L, C)` float32, averaged over layers, as they are."""
    import torch

    from synthmed_clip.methods.patches import tokens_of

    layers = tokens_of(backbone, pixels, method.layers or ())
    if len({tuple(map(int, layer.shape)) for layer in layers}) > 1:
        raise ValueError(f"layers {method.layers} of {backbone.name} differ in shape")
    return torch.stack(layers).mean(0)


def _turned_tokens(
    method: Subspace, backbone: Backbone, support: Tensor, entropy: Entropy
) -> Iterator[Tensor]:
    """Yield the tokens of the support images, then those of each random rotation."""
    import numpy as np

    from synthmed_clip.methods.patches import rotated

    yield _tokens(support, method, backbone)
    generator = np.random.default_rng(np.random.SeedSequence(entropy))
    for _ in range(method.rotations):
        turned = rotated(support, generator.uniform(0, 360, len(support)).tolist())
        yield _tokens(turned, method, backbone)


def _moments(tokens: Tensor) -> list[Tensor]:
    """Count, sum `(C,)` and sum of products `(C, C)` of tokens `(N, L, C)`; float64, on the CPU
    since not every device has it.
    """
    exact = tokens.flatten(0, 1).double().cpu()
    return [exact.new_tensor(len(exact)), exact.sum(0), exact.T @ exact]


def _sum(moments: Iterable[list[Tensor]]) -> list[Tensor]:
    return [sum(parts[1:], start=parts[0]) for parts in zip(*moments, strict=True)]


def _principal(moments: list[Tensor], variance: float) -> tuple[Tensor, Tensor]:
    """Mean `(C,)` and principal components `(C, r)`, float32, of tokens by their moments."""
    import torch

    count, first, second = moments
    mean = first / count
    values, vectors = torch.linalg.eigh(second - first[:, None] * mean)
    explained = values.flip(0).clamp_min(0).cumsum(0)
    rank = int((explained < variance * explained[-1]).sum()) + 1
    components = vectors.flip(1)[:, :rank]
    return mean.float(), components.contiguous().float()


def _residual(tokens: Tensor, mean: Tensor, components: Tensor) -> Tensor:
    """Squared distance of tokens `(B, L, C)` to the subspace: `(B, L)`."""
    mean, components = mean.to(tokens), components.to(tokens)  # left-out ones are on the CPU
    centred = tokens - mean
    return (centred - centred @ components @ components.T).square().sum(-1)
