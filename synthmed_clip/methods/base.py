"""The door: what a detection method is, and what comes of fitting one."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from annotated_types import Interval

import synthmed
from synthmed.digests import digest_array, digest_json
from synthmed_clip.methods.values import annotations_of, convert

if TYPE_CHECKING:
    from torch import Tensor

    from synthmed_clip.backbone.model import Backbone
    from synthmed_clip.training.history import History
    from synthmed_clip.training.seeds import RNG

Channels = Literal["grey", "colour"]
Depth = tuple[Annotated[float, Interval(gt=0, le=1)], Annotated[float, Interval(gt=0, le=1)]]
"""From one share of a backbone's depth to another."""
State = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Scores:
    """What a fitted method says of images; the higher, the more abnormal.

    Attributes
    ----------
    scores : Tensor
        `(N,)` float32.
    maps : Tensor
        `(N, S, S)` float32, S the backbone's image size in pixels; S is 0 where a method has no
        maps.
    pooled : Tensor or None
        `(N, h, w)` float32: of which values scores are pooled (`Fitted.pool`), where these are not
        the maps; those of patches, say.
    depths : tuple of int or None
        Of volumes: how many of the maps, one a slice, are each volume's; M in all, `(M, S, S)`.

    Examples
    --------
    `scans` are a few arrays of normal images, `backbone` is a loaded one.

    >>> from synthmed_clip import NearestPatch, fit
    >>> found = fit(scans, NearestPatch(), backbone=backbone).score(scans)
    >>> found.scores.shape, found.maps.shape
    (torch.Size([4]), torch.Size([4, 32, 32]))
    """

    scores: Tensor
    maps: Tensor
    pooled: Tensor | None = None
    depths: tuple[int, ...] | None = None


class Fitted(ABC):
    """A method fitted on support images; made by `Method.fit` or `Method.restore`.

    Attributes
    ----------
    history : History or None
        How it was learnt, where it was.
    maps_are_probabilities : bool
        Whether maps lie in [0, 1] by their nature, and are shown so.
    left_out_is_conservative : bool
        Whether leaving a support image out can only raise its score, as where each pixel's value
        is the distance to the nearest of what is remembered: p-values against such scores keep
        their level. Not shown of others, whose p-values are heuristic.

    Examples
    --------
    `scans` are a few arrays of normal images, `backbone` is a loaded one.

    >>> from synthmed_clip import NearestPatch, fit
    >>> fitted = fit(scans, NearestPatch(), backbone=backbone).fitted
    >>> sorted(fitted.state())
    ['method', 'patches.3']
    >>> NearestPatch.restore(fitted.state(), backbone).digest() == fitted.digest()
    True
    """

    history: History | None = None
    maps_are_probabilities: bool = False
    left_out_is_conservative: bool = False

    @abstractmethod
    def score(self, pixels: Tensor) -> Scores:
        """Score images.

        Parameters
        ----------
        pixels : Tensor
            `(N, C, S, S)` float32, 0 to 255, C = 1 (grey) or 3.

        Returns
        -------
        Scores
            Of the images, in their order.
        """

    def pool(self, values: Tensor) -> Tensor:
        """Return scores of the values that `score` pools, of any number of places; with it, a score
        can be of a region of interest alone.

        Parameters
        ----------
        values : Tensor
            `(N, M)`, those of `Scores.pooled`, or of the maps, in any order.

        Returns
        -------
        Tensor
            `(N,)`; over all places, those that `score` gives.

        Raises
        ------
        ValueError
            Where a score is not of places, as by default.
        """
        raise ValueError(
            f"the scores of {type(self).__name__} are of whole images: a region of interest (roi) "
            f"cannot be told apart in them"
        )

    def within(self, found: Scores, inside: Tensor) -> Scores:
        """Let scores be of regions of interest alone; outside, a map has its lowest value.

        Parameters
        ----------
        found : Scores
            Of whole images, as `score` gives them.
        inside : Tensor
            `(N, S, S)` bool, none empty.

        Raises
        ------
        ValueError
            Where a score is not of places; see `pool`.
        """
        from synthmed_clip.methods.maps import fill_outside, pool_inside

        values = found.maps if found.pooled is None else found.pooled
        if not values.numel():
            raise ValueError(
                f"{type(self).__name__} has no maps: a region of interest (roi) has no place"
            )
        scores = pool_inside(values, inside, self.pool)
        return Scores(scores, fill_outside(found.maps, inside), found.pooled)

    @abstractmethod
    def state(self) -> State:
        """Return all that `Method.restore` needs: tensors and JSON-ready values, by name."""

    def digest(self) -> str:
        """Return the SHA-256 of its state."""
        import torch

        return digest_json(
            {
                name: digest_array(value.detach().cpu().numpy())
                if isinstance(value, torch.Tensor)
                else value
                for name, value in self.state().items()
            }
        )

    def score_left_out(self, support: Tensor) -> Scores | None:
        """Score the support images, each left out of what judges it; None where that cannot be.

        Parameters
        ----------
        support : Tensor
            `(N, C, S, S)` float32, the images that it was fitted on, as `Method.fit` got them.
        """
        return None


class Method(ABC):
    """Base of every way to find anomalies: a frozen dataclass of its hyperparameters.

    A subclass declares each hyperparameter once, as an annotated field with a default; the command
    line, the protocol, a saved detector and the README's table take it from there. Values are
    brought to the annotations' types, or refused by name. A subclass is known by its name as soon
    as its module is imported. A field `channels: Channels` is how images are given to it; without
    one they are grey.

    Attributes
    ----------
    name : str
        On the command line and in tables; made of the class's name unless it is given as
        `class MyMethod(Method, name="my-own")`.
    least_support : int
        How many support images it needs; 0 for a method that looks at none.
    reads_text : bool
        Whether it compares images with texts, where the backbone has a text tower.

    Examples
    --------
    >>> from synthmed_clip import Method
    >>> method = Method.named("zero-shot")(abnormal_words=["lesion"], normal_words=["liver"])
    >>> method
    ZeroShot(normal_words=('liver',), abnormal_words=('lesion',), channels='grey')
    >>> Method.from_dict(method.to_dict()) == method
    True
    """

    name: ClassVar[str]
    least_support: ClassVar[int] = 1
    reads_text: ClassVar[bool] = False
    known: ClassVar[dict[str, type[Method]]] = {}

    def __init_subclass__(cls, name: str | None = None, **kwargs: Any) -> None:
        """Make the class known by its name."""
        super().__init_subclass__(**kwargs)
        cls.name = name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).lower()
        for kind, other in Method.known.items():
            if other.name == cls.name and kind != _type_of(cls):
                raise TypeError(
                    f"there is a method named {cls.name!r}, {kind}; choose another name"
                )
        Method.known[_type_of(cls)] = cls

    def __post_init__(self) -> None:
        """Bring every value to its field's type.

        Raises
        ------
        TypeError, ValueError
            If one is of another type, or out of its bounds; it is named.
        """
        annotations = annotations_of(type(self))
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = convert(field.name, getattr(self, field.name), annotations[field.name])
            object.__setattr__(self, field.name, value)

    @abstractmethod
    def fit(self, support: Tensor, backbone: Backbone, rng: RNG) -> Fitted:
        """Fit the method to normal images.

        Parameters
        ----------
        support : Tensor
            `(N, C, S, S)` float32, 0 to 255; nothing is labelled.
        backbone : Backbone
        rng : None, int, SeedSequence, BitGenerator or Generator
            All randomness comes from it (SPEC 7).

        Notes
        -----
        Further keyword arguments with a default are options of the fit, not of the method
        (a checkpoint, say): `synthmed_clip.fit` passes on those that a method names, and refuses
        the others.
        """

    @classmethod
    @abstractmethod
    def restore(cls, state: State, backbone: Backbone) -> Fitted:
        """Make a fitted method of what `Fitted.state` gave; its tensors are on the CPU.

        Raises
        ------
        KeyError, TypeError, ValueError
            If something is missing, or does not fit the backbone.
        """

    @classmethod
    def takes(cls, option: str) -> bool:
        """Whether `fit` names an option, as a checkpoint.

        Examples
        --------
        >>> from synthmed_clip import MediCLIP, NearestPatch
        >>> MediCLIP.takes("checkpoint"), NearestPatch.takes("checkpoint")
        (True, False)
        """
        parameters = inspect.signature(cls.fit).parameters
        return option in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())

    def resolved(self, backbone: Backbone) -> Self:
        """Return the method with those defaults filled in that depend on the backbone.

        Raises
        ------
        ValueError
            If a value does not fit the backbone.
        """
        return self

    @property
    def support_channels(self) -> Channels:
        """How support images come: as the field `channels` says, where there is one; else grey."""
        return convert("channels", getattr(self, "channels", None) or "grey", Channels)

    @property
    def scored_channels(self) -> Channels:
        """How images to be scored come: as the support images."""
        return self.support_channels

    @property
    def training_recipe(self) -> synthmed.Generator | None:
        """What it draws synthetic anomalies with; None for a method that draws none."""
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return the type's name and every value, JSON-ready."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        values = {field.name: _plain(getattr(self, field.name)) for field in fields}
        return {"type": _type_of(type(self))} | values

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild from what `to_dict` gave, through JSON or not; what is left out has its default.

        Raises
        ------
        TypeError, ValueError
            If the type is unknown or is not this one, a key is unknown, or a value is of another
            type or out of its bounds.

        Examples
        --------
        >>> from synthmed_clip import Method, NearestPatch
        >>> Method.from_dict(NearestPatch(pool=0.01).to_dict()) == NearestPatch(pool=0.01)
        True
        """
        if not isinstance(data, Mapping):
            raise TypeError(f"a method must come as a mapping, not {data!r}")
        kind = data.get("type", _type_of(cls))
        found = cls.require_known({"type": kind})
        if not issubclass(found, cls):
            raise ValueError(f"expected a {cls.__name__}, not a {found.__name__}")
        names = [field.name for field in dataclasses.fields(found)]  # type: ignore[arg-type]
        for key in data:
            if key != "type" and key not in names:
                known = f"it has: {', '.join(names) or 'none'}"
                raise ValueError(f"{kind} has no {key!r}{_did_you_mean(str(key), names)}; {known}")
        annotations = annotations_of(found)
        return found(**{k: convert(k, v, annotations[k]) for k, v in data.items() if k != "type"})

    @classmethod
    def require_known(cls, data: Mapping[str, Any]) -> type[Method]:
        """Return the type that data are of; ValueError if its module was not imported."""
        kind = data["type"]
        found = Method.known.get(kind) if isinstance(kind, str) else None
        if found is None:
            module, _, name = str(kind).rpartition(":")
            hint = f"; import {module} first" if module else _did_you_mean(name, Method.known)
            raise ValueError(f"no method {kind!r} is known{hint}")
        return found

    @classmethod
    def named(cls, name: str) -> type[Method]:
        """Return the method of a name as it stands on the command line.

        Raises
        ------
        ValueError
            If there is none.

        Examples
        --------
        >>> from synthmed_clip import Method
        >>> Method.named("zero-shot").__name__
        'ZeroShot'
        """
        for method in Method.known.values():
            if method.name == name:
                return method
        names = [method.name for method in Method.known.values()]
        known = f"there are: {', '.join(names)}"
        raise ValueError(f"no method {name!r}{_did_you_mean(name, names)}; {known}")


def layers_of(
    backbone: Backbone,
    layers: tuple[int, ...] | None,
    depth: Depth | None,
    default: tuple[int, ...],
) -> tuple[int, ...]:
    """Choose layers by their numbers, by depth, or by default.

    Raises
    ------
    ValueError
        If both are given and differ, or a layer is not there.
    """
    if depth is not None:
        default = backbone.layers_between(*depth)
        if layers not in (None, default):
            raise ValueError(f"layers {layers} and depth {depth} are two choices; give one")
    return backbone.checked_layers(default if layers is None else layers)


def _type_of(cls: type) -> str:
    """The name that stands for a class in data: ours as they are, others with their module."""
    if cls.__module__.startswith("synthmed_clip."):
        return cls.__name__
    return f"{cls.__module__}:{cls.__qualname__}"


def _plain(value: Any) -> Any:
    if hasattr(value, "to_dict"):
        return value.to_dict()
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def _did_you_mean(word: str, known: Mapping[str, Any] | list[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else ""
