"""Reading and writing images: dtypes kept, faults named."""

import hashlib
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import tifffile

from synthmed.io import (
    Image,
    ImageWarning,
    Reader,
    Unreadable,
    add_reader,
    encode,
    find_images,
    find_inputs,
    grey,
    read_image,
    read_mask,
    readers,
    resize,
    suffix_for,
)


def picture(dtype, shape=(30, 40), seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, size=shape, dtype=dtype, endpoint=True)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 3), (5, 30, 40), (5, 30, 40, 3)])
def test_what_is_written_is_read_back(tmp_path, dtype, shape):
    image = Image(picture(dtype, shape), channel_axis=-1 if shape[-1] == 3 else None)
    path = tmp_path / f"image{suffix_for(image)}"
    path.write_bytes(encode(image, suffix_for(image)))
    back = read_image(path)
    assert back.array.dtype == dtype
    np.testing.assert_array_equal(back.array, image.array)
    assert back.channel_axis == image.channel_axis
    assert back.spatial_shape == (shape[:-1] if shape[-1] == 3 else shape)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".jpg"])
def test_pillow_files_are_read(tmp_path, suffix):
    image = np.tile(np.arange(0, 240, 6, dtype=np.uint8), (30, 1))
    PIL.Image.fromarray(image).save(tmp_path / f"a{suffix}")
    back = read_image(tmp_path / f"a{suffix}").array
    assert back.dtype == np.uint8
    assert np.abs(back.astype(int) - image).max() <= (6 if suffix == ".jpg" else 0)


def test_sixteen_bit_colour_png_keeps_its_bits(tmp_path):
    image = picture("uint16", (20, 30, 3))
    cv2.imwrite(str(tmp_path / "a.png"), image[..., ::-1])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").array, image)


def test_modes_of_png(tmp_path):
    base = PIL.Image.fromarray(picture("uint8"))
    rgb = PIL.Image.merge("RGB", (base, base.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT), base))
    rgb.putalpha(base)
    rgb.save(tmp_path / "rgba.png")
    with pytest.warns(ImageWarning, match=r"rgba\.png: the alpha channel .* is dropped"):
        assert read_image(tmp_path / "rgba.png").array.shape == (30, 40, 3)
    base.convert("1").save(tmp_path / "bit.png")
    assert set(np.unique(read_image(tmp_path / "bit.png").array)) <= {0, 255}
    rgb.convert("RGB").quantize(16).save(tmp_path / "palette.png")
    assert read_image(tmp_path / "palette.png").array.shape == (30, 40, 3)


def test_tiff_white_is_zero_is_inverted(tmp_path):
    image = picture("uint8")
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").array, 255 - image)


def test_lzw_tiff(tmp_path):
    image = picture("uint16")
    PIL.Image.fromarray(image).save(tmp_path / "a.tif", compression="tiff_lzw")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").array, image)


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
        ("truncated.png", encode(Image(picture("uint8")), ".png")[:200], "cannot be decoded"),
        ("truncated.tif", encode(Image(picture("float32")), ".tif")[:500], "cannot be decoded"),
        ("broken.png", png_with(b"\0\0\0\4IDATabcd\0\0\0\0"), "cannot be decoded"),
        (
            "truncated16.png",
            encode(Image(picture("uint16", (20, 20, 3)), -1), ".png")[:900],
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
    PIL.Image.fromarray(picture("uint8", (100, 100))).save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(Unreadable, match=r"a\.jpg.*truncated"):
        read_image(tmp_path / "a.jpg")


def test_directory_and_missing_file(tmp_path):
    (tmp_path / "dir.png").mkdir()
    with pytest.raises(Unreadable, match=r"dir\.png: Is a directory"):
        read_image(tmp_path / "dir.png")
    for expected in (FileNotFoundError, Unreadable):
        with pytest.raises(expected, match=r"none\.png: No such file"):
            read_image(tmp_path / "none.png")


def test_gif_and_hyperstack_are_refused(tmp_path):
    PIL.Image.fromarray(picture("uint8")).save(tmp_path / "a.gif")
    with pytest.raises(Unreadable, match="is GIF"):
        read_image(tmp_path / "a.gif")
    tifffile.imwrite(tmp_path / "a.tif", picture("uint8", (2, 3, 4, 30, 40)), imagej=True)
    with pytest.raises(Unreadable, match="has axes"):
        read_image(tmp_path / "a.tif")


def test_resize_is_pillows_bilinear():
    image = picture("uint8", (100, 60))
    expected = np.array(PIL.Image.fromarray(image).resize((32, 32), PIL.Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(resize(Image(image), 32).array, expected)
    for dtype in ("uint16", "int16", "float32"):
        small = resize(Image(picture(dtype, (100, 60, 3)), -1), 32).array
        assert small.shape == (32, 32, 3) and small.dtype == dtype
    with pytest.raises(ValueError, match="volume"):
        resize(Image(picture("uint8", (5, 30, 40))), 32)


def test_grey_is_luma():
    image = picture("uint8", (10, 10, 3))
    luma = grey(Image(image, -1)).array
    np.testing.assert_array_equal(luma, np.array(PIL.Image.fromarray(image).convert("L")))
    deep = grey(Image(image.astype(np.uint16), -1)).array
    assert np.abs(deep.astype(int) - luma).max() <= 1
    assert grey(Image(picture("uint16", (5, 6, 7, 3)), -1)).array.shape == (5, 6, 7)


def test_geometry_goes_with_the_size():
    affine = np.array([[2.0, 0, 0, 5], [0, 3, 0, 7], [0, 0, 1, 9], [0, 0, 0, 1]])
    image = Image(
        picture("float32", (30, 60)), None, spacing=(2.0, 3.0), value_range=(0, 9), affine=affine
    )
    small = resize(image, 10)
    assert small.spacing == (6.0, 18.0) and small.value_range == (0, 9)
    # The corners of the field of view stay where they were.
    for old, new in (((-0.5, -0.5), (-0.5, -0.5)), ((29.5, 59.5), (9.5, 9.5))):
        np.testing.assert_allclose(affine @ [*old, 0, 1], small.affine @ [*new, 0, 1])
    colour = Image(picture("uint8", (3, 20, 30)), 0, spacing=(2.0, 1.0))
    assert grey(colour).spacing == (2.0, 1.0) and grey(colour).array.shape == (20, 30)
    assert resize(colour, 10).array.shape == (10, 10, 3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"channel_axis": 3}, "channel_axis must be an axis of 3, got 3"),
        ({"spacing": (1.0, 1.0)}, "spacing must hold 3 numbers"),
        ({"affine": np.eye(3)}, r"affine must have shape \(4, 4\), got \(3, 3\)"),
        ({"array": np.zeros(5)}, r"array must have 2 or 3 spatial axes, got shape \(5,\)"),
    ],
)
def test_geometry_that_does_not_fit_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        Image(**{"array": np.zeros((4, 5, 6)), **arguments})


@pytest.mark.parametrize("shape", [(5, 30, 3), (30, 40, 3)])
def test_a_volume_of_three_columns_has_no_channels(tmp_path, shape):
    (tmp_path / "a.tif").write_bytes(encode(Image(picture("float32", shape)), ".tif"))
    back = read_image(tmp_path / "a.tif")
    assert back.channel_axis is None and back.array.shape == shape


def is_npy(head, name):
    return head.startswith(b"\x93NUMPY") and name.endswith(".npy")


def read_npy(path):
    return Image(np.load(path), spacing=(3.0, 1.0, 1.0))


@pytest.fixture
def npy():
    reader = Reader("NumPy", (".npy",), is_npy, read_npy)
    add_reader(reader)
    yield reader
    readers.READERS.remove(reader)


def test_a_format_of_the_users_own_is_found_and_read(tmp_path, npy):
    volume = picture("int16", (4, 5, 6))
    np.save(tmp_path / "a.npy", volume)
    np.save(tmp_path / "b.npy", volume[0])
    (tmp_path / "c.NPY").write_text("no array")
    assert [p.name for p in find_images(tmp_path)] == ["a.npy", "b.npy", "c.NPY"]
    image = read_image(tmp_path / "a.npy")
    np.testing.assert_array_equal(image.array, volume)
    assert image.spacing == (3.0, 1.0, 1.0)
    with pytest.raises(
        Unreadable, match=r"b\.npy: cannot be decoded as NumPy: spacing must hold 2 numbers"
    ):
        read_image(tmp_path / "b.npy")
    with pytest.raises(
        Unreadable, match=r"c\.NPY: not an image in a format .* \(NumPy, DICOM, PNG, "
    ):
        read_image(tmp_path / "c.NPY")


def test_readers_are_checked():
    with pytest.raises(TypeError, match="reader must be a Reader, got str"):
        add_reader("nifti")
    with pytest.raises(ValueError, match=r"suffixes must be .*, got 'NII'"):
        add_reader(Reader("NIfTI", ("NII",), is_npy, read_npy))


def test_find_images(tmp_path):
    for name in ("b/2.png", "b/c/1.TIFF", "a.PNG", "x.txt", ".hidden/3.png", ".4.png", "b.jpeg"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    found = [p.relative_to(tmp_path).as_posix() for p in find_images(tmp_path)]
    assert found == ["a.PNG", "b.jpeg", "b/2.png", "b/c/1.TIFF", "folder.png"]
    flat = find_images(str(tmp_path), recursive=False)
    assert [p.name for p in flat] == ["a.PNG", "b.jpeg", "folder.png"]
    hidden = find_images(tmp_path / ".hidden")  # named by the caller, so meant
    assert [p.name for p in hidden] == ["3.png"]
    with pytest.raises(FileNotFoundError, match="no folder at"):
        find_images(tmp_path / "none")


def write_mask(path, array):
    array = np.asarray(array)
    PIL.Image.fromarray(array if array.dtype == bool else array.astype(np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ((0, 1), (False, True)),
        ((0, 255), (False, True)),
        ((7, 0), (True, False)),
        ((0, 0), (False, False)),
        ((3, 3), (True, True)),
    ],
)
@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_masks_of_two_levels(tmp_path, levels, expected, suffix):
    path = write_mask(tmp_path / f"mask{suffix}", np.repeat([levels], 5, axis=0))
    assert read_mask(path).tolist() == [list(expected)] * 5


def test_masks_of_other_levels_are_refused_by_name(tmp_path):
    cases = {
        "antialiased": (
            np.arange(256).reshape(16, 16),
            "levels 0, 1, .*, 6, 7 and 248 more:",
        ),
        "classes": ([[0, 1], [2, 2]], "levels 0, 1, 2:"),
        "no zero": ([[20, 220]], "levels 20, 220:"),
    }
    for name, (array, said) in cases.items():
        path = write_mask(tmp_path / f"{name}.png", array)
        with pytest.raises(ValueError, match=rf"{name}\.png: a mask with the {said}"):
            read_mask(path)
        values = np.asarray(array)
        np.testing.assert_array_equal(read_mask(path, level="any"), values != 0)
        np.testing.assert_array_equal(read_mask(path, level=2), values == 2)
        np.testing.assert_array_equal(
            read_mask(path, level=[1, 220]), (values == 1) | (values == 220)
        )


def test_masks_of_other_kinds(tmp_path):
    square = np.kron(np.eye(2, dtype=bool), np.ones((16, 16), bool))
    assert np.array_equal(read_mask(write_mask(tmp_path / "bit.png", square)), square)
    colour = np.repeat((square * 255)[..., None], 3, axis=2)
    assert np.array_equal(read_mask(write_mask(tmp_path / "rgb.png", colour)), square)
    volume = np.stack([square, ~square])
    for dtype in (np.uint8, np.uint16, np.float32):
        (tmp_path / "v.tif").write_bytes(encode(Image(volume.astype(dtype)), ".tif"))
        assert np.array_equal(read_mask(tmp_path / "v.tif"), volume)
    (tmp_path / "nan.tif").write_bytes(encode(Image(np.full((4, 4), np.nan, np.float32)), ".tif"))
    with pytest.raises(ValueError, match=r"nan\.tif: .*NaN"):
        read_mask(tmp_path / "nan.tif")
    (tmp_path / "no.png").write_text("no image")
    with pytest.raises(ValueError, match=r"no\.png: not an image"):
        read_mask(tmp_path / "no.png")


def test_masks_in_jpeg(tmp_path):
    square = np.kron(np.eye(2, dtype=bool), np.ones((13, 13), bool))
    path = write_mask(tmp_path / "a.jpg", np.where(square, 200, 60))
    assert len(np.unique(read_image(path).array)) > 2
    for level in (None, "any"):
        assert np.array_equal(read_mask(path, level=level), square)
    assert not read_mask(write_mask(tmp_path / "traces.jpg", np.full((8, 8), 3))).any()
    with pytest.raises(ValueError, match=r"a\.jpg: JPEG does not keep the levels"):
        read_mask(path, level=200)


@pytest.mark.parametrize("level", ["all", "", (), 1.5, [True], ["1"], True])
def test_mask_levels_are_checked(tmp_path, level):
    path = write_mask(tmp_path / "a.png", np.eye(3))
    with pytest.raises(TypeError, match="mask level must be one or more ints, or 'any', got"):
        read_mask(path, level=level)


def test_inputs_are_ordered_by_name_and_need_no_suffix_when_named(tmp_path):
    for name in ("b/2.png", "b/1.png", "a.PNG", "x.txt", ".hidden/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encode(Image(picture("uint8")), ".png"))
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
        image = tile.read().array
        assert image.shape == (224, 224, 3) and image.dtype == np.uint8
        assert image[..., 0].min() > 60  # no black surround
    assert len({hashlib.sha256(t.read().array.tobytes()).digest() for t in tiles}) == len(tiles)
    assert Path(tiles[0].path).name == "retina.jpg"
