"""Notebooks that open alone, without an installation: on Colab, for example."""

from __future__ import annotations

import copy
import re
import tomllib

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from course_lib.publishing import NOTEBOOKS

__all__ = ["for_colab"]

# What runs notebooks. Whoever has one open has that, and Colab's own must stay as it is.
TOOLS = {"ipykernel", "jupyterlab", "jupytext", "nbclient", "nbconvert", "nbformat"}


def for_colab(notebook: NotebookNode, wheel_address: str) -> NotebookNode:
    """A copy of ``notebook`` whose first code cell installs the course's library where it is missing.

    Where the library is there, the cell does nothing. Only what its code imports is installed with it, and none of
    what runs notebooks.

    Args:
        notebook: one of the course's, with or without outputs.
        wheel_address: the URL of the library's wheel.

    Raises:
        OSError: this is no checkout of the repository.
    """
    project = tomllib.loads((NOTEBOOKS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.match(r"[\w.-]+", requirement) for requirement in project["dependencies"]]
    needed = [
        f'"{requirement}"'
        for requirement, name in zip(project["dependencies"], names, strict=True)
        if name and name[0] not in TOOLS
    ]
    lines = [
        "# Where the course's library is missing, on Colab for example, this installs",
        "# it, in a minute or two. Elsewhere it does nothing.",
        "import importlib.util",
        "",
        'if importlib.util.find_spec("course_lib") is None:',
        "    %pip install --quiet \\",
        *(f"        {' '.join(needed[i : i + 3])} \\" for i in range(0, len(needed), 3)),
    ]
    lines[-1] = lines[-1].removesuffix(" \\")
    lines += ["    %pip install --quiet --no-deps \\", f"        {wheel_address}"]
    # An id of its own: the text differs with the address.
    install = new_code_cell("\n".join(lines), id="install-course-lib", metadata={"tags": ["install"]})
    alone = copy.deepcopy(notebook)
    is_code = [cell.cell_type == "code" for cell in alone.cells]
    alone.cells.insert(is_code.index(True) if True in is_code else len(is_code), install)
    return alone
