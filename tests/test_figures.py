"""Figures draw what notebooks computed: no module of `course_lib.figures` draws a random number."""

import ast
import re
from pathlib import Path

import pytest

import course_lib.figures
from course_lib.figures.style import listed, new_figure, two_digits

MODULES = sorted(Path(course_lib.figures.__file__).parent.glob("*.py"))
SIMULATES = re.compile(
    "random|rand.*|default_rng|Generator|manual_seed|draw|r?sample|r?sample_.*|simulate|log_weights|"
    "monte_carlo|importance_sampling|conditional_monte_carlo|late_projects|log_likelihood|simulation"
)


def what_simulates(code):
    """The attributes and imports in a module's text whose names say that they draw."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute):
            found.append(node.attr)
        elif isinstance(node, ast.Import):
            found += [part for alias in node.names for part in alias.name.split(".")]
        elif isinstance(node, ast.ImportFrom):
            found += [*(node.module or "").split("."), *(alias.name for alias in node.names)]
    return [name for name in found if SIMULATES.fullmatch(name)]


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("np.random.default_rng(0)", "default_rng"),
        ("from numpy.random import default_rng as rng", "random"),
        ("torch.randn(3)", "randn"),
        ("proposal.draw(rng, 3)", "draw"),
        ("model.posterior(x).rsample(3)", "rsample"),
        ("model.log_weights(x, 3)", "log_weights"),
        ("from course_lib.projects import monte_carlo", "monte_carlo"),
        ("import course_lib.projects.simulation", "simulation"),
    ],
)
def test_a_module_that_simulates_is_noticed(code, name):
    assert name in what_simulates(code)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_no_figure_simulates(module):
    assert what_simulates(module.read_text(encoding="utf-8")) == []


def test_a_figure_carries_its_alternative_text_to_the_notebook():
    figure, _ = new_figure()
    figure.describe("A line.")
    assert figure._repr_mimebundle_(include=None, exclude=None) == ({}, {"image/png": {"alt": "A line."}})
    assert repr(figure) == "<Figure size 750x360 with 1 Axes>"


def test_a_figure_without_an_alternative_text_cannot_be_shown():
    figure, _ = new_figure()
    with pytest.raises(ValueError, match="no alternative text"):
        figure._repr_mimebundle_()


@pytest.mark.parametrize(
    ("value", "text"),
    [(184.9, "180"), (31_144.0, "31,000"), (0.0321, "0.032"), (3.2e-5, "3.2e-05"), (-23.96, "−24"), (0, "0")],
)
def test_numbers_in_a_text_have_two_digits(value, text):
    assert two_digits(value) == text


def test_parts_are_listed_in_a_sentence():
    assert [listed("a"), listed("ab"), listed("abc")] == ["a", "a and b", "a, b and c"]
