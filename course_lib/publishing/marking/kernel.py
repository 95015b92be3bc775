"""A kernel for code that is not trusted to end, to be brief, or to be modest."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import zmq
from jupyter_client.session import Session

from course_lib.exercises.verdict import VERDICT_MIME

__all__ = ["NO_ANSWER", "Kernel", "KernelEnded", "Limits", "Said"]

OUTPUT = 20_000_000  # bytes that a cell may print and show
MESSAGE = 16_000_000  # bytes of one message, beyond which ZeroMQ hangs up; a large figure has a tenth
PROCESSES = 100  # that a notebook may have at a time
FILE = 2_000_000_000  # bytes that it may write to a file
START = 60  # seconds until a kernel has to answer
GRACE = 10  # seconds until an interrupted cell has to end
LATE = 30  # seconds until the last message of a cell that has ended has to come
POLL = 100  # ms
MARK = "COURSE_MARKS_KERNEL"
NO_ANSWER = "the kernel did not answer."


@dataclass(frozen=True)
class Limits:
    """What a notebook may take.

    Attributes:
        seconds: for the whole notebook.
        cell_seconds: for a cell that is not the course's own.
        gigabytes: of memory, for the kernel and all that it starts.
        threads: of a library's parallel loops.
    """

    seconds: float
    cell_seconds: float
    gigabytes: float
    threads: int = 2


class KernelEnded(Exception):
    """The kernel is gone, and the message says why."""


@dataclass
class Said:
    """What came of a cell.

    Attributes:
        verdicts: of checks, as they came.
        error: Python's, in one line.
        stopped: why the cell was not left to end by itself.
    """

    verdicts: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""
    stopped: str = ""


class Kernel:
    """A kernel of its own for one notebook; a context manager that leaves none of its processes behind.

    A watcher adds up the memory of the kernel and of what it started ten times a second. On Linux each process also
    gets MemoryError when it asks for more than twice the limit at once, and the system ends it before others when
    memory runs out. On Windows a cell cannot be interrupted, so one that takes too long ends its notebook.

    Args:
        folder: where it works.
        home: an empty folder that it takes for the user's, with the connection file and temporary files.
        limits: what it may take.
        cancelled: ends it when set.
    """

    def __init__(self, folder: Path, home: Path, limits: Limits, cancelled: threading.Event) -> None:
        self._folder, self._home, self._limits, self._cancelled = folder, home, limits, cancelled
        self._mark = uuid.uuid4().hex
        self._reason = ""
        self._seen: set[psutil.Process] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def __enter__(self) -> Kernel:
        connection = self._home / "kernel.json"
        self._ends = time.monotonic() + self._limits.seconds
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ipykernel_launcher", "-f", str(connection), "--log-level=CRITICAL"],
            cwd=self._folder,
            env=_environment(self._home, self._limits.threads) | {MARK: self._mark},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Ctrl-C is for us, and the kernel's processes can be told from ours.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._context = zmq.Context()
        try:
            self._restrict()
            self._watcher.start()
            self._connect(connection)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()
        self._closed.set()
        if self._watcher.is_alive():
            self._watcher.join()
        self._context.destroy(linger=0)

    def run(self, code: str, seconds: float) -> Said:
        """Execute a cell and wait for its end, or bring it about after so many ``seconds``.

        Raises:
            KernelEnded: the kernel died or had to be killed.
        """
        said = Said()
        request = self._ask(
            "execute_request",
            {"code": code, "silent": False, "store_history": True, "allow_stdin": False, "stop_on_error": False},
        )
        cell_ends = min(time.monotonic() + seconds, self._ends)
        size, replied, idle, stopped_at, probe = 0, 0.0, False, 0.0, ""
        while not (replied and idle):
            for socket, frames in self._messages():
                if socket is self._iopub:
                    size += sum(map(len, frames))
                    idle |= self._note(frames, request, said)
                elif self._parent(frames) in (request, probe):
                    replied = time.monotonic()
            now = time.monotonic()
            # ZeroMQ hangs up on a message that is too long, and of very many it leaves some out.
            is_too_much = size > OUTPUT or bool(self._hung_up.poll(0))
            if replied and not idle and (is_too_much or probe or now > replied + LATE):
                said.stopped = said.stopped or _too_much(OUTPUT)
                self._listen_again()
                break
            if not said.stopped and not replied and (is_too_much or now > cell_ends):
                said.stopped = _too_much(OUTPUT) if is_too_much else self._took_too_long(now, seconds)
                stopped_at = now
                self._interrupt()
                # Interrupted between the cell and its reply, a kernel does not reply, but it takes the next request.
                probe = self._ask("kernel_info_request", {})
            if stopped_at and not replied and now > stopped_at + GRACE:
                raise self._ended(f"{said.stopped[:-1]}, and could not be interrupted.")
        if time.monotonic() > self._ends:
            raise self._ended(self._took_too_long(self._ends, seconds))
        if size > OUTPUT and not said.stopped:
            said.stopped = _too_much(OUTPUT)
        return said

    # Messages

    def _connect(self, connection: Path) -> None:
        """Wait until the kernel, which chooses its ports itself, says where it is and answers."""
        give_up = time.monotonic() + START
        about: dict[str, Any] = {}
        while not about:
            self._check(give_up)
            time.sleep(0.02)
            with suppress(OSError, ValueError):
                about = json.loads(connection.read_text(encoding="utf-8"))
        self._session = Session(key=about["key"].encode(), signature_scheme=about["signature_scheme"])
        self._address = f"{about['transport']}://{about['ip']}"
        self._iopub_port = about["iopub_port"]
        self._shell = self._socket(zmq.DEALER, about["shell_port"])
        self._listen()
        self._greet(give_up)

    def _socket(self, kind: int, port: int) -> zmq.Socket:
        socket = self._context.socket(kind)
        socket.linger = 0
        # Without this a cell that prints a gigabyte at once would make us hold it.
        socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE)
        if kind == zmq.SUB:
            socket.setsockopt(zmq.SUBSCRIBE, b"")
        socket.connect(f"{self._address}:{port}")
        return socket

    def _listen(self) -> None:
        self._iopub = self._socket(zmq.SUB, self._iopub_port)
        self._hung_up = self._iopub.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._poller = zmq.Poller()
        for socket in (self._shell, self._iopub):
            self._poller.register(socket, zmq.POLLIN)

    def _listen_again(self) -> None:
        self._iopub.disable_monitor()
        self._iopub.close()
        self._listen()
        self._greet(time.monotonic() + START)

    def _greet(self, give_up: float) -> None:
        """Ask something harmless until its answer is heard on both channels, so that none of a cell's is missed."""
        while True:
            request = self._ask("kernel_info_request", {})
            again = time.monotonic() + 1
            heard: set[zmq.Socket] = set()
            while time.monotonic() < again:
                self._check(give_up)
                for socket, frames in self._messages():
                    if self._parent(frames) == request:
                        heard.add(socket)
                if len(heard) == 2:
                    return

    def _ask(self, kind: str, content: dict[str, Any]) -> str:
        """Send a request and return its id, which the answers carry."""
        message = self._session.msg(kind, content)
        self._session.send(self._shell, message)
        return str(message["header"]["msg_id"])

    def _messages(self) -> list[tuple[zmq.Socket, list[bytes]]]:
        """What is there on each channel, after a short wait, as [signature, header, parent, metadata, content]."""
        self._check()
        found: list[tuple[zmq.Socket, Any]] = []
        for socket, _ in self._poller.poll(POLL):
            frames: Any = socket.recv_multipart()
            found.append((socket, self._session.feed_identities(frames)[1]))
        return found

    def _parent(self, frames: list[bytes]) -> str:
        try:
            return str(json.loads(frames[2]).get("msg_id", ""))
        except (ValueError, IndexError, AttributeError, RecursionError):
            return ""

    def _note(self, frames: list[bytes], request: str, said: Said) -> bool:
        """Keep what counts of a message, and return whether it is the last one of the request."""
        # Most of what a cell prints need not even be decoded.
        if b'"stream"' in frames[1] or self._parent(frames) != request:
            return False
        try:
            message = self._session.deserialize(frames)
        except (ValueError, TypeError, KeyError, RecursionError):  # whatever pretends to be a message
            return False
        content, kind = message["content"], message["msg_type"]
        if kind == "error":
            said.error = f"{content.get('ename')}: {content.get('evalue')}".strip(": ")
        elif kind in ("execute_result", "display_data"):
            verdict = content.get("data", {}).get(VERDICT_MIME)
            if isinstance(verdict, dict):
                said.verdicts.append(verdict)
        return kind == "status" and content.get("execution_state") == "idle"

    # Limits

    def _check(self, give_up: float | None = None) -> None:
        if self._cancelled.is_set():
            raise self._ended("interrupted.")
        if self._reason:
            raise KernelEnded(self._reason)
        if self._process.poll() is not None:
            # The watcher may just have done it.
            self._kill()
            raise KernelEnded(self._reason or _death(self._process.returncode))
        if give_up and time.monotonic() > give_up:
            raise self._ended(NO_ANSWER)

    def _ended(self, reason: str) -> KernelEnded:
        self._reason = self._reason or reason
        self._kill()
        return KernelEnded(self._reason)

    def _took_too_long(self, now: float, seconds: float) -> str:
        if now >= self._ends:
            return f"the whole notebook took longer than {self._limits.seconds:g} s."
        return f"it took longer than {seconds:g} s."

    def _interrupt(self) -> None:
        if os.name == "posix":
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGINT)

    def _restrict(self) -> None:
        """What the system itself can hold a process to; only Linux does so for one that is running."""
        if not sys.platform.startswith("linux"):
            return
        process = psutil.Process(self._process.pid)
        for what, limit in (
            (psutil.RLIMIT_DATA, int(2e9 * self._limits.gigabytes)),
            (psutil.RLIMIT_FSIZE, FILE),
            (psutil.RLIMIT_CORE, 0),
        ):
            with suppress(psutil.Error, OSError, ValueError):
                process.rlimit(what, (limit, limit))
        with suppress(OSError):
            Path(f"/proc/{self._process.pid}/oom_score_adj").write_text("1000")

    def _watch(self) -> None:
        while not self._closed.wait(0.1):
            memory, n_processes = _memory(self._family(), "rss")
            if memory > self._limits.gigabytes * 1e9 and sys.platform.startswith("linux"):
                # What processes have in common is counted once; this takes longer to find out.
                memory, n_processes = _memory(self._family(), "pss")
            if memory > self._limits.gigabytes * 1e9:
                self._ended(f"it took more than {self._limits.gigabytes:g} GB of memory.")
            elif n_processes > PROCESSES:
                self._ended(f"it started more than {PROCESSES} processes.")

    def _family(self) -> set[psutil.Process]:
        """The kernel and all that has been seen below it, also what has lost its parent since."""
        family: set[psutil.Process] = set()
        with suppress(psutil.Error):
            parent = psutil.Process(self._process.pid)
            family = {parent, *parent.children(recursive=True)}
        with self._lock:
            self._seen |= family
            return set(self._seen)

    def _kill(self) -> None:
        """End the kernel and all it started, those too that no longer have a parent."""
        for _ in range(20):
            family = {p for p in self._family() if _is_alive(p)}
            family |= {p for p in psutil.process_iter() if _has_mark(p, self._mark) and _is_alive(p)}
            for process in family:
                with suppress(psutil.Error):
                    process.kill()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1)
            if not family:
                break
            psutil.wait_procs(family - {psutil.Process()}, timeout=1)


def _environment(home: Path, threads: int) -> dict[str, str]:
    """What a kernel needs to know, and nothing of what else the instructor's environment holds."""
    names = {
        "PATH", "LANG", "LANGUAGE", "TZ", "VIRTUAL_ENV", "CONDA_PREFIX", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH",
        "COURSE_DATA_DIR", "COURSE_CACHE_DIR", "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT",
        "NUMBER_OF_PROCESSORS", "PROCESSOR_ARCHITECTURE",
    }  # fmt: skip
    prefixes = ("PYTHON", "LC_", "OMP_", "MKL_", "OPENBLAS_", "KMP_")
    kept = {name: value for name, value in os.environ.items() if name.upper() in names or name.startswith(prefixes)}
    own = {name: str(home) for name in ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA")}
    own |= {name: str(home / "tmp") for name in ("TMPDIR", "TEMP", "TMP")}
    own |= {"IPYTHONDIR": str(home / "ipython"), "MPLCONFIGDIR": str(home / "matplotlib")}
    # A learner's `%pip install` says what it would do, and changes nothing that others use.
    own |= {"PIP_DRY_RUN": "1", "JPY_PARENT_PID": str(os.getpid())}
    if os.name != "posix":
        del own["JPY_PARENT_PID"]  # there it would be a handle
    return {"OMP_NUM_THREADS": str(threads)} | kept | own


def _memory(family: set[psutil.Process], kind: str) -> tuple[int, int]:
    """Bytes of memory, and the number of processes that have some."""
    memory, n_processes = 0, 0
    for process in family:
        with suppress(psutil.Error):
            about = process.memory_info() if kind == "rss" else process.memory_full_info()
            memory += getattr(about, kind)
            n_processes += 1
    return memory, n_processes


def _too_much(size: int) -> str:
    return f"it printed or showed more than {size / 1e6:.0f} MB."


def _death(code: int) -> str:
    if code >= 0:
        return f"the kernel ended with exit code {code}."
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    remark = " (perhaps the system was short of memory)" if name == "SIGKILL" else ""
    return f"the kernel died of {name}{remark}."


def _is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _has_mark(process: psutil.Process, mark: str) -> bool:
    with suppress(psutil.Error, OSError):
        return process.environ().get(MARK) == mark
    return False
