"""Frozen features kept on disk, so that the same images pass the backbone once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from synthmed_clip.backbone.model import Backbone
from synthmed_clip.backbone.pixels import require_pixels
from synthmed_clip.backbone.storage import read_safetensors, write_safetensors

_FORMAT = "synthmed-clip features 1"


@dataclass(eq=False)
class CachedBackbone(Backbone):
    """A backbone that keeps the features of every batch in a folder, by the batch's content and all
    that they depend on.

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
        key = sha256(
            f"{self.fingerprint} {tuple(layers)} {tuple(pixels.shape)}".encode()
            + pixels.cpu().contiguous().numpy().tobytes()
        ).hexdigest()[:32]
        path = self.folder / f"{key}.safetensors"
        with suppress(FileNotFoundError, ValueError):  # what is damaged is found anew
            tensors, _ = read_safetensors(path, _FORMAT)
            return [tensors[str(layer)].to(self.device) for layer in layers]
        found = super().features(pixels, layers)
        tensors = {str(layer): feature for layer, feature in zip(layers, found, strict=True)}
        write_safetensors(path, tensors, {"format": _FORMAT})
        return found


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
