"""Reads the results of a chain's steps, for the worker that continues the chain."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from relay.domain.invocation import Outcome, Sent, State
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.server.errors import store_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

_FIELDS: Final = ("state", "parentStep", "status", "error", "outcome", "sent")


@dataclass(frozen=True, slots=True)
class StepRecord:
    """The state of a step's invocation; ``raw`` is its answer's data before masking, sealed; None without answer."""

    reference_id: str
    step: int  # its number in its chain
    state: State
    status: int
    error: bool
    outcome: Outcome | None
    sent: Sent | None  # without an acceptable answer: whether a request may have left
    raw: bytes | None


class Steps:
    """Reads the steps of chains. Methods raise `Unavailable` while the server is away."""

    def __init__(self, client: redis.Redis, keys: Keyspace = SINGLE) -> None:
        self._keys = keys
        self._client: Any = client

    def of(self, parent: str, first: int = 0, end: int | None = None) -> list[StepRecord | None]:
        """Read a chain's calls from ``first`` up to but without ``end``, as created; None for a record that is gone."""
        return self.of_each([(parent, first, end)])[0]

    def of_each(self, ranges: Sequence[tuple[str, int, int | None]]) -> list[list[StepRecord | None]]:
        """Read calls of several chains together: for each ``(parent, first, end)`` what `of` returns for these."""
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for parent, first, end in ranges:
                pipeline.lrange(self._keys.steps(parent), first, -1 if end is None else end - 1)
            refs = [[ref.decode() for ref in each] for each in pipeline.execute()]
            for ref in chain.from_iterable(refs):
                pipeline.hmget(self._keys.record(ref), *_FIELDS)
                pipeline.get(self._keys.raw(ref))
            values = iter(pipeline.execute())  # of an empty pipeline: nothing, without asking
        return [[_step_from(ref, next(values), next(values)) for ref in each] for each in refs]

    def has_any(self, parent: str) -> bool:
        """Return whether a chain has made a step."""
        with store_errors():
            return bool(self._client.exists(self._keys.steps(parent)))

    def secrets(self, parent: str) -> bytes | None:
        """Read the sealed texts that a chain hides in its steps' answers; None if it has none or is over."""
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            pipeline.hget(self._keys.record(parent), "state")
            pipeline.get(self._keys.secrets(parent))
            state, sealed = pipeline.execute()
        return sealed if state and not State(state.decode()).final else None


def _step_from(reference_id: str, fields: list[bytes | None], raw: bytes | None) -> StepRecord | None:
    if not fields[0]:
        return None
    state, step, status, error, outcome, sent = ((value or b"").decode() for value in fields)
    return StepRecord(
        reference_id,
        step=int(step or 0),
        state=State(state),
        status=int(status or 0),
        error=error == "1",
        outcome=Outcome(outcome) if outcome else None,
        sent=Sent(sent) if sent else None,
        raw=raw,
    )
