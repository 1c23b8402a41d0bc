"""The fitted detector: predict, save, load."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from synthmed_clip.backbone.device import Precision
from synthmed_clip.backbone.memory import explained_memory
from synthmed_clip.backbone.model import Backbone, load_backbone
from synthmed_clip.backbone.pixels import to_pixels
from synthmed_clip.backbone.storage import read_safetensors, write_safetensors
from synthmed_clip.backbone.weights import weights_digest
from synthmed_clip.data.images import ImageLike, collect, resize_map, square
from synthmed_clip.methods.mediclip.assembly import build_head, encode_classes, precision_name
from synthmed_clip.methods.mediclip.head import Head, anomaly_map
from synthmed_clip.methods.mediclip.release import read_release
from synthmed_clip.methods.mediclip.settings import VARIANTS, Epoch, Settings

_FORMAT = "synthmed-clip detector 2"


@dataclass(frozen=True)
class Prediction:
    """What a detector says of one image.

    Attributes
    ----------
    score : float
        The map's maximum before it is resized; in [0, 1].
    anomaly_map : ndarray
        `(H, W)` float32, the image's own size: the probability of being abnormal at every pixel.
    is_anomalous : bool
        Whether the score is above the detector's threshold.
    """

    score: float
    anomaly_map: np.ndarray = field(repr=False)
    is_anomalous: bool


@dataclass(frozen=True, eq=False)
class Detector:
    """A backbone, a learnt head and the two class features that its prompts gave.

    Attributes
    ----------
    backbone : Backbone
    head : Head
        Adapters and context, float32.
    classes : Tensor
        `(2, D)`, f_n and f_a: constants once the context is learnt.
    settings : Settings
    threshold : float
        Scores above it are anomalous. See `synthmed_clip.fit` for what it is calibrated on.
    log : tuple of Epoch
        Losses of every epoch.
    """

    backbone: Backbone
    head: Head
    classes: Tensor
    settings: Settings
    threshold: float
    log: tuple[Epoch, ...] = ()

    def __repr__(self) -> str:
        s = self.settings
        return (
            f"Detector({s.backbone} {s.weights or 'random'}, {s.variant}, layers {s.layers}, "
            f"{s.image_size} px, "
            f"{len(self.log)} epochs, threshold {self.threshold:.4f})"
        )

    def predict(
        self,
        images: ImageLike | Iterable[ImageLike],
        *,
        batch_size: int = 16,
    ) -> Prediction | list[Prediction]:
        """Score images and map their anomalies.

        Parameters
        ----------
        images : path, array, or iterable of them
            One or many, of any size and channel count: see `synthmed_clip.data.images.collect` for
            what counts as one, and `square` for how dtypes are read.
        batch_size : int
            Images through the backbone at a time.

        Returns
        -------
        Prediction or list of Prediction
            One for a single image, a list otherwise.

        Raises
        ------
        MemoryError
            If a batch does not fit; says which size to try.
        """
        items, single = collect(images)
        predictions = []
        for found, shape in self._stream(items, batch_size):
            score = float(found.max())
            predictions.append(Prediction(score, resize_map(found, shape), score > self.threshold))
        return predictions[0] if single else predictions

    def maps(self, images: ImageLike | Iterable[ImageLike], *, batch_size: int = 16) -> np.ndarray:
        """Return the maps of many images before any resizing, `(N, S, S)` float32."""
        items, _ = collect(images)
        size = self.settings.image_size
        found = [found for found, _ in self._stream(items, batch_size)]
        return np.stack(found) if found else np.empty((0, size, size), np.float32)

    def map_batch(self, pixels: Tensor) -> Tensor:
        """Return the maps `(B, S, S)` of squared images, as `Backbone.features` takes them."""
        with torch.inference_mode():
            settings = self.settings
            features = self.backbone.features(pixels, settings.layers)
            return anomaly_map(
                self.head,
                features,
                self.classes,
                size=settings.image_size,
                temperature=settings.temperature,
                softmax_first=VARIANTS[settings.variant].softmax_first,
            )

    def _stream(
        self,
        items: list[Path | np.ndarray],
        batch_size: int,
    ) -> Iterator[tuple[np.ndarray, tuple[int, int]]]:
        """Yield map and original shape of every image; the next batch is read while the backbone
        works.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        grey = VARIANTS[self.settings.variant].grey_test

        def prepare(start: int) -> list[tuple[np.ndarray, tuple[int, int]]]:
            return [
                square(item, self.settings.image_size, grey)
                for item in items[start : start + batch_size]
            ]

        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(prepare, 0)
            for start in range(0, len(items), batch_size):
                batch = ahead.result()
                ahead = reader.submit(prepare, start + batch_size)
                with explained_memory(batch_size):
                    pixels = to_pixels(np.stack([pixels for pixels, _ in batch]))
                    found = self.map_batch(pixels).cpu().numpy()
                yield from zip(found, (shape for _, shape in batch), strict=True)

    def head_digest(self) -> str:
        """Return the SHA-256 of what was learnt."""
        return weights_digest(self.head)

    def save(self, path: str | Path) -> None:
        """Write all but the backbone to one safetensors file; the backbone goes by name, tag and
        hash.
        """
        data = {
            "format": _FORMAT,
            "settings": self.settings.to_dict(),
            "digest": self.backbone.digest,
            "scale": self.backbone.scale.flatten().tolist(),
            "offset": self.backbone.offset.flatten().tolist(),
            "threshold": self.threshold,
            "log": [asdict(epoch) for epoch in self.log],
        }
        tensors = {**self.head.state_dict(), "classes": self.classes}
        write_safetensors(path, tensors, data)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        backbone: Backbone | None = None,
        weights: str | Path | None = None,
        device: str | torch.device = "auto",
        precision: Precision = "auto",
    ) -> Detector:
        """Read a saved detector, and its backbone; no code is run from the file.

        Parameters
        ----------
        path : str or Path
        backbone : Backbone, optional
            One that is loaded already, to be shared.
        weights : str or Path, optional
            Where the backbone's weights are now, if not where they were (a tag, or a file).
        device, precision
            As in `load_backbone`.

        Raises
        ------
        ValueError
            If the file is no detector or is damaged, or the backbone's weights or normalisation are
            not those that it was fitted on.
        """
        tensors, data = read_safetensors(path, _FORMAT)
        try:
            settings, threshold = Settings.from_dict(data["settings"]), float(data["threshold"])
            log = tuple(Epoch(**epoch) for epoch in data["log"])
            digest = data["digest"]
            scale, offset = (
                torch.tensor(data[key]).reshape(3, 1, 1) for key in ("scale", "offset")
            )
            classes = tensors.pop("classes")
            if settings.variant not in VARIANTS or not isfinite(threshold):
                raise ValueError(f"variant {settings.variant!r}, threshold {threshold}")
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"{path} is damaged, or of another version of synthmed_clip: {error!r}"
            ) from error
        given = backbone
        if backbone is None:
            backbone = load_backbone(
                settings.config or settings.backbone,
                weights or settings.weights,
                name=settings.backbone,
                random_text=settings.random_text,
                image_size=settings.image_size,
                device=device,
                precision=precision,
            )
        if backbone.digest != digest:
            raise ValueError(
                f"{path} was fitted on other weights: {settings.backbone} {settings.weights} "
                f"with SHA-256 "
                f"{digest[:16]}..., not {backbone.name} {backbone.weights} "
                f"with {backbone.digest[:16]}..."
            )
        if backbone.image_size != settings.image_size:
            raise ValueError(
                f"{path} was fitted at {settings.image_size} pixels; the backbone takes "
                f"{backbone.image_size}"
            )
        scale, offset = scale.to(backbone.scale), offset.to(backbone.offset)
        if given is None:  # the same weights by another name may come with other figures
            backbone = replace(backbone, scale=scale, offset=offset)
        elif not (torch.equal(scale, backbone.scale) and torch.equal(offset, backbone.offset)):
            raise ValueError(
                f"{path} was fitted with another normalisation of images than that of "
                f"{backbone.name}"
            )
        if classes.shape != (2, backbone.text_dim):
            raise ValueError(
                f"{path} does not fit {backbone.name}: classes is {tuple(classes.shape)}"
            )
        head = build_head(backbone, settings, tensors, str(path))
        return cls(backbone, head, classes.to(backbone.device), settings, threshold, log)

    @classmethod
    def import_release(
        cls,
        path: str | Path,
        *,
        backbone: str | Path | Backbone = "ViT-L-14-quickgelu",
        weights: str | Path | None = "openai",
        layers: tuple[int, ...] | None = None,
        threshold: float = 0.5,
        device: str | torch.device = "auto",
        precision: Precision = "auto",
    ) -> Detector:
        """Read a checkpoint that the MediCLIP authors' code wrote.

        Parameters
        ----------
        path : str or Path
            A `torch.save` of `adapter_state_dict` and `prompt_state_dict`; read with
            `weights_only=True`.
        backbone, weights, device, precision
            As in `load_backbone`; the checkpoint does not say on which backbone it was trained.
        layers : tuple of int, optional
            Which layers the adapters belong to, from 1; by default half, three quarters and all of
            the depth.
        threshold : float
            The checkpoint has none. At 0.5 a pixel is as similar to abnormal as to normal.

        Raises
        ------
        ValueError
            That names the first entry that is missing or does not fit the backbone.
        """
        tensors = read_release(Path(path))
        if not isinstance(backbone, Backbone):
            backbone = load_backbone(backbone, weights, device=device, precision=precision)
        settings = Settings(
            variant="release",
            backbone=backbone.name,
            config=backbone.config,
            weights=backbone.weights,
            random_text=backbone.random_text,
            image_size=backbone.image_size,
            layers=tuple(layers or backbone.default_layers()),
            words=VARIANTS["release"].words,
            tokens=tensors["context_normal"].shape[1],
            temperature=VARIANTS["release"].temperature,
            recipe={},
            epochs=0,
            batch_size=0,
            lr=0.0,
            betas=(0.0, 0.0),
            entropy=(),
            precision=precision_name(backbone),
        )
        head = build_head(backbone, settings, tensors, str(path))
        return cls(backbone, head, encode_classes(backbone, settings, head), settings, threshold)
