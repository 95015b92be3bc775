"""Run the course as it is on disk, and hold each notebook's headline against the exact answer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
from jinja2 import DictLoader
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from nbformat.reader import NotJSONError

from course_lib.estimates import COMPARISON_MIME
from course_lib.files import write_atomically
from course_lib.publishing import BUILD, NOTEBOOKS
from course_lib.publishing.execution import NotebookFailed, execute
from course_lib.publishing.sources import as_bytes, has_tag

__all__ = ["Outcome", "run", "table"]

# JupyterLab's own page, whose pictures would leave out the alternative texts of the notebook.
PAGE = """\
{%- extends "lab/index.html.j2" -%}
{%- block data_png -%}
{%- set alt = output | get_metadata("alt", "image/png") -%}
{{ super() | replace("<img ", '<img alt="' ~ (alt | escape_html) ~ '" ', 1) if alt else super() }}
{%- endblock -%}
"""


@dataclass(frozen=True)
class Outcome:
    """What one notebook came to; the strings are ready to print."""

    notebook: str
    seconds: float
    estimate: str = "-"
    exact: str = "-"
    verdict: str = "-"
    ok: bool = True


def run(*, folder: Path = NOTEBOOKS, build_folder: Path = BUILD) -> list[Outcome]:
    """Execute the notebooks of ``folder`` in order; keep each as a notebook and as a web page.

    A notebook that fails is kept up to its failing cell, and the next one runs.

    Raises:
        ValueError: there is no notebook, or one is not in the notebook format.
        OSError: a file cannot be read or written.
        KeyboardInterrupt: with a message that says what was kept.
    """
    paths = sorted(folder.glob("[0-9]*.ipynb"))
    if not paths:
        raise ValueError(
            f"There are no notebooks in {folder}: they come with the course's repository, not with its wheel."
        )
    outcomes: list[Outcome] = []
    for path in paths:
        try:
            outcomes.append(_run_one(path, build_folder))
        except KeyboardInterrupt:
            message = f"{len(outcomes)} of {len(paths)} notebooks ran and are kept in {build_folder}."
            raise KeyboardInterrupt(message) from None
    return outcomes


def table(outcomes: list[Outcome]) -> str:
    """The outcomes as lines of text under a heading."""
    rows = [["notebook", "seconds", "estimate", "exact", "verdict"]]
    rows += [[o.notebook, f"{o.seconds:7.1f}", o.estimate, o.exact, o.verdict] for o in outcomes]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _run_one(path: Path, build_folder: Path) -> Outcome:
    try:
        notebook = nbformat.read(path, as_version=4)
    except (NotJSONError, nbformat.ValidationError):
        raise ValueError(f"{path} is not a notebook.") from None
    started = time.perf_counter()
    failure: str | None = None
    try:
        execute(notebook, folder=path.parent, title=path.stem)
    except NotebookFailed as error:
        failure = str(error)
    seconds = time.perf_counter() - started
    page = _web_page(notebook, title=path.stem)
    write_atomically({build_folder / path.name: as_bytes(notebook), build_folder / f"{path.stem}.html": page.encode()})
    if failure is not None:
        return Outcome(path.stem, seconds, verdict=failure, ok=False)
    headline = _headline(notebook)
    if headline is None:
        return Outcome(path.stem, seconds)
    return Outcome(
        path.stem,
        seconds,
        headline["estimate"],
        headline["exact"],
        headline["verdict"],
        ok=headline["agrees"],
    )


def _headline(notebook: NotebookNode) -> NotebookNode | None:
    for cell in notebook.cells:
        if cell.cell_type == "code" and has_tag(cell, "headline"):
            for output in cell.outputs:
                if COMPARISON_MIME in output.get("data", {}):
                    return output.data[COMPARISON_MIME]
    return None


def _web_page(notebook: NotebookNode, *, title: str) -> str:
    exporter = HTMLExporter(extra_loaders=[DictLoader({"described.html.j2": PAGE})], template_file="described.html.j2")
    page, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": title}})
    return page
