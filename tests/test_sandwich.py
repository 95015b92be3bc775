"""The sandwich: bounds from both sides of log p(x), exact where it is known, of images that are the model's own."""

import itertools
import math

import pytest
import torch
from small_models import all_images, moved_linear, quadrature, small_two_layer, small_vae

from course_lib.estimates import Estimate, log_mean_exp
from course_lib.training import load_checkpoint
from course_lib.vae import Annealing, LinearGaussianVAE, bidirectional_bounds, blocks

STARTS = ["prior", "encoder", "adapted"]


@pytest.mark.parametrize("make", [small_vae, small_two_layer], ids=["VAE", "TwoLayerVAE"])
@pytest.mark.parametrize("start", STARTS)
def test_log_evidence_lies_in_the_sandwich(make, start):
    model = make()
    exact_of = dict(zip(map(tuple, all_images().tolist()), quadrature(model, step=0.1).tolist(), strict=True))
    refreshment = 0.2 if start == "prior" else 1.0
    found = bidirectional_bounds(
        model, 150, Annealing(n_steps=4, n_chains=4, start=start, momentum_refreshment=refreshment, seed=1)
    )
    exact = torch.tensor([exact_of[tuple(image)] for image in found.images.tolist()])
    for distance in (exact - found.lower, found.upper - exact):
        error = float(distance.std()) / math.sqrt(len(distance))
        assert float(distance.mean()) > -4 * error
    for log_ratio in (found.forward.log_weights - exact, exact - found.reverse_log_weights):
        # What the bounds rest on: weights, and in reverse their inverses, are right on average.
        ratio = log_ratio.exp().mean(0)
        assert abs(float(ratio.mean()) - 1) < 4.5 * float(ratio.std()) / math.sqrt(len(ratio))


def test_sandwich_closes_with_more_steps():
    model = moved_linear()
    gaps = [bidirectional_bounds(model, 100, Annealing(n_steps=n_steps, n_chains=4)).gap for n_steps in (2, 8, 64)]
    for wide, narrow in itertools.pairwise(gaps):  # of the same images
        assert float((wide - narrow).mean()) > 3.5 * float((wide - narrow).std()) / math.sqrt(100)
    assert float(gaps[-1].mean()) < 0.5


def test_bounds_are_exact_where_the_start_is_the_posterior():
    model = LinearGaussianVAE.random(5, 2, seed=0)
    found = bidirectional_bounds(model, 8, Annealing(n_steps=5, n_chains=3, start="encoder"))
    exact = model.exact_log_likelihood(found.images).detach()
    torch.testing.assert_close(found.lower, exact, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.upper, exact, rtol=1e-12, atol=1e-12)
    # Up to rounding every draw weighs the same. An error is the root of a variance, which has lost the last digits.
    assert max(found.lower_std_error.max(), found.upper_std_error.max()) < 1e-7


def test_bounds_reduce_their_weights_and_say_so():
    found = bidirectional_bounds(moved_linear(), 12, Annealing(n_steps=3, n_chains=5))
    backwards = found.reverse_log_weights.numpy()
    assert found.upper.tolist() == pytest.approx(-log_mean_exp(-backwards))
    harmonic = [Estimate.from_log_weights(-column) for column in backwards.T]
    assert found.upper_std_error.tolist() == pytest.approx([one.std_error / one.value for one in harmonic])
    assert torch.equal(found.lower, found.forward.per_image)
    assert torch.equal(found.lower_std_error, found.forward.std_error)
    assert found.mean_gap.value == pytest.approx(float((found.upper - found.lower).mean()))
    assert found.mean_gap.std_error == pytest.approx(float(found.gap.std()) / math.sqrt(12))
    assert found.mean_lower == (pytest.approx(float(found.lower.mean())), found.forward.mean.std_error)
    assert found.mean_upper == (pytest.approx(float(found.upper.mean())), found.mean_gap.std_error)
    assert "simulated images with 5 chains of 3 steps each way" in str(found)


def test_simulated_images_are_the_model_s_own():
    model = moved_linear()
    found = bidirectional_bounds(model, 500, Annealing(n_steps=1, n_chains=2, step_size=0.1))
    with torch.no_grad():
        exact, weight = model.exact_log_likelihood(found.images), model.decoder.weight
        entropy = 0.5 * torch.logdet(2 * math.pi * math.e * (weight @ weight.T + model.noise_std**2 * torch.eye(4)))
    assert abs(float(exact.mean() + entropy)) < 4.5 * float(exact.std()) / math.sqrt(500)


def test_bounds_of_an_image_do_not_depend_on_how_many_follow(monkeypatch):
    model = moved_linear()
    many = bidirectional_bounds(model, 6, Annealing(n_steps=4, n_chains=3))
    monkeypatch.setattr(blocks, "_NUMBERS_ON_CPU", 1)
    few = bidirectional_bounds(model, 2, Annealing(n_steps=4, n_chains=3))
    for name in ("lower", "upper"):
        torch.testing.assert_close(getattr(few, name), getattr(many, name)[:2], rtol=1e-9, atol=1e-9)
    assert not torch.isclose(
        bidirectional_bounds(model, 2, Annealing(n_steps=4, n_chains=3, seed=1)).lower, few.lower
    ).any()


@pytest.mark.parametrize("start", STARTS)
def test_a_trained_model_is_bounded_from_both_sides(start):
    """784-200-200-50 in single precision; few steps, so that the bounds are far apart and surely in order."""
    model, _ = load_checkpoint("mnist-vae")
    found = bidirectional_bounds(model.eval(), 4, Annealing(n_steps=25, n_chains=4, start=start))
    assert found.images.unique().tolist() == [0, 1]
    assert found.forward.log_weights.isfinite().all()
    assert found.mean_gap.value > 0
    # Steps found from few moves are right for the long run too.
    assert 0.5 < float(found.forward.acceptance_rate.mean()) < 0.95
    assert all(parameter.grad is None for parameter in model.parameters())


# Bad input


@pytest.mark.parametrize(
    ("n_images", "told"),
    [
        (0, "n_images must be a whole number of at least 1; got 0"),
        (2.5, "n_images must be a whole number of at least 1; got 2.5"),
        (10**9, "n_images must be at most 100,000; got 1,000,000,000"),
    ],
)
def test_numbers_of_images_out_of_range_are_refused(n_images, told):
    with pytest.raises(ValueError, match=told):
        bidirectional_bounds(small_vae(), n_images)


def test_what_are_no_settings_is_refused():
    with pytest.raises(ValueError, match=r"settings must be an Annealing, such as Annealing\(n_steps=300\); got 300"):
        bidirectional_bounds(small_vae(), 2, 300)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("make", [small_vae, small_two_layer, lambda: moved_linear()], ids=["VAE", "two", "linear"])
def test_a_damaged_model_is_refused_before_it_simulates(make, value):
    model = make()
    name, weight = list(model.decoder.named_parameters())[-1]
    with torch.no_grad():
        weight.view(-1)[0] = value
    with pytest.raises(ValueError, match=rf"log-weights are not finite: .* are damaged.*look at decoder\.{name}\."):
        bidirectional_bounds(model, 2, Annealing(n_steps=3))
