"""Who may import whom, and that half one of the course needs no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Works whether torch is installed or not: it notes the wish and refuses it.
WITHOUT_TORCH = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("torch was asked for")

sys.meta_path.insert(0, NoTorch())
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)


def imports_of(source: Path) -> list[str]:
    """The import statements of a notebook's source, wherever they stand."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    return [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


def test_the_arrows_of_the_design_run_one_way():
    lint_imports = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint_imports, "--no-cache"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_the_refusal_of_torch_works():
    done = python(WITHOUT_TORCH + "import torch.nn")
    assert "ModuleNotFoundError: torch was asked for" in done.stderr


@pytest.mark.parametrize("module", ["course_lib.estimates", "course_lib.projects", "course_lib.publishing.run"])
def test_half_one_imports_without_torch(module):
    done = python(WITHOUT_TORCH + f"import {module}\nassert 'torch' not in sys.modules")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("number", ["01", "02"])
def test_notebooks_01_and_02_import_no_torch(number):
    (source,) = (ROOT / "notebooks" / "source").glob(f"{number}_*.py")
    imports = imports_of(source)
    assert any("course_lib" in line for line in imports)
    done = python(WITHOUT_TORCH + "\n".join(imports) + "\nassert 'torch' not in sys.modules")
    assert done.returncode == 0, done.stderr


def test_no_module_has_grown_too_long_to_have_one_reason():
    """Those of a notebook may: their reason is the notebook."""
    lengths = {
        path: len(path.read_text(encoding="utf-8").splitlines())
        for path in (ROOT / "course_lib").rglob("*.py")
        if not path.name.startswith("notebook_")
    }
    assert {path.name: length for path, length in lengths.items() if length > 400} == {}
