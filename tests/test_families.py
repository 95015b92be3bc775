"""Proposals for durations of any law: weights that average to 1, right tails, exact variances where there are any."""

import math

import numpy as np
import pytest
from scipy import stats

from course_lib.estimates import Estimate
from course_lib.projects import (
    Project,
    Proposal,
    completion_law,
    conditional_monte_carlo,
    cross_entropy,
    importance_sampling,
    minimum_variance,
    mixture,
    monte_carlo,
    scaled,
    splitting,
    tilted,
    twisted,
)
from course_lib.projects.durations import (
    Exponential,
    Fixed,
    Gamma,
    Hyperexponential,
    Lognormal,
    Pert,
    Triangular,
    Uniform,
    erlang,
    symmetric,
)

EXAMPLE = Project.example()


def with_law(of_mean):
    """The ten tasks, each with the law that ``of_mean`` makes of its mean."""
    tasks = zip(EXAMPLE.tasks, EXAMPLE.means.tolist(), strict=True)
    return Project({task: of_mean(mean) for task, mean in tasks}, EXAMPLE.predecessors)


TAILED = {
    "exponential": with_law(Exponential),
    "gamma": with_law(lambda mean: Gamma(mean, 0.5)),
    "erlang": with_law(lambda mean: erlang(mean, 2)),
    "hyperexponential": with_law(lambda mean: Hyperexponential.from_cv(mean, 1.5)),
    "lognormal": with_law(lambda mean: Lognormal(mean, 1)),
    "weibull": with_law(lambda mean: stats.weibull_min(0.8, scale=mean / math.gamma(2.25))),
}
ENDED = {
    "triangular": with_law(lambda mean: symmetric(Triangular, mean, 0.4)),
    "pert": with_law(lambda mean: Pert(mean / 2, mean, 2 * mean)),
    "uniform": with_law(lambda mean: Uniform(mean / 10, 1.9 * mean)),
    "some fixed": with_law(lambda mean: Fixed(mean) if mean == 4 else Lognormal(mean, 0.5)),
}
PLANS = TAILED | ENDED
TILTABLE = ["exponential", "gamma", "erlang", "hyperexponential"]
LOGNORMAL = TAILED["lognormal"]


def late_day(plan, chance=0.01):
    """A day that the plan misses with about this chance."""
    times = plan.completion_times(plan.draw(np.random.default_rng(7), 20_000))
    return round(float(np.quantile(times, 1 - chance)), 1)


def agree(one, other, errors=5):
    return abs(one.value - other.value) < errors * math.hypot(one.std_error, other.std_error)


def average_weight(proposal, n=50_000):
    drawn = proposal.draw(np.random.default_rng(3), n)
    return Estimate.from_log_weights(proposal.log_weights(drawn))


# Weights


def some_proposals():
    for name, plan in PLANS.items():
        yield pytest.param(twisted(plan, 1.25), id=f"twisted {name}")
    for name, plan in TAILED.items():
        yield pytest.param(scaled(plan, 1.2), id=f"scaled {name}")
    for name in TILTABLE:
        yield pytest.param(tilted(PLANS[name], 0.04), id=f"tilted {name}")
    yield pytest.param(scaled(ENDED["some fixed"], 1.2), id="scaled with fixed tasks")
    yield pytest.param(mixture([twisted(LOGNORMAL, 2), scaled(LOGNORMAL, 1)], [0.7, 0.3]), id="mixture")


@pytest.mark.parametrize("proposal", list(some_proposals()))
def test_weights_average_to_1(proposal):
    found = average_weight(proposal)
    assert abs(found.value - 1) < 5 * found.std_error
    assert found.std_error < 0.03


@pytest.mark.parametrize("name", PLANS)
def test_log_weights_are_differences_of_log_densities(name):
    plan = PLANS[name]
    proposal = twisted(plan, 1.25)
    drawn = proposal.draw(np.random.default_rng(3), 50)
    by_hand = np.zeros(50)
    for j, (own, nominal) in enumerate(zip(proposal.durations, plan.durations, strict=True)):
        if own != nominal:
            by_hand += nominal.log_density(drawn[:, j]) - own.log_density(drawn[:, j])
    assert proposal.log_weights(drawn) == pytest.approx(by_hand, abs=1e-7)


# Tails


@pytest.mark.parametrize("name", PLANS)
def test_twisted_and_fitted_tails_agree_with_counting(name):
    plan = PLANS[name]
    day = late_day(plan)
    counted = monte_carlo(plan, day, 400_000, seed=1)
    assert agree(importance_sampling(plan, day, twisted(plan, 1.3), 100_000, seed=2), counted)
    fitted = importance_sampling(plan, day, cross_entropy(plan, day, n=5_000), 100_000, seed=3)
    assert agree(fitted, counted)
    # It is worth its fit: fewer draws than counting for the same error.
    assert fitted.relative_variance < counted.relative_variance


@pytest.mark.parametrize("name", TILTABLE)
def test_tilted_tails_are_exact(name):
    plan = PLANS[name]
    day = late_day(plan)
    weighed = importance_sampling(plan, day, tilted(plan, 0.05, plan.critical_path()), 200_000)
    assert abs(weighed.value - float(completion_law(plan).sf(day))) < 5 * weighed.std_error


def test_heavy_tails_need_another_shape_and_not_another_scale():
    """To multiply lognormals leaves the tail of their weights heavy; to twist them does not, and splitting agrees."""
    stretched = importance_sampling(LOGNORMAL, 70, scaled(LOGNORMAL, 3, LOGNORMAL.critical_path()), 200_000)
    bent = importance_sampling(LOGNORMAL, 70, twisted(LOGNORMAL, 1.5), 200_000)
    assert stretched.pareto_k > 0.7
    assert stretched.caveats
    assert not bent.caveats
    assert agree(bent, splitting(LOGNORMAL, 70, n=6_400))
    assert agree(bent, monte_carlo(LOGNORMAL, 70, 2_000_000))


# Where families meet


def test_of_exponentials_tilting_twisting_and_scaling_are_the_same():
    plan = Project({"a": 4})
    drawn = scaled(plan, 1.6).draw(np.random.default_rng(0), 100)
    wanted = scaled(plan, 1.6).log_weights(drawn)
    assert twisted(plan, 1.6).log_weights(drawn) == pytest.approx(wanted, abs=1e-12)
    # A mean of 4 / (1 - 4 rate) is 1.6 times as long.
    assert tilted(plan, (1 - 1 / 1.6) / 4).log_weights(drawn) == pytest.approx(wanted, abs=1e-12)


# Exact variances

SMALL = {
    "erlang": Project({"a": erlang(4, 2), "b": erlang(3, 3), "c": 2}, {"c": ["a"]}),
    "hyperexponential": Project(
        {"a": Hyperexponential.from_cv(4, 1.5), "b": Hyperexponential.from_cv(3, 2), "c": 2}, {"c": ["a"]}
    ),
}


@pytest.mark.parametrize("name", SMALL)
def test_exact_variance_is_that_of_the_draws(name):
    plan = SMALL[name]
    proposal = tilted(plan, 0.02)
    drawn = proposal.draw(np.random.default_rng(5), 400_000)
    late = plan.completion_times(drawn) >= 12
    truth = float(completion_law(plan).sf(12))
    second = Estimate.from_values(np.where(late, np.exp(2 * proposal.log_weights(drawn)), 0.0) / truth**2 - 1)
    assert abs(second.value - proposal.relative_variance(12)) < 5 * second.std_error


def test_variance_is_infinite_where_the_proposal_is_too_short():
    plan = SMALL["erlang"]
    assert scaled(plan, 0.5).relative_variance(12) == math.inf
    assert math.isfinite(scaled(plan, 0.51).relative_variance(12))
    # Of a hyperexponential, tilted by less than minus the rate of its longest exponential.
    plan = SMALL["hyperexponential"]
    slowest = min(1 / mean for mean in plan.durations[0].means)
    assert tilted(plan, -1.01 * slowest, ["a"]).relative_variance(12) == math.inf
    assert math.isfinite(tilted(plan, -0.5 * slowest, ["a"]).relative_variance(12))


def test_variance_without_closed_form_is_refused():
    with pytest.raises(ValueError, match="exponential stages"):
        twisted(LOGNORMAL, 2).relative_variance(70)
    with pytest.raises(ValueError, match="not known exactly"):
        twisted(SMALL["hyperexponential"], 2).relative_variance(12)


def test_minimum_variance_of_erlangs_is_a_minimum():
    plan = SMALL["erlang"]
    best = minimum_variance(plan, 25)
    least = best.relative_variance(25)
    assert least < cross_entropy(plan, 25).relative_variance(25)
    assert least < Proposal(plan, completion_law(plan).late_means(25)).relative_variance(25)
    for j in range(3):
        for factor in (0.97, 1.03):
            means = best.means.copy()
            means[j] *= factor
            assert Proposal(plan, means).relative_variance(25) > least


def test_minimum_variance_names_the_task_whose_law_it_does_not_know():
    with pytest.raises(
        ValueError, match=r"task 'a': minimum_variance needs exponential or Erlang durations; use cross"
    ):
        minimum_variance(SMALL["hyperexponential"], 25)


# Mixtures and conditioning


def test_a_defensive_mixture_bounds_the_weights_of_any_law():
    safe = mixture([twisted(LOGNORMAL, 3), twisted(LOGNORMAL, 1.5), scaled(LOGNORMAL, 1)], [0.4, 0.4, 0.2])
    drawn = safe.draw(np.random.default_rng(0), 20_000)
    assert safe.log_weights(drawn).max() <= math.log(5) + 1e-12
    assert agree(importance_sampling(LOGNORMAL, 50, safe, 200_000), monte_carlo(LOGNORMAL, 50, 400_000))


@pytest.mark.parametrize("law", [lambda mean: Lognormal(mean, 1), lambda mean: Pert(mean / 2, mean, 2 * mean)])
def test_tasks_on_every_path_are_integrated_out_whatever_the_laws_of_the_others(law):
    tasks = {
        task: mean if task in ("1", "10") else law(mean)
        for task, mean in zip(EXAMPLE.tasks, EXAMPLE.means, strict=True)
    }
    plan = Project(tasks, EXAMPLE.predecessors)
    smooth = conditional_monte_carlo(plan, 35, 100_000, proposal=twisted(plan, 1.2))
    counted = monte_carlo(plan, 35, 400_000)
    assert agree(smooth, counted)
    assert smooth.relative_variance < counted.relative_variance


def test_tasks_on_every_path_need_stages():
    with pytest.raises(ValueError, match="exponential stages"):
        conditional_monte_carlo(LOGNORMAL, 35, 1_000)


# Bad input


@pytest.mark.parametrize("name", ["triangular", "pert", "uniform"])
@pytest.mark.parametrize("factor", [0.8, 1.3])
def test_durations_with_ends_are_not_to_be_scaled(name, factor):
    with pytest.raises(ValueError, match=r"task '1': the plan's durations are .* use twisted, which draws them all"):
        scaled(ENDED[name], factor)


@pytest.mark.parametrize("name", ["lognormal", "weibull", "pert"])
def test_what_cannot_be_tilted(name):
    with pytest.raises(ValueError, match=r"task '1': .* cannot be tilted; use twisted"):
        tilted(PLANS[name], 0.1)


@pytest.mark.parametrize("change", [scaled, twisted, tilted])
@pytest.mark.parametrize("bad", [math.nan, math.inf, "much"])
def test_what_is_no_number(change, bad):
    with pytest.raises(ValueError, match=r"the (factor|rate)"):
        change(EXAMPLE, bad)


@pytest.mark.parametrize("plan", [EXAMPLE.correlated(common_factor=0.3), EXAMPLE.correlated(copula=0.2)])
def test_durations_that_depend_on_each_other_have_no_proposals(plan):
    for choose in (lambda: scaled(plan, 2), lambda: twisted(plan, 2), lambda: cross_entropy(plan, 70)):
        with pytest.raises(ValueError, match="depend on each other; use monte_carlo or splitting"):
            choose()


def test_a_deadline_that_no_project_can_miss_has_no_fit():
    with pytest.raises(
        ValueError, match=r"no project of this plan takes more than 30 days; choose an earlier deadline"
    ):
        cross_entropy(ENDED["pert"], 31)


def test_a_law_for_each_task():
    with pytest.raises(ValueError, match="this plan has 10 tasks; got 1 laws"):
        Proposal(EXAMPLE, [Lognormal(3, 1)])
    assert Proposal(EXAMPLE, [Lognormal(3, 1)] * 10).durations[0] == Lognormal(3, 1)
