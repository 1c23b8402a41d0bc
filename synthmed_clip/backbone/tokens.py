"""The tokenizer of a text tower, and where a prompt's context goes among its tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """A tokenizer.

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


def take_tokens(text_config: dict, length: int) -> Tokens:
    """Make the tokenizer that the `text_cfg` of an open_clip configuration asks for."""
    options = text_config.get("tokenizer_kwargs") or {}
    source = text_config.get("hf_tokenizer_name")
    if not source:
        return Tokens(SimpleTokenizer(context_length=length, **options), length, 1)
    if options.get("trust_remote_code"):
        raise ValueError(
            f"the tokenizer {source!r} wants to run code of its own, which is not done"
        )
    mode = text_config.get("tokenizer_mode")
    try:
        tokenizer = HFTokenizer(source, context_length=length, tokenizer_mode=mode, **options)
    except (ImportError, OSError, ValueError) as error:
        raise ValueError(f"no tokenizer can be made of {source}: {error}") from error
    if mode == "clips":
        return Tokens(tokenizer, length, 1, 1)
    # Asked of the tokenizer itself, because unknown words have a special id, too.
    special = tokenizer.tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
    return Tokens(tokenizer, length, int(special[0]))
