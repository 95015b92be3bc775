"""The classroom: what participants get, and where they are stuck."""

from __future__ import annotations

import argparse
from pathlib import Path

from course_lib.publishing.marking.warning import WARNING

__all__ = ["add"]

WHO = """\
A participant is called like the folder in FOLDER that the notebook lies in (anna/01_monte_carlo.ipynb) or, if it lies
in FOLDER itself, like the file without the notebook's name (anna_01_monte_carlo.ipynb, anna.ipynb)."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands of this file to the command line."""
    summary = "write what participants get: notebooks without solutions, the library, one command that installs it"
    release = commands.add_parser(
        "release", help=summary, description=f"{summary.capitalize()}, as a folder and as a zip of it."
    )
    release.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="a folder that is not there yet, or is empty"
    )
    release.add_argument(
        "--wheels", action="store_true", help="with all packages, for machines like this one without a network"
    )
    release.add_argument(
        "--address",
        metavar="URL",
        help="where you will publish the library's wheel; each notebook then installs it by itself, as Colab needs it",
    )
    release.add_argument(
        "--nbgrader", action="store_true", help="instead a course for nbgrader, with solutions and points: yours alone"
    )
    release.set_defaults(command=_release)

    summary = "run a class's notebooks and show where the class is stuck; this executes other people's code"
    warning = WARNING.format(folder="/full/path/FOLDER", out="/full/path/OUT")
    marks = commands.add_parser(
        "marks",
        help=summary,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"{summary.capitalize()}.\n\n{warning}\n{WHO}",
    )
    marks.add_argument("folder", type=Path, metavar="FOLDER", help="has the filled-in notebooks, at any depth")
    marks.add_argument(
        "--out", type=Path, required=True, metavar="OUT", help="a folder of its own for marks.csv and marks.html"
    )
    marks.add_argument("--seconds", type=float, default=1800, help="that a notebook may take (%(default)s)")
    marks.add_argument(
        "--cell-seconds", type=float, default=120, help="that a changed cell or a check may take (%(default)s)"
    )
    marks.add_argument("--gigabytes", type=float, default=4, help="of memory that a notebook may take (%(default)s)")
    marks.add_argument(
        "--jobs", type=int, help="notebooks at a time (default: one for two processors, as memory allows)"
    )
    marks.set_defaults(command=_marks)


def _release(options: argparse.Namespace) -> int:
    from course_lib.publishing.nbgrader_course import nbgrader_course
    from course_lib.publishing.release import release

    if not options.nbgrader:
        release(options.out, wheels=options.wheels, address=options.address)
    elif options.wheels or options.address:
        raise ValueError("--nbgrader writes a course for nbgrader alone: leave --wheels and --address out.")
    else:
        nbgrader_course(options.out)
    return 0


def _marks(options: argparse.Namespace) -> int:
    from course_lib.publishing.marks import marks

    marks(
        options.folder,
        options.out,
        seconds=options.seconds,
        cell_seconds=options.cell_seconds,
        gigabytes=options.gigabytes,
        jobs=options.jobs,
    )
    return 0
