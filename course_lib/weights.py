"""What a sample of weights is worth: its mean in log space, its effective size, and how heavy its tail is.

All of them take log-weights in nats, ``-inf`` for a weight of zero, so that weights of any magnitude can be looked at.
"""

from __future__ import annotations

import math

import numpy as np
from arviz_stats.base import array_stats
from numpy.typing import ArrayLike, NDArray
from scipy import special

from course_lib.checks import whole_number

__all__ = ["effective_sample_size", "log_mean_exp", "pareto_k", "pareto_k_limit", "tail_length"]

Floats = NDArray[np.float64]

# Weights in the tail that k-hat is fitted to, at most: the fit's memory grows with the power 3/2 of their number.
_LONGEST_TAIL = 10_000


def log_mean_exp(log_w: ArrayLike, axis: int = 0) -> Floats:
    r"""Logarithm of the average weight, without leaving log space.

    .. math:: \log \frac{1}{K} \sum_k e^{\ell_k} = m + \log \frac{1}{K} \sum_k e^{\ell_k - m},
        \quad m = \max_k \ell_k

    Args:
        log_w: log-weights in nats, any shape.
        axis: the axis of length K to average over.

    Returns:
        ``log_w`` without ``axis``. All weights zero gives ``-inf``, not ``nan``.

    Raises:
        ValueError: there is nothing to average, or a log-weight is ``nan`` or ``+inf``.

    Source: [Blanchard2021].
    """
    logs = _checked(log_w, axis)
    return np.asarray(special.logsumexp(logs, axis=axis) - math.log(logs.shape[axis]))


def effective_sample_size(log_w: ArrayLike, axis: int = 0) -> Floats:
    r"""How many equally weighted draws would be worth as much: :math:`(\sum w)^2 / \sum w^2`.

    Args:
        log_w: log-weights in nats, any shape.
        axis: the axis of draws.

    Returns:
        ``log_w`` without ``axis``, between 1 and the length of ``axis``; 0 where all weights are zero.

    Raises:
        ValueError: there are no weights, or a log-weight is ``nan`` or ``+inf``.

    Source: [Kong1994]; [Owen2013], section 9.3.
    """
    logs = _checked(log_w, axis)
    largest = np.max(logs, axis=axis, keepdims=True)
    w = np.exp(logs - np.where(np.isfinite(largest), largest, 0.0))
    total, squares = w.sum(axis=axis), (w * w).sum(axis=axis)
    return np.asarray(np.divide(total**2, squares, out=np.zeros_like(total), where=squares > 0))


def _checked(log_w: ArrayLike, axis: int) -> Floats:
    logs = np.asarray(log_w, dtype=float)
    if logs.ndim == 0 or logs.shape[axis] == 0:
        raise ValueError(f"there must be at least one log-weight along axis {axis}; got shape {logs.shape}.")
    return _without_nan(logs)


def _without_nan(logs: Floats) -> Floats:
    # One reduction finds both: the maximum of an array with a nan in it is nan.
    if logs.size and not logs.max() < math.inf:
        raise ValueError(f"a log-weight is {logs.max()}; log-weights must be finite, or -inf for a weight of zero.")
    return logs


def pareto_k(log_w: ArrayLike, n: int | None = None) -> float:
    """Tail index of the weights: how heavy the largest of them suggest that the rest may be.

    A generalized Pareto distribution with shape k is fitted to the largest ``3 sqrt(n)`` weights, at most 10,000
    and at most a fifth of those that are not zero. Moments of order 1/k and above do not exist: from k = 1/2 on
    the variance is infinite. See `pareto_k_limit` for when an estimate is not to be trusted.

    Args:
        log_w: log-weights in nats, ``[m]``, *not* negated; at least the ``15 sqrt(n)`` largest.
        n: how many draws they were taken from; ``m`` unless given.

    Returns:
        k-hat; ``nan``, for "not applicable", with fewer than 30 weights above zero or when those of the tail are
        mostly equal; ``inf`` when the largest leave the others no part of the sum.

    Raises:
        ValueError: a log-weight is ``nan`` or ``+inf``.

    Source: [Vehtari2024], section 2.
    """
    logs = np.asarray(log_w, dtype=float).ravel()
    n = logs.size if n is None else n
    logs = _without_nan(logs[logs != -np.inf])
    n_kept = min(tail_length(n), logs.size)
    if n_kept < 30:  # newer versions of the library fit no tail of five
        return math.nan
    largest = np.sort(np.partition(logs, logs.size - n_kept)[logs.size - n_kept :])
    n_tail = n_kept // 5
    lower_quartile = n_kept - n_tail + n_tail // 4
    if largest[lower_quartile] - largest[n_kept - n_tail - 1] <= 1e-12:
        return math.nan
    w = np.exp(largest - largest[-1])
    if w[lower_quartile] < 1e-290:
        return math.inf  # nothing but the very largest is left to fit
    # The library fits the largest fifth of what it is given when told that the draws are this inefficient.
    return float(array_stats.pareto_khat(w[None], r_eff=1e-9, tail="right"))


def pareto_k_limit(n: int) -> float:
    """The largest tail index with which the standard error of ``n`` draws is to be trusted.

    0.7 from 2,155 draws on, and less for fewer, with which it takes a lighter tail for an error to be what it says:
    0.67 for 1,000 and 0.5 for 100. With so few that no tail is light enough, 10 or fewer, it is zero.

    Raises:
        ValueError: ``n`` is no whole number of at least 1.

    Source: [Vehtari2024], section 3.
    """
    n = whole_number("the number of draws", n)
    return max(0.0, min(1 - 1 / math.log10(n), 0.7)) if n > 1 else 0.0


def tail_length(n: int) -> int:
    """How many of the largest of ``n`` weights `pareto_k` looks at: five times its tail."""
    return 5 * max(5, math.ceil(min(n / 5, 3 * math.sqrt(n), _LONGEST_TAIL)))
