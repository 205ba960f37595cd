import time

import pytest

from relay.errors import RateLimited
from relay.store.ledger.rates import PluginRates
from relay.store.scripting.scripts import Scripts


def taken(rates, plugin="acme", count=1):
    try:
        rates.take(plugin, count)
    except RateLimited as error:
        return error.retry_after_s
    return 0


def test_without_a_rate_nothing_is_limited(redis_client):
    assert [taken(PluginRates(redis_client, None)) for _ in range(50)] == [0] * 50


def test_a_plugin_may_send_its_rate_at_once_and_then_waits(redis_client):
    rates = PluginRates(redis_client, "3/m")
    assert [taken(rates) for _ in range(4)] == [0, 0, 0, 20]
    assert taken(rates, "other") == 0


def test_a_rate_comes_back_with_time(redis_client):
    rates = PluginRates(redis_client, "20/s")
    while not taken(rates):
        pass
    time.sleep(0.11)
    assert taken(rates) == 0


def test_what_was_refused_is_not_counted(redis_client):
    rates = PluginRates(redis_client, "2/m")
    waits = [taken(rates) for _ in range(10)]
    assert waits[:2] == [0, 0]
    assert max(waits) <= 30


def test_a_list_counts_as_its_items_and_a_longer_one_holds_up_what_follows(redis_client):
    rates = PluginRates(redis_client, "10/s")
    assert taken(rates, count=4) == 0
    assert taken(rates, count=7) == 1
    assert taken(rates, "other", count=100) == 0
    assert taken(rates, "other") == pytest.approx(10, abs=1)


def test_a_limit_is_shared_by_all_api_processes(redis_client):
    one, other = PluginRates(redis_client, "1/m"), PluginRates(redis_client, "1/m")
    assert (taken(one), taken(other)) == (0, 60)


def test_a_call_that_is_repeated_because_its_reply_was_lost_takes_once(redis_client):
    scripts = Scripts(redis_client)

    def take(token, count=2):
        return scripts.run("plugin_rate", ["acme", 30_000_000, 4, count, token])

    assert [take("one") for _ in range(5)] == [0] * 5
    assert take("two") == 0, "two of four were left"
    assert take("three") > 0
    assert take("three", 0) == 0, "what was refused is not remembered as taken"
    assert [take("one"), take("two")] == [0, 0]


def test_what_is_remembered_of_calls_that_took_is_forgotten_within_a_minute(redis_client):
    PluginRates(redis_client, "10/s").take("acme")
    assert all(0 < redis_client.pttl(key) <= 60_000 for key in redis_client.keys("*"))
