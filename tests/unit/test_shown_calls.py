from types import SimpleNamespace

import pytest

from relay.domain.invocation import Attempt, Outcome, Sent, State
from relay.domain.reference_id import new_reference_id
from relay.executor.preparation import Prepared, Unsendable
from relay.executor.watch import CallWatch
from relay.metrics.gathering import ATTEMPT, WAITED
from relay.metrics.shown_calls import Reservoir, ShownCall, ShownCalls, state_of
from relay.store.ledger.transitions import CallRecord, Settlement


def call(number, state="SUCCESS"):
    return ShownCall(str(number), "acme/hook", state, "200 answered", 0.1, 0, "bulk", number)


def test_while_they_are_few_every_call_is_shown_in_its_order():
    shown = ShownCalls(10)
    calls = [call(number, "FAILURE" if number % 3 else "SUCCESS") for number in range(10)]
    for each in calls:
        shown.add(each)
    assert shown.take() == calls
    assert shown.take() == []


def test_what_is_shown_together_comes_in_the_order_of_its_ends():
    shown = ShownCalls(10)
    for number in (5, 1, 4, 2, 3, 0):
        shown.add(call(number, "FAILURE" if number % 2 else "SUCCESS"))
    assert [each.ended_at_s for each in shown.take()] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(("failed", "others"), [(0, 500), (3, 500), (10, 500), (500, 500), (500, 0)])
def test_when_they_are_many_failures_go_first_and_no_more_than_the_limit_is_shown(failed, others):
    shown = ShownCalls(1)  # ten at once
    for number in range(others):
        shown.add(call(number))
    for number in range(failed):
        shown.add(call(number, "FAILURE"))
    taken = shown.take()
    assert len(taken) == 10
    assert sum(each.state == "FAILURE" for each in taken) == min(failed, 10)


def test_under_load_no_more_than_the_limit_is_shown_in_the_long_run_and_quiet_times_are_made_up_for():
    shown, taken = ShownCalls(5), []
    for period in range(60):
        for number in range(100 if period < 30 or period == 50 else 0):
            shown.add(call(number, "FAILURE" if number % 2 else "SUCCESS"))
        taken.append(len(shown.take()))
    assert taken[0] == 50
    assert taken[1:30] == [5] * 29
    assert taken[50] == 50


@pytest.mark.parametrize("period_s", [0.5, 1.0, 3.0])
def test_as_many_calls_are_shown_as_belong_to_the_time_since_the_last_ones(period_s):
    shown = ShownCalls(10)
    for taken in (100, *[10 * period_s] * 3):
        for number in range(200):
            shown.add(call(number))
        assert len(shown.take(period_s)) == taken


def test_nothing_is_shown_where_the_limit_is_zero():
    shown = ShownCalls(0)
    shown.add(call(1, "FAILURE"))
    assert not shown
    assert shown.take() == []


def test_a_sample_takes_from_everywhere():
    first, sample = 0, Reservoir(5)  # a new one begins each time that it is taken
    for _ in range(300):
        for number in range(20):
            sample.add(number)
        kept = list(sample.take())
        assert len(set(kept)) == 5
        first += sum(number < 10 for number in kept)
    assert 600 < first < 900  # 750 on average, with a deviation of about 17


@pytest.mark.parametrize(
    ("state", "error", "shown"),
    [
        (State.DELIVERED, False, "SUCCESS"),
        (State.DELIVERED, True, "FAILURE"),
        (State.UNREACHABLE, True, "FAILURE"),
        (State.INTERRUPTED, True, "FAILURE"),
        (State.REJECTED, None, "FAILURE"),
        (State.RETRYING, True, "RETRY"),
    ],
)
def test_what_has_no_good_result_is_a_failure(state, error, shown):
    assert state_of(SimpleNamespace(state=state, error=error)) == shown


@pytest.mark.parametrize(
    ("state", "outcome", "said"),
    [
        *((State.UNREACHABLE, "expired", ["0 expired"]), (State.INTERRUPTED, "lease_lost", ["0 lease_lost"])),
        (State.CANCELLED, "", []),
    ],
)
def test_a_call_that_its_claim_ended_is_a_failure_unless_it_was_cancelled(state, outcome, said):
    record = CallRecord(new_reference_id(), State.QUEUED, "acme", "hook", 1, 1, b"", None, 1_000, "bulk", tries=2)
    shown = ShownCalls(10)
    CallWatch(None, shown, None).ended(record, state, outcome)
    taken = shown.take()
    assert [(each.webhook, each.result, each.retries, each.runtime_s) for each in taken] == [
        ("acme/hook", result, 2, 0.0) for result in said
    ]
    assert {each.state for each in taken} <= {"FAILURE"}


@pytest.mark.parametrize(("waited_ms", "noted"), [(None, []), (0, [(WAITED, ("acme", "hook"), 0)])])
def test_the_wait_of_a_first_attempt_is_measured_even_where_there_was_none(waited_ms, noted):
    measured = []
    watch = CallWatch(SimpleNamespace(add=lambda *what: measured.append(what)), None, None)
    watch.claimed(SimpleNamespace(webhook=("acme", "hook"), waited_ms=waited_ms))
    assert measured == noted


@pytest.mark.parametrize("is_sent", [True, False])
@pytest.mark.parametrize("status", [200, None])
def test_a_settled_call_is_shown_with_its_status_and_measured_if_it_was_attempted(is_sent, status):
    measured, shown, spans = [], ShownCalls(10), []
    record = CallRecord(new_reference_id(), State.QUEUED, "acme", "hook", 1, 1, b"", None, 1_000, "bulk", tries=2)
    call = Prepared(record, None, None, None) if is_sent else Unsendable(record, Outcome.PREPARE_FAILED)
    span = SimpleNamespace(end=spans.append)
    attempt = Attempt(3, 1, 250, 200, Outcome.ANSWERED, Sent.ANSWERED)
    settlement = Settlement(record.reference_id, "t", State.DELIVERED, Outcome.ANSWERED, status, False, attempt)
    active = SimpleNamespace(call=call, webhook=("acme", "hook"), span=span)
    CallWatch(SimpleNamespace(add=lambda *what: measured.append(what)), shown, None).settled(active, settlement)
    assert measured == [(ATTEMPT, ("acme", "hook"), 250)] * is_sent
    (each,) = shown.take()
    assert (each.state, each.result, each.runtime_s) == ("SUCCESS", f"{status or 0} answered", 0.25)
    assert (each.retries, each.lane, len(spans)) == (2, "bulk", 1)


def test_an_endpoint_is_told_of_the_span_of_its_attempt_where_there_is_one():
    record = CallRecord(new_reference_id(), State.QUEUED, "acme", "hook", 1, 1, b"", "of the caller", 1_000, "bulk")
    none_made, disabled, made = None, SimpleNamespace(traceparent=None), SimpleNamespace(traceparent="of the attempt")
    for attempt, before, sent in (
        *((none_made, "of the caller", "of the caller"), (none_made, None, None)),
        *((disabled, "of the caller", "of the caller"), (disabled, None, None)),  # as the OpenTelemetry SDK may be
        (made, "of the caller", "of the attempt"),
    ):
        headers = {} if before is None else {"traceparent": before}
        call = Prepared(record, SimpleNamespace(headers=headers), None, None)
        active = SimpleNamespace(call=call, claimed_at_ms=7, waited_ms=3, span=None)
        asked = []
        spans = SimpleNamespace(
            attempt=lambda *parent, asked=asked, attempt=attempt, **at: asked.append((parent, at)) or attempt
        )
        CallWatch(None, None, spans).sending(active)
        assert (headers, active.span) == ({} if sent is None else {"traceparent": sent}, attempt)
        assert asked == [(("of the caller",), {"claimed_at_ms": 7, "waited_ms": 3})]
