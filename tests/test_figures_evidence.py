"""Every figure of notebook 05 has titles that say what it shows, and named axes; titles that count, count right."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from figure_checks import (
    TITLE,
    check_described,
    check_titles_axes_and_shown_once,
    check_titles_given_are_titles_shown,
    drawing_functions,
    titled,
)
from small_models import moved_linear

from course_lib.estimates import Estimate
from course_lib.figures import notebook_05
from course_lib.vae import log_likelihood

GENERATOR = torch.Generator().manual_seed(0)
MODEL = moved_linear()
IMAGES = MODEL.simulate(5, seed=0)
SMALL, LARGE = (log_likelihood(MODEL, IMAGES, n_samples=n) for n in (20, 200))
LOWER = torch.tensor([-9.0, -20.0, -31.0], dtype=torch.float64)
BOUNDS = {
    10: (LOWER - 2, LOWER + torch.tensor([1.0, 2.0, 3.0])),
    100: (LOWER - 0.25, LOWER + torch.tensor([0.0, 0.25, 0.5])),
}


FITS = [(torch.zeros(2), torch.eye(2)), (torch.tensor([0.5, -0.5]), torch.tensor([[0.5, 0.2], [0.2, 0.3]]))]


def log_density(z):
    return torch.distributions.MultivariateNormal(*FITS[-1]).log_prob(z)


def levels(n):
    return torch.softmax(torch.randn(n, generator=GENERATOR), 0)


def with_k_hat(*k):
    """An evidence that has these k-hats."""
    found = dataclasses.replace(SMALL, std_error=torch.linspace(0.01, 0.3, len(k)), n_samples=5_000)
    vars(found)["pareto_k"] = torch.tensor(k, dtype=torch.float64)
    return found


DRAWING = drawing_functions(notebook_05)
FIGURES = {
    "mass_functions": lambda: notebook_05.mass_functions({"one": levels(17), "other": levels(17)}, observed=3),
    "paired_differences": lambda: notebook_05.paired_differences(
        {"one": LOWER, "other": LOWER + torch.tensor([1.0, 2.0, 4.0])}, reference="one"
    ),
    "log_weights": lambda: notebook_05.log_weights(torch.randn(100, generator=GENERATOR) - 80),
    "evidence_against_n": lambda: notebook_05.evidence_against_n([20, 200], [SMALL, LARGE]),
    "pareto_k_by_image": lambda: notebook_05.pareto_k_by_image(LARGE),
    "fits_of_posterior": lambda: notebook_05.fits_of_posterior(log_density, FITS),
    "proposals_compared": lambda: notebook_05.proposals_compared({"encoder": LARGE, "other": LARGE}),
    "annealing": lambda: notebook_05.annealing(
        {1: (torch.tensor([-9.0, -40.0]), [0.3]), 3: (torch.tensor([-3.0, -4.0]), [0.1, 0.5, 0.9])},
        lambda z: -((z - 1) ** 2),
        exact=-3.2,
        title=TITLE,
    ),
    "sandwich": lambda: notebook_05.sandwich("draws, k", BOUNDS, Estimate.from_values([-20.1, -19.9])),
}


def title(ax):
    return ax.get_title(loc="left")


def test_every_figure_is_covered():
    assert set(DRAWING) == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_figure_has_titles_and_named_axes_and_is_shown_once(name):
    check_titles_axes_and_shown_once(FIGURES[name])


@pytest.mark.parametrize("name", FIGURES)
def test_figure_says_in_words_what_it_shows(name):
    check_described(FIGURES[name])


@pytest.mark.parametrize("name", titled(DRAWING))
def test_titles_given_are_titles_shown(name):
    check_titles_given_are_titles_shown(DRAWING[name], FIGURES[name])


@pytest.mark.parametrize("n_levels", [2, 17, 256])
def test_bars_are_the_probabilities_and_the_end_bins_stand_out(n_levels):
    mass = levels(n_levels)
    (ax,) = notebook_05.mass_functions({"pixel": mass}).axes
    bars = sorted(ax.patches, key=lambda bar: bar.get_x() + bar.get_width() / 2)
    assert [bar.get_height() for bar in bars] == pytest.approx(mass.tolist())
    first, *inside, last = (bar.get_facecolor() for bar in bars)
    assert first == last
    assert first not in inside


def test_differences_are_paired():
    """Images differ by ten nats; the model's advantage does not differ at all, but for a hundredth."""
    advantage = torch.tensor([1.0, 1.01, 0.99])
    (ax,) = notebook_05.paired_differences({"one": LOWER, "other": LOWER + advantage}, reference="one").axes
    assert ax.texts[0].get_text() == Estimate.from_values(advantage).rounded
    low, high = ax.lines[0].get_xdata()
    assert 0.97 < low < 1 < high < 1.03


@pytest.mark.parametrize(("weights", "n_half"), [([1, 1, 1, 1], 2), ([6, 2, 1, 1], 1), ([3, 2, 2, 2], 2)])
def test_the_draws_that_carry_half_of_the_sum_are_counted(weights, n_half):
    (ax,) = notebook_05.log_weights(torch.tensor(weights, dtype=torch.float64).log() - 900).axes
    assert f"comes from {n_half} of 4 draws" in title(ax)


def test_log_weights_marks_the_elbo_and_log_p():
    log_w = torch.tensor([1.0, 3.0], dtype=torch.float64).log() - 900
    (ax,) = notebook_05.log_weights(log_w).axes
    marks = [line.get_xdata()[0] for line in ax.lines]
    assert marks == pytest.approx([math.log(3) / 2 - 900, math.log(2) - 900, math.log(3) - 900])


def test_estimates_are_drawn_as_differences_from_the_last():
    (ax,) = notebook_05.evidence_against_n([20, 200], [SMALL, LARGE]).axes
    lines = [line for line in ax.lines if line.get_label().startswith("image")]
    drawn = np.array([line.get_ydata() for line in lines])
    assert drawn[:, 1] == pytest.approx(np.zeros(5))
    assert drawn[:, 0] == pytest.approx((SMALL.per_image - LARGE.per_image).numpy())
    assert len({(line.get_marker(), line.get_linestyle()) for line in lines}) == 5


def test_k_hats_above_the_limit_are_counted_without_those_that_do_not_apply():
    (ax,) = notebook_05.pareto_k_by_image(with_k_hat(0.2, 0.69, 0.71, math.inf, math.nan)).axes
    assert "2 of 4 images" in title(ax)
    drawn = np.concatenate([line.get_ydata() for line in ax.lines if line.get_marker() in ("o", "^")])
    assert np.isfinite(drawn).all()
    assert len(drawn) == 4


def test_an_infinite_k_hat_is_at_the_edge_and_in_the_legend():
    (ax,) = notebook_05.pareto_k_by_image(with_k_hat(0.2, math.inf)).axes
    (edge,) = (line for line in ax.lines if line.get_label() == "infinite")
    assert edge.get_ydata() == pytest.approx([ax.get_ylim()[1]])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["infinite"]


def test_a_figure_of_k_hats_is_drawn_where_none_applies():
    (ax,) = notebook_05.pareto_k_by_image(with_k_hat(math.nan, math.nan)).axes
    ax.figure.canvas.draw()
    assert "0 of 0 images" in title(ax)


def test_proposals_are_compared_with_the_first_image_by_image():
    higher = dataclasses.replace(LARGE, per_image=LARGE.per_image + 0.25, ess=LARGE.ess / 4)
    left, middle, _ = notebook_05.proposals_compared({"encoder": LARGE, "other": higher}).axes
    assert [bar.lines[0].get_xdata()[0] for bar in left.containers] == pytest.approx([0, 0.25])
    medians = [line.get_xdata()[0] for line in middle.lines if line.get_marker() == "D"]
    assert medians[0] == pytest.approx(4 * medians[1])


def test_proposals_are_warned_of_where_k_hat_applies():
    found = with_k_hat(0.2, 0.71, math.inf, math.nan, math.nan)
    *_, right = notebook_05.proposals_compared({"encoder": found}).axes
    assert [text.get_text() for text in right.texts] == ["2 of 3"]
    assert right.patches[0].get_width() == pytest.approx(2 / 3)


def test_a_sandwich_shows_how_far_apart_the_bounds_are_not_how_images_differ():
    left, middle, right = notebook_05.sandwich("draws, k", BOUNDS, Estimate.from_values([-20.1, -19.9])).axes
    assert "4.00 ± 0.58" in title(left)
    assert "0.50 ± 0.14" in title(middle)
    gaps = torch.sort(BOUNDS[100][1] - BOUNDS[100][0], descending=True).values
    assert [bar.get_height() for bar in right.patches] == pytest.approx(gaps.tolist())
    assert f"half below {float(gaps.median()):.2g}" in title(right)
    upper, lower = (bar.lines[0].get_ydata() for bar in left.containers)
    assert upper == pytest.approx([2, 0.25])
    assert lower == pytest.approx([-2, -0.25])
    ends = left.containers[0].lines[2][0].get_segments()[-1][:, 1]
    assert ends == pytest.approx([0.25 - 0.25 / math.sqrt(3), 0.25 + 0.25 / math.sqrt(3)])
    (reference,) = (line for line in left.lines if line.get_linestyle() == ":")
    assert reference.get_ydata() == pytest.approx([0, 0], abs=1e-9)


def test_ellipses_lie_two_standard_deviations_from_the_mean():
    *_, ax = notebook_05.fits_of_posterior(log_density, FITS).axes
    mean, covariance = FITS[-1]
    points = torch.tensor(ax.lines[0].get_xydata()).float() - mean
    distance = (points @ torch.linalg.inv(covariance) * points).sum(-1).sqrt()
    torch.testing.assert_close(distance, torch.full_like(distance, 2.0))
