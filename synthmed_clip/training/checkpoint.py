"""The state of an unfinished fit, so that an interrupted one goes on to the same result."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from synthmed_clip.backbone.storage import read_safetensors, write_safetensors
from synthmed_clip.methods.mediclip.settings import Epoch
from synthmed_clip.training.loop import Learner
from synthmed_clip.training.selection import Selection

_FORMAT = "synthmed-clip checkpoint 2"
_ADAM = ("step", "exp_avg", "exp_avg_sq")


def write(
    path: str | Path,
    learner: Learner,
    selection: Selection | None,
    log: list[Epoch],
    identity: dict,
) -> None:
    """Write a fit's state after an epoch; `identity` is what a fit must share to go on from it."""
    names = [name for name, _ in learner.head.named_parameters()]
    tensors = {f"head.{name}": tensor for name, tensor in learner.head.state_dict().items()}
    tensors |= {f"mean.{name}": tensor for name, tensor in learner.mean.state_dict().items()}
    for index, state in learner.optimiser.state_dict()["state"].items():
        tensors |= {f"adam.{names[index]}.{key}": state[key] for key in _ADAM}
    if selection is not None:
        tensors |= {f"best.{name}": tensor for name, tensor in selection.best.items()}
    data = {"format": _FORMAT, "identity": identity, "log": [asdict(epoch) for epoch in log]}
    write_safetensors(path, tensors, data)


def read(path: str | Path, identity: dict, free: set[str]) -> tuple[dict[str, Tensor], dict]:
    """Read a checkpoint, and refuse that of another fit.

    Parameters
    ----------
    path : str or Path
    identity : dict
        Of the fit that wants to go on.
    free : set of str
        Entries of it that may differ.

    Returns
    -------
    tensors, data
        For `restore`; `data["identity"]` is the checkpoint's.

    Raises
    ------
    ValueError
        That names the first setting that differs.
    """
    tensors, data = read_safetensors(path, _FORMAT)
    theirs = data["identity"]
    for key, ours in _plain(identity).items():
        if key not in free and theirs.get(key) != ours:
            name = {"entropy": "rng", "support": "images"}.get(key, key)
            was = " were others" if key == "support" else f" was {theirs.get(key)!r}, now {ours!r}"
            raise ValueError(
                f"{path} belongs to another fit: {name}{was}; remove it, or name another checkpoint"
            )
    return tensors, data


def restore(
    learner: Learner,
    selection: Selection | None,
    tensors: dict[str, Tensor],
    data: dict,
) -> list[Epoch]:
    """Bring learner and selection to where the checkpoint was; return its log."""
    for part, head in (("head", learner.head), ("mean", learner.mean)):
        head.load_state_dict({name: tensors[f"{part}.{name}"] for name in head.state_dict()})
    names = [name for name, _ in learner.head.named_parameters()]
    state = {
        index: {key: tensors[f"adam.{name}.{key}"] for key in _ADAM}
        for index, name in enumerate(names)
        if f"adam.{name}.step" in tensors
    }
    learner.optimiser.load_state_dict({**learner.optimiser.state_dict(), "state": state})
    log = [Epoch(**epoch) for epoch in data["log"]]
    if selection is not None:
        selection.best = {name: tensors[f"best.{name}"] for name in learner.head.state_dict()}
        selection.highest = max(cast(float, epoch.validation) for epoch in log)
    return log


def _plain(value: object) -> Any:
    """The value as JSON gives it back: lists for tuples."""
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, dict) else value
