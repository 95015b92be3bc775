"""A learner's smoke test: right on a machine that is, and not on one that is not."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from course_lib import selftest
from course_lib.__main__ import main
from course_lib.selftest import Finding


def test_all_is_as_it_should_be_here(monkeypatch, tmp_path, capsys):
    """Notebook 01 itself is run by other tests."""
    nbformat.write(new_notebook(cells=[new_code_cell("print(1)")]), tmp_path / "01_small.ipynb")
    monkeypatch.setattr(selftest, "NOTEBOOKS", tmp_path)
    assert main(["check"]) == 0
    said = capsys.readouterr().out
    assert said.count("\nok  ") == 4
    assert said.startswith("ok  ")
    assert said.endswith("\nThis machine computes what the course promises.\n")


@pytest.mark.parametrize("name", ["monte_carlo", "importance_sampling", "log_likelihood"])
def test_a_machine_that_computes_something_else_is_found_out(name, monkeypatch):
    """The same draws, held against another truth."""
    wrong = {
        "monte_carlo": ("course_lib.projects.completion_law", lambda plan: Law(0.06)),
        "importance_sampling": ("course_lib.projects.completion_law", lambda plan: Law(4e-5)),
        "log_likelihood": ("course_lib.vae.LinearGaussianVAE.exact_log_likelihood", lambda self, x: x[:, 0]),
    }
    monkeypatch.setattr(*wrong[name])
    make = {"monte_carlo": "_monte_carlo", "importance_sampling": "_importance_sampling"}.get(name, "_evidence")
    assert not getattr(selftest, make)().ok


class Law:
    def __init__(self, probability):
        self.probability = probability

    def sf(self, _):
        return self.probability


def test_what_is_wrong_makes_the_command_fail_and_is_told(monkeypatch, capsys):
    monkeypatch.setattr(selftest, "examine", lambda say: [Finding("one", "1", True), Finding("two", "3", False)])
    assert main(["check"]) == 1
    assert "1 of 2 are not as they should be" in capsys.readouterr().out


def test_a_wheel_checks_without_a_notebook(monkeypatch, tmp_path):
    monkeypatch.setattr(selftest, "NOTEBOOKS", tmp_path)
    assert selftest._notebook() == Finding("notebook 01", "not here (a wheel has none)", True)
