"""Noise: no two keys share draws, published ones stay, and an image has its own in whatever batch or process."""

import itertools

import numpy as np
import pytest
import torch
from small_models import all_images, small_two_layer, small_vae

from course_lib.vae.noise import FromCPU, Part, Purpose, for_each_image, keyed, normal, uniform

CPU, DTYPE = torch.device("cpu"), torch.float64
SEEDS = [0, 1, 2, 6, 2**32 - 1, *(2**32 + j for j in range(7)), 2**33, 2**40, 2**40 + 1, 2**63, 2**64, 2**64 + 1, 2**96]
NUMBERS = [*range(8), 2**31, 2**32 - 2, 2**32 - 1]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# Keys


def test_no_two_keys_share_their_draws():
    keys = list(itertools.product(Purpose, SEEDS, NUMBERS))
    states = {keyed(CPU, *key).initial_seed() for key in keys}
    assert len(states) == len(keys)


def test_the_same_key_draws_the_same():
    one, other = (torch.rand(5, generator=keyed(CPU, Purpose.TUNING, 2**40, 7)) for _ in range(2))
    assert torch.equal(one, other)


@pytest.mark.parametrize("seed", [0, 3, 2**32 - 1])
@pytest.mark.parametrize("image", [0, 1, 9_999, 2**32 - 1])
def test_evidence_has_the_draws_of_the_published_numbers(seed, image):
    """Those in the cards of the trained models came from a key of two words: the seed and the image."""
    (state,) = np.random.SeedSequence((seed, image)).generate_state(1, np.uint64)
    published = torch.rand(5, generator=seeded(int(state) >> 1))
    assert torch.equal(torch.rand(5, generator=keyed(CPU, Purpose.EVIDENCE, seed, image)), published)


def test_a_number_of_two_words_could_be_taken_for_another_key_and_is_refused():
    words = np.random.SeedSequence((5, 2**33, 0)).generate_state(4)
    assert (words == np.random.SeedSequence((5, 0, Purpose.TUNING)).generate_state(4)).all()
    with pytest.raises(ValueError, match=r"numbered from 0 to 2\*\*32 - 1; got 8589934592"):
        keyed(CPU, Purpose.EVIDENCE, 5, 2**33)


@pytest.mark.parametrize("bad", [-1, 1.5, None, "0", True])
def test_keys_are_whole_numbers(bad):
    with pytest.raises(ValueError, match="seed must be a whole number of at least 0; got"):
        keyed(CPU, Purpose.EVIDENCE, bad, 0)
    with pytest.raises(ValueError, match="the number of a draw must be a whole number of at least 0; got"):
        keyed(CPU, Purpose.EVIDENCE, 0, bad)


# Images


@pytest.mark.parametrize(("draw", "after"), [(normal, (2,)), (uniform, ())], ids=["normal", "uniform"])
def test_noise_of_an_image_does_not_depend_on_its_batch(draw, after):
    whole = draw((3, 5, *after), [seeded(image) for image in range(5)], CPU, DTYPE)
    part = draw((3, 2, *after), [seeded(4), seeded(1)], CPU, DTYPE)
    assert torch.equal(part, whole[:, [4, 1]])
    assert len(whole.unique()) == whole.numel()


def test_one_source_is_torch_s_own_draw():
    assert torch.equal(normal((3, 5, 2), seeded(), CPU, DTYPE), torch.randn(3, 5, 2, generator=seeded(), dtype=DTYPE))
    torch.manual_seed(3)
    assert torch.equal(normal((4, 2), None, CPU, DTYPE), torch.randn(4, 2, generator=seeded(3), dtype=DTYPE))


# Processes


PARTS = [slice(0, 2), slice(2, 5)]


def test_parts_together_are_the_noise_of_the_whole_batch():
    whole = normal((3, 5, 2), seeded(), CPU, DTYPE)
    parts = [normal((3, len(range(5)[part]), 2), Part(seeded(), 5, part), CPU, DTYPE) for part in PARTS]
    assert torch.equal(torch.cat(parts, dim=1), whole)


@pytest.mark.parametrize("make", [small_vae, small_two_layer], ids=["VAE", "TwoLayerVAE"])
def test_processes_together_have_the_log_weights_of_one(make):
    """Also where a second layer draws after the first: each process goes on from the same state."""
    model, x = make(), all_images()[:5]
    whole = model.log_weights(x, 4, seeded())
    parts = [model.log_weights(x[part], 4, Part(seeded(), 5, part)) for part in PARTS]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-12, atol=1e-12)


# Bad input


@pytest.mark.parametrize("draw", [lambda source: normal((3, 5, 2), source, CPU, DTYPE),
                                  lambda source: uniform((3, 5), source, CPU, DTYPE)])  # fmt: skip
def test_sources_that_are_none_are_refused(draw):
    with pytest.raises(ValueError, match="one generator for each of 5 images is needed; got 4"):
        draw([seeded()] * 4)
    for source in (0, [0] * 5, np.random.default_rng(0), "seeds"):
        with pytest.raises(ValueError, match=r"must be a generator, such as torch.Generator\(\).manual_seed\(0\); got"):
            draw(source)


@pytest.mark.parametrize("source", [Part(seeded(), 5, slice(0, 2)), FromCPU(seeded())], ids=type)
def test_a_source_for_a_batch_has_no_generator_for_each_image(source):
    with pytest.raises(ValueError, match="made image by image: give a generator for each, not one for a batch"):
        for_each_image(source, 2)


def test_noise_from_the_cpu_is_the_same_wherever_it_goes():
    expected = normal((3, 5, 2), seeded(), torch.device("cpu"), DTYPE)
    assert normal((3, 5, 2), FromCPU(seeded()), torch.device("cpu"), DTYPE).equal(expected)
    moved = normal((3, 5, 2), FromCPU(seeded()), torch.device("meta"), DTYPE)
    assert moved.is_meta and moved.shape == expected.shape


def test_a_generator_on_another_device_is_refused():
    with pytest.raises(ValueError, match=r"generator is on cpu and draws are made on meta; make it there"):
        normal((3, 5, 2), seeded(), torch.device("meta"), DTYPE)
