"""A frozen open_clip model in its working precision, and its patch tokens."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from open_clip.transformer import QuickGELU
from torch import Tensor, nn

from synthmed_clip.backbone import weights as weight_files
from synthmed_clip.backbone.architecture import build, normalisation, read_config
from synthmed_clip.backbone.hub import localise
from synthmed_clip.backbone.pixels import require_pixels
from synthmed_clip.backbone.text import TextTower, take_text_tower


@dataclass(eq=False)
class Backbone:
    """A frozen model in its working precision. Made by `load_backbone`; may be shared by several
    detectors.

    Attributes
    ----------
    name : str
        open_clip's name, 'hf-hub:owner/model', or the name of the configuration's file or folder.
    config : dict or None
        The configuration where it is a file's or the caller's; None for a name that finds it again.
    weights : str or None
        Tag or file as it was given; None for random weights.
    random_text : bool
        Whether the text tower was left random.
    digest : str
        SHA-256 of the visual tower's float32 weights.
    model_digest : str
        Likewise of the whole model's, text tower included.
    depth : int
        How many intermediate layers there are to choose from.
    channels : tuple of int
        Channels of each intermediate layer.
    text_dim : int
        Length of a text feature.
    """

    name: str
    config: dict | None
    weights: str | None
    random_text: bool
    digest: str
    model_digest: str
    visual: nn.Module
    text: TextTower
    image_size: int
    depth: int
    channels: tuple[int, ...]
    text_dim: int
    scale: Tensor
    offset: Tensor

    @property
    def device(self) -> torch.device:
        return self.scale.device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.visual.parameters()).dtype

    @property
    def fingerprint(self) -> str:
        """Of all that a result depends on: architecture, weights, input size, normalisation,
        precision, device.
        """
        parts = (
            self.name,
            self.config,
            self.model_digest,
            self.image_size,
            self.dtype,
            self.device.type,
        )
        numbers = self.scale.flatten().tolist() + self.offset.flatten().tolist()
        return sha256(
            f"{json.dumps(parts, default=str, sort_keys=True)}{numbers}".encode()
        ).hexdigest()

    def default_layers(self) -> tuple[int, ...]:
        """Half, three quarters and all of the depth: 12, 18 and 24 of ViT-L/14, as in the paper."""
        return tuple(sorted({-(-self.depth * k // 4) for k in (2, 3, 4)}))

    def checked_layers(self, layers: Sequence[int]) -> tuple[int, ...]:
        """Return layers as they are; ValueError if one is not there."""
        if not layers or not set(layers) <= set(range(1, self.depth + 1)):
            there = f"1 to {self.depth} of {self.name}"
            raise ValueError(f"layers must be among {there}, not {tuple(layers)}")
        return tuple(layers)

    @torch.no_grad()
    def features(self, pixels: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """Return the maps of patch tokens after the given layers, before any final norm or
        projection.

        Parameters
        ----------
        pixels : Tensor
            Squared images, `(B, C, S, S)` float32 from 0 to 255; C is 1 (grey) or 3 (RGB), S the
            backbone's `image_size`.
        layers : sequence of int
            Counted from 1, in any order; blocks of a transformer, stages of a convolutional tower.

        Returns
        -------
        list of Tensor
            One `(B, channels, h, w)` per layer in the working precision.

        Raises
        ------
        TypeError, ValueError
            If `pixels` are of another type, shape or range.
        """
        ascending = sorted(set(layers))  # timm gives them so, however they are asked for
        maps = _intermediates(
            self.visual, self.normalise(pixels), [layer - 1 for layer in ascending]
        )
        found = dict(zip(ascending, maps, strict=True))
        return [found[layer] for layer in layers]

    def normalise(self, pixels: Tensor) -> Tensor:
        """Bring pixels, as `features` takes them, to what the visual tower takes.

        Returns
        -------
        Tensor
            `(B, 3, S, S)` in the working precision, on the backbone's device.
        """
        require_pixels(pixels, self.image_size)
        # Contiguous: another layout of the same values may take another path through a
        # convolution, and the last bits would differ.
        pixels = pixels.to(self.device).contiguous()
        return torch.addcmul(self.offset, pixels, self.scale).to(self.dtype)


def load_backbone(
    model: str | Path | dict = "ViT-L-14-quickgelu",
    weights: str | Path | None = "openai",
    *,
    name: str | None = None,
    random_text: bool = False,
    image_size: int | None = None,
    device: str | torch.device = "auto",
    precision: str = "auto",
) -> Backbone:
    """Build an open_clip model, load its weights and freeze it in its working precision.

    Parameters
    ----------
    model : str, Path or dict
        A model name that open_clip knows; a configuration in open_clip's JSON form or the path of
        one; 'hf-hub:owner/model', or a folder with such a model's files.
    weights : str, Path or None
        A tag, or a local file (safetensors, a `torch.save`d state dict, OpenAI's archive). A model
        from the hub or a folder brings its own by default. None leaves all weights random (always
        the same ones): for tests and timing.
    name : str, optional
        How to call a configuration that is passed as a dict.
    random_text : bool
        The file covers the visual tower alone; the text tower stays random (always the same), with
        a warning.
    image_size : int, optional
        Side of the square input; by default the model's own.
    device : str or torch.device
        'auto' (cuda, then mps, then cpu), or a name of torch's.
    precision : str
        'auto', 'float32' (strict: no TF32) or 'bfloat16'. See `choose_precision`.

    Raises
    ------
    FileNotFoundError
        If weights, or other files of the model, are not there and cannot be fetched.
    ModuleNotFoundError
        If the text tower needs transformers, and it is not installed.
    ValueError
        If the model is unknown or its configuration lacks something, the file does not fit it (the
        first mismatch is named), or the device is not there.

    Warns
    -----
    UserWarning
        If the text tower is left random, or the tags of the model differ in mean and standard
        deviation, so that a local file does not tell which are its own.
    """
    device = choose_device(device)
    dtype = choose_precision(precision, device)
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size must be at least 1, not {image_size}")
    found, config, own, home = read_config(model)
    name = name or found
    if weights == "openai" and home is not None:  # the default; there is no such tag
        weights = home
    path = None if weights is None else weight_files.locate(name, weights)
    text_config = localise(config["text_cfg"], name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net: Any = (
            build(config | {"text_cfg": text_config}, image_size).eval().requires_grad_(False)
        )
    _replace_activations(net.visual)
    _require_intermediates(net.visual, name)
    if path is not None:
        weight_files.load_into(net, weight_files.read(path), str(path), visual_only=random_text)
        if random_text:
            warnings.warn(
                f"{name}: {path} gives the visual tower alone; the text tower is random",
                stacklevel=2,
            )
    size = image_size or _side(net.visual.image_size)
    if hasattr(
        net.visual, "set_input_size"
    ):  # timm resamples its positions itself, once they are loaded
        net.visual.set_input_size(size)
    if device.type == "cuda" and dtype == torch.float32:
        torch.backends.cudnn.allow_tf32 = False
    digest = weight_files.digest(net.visual)
    model_digest = weight_files.digest(net)
    net.to(device, dtype)
    mean, std = normalisation(net, name, config, weights)
    with torch.no_grad():
        probe = _intermediates(
            net.visual, torch.zeros(1, 3, size, size, device=device, dtype=dtype), None
        )
    return Backbone(
        name=name,
        config=config if own else None,
        weights=None if weights is None else str(weights),
        random_text=random_text,
        digest=digest,
        model_digest=model_digest,
        visual=net.visual,
        text=take_text_tower(net, name, text_config),
        image_size=size,
        depth=len(probe),
        channels=tuple(p.shape[1] for p in probe),
        text_dim=config["embed_dim"],
        scale=(1 / (255 * std)).reshape(3, 1, 1).to(device),
        offset=(-mean / std).reshape(3, 1, 1).to(device),
    )


def choose_device(device: str | torch.device) -> torch.device:
    """Resolve 'auto' to cuda, mps or cpu, whichever is there, in this order.

    Raises
    ------
    ValueError
        If torch does not know the device, or does not find it on this machine.
    """
    there = {
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }
    if device == "auto":
        return torch.device(next(kind for kind, count in there.items() if count))
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda' or 'mps', not {device!r}") from None
    count = there.get(chosen.type, 1)
    if (chosen.index or 0) >= count:
        raise ValueError(
            f"no device {str(device)!r} here: torch {torch.__version__} finds {count} of kind "
            f"{chosen.type}"
        )
    return chosen


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """Resolve 'auto': bfloat16 where the device multiplies it natively, float32 otherwise.

    Natively means CUDA, and CPUs with AMX or AVX512-BF16. Elsewhere bfloat16 is emulated and
    slower.
    """
    if precision in ("float32", "bfloat16"):
        return getattr(torch, precision)
    if precision != "auto":
        raise ValueError(f"precision must be 'auto', 'float32' or 'bfloat16', not {precision!r}")
    native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        native = any(
            getattr(torch.cpu, f"_is_{unit}_supported", bool)()
            for unit in ("amx_tile", "avx512_bf16")
        )
    return torch.bfloat16 if native else torch.float32


class _FrozenQuickGELU(nn.Module):
    """open_clip's QuickGELU to the bit, without its temporaries: a third of the time, but no
    gradient.
    """

    def forward(self, x: Tensor) -> Tensor:
        return (x * 1.702).sigmoid_().mul_(x)


def _replace_activations(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, QuickGELU):
            setattr(module, name, _FrozenQuickGELU())
        else:
            _replace_activations(child)


def _require_intermediates(visual: nn.Module, name: str) -> None:
    owner = getattr(visual, "trunk", visual)
    if not hasattr(owner, "forward_intermediates"):
        raise ValueError(
            f"the visual tower of {name!r} ({type(owner).__name__}) offers no forward_intermediates"
        )


def _intermediates(visual: Any, pixels: Tensor, indices: list[int] | None) -> list[Tensor]:
    return visual.forward_intermediates(
        pixels,
        indices=indices,
        stop_early=True,
        intermediates_only=True,
        normalize_intermediates=False,
        output_fmt="NCHW",
    )["image_intermediates"]


def _side(size: int | Sequence[int]) -> int:
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise ValueError(f"only square inputs are supported, not {size}; pass image_size")
    return sides.pop()
