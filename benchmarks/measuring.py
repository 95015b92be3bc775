"""How the benchmarks measure.

What is compared runs in turns, round after round, because a machine's speed drifts; from each the fastest round
counts, because other programs can only slow it down.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

PROCESSORS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

Show = Callable[[str, list[str], list[list[str]]], None]

# Prepended to what runs in a process of its own.
PEAK_MEGABYTES = """
def peak_megabytes():
    # Not ru_maxrss: on Linux a new process inherits the peak of the one that started it.
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))
"""


def fresh_process(expression: str, prelude: str) -> list[float]:
    """The value, a list of numbers, of an expression in a new Python process."""
    program = f"{prelude}\n{PEAK_MEGABYTES}\nimport json\nprint(json.dumps({expression}))"
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def fastest(actions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of each action at its best, all in turns."""
    best = dict.fromkeys(actions, np.inf)
    for _ in range(rounds):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            best[name] = min(best[name], time.perf_counter() - start)
    return best
