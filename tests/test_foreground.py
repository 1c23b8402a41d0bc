"""The proposed region of interest, on dark and on white grounds."""

import numpy as np
import pytest

from synthmed import foreground

Y, X = np.mgrid[:224, :224]
DISC = (Y - 112) ** 2 + (X - 100) ** 2 < 60**2


def shares(found, body):
    return found[body].mean(), found[~body].mean()


@pytest.mark.parametrize("ground, tissue", [(10, 150), (245, 150), (255, 60), (0, 40)])
@pytest.mark.parametrize("channels", [None, 3])
def test_the_body_is_found_on_an_even_ground(ground, tissue, channels):
    rng = np.random.default_rng(0)
    shape = DISC.shape if channels is None else (*DISC.shape, channels)
    image = np.clip(rng.normal(ground, 2, shape), 0, 255)
    image[DISC] = rng.normal(tissue, 8, image[DISC].shape)
    inside, outside = shares(
        foreground(image.astype(np.uint8), channel_axis=None if channels is None else -1), DISC
    )
    assert inside > 0.95 and outside < 0.05


def test_an_inverted_x_ray_gives_what_the_x_ray_gives():
    image = np.where(DISC, 120 + X / 4, 5).astype(np.uint8)
    inside, outside = shares(foreground(255 - image), DISC)
    assert inside > 0.95 and outside < 0.05


@pytest.mark.parametrize("shape", [(2048, 1500), (1025, 300), (2, 1100, 400)])
def test_of_a_large_image_some_pixels_are_looked_at(shape):
    y, x = np.mgrid[: shape[-2], : shape[-1]]
    body = (y / shape[-2] - 0.5) ** 2 + (x / shape[-1] - 0.5) ** 2 < 0.09
    body = np.broadcast_to(body, shape)
    noise = np.random.default_rng(0).random(shape, np.float32)
    found = foreground(body + 0.1 * noise)
    assert found.shape == shape
    inside, outside = shares(found, body)
    assert inside > 0.95 and outside < 0.05


@pytest.mark.parametrize("side", [64, 1200])
def test_values_that_are_not_finite_are_refused(side):
    image = np.zeros((side, side))
    image[0, 1] = np.nan
    with pytest.raises(ValueError, match="image must be finite"):
        foreground(image)
