"""Heat maps, overlays and the loss curve as pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from synthmed_clip.files import write_bytes
from synthmed_clip.methods.mediclip.settings import Epoch


def heat_map(anomaly_map: np.ndarray) -> np.ndarray:
    """Colour a map, `(H, W)` in [0, 1], on a fixed scale from black to yellow (inferno); `(H, W,
    3)` uint8 RGB.
    """
    levels = np.rint(anomaly_map.clip(0, 1) * 255).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)


def overlay(image: np.ndarray, anomaly_map: np.ndarray) -> np.ndarray:
    """Lay the heat map over a grey image `(H, W)` uint8, the more opaque the more
    anomalous; RGB.
    """
    opacity = 0.7 * anomaly_map.clip(0, 1)[..., None]
    return np.rint((1 - opacity) * image[..., None] + opacity * heat_map(anomaly_map)).astype(
        np.uint8
    )


def loss_curve(log: Sequence[Epoch], path: Path) -> None:
    """Write the losses of a fit over its epochs as a PNG."""
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
    """Write a plot as a PNG that is either whole or as it was."""
    out = io.BytesIO()
    figure.savefig(out, dpi=120)
    write_bytes(path, out.getvalue())


def save_picture(picture: np.ndarray, path: Path) -> None:
    """Write an RGB array as a PNG, likewise."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    write_bytes(path, out.getvalue())
