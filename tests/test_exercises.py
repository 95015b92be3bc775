"""Every check: silent on an untouched stub, right for the worked answer, and a hint for each likely mistake."""

import inspect
import math
from pathlib import Path

import numpy as np
import pytest

from course_lib.estimates import Estimate
from course_lib.exercises import notebook_01, notebook_02
from course_lib.exercises.verdict import Verdict
from course_lib.projects import (
    Project,
    Proposal,
    completion_law,
    cross_entropy,
    importance_sampling,
    monte_carlo,
    scaled,
)

PLAN = Project.example()
TAIL = float(completion_law(PLAN).sf(70))
HOUSE = Project({"frame": 20, "roof": 10, "pipes": 12}, {"roof": ["frame"], "pipes": ["frame"]})
HOUSE_ESTIMATE = importance_sampling(HOUSE, 150, cross_entropy(HOUSE, 150), n=50_000)


def shares(days=30, size=lambda n: n, late=True):
    rng = np.random.default_rng(1)

    def estimates(sizes):
        times = [PLAN.completion_times(rng.exponential(PLAN.means, size=(size(n), 10))) for n in sizes]
        return [np.mean((t >= days) == late) for t in times]

    return estimates


def criticality(column=8, error=lambda p, n: math.sqrt(p * (1 - p) / n)):
    def answer(task, n):
        mask = PLAN.critical_tasks(np.random.default_rng(3).exponential(PLAN.means, size=(n, 10)))
        share = mask.mean() if column is None else mask[:, column].mean()
        return share, error(share, n)

    return answer


def second_moment(k):
    return k**2 / (2 * k - 1) if k > 0.5 else math.inf


def mean_weight(proposal, late, power=1):
    return np.mean(np.exp(power * proposal.log_weights(late)))


def ratios(t, p, q):
    return np.log(q / p) + t / q - t / p


# check -> (right answers, [(wrong answers, words of the hint that names the mistake)])
CASES = {
    notebook_01.standard_error: (
        [lambda x: x.std(ddof=1) / math.sqrt(len(x)), lambda x: x.std() / len(x) ** 0.5],
        [
            (lambda x: x.std(ddof=1), "divide by the root of n"),
            (lambda x: x.var(ddof=1) / len(x), "variance of the mean"),
            (lambda x: x.std(ddof=1) / len(x), "divided by n"),
            (lambda x: x.mean(), "the answer is"),
        ],
    ),
    notebook_01.estimates: (
        [shares()],
        [
            (shares(size=lambda n: 100_000), "still does not depend on n"),
            (shares(size=lambda n: 2 * n), "whole number of projects divided by n"),
            (shares(size=lambda n: 1_000), "still does not depend on n"),
            (shares(late=False), "less than 30 days"),
            (lambda sizes: [18.2] * len(sizes), "between 0 and 1"),
            (lambda sizes: [0.0670203699] * len(sizes), "whole number of projects divided by n"),
            (shares(days=15), "four standard errors"),
            (lambda sizes: shares()(sizes)[-1], "expected 4 shares"),
        ],
    ),
    notebook_01.mean_of_max: (
        [lambda a, b: a + b - a * b / (a + b)],
        [
            (max, "larger mean"),
            (lambda a, b: a + b, "one after the other"),
            (lambda a, b: a * b / (a + b), "mean of the minimum"),
            (lambda a, b: a + b - 1 / (a + b), "rates add"),
            (lambda a, b: a + b - 1 / a - 1 / b, "one over its rate"),
            (lambda a, b: 5 + 3 - 1.875, "for 2 and 2"),
            (lambda a, b: 1.5 * max(a, b), "the answer is"),
        ],
    ),
    notebook_01.upper_bound: (
        [lambda n: 1 - 0.05 ** (1 / n)],
        [
            (lambda n: 0.0, "does not mean that the probability is zero"),
            (lambda n: 3 / n, "approximation"),
            (lambda n: 1 - 0.95 ** (1 / n), "95 % probable"),
            (lambda n: 0.05 ** (1 / n), "1 - p"),
            (lambda n: 1 / n, "the answer is"),
        ],
    ),
    notebook_01.projects_needed: (
        [lambda p, r: (1 - p) / (p * r**2), lambda p, r: 1 / (p * r**2)],
        [
            (lambda p, r: (1 - p) / (p * r), "its square"),
            (lambda p, r: p * (1 - p) / r**2, "absolute error"),
            (lambda p, r: 1.96**2 / (p * r**2), "95 % interval"),
            (lambda p, r: 1 / p, "the answer is"),
        ],
    ),
    notebook_01.criticality: (
        [criticality()],
        [
            (criticality(column=9), "column with index 9"),
            (criticality(column=None), "average over all ten"),
            (lambda task, n: (0.0, 0.0), "the probability for task 9"),
            (criticality(error=lambda p, n: math.sqrt(p * (1 - p))), "single project"),
            (criticality(error=lambda p, n: p / n), "its standard error is"),
            (criticality(column=1), "the probability for task 9"),
            (lambda task, n: 0.5, "return two numbers"),
            (lambda task, n: criticality()(task, 20_000), "n fresh ones"),
        ],
    ),
    notebook_02.log_weights: (
        [lambda t, p, q: ratios(t, p, q).sum(axis=1)],
        [
            (lambda t, p, q: -ratios(t, p, q).sum(axis=1), "log q - log p"),
            (lambda t, p, q: np.exp(ratios(t, p, q).sum(axis=1)), "weights themselves"),
            (lambda t, p, q: (t / q - t / p).sum(axis=1), "factor 1/mean"),
            (lambda t, p, q: (t / q - t / p - np.log(q / p)).sum(axis=1), "wrong sign"),
            (ratios, "sum over axis 1"),
            (lambda t, p, q: ratios(t, p, q).sum(axis=0), "one log-weight for each draw"),
            (lambda t, p, q: ratios(t, p, q).max(axis=1), "should be"),
        ],
    ),
    notebook_02.second_moment: (
        [second_moment],
        [
            (lambda k: k**2 / (2 * k - 1), "np.inf"),
            (lambda k: k**2 / (2 * k - 1) if k >= 0.5 else math.inf, "for c = 0.5"),
            (lambda k: 1.0, "mean of w"),
            (lambda k: second_moment(k) - 1, "variance of w"),
            (lambda k: k / (2 * k - 1) if k > 0.5 else math.inf, "one factor c is missing"),
            (lambda k: 4 / 3 if k > 0.5 else math.inf, "for c = 0.75"),
            (lambda k: k, "the integral is 4/3"),
        ],
    ),
    notebook_02.mended: (
        [scaled(PLAN, 3, ["1", "2", "4", "10"]), Proposal(PLAN, [12, 12, 2, 15, 2, 3, 2, 3, 2, 6])],
        [
            (Proposal(PLAN, [12, 12, 2, 15, 2, 3, 2, 3, 2, 12]), "the post's proposal"),
            (scaled(PLAN, 3), "every task is scaled"),
            (scaled(PLAN, 3, ["1", "2", "4"]), "task 10 is on the critical path too"),
            (scaled(PLAN, 4, ["1", "2", "4", "10"]), "should be 3"),
            (scaled(PLAN, 3, ["1", "2", "10"]), "the mean of task 4 should be 15"),
            (scaled(HOUSE, 4), "another plan"),
            ([16, 16, 2, 20], "make a proposal"),
        ],
    ),
    notebook_02.relative_variance: (
        [lambda q, late, p: mean_weight(q, late) / p - 1],
        [
            (lambda q, late, p: mean_weight(q, late) / p, "subtract 1"),
            (lambda q, late, p: q.relative_variance(70), "average over the late projects"),
            (lambda q, late, p: mean_weight(q, late, 2) / p**2 - 1, "average w, not its square"),
            (lambda q, late, p: mean_weight(q, late) - 1, "not yet relative"),
            (lambda q, late, p: np.var(np.exp(q.log_weights(late))) / mean_weight(q, late) ** 2, "among late"),
            (lambda q, late, p: 1 / p, "the exact value is"),
        ],
    ),
    notebook_02.mixture_log_weights: (
        [lambda a, b, s: -np.logaddexp(np.log(s) - a, np.log(1 - s) - b)],
        [
            (lambda a, b, s: np.log(s * np.exp(a) + (1 - s) * np.exp(b)), "averages the weights"),
            (lambda a, b, s: -np.logaddexp(-a, -b), "shares are missing"),
            (lambda a, b, s: -np.logaddexp(np.log(1 - s) - a, np.log(s) - b), "swapped"),
            (lambda a, b, s: np.logaddexp(np.log(s) - a, np.log(1 - s) - b), "change the sign"),
            (lambda a, b, s: a, "one component alone"),
            (lambda a, b, s: -np.log(s * np.exp(-a) + (1 - s) * np.exp(-b)), "stay in log space"),
            (lambda a, b, s: a.sum(), "one log-weight for each draw"),
            (lambda a, b, s: a + b, "the answer is"),
        ],
    ),
    notebook_02.own_plan: (
        [(HOUSE, 150, HOUSE_ESTIMATE)],
        [
            ((HOUSE, 400, monte_carlo(HOUSE, 400, n=500)), "no draw missed"),
            ((HOUSE, 150, importance_sampling(HOUSE, 150, scaled(HOUSE, 20), n=100)), "caution"),
            ((HOUSE, 120, monte_carlo(HOUSE, 120, n=10_000)), "below 5 %"),
            ((HOUSE, 40, monte_carlo(HOUSE, 40, n=20_000)), "not rare yet"),
            ((HOUSE, 160, HOUSE_ESTIMATE), "this deadline"),
            ((PLAN, 70, HOUSE_ESTIMATE), "one of yours"),
            (("my_plan.csv", 150, HOUSE_ESTIMATE), "should be a Project"),
            ((HOUSE, 150, HOUSE_ESTIMATE.value), "should be what importance_sampling"),
        ],
    ),
}


def ask(check, answer) -> Verdict:
    return check(*answer) if isinstance(answer, tuple) else check(answer)


IDS = [check.__name__ for check in CASES]


def test_every_check_is_covered_with_two_wrong_answers_or_more():
    offered = {getattr(module, name) for module in (notebook_01, notebook_02) for name in module.__all__}
    assert offered == set(CASES)
    assert all(len(wrong) >= 2 for _, wrong in CASES.values())


def test_every_check_is_used_in_its_notebook():
    for module in (notebook_01, notebook_02):
        number = module.__name__[-2:]
        (source,) = (Path(__file__).parents[1] / "notebooks" / "source").glob(f"{number}_*.py")
        text = source.read_text(encoding="utf-8")
        assert [name for name in module.__all__ if f"check.{name}(" not in text] == []


@pytest.mark.parametrize("check", CASES, ids=IDS)
@pytest.mark.parametrize("stub", [None, ..., lambda *_: None, lambda *_: ...], ids=["None", "...", "f", "f..."])
def test_untouched_stub_is_not_attempted(check, stub):
    if inspect.isfunction(stub) and check in (notebook_02.mended, notebook_02.own_plan):
        pytest.skip("its answer is no function")
    count = len(inspect.signature(check).parameters)
    assert check(*[stub] * count).status == "not attempted"


@pytest.mark.parametrize("check", CASES, ids=IDS)
def test_right_answers_are_right(check):
    for answer in CASES[check][0]:
        verdict = ask(check, answer)
        assert verdict.status == "right", verdict


@pytest.mark.parametrize(
    ("check", "answer", "words"),
    [(check, answer, words) for check, (_, wrong) in CASES.items() for answer, words in wrong],
    ids=[f"{check.__name__}-{words}" for check, (_, wrong) in CASES.items() for _, words in wrong],
)
def test_wrong_answers_get_a_hint_that_names_the_mistake(check, answer, words):
    verdict = ask(check, answer)
    assert verdict.status == "wrong"
    assert words in verdict.message


def test_an_error_in_the_answer_is_reported_and_not_raised():
    verdict = notebook_01.mean_of_max(lambda a, b: 1 / 0)
    assert verdict.status == "wrong"
    assert "ZeroDivisionError" in verdict.message


def test_a_plan_too_large_for_the_chain_is_accepted_on_its_diagnostics():
    crews = [f"crew {i}" for i in range(30)]
    wide = Project({"permit": 40, **dict.fromkeys(crews, 2)}, {crew: ["permit"] for crew in crews})
    estimate = importance_sampling(wide, 250, cross_entropy(wide, 250), n=50_000)
    verdict = notebook_02.own_plan(wide, 250, estimate)
    assert verdict.status == "right", verdict
    assert "no exact answer" in verdict.message


def test_a_verdict_shows_as_text_and_html_without_letting_html_through():
    bundle = Verdict("wrong", "a < b")._repr_mimebundle_()
    assert bundle["text/plain"] == "✗ wrong: a < b"
    assert "a &lt; b" in bundle["text/html"]


def test_estimates_of_the_worked_house_are_estimates():
    assert isinstance(HOUSE_ESTIMATE, Estimate)
