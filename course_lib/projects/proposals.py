r"""Where to sample instead of the plan's own durations, and what it costs or saves.

A proposal draws durations from q, a law for each task, and knows the log-weight log p - log q that makes up for it.
Products of exponentials come with their exact variance: since p is one too, so is p²/q up to a constant,

.. math:: E_q[w^2; D \ge t] = \prod_j c_j \; P_r(D \ge t), \quad r_j = 2 / m_j - 1 / \ell_j,
    \quad c_j = \ell_j / (m_j^2 r_j),

for means :math:`m` of the plan and :math:`\ell` of the proposal: the tail of a plan with rates :math:`r`, which
the chain of `completion_law` gives. Where some :math:`r_j \le 0` the variance is infinite. The same holds for gammas
of the same shape, and for hyperexponentials that are tilted.

`scaled`, `twisted` and `tilted` change laws by a number of your choice, `mixture` puts several proposals together;
see `course_lib.projects.fitting` for those that choose numbers themselves. Which of them for which law? Multiplying
durations does for those whose tail is exponential. It fails for heavy tails, such as a lognormal's, where the
project is late by one task that took very long; `twisted` makes the tail itself heavier. It cannot be done between
two ends, where the longest durations would be left out or impossible ones drawn; `twisted` can.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from course_lib.checks import positive_number, real_number
from course_lib.estimates import Estimate
from course_lib.projects.durations import Duration, Fixed
from course_lib.projects.law import SMALLEST_TAIL, CompletionLaw, completion_law
from course_lib.projects.plan import Project

__all__ = ["Mixture", "Proposal", "mixture", "scaled", "tilted", "twisted"]

Floats = NDArray[np.float64]


class Proposal:
    """Independent durations with laws of your choice.

    Attributes:
        plan: the plan whose durations are nominally distributed.
        durations: the law of each task under the proposal, ``n_tasks`` of them.
        means: mean durations in days under the proposal, ``[n_tasks]``, read-only.
    """

    def __init__(self, plan: Project, durations: Any) -> None:
        """Choose a law for each task; a number of days stands for the plan's law, multiplied to have that mean.

        Args:
            plan: the plan.
            durations: ``n_tasks`` laws or numbers.

        Raises:
            ValueError: a mean is not a positive finite number, there is not one for each task, a law leaves out
                durations that the plan allows, or the plan's durations depend on each other.
        """
        if plan.common_factor or plan.copula is not None:
            raise ValueError("the durations of this plan depend on each other; use monte_carlo or splitting.")
        if isinstance(durations, Sequence) and any(isinstance(law, Duration) for law in durations):
            if len(durations) != len(plan.tasks):
                raise ValueError(f"this plan has {len(plan.tasks)} tasks; got {len(durations)} laws.")
            means = [law.mean if isinstance(law, Duration) else law for law in durations]
            of_means = zip(durations, plan.with_means(means).durations, strict=True)
            laws = tuple(law if isinstance(law, Duration) else other for law, other in of_means)
        else:
            laws = plan.with_means(durations).durations
        for task, own, nominal in zip(plan.tasks, laws, plan.durations, strict=True):
            (low, high), (least, most) = own.support, nominal.support
            if own != nominal and not (low <= least and high >= most):
                raise ValueError(
                    f"task {task!r}: the plan's durations are {least:g} to {most:g} days, and the proposal draws only "
                    f"{low:g} to {high:g}; use twisted, which draws them all."
                )
        self.plan, self.durations = plan, laws
        self._tilted = [j for j, own in enumerate(laws) if own != plan.durations[j]]

    @cached_property
    def means(self) -> Floats:
        """Mean durations in days under the proposal."""
        means = np.array([law.mean for law in self.durations])
        means.flags.writeable = False
        return means

    @property
    def is_nominal(self) -> bool:
        """Whether this is the plan's own law, under which every weight is 1."""
        return not self._tilted

    def draw(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw durations.

        Args:
            rng: advanced by the draws.
            n: projects to draw.

        Returns:
            Days, ``[n, n_tasks]``, stored task by task (what `Project.completion_times` likes best).
        """
        durations = np.empty((len(self.durations), n))
        for law, row in zip(self.durations, durations, strict=True):
            law.draw(rng, row)
        return durations.T

    def log_weights(self, durations: ArrayLike) -> Floats:
        """log p - log q in nats.

        Args:
            durations: days, ``[..., n_tasks]``.

        Returns:
            ``[...]``.
        """
        durations = np.asarray(durations, dtype=float)
        log_w = np.zeros(durations.shape[:-1])
        for j in self._tilted:
            log_w += self.durations[j].log_weight(self.plan.durations[j], durations[..., j])
        return log_w

    def relative_variance(self, deadline: float) -> float:
        """Variance of one draw's weighted hit over P(D >= deadline) squared: exact, not from a sample.

        Args:
            deadline: days.

        Returns:
            At least 0; ``inf`` where the second moment is infinite. A relative standard error of 1 % takes
            1e4 times as many draws.

        Raises:
            ValueError: the deadline is not a number, the plan's chain is too large or takes too many events (see
                `CompletionLaw`), P(D >= deadline), or its square, is too small for a float, or there is no exact value
                for these laws.
        """
        deadline = real_number("the deadline", deadline, "days")
        probability = float(completion_law(self.plan).sf(deadline))
        if probability < SMALLEST_TAIL:
            raise ValueError(
                f"P(D >= {deadline:g}) is below {SMALLEST_TAIL:g}, too small to divide by; choose an earlier deadline."
            )
        second_moment = self.log_second_moment(deadline)
        if second_moment is None:
            return math.inf
        log_ratio = second_moment[0] - 2 * math.log(probability)
        if log_ratio > 700:
            raise ValueError(f"the relative variance is e**{log_ratio:.0f}, too large for a float.")
        return max(math.exp(log_ratio) - 1, 0.0)

    def log_second_moment(self, deadline: float) -> tuple[float, CompletionLaw] | None:
        """log E_q[w^2; D >= deadline], and the law of p²/q that it comes from; None if it is infinite.

        Raises:
            ValueError: as for `relative_variance`.
        """
        squared = [p.squared_ratio(q) for p, q in zip(self.plan.durations, self.durations, strict=True)]
        if any(term is None for term in squared):
            return None
        terms = [term for term in squared if term is not None]
        laws = dict(zip(self.plan.tasks, (law for _, law in terms), strict=True))
        law = completion_law(Project(laws, self.plan.predecessors))
        tail = float(law.sf(deadline))
        if tail < SMALLEST_TAIL:
            raise ValueError(
                f"the second moment of the weights at {deadline:g} days is too small for a float; "
                "choose an earlier deadline."
            )
        return math.fsum(log_c for log_c, _ in terms) + math.log(tail), law

    def __repr__(self) -> str:
        means = ", ".join(f"{task}: {self.means[j]:.3g}" for j, task in enumerate(self.plan.tasks) if j in self._tilted)
        return f"Proposal with mean days {means}, other tasks as planned" if means else "Proposal: the plan itself"


class Mixture:
    r"""Each draw comes from one of several proposals, chosen at random with given shares.

    Its weight divides by the whole mixture density, :math:`p / \sum_k \alpha_k q_k`, whichever component it came
    from: the balance heuristic ([Veach1995]; [Owen2013], section 9.12).

    Attributes:
        components: the proposals.
        shares: their probabilities, ``[n_components]``, read-only.
    """

    is_nominal = False

    def __init__(self, components: Sequence[Proposal], shares: ArrayLike | None = None) -> None:
        """Mix proposals for one plan, with equal shares unless given.

        Raises:
            ValueError: no components, different plans, or shares that are not positive or do not sum to 1.
        """
        self.components = tuple(components)
        if not self.components:
            raise ValueError("a mixture needs at least one proposal.")
        self.plan = self.components[0].plan
        if any(component.plan != self.plan for component in self.components):
            raise ValueError("the proposals of a mixture must be for the same plan.")
        count = len(self.components)
        self.shares: Floats = np.full(count, 1 / count) if shares is None else np.array(shares, dtype=float)
        if self.shares.shape != (count,) or not (self.shares > 0).all() or not math.isclose(self.shares.sum(), 1):
            raise ValueError(f"shares must be {count} positive numbers that sum to 1; got {shares!r}.")
        self.shares.flags.writeable = False

    def draw(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw durations.

        Args:
            rng: advanced by the draws.
            n: projects to draw.

        Returns:
            Days, ``[n, n_tasks]``.
        """
        chosen = rng.choice(len(self.components), size=n, p=self.shares)
        durations = np.empty((len(self.plan.tasks), n))
        rng.standard_exponential(out=durations)
        drawn_by = [np.flatnonzero(chosen == k) for k in range(len(self.components))]
        for j, hazards in enumerate(durations):
            for component, mine in zip(self.components, drawn_by, strict=True):
                hazards[mine] = component.durations[j].from_hazard(hazards[mine])
        return durations.T

    def log_weights(self, durations: ArrayLike) -> Floats:
        """log p - log q in nats.

        Args:
            durations: days, ``[..., n_tasks]``.

        Returns:
            ``[...]``.
        """
        log_ratios = np.stack([component.log_weights(durations) for component in self.components])
        shares = self.shares.reshape(-1, *[1] * (log_ratios.ndim - 1))
        return np.asarray(-special.logsumexp(-log_ratios, b=shares, axis=0))

    def relative_variance(self, deadline: float, n: int = 100_000, seed: int = 0) -> Estimate:
        """Variance of one draw's weighted hit over P(D >= deadline) squared, estimated.

        p²/q of a mixture does not factor over tasks, so there is no exact value. But
        E_q[w²; D >= t] = P(D >= t) E_p[w | D >= t], and projects given that they are late can be drawn exactly:
        an average that no late region can hide from.

        Args:
            deadline: days.
            n: late projects to draw, at least two.
            seed: of the draws.

        Raises:
            ValueError: ``n`` or ``seed`` out of range, or as for `CompletionLaw.sample_late`.
        """
        law = completion_law(self.plan)
        log_w = self.log_weights(law.sample_late(deadline, n, seed))
        probability = float(law.sf(deadline))
        return Estimate.from_values(np.exp(log_w) / probability - 1)

    def __repr__(self) -> str:
        parts = "; ".join(f"{share:.3g} of {part!r}" for share, part in zip(self.shares, self.components, strict=True))
        return f"Mixture: {parts}"


def scaled(plan: Project, factor: float, tasks: Iterable[str] | None = None) -> Proposal:
    """Multiply durations by ``factor``: of ``tasks``, or of all. Fixed durations stay.

    Raises:
        ValueError: an unknown task, a factor that is not positive and finite, or durations between two ends, which
            can only be `twisted`.
    """
    factor = positive_number("the factor", factor)
    return _changed(plan, tasks, lambda law: law if isinstance(law, Fixed) or factor == 1 else law.scaled(factor))


def twisted(plan: Project, factor: float, tasks: Iterable[str] | None = None) -> Proposal:
    """Multiply cumulative hazards by ``factor``: draw from P(T > t)**(1 / factor) in place of P(T > t).

    Draws are of the same durations as the plan's, long ones more often if the factor is above 1. For exponentials it
    is `scaled`.

    Raises:
        ValueError: an unknown task, or a factor that is not positive and finite.

    Source: [Juneja2002].
    """
    factor = positive_number("the factor", factor)
    return _changed(plan, tasks, lambda law: law if factor == 1 else law.twisted(factor))


def tilted(plan: Project, rate: float, tasks: Iterable[str] | None = None) -> Proposal:
    """Multiply densities by exp(``rate`` t), and normalize them: of ``tasks``, or of all. Fixed durations stay.

    For exponential, gamma and hyperexponential durations, whose families `cross_entropy` chooses from.

    Raises:
        ValueError: an unknown task, a rate, one a day, that is not below that of the tail of each, or durations whose
            tilting is not known in closed form.

    Source: [Asmussen2007], section V.1.
    """
    return _changed(plan, tasks, lambda law: law.tilted(rate))


def _changed(plan: Project, tasks: Iterable[str] | None, change: Callable[[Duration], Duration]) -> Proposal:
    laws = list(plan.durations)
    for j in plan.task_indices(plan.tasks if tasks is None else tasks):
        try:
            laws[j] = change(laws[j])
        except ValueError as error:
            raise ValueError(f"task {plan.tasks[j]!r}: {error}") from None
    return Proposal(plan, laws)


def mixture(components: Sequence[Proposal], shares: ArrayLike | None = None) -> Mixture:
    """Sample from several proposals at once, weighted by the balance heuristic.

    With the plan itself among them (``scaled(plan, 1)``) the mixture is *defensive*: no weight can exceed one over
    that component's share [Hesterberg1995].

    Args:
        components: proposals for the same plan.
        shares: their probabilities; equal unless given.

    Raises:
        ValueError: no components, different plans, or shares that are not positive or do not sum to 1.
    """
    return Mixture(components, shares)
