"""A frozen model in its working precision, and its patch tokens."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor, nn

from synthmed_clip.backbone import open_clip_towers, timm_towers, transformers_towers
from synthmed_clip.backbone.architecture import activated, read_architecture
from synthmed_clip.backbone.device import Precision, choose_device, choose_precision
from synthmed_clip.backbone.open_clip_internals import towers
from synthmed_clip.backbone.open_clip_internals.state_dicts import weights_digest
from synthmed_clip.backbone.pixels import require_pixels
from synthmed_clip.backbone.shared import once
from synthmed_clip.backbone.text import TextTower
from synthmed_clip.backbone.weights import find_weights, is_torchscript, read_state


@dataclass(eq=False)
class Backbone:
    """A frozen model in its working precision. Made by `load_backbone`; may be shared by several
    detectors.

    Attributes
    ----------
    name : str
        open_clip's name, 'timm/NAME', 'hf-hub:owner/model', or the name of the configuration's file
        or folder.
    config : dict or None
        The configuration where it is a file's or the caller's; None for a name that finds it again.
    weights : str or None
        Tag or file as it was given; None for random weights.
    random_text : bool
        Whether the text tower was left random.
    architecture : dict
        What the visual tower is built of, JSON-ready: with its weights, all that features depend on
        but input size and normalisation.
    digest : str
        SHA-256 of the visual tower's float32 weights.
    model_digest : str
        Likewise of the whole model's, text tower included.
    depth : int
        How many intermediate layers there are to choose from.
    channels : tuple of int
        Channels of each intermediate layer.
    text_dim : int or None
        Length of a text feature.
    visual : nn.Module
        The visual tower.
    intermediates : callable
        Its layers' maps; see `Tower`.
    class_and_patches : callable
        Its last layer's tokens; see `Tower.last_tokens`.
    text : TextTower or None
        None where the model has none: see `require_text`.
    image_size : int
        Side of the squares that the visual tower takes, S.
    scale, offset : Tensor
        `(3, 1, 1)` float32: pixels times the one plus the other are what it takes.

    Examples
    --------
    >>> vision = {"image_size": 16, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8}
    >>> text = {"vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
    >>> config = {"embed_dim": 4, "vision_cfg": vision, "text_cfg": text}
    >>> backbone = load_backbone(config, None, device="cpu", precision="float32")
    >>> backbone.depth, backbone.channels, backbone.text_dim
    (2, (16, 16), 4)
    >>> pixels = torch.zeros(3, 1, 16, 16)
    >>> [tuple(feature.shape) for feature in backbone.features(pixels, (1, 2))]
    [(3, 16, 2, 2), (3, 16, 2, 2)]
    >>> pooled, tokens = backbone.joint_features(pixels)
    >>> tuple(pooled.shape), tuple(tokens.shape)
    ((3, 4), (3, 4, 4))
    """

    name: str
    config: dict | None
    weights: str | None
    random_text: bool
    architecture: dict
    digest: str
    model_digest: str
    visual: nn.Module
    intermediates: Callable[[Tensor, list[int] | None], list[Tensor]]
    class_and_patches: Callable[[Tensor], tuple[Tensor | None, Tensor]]
    text: TextTower | None
    image_size: int
    depth: int
    channels: tuple[int, ...]
    text_dim: int | None
    scale: Tensor
    offset: Tensor

    @property
    def device(self) -> torch.device:
        return self.scale.device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.visual.parameters()).dtype

    @property
    def weights_name(self) -> str | None:
        """The weights' tag, or the name of their file: what may be shown to others."""
        if self.weights is None or not Path(self.weights).exists():
            return self.weights
        return Path(self.weights).name

    @property
    def precision(self) -> str:
        """'float32' or 'bfloat16'."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def fingerprint(self) -> str:
        """Of all that a result depends on: architecture, weights, input size, normalisation,
        precision, device.
        """
        parts = (
            self.name,
            self.config,
            self.architecture,
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

    def layers_between(self, low: float, high: float) -> tuple[int, ...]:
        """Layers from one share of the depth to another, one at least, counted from 1."""
        layers = range(1, self.depth + 1)
        chosen = [n for n in layers if low <= n / self.depth <= high]
        middle = (low + high) / 2
        return tuple(chosen) or (min(layers, key=lambda n: abs(n / self.depth - middle)),)

    def checked_layers(self, layers: Sequence[int]) -> tuple[int, ...]:
        """Return layers as they are; ValueError if one is not there."""
        if not layers or not set(layers) <= set(range(1, self.depth + 1)):
            there = f"1 to {self.depth} of {self.name}"
            raise ValueError(f"layers must be among {there}, not {tuple(layers)}")
        return tuple(layers)

    def require_text(self, what: str) -> tuple[TextTower, int]:
        """Return the text tower and the length of its features; ValueError, which says what needs
        it, where there is none.
        """
        if self.text is None or self.text_dim is None:
            raise ValueError(f"{what} needs a text tower, and {self.name!r} has none")
        return self.text, self.text_dim

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
        return once(self, self._compute, pixels, layers)

    def _compute(self, pixels: Tensor, layers: Sequence[int]) -> list[Tensor]:
        ascending = sorted(set(layers))  # timm gives them so, however they are asked for
        maps = self.intermediates(self.normalise(pixels), [layer - 1 for layer in ascending])
        found = dict(zip(ascending, maps, strict=True))
        return [found[layer] for layer in layers]

    @torch.no_grad()
    def joint_features(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return features in the space that images share with texts, in the working precision.

        Parameters
        ----------
        pixels : Tensor
            As in `features`.

        Returns
        -------
        pooled : Tensor
            `(B, D)`, one of the whole image.
        tokens : Tensor or None
            `(B, L, D)`: the last layer's patch tokens, row by row, through the tower's own norm and
            projection. None for a tower that has no such thing, as convolutional ones.

        Raises
        ------
        TypeError, ValueError
            As `features`; or if the model has no text tower.
        """
        self.require_text("a feature in the space of texts")
        pooled = towers.pooled_feature(self.visual, self.normalise(pixels))
        project = towers.token_projection(self.visual)
        if project is None:
            return pooled, None
        tokens = project(self.features(pixels, (self.depth,))[0].flatten(2).transpose(1, 2))
        return pooled, tokens if tokens.shape[-1] == pooled.shape[-1] else None

    @torch.no_grad()
    def last_tokens(self, pixels: Tensor) -> tuple[Tensor | None, Tensor]:
        """Return the last layer's tokens through the tower's final norm, in the working precision.

        Parameters
        ----------
        pixels : Tensor
            As in `features`.

        Returns
        -------
        class_token : Tensor or None
            `(B, C)`. None for a tower that has none, as convolutional ones; its patch tokens are
            as `features` gives them.
        patches : Tensor
            `(B, L, C)`, row by row.

        Raises
        ------
        TypeError, ValueError
            As `features`.
        """
        return self.class_and_patches(self.normalise(pixels))

    def normalise(self, pixels: Tensor) -> Tensor:
        """Bring pixels, as `features` takes them, to what the visual tower takes.

        Parameters
        ----------
        pixels : Tensor

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
    precision: Precision = "auto",
) -> Backbone:
    """Build a model, load its weights and freeze it in its working precision.

    Parameters
    ----------
    model : str, Path or dict
        A model name that open_clip knows; 'timm/NAME' for a tower that timm knows;
        'hf-hub:owner/model', or a folder with such a model's files, in the form of open_clip, timm
        or transformers; a configuration in one of these forms, or the path of one.
    weights : str, Path or None
        A tag, whose activation (GELU or QuickGELU) is taken as open_clip's registry states it,
        whatever the model's name says; or a local file (safetensors, a `torch.save`d state dict,
        OpenAI's archive). A model of timm's, from the hub or a folder brings its own by default.
        None leaves all weights
        random (always the same ones): for tests and timing.
    name : str, optional
        How to call a configuration that is passed as a dict.
    random_text : bool
        The file covers the visual tower alone; the text tower stays random (always the same), with
        a warning.
    image_size : int, optional
        Side of the square input; by default the model's own. Position embeddings are resized as
        the model's library does.
    device : str or torch.device
        'auto' (cuda, then mps, then cpu), or a name of torch's.
    precision : {'auto', 'float32', 'bfloat16'}
        float32 is strict: no TF32. See `choose_precision` for 'auto'.

    Returns
    -------
    Backbone
        Its `text` is None for timm's and transformers' models, which have no text tower.

    Raises
    ------
    FileNotFoundError
        If weights, or other files of the model, are not there and cannot be fetched.
    ModuleNotFoundError
        If the model needs transformers, and it is not installed.
    ValueError
        If the model is unknown or its configuration lacks something, the file does not fit it (the
        first mismatch is named), the input size is no multiple of the patches' side, random_text is
        asked of a model without a text tower, or the device is not there.

    Warns
    -----
    UserWarning
        If the text tower is left random, or the tags of the model differ in activation, or in mean
        and standard deviation, so that a local file does not tell which are its own.

    Examples
    --------
    Published weights, downloaded on first use:

    >>> backbone = load_backbone("ViT-L-14-quickgelu", "openai")  # doctest: +SKIP
    >>> backbone = load_backbone("timm/vit_small_patch14_dinov2.lvd142m")  # doctest: +SKIP
    >>> backbone = load_backbone("hf-hub:microsoft/rad-dino")  # doctest: +SKIP

    A small tower with random weights:

    >>> backbone = load_backbone("timm/test_vit", None, image_size=32, device="cpu")
    >>> backbone.name, backbone.depth, backbone.text
    ('timm/test_vit.r160_in1k', 6, None)
    """
    device = choose_device(device)
    dtype = choose_precision(precision, device)
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size must be at least 1, not {image_size}")
    found = read_architecture(model)
    name = name or found.name
    if weights == "openai" and found.weights is not None:  # the default; there is no such tag
        weights = found.weights
    path = None if weights is None else find_weights(name, weights, found.weights_names)
    if random_text and found.library != "open_clip":
        raise ValueError(f"random_text=True: {name!r} has no text tower")
    state = None if path is None else read_state(path)
    if found.library == "open_clip":
        is_archive = path is not None and is_torchscript(path)
        found = replace(found, config=activated(found, name, weights, is_archive))
    if found.library == "timm":
        tower = timm_towers.build(found.config, state, str(path), image_size)
    elif found.library == "transformers":
        tower = transformers_towers.build(found.config, state, str(path), image_size)
    else:
        tower = open_clip_towers.build(
            found, name, weights, state, str(path), image_size, random_text
        )
    tower.model.eval().requires_grad_(False)
    visual, size = tower.visual, tower.image_size
    digest = weights_digest(visual)
    model_digest = digest if tower.model is visual else weights_digest(tower.model)
    if device.type == "cuda" and dtype == torch.float32:
        torch.backends.cudnn.allow_tf32 = False
    tower.model.to(device, dtype)
    with torch.no_grad():
        blank = torch.zeros(1, 3, size, size, device=device, dtype=dtype)
        maps = tower.intermediates(blank, None)
    return Backbone(
        name=name,
        config=found.config if found.is_custom else None,
        architecture=found.settings,
        weights=None if weights is None else str(weights),
        random_text=random_text,
        digest=digest,
        model_digest=model_digest,
        visual=visual,
        intermediates=tower.intermediates,
        class_and_patches=tower.last_tokens,
        text=None if tower.take_text is None else tower.take_text(),
        image_size=size,
        depth=len(maps),
        channels=tuple(found_map.shape[1] for found_map in maps),
        text_dim=tower.text_dim,
        scale=(1 / (255 * tower.std)).reshape(3, 1, 1).to(device),
        offset=(-tower.mean / tower.std).reshape(3, 1, 1).to(device),
    )
