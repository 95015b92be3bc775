"""Models: log-weights against quadrature and exact answers, and one look of the encoder at each image."""

import copy
import doctest
import math

import numpy as np
import pytest
import torch
from scipy import stats
from small_models import (
    all_images,
    gaussian,
    gradients,
    ladder_gaussians,
    moved_linear,
    quadrature,
    rows_seen,
    small_ladder,
    small_two_layer,
    small_vae,
)
from torch import nn
from torch.distributions import Bernoulli, MultivariateNormal, Normal

from course_lib.vae import VAE, LadderVAE, LatentVariableModel, LinearGaussianVAE, TwoLayerVAE, log_likelihood
from course_lib.vae.models import checked_n_samples

SMALL = {
    "VAE": small_vae,
    "TwoLayerVAE": small_two_layer,
    "LinearGaussianVAE": lambda: moved_linear(6, 2),
    "LadderVAE": small_ladder,
}
every_model = pytest.mark.parametrize("make", SMALL.values(), ids=SMALL)
of_bits = pytest.mark.parametrize("make", [small_vae, small_two_layer], ids=["VAE", "TwoLayerVAE"])


def some_images(model, n=5):
    if isinstance(model, LinearGaussianVAE):
        return model.simulate(n, seed=1)
    return (torch.rand(n, model.data_dim, generator=torch.Generator().manual_seed(1)) > 0.5).double()


def images_seen(model):
    """A list that grows by a number of images each time the encoder looks at some."""
    if isinstance(model, LadderVAE):
        return rows_seen(model.encoder["features"], axes=3)
    return rows_seen(model.encoder["z1"] if isinstance(model, TwoLayerVAE) else model.encoder)


def same_noise(seed=0):
    return torch.Generator().manual_seed(seed)


def a_general_linear_model():
    """W whose columns are not orthogonal, so that no diagonal q is the posterior."""
    weight = torch.tensor([[1.0, 0.5], [0.2, -1.0], [0.7, 0.7], [0.0, 1.5]], dtype=torch.float64)
    return LinearGaussianVAE(weight, torch.tensor([0.5, -1.0, 0.0, 2.0], dtype=torch.float64), 0.6)


# One door


@every_model
@pytest.mark.parametrize(("k", "batch"), [(1, 1), (1, 5), (7, 1), (7, 5)])
def test_log_weights_are_log_joint_less_log_q_for_each_sample_and_image(make, k, batch):
    model = make()
    x = some_images(model, batch)
    log_w = model.log_weights(x, k, same_noise())
    assert log_w.shape == (k, batch)
    q = model.posterior(x)
    z = q.rsample(k, same_noise())
    assert z.shape == (k, batch, model.latent_dim)
    assert torch.equal(log_w, model.log_joint(x, z) - q.log_prob(z))
    assert torch.equal(model.log_joint(x, z), model.log_conditional(x, z) + model.log_prior(z))


@every_model
@pytest.mark.parametrize("k", [1, 50])
def test_encoder_sees_each_image_once_whatever_k(make, k):
    model = make()
    rows = images_seen(model)
    x = some_images(model)
    model.log_weights(x, k)
    assert rows == [len(x)]
    rows.clear()
    log_likelihood(model, x, n_samples=2_500)
    assert sum(rows) == len(x)


@every_model
def test_images_may_be_flat_or_have_channels_height_and_width(make):
    model = make()
    x = some_images(model)
    as_image = x.view(5, *model.shape) if isinstance(model, LadderVAE) else x.view(5, 1, 2, 3)
    flat = model.log_weights(x, 4, same_noise())
    assert torch.equal(model.log_weights(as_image, 4, same_noise()), flat)
    z = model.posterior(x).rsample(4, same_noise())
    assert torch.equal(model.posterior(as_image).rsample(4, same_noise()), z)
    assert torch.equal(model.log_joint(as_image, z), model.log_joint(x, z))


@every_model
def test_one_generator_for_each_image_keeps_its_weights_in_any_batch(make):
    model = make()
    x = some_images(model)
    whole = model.log_weights(x, 6, [same_noise(image) for image in range(5)])
    part = model.log_weights(x[[4, 1]], 6, [same_noise(4), same_noise(1)])
    torch.testing.assert_close(part, whole[:, [4, 1]], rtol=1e-12, atol=1e-12)


@every_model
def test_draws_without_a_generator_come_from_torch_s_own(make):
    model = make()
    x = some_images(model)
    torch.manual_seed(3)
    first = model.log_weights(x, 2)
    assert not torch.equal(first, model.log_weights(x, 2))
    assert torch.equal(first, model.log_weights(x, 2, same_noise(3)))


@every_model
def test_detached_posterior_has_the_density_and_lets_gradients_to_z_only(make):
    model = make()
    x = some_images(model)
    q = model.posterior(x)
    z = q.rsample(3).detach().requires_grad_()
    log_q, detached = q.log_prob(z), q.detached().log_prob(z)
    assert torch.equal(log_q, detached)
    (exact,) = torch.autograd.grad(log_q.sum(), z)
    detached.sum().backward()
    torch.testing.assert_close(z.grad, exact, rtol=1e-12, atol=1e-12)
    assert all(parameter.grad is None for parameter in model.parameters())


@every_model
def test_float32_model_agrees_with_itself_in_float64(make):
    exact = make()
    rounded = copy.deepcopy(exact).float()
    x = some_images(exact)
    z = exact.posterior(x).rsample(4, same_noise())
    for name in ("log_joint", "log_conditional"):
        found, expected = getattr(rounded, name)(x.float(), z.float()), getattr(exact, name)(x, z)
        assert found.dtype == torch.float32
        # Some hundred roundings, of numbers below a hundred.
        assert (found.double() - expected).abs().max() < 1e4 * torch.finfo(torch.float32).eps


@every_model
def test_models_in_bfloat16_autocast_give_nearly_the_same_log_weights(make):
    model = make().float()
    x = some_images(model).float()
    exact = model.log_weights(x, 200, same_noise())
    with torch.autocast("cpu", torch.bfloat16):
        found = model.log_weights(x, 200, same_noise())
    assert found.dtype == torch.float32
    # What is rounded has 8 bits, so it should be lost in what is drawn: a tenth of it, root mean square.
    assert (found - exact).square().mean().sqrt() < 0.1 * exact.std(0).square().mean().sqrt()


@every_model
def test_without_a_check_the_weights_are_the_same_and_no_value_is_looked_at(make):
    model = make()
    x = some_images(model)
    assert torch.equal(model.log_weights(x, 3, same_noise(), check=False), model.log_weights(x, 3, same_noise()))
    # A tensor on this device has no values: whoever looks at one fails.
    model, x = model.to("meta"), x.to("meta")
    assert model.log_weights(x, 3, check=False).shape == (3, 5)
    with pytest.raises(RuntimeError, match="meta"):
        model.log_weights(x, 3)


@every_model
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_log_weights_that_are_not_finite_are_told_and_not_returned(make, value, monkeypatch):
    model = make()
    x = some_images(model)
    log_w = torch.zeros(3, 5, dtype=torch.float64).index_put_(
        (torch.tensor(2), torch.tensor(4)), torch.tensor(value).double()
    )
    monkeypatch.setattr(model, "log_joint", lambda x, z: log_w)
    with pytest.raises(ValueError, match="log-weights are not finite, though the model's weights are: numbers"):
        model.log_weights(x, 3)
    assert not model.log_weights(x, 3, check=False).isfinite().all()


@every_model
def test_a_damaged_weight_is_named(make):
    model = make()
    x = some_images(model)
    name, parameter = next((name, one) for name, one in model.named_parameters() if name.startswith("decoder"))
    with torch.no_grad():
        parameter.fill_(math.nan)
    with pytest.raises(ValueError, match=rf"log-weights are not finite: .* its training diverged; look at {name}\."):
        model.log_weights(x, 3)


def test_an_image_that_cannot_be_has_weights_of_zero():
    """So far from the mean of the others that the square of its distance is no number of single precision."""
    model = LinearGaussianVAE(torch.eye(2), torch.zeros(2), noise_std=0.5)
    log_w = model.log_weights(torch.tensor([[0.0, 0.0], [0.0, 1e30]]), 4, same_noise())
    assert log_w[:, 0].isfinite().all() and (log_w[:, 1] == -math.inf).all()


@every_model
def test_what_is_compiled_draws_nothing_and_gives_the_same_log_weights(make):
    model = make()
    x = some_images(model)
    exact = model.log_weights(x, 3, same_noise()).detach()
    methods = model.compilable()
    assert methods[:2] == [(model, "log_conditional"), (model, "log_prior")]
    if isinstance(model, LadderVAE):
        assert methods[2:] == [(model, "log_joint"), (model.encoder["features"], "forward")]
    else:
        assert methods[2:] == ([(model.encoder, "forward")] if isinstance(model.encoder, nn.Sequential) else [])
    for module, method in methods:
        setattr(module, method, torch.compile(getattr(module, method), backend="eager", fullgraph=True))
    torch.testing.assert_close(model.log_weights(x, 3, same_noise()).detach(), exact, rtol=1e-12, atol=1e-12)


def test_bits_have_two_levels_and_numbers_have_none():
    assert small_vae().levels == small_two_layer().levels == 2
    assert moved_linear().levels is None


@pytest.mark.parametrize("shown", [VAE, LatentVariableModel.log_weights])
def test_examples_in_docstrings_run(shown):
    results = doctest.DocTestRunner()
    for example in doctest.DocTestFinder(recurse=False).find(shown, shown.__name__, globs={"VAE": VAE}):
        results.run(example)
    assert results.tries and not results.failures


# The prior


def independent_standard_normals(noise):
    """Whether each column of ``noise`` ``[n, dim]`` is standard normal, and all pairs without correlation."""
    for column in noise.T:
        assert stats.kstest(column.numpy(), "norm").pvalue > 1e-5
    correlation = torch.corrcoef(noise.T) - torch.eye(noise.shape[1])
    assert correlation.abs().max() < 5 / math.sqrt(len(noise))


@every_model
def test_prior_draws_are_standard_normal_noise_layer_by_layer(make):
    model, n = make(), 20_000
    z = model.sample_prior(n, same_noise())
    assert z.shape == (n, 2)
    assert torch.equal(z, model.sample_prior(n, same_noise()))
    z1, z2 = z.detach().split(1, dim=1)
    if isinstance(model, TwoLayerVAE):
        given_z2 = gaussian(model.decoder["z1"](z2).detach())
        z1 = (z1 - given_z2.mean) / given_z2.stddev
    if isinstance(model, LadderVAE):
        z1, z2 = (
            (one - layer.mean.detach()) / layer.stddev.detach()
            for one, layer in zip((z1, z2), ladder_gaussians(model, z), strict=True)
        )
    independent_standard_normals(torch.cat([z1, z2], dim=1))


@of_bits
def test_mean_image_is_the_probability_of_each_bit(make):
    model = make()
    z = model.sample_prior(3, same_noise())
    p = model.mean_image(z)
    assert p.shape == (3, 6)
    x = all_images()
    log_p = torch.stack([model.log_conditional(x, one.expand(1, len(x), 2))[0] for one in z])
    torch.testing.assert_close(log_p.exp() @ x, p, rtol=1e-12, atol=1e-12)


def test_mean_image_of_a_linear_model_is_the_mean_of_its_gaussian():
    model = moved_linear()
    z = model.sample_prior(3, same_noise())
    torch.testing.assert_close(model.mean_image(z), z @ model.decoder.weight.T + model.decoder.bias)


# Against quadrature


@of_bits
def test_weights_average_to_the_probability_of_every_image(make):
    model, n = make(), 20_000
    exact = quadrature(model, step=0.1)
    # Halving the step squares the error.
    torch.testing.assert_close(exact, quadrature(model, step=0.2), rtol=0, atol=1e-5)
    assert float(exact.exp().sum()) == pytest.approx(1, abs=1e-10)
    # A decoder that ignored z would pass with any q.
    assert model.mean_image(model.sample_prior(1_000, same_noise())).std(0).max() > 0.2
    with torch.no_grad():
        w = (model.log_weights(all_images(), n, same_noise()) - exact).exp()
    # 64 averages, at 5 standard errors each.
    z = (w.mean(0) - 1) / (w.std(0) / math.sqrt(n))
    assert z.abs().max() < 5
    assert w.std(0).max() < 5


# Two layers


def test_two_layers_have_the_densities_of_their_four_conditionals():
    torch.manual_seed(0)
    model = TwoLayerVAE(6, hidden=((5, 4), (3,)), latent_dims=(3, 2), activation="relu").double()
    x = some_images(model)
    q = model.posterior(x)
    z = q.rsample(7, same_noise())
    z1, z2 = z[..., :3], z[..., 3:]
    q1, q2 = gaussian(model.encoder["z1"](x)), gaussian(model.encoder["z2"](z1))
    log_q = q1.log_prob(z1).sum(-1) + q2.log_prob(z2).sum(-1)
    log_p2, log_p1 = Normal(torch.zeros_like(z2), 1.0).log_prob(z2), gaussian(model.decoder["z1"](z2)).log_prob(z1)
    log_prior = log_p2.sum(-1) + log_p1.sum(-1)
    log_conditional = Bernoulli(logits=model.decoder["x"](z1)).log_prob(x).sum(-1)
    for found, exact in (
        (q.log_prob(z), log_q),
        (model.log_prior(z), log_prior),
        (model.log_conditional(x, z), log_conditional),
        (model.log_weights(x, 7, same_noise()), log_conditional + log_prior - log_q),
    ):
        torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-12)
        # And so have their gradients, along every path: through z1 to z2 and to each parameter.
        for one, other in zip(gradients(model, found.sum()), gradients(model, exact.sum()), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_two_layers_draw_the_second_given_the_first():
    model, n = small_two_layer(), 20_000
    x = some_images(model, 1)
    z1, z2 = model.posterior(x).rsample(n, same_noise()).detach()[:, 0].split(1, dim=1)
    first, second = gaussian(model.encoder["z1"](x).detach()), gaussian(model.encoder["z2"](z1).detach())
    independent_standard_normals(
        torch.cat([(z1 - first.mean) / first.stddev, (z2 - second.mean) / second.stddev], dim=1)
    )


# Linear and Gaussian


@pytest.mark.parametrize("model", [moved_linear(), a_general_linear_model()], ids=["moved", "general"])
def test_exact_log_likelihood_is_that_of_a_gaussian(model):
    weight, bias = (parameter.detach().numpy() for parameter in (model.decoder.weight, model.decoder.bias))
    covariance = weight @ weight.T + model.noise_std**2 * np.eye(len(bias))
    x = model.simulate(20, seed=0)
    exact = stats.multivariate_normal(bias, covariance).logpdf(x.numpy())
    assert model.exact_log_likelihood(x).detach().numpy() == pytest.approx(exact, rel=1e-11)
    posterior = model.exact_posterior(x)
    gain = weight.T @ np.linalg.inv(covariance)
    assert posterior.mean.detach().numpy() == pytest.approx((x.numpy() - bias) @ gain.T, rel=1e-11, abs=1e-11)
    exact_covariance = np.eye(2) - gain @ weight
    assert posterior.covariance_matrix[0].detach().numpy() == pytest.approx(exact_covariance, rel=1e-11, abs=1e-11)
    as_images = x.view(20, 1, 2, 2)
    assert torch.equal(model.exact_log_likelihood(as_images), model.exact_log_likelihood(x))
    assert torch.equal(model.exact_elbo(as_images), model.exact_elbo(x))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("data_dim", "latent_dim"), [(1, 1), (5, 1), (5, 5), (30, 4)])
def test_random_model_starts_with_its_posterior_so_that_every_weight_is_the_answer(data_dim, latent_dim, seed):
    model = LinearGaussianVAE.random(data_dim, latent_dim, seed)
    x = model.simulate(3, seed)
    exact = model.exact_log_likelihood(x)
    log_w = model.log_weights(x, 50)
    torch.testing.assert_close(log_w, exact.expand_as(log_w), rtol=1e-11, atol=1e-10)
    torch.testing.assert_close(model.exact_elbo(x), exact, rtol=1e-11, atol=1e-10)
    q, posterior = model.posterior(x), model.exact_posterior(x)
    torch.testing.assert_close(q.mean, posterior.mean, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(q.std**2, posterior.variance, rtol=1e-11, atol=0)


@pytest.mark.parametrize("model", [moved_linear(), a_general_linear_model()], ids=["moved", "general"])
def test_exact_elbo_is_the_mean_log_weight_and_below_log_p(model):
    n = 20_000
    x = model.simulate(10, seed=3)
    with torch.no_grad():
        log_w, exact = model.log_weights(x, n, same_noise()), model.exact_elbo(x)
        assert ((log_w.mean(0) - exact).abs() < 5 * log_w.std(0) / math.sqrt(n)).all()
        assert (exact < model.exact_log_likelihood(x)).all()


def test_moving_q_by_a_known_amount_costs_the_divergence_of_two_gaussians():
    model = LinearGaussianVAE.random(5, 2, seed=0)
    x = model.simulate(4, seed=0)
    with torch.no_grad():
        variance = (2 * model.log_std).exp()
        model.encoder.bias.add_(0.3)
        model.log_std.add_(0.2)
        divergence = 0.5 * (math.exp(0.4) + 0.3**2 / variance - 1 - 0.4).sum()
        gap = model.exact_log_likelihood(x) - model.exact_elbo(x)
    torch.testing.assert_close(gap, divergence.expand(4), rtol=1e-10, atol=1e-10)


def test_simulated_data_have_the_model_s_mean_and_covariance():
    model, n = a_general_linear_model(), 50_000
    x = model.simulate(n, seed=0)
    assert torch.equal(x, model.simulate(n, seed=0)) and not torch.equal(x, model.simulate(n, seed=1))
    with torch.no_grad():
        covariance = model.decoder.weight @ model.decoder.weight.T + model.noise_std**2 * torch.eye(4)
        variance = covariance.diagonal()
        assert ((x.mean(0) - model.decoder.bias).abs() < 5 * (variance / n).sqrt()).all()
        # Products of Gaussians: var(x_i x_j) = s_ii s_jj + s_ij^2.
        error = ((variance[:, None] * variance + covariance**2) / n).sqrt()
        centred = x - model.decoder.bias
        assert ((centred.T @ centred / n - covariance).abs() < 5 * error).all()
    # And as a whole, through the density.
    log_p = model.exact_log_likelihood(x).detach()
    entropy = MultivariateNormal(torch.zeros_like(variance), covariance).entropy()
    assert abs(log_p.mean() + entropy) < 5 * math.sqrt(4 / 2 / n)


# At the edges


def test_a_deviation_that_vanishes_leaves_finite_weights_and_gradients():
    model = small_vae().float()
    with torch.no_grad():
        model.encoder[-1].bias[2:] = -200
    x = some_images(model).float()
    log_w = model.log_weights(x, 5, same_noise())
    log_w.mean().backward()
    assert log_w.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert torch.allclose(model.posterior(x).std, torch.tensor(1e-6))


@pytest.mark.parametrize("scale", [1e3, 1e6])
def test_enormous_logits_leave_finite_weights(scale):
    model = small_vae().float()
    with torch.no_grad():
        model.decoder[-1].weight.mul_(scale)
    log_w = model.log_weights(some_images(model).float(), 5, same_noise())
    log_w.mean().backward()
    assert log_w.isfinite().all() and log_w.min() < -scale / 10
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_grey_pixels_are_allowed():
    model = small_vae()
    assert model.log_weights(torch.full((2, 6), 0.3, dtype=torch.float64), 3).isfinite().all()


# Bad input


@pytest.mark.parametrize("k", [0, -1, 1.5, True, None, "3", math.nan, math.inf])
def test_numbers_of_samples_that_are_none_are_refused(k):
    with pytest.raises(ValueError, match=r"number of samples must be a whole number of at least 1; got "):
        small_vae().log_weights(all_images(), k)


def test_numbers_of_samples_may_come_from_an_array():
    assert all(type(checked_n_samples(k)) is int for k in (*np.array([1, 5, 50]), 2.0))
    assert small_vae().log_weights(all_images(), np.int64(3)).shape == (3, 64)


@every_model
def test_more_samples_than_memory_holds_are_refused_before_any_work(make):
    model = make()
    rows = images_seen(model)
    told = r"z of 1,000,000,000,000 samples for each of 5 images alone take 80,000 GB, and .* GB: use log_likelihood"
    for check in (True, False):
        with pytest.raises(ValueError, match=told):
            model.log_weights(some_images(model), 10**12, check=check)
    assert not rows
    with pytest.raises(ValueError, match=r"1,000,000,000,000 draws of z alone take .* GB: draw fewer at a time"):
        model.sample_prior(10**12)


@every_model
def test_what_are_no_latent_variables_is_refused(make):
    model = make()
    z = model.sample_prior(3)
    for decode in (model.mean_image, model.sample_conditional):
        for spoilt, told in (
            (z[:, :1], r"z must have shape \[..., 2\], latent variables last; got \[3, 1\]"),
            (z.sum(), r"latent variables last; got \[\]"),
            (z.float(), r"z are torch.float32 on cpu and the model torch.float64 on cpu: .*z.to\("),
            (z.long(), "z must be a tensor of floating-point numbers; got a tensor of torch.int64"),
            (z.tolist(), "z must be a tensor of floating-point numbers; got a list"),
        ):
            with pytest.raises(ValueError, match=told):
                decode(spoilt)


@every_model
def test_a_seed_is_no_generator(make):
    model = make()
    told = r"must be a generator, such as torch.Generator\(\).manual_seed\(0\); got 3"
    for draw in (
        lambda: model.log_weights(some_images(model), 2, 3),
        lambda: model.sample_prior(2, 3),
        lambda: model.sample_conditional(model.sample_prior(2), 3),
    ):
        with pytest.raises(ValueError, match=told):
            draw()


@of_bits
def test_a_start_needs_images_of_the_model_s_size(make):
    for images in (torch.rand(4, 5), torch.rand(6), torch.rand(0, 6), [[0.5] * 6]):
        with pytest.raises(ValueError, match="images must "):
            make().start_from(images)


BAD_IMAGES = [
    (lambda x: x - 0.5, r"between 0 and 1; image 0 has values from -0.5 to -0.5: divide grey levels"),
    (lambda x: 255 * x, r"between 0 and 1; image 1 has values from 0 to 255"),
    (lambda x: x.index_fill(0, torch.tensor([7]), math.nan), r"between 0 and 1; image 7 has values from nan to nan"),
    (lambda x: x / 0, "between 0 and 1; image 0 has values"),
    (lambda x: x[:, :5], r"\[batch, ...\] with 6 numbers an image; got \[64, 5\]"),
    (lambda x: x.view(64, 1, 2, 3)[..., :2], r"6 numbers an image; got \[64, 1, 2, 2\]"),
    (lambda x: x[0], r"6 numbers an image; got \[6\]"),
    (lambda x: x[:0], r"6 numbers an image; got \[0, 6\]"),
    (lambda x: x.sum(), r"6 numbers an image; got \[\]"),
    (lambda x: x.long(), "tensor of floating-point numbers; got a tensor of torch.int64"),
    (lambda x: x > 0, "floating-point numbers; got a tensor of torch.bool"),
    (lambda x: x.float(), r"images are torch.float32 on cpu and the model torch.float64 on cpu: .*x.to\("),
    (lambda x: x.to("meta"), "float64 on meta and the model torch.float64 on cpu"),
    (lambda x: x.numpy(), "floating-point numbers; got a ndarray"),
    (lambda x: x.tolist(), "floating-point numbers; got a list"),
    (lambda x: None, "floating-point numbers; got a NoneType"),
]


@of_bits
@pytest.mark.parametrize("look", ["log_weights", "log_likelihood"])
@pytest.mark.parametrize(("spoil", "told"), BAD_IMAGES)
def test_bad_images_are_refused_in_one_sentence(make, look, spoil, told):
    model, x = make(), spoil(all_images())
    with pytest.raises(ValueError, match=told):
        model.log_weights(x, 2) if look == "log_weights" else log_likelihood(model, x, 2)


def test_double_precision_images_are_refused_by_a_single_precision_model():
    with pytest.raises(ValueError, match=r"torch.float64 on cpu and the model torch.float32 on cpu: .*x.to\("):
        small_vae().float().log_weights(all_images(), 2)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_linear_model_refuses_what_is_not_finite_and_nothing_else(value):
    model = moved_linear()
    x = model.simulate(3, seed=0)
    model.log_weights(100 * x, 2)
    x[1, 2] = value
    for look in (
        lambda x: model.log_weights(x, 2),
        model.exact_log_likelihood,
        model.exact_posterior,
        model.exact_elbo,
    ):
        with pytest.raises(ValueError, match="values that are not finite"):
            look(x)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: VAE(6, ()), r"hidden must give the sizes of at least one layer, such as \(200, 200\); got \(\)"),
        (lambda: VAE(6, 200), "hidden must give the sizes of at least one layer.*got 200"),
        (lambda: VAE(6, (0,)), "each size of a network must be a whole number of at least 1; got 0"),
        (lambda: VAE(0), "data_dim must be a whole number of at least 1; got 0"),
        (lambda: VAE(6, latent_dim=0), "latent_dim must be a whole number of at least 1; got 0"),
        (lambda: VAE(6, latent_dim="5"), "latent_dim must be a whole number of at least 1; got '5'"),
        (lambda: VAE(6, activation="sigmoid"), "activation must be one of tanh, relu, elu; got 'sigmoid'"),
        (lambda: TwoLayerVAE(6, (200, 200)), r"two sets of layers.*got \(200, 200\)"),
        (lambda: TwoLayerVAE(6, ((200,),)), r"two sets of layers.*got \(\(200,\),\)"),
        (lambda: TwoLayerVAE(6, ((5,), ())), r"two sets of layers.*got \(\(5,\), \(\)\)"),
        (lambda: TwoLayerVAE(6, latent_dims=(5,)), r"two numbers, of z1 and of z2.*got \(5,\)"),
        (lambda: TwoLayerVAE(6, latent_dims=5), "two numbers, of z1 and of z2.*got 5"),
        (lambda: TwoLayerVAE(6, latent_dims=(5, 0)), "each of latent_dims must be .* at least 1; got 0"),
        (lambda: TwoLayerVAE(6, latent_dims=("5", 5)), "each of latent_dims must be .* at least 1; got '5'"),
        (lambda: TwoLayerVAE(None), "data_dim must be a whole number of at least 1; got None"),
        (lambda: LinearGaussianVAE(torch.eye(3), torch.zeros(2), 1), r"got \[3, 3\] and \[2\]"),
        (lambda: LinearGaussianVAE(torch.ones(3), torch.zeros(3), 1), r"got \[3\] and \[3\]"),
        (
            lambda: LinearGaussianVAE(torch.eye(3), torch.zeros(3), 0),
            "noise_std must be a positive, finite number; got 0",
        ),
        (
            lambda: LinearGaussianVAE(torch.eye(3), torch.zeros(3), math.nan),
            "noise_std must be a positive, finite number; got nan",
        ),
        (lambda: LinearGaussianVAE.random(2, 3, seed=0), "between 1 and data_dim = 2; got 3"),
        (lambda: LinearGaussianVAE([[1.0]], torch.zeros(1), 1), "weight must be a tensor of floating.* got a list"),
        (
            lambda: LinearGaussianVAE(torch.eye(3), torch.zeros(3).long(), 1),
            "bias must be .* got a tensor of torch.int64",
        ),
        (lambda: LinearGaussianVAE(torch.eye(3), torch.zeros(3).double(), 1), "both be of float32, or of float64; got"),
        (lambda: LinearGaussianVAE(torch.eye(3).half(), torch.zeros(3).half(), 1), "both be of float32, or of float64"),
        (lambda: LinearGaussianVAE(torch.eye(3), torch.full((3,), math.nan), 1), "weight and bias must be finite"),
        (lambda: LinearGaussianVAE.random(2, 0, seed=0), "latent_dim must be a whole number of at least 1; got 0"),
        (lambda: LinearGaussianVAE.random(3, 2, seed="a"), "seed must be a whole number of at least 0; got 'a'"),
        (lambda: LinearGaussianVAE.random(3, 2, seed=-1), "seed must be a whole number of at least 0; got -1"),
        (lambda: moved_linear().simulate(3, seed=None), "seed must be a whole number of at least 0; got None"),
        (lambda: moved_linear().simulate(0, seed=0), "at least 1; got 0"),
        (lambda: small_vae().sample_prior(-1), "at least 1; got -1"),
    ],
)
def test_impossible_models_are_refused(make, told):
    with pytest.raises(ValueError, match=told):
        make()
