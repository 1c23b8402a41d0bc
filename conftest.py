"""What the examples in docstrings stand on: the library of an integration, and `scans` and
`backbone` in those of `synthmed_clip`.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

# A file of an integration has the name of its library, without which it cannot be imported.
collect_ignore = [
    str(file)
    for file in (Path(__file__).parent / "synthmed" / "integrations").glob("[!_]*.py")
    if find_spec(file.stem) is None
]


@pytest.fixture(autouse=True)
def _names_of_examples(request: pytest.FixtureRequest) -> None:
    """Give examples four smooth grey images of 40 x 48, and a small tower with random weights."""
    item = request.node
    if isinstance(item, pytest.DoctestItem) and item.name.startswith("synthmed_clip."):
        namespace: dict[str, Any] = request.getfixturevalue("doctest_namespace")
        namespace["scans"], namespace["backbone"] = _scans(), _backbone()


@lru_cache(maxsize=1)
def _scans() -> list[NDArray[np.uint8]]:
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    smooth = [gaussian_filter(rng.random((40, 48)), 3) for _ in range(4)]
    return [((s - s.min()) / np.ptp(s) * 255).astype(np.uint8) for s in smooth]


@lru_cache(maxsize=1)
def _backbone() -> Any:
    pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")
    from synthmed_clip import load_backbone

    vision = {"image_size": 32, "layers": 4, "width": 32, "head_width": 16, "patch_size": 8}
    text = {"vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    config = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}
    return load_backbone(config, None, device="cpu", precision="float32")
