"""The doctor finds what is broken and names the command that mends it."""

import builtins
import shlex
import sys
import types

import psutil
import pytest
from torch import device

from course_lib import doctor
from course_lib.doctor import Check, examine, report
from course_lib.projects import Project
from course_lib.training.smoke import Outcome, Smoke
from course_lib.zoo import ZOO


def found(name: str) -> Check:
    return next(check for check in examine() if check.name == name)


@pytest.fixture
def no_kernel(monkeypatch):
    """Starting a kernel takes a second that most of these tests need not spend."""
    monkeypatch.setattr(doctor, "_kernel", lambda: ("not asked", None))


def test_all_is_well_here():
    assert [check.found for check in examine() if not check.ok] == []


@pytest.mark.parametrize("version, fits", [((3, 10, 4), False), ((3, 14, 2), True), ((3, 15, 0), False)])
def test_a_python_without_packages_for_it_is_found(monkeypatch, no_kernel, version, fits):
    monkeypatch.setattr(sys, "version_info", version)
    check = found("Python")
    assert check.ok == fits
    if not fits:
        assert check.found.endswith("the course needs 3.11 to 3.14")
        assert "PYTHON=" in check.remedy


def test_a_missing_package_is_found(monkeypatch, no_kernel):
    version = doctor.importlib.metadata.version

    def without_scipy(package):
        if package == "scipy":
            raise doctor.importlib.metadata.PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(doctor.importlib.metadata, "version", without_scipy)
    assert found("packages").found == "scipy is missing"


def test_a_package_of_another_version_is_found(monkeypatch, no_kernel):
    version = doctor.importlib.metadata.version
    monkeypatch.setattr(
        doctor.importlib.metadata, "version", lambda name: "1.26.4" if name == "numpy" else version(name)
    )
    assert found("packages").found == "numpy 1.26.4 does not fit"


def test_a_package_that_does_not_import_is_found(monkeypatch, no_kernel):
    import_module = doctor.importlib.import_module

    def broken(name):
        if name == "networkx":
            raise ImportError("a file is missing")
        return import_module(name)

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    check = found("packages")
    assert check.found == "networkx does not import (ImportError: a file is missing)"
    assert shlex.split(check.remedy)[1:4] == ["-m", "pip", "install"]


def test_a_course_that_is_not_installed_is_found(monkeypatch, no_kernel):
    monkeypatch.setattr(doctor, "DISTRIBUTION", "another-course")
    assert found("packages").found == "another-course is not installed in this Python"


def test_little_memory_is_found(monkeypatch, no_kernel):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(available=5e8, total=4e9))
    check = found("memory")
    assert check.found == "0.5 of 4.0 GB free; notebooks want 2 GB"
    assert "course_lib doctor" in check.remedy


def test_missing_data_are_found(monkeypatch, tmp_path, no_kernel):
    monkeypatch.setattr(doctor, "DATA", tmp_path)
    check = found("data")
    assert check.found == "data/project_tasks.csv is missing"
    assert "checkout -- data/project_tasks.csv" in check.remedy


def test_damaged_data_are_found(monkeypatch, no_kernel):
    def damaged():
        raise ValueError("task 3 is its own predecessor.")

    monkeypatch.setattr(Project, "example", damaged)
    assert found("data").found == "data/project_tasks.csv: task 3 is its own predecessor."


def test_a_damaged_checkpoint_is_found(monkeypatch, tmp_path, no_kernel):
    (tmp_path / "a-model.json").write_text("{}")
    (tmp_path / "a-model.safetensors").write_bytes(b"")
    monkeypatch.setattr("course_lib.training.checkpoints.PUBLISHED", tmp_path)
    check = found("checkpoints")
    assert "a-model.json" in check.found
    assert "checkout -- data/checkpoints" in check.remedy


@pytest.fixture
def torch(monkeypatch, tmp_path):
    """A torch that says what the test wants, whether the real one is installed or not."""
    module = types.ModuleType("torch")
    module.__spec__ = types.SimpleNamespace()
    module.__version__ = "2.13.0+cpu"
    module.__file__ = str(tmp_path / "torch" / "__init__.py")
    module.version = types.SimpleNamespace(cuda=None)
    module.cuda = types.SimpleNamespace(is_available=lambda: False, get_device_name=lambda: "a GPU")
    module.backends = types.SimpleNamespace(mps=types.SimpleNamespace(is_available=lambda: False))
    monkeypatch.setitem(sys.modules, "torch", module)
    # These would import with it what other tests share.
    monkeypatch.setattr(doctor, "_packages", lambda: ("not asked", None))
    monkeypatch.setattr(doctor, "_checkpoints", lambda: ("not asked", None))
    return module


@pytest.fixture
def card(monkeypatch):
    """Say whether an NVIDIA card is there."""

    def is_there(answer):
        monkeypatch.setattr(doctor.shutil, "which", lambda name: "/bin/nvidia-smi" if answer else None)

    return is_there


def test_accelerators_and_the_build_of_torch_are_named(torch, card, no_kernel):
    card(False)
    assert found("accelerator").found == "none; PyTorch 2.13.0, CPU build"
    torch.backends.mps.is_available = lambda: True
    assert found("accelerator").found == "MPS (Apple silicon); PyTorch 2.13.0"
    torch.cuda.is_available = lambda: True
    torch.version.cuda = "13.0"
    assert found("accelerator").found == "CUDA: a GPU; PyTorch 2.13.0, CUDA 13.0 build"


def test_a_build_for_another_machine_than_this_is_named(torch, card, no_kernel, tmp_path):
    card(True)
    assert found("accelerator").found.endswith("; there is an NVIDIA card: `make run GPU=1` brings the build for it")
    torch.version.cuda = "13.0"
    assert found("accelerator").found.endswith("which cannot use the NVIDIA card here: its driver may be too old")
    card(False)
    library = tmp_path / "nvidia" / "cublas" / "lib.so"
    library.parent.mkdir(parents=True)
    with library.open("wb") as file:
        file.truncate(200_000_000)
    assert "CUDA 13.0 build, and no NVIDIA card: 0.2 GB could go" in found("accelerator").found


def test_steps_on_the_gpu_are_checked_when_asked_for(monkeypatch, no_kernel):
    right, wrong = Outcome("plain", 0.1, 0.2, 0.01, 1.0), Outcome("captured", 3.0, 0.2, 0.001, 1.0)
    outcomes = {name: (right,) for name in ZOO} | {"mnist-vae-gpu": (right, wrong)}
    monkeypatch.setattr("course_lib.training.smoke.smoke", lambda preset, *_: Smoke(preset.name, outcomes[preset.name]))
    monkeypatch.setattr("course_lib.training.devices.choose_device", lambda: device("cuda"))
    steps = [check for check in examine(gpu=True) if check.name == "steps"]
    assert [check.ok for check in steps] == [name != "mnist-vae-gpu" for name in ZOO]
    (failed,) = (check for check in steps if not check.ok)
    assert "WRONG: captured 1 ms a step, 3 nats off where 0.2 can be rounding" in failed.found
    assert "zoo --minutes 9 --only mnist-vae-gpu" in failed.remedy


def test_without_a_gpu_its_steps_cannot_be_checked(monkeypatch, no_kernel):
    monkeypatch.setattr("course_lib.training.devices.choose_device", lambda: device("cpu"))
    (check,) = (check for check in examine(gpu=True) if check.name == "steps")
    assert not check.ok and check.found == "torch finds no GPU to take them on"


def test_a_missing_torch_is_found(monkeypatch, no_kernel):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    check = found("accelerator")
    assert "notebooks 03 to 06 need" in check.found
    assert "pip install" in check.remedy


def test_a_torch_that_does_not_import_is_found(torch, monkeypatch, no_kernel):
    original = builtins.__import__

    def broken(name, *rest):
        if name == "torch":
            raise OSError("a library is missing")
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", broken)
    check = found("accelerator")
    assert "OSError: a library is missing" in check.found
    assert check.remedy.endswith("pip uninstall --yes torch")


def test_a_kernel_that_does_not_start_is_found(monkeypatch):
    from jupyter_client import KernelManager

    monkeypatch.setattr(KernelManager, "format_kernel_cmd", lambda self, extra_arguments: [sys.executable, "-c", ""])
    check = found("kernel")
    assert check.found.startswith("the notebook kernel does not answer: ")
    assert check.remedy.endswith("pip install --force-reinstall ipykernel")


def test_a_kernel_that_hangs_is_given_up(monkeypatch):
    from jupyter_client import KernelManager

    monkeypatch.setattr(doctor, "KERNEL_TIMEOUT", 1)
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(KernelManager, "format_kernel_cmd", lambda self, extra_arguments: sleeper)
    assert not found("kernel").ok


def test_a_kernel_without_the_course_is_found(monkeypatch, tmp_path):
    (tmp_path / "notebooks" / "course_lib").mkdir(parents=True)
    (tmp_path / "notebooks" / "course_lib" / "__init__.py").write_text("raise ImportError('elsewhere')")
    monkeypatch.setattr(doctor, "_ROOT", tmp_path)
    assert found("kernel").found == "the notebook kernel fails: ImportError: elsewhere"


def test_a_check_that_breaks_does_not_stop_the_others(monkeypatch, no_kernel):
    def broken():
        raise RuntimeError("never seen before")

    monkeypatch.setattr(doctor, "_memory", broken)
    checks = {check.name: check for check in examine()}
    assert len(checks) == 7
    assert checks["memory"].found == "RuntimeError: never seen before"
    assert not checks["memory"].ok


def test_the_report_shows_the_remedy_under_what_failed():
    text = report([Check("memory", "plenty"), Check("data", "gone", "git checkout")])
    assert text.splitlines() == [
        "ok    memory  plenty",
        "FAIL  data    gone",
        "              mend it with: git checkout",
        "",
        "1 of 2 checks failed.",
    ]
