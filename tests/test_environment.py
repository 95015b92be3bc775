"""One source of dependencies: every way to install the course comes to the same packages."""

import re
import subprocess
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = [Requirement(text) for part in (PROJECT["dependencies"], *EXTRAS.values()) for text in part]


def lines(name: str) -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def pins() -> dict[str, list[Requirement]]:
    found: dict[str, list[Requirement]] = defaultdict(list)
    for line in lines("constraints.txt"):
        pin = Requirement(line)
        found[canonicalize_name(pin.name)].append(pin)
    return found


@pytest.fixture(scope="module")
def conda() -> list[str | dict[str, list[str]]]:
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]


def test_conda_brings_python_and_pip_and_nothing_else(conda):
    from_conda = [Requirement(item) for item in conda if isinstance(item, str)]
    assert sorted(requirement.name for requirement in from_conda) == ["pip", "python"]
    python = next(requirement for requirement in from_conda if requirement.name == "python")
    assert str(python.specifier) == PROJECT["requires-python"]


def test_the_pip_part_is_what_make_and_ci_install(conda):
    pip_parts = [item for item in conda if not isinstance(item, str)]
    assert pip_parts == [{"pip": ["-r requirements.txt"]}]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.findall(r"pip install .*?(-r .*)", makefile) == ["-r requirements.txt"]
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert not re.search(r"\bpip\b", ci)
    assert re.search(r"^make test\b", ci, re.MULTILINE)
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert commands == [".ci/run"]


def test_what_is_installed_is_the_project_at_the_pinned_versions():
    assert lines("requirements.txt") == ["-c constraints.txt", "-e .[dev]"]
    assert "dev" in EXTRAS


def test_every_dependency_is_pinned_to_one_version_that_pyproject_allows():
    for requirement in REQUIREMENTS:
        found = pins()[canonicalize_name(requirement.name)]
        assert len(found) == 1, f"{requirement.name}: {len(found)} pins"
        (specifier,) = found[0].specifier
        assert specifier.operator == "=="
        assert requirement.specifier.contains(specifier.version), f"{requirement} but {found[0]}"


def test_every_dependency_has_a_lower_bound():
    for requirement in REQUIREMENTS:
        assert [specifier.operator for specifier in requirement.specifier].count(">=") == 1, str(requirement)


def test_pins_come_from_no_particular_machine():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "//" not in text
    assert "--" not in text


def test_torch_changes_on_purpose_only():
    uv = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["uv"]
    assert uv["constraint-dependencies"] == [str(pin) for pin in pins()["torch"]]


@pytest.mark.parametrize("version, code", [((3, 10), 1), ((3, 11), 0), ((4, 0), 0)])
def test_make_refuses_an_old_python_in_one_sentence(tmp_path, version, code):
    """The check of the Makefile itself, under a Python that claims another version."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    check = re.search(r"\$\(PYTHON\) -c '(.*)'", makefile).group(1).replace("$(PYTHON)", "python3")
    pretend = f"import sys; sys.version_info = {(*version, 0, 'final', 0)}; exec({check!r})"
    done = subprocess.run(["python3", "-c", pretend], capture_output=True, text=True)
    assert done.returncode == code
    if code:
        assert done.stderr == (
            "The course needs Python 3.11 or newer, and python3 is 3.10: try `make PYTHON=python3.12`.\n"
        )
