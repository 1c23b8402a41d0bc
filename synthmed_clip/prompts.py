"""Learnable prompts: context vectors before a class word, through a frozen text tower (CoOp, 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import linear, normalize, scaled_dot_product_attention

from synthmed_clip.text import TextTower

PAPER_WORDS = (("normal", "healthy"), ("disease",))
RELEASE_WORDS = (
    (
        "normal",
        "healthy",
        "negative",
        "unremarkable",
        "clear",
        "asymptomatic",
        "normal findings",
        "no findings",
        "in good health",
        "no evidence of disease",
    ),
    (
        "abnormal",
        "positive",
        "symptomatic",
        "disease",
        "lesion",
        "pathological",
        "impaired",
        "evidence of disease",
        "abnormal finding",
        "pathological condition",
        "pathological abnormality",
    ),
)
HARD_WORDS = (  # for prompts without learnable context: the paper's words in plain sentences
    (
        "a medical image of normal tissue",
        "a medical image of healthy tissue",
        "a scan showing normal tissue",
        "a scan showing healthy tissue",
        "a photo of normal tissue",
        "a photo of healthy tissue",
    ),
    ("a medical image of disease", "a scan showing disease", "a photo of disease"),
)


@dataclass(frozen=True, eq=False)
class Prompts:
    """The frozen parts of the prompts of both classes, embedded once.

    Attributes
    ----------
    embedded : Tensor
        `(W, L, width)`: token embedding plus position, with the position alone where context goes.
    start : int
        Where the context begins: after the start token, if the tokenizer has one.
    tokens : int
        Number of context vectors, M.
    read : Tensor
        `(W,)` int64: the position whose output is the word's feature.
    mask : Tensor or None
        Additive attention mask, `(L, L)`.
    counts : tuple of int
        Number of normal and of abnormal words; the normal ones come first.
    """

    embedded: Tensor
    start: int
    tokens: int
    read: Tensor
    mask: Tensor | None
    counts: tuple[int, int]


def embed_prompts(
    text: TextTower,
    words: tuple[tuple[str, ...], tuple[str, ...]],
    tokens: int,
    causal: bool = True,
    truncate: bool = True,
) -> Prompts:
    """Tokenise and embed `[start] [context] word . [end]` for the words of both classes.

    Parameters
    ----------
    text : TextTower
    words : pair of tuple of str
        Normal and abnormal.
    tokens : int
        Number of context vectors before each word.
    causal : bool
        Keep the tower's own causal mask (the paper). False drops it, so that attention runs both ways over
        all positions, padding included (the release).
    truncate : bool
        Leave out what follows the longest prompt. Where the mask is causal nothing reads those positions,
        so that this is exact; elsewhere it is not done.

    Raises
    ------
    ValueError
        If a class has no word, or a prompt does not fit into the tower's positions.
    """
    if len(words) != 2 or not all(words):
        raise ValueError(f"words must be two non-empty groups, normal and abnormal, not {words!r}")
    texts = [f"{word}." for group in words for word in group]
    ids = text.tokenize(texts).to(text.token_embedding.weight.device)
    length = text.context_length
    start = 1 if len(texts) == 1 or bool((ids[:, 0] == ids[0, 0]).all()) else 0
    end, pad = _ends(text, ids)
    longest = int(end.max()) + 1 + tokens
    if longest > length:
        raise ValueError(
            f"{tokens} context vectors and the longest prompt need {longest} positions; the text tower has {length}"
        )
    ids = torch.cat([ids[:, :start], ids.new_full((len(ids), tokens), pad), ids[:, start:]], 1)[:, :length]
    mask = text.causal_mask if causal else None
    read = end + tokens
    if text.pool in ("first", "last"):
        read = torch.full_like(end, 0 if text.pool == "first" else length - 1)
    elif truncate and mask is not None:
        length = longest
    with torch.no_grad():
        embedded = text.token_embedding(ids[:, :length])
        embedded[:, start : start + tokens] = 0
        embedded = embedded + text.positional_embedding[:length]
    return Prompts(
        embedded,
        start,
        tokens,
        read,
        None if mask is None else mask[:length, :length].to(embedded),
        (len(words[0]), len(words[1])),
    )


def _ends(text: TextTower, ids: Tensor) -> tuple[Tensor, int]:
    """Return the end token's position in each prompt, and the id that pads."""
    if text.pool == "argmax":
        return ids.argmax(1), 0
    if text.pool == "eos":
        return (ids == text.eos_id).int().argmax(1), 0
    pad = int(ids[0, -1])
    return (ids != pad).int().sum(1), pad  # the first pad is SigLIP's end token


def class_features(text: TextTower, prompts: Prompts, context: Tensor) -> Tensor:
    """Encode the prompts and average them by class: f_n and f_a.

    Parameters
    ----------
    text : TextTower
    prompts : Prompts
    context : Tensor
        `(W, M, width)`, each word's own vectors, the normal words first; gradients flow to it.

    Returns
    -------
    Tensor
        `(2, D)` float32, each row of unit length: the mean over the class's words of the projected output at
        the end token, then L2 normalised.
    """
    frozen, stop = prompts.embedded, prompts.start + prompts.tokens
    x = torch.cat(
        [
            frozen[:, : prompts.start],
            frozen[:, prompts.start : stop] + context.to(frozen.dtype),
            frozen[:, stop:],
        ],
        1,
    )
    for block in cast(nn.ModuleList, text.transformer.resblocks):
        x = _block(block, x, prompts.mask)
    x = text.ln_final(x[torch.arange(len(x), device=x.device), prompts.read])
    if isinstance(text.projection, nn.Module):
        x = text.projection(x)
    elif text.projection is not None:
        x = x @ text.projection
    return torch.stack([normalize(group.float().mean(0), dim=0) for group in x.split(prompts.counts)])


def _block(block: Any, x: Tensor, mask: Tensor | None) -> Tensor:
    """One block of the transformer, `(W, L, width)`.

    nn.MultiheadAttention transposes its input, and its products then copy their weights for every prompt: ten
    times the cost of the rest at these sizes. Its arithmetic on untransposed arrays stands here instead.
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
