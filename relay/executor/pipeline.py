"""Takes waiting calls and runs them up to their claim. A task ends when the calls that it took have started."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

import gevent

from relay.domain.invocation import State
from relay.executor.active_calls import ActiveCalls, webhook_of
from relay.executor.advancing import Advancer
from relay.executor.batch import Batch
from relay.executor.claiming import Claimer
from relay.executor.group_queue import PartitionQueues
from relay.executor.in_flight import InFlight
from relay.executor.scheduler import Scheduler
from relay.executor.slots import Slots
from relay.process.clock import boot_time_s
from relay.process.loops import Failures, Loop
from relay.process.pulse import Part
from relay.queue import GROUP_IDS, URGENT
from relay.telemetry.log import Event, event

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from relay.executor.chain_evaluation import ChainEvaluator
    from relay.executor.conclusion import Conclusion
    from relay.executor.preparation import Call, Preparation
    from relay.executor.watch import CallWatch
    from relay.outbound.sender import Sender
    from relay.queue import Publisher
    from relay.replay.running import Replaying
    from relay.store.decisions.every import EveryDecision
    from relay.store.ledger.invocations import InvocationStore
    from relay.store.ledger.transitions import CallRecord, Claimed

#: The most calls that one script claims; the server does nothing else meanwhile.
CLAIM_ITEMS: Final = 32
#: After a take of calls that nobody waits for, how many seconds the next one waits: one for ten calls costs little more
#: than one for a single call.
PACE_S: Final = 0.01
#: With several partitions, how many seconds a task waits for its calls to start; after that they start without it.
APART_S: Final = 1.0
#: How many seconds of a stop are reserved for settling the last calls.
SETTLE_S: Final = 5.0
#: While every slot is taken, a call must end within this many looks (`LOOK_S`): the longest timeout and a settle.
FULL_LOOKS: Final = 180
#: How many calls of one process may wait for access tokens at a time. A sweep brings any others back.
MAX_TOKENS_WANTED: Final = 4_096


class Executor:
    """Runs invocations in one process, as many at a time as there are slots."""

    def __init__(  # noqa: PLR0913 - the parts of a process, wired in one place
        self,
        store: InvocationStore,
        decisions: EveryDecision,
        preparation: Preparation,
        sender: Sender,
        conclusion: Conclusion,
        evaluator: ChainEvaluator,
        replaying: Replaying,
        watch: CallWatch,
        *,
        max_in_flight: int,
        lanes: Collection[str],
        publisher: Publisher,
    ) -> None:
        self._store = store
        self._decisions = decisions
        self._preparation = preparation
        self._replaying = replaying
        self._waiting = store.waiting
        self._slots = Slots(max_in_flight)
        self.scheduler = Scheduler(store, self._slots, publisher, lanes)
        self._claimer = Claimer(store, self.scheduler)
        self._active_calls = ActiveCalls(self._slots, watch)
        self._in_flight = InFlight(
            store, sender, conclusion, evaluator, self._claimer, self._active_calls, self.scheduler, watch
        )
        self._advancers = PartitionQueues(store, lambda: Advancer(store, self.scheduler, watch))
        self._watch = watch
        self._tokens_wanted = 0
        self._looking: set[int] = set()  # partitions
        self._next_take_s: defaultdict[int, float] = defaultdict(float)  # by partition: not before, if nobody waits
        self._failures: defaultdict[int, Failures] = defaultdict(lambda: Failures("take"))  # by partition
        self._starter = gevent.spawn(Loop("start", self._start_run, gevent.sleep).run)

    def run_waiting(self, lanes: Sequence[str], partition: int) -> dict[str, int]:
        """Start the calls that wait in these lanes of a partition; return counts, all that a task's result may show.

        If there are several partitions, a task does not wait long for this one, whose server may not be responding.
        """
        if partition not in range(self._waiting.partitions):  # whoever may write to the broker can name any
            return _no_counts()
        if self._store.keys.partitions == 1:
            return self._run_waiting(lanes, partition)
        running = gevent.spawn(self._run_waiting, lanes, partition)
        running.join(APART_S)
        return running.value or _no_counts()

    def look(self) -> None:
        """Start waiting calls of all lanes of this process, as far as it has room: messages may be lost or late."""
        for partition in range(self._waiting.partitions):
            if self._slots.free and not self.scheduler.draining and partition not in self._looking:
                self._looking.add(partition)
                gevent.spawn(self._look, partition)

    def _look(self, partition: int) -> None:
        try:
            self._run_waiting(self.scheduler.lanes, partition)
        finally:
            self._looking.remove(partition)

    def _run_waiting(self, lanes: Sequence[str], partition: int) -> dict[str, int]:
        total, more = Counter(_no_counts()), True
        if URGENT not in lanes:
            gevent.sleep(max(0.0, self._next_take_s[partition] - boot_time_s()))
        while more and self._may_take():
            try:
                taken = self._waiting.take(partition, lanes, most=GROUP_IDS)
            except Exception as error:  # noqa: BLE001 - they are still in their list, or a sweep puts them back there
                self._failures[partition].note(error)
                break
            self._failures[partition].succeeded()
            if taken.reference_ids:
                self._next_take_s[partition] = boot_time_s() + PACE_S
                self._run_jobs(taken.reference_ids)
                calls = self.scheduler.take([record.reference_id for record in taken.records])
                total.update(_noted(len(taken.reference_ids), self._run(calls, taken.records, waits=False)))
            more = taken.more
        return dict(total)

    def _may_take(self) -> bool:
        """Wait until a slot is free; return False once a drain has begun, also meanwhile: others get the calls."""
        if not self.scheduler.draining:
            self._slots.wait_for_free()
        return not self.scheduler.draining

    def run(
        self, reference_ids: Sequence[str], found: Sequence[CallRecord] = (), *, waits: bool = False
    ) -> dict[str, int]:
        """Start these calls, and return counts. Records in ``found`` are not read again; for ``waits`` see `_run`."""
        self._run_jobs(reference_ids)
        return _noted(len(reference_ids), self._run(self.scheduler.take(reference_ids), found, waits=waits))

    def _run_jobs(self, reference_ids: Sequence[str]) -> None:
        for replay_id in self._replaying.named_by(reference_ids):
            gevent.spawn(self._replaying.run, replay_id)

    def _run(self, taken: Sequence[str], found: Sequence[CallRecord], *, waits: bool) -> Counter[str]:
        """Start calls that this process has in progress; ``waits`` says whether they wait for access tokens."""
        batch, apart = Batch(set(taken), waits), False
        try:
            self._start_all(self._read(taken, found), batch)
        except Exception as error:  # noqa: BLE001 - a sweep puts calls that were not claimed back on the waiting list
            apart = Failures("claim", calls=len(batch.left)).note(error) and len(batch.left) > 1
        finally:
            self.scheduler.release(batch.left)
        for reference_id in batch.left if apart and not self.scheduler.draining else ():
            gevent.spawn(self.run, [reference_id])  # one of them may make the others fail
        return batch.counts

    @property
    def is_full(self) -> bool:
        """Whether every slot is taken, so that further calls have to wait."""
        return self._slots.free == 0

    def parts(self) -> tuple[Part, ...]:
        """Return the parts that must keep moving; if one stands still, the heartbeat ends the process."""
        return (
            Part("settler", lambda: self._in_flight.settlers.moves),
            Part("advancer", lambda: self._advancers.moves),
            Part("calls", lambda: self._slots.ends if self.is_full else None, FULL_LOOKS, FULL_LOOKS),
        )

    def drain(self, timeout_s: float) -> None:
        """Claim nothing more, give back the unsent calls, and let the others end, within ``timeout_s`` seconds."""
        self.scheduler.draining = True
        self._replaying.stop()
        deadline_s = boot_time_s() + timeout_s
        given_back = self._release_unsent()
        while self._under_way and boot_time_s() < deadline_s - SETTLE_S:
            gevent.sleep(0.02)
        self._in_flight.settlers.flush(max(0.0, deadline_s - boot_time_s()))
        self._advancers.flush(max(0.0, deadline_s - boot_time_s()))
        event(Event.DRAINED, given_back=given_back, left=len(self._active_calls))

    @property
    def _under_way(self) -> bool:
        return self._claimer.busy or len(self._active_calls) > 0 or self._replaying.busy

    # -- before the claim ---------------------------------------------------------------------------------------

    def _read(self, taken: Sequence[str], found: Sequence[CallRecord]) -> Sequence[CallRecord]:
        known = {record.reference_id: record for record in found}
        unknown = [ref for ref in taken if ref not in known]
        read = self._store.read(unknown) if unknown else ()
        return [*(known[ref] for ref in taken if ref in known), *read]

    def _await_tokens(self, records: Sequence[CallRecord]) -> set[str]:
        """Run these calls, in a greenlet for each token that is wanted; return the ids of those that it runs."""
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
            _noted(len(reference_ids), self._run(reference_ids, (), waits=True))
        finally:
            self._tokens_wanted -= len(reference_ids)

    def _start_all(self, waiting: Sequence[CallRecord], batch: Batch) -> None:
        while waiting and not self.scheduler.draining:
            while batch.hold_s and self._slots.has_enough(webhook_of(waiting[0])):
                self._slots.wait_for_leave(batch.hold_s)
            waiting = self._start_some(waiting, batch)
        if waiting:
            self.scheduler.publish(tuple((record.reference_id, record.lane) for record in waiting))
        for decided in batch.decided:
            decided.done.wait()

    def _start_some(
        self, waiting: Sequence[CallRecord], batch: Batch, look_at: int = CLAIM_ITEMS
    ) -> Sequence[CallRecord]:
        """Claim and send as many calls as there are slots, park those beyond their webhook's share; return the others.

        Calls for which a slot is soon free are kept until the batch's hold ends. Only the first ``look_at`` calls are
        sorted, or all if none of these can be sent or parked now. Only calls that may be sent now are prepared. If a
        decision has paused a webhook whose record says otherwise, its calls are left out for a later sweep.
        """
        paused = self._decisions.paused({webhook_of(record) for record in waiting[:look_at] if not record.full})
        first = [record for record in waiting[:look_at] if record.full or webhook_of(record) not in paused]
        rest = waiting[look_at:]
        full = [record for record in first if record.full or record.state is State.WAITING]
        others = [record for record in first if not record.full and record.pins is None]
        self._advance([record for record in first if _may_advance(record)], batch)
        within, kept, parked = self._slots.sort(others, webhook_of, batch.hold_s)
        if kept and len(kept) == len(first):
            if rest:
                return self._start_some(waiting, batch, len(waiting))
            self._slots.wait_for_leave(batch.hold_s)
            return kept
        calls, wanting = batch.prepare(self._preparation, within[:CLAIM_ITEMS])
        batch.left -= self._await_tokens(wanting)
        count = self._slots.take(len(calls)) if calls else 0
        if self.scheduler.draining:
            self._slots.give(count)
            return waiting
        batch.keep(calls[count:])
        if calls or full or parked:
            self._start(calls[:count], full, parked, batch)
        return [*(call.record for call in calls[count:]), *within[CLAIM_ITEMS:], *kept, *rest]

    def _start(
        self, calls: Sequence[Call], full: Sequence[CallRecord], parked: Sequence[CallRecord], batch: Batch
    ) -> None:
        unused = len(calls)
        try:
            claimed, active_calls = self._claimer.claim(calls, _ids_of(full), _ids_of(parked))
            for active in active_calls:
                unused -= 1
                self._in_flight.launch(active)
        finally:
            self._slots.give(unused)
        batch.claimed(claimed)
        self._follow(claimed, (*(call.record for call in calls), *full, *parked))

    def _advance(self, chains: Sequence[CallRecord], batch: Batch) -> None:
        """Take chains further, which needs neither a claim nor a slot: nothing is sent."""
        for decided in batch.decide(self._preparation, chains) if chains else ():
            batch.left.discard(decided.record.reference_id)
            batch.counts["started"] += 1
            batch.decided.append(decided)
            self._advancers.put(decided.record.reference_id, decided)

    def _follow(self, claimed: Claimed, records: Iterable[CallRecord]) -> None:
        """Handle the calls that a claim has parked, woken or ended; whatever fails, the parked ones are released."""
        self.scheduler.release(claimed.parked)
        self.scheduler.run_or_publish(claimed.ready)
        for record in records if claimed.ended else ():
            if record.reference_id in claimed.ended:
                self._watch.ended(record, *claimed.ended[record.reference_id])

    # -- calls that may run now ---------------------------------------------------------------------------------

    def _start_run(self) -> None:
        """Start the next run that the scheduler asks for, in a greenlet of its own."""
        gevent.spawn(self._run_woken, *self.scheduler.runs.get())

    def _run_woken(self, reference_ids: Sequence[str], found: Sequence[CallRecord]) -> None:
        with self._slots.coming(map(webhook_of, _those_in(reference_ids, found))):
            self.run(reference_ids, found)

    def _release_unsent(self) -> int:
        unsent = self._active_calls.shut_unsent()
        self._claimer.give_back(unsent)
        return sum(map(len, unsent.values()))


def _noted(asked: int, counts: Counter[str]) -> dict[str, int]:
    """Log how many of the calls that were asked for have started, were skipped or parked; return these counts."""
    noted = {"started": counts["started"], "skipped": asked - counts.total(), "parked": counts["parked"]}
    event(Event.CALLS_STARTED, **noted)
    return noted


def _no_counts() -> dict[str, int]:
    return {"started": 0, "skipped": 0, "parked": 0}


def _those_in(part: Collection[str], found: Sequence[CallRecord]) -> Sequence[CallRecord]:
    wanted = set(part) if found else ()
    return [record for record in found if record.reference_id in wanted and record.pins is None]


def _may_advance(record: CallRecord) -> bool:
    """Return whether this is a chain that does not wait for a step, and whose webhook is not paused."""
    return record.pins is not None and not record.full and record.state is not State.WAITING


def _ids_of(records: Sequence[CallRecord]) -> list[str]:
    return [record.reference_id for record in records]
