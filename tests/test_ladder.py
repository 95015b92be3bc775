"""The VAE of several layers: exact densities in each, an image encoded once, and a q that starts as p and moves."""

import copy
import math

import pytest
import torch
from small_models import (
    LEVELS,
    check_draws_have_their_density,
    ladder_gaussians,
    on_grid,
    quadrature_of,
    replicated_gradients,
    rows_seen,
    small_ladder,
)
from torch import nn

from course_lib import datasets
from course_lib.training import Card, Preset, load_checkpoint
from course_lib.training.checkpoints import save_checkpoint
from course_lib.vae import LadderVAE, elbo, iwae_bound, log_likelihood
from course_lib.vae.bounds import GRADIENTS
from course_lib.vae.noise import Part
from course_lib.vae.proposals import defensive_mixture
from course_lib.vae.warm_up import warmed_up

of_every_likelihood = pytest.mark.parametrize("likelihood", LEVELS)


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


def larger(likelihood="bernoulli", **sizes):
    """Three layers of two maps of six numbers, and images to go with them, ``[5, 2, 8, 12]``."""
    model = small_ladder(likelihood, **({"shape": (2, 8, 12), "layers": 3, "latent_maps": 2} | sizes))
    last = model.levels - 1
    x = torch.rand(5, *model.shape, generator=noise(1), dtype=torch.float64)
    return model, (x * last).round() / last


def at_the_start(**sizes):
    torch.manual_seed(0)
    return LadderVAE(**({"shape": (1, 8, 8), "widths": (4, 8, 8), "blocks": (0, 1, 1)} | sizes))


# Distributions


def test_probabilities_of_all_images_of_sixteen_bits_sum_to_one():
    model, step = small_ladder(), 0.4
    z = on_grid(step, 10.0)
    with torch.no_grad():
        log_prior = model.log_prior(z)
        logits = model.conditional(z).logits.flatten(1)
        assert float(log_prior.exp().sum() * step**2) == pytest.approx(1, abs=1e-6)
        total, bits = 0.0, torch.arange(16)
        for numbers in torch.arange(2**16).split(2**12):
            x = (numbers[:, None] >> bits & 1).double()
            log_joint = x @ logits.T + (log_prior - nn.functional.softplus(logits).sum(1))
            log_p = log_joint.logsumexp(1) + 2 * math.log(step)
            total += float(log_p.exp().sum())
        assert total == pytest.approx(1, abs=1e-6)
        # Of some of them, the same by the model's own log p(x, z).
        torch.testing.assert_close(quadrature_of(model, x[::500], step, 10.0), log_p[::500], rtol=1e-9, atol=0)


@of_every_likelihood
def test_weights_average_to_the_probability_of_an_image(likelihood):
    model, n = small_ladder(likelihood), 4_000
    x = model.sample_conditional(model.sample_prior(20, noise(1)), noise(2))
    with torch.no_grad():
        exact = quadrature_of(model, x)
        torch.testing.assert_close(exact[:2], quadrature_of(model, x[:2], step=0.1), rtol=0, atol=1e-3)
        w = (model.log_weights(x, n, noise()) - exact).exp()
    assert ((w.mean(0) - 1) / (w.std(0) / math.sqrt(n))).abs().max() < 5
    assert 0.05 < w.std(0).max() < 5
    # An image depends on z: a decoder that ignored it would pass with any q.
    assert model.mean_image(model.sample_prior(100, noise())).std(0).max() > 0.1
    found = log_likelihood(model, x, 2_000)
    assert ((found.per_image - exact) / found.std_error).abs().max() < 5
    found = log_likelihood(model, x, 2_000, proposal=defensive_mixture(0.2))
    assert ((found.per_image - exact) / found.std_error).abs().max() < 5


def test_posterior_and_prior_are_densities_whose_draws_they_describe():
    model, step, n = small_ladder(), 0.1, 20_000
    x = (torch.rand(2, 1, 4, 4, generator=noise(2)) > 0.5).double()
    z = on_grid(step, 12.0).unsqueeze(1).expand(-1, 2, -1)
    with torch.no_grad():
        q = model.posterior(x)
        check_draws_have_their_density(q.rsample(n, noise()), q.log_prob(z), z, step)
        priors = model.sample_prior(2 * n, noise()).unflatten(0, (n, 2))
        check_draws_have_their_density(priors, model.log_prior(z), z, step)


@of_every_likelihood
def test_every_layer_has_the_gaussian_of_its_formula(likelihood):
    model, x = larger(likelihood)
    q = model.posterior(x)
    z, log_q = q.rsample_and_log_prob(4, noise())
    assert z.shape == (4, 5, model.latent_dim) and model.latent_dim == 3 * 2 * 6
    assert torch.equal(z, q.rsample(4, noise())) and torch.equal(log_q, q.log_prob(z))
    each_z, each_x = z.flatten(0, 1), x.repeat(4, 1, 1, 1)
    parts = each_z.chunk(3, dim=1)
    of_p, of_q = ladder_gaussians(model, each_z), ladder_gaussians(model, each_z, each_x)
    for found, gaussians in ((model.log_prior(z), of_p), (log_q, of_q)):
        exact = sum(one.log_prob(part).sum(1) for one, part in zip(gaussians, parts, strict=True))
        torch.testing.assert_close(found, exact.view(4, 5), rtol=1e-11, atol=1e-11)
    # One draw for each layer, from the top.
    generator = noise()
    for i, (one, part) in enumerate(zip(of_q, parts, strict=True)):
        drawn = torch.randn(4, 5, 12, generator=generator, dtype=torch.float64)
        torch.testing.assert_close(part, one.mean + one.stddev * drawn.flatten(0, 1), msg=f"layer {i}")
    joint = model.log_joint(x, z)
    assert torch.equal(joint, model.log_conditional(x, z) + model.log_prior(z))
    torch.testing.assert_close(model.log_weights(x, 4, noise()), joint - log_q, rtol=1e-12, atol=1e-12)


@of_every_likelihood
def test_draws_have_the_mean_of_their_intensities(likelihood):
    (model, _), n = larger(likelihood), 5_000
    z = model.sample_prior(1, noise())
    with torch.no_grad():
        x = model.sample_conditional(z.expand(n, 1, -1), noise(1))
        assert x.shape == (n, 1, model.data_dim)
        levels = torch.linspace(0, 1, model.levels).double()
        p = torch.stack([model.conditional(z).log_prob(level.expand(model.shape)).exp() for level in levels])
    p = p.flatten(1)
    torch.testing.assert_close(p.sum(0), torch.ones(model.data_dim).double())
    torch.testing.assert_close(levels @ p, model.mean_image(z)[0])
    variance = levels**2 @ p - (levels @ p) ** 2
    # But for those that hardly ever differ from the others.
    z_score = (x[:, 0].mean(0) - levels @ p) / (variance / n).sqrt()
    assert z_score[n * variance > 5].abs().max() < 5


@pytest.mark.parametrize("layers", [1, 3])
def test_before_training_prior_and_posterior_are_standard_normal(layers):
    model = at_the_start(layers=layers)
    x = (torch.rand(4, 64, generator=noise()) > 0.5).float()
    q = model.posterior(x)
    z, log_q = q.rsample_and_log_prob(6, noise())
    standard = torch.distributions.Normal(0.0, 1.0)
    exact = standard.log_prob(z).sum(-1)
    torch.testing.assert_close(log_q, exact)
    torch.testing.assert_close(model.log_prior(z), exact)
    torch.testing.assert_close(model.posterior(x[:1]).rsample(6, noise())[:, 0], model.sample_prior(6, noise()))


def test_scales_stay_within_bounds_whatever_the_networks_say():
    model, x = larger()
    for sign in (-1, 1):
        with torch.no_grad():
            for layer in [*model.decoder["z"].layers, *model.encoder["changes"]]:
                last = layer.prior[1] if hasattr(layer, "prior") else layer.change[1]
                last.bias[2:] = sign * 1e6
        log_w = model.log_weights(x, 3, noise())
        log_w.mean().backward()
        assert log_w.isfinite().all()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
        spread = model.posterior(x[:1]).rsample(200, noise())[..., :12].std(0).log() / math.log(1_000)
        assert (spread * sign).min() > 1.8 and (spread * sign).max() < 2.1


# One door


def test_an_image_is_encoded_once_and_its_features_serve_all_draws():
    model, x = larger()
    rows = rows_seen(model.encoder["features"], axes=3)
    model.log_weights(x, 7, noise())
    assert rows == [5]


def test_the_posterior_needs_no_pixels():
    model, x = larger()
    seen = rows_seen(model.decoder["x"], axes=3)
    model.posterior(x).rsample_and_log_prob(3)
    model.log_prior(model.sample_prior(3))
    assert not seen


def test_draws_and_weights_do_not_depend_on_the_batch_nor_on_how_images_lie_in_memory():
    model, x = larger("categorical")
    whole = model.log_weights(x, 6, [noise(image) for image in range(5)])
    part = model.log_weights(x[[4, 1]], 6, [noise(4), noise(1)])
    torch.testing.assert_close(part, whole[:, [4, 1]], rtol=1e-11, atol=1e-11)
    z = model.posterior(x).rsample(4, noise())
    for images in slice(0, 2), slice(2, 5):
        mine = model.posterior(x[images]).rsample(4, Part(noise(), 5, images))
        torch.testing.assert_close(mine, z[:, images], rtol=1e-11, atol=1e-11)
    exact, log_q = model.log_joint(x, z), model.posterior(x).log_prob(z)
    otherwise = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    strided = z.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    for one in (model, otherwise):
        for images in (x, x.flatten(1), x.contiguous(memory_format=torch.channels_last), x.mT.contiguous().mT):
            torch.testing.assert_close(one.posterior(images).rsample(4, noise()), z, rtol=1e-11, atol=1e-11)
            torch.testing.assert_close(one.log_joint(images, strided), exact, rtol=1e-11, atol=1e-11)
            torch.testing.assert_close(one.posterior(images).log_prob(strided), log_q, rtol=1e-11, atol=1e-11)


@of_every_likelihood
def test_z_may_have_any_leading_axes(likelihood):
    model, _ = larger(likelihood)
    z = model.sample_prior(6, noise())
    images = model.mean_image(z)
    assert images.shape == (6, model.data_dim)
    torch.testing.assert_close(model.mean_image(z.view(3, 2, -1)), images.view(3, 2, -1))
    torch.testing.assert_close(model.mean_image(z[0]), images[0])
    assert model.sample_conditional(z.view(3, 1, 2, -1)).shape == (3, 1, 2, model.data_dim)
    torch.testing.assert_close(model.log_prior(z.view(3, 2, -1)), model.log_prior(z).view(3, 2))


@of_every_likelihood
def test_bfloat16_autocast_leaves_draws_and_densities_their_precision(likelihood):
    model, x = larger(likelihood)
    model, x = model.float(), x.float()
    exact = model.log_weights(x, 200, noise())
    with torch.autocast("cpu", torch.bfloat16):
        z, log_q = model.posterior(x).rsample_and_log_prob(2, noise())
        parts = (z, log_q, model.log_prior(z), model.log_conditional(x, z), model.sample_prior(2))
        assert all(one.dtype == torch.float32 for one in parts)
        found = model.log_weights(x, 200, noise())
    assert found.dtype == torch.float32
    # What is rounded has 8 bits, so it should be lost in what is drawn: a tenth of it, root mean square.
    assert (found - exact).square().mean().sqrt() < 0.1 * exact.std(0).square().mean().sqrt()


@of_every_likelihood
def test_compiled_methods_are_whole_and_give_the_same_log_weights(likelihood):
    model, x = larger(likelihood)
    exact, names = model.log_weights(x, 3, noise()).detach(), model.state_dict().keys()
    tempered = warmed_up(GRADIENTS["iwae"], 0.5)
    warm = tempered(model, x, 3, noise()).detach()
    for module, method in model.compilable():
        setattr(module, method, torch.compile(getattr(module, method), backend="eager", fullgraph=True))
    torch.testing.assert_close(model.log_weights(x, 3, noise()).detach(), exact, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(tempered(model, x, 3, noise()).detach(), warm, rtol=1e-12, atol=1e-12)
    assert model.state_dict().keys() == names


# Gradients


def test_a_detached_posterior_lets_gradients_to_z_alone():
    model, x = larger()
    q = model.posterior(x)
    z = q.rsample(3, noise())
    leaf = z.detach().requires_grad_()
    (exact,) = torch.autograd.grad(q.log_prob(leaf).sum(), leaf)
    detached = q.detached().detached()
    assert torch.equal(detached.log_prob(z), q.log_prob(z))
    (found,) = torch.autograd.grad(detached.log_prob(leaf).sum(), leaf)
    torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-12)
    assert not detached.log_prob(z.detach()).requires_grad and not detached.rsample(2).requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    # It is the model's own parameters that are held fixed, and none of them is for good.
    assert all(parameter.requires_grad for parameter in model.parameters())


@of_every_likelihood
@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("warmth", [0.3, 1])
def test_every_gradient_estimator_reaches_every_parameter(gradient, warmth, likelihood):
    model, x = larger(likelihood)
    value = warmed_up(GRADIENTS[gradient], warmth)(model, x, 3, noise())
    value.mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
    q = model.posterior(x)
    z = q.rsample(3, noise())
    log_w = model.log_conditional(x, z) / warmth + model.log_prior(z) - q.log_prob(z)
    bound = iwae_bound if "iwae" in gradient or gradient == "doubly-reparameterized" else elbo
    torch.testing.assert_close(value.detach(), warmth * bound(log_w).detach(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("one", "other"), [("pathwise", "sticking-the-landing"), ("iwae", "doubly-reparameterized")]
)  # fmt: skip
def test_estimators_agree_though_q_shares_parameters_with_p(one, other):
    model, runs = small_ladder(), 250
    x = (torch.rand(2, 16, generator=noise(2)) > 0.5).double()

    def surrogate(name):
        return lambda model, x, generator: GRADIENTS[name](model, x, 3, generator)

    found = [replicated_gradients(model, surrogate(name), x, runs, seed) for seed, name in enumerate((one, other))]
    for mine, theirs in zip(*found, strict=True):
        error = ((mine.var(0) + theirs.var(0)) / runs).sqrt()
        assert ((mine.mean(0) - theirs.mean(0)).abs() <= 5 * error + 1e-12).all()


def test_a_step_never_looks_at_a_value():
    model, x = larger()
    model, x = model.to("meta"), x.to("meta")
    for gradient in GRADIENTS.values():
        warmed_up(gradient, 0.5)(model, x, 3).mean().backward()
        assert gradient(model, x, 3).is_meta


def test_training_on_digits_finds_what_independent_pixels_do_not_know():
    train = datasets.load("digits").train.flatten(1).float()
    model = at_the_start(widths=(8, 16, 16), blocks=(0, 0, 1))
    model.start_from(train)
    x = torch.bernoulli(train, generator=noise(1))
    with torch.no_grad():
        before = elbo(model.log_weights(x, 10, noise()))
    optimizer, generator = torch.optim.Adam(model.parameters(), 3e-3), noise()
    for step in range(180):
        batch = torch.bernoulli(train[torch.randint(len(train), (100,), generator=generator)], generator=generator)
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            bound = warmed_up(GRADIENTS["pathwise"], min(1, (step + 1) / 80))(model, batch, 1, generator)
        (-bound.mean()).backward()
        optimizer.step()
    with torch.no_grad():
        gain = elbo(model.log_weights(x, 10, noise())) - before
        independent = torch.distributions.Bernoulli(train.mean(0).clamp(1e-3, 1 - 1e-3)).log_prob(x).sum(1)
        gain_on_pixels = elbo(model.log_weights(x, 10, noise())) - independent
    for difference in (gain, gain_on_pixels):
        assert difference.mean() > 10 * difference.std() / math.sqrt(len(x))
    assert gain.mean() > 2


# The start, and there and back


@of_every_likelihood
def test_before_training_images_start_at_what_the_training_images_show(likelihood):
    last = LEVELS[likelihood] - 1
    x = (last * torch.rand(4_000, 2, 4, 4, generator=noise()) ** torch.linspace(0.1, 3, 16).view(4, 4)).round() / last
    model = at_the_start(shape=(2, 4, 4), likelihood=likelihood, levels=last + 1)
    with torch.no_grad():
        model.decoder["x"][-1].weight.zero_()
        model.decoder["x"][-1].bias.zero_()
    model.start_from(x)
    tolerance = 0.15 if likelihood == "logistic-mixture" else 2e-3
    mean = model.mean_image(model.sample_prior(1, noise()))[0].detach()
    torch.testing.assert_close(mean, x.mean(0).flatten(), rtol=0, atol=tolerance)


def test_a_checkpoint_brings_the_model_back(tmp_path):
    arguments = {"shape": [1, 8, 8], "layers": 2, "latent_maps": 1, "widths": [4, 8, 8], "blocks": [0, 0, 1]}
    preset = Preset("ladder", "digits", "LadderVAE", arguments)
    torch.manual_seed(1)
    model = LadderVAE(**arguments)
    path = tmp_path / "ladder.safetensors"
    save_checkpoint(path, model, Card(name="ladder", settings=preset.settings(), metrics={}), torch.float32)
    loaded, _ = load_checkpoint(path)
    assert isinstance(loaded, LadderVAE)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
        assert loaded.state_dict()[name].stride() == tensor.stride()
    x = (torch.rand(3, 1, 8, 8, generator=noise()) > 0.5).float()
    assert torch.equal(loaded.log_weights(x, 3, noise()), model.log_weights(x, 3, noise()))


@of_every_likelihood
def test_memory_is_planned_for_what_a_sample_takes(likelihood):
    """Counted: the bytes that are in use at once while p(x, z) of bits, or of levels, is computed."""
    shape, k = (1, 16, 16), 40
    levels = {"bernoulli": 2, "logistic-mixture": 9, "categorical": 9}[likelihood]
    model = LadderVAE(shape, widths=(8, 8, 8), likelihood=likelihood, levels=levels, components=3)
    x, z = torch.zeros(1, *shape), torch.zeros(k, 1, model.latent_dim)
    with torch.profiler.profile(profile_memory=True) as profile, torch.inference_mode():
        model.log_joint(x, z)
    in_use = most = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            in_use += event.nbytes()
            most = max(most, in_use)
    assert 0.25 < most / (4 * k * model.floats_per_draw) < 2


# Bad input


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"shape": 28}, "shape must give channels, height and width, such as .*; got 28"),
        ({"shape": (1, 30, 28)}, "halve an image twice; 30 x 28 is not divisible by 4"),
        ({"layers": 0}, "layers must be a whole number of at least 1; got 0"),
        ({"layers": "3"}, "layers must be a whole number of at least 1; got '3'"),
        ({"latent_maps": 0}, "latent_maps must be a whole number of at least 1; got 0"),
        ({"widths": (8, 8)}, r"widths must be three numbers.*got \(8, 8\)"),
        ({"widths": (8, 8, 0)}, "each of widths must be a whole number of at least 1; got 0"),
        ({"blocks": (1, 1)}, r"blocks must be three numbers, one a resolution; got \(1, 1\)"),
        ({"blocks": 2}, "blocks must be three numbers, one a resolution; got 2"),
        ({"blocks": (1, 1, -1)}, "each of blocks must be a whole number of at least 0; got -1"),
        ({"likelihood": "gaussian"}, "likelihood must be one of bernoulli, logistic-mixture, categorical; got 'gau"),
        ({"levels": 256}, "bits have 2 levels and a Bernoulli likelihood; got levels 256 and bernoulli"),
    ],
)
def test_impossible_models_are_refused(arguments, told):
    with pytest.raises(ValueError, match=told) as refused:
        LadderVAE(**arguments)
    assert "\n" not in str(refused.value)


def test_images_of_another_shape_or_of_no_level_are_refused():
    model, x = larger("categorical")
    with pytest.raises(ValueError, match=r"must have shape \[batch, 2, 8, 12\], channels first; got \[5, 2, 12, 8\]"):
        model.log_weights(x.mT, 2)
    with pytest.raises(ValueError, match="with 3 levels, intensities must be whole numbers from 0 to 2"):
        model.log_weights(0.9 * x, 2)
