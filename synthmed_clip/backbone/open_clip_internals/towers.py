"""open_clip's nets: built, and their towers taken out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import open_clip
from open_clip.hf_configs import arch_dict
from open_clip.hf_model import HFTextEncoder
from open_clip.model import CLIPVisionCfg
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from open_clip.transformer import QuickGELU
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import linear, scaled_dot_product_attention

from synthmed_clip.backbone import timm_towers
from synthmed_clip.backbone.text import ClipText, TextTower, Tokenizer, TransformersText
from synthmed_clip.backbone.tower import inner

TRANSFORMER_TYPES = frozenset(arch_dict)  # the `model_type`s of transformers that it can wrap


def build(config: dict, image_size: int | None) -> nn.Module:
    """Build the model of a configuration, its weights random and nothing fetched.

    Parameters
    ----------
    config : dict
        In open_clip's JSON form; Hugging Face names in it are folders.
    image_size : int or None
        Instead of the configuration's own.

    Raises
    ------
    ValueError
        If open_clip or timm cannot build it.
    """
    config = json.loads(json.dumps(config))
    if image_size is not None:
        config["vision_cfg"]["image_size"] = image_size
    config["vision_cfg"].pop("timm_model_pretrained", None)  # would fetch weights from a hub
    config["text_cfg"]["hf_model_pretrained"] = False
    config.pop("preprocess_cfg", None)
    kind: type[nn.Module] = open_clip.CLIP
    if config.pop("custom_text", False) or config["text_cfg"].get("hf_model_name"):
        kind = open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP
    try:
        return kind(**config)
    except (AssertionError, RuntimeError, TypeError) as error:  # theirs, for a wrong entry
        raise ValueError(
            f"the configuration's model cannot be built: {error or type(error).__name__}"
        ) from error


# The visual tower


def visual_settings(config: dict) -> dict[str, Any]:
    """Return what a configuration says of the visual tower, defaults filled in: towers of the same
    settings and weights give the same features at the same input size.

    Examples
    --------
    >>> settings = visual_settings({"embed_dim": 4, "vision_cfg": {"patch_size": 8}})
    >>> settings["patch_size"], settings["layers"], settings["quick_gelu"]
    (8, 12, False)
    """
    settings = asdict(CLIPVisionCfg(**config["vision_cfg"]))
    for what_is_said_elsewhere in ("image_size", "timm_model_pretrained"):
        del settings[what_is_said_elsewhere]
    quick = bool(config.get("quick_gelu")) and settings["timm_model_name"] is None
    found = settings | {"embed_dim": config["embed_dim"], "quick_gelu": quick}
    return json.loads(json.dumps(found))  # lists for tuples, as when read back


class _FrozenQuickGELU(nn.Module):
    """QuickGELU to the bit, without its temporaries: a third of the time, but no gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 1.702).sigmoid_().mul_(x)


def take_visual_tower(net: nn.Module, name: str) -> nn.Module:
    """Return a model's visual tower, its activations replaced by faster equals without gradient.

    Raises
    ------
    ValueError
        If it does not give its intermediate layers.
    """
    visual = inner(net).visual
    owner = getattr(visual, "trunk", visual)
    if not hasattr(owner, "forward_intermediates"):
        raise ValueError(
            f"the visual tower of {name!r} ({type(owner).__name__}) offers no forward_intermediates"
        )
    for parent in list(visual.modules()):
        for child_name, child in parent.named_children():
            if isinstance(child, QuickGELU):
                setattr(parent, child_name, _FrozenQuickGELU())
    return visual


def patch_side(visual: nn.Module) -> int | None:
    """Return the side of a transformer's patches, in pixels; None for a convolutional tower."""
    trunk = getattr(visual, "trunk", None)
    if trunk is not None:
        return timm_towers.patch_side(trunk)
    patch = getattr(visual, "patch_size", None)
    return max(patch) if patch else None


def side_of(visual: nn.Module, size: int | None) -> int:
    """Return the side of the square inputs that are asked for, or else the tower's own."""
    own = inner(visual).image_size
    sides = {size or own} if isinstance(size or own, int) else set(own)
    if len(sides) != 1:
        raise ValueError(f"only square inputs are supported, not {own}; pass image_size")
    return sides.pop()


def set_image_size(visual: nn.Module, side: int) -> int:
    """Bring a tower, its weights loaded, to an input size, and return it."""
    if hasattr(visual, "set_input_size"):  # timm's: resamples its positions itself
        inner(visual).set_input_size(side)
    return side


def intermediates(visual: nn.Module, normalised: Tensor, indices: list[int] | None) -> list[Tensor]:
    """Return the maps `(B, channels, h, w)` after some layers, counted from 0; None means all."""
    return inner(visual).forward_intermediates(
        normalised,
        indices=indices,
        stop_early=True,
        intermediates_only=True,
        normalize_intermediates=False,
        output_fmt="NCHW",
    )["image_intermediates"]


def last_tokens(visual: nn.Module, normalised: Tensor) -> tuple[Tensor | None, Tensor]:
    """Return the last layer's class token `(B, C)` and patch tokens `(B, L, C)`, through the final
    norm; None, and tokens without a norm, for a tower that has no class token.
    """
    tower = inner(visual)
    trunk = getattr(tower, "trunk", tower)
    prefixed = getattr(trunk, "cls_token", getattr(trunk, "class_embedding", None)) is not None
    found = tower.forward_intermediates(
        normalised,
        indices=1,
        intermediates_only=True,
        normalize_intermediates=prefixed,
        output_fmt="NCHW",
        output_extra_tokens=prefixed,
    )
    patches = found["image_intermediates"][0].flatten(2).transpose(1, 2)
    return found["image_intermediates_prefix"][0][:, 0] if prefixed else None, patches


def pooled_feature(visual: nn.Module, normalised: Tensor) -> Tensor:
    """Return the image feature `(B, D)` in the space that images share with texts."""
    found = visual(normalised)
    return found[0] if isinstance(found, tuple) else found  # CoCa's gives its tokens as well


def token_projection(visual: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """Return what brings the last layer's patch tokens to that space, the tower's own final norm
    and projection; None where those are for something else, as in a convolutional tower.
    """
    tower = inner(visual)
    if getattr(tower, "attn_pool", None) is not None:  # both are for what it pools
        return None
    if hasattr(tower, "trunk"):
        norm, projection = getattr(tower.trunk, "norm", None), tower.head
    else:
        norm, projection = getattr(tower, "ln_post", None), getattr(tower, "proj", None)
    if not isinstance(norm, nn.LayerNorm):
        return None
    return lambda tokens: _project(projection, norm(tokens))


def timm_settings(visual: nn.Module) -> dict:
    """Return what timm says of its tower's pretrained weights; nothing for other towers."""
    trunk = getattr(visual, "trunk", None)
    return dict(getattr(trunk, "pretrained_cfg", None) or {})


# The text tower


def take_text_tower(net: nn.Module, name: str, text_config: dict) -> TextTower:
    """Make a text tower that takes prompts of that of a model, or of a tower by itself.

    Parameters
    ----------
    net : nn.Module
    name : str
        For messages.
    text_config : dict
        The part `text_cfg` of the configuration; Hugging Face names in it are folders.

    Raises
    ------
    ValueError
        If it is of a kind that is not known here, or no tokenizer can be made for it.
    """
    owner = inner(getattr(net, "text", net))
    if isinstance(owner, HFTextEncoder):
        transformer = inner(owner.transformer)
        # Encoders of sequence-to-sequence models have the one, all others the other.
        embedding = getattr(transformer, "embed_tokens", None) or transformer.get_input_embeddings()
        return TransformersText(
            tokenizer=make_tokenizer(text_config, text_config.get("context_length", 77)),
            token_embedding=embedding,
            width=embedding.embedding_dim,
            pad_id=owner.config.pad_token_id,
            transformer=transformer,
            pooler=owner.pooler,
            projection=owner.proj,
        )
    if not hasattr(owner, "token_embedding"):
        raise ValueError(
            f"the text tower of {name!r} ({type(owner).__name__}) is neither CLIP's transformer "
            "nor Hugging Face's; learnable prompts cannot be put into it"
        )
    class_token = getattr(owner, "cls_emb", None)
    positions, width = owner.positional_embedding.shape
    return ClipText(
        tokenizer=make_tokenizer(text_config, positions - (class_token is not None)),
        token_embedding=owner.token_embedding,
        width=width,
        pad_id=getattr(owner, "pad_id", 0),
        transformer=owner.transformer,
        run_blocks=partial(_run_blocks, owner.transformer),
        positional_embedding=owner.positional_embedding,
        final_norm=owner.ln_final,
        project=partial(_project, owner.text_projection),
        causal_mask=owner.attn_mask,
        pool=getattr(owner, "pool_type", None) or owner.text_pool_type,
        eos_id=getattr(owner, "eos_id", getattr(owner, "text_eos_id", 2)),
        class_token=class_token,
        masks_padding=class_token is not None or getattr(owner, "use_pad_mask", False),
        mask_shifted=class_token is not None and not getattr(owner, "correct_cls_mask", False),
    )


def make_tokenizer(text_config: dict, length: int) -> Tokenizer:
    """Make the tokenizer that the `text_cfg` of a configuration asks for, `length` tokens a text.

    Raises
    ------
    ValueError
        If it cannot be made, or would run code of its own.

    Examples
    --------
    >>> make_tokenizer({}, 6).tokenize(["a scan."])
    tensor([[49406,   320, 11261,   269, 49407,     0]])
    """
    options = text_config.get("tokenizer_kwargs") or {}
    source, mode = (text_config.get(key) for key in ("hf_tokenizer_name", "tokenizer_mode"))
    if not source:
        return Tokenizer(SimpleTokenizer(context_length=length, **options), length, 1)
    if options.get("trust_remote_code"):
        raise ValueError(f"the tokenizer {source!r} asks to run code of its own; it is not run")
    try:
        tokenize = HFTokenizer(source, context_length=length, tokenizer_mode=mode, **options)
    except (ImportError, OSError, ValueError) as error:
        raise ValueError(f"no tokenizer can be made of {source}: {error}") from error
    if mode == "clips":
        return Tokenizer(tokenize, length, 1, 1)
    # Asked of the tokenizer itself, because unknown words have a special id, too.
    special = tokenize.tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
    return Tokenizer(tokenize, length, int(special[0]))


def _run_blocks(transformer: nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
    """Pass `(W, L, width)` through the blocks of CLIP's own kind of transformer.

    nn.MultiheadAttention transposes its input, and its products then copy their weights for every
    prompt: ten times the cost of the rest at these sizes. Its arithmetic on untransposed arrays
    stands here instead.
    """
    prompts, length, width = x.shape
    for block in inner(transformer).resblocks:
        attention = block.attn
        if not isinstance(attention, nn.MultiheadAttention):
            x = block(x, attn_mask=mask)
            continue
        qkv = linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)
        q, k, v = qkv.view(prompts, length, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
        with sdpa_kernel(SDPBackend.MATH):  # the one whose gradient is deterministic everywhere
            heads = scaled_dot_product_attention(q, k, v, attn_mask=mask)
        heads = heads.transpose(1, 2).reshape(prompts, length, width)
        x = x + block.ls_1(attention.out_proj(heads))
        x = x + block.ls_2(block.mlp(block.ln_2(x)))
    return x


def _project(projection: nn.Module | Tensor | None, x: Tensor) -> Tensor:
    if isinstance(projection, nn.Module):
        return projection(x)
    return x if projection is None else x @ projection
