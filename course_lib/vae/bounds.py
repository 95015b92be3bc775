r"""Lower bounds on log p(x), and ways to estimate their gradients.

`elbo` and `iwae_bound` reduce log-weights ``[k, batch]``. To train, one needs the gradient of their expectation, and
there are several unbiased estimators of it, which differ in variance. Each is written here as a *surrogate*: a
``[batch]`` tensor whose value is the bound and whose ``backward()`` gives the estimator, so that
``(-surrogate.mean()).backward()`` is a training step. `GRADIENTS` names them for presets.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.vae.distributions import DiagonalGaussian
from course_lib.vae.models import VAE, LatentVariableModel, LinearGaussianVAE, checked_n_samples
from course_lib.vae.noise import NoiseSource

__all__ = [
    "GRADIENTS",
    "doubly_reparameterized",
    "elbo",
    "elbo_closed_form",
    "iwae_autograd",
    "iwae_bound",
    "iwae_weighted",
    "pathwise",
    "score_function",
    "sticking_the_landing",
]


def elbo(log_w: Tensor) -> Tensor:
    """The evidence lower bound: the mean log-weight.

    Args:
        log_w: log p(x, z) - log q(z|x) in nats, ``[k, batch]``.

    Returns:
        ``[batch]``, nats.

    Raises:
        ValueError: there are no samples.

    Source: Kingma and Welling 2014, equation 3.
    """
    return _checked(log_w).mean(0)


def iwae_bound(log_w: Tensor) -> Tensor:
    """The importance-weighted bound: the log of the mean weight. With one sample it is the ELBO's estimate.

    Args:
        log_w: log p(x, z) - log q(z|x) in nats, ``[k, batch]``.

    Returns:
        ``[batch]``, nats.

    Raises:
        ValueError: there are no samples.

    Source: Burda et al. 2016, equation 8.
    """
    log_w = _checked(log_w)
    return torch.logsumexp(log_w, 0) - math.log(log_w.shape[0])


def elbo_closed_form(model: VAE | LinearGaussianVAE, x: Tensor, k: int, generator: NoiseSource = None) -> Tensor:
    """The ELBO with KL(q || p) in closed form, so that only E[log p(x|z)] is sampled; ``[batch]``, nats.

    For models with the prior N(0, I) and a diagonal Gaussian q.

    Raises:
        ValueError: q is no diagonal Gaussian, or the prior may not be N(0, I).

    Source: Kingma and Welling 2014, equation 10 ("version B").
    """
    q = model.posterior(x)
    if not (isinstance(model, VAE | LinearGaussianVAE) and isinstance(q, DiagonalGaussian)):
        raise ValueError(f"the KL divergence of a {type(model).__name__}'s q has no closed form; use pathwise.")
    z = q.rsample(checked_n_samples(k), generator)
    return model.log_conditional(x, z).mean(0) - q.kl_from_standard_normal()


def pathwise(model: LatentVariableModel, x: Tensor, k: int, generator: NoiseSource = None) -> Tensor:
    """The ELBO, differentiated through the draws z = mean + std * noise: the reparameterization trick.

    Source: Kingma and Welling 2014, section 2.4.
    """
    return elbo(_log_weights(model, x, k, generator))


def score_function(
    model: LatentVariableModel,
    x: Tensor,
    k: int,
    generator: NoiseSource = None,
    *,
    baseline: bool = False,
) -> Tensor:
    """The ELBO, differentiated through the density of the draws instead: also known as REINFORCE.

    Args:
        model: a latent variable model.
        x: images, ``[batch, ...]``.
        k: samples for each image; at least 2 with a baseline.
        generator: source of the draws.
        baseline: subtract from each sample's signal the mean of the other samples', which changes no expectation.

    Raises:
        ValueError: ``k`` is below 1, or below 2 with a baseline.

    Source: Williams 1992; the baseline from Mnih and Rezende 2016, section 2.4.
    """
    q = model.posterior(x)
    z = q.rsample(checked_n_samples(k), generator).detach()
    log_p, log_q = model.log_joint(x, z), q.log_prob(z)
    signal = (log_p - log_q).detach()
    value = elbo(signal)
    if baseline:
        if k < 2:
            raise ValueError("a baseline made of the other samples needs at least 2 samples; got k = 1.")
        signal = (signal - signal.mean(0)) * k / (k - 1)
    return _with_value((log_p + signal * log_q).mean(0), value)


def sticking_the_landing(model: LatentVariableModel, x: Tensor, k: int, generator: NoiseSource = None) -> Tensor:
    """The pathwise gradient of the ELBO less a part whose expectation is zero: exact once q is the posterior.

    Source: Roeder, Wu and Duvenaud 2017, section 3.
    """
    q = model.posterior(x)
    z = q.rsample(checked_n_samples(k), generator)
    return elbo(model.log_joint(x, z) - q.detached().log_prob(z))


def iwae_autograd(model: LatentVariableModel, x: Tensor, k: int, generator: NoiseSource = None) -> Tensor:
    """The IWAE bound, left to automatic differentiation."""
    return iwae_bound(_log_weights(model, x, k, generator))


def iwae_weighted(model: LatentVariableModel, x: Tensor, k: int, generator: NoiseSource = None) -> Tensor:
    """The IWAE bound's gradient written out: log-weight gradients, averaged with the normalized weights held fixed.

    Source: Burda et al. 2016, equation 14. The same numbers as `iwae_autograd`.
    """
    log_w = _log_weights(model, x, k, generator)
    return _with_value((_normalized(log_w) * log_w).sum(0), iwae_bound(log_w))


def doubly_reparameterized(model: LatentVariableModel, x: Tensor, k: int, generator: NoiseSource = None) -> Tensor:
    """The IWAE bound with an encoder gradient whose signal does not drown in noise as k grows.

    The decoder keeps its ordinary gradient. The encoder's reaches it through z alone, with squared weights.

    Source: Tucker, Lawson, Gu and Maddison 2019, equation 7.
    """
    q = model.posterior(x)
    z = q.rsample(checked_n_samples(k), generator)
    log_w = model.log_joint(x, z) - q.detached().log_prob(z)
    weight = _normalized(log_w)
    if z.requires_grad:
        # What arrives at z has been weighted once, by the sum below.
        z.register_hook(lambda gradient: weight.unsqueeze(-1) * gradient)
    return _with_value((weight * log_w).sum(0), iwae_bound(log_w))


GRADIENTS: dict[str, Callable[..., Tensor]] = {
    "pathwise": pathwise,
    "score-function": score_function,
    "sticking-the-landing": sticking_the_landing,
    "iwae": iwae_autograd,
    "iwae-weighted": iwae_weighted,
    "doubly-reparameterized": doubly_reparameterized,
}


def _log_weights(model: LatentVariableModel, x: Tensor, k: int, generator: NoiseSource) -> Tensor:
    # Not the model's own log_weights: its look at every pixel would make a GPU wait for the CPU at each step.
    q = model.posterior(x)
    z, log_q = q.rsample_and_log_prob(checked_n_samples(k), generator)
    return model.log_joint(x, z) - log_q


def _normalized(log_w: Tensor) -> Tensor:
    return torch.softmax(log_w.detach(), 0)


def _with_value(surrogate: Tensor, value: Tensor) -> Tensor:
    """The gradient of one and the value of the other."""
    return surrogate - surrogate.detach() + value.detach()


def _checked(log_w: Tensor) -> Tensor:
    if log_w.ndim < 1 or not log_w.shape[0]:
        raise ValueError(f"log-weights must have shape [k, batch] with k at least 1; got {list(log_w.shape)}.")
    return log_w
