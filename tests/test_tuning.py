"""Step sizes: found before the first chain starts, for each image and part of the path, or refused."""

import pytest
import torch
from small_models import all_images, moved_linear, small_vae

from course_lib.vae import Annealing, LinearGaussianVAE, annealed_importance_sampling, bidirectional_bounds, tuning


def test_step_size_is_frozen_before_the_first_chain():
    """More chains of other draws, or none of them: the same step sizes, image by image."""
    model = moved_linear()
    x = model.simulate(5, seed=0)
    few = annealed_importance_sampling(model, x, Annealing(n_steps=20, n_chains=2))
    many = annealed_importance_sampling(model, x, Annealing(n_steps=20, n_chains=64))
    torch.testing.assert_close(few.step_size, many.step_size, rtol=1e-10, atol=1e-10)
    assert few.step_size.shape == (19, 5)
    given = annealed_importance_sampling(model, x, Annealing(n_steps=20, n_chains=2, step_size=0.2))
    torch.testing.assert_close(given.step_size, torch.full((19, 5), 0.2, dtype=torch.float64))


@pytest.mark.parametrize("target", [0.6, 0.9])
def test_tuned_steps_meet_the_target(target):
    model = LinearGaussianVAE.random(20, 10, seed=0)
    x = model.simulate(10, seed=0)
    found = annealed_importance_sampling(model, x, Annealing(n_steps=60, n_chains=20, target_acceptance=target))
    assert abs(float(found.acceptance_rate.mean()) - target) < 0.06
    # The posterior is narrower than the prior, so steps must shrink on the way.
    assert (found.step_size[-1] < found.step_size[0]).all()


def test_steps_are_interpolated_at_the_same_part_of_the_path():
    knots = torch.arange(1.0, 61)[:, None].expand(-1, 2)  # at the fractions 1/61, 2/61, ...
    for n_steps in (2, 61, 500):
        wanted = (torch.arange(1, n_steps) / n_steps * 61).clamp(1, 60)
        torch.testing.assert_close(tuning._along(knots, n_steps)[:, 1], wanted, rtol=1e-5, atol=1e-5)
    assert tuning._along(knots, 1).shape == (0, 2)


@pytest.mark.parametrize("step_size", [3.0, 1e3, 1e300])
def test_a_step_size_that_diverges_says_so_with_the_acceptance_rate(step_size):
    model = moved_linear()
    told = rf"diverge with the step size {step_size:.3g}: near the posterior of image \d+, the acceptance rate in a .*0"
    told = told.replace("+", r"\+", 1) if "+" in f"{step_size:.3g}" else told
    with pytest.raises(ValueError, match=told):
        annealed_importance_sampling(model, model.simulate(3, 0), Annealing(n_steps=5, step_size=step_size))
    with pytest.raises(ValueError, match="take a smaller one, or let it be tuned"):
        bidirectional_bounds(model, 3, Annealing(n_steps=5, step_size=step_size))


def test_the_image_whose_dynamics_diverge_is_named():
    model = moved_linear()
    x = model.simulate(3, 0)
    with pytest.raises(ValueError, match=r"of image 1[012], the acceptance rate in a pilot run is \d"):
        annealed_importance_sampling(model, x, Annealing(n_steps=5, step_size=3.0), first_image=10)


def test_weights_that_spoil_only_the_gradient_are_named():
    """An infinite weight into a tanh: the unit is 1 or -1, and its derivative no number."""
    model = small_vae()
    with torch.no_grad():
        model.decoder[0].weight[0, 0] = torch.inf
    with pytest.raises(ValueError, match=r"the model's weights are damaged.*look at decoder\.0\.weight"):
        annealed_importance_sampling(model, all_images()[:2], Annealing(n_steps=3))
