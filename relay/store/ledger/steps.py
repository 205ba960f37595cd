"""Reads the results of a chain's steps, for the worker that continues the chain."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from relay.domain.invocation import FINAL, Outcome, Sent, State
from relay.errors import StoreFault
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.server.errors import store_errors
from relay.store.server.fields import StoredFields, number_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

_GONE: Final = "A step's record is gone."
_FIELDS: Final = ("state", "parentStep", "status", "error", "outcome", "sent")


@dataclass(frozen=True, slots=True)
class StepRecord:
    """The state of a step's invocation; ``raw`` is its answer's data before masking, sealed; None for no answer."""

    reference_id: str
    step: int  # its number in its chain
    state: State
    status: int
    error: bool
    outcome: Outcome | None
    sent: Sent | None  # without an acceptable answer: whether a request may have left
    raw: bytes | None


class Steps:
    """Reads the steps of chains.

    Methods raise `Unavailable` while the server is away, and `StoreFault` for a step that cannot be read, or that seems
    to be gone: steps stay longer than their chain runs.
    """

    def __init__(self, client: redis.Redis, keys: Keyspace = SINGLE) -> None:
        self._keys = keys
        self._client: Any = client

    def of(self, parent: str, first: int = 0, end: int | None = None) -> list[StepRecord]:
        """Read a chain's calls from ``first`` up to ``end`` (exclusive), in order."""
        return self.of_each([(parent, first, end)])[0]

    def of_each(self, ranges: Sequence[tuple[str, int, int | None]]) -> list[list[StepRecord]]:
        """Read calls of several chains at once: for each ``(parent, first, end)``, what `of` returns."""
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for parent, first, end in ranges:
                pipeline.lrange(self._keys.of_ref("steps", parent), first, -1 if end is None else end - 1)
            refs = [[ref.decode() for ref in each] for each in pipeline.execute()]
            if any(
                end is not None and len(each) < end - first for each, (_, first, end) in zip(refs, ranges, strict=True)
            ):
                raise StoreFault(_GONE)
            for ref in chain.from_iterable(refs):
                pipeline.hmget(self._keys.of_ref("record", ref), *_FIELDS)
                pipeline.get(self._keys.of_ref("raw", ref))
            values = iter(pipeline.execute())  # an empty pipeline asks nothing
            return [[_step_from(ref, next(values), next(values)) for ref in each] for each in refs]

    def secrets(self, parent: str) -> bytes | None:
        """Read the sealed texts that a chain hides in its steps' answers; None if it has none or is over."""
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            pipeline.hget(self._keys.of_ref("record", parent), "state")
            pipeline.get(self._keys.of_ref("secrets", parent))
            state, sealed = pipeline.execute()
        return sealed if state and state.decode("utf-8", "replace") not in FINAL else None


def _step_from(reference_id: str, fields: list[bytes | None], raw: bytes | None) -> StepRecord:
    if not fields[0]:
        raise StoreFault(_GONE)
    stored = StoredFields(
        reference_id, {name.encode(): value for name, value in zip(_FIELDS, fields, strict=True) if value}
    )
    state, step = stored.get("state", State), stored.get("parentStep", number_of)
    if state is None or step is None:
        raise StoreFault("A step's record is damaged, or a newer release wrote it.")
    return StepRecord(
        reference_id,
        step,
        state,
        status=stored.number("status") or 0,
        error=stored.text("error") == "1",
        outcome=stored.get("outcome", Outcome),
        sent=stored.get("sent", Sent),
        raw=raw,
    )
