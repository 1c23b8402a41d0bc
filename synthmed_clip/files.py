"""Files that we write and read, whole or not at all: safetensors with JSON beside the tensors,
text; the release's own.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from synthmed.io import write_atomically


def check_outputs(outputs: Iterable[Path | None], inputs: Iterable[str | Path | None] = ()) -> None:
    """Refuse files to be written that would replace what is read, or could not be written: before
    hours of work.

    Parameters
    ----------
    outputs : iterable of Path or None
    inputs : iterable of path or None
        Files, or names that are no files. None stands for nothing, here and there.

    Raises
    ------
    ValueError
        If an output is a folder, is one of the inputs or another output, or cannot be in the folder
        that it names.
    """
    read = {Path(path).resolve() for path in inputs if path is not None and Path(path).is_file()}
    written: set[Path] = set()
    for path in (path for path in outputs if path is not None):
        if path.is_dir():
            raise ValueError(f"{path} is a folder; a file's name is needed")
        if path.resolve() in read:
            raise ValueError(
                f"{path} is read here, too, and would be replaced; name another output"
            )
        if path.resolve() in written:
            raise ValueError(f"{path} is named for two outputs; name another")
        written.add(path.resolve())
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise ValueError(
                f"{path} cannot be written: {folder} is no folder that can be written to"
            )


def write_safetensors(path: str | Path, tensors: dict[str, Tensor], data: dict) -> None:
    """Write tensors and JSON-ready data to a file that is either whole or as it was."""
    tensors = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    # One entry: the order of several is not fixed, and the same detector should be the same bytes.
    entry = json.dumps(data | {"tensors": _digest(tensors)}, sort_keys=True)
    write_bytes(Path(path), save(tensors, {"synthmed_clip": entry}))


def read_safetensors(path: str | Path, kind: str) -> tuple[dict[str, Tensor], dict]:
    """Read back what `write_safetensors` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, its tensors are not those that were written, or its data has another
        `format` than `kind`.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file at {path}")
    try:
        with safe_open(path, "pt") as file:
            data = json.loads((file.metadata() or {}).get("synthmed_clip", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from error
    found = data.get("format") if isinstance(data, dict) else None
    if found != kind:
        raise ValueError(f"{path} is no {kind!r} file; its format is {found!r}")
    if data.pop("tensors", None) != _digest(tensors):
        raise ValueError(f"{path} is damaged: its tensors are not those that were written")
    return tensors, data


def _digest(tensors: dict[str, Tensor]) -> str:
    sha = sha256()
    for name, tensor in sorted(tensors.items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        sha.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a text file that is either whole or as it was."""
    write_bytes(path, text.encode())


def write_csv(path: Path, rows: Sequence[dict]) -> None:
    """Write rows that share their keys, at least one, likewise."""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, out.getvalue())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file that is either whole or as it was, in a folder that is made where it
    is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
