"""What defines a fitted detector, as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from synthmed_clip.methods.mediclip.prompts import PAPER_WORDS, RELEASE_WORDS

Words = tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True)
class Variant:
    """Where the paper and its authors' released code differ, apart from the synthesis.

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
    grey_test : bool
        Whether colour images are reduced to grey when predicting, too.
    """

    words: Words
    temperature: float
    causal: bool
    softmax_first: bool
    grey_test: bool


VARIANTS = {
    "paper": Variant(PAPER_WORDS, 0.07, causal=True, softmax_first=True, grey_test=True),
    "release": Variant(RELEASE_WORDS, 1.0, causal=False, softmax_first=False, grey_test=False),
}


@dataclass(frozen=True)
class Settings:
    """All that `fit` was told, resolved: with the weights, enough to rebuild the detector.

    Attributes
    ----------
    variant : str
        'paper' or 'release'.
    backbone : str
        open_clip's name, or the name of the configuration's file.
    config : dict or None
        The configuration, where it came from a file.
    weights : str or None
        Tag or file.
    random_text : bool
        Whether the text tower is random.
    image_size : int
    layers : tuple of int
        Counted from 1.
    words : pair of tuple of str
    tokens : int
    temperature : float
    recipe : dict
        Of the synthetic anomalies, as `to_dict` of the generator gives it; empty for an imported
        checkpoint.
    epochs, batch_size, lr, betas, average
        Of the optimisation.
    entropy : tuple of int
        From which all random numbers of the fit are derived.
    precision : str
        In which it was fitted, 'float32' or 'bfloat16'.
    adapters : bool
        Whether adapters are learnt; otherwise channels are average-pooled (the paper's ablation).
    support : tuple of str
        Digest of each support image as the backbone sees it (`synthmed.digests.digest_array`):
        which they were, without showing them.
    start : str or None
        SHA-256 of the head that the fit began with, where it was another detector's.
    validation : str or None
        SHA-256 of the validation images and labels by which the epoch was chosen, where there were
        any.
    """

    variant: str
    backbone: str
    config: dict | None
    weights: str | None
    random_text: bool
    image_size: int
    layers: tuple[int, ...]
    words: Words
    tokens: int
    temperature: float
    recipe: dict
    epochs: int
    batch_size: int
    lr: float
    betas: tuple[float, float]
    entropy: tuple[int, ...]
    precision: str
    adapters: bool = True
    average: float = 0.0
    support: tuple[str, ...] = ()
    start: str | None = None
    validation: str | None = None

    def to_dict(self) -> dict:
        """Return JSON-ready data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict) -> Settings:
        """Rebuild from what `to_dict` gave, through JSON or not."""
        words = tuple(tuple(group) for group in data["words"])
        lists = {key: tuple(data[key]) for key in ("layers", "betas", "entropy", "support")}
        return cls(**{**data, **lists, "words": words})


@dataclass(frozen=True)
class Epoch:
    """Mean losses over one epoch; `number` counts from 1, `validation` is Image-AUROC where there
    is such a set.
    """

    number: int
    loss: float
    focal: float
    dice: float
    validation: float | None = None
