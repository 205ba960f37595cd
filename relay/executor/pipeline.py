"""The steps of a message's calls up to the claim. A task ends when its calls have started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import gevent

from relay.errors import StoreFault, Unavailable
from relay.executor.active_calls import webhook_of
from relay.executor.attempts import Attempts
from relay.executor.claiming import Claimer
from relay.executor.in_progress import InProgress
from relay.executor.preparation import Full, TokenWanted
from relay.executor.slots import Slots
from relay.executor.waking import Waking
from relay.process.clock import boot_time_s
from relay.process.loops import Failures
from relay.process.pulse import Part
from relay.store.transitions import Claimed
from relay.telemetry.log import Event, event

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from relay.executor.chain_turns import ChainTurns
    from relay.executor.conclusion import Conclusion
    from relay.executor.preparation import Call, Preparation
    from relay.executor.watch import CallWatch
    from relay.outbound.sender import Sender
    from relay.replay.running import Replaying
    from relay.store.invocations import InvocationStore
    from relay.store.transitions import CallRecord, Ready

#: Calls that one script claims: it holds the server for everybody.
CLAIM_ITEMS: Final = 32
#: For how long a message's calls may wait for their webhook's share before they are parked. Meanwhile the message
#: holds one of the few tasks of its process, so that those behind it wait as well.
HOLD_S: Final = 0.25
#: A message does not wait longer than this for calls of several partitions; they go on without it.
APART_S: Final = 1.0
#: What a stop leaves of its time for settling the last calls.
SETTLE_S: Final = 5.0
#: While every slot is taken, one call has to end within the longest timeout and what it takes to settle.
FULL_LOOKS: Final = 180
#: So many calls of a message are left out because something of them cannot be read now; then the store is away.
LEFT_OUT: Final = 2
#: Calls of one process that wait for access tokens. What is beyond comes again.
MAX_TOKENS_WANTED: Final = 4_096
NOTHING: Final = Claimed(0, frozenset(), frozenset(), ())


class Executor:
    """Runs invocations in one process, as many at a time as there are slots."""

    def __init__(  # noqa: PLR0913 - the parts of a process, wired in one place
        self,
        store: InvocationStore,
        preparation: Preparation,
        sender: Sender,
        conclusion: Conclusion,
        turns: ChainTurns,
        replaying: Replaying,
        watch: CallWatch,
        *,
        max_in_flight: int,
        lanes: Collection[str],
        publish: Callable[[Ready], object],
    ) -> None:
        self._store = store
        self._preparation = preparation
        self._replaying = replaying
        self._lanes = frozenset(lanes)
        self._hand_over = publish
        self._slots = Slots(max_in_flight)
        self._claimer = Claimer(store, self._publish)
        self._attempts = Attempts(
            store, sender, conclusion, turns, self._slots, watch, go_on=self._go_on, let_go=self._let_go
        )
        self.waking = Waking(store.parked_calls, self._slots, self._lanes, self._go_on)
        self._watch = watch
        self._in_progress = InProgress()
        self._tokens_wanted = 0
        self._draining = False

    def run(self, reference_ids: Sequence[object], found: Sequence[CallRecord] = ()) -> dict[str, int]:
        """Start the calls of one message; returns counts, which is all that a task may show.

        What is ``found`` of them is not read again.
        """
        for replay_id in self._replaying.named_by(reference_ids):
            gevent.spawn(self._replaying.run, replay_id)
        counts = self._run_apart(self._in_progress.take(reference_ids), found)
        counts["skipped"] = len(reference_ids) - counts["started"] - counts["parked"]
        event(Event.CALLS_STARTED, **counts)
        return counts

    def _run_apart(self, taken: Sequence[str], found: Sequence[CallRecord]) -> dict[str, int]:
        """Start calls of each partition apart: one whose server is silent holds up neither others nor a task."""
        if not self._store.is_divided:
            return self._run(taken, found, waits=False)
        parts = self._store.by_partition(taken)
        started = [gevent.spawn(self._run, part, _those_in(part, found), waits=False) for part in parts]
        gevent.joinall(started, timeout=APART_S)
        done = [each.value for each in started if each.value is not None]
        return {name: sum(counts[name] for counts in done) for name in ("started", "skipped", "parked")}

    def _run(self, taken: Sequence[str], found: Sequence[CallRecord], *, waits: bool) -> dict[str, int]:
        """Start calls that are in progress here; ``waits``: for access tokens too, which holds no task."""
        counts = {"started": 0, "skipped": 0, "parked": 0}
        left, apart = set(taken), False
        try:
            prepared = self._prepare(taken, found, waits)
            left -= self._await_tokens([call.record for call in prepared if isinstance(call, TokenWanted)])
            self._start_all([call for call in prepared if not isinstance(call, TokenWanted)], left, counts)
        except Exception as error:  # noqa: BLE001 - what was not claimed comes again
            apart = Failures("claim", calls=len(left)).note(error) and len(left) > 1
        finally:
            self._let_go(left)
        for reference_id in left if apart and not self._draining else ():
            gevent.spawn(self.run, [reference_id])  # one of them may be what the others fail with
        return counts

    @property
    def is_full(self) -> bool:
        """Whether every slot is taken, so that whoever brings calls has to wait."""
        return self._slots.free == 0

    def parts(self) -> tuple[Part, ...]:
        """What has to move here so that calls go on."""
        return (
            Part("settler", lambda: self._attempts.settler_moves),
            Part("calls", lambda: self._slots.ends if self.is_full else None, FULL_LOOKS, FULL_LOOKS),
        )

    def drain(self, timeout_s: float) -> None:
        """Stop: claim nothing more, give back what has not left, let the rest end, at most for ``timeout_s``."""
        self._draining = True
        self._replaying.stop()
        deadline_s = boot_time_s() + timeout_s
        given_back = self._release_unsent()
        while self._under_way and boot_time_s() < deadline_s - SETTLE_S:
            gevent.sleep(0.02)
        self._attempts.flush(max(0.0, deadline_s - boot_time_s()))
        event(Event.DRAINED, given_back=given_back, left=len(self._attempts))

    @property
    def _under_way(self) -> bool:
        return self._claimer.busy or len(self._attempts) > 0 or self._replaying.busy

    # -- before the claim ---------------------------------------------------------------------------------------

    def _prepare(
        self, taken: Sequence[str], found: Sequence[CallRecord], waits: bool
    ) -> Sequence[Call | Full | TokenWanted]:
        known = {record.reference_id: record for record in found}
        unknown = [ref for ref in taken if ref not in known]
        read = self._store.read(unknown) if unknown else ()
        every = [*(known[ref] for ref in taken if ref in known), *read]
        ready, failed = [], 0
        for record in every:
            try:
                ready.append(self._preparation.prepare(record, waits=waits))
            except (Unavailable, StoreFault) as error:
                failed += 1
                if Failures("prepare").note(error) or failed <= LEFT_OUT:
                    continue  # it comes again, and the others need not wait for it
                raise
        return ready

    def _await_tokens(self, records: Sequence[CallRecord]) -> set[str]:
        """Go on with these in greenlets of their own, one for each webhook's token; returns which."""
        by_revision: dict[tuple[str, str, int], list[str]] = {}
        for record in records[: MAX_TOKENS_WANTED - self._tokens_wanted]:
            name = record.plugin, record.webhook_id, record.revision
            by_revision.setdefault(name, []).append(record.reference_id)
        for reference_ids in by_revision.values():
            self._tokens_wanted += len(reference_ids)
            gevent.spawn(self._run_with_token, reference_ids)
        return {reference_id for of_one in by_revision.values() for reference_id in of_one}

    def _run_with_token(self, reference_ids: Sequence[str]) -> None:
        try:
            counts = self._run(reference_ids, (), waits=True)
        finally:
            self._tokens_wanted -= len(reference_ids)
        event(Event.CALLS_STARTED, **counts)

    def _start_all(self, waiting: Sequence[Call | Full], left: set[str], counts: dict[str, int]) -> None:
        park_at_s = boot_time_s() + HOLD_S
        while waiting and not self._draining:
            waiting, claimed = self._start_some(waiting, park_at_s)
            left -= claimed.granted | claimed.parked
            counts["started"] += len(claimed.granted)
            counts["parked"] += len(claimed.parked)
        if waiting:
            self._publish(tuple((call.record.reference_id, call.record.lane) for call in waiting))

    def _start_some(
        self, waiting: Sequence[Call | Full], park_at_s: float, look_at: int = CLAIM_ITEMS
    ) -> tuple[Sequence[Call | Full], Claimed]:
        """Claim and send as many as there are slots, park those beyond their webhook's share; returns the others.

        Those whose turn is near are kept until ``park_at_s``. The first are looked at, or all if these can only wait.
        """
        first, rest = waiting[:look_at], waiting[look_at:]
        full = [call for call in first if isinstance(call, Full)]
        others = [call for call in first if not isinstance(call, Full)]
        within, kept, parked = self._slots.sort(others, webhook_of, park_at_s - boot_time_s())
        if kept and len(kept) == len(first):
            if rest:
                return self._start_some(waiting, park_at_s, len(waiting))
            self._slots.wait_for_leave(park_at_s - boot_time_s())
            return kept, NOTHING
        count = self._slots.take(min(len(within), CLAIM_ITEMS)) if within else 0
        if self._draining:
            self._slots.give(count)
            return waiting, NOTHING
        return [*within[count:], *kept, *rest], self._start(within[:count], full, parked)

    def _start(self, batch: Sequence[Call], full: Sequence[Full], parked: Sequence[Call]) -> Claimed:
        unused = len(batch)
        try:
            grant = self._claimer.claim(_ids_of(batch), _ids_of(full), _ids_of(parked))
            claimed = grant.claimed
            for call in batch:
                if call.record.reference_id in claimed.granted:
                    unused -= 1
                    self._attempts.launch(grant.active_call(call))
        finally:
            self._slots.give(unused)
        for record in (call.record for call in (*batch, *full, *parked)):
            if record.reference_id in claimed.ended:
                self._watch.ended(record, *claimed.ended[record.reference_id])
        self._let_go(claimed.parked)
        self._go_on(claimed.ready)
        return claimed

    # -- what may be run now ------------------------------------------------------------------------------------

    def run_here(self, ready: Ready, found: Sequence[CallRecord] = ()) -> Ready:
        """Run what may be run now, where this process serves its lane and has room; returns the others."""
        own = [] if self._draining else [ref for ref, lane in ready if lane in self._lanes][: self._slots.free]
        if own:
            gevent.spawn(self.run, own, found)
        here = set(own)
        return tuple((ref, lane) for ref, lane in ready if ref not in here)

    def _go_on(self, ready: Ready, found: Sequence[CallRecord] = ()) -> None:
        """Run what may be run now; a message takes what this process cannot run."""
        others = self.run_here(ready, found)
        if others:
            self._publish(others)

    def _publish(self, ready: Ready) -> None:
        """Publish, which is a hint: whatever goes wrong, the sweeper does it again."""
        try:
            self._hand_over(ready)
        except Exception as error:  # noqa: BLE001
            Failures("publish", calls=len(ready)).note(error)

    def _release_unsent(self) -> int:
        unsent = self._attempts.shut_unsent()
        self._claimer.give_back(unsent)
        return sum(map(len, unsent.values()))

    def _let_go(self, reference_ids: Collection[str]) -> None:
        again = self._in_progress.let_go(reference_ids)
        if again and not self._draining:
            gevent.spawn(self.run, again)


def _those_in(part: Collection[str], found: Sequence[CallRecord]) -> Sequence[CallRecord]:
    wanted = set(part) if found else ()
    return [record for record in found if record.reference_id in wanted]


def _ids_of(calls: Sequence[Call | Full]) -> list[str]:
    return [call.record.reference_id for call in calls]
