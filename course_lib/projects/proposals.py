r"""Where to sample instead of the plan's own durations, and what it costs or saves.

A proposal draws durations from q and knows the log-weight log p - log q that makes up for it. Products of
exponentials (:class:`Proposal`) come with their exact variance: since p is one too, so is p²/q up to a constant,

.. math:: E_q[w^2; D \ge t] = \prod_j c_j \; P_r(D \ge t), \quad r_j = 2 / m_j - 1 / \ell_j,
    \quad c_j = \ell_j / (m_j^2 r_j),

for means :math:`m` of the plan and :math:`\ell` of the proposal: the tail of a plan with rates :math:`r`, which
the chain of `completion_law` gives. Where some :math:`r_j \le 0` the variance is infinite.

`scaled`, `cross_entropy` and `minimum_variance` choose means; `mixture` puts several proposals together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from course_lib.checks import fraction, positive_number, real_number, whole_number
from course_lib.estimates import Estimate
from course_lib.projects.law import SMALLEST_TAIL, CompletionLaw, completion_law
from course_lib.projects.plan import Project

__all__ = ["Mixture", "Proposal", "cross_entropy", "minimum_variance", "mixture", "scaled"]

Floats = NDArray[np.float64]


class Proposal:
    """Independent exponential durations with means of your choice.

    Attributes:
        plan: the plan whose durations are nominally distributed.
        means: mean durations in days under the proposal, ``[n_tasks]``, read-only.
    """

    def __init__(self, plan: Project, means: ArrayLike) -> None:
        """Choose means in days, ``[n_tasks]``.

        Raises:
            ValueError: a mean is not a positive finite number, or there is not one for each task.
        """
        self.plan = plan
        self.means: Floats = plan.with_means(means).means
        self._tilted = [j for j in range(len(plan.tasks)) if self.means[j] != plan.means[j]]

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
        durations = np.empty((len(self.means), n))
        rng.standard_exponential(out=durations)
        durations *= self.means[:, None]
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
            nominal, own = self.plan.means[j], self.means[j]
            log_w += math.log(own / nominal) + durations[..., j] * (1 / own - 1 / nominal)
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
                `CompletionLaw`), or P(D >= deadline), or its square, is too small for a float.
        """
        deadline = real_number("the deadline", deadline, "days")
        probability = float(completion_law(self.plan).sf(deadline))
        if probability < SMALLEST_TAIL:
            raise ValueError(
                f"P(D >= {deadline:g}) is below {SMALLEST_TAIL:g}, too small to divide by; choose an earlier deadline."
            )
        if not (self._second_moment_rates > 0).all():
            return math.inf
        log_ratio = self._log_second_moment(deadline)[0] - 2 * math.log(probability)
        if log_ratio > 700:
            raise ValueError(f"the relative variance is e**{log_ratio:.0f}, too large for a float.")
        return max(math.exp(log_ratio) - 1, 0.0)

    @property
    def _second_moment_rates(self) -> Floats:
        """The rates r, one a day; unless all are positive the second moment is infinite."""
        return 2 / self.plan.means - 1 / self.means

    def _log_second_moment(self, deadline: float) -> tuple[float, CompletionLaw]:
        """log E_q[w^2; D >= deadline], and the law of the plan with rates r that it comes from."""
        rates = self._second_moment_rates
        constants = np.log(self.means) - 2 * np.log(self.plan.means) - np.log(rates)
        law = completion_law(self.plan.with_means(1 / rates))
        tail = float(law.sf(deadline))
        if tail < SMALLEST_TAIL:
            raise ValueError(
                f"the second moment of the weights at {deadline:g} days is too small for a float; "
                "choose an earlier deadline."
            )
        return float(constants.sum() + np.log(tail)), law

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
        durations *= np.stack([component.means for component in self.components], axis=1)[:, chosen]
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
    """Multiply mean durations by ``factor``: of ``tasks``, or of all.

    Raises:
        ValueError: an unknown task, or a factor that is not positive and finite.
    """
    factor = positive_number("the factor", factor)
    means = plan.means.copy()
    means[plan.task_indices(plan.tasks if tasks is None else tasks)] *= factor
    return Proposal(plan, means)


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


def cross_entropy(
    plan: Project, deadline: float, n: int = 20_000, seed: int = 0, elite: float = 0.1, max_rounds: int = 50
) -> Proposal:
    """Means chosen from samples: in each round, the weighted average durations of the latest projects so far.

    The level rises to the deadline by quantiles, because at first no draw comes near it. The limit of many draws
    is ``completion_law(plan).late_means(deadline)``. It minimizes a Kullback-Leibler divergence, not the variance.

    One set of means cannot make one of many paths late at a time. Where many are about equally long the level can
    stall; then take a `mixture` with a component for each, ``mixture([scaled(plan, f, path) for path in paths])``, and
    f near the deadline over the mean length of a path.

    Args:
        plan: the plan.
        deadline: days.
        n: draws in each round.
        seed: of the draws.
        elite: the share of draws that set the next level.
        max_rounds: rounds before giving up.

    Raises:
        ValueError: an argument out of range, or the level does not reach the deadline.

    Source: [Rubinstein1997]; [Boer2005].
    """
    n, deadline = whole_number("n", n, least=100), real_number("the deadline", deadline, "days")
    if math.isinf(deadline):
        raise ValueError(f"the deadline must be finite; got {deadline}.")
    elite, max_rounds = fraction("elite", elite), whole_number("max_rounds", max_rounds)
    rng = np.random.default_rng(whole_number("the seed", seed, least=0))
    proposal = Proposal(plan, plan.means)
    level = -math.inf
    for _ in range(max_rounds):
        durations = proposal.draw(rng, n)
        times = plan.completion_times(durations)
        reached, level = level >= deadline, min(deadline, float(np.quantile(times, 1 - elite)))
        late = durations[times >= level]
        log_w = proposal.log_weights(late)
        proposal = Proposal(plan, np.average(late, axis=0, weights=np.exp(log_w - log_w.max())))
        if reached and level >= deadline:
            return proposal
    raise ValueError(
        f"cross_entropy reached {level:.4g} of {deadline:g} days in {max_rounds} rounds; "
        "raise n or choose an earlier deadline, or, if several paths may be the longest, sample each of them: "
        "mixture([scaled(plan, f, path) for path in paths]) with f near the deadline over the mean length of a path."
    )


def minimum_variance(plan: Project, deadline: float) -> Proposal:
    """The product of exponentials with the smallest exact variance, found by descent on its logarithm.

    Args:
        plan: the plan.
        deadline: days.

    Raises:
        ValueError: as for `Proposal.relative_variance`; `cross_entropy` needs no chain.
        RuntimeError: the search did not converge.
    """
    nominal = plan.means
    late_means = completion_law(plan).late_means(deadline)

    def objective(log_ratio: Floats) -> tuple[float, Floats]:
        own = nominal * np.exp(log_ratio)
        proposal = Proposal(plan, own)
        value, law = proposal._log_second_moment(deadline)
        # d/d log own of log c_j = 1 - 1 / (own r_j); of log P_r = -elasticity / (own r_j), as r_j = 2/m_j - 1/own_j.
        return value, 1 - (1 + law.elasticities(deadline)) / (own * proposal._second_moment_rates)

    # The variance is finite above half the nominal mean; the bound keeps clear of it.
    bounds = [(math.log(0.55), None)] * nominal.size
    found = optimize.minimize(objective, np.log(late_means / nominal), jac=True, method="L-BFGS-B", bounds=bounds)
    if not found.success:
        raise RuntimeError(f"the search for the smallest variance stopped early: {found.message}")
    return Proposal(plan, nominal * np.exp(found.x))
