"""Backbone, settings and weights put together: a head, and the class features that its context
gives.
"""

from __future__ import annotations

import torch
from torch import Tensor

from synthmed_clip.backbone.model import Backbone
from synthmed_clip.backbone.weights import first_mismatch
from synthmed_clip.methods.mediclip.head import Head
from synthmed_clip.methods.mediclip.prompts import class_features, embed_prompts
from synthmed_clip.methods.mediclip.settings import VARIANTS, Settings


def build_head(
    backbone: Backbone,
    settings: Settings,
    state: dict[str, Tensor] | None = None,
    source: str = "",
    seed: int = 0,
) -> Head:
    """Make the head that settings and backbone ask for, new or from saved weights, on the same
    device.
    """
    if not settings.layers or not set(settings.layers) <= set(range(1, backbone.depth + 1)):
        raise ValueError(
            f"layers must be among 1 to {backbone.depth} of {backbone.name}, not {settings.layers}"
        )
    head = Head(
        [backbone.channels[layer - 1] for layer in settings.layers],
        backbone.text_dim,
        (len(settings.words[0]), len(settings.words[1])),
        settings.tokens,
        backbone.text.width,
        seed,
        settings.adapters,
    )
    if state is not None:
        problem = first_mismatch(head.state_dict(), state)
        if problem:
            raise ValueError(
                f"{source} does not fit {backbone.name} with layers {settings.layers}: {problem}"
            )
        head.load_state_dict(state)
    return head.to(backbone.device)


def encode_classes(backbone: Backbone, settings: Settings, head: Head) -> Tensor:
    """Return the class features that the head's context gives, `(2, D)`, without gradient."""
    prompts = embed_prompts(
        backbone.text, settings.words, settings.tokens, VARIANTS[settings.variant].causal
    )
    with torch.no_grad():
        return class_features(backbone.text, prompts, head.context)


def precision_name(backbone: Backbone) -> str:
    """Return 'float32' or 'bfloat16'."""
    return str(backbone.dtype).removeprefix("torch.")
