"""Configurations in open_clip's JSON form: read, completed, and built without asking for weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor, nn

from synthmed_clip import hub

_FOLDER_PREFIX = "local-dir:"


def read_config(model: str | Path | dict) -> tuple[str, dict, bool, str | None]:
    """Find the configuration that `model` stands for.

    Returns
    -------
    name : str
    config : dict
        What open_clip builds the model of, and perhaps `preprocess_cfg`.
    own : bool
        Whether it is the caller's own, rather than one that can be found again by its name.
    home : str or None
        What comes with weights of its own: a hub's model, or a folder. To be passed to `weights.locate`.
    """
    if isinstance(model, dict):
        return "(configuration)", _unwrapped(model), True, None
    name = str(model)
    if name.startswith(hub.PREFIX):
        return name, _unwrapped(_read(hub.config_file(name.removeprefix(hub.PREFIX)))), False, name
    if isinstance(model, str) and name in open_clip.list_models():
        return name, open_clip.get_model_config(name), False, None
    path = Path(name.removeprefix(_FOLDER_PREFIX))
    home = str(path) if path.is_dir() else None
    if home is None and path.suffix != ".json":
        raise ValueError(
            f"open_clip knows no model {name!r}; see open_clip.list_models(), or pass the path of a configuration "
            f"(.json), a folder with {hub.CONFIG}, or '{hub.PREFIX}owner/model'"
        )
    path = path / hub.CONFIG if home else path
    if not path.is_file():
        raise FileNotFoundError(f"no model configuration at {path}")
    config = _unwrapped(_read(path))
    config["text_cfg"] = hub.beside(config["text_cfg"], path.parent)
    return path.resolve().parent.name if path.name == hub.CONFIG else path.stem, config, True, home


def build(config: dict, image_size: int | None) -> nn.Module:
    """Build the model, its weights random."""
    config = json.loads(json.dumps(config))
    if image_size is not None:
        config["vision_cfg"]["image_size"] = image_size
    config["vision_cfg"].pop("timm_model_pretrained", None)  # would fetch weights from a hub
    config["text_cfg"]["hf_model_pretrained"] = False
    custom = config.pop("custom_text", False) or bool(config["text_cfg"].get("hf_model_name"))
    config.pop("preprocess_cfg", None)
    if custom and "multimodal_cfg" in config:
        return open_clip.CoCa(**config)
    return (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**config)


def normalisation(net: Any, name: str, config: dict, weights: str | Path | None) -> tuple[Tensor, Tensor]:
    """Mean and std of RGB in [0, 1]: the tag's, else the configuration's, else timm's own, else CLIP's."""
    trunk = getattr(getattr(net.visual, "trunk", None), "pretrained_cfg", None) or {}
    tag = open_clip.get_pretrained_cfg(name, str(weights)) or {}
    sources = (tag, config.get("preprocess_cfg") or {}, trunk)
    defaults = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    mean, std = (next((s[key] for s in sources if s.get(key)), defaults[key]) for key in ("mean", "std"))
    return torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32)


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def _unwrapped(config: dict) -> dict:
    """Bring the form that models have on the hub, `model_cfg` beside `preprocess_cfg`, to that of open_clip's own."""
    if "model_cfg" not in config:
        return dict(config)
    return config["model_cfg"] | {key: config[key] for key in ("preprocess_cfg",) if key in config}
