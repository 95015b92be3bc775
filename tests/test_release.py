"""What participants are handed, and its wheel: complete without a repository, and without any solution."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from packaging.specifiers import SpecifierSet

from course_lib.doctor import DISTRIBUTION
from course_lib.estimates import COMPARISON_MIME
from course_lib.publishing import NOTEBOOKS, release, sources, start_page
from course_lib.publishing.colab import TOOLS, for_colab
from course_lib.publishing.handed_out import without_worked_versions

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCES = sources.find(NOTEBOOKS / "source")
# Kernels of an environment may take their time to start on a busy machine.
EXECUTE = ["-m", "nbconvert", "--to", "notebook", "--execute", "--ExecutePreprocessor.startup_timeout=120"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    """The folder that participants get."""
    return release.release(tmp_path_factory.mktemp("release") / "class", say=[].append)


@pytest.fixture(scope="module")
def wheel(bundle) -> Path:
    (wheel,) = bundle.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def outside(tmp_path_factory) -> dict[str, str]:
    """The variables of a process that finds every package but the course, and no network.

    Python looks for packages in the folder where it starts first, too: not in the repository, then.
    """
    packages = tmp_path_factory.mktemp("packages")
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(DISTRIBUTION.replace("-", "_")) and path.suffix != ".pth":
            try:
                (packages / path.name).symlink_to(path)
            except OSError:
                pytest.skip("needs the right to make symbolic links (Windows: developer mode)")
    return {**os.environ, "PYTHONPATH": str(packages), "PIP_NO_INDEX": "1"}


@pytest.fixture(scope="module")
def installed(bundle, outside, tmp_path_factory) -> Path:
    """What a participant has after the one command: the zip unpacked, and the course in an environment beside it."""
    home = tmp_path_factory.mktemp("participant")
    with zipfile.ZipFile(bundle.with_suffix(".zip")) as file:
        file.extractall(home)
    folder = home / bundle.name
    command = [sys.executable, "install.py"]
    done = subprocess.run(command, cwd=folder, env=outside, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def python(folder: Path, outside: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the Python of the environment that is in ``folder``."""
    command = [str(folder / ".venv" / ("Scripts" if os.name == "nt" else "bin") / "python"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=outside)


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


# What is handed out


def test_participants_get_notebooks_the_library_and_one_command(bundle, wheel):
    version = PROJECT["version"]
    notebooks = [f"notebooks/{source.stem}.ipynb" for source in SOURCES]
    pages = [f"notebooks/{page.name}" for page in NOTEBOOKS.glob("*.md")]
    assert wheel.name == f"{DISTRIBUTION.replace('-', '_')}-{version}-py3-none-any.whl"
    assert sorted(files(bundle)) == sorted(
        [wheel.name, "START.html", "install.py", "constraints.txt", "LICENSE", "LICENSE-TEXT", *notebooks, *pages]
    )


def test_no_line_of_a_solution_is_handed_out(bundle):
    n_lines = 0
    for source in SOURCES:
        blank, worked = (sources.read(source, solved=solved) for solved in (False, True))
        open_lines = {line.strip() for cell in blank.cells for line in cell.source.split("\n")}
        solution = {line.strip() for cell in worked.cells for line in cell.source.split("\n")} - open_lines
        n_lines += len(solution)
        cells = nbformat.read(bundle / "notebooks" / f"{source.stem}.ipynb", as_version=4).cells
        handed_out = {line.strip() for cell in cells for line in cell.source.split("\n")}
        assert open_lines & handed_out
        assert not solution & handed_out
    assert n_lines > 80


def test_nothing_speaks_of_what_is_not_handed_out(bundle):
    texts = [bundle / "START.html", *(bundle / "notebooks").glob("*.md")]
    texts += (bundle / "notebooks").glob("*.ipynb")
    for path in texts:
        text = path.read_text(encoding="utf-8")
        assert not re.search("worked version|solutions`|solutions/|notebooks/source", text, re.IGNORECASE), path.name


def test_the_notebooks_have_the_stored_cells_and_outputs(bundle):
    for source in SOURCES:
        ours, stored = (
            code_cells(bundle / "notebooks" / f"{source.stem}.ipynb"),
            code_cells(NOTEBOOKS / f"{source.stem}.ipynb"),
        )
        assert ours == stored


def test_the_zip_is_the_folder(bundle):
    with zipfile.ZipFile(bundle.with_suffix(".zip")) as file:
        assert {name: file.read(name) for name in file.namelist()} == {
            f"class/{name}": content for name, content in files(bundle).items()
        }


def test_the_same_course_makes_the_same_zip(bundle, wheel, tmp_path, monkeypatch):
    monkeypatch.setattr(release, "build_wheel", lambda folder: Path(shutil.copy(wheel, folder)))
    again = release.release(tmp_path / "class", say=[].append)
    assert again.with_suffix(".zip").read_bytes() == bundle.with_suffix(".zip").read_bytes()


def test_no_path_of_this_machine_is_handed_out(bundle, wheel):
    with zipfile.ZipFile(wheel) as file:
        contents = {**files(bundle), **{name: file.read(name) for name in file.namelist()}}
    places = [str(place).encode() for place in (ROOT, bundle.parent, sys.prefix)]
    assert [name for name, content in contents.items() if any(place in content for place in places)] == []


@pytest.mark.parametrize(
    "before, after",
    [
        ("You may come back.\nWorked versions lie in the folder `solutions`.", "You may come back."),
        ("Set it. (The worked version plans a house,\nits permit too.)", "Set it."),
        ("Worked versions are in `solutions`. Read on.", " Read on."),
        ("Try.\n\n<!-- solutions -->\nWorked: [1](a.ipynb).\n<!-- /solutions -->\n\n## Next\n", "Try.\n\n## Next\n"),
        ("It has worked well. In some versions.", "It has worked well. In some versions."),
    ],
)
def test_sentences_on_worked_versions_are_left_out(before, after):
    assert without_worked_versions(before) == after


def test_the_start_page_names_the_pythons_that_the_course_allows():
    allowed = SpecifierSet(PROJECT["requires-python"])
    page = start_page.start_page(n_notebooks=6, system=None, on_colab=False)
    assert "You need Python 3.11, 3.12, 3.13 or 3.14," in page
    assert [minor for minor in range(30) if allowed.contains(f"3.{minor}.1")] == [11, 12, 13, 14]


def test_the_start_page_says_for_which_system_the_packages_are():
    page = start_page.start_page(n_notebooks=6, system="Linux (x86_64) and Python 3.12", on_colab=True)
    assert "All packages are in the folder <code>wheels</code>, for Linux (x86_64) and Python 3.12." in page
    assert "Google Colab" in page


# What is refused, and what fails


def test_what_is_there_is_left_alone(tmp_path):
    (tmp_path / "class").mkdir()
    mine = tmp_path / "class" / "mine"
    mine.touch()
    with pytest.raises(ValueError, match="class is there already: remove it, or choose another folder"):
        release.release(tmp_path / "class")
    with pytest.raises(ValueError, match="mine is there already: remove it, or choose another folder"):
        release.release(mine)
    (tmp_path / "other.zip").touch()
    with pytest.raises(ValueError, match=r"other\.zip is there already: remove it"):
        release.release(tmp_path / "other")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["class", "mine", "other.zip"]


def test_a_notebook_that_somebody_has_worked_in_is_not_handed_out(tmp_path, monkeypatch):
    (tmp_path / "source").mkdir()
    source = shutil.copy(SOURCES[0], tmp_path / "source")
    (tmp_path / SOURCES[0].with_suffix(".ipynb").name).write_bytes(
        sources.as_bytes(sources.read(Path(source), solved=True))
    )
    monkeypatch.setattr(release, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(release, "build_wheel", lambda folder: folder / "made.whl")
    with pytest.raises(ValueError, match=r"^notebooks/01_monte_carlo\.ipynb is not what its source says: `python"):
        release.release(tmp_path / "class", say=[].append)
    assert not (tmp_path / "class").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError])
def test_what_goes_wrong_leaves_nothing(tmp_path, monkeypatch, error):
    def build_wheel(folder):
        (folder / "half.whl").touch()
        raise error

    monkeypatch.setattr(release, "build_wheel", build_wheel)
    with pytest.raises(error):
        release.release(tmp_path / "class", say=[].append)
    assert list(tmp_path.iterdir()) == []


def test_the_draft_of_a_process_that_was_killed_is_in_nobodys_way(tmp_path, wheel, monkeypatch):
    (tmp_path / ".class.new").mkdir()
    (tmp_path / ".class.new" / "half.whl").touch()
    monkeypatch.setattr(release, "build_wheel", lambda folder: Path(shutil.copy(wheel, folder)))
    release.release(tmp_path / "class", say=[].append)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["class", "class.zip"]
    assert [path.name for path in (tmp_path / "class").glob("*.whl")] == [wheel.name]


# All packages beside it


@pytest.mark.parametrize("has_cpu_build", [True, False])
def test_packages_are_downloaded_with_pytorch_for_the_processor(tmp_path, monkeypatch, wheel, has_cpu_build):
    commands = []

    def pip(arguments, say=None):
        commands.append(arguments)
        if len(commands) == 1 and not has_cpu_build:
            raise ValueError("none")
        folder = Path(arguments[arguments.index("--dest") + 1])
        folder.mkdir(exist_ok=True)
        (folder / "one.whl").write_bytes(bytes(3_000_000))

    monkeypatch.setattr(release, "_pip", pip)
    monkeypatch.setattr(sys, "platform", "linux")
    said: list[str] = []
    release._download_wheels(wheel, tmp_path / "wheels", said.append)
    pinned = next(
        line
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split("\n")
        if line.startswith("torch==")
    )
    assert all(f"{pinned}+cpu" in command for command in commands)
    assert [release.CPU_BUILDS in command for command in commands] == ([False] if has_cpu_build else [False, True]) + [
        False
    ]
    assert str(wheel) in commands[-1]
    assert said[-1].startswith("1 packages, 3 MB, for ")


def test_what_pip_says_is_passed_on(tmp_path):
    arguments = ["download", "--no-index", "--dest", str(tmp_path), "no-such-package"]
    with pytest.raises(ValueError, match=r"^pip download failed: No matching distribution found for no-such-package$"):
        release._pip(arguments)


# Installed, by the one command


def test_the_first_notebook_runs_where_it_was_unpacked(installed, outside):
    out = installed.parent / "run"
    name = f"{SOURCES[0].stem}.ipynb"
    done = python(installed, outside, *EXECUTE, "--output-dir", str(out), f"notebooks/{name}")
    assert done.returncode == 0, done.stderr
    headlines = [
        output.data[COMPARISON_MIME]
        for cell in code_cells(out / name)
        for output in cell.outputs
        if COMPARISON_MIME in output.get("data", {})
    ]
    assert [headline["agrees"] for headline in headlines] == [True]


def test_the_wheel_has_the_plan_the_checkpoints_and_forty_digits(installed, outside):
    program = (
        "import course_lib, course_lib.datasets, course_lib.projects, course_lib.resources, course_lib.training\n"
        "print(course_lib.__file__)\n"
        "print(course_lib.resources.DATA)\n"
        "print(*course_lib.projects.Project.example().critical_path())\n"
        "print(course_lib.training.load_checkpoint('mnist-vae')[1]['name'], len(course_lib.datasets.forty_digits()))\n"
    )
    done = python(installed, outside, "-c", program)
    package, data, *rest = done.stdout.splitlines()
    assert Path(package).is_relative_to(installed / ".venv")
    assert Path(data) == Path(package).parent / "data"
    assert rest == ["1 2 4 10", "mnist-vae 40"]


def test_the_doctor_finds_all_it_has_and_knows_its_version(installed, outside):
    done = python(installed, outside, "-m", "course_lib", "doctor")
    assert done.stdout.endswith("\nReady: all checks passed.\n"), done.stdout + done.stderr
    assert f"{DISTRIBUTION} {PROJECT['version']}; its " in done.stdout


def test_the_wheel_says_that_it_has_no_notebooks(installed, outside):
    program = (
        "from pathlib import Path; from course_lib.__main__ import main\n"
        "from course_lib.publishing.release import release\n"
        "print(main(['run']), main(['build']))\n"
        "release(Path('again'))"
    )
    done = python(installed, outside, "-c", program)
    assert done.stdout == "1 1\n"
    *told, raised = (line for line in done.stderr.splitlines() if "There are no" in line)
    assert [line.startswith("course_lib: ") for line in told] == [True, True]
    for line, missing in zip([*told, raised], ("notebooks", "notebook sources", "notebook sources"), strict=True):
        assert f": There are no {missing} in " in line
        assert line.endswith(": they come with the course's repository, not with its wheel.")
    assert not (installed / "again").exists()


def test_the_remedies_of_a_wheel_need_no_repository(installed, outside):
    program = "from course_lib import doctor; doctor.DATA /= 'nowhere'; print(*doctor._data(), sep='\\n')"
    found, remedy = python(installed, outside, "-c", program).stdout.splitlines()
    assert found == "data/project_tasks.csv is missing"
    assert " -m pip install --force-reinstall " in remedy


def test_the_command_that_is_installed_is_the_modules_own(installed, outside):
    (packages,) = (installed / ".venv").rglob("site-packages")
    (distribution,) = (d for d in importlib.metadata.distributions(path=[str(packages)]) if d.name == DISTRIBUTION)
    (command,) = distribution.entry_points.select(group="console_scripts")
    assert (command.name, command.value) == ("course", "course_lib.__main__:main")


# On Colab


def test_a_notebook_for_colab_installs_the_library_where_it_is_missing(wheel, outside, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", ".venv"], cwd=tmp_path, check=True)
    assert python(tmp_path, outside, "-c", "import course_lib").stderr.endswith("No module named 'course_lib'\n")
    program = "import course_lib, pathlib, sys\npathlib.Path(course_lib.__file__).is_relative_to(sys.prefix)"
    alone = for_colab(new_notebook(cells=[new_markdown_cell("# Made"), new_code_cell(program)]), wheel.as_uri())
    assert [cell.cell_type for cell in alone.cells] == ["markdown", "code", "code"]
    alone.cells.append(new_code_cell(alone.cells[1].source))
    (tmp_path / "alone.ipynb").write_bytes(sources.as_bytes(alone))
    done = python(tmp_path, outside, *EXECUTE, "--output", "executed", "alone.ipynb")
    assert done.returncode == 0, done.stderr
    _, imported, again = code_cells(tmp_path / "executed.ipynb")
    assert imported.outputs[0].data["text/plain"] == "True"
    assert again.outputs == []  # it is there


def test_what_colab_installs_is_all_that_the_notebooks_import(tmp_path):
    tools = sorted(TOOLS - {"ipykernel"})  # which a slider asks for, and a notebook runs in
    imports = [
        ast.unparse(node)
        for source in SOURCES
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    program = f"import sys\nsys.modules |= dict.fromkeys({tools})\n" + "\n".join(imports)
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
    assert any("course_lib.vae" in line for line in imports)


def test_the_address_may_be_that_of_the_wheel_or_of_its_folder(wheel, tmp_path, monkeypatch):
    monkeypatch.setattr(release, "build_wheel", lambda folder: Path(shutil.copy(wheel, folder)))
    lines = set()
    for name, address in (("a", "https://example.org/course/"), ("b", f"https://example.org/course/{wheel.name}")):
        folder = release.release(tmp_path / name, address=address, say=[].append)
        for source in SOURCES:
            first, *rest = code_cells(folder / "notebooks" / f"{source.stem}.ipynb")
            assert (first.id, first.metadata) == ("install-course-lib", {"tags": ["install"]})
            assert [cell.source for cell in rest] == [
                cell.source for cell in code_cells(NOTEBOOKS / f"{source.stem}.ipynb")
            ]
            assert all(len(line) <= 76 for line in first.source.split("\n")[:-1])
            lines.add(first.source.split("\n")[-1].strip())
    assert lines == {f"https://example.org/course/{wheel.name}"}
