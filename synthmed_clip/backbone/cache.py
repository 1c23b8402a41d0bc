"""Frozen features kept on disk, so that the same images pass the backbone once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import torch
from torch import Tensor

from synthmed_clip.backbone.model import Backbone
from synthmed_clip.backbone.pixels import require_pixels
from synthmed_clip.backbone.storage import read_safetensors, write_safetensors

_FORMAT = "synthmed-clip features 3"


@dataclass(eq=False)
class CachedBackbone(Backbone):
    """A backbone that keeps the features of every batch in a folder, a file a layer, by the batch's
    content and all that they depend on.

    Attributes
    ----------
    folder : Path
        Files in it may be removed at any time.
    """

    folder: Path

    @torch.no_grad()
    def features(self, pixels: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """As `Backbone.features`; read back, bit for bit, where the same batch was seen before."""
        require_pixels(pixels, self.image_size)  # before its bytes become a key
        batch = sha256(f"{self.fingerprint} {tuple(pixels.shape)}".encode())
        batch.update(pixels.cpu().contiguous().numpy().tobytes())
        paths = {n: self.folder / f"{batch.hexdigest()[:32]}-{n}.safetensors" for n in layers}
        known = {layer: self._read(path) for layer, path in paths.items()}
        missing = [layer for layer, feature in known.items() if feature is None]
        found = super().features(pixels, missing) if missing else []
        for layer, feature in zip(missing, found, strict=True):
            known[layer] = feature
            write_safetensors(paths[layer], {"feature": feature}, {"format": _FORMAT})
        return [cast(Tensor, known[layer]) for layer in layers]

    def _read(self, path: Path) -> Tensor | None:
        """Read a layer's feature; None where it is not there, or is damaged."""
        with suppress(FileNotFoundError, ValueError):
            tensors, _ = read_safetensors(path, _FORMAT)
            return tensors["feature"].to(self.device)
        return None


def with_cache(backbone: Backbone, folder: Path) -> CachedBackbone:
    """Return the same backbone with a cache in a folder.

    Parameters
    ----------
    backbone : Backbone
    folder : Path
        May be shared with other backbones; made where it is missing.

    Examples
    --------
    >>> from synthmed_clip.backbone.model import load_backbone
    >>> vision = {"image_size": 16, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8}
    >>> text = {"vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
    >>> config = {"embed_dim": 4, "vision_cfg": vision, "text_cfg": text}
    >>> backbone = load_backbone(config, None, device="cpu", precision="float32")
    >>> pixels = torch.zeros(1, 1, 16, 16)
    >>> with TemporaryDirectory() as folder:
    ...     cached = with_cache(backbone, Path(folder))
    ...     found, again = (cached.features(pixels, (2,))[0] for _ in range(2))
    ...     len(list(Path(folder).iterdir()))
    1
    >>> torch.equal(found, again)
    True
    """
    own = {field.name: getattr(backbone, field.name) for field in fields(Backbone)}
    return CachedBackbone(**own, folder=folder)


@contextmanager
def with_temporary_cache(backbone: Backbone, folder: Path) -> Iterator[CachedBackbone]:
    """Give the same backbone with a cache that is removed at the end.

    Parameters
    ----------
    backbone : Backbone
    folder : Path
        In which the cache is; made where it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as cache:
        yield with_cache(backbone, Path(cache))
