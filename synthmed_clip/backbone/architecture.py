"""Configurations in open_clip's JSON form: read, completed, and built without asking for
weights.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor, nn

from synthmed_clip.backbone import hub

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
        What comes with weights of its own: a hub's model, or a folder. To be passed to
        `weights.locate`.
    """
    if isinstance(model, dict):
        return "(configuration)", _unwrapped(model, "the configuration"), True, None
    name = str(model)
    if name.startswith(hub.PREFIX):
        return name, _read(hub.config_file(name.removeprefix(hub.PREFIX))), False, name
    if isinstance(model, str) and name in open_clip.list_models():
        return name, open_clip.get_model_config(name), False, None
    path = Path(name.removeprefix(_FOLDER_PREFIX))
    home = str(path) if path.is_dir() else None
    if home is None and path.suffix != ".json":
        raise ValueError(
            f"open_clip knows no model {name!r}; see open_clip.list_models(), or pass the path "
            f"of a configuration "
            f"(.json), a folder with {hub.CONFIG}, or '{hub.PREFIX}owner/model'"
        )
    path = path / hub.CONFIG if home else path
    if not path.is_file():
        raise FileNotFoundError(f"no model configuration at {path}")
    config = _read(path)
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
    kind = (
        (open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP)
        if custom
        else open_clip.CLIP
    )
    try:
        return kind(**config)
    except (
        AssertionError,
        RuntimeError,
        TypeError,
    ) as error:  # what timm and open_clip raise for a wrong entry
        raise ValueError(
            f"the configuration's model cannot be built: {error or type(error).__name__}"
        ) from error


def normalisation(
    net: Any, name: str, config: dict, weights: str | Path | None
) -> tuple[Tensor, Tensor]:
    """Mean and std of RGB in [0, 1]: the tag's, else the configuration's, else timm's own, else
    CLIP's.

    A local file has no tag. Where all tags of the model agree, theirs are taken for it; where they
    do not, a warning says which are taken.
    """
    trunk = getattr(getattr(net.visual, "trunk", None), "pretrained_cfg", None) or {}
    others = (config.get("preprocess_cfg") or {}, trunk)
    tags = {
        tag: open_clip.get_pretrained_cfg(name, tag) or {}
        for tag in open_clip.list_pretrained_tags_by_model(name)
    }
    chosen = _mean_and_std(tags.get(str(weights), {}), *others)
    if weights is not None and str(weights) not in tags and tags:
        known = {_mean_and_std(tag, *others) for tag in tags.values()}
        if len(known) == 1:
            chosen = known.pop()
        else:
            warnings.warn(
                f"{name}: its tags differ in normalisation; for {weights}, mean {chosen[0]} and "
                f"std {chosen[1]} are taken. "
                "A configuration with preprocess_cfg sets others",
                stacklevel=3,
            )
    return torch.tensor(chosen[0], dtype=torch.float32), torch.tensor(
        chosen[1], dtype=torch.float32
    )


def _mean_and_std(*sources: dict) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Each from the first source that has it."""
    clip = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    mean, std = (
        next(source[key] for source in (*sources, clip) if source.get(key))
        for key in ("mean", "std")
    )
    return tuple(mean), tuple(std)


def _read(path: Path) -> dict:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    return _unwrapped(config, str(path))


def _unwrapped(config: dict, source: str) -> dict:
    """Bring the form that models have on the hub, `model_cfg` beside `preprocess_cfg`, to that of
    open_clip's own.
    """
    config = dict(config) if isinstance(config, dict) else {}
    if "model_cfg" in config:
        config = config["model_cfg"] | {
            key: config[key] for key in ("preprocess_cfg",) if key in config
        }
    lacking = [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in config]
    if lacking:
        raise ValueError(
            f"{source} is no configuration of an open_clip model: {', '.join(lacking)} missing"
        )
    return config
