"""One child process of ``relay up``: it has its own session, and is ended together with all processes it started."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from relay.up.log_file import open_log, put_aside

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: The environment variable by which a start finds processes that an earlier, killed one left running.
MARK: Final = "WEBHOOK_RELAY_UP"
_LEFTOVERS_S: Final = 5.0
_IS_LINUX: Final = sys.platform == "linux"
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_PROC: Final = Path("/proc")


class Child:
    """A process and its process group. Its output goes to a file, because a pipe could fill up or break."""

    def __init__(
        self, name: str, command: Sequence[str], *, environ: Mapping[str, str], directory: Path, log: Path
    ) -> None:
        self.name = name
        self.log = log
        self.started_s = 0.0
        self._command = [program(command[0]), *command[1:]]
        self._environ = environ
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; all that an earlier one left running must be gone (``is_gone``)."""
        with open_log(self.log) as log:
            self._process = subprocess.Popen(  # noqa: S603  # our own command lines, and no shell
                self._command,
                env=dict(self._environ),
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=end_with_this_process(),  # noqa: PLW1509  # it takes no lock that a thread could have
            )
        self.started_s = time.monotonic()

    def keep_log_small(self) -> None:
        """Put the child's log aside if it has grown large."""
        with suppress(OSError):  # a full disk, say: the child goes on regardless
            put_aside(self.log)

    @property
    def pid(self) -> int | None:
        """The process id, which is also its group's; None before the first start."""
        return self._process.pid if self._process else None

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.returncode if self._process else None

    def is_running(self) -> bool:
        """Return whether the process itself runs."""
        return self._process is not None and self._process.poll() is None

    def is_gone(self) -> bool:
        """Return whether neither the process nor anything in its group is left."""
        if self._process is None:
            return True
        return self._process.poll() is not None and not _has_members(self._process.pid)

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the process, which then ends what it started."""
        if self.is_running() and self._process:
            self._process.terminate()

    def stop(self, wait_s: float) -> None:
        """Ask the process to stop, and kill its group if it takes longer than ``wait_s``."""
        self.ask_to_stop()
        if self._process:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(wait_s)
        self.kill()

    def kill(self) -> None:
        """Send SIGKILL to the whole process group."""
        if self._process and not self.is_gone():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)


def program(name: str) -> str:
    """Return the path of a program, from this Python's environment first, then from the PATH."""
    if os.sep in name:
        return name
    here = str(Path(sys.executable).parent)
    return shutil.which(name, path=here) or shutil.which(name) or name


def adopt_orphans() -> None:
    """Make this process adopt processes that its children leave behind, so that it can end and reap them."""
    if _IS_LINUX:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_leftovers(data_dir: Path) -> None:
    """End the processes that an earlier start on this directory left running when it was killed."""
    deadline_s = time.monotonic() + _LEFTOVERS_S
    while pids := processes_of(data_dir):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM if time.monotonic() < deadline_s else signal.SIGKILL)
        time.sleep(0.2)


def processes_of(data_dir: Path) -> list[int]:
    """Return the ids of the processes that were started on this directory and still run.

    Only on Linux, where a process shows its environment to its user; elsewhere none are found.
    """
    mark, found = f"{MARK}={data_dir}".encode(), []
    for entry in _PROC.glob("[0-9]*") if _IS_LINUX else ():
        with suppress(OSError):
            if int(entry.name) != os.getpid() and mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def end_with_this_process() -> Callable[[], None] | None:
    """Return a function for a child to run before its program, so that SIGTERM ends it if this process dies.

    Only on Linux; elsewhere None.
    """
    if not _IS_LINUX:
        return None
    parent, prctl = os.getpid(), ctypes.CDLL(None).prctl

    def request() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return request


def _has_members(group: int) -> bool:
    """Return whether anything is left in the process group of a process that has been waited for."""
    if _takes_signals(os.kill, group):
        return False  # no process gets the number of a group that is not empty: that group is gone, and this is another
    _reap(-group)
    return _takes_signals(os.killpg, group)


def _takes_signals(send: Callable[[int, int], None], number: int) -> bool:
    try:
        send(number, 0)
    except (ProcessLookupError, PermissionError):  # another user's has it now (macOS says so of zombies, too)
        return False
    return True


def _reap(which: int) -> None:
    with suppress(ChildProcessError):
        while os.waitpid(which, os.WNOHANG)[0]:
            pass
