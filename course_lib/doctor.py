"""Is this machine ready for the course? Each answer that is no comes with the command that mends it."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from course_lib.resources import DATA

__all__ = ["Check", "examine", "report"]

DISTRIBUTION = "monte-carlo-to-vaes"
OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 14)
MEMORY_NEEDED = 2.0  # GB free: the largest notebook, JupyterLab and a browser
KERNEL_TIMEOUT = 20  # seconds

# Packages that are imported under another name than they are installed under.
_MODULES = {"markdown-it-py": "markdown_it", "pillow": "PIL", "pyzmq": "zmq", "scikit-learn": "sklearn"}

_PYTHON = f'"{sys.executable}"' if " " in sys.executable else sys.executable
_ROOT = DATA.parent
# A checkout is installed from its folder, and git has what is missing in it; a wheel is installed again, whole.
_IS_CHECKOUT = (_ROOT / "pyproject.toml").is_file()
_INSTALL = (
    f'{_PYTHON} -m pip install -c "{_ROOT / "constraints.txt"}" -e "{_ROOT}"'
    if _IS_CHECKOUT
    else f"{_PYTHON} -m pip install --force-reinstall WHEEL   (the file that the course came in)"
)


@dataclass(frozen=True)
class Check:
    """One question, what was found, and, unless all is well, the command that mends it."""

    name: str
    found: str
    remedy: str | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing needs mending."""
        return self.remedy is None


def examine(gpu: bool = False) -> list[Check]:
    """Make every check; one that breaks unexpectedly counts as failed and does not stop the others.

    Args:
        gpu: also take a few training steps on the GPU, and hold them against the processor's: a minute or so.
    """
    checks = [
        ("Python", _python),
        ("packages", _packages),
        ("accelerator", _accelerator),
        ("memory", _memory),
        ("data", _data),
        ("checkpoints", _checkpoints),
        ("kernel", _kernel),
    ]
    return [_guarded(name, check) for name, check in checks] + (_steps() if gpu else [])


def report(checks: list[Check]) -> str:
    """The checks as lines of text, with a verdict at the end."""
    width = max(len(check.name) for check in checks)
    lines: list[str] = []
    for check in checks:
        lines.append(f"{'ok  ' if check.ok else 'FAIL'}  {check.name:{width}}  {check.found}")
        if not check.ok:
            lines.append(f"      {'':{width}}  mend it with: {check.remedy}")
    n_failed = sum(not check.ok for check in checks)
    lines.append(f"\n{n_failed} of {len(checks)} checks failed." if n_failed else "\nReady: all checks passed.")
    return "\n".join(lines)


def _guarded(name: str, check: Callable[[], tuple[str, str | None]]) -> Check:
    try:
        return Check(name, *check())
    except Exception as error:
        return Check(name, f"{type(error).__name__}: {error}", _INSTALL)


def _python() -> tuple[str, str | None]:
    found = f"{platform.python_version()} at {sys.executable}"
    if OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON:
        return found, None
    oldest, newest = (".".join(map(str, version)) for version in (OLDEST_PYTHON, NEWEST_PYTHON))
    return (
        f"{found}; the course needs {oldest} to {newest}",
        "python3.12 install.py   (after installing it; on Windows py -3.12 install.py; with make: PYTHON=python3.12)",
    )


def _packages() -> tuple[str, str | None]:
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(text) for text in importlib.metadata.requires(DISTRIBUTION) or ()]
    except importlib.metadata.PackageNotFoundError:
        return f"{DISTRIBUTION} is not installed in this Python", _INSTALL
    needed = [r for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]
    troubles = [trouble for r in needed if (trouble := _trouble(r.name, r.specifier.contains))]
    if troubles:
        return "; ".join(troubles), _INSTALL
    version = importlib.metadata.version(DISTRIBUTION)
    return f"{DISTRIBUTION} {version}; its {len(needed)} packages import, in versions that fit", None


def _trouble(package: str, fits: Callable[[str], bool]) -> str | None:
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return f"{package} is missing"
    if not fits(version):
        return f"{package} {version} does not fit"
    try:
        importlib.import_module(_MODULES.get(package, package.replace("-", "_")))
    except Exception as error:
        return f"{package} does not import ({type(error).__name__}: {error})"
    return None


def _accelerator() -> tuple[str, str | None]:
    if importlib.util.find_spec("torch") is None:
        return "unknown without torch, which notebooks 03 to 06 need", _INSTALL
    try:
        import torch
    except Exception as error:
        trouble = f"torch is installed but does not import ({type(error).__name__}: {error})"
        return trouble, f"{_PYTHON} -m pip uninstall --yes torch"
    build = f"PyTorch {torch.__version__.partition('+')[0]}"
    if torch.cuda.is_available():
        return f"CUDA: {torch.cuda.get_device_name()}; {build}, CUDA {torch.version.cuda} build", None
    if torch.backends.mps.is_available():
        return f"MPS (Apple silicon); {build}", None
    has_card = shutil.which("nvidia-smi") is not None
    if torch.version.cuda is None:
        advice = "; there is an NVIDIA card: `make run GPU=1` brings the build for it" if has_card else ""
        return f"none; {build}, CPU build{advice}", None
    build = f"{build}, CUDA {torch.version.cuda} build"
    if has_card:
        return f"none; {build}, which cannot use the NVIDIA card here: its driver may be too old", None
    size = _gigabytes(Path(torch.__file__).parents[1] / "nvidia")
    return f"none; {build}, and no NVIDIA card: {size:.1f} GB could go (remove .venv, install again)", None


def _gigabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e9


def _steps() -> list[Check]:
    """A check for each preset of the zoo."""
    from course_lib.training.devices import choose_device
    from course_lib.training.presets import preset_named
    from course_lib.training.smoke import smoke, ways_for
    from course_lib.zoo import ZOO

    device = choose_device()
    if device.type == "cpu":
        mend = f"{_PYTHON} -m pip install --force-reinstall torch   (where there is a GPU: a build of torch for it)"
        return [Check("steps", "torch finds no GPU to take them on", mend)]

    def check(name: str) -> tuple[str, str | None]:
        found = smoke(preset_named(name), device, ways_for(preset_named(name), device))
        zoo = f"{_PYTHON} -m course_lib zoo --minutes 9 --only {name}   (it takes none of the wrong steps)"
        return str(found), None if found.is_right else zoo

    return [_guarded("steps", functools.partial(check, name)) for name in ZOO]


def _memory() -> tuple[str, str | None]:
    import psutil

    memory = psutil.virtual_memory()
    found = f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free"
    if memory.available >= MEMORY_NEEDED * 1e9:
        return found, None
    again = f"{_PYTHON} -m course_lib doctor"
    return f"{found}; notebooks want {MEMORY_NEEDED:g} GB", f"{again}   (after closing other programs)"


def _data() -> tuple[str, str | None]:
    mend = _restored("data/project_tasks.csv")
    if not (DATA / "project_tasks.csv").is_file():
        return "data/project_tasks.csv is missing", mend
    from course_lib.projects import Project

    try:
        plan = Project.example()
    except (OSError, ValueError) as error:
        return f"data/project_tasks.csv: {error}", mend
    return f"data/project_tasks.csv: a plan of {len(plan.graph)} tasks", None


def _checkpoints() -> tuple[str, str | None]:
    from course_lib.training.checkpoints import PUBLISHED, load_checkpoint

    names = sorted(path.stem for path in PUBLISHED.glob("*.json"))
    try:
        for name in names:
            load_checkpoint(name)
    except (OSError, ValueError) as error:
        return str(error), _restored("data/checkpoints")
    return f"data/checkpoints: {len(names)} trained models load", None


def _restored(path: str) -> str:
    return f'git -C "{_ROOT}" checkout -- {path}' if _IS_CHECKOUT else _INSTALL


def _kernel() -> tuple[str, str | None]:
    from jupyter_client import KernelManager

    mend = f"{_PYTHON} -m pip install --force-reinstall ipykernel"
    manager = KernelManager(kernel_name="python3")
    try:
        # Started where notebooks start theirs, so that course_lib comes from the installation. ipykernel
        # warns at each start that it talks over local TCP, as every kernel on Windows has to.
        folder = _ROOT / "notebooks" if _IS_CHECKOUT else DATA
        manager.start_kernel(cwd=str(folder), extra_arguments=["--log-level=CRITICAL"])
        client = manager.client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=KERNEL_TIMEOUT)
            reply = client.execute_interactive(
                "import course_lib\nassert 1 + 1 == 2",
                timeout=KERNEL_TIMEOUT,
                output_hook=lambda _: None,
                allow_stdin=False,
            )
        finally:
            client.stop_channels()
    except (RuntimeError, TimeoutError, OSError) as error:
        return f"the notebook kernel does not answer: {error}", mend
    finally:
        if manager.has_kernel:
            manager.shutdown_kernel(now=True)
    if reply["content"]["status"] != "ok":
        content = reply["content"]
        return f"the notebook kernel fails: {content['ename']}: {content['evalue']}", _INSTALL
    return "a notebook kernel starts and computes", None
