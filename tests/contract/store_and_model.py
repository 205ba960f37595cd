"""The store and its model side by side: each act is done to both, and both must give the same answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relay.domain.invocation import Attempt, Outcome, Sent, State
from relay.errors import Conflict
from relay.queue import LANES
from relay.store.ledger.acceptance import Idempotency, NewInvocation
from relay.store.ledger.transitions import Claimed, Settlement
from tests.contract.clocked import PLUGIN, START_MS, Clocked
from tests.contract.inspection import Inspection
from tests.contract.ledger import LIMITS
from tests.contract.model import FINAL, Call, Hook, Model
from tests.store_keys import KEYS

MARGIN_MS = 10_000
TIMEOUT_MS = 20_000
LEASE_MS = TIMEOUT_MS + MARGIN_MS
LONGEST_DELAY_MS = 600_000
DRAIN_MS = 14 * 60_000 + LONGEST_DELAY_MS  # shorter than the backstop alarm of parked calls, which no call may need
DRAIN_STEPS = 2_000
NEAR_OPEN = 18  # failures in a row that each webhook's breaker has counted at the start
#: One webhook of every kind.
HOOKS = {
    "plain": Hook(),
    "again": Hook(repeatable=True),
    "one": Hook(repeatable=True, concurrency=1),
    "two": Hook(concurrency=2, retry=True),
    "quick": Hook(every_ms=500, retry=True),
    "slow": Hook(repeatable=True, every_ms=10_000, concurrency=2),
    "brief": Hook(repeatable=True, concurrency=1, retry=True, max_age=45_000),
}
#: The alarm sets. Which of several parked calls has the near alarm may change; `Inspection` checks the alarms.
ALARMS = {KEYS.due_running().encode(), *(KEYS.due_queued(lane).encode() for lane in LANES)}
#: What a repeated script may change: alarms, and the audit trail, to which it adds that nothing changed.
UNCOMPARED = ALARMS | {b"relay:{0}:audit:entries"}
DELIVERED = (State.DELIVERED, Outcome.ANSWERED, True)
#: How attempts end: state, outcome, whether the endpoint was contacted.
ENDS = [
    DELIVERED,
    (State.UNREACHABLE, Outcome.CONNECT_FAILED, False),
    (State.UNREACHABLE, Outcome.ADDRESS_REFUSED, None),
    (State.RETRYING, Outcome.CONNECT_TIMEOUT, False),
    (State.RETRYING, Outcome.ANSWERED, True),
]


def reference_id(number: int) -> str:
    return f"018bcfe5-6800-7000-8000-{number:012x}"


class StoreAndModel:
    """A store and its model. ``in_flight``: calls that workers believe they are sending; ``messages``: those on lanes.

    ``repeat`` means that the first reply to an act is lost: redis-py then sends it again, which must change nothing
    and get the same answer.
    """

    def __init__(self, client, hooks=HOOKS) -> None:
        client.flushall()
        self.client = client
        self.ledger = Clocked(client, margin_ms=MARGIN_MS)
        self.store = self.ledger.store
        self.model = Model({name: HOOKS[name] for name in hooks}, START_MS, MARGIN_MS)
        self.messages: list[list[str]] = []
        self.in_flight: list[tuple[str, str]] = []
        self.settled: list[Settlement] = []
        for name, hook in self.model.hooks.items():
            rate = {"rateCount": 60_000 // hook.every_ms, "ratePeriod": 60_000} if hook.every_ms else {}
            cap = {"concurrency": hook.concurrency} if hook.concurrency else {}
            self.ledger.register(name, failures=NEAR_OPEN, retry="1" if hook.retry else "", **cap, **rate)
            self.model.hooks[name].failures = NEAR_OPEN

    # -- the acts -----------------------------------------------------------------------------------------------

    def accept(self, ref, hook, *, key=None, published=True, repeat=False, delay_ms=0):
        lane = LANES[len(self.model.calls) % len(LANES)]
        new = NewInvocation(
            reference_id=ref,
            plugin=PLUGIN,
            webhook_id=hook,
            revision=1,
            lane=lane,
            timeout_ms=TIMEOUT_MS,
            repeatable=HOOKS[hook].repeatable,
            payload=b"sealed",
            request_bytes=100,
            idempotency=None if key is None else Idempotency((key[0],), (key[1],)),
            max_age_ms=HOOKS[hook].max_age,
            delay_ms=delay_ms,
        )
        (answer,) = self._said(repeat, lambda: self.store.accept([new], ())[0])
        expected = self.model.accept(ref, Call(hook, TIMEOUT_MS, 100, not_before=delay_ms), key)
        assert (answer.verdict, answer.reference_id, answer.state) == expected
        if published and answer.verdict == "accepted" and not delay_ms:
            self.publish([(ref, lane)])

    def claim(self, refs, token, *, full=(), park=(), repeat=False):
        """Claim calls; return the granted ones, as calls in flight."""
        claimed = self._said(repeat, lambda: self.store.claim(refs, token, full=full, park=park))
        verdicts = {ref: self.model.claim(ref, token, wanted=True) for ref in refs}
        verdicts |= {ref: self.model.claim(ref, token, wanted=False) for ref in (*full, *park)}
        assert claimed.now_ms == self.model.now
        assert claimed.granted == {ref for ref, verdict in verdicts.items() if verdict == "granted"}
        assert claimed.parked == {ref for ref, verdict in verdicts.items() if verdict == "parked"}
        self.publish(claimed.ready)
        granted = [(ref, token) for ref in refs if ref in claimed.granted]
        self.in_flight.extend(granted)
        return granted

    def settle(self, in_flight, end=DELIVERED, *, delay_ms=0, capacity=None, repeat=False):
        state, outcome, contacted = end
        settlements = [
            self._settlement(ref, token, end, delay_ms)._replace(capacity=capacity) for ref, token in in_flight
        ]
        settled = self._said(repeat, lambda: self.store.settle(settlements))
        counted = tuple(self.model.settle(ref, token, state, outcome, delay_ms, contacted) for ref, token in in_flight)
        assert settled.verdicts == counted
        for ref, _ in in_flight if capacity is not None else ():
            self.model.hooks[self.model.calls[ref].hook].offered = True
        self.publish(settled.ready)
        self.in_flight = [each for each in self.in_flight if each not in in_flight]
        self.settled.extend(settlements)

    def settle_again(self, settlement):
        """Settle the call once more: however late, that must not change the call."""
        settled = self.store.settle([settlement])
        expected = self.model.settle(settlement.reference_id, settlement.claim_token, "", "", 0, None)
        assert settled.verdicts == (expected,)
        self.check_ready(settled.ready)

    def release(self, in_flight, *, repeat=False):
        token = in_flight[0][1]
        refs = [ref for ref, _ in in_flight]
        ready = self._said(repeat, lambda: self.store.release(refs, token))
        for ref in refs:
            self.model.release(ref, token)
        self.publish(ready)
        self.in_flight = [each for each in self.in_flight if each not in in_flight]

    def cancel(self, ref, *, repeat=False):
        if refusal := self.model.cancel(ref):
            with pytest.raises(Conflict, match=refusal):
                self.store.cancel(ref)
        else:
            ready = self.store.cancel(ref)
            if repeat:  # the calls that the first one made ready have an alarm soon
                assert self._said(repeat, lambda: self.store.cancel(ref)) == ()
            self.publish(ready)

    def sweep(self, lanes=LANES, *, limit=1000, published=True):
        ready = self.store.sweep(limit=limit)
        self.model.sweep()
        self.check_ready(ready)
        if published:
            self.publish(ready)

    def wake(self, *, capacity=1000, lanes=LANES):
        """Let a process look for parked calls that it has room for."""
        for plugin, webhook_id in self.store.parked_calls.webhooks(limit=1000):
            self.publish(self.store.parked_calls.wake(plugin, webhook_id, capacity, lanes))

    def expire(self, *, limit=1000):
        more = True
        while more:
            _, more, ready = self.store.expire(limit=limit)
            self.publish(ready)
        self.model.expire()

    def pause(self, hook):
        self.ledger.policies.pause(PLUGIN, hook)
        self.model.hooks[hook].paused = True

    def resume(self, hook, *, published=True):
        self.model.hooks[hook].paused = False
        for ready in self.ledger.policies.resume(PLUGIN, hook):
            self.check_ready(ready)
            if published:
                self.publish(ready)

    def close_breaker(self, hook):
        pages = list(self.ledger.policies.close_breaker(PLUGIN, hook))
        self.model.close_breaker(hook)
        for ready in pages:
            self.publish(ready)

    def pass_time(self, step_ms):
        self.model.now += step_ms
        self.ledger.set_ms(self.model.now)

    # -- checks -------------------------------------------------------------------------------------------------

    def check(self):
        Inspection(self.ledger, self.model).check()

    def is_sound(self):
        try:
            self.check()
        except AssertionError:
            return False
        return True

    def unfinished(self):
        return [ref for ref, call in self.model.calls.items() if call.state not in FINAL]

    def next_alarm(self):
        """Return when the next alarm rings; None without alarms."""
        keys = (KEYS.due_running(), *map(KEYS.due_queued, LANES))
        rows = [self.client.zrange(key, 0, 0, withscores=True) for key in keys]
        return min((int(row[0][1]) for row in rows if row), default=None)

    def publish(self, ready):
        self.check_ready(ready)
        for lane in LANES:
            refs = [ref for ref, of_lane in ready if of_lane == lane]
            if refs:
                self.messages.append(refs)

    def check_ready(self, ready):
        """Check that calls reported as ready are unfinished, and that no worker holds them."""
        for ref, lane in ready:
            call = self.model.calls[ref]
            assert lane in LANES
            assert call.state not in FINAL
            assert call.state != "sending" or call.lease_end <= self.model.now

    # -- to the end ---------------------------------------------------------------------------------------------

    def drain(self):
        """Check that nothing is stuck: all workers that hold calls are lost, others go on, and every call ends."""
        started = self.model.now
        for hook in self.model.hooks:
            self.resume(hook, published=False)
        self.in_flight.clear()
        for step in range(DRAIN_STEPS):
            for refs in [self.messages.pop() for _ in range(len(self.messages))]:
                if granted := self.claim(refs, f"drain{step}-{len(self.messages)}-{refs[0]}"):
                    self.settle(granted)
            if not self.unfinished():
                break
            self.pass_time(max(1, (self.next_alarm() or 0) - self.model.now))
            self.sweep()
            self.wake()
            self.expire()
            self.check()
        assert self.unfinished() == []
        assert self.model.now - started < DRAIN_MS
        self._check_that_nothing_is_left()

    def _check_that_nothing_is_left(self):
        self.pass_time(max(LIMITS.retention_args) + 1)
        while self.store.prune(limit=5):
            pass
        assert [key for key in self.ledger.everything() if b":inv:" in key] == []
        assert self.client.zcard(KEYS.expiry()) == self.client.zcard(KEYS.plugin_index(PLUGIN)) == 0

    def _said(self, repeat, act):
        """Do an act and return its reply. With ``repeat``, do it again, and check that this changes nothing."""
        reply = act()
        if repeat:
            before, first = self.ledger.everything(), reply
            reply = act()
            assert _without_measures(reply) == _without_measures(first)
            after = self.ledger.everything()
            both = before.keys() | after.keys()
            changed = {key for key in both if after.get(key) != before.get(key) and key not in UNCOMPARED}
            assert {key: (before.get(key), after.get(key)) for key in changed} == {}
        return reply

    def _settlement(self, ref, token, end, delay_ms):
        state, outcome, contacted = end
        status = 200 if outcome is Outcome.ANSWERED else 0
        sent = Sent.ANSWERED if status else Sent.NO
        return Settlement(
            ref,
            token,
            state,
            outcome,
            status,
            not status,
            Attempt(1, self.model.now, 5, status, outcome, sent),
            result=b"sealed" if state is State.DELIVERED else b"",
            delay_ms=delay_ms,
            contacted=contacted,
        )


def _without_measures(reply):
    """Return the reply without its measures: a repeated claim does not report again how long its calls had waited."""
    return replace(reply, waited_ms={}) if isinstance(reply, Claimed) else reply
