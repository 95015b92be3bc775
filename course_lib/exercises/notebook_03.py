"""Checks for notebook 03, the ELBO and the reparameterization trick."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from course_lib.exercises.verdict import Verdict, check, matches, right, wrong
from course_lib.vae import LatentVariableModel, LinearGaussianVAE

__all__ = ["draw", "expected_log_likelihood", "gradient_variance", "kl_gaussians", "log_weights", "shapes", "terms"]


@check
def log_weights(answer: Callable[[LatentVariableModel, Tensor, Tensor], Tensor]) -> Verdict:
    """Exercise 1: log p(x|z) + log p(z) - log q(z|x)."""
    model = LinearGaussianVAE.random(3, 2, seed=0)
    with torch.no_grad():
        model.encoder.bias.add_(0.5)
    x = model.simulate(5, seed=1)
    z = torch.randn(4, 5, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    likelihood, prior, log_q = model.log_conditional(x, z), model.log_prior(z), model.posterior(x).log_prob(z)
    expected = likelihood + prior - log_q
    got = _tensor(answer(model, x, z))
    for other, hint in (
        (likelihood - log_q, "the prior is missing: p(x, z) is p(x|z) times p(z), so add log p(z)."),
        (
            likelihood,
            "that is the integrand under the prior. The draws came from q: add log p(z), subtract log q(z|x).",
        ),
        (likelihood + prior, "that is log p(x, z). The draws came from q, so subtract log q(z|x)."),
        (prior - log_q, "the image itself is missing: add log p(x|z)."),
        (likelihood + prior + log_q, "a weight divides by the density drawn from: subtract log q(z|x), do not add it."),
        (-expected, "that is log q - log p. A draw from q counts p/q times: change the sign."),
        (expected.exp(), "those are the weights; return their logarithms."),
        (expected.mean(0), "that is already the ELBO, their mean; return one log-weight for each draw."),
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
    again = _tensor(answer(model, x, z))
    if got.shape == again.shape and not torch.allclose(got, again, equal_nan=True):
        wrong("the numbers change from call to call: weigh the codes z that are given, and draw no new ones.")
    _same_shape(got, expected, "one log-weight for each draw and image")
    if not _close(got, expected):
        wrong(f"the first log-weight of my test should be {expected[0, 0]:.4f}; yours is {got[0, 0]:.4f}.")
    return right("the same weight as in notebook 2: where it could have come from, over where it was drawn from.")


@check
def kl_gaussians(answer: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> Verdict:
    """Exercise 2: the divergence of two diagonal Gaussians."""
    generator = torch.Generator().manual_seed(0)
    mean, mean0 = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    std, std0 = 0.5 + torch.rand(2, 5, 3, generator=generator, dtype=torch.float64)

    def each(m: Tensor, s: Tensor, m0: Tensor, s0: Tensor) -> Tensor:
        return torch.log(s0 / s) + (s**2 + (m - m0) ** 2) / (2 * s0**2) - 0.5

    terms = each(mean, std, mean0, std0)
    expected = terms.sum(-1)
    got = _tensor(answer(mean, std, mean0, std0))
    square = (std**2 + (mean - mean0) ** 2) / (2 * std0**2)
    for other, hint in (
        (terms, "those are the divergences of each dimension; they add up, so sum over the last axis."),
        (terms.mean(-1), "divergences of independent dimensions add; sum over them instead of averaging."),
        (terms.sum(), "that adds the images of the batch too; sum over the last axis only."),
        (each(mean0, std0, mean, std).sum(-1), "that is KL(p || q), the other way round; the first two describe q."),
        ((terms + 0.5).sum(-1), "the -1/2 of each dimension is missing: KL of a Gaussian with itself must be 0."),
        ((terms + 1).sum(-1), "the constant is -1/2, not +1/2: KL of a Gaussian with itself must be 0."),
        ((square - torch.log(std0 / std) - 0.5).sum(-1), "the logarithm is upside down: log(std0 / std)."),
        (
            (square + 2 * torch.log(std0 / std) - 0.5).sum(-1),
            "log(std0 / std) has no factor 2, unlike that of variances.",
        ),
        (
            (torch.log(std0 / std) + (std + (mean - mean0) ** 2) / (2 * std0) - 0.5).sum(-1),
            "the fraction takes variances: square std and std0.",
        ),
        (
            (torch.log(std0 / std) + (std**2 + mean - mean0) / (2 * std0**2) - 0.5).sum(-1),
            "the difference of the means has to be squared.",
        ),
        (
            (torch.log(std0 / std) + square * std0**4 - 0.5).sum(-1),
            "/ 2 * std0**2 halves and then multiplies by std0**2; put the denominator in parentheses.",
        ),
        (
            (torch.log(std0 / std) + 2 * square - 0.5).sum(-1),
            "a 2 is missing from the denominator, which is 2 * std0**2.",
        ),
        (
            (terms + 0.5).sum(-1) - 0.5,
            "the -1/2 belongs to each dimension: subtract it before the sum, not after.",
        ),
    ):
        if _close(got, other):
            wrong(hint)
    _same_shape(got, expected, "one divergence for each image")
    if not _close(got, expected):
        wrong(f"the first divergence of my test should be {expected[0]:.4f}; yours is {got[0]:.4f}.")
    return right("with mean0 = 0 and std0 = 1 it is the KL term of the bound, with the posterior's it is the gap.")


@check
def shapes(flattened: Any, hidden: Any, output: Any, std: Any, z: Any, logits: Any) -> Verdict:
    """Exercise 3: the shapes from image to logits."""
    given = {"flattened": flattened, "hidden": hidden, "output": output, "std": std, "z_shape": z, "logits": logits}
    got: dict[str, tuple[int, ...]] = {}
    for name, shape in given.items():
        if not isinstance(shape, tuple | list | torch.Size):
            wrong(f"{name} is the shape of the whole batch: write it as a tuple of numbers, such as (20, 1, 28, 28).")
        got[name] = tuple(shape)
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
def draw(answer: Callable[[Tensor, Tensor, int], Tensor]) -> Verdict:
    """Exercise 4: mean + std * noise."""
    k, batch, dim = 2_000, 4, 3
    mean = torch.linspace(-1, 1, batch * dim, dtype=torch.float64).reshape(batch, dim).requires_grad_()
    std = torch.linspace(0.2, 0.6, batch * dim, dtype=torch.float64).reshape(batch, dim).requires_grad_()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        z = answer(mean, std, k)
    if not isinstance(z, Tensor):
        wrong(f"return a tensor, not {type(z).__name__}.")
    if tuple(z.shape) != (k, batch, dim):
        wrong(
            f"k draws for each Gaussian have shape [k, batch, dim], here {(k, batch, dim)}; yours is {tuple(z.shape)}."
        )
    if not z.requires_grad:
        wrong(
            "no gradient flows through your draw. Compute it from mean and std: mean + std * noise, nothing detached."
        )
    noise = ((z - mean) / std).detach()
    if float(noise.std(0).max()) < 1e-6:
        wrong("all k draws are alike; draw the noise with shape [k, batch, dim].")
    if _close(noise[:, 0], noise[:, 1]) or _close(noise[..., 0], noise[..., 1]):
        wrong("images or dimensions share their noise; every number needs its own: shape [k, batch, dim].")
    # Means and standard deviations of n standard normal numbers, within five standard errors.
    n = noise.numel()
    if abs(float(noise.mean()) - 0.5) < 5 / math.sqrt(12 * n):
        wrong("the noise is uniform (torch.rand); it should be normal (torch.randn).")
    if abs(float(((z - mean) / std**2).detach().std()) - 1) < 5 / math.sqrt(2 * n):
        wrong("std is a standard deviation already, not to be squared: mean + std * noise.")
    if abs(float(((z - mean) / std.sqrt()).detach().std()) - 1) < 5 / math.sqrt(2 * n):
        wrong("std is a standard deviation, not a variance: no square root.")
    spread = float(noise.std())
    if abs(float(noise.mean())) > 5 * spread / math.sqrt(n):
        wrong(
            "the draws are not centred on `mean`: are mean and std swapped, or is the mean left out? "
            "Only std multiplies the noise."
        )
    if abs(spread - 1) > 5 / math.sqrt(2 * n):
        wrong(f"the draws are centred on `mean`, but spread {spread:.2f} times as widely as `std` says.")
    by_mean, by_std = torch.autograd.grad(z.sum(), (mean, std), allow_unused=True)
    if by_mean is None or not _close(by_mean, torch.full_like(mean, k)):
        wrong("the gradient does not reach `mean`: is it detached?")
    if by_std is None or not torch.allclose(by_std, noise.sum(0)):
        wrong("the gradient does not reach `std`: is it detached?")
    return right("dz/dmean is 1 and dz/dstd is the noise: the draw is now a function of its parameters.")


@check
def terms(expectation: str, divergence: str, noise: str, encoder_runs: str, decoder_runs: str) -> Verdict:
    """Exercise 5: lines of code and terms of the bound."""
    answers = {"expectation": expectation, "divergence": divergence, "noise": noise,
               "encoder_runs": encoder_runs, "decoder_runs": decoder_runs}  # fmt: skip
    got = {}
    for name, letter in answers.items():
        got[name] = str(letter).strip().lower()
        if got[name] not in tuple("abcde"):
            wrong(f"{name} should be one of the letters a to e; it is {letter!r}.")
    hints = {
        ("expectation", "a"): "a only runs the encoder; the expectation is of log p(x|z), at codes drawn later.",
        ("expectation", "b"): "b draws the codes; the line that evaluates log p(x|z) at them and averages is another.",
        ("expectation", "d"): "d compares q with the prior, and log p(x|z) is not in it; that is the other term.",
        ("expectation", "e"): "e is the whole bound; E_q[log p(x|z)] is one of its two terms.",
        ("divergence", "a"): "a makes q, one of the two that are compared; the prior enters in a later line.",
        ("divergence", "b"): "b draws codes from q; to know the divergence exactly takes no draws.",
        ("divergence", "c"): "c is log p(x|z), the other term; the prior p(z) is not in it.",
        ("divergence", "e"): "e is the whole bound; the divergence is what is subtracted there.",
        ("noise", "a"): "the encoder is a function: the same image gives the same mean and scale. Chance comes later.",
        ("noise", "c"): "c evaluates a density at the codes it is given; they were drawn before.",
        ("noise", "d"): "d is a formula in the mean and scale of q, exact, with no draw in it.",
        ("noise", "e"): "e only subtracts; its chance comes with the log-likelihood, from an earlier line.",
        ("encoder_runs", "b"): "b uses what the encoder gave; it ran a line earlier.",
        ("encoder_runs", "c"): "c runs the decoder, whose parameters are theta; phi reaches it through z.",
        ("encoder_runs", "d"): "d uses what the encoder gave, its mean and scale; the network itself ran in a.",
        ("encoder_runs", "e"): "e only subtracts; the encoder ran before.",
        ("decoder_runs", "a"): "a runs the encoder, whose parameters are phi.",
        ("decoder_runs", "b"): "b draws codes from q, which is the encoder's; theta are the decoder's parameters.",
        ("decoder_runs", "d"): "d compares q with the prior N(0, I), which has no parameters; theta are the decoder's.",
        ("decoder_runs", "e"): "e only subtracts; the decoder ran before.",
    }
    wanted = {"expectation": "c", "divergence": "d", "noise": "b", "encoder_runs": "a", "decoder_runs": "c"}
    for name, letter in wanted.items():
        if got[name] != letter:
            wrong(f"{name}: {hints[name, got[name]]}")
    return right("phi enters in a, reaches b, c and d through q, and theta enters in c alone.")


@check
def expected_log_likelihood(answer: Callable[[Tensor, Tensor], Tensor]) -> Verdict:
    """Exercise 6: the mean of the log-likelihoods."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(6, 4, 9, generator=generator, dtype=torch.float64)
    x = (torch.rand(4, 9, generator=generator) < 0.5).double()
    each = x * logits - softplus(logits)
    expected = each.sum(-1).mean(0)
    got = _tensor(answer(x, logits))
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
    sure = torch.full((1, 1, 1), 40.0)
    if not _close(_tensor(answer(torch.zeros(1, 1), sure)), torch.tensor([-40.0])):
        wrong("right, but for a logit of 40 and a pixel that is off it should be -40: do not go through probabilities.")
    return right("an average over codes of how well each one alone explains the image.")


@check
def gradient_variance(answer: Callable[[float, float, int, int], float]) -> Verdict:
    """Exercise 7: (V_x + V_eps / L) / M."""
    v_images, v_noise, m, n = 3.0, 8.0, 10, 4
    got = float(answer(v_images, v_noise, m, n))
    for other, hint in (
        (
            (v_images + v_noise) / (m * n),
            "more draws for the same images do not make up for the choice of images: L divides only the noise.",
        ),
        (v_images / m + v_noise / n, "the noise of different images is independent too, so M divides both parts."),
        (v_images + v_noise / (m * n), "the choice of images averages out over M too: M divides both parts."),
        (
            (v_images / m + v_noise) / n,
            "the L draws share their image, so L divides only the noise; M divides both parts.",
        ),
        (v_images + v_noise / n, "that is one image's; the mean over M independent ones has an Mth of it."),
        ((v_images + v_noise) / m, "the noise of an image is averaged over its L draws."),
        (
            (v_images / n + v_noise) / m,
            "that is the wrong way round: the L draws share the image and differ in the noise.",
        ),
        (math.sqrt((v_images + v_noise / n) / m), "that is the standard deviation; return the variance."),
        ((v_images + v_noise / n) / m**2, "the mean of M independent gradients has an Mth of the variance of one."),
        (
            (v_images + v_noise / n**2) / m,
            "the mean of L independent draws has an Lth of the variance of one, not an Lth squared.",
        ),
    ):
        if matches(got, other):
            wrong(hint)
    expected = (v_images + v_noise / n) / m
    if not matches(got, expected):
        wrong(f"for V_x = 3, V_eps = 8, M = 10 and L = 4 the answer is {expected:g}; yours is {got:g}.")
    if not matches(float(answer(1.0, 2.0, 5, 1)), 0.6):
        wrong("it is right for M = 10 and L = 4, but for V_x = 1, V_eps = 2, M = 5 and L = 1 the answer is 0.6.")
    return right("L works on one part, M on both.")


def _tensor(answer: Any) -> Tensor:
    """An answer as numbers, whatever it carries for gradients."""
    if not isinstance(answer, Tensor):
        wrong(f"return a tensor, not {type(answer).__name__}.")
    return answer.detach()


def _close(got: Tensor, other: Tensor) -> bool:
    return got.shape == other.shape and torch.allclose(got.double(), other.detach().double(), rtol=1e-5, atol=1e-6)


def _same_shape(got: Tensor, expected: Tensor, what: str) -> None:
    if got.shape != expected.shape:
        wrong(f"{what}, please: shape {tuple(expected.shape)}, not {tuple(got.shape)}.")
