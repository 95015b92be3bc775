"""KL warm-up: let a model first learn to use its latent variables, then to pay for them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from course_lib.vae.models import LatentVariableModel, Posterior
from course_lib.vae.noise import NoiseSource

__all__ = ["warmed_up"]


class _Louder:
    """A model whose log p(x|z) counts more than once."""

    def __init__(self, model: LatentVariableModel, factor: float) -> None:
        self._model, self._factor = model, factor

    def posterior(self, x: Tensor) -> Posterior:
        return self._model.posterior(x)

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        return self._factor * self._model.log_conditional(x, z) + self._model.log_prior(z)


def warmed_up(bound: Callable[..., Tensor], warmth: float) -> Callable[..., Tensor]:
    r"""The bound in which log p(z) - log q(z|x) counts ``warmth`` times.

    .. math:: \beta \, L\left(\tfrac{1}{\beta} \log p(x|z) + \log p(z) - \log q(z|x)\right)

    Args:
        bound: one of `course_lib.vae.bounds.GRADIENTS`.
        warmth: beta, above 0 and at most 1, where it is the bound itself.

    Raises:
        ValueError: ``warmth`` is not above 0 and at most 1.

    Source: Sønderby et al. 2016, section 2.3.
    """
    if not 0 < warmth <= 1:
        raise ValueError(f"warmth must be above 0 and at most 1; got {warmth}.")
    if warmth == 1:
        return bound

    def tempered(model: LatentVariableModel, x: Tensor, k: int, generator: NoiseSource = None) -> Tensor:
        return warmth * bound(_Louder(model, 1 / warmth), x, k, generator)

    return tempered
