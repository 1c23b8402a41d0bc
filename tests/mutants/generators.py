"""Copies of our generators with one fault each; the name and the docstring say which."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from synthmed import (
    CutPaste,
    EllipseMask,
    Identity,
    PerlinMask,
    RectangleMask,
    SmoothIntensityChange,
    Source,
)
from synthmed.generator import Generator, Outcome

BRIGHTER = 0.3


def _with(outcome: Any, **changes: Any) -> Any:
    return None if outcome is None else replace(outcome, **changes)


@dataclass(frozen=True, repr=False)
class MaskOnePixelOff(Source):
    """The mask is shifted by a pixel."""

    def _outcome(self, *call):
        outcome = super()._outcome(*call)
        return _with(outcome, mask=np.roll(outcome.mask, 1, axis=0)) if outcome else None


@dataclass(frozen=True, repr=False)
class MaskIsUint8(Source):
    """The mask is 0 and 1."""

    def _outcome(self, *call):
        outcome = super()._outcome(*call)
        return _with(outcome, mask=outcome.mask.astype(np.uint8)) if outcome else None


@dataclass(frozen=True, repr=False)
class MaskHasChannels(Source):
    """The mask keeps the axis of channels."""

    def _outcome(self, *call):
        outcome = super()._outcome(*call)
        return _with(outcome, mask=outcome.mask[..., None]) if outcome else None


@dataclass(frozen=True, repr=False)
class WritesToItsInput(SmoothIntensityChange):
    """One pixel of the caller's image is set to its neighbour's value, where that is allowed."""

    def run(self, rng, scene):
        parameters, outcome = super().run(rng, scene)
        if scene.image.flags.writeable:
            scene.image[0, 0] = scene.image[-1, -1]
        return parameters, outcome


@dataclass(frozen=True, repr=False)
class WrapsAround(SmoothIntensityChange):
    """The step is added in the image's own dtype, unclipped."""

    def _outcome(self, parameters, scene, region):
        outcome = super()._outcome(parameters, scene, region)
        if outcome is None:
            return None
        step = np.array(BRIGHTER * (scene.high * 0.5 - scene.low * 0.5) * 2).astype(
            scene.image.dtype
        )
        with np.errstate(over="ignore"):
            image = np.where(outcome.mask[..., None], scene.image + step, scene.image).astype(
                scene.image.dtype
            )
        return _with(outcome, scene=replace(scene, image=image, is_own=True))


@dataclass(frozen=True, repr=False)
class LeavesTheRange(SmoothIntensityChange):
    """Values of float images are not clipped."""

    def _outcome(self, parameters, scene, region):
        outcome = super()._outcome(parameters, scene, region)
        if outcome is None or scene.image.dtype.kind != "f":
            return outcome
        image = scene.image + (outcome.mask[..., None] * scene.high / 2).astype(scene.image.dtype)
        return _with(outcome, scene=replace(scene, image=image, is_own=True))


@dataclass(frozen=True, repr=False)
class DriftsOutside(Source):
    """The whole image goes to [0, 1] in single precision and back."""

    def _outcome(self, *call):
        outcome = super()._outcome(*call)
        if outcome is None or outcome.scene.image.dtype.kind != "f":
            return outcome
        scene = outcome.scene
        image = (
            scene.normalised(scene.image).astype(np.float32) * scene._half_span + scene.low * 0.5
        ) * 2
        return _with(
            outcome,
            scene=replace(
                scene, image=np.clip(image, scene.low, scene.high).astype(scene.image.dtype)
            ),
        )


@dataclass(frozen=True, repr=False)
class DividesByTheSpread(SmoothIntensityChange):
    """Inside the mask the values are standardised: NaN on a flat patch."""

    def _outcome(self, parameters, scene, region):
        outcome = super()._outcome(parameters, scene, region)
        if outcome is None or scene.image.dtype.kind != "f":
            return outcome
        patch = scene.patch(region.box)
        with np.errstate(all="ignore"):
            flat = (patch - patch.mean()) / np.ptp(patch)
        image = outcome.scene.image.copy()
        image[region.box] = np.where(
            region.inside[..., None] & np.isnan(flat), np.nan, image[region.box]
        )
        return _with(outcome, scene=replace(outcome.scene, image=image))


@dataclass(frozen=True, repr=False)
class PromotesTheDtype(SmoothIntensityChange):
    """The result is of doubles."""

    def _outcome(self, *call):
        outcome = super()._outcome(*call)
        return (
            _with(outcome, scene=replace(outcome.scene, image=outcome.scene.image.astype(float)))
            if outcome
            else None
        )


@dataclass(frozen=True, repr=False)
class Truncates(SmoothIntensityChange):
    """Integers are rounded towards zero."""

    def change(self, parameters, scene, region):
        values, inside = super().change(parameters, scene, region)
        if scene.image.dtype.kind in "iu":
            span = scene.high - scene.low
            values = np.floor(values * span) / span
        return values, inside


@dataclass(frozen=True, repr=False)
class ShowsNothing(Source):
    """The mask is returned although nothing changed."""

    def _outcome(self, parameters, scene, region):
        outcome = super()._outcome(parameters, scene, region)
        return (
            _with(outcome, scene=replace(outcome.scene, image=scene.image.copy()))
            if outcome
            else None
        )


@dataclass(frozen=True, repr=False)
class DrawsFromGlobalState(SmoothIntensityChange):
    """The step's sign comes from numpy.random."""

    def draw(self, rng, scene, region):
        drawn = super().draw(rng, scene, region)
        return drawn | {"step": abs(drawn["step"]) * float(np.random.choice([-1, 1]))}  # noqa: NPY002


@dataclass(frozen=True, repr=False)
class SeedsGlobalState(SmoothIntensityChange):
    """It seeds numpy.random, though it does not use it."""

    def draw(self, rng, scene, region):
        np.random.seed(7)  # noqa: NPY002
        return super().draw(rng, scene, region)


@dataclass(frozen=True, repr=False)
class DrawsFromEntropy(SmoothIntensityChange):
    """A random generator of its own, unseeded."""

    def draw(self, rng, scene, region):
        return super().draw(np.random.default_rng(), scene, region)


@dataclass(frozen=True, repr=False)
class CountsItsCalls(SmoothIntensityChange):
    """The step grows from call to call."""

    calls = itertools.count()

    def draw(self, rng, scene, region):
        drawn = super().draw(rng, scene, region)
        return drawn | {"step": drawn["step"] + next(self.calls)}


@dataclass(frozen=True, repr=False)
class IgnoresItsRng(SmoothIntensityChange):
    """A fixed seed."""

    def run(self, rng, scene):
        return super().run(np.random.default_rng(0), scene)


@dataclass(frozen=True, repr=False)
class HangsOnHashes(SmoothIntensityChange):
    """How far the step goes is decided by the hash of a word, which each process salts anew."""

    def draw(self, rng, scene, region):
        drawn = super().draw(rng, scene, region)
        return drawn | {
            "step": 20 + hash("darker") % 10**6 / 10**4
        }  # no two processes agree by chance


@dataclass(frozen=True, repr=False)
class ForgetsAParameter(Source):
    """The record lacks the strength, and a replay takes a usual one."""

    def run(self, rng, scene):
        parameters, outcome = super().run(rng, scene)
        return {k: v for k, v in parameters.items() if k != "alpha"}, outcome

    def apply(self, parameters, scene):
        return super().apply({"alpha": 2.0, **parameters}, scene)


@dataclass(frozen=True, repr=False)
class RecordsArrays(Source):
    """The record holds a NumPy array."""

    def draw(self, rng, scene, region):
        drawn = super().draw(rng, scene, region)
        return drawn | {"centre": np.array(drawn["centre"])}


@dataclass(frozen=True, repr=False)
class ForgetsItsConfiguration(Source):
    """The dictionary lacks a parameter, so that it comes back as the default."""

    order: int = 1

    def to_dict(self):
        return {k: v for k, v in super().to_dict().items() if k != "order"}


@dataclass(frozen=True, repr=False)
class CannotBePickled(Source):
    """It keeps a lock."""

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "lock", threading.Lock())


@dataclass(frozen=True, repr=False)
class SwapsAxes(EllipseMask):
    """The corner's coordinates are in the order (x, y), as OpenCV has them."""

    def _place(self, rng, inside, scene):
        corner = super()._place(rng, inside, scene)
        return None if corner is None else corner[::-1]


@dataclass(frozen=True, repr=False)
class AssumesSquares(PerlinMask):
    """Every side of the box is drawn for the first axis (as far as it fits)."""

    def draw(self, rng, scene):
        sides = [min(scene.shape[0], n) for n in scene.shape]
        return super().draw(rng, replace(scene, image=np.empty((*sides, 1)), roi=None))


@dataclass(frozen=True, repr=False)
class IgnoresTheRoi(EllipseMask):
    """It is placed anywhere."""

    def run(self, rng, scene):
        return super().run(rng, replace(scene, roi=None))


@dataclass(frozen=True, repr=False)
class IgnoresTheRoiWithSeveralMasks(CutPaste):
    """One mask of two is placed anywhere."""

    mask: Generator = EllipseMask(box=(0.2, 0.3)) | RectangleMask(box=(0.2, 0.3))

    def run(self, rng, scene):
        return super().run(rng, replace(scene, roi=None))


@dataclass(frozen=True, repr=False)
class TreatsChannelsUnlike(SmoothIntensityChange):
    """The first channel alone changes."""

    def change(self, parameters, scene, region):
        values, inside = super().change(parameters, scene, region)
        values[..., 1:] = scene.patch(region.box)[..., 1:]
        return values, inside


@dataclass(frozen=True, repr=False)
class AddsGreyLevels(SmoothIntensityChange):
    """The step is in grey levels, not relative to the value range."""

    def change(self, parameters, scene, region):
        _, inside = super().change(parameters, scene, region)
        ours = scene.patch(region.box)
        return np.where(ours < 0.5, ours + min(20 / (2 * scene._half_span), 0.5), ours), inside


@dataclass(frozen=True, repr=False)
class ReadsMemory(SmoothIntensityChange):
    """The first value in memory decides on the sign."""

    def change(self, parameters, scene, region):
        first = scene.normalised(scene.image.ravel(order="K")[:1])[0]
        return super().change(
            parameters | {"step": abs(parameters["step"]) * (1 if first > 0.5 else -1)},
            scene,
            region,
        )


@dataclass(frozen=True, repr=False)
class HandsBackItsInput(Identity):
    """Nothing changes, and the caller's own array comes back."""

    def run(self, rng, scene):
        return {}, self.apply({}, scene)

    def apply(self, parameters, scene):
        return Outcome(replace(scene, is_own=True), np.zeros(scene.shape, bool))


@dataclass(frozen=True, repr=False)
class LabelsItsBox(SmoothIntensityChange):
    """The soft label covers the mask's box."""

    def _outcome(self, parameters, scene, region):
        outcome = super()._outcome(parameters, scene, region)
        if outcome is None or outcome.soft is None:
            return outcome
        soft = outcome.soft.copy()
        soft[region.box] = 1
        return _with(outcome, soft=soft)


@dataclass(frozen=True, repr=False)
class FailsOnVolumes(EllipseMask):
    """Only the plane was thought of."""

    def draw(self, rng, scene):
        _height, _width = scene.shape
        return super().draw(rng, scene)


CAUGHT_BY = {
    MaskOnePixelOff: "unchanged_outside_mask",
    MaskIsUint8: "mask_is_bool_of_spatial_shape",
    MaskHasChannels: "mask_is_bool_of_spatial_shape",
    WritesToItsInput: "input_not_written",
    WrapsAround: "no_wrap_around",
    LeavesTheRange: "finite_and_within_value_range|rounded_for_its_dtype",
    DriftsOutside: "unchanged_outside_mask|equivariant_to_intensity|rounded_for_its_dtype",
    DividesByTheSpread: "finite_and_within_value_range|rounded_for_its_dtype",
    PromotesTheDtype: "shape_and_dtype_kept",
    Truncates: "rounded_for_its_dtype",
    ShowsNothing: "visible_inside_mask",
    DrawsFromGlobalState: "independent_of_global_random_state",
    SeedsGlobalState: "independent_of_global_random_state",
    DrawsFromEntropy: "independent_of_global_random_state|same_rng_same_result",
    CountsItsCalls: "independent_of_global_random_state|same_rng_same_result",
    IgnoresItsRng: "other_rngs_other_results",
    HangsOnHashes: "same_result_in_another_process",
    ForgetsAParameter: "record_is_json_and_replays",
    RecordsArrays: "record_is_json_and_replays",
    ForgetsItsConfiguration: "configuration_is_data",
    CannotBePickled: "picklable",
    SwapsAxes: "runs",
    AssumesSquares: "axes_alike",
    IgnoresTheRoi: "mostly_in_roi",
    IgnoresTheRoiWithSeveralMasks: "mostly_in_roi",
    TreatsChannelsUnlike: "equivariant_to_channels",
    AddsGreyLevels: "equivariant_to_intensity",
    ReadsMemory: "independent_of_memory_layout|equivariant_to_channels",
    HandsBackItsInput: "input_not_written",
    LabelsItsBox: "soft_label_agrees_with_mask",
    FailsOnVolumes: "runs",
}
"""The invariant that must name each; where a fault shows in two ways, either."""
