"""Reading and writing images: dtypes kept, faults named."""

import hashlib
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from synthmed.io import Unreadable, channel_axis_of, encode, find_inputs, grey, read_image, resize
from synthmed.io.images import suffix_for


def picture(dtype, shape=(30, 40), seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, size=shape, dtype=dtype, endpoint=True)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 3), (5, 30, 40), (5, 30, 40, 3)])
def test_what_is_written_is_read_back(tmp_path, dtype, shape):
    image = picture(dtype, shape)
    path = tmp_path / f"image{suffix_for(image)}"
    path.write_bytes(encode(image, suffix_for(image)))
    back = read_image(path)
    assert back.dtype == image.dtype
    np.testing.assert_array_equal(back, image)
    assert channel_axis_of(back) == (-1 if shape[-1] == 3 else None)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".jpg"])
def test_pillow_files_are_read(tmp_path, suffix):
    image = np.tile(np.arange(0, 240, 6, dtype=np.uint8), (30, 1))
    Image.fromarray(image).save(tmp_path / f"a{suffix}")
    back = read_image(tmp_path / f"a{suffix}")
    assert back.dtype == np.uint8
    assert np.abs(back.astype(int) - image).max() <= (6 if suffix == ".jpg" else 0)


def test_sixteen_bit_colour_png_keeps_its_bits(tmp_path):
    image = picture("uint16", (20, 30, 3))
    cv2.imwrite(str(tmp_path / "a.png"), image[..., ::-1])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), image)


def test_modes_of_png(tmp_path):
    base = Image.fromarray(picture("uint8"))
    rgb = Image.merge("RGB", (base, base.transpose(Image.Transpose.FLIP_LEFT_RIGHT), base))
    rgb.putalpha(base)
    rgb.save(tmp_path / "rgba.png")
    assert read_image(tmp_path / "rgba.png").shape == (30, 40, 3)
    base.convert("1").save(tmp_path / "bit.png")
    assert set(np.unique(read_image(tmp_path / "bit.png"))) <= {0, 255}
    rgb.convert("RGB").quantize(16).save(tmp_path / "palette.png")
    assert read_image(tmp_path / "palette.png").shape == (30, 40, 3)


def test_tiff_white_is_zero_is_inverted(tmp_path):
    image = picture("uint8")
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), 255 - image)


def test_lzw_tiff(tmp_path):
    image = picture("uint16")
    Image.fromarray(image).save(tmp_path / "a.tif", compression="tiff_lzw")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), image)


def png_with(chunk: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0)
    ihdr = (
        struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    )
    return b"\x89PNG\r\n\x1a\n" + ihdr + chunk


@pytest.mark.parametrize(
    "name, data, said",
    [
        ("empty.png", b"", "empty"),
        ("text.png", b"hello, this is no image", "not an image"),
        ("truncated.png", encode(picture("uint8"), ".png")[:200], "cannot be decoded"),
        ("truncated.tif", encode(picture("float32"), ".tif")[:500], "cannot be decoded"),
        ("broken.png", png_with(b"\0\0\0\4IDATabcd\0\0\0\0"), "cannot be decoded"),
        (
            "truncated16.png",
            encode(picture("uint16", (20, 20, 3)), ".png")[:900],
            "cannot be decoded",
        ),
    ],
)
def test_faulty_files_are_named(tmp_path, name, data, said):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(Unreadable, match=said) as error:
        read_image(tmp_path / name)
    assert name in str(error.value)


def test_truncated_jpeg(tmp_path):
    Image.fromarray(picture("uint8", (100, 100))).save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(Unreadable, match=r"a\.jpg.*truncated"):
        read_image(tmp_path / "a.jpg")


def test_directory_and_missing_file(tmp_path):
    (tmp_path / "dir.png").mkdir()
    with pytest.raises(Unreadable, match=r"dir\.png: Is a directory"):
        read_image(tmp_path / "dir.png")
    with pytest.raises(Unreadable, match=r"none\.png: No such file"):
        read_image(tmp_path / "none.png")


def test_gif_and_hyperstack_are_refused(tmp_path):
    Image.fromarray(picture("uint8")).save(tmp_path / "a.gif")
    with pytest.raises(Unreadable, match="is GIF"):
        read_image(tmp_path / "a.gif")
    tifffile.imwrite(tmp_path / "a.tif", picture("uint8", (2, 3, 4, 30, 40)), imagej=True)
    with pytest.raises(Unreadable, match="has axes"):
        read_image(tmp_path / "a.tif")


def test_resize_is_pillows_bilinear():
    image = picture("uint8", (100, 60))
    expected = np.array(Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(resize(image, 32), expected)
    for dtype in ("uint16", "int16", "float32"):
        small = resize(picture(dtype, (100, 60, 3)), 32)
        assert small.shape == (32, 32, 3) and small.dtype == dtype
    with pytest.raises(ValueError, match="volume"):
        resize(picture("uint8", (5, 30, 40)), 32)


def test_grey_is_luma():
    image = picture("uint8", (10, 10, 3))
    np.testing.assert_array_equal(grey(image), np.array(Image.fromarray(image).convert("L")))
    assert np.abs(grey(image.astype(np.uint16)).astype(int) - grey(image)).max() <= 1
    assert grey(picture("uint16", (5, 6, 7, 3))).shape == (5, 6, 7)


def test_inputs_are_ordered_by_name_and_need_no_suffix_when_named(tmp_path):
    for name in ("b/2.png", "b/1.png", "a.PNG", "x.txt", ".hidden/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encode(picture("uint8"), ".png"))
    assert [i.name for i in find_inputs([str(tmp_path)])] == ["a.PNG", "b/1.png", "b/2.png"]
    assert [i.name for i in find_inputs([str(tmp_path / "x.txt"), str(tmp_path / "a.PNG")])] == [
        "a.PNG",
        "x.txt",
    ]
    assert [i.name for i in find_inputs([str(tmp_path / "b" / "*.png")])] == ["1.png", "2.png"]
    with pytest.raises(FileNotFoundError, match="no file matches"):
        find_inputs([str(tmp_path / "*.bmp")])
    with pytest.raises(FileNotFoundError, match="no such file"):
        find_inputs([str(tmp_path / "none")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no image"):
        find_inputs([str(tmp_path / "empty")])
    with pytest.raises(ValueError, match="two inputs"):
        (tmp_path / "1.png").write_bytes(b"")
        find_inputs([str(tmp_path / "1.png"), str(tmp_path / "b")])
    assert [i.name for i in find_inputs([str(tmp_path / "*" / "1.png")])] == ["b/1.png"]


def test_sample_tiles_show_the_retina():
    tiles = find_inputs(["sample:retina"])
    assert len(tiles) >= 10
    for tile in tiles:
        image = tile.read()
        assert image.shape == (224, 224, 3) and image.dtype == np.uint8
        assert image[..., 0].min() > 60  # no black surround
    assert len({hashlib.sha256(t.read().tobytes()).digest() for t in tiles}) == len(tiles)
    assert Path(tiles[0].path).name == "retina.jpg"
