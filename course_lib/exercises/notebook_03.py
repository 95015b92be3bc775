"""Checks for notebook 03, the ELBO and the reparameterization trick."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from course_lib import datasets
from course_lib.estimates import Estimate
from course_lib.exercises.answers import array, explain, matches, number
from course_lib.exercises.tensors import tensor
from course_lib.exercises.verdict import Verdict, check, right, wrong
from course_lib.vae import VAE, LatentVariableModel, LinearGaussianVAE, elbo

__all__ = [
    "durations", "expected_log_likelihood", "gradient_variance", "log_weights", "predicted_gaps", "shapes",
    "training_step",
]  # fmt: skip


@check
def log_weights(answer: Callable[[LatentVariableModel, Tensor, Tensor], Tensor]) -> Verdict:
    """Exercise 1: log p(x|z) + log p(z) - log q(z|x)."""
    # Without gradients, so that an answer may go on in NumPy.
    model = LinearGaussianVAE.random(3, 2, seed=0).requires_grad_(False)
    model.encoder.bias.add_(0.5)
    x = model.simulate(5, seed=1)
    z = torch.randn(4, 5, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    likelihood, prior, log_q = model.log_conditional(x, z), model.log_prior(z), model.posterior(x).log_prob(z)
    expected = likelihood + prior - log_q
    got = tensor(answer(model, x, z))
    for other, hint in (
        (likelihood - log_q, "the prior is missing: p(x, z) is p(x|z) times p(z), so add log p(z)."),
        (
            likelihood,
            "that is the integrand under the prior. The draws came from q: add log p(z), subtract log q(z|x).",
        ),
        (likelihood + prior, "that is log p(x, z). The draws came from q, so subtract log q(z|x)."),
        (prior - log_q, "the image itself is missing: add log p(x|z)."),
        (
            likelihood - prior - log_q,
            "p(x, z) is p(x|z) times p(z), so log p(z) is added; only log q(z|x) is subtracted.",
        ),
        (likelihood + prior + log_q, "a weight divides by the density drawn from: subtract log q(z|x), do not add it."),
        (-expected, "that is log q - log p. A draw from q counts p/q times: change the sign."),
        (expected.exp(), "those are the weights; return their logarithms."),
        (expected.mean(0), "that is already the ELBO, their mean; return one log-weight for each draw."),
        (expected.mean(1), "that is a mean over the images; return one log-weight for each draw and image."),
        (torch.logsumexp(expected, 0) - math.log(4), "that is already the log of the mean; return every log-weight."),
        (
            (likelihood + prior) / log_q,
            "the densities are divided, so their logarithms are subtracted: - log q(z|x), not / log q(z|x).",
        ),
        (
            likelihood * prior / log_q,
            "the densities are multiplied and divided, so their logarithms are added and subtracted.",
        ),
    ):
        if _close(got, other):
            wrong(hint)
    again = tensor(answer(model, x, z))
    if got.shape == again.shape and not torch.allclose(got, again, equal_nan=True):
        wrong("the numbers change from call to call: weigh the codes z that are given, and draw no new ones.")
    _same_shape(got, expected, "one log-weight for each draw and image")
    if not _close(got, expected):
        wrong(f"the first log-weight of my test should be {expected[0, 0]:.4f}; yours is {got[0, 0]:.4f}.")
    return right("the same weight as in notebook 2: where it could have come from, over where it was drawn from.")


@check
def predicted_gaps(gap_shifted: Any, gap_wide: Any, gap_narrow: Any) -> Verdict:
    """Exercise 2: three divergences of two-dimensional Gaussians, KL(q || posterior), from the formula."""
    other_way = "KL(posterior || q), the other way round. The gap is KL(q || posterior): q gives m and s."
    below_zero = "below zero, where no divergence is: the gap is how far the bound lies below log p(x)."
    bits = "in bits. The formula has natural logarithms: the answer is in nats."
    log2 = math.log(2)

    def both(log_ratio: float, fraction: float, constant: float = 1.0) -> float:
        """Two dimensions: twice log(s0/s) and the fraction, less ``constant``, which is 1/2 for each."""
        return 2 * log_ratio + 2 * fraction - constant

    shifted, wide, narrow = both(0, 1), both(-log2, 2), both(log2, 1 / 8)
    tables: dict[str, tuple[Any, float, str, list[tuple[float, str]]]] = {
        "gap_shifted": (
            gap_shifted,
            shifted,
            "m - m_0 = s_0 and s = s_0",
            [
                (shifted / 2, "what one dimension adds, and q is off in two."),
                (2.0, "twice what it should be. Each dimension has the squared shift over 2, and -1/2 beside s^2 / 2."),
                (0.0, "no gap at all, but only a q equal to the posterior has none."),
                (math.sqrt(2), "the distance of the means. The divergence has its square, over 2."),
                (-shifted, below_zero),
                (shifted / log2, bits),
            ],
        ),
        "gap_wide": (
            gap_wide,
            wide,
            "m = m_0 and s = 2 s_0",
            [
                (wide / 2, "what one dimension adds, and q is too wide in two."),
                (narrow, other_way),
                (narrow / 2, f"what one dimension adds to {other_way}"),
                (both(-log2, 2, 0.0), "what comes out without the -1/2 of each dimension."),
                (both(-log2, 2, 0.5), "what comes out with one -1/2. Each of the two dimensions has its own."),
                (both(-log2 / 2, 1), "for a q of twice the variance. Twice as wide is four times the variance."),
                (
                    both(-log2, 1),
                    "what comes out with s in the place of s^2. Twice as wide is four times the variance.",
                ),
                (both(log2, 2), "what comes out with log(s/s_0). It is log(s_0/s), negative for a wide q."),
                (both(-log2, 4), "what comes out without the 2 in the denominator 2 s_0^2."),
                (both(-2 * log2, 2), "what comes out with the log of variances. It is log(s_0/s), without squares."),
                (-wide, below_zero),
                (wide / log2, bits),
                (both(-math.log10(2), 2), "what comes out with log10. It is the natural logarithm, math.log."),
            ],
        ),
        "gap_narrow": (
            gap_narrow,
            narrow,
            "m = m_0 and s = s_0 / 2",
            [
                (narrow / 2, "what one dimension adds, and q is too narrow in two."),
                (wide, other_way),
                (wide / 2, f"what one dimension adds to {other_way}"),
                (both(log2, 1 / 8, 0.0), "what comes out without the -1/2 of each dimension."),
                (both(log2, 1 / 8, 0.5), "what comes out with one -1/2. Each of the two dimensions has its own."),
                (both(log2 / 2, 1 / 4), "for a q of half the variance. Half as wide is a quarter of the variance."),
                (
                    both(log2, 1 / 4),
                    "what comes out with 1/4 for the fraction. s^2 is a quarter of s_0^2, and half of that 1/8.",
                ),
                (both(-log2, 1 / 8), "what comes out with log(s/s_0). It is log(s_0/s), positive for a narrow q."),
                (both(2 * log2, 1 / 8), "what comes out with the log of variances. It is log(s_0/s), without squares."),
                (-narrow, below_zero),
                (narrow / log2, bits),
                (both(math.log10(2), 1 / 8), "what comes out with log10. It is the natural logarithm, math.log."),
            ],
        ),
    }
    for name, (answer, expected, inputs, mistakes) in tables.items():
        got = number(answer)
        # As good as two decimals are.
        if abs(got - expected) < 0.006:
            continue
        for mistake, hint in mistakes:
            if abs(got - mistake) < 0.006:
                wrong(f"{name}: {got:.2f} is {hint}")
        if abs(got - expected) < 0.06:
            wrong(f"{name}: {got:g} is close. Give two decimals or more.")
        wrong(f"{name} is not {got:g}: put {inputs} into the formula, and count both dimensions.")
    return right(
        "the cells below measure them. Twice as wide costs 1.61 nats and half as wide 0.64: KL(q || posterior) is "
        "hard on a q that goes where the posterior is not, and lenient with one that leaves out a part of it."
    )


@check
def shapes(flattened: Any, hidden: Any, output: Any, std: Any, z_shape: Any, logits: Any) -> Verdict:
    """Exercise 3: the shapes from image to logits."""
    given = {
        "flattened": flattened,
        "hidden": hidden,
        "output": output,
        "std": std,
        "z_shape": z_shape,
        "logits": logits,
    }
    got: dict[str, tuple[int, ...]] = {}
    for name, shape in given.items():
        sizes = None if isinstance(shape, str) else array(shape)
        if sizes is None or sizes.ndim != 1 or not all(size.is_integer() for size in sizes.tolist()):
            wrong(f"{name} is the shape of the whole batch: write it as a tuple of numbers, such as (20, 1, 28, 28).")
        got[name] = tuple(map(int, sizes))
    hints: dict[str, list[tuple[tuple[tuple[int, ...], ...], str]]] = {
        "flattened": [
            (
                ((15680,), (784,), (20 * 28, 28), (20, 28, 28)),
                "each image becomes one row of 28 x 28 numbers, and the batch stays: two axes.",
            ),
        ],
        "hidden": [
            (
                ((200, 784), (784, 200)),
                "that is the shape of the layer's weights; what leaves it has a row of 200 numbers for each image.",
            ),
            (((20, 150),), "the encoder takes `hidden` in order, so its first layer has 200 units."),
        ],
        "output": [
            (((20, 50),), "the encoder gives two numbers for each latent dimension, a mean and a raw scale."),
            (((20, 150),), "that leaves the second layer; the last one has a mean and a raw scale for each dimension."),
        ],
        "std": [
            (((20, 100),), "the 100 outputs are split into 50 means and 50 scales."),
            (
                ((20, 50, 50),),
                "q is a diagonal Gaussian, with one standard deviation for each dimension and no covariances.",
            ),
        ],
        "z_shape": [
            (
                ((20, 5, 50), (100, 50), (20, 50)),
                "there are 5 draws for each image, and samples lead: [5, batch, latent_dim].",
            ),
            (((5, 20, 100),), "the encoder's 100 outputs are a mean and a scale for each of the 50 numbers in z."),
        ],
        "logits": [
            (
                ((20, 784), (20, 5, 784), (5, 20, 28, 28), (5, 20, 1, 28, 28)),
                "the decoder works on the last axis alone; it makes a row of 784 of each of the 5 x 20 codes.",
            ),
            (((100, 784),), "draws and images are not merged into one axis of 100; z and its logits keep both."),
        ],
    }
    wanted: dict[str, tuple[int, ...]] = {
        "flattened": (20, 784),
        "hidden": (20, 200),
        "output": (20, 100),
        "std": (20, 50),
        "z_shape": (5, 20, 50),
        "logits": (5, 20, 784),
    }
    for name, shape in wanted.items():
        if got[name] == shape:
            continue
        for others, hint in hints[name]:
            if got[name] in others:
                wrong(f"{name}: {hint}")
        if got[name] in (shape[-1:], tuple(n for n in shape if n != 20)):
            wrong(f"{name}: that is the shape for a single image; the batch stays, with its 20.")
        draws = ", and the 5 draws in front" if len(shape) == 3 else ""
        wrong(f"`{name}` is not {got[name]}: follow the figure above, with 20 in place of 32{draws}.")
    return right("only z and what comes after it know of the 5 draws; the encoder runs once for each image.")


@check
def durations(answer: Callable[[Tensor, int], Tensor]) -> Verdict:
    """Exercise 4: -mean * log(u), differentiable with respect to the means."""
    k, mean = 4_000, torch.tensor([0.5, 2.0, 5.0, 3.0], dtype=torch.float64, requires_grad=True)
    t = _drawn(answer, mean, k)
    if t.shape == (len(mean), k):
        wrong(f"draws come first: shape {(k, len(mean))}, not {tuple(t.shape)}.")
    if t.shape != (k, len(mean)):
        wrong(f"k draws for each task have shape [k, tasks], here {(k, len(mean))}; yours is {tuple(t.shape)}.")
    _check_exponential(t.detach().double(), mean.detach())
    if not t.requires_grad:
        wrong(
            "these are exponential durations, but autograd finds no way back from them to the means. Write them as a "
            "formula in `mean` and torch.rand: nothing detached, no NumPy, and no `.sample()`."
        )
    (slope,) = torch.autograd.grad(t.sum(), mean, allow_unused=True)
    if slope is None or not bool(slope.any()):
        wrong(
            "these are exponential durations, but their gradient with respect to the means is zero. A method that "
            "draws in place passes nothing on to `mean`: write the durations as a formula in `mean` and torch.rand."
        )
    expected = (t / mean).detach().sum(0)
    if not torch.allclose(slope, expected.double(), rtol=1e-4):
        i = int((slope / expected - 1).abs().argmax())
        wrong(
            f"the durations are right, their gradient is not. dt/dmean is t / mean, {expected[i] / k:.2f} on average "
            f"over my draws of task {i}; yours is {slope[i] / k:.2f}. Is `mean` detached somewhere?"
        )
    pair_of_means = torch.tensor([5.0, 3.0], dtype=torch.float64, requires_grad=True)
    t = _drawn(answer, pair_of_means, 10_000)
    if t.shape != (10_000, 2):
        wrong(f"right for {k:,} draws of 4 tasks, but 10,000 draws of 2 tasks have shape {tuple(t.shape)}.")
    (by_mean,) = torch.autograd.grad(t.max(1).values.mean(), pair_of_means)
    first_is_later = (t[:, 0] > t[:, 1]).double()
    error = Estimate.from_values((t[:, 0] / 5 * first_is_later).detach()).std_error
    return right(
        "dt/dmean is t / mean, so a simulated plan can be differentiated. For two tasks of 5 and 3 days side by side, "
        "10,000 of your draws say that a day more in the mean of the first makes the project "
        f"{float(by_mean[0]):.3f} ± {error:.3f} days longer; exactly it is 1 - 9/64 = {1 - 9 / 64:.3f}."
    )


def _drawn(answer: Callable[[Tensor, int], Tensor], mean: Tensor, k: int) -> Tensor:
    """What a learner's sampler returns for these means, at a fixed seed, with the gradients that it carries."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        t = answer(mean, k)
    if isinstance(t, list | tuple) and t and all(isinstance(row, Tensor) and row.shape == t[0].shape for row in t):
        return torch.stack(tuple(t))
    return t if isinstance(t, Tensor) else torch.as_tensor(array(t))


def _check_exponential(t: Tensor, mean: Tensor) -> None:
    """End the check unless the columns of ``t`` ``[k, tasks]`` are independent, exponential, and of these means."""
    k, n = len(t), t.numel()
    unit = t / mean
    solve = "Of numbers u from torch.rand, it is -log(u) that is exponential, with mean 1."

    def is_exponential(units: Tensor) -> bool:
        """Mean and variance of exponential numbers of mean 1, within five standard errors."""
        return abs(float(units.mean()) - 1) < 5 / math.sqrt(n) and abs(float(units.var()) - 1) < 5 * math.sqrt(8 / n)

    if bool(t.isnan().any()):
        wrong("some durations are nan. torch.rand draws between 0 and 1, where there is a logarithm; torch.randn not.")
    if is_exponential(-unit):
        wrong("all durations are negative: the logarithm of a number below 1 is, so put a minus in front.")
    if bool((t < 0).any()):
        wrong(
            f"{float((t < 0).double().mean()):.0%} of the durations are negative. No exponential time is, though "
            f"normal ones can be. {solve}"
        )
    if float(unit.std(0).max()) < 1e-6:
        wrong("all k draws of a task are alike; every number needs its own noise: shape [k, tasks].")
    together = torch.corrcoef(unit.T).fill_diagonal_(0)
    if float(together.abs().max()) > 5 / math.sqrt(k):
        wrong(
            "the durations of different tasks depend on each other: they share noise. Every number needs its "
            "own: shape [k, tasks]."
        )
    if is_exponential(t * mean):
        wrong("that divides by the mean, as if it were the rate. A larger mean makes longer durations: multiply by it.")
    if is_exponential(t):
        wrong("all tasks have mean 1, whatever `mean` says: multiply by it.")
    if is_exponential(t - mean):
        wrong("the mean is added, so no duration is shorter than it. Multiply by it: exponential times start at 0.")
    if is_exponential(unit / mean):
        wrong("the durations have means of mean**2: multiply by the mean once.")
    if is_exponential(unit * math.log(2)) or is_exponential(unit * math.log(10)):
        wrong("the logarithm is the natural one: torch.log, not log2 or log10.")
    middle = float(unit.mean())
    # Uniform numbers between 0 and c have the variance c^2 / 12 and end at c.
    if abs(float(unit.var()) / middle**2 - 1 / 3) < 0.03 and float(unit.max()) < 2.05 * middle:
        wrong(f"these are uniform: all durations up to a longest one are as likely. {solve}")
    means = unit.mean(0)
    if float((means - 1).abs().max()) > 5 / math.sqrt(k):
        i = int((means - 1).abs().argmax())
        wrong(f"a task of mean {float(mean[i]):g} takes {float(t[:, i].mean()):.2f} on average over your draws.")
    spread, later = float(unit.std()), float((unit > 1).double().mean())
    if not is_exponential(unit):
        wrong(
            f"the means are right, but exponential durations spread by as much as their mean; yours by {spread:.2f} of "
            f"it. {solve}"
        )
    if abs(later - math.exp(-1)) > 5 * math.sqrt(0.2326 / n):
        wrong(
            f"mean and spread are right, but {later:.0%} of the durations are longer than their mean, and of "
            f"exponential ones 37 % are. {solve}"
        )


class _WatchedSGD(torch.optim.SGD):
    """Steps of length zero, which remember the gradient that each was given."""

    def __init__(self, vae: VAE) -> None:
        super().__init__(vae.parameters(), lr=0.0)
        self.vae = vae
        self.used: list[Tensor | None] = []

    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        self.used.append(_gradient(self.vae))
        return loss


@check
def training_step(answer: Callable[[VAE, torch.optim.Optimizer, Tensor], Any]) -> Verdict:
    """Exercise 5: zero_grad, backward of minus the bound, step, and the bound as a number."""
    images = datasets.load("digits").train[:32]
    vae = _small_vae(images)
    optimizer = _WatchedSGD(vae)

    def step(seed: int) -> tuple[Any, Tensor | None]:
        """What one call returns, and the gradient with which it stepped."""
        optimizer.used.clear()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            value = answer(vae, optimizer, images)
        if not optimizer.used:
            wrong("the parameters never move: optimizer.step() is not called.")
        if len(optimizer.used) > 1:
            wrong(f"optimizer.step() is called {len(optimizer.used)} times in one training step; once is enough.")
        return value, optimizer.used[0]

    def fresh(seed: int, bits: Callable[[Tensor], Tensor] = datasets.binarize) -> tuple[float, Tensor]:
        """The bound of one draw, and its gradient."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            bound = elbo(vae.log_weights(bits(images), 1)).mean()
        return bound.item(), _flat(torch.autograd.grad(bound, list(vae.parameters())))

    value, used = step(seed=1)
    if used is None:
        if _gradient(vae) is not None:
            wrong("the step comes before backward(), which makes the gradient that the step needs: change their order.")
        wrong(
            "the parameters have no gradient when the step is made: backward() is missing, or zero_grad() comes "
            "between it and the step."
        )
    bound, uphill = fresh(seed=1)
    if _alike(used, uphill):
        wrong(
            "optimizers walk downhill, and this is the gradient of the bound itself: every step makes it lower. "
            "Call backward() on minus the bound."
        )
    _check_that_old_gradients_go(vae, step)
    for bits, hint in (
        (lambda grey: (grey > 0.5).float(), "x > 0.5 gives the same bits every time. Draw them: datasets.binarize."),
        (
            lambda grey: grey,
            "the grey images went into the bound, which is one for bits. Draw them: datasets.binarize.",
        ),
    ):
        other = fresh(1, bits)[1]
        if _alike(used, -other) or _alike(used, other):
            wrong(hint)
    if _alike(used, -len(images) * uphill):
        wrong("that is the gradient of a sum over the images, which grows with the batch; take their mean.")
    if not _alike(used, -uphill):
        _check_on_average(step, fresh)
    if isinstance(value, Tensor) and value.requires_grad:
        wrong(
            "the step is right. What it returns still carries the graph of the whole step, which stays in memory as "
            "long as you keep the number: return bound.item()."
        )
    got = number(value)
    # Not one of the draws that made the step, perhaps, so it may differ by some nats.
    if abs(got + bound) < 5:
        wrong("the step is right, but it returns the loss; the bound has the other sign.")
    if abs(got - bound) > 5:
        wrong(f"the step is right, but the bound of my images is about {bound:.0f} nats, and you return {got:.2f}.")
    return right(_improvement(answer, images))


def _check_that_old_gradients_go(vae: VAE, step: Callable[[int], tuple[Any, Tensor | None]]) -> None:
    """End the check if a step uses what an earlier one left in the gradients."""
    left = 1e6
    for parameter in vae.parameters():
        # Where nothing is left, the gradients were cleared after the step, which is as good.
        if parameter.grad is not None and bool(parameter.grad.any()):
            parameter.grad.fill_(left)
    _, used = step(2)
    if used is not None and float(used.max()) > left / 2:
        wrong(
            "the gradients of earlier steps are still there, and backward() adds to them: call optimizer.zero_grad()."
        )


def _check_on_average(
    step: Callable[[int], tuple[Any, Tensor | None]], fresh: Callable[[int], tuple[float, Tensor]], n: int = 300
) -> None:
    """End the check unless steps go up the bound as fast as they should, on average over bits and codes."""
    up = torch.stack([fresh(seed)[1] for seed in range(n)])
    direction = up.mean(0) / up.mean(0).norm()
    zero = torch.zeros_like(direction)
    taken = torch.stack([-(zero if used is None else used) for _, used in map(step, range(n, 2 * n))])
    want, got = up @ direction, taken @ direction
    if float(got.mean()) < 0:
        wrong("on average your steps make the bound lower: optimizers walk downhill, so backward() goes on minus it.")
    error = math.sqrt(float(want.var() + got.var()) / n)
    if abs(float(got.mean() - want.mean())) > 5 * error:
        wrong(
            f"the step does not use the gradient of minus the mean bound: along it, mine is {float(want.mean()):.3g} "
            f"long on average over {n} draws of bits and codes, and yours {float(got.mean()):.3g}."
        )


def _improvement(answer: Callable[[VAE, torch.optim.Optimizer, Tensor], Any], images: Tensor) -> str:
    """What a hundred steps of a learner's do to the bound, in a sentence."""
    vae = _small_vae(images)
    optimizer = torch.optim.Adam(vae.parameters(), lr=0.02)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        bounds = [number(answer(vae, optimizer, images)) for _ in range(100)]
    return (
        f"a hundred of your steps took a small VAE's bound on {len(images)} digits from {sum(bounds[:5]) / 5:.1f} to "
        f"{sum(bounds[-5:]) / 5:.1f} nats (means of five). As it stood, the loop walked the other way."
    )


def _small_vae(images: Tensor) -> VAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VAE(data_dim=images[0].numel(), hidden=(16,), latent_dim=2)


def _gradient(vae: VAE) -> Tensor | None:
    """What is in the gradients, in one row; None where that is nothing."""
    found = _flat([torch.zeros_like(p) if p.grad is None else p.grad for p in vae.parameters()])
    return found if bool(found.any()) else None


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether two gradients agree but for rounding."""
    return float((one - other).norm()) < 1e-4 * float(other.norm())


@check
def expected_log_likelihood(answer: Callable[[Tensor, Tensor], Tensor]) -> Verdict:
    """Exercise 6: the mean of the log-likelihoods."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(6, 4, 9, generator=generator, dtype=torch.float64)
    x = (torch.rand(4, 9, generator=generator) < 0.5).double()
    each = x * logits - softplus(logits)
    expected = each.sum(-1).mean(0)
    got = tensor(answer(x, logits))
    mean_image = torch.sigmoid(logits).mean(0)
    mean_logit = logits.mean(0)
    for other, hint in (
        (
            (x * mean_image.log() + (1 - x) * (1 - mean_image).log()).sum(-1),
            "that is the log-likelihood of the mean image. Take each image's log-likelihood, then the mean over L.",
        ),
        (
            (x * mean_logit - softplus(mean_logit)).sum(-1),
            "that averages the logits first. Take the log-likelihood of each of the L images, then their mean.",
        ),
        (
            torch.logsumexp(each.sum(-1), 0) - math.log(6),
            "that is the log of the mean likelihood; the bound has the mean of the logs.",
        ),
        (each.sum(-1), "those are the L log-likelihoods of each image; take their mean over the first axis."),
        (each.sum(-1).sum(0), "the L log-likelihoods are added up; take their mean."),
        (each.mean(-1).mean(0), "pixels are independent given z, so their log-probabilities add: sum over pixels."),
        (each.mean(0), "those are single pixels; sum over the last axis for an image."),
        (expected.mean(), "that averages over the batch as well; return one number for each image."),
        (-expected, "that is the loss; the log-likelihood has the other sign."),
        (
            (x * logits).sum(-1).mean(0),
            "softplus(logits) is missing: log p is x * logits - softplus(logits), pixel by pixel.",
        ),
        (
            (x * logits - softplus(-logits)).sum(-1).mean(0),
            "no minus inside softplus: an off pixel has log p = -softplus(logits).",
        ),
        (
            (x * each).sum(-1).mean(0),
            "softplus(logits) belongs to every pixel, on or off: x multiplies only the logit.",
        ),
        (
            (x * logits - (1 - x) * softplus(logits)).sum(-1).mean(0),
            "softplus(logits) belongs to every pixel, on or off: take away the 1 - x in front of it.",
        ),
        (each.sum(-1).mean(1), "that averages over the images of the batch; the L codes are axis 0."),
    ):
        if _close(got, other):
            wrong(hint)
    _same_shape(got, expected, "one number for each image")
    if not _close(got, expected):
        wrong(f"the first number of my test should be {expected[0]:.4f}; yours is {got[0]:.4f}.")
    for sure, hint in (
        (40.0, "do not go through probabilities"),
        (400.0, "e^400 is more than a float can hold, and softplus has no need of it"),
    ):
        if not _close(tensor(answer(torch.zeros(1, 1), torch.full((1, 1, 1), sure))), torch.tensor([-sure])):
            wrong(f"right, but for a logit of {sure:g} and a pixel that is off it should be -{sure:g}: {hint}.")
    return right("an average over codes of how well each one alone explains the image.")


@check
def gradient_variance(answer: Callable[[float, float, int, int], Any]) -> Verdict:
    """Exercise 7: (V_x + V_eps / L) / M."""
    inputs = [(3.0, 8.0, 10, 4), (1.0, 2.0, 5, 3)]
    got = [number(answer(*args)) for args in inputs]
    explain(
        got,
        inputs,
        [
            (
                lambda v, e, m, n: (v + e) / (m * n),
                "more draws for the same images do not make up for the choice of images: L divides only the noise.",
            ),
            (
                lambda v, e, m, n: v / m + e / n,
                "the noise of different images is independent too, so M divides both parts.",
            ),
            (
                lambda v, e, m, n: v + e / (m * n),
                "the choice of images averages out over M too: M divides both parts.",
            ),
            (
                lambda v, e, m, n: (v / m + e) / n,
                "the L draws share their image, so L divides only the noise; M divides both parts.",
            ),
            (
                lambda v, e, m, n: v + e / n,
                "that is one image's; the mean over M independent ones has an Mth of it.",
            ),
            (lambda v, e, m, n: (v + e) / m, "the noise of an image is averaged over its L draws."),
            (lambda v, e, m, n: v / m + e, "the noise is averaged over draws and images: it is divided by L and by M."),
            (lambda v, e, m, n: v / m, "the noise is missing: each image has V_eps / L of it."),
            (lambda v, e, m, n: e / (m * n), "that is the part of the noise; the choice of images adds V_x / M."),
            (
                lambda v, e, m, n: (v / n + e) / m,
                "that is the wrong way round: the L draws share the image and differ in the noise.",
            ),
            (
                lambda v, e, m, n: math.sqrt((v + e / n) / m),
                "that is the standard deviation; return the variance.",
            ),
            (
                lambda v, e, m, n: (v + e / n) / m**2,
                "the mean of M independent gradients has an Mth of the variance of one, not an Mth squared.",
            ),
            (
                lambda v, e, m, n: (v + e / n**2) / m,
                "the mean of L independent draws has an Lth of the variance of one, not an Lth squared.",
            ),
            (
                lambda v, e, m, n: (v + e / n) * m,
                "that is the variance of a sum of M gradients; their mean has an Mth of the variance of one.",
            ),
            (
                lambda v, e, m, n: (v + e / n) / math.sqrt(m),
                "a standard deviation falls like 1/sqrt(M), a variance like 1/M.",
            ),
            (lambda v, e, m, n: (v + e * n) / m, "more draws for an image make less noise: divide V_eps by L."),
        ],
    )
    for (v, e, m, n), found in zip(inputs, got, strict=True):
        exact = (v + e / n) / m
        if not matches(found, exact):
            wrong(f"for V_x = {v:g}, V_eps = {e:g}, M = {m} and L = {n} it is {exact:.3g}; yours is {found:.3g}.")
    return right("L works on one part, M on both.")


def _close(got: Tensor, other: Tensor) -> bool:
    return got.shape == other.shape and torch.allclose(got, other.double(), rtol=1e-5, atol=1e-6)


def _same_shape(got: Tensor, expected: Tensor, what: str) -> None:
    if got.shape != expected.shape:
        wrong(f"{what}, please: shape {tuple(expected.shape)}, not {tuple(got.shape)}.")
