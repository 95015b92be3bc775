"""JupyterLab as a learner wants it: a start page, and no folder between them and the notebooks."""

from __future__ import annotations

import os
from pathlib import Path

from course_lib.publishing import NOTEBOOKS

__all__ = ["CONFIGURATION", "arguments", "open_lab"]

START = "START.md"
# In the list of files; links of the start page still lead into them.
HIDDEN = ("source", "solutions", "__pycache__", "*.pyc")
# A folder for JUPYTER_CONFIG_PATH: text files open as pages, code wraps in a narrow window, no question about news.
CONFIGURATION = Path(__file__).with_name("jupyter")


def arguments(folder: Path | None = None) -> list[str]:
    """What to tell JupyterLab.

    Args:
        folder: has the notebooks; by default the course's own, or the folder ``notebooks`` here.

    Raises:
        ValueError: the folder has no notebooks.
    """
    folder = folder or (NOTEBOOKS if NOTEBOOKS.is_dir() else Path("notebooks"))
    if not any(folder.glob("*.ipynb")):
        raise ValueError(f"There are no notebooks in {folder}: name the folder that has them.")
    start = f"/{START}" if (folder / START).is_file() else ""
    return [
        f"--ServerApp.root_dir={folder.resolve()}",
        f"--LabApp.default_url=/lab/tree{start}",
        f"--ContentsManager.hide_globs={list(HIDDEN)}",
    ]


def open_lab(folder: Path | None = None) -> None:
    """Start JupyterLab on a folder of notebooks and open it in a browser; returns when it is stopped.

    Args:
        folder: as in `arguments`.

    Raises:
        ValueError: the folder has no notebooks.
    """
    from jupyterlab.labapp import LabApp

    options = arguments(folder)
    others = os.environ.get("JUPYTER_CONFIG_PATH")
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join([str(CONFIGURATION), *([others] if others else [])])
    LabApp.launch_instance(argv=options)
