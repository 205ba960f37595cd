"""The processes of a running relay and their command lines: the one list behind ``relay up``, Procfile and compose.

Each process is given only what it needs: the API gets neither target keys nor the audit key, Flower no keys at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from relay.settings.names import ADDRESSES, API_CPU, AUDIT_KEY, DATA_KEYS, EGRESS_PROXY, FLOWER_AUTH, TARGET_KEYS
from relay.text.hosts import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Mapping

API_PORT: Final = 8000
FLOWER_PORT: Final = 5555

#: Threads of the API beyond those that waiting callers may take, for requests that do not wait.
SPARE_THREADS: Final = 44
#: How long the headers of a request may take to arrive.
HEAD_TIMEOUT_MS: Final = 15_000
#: Calls start in a task and go on without it, so few tasks at a time are enough.
WORKER_CONCURRENCY: Final = 4
#: How many tasks Flower keeps, each in about 4.7 KB of memory.
FLOWER_TASKS: Final = 5000

#: Secret settings, which processes that do not need them are not given.
SECRETS: Final = (TARGET_KEYS, DATA_KEYS, AUDIT_KEY, FLOWER_AUTH, EGRESS_PROXY)


@dataclass(frozen=True, slots=True)
class Process:
    """One process: its name, its command line (which begins with a program of this environment), its environment.

    ``without`` names variables that it is not given, ``extra`` those it is given beside the relay's settings.
    """

    name: str
    command: tuple[str, ...]
    without: tuple[str, ...] = (FLOWER_AUTH,)
    extra: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None  # of the embedded servers; None: it does not use them
    broker_user: str | None = None  # of its connection to the lanes, if that is another one


def api(
    *,
    host: str = LOOPBACK,
    port: int = API_PORT,
    max_waiters: int = 512,
    max_connections: int = 1024,
    number: int = 1,
    cpu: int | None = None,
) -> Process:
    """Describe Granian with the WSGI app: one process, with a thread for every waiting caller and some spare ones.

    With ``cpu``, the first of several processes on one port is kept on that processor, and each other one on the next.
    """
    command = (
        *("granian", "--interface", "wsgi", "--host", host, "--port", str(port), "--workers", "1"),
        *("--blocking-threads", str(max_waiters + SPARE_THREADS), "--backpressure", str(max_connections)),
        *("--http1-header-read-timeout", str(HEAD_TIMEOUT_MS), "--http", "1", "--no-ws", "api.wsgi:app"),
    )
    return Process(
        _numbered("api", number),
        command,
        without=(TARGET_KEYS, AUDIT_KEY, FLOWER_AUTH, EGRESS_PROXY),
        extra={} if cpu is None else {API_CPU: str(cpu + number - 1)},
        user="api",
    )


def worker(group: str, number: int = 1) -> Process:
    """Describe a Celery worker of a lane group: ``interactive``, or ``bulk`` for the lanes bulk and replay."""
    lanes = {"interactive": "interactive", "bulk": "bulk,replay"}[group]
    command = (
        *("celery", "-A", "workers.app", "worker", "-P", "gevent", "-c", str(WORKER_CONCURRENCY)),
        *("--without-gossip", "--without-mingle", "-Q", lanes, "-n", f"{group}{number}@%h"),
    )
    return Process(_numbered(f"worker_{group}", number), command, user="worker", broker_user="consumer")


def flower(*, host: str = LOOPBACK, port: int = FLOWER_PORT) -> Process:
    """Describe Flower, the only process that is given its user and password."""
    command = (
        *("python", "-m", "workers.flower", f"--address={host}", f"--port={port}"),
        f"--max-tasks={FLOWER_TASKS}",
    )
    return Process("flower", command, without=(TARGET_KEYS, DATA_KEYS, AUDIT_KEY, EGRESS_PROXY), user="flower")


def demo_endpoint(port: int) -> Process:
    """Describe the sample endpoint of ``relay up --demo``."""
    return Process("demo_endpoint", ("python", "-m", "relay.echo", str(port)), without=(*SECRETS, *ADDRESSES))


def demo_traffic(api_url: str, key_file: str) -> Process:
    """Describe the callers of ``relay up --demo --traffic``, with the demo's key."""
    command = ("python", "-m", "relay.up.demo_traffic", api_url, key_file)
    return Process("demo_traffic", command, without=(*SECRETS, *ADDRESSES))


def _numbered(name: str, number: int) -> str:
    """Return the name of one of several processes; the first has no number."""
    return name if number == 1 else f"{name}{number}"
