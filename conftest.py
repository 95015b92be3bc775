"""How pytest treats the stored notebooks."""

import os
import signal
from collections.abc import Iterator

import pytest
from nbval.plugin import IPyNbCell, IPyNbFile

# pytest runs two workers (pyproject.toml). With two threads each, torch's small products would wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# With another backend than the notebook's own, kernels would send no figures to compare.
os.environ.pop("MPLBACKEND", None)
# Where the programs that are started are JupyterLab, nbgrader, Sphinx, pip.
UNMEASURED = {"test_jupyterlab.py", "test_nbgrader.py", "test_release.py", "test_site.py"}
# A shell starts what runs in the background with Ctrl-C ignored, and so would be everything that is started here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Compare what cells compute, not what they warn about: warnings depend on versions and machines.

    The stored notebooks hold no warning at all, and a test of its own sees to that.
    """
    if isinstance(collector, IPyNbFile):
        collector.skip_compare = (*collector.skip_compare, "stderr")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """The processes of these are not measured: they would be slower, and others show that what they run is right.

    The kernel of a stored notebook also ends without saying what it reached.
    """
    with pytest.MonkeyPatch.context() as environment:
        if isinstance(item, IPyNbCell) or item.path.name in UNMEASURED:
            environment.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        return (yield)
