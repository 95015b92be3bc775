"""`python -m course_lib`: what it prints, what it returns, and never a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

from course_lib import doctor
from course_lib.__main__ import main
from course_lib.doctor import Check
from course_lib.notebooks import build, run
from course_lib.notebooks.run import Outcome

COMMANDS = ["doctor", "run", "build"]


def course_lib(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "course_lib", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


def test_help_names_every_command():
    done = course_lib("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert f"\n    {command} " in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_its_help(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: python -m course_lib {command} ")


@pytest.mark.parametrize("arguments", [[], ["train"], ["run", "--fast"], ["run", "01"], ["doctor", "01"]])
def test_wrong_use_is_refused_with_the_usage(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert capsys.readouterr().err.startswith("usage: python -m course_lib")


def test_the_doctor_answers_from_any_folder(tmp_path):
    done = course_lib("doctor", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("\nReady: all checks passed.\n")
    assert done.stderr == ""


def test_the_doctor_fails_when_a_check_fails(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "examine", lambda: [Check("data", "gone", "git checkout")])
    assert main(["doctor"]) == 1
    assert "mend it with: git checkout" in capsys.readouterr().out


def test_an_unknown_notebook_is_one_sentence():
    done = course_lib("build", "77")
    assert done.returncode == 1
    assert done.stderr.startswith("course_lib: No notebook is called '77': there are 01_")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize("ok, code", [(True, 0), (False, 1)])
def test_run_prints_the_table_and_fails_when_a_notebook_does(ok, code, monkeypatch, capsys):
    monkeypatch.setattr(run, "run", lambda: [Outcome("01_a", 2.0, "18.2", "18.21", "well", ok)])
    assert main(["run"]) == code
    printed = capsys.readouterr().out
    assert "\n01_a          2.0  18.2      18.21  well\n" in printed


def raising(error: BaseException):
    def command(*_):
        raise error

    return command


@pytest.mark.parametrize(
    "error, complaint",
    [
        (ValueError("This is wrong."), "course_lib: This is wrong.\n"),
        (
            PermissionError(13, "Permission denied", "build"),
            "course_lib: [Errno 13] Permission denied: 'build'\n",
        ),
        (
            ModuleNotFoundError("No module named 'scipy'"),
            "course_lib: No module named 'scipy'; `python -m course_lib doctor` says how to install it.\n",
        ),
    ],
)
def test_errors_are_one_sentence(error, complaint, monkeypatch, capsys):
    monkeypatch.setattr(build, "build", raising(error))
    assert main(["build"]) == 1
    assert capsys.readouterr().err == complaint


@pytest.mark.parametrize(
    "interruption, said",
    [
        (KeyboardInterrupt("1 of 2 is kept."), "Interrupted. 1 of 2 is kept."),
        (KeyboardInterrupt(), "Interrupted. Nothing was changed."),
    ],
)
def test_an_interruption_says_what_was_kept(interruption, said, monkeypatch, capsys):
    monkeypatch.setattr(run, "run", raising(interruption))
    assert main(["run"]) == 130
    assert capsys.readouterr().err.strip() == said


def test_the_command_line_starts_where_every_package_is_missing():
    """The doctor has to get far enough to say so."""
    isolated = [sys.executable, "-S", "-m", "course_lib", "doctor"]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(isolated, capture_output=True, text=True, cwd=root)
    assert done.returncode == 1
    assert "checks failed." in done.stdout
    assert "pip install" in done.stdout
    assert done.stderr == ""
