"""A Gaussian fitted to each image: exact where the posterior is one, better than the encoder elsewhere, never worse."""

import math

import pytest
import torch
from small_models import (
    all_images,
    moved_linear,
    quadrature,
    quadrature_of,
    rows_seen,
    small_ladder,
    small_two_layer,
    small_vae,
    tiny_deep,
    tiny_images,
)
from torch.distributions import Normal

from course_lib.training import load_checkpoint
from course_lib.vae import LinearGaussianVAE, adapted, evidence, log_likelihood
from course_lib.vae.adapted import Adapted
from course_lib.vae.distributions import standard_normal_log_prob
from course_lib.vae.noise import Purpose, keyed
from course_lib.vae.proposals import adapted as usual
from course_lib.vae.proposals import defensive_mixture, encoder


def sources(n, seed=0):
    return [keyed(torch.device("cpu"), Purpose.FIT, seed, number) for number in range(n)]


def leaning_linear(latent_dim=5):
    """A linear-Gaussian model whose posterior leans, and a q that is wrong in all that a diagonal one can be."""
    draws = torch.Generator().manual_seed(1)
    weight = 0.4 * torch.randn(8, latent_dim, generator=draws, dtype=torch.float64)
    model = LinearGaussianVAE(weight, torch.randn(8, generator=draws, dtype=torch.float64), noise_std=0.5)
    with torch.no_grad():
        model.encoder.bias.add_(0.2)
        model.log_std.add_(-0.1)
    return model


class Banana(LinearGaussianVAE):
    """p(z) = N(0, I) and x = z2 + z1^2 - 1 + noise: a posterior that is bent, and for large x has two peaks."""

    def __init__(self):
        super().__init__(torch.ones(1, 2).double(), torch.zeros(1).double(), noise_std=0.5)

    def log_conditional(self, x, z):
        return Normal(z[..., 1] + z[..., 0] ** 2 - 1, self.noise_std).log_prob(x[:, 0])


MAPS = {
    "Gaussian": (moved_linear, lambda: moved_linear().simulate(3, seed=0)),
    "flow": (lambda: tiny_deep(posterior_flows=2), lambda: tiny_images()[:3]),
    "two layers": (small_two_layer, lambda: all_images()[:3]),
    "ladder": (small_ladder, lambda: torch.rand(3, 16, generator=torch.Generator().manual_seed(0)).double().round()),
}


# A q(z|x) as a map of noise


@pytest.mark.parametrize(("make", "images"), MAPS.values(), ids=MAPS.keys())
@pytest.mark.parametrize("is_fitted", [False, True], ids=["encoder", "adapted"])
def test_a_posterior_is_a_map_of_noise_whose_density_is_its_own(make, images, is_fitted):
    model, x = make(), images()
    with torch.no_grad():
        q = usual(model, x, sources(3)) if is_fitted else model.posterior(x)
        noise = torch.randn(5, 3, model.latent_dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        z, log_determinant = q.from_noise(noise)
        torch.testing.assert_close(q.log_prob(z), standard_normal_log_prob(noise) - log_determinant)
        back, same = q.to_noise(z)
        torch.testing.assert_close(back, noise)
        torch.testing.assert_close(same, log_determinant)

        def of_one(vector):
            whole = noise[:1].index_put((torch.tensor(0), torch.tensor(1)), vector)
            return q.from_noise(whole)[0][0, 1]

        jacobian = torch.autograd.functional.jacobian(of_one, noise[0, 1])
        torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, log_determinant[0, 1])


@pytest.mark.parametrize(("make", "images"), MAPS.values(), ids=MAPS.keys())
def test_draws_are_those_of_their_noise(make, images):
    model, x = make(), images()
    with torch.no_grad():
        fit = usual(model, x, sources(3))
        z, log_q = fit.rsample_and_log_prob(4, sources(3, seed=1))
        torch.testing.assert_close(fit.log_prob(z), log_q)


# Right


@pytest.mark.parametrize("rounds", [1, 2, 10])
def test_one_round_is_exact_where_the_posterior_is_a_gaussian(rounds):
    model = leaning_linear()
    x = model.simulate(6, seed=0)
    fit = Adapted(rounds)(model, x, sources(6))
    exact = model.exact_posterior(x)
    # In z, through the encoder's Gaussian.
    std = model.log_std.exp().detach()
    mean, factor = fit.from_noise(torch.zeros(1, 6, 5).double())[0][0], std[:, None] * fit.factor
    torch.testing.assert_close(mean, exact.mean.detach(), rtol=1e-5, atol=1e-5)
    covariance = exact.covariance_matrix.detach().expand(6, -1, -1)
    torch.testing.assert_close(factor @ factor.mT, covariance, rtol=1e-5, atol=1e-5)
    assert not fit.fit_failed.any()


def test_weights_have_no_variance_where_the_posterior_is_a_gaussian():
    model = leaning_linear()
    x = model.simulate(6, seed=0)
    found = log_likelihood(model, x, 1_000, proposal=Adapted(rounds=1))
    exact = model.exact_log_likelihood(x).detach()
    torch.testing.assert_close(found.per_image, exact, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.elbo, exact, rtol=0, atol=1e-5)
    assert found.ess.min() > 999.99
    # From the encoder the same draws are worth far less.
    assert log_likelihood(model, x, 1_000).ess.max() < 800


def test_more_latent_dimensions_than_draws_in_a_round_get_there_in_several():
    model = leaning_linear(latent_dim=8)
    x = model.simulate(4, seed=0)
    found = log_likelihood(model, x, 1_000, proposal=Adapted(rounds=12, draws=6))
    torch.testing.assert_close(found.per_image, model.exact_log_likelihood(x).detach(), rtol=0, atol=0.02)
    assert found.ess.min() > 950


BENT, OF_TWO_PEAKS = torch.tensor([[-2.0], [-1.0], [-0.5]]).double(), torch.tensor([[2.0], [3.0]]).double()
NEURAL = {
    "VAE": (small_vae, lambda: all_images()[::5], lambda: quadrature(small_vae(), step=0.1)[::5]),
    "flow": (
        lambda: tiny_deep(posterior_flows=2, prior_flows=1),
        tiny_images,
        lambda: quadrature_of(tiny_deep(posterior_flows=2, prior_flows=1), tiny_images()),
    ),
    "banana": (
        Banana,
        lambda: BENT,
        lambda: quadrature_of(Banana(), BENT, step=0.05),
    ),
}


@pytest.mark.parametrize(("make", "images", "exact"), NEURAL.values(), ids=NEURAL.keys())
@pytest.mark.parametrize("proposal", [usual, defensive_mixture(0.2, usual)], ids=["adapted", "defensive"])
def test_estimates_agree_with_quadrature(make, images, exact, proposal):
    model, x = make(), images()
    found = log_likelihood(model, x, 20_000, proposal=proposal)
    assert found.std_error.max() < 0.05
    assert ((found.per_image - exact()).abs() < 5 * found.std_error + 1e-6).all()
    total = float((found.std_error**2).sum().sqrt())
    assert abs(float((found.per_image - exact()).sum())) < 4 * total + 1e-6


def test_of_two_peaks_it_finds_one_and_a_defensive_mixture_both():
    """The Gaussian that the ELBO wants covers one of them, and says nothing of the other: half of p(x) is log 2."""
    model, exact = Banana(), quadrature_of(Banana(), OF_TWO_PEAKS, step=0.05)
    alone = log_likelihood(model, OF_TWO_PEAKS, 20_000, proposal=usual)
    assert (alone.per_image < exact - 0.3).any()
    both = log_likelihood(model, OF_TWO_PEAKS, 20_000, proposal=defensive_mixture(0.2, usual))
    assert ((both.per_image - exact).abs() < 5 * both.std_error).all()
    assert both.std_error.max() < 0.1


@pytest.mark.parametrize(("make", "images", "_"), NEURAL.values(), ids=NEURAL.keys())
def test_the_elbo_is_better_than_the_encoder_s(make, images, _):
    model, x = make(), images()
    before = log_likelihood(model, x, 5_000)
    after = log_likelihood(model, x, 5_000, proposal=usual)
    difference, error = after.elbo - before.elbo, (after.elbo_std_error**2 + before.elbo_std_error**2).sqrt()
    assert (difference > -5 * error).all()
    assert float(difference.mean()) > 5 * float((error**2).sum().sqrt()) / len(error)
    assert after.ess.mean() > before.ess.mean()


def test_a_network_of_the_course_passes_its_diagnostics_and_costs_what_it_says():
    model, _ = load_checkpoint("mnist-vae")
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        x = model.sample_conditional(model.sample_prior(16, draws), draws)
    from_encoder, seen = log_likelihood(model, x, 2_000), rows_seen(model.decoder[0], axes=1)
    from_fit = log_likelihood(model, x, 2_000, proposal=usual)
    assert from_fit.share_of_high_pareto_k <= 2 / 16 < 14 / 16 <= from_encoder.share_of_high_pareto_k
    assert (from_fit.per_image - from_encoder.per_image).mean() > 0.3
    assert from_fit.ess.median() > 20 * from_encoder.ess.median()
    # A gradient counts as three.
    assert sum(seen) == 16 * (10 * 64 + 64 + 2_000)
    assert from_fit.decoder_passes == 3 * 10 * 64 + 64 + 2_000 <= 4_000
    assert from_encoder.decoder_passes == 2_000
    assert "3,984 passes through the decoder an image, fit included" in str(from_fit)
    assert "passes" not in str(from_encoder)


# An image's own


def test_an_image_has_the_same_fit_in_whatever_batch_it_comes(monkeypatch):
    model, x = small_vae(), all_images()[:20]
    whole = log_likelihood(model, x, 50, seed=3, proposal=usual)
    for first, last in ((0, 1), (5, 9), (17, 20)):
        part = log_likelihood(model, x[first:last], 50, seed=3, proposal=usual, first_image=first)
        torch.testing.assert_close(part.per_image, whole.per_image[first:last], rtol=0, atol=1e-9)
    other = log_likelihood(model, x[:1], 50, seed=4, proposal=usual)
    assert abs(float(other.per_image[0] - whole.per_image[0])) > 1e-6
    monkeypatch.setattr(adapted, "_NUMBERS_AT_ONCE", 1)
    monkeypatch.setattr(evidence, "_FITTED_TOGETHER", 3)
    one_by_one = log_likelihood(model, x, 50, seed=3, proposal=usual)
    torch.testing.assert_close(one_by_one.per_image, whole.per_image, rtol=0, atol=1e-9)


def test_draws_of_the_fit_are_never_those_of_the_estimate(monkeypatch):
    model, x, drawn = small_vae(), all_images()[:2], []
    in_fit = adapted.normal

    def kept(shape, source, device, dtype):
        noise = in_fit(shape, source, device, dtype)
        drawn.append(noise)
        return noise

    monkeypatch.setattr(adapted, "normal", kept)
    log_likelihood(model, x, 64, proposal=usual)
    *fits, estimate = drawn
    assert len(fits) == 11
    assert not torch.isin(torch.cat(fits), estimate).any()


def test_no_parameter_gets_a_gradient_and_inference_mode_is_no_obstacle():
    model = small_vae()
    with torch.inference_mode():
        x = all_images()[:3].clone()
        inside = log_likelihood(model, x, 20, proposal=usual)
    torch.testing.assert_close(
        inside.per_image, log_likelihood(model, all_images()[:3], 20, proposal=usual).per_image, rtol=0, atol=1e-12
    )
    assert all(parameter.grad is None for parameter in model.parameters())


def test_single_precision_and_eight_bits_agree_with_quadrature():
    model, x, exact = small_vae().float(), all_images()[:8], quadrature(small_vae(), step=0.1)[:8]
    for precision, rounding in (("float32", 1e-4), ("bfloat16", 0.02)):
        found = log_likelihood(model, x.float(), 5_000, proposal=usual, precision=precision)
        assert ((found.per_image - exact).abs() < 5 * found.std_error + rounding).all()
        assert found.std_error.max() < 0.02


# What can go wrong


class Misled(LinearGaussianVAE):
    """A model whose gradient points the wrong way for images whose first number is above zero, at any length."""

    def log_conditional(self, x, z):
        value = super().log_conditional(x, z)
        wrong = value.detach() - 1e6 * (value - value.detach())
        return torch.where(x[:, 0] > 0, wrong, value)


class Broken(LinearGaussianVAE):
    """A model whose values, or gradients, are not finite for images whose first number is above zero."""

    where = "values"

    def log_conditional(self, x, z):
        value = super().log_conditional(x, z)
        if self.where == "values":
            return torch.where(x[:, 0] > 0, math.nan, value)
        # The root of zero has an infinite slope. Those of other images do not go through it.
        rooted = torch.where(x[:, 0] > 0, value * 0, value.detach() * 0 + 1).sqrt()
        return value + torch.where(x[:, 0] > 0, rooted, 0.0)


def wrong_linear(kind):
    model = moved_linear()
    model.__class__ = kind
    x = model.simulate(12, seed=0)
    return model, x, x[:, 0] > 0


def test_an_image_whose_every_step_makes_it_worse_keeps_the_encoder_and_is_named():
    model, x, is_wrong = wrong_linear(Misled)
    assert 0 < int(is_wrong.sum()) < len(x)
    found, fit = log_likelihood(model, x, 1_000, proposal=usual), usual(model, x, sources(len(x)))
    assert torch.equal(fit.fit_failed, is_wrong)
    assert torch.equal(found.fit_failed.bool(), is_wrong)
    assert torch.equal(fit.factor[is_wrong], torch.eye(2).double().expand(int(is_wrong.sum()), 2, 2))
    assert torch.equal(fit.mean[is_wrong], torch.zeros(int(is_wrong.sum()), 2).double())
    named = ", ".join(str(number) for number in is_wrong.nonzero()[:10, 0].tolist())
    assert f"the fit failed for {int(is_wrong.sum())} of them, which were left with the encoder: {named}" in str(found)
    exact = model.exact_log_likelihood(x).detach()
    assert ((found.per_image - exact).abs() < 5 * found.std_error + 1e-6).all()


def test_an_image_whose_gradients_are_not_finite_keeps_the_encoder():
    model, x, is_wrong = wrong_linear(Broken)
    model.where = "gradients"
    found = log_likelihood(model, x, 1_000, proposal=usual)
    assert torch.equal(found.fit_failed.bool(), is_wrong)
    exact = model.exact_log_likelihood(x).detach()
    assert ((found.per_image - exact).abs() < 5 * found.std_error + 1e-6).all()
    # The others are as exact as ever.
    assert found.ess[~is_wrong].min() > 999


def test_values_that_are_not_finite_are_told_as_ever():
    model, x, _ = wrong_linear(Broken)
    with pytest.raises(ValueError, match="log-weights are not finite, though the model's weights are"):
        log_likelihood(model, x, 100, proposal=usual)


def test_a_fit_that_is_worse_than_the_encoder_is_not_kept():
    """Beyond a wall p(x, z) falls without end, and the posterior is half of a Gaussian."""

    class Wall(LinearGaussianVAE):
        def log_conditional(self, x, z):
            return super().log_conditional(x, z) - 1e3 * (z - 1.5).clamp(min=0).sum(-1) ** 2

    model = LinearGaussianVAE.random(4, 2, seed=0)
    model.__class__ = Wall
    x = model.simulate(8, seed=0)
    exact = quadrature_of(model, x, step=0.02, furthest=7.0)
    found = log_likelihood(model, x, 20_000, proposal=usual)
    assert ((found.per_image - exact).abs() < 5 * found.std_error + 1e-3).all()
    # Where half of the encoder's draws are beyond the wall, a Gaussian that avoids it misses what p(x) is made of.
    assert found.fit_failed.any() and not found.fit_failed.all()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"rounds": 0}, "rounds must be a whole number of at least 1; got 0"),
        ({"rounds": 1e4}, "rounds must be at most 1,000; got 10,000"),
        ({"draws": 1}, "draws in a round must be a whole number of at least 2; got 1"),
        ({"draws": "64"}, "draws in a round must be a whole number of at least 2; got '64'"),
    ],
)
def test_a_fit_of_nothing_is_refused(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        Adapted(**arguments)


def test_a_posterior_that_is_no_map_of_noise_is_refused():
    class Other(LinearGaussianVAE):
        def posterior(self, x):
            return torch.distributions.Normal(torch.zeros(len(x), 2), torch.ones(len(x), 2))

    model = moved_linear()
    model.__class__ = Other
    with pytest.raises(ValueError, match=r"the q\(z\|x\) of Other does not say how it is made of"):
        log_likelihood(model, torch.zeros(2, 4).double(), 10, proposal=usual)


def test_as_many_generators_as_images_are_needed():
    model = moved_linear()
    with pytest.raises(ValueError, match="one generator for each of 3 images is needed; got 2"):
        usual(model, model.simulate(3, seed=0), sources(2))


def test_the_defensive_mixture_of_a_fit_reports_the_fit():
    model = small_vae()
    found = log_likelihood(model, all_images()[:3], 100, proposal=defensive_mixture(0.1, usual))
    assert found.fit_passes.tolist() == [usual.passes] * 3
    plain = log_likelihood(model, all_images()[:3], 100, proposal=defensive_mixture(0.1, encoder))
    assert plain.fit_passes.tolist() == [0.0] * 3
    same = log_likelihood(model, all_images()[:3], 100, proposal=defensive_mixture(0.1))
    assert torch.equal(same.per_image, plain.per_image)
