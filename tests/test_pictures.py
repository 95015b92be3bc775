"""Pictures: where each image is, to the pixel, and that they show what the model makes of the same draws each time."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_trainings import LEVELS, TWO_LAYERS, tiny

from course_lib.training import build_model
from course_lib.training.pictures import (
    MOST,
    grid,
    picture_of_reconstructions,
    picture_of_samples,
    reconstructions,
    samples,
)
from course_lib.vae import VAE, ImageVAE, LadderVAE, LinearGaussianVAE

COLOUR = {"latent_dim": 3, "network": "dense", "network_arguments": {"width": 10, "n_layers": 1}}
MODELS = {
    "bits": lambda: build_model(tiny()),
    "two layers": lambda: build_model(tiny(model="TwoLayerVAE", arguments=TWO_LAYERS)),
    "levels": lambda: build_model(tiny(model="ImageVAE", arguments=LEVELS)),
    "colour": lambda: ImageVAE((3, 4, 8), likelihood="logistic-mixture", levels=256, components=2, **COLOUR),
    "flows": lambda: ImageVAE((1, 8, 8), posterior_flows=1, prior_flows=1, flow_width=8, **COLOUR),
    "ladder": lambda: LadderVAE((3, 8, 8), widths=(4, 4, 8), blocks=(0, 0, 1), likelihood="categorical", levels=4),
}


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(0)
    return MODELS[request.param]()


def shape_of(model):
    return tuple(getattr(model, "shape", (1, 8, 8)))


def images_of(model, n, seed=0):
    """Whatever is an image for a model."""
    levels = torch.randint(model.levels, (n, *shape_of(model)), generator=torch.Generator().manual_seed(seed))
    return levels / (model.levels - 1)


def pixels_of(picture):
    return np.asarray(Image.open(io.BytesIO(picture)))


def as_bytes(images, shape):
    return (255 * images.detach().numpy()).round().astype(np.uint8).reshape(-1, *shape)


# Where each image is


def numbered(n, shape=(1, 2, 2)):
    """Images ``[n, *shape]`` that are 1, 2, ... all over."""
    return np.broadcast_to(np.arange(1, n + 1, dtype=np.uint8)[:, None, None, None], (n, *shape))


def test_images_are_in_rows_with_lines_between_them():
    assert grid(numbered(4)).tolist() == [
        [[1], [1], [128], [2], [2]],
        [[1], [1], [128], [2], [2]],
        [[128]] * 5,
        [[3], [3], [128], [4], [4]],
        [[3], [3], [128], [4], [4]],
    ]


def test_a_last_row_that_is_not_full_is_grey():
    whole, part = grid(numbered(6, (1, 1, 1))), grid(numbered(5, (1, 1, 1)))
    assert whole[:, :, 0].tolist() == [[1, 128, 2, 128, 3], [128] * 5, [4, 128, 5, 128, 6]]
    assert part[:, :, 0].tolist() == [[1, 128, 2, 128, 3], [128] * 5, [4, 128, 5, 128, 128]]


def test_a_row_of_each_stack_stands_below_that_of_the_one_before_and_a_wider_line_below_all():
    one = numbered(5, (1, 1, 1))
    assert grid(one, 10 * one)[:, :, 0].tolist() == [
        [1, 128, 2, 128, 3, 128, 4],
        [128] * 7,
        [10, 128, 20, 128, 30, 128, 40],
        *[[128] * 7] * 3,
        [5, *[128] * 6],
        [128] * 7,
        [50, *[128] * 6],
    ]


def test_colours_come_last_and_no_image_is_turned():
    image = np.arange(12, dtype=np.uint8).reshape(1, 3, 2, 2)
    assert grid(image).tolist() == [[[0, 4, 8], [1, 5, 9]], [[2, 6, 10], [3, 7, 11]]]


@pytest.mark.parametrize("n, rows, columns", [(1, 1, 1), (2, 1, 2), (10, 3, 4), (32, 6, 6), (64, 8, 8)])
def test_there_are_about_as_many_rows_as_columns(n, rows, columns):
    assert grid(numbered(n)).shape == (3 * rows - 1, 3 * columns - 1, 1)
    assert grid(numbered(1), numbered(1)).shape == (5, 2, 1)


# What they show


def test_samples_are_the_mean_images_of_draws_from_the_prior(model):
    found = samples(model, 5, seed=3)
    z = model.sample_prior(5, torch.Generator().manual_seed(3))
    assert np.array_equal(found, as_bytes(model.mean_image(z), shape_of(model)))
    # Its draws, and not always the same image.
    assert len({image.tobytes() for image in found}) > 1


def test_reconstructions_are_the_mean_images_of_a_draw_from_each_posterior(model):
    images = images_of(model, 5)
    found = reconstructions(model, images, seed=3)
    z = model.posterior(images).rsample(1, torch.Generator().manual_seed(3))[0]
    assert np.array_equal(found, as_bytes(model.mean_image(z), shape_of(model)))


def test_the_same_seed_is_the_same_picture_and_nothing_else_is_drawn_from(model):
    images = images_of(model, 70)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    once = picture_of_samples(model, 70), picture_of_reconstructions(model, images)
    assert torch.get_rng_state().equal(before)
    torch.manual_seed(1)
    assert (picture_of_samples(model, 70), picture_of_reconstructions(model, images)) == once
    assert picture_of_samples(model, 70, seed=1) != once[0]
    assert all(p.grad is None for p in model.parameters())


def test_a_picture_has_the_images_enlarged_and_their_colours(model):
    channels, height, width = shape_of(model)
    images, times = images_of(model, 2), 64 // height
    pixels = pixels_of(picture_of_reconstructions(model, images))
    colours = (3,) if channels == 3 else ()
    assert pixels.shape == (2 * 64 + 1, 2 * times * width + 1, *colours)
    # One of the enlarged pixels each.
    first = pixels[:64:times, : times * width : times].reshape(height, width, channels)
    assert np.array_equal(first.transpose(2, 0, 1), as_bytes(images, shape_of(model))[0])
    above = pixels[:64, : times * width]
    assert np.array_equal(above, first.reshape(height, width, *colours).repeat(times, 0).repeat(times, 1))


def test_large_images_are_as_they_are():
    model = ImageVAE((1, 100, 40), **COLOUR)
    assert pixels_of(picture_of_samples(model, 2)).shape == (100, 81)


def test_few_images_are_in_memory_at_once(model, monkeypatch):
    mean_image, posterior, taken = model.mean_image, model.posterior, []
    monkeypatch.setattr(model, "mean_image", lambda z: taken.append(len(z)) or mean_image(z))
    monkeypatch.setattr(model, "posterior", lambda x: taken.append(len(x)) or posterior(x))
    assert samples(model, 70).shape == reconstructions(model, images_of(model, 70)).shape == (70, *shape_of(model))
    assert taken == [16] * 4 + [6] + [16] * 8 + [6] * 2


def test_a_shape_that_a_model_does_not_know_can_be_given():
    model = VAE(6, hidden=(5,), latent_dim=2)
    with pytest.raises(
        ValueError, match=r"^an image of this model has 6 numbers, which make no square: give its shape"
    ):
        samples(model, 3)
    assert samples(model, 3, shape=(1, 2, 3)).shape == (3, 1, 2, 3)
    assert reconstructions(model, torch.zeros(3, 1, 3, 2)).shape == (3, 1, 3, 2)


def test_other_channels_than_grey_and_colour_are_shown_by_their_mean():
    model = ImageVAE((2, 4, 4), **COLOUR)
    mean = model.mean_image(model.sample_prior(3, torch.Generator().manual_seed(0))).view(3, 2, 4, 4).mean(1)
    assert np.array_equal(samples(model, 3), as_bytes(mean, (1, 4, 4)))


def test_real_numbers_are_cut_to_what_can_be_shown():
    model = LinearGaussianVAE.random(4, 2, seed=0)
    with torch.no_grad():
        model.decoder.bias.copy_(torch.tensor([-100.0, 100.0, -100.0, 100.0]))
    assert samples(model, 2)[:, 0].tolist() == [[[0, 255], [0, 255]]] * 2


def test_a_model_in_double_precision_is_drawn_too(model):
    model.double()
    assert samples(model, 3).std() > 0
    assert reconstructions(model, images_of(model, 3).double()).std() > 0


# What makes no sense


@pytest.mark.parametrize(
    "n, seed, complaint",
    [
        (0, 0, "n must be a whole number of at least 1; got 0"),
        (1.5, 0, "n must be a whole number of at least 1; got 1.5"),
        (MOST + 1, 0, "n must be at most 1,000; got 1,001"),
        (1, -1, "seed must be a whole number of at least 0; got -1"),
        (1, 2**63, "seed must be at most 9,223,372,036,854,775,807"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(n, seed, complaint):
    with pytest.raises(ValueError, match=f"^{complaint}"):
        samples(MODELS["bits"](), n, seed)


@pytest.mark.parametrize(
    "images, complaint",
    [
        (torch.zeros(0, 1, 8, 8), "the number of images must be a whole number of at least 1; got 0"),
        (torch.zeros(2, 64), r"images must have shape \[n, channels, height, width\]; got \[2, 64\]"),
        (torch.zeros(MOST + 1, 1, 8, 8), "the number of images must be at most 1,000; got 1,001"),
        (
            torch.zeros(2, 1, 8, 9),
            r"images must have shape \[batch, ...\] with 64 numbers an image; got \[2, 1, 8, 9\]",
        ),
        (torch.full((2, 1, 8, 8), 2.0), "pixels must lie between 0 and 1; image 0 has values from 2"),
    ],
    ids=["none", "flat", "too many", "too large", "too bright"],
)
def test_images_that_cannot_be_reconstructed_are_one_sentence(images, complaint):
    with pytest.raises(ValueError, match=f"^{complaint}"):
        picture_of_reconstructions(MODELS["bits"](), images)


def test_no_model_is_one_sentence():
    with pytest.raises(ValueError, match=r"^model must be a LatentVariableModel; got a tuple\."):
        samples((1, 2), 3)
