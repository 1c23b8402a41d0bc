"""What survives being written down: configuration, record, pickle, another process."""

from __future__ import annotations

import json
import pickle
from typing import Any

import synthmed
from synthmed.generator import Generator
from synthmed.testing import differences
from synthmed.testing.invariants.base import invariant
from synthmed.testing.trial import DoesNotApply, Fault, Result, Trial, classes_of
from synthmed.testing.worker import worker


@invariant
def record_is_json_and_replays(trial: Trial) -> str | None:
    """The record survives JSON, and with the image gives the pair again to the bit.

    Examples
    --------
    >>> from synthmed import CutPaste
    >>> from synthmed.testing import Trial, invariants, phantom
    >>> trial = Trial(CutPaste(), phantom("smooth", (24, 40)), seed=7)
    >>> invariants.record_is_json_and_replays(trial)
    """
    if trial.result.record is None:
        raise DoesNotApply("no record is returned")
    try:
        text = json.dumps(trial.result.record, allow_nan=False)
    except (TypeError, ValueError) as error:
        return f"the record is not JSON: {error}"
    if json.loads(text) != trial.result.record:
        return "the record is another one after JSON (a tuple, perhaps, or a key that is no string)"
    try:
        again = synthmed.replay(json.loads(text), trial.image, donors=trial.donors)
    except Exception as error:
        return f"the record does not replay: {type(error).__name__}: {error}"
    difference = differences.between(trial.result, Result.of(again))
    return f"the record replays another result: {difference}" if difference else None


@invariant
def configuration_is_data(trial: Trial) -> str | None:
    """A generator is frozen and hashable, and its dictionary (through JSON) and its repr give an
    equal one.

    Examples
    --------
    >>> from synthmed import CutPaste
    >>> from synthmed.testing import Trial, invariants, phantom
    >>> trial = Trial(CutPaste(), phantom("smooth", (24, 40)), seed=7)
    >>> invariants.configuration_is_data(trial)
    """
    generator = trial.generator
    parameters = getattr(type(generator), "__dataclass_params__", None)
    if parameters is None or not parameters.frozen:
        return f"{type(generator).__name__} is not a frozen dataclass"
    try:
        again = synthmed.from_dict(json.loads(json.dumps(generator.to_dict(), allow_nan=False)))
        if again != generator or hash(again) != hash(generator):
            return f"from_dict(to_dict()) gives another generator: {again!r}"
        again = eval(repr(generator), {c.__name__: c for c in classes_of(generator)})
    except Exception as error:
        return f"its configuration is not data: {type(error).__name__}: {error}"
    return None if again == generator else f"its repr evaluates to another generator: {again!r}"


@invariant
def picklable(trial: Trial) -> str | None:
    """Pickled and unpickled, the function is equal and gives the same result.

    Examples
    --------
    >>> from synthmed import CutPaste
    >>> from synthmed.testing import Trial, invariants, phantom
    >>> trial = Trial(CutPaste(), phantom("smooth", (24, 40)), seed=7)
    >>> invariants.picklable(trial)
    """
    function = pickle.loads(_pickled(trial))
    if isinstance(function, Generator) and function != trial.function:
        return f"what comes out of pickle is another generator: {function!r}"
    difference = differences.between(trial.result, trial.run(function=function))
    return f"what comes out of pickle gives another result: {difference}" if difference else None


@invariant
def same_result_in_another_process(trial: Trial) -> str | None:
    """Another process, which hashes strings differently, gives the same result.

    Examples
    --------
    >>> from synthmed import CutPaste
    >>> from synthmed.testing import Trial, invariants, phantom
    >>> trial = Trial(CutPaste(), phantom("smooth", (24, 40)), seed=7)
    >>> invariants.same_result_in_another_process(trial)
    """
    _pickled(trial)
    try:
        result = worker.call(
            pickle.dumps((_call_there, (trial.function, trial.image, trial.seed, trial.arguments)))
        )
    except Exception as error:
        return f"in another process it raised {type(error).__name__}: {error}"
    difference = differences.between(trial.result, result)
    return f"in another process the result differs: {difference}" if difference else None


def _call_there(function: Any, image: Any, seed: int, arguments: dict[str, Any]) -> Result:
    return Trial(function, image, seed, **arguments).result


def _pickled(trial: Trial) -> bytes:
    kind = trial.function if hasattr(trial.function, "__qualname__") else type(trial.function)
    if "<" in getattr(kind, "__qualname__", "<") or getattr(kind, "__module__", None) == "__main__":
        raise DoesNotApply(
            "what is defined in a script or within a function cannot be imported elsewhere"
        )
    try:
        return pickle.dumps(trial.function)
    except Exception as error:
        raise Fault(
            "picklable", trial, f"it cannot be pickled: {type(error).__name__}: {error}"
        ) from error
