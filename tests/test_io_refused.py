"""What is damaged, undefined or too large is refused by the name of the reason."""

import io
import os
import struct
import warnings
import zlib

import cv2
import numpy as np
import PIL.Image
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from image_kinds import (
    BLACK,
    CMYK,
    PALETTE,
    RGB,
    WHITE,
    YCBCR,
    entries,
    noise,
    png,
    put,
    same,
)
from tiff_by_hand import COMPRESSIONS, Page, write

from synthmed.io import Image, ImageWarning, Unreadable, encode, read_image, read_mask


@pytest.mark.parametrize("orientation", [0, 9])
def test_an_undefined_orientation_is_refused(tmp_path, orientation):
    page = Page(noise(8), BLACK, 8, orientation=orientation)
    with pytest.raises(Unreadable, match=f"orientation {orientation}; 1 to 8"):
        read_image(put(tmp_path / "a.tif", write([page])))


def test_a_colour_beyond_the_palette_is_refused(tmp_path):
    data = png(8, 3, [bytes([0, 1, 2, 3])], (b"PLTE", bytes(9)))
    with pytest.raises(Unreadable, match="the colour 3 of a palette of 3"):
        read_image(put(tmp_path / "a.png", data))


GREY = noise(8)
REFUSED = {
    "pages of other shapes": (
        [Page(noise(8, shape=(8, 9)), BLACK, 8), Page(GREY, BLACK, 8)],
        r"pages that differ: 1 of 8 x 9 uint8, 1 of 20 x 37 uint8",
    ),
    "pages of other dtypes": (
        [Page(GREY, BLACK, 8), Page(noise(16), BLACK, 16)],
        r"pages that differ: .* uint8, .* uint16",
    ),
    "pages that lie otherwise": (
        [Page(GREY, BLACK, 8), Page(GREY, BLACK, 8, orientation=6)],
        "pages that differ",
    ),
    "grey and palette": (
        [Page(GREY, BLACK, 8), Page(GREY, PALETTE, 8, tags=entries(8)[1])],
        "pages that differ",
    ),
    "five bands": ([Page(noise(16, count=5), BLACK, 16, extra=(0,) * 4)], "5 samples a pixel"),
    "four bands of RGB": ([Page(noise(8, count=4), RGB, 8, extra=(0,))], "4 samples a pixel"),
    "undeclared alpha": ([Page(noise(8, count=4), RGB, 8)], "not declared as one alpha channel"),
    "two bands": ([Page(noise(8, count=2), RGB, 8)], "has 2 samples a pixel, RGB has 3"),
    "CIELab": ([Page(noise(8, count=3), 8, 8)], "is CIELab"),
    "mosaic": ([Page(GREY, 32803, 8)], "colour filter array"),
    "unknown": ([Page(GREY, 77, 8)], "photometric interpretation 77"),
    "complex": ([Page(noise(64), BLACK, 64, 6)], "holds complex numbers"),
    "undefined samples": ([Page(GREY, BLACK, 8, 4)], "holds undefined samples"),
    "white float": ([Page(noise(32, 3), WHITE, 32, 3)], "white at zero in float32"),
    "white signed": ([Page(noise(16, 2), WHITE, 16, 2)], "white at zero in int16"),
    "three bits": ([Page(noise(3), BLACK, 3)], "unsigned samples of 3 bits"),
    "no palette": ([Page(GREY, PALETTE, 8)], "palette"),
    "other inks": ([Page(noise(8, count=4), CMYK, 8, tags={332: (3, (2,))})], "has inks other"),
    "dots": ([Page(noise(8, count=4), CMYK, 8, tags={336: (3, (10, 240))})], "the dot range"),
    "subsampled": ([Page(noise(8, count=3), YCBCR, 8, tags={530: (3, (2, 2))})], "subsampling"),
    "old JPEG": ([Page(GREY, BLACK, 8, tags={259: (3, (6,))})], "old JPEG"),
    "compression": ([Page(GREY, BLACK, 8, tags={259: (3, (12345,))})], "12345"),
    "mixed bits": ([Page(noise(8, count=3), RGB, 8, tags={258: (3, (5, 6, 5))})], "differ: bits"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_undefined_is_refused_by_name(tmp_path, name):
    pages, said = REFUSED[name]
    with pytest.raises(Unreadable, match=rf"a\.tif: .*{said}"):
        read_image(put(tmp_path / "a.tif", write(pages)))


def test_series_are_refused_with_their_sizes(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for n in (10, 20):
            file.write(noise(8, shape=(5, n, n))[..., 0], photometric="minisblack")
    with pytest.raises(Unreadable, match=r"2 series \(0: 5 x 10 x 10 uint8, 1: 5 x 20 x 20"):
        read_image(tmp_path / "a.tif")
    for axes, said in (("CYX", "5 channels"), ("TYX", "5 time points")):
        planes = noise(8, shape=(5, 20, 30))[..., 0]
        tifffile.imwrite(tmp_path / "b.tif", planes, imagej=True, metadata={"axes": axes})
        with pytest.raises(Unreadable, match=said):
            read_image(tmp_path / "b.tif")


def encoded(array, form, **options):
    buffer = io.BytesIO()
    PIL.Image.fromarray(array).save(buffer, form, **options)
    return buffer.getvalue()


COLOUR = noise(8, 1, 3)
WHOLE = {
    "grey.png": encoded(GREY[..., 0], "PNG"),
    "deep.png": encode(Image(noise(16, count=3), -1), ".png"),
    "a.jpg": encoded(COLOUR, "JPEG"),
    "progressive.jpg": encoded(COLOUR, "JPEG", progressive=True),
    "a.bmp": encoded(COLOUR, "BMP"),
    "a.tif": encode(Image(noise(32, 3)[..., 0]), ".tif"),
    "lzw.tif": encoded(COLOUR, "TIFF", compression="tiff_lzw"),
    "deflate.tif": write([Page(GREY, BLACK, 8, compression="deflate", layout="tile")]),
    # The last 16 bytes are a copy of tags' values that no page refers to.
    "stack.tif": encode(Image(noise(16, shape=(5, 8, 9))[..., 0]), ".tif")[:-16],
    "pages.tif": write([Page(noise(8, seed=i), BLACK, 8) for i in range(3)]),
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_cut_anywhere_is_refused(tmp_path, name):
    whole = WHOLE[name]
    read_image(put(tmp_path / name, whole))
    for length in {
        *range(0, len(whole), max(1, len(whole) // 60)),
        *range(len(whole) - 5, len(whole)),
    }:
        with pytest.raises(Unreadable, match=name):
            read_image(put(tmp_path / name, whole[:length]))


def rewrite(data, tag, change):
    """A file of one page with other values of a tag of LONGs, of which it may keep fewer."""
    data = bytearray(data)
    (directory,) = struct.unpack_from("<I", data, 4)
    (tags,) = struct.unpack_from("<H", data, directory)
    for at in range(directory + 2, directory + 2 + 12 * tags, 12):
        number, _, count, offset = struct.unpack_from("<HHII", data, at)
        if number == tag:
            offset = at + 8 if count == 1 else offset
            values = change(list(struct.unpack_from(f"<{count}I", data, offset)))
            struct.pack_into(f"<{len(values)}I", data, offset, *values)
            struct.pack_into("<I", data, at + 4, len(values))
            return bytes(data)
    raise AssertionError(f"no tag {tag}")


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("layout", ["strip", "tile"])
def test_strips_and_tiles_that_are_not_whole_are_refused(tmp_path, compression, layout):
    whole = write([Page(GREY, BLACK, 8, compression=compression, layout=layout)])
    offsets, counts = (324, 325) if layout == "tile" else (273, 279)
    for tag, change in (
        (counts, lambda values: [v // 2 for v in values]),
        (counts, lambda values: [*values[:-1], values[-1] // 2]),
        (counts, lambda values: [0, *values[1:]]),
        (counts, lambda values: values[:-1]),
        (offsets, lambda values: values[:-1]),
        (offsets, lambda values: [*values[:-1], 10**6]),
    ):
        with pytest.raises(Unreadable, match=r"a\.tif"):
            read_image(put(tmp_path / "a.tif", rewrite(whole, tag, change)))


def test_strips_that_contradict_their_rows_are_refused(tmp_path):
    page = Page(GREY, BLACK, 8, tags={278: (3, (20,))})  # one strip is said, three are written
    with pytest.raises(Unreadable, match="has 3 strips or tiles of 1"):
        read_image(put(tmp_path / "a.tif", write([page])))


def test_one_strip_that_is_too_short_is_refused(tmp_path):
    whole = write([Page(GREY[:7], BLACK, 8)])
    short = rewrite(whole, 279, lambda values: [values[0] - 1])
    with pytest.raises(Unreadable, match="has 258 bytes of data, 259 are needed"):
        read_image(put(tmp_path / "a.tif", short))


@given(st.sampled_from(sorted(WHOLE)), st.data())
@settings(max_examples=150, deadline=None)
def test_damage_is_either_refused_or_harmless_to_the_shape(tmp_path_factory, name, data):
    whole = bytearray(WHOLE[name])
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = put(tmp_path_factory.getbasetemp() / name, whole)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImageWarning)
        try:
            image = read_image(path)
        except Unreadable as error:
            assert str(path) in str(error)
        else:
            assert len(image.spatial_shape) in (2, 3) and image.array.size


def test_a_stack_says_that_it_is_truncated(tmp_path):
    for name in ("pages.tif", "stack.tif"):
        whole = WHOLE[name]
        with pytest.raises(Unreadable, match="truncated"):
            read_image(put(tmp_path / name, whole[: int(len(whole) * 0.7)]))


def test_animations_are_refused_by_name(tmp_path):
    frames = [PIL.Image.fromarray(noise(8, seed=i)[..., 0]) for i in range(3)]
    for name, said in (
        ("a.png", "animated, with 3 frames"),
        ("a.gif", "animated GIF of 3 frames"),
        ("a.webp", "animated WEBP of 3 frames"),
    ):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        with pytest.raises(Unreadable, match=rf"{name}: .*{said}"):
            read_image(tmp_path / name)


def test_several_pictures_in_a_jpeg_are_refused(tmp_path):
    frames = [PIL.Image.fromarray(noise(8, 1, 3, (32, 32), i)) for i in range(2)]
    frames[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=frames[1:])
    with pytest.raises(Unreadable, match=r"holds 2 pictures \(MPO"):
        read_image(tmp_path / "a.jpg")
    frames[0].save(tmp_path / "b.jpg", "MPO", save_all=True)
    assert read_image(tmp_path / "b.jpg").array.shape == (32, 32, 3)


def test_a_header_that_claims_gigabytes_is_refused_before_memory_is_asked_for(tmp_path):
    large = 30_000
    header = struct.pack(">IIBBBBB", large, large, 16, 2, 0, 0, 0)
    plain = png(8, 0, [b"abcd"])
    chunk = b"IHDR" + header
    whole = plain[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + plain[33:]
    size = {256: (4, (large,)), 257: (4, (large,)), 278: (4, (large,))}
    page = Page(noise(16, shape=(4, 4)), BLACK, 16, compression="deflate", tags=size)
    jpeg = bytearray(encoded(GREY[..., 0], "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", large, large)
    for name, data in (("a.png", whole), ("a.tif", write([page])), ("a.jpg", jpeg)):
        with pytest.raises(Unreadable, match=r"30000 x 30000 .* header is damaged"):
            read_image(put(tmp_path / name, data))


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="the system does not say its memory")
def test_what_exceeds_memory_is_refused_in_words(tmp_path):
    side = 2_000_000
    size = {256: (4, (side,)), 257: (4, (side,)), 278: (4, (side,)), 279: (4, (2**32 - 1,))}
    path = put(tmp_path / "a.tif", write([Page(GREY, BLACK, 8, compression="lzw", tags=size)]))
    with path.open("r+b") as file:
        file.truncate(2**33)  # a hole: nothing is stored
    with pytest.raises(Unreadable, match=r"too large for this computer: .* lower magnification"):
        read_image(path)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_images_above_pillows_limit_are_read(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 100)  # Pillow refuses twice as much
    picture = noise(8, shape=(40, 50))[..., 0]
    cv2.imwrite(str(tmp_path / f"a.{suffix}"), picture)
    same(read_image(tmp_path / f"a.{suffix}"), picture)
    cv2.imwrite(str(tmp_path / "a.jpg"), picture)
    assert read_image(tmp_path / "a.jpg").array.shape == (40, 50)


def test_a_mask_in_colour_is_never_merged_or_emptied_in_silence(tmp_path):
    path, half = tmp_path / "mask.png", np.zeros((8, 8), np.uint8)
    half[:4] = 255
    none, full = np.zeros_like(half), np.full_like(half, 255)

    def saved(*channels):
        PIL.Image.fromarray(np.dstack(channels)).save(path)
        return path

    with pytest.warns(ImageWarning, match="alpha"):
        assert read_mask(saved(half, half, half, full)).tolist() == (half > 0).tolist()
        assert read_mask(saved(half, none, none, half)).tolist() == (half > 0).tolist()
        assert not read_mask(saved(none, none, none, full)).any()
    assert read_mask(saved(none, none, half // 255)).tolist() == (half > 0).tolist()  # luma 0
    red_and_green = np.roll(half, 4, 0), half // 255 * np.uint8(130), none  # luma 76 both
    with pytest.raises(ValueError, match="some have the same luma"):
        read_mask(saved(*red_and_green))
    assert read_mask(saved(*red_and_green), level="any").all()
    for level in (None, "any"):
        for colour in (none, full):
            with (
                pytest.warns(ImageWarning),
                pytest.raises(ValueError, match="only its transparency draws"),
            ):
                read_mask(saved(colour, colour, colour, half), level=level)
