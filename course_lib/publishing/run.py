"""Run the course as it is on disk, and hold each notebook's headline against the exact answer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.reader import NotJSONError

from course_lib.estimates import COMPARISON_MIME
from course_lib.files import write_atomically
from course_lib.publishing import BUILD, NOTEBOOKS
from course_lib.publishing.execution import NotebookFailed, execute
from course_lib.publishing.pages import Link, title_of, web_page
from course_lib.publishing.sources import as_bytes, has_tag

__all__ = ["Outcome", "run", "table"]


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
    """Execute the notebooks of ``folder`` in order; keep each as a notebook and as a web page, which loads nothing.

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
    notebooks = [_read(path) for path in paths]
    pages = [Link(f"{path.stem}.html", title_of(n)) for path, n in zip(paths, notebooks, strict=True)]
    neighbours = zip([None, *pages[:-1]], [*pages[1:], None], strict=True)
    outcomes: list[Outcome] = []
    for path, notebook, links in zip(paths, notebooks, neighbours, strict=True):
        try:
            outcomes.append(_run_one(path, notebook, build_folder, links))
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


def _read(path: Path) -> NotebookNode:
    try:
        return nbformat.read(path, as_version=4)
    except (NotJSONError, nbformat.ValidationError):
        raise ValueError(f"{path} is not a notebook.") from None


def _run_one(path: Path, notebook: NotebookNode, build_folder: Path, links: tuple[Link | None, Link | None]) -> Outcome:
    started = time.perf_counter()
    failure: str | None = None
    try:
        execute(notebook, folder=path.parent, title=path.stem)
    except NotebookFailed as error:
        failure = str(error)
    seconds = time.perf_counter() - started
    page = web_page(notebook, before=links[0], after=links[1])
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
