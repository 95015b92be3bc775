"""What a class handed in: which files, whose, and which of the course's notebooks each is."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from course_lib.publishing.marking.exercises import Assignment, called_check

__all__ = ["Submission", "Unreadable", "copy_companions", "find", "identify", "named", "plain", "read"]

LARGEST_NOTEBOOK = 100_000_000  # bytes
LARGEST_COMPANIONS = 500_000_000
_MODULE = re.compile(r"course_lib\.exercises\s+import\s+notebook_(\d\d)\b")
# Of a name, once the notebook's is taken out: what joined the two, and a browser's or JupyterLab's mark of a copy.
_RESTS = re.compile(r"^[\s_.-]+|[\s_.-]*(\(\d+\)|-Copy\d*)?[\s_.-]*$")


class Unreadable(ValueError):
    """A file is none of the course's notebooks; the message says what it is."""


@dataclass(frozen=True)
class Submission:
    """A notebook that somebody handed in.

    Attributes:
        path: the file, or a folder that holds no notebook.
        participant: whose it is.
        folder: what lies in it, but for notebooks, is copied to where the notebook runs.
        with_folders: whether that includes the folders in it.
    """

    path: Path
    participant: str
    folder: Path
    with_folders: bool


def find(folder: Path, assignments: Sequence[Assignment], *, leave_out: Path) -> list[Submission]:
    """The notebooks in ``folder`` and below, in the order of their names.

    A participant is called like the folder directly in ``folder`` that the file is in, at any depth. A file that lies
    in ``folder`` itself is called after its participant, with or without the notebook's name before or behind it.

    Args:
        folder: where they are. Hidden folders in it do not count.
        assignments: the course's notebooks.
        leave_out: a folder that may lie in ``folder`` and holds no submissions.
    """
    found: list[Submission] = []
    empty = {path: True for path in sorted(folder.iterdir()) if _is_folder(path) and path.resolve() != leave_out}
    for path in _notebooks(folder, leave_out):
        parts = path.relative_to(folder).parts
        if len(parts) == 1:
            found.append(Submission(path, _whose(path.stem, assignments), folder, with_folders=False))
        else:
            empty[folder / parts[0]] = False
            found.append(Submission(path, plain(parts[0]), path.parent, with_folders=True))
    found += [Submission(path, plain(path.name), path, with_folders=False) for path in empty if empty[path]]
    return sorted(found, key=lambda submission: (submission.participant.casefold(), str(submission.path)))


def read(path: Path) -> tuple[list[NotebookNode], str]:
    """The cells of a notebook, and a hash of the file.

    Raises:
        Unreadable: it is no notebook.
    """
    if path.is_dir():
        raise Unreadable("there is no notebook in this folder.")
    try:
        if path.stat().st_size > LARGEST_NOTEBOOK:
            raise Unreadable(f"the file is larger than {LARGEST_NOTEBOOK / 1e6:.0f} MB.")
        contents = path.read_bytes()
    except OSError as error:
        raise Unreadable(f"the file cannot be read ({error.strerror or error}).") from None
    if not contents.strip():
        raise Unreadable("the file is empty.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of cells without ids
            cells = nbformat.reads(contents.decode("utf-8-sig"), as_version=4).cells
        if not all(isinstance(cell.source, str) and isinstance(cell.cell_type, str) for cell in cells):
            raise ValueError
    except Exception:  # nbformat's, json's, and those of what it takes for a notebook
        raise Unreadable("the file is no notebook.") from None
    return cells, hashlib.sha256(contents).hexdigest()


def identify(path: Path, cells: Sequence[NotebookNode], assignments: Sequence[Assignment]) -> Assignment:
    """Which of the course's notebooks this is: by its exercises or, where they do not say, by its name.

    Raises:
        Unreadable: it is none of them.
    """
    votes: Counter[str] = Counter()
    by_name = named(path, assignments)
    if by_name:
        votes[by_name.name] += 1
    for cell in cells:
        if cell.cell_type == "code":
            module = _MODULE.search(cell.source)
            function, own_id = called_check(cell.source), cell.get("id", "")
            for assignment in assignments:
                is_its_own = any(
                    function == exercise.function or (own_id and own_id in (exercise.check_id, exercise.answer_id))
                    for exercise in assignment.exercises
                )
                votes[assignment.name] += 2 * is_its_own
                votes[assignment.name] += 3 * bool(module and module[1] == assignment.number)
    best, n_votes = max(votes.items(), key=lambda item: item[1], default=("", 0))
    if not n_votes:
        raise Unreadable("it is none of the course's notebooks: neither its name nor a cell says which.")
    return next(assignment for assignment in assignments if assignment.name == best)


def named(path: Path, assignments: Sequence[Assignment]) -> Assignment | None:
    """The notebook that a file's name says it is."""
    return next((a for a in assignments if _pattern(a).search(path.stem)), None)


def copy_companions(submission: Submission, target: Path) -> str:
    """Copy what lies beside a notebook, such as a plan or pictures, and return a hash of it.

    Links, hidden files, other notebooks and a ``course_lib``, which would stand in for the installed one, are left out.

    Raises:
        Unreadable: it is too much.
    """
    digest, size = hashlib.sha256(), 0
    for path in _files(submission.folder):
        relative = path.relative_to(submission.folder)
        is_own = submission.with_folders or len(relative.parts) == 1
        if not is_own or path.suffix == ".ipynb" or "course_lib" in (relative.parts[0], path.stem):
            continue
        size += path.stat().st_size
        if size > LARGEST_COMPANIONS:
            raise Unreadable(f"the files beside the notebook are larger than {LARGEST_COMPANIONS / 1e6:.0f} MB.")
        (target / relative).parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):  # a file that cannot be read is missing to the notebook, too
            shutil.copyfile(path, target / relative)
            digest.update(f"{relative.as_posix()}\n".encode(errors="replace"))
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def plain(text: str) -> str:
    """A text of printable characters on one line, as terminals, tables and pages can show it."""
    text = " ".join(text.encode("utf-8", "replace").decode().split())
    return "".join(character if character.isprintable() else "?" for character in text)


def _whose(stem: str, assignments: Sequence[Assignment]) -> str:
    for assignment in assignments:
        rest = _pattern(assignment).sub("_", stem, count=1)
        if rest != stem and _RESTS.sub("", _RESTS.sub("", rest)):
            return plain(_RESTS.sub("", _RESTS.sub("", rest)))
    return plain(stem)


def _pattern(assignment: Assignment) -> re.Pattern[str]:
    """Its name, also with spaces or dashes; of a notebook known by its number alone, the number and words after it."""
    words = re.split(r"[_-]", assignment.name)
    text = r"[\s_.-]*".join(map(re.escape, words)) if len(words) > 1 else rf"{assignment.number}_[a-z_]+"
    return re.compile(rf"(?<![0-9A-Za-z]){text}(?![0-9A-Za-z])", re.IGNORECASE)


def _notebooks(folder: Path, leave_out: Path) -> list[Path]:
    return [path for path in _files(folder, leave_out) if path.suffix.lower() == ".ipynb"]


def _files(folder: Path, leave_out: Path | None = None) -> Iterator[Path]:
    """Plain files, without what is hidden and without following links."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if not _is_hidden(name) and not (leave_out and (Path(place) / name).resolve() == leave_out)
        )
        for name in sorted(names):
            path = Path(place, name)
            if not _is_hidden(name) and path.is_file() and not path.is_symlink():
                yield path


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not _is_hidden(path.name)


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__"))
