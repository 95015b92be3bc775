"""The exact law of plans whose durations are made of exponential stages."""

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_plans import plans, repeatable
from scipy import integrate, stats

from course_lib.projects import Project, completion_law, late_projects
from course_lib.projects.chain import build_chain
from course_lib.projects.durations import Exponential, Fixed, Gamma, Hyperexponential, Lognormal, erlang

EXAMPLE = Project.example()
SPREAD = Hyperexponential.from_cv(4, 2)
THREE = Hyperexponential((0.5, 0.3, 0.2), (1, 8, 3))
DEADLINE = 40


@cache
def mixed():
    """The ten tasks with their means: Erlang, hyperexponential and exponential by turns."""
    make = [
        lambda mean: erlang(mean, 3),
        lambda mean: Hyperexponential.from_cv(mean, 1.5),
        lambda mean: Exponential(mean),
        lambda mean: THREE.with_mean(mean),
    ]
    laws = {task: make[j % 4](mean) for j, (task, mean) in enumerate(zip(EXAMPLE.tasks, EXAMPLE.means, strict=True))}
    return Project(laws, EXAMPLE.predecessors)


@cache
def mixed_law():
    return completion_law(mixed())


@cache
def mixed_late():
    return late_projects(mixed(), DEADLINE, 20_000, seed=1)


def with_stages(plan, n_stages):
    laws = {t: erlang(mean, k) for t, mean, k in zip(plan.tasks, plan.means, n_stages, strict=True)}
    return Project(laws, plan.predecessors)


def spelled_out(plan, n_stages):
    """The same with a task for each stage."""
    sizes = dict(zip(plan.tasks, n_stages, strict=True))
    means = {
        f"{t} {i}": mean / sizes[t] for t, mean in zip(plan.tasks, plan.means, strict=True) for i in range(sizes[t])
    }
    before = {f"{t} 0": [f"{b} {sizes[b] - 1}" for b in plan.predecessors[t]] for t in plan.tasks}
    within = {f"{t} {i}": [f"{t} {i - 1}"] for t in plan.tasks for i in range(1, sizes[t])}
    return Project(means, before | within)


def hyperexponential_sf(law, t):
    return sum(p * np.exp(-np.asarray(t) / mean) for p, mean in zip(law.probabilities, law.means, strict=True))


# Erlang


@settings(repeatable, max_examples=40)
@given(plan=plans(5), data=st.data())
def test_erlang_tasks_are_chains_of_exponential_tasks(plan, data):
    n_stages = [data.draw(st.integers(1, 4)) for _ in plan.tasks]
    law, same = completion_law(with_stages(plan, n_stages)), completion_law(spelled_out(plan, n_stages))
    assert law.n_states == same.n_states
    assert (law.mean, law.std) == pytest.approx((same.mean, same.std), rel=1e-10)
    t = law.mean * np.array([0.2, 1, 2])
    for method in ("sf", "cdf", "pdf"):
        assert getattr(law, method)(t) == pytest.approx(getattr(same, method)(t), rel=1e-10, abs=0)
    ends = np.cumsum([0, *n_stages[:-1]])
    assert law.elasticities(t[2]) == pytest.approx(np.add.reduceat(same.elasticities(t[2]), ends), rel=1e-10)
    assert law.late_means(t[2]) == pytest.approx(np.add.reduceat(same.late_means(t[2]), ends), rel=1e-10)


@pytest.mark.parametrize("n_stages", [1, 2, 7, 400])
def test_one_erlang_task_is_gamma(n_stages):
    law, gamma = completion_law(Project({"a": erlang(4, n_stages)})), stats.gamma(n_stages, scale=4 / n_stages)
    t = gamma.isf([0.999, 0.5, 1e-3, 1e-30])
    assert law.n_states == n_stages + 1
    assert law.sf(t) == pytest.approx(gamma.sf(t), rel=1e-10, abs=0)
    assert law.pdf(t) == pytest.approx(gamma.pdf(t), rel=1e-10, abs=0)
    assert (law.mean, law.std) == pytest.approx((4, 4 / math.sqrt(n_stages)), rel=1e-10)


def test_gamma_of_whole_shape_is_erlang():
    a, b = (completion_law(Project({"a": law, "b": 3})) for law in (Gamma(4, 0.5), erlang(4, 4)))
    assert a.sf([1, 10, 30]).tolist() == b.sf([1, 10, 30]).tolist()


# Hyperexponential


@pytest.mark.parametrize("law", [SPREAD, THREE, Hyperexponential((0.4, 0.6), (2, 2))])
def test_one_hyperexponential_task_is_a_sum_of_exponentials(law):
    exact, t = completion_law(Project({"a": law})), np.array([0.01, 1, 5, 30, 200])
    assert exact.sf(t) == pytest.approx(hyperexponential_sf(law, t), rel=1e-10, abs=0)
    assert exact.pdf(t) == pytest.approx(np.exp(law.log_density(t)), rel=1e-10, abs=0)
    assert (exact.mean, exact.std) == pytest.approx((law.mean, law.std), rel=1e-10)


def test_two_parallel_hyperexponential_tasks_finish_when_the_later_one_does():
    exact, t = completion_law(Project({"a": SPREAD, "b": THREE})), np.array([0.01, 1, 5, 30, 200])
    a, b = hyperexponential_sf(SPREAD, t), hyperexponential_sf(THREE, t)
    assert exact.cdf(t) == pytest.approx((1 - a) * (1 - b), rel=1e-10, abs=0)
    assert exact.sf(t) == pytest.approx(a + b - a * b, rel=1e-10, abs=0)
    mean, _ = integrate.quad(
        lambda s: 1 - np.prod([1 - hyperexponential_sf(law, s) for law in (SPREAD, THREE)]), 0, 2000, limit=500
    )
    assert exact.mean == pytest.approx(mean, rel=1e-8)


# Ten tasks with mixed laws


def test_every_jump_leads_to_a_state_of_a_higher_number():
    chain = build_chain(mixed())
    assert (chain.target > chain.source).all()
    assert set(chain.source) == set(range(chain.n_states - 1))
    assert set(chain.target) == set(range(1, chain.n_states))


def test_mixed_law_is_that_of_simulated_projects():
    law, n = mixed_law(), 400_000
    times = mixed().completion_times(mixed().draw(np.random.default_rng(7), n))
    days = np.array([5, 10, 15, 20, 30, 40, 60])
    sf = law.sf(days)
    errors = np.sqrt(sf * (1 - sf) / n)
    assert (np.abs((times[:, None] >= days).mean(axis=0) - sf) < 4.5 * errors).all()
    assert law.cdf(days) == pytest.approx(1 - sf, rel=1e-10)
    assert abs(times.mean() - law.mean) < 4.5 * law.std / math.sqrt(n)
    squares = (times - times.mean()) ** 2
    assert abs(squares.mean() - law.std**2) < 4.5 * squares.std() / math.sqrt(n)


def test_mixed_density_is_the_slope_of_the_tail():
    t, h = np.array([3.0, 15, 60]), 1e-4
    slope = (mixed_law().sf(t - h) - mixed_law().sf(t + h)) / (2 * h)
    # A rounding of the tail, divided by the step, is 1e-12.
    assert mixed_law().pdf(t) == pytest.approx(slope, rel=1e-7, abs=1e-11)


def test_mixed_elasticities_are_the_slopes_of_the_log_tail():
    step, elasticities = 1e-4, mixed_law().elasticities(DEADLINE)
    for unit, elasticity in zip(np.eye(10), elasticities, strict=True):
        up, down = (
            float(np.log(completion_law(mixed().with_means(mixed().means * np.exp(h * unit))).sf(DEADLINE)))
            for h in (step, -step)
        )
        assert elasticity == pytest.approx((up - down) / (2 * step), rel=1e-6, abs=1e-7)
    law = mixed_law()
    assert elasticities.sum() == pytest.approx(float(DEADLINE * law.pdf(DEADLINE) / law.sf(DEADLINE)), rel=1e-9)


def test_mixed_late_means_are_the_slopes_as_one_task_is_tilted():
    step, plan = 1e-5, mixed()
    late_means = mixed_law().late_means(DEADLINE)

    def log_tail(task, rate):
        laws = dict(zip(plan.tasks, plan.durations, strict=True))
        laws[task] = laws[task].tilted(rate)
        return float(np.log(completion_law(Project(laws, plan.predecessors)).sf(DEADLINE)))

    for task, mean, late_mean in zip(plan.tasks, plan.means, late_means, strict=True):
        slope = (log_tail(task, step) - log_tail(task, -step)) / (2 * step)
        assert late_mean == pytest.approx(mean + slope, rel=1e-6)


def test_mixed_late_means_are_the_means_of_late_projects():
    errors = mixed_late().std(axis=0) / math.sqrt(len(mixed_late()))
    assert (np.abs(mixed_late().mean(axis=0) - mixed_law().late_means(DEADLINE)) < 4.5 * errors).all()


def test_late_mean_of_one_task_is_the_integral_of_its_tail():
    for law in (erlang(4, 3), SPREAD):
        exact = completion_law(Project({"a": law}))
        beyond, _ = integrate.quad(lambda t, sf=exact.sf: float(sf(t)), 10, 400, limit=200)
        assert exact.late_means(10)[0] == pytest.approx(10 + beyond / float(exact.sf(10)), rel=1e-7)


def test_mixed_late_projects_are_late_and_follow_the_exact_tail():
    times, law = mixed().completion_times(mixed_late()), mixed_law()
    assert (mixed_late() > 0).all() and (times >= DEADLINE * (1 - 1e-12)).all()
    assert stats.kstest(times, lambda t: 1 - law.sf(t) / law.sf(DEADLINE)).pvalue > 1e-4


def test_mixed_late_projects_are_what_is_left_of_all_projects():
    deadline = 1.2 * mixed_law().mean
    drawn = mixed().draw(np.random.default_rng(5), 100_000)
    kept = drawn[mixed().completion_times(drawn) >= deadline][:20_000]
    sampled = late_projects(mixed(), deadline, len(kept), seed=6)
    mixing = np.random.default_rng(8).standard_normal((10, 5))
    views = [(kept, sampled), (kept @ mixing, sampled @ mixing)]
    pvalues = [stats.ks_2samp(a, b).pvalue for left, right in views for a, b in zip(left.T, right.T, strict=True)]
    assert min(pvalues) > 1e-4


def test_projects_late_for_no_deadline_have_their_own_laws():
    drawn = late_projects(mixed(), 0, 20_000, seed=2)
    for days, law in zip(drawn.T, mixed().durations, strict=True):
        assert stats.kstest(days, lambda t, law=law: -np.expm1(-law.hazard(t))).pvalue > 1e-4
    assert mixed_law().late_means(0).tolist() == mixed().means.tolist()


# Refusals


@pytest.mark.parametrize("law", [Lognormal(4, 1), Gamma(4, 0.7), Fixed(4)])
def test_durations_without_stages_are_refused_by_name(law):
    with pytest.raises(ValueError) as error:
        completion_law(Project({"a": 2, "b": law}))
    assert str(error.value) == (
        f"task 'b' is {law}: the exact law needs durations made of exponential stages (exponential, Erlang, "
        "hyperexponential); use monte_carlo or splitting."
    )


@pytest.mark.parametrize("dependence", [{"common_factor": 0.3}, {"copula": 0.5}])
def test_durations_that_depend_on_each_other_are_refused(dependence):
    with pytest.raises(ValueError) as error:
        late_projects(EXAMPLE.correlated(**dependence), 70, 10)
    assert str(error.value) == (
        "the durations of this plan depend on each other, so their exact law is not known here; use monte_carlo or "
        "splitting."
    )


def test_a_copula_without_correlations_is_no_dependence():
    assert completion_law(EXAMPLE.correlated(copula=0.0)).sf(70) == completion_law(EXAMPLE).sf(70)


def test_too_many_states_because_of_stages_are_said_to_be():
    with pytest.raises(ValueError) as error:
        completion_law(Project({f"t{j}": erlang(3, 4) for j in range(10)}))
    assert str(error.value).startswith(
        "the chain of this plan has more than 50,000 states (because of durations of up to 4 stages; were all "
        "exponential, it would have 1,024); use monte_carlo"
    )


def test_too_many_states_because_of_tasks_are_not_blamed_on_stages():
    with pytest.raises(ValueError, match=r"states \(up to 20 tasks can run at once, so at least 2\*\*20 = 1e\+06\);"):
        completion_law(Project({f"t{j}": erlang(3, 2) for j in range(20)}))


def test_too_many_events_are_blamed_on_the_shortest_stages():
    law = completion_law(Project({"a": 1, "b": erlang(4, 9_000)}))
    with pytest.raises(ValueError, match="leave out tasks with stages as short as those of 'b'"):
        law.elasticities(30)


# Exponential plans


def test_exponential_plans_are_what_they_were_before_there_were_stages():
    """Printed by the version that knew nothing else."""
    law = completion_law(EXAMPLE)
    assert float(law.sf(70)) == pytest.approx(3.2115254814599244e-05, rel=1e-13)
    assert (law.mean, law.std) == pytest.approx((18.210065914056678, 7.1983908251012885), rel=1e-13)
    elasticities = [
        *(3.254619114352683, 3.0395359445681556, 0.029278880960972586, 6.5599773604595795, 0.06663747443900193),
        *(0.06274276261763469, 0.00721922047272025, 0.029243679437564393, 0.08590706089326079, 0.6469369222992899),
    ]
    late_means = [
        *(17.01847645741073, 16.158143778272624, 2.058557761921945, 37.7998868022979, 2.133274948878004),
        *(3.188228287852904, 2.0144384409454403, 3.0877310383126932, 2.1718141217865217, 3.29387384459858),
    ]
    assert law.elasticities(70) == pytest.approx(elasticities, rel=1e-12)
    assert law.late_means(70) == pytest.approx(late_means, rel=1e-12)
    assert law.sample_late(70, 1000, 0).sum() == pytest.approx(88753.34261041947, rel=1e-10)
