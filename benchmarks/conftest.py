"""What the benchmarks print."""

import os

import pytest
from measuring import Show

# Before tqdm is imported, which reads it then: a bar would stand in the tables and in what is timed.
os.environ.setdefault("TQDM_DISABLE", "1")


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Show:
    """Print a table, whether or not pytest captures what tests print."""

    def print_table(title: str, header: list[str], rows: list[list[str]]) -> None:
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        with capsys.disabled():
            print(f"\n\n{title}")
            for row in [header, ["-" * width for width in widths], *rows]:
                first, *others = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
                print(" ", first, *(cell.strip().rjust(width) for cell, width in zip(others, widths[1:], strict=True)))

    return print_table
