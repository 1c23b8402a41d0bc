"""What a good generator or augmentation keeps, each as a plain function of one `Trial`.

Every one returns None if it holds, raises `Fault` with what broke, where and by how much if it does
not, and `DoesNotApply` where it has nothing to say. None needs Hypothesis. To judge arrays at hand,
take a function that returns them: ``unchanged_outside_mask(Trial(lambda image, rng: (after, mask),
before))``.
"""

from synthmed.testing.invariants.arrays import (
    finite_and_within_value_range,
    independent_of_memory_layout,
    input_not_written,
    mask_is_bool_of_spatial_shape,
    mostly_in_roi,
    no_wrap_around,
    shape_and_dtype_kept,
    unchanged_outside_mask,
    visible_inside_mask,
)
from synthmed.testing.invariants.base import Invariant
from synthmed.testing.invariants.equivariance import (
    axes_alike,
    equivariant_to_channels,
    equivariant_to_intensity,
    rounded_for_its_dtype,
)
from synthmed.testing.invariants.labels import soft_label_agrees_with_mask
from synthmed.testing.invariants.persistence import (
    configuration_is_data,
    picklable,
    record_is_json_and_replays,
    same_result_in_another_process,
)
from synthmed.testing.invariants.randomness import (
    independent_of_global_random_state,
    other_rngs_other_results,
    same_rng_same_result,
)

EVERY_CALL: tuple[Invariant, ...] = (
    shape_and_dtype_kept,
    input_not_written,
    independent_of_global_random_state,
    same_rng_same_result,
    finite_and_within_value_range,
    mask_is_bool_of_spatial_shape,
    unchanged_outside_mask,
    visible_inside_mask,
    mostly_in_roi,
    configuration_is_data,
    record_is_json_and_replays,
    soft_label_agrees_with_mask,
    no_wrap_around,
    rounded_for_its_dtype,
    independent_of_memory_layout,
    equivariant_to_channels,
    equivariant_to_intensity,
    picklable,
    same_result_in_another_process,
)
"""Those that each call must keep, in the order in which they are checked."""

MANY_SEEDS: tuple[Invariant, ...] = (other_rngs_other_results, axes_alike)
"""Those that many seeds on one image tell; an image may be too plain to tell, so one that does
suffices.
"""

OPTIONAL: tuple[Invariant, ...] = (
    independent_of_memory_layout,
    picklable,
    same_result_in_another_process,
    axes_alike,
)
"""Those that a function which is no generator need not keep: checked where they are asked for."""

__all__ = [
    "EVERY_CALL",
    "MANY_SEEDS",
    "OPTIONAL",
    "Invariant",
    *(i.__name__ for i in EVERY_CALL + MANY_SEEDS),
]
