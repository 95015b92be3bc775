"""One source of dependencies: every way to install the course comes to the same packages."""

import re
import tomllib
from collections import defaultdict
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
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
    assert python.specifier == SpecifierSet(PROJECT["requires-python"])


def test_conda_pip_and_make_install_the_same(conda):
    """What a learner installs, and for tests what is added to it: the project at the pinned versions."""
    assert [item for item in conda if not isinstance(item, str)] == [{"pip": ["-r requirements.txt"]}]
    assert lines("requirements.txt") == ["-c constraints.txt", "-e ."]
    assert lines("requirements-dev.txt") == ["-r requirements.txt", "-e .[dev]"]
    assert "dev" in EXTRAS
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.findall(r"\$\(PYTHON\) (install.py.*)", makefile) == [
        "install.py $(if $(GPU),--gpu)",
        "install.py --dev $(if $(GPU),--gpu)",
    ]


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


# Workflows


def workflow(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8"))


def commands(job: dict[str, Any]) -> str:
    return "\n".join(step["run"] for step in job["steps"] if "run" in step)


def test_ci_proves_all_of_it_once_and_elsewhere_tests_each_system_with_the_oldest_and_the_newest_python():
    jobs = workflow("ci")["jobs"]
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.search(r"^make lint$", ci, re.MULTILINE) and re.search(r"^make test\b", ci, re.MULTILINE)
    assert not re.search(r"\bpip\b", ci)
    assert commands(jobs["everything"]) == ".ci/run"
    matrix = jobs["systems"]["strategy"]["matrix"]
    tested = set(product((system.split("-")[0] for system in matrix["system"]), matrix["python"]))
    assert {system for system, _ in tested} == {"ubuntu", "macos", "windows"}
    python = SpecifierSet(PROJECT["requires-python"])
    versions = [f"3.{minor}" for minor in range(30) if f"3.{minor}" in python]
    assert {version for _, version in tested} == {versions[0], versions[-1]}
    assert {*matrix["python"], *(entry["python"] for entry in matrix["include"])} == set(versions)
    assert "python install.py --dev" in commands(jobs["systems"])


def test_the_weekly_run_lifts_the_pins_and_tests_the_bounds_of_pyproject():
    job = workflow("weekly")["jobs"]["versions"]
    assert {entry["versions"] for entry in job["strategy"]["matrix"]["include"]} == {"newest", "oldest"}
    assert "constraints.txt" not in commands(job)


# Machines where nothing is installed by hand


def test_binder_docker_and_devcontainers_install_as_learners_do():
    for name in ("binder/postBuild", "docker/Dockerfile", ".devcontainer/devcontainer.json"):
        assert re.search(r"python3? install\.py\b", (ROOT / name).read_text(encoding="utf-8")), name


def test_the_image_has_what_installing_needs_and_no_solutions():
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    copied = [word for line in dockerfile.splitlines() if line.startswith("COPY") for word in line.split()[2:-1]]
    assert {"install.py", "pyproject.toml", "requirements.txt", "constraints.txt", "course_lib", "data"} <= set(copied)
    assert [name for name in copied if name.startswith("notebooks")] == ["notebooks/*.ipynb", "notebooks/START.md"]
    assert all(any(ROOT.glob(name)) for name in copied)
    ignored = lines("docker/Dockerfile.dockerignore")
    assert ignored[0] == "*" and {f"!{name}" for name in copied} <= set(ignored)


def test_a_learner_on_a_hub_is_given_more_memory_than_the_largest_notebook_takes():
    singleuser = yaml.safe_load((ROOT / "hub" / "values.yaml").read_text(encoding="utf-8"))["singleuser"]
    assert {"name", "tag"} == set(singleuser["image"])
    guarantee, limit = (float(singleuser["memory"][kind].removesuffix("G")) for kind in ("guarantee", "limit"))
    page = (ROOT / "site" / "guide" / "hubs.md").read_text(encoding="utf-8")
    peaks = [float(peak) for peak in re.findall(r"^\| 0\d[^|]*\| *(\d+) *\|", page, re.MULTILINE)]
    assert len(peaks) == 6 and max(peaks) / 1000 < guarantee < limit
