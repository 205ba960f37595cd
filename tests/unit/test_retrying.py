"""The retry policy: what is retried, and when."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.domain.invocation import Attempt, Outcome, Sent
from relay.registration.retrying import RETRY_AFTER_CAP_S, RetryPolicy, read_retry_after, retry_delay_ms

POLICY = RetryPolicy(attempts=3, initial_s=1, factor=2, maximum_s=10)


def tried(outcome=Outcome.CONNECT_FAILED, sent=Sent.NO, number=1, status=0, *, repeatable=False, retry_after_s=None):
    return Attempt(number, 0, 0, status, outcome, sent), {"repeatable": repeatable, "retry_after_s": retry_after_s}


def decide(policy, last, jitter):
    attempt, others = last
    return retry_delay_ms(policy, attempt, jitter, **others)


def test_without_a_policy_there_is_one_attempt():
    assert decide(None, tried(), 1.0) is None


def test_the_last_attempt_is_the_last():
    assert decide(POLICY, tried(number=3), 1.0) is None


def test_what_certainly_never_left_is_retried_for_any_method():
    assert decide(POLICY, tried(sent=Sent.NO), 1.0) == 1000


@pytest.mark.parametrize(("repeatable", "expected"), [(True, 1000), (False, None)])
def test_what_may_have_been_sent_is_retried_only_where_that_does_no_harm(repeatable, expected):
    assert decide(POLICY, tried(Outcome.ANSWER_TIMEOUT, Sent.MAYBE, repeatable=repeatable), 1.0) == expected


@pytest.mark.parametrize("status", [429, 503])
def test_not_now_is_retried_for_any_method(status):
    assert decide(POLICY, tried(Outcome.ANSWERED, Sent.ANSWERED, status=status), 1.0) == 1000


@pytest.mark.parametrize("status", [408, 500, 502, 504])
def test_other_failures_are_retried_for_repeatable_calls_only(status):
    answer = (Outcome.ANSWERED, Sent.ANSWERED)
    assert decide(POLICY, tried(*answer, status=status), 1.0) is None
    assert decide(POLICY, tried(*answer, status=status, repeatable=True), 1.0) == 1000


def test_registered_statuses_replace_the_defaults_for_any_method():
    policy = RetryPolicy(attempts=3, statuses=(500,))
    assert decide(policy, tried(Outcome.ANSWERED, Sent.ANSWERED, status=500), 0.5) is not None
    assert decide(policy, tried(Outcome.ANSWERED, Sent.ANSWERED, status=503, repeatable=True), 0.5) is None


@pytest.mark.parametrize("outcome", [Outcome.PREPARE_FAILED, Outcome.ANSWER_REJECTED, Outcome.RESPONSE_REJECTED])
def test_what_another_attempt_cannot_mend_is_not_retried(outcome):
    assert decide(POLICY, tried(outcome, Sent.NO, repeatable=True), 1.0) is None


def test_success_is_not_retried():
    assert decide(POLICY, tried(Outcome.ANSWERED, Sent.ANSWERED, status=200, repeatable=True), 1.0) is None


def test_pauses_grow_by_the_factor_up_to_the_maximum():
    policy = RetryPolicy(attempts=99, initial_s=1, factor=3, maximum_s=10)
    assert [policy.pause_s(attempt, 1.0) for attempt in (1, 2, 3, 50)] == [1, 3, 9, 10]


@given(st.integers(1, 200), st.floats(0, 1))
def test_a_pause_has_full_jitter_and_no_more_than_the_maximum(attempt, jitter):
    assert 0 <= POLICY.pause_s(attempt, jitter) <= POLICY.maximum_s


def test_retry_after_is_a_lower_bound_with_a_cap():
    answer = (Outcome.ANSWERED, Sent.ANSWERED)
    assert decide(POLICY, tried(*answer, status=503, retry_after_s=30), 0.0) == 30_000
    assert decide(POLICY, tried(*answer, status=503, retry_after_s=0.1), 1.0) == 1_000
    assert decide(POLICY, tried(*answer, status=503, retry_after_s=1e9), 0.0) == int(RETRY_AFTER_CAP_S * 1000)


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 50.0),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 0.0),
        ("-1", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("Thu, 99 Jan 1970 00:01:40 GMT", None),
        ("Thu, 01 Jan 1970 00:01:40 +99999999999999999999", None),
        ("999999999", 999_999_999.0),
        ("1000000000", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(field, seconds):
    assert read_retry_after(field, 50.0) == seconds


@pytest.mark.parametrize("zone", ["UTC0", "JST-9", "EST5"])
@pytest.mark.parametrize(
    "date", ["Thu, 01 Jan 1970 12:00:00 GMT", "Thursday, 01-Jan-70 12:00:00 GMT", "Thu Jan  1 12:00:00 1970"]
)
def test_each_form_of_a_date_is_read_as_utc_wherever_the_worker_runs(monkeypatch, zone, date):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert read_retry_after(date, 50.0) == 12 * 3600 - 50
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.text(max_size=60))
def test_no_retry_after_breaks_the_reader(text):
    assert read_retry_after(text, 0.0) is None or read_retry_after(text, 0.0) >= 0


@pytest.mark.parametrize("statuses", [None, (500, 503)])
def test_a_policy_is_read_as_it_was_written(statuses):
    policy = RetryPolicy(attempts=7, initial_s=0.5, factor=3, maximum_s=60, statuses=statuses)
    assert RetryPolicy.from_value(policy.to_value()) == policy
    assert ("statuses" in policy.to_value()) == (statuses is not None)


def test_what_a_document_leaves_out_is_as_documented():
    assert RetryPolicy.from_value({"attempts": 2}).to_value() == {
        "attempts": 2,
        "initial": 1,
        "factor": 2,
        "maximum": 300,
    }


@pytest.mark.parametrize(("asked_s", "waited_ms"), [(3_599.5, 3_599_500), (3_600, 3_600_000), (3_601, 3_600_000)])
def test_an_endpoint_may_ask_for_an_hour_and_no_more(asked_s, waited_ms):
    answer = tried(Outcome.ANSWERED, Sent.ANSWERED, status=503, retry_after_s=asked_s)
    assert decide(POLICY, answer, 0.0) == waited_ms
