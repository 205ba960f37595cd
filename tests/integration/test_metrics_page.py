"""`GET /metrics` and `GET /v1/lanes` of a real API process."""

from __future__ import annotations

import re
import time

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from relay.domain.invocation import Attempt, Outcome, Sent, State
from relay.domain.reference_id import new_reference_id
from relay.metrics.catalogue import DURATION_LIMITS_MS, Metric
from relay.store.ledger.transitions import Settlement
from tests.integration.api_harness import own_api
from tests.integration.test_api_listing import accepted
from tests.integration.test_api_overview import told
from tests.integration.test_api_triggers import problem
from tests.store_keys import KEYS


@pytest.fixture(scope="module")
def scraped():
    """A separate API: totals only grow, so those of a shared one would include other tests."""
    with own_api(RELAY_METRICS_WEBHOOKS="3", RELAY_DEFAULT_WAIT="0") as api:
        api.metrics_key, _ = api.runtime.api_keys.create("ops", ["metrics"])
        yield api


def page(api, **how):
    answer = api.call("GET", "/metrics", key=how.get("key", api.metrics_key))
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return samples_of(answer.text)


def samples_of(text):
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name, frozenset(sample.labels.items())] = sample.value
    return found


def value(samples, name, **labels):
    return samples.get((name, frozenset(labels.items())))


def test_every_metric_of_the_catalogue_is_on_the_page_with_its_labels(scraped):
    accepted(scraped)
    text = scraped.call("GET", "/metrics", key=scraped.metrics_key).text
    for metric in Metric:
        assert f"# TYPE {metric.family} {metric.kind}\n" in text
        assert f"# HELP {metric.family} " in text
    labels = {metric.family: set(metric.labels) for metric in Metric}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("relay_"):
                name = sample.name
                if family.type == "histogram":
                    name = family.name
                assert set(sample.labels) - {"le"} == labels[name], sample
    assert "process_resident_memory_bytes" in text


def test_counters_are_exact_and_last(scraped):
    before = page(scraped)
    refs = [accepted(scraped) for _ in range(7)]
    scraped.settle(refs[:4])
    scraped.settle([refs[4]], status=500)
    scraped.settle([refs[5]], status=0, outcome=Outcome.TLS_FAILED, state=State.UNREACHABLE)
    after = page(scraped)

    def grown(name, **labels):
        labels = {"plugin": "acme", "webhook": "order", **labels}
        return value(after, name, **labels) - (value(before, name, **labels) or 0)

    assert grown("relay_invocations_accepted_total") == 7
    assert grown("relay_invocations_final_total", state="delivered", outcome="answered") == 5
    assert grown("relay_invocations_final_total", state="unreachable", outcome="tls_failed") == 1
    assert grown("relay_invocations_errors_total") == 2
    assert grown("relay_duration_seconds_count") == 6
    assert page(scraped).items() >= {each for each in after.items() if re.fullmatch("relay_.*_total", each[0][0])}


def test_histograms_are_cumulative_with_the_catalogue_s_limits(scraped):
    scraped.settle([accepted(scraped)])
    samples = page(scraped)
    limits = [*(f"{limit / 1000:g}" for limit in DURATION_LIMITS_MS), "+Inf"]
    labels = {"plugin": "acme", "webhook": "order"}
    counts = [value(samples, "relay_duration_seconds_bucket", le=le, **labels) for le in limits]
    if None in counts:  # the parser writes limits as floats
        counts = [value(samples, "relay_duration_seconds_bucket", le=str(float(le)), **labels) for le in limits[:-1]]
        counts.append(value(samples, "relay_duration_seconds_bucket", le="+Inf", **labels))
    assert counts == sorted(counts)
    assert counts[-1] == value(samples, "relay_duration_seconds_count", **labels) > 0
    assert value(samples, "relay_duration_seconds_sum", **labels) >= 0


def test_gauges_show_how_calls_stand(scraped):
    scraped.store.claim([accepted(scraped, "read")], "t")
    scraped.runtime.policies.pause("acme", "read")
    scraped.store.claim([accepted(scraped, "read")], "u")
    samples = page(scraped)
    labels = {"plugin": "acme", "webhook": "read"}
    assert value(samples, "relay_in_flight", **labels) == 1
    assert value(samples, "relay_parked", **labels) == 1
    assert value(samples, "relay_breaker_open", **labels) == 0
    scraped.runtime.policies.resume("acme", "read")


def test_an_open_breaker_is_shown(scraped):
    refs = [accepted(scraped) for _ in range(20)]
    scraped.store.claim(refs, "b")
    attempt = Attempt(1, 1_700_000_000_000, 5, 0, Outcome.CONNECT_FAILED, Sent.NO)
    ending = (State.UNREACHABLE, Outcome.CONNECT_FAILED, 0, True, attempt)
    scraped.store.settle([Settlement(ref, "b", *ending, contacted=False) for ref in refs])
    assert value(page(scraped), "relay_breaker_open", plugin="acme", webhook="order") == 1
    scraped.queue.hset(KEYS.policy("acme", "order"), "openUntil", 1)  # it lets one call through to try
    assert value(page(scraped), "relay_breaker_open", plugin="acme", webhook="order") == 1
    scraped.runtime.policies.close_breaker("acme", "order")
    assert value(page(scraped), "relay_breaker_open", plugin="acme", webhook="order") == 0


def test_the_lanes_show_what_waits_since_when_and_who_serves_them(scraped):
    scraped.queue.delete(*(KEYS.due_queued(lane) for lane in ("interactive", "bulk", "replay")))
    ref = accepted(scraped)
    accepted(scraped)
    scraped.queue.hset(KEYS.record(ref), "createdAt", int(time.time() * 1000) - 90_000)
    scraped.beat("w1", "bulk", "replay")
    samples = page(scraped)
    assert value(samples, "relay_pending", lane="bulk") == 2
    assert 89 <= value(samples, "relay_oldest_pending_seconds", lane="bulk") <= 120
    assert [value(samples, "relay_workers", lane=lane) for lane in ("interactive", "bulk", "replay")] == [0, 1, 1]
    assert value(samples, "relay_pending", lane="interactive") == 0
    lanes = told(scraped, "/v1/lanes", "Lanes")["lanes"]
    assert [lane["lane"] for lane in lanes] == ["interactive", "bulk", "replay"]
    assert (lanes[0]["pending"], lanes[0]["oldestSeconds"], lanes[1]["pending"], lanes[1]["workers"]) == (0, None, 2, 1)
    assert lanes[1]["oldestSeconds"] >= 89


def test_what_is_refused_and_what_comes_late_is_counted_by_plugin(scraped):
    ref = accepted(scraped)
    scraped.store.claim([ref], "late")
    scraped.queue.hset(KEYS.record(ref), "token", "somebody-else")
    attempt = Attempt(1, 1_700_000_000_000, 5, 200, Outcome.ANSWERED, Sent.ANSWERED)
    scraped.store.settle([Settlement(ref, "late", State.DELIVERED, Outcome.ANSWERED, 200, False, attempt)])
    scraped.queue.set(KEYS.plugin_pending("acme"), 10**9)
    assert scraped.trigger(prefer="respond-async").status_code == 429
    scraped.queue.set(KEYS.plugin_pending("acme"), 0)
    samples = page(scraped)
    assert value(samples, "relay_late_answers_total", plugin="acme") == 1
    assert value(samples, "relay_over_capacity_total", plugin="acme") == 1
    assert value(samples, "relay_masked_total", plugin="acme") == 0


def test_beyond_the_limit_webhooks_are_one_and_counters_keep_their_names(scraped):
    page(scraped)
    names = [f"hook-{number}" for number in range(20)]
    scraped.register(
        "acme", "\n".join(f'{{id: "{name}", url: "https://h.example.com/", method: "POST"}}' for name in names)
    )
    for name in names:
        accepted(scraped, name)
    samples = page(scraped)
    labels = {dict(key)["webhook"] for name, key in samples if name == "relay_invocations_accepted_total"}
    assert len(labels - {"other"}) == 3
    assert value(samples, "relay_invocations_accepted_total", plugin="acme", webhook="other") >= 20 - 3
    for _ in range(5):
        accepted(scraped, "hook-7")  # busier than the webhooks that were named first
    again = page(scraped)
    assert {key for key in again if key[0].endswith("_total")} == {key for key in samples if key[0].endswith("_total")}
    assert all(again[key] >= samples[key] for key in samples if key[0].endswith(("_total", "_bucket", "_count")))


def test_names_that_callers_make_up_make_no_label(scraped):
    for _ in range(5):
        scraped.trigger(f"made-up-{new_reference_id()[:13]}")
    samples = page(scraped)
    labels = {"plugin": "acme", "webhook": "other", "state": "rejected", "outcome": "webhook_not_registered"}
    assert value(samples, "relay_invocations_final_total", **labels) == 5
    assert not [key for key in samples if "made-up" in str(key)]


def test_only_a_key_of_its_scope_reads_it(scraped):
    assert problem(requests.get(f"{scraped.url}/metrics", timeout=5), 401, "unauthenticated")
    for key in (scraped.key, scraped.operator_key):
        problem(scraped.call("GET", "/metrics", key=key), 403, "forbidden")
    problem(scraped.call("GET", "/v1/stats", key=scraped.metrics_key), 403, "forbidden")
    problem(scraped.trigger(key=scraped.metrics_key), 403, "forbidden")


def test_it_is_open_to_everybody_where_that_is_set():
    with own_api(RELAY_METRICS_OPEN="true") as api:
        answer = requests.get(f"{api.url}/metrics", timeout=5)
        assert answer.status_code == 200
        assert value(samples_of(answer.text), "relay_pending", lane="bulk") == 0
        api.server.terminate()
        problem(requests.get(f"{api.url}/metrics", timeout=15), 503, "unavailable")
