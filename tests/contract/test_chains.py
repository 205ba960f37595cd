"""Chains in the ledger: a waiting parent holds no place, a step is created once, and a chain's end ends its steps."""

from __future__ import annotations

import pytest

from relay.domain.invocation import FINAL, Outcome, State
from relay.domain.reference_id import new_reference_id
from relay.errors import StoreFault
from relay.store.ledger.invocations import CHAIN_STEPS, GRACE_MS
from relay.store.ledger.steps import Steps
from relay.store.ledger.transitions import ChainEnd, NewStep
from tests.contract.clocked import START_MS
from tests.contract.ledger import ids, verdict_on
from tests.store_keys import KEYS


@pytest.fixture
def chain(ledger):
    """An accepted chain, with short ways to advance it."""
    return Chain(ledger)


class Chain:
    def __init__(self, ledger, **fields):
        self.ledger = ledger
        self.ref = ledger.accepted(pins='{"hook":1}', repeatable=True, timeout_ms=120_000, **fields)

    def step(self, **changes):
        fields = {
            "reference_id": new_reference_id(),
            "webhook_id": "hook",
            "revision": 1,
            "timeout_ms": 20_000,
            "repeatable": False,
            "payload": b"\x01step",
            "request_bytes": 10,
        }
        return NewStep(**(fields | changes))

    def claim(self, ref=None):
        token = self.ledger.token()
        assert self.ledger.store.claim([ref or self.ref], token).granted
        return token

    def advance(self, step=0, count=1, ref=None, **changes):
        news = [self.step(**changes) for _ in range(count)]
        advanced = self.ledger.advance(ref or self.ref, *news, step=step)
        return verdict_on(advanced, ref or self.ref), [new.reference_id for new in news], ids(advanced.ready)

    def begun(self, count=1, **changes):
        verdict, steps, _ = self.advance(count=count, **changes)
        assert verdict == "granted"
        return steps

    def deliver(self, ref, **changes):
        token = self.claim(ref)
        return self.ledger.store.settle([self.ledger.settlement(ref, token, raw=b"\x01raw", **changes)])

    def state(self, ref=None):
        return self.ledger.state(ref or self.ref)

    def past_deadline(self, ref=None):
        self.ledger.client.hset(KEYS.record(ref or self.ref), "deadline", 1)


def test_an_advanced_parent_waits_without_lease_or_place_and_its_step_is_ready(chain, ledger):
    verdict, steps, ready = chain.advance()
    assert (verdict, ready) == ("granted", steps)
    assert (chain.state(), chain.state(steps[0])) == (State.WAITING, State.QUEUED)
    assert ledger.client.zcard(KEYS.running("acme", "hook")) == 0
    assert ledger.alarms(chain.ref) == {"running"}  # at the chain's deadline
    deadline = int(ledger.client.hget(KEYS.record(chain.ref), "deadline"))
    assert ledger.client.zscore(KEYS.due_running(), chain.ref) == deadline


def test_each_step_is_recorded_as_it_was_made_and_as_its_parent_says(ledger):
    chain = Chain(ledger, traceparent="00-1-2-03", caller="k9", lane="interactive")
    chain.begun()  # step 0
    chain.ledger.client.hset(KEYS.record(chain.ref), mapping={"state": "queued", "open": "0"})
    ids = new_reference_id(), new_reference_id()
    call = NewStep(ids[0], "first", 3, 7_000, True, b"\x01one", 12, max_age_ms=90_000, callback="ended")
    nested = NewStep(ids[1], "second", 4, 8_000, False, b"\x01two", 13, pins='{"hook":1}', max_age_ms=80_000)
    ready = tuple((ref, "interactive") for ref in ids)
    advanced = ledger.advance(chain.ref, call, nested, step=1, secrets=b"hidden")
    assert (advanced.granted, advanced.ready) == ({chain.ref}, ready)
    assert list(advanced.found) == ledger.store.read(ids)
    of_each = {b"plugin": b"acme", b"state": b"queued", b"lane": b"interactive", b"caller": b"k9"}
    of_each |= {b"traceparent": b"00-1-2-03", b"parent": chain.ref.encode(), b"root": chain.ref.encode()}
    for item, (step, more) in enumerate(
        [
            (call, {b"repeatable": b"1", b"callback": b"ended"}),
            (nested, {b"repeatable": b"0", b"chain": b"1", b"pins": b'{"hook":1}', b"step": b"-1", b"open": b"0"}),
        ]
    ):
        record = ledger.client.hgetall(KEYS.record(step.reference_id))
        now_ms = int(record.pop(b"createdAt"))
        numbers = {b"readyAt": now_ms, b"endBy": now_ms + step.max_age_ms, b"timeout": step.timeout_ms}
        numbers |= {b"revision": step.revision, b"requestBytes": step.request_bytes}
        numbers |= {b"parentStep": 1, b"parentItem": item}
        if step is nested:
            numbers[b"deadline"] = now_ms + step.timeout_ms
        numbered = {name: str(number).encode() for name, number in numbers.items()}
        assert record == of_each | more | numbered | {b"webhook": step.webhook_id.encode()}
        assert ledger.store.payload_of(step.reference_id) == step.payload
        assert ledger.client.zscore(KEYS.due_queued("interactive"), step.reference_id) == now_ms + GRACE_MS
    assert ledger.client.get(KEYS.secrets(chain.ref)) == b"hidden"


def test_a_chain_is_never_claimed(chain, ledger):
    assert verdict_on(ledger.store.claim([chain.ref], ledger.token()), chain.ref) == "skipped"
    assert (chain.state(), ledger.alarms(chain.ref)) == (State.QUEUED, {"queued"})
    assert ledger.client.zcard(KEYS.running("acme", "hook")) == 0


def test_a_repeated_advance_creates_nothing_and_answers_the_same(chain, ledger):
    step = ledger.next_step(chain.ref, chain.step(), chain.step())
    first = ledger.store.advance([step])
    before = ledger.everything()
    again = ledger.store.advance([step])
    assert (again.granted, again.ready, again.found) == (first.granted, first.ready, first.found)
    assert ledger.everything() == before


def test_a_waiting_parent_cannot_be_claimed_before_its_deadline(chain, ledger):
    chain.begun()
    assert ledger.store.claim([chain.ref], "t").granted == set()


def test_the_last_steps_end_makes_the_parent_ready(chain):
    steps = chain.begun(count=2)
    assert chain.deliver(steps[0]).ready == ()
    assert chain.state() is State.WAITING
    assert chain.deliver(steps[1]).ready == ((chain.ref, "bulk"),)
    assert chain.state() is State.QUEUED


def test_a_repeated_settle_of_the_last_step_still_names_the_parent(chain, ledger):
    (step,) = chain.begun()
    token = chain.claim(step)
    settlement = ledger.settlement(step, token)
    first = ledger.store.settle([settlement])
    assert ledger.store.settle([settlement]).ready == first.ready == ((chain.ref, "bulk"),)


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("further", [1, 2])
def test_what_was_decided_before_a_chain_made_other_calls_is_not_done(chain, ledger, further, ends):
    late = ledger.next_step(chain.ref, chain.step())
    if ends:
        late = ChainEnd(late.made, ledger.settlement(chain.ref, late.token, attempt=None))
    for step in range(further):
        chain.deliver(chain.advance(step=step)[1][0])
    before = ledger.everything()
    advanced = ledger.store.advance([late])
    assert (verdict_on(advanced, chain.ref), advanced.ready) == ("skipped", ())
    assert ledger.everything() == before


def test_a_chain_never_goes_back_to_an_earlier_step(chain, ledger):
    for step in range(2):
        (ref,) = chain.advance(step=step)[1]
        chain.deliver(ref)
    for step in range(2):
        verdict, _, ready = chain.advance(step=step)
        assert (verdict, ready) == ("skipped", [])
    assert ledger.client.hget(KEYS.record(chain.ref), "step") == b"1"
    assert ledger.client.llen(KEYS.steps(chain.ref)) == 2


@pytest.mark.parametrize("over", ["queued", "running"])
def test_a_repeated_advance_gives_a_step_the_alarm_that_it_lacks_and_moves_no_other(clock, chain, ledger, over):
    news = [chain.step(), chain.step()]
    step = ledger.next_step(chain.ref, *news)
    ledger.store.advance([step])
    (has, lacks), queued = [new.reference_id for new in news], KEYS.due_queued("bulk")
    if over == "running":
        ledger.client.zrem(queued, has)
    ledger.client.zadd(queued if over == "queued" else KEYS.due_running(), {has: START_MS + 7})
    ledger.client.zrem(queued, lacks)  # the first run was stopped before it had written this one
    clock.set_ms(START_MS + 100)
    assert ids(ledger.store.advance([step]).ready) == [has, lacks]
    found = {key: ledger.client.zrange(key, 0, -1, withscores=True) for key in (queued, KEYS.due_running())}
    alarms = {ref.decode(): at for pairs in found.values() for ref, at in pairs}
    deadline_ms = ledger.time_ms(chain.ref, "deadline")
    assert alarms == {has: START_MS + 7, lacks: START_MS + 100 + GRACE_MS, chain.ref: deadline_ms}


def test_only_a_chain_is_advanced(chain, ledger):
    ref = ledger.accepted()
    for other in (ref, new_reference_id("acme")):
        advanced = ledger.advance(other, chain.step())
        assert (verdict_on(advanced, other), advanced.ready) == ("skipped", ())
    assert (ledger.state(ref), ledger.client.llen(KEYS.steps(ref))) == (State.QUEUED, 0)


def test_a_chain_waits_for_its_step_and_is_not_advanced_meanwhile(chain, ledger):
    chain.begun()
    before = ledger.everything()
    assert chain.advance(step=1)[::2] == ("skipped", [])
    assert ledger.everything() == before


def claim_as_before(ledger, ref):
    """Claim a chain as release 0.2 did."""
    lease_end = ledger.time_ms(ref, "createdAt") + 10_000
    claimed = {"state": "sending", "token": ledger.token(), "leaseEnd": lease_end}
    ledger.client.hset(KEYS.record(ref), mapping=claimed)
    ledger.client.zadd(KEYS.running("acme", "hook"), {ref: lease_end})
    ledger.client.zrem(KEYS.due_queued("bulk"), ref)
    ledger.client.zadd(KEYS.due_running(), {ref: lease_end})


@pytest.mark.parametrize("ends", [False, True])
def test_a_chain_that_an_older_release_claimed_is_its_own_until_its_lease_ends_and_leaves_no_attempt(
    chain, ledger, ends
):
    claim_as_before(ledger, chain.ref)
    assert chain.advance()[0] == "skipped"
    ledger.lose_lease(chain.ref)
    if ends:
        assert ledger.end_chain(chain.ref).granted
    else:
        chain.begun()
    record = ledger.store.find(chain.ref)
    assert (record.state, record.attempts) == (State.DELIVERED if ends else State.WAITING, ())
    assert ledger.client.zcard(KEYS.running("acme", "hook")) == 0
    assert ledger.alarms(chain.ref) == (set() if ends else {"running"})
    assert ledger.client.hget(KEYS.record(chain.ref), "losses") == (None if ends else b"0")


def test_a_chain_past_its_deadline_ends_and_cancels_its_unsent_steps(chain, ledger):
    running, unsent = chain.begun(count=2)
    token = chain.claim(running)
    chain.past_deadline()
    ledger.store.claim([chain.ref], ledger.token())
    record = ledger.store.find(chain.ref)
    assert (record.state, record.outcome, record.error) == (State.UNREACHABLE, Outcome.CHAIN_TIMEOUT, True)
    assert (chain.state(unsent), chain.state(running)) == (State.CANCELLED, State.SENDING)
    settled = ledger.store.settle([ledger.settlement(running, token)])
    assert (settled.verdicts, settled.ready) == ((True,), ())  # a late step does not revive the chain
    assert ledger.client.hgetall(KEYS.pending()) == {b"count": b"0", b"bytes": b"0"}


@pytest.mark.parametrize(("after_ms", "state"), [(119_999, State.QUEUED), (120_000, State.UNREACHABLE)])
def test_a_chain_ends_at_its_deadline_and_not_before(clock, chain, ledger, after_ms, state):
    clock.set_ms(START_MS + after_ms)
    ledger.store.claim([chain.ref], ledger.token())
    assert ledger.client.hget(KEYS.record(chain.ref), "state").decode() == state


@pytest.mark.parametrize(("after_ms", "verdict"), [(119_999, "granted"), (120_000, "ended")])
def test_a_step_is_created_before_the_deadline_and_not_at_it(clock, chain, after_ms, verdict):
    clock.set_ms(START_MS + after_ms)
    assert chain.advance()[0] == verdict
    state = State.WAITING if verdict == "granted" else State.UNREACHABLE
    assert chain.ledger.client.hget(KEYS.record(chain.ref), "state").decode() == state


def test_steps_of_an_advance_that_was_stopped_end_with_their_chain_past_its_deadline(chain, ledger):
    (step,) = chain.begun()
    ledger.client.hset(KEYS.record(chain.ref), mapping={"state": "queued", "lastToken": "", "step": -1})
    chain.past_deadline()
    assert chain.advance()[::2] == ("ended", [])
    assert (chain.state(), chain.state(step)) == (State.UNREACHABLE, State.CANCELLED)
    assert ledger.client.hgetall(KEYS.pending()) == {b"count": b"0", b"bytes": b"0"}


def test_a_step_whose_chain_is_over_is_not_sent(chain, ledger):
    (step,) = chain.begun()
    ledger.client.hset(KEYS.record(chain.ref), "state", "cancelled")
    assert ledger.store.claim([step], ledger.token()).granted == set()
    assert chain.state(step) is State.CANCELLED


def test_a_lost_step_whose_chain_is_over_is_interrupted_even_if_repeatable(chain, ledger):
    (step,) = chain.begun(repeatable=True)
    chain.claim(step)
    chain.past_deadline()
    ledger.store.claim([chain.ref], ledger.token())
    ledger.lose_lease(step)
    ledger.store.claim([step], ledger.token())
    assert chain.state(step) is State.INTERRUPTED


def test_cancelling_a_waiting_chain_cancels_its_unsent_steps_nested_ones_too(chain, ledger):
    (nested,) = chain.begun(pins="{}", repeatable=True, timeout_ms=60_000)
    inner = chain.advance(ref=nested)[1]
    ledger.store.cancel(chain.ref)
    assert [chain.state(ref) for ref in (chain.ref, nested, inner[0])] == [State.CANCELLED] * 3
    assert [ledger.alarms(ref) for ref in (chain.ref, nested, inner[0])] == [set()] * 3


def test_a_chain_that_was_cancelled_while_its_next_step_was_decided_makes_none(chain, ledger):
    decided = ledger.next_step(chain.ref, chain.step())
    ledger.store.cancel(chain.ref)
    before = ledger.everything()
    assert verdict_on(ledger.store.advance([decided]), chain.ref) == "skipped"
    assert ledger.everything() == before


def test_a_cancelled_step_counts_as_ended(chain, ledger):
    (step,) = chain.begun()
    assert ledger.store.cancel(step) == ((chain.ref, "bulk"),)


def test_a_nested_chains_end_makes_the_outer_one_ready(chain, ledger):
    (nested,) = chain.begun(pins="{}", repeatable=True)
    (inner,) = chain.advance(ref=nested)[1]
    chain.deliver(inner)
    end = ChainEnd(1, ledger.settlement(nested, "token", attempt=None))
    for verdict in ("granted", "skipped"):  # the first reply may be lost
        advanced = ledger.store.advance([end])
        assert (verdict_on(advanced, nested), advanced.ready) == (verdict, ((chain.ref, "bulk"),))


def test_one_outermost_chain_makes_no_more_steps_than_it_may(chain, ledger):
    (nested,) = chain.begun(pins="{}", repeatable=True)
    ledger.client.hset(KEYS.record(chain.ref), "made", CHAIN_STEPS)
    assert chain.advance(ref=nested)[::2] == ("ended", [chain.ref])
    record = ledger.store.find(nested)
    assert (record.state, record.outcome, record.status) == (State.UNREACHABLE, Outcome.STEP_REJECTED, 0)
    assert record.reason == "step 0: the chain has made as many calls as it may"


@pytest.mark.parametrize(("left", "verdict"), [(3, "granted"), (2, "ended")])
def test_the_last_steps_that_a_chain_may_make_are_made_and_not_one_more(chain, ledger, left, verdict):
    ledger.client.hset(KEYS.record(chain.ref), "made", CHAIN_STEPS - left)
    assert chain.advance(count=3)[0] == verdict
    made = int(ledger.client.hget(KEYS.record(chain.ref), "made"))
    assert made == (CHAIN_STEPS if verdict == "granted" else CHAIN_STEPS - left)


def test_what_only_the_chain_needed_of_an_answer_goes_when_it_ends(chain, ledger):
    (step,) = chain.begun()
    chain.deliver(step)
    assert ledger.client.get(KEYS.raw(step)) == b"\x01raw"
    ledger.end_chain(chain.ref)
    assert ledger.client.get(KEYS.raw(step)) is None
    assert chain.state() is State.DELIVERED


def test_the_end_of_a_chain_is_recorded_as_it_was_decided(chain, ledger):
    end = {"state": State.UNREACHABLE, "outcome": Outcome.STEP_REJECTED, "status": 0, "error": True}
    ledger.end_chain(chain.ref, **end, masked=3, result=b"sealed", reason="step 0: why")
    record = ledger.store.find(chain.ref)
    assert {name: getattr(record, name) for name in end} == end
    assert (record.masked, record.reason, record.attempts) == (3, "step 0: why", ())
    assert ledger.store.result_of(chain.ref) == b"sealed"
    assert ledger.store.counts("acme")["masked"] == 3


def test_a_waiting_chains_alarm_rings_at_its_deadline(chain, ledger):
    chain.begun()
    ledger.client.zadd(KEYS.due_running(), {chain.ref: 1})
    assert ledger.store.sweep(limit=10) == ()
    chain.past_deadline()
    ledger.client.zadd(KEYS.due_running(), {chain.ref: 1})
    assert ledger.store.sweep(limit=10) == ((chain.ref, "bulk"),)


def test_records_of_chains_and_steps_name_each_other(chain, ledger):
    steps = chain.begun(count=2)
    assert ledger.store.find(chain.ref).steps == tuple(steps)
    part = ledger.store.find(steps[1]).step_of
    assert (part.parent, part.step, part.item) == (chain.ref, 0, 1)


def test_the_end_of_a_step_brings_no_key_of_a_forgotten_parent_back(ledger, chain):
    (step,) = chain.begun()
    token = chain.claim(step)
    ledger.client.delete(KEYS.record(chain.ref))  # as pruning does, long after its end
    ledger.store.settle([ledger.settlement(step, token)])
    assert ledger.client.exists(KEYS.record(chain.ref)) == 0


@pytest.mark.parametrize("over", sorted(FINAL))
def test_a_chain_within_one_that_is_over_creates_nothing_and_ends(chain, ledger, over):
    (inner,) = chain.begun(pins='{"hook":1}', repeatable=True)
    ledger.client.hset(KEYS.record(chain.ref), "state", over)  # although the chain's end would end all of them
    verdict, steps, ready = chain.advance(ref=inner)
    assert (verdict, ready) == ("ended", [])
    assert not ledger.client.exists(KEYS.record(steps[0]))
    assert chain.state(inner) is State.CANCELLED


def test_a_chain_two_below_one_that_is_over_creates_nothing_and_ends(chain, ledger):
    (middle,) = chain.begun(pins='{"hook":1}', repeatable=True)
    _, (inner,), _ = chain.advance(ref=middle, pins='{"hook":1}', repeatable=True)
    ledger.client.hset(KEYS.record(chain.ref), "state", "cancelled")  # although its end would end all of them
    verdict, steps, _ = chain.advance(ref=inner)
    assert verdict == "ended"
    assert not ledger.client.exists(KEYS.record(steps[0]))


def test_a_step_two_below_a_chain_that_is_over_is_not_sent(chain, ledger):
    (middle,) = chain.begun(pins='{"hook":1}', repeatable=True)
    _, (step,), _ = chain.advance(ref=middle)
    ledger.client.hset(KEYS.record(chain.ref), "state", "cancelled")  # although the chain's end would end all of them
    assert not ledger.store.claim([step], ledger.token()).granted
    assert chain.state(step) is State.CANCELLED


def test_the_trigger_of_a_paused_chain_is_read_for_its_steps_and_the_chain_itself_waits(chain, ledger):
    chain.begun()
    ledger.policies.pause("acme", "hook")
    (parent,) = ledger.store.read([chain.ref])
    assert (parent.full, parent.payload) == (True, b"\x01sealed")


@pytest.mark.parametrize(("caller", "callback"), [("k1", b"ended"), ("callback", None), ("alert", None)])
def test_steps_of_what_the_relay_itself_called_have_no_callback(ledger, caller, callback):
    (step,) = Chain(ledger, caller=caller).begun(callback="ended")
    assert ledger.client.hget(KEYS.record(step), "callback") == callback


RANGES = [(0, None), (0, 4), (1, 3), (2, 3), (3, 4), (1, None), (4, None)]


def test_calls_of_several_chains_are_read_together_each_from_its_first_to_before_its_end(ledger):
    made = {}
    for number in range(2):
        parent = ledger.accepted(pins="{}")
        news = [NewStep(new_reference_id(), "hook", 1, 1_000, False, b"\x01", 1) for _ in range(4)]
        ledger.advance(parent, *news, step=number)
        made[parent] = [new.reference_id for new in news]
    steps = Steps(ledger.client)
    for first, end in RANGES:
        for parent, refs in made.items():
            assert [each.reference_id for each in steps.of(parent, first, end)] == refs[first:end]
    wanted = [(parent, *span) for span in RANGES for parent in made]
    found = steps.of_each([*wanted, (new_reference_id(), 0, None)])
    assert [[(each.reference_id, each.step) for each in calls] for calls in found] == [
        *([(ref, list(made).index(parent)) for ref in made[parent][first:end]] for parent, first, end in wanted),
        [],
    ]


def test_of_a_chain_of_which_a_call_seems_gone_nothing_is_read(ledger):
    """Steps stay for a day at least, so it is a reply that is wrong: what is known of a chain must not lack an answer."""
    parent = ledger.accepted(pins="{}")
    news = [NewStep(new_reference_id(), "hook", 1, 1_000, False, b"\x01", 1) for _ in range(4)]
    ledger.advance(parent, *news)
    steps = Steps(ledger.client)
    for first, end in [(0, 5), (2, 9), (4, 5)]:
        with pytest.raises(StoreFault):
            steps.of(parent, first, end)
    ledger.client.delete(KEYS.record(news[1].reference_id))
    for first, end in [(0, 4), (1, 2), (0, None)]:
        with pytest.raises(StoreFault):
            steps.of(parent, first, end)
    assert [each.reference_id for each in steps.of(parent, 2, 4)] == [new.reference_id for new in news[2:]]


@pytest.mark.parametrize("state", [*State, "", "later"])
def test_what_a_chain_hides_is_read_until_it_is_over(redis_client, state):
    ref = new_reference_id("acme")
    steps = Steps(redis_client)
    assert steps.secrets(ref) is None
    redis_client.set(KEYS.secrets(ref), b"sealed")
    redis_client.hset(KEYS.record(ref), "state", state)
    assert steps.secrets(ref) == (None if state in {"", *FINAL} else b"sealed")
