"""KL warm-up: let a model first learn to use its latent variables, then to pay for them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from numbers import Real

from torch import Tensor

from course_lib.vae.models import LatentVariableModel
from course_lib.vae.noise import NoiseSource

__all__ = ["warmed_up"]


def warmed_up(bound: Callable[..., Tensor], warmth: float) -> Callable[..., Tensor]:
    r"""The bound in which log p(z) - log q(z|x) counts ``warmth`` times.

    .. math:: \beta \, L\left(\tfrac{1}{\beta} \log p(x|z) + \log p(z) - \log q(z|x)\right)

    Args:
        bound: one of `course_lib.vae.bounds.GRADIENTS`.
        warmth: beta, above 0 and at most 1, where it is the bound itself.

    Raises:
        ValueError: ``warmth`` is no number above 0 and at most 1.

    Source: [Sonderby2016], section 2.3.
    """
    if not isinstance(warmth, Real) or not 0 < warmth <= 1:
        raise ValueError(f"warmth must be above 0 and at most 1; got {warmth!r}.")
    if warmth == 1:
        return bound

    def tempered(model: LatentVariableModel, x: Tensor, k: int, generator: NoiseSource = None) -> Tensor:
        return warmth * bound(_louder(model, 1 / warmth), x, k, generator)

    return tempered


def _louder(model: LatentVariableModel, factor: float) -> LatentVariableModel:
    """The same model, parameters included, but that log p(x|z) counts ``factor`` times in its log-weights."""

    def log_joint(x: Tensor, z: Tensor) -> Tensor:
        return factor * model.log_conditional(x, z) + model.log_prior(z)

    louder = copy.copy(model)
    louder.log_joint = log_joint  # type: ignore[method-assign]
    return louder
