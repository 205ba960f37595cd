"""Puts back what a test has changed, because to make it anew takes as many commands as the test itself."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

    import redis


@dataclass(frozen=True)
class Kept:
    """Everything that a server and a directory held at one time; the server keeps its functions."""

    client: redis.Redis
    directory: Path
    values: dict[bytes, tuple[int, bytes]]  # by key: the milliseconds that it has to live (-1: for ever), and its dump
    files: dict[Path, bytes]

    @classmethod
    def of(cls, client: redis.Redis, directory: Path) -> Self:
        values = {key: (client.pttl(key), client.dump(key)) for key in client.keys("*")}
        return cls(client, directory, values, {path: path.read_bytes() for path in directory.iterdir()})

    def put_back(self) -> None:
        with self.client.pipeline(transaction=False) as pipe:
            pipe.flushall()
            for key, (left_ms, dump) in self.values.items():
                pipe.restore(key, max(left_ms, 0), dump)
            pipe.execute()
        for path in self.directory.iterdir():
            if path.is_dir():  # that of a backup
                shutil.rmtree(path)
            else:
                path.unlink()
        for path, content in self.files.items():
            path.touch(0o600)
            path.write_bytes(content)
