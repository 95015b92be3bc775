"""Every figure of notebook 06 has titles that say what it shows, and named axes; what it counts, it counts right."""

import math

import pytest
import torch
from figure_checks import (
    TITLE,
    TITLES,
    check_described,
    check_titles_axes_and_shown_once,
    check_titles_given_are_titles_shown,
    drawing_functions,
    titled,
)

from course_lib.estimates import Estimate
from course_lib.figures import images, notebook_06
from course_lib.resources import DATA

GENERATOR = torch.Generator().manual_seed(0)
DRAWS = torch.randn(200, 2, generator=GENERATOR)
TWO = (torch.tensor([0.5, -0.5]), torch.tensor([1.0, 0.5]))
ROWS = [
    {"posterior": n, "prior": prior, "normalization": "none", "seed": seed, "test": -90.0 + n / 4 + prior + seed}
    for n in (0, 2)
    for prior in (0, 2)
    for seed in (0, 1)
]
ROWS.append({"posterior": 2, "prior": 0, "normalization": "batch", "seed": 0, "test": -80.0})
VALUES = {f"q{n}-p{prior}": torch.randn(50, generator=GENERATOR) + n / 4 + prior for n in (0, 2) for prior in (0, 2)}
LOG = [
    {"epoch": epoch, "bound": bound, "validation": validation}
    for epoch, bound, validation in ((1, -50.0, -45.0), (2, -40.0, -38.0), (3, -35.0, -39.0))
]


def gaussian(z):
    return -(z**2).sum(-1) / 2


DRAWING = drawing_functions(notebook_06)
FIGURES = {
    "leaning_posteriors": lambda: notebook_06.leaning_posteriors(
        {"one": gaussian, "other": gaussian}, {"one": TWO, "other": TWO}, titles=TITLES
    ),
    "one_step": lambda: notebook_06.one_step(DRAWS, 2 * DRAWS, title=TITLE),
    "dependencies": lambda: notebook_06.dependencies({"a step": torch.eye(3), "all": torch.ones(3, 3)}, TITLE),
    "flows_over_posterior": lambda: notebook_06.flows_over_posterior(gaussian, {"one": DRAWS, "two": DRAWS}, TITLE),
    "flows_compared": lambda: notebook_06.flows_compared(ROWS, VALUES, title=TITLE),
    "training_log": lambda: notebook_06.training_log(LOG, title=TITLE),
    "pictures_beside_each_other": lambda: notebook_06.pictures_beside_each_other(
        {"first": DATA / "mnist-test-40.png", "last": DATA / "mnist-test-40.png"}, "40 digits", title=TITLE
    ),
    "shortfalls": lambda: notebook_06.shortfalls(
        {"short": Estimate.from_values([-2.0, -1.0]), "near": Estimate.from_values([0.0, 0.1])}, "fits", title=TITLE
    ),
    "log_scales": lambda: notebook_06.log_scales({"one": DRAWS - 4, "two": DRAWS - 2}, (-4.0, 0.0), title=TITLE),
}


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
    figure = FIGURES[name]()
    if figure.get_suptitle():
        assert figure.get_suptitle() == TITLE
    else:
        check_titles_given_are_titles_shown(DRAWING[name], FIGURES[name])


def test_dots_stand_where_an_output_depends_on_an_input():
    jacobian = torch.tensor([[1.0, 0.0], [1e-3, 2.0]])
    (ax,) = notebook_06.dependencies({"a step": jacobian}, TITLE).axes
    dots = {(round(text.get_position()[1]), round(text.get_position()[0])) for text in ax.texts}
    assert dots == {(0, 0), (1, 0), (1, 1)}


def test_gains_are_paired_and_other_seeds_are_crosses():
    (ax,) = notebook_06.flows_compared(ROWS, VALUES, title=TITLE).axes
    gains = [bars.lines[0].get_ydata() for bars in ax.containers]
    base = VALUES["q0-p0"]
    for found, prior in zip(gains, (0, 2), strict=True):
        exact = [float((VALUES[f"q{n}-p{prior}"] - base).double().mean()) for n in (0, 2)]
        assert found == pytest.approx(exact, abs=1e-6)
    assert gains[0][0] == 0
    crosses = [line.get_ydata() for line in ax.lines if line.get_marker() == "x"]
    assert [list(each) for each in crosses] == [pytest.approx([0, 0.5]), pytest.approx([2, 2.5])]


def test_the_weights_that_are_kept_are_marked():
    (ax,) = notebook_06.training_log(LOG, title=TITLE).axes
    (mark,) = (line for line in ax.lines if line.get_linestyle() == ":")
    assert set(mark.get_xdata()) == {2}


def test_shares_outside_the_limits_are_counted():
    figure = notebook_06.log_scales({"one": torch.tensor([-5.0, -1.0, -2.0, 1.0])}, (-4.0, 0.0), title=TITLE)
    assert "one 50 %" in figure.alt


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 4, 4), (3, 4, 6)])
def test_images_are_shown_in_their_own_shape_and_colours(shape):
    pictures = torch.rand(2, *shape, generator=GENERATOR)
    figure = images.image_rows({"one": pictures, "two": pictures.flip(0)}, TITLE)
    canvas = torch.tensor(figure.axes[0].images[0].get_array())
    height, width = shape[1:]
    assert canvas.shape == (2 * (height + 1) + 1, 2 * (width + 1) + 1, 3)
    torch.testing.assert_close(
        canvas[1 : height + 1, 1 : width + 1], pictures[0].movedim(0, -1).expand(-1, -1, 3).double()
    )
    assert f"{height} × {width} pixels" in figure.alt
    assert ("colour" in figure.alt) == (shape[0] == 3)
    assert math.isfinite(canvas.sum())
