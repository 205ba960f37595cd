"""The real scripts against a model in plain Python: random runs of two workers with everything that can go wrong.

Replies are lost (the act is repeated at once); workers stall and lose their leases; messages are dropped, doubled, or
never published; operators cancel, pause and resume. After every step the store is compared with the model, and at the
end of every run time passes until nothing is left.
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

from relay.queue import LANES
from relay.store.ledger.invocations import GRACE_MS
from tests.contract.store_and_model import ENDS, HOOKS, LEASE_MS, LONGEST_DELAY_MS, StoreAndModel, reference_id
from tests.depth import examples

STEPS_MS = [1, 500, 1_000, GRACE_MS + 1, 10_000, LEASE_MS - 1, LEASE_MS, 61_000, 16 * 60_000]
DELAYS_MS = [0, 700, 20_000, LONGEST_DELAY_MS]
CAPACITIES = [None, 0, 1, 3]  # how many more calls a settling worker has room for
MAX_CALLS = 14
MAX_MESSAGES = 20
WHICH = st.integers(0, 1)
KEYS = st.none() | st.tuples(st.sampled_from(["k1", "k2"]), st.sampled_from(["p1", "p2"]))


class LedgerMachine(RuleBasedStateMachine):
    """Random runs; each rule is one act of a caller, a worker, an operator, or time."""

    client: object

    def __init__(self) -> None:
        super().__init__()
        self.both = StoreAndModel(self.client)
        self.numbers = iter(range(1, 1_000_000))

    @initialize(hooks=st.lists(st.sampled_from(sorted(HOOKS)), min_size=1, max_size=2, unique=True))
    def begin(self, hooks):
        """Begin a run with only one or two webhooks, so that their calls compete."""
        self.hooks = hooks
        for hook in (*hooks, *hooks):
            self.both.accept(reference_id(next(self.numbers)), hook)

    def hook(self, which):
        return self.hooks[which % len(self.hooks)]

    def token(self):
        return f"t{next(self.numbers)}"

    def some_refs(self):
        """Return unfinished calls, or final ones if all are final."""
        return self.both.unfinished() or list(self.both.model.calls)

    # -- callers and messages -----------------------------------------------------------------------------------

    @precondition(lambda self: len(self.both.model.calls) < MAX_CALLS)
    @rule(
        which=WHICH,
        key=KEYS,
        published=st.booleans(),
        repeat=st.booleans(),
        delay_ms=st.sampled_from([0, 0, 0, 1, 20_000, LONGEST_DELAY_MS]),
    )
    def accept(self, which, key, published, repeat, delay_ms):
        ref = reference_id(next(self.numbers))
        self.both.accept(ref, self.hook(which), key=key, published=published, repeat=repeat, delay_ms=delay_ms)

    @rule(data=st.data(), repeat=st.booleans())
    def cancel(self, data, repeat):
        self.both.cancel(data.draw(st.sampled_from(self.some_refs())), repeat=repeat)

    @precondition(lambda self: self.both.messages)
    @rule(data=st.data(), lost=st.booleans())
    def lose_or_double_a_message(self, data, lost):
        messages = self.both.messages
        index = data.draw(st.integers(0, len(messages) - 1))
        if lost:
            messages.pop(index)
        elif len(messages) < MAX_MESSAGES:
            messages.append(list(messages[index]))

    # -- workers ------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.both.messages)
    @rule(data=st.data(), repeat=st.booleans())
    def take_a_message(self, data, repeat):
        how = data.draw(st.sampled_from(["full", "park"]))
        messages = self.both.messages
        refs = messages.pop(data.draw(st.integers(0, len(messages) - 1)))
        beyond = data.draw(st.integers(0, len(refs))) if data.draw(st.integers(0, 3)) == 0 else 0
        self.both.claim(refs[beyond:], self.token(), **{how: refs[:beyond]}, repeat=repeat)

    @rule(data=st.data(), repeat=st.booleans(), unheard=st.booleans())
    def claim_anything(self, data, repeat, unheard):
        refs = data.draw(st.lists(st.sampled_from(self.some_refs()), min_size=1, max_size=4, unique=True))
        token = self.token()
        self.both.claim(refs, token, repeat=repeat)
        if unheard:  # the worker never got the reply, so it gives back all that it may have been granted
            self.both.release([(ref, token) for ref in refs])

    @precondition(lambda self: self.both.in_flight)
    @rule(data=st.data(), end=st.sampled_from(ENDS), delay_ms=st.sampled_from(DELAYS_MS), repeat=st.booleans())
    def settle_one(self, data, end, delay_ms, repeat):
        call_in_flight = data.draw(st.sampled_from(self.both.in_flight))
        capacity = data.draw(st.sampled_from(CAPACITIES))
        self.both.settle([call_in_flight], end, delay_ms=delay_ms, capacity=capacity, repeat=repeat)

    @precondition(lambda self: len(self.both.in_flight) > 1)
    @rule(repeat=st.booleans(), end=st.sampled_from(ENDS), capacity=st.sampled_from(CAPACITIES))
    def settle_all(self, repeat, end, capacity):
        in_flight = list(dict(self.both.in_flight).items())  # a process has a call in flight only once
        self.both.settle(in_flight, end, delay_ms=700, capacity=capacity, repeat=repeat)

    @rule(capacity=st.integers(1, 3), lanes=st.sets(st.sampled_from(LANES), min_size=1))
    def look_for_parked_calls(self, capacity, lanes):
        self.both.wake(capacity=capacity, lanes=sorted(lanes))

    @precondition(lambda self: self.both.settled)
    @rule(data=st.data())
    def settle_what_was_settled(self, data):
        self.both.settle_again(data.draw(st.sampled_from(self.both.settled[-6:])))

    @precondition(lambda self: self.both.in_flight)
    @rule(data=st.data(), repeat=st.booleans())
    def release_one(self, data, repeat):
        self.both.release([data.draw(st.sampled_from(self.both.in_flight))], repeat=repeat)

    @precondition(lambda self: self.both.in_flight)
    @rule(repeat=st.booleans())
    def lose_a_lease(self, repeat):
        """Stall a worker beyond its lease; another takes the call, and later the first one comes back."""
        ref, _ = self.both.in_flight[0]
        model = self.both.model
        self.both.pass_time(max(0, model.calls[ref].lease_end - model.now))
        self.both.claim([ref], self.token(), repeat=repeat)

    # -- time and operators -------------------------------------------------------------------------------------

    @rule(step_ms=st.sampled_from(STEPS_MS))
    def let_time_pass(self, step_ms):
        self.both.pass_time(step_ms)

    @rule(late_ms=st.integers(0, 3), published=st.booleans())
    def sweep_at_the_next_alarm(self, late_ms, published):
        if (at := self.both.next_alarm()) is not None:
            self.both.pass_time(max(0, at - self.both.model.now) + late_ms)
            self.both.sweep(published=published)

    @rule(lanes=st.sets(st.sampled_from(LANES)), limit=st.sampled_from([1, 3, 1000]), published=st.booleans())
    def sweep(self, lanes, limit, published):
        self.both.sweep(lanes, limit=limit, published=published)

    @rule(limit=st.sampled_from([1, 2, 1000]))
    def expire(self, limit):
        self.both.expire(limit=limit)

    @rule(which=WHICH)
    def pause(self, which):
        self.both.pause(self.hook(which))

    @rule(which=WHICH, published=st.booleans())
    def resume(self, which, published):
        self.both.resume(self.hook(which), published=published)

    @rule(which=WHICH)
    def close_breaker(self, which):
        self.both.close_breaker(self.hook(which))

    # -- what must hold -----------------------------------------------------------------------------------------

    @invariant()
    def the_store_is_as_the_model_says(self):
        self.both.check()

    def teardown(self):
        if self.both.is_sound():  # otherwise a step has failed, and that failure is the one to show
            self.both.drain()


def run(client, *, runs: int, steps: int):
    machine = type("Machine", (LedgerMachine,), {"client": client})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=runs,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
            report_multiple_bugs=False,
        ),
    )


@pytest.mark.timeout(600)  # finding the shortest run that fails takes its time
def test_the_scripts_do_what_the_model_does_on_a_real_server(valkey):
    with valkey.client() as client:
        run(client, runs=examples(200), steps=50)


@pytest.mark.timeout(600)
def test_the_scripts_do_what_the_model_does_on_the_fake():
    run(fakeredis.FakeRedis(server=fakeredis.FakeServer()), runs=examples(6), steps=30)
