"""One Hamiltonian move: how annealing walks through z without changing the density that it walks in.

Source: [Neal2011]; [SohlDickstein2012] for persistent momentum.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.vae.adapted import adapted
from course_lib.vae.distributions import standard_normal_log_prob
from course_lib.vae.models import LatentVariableModel
from course_lib.vae.noise import NoiseSource, normal, uniform

__all__ = ["Kernel", "Noise", "Path", "Point", "State", "leapfrog", "noise_of_moves"]

# Noise is drawn for so many moves at once. An image's draws depend on it, so it is the same everywhere.
_MOVES_AT_ONCE = 8


class Point(NamedTuple):
    """Where chains are, and what is known there of the two ends of the path.

    Both are kept apart so that the next density, at another beta, needs no new gradient.

    Attributes:
        z: ``[k, batch, latent_dim]``, in the coordinates of the path.
        log_start: log s(z) in nats, ``[k, batch]``.
        log_ratio: log p(x, z) - log s(z) in nats, ``[k, batch]``.
        start_gradient: the gradient of ``log_start`` in z, ``[k, batch, latent_dim]``.
        ratio_gradient: that of ``log_ratio``, ``[k, batch, latent_dim]``.
    """

    z: Tensor
    log_start: Tensor
    log_ratio: Tensor
    start_gradient: Tensor
    ratio_gradient: Tensor

    def log_density(self, beta: float) -> Tensor:
        """log f_beta(z) in nats, ``[k, batch]``."""
        return self.log_start + beta * self.log_ratio

    def gradient(self, beta: float) -> Tensor:
        """Its gradient, ``[k, batch, latent_dim]``."""
        return self.start_gradient + beta * self.ratio_gradient


class State(NamedTuple):
    """A chain's state: the point that it is at, and its momentum ``[k, batch, latent_dim]``."""

    point: Point
    momentum: Tensor


class Noise(NamedTuple):
    """All that is random in a move: a standard normal ``[k, batch, latent_dim]`` and a log-uniform ``[k, batch]``."""

    kick: Tensor
    log_uniform: Tensor


class Path:
    """The densities between the start and the posterior of a batch of images.

    From ``"adapted"`` chains walk in the noise that the fitted Gaussian is made of, in which the start is a standard
    normal, and the posterior nearly one: log p(x, z) there includes the log-determinant of the way from noise to z.

    Attributes:
        model: whose posterior it is.
        fit: what was fitted to start from, if anything.
    """

    def __init__(self, model: LatentVariableModel, x: Tensor, start: str, fitting: NoiseSource = None) -> None:
        """Make the path of images ``x`` ``[batch, data_dim]``.

        Args:
            model: the model.
            x: the images.
            start: ``"prior"``, ``"encoder"`` or ``"adapted"``.
            fitting: source of noise for the fit of ``"adapted"``.
        """
        self.model, self._x = model, x
        self._q = model.posterior(x) if start == "encoder" else None
        self.fit = adapted(model, x, fitting) if start == "adapted" else None

    def draw(self, k: int, generators: list[torch.Generator]) -> Tensor:
        """Draw ``[k, batch, latent_dim]`` from the start, with one generator for each image."""
        if self.fit is not None:
            return normal((k, *self.fit.mean.shape), generators, self._x.device, self._x.dtype)
        if self._q is not None:
            return self._q.rsample(k, generators)
        return torch.stack([self.model.sample_prior(k, generator) for generator in generators], dim=1)

    def coordinates(self, z: Tensor) -> Tensor:
        """Where ``z`` ``[k, batch, latent_dim]`` is in the coordinates of the path."""
        return z if self.fit is None else self.fit.to_noise(z)[0]

    def at(self, z: Tensor) -> Point:
        """Evaluate both ends of the path, with one gradient each, at ``z`` ``[k, batch, latent_dim]``."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            # log p(x, z) less log p(z) is log p(x|z), and better not computed as a difference.
            if self.fit is not None:
                there, log_determinant = self.fit.from_noise(z)
                log_start = standard_normal_log_prob(z)
                log_end = self.model.log_joint(self._x, there) + log_determinant
            elif self._q is not None:
                log_start, log_end = self._q.log_prob(z), self.model.log_joint(self._x, z)
            else:
                log_start, log_end = self.model.log_prior(z), self.model.log_conditional(self._x, z)
            # With respect to z alone: no parameter's gradient is computed, or added to.
            (start_gradient,) = torch.autograd.grad(log_start.sum(), z)
            (end_gradient,) = torch.autograd.grad(log_end.sum(), z)
        z, log_start, log_end = z.detach(), log_start.detach(), log_end.detach()
        if self.fit is None and self._q is None:
            return Point(z, log_start, log_end, start_gradient, end_gradient)
        return Point(z, log_start, log_end - log_start, start_gradient, end_gradient - start_gradient)


def leapfrog(path: Path, state: State, beta: float, step_size: Tensor, n_leapfrog: int) -> State:
    """Follow Hamiltonian dynamics for ``n_leapfrog`` steps of ``step_size`` ``[batch]``, one gradient each.

    Reversible, and keeps volumes. Source: [Neal2011], section 2.3.
    """
    point, step = state.point, step_size[:, None]
    momentum = state.momentum + 0.5 * step * point.gradient(beta)
    for remaining in reversed(range(n_leapfrog)):
        point = path.at(point.z + step * momentum)
        momentum = momentum + (step if remaining else 0.5 * step) * point.gradient(beta)
    return State(point, momentum)


@dataclass(frozen=True)
class Kernel:
    """Hamiltonian moves along a path.

    Attributes:
        path: the densities, and how to evaluate them.
        n_leapfrog: leapfrog steps in a move.
        momentum_refreshment: share of the momentum's variance that is new in each move, above 0 and at most 1.
    """

    path: Path
    n_leapfrog: int
    momentum_refreshment: float

    def step(self, state: State, beta: float, step_size: Tensor, noise: Noise) -> tuple[State, Tensor]:
        """Renew momentum, propose by leapfrog, accept or reject: leaves f_beta(z) N(momentum; 0, I) as it is.

        A chain that is rejected turns back: its momentum changes sign, without which persistent momentum would be
        wrong.

        Args:
            state: where chains are.
            beta: of the density that is left as it is, between 0 and 1.
            step_size: of the leapfrog steps, ``[batch]``.
            noise: of this move.

        Returns:
            Where chains are now, and the probability ``[k, batch]`` with which each was to be accepted.

        Source: [SohlDickstein2012], section 2.3.
        """
        share = self.momentum_refreshment
        before = State(state.point, math.sqrt(1 - share) * state.momentum + math.sqrt(share) * noise.kick)
        after = leapfrog(self.path, before, beta, step_size, self.n_leapfrog)
        log_accept = after.point.log_density(beta) - before.point.log_density(beta)
        log_accept = log_accept + 0.5 * (before.momentum**2 - after.momentum**2).sum(-1)
        # Dynamics that overflow end in nan, which no comparison accepts.
        accepted = noise.log_uniform < log_accept
        each = accepted[..., None]
        point = Point(
            *(
                torch.where(accepted if new.ndim == accepted.ndim else each, new, old)
                for new, old in zip(after.point, before.point, strict=True)
            )
        )
        momentum = torch.where(each, after.momentum, -before.momentum)
        return State(point, momentum), log_accept.nan_to_num(nan=-math.inf).clamp(max=0).exp()


def noise_of_moves(generators: list[torch.Generator], n_moves: int, z: Tensor) -> Iterator[Noise]:
    """The noise of one move after another, for chains like ``z`` ``[k, batch, latent_dim]``.

    Raises:
        ValueError: there are not as many generators as images.
    """
    k, batch, latent_dim = z.shape
    for start in range(0, n_moves, _MOVES_AT_ONCE):
        shape = (min(_MOVES_AT_ONCE, n_moves - start), k)
        kicks = normal((*shape, batch, latent_dim), generators, z.device, z.dtype)
        yield from map(Noise, kicks, uniform((*shape, batch), generators, z.device, z.dtype).log())
