"""A frozen CLIP model: its patch tokens, and its text tower with room for learnable prompts."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from synthmed_clip.backbone.model import Backbone, load_backbone

__all__ = ["Backbone", "load_backbone"]

# Not imported until they are used: torch takes seconds to load.
__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs={"model": __all__})
