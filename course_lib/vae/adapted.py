r"""A Gaussian fitted to the posterior of each image, as a proposal whose weights pass their diagnostics.

The encoder is one network for all images. Its q(z|x) minimizes KL(q || posterior), which forgives a q that is too
narrow, and narrow proposals are what makes heavy weights. An image's own proposal starts where the encoder stops.
Write the encoder's draw as :math:`z = T(u)` with standard normal noise u. In u the posterior is, up to p(x),

.. math:: f(u) = p(x, T(u)) \, |\det T'(u)|

whose integral is p(x) again, and which would be a standard normal if q were right. `adapted` fits a Gaussian with all
its covariances to f. At the best fit N(m, S), in the sense of the ELBO, f has the Gaussian's gradient and curvature on
average over the Gaussian. Both are read off draws, by linear regression of the gradient of log f - log N(m, S) on the
whitened draws: what is left of it at their middle says where m has to move, and its slopes how S has to change. Where
the posterior is a Gaussian, the regression is exact, and so is the fit after one round.

What no Gaussian can follow is left in the regression's residuals. The proposal is the fit made wider in the directions
in which they are large, and only in those: with the standard deviation r of the residuals there, by 0.6 r of its
variance, and by all of it at most. A posterior of several peaks it does not see, and fits one of them: k-hat tells at
best, and a `defensive_mixture` of the fit helps in a few dimensions.

Sources: [Opper2009] (what holds at the best fit); [Salimans2013] (regression in place of second derivatives).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.checks import whole_number
from course_lib.vae.blocks import PASSES_WITH_GRADIENT, draws_per_block, to_float64
from course_lib.vae.distributions import standard_normal_log_prob
from course_lib.vae.models import LatentVariableModel, NoiseMap
from course_lib.vae.noise import NoiseSource, for_each_image, normal

__all__ = ["Adapted", "AdaptedGaussian", "adapted"]

# A draw's weight in the regression, for each round that has passed since: the fit has moved on.
_MEMORY = 0.8
# Slopes are shrunk as if so many draws without any had been seen, times the share of noise in a gradient.
_RIDGE = 50.0
# In one round a precision changes at most so much.
_LEAST, _MOST = 0.2, 25.0
# Beside a variance of one.
_TINY = 1e-6
# Of the fit's variance so much is added to it for each unit of the residuals' standard deviation, and at most so much.
_WIDER, _WIDEST = 0.6, 1.0
# An ELBO has fallen if it is so many standard errors, and so many nats, below the best: errors of the best, because
# that of a fit which is far off is large, too.
_FELL, _FELL_NATS = 4.0, 0.01
# A fit has failed if log p(x) from its draws is so many nats below that from as many draws of the encoder. A lucky draw
# of a heavy tail is two or three above at times: by Markov's inequality five, in less than one image of a hundred.
_FAILED = 5.0
# Numbers of the regression that are in memory at once, for the sake of which images are fitted a few at a time; and
# in how many forms it has all of its draws there.
_NUMBERS_AT_ONCE, _COPIES = 20_000_000, 8


@dataclass(frozen=True)
class AdaptedGaussian:
    """The distribution of z that `adapted` fits: a Gaussian in the noise of the encoder's q(z|x), for each image.

    Attributes:
        q: the encoder's q(z|x).
        mean: in noise, ``[batch, latent_dim]``.
        factor: of the covariance in noise, lower-triangular, ``[batch, latent_dim, latent_dim]``.
        log_determinant: of the factor, ``[batch]``.
        fit_failed: whether the fit was no better than where it started, which is what these images are left with: the
            encoder's q(z|x); ``[batch]``.
        fit_passes: passes through the decoder that the fit took for each image, a gradient counted as three.
    """

    q: NoiseMap
    mean: Tensor
    factor: Tensor
    log_determinant: Tensor
    fit_failed: Tensor
    fit_passes: int

    def from_noise(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """See `course_lib.vae.models.NoiseMap`."""
        z, log_determinant = self.q.from_noise(self.mean + torch.einsum("bij,kbj->kbi", self.factor, noise))
        return z, log_determinant + self.log_determinant

    def to_noise(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """See `course_lib.vae.models.NoiseMap`."""
        of_encoder, log_determinant = self.q.to_noise(z)
        centred = (of_encoder - self.mean).movedim(0, -1)
        noise = torch.linalg.solve_triangular(self.factor, centred, upper=False).movedim(-1, 0)
        return noise, log_determinant + self.log_determinant

    def rsample_and_log_prob(self, k: int, generator: NoiseSource = None) -> tuple[Tensor, Tensor]:
        """Draw ``[k, batch, latent_dim]``, with the log-density in nats, ``[k, batch]``, at the draws."""
        noise = normal((k, *self.mean.shape), generator, self.mean.device, self.mean.dtype)
        z, log_determinant = self.from_noise(noise)
        return z, standard_normal_log_prob(noise) - log_determinant

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density in nats, ``[k, batch]``. Where q is a flow, it takes a pass for each of its numbers."""
        noise, log_determinant = self.to_noise(z)
        return standard_normal_log_prob(noise) - log_determinant


@dataclass(frozen=True)
class Adapted:
    """How a Gaussian is fitted to each image: a proposal, for `log_likelihood` and for `defensive_mixture`.

    With its 10 rounds of 64 draws a fit takes 1,984 passes through the decoder for each image, a draw with its gradient
    counted as three. They were chosen on validation images and on images that the models simulated.

    Attributes:
        rounds: of drawing from the fit and mending it, at most 1,000.
        draws: in each round, from 2 to 100,000; better more in all than there are latent dimensions.

    Raises:
        ValueError: one of them is no whole number in its range.
    """

    rounds: int = 10
    draws: int = 64

    def __post_init__(self) -> None:
        object.__setattr__(self, "rounds", whole_number("rounds", self.rounds, most=1_000))
        object.__setattr__(self, "draws", whole_number("draws in a round", self.draws, least=2, most=100_000))

    @property
    def passes(self) -> int:
        """Through the decoder, for each image."""
        return self.draws * (PASSES_WITH_GRADIENT * self.rounds + 1)

    @torch.inference_mode(False)
    @torch.no_grad()
    def __call__(self, model: LatentVariableModel, x: Tensor, generator: NoiseSource = None) -> AdaptedGaussian:
        """Fit a Gaussian to each of the images ``[batch, data_dim]``.

        Args:
            model: in eval mode if it has batch norm.
            x: the images.
            generator: source of the draws of the fit, or one for each image, whose fit then does not depend on its
                batch, but for rounding. They are used for nothing else.

        Raises:
            ValueError: the model's q(z|x) is no map of noise, such as `DiagonalGaussian` or a flow of one.
        """
        # Nothing that was made in inference mode can be differentiated.
        x = x.clone() if x.is_inference() else x
        q = _noise_map(model, x)
        sources = for_each_image(generator, len(x))
        block = self._images_at_once(model)
        parts = []
        for start in range(0, len(x), block):
            some = slice(start, start + block)
            parts.append(self._fitted(model, x[some], sources[some]))
        mean, factor, failed = (torch.cat(each) for each in zip(*parts, strict=True))
        log_determinant = _log_determinant(factor).to(x.device, x.dtype)
        mean, factor = mean.to(x.device, x.dtype), factor.to(x.device, x.dtype)
        return AdaptedGaussian(q, mean, factor, log_determinant, failed.to(x.device), self.passes)

    def _images_at_once(self, model: LatentVariableModel) -> int:
        return max(1, _NUMBERS_AT_ONCE // (self.rounds * self.draws * model.latent_dim * _COPIES))

    def _fitted(
        self, model: LatentVariableModel, x: Tensor, generators: Sequence[torch.Generator | None]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Means, factors, and whether the fit failed, of a few images."""
        target = _Target(model, x)
        fit = best = start = _Fit.start(to_float64(x.new_zeros(len(x), model.latent_dim)))
        best_elbo, best_error, best_bound = fit.mean.new_zeros(3, len(x))
        best_elbo -= math.inf
        step = torch.ones_like(best_elbo)
        # Whether a step was taken, and whether the best fit is from before.
        is_moved, best_is_start = torch.zeros_like(step, dtype=torch.bool), torch.ones_like(step, dtype=torch.bool)
        seen = _Draws(len(x), self.rounds * self.draws, fit.mean)
        for number in range(self.rounds + 1):
            is_last = number == self.rounds
            u, log_w, gradient = target.drawn(fit, self.draws, generators, with_gradient=not is_last)
            elbo, error, bound = log_w.mean(0), log_w.std(0) / math.sqrt(self.draws), log_w.logsumexp(0)
            # What is not finite is not above anything.
            accepted = elbo >= best_elbo - _FELL * best_error - _FELL_NATS
            accepted &= (log_w.isfinite() & gradient.isfinite().all(-1)).all(0)
            fit = _Fit.where(accepted, fit, best)
            step = torch.where(accepted, step, step / 2)
            if is_last:
                break
            if number == 0:
                of_encoder = bound
            seen.add(u, gradient, accepted)
            line = seen.regression(fit)
            improved = accepted & (elbo > best_elbo)
            best = _Fit.where(improved, _Fit(fit.mean, fit.factor, line.residuals), best)
            best_elbo, best_error, best_bound = (
                torch.where(improved, new, old)
                for new, old in ((elbo, best_elbo), (error, best_error), (bound, best_bound))
            )
            best_is_start = torch.where(improved, ~is_moved, best_is_start)
            is_moved |= accepted
            fit = line.followed(fit, step)
        # Nothing was ever finite, every step made it worse, or it pleases the ELBO and misses what p(x) is made of.
        failed = ~is_moved | (~accepted & best_is_start)
        failed |= torch.where(accepted, bound, best_bound) < of_encoder - _FAILED
        fit = _Fit.where(failed, start, fit)
        return fit.mean, fit.widened(), failed


#: The proposal as it is meant to be used: ``log_likelihood(model, x, 2_000, proposal=adapted)``.
adapted = Adapted()


def passes_and_failures(fit: AdaptedGaussian | None, batch: int) -> tuple[Tensor, Tensor]:
    """What a fit cost each of ``batch`` images, and 1 where it failed, both ``[batch]``; zero where there was none."""
    passes = torch.full((batch,), 0.0 if fit is None else fit.fit_passes, dtype=torch.float64)
    return passes, torch.zeros_like(passes) if fit is None else fit.fit_failed.cpu().double()


class _Fit(NamedTuple):
    """N(mean, factor factor') of each image, in noise, in double precision.

    Attributes:
        mean: ``[batch, dim]``.
        factor: lower-triangular, ``[batch, dim, dim]``.
        residuals: their covariance in the regression that led here, in whitened coordinates, ``[batch, dim, dim]``.
    """

    mean: Tensor
    factor: Tensor
    residuals: Tensor

    @staticmethod
    def start(zeros: Tensor) -> _Fit:
        """The encoder itself: where q is right, the posterior in its noise is a standard normal."""
        identity = torch.eye(zeros.shape[-1], dtype=zeros.dtype, device=zeros.device).repeat(len(zeros), 1, 1)
        return _Fit(zeros, identity, torch.zeros_like(identity))

    @staticmethod
    def where(condition: Tensor, one: _Fit, other: _Fit) -> _Fit:
        """One for images for which the condition ``[batch]`` holds, the other for the rest."""
        shaped = (condition[:, None], condition[:, None, None], condition[:, None, None])
        return _Fit(*map(torch.where, shaped, one, other))

    def widened(self) -> Tensor:
        """The factor of a Gaussian that is wider where the residuals are large."""
        variance, axes = torch.linalg.eigh(self.residuals)
        more = (_WIDER * variance.clamp(min=0).sqrt()).clamp(max=_WIDEST)
        wider = axes * (1 + more).sqrt()[:, None, :]
        # Triangular again, with the same covariance.
        return self.factor @ torch.linalg.cholesky(wider @ wider.mT)


class _Line(NamedTuple):
    """A regression on whitened draws: intercepts ``[batch, dim]``, slopes and covariance ``[batch, dim, dim]``."""

    intercept: Tensor
    slopes: Tensor
    residuals: Tensor

    def followed(self, fit: _Fit, step: Tensor) -> _Fit:
        """The Gaussian whose gradient, less the fit's, is on this line; a part ``step`` ``[batch]`` of the way."""
        # The new precision, in units of the fit's.
        precision, axes = torch.linalg.eigh(_identity_like(self.slopes) - step[:, None, None] * self.slopes)
        covariance = (axes / precision.clamp(_LEAST, _MOST)[:, None, :]) @ axes.mT
        change = torch.linalg.cholesky(covariance)
        moved = fit.factor @ (covariance @ (step[:, None] * self.intercept)[..., None])
        return _Fit(fit.mean + moved[..., 0], fit.factor @ change, change.mT @ self.residuals @ change)


def _noise_map(model: LatentVariableModel, x: Tensor) -> NoiseMap:
    q = model.posterior(x)
    if isinstance(q, NoiseMap):
        return q
    raise ValueError(
        f"the q(z|x) of {type(model).__name__} does not say how it is made of standard normal noise (from_noise and "
        "to_noise), in which adapted fits: choose encoder, prior or defensive_mixture(0.1)."
    )


class _Target:
    """log f(u) of a few images, and its gradient."""

    def __init__(self, model: LatentVariableModel, x: Tensor) -> None:
        self._model, self._x, self._q = model, x, _noise_map(model, x)
        self._at_once = max(1, draws_per_block(model, with_gradient=True) // len(x))

    def drawn(
        self, fit: _Fit, k: int, generators: Sequence[torch.Generator | None], *, with_gradient: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draws u of the fit ``[k, batch, dim]``, their log-weights ``[k, batch]`` and gradients, in double precision.

        Without a gradient it is zero.
        """
        noise = normal((k, *fit.mean.shape), generators, self._x.device, self._x.dtype)
        mean, factor = (each.to(self._x.device, self._x.dtype) for each in fit[:2])
        u = mean + torch.einsum("bij,kbj->kbi", factor, noise)
        values: list[Tensor] = []
        gradients: list[Tensor] = []
        for some in u.split(self._at_once):
            with torch.set_grad_enabled(with_gradient):
                some = some.detach().requires_grad_(with_gradient)
                z, log_determinant = self._q.from_noise(some)
                value = self._model.log_joint(self._x, z) + log_determinant
                # With respect to u alone: no parameter's gradient is computed, or added to.
                gradients += torch.autograd.grad(value.sum(), some) if with_gradient else (torch.zeros_like(some),)
            values.append(value.detach())
        log_fit = to_float64(standard_normal_log_prob(noise)) - _log_determinant(fit.factor)
        return to_float64(u), to_float64(torch.cat(values)) - log_fit, to_float64(torch.cat(gradients))


class _Draws:
    """The draws of all rounds, with their gradients and how much each counts."""

    def __init__(self, batch: int, room: int, like: Tensor) -> None:
        self._n = 0
        self._u, self._gradient = like.new_zeros((2, batch, room, like.shape[-1]))
        self._count = like.new_zeros(batch, room)

    def add(self, u: Tensor, gradient: Tensor, accepted: Tensor) -> None:
        """Those of another round, ``[k, batch, dim]``, for images that they are accepted for."""
        new = slice(self._n, self._n + len(u))
        self._n += len(u)
        self._count *= _MEMORY
        self._count[:, new] = accepted[:, None].to(self._count)
        # Multiplied by a count of zero, what is not finite would still not be finite.
        self._u[:, new] = u.movedim(0, 1).where(accepted[:, None, None], 0.0)
        self._gradient[:, new] = gradient.movedim(0, 1).where(accepted[:, None, None], 0.0)

    def regression(self, fit: _Fit) -> _Line:
        """The gradient of log f - log N(m, S), on draws, both whitened by the fit."""
        u, gradient, count = self._u[:, : self._n], self._gradient[:, : self._n], self._count[:, : self._n]
        e = torch.linalg.solve_triangular(fit.factor, (u - fit.mean[:, None]).mT, upper=False).mT
        y = gradient @ fit.factor + e
        total, weight = count.sum(1)[:, None, None].clamp(min=1), count[..., None]
        mean_e, mean_y = (weight * e).sum(1, keepdim=True) / total, (weight * y).sum(1, keepdim=True) / total
        e, y = e - mean_e, y - mean_y
        squares, products = e.mT @ (weight * e), e.mT @ (weight * y)
        # So many draws that count alike would say as much.
        n = count.sum(1) ** 2 / (count**2).sum(1).clamp(min=1)
        free = (1 - e.shape[-1] / n.clamp(min=1)).clamp(min=1 / 3)

        def line(ridge: Tensor) -> tuple[Tensor, Tensor]:
            slopes = torch.linalg.solve(squares + ridge[:, None, None] * _identity_like(squares), products)
            rest = y - e @ slopes
            return slopes, rest.mT @ (weight * rest) / total / free[:, None, None]

        # A gradient without noise needs no ridge. How noisy it is, too few draws cannot say.
        is_known = n > e.shape[-1] + 1
        _, residuals = line(torch.where(is_known, _TINY, _RIDGE))
        noise = torch.where(is_known, residuals.diagonal(dim1=-2, dim2=-1).mean(-1), 1.0)
        slopes, residuals = line(_RIDGE * noise + _TINY)
        intercept = (mean_y - mean_e @ slopes)[:, 0]
        return _Line(intercept, _symmetric(slopes, residuals), residuals)


def _symmetric(slopes: Tensor, residuals: Tensor) -> Tensor:
    """The symmetric matrix that slopes ``[batch, dim, dim]`` are nearest to, each as exactly known as its output.

    Each of its numbers is estimated twice, once from either output. In coordinates in which residuals are uncorrelated
    the two are independent, and their average is weighted by one over their variances.
    """
    variance, axes = torch.linalg.eigh(residuals)
    precision = 1 / (variance.clamp(min=0) + _TINY)
    one = axes.mT @ slopes @ axes * precision[:, None, :]
    mean = (one + one.mT) / (precision[:, None, :] + precision[:, :, None])
    return axes @ mean @ axes.mT


def _identity_like(matrices: Tensor) -> Tensor:
    return torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)


def _log_determinant(factor: Tensor) -> Tensor:
    """Of triangular matrices ``[batch, dim, dim]``."""
    return factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
