"""State dicts put into open_clip's models, whichever known form they are in; compared, digested."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from open_clip.convert import convert_state_dict
from open_clip.model import (
    convert_to_custom_text_state_dict,
    resize_pos_embed,
    resize_text_pos_embed,
)
from torch import Tensor, nn

from synthmed_clip.backbone.open_clip_internals.towers import timm_settings
from synthmed_clip.backbone.tower import State, inner

_POSITION_IDS = ".embeddings.position_ids"  # transformers stored them once; they are no weight


def load_into(net: nn.Module, state: State, source: str, visual_only: bool = False) -> None:
    """Copy a state dict into an open_clip model, all of it or its visual tower alone.

    Parameters
    ----------
    net : nn.Module
        An open_clip model, float32.
    state : dict of Tensor
        In open_clip's naming; with `visual_only` the names may lack their `visual.` (and `trunk.`)
        prefix.
    source : str
        How to call the checkpoint in a message.
    visual_only : bool
        Whether the checkpoint need cover nothing but the visual tower.

    Raises
    ------
    ValueError
        That names the first missing, surplus or misshapen weight.
    """
    wanted = _required_weights(net, visual_only)
    given = _visual_weights(net, state) if visual_only else _model_weights(net, state)
    given = _resample_positions(net, given)
    problem = first_mismatch(wanted, given)
    if problem:
        hint = ""
        if not visual_only and _is_visual_tower(net, state):
            hint = "; pass random_text=True if the visual tower alone is meant"
        raise ValueError(f"{source} does not fit the model: {problem}{hint}")
    net.load_state_dict(given, strict=False)


def _is_visual_tower(net: nn.Module, state: State) -> bool:
    """Whether a state dict covers the visual tower, and nothing else of the model."""
    visual = _required_weights(net, visual_only=True).keys()
    rest = {name for name in net.state_dict() if not name.startswith("visual.")}
    return not rest & state.keys() and visual <= _visual_weights(net, state).keys()


def first_mismatch(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str | None:
    """Describe the first weight of `wanted` that `given` lacks, shapes otherwise or holds as
    another kind of number, or the first surplus.

    Examples
    --------
    >>> first_mismatch({"x": torch.ones(2)}, {"x": torch.ones(3)})
    'x is (3,), not (2,)'
    >>> first_mismatch({"x": torch.ones(2)}, {"x": torch.zeros(2)}) is None
    True
    """
    for name, tensor in wanted.items():
        if name not in given:
            return f"{name} {tuple(tensor.shape)} is missing"
        if given[name].shape != tensor.shape:
            return f"{name} is {tuple(given[name].shape)}, not {tuple(tensor.shape)}"
        if given[name].is_floating_point() != tensor.is_floating_point():
            return f"{name} holds {given[name].dtype}, not {tensor.dtype}"
    surplus = next((name for name in given if name not in wanted), None)
    return (
        None if surplus is None else f"{surplus} {tuple(given[surplus].shape)} has no place in it"
    )


def _required_weights(net: nn.Module, visual_only: bool) -> State:
    """Return the weights that a checkpoint must have, of the model or its visual tower alone.

    The heads of a timm tower serve no patch token, and files of a tower alone do not have them.
    """
    state = net.state_dict()
    if not visual_only:
        return state
    return {name: tensor for name, tensor in state.items() if _is_visual(name)}


def _visual_weights(net: nn.Module, state: State) -> State:
    """Return a checkpoint's weights of the visual tower, under the model's names.

    In the checkpoint they may lack the prefix `visual.`, and `trunk.` after it.
    """
    trunk = getattr(inner(net).visual, "trunk", None)
    if any(name.startswith("visual.") for name in state):
        state = {name: tensor for name, tensor in state.items() if _is_visual(name)}
    else:
        bare = trunk is not None and not any(name.startswith("trunk.") for name in state)
        prefix = "visual.trunk." if bare else "visual."
        state = {prefix + name: tensor for name, tensor in state.items()}
    heads = timm_settings(inner(net).visual).get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else heads
    unused = tuple(f"visual.trunk.{head}." for head in heads)
    return {name: tensor for name, tensor in state.items() if not name.startswith(unused)}


def _model_weights(net: nn.Module, state: State) -> State:
    """Return a checkpoint's weights under the model's names, whichever known form it is in."""
    wanted = net.state_dict()
    state = convert_state_dict(net, dict(state))
    if "positional_embedding" in state and "positional_embedding" not in wanted:
        state = convert_to_custom_text_state_dict(state)
    state = {k: v for k, v in state.items() if k in wanted or not k.endswith(_POSITION_IDS)}
    for name in ("logit_scale", "logit_bias"):  # not used here; stored as a scalar or as a vector
        if name in wanted:
            state[name] = state.get(name, wanted[name]).reshape(wanted[name].shape)
    return state


def _resample_positions(net: nn.Module, state: State) -> State:
    """Bring positional embeddings of the same width to the model's number of positions."""
    state, wanted = dict(state), net.state_dict()
    # Another width makes open_clip fail without naming it; it is left to the comparison of shapes.
    fitting = {
        name
        for name, tensor in state.items()
        if name in wanted and tensor.shape[-1:] == wanted[name].shape[-1:]
    }
    if "visual.positional_embedding" in fitting:
        resize_pos_embed(state, net)
    if fitting & {"positional_embedding", "text.positional_embedding"}:
        resize_text_pos_embed(state, net)
    return state


def _is_visual(name: str) -> bool:
    return name.startswith("visual.") and not name.startswith("visual.head.")


def weights_digest(module: nn.Module) -> str:
    """SHA-256 of a module's weights, names and shapes included; the same for the same float32
    values.

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> layer = nn.Linear(2, 1)
    >>> before = weights_digest(layer)
    >>> before == weights_digest(layer.bfloat16().float())  # rounded: other weights
    False
    """
    sha = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        sha.update(f"{name}{tuple(tensor.shape)}".encode())
        sha.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().data)
    return sha.hexdigest()
