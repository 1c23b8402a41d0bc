"""The learnt part of the detector, adapters and what the classes learn, and the anomaly map they
give (MediCLIP, 2024).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool1d, linear

from synthmed_clip.methods.maps import mean_of, resize

CONTEXT_SIGMA = 0.02


class Adapter(nn.Linear):
    """One linear map with bias in the precision of its input; its own weights stay float32."""

    def forward(self, tokens: Tensor) -> Tensor:
        return linear(tokens, self.weight.to(tokens.dtype), self.bias.to(tokens.dtype))


class AveragePool(nn.Module):
    """In place of an adapter: neighbouring channels averaged, so that `dim` of them are left."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, tokens: Tensor) -> Tensor:
        return adaptive_avg_pool1d(tokens, self.dim)


class Head(nn.Module):
    """Adapters (one linear map per layer) and what both classes learn, the context vectors of their
    prompts, or, without texts, a vector each; float32.

    Parameters
    ----------
    channels : sequence of int
        Channels of the chosen layers.
    dim : int
        To which the adapters map: length of a text feature, or of the class vectors.
    words : pair of int or None
        Number of normal and abnormal words; None to learn class vectors.
    tokens : int
        Context vectors per word.
    width : int
        Length of a context vector.
    seed : int
        Of the initial values: context normal with sigma 0.02, class vectors normal with sigma
        1/sqrt(dim) (of length 1, about), adapters uniform within +-1/sqrt(channels).
    adapters : bool
        False: average pooling over channels in their place, which learns nothing.
    """

    def __init__(
        self,
        channels: Sequence[int],
        dim: int,
        words: tuple[int, int] | None,
        tokens: int,
        width: int,
        seed: int = 0,
        adapters: bool = True,
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.adapters = nn.ModuleList(
            nn.utils.skip_init(Adapter, c, dim) if adapters else AveragePool(dim) for c in channels
        )
        if words is None:
            self.class_vectors = nn.Parameter(torch.empty(2, dim))
        else:
            self.context_normal = nn.Parameter(torch.empty(words[0], tokens, width))
            self.context_abnormal = nn.Parameter(torch.empty(words[1], tokens, width))
        with torch.no_grad():
            for adapter in (a for a in self.adapters if isinstance(a, Adapter)):
                bound = 1 / math.sqrt(adapter.in_features)
                adapter.weight.uniform_(-bound, bound, generator=generator)
                adapter.bias.uniform_(-bound, bound, generator=generator)
            if words is None:
                self.class_vectors.normal_(0, 1 / math.sqrt(dim), generator=generator)
                return
            for context in (self.context_normal, self.context_abnormal):
                context.normal_(0, CONTEXT_SIGMA, generator=generator)

    @property
    def context(self) -> Tensor:
        """The context of all words, `(W, M, width)`, the normal ones first."""
        return torch.cat([self.context_normal, self.context_abnormal])


def anomaly_map(
    head: Head,
    features: Sequence[Tensor],
    classes: Tensor,
    *,
    size: int,
    temperature: float,
    softmax_first: bool,
) -> Tensor:
    """Probability of being abnormal at every pixel (MediCLIP, eq. 2 to 4).

    With two classes the softmax is the logistic function of the difference of the similarities, so
    that one map does; and interpolation and mean, both linear, are done at the layers' own size
    first.

    Parameters
    ----------
    head : Head
    features : sequence of Tensor
        One `(B, C, h, w)` per layer, in the backbone's precision; the adapters multiply in it.
    classes : Tensor
        `(2, D)`, the unit vectors f_n and f_a.
    size : int
        Side of the map.
    temperature : float
        What the similarities are divided by.
    softmax_first : bool
        True: softmax per layer, then upsampling and mean (the paper). False: mean and upsampling of
        the similarities, then softmax (the release).

    Returns
    -------
    Tensor
        `(B, size, size)` float32.
    """
    layers = logits(head, features, classes, temperature)
    if softmax_first:
        layers = [logit.sigmoid() for logit in layers]
    full = resize(mean_of(layers), (size, size))
    return full if softmax_first else full.sigmoid()


def evidence_map(
    head: Head, features: Sequence[Tensor], classes: Tensor, *, size: int, temperature: float
) -> Tensor:
    """Mean over layers of the difference of similarities over the temperature, at every pixel.

    The logit of `anomaly_map`'s probability, but that the mean comes first: it does not saturate.

    Parameters and shapes are those of `anomaly_map`.
    """
    return resize(mean_of(logits(head, features, classes, temperature)), (size, size))


def logits(
    head: Head, features: Sequence[Tensor], classes: Tensor, temperature: float
) -> list[Tensor]:
    """Difference of the two similarities over the temperature, `(B, h, w)` for each layer."""
    direction = (classes[1] - classes[0]) / temperature
    layers = []
    for adapter, feature in zip(head.adapters, features, strict=True):
        tokens = feature.flatten(2).transpose(1, 2)
        z = adapter(tokens).float()
        logit = (z @ direction) / torch.linalg.vector_norm(z, dim=-1).clamp_min(1e-12)
        layers.append(logit.reshape(-1, *feature.shape[2:]))
    return layers
