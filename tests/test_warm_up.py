"""KL warm-up: the bound with its last two terms turned down, value and gradient."""

import math

import pytest
import torch
from small_models import all_images, gradients, moved_linear, replicated_gradients, small_two_layer, small_vae

from course_lib.vae import LinearGaussianVAE
from course_lib.vae.bounds import GRADIENTS, iwae_bound
from course_lib.vae.warm_up import warmed_up

MODELS = {"VAE": small_vae, "TwoLayerVAE": small_two_layer, "LinearGaussianVAE": moved_linear}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
every_gradient = pytest.mark.parametrize("name", GRADIENTS)
OF_ELBO = ("pathwise", "score-function", "sticking-the-landing")


def same_noise(seed=0):
    return torch.Generator().manual_seed(seed)


def some_images(model):
    return model.simulate(5, seed=1) if isinstance(model, LinearGaussianVAE) else all_images()[[3, 60, 17]]


def terms(model, x, k):
    """log p(x|z) and log p(z) - log q(z|x), each ``[k, batch]``, of the draws that the bounds take."""
    q = model.posterior(x)
    z = q.rsample(k, same_noise())
    return model.log_conditional(x, z), model.log_prior(z) - q.log_prob(z)


@every_gradient
def test_full_warmth_is_the_bound_itself(name):
    assert warmed_up(GRADIENTS[name], 1) is GRADIENTS[name]
    assert warmed_up(GRADIENTS[name], 1.0) is GRADIENTS[name]


@every_model
@every_gradient
@pytest.mark.parametrize("warmth", [0.01, 0.5, 0.99])
def test_prior_and_posterior_count_as_much_as_asked(make, name, warmth):
    model = make()
    x = some_images(model)
    found = warmed_up(GRADIENTS[name], warmth)(model, x, 6, same_noise())
    likelihood, divergence = terms(model, x, 6)
    if name in OF_ELBO:
        exact = (likelihood + warmth * divergence).mean(0)
    else:
        exact = warmth * iwae_bound(likelihood / warmth + divergence)
    assert found.shape == (len(x),)
    torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-12)


@every_model
@pytest.mark.parametrize("name", ["pathwise", "iwae", "iwae-weighted"])
def test_gradient_is_that_of_the_tempered_value(make, name):
    model, warmth = make(), 0.3
    x = some_images(model)
    found = gradients(model, warmed_up(GRADIENTS[name], warmth)(model, x, 6, same_noise()).sum())
    likelihood, divergence = terms(model, x, 6)
    if name == "pathwise":
        value = (likelihood + warmth * divergence).mean(0)
    else:
        value = warmth * iwae_bound(likelihood / warmth + divergence)
    for one, other in zip(found, gradients(model, value.sum()), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@every_gradient
def test_model_is_left_as_it_was(name):
    model = small_vae()
    z = model.sample_prior(3, same_noise()).unsqueeze(1)
    before = model.log_joint(all_images()[:1], z)
    warmed_up(GRADIENTS[name], 0.5)(model, all_images(), 2)
    assert torch.equal(model.log_joint(all_images()[:1], z), before)


@pytest.mark.parametrize("name", OF_ELBO)
def test_tempered_elbo_gradients_are_exact_on_average(name):
    model, warmth, runs = moved_linear(), 0.3, 200
    x = some_images(model).repeat(40, 1)
    divergence = model.posterior(x).kl_from_standard_normal()
    exact = gradients(model, (model.exact_elbo(x) + (1 - warmth) * divergence).mean())
    bound = warmed_up(GRADIENTS[name], warmth)
    found = replicated_gradients(model, lambda m, x, g: bound(m, x, 3, g), x, runs)
    for one, other in zip(found, exact, strict=True):
        assert ((one.mean(0) - other).abs() < 5 * one.std(0) / math.sqrt(runs) + 1e-12).all()


@every_model
def test_doubly_reparameterized_keeps_its_mean_when_tempered(make):
    model, runs = make(), 100
    x = some_images(model).repeat(80, 1)
    bounds = [warmed_up(GRADIENTS[name], 0.7) for name in ("iwae", "doubly-reparameterized")]
    (one, _), (other, _) = (
        replicated_gradients(model, lambda m, x, g, bound=bound: bound(m, x, 3, g), x, runs, seed)
        for seed, bound in enumerate(bounds)
    )
    error = ((one.var(0) + other.var(0)) / runs).sqrt()
    assert ((one.mean(0) - other.mean(0)).abs() < 5 * error + 1e-12).all()


@pytest.mark.parametrize("warmth", [0, -0.5, 1.001, 2, math.nan, math.inf, "1", None, 0.5j])
def test_warmth_out_of_range_is_refused(warmth):
    with pytest.raises(ValueError, match="warmth must be above 0 and at most 1; got "):
        warmed_up(GRADIENTS["pathwise"], warmth)
