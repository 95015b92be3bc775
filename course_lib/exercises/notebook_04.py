"""Checks for notebook 04, importance-weighted autoencoders."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.exercises.verdict import Verdict, check, matches, right, wrong
from course_lib.vae import LinearGaussianVAE

__all__ = [
    "hybrid", "iwae_bound", "iwae_loss", "paired", "samples_needed", "signal_to_noise", "too_good",
]  # fmt: skip


@check
def iwae_bound(answer: Callable[[Tensor], Tensor]) -> Verdict:
    """Exercise 1: logsumexp - log k."""
    draws = torch.Generator().manual_seed(0)
    log_w = torch.randn((4, 3), generator=draws, dtype=torch.float64) - 2
    k, batch = log_w.shape
    expected = torch.logsumexp(log_w, 0) - math.log(k)
    got = _tensor(answer(log_w))
    if got.shape == (k,) and matches(got, torch.logsumexp(log_w, 1) - math.log(batch)):
        wrong("that averages over the images. Samples come first: average over axis 0.")
    if got.shape != (batch,):
        wrong(f"for log-weights [{k}, {batch}] I expected one bound for each image, [{batch}]; got {list(got.shape)}.")
    if matches(got, log_w.mean(0)):
        wrong("that is the mean of the logs, the ELBO. Average the weights first and take the log of that.")
    if matches(got, expected + math.log(k)):
        wrong("that is the log of the sum. The log of the mean is lower by log k.")
    if matches(got, expected.exp()):
        wrong("that is the mean weight itself; return its logarithm.")
    if not matches(got, expected):
        wrong(f"the bound of my first image is {float(expected[0]):.4f}; yours is {float(got[0]):.4f}.")
    far = _tensor(answer(log_w.float() - 104)).double()
    if not bool(far.isfinite().all()):
        wrong("right for weights near 1, but e^-104 is 0 in float32. Take out the largest log-weight before exp.")
    if not matches(far, expected - 104, 1e-5):
        wrong("all log-weights lower by 104 should make the bound lower by 104; yours changes by something else.")
    return right("the log of the mean, at any size of the weights.")


@check
def too_good(answer: float) -> Verdict:
    """Exercise 2: the missing - log K."""
    reported, k = -78.2, 5_000
    got = float(answer)
    if matches(got, reported):
        wrong("that is what was printed. It is the log of a sum of 5,000 weights, not of their mean.")
    if matches(got, reported + math.log(k), 1e-3):
        wrong("the sum is larger than the mean, so the correction goes down: subtract log K.")
    if matches(got, reported / k) or matches(got, reported - k):
        wrong("the weights are divided by K, so their logarithm loses log K.")
    if matches(got, reported - math.log10(k), 1e-3) or matches(got, reported - math.log2(k), 1e-3):
        wrong("nats are natural logarithms: subtract math.log(5000).")
    if not matches(got, reported - math.log(k), 1e-3):
        wrong(f"a sum of K weights is K times their mean. How much is that on a log scale? Not {reported - got:.2f}.")
    return right("8.5 nats, more than separates a two-layer network from the best models there are.")


@check
def samples_needed(answer: Callable[[float, float], float]) -> Verdict:
    """Exercise 3: v / (2 gap)."""
    variance, gap = 3.0, 0.01
    got = float(answer(variance, gap))
    exact = variance / (2 * gap)
    if matches(got, 2 * exact):
        wrong("the half is missing: (u - 1)^2 / 2 has mean Var(w) / (2 k p^2).")
    if matches(got, variance / (2 * gap**2)) or matches(got, variance / gap**2):
        wrong("a standard error falls like 1/sqrt(k), but the gap is a bias and falls like 1/k: no square.")
    if matches(got, math.sqrt(variance) / (2 * gap)):
        wrong("that takes the root of the variance; the gap grows with the variance itself.")
    # Rounding up to a whole number is as good an answer.
    if not matches(got, exact, 1 / exact):
        wrong(f"for a relative variance of 3 and a gap of 0.01 nats it is {exact:g} samples; yours is {got:g}.")
    if not matches(float(answer(8.0, 0.5)), 8.0, 1e-6):
        wrong(f"right for a variance of 3 and a gap of 0.01, but 8 and 0.5 need 8 samples, not {answer(8.0, 0.5)}.")
    return right("half the gap costs twice the samples; half a standard error would cost four times as many.")


@check
def iwae_loss(answer: Callable[[Tensor, Tensor], Tensor]) -> Verdict:
    """Exercise 4: weights by softmax of the log-weights, detached."""
    draws = torch.Generator().manual_seed(0)
    log_p = 2 * torch.randn((5, 3), generator=draws, dtype=torch.float64)
    log_q = torch.randn((5, 3), generator=draws, dtype=torch.float64)

    def gradient(loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        p, q = log_p.clone().requires_grad_(), log_q.clone().requires_grad_()
        value = loss(p, q)
        if not isinstance(value, Tensor) or value.ndim:
            wrong("return one number, the mean over images, as a tensor that can be differentiated.")
        if not value.requires_grad:
            wrong("nothing is left to differentiate: detach the weights, not the log-weights that they multiply.")
        value.backward()
        if p.grad is None or q.grad is None:
            wrong("the gradient reaches only one of log_p and log_q; the log-weight is made of both.")
        return p.grad

    def weighted(weight: Callable[[Tensor], Tensor], sign: float = -1.0) -> Tensor:
        return gradient(lambda p, q: sign * (weight(p - q) * (p - q)).sum(0).mean())

    got = gradient(answer)
    if matches(got, weighted(lambda log_w: torch.softmax(-log_w, 0).detach())):
        wrong("the worst sample still gets the largest weight: softmax of the log-weights, not of the loss.")
    if matches(got, weighted(lambda log_w: torch.softmax(-log_w, 0))):
        wrong("the worst sample still gets the largest weight, and the weights are not detached.")
    if matches(got, weighted(lambda log_w: torch.softmax(log_w, 0))):
        wrong("the weights are right, but the gradient flows through them too: detach them.")
    if matches(got, weighted(lambda log_w: torch.softmax(log_w, 1).detach())):
        wrong("that normalizes over images. Weights compete among the samples of one image: softmax over axis 0.")
    if matches(got, weighted(lambda log_w: torch.softmax(log_w, 0).detach(), 1.0)):
        wrong("the sign: a loss is minimized, and the bound should rise.")
    if matches(got, weighted(lambda log_w: torch.full_like(log_w, 1 / len(log_w)))):
        wrong("equal weights give the gradient of the ELBO; here each sample counts by its normalized weight.")
    if matches(got, weighted(lambda log_w: torch.softmax(log_w, 0).detach()) / len(log_p)):
        wrong("the weights already sum to one over the samples: sum over axis 0, then mean over the images.")
    if matches(got, weighted(lambda log_w: torch.softmax(log_w, 0).detach()) * log_p.shape[1]):
        wrong("that sums over the images; take their mean.")
    if not matches(got, weighted(lambda log_w: torch.softmax(log_w, 0).detach())):
        wrong("its gradient is not the weighted sum: minus the normalized weight of each sample, over the images.")
    return right("the best sample counts most, and the weights themselves are held fixed.")


@check
def hybrid(answer: Callable[[Tensor, Tensor], Tensor]) -> Verdict:
    """Exercise 5: log-mean-exp of log p(x|z), less the divergence."""
    draws = torch.Generator().manual_seed(0)
    log_conditional = torch.randn((4, 3), generator=draws, dtype=torch.float64) - 10
    kl = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    k = len(log_conditional)
    expected = torch.logsumexp(log_conditional, 0) - math.log(k) - kl
    got = _tensor(answer(log_conditional, kl))
    if got.shape != kl.shape:
        wrong(f"one number for each image, please: shape {list(kl.shape)}, not {list(got.shape)}.")
    if matches(got, log_conditional.mean(0) - kl):
        wrong("that is the ELBO with its closed-form divergence. Here, take the log of the mean of p(x|z).")
    if matches(got, expected + 2 * kl):
        wrong("the divergence is what it costs: subtract it.")
    if matches(got, expected + math.log(k)):
        wrong("the log of the sum is not the log of the mean: subtract log k.")
    if not matches(got, expected):
        wrong(f"for my first image it is {float(expected[0]):.4f}; yours is {float(got[0]):.4f}.")
    model = LinearGaussianVAE.random(data_dim=8, latent_dim=2, seed=0)
    x = model.simulate(100, seed=1)
    with torch.no_grad():
        q = model.posterior(x)
        values = answer(model.log_conditional(x, q.rsample(50, draws)), q.kl_from_standard_normal())
        excess = float((values - model.exact_log_likelihood(x)).mean())
    return right(
        f"and even with q equal to the posterior it is {excess:.1f} nats above log p(x): no lower bound at all."
    )


@check
def signal_to_noise(answer: Callable[[Tensor], Tensor]) -> Verdict:
    """Exercise 6: |mean| / standard deviation, averaged over parameters."""
    draws = torch.Generator().manual_seed(0)
    spread = torch.tensor([1.0, 4.0, 0.5], dtype=torch.float64)
    gradients = torch.tensor([0.6, -2.0, 0.1]) + spread * torch.randn((400, 3), generator=draws, dtype=torch.float64)
    mean, std = gradients.mean(0), gradients.std(0)
    expected = float((mean.abs() / std).mean())
    got = _tensor(answer(gradients)).double()
    if got.shape == (3,):
        wrong("one number, please: average the ratios of the parameters.")
    if got.ndim:
        wrong(f"the runs are along axis 0, and one number should be left; got shape {list(got.shape)}.")
    root = math.sqrt(len(gradients))
    if matches(got, expected * root, 0.01):
        wrong(
            "that divides by the standard error of the mean. The noise is what one step sees: the standard deviation."
        )
    if matches(got, (mean.abs() / std**2).mean(), 0.01):
        wrong("that divides by the variance; signal and noise should have the same units.")
    if matches(got, (mean / std).mean(), 0.01):
        wrong("positive and negative signals cancel: take the absolute value of each mean.")
    if matches(got, 1 / expected, 0.01) or matches(got, (std / mean.abs()).mean(), 0.01):
        wrong("that is noise over signal.")
    if matches(got, (gradients.abs().mean(0) / std).mean(), 0.01):
        wrong("noise has a mean absolute value as well. Average over runs first, then take the absolute value.")
    # With or without Bessel's correction.
    if not matches(got, expected, 1 / len(gradients)):
        wrong(f"for my gradients it is {expected:.3f}; yours is {float(got):.3f}.")
    return right("where it is far below 1, a single gradient is nearly all noise.")


@check
def paired(answer: Callable[[Tensor, Tensor], tuple[float, float]]) -> Verdict:
    """Exercise 7: mean difference, with the standard error of the differences."""
    draws = torch.Generator().manual_seed(0)
    a = 5 * torch.randn(300, generator=draws, dtype=torch.float64) - 23
    b = a + 0.4 + 0.8 * torch.randn(300, generator=draws, dtype=torch.float64)
    got = answer(a, b)
    if not isinstance(got, tuple | list) or len(got) != 2:
        wrong("return two numbers, the mean difference and its standard error.")
    mean, error = (float(number) for number in got)
    difference = b - a
    expected, root = float(difference.std()) / math.sqrt(len(a)), math.sqrt(len(a))
    if matches(mean, -difference.mean()):
        wrong("the sign: how much larger is b than a? That is b - a.")
    if not matches(mean, difference.mean()):
        wrong(f"the mean difference of my images is {float(difference.mean()):.4f}; yours is {mean:.4f}.")
    if matches(error, math.sqrt(float(a.var() + b.var())) / root, 0.01):
        wrong("that is for two separate sets of images. Here they are the same: take differences, then their error.")
    if matches(error, expected * root, 0.01):
        wrong("that is the spread of single differences; their mean has an error smaller by the root of their number.")
    if matches(error, expected**2, 0.01):
        wrong("that is the variance of the mean difference; its standard error is the root of it.")
    if not matches(error, expected, 1 / len(a)):
        wrong(f"the standard error of my differences is {expected:.4f}; yours is {error:.4f}.")
    return right("what makes an image hard is hard for both models, and cancels in the difference.")


def _tensor(answer: object) -> Tensor:
    return torch.as_tensor(answer).detach()
