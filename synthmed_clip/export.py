"""A fitted method and its backbone as one ONNX graph, compared with the original before it is
written.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synthmed_clip.backbone.model import Backbone
from synthmed_clip.methods.base import Fitted

PixelType = Literal["float32", "uint8"]

_OPSET = 18
_TOLERANCE = 1e-4
_BATCHES = (1, 17)  # of one image, and of more than methods compute at a time


class _Graph(nn.Module):
    def __init__(self, fitted: Fitted, backbone: Backbone) -> None:
        super().__init__()
        self._fitted = fitted
        self.visual = backbone.visual  # its weights are stored once, however often it is run

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        found = self._fitted.score(pixels.float())
        return (found.scores, found.maps) if found.maps.shape[-1] else (found.scores,)


def to_onnx(
    fitted: Fitted,
    backbone: Backbone,
    channels: Literal[1, 3],
    pixel_type: PixelType,
    notes: Mapping[str, Any],
) -> bytes:
    """Return a fitted method and its backbone as an ONNX model; see `Detector.export`.

    Parameters
    ----------
    fitted : Fitted
    backbone : Backbone
        That of `fitted`.
    channels : {1, 3}
        Of the images.
    pixel_type : {'float32', 'uint8'}
        Of the graph's input.
    notes : mapping
        JSON-ready, kept in the model's metadata under `synthmed_clip`.

    Raises
    ------
    ModuleNotFoundError, ValueError
        As `Detector.export`.
    """
    for name in ("onnx", "onnxruntime"):
        if find_spec(name) is None:
            raise ModuleNotFoundError(f"export needs {name}: pip install 'synthmed[onnx]'")
    import onnx

    if backbone.dtype != torch.float32:
        raise ValueError(
            f"export needs a backbone in float32, not {backbone.precision}: load the detector with "
            f"precision='float32'"
        )
    shape = (channels, backbone.image_size, backbone.image_size)
    example = torch.zeros(2, *shape, dtype=getattr(torch, pixel_type), device=backbone.device)
    names = ["score", "map"] if fitted.score(example.float()).maps.shape[-1] else ["score"]
    out: Any = io.BytesIO()  # torch declares names of files alone
    with _traceable():
        try:
            # Traced: the other exporter of torch's does not take every tower yet.
            torch.onnx.export(
                _Graph(fitted, backbone).eval(),
                (example,),
                out,
                dynamo=False,
                opset_version=_OPSET,
                input_names=["pixels"],
                output_names=names,
                dynamic_axes={name: {0: "images"} for name in ["pixels", *names]},
            )
        except (RuntimeError, TypeError, ValueError) as error:
            first = str(error).strip().splitlines()[0]
            raise ValueError(f"{backbone.name} cannot be written as ONNX: {first}") from error
    model = onnx.load_from_string(out.getvalue())
    model.producer_name = "synthmed-clip"
    entry = model.metadata_props.add()
    entry.key, entry.value = "synthmed_clip", json.dumps(notes, sort_keys=True)
    content = model.SerializeToString()
    for count in _BATCHES:
        _require_equal(content, fitted, _images(count, shape), pixel_type)
    return content


def _require_equal(
    content: bytes, fitted: Fitted, images: NDArray[np.uint8], pixel_type: PixelType
) -> None:
    """Refuse a graph that does not say what the method says."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    expected = fitted.score(torch.from_numpy(images).float())
    try:
        found = session.run(None, {"pixels": images.astype(pixel_type)})
    except Exception as error:  # onnxruntime's errors have no common type
        first = str(error).strip().splitlines()[0]
        raise ValueError(f"the graph fails on {len(images)} images: {first}") from error
    for name, ours, theirs in zip(
        ("scores", "maps"), (expected.scores, expected.maps), found, strict=False
    ):
        wanted = ours.cpu().numpy()
        scale = max(1.0, float(np.abs(wanted).max()))
        if wanted.shape != theirs.shape or not np.abs(wanted - theirs).max() <= _TOLERANCE * scale:
            differ = f"have the shape {theirs.shape}, not {wanted.shape}"
            if wanted.shape == theirs.shape:
                differ = f"differ by {np.abs(wanted - theirs).max():.2g}"
            raise ValueError(
                f"the graph's {name} of {len(images)} images {differ}; the method computes what "
                f"cannot be traced"
            )


def _images(count: int, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Smooth and rough images, always the same."""
    rng = np.random.default_rng(0)
    channels, size, _ = shape
    coarse = rng.integers(0, 256, (count, channels, -(-size // 16), -(-size // 16)))
    smooth = coarse.repeat(16, 2).repeat(16, 3)[..., :size, :size]
    return np.clip(smooth + rng.normal(0, 16, smooth.shape), 0, 255).astype(np.uint8)


@contextmanager
def _traceable() -> Iterator[None]:
    """Without attention's fused kernel, which ONNX does not have, and without the tracer's
    warnings: what it fixes wrongly is found by comparison.
    """
    logger = logging.getLogger("torch.onnx")
    level, fused = logger.level, torch.backends.mha.get_fastpath_enabled()
    logger.setLevel(logging.ERROR)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        logger.setLevel(level)
