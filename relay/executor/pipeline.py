"""Runs the calls of messages up to their claim. The task of a message ends when its calls have started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import gevent

from relay.executor.active_calls import webhook_of
from relay.executor.attempts import Attempts
from relay.executor.claiming import Claimer
from relay.executor.in_progress import InProgress
from relay.executor.message import Message
from relay.executor.slots import Slots
from relay.executor.waking import Waking
from relay.process.clock import boot_time_s
from relay.process.loops import Failures
from relay.process.pulse import Part
from relay.telemetry.log import Event, event

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from relay.executor.chain_evaluation import ChainEvaluator
    from relay.executor.conclusion import Conclusion
    from relay.executor.preparation import Call, Preparation
    from relay.executor.watch import CallWatch
    from relay.outbound.sender import Sender
    from relay.replay.running import Replaying
    from relay.store.invocations import InvocationStore
    from relay.store.transitions import CallRecord, Claimed, Ready

#: The most calls that one script claims; the server does nothing else meanwhile.
CLAIM_ITEMS: Final = 32
#: How many seconds a task waits for the calls of several partitions to start; after that they start without it.
APART_S: Final = 1.0
#: How many seconds of its time a stop reserves for settling the last calls.
SETTLE_S: Final = 5.0
#: While every slot is taken, a call must end within this many looks (`LOOK_S`): the longest timeout and a settle.
FULL_LOOKS: Final = 180
#: How many calls of one process may wait for access tokens at a time. Another message brings any others.
MAX_TOKENS_WANTED: Final = 4_096


class Executor:
    """Runs invocations in one process, as many at a time as there are slots."""

    def __init__(  # noqa: PLR0913 - the parts of a process, wired in one place
        self,
        store: InvocationStore,
        preparation: Preparation,
        sender: Sender,
        conclusion: Conclusion,
        evaluator: ChainEvaluator,
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
            store, sender, conclusion, evaluator, self._slots, watch, go_on=self._go_on, let_go=self._let_go
        )
        self.waking = Waking(store.parked_calls, self._slots, self._lanes, self._go_on)
        self._watch = watch
        self._in_progress = InProgress()
        self._tokens_wanted = 0
        self._draining = False

    def run(self, reference_ids: Sequence[object], found: Sequence[CallRecord] = ()) -> dict[str, int]:
        """Start the calls of one message; return counts, which are all that a task's result may show.

        Records that are in ``found`` are not read again.
        """
        for replay_id in self._replaying.named_by(reference_ids):
            gevent.spawn(self._replaying.run, replay_id)
        return _noted(len(reference_ids), self._run_apart(self._in_progress.take(reference_ids), found))

    def _run_apart(self, taken: Sequence[str], found: Sequence[CallRecord]) -> dict[str, int]:
        """Start each partition's calls in a greenlet: a silent server delays neither other partitions nor the task."""
        if not self._store.is_divided:
            return self._run(taken, found, waits=False)
        parts = self._store.by_partition(taken)
        started = [gevent.spawn(self._run, part, _those_in(part, found), waits=False) for part in parts]
        gevent.joinall(started, timeout=APART_S)
        done = [each.value for each in started if each.value is not None]
        return {name: sum(counts[name] for counts in done) for name in ("started", "parked")}

    def _run(self, taken: Sequence[str], found: Sequence[CallRecord], *, waits: bool) -> dict[str, int]:
        """Start calls that this process has in progress; ``waits`` says whether they wait for access tokens."""
        message, apart = Message(set(taken), waits), False
        try:
            self._start_all(self._read(taken, found), message)
        except Exception as error:  # noqa: BLE001 - another message brings the calls that were not claimed
            apart = Failures("claim", calls=len(message.left)).note(error) and len(message.left) > 1
        finally:
            self._let_go(message.left)
        for reference_id in message.left if apart and not self._draining else ():
            gevent.spawn(self.run, [reference_id])  # one of them may make the others fail
        return message.counts

    @property
    def is_full(self) -> bool:
        """Whether every slot is taken, so that further calls have to wait."""
        return self._slots.free == 0

    def parts(self) -> tuple[Part, ...]:
        """Return the parts that must keep moving; if one stands still, the heartbeat ends the process."""
        return (
            Part("settler", lambda: self._attempts.settler_moves),
            Part("advancer", lambda: self._attempts.advancer_moves),
            Part("calls", lambda: self._slots.ends if self.is_full else None, FULL_LOOKS, FULL_LOOKS),
        )

    def drain(self, timeout_s: float) -> None:
        """Claim nothing more, give back the unsent calls, and let the others end, within ``timeout_s`` seconds."""
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

    def _start_all(self, waiting: Sequence[CallRecord], message: Message) -> None:
        while waiting and not self._draining:
            while message.hold_s and self._slots.has_enough(webhook_of(waiting[0])):
                self._slots.wait_for_leave(message.hold_s)
            waiting = self._start_some(waiting, message)
        if waiting:
            self._publish(tuple((record.reference_id, record.lane) for record in waiting))

    def _start_some(
        self, waiting: Sequence[CallRecord], message: Message, look_at: int = CLAIM_ITEMS
    ) -> Sequence[CallRecord]:
        """Claim and send as many calls as there are slots, park those beyond their webhook's share; return the others.

        Calls for which a slot is soon free are kept until the message's hold ends. Only the first ``look_at`` calls are
        sorted, or all if none of these can be sent or parked now. Only calls that may be sent now are prepared.
        """
        first, rest = waiting[:look_at], waiting[look_at:]
        full = [record for record in first if record.full]
        others = [record for record in first if not record.full]
        within, kept, parked = self._slots.sort(others, webhook_of, message.hold_s)
        if kept and len(kept) == len(first):
            if rest:
                return self._start_some(waiting, message, len(waiting))
            self._slots.wait_for_leave(message.hold_s)
            return kept
        calls, wanting = message.prepare(self._preparation, within[:CLAIM_ITEMS])
        message.left -= self._await_tokens(wanting)
        count = self._slots.take(len(calls)) if calls else 0
        if self._draining:
            self._slots.give(count)
            return waiting
        message.keep(calls[count:])
        if calls or full or parked:
            self._start(calls[:count], full, parked, message)
        return [*(call.record for call in calls[count:]), *within[CLAIM_ITEMS:], *kept, *rest]

    def _start(
        self, batch: Sequence[Call], full: Sequence[CallRecord], parked: Sequence[CallRecord], message: Message
    ) -> None:
        unused = len(batch)
        try:
            records = [call.record for call in batch]
            grant = self._claimer.claim(_ids_of(records), _ids_of(full), _ids_of(parked))
            for call in batch:
                if call.record.reference_id in grant.claimed.granted:
                    unused -= 1
                    self._attempts.launch(grant.active_call(call))
        finally:
            self._slots.give(unused)
        message.claimed(grant.claimed)
        self._follow(grant.claimed, (*records, *full, *parked))

    def _follow(self, claimed: Claimed, records: Iterable[CallRecord]) -> None:
        """Handle the calls that a claim has ended, parked or woken."""
        for record in records if claimed.ended else ():
            if record.reference_id in claimed.ended:
                self._watch.ended(record, *claimed.ended[record.reference_id])
        self._let_go(claimed.parked)
        self._go_on(claimed.ready)

    # -- calls that may run now ---------------------------------------------------------------------------------

    def run_here(self, ready: Ready, found: Sequence[CallRecord] = ()) -> Ready:
        """Run those of the ready calls whose lane this process serves, as far as it has room; return the others."""
        own = [] if self._draining else [ref for ref, lane in ready if lane in self._lanes][: self._slots.free]
        if own:
            gevent.spawn(self._run_woken, own, found)
        here = set(own)
        return tuple((ref, lane) for ref, lane in ready if ref not in here)

    def _run_woken(self, reference_ids: Sequence[str], found: Sequence[CallRecord]) -> None:
        with self._slots.coming(map(webhook_of, _those_in(reference_ids, found))):
            self.run(reference_ids, found)

    def _go_on(self, ready: Ready, found: Sequence[CallRecord] = ()) -> None:
        """Run the ready calls for which this process has room, and publish the others."""
        others = self.run_here(ready, found)
        if others:
            self._publish(others)

    def _publish(self, ready: Ready) -> None:
        """Publish calls. A message is a hint: if it fails, the sweeper publishes them again."""
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


def _noted(asked: int, counts: dict[str, int]) -> dict[str, int]:
    """Log how many of the calls that were asked for have started, were skipped or parked; return these counts."""
    started, parked = counts["started"], counts["parked"]
    counts = {"started": started, "skipped": asked - started - parked, "parked": parked}
    event(Event.CALLS_STARTED, **counts)
    return counts


def _those_in(part: Collection[str], found: Sequence[CallRecord]) -> Sequence[CallRecord]:
    wanted = set(part) if found else ()
    return [record for record in found if record.reference_id in wanted]


def _ids_of(records: Sequence[CallRecord]) -> list[str]:
    return [record.reference_id for record in records]
