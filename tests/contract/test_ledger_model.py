"""The real scripts against a model in plain Python: random runs of two workers with everything that can go wrong.

Replies are lost (the call is repeated at once), workers stall and lose their leases, messages are dropped, doubled
and published to nobody, operators cancel, pause and resume. After every step the store is compared with the model,
and at the end of every run time passes until nothing is left.
"""

from __future__ import annotations

import fakeredis
import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from relay.errors import Conflict
from relay.invocation import Attempt, Outcome, Sent, State
from relay.queue import LANES
from relay.store import keyspace
from relay.store.invocations import GRACE_MS, Idempotency, NewInvocation, Settlement
from tests.contract.clocked import PLUGIN, START_MS, Clocked
from tests.contract.inspection import Inspection
from tests.contract.ledger import LIMITS
from tests.contract.model import FINAL, Call, Hook, Model

MARGIN_MS = 10_000
TIMEOUT_MS = 20_000
LEASE_MS = TIMEOUT_MS + MARGIN_MS
DRAIN_MS = 14 * 60_000  # below the backstop of parked calls: nothing may need that
DRAIN_STEPS = 2_000
NEAR_OPEN = 18  # failures in a row that a webhook's breaker has heard already
#: Every kind of webhook once.
HOOKS = {
    "plain": Hook(),
    "again": Hook(repeatable=True),
    "one": Hook(repeatable=True, concurrency=1),
    "two": Hook(concurrency=2, retry=True),
    "quick": Hook(every_ms=500, retry=True),
    "slow": Hook(repeatable=True, every_ms=10_000, concurrency=2),
}
#: How attempts end: state, outcome, whether the endpoint was contacted.
ENDS = [
    (State.DELIVERED, Outcome.ANSWERED, True),
    (State.UNREACHABLE, Outcome.CONNECT_FAILED, False),
    (State.UNREACHABLE, Outcome.ADDRESS_REFUSED, None),
    (State.RETRYING, Outcome.CONNECT_TIMEOUT, False),
    (State.RETRYING, Outcome.ANSWERED, True),
]
STEPS_MS = [1, 500, 1_000, GRACE_MS + 1, 10_000, LEASE_MS - 1, LEASE_MS, 61_000, 16 * 60_000]


def reference_id(number: int) -> str:
    return f"018bcfe5-6800-7000-8000-{number:012x}"


class LedgerMachine(RuleBasedStateMachine):
    """Rules act on store and model alike; ``flights`` is what workers believe to be sending."""

    client: object

    def __init__(self) -> None:
        super().__init__()
        self.client.flushall()
        self.ledger = Clocked(self.client, margin_ms=MARGIN_MS)
        self.store = self.ledger.store
        self.model = Model(HOOKS, START_MS, MARGIN_MS)
        self.messages: list[list[str]] = []
        self.flights: list[tuple[str, str]] = []
        self.settled: list[Settlement] = []
        self.numbers = iter(range(1, 1_000_000))
        for name, hook in HOOKS.items():
            rate = {"rateCount": 60_000 // hook.every_ms, "ratePeriod": 60_000} if hook.every_ms else {}
            cap = {"concurrency": hook.concurrency} if hook.concurrency else {}
            self.ledger.register(name, failures=NEAR_OPEN, retry="1" if hook.retry else "", **cap, **rate)
            self.model.hooks[name].failures = NEAR_OPEN

    # -- how calls are made -------------------------------------------------------------------------------------

    def call(self, repeat, act):
        """Calls a script; a lost reply makes redis-py call it again, which must change nothing."""
        reply = act()
        if repeat:
            before = self.ledger.everything()
            assert act() == reply
            after = self.ledger.everything()
            assert {
                key: after.get(key) for key in before.keys() | after.keys() if after.get(key) != before.get(key)
            } == {}
        return reply

    def token(self) -> str:
        return f"t{next(self.numbers)}"

    def publish(self, ready) -> None:
        for lane in LANES:
            refs = [ref for ref, of_lane in ready if of_lane == lane]
            if refs:
                self.messages.append(refs)

    def check_ready(self, ready) -> None:
        """What is said to be ready is unfinished, and is nobody's."""
        for ref, lane in ready:
            call = self.model.calls[ref]
            assert lane in LANES
            assert call.state not in FINAL
            assert call.state != "sending" or call.lease_end <= self.model.now

    # -- callers ------------------------------------------------------------------------------------------------

    @initialize(
        hooks=st.lists(st.sampled_from(sorted(HOOKS)), min_size=1, max_size=2, unique=True), count=st.integers(1, 4)
    )
    def begin(self, hooks, count):
        """A run is about one or two webhooks, so that their calls meet."""
        self.hooks = hooks
        for index in range(count):
            self.accept(self.hooks[index % len(hooks)], None, True, False)

    @precondition(lambda self: len(self.model.calls) < 14)
    @rule(
        which=st.integers(0, 1),
        key=st.none() | st.tuples(st.sampled_from(["k1", "k2"]), st.sampled_from(["p1", "p2"])),
        published=st.booleans(),
        repeat=st.booleans(),
    )
    def accept_another(self, which, key, published, repeat):
        self.accept(self.hook(which), key, published, repeat)

    def hook(self, which):
        return self.hooks[which % len(self.hooks)]

    def accept(self, hook, key, published, repeat):
        ref, lane = reference_id(next(self.numbers)), LANES[len(self.model.calls) % len(LANES)]
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
        )
        (answer,) = self.call(repeat, lambda: self.store.accept([new]))
        expected = self.model.accept(ref, Call(hook, TIMEOUT_MS, 100), key)
        assert (answer.verdict, answer.reference_id, answer.state) == expected
        if published and answer.verdict == "accepted":
            self.publish([(ref, lane)])

    @rule(data=st.data(), repeat=st.booleans())
    def cancel(self, data, repeat):
        ref = self.any_ref(data)
        if refusal := self.model.cancel(ref):
            with pytest.raises(Conflict, match=refusal):
                self.store.cancel(ref)
            return
        ready = self.call(repeat, lambda: self.store.cancel(ref))
        self.check_ready(ready)
        self.publish(ready)

    def any_ref(self, data):
        return data.draw(st.sampled_from(self.some_refs()))

    def some_refs(self):
        """What is unfinished; what is final only where nothing else is left."""
        return [ref for ref, call in self.model.calls.items() if call.state not in FINAL] or list(self.model.calls)

    # -- messages -----------------------------------------------------------------------------------------------

    @precondition(lambda self: self.messages)
    @rule(data=st.data(), lost=st.booleans())
    def lose_or_double_a_message(self, data, lost):
        index = data.draw(st.integers(0, len(self.messages) - 1))
        if lost:
            self.messages.pop(index)
        elif len(self.messages) < 20:
            self.messages.append(list(self.messages[index]))

    # -- workers ------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.messages)
    @rule(data=st.data(), repeat=st.booleans(), answer_lost=st.booleans())
    def take_a_message(self, data, repeat, answer_lost):
        refs = self.messages.pop(data.draw(st.integers(0, len(self.messages) - 1)))
        beyond = data.draw(st.integers(0, len(refs))) if data.draw(st.integers(0, 3)) == 0 else 0
        self.claim(refs[beyond:], refs[:beyond], repeat, answer_lost=answer_lost and repeat)

    @rule(data=st.data(), repeat=st.booleans())
    def claim_anything(self, data, repeat):
        refs = data.draw(st.lists(st.sampled_from(self.some_refs()), min_size=1, max_size=4, unique=True))
        self.claim(refs, [], repeat)

    def claim(self, refs, park, repeat, *, answer_lost=False):
        token = self.token()
        claimed = self.call(repeat, lambda: self.store.claim(refs, token, park=park))
        verdicts = {ref: self.model.claim(ref, token, wanted=True) for ref in refs}
        verdicts |= {ref: self.model.claim(ref, token, wanted=False) for ref in park}
        assert claimed.now_ms == self.model.now
        assert claimed.granted == {ref for ref, verdict in verdicts.items() if verdict == "granted"}
        assert claimed.parked == {ref for ref, verdict in verdicts.items() if verdict == "parked"}
        self.check_ready(claimed.ready)
        if answer_lost and refs:  # the worker never hears of it, and gives back what it may have been granted
            self.release([(ref, token) for ref in refs], False)
            return []
        self.flights.extend((ref, token) for ref in claimed.granted)
        self.publish(claimed.ready)
        return [(ref, token) for ref in claimed.granted]

    @precondition(lambda self: self.flights)
    @rule(
        data=st.data(),
        end=st.sampled_from(ENDS),
        delay=st.sampled_from([0, 700, 20_000, 600_000]),
        repeat=st.booleans(),
    )
    def settle_one(self, data, end, delay, repeat):
        flight = data.draw(st.sampled_from(self.flights))
        self.settle([flight], end, delay, repeat)

    @precondition(lambda self: len(self.flights) > 1)
    @rule(repeat=st.booleans(), end=st.sampled_from(ENDS))
    def settle_all(self, repeat, end):
        self.settle(list(dict(self.flights).items()), end, 700, repeat)  # a process has one flight of a call

    def settle(self, flights, end, delay, repeat):
        state, outcome, contacted = end
        settlements = [self.settlement(ref, token, state, outcome, delay, contacted) for ref, token in flights]
        settled = self.call(repeat, lambda: self.store.settle(settlements))
        counted = tuple(
            self.model.settle(each.reference_id, each.token, state, outcome, delay, contacted) for each in settlements
        )
        assert settled.counted == counted
        self.check_ready(settled.ready)
        self.publish(settled.ready)
        self.flights = [flight for flight in self.flights if flight not in flights]
        self.settled.extend(settlements)

    def settlement(self, ref, token, state, outcome, delay, contacted):
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
            delay_ms=delay,
            contacted=contacted,
        )

    @precondition(lambda self: self.settled)
    @rule(data=st.data())
    def settle_what_was_settled(self, data):
        """However late it is said again, a settlement that counted or was too late changes nothing of the call."""
        settlement = data.draw(st.sampled_from(self.settled[-6:]))
        settled = self.store.settle([settlement])
        expected = self.model.settle(settlement.reference_id, settlement.token, "", "", 0, None)
        assert settled.counted == (expected,)
        self.check_ready(settled.ready)

    @precondition(lambda self: self.flights)
    @rule(data=st.data(), repeat=st.booleans())
    def release_one(self, data, repeat):
        self.release([data.draw(st.sampled_from(self.flights))], repeat)

    def release(self, flights, repeat):
        token = flights[0][1]
        refs = [ref for ref, _ in flights]
        ready = self.call(repeat, lambda: self.store.release(refs, token))
        for ref in refs:
            self.model.release(ref, token)
        self.check_ready(ready)
        self.publish(ready)
        self.flights = [flight for flight in self.flights if flight not in flights]

    # -- time and operators -------------------------------------------------------------------------------------

    @rule(step_ms=st.sampled_from(STEPS_MS))
    def let_time_pass(self, step_ms):
        self.model.now += step_ms
        self.ledger.set_ms(self.model.now)

    @rule(late_ms=st.integers(0, 3), published=st.booleans())
    def sweep_at_the_next_alarm(self, late_ms, published):
        if (at := self.next_alarm()) is not None:
            self.let_time_pass(max(0, at - self.model.now) + late_ms)
            self.sweep(set(LANES), 1000, published)

    @precondition(lambda self: self.flights)
    @rule(repeat=st.booleans())
    def lose_a_lease(self, repeat):
        """A worker stalls for its lease; another takes the call, and later the first one comes back."""
        ref, _ = self.flights[0]
        self.let_time_pass(max(0, self.model.calls[ref].lease_end - self.model.now))
        self.claim([ref], [], repeat)

    @rule(short=st.sets(st.sampled_from(LANES)), limit=st.sampled_from([1, 3, 1000]), published=st.booleans())
    def sweep(self, short, limit, published):
        ready = self.store.sweep("w1", sorted(short), limit=limit)
        self.check_ready(ready)
        if published:
            self.publish(ready)

    @rule(which=st.integers(0, 1))
    def pause(self, which):
        hook = self.hook(which)
        self.ledger.policies.pause(PLUGIN, hook)
        self.model.hooks[hook].paused = True

    @rule(which=st.integers(0, 1), published=st.booleans())
    def resume_one(self, which, published):
        self.resume(self.hook(which), published)

    def resume(self, hook, published):
        self.model.hooks[hook].paused = False
        for ready in self.ledger.policies.resume(PLUGIN, hook):
            self.check_ready(ready)
            if published:
                self.publish(ready)

    @rule(which=st.integers(0, 1))
    def close_breaker(self, which):
        hook = self.hook(which)
        self.ledger.policies.close_breaker(PLUGIN, hook)
        self.model.close_breaker(hook)

    # -- what must hold -----------------------------------------------------------------------------------------

    @invariant()
    def the_store_is_as_the_model_says(self):
        Inspection(self.ledger, self.model).check()

    def teardown(self):
        """Nothing is stuck: time passes, workers work, and everything ends, long before a backstop is needed."""
        if not self.is_sound():
            return  # a step has failed, and is what is to be shown
        started = self.model.now
        for hook in HOOKS:
            self.resume(hook, False)
        self.flights.clear()  # every worker that had something in hand is gone
        for _ in range(DRAIN_STEPS):
            for refs in [self.messages.pop() for _ in range(len(self.messages))]:
                granted = self.claim(refs, [], False)
                if granted:
                    self.settle(granted, ENDS[0], 0, False)
            if all(call.state in FINAL for call in self.model.calls.values()):
                break
            self.let_time_pass(max(1, (self.next_alarm() or 0) - self.model.now))
            self.sweep(set(LANES), 1000, True)
            Inspection(self.ledger, self.model).check()
        assert {ref: call for ref, call in self.model.calls.items() if call.state not in FINAL} == {}
        assert self.model.now - started < DRAIN_MS + 600_000  # the longest pause before a retry
        self.check_that_nothing_is_left()

    def is_sound(self):
        try:
            Inspection(self.ledger, self.model).check()
        except AssertionError:
            return False
        return True

    def next_alarm(self):
        rows = [
            self.client.zrange(key, 0, 0, withscores=True)
            for key in (keyspace.due_running(), *map(keyspace.due_queued, LANES))
        ]
        return min((int(row[0][1]) for row in rows if row), default=None)

    def check_that_nothing_is_left(self):
        self.let_time_pass(max(LIMITS.retention) + 1)
        while self.store.prune(limit=5):
            pass
        left = [key for key in self.ledger.everything() if b":inv:" in key]
        assert left == []
        assert self.client.zcard(keyspace.expiry()) == self.client.zcard(keyspace.plugin_index(PLUGIN)) == 0


def run(client, *, examples: int, steps: int):
    machine = type("Machine", (LedgerMachine,), {"client": client})
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=checks,
            report_multiple_bugs=False,
        ),
    )


@pytest.mark.timeout(600)
def test_the_scripts_do_what_the_model_does_on_a_real_server(valkey):
    with valkey.client() as client:
        run(client, examples=150, steps=60)


@pytest.mark.timeout(600)
def test_the_scripts_do_what_the_model_does_on_the_fake():
    run(fakeredis.FakeRedis(server=fakeredis.FakeServer()), examples=10, steps=30)
