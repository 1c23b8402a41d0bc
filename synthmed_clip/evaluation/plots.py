"""Plots as PNG files that are either whole or as they were."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from synthmed_clip.files import write_bytes
from synthmed_clip.training.history import Epoch

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def loss_curve(log: Sequence[Epoch], path: Path) -> None:
    """Write the losses of a fit over its epochs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    epochs = [epoch.number for epoch in log]
    for name in ("loss", "focal", "dice"):
        axes.plot(epochs, [getattr(epoch, name) for epoch in log], label=name, linewidth=1.2)
    axes.set(xlabel="epoch", ylabel="loss", xlim=(1, max(2, len(log))), ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a plot."""
    out = io.BytesIO()
    figure.savefig(out, dpi=120, metadata={"Software": "synthmed-clip plot"})
    write_bytes(path, out.getvalue())
