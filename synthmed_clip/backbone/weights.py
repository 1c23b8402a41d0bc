"""Find, read and check the weights of an open_clip model. Nothing here unpickles."""

from __future__ import annotations

import hashlib
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import open_clip
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from synthmed_clip.backbone import hub
from synthmed_clip.backbone.open_clip_internals import (
    State,
    model_weights,
    required_weights,
    resample_positions,
    visual_weights,
)


def find_weights(name: str, weights: str | Path) -> Path:
    """Return the file of `weights`: a local one, or one that is cached or can be downloaded.

    Parameters
    ----------
    name : str
        open_clip's name of the model.
    weights : str or Path
        A tag of that model, a file, a folder with a file named as on the hub, or
        'hf-hub:owner/model'.

    Returns
    -------
    Path

    Raises
    ------
    FileNotFoundError
        If it is none of them, or is not cached and the network is not there (said within ten
        seconds).

    Examples
    --------
    >>> find_weights("ViT-B-32", "my-weights.pt")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    FileNotFoundError: weights='my-weights.pt' is neither a file nor a tag of 'ViT-B-32' (its ...
    """
    if Path(weights).is_file():
        return Path(weights)
    if Path(weights).is_dir():
        return _in_folder(Path(weights))
    if str(weights).startswith(hub.PREFIX):
        source = str(weights).removeprefix(hub.PREFIX) + "/"
    else:
        source = open_clip.get_pretrained_cfg(name, str(weights)).get("hf_hub")
    if not source:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name))
        known = f"its tags: {tags}" if tags else "a model without tags: pass a file"
        raise FileNotFoundError(
            f"weights={str(weights)!r} is neither a file nor a tag of {name!r} ({known})"
        )
    repository, _, filename = source.rpartition("/")
    # As open_clip does, safetensors are preferred to what the tag names.
    names = (str(Path(filename).with_suffix(".safetensors")), filename) if filename else hub.WEIGHTS
    found = hub.cached(repository, names)
    if found is not None:
        return found
    hub.require_reachable(
        repository,
        f"the weights {str(weights)!r} of {name!r} are",
        names,
        "to use a copy from elsewhere: weights='path/to/file' (--weights FILE on the command "
        "line; .safetensors, .pt or .bin in open_clip's naming)",
    )
    return Path(open_clip.download_pretrained({"hf_hub": source}))


def _in_folder(folder: Path) -> Path:
    for name in hub.WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"no weights in {folder}: looked for {', '.join(hub.WEIGHTS)}")


def read_state(path: Path) -> State:
    """Read a state dict: safetensors, a `torch.save` of tensors, or OpenAI's TorchScript archive.

    Returns
    -------
    dict of Tensor
        On the CPU, in the file's own names and dtypes, less the prefix `module.`.

    Raises
    ------
    ValueError
        If the file is damaged, or holds anything but tensors.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "weights.pt"
    ...     torch.save({"state_dict": {"module.x": torch.ones(2)}}, path)
    ...     read_state(path)
    {'x': tensor([1., 1.])}
    """
    try:
        if path.suffix.lower() == ".safetensors" or _begins_as_safetensors(path):
            state: object = load_file(path)
        elif _is_torchscript(path):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch.jit is deprecated, OpenAI's files remain
                archive = torch.jit.load(path, map_location="cpu").state_dict()
            settings = {"input_resolution", "context_length", "vocab_size"}
            state = {name: tensor for name, tensor in archive.items() if name not in settings}
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise ValueError(
            f"{path} is not a readable checkpoint (damaged or cut short?): {error}"
        ) from error
    except Exception as error:  # pickle's errors, which advise to unpickle what is not tensors
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
    wanted = required_weights(net, visual_only)
    given = visual_weights(net, state) if visual_only else model_weights(net, state)
    given = resample_positions(net, given)
    problem = first_mismatch(wanted, given)
    if problem:
        hint = ""
        if not visual_only and _is_visual_tower(net, state):
            hint = "; pass random_text=True if the visual tower alone is meant"
        raise ValueError(f"{source} does not fit the model: {problem}{hint}")
    net.load_state_dict(given, strict=False)


def _is_visual_tower(net: nn.Module, state: State) -> bool:
    """Whether a state dict covers the visual tower, and nothing else of the model."""
    visual = required_weights(net, visual_only=True).keys()
    rest = {name for name in net.state_dict() if not name.startswith("visual.")}
    return not rest & state.keys() and visual <= visual_weights(net, state).keys()


def first_mismatch(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str | None:
    """Describe the first weight of `wanted` that `given` lacks or shapes otherwise, or the first
    surplus.

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
    surplus = next((name for name in given if name not in wanted), None)
    return (
        None if surplus is None else f"{surplus} {tuple(given[surplus].shape)} has no place in it"
    )


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
