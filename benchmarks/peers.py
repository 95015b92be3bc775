"""P(D >= deadline) by OpenTURNS, as its documentation has its users write it.

It is no part of this course, and not installed by it: `pip install openturns` before `make bench`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import openturns as ot  # type: ignore
from scipy import special

from course_lib.projects import Project, late_projects

AROUND = "around FORM's design point, 10,000"
# The share of projects that set the next level; the first is the default.
FITTED = {"cross-entropy, 10,000 a level": 0.25, "the same, an elite of 10 %": 0.1}
# Fits differ, so true variances are averages over some.
SEEDS = range(10)
# Function values that a method asks for at a time; ten times as many took as long.
BLOCK = 1_000


@dataclass(frozen=True)
class Outcome:
    """A run: its estimate, the error that it claims over it (``nan`` if none), and how many projects it evaluated."""

    value: float
    relative_error: float
    evaluations: int


class Late:
    """The event D >= deadline, and how many completion times were asked for."""

    def __init__(self, plan: Project, deadline: float) -> None:
        self.plan, self.evaluations = plan, 0
        self.law = ot.JointDistribution([ot.Exponential(1 / mean) for mean in plan.means])
        function = ot.PythonFunction(len(plan.tasks), 1, func_sample=self._completion_times)
        completion = ot.CompositeRandomVector(function, ot.RandomVector(self.law))
        self.event = ot.ThresholdEvent(completion, ot.GreaterOrEqual(), deadline)

    def _completion_times(self, durations: Any) -> Any:
        self.evaluations += len(durations)
        return self.plan.completion_times(np.asarray(durations))[:, None]

    def design_point(self, solver: Any) -> Any:
        """What FORM finds: the late project closest to the origin, once durations are made of normal numbers."""
        solver.setStartingPoint(self.law.getMean())
        form = ot.FORM(solver, self.event)
        form.run()
        return form.getResult()

    def around_design_point(self) -> Any:
        """Importance sampling: normal numbers around the design point instead of around the origin."""
        algorithm = ot.PostAnalyticalImportanceSampling(self.design_point(ot.AbdoRackwitz()))
        algorithm.setMaximumCoefficientOfVariation(0.0)  # or it would stop once it believes to know enough
        return algorithm

    def fitting(self, share: float) -> Any:
        """Cross-entropy, normal numbers with means and standard deviations fitted to the latest projects."""
        return ot.StandardSpaceCrossEntropyImportanceSampling(self.event, share)

    def simulated(self, algorithm: Any, n: int) -> Any:
        """The result of n evaluations, for subset sampling and cross-entropy at each level."""
        algorithm.setMaximumOuterSampling(n // BLOCK)
        algorithm.setBlockSize(BLOCK)
        algorithm.run()
        return algorithm.getResult()


def methods(plan: Project, deadline: float) -> dict[str, Callable[[int], Outcome]]:
    """One run each, of a seed."""
    late = Late(plan, deadline)

    def approximate(solver: Callable[[], Any]) -> tuple[float, float]:
        return late.design_point(solver()).getEventProbability(), np.nan

    def second_order() -> tuple[float, float]:
        solver = ot.AbdoRackwitz()
        solver.setStartingPoint(late.law.getMean())
        sorm = ot.SORM(solver, late.event)
        sorm.run()
        return sorm.getResult().getEventProbabilityBreitung(), np.nan

    def simulate(algorithm: Callable[[], Any], n: int) -> tuple[float, float]:
        result = late.simulated(algorithm(), n)
        return result.getProbabilityEstimate(), result.getCoefficientOfVariation()

    def fitted(share: float) -> tuple[float, float]:
        return simulate(lambda: late.fitting(share), 10_000)

    computing: dict[str, Callable[[], tuple[float, float]]] = {
        "FORM, AbdoRackwitz": lambda: approximate(ot.AbdoRackwitz),
        "FORM, Cobyla": lambda: approximate(ot.Cobyla),
        "SORM, Breitung": second_order,
        AROUND: lambda: simulate(late.around_design_point, 10_000),
        "SubsetSampling, 10,000 a level": lambda: simulate(lambda: ot.SubsetSampling(late.event), 10_000),
        **{name: partial(fitted, share) for name, share in FITTED.items()},
    }

    def run(compute: Callable[[], tuple[float, float]], seed: int) -> Outcome:
        ot.RandomGenerator.SetSeed(seed)
        late.evaluations = 0
        return Outcome(*compute(), late.evaluations)

    return {f"OpenTURNS: {name}": partial(run, compute) for name, compute in computing.items()}


def relative_variances(plan: Project, deadline: float, exact: float, n: int = 200_000) -> dict[str, float]:
    """Of one draw's weighted hit, for those that weight their draws: E_q[w^2; late] = P(late) E_p[w | late].

    A sample from the proposal hides the regions that it hardly visits; late projects drawn exactly do not.
    """
    late = Late(plan, deadline)
    z = -special.ndtri(np.exp(-late_projects(plan, deadline, n) / plan.means))
    centre = np.array(late.design_point(ot.AbdoRackwitz()).getStandardSpaceDesignPoint())

    def of_normals(mean: Any, std: Any) -> float:
        log_w = (((z - mean) / std) ** 2 - z**2).sum(axis=1) / 2 + np.log(std).sum()
        return float(np.exp(log_w).mean() / exact - 1)

    def of_fit(share: float, seed: int) -> float:
        ot.RandomGenerator.SetSeed(seed)
        proposal = late.simulated(late.fitting(share), 10_000).getAuxiliaryDistribution()
        return of_normals(np.array(proposal.getMean()), np.array(proposal.getStandardDeviation()))

    found = {AROUND: of_normals(centre, np.ones_like(centre))}
    found |= {name: float(np.mean([of_fit(share, seed) for seed in SEEDS])) for name, share in FITTED.items()}
    return {f"OpenTURNS: {name}": variance for name, variance in found.items()}
