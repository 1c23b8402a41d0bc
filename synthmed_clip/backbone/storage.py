"""Tensors in safetensors files, with JSON as metadata."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from synthmed_clip.files import require_file, write_bytes


def write_safetensors(path: str | Path, tensors: dict[str, Tensor], data: dict) -> None:
    """Write tensors and JSON-ready data to a file that is either whole or as it was.

    Parameters
    ----------
    path : str or Path
        In a folder that is made where it is missing.
    tensors : dict of Tensor
        Of any dtype, shape and device.
    data : dict
        What JSON can hold, written as the file's metadata; its `format` says what the file is. A
        SHA-256 of all of it and of the tensors is written with it.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "a.safetensors"
    ...     write_safetensors(path, {"x": torch.ones(2)}, {"format": "mine 1", "epochs": 3})
    ...     tensors, data = read_safetensors(path, "mine 1")
    >>> tensors["x"], data["epochs"]
    (tensor([1., 1.]), 3)
    """
    tensors = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    # One entry: the order of several is not fixed, and the same detector should be the same bytes.
    write_bytes(Path(path), save(tensors, {"synthmed_clip": _entry(tensors, data)}))


def read_safetensors(path: str | Path, kind: str) -> tuple[dict[str, Tensor], dict]:
    """Read back what `write_safetensors` wrote.

    Parameters
    ----------
    path : str or Path
    kind : str
        The `format` that its data must have.

    Returns
    -------
    tensors : dict of Tensor
        On the CPU.
    data : dict

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is a folder, is damaged anywhere, or its data has another `format` than `kind`.
    """
    require_file(path, kind.removeprefix("synthmed-clip ").rpartition(" ")[0] or kind)
    try:
        with safe_open(path, "pt") as file:
            entry = (file.metadata() or {}).get("synthmed_clip", "{}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        data = json.loads(entry)
    except (RecursionError, SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from error
    found = data.get("format") if isinstance(data, dict) else None
    if found != kind:
        raise ValueError(f"{path} is no {kind!r} file; its format is {found!r}")
    data.pop("sha256", None)
    if _entry(tensors, data) != entry:  # to the letter: no other spelling of the same data
        raise ValueError(
            f"{path} is damaged: its tensors or its settings are not those that were written"
        )
    return tensors, data


def _entry(tensors: dict[str, Tensor], data: dict) -> str:
    """What stands in the file beside the tensors: data and a digest of all, `format` first, by
    which the file is known as ours.
    """
    text = json.dumps(data, sort_keys=True)
    digest = {"sha256": _digest(tensors, text)}
    return json.dumps({"format": data.get("format")} | digest | json.loads(text))


def _digest(tensors: dict[str, Tensor], text: str) -> str:
    """SHA-256 of a text, and of the tensors' names, dtypes, shapes and bytes."""
    sha = sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        sha.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()
