"""Learnable prompts: context vectors before a class word, through a frozen text tower
(CoOp, 2022).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from synthmed_clip.backbone.text import TextTower


@dataclass(frozen=True, eq=False)
class Prompts:
    """The frozen parts of the prompts of both classes, embedded once.

    Attributes
    ----------
    embedded : Tensor
        `(W, L, width)`: what goes into the tower, but for the context, which is to be added in its
        place.
    start : int
        Where the context begins: after the start token, if the tokenizer has one.
    tokens : int
        Number of context vectors, M.
    read : Tensor
        `(W,)` int64: the position whose output is the word's feature, in a tower that reads one.
    mask : Tensor or None
        Attention mask, in the tower's own form.
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
        Keep the tower's own causal mask (the paper). False drops it, so that attention runs both
        ways over all positions (the release): padding included, unless the tower hides it.
    truncate : bool
        Leave out what follows the longest prompt. Where the mask is causal, or padding is hidden,
        nothing reads those positions, so that this is exact; elsewhere it is not done.

    Raises
    ------
    ValueError
        If a class has no word, or a prompt does not fit into the tower's positions.
    """
    if len(words) != 2 or not all(words):
        raise ValueError(f"words must be two non-empty groups, normal and abnormal, not {words!r}")
    length, start, stop = text.tokenizer.length, text.tokenizer.start, text.tokenizer.start + tokens
    ids = text.tokenizer.tokenize([f"{word}." for group in words for word in group]).to(text.device)
    ends = text.ends(ids) + tokens
    longest = int(ends.max()) + 1 + text.tokenizer.tail
    if longest > length:
        raise ValueError(
            f"{tokens} context vectors and the longest prompt need {longest} positions; the text "
            f"tower has {length}"
        )
    body = length - text.tokenizer.tail
    context = ids.new_zeros(len(ids), tokens)
    ids = torch.cat([ids[:, :start], context, ids[:, start : body - tokens], ids[:, body:]], 1)
    valid = ids != text.pad_id
    valid[:, start:stop] = True
    with torch.no_grad():
        embedded = text.token_embedding(ids)
        embedded[:, start:stop] = 0
        embedded, mask, read = text.prepare(embedded, valid, ends, causal, truncate)
    return Prompts(embedded, start, tokens, read, mask, (len(words[0]), len(words[1])))


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
        `(2, D)` float32, each row of unit length: the mean over the class's words of their
        projected text features, then L2 normalised.
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
    features = text.encode(x, prompts.mask, prompts.read)
    return torch.stack(
        [normalize(group.float().mean(0), dim=0) for group in features.split(prompts.counts)]
    )
