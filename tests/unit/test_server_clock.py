"""A jump of the server's clock in either direction is noticed; a slow answer about the time is not taken for one."""

from types import SimpleNamespace

import pytest
import redis

from relay.errors import Unavailable
from relay.store.keys.names import SHARED_ROOT
from relay.store.server.clock import MOST_OFF_MS, MOST_UNDER_WAY_S, ClockJump, ServerClock, time_ms_at


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize(
    ("off_ms", "noticed"), [(0, False), (MOST_OFF_MS, False), (MOST_OFF_MS + 1, True), (86_400_000, True)]
)
def test_a_jump_is_noticed_once(direction, off_ms, noticed):
    clock = ServerClock()
    assert clock.note(1_000_000, 10.0, 10.0) is None
    jump = clock.note(1_001_000 + direction * off_ms, 11.0, 11.0)
    assert (jump is not None) is noticed
    if jump:
        assert jump.by_ms == direction * off_ms
    assert clock.note(1_002_000 + direction * off_ms, 12.0, 12.0) is None


@pytest.mark.parametrize(("under_way_s", "noticed"), [(MOST_UNDER_WAY_S, True), (MOST_UNDER_WAY_S + 0.01, False)])
def test_an_answer_that_was_long_under_way_says_nothing(under_way_s, noticed):
    clock = ServerClock()
    clock.note(1_000_000, 10.0, 10.0)
    assert bool(clock.note(1_060_000, 11.0, 11.0 + under_way_s)) is noticed


def test_a_jump_is_kept_as_text_and_said_in_a_sentence():
    jump = ClockJump(1_795_000_000_000, -5_250)
    assert ClockJump.from_text(jump.to_text()) == jump
    assert jump.sentence == "the server's clock jumped by -5.2 s at 11:06:40 UTC"


def test_a_single_server_is_asked_for_its_time_once():
    """redis-py repeats the request already; where nobody answers, each repetition waits for seconds."""
    asked = []

    def time():
        asked.append(1)
        raise redis.exceptions.TimeoutError

    with pytest.raises(Unavailable):
        time_ms_at(SimpleNamespace(time=time), SHARED_ROOT)
    assert len(asked) == 1
