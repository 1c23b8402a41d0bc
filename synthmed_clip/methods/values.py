"""Values of a method's fields: brought to what their annotations say, or refused by name.

The annotation of a field is its only declaration: type, choices (`Literal`), and bounds
(`Annotated` with annotated_types).
"""

from __future__ import annotations

import math
import numbers
import types
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import annotated_types as bounds
import numpy as np

import synthmed


@cache
def annotations_of(cls: type) -> dict[str, Any]:
    """Return the annotations of a class's attributes, resolved, with their bounds."""
    return get_type_hints(cls, include_extras=True)


def convert(name: str, value: object, annotation: Any) -> Any:
    """Bring a value to its annotation: NumPy scalars to numbers, lists to tuples, data to objects.

    Parameters
    ----------
    name : str
        Of the field, for messages.
    value : object
    annotation : type
        bool, int, float, str, None, a tuple of them, `Literal`, a union, a `synthmed.Generator`
        (a preset's name and data are taken, too), or `Annotated` with bounds. What it is not
        known for is checked to be of that class, where it is one.

    Raises
    ------
    TypeError
        If the value is of another type.
    ValueError
        If it is out of its bounds, or is none of the choices.

    Examples
    --------
    >>> convert("layers", [np.int64(4), 8], tuple[int, ...] | None)
    (4, 8)
    """
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *limits = get_args(annotation)
        converted = convert(name, value, inner)
        for limit in limits:
            _require_within(name, converted, limit)
        return converted
    if origin in (Union, types.UnionType):
        return _convert_union(name, value, get_args(annotation))
    if origin is Literal:
        if not isinstance(value, str | int) or value not in get_args(annotation):
            options = ", ".join(map(repr, get_args(annotation)))
            raise ValueError(f"{name} must be one of {options}, not {value!r}")
        return value
    if origin is tuple:
        return _convert_tuple(name, value, get_args(annotation))
    if annotation in _CONVERTERS:
        return _CONVERTERS[annotation](name, value)
    if isinstance(annotation, type) and issubclass(annotation, synthmed.Generator):
        return _generator(name, value)
    known = getattr(annotation, "from_dict", None)
    if isinstance(annotation, type) and known is not None and isinstance(value, Mapping):
        return known(value)
    if isinstance(annotation, type) and not isinstance(value, annotation):
        raise _wrong(name, annotation.__name__, value)
    return value


def _convert_union(name: str, value: object, options: tuple[Any, ...]) -> Any:
    if value is None and type(None) in options:
        return None
    errors = []
    for option in (option for option in options if option is not type(None)):
        try:
            return convert(name, value, option)
        except (TypeError, ValueError) as error:
            errors.append(error)
    raise errors[0]


def _convert_tuple(name: str, value: object, members: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping):
        raise _wrong(name, "several values", value)
    values = list(value)
    if len(members) == 2 and members[1] is Ellipsis:
        return tuple(convert(name, v, members[0]) for v in values)
    if len(values) != len(members):
        raise ValueError(f"{name} must be {len(members)} values, not {value!r}")
    return tuple(convert(name, v, m) for v, m in zip(values, members, strict=True))


def _bool(name: str, value: object) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise _wrong(name, "True or False", value)
    return bool(value)


def _int(name: str, value: object) -> int:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise _wrong(name, "a whole number", value)
    return int(value)


def _float(name: str, value: object) -> float:
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise _wrong(name, "a number", value)
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, not {value!r}")
    return float(value)


def _str(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise _wrong(name, "a text", value)
    return str(value)


_CONVERTERS: dict[Any, Callable[[str, object], Any]] = {
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
}


def _generator(name: str, value: object) -> synthmed.Generator:
    if isinstance(value, synthmed.Generator):
        return value
    if isinstance(value, str):
        return synthmed.preset(value)
    if isinstance(value, Mapping):
        return synthmed.from_dict(value)
    raise _wrong(name, "a generator, a preset's name or a dict", value)


def _require_within(name: str, value: Any, limit: object) -> None:
    if isinstance(limit, bounds.Interval):
        parts = [p for p in limit if p is not None]
        if any(not _holds(value, part) for part in parts):
            words = " and ".join(_in_words(part) for part in parts)
            raise ValueError(f"{name} must be {words}, not {value!r}")
    elif not _holds(value, limit):
        raise ValueError(f"{name} must be {_in_words(limit)}, not {value!r}")


def _holds(value: Any, limit: object) -> bool:
    match limit:
        case bounds.Ge(ge=least):
            return value >= least
        case bounds.Gt(gt=below):
            return value > below
        case bounds.Le(le=most):
            return value <= most
        case bounds.Lt(lt=above):
            return value < above
        case bounds.MinLen(min_length=count):
            return len(value) >= count
    raise TypeError(f"the bound {limit!r} is not known; use Ge, Gt, Le, Lt, Interval or MinLen")


def _in_words(limit: object) -> str:
    match limit:
        case bounds.Ge(ge=least):
            return f"at least {least}"
        case bounds.Gt(gt=below):
            return f"above {below}"
        case bounds.Le(le=most):
            return f"at most {most}"
        case bounds.Lt(lt=above):
            return f"below {above}"
        case bounds.MinLen(min_length=count):
            return f"of at least {count} value{'s' if count > 1 else ''}"
    return repr(limit)


def _wrong(name: str, expected: str, value: object) -> TypeError:
    return TypeError(f"{name} must be {expected}, not {value!r}")
