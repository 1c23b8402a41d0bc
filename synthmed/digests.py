"""Digests by which arrays, files and JSON data are known again: SHA-256, in hexadecimal."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["digest_array", "digest_file", "digest_json"]


def digest_array(array: ArrayLike) -> str:
    """Digest an array's dtype, shape and values.

    Neither the memory layout nor the byte order plays a part: equal arrays of one dtype have one
    digest on every machine.

    Parameters
    ----------
    array : array_like
        Of numbers or bool.

    Returns
    -------
    str
        SHA-256, 64 hexadecimal digits.

    Raises
    ------
    TypeError
        If the values are not numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from synthmed.digests import digest_array
    >>> image = np.arange(6, dtype=np.uint8).reshape(2, 3)
    >>> digest_array(image)[:16]
    '50d8b29ebe433b70'
    >>> digest_array(image) == digest_array(np.asfortranarray(image))
    True
    >>> digest_array(image) == digest_array(image.T)
    False
    """
    values = np.asarray(array)
    if values.dtype.kind not in "biufc":
        raise TypeError(f"array must hold numbers or bool, got dtype {values.dtype}")
    little = values.dtype.newbyteorder("<")
    sha = hashlib.sha256(f"{little.str} {values.shape} ".encode())
    sha.update(np.ascontiguousarray(values, dtype=little).tobytes())
    return sha.hexdigest()


def digest_file(path: Path | str) -> str:
    """Digest a file's bytes.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    str
        SHA-256, 64 hexadecimal digits, as the command ``sha256sum`` prints it.

    Raises
    ------
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from synthmed.digests import digest_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "a.txt"
    ...     _ = path.write_bytes(b"abc")
    ...     digest_file(path)[:16]
    'ba7816bf8f01cfea'
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_json(data: Any) -> str:
    """Digest JSON data in its canonical form: keys sorted, no white space, ASCII.

    Parameters
    ----------
    data : JSON data
        None, bool, int, float, str, and lists, tuples and dicts of them.

    Returns
    -------
    str
        SHA-256, 64 hexadecimal digits.

    Raises
    ------
    TypeError
        If something in it is no JSON data.
    ValueError
        If it holds NaN or infinity.

    Examples
    --------
    >>> from synthmed.digests import digest_json
    >>> digest_json({"a": 1, "b": [2, 3]})[:16]
    'efbd0040190fb087'
    >>> digest_json({"b": [2, 3], "a": 1}) == digest_json({"a": 1, "b": [2, 3]})
    True
    """
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
