"""Bounds: in order below log p(x), and gradient estimators that are right on average and differ in variance."""

import math
from functools import partial
from itertools import combinations

import pytest
import torch
from small_models import (
    EPSILON,
    all_images,
    gradients,
    moved_linear,
    quadrature,
    replicated_gradients,
    small_two_layer,
    small_vae,
)

from course_lib.vae import LinearGaussianVAE
from course_lib.vae.bounds import (
    GRADIENTS,
    doubly_reparameterized,
    elbo,
    elbo_closed_form,
    iwae_autograd,
    iwae_bound,
    iwae_weighted,
    pathwise,
    score_function,
    sticking_the_landing,
)

with_baseline = partial(score_function, baseline=True)
ELBOS = {
    "pathwise": pathwise,
    "score-function": score_function,
    "score-function-with-baseline": with_baseline,
    "sticking-the-landing": sticking_the_landing,
}
IWAES = {
    "iwae": iwae_autograd,
    "iwae-weighted": iwae_weighted,
    "doubly-reparameterized": doubly_reparameterized,
}
MODELS = {"VAE": small_vae, "TwoLayerVAE": small_two_layer, "LinearGaussianVAE": moved_linear}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


def same_noise(seed=0):
    return torch.Generator().manual_seed(seed)


def some_images(model, n=4):
    if isinstance(model, LinearGaussianVAE):
        return model.simulate(n, seed=1)
    return all_images()[torch.randperm(64, generator=same_noise())[:n]]


def joined(pair):
    return torch.cat(pair, dim=-1)


def distances(one, other=0.0):
    """Means of replicated gradients ``[runs, ...]`` from each other, or from numbers, in standard errors."""
    variance = one.var(0) / len(one)
    if isinstance(other, torch.Tensor) and other.ndim == 2:
        variance, other = variance + other.var(0) / len(other), other.mean(0)
    # Where no draw matters, a gradient has no error but rounding.
    return (one.mean(0) - other).abs() / (variance.sqrt() + 1e-13)


# Reductions


def test_reductions_are_their_formulas():
    log_w = torch.randn(7, 3, dtype=torch.float64, generator=same_noise())
    torch.testing.assert_close(elbo(log_w), log_w.sum(0) / 7, rtol=1e-14, atol=1e-15)
    torch.testing.assert_close(iwae_bound(log_w), log_w.exp().mean(0).log(), rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(iwae_bound(log_w - 1e4), iwae_bound(log_w) - 1e4, rtol=1e-14, atol=1e-11)


def test_weights_too_small_for_a_float_still_have_a_mean():
    log_w = torch.tensor([[-104.0, -1e4], [-104.0, -1e4]])
    assert not log_w.exp().any()
    assert iwae_bound(log_w).tolist() == pytest.approx([-104, -1e4], rel=1e-6)
    assert iwae_bound(torch.full((3, 1), -math.inf)) == -math.inf


@pytest.mark.parametrize("reduce", [elbo, iwae_bound])
def test_no_samples_no_bound(reduce):
    for log_w in (torch.zeros(0, 3), torch.tensor(1.0)):
        with pytest.raises(ValueError, match=r"shape \[k, batch\] with k at least 1; got \["):
            reduce(log_w)


def test_one_sample_s_bounds_are_the_same():
    log_w = torch.randn(1, 5, dtype=torch.float64, generator=same_noise())
    torch.testing.assert_close(elbo(log_w), iwae_bound(log_w), rtol=1e-15, atol=1e-15)


# In order


@every_model
def test_bounds_over_subsets_of_the_same_draws_rise_with_their_size(make):
    """The proof of monotonicity, carried out: the mean bound of all subsets of k draws rises for any draws at all."""
    model, n = make(), 6
    log_w = model.log_weights(some_images(model), n, same_noise()).detach()
    bounds = torch.stack(
        [
            torch.stack([iwae_bound(log_w[list(chosen)]) for chosen in combinations(range(n), k)]).mean(0)
            for k in range(1, n + 1)
        ]
    )
    torch.testing.assert_close(bounds[0], elbo(log_w), rtol=1e-13, atol=1e-13)
    assert (bounds.diff(dim=0) > 0).all()


@every_model
def test_elbo_is_below_the_iwae_bounds_which_rise_to_log_p(make):
    model, runs = make(), 3_000
    x = some_images(model)
    if isinstance(model, LinearGaussianVAE):
        exact = model.exact_log_likelihood(x).detach()
    else:
        exact = quadrature(model, step=0.1)[(all_images() == x[:, None]).all(-1).int().argmax(1)]
    with torch.no_grad():
        log_w = model.log_weights(x, 64 * runs, same_noise()).view(64, runs, len(x))
        means, errors = [], []
        for k in (1, 2, 8, 64):
            bounds = torch.stack([iwae_bound(part) for part in log_w.split(k)]).mean(0)
            means.append(bounds.mean(0))
            errors.append(bounds.std(0) / math.sqrt(runs))
            assert (means[-1] < exact + 5 * errors[-1]).all()
        gaps = exact - torch.stack(means)
        # From the same draws, so that their differences have less error than either.
        assert (gaps.diff(dim=0) < 0).all()
        # To first order the gap is var(w) / (2 k p^2), so 64 samples close nearly all of it.
        assert (gaps[-1] < gaps[0] / 10 + 5 * errors[-1]).all()


@every_model
@pytest.mark.parametrize("k", [2, 6])
@pytest.mark.parametrize("name", [*ELBOS, *IWAES])
def test_value_of_every_surrogate_is_the_bound_of_the_same_draws(make, name, k):
    model = make()
    x = some_images(model)
    surrogate = (ELBOS | IWAES)[name]
    reduce = elbo if name in ELBOS else iwae_bound
    found, exact = surrogate(model, x, k, same_noise()), reduce(model.log_weights(x, k, same_noise()))
    assert found.shape == (len(x),)
    torch.testing.assert_close(found, exact, rtol=1e-13, atol=1e-13)


def test_single_precision_values_lose_nothing_to_the_surrogate():
    """The score function's surrogate is a product of two log-densities, far larger than the bound."""
    model = small_vae().float()
    x = some_images(model).float()
    for name in ("score-function", "iwae-weighted"):
        reduce = elbo if name == "score-function" else iwae_bound
        exact = reduce(model.log_weights(x, 5, same_noise()))
        assert torch.equal(GRADIENTS[name](model, x, 5, same_noise()), exact)


def test_every_name_leads_to_an_estimator():
    assert set(GRADIENTS.values()) == {*ELBOS.values(), *IWAES.values()} - {with_baseline}


def test_closed_form_kl_leaves_only_the_likelihood_to_sampling():
    model = moved_linear()
    x = some_images(model)
    runs, k = 4_000, 5
    with torch.no_grad():
        closed = torch.stack([elbo_closed_form(model, x, k, same_noise(run)) for run in range(runs)])
        distance = (closed.mean(0) - model.exact_elbo(x)).abs() / (closed.std(0) / math.sqrt(runs))
    assert (distance < 5).all()


def test_closed_form_kl_does_not_exist_for_two_layers():
    with pytest.raises(
        ValueError, match="closed form for a VAE or a LinearGaussianVAE, not for a TwoLayerVAE; use pathwise"
    ):
        elbo_closed_form(small_two_layer(), all_images(), 3)


# Gradients that agree draw by draw


@every_model
def test_the_two_iwae_gradients_agree_to_rounding(make):
    model = make()
    x = some_images(model)
    one, other = (
        joined(gradients(model, surrogate(model, x, 50, same_noise()).sum()))
        for surrogate in (iwae_autograd, iwae_weighted)
    )
    torch.testing.assert_close(one, other, rtol=0, atol=1e4 * EPSILON * float(one.abs().max()))
    assert one.abs().min() > 0


@every_model
def test_doubly_reparameterized_decoder_gradient_is_the_ordinary_one(make):
    model = make()
    x = some_images(model)
    (encoder, decoder), (other_encoder, other_decoder) = (
        gradients(model, surrogate(model, x, 7, same_noise()).sum())
        for surrogate in (iwae_autograd, doubly_reparameterized)
    )
    torch.testing.assert_close(decoder, other_decoder, rtol=0, atol=1e4 * EPSILON * float(decoder.abs().max()))
    assert (encoder - other_encoder).abs().max() > 0.01 * encoder.abs().max()


@every_model
def test_with_one_sample_iwae_is_the_vae(make):
    model = make()
    x = some_images(model)
    for iwae, vae in (
        (iwae_autograd, pathwise),
        (iwae_weighted, pathwise),
        (doubly_reparameterized, sticking_the_landing),
    ):
        one, other = (joined(gradients(model, surrogate(model, x, 1, same_noise()).sum())) for surrogate in (iwae, vae))
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def test_encoder_gradient_vanishes_at_the_posterior_where_its_noise_is_subtracted():
    model = LinearGaussianVAE.random(4, 2, seed=0)
    x = some_images(model)
    for surrogate in (sticking_the_landing, doubly_reparameterized):
        encoder, _ = gradients(model, surrogate(model, x, 5, same_noise()).mean())
        assert encoder.abs().max() < 1e-12
    encoder, _ = gradients(model, pathwise(model, x, 5, same_noise()).mean())
    assert encoder.abs().max() > 0.01


# Gradients that agree on average


def exact_gradient(model, x):
    return joined(gradients(model, model.exact_elbo(x).mean()))


@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("surrogate", [*ELBOS.values(), elbo_closed_form], ids=[*ELBOS, "closed-form"])
def test_elbo_gradients_are_exact_on_average(surrogate, k):
    model, runs = moved_linear(), 100
    x = some_images(model).repeat(100, 1)
    exact = exact_gradient(model, x)
    found = joined(replicated_gradients(model, lambda m, x, g: surrogate(m, x, k, g), x, runs))
    # 24 partial derivatives, each within 5 standard errors.
    assert found.shape == (runs, 24)
    assert distances(found, exact).max() < 5
    # Sharp enough to tell: a derivative of typical size is known to a few per cent, or better.
    assert (found.std(0) / math.sqrt(runs)).max() < 0.05 * exact.abs().max()


@pytest.mark.parametrize("make", [small_vae, small_two_layer], ids=["VAE", "TwoLayerVAE"])
@pytest.mark.parametrize("surrogate", [score_function, with_baseline, sticking_the_landing], ids=list(ELBOS)[1:])
def test_elbo_gradients_of_neural_networks_have_the_same_mean(make, surrogate):
    model, runs = make(), 100
    x = some_images(model).repeat(100, 1)
    one, other = (
        joined(replicated_gradients(model, lambda m, x, g, s=s: s(m, x, 3, g), x, runs, seed))
        for seed, s in enumerate((pathwise, surrogate))
    )
    assert distances(one, other).max() < 5


@every_model
def test_doubly_reparameterized_gradient_has_the_ordinary_one_s_mean(make):
    model, runs = make(), 100
    x = some_images(model).repeat(150, 1)
    (ordinary, _), (doubly, _) = (
        replicated_gradients(model, lambda m, x, g, s=s: s(m, x, 3, g), x, runs, seed)
        for seed, s in enumerate((iwae_autograd, doubly_reparameterized))
    )
    assert distances(ordinary, doubly).max() < 5
    # Weighted once only, the mean would be another: see that it would be noticed.
    once, _ = replicated_gradients(model, _weighted_once, x, runs, seed=2)
    assert distances(ordinary, once).max() > 8


def _weighted_once(model, x, generator):
    q = model.posterior(x)
    z = q.rsample(3, generator)
    log_w = model.log_joint(x, z) - q.detached().log_prob(z)
    return (torch.softmax(log_w.detach(), 0) * log_w).sum(0)


# Variance


def deviations(surrogate, model, x, k, runs=100):
    """Of each run's encoder gradient from their mean, squared and summed over parameters, ``[runs]``."""
    encoder, _ = replicated_gradients(model, lambda m, x, g: surrogate(m, x, k, g), x, runs)
    return (encoder - encoder.mean(0)).square().sum(1)


def vary_more(one, other):
    """Whether deviations are larger by 5 standard errors of their mean difference, from the same noise."""
    return (one - other).mean() > 5 * (one - other).std() / math.sqrt(len(one))


@every_model
def test_score_function_varies_more_than_with_a_baseline_and_that_more_than_pathwise(make):
    model = make()
    x = some_images(model).repeat(5, 1)
    plain, baseline, reparameterized = (
        deviations(surrogate, model, x, k=5) for surrogate in (score_function, with_baseline, pathwise)
    )
    assert vary_more(plain, baseline)
    assert vary_more(baseline, reparameterized)


def test_near_the_posterior_sticking_the_landing_varies_less_than_pathwise():
    model = LinearGaussianVAE.random(4, 2, seed=0)
    with torch.no_grad():
        model.encoder.bias.add_(0.1)
    x = some_images(model).repeat(5, 1)
    assert vary_more(deviations(pathwise, model, x, 5), deviations(sticking_the_landing, model, x, 5))


@every_model
def test_with_many_samples_the_doubly_reparameterized_gradient_varies_less(make):
    model = make()
    x = some_images(model).repeat(5, 1)
    ordinary, doubly = (deviations(surrogate, model, x, k=64) for surrogate in (iwae_autograd, doubly_reparameterized))
    assert vary_more(ordinary, 4 * doubly)


def signal_to_noise(surrogate, model, x, k):
    encoder, _ = replicated_gradients(model, lambda m, x, g: surrogate(m, x, k, g), x, runs=100)
    return float(encoder.mean(0).norm() / encoder.var(0).sum().sqrt())


def test_encoder_s_signal_drowns_as_samples_are_added_unless_doubly_reparameterized():
    """Rainforth et al. 2018: it falls like 1 / sqrt(k), so 16-fold k costs a factor of 4."""
    model = moved_linear()
    x = some_images(model).repeat(25, 1)
    few, many = (signal_to_noise(iwae_autograd, model, x, k) for k in (4, 64))
    # 100 runs know each ratio within some 10 %.
    assert few / many > 2
    few, many = (signal_to_noise(doubly_reparameterized, model, x, k) for k in (4, 64))
    assert few / many < 1


# Bad input


@pytest.mark.parametrize("surrogate", [*ELBOS.values(), *IWAES.values(), elbo_closed_form])
@pytest.mark.parametrize("k", [0, -1, 1.5, True])
def test_numbers_of_samples_that_are_none_are_refused(surrogate, k):
    with pytest.raises(ValueError, match="number of samples must be a whole number of at least 1; got"):
        surrogate(small_vae(), all_images(), k)


def test_a_baseline_needs_another_sample():
    with pytest.raises(ValueError, match="needs at least 2 samples; got k = 1"):
        with_baseline(small_vae(), all_images(), 1)


@pytest.mark.parametrize("reduce", [elbo, iwae_bound])
@pytest.mark.parametrize("log_w", [None, [0.5, 1.0], torch.zeros(3, 2).numpy(), torch.zeros(3, 2, dtype=torch.int64)])
def test_what_are_no_log_weights_is_refused(reduce, log_w):
    with pytest.raises(ValueError, match="log-weights must be a tensor of floating-point numbers; got a "):
        reduce(log_w)


@every_model
@pytest.mark.parametrize("surrogate", [*ELBOS.values(), *IWAES.values()], ids=[*ELBOS, *IWAES])
def test_a_step_of_training_looks_at_no_value(make, surrogate):
    """A tensor on this device has none: whoever looks at one fails."""
    model = make().to("meta")
    value = surrogate(model, torch.zeros(5, model.data_dim, device="meta", dtype=torch.float64), 3)
    value.mean().backward()
    assert value.shape == (5,) and value.is_meta


@pytest.mark.parametrize("surrogate", [*ELBOS.values(), *IWAES.values()], ids=[*ELBOS, *IWAES])
def test_a_frozen_encoder_leaves_the_decoder_its_gradient(surrogate):
    model = small_vae()
    model.encoder.requires_grad_(False)
    surrogate(model, all_images(), 3).mean().backward()
    assert all(parameter.grad is None for parameter in model.encoder.parameters())
    assert all(parameter.grad.isfinite().all() for parameter in model.decoder.parameters())
