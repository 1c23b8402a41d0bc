"""A CLIP text tower taken apart, so that prompts can be put in after its token embedding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from open_clip.hf_model import HFTextEncoder
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import linear, scaled_dot_product_attention

from synthmed_clip.backbone.tokens import Tokens, take_tokens


@dataclass(eq=False)
class TextTower(ABC):
    """What every kind of text tower offers to a learnable prompt.

    Attributes
    ----------
    tokens : Tokens
        The tokenizer.
    token_embedding : callable
        Ids to vectors.
    width : int
        Length of such a vector.
    pad_id : int
        The id that the tower takes for padding.
    transformer : nn.Module
    """

    tokens: Tokens
    token_embedding: Callable[[Tensor], Tensor]
    width: int
    pad_id: int
    transformer: nn.Module

    @property
    def device(self) -> torch.device:
        return next(self.transformer.parameters()).device

    @abstractmethod
    def ends(self, ids: Tensor) -> Tensor:
        """Return the position of each text's last token (its end token, where there is one)."""

    @abstractmethod
    def place(
        self,
        embedded: Tensor,
        valid: Tensor,
        ends: Tensor,
        causal: bool,
        truncate: bool,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Prepare embedded prompts for `encode`: what it takes beside the context, which is added
        later.

        Parameters
        ----------
        embedded : Tensor
            `(W, L, width)`, zero where context goes.
        valid : Tensor
            `(W, L)` bool: not padding.
        ends : Tensor
            `(W,)`: as `ends` gives them, moved by the context.
        causal, truncate : bool
            As in `embed_prompts`.

        Returns
        -------
        embedded, mask, read
            The first and last as in `Prompts`; the mask as `encode` wants it.
        """

    @abstractmethod
    def encode(self, x: Tensor, mask: Tensor | None, read: Tensor) -> Tensor:
        """Return the text features `(W, D)` of embedded prompts with their context."""


@dataclass(eq=False)
class ClipText(TextTower):
    """CLIP's own kind of text tower, open_clip's `TextTransformer`.

    Attributes
    ----------
    positional_embedding, ln_final, projection
        As in open_clip.
    causal_mask : Tensor or None
        Additive, square over all positions; None if the tower attends both ways by itself.
    pool : str
        Which position is read: 'argmax' (the largest id), 'eos', 'first' or 'last'.
    eos_id : int
        The end token's id where `pool` is 'eos'.
    class_token : Tensor or None
        CoCa's: stands after all the text and its padding, and is what is read.
    masks_padding : bool
        Whether padding is hidden from attention; so it is for a class token, which would see it
        otherwise.
    mask_shifted : bool
        Whether that mask lies one position late, so that the first padding is seen and the class
        token sees itself only after a text without padding: CoCa's published weights were trained
        so.
    """

    positional_embedding: Tensor
    ln_final: nn.Module
    projection: Tensor | nn.Module | None
    causal_mask: Tensor | None
    pool: str
    eos_id: int
    class_token: Tensor | None = None
    masks_padding: bool = False
    mask_shifted: bool = False

    def ends(self, ids: Tensor) -> Tensor:
        if self.class_token is not None:
            return _last(ids != self.pad_id)
        if self.pool == "argmax":
            return ids.argmax(1)
        if self.pool == "eos":
            return (ids == self.eos_id).int().argmax(1)
        text = ids[:, : ids.shape[1] - self.tokens.tail]
        return (text != text[0, -1]).int().sum(1)  # the first pad is SigLIP's end token

    def place(
        self,
        embedded: Tensor,
        valid: Tensor,
        ends: Tensor,
        causal: bool,
        truncate: bool,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        count, length = valid.shape
        mask = self.causal_mask if causal else None
        unread = truncate and (
            mask is not None or self.masks_padding
        )  # whether nothing reads what follows a prompt
        kept, read = torch.arange(length, device=valid.device), ends
        if self.class_token is not None:
            embedded = torch.cat([embedded, self.class_token.to(embedded).expand(count, 1, -1)], 1)
            own = valid.new_ones(count, 1)
            valid = torch.cat([own, valid] if self.mask_shifted else [valid, own], 1)
            if unread:
                kept = kept[: int(ends.max()) + 2]
            kept = torch.cat([kept, kept.new_tensor([length])])
            read = torch.full_like(ends, len(kept) - 1)
        elif self.pool in ("first", "last"):
            read = torch.full_like(ends, 0 if self.pool == "first" else length - 1)
        elif unread:
            kept = kept[: int(ends.max()) + 1]
        embedded = embedded[:, kept] + self.positional_embedding[kept]
        if mask is not None:
            mask = mask[kept][:, kept].to(embedded)
        if self.masks_padding:
            hidden = embedded.new_zeros(count, 1, 1, len(kept)).masked_fill(
                ~valid[:, None, None, kept], -torch.inf
            )
            mask = hidden if mask is None else hidden + mask
        return embedded, mask, read

    def encode(self, x: Tensor, mask: Tensor | None, read: Tensor) -> Tensor:
        for block in cast(nn.ModuleList, self.transformer.resblocks):
            x = _block(block, x, mask)
        x = self.ln_final(x[torch.arange(len(x), device=x.device), read])
        if isinstance(self.projection, nn.Module):
            return self.projection(x)
        return x if self.projection is None else x @ self.projection


@dataclass(eq=False)
class HuggingFaceText(TextTower):
    """A text tower that open_clip takes from transformers, its `HFTextEncoder`.

    It adds positions and token types to what it is given, by itself, and hides padding.

    Attributes
    ----------
    pooler, projection : nn.Module
        As in open_clip.
    """

    pooler: nn.Module
    projection: nn.Module

    def ends(self, ids: Tensor) -> Tensor:
        return _last(ids != self.pad_id)

    def place(
        self,
        embedded: Tensor,
        valid: Tensor,
        ends: Tensor,
        causal: bool,
        truncate: bool,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        length = int(ends.max()) + 1 if truncate else valid.shape[1]
        return embedded[:, :length], valid[:, :length].long(), ends

    def encode(self, x: Tensor, mask: Tensor | None, read: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):  # the one whose gradient is deterministic everywhere
            out = self.transformer(inputs_embeds=x, attention_mask=mask)
        return self.projection(self.pooler(out, mask))


def take_text_tower(net: nn.Module, name: str, text_config: dict) -> TextTower:
    """Take the text tower out of an open_clip model.

    Parameters
    ----------
    net : nn.Module
    name : str
        For messages.
    text_config : dict
        The part `text_cfg` of the configuration, its Hugging Face names localised (`hub.localise`).
    """
    owner: Any = getattr(net, "text", net)
    if isinstance(owner, HFTextEncoder):
        # Encoders of sequence-to-sequence models have the one, all others the other.
        embedding = (
            getattr(owner.transformer, "embed_tokens", None)
            or owner.transformer.get_input_embeddings()
        )
        return HuggingFaceText(
            tokens=take_tokens(text_config, text_config.get("context_length", 77)),
            token_embedding=embedding,
            width=embedding.embedding_dim,
            pad_id=owner.config.pad_token_id,
            transformer=owner.transformer,
            pooler=owner.pooler,
            projection=owner.proj,
        )
    if not hasattr(owner, "token_embedding"):
        raise ValueError(
            f"the text tower of {name!r} ({type(owner).__name__}) is neither CLIP's transformer "
            f"nor Hugging Face's; "
            "learnable prompts cannot be put into it"
        )
    class_token = getattr(owner, "cls_emb", None)
    positions, width = owner.positional_embedding.shape
    return ClipText(
        tokens=take_tokens(text_config, positions - (class_token is not None)),
        token_embedding=owner.token_embedding,
        width=width,
        pad_id=getattr(owner, "pad_id", 0),
        transformer=owner.transformer,
        positional_embedding=owner.positional_embedding,
        ln_final=owner.ln_final,
        projection=owner.text_projection,
        causal_mask=owner.attn_mask,
        pool=getattr(owner, "pool_type", None) or owner.text_pool_type,
        eos_id=getattr(owner, "eos_id", getattr(owner, "text_eos_id", 2)),
        class_token=class_token,
        masks_padding=class_token is not None or getattr(owner, "use_pad_mask", False),
        mask_shifted=class_token is not None and not getattr(owner, "correct_cls_mask", False),
    )


def _last(valid: Tensor) -> Tensor:
    """Position of the last true entry in each row."""
    return valid.shape[1] - 1 - valid.flip(1).int().argmax(1)


def _block(block: Any, x: Tensor, mask: Tensor | None) -> Tensor:
    """One block of the transformer, `(W, L, width)`.

    nn.MultiheadAttention transposes its input, and its products then copy their weights for every
    prompt: ten times the cost of the rest at these sizes. Its arithmetic on untransposed arrays
    stands here instead.
    """
    if not isinstance(block.attn, nn.MultiheadAttention):
        return block(x, attn_mask=mask)
    attention, (prompts, length, width) = block.attn, x.shape
    qkv = linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)
    q, k, v = qkv.view(prompts, length, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    with sdpa_kernel(SDPBackend.MATH):  # the one whose gradient is deterministic everywhere
        heads = scaled_dot_product_attention(q, k, v, attn_mask=mask)
    x = x + block.ls_1(attention.out_proj(heads.transpose(1, 2).reshape(prompts, length, width)))
    return x + block.ls_2(block.mlp(block.ln_2(x)))
