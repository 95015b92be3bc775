"""Gaussians and bits: torch's own numbers, draws that belong to an image, and no digits lost."""

import math

import pytest
import torch
from small_models import EPSILON
from torch import nn
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence
from torch.nn import functional

from course_lib.vae.distributions import DiagonalGaussian, bernoulli_log_prob, standard_normal_log_prob


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
