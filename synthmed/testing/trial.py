"""One call of a function under test, and what it is said to have done wrong."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthmed.distributions import Distribution
from synthmed.generator import Generator
from synthmed.sample import NothingToSee, Sample
from synthmed.testing.adapters import Adapted
from synthmed.testing.phantoms import origin

_LITERAL = 600  # elements up to which an array is written out


class Fault(AssertionError):
    """An invariant does not hold.

    Attributes
    ----------
    invariant : str
        Its name; "runs" if the function raised what it must not.
    trial : Trial
        The call that shows it.
    what : str
        What broke, where, and by how much.

    Examples
    --------
    >>> from synthmed.testing import Fault, Trial, invariants, phantom
    >>> trial = Trial(lambda image, rng: image[1:], phantom("noise", (4, 4)))
    >>> try:
    ...     invariants.shape_and_dtype_kept(trial)
    ... except Fault as fault:
    ...     print(fault.what)
    the image's shape is (3, 4), it was (4, 4)
    """

    def __init__(self, invariant: str, trial: Trial, what: str, remark: str = "") -> None:
        self.invariant, self.trial, self.what = invariant, trial, what
        code = "\n".join("    " + line for line in trial.code(invariant).splitlines())
        super().__init__(
            f"{trial.name} breaks {invariant!r}: {what}\n\nTo see it again:\n\n{code}{remark}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Carry the message alone between processes: the function under test may not be
        picklable.
        """
        return AssertionError, (str(self),)


class DoesNotApply(Exception):
    """An invariant has nothing to say about this trial; the message says why.

    Examples
    --------
    >>> from synthmed import EllipseMask
    >>> from synthmed.testing import DoesNotApply, Trial, invariants, phantom
    >>> try:
    ...     invariants.mostly_in_roi(Trial(EllipseMask(), phantom("smooth", (20, 30))))
    ... except DoesNotApply as reason:
    ...     print(reason)
    no region of interest is given, or the mask is empty
    """


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """What a function returned, in one form.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed.testing import Result
    >>> Result.of((np.zeros((4, 6)), np.zeros((4, 6), bool))).mask.shape
    (4, 6)
    """

    image: Any
    mask: Any = None
    record: dict[str, Any] | None = None

    @classmethod
    def of(cls, returned: Any) -> Result:
        """Take an image, a pair (image, mask), a `Sample`, or a dictionary with "image" and perhaps
        "mask".
        """
        if isinstance(returned, Sample):
            return cls(returned.image, returned.mask, returned.record)
        if isinstance(returned, Mapping) and "image" in returned:
            return cls(returned["image"], returned.get("mask"))
        if isinstance(returned, tuple | list) and len(returned) == 2:
            return cls(*returned)
        return cls(returned)


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
    """One call of a function under test.

    Parameters
    ----------
    function : Generator or callable
        A generator, called as its contract says; or any ``f(image, rng)`` that returns an image or
        a pair (image, mask), called with a `numpy.random.Generator`.
    image : ndarray
        Handed to the function as a copy that lies in memory as this array does.
    seed : int
        Of the random generator handed over.
    roi, donors, value_range, channel_axis, spacing, soft
        As a generator takes them. To another function they are not passed on; `channel_axis` and
        `value_range` then say how its images are meant.

    Examples
    --------
    >>> from synthmed import EllipseMask
    >>> from synthmed.testing import Trial, phantom
    >>> trial = Trial(EllipseMask(), phantom("smooth", (20, 30)), seed=7)
    >>> trial.mask.shape
    (20, 30)
    """

    function: Callable[..., Any]
    image: NDArray[Any]
    seed: int = 0
    roi: NDArray[np.bool_] | None = None
    donors: Sequence[NDArray[Any]] | None = None
    value_range: tuple[float, float] | None = None
    channel_axis: int | None = None
    spacing: tuple[float, ...] | None = None
    soft: bool = False

    @cached_property
    def result(self) -> Result:
        """What the call gives; computed once.

        Raises
        ------
        NothingToSee
            If the function rejects the image.
        Fault
            If it raises anything else.
        """
        return self.run()

    def run(self, **changes: Any) -> Result:
        """Call again, possibly with other arguments; raises as `result` does."""
        trial = dataclasses.replace(self, **changes)
        try:
            return trial.call(copy_as_it_lies(trial.image))
        except NothingToSee:
            raise
        except Exception as error:
            raise Fault("runs", trial, f"it raised {type(error).__name__}: {error}") from error

    def call(self, image: NDArray[Any], rng: Any = None) -> Result:
        """Call on this very array, with a fresh random generator unless one is given."""
        rng = np.random.default_rng(self.seed) if rng is None else rng
        if isinstance(self.function, Generator):
            return Result.of(self.function(image, rng=rng, **self.arguments))
        return Result.of(self.function(image, rng))

    @property
    def generator(self) -> Generator:
        """The generator under test; does not apply to other functions."""
        if not isinstance(self.function, Generator):
            raise DoesNotApply("it is promised for synthmed's generators alone")
        return self.function

    @property
    def mask(self) -> NDArray[Any]:
        """The mask of the result; does not apply where none is returned."""
        if self.result.mask is None:
            raise DoesNotApply("no mask is returned")
        return self.result.mask

    @property
    def arguments(self) -> dict[str, Any]:
        """What comes with the call beside the image and the random generator."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)[3:]}

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """The image's shape without channels."""
        shape = list(self.image.shape)
        if self.channel_axis is not None:
            del shape[self.channel_axis]
        return tuple(shape)

    @property
    def limits(self) -> tuple[float, float]:
        """The value range: as given, (0, 255) for uint8, the image's own for other dtypes."""
        if self.value_range is not None:
            return self.value_range
        if self.image.dtype == np.uint8:
            return 0, 255
        return self.image.min().item(), self.image.max().item()

    @property
    def name(self) -> str:
        """The function under test as a person knows it."""
        if isinstance(self.function, Generator):
            return repr(self.function)
        return getattr(self.function, "__qualname__", None) or repr(self.function)

    def code(self, invariant: str, folder: Path | None = None) -> str:
        """Python source that shows the fault again; large arrays that no call tells go into
        `folder`. A transform of another library is called without synthmed, so that its authors can
        run it.
        """
        if isinstance(self.function, Adapted):
            given = self.function.laid_out(self.image).copy()  # of no known origin
            return "\n".join(self.function.script(_source(given, folder, "image"), self.seed))
        imports, subject = _subject(self.function)
        arguments = [subject, _source(self.image, folder, "image")]
        for name, value in {"seed": self.seed, **self.arguments}.items():
            if name == "seed" or (value is not None and value is not False):
                arguments.append(f"{name}={_source(value, folder, name)}")
        check = "trial.result" if invariant == "runs" else f"invariants.{invariant}(trial)"
        lines = [
            "import numpy as np",
            *imports,
            "from synthmed.testing import Trial, invariants, phantom, phantom_mask",
            "",
            f"trial = Trial({', '.join(arguments)})",
            check,
        ]
        used = "\n".join(lines[1:])
        return "\n".join(lines[0 if "np." in used else 1 :])


def copy_as_it_lies(array: NDArray[Any]) -> NDArray[Any]:
    """Copy an array with its strides, byte order and flags."""
    low, high = np.lib.array_utils.byte_bounds(array)
    copy: NDArray[Any] = np.ndarray(
        array.shape,
        array.dtype,
        bytearray(high - low),
        array.__array_interface__["data"][0] - low,
        array.strides,
    )
    copy[...] = array
    copy.flags.writeable = array.flags.writeable
    return copy


def _subject(function: Callable[..., Any]) -> tuple[list[str], str]:
    """Imports and the expression that name the function under test."""
    if isinstance(function, Generator):
        return sorted(_import(c) for c in classes_of(function)), repr(function)
    name, module = (
        getattr(function, "__qualname__", "<unnamed>"),
        getattr(function, "__module__", None),
    )
    if (
        re.fullmatch(r"[^\W\d]\w*", name)
        and module is not None
        and hasattr(sys.modules.get(module), name)
    ):
        return [_import(function)], name
    return [f"# function: {name} of {module}, which cannot be imported by name"], "function"


def _import(thing: Any) -> str:
    module = "synthmed" if thing.__module__.startswith("synthmed.") else thing.__module__
    if module == "__main__":
        return f"# {thing.__qualname__}: from the script itself"
    return f"from {module} import {thing.__qualname__}"


def members(generator: Generator) -> Iterator[Generator]:
    """The generator, and all those of which it is made."""
    yield generator
    for member in direct_members(generator):
        yield from members(member)


def direct_members(generator: Generator) -> Iterator[Generator]:
    """The generators that are values of a generator's fields."""
    for field in dataclasses.fields(generator):  # type: ignore[arg-type]
        value = getattr(generator, field.name)
        for member in value if isinstance(value, tuple) else (value,):
            if isinstance(member, Generator):
                yield member


def classes_of(generator: Generator) -> set[type]:
    """The classes that a generator's repr names: of generators and of distributions."""
    every = list(members(generator))
    values = [getattr(g, f.name) for g in every for f in dataclasses.fields(g)]  # type: ignore[arg-type]
    return {type(v) for v in (*every, *values) if isinstance(v, Generator | Distribution)}


def _source(value: Any, folder: Path | None, name: str) -> str:
    if isinstance(value, list | tuple):
        inner = ", ".join(_source(v, folder, f"{name}{i}") for i, v in enumerate(value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' * (len(value) == 1)})"
    if not isinstance(value, np.ndarray):
        return repr(value)
    made = origin(value)
    if made is not None:
        return made
    if value.size > _LITERAL:
        if folder is None:
            return f"np.load('{name}.npy')"
        np.save(folder / f"{name}.npy", value)
        return f"np.load({str(folder / f'{name}.npy')!r})"
    return f"np.array({value.tolist()!r}, {value.dtype.str!r})"
