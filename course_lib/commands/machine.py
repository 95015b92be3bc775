"""What concerns the machine: is it ready, and are the data here?"""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands of this file to the command line."""
    summary = "check that this machine is ready for the course"
    doctor = commands.add_parser("doctor", help=summary, description=f"{summary.capitalize()}.")
    doctor.add_argument("--gpu", action="store_true", help="also take ten steps of each model of the zoo on the GPU")
    doctor.set_defaults(command=_doctor)

    summary = "hold estimates of each kind against exact answers, and run notebook 01: half a minute"
    check = commands.add_parser("check", help=summary, description=f"{summary.capitalize()}.")
    check.set_defaults(command=_check)

    summary = "fetch data sets and check them"
    data = commands.add_parser("data", help=summary, description=f"{summary.capitalize()}.")
    data.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        default=["mnist"],
        help="digits, mnist, cifar10 or cifar10-sample; or the path of your own images (default: mnist)",
    )
    data.set_defaults(command=_data)


def _doctor(options: argparse.Namespace) -> int:
    from course_lib.doctor import examine, report

    checks = examine(gpu=options.gpu)
    print(report(checks))
    return 0 if all(check.ok for check in checks) else 1


def _check(_: argparse.Namespace) -> int:
    from course_lib.selftest import examine, report

    findings = examine(say=lambda text: print(text, flush=True))
    print(f"\n{report(findings)}")
    return 0 if all(finding.ok for finding in findings) else 1


def _data(options: argparse.Namespace) -> int:
    from course_lib import datasets

    try:
        for name in options.names:
            is_path = name not in datasets.SPLITS and (Path(name).name != name or Path(name).exists())
            data = datasets.from_path(name) if is_path else datasets.load(name)
            line = repr(data)
            if data.shape[0] == 1:
                entropy = datasets.binarization_entropy(data.test).mean().item()
                line += f"; binarizing a test image has an entropy of {entropy:.2f} nats"
            print(line, flush=True)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Files that had arrived whole are kept.") from None
    return 0
