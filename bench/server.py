"""The Redis server of one stage: a fresh embedded Valkey, the same for every contender."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import redis

from bench.children import Children, clean_environment
from bench.ports import free_port
from relay.up.embedded import configuration, find_program, server_environ

if TYPE_CHECKING:
    from pathlib import Path

Fsync = Literal["always", "everysec"]

START_S: Final = 20.0


class Server:
    """A running server with an empty data folder of its own."""

    def __init__(self, children: Children, folder: Path, fsync: Fsync) -> None:
        self.port = free_port()
        data = folder / "data"
        data.mkdir(parents=True)
        self._config, self._children = folder / "server.conf", children
        # the configuration of `relay up`
        self._config.write_text(configuration(data, port=self.port, fsync=fsync), "utf-8")
        self.client = self.client_of(0)
        self._start(START_S)

    def restart(self, within_s: float) -> None:
        """Stop the server, and start it again with its data; wait until it has loaded them."""
        self._children.stop("server")
        self._start(within_s)

    def _start(self, within_s: float) -> None:
        self._children.start("server", [find_program(), str(self._config)], {**clean_environment(), **server_environ()})
        self._children.wait_until("the server", self._answers, within_s)

    def url(self, database: int = 0) -> str:
        return f"redis://127.0.0.1:{self.port}/{database}"

    def client_of(self, database: int) -> redis.Redis:
        return redis.Redis(port=self.port, db=database)

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except (redis.ConnectionError, redis.TimeoutError):  # a script that is loaded anew holds up answers
            return False
