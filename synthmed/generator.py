"""What masks, anomalies and their compositions have in common: configuration as data, and
the call.
"""

from __future__ import annotations

import abc
import dataclasses
import difflib
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from synthmed import distributions, validation
from synthmed.sample import Sample
from synthmed.scene import Region, Scene
from synthmed.version import __version__

RNG = (
    int
    | Sequence[int]
    | np.random.SeedSequence
    | np.random.BitGenerator
    | np.random.Generator
    | None
)
Parameters = dict[str, Any]
_Self = TypeVar("_Self", bound="Generator")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What applying a generator gives.

    Attributes
    ----------
    scene : Scene
        As it is after it.
    mask : ndarray of bool
        Where it changed.
    anomalies : tuple of str
        The names of what changed it, in order.
    moved : bool
        Whether the content moved, so that a mask drawn before would no longer fit it.
    soft : ndarray of float32, or None
        Where `Scene.soft` asks for it, how much it changed, within [0, 1]; by default 1 in the
        mask.
    roi_overlap : float
        The least share of the mask that has to lie in the region of interest.
    """

    scene: Scene
    mask: NDArray[np.bool_]
    anomalies: tuple[str, ...] = ()
    roi_overlap: float = 0.5
    moved: bool = False
    soft: NDArray[np.float32] | None = None

    @property
    def label(self) -> NDArray[np.bool_] | NDArray[np.float32]:
        """The mask; where a soft label is asked for, that one."""
        if not self.scene.soft:
            return self.mask
        return self.mask.astype(np.float32) if self.soft is None else self.soft


class Generator(abc.ABC):
    """Base of everything that can be called on an image.

    A subclass is a frozen dataclass of plain values and other generators. It draws in one step and
    applies in another: `run` draws parameters and applies them, `apply` applies parameters drawn
    before. What both return is for a mask its `synthmed.scene.Region`, for everything else an
    `Outcome`.

    Examples
    --------
    >>> import numpy as np
    >>> import synthmed
    >>> scan = np.random.default_rng(0).random((64, 64))
    >>> generator = synthmed.EllipseMask(box=(0.1, 0.3))
    >>> generator
    EllipseMask(box=(0.1, 0.3))
    >>> generator.to_dict()["box"]
    [0.1, 0.3]
    >>> synthmed.from_dict(generator.to_dict()) == generator
    True
    >>> generator(scan, rng=7).mask.shape
    (64, 64)
    """

    is_mask: ClassVar[bool] = False
    _known: ClassVar[dict[str, type[Generator]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make the class known to `from_dict` by its name, and module if it is not ours."""
        super().__init_subclass__(**kwargs)
        is_base = cls.__name__ in ("Mask", "Anomaly", "Distractor")
        if not is_base and not cls.__name__.startswith("_"):
            Generator._known[_type_of(cls)] = cls

    @abc.abstractmethod
    def run(self, rng: np.random.Generator, scene: Scene) -> tuple[Parameters, Region | Outcome]:
        """Draw parameters for this scene and apply them; return both."""

    @abc.abstractmethod
    def apply(self, parameters: Parameters, scene: Scene) -> Region | Outcome:
        """Apply drawn parameters; nothing random."""

    def __call__(
        self,
        image: ArrayLike,
        *,
        rng: RNG = None,
        roi: ArrayLike | None = None,
        donors: Sequence[ArrayLike] | None = None,
        value_range: tuple[float, float] | None = None,
        channel_axis: int | None = None,
        spacing: Sequence[float] | None = None,
        soft: bool = False,
    ) -> Sample:
        """Draw, and apply what was drawn.

        Parameters
        ----------
        image : array_like, shape (H, W) or (D, H, W), with channels where `channel_axis` says so
            Any integer or floating dtype, finite. Not written to.
        rng : None, int, sequence of ints, SeedSequence, BitGenerator or Generator
            As `numpy.random.default_rng` takes it (SPEC 7). A Generator that is kept where worker
            processes copy it, in a PyTorch Dataset say, repeats itself in each of them: give ints
            there, ``rng=[seed, epoch, index]``.
        roi : array_like of bool, the spatial shape, optional
            Where an anomaly may be placed: at least half of it (`roi_overlap` of its mask) lies
            inside.
        donors : sequence of array_like, optional
            Images from which CutPaste takes its patches, with the image's dtype and channels, each
            of any size. Items are read when they are drawn. By default patches come from the image
            itself, at another place.
        value_range : (low, high), optional
            To which intensities are relative and within which results stay; by default (0, 255) for
            uint8, the image's own minimum and maximum for other dtypes.
        channel_axis : int, optional
            The axis of channels, of the image and the donors. Without it a 3-D array is a volume.
        spacing : sequence of float, optional
            Voxel size along each spatial axis; shapes and distances are taken in its unit.
        soft : bool
            Label by how much changed: `mask` is then float32 in [0, 1], 0 outside the bool mask of
            the same call; within it, what the anomaly says of itself (the factor of
            `Interpolation`), or the visible change, the largest over the channels as a share of the
            value range. Where several anomalies overlap, the largest.

        Returns
        -------
        Sample
            Unpacks as the pair (image, mask); `.record` replays it. A mask returns the image as it
            came.

        Raises
        ------
        NothingToSee
            If the image cannot carry a visible anomaly: constant, too small, no room in `roi`, no
            visible draw.
        TypeError, ValueError
            If an argument is not as described.
        """
        scene = Scene.of(
            image,
            roi=roi,
            donors=donors,
            value_range=value_range,
            channel_axis=channel_axis,
            spacing=spacing,
            soft=soft,
        )
        parameters, result = self.run(_generator_of(rng), scene)
        outcome = outcome_of(scene, result)
        record = {
            "synthmed": __version__,
            "generator": self.to_dict(),
            "parameters": parameters,
            "anomalies": list(outcome.anomalies),
            "shape": list(np.shape(image)),
            "dtype": scene.image.dtype.str,
            "value_range": [scene.low, scene.high],
            "channel_axis": scene.channel_axis,
            "spacing": None if spacing is None else list(scene.spacing),
        }
        if scene.soft:
            record["soft"] = True
        return Sample(image_of(outcome.scene), outcome.label, record)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON data: the type and every parameter.

        The type of a generator from elsewhere carries its module, ``"my.module:Blot"``, so that two
        of one name are told apart.
        """
        return json.loads(self._json)

    @functools.cached_property
    def _json(self) -> str:
        # Kept as text: each record gets a copy of its own, at the price of parsing it.
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return json.dumps(
            {"type": _type_of(type(self))} | {f.name: _plain(getattr(self, f.name)) for f in fields}
        )

    @classmethod
    def from_dict(cls: type[_Self], data: Mapping[str, Any]) -> _Self:
        """The generator that a dictionary made by `to_dict` describes; parameters left out have
        their defaults.

        Raises
        ------
        ValueError
            If the type is unknown, a parameter is misspelt, or a value is out of its bounds.
        """
        generator = _build(data)
        if not isinstance(generator, cls):
            raise ValueError(f"expected a {cls.__name__}, got {type(generator).__name__}")
        return generator

    @classmethod
    def _from_fields(cls, fields: dict[str, Any]) -> Generator:
        return cls(**fields)

    def __or__(self, other: Generator) -> Generator:
        """One of the two, with equal probability."""
        from synthmed.compose import OneOf

        return OneOf(self, other) if isinstance(other, Generator) else NotImplemented

    def __add__(self, other: Generator) -> Generator:
        """One after the other."""
        from synthmed.compose import Sequence as InSequence

        return InSequence(self, other) if isinstance(other, Generator) else NotImplemented

    def __repr__(self) -> str:
        """The constructor call, with what is not default."""
        return f"{type(self).__name__}({', '.join(self._repr_arguments())})"

    def _repr_arguments(self) -> list[str]:
        arguments = []
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, f.name)
            if value != f.default:
                arguments.append(f"{f.name}={value!r}")
        return arguments


def from_dict(data: Mapping[str, Any]) -> Generator:
    """The generator that a dictionary made by `Generator.to_dict` describes; see
    `Generator.from_dict`.

    Examples
    --------
    >>> from synthmed import from_dict
    >>> from_dict({"type": "Source", "mask": {"type": "EllipseMask", "box": [0.1, 0.2]}})
    Source(mask=EllipseMask(box=(0.1, 0.2)))
    """
    return Generator.from_dict(data)


def nothing(scene: Scene) -> Outcome:
    """The outcome where nothing changes: joined with another it leaves that one as it is."""
    return Outcome(scene, np.zeros(scene.shape, bool), roi_overlap=1.0)


def outcome_of(scene: Scene, result: Region | Outcome) -> Outcome:
    """Bring what a mask returns, a region, and what an anomaly returns to one form."""
    if isinstance(result, Outcome):
        return result
    mask = np.zeros(scene.shape, bool)
    mask[result.box] = result.inside
    return Outcome(scene, mask, roi_overlap=result.roi_overlap)


def region_of(result: Region | Outcome) -> Region:
    """What a mask returned.

    Raises
    ------
    TypeError
        If it is what an anomaly returns.
    """
    if not isinstance(result, Region):
        raise TypeError(f"a mask must return a Region, got {type(result).__name__}")
    return result


def image_of(scene: Scene) -> NDArray[Any]:
    """A copy-free view of the scene's image with its axes as they came; copied if it still is the
    caller's array.
    """
    image = (
        scene.image[..., 0]
        if scene.channel_axis is None
        else np.moveaxis(scene.image, -1, scene.channel_axis)
    )
    return image if scene.is_own else image.copy()


def _generator_of(rng: RNG) -> np.random.Generator:
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise type(error)(
            "rng must be None, a non-negative int or sequence of ints, a SeedSequence, a "
            "BitGenerator or a Generator, "
            f"got {rng!r}"
        ) from None


def _plain(value: Any) -> Any:
    if isinstance(value, Generator | distributions.Distribution):
        return value.to_dict()
    value = validation.plain(value)
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def _build(data: Any) -> Any:
    """Generators for dictionaries and tuples for lists, all the way down."""
    if isinstance(data, list | tuple):
        return tuple(_build(v) for v in data)
    if not isinstance(data, Mapping):
        return data
    name = data.get("type")
    if name in distributions.Distribution.known:
        return distributions.from_dict(data)
    cls = Generator._known.get(name) if isinstance(name, str) else None
    if cls is None:
        known = list(Generator._known)
        module, _, _ = str(name).rpartition(":")
        if module == "__main__":
            hint = ", of a script or a notebook: move it to a module"
        else:
            hint = f"; import {module} first" if module else _did_you_mean(str(name), known)
        raise ValueError(f"unknown generator type {name!r}{hint}; known: {', '.join(known)}")
    names = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for key in data:
        if key != "type" and key not in names:
            raise ValueError(
                f"{name} has no parameter {key!r}{_did_you_mean(str(key), names)}; it has: "
                f"{', '.join(names) or 'none'}"
            )
    return cls._from_fields({k: _build(v) for k, v in data.items() if k != "type"})


def _type_of(cls: type) -> str:
    """The name that stands for a class in data: ours as they are, others with their module."""
    if cls.__module__.startswith("synthmed."):
        return cls.__name__
    # A worker process knows the script that started it by another name.
    module = "__main__" if cls.__module__ == "__mp_main__" else cls.__module__
    return f"{module}:{cls.__qualname__}"


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f", did you mean {close[0]!r}?" if close else ""
