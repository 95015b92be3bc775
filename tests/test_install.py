"""install.py: refuses with one sentence, takes the right build of PyTorch, and goes on where it was."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import install

ROOT = Path(__file__).resolve().parents[1]
LINUX = ((3, 12), "linux-x86_64", "x86_64", "2.36")


@pytest.mark.parametrize(
    "machine, words",
    [
        (LINUX, None),
        (((3, 14), "linux-aarch64", "aarch64", "2.28"), None),
        (((3, 11), "macosx-10.9-universal2", "arm64", "14.2.1"), None),
        (((3, 13), "win-amd64", "AMD64", ""), None),
        (((3, 10), *LINUX[1:]), "needs Python 3.11 to 3.14, and this is 3.10: start install.py with another"),
        (((3, 15), *LINUX[1:]), "needs Python 3.11 to 3.14, and this is 3.15: start install.py with another"),
        (((3, 12), "linux-x86_64", "x86_64", "2.17"), "glibc 2.28 or newer (Debian 10, Ubuntu 18.10, RHEL 8)"),
        (((3, 12), "linux-x86_64", "x86_64", ""), "this has none, as Alpine has: take another computer"),
        (((3, 12), "linux-ppc64le", "ppc64le", "2.36"), "no PyTorch for Linux on ppc64le: take another computer"),
        (((3, 12), "macosx-10.9-universal2", "x86_64", "14.2"), "with Apple silicon take a Python for arm64"),
        (((3, 12), "macosx-11.0-arm64", "arm64", "13.6"), "macOS 14 or newer, and this is 13.6: update macOS"),
        (((3, 12), "win-arm64", "ARM64", ""), "take a 64-bit Python for Intel and AMD processors"),
        (((3, 12), "win32", "x86", ""), "take the 64-bit Python from python.org."),
    ],
)
def test_a_machine_without_packages_for_it_is_one_sentence_and_says_what_to_do(machine, words):
    sentence = install.refusal(*machine)
    if words is None:
        assert sentence is None
    else:
        assert words in sentence and sentence.endswith(".") and "\n" not in sentence


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """What pip is asked to do on a Linux without a card, where nothing is installed yet."""
    asked: list[str] = []
    for name in ("pyproject.toml", "constraints.txt", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.setattr(install, "HERE", tmp_path)
    monkeypatch.setattr(install, "VENV", tmp_path / ".venv")
    (tmp_path / ".venv").mkdir()
    monkeypatch.setattr(install, "PYTHON", tmp_path / "constraints.txt")  # any file: nothing starts it here
    monkeypatch.setattr(install, "make_venv", lambda: None)
    monkeypatch.setattr(install, "torch_version", lambda: "")
    monkeypatch.setattr(install, "has_nvidia_card", lambda: False)
    monkeypatch.setattr(install, "pip", lambda arguments, may_fail=False: asked.append(" ".join(arguments)) or "")
    monkeypatch.setattr(sys, "platform", "linux")
    return asked


def from_pytorch(command: str) -> bool:
    return f"--index-url {install.CPU_BUILDS}" in command


def test_without_a_card_the_build_without_cuda_comes_first_at_the_pinned_version(commands, tmp_path):
    install.install(dev=False, gpu=False)
    first, second = commands
    pin = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    assert from_pytorch(first) and first.endswith(f"--no-deps {pin}")
    assert second == f"install --requirement {tmp_path / 'requirements.txt'}"
    assert (tmp_path / ".venv" / "ready").exists() and not (tmp_path / ".venv" / "ready-dev").exists()


def test_where_pytorch_s_index_is_out_of_reach_the_ordinary_build_is_taken(commands, monkeypatch, capsys):
    def unreachable(arguments, may_fail=False):
        commands.append(" ".join(arguments))
        assert may_fail
        return "no matching distribution" if from_pytorch(commands[-1]) else ""

    monkeypatch.setattr(install, "pip", unreachable)
    install.install(dev=False, gpu=False)
    assert [from_pytorch(command) for command in commands] == [True, False]
    assert "does not answer: taking the ordinary build" in capsys.readouterr().out


@pytest.mark.parametrize(
    "platform, card, gpu, there",
    [
        ("linux", True, False, ""),
        ("linux", False, True, ""),
        ("darwin", False, False, ""),
        ("win32", False, False, ""),
        ("linux", False, False, "the pinned one"),
    ],
)
def test_else_the_ordinary_build_is_taken_or_what_is_there_stays(commands, monkeypatch, platform, card, gpu, there):
    pinned = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(install, "has_nvidia_card", lambda: card)
    monkeypatch.setattr(install, "torch_version", lambda: pinned.removeprefix("torch==") if there else "")
    install.install(dev=True, gpu=gpu)
    (command,) = commands
    assert command.startswith("install --requirement ") and command.endswith("requirements-dev.txt")


def test_a_gpu_that_is_asked_for_replaces_the_build_without_cuda(commands, monkeypatch):
    install.install(dev=False, gpu=False)
    commands.clear()
    install.install(dev=False, gpu=False)
    assert commands == []  # all is there
    monkeypatch.setattr(install, "torch_version", lambda: "2.13.0+cpu")
    install.install(dev=False, gpu=True)
    assert [command.split()[0] for command in commands] == ["uninstall", "install"]


def test_what_has_changed_since_is_installed_again(commands, tmp_path):
    install.install(dev=True, gpu=True)
    later = (tmp_path / ".venv" / "ready-dev").stat().st_mtime + 1
    os.utime(tmp_path / "constraints.txt", (later, later))
    install.install(dev=True, gpu=True)
    assert len(commands) == 2


def test_what_stops_pip_is_one_sentence_and_leaves_no_stamp(commands, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(install, "pip", lambda arguments, may_fail=False: "No space left on device")
    assert install.main([]) == 1
    said = capsys.readouterr().err
    assert (
        said
        == "install.py: pip stopped: No space left on device. What has arrived is kept: the same command goes on.\n"
    )
    assert not (tmp_path / ".venv" / "ready").exists()


def write_wheel(folder: Path, name: str, version: str, metadata: str = "", code: str = "") -> None:
    """A package of one line."""
    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", code)
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}")
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        files = (f"{name}.py", f"{about}/METADATA", f"{about}/WHEEL", f"{about}/RECORD")
        wheel.writestr(f"{about}/RECORD", "".join(f"{file},,\n" for file in files))


def test_a_bundle_installs_without_a_network_and_again_after_a_change(tmp_path):
    """For real, in a folder with a space, with a course of one line that needs a package of another."""
    bundle = tmp_path / "the course"
    (bundle / "wheels").mkdir(parents=True)
    shutil.copy(ROOT / "install.py", bundle)
    (bundle / "constraints.txt").write_text("course_needs_this==1.5\n")
    needs = "Requires-Dist: course_needs_this>=1\n"
    write_wheel(bundle, "monte_carlo_to_vaes", "9.9", needs, "answer = 1")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        # Nothing from outside: an index that is nowhere, and no settings of this machine.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/"}
        command = [sys.executable, str(bundle / "install.py"), *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    def answer() -> str:
        python = bundle / install.PYTHON.relative_to(install.HERE)
        program = "import monte_carlo_to_vaes as course, course_needs_this; print(course.answer)"
        return subprocess.run([str(python), "-c", program], capture_output=True, text=True, check=True).stdout.strip()

    incomplete = run()
    assert incomplete.returncode == 1 and incomplete.stderr.count("\n") == 1
    assert "the folder wheels does not have all that this system needs" in incomplete.stderr

    write_wheel(bundle / "wheels", "course_needs_this", "1.5")
    write_wheel(bundle / "wheels", "course_needs_this", "1.6")
    done = run()
    assert done.returncode == 0, done.stderr
    assert "Making the folder .venv." not in done.stdout  # that much was there
    assert f'-m course_lib lab "{Path("the course", "notebooks")}"' in done.stdout.splitlines()[-1]
    assert answer() == "1"
    assert list((bundle / ".venv").rglob("course_needs_this-1.5.dist-info"))

    write_wheel(bundle, "monte_carlo_to_vaes", "9.9", needs, "answer = 2")
    assert run().returncode == 0
    assert answer() == "2"


def test_a_folder_that_is_neither_checkout_nor_bundle_is_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(install, "HERE", tmp_path)
    assert install.main([]) == 1
    assert capsys.readouterr().err.endswith("monte_carlo_to_vaes-*.whl: found none.\n")
    write_wheel(tmp_path, "monte_carlo_to_vaes", "1")
    assert install.main(["--dev"]) == 1
    assert "--dev is for a checkout" in capsys.readouterr().err


def test_an_old_python_is_refused_before_it_meets_what_it_does_not_understand():
    pretend = (
        f"import sys, runpy; sys.version_info = (3, 10, 0, 'final', 0); runpy.run_path({str(ROOT / 'install.py')!r})"
    )
    done = subprocess.run([sys.executable, "-c", pretend], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("install.py: The course needs Python 3.11 to 3.14, and this is 3.10: start ")
    assert done.stderr.count("\n") == 1
