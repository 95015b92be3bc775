"""Whatever is given as a deadline, every function of half one answers, or says in one sentence why it does not."""

import math

import numpy as np
import pytest
import torch

from course_lib.estimates import Estimate
from course_lib.projects import (
    Project,
    Proposal,
    completion_law,
    conditional_monte_carlo,
    cross_entropy,
    importance_sampling,
    late_projects,
    minimum_variance,
    mixture,
    monte_carlo,
    scaled,
)

PLAN = Project.example()
LAW = completion_law(PLAN)
TWICE = scaled(PLAN, 2)
MIXED = mixture([TWICE, scaled(PLAN, 1)])

SIMULATIONS = {
    "monte_carlo": lambda t: monte_carlo(PLAN, t, 1_000),
    "importance_sampling": lambda t: importance_sampling(PLAN, t, TWICE, 1_000),
    "importance_sampling from a mixture": lambda t: importance_sampling(PLAN, t, MIXED, 1_000),
    "conditional_monte_carlo": lambda t: conditional_monte_carlo(PLAN, t, 1_000),
}
CHAINED = {
    "late_projects": lambda t: late_projects(PLAN, t, 10),
    "sample_late": lambda t: LAW.sample_late(t, 10),
    "late_means": LAW.late_means,
    "elasticities": LAW.elasticities,
    "minimum_variance": lambda t: minimum_variance(PLAN, t),
    "Proposal.relative_variance": TWICE.relative_variance,
    "Mixture.relative_variance": lambda t: MIXED.relative_variance(t, n=1_000),
}
CROSS_ENTROPY = {"cross_entropy": lambda t: cross_entropy(PLAN, t, n=1_000)}
LAWS = {"sf": LAW.sf, "cdf": LAW.cdf, "pdf": LAW.pdf}


def numbers(answer):
    """What there is of numbers in an answer."""
    if isinstance(answer, Proposal):
        return answer.means
    return np.array([answer.value, answer.std_error]) if isinstance(answer, Estimate) else np.asarray(answer)


def parametrized(*tables):
    table = {name: query for part in tables for name, query in part.items()}
    return pytest.mark.parametrize("query", table.values(), ids=table.keys())


pytestmark = pytest.mark.filterwarnings("error")


@parametrized(SIMULATIONS, CHAINED, CROSS_ENTROPY)
@pytest.mark.parametrize("deadline", [math.nan, np.float64("nan"), "70", True, None, [70], torch.tensor(70.0), 10**400])
def test_what_is_no_number_is_no_deadline(query, deadline):
    with pytest.raises(ValueError, match=r"^the deadline must be a number of days; got .*\.$"):
        query(deadline)


@parametrized(LAWS)
@pytest.mark.parametrize(
    "t", [math.nan, np.float64("nan"), "70", True, None, [70, None], ["70"], {}, [70, math.nan], 2j]
)
def test_what_is_no_number_is_no_time(query, t):
    with pytest.raises(ValueError, match="must be numbers of days"):
        query(t)


@parametrized(SIMULATIONS, CHAINED, CROSS_ENTROPY, LAWS)
@pytest.mark.parametrize("deadline", [-1e300, -5, 0, 1e-300, 20, np.int64(20), np.float32(20), 150])
def test_a_deadline_near_or_past_is_answered_in_finite_numbers(query, deadline):
    assert np.isfinite(numbers(query(deadline))).all()


@parametrized(SIMULATIONS, CHAINED, LAWS)
def test_a_deadline_before_all_times_is_answered_as_one_that_is_past(query):
    assert numbers(query(-math.inf)).tolist() == numbers(query(-5)).tolist()


@parametrized(SIMULATIONS, LAWS)
@pytest.mark.parametrize("deadline", [3000, 1e300, math.inf])
def test_simulations_and_the_law_know_that_a_far_deadline_is_met(query, deadline):
    assert numbers(query(deadline)) == pytest.approx(1 if query == LAW.cdf else 0, abs=1e-200)


@parametrized(CHAINED)
@pytest.mark.parametrize("deadline", [5_000, 1e300, math.inf])
def test_what_needs_late_projects_refuses_a_deadline_that_none_misses(query, deadline):
    with pytest.raises(ValueError, match="choose an earlier deadline"):
        query(deadline)


def test_cross_entropy_refuses_a_deadline_that_it_cannot_reach():
    with pytest.raises(ValueError, match=r"of 1e\+300 days in 50 rounds; raise n or choose an earlier deadline"):
        cross_entropy(PLAN, 1e300, n=1_000)
    for deadline in (-math.inf, math.inf):
        with pytest.raises(ValueError, match=f"the deadline must be finite; got {deadline}"):
            cross_entropy(PLAN, deadline)
