"""What is read of the store's hashes: each field is its own member, and what cannot be read is named."""

from __future__ import annotations

import logging

import pytest
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import ResponseError

from relay.domain.invocation import Attempt, Invocation, Outcome, Sent, State, StepOf
from relay.errors import Unavailable
from relay.store.health.server import failed_writes
from relay.store.ledger.callbacks import End, _end_from
from relay.store.ledger.limits import Limits
from relay.store.ledger.records import attempt_text, invocation_from
from relay.store.ledger.transitions import CallRecord, call_record_from, found_from
from relay.store.partitions.reachable import Answers, Silence, partitions_in_words
from relay.store.partitions.spreading import Spread, pieces, spread
from relay.store.replays.jobs import ReplayJob, ReplayState, Skip, _job_from
from relay.store.server import fields as fields_module
from relay.store.server.clock import ClockJump, within_ms
from relay.store.server.fields import MOST, WHOLE, StoredFields, one_value
from relay.store.server.pipelining import Unanswered
from tests.unit.test_settings import settings

REF = "01890000-0000-7000-8000-000000000000"
ATTEMPTS = (
    Attempt(1, 1_000, 20, 0, Outcome.CONNECT_FAILED, Sent.NO),
    Attempt(2, 2_000, -30, 503, Outcome.ANSWERED, Sent.ANSWERED),
)
FIELDS = {
    "plugin": "acme", "webhook": "ping", "revision": "3", "state": "retrying", "lane": "bulk", "createdAt": "100",
    "timeout": "200", "repeatable": "1", "attempts": ",".join(map(attempt_text, ATTEMPTS)), "finishedAt": "300",
    "notBefore": "400", "losses": "5", "status": "503", "error": "1", "outcome": "answered", "sent": "maybe",
    "requestBytes": "7", "responseBytes": "8", "masked": "9", "caller": "k1", "traceparent": "00-a", "replayOf": "r0",
    "replayedBy": "r2", "replay": "job", "forgottenAt": "600", "expiresAt": "700", "parent": "p", "parentStep": "2",
    "parentItem": "4", "chain": "1", "pins": "{}", "lateAnswer": "token answered 200", "reason": "why",
}  # fmt: skip
RECORD = Invocation(
    reference_id=REF, plugin="acme", webhook_id="ping", revision=3, state=State.RETRYING, lane="bulk", created_at_ms=100,
    timeout_ms=200, repeatable=True, attempts=ATTEMPTS, finished_at_ms=300, not_before_ms=400, losses=5, status=503,
    error=True, outcome=Outcome.ANSWERED, sent=Sent.MAYBE, request_bytes=7, response_bytes=8, masked=9, caller="k1",
    traceparent="00-a", replay_of="r0", replayed_by="r2", replay="job", forgotten_at_ms=600, expires_at_ms=700,
    step_of=StepOf("p", 2, 4), is_chain=True, pins="{}", steps=("s1", "s2"),
    reason="why", late_answer="200 answered",
)  # fmt: skip


def encoded(fields):
    return {name.encode(): text.encode() for name, text in fields.items()}


def test_each_field_of_a_record_is_a_member_of_its_own():
    assert invocation_from(REF, "key", encoded(FIELDS), [b"s1", b"s2"]) == RECORD


@pytest.mark.parametrize("state", State)
def test_only_what_waits_to_be_sent_has_a_time_before_which_it_is_not(state):
    found = invocation_from(REF, "key", encoded({**FIELDS, "state": state}), ())
    assert found.not_before_ms == (400 if state in {State.QUEUED, State.RETRYING} else None)


@pytest.mark.parametrize(("field", "text", "member"), [
    ("revision", "-1", "revision"), ("state", "later", "state"), ("lane", "slow", "lane"), ("repeatable", "yes", "repeatable"),
    ("attempts", "[1,2]", "attempts"), ("status", "x", "status"), ("error", "2", "error"), ("outcome", "x", "outcome"),
    ("sent", "x", "sent"), ("masked", "1.5", "masked"), ("expiresAt", str(MOST + 1), "expires_at_ms"),
    ("parentStep", "", "step_of"), ("parentItem", "x", "step_of"),
])  # fmt: skip
def test_a_field_that_cannot_be_read_is_named_and_counts_as_missing(field, text, member):
    found = invocation_from(REF, "key", encoded({**FIELDS, field: text}), ())
    assert found.damaged == (field,)
    assert not getattr(found, member)
    assert not found.final


def test_each_field_of_a_replay_job_is_a_member_of_its_own():
    fields = {
        "plugin": "acme", "state": "paused", "matched": "1", "started": "2", "delivered": "3", "failed": "4",
        "skipped": "5", "rate": "2.5", "uncertain": "1", "max": "6", "createdAt": "700", "finishedAt": "800",
        "caller": "k1", **{f"skipped:{why}": str(number) for number, why in enumerate(Skip, 10)},
    }  # fmt: skip
    job = _job_from(REF, "key", encoded(fields))
    assert job == ReplayJob(
        REF, "acme", ReplayState.PAUSED, 1, 2, 3, 4, 5, {why: number for number, why in enumerate(Skip, 10)}, 2.5, True, 6,
        700, 800, "k1", by_hand=True,
    )  # fmt: skip
    for rate in (0.001, 1.0, float(MOST)):
        assert _job_from(REF, "key", encoded({**fields, "rate": str(rate)})).rate_per_second == rate
    for rate in ("0", "-1", "nan", "inf", str(MOST * 10)):
        assert _job_from(REF, "key", encoded({**fields, "rate": rate})).damaged == ("rate",)


@pytest.mark.parametrize(("state", "status", "error", "expected"), [
    ("delivered", "200", "0", (200, False)), ("delivered", "503", "1", (503, True)), ("cancelled", "", "", (0, True)),
    ("delivered", "", "", (0, False)), ("unreachable", "0", "1", (0, True)),
])  # fmt: skip
def test_an_end_says_of_what_it_is_and_how_it_was(state, status, error, expected):
    row = [REF, "acme", "told", state, status, error, "700", "ping", "3"]
    assert _end_from([each.encode() for each in row]) == End(REF, "acme", "told", *expected, 700, "ping", 3)
    assert _end_from([each.encode() for each in [*row[:6], "x", *row[7:]]]) is None


def test_each_limit_comes_from_its_own_setting():
    given = settings(
        MAX_PENDING="11", MAX_PENDING_PER_PLUGIN="12", MAX_PENDING_BYTES="13MiB", MAX_PENDING_BYTES_PER_PLUGIN="14MiB",
        MAX_KEPT_BYTES_PER_PLUGIN="15MiB", RETENTION="16d", FAILED_RETENTION="17d", REJECTED_RETENTION="18d",
        MAX_AGE="19.5",
    )  # fmt: skip
    day_ms = 86_400_000
    limits = Limits(
        max_pending=11, max_pending_per_plugin=12, max_pending_bytes=13 << 20, max_pending_bytes_per_plugin=14 << 20,
        max_kept_bytes_per_plugin=15 << 20, retention_ms=16 * day_ms, failed_retention_ms=17 * day_ms,
        rejected_retention_ms=18 * day_ms, max_age_ms=19_500, contents_retention_ms=0,
    )  # fmt: skip
    assert Limits.from_settings(given) == limits
    assert limits.retention_args == (16 * day_ms, 17 * day_ms, 18 * day_ms, 0)
    assert Limits.from_settings(settings(PAYLOAD_RETENTION="2d")).contents_retention_ms == 2 * day_ms


@pytest.mark.parametrize(("roots", "partitions", "shared", "says"), [
    (["relay:{3}:"], (3,), False, "Partition 3 does not answer: calls of its plugins wait."),
    (["relay:{11}:", "relay:{2}:"], (2, 11), False, "Partitions 2 and 11 do not answer: calls of their plugins wait."),
    (["relay:{shared}:"], (), True, "The shared keys do not answer: API keys that a process does not know yet get 503."),
    (["relay:{shared}:", "relay:{0}:"], (0,), True, "Partition 0 does not answer: calls of its plugins wait. The shared keys"),
    ([], (), False, ""),
])  # fmt: skip
def test_what_is_silent_is_said_in_order_and_with_what_that_means(roots, partitions, shared, says):
    silence = Silence.among(roots)
    assert (silence.partitions, silence.shared, bool(silence)) == (partitions, shared, bool(roots))
    assert silence.sentence.startswith(says)
    assert Answers({}, dict.fromkeys(roots, Unavailable())).complete is not bool(roots)


def test_partitions_are_named_in_their_order():
    assert partitions_in_words([11, 3, 7]) == "Partitions 3, 7 and 11"
    assert partitions_in_words([5]) == "Partition 5"


def test_items_are_spread_with_their_places_and_in_pieces_of_their_size():
    assert spread("abcabd", str.upper) == [
        Spread("A", ["a", "a"], [0, 3]), Spread("B", ["b", "b"], [1, 4]), Spread("C", ["c"], [2]), Spread("D", ["d"], [5]),
    ]  # fmt: skip
    assert [list(pieces(range(count), 2)) for count in (0, 1, 2, 3, 4)] == [
        [], [[0]], [[0, 1]], [[0, 1], [2]], [[0, 1], [2, 3]],
    ]  # fmt: skip


def test_damage_is_logged_once_for_each_field_of_each_key(events_of):
    told = events_of(fields_module)
    fields_module.tell_damage.cache_clear()
    for _ in range(2):
        for key in ("one", "other"):
            stored = StoredFields(key, {b"a": b"x", b"b": b"-1", b"c": b"7"})
            assert [stored.number(name) for name in ("a", "b", "c", "none")] == [None, None, 7, None]
        StoredFields("whole", ResponseError("WRONGTYPE")).number("a")
    damaged = [("one", "a"), ("one", "b"), ("other", "a"), ("other", "b"), ("whole", WHOLE)]
    assert told == [("value_damaged", {"level": logging.ERROR, "key": key, "field": name}) for key, name in damaged]


def call_text(**changes):
    """Return a call as ``lua/lib/rows.lua`` writes it."""
    values = {
        "state": "queued", "plugin": "acme", "webhook": "ping", "revision": "3", "current": "4", "traceparent": "00-a",
        "timeout": "200", "lane": "bulk", "tries": "1", "losses": "2", "full": "1", "chain": "", "parent": "", "step": "",
        "pins": "",
    }  # fmt: skip
    return " ".join((values | changes).values()).encode()


def test_each_word_of_a_call_is_a_member_of_its_own():
    called = ("acme", "ping", 3, 4, b"sealed", "00-a", 200, "bulk", 1, 2)
    assert call_record_from(REF, call_text(), b"sealed") == CallRecord(
        REF, State.QUEUED, *called, True, None, 0, None, None
    )
    for made in (0, 7):
        of_chain = call_text(chain=str(made), parent="p", step="0", pins='{"a": 1}', full="")
        expected = CallRecord(REF, State.QUEUED, *called, False, '{"a": 1}', made, "p", 0)
        assert call_record_from(REF, of_chain, b"sealed") == expected
    least = call_record_from(REF, call_text(current="", traceparent="", pins="x"), b"")
    called = ("acme", "ping", 3, None, b"", None, 200, "bulk", 1, 2)
    assert least == CallRecord(REF, State.QUEUED, *called, True, None, 0, None, None)


def test_a_call_that_cannot_be_read_is_named_in_the_log_and_one_that_has_ended_is_left_out(events_of):
    told = events_of(fields_module)
    fields_module.tell_damage.cache_clear()
    texts = {
        "good": call_text(), "short": b"queued acme", "gone": b"", "no state": call_text(state="later"),
        "no number": call_text(tries="x"), "ended": call_text(state="delivered"), "last": call_text(state="sending"),
    }  # fmt: skip
    rows = [item for text in texts.values() for item in (text, b"sealed")]
    assert [each.reference_id for each in found_from([*texts, "not read"], rows)] == ["good", "last"]
    assert _end_from([b"an end", *[b""] * 8]) is None
    assert told == [
        ("value_damaged", {"level": logging.ERROR, "key": key, "field": WHOLE})
        for key in ("short", "no state", "no number", "an end")
    ]


def test_fields_are_read_as_what_they_are_or_named_in_the_order_of_reading():
    stored = StoredFields(
        "key", {b"a": b"7", b"b": b"x", b"c": b"", b"d": b"[1]", b"e": b"-1", b"f": str(MOST).encode(), b"\xff": b"1"}
    )
    assert (stored.number("a"), stored.number("b"), stored.number("c"), stored.number("none")) == (7, None, None, None)
    assert (stored.text("b"), stored.json("d", tuple), stored.json("b", tuple)) == ("x", (1,), None)
    assert stored.needed("c", str) is None
    assert stored.needed("e", int) == -1
    assert stored.number("e") is None
    assert stored.damaged == ["b", "b", "c", "e"]
    assert stored.numbers() == {"a": 7, "f": MOST}
    whole = StoredFields("key", ResponseError("WRONGTYPE"))
    assert (whole.number("a"), whole.needed("a", int), whole.damaged) == (None, None, [WHOLE])
    assert (one_value("k", b"7", int), one_value("k", None, int), one_value("k", b"x", int)) == (7, None, None)


@pytest.mark.parametrize(("time_ms", "ahead_ms", "expected"), [
    (900, 0, 900), (1_000, 0, 1_000), (2_000, 0, 2_000), (2_001, 0, 1_000), (7_000, 5_000, 7_000), (7_001, 5_000, 1_000),
])  # fmt: skip
def test_a_time_further_ahead_than_was_meant_is_now(time_ms, ahead_ms, expected):
    assert within_ms(time_ms, 1_000, ahead_ms) == expected


def test_a_jump_is_said_by_the_utc_clock_and_read_as_it_was_written():
    jump = ClockJump(1_795_000_000_000, -61_050)
    assert jump.sentence == "the server's clock jumped by -61.0 s at 11:06:40 UTC"
    assert ClockJump.from_text(jump.to_text()) == jump


def test_each_file_that_could_not_be_written_is_named():
    assert list(failed_writes({"rdb_last_bgsave_status": "err", "aof_last_bgrewrite_status": "err"})) == [
        "snapshot",
        "rewrite of the append-only file",
    ]


class Connection:
    """Stands in for redis-py's connection: answers in turn, and keeps what was sent on it."""

    def __init__(self, *answers):
        self.answers, self.sent, self.is_closed, self.connection = list(answers), [], False, self

    def send_command(self, *command, check_health):
        self.sent.append((command, check_health))

    def read_response(self):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def disconnect(self):
        self.is_closed = True


def test_commands_are_sent_before_earlier_ones_are_answered_and_a_refusal_loses_no_other():
    connection = Connection("one", ResponseError("no"), "three", "four")
    unanswered = Unanswered(lambda: connection)
    for number in range(3):
        unanswered.send("GET", number)
    assert [check_health for _, check_health in connection.sent] == [True, False, False]
    assert unanswered.receive() == "one"
    with pytest.raises(ResponseError):
        unanswered.receive()
    assert unanswered.receive() == "three"
    unanswered.send("GET", 4)
    assert connection.sent[-1] == (("GET", 4), True)
    assert (unanswered.receive(), unanswered.end(), connection.is_closed) == ("four", connection, False)


@pytest.mark.parametrize("how", ["unread", "lost", "never"])
def test_a_connection_with_lost_or_unread_answers_is_not_used_again(how):
    connection = Connection("one", ConnectionLost())
    unanswered = Unanswered(None if how == "never" else lambda: connection)
    unanswered.send("GET", 1)
    unanswered.send("GET", 2)
    if how == "lost":
        assert unanswered.receive() == "one"
    if how != "unread":
        for _ in range(2):
            with pytest.raises(ConnectionLost):
                unanswered.receive()
        unanswered.send("GET", 3)
    assert unanswered.end() is None
    assert connection.is_closed is (how != "never")
    assert len(connection.sent) == (0 if how == "never" else 2)
