"""The pure parts of the bench: which rounds count, medians, verdicts, and its small HTTP implementation."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bench.caller import Tally
from bench.contenders.contender import post_request
from bench.endpoint import Ledger
from bench.plan import Sizes
from bench.receipts import Receipts, digest_of
from bench.rounds import (
    BULLMQ,
    CELERY,
    RELAY,
    Round,
    Target,
    await_faults,
    best_round,
    drain_faults,
    percentile,
    standings,
    verdicts,
)
from bench.wire import Message, UnreadableMessageError, header, take_message

IDS = [b"a", b"b", b"c"]


def received(*ids: bytes | None) -> Receipts:
    ledger = Ledger()
    for call_id in ids:
        ledger.note(call_id)
    return Receipts(**json.loads(ledger.summary()))


def drained(receipts: Receipts, *, recorded: int = 3, bad_results: int = 0) -> tuple[str, ...]:
    return drain_faults(receipts, calls=3, digest=digest_of(IDS), recorded=recorded, bad_results=bad_results)


def played(contender: str = RELAY, rate: float = 100.0, **changes) -> Round:
    whole = Round(contender, "drain", "always", "1 worker", 3, rate, None, None, ())
    return replace(whole, **changes)


def test_a_drain_that_delivers_every_call_once_counts_in_any_order():
    assert drained(received(b"c", b"a", b"b")) == ()


def test_a_lost_call_makes_a_drain_not_count():
    assert drained(received(b"a", b"b")) == ("1 calls lost",)


def test_a_doubled_call_makes_a_drain_not_count():
    assert drained(received(b"a", b"b", b"c", b"c")) == ("1 calls doubled",)


def test_a_lost_call_is_not_made_up_for_by_a_strange_one():
    assert drained(received(b"a", b"b", b"x")) == ("the ids received are not the ids called",)


def test_a_receipt_without_an_id_makes_a_drain_not_count():
    assert "1 receipts without an id" in drained(received(b"a", b"b", b"c", None))


def test_a_result_that_is_missing_or_wrong_makes_a_drain_not_count():
    assert drained(received(*IDS), recorded=2) == ("2 results recorded of 3",)
    assert drained(received(*IDS), bad_results=1) == ("1 results are not the endpoint's answer",)


def test_a_reset_forgets_what_was_received_before():
    ledger = Ledger()
    ledger.note(b"a")
    ledger.reset()
    assert json.loads(ledger.summary())["receipts"] == 0
    assert json.loads(ledger.summary())["first_s"] is None


def answer(call_id: str, status: int = 200, *, error: bool = False, http: bytes = b"200 OK") -> Message:
    body = {"referenceId": call_id, "status": status, "data": {"ok": True}, "error": error}
    return Message(b"HTTP/1.1 " + http + b"\r\ncontent-length: 1", json.dumps(body).encode())


def test_awaited_calls_count_when_every_answer_has_its_one_receipt():
    tally = Tally(begin_s=10.0, end_s=20.0)
    for call_id in ("a", "b", "c"):
        tally.note(answer(call_id), sent_s=11.0, now_s=11.5)
    summary = tally.summary()
    assert await_faults(received(*IDS), summary) == ()
    assert (summary["answers"], summary["rate_per_s"], summary["p50_ms"]) == (3, 0.3, 500.0)


def test_answers_outside_the_window_are_checked_but_not_timed():
    tally = Tally(begin_s=10.0, end_s=20.0)
    tally.note(answer("a"), sent_s=9.0, now_s=9.5)
    tally.note(answer("b"), sent_s=19.9, now_s=20.1)
    assert tally.summary()["rate_per_s"] == 0
    assert tally.summary()["distinct"] == 2


@pytest.mark.parametrize(
    "wrong",
    [answer("b", status=500, error=True), answer("b", http=b"503 Service Unavailable"), answer("a")],
    ids=["the endpoint's failure", "the contender's failure", "a reference id seen before"],
)
def test_a_wrong_answer_makes_awaited_calls_not_count(wrong):
    tally = Tally(begin_s=10.0, end_s=20.0)
    tally.note(answer("a"), sent_s=11.0, now_s=11.5)
    tally.note(wrong, sent_s=11.0, now_s=11.5)
    assert await_faults(received(b"a"), tally.summary()) != ()


def test_a_call_that_the_endpoint_received_twice_makes_awaited_calls_not_count():
    tally = Tally(begin_s=10.0, end_s=20.0)
    tally.note(answer("a"), sent_s=11.0, now_s=11.5)
    assert await_faults(received(b"a", b"a"), tally.summary()) == ("1 calls doubled",)


def test_no_answers_at_all_do_not_count():
    assert "no answers" in await_faults(received(), Tally(begin_s=0.0, end_s=1.0).summary())


def test_percentiles_are_nearest_rank():
    assert percentile([], 50) is None
    assert percentile([7.0], 99) == 7.0
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0
    assert percentile([float(value) for value in range(1, 101)], 99) == 99.0


def test_the_median_leaves_out_rounds_that_do_not_count():
    rounds = [played(rate=100.0), played(rate=900.0, faults=("1 calls lost",)), played(rate=300.0), played(rate=200.0)]
    [standing] = standings(rounds)
    assert (standing.rate_per_s, standing.slowest_per_s, standing.fastest_per_s) == (200.0, 100.0, 300.0)
    assert (standing.counted, standing.played) == (3, 4)


def test_a_contender_without_a_round_that_counts_has_no_standing():
    assert standings([played(faults=("1 calls doubled",))]) == []


def test_standings_keep_workloads_and_redis_settings_apart():
    rounds = [played(rate=100.0), played(rate=300.0, fsync="everysec"), played(rate=500.0, workload="await")]
    assert [standing.rate_per_s for standing in standings(rounds)] == [100.0, 300.0, 500.0]


def test_targets_are_met_missed_or_unknown():
    found = standings([played(RELAY, 1_000.0), played(CELERY, 100.0), played(BULLMQ, 1_001.0)])
    targets = [Target("drain", CELERY, 10.0), Target("drain", BULLMQ, 1.0), Target("await", BULLMQ, 1.0)]
    assert [verdict.met for verdict in verdicts(found, "always", targets)] == [True, False, None]
    assert [verdict.met for verdict in verdicts(found, "everysec", targets)] == [None, None, None]


def test_the_best_variant_is_that_of_the_fastest_round_that_counts():
    rounds = [
        played(rate=100.0, variant="1 worker"),
        played(rate=200.0, variant="2 workers"),
        played(rate=900.0, variant="3 workers", faults=("1 calls lost",)),
    ]
    best = best_round(rounds)
    assert best is not None
    assert best.variant == "2 workers"
    assert best_round([]) is None


def test_a_slow_contender_gets_only_the_calls_that_it_drains_in_time():
    sizes = Sizes({RELAY: 50_000, CELERY: 50_000}, warmup_s=1, window_s=1)
    assert sizes.capped(CELERY, 200.0, longest_s=90).calls == {RELAY: 50_000, CELERY: 18_000}
    assert sizes.capped(RELAY, 9_000.0, longest_s=90).calls == sizes.calls
    assert sizes.capped(CELERY, 0.5, longest_s=90).calls[CELERY] == 1_000


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
