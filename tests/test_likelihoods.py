"""Likelihoods: distributions over their levels that start at what the images show, by the names of presets."""

import math

import pytest
import torch

from course_lib.vae.likelihoods import (
    LIKELIHOODS,
    Bernoulli,
    Categorical,
    LogisticMixture,
    likelihood_named,
)

EACH = [Bernoulli(), LogisticMixture(levels=5, components=3), Categorical(levels=5)]
each = pytest.mark.parametrize("likelihood", EACH, ids=LIKELIHOODS)


def log_probs(likelihood, parameters):
    """Of every level, ``[levels, ...]``."""
    distribution, shape = likelihood.distribution(parameters), parameters.shape[:-1]
    last = likelihood.levels - 1
    return torch.stack([distribution.log_prob(torch.full(shape, i / last).double()) for i in range(last + 1)])


@each
def test_as_many_parameters_as_it_says_make_a_distribution_over_its_levels(likelihood):
    parameters = torch.randn(4, 1, 2, 3, likelihood.n_parameters, dtype=torch.float64)
    total = log_probs(likelihood, parameters).exp().sum(0)
    torch.testing.assert_close(total, torch.ones(4, 1, 2, 3).double())
    distribution = likelihood.distribution(parameters)
    assert distribution.mean.shape == distribution.sample().shape == (4, 1, 2, 3)


@each
def test_start_is_for_each_intensity_by_itself(likelihood):
    images = torch.tensor([[[[0.0, 1.0]]], [[[0.0, 1.0]]], [[[1.0, 1.0]]]])
    start = likelihood.start(images)
    assert start.shape == (1, 1, 2, likelihood.n_parameters)
    for pixel in range(2):
        assert torch.equal(likelihood.start(images[..., pixel : pixel + 1]), start[:, :, pixel : pixel + 1])
    means = likelihood.distribution(start).mean[0, 0]
    assert means[0] < means[1]


def test_bits_and_levels_start_at_their_frequencies():
    images = torch.tensor([0.0, 0.25, 0.25, 1.0]).view(4, 1, 1, 1)
    # Each level is counted once more than it is there.
    counts = torch.tensor([2.0, 3.0, 1.0, 1.0, 2.0])
    torch.testing.assert_close(Categorical(5).start(images).flatten().exp(), counts / 9)
    bits = (images > 0.5).float()
    torch.testing.assert_close(Bernoulli().start(bits).flatten().sigmoid(), torch.tensor([0.25]))
    # Neither always nor never.
    assert Bernoulli().start(torch.stack([bits * 0, bits * 0 + 1], 1)).isfinite().all()


def test_a_mixture_starts_around_the_mean_with_components_apart():
    images = torch.tensor([0.25, 0.75]).view(2, 1, 1, 1)
    logits, means, log_scales = LogisticMixture(256, 3).start(images).flatten().chunk(3)
    assert logits.tolist() == [0, 0, 0]
    assert means.tolist() == [0.25, 0.5, 0.75]
    assert log_scales.tolist() == pytest.approx([math.log(0.1)] * 3)


def test_names_are_those_of_presets():
    named = [likelihood_named(name, each.levels, 3) for name, each in zip(LIKELIHOODS, EACH, strict=True)]
    assert named == EACH


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: likelihood_named("gaussian", 2, 1), "likelihood must be one of bernoulli, logistic-mixture, categ"),
        (
            lambda: likelihood_named("bernoulli", 256, 1),
            "bits have 2 levels and a Bernoulli likelihood; got levels 256",
        ),
        (lambda: likelihood_named("categorical", 2, 1), "bits have 2 levels and a Bernoulli likelihood; got levels 2"),
        (lambda: likelihood_named("categorical", "2", 1), "levels must be a whole number of at least 1; got '2'"),
        (lambda: Categorical(1), "levels must be a whole number of at least 2; got 1"),
        (lambda: LogisticMixture(1, 1), "levels must be a whole number of at least 2; got 1"),
        (lambda: LogisticMixture(256, 0), "components must be a whole number of at least 1; got 0"),
    ],
)
def test_impossible_likelihoods_are_refused(make, told):
    with pytest.raises(ValueError, match=told):
        make()
