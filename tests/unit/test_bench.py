"""What a reading of the bench stands for: which ones count, what is sustained, which targets are met; and its HTTP."""

from __future__ import annotations

import pytest

from bench.calls import post_request
from bench.comparison import compared
from bench.readings import BULLMQ_DUTIES, CELERY, RELAY, Attempt, Reading, keeps_up, medians, search
from bench.receipts import Lags
from bench.wire import STAMP, UnreadableMessageError, header, stamp, stamped_s, take_message


def test_the_median_leaves_out_readings_that_do_not_count():
    readings = [Reading(RELAY, "bulk", {"accepted_per_s": rate}) for rate in (100.0, 300.0, 200.0)]
    readings.append(Reading(RELAY, "bulk", {"accepted_per_s": 900.0}, ("1 calls lost",)))
    assert medians(readings) == {(RELAY, "bulk"): {"accepted_per_s": 200.0}}


def test_a_target_is_met_missed_or_unknown_and_a_time_should_be_shorter():
    found = medians(
        [
            Reading(RELAY, "bulk", {"accepted_per_s": 300.0, "drained_per_s": 100.0}),
            Reading(BULLMQ_DUTIES, "bulk", {"accepted_per_s": 100.0, "drained_per_s": 100.0}),
            Reading(RELAY, "awaited 1", {"rate_per_s": 100.0, "p50_ms": 10.0}),
            Reading(CELERY, "awaited 1", {"rate_per_s": 50.0, "p50_ms": 200.0}),
            Reading(RELAY, "awaited 64", {"rate_per_s": 500.0}),
            Reading(RELAY, "awaited 64 wrk", {"rate_per_s": 700.0}),
        ]
    )
    rows = {row.title: [beside.met for beside in row.beside] for row in compared(found)}
    assert rows["accepted in bulk"] == [True, None]
    assert rows["drained while accepted in bulk"] == [False, None]
    assert rows["awaited calls, callers: 1"] == [None, False]
    assert rows["a lone awaited call, median"] == [None, True]
    assert rows["awaited, 64 callers beside one"] == [True]  # wrk's figure counts where there is one


def lags(early_ms: float, late_ms: float) -> Lags:
    return Lags(100, early_ms, late_ms, max(early_ms, late_ms), early_ms, late_ms)


def test_a_rate_is_kept_unless_a_call_waits_for_a_second_or_soon_will():
    assert keeps_up(lags(20.0, 30.0), sent_s=4.0)
    assert not keeps_up(lags(20.0, 300.0), sent_s=4.0)
    assert not keeps_up(lags(20.0, 1_000.0), sent_s=4.0)
    assert not keeps_up(Lags(0, None, None, 0.0, 0.0, 0.0), sent_s=4.0)


@pytest.mark.parametrize("guess", [None, 100.0, 300.0, 900.0])
def test_the_search_finds_what_is_sustained(guess):
    limit, flat_out = 300.0, 1_000.0

    def attempt(rate):
        rate = rate or flat_out
        return Attempt(rate, min(rate, limit * 0.8), rate <= limit)

    found = search(attempt, 8, guess)
    assert limit * 0.9 <= found.sustained_per_s <= limit


def test_callers_who_cannot_overload_it_are_not_held_back():
    found = search(lambda rate: Attempt(rate or 120.0, 120.0, kept=True), 3)
    assert (found.sustained_per_s, found.held_back) == (120.0, False)


def test_a_message_is_taken_only_when_all_of_it_has_come():
    whole = post_request("/hook", b'{"a":1}', {"Webhook-Id": "x-1"})
    buffer = bytearray(whole[:-1])
    assert take_message(buffer) is None
    buffer += whole[-1:] + b"POST"
    message = take_message(buffer)
    assert message is not None
    assert (message.start, message.body) == (b"POST /hook HTTP/1.1", b'{"a":1}')
    assert message.field(b"webhook-id") == b"x-1"
    assert buffer == b"POST"


def test_a_header_is_found_whatever_its_case_and_not_inside_another_name():
    head = b"GET / HTTP/1.1\r\nX-Webhook-Id: no\r\nWebhook-ID:yes"
    assert header(head, b"webhook-id") == b"yes"
    assert header(head, b"host") is None


def test_an_answer_without_a_length_is_not_readable():
    with pytest.raises(UnreadableMessageError):
        take_message(bytearray(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"))


@pytest.mark.parametrize("form", [b'{"a":1,"sentAt":"%b"}', b'{"sentAt": "%b", "a": 1}'])
def test_the_time_at_which_a_call_was_sent_is_read_from_its_body(form):
    assert stamped_s(form % b"000001500000000") == 1_500.0
    assert stamped_s(form % stamp()) > 0
    assert stamped_s(form % STAMP) is None
    assert stamped_s(b'{"a":1}') is None
