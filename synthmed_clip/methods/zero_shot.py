"""CLIP as it is, with prompts as they stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Self

from annotated_types import MinLen

from synthmed_clip.methods.base import Channels, Fitted, Method, Scores, State
from synthmed_clip.methods.mediclip.settings import HARD_WORDS

if TYPE_CHECKING:
    from torch import Tensor

    from synthmed_clip.backbone.model import Backbone
    from synthmed_clip.training.seeds import RNG

_LOGIT_SCALE = 100  # CLIP's, at the end of its training
_CHUNK = 16
_Words = Annotated[tuple[str, ...], MinLen(1)]


@dataclass(frozen=True)
class ZeroShot(Method):
    """Similarity to the texts of two classes, softmax; no image is looked at beforehand.

    Scores come from the pooled image feature; maps from the last layer's patch tokens through the
    tower's own norm and projection. A tower that has no such thing, as convolutional ones, gives
    no maps.

    Parameters
    ----------
    normal_words, abnormal_words : tuple of str
        The prompts.
    channels : {'grey', 'colour'}
        How images are seen, to fit and to score.

    References
    ----------
    Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021.

    Examples
    --------
    It needs no normal images; `scans` are a few arrays, `backbone` is a loaded one.

    >>> from synthmed_clip import ZeroShot, fit
    >>> method = ZeroShot(normal_words=("a healthy brain",), abnormal_words=("a tumour",))
    >>> detector = fit([], method, backbone=backbone)
    >>> 0 <= detector.predict(scans[0]).score <= 1
    True
    """

    normal_words: _Words = HARD_WORDS[0]
    abnormal_words: _Words = HARD_WORDS[1]
    channels: Channels = "grey"

    least_support = 0
    reads_text = True

    def resolved(self, backbone: Backbone) -> Self:
        """Return it as it is; ValueError on a backbone without a text tower."""
        backbone.require_text(self.name)
        return self

    def fit(self, support: Tensor, backbone: Backbone, rng: RNG = None) -> FittedZeroShot:
        """Encode the prompts."""
        import torch

        from synthmed_clip.methods.mediclip.prompts import class_features, embed_prompts

        text, _ = backbone.require_text(self.name)
        with torch.inference_mode():
            prompts = embed_prompts(text, (self.normal_words, self.abnormal_words), 0)
            context = prompts.embedded.new_zeros(len(prompts.read), 0, text.width)
            return FittedZeroShot(self, backbone, class_features(text, prompts, context))

    @classmethod
    def restore(cls, state: State, backbone: Backbone) -> FittedZeroShot:
        """Take the class features from a state."""
        classes, dim = state["classes"], backbone.require_text(cls.name)[1]
        if classes.shape != (2, dim):
            raise ValueError(f"classes is {tuple(classes.shape)}, not (2, {dim})")
        method = cls.from_dict(state["method"])
        return FittedZeroShot(method, backbone, classes.to(backbone.device))


@dataclass(frozen=True, eq=False)
class FittedZeroShot(Fitted):
    """The two class features on their backbone.

    Attributes
    ----------
    method : ZeroShot
    backbone : Backbone
    classes : Tensor
        `(2, D)` float32.
    """

    method: ZeroShot
    backbone: Backbone
    classes: Tensor

    maps_are_probabilities = True
    left_out_is_conservative = True  # nothing is learnt from them

    def score(self, pixels: Tensor) -> Scores:
        """Compare images, and their patches, with the two texts; in [0, 1]."""
        import torch
        from torch.nn.functional import normalize

        from synthmed_clip.backbone.pixels import in_batches
        from synthmed_clip.methods.maps import resize

        direction = (self.classes[1] - self.classes[0]) * _LOGIT_SCALE
        size, scores, maps = self.backbone.image_size, [], []
        with torch.inference_mode():
            for batch in in_batches(pixels, _CHUNK):
                pooled, tokens = self.backbone.joint_features(batch)
                scores.append((normalize(pooled.float(), dim=-1) @ direction).sigmoid())
                if tokens is None:
                    maps.append(pooled.new_empty(len(batch), 0, 0, dtype=torch.float32))
                    continue
                side = int(tokens.shape[1] ** 0.5)
                small = (normalize(tokens.float(), dim=-1) @ direction).sigmoid()
                maps.append(resize(small.reshape(-1, side, side), (size, size)))
        return Scores(torch.cat(scores), torch.cat(maps))

    def score_left_out(self, support: Tensor) -> Scores:
        """Score them: nothing was learnt from them."""
        return self.score(support)

    def state(self) -> State:
        """Return the class features, and the method as data."""
        return {"classes": self.classes, "method": self.method.to_dict()}
