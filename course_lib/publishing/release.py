"""What an instructor hands out: notebooks without solutions, the library, and one command that installs it."""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from course_lib.publishing import NOTEBOOKS, sources
from course_lib.publishing.colab import for_colab
from course_lib.publishing.folders import new_folder
from course_lib.publishing.handed_out import without_worked_versions
from course_lib.publishing.start_page import start_page

__all__ = ["build_wheel", "for_colab", "release"]

ROOT = NOTEBOOKS.parent
COPIED = ("install.py", "constraints.txt", "LICENSE", "LICENSE-TEXT")
# Where PyTorch publishes its builds without CUDA, which is several gigabytes.
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
# Of every file in the zip, so that the same files make the same zip: the oldest that the format knows.
DATE = (1980, 1, 1, 0, 0, 0)


def release(
    out: Path, *, wheels: bool = False, address: str | None = None, say: Callable[[str], object] = print
) -> Path:
    """Write what participants get, as the folder ``out`` and as a zip of it beside it.

    Args:
        out: a folder that is not there yet, or is empty; its name is the zip's.
        wheels: whether to add all packages, so that installing needs no network on a machine such as this one.
        address: where the wheel of the library will be published, the URL of the file or of its folder. With it each
            notebook opens alone on Colab: a first cell installs the library from there.
        say: receives a line about each step.

    Returns:
        the folder, as an absolute path.

    Raises:
        ValueError: this is no checkout of the repository, ``out`` is not empty, a stored notebook is not the one of
            its source, or a package cannot be had.
        OSError: a file cannot be read or written.
        KeyboardInterrupt: nothing is left behind.
    """
    names = [path.stem for path in sources.find(NOTEBOOKS / "source")]
    out = out.resolve()
    archive = out.with_name(f"{out.name}.zip")
    if archive.exists():
        raise ValueError(f"{archive} is there already: remove it, or choose another folder.")
    with new_folder(out) as draft:
        say("Building the library's wheel.")
        wheel = build_wheel(draft)
        wheel_address = None if address is None else _address_of(wheel, address)
        _copy_notebooks(names, draft / "notebooks", wheel_address)
        for name in COPIED:
            shutil.copyfile(ROOT / name, draft / name)
        if wheels:
            _download_wheels(wheel, draft / "wheels", say)
        page = start_page(n_notebooks=len(names), system=_this_system() if wheels else None, on_colab=bool(address))
        (draft / "START.html").write_text(page, encoding="utf-8", newline="\n")
        packed = out.with_name(f".{archive.name}.new")
        try:
            _pack(draft, packed, out.name)
            packed.rename(archive)
        finally:
            packed.unlink(missing_ok=True)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    say(f"{out}: {len(names)} notebooks, {_megabytes(size)}.")
    say(
        f"{archive}: the same, {_megabytes(archive.stat().st_size)}. Hand out this one; START.html in it says the rest."
    )
    return out


def build_wheel(folder: Path) -> Path:
    """Build the library with its data as a wheel in ``folder``; the same checkout gives the same file.

    Raises:
        ValueError: it cannot be built, with pip's own reason.
    """
    # Learners' installations have no build backend; pip then fetches one.
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    _pip(["wheel", str(ROOT), "--no-deps", *isolation, "--wheel-dir", str(folder)])
    (wheel,) = folder.glob("*.whl")
    return wheel


def _address_of(wheel: Path, address: str) -> str:
    return address if address.endswith(".whl") else f"{address.rstrip('/')}/{wheel.name}"


def _copy_notebooks(names: list[str], folder: Path, wheel_address: str | None) -> None:
    """The stored notebooks with their outputs, and the page that JupyterLab shows first."""
    folder.mkdir()
    for name in names:
        notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
        source = sources.read(NOTEBOOKS / "source" / f"{name}.py", solved=False)
        # Somebody may have solved its exercises.
        if _texts(notebook) != _texts(source):
            raise ValueError(
                f"notebooks/{name}.ipynb is not what its source says: `python -m course_lib build {name}` mends that."
            )
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = without_worked_versions(cell.source)
        if wheel_address is not None:
            notebook = for_colab(notebook, wheel_address)
        (folder / f"{name}.ipynb").write_bytes(sources.as_bytes(notebook))
    for page in NOTEBOOKS.glob("*.md"):
        text = without_worked_versions(page.read_text(encoding="utf-8"))
        (folder / page.name).write_text(text, encoding="utf-8", newline="\n")


def _texts(notebook: NotebookNode) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def _download_wheels(wheel: Path, folder: Path, say: Callable[[str], object]) -> None:
    """Everything that the library needs, for this system and this Python."""
    say(f"Downloading all packages for {_this_system()}: some minutes.")
    constraints = ROOT / "constraints.txt"
    to_folder = ["--only-binary=:all:", "--dest", str(folder)]
    torch = re.findall(r"^torch==[^\s;]+", constraints.read_text(encoding="utf-8"), re.MULTILINE)[0]
    # Elsewhere PyPI's own build has no CUDA. Asked in turn, because pip asks all indexes it is told for all packages.
    if sys.platform == "linux":
        torch = f"{torch}+cpu"
        try:
            _pip(["download", "--no-deps", torch, *to_folder], say)
        except ValueError:
            _pip(["download", "--no-deps", torch, "--index-url", CPU_BUILDS, *to_folder], say)
    found = ["--find-links", str(folder), "--constraint", str(constraints)]
    _pip(["download", torch, str(wheel), *to_folder, *found], say)
    (folder / wheel.name).unlink(missing_ok=True)  # pip copies it, too
    files = list(folder.iterdir())
    say(f"{len(files)} packages, {_megabytes(sum(file.stat().st_size for file in files))}, for {_this_system()} only.")


def _pip(arguments: list[str], say: Callable[[str], object] | None = None) -> None:
    """Run pip, and say which packages it comes to."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        assert pip.stdout is not None
        complaint = ""
        try:
            for line in pip.stdout:
                if say and line.startswith("Collecting "):
                    say(f"  {line.split()[1]}")
                if line.startswith("ERROR: "):
                    complaint = line.removeprefix("ERROR: ").strip()
        except BaseException:
            pip.kill()
            raise
    if pip.returncode:
        raise ValueError(f"pip {arguments[0]} failed: {complaint or f'it ended with {pip.returncode}'}")


def _pack(folder: Path, archive: Path, name: str) -> None:
    """Zip ``folder`` as ``name``; equal files make an equal zip."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(f"{name}/{path.relative_to(folder).as_posix()}", DATE)
            entry.external_attr = 0o644 << 16
            # A wheel is a zip already.
            entry.compress_type = zipfile.ZIP_STORED if path.suffix == ".whl" else zipfile.ZIP_DEFLATED
            with path.open("rb") as content, file.open(entry, "w", force_zip64=True) as packed:
                shutil.copyfileobj(content, packed, 1 << 20)


def _this_system() -> str:
    system = {"Darwin": "macOS"}.get(platform.system(), platform.system())
    return f"{system} ({platform.machine()}) and Python {sys.version_info.major}.{sys.version_info.minor}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
