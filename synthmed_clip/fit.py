"""From images, a method and a backbone to a detector. Loads torch when it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import synthmed
from synthmed.digests import digest_array
from synthmed.io import Image, MaskLevel, ValueRange
from synthmed_clip.files import Kind, check_outputs
from synthmed_clip.left_out import (
    Volumes,
    check_folds,
    out_of_fold,
    part_of,
    volumes_left_out,
    within,
)
from synthmed_clip.methods import Fitted, MediCLIP, Method, Scores
from synthmed_clip.training.history import Epoch
from synthmed_clip.training.seeds import RNG, Entropy, draw_entropy

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from synthmed_clip.backbone.device import Precision
    from synthmed_clip.backbone.model import Backbone
    from synthmed_clip.data.images import ImageLike
    from synthmed_clip.data.layouts import Item
    from synthmed_clip.data.regions import Region, RegionLike
    from synthmed_clip.data.slices import Axis
    from synthmed_clip.data.values import Values
    from synthmed_clip.detector import Detector, NormalSource
    from synthmed_clip.training.selection import Labelled

CLIP = "ViT-L-14-quickgelu"


def fit(
    images: ImageLike | Iterable[ImageLike],
    method: Method = MediCLIP(),  # noqa: B008 (frozen)
    *,
    backbone: str | Path | Backbone = CLIP,
    weights: str | Path | None = "openai",
    device: str | torch.device = "auto",
    precision: Precision = "auto",
    rng: RNG = None,
    start: Detector | None = None,
    validation: Sequence[Item] | None = None,
    checkpoint: str | Path | None = None,
    callback: Callable[[Epoch], object] | None = None,
    folds: int | None = None,
    axis: Axis | None = None,
    slices: int = 16,
    roi: RegionLike | None = None,
    mask_level: MaskLevel = None,
    value_range: ValueRange | None = None,
    channel_axis: int | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Detector:
    """Make a detector of a handful of normal images.

    Parameters
    ----------
    images : folder, paths or arrays
        The normal images; see `synthmed_clip.data.images.collect`.
    method : Method
        By default MediCLIP as in the paper.
    backbone : str, Path or Backbone
        A name or path as `load_backbone` takes it, or a loaded backbone (then `weights`, `device`
        and `precision` are its own).
    weights, device, precision
        As in `load_backbone`.
    rng : int, SeedSequence, BitGenerator, Generator or None
        All randomness comes from it (SPEC 7).
    start : Detector, optional
        For a method that learns: one that the fit begins with, instead of random values; see
        `pretrain`.
    validation : sequence of Item
        Likewise: labelled images (`synthmed_clip.data.read_dataset`) of both kinds, which must not
        be test images. With them the epoch of highest Image-AUROC on them is kept, not the last,
        and the log holds that figure.
    checkpoint : path, optional
        Likewise: written after every epoch. If it is there already, the fit goes on from it, to the
        same result.
    callback : callable, optional
        Likewise: called with an `Epoch` after each.
    folds : int, optional
        Judge the support images by as many further fits, each on all but one part of them: their
        scores give the threshold and (heuristic) p-values to a method that cannot leave images
        out. Costs as many fits, each on (folds - 1) / folds of the images. In place of a method's
        own left-out scores, where it has any. With a checkpoint each has one of its own
        (NAME.fold-1, ...), as have the fits that leave a volume out.
    axis : int or {"axial", "coronal", "sagittal"}, optional
        That images are volumes, seen slice by slice along an array axis or in a plane (by the
        affine, turned as radiology shows it). A volume's score is that of its most abnormal slice;
        threshold and p-values are of volumes, each left out with all its slices, by a fit on the
        others: as many fits as volumes, and each volume scored in full.
    slices : int
        How many slices of each volume are support images: the middles of as many equal parts, of
        what its region of interest reaches.
    roi : "auto", folder, paths or arrays, optional
        A region of interest an image, of the image's shape as stored: a bool array, a file, a
        folder in which a file has the image's name, or "auto" for `synthmed.foreground`. Anomalies
        are drawn in it, and threshold and p-values are of it alone. What lies outside stays among
        what is known as normal: a patch at the edge sees both sides. Give images to be scored their
        regions, too.
    mask_level : int, sequence of int, "any" or None
        Which levels of files with regions are inside; see `synthmed.io.read_mask`.
    value_range : optional
        Which stored values are darkest and brightest, here and for every image that is scored: a
        pair, or a rule as `synthmed.io.value_range_of` takes it. By default 0 to 255 for images of
        8 bits; else the window that the files declare (each its own where they differ); else the
        percentiles 0.5 and 99.5 of all images together.
    channel_axis : int, optional
        The axis of channels of arrays and tensors that have one.
    workers : int, optional
        Processes that draw synthetic images ahead of the backbone; the result does not depend on
        it.
    progress : bool
        Whether to show a bar; there is none where there is no terminal.

    Returns
    -------
    Detector
        Its threshold is the largest score of the support images, each left out of what judges it,
        or out of fold.
        For a method that cannot leave them out (MediCLIP without folds; any method that needs
        another image, of one), it is the score that best separates
        (balanced accuracy) the support images from fresh synthetic anomalies on them, four each: it
        has seen no real anomaly, and normal images that were not in the support set score somewhat
        higher. Treat either as a start, and set your own by `calibrate`. Without any image,
        which only a method that looks at none takes, it is 0.5.

        Maps that are no probabilities are shown in standard deviations of the same left-out
        images' pixels; where none could be left out, of the support images in mirror image, which
        it has not seen as such.

    Raises
    ------
    TypeError
        If the method takes no such option.
    ValueError
        For an argument out of its range, a region for a method whose scores are of whole images, a
        checkpoint of another fit, a start that does not fit, or
        a loss that is no longer finite.
    synthmed.NothingToSee
        If an image is too empty to carry an anomaly.
    FileNotFoundError
        If images or weights are not there.
    MemoryError
        If a batch does not fit; says which size to try.

    Examples
    --------
    `scans` are a few arrays of normal images, `backbone` is a loaded one.

    >>> detector = fit(scans, MediCLIP(epochs=2), backbone=backbone, rng=0, progress=False)
    >>> [epoch.number for epoch in detector.fitted.history.log]
    [1, 2]
    >>> from synthmed_clip import NearestPatch
    >>> detector = fit(scans, NearestPatch(pool=0.01), backbone=backbone)
    >>> detector.predict(scans[0]).is_anomalous
    False
    """
    from synthmed_clip.backbone.model import Backbone, load_backbone
    from synthmed_clip.backbone.pixels import to_pixels
    from synthmed_clip.data.images import collect, squares_of, values_in
    from synthmed_clip.data.levels import levels_of
    from synthmed_clip.data.regions import collect_regions
    from synthmed_clip.data.slices import require_axis, support_slices
    from synthmed_clip.detector import Detector, Provenance
    from synthmed_clip.evaluation.map_scale import MapScale
    from synthmed_clip.training.steps import EmptyImage

    options = _options(
        method,
        start=None if start is None else start.fitted,
        validation=None if validation is None else list(validation),
        checkpoint=checkpoint,
        callback=callback,
    )
    running = {"workers": workers, "progress": progress}
    options |= {name: value for name, value in running.items() if method.takes(name)}
    items, single = collect(images, channel_axis, volumes=axis is not None)
    if folds is not None:
        if axis is not None:
            raise ValueError(
                "folds are of images; volumes (axis) are left out by fits of their own"
            )
        check_folds(folds, len(items), method)
    if checkpoint is not None:
        parts = len(items) if axis is not None else folds or 0
        outputs = [Path(checkpoint), *(part_of(checkpoint, part) for part in range(parts))]
        inputs = [] if isinstance(backbone, Backbone) else [weights]
        # Its opening tells whose it is.
        check_outputs([(path, Kind.CHECKPOINT) for path in outputs], inputs, force=True)
    regions = collect_regions(roi, items, single)
    volumes, of_volumes, owners = items, regions, np.arange(len(items))
    if axis is not None:
        axis = require_axis(axis)
        taken = support_slices(volumes, axis, slices, regions, mask_level)
        items, regions, owners = taken.items, taken.regions, taken.owners
    if len(items) < method.least_support:
        least = f"at least {method.least_support} normal image{'s' * (method.least_support > 1)}"
        raise ValueError(f"images are {len(items)}: {method.name} needs {least}")
    if not isinstance(backbone, Backbone):
        backbone = load_backbone(backbone, weights, device=device, precision=precision)
    method = method.resolved(backbone)
    values = values_in(items, value_range)
    if validation is not None:
        options["validation"] = _labelled(validation, method, backbone, values)
    grey = method.support_channels == "grey"
    squares = squares_of(items, backbone.image_size, values, grey)
    support = to_pixels(squares)
    inside = _inside(regions, items, backbone.image_size, mask_level)
    if inside is not None and method.takes("inside"):
        options["inside"] = inside.numpy()
    try:
        made = method.fit(support, backbone, rng, **options)
        left_out: Scores | None = None
        if folds is not None:
            left_out = out_of_fold(method, support, backbone, folds, _entropy(made, rng), options)
        elif items:
            left_out = made.score_left_out(support)
        if left_out is not None:
            left_out = within(left_out, inside, made)
        normal = () if left_out is None else tuple(left_out.scores.tolist())
        if axis is not None and normal:  # slices of one volume are not left out one by one
            none = Provenance((), backbone.precision)
            judge = Detector(method, made, backbone, 0.0, none, values=values, axis=axis)
            left = Volumes(volumes, owners, of_volumes, mask_level)
            normal = volumes_left_out(judge, support, left, rng, options)
        threshold = max(normal) if normal else _threshold(method, made, support, rng, inside)
    except EmptyImage as error:
        item = volumes[owners[error.index]]
        name = f"{item}: " if isinstance(item, Path) else ""
        raise synthmed.NothingToSee(f"{name}{error}") from None
    given: dict[str, object] = {
        "roi": roi if roi is None or isinstance(roi, str) else "given",
        "mask_level": mask_level,
        "value_range": value_range,
        "channel_axis": channel_axis,
        "axis": axis,
        "slices": None if axis is None else slices,
        "start": None if start is None else start.method.name,
        "validation": None if validation is None else "given",
    }
    provenance = Provenance(
        tuple(map(digest_array, squares)),
        backbone.precision,
        folds,
        levels=tuple(map(levels_of, squares)),
        settings=tuple((name, str(value)) for name, value in given.items() if value is not None),
    )
    scale = MapScale()
    if items:
        shown, places = left_out, inside
        if shown is None and made.maps_are_probabilities:
            shown = within(made.score(support), inside, made)
        elif shown is None:
            places = None if inside is None else inside.flip(-1)
            shown = within(made.score(support.flip(-1)), places, made)
        scale = MapScale.of(shown, made.maps_are_probabilities, places)
    source: NormalSource | None = "left-out" if folds is None else "out-of-fold"
    source = source if normal else None
    return Detector(
        method, made, backbone, threshold, provenance, scale, normal, source, values, axis
    )


def pretrain(
    items: Sequence[Item],
    method: MediCLIP = MediCLIP(epochs=5),  # noqa: B008 (frozen)
    *,
    backbone: Backbone,
    rng: RNG = None,
    workers: int | None = None,
    progress: bool = True,
) -> Detector:
    """Teach a head on real images with masks, such as industrial ones, to begin a `fit` with.

    The paper reports such an experiment with MVTec-AD and VisA, without its details; the number of
    epochs is ours.

    Parameters
    ----------
    items : sequence of Item
        As `synthmed_clip.data.read_dataset` lists them. Abnormal ones without a mask are left out.
    method : MediCLIP
        The fit that begins with the result must have the same layers, words, tokens and adapters.
        Its recipe is not used; each epoch shows every image once.
    backbone : Backbone
    rng, workers, progress
        As in `fit`.

    Returns
    -------
    Detector
        For `fit(start=...)`. Its threshold is 0.5, not calibrated.

    Raises
    ------
    ValueError
        If no abnormal image has a mask.

    Examples
    --------
    >>> from pathlib import Path
    >>> from synthmed_clip.data import Item
    >>> pretrain([Item(Path("scan.png"), abnormal=True)], backbone=backbone)
    Traceback (most recent call last):
    ValueError: none of the 1 auxiliary images is abnormal and has a mask
    """
    from synthmed_clip.detector import Detector, Provenance
    from synthmed_clip.methods.mediclip.pretrain import pretrain as teach

    made = teach(items, backbone, method, rng, workers=workers, progress=progress)
    return Detector(made.method, made, backbone, 0.5, Provenance((), backbone.precision))


def import_release(
    path: str | Path,
    *,
    backbone: str | Path | Backbone = CLIP,
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
        As in `fit`; the checkpoint does not say on which backbone it was trained.
    layers : tuple of int, optional
        Which layers the adapters belong to, from 1; by default half, three quarters and all of the
        depth.
    threshold : float
        The checkpoint has none. At 0.5 a pixel is as similar to abnormal as to normal.

    Returns
    -------
    Detector

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        That names the first entry that is missing or does not fit the backbone.

    Examples
    --------
    >>> import_release("missing.pth", backbone=backbone)
    Traceback (most recent call last):
    FileNotFoundError: no file at missing.pth
    """
    from synthmed_clip.backbone.model import Backbone, load_backbone
    from synthmed_clip.detector import Detector, Provenance
    from synthmed_clip.evaluation.map_scale import MapScale
    from synthmed_clip.methods.mediclip.release import read_release, restore_release

    tensors = read_release(Path(path))
    if not isinstance(backbone, Backbone):
        backbone = load_backbone(backbone, weights, device=device, precision=precision)
    made = restore_release(tensors, str(path), backbone, layers)
    provenance = Provenance((), backbone.precision)
    # No image tells, but a score is its map's peak: one threshold serves both.
    scale = MapScale(scores=(0.0, 1.0), peaks=(0.0, 1.0))
    return Detector(made.method, made, backbone, threshold, provenance, scale)


def _entropy(fitted: Fitted, rng: RNG) -> Entropy:
    return draw_entropy(rng) if fitted.history is None else fitted.history.entropy


def _inside(
    regions: list[Region] | None, items: Sequence[Path | Image], size: int, level: MaskLevel
) -> Tensor | None:
    """What lies in the regions at the backbone's size, `(k, S, S)` bool; None without regions."""
    import torch

    from synthmed_clip.data.images import read_plane
    from synthmed_clip.data.regions import read_inside, square_inside

    if not regions:
        return None
    pairs = zip(regions, items, strict=True)
    native = (read_inside(region, item, read_plane(item), level) for region, item in pairs)
    return torch.from_numpy(np.stack([square_inside(own, size) for own in native]))


def _threshold(
    method: Method, fitted: Fitted, support: Tensor, rng: RNG, inside: Tensor | None
) -> float:
    """Set the threshold where support images cannot be left out; see `fit`."""
    from synthmed_clip.evaluation.calibration import synthetic_threshold

    if not len(support):
        return 0.5
    recipe = method.training_recipe or synthmed.preset("paper")

    def score(pixels: Tensor, own: Tensor | None) -> Tensor:
        return within(fitted.score(pixels), own, fitted).scores

    return synthetic_threshold(score, support, recipe, _entropy(fitted, rng), inside)


def _options(method: Method, **given: Any) -> dict[str, Any]:
    """Keep the options that were given; TypeError if the method takes no such thing."""
    options = {name: value for name, value in given.items() if value is not None}
    for name in options:
        if not method.takes(name):
            raise TypeError(f"{method.name} takes no {name}")
    return options


def _labelled(
    items: Sequence[Item], method: Method, backbone: Backbone, values: Values
) -> Labelled:
    """Read validation images as the method sees images; ValueError where there are none."""
    if not items:
        raise ValueError("validation is empty; leave it out, or give images of both kinds")
    from synthmed_clip.backbone.pixels import to_pixels
    from synthmed_clip.data.images import squares_of
    from synthmed_clip.training.selection import Labelled

    grey = method.scored_channels == "grey"
    squares = squares_of([item.image for item in items], backbone.image_size, values, grey)
    return Labelled(to_pixels(squares), np.array([item.abnormal for item in items]))
