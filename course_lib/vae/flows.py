r"""Autoregressive flows: invertible networks that make a Gaussian into a distribution of any shape, density included.

A step moves and scales each number by amounts that depend on the numbers before it:

.. math:: y_i = x_i e^{a_i} + b_i, \quad (a_i, b_i) = f_i(x_1, \dots, x_{i-1}), \quad
          \log \left| \det \frac{\partial y}{\partial x} \right| = \sum_i a_i

From x to y it is one pass through a masked network; from y to x it is one pass for each number. Hence two uses of the
same steps: `InverseAutoregressiveFlow` is a posterior, fast to draw from, and `FlowPrior` a prior whose density is
fast. The masked networks are zuko's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from zuko.nn import MaskedMLP
from zuko.transforms import MonotonicAffineTransform

from course_lib.checks import whole_number
from course_lib.vae.distributions import DiagonalGaussian, standard_normal_log_prob
from course_lib.vae.models import Posterior, standard_normal
from course_lib.vae.noise import NoiseSource

__all__ = ["FlowPosterior", "FlowPrior", "InverseAutoregressiveFlow"]


class _Step(nn.Module):
    """One step: the identity at first, with scales between 1/1000 and 1000 ever after."""

    def __init__(self, latent_dim: int, context_dim: int, width: int, backwards: bool) -> None:
        super().__init__()
        order = torch.arange(latent_dim)
        self.order = order.flip(0).tolist() if backwards else order.tolist()
        # Whether an output may depend on an input: on the latents before its own, and on all of the context.
        before = order[:, None] < order if backwards else order[:, None] > order
        depends = torch.cat([before, torch.ones(latent_dim, context_dim, dtype=torch.bool)], dim=1)
        layers: list[Any] = list(MaskedMLP(depends.repeat(2, 1), [width, width], nn.ELU))
        for layer in layers[::2]:
            # Masks follow from the sizes, so files need not hold them.
            layer.register_buffer("mask", layer.mask, persistent=False)
        nn.init.zeros_(layers[-1].weight)
        nn.init.zeros_(layers[-1].bias)
        self.first, self.others = layers[0], nn.Sequential(*layers[1:])

    def forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """From x to y ``[..., latent_dim]``, with the log-determinant ``[...]``, in one pass."""
        affine = self._affine(x, context)
        return affine(x), affine.log_scale.sum(-1)

    def inverse(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """From y to x, with the log-determinant of the way from x to y, in a pass for each number."""
        x, log_determinant = torch.zeros_like(y), torch.zeros_like(y[..., 0])
        for i in self.order:
            affine = self._affine(x, context)
            x = x.select_scatter(affine.inv(y)[..., i], -1, i)
            log_determinant = log_determinant + affine.log_scale[..., i]
        return x, log_determinant

    def _affine(self, x: Tensor, context: Tensor | None) -> MonotonicAffineTransform:
        first: Any = self.first
        weight = first.mask * first.weight
        # The context's share of the first layer is the same for all draws of an image, so it is computed once.
        constant = first.bias if context is None else functional.linear(context, weight[:, x.shape[-1] :], first.bias)
        hidden = functional.linear(x, weight[:, : x.shape[-1]]) + constant
        # Under autocast the network has 8 bits, but draws and log-determinants keep theirs.
        shift, raw_log_scale = self.others(hidden).to(x.dtype).chunk(2, dim=-1)
        # The slope is said because zuko's default was another before 1.5, and checkpoints mean this one.
        return MonotonicAffineTransform(shift, raw_log_scale, slope=1e-3)


class _Steps(nn.ModuleList):
    """Several steps, which take the numbers forwards and backwards in turn."""

    def __init__(self, latent_dim: int, context_dim: int, n_layers: int, width: int) -> None:
        latent_dim, n_layers, width = _checked_sizes(latent_dim, n_layers, width)
        super().__init__(_Step(latent_dim, context_dim, width, backwards=bool(i % 2)) for i in range(n_layers))

    def forward(self, x: Tensor, context: Tensor | None = None, inverse: bool = False) -> tuple[Tensor, Tensor]:
        """From x to y, or back, ``[..., latent_dim]``, with the log-determinant ``[...]`` of the way from x to y."""
        log_determinant = torch.zeros_like(x[..., 0])
        steps: list[Any] = list(self)
        for step in reversed(steps) if inverse else steps:
            x, more = step.inverse(x, context) if inverse else step(x, context)
            log_determinant = log_determinant + more
        return x, log_determinant


class FlowPosterior:
    """q(z|x) of draws from a simpler distribution that have been sent through a flow.

    Attributes:
        base: the simpler distribution.
    """

    def __init__(
        self, base: Posterior, context: Tensor, steps: nn.Module, parameters: dict[str, Tensor] | None = None
    ) -> None:
        """Put a base, a context ``[batch, context_dim]`` and steps together; ``parameters`` replace the steps' own."""
        self.base, self._context, self._steps, self._parameters = base, context, steps, parameters

    def rsample(self, k: int, generator: NoiseSource = None) -> Tensor:
        """Draw ``[k, batch, latent_dim]``, through which gradients flow."""
        z, _ = self._transform(self.base.rsample(k, generator))
        return z

    def rsample_and_log_prob(self, k: int, generator: NoiseSource = None) -> tuple[Tensor, Tensor]:
        """Draw, with the log-density in nats, ``[k, batch]``, at the draws: one pass for each step."""
        noise, log_base = self.base.rsample_and_log_prob(k, generator)
        z, log_determinant = self._transform(noise)
        return z, log_base - log_determinant

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density in nats, ``[k, batch]``. It takes as many passes for each step as z has numbers."""
        noise, log_determinant = self._transform(z, inverse=True)
        return self.base.log_prob(noise) - log_determinant

    def from_noise(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """See `course_lib.vae.models.NoiseMap`."""
        base: Any = self.base
        between, log_determinant = base.from_noise(noise)
        z, more = self._transform(between)
        return z, log_determinant + more

    def to_noise(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """See `course_lib.vae.models.NoiseMap`. It takes as many passes for each step as z has numbers."""
        base: Any = self.base
        between, more = self._transform(z, inverse=True)
        noise, log_determinant = base.to_noise(between)
        return noise, log_determinant + more

    def detached(self) -> FlowPosterior:
        """The same distribution, through whose parameters no gradient flows."""
        parameters = dict(self._steps.named_parameters()) if self._parameters is None else self._parameters
        frozen = {name: parameter.detach() for name, parameter in parameters.items()}
        return FlowPosterior(self.base.detached(), self._context.detach(), self._steps, frozen)

    def with_base(self, base: Posterior) -> FlowPosterior:
        """The same flow of draws from another distribution."""
        return FlowPosterior(base, self._context, self._steps, self._parameters)

    def _transform(self, z: Tensor, inverse: bool = False) -> tuple[Tensor, Tensor]:
        if self._parameters is None:
            return self._steps(z, self._context, inverse)
        return torch.func.functional_call(self._steps, self._parameters, (z, self._context, inverse))


class InverseAutoregressiveFlow(nn.Module):
    """A posterior more flexible than a Gaussian, and as fast to draw from.

    It starts as the Gaussian it is given.

    Source: [Kingma2016], section 3 (with scales as in [Papamakarios2017], in place of gates).
    """

    def __init__(self, latent_dim: int, context_dim: int, n_layers: int, width: int) -> None:
        """Make the steps.

        Args:
            latent_dim: numbers in z.
            context_dim: numbers that the encoder passes on to each step, beside the Gaussian.
            n_layers: steps.
            width: units in each of a step's two hidden layers.

        Raises:
            ValueError: a size is no whole number of at least 1, ``latent_dim`` is 1, or ``width`` below ``latent_dim``.
        """
        super().__init__()
        self.steps = _Steps(latent_dim, whole_number("context_dim", context_dim), n_layers, width)

    def forward(self, base: DiagonalGaussian, context: Tensor) -> FlowPosterior:
        """q(z|x) of images for which the encoder gives ``base`` and ``context`` ``[batch, context_dim]``."""
        return FlowPosterior(base, context, self.steps)


class FlowPrior(nn.Module):
    """A prior that learns its shape. It starts as the standard normal.

    Source: [Papamakarios2017], section 3; as a prior, [Chen2017].
    """

    def __init__(self, latent_dim: int, n_layers: int, width: int) -> None:
        """Make the steps.

        Args:
            latent_dim: numbers in z.
            n_layers: steps.
            width: units in each of a step's two hidden layers.

        Raises:
            ValueError: a size is no whole number of at least 1, ``latent_dim`` is 1, or ``width`` below ``latent_dim``.
        """
        super().__init__()
        self.steps = _Steps(latent_dim, 0, n_layers, width)
        self.latent_dim = int(latent_dim)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) in nats, ``[...]``, of ``z`` ``[..., latent_dim]``: one pass for each step."""
        noise, log_determinant = self.steps(z)
        return standard_normal_log_prob(noise) + log_determinant

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``[n, latent_dim]``. It takes as many passes for each step as z has numbers.

        Raises:
            ValueError: ``n`` is no whole number of at least 1, or ``generator`` is no torch.Generator, or on another
                device.
        """
        z, _ = self.steps(standard_normal(self, n, self.latent_dim, generator), inverse=True)
        return z


def _checked_sizes(latent_dim: int, n_layers: int, width: int) -> tuple[int, int, int]:
    latent_dim, n_layers = whole_number("latent_dim", latent_dim), whole_number("n_layers", n_layers)
    width = whole_number("width", width)
    if latent_dim < 2:
        raise ValueError("a flow needs at least 2 latent dimensions: with one there is nothing to depend on.")
    if width < latent_dim:
        raise ValueError(
            f"a flow of {latent_dim} latent dimensions needs a width of at least {latent_dim}, or the last of them "
            f"would not see all the others; got {width}."
        )
    return latent_dim, n_layers, width
