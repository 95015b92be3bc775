"""Checks for notebook 04, importance-weighted autoencoders."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from course_lib.estimates import Estimate
from course_lib.exercises.answers import array, matches, number, pair
from course_lib.exercises.tensors import tensor
from course_lib.exercises.verdict import Verdict, check, right, stops, wrong
from course_lib.vae import LinearGaussianVAE
from course_lib.vae.bounds import iwae_bound as log_mean_exp

__all__ = ["debiased", "hybrid", "iwae_bound", "iwae_loss", "paired", "signal_to_noise", "too_good"]


@check
def iwae_bound(answer: Callable[[Tensor], Tensor]) -> Verdict:
    """Exercise 1: logsumexp - log k."""
    draws = torch.Generator().manual_seed(0)
    log_w = torch.randn((4, 3), generator=draws, dtype=torch.float64) - 2
    k, batch = log_w.shape
    expected = log_mean_exp(log_w)
    largest = log_w.max(0).values
    got = tensor(answer(log_w.clone()))
    if got.shape == (k,):
        wrong("one number for each sample is left. Samples come first: average over axis 0.")
    if got.shape != (batch,):
        wrong(f"for log-weights [{k}, {batch}] I expected one bound for each image, [{batch}]; got {list(got.shape)}.")
    _name_mistake(
        got,
        [
            (
                log_w.mean(0),
                "that is the mean of the logs, the ELBO. Average the weights first and take the log of that.",
            ),
            (largest, "that is the largest log-weight alone; the other weights count in the mean too."),
            (largest - math.log(k), "that counts the largest weight alone; the other weights count in the mean too."),
            (expected + math.log(k), "that is the log of the sum. The log of the mean is lower by log k."),
            (expected + 2 * math.log(k), "a mean is smaller than a sum: log k is subtracted, not added."),
            (
                expected + math.log(k) - math.log(batch),
                "the mean is over the samples: subtract the log of k, not of the batch.",
            ),
            (expected + math.log(k) - math.log10(k), "nats are natural logarithms: math.log(k), not log10."),
            (expected + math.log(k) - math.log2(k), "nats are natural logarithms: math.log(k), not log2."),
            (
                (expected + math.log(k)) / k,
                "dividing the weights by k takes log k from the logarithm; it does not divide it.",
            ),
            (expected + math.log(k) - k, "dividing the weights by k takes log k from the logarithm, not k."),
            (expected - largest, "the largest log-weight was taken out and not added back: add it after the log."),
            (expected - log_w.max(), "the largest log-weight was taken out and not added back: add it after the log."),
            (expected - 2 * largest, "the largest log-weight was taken out twice: add it back after the log."),
            (expected - largest + largest.exp(), "what is added back is the largest log-weight, not its exp."),
            (expected.exp(), "that is the mean weight itself; return its logarithm."),
            (-expected, "the sign: the bound itself, not the loss."),
        ],
    )
    if not matches(got, expected, 1e-5):
        wrong(f"the bound of my first image is {float(expected[0]):.4f}; yours is {float(got[0]):.4f}.")
    _check_any_size(answer, log_w, expected)
    other = torch.cat([log_w, log_w + 1])[:, :2]
    got = tensor(answer(other.clone()))
    if not matches(got, log_mean_exp(other), 1e-5):
        wrong(f"right for {k} samples of {batch} images, but not for {len(other)} of 2: take k from the log-weights.")
    return right("the log of the mean, at any size of the weights.")


@check
def too_good(answer: Any) -> Verdict:
    """Exercise 2: the missing - log K."""
    reported, k = -78.2, 5_000
    expected = reported - math.log(k)
    got = number(answer)
    _name_mistake(
        got,
        [
            (reported, "that is what was printed. It is the log of a sum of 5,000 weights, not of their mean."),
            (reported + math.log(k), "the sum is larger than the mean, so the correction goes down: subtract log K."),
            (reported / k, "the weights are divided by K, so their logarithm loses log K."),
            (reported - k, "the weights are divided by K, so their logarithm loses log K."),
            (reported - math.log10(k), "nats are natural logarithms: subtract math.log(5000)."),
            (reported - math.log2(k), "nats are natural logarithms: subtract math.log(5000)."),
            (reported - math.log(k) / 2, "half of log K is for a square root. The mean is the sum over K itself."),
            (-expected, "the size is right, but the log of a probability is negative."),
        ],
        tolerance=1e-3,
    )
    if not matches(got, expected, 1e-3):
        # As good as 8.5 is.
        if abs(abs(got) - math.log(k)) < 0.06:
            wrong(f"that is the correction: {'add it to' if got < 0 else 'subtract it from'} -78.2.")
        if abs(got - expected) < 0.5:
            wrong(f"{got:g} is close. Give one decimal.")
        wrong(
            "a sum of K weights is K times their mean. How much is that on a log scale? "
            f"You changed -78.2 by {got - reported:.2f}."
        )
    return right("8.5 nats, more than separates a two-layer network from the best models there are.")


@check
def debiased(answer: Callable[[Any, Any], Any]) -> Verdict:
    """Exercise 3: the combination of two bounds whose 1/k terms cancel."""
    bound_k = torch.tensor([-10.0, -8.3, -12.1], dtype=torch.float64)
    bound_2k = torch.tensor([-9.6, -8.2, -11.2], dtype=torch.float64)
    expected = 2 * bound_2k - bound_k
    combine = answer
    if stops(answer, bound_k.clone(), bound_2k.clone()) and not stops(answer, -10.0, -9.6):

        def combine(bound_k: Tensor, bound_2k: Tensor) -> list[float]:
            """Image by image, for a function of two numbers, such as one that ends in float(...)."""
            return [number(answer(*both)) for both in zip(bound_k.tolist(), bound_2k.tolist(), strict=True)]

    got = tensor(combine(bound_k.clone(), bound_2k.clone()))
    if got.shape != expected.shape:
        wrong(f"one number for each image, please: shape {list(expected.shape)}, not {list(got.shape)}.")
    root = math.sqrt(2)
    _name_mistake(
        got,
        [
            (bound_k, "that is the looser of the two bounds, as it was. Its gap is twice that of the other: use that."),
            (
                bound_2k,
                "that is the tighter of the two bounds, as it was. Its gap is half that of the other: use that.",
            ),
            ((bound_k + bound_2k) / 2, "the average lies between the two bounds, and log p(x) above them both."),
            (bound_2k - bound_k, "that is the difference, about the gap that L_2k still has. What is log p(x), then?"),
            (
                bound_k - bound_2k,
                "that is the difference, about minus the gap that L_2k still has. What is log p(x), then?",
            ),
            (2 * bound_k - bound_2k, "that is the wrong way round: it goes down from L_k, and log p(x) is above L_2k."),
            ((4 * bound_2k - bound_k) / 3, "that cancels a term that falls like 1/k^2. The gap falls like 1/k."),
            (
                (root * bound_2k - bound_k) / (root - 1),
                "that cancels a term that falls like 1/sqrt(k). The gap falls like 1/k.",
            ),
            (
                torch.log(2 * bound_2k.exp() - bound_k.exp()),
                "it is the bounds, in nats, whose gaps fall like 1/k, not their exp.",
            ),
        ],
    )
    if not matches(got, expected, 1e-5):
        if bool(got.isfinite().all()):
            _judge_weights(torch.stack([bound_k, bound_2k], 1), got)
        wrong(
            f"of gaps 0.8 and 0.4 below -9.2, so of -10 and -9.6, it should make -9.2; yours makes {float(got[0]):.2f}."
        )
    if not matches(tensor(combine(bound_k[:1] + 7, bound_2k[:1] + 7.1)), [-2.0], 1e-5):
        wrong("right for my first three images, but of one with bounds -3.0 and -2.5 it should make -2.0.")
    # Half again as wide as the posterior and beside it, as in the notebook.
    model = LinearGaussianVAE.random(data_dim=8, latent_dim=2, seed=0).requires_grad_(False)
    model.encoder.bias.add_(0.3)
    model.log_std.add_(math.log(1.5))
    x = model.simulate(100, seed=1)
    log_w = model.log_weights(x, 10_000, torch.Generator().manual_seed(0)).reshape(1_000, 2, 5, 100)
    five, ten = log_mean_exp(log_w.movedim(2, 0)).mean(1), log_mean_exp(log_w.flatten(1, 2).movedim(1, 0))
    combined = tensor(combine(five.flatten(), ten.flatten())).reshape(ten.shape)
    exact = model.exact_log_likelihood(x)
    gaps = [Estimate.from_values((exact - bound).mean(1)) for bound in (five, ten, combined)]
    return right(
        f"on the model of this notebook the gap of L_5 is {gaps[0].rounded} nats, that of L_10 {gaps[1].rounded}, and "
        f"that of your combination {gaps[2].rounded}, with {gaps[2].std_error / gaps[1].std_error:.2f} times the noise "
        "of L_10. What is left falls like 1/k^2. The price: a negative gap is above log p(x), so this is no bound."
    )


def _judge_weights(bounds: Tensor, got: Tensor) -> None:
    """End the check if ``got`` is a weighted sum of the two columns of ``bounds``, with what its weights do."""
    solution = torch.linalg.lstsq(bounds, got[:, None]).solution
    if not torch.allclose(bounds @ solution, got[:, None], rtol=1e-6):
        return
    first, second = (round(weight, 6) + 0.0 for weight in solution[:, 0].tolist())
    yours = f"you take {first:.3g} L_k and {second:.3g} L_2k"
    if abs(first + second - 1) > 1e-4:
        wrong(f"{yours}. Without any gap that would be {first + second:.3g} log p(x): the two factors must sum to one.")
    wrong(f"{yours}. If L_k lacks c/k and L_2k half of it, then yours still lacks {first + second / 2:.3g} c/k.")


@check
def iwae_loss(answer: Callable[[Tensor, Tensor], Tensor]) -> Verdict:
    """Exercise 4: weights by softmax of the log-weights, detached."""
    draws = torch.Generator().manual_seed(0)
    log_p = 2 * torch.randn((5, 3), generator=draws, dtype=torch.float64)
    log_q = torch.randn((5, 3), generator=draws, dtype=torch.float64)
    k, batch = log_p.shape

    def gradient(loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """With respect to log_p and to log_q, one below the other."""
        p, q = log_p.clone().requires_grad_(), log_q.clone().requires_grad_()
        value = loss(p, q)
        size = array(value).size
        if size != 1:
            wrong(f"return one number, the mean over images; yours are {size} numbers.")
        if not isinstance(value, Tensor) or not value.requires_grad:
            wrong(
                "nothing is left to differentiate: detach the weights, not the log-weights that they multiply, "
                "and return a tensor."
            )
        by_p, by_q = torch.autograd.grad(value.reshape(()), [p, q], allow_unused=True)
        if by_p is None or by_q is None:
            wrong("the gradient reaches only one of log_p and log_q; the log-weight is made of both.")
        return torch.cat([by_p, by_q])

    def weighted(weight: Callable[[Tensor], Tensor], sign: float = -1.0) -> Tensor:
        return gradient(lambda p, q: sign * (weight(p - q) * (p - q)).sum(0).mean())

    def held(axis: int) -> Callable[[Tensor], Tensor]:
        return lambda log_w: torch.softmax(log_w, axis).detach()

    def wrong_one_detached(inside: int, sign: int) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda p, q: sign * (torch.softmax(inside * (p - q), 0) * (p - q).detach()).sum(0).mean()

    fixed = "hold the weights fixed, not the log-weights."
    best = torch.nn.functional.one_hot((log_p - log_q).argmax(0), k).T.double()
    expected = weighted(held(0))
    got = gradient(answer)
    _name_mistake(
        got,
        [
            (
                weighted(lambda log_w: torch.softmax(-log_w, 0).detach()),
                "the worst sample still gets the largest weight: softmax of the log-weights, not of the loss.",
            ),
            (
                weighted(lambda log_w: torch.softmax(-log_w, 0)),
                "the worst sample still gets the largest weight, and the weights are not detached.",
            ),
            (
                weighted(lambda log_w: torch.softmax(log_w, 0)),
                "the weights are right, but the gradient flows through them too: detach them.",
            ),
            (
                weighted(lambda log_w: torch.softmax(log_w, 0), 1.0),
                "the sign: a loss is minimized, and the bound should rise. And the weights are not detached.",
            ),
            (
                weighted(held(1)),
                "that normalizes over images. Weights compete among the samples of one image: softmax over axis 0.",
            ),
            (
                weighted(lambda log_w: torch.softmax(log_w, 1)),
                "that normalizes over images, and the weights are not detached: softmax over axis 0, then detach.",
            ),
            (
                weighted(lambda log_w: log_w.exp().detach()),
                "the weights are not normalized: those of one image have to sum to one, as after softmax over axis 0.",
            ),
            (
                weighted(lambda log_w: log_w.log_softmax(0).detach()),
                "those are logarithms of the weights: softmax, not log_softmax.",
            ),
            (
                weighted(lambda _: torch.softmax(log_p, 0)),
                "you weigh by log_p alone. The draws come from q: softmax of log_p - log_q.",
            ),
            (
                weighted(lambda _: best),
                "the best sample alone is trained on; the others count too, each by its normalized weight.",
            ),
            (-expected, "the sign: a loss is minimized, and the bound should rise."),
            *(
                (gradient(wrong_one_detached(loss_sign, sign)), "you detached the wrong factor: " + fixed)
                for loss_sign in (1, -1)
                for sign in (1, -1)
            ),
            (
                weighted(lambda log_w: torch.full_like(log_w, 1 / k)),
                "equal weights give the gradient of the ELBO; here each sample counts by its normalized weight.",
            ),
            (
                gradient(lambda p, q: -(held(0)(p - q) * (p + q)).sum(0).mean()),
                "the log-weight is log_p less log_q: they are subtracted.",
            ),
            (
                expected / k,
                "the weights already sum to one over the samples: sum over axis 0, then mean over the images.",
            ),
            (expected * batch, "that sums over the images; take their mean."),
        ],
    )
    if not matches(got, expected, 1e-5):
        row, image = divmod(int((got - expected).abs().argmax()), batch)
        wrong(
            f"the derivative of the loss by {'log_p' if row < k else 'log_q'} of sample {row % k}, image {image} "
            f"should be {float(expected[row, image]):.4f}; yours is {float(got[row, image]):.4f}. Multiply each "
            "log-weight by its own weight, sum over the samples, average over the images, and put a minus in front."
        )
    log_w = log_p - log_q
    value = number(answer(log_p.clone().requires_grad_(), log_q.clone().requires_grad_()))
    if not matches(value, -(held(0)(log_w) * log_w).sum(0).mean(), 1e-5):
        # With or without the constant log k.
        return right(
            "the same gradient, by autograd of the bound itself. As a weighted sum you would hold the weights fixed."
        )
    return right("the best sample counts most, and the weights themselves are held fixed.")


@check
def hybrid(answer: Callable[[Tensor, Tensor], Tensor]) -> Verdict:
    """Exercise 5: log-mean-exp of log p(x|z), less the divergence."""
    draws = torch.Generator().manual_seed(0)
    log_conditional = torch.randn((4, 3), generator=draws, dtype=torch.float64) - 10
    kl = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    k = len(log_conditional)
    average, largest = log_mean_exp(log_conditional), log_conditional.max(0).values
    expected = average - kl
    got = tensor(answer(log_conditional.clone(), kl.clone()))
    if got.shape == (k,):
        wrong("one number for each sample is left. Samples come first: average over axis 0.")
    if got.shape != kl.shape:
        wrong(f"one number for each image, please: shape {list(kl.shape)}, not {list(got.shape)}.")
    _name_mistake(
        got,
        [
            (
                log_conditional.mean(0) - kl,
                "that is the ELBO with its closed-form divergence. Here, take the log of the mean of p(x|z).",
            ),
            (average, "the divergence is missing: subtract `kl`."),
            (expected + 2 * kl, "the divergence is what it costs: subtract it."),
            (expected + math.log(k), "the log of the sum is not the log of the mean: subtract log k."),
            (average + math.log(k), "the log of the sum is not the log of the mean, and the divergence is missing."),
            (expected + 2 * math.log(k), "a mean is smaller than a sum: log k is subtracted, not added."),
            (
                average - kl / k,
                "the divergence is one number for each image, not to be shared among the samples: subtract all of it.",
            ),
            (average - k * kl, "the divergence is subtracted once for each image, not once for each sample."),
            (average - kl.mean(), "each image has its own divergence; yours subtracts their mean from all."),
            (average - kl.sum(), "each image has its own divergence; yours subtracts their sum from all."),
            (expected - largest, "the largest log p(x|z) was taken out and not added back: add it after the log."),
            (
                expected - log_conditional.max(),
                "the largest log p(x|z) was taken out and not added back: add it after the log.",
            ),
            (average.exp() - kl, "that is the mean of p(x|z) itself, less the divergence; take its logarithm first."),
            (expected.exp(), "that is a density; return its logarithm."),
            (-expected, "the sign: log p(x|z) counts up, and the divergence down."),
        ],
    )
    if not matches(got, expected, 1e-5):
        wrong(f"for my first image it is {float(expected[0]):.4f}; yours is {float(got[0]):.4f}.")
    _check_any_size(lambda log_c: answer(log_c, kl.to(log_c.dtype)), log_conditional, expected)
    model = LinearGaussianVAE.random(data_dim=8, latent_dim=2, seed=0).requires_grad_(False)
    x = model.simulate(100, seed=1)
    q = model.posterior(x)
    values = tensor(answer(model.log_conditional(x, q.rsample(50, draws)), q.kl_from_standard_normal()))
    excess = float((values - model.exact_log_likelihood(x)).mean())
    return right(
        f"and even with q equal to the posterior it is {excess:.1f} nats above log p(x): no lower bound at all."
    )


@check
def signal_to_noise(answer: Callable[[Tensor], Any]) -> Verdict:
    """Exercise 6: |mean| / standard deviation, averaged over parameters."""
    draws = torch.Generator().manual_seed(0)
    n, spread = 400, torch.tensor([1.0, 4.0, 0.5], dtype=torch.float64)
    gradients = torch.tensor([0.6, -2.0, 0.1]) + spread * torch.randn((n, 3), generator=draws, dtype=torch.float64)
    mean, std = gradients.mean(0), gradients.std(0)
    expected = (mean.abs() / std).mean()
    got = tensor(answer(gradients.clone()))
    if got.shape == (3,):
        wrong("one number, please, not one for each parameter: average the ratios of the parameters.")
    if got.shape == (n,):
        wrong("one number for each run is left. The runs are along axis 0: take mean and standard deviation there.")
    if got.numel() != 1:
        wrong(f"the runs are along axis 0, and one number should be left; got shape {list(got.shape)}.")
    got = got.reshape(())
    root = math.sqrt(n)
    _name_mistake(
        got,
        [
            (
                expected * root,
                "that divides by the standard error of the mean. One step sees more noise: the standard deviation.",
            ),
            (
                expected / root,
                "that multiplies the noise by the root of the runs; one step sees the standard deviation itself.",
            ),
            (
                expected * n,
                "that is too large by the number of runs: take the mean over them, not the sum, and the standard "
                "deviation as it is.",
            ),
            (expected * 3, "that is the sum of the ratios; take their mean over the parameters."),
            (
                (mean.abs() / std**2).mean(),
                "that divides by the variance; signal and noise should have the same units.",
            ),
            (
                (mean**2 / std**2).mean(),
                "that is the square of the ratio: mean over standard deviation, neither squared.",
            ),
            (
                (mean**2 / std).mean(),
                "the mean is squared and the standard deviation is not: take the absolute value of the mean.",
            ),
            ((mean / std).mean(), "positive and negative signals cancel: take the absolute value of each mean."),
            (1 / expected, "that is noise over signal."),
            ((std / mean.abs()).mean(), "that is noise over signal."),
            (
                (gradients.abs().mean(0) / std).mean(),
                "noise has a mean absolute value as well. Average over runs first, then take the absolute value.",
            ),
            (
                (mean.abs() / gradients.abs().std(0)).mean(),
                "the noise is the spread of the gradients themselves, with their signs.",
            ),
            (
                mean.abs().mean() / std.mean(),
                "that is a ratio of averages: parameters with large gradients count most. Average the ratios.",
            ),
            (
                (gradients.mean(1).abs() / gradients.std(1)).mean(),
                "that compares the parameters of one run. The runs are along axis 0.",
            ),
            (
                gradients.mean().abs() / gradients.std(),
                "that mixes the parameters. Take mean and standard deviation of each, over axis 0.",
            ),
            (
                (mean.abs() / (gradients**2).mean(0).sqrt()).mean(),
                "that divides by the root mean square, which has the signal in it: take the standard deviation.",
            ),
            ((mean.abs() / std).max(), "that is the largest ratio; take the mean over the parameters."),
        ],
        # Less than what Bessel's correction makes.
        tolerance=1 / n,
    )
    if not matches(got, expected, 1 / n):
        wrong(f"for my gradients it is {float(expected):.3f}; yours is {float(got):.3f}.")
    return right("where it is far below 1, a single gradient is nearly all noise.")


@check
def paired(answer: Callable[[Tensor, Tensor], Any]) -> Verdict:
    """Exercise 7: mean difference, with the standard error of the differences."""
    draws = torch.Generator().manual_seed(0)
    n = 300
    a = 5 * torch.randn(n, generator=draws, dtype=torch.float64) - 23
    b = a + 0.4 + 0.8 * torch.randn(n, generator=draws, dtype=torch.float64)
    mean, error = pair(answer(a.clone(), b.clone()), "the mean difference and its standard error")
    difference = b - a
    expected, root = float(difference.std()) / math.sqrt(n), math.sqrt(n)
    apart = [float(each.std()) / root for each in (a, b)]
    if matches(error, difference.mean(), 1e-5):
        wrong("the mean difference comes first, then its standard error.")
    _name_mistake(
        mean,
        [
            (-difference.mean(), "the sign: how much larger is b than a? That is b - a."),
            (difference.abs().mean(), "images where b is worse count against it: no absolute value."),
            (difference.sum(), "that is the sum of the differences; take their mean."),
            (difference.median(), "that is the median of the differences; take their mean."),
            (a.mean(), "that is the mean of a alone; take that of b - a."),
            (b.mean(), "that is the mean of b alone; take that of b - a."),
            ((b / a).mean(), "that is a mean ratio. Nats are compared by their difference, b - a."),
        ],
    )
    if not matches(mean, difference.mean(), 1e-5):
        wrong(f"the mean difference of my images is {float(difference.mean()):.4f}; yours is {mean:.4f}.")
    _name_mistake(
        error,
        [
            (
                math.hypot(*apart),
                "that is for two separate sets of images. Here they are the same: take differences, then their error.",
            ),
            (
                sum(apart),
                "that adds the errors of two means. The images are the same: take differences, then their error.",
            ),
            (
                apart[1] - apart[0],
                "errors do not subtract. Take the differences, image by image, then the error of their mean.",
            ),
            (apart[0], "that is the error of the mean of a alone; take that of the differences."),
            (apart[1], "that is the error of the mean of b alone; take that of the differences."),
            (
                expected * root,
                "that is the spread of single differences; the error of their mean is smaller by the root of n.",
            ),
            (expected * n, "that multiplies the spread by the root of n; the error of a mean is smaller: divide."),
            (expected**2, "that is the variance of the mean difference; its standard error is the root of it."),
            (
                (expected * root) ** 2,
                "that is the variance of single differences; the error of their mean is its root, over that of n.",
            ),
            (
                expected**2 * root,
                "that is the variance over the root of n. Take the standard deviation, not the variance.",
            ),
            (expected / root, "that divides the spread by the number of images; an error falls with the root of it."),
            (expected * root / n**0.25, "that takes the root of their number twice; once is enough."),
            (
                expected / math.sqrt(2),
                "a factor sqrt(2) too small: there is one difference for each image, 300 of them.",
            ),
            (1.96 * expected, "that is half of a 95 % interval; return the standard error itself."),
            (2 * expected, "that is two standard errors; return one."),
        ],
        tolerance=1 / n,
    )
    # With or without Bessel's correction.
    if not matches(error, expected, 1 / n):
        wrong(f"the standard error of my differences is {expected:.4f}; yours is {error:.4f}.")
    return right("what makes an image hard is hard for both models, and cancels in the difference.")


def _name_mistake(got: Any, mistakes: Sequence[tuple[Any, str]], tolerance: float = 1e-5) -> None:
    """End the check with the hint of the first mistake that ``got`` is."""
    for mistake, hint in mistakes:
        if matches(got, mistake, tolerance):
            wrong(hint)


def _check_any_size(bound: Callable[[Tensor], Any], log_w: Tensor, expected: Tensor) -> None:
    """End the check unless ``bound`` moves as ``log_w`` does, whatever the size of its weights."""
    for shift, dtype, why in (
        (-104.0, torch.float32, "e^-104 is 0 in float32"),
        (104.0, torch.float32, "e^104 is more than float32 can hold"),
        (-1_000.0, torch.float64, "e^-1000 is 0, in double precision too"),
    ):
        far = tensor(bound((log_w + shift).to(dtype)))
        if not bool(far.isfinite().all()):
            wrong(f"right for values near those of my first test, but {why}. Take out the largest before exp.")
        if not matches(far, expected + shift, 1e-5):
            moved = float((far - expected)[0])
            wrong(f"adding {shift:g} to all values should add {shift:g} to the result; yours changes by {moved:.4g}.")
    unlike = torch.tensor([0.0, -104.0, -1_000.0], dtype=torch.float64)
    if not matches(tensor(bound(log_w + unlike)), expected + unlike, 1e-5):
        wrong(
            "right for images much alike. For an image far less probable than another it fails: take out the largest "
            "of each image, over axis 0, not of the whole batch."
        )
