"""Configurations of models, in the forms of three libraries, and where they are found."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import open_clip
import torch
from torch import Tensor

from synthmed_clip.backbone import hub, timm_towers, transformers_towers
from synthmed_clip.backbone.open_clip_internals.towers import visual_settings

Library = Literal["open_clip", "timm", "transformers"]

_FOLDER_PREFIX = "local-dir:"
# Of timm's and transformers' configurations: what says nothing of how the tower computes.
_NOT_BUILT_OF = frozenset(
    {"preprocess_cfg", "pretrained_cfg", "num_classes", "num_features", "global_pool"}
    | {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version"}
    | {"id2label", "label2id"}
)


@dataclass(frozen=True)
class Architecture:
    """A model's configuration, and where it is from.

    Attributes
    ----------
    name : str
    config : dict
        What its library builds the model of, and perhaps `preprocess_cfg`.
    is_custom : bool
        Whether it is the caller's own, rather than one that can be found again by its name.
    weights : str or None
        What comes with weights of its own, a hub's model or a folder, as `find_weights` takes it.
    """

    name: str
    config: dict
    is_custom: bool
    weights: str | None = None

    @property
    def library(self) -> Library:
        """What builds it; its configuration tells."""
        return _library(self.config) or "open_clip"

    @property
    def settings(self) -> dict[str, Any]:
        """What the visual tower is built of, JSON-ready, less the input size: towers of the same
        settings and weights are the same.
        """
        if self.library == "open_clip":
            return {"library": "open_clip"} | visual_settings(self.config)
        own = {k: v for k, v in self.config.items() if k not in _NOT_BUILT_OF}
        if self.library == "timm":  # what stands after the dot names weights
            own["architecture"] = own["architecture"].partition(".")[0]
        return {"library": self.library} | json.loads(json.dumps(own))

    @property
    def weights_names(self) -> tuple[str, ...]:
        """What a file of its weights is called on the hub, and in a folder from there."""
        return {
            "open_clip": hub.WEIGHTS,
            "timm": timm_towers.WEIGHTS,
            "transformers": transformers_towers.WEIGHTS,
        }[self.library]


def read_architecture(model: str | Path | dict) -> Architecture:
    """Find the configuration that `model` stands for.

    Parameters
    ----------
    model : str, Path or dict
        As in `load_backbone`.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or it cannot be fetched from the hub.
    ValueError
        If neither open_clip nor timm knows the name, or the configuration is none.

    Examples
    --------
    >>> found = read_architecture("ViT-B-32")
    >>> found.is_custom, found.config["vision_cfg"]["patch_size"]
    (False, 32)
    >>> read_architecture("timm/vit_small_patch14_dinov2").name
    'timm/vit_small_patch14_dinov2.lvd142m'
    >>> read_architecture("ViT-Z-1")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: open_clip knows no model 'ViT-Z-1'; see open_clip.list_models(), ...
    """
    if isinstance(model, dict):
        return Architecture("(configuration)", _unwrapped(model, "the configuration"), True)
    name = str(model)
    if name.startswith(hub.PREFIX):
        repository = name.removeprefix(hub.PREFIX)
        config = _read(hub.fetch_config(repository), repository)
        return Architecture(name, config, False, name)
    if isinstance(model, str) and name in open_clip.list_models():
        return Architecture(name, open_clip.get_model_config(name), False)
    if isinstance(model, str) and name.startswith(timm_towers.PREFIX) and not Path(name).exists():
        found, weights = timm_towers.find(name.removeprefix(timm_towers.PREFIX))
        source = None if weights is None else hub.PREFIX + weights
        return Architecture(timm_towers.PREFIX + found, {"architecture": found}, False, source)
    path = Path(name.removeprefix(_FOLDER_PREFIX))
    folder = path if path.is_dir() else None
    if folder is None and path.suffix != ".json":
        raise ValueError(
            f"open_clip knows no model {name!r}; see open_clip.list_models(), or pass "
            f"'{timm_towers.PREFIX}NAME' for one of timm's, '{hub.PREFIX}owner/model' for one of "
            f"the hub's, or the path of a configuration (.json) or of a folder with one"
        )
    if folder is not None:
        path = next(
            (folder / n for n in hub.CONFIGS if (folder / n).is_file()), folder / hub.CONFIG
        )
    if not path.is_file():
        raise FileNotFoundError(f"no model configuration at {path}")
    config = _read(path)
    if "text_cfg" in config:
        config["text_cfg"] = hub.resolve_in_folder(config["text_cfg"], path.parent)
    name = path.resolve().parent.name if path.name in hub.CONFIGS else path.stem
    return Architecture(name, config, True, None if folder is None else str(folder))


def activated(found: Architecture, name: str, weights: str | Path | None, openai: bool) -> dict:
    """Return the configuration with the activation that its weights were trained with.

    open_clip's names leave it open: `ViT-L-14` computes with GELU, and OpenAI's weights for it were
    trained with QuickGELU. Its registry states it of a tag, and OpenAI's own archives all have the
    latter; of another file, the name of the model is believed.

    Parameters
    ----------
    found : Architecture
    name : str
        open_clip's name of the model.
    weights : str, Path or None
        Tag or file.
    openai : bool
        Whether that is an archive of OpenAI's.

    Warns
    -----
    UserWarning
        If the model's tags differ, so that a file does not tell.

    Examples
    --------
    >>> found = read_architecture("ViT-B-32")
    >>> [activated(found, "ViT-B-32", tag, False).get("quick_gelu", False)
    ...  for tag in ("openai", "laion2b_s34b_b79k")]
    [True, False]
    """
    tags = {
        tag: bool((open_clip.get_pretrained_cfg(name, tag) or {}).get("quick_gelu"))
        for tag in open_clip.list_pretrained_tags_by_model(name)
    }
    if tags.get(str(weights)) or (openai and not found.is_custom):
        return found.config | {"quick_gelu": True}
    has_both = set(tags.values()) == {True, False}
    if weights is not None and str(weights) not in tags and has_both and not found.is_custom:
        quick = ", ".join(tag for tag, is_quick in tags.items() if is_quick)
        warnings.warn(
            f"{name}: its weights differ in activation, which a file does not tell; for {weights}, "
            f"GELU is taken. Those of {quick} need QuickGELU: name the model {name}-quickgelu",
            stacklevel=3,
        )
    return found.config


def normalisation(
    name: str, config: dict, weights: str | Path | None, timm: dict
) -> tuple[Tensor, Tensor]:
    """Mean and std of RGB in [0, 1]: the tag's, else the configuration's, else timm's own, else
    CLIP's.

    A local file has no tag. Where all tags of the model agree, theirs are taken for it; where they
    do not, a warning says which are taken.

    Parameters
    ----------
    name : str
        open_clip's name of the model.
    config : dict
    weights : str, Path or None
        Tag or file.
    timm : dict
        timm's settings of the visual tower; empty where it is none of timm's.

    Returns
    -------
    mean, std : Tensor
        `(3,)` float32.

    Examples
    --------
    >>> mean, std = normalisation("mine", {"preprocess_cfg": {"mean": [0.5] * 3}}, None, {})
    >>> mean
    tensor([0.5000, 0.5000, 0.5000])
    >>> std
    tensor([0.2686, 0.2613, 0.2758])
    """
    others = (config.get("preprocess_cfg") or {}, timm)
    tags = {
        tag: open_clip.get_pretrained_cfg(name, tag) or {}
        for tag in open_clip.list_pretrained_tags_by_model(name)
    }
    mean, std = _mean_and_std(tags.get(str(weights), {}), *others)
    if weights is not None and str(weights) not in tags and tags:
        known = {_mean_and_std(tag, *others) for tag in tags.values()}
        if len(known) == 1:
            mean, std = known.pop()
        else:
            warnings.warn(
                f"{name}: its tags differ in normalisation; for {weights}, mean {mean} and "
                f"std {std} are taken. A configuration with preprocess_cfg sets others",
                stacklevel=3,
            )
    return torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32)


def _mean_and_std(*sources: dict) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Each from the first source that has it."""
    clip = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    mean, std = (
        next(source[key] for source in (*sources, clip) if source.get(key))
        for key in ("mean", "std")
    )
    return tuple(mean), tuple(std)


def _read(path: Path, repository: str | None = None) -> dict:
    """Read a configuration, and what belongs to it in its folder, or its repository on the hub."""
    config = _unwrapped(_read_json(path), str(path))
    if _library(config) == "transformers" and "preprocess_cfg" not in config:
        beside = path.with_name(hub.PREPROCESSING)
        if repository is not None:
            beside = hub.fetch_preprocessing(repository)
        elif not beside.is_file():
            raise FileNotFoundError(
                f"no {beside.name} beside {path}: it holds the mean and standard deviation of the "
                f"model's images"
            )
        config["preprocess_cfg"] = transformers_towers.preprocessing(
            _read_json(beside), str(beside)
        )
    return config


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None


def _library(config: dict) -> Library | None:
    """Tell a configuration's library by what only that one's have; None where it cannot be told."""
    if "vision_cfg" in config:
        return "open_clip"
    if "architecture" in config:
        return "timm"
    return "transformers" if "model_type" in config else None


def _unwrapped(config: dict, source: str) -> dict:
    """Bring the form that models have on the hub, `model_cfg` next to `preprocess_cfg`, to that of
    open_clip's own.
    """
    config = dict(config) if isinstance(config, dict) else {}
    if "model_cfg" in config:
        config = config["model_cfg"] | {
            key: config[key] for key in ("preprocess_cfg",) if key in config
        }
    if _library(config) == "timm":
        return config
    if _library(config) == "transformers":
        if source == "the configuration" and "preprocess_cfg" not in config:
            raise ValueError(f"{source} lacks preprocess_cfg, the mean and std of the images")
        return config
    lacking = [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in config]
    if lacking:
        raise ValueError(
            f"{source} is no configuration of an open_clip model: {', '.join(lacking)} missing"
        )
    return config
