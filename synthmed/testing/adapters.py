"""Transforms of MONAI, TorchIO, albumentations and torchvision as functions ``f(image, rng)``.

They are found by type. None of the libraries is imported here: whoever has such a transform has
imported its library.
"""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Call = Callable[[Any, NDArray[Any], int], Any]


@dataclass(frozen=True)
class Library:
    """How the transforms of a library are called.

    Attributes
    ----------
    dtypes : tuple of str
        That its transforms are documented to take.
    is_random : callable
        Whether results of a transform surely depend on the seed.
    call : callable
        ``call(transform, image, seed)``: channels come first, except in albumentations.
    code : str
        The same as source, for a report to its authors.
    channels_first : bool
    """

    dtypes: tuple[str, ...]
    is_random: Callable[[Any], bool]
    call: Call
    code: str
    channels_first: bool = True


@dataclass(frozen=True, eq=False, repr=False)
class Adapted:
    """A transform of another library as ``f(image, rng)`` on arrays.

    Examples
    --------
    >>> from synthmed.testing.adapters import adapted
    >>> adapted(print) is None
    True
    """

    transform: Any
    library: Library
    channel_axis: int | None = None

    def __call__(self, image: NDArray[Any], rng: np.random.Generator) -> Any:
        """The image that comes out, its axes as they came."""
        given, came, seed = self.laid_out(image), self.channel_axis, int(rng.integers(2**31))
        result = np.asarray(self.library.call(self.transform, given, seed))
        if not self.library.channels_first:
            return result if came is None else np.moveaxis(result, -1, came)
        if came is not None:
            return np.moveaxis(result, 0, came)
        return result[0] if len(result) == 1 else result

    def __repr__(self) -> str:
        """The library and the class: not all of them tell more."""
        return (
            f"{type(self.transform).__module__.partition('.')[0]}'s {type(self.transform).__name__}"
        )

    def laid_out(self, image: NDArray[Any]) -> NDArray[Any]:
        """The image with the axes that the library wants."""
        if self.channel_axis is not None:
            return np.moveaxis(image, self.channel_axis, 0 if self.library.channels_first else -1)
        return image[None] if self.library.channels_first else image

    def script(self, image: str, seed: int) -> list[str]:
        """Lines that make the same call without synthmed; `image` is source of what `laid_out`
        gives.
        """
        name = f"{type(self.transform).__module__}.{type(self.transform).__qualname__}"
        try:
            made = f"pickle.loads({pickle.dumps(self.transform)!r})"
        except Exception:  # it holds a lambda, say
            made = "..."
        return [
            "import pickle",
            "",
            "import numpy as np",
            "",
            f"# {name}; for a report, write here the call that makes it",
            f"transform = {made}",
            f"image = {image}",
            f"seed = {int(np.random.default_rng(seed).integers(2**31))}",
            *self.library.code.splitlines(),
            "print(image, result, sep='\\n')",
        ]


def adapted(transform: Any, channel_axis: int | None = None) -> Adapted | None:
    """A transform of another library as a function of image and random generator; None for
    anything else.
    """
    for base in type(transform).__mro__:
        for package, library in LIBRARIES.items():
            if f"{base.__module__}.".startswith(f"{package}."):
                return Adapted(transform, library, channel_axis)
    return None


def _albumentations(transform: Any, image: NDArray[Any], seed: int) -> Any:
    # A single transform need not take a grey image, a pipeline of one does.
    own = sys.modules["albumentations"].Compose([copy.deepcopy(transform)])
    own.set_random_seed(seed)
    return own(image=image)["image"]


def _monai(transform: Any, image: NDArray[Any], seed: int) -> Any:
    own = copy.deepcopy(transform)
    if hasattr(own, "set_random_state"):
        own.set_random_state(seed=seed)
    keys = getattr(own, "keys", None)
    if keys is None:
        return own(_tensor(image))
    return own({key: _tensor(image) for key in keys})[keys[0]]


def _torchio(transform: Any, image: NDArray[Any], seed: int) -> Any:
    given = _tensor(image)
    with _torch_seeded(seed):
        result = transform(given[..., None] if image.ndim == 3 else given)
    return result[..., 0] if image.ndim == 3 else result


def _torchvision(transform: Any, image: NDArray[Any], seed: int) -> Any:
    with _torch_seeded(seed):
        return transform(_tensor(image))


def _tensor(image: NDArray[Any]) -> Any:
    """A tensor in the array's own memory where that can be, so that what writes to it is found."""
    usual = image.flags.writeable and min(image.strides, default=0) >= 0
    return sys.modules["torch"].from_numpy(image if usual else image.copy())


class _torch_seeded:
    """Torch's global random state seeded within, and as before after."""

    def __init__(self, seed: int) -> None:
        self.seed, self.torch = seed, sys.modules["torch"]

    def __enter__(self) -> None:
        self.state = self.torch.get_rng_state()
        self.torch.manual_seed(self.seed)

    def __exit__(self, *exception: object) -> None:
        self.torch.set_rng_state(self.state)


def _is_a(transform: Any, *names: str) -> bool:
    return any(base.__name__ in names for base in type(transform).__mro__)


_MONAI_CODE = """\
import torch

if hasattr(transform, "set_random_state"):
    transform.set_random_state(seed=seed)
if hasattr(transform, "keys"):
    result = transform({key: torch.from_numpy(image.copy()) for key in transform.keys})
    result = result[transform.keys[0]]
else:
    result = transform(torch.from_numpy(image.copy()))"""

LIBRARIES: dict[str, Library] = {
    "albumentations": Library(
        ("uint8", "float32"),
        lambda transform: False,
        _albumentations,
        "import albumentations\n\npipeline = albumentations.Compose([transform])\n"
        "pipeline.set_random_seed(seed)\nresult = pipeline(image=image.copy())['image']",
        channels_first=False,
    ),
    "monai.transforms": Library(
        ("float32",),
        lambda transform: _is_a(transform, "RandomizableTransform"),
        _monai,
        _MONAI_CODE,
    ),
    "torchio.transforms": Library(
        ("float32",),
        lambda transform: _is_a(transform, "RandomTransform"),
        _torchio,
        "import torch\n\ntorch.manual_seed(seed)\n"
        "result = transform((image[..., None] if image.ndim == 3 else image).copy())",
    ),
    "torchvision.transforms": Library(
        ("uint8", "float32"),
        lambda transform: False,
        _torchvision,
        "import torch\n\ntorch.manual_seed(seed)\n"
        "result = transform(torch.from_numpy(image.copy()))",
    ),
}
"""By the package that a transform's class, or a base of it, is from."""
