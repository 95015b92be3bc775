r"""Where to draw z when log p(x) is estimated: the encoder's q(z|x), or something with heavier tails.

The weights p(x, z) / q(z|x) have a finite variance only if q has tails as heavy as the posterior's, and nothing in
the training of q cares for that: the ELBO punishes draws where p(x, z) is small, not places that are never drawn.
As in the first half of the course, one can widen the proposal, or mix it with one whose weights are bounded.

A proposal is a function of a model and its images: ``log_likelihood(model, x, proposal=widened(1.2))``. `encoder`,
`prior` and `defensive_mixture` take any model. `widened` and `student_t` need standard deviations to change: a q(z|x)
that is a diagonal Gaussian or a flow of one, which that of `TwoLayerVAE` is not. `adapted`, the best of them, is fitted
to each image (`course_lib.vae.adapted`).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from course_lib.checks import fraction, positive_number, whole_number
from course_lib.vae.adapted import AdaptedGaussian, adapted
from course_lib.vae.distributions import DiagonalGaussian
from course_lib.vae.flows import FlowPosterior
from course_lib.vae.models import LatentVariableModel, Posterior
from course_lib.vae.noise import NoiseSource, for_each_image, normal, uniform

__all__ = [
    "Proposal",
    "ProposalDistribution",
    "adapted",
    "defensive_mixture",
    "encoder",
    "prior",
    "student_t",
    "widened",
]

# Long before, the distribution is a Gaussian's; and each degree costs a draw more.
_MOST_DF = 100


class ProposalDistribution(Protocol):
    """A distribution of z for each image of a batch."""

    def rsample_and_log_prob(self, k: int, generator: NoiseSource = None) -> tuple[Tensor, Tensor]:
        """Draw ``[k, batch, latent_dim]``, with the log-density in nats, ``[k, batch]``, at the draws."""

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density in nats, ``[k, batch]``, of ``z`` ``[k, batch, latent_dim]``."""


# One that draws while it is made, as `adapted` does, takes a source of noise as well, called ``generator``.
Proposal = Callable[..., ProposalDistribution]


def encoder(model: LatentVariableModel, x: Tensor) -> Posterior:
    """The model's own q(z|x)."""
    return model.posterior(x)


def prior(model: LatentVariableModel, x: Tensor) -> ProposalDistribution:
    """The prior p(z), which knows nothing of x: the weights are p(x|z)."""
    return _Prior(model, len(x))


def widened(factor: float) -> Proposal:
    """The encoder's Gaussian with its standard deviations multiplied; for a flow, the Gaussian that it transforms.

    If q was right before, it now takes ``(factor**2 / sqrt(2 * factor**2 - 1))**D`` times as many draws in D
    dimensions: for 50 of them 2.1 times with a factor of 1.1, and 10,000 times with 1.5.

    Args:
        factor: above zero; below 1 it narrows.

    Raises:
        ValueError: the factor is not positive and finite; or, when it is used, q(z|x) is no Gaussian nor a flow of one.
    """
    factor = positive_number("the factor", factor)
    return _changed(lambda gaussian: DiagonalGaussian(gaussian.mean, factor * gaussian.std))


def student_t(df: int) -> Proposal:
    """A multivariate Student t with the encoder's mean and scales; for a flow, in place of the Gaussian it transforms.

    One random factor stretches all of a draw's dimensions, which costs little even where there are many: if the
    Gaussian was right in 50 dimensions, a t with ``df = 5`` takes 2.5 times as many draws. With a factor for each
    dimension it would be 8.6 times, and in 200 dimensions not 4.7 but 5,600 times.

    Args:
        df: degrees of freedom, from 3 to 100; the fewer, the heavier the tails.

    Raises:
        ValueError: ``df`` is no whole number from 3 to 100; or, when it is used, q(z|x) is no Gaussian nor a flow of
            one.

    Source: [Owen2013], section 9.1 (why tails); [Lange1989] (the distribution).
    """
    # With 2 degrees of freedom or fewer it has no variance.
    df = whole_number("df, with which a Student t has a variance,", df, least=3)
    if df > _MOST_DF:
        raise ValueError(f"df must be at most {_MOST_DF}: with more, take encoder or widened(1.05); got {df:,}.")
    return _changed(lambda gaussian: _StudentT(gaussian, df))


def defensive_mixture(share: float, proposal: Proposal = encoder) -> Proposal:
    """A draw from the prior with probability ``share``, otherwise from another proposal: the encoder unless given.

    Its density is that of the mixture whichever of them a draw came from (the balance heuristic), so no weight can
    exceed the largest p(x|z) over ``share``: for bits their variance is finite. If the other is good it costs a
    ``share`` of the draws. With dozens of latent dimensions the bound is far above any weight that will ever be drawn,
    because draws from the prior miss the image: then nothing changes but that cost.

    Args:
        share: between 0 and 1.
        proposal: the other one, with a density (``log_prob``).

    Raises:
        ValueError: the share is not between 0 and 1; or, when it is used, the other is no such proposal.

    Source: [Hesterberg1995]; [Owen2013], section 9.11.
    """
    share = fraction("the prior's share", share)

    def mixture(model: LatentVariableModel, x: Tensor) -> ProposalDistribution:
        return _DefensiveMixture(proposed(proposal, model, x), _Prior(model, len(x)), share)

    def fitted_mixture(model: LatentVariableModel, x: Tensor, generator: NoiseSource = None) -> ProposalDistribution:
        return _DefensiveMixture(proposed(proposal, model, x, generator), _Prior(model, len(x)), share)

    return fitted_mixture if is_fitted(proposal) else mixture


def is_fitted(proposal: Proposal) -> bool:
    """Whether a proposal draws while it is made, and takes a source of noise for that."""
    try:
        return "generator" in inspect.signature(proposal).parameters
    except (TypeError, ValueError):  # of what cannot be called, and of some that is not written in Python
        return False


def fit_of(q: ProposalDistribution) -> AdaptedGaussian | None:
    """What was fitted, if ``q`` is it or has it for a part."""
    q = q.q if isinstance(q, _DefensiveMixture) else q
    return q if isinstance(q, AdaptedGaussian) else None


def proposed(
    proposal: Proposal, model: LatentVariableModel, x: Tensor, generator: NoiseSource = None
) -> ProposalDistribution:
    """The distribution of z that a proposal gives for images ``[batch, data_dim]``; if it is fitted, with this noise.

    Raises:
        ValueError: it does not take a model and images, or does not return a distribution.
    """
    told = "a proposal takes a model and images, and returns a distribution of z, as encoder and widened(1.2) do; "
    arguments = (model, x, generator) if is_fitted(proposal) else (model, x)
    try:
        # Not by calling it, whose own mistakes would be taken for those of the call.
        inspect.signature(proposal).bind(*arguments)
    except (TypeError, ValueError):
        raise ValueError(f"{told}{getattr(proposal, '__name__', repr(proposal))} does not take them.") from None
    q = proposal(*arguments)
    if not hasattr(q, "rsample_and_log_prob"):
        raise ValueError(f"{told}this one returned a {type(q).__name__}.")
    return q


def drawn(
    q: ProposalDistribution, model: LatentVariableModel, x: Tensor, k: int, generators: Sequence[torch.Generator]
) -> tuple[Tensor, Tensor]:
    """``k`` draws of z for each image, ``[k, batch, latent_dim]``, and their log-densities ``[k, batch]``.

    Raises:
        ValueError: they are not of these shapes, or z is not in the precision of the images ``x``.
    """
    z, log_q = q.rsample_and_log_prob(k, generators)
    wanted = [k, len(x), model.latent_dim]
    got = [(list(one.shape), one.dtype) if isinstance(one, Tensor) else (type(one), None) for one in (z, log_q)]
    if got[0] != (wanted, x.dtype) or got[1][0] != wanted[:2]:
        raise ValueError(
            f"a proposal must give z of shape {wanted} in {x.dtype}, and its log-density of shape {wanted[:2]}; "
            f"got {got[0][0]} in {got[0][1]}, and {got[1][0]}."
        )
    return z, log_q


def _changed(change: Callable[[DiagonalGaussian], Posterior]) -> Proposal:
    """The encoder's q(z|x) with another distribution in the place of its Gaussian."""

    def proposal(model: LatentVariableModel, x: Tensor) -> Posterior:
        q = model.posterior(x)
        if isinstance(q, DiagonalGaussian):
            return change(q)
        if isinstance(q, FlowPosterior) and isinstance(q.base, DiagonalGaussian):
            return q.with_base(change(q.base))
        raise ValueError(
            f"the q(z|x) of {type(model).__name__} is neither a Gaussian nor a flow of one, so it has no standard "
            "deviations to change: choose encoder, prior or defensive_mixture(0.1)."
        )

    return proposal


@dataclass(frozen=True)
class _StudentT:
    """Gaussian draws, each divided by the root of a chi-square variable over its degrees of freedom."""

    gaussian: DiagonalGaussian
    df: int

    def rsample(self, k: int, generator: NoiseSource = None) -> Tensor:
        mean = self.gaussian.mean
        noise = normal((k, *mean.shape[:-1], self.df), generator, mean.device, mean.dtype)
        chi_square = (noise**2).sum(-1, keepdim=True)
        return mean + (self.gaussian.rsample(k, generator) - mean) / (chi_square / self.df).sqrt()

    def rsample_and_log_prob(self, k: int, generator: NoiseSource = None) -> tuple[Tensor, Tensor]:
        z = self.rsample(k, generator)
        return z, self.log_prob(z)

    def log_prob(self, z: Tensor) -> Tensor:
        dim, df = z.shape[-1], self.df
        distance = (((z - self.gaussian.mean) / self.gaussian.std) ** 2).sum(-1)
        constant = math.lgamma((df + dim) / 2) - math.lgamma(df / 2) - dim / 2 * math.log(df * math.pi)
        return constant - self.gaussian.std.log().sum(-1) - (df + dim) / 2 * torch.log1p(distance / df)

    def detached(self) -> _StudentT:
        return _StudentT(self.gaussian.detached(), self.df)


@dataclass(frozen=True)
class _Prior:
    model: LatentVariableModel
    batch: int

    def rsample_and_log_prob(self, k: int, generator: NoiseSource = None) -> tuple[Tensor, Tensor]:
        z = self.draw([k] * self.batch, generator)
        return z, self.log_prob(z)

    def log_prob(self, z: Tensor) -> Tensor:
        return self.model.log_prior(z)

    def draw(self, counts: Sequence[int], generator: NoiseSource) -> Tensor:
        """So many draws for each image, ``[max(counts), batch, latent_dim]``, filled up with zeros."""
        sources = for_each_image(generator, self.batch)
        # At least one, because none cannot be drawn; it goes unused.
        draws = [self.model.sample_prior(max(1, count), source) for count, source in zip(counts, sources, strict=True)]
        return pad_sequence(draws)


@dataclass(frozen=True)
class _DefensiveMixture:
    q: ProposalDistribution
    prior: _Prior
    share: float

    def rsample_and_log_prob(self, k: int, generator: NoiseSource = None) -> tuple[Tensor, Tensor]:
        z, log_q = self.q.rsample_and_log_prob(k, generator)
        is_from_prior = uniform((k, self.prior.batch), generator, z.device, torch.float32) < self.share
        # Only as many as are used: for a flow, draws from the prior and their density under q are what takes time.
        others = self.prior.draw(is_from_prior.sum(0).tolist(), generator)
        number = (is_from_prior.cumsum(0) - 1).clamp(min=0)
        z = torch.where(is_from_prior.unsqueeze(-1), others.gather(0, number.unsqueeze(-1).expand_as(z)), z)
        log_q = torch.where(is_from_prior, self.q.log_prob(others).gather(0, number), log_q)
        return z, self._mixed(z, log_q)

    def log_prob(self, z: Tensor) -> Tensor:
        return self._mixed(z, self.q.log_prob(z))

    def _mixed(self, z: Tensor, log_q: Tensor) -> Tensor:
        return torch.logaddexp(math.log(self.share) + self.prior.log_prob(z), math.log1p(-self.share) + log_q)
