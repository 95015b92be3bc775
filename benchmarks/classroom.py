"""A class of 24, each with the whole of notebook 01: seconds, memory, and the page that an instructor would see.

    .venv/bin/python benchmarks/classroom.py FOLDER [JOBS]

writes the notebooks to FOLDER/class and what came of them to FOLDER/marks, and compares it with what was put in.
"""

import sys
import threading
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import simulated_class

from course_lib.publishing.marks import marks


def main(folder: Path, jobs: int | None) -> None:
    participants = simulated_class.a_class(simulated_class.blank())
    for participant in participants:
        participant.hand_in(folder / "class" / participant.name / "01_monte_carlo.ipynb")
    peaks = {"our own": 0, "a kernel's": 0}
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(peaks, done))
    watcher.start()
    started = time.perf_counter()
    found = marks(folder / "class", folder / "marks", cell_seconds=30, gigabytes=2, jobs=jobs)
    print(f"\n{time.perf_counter() - started:.0f} s; peak memory in MB: {peaks}")
    done.set()
    watcher.join()
    rows = {(mark.participant, mark.exercise): (mark.status, mark.hint) for mark in found}
    for participant in participants:
        for exercise, (status, words) in participant.expected.items():
            got = rows.get((participant.name, exercise), ("no row", ""))
            if got[0] != status or words not in got[1]:
                print(f"{participant.name}, {exercise}: {status} with {words!r} was put in, and {got} came out")


def _watch(peaks: dict[str, int], done: threading.Event) -> None:
    me = psutil.Process()
    while not done.wait(0.2):
        peaks["our own"] = max(peaks["our own"], me.memory_info().rss // 10**6)
        for child in me.children():
            try:
                peaks["a kernel's"] = max(peaks["a kernel's"], child.memory_info().rss // 10**6)
            except psutil.Error:
                continue


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
