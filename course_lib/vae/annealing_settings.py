"""How to anneal: what a run of `course_lib.vae.annealing` or of `course_lib.vae.sandwich` is told."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from course_lib.checks import fraction, one_of, positive_number, whole_number

__all__ = ["Annealing", "check_settings"]

# Steepness of the sigmoid schedule ([Wu2017], appendix).
_STEEPNESS = 4.0
# Half an hour for one image of 784-200-200-50; what still fits into memory, where an image's chains walk side by side;
# and far more than a path can use before it turns back.
_AT_MOST = {"n_steps": 10**6, "n_chains": 10**5, "n_leapfrog": 10**3}


@dataclass(frozen=True)
class Annealing:
    """How to anneal.

    Attributes:
        n_steps: between the start and the posterior, with a move between each two, at most a million: one step is
            importance sampling.
        n_chains: for each image; from 2, without which there is no error, to 100,000.
        seed: of the draws, at least 0.
        start: where chains begin: ``"prior"``, ``"encoder"`` for q(z|x), or ``"adapted"`` for a Gaussian fitted to each
            image (`course_lib.vae.adapted`), from which dozens of steps do for what takes thousands from the others.
            Chains that walk back end there.
        schedule: how beta goes from 0 to 1: ``"sigmoid"``, slowly at both ends, or ``"linear"``.
        n_leapfrog: leapfrog steps in a move, each of which takes one gradient; at most 1,000. For the same number of
            gradients, many short moves beat few long ones, which waste more when rejected and can come back to where
            they began.
        step_size: of every leapfrog step; tuned unless given.
        target_acceptance: share of moves to be accepted, which sets the step size.
        momentum_refreshment: share of the momentum's variance that is new in each move. 1 is Hamiltonian Monte
            Carlo. Below, momentum persists, so that many moves of one leapfrog step make a path: HAIS, which wants
            a ``target_acceptance`` near 1, because a rejected move turns back.

    Raises:
        ValueError: one of them is out of range, or not one of its names.

    Source: [Neal2001]; [SohlDickstein2012] for ``momentum_refreshment``; [Wu2017] for the schedule.
    """

    n_steps: int = 1_000
    n_chains: int = 16
    seed: int = 0
    start: str = "prior"
    schedule: str = "sigmoid"
    n_leapfrog: int = 3
    step_size: float | None = None
    target_acceptance: float = 0.8
    momentum_refreshment: float = 1.0

    def __post_init__(self) -> None:
        for name, most in _AT_MOST.items():
            object.__setattr__(self, name, whole_number(name, getattr(self, name), most=most))
        if self.n_chains < 2:
            raise ValueError("an error needs at least 2 chains; got n_chains = 1.")
        object.__setattr__(self, "seed", whole_number("seed", self.seed, least=0))
        one_of("start", self.start, ("prior", "encoder", "adapted"))
        one_of("schedule", self.schedule, ("sigmoid", "linear"))
        if self.step_size is not None:
            positive_number("step_size, unless it is None,", self.step_size)
        fraction("target_acceptance", self.target_acceptance)
        if positive_number("momentum_refreshment", self.momentum_refreshment) > 1:
            raise ValueError(f"momentum_refreshment must be at most 1; got {self.momentum_refreshment!r}.")

    def betas(self, n_steps: int) -> list[float]:
        """The schedule from 0 to 1 in ``n_steps``, ``n_steps + 1`` numbers."""
        linear = torch.linspace(0, 1, n_steps + 1, dtype=torch.float64)
        if self.schedule == "linear":
            return linear.tolist()
        curve = torch.sigmoid(_STEEPNESS * (2 * linear - 1))
        return ((curve - curve[0]) / (curve[-1] - curve[0])).tolist()


def check_settings(settings: Annealing) -> None:
    """Raise ValueError for what says not how to anneal, such as a number of steps alone."""
    if not isinstance(settings, Annealing):
        raise ValueError(f"settings must be an Annealing, such as Annealing(n_steps=300); got {settings!r}.")
