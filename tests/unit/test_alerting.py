"""Which conditions a worker checks for alerts, at the edge of each limit, and what it reports."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from relay.domain.reference_id import reference_time_ms
from relay.errors import Unavailable, WebhookNotRegistered
from relay.queue import LANES
from relay.settings import Settings
from relay.store.counts.backlog import LaneBacklog
from relay.store.counts.counts import Counts
from relay.store.health.alerts import AlertChange
from relay.store.health.workers import LiveWorker
from relay.store.keys.keyspace import SINGLE
from relay.store.partitions.reachable import Answers, Silence
from relay.telemetry.log import Event
from relay.upkeep import alerts
from relay.upkeep.alerts import LANE_HOLD_MS, SILENCE_HOLD_MS, Alerting, AlertRules

RULES = AlertRules("ops", "on-alert", failures_percent=60, backlog_s=3.0)
SINCE_MS, AT_MS = 1_700_000_000_000, 1_700_000_060_000


class Site:
    """A relay's conditions, and the store of its alerts, in which every condition counts as changed."""

    def __init__(self):
        self.is_due = True
        self.names = []  # the names of the alerts that held before
        self.lanes = frozenset(LANES)  # the lanes that a worker serves; None: the shared keys do not answer
        self.silent = ()  # the partitions that do not answer; acme is in 1, ops in 0
        self.oldest_ms = {}
        self.counts = {}  # by plugin and webhook
        self.breakers = {}
        self.reply = lambda _call: None
        self.state = "firing"
        self.conditions, self.calls, self.noted = {}, [], []

    def look(self, rules=RULES):
        parts = ("partitions", "registry", "measures", "policies", "backlog", "workers", "dispatcher")
        return Alerting(rules, self, SimpleNamespace(**dict.fromkeys(parts, self))).look()

    def ask(self, ask):
        found = {number: ask(number) for number in (0, 1) if number not in self.silent}
        return Answers(found, dict.fromkeys(self.silent, Unavailable()))

    def silence(self):
        return Silence(tuple(self.silent), self.lanes is None)

    def take_lock(self):
        return self.is_due

    def holding(self):
        return self.names

    def evaluate(self, conditions):
        self.conditions = {each.name: each for each in conditions}
        assert len(self.conditions) == len(conditions)
        held = [each for each in conditions if each.holds]
        return [AlertChange(f"{each.name} 1", each.name, self.state, AT_MS, SINCE_MS, each.detail) for each in held]

    def delete_delivered(self, changes):
        self.noted += [each.name for each in changes]

    def alive(self):
        if self.lanes is None:
            raise Unavailable
        return [LiveWorker("w1", self.lanes, 0)]

    def of(self, lanes):
        return [LaneBacklog(lane, 1, self.oldest_ms.get(lane)) for lane in lanes]

    def plugins_in(self, number):
        return [["ops"], ["acme"]][number]

    def partition_of(self, plugin):
        return {"ops": 0, "acme": 1, "gone": 1}[plugin]

    def recent(self, plugin, minutes):
        assert minutes == 5
        return {webhook: counts for (owner, webhook), counts in self.counts.items() if owner == plugin}

    def traffics(self, plugin, names):
        return [SimpleNamespace(breaker=self.breakers.get((plugin, name), "closed")) for name in names]

    def trigger_many(self, calls):
        self.calls += calls
        return [self.reply(call) for call in calls]


@pytest.fixture
def site():
    return Site()


@pytest.fixture
def said(events_of):
    return events_of(alerts)


def counted(ends, errors):
    return Counts(ends, {"delivered": ends - 1, "cancelled": 1} if ends else {}, errors)


def test_nobody_looks_unless_somebody_is_to_be_told_and_this_process_holds_the_lock(site):
    settings = Settings.from_environ({"RELAY_REDIS_URL": "redis://127.0.0.1/0"})
    assert Alerting.of(SimpleNamespace(settings=settings)) is None
    bounds = {"RELAY_ALERT_FAILURES": "40", "RELAY_ALERT_BACKLOG": "7s"}
    settings = Settings.from_environ(
        {"RELAY_REDIS_URL": "redis://127.0.0.1/0", "RELAY_ALERTS": "ops/on-alert", **bounds}
    )
    alerting = Alerting.of(SimpleNamespace(settings=settings, client=site, keyspace=SINGLE))
    assert alerting._rules == AlertRules("ops", "on-alert", failures_percent=40, backlog_s=7.0)
    assert alerting._alerts._plugin == "ops"
    site.lanes = frozenset()
    site.is_due = False
    assert (site.look(), site.conditions) == (0, {})


def test_where_nothing_is_wrong_nothing_is_told_and_each_lane_was_looked_at(site):
    assert site.look() == 0
    assert (site.calls, site.noted) == ([], [])
    of_lanes = {f"{kind} {lane}" for kind in ("lane_unserved", "backlog_old") for lane in LANES}
    assert site.conditions.keys() == of_lanes | {"partitions_silent"}


@pytest.mark.parametrize("missing", LANES)
def test_a_lane_counts_as_unserved_when_it_has_had_no_worker_for_ten_seconds(site, missing):
    site.lanes = frozenset(LANES) - {missing}
    assert site.look() == 1
    assert LANE_HOLD_MS == 10_000
    for lane in LANES:
        unserved = site.conditions[f"lane_unserved {lane}"]
        assert (unserved.holds, unserved.detail, unserved.hold_ms) == (lane == missing, {"lane": lane}, LANE_HOLD_MS)
        assert site.conditions[f"backlog_old {lane}"].hold_ms == 0


@pytest.mark.parametrize(("missing", "awaited"), [("interactive", False), ("bulk", True), ("replay", True)])
def test_it_is_told_of_by_a_lane_that_somebody_serves(site, missing, awaited):
    site.lanes = frozenset(LANES) - {missing}
    site.look()
    assert [call.awaited for call in site.calls] == [awaited]


@pytest.mark.parametrize(
    ("oldest_ms", "holds", "value"),
    [(None, False, 0), (0, False, 0), (2_499, False, 2), (2_501, False, 3), (3_000, False, 3), (3_001, True, 3)],
)
def test_a_backlog_is_old_beyond_its_bound(site, oldest_ms, holds, value):
    site.oldest_ms = {"bulk": oldest_ms}
    site.look()
    old = site.conditions["backlog_old bulk"]
    assert (old.holds, old.detail) == (holds, {"lane": "bulk", "value": value, "bound": 3.0})


@pytest.mark.parametrize(
    ("ends", "errors", "holds", "value"),
    [
        *((0, 0, False, 0), (9, 9, False, 100), (10, 5, False, 50), (10, 6, True, 60), (10, 10, True, 100)),
        *((100, 59, False, 59), (100, 60, True, 60), (200, 119, True, 60), (1_000, 594, False, 59)),
    ],
)
def test_failures_count_from_ten_ends_on_and_from_their_share_on(site, ends, errors, holds, value):
    site.counts = {("acme", "hook"): counted(ends, errors)}
    site.look()
    failures = site.conditions["failures acme/hook"]
    about = {"plugin": "acme", "webhookId": "hook", "value": value, "bound": 60}
    assert (failures.holds, failures.detail, failures.hold_ms) == (holds, about, 0)


@pytest.mark.parametrize(("breaker", "holds"), [("closed", False), ("open", True), ("half-open", True)])
def test_a_breaker_that_is_not_closed_is_told_of(site, breaker, holds):
    site.counts = {("acme", "hook"): counted(1, 0), ("acme", "other"): counted(1, 0)}
    site.breakers = {("acme", "hook"): breaker}
    site.look()
    opened = site.conditions["breaker_open acme/hook"]
    assert (opened.holds, opened.detail) == (holds, {"plugin": "acme", "webhookId": "hook"})
    assert not site.conditions["breaker_open acme/other"].holds


def test_a_webhook_whose_alert_holds_is_looked_at_though_nothing_was_counted_of_it(site):
    site.names = ["breaker_open acme/hook", "backlog_old bulk", "failures ops/theirs"]
    site.look()
    looked_at = {name for name in site.conditions if "/" in name}
    names = ("acme/hook", "ops/theirs")
    assert looked_at == {f"{kind} {name}" for kind in ("breaker_open", "failures") for name in names}
    assert site.conditions["failures acme/hook"].detail["value"] == 0


def test_nobody_is_told_of_a_webhook_by_itself(site):
    names = ("ops/on-alert", "ops/other", "acme/on-alert", "other/hook")
    site.counts = {tuple(name.split("/")): counted(10, 10) for name in names}
    site.look()
    assert {name for name in site.conditions if name.startswith("failures")} == {
        "failures ops/other",
        "failures acme/on-alert",
    }


@pytest.mark.parametrize(("state", "before"), [("firing", ""), ("over", "Over: ")])
def test_what_is_told_says_what_is_wrong_and_since_when(site, state, before):
    site.state = state
    site.oldest_ms = {"bulk": 4_000}
    assert (site.look(), site.noted) == (1, ["backlog_old bulk"])
    (call,) = site.calls
    assert (call.plugin, call.webhook_id, call.caller, call.is_own) == ("ops", "on-alert", "alert", True)
    assert call.value == {
        "data": {
            "alert": "backlog_old",
            "state": state,
            "message": f"{before}The oldest call in the lane bulk has waited for 4 s.",
            "since": "2023-11-14T22:13:20.000Z",
            "lane": "bulk",
            "value": 4,
            "bound": 3.0,
        }
    }


def test_every_kind_of_alert_says_in_a_sentence_what_is_wrong(site):
    site.lanes = frozenset(LANES) - {"bulk"}
    site.silent = (0,)
    site.oldest_ms = {"replay": 4_000}
    site.counts = {("acme", "hook"): counted(10, 7)}
    site.breakers = {("acme", "hook"): "open"}
    site.look()
    assert {call.value["data"]["alert"]: call.value["data"]["message"] for call in site.calls} == {
        "lane_unserved": "No worker serves the lane bulk.",
        "backlog_old": "The oldest call in the lane replay has waited for 4 s.",
        "breaker_open": "The breaker of acme/hook is open: its endpoint cannot be contacted.",
        "failures": "70% of the calls of acme/hook failed in the last five minutes.",
        "partitions_silent": "Partition 0 does not answer: calls of its plugins wait.",
    }


def test_a_change_has_one_reference_id_whoever_tells_of_it_and_each_has_its_own(site):
    site.oldest_ms = {"bulk": 4_000, "replay": 4_000}
    site.look()
    site.look()
    refs = [call.reference_id for call in site.calls]
    assert refs[:2] == refs[2:]
    assert len(set(refs)) == 2
    assert {reference_time_ms(ref) for ref in refs} == {AT_MS}  # not when it began to hold, which its end shares


def test_what_is_accepted_or_refused_was_told_and_what_is_not_for_now_comes_again(site, said):
    replies = {"bulk": Unavailable(), "interactive": WebhookNotRegistered(), "replay": object()}
    site.oldest_ms = dict.fromkeys(LANES, 4_000)
    site.reply = lambda call: replies[call.value["data"]["lane"]]
    assert site.look() == 2
    assert site.noted == ["backlog_old interactive", "backlog_old replay"]
    assert said == [
        (Event.ALERT, {"level": logging.WARNING, "alert": name, "state": "firing"})
        for name in ("backlog_old interactive", "backlog_old replay")
    ]


def test_the_settings_say_who_is_told():
    needed = {"RELAY_REDIS_URL": "redis://127.0.0.1/0"}
    assert AlertRules.of(Settings.from_environ(needed)) is None
    told = {"RELAY_ALERTS": "ops/on-alert", "RELAY_ALERT_BACKLOG": "3s", "RELAY_ALERT_FAILURES": "60"}
    assert AlertRules.of(Settings.from_environ(needed | told)) == RULES


def test_one_alert_tells_of_all_partitions_that_are_silent(site):
    site.silent = (1,)
    assert site.look() == 1
    silent = site.conditions["partitions_silent"]
    assert (silent.holds, silent.hold_ms) == (True, SILENCE_HOLD_MS)
    (call,) = site.calls
    assert call.value["data"]["message"] == "Partition 1 does not answer: calls of its plugins wait."
    assert (call.value["data"]["partitions"], call.value["data"]["sharedKeys"]) == ([1], False)


@pytest.mark.parametrize(("silent", "unknown"), [((1,), True), ((0,), False)])
def test_of_plugins_in_silent_partitions_nothing_is_known_and_the_others_are_looked_at(site, silent, unknown):
    site.names = ["breaker_open acme/hook", "failures acme/hook"]
    site.silent = silent
    site.look()
    for name in site.names:
        assert site.conditions[name].holds is (None if unknown else False)
    assert site.conditions["backlog_old bulk"].holds is None
    site.oldest_ms = {"bulk": 4_000}
    site.look()
    assert site.conditions["backlog_old bulk"].holds


@pytest.mark.parametrize("silent", [(), (0,), (1,), (0, 1)])
def test_the_alerts_of_a_plugin_that_is_gone_end_unless_its_partition_is_silent(site, silent):
    site.names = ["breaker_open gone/hook", "failures gone/hook"]
    site.silent = silent
    site.look()
    found = [site.conditions[name].holds for name in site.names if name in site.conditions]
    assert found == [None, None] * (1 in silent)


def test_while_the_shared_keys_are_silent_it_is_not_known_which_lanes_are_served(site):
    site.lanes = None
    assert site.look() == 1
    assert {site.conditions[f"lane_unserved {lane}"].holds for lane in LANES} == {None}
    (call,) = site.calls
    assert (call.value["data"]["sharedKeys"], call.awaited) == (True, True)
