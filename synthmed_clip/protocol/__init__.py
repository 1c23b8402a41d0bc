"""Few-shot experiments: methods on support sets of data sets, their results and tables."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "engine": ["Engine"],
        "plan": ["Group", "Protocol"],
        "results": ["Result", "Row", "Run", "summarise"],
        "tables": ["write_tables"],
        "variants": ["Entry", "ablations", "entries"],
    },
)
