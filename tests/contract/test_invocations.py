"""The transitions, one by one, on fakeredis and on a real server alike."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

import pytest

from relay.domain.invocation import Attempt, Outcome, Sent, State
from relay.domain.reference_id import new_reference_id, reference_id_about
from relay.errors import Conflict, Expired, NotFound
from relay.store.keys import keyspace
from relay.store.ledger.acceptance import AcceptVerdict, Idempotency
from relay.store.ledger.callbacks import Callbacks, End
from relay.store.ledger.invocations import REFUSALS_A_MINUTE
from relay.store.ledger.listing import Filter, Page
from relay.store.ledger.notices import read_notices
from relay.store.ledger.transitions import CallRecord
from tests.contract.clocked import START_MS
from tests.contract.ledger import DAY_MS, LIMITS, Ledger
from tests.store_keys import KEYS
from tests.timing import BUSY_S


def test_an_accepted_trigger_is_queued_with_one_alarm_and_counted(ledger):
    ref = ledger.accepted()

    record = ledger.store.get("acme", ref)
    assert (record.state, record.lane, record.caller) == (State.QUEUED, "bulk", "k1")
    assert abs(record.created_at_ms - time.time() * 1000) < 5_000
    assert ledger.alarms(ref) == {"queued"}
    assert ledger.client.hgetall(KEYS.pending()) == {b"count": b"1", b"bytes": b"100"}


def as_stored(fields):
    """Return fields as a record has them."""
    return {name.encode(): str(value).encode() for name, value in fields.items()}


@pytest.mark.parametrize("delay_ms", [0, 5_000])
@pytest.mark.parametrize("pins", [None, '{"hook":3}'])
@pytest.mark.parametrize("is_bare", [False, True])
def test_a_trigger_is_recorded_as_it_was_given(clock, ledger, pins, delay_ms, is_bare):
    more = {"caller": "k9", "traceparent": "00-1-2-03", "callback": "told", "subject": "hash"}
    if is_bare:
        more = dict.fromkeys(more, "")
    ledger.client.hset(KEYS.webhooks("acme"), "hook", 3)
    given = {"revision": 3, "lane": "interactive", "timeout_ms": 7_000, "request_bytes": 12, "payload": b"\x01text"}
    waiter = None if is_bare else "api1"
    new = ledger.new(
        **given, **more, waiter=waiter, pins=pins, max_age_ms=90_000, delay_ms=delay_ms, repeatable=is_bare
    )
    ledger.accept([new])
    first_ms = START_MS + delay_ms
    fields = {"plugin": "acme", "webhook": "hook", "revision": 3, "state": "queued", "lane": "interactive"}
    fields |= {"createdAt": START_MS, "readyAt": START_MS, "timeout": 7_000, "repeatable": int(is_bare)}
    fields |= {"requestBytes": 12, "endBy": first_ms + 90_000, **more, "waiters": waiter or ""}
    if delay_ms:
        fields |= {"notBefore": first_ms, "pause": delay_ms}
    if pins:
        fields |= {"chain": 1, "pins": pins, "deadline": first_ms + 7_000, "step": -1, "open": 0}
        fields["root"] = new.reference_id
    expected = {name: value for name, value in fields.items() if value != ""}
    assert ledger.client.hgetall(KEYS.record(new.reference_id)) == as_stored(expected)
    assert ledger.store.payload_of(new.reference_id) == b"\x01text"
    ends_ms = first_ms + (7_000 if pins else 90_000)
    assert ledger.client.zscore(KEYS.open_calls("acme", "hook"), new.reference_id) == ends_ms


def test_a_group_is_accepted_in_order(ledger):
    news = [ledger.new() for _ in range(40)]
    assert [answer.reference_id for answer in ledger.accept(news)] == [new.reference_id for new in news]


def test_accepting_a_known_reference_id_changes_nothing(ledger):
    new = ledger.new()
    first = ledger.accept([new])
    before = ledger.everything()
    assert ledger.accept([new]) == first
    assert ledger.everything() == before


def test_a_changed_or_removed_webhook_is_stale(ledger):
    (changed,) = ledger.accept([ledger.new(revision=2)])
    ledger.client.hdel(KEYS.webhooks("acme"), "hook")
    (removed,) = ledger.accept([ledger.new()])
    assert changed.verdict is removed.verdict is AcceptVerdict.STALE


def test_the_same_idempotency_key_and_trigger_give_the_same_invocation(ledger):
    key = Idempotency(("mac",), ("print",))
    first, second = ledger.accept([ledger.new(idempotency=key), ledger.new(idempotency=key)])
    assert (first.verdict, second.verdict) == (AcceptVerdict.ACCEPTED, AcceptVerdict.KNOWN)
    assert second.reference_id == first.reference_id


def test_repeats_of_two_revisions_are_two_entries_of_the_audit_trail(ledger):
    keys = [Idempotency((mac,), ("print",)) for mac in ("one", "other")]
    for key in keys:
        ledger.accepted(idempotency=key)
    ledger.client.delete("relay:{0}:audit:entries")
    ledger.accept([ledger.new(idempotency=key, revision=number) for number, key in enumerate(keys, 1)])
    entries = ledger.client.lrange("relay:{0}:audit:entries", 0, -1)
    assert [entry.split()[5] for entry in entries] == [b"1", b"2"]


def test_similar_triggers_of_a_group_are_one_entry_of_the_audit_trail_with_the_size_of_each(ledger):
    news = [ledger.new(caller=f"k{number % 2}", request_bytes=10 + number) for number in range(5)]
    ledger.accept(news)
    entries = [entry.decode().split()[1:] for entry in ledger.client.lrange("relay:{0}:audit:entries", 0, -1)]
    assert entries == [
        ["trigger", who, "acme", "hook", "1", "accepted", str(len(of_who)), sizes, ",".join(of_who)]
        for who, sizes, of_who in (
            ("k0", "10,12,14", [new.reference_id for new in news[::2]]),
            ("k1", "11,13", [new.reference_id for new in news[1::2]]),
        )
    ]


@pytest.mark.parametrize(
    "changes",
    [{"caller": "k2"}, {"webhook_id": "other"}, {"plugin": "rival"}, {"refusal": Outcome.REQUEST_REJECTED}],
    ids=str,
)
def test_triggers_of_a_group_of_which_one_thing_differs_are_two_entries_of_the_audit_trail(ledger, changes):
    ledger.client.hset(KEYS.webhooks("acme"), "other", 1)
    ledger.client.hset(KEYS.webhooks("rival"), "hook", 1)
    news = [ledger.new(), ledger.new(**changes)]
    ledger.accept(news)
    entries = [entry.decode().split(" ") for entry in ledger.client.lrange("relay:{0}:audit:entries", 0, -1)]
    assert [entry[-1] for entry in entries] == [new.reference_id for new in news]
    assert [entry[2:5] for entry in entries] == [[new.caller, new.plugin, new.webhook_id] for new in news]


def test_the_same_idempotency_key_with_another_trigger_is_refused(ledger):
    ledger.accepted(idempotency=Idempotency(("mac",), ("print",)))
    (answer,) = ledger.accept([ledger.new(idempotency=Idempotency(("mac",), ("other",)))])
    assert answer.verdict is AcceptVerdict.KEY_REUSED


def test_a_repeat_is_known_even_when_the_webhook_would_refuse_it_today(ledger):
    key = Idempotency(("mac",), ("print",))
    first = ledger.accepted(idempotency=key)
    refused = ledger.new(idempotency=key, refusal=Outcome.REQUEST_REJECTED, revision=2, payload=b"")
    (answer,) = ledger.accept([refused])
    assert (answer.verdict, answer.reference_id) == (AcceptVerdict.KNOWN, first)


def test_a_refused_trigger_uses_up_no_idempotency_key(ledger):
    key = Idempotency(("mac",), ("print",))
    ledger.accepted(idempotency=key, refusal=Outcome.REQUEST_REJECTED, payload=b"")
    (answer,) = ledger.accept([ledger.new(idempotency=key)])
    assert answer.verdict is AcceptVerdict.ACCEPTED


def test_an_idempotency_key_survives_a_new_vault_key(ledger):
    first = ledger.accepted(idempotency=Idempotency(("old",), ("old-print",)))
    (answer,) = ledger.accept([ledger.new(idempotency=Idempotency(("new", "old"), ("new-print", "old-print")))])
    assert (answer.verdict, answer.reference_id) == (AcceptVerdict.KNOWN, first)


def test_a_refusal_leaves_a_rejected_record_without_contents(ledger):
    ref = ledger.accepted(refusal=Outcome.WEBHOOK_NOT_REGISTERED, webhook_id="unknown", revision=0, payload=b"")
    record = ledger.store.get("acme", ref)
    assert (record.state, record.outcome) == (State.REJECTED, Outcome.WEBHOOK_NOT_REGISTERED)
    assert (record.status, record.error) == (None, None)
    assert ledger.alarms(ref) == set()
    assert ledger.store.payload_of(ref) is None
    assert record.expires_at_ms - record.finished_at_ms == LIMITS.rejected_retention_ms


@pytest.mark.parametrize(("revision", "counted"), [(0, "-"), (1, "hook")])
def test_a_refusal_is_recorded_as_it_was_given(clock, ledger, revision, counted):
    more = {"caller": "k9", "traceparent": "00-1-2-03", "callback": "told", "subject": "hash"}
    new = ledger.new(refusal=Outcome.REQUEST_REJECTED, payload=b"", revision=revision, delay_ms=5_000, **more)
    ledger.accept([new])
    fields = {"plugin": "acme", "webhook": "hook", "revision": revision, "state": "rejected", "lane": "bulk", **more}
    fields |= {"createdAt": START_MS, "readyAt": START_MS, "timeout": 20_000, "repeatable": 0, "requestBytes": 0}
    fields |= {"outcome": "request_rejected", "sent": "no", "finishedAt": START_MS}
    fields |= {"expiresAt": START_MS + LIMITS.rejected_retention_ms}
    assert ledger.client.hgetall(KEYS.record(new.reference_id)) == as_stored(fields)
    note = f"{START_MS} {counted} 0 rejected:request_rejected::=0"  # metrics do not name what nobody registered
    assert note.encode() in ledger.client.lrange("relay:{0}:p:acme:notes", 0, -1)


def test_each_trigger_is_answered_with_the_state_of_the_call_that_it_is_about(redis_client):
    ledger = Ledger(redis_client, replace(LIMITS, max_pending=2))
    keyed = Idempotency(("key",), ("print",))
    first, done = ledger.new(idempotency=keyed), ledger.new()
    refused = ledger.new(refusal=Outcome.REQUEST_REJECTED, payload=b"")
    answers = ledger.accept([first, done, refused, ledger.new(), ledger.new(revision=2)])
    ledger.store.cancel(done.reference_id)
    answers += ledger.accept([first, done, refused, ledger.new(idempotency=keyed)])
    answers += ledger.accept([ledger.new(idempotency=Idempotency(("key",), ("other",)))])
    ledger.client.delete(KEYS.record(first.reference_id))
    answers += ledger.accept([ledger.new(idempotency=keyed)])
    assert [(answer.verdict, answer.state) for answer in answers] == [
        (AcceptVerdict.ACCEPTED, State.QUEUED),
        (AcceptVerdict.ACCEPTED, State.QUEUED),
        (AcceptVerdict.ACCEPTED, State.REJECTED),
        (AcceptVerdict.OVER_CAPACITY, None),
        (AcceptVerdict.STALE, None),
        (AcceptVerdict.ACCEPTED, State.QUEUED),
        (AcceptVerdict.ACCEPTED, State.CANCELLED),
        (AcceptVerdict.ACCEPTED, State.REJECTED),
        (AcceptVerdict.KNOWN, State.QUEUED),
        (AcceptVerdict.KEY_REUSED, State.QUEUED),
        (AcceptVerdict.KNOWN, None),  # its record is gone
    ]


def test_refusals_beyond_the_minutes_limit_are_only_counted(clock, ledger):
    def refused(count):
        return ledger.accept([ledger.new(refusal=Outcome.REQUEST_REJECTED, payload=b"") for _ in range(count)])

    minute, minute_ends_ms = START_MS // 60_000, (START_MS // 60_000 + 1) * 60_000
    assert refused(1)[0].verdict is AcceptVerdict.ACCEPTED
    assert 60 < ledger.client.ttl(f"relay:{{0}}:p:acme:refusals:{minute}") <= 120
    assert {answer.verdict for answer in refused(REFUSALS_A_MINUTE - 1)} == {AcceptVerdict.ACCEPTED}
    for now_ms in (START_MS, minute_ends_ms - 1):
        clock.set_ms(now_ms)
        answers = refused(2)
        assert [(answer.verdict, answer.state) for answer in answers] == [
            (AcceptVerdict.UNRECORDED, State.REJECTED)
        ] * 2
        assert not ledger.client.exists(*(KEYS.record(answer.reference_id) for answer in answers))
    assert ledger.store.counts("acme")["unrecorded"] == 4
    clock.set_ms(minute_ends_ms)
    assert refused(1)[0].verdict is AcceptVerdict.ACCEPTED


def test_so_many_refusals_for_want_of_room_are_remembered_for_ten_minutes(redis_client):
    ledger = Ledger(redis_client, replace(LIMITS, max_pending=0))
    news = [ledger.new() for _ in range(66)]
    for new in news:
        assert ledger.accept([new, ledger.new()])[0].verdict is AcceptVerdict.OVER_CAPACITY
    remembered = [ref.decode() for ref in redis_client.lrange("relay:{0}:p:acme:recent-over-capacity", 0, -1)]
    assert remembered == [new.reference_id for new in news[:1:-1]]
    assert 0 < redis_client.ttl("relay:{0}:p:acme:recent-over-capacity") <= 600
    for new in news[2:]:
        ledger.accept([new])  # its reply was lost
    assert ledger.store.counts("acme")["over_capacity"] == 2 * len(news)
    entries = [entry.split() for entry in redis_client.lrange("relay:{0}:audit:entries", 0, -1)]
    assert [entry[5:8] for entry in entries] == [[b"1", b"over_capacity", b"2"]] * len(news)


@pytest.mark.parametrize(
    "limits",
    [
        {"max_pending": 3},
        {"max_pending_per_plugin": 3},
        {"max_pending_bytes": 300},
        {"max_pending_bytes_per_plugin": 300},
    ],
    ids=str,
)
def test_what_is_over_a_pending_cap_is_refused_and_the_rest_of_its_group_is_not(redis_client, limits):
    ledger = Ledger(redis_client, replace(LIMITS, **limits))
    verdicts = [answer.verdict for answer in ledger.accept([ledger.new() for _ in range(5)])]
    assert verdicts == [AcceptVerdict.ACCEPTED] * 3 + [AcceptVerdict.OVER_CAPACITY] * 2


def test_a_plugin_that_has_filled_its_share_keeps_no_other_out(redis_client):
    ledger = Ledger(redis_client, replace(LIMITS, max_pending_bytes=1000, max_pending_bytes_per_plugin=250))
    redis_client.hset(KEYS.webhooks("other"), "hook", 1)
    greedy = [ledger.new() for _ in range(20)]
    (theirs,) = ledger.accept([ledger.new(plugin="other")])
    replies = [answer.verdict for group in (greedy[:10], greedy[10:]) for answer in ledger.accept(group)]
    assert replies.count(AcceptVerdict.ACCEPTED) == 2
    assert theirs.verdict is AcceptVerdict.ACCEPTED
    assert ledger.accept([ledger.new(plugin="other")])[0].verdict is AcceptVerdict.ACCEPTED
    token = ledger.token()
    ledger.store.claim([greedy[0].reference_id], token)
    ledger.store.settle([ledger.settlement(greedy[0].reference_id, token)])
    assert ledger.accept([ledger.new()])[0].verdict is AcceptVerdict.ACCEPTED  # what has ended makes room


def test_a_claim_takes_a_queued_call_until_its_lease_ends(ledger):
    before_ms = int(time.time() * 1000)
    ref, _ = ledger.claimed()
    assert ledger.state(ref) is State.SENDING
    assert before_ms <= ledger.time_ms(ref, "leaseEnd") - 30_000 <= time.time() * 1000
    assert ledger.alarms(ref) == {"running"}


def test_a_claim_with_the_same_token_grants_again_and_moves_no_lease(ledger):
    ref, token = ledger.claimed()
    before = ledger.everything()
    assert ledger.store.claim([ref], token).granted == {ref}
    assert ledger.everything() == before


@pytest.mark.parametrize(("before_ms", "ended"), [(1, False), (0, True)])
def test_a_lease_holds_the_call_and_its_permit_until_its_end(clock, ledger, before_ms, ended):
    ledger.limit(concurrency=1)
    ref, _ = ledger.claimed(repeatable=True)
    other = ledger.accepted()
    clock.set_ms(ledger.time_ms(ref, "leaseEnd") - before_ms)
    assert ledger.store.claim([ref], ledger.token()).granted == ({ref} if ended else set())
    ledger.store.cancel(other)
    late, last = ledger.accepted_many(2)
    clock.set_ms(ledger.time_ms(ref, "leaseEnd") - before_ms)
    assert ledger.store.claim([late, last], ledger.token()).granted == ({late} if ended else set())


def test_a_running_call_cannot_be_claimed_by_another(ledger):
    ref, _ = ledger.claimed()
    assert ledger.store.claim([ref], ledger.token()).granted == set()


def test_an_unknown_id_cannot_be_claimed(ledger):
    assert ledger.store.claim([new_reference_id()], ledger.token()).granted == set()


def test_a_lost_attempt_is_recorded_from_its_claim_to_when_its_loss_was_noticed(ledger):
    before_ms = int(ledger.client.time()[0]) * 1000
    ref, _ = ledger.claimed()
    lease_ms = int(ledger.client.hget(KEYS.record(ref), "leaseEnd")) - before_ms
    ledger.client.hset(KEYS.record(ref), "leaseEnd", before_ms)  # it was claimed a lease's length before
    ledger.store.claim([ref], ledger.token())
    (attempt,) = ledger.store.find(ref).attempts
    assert before_ms - lease_ms - 1_000 <= attempt.started_at_ms <= before_ms - 20_000
    assert 20_000 <= attempt.duration_ms <= lease_ms + 60_000


def test_a_lost_unrepeatable_call_ends_interrupted_and_says_maybe(ledger):
    ref, _ = ledger.claimed()
    ledger.lose_lease(ref)
    token = ledger.token()
    assert ledger.store.claim([ref], token).granted == set()
    record = ledger.store.find(ref)
    assert (record.state, record.outcome, record.error) == (State.INTERRUPTED, Outcome.LEASE_LOST, True)
    assert [(attempt.outcome, attempt.sent) for attempt in record.attempts] == [(Outcome.LEASE_LOST, Sent.MAYBE)]
    before = ledger.everything()
    assert ledger.store.claim([ref], token).granted == set()
    assert ledger.everything() == before


def test_a_lost_repeatable_call_is_taken_again_until_the_third_loss(ledger):
    ref, _ = ledger.claimed(repeatable=True)
    for _ in range(2):
        ledger.lose_lease(ref)
        assert ledger.store.claim([ref], ledger.token()).granted == {ref}
    ledger.lose_lease(ref)
    assert ledger.store.claim([ref], ledger.token()).granted == set()
    assert (ledger.state(ref), len(ledger.store.find(ref).attempts)) == (State.INTERRUPTED, 3)


def test_a_settled_call_is_final_and_everything_that_it_held_is_free(ledger):
    ref, token = ledger.claimed()
    assert ledger.store.settle([ledger.settlement(ref, token)]).verdicts == (True,)
    record = ledger.store.find(ref)
    assert (record.state, record.status, record.error) == (State.DELIVERED, 200, False)
    assert record.attempts == (Attempt(1, 1_000, 5, 200, Outcome.ANSWERED, Sent.ANSWERED),)
    assert ledger.store.result_of(ref) == b"\x00sealed\xff"
    assert ledger.alarms(ref) == set()
    assert ledger.client.zcard(KEYS.running("acme", "hook")) == 0
    assert ledger.client.hgetall(KEYS.pending()) == {b"count": b"0", b"bytes": b"0"}


@pytest.mark.parametrize("is_bare", [False, True])
def test_a_call_that_ends_is_recorded_as_its_first_attempt_says(clock, ledger, is_bare):
    ref, token = ledger.claimed(request_bytes=0 if is_bare else 12)
    before = ledger.client.hgetall(KEYS.record(ref))
    more = {"response_bytes": 9, "masked": 2, "reason": "step_failed", "result": b"sealed"}
    if is_bare:
        more = {"response_bytes": 0, "masked": 0, "result": b""}
    clock.set_ms(START_MS + 40)
    ledger.store.settle([ledger.settlement(ref, token, **more)])
    after = ledger.client.hgetall(KEYS.record(ref))
    fields = {"state": "delivered", "outcome": "answered", "status": 200, "error": 0, "finishedAt": START_MS + 40}
    fields |= {"expiresAt": START_MS + 40 + LIMITS.retention_ms, "attempts": '[1000,5,200,"answered","answered"]'}
    if not is_bare:
        fields |= {"responseBytes": 9, "masked": 2, "reason": "step_failed", "keptBytes": 12 + len(b"sealed")}
    assert dict(after.items() - before.items()) == as_stored(fields)
    assert ledger.client.zscore("relay:{0}:p:acme:ends:delivered:answered:2:0", ref) == START_MS
    assert ledger.client.lindex("relay:{0}:p:acme:notes", -1) == b"%d hook 0 delivered:answered:2:0=40" % (
        START_MS + 40
    )
    assert not ledger.client.exists(KEYS.open_calls("acme", "hook"))


def test_a_repeated_settle_changes_nothing_and_answers_as_the_first_time(ledger):
    ref, token = ledger.claimed()
    settlement = ledger.settlement(ref, token)
    ledger.store.settle([settlement])
    before = ledger.everything()
    assert ledger.store.settle([settlement]).verdicts == (True,)
    assert ledger.everything() == before


def test_an_answer_after_the_lease_end_counts_if_nobody_has_claimed_since(ledger):
    ref, token = ledger.claimed()
    ledger.lose_lease(ref)
    assert ledger.store.settle([ledger.settlement(ref, token)]).verdicts == (True,)


def test_an_answer_of_a_worker_that_lost_the_call_does_not_end_the_attempt_of_its_next_holder(ledger):
    ref, token = ledger.claimed(repeatable=True)
    ledger.lose_lease(ref)
    holder = ledger.token()
    assert ledger.store.claim([ref], holder).granted == {ref}
    assert ledger.store.settle([ledger.settlement(ref, token, status=500)]).verdicts == (False,)
    assert ledger.state(ref) is State.SENDING
    assert ledger.store.settle([ledger.settlement(ref, holder)]).verdicts == (True,)
    assert ledger.store.find(ref).status == 200


def test_a_late_answer_is_refused_counted_once_and_kept(ledger):
    ref, token = ledger.claimed()
    ledger.lose_lease(ref)
    ledger.store.claim([ref], ledger.token())
    for _ in range(2):
        assert ledger.store.settle([ledger.settlement(ref, token)]).verdicts == (False,)
    record = ledger.store.find(ref)
    assert record.state is State.INTERRUPTED
    assert record.late_answer == "200 answered"
    assert ledger.store.counts("acme")["late"] == 1


def test_a_released_call_is_queued_again_without_an_attempt(ledger):
    ref, token = ledger.claimed()
    assert ledger.store.release([ref], token) == ((ref, "bulk"),)
    record = ledger.store.find(ref)
    assert (record.state, record.attempts) == (State.QUEUED, ())
    assert ledger.alarms(ref) == {"queued"}
    before = ledger.everything()
    assert ledger.store.release([ref], token) == ((ref, "bulk"),)
    assert ledger.everything() == before
    assert ledger.store.claim([ref], ledger.token()).granted == {ref}


@pytest.mark.parametrize(
    ("token", "since"),
    [
        ("somebody else", lambda ledger, ref: ledger.store.claim([ref], "t1")),
        ("somebody else", lambda ledger, ref: None),
        ("t1", lambda ledger, ref: ledger.store.cancel(ref)),
        ("t1", lambda ledger, ref: ledger.store.claim([ref], "t2")),
        ("t1", lambda ledger, ref: ledger.store.claim([ref], "t2") and ledger.store.release([ref], "t2")),
        ("t1", lambda ledger, ref: ledger.client.delete(KEYS.record(ref))),
    ],
    ids=["being sent", "queued", "cancelled", "claimed again", "given back again", "forgotten"],
)
def test_only_the_holder_can_release_and_only_until_something_else_happens(ledger, token, since):
    ref = ledger.accepted()
    if token == "t1":
        ledger.store.claim([ref], token)
        ledger.store.release([ref], token)
    since(ledger, ref)
    before = ledger.everything()
    assert ledger.store.release([ref], token) == ()
    assert ledger.everything() == before


def test_a_queued_invocation_can_be_cancelled_once_and_for_all(ledger):
    ref = ledger.accepted()
    ledger.store.cancel(ref)
    ledger.store.cancel(ref, plugin="acme")
    assert ledger.state(ref) is State.CANCELLED
    assert ledger.store.claim([ref], ledger.token()).granted == set()


def test_a_call_that_is_being_sent_cannot_be_cancelled(ledger):
    ref, _ = ledger.claimed()
    with pytest.raises(Conflict, match="sending") as caught:
        ledger.store.cancel(ref)
    assert caught.value.reference_id == ref


def test_another_plugin_can_neither_read_join_nor_cancel(ledger):
    ref = ledger.accepted()
    for attempt in (
        lambda: ledger.store.get("other", ref),
        lambda: ledger.store.join("other", ref, "api1"),
        lambda: ledger.store.cancel(ref, plugin="other"),
    ):
        with pytest.raises(NotFound):
            attempt()


def test_a_call_whose_lease_has_ended_waits_again_at_once(ledger):
    ref, _ = ledger.claimed()
    assert ledger.store.sweep(limit=10) == ()
    ledger.lose_lease(ref)
    assert ledger.store.sweep(limit=10) == ((ref, "bulk"),)
    assert ledger.store.sweep(limit=10) == ()
    assert ledger.alarms(ref) == {"queued"}


def test_an_alarm_that_rings_early_is_set_back_to_the_lease_end(ledger):
    ref, _ = ledger.claimed()
    ledger.client.zadd(KEYS.due_running(), {ref: 1})
    assert ledger.store.sweep(limit=10) == ()
    assert ledger.client.zscore(KEYS.due_running(), ref) == ledger.time_ms(ref, "leaseEnd")


def test_alarms_of_final_records_are_cleared(ledger):
    ref, token = ledger.claimed()
    ledger.store.settle([ledger.settlement(ref, token)])
    ledger.ring(ref)
    assert ledger.store.sweep(limit=10) == ()
    assert ledger.alarms(ref) == set()


def test_a_record_past_its_retention_is_gone_and_says_so(ledger):
    ref, token = ledger.claimed()
    ledger.store.settle([ledger.settlement(ref, token)])
    ledger.client.hset(KEYS.record(ref), "expiresAt", 1)
    with pytest.raises(Expired):
        ledger.store.get("acme", ref)
    ledger.client.zadd(KEYS.expiry(), {ref: 1})
    assert ledger.store.prune(limit=10) == 1
    assert ledger.listing.page("acme", Filter()) == Page([], None)
    assert ledger.store.result_of(ref) is None


@pytest.mark.parametrize("shortest", ["retention_ms", "failed_retention_ms", "rejected_retention_ms"])
def test_an_unknown_id_is_expired_if_it_may_be_of_what_is_kept_for_the_shortest_time(redis_client, shortest):
    ledger, now_ms = Ledger(redis_client, replace(LIMITS, **{shortest: DAY_MS})), int(time.time() * 1000)
    with pytest.raises(Expired):
        ledger.store.get("acme", reference_id_about("old", now_ms - 2 * DAY_MS, "acme"))
    with pytest.raises(NotFound):
        ledger.store.get("acme", reference_id_about("young", now_ms - DAY_MS // 2, "acme"))


@pytest.mark.parametrize("malformed", ["", "*", "\udc80", "x" * 36])
def test_what_is_no_reference_id_is_not_found_and_nothing_is_written(ledger, malformed):
    store, before = ledger.store, sorted(ledger.client.keys("*"))
    for read in (
        *(partial(store.get, "acme"), partial(store.get_confirmed, "acme"), store.find, store.look_up),
        partial(store.join, "acme", process="api1"),
    ):
        with pytest.raises(NotFound):
            read(reference_id=malformed)
    assert sorted(ledger.client.keys("*")) == before


def test_an_id_older_than_every_retention_is_expired_and_a_young_unknown_one_is_not_found(ledger):
    with pytest.raises(Expired):
        ledger.store.get("acme", "00000000-0000-7000-8000-000000000000")
    with pytest.raises(NotFound):
        ledger.store.get("acme", new_reference_id())


@pytest.mark.parametrize(
    "text", ["", "no-uuid", f"{'0' * 8}-0000-4000-8000-{'0' * 12}", f"{'0' * 8}-0000-7000-8000-{'0' * 13}"]
)
def test_what_is_no_reference_id_is_not_found_and_asks_no_script(ledger, text):
    before = ledger.everything()
    for read in (
        lambda: ledger.store.get("acme", text),
        lambda: ledger.store.find(text),
        lambda: ledger.store.look_up(text),
        lambda: ledger.store.look_up(text, "acme"),
        lambda: ledger.store.join("acme", text, "api1"),
    ):
        with pytest.raises(NotFound):
            read()
    assert ledger.everything() == before  # not even an entry of the audit trail


def lost(ledger, ref):
    ledger.store.claim([ref], ledger.token())
    ledger.lose_lease(ref)
    ledger.store.claim([ref], ledger.token())


def settled(ledger, ref, settlement):
    token = ledger.token()
    ledger.store.claim([ref], token)
    ledger.store.settle([settlement(ref, token)])


#: How a call ends, and the status and whether it counts as an error, as its callback tells it.
ENDS_TOLD = {
    "answered": (lambda ledger, ref: settled(ledger, ref, ledger.settlement), 200, False),
    "not reached": (lambda ledger, ref: settled(ledger, ref, ledger.failure), 0, True),
    "cancelled": (lambda ledger, ref: ledger.store.cancel(ref), 0, True),
    "lost": (lost, 0, True),
    "too old": (lambda ledger, ref: ledger.grow_old(ref), 0, True),
}


@pytest.mark.parametrize(("end", "status", "error"), ENDS_TOLD.values(), ids=ENDS_TOLD)
def test_a_call_that_has_a_callback_has_it_due_as_soon_as_it_ends(clock, ledger, end, status, error):
    ref, other = ledger.accepted(callback="told"), ledger.accepted()
    callbacks = Callbacks(ledger.client)
    assert callbacks.take(0, 9) == []
    clock.set_ms(START_MS + 5)
    for each in (ref, other):
        end(ledger, each)
    assert callbacks.take(0, 9) == [End(ref, "acme", "told", status, error, START_MS + 5, "hook", 1)]
    assert callbacks.take(0, 9) == []  # another worker has taken it
    assert ledger.client.zcard(KEYS.callbacks()) == 1


def test_a_refusal_has_its_callback_due_at_once(clock, ledger):
    news = [ledger.new(refusal=Outcome.REQUEST_REJECTED, payload=b"", callback=each) for each in ("told", "")]
    ledger.accept(news)
    told = End(news[0].reference_id, "acme", "told", 0, True, START_MS, "hook", 1)
    assert Callbacks(ledger.client).take(0, 9) == [told]


@pytest.mark.parametrize("gone", ["its record", "its callback", "its end"])
def test_an_end_that_is_not_to_be_told_any_more_is_given_to_nobody_and_leaves_the_list(ledger, gone):
    refs = ledger.accepted_many(2, callback="told")
    for ref in refs:
        ledger.store.cancel(ref)
    record = KEYS.record(refs[0])
    if gone == "its record":
        ledger.client.delete(record)
    else:
        ledger.client.hset(record, mapping={"callback": ""} if gone == "its callback" else {"state": "queued"})
    assert [end.reference_id for end in Callbacks(ledger.client).take(0, 9)] == refs[1:]
    assert ledger.client.zrange(KEYS.callbacks(), 0, -1) == [refs[1].encode()]


def test_each_process_that_awaits_is_told_once_with_the_sealed_result(ledger):
    listener = ledger.client.pubsub()
    listener.subscribe(keyspace.notice("api1"), keyspace.notice("api2"))
    refs = [ledger.accepted(waiter="api1") for _ in range(2)]
    ledger.store.join("acme", refs[1], "api2")
    ledger.store.join("acme", refs[1], "api2")
    token = ledger.token()
    ledger.store.claim(refs, token)
    ledger.store.settle([ledger.settlement(ref, token) for ref in refs])

    told = {}
    deadline = time.monotonic() + 5
    while len(told) < 2 and time.monotonic() < deadline:
        message = listener.get_message(timeout=0.2)
        if message and message["type"] == "message":
            assert message["channel"] not in told
            told[message["channel"]] = message["data"]
    entry = "{} delivered answered 200 0 - 8\n"
    assert told == {
        b"relay:notice:api1": b"".join(entry.format(ref).encode() + b"\x00sealed\xff" for ref in refs),
        b"relay:notice:api2": entry.format(refs[1]).encode() + b"\x00sealed\xff",
    }
    listener.close()


@pytest.mark.parametrize(("size", "in_store"), [(65_536, False), (65_537, True)])
def test_a_result_that_is_too_large_for_a_notice_is_left_in_the_store(ledger, size, in_store):
    ref, token = ledger.claimed(waiter="api1")
    with ledger.client.pubsub() as listener:
        listener.subscribe(keyspace.notice("api1"))
        ledger.store.settle([ledger.settlement(ref, token, result=b"x" * size)])
        messages = iter(lambda: listener.get_message(timeout=BUSY_S), None)
        (notice,) = read_notices(next(each["data"] for each in messages if each["type"] == "message"))
    assert (notice.in_store, notice.sealed) == (in_store, None if in_store else b"x" * size)
    assert ledger.store.result_of(ref) == b"x" * size


@pytest.mark.parametrize("first", ["api10", None])
def test_each_process_that_joins_waits_once_though_ids_are_parts_of_others(ledger, first):
    ref = ledger.accepted(waiter=first)
    for process in ("api10", "api1", "pi1", "api10", "api", "api1"):
        assert ledger.store.join("acme", ref, process).state is State.QUEUED
    assert ledger.client.hget(KEYS.record(ref), "waiters") == b"api10,api1,pi1,api"


def test_joining_a_final_invocation_returns_it_and_waits_for_nothing(ledger):
    ref, token = ledger.claimed()
    ledger.store.settle([ledger.settlement(ref, token)])
    before = ledger.everything()
    assert ledger.store.join("acme", ref, "api1").state is State.DELIVERED
    assert ledger.everything() == before


def test_a_worker_reads_what_it_needs_and_only_of_unfinished_ones(ledger):
    ref, final = ledger.accepted(traceparent="tp"), ledger.accepted()
    ledger.store.cancel(final)
    (published,) = ledger.store.read([final, ref, new_reference_id()])
    expected = CallRecord(ref, State.QUEUED, "acme", "hook", 1, 1, b"\x01sealed", "tp", 20_000, "bulk")
    assert published == expected
    ledger.client.hset(KEYS.record(ref), "repeatable", "1")
    ledger.store.claim([ref], ledger.token())
    ledger.lose_lease(ref)
    ledger.store.claim([ref], ledger.token())
    ledger.client.hdel(KEYS.webhooks("acme"), "hook")
    lost = {"state": State.SENDING, "current_revision": None, "tries": 1, "losses": 1}
    assert ledger.store.read([ref]) == [expected._replace(**lost)]


@pytest.mark.parametrize("tried", [True, False])
def test_what_an_earlier_attempt_left_is_replaced_by_the_last_ones(ledger, tried):
    ref = ledger.accepted()
    first, last = ledger.token(), ledger.token()
    ledger.store.claim([ref], first)
    ledger.store.settle([ledger.settlement(ref, first, state=State.RETRYING, response_bytes=100, masked=3)])
    ledger.store.claim([ref], last)
    end = ledger.settlement(ref, last, response_bytes=0, masked=0)
    ledger.store.settle([end if tried else end._replace(attempt=None)])
    record = ledger.store.find(ref)
    assert (record.response_bytes, record.masked, len(record.attempts)) == (0, 0, 1 + tried)
