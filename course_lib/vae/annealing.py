r"""log p(x) without trusting the encoder: annealed importance sampling, and a sandwich that shows what it misses.

Importance sampling draws z in one leap and weights it. Annealing walks: from a distribution that can be drawn from to
the posterior, through densities in between,

.. math:: \log f_\beta(z) = (1 - \beta) \log s(z) + \beta \log p(x, z), \quad 0 = \beta_0 < \dots < \beta_T = 1

where the start s is the prior or q(z|x). A chain draws :math:`z_0 \sim s`, and moves by Hamiltonian dynamics in a way
that leaves each density in turn as it is. Its weight has the expectation p(x), however few the steps:

.. math:: \log w = \sum_{t=1}^{T} (\beta_t - \beta_{t-1}) \, [\log p(x, z_{t-1}) - \log s(z_{t-1})]

One step is plain importance sampling. Start with `annealed_importance_sampling`; `bidirectional_bounds` also walks
back from an exact draw of the posterior, for a bound from above.

Sources: Neal 2001, Annealed importance sampling; Neal 2011, MCMC using Hamiltonian dynamics; Sohl-Dickstein and
Culpepper 2012, Hamiltonian annealed importance sampling; Grosse, Ghahramani and Adams 2015, Sandwiching the marginal
likelihood using bidirectional Monte Carlo; Wu, Burda, Salakhutdinov and Grosse 2017, On the quantitative analysis of
decoder-based generative models.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from tqdm.auto import tqdm

from course_lib.checks import whole_number
from course_lib.estimates import Estimate, tail_length, value_with_error
from course_lib.vae.bounds import iwae_bound
from course_lib.vae.evidence import Evidence, to_float64
from course_lib.vae.hamiltonian import Path, move, noise_of_moves, refreshed
from course_lib.vae.models import LatentVariableModel
from course_lib.vae.noise import Purpose, keyed

__all__ = ["AnnealedEvidence", "BidirectionalBounds", "annealed_importance_sampling", "bidirectional_bounds"]

# The pilot run: moves at the start of the path, to find a first step size, then moves along it, of so many chains.
_WARM_UP_MOVES, _PILOT_MOVES, _PILOT_CHAINS = 20, 60, 10
# How far one move's acceptance rate shifts the logarithm of the step size; moves over which that is then averaged.
_GAIN, _WINDOW = 0.7, 9
# A pilot run that ends with fewer moves accepted than this has diverged.
_DIVERGED = 0.01
# Numbers in use at once while p(x|z) is computed: what fits a processor's cache, what fills a GPU.
_NUMBERS_ON_CPU, _NUMBERS_ELSEWHERE = 2_000_000, 200_000_000
# Steepness of the sigmoid schedule (Wu et al. 2017, appendix).
_STEEPNESS = 4.0

_NOT_FINITE = "log-weights are not finite: the model's weights are damaged, or its training diverged."


@dataclass(frozen=True)
class AnnealedEvidence(Evidence):
    """log p(x) of a batch of images by annealing, in nats: an `Evidence` whose samples are chains.

    ``per_image`` is the log-mean-exp of each image's log-weights. Its expectation is a lower bound on log p(x), and so
    is ``elbo``, their mean, which is looser.

    Attributes:
        log_weights: one for each chain, ``[n_chains, batch]``, float64.
        acceptance_rate: mean probability with which moves were accepted, ``[batch]``; ``nan`` for a single step, which
            has none.
        step_size: of the leapfrog steps in each move, ``[n_steps - 1, batch]``.
        n_steps: from the start to the posterior.
    """

    log_weights: Tensor
    acceptance_rate: Tensor
    step_size: Tensor
    n_steps: int

    def __str__(self) -> str:
        return (
            f"log p(x) = {value_with_error(self.mean.value, self.mean.std_error)} nats, mean of "
            f"{len(self.per_image):,} images with {self.n_samples:,} chains of {self.n_steps:,} steps each; "
            f"{float(self.acceptance_rate.mean()):.0%} of the moves accepted"
        )

    __repr__ = __str__


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
    def upper(self) -> Tensor:
        """Upper bounds, ``[n_images]``: the log of the harmonic mean of the reverse weights."""
        return -iwae_bound(-self.reverse_log_weights)

    @cached_property
    def upper_std_error(self) -> Tensor:
        """Their standard errors, ``[n_images]``, given the one draw of the posterior that all its chains start at.

        What another draw would have changed they cannot see; the error of ``mean_gap`` does.
        """
        return _relative_error(-self.reverse_log_weights)

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


def annealed_importance_sampling(
    model: LatentVariableModel,
    x: Tensor,
    *,
    n_steps: int = 1_000,
    n_chains: int = 16,
    seed: int = 0,
    start: str = "prior",
    schedule: str = "sigmoid",
    n_leapfrog: int = 3,
    step_size: float | None = None,
    target_acceptance: float = 0.8,
    momentum_refreshment: float = 1.0,
    first_image: int = 0,
    progress: bool = False,
) -> AnnealedEvidence:
    """Estimate log p(x) of each image by annealed importance sampling with Hamiltonian moves.

    Step sizes are tuned before the first chain starts, in a short pilot run with draws of its own, and then left
    alone: a chain that adapted to itself would no longer leave its densities as they are. They are an image's own,
    because posteriors differ in width and so that an image's result does not depend on its batch; and they change
    along the path, because the posterior can be many times narrower than the prior.

    The same seed gives an image the same draws in whatever batch it comes. Its chains then agree to rounding in
    double precision. In single precision, once in many thousand moves, rounding decides whether one is accepted, and
    that chain goes another way.

    Args:
        model: in eval mode if it has batch norm or dropout.
        x: images, ``[batch, ...]``.
        n_steps: between the start and the posterior, with a move between each two: one step is importance sampling.
        n_chains: for each image; 2 at least, for an error.
        seed: of the draws, at least 0.
        start: where chains begin: ``"prior"``, or ``"encoder"`` for q(z|x).
        schedule: how beta goes from 0 to 1: ``"sigmoid"``, slowly at both ends, or ``"linear"``.
        n_leapfrog: leapfrog steps in a move, each of which takes one gradient. For the same number of gradients, many
            short moves beat few long ones, which waste more when rejected and can come back to where they began.
        step_size: of every leapfrog step; tuned unless given.
        target_acceptance: share of moves to be accepted, which sets the step size.
        momentum_refreshment: share of the momentum's variance that is new in each move. 1 is Hamiltonian Monte
            Carlo. Below, momentum persists, so that many moves of one leapfrog step make a path: HAIS, which wants
            a ``target_acceptance`` near 1, because a rejected move turns back.
        first_image: the number that ``x[0]`` has among all images, for a part of a data set.
        progress: show how long it will take, and a progress bar, on a screen.

    Raises:
        ValueError: an argument out of range, ``x`` no batch of images for this model, log-weights that are not
            finite, or a step size at which the dynamics diverge: fewer than 1 % of the moves at the end of the pilot
            run accepted. The message gives the rate.

    Source: Neal 2001; Sohl-Dickstein and Culpepper 2012 for ``momentum_refreshment``; Wu et al. 2017 for the schedule.
    """
    how = _Annealing(
        n_steps, n_chains, seed, start, schedule, n_leapfrog, step_size, target_acceptance, momentum_refreshment
    )
    x = model.checked_images(x)
    (forward,) = _run(model, x, how, whole_number("first_image", first_image, least=0), progress)
    return _evidence(forward, how, x.shape[1])


def bidirectional_bounds(
    model: LatentVariableModel,
    n_images: int,
    *,
    n_steps: int = 1_000,
    n_chains: int = 16,
    seed: int = 0,
    start: str = "prior",
    schedule: str = "sigmoid",
    n_leapfrog: int = 3,
    step_size: float | None = None,
    target_acceptance: float = 0.8,
    momentum_refreshment: float = 1.0,
    progress: bool = False,
) -> BidirectionalBounds:
    """Bound log p(x) from below and above, for images simulated by the model: is the sampler itself right?

    Draws z from p(z) and x from p(x|z). Then z is an exact draw from the posterior p(z|x). Chains from the start to
    the posterior bound log p(x) from below, and chains that walk the same path back from z bound it from above. Real
    images come without such a z, so **the upper bound holds only for simulated ones**: from a z found in any other
    way, reverse chains bound nothing.

    Args:
        model: in eval mode if it has batch norm or dropout.
        n_images: how many to simulate; 2 at least for an error of the mean gap.
        n_steps: as in `annealed_importance_sampling`, and so are the other arguments.
        n_chains: for each image, in each direction.
        seed: of images and chains.
        start: ``"prior"`` or ``"encoder"``, where forward chains begin and reverse chains end.
        schedule: ``"sigmoid"`` or ``"linear"``.
        n_leapfrog: leapfrog steps in a move.
        step_size: tuned unless given.
        target_acceptance: share of moves to be accepted.
        momentum_refreshment: share of the momentum's variance that is new in each move.
        progress: show how long it will take, and a progress bar, on a screen.

    Raises:
        ValueError: as in `annealed_importance_sampling`.

    Source: Grosse, Ghahramani and Adams 2015; Wu et al. 2017, section 4.
    """
    how = _Annealing(
        n_steps, n_chains, seed, start, schedule, n_leapfrog, step_size, target_acceptance, momentum_refreshment
    )
    device = next(model.parameters()).device
    generators = _generators(device, how.seed, range(whole_number("n_images", n_images)), Purpose.SIMULATION)
    with torch.no_grad():
        z = [model.sample_prior(1, generator) for generator in generators]
        x = [model.sample_conditional(one, generator) for one, generator in zip(z, generators, strict=True)]
    images = model.checked_images(torch.cat(x))
    forward, reverse = _run(model, images, how, 0, progress, posterior_draws=torch.cat(z))
    return BidirectionalBounds(images, _evidence(forward, how, images.shape[1]), -reverse.log_weights)


@dataclass(frozen=True)
class _Annealing:
    """How to anneal: the arguments that both functions share, checked."""

    n_steps: int
    n_chains: int
    seed: int
    start: str
    schedule: str
    n_leapfrog: int
    step_size: float | None
    target_acceptance: float
    momentum_refreshment: float

    def __post_init__(self) -> None:
        for name in ("n_steps", "n_chains", "n_leapfrog"):
            whole_number(name, getattr(self, name))
        if self.n_chains < 2:
            raise ValueError("an error needs at least 2 chains; got n_chains = 1.")
        whole_number("seed", self.seed, least=0)
        for name, choices in {"start": ("prior", "encoder"), "schedule": ("sigmoid", "linear")}.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be {' or '.join(map(repr, choices))}; got {getattr(self, name)!r}.")
        if self.step_size is not None and not (_is_number(self.step_size) and 0 < self.step_size < math.inf):
            raise ValueError(f"step_size must be a number above 0, or None to tune it; got {self.step_size!r}.")
        if not (_is_number(self.target_acceptance) and 0 < self.target_acceptance < 1):
            raise ValueError(f"target_acceptance must lie between 0 and 1; got {self.target_acceptance!r}.")
        if not (_is_number(self.momentum_refreshment) and 0 < self.momentum_refreshment <= 1):
            raise ValueError(f"momentum_refreshment must be above 0 and at most 1; got {self.momentum_refreshment!r}.")

    def betas(self, n_steps: int) -> list[float]:
        """From 0 to 1, ``n_steps + 1`` of them."""
        linear = torch.linspace(0, 1, n_steps + 1, dtype=torch.float64)
        if self.schedule == "linear":
            return linear.tolist()
        curve = torch.sigmoid(_STEEPNESS * (2 * linear - 1))
        return ((curve - curve[0]) / (curve[-1] - curve[0])).tolist()


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


# A chain


class _Chains(NamedTuple):
    """Log-weights ``[n_chains, batch]``, mean probability of acceptance ``[batch]``, step sizes ``[moves, batch]``."""

    log_weights: Tensor
    acceptance_rate: Tensor
    step_size: Tensor


def _anneal(
    path: Path,
    z: Tensor,
    betas: Sequence[float],
    step_sizes: Tensor,
    how: _Annealing,
    generators: list[torch.Generator],
    advance: Callable[[], object],
) -> _Chains:
    """Walk from ``z`` along ``betas``: from 0 to 1, or back, because the reverse chain has the same moves backwards."""
    point = path.at(z)
    log_w = (betas[1] - betas[0]) * to_float64(point.log_ratio)
    acceptance = torch.zeros_like(point.log_ratio[0])
    noise = noise_of_moves(generators, len(betas) - 1, z)
    momentum, _ = next(noise)
    steps = zip(betas[1:-1], betas[2:], step_sizes, noise, strict=True)
    for beta, next_beta, step_size, (kick, log_uniform) in steps:
        momentum = refreshed(momentum, kick, how.momentum_refreshment)
        point, momentum, probability = move(path, point, momentum, beta, step_size, how.n_leapfrog, log_uniform)
        log_w += (next_beta - beta) * to_float64(point.log_ratio)
        acceptance += probability.mean(0)
        advance()
    return _Chains(log_w, acceptance / (len(betas) - 2) if len(betas) > 2 else acceptance * math.nan, step_sizes)


def _tuned(path: Path, how: _Annealing, generators: list[torch.Generator], first_image: int) -> Tensor:
    """Step sizes ``[n_steps - 1, batch]`` for the moves along the path, from a short run along it."""
    betas = how.betas(_PILOT_MOVES + 1)[1:-1]
    point = path.at(path.draw(_PILOT_CHAINS, generators))
    if not bool((point.log_ratio < math.inf).all()):  # nan is not below it either
        raise ValueError(_NOT_FINITE)
    log_step = torch.full_like(point.log_ratio[0], math.log(how.step_size or 0.5))
    noise = noise_of_moves(generators, _WARM_UP_MOVES + _PILOT_MOVES + 1, point.z)
    momentum, _ = next(noise)
    tried, acceptance = [], []
    for beta, (kick, log_uniform) in zip([betas[0]] * _WARM_UP_MOVES + betas, noise, strict=True):
        momentum = refreshed(momentum, kick, how.momentum_refreshment)
        point, momentum, probability = move(path, point, momentum, beta, log_step.exp(), how.n_leapfrog, log_uniform)
        tried.append(log_step)
        acceptance.append(probability.mean(0))
        if how.step_size is None:
            log_step = log_step + _GAIN * (acceptance[-1] - how.target_acceptance)
    _check_acceptance(torch.stack(acceptance[_WARM_UP_MOVES:]), log_step.exp(), how, first_image)
    return _along(_smooth(torch.stack(tried[_WARM_UP_MOVES:])), how.n_steps).exp()


def _check_acceptance(acceptance: Tensor, step_size: Tensor, how: _Annealing, first_image: int) -> None:
    at_the_end = acceptance[-10:].mean(0)
    worst = int(at_the_end.argmin())
    if at_the_end[worst] < _DIVERGED:
        mend = "take a smaller one, or let it be tuned" if how.step_size else "is p(x|z) smooth in z?"
        raise ValueError(
            f"the dynamics diverge with the step size {float(step_size[worst]):.3g}: near the posterior of image "
            f"{first_image + worst}, the acceptance rate in a pilot run is {float(at_the_end[worst]):.2g} "
            f"({float(acceptance[:, worst].mean()):.2g} along the whole path); {mend}."
        )


def _smooth(steps: Tensor) -> Tensor:
    """Moving averages along the first axis of ``[moves, batch]``."""
    half = _WINDOW // 2
    return functional.avg_pool1d(steps.T[:, None], _WINDOW, 1, half, count_include_pad=False)[:, 0].T


def _along(steps: Tensor, n_steps: int) -> Tensor:
    """``[n_steps - 1, batch]`` by interpolation of what was found at the pilot run's moves, ``[moves, batch]``."""
    moves = len(steps)
    fractions = torch.arange(1, n_steps, device=steps.device, dtype=steps.dtype) / n_steps
    where = (fractions * (moves + 1) - 1).clamp(0, moves - 1)
    below = where.long().clamp(max=moves - 2)
    return torch.lerp(steps[below], steps[below + 1], (where - below)[:, None])


def _generators(device: torch.device, seed: int, images: range, purpose: Purpose) -> list[torch.Generator]:
    return [keyed(device, purpose, seed, image) for image in images]


# All images


@torch.no_grad()
def _run(
    model: LatentVariableModel,
    x: Tensor,
    how: _Annealing,
    first_image: int,
    progress: bool,
    posterior_draws: Tensor | None = None,
) -> list[_Chains]:
    """Chains from the start and, given draws of the posterior ``[batch, latent_dim]``, chains back from those."""
    numbers = _NUMBERS_ON_CPU if x.device.type == "cpu" else _NUMBERS_ELSEWHERE
    block = max(1, numbers // (model.floats_per_draw * how.n_chains))
    betas = how.betas(how.n_steps)
    directions = 1 if posterior_draws is None else 2
    n_blocks = math.ceil(len(x) / block)
    blocks: list[list[_Chains]] = []
    total = n_blocks * directions * (how.n_steps - 1)
    with tqdm(total=total, unit=" moves", disable=None if progress else True) as bar:
        for start in range(0, len(x), block):
            images = range(first_image + start, first_image + min(start + block, len(x)))
            there, pilot, back = (
                _generators(x.device, how.seed, images, purpose)
                for purpose in (Purpose.ANNEALING, Purpose.TUNING, Purpose.ANNEALING_BACK)
            )
            path = Path(model, x[start : start + block], how.start)
            began = time.perf_counter()
            steps = _tuned(path, how, pilot, images[0])
            if not start and not bar.disable:
                per_move = (time.perf_counter() - began) / (_WARM_UP_MOVES + _PILOT_MOVES)
                seconds = per_move * (total * how.n_chains / _PILOT_CHAINS + (n_blocks - 1) * _PILOT_MOVES)
                bar.write(_forecast(seconds, len(x), how), file=bar.fp)
            z = path.draw(how.n_chains, there)
            found = [_anneal(path, z, betas, steps, how, there, bar.update)]
            if posterior_draws is not None:
                z = posterior_draws[start : start + block].expand(how.n_chains, -1, -1)
                found.append(_anneal(path, z, betas[::-1], steps.flip(0), how, back, bar.update))
            blocks.append(found)
    return [
        _Chains(*(torch.cat(part, dim=-1).cpu() for part in zip(*each, strict=True)))
        for each in zip(*blocks, strict=True)
    ]


def _forecast(seconds: float, n_images: int, how: _Annealing) -> str:
    length = f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:.0f} minutes"
    return f"{n_images:,} images, {how.n_chains:,} chains of {how.n_steps:,} steps each: about {length}."


# Numbers from log-weights


def _evidence(chains: _Chains, how: _Annealing, data_dim: int) -> AnnealedEvidence:
    log_w = chains.log_weights
    per_image = iwae_bound(log_w)
    if not bool(per_image.isfinite().all()):
        raise ValueError(_NOT_FINITE)
    w = (log_w - log_w.amax(0)).exp()
    return AnnealedEvidence(
        per_image=per_image,
        std_error=_relative_error(log_w),
        elbo=log_w.mean(0),
        elbo_std_error=log_w.std(0) / math.sqrt(how.n_chains),
        ess=w.sum(0) ** 2 / (w * w).sum(0),
        largest_log_weights=log_w.topk(min(tail_length(how.n_chains), how.n_chains), dim=0).values,
        n_samples=how.n_chains,
        data_dim=data_dim,
        log_weights=log_w,
        acceptance_rate=chains.acceptance_rate.double(),
        step_size=chains.step_size.double(),
        n_steps=how.n_steps,
    )


def _relative_error(log_w: Tensor) -> Tensor:
    """Standard error of the mean weight over the mean weight, which is that of its logarithm (Owen, section 2.7)."""
    w = (log_w - log_w.amax(0)).exp()
    return w.std(0) / w.mean(0) / math.sqrt(len(w))
