"""The VAE put together from parts: every combination is a distribution, and its log-weights are exact ones."""

import copy
import math

import pytest
import torch
from small_models import (
    LEVELS,
    check_draws_have_their_density,
    on_grid,
    quadrature_of,
    rows_seen,
    tiny_deep,
    tiny_images,
)
from torch.nn import functional

from course_lib.training import Card, Preset, load_checkpoint
from course_lib.training.checkpoints import save_checkpoint
from course_lib.vae import ImageVAE, log_likelihood
from course_lib.vae.bounds import GRADIENTS, elbo, iwae_bound
from course_lib.vae.networks import PAIRS

FLOWS = {"no flows": {}, "both flows": {"posterior_flows": 2, "prior_flows": 2}}
of_every_likelihood = pytest.mark.parametrize("likelihood", LEVELS)
with_and_without_flows = pytest.mark.parametrize("flows", FLOWS.values(), ids=FLOWS)
of_every_network = pytest.mark.parametrize("network", PAIRS)


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


def convolutional(network, likelihood="bernoulli", shape=(1, 8, 8), **arguments):
    """With images to go with it, ``[5, ...]``."""
    model = tiny_deep(likelihood, shape=shape, network=network, **arguments)
    last = model.levels - 1
    x = torch.rand(5, *shape, generator=noise(1), dtype=torch.float64)
    return model, (x * last).round() / last


# Distributions


@of_every_likelihood
@with_and_without_flows
def test_probabilities_of_all_images_sum_to_one_and_the_weights_average_to_them(likelihood, flows):
    model, x, n = tiny_deep(likelihood, **flows), tiny_images(likelihood), 4_000
    z = model.sample_prior(3, noise()).detach()
    with torch.no_grad():
        given_z = model.log_conditional(x, z.unsqueeze(1).expand(-1, len(x), -1))
        assert given_z.shape == (3, len(x))
        torch.testing.assert_close(given_z.exp().sum(1), torch.ones(3).double(), rtol=1e-12, atol=0)
        torch.testing.assert_close(given_z.exp() @ x.flatten(1), model.mean_image(z), rtol=1e-12, atol=1e-12)
        # An image depends on z: a decoder that ignored it would pass with any q.
        assert (given_z[0] - given_z[1]).abs().max() > 0.1
        exact = quadrature_of(model, x)
        # Halving the step squares the error.
        torch.testing.assert_close(exact[::9], quadrature_of(model, x[::9], step=0.1), rtol=0, atol=1e-3)
        assert float(exact.exp().sum()) == pytest.approx(1, abs=1e-6)
        w = (model.log_weights(x, n, noise()) - exact).exp()
    # As many averages as images, at 5 standard errors each; and weights that are neither constant nor wild.
    assert ((w.mean(0) - 1) / (w.std(0) / math.sqrt(n))).abs().max() < 5
    assert 0.05 < w.std(0).max() < 5


@of_every_likelihood
def test_evidence_agrees_with_quadrature(likelihood):
    model, x = tiny_deep(likelihood, **FLOWS["both flows"]), tiny_images(likelihood)[::5]
    exact = quadrature_of(model, x)
    found = log_likelihood(model, x, 2_000)
    assert ((found.per_image - exact) / found.std_error).abs().max() < 5
    in_single_precision = log_likelihood(model.float(), x.float(), 2_000)
    # The same draws but for rounding, of numbers near ten.
    torch.testing.assert_close(in_single_precision.per_image, exact, rtol=0, atol=5 * float(found.std_error.max()))


@with_and_without_flows
def test_posterior_and_prior_are_densities_whose_draws_they_describe(flows):
    model, x, step = tiny_deep(**flows), tiny_images()[[3, 9]], 0.1
    z = on_grid(step, 12.0).unsqueeze(1).expand(-1, 2, -1)
    with torch.no_grad():
        q, n = model.posterior(x), 20_000
        check_draws_have_their_density(q.rsample(n, noise()), q.log_prob(z), z, step)
        priors = model.sample_prior(2 * n, noise()).unflatten(0, (n, 2))
        check_draws_have_their_density(priors, model.log_prior(z), z, step)


@of_every_likelihood
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 4, 8)])
def test_draws_have_the_probabilities_of_their_levels(likelihood, shape):
    model, n = tiny_deep(likelihood, shape=shape, network="resnet"), 5_000
    last, pixels = model.levels - 1, math.prod(shape)
    z = model.sample_prior(2, noise())
    with torch.no_grad():
        x = model.sample_conditional(z.expand(n, 2, 2), noise(1))
        assert x.shape == (n, 2, pixels)
        assert torch.equal(x, model.sample_conditional(z.expand(n, 2, 2), noise(1)))
        probabilities = torch.stack(
            [model.conditional(z).log_prob(torch.full(shape, level / last).double()).exp() for level in range(last + 1)]
        ).flatten(2)
    torch.testing.assert_close(probabilities.sum(0), torch.ones(2, pixels).double())
    for level, p in enumerate(probabilities):
        count, variance = ((x * last).round() == level).double().sum(0), n * p * (1 - p)
        # Some 200 frequencies, but for those too small to be normal.
        assert ((count - n * p) / variance.sqrt())[variance > 5].abs().max() < 5
    torch.testing.assert_close(
        model.mean_image(z), torch.einsum("l,lbp->bp", torch.linspace(0, 1, last + 1).double(), probabilities)
    )


def test_bits_are_those_of_bernoulli_pixels():
    model, x = convolutional("resnet")
    z = model.posterior(x).rsample(3, noise())
    logits = model.decoder(z.flatten(0, 1)).unflatten(0, (3, 5)) + model.bias[:, 0]
    exact = torch.distributions.Bernoulli(logits=logits).log_prob(x).sum((-3, -2, -1))
    torch.testing.assert_close(model.log_conditional(x, z), exact, rtol=1e-12, atol=1e-12)


# One door


@of_every_likelihood
@of_every_network
@with_and_without_flows
def test_log_weights_are_log_joint_less_log_q(likelihood, network, flows):
    model, x = convolutional(network, likelihood, **flows)
    rows = rows_seen(model.encoder)
    log_w = model.log_weights(x, 7, noise())
    assert log_w.shape == (7, 5)
    assert rows[0] and len(rows) == 1, "the encoder sees each image once"
    q = model.posterior(x)
    z = q.rsample(7, noise())
    exact = model.log_conditional(x, z) + model.log_prior(z) - q.log_prob(z)
    torch.testing.assert_close(log_w, exact, rtol=1e-10, atol=1e-10)
    assert torch.equal(model.log_weights(x.flatten(1), 7, noise()), log_w)
    assert elbo(log_w).shape == iwae_bound(log_w).shape == (5,)


@of_every_network
@with_and_without_flows
def test_an_image_does_not_depend_on_its_neighbours_nor_on_how_it_lies_in_memory(network, flows):
    model, x = convolutional(network, "categorical", shape=(3, 8, 8), **flows)
    whole = model.log_weights(x, 6, [noise(image) for image in range(5)])
    part = model.log_weights(x[[4, 1]], 6, [noise(4), noise(1)])
    torch.testing.assert_close(part, whole[:, [4, 1]], rtol=1e-11, atol=1e-11)
    z = model.posterior(x).rsample(4, noise())
    exact = model.log_joint(x, z)
    otherwise = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    for one in (model, otherwise):
        for images in (x, x.contiguous(memory_format=torch.channels_last), x.transpose(2, 3).contiguous().mT):
            torch.testing.assert_close(one.posterior(images).rsample(4, noise()), z, rtol=1e-11, atol=1e-11)
            torch.testing.assert_close(one.log_joint(images, z), exact, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("likelihood", LEVELS)
def test_z_may_have_any_leading_axes(likelihood):
    model = tiny_deep(likelihood)
    z = model.sample_prior(6, noise())
    images = model.mean_image(z)
    assert images.shape == (6, 4)
    torch.testing.assert_close(model.mean_image(z.view(3, 2, 2)), images.view(3, 2, 4))
    torch.testing.assert_close(model.mean_image(z[0]), images[0])
    assert model.sample_conditional(z.view(3, 1, 2, 2)).shape == (3, 1, 2, 4)


@of_every_likelihood
@pytest.mark.parametrize("network", ["dense", "resnet"])
def test_bfloat16_autocast_gives_nearly_the_same_log_weights(likelihood, network):
    model, x = convolutional(network, likelihood, **FLOWS["both flows"])
    model, x = model.float(), x.float()
    exact = model.log_weights(x, 200, noise())
    with torch.autocast("cpu", torch.bfloat16):
        found = model.log_weights(x, 200, noise())
    assert found.dtype == torch.float32
    # What is rounded has 8 bits, so it should be lost in what is drawn: a tenth of it, root mean square.
    assert (found - exact).square().mean().sqrt() < 0.1 * exact.std(0).square().mean().sqrt()


@pytest.mark.parametrize("gradient", GRADIENTS)
@of_every_likelihood
def test_every_gradient_estimator_reaches_every_parameter(gradient, likelihood):
    model, x = convolutional("resnet", likelihood, **FLOWS["both flows"])
    value = GRADIENTS[gradient](model, x, 3, noise())
    assert value.shape == (5,)
    value.mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
    # All of them are of one bound or the other.
    log_w = model.log_weights(x, 3, noise()).detach()
    bound = iwae_bound(log_w) if "iwae" in gradient or gradient == "doubly-reparameterized" else elbo(log_w)
    torch.testing.assert_close(value.detach(), bound, rtol=1e-9, atol=1e-9)


@of_every_likelihood
@with_and_without_flows
def test_compiled_methods_are_whole_and_give_the_same_log_weights(likelihood, flows):
    model, x = convolutional("resnet", likelihood, **flows)
    exact, names = model.log_weights(x, 3, noise()).detach(), model.state_dict().keys()
    methods = model.compilable()
    own = [(model, "log_conditional"), (model, "log_prior"), (model.encoder, "forward")]
    assert methods == own + ([(model.posterior_flow.steps, "forward")] if flows else [])
    for module, method in methods:
        setattr(module, method, torch.compile(getattr(module, method), backend="eager", fullgraph=True))
    torch.testing.assert_close(model.log_weights(x, 3, noise()).detach(), exact, rtol=1e-12, atol=1e-12)
    assert model.state_dict().keys() == names


# The start


@of_every_likelihood
@pytest.mark.parametrize("flat", [False, True])
def test_before_training_images_start_at_what_the_training_images_show(likelihood, flat):
    last = LEVELS[likelihood] - 1
    x = (last * torch.rand(4_000, 2, 4, 4, generator=noise()) ** torch.linspace(0.1, 3, 16).view(4, 4)).round() / last
    model = ImageVAE((2, 4, 4), "resnet", {"widths": (2, 2, 2)}, 2, likelihood, last + 1, components=4)
    with torch.no_grad():
        model.decoder[-1].weight.zero_()
        model.decoder[-1].bias.zero_()
    model.start_from(x.flatten(1) if flat else x)
    z = model.sample_prior(1, noise())
    mean = model.mean_image(z)[0].detach()
    if likelihood == "logistic-mixture":
        # Components on either side of the mean, some of whose mass the ends take in.
        means = model.bias.detach()[:, 4:8]
        torch.testing.assert_close(means.mean(1), x.mean(0))
        assert (means.diff(dim=1) > 0).all()
        assert (mean - x.mean(0).flatten()).abs().max() < 0.15
        return
    torch.testing.assert_close(mean, x.mean(0).flatten(), rtol=0, atol=2e-3)
    for level in range(last + 1):
        found = model.conditional(z).log_prob(torch.full((2, 4, 4), level / last)).exp()[0]
        torch.testing.assert_close(found.detach(), (x == level / last).float().mean(0), rtol=0, atol=2e-3)


@of_every_likelihood
def test_intensities_never_seen_in_training_stay_possible(likelihood):
    model = tiny_deep(likelihood).float()
    model.start_from(torch.zeros(100, 1, 2, 2))
    log_w = model.log_weights(torch.ones(1, 1, 2, 2), 5, noise())
    assert log_w.isfinite().all() and log_w.min() > -200


def test_flows_start_as_the_gaussians_they_are_given():
    torch.manual_seed(0)
    model = ImageVAE((1, 4, 4), "dense", latent_dim=3, posterior_flows=2, prior_flows=2, flow_width=8).double()
    x = (torch.rand(4, 1, 4, 4, generator=noise()) > 0.5).double()
    q = model.posterior(x)
    z, log_q = q.rsample_and_log_prob(5, noise())
    features = model.encoder(x)[:, :6]
    mean, std = features[:, :3], functional.softplus(features[:, 3:]) + 1e-6
    torch.testing.assert_close(log_q, torch.distributions.Normal(mean, std).log_prob(z).sum(-1))
    standard = torch.distributions.Normal(torch.zeros(()).double(), 1.0)
    torch.testing.assert_close(model.log_prior(z), standard.log_prob(z).sum(-1))


# There and back


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_checkpoint_brings_the_model_back(tmp_path, dtype):
    arguments = {
        "shape": [1, 8, 8],
        "network": "resnet",
        "network_arguments": {"widths": [16, 16, 16]},
        "latent_dim": 3,
        "likelihood": "logistic-mixture",
        "levels": 17,
        "components": 2,
        "posterior_flows": 2,
        "prior_flows": 1,
        "flow_width": 16,
    }
    preset = Preset("deep", "digits", "ImageVAE", arguments)
    torch.manual_seed(1)
    model = ImageVAE(**arguments)
    if dtype == torch.float16:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(parameter.half())
    path = tmp_path / "deep.safetensors"
    save_checkpoint(path, model, Card(name="deep", settings=preset.settings(), metrics={}), dtype)
    loaded, _ = load_checkpoint(path)
    assert isinstance(loaded, ImageVAE)
    for name, tensor in model.state_dict().items():
        assert loaded.state_dict()[name].dtype == torch.float32
        assert torch.equal(loaded.state_dict()[name], tensor)
        assert loaded.state_dict()[name].stride() == tensor.stride()
    n_numbers = sum(parameter.numel() for parameter in model.parameters())
    # Names and shapes take a few kB.
    assert 0 < path.stat().st_size - n_numbers * dtype.itemsize < 10_000
    x = (torch.rand(3, 1, 8, 8, generator=noise()) * 16).round() / 16
    assert torch.equal(loaded.log_weights(x, 3, noise()), model.log_weights(x, 3, noise()))


# Memory


@of_every_network
@of_every_likelihood
def test_memory_is_planned_for_what_a_sample_takes(network, likelihood):
    """Counted: the bytes that are in use at once while p(x|z) of bits, or of levels, is computed."""
    shape, k = (1, 16, 16), 40
    sizes = {"dense": {"width": 30}, "gated-conv": {"widths": (8, 8, 8)}, "resnet": {"widths": (8, 8, 8)}}[network]
    levels = {"bernoulli": 2, "logistic-mixture": 9, "categorical": 9}[likelihood]
    model = ImageVAE(shape, network, sizes, 4, likelihood, levels, components=3)
    x, z = torch.zeros(1, *shape), torch.zeros(k, 1, 4)
    with torch.profiler.profile(profile_memory=True) as profile, torch.inference_mode():
        model.log_conditional(x, z)
    in_use = most = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            in_use += event.nbytes()
            most = max(most, in_use)
    assert 0.25 < most / (4 * k * model.floats_per_draw) < 2


# Bad input


BAD_IMAGES = [
    (lambda x: x[:, :, :1], r"images must have shape \[batch, 1, 2, 2\], channels first; got \[81, 1, 1, 2\]\.$"),
    (lambda x: x.view(81, 2, 2, 1), r"channels first; got \[81, 2, 2, 1\]"),
    (lambda x: x.flatten(1)[:, :3], r"4 numbers an image; got \[81, 3\]"),
    (lambda x: x + 0.1, r"pixels must lie between 0 and 1; image 2 has values"),
    (
        lambda x: 0.9 * x,
        r"with 3 levels, intensities must be whole numbers from 0 to 2, divided by 2; image 1 has 0.45",
    ),
    (lambda x: x.float(), r"images are torch.float32 on cpu and the model torch.float64 on cpu"),
]


@pytest.mark.parametrize(("spoil", "told"), BAD_IMAGES)
@pytest.mark.parametrize("likelihood", ["logistic-mixture", "categorical"])
def test_bad_images_are_refused_in_one_sentence(likelihood, spoil, told):
    model, x = tiny_deep(likelihood), spoil(tiny_images(likelihood))
    for look in (model.log_weights, lambda x, k: log_likelihood(model, x, k)):
        with pytest.raises(ValueError, match=told) as refused:
            look(x, 2)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"network": "transformer"}, "network must be one of dense, gated-conv, resnet; got 'transformer'"),
        ({"likelihood": "gaussian"}, "likelihood must be one of bernoulli, logistic-mixture, categorical; got 'gau"),
        ({"shape": 28}, "shape must give channels, height and width, such as .*; got 28"),
        ({"shape": (28, 28)}, r"shape must give channels, height and width.*got \(28, 28\)"),
        ({"shape": (0, 28, 28)}, "channels must be a whole number of at least 1; got 0"),
        ({"shape": (1, 28, 2.5)}, "width must be a whole number of at least 1; got 2.5"),
        ({"shape": (1, 30, 28)}, "halve an image twice; 30 x 28 is not divisible by 4"),
        ({"levels": 256}, "bits have 2 levels and a Bernoulli likelihood; got levels 256 and bernoulli"),
        ({"likelihood": "categorical"}, "bits have 2 levels and a Bernoulli likelihood; got levels 2 and categorical"),
        ({"likelihood": "categorical", "levels": 0}, "levels must be a whole number of at least 1; got 0"),
        ({"likelihood": "logistic-mixture", "levels": 256, "components": 0}, "components must be .*; got 0"),
        ({"latent_dim": 0}, "latent_dim must be a whole number of at least 1; got 0"),
        ({"posterior_flows": -1}, "posterior_flows must be a whole number of at least 0; got -1"),
        ({"prior_flows": 1.5}, "prior_flows must be a whole number of at least 0; got 1.5"),
        ({"prior_flows": 1, "flow_width": 0}, "flow_width must be a whole number of at least 1; got 0"),
        ({"prior_flows": 1, "latent_dim": 1}, "a flow needs at least 2 latent dimensions"),
        ({"posterior_flows": 1, "flow_width": 10}, "needs a width of at least 32.*got 10"),
        ({"network_arguments": {"widths": (8, 8)}}, r"widths must be three numbers.*got \(8, 8\)"),
        ({"network_arguments": {"width": 8}}, "network_arguments of resnet must be one of widths, blocks; got 'width'"),
        ({"network_arguments": {"shape": 8}}, "network_arguments of resnet must be one of widths, blocks; got 'shape'"),
        ({"network": "dense", "network_arguments": {"width": "x"}}, "width must be a whole number.*; got 'x'"),
        ({"network_arguments": 300}, r"must map names to sizes, such as \{'width': 300\}; got 300"),
        ({"levels": "2"}, "levels must be a whole number of at least 1; got '2'"),
        ({"shape": (1, 28)}, r"shape must give channels, height and width.*got \(1, 28\)"),
    ],
)
def test_impossible_models_are_refused(arguments, told):
    with pytest.raises(ValueError, match=told) as refused:
        ImageVAE(**arguments)
    assert "\n" not in str(refused.value)
