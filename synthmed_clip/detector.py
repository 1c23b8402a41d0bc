"""A fitted method on its backbone with its decision rule: predict, save, load."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from itertools import islice, repeat
from math import isfinite
from pathlib import Path
from typing import Any, Literal, get_args, overload

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
from synthmed_clip.data.images import (
    ImageLike,
    collect,
    each_of,
    name_of,
    one_of,
    read_plane,
    resize_map,
    square,
)
from synthmed_clip.data.levels import Levels, read_levels
from synthmed_clip.data.regions import (
    Region,
    RegionLike,
    collect_regions,
    each_region,
    one_region,
    read_inside,
    square_inside,
)
from synthmed_clip.data.slices import Axis, Slices, read_volume, require_axis
from synthmed_clip.data.values import Values, values_of
from synthmed_clip.evaluation.calibration import p_value, require_attainable
from synthmed_clip.evaluation.map_scale import MapScale
from synthmed_clip.evaluation.operating_point import Calibration
from synthmed_clip.export import PixelType, to_onnx
from synthmed_clip.files import write_bytes
from synthmed_clip.methods.base import Fitted, Method, Scores

OnError = Literal["raise", "yield"]
FORMAT = "synthmed-clip detector 6"
NormalSource = Literal["left-out", "out-of-fold", "calibration"]


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
        How rarely a normal image would score as high, by k normal images that what judges them
        has not seen: at least 1 / (k + 1). None where there are none; see `Detector`.
    p_value_is_heuristic : bool
        False where the p-value keeps its level: a normal image that is exchangeable with those k
        has one of at most alpha with a probability of at most alpha. True where nothing shows
        that; see `Detector`.

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
    p_value_is_heuristic: bool = False

    @property
    def peak(self) -> tuple[int, ...] | None:
        """Where the map is largest: column and row (x, y), from 0, in pixels of the image as it is
        stored; of a volume, its array indices.
        """
        if self.anomaly_map is None:
            return None
        at = np.unravel_index(int(self.anomaly_map.argmax()), self.anomaly_map.shape)
        return tuple(map(int, at if len(at) > 2 else at[::-1]))


@dataclass(frozen=True)
class Failure:
    """An image that could not be read, in its place among predictions.

    Attributes
    ----------
    index : int
        Which one of the images, counted from 0.
    image : str
        Its path, or what an array is like.
    reason : str
        What is wrong with it.

    Examples
    --------
    `scans` are a few arrays of normal images, `backbone` is a loaded one.

    >>> from synthmed_clip import NearestPatch, fit
    >>> detector = fit(scans, NearestPatch(), backbone=backbone)
    >>> list(detector.predict_stream(["nothing.png"], on_error="yield"))
    [Failure(index=0, image='nothing.png', reason='no image or folder at nothing.png')]
    """

    index: int
    image: str
    reason: str


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
    folds : int or None
        Of the refits that judged the support images, where there were any.
    calibration : Calibration or None
        How the threshold was set from further images, where it was.
    levels : tuple of tuple of float
        Of each support image, as `synthmed_clip.data.levels.levels_of` gives them.
    settings : tuple of (str, str)
        Names and values of what else was not by default when it was fitted.
    """

    support: tuple[str, ...]
    precision: str
    folds: int | None = None
    calibration: Calibration | None = None
    levels: tuple[Levels, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class _Entry:
    """An image at the backbone's size; its shape, and its region of interest at that shape."""

    pixels: NDArray[np.uint8]
    shape: tuple[int, int]
    inside: NDArray[np.bool_] | None


@dataclass(frozen=True, eq=False)
class _Batch:
    """What was found in images: scores and maps of their regions of interest, and as if there were
    none; and the images, with what could not be read in its place.
    """

    scored: Scores
    whole: Scores
    entries: list[_Entry | Failure]


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
    map_scale : MapScale
        What the colours of a heat map span.
    normal_scores : tuple of float
        Of the normal images that p-values are against; empty where there are none.
    normal_source : {'left-out', 'out-of-fold', 'calibration'} or None
        Which those are. 'calibration': further images (`calibrate`); p-values keep their level.
        'left-out': the support images, each left out of what judges it; they keep it where leaving
        out can only raise a score (`Fitted.left_out_is_conservative`), and are heuristic elsewhere.
        'out-of-fold': the support images, judged by refits on the other folds, which have seen
        fewer images than the detector: heuristic.
    values : Values
        How stored values become the 0 to 255 that the method sees, fixed by the support images.
    axis : int, "axial", "coronal", "sagittal" or None
        Along which it sees volumes, of which it was fitted; None for images.
    """

    method: Method
    fitted: Fitted
    backbone: Backbone
    threshold: float
    provenance: Provenance
    map_scale: MapScale = MapScale()
    normal_scores: tuple[float, ...] = ()
    normal_source: NormalSource | None = None
    values: Values = Values()
    axis: Axis | None = None

    def __post_init__(self) -> None:
        """Refuse a decision rule that decides nothing.

        Raises
        ------
        ValueError
            If a number is not finite.
        """
        for name, numbers in (
            ("threshold", [self.threshold]),
            ("normal_scores", self.normal_scores),
        ):
            if not all(map(isfinite, numbers)):
                raise ValueError(f"{name} must be finite, not {getattr(self, name)}")

    def __repr__(self) -> str:
        weights = self.backbone.weights or "random"
        return (
            f"Detector({self.method.name}, {self.backbone.name} {weights}, "
            f"{self.backbone.image_size} px, threshold {self.threshold:.4f})"
        )

    @property
    def p_values_are_heuristic(self) -> bool:
        """Whether nothing shows that its p-values keep their level."""
        proven = self.fitted.left_out_is_conservative and self.normal_source == "left-out"
        return bool(self.normal_scores) and self.normal_source != "calibration" and not proven

    def predict(
        self,
        images: ImageLike | Iterable[ImageLike],
        *,
        axis: Axis | None = None,
        roi: RegionLike | None = None,
        mask_level: MaskLevel = None,
        value_range: ValueRange | None = None,
        channel_axis: int | None = None,
        batch_size: int = 16,
        alpha: float | None = None,
    ) -> Prediction | list[Prediction]:
        """Score images and map their anomalies; for many, see `predict_stream`.

        Parameters
        ----------
        images : path, array, or iterable of them
            One or many, of any size, grey or RGB: see `synthmed_clip.data.images.collect` for what
            counts as one.
        axis : int or {"axial", "coronal", "sagittal"}, optional
            That images are volumes (arrays, files, folders of DICOM slices), seen slice by slice as
            in `synthmed_clip.fit`; by default as the support. A map has the volume's own shape and
            orientation, a score is that of the most abnormal slice. Of a detector that was fitted
            on images a volume has no p-value, and its threshold is that of a single slice.
        roi : "auto", folder, paths or arrays, optional
            A region of interest an image, of its shape as stored; see `synthmed_clip.fit`. A score
            is of what lies inside; outside, a map has its lowest value. Slices of a volume that the
            region does not reach are left out.
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
        axis = self.axis if axis is None else require_axis(axis)
        items, single = collect(images, channel_axis, volumes=axis is not None)
        if axis is None:
            found = list(
                self.predict_stream(
                    items,
                    roi=collect_regions(roi, items, single),
                    mask_level=mask_level,
                    value_range=value_range,
                    batch_size=batch_size,
                    alpha=alpha,
                    maps=True,
                )
            )
            return found[0] if single else found
        self._require_alpha(alpha, axis)
        values = self.values_for(value_range)
        predictions = [
            self._predict_volume(slices, values, batch_size, alpha)
            for slices in _volumes(items, axis, collect_regions(roi, items, single), mask_level)
        ]
        return predictions[0] if single else predictions

    @overload
    def predict_stream(
        self,
        images: ImageLike | Iterable[ImageLike],
        *,
        roi: RegionLike | None = None,
        mask_level: MaskLevel = None,
        value_range: ValueRange | None = None,
        channel_axis: int | None = None,
        batch_size: int = 16,
        alpha: float | None = None,
        maps: bool = False,
        on_error: Literal["raise"] = "raise",
    ) -> Iterator[Prediction]: ...

    @overload
    def predict_stream(
        self,
        images: ImageLike | Iterable[ImageLike],
        *,
        roi: RegionLike | None = None,
        mask_level: MaskLevel = None,
        value_range: ValueRange | None = None,
        channel_axis: int | None = None,
        batch_size: int = 16,
        alpha: float | None = None,
        maps: bool = False,
        on_error: OnError,
    ) -> Iterator[Prediction | Failure]: ...

    def predict_stream(
        self,
        images: ImageLike | Iterable[ImageLike],
        *,
        roi: RegionLike | None = None,
        mask_level: MaskLevel = None,
        value_range: ValueRange | None = None,
        channel_axis: int | None = None,
        batch_size: int = 16,
        alpha: float | None = None,
        maps: bool = False,
        on_error: OnError = "raise",
    ) -> Iterator[Prediction | Failure]:
        """Score any number of images, in memory that does not grow with it.

        Parameters
        ----------
        images : path, array, or iterable of them
            As in `predict`. An iterator is drawn from as predictions are, in another thread, two
            batches ahead at most; each image is let go of as soon as it is brought to the
            backbone's size.
        roi : "auto", or iterable of paths and arrays, optional
            As in `predict`; one region an image, drawn along with it.
        mask_level, value_range, channel_axis, batch_size, alpha
            As in `predict`.
        maps : bool
            Whether to bring maps to the images' sizes; otherwise `anomaly_map` is None.
        on_error : {'raise', 'yield'}
            What becomes of an image that cannot be read, or is none: it ends the stream, or stands
            in it as a `Failure`. What the iterator itself raises ends it always.

        Yields
        ------
        Prediction or Failure
            One an image, in their order.

        Raises
        ------
        MemoryError, ValueError
            As `predict`; for arguments at once, before the first image.

        Examples
        --------
        >>> from synthmed_clip import NearestPatch, fit
        >>> detector = fit(scans, NearestPatch(), backbone=backbone)
        >>> frames = (255 - scan for scan in scans)
        >>> [found.anomaly_map is None for found in detector.predict_stream(frames)]
        [True, True, True, True]
        """
        if self.axis is not None:
            raise ValueError(f"a detector of volumes, axis {self.axis!r}, has no stream: predict")
        items, values = each_of(images, channel_axis), self.values_for(value_range)
        if on_error not in get_args(OnError):
            raise ValueError(f"on_error must be 'raise' or 'yield', not {on_error!r}")
        _require_batch_size(batch_size)
        self._require_alpha(alpha, None)
        regions = None if roi is None else each_region(roi)
        batches = self._batches(
            items, regions, channel_axis, values, mask_level, batch_size, on_error
        )
        return self._predictions(batches, alpha, maps)

    def _require_alpha(self, alpha: float | None, axis: Axis | None) -> None:
        """Refuse an alpha that p-values cannot reach; ValueError says why."""
        if alpha is not None:
            if axis is not None and self.axis is None:
                raise ValueError(f"alpha={alpha} needs p-values of volumes: fit with axis={axis!r}")
            if not self.normal_scores:
                raise ValueError(
                    f"alpha={alpha} needs p-values; this {self.method.name} has none, since no "
                    f"support image could be left out of what judges it: fit it with folds, "
                    f"calibrate it on further normal images, or decide by a threshold"
                )
            require_attainable(alpha, len(self.normal_scores))

    def _predictions(
        self, batches: Iterator[_Batch], alpha: float | None, maps: bool
    ) -> Iterator[Prediction | Failure]:
        for batch in batches:
            scores, small_maps = batch.scored.scores.tolist(), batch.whole.maps.cpu().numpy()
            scored = zip(scores, small_maps, strict=True)
            for entry in batch.entries:
                if isinstance(entry, Failure):
                    yield entry
                    continue
                score, small = next(scored)
                full = resize_map(small, entry.shape) if maps and small.size else None
                if full is not None and entry.inside is not None:
                    full[~entry.inside] = full.min()
                p = p_value(score, self.normal_scores) if self.normal_scores else None
                flagged = score > self.threshold if alpha is None or p is None else p <= alpha
                heuristic = self.p_values_are_heuristic
                yield Prediction(score, full, flagged, p, heuristic)

    def _predict_volume(
        self, slices: Slices, values: Values, batch_size: int, alpha: float | None
    ) -> Prediction:
        """Score a volume slice by slice; a batch of slices is held at a time, and the map."""
        anomaly_map = np.empty(slices.volume.spatial_shape, np.float32)
        view, numbers = slices.view(anomaly_map), iter(slices.numbers)
        scores: list[float] = []
        lowest = float("inf")
        for batch in self._slice_batches(slices, values, batch_size):
            scores += batch.scored.scores.tolist()
            small_maps = batch.whole.maps.cpu().numpy()
            if small_maps.size:
                for small, number in zip(small_maps, numbers, strict=False):
                    view[number] = resize_map(small, view[number].shape)
                    lowest = min(lowest, float(view[number].min()))
        score, full = max(scores), anomaly_map if lowest < float("inf") else None
        if full is not None and slices.inside is not None:
            full[~slices.inside] = lowest
        known = self.axis is not None and self.normal_scores
        p = p_value(score, self.normal_scores) if known else None
        flagged = score > self.threshold if alpha is None or p is None else p <= alpha
        heuristic = p is not None and self.p_values_are_heuristic
        return Prediction(score, full, flagged, p, heuristic)

    def _score_volume(self, slices: Slices, values: Values, batch_size: int) -> Scores:
        """The score of a volume, and the maps of all its slices, `(D, S, S)`."""
        found = [batch.scored for batch in self._slice_batches(slices, values, batch_size)]
        maps = torch.cat([part.maps.cpu() for part in found])
        full = maps
        if slices.inside is not None and maps.numel():
            full = maps.new_full((len(slices), *maps.shape[1:]), float(maps.min()))
            full[slices.numbers] = maps
        highest = torch.cat([part.scores.cpu() for part in found]).max()
        return Scores(highest[None], full, depths=(len(full),))

    def _slice_batches(self, slices: Slices, values: Values, batch_size: int) -> Iterator[_Batch]:
        """What is found in the slices that are looked at, in their order."""
        numbers = slices.numbers
        items = [slices[number] for number in numbers]
        regions = slices.regions(numbers)
        return self._batches(items, regions, None, values, None, batch_size, "raise")

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
            `(N,)` and `(N, S, S)` float32; of volumes `(M, S, S)`, all their slices, see `depths`.

        Examples
        --------
        >>> from synthmed_clip import NearestPatch, fit
        >>> fit(scans, NearestPatch(), backbone=backbone).score(scans).maps.shape
        torch.Size([4, 32, 32])
        """
        items, single = collect(images, channel_axis, volumes=self.axis is not None)
        size, values = self.backbone.image_size, self.values_for(value_range)
        regions = collect_regions(roi, items, single)
        if self.axis is not None:
            each = [
                self._score_volume(slices, values, batch_size)
                for slices in _volumes(items, self.axis, regions, mask_level)
            ]
            return Scores(
                torch.cat([part.scores for part in each] or [torch.empty(0)]),
                torch.cat([part.maps for part in each] or [torch.empty(0, size, size)]),
                depths=tuple(len(part.maps) for part in each),
            )
        batches = self._batches(items, regions, None, values, mask_level, batch_size, "raise")
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
        items: Iterable[ImageLike],
        regions: Iterable[Region] | None,
        channel_axis: int | None,
        values: Values,
        level: MaskLevel,
        batch_size: int,
        on_error: OnError,
    ) -> Iterator[_Batch]:
        """Yield what is found; the next batch is read while the backbone works."""
        _require_batch_size(batch_size)
        size, grey = self.backbone.image_size, self.method.scored_channels == "grey"
        numbered = enumerate(items)

        own_regions = None if regions is None else iter(regions)

        def read_one(item: ImageLike, region: Region | None) -> _Entry:
            found = one_of(item, channel_axis)
            pixels, shape = square(found, size, values, grey)
            inside = None
            if region is not None:
                inside = read_inside(one_region(region), found, read_plane(found), level)
            return _Entry(pixels, shape, inside)

        def read() -> list[_Entry | Failure]:
            batch: list[_Entry | Failure] = []
            for index, item in islice(numbered, batch_size):
                region = None if own_regions is None else next(own_regions, None)
                if own_regions is not None and region is None:
                    raise ValueError(f"roi must be one region an image; it has only {index}")
                try:
                    batch.append(read_one(item, region))
                except (OSError, TypeError, ValueError) as error:
                    if on_error == "raise":
                        raise
                    batch.append(Failure(index, _name(item, channel_axis), str(error)))
            ended = own_regions is not None and len(batch) < batch_size
            if (
                ended
                and not isinstance(own_regions, repeat)
                and any(True for _ in own_regions or ())
            ):
                raise ValueError("roi must be one region an image; it has more than there are")
            return batch

        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(read)
            while entries := ahead.result():
                ahead = reader.submit(read)
                good = [entry for entry in entries if isinstance(entry, _Entry)]
                whole = scored = Scores(torch.empty(0), torch.empty(0, size, size))
                if good:
                    with explained_memory(batch_size):
                        pixels = np.stack([entry.pixels for entry in good])
                        whole = scored = self.fitted.score(to_pixels(pixels))
                        insides = [e.inside for e in good if e.inside is not None]
                        if insides:
                            small = np.stack([square_inside(own, size) for own in insides])
                            scored = self.fitted.within(whole, torch.from_numpy(small))
                yield _Batch(scored, whole, entries)

    def export(self, path: str | Path, *, pixel_type: PixelType = "float32") -> None:
        """Write detector and backbone to one ONNX file, which needs nothing of this package.

        The graph's input `pixels` is `(N, C, S, S)`, 0 to 255, N free: squared images as
        `synthmed_clip.data.images.square` makes them, C = 1 (grey), or 3 where the method scores
        colour. Its outputs are `score` `(N,)` and `map` `(N, S, S)` float32, without a map where
        the method has none on this backbone. The metadata's entry `synthmed_clip` holds, as JSON,
        the decision rule, what stored values mean, the method, and the backbone's name and hash.

        Before it is written, onnxruntime runs it on batches of two sizes: scores and maps are equal
        within 1e-4, relative to the largest value where that is above 1.

        Parameters
        ----------
        path : str or Path
        pixel_type : {'float32', 'uint8'}
            Of the input.

        Raises
        ------
        ModuleNotFoundError
            If onnx or onnxruntime is not installed.
        ValueError
            If the backbone is not in float32, a part of it or of the method cannot be written as
            ONNX, or the graph says something else than the detector.

        Examples
        --------
        >>> from synthmed_clip import NearestPatch, fit
        >>> detector = fit(scans, NearestPatch(), backbone=backbone)
        >>> detector.export("scan.onnx", pixel_type="uint8")  # doctest: +SKIP
        """
        if pixel_type not in get_args(PixelType):
            raise ValueError(f"pixel_type must be 'float32' or 'uint8', not {pixel_type!r}")
        own = self.backbone
        notes = {
            "image_size": own.image_size,
            "channels": self.method.scored_channels,
            "values": asdict(self.values),
            "threshold": self.threshold,
            "normal_scores": self.normal_scores,
            "map_scale": asdict(self.map_scale),
            "method": self.method.to_dict(),
            "backbone": {"name": own.name, "weights": own.weights_name, "digest": own.digest},
        }
        channels: Literal[1, 3] = 1 if self.method.scored_channels == "grey" else 3
        write_bytes(Path(path), to_onnx(self.fitted, own, channels, pixel_type, notes))

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
            "map_scale": asdict(self.map_scale),
            "normal_scores": self.normal_scores,
            "normal_source": self.normal_source,
            "values": asdict(self.values),
            "axis": self.axis,
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
            provenance = _provenance(data["provenance"])
            values = Values.from_dict(data["values"])
            axis = None if data["axis"] is None else require_axis(data["axis"])
            normal, source = tuple(map(float, data["normal_scores"])), data["normal_source"]
            known: tuple[str | None, ...] = get_args(NormalSource) if normal else (None,)
            if source not in known:
                raise ValueError(f"normal scores {normal} ({source})")
            map_scale = MapScale.from_dict(data["map_scale"])
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
            return cls(
                method,
                fitted,
                backbone,
                threshold,
                provenance,
                map_scale,
                normal,
                source,
                values,
                axis,
            )
        except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
            raise _damaged(path, error) from error


def _volumes(
    items: Iterable[Path | io.Image],
    axis: Axis,
    regions: Sequence[Region] | None,
    level: MaskLevel,
) -> Iterator[Slices]:
    """Read volumes with their regions of interest, one at a time."""
    for number, item in enumerate(items):
        yield read_volume(item, axis, None if regions is None else regions[number], level)


def _require_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")


def _name(item: ImageLike, channel_axis: int | None) -> str:
    """Name an image in a failure, whatever it is."""
    try:
        return str(item) if isinstance(item, str) else name_of(one_of(item, channel_axis))
    except (OSError, TypeError, ValueError):
        return str(item) if isinstance(item, Path) else f"a {type(item).__name__}"


_BACKBONE = ("name", "config", "weights", "random_text", "image_size", "architecture", "digest")


def _first_difference(before: dict, now: dict) -> str:
    key = next(k for k in {**before, **now} if before.get(k) != now.get(k))
    return f"{key} was {before.get(key)!r}, is {now.get(key)!r}"


def _provenance(data: dict[str, Any]) -> Provenance:
    found = data["calibration"]
    calibration = None if found is None else Calibration.from_dict(found)
    return Provenance(
        support=tuple(data["support"]),
        precision=data["precision"],
        folds=data["folds"],
        calibration=calibration,
        levels=read_levels(data["levels"]),
        settings=tuple((str(name), str(value)) for name, value in data["settings"]),
    )


def _damaged(path: str | Path, error: Exception) -> ValueError:
    return ValueError(f"{path} is damaged, or of another version of synthmed_clip: {error!r}")
