"""Where z is drawn: any proposal gives the exact log p(x), and an image's draws are its own."""

import math

import pytest
import torch
from scipy import stats
from small_models import all_images, moved_linear, quadrature, small_two_layer, small_vae
from torch import nn

from course_lib.vae import VAE, LinearGaussianVAE
from course_lib.vae.distributions import DiagonalGaussian
from course_lib.vae.flows import FlowPosterior, FlowPrior, InverseAutoregressiveFlow
from course_lib.vae.proposals import adapted, defensive_mixture, encoder, prior, proposed, student_t, widened

EVERY_MODEL = {
    "encoder": encoder,
    "prior": prior,
    "defensive mixture": defensive_mixture(0.3),
    "adapted": adapted,
    "defensive mixture of a fit": defensive_mixture(0.3, adapted),
}
WITH_A_GAUSSIAN = {
    **EVERY_MODEL,
    "widened": widened(1.5),
    "narrowed": widened(0.9),
    "student t": student_t(3),
    "light student t": student_t(30),
}


def named(proposals):
    return pytest.mark.parametrize("proposal", proposals.values(), ids=proposals.keys())


class FlowVAE(VAE):
    """A VAE with flows at both ends, far from where they start."""

    def __init__(self):
        torch.manual_seed(0)
        super().__init__(6, hidden=(5,), latent_dim=2)
        self.flow, self.flow_prior = InverseAutoregressiveFlow(2, 4, 2, 6), FlowPrior(2, 2, 6)
        self.context = nn.Linear(6, 4)
        self.double()
        with torch.no_grad():
            for parameter in (*self.flow.parameters(), *self.flow_prior.parameters()):
                parameter.add_(0.25 * torch.randn_like(parameter))
            self.encoder[-1].weight.mul_(0.4)
            self.encoder[-1].bias[2:] = 1.2

    def posterior(self, x):
        return self.flow(super().posterior(x), self.context(x))

    def log_prior(self, z):
        return self.flow_prior.log_prob(z)

    def sample_prior(self, n, generator=None):
        return self.flow_prior.sample(n, generator)


def sources(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@torch.no_grad()
def log_weights(model, x, proposal, k, generator=None):
    generator = sources(*range(len(x))) if generator is None else generator
    z, log_q = proposed(proposal, model, x, sources(*range(100, 100 + len(x)))).rsample_and_log_prob(k, generator)
    return model.log_joint(x, z) - log_q


def assert_agrees(log_w, exact, sigma=5.0):
    """Compare the mean weights of each image with p(x), in standard errors."""
    w = (log_w - exact).exp()
    # The rounding of the regression is what is left where a fit is exact.
    assert ((w.mean(0) - 1).abs() < sigma * w.std(0) / math.sqrt(len(w)) + 1e-6).all()
    # An error so large would tell nothing.
    assert (w.std(0) / math.sqrt(len(w))).max() < 0.1


# Right


@named(WITH_A_GAUSSIAN)
def test_weights_average_to_the_evidence_of_a_linear_model(proposal):
    model = moved_linear()
    x = model.simulate(8, seed=0)
    assert_agrees(log_weights(model, x, proposal, 20_000), model.exact_log_likelihood(x).detach())


@named(WITH_A_GAUSSIAN)
def test_weights_average_to_the_evidence_of_a_neural_network(proposal):
    model = small_vae()
    assert_agrees(log_weights(model, all_images()[::5], proposal, 10_000), quadrature(model, step=0.1)[::5])


@named(EVERY_MODEL)
def test_weights_average_to_the_evidence_of_two_layers(proposal):
    model = small_two_layer()
    assert_agrees(log_weights(model, all_images()[::5], proposal, 10_000), quadrature(model, step=0.1)[::5])


@named(WITH_A_GAUSSIAN)
def test_weights_average_to_the_evidence_of_a_model_with_flows(proposal):
    model, x, step = FlowVAE(), all_images()[::9], 0.2
    axis = torch.arange(-12, 12, step, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis).unsqueeze(1).expand(-1, len(x), -1)
    with torch.no_grad():
        exact = torch.logsumexp(model.log_joint(x, grid), 0) + 2 * math.log(step)
    assert_agrees(log_weights(model, x, proposal, 5_000), exact)


def test_prior_s_weights_are_the_likelihood():
    model, x = small_vae(), all_images()[:4]
    z, _ = prior(model, x).rsample_and_log_prob(6, sources(*range(4)))
    torch.testing.assert_close(log_weights(model, x, prior, 6), model.log_conditional(x, z).detach())


@named(WITH_A_GAUSSIAN)
@pytest.mark.parametrize("make", [small_vae, FlowVAE])
def test_density_of_draws_is_that_of_any_points(make, proposal):
    q = proposed(proposal, make(), all_images()[:5], sources(*range(100, 105)))
    z, log_q = q.rsample_and_log_prob(40, sources(*range(5)))
    assert z.shape == (40, 5, 2) and log_q.shape == (40, 5)
    torch.testing.assert_close(q.log_prob(z), log_q, rtol=1e-9, atol=1e-9)


# Each of them


def test_widened_multiplies_standard_deviations_and_nothing_else():
    model, x = small_vae(), all_images()[:5]
    found, q = widened(1.5)(model, x), model.posterior(x)
    assert isinstance(found, DiagonalGaussian)
    assert torch.equal(found.mean, q.mean)
    torch.testing.assert_close(found.std, 1.5 * q.std)


def test_widened_flow_has_a_widened_base():
    model, x = FlowVAE(), all_images()[:5]
    found, q = widened(1.5)(model, x), model.posterior(x)
    assert isinstance(found, FlowPosterior)
    torch.testing.assert_close(found.base.std, 1.5 * q.base.std)
    noise = DiagonalGaussian(q.base.mean, 1.5 * q.base.std).rsample(3, sources(*range(5)))
    exact, _ = model.flow.steps(noise, model.context(x))
    torch.testing.assert_close(found.rsample(3, sources(*range(5))), exact)


@pytest.mark.parametrize(
    ("proposal", "dim", "cost"),
    [
        (widened(1.2), 8, (1.2**2 / math.sqrt(2 * 1.2**2 - 1)) ** 8),
        (widened(1.05), 50, (1.05**2 / math.sqrt(2 * 1.05**2 - 1)) ** 50),
        # Integrals over the squared distance, which is chi-square: of p^2 / q over p.
        (student_t(5), 50, 2.4717),
        (student_t(3), 10, 1.6355),
    ],
)
def test_cost_of_moving_away_from_a_right_q_is_the_one_stated(proposal, dim, cost):
    """The mean squared weight, from proposals around the exact posterior."""
    model, n = LinearGaussianVAE.random(dim, dim, seed=0), 30_000
    x = model.simulate(1, seed=0)
    squares = (2 * (log_weights(model, x, proposal, n) - model.exact_log_likelihood(x).detach())).exp()
    error = float(squares.std()) / math.sqrt(n)
    assert abs(float(squares.mean()) - cost) < 5 * error < 0.1 * cost


@pytest.mark.parametrize("df", [3, 8])
def test_student_t_is_scipy_s(df):
    model, x = moved_linear(), torch.rand(2, 4, dtype=torch.float64)
    q, gaussian = student_t(df)(model, x), model.posterior(x)
    z = q.rsample(7, sources(0, 1)).detach()
    for image in range(2):
        exact = stats.multivariate_t(gaussian.mean[image].tolist(), (gaussian.std[image] ** 2).diag().tolist(), df=df)
        assert q.log_prob(z)[:, image].tolist() == pytest.approx(exact.logpdf(z[:, image].numpy()), rel=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("df", [3, 8])
def test_student_t_draws_follow_its_law(df):
    """Squared distances over the dimension have an F distribution: Kolmogorov-Smirnov, one false alarm in 100,000."""
    model, x = moved_linear(), torch.rand(2, 4, dtype=torch.float64)
    gaussian = model.posterior(x)
    noise = (student_t(df)(model, x).rsample(20_000, sources(0, 1)) - gaussian.mean) / gaussian.std
    for image in noise.unbind(1):
        assert stats.kstest((image**2).sum(-1) / 2, stats.f(2, df).cdf).pvalue > 1e-5
        assert stats.kstest(image[:, 0], stats.t(df).cdf).pvalue > 1e-5
        assert stats.kstest(image[:, 1], stats.t(df).cdf).pvalue > 1e-5


@torch.no_grad()
def test_mixture_draws_from_the_prior_as_often_as_it_says():
    model, share, n = LinearGaussianVAE.random(4, 2, seed=0), 0.2, 50_000
    x = model.simulate(3, seed=0)
    # A q far away, so that each draw tells where it came from.
    model.encoder.bias.add_(40)
    z, _ = defensive_mixture(share)(model, x).rsample_and_log_prob(n, sources(0, 1, 2))
    from_prior = z.amax(-1) < 15
    assert ((from_prior.double().mean(0) - share).abs() < 5 * math.sqrt(share * (1 - share) / n)).all()
    for image in range(3):
        assert stats.kstest(z[from_prior[:, image], image, 0], "norm").pvalue > 1e-5
    # Independent draws, and not first all of one kind.
    pairs = (from_prior[1:] & from_prior[:-1]).double().mean(0)
    assert ((pairs - share**2).abs() < 5 * share / math.sqrt(n)).all()


@torch.no_grad()
def test_mixture_bounds_the_weights_by_the_likelihood_over_the_share():
    model, x, share = small_vae(), all_images(), 0.1
    # A q too narrow by far.
    model.encoder[-1].bias[2:] = -4.0
    z, _ = defensive_mixture(share)(model, x).rsample_and_log_prob(2_000, sources(*range(64)))
    log_w = log_weights(model, x, defensive_mixture(share), 2_000)
    assert (log_w <= model.log_conditional(x, z) - math.log(share) + 1e-12).all()
    assert (log_weights(model, x, encoder, 2_000).amax(0) > log_w.amax(0)).any()


@torch.no_grad()
def test_mixture_mends_a_q_that_is_too_narrow():
    """Its own estimate is off by more than its error says; a tenth from the prior makes it agree with quadrature."""
    model, x = small_vae(), all_images()[::5]
    model.encoder[-1].bias[2:] = -4.0
    exact = quadrature(model, step=0.1)[::5]
    wrong = (log_weights(model, x, encoder, 10_000) - exact).exp()
    assert (((wrong.mean(0) - 1) / (wrong.std(0) / 100)).abs() > 5).double().mean() > 0.3
    assert_agrees(log_weights(model, x, defensive_mixture(0.1), 10_000), exact)


# The same every time


@named(WITH_A_GAUSSIAN)
@pytest.mark.parametrize("make", [small_vae, FlowVAE])
def test_an_image_has_the_same_draws_in_any_batch(make, proposal):
    model, x, order = make(), all_images()[:7], [4, 1]
    # Twice in a row, as a stream takes them: the sources have to be left in the same state too.
    runs = []
    for images, numbers in ((x, range(7)), (x[order], order)):
        generators = sources(*numbers)
        q = proposed(proposal, model, images, sources(*(100 + number for number in numbers)))
        runs.append([q.rsample_and_log_prob(5, generators) for _ in range(3)])
    for whole, part in zip(*runs, strict=True):
        for exact, found in zip(whole, part, strict=True):
            torch.testing.assert_close(found, exact[:, order], rtol=1e-10, atol=1e-10)


@named(WITH_A_GAUSSIAN)
def test_draws_of_images_are_unrelated_with_one_source_for_all(proposal):
    model, n = moved_linear(), 20_000
    x = model.simulate(1, seed=0).repeat(2, 1)
    with torch.no_grad():
        z, _ = proposal(model, x).rsample_and_log_prob(n, torch.Generator().manual_seed(0))
    assert z.shape == (n, 2, 2)
    ranks = stats.spearmanr(z[:, 0, 0], z[:, 1, 0]).statistic
    assert abs(ranks) < 5 / math.sqrt(n)


@named(WITH_A_GAUSSIAN)
def test_single_precision_stays_single(proposal):
    model, x = small_vae().float(), all_images()[:3].float()
    z, log_q = proposal(model, x).rsample_and_log_prob(5, sources(0, 1, 2))
    assert z.dtype == log_q.dtype == torch.float32


# Bad input


@pytest.mark.parametrize("factor", [0, -1.0, math.nan, math.inf])
def test_factors_out_of_range_are_refused(factor):
    with pytest.raises(ValueError, match="the factor must be a positive, finite number"):
        widened(factor)


@pytest.mark.parametrize("df", [0, -1, 1, 2, 3.5, True, math.nan])
def test_degrees_of_freedom_out_of_range_are_refused(df):
    with pytest.raises(
        ValueError, match=r"df, with which a Student t has a variance, must be a whole number of at least 3"
    ):
        student_t(df)


def test_degrees_of_freedom_that_make_no_tails_are_refused():
    with pytest.raises(ValueError, match=r"df must be at most 100: with more, take encoder or widened.*got 1,000"):
        student_t(1e3)


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.1, math.nan])
def test_shares_out_of_range_are_refused(share):
    with pytest.raises(ValueError, match="share must lie between 0 and 1"):
        defensive_mixture(share)


@pytest.mark.parametrize("proposal", [widened(1.2), student_t(5)])
def test_a_q_without_a_gaussian_is_refused(proposal):
    with pytest.raises(ValueError, match=r"of TwoLayerVAE is neither a Gaussian nor a flow of one.*defensive_mixture"):
        proposal(small_two_layer(), all_images())


@named(WITH_A_GAUSSIAN)
def test_another_number_of_sources_than_images_is_refused(proposal):
    with pytest.raises(ValueError, match="one generator for each of 4 images is needed; got 3"):
        proposal(small_vae(), all_images()[:4]).rsample_and_log_prob(2, sources(0, 1, 2))
