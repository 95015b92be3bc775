"""Execute a notebook in a fresh kernel, with progress cell by cell."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_output
from tqdm import tqdm

from course_lib.publishing.sources import has_tag

__all__ = ["NotebookFailed", "execute"]

CELL_TIMEOUT = 600  # seconds
BAR = "{desc} |{bar:30}| cell {n_fmt}/{total_fmt}, {elapsed}"


class NotebookFailed(ValueError):
    """A notebook did not run to its end; the message says where and why."""


def execute(notebook: NotebookNode, *, folder: Path, title: str) -> None:
    """Run the code cells in order and put their outputs into ``notebook``.

    A terminal shows a progress bar, a log one line per cell. A slider needs a live kernel, so the output of a
    cell tagged ``widget`` is an invitation to run it.

    Args:
        notebook: changed in place, up to the failing cell if one fails.
        folder: the kernel's working directory.
        title: what the progress is called.

    Raises:
        NotebookFailed: a cell raised an error or took too long, or the kernel died or did not start.
    """
    n_cells = sum(cell.cell_type == "code" for cell in notebook.cells)
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        coalesce_streams=True,
        record_timing=False,
        # ipykernel warns at each start that it talks over local TCP, as every kernel on Windows has to.
        extra_arguments=["--log-level=CRITICAL"],
    )
    client.reset_execution_trackers()
    # Left to itself, the client answers for a slider's output area by sending on the channel where it waits for the
    # cell's reply, and sometimes waits for ever (nbclient issue 312). Nobody looks at that area here.
    client.comm_open_handlers = {"jupyter.widget": lambda _: None}
    # With another backend than the notebook's own, figures would not appear in the outputs.
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    # Whether a progress bar appears depends on the machine's mood, and a stored notebook should not.
    environment["TQDM_DISABLE"] = "1"
    number = 0
    try:
        with (
            tqdm(total=n_cells, desc=title, bar_format=BAR, file=sys.stdout, disable=None) as bar,
            client.setup_kernel(env=environment),
        ):
            if bar.disable:
                print(f"{title}: {n_cells} cells", flush=True)
            for index, cell in enumerate(notebook.cells):
                if cell.cell_type != "code":
                    continue
                number += 1
                started = time.perf_counter()
                client.execute_cell(cell, index)
                if has_tag(cell, "widget"):
                    cell.outputs = [_invitation()]
                bar.update()
                if bar.disable:
                    print(f"  cell {number}/{n_cells}  {time.perf_counter() - started:.1f} s", flush=True)
    except KeyboardInterrupt:
        # The interrupted cell still ends in an error, which nobody waits for any more and asyncio would print.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        raise
    except CellExecutionError as error:
        reason = f"{error.ename}: {error.evalue}".strip().partition("\n")[0]
        raise NotebookFailed(f"failed in cell {number}: {reason}") from None
    except CellTimeoutError:
        raise NotebookFailed(f"failed in cell {number}: it took longer than {CELL_TIMEOUT} s") from None
    except DeadKernelError:
        raise NotebookFailed(f"failed in cell {number}: the kernel died, perhaps for want of memory") from None
    except RuntimeError as error:
        raise NotebookFailed(f"the kernel did not start: {error}") from None


def _invitation() -> NotebookNode:
    return new_output("display_data", data={"text/markdown": "*Run this cell to use the slider.*"})
