"""The notebooks where learners open them: in JupyterLab, in a browser, on a kernel of their own."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from browser import chromium
from playwright.sync_api import Page

from course_lib.publishing import NOTEBOOKS
from course_lib.publishing.lab import CONFIGURATION, arguments
from course_lib.publishing.sources import has_tag

TOKEN = "a-token-for-the-test"
START = 60_000  # ms until a page or a kernel has to be there
RUN = 240_000  # ms a notebook may take

# In the page's own language: the open notebook, and the figure under its slider.
NOTEBOOK = "window.jupyterapp?.shell.currentWidget"
FIGURE = "document.querySelector('.jp-Cell .jupyter-widgets img')?.src"


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory) -> Path:
    """A copy of the learner's notebooks as if nobody had ever run them; those with a slider as far as that."""
    folder = tmp_path_factory.mktemp("notebooks")
    shutil.copy(NOTEBOOKS / "START.md", folder)
    for name in ("solutions", "source"):
        (folder / name).mkdir()
    for path in NOTEBOOKS.glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in code_cells(notebook):
            cell.execution_count, cell.outputs = None, []
        sliders = [n for n, cell in enumerate(notebook.cells) if has_tag(cell, "widget")]
        del notebook.cells[sliders[-1] + 1 if sliders else None :]
        nbformat.write(notebook, folder / path.name)
    return folder


@pytest.fixture(scope="module")
def lab(notebooks, tmp_path_factory) -> Iterator[str]:
    """The address of a JupyterLab on those notebooks, with nobody's settings."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = tmp_path_factory.mktemp("home")
    folders = {name: str(home) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    folders["JUPYTER_CONFIG_PATH"] = str(CONFIGURATION)
    command = [sys.executable, "-m", "jupyterlab", *arguments(notebooks), "--no-browser", "--allow-root"]
    command += ["--expose-app-in-browser", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"]
    command += [f"--IdentityProvider.token={TOKEN}"]
    log = home / "log"
    with log.open("w") as stream:
        server = subprocess.Popen(command, env=os.environ | folders, stdout=stream, stderr=stream)
    try:
        address = f"http://127.0.0.1:{port}"
        give_up = time.monotonic() + START / 1000
        while not answers(f"{address}/api"):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < give_up, log.read_text()
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=30)


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as browser:
        yield browser.new_page()


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=1):
            return True
    except OSError:
        return False


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def run_all_cells(page: Page, lab: str, path: Path) -> nbformat.NotebookNode:
    """Open a notebook, run it from top to bottom, save it, and return what was saved."""
    page.set_default_timeout(START)
    page.goto(f"{lab}/lab/tree/{path.name}?token={TOKEN}&reset")
    page.wait_for_function(f"{NOTEBOOK}?.sessionContext?.kernelDisplayStatus === 'idle'")
    # Started and not awaited: a script in the page has no time limit, waiting for its result has one.
    page.evaluate(
        """() => {
            const commands = window.jupyterapp.commands;
            commands.execute("notebook:run-all-cells")
                .then(() => commands.execute("docmanager:save"))
                .then(() => { window.outcome = "saved"; }, error => { window.outcome = String(error); });
        }"""
    )
    page.wait_for_function("window.outcome", timeout=RUN)
    assert page.evaluate("window.outcome") == "saved"
    return nbformat.read(path, as_version=4)


def assert_every_cell_ran(notebook: nbformat.NotebookNode) -> None:
    cells = code_cells(notebook)
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert sum(bool(cell.outputs) for cell in cells) > len(cells) / 4


def test_the_start_page_leads_to_the_notebooks_and_no_folder_stands_in_between(page, lab):
    page.set_default_timeout(START)
    page.goto(f"{lab}/?token={TOKEN}")
    start = page.locator(".jp-MarkdownViewer")
    start.get_by_role("heading", level=1).wait_for()
    listing = page.locator(".jp-DirListing-itemText")
    listing.filter(has_text="06_").wait_for()
    names = listing.all_inner_texts()
    assert names == sorted(path.name for path in [*NOTEBOOKS.glob("*.ipynb"), NOTEBOOKS / "START.md"])
    start.get_by_role("link", name="1. Monte Carlo").click()
    page.wait_for_function(f"{NOTEBOOK}?.context?.path?.startsWith('01_')")


def test_a_folder_without_notebooks_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"There are no notebooks in .*: name the folder that has them\."):
        arguments(tmp_path)


def test_notebook_02_runs_as_far_as_its_slider_and_moving_its_slider_changes_the_figure(page, lab, notebooks):
    (path,) = notebooks.glob("02_*.ipynb")
    saved = run_all_cells(page, lab, path)
    assert_every_cell_ran(saved)
    index = next(n for n, cell in enumerate(saved.cells) if has_tag(cell, "widget"))
    page.evaluate(f"index => {NOTEBOOK}.content.scrollToItem(index)", index)
    page.wait_for_function(FIGURE)
    before = page.evaluate(FIGURE)
    page.locator(".jp-Cell .widget-slider .noUi-handle").first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"before => ({FIGURE} ?? before) !== before", arg=before)
