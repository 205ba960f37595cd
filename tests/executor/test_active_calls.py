"""Active calls: until when they may be sent, and how a stop ends those that have not been sent."""

from __future__ import annotations

from types import SimpleNamespace

import gevent
import pytest
import requests
from gevent.event import Event

from relay.answer.masking import Mask
from relay.domain.invocation import Outcome, Sent, State
from relay.domain.reference_id import new_reference_id
from relay.errors import Unavailable
from relay.executor import claiming
from relay.executor.active_calls import ActiveCall, ActiveCalls
from relay.executor.claiming import Claimer
from relay.executor.in_flight import InFlight
from relay.executor.preparation import Prepared
from relay.executor.slots import Slots
from relay.outbound.gate import Gate
from relay.process import loops
from relay.process.clock import boot_time_s
from relay.registration import Shape
from relay.store.keys.keyspace import SINGLE
from relay.store.ledger.transitions import CallRecord, Claimed, Settled, Settlement
from relay.telemetry import log
from tests.timing import BUSY_S, stop_clock, wait_until

TIMEOUT_MS = 20_250
SLOTS = 3


def prepared():
    record = CallRecord(new_reference_id(), State.QUEUED, "acme", "hook", 1, 1, b"", None, TIMEOUT_MS, "bulk")
    return Prepared(record, requests.PreparedRequest(), Shape("hook", "POST"), Mask(()))


def publishing(publish):
    """Return a scheduler that only publishes."""
    return SimpleNamespace(publish=publish)


def in_flight(store, slots, watch, *, sender=None, conclusion=None, claimer=None, released=None, noted=None):
    """Return the active calls of a process, and what carries them out; ``released`` gets the ids of those that end."""
    scheduler = SimpleNamespace(
        slots=slots, run_or_publish=lambda *_: None, release=(lambda _: None) if released is None else released.extend
    )
    active_calls = ActiveCalls(slots, watch)
    evaluator = SimpleNamespace(settled=lambda *call: None if noted is None else noted.append(call))
    return active_calls, InFlight(store, sender, conclusion, evaluator, claimer, active_calls, scheduler, watch)


class Claims:
    """A store whose claims are slow, and some of whose claims get no answer."""

    lease_margin_s = 10.0

    def __init__(self, sleep=gevent.sleep, slow_s=0.05):
        self.sleep = sleep
        self.slow_s = slow_s
        self.released: list[tuple[str, ...]] = []
        self.failures: list[Exception] = []
        self.failing_releases = 0

    def claim(self, reference_ids, _token, *, full, park):
        self.sleep(self.slow_s)
        if self.failures:
            raise self.failures.pop()
        return Claimed(1, frozenset(reference_ids), frozenset((*full, *park)), ())

    def release(self, reference_ids, _token):
        if self.failing_releases:
            self.failing_releases -= 1
            raise Unavailable
        self.released.append(tuple(reference_ids))
        return ((reference_ids[0], "bulk"),)


@pytest.mark.parametrize(("slow_s", "spared_s"), [(0.05, 0.05), (5.0, 5.0), (9.0, 5.0)])
def test_a_slow_claim_costs_a_call_no_time_as_far_as_half_its_margin_goes(monkeypatch, slow_s, spared_s):
    """The lease counts from before the claim was sent."""
    store = Claims(sleep=stop_clock(monkeypatch), slow_s=slow_s)
    call, before_s = prepared(), boot_time_s()
    _, (active,) = Claimer(store, publishing(lambda _: None)).claim([call], [], [])
    assert active.gate.deadline_s == before_s + TIMEOUT_MS / 1000 + spared_s
    assert active.claimed_at_s == before_s + slow_s


def test_a_claimer_is_busy_while_any_claim_has_no_answer():
    answers = [Event(), Event()]
    waits = iter(answers)
    claimer = Claimer(Claims(sleep=lambda _: next(waits).wait()), publishing(lambda _: None))
    assert not claimer.busy
    claims = [gevent.spawn(claimer.claim, [prepared()], [], []) for _ in range(2)]
    gevent.sleep(0)
    for answer, claim in zip(answers, claims, strict=True):
        assert claimer.busy
        answer.set()
        claim.join()
    assert not claimer.busy


def test_a_claim_without_an_answer_is_given_back_as_soon_as_that_can_be_said_and_who_is_ready_published(monkeypatch):
    monkeypatch.setattr(loops, "RETRY_S", 0.001)
    store, published, calls = Claims(), [], [prepared(), prepared()]
    refs = [call.record.reference_id for call in calls]
    store.failures, store.failing_releases = [Unavailable()], 5
    claimer = Claimer(store, publishing(published.extend))
    with pytest.raises(Unavailable):
        claimer.claim(calls, [], [])
    assert claimer.busy  # a stop waits until they are given back
    wait_until(lambda: published, sleep=gevent.sleep)
    assert not claimer.busy
    assert (store.released, published) == ([tuple(refs)], [(refs[0], "bulk")])


def test_a_call_that_is_to_be_given_back_while_another_of_its_claim_is_given_back_follows(monkeypatch):
    monkeypatch.setattr(loops, "RETRY_S", 0.001)
    released, may_answer, published = [], Event(), []

    def release(refs, _token):
        released.append(tuple(refs))
        may_answer.wait()
        return tuple((ref, "bulk") for ref in refs)

    refs = [new_reference_id() for _ in range(3)]
    claimer = Claimer(SimpleNamespace(release=release), publishing(published.extend))
    claimer.give_back_soon("token", refs[0])
    wait_until(lambda: released, sleep=gevent.sleep)
    for ref in refs[1:]:
        claimer.give_back_soon("token", ref)
    may_answer.set()
    wait_until(lambda: not claimer.busy, sleep=gevent.sleep)
    assert released == [tuple(refs[:1]), tuple(refs[1:])]
    assert published == [(ref, "bulk") for ref in refs]


def test_what_a_lost_claim_may_have_granted_is_not_given_back_at_once_as_the_claim_may_still_arrive(monkeypatch):
    monkeypatch.setattr(loops, "RETRY_S", 100 * BUSY_S)
    spawned, spawn = [], gevent.spawn
    monkeypatch.setattr(gevent, "spawn", lambda *args: spawned.append(spawn(*args)))
    store = Claims()
    store.failures = [Unavailable()]
    claimer = Claimer(store, publishing(pytest.fail))
    with pytest.raises(Unavailable):
        claimer.claim([prepared()], [], [])
    gevent.sleep(0.01)
    assert (store.released, claimer.busy, len(spawned)) == ([], True, 1)
    gevent.killall(spawned)


@pytest.mark.parametrize("failing", range(4))
def test_what_cannot_be_given_back_keeps_no_other_claim_s_calls_from_it(failing):
    store, published, calls = Claims(), [], {f"token-{number}": [new_reference_id()] for number in range(3)}
    store.failing_releases = failing  # the first ones
    Claimer(store, publishing(published.extend)).give_back(calls)
    assert store.released == [tuple(refs) for refs in calls.values()][failing:]
    assert published == [(ref, "bulk") for (ref,) in store.released]


def test_what_a_lost_claim_may_have_granted_is_not_tried_to_be_given_back_for_ever(monkeypatch):
    monkeypatch.setattr(loops, "RETRY_S", 0.001)
    monkeypatch.setattr(claiming, "GIVE_BACK_S", 0.02)
    spawned, spawn = [], gevent.spawn
    monkeypatch.setattr(gevent, "spawn", lambda *args: spawned.append(spawn(*args)))
    store = Claims()
    store.failures, store.failing_releases = [Unavailable()], 1_000_000
    with pytest.raises(Unavailable):
        Claimer(store, publishing(pytest.fail)).claim([prepared()], [], [])
    (giving_back,) = spawned
    giving_back.get(timeout=BUSY_S)  # raises the error that has ended it
    left = store.failing_releases
    gevent.sleep(0.02)
    assert store.failing_releases == left < 1_000_000


class HangingCalls:
    """Calls in flight whose requests wait for an unreachable endpoint."""

    def __init__(self):
        self.slots = Slots(SLOTS)
        self.released: list[str] = []
        self.concluded: list[object] = []
        self.may_return = Event()
        self.active_calls, self.in_flight = in_flight(
            self,
            self.slots,
            SimpleNamespace(claimed=lambda _: None, sending=lambda _: None, settled=lambda *_: None),
            sender=self,
            conclusion=SimpleNamespace(conclude=lambda *concluded: self.concluded.append(concluded)),
            released=self.released,
        )

    def settle(self, group):
        raise AssertionError(group)

    def send(self, request, *, gate, deadline_s, repeatable):
        self.may_return.wait()
        return SimpleNamespace(duration_ms=7)

    def launch(self):
        call = prepared()
        self.slots.take(1)
        self.in_flight.launch(
            ActiveCall(
                call, ("acme", "hook"), "token", Gate(boot_time_s() + 20), claimed_at_ms=1, claimed_at_s=boot_time_s()
            )
        )
        return call.record.reference_id


def test_an_active_call_that_a_stop_has_given_back_ends_settles_nothing_and_holds_nothing():
    hanging = HangingCalls()
    refs = [hanging.launch() for _ in range(SLOTS)]
    gevent.sleep(0)
    assert (hanging.slots.free, len(hanging.active_calls)) == (0, SLOTS)
    assert hanging.active_calls.shut_unsent() == {"token": refs}
    assert len(hanging.active_calls) == 0  # a stop does not wait for connections that hang
    hanging.may_return.set()
    gevent.sleep(0.01)
    assert (hanging.slots.free, len(hanging.active_calls)) == (SLOTS, 0)
    assert sorted(hanging.released) == sorted(refs)
    assert hanging.concluded == []
    assert hanging.in_flight.settlers.flush(0)


def test_a_settlement_says_how_much_room_there_is_until_this_process_stops():
    hanging = HangingCalls()
    refs = [hanging.launch() for _ in range(2)]
    group = [
        Settlement(ref, "token", State.DELIVERED, Outcome.ANSWERED, 200, False, None)
        for ref in (refs[0], new_reference_id(), refs[1])
    ]
    capacities = [each.capacity for each in hanging.active_calls.with_capacity(group)]
    assert capacities == [SLOTS, None, SLOTS]
    hanging.active_calls.shut_unsent()
    assert hanging.active_calls.with_capacity(group) == group
    hanging.may_return.set()
    gevent.sleep(0.01)


@pytest.mark.parametrize("after_s", [0.0, 1.5, 59.0])
def test_an_attempt_begins_on_the_server_s_clock_so_long_after_its_claim_as_has_passed_here(monkeypatch, after_s):
    move_on, now_s = stop_clock(monkeypatch), boot_time_s()
    gate = Gate(now_s + 20)
    active = ActiveCall(prepared(), ("acme", "hook"), "token", gate, claimed_at_ms=1_234_567, claimed_at_s=now_s)
    move_on(after_s)
    assert InFlight._sent_at_ms(active) == pytest.approx(1_234_567 + after_s * 1000, abs=1)


class SlotsSpy:
    """Slots that record the durations that they are given."""

    def __init__(self):
        self.answered_s, self.left_s = [], []

    def hold(self, _name):
        pass

    def answered(self, _name, after_s):
        self.answered_s.append(after_s)

    def leave(self, _name, held_s):
        self.left_s.append(held_s)

    def capacity_after(self, names):
        return dict.fromkeys(names, 1)


class Verdicts:
    """A store that answers whether each settlement counts, with a sender and a conclusion that answer or fail."""

    keys = SINGLE

    def __init__(self, counts, error):
        self.counts, self.error = counts, error
        self.settled = []

    def settle(self, group):
        self.settled += group
        return Settled((self.counts,) * len(group), ())

    def send(self, *_args, **_more):
        return SimpleNamespace(outcome=Outcome.ANSWERED, sent=Sent.ANSWERED, duration_ms=7)

    def conclude(self, call, token, *_):
        if self.error is not None:
            raise self.error
        return Settlement(call.record.reference_id, token, State.DELIVERED, Outcome.ANSWERED, 200, False, None)


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("error", [None, ZeroDivisionError()], ids=["fine", "a fault"])
def test_what_came_of_a_call_is_settled_and_shown_where_it_counts_and_the_slots_told_how_long_it_took(
    events_of, counts, error
):
    slots, store, shown, said = SlotsSpy(), Verdicts(counts, error), [], events_of(log)
    watch = SimpleNamespace(
        claimed=lambda _: None, sending=lambda _: None, settled=lambda active, _: shown.append(active.reference_id)
    )
    noted = []
    _, calls = in_flight(store, slots, watch, sender=store, conclusion=store, noted=noted)
    call, gate = prepared(), Gate(boot_time_s() + 20)
    ref = call.record.reference_id
    claimed_at_s = boot_time_s() - 3
    calls.launch(ActiveCall(call, ("acme", "hook"), "token", gate, claimed_at_ms=1, claimed_at_s=claimed_at_s))
    gevent.sleep(0.05)
    assert calls.settlers.flush(5)
    outcome = Outcome.ANSWERED if error is None else Outcome.ANSWER_REJECTED
    assert [(each.reference_id, each.outcome) for each in store.settled] == [(ref, outcome)]
    assert shown == [ref] * counts
    assert noted == [(call.record, settlement._replace(capacity=None)) for settlement in store.settled] * counts
    assert [fields["where"] for _, fields in said] == ["attempt"] * (error is not None)
    assert slots.answered_s == [0.007]  # the endpoint's time, without the wait in this process
    assert slots.left_s == [pytest.approx(3, abs=BUSY_S)]
    assert slots.left_s[0] >= 3


@pytest.mark.parametrize("is_stopped", [False, True])
@pytest.mark.parametrize(("passed", "is_late"), [(0.0, False), (0.49, False), (0.51, True), (1.5, True)])
def test_a_call_that_has_waited_for_over_half_its_time_or_that_a_stop_has_given_back_is_given_back_once_and_not_sent(
    monkeypatch, passed, is_late, is_stopped
):
    move_on, slots, store, given_back, sending = stop_clock(monkeypatch), Slots(1), Verdicts(True, None), [], []
    watch = SimpleNamespace(claimed=lambda _: None, sending=sending.append, settled=lambda *_: None)
    claimer = SimpleNamespace(give_back_soon=lambda *call: given_back.append(call))
    active_calls, calls = in_flight(store, slots, watch, sender=store, conclusion=store, claimer=claimer)
    call, gate = prepared(), Gate(boot_time_s() + TIMEOUT_MS / 1000)
    ref = call.record.reference_id
    slots.take(1)
    active = ActiveCall(call, ("acme", "hook"), "token", gate, claimed_at_ms=1, claimed_at_s=boot_time_s())
    calls.launch(active)
    if is_stopped:
        assert active_calls.shut_unsent() == {"token": [ref]}
    move_on(passed * TIMEOUT_MS / 1000)
    wait_until(lambda: slots.free, sleep=gevent.sleep)
    is_sent = not (is_late or is_stopped)
    assert given_back == [("token", ref)] * (is_late and not is_stopped)
    assert ([each.reference_id for each in store.settled], sending) == ([ref] * is_sent, [active] * is_sent)
    assert gate.enter() == is_sent
