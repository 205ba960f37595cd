"""Which alerts hold, and which of their changes are still to be reported."""

import pytest

from relay.queue import LANES
from relay.store.health.alerts import PERIOD_MS, AlertChange, Alerts, Condition
from relay.store.keys.keyspace import SINGLE
from tests.contract.clocked import START_MS

BRIEF = Condition("lane_unserved bulk", True, {"lane": "bulk"}, hold_ms=60_000)
AT_ONCE = Condition("backlog_old bulk", True, {"lane": "bulk", "value": 1, "bound": 1})


@pytest.fixture
def alerts(redis_client):
    return Alerts(redis_client, "ops")


def names(changes):
    return [(each.name, each.state) for each in changes]


def test_a_change_is_said_until_somebody_was_told_and_then_no_more(alerts):
    for _ in range(2):
        assert names(alerts.evaluate([AT_ONCE])) == [("backlog_old bulk", "firing")]
    first = alerts.evaluate([AT_ONCE])
    alerts.delete_delivered(first)
    assert alerts.evaluate([AT_ONCE]) == []
    (over,) = alerts.evaluate([])
    assert (over.state, over.since_ms, over.detail) == ("over", first[0].at_ms, AT_ONCE.detail)


def test_of_several_changes_those_are_said_again_that_nobody_was_told_of(alerts):
    conditions = [Condition(f"backlog_old {lane}", True, {"lane": lane}) for lane in LANES]
    first, *others = alerts.evaluate(conditions)
    alerts.delete_delivered(others)
    assert alerts.evaluate(conditions) == [first]


@pytest.mark.parametrize("told", range(4))
def test_of_several_changes_those_that_were_told_are_said_no_more(alerts, told):
    conditions = [Condition(f"backlog_old {lane}", True, {"lane": lane}) for lane in ("bulk", "interactive", "replay")]
    changes = alerts.evaluate(conditions)
    assert sorted(names(changes)) == [(each.name, "firing") for each in conditions]
    alerts.delete_delivered(changes[:told])
    left = alerts.evaluate(conditions)
    assert sorted(each.change_id for each in left) == sorted(each.change_id for each in changes[told:])


def test_what_held_for_too_short_a_time_never_counts(alerts):
    assert alerts.evaluate([BRIEF]) == []
    assert alerts.holding() == ["lane_unserved bulk"]
    assert alerts.evaluate([]) == []
    assert alerts.holding() == []


def test_what_has_held_for_long_enough_counts(alerts):
    assert alerts.evaluate([BRIEF]) == []
    long_ago = Condition(BRIEF.name, True, BRIEF.detail, hold_ms=0)
    assert names(alerts.evaluate([long_ago])) == [("lane_unserved bulk", "firing")]


def test_an_alert_says_when_it_fired_and_its_end_says_since_when_and_about_what(clock, alerts):
    other = Condition("backlog_old replay", True, {"lane": "replay"}, hold_ms=90_000)
    for now_ms in (START_MS, START_MS + 1, START_MS + 59_999):
        clock.set_ms(now_ms)
        assert alerts.evaluate([other, BRIEF]) == []
    fired_ms, ended_ms = START_MS + 60_000, START_MS + 75_000
    clock.set_ms(fired_ms)
    fired = AlertChange(f"{BRIEF.name} firing {fired_ms}", BRIEF.name, "firing", fired_ms, fired_ms, BRIEF.detail)
    assert alerts.evaluate([other, BRIEF]) == [fired]
    clock.set_ms(ended_ms)
    over = AlertChange(f"{BRIEF.name} over {ended_ms}", BRIEF.name, "over", ended_ms, fired_ms, BRIEF.detail)
    ended = Condition(BRIEF.name, False, {"lane": "another by now"})
    assert sorted(alerts.evaluate([ended, other]), key=lambda each: each.at_ms) == [fired, over]
    assert alerts.holding() == [other.name]
    clock.set_ms(START_MS + 90_000)
    assert min(names(alerts.evaluate([ended, other]))) == (other.name, "firing")


def test_an_alert_that_has_fired_fires_once_though_the_clock_goes_back(clock, alerts):
    (fired,) = alerts.evaluate([AT_ONCE])
    clock.set_ms(START_MS - 600_000)
    assert alerts.evaluate([AT_ONCE]) == [fired]


@pytest.mark.parametrize("condition", [AT_ONCE, BRIEF])
def test_what_is_not_known_stays_as_it_was(alerts, condition):
    alerts.delete_delivered(alerts.evaluate([condition]))
    unknown = Condition(condition.name, None, {})
    assert alerts.evaluate([unknown]) == []
    assert alerts.holding() == [condition.name]
    assert alerts.evaluate([Condition("failures acme/hook", None, {})]) or alerts.holding() == []


def test_one_of_several_workers_looks_at_a_time(alerts, redis_client):
    assert [alerts.take_lock() for _ in range(3)] == [True, False, False]
    assert 0 < redis_client.pttl(SINGLE.of_plugin("alerts_lock", "ops")) <= PERIOD_MS
    redis_client.delete(SINGLE.of_plugin("alerts_lock", "ops"))
    assert alerts.take_lock()
