"""A server that is there and refuses: each kind of refusal, real, for as long as its context lasts."""

from __future__ import annotations

import resource
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: A user whom no fault takes any rights from; the relay is `default`.
ADMIN, PASSWORD = "chaos-admin", "chaos"
USERS = f"user {ADMIN} on >{PASSWORD} ~* &* +@all\nuser default on nopass ~* &* +@all\n"
#: What may be taken from the relay's user: everything, or what a part of it needs.
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
SLACK_BYTES = 4_096  # that a file may grow by before its disk is "full"


class Refusals:
    """What makes a running server refuse. Nothing of it outlives its context, but for what a dead server forgets."""

    def __init__(self, port: int) -> None:
        self.admin = redis.Redis(
            port=port, username=ADMIN, password=PASSWORD, socket_timeout=5, single_connection_client=False
        )

    @contextmanager
    def without_replicas(self) -> Iterator[None]:
        """NOREPLICAS: no write is taken that fewer than so many replicas have."""
        with self._config("min-replicas-to-write", "3"):
            yield

    @contextmanager
    def full(self) -> Iterator[None]:
        """OOM: new work is refused, work that was done is not."""
        with self._config("maxmemory", "1"):
            yield

    @contextmanager
    def full_disk(self, pid: int, file: Path) -> Iterator[None]:
        """MISCONF under `everysec`; under `always` the server ends.

        No file of this process may grow any more, which is what a full disk is to it: its writes come back short or
        fail. Works without a file system of its own; the server has to be started with SIGXFSZ ignored.
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
        """BUSY: a script of somebody else runs on and on."""
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
        """NOPERM (or, of new connections, WRONGPASS) to the relay."""
        self._set_user(*rights)
        try:
            yield
        finally:
            self._set_user(*ALL_RIGHTS)

    def _set_user(self, *rights: str) -> None:
        with suppress(redis.ConnectionError):  # a server that has died starts with all rights
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
