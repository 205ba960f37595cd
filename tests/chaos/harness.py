"""The processes of a run: server, API, workers, receiver. Each can be killed, frozen or ended, and is restarted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import redis
from redis.exceptions import RedisClusterException

from bench.ports import free_port
from relay.process.foreign import foreign_names
from relay.store.health.readiness import Probe, probe
from relay.store.keys.keyspace import SINGLE
from relay.up import processes
from relay.up.child import program
from relay.up.embedded import find_program
from relay.vault import Vault
from tests.chaos.evidence import records_of
from tests.chaos.plan import AWAIT_S, LEASE_MARGIN_S, STOP_TIMEOUT_S
from tests.chaos.refusals import USERS
from tests.forked_processes import FORKED, ROOT, ForkedProcess, start_forked
from tests.processes import signal_group
from tests.timing import START_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.domain.invocation import Invocation
    from tests.chaos.sinks import Sink

RESTART_S = 0.3  # the pause before a dead process is restarted, as a supervisor would do
CONFIG = """\
bind 127.0.0.1
port {port}
daemonize no
dir "{directory}"
save ""
appendonly yes
appendfsync {fsync}
aof-load-truncated yes
auto-aof-rewrite-percentage 0
maxmemory-policy noeviction
hash-max-listpack-entries 64
hash-max-listpack-value 512
zset-max-listpack-entries 16
"""


class Part:
    """A process with its group; its output goes to a file. Each start is in the next of ``trees``, and runs its code."""

    def __init__(
        self, name: str, command: tuple[str, ...], environ: dict[str, str], log: Path, trees: Sequence[Path] = (ROOT,)
    ) -> None:
        self.name = name
        self._trees = trees
        self.log = log
        self.starts = 0
        self.started_ms = 0.0  # when it was last started, since the epoch
        self._command = command
        self._environ = environ
        self._process: subprocess.Popen[bytes] | ForkedProcess | None = None
        self._sink: Sink | None = None  # the log's sink after the next start
        self._held: Sink | None = None  # the log's sink since the last start

    def start(self) -> None:
        """Start the process; errors go to its log or next sink. SIGXFSZ is ignored, so writes beyond a limit fail."""
        before, self._held, self._sink = self._held, self._sink, None
        if before is not None:
            before.close()
        with self.log.open("ab") as log, self._held.open() if self._held else nullcontext(log.fileno()) as errors:
            self._process = self._started(log.fileno(), errors)
        self.starts += 1
        self.started_ms = time.time() * 1_000

    def _started(self, log: int, errors: int | None) -> subprocess.Popen[bytes] | ForkedProcess:
        tree = self._trees[self.starts % len(self._trees)]
        if tree == ROOT and self._command[0] in FORKED:
            return start_forked(self._command, self._environ, [log] if errors is None else [log, errors])
        return subprocess.Popen(
            [program(self._command[0]), *self._command[1:]], env=running(tree, self._environ), cwd=tree,
            stdin=subprocess.DEVNULL, stdout=log, stderr=errors, start_new_session=True, restore_signals=False,
        )  # fmt: skip

    def log_to(self, sink: Sink) -> None:
        """Make the process log to ``sink`` after its next start, and to its log file again after the one after that."""
        self._sink = sink

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: int, *, group: bool = True) -> None:
        """Send a signal, by default to the whole group: Granian's worker serves requests, and outlives its master."""
        if self._process is None:
            return
        if group:
            signal_group(self._process, number)
        else:
            self._process.send_signal(number)

    def wait(self, timeout_s: float) -> int:
        assert self._process is not None
        return self._process.wait(timeout_s)

    def kill(self) -> None:
        if self._process is not None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGKILL)
            self._process.wait(20)


class Harness:
    """A whole relay on its own ports; a context. ``settings`` are additional RELAY_ variables.

    ``beside`` is the tree of another release. Then there are two API processes, and half of API and workers are of that
    release at first; each that ends comes back as the other.
    """

    def __init__(
        self,
        *,
        fsync: str = "always",
        bulk_workers: int = 2,
        receiver: bool = True,
        beside: Path | None = None,
        **settings: str,
    ) -> None:
        self.beside = beside
        self.directory = Path(tempfile.mkdtemp(prefix="rly"))
        self.port, self.redis_port, self.receiver_port = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.receiver_url = f"http://127.0.0.1:{self.receiver_port}"
        self.redis_url = f"redis://127.0.0.1:{self.redis_port}/0"
        self.environ = {
            "RELAY_REDIS_URL": self.redis_url,
            "RELAY_TARGET_KEYS": Vault.new_key_text(),
            "RELAY_DATA_KEYS": Vault.new_key_text(),
            "RELAY_EGRESS_ALLOW": "127.0.0.1",
            "RELAY_LEASE_MARGIN": str(LEASE_MARGIN_S),
            "RELAY_STOP_TIMEOUT": str(STOP_TIMEOUT_S),
            "RELAY_DEFAULT_WAIT": str(AWAIT_S),
            "RELAY_LOG_LEVEL": "warning",
            **settings,
        }
        self.broker = self.client = redis.Redis.from_url(self.redis_url, socket_timeout=5)
        self.keys = SINGLE
        self.parts: dict[str, Part] = {}
        self.down: set[str] = set()  # the names of processes that are not to be restarted for now
        self._guard = threading.Thread(target=self._keep_alive, daemon=True)
        self._ending = threading.Event()
        self._describe(fsync, bulk_workers, receiver=receiver)

    def __enter__(self):
        try:
            self.parts["valkey"].start()
            wait_for(lambda: probe(self.redis_url) is Probe.READY, "the server")
            for part in self.parts.values():
                if part.name != "valkey":
                    part.start()
            wait_for(self.is_ready, "the relay", self.last_words)
        except BaseException:
            self.__exit__()
            raise
        self._guard.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        if self._guard.is_alive():
            self._guard.join()
        self.client.close()
        for part in self.parts.values():
            part.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def is_ready(self) -> bool:
        import requests

        with suppress(requests.RequestException):
            return requests.get(f"{self.url}/readyz", timeout=2).ok and self.workers_alive() == len(self.workers())
        return False

    def kept_records(self, refs: Sequence[str]) -> dict[str, Invocation]:
        """Return records as the store keeps them, whatever happens to its servers."""
        return records_of(self.client, refs, self.keys)

    def workers(self) -> list[str]:
        return [name for name in self.parts if name.startswith("worker")]

    def apis(self) -> list[str]:
        return [name for name in self.parts if name.startswith("api")]

    def came_back(self) -> int:
        """Return how many processes of the relay ended and were started again, of the other release if there is one."""
        return sum(self.parts[name].starts > 1 for name in (*self.apis(), *self.workers()))

    def workers_alive(self) -> int:
        """Return how many workers have sent a heartbeat within the last seconds, and since the last start of one."""
        with suppress(redis.RedisError, RedisClusterException):
            seconds, _ = self.client.time()
            since_ms = max(seconds * 1_000 - 3_000, *(self.parts[name].started_ms for name in self.workers()))
            return self.client.zcount("relay:{shared}:workers", since_ms, "+inf")
        return 0

    def append_only_file(self) -> Path:
        """Return the file that the server is appending to."""
        return max((self.directory / "appendonlydir").glob("*.incr.aof"), key=lambda path: path.stat().st_mtime)

    def last_words(self) -> str:
        words = [f"== {part.name}\n{part.log.read_text(errors='replace')[-700:]}" for part in self.parts.values()]
        return "\n".join(words)

    def _describe(self, fsync: str, bulk_workers: int, *, receiver: bool) -> None:
        config = self.directory / "valkey.conf"
        config.write_text(CONFIG.format(port=self.redis_port, directory=self.directory, fsync=fsync) + USERS)
        self._add("valkey", (find_program(), str(config)))
        if receiver:
            self._add("receiver", (sys.executable, "-m", "tests.chaos.receiver", str(self.receiver_port)))
        wanted = [
            *(processes.api(port=self.port, number=number) for number in (1, 2)[: 1 if self.beside is None else 2]),
            processes.worker("interactive"),
            *(processes.worker("bulk", number) for number in range(1, bulk_workers + 1)),
        ]
        for number, process in enumerate(wanted):
            trees = (ROOT,) if self.beside is None else (ROOT, self.beside)[:: 1 if number % 2 else -1]
            self._add(process.name, process.command, process.without, trees)

    def _add(
        self, name: str, command: tuple[str, ...], without: tuple[str, ...] = (), trees: Sequence[Path] = (ROOT,)
    ) -> None:
        foreign = foreign_names(os.environ)  # with them, a worker would start itself anew: a forked one cannot
        inherited = {
            key: value for key, value in os.environ.items() if key not in foreign and not key.startswith("RELAY_")
        }
        ours = {key: value for key, value in self.environ.items() if key not in without}
        environ = running(ROOT, inherited | ours)
        self.parts[name] = Part(name, command, environ, self.directory / f"{name}.log", trees)

    def _keep_alive(self) -> None:
        while not self._ending.wait(0.1):
            for name, part in self.parts.items():
                if name in self.down or part.is_running():
                    continue
                part.kill()  # what is left of its group
                if not self._ending.wait(RESTART_S) and name not in self.down:
                    part.start()


def running(tree: Path, environ: dict[str, str]) -> dict[str, str]:
    """Return the environment in which Python runs a tree's code: its path comes before what is installed."""
    return environ | {"PYTHONPATH": str(tree)}


def wait_for(check, what: str, words=lambda: "", within_s: float = START_S) -> None:
    wait_until(check, within_s, otherwise=lambda: f"{what} did not come within {within_s} s\n{words()}")
