"""How long a leapfrog step may be: found in a pilot run before annealing starts, image by image, all along the path."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from course_lib.vae.annealing_settings import Annealing
from course_lib.vae.hamiltonian import Kernel, State, noise_of_moves
from course_lib.vae.models import LatentVariableModel, check_weights, refuse_log_weights

__all__ = ["PILOT_CHAINS", "PILOT_CHAIN_MOVES", "tuned_step_sizes"]

# The pilot run: moves at the start of the path, to find a first step size, then moves along it, of so many chains.
_WARM_UP_MOVES, _PILOT_MOVES, PILOT_CHAINS = 20, 60, 10
PILOT_CHAIN_MOVES = (_WARM_UP_MOVES + _PILOT_MOVES) * PILOT_CHAINS
# How far one move's acceptance rate shifts the logarithm of the step size; moves over which that is then averaged.
_GAIN, _WINDOW = 0.7, 9
# A pilot run that ends with fewer moves accepted than this has diverged.
_DIVERGED = 0.01


def tuned_step_sizes(
    kernel: Kernel,
    settings: Annealing,
    generators: list[torch.Generator],
    numbers: range,
    advance: Callable[[int], object],
) -> Tensor:
    """Step sizes ``[n_steps - 1, batch]`` for the moves along the path, from a short run along it.

    Args:
        kernel: the moves whose step size is wanted.
        settings: the rate of acceptance to be met, or the step size to be tried.
        generators: one for each image.
        numbers: of the images.
        advance: told of moves that are done, times chains and images.

    Raises:
        ValueError: log-weights are not finite, or fewer than 1 % of an image's last moves were accepted.
    """
    betas = settings.betas(_PILOT_MOVES + 1)[1:-1]
    point = kernel.path.at(kernel.path.draw(PILOT_CHAINS, generators))
    if not bool((point.log_ratio < math.inf).all()):  # nan is not below it either
        refuse_log_weights(kernel.path.model)
    log_step = torch.full_like(point.log_ratio[0], math.log(settings.step_size or 0.5))
    noise = noise_of_moves(generators, _WARM_UP_MOVES + _PILOT_MOVES + 1, point.z)
    state = State(point, next(noise).kick)
    tried, acceptance = [], []
    for beta, of_move in zip([betas[0]] * _WARM_UP_MOVES + betas, noise, strict=True):
        state, probability = kernel.step(state, beta, log_step.exp(), of_move)
        tried.append(log_step)
        acceptance.append(probability.mean(0))
        if settings.step_size is None:
            log_step = log_step + _GAIN * (acceptance[-1] - settings.target_acceptance)
        advance(probability.numel())
    _check_acceptance(kernel.path.model, torch.stack(acceptance[_WARM_UP_MOVES:]), log_step.exp(), settings, numbers)
    return _along(_smooth(torch.stack(tried[_WARM_UP_MOVES:])), settings.n_steps).exp()


def _check_acceptance(
    model: LatentVariableModel, acceptance: Tensor, step_size: Tensor, settings: Annealing, numbers: range
) -> None:
    at_the_end = acceptance[-10:].mean(0)
    worst = int(at_the_end.argmin())
    if at_the_end[worst] < _DIVERGED:
        # Log-weights can be finite where their gradients are not.
        check_weights(model)
        mend = "take a smaller one, or let it be tuned" if settings.step_size else "is p(x|z) smooth in z?"
        raise ValueError(
            f"the dynamics diverge with the step size {float(step_size[worst]):.3g}: near the posterior of image "
            f"{numbers[worst]}, the acceptance rate in a pilot run is {float(at_the_end[worst]):.2g} "
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
