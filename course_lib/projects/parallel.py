"""Chunks that fit a core's cache, worked on by several threads, with results in the order of the chunks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from course_lib.checks import whole_number

__all__ = ["chunk_size", "in_order", "thread_count"]

Result = TypeVar("Result")

# Numbers drawn at a time: 0.8 MB of durations, which stay in a core's cache.
_CHUNK_NUMBERS = 100_000
# Projects drawn at a time, at least, or calls of NumPy would take longer than what they do.
_SMALLEST_CHUNK = 500


def chunk_size(numbers: int) -> int:
    """How many projects to draw at a time, if each takes so many random numbers."""
    return max(_SMALLEST_CHUNK, _CHUNK_NUMBERS // numbers)


def thread_count(threads: int | None) -> int:
    """``threads``, or as many as the process has processors.

    Raises:
        ValueError: it is no whole number of at least 1.
    """
    if threads is not None:
        return whole_number("threads", threads)
    # Only Linux tells a process which processors it may use.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(work: Callable[[int], Result], items: range, threads: int) -> Iterator[Result]:
    """Results of ``work`` in the order of ``items``, a few at a time in flight, stopping at once when interrupted."""
    if threads == 1:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(threads)
    try:
        waiting: list[Future[Result]] = []
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= 2 * threads:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
