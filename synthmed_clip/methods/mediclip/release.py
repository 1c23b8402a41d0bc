"""Checkpoints of the authors' code."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor


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
        raise ValueError(
            f"{path} is not a checkpoint of tensors (damaged or cut short?): {error}"
        ) from error

    def part(name: str) -> dict[str, Tensor]:
        entry = saved.get(name) if isinstance(saved, dict) else None
        if not isinstance(entry, dict):
            raise ValueError(f"{path} is not a checkpoint of the release: {name} is missing")
        return entry

    def take(entries: dict[str, Tensor], name: str, dims: int) -> Tensor:
        found = entries.get(name)
        if not isinstance(found, Tensor) or found.ndim != dims:
            what = (
                f"of shape {tuple(found.shape)}"
                if isinstance(found, Tensor)
                else "missing or no tensor"
            )
            raise ValueError(
                f"{path} is not a checkpoint of the release: {name} is {what}; {dims} dimensions "
                f"are expected"
            )
        return found.float()

    adapters, context = part("adapter_state_dict"), part("prompt_state_dict")
    out: dict[str, Tensor] = {}
    for layer in range(max(1, len(adapters) // 2)):
        out[f"adapters.{layer}.weight"] = take(adapters, f"{layer}_adapter.0.weight", 4).flatten(1)
        out[f"adapters.{layer}.bias"] = take(adapters, f"{layer}_adapter.0.bias", 1)
    for group in ("normal", "abnormal"):
        out[f"context_{group}"] = take(context, f"ctx.{group}_end", 3)
    return out
