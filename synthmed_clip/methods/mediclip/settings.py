"""Where the paper and its authors' released code differ, apart from the synthesis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from synthmed_clip.methods.base import Channels

ScoreKind = Literal["max", "evidence"]
VariantName = Literal["paper", "release"]
Words = tuple[tuple[str, ...], tuple[str, ...]]
"""Class words: normal, abnormal."""

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


@dataclass(frozen=True)
class Variant:
    """The method as published, or as the authors' code has it.

    Attributes
    ----------
    words : pair of tuple of str
        Normal and abnormal class words.
    temperature : float
        What similarities are divided by; the release has none, which is 1.
    causal : bool
        Whether the text encoder keeps its causal mask.
    softmax_first : bool
        Softmax per layer before the mean over layers, rather than after it.
    channels : {'grey', 'colour'}
        How images to be scored are read.
    """

    words: Words
    temperature: float
    causal: bool
    softmax_first: bool
    channels: Channels


VARIANTS: dict[VariantName, Variant] = {
    "paper": Variant(PAPER_WORDS, 0.07, causal=True, softmax_first=True, channels="grey"),
    "release": Variant(RELEASE_WORDS, 1.0, causal=False, softmax_first=False, channels="colour"),
}
