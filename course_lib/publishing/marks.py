"""A class's notebooks become a table: who has which exercise right, and where the class is stuck."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import psutil

import course_lib
from course_lib.files import write_atomically
from course_lib.publishing.marking.exercises import Assignment, assignments
from course_lib.publishing.marking.judging import Mark, judge
from course_lib.publishing.marking.kernel import NO_ANSWER, Limits
from course_lib.publishing.marking.page import page
from course_lib.publishing.marking.steps import steps
from course_lib.publishing.marking.submissions import (
    Submission,
    Unreadable,
    copy_companions,
    find,
    identify,
    named,
    plain,
    read,
)
from course_lib.publishing.marking.table import as_csv, as_text
from course_lib.publishing.marking.warning import WARNING

__all__ = ["WARNING", "Mark", "marks"]

# Measured: the hungriest notebook of the course takes a little less than one.
GIGABYTES_EACH = 1.5
STORE = "submissions"  # in the folder for the results: one small file for each notebook


@dataclass
class _Report:
    """What is known so far, and where it is written."""

    out: Path
    assignments: Sequence[Assignment]
    n_submissions: int
    marks: dict[Path, list[Mark]] = field(default_factory=dict)

    @property
    def rows(self) -> list[Mark]:
        """Of all notebooks. A second file with the same notebook of the same participant is told by its name."""
        rows: list[Mark] = []
        seen: set[tuple[str, str]] = set()
        for path in sorted(self.marks):
            found = self.marks[path]
            if seen & {(mark.participant, mark.notebook) for mark in found}:
                found = [replace(mark, participant=f"{mark.participant} ({plain(path.stem)})") for mark in found]
            seen |= {(mark.participant, mark.notebook) for mark in found}
            rows += found
        return rows

    def write(self) -> None:
        text = page(self.rows, self.assignments, n_missing=self.n_submissions - len(self.marks))
        write_atomically({self.out / "marks.csv": as_csv(self.rows), self.out / "marks.html": text.encode()})


def marks(
    folder: Path,
    out: Path,
    *,
    seconds: float = 1800,
    cell_seconds: float = 120,
    gigabytes: float = 4,
    jobs: int | None = None,
    say: Callable[[str], None] = print,
) -> list[Mark]:
    """Run a class's filled-in notebooks and write who has which exercise right.

    **This executes other people's code**; `WARNING`, which comes first, says how to do that safely.

    A participant is called like the folder in ``folder`` that the notebook lies in (``anna/01_monte_carlo.ipynb``) or,
    if it lies in ``folder`` itself, like the file without the notebook's name (``anna_01_monte_carlo.ipynb``,
    ``anna.ipynb``). Which notebook it is, its exercises say and, where they do not, its name.

    Each notebook runs in a kernel of its own, in a copy of its folder, up to its last check and with the course's own
    text in the checks' cells. An error in a cell does not end it. Whatever does is one row that says so.

    Results are written after each notebook. Those of a notebook that has not changed are kept, as long as the course
    has not changed either, so an interrupted call goes on where it was.

    Args:
        folder: the notebooks, at any depth.
        out: receives ``marks.csv`` (participant, notebook, exercise, status, hint), ``marks.html``, a page with a
            picture, and ``submissions/``, what is kept.
        seconds: that a notebook may take.
        cell_seconds: that a check, or a cell that the participant wrote or changed, may take.
        gigabytes: of memory that it may take.
        jobs: how many run at a time; by default one for two processors, and no more than memory has room for.
        say: receives the warning, a line for each notebook, and the table.

    Returns:
        The rows of ``marks.csv``.

    Raises:
        ValueError: there is no notebook in ``folder``, a limit is not positive, or ``out`` is ``folder`` or above it.
        OSError: a file cannot be read or written.
        KeyboardInterrupt: with a message that says what is kept.
    """
    _check(
        folder, out, seconds=seconds, cell_seconds=cell_seconds, gigabytes=gigabytes, jobs=1 if jobs is None else jobs
    )
    course = assignments()
    submissions = find(folder, course, leave_out=out.resolve())
    if not submissions:
        raise ValueError(
            f"There is no notebook in {folder}: put the participants' .ipynb files there, or their folders."
        )
    jobs = jobs or _jobs()
    limits = Limits(seconds, cell_seconds, gigabytes, threads=max(1, _processors() // jobs))
    say(WARNING.format(folder=folder.resolve(), out=out.resolve()))
    say(f"{len(submissions)} notebooks, {jobs} at a time; results in {out}.")
    report = _Report(out, course, len(submissions))
    report.write()
    _run_all(submissions, report, limits, jobs, say)
    say("")
    say(as_text(report.rows, course))
    return report.rows


def _check(folder: Path, out: Path, **positive: float) -> None:
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder: give the one that holds the participants' notebooks.")
    if folder.resolve().is_relative_to(out.resolve()):
        raise ValueError(f"The results need a folder of their own, not {out}, which holds the notebooks.")
    for name, value in positive.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive; got {value:g}.")


def _jobs() -> int:
    room = psutil.virtual_memory().available / (GIGABYTES_EACH * 1e9)
    return max(1, min(_processors() // 2, int(room)))


def _processors() -> int:
    """Those that we may use, which in a container can be fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run_all(
    submissions: Sequence[Submission], report: _Report, limits: Limits, jobs: int, say: Callable[[str], None]
) -> None:
    version = _version(report.assignments)
    cancelled = threading.Event()
    started, n_run = time.monotonic(), 0
    with ThreadPoolExecutor(jobs) as pool:
        waiting: dict[Future[tuple[list[Mark], bool]], Submission] = {}
        try:
            for submission in submissions:
                waiting[pool.submit(_marks_of, submission, report, limits, version, cancelled)] = submission
            while waiting:
                # With a timeout, because on Windows a wait without one does not hear Ctrl-C.
                done, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in done:
                    submission = waiting.pop(future)
                    found, is_new = future.result()
                    report.marks[submission.path] = found
                    n_run += is_new
                    remaining = (time.monotonic() - started) / n_run * len(waiting) if n_run else 0.0
                    say(_line(submission, found, len(report.marks), report.n_submissions, is_new, remaining))
                    if is_new:
                        report.write()
        except BaseException as interruption:
            cancelled.set()
            pool.shutdown(cancel_futures=True)
            report.write()
            if isinstance(interruption, KeyboardInterrupt):
                raise KeyboardInterrupt(
                    f"{len(report.marks)} of {len(submissions)} notebooks are done and in {report.out}. The same "
                    "command goes on with the others."
                ) from None
            raise
    report.write()


def _line(submission: Submission, found: Sequence[Mark], n_done: int, n_all: int, is_new: bool, seconds: float) -> str:
    name = found[0].notebook or plain(submission.path.name)
    exercises = [mark for mark in found if mark.exercise]
    n_right = sum(mark.status == "right" for mark in exercises)
    words = [f"{n_right} of {len(exercises)} right"] if exercises else []
    words += [mark.told for mark in found if mark.status in ("stopped", "unreadable")]
    rest = "as before" if not is_new else f"{_duration(seconds)} to go" if n_done < n_all else "done"
    return f"[{n_done:{len(str(n_all))}}/{n_all}] {submission.participant}, {name}: {'; '.join(words)} ({rest})"


def _duration(seconds: float) -> str:
    return f"about {seconds / 60:.0f} min" if seconds >= 90 else f"about {seconds:.0f} s"


def _marks_of(
    submission: Submission, report: _Report, limits: Limits, version: str, cancelled: threading.Event
) -> tuple[list[Mark], bool]:
    """The marks of one file, and whether they are new."""
    course, participant = report.assignments, submission.participant
    by_name = named(submission.path, course)
    notebook = by_name.name if by_name else ""
    with tempfile.TemporaryDirectory(prefix="marks-", ignore_cleanup_errors=True) as files:
        try:
            cells, digest = read(submission.path)
            assignment = identify(submission.path, cells, course)
            notebook = assignment.name
            key = f"{version} {digest} {copy_companions(submission, Path(files))}"
            kept = _Kept(report.out, submission, key, limits)
            found = kept.read()
            if found is not None:
                return found, False
            found = judge(
                steps(cells, assignment),
                assignment,
                participant=participant,
                files=Path(files),
                limits=limits,
                cancelled=cancelled,
            )
            # A machine that had too much to do may have less next time.
            if not cancelled.is_set() and not any(NO_ANSWER in mark.hint for mark in found):
                kept.write(found)
        except Unreadable as reason:
            found = [Mark(participant, notebook, "", "unreadable", f"{plain(submission.path.name)}: {reason}")]
        except Exception as error:  # of which we do not know; it must not cost the others their rows
            said = f"{plain(submission.path.name)} could not be run ({type(error).__name__}: {plain(str(error))[:300]})"
            found = [Mark(participant, notebook, "", "unreadable", said)]
    return found, True


@dataclass(frozen=True)
class _Kept:
    """The file that remembers the marks of a notebook, as long as nothing has changed that they depend on."""

    out: Path
    submission: Submission
    key: str
    limits: Limits

    @property
    def path(self) -> Path:
        name = hashlib.sha256(str(self.submission.path.resolve()).encode(errors="replace")).hexdigest()[:20]
        return self.out / STORE / f"{name}.json"

    @property
    def _limits(self) -> list[float]:
        return [self.limits.seconds, self.limits.cell_seconds, self.limits.gigabytes]

    def read(self) -> list[Mark] | None:
        try:
            stored = json.loads(self.path.read_text(encoding="utf-8"))
            found = [Mark(**row) for row in stored["marks"]]
            same = stored["key"] == self.key and all(mark.participant == self.submission.participant for mark in found)
            # What ran into a limit may not run into another one.
            if any(mark.status == "stopped" for mark in found):
                same = same and stored["limits"] == self._limits
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return found if same else None

    def write(self, found: Sequence[Mark]) -> None:
        stored = {"key": self.key, "limits": self._limits, "marks": [asdict(mark) for mark in found]}
        write_atomically({self.path: json.dumps(stored, ensure_ascii=False, indent=1).encode()})


def _version(course: Sequence[Assignment]) -> str:
    """A hash of the course: of its library, whose checks judge, and of its notebooks' exercises."""
    digest = hashlib.sha256(repr([assignment.exercises for assignment in course]).encode())
    for path in sorted(Path(course_lib.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
