"""Annealing: exact where log p(x) is known, and a sandwich where it is not."""

import io
import itertools
import math
import sys

import pytest
import torch
from scipy import stats
from small_models import all_images, moved_linear, quadrature, small_two_layer, small_vae

from course_lib.estimates import Estimate, log_mean_exp, pareto_k
from course_lib.training import load_checkpoint
from course_lib.vae import LinearGaussianVAE, annealing
from course_lib.vae.annealing import annealed_importance_sampling, bidirectional_bounds
from course_lib.vae.hamiltonian import Path
from course_lib.vae.noise import Purpose, keyed

STARTS = ["prior", "encoder"]


def test_each_leapfrog_step_takes_one_gradient(monkeypatch):
    model, seen = small_vae(), []
    at = Path.at
    monkeypatch.setattr(Path, "at", lambda path, z: (seen.append(len(z)), at(path, z))[1])
    annealed_importance_sampling(model, all_images()[:2], n_steps=7, n_chains=4, n_leapfrog=5)
    assert seen.count(4) == 1 + 6 * 5
    n_pilot = annealing._WARM_UP_MOVES + annealing._PILOT_MOVES
    assert seen.count(annealing._PILOT_CHAINS) == 1 + n_pilot * 5


# Right


@pytest.mark.parametrize("refreshment", [1.0, 0.2], ids=["all", "partial"])
@pytest.mark.parametrize("schedule", ["sigmoid", "linear"])
@pytest.mark.parametrize("start", STARTS)
def test_weights_average_to_the_exact_answer_on_a_linear_model(start, schedule, refreshment):
    model = moved_linear()
    x = model.simulate(20, seed=0)
    found = annealed_importance_sampling(
        model, x, n_steps=10, n_chains=1_000, start=start, schedule=schedule, momentum_refreshment=refreshment
    )
    ratio = (found.log_weights - model.exact_log_likelihood(x).detach()).exp()
    # Weights of other images are independent, so the mean of all is as good as its error says.
    error = ratio.std(0) / math.sqrt(len(ratio))
    assert abs(float((ratio.mean(0) - 1).sum() / (error**2).sum().sqrt())) < 4
    assert ((ratio.mean(0) - 1) / error).abs().max() < 5
    assert float(found.std_error.max()) < 0.2  # so that being within errors says something


@pytest.mark.parametrize("make", [small_vae, small_two_layer], ids=["VAE", "TwoLayerVAE"])
@pytest.mark.parametrize("start", STARTS)
def test_weights_average_to_the_exact_answer_of_neural_networks(make, start):
    model = make()
    exact = quadrature(model, step=0.1)[::3]
    found = annealed_importance_sampling(model, all_images()[::3], n_steps=6, n_chains=500, start=start, seed=3)
    ratio = (found.log_weights - exact).exp()
    error = ratio.std(0) / math.sqrt(len(ratio))
    assert ((ratio.mean(0) - 1) / error).abs().max() < 5
    assert abs(float((ratio.mean(0) - 1).sum() / (error**2).sum().sqrt())) < 4


def test_one_step_from_the_encoder_is_importance_sampling():
    model = moved_linear()
    x = model.simulate(4, seed=0)
    found = annealed_importance_sampling(model, x, n_steps=1, n_chains=50, seed=2, start="encoder")
    with torch.no_grad():
        log_w = model.log_weights(x, 50, annealing._generators(x.device, 2, range(4), annealing._CHAINS))
    torch.testing.assert_close(found.log_weights, log_w, rtol=1e-12, atol=1e-12)
    assert found.acceptance_rate.isnan().all()
    assert found.step_size.shape == (0, 4)


def test_more_steps_make_weights_more_even():
    model = moved_linear()
    x = model.simulate(20, seed=0)
    runs = [annealed_importance_sampling(model, x, n_steps=n, n_chains=100) for n in (2, 8, 32)]
    spread = [float(run.log_weights.var(0).mean()) for run in runs]
    assert spread[0] > 2 * spread[1] > 4 * spread[2]


def test_annealing_from_the_prior_finds_what_importance_sampling_from_it_does_not():
    model = LinearGaussianVAE.random(20, 10, seed=0)
    x = model.simulate(10, seed=0)
    exact = model.exact_log_likelihood(x).detach()
    leap, walk = (annealed_importance_sampling(model, x, n_steps=n, n_chains=20) for n in (1, 60))
    assert (leap.per_image < exact - 5).all()
    assert float((exact - walk.per_image).mean()) < 2


def test_single_precision_agrees_with_quadrature():
    model = small_vae()
    exact = quadrature(model, step=0.1)[:20]
    found = annealed_importance_sampling(model.float(), all_images()[:20].float(), n_steps=8, n_chains=600)
    assert found.log_weights.dtype == torch.float64
    assert ((found.per_image + found.std_error**2 / 2 - exact) / found.std_error).abs().max() < 5


class InABox(LinearGaussianVAE):
    """The same with a prior that is zero outside of a box, from which one draws by rejection."""

    def log_prior(self, z):
        inside = super().log_prior(z) - self.latent_dim * math.log(math.erf(1 / math.sqrt(2)))
        return torch.where((z.abs() < 1).all(-1), inside, -math.inf)

    def sample_prior(self, n, generator=None):
        z = torch.empty(0, self.latent_dim, dtype=torch.float64)
        while len(z) < n:
            more = super().sample_prior(n, generator)
            z = torch.cat([z, more[(more.abs() < 1).all(-1)]])
        return z[:n]


@pytest.mark.parametrize("start", STARTS)
def test_latents_may_be_bounded(start):
    model = InABox.random(4, 2, seed=0)
    x = model.simulate(6, seed=1)
    z = torch.cartesian_prod(*[torch.linspace(-1, 1, 302, dtype=torch.float64)[:-1] + 1 / 301] * 2)
    with torch.no_grad():
        joint = model.log_joint(x, z[:, None].expand(-1, 6, -1))
    exact = torch.logsumexp(joint, 0) + 2 * math.log(2 / 301)
    found = annealed_importance_sampling(model, x, n_steps=10, n_chains=400, start=start)
    assert ((found.per_image + found.std_error**2 / 2 - exact) / found.std_error).abs().max() < 5


# The sandwich


@pytest.mark.parametrize("make", [small_vae, small_two_layer], ids=["VAE", "TwoLayerVAE"])
@pytest.mark.parametrize("start", STARTS)
def test_log_evidence_lies_in_the_sandwich(make, start):
    model = make()
    exact_of = dict(zip(map(tuple, all_images().tolist()), quadrature(model, step=0.1).tolist(), strict=True))
    refreshment = 0.2 if start == "prior" else 1.0
    found = bidirectional_bounds(
        model, 150, n_steps=4, n_chains=4, start=start, momentum_refreshment=refreshment, seed=1
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
    gaps = [bidirectional_bounds(model, 100, n_steps=n_steps, n_chains=4).gap for n_steps in (2, 8, 64)]
    for wide, narrow in itertools.pairwise(gaps):  # of the same images
        assert float((wide - narrow).mean()) > 3.5 * float((wide - narrow).std()) / math.sqrt(100)
    assert float(gaps[-1].mean()) < 0.5


def test_bounds_are_exact_where_the_start_is_the_posterior():
    model = LinearGaussianVAE.random(5, 2, seed=0)
    found = bidirectional_bounds(model, 8, n_steps=5, n_chains=3, start="encoder")
    exact = model.exact_log_likelihood(found.images).detach()
    torch.testing.assert_close(found.lower, exact, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.upper, exact, rtol=1e-12, atol=1e-12)
    # Up to rounding every draw weighs the same.
    assert max(found.lower_std_error.max(), found.upper_std_error.max()) < 1e-12


def test_bounds_reduce_their_weights_and_say_so():
    found = bidirectional_bounds(moved_linear(), 12, n_steps=3, n_chains=5)
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
    found = bidirectional_bounds(model, 500, n_steps=1, n_chains=2, step_size=0.1)
    with torch.no_grad():
        exact, weight = model.exact_log_likelihood(found.images), model.decoder.weight
        entropy = 0.5 * torch.logdet(2 * math.pi * math.e * (weight @ weight.T + model.noise_std**2 * torch.eye(4)))
    assert abs(float(exact.mean() + entropy)) < 4.5 * float(exact.std()) / math.sqrt(500)


# Frozen


def test_step_size_is_frozen_before_the_first_chain():
    """More chains of other draws, or none of them: the same step sizes, image by image."""
    model = moved_linear()
    x = model.simulate(5, seed=0)
    few = annealed_importance_sampling(model, x, n_steps=20, n_chains=2)
    many = annealed_importance_sampling(model, x, n_steps=20, n_chains=64)
    torch.testing.assert_close(few.step_size, many.step_size, rtol=1e-10, atol=1e-10)
    assert few.step_size.shape == (19, 5)
    given = annealed_importance_sampling(model, x, n_steps=20, n_chains=2, step_size=0.2)
    torch.testing.assert_close(given.step_size, torch.full((19, 5), 0.2, dtype=torch.float64))


@pytest.mark.parametrize("target", [0.6, 0.9])
def test_tuned_steps_meet_the_target(target):
    model = LinearGaussianVAE.random(20, 10, seed=0)
    x = model.simulate(10, seed=0)
    found = annealed_importance_sampling(model, x, n_steps=60, n_chains=20, target_acceptance=target)
    assert abs(float(found.acceptance_rate.mean()) - target) < 0.06
    # The posterior is narrower than the prior, so steps must shrink on the way.
    assert (found.step_size[-1] < found.step_size[0]).all()


def test_steps_are_interpolated_at_the_same_part_of_the_path():
    knots = torch.arange(1.0, 61)[:, None].expand(-1, 2)  # at the fractions 1/61, 2/61, ...
    for n_steps in (2, 61, 500):
        wanted = (torch.arange(1, n_steps) / n_steps * 61).clamp(1, 60)
        torch.testing.assert_close(annealing._along(knots, n_steps)[:, 1], wanted, rtol=1e-5, atol=1e-5)
    assert annealing._along(knots, 1).shape == (0, 2)


@pytest.mark.parametrize("schedule", ["sigmoid", "linear"])
def test_schedules_rise_from_0_to_1_and_are_symmetric(schedule):
    how = annealing._Annealing(10, 2, 0, "prior", schedule, 3, None, 0.8, 1.0)
    betas = torch.tensor(how.betas(10), dtype=torch.float64)
    assert len(betas) == 11
    assert (betas[0], betas[-1]) == (0, 1)
    steps = betas.diff()
    assert (steps > 0).all()
    torch.testing.assert_close(steps, steps.flip(0))
    # Wu et al. 2017: a logistic curve between -4 and 4, moved to start at 0 and end at 1.
    ratio = (
        1.0
        if schedule == "linear"
        else (stats.logistic.cdf(-3.2) - stats.logistic.cdf(-4)) / (stats.logistic.cdf(0.8) - 0.5)
    )
    assert float(steps[0] / steps[5]) == pytest.approx(ratio)


# The same every time


@pytest.mark.parametrize("start", STARTS)
def test_an_image_has_the_same_chains_in_any_batch(start, monkeypatch):
    model = moved_linear()
    x = model.simulate(5, seed=2)
    whole = annealed_importance_sampling(model, x, n_steps=5, n_chains=6, seed=5, start=start)
    part = annealed_importance_sampling(model, x[3:5], n_steps=5, n_chains=6, seed=5, start=start, first_image=3)
    torch.testing.assert_close(part.log_weights, whole.log_weights[:, 3:5], rtol=1e-9, atol=1e-9)
    monkeypatch.setattr(annealing, "_NUMBERS_ON_CPU", 1)
    one_by_one = annealed_importance_sampling(model, x, n_steps=5, n_chains=6, seed=5, start=start)
    for name in ("log_weights", "per_image", "acceptance_rate", "step_size"):
        torch.testing.assert_close(getattr(one_by_one, name), getattr(whole, name), rtol=1e-9, atol=1e-9)
    other = annealed_importance_sampling(model, x[3:5], n_steps=5, n_chains=6, seed=5, start=start)
    assert not torch.isclose(other.log_weights, whole.log_weights[:, 3:5]).any()


def test_bounds_of_an_image_do_not_depend_on_how_many_follow(monkeypatch):
    model = moved_linear()
    many = bidirectional_bounds(model, 6, n_steps=4, n_chains=3)
    monkeypatch.setattr(annealing, "_NUMBERS_ON_CPU", 1)
    few = bidirectional_bounds(model, 2, n_steps=4, n_chains=3)
    for name in ("lower", "upper"):
        torch.testing.assert_close(getattr(few, name), getattr(many, name)[:2], rtol=1e-9, atol=1e-9)
    assert not torch.isclose(bidirectional_bounds(model, 2, n_steps=4, n_chains=3, seed=1).lower, few.lower).any()


def test_images_chains_and_purposes_have_draws_of_their_own():
    generators = [
        annealing._generators(torch.device("cpu"), seed, range(5), purpose)
        for seed in (0, 1)
        for purpose in range(1, 5)
    ]
    generators.append([keyed(torch.device("cpu"), Purpose.EVIDENCE, 0, image) for image in range(5)])
    first = [float(torch.rand((), generator=one)) for each in generators for one in each]
    assert len(set(first)) == 45
    model = moved_linear()
    found = annealed_importance_sampling(model, model.simulate(1, 0).repeat(3, 1), n_steps=3, n_chains=20)
    assert len(found.log_weights.unique()) == 60


@torch.no_grad()
def test_model_and_torch_are_left_as_they_were():
    model = small_vae()
    state, weights = torch.get_rng_state(), [parameter.clone() for parameter in model.parameters()]
    found = annealed_importance_sampling(model, all_images()[:3], n_steps=3, n_chains=2, start="encoder")
    bidirectional_bounds(model, 2, n_steps=3, n_chains=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(map(torch.equal, weights, model.parameters()))
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert not found.log_weights.requires_grad


# Numbers from log-weights


def test_result_reduces_its_log_weights():
    model = moved_linear()
    found = annealed_importance_sampling(model, model.simulate(3, seed=1), n_steps=3, n_chains=40)
    log_w = found.log_weights.numpy()
    assert log_w.shape == (40, 3)
    each = [Estimate.from_log_weights(column) for column in log_w.T]
    assert found.per_image.tolist() == pytest.approx(log_mean_exp(log_w))
    assert found.std_error.tolist() == pytest.approx([one.std_error / one.value for one in each])
    assert found.ess.tolist() == pytest.approx([one.ess for one in each])
    assert found.elbo.tolist() == pytest.approx(log_w.mean(0))
    assert found.elbo_std_error.tolist() == pytest.approx(log_w.std(0, ddof=1) / math.sqrt(40))
    assert found.pareto_k.tolist() == pytest.approx([pareto_k(column) for column in log_w.T], rel=1e-6)
    assert found.mean.value == pytest.approx(float(found.per_image.mean()))
    assert found.mean.n == 120
    assert "mean of 3 images with 40 chains of 3 steps each" in str(found)


def test_log_mean_exp_is_tighter_than_the_mean_of_logs():
    """Both are lower bounds on average. Averaging the logs over chains, as some code does, gives away the rest."""
    model = moved_linear()
    x = model.simulate(50, seed=0)
    found = annealed_importance_sampling(model, x, n_steps=4, n_chains=16)
    assert (found.per_image >= found.elbo).all()
    exact = model.exact_log_likelihood(x).detach()
    loss, given_away = exact - found.per_image, exact - found.elbo
    assert float(given_away.mean()) > 4 * float(loss.mean())


def test_progress_and_a_forecast_show_on_a_screen_when_asked_for(monkeypatch):
    class Screen(io.StringIO):
        def isatty(self):
            return True

    for screen, progress, shown in ((Screen(), True, True), (Screen(), False, False), (io.StringIO(), True, False)):
        monkeypatch.setattr(sys, "stderr", screen)
        annealed_importance_sampling(small_vae(), all_images()[:3], n_steps=3, n_chains=4, progress=progress)
        assert ("moves" in screen.getvalue()) == shown
        assert ("3 images, 4 chains of 3 steps each: about " in screen.getvalue()) == shown


@pytest.mark.parametrize("start", STARTS)
def test_a_trained_model_is_bounded_from_both_sides(start):
    """784-200-200-50 in single precision; few steps, so that the bounds are far apart and surely in order."""
    model, _ = load_checkpoint("mnist-vae")
    found = bidirectional_bounds(model.eval(), 4, n_steps=25, n_chains=4, start=start)
    assert found.images.unique().tolist() == [0, 1]
    assert found.forward.log_weights.isfinite().all()
    assert found.mean_gap.value > 0
    # Steps found from few moves are right for the long run too.
    assert 0.5 < float(found.forward.acceptance_rate.mean()) < 0.95
    assert all(parameter.grad is None for parameter in model.parameters())


# Bad input


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"n_steps": 0}, "n_steps must be a whole number of at least 1; got 0"),
        ({"n_steps": 2.5}, "n_steps must be a whole number of at least 1; got 2.5"),
        ({"n_chains": 0}, "n_chains must be a whole number of at least 1; got 0"),
        ({"n_chains": 1}, "an error needs at least 2 chains; got n_chains = 1"),
        ({"n_leapfrog": 0}, "n_leapfrog must be a whole number of at least 1; got 0"),
        ({"seed": -1}, "seed must be a whole number of at least 0; got -1"),
        ({"seed": True}, "seed must be a whole number of at least 0; got True"),
        ({"start": "posterior"}, "start must be 'prior' or 'encoder'; got 'posterior'"),
        ({"schedule": "cosine"}, "schedule must be 'sigmoid' or 'linear'; got 'cosine'"),
        ({"step_size": 0.0}, "step_size must be a number above 0, or None to tune it; got 0.0"),
        ({"step_size": math.inf}, "step_size must be a number above 0"),
        ({"step_size": "0.1"}, "step_size must be a number above 0"),
        ({"target_acceptance": 1.0}, "target_acceptance must lie between 0 and 1; got 1.0"),
        ({"momentum_refreshment": 0}, "momentum_refreshment must be above 0 and at most 1; got 0"),
        ({"momentum_refreshment": 1.5}, "momentum_refreshment must be above 0 and at most 1; got 1.5"),
    ],
)
def test_arguments_out_of_range_are_refused(how, told):
    with pytest.raises(ValueError, match=told):
        annealed_importance_sampling(small_vae(), all_images(), **{"n_steps": 3, **how})
    with pytest.raises(ValueError, match=told):
        bidirectional_bounds(small_vae(), 2, **{"n_steps": 3, **how})


def test_images_that_are_none_are_refused():
    with pytest.raises(ValueError, match="first_image must be a whole number of at least 0; got -1"):
        annealed_importance_sampling(small_vae(), all_images(), first_image=-1)
    with pytest.raises(ValueError, match="n_images must be a whole number of at least 1; got 0"):
        bidirectional_bounds(small_vae(), 0)
    with pytest.raises(ValueError, match="images must have shape"):
        annealed_importance_sampling(small_vae(), torch.zeros(3, 5).double())


@pytest.mark.parametrize("step_size", [3.0, 1e3, 1e300])
def test_a_step_size_that_diverges_says_so_with_the_acceptance_rate(step_size):
    model = moved_linear()
    told = rf"diverge with the step size {step_size:.3g}: near the posterior of image \d+, the acceptance rate in a .*0"
    told = told.replace("+", r"\+", 1) if "+" in f"{step_size:.3g}" else told
    with pytest.raises(ValueError, match=told):
        annealed_importance_sampling(model, model.simulate(3, 0), n_steps=5, step_size=step_size)
    with pytest.raises(ValueError, match="take a smaller one, or let it be tuned"):
        bidirectional_bounds(model, 3, n_steps=5, step_size=step_size)


def test_the_image_whose_dynamics_diverge_is_named():
    model = moved_linear()
    x = model.simulate(3, 0)
    with pytest.raises(ValueError, match=r"of image 1[012], the acceptance rate in a pilot run is \d"):
        annealed_importance_sampling(model, x, n_steps=5, step_size=3.0, first_image=10)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("start", STARTS)
def test_a_damaged_model_is_refused(start, value):
    model = small_vae()
    with torch.no_grad():
        model.decoder[-1].weight[0, 0] = value
    with pytest.raises(ValueError, match=r"log-weights are not finite: the model's weights are damaged"):
        annealed_importance_sampling(model, all_images(), n_steps=3, start=start)
