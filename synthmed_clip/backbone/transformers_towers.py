"""Vision models of Hugging Face's transformers, by the files that they have on the hub."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from synthmed_clip.backbone.tower import State, Tower, require_whole_patches

if TYPE_CHECKING:
    from transformers import PretrainedConfig

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
# Kinds whose patch tokens follow a class token and registers, and kinds with maps.
_TRANSFORMERS = frozenset({"dinov2", "dinov2_with_registers", "dinov3_vit", "vit"})
_CONVOLUTIONAL = frozenset({"convnext", "convnextv2", "dinov3_convnext", "resnet"})
_UNUSED = ("pooler.", "embeddings.mask_token")  # no patch token depends on them


def preprocessing(settings: dict[str, Any], source: str) -> dict[str, Any]:
    """Return mean, std and size of the images as a model's own image processor makes them.

    Parameters
    ----------
    settings : dict
        Of `preprocessor_config.json`.
    source : str
        What to call it in a message.

    Raises
    ------
    ValueError
        If it does not scale pixels from 0 to 255 to [0, 1] before mean and std, or lacks these.

    Examples
    --------
    >>> own = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "size": {"shortest_edge": 256}}
    >>> preprocessing(own | {"crop_size": {"height": 224, "width": 224}}, "the processor")
    {'mean': [0.5, 0.5, 0.5], 'std': [0.25, 0.25, 0.25], 'size': 224}
    """
    scaled = settings.get("do_rescale", True) and (
        abs(settings.get("rescale_factor", 1 / 255) * 255 - 1) < 1e-6
    )
    if not scaled:
        raise ValueError(
            f"{source} does not scale pixels from 0 to 255 to [0, 1]: do_rescale is "
            f"{settings.get('do_rescale', True)}, rescale_factor "
            f"{settings.get('rescale_factor', 1 / 255)}"
        )
    mean, std = settings.get("image_mean"), settings.get("image_std")
    if not settings.get("do_normalize", True):
        mean, std = [0.0] * 3, [1.0] * 3
    if mean is None or std is None or len(mean) != 3 or len(std) != 3:
        raise ValueError(f"{source} lacks image_mean and image_std of three channels")
    found: dict[str, Any] = {"mean": list(mean), "std": list(std)}
    for key in ("crop_size", "size"):
        size = settings.get(key)
        if key == "crop_size" and not settings.get("do_center_crop", True):
            continue
        if isinstance(size, dict) and size.get("height") and size["height"] == size.get("width"):
            return found | {"size": size["height"]}
    return found


def build(
    config: dict[str, Any], state: State | None, source: str, image_size: int | None
) -> Tower:
    """Build a model and load its weights, as transformers' own `from_pretrained` does.

    Parameters
    ----------
    config : dict
        Of `config.json`, and what `preprocessing` gave as `preprocess_cfg`.
    state : dict of Tensor or None
        None leaves the weights random, always the same.
    source : str
        What to call the weights in a message.
    image_size : int or None
        By default that of the model's own image processor, else that of its configuration.

    Raises
    ------
    ModuleNotFoundError
        If transformers is not installed.
    ValueError
        If the kind of model is not known here, or the weights do not fit.
    """
    kind = str(config["model_type"])
    if find_spec("transformers") is None:
        raise ModuleNotFoundError(
            f"the vision model {kind!r} needs transformers: pip install 'synthmed[hf]'"
        )
    from transformers import AutoConfig, AutoModel

    if kind not in _TRANSFORMERS | _CONVOLUTIONAL:
        known = ", ".join(sorted(_TRANSFORMERS | _CONVOLUTIONAL))
        raise ValueError(f"no vision model of kind {kind!r} is known here; there are: {known}")
    images = config["preprocess_cfg"]
    settings = {k: v for k, v in config.items() if k not in ("model_type", "preprocess_cfg")}
    try:
        own = AutoConfig.for_model(kind, **settings)
        with torch.random.fork_rng(devices=[]), _quiet():
            torch.manual_seed(0)
            net = AutoModel.from_config(own)
            if state is not None:
                net = _loaded(type(net), own, state, source)
    except (AttributeError, KeyError, RuntimeError, TypeError) as error:
        raise ValueError(
            f"transformers cannot build the vision model {kind!r}: {error or type(error).__name__}"
        ) from error
    size = image_size or images.get("size") or getattr(own, "image_size", None)
    if not isinstance(size, int):
        raise ValueError(f"the vision model {kind!r} has no square image_size of its own; pass one")
    patch = own.patch_size if kind in _TRANSFORMERS else None
    require_whole_patches(kind, size, patch)
    options: dict[str, Any] = {}
    if "interpolate_pos_encoding" in inspect.signature(net.forward).parameters:
        options["interpolate_pos_encoding"] = size != own.image_size
    embeddings: Any = getattr(net, "embeddings", None)
    if hasattr(embeddings, "interpolate_pos_encoding"):
        embeddings.interpolate_pos_encoding = _once(embeddings.interpolate_pos_encoding)
    return Tower(
        model=net,
        visual=net,
        intermediates=partial(_intermediates, net, patch, options),
        last_tokens=partial(_last_tokens, net, patch, options),
        image_size=size,
        mean=torch.tensor(images["mean"], dtype=torch.float32),
        std=torch.tensor(images["std"], dtype=torch.float32),
    )


def _loaded(kind: type[Any], config: PretrainedConfig, state: State, source: str) -> nn.Module:
    """Let transformers load a state dict, which may be in an older form, and refuse what it would
    fill in or leave out.
    """
    net, report = kind.from_pretrained(
        None,
        config=config,
        state_dict=state,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are refused below, by name
        dtype=torch.float32,
    )
    parts = {name for name, _ in net.named_children()}
    missing = [name for name in report["missing_keys"] if not name.startswith(_UNUSED)]
    # Heads for tasks stand beside the model's own parts, and are not wanted.
    surplus = [name for name in report["unexpected_keys"] if parts & set(name.split(".")[:2])]
    for names, what in (
        ([name for name, *_ in report["mismatched_keys"]], "has another shape"),
        (missing, "is missing"),
        (surplus, "has no place in it"),
    ):
        if names:
            raise ValueError(f"{source} does not fit the model: {min(names)} {what}")
    return net


def _intermediates(
    net: nn.Module,
    patch: int | None,
    options: dict[str, Any],
    normalised: Tensor,
    indices: list[int] | None,
) -> list[Tensor]:
    # The first of them is what goes into the layers.
    states = net(normalised, output_hidden_states=True, **options).hidden_states[1:]
    chosen = states if indices is None else [states[index] for index in indices]
    if patch is None:
        return list(chosen)
    side = int(normalised.shape[-1]) // patch
    return [  # class token and registers stand before the patches
        state[:, -side * side :].transpose(1, 2).unflatten(2, (side, side)) for state in chosen
    ]


def _once(positions: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Resize position embeddings at the first image, not at every one; an exported graph has them
    as they are then.
    """
    known: dict[tuple[object, ...], Tensor] = {}

    def resized(embedded: Tensor, height: int, width: int) -> Tensor:
        key = (embedded.dtype, embedded.device, int(height), int(width))
        if key not in known:
            known[key] = positions(embedded, height, width)
        return known[key]

    return resized


def _last_tokens(
    net: nn.Module, patch: int | None, options: dict[str, Any], normalised: Tensor
) -> tuple[Tensor | None, Tensor]:
    found = net(normalised, **options).last_hidden_state
    if patch is None:
        maps = _intermediates(net, patch, options, normalised, None)
        return None, maps[-1].flatten(2).transpose(1, 2)
    side = int(normalised.shape[-1]) // patch
    return found[:, 0], found[:, -side * side :]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' bars and reports: what is wrong is said by an error."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
