"""A CLIP text tower taken apart, so that prompts can be put in after its token embedding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import open_clip
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from torch import Tensor, nn


@dataclass(eq=False)
class TextTower:
    """The parts of a CLIP text tower that a learnable prompt passes through.

    Attributes
    ----------
    tokenize : callable
        Texts to ids, `(N, context_length)` int64.
    token_embedding, positional_embedding, transformer, ln_final, projection
        As in open_clip's `TextTransformer`.
    causal_mask : Tensor or None
        Additive, `(context_length, context_length)`; None if the tower attends both ways by itself.
    pool : str
        Which position is read: 'argmax' (the largest id), 'eos', 'first' or 'last'.
    eos_id : int
        The end token's id where `pool` is 'eos'.
    """

    tokenize: Callable[[list[str]], Tensor]
    token_embedding: nn.Embedding
    positional_embedding: Tensor
    transformer: nn.Module
    ln_final: nn.Module
    projection: Tensor | nn.Module | None
    causal_mask: Tensor | None
    pool: str
    eos_id: int

    @property
    def context_length(self) -> int:
        return self.positional_embedding.shape[0]

    @property
    def width(self) -> int:
        return self.positional_embedding.shape[1]


def take_text_tower(net: nn.Module, name: str, config: dict, own: bool) -> TextTower:
    """Take the text tower out of an open_clip model; `own` says that the configuration is not open_clip's."""
    owner: Any = getattr(net, "text", net)
    if not hasattr(owner, "token_embedding"):
        raise ValueError(
            f"the text tower of {name!r} ({type(owner).__name__}) is not CLIP's transformer; "
            "learnable prompts cannot be put into it"
        )
    if getattr(owner, "cls_emb", None) is not None:
        raise ValueError(f"the text tower of {name!r} appends a class token, which learnable prompts do not support")
    length = owner.positional_embedding.shape[0]
    mask = owner.attn_mask
    return TextTower(
        tokenize=_tokenizer(name, config, own, length),
        token_embedding=owner.token_embedding,
        positional_embedding=owner.positional_embedding,
        transformer=owner.transformer,
        ln_final=owner.ln_final,
        projection=owner.text_projection,
        causal_mask=None if mask is None else mask[:length, :length],
        pool=getattr(owner, "pool_type", None) or owner.text_pool_type,
        eos_id=getattr(owner, "eos_id", getattr(owner, "text_eos_id", 2)),
    )


def _tokenizer(name: str, config: dict, own: bool, length: int) -> Callable[[list[str]], Tensor]:
    if not own:
        return open_clip.get_tokenizer(name, context_length=length)
    text = config["text_cfg"]
    options = text.get("tokenizer_kwargs", {})
    if text.get("hf_tokenizer_name"):
        return HFTokenizer(text["hf_tokenizer_name"], context_length=length, **options)
    return SimpleTokenizer(context_length=length, **options)
