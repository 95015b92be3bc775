"""Notebooks: run, opened, rebuilt."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands of this file to the command line."""
    summary = "run the notebooks in order and compare their estimates with the exact answers"
    run = commands.add_parser("run", help=summary, description=f"{summary.capitalize()}.")
    run.set_defaults(command=_run)

    summary = "open JupyterLab on the notebooks, at their start page"
    lab = commands.add_parser("lab", help=summary, description=f"{summary.capitalize()}. Ctrl-C stops it.")
    lab.add_argument(
        "folder", nargs="?", type=Path, metavar="FOLDER", help="of notebooks, if not the course's own ones"
    )
    lab.set_defaults(command=_lab)

    summary = "rebuild the stored notebooks that are no longer what notebooks/source says"
    build = commands.add_parser("build", help=summary, description=f"{summary.capitalize()}.")
    build.add_argument(
        "names", nargs="*", metavar="NAME", help="a number or a name, such as 01, to rebuild in any case (default: all)"
    )
    build.add_argument("--all", action="store_true", help="rebuild also what is up to date")
    build.set_defaults(command=_build)


def _run(_: argparse.Namespace) -> int:
    from course_lib.publishing import BUILD
    from course_lib.publishing.run import run, table

    outcomes = run()
    print(f"\n{table(outcomes)}\n\nThe executed notebooks, also as web pages, are in {BUILD}.")
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def _lab(options: argparse.Namespace) -> int:
    from course_lib.publishing.lab import open_lab

    open_lab(options.folder)
    return 0


def _build(options: argparse.Namespace) -> int:
    from course_lib.publishing.build import build

    build(options.names, everything=options.all)
    return 0
