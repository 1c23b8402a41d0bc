"""A frozen CLIP model: its patch tokens, and its text tower with room for learnable prompts."""

from typing import TYPE_CHECKING, Literal

import lazy_loader

if TYPE_CHECKING:
    from synthmed_clip.backbone.model import Backbone, load_backbone

__all__ = ["Backbone", "Precision", "load_backbone"]

Precision = Literal["auto", "float32", "bfloat16"]
"""Strict float32, bfloat16, or whichever the device does well."""

# Not imported until they are used: torch takes seconds to load.
__getattr__, __dir__, _ = lazy_loader.attach(
    __name__, submod_attrs={"model": ["Backbone", "load_backbone"]}
)
