"""Every check: silent on an untouched stub, right for the worked answer, and a hint for each likely mistake."""

import functools
import inspect
import math
import statistics
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats
from torch.nn.functional import softplus

from course_lib import datasets
from course_lib.estimates import Estimate
from course_lib.exercises import notebook_01, notebook_02, notebook_03, notebook_04, notebook_05, notebook_06, progress
from course_lib.exercises.verdict import VERDICT_MIME, Verdict, check, right
from course_lib.projects import (
    Project,
    Proposal,
    completion_law,
    conditional_monte_carlo,
    cross_entropy,
    importance_sampling,
    mixture,
    monte_carlo,
    scaled,
    splitting,
)
from course_lib.projects.durations import Pert
from course_lib.vae import elbo
from course_lib.vae.distributions import standard_normal_log_prob

NOTEBOOKS = (notebook_01, notebook_02, notebook_03, notebook_04, notebook_05, notebook_06)
PLAN = Project.example()
TAIL = float(completion_law(PLAN).sf(70))
HOUSE = Project({"frame": 20, "roof": 10, "pipes": 12}, {"roof": ["frame"], "pipes": ["frame"]})
THREE_POINTS = Project(
    {"frame": Pert(10, 20, 40), "roof": Pert(5, 10, 25), "pipes": 4}, {"roof": ["frame"], "pipes": ["frame"]}
)
SERIES = Project({"dig": 12, "pour": 10, "build": 8}, {"pour": ["dig"], "build": ["pour"]})
HOUSE_ESTIMATE = importance_sampling(HOUSE, 150, cross_entropy(HOUSE, 150), n=50_000)


def fresh(n):
    return np.random.default_rng(1).exponential(PLAN.means, size=(n, 10))


# As many as notebook 01 keeps under the name `durations`.
STORED = np.random.default_rng(0).exponential(PLAN.means, size=(100_000, 10))


def shares(days=30, size=lambda n: n, late=True, form=list):
    rng = np.random.default_rng(1)

    def estimates(sizes):
        times = [PLAN.completion_times(rng.exponential(PLAN.means, size=(size(n), 10))) for n in sizes]
        return form([np.mean((t >= days) == late) for t in times])

    return estimates


def first_of_many(sizes):
    late = PLAN.completion_times(fresh(max(sizes))) >= 30
    return [sum(late[:n].tolist()) / n for n in sizes]


def criticality(
    column=PLAN.tasks.index,
    error=lambda p, n: math.sqrt(p * (1 - p) / n),
    draws=fresh,
    form=lambda share, error: (share, error),
):
    def answer(task, n):
        share = PLAN.critical_tasks(draws(n))[:, column(task)].mean()
        return form(share, error(share, n))

    return answer


def second_moment(k):
    return k**2 / (2 * k - 1) if k > 0.5 else math.inf


def only_above_half(k):
    if k > 0.5:
        return k**2 / (2 * k - 1)


def guarded(formula):
    return lambda k: formula(k) if k > 0.5 else math.inf


def mean_weight(proposal, late, power=1):
    return np.mean(np.exp(power * proposal.log_weights(late)))


def of_weights(formula):
    return lambda q, late, p: formula(np.exp(q.log_weights(late)), p)


def ratios(t, p, q):
    return np.log(q / p) + t / q - t / p


def task_by_task(t, p, q):
    log_w = []
    for row in t:
        total = 0.0
        for days, mean, other in zip(row, p, q, strict=True):
            total += math.log(other / mean) + days / other - days / mean
        log_w.append(total)
    return log_w


def balanced(a, b, s):
    return -np.logaddexp(np.log(s) - a, np.log(1 - s) - b)


def by_hand(plan, deadline, proposal, n, estimate=Estimate.from_values):
    """As in section 2.1 of the notebook."""
    durations = proposal.draw(np.random.default_rng(0), n)
    late = plan.completion_times(durations) >= deadline
    return estimate(np.where(late, np.exp(proposal.log_weights(durations)), 0.0))


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


def gaps(shifted=1.0, wide=1.6137056, narrow=0.6362944):
    return shifted, wide, narrow


def exponential(formula=lambda mean, u: -mean * torch.log(u), noise=torch.rand, shape=lambda k, mean: (k, len(mean))):
    return lambda mean, k: formula(mean, noise(*shape(k, mean)))


def halfway_detached(mean, u):
    return -(mean * mean.detach()).sqrt() * torch.log(u)


def stepping(order="zero backward step", sign=-1, bits=datasets.binarize, returned=lambda bound: bound.item(), k=1):
    """A training step from the words of ``order``; what it climbs is ``sign`` times the loss of the bound."""

    def training_step(vae, optimizer, images):
        bound = elbo(vae.log_weights(bits(images), k)).mean()
        for word in order.split():
            if word == "zero":
                optimizer.zero_grad()
            elif word == "backward":
                (sign * bound).backward(retain_graph=True)
            else:
                optimizer.step()
        return returned(bound)

    return training_step


def stepping_in_closed_form(vae, optimizer, images):
    vae.zero_grad()
    x = datasets.binarize(images)
    q = vae.posterior(x)
    loss = (q.kl_from_standard_normal() - vae.log_conditional(x, q.rsample(1)).mean(0)).mean()
    loss.backward()
    optimizer.step()
    return -loss.detach().numpy()


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
def controlled(slope=lambda v, c: np.polyfit(c, v, 1)[0]):
    return lambda v, c, m: v.mean() - slope(v, c) * (c.mean() - m)


def moving(
    shrink=lambda b: math.sqrt(1 - b * b),
    grow=lambda b: b,
    noise=lambda shape, rng: rng.standard_normal(shape),
    keep=lambda passes, new, old: np.where(passes[:, None], new, old),
    harder=1.0,
    form=lambda z: z,
):
    def move(z, level, size, rng):
        new = shrink(size) * z + grow(size) * noise(z.shape, rng)
        return form(keep(PLAN.completion_times(PLAN.from_normals(new)) >= harder * level, new, z))

    return move


def stepped(second=lambda x, a, b: x[:, 1] * a.exp() + b, log_determinant=lambda a, b: a):
    """An answer to exercise 1 of notebook 06, with what becomes of the second number and of volumes."""

    def answer(x, conditioner):
        a, b = conditioner(x[:, 0])
        return torch.stack([x[:, 0], second(x, a, b)], dim=-1), log_determinant(a, b)

    return answer


def undone(second=lambda y, a, b: (y[:, 1] - b) * torch.exp(-a), log_q=lambda base, a: base - a):
    """An answer to exercise 2 of notebook 06, with the way back and the volume change."""

    def answer(y, conditioner):
        a, b = conditioner(y[:, 0])
        x = torch.stack([y[:, 0], second(y, a, b)], dim=-1)
        return log_q(standard_normal_log_prob(x), a)

    return answer


def swapped_columns(x, conditioner):
    y, log_determinant = stepped()(x, conditioner)
    return y.flip(-1), log_determinant


def by_distributions(y, conditioner):
    a, b = conditioner(y[:, 0])
    normal = torch.distributions.Normal
    return normal(0.0, 1.0).log_prob(y[:, 0]) + normal(b, a.exp()).log_prob(y[:, 1])


PASSES = {"draw from q": 8, "density of q": 400, "density of prior": 4, "draw from prior": 200}
OWN = datasets.from_arrays(
    np.random.default_rng(0).integers(0, 256, (90, 8, 8), dtype=np.uint8), np.zeros((5, 8, 8), np.uint8), 256
)


def with_images(images, test=None):
    return datasets.from_arrays(images, images[:2] if test is None else test, 256)


def logistic_area(edge, scale):
    return special.expit(edge / scale) - special.expit(-edge / scale)


CASES = {
    notebook_01.standard_error: (
        [
            lambda x: x.std(ddof=1) / math.sqrt(len(x)),
            lambda x: [np.sqrt(x.var() / x.size)],
            lambda x: statistics.stdev(x.tolist()) / len(x) ** 0.5,
            lambda x: Estimate.from_values(x).std_error,
            lambda x: torch.as_tensor(x).std() / math.sqrt(len(x)),
        ],
        [
            (lambda x: x.std(ddof=1), "divide by the root of n"),
            (lambda x: x.std(), "divide by the root of n"),
            (lambda x: x.var(), "the variance of single projects"),
            (lambda x: x.var(ddof=1) / len(x), "variance of the mean"),
            (lambda x: x.std(ddof=1) / len(x), "divided by n"),
            (lambda x: x.var() / math.sqrt(len(x)), "the variance over the root of n"),
            (lambda x: np.sqrt(x.std() / len(x)), "under a common root stands the variance"),
            (lambda x: 1.96 * x.std() / math.sqrt(len(x)), "half a 95 % interval"),
            (lambda x: x.std() / math.sqrt(100_000), "the root of 100,000"),
            (lambda x: 0.0273, "for two different sets of samples"),
            (Estimate.from_values, "the mean itself"),
            (lambda x: x.sum(), "with standard deviation"),
            (lambda x: (x.mean(), x.std()), "give one number"),
        ],
    ),
    notebook_01.estimates: (
        [
            shares(),
            shares(form=np.array),
            shares(form=lambda found: torch.tensor(found, dtype=torch.float32)),
            first_of_many,
            lambda sizes: [Estimate.from_values(PLAN.completion_times(fresh(n)) >= 30) for n in sizes],
        ],
        [
            (shares(size=lambda n: 100_000), "still does not depend on n"),
            (shares(size=lambda n: 2 * n), "whole number of projects divided by n"),
            (shares(size=lambda n: 1_000), "still does not depend on n"),
            (shares(late=False), "less than 30 days"),
            (lambda sizes: [18.2] * len(sizes), "one of yours is 18.2"),
            (lambda sizes: [np.sum(PLAN.completion_times(STORED) >= 30) / n for n in sizes], "divide by n"),
            (lambda sizes: [0.0670203699] * len(sizes), "whole number of projects divided by n"),
            (shares(days=15), "standard errors above the exact 0.0670"),
            (lambda sizes: shares()(sizes)[-1], "expected 4 shares"),
            (lambda sizes: {n: 0.1 for n in sizes}, "give numbers, please; yours is a dict of 4"),
        ],
    ),
    notebook_01.mean_of_max: (
        [
            lambda a, b: a + b - a * b / (a + b),
            lambda a, b: np.array([a + b - 1 / (1 / a + 1 / b)]),
            lambda a, b: torch.tensor(a + b, dtype=torch.float64) - 1 / (1 / a + 1 / b),
            lambda a, b: math.fsum([a, b, -math.pow(1 / a + 1 / b, -1)]),
        ],
        [
            (max, "larger mean"),
            (min, "smaller mean"),
            (lambda a, b: a + b, "one after the other"),
            (lambda a, b: a * b / (a + b), "mean of the minimum"),
            (lambda a, b: a + b - 1 / (a + b), "rates add"),
            (lambda a, b: (a + b) / 2, "mean of the two means"),
            (lambda a, b: a + b - 1 / a - 1 / b, "one over its rate"),
            (lambda a, b: 1 / a + 1 / b, "the rate of the minimum"),
            (lambda a, b: a + b + a * b / (a + b), "the sign"),
            (lambda a, b: 5 + 3 - 1.875, "for means 2 and 7"),
            (lambda a, b: 1.5 * max(a, b), "the answer is"),
            (lambda a, b: 1.002 * (a + b - a * b / (a + b)), "without simulated projects"),
        ],
    ),
    notebook_01.upper_bound: (
        [
            lambda n: 1 - 0.05 ** (1 / n),
            lambda n: -np.expm1(np.log([0.05]) / n),
            lambda n: 1 - math.exp(math.log(0.05) / n),
            lambda n: max(p for p in np.linspace(0, 1, 100_001).tolist() if (1 - p) ** n >= 0.05),
        ],
        [
            (lambda n: 0.0, "does not mean that the probability is zero"),
            (lambda n: 3 / n, "approximation"),
            (lambda n: -math.log(0.05) / n, "for -p"),
            (lambda n: 1 - 0.95 ** (1 / n), "95 % probable"),
            (lambda n: 0.05 ** (1 / n), "1 - p"),
            (lambda n: stats.binomtest(0, n).proportion_ci().high, "a two-sided interval, such as scipy's binomtest"),
            (lambda n: 1 - 0.05**n, "the n-th power"),
            (lambda n: 0.05 / n, "n p = 0.05"),
            (lambda n: 0.05**1 / n, "binds tighter"),
            (lambda n: 1 - 0.05**1 / n, "** binds tighter than /, so 0.05**1/n is 0.05 / n"),
            (lambda n: 1 / n, "the answer is"),
        ],
    ),
    notebook_01.projects_needed: (
        [
            lambda p, r: (1 - p) / (p * r**2),
            lambda p, r: 1 / (p * r**2),
            lambda p, r: math.ceil((1 - p) / p / r**2),
            lambda p, r: np.array([p * (1 - p) / (r * p) ** 2]),
        ],
        [
            (lambda p, r: (1 - p) / (p * r), "its square"),
            (lambda p, r: p * (1 - p) / r**2, "absolute error"),
            (lambda p, r: 1.96**2 / (p * r**2), "95 % interval"),
            (lambda p, r: math.sqrt((1 - p) / p) / r, "the root of n"),
            (lambda p, r: 1 / r**2, "late projects are needed"),
            (lambda p, r: 1 / (p * r) ** 2, "one p too many"),
            (lambda p, r: p * r**2, "turn the fraction around"),
            (lambda p, r: 1 / p, "relative_error is missing"),
            (lambda p, r: 9900, "for p = 0.002"),
        ],
    ),
    notebook_01.criticality: (
        [
            criticality(),
            criticality(form=lambda *both: torch.tensor(both, dtype=torch.float32)),
            criticality(form=lambda share, error: [np.array([share]), np.float64(error)]),
            lambda task, n: Estimate.from_values(PLAN.critical_tasks(fresh(n))[:, PLAN.tasks.index(task)]),
        ],
        [
            (criticality(column=int), "column with index 9"),
            (criticality(column=lambda task: 8), "use the argument `task`"),
            (criticality(column=lambda task: 2), "about that of task 3"),
            (criticality(column=lambda task: slice(None)), "average over all ten"),
            (criticality(form=lambda share, error: (1 - share, error)), "not on the longest path"),
            (criticality(draws=lambda n: STORED), "without the notebook's `durations`"),
            (criticality(draws=lambda n: STORED[:n]), "without the notebook's `durations`"),
            (criticality(draws=lambda n: fresh(20_000)), "a whole number of 100,000 projects, not of n"),
            (criticality(draws=lambda n: fresh(3 * n)), "simulate n fresh ones"),
            (lambda task, n: (0.5475, 0.0016), "use the argument `task`"),
            (lambda task, n: ({"9": 0.547523, "4": 0.35}[task], 0.0016), "simulate n fresh ones"),
            (lambda task, n: (0.0, 0.0), "the probability for task 9"),
            (criticality(column=lambda task: 8 if task == "9" else 9), "but for task 4"),
            (criticality(error=lambda p, n: math.sqrt(p * (1 - p))), "single project"),
            (criticality(error=lambda p, n: math.sqrt(p * (1 - p)) / n), "divided by n"),
            (criticality(error=lambda p, n: p * (1 - p) / n), "the variance"),
            (criticality(error=lambda p, n: 1.96 * math.sqrt(p * (1 - p) / n)), "95 % interval"),
            (criticality(error=lambda p, n: p / n), "its standard error from n = 100,003"),
            (criticality(error=lambda p, n: math.sqrt(p * (1 - p) / 100_003)), "its standard error from n = 2,003"),
            (lambda task, n: 0.5, "return two numbers"),
            (lambda task, n: criticality()(task, n)[0], "return two numbers"),
        ],
    ),
    notebook_01.with_control: (
        [
            controlled(),
            controlled(lambda v, c: np.polyfit(c, v, 1)[0]),
            controlled(lambda v, c: np.cov(v, c)[0, 1] / c.var()),
            controlled(lambda v, c: ((v - v.mean()) * (c - c.mean())).mean() / c.var()),
            lambda v, c, m: stats.linregress(c, v).intercept + stats.linregress(c, v).slope * m,
            lambda v, c, m: torch.as_tensor(v).mean() - np.polyfit(c, v, 1)[0] * (c.mean() - m),
        ],
        [
            (lambda v, c, m: v.mean(), "the plain mean"),
            (lambda v, c, m: np.polyfit(c, v, 1)[0], "that is the slope"),
            (lambda v, c, m: 2 * v.mean() - controlled()(v, c, m), "the sign"),
            (controlled(lambda v, c: 1), "slope 1"),
            (controlled(lambda v, c: np.polyfit(v, c, 1)[0]), "the variance of the values"),
            (controlled(lambda v, c: np.corrcoef(v, c)[0, 1]), "the correlation for a slope"),
            (controlled(lambda v, c: np.cov(v, c)[0, 1]), "the covariance for a slope"),
            (controlled(lambda v, c: np.cov(v, c)[0, 1] / c.std(ddof=1)), "the standard deviation of the control"),
            (lambda v, c, m: controlled()(v, c, 0), "the known mean is missing"),
            (lambda v, c, m: controlled()(v, c, 15), "use the argument `known_mean`"),
            (controlled(lambda v, c: 0.5), "in place of 15, with slope"),
            (lambda v, c, m: v, "give one number"),
        ],
    ),
    notebook_02.log_weights: (
        [
            lambda t, p, q: ratios(t, p, q).sum(axis=1),
            task_by_task,
            lambda t, p, q: (stats.expon.logpdf(t, scale=p) - stats.expon.logpdf(t, scale=q)) @ np.ones(3),
            lambda t, p, q: torch.tensor(ratios(t, p, q), requires_grad=True).sum(-1),
        ],
        [
            (lambda t, p, q: -ratios(t, p, q).sum(axis=1), "log q - log p"),
            (lambda t, p, q: np.exp(ratios(t, p, q).sum(axis=1)), "weights themselves"),
            (lambda t, p, q: (t / q - t / p).sum(axis=1), "factor 1/mean"),
            (lambda t, p, q: (t / q - t / p - np.log(q / p)).sum(axis=1), "wrong sign"),
            (lambda t, p, q: ratios(t, 1 / p, 1 / q).sum(axis=1), "a mean m is not a rate"),
            (lambda t, p, q: stats.expon.logpdf(t, scale=p).sum(axis=1), "log p alone"),
            (lambda t, p, q: stats.expon.logpdf(t, scale=q).sum(axis=1), "log q alone"),
            (ratios, "sum over axis 1"),
            (lambda t, p, q: ratios(t, p, q).mean(axis=1), "averages over tasks"),
            (lambda t, p, q: ratios(t, p, q).sum(axis=0), "sums over the draws"),
            (lambda t, p, q: ratios(t, p, q).sum(), "one log-weight for each draw"),
            (lambda t, p, q: ratios(t, p, q).max(axis=1), "should be"),
        ],
    ),
    notebook_02.second_moment: (
        [
            second_moment,
            lambda k: np.where(k > 0.5, k**2 / (2 * k - 1), np.inf),
            lambda k: [math.inf] if k <= 0.5 else [k / (2 - 1 / k)],
            lambda k: integrate.quad(lambda t: k * math.exp(t / k - 2 * t), 0, np.inf)[0] if 2 * k > 1 else np.inf,
        ],
        [
            (lambda k: k**2 / (2 * k - 1), "np.inf"),
            (lambda k: k**2 / (2 * k - 1) if k >= 0.4 else math.inf, "for c = 0.45"),
            (lambda k: k**2 / (2 * k - 1) if k > 0.5 else math.nan, "for c = 0.3"),
            (lambda k: 1.0, "mean of w"),
            (lambda k: second_moment(k) - 1, "variance of w"),
            (guarded(lambda k: k / (2 * k - 1)), "one factor c is missing"),
            # At c = 2 this is the variance of w.
            (guarded(lambda k: 1 / (2 * k - 1)), "a factor c^2 is missing"),
            (lambda k: 1 / (k * (2 - k)) if k < 2 else math.inf, "a q of rate c"),
            (lambda k: k**2 / (2 * k + 1), "the sign"),
            (lambda k: k, "not c."),
            (guarded(lambda k: 16 / 15), "for c = 1.7"),
            (lambda k: second_moment(k) if k < 2 else math.inf, "for c = 3.0"),
            (lambda k: second_moment(k) if k > 0.6 else math.inf, "large but finite"),
            (guarded(lambda k: 4 / 3), "for c = 0.8 the integral is 1.0667"),
            (lambda k: np.inf if k < 0.5 else k**2 / (2 * k - 1), "infinite at 1/2 too"),
            (only_above_half, "called with 0.3, returns nothing, though before it did. End every way"),
        ],
    ),
    notebook_02.mended: (
        [
            scaled(PLAN, 3, ["1", "2", "4", "10"]),
            Proposal(PLAN, [12, 12, 2, 15, 2, 3, 2, 3, 2, 6]),
            Proposal(PLAN, PLAN.means * np.where(np.isin(PLAN.tasks, PLAN.critical_path()), 3, 1)),
            Proposal(Project.example(), torch.tensor([12.0, 12, 2, 15, 2, 3, 2, 3, 2, 6])),
        ],
        [
            (Proposal(PLAN, [12, 12, 2, 15, 2, 3, 2, 3, 2, 12]), "the post's proposal"),
            (Proposal(PLAN, [16, 16, 2, 20, 2, 3, 2, 3, 2, 16]), "the post's other proposal"),
            (scaled(PLAN, 6, ["10"]), "the mean of task 1 should be 12"),
            (scaled(PLAN, 1), "the plan itself"),
            (scaled(PLAN, 3), "every task is scaled"),
            (scaled(PLAN, 3, ["1", "2", "4"]), "task 10 is on the critical path too"),
            (scaled(PLAN, 4, ["1", "2", "4", "10"]), "should be 3"),
            (Proposal(PLAN, [3, 3, 2, 3, 2, 3, 2, 3, 2, 3]), "3 is the factor, not the mean"),
            (scaled(PLAN, 3, ["1", "2", "10"]), "the mean of task 4 should be 15"),
            (scaled(HOUSE, 4), "another plan"),
            ([16, 16, 2, 20], "make a proposal"),
        ],
    ),
    notebook_02.relative_variance: (
        [
            lambda q, late, p: mean_weight(q, late) / p - 1,
            lambda q, late, p: Estimate.from_log_weights(q.log_weights(late) - math.log(p)).value - 1,
            lambda q, late, p: [sum(math.exp(log_w) for log_w in q.log_weights(late)) / len(late) / p - 1],
            lambda q, late, p: Estimate.from_values(np.exp(q.log_weights(late)) / p - 1),
            lambda q, late, p: torch.tensor(q.log_weights(late)).exp().mean() / p - 1,
        ],
        [
            (lambda q, late, p: mean_weight(q, late) / p, "subtract 1"),
            (lambda q, late, p: q.relative_variance(70), "average over the late projects"),
            (lambda q, late, p: mean_weight(q, late, 2) / p - 1, "average w, not its square"),
            (lambda q, late, p: mean_weight(q, late, 2) / p**2 - 1, "average w, not its square"),
            (lambda q, late, p: mean_weight(q, late) - 1, "P is missing"),
            (lambda q, late, p: mean_weight(q, late), "that is the average of w"),
            (of_weights(lambda w, p: p * w.mean()), "that is the second moment"),
            (of_weights(lambda w, p: p * w.mean() - p**2), "the variance itself"),
            (of_weights(lambda w, p: w.mean() / p**2 - 1), "one P too many"),
            (lambda q, late, p: mean_weight(q, late, -1) / p - 1, "averages q/p"),
            (lambda q, late, p: q.log_weights(late).mean() / p - 1, "averages the log-weights"),
            (of_weights(lambda w, p: w.var() / w.mean() ** 2), "among late"),
            (of_weights(lambda w, p: p * w.mean() - 1), "divide by P, do not multiply"),
            (of_weights(lambda w, p: w.var() / p**2), "average w itself; no variance is taken"),
            (of_weights(lambda w, p: w.var(ddof=1) / p**2 - 1), "average w itself; no variance is taken"),
            (of_weights(lambda w, p: w.var()), "average w itself; no variance is taken"),
            (lambda q, late, p: mean_weight(q, late) / TAIL - 1, "Does the function use all its arguments?"),
            (lambda q, late, p: 1 / p, "for late projects of 70 days"),
            (lambda q, late, p: np.exp(q.log_weights(late)) / p - 1, "of shape [20000]"),
        ],
    ),
    notebook_02.mixture_log_weights: (
        [
            balanced,
            lambda a, b, s: [balanced(one, other, s) for one, other in zip(a, b, strict=True)],
            lambda a, b, s: -special.logsumexp([-a, -b], axis=0, b=[[s], [1 - s]]),
            lambda a, b, s: torch.tensor(balanced(a, b, s)),
        ],
        [
            (lambda a, b, s: np.log(s * np.exp(a) + (1 - s) * np.exp(b)), "averages the weights"),
            (lambda a, b, s: s * a + (1 - s) * b, "averages the logarithms"),
            (lambda a, b, s: -np.logaddexp(-a, -b), "shares are missing"),
            (lambda a, b, s: -np.log(s) - a, "one component with its share, and the other is missing"),
            (lambda a, b, s: b - np.log(1 - s), "one component with its share, and the other is missing"),
            (lambda a, b, s: -np.logaddexp(-a, np.log(1 - s) - b), "share of the first component is missing"),
            (lambda a, b, s: -np.logaddexp(np.log(s) - a, -b), "share of the second component is missing"),
            (lambda a, b, s: balanced(a, b, 0.5), "two equal shares"),
            (lambda a, b, s: balanced(a, b, 1 - s), "swapped"),
            (lambda a, b, s: -np.logaddexp(-s * a, -(1 - s) * b), "its logarithm is added"),
            (lambda a, b, s: -np.logaddexp(np.log(s) + a, np.log(1 - s) + b), "its logarithm is -log w_k"),
            (lambda a, b, s: -balanced(a, b, s), "change the sign"),
            (lambda a, b, s: np.exp(balanced(a, b, s)), "return its logarithm"),
            (lambda a, b, s: a, "one component alone"),
            (lambda a, b, s: b, "one component alone"),
            (lambda a, b, s: -np.log(s * np.exp(-a) + (1 - s) * np.exp(-b)), "stay in log space"),
            (lambda a, b, s: a.sum(), "one log-weight for each draw"),
            (lambda a, b, s: balanced(a, b, s)[:, None], "not [4, 1]"),
            (lambda a, b, s: a + b, "the answer is"),
        ],
    ),
    notebook_02.move: (
        [
            moving(),
            moving(noise=lambda shape, rng: np.random.default_rng(9).standard_normal(shape)),
            moving(
                keep=lambda passes, new, old: np.stack(
                    [n if p else o for p, n, o in zip(passes, new, old, strict=True)]
                )
            ),
            moving(form=lambda z: torch.tensor(z, dtype=torch.float32)),
        ],
        [
            (moving(shrink=lambda b: 1), "the variance grows above 1"),
            (moving(shrink=lambda b: 1 - b), "is multiplied by 1 - size;"),
            (moving(shrink=lambda b: 1 - b * b), "the root is missing"),
            (moving(shrink=lambda b: math.sqrt(1 - b)), "squared under the root"),
            (lambda z, level, size, rng: moving()(z, level, math.sqrt(1 - size**2), rng), "interchanged"),
            (moving(shrink=lambda b: 0, grow=lambda b: 1), "nothing left of z"),
            (moving(grow=lambda b: 1), "xi is not multiplied by size"),
            (moving(grow=lambda b: 0), "nothing new is added"),
            (moving(grow=lambda b: b * b), "size squared"),
            (moving(grow=lambda b: 2 * b), "should have mean 2.40 and standard deviation 0.8"),
            (lambda z, level, size, rng: z, "no project moved, though all"),
            (lambda z, level, size, rng: PLAN.from_normals(moving()(z, level, size, rng)), "as durations do"),
            (moving(noise=lambda shape, rng: rng.standard_normal((shape[0], 1))), "a fresh normal number of its own"),
            (moving(noise=lambda shape, rng: rng.standard_normal(shape[1])), "a fresh normal number of its own"),
            (moving(noise=lambda shape, rng: rng.standard_normal()), "a fresh normal number of its own"),
            (moving(keep=lambda passes, new, old: new), "take less than the level of 30 days"),
            (moving(keep=lambda passes, new, old: new[passes]), "no project is dropped"),
            (moving(keep=lambda passes, new, old: new if passes.all() else old), "each decides for itself"),
            (moving(keep=lambda passes, new, old: np.where(new > old, new, old)), "should have mean 2.40"),
            (moving(harder=1.2), "of the projects moved, where"),
        ],
    ),
    notebook_02.own_plan: (
        [
            (HOUSE, 150, splitting(HOUSE, 150, n=40_000)),
            (THREE_POINTS, 60, splitting(THREE_POINTS, 60, n=40_000)),
            (HOUSE, 150, HOUSE_ESTIMATE),
            (HOUSE, 150, importance_sampling(HOUSE, 150, mixture([scaled(HOUSE, 3), scaled(HOUSE, 1)]), n=50_000)),
            (HOUSE, np.float64(150), conditional_monte_carlo(HOUSE, 150, n=50_000)),
            (HOUSE, 150.0, by_hand(HOUSE, 150, scaled(HOUSE, 3), 50_000)),
            # Every task is integrated out: no error but that of rounding.
            (SERIES, 150, conditional_monte_carlo(SERIES, 150, n=1_000)),
        ],
        [
            ((HOUSE, 400, monte_carlo(HOUSE, 400, n=500)), "no draw missed"),
            ((HOUSE, 150, splitting(HOUSE, 150, n=20_000, runs=5)), "5 runs are few"),
            ((THREE_POINTS, 40, splitting(THREE_POINTS, 40, n=640)), "is not below 1 %"),
            ((HOUSE, 150, monte_carlo(HOUSE, 150, n=100_000)), "plain Monte Carlo"),
            ((HOUSE, 150, by_hand(HOUSE, 150, scaled(HOUSE, 1), 100_000)), "plain Monte Carlo"),
            ((HOUSE, 150, importance_sampling(HOUSE, 150, scaled(HOUSE, 20), n=100)), "caution"),
            ((HOUSE, 150, importance_sampling(HOUSE, 150, scaled(HOUSE, 3), n=2_000)), "below 5 %"),
            ((HOUSE, 40, importance_sampling(HOUSE, 40, scaled(HOUSE, 2), n=20_000)), "is not below 1 %"),
            ((HOUSE, 160, HOUSE_ESTIMATE), "this deadline"),
            ((THREE_POINTS, 55, splitting(THREE_POINTS, 60, n=40_000)), "a short run of splitting says"),
            ((HOUSE, "150", HOUSE_ESTIMATE), "my_deadline must be a number of days"),
            ((PLAN, 70, HOUSE_ESTIMATE), "one of yours"),
            ((Project({"dig": 4}), 50, HOUSE_ESTIMATE), "has one task; bring one of at least three"),
            ((Project({"dig": 4, "pour": 2}, {"pour": "dig"}), 50, HOUSE_ESTIMATE), "has two tasks; bring"),
            ((Project({"dig": 4, "pour": 2, "build": 7}), 50, HOUSE_ESTIMATE), "no task waits"),
            (("my_plan.csv", 150, HOUSE_ESTIMATE), "should be a Project"),
            ((HOUSE, 150, HOUSE_ESTIMATE.value), "all that importance_sampling"),
            ((HOUSE, 150, (HOUSE_ESTIMATE.value, HOUSE_ESTIMATE.std_error)), "all that importance_sampling"),
        ],
    ),
    notebook_03.log_weights: (
        [
            weights_from(lambda likelihood, prior, q: likelihood + prior - q),
            lambda model, x, z: model.log_joint(x, z) - model.posterior(x).log_prob(z),
            weights_from(lambda likelihood, prior, q: (likelihood + prior - q).tolist()),
            weights_from(lambda likelihood, prior, q: np.add(likelihood.numpy(), prior.numpy()) - q.numpy()),
            lambda model, x, z: [
                weights_from(lambda likelihood, prior, q: (likelihood + prior - q)[0])(model, x, one[None]) for one in z
            ],
        ],
        [
            (weights_from(lambda likelihood, prior, q: likelihood - q), "the prior is missing"),
            (weights_from(lambda likelihood, prior, q: likelihood), "integrand under the prior"),
            (weights_from(lambda likelihood, prior, q: likelihood + prior), "that is log p(x, z)"),
            (weights_from(lambda likelihood, prior, q: prior - q), "the image itself is missing"),
            (weights_from(lambda likelihood, prior, q: likelihood - prior - q), "so log p(z) is added"),
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
            (weights_from(lambda likelihood, prior, q: (likelihood + prior - q).mean(1)), "a mean over the images"),
            (weights_from(lambda likelihood, prior, q: -90.0), "one log-weight for each"),
            (weights_from(lambda likelihood, prior, q: {"prior": prior}), "give numbers"),
        ],
    ),
    notebook_03.predicted_gaps: (
        [gaps(), gaps(1, 1.61, 0.64), gaps(torch.ones(1), np.array(1.6137), [0.6363]), gaps("1.0", "1.614", "0.636")],
        [
            (gaps(shifted=0.5), "gap_shifted: 0.50 is what one dimension adds"),
            (gaps(shifted=2), "gap_shifted: 2.00 is twice what it should be"),
            (gaps(shifted=0), "only a q equal to the posterior"),
            (gaps(shifted=2**0.5), "the distance of the means"),
            (gaps(shifted=-1), "gap_shifted: -1.00 is below zero"),
            (gaps(shifted=1 / math.log(2)), "gap_shifted: 1.44 is in bits"),
            (gaps(shifted=7), "gap_shifted is not 7"),
            (gaps(wide=0.807), "gap_wide: 0.81 is what one dimension adds"),
            (gaps(wide=0.636, narrow=1.614), "gap_wide: 0.64 is KL(posterior || q)"),
            (gaps(wide=0.318), "adds to KL(posterior || q)"),
            (gaps(wide=2.614), "without the -1/2 of each"),
            (gaps(wide=2.114), "with one -1/2"),
            (gaps(wide=0.307), "a q of twice the variance"),
            (gaps(wide=-0.386), "s in the place of s^2"),
            (gaps(wide=4.386), "log(s/s_0)"),
            (gaps(wide=5.614), "without the 2 in the denominator"),
            (gaps(wide=0.227), "log of variances"),
            (gaps(wide=-1.61), "gap_wide: -1.61 is below zero"),
            (gaps(wide=2.33), "gap_wide: 2.33 is in bits"),
            (gaps(wide=2.398), "with log10"),
            (gaps(wide=1.6), "gap_wide: 1.6 is close"),
            (gaps(narrow=0.318), "gap_narrow: 0.32 is what one dimension adds, and"),
            (gaps(narrow=1.61), "gap_narrow: 1.61 is KL(posterior || q)"),
            (gaps(narrow=0.807), "adds to KL(posterior || q)"),
            (gaps(narrow=1.636), "without the -1/2 of each"),
            (gaps(narrow=1.136), "with one -1/2"),
            (gaps(narrow=0.193), "a q of half the variance"),
            (gaps(narrow=0.886), "with 1/4 for the fraction"),
            (gaps(narrow=-2.136), "log(s/s_0)"),
            (gaps(narrow=2.0226), "log of variances"),
            (gaps(narrow=-0.636), "gap_narrow: -0.64 is below zero"),
            (gaps(narrow=0.918), "gap_narrow: 0.92 is in bits"),
            (gaps(narrow=-0.148), "with log10"),
            (gaps(narrow=0.5), "gap_narrow is not 0.5: put m = m_0 and s = s_0 / 2"),
            (gaps(narrow=(0.3, 0.3)), "give one number"),
            (gaps(shifted=[1.0, 1.0]), "give one number"),
        ],
    ),
    notebook_03.shapes: (
        [shapes(), tuple(map(list, shapes())), tuple(map(torch.Size, shapes())), tuple(map(np.array, shapes()))],
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
            (shapes(z=(5, 20, 100)), "a mean and a scale for each of the 50 numbers in z"),
            (shapes(z="(5, 20, 50)"), "z_shape is the shape of the whole batch"),
            (shapes(z=(5, 50)), "z_shape: that is the shape for a single image"),
            (shapes(logits=(20, 784)), "last axis alone"),
            (shapes(logits=(100, 784)), "not merged"),
            (shapes(output=(20, 64)), "`output` is not (20, 64): follow the figure above, with 20 in place of 32."),
            (shapes(z=(50, 5)), "and the 5 draws in front"),
        ],
    ),
    notebook_03.durations: (
        [
            exponential(),
            exponential(lambda mean, u: -mean * torch.log1p(-u), lambda *shape: torch.rand(shape, dtype=torch.float64)),
            lambda mean, k: torch.distributions.Exponential(1 / mean).rsample((k,)),
            lambda mean, k: [-mean * torch.log(torch.rand_like(mean)) for _ in range(k)],
            lambda mean, k: mean * torch.tensor(np.random.default_rng(0).exponential(size=(k, len(mean)))),
            lambda mean, k: mean * torch.empty(k, len(mean)).exponential_(),
        ],
        [
            (exponential(lambda mean, noise: mean + mean * noise, torch.randn), "normal ones can be"),
            (lambda mean, k: torch.normal(mean.expand(k, -1), mean.expand(k, -1)), "normal ones can be"),
            (lambda mean, k: torch.normal(mean.expand(k, -1), mean.expand(k, -1) / 10), "yours by 0.10 of it"),
            (exponential(lambda mean, u: mean * torch.log(u)), "put a minus in front"),
            (exponential(lambda mean, u: -torch.log(u) / mean), "as if it were the rate"),
            (exponential(lambda mean, u: -torch.log(u)), "whatever `mean` says"),
            (exponential(lambda mean, u: mean - torch.log(u)), "the mean is added"),
            (exponential(lambda mean, u: -(mean**2) * torch.log(u)), "multiply by the mean once"),
            (exponential(lambda mean, u: -mean * torch.log10(u)), "not log2 or log10"),
            (exponential(lambda mean, u: -mean * torch.log2(u)), "not log2 or log10"),
            (exponential(lambda mean, u: mean * u), "these are uniform"),
            (exponential(lambda mean, u: 2 * mean * u), "these are uniform"),
            (exponential(lambda mean, noise: mean * noise.abs(), torch.randn), "on average over your draws"),
            (exponential(lambda mean, noise: -mean * torch.log(noise), torch.randn), "some durations are nan"),
            (exponential(lambda mean, noise: mean * noise**2, torch.randn), "the means are right"),
            (exponential(lambda mean, u: 2 * mean * (u > 0.5)), "50% of the durations are longer than their mean"),
            (lambda mean, k: torch.distributions.Exponential(1 / mean).sample((k,)), "no way back"),
            (exponential(lambda mean, u: (-mean * torch.log(u)).detach()), "no way back"),
            (lambda mean, k: np.random.default_rng(0).exponential(mean.tolist(), (k, len(mean))), "no way back"),
            (lambda mean, k: mean.detach() * mean.expand(k, -1).clone().exponential_(), "to the means is zero"),
            (exponential(halfway_detached), "their gradient is not"),
            (exponential(lambda mean, u: -mean * torch.log(u[:, :1])), "they share noise"),
            (exponential(lambda mean, u: -mean * torch.log(u[:1]).expand_as(u)), "are alike"),
            (exponential(shape=lambda k, mean: (len(mean),)), "k draws for each task"),
            (exponential(lambda mean, u: (-mean * torch.log(u)).T), "draws come first"),
            (lambda mean, k: exponential()(mean, 4_000), "but 10,000 draws of 2 tasks"),
            (lambda mean, k: -mean * np.log(np.random.default_rng(0).random((k, len(mean)))), "torch.rand)"),
            (lambda mean, k: -np.log(np.random.default_rng(0).random((k, len(mean)))) * mean, "torch.rand)"),
            (lambda mean, k: mean * torch.log(np.ones((k, len(mean)))), "torch.rand)"),
            (lambda mean, k: 0.5, "k draws for each task"),
            (lambda mean, k: "exponential", "give numbers"),
        ],
    ),
    notebook_03.training_step: (
        [
            stepping(),
            stepping("backward step zero", returned=torch.Tensor.detach),
            stepping("zero backward step", bits=torch.bernoulli, returned=lambda bound: bound.detach().numpy()),
            # As right, with other draws than the check's.
            stepping(k=5),
            stepping_in_closed_form,
        ],
        [
            # The exercise as it stands, and with one mistake less each time.
            (stepping("backward step", sign=1, returned=lambda bound: bound), "optimizers walk downhill"),
            (stepping("backward step", returned=lambda bound: bound), "the gradients of earlier steps"),
            (stepping(returned=lambda bound: bound), "carries the graph"),
            (stepping("zero backward step", sign=1), "optimizers walk downhill"),
            (stepping(sign=1, k=5), "on average your steps make the bound lower"),
            (stepping("backward step"), "the gradients of earlier steps"),
            (stepping("backward step", k=5), "the gradients of earlier steps"),
            (stepping("zero backward"), "the parameters never move"),
            (stepping("zero step"), "backward() is missing"),
            (stepping("backward zero step"), "between it and the step"),
            (stepping("zero step backward"), "the step comes before backward()"),
            (stepping("step zero backward"), "the step comes before backward()"),
            (stepping("zero backward step step"), "is called 2 times"),
            (stepping(bits=lambda images: (images > 0.5).float()), "the same bits every time"),
            (stepping(bits=lambda images: images), "the grey images went into the bound"),
            (stepping(sign=-32), "of a sum over the images"),
            (stepping(sign=-2), "does not use the gradient"),
            (stepping(returned=lambda bound: -bound.item()), "it returns the loss"),
            (stepping(returned=lambda bound: bound.item() / 64), "the bound of my images is about"),
        ],
    ),
    notebook_03.expected_log_likelihood: (
        [
            lambda x, logits: log_bits(x, logits).mean(0),
            lambda x, logits: torch.distributions.Bernoulli(logits=logits).log_prob(x).sum(-1).mean(0),
            lambda x, logits: [sum(log_bits(x, one)[i] for one in logits) / len(logits) for i in range(len(x))],
            lambda x, logits: (x.numpy() * logits.numpy() - np.logaddexp(0, logits.numpy())).sum(-1).mean(0),
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
            (lambda x, logits: (x * logits - logits.exp().log1p()).sum(-1).mean(0), "e^400 is more than a float"),
            (lambda x, logits: log_bits(x, 2 * logits).mean(0), "should be"),
            (lambda x, logits: logits[0, :2, 0], "one number for each image"),
        ],
    ),
    notebook_03.gradient_variance: (
        [
            lambda v, e, m, n: v / m + e / (m * n),
            lambda v, e, m, n: torch.tensor([(v + e / n) / m]),
            lambda v, e, m, n: np.mean([v + e / n] * m) / m,
        ],
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
            (lambda v, e, m, n: (v + e / n) * m, "the variance of a sum"),
            (lambda v, e, m, n: (v + e / n) / m**0.5, "a standard deviation falls like"),
            (lambda v, e, m, n: (v + e * n) / m, "divide V_eps by L"),
            (lambda v, e, m, n: v / m, "the noise is missing"),
            (lambda v, e, m, n: e / (m * n), "adds V_x / M"),
            (lambda v, e, m, n: v / m + e, "divided by L and by M"),
            (lambda v, e, m, n: 0.5, "for V_x = 1"),
            (lambda v, e, m, n: v * e, "for V_x = 3"),
            (lambda v, e, m, n: (v, e), "give one number"),
        ],
    ),
    notebook_04.iwae_bound: (
        [
            log_mean_exp,
            lambda w: (w - w.max(0).values).exp().mean(0).log() + w.max(0).values,
            lambda w: special.logsumexp(w.numpy(), axis=0) - np.log(len(w)),
            lambda w: [float(log_mean_exp(column)) for column in w.T],
        ],
        [
            (lambda w: w.mean(0), "mean of the logs"),
            (lambda w: w.max(0).values, "the largest log-weight alone"),
            (lambda w: w.max(0).values - math.log(len(w)), "counts the largest weight alone"),
            (lambda w: torch.logsumexp(w, 0), "lower by log k"),
            (lambda w: torch.logsumexp(w, 0) + math.log(len(w)), "subtracted, not added"),
            (lambda w: torch.logsumexp(w, 0) - math.log(w.shape[1]), "not of the batch"),
            (lambda w: torch.logsumexp(w, 0) - math.log10(len(w)), "not log10"),
            (lambda w: torch.logsumexp(w, 0) - math.log2(len(w)), "not log2"),
            (lambda w: torch.logsumexp(w, 0) / len(w), "it does not divide it"),
            (lambda w: torch.logsumexp(w, 0) - len(w), "log k from the logarithm, not k"),
            (lambda w: torch.logsumexp(w, 1) - math.log(w.shape[1]), "average over axis 0"),
            (lambda w: (w - w.max(0).values).exp().mean(0).log(), "not added back"),
            (lambda w: (w - w.max()).exp().mean(0).log(), "not added back"),
            (lambda w: (w - w.max(0).values).exp().mean(0).log() - w.max(0).values, "taken out twice"),
            (lambda w: (w - w.max(0).values).exp().mean(0).log() + w.max(0).values.exp(), "not its exp"),
            (lambda w: log_mean_exp(w).exp(), "mean weight itself"),
            (lambda w: -log_mean_exp(w), "not the loss"),
            (lambda w: w.exp().mean(0).log(), "is 0 in float32"),
            (lambda w: (w + 104).exp().mean(0).log() - 104, "more than float32 can hold"),
            (lambda w: w.double().exp().mean(0).log(), "in double precision too"),
            (lambda w: (w - w.max()).exp().mean(0).log() + w.max(), "the largest of each image"),
            (lambda w: torch.logsumexp(w, 0) - math.log(4), "take k from the log-weights"),
            (lambda w: log_mean_exp(w).mean(), "one bound for each image"),
            (lambda w: log_mean_exp(w) - 1, "my first image"),
            (lambda w: log_mean_exp(w).clamp(min=-50), "yours changes by"),
        ],
    ),
    notebook_04.too_good: (
        [-78.2 - math.log(5000), -86.72, "-86.7", torch.tensor([-86.717])],
        [
            (-78.2, "what was printed"),
            (-78.2 + math.log(5000), "goes down"),
            (-78.2 / 5000, "loses log K"),
            (-78.2 - 5000, "loses log K"),
            (-78.2 - math.log10(5000), "natural logarithms"),
            (-78.2 - math.log2(5000), "natural logarithms"),
            (-78.2 - math.log(5000) / 2, "half of log K"),
            (-8.517, "that is the correction: add it to -78.2"),
            (-8.5, "that is the correction: add it to -78.2"),
            (math.log(5000), "that is the correction: subtract it from -78.2"),
            (86.717, "the log of a probability is negative"),
            (-87, "Give one decimal"),
            (-80.0, "You changed -78.2 by -1.80"),
            ([-78.2, -86.7], "give one number"),
        ],
    ),
    notebook_04.debiased: (
        [
            lambda bound_k, bound_2k: 2 * bound_2k - bound_k,
            lambda bound_k, bound_2k: np.array([-1, 2]) @ np.array([bound_k, bound_2k]),
            lambda bound_k, bound_2k: torch.lerp(torch.as_tensor(bound_k), torch.as_tensor(bound_2k), 2.0).tolist(),
            lambda bound_k, bound_2k: -(bound_k - bound_2k * 2),
            lambda bound_k, bound_2k: float(2 * bound_2k - bound_k),
            lambda bound_k, bound_2k: math.fsum([bound_2k, bound_2k, -bound_k]),
            lambda bound_k, bound_2k: [2 * tight - loose for loose, tight in zip(bound_k, bound_2k, strict=True)],
            lambda bound_k, bound_2k: torch.stack([2 * b - a for a, b in zip(bound_k, bound_2k, strict=True)]),
            lambda bound_k, bound_2k: 2 * bound_2k.numpy() - bound_k.numpy(),
        ],
        [
            (lambda bound_k, bound_2k: bound_k, "the looser of the two"),
            (lambda bound_k, bound_2k: bound_2k, "the tighter of the two"),
            (lambda bound_k, bound_2k: (bound_k + bound_2k) / 2, "log p(x) above them both"),
            (lambda bound_k, bound_2k: bound_2k - bound_k, "about the gap"),
            (lambda bound_k, bound_2k: bound_k - bound_2k, "about minus the gap"),
            (lambda bound_k, bound_2k: 2 * bound_k - bound_2k, "the wrong way round"),
            (lambda bound_k, bound_2k: (4 * bound_2k - bound_k) / 3, "like 1/k^2. The gap"),
            (lambda bound_k, bound_2k: (2**0.5 * bound_2k - bound_k) / (2**0.5 - 1), "like 1/sqrt(k)"),
            (lambda bound_k, bound_2k: (2 * bound_2k.exp() - bound_k.exp()).log(), "not their exp"),
            (lambda bound_k, bound_2k: bound_k + bound_2k, "that would be 2 log p(x)"),
            (lambda bound_k, bound_2k: bound_k + 2 * bound_2k, "that would be 3 log p(x)"),
            (lambda bound_k, bound_2k: bound_2k - bound_k / 2, "that would be 0.5 log p(x)"),
            (lambda bound_k, bound_2k: 3 * bound_2k - 2 * bound_k, "yours still lacks -0.5 c/k"),
            (lambda bound_k, bound_2k: (2 * bound_2k + bound_k) / 3, "yours still lacks 0.667 c/k"),
            (lambda bound_k, bound_2k: 2 * bound_2k - bound_k + 1, "yours makes -8.20"),
            (lambda bound_k, bound_2k: bound_2k.log(), "yours makes nan"),
            (lambda bound_k, bound_2k: torch.tensor([-9.2, -8.1, -10.3]), "right for my first three images"),
            (lambda bound_k, bound_2k: bound_2k - bound_2k.max(0), "use `t.amax(0)`"),
            (lambda bound_k, bound_2k: torch.as_tensor(2 * bound_2k - bound_k).mean(), "one number for each image"),
            (lambda bound_k, bound_2k: float(bound_k), "the looser of the two"),
            (lambda bound_k, bound_2k: float(bound_k) / 0, "called with a tensor of shape [3]"),
        ],
    ),
    notebook_04.iwae_loss: (
        [
            weighted_loss(normalized),
            lambda p, q: -log_mean_exp(p - q).mean(),
            lambda p, q: (normalized(p - q) * (q - p)).sum(0).mean()[None],
            lambda p, q: sum(normalized(p - q)[:, i] @ (q - p)[:, i] for i in range(p.shape[1])) / p.shape[1],
        ],
        [
            (weighted_loss(lambda w: normalized(-w)), "worst sample still gets"),
            (weighted_loss(lambda w: torch.softmax(-w, 0)), "and the weights are not detached"),
            (weighted_loss(lambda w: torch.softmax(w, 0)), "detach them"),
            (weighted_loss(lambda w: normalized(w, 1)), "softmax over axis 0"),
            (weighted_loss(normalized, sign=1.0), "the sign"),
            (weighted_loss(lambda w: torch.softmax(w, 0), sign=1.0), "And the weights are not detached"),
            (weighted_loss(lambda w: torch.softmax(w, 1)), "and the weights are not detached: softmax over axis 0"),
            (weighted_loss(lambda w: w.exp().detach()), "not normalized"),
            (weighted_loss(lambda w: w.log_softmax(0).detach()), "not log_softmax"),
            (weighted_loss(lambda w: (w == w.max(0).values).double()), "the best sample alone"),
            (lambda p, q: -(normalized(p) * (p - q)).sum(0).mean(), "you weigh by log_p alone"),
            (lambda p, q: -(normalized(p - q) * (p + q)).sum(0).mean(), "they are subtracted"),
            (lambda p, q: -log_mean_exp(p).mean(), "only one of"),
            (lambda p, q: -log_mean_exp(p - q).mean().item(), "nothing is left"),
            (lambda p, q: -(p - q).mean(), "gradient of the ELBO"),
            (lambda p, q: -np.mean(p - q), "keyword argument 'axis' (TypeError). NumPy stops the gradient"),
            (lambda p, q: -(np.exp(p - q) * (p - q)).mean(), "NumPy stops the gradient: use torch's functions"),
            (lambda p, q: p.numpy().mean(), "requires grad (RuntimeError). NumPy stops the gradient"),
            (lambda p, q: -(normalized(p - q) * (p - q)).mean(), "already sum to one"),
            (lambda p, q: -(normalized(p - q) * (p - q)).sum(), "take their mean"),
            (lambda p, q: -(normalized(p - q) * p).sum(0).mean(), "only one of"),
            (lambda p, q: -(normalized(p - q) * (p - q).detach()).sum(0).mean(), "nothing is left"),
            (lambda p, q: -(normalized(p - q) * (p - q)).sum(0), "yours are 3 numbers"),
            (lambda p, q: -(torch.softmax(p - q, 0) * (p - q).detach()).sum(0).mean(), "detached the wrong factor"),
            (lambda p, q: (torch.softmax(q - p, 0) * (q - p).detach()).sum(0).mean(), "detached the wrong factor"),
            (lambda p, q: -(normalized(p - q) ** 2 * (p - q)).sum(0).mean(), "the derivative of the loss by log_"),
        ],
    ),
    notebook_04.hybrid: (
        [
            lambda c, kl: log_mean_exp(c) - kl,
            lambda c, kl: log_mean_exp(c - kl),
            lambda c, kl: special.logsumexp(c.numpy(), axis=0, b=1 / len(c)) - kl.numpy(),
            lambda c, kl: (log_mean_exp(c) - kl).tolist(),
        ],
        [
            (lambda c, kl: c.mean(0) - kl, "that is the ELBO"),
            (lambda c, kl: log_mean_exp(c), "the divergence is missing"),
            (lambda c, kl: torch.logsumexp(c, 0), "and the divergence is missing"),
            (lambda c, kl: log_mean_exp(c) + kl, "subtract it"),
            (lambda c, kl: torch.logsumexp(c, 0) - kl, "subtract log k"),
            (lambda c, kl: torch.logsumexp(c, 0) + math.log(len(c)) - kl, "subtracted, not added"),
            (lambda c, kl: log_mean_exp(c) - kl / len(c), "shared among the samples"),
            (lambda c, kl: log_mean_exp(c) - len(c) * kl, "not once for each sample"),
            (lambda c, kl: log_mean_exp(c) - kl.mean(), "subtracts their mean"),
            (lambda c, kl: log_mean_exp(c) - kl.sum(), "subtracts their sum"),
            (lambda c, kl: (c - c.max(0).values).exp().mean(0).log() - kl, "not added back"),
            (lambda c, kl: (c - c.max()).exp().mean(0).log() - kl, "not added back"),
            (lambda c, kl: c.exp().mean(0) - kl, "take its logarithm first"),
            (lambda c, kl: (log_mean_exp(c) - kl).exp(), "that is a density"),
            (lambda c, kl: kl - log_mean_exp(c), "and the divergence down"),
            (lambda c, kl: c.exp().mean(0).log() - kl, "is 0 in float32"),
            (lambda c, kl: torch.logsumexp(c, 1) - math.log(c.shape[1]), "Samples come first"),
            (lambda c, kl: c - kl, "one number for each image"),
            (lambda c, kl: log_mean_exp(c) - 2 * kl, "my first image"),
        ],
    ),
    notebook_04.signal_to_noise: (
        [
            lambda g: (g.mean(0).abs() / g.std(0)).mean(),
            lambda g: float((g.mean(0).abs() / g.std(0, correction=0)).mean()),
            lambda g: np.mean([abs(column.mean()) / column.std() for column in g.numpy().T]),
            lambda g: (g.mean(0).abs() / g.std(0)).mean()[None],
        ],
        [
            (lambda g: (g.mean(0).abs() / g.std(0)).mean() * len(g) ** 0.5, "standard error of the mean"),
            (lambda g: (g.mean(0).abs() / g.var(0)).mean(), "divides by the variance"),
            (lambda g: (g.mean(0) / g.std(0)).mean(), "cancel"),
            (lambda g: (g.std(0) / g.mean(0).abs()).mean(), "noise over signal"),
            (lambda g: (g.abs().mean(0) / g.std(0)).mean(), "Average over runs first"),
            (lambda g: (g.mean(0).abs() / g.std(0)).mean() / len(g) ** 0.5, "multiplies the noise"),
            (lambda g: (g.sum(0).abs() / g.std(0)).mean(), "too large by the number of runs"),
            (lambda g: (g.mean(0).abs() / g.std(0)).sum(), "the sum of the ratios"),
            (lambda g: (g.mean(0).abs() / g.std(0)).max(), "the largest ratio"),
            (lambda g: (g.mean(0) / g.std(0)).square().mean(), "the square of the ratio"),
            (lambda g: (g.mean(0) ** 2 / g.std(0)).mean(), "the mean is squared"),
            (lambda g: (g.mean(0).abs() / g.abs().std(0)).mean(), "with their signs"),
            (lambda g: g.mean(0).abs().mean() / g.std(0).mean(), "a ratio of averages"),
            (lambda g: (g.mean(0).abs() / (g**2).mean(0).sqrt()).mean(), "the root mean square"),
            (lambda g: (g.mean(1).abs() / g.std(1)).mean(), "the parameters of one run"),
            (lambda g: g.mean(0).abs() / g.std(0), "average the ratios"),
            (lambda g: g.mean(1).abs() / g.std(1), "along axis 0"),
            (lambda g: g.mean().abs() / g.std(), "mixes the parameters"),
            (lambda g: g.abs() / g.std(0), "got shape [400, 3]"),
            (lambda g: 0.5, "yours is"),
        ],
    ),
    notebook_04.paired: (
        [
            mean_and_error(lambda a, b: (b - a).std() / len(a) ** 0.5),
            mean_and_error(lambda a, b: (b - a).std(correction=0) / math.sqrt(len(a))),
            lambda a, b: Estimate.from_values(b - a),
            lambda a, b: torch.stack([(b - a).mean(), (b - a).std() / len(a) ** 0.5]),
            lambda a, b: [np.mean((b - a).numpy()), stats.sem(b - a)],
        ],
        [
            (mean_and_error(lambda a, b: ((a.var() + b.var()) / len(a)) ** 0.5), "two separate sets"),
            (mean_and_error(lambda a, b: (b - a).std()), "spread of single differences"),
            (mean_and_error(lambda a, b: (b - a).var() / len(a)), "root of it"),
            (mean_and_error(lambda a, b: (b - a).std() / len(a)), "an error falls with the root of it"),
            (mean_and_error(lambda a, b: (b - a).std() * len(a) ** 0.5), "smaller: divide"),
            (mean_and_error(lambda a, b: (b - a).var()), "the variance of single differences"),
            (mean_and_error(lambda a, b: (b - a).var() / len(a) ** 0.5), "the variance over the root of n"),
            (mean_and_error(lambda a, b: (b - a).std() / len(a) ** 0.25), "twice"),
            (mean_and_error(lambda a, b: (b - a).std() / (2 * len(a)) ** 0.5), "one difference for each image"),
            (mean_and_error(lambda a, b: 1.96 * (b - a).std() / len(a) ** 0.5), "95 % interval"),
            (mean_and_error(lambda a, b: 2 * (b - a).std() / len(a) ** 0.5), "two standard errors"),
            (mean_and_error(lambda a, b: (a.std() + b.std()) / len(a) ** 0.5), "adds the errors"),
            (mean_and_error(lambda a, b: (b.std() - a.std()) / len(a) ** 0.5), "errors do not subtract"),
            (mean_and_error(lambda a, b: a.std() / len(a) ** 0.5), "the mean of a alone"),
            (mean_and_error(lambda a, b: b.std() / len(a) ** 0.5), "the mean of b alone"),
            (mean_and_error(lambda a, b: 0.0), "standard error of my differences"),
            (lambda a, b: mean_and_error(lambda a, b: (b - a).std() / len(a) ** 0.5)(a, b)[::-1], "comes first"),
            (lambda a, b: ((a - b).mean(), 0.1), "the sign"),
            (lambda a, b: (a.mean(), 0.1), "mean of a alone"),
            (lambda a, b: (b.mean(), 0.1), "mean of b alone"),
            (lambda a, b: ((b / a).mean(), 0.1), "a mean ratio"),
            (lambda a, b: ((b - a).sum(), 0.1), "the sum of the differences"),
            (lambda a, b: ((b - a).abs().mean(), 0.1), "no absolute value"),
            (lambda a, b: ((b - a).median(), 0.1), "the median"),
            (lambda a, b: (0.5, 0.1), "mean difference of my images"),
            (lambda a, b: (np.mean(b - a), 0.1), "are torch tensors: use `t.mean()`"),
            (lambda a, b: (0.4, np.std(b - a)), "or `np.asarray(t)` first"),
            (lambda a, b: (0.4, np.max(b - a)), "or `np.asarray(t)` first"),
            (lambda a, b: b - a, "two numbers"),
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
            (areas(lambda levels: torch.arange(levels) + 0.5, ends=(0.0, None)), "bins are right; the last everything"),
            (areas(lambda levels: torch.arange(levels) - 0.5, ends=(None, 1.0)), "bins are right; the first takes"),
            (lambda *args: areas()(*args) * torch.tensor([2, 1, 1, 1, 2]), "its right edge, the last everything"),
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
            (lambda m, s, levels: torch.softmax(-(torch.arange(levels) - m).abs() / s, 0), "softmax of the distances"),
            (lambda mean, scale, levels: scale * height(mean, scale, levels), "the slope of the sigmoid"),
            (areas(lambda levels: (torch.arange(levels - 1) + 0.5) / levels), "edges lie between 0 and 1"),
            (lambda m, s, levels: torch.sigmoid((torch.arange(levels) + 0.5 - m) / s), "the areas up to each level"),
            (lambda m, s, levels: torch.sigmoid((torch.arange(levels) - m) / s), "the areas up to each level"),
            (areas(scaled=lambda d, scale: -d / scale), "some are negative"),
            (areas(ends=(None, None)), "for 5 levels you return 3"),
            (areas(ends=(0.0, None)), "for 5 levels you return 4: one bin is missing, the last"),
            (areas(ends=(None, 1.0)), "for 5 levels you return 4: one bin is missing, the first"),
            (lambda m, s, levels: areas()(m, s, levels + 1), "expected 5 probabilities"),
            (lambda m, s, levels: areas()(m + 0.2, s, levels), "for mean 1.3 and scale 0.8, level"),
            (lambda m, s, levels: areas()(m, s, 5), "for 6 you return shape"),
            (lambda m, s, levels: areas()(min(m, levels - 1), s, levels), "right for a mean among the levels"),
        ],
    ),
    notebook_05.bits_per_dim: (
        [
            lambda nats, n: -nats / (n * math.log(2)),
            lambda nats, n: -nats * math.log2(math.e) / n,
            lambda nats, n: np.array([-nats / np.log(2) / n]),
            lambda nats, n: -torch.tensor(nats, dtype=torch.float32) / math.log(2) / n,
        ],
        [
            (lambda nats, n: nats / (n * math.log(2)), "length of a code"),
            (lambda nats, n: -nats * math.log(2) / n, "more bits than nats"),
            (lambda nats, n: -nats / math.log(2), "number of dimensions"),
            (lambda nats, n: -nats / n, "nats per dimension"),
            (lambda nats, n: -nats / (n * math.log(10)), "decimal digits"),
            (lambda nats, n: -nats / (n * math.log10(2)), "not by log10"),
            (lambda nats, n: -nats, "nats of the whole image"),
            (lambda nats, n: -nats / (n * 2), "not 2"),
            (lambda nats, n: -np.log2(nats) / n, "log2 of a negative number"),
            (lambda nats, n: -math.log2(nats) / n, "A negative number has no logarithm"),
            (lambda nats, n: -nats / np.log2(n), "no logarithm of the dimensions"),
            (lambda nats, n: -nats / (n * np.log2(n)), "no logarithm of the dimensions"),
            (lambda nats, n: -nats.numpy() / n, "plain number already: leave out `.numpy()`"),
            (lambda nats, n: nats.exp(), "use `math.exp`"),
            (lambda nats, n: -nats / math.log(2) * n, "multiplies by the dimensions"),
            (lambda nats, n: math.log2(-nats) / n, "another unit is a factor"),
            (lambda nats, n: math.log2(-nats / n), "another unit is a factor"),
            (lambda nats, n: 0.16, "yours is 0.16"),
            (lambda nats, n: 7 / math.log(2), "-500 nats for 192 dimensions"),
        ],
    ),
    notebook_05.units_trap: (
        [-20437 * math.log(2), -14166, "-14165.8", -6.65 * 3072 * math.log(2), torch.tensor(-14165.8), -14102, -14200],
        [
            (-87.08, "in nats already"),
            (-87.08 * math.log(2), "in nats already"),
            (-125.6, "in nats already"),
            (-20437, "gives its bits per value"),
            (20437 * math.log(2), "the log of a probability is negative"),
            (-20437 / math.log(2), "fewer nats than bits"),
            (-20437 / 0.69, "fewer nats than bits"),
            (-14_300, "is already its bits per value"),
            (6.65, "for each dimension"),
            (9.594, "for each dimension"),
            (-4.61, "for each dimension"),
            (-20437 * math.log10(2), "no base 10"),
            (-20437 / math.log(10), "no base 10"),
            (-10_000, "Not 0.489"),
        ],
    ),
    notebook_05.five_colleagues: (
        [
            colleagues(),
            {name.lower(): f" {word.upper()}" for name, word in colleagues().items()},
            {name: word.replace(" ", "_") for name, word in reversed(colleagues().items())},
        ],
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
            lambda w, c: special.softmax(w.numpy()) @ c.numpy() - special.logsumexp(w, b=1 / len(w)),
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
            lambda z, g: tuple(part.tolist() for part in gaussian()(z, g)),
            lambda z, g: (gaussian()(z, g)[0][:, None].numpy(), gaussian()(z, g)[1].numpy()),
        ],
        [
            (lambda z, g: gaussian()(z, g)[::-1], "the mean comes first"),
            (lambda z, g: 1.0, "return two"),
            (lambda z, g: gaussian()(z, g)[0], "return two"),
            (lambda z, g: gaussian()(z, g)[1], "return two"),
            (lambda z, g: [gaussian()(z, g)[0]] * 2, "a covariance is [2, 2]"),
            (gaussian(covariance=lambda slopes: torch.linalg.inv(-slopes).sqrt()), "a root of the covariance"),
            (gaussian(covariance=lambda s: torch.linalg.cholesky(torch.linalg.inv(-s))), "a root of the covariance"),
            (gaussian(covariance=lambda slopes: -1 / slopes), "not the inverse of a matrix"),
            (lambda z, g: (z.mean(0), torch.cov(z.T)), "the covariance of the draws"),
            (gaussian(covariance=lambda slopes: -slopes), "that is the precision"),
            (gaussian(covariance=torch.linalg.inv), "the sign"),
            (gaussian(covariance=lambda slopes: slopes), "the sign"),
            (gaussian(covariance=lambda slopes: torch.linalg.inv(-2 * slopes)), "half their sum"),
            (gaussian(covariance=lambda slopes: torch.diag(-1 / slopes.diagonal())), "invert the matrix"),
            (gaussian(covariance=lambda slopes: torch.eye(2).double()), "yours is [[1.0, 0.0], [0.0, 1.0]]"),
            (gaussian(lambda intercept, slopes: intercept), "that mean is the intercept"),
            (gaussian(lambda intercept, slopes: torch.linalg.solve(slopes, intercept)), "where is the line zero"),
            (gaussian(lambda intercept, slopes: -slopes @ intercept), "multiply the intercept by it, the inverse"),
            (gaussian(lambda intercept, slopes: slopes @ intercept), "multiply the intercept by it, the inverse"),
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
            lambda w, e: special.softmax(w.numpy()) @ e.numpy() - special.logsumexp(w, b=1 / len(w)),
        ],
        [
            (lambda w, e: -kl()(w, e), "never negative"),
            (lambda w, e: kl()(w, e).exp(), "the number of draws"),
            (kl(lambda w, e: e.mean()), "a plain mean over the fit's draws"),
            (kl(lambda w, e: (torch.softmax(e, 0) * e).sum()), "weigh them by log_w"),
            (lambda w, e: (torch.softmax(e, 0) * e).sum() - log_mean_exp(e), "weigh them by log_w"),
            (lambda w, e: (torch.softmax(e, 0) * (e - w)).sum(), "weigh them by log_w"),
            (lambda w, e: (torch.softmax(w, 0) * (w - e)).sum(), "subtract log p(x), not log_w"),
            (lambda w, e: (torch.softmax(w, 0) * (e - w)).sum(), "subtract log p(x), not log_w"),
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
        + [with_true(lambda w: torch.tensor([1, 0, 3])), lambda w, true: with_true()(w, true).tolist()],
        [
            (lambda w, true: log_mean_exp(w), "the true z is not in it"),
            (lambda w, true: true, "for k = 1"),
            (lambda w, true: torch.maximum(log_mean_exp(w), true), "the larger of the two is no mean"),
            (lambda w, true: torch.maximum(with_true()(w, true), true), "the larger of the two is no mean"),
            (with_true_added(log_mean_exp), "but of k + 1 draws"),
            (lambda w, t: with_true_added(lambda w: torch.logsumexp(w, 0))(w, t) - math.log(4), "and divide by k"),
            (with_true(reduced=lambda w: torch.logsumexp(w, 0)), "subtract log k"),
            (with_true(lambda w: -1 + len(w), lambda w: torch.logsumexp(w, 0)), "subtract log k"),
            (with_true_added(lambda w: torch.logsumexp(w, 0)), "subtract log k"),
            (lambda w, true: torch.logaddexp(log_mean_exp(w), true), "as much as all k draws together"),
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
            (snow(lambda n: -784 * math.log(2)), "use the argument n_pixels"),
            (lambda p, share, n: torch.log(share * p.exp() + (1 - share) * 0.5**n), "Stay in log space"),
        ],
    ),
    notebook_06.step: (
        [
            stepped(),
            lambda x, f: (torch.stack([x[:, 0], x[:, 1] * f(x[:, 0])[0].exp() + f(x[:, 0])[1]], 1), f(x[:, 0])[0]),
            lambda x, f: [t.numpy() for t in stepped()(x, f)],
        ],
        [
            (lambda x, f: stepped()(x, f)[0], "return two things"),
            (lambda x, f: (stepped()(x, f)[0].T, f(x[:, 0])[0]), "dim=-1"),
            (lambda x, f: (stepped()(x, f)[0][:, 1], f(x[:, 0])[0]), "the second number alone"),
            (lambda x, f: (torch.ones(3, 3), f(x[:, 0])[0]), "z should have shape [4, 2]"),
            (swapped_columns, "columns are swapped"),
            (lambda x, f: (stepped()(x, f)[0] + 1, f(x[:, 0])[0]), "the first number stays"),
            (stepped(lambda x, a, b: x[:, 1] * a + b), "take its exp"),
            (stepped(lambda x, a, b: (x[:, 1] + b) * a.exp()), "scale first, then move"),
            (stepped(lambda x, a, b: x[:, 1] * a.exp()), "add the shift"),
            (stepped(lambda x, a, b: x[:, 1] + b), "not scaled"),
            (stepped(lambda x, a, b: (x[:, 1] - b) / a.exp()), "the way back"),
            (stepped(lambda x, a, b: x[:, 0] * a.exp() + b), "take the second"),
            (stepped(lambda x, a, b: x[:, 1] * a.exp() - b), "added, not subtracted"),
            (stepped(lambda x, a, b: x[:, 1] / a.exp() + b), "divides by the scale"),
            (stepped(lambda x, a, b: x[:, 1] * a.exp() + b + 0.1), "the second becomes"),
            (stepped(log_determinant=lambda a, b: a.exp()), "return its logarithm"),
            (stepped(log_determinant=lambda a, b: -a), "the sign"),
            (stepped(log_determinant=lambda a, b: a + b), "changes no volume"),
            (stepped(log_determinant=lambda a, b: 2 * a), "only one of the two"),
            (stepped(log_determinant=lambda a, b: a.sum()), "a log-determinant of its own"),
            (stepped(log_determinant=lambda a, b: a + 1), "the diagonal's product"),
        ],
    ),
    notebook_06.log_density: (
        [undone(), by_distributions, lambda y, f: undone()(y, f).numpy()],
        [
            (undone(log_q=lambda base, a: base + a), "draws lie thinner"),
            (undone(log_q=lambda base, a: base), "subtract the log-determinant"),
            (undone(lambda y, a, b: y[:, 1]), "undo the step first"),
            (undone(lambda y, a, b: y[:, 1], lambda base, a: base), "the density before the step"),
            (undone(lambda y, a, b: y[:, 1] * a.exp() + b), "took the step once more"),
            (undone(lambda y, a, b: y[:, 1] * a.exp() + b, lambda base, a: base + a), "took the step once more"),
            (undone(lambda y, a, b: y[:, 1] * torch.exp(-a) - b), "the wrong order"),
            (undone(lambda y, a, b: (y[:, 1] - b) / a), "which is exp of the log-scale"),
            (undone(log_q=lambda base, a: base - a.exp()), "without exp"),
            (undone(log_q=lambda base, a: (base - a).exp()), "return its logarithm"),
            (undone(log_q=lambda base, a: (base - a).sum()), "one log-density a point"),
            (undone(log_q=lambda base, a: base - a + 0.2), "at z = (0.4, 1.1)"),
        ],
    ),
    notebook_06.passes: (
        [PASSES, {**PASSES, "density of q": 8 * 50.0}, {key: torch.tensor(n) for key, n in PASSES.items()}],
        [
            ([8, 400, 4, 200], "give a dictionary"),
            ({"draw from q": 8}, "an answer is missing: 'density of q'"),
            (dict(zip(PASSES, [400, 8, 200, 4], strict=True)), "all four are the wrong way round"),
            (dict(zip(PASSES, [8, 400, 200, 4], strict=True)), "the prior has the steps the other way round"),
            (dict(zip(PASSES, [400, 8, 4, 200], strict=True)), "q has the fast direction"),
            (dict(zip(PASSES, [8, 50, 4, 50], strict=True)), "multiply by the number of steps"),
            (dict(zip(PASSES, [8, 392, 4, 196], strict=True)), "a pass for the first number as well"),
            (dict(zip(PASSES, [1, 400, 4, 200], strict=True)), "one pass is for one step"),
            (dict(zip(PASSES, [8, 58, 4, 54], strict=True)), "on the slow way"),
            (dict(zip(PASSES, [8, 401, 4, 200], strict=True)), "'density of q' is not 401"),
        ],
    ),
    notebook_06.fewest_bits: (
        [
            lambda s: -math.log2(math.tanh(0.25 / s)),
            lambda s: -np.log2(logistic_area(0.5, s)),
            lambda s: -torch.log2(torch.sigmoid(torch.tensor(0.5 / s)) - torch.sigmoid(torch.tensor(-0.5 / s))),
        ],
        [
            (lambda s: logistic_area(0.5, s), "minus the base-2 logarithm"),
            (lambda s: -math.log(logistic_area(0.5, s)), "use math.log2"),
            (lambda s: math.log2(logistic_area(0.5, s)), "the sign"),
            (lambda s: -math.log2(logistic_area(1.0, s)), "two levels wide"),
            (lambda s: -math.log2(math.tanh(0.25 * s)), "divide by it"),
            (lambda s: -math.log2(special.expit(0.5 / s)), "up to the left one"),
            (lambda s: -math.log2(1 / (4 * s)), "the height of the density"),
            (lambda s: -math.log2(special.expit(1 / s) - 0.5), "your bin begins at the mean"),
            (lambda s: 5.0, "with a scale of 1.5 levels"),
        ],
    ),
    notebook_06.own_images: (
        [
            OWN,
            with_images(np.random.default_rng(1).integers(0, 256, (60, 9, 7, 3), dtype=np.uint8)),
            datasets.from_arrays(np.random.default_rng(2).integers(0, 2, (60, 8, 8)), np.zeros((2, 8, 8), int), 2),
        ],
        [
            ("my_pictures", "give the data set itself"),
            (with_images(np.random.default_rng(3).integers(0, 256, (20, 8, 8), dtype=np.uint8)), "are very few"),
            (
                with_images(np.random.default_rng(4).integers(0, 256, (60, 8, 200), dtype=np.uint8)),
                "scale them down",
            ),
            (with_images(np.full((60, 8, 8), 7, np.uint8)), "all the images are the same"),
        ],
    ),
}


# Their answers are no functions.
NO_FUNCTIONS = (
    notebook_02.mended, notebook_02.own_plan, notebook_03.predicted_gaps, notebook_03.shapes,
    notebook_04.too_good,
    notebook_05.five_colleagues, notebook_05.units_trap,
    notebook_06.own_images, notebook_06.passes,
)  # fmt: skip


def ask(check, answer) -> Verdict:
    return check(*answer) if isinstance(answer, tuple) else check(answer)


IDS = [check.__name__ for check in CASES]


def untouched(*_):
    """What it returns."""
    ...  # your code here


def begun(*args):
    """What it returns, from what the cell gives."""
    given = list(args)
    given.reverse()
    ...


def test_every_check_is_covered_by_three_right_answers_and_four_wrong_ones():
    offered = {getattr(module, name) for module in NOTEBOOKS for name in module.__all__}
    assert offered == set(CASES)
    assert [check.__name__ for check, (right, _) in CASES.items() if len(right) < 3] == []
    assert [check.__name__ for check, (_, wrong) in CASES.items() if len(wrong) < 4] == []


def test_every_check_is_used_in_its_notebook():
    for module in NOTEBOOKS:
        number = module.__name__[-2:]
        (source,) = (Path(__file__).parents[1] / "notebooks" / "source").glob(f"{number}_*.py")
        text = source.read_text(encoding="utf-8")
        assert [name for name in module.__all__ if f"check.{name}(" not in text] == []


@pytest.mark.parametrize("check", CASES, ids=IDS)
@pytest.mark.parametrize("stub", [None, ..., untouched, begun, lambda *_: ...], ids=["None", "...", "f", "g", "f..."])
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


# The learner's function, when it does not return anything


def printing(a, b):
    print(a + b - 1 / (1 / a + 1 / b))


def forgetful(a, b):
    found = a + b - 1 / (1 / a + 1 / b)  # noqa: F841


def test_a_function_that_prints_its_answer_is_told_to_return_it(capsys):
    verdict = notebook_01.mean_of_max(printing)
    assert verdict.status == "wrong"
    assert verdict.message == "your function prints something and returns nothing. End it with `return` and the answer."
    assert capsys.readouterr().out == "6.125\n"


def test_a_function_that_forgets_to_return_is_told_so_and_not_that_it_is_untouched():
    verdict = notebook_01.mean_of_max(forgetful)
    assert (verdict.status, verdict.message) == (
        "wrong",
        "your function, called with 5 and 3, returns nothing. End it with `return` and the answer.",
    )


def test_of_several_answers_those_that_are_missing_are_named():
    end = "fill in the rest of the cell above, run it, then run this one again."
    assert str(notebook_03.predicted_gaps(*gaps(wide=None))) == f"… not attempted: gap_wide is still None: {end}"
    verdict = notebook_03.shapes(*shapes(z=..., logits=None))
    assert verdict.message == f"z_shape is still ..., logits is still None: {end}"
    assert verdict.status == "not attempted"
    assert notebook_02.own_plan(HOUSE, 150, None).message.startswith("my_estimate is still None: ")


def test_a_function_may_print_and_return(capsys):
    verdict = notebook_01.mean_of_max(lambda a, b: [print("a is", a), a + b - 1 / (1 / a + 1 / b)][1])
    assert verdict.status == "right"
    assert capsys.readouterr().out == "a is 5.0\na is 2.0\n"


# ... or stops


def misspelt(a, b):
    return a + b - 1 / (1 / a + 1 / bb)  # noqa: F821


def too_early(a, b):
    total = total + a + b  # noqa: F821
    return total


def transposed(durations, p_means, q_means):
    log_p = -np.log(p_means) - durations.T / p_means
    return log_p.sum(axis=1)


def wrong_axis(durations, p_means, q_means):
    return stats.expon.logpdf(durations, scale=p_means[:2]).sum(axis=1)


@pytest.mark.parametrize(
    ("check", "answer", "message"),
    [
        pytest.param(
            notebook_01.mean_of_max,
            misspelt,
            "your function, called with 5 and 3, stopped at `return a + b - 1 / (1 / a + 1 / bb)  # noqa: F821`: "
            "name 'bb' is not defined. Is it misspelt, or was the cell that makes it not run?",
            id="name",
        ),
        pytest.param(
            notebook_01.mean_of_max,
            too_early,
            "stopped at `total = total + a + b  # noqa: F821`: cannot access local variable 'total' where it is "
            "not associated with a value (UnboundLocalError).",
            id="local name",
        ),
        pytest.param(
            notebook_01.mean_of_max,
            lambda a, b: a / (b - 3),
            "ZeroDivisionError",
            id="division",
        ),
        pytest.param(
            notebook_02.log_weights,
            transposed,
            "your function, called with an array of shape [6, 3], an array of shape [3] and an array of shape [3], "
            "stopped at `log_p = -np.log(p_means) - durations.T / p_means`: operands could not be broadcast together "
            "with shapes (3,6) (3,) (ValueError).",
            id="shapes",
        ),
        pytest.param(
            notebook_02.log_weights,
            wrong_axis,
            "stopped at `return stats.expon.logpdf(durations, scale=p_means[:2]).sum(axis=1)`: ",
            id="in a library",
        ),
        pytest.param(
            notebook_01.criticality,
            lambda task, n: fresh(n)[task],
            "your function, called with '9' and 100003, stopped at ",
            id="index",
        ),
        pytest.param(
            notebook_01.mean_of_max,
            lambda a: a,
            "the check calls your function with 2 arguments (5 and 3), but its parameters are (a). "
            "Give it those that the exercise had.",
            id="one parameter",
        ),
        pytest.param(
            notebook_01.upper_bound,
            lambda n, p: p,
            "the check calls your function with one argument (20), but its parameters are (n, p). "
            "Give it those that the exercise had.",
            id="two parameters",
        ),
        pytest.param(
            notebook_01.mean_of_max,
            functools.partial(lambda a, b: a / 0, 1),
            "the check calls your function with 2 arguments (5 and 3), but its parameters are (b).",
            id="partial",
        ),
        pytest.param(
            notebook_01.mean_of_max,
            eval("lambda a, b: a / 0"),
            "your function, called with 5 and 3, stopped: ",
            id="no source",
        ),
        pytest.param(
            notebook_01.mean_of_max,
            lambda a, b: torch.log(a),
            "must be Tensor, not float (TypeError). For a plain number use `math.log`.",
            id="tensor function",
        ),
        pytest.param(
            notebook_01.upper_bound,
            lambda n: torch.sqrt(n),
            "must be Tensor, not int (TypeError). For a plain number use `math.sqrt`.",
            id="tensor function of an int",
        ),
        pytest.param(
            notebook_05.upper_bound,
            lambda log_w, log_w_true: torch.cat([log_w_true, log_w[1:]]),
            "got 1 and 2 (RuntimeError). `t[None]` adds an axis in front of a tensor `t`.",
            id="axis missing",
        ),
        pytest.param(
            notebook_05.upper_bound,
            lambda log_w, log_w_true: torch.cat([log_w_true[0], log_w[0]]),
            "cannot be concatenated (RuntimeError). `t[None]` adds an axis in front of a tensor `t`.",
            id="no axis",
        ),
        pytest.param(
            notebook_01.mean_of_max,
            6.125,
            "give the check your function itself, by its name and without calling it.",
            id="called already",
        ),
        pytest.param(
            notebook_01.mean_of_max,
            lambda a, b: {"mean": a + b},
            "give numbers, please; yours is {'mean': 8.0}.",
            id="dictionary",
        ),
        pytest.param(
            notebook_01.mean_of_max,
            lambda a, b: lambda: a + b,
            "give numbers, please; yours is a function.",
            id="function",
        ),
        pytest.param(
            notebook_01.mean_of_max, lambda a, b: "six days", "give numbers, please; yours is 'six days'.", id="words"
        ),
    ],
)
def test_an_answer_that_stops_is_told_where_and_why(check, answer, message):
    verdict = check(answer)
    assert verdict.status == "wrong"
    assert message in verdict.message


def test_an_error_of_the_check_itself_is_reported_and_not_raised():
    @check
    def careless(answer):
        return right(answer.shape)

    assert careless("text").status == "wrong"
    assert careless("text").message == (
        "the check cannot read your answer. Is it of the kind that the cell above asks for? "
        "(It stopped with AttributeError: 'str' object has no attribute 'shape')"
    )


def test_numpy_gives_no_warning_inside_a_check():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert notebook_02.second_moment(lambda c: np.where(c > 0.5, c**2 / (2 * c - 1), np.inf)).status == "right"


# Chance


def test_exact_criticalities_are_those_of_simulated_projects():
    exact = np.array([notebook_01._criticality(task) for task in PLAN.tasks])
    found = PLAN.critical_tasks(fresh(200_000)).mean(axis=0)
    assert (np.abs(found - exact) <= 4.5 * np.sqrt(exact * (1 - exact) / 200_000) + 1e-12).all()


@pytest.mark.parametrize("n", [2_003, 100_003])
@pytest.mark.parametrize("chance", [1e-4, 5e-5])
def test_a_right_share_is_refused_no_oftener_than_it_may_be(n, chance):
    p = notebook_01._criticality("4")
    center, reach = n * p, 6 * math.sqrt(n * p * (1 - p))
    refused = [
        hits
        for hits in range(math.floor(center - reach), math.ceil(center + reach))
        if not notebook_01._may_be(hits / n, n, p, chance)
    ]
    # What lies beyond six standard deviations is left out, some 1e-9 of it.
    assert 0.3 * chance < stats.binom.pmf(refused, n, p).sum() <= chance - 1e-8


# Plans


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
    assert "no exact answer here; a short run of splitting says" in verdict.message


def test_a_deadline_that_is_no_number_is_not_taken_for_a_plan_too_large():
    verdict = notebook_02.own_plan(HOUSE, "150", HOUSE_ESTIMATE)
    assert (verdict.status, verdict.message) == ("wrong", "my_deadline must be a number of days; got '150'.")


def test_a_verdict_shows_as_text_and_html_without_letting_html_through():
    bundle = Verdict("wrong", "a < b")._repr_mimebundle_()
    assert bundle["text/plain"] == "✗ wrong: a < b"
    assert "a &lt; b" in bundle["text/html"]
    data = {"exercise": "", "number": 0, "status": "wrong", "message": "a < b"}
    assert bundle[VERDICT_MIME] == data


def test_a_verdict_says_to_programs_which_exercise_it_is_about():
    verdict = notebook_05.units_trap(None)
    data = verdict._repr_mimebundle_()[VERDICT_MIME]
    assert data == {
        "exercise": "05.units_trap",
        "number": 2,
        "status": "not attempted",
        "message": verdict.message,
    }
    every = [getattr(module, name) for module in NOTEBOOKS for name in module.__all__]
    assert len({check.exercise for check in every}) == len(every)
    assert all(check.number for check in every)


def test_only_a_right_answer_passes_where_errors_count():
    Verdict("right", "").assert_right()
    for status in ("wrong", "not attempted"):
        with pytest.raises(AssertionError, match=f"{status}: half is missing"):
            Verdict(status, "half is missing").assert_right()


def test_progress_counts_exercises_by_what_their_checks_said_last(monkeypatch):
    monkeypatch.setattr("course_lib.exercises.verdict._SAID", {})
    assert str(progress(notebook_05)) == "0 of 8 exercises right; not attempted: 1, 2, 3, 4, 5, 6, 7, 8"
    right, wrong = CASES[notebook_05.bits_per_dim][0][0], lambda *_: 0.5
    notebook_05.bits_per_dim(right)
    assert progress(notebook_05).right == ()  # exercise 2 has a second check
    ask(notebook_05.units_trap, CASES[notebook_05.units_trap][0][0])
    notebook_05.logistic_probabilities(wrong)
    found = progress(notebook_05)
    assert (found.right, found.wrong) == ((2,), (1,))
    assert str(found) == "1 of 8 exercises right; wrong: 1; not attempted: 3, 4, 5, 6, 7, 8"
    assert "<progress aria-hidden='true' max='8' value='1'>" in found._repr_mimebundle_()["text/html"]
    notebook_05.bits_per_dim(wrong)
    assert progress(notebook_05).right == ()


def test_the_bound_itself_is_a_right_loss_and_is_not_told_that_its_weights_were_held_fixed():
    for loss in (lambda p, q: -log_mean_exp(p - q).mean(), lambda p, q: -torch.logsumexp(p - q, 0).mean()):
        assert str(notebook_04.iwae_loss(loss)).startswith("✓ right: the same gradient, by autograd of the bound")
    assert "the weights themselves are held fixed" in notebook_04.iwae_loss(weighted_loss(normalized)).message


def test_a_hint_about_one_answer_is_given_only_if_it_explains_all():
    """Once, at c = 2 alone, this was taken for the variance of w."""
    verdict = notebook_02.second_moment(lambda c: 1 / (2 * c - 1) if c > 0.5 else math.inf)
    assert "that is the variance" not in verdict.message
