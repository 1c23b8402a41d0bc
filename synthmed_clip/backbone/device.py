"""Which device to compute on, and in which precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "float32", "bfloat16"]


def choose_device(device: str | torch.device) -> torch.device:
    """Resolve 'auto' to cuda, mps or cpu, whichever is there, in this order.

    Parameters
    ----------
    device : str or torch.device
        'auto', or a name of torch's such as 'cuda:1'.

    Raises
    ------
    ValueError
        If it is of another kind, or torch does not find it on this machine.

    Examples
    --------
    >>> choose_device("cpu")
    device(type='cpu')
    >>> choose_device("gpu")
    Traceback (most recent call last):
    ValueError: device must be 'auto', 'cpu', 'cuda' or 'mps', not 'gpu'
    """
    import torch

    there = {
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }
    if device == "auto":
        return torch.device(next(kind for kind, count in there.items() if count))
    try:
        chosen = torch.device(device)
        count = there[chosen.type]
    except (KeyError, RuntimeError, TypeError):  # torch knows further kinds, and none is tried here
        raise ValueError(
            f"device must be 'auto', 'cpu', 'cuda' or 'mps', not {str(device)!r}"
        ) from None
    if (chosen.index or 0) >= count:
        raise ValueError(
            f"no device {str(device)!r} here: torch {torch.__version__} finds {count} of kind "
            f"{chosen.type}"
        )
    return chosen


def choose_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """Resolve 'auto': bfloat16 where the device multiplies it natively, float32 otherwise.

    Natively means CUDA, and CPUs with AMX or AVX512-BF16. Elsewhere bfloat16 is emulated and
    slower.

    Parameters
    ----------
    precision : {'auto', 'float32', 'bfloat16'}
    device : torch.device

    Raises
    ------
    ValueError
        If `precision` is another.

    Examples
    --------
    >>> import torch
    >>> choose_precision("bfloat16", torch.device("cpu"))
    torch.bfloat16
    """
    import torch

    if precision not in get_args(Precision):
        raise ValueError(f"precision must be 'auto', 'float32' or 'bfloat16', not {precision!r}")
    if precision != "auto":
        return torch.float32 if precision == "float32" else torch.bfloat16
    native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        native = any(
            getattr(torch.cpu, f"_is_{unit}_supported", bool)()
            for unit in ("amx_tile", "avx512_bf16")
        )
    return torch.bfloat16 if native else torch.float32
