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
from synthmed_clip.files import read_safetensors, write_safetensors

_FORMAT = "synthmed-clip features 1"


@dataclass(eq=False)
class RememberingBackbone(Backbone):
    """A backbone that keeps the features of every batch in a folder, by the batch's content.

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


def remembering(backbone: Backbone, folder: Path) -> RememberingBackbone:
    """Return the same backbone with a memory in a folder."""
    own = {field.name: getattr(backbone, field.name) for field in fields(Backbone)}
    return RememberingBackbone(**own, folder=folder)


@contextmanager
def remembering_for_now(backbone: Backbone, folder: Path) -> Iterator[RememberingBackbone]:
    """The same, with a memory inside `folder` that is forgotten at the end: for what is used a few
    times in a row.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as place:
        yield remembering(backbone, Path(place))
