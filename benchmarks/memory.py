"""What a learner's notebook takes of a machine: peak memory and processor seconds, notebook by notebook, as Markdown.

    .venv/bin/python benchmarks/memory.py            # all notebooks, and JupyterLab by itself
    .venv/bin/python benchmarks/memory.py 03 05      # some of them

Each runs once in a kernel of its own, and the kernel and what it starts are asked five times a second. RSS is all the
memory that a process has in its hands; PSS, on Linux, counts what processes share by its share, so that it can be added
up over learners.
"""

import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import nbformat
import psutil

from course_lib.publishing import NOTEBOOKS
from course_lib.publishing.execution import execute

INTERVAL = 0.2  # seconds
PORT = 18_888
STARTS_WITHIN = 60  # seconds


@dataclass
class Watch:
    """The largest memory, in MB, and the processor seconds of all processes that this one has started."""

    rss: float = 0.0
    pss: float = 0.0
    cpu: float = 0.0

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._cpu_of: dict[int, float] = {}
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL):
            rss = pss = 0.0
            for process in psutil.Process().children(recursive=True):
                try:
                    memory, times = process.memory_full_info(), process.cpu_times()
                except psutil.Error:  # it has just ended
                    continue
                rss += memory.rss / 1e6
                pss += getattr(memory, "pss", 0) / 1e6
                self._cpu_of[process.pid] = times.user + times.system
            self.rss, self.pss = max(self.rss, rss), max(self.pss, pss)
            self.cpu = sum(self._cpu_of.values())


def of_notebook(path: Path) -> Watch:
    notebook = nbformat.read(path, as_version=4)
    with Watch() as watch:
        execute(notebook, folder=path.parent, title=path.stem)
    return watch


def of_jupyterlab() -> Watch:
    """Started, and its page asked for: no notebook is open."""
    options = [
        f"--port={PORT}",
        "--no-browser",
        "--allow-root",
        f"--ServerApp.root_dir={NOTEBOOKS}",
        "--IdentityProvider.token=",
    ]
    with Watch() as watch:
        server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + STARTS_WITHIN
            while True:
                try:
                    urllib.request.urlopen(f"http://localhost:{PORT}/lab", timeout=STARTS_WITHIN).close()
                    break
                except OSError:
                    assert server.poll() is None and time.monotonic() < deadline, "JupyterLab does not start"
                    time.sleep(INTERVAL)
            time.sleep(3)
        finally:
            server.terminate()
            server.wait()
    return watch


def row(name: str, watch: Watch) -> str:
    pss = f"{watch.pss:.0f}" if watch.pss else "-"
    return f"| {name} | {watch.rss:.0f} | {pss} | {watch.cpu:.0f} |"


def main(numbers: list[str]) -> None:
    rows = [] if numbers else [row("JupyterLab", of_jupyterlab())]
    for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")):
        if not numbers or path.stem[:2] in numbers:
            rows.append(row(path.stem, of_notebook(path)))
            print(rows[-1], flush=True)
    print(f"\n{psutil.cpu_count()} processors, {psutil.virtual_memory().total / 1e9:.0f} GB\n")
    print("| | peak RSS, MB | peak PSS, MB | processor seconds |\n| --- | ---: | ---: | ---: |", *rows, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
