"""Laws of a task's duration: draws, densities and tails agree, and so do the weights of other laws."""

import math
import warnings
from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, special, stats

from course_lib.projects.durations import (
    Continuous,
    Duration,
    Exponential,
    Fixed,
    Gamma,
    Hyperexponential,
    Lognormal,
    Pert,
    Triangular,
    Twisted,
    Uniform,
    as_duration,
    erlang,
    symmetric,
)

TWO, THREE = Hyperexponential.from_cv(4, 1.5), Hyperexponential((0.5, 0.2, 0.3), (2, 9, 4))
LAWS: dict[str, Duration] = {
    "exponential": Exponential(3),
    "gamma": Gamma(3, 0.6),
    "bursty gamma": Gamma(3, 1.2),
    "erlang": erlang(5, 4),
    "two exponentials": TWO,
    "three exponentials": THREE,
    "tilted": THREE.tilted(0.05),
    "lognormal": Lognormal(4, 0.8),
    "uniform": Uniform(2, 5),
    "triangular": Triangular(1, 2, 6),
    "triangle that falls": Triangular(1, 1, 6),
    "triangle that rises": Triangular(1, 6, 6),
    "pert": Pert(1, 2, 6),
    "pert to its mode": Pert(0, 6, 6),
    "scipy": Continuous(stats.weibull_min(0.7, scale=3)),
    "twisted lognormal": Twisted(Lognormal(4, 0.8), 1.5),
    "twisted gamma": Twisted(Gamma(3, 0.6), 1.5),
    "twisted pert": Twisted(Pert(1, 2, 6), 1.5),
    "symmetric uniform": symmetric(Uniform, 4, 0.3),
    "symmetric triangular": symmetric(Triangular, 4, 0.3),
    "symmetric pert": symmetric(Pert, 4, 0.3),
}
each_law = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
N = 200_000


def drawn(law, seed=0, n=N):
    out = np.empty(n)
    law.draw(np.random.default_rng(seed), out)
    return out


def inside(law):
    """Durations from short to long; where the support ends, not so near its end that their digits do not tell."""
    return law.from_normal(np.linspace(-4, 3 if math.isfinite(law.support[1]) else 8, 50))


def integral(law, function):
    """Integral over the law's support, in pieces that each hold a part of its probability."""
    low, high = law.support
    middle = law.from_normal(np.array([-6.0, -4, -2, -1, 0, 1, 2, 4, 6, 10, 20]))
    # A triangle has a corner.
    corner = [law.most_likely] if isinstance(law, Triangular) else []
    ends = np.unique([low, *middle, *corner, *([high] if math.isfinite(high) else [])])
    # Where the density is infinite at an end, quad warns but is right.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", integrate.IntegrationWarning)
        return sum(integrate.quad(function, a, b)[0] for a, b in pairwise(ends))


def usual(law):
    """The average of the statistic: a hazard's is 1 for every law."""
    return law.mean if law.statistic(np.array([2.0, 3.0])).tolist() == [2, 3] else 1.0


def average_is(values, expected):
    return abs(values.mean() - expected) < 4.5 * values.std() / math.sqrt(values.size)


# Draws, density, hazard and quantiles


@each_law
def test_draws_have_the_mean_and_the_hazard_of_their_law(law):
    t, (low, high) = drawn(law), law.support
    assert abs(t.mean() - law.mean) < 4.5 * law.std / math.sqrt(N)
    assert low <= t.min() and t.max() <= high
    assert stats.kstest(law.hazard(t), "expon").pvalue > 1e-4


@each_law
def test_density_has_integral_1_and_the_mean_and_spread_of_its_law(law):
    whole, mean, square = (integral(law, lambda t, k=k: t**k * math.exp(law.log_density(t))) for k in range(3))
    assert whole == pytest.approx(1, rel=1e-6)
    assert (law.mean, law.std) == pytest.approx((mean, math.sqrt(square - mean**2)), rel=1e-5)
    # Outside the support there is none.
    low, high = law.support
    outside = [low / 2] * (low > 0) + [high + 1] * math.isfinite(high)
    assert (law.log_density(np.array(outside)) == -np.inf).all()


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("exponential", stats.expon(scale=3)),
        ("gamma", stats.gamma(0.6**-2, scale=3 * 0.6**2)),
        ("bursty gamma", stats.gamma(1.2**-2, scale=3 * 1.2**2)),
        ("erlang", stats.gamma(4, scale=5 / 4)),
        ("lognormal", stats.lognorm(math.sqrt(math.log(1.64)), scale=4 / math.sqrt(1.64))),
        ("uniform", stats.uniform(2, 3)),
        ("triangular", stats.triang(0.2, 1, 5)),
        ("triangle that falls", stats.triang(0, 1, 5)),
        ("triangle that rises", stats.triang(1, 1, 5)),
        ("pert", stats.beta(1 + 4 / 5, 1 + 16 / 5, 1, 5)),
        ("pert to its mode", stats.beta(5, 1, 0, 6)),
        ("scipy", stats.weibull_min(0.7, scale=3)),
    ],
)
def test_scipy_agrees_where_it_has_the_law(name, known):
    law = LAWS[name]
    t, p = inside(law), np.linspace(0.01, 0.99, 30)
    assert law.log_density(t) == pytest.approx(known.logpdf(t), rel=1e-8, abs=1e-8)
    assert law.hazard(t) == pytest.approx(-known.logsf(t), rel=1e-8, abs=1e-8)
    assert law.quantile(p, 1 - p) == pytest.approx(known.ppf(p), rel=1e-8)
    assert (law.mean, law.std) == pytest.approx((known.mean(), known.std()), rel=1e-8)


@each_law
def test_a_larger_normal_number_is_a_longer_duration_of_the_same_chance(law):
    z = np.linspace(-5, 4 if math.isfinite(law.support[1]) else 8, 200).reshape(20, 10)
    t = law.from_normal(z)
    assert (np.diff(t.ravel()) > 0).all()
    assert law.log_density(t).shape == law.statistic(t).shape == z.shape
    assert law.hazard(t) == pytest.approx(-special.log_ndtr(-z), rel=1e-9, abs=1e-12)
    assert law.from_hazard(law.hazard(t)) == pytest.approx(t, rel=1e-9)
    assert law.from_hazard(-special.log_ndtr(-z)) == pytest.approx(t, rel=1e-9)
    # Where the digits of the hazard end the durations still agree.
    far = np.array([6.0, 8.0])
    assert law.from_hazard(-special.log_ndtr(-far)) == pytest.approx(law.from_normal(far), rel=1e-9)


@each_law
def test_scaling_multiplies_the_durations(law):
    t, longer = inside(law), law.with_mean(3 * law.mean)
    assert (longer.mean, longer.std) == pytest.approx((3 * law.mean, 3 * law.std), rel=1e-5)
    assert longer.hazard(3 * t) == pytest.approx(law.hazard(t), rel=1e-9, abs=1e-12)
    assert longer.log_density(3 * t) == pytest.approx(law.log_density(t) - math.log(3), rel=1e-8, abs=1e-8)
    assert law.with_mean(law.mean) == law


def test_what_is_certain_stays_so():
    law = Fixed(4)
    assert (law.mean, law.std, law.support, law.stages) == (4, 0, (4, 4), ())
    assert set(drawn(law, n=3)) == set(law.from_normal(np.arange(3.0))) == {4}
    assert law.twisted(2) == law.tilted(1) == law.member(3) == law
    assert law.scaled(2) == Fixed(8)
    assert law.hazard(np.array([3.9, 4.0])).tolist() == [0, math.inf]
    assert law.log_weight(law, np.array([4.0])).tolist() == [0]


@each_law
def test_no_duration_is_negative(law):
    assert law.log_density(np.array([-1.0, -1e-9])).tolist() == [-math.inf] * 2


# Other laws to draw from


@each_law
def test_weights_are_differences_of_log_densities_and_average_1(law):
    t = inside(law)
    for other in (law.member(1.3 * usual(law)), law.twisted(1.4)):
        difference = law.log_density(t) - other.log_density(t)
        assert other.log_weight(law, t) == pytest.approx(difference, rel=1e-7, abs=1e-7)
        assert average_is(np.exp(other.log_weight(law, drawn(other, n=50_000))), 1)
    assert law.member(usual(law)).log_weight(law, t) == pytest.approx(0, abs=1e-9)


@each_law
def test_a_member_has_the_average_that_it_was_asked_for(law):
    for average in (0.7 * usual(law), 1.5 * usual(law)):
        assert average_is(law.statistic(drawn(law.member(average), n=50_000)), average)


@pytest.mark.parametrize(("law", "rate"), [(Exponential(3), 0.2), (Gamma(3, 0.6), 0.5), (TWO, 0.05), (THREE, -1.0)])
def test_tilting_multiplies_the_density_by_an_exponential(law, rate):
    t = inside(law)
    ratio = law.tilted(rate).log_density(t) - law.log_density(t) - rate * t
    assert np.ptp(ratio) < 1e-8


@pytest.mark.parametrize(("law", "limit"), [(Exponential(4), 0.25), (erlang(4, 2), 0.5), (THREE, 1 / 9)])
def test_tilting_beyond_the_tail_is_refused(law, limit):
    law.tilted(0.99 * limit)
    for rate in (limit * (1 + 1e-12), 1.0, math.inf, -math.inf, math.nan):
        with pytest.raises(ValueError, match="the rate"):
            law.tilted(rate)
    for other in (Lognormal(4, 1), Pert(1, 2, 6), LAWS["scipy"]):
        with pytest.raises(ValueError, match="cannot be tilted; use twisted"):
            other.tilted(0.1)


@pytest.mark.parametrize("law", [Exponential(3), Gamma(3, 0.6), erlang(3, 2), TWO, THREE])
def test_squared_ratio_is_the_integral_and_the_law(law):
    t = inside(law)
    for own in (law, law.member(0.8 * law.mean), law.member(1.6 * law.mean)):
        log_c, squared = law.squared_ratio(own)
        assert squared.log_density(t) == pytest.approx(2 * law.log_density(t) - own.log_density(t) - log_c, abs=1e-7)
        whole = integral(squared, lambda t, own=own: math.exp(2 * law.log_density(t) - own.log_density(t)))
        assert log_c == pytest.approx(math.log(whole), abs=1e-7)


def test_squared_ratio_is_none_where_infinite_and_refused_where_unknown():
    for law, own in [(Exponential(3), Exponential(1.5)), (erlang(3, 2), erlang(1, 2)), (THREE, THREE.tilted(-0.2))]:
        assert law.squared_ratio(own) is None
    unknown = [(Gamma(3, 0.6), Gamma(3, 0.5)), (THREE, TWO), (THREE, Exponential(4)), (LAWS["pert"], Pert(1, 3, 6))]
    for law, own in [*unknown, (LAWS["lognormal"], LAWS["lognormal"].twisted(2))]:
        with pytest.raises(ValueError, match="not known exactly"):
            law.squared_ratio(own)


def test_stages_make_up_the_law():
    staged = [law for law in LAWS.values() if law.stages]
    assert staged == [LAWS["exponential"], LAWS["erlang"], TWO, THREE, LAWS["tilted"]]
    for law in staged:
        rng, t, on, mean = np.random.default_rng(2), np.zeros(50_000), np.ones(50_000, dtype=bool), 0.0
        for rate, go_on in reversed(law.stages):
            mean = 1 / rate + go_on * mean
        for rate, go_on in law.stages:
            t += on * rng.exponential(1 / rate, t.size)
            on &= rng.random(t.size) < go_on
        assert not on.any()
        assert mean == pytest.approx(law.mean)
        assert stats.kstest(law.hazard(t), "expon").pvalue > 1e-4


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Gamma(-1, 0.5), "the mean duration is -1"),
        (lambda: Lognormal(0, 0.5), "the mean duration is 0"),
        (lambda: Exponential(math.nan), "the mean duration is nan"),
        (lambda: Fixed(math.inf), "the mean duration is inf"),
        (lambda: Lognormal(3, math.inf), "coefficient of variation must be a positive"),
        (lambda: Gamma(3, 0), "coefficient of variation must be a positive"),
        (lambda: Gamma(3, 1e-200), "of 1e-200 is as good as none; make the duration fixed"),
        (lambda: Lognormal(3, 1e-9), "as good as none"),
        (lambda: Fixed(3).log_density(np.array([3.0])), "has no density"),
        (lambda: as_duration(stats.expon(scale=[1, 2])), "several parameters at a time; give each task its own"),
        (lambda: erlang(3, 1.5), "the number of stages must be a whole number"),
        (lambda: Hyperexponential.from_cv(3, 1), "above 1; got 1, so use gamma"),
        (lambda: Hyperexponential((0.5, 0.4), (1, 2)), "sum to 1"),
        (lambda: Hyperexponential((0.5, 0.5), (1, 2, 3)), "each mean needs a probability"),
        (lambda: Hyperexponential((1.5, -0.5), (1, 2)), "a probability must lie between 0 and 1"),
        (lambda: Triangular(1, 7, 6), "most likely 7, pessimistic 6: durations must be 0 or more, in this order"),
        (lambda: Uniform(2, 2), "the last longer than the first"),
        (lambda: Pert(-1, 2, 6), "must be 0 or more"),
        (lambda: Uniform(1, math.inf), "pessimistic inf"),
        (lambda: Pert(1, math.nan, 6), "the most likely duration must be a number of days"),
        (lambda: symmetric(Triangular, 4, 0.5), "give 0.41 at most"),
        (lambda: Twisted(Lognormal(3, 1), 0), "the factor must be a positive"),
        (lambda: as_duration(stats.poisson(3)), "is no duration; give days, a law"),
        (lambda: as_duration(stats.norm(9, 1)), "norm can be as short as -inf days; truncate it at 0"),
        (lambda: as_duration(stats.pareto(0.5)), "the mean duration is inf"),
        (lambda: Continuous("soon"), "is no duration; give days, a law"),
        (lambda: as_duration(object()), "is not a number; write days"),
        (lambda: as_duration("soon"), "'soon' is not a number; write days"),
    ],
)
def test_what_is_no_duration_is_refused_in_a_sentence(make, told):
    with pytest.raises(ValueError, match=told) as error:
        make()
    assert str(error.value).endswith(".")
