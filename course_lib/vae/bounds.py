r"""Lower bounds on log p(x), and ways to estimate their gradients.

`elbo` and `iwae_bound` reduce log-weights ``[k, batch]``, those of `LatentVariableModel.log_weights`. To train, one
needs the gradient of their expectation, and there are several unbiased estimators of it, which differ in variance. Each
is written here as a *surrogate*: a ``[batch]`` tensor whose value is the bound and whose ``backward()`` gives the
estimator, so that ``(-surrogate.mean()).backward()`` is a training step. `GRADIENTS` names them for presets.

Surrogates do not look at images, nor at log-weights: a look at every pixel would make a GPU wait for the CPU at each
step. `LatentVariableModel.checked_images` is for images that may not be the model's.

Those that differentiate a log-weight as it stands take it from `log_weights`. The others make the same one of z and
log q(z|x), because they hold part of them fixed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.vae.dense import VAE
from course_lib.vae.distributions import DiagonalGaussian, checked_floating
from course_lib.vae.linear_gaussian import LinearGaussianVAE
from course_lib.vae.models import LatentVariableModel, checked_n_samples
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
        ValueError: there are no samples, or these are no floating-point numbers.

    Source: [Kingma2014], equation 3.
    """
    return _checked(log_w).mean(0)


def iwae_bound(log_w: Tensor) -> Tensor:
    """The importance-weighted bound: the log of the mean weight. With one sample it is the ELBO's estimate.

    Args:
        log_w: log p(x, z) - log q(z|x) in nats, ``[k, batch]``.

    Returns:
        ``[batch]``, nats.

    Raises:
        ValueError: there are no samples, or these are no floating-point numbers.

    Source: [Burda2016], equation 8.
    """
    log_w = _checked(log_w)
    return torch.logsumexp(log_w, 0) - math.log(log_w.shape[0])


def elbo_closed_form(model: VAE | LinearGaussianVAE, x: Tensor, k: int, generator: NoiseSource = None) -> Tensor:
    """The ELBO with KL(q || p) in closed form, so that only E[log p(x|z)] is sampled; ``[batch]``, nats.

    For models with the prior N(0, I) and a diagonal Gaussian q: `VAE` and `LinearGaussianVAE`.

    Raises:
        ValueError: ``k`` is no whole number of at least 1, or the model is another.

    Source: [Kingma2014], equation 10 ("version B").
    """
    k = checked_n_samples(k)
    q = model.posterior(x)
    if not (isinstance(model, VAE | LinearGaussianVAE) and isinstance(q, DiagonalGaussian)):
        raise ValueError(
            f"the KL divergence is in closed form for a VAE or a LinearGaussianVAE, not for a {type(model).__name__}; "
            "use pathwise."
        )
    z = q.rsample(k, generator)
    return model.log_conditional(x, z).mean(0) - q.kl_from_standard_normal()


def pathwise(model: LatentVariableModel, x: Tensor, k: int, generator: NoiseSource = None) -> Tensor:
    """The ELBO, differentiated through the draws z = mean + std * noise: the reparameterization trick.

    Raises:
        ValueError: ``k`` is no whole number of at least 1.

    Source: [Kingma2014], section 2.4.
    """
    return elbo(model.log_weights(x, k, generator, check=False))


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
        ValueError: ``k`` is no whole number of at least 1, or of at least 2 with a baseline.

    Source: [Williams1992]; the baseline from [Mnih2016], section 2.4.
    """
    k = checked_n_samples(k)
    if baseline and k < 2:
        raise ValueError("a baseline made of the other samples needs at least 2 samples; got k = 1.")
    q = model.posterior(x)
    z = q.rsample(k, generator).detach()
    log_p, log_q = model.log_joint(x, z), q.log_prob(z)
    signal = (log_p - log_q).detach()
    value = elbo(signal)
    if baseline:
        signal = (signal - signal.mean(0)) * k / (k - 1)
    return _with_value((log_p + signal * log_q).mean(0), value)


def sticking_the_landing(model: LatentVariableModel, x: Tensor, k: int, generator: NoiseSource = None) -> Tensor:
    """The pathwise gradient of the ELBO less a part whose expectation is zero: exact once q is the posterior.

    Raises:
        ValueError: ``k`` is no whole number of at least 1.

    Source: [Roeder2017], section 3.
    """
    q = model.posterior(x)
    z = q.rsample(checked_n_samples(k), generator)
    return elbo(model.log_joint(x, z) - q.detached().log_prob(z))


def iwae_autograd(model: LatentVariableModel, x: Tensor, k: int, generator: NoiseSource = None) -> Tensor:
    """The IWAE bound, left to automatic differentiation.

    Raises:
        ValueError: ``k`` is no whole number of at least 1.
    """
    return iwae_bound(model.log_weights(x, k, generator, check=False))


def iwae_weighted(model: LatentVariableModel, x: Tensor, k: int, generator: NoiseSource = None) -> Tensor:
    """The IWAE bound's gradient written out: log-weight gradients, averaged with the normalized weights held fixed.

    Raises:
        ValueError: ``k`` is no whole number of at least 1.

    Source: [Burda2016], equation 14. The same numbers as `iwae_autograd`.
    """
    log_w = model.log_weights(x, k, generator, check=False)
    return _with_value((_normalized(log_w) * log_w).sum(0), iwae_bound(log_w))


def doubly_reparameterized(model: LatentVariableModel, x: Tensor, k: int, generator: NoiseSource = None) -> Tensor:
    """The IWAE bound with an encoder gradient whose signal does not drown in noise as k grows.

    The decoder keeps its ordinary gradient. The encoder's reaches it through z alone, with squared weights.

    Raises:
        ValueError: ``k`` is no whole number of at least 1.

    Source: [Tucker2019], equation 7.
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


def _normalized(log_w: Tensor) -> Tensor:
    return torch.softmax(log_w.detach(), 0)


def _with_value(surrogate: Tensor, value: Tensor) -> Tensor:
    """The gradient of one and the value of the other."""
    return surrogate - surrogate.detach() + value.detach()


def _checked(log_w: Tensor) -> Tensor:
    log_w = checked_floating("log-weights", log_w)
    if log_w.ndim < 1 or not log_w.shape[0]:
        raise ValueError(f"log-weights must have shape [k, batch] with k at least 1; got {list(log_w.shape)}.")
    return log_w
