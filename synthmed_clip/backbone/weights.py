"""Find, read and check the weights of an open_clip model. Nothing here unpickles."""

from __future__ import annotations

import hashlib
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import (
    convert_to_custom_text_state_dict,
    resize_pos_embed,
    resize_text_pos_embed,
)
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from synthmed_clip.backbone import hub

State = dict[str, Tensor]

_NO_WEIGHT = ".embeddings.position_ids"  # of a Hugging Face text tower; transformers stored it once


def locate(name: str, weights: str | Path) -> Path:
    """Return the file of `weights`: a local one, or one that is cached or can be downloaded.

    Parameters
    ----------
    name : str
        open_clip's name of the model.
    weights : str or Path
        A tag of that model, a file, a folder with a file named as on the hub, or
        'hf-hub:owner/model'.

    Raises
    ------
    FileNotFoundError
        If it is none of them, or is not cached and the network is not there (said within ten
        seconds).
    """
    if Path(weights).is_file():
        return Path(weights)
    if Path(weights).is_dir():
        return _in_folder(Path(weights))
    if str(weights).startswith(hub.PREFIX):
        config: Mapping = {"hf_hub": str(weights).removeprefix(hub.PREFIX) + "/"}
    else:
        config = open_clip.get_pretrained_cfg(name, str(weights))
    if not config:
        tags = open_clip.list_pretrained_tags_by_model(name)
        raise FileNotFoundError(
            f"weights={str(weights)!r} is neither a file nor a tag of {name!r}"
            + (
                f" (its tags: {', '.join(tags)})"
                if tags
                else " (a model without tags: pass a file)"
            )
        )
    place, url = _cache_place(config)
    if place.is_file():
        return place
    if not hub.reachable(url):
        raise FileNotFoundError(
            f"the weights {str(weights)!r} of {name!r} are not on this machine and {url} cannot "
            f"be reached.\n"
            f"  looked for: {place}\n"
            f"  to use a copy from elsewhere: weights='path/to/file' "
            f"(--weights FILE on the command line; .safetensors, .pt or .bin in open_clip's naming)"
        )
    return Path(open_clip.download_pretrained(config))


def _in_folder(folder: Path) -> Path:
    for name in hub.WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"no weights in {folder}: looked for {', '.join(hub.WEIGHTS)}")


def _cache_place(config: Mapping) -> tuple[Path, str]:
    """Where open_clip would find the file of a tag, and whence it would take it."""
    repository, _, filename = config.get("hf_hub", "").rpartition("/")
    if not repository:
        url = config.get("url", "")
        return Path("~/.cache/clip").expanduser() / Path(url).name, url
    names = (
        [filename] if filename else ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]
    )
    names = [str(Path(n).with_suffix(".safetensors")) for n in names] + names
    return hub.cached(repository, names) or hub.place(repository, names[0]), hub.address(repository)


def read(path: Path) -> State:
    """Read a state dict: safetensors, a `torch.save` of tensors, or OpenAI's TorchScript archive.

    Raises
    ------
    ValueError
        If the file is damaged, or holds anything but tensors.
    """
    try:
        if path.suffix.lower() == ".safetensors" or _begins_as_safetensors(path):
            state: Any = load_file(path)
        elif _is_torchscript(path):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch.jit is deprecated, OpenAI's files remain
                state = dict(torch.jit.load(path, map_location="cpu").state_dict())
            for entry in ("input_resolution", "context_length", "vocab_size"):
                state.pop(entry, None)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise ValueError(
            f"{path} is not a readable checkpoint (damaged or cut short?): {error}"
        ) from error
    except (
        Exception
    ) as error:  # pickle.UnpicklingError and its kin, which advise to unpickle what is not tensors
        raise ValueError(
            f"{path} is no file of weights, or holds more than tensors, which is not read"
        ) from error
    for entry in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(entry), dict):
            state = state[entry]
    if not isinstance(state, Mapping) or not any(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path} holds no state dict")
    return {k.removeprefix("module."): v for k, v in state.items() if isinstance(v, Tensor)}


def _begins_as_safetensors(path: Path) -> bool:
    """Whether JSON follows a length of eight bytes: files in the hub's cache have no suffix."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(n.endswith("constants.pkl") for n in archive.namelist())


def load_into(model: nn.Module, state: State, source: str, visual_only: bool = False) -> None:
    """Copy `state` into an open_clip model, all of it or its visual tower alone.

    Parameters
    ----------
    model : nn.Module
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
    tower = {k for k in model.state_dict() if _wanted(k, True)}
    tower_only = not visual_only and not any(
        k in state for k in model.state_dict() if not k.startswith("visual.")
    )
    tower_only = tower_only and tower <= _visual_part(model, state).keys()
    if visual_only:
        state = _visual_part(model, state)
    else:
        state = convert_state_dict(model, state)
        if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
            state = convert_to_custom_text_state_dict(state)
    targets = {k: v for k, v in model.state_dict().items() if _wanted(k, visual_only)}
    state = {k: v for k, v in state.items() if k in targets or not k.endswith(_NO_WEIGHT)}
    for name in (
        "logit_scale",
        "logit_bias",
    ):  # not used here, and stored as a scalar or as a vector
        if name in targets:
            state[name] = state.get(name, targets[name]).reshape(targets[name].shape)
    if "visual.positional_embedding" in targets:
        _same_width(state, targets, "visual.positional_embedding", source)
        resize_pos_embed(state, model)
    if not visual_only and any(
        k.endswith("positional_embedding") and "visual" not in k for k in state
    ):
        key = next(k for k in state if k.endswith("positional_embedding") and "visual" not in k)
        _same_width(state, targets, key, source)
        resize_text_pos_embed(state, model)
    problem = first_mismatch(targets, state)
    if problem:
        hint = "; pass random_text=True if the visual tower alone is meant" if tower_only else ""
        raise ValueError(f"{source} does not fit the model: {problem}{hint}")
    model.load_state_dict(state, strict=False)


def first_mismatch(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str | None:
    """Describe the first weight of `wanted` that `given` lacks or shapes otherwise, or the first
    surplus.
    """
    for name, tensor in wanted.items():
        if name not in given:
            return f"{name} {tuple(tensor.shape)} is missing"
        if given[name].shape != tensor.shape:
            return f"{name} is {tuple(given[name].shape)}, not {tuple(tensor.shape)}"
    surplus = next((name for name in given if name not in wanted), None)
    return (
        None if surplus is None else f"{surplus} {tuple(given[surplus].shape)} has no place in it"
    )


def _wanted(name: str, visual_only: bool) -> bool:
    # The heads of a timm tower serve no patch token, and tower-only files do not have them.
    return not visual_only or (name.startswith("visual.") and not name.startswith("visual.head."))


def _same_width(state: State, targets: State, name: str, source: str) -> None:
    """Refuse another width before open_clip resamples positions, which would fail without naming
    it.
    """
    given, wanted = state.get(name), targets.get(name)
    if given is not None and wanted is not None and given.shape[-1] != wanted.shape[-1]:
        raise ValueError(
            f"{source} does not fit the model: {name} is {tuple(given.shape)}, not "
            f"{tuple(wanted.shape)}"
        )


def _visual_part(model: nn.Module, state: State) -> State:
    trunk = getattr(model.visual, "trunk", None)
    if any(k.startswith("visual.") for k in state):
        state = {k: v for k, v in state.items() if k.startswith("visual.") and _wanted(k, True)}
    else:
        prefix = (
            "visual."
            if trunk is None or any(k.startswith("trunk.") for k in state)
            else "visual.trunk."
        )
        state = {prefix + k: v for k, v in state.items()}
    if trunk is not None:
        classifier = (getattr(trunk, "pretrained_cfg", None) or {}).get("classifier") or ()
        heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
        state = {
            k: v
            for k, v in state.items()
            if not k.startswith(tuple(f"visual.trunk.{h}." for h in heads) or ("\0",))
        }
    return state


def digest(module: nn.Module) -> str:
    """SHA-256 of a module's weights, names and shapes included; the same for the same float32
    values.
    """
    sha = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        sha.update(f"{name}{tuple(tensor.shape)}".encode())
        sha.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().data)
    return sha.hexdigest()
