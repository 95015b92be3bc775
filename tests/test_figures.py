"""Figures draw what notebooks computed: no module of `course_lib.figures` draws a random number."""

import ast
import re
from pathlib import Path

import pytest

import course_lib.figures

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
