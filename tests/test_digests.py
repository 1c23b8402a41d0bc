"""Digests: equal for equal content, different for anything else."""

import hashlib

import numpy as np
import pytest

from synthmed.digests import digest_array, digest_file, digest_json


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint64", "float32", "float64"])
def test_layout_and_byte_order_play_no_part(dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    swapped = array.astype(array.dtype.newbyteorder(">"))
    padded = np.zeros((2, 3, 9), dtype)
    padded[..., ::2][..., :4] = array
    for same in (np.asfortranarray(array), swapped, padded[..., ::2][..., :4]):
        assert digest_array(same) == digest_array(array)


def test_dtype_shape_and_values_count():
    array = np.arange(6, dtype=np.uint8)
    other = array.copy()
    other[3] ^= 1
    different = [
        array,
        other,
        array.astype(np.int8),
        array.reshape(2, 3),
        array.reshape(3, 2),
        array[:5],
        np.zeros(0, np.uint8),
        np.zeros((0, 2), np.uint8),
    ]
    assert len({digest_array(a) for a in different}) == len(different)


def test_objects_have_no_digest():
    with pytest.raises(TypeError, match="array must hold numbers or bool, got dtype object"):
        digest_array(np.array([None]))


def test_a_file_has_the_digest_that_sha256sum_prints(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(256)) * 5000)
    assert digest_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(FileNotFoundError, match=r"none\.bin"):
        digest_file(tmp_path / "none.bin")


def test_json_data():
    data = {"b": [1, 2.5, None], "a": {"y": "ü", "x": True}}
    same = {"a": {"x": True, "y": "ü"}, "b": (1, 2.5, None)}
    assert digest_json(data) == digest_json(same)
    different = [data, data | {"c": 0}, [1, 2], [2, 1], "1", 1, None, {"1": 1}, {}]
    assert len({digest_json(d) for d in different}) == len(different)
    with pytest.raises(ValueError, match="Out of range"):
        digest_json([float("nan")])
    with pytest.raises(TypeError, match="not JSON serializable"):
        digest_json({"a": np.zeros(3)})
