"""How many API processes and workers `relay up` starts, by the processors that it may use."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest

from relay.cli.up import up
from relay.up import local

COUNTS = range(1, 129)


@pytest.fixture
def planned(monkeypatch):
    """A function that returns what `relay up` with these options plans for so many processors."""

    def plan(count, *options):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(count)), raising=False)
        found = up.make_context("up", list(options)).params
        return found["api"], found["workers"]

    return plan


def test_there_is_one_of_each_for_every_two_processors_and_at_least_one(planned):
    assert [planned(count)[0] for count in (1, 2, 3, 4, 5, 6, 8, 9)] == [1, 1, 1, 2, 2, 3, 4, 4]


def test_there_are_no_more_than_have_processors_and_than_one_server_gives_work_to(planned):
    numbers = [planned(count) for count in COUNTS]
    for count, (api, workers) in zip(COUNTS, numbers, strict=True):
        assert api == workers
        assert 2 * api <= max(count, 2)
        assert api <= 4
    assert all(fewer <= more for fewer, more in pairwise(numbers))


def test_an_option_overrides_what_is_chosen(planned):
    assert planned(16, "--api", "1") == (1, 4)
    assert planned(1, "--workers", "3") == (1, 3)


def test_processes_that_cannot_share_a_port_are_not_several(planned, monkeypatch):
    monkeypatch.setattr(local, "CAN_BE_SHARED", False)
    assert planned(16) == (1, 4)


def test_a_system_that_does_not_say_what_may_be_used_has_what_it_has(planned, monkeypatch):
    planned(1)
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert local.workers_of_a_group() == 4
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert local.workers_of_a_group() == 1
