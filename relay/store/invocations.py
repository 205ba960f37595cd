"""The ledger of invocations: one script a transition, records read and listed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from relay.audit.actor import actor
from relay.errors import Conflict, Expired, NotFound
from relay.reference_id import reference_time_ms
from relay.store import keyspace
from relay.store.acceptance import Accepted, AcceptVerdict, Idempotency, NewInvocation, group_args, group_from
from relay.store.parked import ParkedCalls, some_webhooks
from relay.store.records import invocation_from
from relay.store.scripts import Scripts, store_errors
from relay.store.transitions import (
    Advance,
    CallRecord,
    Claimed,
    NewStep,
    Ready,
    Settled,
    Settlement,
    claimed_from,
    found_from,
    ready_from,
    settle_args,
    settled_from,
    step_args,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    import redis

    from relay.invocation import Invocation
    from relay.store.limits import Limits

__all__ = [
    "AcceptVerdict",
    "Accepted",
    "CallRecord",
    "Claimed",
    "Idempotency",
    "InvocationStore",
    "NewInvocation",
    "Settlement",
]

#: How long a message may be under way before somebody looks whether it was lost.
GRACE_MS: Final = 5_000
#: A queued id whose lane stays long is published again after so long, whatever the lane holds.
PATIENCE_MS: Final = 15 * 60_000
#: `rejected` records written for one plugin in one minute; beyond it they are only counted.
REFUSALS_A_MINUTE: Final = 600
#: How long an Idempotency-Key is remembered.
IDEMPOTENCY_MS: Final = 24 * 3600 * 1000
#: Calls that one script goes through, which holds the server up meanwhile.
REVISITED: Final = 64
#: Step invocations that one outermost chain may make.
CHAIN_STEPS: Final = 1_000


class InvocationStore:
    """Records and their transitions. Every method raises `Unavailable` while the server is away."""

    def __init__(self, client: redis.Redis, limits: Limits, *, lease_margin_ms: int, operator: str = "") -> None:
        self._client: Any = client  # redis-py types every reply as bytes or str; this client decodes nothing
        self._scripts = Scripts(client)
        self.parked_calls = ParkedCalls(client, self._scripts, GRACE_MS)
        self._limits = limits
        self._lease_margin_ms = lease_margin_ms
        self._operator = operator

    # -- transitions --------------------------------------------------------------------------------------------

    def accept_and_publish(
        self, news: Sequence[NewInvocation], messages: Sequence[tuple[str, bytes]]
    ) -> tuple[list[Accepted], bool]:
        """Write a group of triggers down; after this returns each accepted one is safe.

        Also put ``messages`` into their lanes if all of them are accepted, and say whether that was done: only where
        the broker is this database. The messages, ``(lane, message)``, carry the ids of all triggers.
        """
        limits = self._limits
        args: list[Any] = [GRACE_MS, limits.max_pending, limits.max_pending_per_plugin, limits.max_pending_bytes]
        args += [REFUSALS_A_MINUTE, *limits.retention, IDEMPOTENCY_MS]
        # Triggers of several keys come in one group, and each names its own; a command's are all its operator's.
        args += [limits.max_pending_bytes_per_plugin, self._operator]
        args += group_args(news, messages, max_age_ms=limits.max_age_ms)
        return group_from(self._scripts.run("accept", args))

    def read(self, reference_ids: Sequence[str]) -> list[CallRecord]:
        """The unfinished ones among these ids, with what is needed to prepare them. Changes nothing."""
        return list(found_from(reference_ids, self._scripts.run("read", reference_ids)))

    def claim(
        self, reference_ids: Sequence[str], claim_token: str, *, full: Sequence[str] = (), park: Sequence[str] = ()
    ) -> Claimed:
        """Take calls to send them, each until timeout + margin from now; park others.

        Those are what was read as ``full``, and what to ``park`` because there is no room for it here.
        """
        every = [*reference_ids, *full, *park]
        args = [claim_token, self._lease_margin_ms, GRACE_MS, *self._limits.retention]
        args += [len(reference_ids), len(full), *every]
        return claimed_from(every, self._scripts.run("claim", args))

    def settle(self, settlements: Sequence[Settlement]) -> Settled:
        """Record what came of calls."""
        args: list[Any] = [GRACE_MS, *self._limits.retention, len(settlements)]
        for settlement in settlements:
            args.extend(settle_args(settlement))
        return settled_from(self._scripts.run("settle", args))

    def release(self, reference_ids: Sequence[str], claim_token: str) -> Ready:
        """Give back calls that have not been sent; returns them and whom their places wake."""
        return ready_from(self._scripts.run("release", [claim_token, GRACE_MS, *reference_ids]))

    def advance(
        self, parent: str, claim_token: str, step: int, news: Sequence[NewStep], *, secrets: bytes = b""
    ) -> tuple[Advance, Ready]:
        """Create a chain's next step and let its parent wait for it; returns what may be run now.

        ``secrets``: what the chain hides in the answers of this step, sealed.
        """
        args: list[Any] = [claim_token, GRACE_MS, *self._limits.retention, CHAIN_STEPS, parent, step, secrets]
        args.append(len(news))
        for new in news:
            args.extend(step_args(new, self._limits.max_age_ms))
        verdict, ready = self._scripts.run("advance", args)
        return Advance(verdict.decode()), ready_from(ready)

    def cancel(self, reference_id: str, *, plugin: str | None = None) -> Ready:
        """Cancel an invocation that no worker has taken; returns what may be run now (a parent it was the step of).

        Raises:
            NotFound: there is no such record (for that plugin).
            Conflict: it is being sent, or final.
        """
        args = [GRACE_MS, *self._limits.retention, plugin or "", reference_id, actor()]
        verdict, state, ready = self._scripts.run("cancel", args)
        if verdict == b"unknown":
            raise NotFound
        if verdict == b"refused":
            raise Conflict(f"The invocation is {state.decode()}: it cannot be cancelled.", reference_id=reference_id)
        return ready_from(ready)

    def sweep(
        self, worker: str, empty: Collection[str], short: Iterable[str] = (), *, limit: int, lane_limit: int = 0
    ) -> Ready:
        """Take up to ``limit`` alarms that rang; returns what to publish. Lanes neither empty nor short are long.

        Of one that holds messages ``lane_limit`` are taken, if that is given.
        """
        args = [worker, GRACE_MS, PATIENCE_MS, limit, lane_limit or limit, len(empty), *empty, *short]
        return ready_from(self._scripts.run("sweep", args))

    def expire(self, *, limit: int, webhooks: int = 64) -> tuple[int, bool, Ready]:
        """End up to ``limit`` calls that have had their time, of so many webhooks an equal part.

        Returns how many ended, whether others wait for the same, and what may be run now.
        """
        args = [uuid4().hex, self._lease_margin_ms, GRACE_MS, *self._limits.retention, limit, webhooks]
        ended, more, ready = self._scripts.run("expire", args)
        return int(ended), bool(more), ready_from(ready)

    def revisits(self, *, limit: int) -> list[tuple[str, str]]:
        """Some of the webhooks, with their plugins, whose waiting calls somebody has to go through."""
        return some_webhooks(self._client, keyspace.revisits(), limit)

    def revisit(self, plugin: str, webhook_id: str) -> Iterator[Ready]:
        """Go through a webhook's waiting calls: end those of a removed one, let those go that may go now.

        Yields pages of what may be run, for the caller to publish. What is left undone a sweep does.
        """
        cursor = "0"
        while True:
            args = [uuid4().hex, self._lease_margin_ms, GRACE_MS, *self._limits.retention, plugin, webhook_id]
            next_cursor, ready = self._scripts.run("revisit", [*args, cursor, REVISITED])
            yield ready_from(ready)
            cursor = next_cursor.decode()
            if cursor == "0":
                return

    def waits(self, plugin: str, webhook_id: str) -> bool:
        """Whether a webhook has calls that are not final, registered or not."""
        with store_errors():
            return bool(self._client.exists(keyspace.open_calls(plugin, webhook_id)))

    def prune(self, *, limit: int) -> int:
        """Forget up to ``limit`` final records whose retention has passed; returns how many."""
        return int(self._scripts.run("prune", [limit]))

    def drop_contents(self, *, limit: int) -> int:
        """Drop the oldest contents of plugins that keep too many bytes, looking at ``limit`` records of each at most.

        Returns how many records lost theirs.
        """
        most = self._limits.max_kept_bytes_per_plugin
        with store_errors():
            plugins = [name.decode() for name in self._client.smembers(keyspace.plugins())]
            pipeline = self._client.pipeline(transaction=False)
            for plugin in plugins:
                pipeline.hget(keyspace.plugin_bytes(plugin), "kept")
            kept = pipeline.execute() if plugins else []
        over = [plugin for plugin, size in zip(plugins, kept, strict=True) if int(size or 0) > most]
        return sum(int(self._scripts.run("drop_contents", [plugin, most, limit])[0]) for plugin in over)

    def forget(self, plugin: str, reference_id: str) -> Invocation:
        """Destroy payload and result of an invocation (of a chain: of its steps too); the rest of its record stays.

        Raises:
            NotFound, Expired: as `get`.
            Conflict: it is not final, or one of its steps is not.
        """
        self.get(plugin, reference_id)
        if self._scripts.run("forget", [reference_id, actor()]) == b"unfinished":
            raise Conflict("The invocation is not final: it cannot be forgotten.", reference_id=reference_id)
        return self.get(plugin, reference_id)

    # -- reading ------------------------------------------------------------------------------------------------

    def get(self, plugin: str, reference_id: str) -> Invocation:
        """The record of one of a plugin's invocations.

        Raises:
            NotFound: unknown, or another plugin's.
            Expired: older than its retention.
        """
        invocation = self.find(reference_id)
        if invocation.plugin != plugin:
            raise NotFound
        return invocation

    def find(self, reference_id: str) -> Invocation:
        """The record of anybody's invocation, for operators; raises as `get`."""
        if reference_time_ms(reference_id) is None:
            raise NotFound
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            pipeline.hgetall(keyspace.record(reference_id))
            pipeline.lrange(keyspace.steps(reference_id), 0, -1)
            pipeline.time()
            fields, steps, (seconds, _) = pipeline.execute()
        return self._found(reference_id, fields, steps, seconds * 1000)

    def look_up(self, reference_id: str, plugin: str | None = None) -> Invocation:
        """As `get`, or `find` without a plugin; whoever is shown the record is named in the audit trail."""
        if reference_time_ms(reference_id) is None:
            raise NotFound
        pairs, steps, now_ms = self._scripts.run("look_up", [reference_id, plugin or "", actor()])
        return self._found(reference_id, dict(zip(pairs[::2], pairs[1::2], strict=True)), steps, int(now_ms))

    def join(self, plugin: str, reference_id: str, process: str) -> Invocation:
        """Add an API process to the record's waiters, unless it is final already; raises as `get`."""
        if reference_time_ms(reference_id) is None:
            raise NotFound
        self._scripts.run("join", [reference_id, plugin, process])
        return self.get(plugin, reference_id)  # read after joining: an end that came in between is seen

    def result_of(self, reference_id: str) -> bytes | None:
        """The sealed data of an answer; None where no answer is kept."""
        with store_errors():
            sealed: bytes | None = self._client.get(keyspace.result(reference_id))
        return sealed

    def payload_of(self, reference_id: str) -> bytes | None:
        """The sealed trigger; None where none is kept."""
        with store_errors():
            sealed: bytes | None = self._client.get(keyspace.payload(reference_id))
        return sealed

    def _found(
        self, reference_id: str, fields: Mapping[bytes, bytes], steps: Sequence[bytes], now_ms: int
    ) -> Invocation:
        if not fields:
            kept_ms = min(self._limits.retention[:3])
            made_ms = reference_time_ms(reference_id)
            raise Expired if made_ms is not None and kept_ms < now_ms - made_ms else NotFound
        invocation = invocation_from(reference_id, fields, steps)
        if invocation.expires_at_ms is not None and invocation.expires_at_ms <= now_ms:
            raise Expired
        return invocation

    def count(self, plugin: str, counter: str) -> None:
        """Add one to a plugin's counter."""
        with store_errors():
            self._client.hincrby(keyspace.plugin_counts(plugin), counter, 1)

    def counts(self, plugin: str) -> dict[str, int]:
        """A plugin's counters by name."""
        with store_errors():
            found = self._client.hgetall(keyspace.plugin_counts(plugin))
        return {name.decode(): int(value) for name, value in found.items()}
