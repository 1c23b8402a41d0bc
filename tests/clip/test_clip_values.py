"""What a detector sees of stored values and axes: fixed at fit, never guessed from one image."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

from synthmed import io  # noqa: E402
from synthmed_clip import Detector, NearestPatch, fit  # noqa: E402
from synthmed_clip.cli.main import main  # noqa: E402
from synthmed_clip.data.images import collect, eight_bit  # noqa: E402
from synthmed_clip.data.values import Values, values_of  # noqa: E402

WIDER = {"uint16": 257, "uint32": 16843009}


@pytest.fixture(scope="module")
def fitted(backbone, normals):
    """A detector by the dtype of its support images, the same pictures."""
    made = {"uint8": fit(normals, NearestPatch(), backbone=backbone)}
    for dtype, factor in WIDER.items():
        images = [image.astype(dtype) * dtype_of(dtype)(factor) for image in normals]
        made[dtype] = fit(images, NearestPatch(), backbone=backbone)
    return made


def dtype_of(name):
    return np.dtype(name).type


def score(detector, image, **options):
    return detector.predict(image, **options).score


def test_the_same_picture_scores_the_same_whatever_its_bits(fitted, normals):
    strange = 255 - normals[0] // 2
    for detector in fitted.values():
        scores = {score(detector, strange)}
        for dtype, factor in WIDER.items():
            scores.add(score(detector, strange.astype(dtype) * dtype_of(dtype)(factor)))
        assert len(scores) == 1


@given(
    low=st.integers(0, 200),
    width=st.integers(1, 55),
    values=st.lists(st.integers(0, 255), min_size=1, max_size=40),
)
def test_bits_change_no_level_for_any_range(low, width, values):
    seen = Values((float(low), float(low + width)), "uint8")
    eight = np.array([values], np.uint8)
    expected = [round(min(max((v - low) * 255 / width, 0), 255)) for v in values]
    for dtype, factor in (("uint8", 1), *WIDER.items()):
        found = seen.to_bytes(io.Image(eight.astype(dtype) * dtype_of(dtype)(factor)))
        assert found.dtype == np.uint8
        assert np.array_equal(found, seen.to_bytes(io.Image(eight)))
        assert np.abs(found.astype(int) - expected).max() <= 1  # ties round either way


def test_a_hot_pixel_is_one_pixel_and_no_stretch(backbone, normals):
    support = [image.astype(np.uint16) * 16 for image in normals]
    detector = fit(support, NearestPatch(), backbone=backbone)
    low, high = detector.values.span
    assert detector.values.unit == "uint16" and 0 <= low < high <= 255 * 16
    hot = support[0].copy()
    hot[3, 4] = 65535
    bright = support[0].copy()
    bright[3, 4] = int(np.ceil(high))
    assert score(detector, hot) == score(detector, bright)
    before, after = (
        eight_bit(io.Image(image), detector.values).array for image in (support[0], hot)
    )
    assert np.flatnonzero(before != after).tolist() == [3 * 60 + 4]


def test_padding_below_the_range_is_its_lower_end(backbone, normals):
    support = [
        io.Image(image.astype(np.int16) * 4 - 500, value_range=(-500, 520)) for image in normals
    ]
    detector = fit(support, NearestPatch(), backbone=backbone)
    assert detector.values == Values((-500.0, 520.0), "measured")
    padded, plain = support[0].array.copy(), support[0].array.copy()
    padded[:6], plain[:6] = -32768, -500
    assert score(detector, padded) == score(detector, plain)
    as_float = io.Image(plain.astype(np.float64))  # another library's reader
    assert score(detector, as_float) == score(detector, plain)


def test_windows_that_differ_are_each_images_own(backbone, normals):
    images = [
        io.Image(image.astype(np.int32) * (n + 1), value_range=(0, 255 * (n + 1)))
        for n, image in enumerate(normals)
    ]
    detector = fit(images, NearestPatch(), backbone=backbone)
    assert detector.values == Values("window", "any")
    plain = fit(normals, NearestPatch(), backbone=backbone)
    strange = 255 - normals[1] // 2
    seen = io.Image(strange.astype(np.int32) * 9, value_range=(0, 255 * 9))
    assert score(detector, seen) == score(plain, strange)
    with pytest.raises(ValueError, match=r"of shape \(50, 60\): value_range='window': there is an"):
        detector.predict(strange.astype(np.int32))


def test_a_rule_of_fit_is_kept(backbone, normals, tmp_path):
    images = [image.astype(np.float32) / 255 for image in normals]
    for rule, expected in (
        ((0, 1), Values((0.0, 1.0), "measured")),
        (("percentile", 0, 100), Values((0.0, 1.0), "measured")),
        ("dtype", Values("dtype", "any")),
    ):
        given_images = normals if rule == "dtype" else images
        detector = fit(given_images, NearestPatch(), backbone=backbone, value_range=rule)
        assert detector.values == expected
        detector.save(tmp_path / "d")
        again = Detector.load(tmp_path / "d", backbone=backbone)
        assert again.values == expected
        assert score(again, given_images[0]) == score(detector, given_images[0])
        assert Values.from_dict(json.loads(json.dumps(asdict(expected)))) == expected
    plain = fit(normals, NearestPatch(), backbone=backbone)
    signed = (normals[1].astype(np.int32) * 257 - 32768).astype(np.int16)
    assert score(detector, signed) == score(plain, normals[1])  # by "dtype"
    assert score(plain, normals[1] / 255.0, value_range=(0, 1)) == score(plain, normals[1])


def test_other_kinds_of_values_are_refused_by_name(fitted, backbone, normals):
    detector = fitted["uint8"]
    for image in (normals[0] / 255.0, normals[0].astype(np.int16)):
        with pytest.raises(ValueError, match=r"holds measured values .*support images uint8: say"):
            detector.predict(image)
        with pytest.raises(
            ValueError, match=r"hold measured values .* and uint8: bring them to one"
        ):
            fit([normals[0], image], NearestPatch(), backbone=backbone)
    with pytest.raises(ValueError, match="is for fit; images to be scored"):
        detector.predict(normals[0], value_range=("percentile", 1, 99))
    with pytest.raises(ValueError, match="gives 0 and 0"):
        fit([np.zeros((40, 40))], NearestPatch(), backbone=backbone)
    for data in ({"span": [0, 1], "unit": "byte"}, {"span": ["percentile", 1, 2], "unit": "any"}):
        with pytest.raises(ValueError, match=r"unit is|span is"):
            Values.from_dict(data)


def test_no_axis_is_guessed_from_its_length(fitted, normals):
    detector = fitted["uint8"]
    rng = np.random.default_rng(0)
    first = rng.integers(0, 256, (3, 40, 30), np.uint8)
    expected = score(detector, io.Image(first, channel_axis=0))
    last = np.moveaxis(first, 0, -1)
    assert score(detector, first, channel_axis=0) == expected
    assert score(detector, last, channel_axis=-1) == expected
    assert score(detector, torch.from_numpy(first), channel_axis=0) == expected
    assert score(detector, PIL.Image.fromarray(last)) == expected
    for array in (first, last, torch.from_numpy(first), np.stack(normals)):
        with pytest.raises(ValueError, match=r"not a volume .*needs channel_axis=, several images"):
            detector.predict(array)
    with pytest.raises(ValueError, match="has 4 channels along axis -1; expected 1"):
        detector.predict(np.zeros((40, 30, 4), np.uint8), channel_axis=-1)
    with pytest.raises(ValueError, match="2 or 3 spatial axes"):
        detector.predict(np.zeros((2, 3, 40, 30), np.uint8))


def test_tensors_and_pillows_images_are_their_arrays(fitted, normals):
    detector, image = fitted["uint8"], normals[2]
    expected = score(detector, image)
    assert score(detector, torch.from_numpy(image)) == expected
    assert score(detector, PIL.Image.fromarray(image)) == expected
    wide = PIL.Image.fromarray(image.astype(np.uint16) * 257)
    assert score(detector, wide) == expected
    half = torch.from_numpy(image).to(torch.bfloat16).requires_grad_()
    seen = score(detector, half.round(), value_range=(0, 255))
    assert seen == score(detector, half.detach().float().numpy().astype(np.uint8))
    colour = PIL.Image.fromarray(np.stack([image] * 3, -1))
    for mode in ("P", "RGBA", "CMYK", "LA", "HSV"):
        with pytest.raises(ValueError, match=f"of mode {mode} is no plain grey or RGB image"):
            detector.predict(
                colour.convert("RGB").convert("L" if mode == "LA" else "RGB").convert(mode)
            )
    turned = PIL.Image.fromarray(image)
    turned.getexif()[0x0112] = 6
    with pytest.raises(ValueError, match="has an orientation tag: pass its path"):
        detector.predict(turned)


def test_many_images_of_eight_bits_are_not_kept():
    """A support set of 8 bits is looked at one image at a time."""
    alive, most = [0], [0]

    class Counted(np.ndarray):
        def __del__(self):
            alive[0] -= 1

    def images():
        for _ in range(8):
            alive[0] += 1
            most[0] = max(most[0], alive[0])
            yield io.Image(np.zeros((4, 4), np.uint8).view(Counted))

    assert values_of(images()) == Values()
    assert most[0] <= 3


def test_fit_says_what_it_took_and_keeps_the_range(configs, normals, tmp_path, capsys):
    folder = tmp_path / "scans"
    (folder / "deeper").mkdir(parents=True)
    for n, image in enumerate(normals):
        PIL.Image.fromarray(image.astype(np.uint16) * 16).save(folder / f"{n}.png")
    PIL.Image.fromarray(normals[0]).save(folder / "deeper" / "0.png")
    (folder / "notes.txt").touch()
    (folder / ".hidden").touch()
    model = tmp_path / "m.safetensors"
    base = f"--backbone {configs['vit']} --device cpu"
    import open_clip
    from safetensors.torch import save_file

    with torch.random.fork_rng(devices=[]):
        net = open_clip.CLIP(**json.loads(configs["vit"].read_text()))
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    base += f" --weights {tmp_path / 'w.safetensors'}"
    fitted = f"fit {folder} -o {model} {base} --value-range 0 4080 nearest-patch"
    assert main(fitted.split()) == 0
    told = capsys.readouterr().out
    assert "6 taken; not taken: 1 images in its folders, 1 .txt, 1 hidden" in told
    assert "values 0 to 4080 (uint16)" in told
    detector = Detector.load(model, device="cpu")
    assert detector.values == Values((0.0, 4080.0), "uint16")
    out = tmp_path / "out"
    assert main(f"predict {model} {folder / '1.png'} -o {out} --no-progress".split()) == 0
    found = json.loads((out / "scores.json").read_text())["images"][0]["score"]
    assert found == detector.predict(folder / "1.png").score
    wrong = f"predict {model} {folder} -o {tmp_path / 'no'} --value-range percentile 1 99"
    assert main(wrong.split()) == 1
    assert "is for fit" in capsys.readouterr().err


def test_items_are_listed_unread(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    items, single = collect(tmp_path)
    assert items == [tmp_path / "a.png"] and not single
    with pytest.raises(ValueError, match="is a folder"):
        collect([tmp_path])
