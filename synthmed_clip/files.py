"""Files of weights that we write and read: safetensors with JSON beside the tensors; the release's own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor


def write_safetensors(path: str | Path, tensors: dict[str, Tensor], data: dict) -> None:
    """Write tensors and JSON-ready data to a file that is either whole or as it was."""
    tensors = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    # One entry: the order of several is not fixed, and the same detector should be the same bytes.
    _write(Path(path), save(tensors, {"synthmed_clip": json.dumps(data, sort_keys=True)}))


def read_safetensors(path: str | Path, kind: str) -> tuple[dict[str, Tensor], dict]:
    """Read back what `write_safetensors` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, or its data has another `format` than `kind`.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file at {path}")
    try:
        with safe_open(path, "pt") as file:
            data = json.loads((file.metadata() or {}).get("synthmed_clip", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from error
    if data.get("format") != kind:
        raise ValueError(f"{path} is no {kind!r} file; its format is {data.get('format')!r}")
    return tensors, data


def read_release(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint of the authors' code: its two state dicts under our names, float32.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it holds anything but tensors, or lacks an entry (the first one is named).
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file at {path}")
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises pickle, zip and runtime errors of many kinds
        raise ValueError(f"{path} is not a checkpoint of tensors (damaged or cut short?): {error}") from error

    def part(name: str) -> dict[str, Tensor]:
        entry = saved.get(name) if isinstance(saved, dict) else None
        if not isinstance(entry, dict):
            raise ValueError(f"{path} is not a checkpoint of the release: {name} is missing")
        return entry

    def take(entries: dict[str, Tensor], name: str) -> Tensor:
        if name not in entries:
            raise ValueError(f"{path} is not a checkpoint of the release: {name} is missing")
        return entries[name].float()

    adapters, context = part("adapter_state_dict"), part("prompt_state_dict")
    out: dict[str, Tensor] = {}
    for layer in range(max(1, len(adapters) // 2)):
        out[f"adapters.{layer}.weight"] = take(adapters, f"{layer}_adapter.0.weight").flatten(1)
        out[f"adapters.{layer}.bias"] = take(adapters, f"{layer}_adapter.0.bias")
    for group in ("normal", "abnormal"):
        out[f"context_{group}"] = take(context, f"ctx.{group}_end")
    return out


def write_text(path: Path, text: str) -> None:
    """Write a text file that is either whole or as it was."""
    _write(path, text.encode())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
