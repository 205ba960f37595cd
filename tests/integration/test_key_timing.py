"""The duration of a refusal does not reveal which key ids exist: medians for known and unknown ids are compared."""

from __future__ import annotations

import secrets
import statistics
import time

import pytest
import requests

from tests.integration.api_harness import own_api

#: How much medians may differ on a busy machine; one look-up more would make a far larger difference.
MOST = 1.5
PAIRS = 150


@pytest.fixture(scope="module")
def api():
    with own_api(RELAY_AUTH_FAILURES="1000000") as harness:
        yield harness


def medians(api, known_ids, unknown_ids):
    """Return the median seconds of a refusal for known and for unknown ids, alternating on one connection."""
    known_s, unknown_s = [], []
    with requests.Session() as session:
        for pair in zip(known_ids, unknown_ids, strict=True):
            for key_id, times in zip(pair, (known_s, unknown_s), strict=True):
                headers = {"Authorization": f"Bearer whk_{key_id}_{'a' * 43}"}
                started = time.perf_counter()
                answer = session.get(f"{api.url}/v1/webhooks", headers=headers, timeout=30)
                times.append(time.perf_counter() - started)
                assert answer.status_code == 401
    return statistics.median(known_s), statistics.median(unknown_s)


def ids_for(api, repeated):
    if repeated:
        key_id = api.runtime.api_keys.create("acme", ["trigger"])[1].id
        return [key_id] * PAIRS, [secrets.token_hex(8)] * PAIRS
    made = [api.runtime.api_keys.create("acme", ["trigger"])[1].id for _ in range(PAIRS)]
    return made, [secrets.token_hex(8) for _ in range(PAIRS)]


@pytest.mark.parametrize("repeated", [True, False], ids=["the same again and again", "each for the first time"])
def test_unknown_and_known_key_ids_take_the_same_time(api, repeated):
    medians(api, *ids_for(api, repeated=True))  # a warm-up: first requests are slower
    rounds = [medians(api, *ids_for(api, repeated)) for _ in range(3)]
    ratio = statistics.median(known / unknown for known, unknown in rounds)
    assert 1 / MOST < ratio < MOST, rounds


def test_unknown_and_known_key_ids_ask_as_much_of_the_server(api):
    """One more look-up in each request would add PAIRS commands; other activity adds only a few."""

    def commands(key_ids):
        before = api.queue.info("commandstats")
        with requests.Session() as session:
            for key_id in key_ids:
                headers = {"Authorization": f"Bearer whk_{key_id}_{'a' * 43}"}
                assert session.get(f"{api.url}/v1/webhooks", headers=headers, timeout=30).status_code == 401
        after = api.queue.info("commandstats")
        reads = [name for name in after if name.split("_")[1].startswith(("get", "hget", "hmget", "mget", "fcall"))]
        return sum(after[name]["calls"] - before.get(name, {"calls": 0})["calls"] for name in reads)

    known, unknown = (commands(ids) for ids in ids_for(api, repeated=False))
    assert abs(known - unknown) < PAIRS / 2, (known, unknown)
    assert min(known, unknown) >= PAIRS
