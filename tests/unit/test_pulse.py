"""A process's parts are watched for progress, and looks are counted instead of seconds."""

import pytest

from relay.errors import Unavailable
from relay.process.clock import boot_time_s
from relay.process.pulse import STILL_LOOKS, STUCK_LOOKS, Part, Pulse
from tests.timing import stop_clock
from workers.heartbeat import Heart


class Moving:
    """A part that makes progress until it is stopped."""

    def __init__(self):
        self.count = 0
        self.runs = True

    def moves(self):
        self.count += self.runs
        return self.count


def looked(pulse, times):
    for _ in range(times):
        pulse.look()
    return pulse


def test_parts_that_move_are_never_still():
    assert looked(Pulse([Part("a", Moving().moves)]), 500).still == []


@pytest.mark.parametrize(("looks", "still", "stuck"), [
    (STILL_LOOKS - 1, [], []), (STILL_LOOKS, ["a"], []), (STUCK_LOOKS - 1, ["a"], []), (STUCK_LOOKS, ["a"], ["a"]),
])  # fmt: skip
def test_a_part_that_does_not_move_is_still_and_in_the_end_stuck(looks, still, stuck):
    part, other = Moving(), Moving()
    pulse = looked(Pulse([Part("a", part.moves), Part("b", other.moves)]), 3)
    part.runs = False
    looked(pulse, looks)
    assert (pulse.still, pulse.stuck) == (still, stuck)
    part.runs = True
    assert looked(pulse, 1).still == []


def test_a_part_that_has_nothing_to_do_need_not_move():
    assert looked(Pulse([Part("a", lambda: None)]), STUCK_LOOKS + 1).still == []


def test_a_part_that_is_excused_is_neither_still_nor_stuck():
    pulse = looked(Pulse([Part("a", lambda: 1, excused=lambda: True)]), STUCK_LOOKS + 1)
    assert (pulse.still, pulse.stuck) == ([], [])


class Store:
    """Counts heartbeats; can be made unavailable."""

    def __init__(self):
        self.beats = 0
        self.away = False
        self.ahead_ms = 0
        self.jumps = []

    def beat(self, _name, _lanes):
        self.alive()
        self.beats += 1
        return int(boot_time_s() * 1000) + self.ahead_ms

    def note_jump(self, jump):
        self.jumps.append(jump)

    def alive(self):
        if self.away:
            raise Unavailable
        return []


def test_a_heart_beats_only_while_every_part_moves():
    part, store = Moving(), Store()
    heart = Heart(Pulse([Part("settler", part.moves)]), store, "w1", ["bulk"])
    for _ in range(5):
        assert heart.beat() == []
    part.runs = False
    stuck = [heart.beat() for _ in range(STUCK_LOOKS)]
    assert store.beats == 5 + STILL_LOOKS
    assert (stuck[-2], stuck[-1]) == ([], ["settler"])


def test_nothing_is_held_against_the_parts_while_the_store_is_away():
    store = Store()
    heart = Heart(Pulse([Part("calls", lambda: 1)]), store, "w1", ["bulk"])
    heart.beat()
    store.away = True
    assert [heart.beat() for _ in range(2 * STUCK_LOOKS)] == [[]] * 2 * STUCK_LOOKS
    store.away = False
    assert heart.beat() == []


def test_a_heart_notes_a_server_whose_clock_does_not_go_on_as_it_did(monkeypatch, capsys):
    move_on, store = stop_clock(monkeypatch), Store()
    heart = Heart(Pulse([]), store, "w1", ["bulk"])
    for ahead_ms in (0, 0, 60_000, 60_000, -5_000):
        store.ahead_ms = ahead_ms
        heart.beat()
        move_on(1.0)
    assert [round(jump.by_ms, -2) for jump in store.jumps] == [60_000, -65_000]
