"""A detector as one safetensors file: the method's tensors, and the rest as JSON, hashed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from synthmed_clip.backbone.device import Precision
from synthmed_clip.backbone.model import Backbone, load_backbone
from synthmed_clip.backbone.storage import read_safetensors, write_safetensors
from synthmed_clip.data.slices import require_axis
from synthmed_clip.data.values import Values
from synthmed_clip.detector.provenance import Provenance
from synthmed_clip.evaluation.map_scale import MapScale
from synthmed_clip.methods.base import Method

FORMAT = "synthmed-clip detector 6"
NormalSource = Literal["left-out", "out-of-fold", "calibration"]
_BACKBONE = ("name", "config", "weights", "random_text", "image_size", "architecture", "digest")


def write_detector(path: str | Path, fields: Mapping[str, Any]) -> None:
    """Write a detector's fields; the backbone goes by name, tag and hash."""
    state, own = fields["fitted"].state(), fields["backbone"]
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    backbone = {name: getattr(own, name) for name in _BACKBONE}
    scale = {name: getattr(own, name).flatten().tolist() for name in ("scale", "offset")}
    data = {
        "format": FORMAT,
        "method": fields["method"].to_dict(),
        "state": {name: value for name, value in state.items() if name not in tensors},
        "backbone": backbone | scale,
        **{name: fields[name] for name in ("threshold", "normal_scores", "normal_source", "axis")},
        **{name: asdict(fields[name]) for name in ("provenance", "map_scale", "values")},
    }
    write_safetensors(path, tensors, data)


def read_detector(
    path: str | Path,
    backbone: Backbone | None,
    weights: str | Path | None,
    device: str | torch.device,
    precision: Precision,
) -> dict[str, Any]:
    """Read a detector's fields, and its backbone; arguments and errors as of `Detector.load`."""
    tensors, data = read_safetensors(path, FORMAT)
    try:
        Method.require_known(data["method"])
    except (KeyError, TypeError) as error:
        raise damaged(path, error) from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    try:
        method, threshold = Method.from_dict(data["method"]), float(data["threshold"])
        saved, state = data["backbone"], {**data["state"], **tensors}
        digest, size, built = saved["digest"], saved["image_size"], saved["architecture"]
        if not isinstance(built, dict):
            raise TypeError(f"architecture {built!r}")
        scale, offset = (torch.tensor(saved[k]).reshape(3, 1, 1) for k in ("scale", "offset"))
        provenance = Provenance.from_dict(data["provenance"])
        values = Values.from_dict(data["values"])
        axis = None if data["axis"] is None else require_axis(data["axis"])
        normal, source = tuple(map(float, data["normal_scores"])), data["normal_source"]
        known: tuple[str | None, ...] = get_args(NormalSource) if normal else (None,)
        if source not in known:
            raise ValueError(f"normal scores {normal} ({source})")
        map_scale = MapScale.from_dict(data["map_scale"])
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise damaged(path, error) from error
    given = backbone
    if backbone is None:
        backbone = load_backbone(
            saved["config"] or saved["name"],
            weights or saved["weights"],
            name=saved["name"],
            random_text=saved["random_text"],
            image_size=size,
            device=device,
            precision=precision,
        )
    if backbone.digest != digest:
        raise ValueError(
            f"{path} was fitted on other weights: {saved['name']} {saved['weights']} with "
            f"SHA-256 {digest[:16]}..., not {backbone.name} {backbone.weights} with "
            f"{backbone.digest[:16]}..."
        )
    if backbone.architecture != built:
        raise ValueError(
            f"{path} was fitted on another architecture than that of {backbone.name}: "
            f"{_first_difference(built, backbone.architecture)}"
        )
    if backbone.image_size != size:
        raise ValueError(
            f"{path} was fitted at {size} pixels; the backbone takes {backbone.image_size}"
        )
    scale, offset = scale.to(backbone.scale), offset.to(backbone.offset)
    if given is None:  # the same weights by another name may come with other figures
        backbone = replace(backbone, scale=scale, offset=offset)
    elif not (torch.equal(scale, backbone.scale) and torch.equal(offset, backbone.offset)):
        raise ValueError(
            f"{path} was fitted with another normalisation of images than that of {backbone.name}"
        )
    try:
        fitted = type(method).restore(state, backbone)
    except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise damaged(path, error) from error
    return {
        "method": method,
        "fitted": fitted,
        "backbone": backbone,
        "threshold": threshold,
        "provenance": provenance,
        "map_scale": map_scale,
        "normal_scores": normal,
        "normal_source": source,
        "values": values,
        "axis": axis,
    }


def damaged(path: str | Path, error: Exception) -> ValueError:
    """Return the error of a file that holds something else than was written."""
    return ValueError(f"{path} is damaged, or of another version of synthmed_clip: {error!r}")


def _first_difference(before: dict, now: dict) -> str:
    key = next(k for k in {**before, **now} if before.get(k) != now.get(k))
    return f"{key} was {before.get(key)!r}, is {now.get(key)!r}"
