"""A fitted method on its backbone with its decision rule: predict, save, load."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthmed import io
from synthmed.io import MaskLevel, ValueRange
from synthmed_clip.backbone.device import Precision
from synthmed_clip.backbone.memory import explained_memory
from synthmed_clip.backbone.model import Backbone, load_backbone
from synthmed_clip.backbone.pixels import to_pixels
from synthmed_clip.backbone.storage import read_safetensors, write_safetensors
from synthmed_clip.data.images import ImageLike, collect, read_plane, resize_map, square
from synthmed_clip.data.regions import (
    Region,
    RegionLike,
    collect_regions,
    read_inside,
    square_inside,
)
from synthmed_clip.data.values import Values, values_of
from synthmed_clip.evaluation.calibration import p_value, require_attainable
from synthmed_clip.methods.base import Fitted, Method, Scores

FORMAT = "synthmed-clip detector 5"


@dataclass(frozen=True)
class Prediction:
    """What a detector says of one image.

    Attributes
    ----------
    score : float
        The higher, the more abnormal; of which scale, the method says.
    anomaly_map : ndarray or None
        `(H, W)` float32, the image's own size: how abnormal every pixel is; None where the method
        has no maps on its backbone.
    is_anomalous : bool
        Whether the score is above the detector's threshold; or, where an alpha was given, whether
        the p-value is at most that.
    p_value : float or None
        How rarely a normal image would score as high, by the detector's support images, each left
        out of what judges it: at least 1 / (k + 1). None where the method cannot leave them out.

    Examples
    --------
    `scans` are a few arrays of normal images, `backbone` is a loaded one.

    >>> from synthmed_clip import NearestPatch, fit
    >>> prediction = fit(scans, NearestPatch(), backbone=backbone).predict(scans[0])
    >>> prediction.is_anomalous, prediction.anomaly_map.shape
    (False, (40, 48))
    >>> prediction.p_value
    1.0
    """

    score: float
    anomaly_map: NDArray[np.float32] | None = field(repr=False)
    is_anomalous: bool
    p_value: float | None = None


@dataclass(frozen=True)
class Provenance:
    """Where a detector comes from.

    Attributes
    ----------
    support : tuple of str
        Digest of each support image as the backbone sees it: which they were, without showing
        them; empty for one that was imported.
    precision : str
        In which it was fitted, 'float32' or 'bfloat16'.
    """

    support: tuple[str, ...]
    precision: str


Shape = tuple[int, int]
Inside = NDArray[np.bool_] | None


@dataclass(frozen=True, eq=False)
class _Batch:
    """What was found in images: scores and maps of their regions of interest, and as if there were
    none; the images' shapes, and the regions at that size.
    """

    scored: Scores
    whole: Scores
    shapes: list[Shape]
    inside: list[Inside]


@dataclass(frozen=True, eq=False)
class Detector:
    """A fitted method, on its backbone, with its decision rule.

    Attributes
    ----------
    method : Method
        With all its values, those of the backbone filled in.
    fitted : Fitted
    backbone : Backbone
    threshold : float
        Scores above it are anomalous. See `synthmed_clip.fit` for where it comes from.
    provenance : Provenance
    map_range : (float, float)
        What the colours of a heat map span: for maps that are no probabilities, from the support
        images' lowest value to twice as far as their highest.
    normal_scores : tuple of float
        Of the support images, each left out of what judges it; empty where the method cannot leave
        them out.
    """

    method: Method
    fitted: Fitted
    backbone: Backbone
    threshold: float
    provenance: Provenance
    map_range: tuple[float, float] = (0.0, 1.0)
    normal_scores: tuple[float, ...] = ()
    values: Values = Values()

    def __post_init__(self) -> None:
        """Refuse a decision rule that decides nothing.

        Raises
        ------
        ValueError
            If a number is not finite, or the map's range is empty.
        """
        low, high = self.map_range
        for name, numbers in (
            ("threshold", [self.threshold]),
            ("map_range", [low, high]),
            ("normal_scores", self.normal_scores),
        ):
            if not all(map(isfinite, numbers)):
                raise ValueError(f"{name} must be finite, not {getattr(self, name)}")
        if not low < high:
            raise ValueError(f"map_range must rise, not {self.map_range}")

    def __repr__(self) -> str:
        weights = self.backbone.weights or "random"
        return (
            f"Detector({self.method.name}, {self.backbone.name} {weights}, "
            f"{self.backbone.image_size} px, threshold {self.threshold:.4f})"
        )

    def predict(
        self,
        images: ImageLike | Iterable[ImageLike],
        *,
        roi: RegionLike | None = None,
        mask_level: MaskLevel = None,
        value_range: ValueRange | None = None,
        channel_axis: int | None = None,
        batch_size: int = 16,
        alpha: float | None = None,
    ) -> Prediction | list[Prediction]:
        """Score images and map their anomalies.

        Parameters
        ----------
        images : path, array, or iterable of them
            One or many, of any size, grey or RGB: see `synthmed_clip.data.images.collect` for what
            counts as one.
        roi : "auto", folder, paths or arrays, optional
            A region of interest an image, of its shape as stored; see `synthmed_clip.fit`. A score
            is of what lies inside; outside, a map has its lowest value.
        mask_level : int, sequence of int, "any" or None
            Which levels of files with regions are inside; see `synthmed.io.read_mask`.
        value_range : (float, float), "window" or "dtype", optional
            Which of these images' stored values are darkest and brightest: a pair, the window that
            each declares, or what its dtype holds. By default as for the support images
            (`values`), which other unsigned dtypes are brought to by what they hold in full.
        channel_axis : int, optional
            The axis of channels of arrays and tensors that have one.
        batch_size : int
            Images through the backbone at a time.
        alpha : float, optional
            Decide by p-values: anomalous is what normal images would score with a probability of
            at most this. By default the threshold decides.

        Returns
        -------
        Prediction or list of Prediction
            One for a single image, a list otherwise.

        Raises
        ------
        MemoryError
            If a batch does not fit; says which size to try.
        ValueError
            If alpha is below what the support images can tell; says how many are needed. If an
            image is a volume, not finite, or its values are of another kind than the support's.

        Examples
        --------
        >>> from synthmed_clip import NearestPatch, fit
        >>> detector = fit(scans, NearestPatch(), backbone=backbone)
        >>> prediction = detector.predict(255 - scans[0])
        >>> prediction.anomaly_map.shape, prediction.anomaly_map.dtype
        ((40, 48), dtype('float32'))
        >>> len(detector.predict(scans))
        4
        >>> detector.predict(255 - scans[0], alpha=0.2).p_value in (0.2, 0.4, 0.6, 0.8, 1.0)
        True
        """
        items, single = collect(images, channel_axis)
        if alpha is not None:
            if not self.normal_scores:
                raise ValueError(
                    f"alpha={alpha} needs p-values; this {self.method.name} has none, since no "
                    f"support image could be left out of what judges it: decide by a threshold"
                )
            require_attainable(alpha, len(self.normal_scores))
        predictions = []
        values = self.values_for(value_range)
        regions = collect_regions(roi, items, single)
        for batch in self._batches(items, regions, values, mask_level, batch_size):
            scores, maps = batch.scored.scores.tolist(), batch.whole.maps.cpu().numpy()
            for score, small, shape, inside in zip(
                scores, maps, batch.shapes, batch.inside, strict=True
            ):
                full = resize_map(small, shape) if small.size else None
                if full is not None and inside is not None:
                    full[~inside] = full.min()
                p = p_value(score, self.normal_scores) if self.normal_scores else None
                flagged = score > self.threshold if alpha is None or p is None else p <= alpha
                predictions.append(Prediction(score, full, flagged, p))
        return predictions[0] if single else predictions

    def score(
        self,
        images: ImageLike | Iterable[ImageLike],
        *,
        roi: RegionLike | None = None,
        mask_level: MaskLevel = None,
        value_range: ValueRange | None = None,
        channel_axis: int | None = None,
        batch_size: int = 16,
    ) -> Scores:
        """Score many images; maps stay as they are before any resizing, on the CPU.

        Parameters
        ----------
        images, roi, mask_level, value_range, channel_axis, batch_size
            As in `predict`.

        Returns
        -------
        Scores
            `(N,)` and `(N, S, S)` float32.

        Examples
        --------
        >>> from synthmed_clip import NearestPatch, fit
        >>> fit(scans, NearestPatch(), backbone=backbone).score(scans).maps.shape
        torch.Size([4, 32, 32])
        """
        items, single = collect(images, channel_axis)
        regions = collect_regions(roi, items, single)
        size, values = self.backbone.image_size, self.values_for(value_range)
        batches = self._batches(items, regions, values, mask_level, batch_size)
        found = [batch.scored for batch in batches]
        return Scores(
            torch.cat([part.scores.cpu() for part in found] or [torch.empty(0)]),
            torch.cat([part.maps.cpu() for part in found] or [torch.empty(0, size, size)]),
        )

    def values_for(self, value_range: ValueRange | None) -> Values:
        """Return how images to be scored are seen: as the support images, or by a rule of theirs.

        Raises
        ------
        ValueError
            For percentiles, which would stretch every image, or batch, by its own extremes.
        """
        if value_range is None:
            return self.values
        rule = io.require_value_range(value_range)
        if len(rule) == 3:
            raise ValueError(
                f"value_range={rule!r} is for fit; images to be scored are seen as the support "
                f"images, or by a pair, 'window' or 'dtype'"
            )
        return values_of([], rule)

    def _batches(
        self,
        items: list[Path | io.Image],
        regions: list[Region] | None,
        values: Values,
        level: MaskLevel,
        batch_size: int,
    ) -> Iterator[_Batch]:
        """Yield what is found; the next batch is read while the backbone works."""
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        size, grey = self.backbone.image_size, self.method.scored_channels == "grey"

        def read(start: int) -> tuple[Tensor, list[Shape], list[Inside]] | None:
            part = slice(start, start + batch_size)
            if not items[part]:
                return None
            made = [square(item, size, values, grey) for item in items[part]]
            squares, shapes = zip(*made, strict=True)
            inside: list[Inside] = [None] * len(made)
            if regions is not None:
                pairs = zip(regions[part], items[part], strict=True)
                inside = [read_inside(own, item, read_plane(item), level) for own, item in pairs]
            return to_pixels(np.stack(squares)), list(shapes), inside

        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(read, 0)
            for start in range(batch_size, len(items) + batch_size, batch_size):
                batch = ahead.result()
                ahead = reader.submit(read, start)
                if batch is not None:
                    pixels, shapes, inside = batch
                    with explained_memory(batch_size):
                        whole = self.fitted.score(pixels)
                        scored = whole
                        if regions is not None:
                            small = [square_inside(own, size) for own in inside if own is not None]
                            chosen = torch.from_numpy(np.stack(small))
                            scored = self.fitted.within(whole, chosen)
                    yield _Batch(scored, whole, shapes, inside)

    def save(self, path: str | Path) -> None:
        """Write all but the backbone to one safetensors file; the backbone goes by name, tag and
        hash.

        Examples
        --------
        >>> from tempfile import TemporaryDirectory
        >>> from synthmed_clip import NearestPatch, fit
        >>> with TemporaryDirectory() as folder:
        ...     fit(scans, NearestPatch(), backbone=backbone).save(f"{folder}/scan.safetensors")
        ...     [path.name for path in Path(folder).iterdir()]
        ['scan.safetensors']
        """
        state, own = self.fitted.state(), self.backbone
        tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
        backbone = {name: getattr(own, name) for name in _BACKBONE}
        scale = {name: getattr(own, name).flatten().tolist() for name in ("scale", "offset")}
        data = {
            "format": FORMAT,
            "method": self.method.to_dict(),
            "state": {name: value for name, value in state.items() if name not in tensors},
            "backbone": backbone | scale,
            "threshold": self.threshold,
            "provenance": asdict(self.provenance),
            "map_range": self.map_range,
            "normal_scores": self.normal_scores,
            "values": asdict(self.values),
        }
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
            If the file is no detector or is damaged, its method is of a module that was not
            imported, or the backbone's architecture, weights or normalisation are not those that
            it was fitted on.

        Examples
        --------
        >>> from tempfile import TemporaryDirectory
        >>> from synthmed_clip import NearestPatch, fit
        >>> with TemporaryDirectory() as folder:
        ...     fit(scans, NearestPatch(), backbone=backbone).save(f"{folder}/scan.safetensors")
        ...     Detector.load(f"{folder}/scan.safetensors", backbone=backbone).method.layers
        (3,)
        """
        tensors, data = read_safetensors(path, FORMAT)
        try:
            Method.require_known(data["method"])
        except (KeyError, TypeError) as error:
            raise _damaged(path, error) from error
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        try:
            method, threshold = Method.from_dict(data["method"]), float(data["threshold"])
            saved, state = data["backbone"], {**data["state"], **tensors}
            digest, size, built = saved["digest"], saved["image_size"], saved["architecture"]
            if not isinstance(built, dict):
                raise TypeError(f"architecture {built!r}")
            scale, offset = (torch.tensor(saved[k]).reshape(3, 1, 1) for k in ("scale", "offset"))
            provenance = Provenance(
                tuple(data["provenance"]["support"]), data["provenance"]["precision"]
            )
            normal = tuple(float(score) for score in data["normal_scores"])
            low, high = (float(end) for end in data["map_range"])
            values = Values.from_dict(data["values"])
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise _damaged(path, error) from error
        given = backbone
        if backbone is None:
            backbone = load_backbone(
                saved["config"] or saved["name"],
                weights or saved["weights"],
                name=saved["name"],
                random_text=saved["random_text"],
                image_size=size,
                device=device,
                precision=precision,
            )
        if backbone.digest != digest:
            raise ValueError(
                f"{path} was fitted on other weights: {saved['name']} {saved['weights']} with "
                f"SHA-256 {digest[:16]}..., not {backbone.name} {backbone.weights} with "
                f"{backbone.digest[:16]}..."
            )
        if backbone.architecture != built:
            raise ValueError(
                f"{path} was fitted on another architecture than that of {backbone.name}: "
                f"{_first_difference(built, backbone.architecture)}"
            )
        if backbone.image_size != size:
            raise ValueError(
                f"{path} was fitted at {size} pixels; the backbone takes {backbone.image_size}"
            )
        scale, offset = scale.to(backbone.scale), offset.to(backbone.offset)
        if given is None:  # the same weights by another name may come with other figures
            backbone = replace(backbone, scale=scale, offset=offset)
        elif not (torch.equal(scale, backbone.scale) and torch.equal(offset, backbone.offset)):
            raise ValueError(
                f"{path} was fitted with another normalisation of images than that of "
                f"{backbone.name}"
            )
        try:
            fitted = type(method).restore(state, backbone)
            span = (low, high)
            return cls(method, fitted, backbone, threshold, provenance, span, normal, values)
        except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
            raise _damaged(path, error) from error


_BACKBONE = ("name", "config", "weights", "random_text", "image_size", "architecture", "digest")


def _first_difference(before: dict, now: dict) -> str:
    key = next(k for k in {**before, **now} if before.get(k) != now.get(k))
    return f"{key} was {before.get(key)!r}, is {now.get(key)!r}"


def _damaged(path: str | Path, error: Exception) -> ValueError:
    return ValueError(f"{path} is damaged, or of another version of synthmed_clip: {error!r}")
