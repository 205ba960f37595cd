"""Makes a running server refuse commands: each kind of refusal is real, and lasts as long as its context."""

from __future__ import annotations

import resource
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: A user that keeps its rights during every fault; the relay is the user `default`.
ADMIN, PASSWORD = "chaos-admin", "chaos"
USERS = f"user {ADMIN} on >{PASSWORD} ~* &* +@all\nuser default on nopass ~* &* +@all\n"
#: Rights to take from the relay's user: all, or those that one part of the relay needs.
RIGHTS = (
    ("-@all",),
    ("-@write",),
    ("-@scripting",),
    ("-@read",),
    ("-@pubsub", "resetchannels"),
    ("resetkeys", "~other:*"),
    ("off",),
)
ALL_RIGHTS = ("on", "nopass", "allkeys", "allchannels", "+@all")
BUSY_AFTER_MS = 100
SLACK_BYTES = 4_096  # how much a file may grow before its disk is "full"


class Refusals:
    """Makes a running server refuse. Each refusal ends with its context."""

    def __init__(self, port: int) -> None:
        self.admin = redis.Redis(
            port=port, username=ADMIN, password=PASSWORD, socket_timeout=5, single_connection_client=False
        )

    @contextmanager
    def without_replicas(self) -> Iterator[None]:
        """Cause NOREPLICAS: writes are refused because too few replicas are connected."""
        with self._config("min-replicas-to-write", "3"):
            yield

    @contextmanager
    def full(self) -> Iterator[None]:
        """Cause OOM: the server accepts no new work, but still records the results of old work."""
        with self._config("maxmemory", "1"):
            yield

    @contextmanager
    def full_disk(self, pid: int, file: Path) -> Iterator[None]:
        """Fill the disk: MISCONF under `everysec`; under `always` the server ends.

        No file of this process may grow any more, which looks like a full disk to it: its writes are short or fail.
        This needs no separate file system, but the server has to be started with SIGXFSZ ignored.
        """
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        limit = (file.stat().st_size + SLACK_BYTES, before[1])
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, before)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Cause BUSY: a foreign script keeps running."""
        with self._config("busy-reply-threshold", str(BUSY_AFTER_MS)):
            thread = threading.Thread(target=self._run_for_ever, daemon=True)
            thread.start()
            try:
                yield
            finally:
                while thread.is_alive():
                    with suppress(redis.RedisError):
                        self.admin.script_kill()
                    thread.join(0.05)

    @contextmanager
    def without_rights(self, rights: tuple[str, ...]) -> Iterator[None]:
        """Cause NOPERM for the relay, or WRONGPASS for its new connections."""
        self._set_user(*rights)
        try:
            yield
        finally:
            self._set_user(*ALL_RIGHTS)

    def _set_user(self, *rights: str) -> None:
        with suppress(redis.ConnectionError):  # a server that has died restarts with all rights granted
            self.admin.execute_command("ACL", "SETUSER", "default", *rights)

    def _run_for_ever(self) -> None:
        with (
            suppress(redis.RedisError),
            redis.Redis(port=self._port, username=ADMIN, password=PASSWORD, socket_timeout=60) as client,
        ):
            client.eval("while true do end", 0)

    @property
    def _port(self) -> int:
        return self.admin.connection_pool.connection_kwargs["port"]

    @contextmanager
    def _config(self, name: str, value: str) -> Iterator[None]:
        before = self.admin.config_get(name)
        self.admin.config_set(name, value)
        try:
            yield
        finally:
            with suppress(redis.ConnectionError):
                self.admin.config_set(name, next(iter(before.values())))
