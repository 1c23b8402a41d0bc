"""Models of open_clip's, whole or the visual tower alone."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

import torch

from synthmed_clip.backbone.architecture import Architecture, normalisation
from synthmed_clip.backbone.hub import resolve_in_cache
from synthmed_clip.backbone.open_clip_internals import towers
from synthmed_clip.backbone.open_clip_internals.state_dicts import load_into
from synthmed_clip.backbone.tower import State, Tower, require_whole_patches


def build(
    found: Architecture,
    name: str,
    weights: str | Path | None,
    state: State | None,
    source: str,
    image_size: int | None,
    random_text: bool,
) -> Tower:
    """Build a model and load its weights; see `synthmed_clip.load_backbone`."""
    text_config = resolve_in_cache(found.config["text_cfg"], name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = towers.build(found.config | {"text_cfg": text_config}, image_size)
    visual = towers.take_visual_tower(net, name)
    size = towers.side_of(visual, image_size)
    require_whole_patches(name, size, towers.patch_side(visual))
    mean, std = normalisation(name, found.config, weights, towers.timm_settings(visual))
    if state is not None:
        load_into(net, state, source, visual_only=random_text)
        if random_text:
            warnings.warn(
                f"{name}: {source} gives the visual tower alone; the text tower is random",
                stacklevel=3,
            )
    return Tower(
        model=net,
        visual=visual,
        intermediates=partial(towers.intermediates, visual),
        last_tokens=partial(towers.last_tokens, visual),
        image_size=towers.set_image_size(visual, size),
        mean=mean,
        std=std,
        take_text=partial(towers.take_text_tower, net, name, text_config),
        text_dim=found.config["embed_dim"],
    )
