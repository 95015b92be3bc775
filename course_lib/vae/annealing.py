r"""log p(x) without trusting the encoder: annealed importance sampling.

Importance sampling draws z in one leap and weights it. Annealing walks: from a distribution that can be drawn from to
the posterior, through densities in between,

.. math:: \log f_\beta(z) = (1 - \beta) \log s(z) + \beta \log p(x, z), \quad 0 = \beta_0 < \dots < \beta_T = 1

where the start s is the prior, q(z|x), or a Gaussian fitted to the image. A chain draws :math:`z_0 \sim s`, and moves
by Hamiltonian dynamics in a way that leaves each density in turn as it is. Its weight has the expectation p(x), however
few the steps:

.. math:: \log w = \sum_{t=1}^{T} (\beta_t - \beta_{t-1}) \, [\log p(x, z_{t-1}) - \log s(z_{t-1})]

One step is plain importance sampling. Start with `annealed_importance_sampling`, and an `Annealing` that says how;
`course_lib.vae.sandwich` also walks back from an exact draw of the posterior, for a bound from above.

Sources: [Neal2001]; [Neal2011]; [SohlDickstein2012]; [Grosse2015]; [Wu2017].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.estimates import value_with_error
from course_lib.vae.adapted import passes_and_failures
from course_lib.vae.annealing_settings import Annealing, check_settings
from course_lib.vae.blocks import PASSES_WITH_GRADIENT, draws_per_block, to_float64
from course_lib.vae.evidence import Evidence, patient_bar
from course_lib.vae.hamiltonian import Kernel, Path, State, noise_of_moves
from course_lib.vae.models import LatentVariableModel, check_model, refuse_log_weights
from course_lib.vae.noise import Purpose, image_numbers, keyed
from course_lib.vae.tuning import PILOT_CHAIN_MOVES, PILOT_CHAINS, tuned_step_sizes

__all__ = ["AnnealedEvidence", "annealed_importance_sampling"]


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
        settings: how it was annealed.
    """

    log_weights: Tensor
    acceptance_rate: Tensor
    step_size: Tensor
    settings: Annealing

    @property
    def decoder_passes(self) -> float:
        """Passes through the decoder for each image, on average: those of the fit, the pilot run and the chains."""
        moves = PILOT_CHAIN_MOVES + self.n_samples * (self.n_steps - 1)
        points = PILOT_CHAINS + self.n_samples + self.settings.n_leapfrog * moves
        return float(self.fit_passes.mean()) + PASSES_WITH_GRADIENT * points

    @property
    def n_steps(self) -> int:
        """From the start to the posterior."""
        return self.settings.n_steps

    def __str__(self) -> str:
        return (
            f"log p(x) = {value_with_error(self.mean.value, self.mean.std_error)} nats, mean of "
            f"{len(self.per_image):,} images with {self.n_samples:,} chains of {self.n_steps:,} steps each; "
            f"{float(self.acceptance_rate.mean()):.0%} of the moves accepted"
        )

    __repr__ = __str__


def annealed_importance_sampling(
    model: LatentVariableModel,
    x: Tensor,
    settings: Annealing = Annealing(),  # noqa: B008 (it is frozen)
    *,
    first_image: int = 0,
    progress: bool = True,
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
        settings: how to anneal, such as ``Annealing(n_steps=300, n_chains=4)``.
        first_image: the number that ``x[0]`` has among all images, for a part of a data set.
        progress: show a bar where it takes more than a few seconds.

    Raises:
        ValueError: ``settings`` is no `Annealing`, ``x`` no batch of images for this model, ``first_image`` is out of
            range, log-weights are not finite, or the dynamics diverge: at some image fewer than 1 % of the moves at
            the end of the pilot run are accepted. The message gives the rate.

    Source: [Neal2001].
    """
    check_model(model)
    check_settings(settings)
    x = model.checked_images(x)
    (forward,) = chains(model, x, settings, image_numbers(first_image, len(x)), progress)
    return annealed_evidence(model, forward, settings)


def annealed_evidence(model: LatentVariableModel, found: Chains, settings: Annealing) -> AnnealedEvidence:
    """The numbers that follow from chains.

    Raises:
        ValueError: their log-weights are not finite.
    """
    reduced = Evidence.from_log_weights(found.log_weights, model.data_dim)
    if not bool(reduced.per_image.isfinite().all()):
        refuse_log_weights(model)
    fit = {"fit_passes": found.fit_passes, "fit_failed": found.fit_failed}
    return AnnealedEvidence(
        **reduced.tensors() | fit,
        n_samples=reduced.n_samples,
        data_dim=reduced.data_dim,
        log_weights=found.log_weights,
        acceptance_rate=found.acceptance_rate.double(),
        step_size=found.step_size.double(),
        settings=settings,
    )


class Chains(NamedTuple):
    """Log-weights ``[n_chains, batch]``, mean probability of acceptance ``[batch]``, step sizes ``[moves, batch]``.

    And of the fit that they start from, where there is one: its passes through the decoder, and 1 where it failed,
    ``[batch]``.
    """

    log_weights: Tensor
    acceptance_rate: Tensor
    step_size: Tensor
    fit_passes: Tensor
    fit_failed: Tensor


@torch.no_grad()
def chains(
    model: LatentVariableModel,
    x: Tensor,
    settings: Annealing,
    numbers: range,
    progress: bool,
    posterior_draws: Tensor | None = None,
) -> list[Chains]:
    """Chains from the start and, given draws of the posterior ``[batch, latent_dim]``, chains back from those.

    Raises:
        ValueError: the dynamics diverge, or log-weights in the pilot run are not finite.
    """
    k, betas = settings.n_chains, settings.betas(settings.n_steps)
    block = max(1, draws_per_block(model, with_gradient=True) // k)
    per_image = PILOT_CHAIN_MOVES + k * (settings.n_steps - 1) * (1 if posterior_draws is None else 2)
    blocks: list[list[Chains]] = []
    with patient_bar(len(x) * per_image, " moves", progress) as bar:
        for start in range(0, len(x), block):
            images, their_numbers = x[start : start + block], numbers[start : start + block]
            there, pilot, back, fitting = (
                [keyed(x.device, purpose, settings.seed, number) for number in their_numbers]
                for purpose in (Purpose.ANNEALING, Purpose.TUNING, Purpose.ANNEALING_BACK, Purpose.FIT)
            )
            path = Path(model, images, settings.start, fitting)
            kernel = Kernel(path, settings.n_leapfrog, settings.momentum_refreshment)
            steps = tuned_step_sizes(kernel, settings, pilot, their_numbers, bar.update)
            found = [_walk(kernel, path.draw(k, there), betas, steps, there, bar.update)]
            if posterior_draws is not None:
                z = path.coordinates(posterior_draws[None, start : start + block]).expand(k, -1, -1)
                found.append(_walk(kernel, z, betas[::-1], steps.flip(0), back, bar.update))
            blocks.append(found)
    return [
        Chains(*(torch.cat(part, dim=-1).cpu() for part in zip(*each, strict=True)))
        for each in zip(*blocks, strict=True)
    ]


def _walk(
    kernel: Kernel,
    z: Tensor,
    betas: Sequence[float],
    step_sizes: Tensor,
    generators: list[torch.Generator],
    advance: Callable[[int], object],
) -> Chains:
    """Walk from ``z`` along ``betas``: from 0 to 1, or back, because the reverse chain has the same moves backwards."""
    point, noise = kernel.path.at(z), noise_of_moves(generators, len(betas) - 1, z)
    state = State(point, next(noise).kick)
    log_w = (betas[1] - betas[0]) * to_float64(point.log_ratio)
    acceptance = torch.zeros_like(point.log_ratio[0])
    for beta, next_beta, step_size, of_move in zip(betas[1:-1], betas[2:], step_sizes, noise, strict=True):
        state, probability = kernel.step(state, beta, step_size, of_move)
        log_w += (next_beta - beta) * to_float64(state.point.log_ratio)
        acceptance += probability.mean(0)
        advance(probability.numel())
    acceptance = acceptance / (len(betas) - 2) if len(betas) > 2 else acceptance * math.nan
    return Chains(log_w, acceptance, step_sizes, *passes_and_failures(kernel.path.fit, len(acceptance)))
