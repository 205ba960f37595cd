"""No call waits for ever: whatever holds it back, it ends when its time is over."""

from __future__ import annotations

import time

import pytest

from relay.domain.invocation import Attempt, Outcome, Sent, State
from relay.errors import Unavailable
from relay.store.ledger.invocations import GRACE_MS
from relay.store.server.replicas import require_replicas
from tests.contract.clocked import START_MS
from tests.contract.ledger import DAY_MS, Ledger
from tests.contract.replay_harness import ReplayHarness
from tests.store_keys import KEYS

MINUTE_MS = 60_000


def queued(ledger):
    return ledger.accepted()


def parked_at_a_cap(ledger):
    ledger.client.hset(KEYS.policy("acme", "hook"), "concurrency", 1)
    ledger.claimed()
    ref = ledger.accepted()
    assert ledger.store.claim([ref], ledger.token()).parked == {ref}
    return ref


def parked_by_a_rate(ledger):
    ledger.client.hset(KEYS.policy("acme", "hook"), mapping={"rateCount": 1, "ratePeriod": 60_000})
    ledger.claimed()
    ref = ledger.accepted()
    assert ledger.store.claim([ref], ledger.token()).parked == {ref}
    return ref


def paused(ledger):
    ledger.policies.pause("acme", "hook")
    ref = ledger.accepted()
    assert ledger.store.claim([ref], ledger.token()).parked == {ref}
    return ref


def beyond_its_share(ledger):
    ledger.claimed()
    ref = ledger.accepted()
    assert ledger.store.claim([], ledger.token(), park=[ref]).parked == {ref}
    return ref


def held_by_a_breaker(ledger):
    until = int(time.time() * 1000) + MINUTE_MS
    ledger.client.hset(KEYS.policy("acme", "hook"), mapping={"openUntil": until, "openFor": MINUTE_MS, "retry": "1"})
    ref = ledger.accepted()
    ledger.store.claim([ref], ledger.token())
    assert ledger.state(ref) is State.RETRYING
    return ref


def of_a_paused_replay(ledger):
    harness = ReplayHarness(ledger)
    (original,) = harness.failed(1)
    job = harness.start(reference_ids=[original])
    harness.create_all(job)
    (ref,) = harness.made(job)
    harness.replays.pause("acme", job.replay_id)
    assert ledger.store.claim([ref], ledger.token()).parked == {ref}
    return ref


def released(ledger):
    ref, token = ledger.claimed()
    ledger.store.release([ref], token)
    return ref


def delayed(ledger):
    return ledger.accepted(delay_ms=MINUTE_MS)


HOLDS = (
    queued,
    parked_at_a_cap,
    parked_by_a_rate,
    paused,
    beyond_its_share,
    held_by_a_breaker,
    of_a_paused_replay,
    released,
    delayed,
)


def expired(ledger, ref):
    record = ledger.store.find(ref)
    assert (record.state, record.outcome) == (State.UNREACHABLE, Outcome.EXPIRED)
    assert (record.status, record.error) == (0, True)
    return [(attempt.outcome, attempt.sent) for attempt in record.attempts]


def retry_of(ledger, ref, token, outcome, sent, delay_ms=MINUTE_MS):
    attempt = Attempt(1, 1, 5, 0, outcome, sent)
    return ledger.settlement(
        ref, token, state=State.RETRYING, outcome=outcome, attempt=attempt, delay_ms=delay_ms, result=b""
    )


@pytest.mark.parametrize("hold", HOLDS)
def test_what_has_had_its_time_ends_whatever_holds_it_back(ledger, hold):
    ref = hold(ledger)
    ended, more, _ = ledger.grow_old(ref)
    assert (ended, more) == (1, False)
    assert expired(ledger, ref) == [(Outcome.EXPIRED, Sent.NO)]
    assert ledger.alarms(ref) == set()
    assert ledger.client.zscore(KEYS.parked("acme", "hook"), ref) is None
    assert ledger.client.zscore(KEYS.open_calls("acme", "hook"), ref) is None


@pytest.mark.parametrize("hold", HOLDS)
def test_a_claim_sends_nothing_that_has_had_its_time(ledger, hold):
    ref = hold(ledger)
    ledger.client.hset(KEYS.record(ref), "endBy", 1)
    token = ledger.token()
    assert ledger.store.claim([ref], token).granted == set()
    assert expired(ledger, ref) == [(Outcome.EXPIRED, Sent.NO)]
    before = ledger.everything()
    ledger.store.claim([ref], token)
    assert ledger.everything() == before


@pytest.mark.parametrize("tried", [False, True])
@pytest.mark.parametrize(("before_ms", "granted"), [(1, True), (0, False)])
def test_a_claim_sends_a_call_until_its_time_is_over_and_not_then(clock, ledger, before_ms, granted, tried):
    ref = ledger.accepted(max_age_ms=MINUTE_MS)
    if tried:
        token = ledger.token()
        ledger.store.claim([ref], token)
        ledger.store.settle([retry_of(ledger, ref, token, Outcome.CONNECT_TIMEOUT, Sent.NO, delay_ms=0)])
    clock.set_ms(START_MS + MINUTE_MS - before_ms)
    assert ledger.store.claim([ref], ledger.token()).granted == ({ref} if granted else set())
    state = ledger.client.hget(KEYS.record(ref), "state")
    assert state == (b"sending" if granted else b"unreachable")


@pytest.mark.parametrize("hold", HOLDS)
def test_what_is_young_is_left_alone(ledger, hold):
    ref = hold(ledger)
    ledger.look_at_ages()
    before = {name: ledger.client.hgetall(KEYS.record(ref)) for name in [ref]}
    assert ledger.store.expire(limit=100)[0] == 0
    assert {ref: ledger.client.hgetall(KEYS.record(ref))} == before
    in_ms = ledger.client.zscore(KEYS.open_calls("acme", "hook"), ref) - time.time() * 1000
    delay_ms = MINUTE_MS if hold is delayed else 0
    assert 0 <= DAY_MS + delay_ms - in_ms < MINUTE_MS  # and it is looked at again when its time is over


@pytest.mark.parametrize(("sent", "says"), [(Sent.NO, Sent.NO), (Sent.MAYBE, Sent.MAYBE), (Sent.ANSWERED, Sent.NO)])
def test_an_end_by_age_says_what_is_known_of_the_attempts_before_it(ledger, sent, says):
    ref, token = ledger.claimed(repeatable=True)
    ledger.store.settle([retry_of(ledger, ref, token, Outcome.CONNECTION_LOST, sent)])
    ledger.grow_old(ref)
    assert expired(ledger, ref) == [(Outcome.CONNECTION_LOST, sent), (Outcome.EXPIRED, says)]


def test_what_is_being_sent_ends_its_attempt_first(ledger):
    ref, token = ledger.claimed()
    assert ledger.grow_old(ref)[0] == 0
    assert ledger.state(ref) is State.SENDING
    assert ledger.store.settle([ledger.settlement(ref, token)]).verdicts == (True,)
    assert ledger.state(ref) is State.DELIVERED


def test_an_attempt_that_ends_beyond_the_age_gets_no_other_one(ledger):
    ref, token = ledger.claimed()
    ledger.grow_old(ref)
    retry = retry_of(ledger, ref, token, Outcome.CONNECT_TIMEOUT, Sent.NO, delay_ms=0)
    assert ledger.store.settle([retry]).verdicts == (True,)
    assert expired(ledger, ref) == [(Outcome.CONNECT_TIMEOUT, Sent.NO), (Outcome.EXPIRED, Sent.NO)]
    before = ledger.everything()
    assert ledger.store.settle([retry]).verdicts == (True,)
    assert ledger.everything() == before


@pytest.mark.parametrize(
    ("repeatable", "state", "outcome"),
    [(True, State.UNREACHABLE, Outcome.EXPIRED), (False, State.INTERRUPTED, Outcome.LEASE_LOST)],
)
def test_what_was_lost_and_is_too_old_ends_and_says_that_it_may_have_been_sent(ledger, repeatable, state, outcome):
    ref, token = ledger.claimed(repeatable=repeatable)
    ledger.lose_lease(ref)
    assert ledger.grow_old(ref)[0] == 1
    record = ledger.store.find(ref)
    assert (record.state, record.outcome) == (state, outcome)
    assert {attempt.sent for attempt in record.attempts} == {Sent.MAYBE}
    assert ledger.store.settle([ledger.settlement(ref, token)]).verdicts == (False,)  # it comes too late


def test_what_was_lost_only_now_is_left_to_a_worker_that_can_take_it(ledger):
    ref, _ = ledger.claimed(repeatable=True)
    ledger.client.hset(KEYS.record(ref), "leaseEnd", int(time.time() * 1000) - 1)
    assert ledger.grow_old(ref)[0] == 0
    assert ledger.state(ref) is State.SENDING


@pytest.mark.parametrize(("repeatable", "state"), [(True, b"unreachable"), (False, b"interrupted")])
def test_what_was_lost_and_is_too_old_ends_once_a_worker_has_had_the_time_to_take_it(clock, ledger, repeatable, state):
    ref, _ = ledger.claimed(max_age_ms=1_000, repeatable=repeatable)
    last_ms = ledger.time_ms(ref, "leaseEnd") + 2 * GRACE_MS
    for now_ms, ended in ((START_MS + 1_000, 0), (last_ms - 1, 0), (last_ms, 1)):
        clock.set_ms(now_ms)
        assert ledger.store.expire(limit=9)[0] == ended
        if not ended:  # it is looked at again just then
            assert ledger.client.zscore(KEYS.ages(), "acme/hook") == last_ms
    assert ledger.client.hget(KEYS.record(ref), "state") == state


def test_the_age_of_a_webhook_is_its_own_or_that_of_the_settings(ledger):
    own, other = ledger.accepted(max_age_ms=MINUTE_MS), ledger.accepted()
    ages = [ledger.time_ms(ref, "endBy") - ledger.time_ms(ref, "createdAt") for ref in (own, other)]
    assert ages == [MINUTE_MS, DAY_MS]


def test_a_call_that_grows_too_old_wakes_whom_it_kept_waiting(ledger):
    ref = parked_at_a_cap(ledger)
    following = ledger.accepted()
    ledger.store.claim([following], ledger.token())
    ledger.client.hset(KEYS.policy("acme", "hook"), "concurrency", 2)
    _, _, ready = ledger.grow_old(ref)
    assert [each for each, _ in ready] == [following]


def test_many_that_are_too_old_end_in_pieces_of_which_every_webhook_has_its_part(ledger):
    ledger.client.hset(KEYS.webhooks("acme"), "small", 1)
    many = [answer.reference_id for answer in ledger.store.accept([ledger.new() for _ in range(90)], ())[0]]
    few = ledger.accepted(webhook_id="small")
    for ref in (*many, few):
        ledger.client.hset(KEYS.record(ref), "endBy", 1)
    ledger.look_at_ages()
    ended, more, _ = ledger.store.expire(limit=20)
    assert (ended, more, ledger.state(few)) == (11, True, State.UNREACHABLE)
    scripts = 1
    while more:
        count, more, _ = ledger.store.expire(limit=20)
        assert count <= 20
        ended, scripts = ended + count, scripts + 1
    assert (ended, scripts) == (91, 5)
    assert {ledger.state(ref) for ref in many} == {State.UNREACHABLE}
    assert ledger.client.zcard(KEYS.ages()) == 0


def test_replicas_are_waited_for_only_where_a_call_may_have_to_end(valkey, monkeypatch):
    monkeypatch.setattr("relay.store.server.replicas.WAIT_MS", 20)
    with valkey.client() as client:
        ref = Ledger(client).accepted()
        require_replicas(client, 1)
        ledger = Ledger(client)
        assert ledger.store.expire(limit=10) == (0, False, ())
        client.hset(KEYS.record(ref), "endBy", 1)
        ledger.look_at_ages()
        with pytest.raises(Unavailable, match="may or may not have happened"):
            ledger.store.expire(limit=10)
        assert ledger.state(ref) is State.UNREACHABLE


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("ages_ms", [(3_000, 9_000, 6_000), (9_000, 6_000, 3_000), (6_000, 3_000, 9_000)])
def test_each_of_a_webhooks_calls_ends_when_its_own_time_is_over_and_not_before(clock, ledger, ages_ms, together):
    news = [ledger.new(max_age_ms=age_ms) for age_ms in ages_ms]
    for group in [news] if together else [[new] for new in news]:
        ledger.accept(group)
    for new in sorted(news, key=lambda new: new.max_age_ms):
        end_ms = START_MS + new.max_age_ms
        assert ledger.client.zscore(KEYS.ages(), "acme/hook") == end_ms
        clock.set_ms(end_ms - 1)
        assert ledger.store.expire(limit=9)[0] == 0
        clock.set_ms(end_ms)
        assert ledger.store.expire(limit=9)[0] == 1
        assert ledger.client.hget(KEYS.record(new.reference_id), "state") == b"unreachable"
    assert ledger.client.zcard(KEYS.ages()) == 0


@pytest.mark.parametrize("act", ["claim", "expire"])
def test_a_paused_chain_past_its_deadline_ends_with_its_steps(ledger, act):
    chain = ledger.accepted(pins="{}", repeatable=True, timeout_ms=120_000)
    ledger.policies.pause("acme", "hook")
    ledger.store.claim([chain], ledger.token())
    ledger.client.hset(KEYS.record(chain), "deadline", 1)
    if act == "claim":
        ledger.store.claim([chain], ledger.token())
    else:
        ledger.look_at_ages()
        ledger.store.expire(limit=10)
    record = ledger.store.find(chain)
    assert (record.state, record.outcome, record.attempts) == (State.UNREACHABLE, Outcome.CHAIN_TIMEOUT, ())


def test_a_chain_is_looked_at_when_its_deadline_comes(ledger):
    chain = ledger.accepted(pins="{}", repeatable=True, timeout_ms=120_000)
    in_ms = ledger.client.zscore(KEYS.open_calls("acme", "hook"), chain) - time.time() * 1000
    assert 100_000 < in_ms <= 120_000
    assert ledger.client.zscore(KEYS.ages(), "acme/hook") - time.time() * 1000 <= 120_000
