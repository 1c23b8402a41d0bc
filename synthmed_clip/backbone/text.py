"""Text towers into which prompts can be put after the token embedding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer, and where a prompt's context goes among its tokens.

    Attributes
    ----------
    tokenize : callable
        Texts to ids, `(N, length)` int64.
    length : int
        Tokens of a text, padding included.
    start : int
        Special tokens before the text: 1 or 0.
    tail : int
        Tokens that stand at the very end, after the padding (CLIPS's class token).
    """

    tokenize: Callable[[list[str]], Tensor]
    length: int
    start: int
    tail: int = 0


@dataclass(eq=False)
class TextTower(ABC):
    """What every kind of text tower offers to a learnable prompt.

    Attributes
    ----------
    tokenizer : Tokenizer
    token_embedding : nn.Module
        Ids to vectors.
    width : int
        Length of such a vector.
    pad_id : int
        The id that the tower takes for padding.
    transformer : nn.Module
    """

    tokenizer: Tokenizer
    token_embedding: nn.Module
    width: int
    pad_id: int
    transformer: nn.Module

    @property
    def device(self) -> torch.device:
        return next(self.transformer.parameters()).device

    @abstractmethod
    def ends(self, ids: Tensor) -> Tensor:
        """Return the positions `(N,)` of the last token (the end token, where there is one) of the
        texts `(N, length)`.
        """

    @abstractmethod
    def prepare(
        self,
        embedded: Tensor,
        valid: Tensor,
        ends: Tensor,
        causal: bool,
        truncate: bool,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Prepare embedded prompts for `encode`; the context is added to the result later.

        Parameters
        ----------
        embedded : Tensor
            `(W, L, width)`, zero where context goes.
        valid : Tensor
            `(W, L)` bool: not padding.
        ends : Tensor
            `(W,)`: as `ends` gives them, moved by the context.
        causal : bool
            Whether to keep the tower's own causal mask, where it has one.
        truncate : bool
            Whether to leave out what follows the longest prompt, where nothing reads it.

        Returns
        -------
        embedded : Tensor
            `(W, L, width)`, L perhaps smaller than before.
        mask : Tensor or None
            As `encode` takes it.
        read : Tensor
            `(W,)` int64: the position whose output is the text's feature.
        """

    @abstractmethod
    def encode(self, x: Tensor, mask: Tensor | None, read: Tensor) -> Tensor:
        """Return the text features of embedded prompts with their context.

        Parameters
        ----------
        x : Tensor
            `(W, L, width)`: what `prepare` gave, the context added.
        mask, read
            As `prepare` gave them.

        Returns
        -------
        Tensor
            `(W, D)`, in the working precision.
        """


@dataclass(eq=False)
class ClipText(TextTower):
    """CLIP's own kind of text tower.

    Attributes
    ----------
    run_blocks : callable
        Passes `(W, L, width)`, with a mask or None, through the transformer.
    positional_embedding : Tensor
        `(L, width)`.
    final_norm : nn.Module
    project : callable
        Brings features to the space that texts share with images.
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

    run_blocks: Callable[[Tensor, Tensor | None], Tensor]
    positional_embedding: Tensor
    final_norm: nn.Module
    project: Callable[[Tensor], Tensor]
    causal_mask: Tensor | None
    pool: Literal["argmax", "eos", "first", "last"]
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
        text = ids[:, : ids.shape[1] - self.tokenizer.tail]
        return (text != text[0, -1]).int().sum(1)  # the first pad is SigLIP's end token

    def prepare(
        self,
        embedded: Tensor,
        valid: Tensor,
        ends: Tensor,
        causal: bool,
        truncate: bool,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        count, length = valid.shape
        mask = self.causal_mask if causal else None
        # Whether nothing reads what follows a prompt.
        unread = truncate and (mask is not None or self.masks_padding)
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
        x = self.run_blocks(x, mask)
        return self.project(self.final_norm(x[torch.arange(len(x), device=x.device), read]))


@dataclass(eq=False)
class TransformersText(TextTower):
    """A text tower of transformers.

    It adds positions and token types to what it is given, by itself, and hides padding.

    Attributes
    ----------
    pooler : nn.Module
        The transformer's output and the attention mask to a feature.
    projection : nn.Module
        Brings features to the space that texts share with images.
    """

    pooler: nn.Module
    projection: nn.Module

    def ends(self, ids: Tensor) -> Tensor:
        return _last(ids != self.pad_id)

    def prepare(
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


def _last(valid: Tensor) -> Tensor:
    """Position of the last true entry in each row."""
    return valid.shape[1] - 1 - valid.flip(1).int().argmax(1)
