"""What the scripts count about invocations, alike on fakeredis and on a real server."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from relay.domain.invocation import Outcome, State
from relay.store.counts import webhooks as webhooks_module
from relay.store.counts.counts import ENDS
from relay.store.counts.measures import DAY_MS, Measures, percentile_ms
from relay.store.counts.notes import HOUR_MS, MINUTE_MS
from relay.store.ledger.acceptance import AcceptVerdict
from relay.store.server.clock import time_ms_of
from tests.contract.clocked import START_MS, Clocked
from tests.contract.ledger import Ledger
from tests.store_keys import KEYS

UNREACHABLE = {"state": State.UNREACHABLE, "outcome": Outcome.CONNECT_FAILED, "status": 0, "error": True}


@pytest.fixture
def measures(ledger):
    return Measures(ledger.client)


def totals(measures, plugin="acme"):
    return measures.totals(plugin)


def story(ledger):
    """Invocations of two webhooks that end in every possible way."""
    ledger.client.hset(KEYS.webhooks("acme"), "other", 1)
    for webhook in ("hook", "hook", "other"):
        ledger.store.settle([ledger.settlement(*ledger.claimed(webhook_id=webhook), masked=3)])
    ledger.store.settle([ledger.settlement(*ledger.claimed(), **UNREACHABLE)])
    ledger.store.settle([ledger.settlement(*ledger.claimed(), status=503, error=True)])
    ledger.store.cancel(ledger.accepted())
    ledger.accepted(refusal=Outcome.REQUEST_REJECTED, payload=b"")
    for name in ("made-up", "made-up-too"):
        ledger.accepted(webhook_id=name, revision=0, refusal=Outcome.WEBHOOK_NOT_REGISTERED, payload=b"")
    lost, _ = ledger.claimed()
    ledger.lose_lease(lost)
    ledger.store.claim([lost], ledger.token())
    ledger.accepted()


def test_totals_are_what_was_accepted_and_how_it_ended(ledger, measures):
    story(ledger)
    counts = {name: count for name, count in totals(measures).items() if ":duration" not in f":{name[1]}"}
    assert counts == {
        ("hook", "accepted"): 7,
        ("other", "accepted"): 1,
        ("hook", "final:delivered:answered"): 3,
        ("other", "final:delivered:answered"): 1,
        ("hook", "final:unreachable:connect_failed"): 1,
        ("hook", "final:cancelled:"): 1,
        ("hook", "final:rejected:request_rejected"): 1,
        ("", "final:rejected:webhook_not_registered"): 2,
        ("hook", "final:interrupted:lease_lost"): 1,
        ("hook", "errors"): 3,
    }
    assert ledger.store.counts("acme")["masked"] == 9


def test_a_minute_is_what_was_counted_of_all_and_of_one(ledger, measures):
    story(ledger)
    of_all = [each for each in measures.minutes("acme") if each.counts.accepted]
    assert sum(each.counts.accepted for each in of_all) == 8
    ends = Counter()
    for minute in measures.minutes("acme"):
        ends.update(minute.counts.final)
    assert ends == {"delivered": 4, "unreachable": 1, "interrupted": 1, "rejected": 3, "cancelled": 1}
    assert sum(minute.counts.errors for minute in measures.minutes("acme")) == 3
    assert sum(minute.counts.accepted for minute in measures.minutes("acme", webhook_id="other")) == 1
    assert sum(minute.counts.errors for minute in measures.minutes("acme", webhook_id="other")) == 0


def test_a_day_is_counted_by_webhook(ledger, measures):
    story(ledger)
    found = measures.webhooks("acme").by_webhook
    assert set(found) == {"hook", "other"}  # names that callers invent are not counted
    for counts in (found["hook"].day, found["hook"].hour, found["hook"].recent):
        assert (counts.accepted, counts.errors, sum(counts.final.values())) == (7, 3, 7)
    assert found["other"].day.accepted == 1
    assert found["other"].last_error_ms is None


def _note(ledger, ago_ms, **counts):
    """Count these in the minute and the hour of that time, as the notes of calls are counted."""
    at_ms = ledger.client.time()[0] * 1_000 - ago_ms
    for name, count in counts.items():
        ledger.client.hincrby(KEYS.minute("acme", at_ms // MINUTE_MS, "hook"), name, count)
        ledger.client.hincrby(KEYS.hour("acme", at_ms // HOUR_MS), f"hook:{name}", count)
    return at_ms // MINUTE_MS * MINUTE_MS


@pytest.mark.parametrize("ago_minutes", [0, 30, 59])
def test_errors_of_the_last_minutes_are_found_also_those_of_the_hour_before(ledger, measures, ago_minutes):
    _note(ledger, ago_minutes * MINUTE_MS, errors=2, delivered=3)
    (counts,) = measures.recent("acme", 61).values()
    assert (counts.errors, counts.ended) == (2, 3)


@pytest.mark.parametrize("hours", [(23, 5), (5, 23), (3, 22, 11), (1, 23), (23, 0), (0, 2)])
def test_the_last_of_several_errors_is_found_whenever_they_were(ledger, measures, hours):
    noted = [_note(ledger, hour * HOUR_MS, errors=1) for hour in hours]
    for _ in range(2):
        assert measures.webhooks("acme").by_webhook["hook"].last_error_ms == max(noted)


@pytest.mark.parametrize("hour", [0, 5])
def test_the_last_of_several_errors_in_an_hour_is_found(ledger, measures, hour):
    noted = [_note(ledger, hour * HOUR_MS + ago_ms, errors=1) for ago_ms in (4 * MINUTE_MS, 0, 2 * MINUTE_MS)]
    assert measures.webhooks("acme").by_webhook["hook"].last_error_ms == max(noted)


@pytest.mark.parametrize("ago_minutes", [0, 1])
def test_what_is_counted_in_the_last_two_minutes_is_read_again(ledger, measures, ago_minutes):
    for count in (1, 2, 3):
        _note(ledger, ago_minutes * MINUTE_MS, delivered=1)
        assert measures.webhooks("acme").by_webhook["hook"].hour.final["delivered"] == count


@pytest.mark.parametrize(("since_ago_ms", "minutes"), [(None, 61), (0, 1), (10 * MINUTE_MS, 11), (3 * DAY_MS, 1_440)])
def test_an_hour_is_shown_unless_another_time_is_asked_for(ledger, measures, since_ago_ms, minutes):
    since_ms = None if since_ago_ms is None else time_ms_of(ledger.client) - since_ago_ms
    found = measures.minutes("acme", since_ms)
    assert len(found) in {minutes, minutes + (minutes < 1_440)}  # a new minute may have begun meanwhile
    assert [each.start_ms for each in found] == list(range(found[0].start_ms, found[-1].start_ms + 1, MINUTE_MS))


def test_the_notes_of_every_plugin_are_counted_at_once(ledger, measures):
    plugins = ("acme", "beta", "gamma")
    ledger.client.sadd(KEYS.plugins(), *plugins)
    for plugin in plugins:
        ledger.client.hset(KEYS.webhooks(plugin), "hook", 1)
        ledger.accepted(plugin=plugin)
    assert [ledger.client.exists(KEYS.notes(plugin)) for plugin in plugins] == [1, 1, 1]
    measures.count_everything()
    assert [ledger.client.exists(KEYS.notes(plugin)) for plugin in plugins] == [0, 0, 0]


def test_a_minute_has_percentiles_of_all_webhooks_and_of_one(ledger, measures):
    now_ms = time_ms_of(ledger.client)
    for webhook, duration_ms in (("hook", 40), ("other", 4_000)):
        ledger.client.rpush(KEYS.notes("acme"), f"{now_ms} {webhook} 1 delivered:answered:200:0={duration_ms}")
    for webhook, least, most in (("", 40, 4_000), ("hook", 40, 40), ("other", 4_000, 4_000)):
        times = [(each.p50_ms, each.p99_ms) for each in measures.minutes("acme", webhook_id=webhook)]
        (found,) = {each for each in times if each != (None, None)}
        assert found == (pytest.approx(least, rel=0.25), pytest.approx(most, rel=0.25))


def test_ends_without_an_answer_or_a_try_have_no_duration(ledger, measures):
    ledger.store.cancel(ledger.accepted())
    ledger.accepted(refusal=Outcome.REQUEST_REJECTED, payload=b"")
    assert not [name for _, name in totals(measures) if name.startswith("duration")]
    assert {(each.p50_ms, each.p95_ms, each.p99_ms) for each in measures.minutes("acme")} == {(None, None, None)}


def test_a_webhook_s_windows_hold_what_is_in_them_and_its_last_error_is_found(ledger, measures):
    oldest_ms = _note(ledger, 23 * HOUR_MS, delivered=100, errors=5)
    found = measures.webhooks("acme").by_webhook["hook"]
    assert (found.recent.errors, found.hour.errors, found.day.errors, found.last_error_ms) == (0, 0, 5, oldest_ms)
    _note(ledger, 23 * HOUR_MS, delivered=0)
    _note(ledger, 40 * MINUTE_MS, delivered=10)
    assert measures.webhooks("acme").by_webhook["hook"].last_error_ms == oldest_ms
    measures = Measures(ledger.client)  # minutes that are over are kept: nothing is counted in them later
    hour_ms = _note(ledger, 30 * MINUTE_MS, delivered=4, errors=3)
    _note(ledger, 2 * MINUTE_MS, delivered=7, accepted=9)
    found = measures.webhooks("acme").by_webhook["hook"]
    assert (found.recent.accepted, found.recent.final["delivered"], found.recent.errors) == (9, 7, 0)
    assert (found.hour.final["delivered"], found.hour.errors, found.last_error_ms) == (21, 3, hour_ms)
    assert (found.day.final["delivered"], found.day.errors) == (121, 8)
    for trend, whole in ((found.hour_trend, found.hour), (found.day_trend, found.day)):
        assert sum(each.final["delivered"] for each in trend) == whole.final["delivered"]
        assert sum(each.errors for each in trend) == whole.errors
    assert (len(found.hour_trend), len(found.day_trend)) == (12, 25)


def test_counts_of_many_webhooks_are_right_although_few_are_remembered(ledger, monkeypatch):
    monkeypatch.setattr(webhooks_module, "_MAX_KNOWN", 2)
    measures, at_ms = Measures(ledger.client), time_ms_of(ledger.client) - 10 * MINUTE_MS
    for plugin in ("acme", "beta", "gamma"):
        for webhook in ("hook", "other"):
            ledger.client.hset(KEYS.minute(plugin, at_ms // MINUTE_MS, webhook), "delivered", 4)
            ledger.client.hset(KEYS.hour(plugin, at_ms // HOUR_MS), f"{webhook}:delivered", 4)
    for plugin in ("acme", "beta", "gamma") * 2:
        found = measures.webhooks(plugin).by_webhook
        assert [found[webhook].hour.final["delivered"] for webhook in ("hook", "other")] == [4, 4]
    assert len(measures._webhooks._known) <= 2


def test_a_repeated_script_counts_nothing_again(ledger):
    new = ledger.new()
    refused = ledger.new(refusal=Outcome.REQUEST_REJECTED, payload=b"")
    ledger.accept([new, refused])
    ledger.store.claim([new.reference_id], "t")
    settlement = ledger.settlement(new.reference_id, "t", masked=2)
    ledger.store.settle([settlement])
    before = ledger.everything()
    ledger.accept([new, refused])
    ledger.store.claim([new.reference_id], "t")
    ledger.store.settle([settlement])
    assert ledger.everything() == before


def test_who_is_told_twice_that_there_is_no_room_is_counted_once(redis_client):
    ledger = Ledger(redis_client)
    ledger.client.set(KEYS.plugin_pending("acme"), 500)
    groups = [[ledger.new() for _ in range(5)] for _ in range(3)]
    for group in [*groups, *groups, groups[0], *[groups[1]] * 64, groups[0]]:  # so many are remembered
        assert {answer.verdict for answer in ledger.accept(group)} == {AcceptVerdict.OVER_CAPACITY}
    assert ledger.store.counts("acme")["over_capacity"] == 15


def test_plugins_are_counted_apart(ledger, measures):
    ledger.client.hset(KEYS.webhooks("bcme"), "hook", 1)
    ledger.accept([ledger.new(), ledger.new(plugin="bcme"), ledger.new(plugin="bcme")])
    assert totals(measures)["hook", "accepted"] == 1
    assert totals(measures, "bcme")["hook", "accepted"] == 2


def test_counts_of_minutes_and_hours_go_after_a_day_and_totals_stay(ledger):
    story(ledger)
    Measures(ledger.client).count("acme")
    kept = {key: ledger.client.ttl(key) for key in ledger.client.keys("*")}
    passing = [key for key in kept if b":minute:" in key or b":hour:" in key]
    assert len(passing) >= 4
    assert all(DAY_MS < kept[key] * 1000 <= DAY_MS + 2 * 3600_000 for key in passing)
    assert kept[KEYS.totals("acme").encode()] == -1


def test_every_minute_of_the_time_asked_for_is_there(redis_client, monkeypatch):
    clocked = Clocked(redis_client)
    clocked.register("hook")
    measures, now = Measures(redis_client), time_ms_of(redis_client)
    monkeypatch.setattr("relay.store.counts.measures.time_ms_at", lambda *_: now)  # no minute begins meanwhile
    minutes = measures.minutes("acme", now - 10 * MINUTE_MS)
    assert [each.start_ms for each in minutes] == [(now // MINUTE_MS - back) * MINUTE_MS for back in range(10, -1, -1)]
    assert all(each.p50_ms is None and set(each.counts.final) == set(ENDS) for each in minutes)
    assert len(measures.minutes("acme", 0)) == 24 * 60
    assert measures.minutes("acme", now + 5 * MINUTE_MS) == []


def test_percentiles_are_near_the_true_ones(redis_client):
    """Calls end after known durations, measured by a clock that the test controls."""
    clocked = Clocked(redis_client)
    clocked.register("hook")
    ledger = Ledger(redis_client)
    random, durations = Random(7), []
    for _ in range(300):
        clocked.set_ms(START_MS)
        new = ledger.new()
        clocked.store.accept([new], ())
        duration = int(random.lognormvariate(5, 1.5)) + 1
        clocked.store.claim([new.reference_id], new.reference_id)
        clocked.set_ms(START_MS + min(duration, 29_000))
        clocked.store.settle([ledger.settlement(new.reference_id, new.reference_id)])
        durations.append(min(duration, 29_000))
    measures = Measures(redis_client)
    measures.count("acme")
    fields = redis_client.hgetall(KEYS.minute("acme", START_MS // MINUTE_MS))
    steps = sorted((int(name[5:]), int(count)) for name, count in fields.items() if name.startswith(b"step:"))
    durations.sort()
    for share in (0.5, 0.95, 0.99):
        true = durations[int(share * 300) - 1]
        assert true / 1.25 - 1 <= percentile_ms(steps, share) <= true * 1.25 + 1
    assert measures.totals("acme")["hook", "duration:sum"] == sum(durations)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 861), (0.25, 902), (0.5, 943), (1.0, 1_024)])
def test_a_percentile_is_as_far_into_its_step_as_its_share_of_it(share, expected):
    assert percentile_ms([(40, 100)], share) == expected
    assert percentile_ms([(0, 100), (40, 100)], 0.5 + share / 2) == (expected if share else 1)


def test_nothing_has_no_percentiles():
    assert percentile_ms([], 0.5) is None
    assert percentile_ms([(0, 3)], 0.5) == 0 or percentile_ms([(0, 3)], 0.5) == 1


def test_notes_that_two_count_at_a_time_are_counted_once(ledger, monkeypatch):
    story(ledger)
    one, other = Measures(ledger.client), Measures(ledger.client)
    run = one._scripts.run

    def after_the_other(name, args, root):
        if name == "count_notes":
            monkeypatch.undo()
            other.count("acme")
        return run(name, args, root)

    monkeypatch.setattr(one._scripts, "run", after_the_other)
    one.count("acme")
    assert totals(one)["hook", "accepted"] == 7
    assert not ledger.client.exists(KEYS.notes("acme"))


def test_counting_again_because_the_reply_was_lost_counts_nothing_again(ledger, measures, monkeypatch):
    story(ledger)
    run = measures._scripts.run
    monkeypatch.setattr(measures._scripts, "run", lambda *call: [run(*call), run(*call)][0])
    measures.count("acme")
    assert totals(measures)["hook", "accepted"] == 7


def test_many_notes_are_counted_in_pieces(ledger, measures):
    for _ in range(1201):
        ledger.client.rpush(KEYS.notes("acme"), "1700000000000 hook 2 delivered:answered:2:0=5,6")
    assert totals(measures)["hook", "final:delivered:answered"] == 2402
    assert totals(measures)["hook", "duration:sum"] == 1201 * 11
