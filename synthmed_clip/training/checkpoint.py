"""The state of an unfinished training, so that an interrupted one goes on to the same result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from synthmed_clip.backbone.storage import read_safetensors, write_safetensors
from synthmed_clip.training.history import Epoch
from synthmed_clip.training.learner import Learner
from synthmed_clip.training.seeds import Entropy
from synthmed_clip.training.selection import Selection

FORMAT = "synthmed-clip checkpoint 4"
_ADAM = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A file that keeps a training's state.

    Attributes
    ----------
    path : Path
    identity : dict
        What a fit must share to go on from it, its entropy included.
    saved : (dict of Tensor, dict) or None
        What the file held when it was opened.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from torch import nn
    >>> learner = Learner.begin(nn.Linear(2, 1), lr=1e-3, betas=(0.9, 0.999), average=0.0)
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "checkpoint.safetensors")
    ...     first = Checkpoint.open(path, {"lr": 1e-3}, (7,), free=set())
    ...     first.write(learner, None, [Epoch(1, loss=0.9, focal=0.1, dice=0.8)])
    ...     again = Checkpoint.open(path, {"lr": 1e-3}, (7,), free=set())
    ...     [epoch.number for epoch in again.restore(learner, None)]
    [1]
    """

    path: Path
    identity: dict[str, Any]
    saved: tuple[dict[str, Tensor], dict[str, Any]] | None

    @classmethod
    def open(
        cls, path: str | Path, identity: Mapping[str, Any], entropy: Entropy, free: set[str]
    ) -> Checkpoint:
        """Open a checkpoint that is there or is yet to be written, and refuse that of another fit.

        Parameters
        ----------
        path : str or Path
        identity : mapping
            Of the fit, JSON-ready.
        entropy : tuple of int
        free : set of str
            Entries that may differ; where `entropy` may, the file's goes on.

        Raises
        ------
        ValueError
            That names the first entry that differs, or says that the file is damaged.
        """
        ours = json.loads(json.dumps({**identity, "entropy": entropy}))  # lists for tuples
        if not Path(path).exists():
            return cls(Path(path), ours, None)
        tensors, data = read_safetensors(path, FORMAT)
        theirs = data["identity"]
        for key, value in ours.items():
            if key not in free and theirs.get(key) != value:
                name = {"entropy": "rng"}.get(key, key)
                what = f"{name} was {theirs.get(key)!r}, now {value!r}"
                if key == "images":
                    what = "images were others"
                mend = "remove it, or name another checkpoint"
                raise ValueError(f"{path} belongs to another fit: {what}; {mend}")
        return cls(Path(path), ours | {"entropy": theirs["entropy"]}, (tensors, data))

    def __str__(self) -> str:
        return str(self.path)

    @property
    def entropy(self) -> Entropy:
        """The fit's, or the file's where it goes on."""
        return tuple(self.identity["entropy"])

    def write(self, learner: Learner, selection: Selection | None, log: list[Epoch]) -> None:
        """Write a training's state after an epoch."""
        names = [name for name, _ in learner.module.named_parameters()]
        tensors = {f"module.{name}": t for name, t in learner.module.state_dict().items()}
        tensors |= {f"mean.{name}": t for name, t in learner.mean.state_dict().items()}
        for index, state in learner.optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{names[index]}.{key}": state[key] for key in _ADAM}
        if selection is not None:
            tensors |= {f"best.{name}": tensor for name, tensor in selection.best.items()}
        epochs = [asdict(epoch) for epoch in log]
        data = {"format": FORMAT, "identity": self.identity, "log": epochs}
        write_safetensors(self.path, tensors, data)

    def restore(self, learner: Learner, selection: Selection | None) -> list[Epoch]:
        """Bring learner and selection to where the file was; return its log, empty without one."""
        if self.saved is None:
            return []
        tensors, data = self.saved
        for part, module in (("module", learner.module), ("mean", learner.mean)):
            state = {name: tensors[f"{part}.{name}"] for name in module.state_dict()}
            module.load_state_dict(state)
        names = [name for name, _ in learner.module.named_parameters()]
        moments = {
            index: {key: tensors[f"adam.{name}.{key}"] for key in _ADAM}
            for index, name in enumerate(names)
            if f"adam.{name}.step" in tensors
        }
        learner.optimiser.load_state_dict({**learner.optimiser.state_dict(), "state": moments})

        log = [Epoch(**epoch) for epoch in data["log"]]
        if selection is not None:
            selection.best = {name: tensors[f"best.{name}"] for name in learner.module.state_dict()}
            selection.highest = max(cast(float, epoch.validation) for epoch in log)
        return log
