"""Annealing: exact where log p(x) is known, and a sandwich where it is not."""

import io
import itertools
import math
import sys

import pytest
import torch
from scipy import stats
from small_models import all_images, moved_linear, quadrature, rows_seen, small_two_layer, small_vae

from course_lib.estimates import Estimate, log_mean_exp, pareto_k
from course_lib.vae import (
    Annealing,
    LinearGaussianVAE,
    annealed_importance_sampling,
    bidirectional_bounds,
    blocks,
    evidence,
    tuning,
)
from course_lib.vae.hamiltonian import Path
from course_lib.vae.noise import Purpose, keyed
from course_lib.vae.proposals import adapted

STARTS = ["prior", "encoder", "adapted"]


def test_each_leapfrog_step_takes_one_gradient(monkeypatch):
    model, seen = small_vae(), []
    at = Path.at
    monkeypatch.setattr(Path, "at", lambda path, z: (seen.append(len(z)), at(path, z))[1])
    annealed_importance_sampling(model, all_images()[:2], Annealing(n_steps=7, n_chains=4, n_leapfrog=5))
    assert seen.count(4) == 1 + 6 * 5
    n_pilot = tuning._WARM_UP_MOVES + tuning._PILOT_MOVES
    assert seen.count(tuning.PILOT_CHAINS) == 1 + n_pilot * 5


# Right


@pytest.mark.parametrize("refreshment", [1.0, 0.2], ids=["all", "partial"])
@pytest.mark.parametrize("schedule", ["sigmoid", "linear"])
@pytest.mark.parametrize("start", STARTS)
def test_weights_average_to_the_exact_answer_on_a_linear_model(start, schedule, refreshment):
    model = moved_linear()
    x = model.simulate(20, seed=0)
    found = annealed_importance_sampling(
        model,
        x,
        Annealing(n_steps=10, n_chains=1_000, start=start, schedule=schedule, momentum_refreshment=refreshment),
    )
    ratio = (found.log_weights - model.exact_log_likelihood(x).detach()).exp()
    # Weights of other images are independent, so the mean of all is as good as its error says.
    # The rounding of the regression is what is left where a fit is exact.
    error = ratio.std(0) / math.sqrt(len(ratio)) + 1e-6
    assert abs(float((ratio.mean(0) - 1).sum() / (error**2).sum().sqrt())) < 4
    assert ((ratio.mean(0) - 1) / error).abs().max() < 5
    assert float(found.std_error.max()) < 0.2  # so that being within errors says something


@pytest.mark.parametrize("make", [small_vae, small_two_layer], ids=["VAE", "TwoLayerVAE"])
@pytest.mark.parametrize("start", STARTS)
def test_weights_average_to_the_exact_answer_of_neural_networks(make, start):
    model = make()
    exact = quadrature(model, step=0.1)[::3]
    found = annealed_importance_sampling(
        model, all_images()[::3], Annealing(n_steps=6, n_chains=500, start=start, seed=3)
    )
    ratio = (found.log_weights - exact).exp()
    error = ratio.std(0) / math.sqrt(len(ratio))
    assert ((ratio.mean(0) - 1) / error).abs().max() < 5
    assert abs(float((ratio.mean(0) - 1).sum() / (error**2).sum().sqrt())) < 4


def test_one_step_from_the_fit_is_importance_sampling_from_it():
    model, x = small_vae(), all_images()[:4]
    found = annealed_importance_sampling(model, x, Annealing(n_steps=1, n_chains=50, seed=2, start="adapted"))
    fitting, drawing = (
        [keyed(x.device, purpose, 2, image) for image in range(4)] for purpose in (Purpose.FIT, Purpose.ANNEALING)
    )
    with torch.no_grad():
        z, log_q = adapted(model, x, fitting).rsample_and_log_prob(50, drawing)
        log_w = model.log_joint(x, z) - log_q
    torch.testing.assert_close(found.log_weights, log_w, rtol=1e-9, atol=1e-9)
    assert found.fit_passes.tolist() == [adapted.passes] * 4


def test_passes_through_the_decoder_are_those_that_were_taken():
    model, x = small_vae(), all_images()[:3]
    seen = rows_seen(model.decoder[0])
    settings = Annealing(n_steps=7, n_chains=4, n_leapfrog=2, start="adapted")
    found = annealed_importance_sampling(model, x, settings)
    check = adapted.draws  # of the last fit, without a gradient
    assert found.decoder_passes == 3 * (sum(seen) / 3 - check) + check


def test_one_step_from_the_encoder_is_importance_sampling():
    model = moved_linear()
    x = model.simulate(4, seed=0)
    found = annealed_importance_sampling(model, x, Annealing(n_steps=1, n_chains=50, seed=2, start="encoder"))
    with torch.no_grad():
        log_w = model.log_weights(x, 50, [keyed(x.device, Purpose.ANNEALING, 2, image) for image in range(4)])
    torch.testing.assert_close(found.log_weights, log_w, rtol=1e-12, atol=1e-12)
    assert found.acceptance_rate.isnan().all()
    assert found.step_size.shape == (0, 4)


def test_more_steps_make_weights_more_even():
    model = moved_linear()
    x = model.simulate(20, seed=0)
    runs = [annealed_importance_sampling(model, x, Annealing(n_steps=n, n_chains=100)) for n in (2, 8, 32)]
    spread = [float(run.log_weights.var(0).mean()) for run in runs]
    assert spread[0] > 2 * spread[1] > 4 * spread[2]


def test_annealing_from_the_prior_finds_what_importance_sampling_from_it_does_not():
    model = LinearGaussianVAE.random(20, 10, seed=0)
    x = model.simulate(10, seed=0)
    exact = model.exact_log_likelihood(x).detach()
    leap, walk = (annealed_importance_sampling(model, x, Annealing(n_steps=n, n_chains=20)) for n in (1, 60))
    assert (leap.per_image < exact - 5).all()
    assert float((exact - walk.per_image).mean()) < 2


def test_single_precision_agrees_with_quadrature():
    model = small_vae()
    exact = quadrature(model, step=0.1)[:20]
    found = annealed_importance_sampling(model.float(), all_images()[:20].float(), Annealing(n_steps=8, n_chains=600))
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
    found = annealed_importance_sampling(model, x, Annealing(n_steps=10, n_chains=400, start=start))
    assert ((found.per_image + found.std_error**2 / 2 - exact) / found.std_error).abs().max() < 5


@pytest.mark.parametrize("schedule", ["sigmoid", "linear"])
def test_schedules_rise_from_0_to_1_and_are_symmetric(schedule):
    betas = torch.tensor(Annealing(schedule=schedule).betas(10), dtype=torch.float64)
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
    whole = annealed_importance_sampling(model, x, Annealing(n_steps=5, n_chains=6, seed=5, start=start))
    part = annealed_importance_sampling(
        model, x[3:5], Annealing(n_steps=5, n_chains=6, seed=5, start=start), first_image=3
    )
    torch.testing.assert_close(part.log_weights, whole.log_weights[:, 3:5], rtol=1e-9, atol=1e-9)
    monkeypatch.setattr(blocks, "_NUMBERS_ON_CPU", 1)
    one_by_one = annealed_importance_sampling(model, x, Annealing(n_steps=5, n_chains=6, seed=5, start=start))
    for name in ("log_weights", "per_image", "acceptance_rate", "step_size"):
        torch.testing.assert_close(getattr(one_by_one, name), getattr(whole, name), rtol=1e-9, atol=1e-9)
    other = annealed_importance_sampling(model, x[3:5], Annealing(n_steps=5, n_chains=6, seed=5, start=start))
    # From a fit that is exact every weight is p(x), with whatever draws.
    if start != "adapted":
        assert not torch.isclose(other.log_weights, whole.log_weights[:, 3:5]).any()


def test_images_chains_and_purposes_have_draws_of_their_own():
    keys = itertools.product(Purpose, (0, 1), range(5))
    first = [float(torch.rand((), generator=keyed(torch.device("cpu"), *key))) for key in keys]
    assert len(set(first)) == 10 * len(Purpose)
    model = moved_linear()
    found = annealed_importance_sampling(model, model.simulate(1, 0).repeat(3, 1), Annealing(n_steps=3, n_chains=20))
    assert len(found.log_weights.unique()) == 60


@torch.no_grad()
def test_model_and_torch_are_left_as_they_were():
    model = small_vae()
    state, weights = torch.get_rng_state(), [parameter.clone() for parameter in model.parameters()]
    found = annealed_importance_sampling(model, all_images()[:3], Annealing(n_steps=3, n_chains=2, start="encoder"))
    bidirectional_bounds(model, 2, Annealing(n_steps=3, n_chains=2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(map(torch.equal, weights, model.parameters()))
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert not found.log_weights.requires_grad


# Numbers from log-weights


def test_result_reduces_its_log_weights():
    model = moved_linear()
    found = annealed_importance_sampling(model, model.simulate(3, seed=1), Annealing(n_steps=3, n_chains=40))
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
    found = annealed_importance_sampling(model, x, Annealing(n_steps=4, n_chains=16))
    assert (found.per_image >= found.elbo).all()
    exact = model.exact_log_likelihood(x).detach()
    loss, given_away = exact - found.per_image, exact - found.elbo
    assert float(given_away.mean()) > 4 * float(loss.mean())


@pytest.mark.parametrize(("patience", "progress", "shown"), [(0, True, True), (0, False, False), (3600, True, False)])
def test_progress_shows_where_it_takes_long_unless_silenced(monkeypatch, patience, progress, shown):
    monkeypatch.setattr(evidence, "_PATIENCE_SECONDS", patience)
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    # Of 3 images, the 80 pilot moves of 10 chains, and 2 moves of 4 chains.
    annealed_importance_sampling(small_vae(), all_images()[:3], Annealing(n_steps=3, n_chains=4), progress=progress)
    assert ("/2.42k" in screen.getvalue()) == ("moves" in screen.getvalue()) == shown


# Bad input


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"n_steps": 10**12}, "n_steps must be at most 1,000,000; got 1,000,000,000,000"),
        ({"n_chains": 10**8}, "n_chains must be at most 100,000; got 100,000,000"),
        ({"n_leapfrog": 10**6}, "n_leapfrog must be at most 1,000; got 1,000,000"),
        ({"n_steps": 0}, "n_steps must be a whole number of at least 1; got 0"),
        ({"n_steps": 2.5}, "n_steps must be a whole number of at least 1; got 2.5"),
        ({"n_chains": 0}, "n_chains must be a whole number of at least 1; got 0"),
        ({"n_chains": 1}, "an error needs at least 2 chains; got n_chains = 1"),
        ({"n_leapfrog": 0}, "n_leapfrog must be a whole number of at least 1; got 0"),
        ({"seed": -1}, "seed must be a whole number of at least 0; got -1"),
        ({"seed": True}, "seed must be a whole number of at least 0; got True"),
        ({"start": "posterior"}, "start must be one of prior, encoder, adapted; got 'posterior'"),
        ({"schedule": "cosine"}, "schedule must be one of sigmoid, linear; got 'cosine'"),
        ({"step_size": 0.0}, "step_size, unless it is None, must be a positive, finite number; got 0.0"),
        ({"step_size": math.inf}, "step_size, unless it is None, must be a positive, finite number"),
        ({"step_size": "0.1"}, "step_size, unless it is None, must be a positive, finite number"),
        ({"target_acceptance": 1.0}, "target_acceptance must lie between 0 and 1; got 1.0"),
        ({"momentum_refreshment": 0}, "momentum_refreshment must be a positive, finite number; got 0"),
        ({"momentum_refreshment": 1.5}, "momentum_refreshment must be at most 1; got 1.5"),
    ],
)
def test_arguments_out_of_range_are_refused(how, told):
    with pytest.raises(ValueError, match=told):
        Annealing(**how)


def test_settings_are_whole_numbers_however_they_were_written():
    assert Annealing(n_steps=20.0, n_chains=4.0, seed=3.0, n_leapfrog=2.0) == Annealing(20, 4, 3, n_leapfrog=2)
    x = all_images()[:1]
    found = annealed_importance_sampling(small_vae(), x, Annealing(n_steps=2.0, n_chains=4.0, seed=3.0))
    assert found.n_steps == found.settings.n_steps == 2
    assert found.per_image.equal(annealed_importance_sampling(small_vae(), x, Annealing(2, 4, 3)).per_image)


def test_what_are_no_settings_or_no_model_is_refused():
    with pytest.raises(ValueError, match=r"settings must be an Annealing, such as Annealing\(n_steps=300\); got 300"):
        annealed_importance_sampling(small_vae(), all_images(), 300)
    with pytest.raises(ValueError, match=r"model must be a LatentVariableModel; got a tuple.*load_checkpoint"):
        annealed_importance_sampling((small_vae(), {}), all_images())


def test_images_that_are_none_are_refused():
    with pytest.raises(ValueError, match="first_image must be a whole number of at least 0; got -1"):
        annealed_importance_sampling(small_vae(), all_images(), first_image=-1)
    with pytest.raises(ValueError, match="images must have shape"):
        annealed_importance_sampling(small_vae(), torch.zeros(3, 5).double())


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("start", STARTS)
def test_a_damaged_model_is_refused(start, value):
    model = small_vae()
    with torch.no_grad():
        model.decoder[-1].weight[0, 0] = value
    with pytest.raises(ValueError, match=r"log-weights are not finite: the model's weights are damaged"):
        annealed_importance_sampling(model, all_images(), Annealing(n_steps=3, start=start))
