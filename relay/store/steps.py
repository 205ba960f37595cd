"""Reads what a chain's steps came to, for the worker that takes the chain further."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from relay.store import keyspace
from relay.store.records import invocation_from
from relay.store.scripts import store_errors

if TYPE_CHECKING:
    import redis

    from relay.invocation import Invocation


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step's invocation, and its answer's data before masking, sealed; None where there is no answer."""

    invocation: Invocation
    raw: bytes | None


class Steps:
    """Steps by their chain. Raises `Unavailable` while the server is away."""

    def __init__(self, client: redis.Redis) -> None:
        self._client: Any = client

    def of(self, parent: str) -> list[StepRecord]:
        """A chain's steps in the order of their creation."""
        with store_errors():
            refs = [ref.decode() for ref in self._client.lrange(keyspace.steps(parent), 0, -1)]
            pipeline = self._client.pipeline(transaction=False)
            for ref in refs:
                pipeline.hgetall(keyspace.record(ref))
                pipeline.get(keyspace.raw(ref))
            values = pipeline.execute() if refs else []
        pairs = zip(refs, values[::2], values[1::2], strict=True)
        return [StepRecord(invocation_from(ref, fields), raw) for ref, fields, raw in pairs if fields]
