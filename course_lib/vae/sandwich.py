"""Bounds on log p(x) from below and from above: is the sampler itself right?

Annealing bounds log p(x) from below. From an exact draw of the posterior the same walk can be taken backwards, where
it collects the reciprocal of a weight, whose expectation is 1 / p(x): a bound from above. Together they are
bidirectional Monte Carlo.

Source: [Grosse2015].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from course_lib.checks import whole_number
from course_lib.estimates import Estimate, value_with_error
from course_lib.vae.annealing import AnnealedEvidence, annealed_evidence, chains
from course_lib.vae.annealing_settings import Annealing, check_settings
from course_lib.vae.evidence import Evidence
from course_lib.vae.models import LatentVariableModel, check_model, check_weights
from course_lib.vae.noise import Purpose, keyed

__all__ = ["BidirectionalBounds", "bidirectional_bounds"]

# A day or two of annealing as it is by default, for 784-200-200-50 on one core.
_MOST_IMAGES = 10**5


@dataclass(frozen=True)
class BidirectionalBounds:
    """A stochastic sandwich of log p(x), in nats, for images that the model itself has simulated.

    The expectation of ``lower`` is below log p(x) and that of ``upper`` above it. With probability 1 - exp(-b), for
    each of them, it is not beyond log p(x) by more than b nats (Markov's inequality).

    Attributes:
        images: what was simulated, ``[n_images, data_dim]``.
        forward: annealing from the start to the posterior, which gives the lower bounds.
        reverse_log_weights: of the chains that walk back from the z that made an image, ``[n_chains, n_images]``.
    """

    images: Tensor
    forward: AnnealedEvidence
    reverse_log_weights: Tensor

    @property
    def lower(self) -> Tensor:
        """Lower bounds, ``[n_images]``: the log-mean-exp of the forward weights."""
        return self.forward.per_image

    @property
    def lower_std_error(self) -> Tensor:
        """Their standard errors, ``[n_images]``."""
        return self.forward.std_error

    @cached_property
    def _reciprocal(self) -> Evidence:
        """What the reciprocals of the reverse weights say of 1 / p(x)."""
        return Evidence.from_log_weights(-self.reverse_log_weights, self.forward.data_dim)

    @property
    def upper(self) -> Tensor:
        """Upper bounds, ``[n_images]``: the log of the harmonic mean of the reverse weights."""
        return -self._reciprocal.per_image

    @property
    def upper_std_error(self) -> Tensor:
        """Their standard errors, ``[n_images]``, given the one draw of the posterior that all its chains start at.

        What another draw would have changed they cannot see; the error of ``mean_gap`` does.
        """
        return self._reciprocal.std_error

    @property
    def gap(self) -> Tensor:
        """Upper less lower bound, ``[n_images]``: below zero at times, but not on average."""
        return self.upper - self.lower

    @cached_property
    def mean_gap(self) -> Estimate:
        """The mean gap, with its error from the spread over images, of which there must be two."""
        return Estimate.from_values(self.gap.numpy())

    @property
    def mean_lower(self) -> tuple[float, float]:
        """The mean lower bound of these images, and its standard error from the sampling of chains."""
        return float(self.lower.mean()), self.forward.mean.std_error

    @property
    def mean_upper(self) -> tuple[float, float]:
        """The mean upper bound of these images, and the error of the mean gap, which is no smaller than its own."""
        return float(self.upper.mean()), self.mean_gap.std_error

    def __str__(self) -> str:
        lower, upper = value_with_error(*self.mean_lower), value_with_error(*self.mean_upper)
        return (
            f"log p(x) between {lower} and {upper} nats, gap {self.mean_gap.rounded}, mean of {len(self.images):,} "
            f"simulated images with {self.forward.n_samples:,} chains of {self.forward.n_steps:,} steps each way"
        )

    __repr__ = __str__


def bidirectional_bounds(
    model: LatentVariableModel,
    n_images: int,
    settings: Annealing = Annealing(),  # noqa: B008 (it is frozen)
    *,
    progress: bool = True,
) -> BidirectionalBounds:
    """Bound log p(x) from below and above, for images simulated by the model: is the sampler itself right?

    Draws z from p(z) and x from p(x|z). Then z is an exact draw from the posterior p(z|x). Chains from the start to
    the posterior bound log p(x) from below, and chains that walk the same path back from z bound it from above. Real
    images come without such a z, so **the upper bound holds only for simulated ones**: from a z found in any other
    way, reverse chains bound nothing.

    Args:
        model: in eval mode if it has batch norm or dropout.
        n_images: how many to simulate, at most 100,000; 2 at least for an error of the mean gap.
        settings: how to anneal, in both directions; its seed is that of the images too.
        progress: show a bar where it takes more than a few seconds.

    Raises:
        ValueError: ``settings`` is no `Annealing`, ``n_images`` is out of range, the model's weights or log-weights
            are not finite, or the dynamics diverge, as in `annealed_importance_sampling`.

    Source: [Grosse2015]; [Wu2017], section 4.
    """
    check_model(model)
    check_settings(settings)
    n_images = whole_number("n_images", n_images, most=_MOST_IMAGES)
    # Otherwise torch would complain of the probabilities that images are drawn with.
    check_weights(model)
    z, x = _simulated(model, n_images, settings.seed)
    images = model.checked_images(x)
    forward, reverse = chains(model, images, settings, range(n_images), progress, posterior_draws=z)
    return BidirectionalBounds(images, annealed_evidence(model, forward, settings), -reverse.log_weights)


@torch.no_grad()
def _simulated(model: LatentVariableModel, n_images: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draws of z ``[n_images, latent_dim]`` from the prior, and of x ``[n_images, data_dim]`` given them."""
    device, z, x = next(model.parameters()).device, [], []
    for number in range(n_images):
        generator = keyed(device, Purpose.SIMULATION, seed, number)
        z.append(model.sample_prior(1, generator))
        x.append(model.sample_conditional(z[-1], generator))
    return torch.cat(z), torch.cat(x)
