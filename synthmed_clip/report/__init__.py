"""What a detector found, to be looked at: a page on a data set, and maps as pictures."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "heatmaps": ["heat_map", "levels_of", "overlay", "save_picture"],
        "write": ["write_report"],
    },
)
