"""The course in one picture, from real numbers: twice the same three steps, for the project and for a VAE.

Each row has draws from a wrong distribution, their log-weights, and the weighted average as it settles on the exact
answer. Colours are those of `static/course.css`, so that they follow the page from light to dark.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from course_lib.estimates import value_with_error
from course_lib.projects import Project, completion_law, scaled
from course_lib.vae import LinearGaussianVAE

__all__ = ["figure"]

Floats = NDArray[np.float64]

N_DRAWS, N_SHOWN = 30_000, 500
DEADLINE = 70.0
WIDTH, HEIGHT = 240, 150  # of a panel, in its own units
LEFT, RIGHT, TOP, BOTTOM = 8, 8, 18, 26


@dataclass(frozen=True)
class _Row:
    """One half of the course.

    Attributes:
        question: its heading.
        draws: one number for each draw, to be shown along the x axis.
        log_weights: of the same draws; -inf where a draw contributes nothing.
        nominal: the density that the average is over, as a function of that number.
        wanted: the density of what contributes to the average.
        ticks: of the x axis, in the order of the axis; the first and last are its ends.
        axis: what the x axis is.
        shown: what is made of the average: itself, or its logarithm.
        exact: the answer, made likewise.
        estimate: the same from all draws with its error, in words.
        captions: of the three panels; `{}` is for the estimate.
        texts: what they show, in words.
    """

    question: str
    draws: Floats
    log_weights: Floats
    nominal: Callable[[Floats], Floats]
    wanted: Callable[[Floats], Floats]
    ticks: tuple[float, ...]
    axis: str
    shown: Callable[[Floats], Floats]
    exact: float
    estimate: str
    captions: tuple[str, str, str]
    texts: tuple[str, str, str]


def figure() -> str:
    """The picture, as HTML for the front page."""
    panels = "\n".join(_row(row) for row in (_project(), _vae()))
    keys = [
        ("nominal", "the distribution that the average is over"),
        ("drawn", "the wrong one, from which we draw"),
        ("wanted", "what contributes to the average"),
        ("exact", "the exact answer"),
    ]
    legend = "".join(f'<li><span class="key {name}" aria-hidden="true"></span>{text}</li>' for name, text in keys)
    return (
        f'<figure class="idea">\n<div class="panels">\n{panels}\n</div>\n<ul class="legend">{legend}</ul>\n'
        f"<figcaption>Both rows are computed when this page is built: {N_DRAWS:,} draws each, "
        f"{N_SHOWN} of them in the middle panels.</figcaption>\n</figure>\n"
    )


def _project() -> _Row:
    plan = Project.example()
    law, proposal = completion_law(plan), scaled(plan, 3, tasks=plan.critical_path())
    durations = proposal.draw(np.random.default_rng(4), N_DRAWS)
    days = plan.completion_times(durations)
    log_weights = np.where(days >= DEADLINE, proposal.log_weights(durations), -np.inf)
    exact = float(law.sf(DEADLINE))
    mean, error = (100_000 * float(one[-1]) for one in _running(log_weights))
    return _Row(
        "The project: will it take 70 days or more?",
        days,
        log_weights,
        law.pdf,
        lambda t: np.where(t >= DEADLINE, law.pdf(t) / exact, 0.0),
        (0, 35, DEADLINE, 105, 140),
        "days",
        lambda p: p,
        exact,
        f"{value_with_error(mean, error)} in 100,000; exact: {100_000 * exact:.2f}",
        (
            "Draw slow projects. On the plan, late ones are too rare to see.",
            "Weigh each late one by log p \u2212 log q. The others count nothing.",
            "Average the weights: {}.",
        ),
        (
            "Three shapes over completion times from 0 to 140 days. The plan's own distribution peaks at 15 days, and "
            "nothing of it is to be seen at the deadline of 70 days. The draws spread from 8 days to beyond 140. The "
            "plan's late projects lie just above 70 days.",
            "A point for each draw. Draws of less than 70 days lie on the bottom line, with weight zero. Those above "
            "have log-weights that scatter around a line which falls as projects get longer.",
            "The average of the first n weights, from 30 draws to 30,000, with a band of two standard errors that "
            "narrows around a dashed line, the exact probability.",
        ),
    )


def _vae() -> _Row:
    model = LinearGaussianVAE.random(data_dim=6, latent_dim=1, seed=3)
    x = model.simulate(1, seed=6)
    with torch.no_grad():
        posterior = model.exact_posterior(x)
        centre, spread = float(posterior.mean), float(posterior.variance.sqrt())
        # An encoder that is wrong by a known amount.
        wrong_centre, wrong_spread = centre + 1.5 * spread, 1.8 * spread
        draws = np.random.default_rng(0).normal(wrong_centre, wrong_spread, N_DRAWS)
        z = torch.from_numpy(draws)[:, None, None]  # [k, batch, latent_dim]
        log_joint = (model.log_prior(z) + model.log_conditional(x, z)).flatten().numpy()
        exact = float(model.exact_log_likelihood(x))
    log_weights = log_joint - np.log(_normal(draws, wrong_centre, wrong_spread))
    mean, error = (float(one[-1]) for one in _running(log_weights))
    return _Row(
        "The VAE: how probable is this x?",
        draws,
        log_weights,
        lambda z: _normal(z, 0.0, 1.0),
        lambda z: _normal(z, centre, spread),
        (-3, -1.5, 0, 1.5, 3),
        "z",
        np.log,
        exact,
        f"log p(x) = {value_with_error(np.log(mean), error / mean)}; exact: {exact:.4f}".replace("-", "\u2212"),
        (
            "Draw z from an encoder that is not quite right.",
            "Weigh each by log p(x, z) \u2212 log q(z|x).",
            "Average the weights: {}.",
        ),
        (
            "Three shapes over z from \u22123 to 3. The prior is broad around 0. The exact posterior, which counts, "
            "is a narrow peak at \u22121.2. The encoder's draws are centred to the right of it and spread further.",
            "A point for each draw, on a parabola: log-weights are highest to the left of the posterior's peak and "
            "fall on both sides.",
            "The logarithm of the average of the first n weights, from 30 draws to 30,000, with a band of two standard "
            "errors that narrows around a dashed line, the exact log p(x).",
        ),
    )


def _running(log_weights: Floats) -> tuple[Floats, Floats]:
    """Mean and standard error of the first n weights, for every n."""
    weights, n = np.exp(log_weights), np.arange(1, len(log_weights) + 1)
    mean = np.cumsum(weights) / n
    return mean, np.sqrt(np.maximum(np.cumsum(weights**2) / n - mean**2, 0) / n)


def _normal(z: Floats, centre: float, spread: float) -> Floats:
    return np.exp(-0.5 * ((z - centre) / spread) ** 2) / (spread * np.sqrt(2 * np.pi))


def _row(row: _Row) -> str:
    panels = (_draws(row), _weights(row), _average(row))
    captions = [caption.format(row.estimate) for caption in row.captions]
    cells = "\n".join(
        f'<div class="panel"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(text)}">'
        f"{drawing}</svg><p>{html.escape(caption)}</p></div>"
        for drawing, text, caption in zip(panels, row.texts, captions, strict=True)
    )
    return f'<p class="question">{html.escape(row.question)}</p>\n{cells}'


def _draws(row: _Row) -> str:
    x = np.linspace(row.ticks[0], row.ticks[-1], 281)
    nominal, wanted = row.nominal(x), row.wanted(x)
    heights, edges = np.histogram(row.draws, bins=40, range=(x[0], x[-1]), density=True)
    # Each as high as the panel: only their places are compared.
    drawn = _polygon(
        np.repeat(_across(edges, row), 2)[1:-1], np.repeat(_up(0.75 * heights / heights.max()), 2), "drawn"
    )
    return "".join(
        [
            _polygon(_across(x, row), _up(nominal / nominal.max()), "nominal"),
            drawn,
            _line(_across(x, row), _up(wanted / wanted.max()), "wanted"),
            _x_axis(row),
        ]
    )


def _weights(row: _Row) -> str:
    draws, log_weights = row.draws[:N_SHOWN], row.log_weights[:N_SHOWN]
    some = np.isfinite(log_weights)
    low, high = log_weights[some].min(), log_weights[some].max()
    heights = np.where(some, 0.12 + 0.85 * (log_weights - low) / (high - low), 0.02)
    inside = (draws > row.ticks[0]) & (draws < row.ticks[-1])
    points = "".join(
        f'<circle class="{"drawn" if counts else "zero"}" cx="{a:.1f}" cy="{b:.1f}" r="1.8"/>'
        for a, b, counts in zip(_across(draws, row)[inside], _up(heights)[inside], some[inside], strict=True)
    )
    return points + _text(LEFT, 12, "log-weight", "start") + _x_axis(row)


def _average(row: _Row) -> str:
    n = np.unique(np.geomspace(30, N_DRAWS, 160).astype(int))
    mean, error = (one[n - 1] for one in _running(row.log_weights))
    exact = row.exact
    low, middle, high = (
        row.shown(np.maximum(one, 1e-3 * mean[-1])) for one in (mean - 2 * error, mean, mean + 2 * error)
    )
    reach = 4 * float(max(high[n >= 300].max() - exact, exact - low[n >= 300].min())) / 3

    def up(values: Floats) -> Floats:
        return _up(np.clip(0.5 + 0.5 * (values - exact) / reach, 0, 1))

    x = LEFT + (WIDTH - LEFT - RIGHT) * np.log(n / n[0]) / np.log(n[-1] / n[0])
    band = _polygon(np.concatenate([x, x[::-1]]), np.concatenate([up(high), up(low)[::-1]]), "band", closed=True)
    level = _line(x[[0, -1]], up(np.array([exact, exact])), "exact")
    ticks = "".join(
        _text(
            LEFT + (WIDTH - LEFT - RIGHT) * np.log(tick / n[0]) / np.log(n[-1] / n[0]), HEIGHT - 6, f"{tick:,}", anchor
        )
        for tick, anchor in ((30, "start"), (1_000, "middle"), (N_DRAWS, "end"))
    )
    return band + _line(x, up(middle), "running") + level + _text(LEFT, 12, "after n draws", "start") + _base() + ticks


def _across(values: Floats, row: _Row) -> Floats:
    return LEFT + (WIDTH - LEFT - RIGHT) * (values - row.ticks[0]) / (row.ticks[-1] - row.ticks[0])


def _up(shares: Floats) -> Floats:
    """Heights from 0 to 1 in the units of the panel, where y grows downwards."""
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * np.asarray(shares)


def _points(x: Floats, y: Floats) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def _line(x: Floats, y: Floats, kind: str) -> str:
    return f'<polyline class="{kind}" points="{_points(x, y)}"/>'


def _polygon(x: Floats, y: Floats, kind: str, *, closed: bool = False) -> str:
    if not closed:  # down to the axis
        x, y = np.concatenate([x[:1], x, x[-1:]]), np.concatenate([_up(0.0)[None], y, _up(0.0)[None]])
    return f'<polygon class="{kind}" points="{_points(x, y)}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _base() -> str:
    y = HEIGHT - BOTTOM
    return f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'


def _x_axis(row: _Row) -> str:
    first, *between = row.ticks[:-1]
    labels = [_text(LEFT, HEIGHT - 6, _number(first), "start"), _text(WIDTH - RIGHT, HEIGHT - 6, row.axis, "end")]
    labels += [_text(float(_across(np.array(tick), row)), HEIGHT - 6, _number(tick), "middle") for tick in between]
    return _base() + "".join(labels)


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "\u2212")
