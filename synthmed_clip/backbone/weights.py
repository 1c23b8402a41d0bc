"""Find and read the weights of a model. Nothing here unpickles."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import open_clip
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from synthmed_clip.backbone import hub
from synthmed_clip.backbone.tower import State


def find_weights(name: str, weights: str | Path, names: tuple[str, ...] = hub.WEIGHTS) -> Path:
    """Return the file of `weights`: a local one, or one that is cached or can be downloaded.

    Parameters
    ----------
    name : str
        Of the model.
    weights : str or Path
        A tag of that model, a file, a folder with a file named as on the hub, or
        'hf-hub:owner/model', perhaps with '/file'.
    names : tuple of str
        What the file is called on the hub.

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
        return _in_folder(Path(weights), names)
    if str(weights).startswith(hub.PREFIX):
        owner, model, *file = str(weights).removeprefix(hub.PREFIX).split("/")
        source = "/".join([owner, model, *file] if file else [owner, model, ""])
    else:
        source = open_clip.get_pretrained_cfg(name, str(weights)).get("hf_hub")
    if not source:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name))
        known = f"its tags: {tags}" if tags else "a model without tags: pass a file"
        raise FileNotFoundError(
            f"weights={str(weights)!r} is neither a file nor a tag of {name!r} ({known})"
        )
    repository, _, filename = source.rpartition("/")
    if filename:  # as open_clip does, safetensors are preferred to what the tag names
        names = (str(Path(filename).with_suffix(".safetensors")), filename)
    return hub.fetch(
        repository,
        names,
        f"the weights {str(weights)!r} of {name!r} are",
        "to use a copy from elsewhere: weights='path/to/file' (--weights FILE on the command "
        "line; .safetensors, .pt or .bin in the naming of the model's library)",
    )


def _in_folder(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"no weights in {folder}: looked for {', '.join(names)}")


def read_state(path: Path) -> State:
    """Read a state dict: safetensors, a `torch.save` of tensors, or OpenAI's TorchScript archive.

    Returns
    -------
    dict of Tensor
        On the CPU, in the file's own names and dtypes, less the prefix `module.`.

    Raises
    ------
    ValueError
        If the file is damaged, holds anything but tensors, or a weight is not finite.

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
        elif is_torchscript(path):
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
    found = {k.removeprefix("module."): v for k, v in state.items() if isinstance(v, Tensor)}
    for name, tensor in found.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"{path} is damaged: {name} holds NaN or infinity")
    return found


def _begins_as_safetensors(path: Path) -> bool:
    """Whether JSON follows a length of eight bytes: files in the hub's cache have no suffix."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def is_torchscript(path: Path) -> bool:
    """Whether a file is an archive of TorchScript, as OpenAI's are."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(n.endswith("constants.pkl") for n in archive.namelist())
