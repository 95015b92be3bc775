"""The command line, ``python -m course_lib``: `course_lib.commands` has what it can do."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from course_lib.commands import classroom, machine, models, notebooks


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0 is success, 1 a failure told in one sentence on stderr, 2 a wrong use, 130 an interruption. With
    ``COURSE_TRACEBACK=1`` in the environment a failure is raised instead of told.
    """
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except (ValueError, OSError, FloatingPointError, ImportError) as error:
        if os.environ.get("COURSE_TRACEBACK", "0") not in ("", "0"):
            raise
        is_missing = isinstance(error, ModuleNotFoundError)
        remedy = "; `python -m course_lib doctor` says how to install it." if is_missing else ""
        print(f"course_lib: {error}{remedy}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interruption:
        print(f"\nInterrupted. {str(interruption) or 'Nothing was changed.'}", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m course_lib",
        description="The course's command line.",
        epilog="An error is told in one sentence; with COURSE_TRACEBACK=1 in the environment, with its traceback.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (machine, notebooks, classroom, models):
        group.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
