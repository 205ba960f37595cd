"""Which calls open connections, and which wait for a kept one: `relay.outbound.openings`."""

from __future__ import annotations

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.domain.invocation import Outcome
from relay.outbound import openings as module
from relay.outbound.openings import FREE_CONNECTIONS, IDLE_S, Openings
from relay.process.clock import boot_time_s
from tests.timing import BUSY_S, stop_clock

ORIGIN = "https://hooks.example.com"


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Makes calls wait for a connection for up to ``BUSY_S``, unless a test sets another limit."""
    monkeypatch.setattr(module, "MAX_PATIENCE_S", BUSY_S)


@pytest.fixture
def openings():
    return Openings()


def begin(openings, *, for_s=BUSY_S, waits=True, origin=ORIGIN):
    return openings.begin(origin, boot_time_s() + for_s, waits=waits)


def connected(opening, number, *, is_new=False):
    """Give a call a connection, without a measured handshake time."""
    opening.connected(("127.0.0.1", number), is_new=is_new)
    return opening


def busy(openings, count=FREE_CONNECTIONS):
    return [connected(begin(openings), number) for number in range(count)]


def waiting(openings, count):
    calls = [gevent.spawn(begin, openings) for _ in range(count)]
    gevent.sleep(0)
    return calls


def started(calls):
    for _ in range(3):
        gevent.sleep(0)
    return [call.ready() for call in calls]


def is_at_rest(openings):
    origin = openings._origins[ORIGIN]
    return (origin.starting, origin.busy, list(origin._waiting)) == (0, {}, [])


def test_what_needs_no_handshake_never_waits(openings):
    assert [begin(openings, origin="http://hooks.example.com") for _ in range(10 * FREE_CONNECTIONS)] == [
        None
    ] * 10 * FREE_CONNECTIONS


def test_beyond_a_few_calls_the_next_wait_and_each_end_lets_the_first_go(openings):
    held = busy(openings)
    calls = waiting(openings, 3)
    assert started(calls) == [False] * 3
    held.pop().end(is_kept=True)
    assert started(calls) == [True, False, False]
    held.pop().end(is_kept=False)
    assert started(calls) == [True, True, False]
    gevent.killall(calls)


def test_a_connection_that_the_next_call_has_already_is_not_free_when_the_call_before_ends(openings):
    held = busy(openings)
    following = begin(openings, waits=False)
    connected(following, FREE_CONNECTIONS - 1)
    calls = waiting(openings, 2)
    held.pop().end(is_kept=True)
    assert started(calls) == [False, False]
    following.end(is_kept=True)
    assert started(calls) == [True, False]
    gevent.killall(calls)


def test_a_call_that_takes_over_a_connection_leaves_the_room_for_its_own_to_the_first_that_waits(openings):
    busy(openings, FREE_CONNECTIONS - 1)
    following = begin(openings, waits=False)
    calls = waiting(openings, 2)
    assert started(calls) == [False, False]
    connected(following, 0)
    assert started(calls) == [True, False]
    gevent.killall(calls)


def test_other_origins_do_not_wait(openings):
    busy(openings)
    assert begin(openings, origin="https://other.example.com", for_s=0.0)


def test_whoever_leads_a_look_up_does_not_wait(openings):
    busy(openings)
    assert begin(openings, waits=False, for_s=0.0)


def test_as_many_start_at_once_as_connections_are_idle_and_young(openings, monkeypatch):
    held = [
        *busy(openings),
        *(connected(begin(openings, waits=False), FREE_CONNECTIONS + number) for number in range(FREE_CONNECTIONS)),
    ]
    for opening in held:
        opening.end(is_kept=True)
    calls = waiting(openings, 2 * FREE_CONNECTIONS + 1)
    assert started(calls) == [True] * 2 * FREE_CONNECTIONS + [False]
    for call in calls[:-1]:
        call.value.end(is_kept=False)
    calls[-1].get().end(is_kept=False)
    assert is_at_rest(openings)
    for opening in busy(openings):
        opening.end(is_kept=True)
    stop_clock(monkeypatch)(IDLE_S)
    assert openings._origins[ORIGIN]._free(boot_time_s()) == 0


def test_a_call_waits_as_long_as_a_handshake_takes_and_then_as_many_start_as_have_connections(openings, monkeypatch):
    move_on = stop_clock(monkeypatch)
    first = [begin(openings) for _ in range(FREE_CONNECTIONS)]
    move_on(0.5)
    for number, opening in enumerate(first):
        connected(opening, number, is_new=True)
    calls = waiting(openings, 400)
    origin = openings._origins[ORIGIN]
    found = []
    for _ in range(4):
        move_on(0.49)
        origin.look()
        found.append(sum(started(calls)))
        move_on(0.02)
        origin.look()
        origin.look()
        found.append(sum(started(calls)))
        for number, call in enumerate(calls[: found[-1]]):
            if call.value._local_end is None:
                connected(call.value, FREE_CONNECTIONS + number)
    assert found == [0, 64, 64, 192, 192, 400, 400, 400]


def test_a_call_that_nobody_lets_go_goes_by_itself_when_its_patience_has_ended(openings, monkeypatch):
    monkeypatch.setattr(module, "MAX_PATIENCE_S", 0.05)
    busy(openings)
    assert begin(openings)


def test_a_call_that_was_woken_in_vain_rests_again(openings, monkeypatch):
    held, looks = busy(openings), []
    calls = waiting(openings, 2)
    held.pop().end(is_kept=False)
    assert started(calls) == [True, False]
    monkeypatch.setattr(module, "boot_time_s", lambda: looks.append(1) or boot_time_s())
    for _ in range(100):
        gevent.sleep(0)
    gevent.killall(calls)
    assert len(looks) < 10


@pytest.mark.parametrize("killed", [True, False], ids=["is killed", "may go"])
def test_the_next_one_s_patience_ends_too_when_the_first(openings, monkeypatch, killed):
    monkeypatch.setattr(module, "MAX_PATIENCE_S", 0.2)
    held = busy(openings)
    first, second = waiting(openings, 2)
    if killed:
        first.kill()
    else:
        held.pop().end(is_kept=False)
    assert second.get(timeout=BUSY_S / 2)


def test_a_call_that_is_killed_as_it_is_let_go_leaves_its_turn_to_the_next(openings):
    held = busy(openings)
    first, second = waiting(openings, 2)
    assert started([first, second]) == [False, False]
    first.kill(block=False)
    held.pop().end(is_kept=False)
    for opening in [*held, second.get(timeout=BUSY_S)]:
        opening.end(is_kept=False)
    assert is_at_rest(openings)


def test_a_connection_in_use_is_not_idle(openings):
    connected(begin(openings), 0).end(is_kept=True)
    busy(openings)
    calls = waiting(openings, 1)
    assert started(calls) == [False]
    gevent.killall(calls)


def test_who_waits_learns_how_long_a_handshake_takes(openings):
    """Until the first handshake has ended, its duration is unknown."""
    first = [begin(openings) for _ in range(FREE_CONNECTIONS)]
    calls = waiting(openings, 2)
    assert started(calls) == [False] * 2
    connected(first[0], 0, is_new=True)
    gevent.joinall(calls, timeout=BUSY_S / 2)
    assert started(calls) == [True] * 2


def test_while_no_handshake_comes_to_an_end_no_more_are_begun(openings, monkeypatch):
    monkeypatch.setattr(module, "MAX_PATIENCE_S", 0.01)
    hanging = [begin(openings) for _ in range(FREE_CONNECTIONS)]
    calls = waiting(openings, 2)
    gevent.sleep(0.1)
    assert started(calls) == [False, False]
    hanging.pop().end(is_kept=False)
    assert started(calls) == [True, False]
    gevent.killall(calls)


def test_a_deadline_that_passes_ends_the_wait_and_nothing_stays_behind(openings):
    held = busy(openings)
    assert begin(openings, for_s=0.05) is Outcome.CONNECT_TIMEOUT
    for opening in held:
        opening.end(is_kept=True)
    assert is_at_rest(openings)


def test_origins_that_nobody_uses_are_forgotten(openings, monkeypatch):
    monkeypatch.setattr(module, "_MAX_ORIGINS", 4)
    held = begin(openings)
    for number in range(20):
        begin(openings, origin=f"https://{number}.example.com").end(is_kept=True)
    assert len(openings._origins) <= 4
    held.end(is_kept=True)
    assert is_at_rest(openings)


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "connect", "end", "fail", "kill", "kill as it goes", "later"]), st.integers(0, 99)
    ),
    max_size=120,
)


class Calls:
    """Simulated calls of one origin; ``move_on`` moves their clock."""

    def __init__(self, move_on):
        self.openings = Openings()
        self.move_on = move_on
        self.all = []

    def act(self, act, which):
        call = self.all[which % len(self.all)] if self.all else None
        opening = call.value if call and call.ready() else None
        if act == "begin":
            self.all.append(gevent.spawn(begin, self.openings, for_s=10 * BUSY_S))
        elif act == "later":
            self.move_on(which / 50)
        elif call and opening is None:
            self.kill(call, as_it_goes=act == "kill as it goes")
        elif opening and act == "connect" and opening._local_end is None:
            connected(opening, which, is_new=True)
        elif opening:
            self.all.remove(call)
            opening.end(is_kept=act == "end")

    def kill(self, call, *, as_it_goes):
        """Kill a call; with ``as_it_goes`` another call ends at that moment, so that this one might have been sent."""
        self.all.remove(call)
        call.kill(block=False)
        others = [other for other in self.all if other.ready()] if as_it_goes else []
        for other in others:
            self.all.remove(other)
            other.value.end(is_kept=False)

    def end(self):
        for call in [call for call in self.all if not call.ready()]:
            call.kill()
        for call in [call for call in self.all if isinstance(call.value, module.Opening)]:
            call.value.end(is_kept=False)


@given(ACTS)
def test_whatever_happens_to_calls_nobody_waits_in_vain_and_nothing_stays_behind(acts):
    with pytest.MonkeyPatch.context() as patch:
        calls = Calls(stop_clock(patch))
        patch.setattr(module, "FREE_CONNECTIONS", 3)
        for act, which in acts:
            calls.act(act, which)
            started(calls.all)
            origin = calls.openings._origins.get(ORIGIN)
            if origin is not None and origin._waiting:
                assert origin.starting + len(origin.busy) >= 3
                assert origin.starting >= origin._free(boot_time_s())
        calls.end()
        assert ORIGIN not in calls.openings._origins or is_at_rest(calls.openings)
