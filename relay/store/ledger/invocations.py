"""The ledger of invocations: runs one script per transition, and reads records."""

from __future__ import annotations

from collections import deque
from itertools import chain
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from relay.audit.actor import actor
from relay.domain.invocation import IDEMPOTENCY_MS
from relay.errors import Conflict, NotFound, RelayError
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.keys.names import key_in, partition_root
from relay.store.ledger.acceptance import (
    Accepted,
    LaneMessage,
    NewInvocation,
    accepted_from,
    group_args,
)
from relay.store.ledger.parked import ParkedCalls, some_webhooks
from relay.store.ledger.reading import RecordReader
from relay.store.ledger.transitions import (
    CallRecord,
    ChainEnd,
    Claimed,
    NextStep,
    Ready,
    Settled,
    Settlement,
    advance_args,
    claimed_from,
    claimed_together,
    found_from,
    ready_from,
    settle_args,
    settled_from,
    settled_together,
)
from relay.store.ledger.waiting import WaitingCalls, to_publish
from relay.store.partitions.plugins import plugins_in
from relay.store.partitions.reachable import ask_partitions
from relay.store.scripting.scripts import Scripts
from relay.store.server.clock import time_ms_at
from relay.store.server.errors import store_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import redis

    from relay.domain.invocation import Invocation
    from relay.store.ledger.limits import Limits

#: How long a worker may have a call in hand before a sweep checks whether it was lost, in milliseconds.
GRACE_MS: Final = 5_000
#: How many `rejected` records are written per plugin and minute; further refusals are only counted.
REFUSALS_A_MINUTE: Final = 600
#: How many calls one run of a script visits: the server does nothing else meanwhile.
REVISITED: Final = 64
#: How many step invocations one outermost chain may make.
CHAIN_STEPS: Final = 1_000


class InvocationStore(RecordReader):
    """Records and their transitions. Every method raises `Unavailable` while the server is away."""

    def __init__(
        self,
        client: redis.Redis,
        limits: Limits,
        *,
        lease_margin_ms: int,
        operator: str = "",
        keys: Keyspace = SINGLE,
    ) -> None:
        super().__init__(client, Scripts(client), keys, limits)
        self.parked_calls = ParkedCalls(client, self._scripts, GRACE_MS, keys)
        self.waiting = WaitingCalls(client, self._scripts, keys)
        self._lease_margin_ms = lease_margin_ms
        self._operator = operator

    # -- transitions --------------------------------------------------------------------------------------------

    def accept(
        self, news: Sequence[NewInvocation], lanes: Sequence[LaneMessage]
    ) -> tuple[list[Accepted], list[tuple[str, int]]]:
        """Write a group of triggers to the store; once this returns, each accepted one is safe.

        If the triggers belong to several partitions, each of them waits for all of these partitions.

        Triggers of the given ``lanes`` then wait for a worker. Returns the answer to each trigger, and the lane and
        partition of each message that remains to be published.
        """
        groups = self.keys.spread(news, lambda new: self.keys.root(new.plugin))
        replies: dict[int, Accepted] = {}
        left = []
        for group in groups:
            reply = self._scripts.run("accept", self._accept_args(group.items, lanes), group.root)
            accepted, messages = self._accepted(group.items, reply)
            replies |= zip(group.places, accepted, strict=True)
            left += messages
        return [replies[place] for place in range(len(news))], left

    def accept_in_turn(
        self, groups: Iterable[tuple[Sequence[NewInvocation], Sequence[LaneMessage]]]
    ) -> Iterator[tuple[list[Accepted], list[tuple[str, int]]] | RelayError]:
        """Accept groups in order, each from one partition; for each, yield what `accept` returns or raises.

        The next group is taken from ``groups`` while the server works on the previous one.
        """
        sent: deque[Sequence[NewInvocation]] = deque()

        def runs() -> Iterator[tuple[str, list[Any]]]:
            for news, lanes in groups:
                sent.append(news)
                yield self.keys.root(news[0].plugin), self._accept_args(news, lanes)

        for reply in self._scripts.run_in_turn("accept", runs()):
            news = sent.popleft()
            yield reply if isinstance(reply, RelayError) else self._accepted(news, reply)

    def _accepted(
        self, news: Sequence[NewInvocation], reply: list[Any]
    ) -> tuple[list[Accepted], list[tuple[str, int]]]:
        replies, messages = reply
        return accepted_from(replies), to_publish(messages, self.keys.partition_of(news[0].plugin))

    def _accept_args(self, news: Sequence[NewInvocation], lanes: Sequence[LaneMessage]) -> list[Any]:
        limits = self._limits
        args: list[Any] = [GRACE_MS, limits.max_pending, limits.max_pending_per_plugin, limits.max_pending_bytes]
        args += [REFUSALS_A_MINUTE, *limits.retention_args, IDEMPOTENCY_MS]
        # A group may hold triggers of several API keys, each named by its trigger; a command's triggers name its
        # operator.
        args += [limits.max_pending_bytes_per_plugin, self._operator]
        return args + group_args(news, lanes, max_age_ms=limits.max_age_ms)

    @property
    def lease_margin_s(self) -> float:
        """How many seconds longer than its timeout a call is leased."""
        return self._lease_margin_ms / 1000

    def read(self, reference_ids: Sequence[str]) -> list[CallRecord]:
        """Read those of these invocations that are not final, with what it takes to prepare them. Changes nothing."""
        groups = self.keys.spread(reference_ids, self.keys.root_of_ref)
        return [
            found
            for group in groups
            for found in found_from(group.items, self._scripts.run("read", group.items, group.root))
        ]

    def claim(
        self, reference_ids: Sequence[str], claim_token: str, *, full: Sequence[str] = (), park: Sequence[str] = ()
    ) -> Claimed:
        """Claim calls, each with a lease of its timeout plus a margin from now; park others.

        The ids in ``full``, whose webhook had no permit left when they were read, are parked, and so are those in
        ``park``, for which this worker has no capacity.
        """
        every = [*reference_ids, *full, *park]
        asked, read_full = len(reference_ids), len(reference_ids) + len(full)
        claims = []
        for group in self.keys.spread(every, self.keys.root_of_ref):
            taken = sum(place < asked for place in group.places)
            args = [claim_token, self._lease_margin_ms, GRACE_MS, *self._limits.retention_args]
            args += [taken, sum(asked <= place < read_full for place in group.places), *group.items]
            claims.append(claimed_from(group.items, self._scripts.run("claim", args, group.root)))
        return claims[0] if len(claims) == 1 else claimed_together(claims)

    def settle(self, settlements: Sequence[Settlement]) -> Settled:
        """Record the outcomes of attempts."""
        groups = self.keys.spread(settlements, lambda each: self.keys.root_of_ref(each.reference_id))
        answers = []
        for group in groups:
            args: list[Any] = [GRACE_MS, *self._limits.retention_args, len(group.items)]
            for each in group.items:
                args.extend(settle_args(each))
            answers.append(settled_from(len(group.items), self._scripts.run("settle", args, group.root)))
        return settled_together(answers, [place for group in groups for place in group.places])

    def release(self, reference_ids: Sequence[str], claim_token: str) -> Ready:
        """Release claimed calls that were not sent; return them, and the calls that their freed permits wake."""
        ready: Ready = ()
        for group in self.keys.spread(reference_ids, self.keys.root_of_ref):
            args = [claim_token, GRACE_MS, *group.items]
            ready += ready_from(self._scripts.run("release", args, group.root))
        return ready

    def advance(self, decisions: Sequence[NextStep | ChainEnd]) -> Claimed:
        """Take chains further: make the calls of their next steps and have them wait for these, or end them.

        A chain that may not go on now is skipped, parked or ended like a call that is claimed.
        """
        answers = []
        for group in self.keys.spread(decisions, lambda each: self.keys.root_of_ref(each.reference_id)):
            args: list[Any] = [self._lease_margin_ms, GRACE_MS, *self._limits.retention_args]
            args += [CHAIN_STEPS, len(group.items)]
            for each in group.items:
                args.extend(advance_args(each, self._limits.max_age_ms))
            reply = self._scripts.run("advance", args, group.root)
            answers.append(claimed_from([each.reference_id for each in group.items], reply))
        return answers[0] if len(answers) == 1 else claimed_together(answers)

    def cancel(self, reference_id: str, *, plugin: str | None = None) -> Ready:
        """Cancel an invocation that no worker has claimed; return what may be run now (its parent, if it was a step).

        Raises:
            NotFound: there is no such record, or none of that plugin.
            Conflict: the invocation is being sent, or final.
        """
        args = [GRACE_MS, *self._limits.retention_args, plugin or "", reference_id, actor()]
        verdict, state, ready = self._scripts.run("cancel", args, self.keys.root_of_ref(reference_id))
        if verdict == b"unknown":
            raise NotFound
        if verdict == b"refused":
            raise Conflict(f"The invocation is {state.decode()}: it cannot be cancelled.", reference_id=reference_id)
        return ready_from(ready)

    def sweep(self, *, limit: int) -> Ready:
        """Take up to ``limit`` due alarms per partition; return the calls that may be run."""
        return sum(
            (ready_from(reply) for reply in self._in_each("sweep", [GRACE_MS, limit, self._lease_margin_ms])), ()
        )

    def expire(self, *, limit: int, webhooks: int = 64) -> tuple[int, bool, Ready]:
        """End up to ``limit`` calls per partition past their age or deadline, shared among ``webhooks`` webhooks.

        Returns how many ended, whether more are waiting to be ended, and what may be run now.
        """
        args = [uuid4().hex, self._lease_margin_ms, GRACE_MS, *self._limits.retention_args, limit, webhooks]

        def end(number: int) -> Any:
            if self._scripts.waits and not self._has_aged(number):
                return 0, b"", ()  # the script would wait for replicas even with nothing to do
            return self._scripts.run("expire", args, partition_root(number))

        replies = ask_partitions(self._client, self.keys, end)
        ready: Ready = sum((ready_from(each[2]) for each in replies), ())
        return sum(int(each[0]) for each in replies), any(each[1] for each in replies), ready

    def _has_aged(self, number: int) -> bool:
        """Return whether a call of a partition may have to end now."""
        root = partition_root(number)
        with store_errors():
            first = self._client.zrange(key_in(root, "ages"), 0, 0, withscores=True)
            return bool(first) and first[0][1] <= time_ms_at(self._client, root)

    def revisits(self, partition: int, *, limit: int) -> list[tuple[str, str]]:
        """Return some of a partition's webhooks whose calls must be revisited, as plugin and webhook id."""
        return some_webhooks(self._client, key_in(partition_root(partition), "revisits"), limit)

    def revisit(self, plugin: str, webhook_id: str) -> Iterator[Ready]:
        """Visit a webhook's waiting calls: end those of removed revisions, and make ready those that may be sent now.

        Yields pages of what may be run, for the caller to publish. If the caller stops early, a sweep does the rest.
        """
        cursor = "0"
        while True:
            args = [uuid4().hex, self._lease_margin_ms, GRACE_MS, *self._limits.retention_args, plugin, webhook_id]
            next_cursor, ready = self._scripts.run("revisit", [*args, cursor, REVISITED], self.keys.root(plugin))
            yield ready_from(ready)
            cursor = next_cursor.decode()
            if cursor == "0":
                return

    def prune(self, *, limit: int) -> int:
        """Delete up to ``limit`` records and replay jobs per partition whose retention has passed; return how many."""
        return sum(int(count) for count in self._in_each("prune", [limit]))

    def drop_contents(self, *, limit: int) -> tuple[int, bool]:
        """Drop the oldest contents of plugins that keep too many bytes: those of at most ``limit`` records of each.

        Returns how many records lost their contents, and whether a plugin that keeps too many has newer records.
        """
        most = self._limits.max_kept_bytes_per_plugin

        def drop(number: int) -> list[tuple[int, bytes]]:
            with store_errors():
                plugins = plugins_in(self._client, number)
                pipeline = self._client.pipeline(transaction=False)
                for plugin in plugins:
                    pipeline.hget(self.keys.of_plugin("plugin_bytes", plugin), "kept")
                kept = pipeline.execute() if plugins else []
            over = [plugin for plugin, size in zip(plugins, kept, strict=True) if int(size or 0) > most]
            root = partition_root(number)
            return [self._scripts.run("drop_contents", [plugin, most, limit], root) for plugin in over]

        runs = [*chain.from_iterable(ask_partitions(self._client, self.keys, drop))]
        return sum(int(dropped) for dropped, _ in runs), any(more for _, more in runs)

    def _in_each(self, script: str, args: Sequence[Any]) -> Iterable[Any]:
        """Run a script in every partition; return the answers of those that answer."""
        return ask_partitions(
            self._client, self.keys, lambda number: self._scripts.run(script, args, partition_root(number))
        )

    def forget(self, plugin: str, reference_id: str) -> Invocation:
        """Delete the payload and result of an invocation, and of a chain's steps; the rest of the record stays.

        Raises:
            NotFound, Expired: as in `get`.
            Conflict: it is not final, or one of its steps is not, or the chain that it is a step of is not.
        """
        self.get(plugin, reference_id)
        if self._scripts.run("forget", [reference_id, actor()], self.keys.root_of_ref(reference_id)) == b"unfinished":
            raise Conflict(
                "The invocation, a step of it or its chain is not final: it cannot be forgotten yet.",
                reference_id=reference_id,
            )
        return self.get(plugin, reference_id)
