"""The model of many servers: its results follow from its inputs, and it names what limits each fleet."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from bench.fleet import BUSY, Costs, Fleet, ceiling, connections

COSTS = Costs(call_us=80, notice_us=1, sweep_us=200, idle_us_s=1_000, talk_us_s=10, connection_bytes=5_000)
QUIET = Fleet(primaries=1, workers=0, partitions=16, awaited=0, hottest=0)


def test_one_server_has_what_its_time_divided_by_a_call_gives():
    costs = replace(COSTS, idle_us_s=0, talk_us_s=0)
    assert ceiling(QUIET, costs).calls_s == pytest.approx(BUSY * 1e6 / 80)


def test_calls_that_nobody_awaits_scale_with_primaries():
    costs = replace(COSTS, idle_us_s=0, talk_us_s=0)
    one, ten = (ceiling(replace(QUIET, primaries=count), costs).calls_s for count in (1, 10))
    assert ten == pytest.approx(10 * one)


def test_notices_end_what_more_primaries_bring():
    awaited = replace(QUIET, awaited=1.0)
    thousand = ceiling(replace(awaited, primaries=1_000), replace(COSTS, talk_us_s=0))
    assert thousand.limit == "notices"
    assert thousand.calls_s < BUSY * 1e6 / COSTS.notice_us


def test_the_busiest_plugin_is_one_server_s_work_however_many_there_are():
    rates = [ceiling(replace(QUIET, primaries=count, hottest=0.5), COSTS) for count in (10, 100)]
    assert [rate.limit for rate in rates] == ["hot plugin"] * 2
    assert rates[1].calls_s < BUSY * 1e6 / COSTS.call_us / 0.5


def test_sweeps_of_all_workers_would_take_what_they_take_before_any_call():
    fleet = replace(QUIET, primaries=10, workers=1_000, partitions=64)
    found = ceiling(replace(fleet, most_sweeps_s=math.inf), COSTS)
    assert (found.calls_s, found.limit) == (0, "sweeps")
    assert ceiling(fleet, COSTS).limit == "calls"


def test_more_of_anything_that_costs_brings_no_more_calls():
    fleet = Fleet(primaries=10, workers=10, partitions=64)
    before = ceiling(fleet, COSTS).calls_s
    for more in ({"workers": 15}, {"partitions": 100}, {"awaited": 0.9}, {"replicas": 2}, {"hottest": 0.2}):
        assert ceiling(replace(fleet, **more), COSTS).calls_s < before, more


def test_each_process_is_connected_to_each_primary():
    assert connections(Fleet(primaries=10, workers=1_000, partitions=64, apis=10, connections=8)) == 8_080


def test_costs_are_read_from_what_was_measured():
    found = {
        "calls": {"1 primary": {"us a call": 80.0}},
        "upkeep": {"a sweep, 64 partitions": {"server us": 6_400.0}},
        "talk": {
            "idle, 3 servers": {"us a second, each": 1_020.0},
            "idle, 12 servers": {"us a second, each": 1_110.0},
            "a notice, every other server": {"us": 1.5},
            "a connection that is kept": {"bytes": 5_000.0},
        },
    }
    assert Costs.measured(found) == Costs(80, 1.5, 100, 1_000, 10, 5_000)
