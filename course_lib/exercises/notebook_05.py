"""Checks for notebook 05, log p(x) of a deep VAE."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from course_lib.exercises.answers import explain, matches, number
from course_lib.exercises.tensors import tensor
from course_lib.exercises.verdict import Verdict, check, right, wrong
from course_lib.vae import iwae_bound

__all__ = [
    "bits_per_dim", "diluted", "divergence_from_encoder", "divergence_from_prior", "five_colleagues",
    "gaussian_from_gradients", "logistic_probabilities", "units_trap", "upper_bound",
]  # fmt: skip

_WORDS = ("right", "too high", "too low", "no number")
# By so much are log-weights lowered, to see whether an answer stays in log space: e^-120 is 0 in float32.
_FAR = 120.0


@check
def logistic_probabilities(answer: Callable[[float, float, int], Tensor]) -> Verdict:
    """Exercise 1: areas of a logistic density between the edges of the levels."""
    mean, scale, levels = 1.3, 0.8, 5
    level = torch.arange(levels, dtype=torch.float64)

    def bins(shift: float = 0.0, scale: float = scale, last: int = levels) -> Tensor:
        """Areas between edges that are ``shift`` too far right, of bins that are all closed."""
        edges = torch.arange(last + 1, dtype=torch.float64) - 0.5 + shift
        return torch.diff(torch.sigmoid((edges - mean) / scale))

    def opened(shift: float = 0.0, scale: float = scale) -> Tensor:
        inner = bins(shift, scale)[1:-1]
        first = torch.sigmoid((0.5 + shift - mean) / torch.tensor([scale], dtype=torch.float64))
        return torch.cat([first, inner, 1 - first - inner.sum()])

    expected = opened()
    got = tensor(answer(mean, scale, levels))
    first = "the first takes everything below its right edge"
    last = "the last everything above its left one"
    if matches(got, expected[:-1], 1e-4):
        wrong(f"for {levels} levels you return {len(got)}: one bin is missing, {last}.")
    if matches(got, expected[1:], 1e-4):
        wrong(f"for {levels} levels you return {len(got)}: one bin is missing, {first}.")
    if got.shape in ((levels - 1,), (levels - 2,)):
        wrong(f"for {levels} levels you return {len(got)}: besides the inner bins there are the two that are open.")
    if got.shape != (levels,):
        wrong(f"for {levels} levels I expected {levels} probabilities, shape [{levels}]; got shape {list(got.shape)}.")

    def equals(mistake: Tensor) -> bool:
        return matches(got, mistake, 1e-4)

    if equals(bins()):
        wrong(
            f"they sum to {float(got.sum()):.2f}. The first bin takes everything below it, and the last all above: "
            "no left edge and no right one."
        )
    if equals(bins() / bins().sum()):
        wrong("they sum to one because you divided by the sum. Give the tails to the first and the last bin instead.")
    if matches(got[1:-1], expected[1:-1], 1e-4) and not equals(expected):
        wrong_ends = [end for end, i in ((first, 0), (last, -1)) if not matches(got[i], expected[i], 1e-4)]
        wrong(f"the inner bins are right; {', '.join(wrong_ends)}.")
    if equals(expected.flip(0)):
        wrong("level 0 comes first; yours are the other way round.")
    if equals(expected.log()):
        wrong("those are their logarithms; return the probabilities.")
    if any(equals(each(shift)) for each in (bins, opened) for shift in (-0.5, 0.5)):
        wrong("your edges lie on the levels. Level i is the middle of its bin, from i - 1/2 to i + 1/2.")
    if any(equals(each(0.0, scale**2)) for each in (bins, opened)):
        wrong("divide by the scale itself, not by its square.")
    if any(equals(each(0.0, 1 / scale)) for each in (bins, opened)):
        wrong("that multiplies by the scale. A larger scale is a wider density: divide by it.")
    shares = [(level[:-1] + 0.5) / of for of in (levels - 1, levels)]
    if any(matches(got[1:-1], torch.diff(torch.sigmoid((share - mean) / scale)), 1e-4) for share in shares):
        wrong("your edges lie between 0 and 1. Mean and scale are in levels, and so are the edges: 0.5, 1.5, 2.5, ...")
    z = (level - mean) / scale
    if any(equals(torch.softmax(each, 0)) for each in (z, -z.abs(), -(z**2), -(z**2) / 2)):
        wrong(
            "that is a softmax of the distances from the mean. A bin has an area under the density: the difference of "
            "two sigmoids, at its edges."
        )
    height = torch.sigmoid(z)
    if equals(height * (1 - height) / scale):
        wrong("that is the height of the density at each level; a bin's probability is the area under it.")
    if equals(height * (1 - height)):
        wrong("that is the slope of the sigmoid at each level; a bin has the difference of two sigmoids, at its edges.")
    if any(equals(torch.sigmoid((level + edge - mean) / scale)) for edge in (-0.5, 0.0, 0.5)):
        wrong("those are the areas up to each level. A bin has the difference of two of them.")
    if bool((got < 0).any()):
        wrong(
            "some are negative. The area up to t is sigmoid((t - mean) / scale), which grows with t: the right edge's "
            "less the left edge's."
        )
    if not equals(expected):
        i = _furthest(got, expected)
        wrong(f"for mean 1.3 and scale 0.8, level {i} has {float(expected[i]):.4f}; yours has {float(got[i]):.4f}.")
    outside = tensor(answer(9.0, 2.0, 6))
    exact = 1 / (1 + math.exp(-(9.0 - 4.5) / 2))
    if outside.shape != (6,):
        wrong(f"right for 5 levels, but for 6 you return shape {list(outside.shape)}.")
    if not matches(outside[-1], exact, 1e-4):
        wrong(
            f"right for a mean among the levels. With a mean of 9 the last of 6 levels should take {exact:.3f}; "
            f"yours takes {float(outside[-1]):.3f}."
        )
    return right("they sum to one for any mean and scale: what one level gains, the others lose.")


@check
def bits_per_dim(answer: Callable[[float, int], Any]) -> Verdict:
    """Exercise 2: nats over log 2 and the number of dimensions, with a minus."""
    log2 = math.log(2)
    inputs = [(-70.0, 10), (-500.0, 192)]
    got = [number(answer(*args)) for args in inputs]
    no_log_of_n = "no logarithm of the dimensions: divide by their number, and by log 2, which makes bits of nats."
    if all(map(math.isnan, got)):
        wrong(
            "that is nan, as is log2 of a negative number. The nats are a logarithm already: make bits of them by "
            "dividing by log 2."
        )
    explain(
        got,
        inputs,
        [
            (lambda nats, n: nats / (n * log2), "the sign: log p(x) is negative, and the length of a code is not."),
            (
                lambda nats, n: -nats * log2 / n,
                "a bit is log 2 = 0.69 nats, so there are more bits than nats: divide by log 2.",
            ),
            (
                lambda nats, n: -nats / log2,
                "those are the bits of the whole image; divide by the number of dimensions.",
            ),
            (
                lambda nats, n: -nats / log2 * n,
                "that multiplies by the dimensions: divide by log 2, and by their number.",
            ),
            (lambda nats, n: -nats / n, "those are nats per dimension; divide by log 2 to have bits."),
            (lambda nats, n: -nats, "those are the nats of the whole image; divide by log 2 and by the dimensions."),
            (
                lambda nats, n: -nats / (n * math.log(10)),
                "that divides by log 10, which gives decimal digits. A bit is log 2.",
            ),
            (
                lambda nats, n: -nats / (n * math.log10(2)),
                "nats are natural logarithms: divide by math.log(2), not by log10.",
            ),
            (
                lambda nats, n: math.log2(-nats) / n,
                "another unit is a factor. The nats are a logarithm already: divide them by log 2.",
            ),
            (
                lambda nats, n: math.log2(-nats / n),
                "another unit is a factor. The nats are a logarithm already: divide them by log 2.",
            ),
            (lambda nats, n: -nats / math.log2(n), no_log_of_n),
            (lambda nats, n: -nats / (n * math.log2(n)), no_log_of_n),
            (lambda nats, n: -nats / math.log(n), no_log_of_n),
            (lambda nats, n: -nats / (n * 2), "a bit is log 2 nats, not 2: divide by math.log(2)."),
        ],
        tolerance=1e-5,
    )
    for (nats, n_dims), found in zip(inputs, got, strict=True):
        exact = -nats / (n_dims * log2)
        if not matches(found, exact, 1e-5):
            wrong(f"{nats:g} nats for {n_dims} dimensions are {exact:.4f} bits per dimension; yours is {found:.4f}.")
    return right("a per-dimension number compares images of any size, and uniform guessing of 256 levels costs 8.")


@check
def units_trap(answer: float) -> Verdict:
    """Exercise 2: the second row is in bits."""
    bits, bits_per_value, n_dims = -20437.0, 6.65, 32 * 32 * 3
    expected = bits * math.log(2)
    got = number(answer)

    def equals(mistake: float) -> bool:
        # As good as 0.69 for log 2 is.
        return matches(got, mistake, 6e-3)

    if any(equals(-87.08 * factor) for factor in (1, math.log(2), 1 / math.log(2))):
        wrong("that row is in nats already: 87.08 / (784 log 2) = 0.16. Try the other one.")
    if equals(bits):
        wrong("that is the printed number. Which row gives its bits per value without any log 2?")
    if equals(-expected):
        wrong("the size is right, but the log of a probability is negative.")
    if equals(bits / math.log(2)):
        wrong("a bit is 0.69 nats, so there are fewer nats than bits: multiply by log 2.")
    if any(equals(sign * bits_per_value * factor) for sign in (1, -1) for factor in (1, math.log(2), 1 / math.log(2))):
        wrong("that is for each dimension; give log p(x) of the whole image.")
    if any(equals(bits * factor) for factor in (math.log10(2), math.log(10), 1 / math.log(10))):
        wrong("no base 10 here: the printed number is a base-2 logarithm, and nats are natural ones.")
    if not equals(expected):
        wrong(
            f"one row's number divided by its values is already its bits per value: 20437 / {n_dims} = 6.65. "
            f"So it counts bits; how many nats is a bit? Not {abs(got / bits):.3g}."
        )
    return right(
        "read as nats it would be 9.6 bits per value, worse than the 8 of uniform guessing: so check the units."
    )


@check
def five_colleagues(answer: Mapping[str, str]) -> Verdict:
    """Exercise 3: four ways to get log p(x) wrong, and one to get it right."""
    verdicts_and_hints = {
        "Ada": (
            "no number",
            "e^-120 is about 10^-52, and float32 has nothing between 0 and 10^-45. What is the log of a mean of zeros?",
        ),
        "Ben": ("too low", "the mean of the logs is the ELBO. On which side of log p(x) does Jensen put it?"),
        "Chen": ("too high", "that is the log of the sum of 5,000 weights. The log of their mean differs by log K."),
        "Dee": ("too high", "every log-weight near -120 is lifted to -88 first. (And logsumexp had no need of it.)"),
        "Eve": ("right", "logsumexp never leaves log space, and a sum divided by K is a mean. What would you change?"),
    }
    if not isinstance(answer, Mapping):
        wrong('give a dictionary with five names, like {"Ada": "right", "Ben": ..., ...}.')
    said = {str(name).strip().capitalize(): word for name, word in answer.items()}
    missing = [name for name in verdicts_and_hints if said.get(name) in (None, ...)]
    if missing:
        wrong(f"{missing[0]} is missing: say one of {', '.join(map(repr, _WORDS))}.")
    words = {name: str(said[name]).strip().lower().replace("_", " ").replace("-", " ") for name in verdicts_and_hints}
    for name, word in words.items():
        if word not in _WORDS:
            wrong(f"{name} should be one of {', '.join(map(repr, _WORDS))}; it is {said[name]!r}.")
    for name, (verdict, hint) in verdicts_and_hints.items():
        if words[name] != verdict:
            wrong(f"{name} is not {words[name]!r}: {hint}")
    return right("only Ada notices. Ben, Chen and Dee get a number, so try code where log p(x) is known exactly.")


@check
def divergence_from_prior(answer: Callable[[Tensor, Tensor], Tensor]) -> Verdict:
    """Exercise 4: the weighted mean of log p(x|z), less log p(x)."""
    log_w = torch.tensor([-4.1, -2.3, -3.2, -5.0, -2.9, -3.7], dtype=torch.float64)
    log_c = torch.tensor([-1.9, -0.4, -1.6, -2.5, -0.3, -1.2], dtype=torch.float64)
    k = len(log_w)
    weight = torch.softmax(log_w, 0)
    average, log_p_x = (weight * log_c).sum(), iwae_bound(log_w)
    expected = average - log_p_x
    got = tensor(answer(log_w.clone(), log_c.clone()))
    if got.numel() != 1:
        wrong(f"one number, please: sum over the {k} draws; got shape {list(got.shape)}.")
    got = got.reshape(())

    def equals(*mistakes: Tensor) -> bool:
        return any(matches(got, mistake, 1e-5) for mistake in mistakes)

    if equals(-expected):
        wrong("the sign: the expectation of log p(x|z), less log p(x). A divergence is never negative.")
    if equals(log_c.mean() - log_p_x):
        wrong("that is the plain mean of log p(x|z), under q. Under the posterior, each draw counts by its weight.")
    if equals(log_c.mean() - log_w.mean()):
        wrong("both means are plain. Weigh log p(x|z) by the normalized weights, and use log-mean-exp for log p(x).")
    if equals(average - log_w.mean()):
        wrong("the mean of the log-weights is the ELBO, which is below log p(x): use log-mean-exp.")
    if equals(average):
        wrong("that is the first term, the posterior's mean of log p(x|z). Subtract log p(x).")
    if equals(average + log_p_x):
        wrong("log p(x) is subtracted, not added.")
    if equals(average - torch.logsumexp(log_w, 0)):
        wrong("the log of the sum of the weights is not log p(x): subtract log K from it.")
    if equals(average - torch.logsumexp(log_w, 0) - math.log(k)):
        wrong("the mean is smaller than the sum: log p(x) is logsumexp less log K, not plus.")
    if equals((log_w * log_c).sum() - log_p_x, (log_w * log_c).mean() - log_p_x):
        wrong("log_w are logarithms. The weights are their exp, and sum to one after softmax.")
    unnormalized = log_w.exp() * log_c
    if equals(unnormalized.sum() - log_p_x, unnormalized.mean() - log_p_x):
        wrong("your weights do not sum to one: divide them by their sum, as softmax does.")
    if equals((weight * log_c).mean() - log_p_x):
        wrong("the normalized weights sum to one already: sum the products, do not average them.")
    if equals((torch.softmax(log_c, 0) * log_c).sum() - log_p_x):
        wrong("you weigh by p(x|z). The draws come from q, so their weight is p(x, z) / q(z|x): that is log_w.")
    if equals((weight * log_w).sum() - log_p_x):
        wrong("with log_w in the average it is the divergence from q. Average log p(x|z) for that from the prior.")
    if equals(torch.logsumexp(log_w.log_softmax(0) + log_c, 0) - log_p_x):
        wrong("that averages p(x|z) and then takes the log. Here the logs are averaged.")
    if equals(expected / math.log(10), average - torch.logsumexp(log_w, 0) + math.log10(k)):
        wrong("nats are natural logarithms: no log10.")
    if equals(expected / math.log(2)):
        wrong("that is in bits; give nats.")
    if not equals(expected):
        wrong(f"for my six draws it is {float(expected):.4f} nats; yours is {float(got):.4f}.")
    far = tensor(answer((log_w - _FAR).float(), (log_c - _FAR).float())).reshape(())
    _check_far(far, expected, tolerance=1e-3)
    return right("e to this power is about how many draws the prior would need, and you know it without making them.")


@check
def gaussian_from_gradients(answer: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Verdict:
    """Exercise 5: minus the inverse of the slopes, and where the line is zero."""
    mean = torch.tensor([0.7, -0.4], dtype=torch.float64)
    covariance = torch.tensor([[0.5, 0.3], [0.3, 0.8]], dtype=torch.float64)
    precision = torch.linalg.inv(covariance)
    z = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.5], [0.3, -1.2], [1.4, 0.9]], dtype=torch.float64)
    gradient = -(z - mean) @ precision
    got = answer(z.clone(), gradient.clone())
    # A tensor of two rows is one matrix.
    if not isinstance(got, Sequence) or len(got) != 2:
        wrong("return two, the mean and the covariance: `return mean, covariance`.")
    found_mean, found_covariance = (tensor(each) for each in got)
    if found_mean.shape == (2, 2) and found_covariance.numel() == 2:
        wrong("the mean comes first, then the covariance.")
    if found_covariance.shape != (2, 2):
        wrong(f"in two dimensions a covariance is [2, 2]; yours has shape {list(found_covariance.shape)}.")
    if matches(found_covariance, precision, 1e-5):
        wrong("that is the precision, which is what the slopes give. The covariance is its inverse.")
    if matches(found_covariance, -precision, 1e-5) or matches(found_covariance, -covariance, 1e-5):
        wrong("the sign: the slopes are *minus* the precision. A variance is never negative.")
    if matches(found_covariance, covariance / 2, 1e-5) or matches(found_covariance, 2 * covariance, 1e-5):
        wrong("a factor of two: the average of two matrices is half their sum.")
    if matches(found_covariance, covariance.sqrt(), 1e-5) or matches(
        found_covariance, torch.linalg.cholesky(covariance), 1e-5
    ):
        wrong("that is a root of the covariance. A covariance has variances on its diagonal: no root.")
    if matches(found_covariance, 1 / precision, 1e-5):
        wrong("one over each number is not the inverse of a matrix: torch.linalg.inv.")
    if matches(found_covariance, torch.cov(z.T), 1e-5) or matches(found_covariance, torch.cov(z.T, correction=0), 1e-5):
        wrong("that is the covariance of the draws, which knows nothing of the gradients: use the slopes.")
    if matches(found_covariance, torch.diag(1 / precision.diagonal()), 1e-5):
        wrong("that is one over each slope on the diagonal, and misses that the Gaussian leans: invert the matrix.")
    if not matches(found_covariance, covariance, 1e-5):
        want, found = covariance.tolist(), [[round(one, 4) for one in row] for row in found_covariance.tolist()]
        wrong(f"for gradients of a Gaussian with covariance {want} yours is {found}.")
    if found_mean.numel() != 2:
        wrong(f"in two dimensions a mean is [2]; yours has shape {list(found_mean.shape)}.")
    found_mean = found_mean.reshape(2)
    if matches(found_mean, precision @ mean, 1e-5):
        wrong("the covariance is right; that mean is the intercept, which is the precision times the mean.")
    if any(matches(found_mean, sign * precision @ precision @ mean, 1e-5) for sign in (1, -1)):
        wrong("the covariance is right; multiply the intercept by it, the inverse, and not by the slopes.")
    if matches(found_mean, -mean, 1e-5):
        wrong("the covariance is right; the mean has the wrong sign: where is the line zero?")
    if matches(found_mean, z.mean(0), 1e-5):
        wrong("the covariance is right; that mean is the average of the draws, which knows nothing of the gradients.")
    if not matches(found_mean, mean, 1e-5):
        want, found = mean.tolist(), [round(one, 4) for one in found_mean.tolist()]
        wrong(f"the covariance is right; the mean of my Gaussian is {want}, and yours {found}.")
    # Gradients that no Gaussian has: the slopes of their line are not symmetric.
    _, bent = answer(z.clone(), (gradient + 0.3 * z.flip(1) * z.abs()).clone())
    bent = tensor(bent)
    if not matches(bent, bent.T, 1e-6):
        wrong("right for a Gaussian. For others yours is not symmetric: average the slopes and their transpose.")
    return right("a line through gradients is a Gaussian, and where the posterior is one, the posterior itself.")


@check
def divergence_from_encoder(answer: Callable[[Tensor, Tensor], Tensor]) -> Verdict:
    """Exercise 6: the mean of the encoder's log-weights under the posterior, less log p(x)."""
    log_w = torch.tensor([-4.1, -3.6, -3.9, -4.4, -3.7, -4.0], dtype=torch.float64)
    log_e = torch.tensor([-1.9, 0.4, -2.6, -3.5, 1.3, -2.2], dtype=torch.float64)
    k = len(log_w)
    weight = torch.softmax(log_w, 0)
    average, log_p_x = (weight * log_e).sum(), iwae_bound(log_w)
    expected = average - log_p_x
    got = tensor(answer(log_w.clone(), log_e.clone()))
    if got.numel() != 1:
        wrong(f"one number, please: sum over the {k} draws; got shape {list(got.shape)}.")
    got = got.reshape(())

    def equals(*mistakes: Tensor) -> bool:
        return any(matches(got, mistake, 1e-5) for mistake in mistakes)

    if equals(-expected):
        wrong("the sign: the average of the encoder's log-weights, less log p(x). A divergence is never negative.")
    if equals(expected.exp()):
        wrong("that is the number of draws. Return the divergence, of which it is the exponential.")
    if equals(log_e.mean() - log_p_x):
        wrong("a plain mean over the fit's draws is not yet one over the posterior: weigh each by its weight.")
    by_encoder = torch.softmax(log_e, 0)
    if equals(
        *((by_encoder * each).sum() - level for each in (log_e, log_w) for level in (log_p_x, iwae_bound(log_e), 0.0)),
        (by_encoder * (log_e - log_w)).sum(),
        (by_encoder * (log_w - log_e)).sum(),
    ):
        wrong("these draws came from the fit: weigh them by log_w, not by log_w_encoder.")
    if equals((weight * (log_w - log_e)).sum(), (weight * (log_e - log_w)).sum()):
        wrong("log_w contains the fit's density: from log_w_encoder subtract log p(x), not log_w.")
    if equals((weight * log_w).sum() - log_p_x):
        wrong("that is the divergence of the posterior from the fit: average log_w_encoder.")
    if equals(average - iwae_bound(log_e)):
        wrong("log p(x) is the log-mean-exp of log_w: only those are weights of draws from their own proposal.")
    if equals(average - log_w.mean()):
        wrong("the mean of the log-weights is the ELBO, which is below log p(x): use log-mean-exp.")
    if equals(average):
        wrong("that is the average of the encoder's log-weights, an upper bound on log p(x). Subtract log p(x).")
    if equals(average - torch.logsumexp(log_w, 0)):
        wrong("the log of the sum of the weights is not log p(x): subtract log K from it.")
    if equals((weight * log_e).mean() - log_p_x):
        wrong("the normalized weights sum to one already: sum the products, do not average them.")
    if not equals(expected):
        wrong(f"for my six draws it is {float(expected):.4f} nats; yours is {float(got):.4f}.")
    far = tensor(answer((log_w - _FAR).float(), (log_e - _FAR).float())).reshape(())
    _check_far(far, expected, tolerance=1e-3)
    return right("training makes the other divergence small, and this one decides how many draws the encoder needs.")


@check
def upper_bound(answer: Callable[[Tensor, Tensor], Tensor]) -> Verdict:
    """Exercise 7: log-mean-exp, with the true z in the place of one draw."""
    log_w = torch.tensor(
        [[-2.1, -3.0, -1.2], [-1.4, -2.2, -3.1], [-3.3, -1.6, -2.4], [-2.6, -2.8, -1.9]], dtype=torch.float64
    )
    log_w_true = torch.tensor([-1.0, -1.3, -0.8], dtype=torch.float64)
    k, batch = log_w.shape

    def with_true_in(place: Tensor) -> Tensor:
        """Log-weights where the true z has the ``place`` [batch] of one draw."""
        return log_w.scatter(0, place[None], log_w_true[None])

    # Any one draw may make room, as long as its weight has no say in it.
    sets = [with_true_in(torch.full((batch,), place)) for place in range(k)]
    added = torch.cat([log_w, log_w_true[None]])
    given = log_w.clone(), log_w_true.clone()
    got = tensor(answer(*given))
    if got.shape == (k,) or got.shape == (k + 1,):
        wrong("samples come first: average over axis 0, and one bound is left for each image.")
    if got.shape != (batch,):
        wrong(f"for log-weights [{k}, {batch}] I expected one bound for each image, [{batch}]; got {list(got.shape)}.")

    def equals(*mistakes: Tensor) -> bool:
        return any(matches(got, mistake, 1e-5) for mistake in mistakes)

    if equals(iwae_bound(log_w)):
        wrong("that is the lower bound: the true z is not in it.")
    if equals(log_w_true):
        if not matches(tensor(answer(log_w.clone(), log_w_true - 10)), log_w_true - 10, 1e-5):
            wrong("the larger of the two is no mean: put the true z among the draws, and average all k weights.")
        wrong("that is the upper bound for k = 1. Average it with the weights of k - 1 draws: the bound gets tighter.")
    if equals(iwae_bound(added)):
        wrong(
            "an upper bound, and a good one, but of k + 1 draws. The lower bound beside it has k: let the true z take "
            "the place of one draw."
        )
    if equals(torch.logsumexp(added, 0) - math.log(k)):
        wrong("you sum k + 1 weights and divide by k: let the true z take the place of one draw.")
    together = torch.logaddexp(iwae_bound(log_w), log_w_true)
    if equals(together, together - math.log(2)):
        wrong(
            "that counts the true z as much as all k draws together. It is one among k: put it in the place of a draw, "
            "then average."
        )
    if equals(torch.logsumexp(added, 0), *[torch.logsumexp(each, 0) for each in sets]):
        wrong("the log of the sum is not the log of the mean: subtract log k.")
    if equals(added.mean(0), *[each.mean(0) for each in sets]):
        wrong("that is the mean of the logs, which may lie on either side. Take the log of the mean weight.")
    if equals(*[iwae_bound(each).exp() for each in sets]):
        wrong("that is the mean weight itself; return its logarithm.")
    if equals(*[iwae_bound(with_true_in(chosen)) for chosen in (log_w.argmin(0), log_w.argmax(0))]):
        wrong("any draw may make room, but not one chosen by its weight: the draws that stay must be plain draws of q.")
    bounds = torch.stack([iwae_bound(each) for each in sets])

    def closest_to(found: Tensor) -> Tensor:
        """For each image, the bound with the true z in that place which comes closest."""
        place = (bounds - found).abs().nan_to_num(math.inf).argmin(0)
        return bounds.gather(0, place[None])[0]

    expected = closest_to(got)
    if not equals(expected):
        i = _furthest(got, expected)
        wrong(f"the bound of image {i} is {float(expected[i]):.4f}; yours is {float(got[i]):.4f}.")
    if not torch.equal(given[0], log_w):
        wrong("the bound is right, but your function writes into the log-weights it was given: copy them first.")
    far = tensor(answer((log_w - _FAR).float(), (log_w_true - _FAR).float()))
    _check_far(far, closest_to(far + _FAR) - _FAR)
    return right("one exact draw among k turns a lower bound into an upper one: log p(x) is between them, on average.")


@check
def diluted(answer: Callable[[Tensor, float, int], Tensor]) -> Verdict:
    """Exercise 8: a model that mostly draws snow."""
    log_p = torch.tensor([-4.2, -7.5, -8.1], dtype=torch.float64)
    share, n_pixels = 0.2, 10
    flips = torch.full_like(log_p, -n_pixels * math.log(2))
    got = tensor(answer(log_p.clone(), share, n_pixels))
    if got.shape != log_p.shape:
        wrong(f"one log-probability for each image, shape {list(log_p.shape)}; got {list(got.shape)}.")
    other_flips = {
        -math.log(2): "that is one coin flip. An image takes one for each pixel, and their log-probabilities add up.",
        n_pixels * math.log(2): "the sign: a fair coin has log-probability -log 2 for each pixel.",
        -float(n_pixels): "that counts a flip as 1, which is in bits. In nats it is -log 2.",
        -n_pixels * math.log10(2): "nats are natural logarithms: math.log(2), not log10.",
        -0.5 * n_pixels: "0.5 is the probability of a flip; what adds up over pixels is its logarithm, -log 2.",
        math.log(0.5 * n_pixels): "probabilities of independent pixels multiply, so it is their logs that you add.",
        0.0: "the coin flips have a probability too, 2^-n_pixels for each image.",
    }
    for log_flips, hint in other_flips.items():
        if matches(got, _mixed(torch.full_like(log_p, log_flips), log_p, share), 1e-5):
            wrong(hint)
    expected = _mixed(flips, log_p, share)
    log_share, log_rest = math.log(share), math.log1p(-share)

    def equals(*mistakes: Tensor) -> bool:
        return any(matches(got, mistake, 1e-5) for mistake in mistakes)

    if equals((1 - share) * flips + share * log_p):
        wrong("that mixes the logs. A mixture adds probabilities: use torch.logaddexp.")
    if equals(torch.logaddexp((1 - share) * flips, share * log_p)):
        wrong("a share multiplies a probability, so its logarithm is added to the log-probability.")
    if equals(_mixed(flips, log_p, 1 - share)):
        wrong("the shares are swapped: `share` is that of the model.")
    if equals(torch.logaddexp(flips, log_p)):
        wrong("neither has its share, so it is no probability: the shares sum to one.")
    if equals(torch.logaddexp(flips, log_p) - math.log(2)):
        wrong("that is half of each; the model has `share`.")
    if equals(torch.logaddexp(flips + log_rest, log_p)):
        wrong("the factor `share` of the model is missing: add math.log(share).")
    if equals(torch.logaddexp(flips, log_p + log_share)):
        wrong("the factor 1 - share of the coin flips is missing: add math.log(1 - share).")
    if equals(flips + log_rest + log_p + log_share):
        wrong("that is the log of a product. A mixture is a sum: use torch.logaddexp.")
    if equals(torch.maximum(flips + log_rest, log_p + log_share)):
        wrong("the larger of the two is not their sum: use torch.logaddexp.")
    if equals(log_p + log_share):
        # Beside a model that has next to none of the probability, any number of flips shows.
        beside_nothing = tensor(answer(log_p - 1e4, share, n_pixels))
        if matches(beside_nothing, torch.full_like(log_p, -784 * math.log(2) + log_rest), 1e-5):
            wrong("that is for images of 784 pixels: use the argument n_pixels, which is 10 in my test.")
        wrong("that is the model alone. The sum has a second term, 1 - share times that of the coin flips.")
    if equals(flips + log_rest):
        wrong("that is the coin flips alone. The sum has a second term, `share` times that of the model.")
    if equals(expected.exp()):
        wrong("that is the probability itself; return its logarithm.")
    if not equals(expected):
        i = _furthest(got, expected)
        wrong(
            f"with {float(flips[i]):.2f} from the coin flips, {float(log_p[i]):.2f} from the model and a share of "
            f"{share}, it is {float(expected[i]):.4f}; yours is {float(got[i]):.4f}."
        )
    # 173 flips are -119.9 nats.
    far = tensor(answer((log_p - _FAR).float(), share, 173))
    _check_far(far, _mixed(torch.full_like(log_p, -173 * math.log(2)), log_p - _FAR, share))
    return right(
        "the loss is at most -log(share), 4.6 nats for one image in a hundred: samples and log p(x) tell different "
        "things about a model."
    )


def _check_far(got: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    """End the check unless an answer that was right near 1 is right near e^-120 as well, in float32."""
    if not matches(got, expected, tolerance):
        i = _furthest(got, expected)
        found, want = float(got.flatten()[i]), float(expected.flatten()[i])
        wrong(
            f"right for values near 1, but at e^-120, which float32 rounds to 0, it gives {found:.2f} instead of "
            f"{want:.2f}. Stay in log space: logsumexp and logaddexp take the largest out before exp."
        )


def _furthest(got: Tensor, expected: Tensor) -> int:
    """Where the two differ most, for the hint to show."""
    return int((got - expected).abs().flatten().argmax())


def _mixed(log_first: Tensor, log_second: Tensor, share: float) -> Tensor:
    """Log of (1 - share) first + share second."""
    return torch.logaddexp(log_first + math.log1p(-share), log_second + math.log(share))
