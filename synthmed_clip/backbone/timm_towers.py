"""Towers of timm's, by name or by the configuration that its models have on the hub."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import timm
import torch
from torch import Tensor, nn

from synthmed_clip.backbone.tower import State, Tower, inner, require_whole_patches

PREFIX = "timm/"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def find(name: str) -> tuple[str, str | None]:
    """Complete a name by timm's default tag, and say where its weights are.

    Parameters
    ----------
    name : str
        As timm has it, with a tag after a dot or without.

    Returns
    -------
    name : str
    weights : str or None
        'owner/model' on the Hugging Face hub, perhaps with '/file'; None where timm names none.

    Raises
    ------
    ValueError
        If timm knows no such model.

    Examples
    --------
    >>> find("vit_small_patch14_dinov2")
    ('vit_small_patch14_dinov2.lvd142m', 'timm/vit_small_patch14_dinov2.lvd142m')
    """
    try:
        settings = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    except RuntimeError:  # an unknown tag
        settings = None
    if settings is None:
        raise ValueError(f"timm knows no model {name!r}; see timm.list_models(pretrained=True)")
    architecture, _, tag = name.partition(".")
    tag = tag or settings.tag or ""
    weights = settings.hf_hub_id
    if weights and settings.hf_hub_filename:
        weights = f"{weights}/{settings.hf_hub_filename}"
    return f"{architecture}.{tag}" if tag else architecture, weights


def build(
    config: dict[str, Any], state: State | None, source: str, image_size: int | None
) -> Tower:
    """Build a tower and load its weights, as timm's own `create_model(pretrained=True)` does.

    Parameters
    ----------
    config : dict
        `architecture`, and perhaps `pretrained_cfg` and `model_args`, as in a file of the hub.
    state : dict of Tensor or None
        None leaves the weights random, always the same.
    source : str
        What to call the weights in a message.
    image_size : int or None
        By default the weights' own.

    Raises
    ------
    ValueError
        If the weights do not fit, or the model cannot be built, takes no such size, or does not
        give its intermediate layers.
    """
    name = config["architecture"]
    options = dict(config.get("model_args") or {})
    settings = timm.models.resolve_pretrained_cfg(name, config.get("pretrained_cfg")).to_dict(
        remove_source=True, remove_null=False
    )
    if image_size is not None and settings["fixed_input_size"]:
        options["img_size"] = image_size  # timm resamples the positions while it loads them
    overlay: dict[str, Any] = {"num_classes": 0, "source": "timm", "custom_load": False}
    if state is not None:
        heads = settings["classifier"] or ()
        unused = tuple(f"{head}." for head in ((heads,) if isinstance(heads, str) else heads))
        overlay["state_dict"] = {k: v for k, v in state.items() if not k.startswith(unused)}
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            # No class is asked for, nor said to be in the weights: so loading is strict.
            net = timm.create_model(
                name,
                pretrained=state is not None,
                pretrained_cfg=config.get("pretrained_cfg"),
                pretrained_cfg_overlay=overlay,
                num_classes=0,
                **options,
            )
    except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        if state is None or "loading state_dict" not in str(e):
            raise ValueError(f"timm cannot build {name!r}: {e or type(e).__name__}") from e
        raise ValueError(f"{source} does not fit the model: {_first_problem(str(e))}") from e
    inner(net).pretrained_cfg.pop("state_dict", None)  # it would keep a second copy of all weights
    if not hasattr(net, "forward_intermediates"):
        raise ValueError(
            f"the tower {name!r} ({type(net).__name__}) offers no forward_intermediates"
        )
    own = timm.data.resolve_model_data_config(net)
    size = image_size or own["input_size"][-1]
    require_whole_patches(name, size, patch_side(net))
    return Tower(
        model=net,
        visual=net,
        intermediates=partial(_intermediates, net),
        last_tokens=partial(_last_tokens, net),
        image_size=size,
        mean=torch.tensor(own["mean"], dtype=torch.float32),
        std=torch.tensor(own["std"], dtype=torch.float32),
    )


def patch_side(net: nn.Module) -> int | None:
    """Return the side of a transformer's patches, in pixels; None for other towers."""
    patch = getattr(getattr(net, "patch_embed", None), "patch_size", None)
    return max(patch) if patch else None


def _intermediates(net: nn.Module, normalised: Tensor, indices: list[int] | None) -> list[Tensor]:
    return inner(net).forward_intermediates(
        normalised,
        indices=indices,
        norm=False,
        stop_early=True,
        output_fmt="NCHW",
        intermediates_only=True,
    )


def _last_tokens(net: nn.Module, normalised: Tensor) -> tuple[Tensor | None, Tensor]:
    forward = inner(net).forward_intermediates
    prefixed = getattr(net, "cls_token", None) is not None
    if not prefixed or "return_prefix_tokens" not in inspect.signature(forward).parameters:
        return None, _intermediates(net, normalised, None)[-1].flatten(2).transpose(1, 2)
    patches, prefix = forward(
        normalised, indices=1, norm=True, intermediates_only=True, return_prefix_tokens=True
    )[0]
    return prefix[:, 0], patches.flatten(2).transpose(1, 2)


def _first_problem(message: str) -> str:
    """Shorten torch's list of all weights that do not fit to the first one."""
    lines = [line.strip() for line in message.splitlines()[1:] if line.strip()]
    return lines[0].split(", ")[0].rstrip(". ") if lines else message
