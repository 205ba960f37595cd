import itertools
import json

import pytest

from relay.domain.invocation import Attempt, Invocation, Outcome, Sent, State, StepOf
from relay.registration import Shape
from relay.replay.planning import ReplayPlan
from relay.store.counts.backlog import BacklogMinute, LaneBacklog
from relay.store.counts.counts import ENDS, Counts
from relay.store.counts.measures import Minute
from relay.store.counts.webhooks import WebhookCounts
from relay.store.ledger.listing import Filter, OutcomeGroup
from relay.store.ledger.policies import Traffic
from relay.store.registry.revisions import StoredRevision
from relay.store.replays.jobs import ReplayJob, ReplayState, Skip
from relay.text.timestamps import rfc3339
from relay.traffic import WebhookTraffic
from relay.views import (
    backlog_minute_of,
    filter_of,
    group_of,
    job_of,
    lane_of,
    minute_of,
    plain_number,
    plan_of,
    record_of,
    result_of,
    row_of,
    seconds,
    traffic_of,
    webhook_of,
)

FIELDS = [
    "referenceId", "webhookId", "revision", "state", "createdAt", "finishedAt", "attempts", "result", "requestBytes",
    "responseBytes", "caller", "replayOf", "replayedBy", "chain", "expiresAt",
]  # fmt: skip


def an_invocation(**changes):
    values = {
        "reference_id": "01890000-0000-7000-8000-000000000000",
        "plugin": "acme",
        "webhook_id": "ping",
        "revision": 3,
        "state": State.DELIVERED,
        "lane": "interactive",
        "created_at_ms": 1_700_000_000_007,
        "finished_at_ms": 1_700_000_001_000,
        "attempts": (Attempt(1, 1_700_000_000_100, 900, 200, Outcome.ANSWERED, Sent.ANSWERED),),
        "status": 200,
        "error": False,
        "caller": "k1",
    }
    return Invocation(**(values | changes))


def test_times_are_rfc_3339_in_utc_with_milliseconds():
    assert rfc3339(1_700_000_000_007) == "2023-11-14T22:13:20.007Z"
    assert rfc3339(None) is None


def test_a_record_has_the_fields_of_the_design_in_order():
    result = {"status": 200, "data": 1, "error": False}
    record = record_of(an_invocation(), operate=True, result=result)
    assert list(record) == FIELDS
    assert record["result"] == result
    assert record["caller"] == "k1"
    assert list(record["attempts"][0]) == ["number", "startedAt", "durationMs", "status", "outcome", "sent"]


def test_every_member_of_a_record_shows_its_own_value():
    attempts = (
        Attempt(1, 1_000, 20, 0, Outcome.CONNECT_FAILED, Sent.NO),
        Attempt(2, 2_000, 30, 503, Outcome.ANSWERED, Sent.ANSWERED),
    )
    invocation = an_invocation(
        attempts=attempts, created_at_ms=100, finished_at_ms=3_000, expires_at_ms=4_000, not_before_ms=5_000,
        forgotten_at_ms=6_000, request_bytes=7, response_bytes=8, replay_of="r0", replayed_by="r2", steps=("s1",),
        is_chain=True, damaged=("masked", "sent"), reason="why", late_answer="200 answered",
    )  # fmt: skip
    assert row_of(invocation) == {
        "referenceId": invocation.reference_id,
        "webhookId": "ping",
        "revision": 3,
        "state": "delivered",
        "createdAt": rfc3339(100),
        "finishedAt": rfc3339(3_000),
        "attempts": [
            {
                "number": each.number,
                "startedAt": rfc3339(each.started_at_ms),
                "durationMs": each.duration_ms,
                "status": each.status,
                "outcome": each.outcome.value,
                "sent": each.sent.value,
            }
            for each in attempts
        ],
        "result": {"status": 200, "error": False},
        "requestBytes": 7,
        "responseBytes": 8,
        "caller": "k1",
        "replayOf": "r0",
        "replayedBy": "r2",
        "chain": {"steps": ["s1"]},
        "expiresAt": rfc3339(4_000),
        "notBefore": rfc3339(5_000),
        "forgottenAt": rfc3339(6_000),
        "reason": "why",
        "lateAnswer": "200 answered",
        "damaged": ["masked", "sent"],
    }


@pytest.mark.parametrize(("number", "shown"), [(None, None), (5.0, 5), (2.5, 2.5), (0.1, 0.1), (0.0, 0)])
def test_a_rate_is_a_whole_number_where_it_is_one(number, shown):
    assert repr(plain_number(number)) == repr(shown)


def test_a_plugins_own_key_sees_neither_caller_nor_chain():
    record = record_of(an_invocation(reason="why", late_answer="200 answered"), operate=False, result=None)
    assert set(FIELDS) - set(record) == {"caller", "chain"}
    assert set(record) <= set(FIELDS)


def test_a_plugins_own_key_sees_only_the_coarse_outcome():
    failed = Attempt(1, 1, 5, 0, Outcome.DNS_FAILED, Sent.NO)
    invocation = an_invocation(attempts=(failed,), state=State.UNREACHABLE, status=0, error=True)
    assert record_of(invocation, operate=False, result=None)["attempts"][0]["outcome"] == "unreachable"
    assert record_of(invocation, operate=True, result=None)["attempts"][0]["outcome"] == "dns_failed"


def test_a_chain_shows_its_steps_and_a_step_its_chain():
    assert record_of(an_invocation(), operate=True, result=None)["chain"] is None
    begun = an_invocation(is_chain=True)
    assert record_of(begun, operate=True, result=None)["chain"] == {"steps": []}
    inner = an_invocation(is_chain=True, steps=("s1", "s2"), step_of=StepOf("p", 2, 0))
    assert row_of(inner)["chain"] == {"parent": "p", "step": 2, "item": 0, "steps": ["s1", "s2"]}


def test_a_row_has_the_result_without_its_data():
    assert row_of(an_invocation())["result"] == {"status": 200, "error": False}
    assert row_of(an_invocation(state=State.INTERRUPTED, status=None, error=None))["result"] == {
        "status": 0,
        "error": True,
    }


def test_what_was_rejected_cancelled_or_is_unfinished_has_no_result():
    for state in (State.REJECTED, State.CANCELLED, State.QUEUED, State.SENDING):
        assert row_of(an_invocation(state=state, status=None, error=None))["result"] is None


def test_an_unregistered_webhook_has_no_revision():
    assert row_of(an_invocation(revision=0, state=State.REJECTED))["revision"] is None


def test_a_result_has_the_answers_data_with_integers_of_any_size():
    assert result_of(an_invocation(outcome=Outcome.ANSWERED), b'{"a": 123456789012345678901234567890}') == {
        "status": 200,
        "data": {"a": 123456789012345678901234567890},
        "error": False,
    }


def test_a_result_without_an_answer_says_why_in_coarse_words():
    failed = an_invocation(state=State.UNREACHABLE, status=0, error=True, outcome=Outcome.DNS_FAILED, sent=Sent.NO)
    assert result_of(failed, None) == {
        "status": 0,
        "data": {
            "code": "unreachable",
            "message": "The endpoint could not be contacted; nothing was sent.",
            "sent": "no",
        },
        "error": True,
    }


def test_an_empty_answer_has_null_data():
    assert result_of(an_invocation(status=204, outcome=Outcome.ANSWERED), None)["data"] is None


def test_what_has_no_result_gets_none_made_up():
    assert result_of(an_invocation(state=State.REJECTED, outcome=Outcome.REQUEST_REJECTED), None) is None


def test_durations_are_seconds_without_a_needless_fraction():
    assert (seconds(20_000), seconds(1_500)) == (20, 1.5)
    assert isinstance(seconds(20_000), int)


def test_a_plugins_own_key_sees_no_outcome_of_an_answer():
    assert record_of(an_invocation(), operate=False, result=None)["attempts"][0]["outcome"] is None


def test_a_result_leaves_out_what_its_damaged_fields_would_tell():
    hidden = {"status": (None, False), "error": (200, None), "outcome": (None, None), "caller": (200, False)}
    for damaged, (status, error) in hidden.items():
        assert row_of(an_invocation(damaged=(damaged,)))["result"] == {"status": status, "error": error}


def numbers():
    """Numbers that all differ, so that none can stand in the place of another."""
    return itertools.count(1)


def some_counts(number):
    return Counts(next(number), {state: next(number) for state in ENDS}, next(number))


def shown_counts(counts):
    return {"accepted": counts.accepted, "final": dict(counts.final), "errors": counts.errors}


def test_every_member_of_a_webhooks_traffic_shows_its_own_number():
    number = numbers()
    recent, hour, day, *parts = (some_counts(number) for _ in range(7))
    counted = WebhookCounts(recent, hour, day, hour_trend=parts[:2], day_trend=parts[2:], last_error_ms=60_000)
    registered = StoredRevision(next(number), Shape("ping", "POST", hidden=True), b"", 0, "", "")
    now = Traffic(True, "open", next(number), 90_000, next(number), next(number))
    ended = [sum(part.final[state] for state in ("delivered", "unreachable", "interrupted")) for part in parts]
    errors = [part.errors for part in parts]
    assert traffic_of(WebhookTraffic(registered, counted, now)) == {
        "webhookId": "ping",
        "revision": registered.number,
        "hidden": True,
        **shown_counts(day),
        "recent": {"fiveMinutes": shown_counts(recent), "hour": shown_counts(hour)},
        "trend": {
            "hour": {"ended": ended[:2], "errors": errors[:2]},
            "day": {"ended": ended[2:], "errors": errors[2:]},
        },
        "lastErrorAt": rfc3339(60_000),
        "inFlight": now.running,
        "parked": now.parked,
        "paused": True,
        "breaker": {"state": "open", "failures": now.failures, "openUntil": rfc3339(90_000)},
    }


def test_every_member_of_a_minute_and_of_a_lane_shows_its_own_number():
    counts = some_counts(numbers())
    percentiles = {"p50Ms": 50, "p95Ms": 95, "p99Ms": 99}
    assert minute_of(Minute(120_000, counts, 50, 95, 99)) == {
        "start": rfc3339(120_000),
        **shown_counts(counts),
        **percentiles,
    }
    assert lane_of(LaneBacklog("bulk", 3, 1_500), None) == {
        "lane": "bulk",
        "pending": 3,
        "oldestSeconds": 1.5,
        "workers": None,
    }
    assert lane_of(LaneBacklog("bulk", 0, None), 0)["oldestSeconds"] is None
    assert lane_of(LaneBacklog("bulk", 1, 0), 0)["oldestSeconds"] == 0


def test_every_member_of_a_job_and_of_a_plan_shows_its_own_number():
    job = ReplayJob(
        "r1", "acme", ReplayState.PAUSED, 1, 2, 3, 4, 5, {Skip.REPLAYED: 6}, 2.5, False, 7, 8_000, 9_000, "k1",
        Filter(states=frozenset({State.DELIVERED})), by_hand=False, damaged=("max",),
    )  # fmt: skip
    assert job_of(job) == {
        "replayId": "r1",
        "state": "paused",
        "matched": 1,
        "started": 2,
        "delivered": 3,
        "failed": 4,
        "skipped": 5,
        "ratePerSecond": 2.5,
        "createdAt": rfc3339(8_000),
        "finishedAt": rfc3339(9_000),
        "skippedReasons": {"replayed": 6},
        "caller": "k1",
        "filter": {"states": ["delivered"]},
        "damaged": ["max"],
    }
    group = OutcomeGroup("ping", "answered", 500, 10, 11_000, 12_000)
    shown = {
        "webhookId": "ping",
        "outcome": "answered",
        "status": 500,
        "count": 10,
        "firstAt": rfc3339(11_000),
        "lastAt": rfc3339(12_000),
    }
    assert group_of(group) == shown
    plan = ReplayPlan("p1", 1, 2, {Skip.UNCERTAIN: 3}, {Skip.REPLAYED: 4}, [group], [], None)
    assert plan_of(plan) == {
        "planId": "p1",
        "matched": 1,
        "skipped": 2,
        "breakdown": [shown],
        "skippedReasons": {"uncertain": 3},
        "leftOut": {"replayed": 4},
    }


FILTERS = {
    "webhookId": ({"webhook_id": "ping"}, "ping"),
    "states": ({"states": frozenset({State.UNREACHABLE, State.DELIVERED})}, ["delivered", "unreachable"]),
    "status": ({"status": (404, "5xx")}, [404, "5xx"]),
    "outcome": ({"outcome": Outcome.DNS_FAILED}, "dns_failed"),
    "caller": ({"caller": "k1"}, "k1"),
    "chain": ({"chain": "c1"}, "c1"),
    "replay": ({"replay": "r1"}, "r1"),
    "subject": ({"subject": "0a1b"}, True),
    "since": ({"since_ms": 1_000}, rfc3339(1_000)),
    "until": ({"until_ms": 2_000}, rfc3339(2_000)),
    "failed": ({"error": False}, False),
    "unreplayed": ({"unreplayed": True}, True),
}


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_shows_each_member_that_is_given_and_no_other(name):
    given, shown = FILTERS[name]
    assert filter_of(Filter(**given)) == {name: shown}


@pytest.mark.parametrize(
    ("encoding", "shown"), [("json", (None, None)), ("base64", ("base64", None)), ("multipart", (None, "multipart"))]
)
def test_a_webhook_says_how_to_call_it(encoding, shown):
    shape = Shape("ping", "POST", ("X-A",), ("page",), encoding, {"type": "object"}, description="Pings.")
    found = webhook_of(shape)
    assert (found["payloadEncoding"], found.get("payload")) == shown
    assert (found["headers"], found["queryParams"], found["description"]) == (["X-A"], ["page"], "Pings.")
    assert "pathParams" not in found


def test_path_parameters_come_with_their_patterns():
    shape = Shape("ping", "GET", path_params={"id": "[0-9]+", "name": "[a-z]+"})
    assert webhook_of(shape)["pathParams"] == {"id": {"pattern": "[0-9]+"}, "name": {"pattern": "[a-z]+"}}


def test_a_minute_of_the_backlog_shows_each_lane_and_what_is_not_known():
    minute = BacklogMinute(60_000, {"bulk": 3, "replay": None})
    assert backlog_minute_of(minute) == {"start": rfc3339(60_000), "pending": {"bulk": 3, "replay": None}}


@pytest.mark.parametrize("opened", [b"null", b"0", b'""', b"[]", b"false"])
def test_kept_data_is_the_result_also_if_it_counts_as_false_and_after_a_failure(opened):
    for outcome in (Outcome.ANSWERED, Outcome.RESPONSE_REJECTED):
        found = result_of(an_invocation(outcome=outcome, sent=Sent.ANSWERED), opened)
        assert repr(found["data"]) == repr(json.loads(opened))
