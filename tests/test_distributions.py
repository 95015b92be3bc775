"""Gaussians, bits and levels: torch's own numbers, draws that belong to an image, and no digits lost."""

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats
from small_models import EPSILON
from torch import nn
from torch.distributions import Bernoulli, Categorical, Independent, Normal, kl_divergence
from torch.nn import functional

from course_lib.vae.distributions import (
    BernoulliPixels,
    CategoricalLevels,
    DiagonalGaussian,
    DiscretizedLogisticMixture,
    bernoulli_log_prob,
    checked_levels,
    standard_normal_log_prob,
)

SINGLE_EPSILON = torch.finfo(torch.float32).eps
ALL_LEVELS = pytest.mark.parametrize("levels", [2, 17, 256])


def some_gaussians(shape=(5, 3), dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(shape, generator=generator, dtype=dtype)
    return DiagonalGaussian(mean, torch.rand(shape, generator=generator, dtype=dtype) + 0.1)


def some_pixels(k=3, batch=4, n_hidden=7, n_pixels=11, scale=1.0, dtype=torch.float64):
    """Binary and grey images, a hidden layer, and the layer that makes logits of it."""
    torch.manual_seed(0)
    x = torch.rand(batch, n_pixels, dtype=dtype)
    x[: batch // 2] = (x[: batch // 2] > 0.5).to(dtype)
    output = nn.Linear(n_hidden, n_pixels, dtype=dtype)
    with torch.no_grad():
        output.weight.mul_(scale)
    return x, torch.tanh(2 * torch.randn(k, batch, n_hidden, dtype=dtype)).requires_grad_(), output


def one_for_each(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


# Gaussians


@pytest.mark.parametrize("std", [1e-6, 1.0, 1e6])
def test_log_density_is_that_of_torch(std):
    q = some_gaussians()
    q = DiagonalGaussian(q.mean, q.std * std)
    z = q.rsample(6, torch.Generator().manual_seed(1))
    exact = Independent(Normal(q.mean, q.std), 1).log_prob(z)
    assert q.log_prob(z).shape == (6, 5)
    torch.testing.assert_close(q.log_prob(z), exact, rtol=1e-12, atol=1e-12)


def test_standard_normal_is_the_gaussian_of_mean_zero_and_deviation_one():
    z = torch.randn(4, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    standard = DiagonalGaussian(torch.zeros(3, dtype=z.dtype), torch.ones(3, dtype=z.dtype))
    torch.testing.assert_close(standard_normal_log_prob(z), standard.log_prob(z), rtol=1e-14, atol=0)
    assert float(standard_normal_log_prob(torch.zeros(50, dtype=z.dtype))) == pytest.approx(
        -25 * math.log(2 * math.pi), rel=1e-15
    )


def test_divergence_from_the_standard_normal_is_that_of_torch_and_zero_only_there():
    q = some_gaussians()
    standard = Normal(torch.zeros_like(q.mean), torch.ones_like(q.mean))
    exact = kl_divergence(Normal(q.mean, q.std), standard).sum(-1)
    torch.testing.assert_close(q.kl_from_standard_normal(), exact, rtol=1e-13, atol=1e-13)
    assert (q.kl_from_standard_normal() > 0).all()
    assert not DiagonalGaussian(standard.mean, standard.stddev).kl_from_standard_normal().any()


def test_draws_have_the_mean_the_deviation_and_no_correlation():
    q, n = some_gaussians(), 100_000
    noise = (q.rsample(n, torch.Generator().manual_seed(0)) - q.mean) / q.std
    noise = noise.flatten(1)
    # 15 means, 15 variances and 105 covariances of standard normals, at 5 standard errors.
    assert noise.mean(0).abs().max() < 5 / math.sqrt(n)
    covariance = noise.T @ noise / n
    assert (covariance.diagonal() - 1).abs().max() < 5 * math.sqrt(2 / n)
    assert (covariance - covariance.diagonal().diag()).abs().max() < 5 / math.sqrt(n)


def test_gradients_flow_through_draws_to_the_mean_and_the_deviation():
    q = some_gaussians()
    mean, std = q.mean.requires_grad_(), q.std.requires_grad_()
    z = q.rsample(4, torch.Generator().manual_seed(0))
    noise = ((z - mean) / std).detach()
    to_mean, to_std = torch.autograd.grad(z.sum(), (mean, std))
    assert (to_mean == 4).all()
    torch.testing.assert_close(to_std, noise.sum(0), rtol=1e-12, atol=1e-12)


def test_detached_gaussian_lets_gradients_to_z_and_none_to_its_parameters():
    q = some_gaussians()
    for parameter in (q.mean, q.std):
        parameter.requires_grad_()
    z = q.rsample(2).detach().requires_grad_()
    log_q = q.detached().log_prob(z)
    assert torch.equal(log_q, q.log_prob(z))
    log_q.sum().backward()
    torch.testing.assert_close(z.grad, ((q.mean - z) / q.std**2).detach(), rtol=1e-12, atol=1e-12)
    assert q.mean.grad is None and q.std.grad is None


# Draws that belong to an image


@pytest.mark.parametrize("shape", [(5, 3), (2, 5, 3), (5, 20)])
def test_one_generator_for_each_image_gives_it_the_same_draws_in_any_batch(shape):
    q = some_gaussians(shape)
    whole = q.rsample(7, one_for_each(0, 1, 2, 3, 4))
    assert whole.shape == (7, *shape)
    for images in ([3], [1, 2], [4, 0, 2]):
        part = DiagonalGaussian(q.mean[..., images, :], q.std[..., images, :]).rsample(7, one_for_each(*images))
        assert torch.equal(part, whole[..., images, :])
    noise = (whole - q.mean) / q.std
    assert len(noise.unique()) == noise.numel()


def test_one_generator_for_all_and_none_are_reproducible():
    q = some_gaussians()
    assert torch.equal(*(q.rsample(3, torch.Generator().manual_seed(5)) for _ in range(2)))
    torch.manual_seed(5)
    assert torch.equal(q.rsample(3), q.rsample(3, torch.Generator().manual_seed(5)))


@pytest.mark.parametrize("n", [0, 1, 4, 6])
def test_as_many_generators_as_images_are_needed(n):
    # A single one would otherwise give all images the same noise.
    with pytest.raises(ValueError, match=f"one generator for each of 5 images is needed; got {n}"):
        some_gaussians().rsample(2, one_for_each(*range(n)))


# Bits


def test_bits_and_greys_have_the_log_probability_and_gradients_of_torch():
    x, hidden, output = some_pixels(scale=3)
    found = bernoulli_log_prob(x, hidden, output)
    exact = Bernoulli(logits=output(hidden), validate_args=False).log_prob(x).sum(-1)
    assert found.shape == (3, 4)
    torch.testing.assert_close(found, exact, rtol=1e-13, atol=1e-13)
    wrt = (hidden, output.weight, output.bias)
    for one, other in zip(torch.autograd.grad(found.sum(), wrt), torch.autograd.grad(exact.sum(), wrt), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_probabilities_of_all_images_sum_to_one():
    _, hidden, output = some_pixels(k=1, batch=1, n_pixels=8)
    x = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 8)
    total = bernoulli_log_prob(x, hidden, output).exp().sum().detach()
    assert float(total) == pytest.approx(1, abs=2**8 * EPSILON)


@pytest.mark.parametrize("scale", [1, 1e2, 1e4, 1e30])
def test_large_logits_stay_finite_and_lose_only_their_last_digits(scale):
    x, hidden, output = some_pixels(scale=scale, n_pixels=100, dtype=torch.float32)
    found = bernoulli_log_prob(x, hidden, output)
    assert found.isfinite().all()
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(found.sum(), [hidden, *output.parameters()]))
    with torch.no_grad():
        exact = bernoulli_log_prob(x.double(), hidden.double(), output.double())
        # Each of the 700 products and sums rounds once, relative to the absolute values that it meets.
        met = ((hidden.abs().double() @ output.weight.abs().T) + output.bias.abs()).sum(-1)
        assert ((found - exact).abs() <= 800 * torch.finfo(torch.float32).eps * met).all()


def sure_pixels(smallest):
    """Pixels whose logits have the right sign, and at least this size, in every sample."""
    torch.manual_seed(0)
    output = nn.Linear(8, 400)
    with torch.no_grad():
        sign, size = torch.randn(400, 1).sign(), smallest / 8 * (1 + torch.rand(400, 8))
        output.weight.copy_(sign * size)
        output.bias.zero_()
    return (sign.T > 0).float(), torch.ones(1, 1, 8), output


def test_bfloat16_does_not_blur_pixels_that_the_model_is_sure_of():
    x, hidden, output = sure_pixels(10)
    with torch.autocast("cpu", torch.bfloat16):
        found = bernoulli_log_prob(x, hidden, output)
    assert found.dtype == torch.float32
    size = output(hidden).abs().double()
    # The weights, and the logits that they give, are each rounded to 8 bits. Were that done apart for the two terms
    # of a pixel, which cancel almost, errors of some 0.02 would add up over 400 pixels.
    smallest, largest = (-functional.softplus(-size * (1 + side * 2 * 2**-8)).sum() for side in (-1, 1))
    assert smallest < found < largest
    assert largest - smallest < 0.001


def test_bfloat16_gradients_follow_the_residual_between_a_pixel_and_its_probability():
    x, hidden, output = sure_pixels(5)
    exact, *_ = torch.autograd.grad(bernoulli_log_prob(x, hidden, output).sum(), output.bias)
    with torch.autocast("cpu", torch.bfloat16):
        found, *_ = torch.autograd.grad(bernoulli_log_prob(x, hidden, output).sum(), output.bias)
    # The residual is sigmoid(-size) for a pixel, which falls by 1 - e^-change with the logit, and is rounded once more.
    change = 2 * 2**-8 * output(hidden).abs().flatten()
    assert ((found - exact).abs() <= (change.expm1() + 2**-8) * exact.abs()).all()


# Levels


def intensities(levels, dtype=torch.float32):
    return torch.arange(levels, dtype=dtype) / (levels - 1)


def levels_to_try(levels):
    """A few intensities, with both ends."""
    return [*intensities(levels)[: -1 : max(1, levels // 6)].tolist(), 1.0]


def all_sorts_of_components(dtype=torch.float32, n_more=100):
    """Means and log-scales ``[n]``: the range that is promised, its ends, and every place where a branch changes.

    In multiples of 1 / 64, so that a mean in levels, of at most 24 bits, needs no rounding.
    """
    generator = torch.Generator().manual_seed(0)
    inside = torch.randint(-16, 81, (n_more,), generator=generator) / 64
    outside = torch.randn(20, generator=generator).mul(100 * 64).round() / 64
    means = torch.cat([torch.tensor([-1000, -10, -1, 0, 1 / 64, 0.5, 1, 65 / 64, 2, 1000]), inside, outside])
    means, log_scales = torch.meshgrid(means, torch.linspace(-12, 8, 41), indexing="ij")
    return means.flatten().to(dtype), log_scales.flatten().to(dtype)


def all_sorts_of_mixtures(levels, n_components, dtype=torch.float32):
    means, log_scales = all_sorts_of_components(dtype)
    generator = torch.Generator().manual_seed(n_components)
    logits = 3 * torch.randn(len(means), n_components, generator=generator).to(dtype)
    members = torch.stack([torch.randperm(len(means), generator=generator) for _ in range(n_components)], -1)
    return DiscretizedLogisticMixture(logits, means[members], log_scales[members], levels)


def some_mixture(levels=17, shape=(2,), dtype=torch.float64):
    """Three components, two of them reaching beyond the ends, that leave no level without probability."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(*shape, 3, generator=generator, dtype=dtype)
    means = torch.tensor([-0.05, 0.4, 1.1], dtype=dtype) + 0.1 * torch.rand(*shape, 3, generator=generator, dtype=dtype)
    log_scales = torch.tensor([-1.5, -2.0, -2.5], dtype=dtype).expand(*shape, 3)
    return DiscretizedLogisticMixture(logits, means, log_scales.clone(), levels)


def some_categorical(levels=17, shape=(2,), dtype=torch.float64):
    return CategoricalLevels(torch.randn(*shape, levels, generator=torch.Generator().manual_seed(4), dtype=dtype))


def with_parameters(distribution, change):
    """The same kind of distribution, of parameters that ``change`` makes of its own."""
    fields = vars(distribution).values()
    return type(distribution)(*(change(each) if isinstance(each, torch.Tensor) else each for each in fields))


def as_double(mixture):
    return with_parameters(mixture, lambda parameter: parameter.detach().double())


def gradients_at(x, mixture):
    """Partial derivatives of each log-probability by the parameters of its own mixture."""
    parameters = [each.requires_grad_() for each in (mixture.logits, mixture.means, mixture.log_scales)]
    return torch.autograd.grad(mixture.log_prob(x).sum(), parameters)


def exact_log_prob(level, logits, means, log_scales, levels):
    """The definition, with fifty digits: a difference of two logistic functions, averaged over the components."""
    with mpmath.workdps(50):
        weights = [mpmath.exp(mpmath.mpf(logit)) for logit in logits]
        total = mpmath.mpf(0)
        for weight, mean, log_scale in zip(weights, means, log_scales, strict=True):
            scale = mpmath.exp(mpmath.mpf(log_scale)) * (levels - 1)
            centre = mpmath.mpf(mean) * (levels - 1)
            low = mpmath.mpf("-inf") if level == 0 else (level - mpmath.mpf(1) / 2 - centre) / scale
            high = mpmath.mpf("inf") if level == levels - 1 else (level + mpmath.mpf(1) / 2 - centre) / scale
            if low > 0:  # where both are near 1: fifty digits would not hold their difference
                low, high = -high, -low
            total += weight * (1 / (1 + mpmath.exp(-high)) - 1 / (1 + mpmath.exp(-low)))
        return float(mpmath.log(total / sum(weights)))


@ALL_LEVELS
@pytest.mark.parametrize("n_components", [1, 5])
def test_probabilities_of_all_levels_sum_to_one_at_any_mean_and_scale(levels, n_components):
    log_probs = all_sorts_of_mixtures(levels, n_components).log_probs()
    assert log_probs.dtype == torch.float32 and log_probs.shape[1:] == (levels,)
    assert (log_probs <= 4 * SINGLE_EPSILON).all()
    assert (log_probs.double().exp().sum(-1) - 1).abs().max() < 1e-6


@ALL_LEVELS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_single_logistics_agree_with_fifty_digits_in_both_far_tails(levels, dtype):
    means, log_scales = (each[::7, None] for each in all_sorts_of_components(dtype))
    level = torch.randint(levels, (len(means),), generator=torch.Generator().manual_seed(0))
    level[::3] = 0
    level[1::3] = levels - 1
    mixture = DiscretizedLogisticMixture(torch.zeros_like(means), means, log_scales, levels)
    found = mixture.log_prob(level.to(dtype) / (levels - 1))
    rows = zip(level.tolist(), means.tolist(), log_scales.tolist(), strict=True)
    exact = torch.tensor([exact_log_prob(one, [0.0], *of_it, levels) for one, *of_it in rows], dtype=torch.float64)
    assert exact.min() < -1e7
    assert ((found - exact).abs() <= 4 * torch.finfo(dtype).eps * (1 + exact.abs())).all()


@ALL_LEVELS
def test_mixtures_agree_with_fifty_digits(levels):
    mixture = all_sorts_of_mixtures(levels, 4)
    rows = slice(0, None, 41)
    parameters = [each[rows] for each in (mixture.logits, mixture.means, mixture.log_scales)]
    level = torch.randint(levels, (len(parameters[0]),), generator=torch.Generator().manual_seed(0))
    found = DiscretizedLogisticMixture(*parameters, levels).log_prob(level / (levels - 1))
    each_row = zip(level.tolist(), *(each.tolist() for each in parameters), strict=True)
    exact = torch.tensor([exact_log_prob(*row, levels) for row in each_row], dtype=torch.float64)
    # The weights of the components, down to e^-14, are rounded as numbers of that size.
    assert ((found - exact).abs() <= 4 * SINGLE_EPSILON * (14 + exact.abs())).all()


def test_any_mean_counts_as_one_that_was_rounded_once_more():
    """Where a mean has all its bits, its place among the levels is rounded; a narrow component enlarges that."""
    generator = torch.Generator().manual_seed(0)
    means = torch.cat([torch.rand(300, generator=generator), 100 * torch.randn(100, generator=generator)])
    means, log_scales = torch.meshgrid(means, torch.linspace(-12, 8, 41), indexing="ij")
    means, log_scales = means.reshape(-1, 1), log_scales.reshape(-1, 1)
    mixture = DiscretizedLogisticMixture(torch.zeros_like(means), means, log_scales)
    exact = as_double(mixture).log_probs()
    # The slope of the log-probability by the mean is 1 / scale at most.
    moved = SINGLE_EPSILON / 2 * (means.abs() / log_scales.exp()).double()
    assert ((mixture.log_probs() - exact).abs() <= moved + 4 * SINGLE_EPSILON * (1 + exact.abs())).all()


def test_gradients_are_those_of_finite_differences():
    mixture = some_mixture(levels=5, shape=(5,))
    parameters = [each.requires_grad_() for each in (mixture.logits, mixture.means, mixture.log_scales)]
    x = intensities(5, torch.float64)
    assert torch.autograd.gradcheck(lambda *of: DiscretizedLogisticMixture(*of, 5).log_prob(x), parameters)


@ALL_LEVELS
def test_gradients_in_single_precision_are_those_in_double_at_any_mean_and_scale(levels):
    means, log_scales = (each[:, None] for each in all_sorts_of_components())
    for x in levels_to_try(levels):
        mixture = DiscretizedLogisticMixture(torch.zeros_like(means), means, log_scales, levels)
        exact = gradients_at(torch.tensor(x).double(), as_double(mixture))
        found = gradients_at(torch.tensor(x), mixture)
        assert all(each.isfinite().all() for each in found)
        # By the mean it is 1 / scale at most; by the log-scale, the further edge's distance in scales.
        scale = log_scales.detach().double().exp()
        distance = (means.detach().double() - x).abs() + 1 / (levels - 1)
        assert ((found[1] - exact[1]).abs() <= 8 * SINGLE_EPSILON / scale).all()
        assert ((found[2] - exact[2]).abs() <= 8 * SINGLE_EPSILON * (1 + distance / scale)).all()


@ALL_LEVELS
def test_gradients_of_mixtures_are_finite_at_any_mean_and_scale(levels):
    for x in levels_to_try(levels):
        mixture = all_sorts_of_mixtures(levels, 5)
        assert all(each.isfinite().all() for each in gradients_at(torch.tensor(x), mixture))


@pytest.mark.parametrize("log_scale", [-80.0, 80.0])
def test_scales_of_a_training_that_diverges_still_have_finite_values_and_gradients(log_scale):
    means = torch.tensor([-1e3, 0.0, 0.5 / 255, 0.5, 1.0, 1e3])[:, None]
    mixture = DiscretizedLogisticMixture(torch.zeros_like(means), means, torch.full_like(means, log_scale))
    assert (mixture.log_probs().double().exp().sum(-1) - 1).abs().max() < 1e-6
    for x in (0.0, 127 / 255, 128 / 255, 1.0):
        assert mixture.log_prob(torch.tensor(x)).isfinite().all()
        assert all(each.isfinite().all() for each in gradients_at(torch.tensor(x), mixture))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_two_levels_are_a_bernoulli(dtype):
    means, log_scales = all_sorts_of_components(dtype)
    mixture = DiscretizedLogisticMixture(*(each[:, None] for each in (0 * means, means, log_scales)), levels=2)
    logits = (means.double() - 0.5) / log_scales.double().exp()
    for x, sign in ((0.0, -1), (1.0, 1)):
        exact = functional.logsigmoid(sign * logits)
        found = mixture.log_prob(torch.tensor(x)).double()
        assert ((found - exact).abs() <= 4 * torch.finfo(dtype).eps * (1 + exact.abs())).all()


def test_black_and_white_are_alike():
    mixture = all_sorts_of_mixtures(256, 3)
    inverted = DiscretizedLogisticMixture(mixture.logits, 1 - mixture.means, mixture.log_scales)
    # 1 - mean is exact for multiples of 1 / 64; only sums over components round differently.
    torch.testing.assert_close(inverted.log_probs(), mixture.log_probs().flip(-1), rtol=1e-6, atol=1e-6)


def test_a_mixture_is_the_average_of_its_components():
    mixture = some_mixture()
    single = [
        DiscretizedLogisticMixture(
            *(each[..., [j]] for each in (mixture.logits, mixture.means, mixture.log_scales)), 17
        )
        for j in range(3)
    ]
    average = sum(mixture.logits.softmax(-1)[..., [j]] * single[j].log_probs().exp() for j in range(3))
    torch.testing.assert_close(mixture.log_probs().exp(), average, rtol=1e-12, atol=0)


def test_each_number_of_a_colour_image_has_its_own_mixture():
    mixture = some_mixture(levels=256, shape=(2, 3, 4, 5))
    x = torch.randint(256, (2, 3, 4, 5), generator=torch.Generator().manual_seed(0)) / 255
    found = mixture.log_prob(x)
    assert found.shape == x.shape
    picked = mixture.log_probs().gather(-1, (x * 255).round().long()[..., None]).squeeze(-1)
    torch.testing.assert_close(found, picked, rtol=1e-12, atol=0)


@pytest.mark.parametrize("make", [some_mixture, some_categorical])
def test_one_image_is_held_against_many_samples_of_z(make):
    distribution = make(shape=(6, 2, 3))
    x = torch.randint(17, (2, 3), generator=torch.Generator().manual_seed(0)) / 16
    found = distribution.log_prob(x)
    assert found.shape == (6, 2, 3)
    assert torch.equal(found, distribution.log_prob(x.expand(6, 2, 3)))


@pytest.mark.parametrize("levels", [2, 17, 50, 256])
@pytest.mark.parametrize("make", [some_mixture, some_categorical])
def test_one_distribution_gives_all_levels_however_they_were_rounded(make, levels):
    distribution = make(levels, shape=())
    for x in (intensities(levels), torch.arange(levels) * torch.tensor(1 / (levels - 1))):
        torch.testing.assert_close(distribution.log_prob(x), distribution.log_probs(), rtol=1e-12, atol=0)


@ALL_LEVELS
@pytest.mark.parametrize("make", [some_mixture, some_categorical])
def test_expected_intensity_is_that_of_the_probabilities(make, levels):
    distribution = make(levels, shape=(4, 3))
    exact = distribution.log_probs().exp() @ intensities(levels, torch.float64)
    torch.testing.assert_close(distribution.mean, exact, rtol=1e-12, atol=0)


@pytest.mark.parametrize("make", [some_mixture, some_categorical])
def test_draws_are_levels_in_the_proportions_of_their_probabilities(make):
    distribution, n = make(dtype=torch.float32), 50_000
    repeated = with_parameters(distribution, lambda parameter: parameter.expand(n, *parameter.shape))
    draws = checked_levels(repeated.sample(torch.Generator().manual_seed(0)), 17)
    assert draws.shape == (n, 2) and draws.dtype == torch.float32
    for pixel in range(2):
        counts = np.bincount((draws[:, pixel] * 16).round().int().numpy(), minlength=17)
        expected = distribution.log_probs()[pixel].double().exp()
        expected = n * (expected / expected.sum()).numpy()
        assert expected.min() > 20
        assert stats.chisquare(counts, expected).pvalue > 1e-5


@pytest.mark.parametrize("make", [some_mixture, some_categorical])
def test_same_seed_same_draws_and_no_other_source_of_noise(make):
    distribution = make(shape=(50, 50))
    before = torch.get_rng_state()
    first, again, other = (distribution.sample(torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("make", [some_mixture, some_categorical, lambda: BernoulliPixels(torch.zeros(3))])
def test_a_seed_is_no_generator(make):
    with pytest.raises(ValueError, match=r"must be a generator, such as torch.Generator\(\).manual_seed\(0\); got 3"):
        make().sample(3)


@pytest.mark.parametrize("make", [some_mixture, some_categorical])
def test_draws_of_a_model_in_training_carry_no_gradient(make):
    distribution = with_parameters(make(), lambda parameter: parameter.requires_grad_())
    assert not distribution.sample().requires_grad


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-24])
def test_the_rarest_noise_leaves_a_narrow_component_at_its_level(monkeypatch, uniform):
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.full(shape, uniform))
    mixture = DiscretizedLogisticMixture(torch.zeros(1), torch.tensor([153 / 255]), torch.tensor([-12.0]))
    assert float(mixture.sample() * 255) == pytest.approx(153)


@pytest.mark.parametrize("make", [some_mixture, some_categorical])
def test_half_precision_of_autocast_is_computed_with_in_single_precision(make):
    distribution = make(levels=256, dtype=torch.bfloat16)
    single = with_parameters(distribution, torch.Tensor.float)
    x = torch.tensor([128, 253]) / 255
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(distribution.log_prob(x), single.log_prob(x))
        assert torch.equal(distribution.log_probs(), single.log_probs())
        assert torch.equal(distribution.mean, single.mean)
        seeded = (torch.Generator().manual_seed(0) for _ in range(2))
        assert torch.equal(distribution.sample(next(seeded)), single.sample(next(seeded)))
    assert single.log_prob(x).dtype == torch.float32


def test_categorical_log_probabilities_and_gradients_are_those_of_torch():
    categorical = some_categorical(levels=17, shape=(4, 3))
    categorical.logits.requires_grad_()
    level = torch.randint(17, (4, 3), generator=torch.Generator().manual_seed(0))
    found, exact = categorical.log_prob(level / 16), Categorical(logits=categorical.logits).log_prob(level)
    torch.testing.assert_close(found, exact, rtol=1e-12, atol=0)
    to_found, to_exact = (torch.autograd.grad(each.sum(), categorical.logits)[0] for each in (found, exact))
    torch.testing.assert_close(to_found, to_exact, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(categorical.log_probs().exp().sum(-1), torch.ones(4, 3).double(), rtol=1e-14, atol=0)


def test_categorical_logits_of_any_size_lose_nothing():
    categorical = CategoricalLevels(torch.tensor([[-1e30, 0.0, 1e30], [1e4, 1e4 + 1, 1e4]]))
    exact = torch.tensor([[-2e30, -1e30, 0.0], [0.0, 1.0, 0.0]])
    exact[1] -= exact[1].logsumexp(0)
    torch.testing.assert_close(categorical.log_probs(), exact, rtol=1e-6, atol=0)


# Whether images are levels


@pytest.mark.parametrize("levels", [2, 17, 256, 65_536])
def test_all_levels_are_levels_however_they_were_rounded(levels):
    x = intensities(levels).reshape(2, -1) if levels % 2 == 0 else intensities(levels)[None]
    assert checked_levels(x, levels) is x
    for rounded in (torch.arange(levels) * torch.tensor(1 / (levels - 1)), (2 * x - 1 + 1) / 2, x.double()):
        checked_levels(rounded, levels)


@pytest.mark.parametrize(
    ("value", "levels", "found"),
    [
        (0.5, 256, "127.5"),
        (100.01 / 255, 256, "100.01"),
        (-1 / 255, 256, "-1"),
        (1.2, 11, "12"),
        (3.0, 2, "3"),
        (math.nan, 17, "nan"),
    ],
)
def test_what_is_no_level_is_named_with_its_image(value, levels, found):
    x = torch.zeros(4, 1, 3, 3)
    x[2, 0, 1, 2] = x[3] = value
    with pytest.raises(ValueError, match=rf"with {levels} levels.* image 2 has .*, which is {found} / {levels - 1}: "):
        checked_levels(x, levels)


@pytest.mark.parametrize(("of_data", "of_model"), [(17, 256), (256, 17), (256, 255), (255, 256), (256, 2), (17, 16)])
def test_levels_of_other_data_are_noticed(of_data, of_model):
    with pytest.raises(ValueError, match="give the model the levels of the data"):
        checked_levels(intensities(of_data)[None], of_model)


def test_half_precision_cannot_hold_256_levels():
    checked_levels(intensities(17)[None].bfloat16(), 17)
    with pytest.raises(ValueError, match="with 256 levels"):
        checked_levels(intensities(256)[None].bfloat16(), 256)


# Bad input


@pytest.mark.parametrize("levels", [1, 0, -3, 2.5, "256", True, None])
def test_levels_must_be_a_whole_number_of_at_least_two(levels):
    with pytest.raises(ValueError, match="levels must be a whole number of at least 2; got"):
        DiscretizedLogisticMixture(*[torch.zeros(3)] * 3, levels)
    with pytest.raises(ValueError, match="levels must be a whole number of at least 2; got"):
        checked_levels(torch.zeros(1, 3), levels)


def test_levels_may_be_a_float_without_a_fraction():
    parameters = [torch.zeros(2, 3)] * 3
    one, other = (DiscretizedLogisticMixture(*parameters, levels) for levels in (5.0, 5))
    assert torch.equal(one.mean, other.mean) and torch.equal(one.log_probs(), other.log_probs())


@pytest.mark.parametrize("value", [None, 0.5, [0.5], torch.zeros(2, 3, dtype=torch.int64)])
def test_what_is_no_tensor_of_floating_point_numbers_is_refused(value):
    fine = torch.zeros(2, 3)
    calls = {
        "logits": lambda: DiscretizedLogisticMixture(value, fine, fine),
        "means": lambda: DiscretizedLogisticMixture(fine, value, fine),
        "log_scales": lambda: DiscretizedLogisticMixture(fine, fine, value),
        "logits ": lambda: CategoricalLevels(value),
        "x": lambda: CategoricalLevels(fine).log_prob(value),
        "x ": lambda: DiscretizedLogisticMixture(fine, fine, fine).log_prob(value),
        "intensities": lambda: checked_levels(value, 3),
    }
    for name, call in calls.items():
        with pytest.raises(ValueError, match=f"{name.strip()} must be a tensor of floating-point numbers; got a "):
            call()


@pytest.mark.parametrize("shapes", [((2, 3), (2, 3), (2, 1)), ((2, 3), (3,), (2, 3)), ((), (), ()), ((2, 0),) * 3])
def test_parameters_of_a_mixture_must_have_one_shape(shapes):
    with pytest.raises(ValueError, match="must have one shape, with the components on the last axis; got"):
        DiscretizedLogisticMixture(*(torch.zeros(shape) for shape in shapes))


@pytest.mark.parametrize("shape", [(), (4, 1), (4, 0)])
def test_a_categorical_needs_two_levels(shape):
    with pytest.raises(ValueError, match="at least two levels on their last axis"):
        CategoricalLevels(torch.zeros(shape))


@pytest.mark.parametrize("make", [some_mixture, some_categorical])
def test_images_of_another_shape_than_the_parameters_are_refused(make):
    with pytest.raises(ValueError, match=r"x must have shape \[4, 3\].* got \[4, 5\]"):
        make(shape=(4, 3)).log_prob(torch.zeros(4, 5))
