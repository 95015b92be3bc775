"""Every check: silent on an untouched stub, right for the worked answer, and a hint for each likely mistake."""

import inspect
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import softplus

from course_lib.estimates import Estimate
from course_lib.exercises import notebook_01, notebook_02, notebook_03, notebook_04, notebook_05
from course_lib.exercises.verdict import Verdict
from course_lib.projects import (
    Project,
    Proposal,
    completion_law,
    cross_entropy,
    importance_sampling,
    monte_carlo,
    scaled,
)

NOTEBOOKS = (notebook_01, notebook_02, notebook_03, notebook_04, notebook_05)
PLAN = Project.example()
TAIL = float(completion_law(PLAN).sf(70))
HOUSE = Project({"frame": 20, "roof": 10, "pipes": 12}, {"roof": ["frame"], "pipes": ["frame"]})
HOUSE_ESTIMATE = importance_sampling(HOUSE, 150, cross_entropy(HOUSE, 150), n=50_000)


def shares(days=30, size=lambda n: n, late=True):
    rng = np.random.default_rng(1)

    def estimates(sizes):
        times = [PLAN.completion_times(rng.exponential(PLAN.means, size=(size(n), 10))) for n in sizes]
        return [np.mean((t >= days) == late) for t in times]

    return estimates


def criticality(column=8, error=lambda p, n: math.sqrt(p * (1 - p) / n)):
    def answer(task, n):
        mask = PLAN.critical_tasks(np.random.default_rng(3).exponential(PLAN.means, size=(n, 10)))
        share = mask.mean() if column is None else mask[:, column].mean()
        return share, error(share, n)

    return answer


def second_moment(k):
    return k**2 / (2 * k - 1) if k > 0.5 else math.inf


def mean_weight(proposal, late, power=1):
    return np.mean(np.exp(power * proposal.log_weights(late)))


def ratios(t, p, q):
    return np.log(q / p) + t / q - t / p


def weighted_loss(weight, sign=-1.0):
    def loss(log_p, log_q):
        log_w = log_p - log_q
        return sign * (weight(log_w) * log_w).sum(0).mean()

    return loss


def normalized(log_w, axis=0):
    return torch.softmax(log_w, axis).detach()


def log_mean_exp(log_w):
    return torch.logsumexp(log_w, 0) - math.log(len(log_w))


def mean_and_error(error):
    return lambda a, b: ((b - a).mean(), error(a, b))


def parts(model, x, z):
    return model.log_conditional(x, z), model.log_prior(z), model.posterior(x).log_prob(z)


def weights_from(combine):
    return lambda model, x, z: combine(*parts(model, x, z))


def divergence(fraction=lambda m, s, m0, s0: (s**2 + (m - m0) ** 2) / (2 * s0**2), constant=0.5, factor=1.0):
    return lambda m, s, m0, s0: (factor * torch.log(s0 / s) + fraction(m, s, m0, s0) - constant).sum(-1)


def noisy(noise=torch.randn, scale=lambda std: std):
    return lambda mean, std, k: mean + scale(std) * noise(k, *mean.shape, dtype=mean.dtype)


def log_bits(x, logits):
    return (x * logits - softplus(logits)).sum(-1)


def through_probabilities(x, logits):
    p = torch.sigmoid(logits)
    return (x * p.log() + (1 - x) * (1 - p).log()).sum(-1).mean(0)


def shapes(**changed):
    right = {"flattened": (20, 784), "hidden": (20, 200), "output": (20, 100), "std": (20, 50)}
    return tuple((right | {"z": (5, 20, 50), "logits": (5, 20, 784)} | changed).values())


def areas(edges=lambda levels: torch.arange(levels - 1) + 0.5, scaled=lambda d, scale: d / scale, ends=(0.0, 1.0)):
    def probabilities(mean, scale, levels):
        below = torch.sigmoid(scaled(edges(levels) - mean, scale))
        first, last = (torch.full((int(end is not None),), end or 0.0) for end in ends)
        return torch.diff(below, prepend=first, append=last)

    return probabilities


def closed(shift=0.0, scaled=lambda d, scale: d / scale):
    return areas(lambda levels: torch.arange(levels + 1) - 0.5 + shift, scaled, ends=(None, None))


def height(mean, scale, levels):
    rise = torch.sigmoid((torch.arange(levels) - mean) / scale)
    return rise * (1 - rise) / scale


def colleagues(**changed):
    right = {"Ada": "no number", "Ben": "too low", "Chen": "too high", "Dee": "too high", "Eve": "right"}
    return right | changed


def kl(
    average=lambda w, c: (torch.softmax(w, 0) * c).sum(),
    log_p_x=lambda w: torch.logsumexp(w, 0) - math.log(len(w)),
):
    return lambda w, c: average(w, c) - log_p_x(w)


def mixed(combine=torch.logaddexp, log_rest=lambda share: math.log1p(-share), log_share=lambda share: math.log(share)):
    return lambda q, prior, share: combine(log_rest(share) + q, log_share(share) + prior)


PROPER = mixed()


def snow(log_flips=lambda n: -n * math.log(2), mixture=PROPER):
    return lambda log_p, share, n: mixture(torch.full_like(log_p, log_flips(n)), log_p, share)


# What can be wrong with a mixture.
MIXTURES = [
    (lambda q, prior, s: (1 - s) * q + s * prior, "mixes the logs"),
    (lambda q, prior, s: torch.logaddexp((1 - s) * q, s * prior), "its logarithm is added"),
    (mixed(log_rest=math.log, log_share=lambda s: math.log(1 - s)), "shares are swapped"),
    (mixed(log_rest=lambda s: 0, log_share=lambda s: 0), "neither has its share"),
    (mixed(log_rest=lambda s: math.log(0.5), log_share=lambda s: math.log(0.5)), "half of each"),
    (mixed(log_share=lambda s: 0), "the factor `share`"),
    (mixed(log_rest=lambda s: 0), "the factor 1 - share"),
    (mixed(torch.add), "log of a product"),
    (mixed(torch.maximum), "larger of the two"),
    (lambda q, prior, s: q + math.log(1 - s), "alone. The sum has a second term, `share` times"),
    (lambda q, prior, s: prior + math.log(s), "alone. The sum has a second term, 1 - share times"),
    (lambda *args: mixed()(*args).exp(), "return its logarithm"),
    (lambda q, prior, s: mixed()(q, prior, s).mean(), "got []"),
    (lambda q, prior, s: ((1 - s) * q.exp() + s * prior.exp()).log(), "Stay in log space"),
    (lambda q, prior, s: mixed()(q, prior, 0.1), "a share of 0.2, it is"),
]


def gaussian(
    mean=lambda intercept, slopes: -torch.linalg.inv(slopes) @ intercept,
    covariance=lambda slopes: -torch.linalg.inv(slopes),
    is_symmetric=True,
):
    def fitted(z, gradient):
        line = torch.linalg.lstsq(torch.cat([torch.ones(len(z), 1).double(), z], 1), gradient).solution
        slopes = (line[1:] + line[1:].T) / 2 if is_symmetric else line[1:]
        return mean(line[0], slopes), covariance(slopes)

    return fitted


def with_true(place=lambda w: 0, reduced=log_mean_exp):
    def bound(log_w, log_w_true):
        rows = torch.as_tensor(place(log_w)).expand(log_w.shape[1])
        return reduced(log_w.scatter(0, rows[None], log_w_true[None]))

    return bound


def with_true_added(reduced):
    return lambda log_w, log_w_true: reduced(torch.cat([log_w, log_w_true[None]]))


def overwritten(log_w, log_w_true):
    log_w[0] = log_w_true
    return log_mean_exp(log_w)


# check -> (right answers, [(wrong answers, words of the hint that names the mistake)])
CASES = {
    notebook_01.standard_error: (
        [lambda x: x.std(ddof=1) / math.sqrt(len(x)), lambda x: x.std() / len(x) ** 0.5],
        [
            (lambda x: x.std(ddof=1), "divide by the root of n"),
            (lambda x: x.var(ddof=1) / len(x), "variance of the mean"),
            (lambda x: x.std(ddof=1) / len(x), "divided by n"),
            (lambda x: x.mean(), "the answer is"),
        ],
    ),
    notebook_01.estimates: (
        [shares()],
        [
            (shares(size=lambda n: 100_000), "still does not depend on n"),
            (shares(size=lambda n: 2 * n), "whole number of projects divided by n"),
            (shares(size=lambda n: 1_000), "still does not depend on n"),
            (shares(late=False), "less than 30 days"),
            (lambda sizes: [18.2] * len(sizes), "between 0 and 1"),
            (lambda sizes: [0.0670203699] * len(sizes), "whole number of projects divided by n"),
            (shares(days=15), "four standard errors"),
            (lambda sizes: shares()(sizes)[-1], "expected 4 shares"),
        ],
    ),
    notebook_01.mean_of_max: (
        [lambda a, b: a + b - a * b / (a + b)],
        [
            (max, "larger mean"),
            (lambda a, b: a + b, "one after the other"),
            (lambda a, b: a * b / (a + b), "mean of the minimum"),
            (lambda a, b: a + b - 1 / (a + b), "rates add"),
            (lambda a, b: a + b - 1 / a - 1 / b, "one over its rate"),
            (lambda a, b: 5 + 3 - 1.875, "for 2 and 2"),
            (lambda a, b: 1.5 * max(a, b), "the answer is"),
        ],
    ),
    notebook_01.upper_bound: (
        [lambda n: 1 - 0.05 ** (1 / n)],
        [
            (lambda n: 0.0, "does not mean that the probability is zero"),
            (lambda n: 3 / n, "approximation"),
            (lambda n: 1 - 0.95 ** (1 / n), "95 % probable"),
            (lambda n: 0.05 ** (1 / n), "1 - p"),
            (lambda n: 1 / n, "the answer is"),
        ],
    ),
    notebook_01.projects_needed: (
        [lambda p, r: (1 - p) / (p * r**2), lambda p, r: 1 / (p * r**2)],
        [
            (lambda p, r: (1 - p) / (p * r), "its square"),
            (lambda p, r: p * (1 - p) / r**2, "absolute error"),
            (lambda p, r: 1.96**2 / (p * r**2), "95 % interval"),
            (lambda p, r: 1 / p, "the answer is"),
        ],
    ),
    notebook_01.criticality: (
        [criticality()],
        [
            (criticality(column=9), "column with index 9"),
            (criticality(column=None), "average over all ten"),
            (lambda task, n: (0.0, 0.0), "the probability for task 9"),
            (criticality(error=lambda p, n: math.sqrt(p * (1 - p))), "single project"),
            (criticality(error=lambda p, n: p / n), "its standard error is"),
            (criticality(column=1), "the probability for task 9"),
            (lambda task, n: 0.5, "return two numbers"),
            (lambda task, n: criticality()(task, 20_000), "n fresh ones"),
        ],
    ),
    notebook_02.log_weights: (
        [lambda t, p, q: ratios(t, p, q).sum(axis=1)],
        [
            (lambda t, p, q: -ratios(t, p, q).sum(axis=1), "log q - log p"),
            (lambda t, p, q: np.exp(ratios(t, p, q).sum(axis=1)), "weights themselves"),
            (lambda t, p, q: (t / q - t / p).sum(axis=1), "factor 1/mean"),
            (lambda t, p, q: (t / q - t / p - np.log(q / p)).sum(axis=1), "wrong sign"),
            (ratios, "sum over axis 1"),
            (lambda t, p, q: ratios(t, p, q).sum(axis=0), "one log-weight for each draw"),
            (lambda t, p, q: ratios(t, p, q).max(axis=1), "should be"),
        ],
    ),
    notebook_02.second_moment: (
        [second_moment],
        [
            (lambda k: k**2 / (2 * k - 1), "np.inf"),
            (lambda k: k**2 / (2 * k - 1) if k >= 0.5 else math.inf, "for c = 0.5"),
            (lambda k: 1.0, "mean of w"),
            (lambda k: second_moment(k) - 1, "variance of w"),
            (lambda k: k / (2 * k - 1) if k > 0.5 else math.inf, "one factor c is missing"),
            (lambda k: 4 / 3 if k > 0.5 else math.inf, "for c = 0.75"),
            (lambda k: k, "the integral is 4/3"),
        ],
    ),
    notebook_02.mended: (
        [scaled(PLAN, 3, ["1", "2", "4", "10"]), Proposal(PLAN, [12, 12, 2, 15, 2, 3, 2, 3, 2, 6])],
        [
            (Proposal(PLAN, [12, 12, 2, 15, 2, 3, 2, 3, 2, 12]), "the post's proposal"),
            (scaled(PLAN, 3), "every task is scaled"),
            (scaled(PLAN, 3, ["1", "2", "4"]), "task 10 is on the critical path too"),
            (scaled(PLAN, 4, ["1", "2", "4", "10"]), "should be 3"),
            (scaled(PLAN, 3, ["1", "2", "10"]), "the mean of task 4 should be 15"),
            (scaled(HOUSE, 4), "another plan"),
            ([16, 16, 2, 20], "make a proposal"),
        ],
    ),
    notebook_02.relative_variance: (
        [lambda q, late, p: mean_weight(q, late) / p - 1],
        [
            (lambda q, late, p: mean_weight(q, late) / p, "subtract 1"),
            (lambda q, late, p: q.relative_variance(70), "average over the late projects"),
            (lambda q, late, p: mean_weight(q, late, 2) / p**2 - 1, "average w, not its square"),
            (lambda q, late, p: mean_weight(q, late) - 1, "not yet relative"),
            (lambda q, late, p: np.var(np.exp(q.log_weights(late))) / mean_weight(q, late) ** 2, "among late"),
            (lambda q, late, p: 1 / p, "the exact value is"),
        ],
    ),
    notebook_02.mixture_log_weights: (
        [lambda a, b, s: -np.logaddexp(np.log(s) - a, np.log(1 - s) - b)],
        [
            (lambda a, b, s: np.log(s * np.exp(a) + (1 - s) * np.exp(b)), "averages the weights"),
            (lambda a, b, s: -np.logaddexp(-a, -b), "shares are missing"),
            (lambda a, b, s: -np.logaddexp(np.log(1 - s) - a, np.log(s) - b), "swapped"),
            (lambda a, b, s: np.logaddexp(np.log(s) - a, np.log(1 - s) - b), "change the sign"),
            (lambda a, b, s: a, "one component alone"),
            (lambda a, b, s: -np.log(s * np.exp(-a) + (1 - s) * np.exp(-b)), "stay in log space"),
            (lambda a, b, s: a.sum(), "one log-weight for each draw"),
            (lambda a, b, s: a + b, "the answer is"),
        ],
    ),
    notebook_02.own_plan: (
        [(HOUSE, 150, HOUSE_ESTIMATE)],
        [
            ((HOUSE, 400, monte_carlo(HOUSE, 400, n=500)), "no draw missed"),
            ((HOUSE, 150, importance_sampling(HOUSE, 150, scaled(HOUSE, 20), n=100)), "caution"),
            ((HOUSE, 120, monte_carlo(HOUSE, 120, n=10_000)), "below 5 %"),
            ((HOUSE, 40, monte_carlo(HOUSE, 40, n=20_000)), "not rare yet"),
            ((HOUSE, 160, HOUSE_ESTIMATE), "this deadline"),
            ((PLAN, 70, HOUSE_ESTIMATE), "one of yours"),
            (("my_plan.csv", 150, HOUSE_ESTIMATE), "should be a Project"),
            ((HOUSE, 150, HOUSE_ESTIMATE.value), "should be what importance_sampling"),
        ],
    ),
    notebook_03.log_weights: (
        [weights_from(lambda likelihood, prior, q: likelihood + prior - q)],
        [
            (weights_from(lambda likelihood, prior, q: likelihood - q), "the prior is missing"),
            (weights_from(lambda likelihood, prior, q: likelihood), "integrand under the prior"),
            (weights_from(lambda likelihood, prior, q: likelihood + prior), "that is log p(x, z)"),
            (weights_from(lambda likelihood, prior, q: prior - q), "the image itself is missing"),
            (weights_from(lambda likelihood, prior, q: likelihood + prior + q), "do not add it"),
            (weights_from(lambda likelihood, prior, q: q - likelihood - prior), "change the sign"),
            (weights_from(lambda likelihood, prior, q: (likelihood + prior - q).exp()), "return their logarithms"),
            (weights_from(lambda likelihood, prior, q: (likelihood + prior - q).mean(0)), "already the ELBO"),
            (weights_from(lambda likelihood, prior, q: log_mean_exp(likelihood + prior - q)), "log of the mean"),
            (weights_from(lambda likelihood, prior, q: (likelihood + prior) / q), "not / log q(z|x)"),
            (weights_from(lambda likelihood, prior, q: likelihood * prior / q), "are added and subtracted"),
            (lambda model, x, z: model.log_weights(x, 4), "draw no new ones"),
            (weights_from(lambda likelihood, prior, q: (likelihood + prior - q).sum()), "one log-weight for each"),
            (weights_from(lambda likelihood, prior, q: 2 * likelihood), "should be"),
            (weights_from(lambda likelihood, prior, q: -90.0), "return a tensor"),
        ],
    ),
    notebook_03.kl_gaussians: (
        [
            divergence(),
            lambda m, s, m0, s0: torch.distributions.kl_divergence(
                torch.distributions.Normal(m, s), torch.distributions.Normal(m0, s0)
            ).sum(-1),
        ],
        [
            (
                lambda m, s, m0, s0: divergence()(m[..., None], s[..., None], m0[..., None], s0[..., None]),
                "they add up",
            ),
            (lambda m, s, m0, s0: divergence()(m, s, m0, s0) / m.shape[-1], "instead of averaging"),
            (lambda m, s, m0, s0: divergence()(m, s, m0, s0).sum(), "last axis only"),
            (lambda m, s, m0, s0: divergence()(m0, s0, m, s), "the other way round"),
            (divergence(constant=0.0), "-1/2 of each dimension is missing"),
            (divergence(constant=-0.5), "not +1/2"),
            (divergence(factor=-1.0), "upside down"),
            (divergence(factor=2.0), "no factor 2"),
            (divergence(lambda m, s, m0, s0: (s + (m - m0) ** 2) / (2 * s0)), "square std"),
            (divergence(lambda m, s, m0, s0: (s**2 + m - m0) / (2 * s0**2)), "has to be squared"),
            (divergence(lambda m, s, m0, s0: (s**2 + (m - m0) ** 2) / 2 * s0**2), "denominator in parentheses"),
            (divergence(lambda m, s, m0, s0: (s**2 + (m - m0) ** 2) / s0**2), "a 2 is missing"),
            (lambda m, s, m0, s0: divergence(constant=0.0)(m, s, m0, s0) - 0.5, "before the sum"),
            (divergence(factor=3.0), "should be"),
            (lambda m, s, m0, s0: m[:2, 0], "one divergence for each image"),
        ],
    ),
    notebook_03.shapes: (
        [shapes(), tuple(map(list, shapes())), tuple(map(torch.Size, shapes()))],
        [
            (shapes(flattened=784), "shape of the whole batch"),
            (shapes(flattened=(15680,)), "the batch stays"),
            (shapes(hidden=(784, 200)), "layer's weights"),
            (shapes(hidden=(20, 150)), "in order"),
            (shapes(hidden=(200,)), "hidden: that is the shape for a single image; the batch stays"),
            (shapes(output=(20, 150)), "leaves the second layer"),
            (shapes(output=(20, 50)), "two numbers for each latent dimension"),
            (shapes(std=(20, 100)), "split into 50 means and 50 scales"),
            (shapes(std=(20, 50, 50)), "diagonal Gaussian"),
            (shapes(std=(50,)), "std: that is the shape for a single image"),
            (shapes(z=(20, 5, 50)), "samples lead"),
            (shapes(z=(5, 50)), "z_shape: that is the shape for a single image"),
            (shapes(logits=(20, 784)), "last axis alone"),
            (shapes(logits=(100, 784)), "not merged"),
            (shapes(output=(20, 64)), "`output` is not (20, 64): follow the figure above, with 20 in place of 32."),
            (shapes(z=(50, 5)), "and the 5 draws in front"),
        ],
    ),
    notebook_03.draw: (
        [
            noisy(),
            lambda mean, std, k: torch.distributions.Normal(mean, std).rsample((k,)),
            lambda mean, std, k: torch.randn(k, *mean.shape) * std + mean,
        ],
        [
            (lambda mean, std, k: torch.distributions.Normal(mean, std).sample((k,)), "no gradient flows"),
            (lambda mean, std, k: noisy()(mean, std, k).detach(), "no gradient flows"),
            (noisy(noise=torch.rand), "uniform"),
            (noisy(scale=lambda std: std**2), "not to be squared"),
            (noisy(scale=lambda std: std.sqrt()), "no square root"),
            (lambda mean, std, k: (mean + std * torch.randn(mean.shape)).expand(k, -1, -1), "draws are alike"),
            (lambda mean, std, k: mean + std * torch.randn(k, 1, mean.shape[-1]), "share their noise"),
            (lambda mean, std, k: mean + std * torch.randn(k, len(mean), 1), "share their noise"),
            (lambda mean, std, k: mean + std * torch.randn(mean.shape), "k draws for each Gaussian"),
            (lambda mean, std, k: noisy()(mean.detach(), std, k), "does not reach `mean`"),
            (lambda mean, std, k: noisy()(mean, std.detach(), k), "does not reach `std`"),
            (lambda mean, std, k: std + mean * torch.randn(k, *mean.shape), "mean and std swapped"),
            (lambda mean, std, k: (mean + std) * torch.randn(k, *mean.shape), "Only std multiplies"),
            (lambda mean, std, k: std * torch.randn(k, *mean.shape), "is the mean left out"),
            (noisy(scale=lambda std: 3 * std), "times as widely"),
            (lambda mean, std, k: 0.5, "return a tensor"),
        ],
    ),
    notebook_03.terms: (
        [("c", "d", "b", "a", "c"), ("C", "D", "B", " A", "c")],
        [
            (("b", "d", "b", "a", "c"), "b draws the codes"),
            (("e", "d", "b", "a", "c"), "e is the whole bound"),
            (("c", "e", "b", "a", "c"), "what is subtracted there"),
            (("c", "d", "a", "a", "c"), "the encoder is a function"),
            (("c", "d", "b", "d", "c"), "the network itself ran in a"),
            (("c", "d", "b", "a", "b"), "theta are the decoder's"),
            (("c", "d", "b", "a", "d"), "no parameters"),
            (("a", "d", "b", "a", "c"), "a only runs the encoder"),
            (("d", "d", "b", "a", "c"), "the other term"),
            (("c", "a", "b", "a", "c"), "the prior enters in a later line"),
            (("c", "b", "b", "a", "c"), "takes no draws"),
            (("c", "c", "b", "a", "c"), "p(z) is not in it"),
            (("c", "d", "d", "a", "c"), "no draw in it"),
            (("c", "d", "e", "a", "c"), "e only subtracts; its chance"),
            (("c", "d", "b", "c", "c"), "c runs the decoder"),
            (("c", "d", "b", "e", "c"), "the encoder ran before"),
            (("c", "d", "b", "a", "z = q.rsample(1)"), "one of the letters"),
        ],
    ),
    notebook_03.expected_log_likelihood: (
        [
            lambda x, logits: log_bits(x, logits).mean(0),
            lambda x, logits: torch.distributions.Bernoulli(logits=logits).log_prob(x).sum(-1).mean(0),
        ],
        [
            (
                lambda x, logits: torch.distributions.Bernoulli(torch.sigmoid(logits).mean(0)).log_prob(x).sum(-1),
                "log-likelihood of the mean image",
            ),
            (lambda x, logits: log_bits(x, logits.mean(0)), "averages the logits first"),
            (lambda x, logits: log_mean_exp(log_bits(x, logits)), "log of the mean likelihood"),
            (log_bits, "mean over the first axis"),
            (lambda x, logits: log_bits(x, logits).sum(0), "are added up"),
            (lambda x, logits: log_bits(x, logits).mean(0) / x.shape[-1], "sum over pixels"),
            (lambda x, logits: log_bits(x[..., None], logits[..., None]).mean(0), "single pixels"),
            (lambda x, logits: log_bits(x, logits).mean(), "averages over the batch"),
            (lambda x, logits: -log_bits(x, logits).mean(0), "that is the loss"),
            (lambda x, logits: (x * logits).sum(-1).mean(0), "softplus(logits) is missing"),
            (lambda x, logits: (x * logits - softplus(-logits)).sum(-1).mean(0), "no minus inside softplus"),
            (lambda x, logits: (x * (logits - softplus(logits))).sum(-1).mean(0), "x multiplies only the logit"),
            (lambda x, logits: (x * logits - (1 - x) * softplus(logits)).sum(-1).mean(0), "take away the 1 - x"),
            (lambda x, logits: log_bits(x, logits).mean(1), "the L codes are axis 0"),
            (through_probabilities, "do not go through probabilities"),
            (lambda x, logits: log_bits(x, 2 * logits).mean(0), "should be"),
            (lambda x, logits: logits[0, :2, 0], "one number for each image"),
        ],
    ),
    notebook_03.gradient_variance: (
        [lambda v, e, m, n: v / m + e / (m * n)],
        [
            (lambda v, e, m, n: (v + e) / (m * n), "L divides only the noise"),
            (lambda v, e, m, n: v / m + e / n, "M divides both"),
            (lambda v, e, m, n: v + e / (m * n), "the choice of images averages out over M too"),
            (lambda v, e, m, n: (v / m + e) / n, "draws share their image"),
            (lambda v, e, m, n: v + e / n, "one image's"),
            (lambda v, e, m, n: (v + e) / m, "averaged over its L draws"),
            (lambda v, e, m, n: (v / n + e) / m, "wrong way round"),
            (lambda v, e, m, n: math.sqrt((v + e / n) / m), "standard deviation"),
            (lambda v, e, m, n: (v + e / n) / m**2, "an Mth of the variance"),
            (lambda v, e, m, n: (v + e / n**2) / m, "an Lth squared"),
            (lambda v, e, m, n: 0.5, "but for V_x = 1"),
            (lambda v, e, m, n: v * e, "the answer is"),
        ],
    ),
    notebook_04.iwae_bound: (
        [log_mean_exp, lambda w: (w - w.max(0).values).exp().mean(0).log() + w.max(0).values],
        [
            (lambda w: w.mean(0), "mean of the logs"),
            (lambda w: torch.logsumexp(w, 0), "lower by log k"),
            (lambda w: torch.logsumexp(w, 1) - math.log(w.shape[1]), "average over axis 0"),
            (lambda w: log_mean_exp(w).exp(), "mean weight itself"),
            (lambda w: w.exp().mean(0).log(), "is 0 in float32"),
            (lambda w: log_mean_exp(w).mean(), "one bound for each image"),
            (lambda w: log_mean_exp(w) - 1, "my first image"),
            (lambda w: log_mean_exp(w).clamp(min=-50), "something else"),
        ],
    ),
    notebook_04.too_good: (
        [-78.2 - math.log(5000), -86.72],
        [
            (-78.2, "what was printed"),
            (-78.2 + math.log(5000), "goes down"),
            (-78.2 / 5000, "loses log K"),
            (-78.2 - math.log10(5000), "natural logarithms"),
            (-80.0, "K times their mean"),
        ],
    ),
    notebook_04.samples_needed: (
        [lambda v, gap: v / (2 * gap), lambda v, gap: math.ceil(v / (2 * gap))],
        [
            (lambda v, gap: v / gap, "the half is missing"),
            (lambda v, gap: v / (2 * gap**2), "no square"),
            (lambda v, gap: math.sqrt(v) / (2 * gap), "root of the variance"),
            (lambda v, gap: 150, "8 and 0.5"),
            (lambda v, gap: 2 * v, "150 samples"),
        ],
    ),
    notebook_04.iwae_loss: (
        [weighted_loss(normalized), lambda p, q: -log_mean_exp(p - q).mean()],
        [
            (weighted_loss(lambda w: normalized(-w)), "worst sample still gets"),
            (weighted_loss(lambda w: torch.softmax(-w, 0)), "and the weights are not detached"),
            (weighted_loss(lambda w: torch.softmax(w, 0)), "detach them"),
            (weighted_loss(lambda w: normalized(w, 1)), "softmax over axis 0"),
            (weighted_loss(normalized, sign=1.0), "the sign"),
            (lambda p, q: -(p - q).mean(), "gradient of the ELBO"),
            (lambda p, q: -(normalized(p - q) * (p - q)).mean(), "already sum to one"),
            (lambda p, q: -(normalized(p - q) * (p - q)).sum(), "take their mean"),
            (lambda p, q: -(normalized(p - q) * p).sum(0).mean(), "only one of"),
            (lambda p, q: -(normalized(p - q) * (p - q).detach()).sum(0).mean(), "nothing is left"),
            (lambda p, q: -(normalized(p - q) * (p - q)).sum(0), "one number"),
            (lambda p, q: -(normalized(p - q) ** 2 * (p - q)).sum(0).mean(), "not the weighted sum"),
        ],
    ),
    notebook_04.hybrid: (
        [lambda c, kl: log_mean_exp(c) - kl],
        [
            (lambda c, kl: c.mean(0) - kl, "that is the ELBO"),
            (lambda c, kl: log_mean_exp(c) + kl, "subtract it"),
            (lambda c, kl: torch.logsumexp(c, 0) - kl, "subtract log k"),
            (lambda c, kl: c - kl, "one number for each image"),
            (lambda c, kl: log_mean_exp(c), "my first image"),
        ],
    ),
    notebook_04.signal_to_noise: (
        [
            lambda g: (g.mean(0).abs() / g.std(0)).mean(),
            lambda g: float((g.mean(0).abs() / g.std(0, correction=0)).mean()),
        ],
        [
            (lambda g: (g.mean(0).abs() / g.std(0)).mean() * len(g) ** 0.5, "standard error of the mean"),
            (lambda g: (g.mean(0).abs() / g.var(0)).mean(), "divides by the variance"),
            (lambda g: (g.mean(0) / g.std(0)).mean(), "cancel"),
            (lambda g: (g.std(0) / g.mean(0).abs()).mean(), "noise over signal"),
            (lambda g: (g.abs().mean(0) / g.std(0)).mean(), "Average over runs first"),
            (lambda g: g.mean(0).abs() / g.std(0), "average the ratios"),
            (lambda g: g.mean(1).abs() / g.std(1), "along axis 0"),
            (lambda g: g.mean().abs() / g.std(), "yours is"),
        ],
    ),
    notebook_04.paired: (
        [
            mean_and_error(lambda a, b: (b - a).std() / len(a) ** 0.5),
            mean_and_error(lambda a, b: (b - a).std(correction=0) / math.sqrt(len(a))),
        ],
        [
            (mean_and_error(lambda a, b: ((a.var() + b.var()) / len(a)) ** 0.5), "two separate sets"),
            (mean_and_error(lambda a, b: (b - a).std()), "spread of single differences"),
            (mean_and_error(lambda a, b: (b - a).var() / len(a)), "root of it"),
            (mean_and_error(lambda a, b: 0.0), "standard error of my differences"),
            (lambda a, b: ((a - b).mean(), 0.1), "the sign"),
            (lambda a, b: (b.mean(), 0.1), "mean difference of my images"),
            (lambda a, b: float((b - a).mean()), "two numbers"),
        ],
    ),
    notebook_05.logistic_probabilities: (
        [
            areas(),
            lambda *args: areas()(*args).tolist(),
            lambda *args: areas(lambda levels: torch.arange(levels - 1, dtype=torch.float64) + 0.5)(*args).numpy(),
        ],
        [
            (closed(), "no left edge and no right one"),
            (lambda *args: closed()(*args) / closed()(*args).sum(), "divided by the sum"),
            (areas(lambda levels: torch.arange(levels) + 0.5, ends=(0.0, None)), "the inner bins are right"),
            (areas(lambda levels: torch.arange(levels) - 0.5, ends=(None, 1.0)), "the inner bins are right"),
            (lambda *args: areas()(*args).flip(0), "the other way round"),
            (lambda *args: areas()(*args).log(), "those are their logarithms"),
            (areas(lambda levels: torch.arange(levels - 1)), "edges lie on the levels"),
            (areas(lambda levels: torch.arange(1, levels)), "edges lie on the levels"),
            (closed(0.5), "edges lie on the levels"),
            (closed(-0.5), "edges lie on the levels"),
            (areas(scaled=lambda d, scale: d / scale**2), "not by its square"),
            (closed(scaled=lambda d, scale: d / scale**2), "not by its square"),
            (areas(scaled=lambda d, scale: d * scale), "multiplies by the scale"),
            (areas(lambda levels: (torch.arange(levels - 1) + 0.5) / (levels - 1)), "edges lie between 0 and 1"),
            (height, "height of the density"),
            (lambda mean, scale, levels: scale * height(mean, scale, levels), "height of the density"),
            (lambda m, s, levels: torch.sigmoid((torch.arange(levels) + 0.5 - m) / s), "the areas up to each level"),
            (lambda m, s, levels: torch.sigmoid((torch.arange(levels) - m) / s), "the areas up to each level"),
            (areas(scaled=lambda d, scale: -d / scale), "some are negative"),
            (areas(ends=(None, None)), "for 5 levels you return 3"),
            (areas(ends=(0.0, None)), "for 5 levels you return 4"),
            (lambda m, s, levels: areas()(m, s, levels + 1), "expected 5 probabilities"),
            (lambda m, s, levels: areas()(m + 0.2, s, levels), "for mean 1.3 and scale 0.8, level"),
            (lambda m, s, levels: areas()(m, s, 5), "for 6 you return shape"),
            (lambda m, s, levels: areas()(min(m, levels - 1), s, levels), "right for a mean among the levels"),
        ],
    ),
    notebook_05.bits_per_dim: (
        [lambda nats, n: -nats / (n * math.log(2)), lambda nats, n: -nats * math.log2(math.e) / n],
        [
            (lambda nats, n: nats / (n * math.log(2)), "length of a code"),
            (lambda nats, n: -nats * math.log(2) / n, "more bits than nats"),
            (lambda nats, n: -nats / math.log(2), "number of dimensions"),
            (lambda nats, n: -nats / n, "nats per dimension"),
            (lambda nats, n: -nats / (n * math.log(10)), "decimal digits"),
            (lambda nats, n: -nats / (n * math.log10(2)), "not by log10"),
            (lambda nats, n: 0.16, "yours is 0.16"),
        ],
    ),
    notebook_05.units_trap: (
        [-20437 * math.log(2), -14166, "-14165.8", -6.65 * 3072 * math.log(2), torch.tensor(-14165.8)],
        [
            (-87.08, "in nats already"),
            (-87.08 * math.log(2), "in nats already"),
            (-125.6, "in nats already"),
            (-20437, "the printed number"),
            (20437 * math.log(2), "the log of a probability is negative"),
            (-20437 / math.log(2), "fewer nats than bits"),
            (6.65, "for each dimension"),
            (9.594, "for each dimension"),
            (-4.61, "for each dimension"),
            (-20437 * math.log10(2), "no base 10"),
            (-20437 / math.log(10), "no base 10"),
            (-10_000, "Not 0.489"),
        ],
    ),
    notebook_05.five_colleagues: (
        [colleagues(), {name.lower(): f" {word.upper()}" for name, word in colleagues().items()}],
        [
            (colleagues(Ada="too low"), "Ada is not 'too low': e^-120"),
            (colleagues(Ben="right"), "Ben is not 'right': the mean of the logs"),
            (colleagues(Chen="right"), "Chen is not 'right': that is the log of the sum"),
            (colleagues(Dee="too low"), "Dee is not 'too low': every log-weight near -120 is lifted"),
            (colleagues(Eve="no number"), "Eve is not 'no number': logsumexp"),
            (colleagues(Ben="right", Dee="right"), "Ben is not"),
            (
                colleagues(Chen="high"),
                "Chen should be one of 'right', 'too high', 'too low', 'no number'; it is 'high'",
            ),
            (colleagues(Chen=True), "it is True"),
            (colleagues(Dee=...), "Dee is missing"),
            (colleagues(Dee=None), "Dee is missing"),
            ({"Ada": "no number"}, "Ben is missing"),
            (list(colleagues().values()), "a dictionary with five names"),
        ],
    ),
    notebook_05.divergence_from_prior: (
        [
            kl(),
            lambda w, c: float(kl()(w, c)),
            lambda w, c: kl(lambda w, c: torch.exp(w - torch.logsumexp(w, 0)) @ c)(w, c)[None],
        ],
        [
            (lambda w, c: -kl()(w, c), "never negative"),
            (kl(lambda w, c: c.mean()), "plain mean of log p(x|z)"),
            (kl(lambda w, c: c.mean(), torch.mean), "both means are plain"),
            (kl(log_p_x=torch.mean), "is the ELBO"),
            (kl(log_p_x=lambda w: 0), "that is the first term"),
            (kl(log_p_x=lambda w: -log_mean_exp(w)), "not added"),
            (kl(log_p_x=lambda w: torch.logsumexp(w, 0)), "subtract log K"),
            (kl(log_p_x=lambda w: torch.logsumexp(w, 0) + math.log(len(w))), "not plus"),
            (kl(lambda w, c: (w * c).sum()), "log_w are logarithms"),
            (kl(lambda w, c: (w * c).mean()), "log_w are logarithms"),
            (kl(lambda w, c: (w.exp() * c).sum()), "do not sum to one"),
            (kl(lambda w, c: (w.exp() * c).mean()), "do not sum to one"),
            (kl(lambda w, c: (torch.softmax(w, 0) * c).mean()), "do not average them"),
            (kl(lambda w, c: (torch.softmax(c, 0) * c).sum()), "weigh by p(x|z)"),
            (kl(lambda w, c: (torch.softmax(w, 0) * w).sum()), "divergence from q"),
            (kl(lambda w, c: torch.logsumexp(w.log_softmax(0) + c, 0)), "averages p(x|z) and then"),
            (lambda w, c: kl()(w, c) / math.log(10), "no log10"),
            (kl(log_p_x=lambda w: torch.logsumexp(w, 0) - math.log10(len(w))), "no log10"),
            (lambda w, c: kl()(w, c) / math.log(2), "in bits"),
            (lambda w, c: torch.softmax(w, 0) * c - log_mean_exp(w), "one number, please"),
            (lambda w, c: kl()(w, c) + 1, "my six draws"),
            (kl(lambda w, c: (w.exp() * c).sum() / w.exp().sum()), "Stay in log space"),
            (kl(log_p_x=lambda w: w.exp().mean().log()), "Stay in log space"),
        ],
    ),
    notebook_05.gaussian_from_gradients: (
        [
            gaussian(),
            lambda z, g: list(gaussian()(z, g)),
            gaussian(lambda intercept, slopes: torch.linalg.solve(slopes, -intercept)),
        ],
        [
            (lambda z, g: gaussian()(z, g)[::-1], "the mean comes first"),
            (lambda z, g: 1.0, "return two"),
            (lambda z, g: gaussian()(z, g)[0], "a covariance is [2, 2]"),
            (gaussian(covariance=lambda slopes: -slopes), "that is the precision"),
            (gaussian(covariance=torch.linalg.inv), "the sign"),
            (gaussian(covariance=lambda slopes: slopes), "the sign"),
            (gaussian(covariance=lambda slopes: torch.linalg.inv(-2 * slopes)), "half their sum"),
            (gaussian(covariance=lambda slopes: torch.diag(-1 / slopes.diagonal())), "invert the matrix"),
            (gaussian(covariance=lambda slopes: torch.eye(2).double()), "yours is [[1.0, 0.0], [0.0, 1.0]]"),
            (gaussian(lambda intercept, slopes: intercept), "that mean is the intercept"),
            (gaussian(lambda intercept, slopes: torch.linalg.solve(slopes, intercept)), "where is the line zero"),
            (lambda z, g: (z.mean(0), gaussian()(z, g)[1]), "the average of the draws"),
            (gaussian(lambda intercept, slopes: torch.ones(2)), "and yours [1.0, 1.0]"),
            (gaussian(lambda intercept, slopes: intercept.repeat(2)), "a mean is [2]"),
            (gaussian(is_symmetric=False), "average the slopes and their transpose"),
        ],
    ),
    notebook_05.divergence_from_encoder: (
        [
            kl(),
            lambda w, e: float(kl()(w, e)),
            lambda w, e: kl(lambda w, e: torch.exp(w - torch.logsumexp(w, 0)) @ e)(w, e)[None],
        ],
        [
            (lambda w, e: -kl()(w, e), "never negative"),
            (lambda w, e: kl()(w, e).exp(), "the number of draws"),
            (kl(lambda w, e: e.mean()), "a plain mean over the fit's draws"),
            (kl(lambda w, e: (torch.softmax(e, 0) * e).sum()), "it is log_w that weighs them"),
            (kl(lambda w, e: (torch.softmax(w, 0) * w).sum()), "posterior from the fit"),
            (lambda w, e: (torch.softmax(w, 0) * e).sum() - log_mean_exp(e), "draws from their own proposal"),
            (kl(log_p_x=torch.mean), "is the ELBO"),
            (kl(log_p_x=lambda w: 0), "an upper bound on log p(x)"),
            (kl(log_p_x=lambda w: torch.logsumexp(w, 0)), "subtract log K"),
            (kl(lambda w, e: (torch.softmax(w, 0) * e).mean()), "do not average them"),
            (lambda w, e: torch.softmax(w, 0) * e - log_mean_exp(w), "one number, please"),
            (lambda w, e: kl()(w, e) + 1, "my six draws"),
            (kl(lambda w, e: (w.exp() * e).sum() / w.exp().sum()), "Stay in log space"),
            (kl(log_p_x=lambda w: w.exp().mean().log()), "Stay in log space"),
        ],
    ),
    notebook_05.upper_bound: (
        [with_true(lambda w, place=place: place) for place in (0, 1, 2, 3)]
        + [with_true(lambda w: torch.tensor([1, 0, 3]))],
        [
            (lambda w, true: log_mean_exp(w), "the true z is not in it"),
            (lambda w, true: true, "for k = 1"),
            (with_true_added(log_mean_exp), "but of k + 1 draws"),
            (lambda w, t: with_true_added(lambda w: torch.logsumexp(w, 0))(w, t) - math.log(4), "and divide by k"),
            (with_true(reduced=lambda w: torch.logsumexp(w, 0)), "subtract log k"),
            (with_true(lambda w: -1 + len(w), lambda w: torch.logsumexp(w, 0)), "subtract log k"),
            (with_true_added(lambda w: torch.logsumexp(w, 0)), "subtract log k"),
            (with_true(reduced=lambda w: w.mean(0)), "mean of the logs"),
            (with_true_added(lambda w: w.mean(0)), "mean of the logs"),
            (lambda w, true: with_true()(w, true).exp(), "mean weight itself"),
            (with_true(lambda w: w.argmin(0)), "chosen by its weight"),
            (with_true(lambda w: w.argmax(0)), "chosen by its weight"),
            (with_true(reduced=lambda w: torch.logsumexp(w, 1) - math.log(3)), "samples come first"),
            (with_true_added(lambda w: torch.logsumexp(w, 1) - math.log(3)), "samples come first"),
            (lambda w, true: with_true()(w, true).mean(), "one bound for each image"),
            (overwritten, "copy them first"),
            (with_true(reduced=lambda w: w.exp().mean(0).log()), "Stay in log space"),
            (lambda w, true: with_true()(w, true) + torch.tensor([0.0, 0.0, 0.1]), "the bound of image 2"),
            (lambda w, true: with_true()(w, true) * torch.tensor([1.0, math.nan, 1.0]), "the bound of image 1"),
        ],
    ),
    notebook_05.diluted: (
        [
            snow(),
            lambda p, share, n: torch.logaddexp(
                p + math.log(share), torch.tensor(math.log(1 - share) - n * math.log(2))
            ),
            lambda p, share, n: np.logaddexp(np.log(share) + p.numpy(), np.log(1 - share) - n * np.log(2)),
        ],
        [
            *((snow(mixture=mixture), words) for mixture, words in MIXTURES),
            (snow(lambda n: -math.log(2)), "that is one coin flip"),
            (snow(lambda n: n * math.log(2)), "fair coin has log-probability"),
            (snow(lambda n: -float(n)), "which is in bits"),
            (snow(lambda n: -n * math.log10(2)), "not log10"),
            (snow(lambda n: -0.5 * n), "0.5 is the probability of a flip"),
            (snow(lambda n: math.log(0.5 * n)), "independent pixels multiply"),
            (snow(lambda n: 0.0), "have a probability too"),
            (lambda p, share, n: torch.log(share * p.exp() + (1 - share) * 0.5**n), "Stay in log space"),
        ],
    ),
}


# Their answers are no functions.
NO_FUNCTIONS = (
    notebook_02.mended, notebook_02.own_plan, notebook_03.shapes, notebook_03.terms, notebook_04.too_good,
    notebook_05.five_colleagues, notebook_05.units_trap,
)  # fmt: skip


def ask(check, answer) -> Verdict:
    return check(*answer) if isinstance(answer, tuple) else check(answer)


IDS = [check.__name__ for check in CASES]


def test_every_check_is_covered_with_two_wrong_answers_or_more():
    offered = {getattr(module, name) for module in NOTEBOOKS for name in module.__all__}
    assert offered == set(CASES)
    assert all(len(wrong) >= 2 for _, wrong in CASES.values())


def test_every_check_is_used_in_its_notebook():
    for module in NOTEBOOKS:
        number = module.__name__[-2:]
        (source,) = (Path(__file__).parents[1] / "notebooks" / "source").glob(f"{number}_*.py")
        text = source.read_text(encoding="utf-8")
        assert [name for name in module.__all__ if f"check.{name}(" not in text] == []


@pytest.mark.parametrize("check", CASES, ids=IDS)
@pytest.mark.parametrize("stub", [None, ..., lambda *_: None, lambda *_: ...], ids=["None", "...", "f", "f..."])
def test_untouched_stub_is_not_attempted(check, stub):
    if inspect.isfunction(stub) and check in NO_FUNCTIONS:
        pytest.skip("its answer is no function")
    count = len(inspect.signature(check).parameters)
    assert check(*[stub] * count).status == "not attempted"


@pytest.mark.parametrize("check", CASES, ids=IDS)
def test_right_answers_are_right(check):
    for answer in CASES[check][0]:
        verdict = ask(check, answer)
        assert verdict.status == "right", verdict


@pytest.mark.parametrize(
    ("check", "answer", "words"),
    [(check, answer, words) for check, (_, wrong) in CASES.items() for answer, words in wrong],
    ids=[f"{check.__name__}-{words}" for check, (_, wrong) in CASES.items() for _, words in wrong],
)
def test_wrong_answers_get_a_hint_that_names_the_mistake(check, answer, words):
    verdict = ask(check, answer)
    assert verdict.status == "wrong"
    assert words in verdict.message


def test_an_error_in_the_answer_is_reported_and_not_raised():
    verdict = notebook_01.mean_of_max(lambda a, b: 1 / 0)
    assert verdict.status == "wrong"
    assert "ZeroDivisionError" in verdict.message


def test_a_plan_too_large_for_the_chain_is_accepted_on_its_diagnostics():
    crews = [f"crew {i}" for i in range(30)]
    wide = Project({"permit": 40, **dict.fromkeys(crews, 2)}, {crew: ["permit"] for crew in crews})
    estimate = importance_sampling(wide, 250, cross_entropy(wide, 250), n=50_000)
    verdict = notebook_02.own_plan(wide, 250, estimate)
    assert verdict.status == "right", verdict
    assert "no exact answer" in verdict.message


def test_a_plan_too_stiff_for_the_chain_is_accepted_on_its_diagnostics():
    plan = Project({"sign": 1e-9, "build": 40, "paint": 10}, {"build": ["sign"], "paint": ["build"]})
    verdict = notebook_02.own_plan(plan, 250, importance_sampling(plan, 250, scaled(plan, 4), n=50_000))
    assert verdict.status == "right", verdict
    assert "no exact answer to compare with: 250 days are some" in verdict.message


def test_a_deadline_that_is_no_number_is_not_taken_for_a_plan_too_large():
    verdict = notebook_02.own_plan(HOUSE, "150", HOUSE_ESTIMATE)
    assert (verdict.status, verdict.message) == ("wrong", "my_deadline must be a number of days; got '150'.")


def test_a_verdict_shows_as_text_and_html_without_letting_html_through():
    bundle = Verdict("wrong", "a < b")._repr_mimebundle_()
    assert bundle["text/plain"] == "✗ wrong: a < b"
    assert "a &lt; b" in bundle["text/html"]


def test_estimates_of_the_worked_house_are_estimates():
    assert isinstance(HOUSE_ESTIMATE, Estimate)
