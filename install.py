"""Install the course into the folder ``.venv`` beside this file: ``python3 install.py``.

This file needs nothing but Python. In a checkout it installs the course as it is there, in what participants are given
the wheel that lies beside it; from the folder ``wheels``, where there is one, without a network. Interrupted, it goes
on where it was when it is started again.
"""

import argparse
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
OLDEST, NEWEST = (3, 11), (3, 14)
# PyTorch's builds for the processor alone. PyPI's own for Linux brings CUDA with it.
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
NOTEWORTHY = 20  # MB; what takes longer to arrive than a line to read


def refusal(version, system, machine, release):
    """One sentence on why the course cannot be installed here, or nothing.

    No annotations here and above: an old Python has to read this far to say that it is old.

    Args:
        version: of Python, such as ``(3, 12)``.
        system: as in ``sysconfig.get_platform()``: what this Python was built for.
        machine: the processor's kind, as in ``platform.machine()``.
        release: of macOS, or of glibc on Linux, such as ``"14.2"``; empty on Linux without glibc.
    """
    if not OLDEST <= tuple(version) <= NEWEST:
        return (
            f"The course needs Python {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}, and this is "
            f"{version[0]}.{version[1]}: start install.py with another one: "
            "python3.12 install.py, on Windows py -3.12 install.py (with make: make PYTHON=python3.12)."
        )
    elsewhere = "take another computer, or Colab or Binder, where nothing needs to be installed."
    numbers = tuple(int(part) for part in re.findall(r"\d+", release)[:2])
    if system.startswith("macosx") and machine != "arm64":
        return (
            "This Python is for Intel processors, for which PyTorch no longer appears: on a Mac with Apple silicon "
            f"take a Python for arm64 (from python.org), on an Intel Mac {elsewhere}"
        )
    if system.startswith("macosx") and numbers < (14,):
        return f"PyTorch needs macOS 14 or newer, and this is {release}: update macOS, or {elsewhere}"
    if system == "win-arm64":
        return (
            "PyPI has no PyTorch for Windows on ARM: take a 64-bit Python for Intel and AMD processors "
            f"(from python.org; Windows translates it), or {elsewhere}"
        )
    if system == "win32":
        return "This Python has 32 bits, and PyTorch needs 64: take the 64-bit Python from python.org."
    if system.startswith("linux") and machine not in ("x86_64", "aarch64"):
        return f"PyPI has no PyTorch for Linux on {machine}: {elsewhere}"
    if system.startswith("linux") and numbers < (2, 28):
        return (
            "PyTorch needs a Linux with glibc 2.28 or newer (Debian 10, Ubuntu 18.10, RHEL 8), and this has "
            f"{'glibc ' + release if release else 'none, as Alpine has'}: {elsewhere}"
        )
    return None


if sys.version_info < OLDEST:  # which does not understand what follows
    sys.exit(f"install.py: {refusal(sys.version_info[:2], '', '', '')}")


class Stopped(Exception):
    """Something did not go on; the message is one sentence."""


def main(arguments: list[str] | None = None) -> int:
    """Install, say so, and return the exit status."""
    parser = argparse.ArgumentParser(description="Install the course into the folder .venv beside this file.")
    parser.add_argument("--dev", action="store_true", help="also what tests and the website need")
    parser.add_argument("--gpu", action="store_true", help="PyTorch with CUDA on Linux, NVIDIA card or not")
    options = parser.parse_args(arguments)
    release = platform.mac_ver()[0] if sys.platform == "darwin" else "".join(platform.libc_ver()[1:])
    trouble = refusal(sys.version_info[:2], sysconfig.get_platform(), platform.machine(), release)
    try:
        if trouble:
            raise Stopped(trouble)
        install(dev=options.dev, gpu=options.gpu)
    except Stopped as error:
        print(f"install.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. What has arrived is kept: the same command goes on.", file=sys.stderr)
        return 130
    print(farewell(dev=options.dev))
    return 0


def install(*, dev: bool, gpu: bool) -> None:
    """Bring ``.venv`` up to what is asked for; where it is, this takes no time.

    Raises:
        Stopped: with the reason in one sentence.
    """
    wheel, sources = what_is_here(dev)
    stamps = [VENV / "ready", *([VENV / "ready-dev"] if dev else [])]
    is_current = all(stamp.is_file() for stamp in stamps) and PYTHON.exists()
    if is_current:
        oldest = min(stamp.stat().st_mtime_ns for stamp in stamps)
        is_current = all(source.stat().st_mtime_ns <= oldest for source in sources)
    if is_current and not (gpu and torch_version().endswith("+cpu")):
        return
    started = time.monotonic()
    make_venv()
    for stamp in stamps:
        stamp.unlink(missing_ok=True)
    wheels = HERE / "wheels"
    offline = ["--no-index", "--find-links", str(wheels)] if wheels.is_dir() else []
    if gpu and torch_version().endswith("+cpu"):
        pip(["uninstall", "--yes", "torch"])
    if sys.platform == "linux" and not offline and not gpu and not has_nvidia_card():
        install_cpu_build()
    say(f"Installing the packages{' and what tests need' if dev else ''}: a few minutes.")
    if wheel:
        # pip leaves a course of the same version as it is, even if it is another one.
        pip(["install", "--force-reinstall", "--no-deps", *offline, str(wheel)])
        wanted = ["--constraint", str(HERE / "constraints.txt"), str(wheel)]
    else:
        wanted = ["--requirement", str(HERE / ("requirements-dev.txt" if dev else "requirements.txt"))]
    failed = pip(["install", *offline, *wanted], may_fail=True)
    if failed and offline:
        raise Stopped(
            f"the folder wheels does not have all that this system needs ({failed}): it was made on another system or "
            "for another Python, so take that Python, or rename the folder and start again with a network."
        )
    if failed:
        raise Stopped(f"pip stopped: {failed}. What has arrived is kept: the same command goes on.")
    # Written last: without them, the next call goes on here.
    for stamp in stamps:
        stamp.touch()
    say(f"Installed in {time.monotonic() - started:.0f} s, {megabytes(VENV):,.0f} MB.")


def what_is_here(dev: bool) -> tuple[Path | None, list[Path]]:
    """The course's wheel, if there is no checkout, and the files that say what is to be installed."""
    if (HERE / "pyproject.toml").is_file():
        names = ["pyproject.toml", "constraints.txt", "requirements.txt", *(["requirements-dev.txt"] if dev else [])]
        return None, [Path(__file__), *(HERE / name for name in names)]
    wheels = sorted(HERE.glob("monte_carlo_to_vaes-*.whl"))
    if len(wheels) != 1:
        found = "none" if not wheels else f"{len(wheels)} of them"
        raise Stopped(f"beside install.py should be the course's wheel, monte_carlo_to_vaes-*.whl: found {found}.")
    if dev:
        raise Stopped("--dev is for a checkout of the course's repository; this folder has no tests.")
    return wheels[0], [Path(__file__), wheels[0], HERE / "constraints.txt"]


def make_venv() -> None:
    """An environment of this Python, the one that is there already or a new one."""
    if PYTHON.exists() and venv_version() == sys.version_info[:2]:
        return
    if importlib.util.find_spec("ensurepip") is None:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise Stopped(
            "this Python has no ensurepip, which makes environments: on Debian and Ubuntu, "
            f"`sudo apt install python{version}-venv` brings it."
        )
    say("Making the folder .venv.")
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True)
    if made.returncode:
        raise Stopped(f"the folder {VENV} cannot be made: {last_line(made.stdout + made.stderr)}")


def venv_version() -> tuple[int, ...]:
    """Of the Python that ``.venv`` was made with; empty where it does not start."""
    program = "import json, pip, sys; print(json.dumps(sys.version_info[:2]))"
    asked = subprocess.run([str(PYTHON), "-c", program], capture_output=True, text=True)
    return tuple(json.loads(asked.stdout)) if asked.returncode == 0 else ()


def torch_version() -> str:
    """Of the PyTorch in ``.venv``; empty where there is none."""
    program = "import importlib.metadata; print(importlib.metadata.version('torch'))"
    return subprocess.run([str(PYTHON), "-c", program], capture_output=True, text=True).stdout.strip()


def has_nvidia_card() -> bool:
    """Whether a driver for one is there."""
    return Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi") is not None


def install_cpu_build() -> None:
    """PyTorch without CUDA where its index can be reached; else the ordinary build comes with the other packages."""
    pins = (HERE / "constraints.txt").read_text(encoding="utf-8")
    pinned = re.search(r"^torch==([^\s;]+)", pins, re.MULTILINE)
    if pinned is None or torch_version().partition("+")[0] == pinned[1]:
        return
    say("Installing PyTorch's build for the processor: no NVIDIA card is here (--gpu takes the other build).")
    where = ["--index-url", CPU_BUILDS, "--timeout", "10", "--retries", "0"]
    # Its dependencies are pinned and come with the other packages.
    if pip(["install", *where, "--no-deps", f"torch=={pinned[1]}"], may_fail=True):
        say("PyTorch's own index does not answer: taking the ordinary build, which may bring some gigabytes of CUDA.")


def pip(arguments: list[str], *, may_fail: bool = False) -> str:
    """Run pip in ``.venv``, say what large files arrive, and return its complaint if it fails.

    Raises:
        Stopped: it failed and must not.
    """
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as run:
        assert run.stdout is not None
        complaint = ""
        for line in run.stdout:
            size = re.match(r"\s*Downloading (?:\S*/)?([^\s/-]+)-\S+ \(([\d.]+) ([MG]B)\)", line)
            if size and (size[3] == "GB" or float(size[2]) >= NOTEWORTHY):
                say(f"  {size[1]}, {size[2]} {size[3]}")
            if line.startswith("Installing collected packages") and "," in line:
                say(f"  unpacking {line.count(',') + 1} packages")
            if line.startswith("ERROR: "):
                complaint = line.removeprefix("ERROR: ").strip().rstrip(".")
    if run.returncode == 0:
        return ""
    complaint = complaint or f"pip ended with {run.returncode}"
    if not may_fail:
        raise Stopped(f"pip stopped: {complaint}.")
    return complaint


def farewell(*, dev: bool) -> str:
    """What to type next, on this system and from this folder."""
    try:
        shown, folder = os.path.relpath(PYTHON), os.path.relpath(HERE / "notebooks")
    except ValueError:  # another drive of Windows
        shown, folder = str(PYTHON), str(HERE / "notebooks")
    if " " in shown:
        shown = f'& "{shown}"' if os.name == "nt" else f'"{shown}"'
    notebooks = "" if Path.cwd() == HERE else f' "{folder}"' if " " in folder else f" {folder}"
    commands = {"-m course_lib check": "tries it, in a minute", f"-m course_lib lab{notebooks}": "opens the notebooks"}
    if dev:
        commands["-m pytest"] = "proves all of it"
    width = max(map(len, commands))
    return "\n".join(["The course is ready. Next:", *(f"  {shown} {c:{width}}   {t}" for c, t in commands.items())])


def megabytes(folder: Path) -> float:
    """What the files of a folder take."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6


def last_line(text: str) -> str:
    """Of what a program said."""
    return (text.strip().splitlines() or ["it does not say why"])[-1]


def say(text: str) -> None:
    """A line of progress, at once."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
