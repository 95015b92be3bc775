"""The course as a wheel: installed outside its repository, it has its data, and says what it has not."""

import importlib.metadata
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from course_lib.doctor import DISTRIBUTION

ROOT = Path(__file__).resolve().parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with nothing but the installed wheel."""
    built, target = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", ROOT, "--no-deps", "--no-build-isolation", "--wheel-dir", built], check=True)
    subprocess.run([*pip, "install", "--no-deps", "--target", target, *built.glob("*.whl")], check=True)
    return target


def python(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, *arguments]
    # Python looks for packages in the folder where it starts first: not in the repository, then.
    return subprocess.run(command, capture_output=True, text=True, cwd=installed.parent, env=environment)


def test_a_wheel_has_the_plan_the_checkpoints_and_forty_digits(installed):
    program = (
        "import course_lib, course_lib.datasets, course_lib.projects, course_lib.resources, course_lib.training\n"
        "print(course_lib.__file__)\n"
        "print(course_lib.resources.DATA)\n"
        "print(*course_lib.projects.Project.example().critical_path())\n"
        "print(course_lib.training.load_checkpoint('mnist-vae')[1]['name'], len(course_lib.datasets.forty_digits()))\n"
    )
    done = python(installed, "-c", program)
    package = installed / "course_lib"
    assert done.stdout.splitlines() == [f"{package / '__init__.py'}", f"{package / 'data'}", "1 2 4 10", "mnist-vae 40"]


def test_the_doctor_of_a_wheel_finds_all_it_has_and_knows_its_version(installed):
    done = python(installed, "-m", "course_lib", "doctor")
    assert done.stdout.endswith("\nReady: all checks passed.\n"), done.stdout + done.stderr
    assert f"{DISTRIBUTION} {VERSION}; its " in done.stdout


def test_a_wheel_says_that_it_has_no_notebooks(installed):
    done = python(installed, "-c", "from course_lib.__main__ import main; print(main(['run']), main(['build']))")
    assert done.stdout == "1 1\n"
    for line, missing in zip(done.stderr.splitlines(), ("notebooks", "notebook sources"), strict=True):
        assert line.startswith(f"course_lib: There are no {missing} in ")
        assert line.endswith(": they come with the course's repository, not with its wheel.")


def test_the_remedies_of_a_wheel_need_no_repository(installed):
    program = "from course_lib import doctor; doctor.DATA /= 'nowhere'; print(*doctor._data(), sep='\\n')"
    found, remedy = python(installed, "-c", program).stdout.splitlines()
    assert found == "data/project_tasks.csv is missing"
    assert " -m pip install --force-reinstall " in remedy


def test_the_command_that_is_installed_is_the_modules_own(installed):
    (distribution,) = importlib.metadata.distributions(path=[str(installed)])
    (command,) = distribution.entry_points.select(group="console_scripts")
    assert (command.name, command.value) == ("course", "course_lib.__main__:main")
