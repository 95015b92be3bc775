r"""From log-weights to a number with its error and its diagnostics.

Both halves of the course end here. A simulation hands over one log-weight per draw, the logarithm of what
that draw contributes to an average: :math:`\log f(x) p(x) / q(x)`. Draws that contribute nothing have
log-weight ``-inf``. :class:`Estimate` reduces them to a value, a standard error and the signs of trouble;
:class:`RunningEstimate` does the same for a stream too long to keep.

Start with :meth:`Estimate.from_log_weights`; :meth:`Estimate.against` holds the result against an exact answer. What it
says of the weights themselves is in `course_lib.weights`, whose functions are offered here too. The background is
[Owen2013], chapters 2 and 9.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from course_lib.checks import fraction
from course_lib.rounding import value_with_error
from course_lib.weights import effective_sample_size, log_mean_exp, pareto_k, pareto_k_limit, tail_length

__all__ = [
    "COMPARISON_MIME",
    "Comparison",
    "Estimate",
    "RunningEstimate",
    "effective_sample_size",
    "log_mean_exp",
    "pareto_k",
    "pareto_k_limit",
    "tail_length",
    "value_with_error",
]

Floats = NDArray[np.float64]

# `python -m course_lib run` reads a comparison from a notebook by this type, for its closing table.
COMPARISON_MIME = "application/vnd.course-lib.comparison+json"
# With fewer effective draws than this the normal interval is visibly too short.
FEW_EFFECTIVE_DRAWS = 30
# With fewer runs than this their spread is a rough error, and so it is where one of them is as large as several.
FEW_RUNS = 10


@dataclass(frozen=True, repr=False)
class Estimate:
    """The average of draws, weighted or not, with its error and with what the sample shows of its reliability.

    Attributes:
        value: the estimate.
        std_error: its standard error, in the units of ``value``.
        n: number of draws.
        n_hits: draws that contributed anything; ``n`` for a plain mean.
        ess: effective sample size of the contributions (integrand times weight), at most ``n_hits``; ``n`` for a
            plain mean, whose draws all count alike.
        max_weight_share: the share of the sum that its largest contribution carries; for a plain mean both in
            absolute value.
        pareto_k: tail index of the contributions, for a plain mean of their absolute values; ``nan`` where it does
            not apply (equal or too few weights).
        kind: what a draw contributes: 0 or 1 (``"hits"``), a weight (``"weights"``), or any number, each as good as
            another (``"values"``, a plain mean). Of ``"runs"`` the draws depend on each other, and the error comes from
            independent runs; what a sample of draws tells does not apply then, save the share of the largest run.
        runs: how many such runs there are; 0 for any other kind.
    """

    value: float
    std_error: float
    n: int
    n_hits: int
    ess: float
    max_weight_share: float
    pareto_k: float
    kind: Literal["hits", "weights", "values", "runs"] = "weights"
    runs: int = 0

    @classmethod
    def from_log_weights(cls, log_w: ArrayLike) -> Estimate:
        """The mean of ``exp(log_w)``.

        Args:
            log_w: log-contributions in nats, ``[n]``; ``-inf`` for a draw that contributes nothing.

        Raises:
            ValueError: no draws, a log-weight is ``nan`` or ``+inf``, or one is so large that the mean overflows.
        """
        n = np.asarray(log_w).size  # not np.size, which takes a tensor's method for a number
        running = RunningEstimate(n)
        running.add(log_w, n)
        return running.estimate()

    @classmethod
    def from_values(cls, values: ArrayLike) -> Estimate:
        """The plain mean of any numbers, positive or not, as in the law of large numbers.

        Args:
            values: one number per draw, ``[n]``.

        Raises:
            ValueError: fewer than two draws, or a value that is not finite.
        """
        draws = np.asarray(values, dtype=float).ravel()
        if draws.size < 2:
            raise ValueError(f"a mean with an error needs at least two draws; got {draws.size}.")
        if not np.isfinite(draws).all():
            bad = int(np.argmin(np.isfinite(draws)))
            raise ValueError(f"draw {bad} is {draws[bad]}; every draw must be finite.")
        sizes = np.abs(draws)
        shares = sizes / sizes.max() if sizes.any() else sizes
        return cls(
            value=float(draws.mean()),
            std_error=_deviation(draws) / math.sqrt(draws.size),
            n=draws.size,
            n_hits=draws.size,
            ess=float(draws.size),
            max_weight_share=1 / float(shares.sum()) if shares.any() else 0.0,
            pareto_k=pareto_k(np.log(sizes[sizes > 0]), draws.size),
            kind="values",
        )

    @classmethod
    def from_runs(cls, values: ArrayLike, n: int) -> Estimate:
        """The mean of independent estimates of the same thing, each from draws that may depend on each other.

        Args:
            values: one estimate per run, ``[runs]``.
            n: draws in all runs together.

        Raises:
            ValueError: fewer than two runs, or an estimate that is not finite.
        """
        plain = cls.from_values(values)
        return replace(plain, n=n, n_hits=n, ess=math.nan, pareto_k=math.nan, kind="runs", runs=plain.n)

    def _key(self) -> tuple[Any, ...]:
        # nan says that something does not apply, and so is the same on both sides; by itself it equals nothing.
        return tuple(None if field != field else field for field in astuple(self))

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Estimate) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    @property
    def relative_variance(self) -> float:
        """Variance of one draw's contribution over the squared mean, as this sample sees it."""
        return self.n * (self.std_error / self.value) ** 2 if self.value else math.inf

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """A confidence interval.

        For plain hits and misses it is exact [Clopper1934], and without a single hit the exact
        one-sided bound ``1 - (1 - level)**(1/n)``, the rule of three at 95 %. (Each is right by itself; taking the
        one-sided bound when there is no hit lowers the joint coverage to 94 % around three expected hits.) For
        weights and values it is the normal interval, which is right when many draws share the sum (see `caveats`), and
        for runs Student's, with one degree of freedom less than there are runs.
        Weighted draws without a hit give ``(0, inf)``, because a sample that never got there bounds nothing; so does
        a single one, which has no error, and runs that all found 0.

        Raises:
            ValueError: ``level`` is not between 0 and 1.
        """
        level = fraction("level", level)
        if self.kind == "hits":
            if self.n_hits == 0:
                return 0.0, -math.expm1(math.log1p(-level) / self.n)
            exact = stats.binomtest(self.n_hits, self.n).proportion_ci(level, method="exact")
            return float(exact.low), float(exact.high)
        nothing_found = self.kind == "runs" and self.value == self.std_error == 0
        if self.n_hits == 0 or nothing_found or math.isnan(self.std_error):
            return 0.0, math.inf
        quantile = stats.t(self.runs - 1).isf if self.kind == "runs" else stats.norm.isf
        half = float(quantile((1 - level) / 2)) * self.std_error
        return self.value - half, self.value + half

    def against(self, exact: float) -> Comparison:
        """Hold the estimate against the exact answer."""
        return Comparison(self, float(exact))

    @property
    def caveats(self) -> tuple[str, ...]:
        """Reasons, in words, not to trust this estimate; empty when the sample shows none.

        A sample cannot know of a region that it never visited, so no caveat is not a proof.
        """
        found = []
        if self.kind == "hits" and self.n_hits == 0:
            found.append(f"no hit in {self.n:,} draws: only an upper bound can be given")
        elif self.kind == "values" and self.n < FEW_EFFECTIVE_DRAWS:
            found.append(f"{self.n} draws are few for a normal interval: it is too short")
        elif self.kind == "runs":
            if self.value == 0:
                found.append(f"every one of the {self.runs} runs found 0: this says nothing about the value")
            elif self.runs < FEW_RUNS:
                found.append(f"{self.runs} runs are few: the error itself is known only roughly")
            elif self.max_weight_share > FEW_RUNS / 3 / self.runs:
                found.append(f"one of {self.runs} runs makes up {self.max_weight_share:.0%} of the mean: enlarge them")
        elif self.kind == "weights":
            if self.n_hits == 0:
                found.append(f"none of the {self.n:,} draws contributed: this proposal says nothing about the value")
            elif self.ess < FEW_EFFECTIVE_DRAWS:
                found.append(
                    f"{self.ess:.1f} effective draws carry the sum (the largest {self.max_weight_share:.0%} of it): "
                    "the interval is too short"
                )
            if self.n_hits and self.value == 0:
                found.append("the mean is below the smallest float: keep the log-weights and use log_mean_exp")
        if self.pareto_k > (limit := pareto_k_limit(self.n)):
            found.append(f"k-hat {self.pareto_k:.2f} is above {limit:.2f}: the error is not to be trusted")
        return tuple(found)

    @property
    def rounded(self) -> str:
        """The estimate rounded to its error, ``(3.21 ± 0.23)e-05``; without a hit, the bound that is left."""
        if self.n_hits == 0 and self.kind == "hits":
            return f"at most {self.interval()[1]:.2g} (95 %)"
        return value_with_error(self.value, self.std_error)

    def _summary(self) -> dict[str, str]:
        """What both ways of printing show, in order."""
        rows = {"estimate": self.rounded}
        if self.n_hits:
            low, high = self.interval()
            rows["95 % interval"] = f"{low:.4g} to {high:.4g}"
        if self.kind == "runs":
            return rows | {"runs": f"{self.runs}, of {self.n / self.runs:,.0f} draws"}
        rows["ESS"] = f"{self.ess:,.0f} of {self.n:,}"
        rows["k-hat"] = "not applicable" if math.isnan(self.pareto_k) else f"{self.pareto_k:.2f}"
        rows["largest share"] = f"{self.max_weight_share:.2g}"
        return rows

    def __str__(self) -> str:
        rows = self._summary()
        text = rows["estimate"]
        if "95 % interval" in rows:
            text += f" (95 %: {rows['95 % interval']})"
        text += f", runs {rows['runs']}" if "runs" in rows else f", ESS {rows['ESS']}, k-hat {rows['k-hat']}"
        return "\n".join([text, *(f"  caution: {caveat}" for caveat in self.caveats)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th style='text-align:left'>{k}</th><td>{v}</td></tr>" for k, v in self._summary().items()
        )
        notes = "".join(f"<div><b>Caution:</b> {caveat}</div>" for caveat in self.caveats)
        return f"<table>{cells}</table>{notes}"


@dataclass(frozen=True)
class Comparison:
    """An estimate beside the exact answer: agrees if the exact answer lies in its 99.73 % interval."""

    estimate: Estimate
    exact: float

    @property
    def agrees(self) -> bool:
        """Whether the exact answer lies within the interval that misses it once in 370 times."""
        low, high = self.estimate.interval(2 * stats.norm.cdf(3) - 1)
        # An estimate without any variance has no interval to be in, but it has rounding.
        return bool(low <= self.exact <= high) or math.isclose(self.estimate.value, self.exact, rel_tol=1e-12)

    @property
    def z(self) -> float:
        """Distance from the exact answer in standard errors; ``nan`` if the sample has none."""
        error = self.estimate.std_error
        return (self.estimate.value - self.exact) / error if error > 0 else math.nan

    @property
    def verdict(self) -> str:
        """The comparison in words."""
        if math.isnan(self.z):
            return "agrees" if self.agrees else "disagrees"
        side = "above" if self.z > 0 else "below"
        return f"{'agrees' if self.agrees else 'disagrees'}: {abs(self.z):.1f} standard errors {side}"

    def __str__(self) -> str:
        return f"{self.estimate.rounded}, exact {self.exact:.5g}: {self.verdict}"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {
            "text/plain": str(self),
            COMPARISON_MIME: {
                "estimate": self.estimate.rounded,
                "exact": f"{self.exact:.5g}",
                "verdict": self.verdict,
                "agrees": self.agrees,
            },
        }


class RunningEstimate:
    """An :class:`Estimate` of a stream of log-weights, in memory that does not grow with the stream.

    Sums are kept relative to the largest log-weight so far, so that weights of any magnitude can be added;
    of the weights themselves only those are kept that `pareto_k` looks at.
    """

    def __init__(self, n_expected: int, kind: Literal["hits", "weights"] = "weights") -> None:
        """Start a stream.

        Args:
            n_expected: how many draws will be added in all, which sets how many large weights are kept.
            kind: ``"hits"`` if every log-weight will be 0 or ``-inf``, a hit or a miss.
        """
        self._n_kept = tail_length(n_expected)
        self._kind = kind
        self._n = 0
        self._n_hits = 0
        self._shift = -math.inf
        self._sum = 0.0
        self._squares = 0.0
        self._largest: Floats = np.empty(0)

    def add(self, log_w: ArrayLike, n: int) -> None:
        """Add ``n`` draws.

        Args:
            log_w: their log-contributions in nats; draws that contribute nothing may be left out.
            n: the number of draws, those left out included.

        Raises:
            ValueError: a log-weight is ``nan`` or ``+inf``.
        """
        logs = np.asarray(log_w, dtype=float).ravel()
        logs = logs[logs != -np.inf]
        self._n += n
        if not logs.size:
            return
        top = float(logs.max())
        if not top < math.inf:
            raise ValueError(f"a log-weight is {top}; log-weights must be finite, or -inf for a weight of zero.")
        w = np.exp(logs - top)
        self._absorb(top, float(w.sum()), float((w * w).sum()), logs.size, logs)

    def merge(self, other: RunningEstimate) -> None:
        """Add all that another stream has seen."""
        self._n += other._n
        if other._n_hits:
            self._absorb(other._shift, other._sum, other._squares, other._n_hits, other._largest)

    def _absorb(self, shift: float, total: float, squares: float, hits: int, log_w: Floats) -> None:
        common = max(self._shift, shift)
        mine, theirs = math.exp(self._shift - common), math.exp(shift - common)
        self._sum = self._sum * mine + total * theirs
        self._squares = self._squares * mine**2 + squares * theirs**2
        self._shift = common
        self._n_hits += hits
        self._largest = np.concatenate([self._largest, log_w])
        if self._largest.size > 2 * self._n_kept:
            self._trim()

    def _trim(self) -> None:
        if self._largest.size > self._n_kept:
            cut = self._largest.size - self._n_kept
            self._largest = np.partition(self._largest, cut)[cut:]

    def estimate(self) -> Estimate:
        """The estimate so far.

        Raises:
            ValueError: nothing was added yet, or the weights are so large that their mean overflows.
        """
        n = self._n
        if n == 0:
            raise ValueError("an estimate needs at least one draw.")
        if self._n_hits == 0:
            return Estimate(0.0, 0.0, n, 0, 0.0, 0.0, math.nan, kind=self._kind)
        self._trim()
        if self._shift > 700:
            raise ValueError(
                f"a log-weight is {self._shift:.4g}: the mean exceeds the largest float; keep to log_mean_exp."
            )
        scale = math.exp(self._shift)
        mean = self._sum / n
        variance = max(self._squares / n - mean * mean, 0.0)
        return Estimate(
            value=mean * scale,
            std_error=math.sqrt(variance / (n - 1)) * scale if n > 1 else math.nan,
            n=n,
            n_hits=self._n_hits,
            ess=self._sum**2 / self._squares,
            max_weight_share=1.0 / self._sum,
            pareto_k=pareto_k(self._largest, n),
            kind=self._kind,
        )


def _deviation(draws: Floats) -> float:
    """Standard deviation of a sample, however small or large its numbers are."""
    # Squares of numbers below 1e-162 are 0. To scale by a power of two rounds nothing.
    exponent = math.frexp(float(np.abs(draws).max()))[1]
    return math.ldexp(float(np.ldexp(draws, -exponent).std(ddof=1)), exponent)
