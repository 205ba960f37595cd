"""How many files and connections a worker may have open."""

import resource

import pytest

from relay.errors import SettingsError
from relay.process.descriptors import BESIDE_CALLS, BESIDE_CONNECTIONS, allow_calls, allow_descriptors


@pytest.fixture
def limits(monkeypatch):
    """The process's limits, faked: what the code sets is written there."""
    limits = [1_024, 20_000]
    monkeypatch.setattr(resource, "getrlimit", lambda _what: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda _what, new: limits.__setitem__(slice(None), new))
    return limits


def test_what_the_system_allows_is_raised_as_far_as_calls_need_it(limits):
    allow_calls(2_000)
    assert limits == [2_000 + BESIDE_CALLS, 20_000]


NO_BOUND = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "allowed"),
    [
        *((1_024, 20_000, 2_024), (1_024, 2_024, 2_024), (1_024, 2_023, 2_023), (1_024, 1_024, 1_024)),
        *((2_024, 20_000, 2_024), (2_025, 20_000, 2_025), (NO_BOUND, NO_BOUND, NO_BOUND)),
        *((1_024, NO_BOUND, 2_024), (256, 512, 512)),
    ],
)
def test_an_api_process_may_open_as_many_as_its_callers_need_or_as_the_system_allows(limits, soft, hard, allowed):
    limits[:] = [soft, hard]
    allow_descriptors(1_000)
    assert limits == [allowed, hard]
    assert BESIDE_CONNECTIONS == 1_024


def test_enough_stays_as_it_is(limits):
    allow_calls(512)
    assert limits == [1_024, 20_000]
    limits[:] = [resource.RLIM_INFINITY, resource.RLIM_INFINITY]
    allow_calls(4_000)
    assert limits[0] == resource.RLIM_INFINITY


def test_without_an_upper_bound_it_is_raised(limits):
    limits[1] = resource.RLIM_INFINITY
    allow_calls(4_000)
    assert limits[0] == 4_000 + BESIDE_CALLS


def test_more_than_the_process_may_have_is_refused_with_what_to_do(limits):
    limits[1] = 1_500
    with pytest.raises(SettingsError) as refused:
        allow_calls(2_000)
    assert "RELAY_MAX_IN_FLIGHT is 2000, which needs 2512 open files, and this process may have 1500" in str(
        refused.value
    )
    assert "to 988 at most" in str(refused.value)
    assert limits == [1_024, 1_500]
