"""Measurements that a worker writes to the store are counted once, even if replies are lost."""

from __future__ import annotations

import pytest

from relay.errors import Unavailable
from relay.metrics.gathering import ATTEMPT, Gathering, Reporter
from relay.metrics.page import MetricsPage
from relay.metrics.shown_calls import ShownCall, ShownCalls
from relay.store.counts.backlog import Backlog, LaneBacklog
from relay.store.counts.measures import Measures
from relay.store.decisions.every import EveryDecision
from relay.store.health.workers import Workers
from relay.store.keys.keyspace import Keyspace
from relay.store.ledger.invocations import InvocationStore
from relay.store.ledger.policies import Policies
from relay.store.partitions.reachable import Partitions
from relay.store.registry.webhooks import Registry
from relay.vault import Vault
from tests.contract.ledger import LIMITS
from tests.contract.test_registry import a_registration

HOOK = ("acme", "hook")


class Flaky(Measures):
    """Loses the reply, or the request itself, of a given number of writes."""

    losses: tuple[str, ...] = ()

    def add(self, *args):
        loss, self.losses = (self.losses[0], self.losses[1:]) if self.losses else ("", ())
        if loss == "call":
            raise Unavailable
        super().add(*args)
        if loss == "reply":
            raise Unavailable


@pytest.mark.parametrize("losses", [(), ("call",), ("reply",), ("reply", "reply"), ("call", "reply", "call")])
def test_what_was_gathered_is_added_once(redis_client, losses):
    measures = Flaky(redis_client)
    measures.losses = losses
    gathering = Gathering(measures, "w1")
    for duration_ms in (3, 5, 6, 4_000_000):
        gathering.add(ATTEMPT, HOOK, duration_ms)
    gathering.add(ATTEMPT, ("other", "hook"), 7)
    for _ in losses:
        gathering.add_to_store()
        gathering.add(ATTEMPT, HOOK, 1)
    gathering.add_to_store()
    totals = measures.totals("acme")
    assert totals["hook", "attempt:0"] == 2 + len(losses)
    assert (totals["hook", "attempt:1"], totals["hook", "attempt:17"]) == (1, 1)
    assert totals["hook", "attempt:sum"] == 4_000_014 + len(losses)
    assert measures.totals("other")["hook", "attempt:sum"] == 7


class PartlySilent(Measures):
    """Measures of a store where the partitions of some plugins, or the shared keys, do not answer."""

    plugins: frozenset[str] = frozenset()
    shared = False

    def add(self, plugin, *args):
        if plugin in self.plugins:
            raise Unavailable
        super().add(plugin, *args)

    def name_webhooks(self, order, *, at_most):
        if self.shared:
            raise Unavailable
        return super().name_webhooks(order, at_most=at_most)


KEYS = Keyspace(16)


def test_a_plugin_whose_partition_is_silent_loses_and_doubles_nothing_and_holds_up_no_other(redis_client):
    measures = PartlySilent(redis_client, KEYS)
    gathering = Gathering(measures, "w1")
    plugins = ("acme", "other")
    for number, silent in enumerate([("other",), ("other",), ("acme",), (), (), ("acme",), ()], 1):
        measures.plugins = frozenset(silent)
        for plugin in plugins:
            gathering.add(ATTEMPT, (plugin, "hook"), 7)
        gathering.add_to_store()
        for plugin in set(plugins) - measures.plugins:
            assert measures.totals(plugin)["hook", "attempt:sum"] == 7 * number


class Uncounted(Measures):
    """Measures of a store that counts no notes now."""

    def count_everything(self):
        raise Unavailable


def test_a_report_shows_calls_and_adds_durations_although_notes_cannot_be_counted_now(redis_client):
    measures, shown, reported = Uncounted(redis_client), ShownCalls(10), []
    gathering = Gathering(measures, "w1")
    call = ShownCall("r1", "acme/hook", "SUCCESS", "200 answered", 0.1, 0, "bulk", 1.0)
    reporter = Reporter(gathering, measures, shown)
    for number in (1, 2):
        shown.add(call)
        gathering.add(ATTEMPT, HOOK, 7)
        reporter.report(reported.append)
        assert reported == [[call]] * number
        assert measures.totals("acme")["hook", "attempt:sum"] == 7 * number
    reporter.report(reported.append)
    assert len(reported) == 2


class PartlyReadable(Registry):
    """A registry of which some partitions do not answer."""

    silent: tuple[int, ...] = ()

    def plugins_in(self, partition):
        if partition in self.silent:
            raise Unavailable
        return super().plugins_in(partition)


@pytest.fixture
def parts(redis_client):
    """The metrics page of a store with 16 partitions, and its parts that can be silent."""
    vault = Vault.from_text(Vault.new_key_text())
    decisions = EveryDecision(redis_client, vault, KEYS)
    store = InvocationStore(redis_client, LIMITS, lease_margin_ms=10_000, keys=KEYS)
    registry, measures = PartlyReadable(redis_client, vault, keys=KEYS), PartlySilent(redis_client, KEYS)
    policies = Policies(redis_client, store, decisions, KEYS)
    readers = (policies, Backlog(redis_client, KEYS), Workers(redis_client))
    page = MetricsPage(Partitions(redis_client, KEYS), registry, store, measures, *readers, max_webhooks=2)
    redis_client.sadd(KEYS.of_plugin("plugins", "acme"), "acme")
    return page, registry, measures


def lines_of(page, metric):
    return [line for line in page.text().decode().splitlines() if line.startswith(metric)]


def test_the_page_counts_the_partitions_that_are_silent(parts):
    page, registry, _ = parts
    for silent in ((), (3,), (0, 3, 7), ()):
        registry.silent = silent
        assert lines_of(page, "relay_partitions_silent") == [f"relay_partitions_silent {len(silent)}.0"]


def test_while_the_shared_keys_are_silent_the_page_names_the_busiest_webhooks_or_those_that_it_named(parts):
    page, _, measures = parts
    counted = {"a": 5, "b": 3, "c": 1}

    def shown():
        found = lines_of(page, "relay_invocations_accepted_total")
        return {line.split('webhook="')[1].split('"')[0]: float(line.split()[1]) for line in found}

    amounts = {f"{name}:accepted": count for name, count in counted.items()}
    measures.add("acme", "w1", "1", amounts | {"c:final:delivered:answered": 9, "c:duration:sum": 1_000})
    measures.shared = True
    assert shown() == {"a": 5, "b": 3, "other": 1}
    measures.shared = False
    assert shown() == {"a": 5, "b": 3, "other": 1}
    measures.shared = True
    measures.add("acme", "w1", "2", {"c:accepted": 100})
    assert shown() == {"a": 5, "b": 3, "other": 101}


def numbers_of(page, metric):
    found = {}
    for line in lines_of(page, metric):
        name, number = line.rsplit(" ", 1)
        found[name.removeprefix(metric)] = float(number)
    return found


def test_a_repeated_batch_counts_once_whatever_other_plugins_and_workers_have_added_meanwhile(redis_client):
    measures = Measures(redis_client)
    for plugin, worker, batch in (("acme", "w1", "1"), ("other", "w1", "2"), ("acme", "w2", "3"), ("acme", "w1", "1")):
        measures.add(plugin, worker, batch, {"c:accepted": 2})
    assert [measures.totals(plugin)["c", "accepted"] for plugin in ("acme", "other")] == [4, 2]


def test_each_total_of_a_plugin_has_its_place_on_the_page(parts, redis_client):
    page, _, measures = parts
    amounts = {
        "a:accepted": 7, "a:errors": 2, "a:final:delivered:answered": 4, "a:final:cancelled:": 1, "-:accepted": 3,
        "a:queue:0": 1, "a:queue:sum": 5, "a:attempt:3": 2, "a:attempt:sum": 120, "a:duration:1": 1, "a:duration:17": 2,
        "a:duration:sum": 9_000_010, "a:unknown": 5,
    }  # fmt: skip
    measures.add("acme", "w1", "1", amounts)
    for name, count in (("late", 2), ("masked", 3), ("over_capacity", 4)):
        for _ in range(count):
            page._store.count("acme", name)
    of_a, other = '{plugin="acme",webhook="a"}', '{plugin="acme",webhook="other"}'
    assert numbers_of(page, "relay_invocations_accepted_total") == {of_a: 7, other: 3}
    assert numbers_of(page, "relay_invocations_errors_total") == {of_a: 2}
    assert numbers_of(page, "relay_invocations_final_total") == {
        '{outcome="answered",plugin="acme",state="delivered",webhook="a"}': 4,
        '{outcome="",plugin="acme",state="cancelled",webhook="a"}': 1,
    }
    for metric, count in (("late_answers", 2), ("masked", 3), ("over_capacity", 4)):
        assert numbers_of(page, f"relay_{metric}_total") == {'{plugin="acme"}': count}
    for metric, count, sum_s in (("queue_delay", 1, 0.005), ("attempt_duration", 2, 0.12), ("duration", 3, 9_000.01)):
        assert numbers_of(page, f"relay_{metric}_seconds_count") == {of_a: count}
        assert numbers_of(page, f"relay_{metric}_seconds_sum") == {of_a: sum_s}
    buckets = list(numbers_of(page, "relay_duration_seconds_bucket").values())
    assert buckets == [0, *[1] * 16, 3]
    assert list(numbers_of(page, "relay_attempt_duration_seconds_bucket").values()) == [0, 0, 0, *[2] * 15]


def test_a_webhook_that_was_never_called_is_on_the_page_from_the_beginning(parts):
    page, registry, _ = parts
    registry._target_vault = Vault.from_text(Vault.new_key_text())
    registry.apply("acme", [a_registration("a"), a_registration("b")])
    webhooks = {f'{{plugin="acme",webhook="{name}"}}': 0 for name in ("a", "b")}
    for metric in ("invocations_accepted_total", "invocations_errors_total", "parked", "in_flight", "breaker_open"):
        assert numbers_of(page, f"relay_{metric}") == webhooks
    assert numbers_of(page, "relay_invocations_final_total") == {}


def test_the_age_of_the_oldest_call_is_in_seconds_and_their_fractions(parts, monkeypatch):
    page, _, _ = parts
    monkeypatch.setattr(page._backlog, "of", lambda lanes: [LaneBacklog(lane, 1, 1_234) for lane in lanes])
    assert set(numbers_of(page, "relay_oldest_pending_seconds").values()) == {1.234}


def test_what_is_not_known_while_a_part_is_silent_is_left_out_and_not_0(parts, redis_client, monkeypatch):
    page, _, measures = parts
    Workers(redis_client).beat("w1", ["bulk"])
    lanes = {f'{{lane="{lane}"}}': float(lane == "bulk") for lane in ("interactive", "bulk", "replay")}
    redis_client.hset("relay:{3}:sweeps", mapping={"sweeps": 5, "published": 2})
    redis_client.hset("relay:{4}:sweeps", mapping={"sweeps": 6, "published": 3})
    assert numbers_of(page, "relay_workers") == lanes
    assert (numbers_of(page, "relay_sweeps_total"), numbers_of(page, "relay_swept_total")) == ({"": 11}, {"": 5})

    def silent(*_):
        raise Unavailable

    monkeypatch.setattr(page._workers, "alive", silent)
    monkeypatch.setattr(measures, "sweeps", lambda: None)
    for metric in ("relay_workers", "relay_sweeps_total", "relay_swept_total"):
        assert numbers_of(page, metric) == {}
    assert numbers_of(page, "relay_pending") == dict.fromkeys(lanes, 0)
    assert numbers_of(page, "relay_oldest_pending_seconds") == dict.fromkeys(lanes, 0)
