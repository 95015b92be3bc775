"""The command line: ``python -m course_lib doctor|run|build``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

# Commands import what they need when they run: `doctor` has to start where packages are missing.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0 is success, 1 a failure told in one sentence on stderr, 2 a wrong use, 130 an interruption.
    """
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except ModuleNotFoundError as error:
        print(f"course_lib: {error}; `python -m course_lib doctor` says how to install it.", file=sys.stderr)
    except (ValueError, OSError) as error:
        print(f"course_lib: {error}", file=sys.stderr)
    except KeyboardInterrupt as interruption:
        print(f"\nInterrupted. {str(interruption) or 'Nothing was changed.'}", file=sys.stderr)
        return 130
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m course_lib", description="The course's command line.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    summary = "check that this machine is ready for the course"
    doctor = commands.add_parser("doctor", help=summary, description=f"{summary.capitalize()}.")
    doctor.set_defaults(command=_doctor)

    summary = "run the notebooks in order and compare their estimates with the exact answers"
    run = commands.add_parser("run", help=summary, description=f"{summary.capitalize()}.")
    run.set_defaults(command=_run)

    summary = "rebuild the stored notebooks from notebooks/source"
    build = commands.add_parser("build", help=summary, description=f"{summary.capitalize()}.")
    build.add_argument("names", nargs="*", metavar="NAME", help="a number or a name, such as 01 (default: all)")
    build.set_defaults(command=_build)
    return parser


def _doctor(_: argparse.Namespace) -> int:
    from course_lib.doctor import examine, report

    checks = examine()
    print(report(checks))
    return 0 if all(check.ok for check in checks) else 1


def _run(_: argparse.Namespace) -> int:
    from course_lib.notebooks import BUILD
    from course_lib.notebooks.run import run, table

    outcomes = run()
    print(f"\n{table(outcomes)}\n\nThe executed notebooks, also as web pages, are in {BUILD}.")
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def _build(options: argparse.Namespace) -> int:
    from course_lib.notebooks.build import build

    build(options.names)
    return 0


if __name__ == "__main__":
    sys.exit(main())
