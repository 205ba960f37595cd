"""What a newer release may add, a field or a value, is skipped or counts as damaged, and holds up nothing else."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest

from relay.domain.invocation import Outcome, State
from relay.errors import StoreFault
from relay.executor.chain_evaluation import _Hiding
from relay.registration import Shape, Target, target_from_json
from relay.registration.credentials import Credentials
from relay.registration.endpoint import Endpoint
from relay.request.trigger import Trigger
from relay.store.counts.notes import amounts_of
from relay.store.decisions.heads import ChainHead, Heads
from relay.store.keys import keyspace
from relay.store.ledger.listing import Filter
from relay.store.ledger.notices import Subscription, read_notices
from relay.store.ledger.steps import Steps
from relay.store.ledger.transitions import NewStep
from relay.vault import Vault
from tests.store_keys import KEYS

NOTICE = "{ref} {state} {outcome} 200 0 - {size}{more}\n"
ENDPOINT = Endpoint("https", "hooks.vendor.com", 443, "/x")


def ended(ledger):
    ref, token = ledger.claimed()
    ledger.store.settle([ledger.settlement(ref, token)])
    return ref


def found(ledger, ref):
    return ledger.store.find(ref)


def test_a_record_with_one_more_field_is_read_as_before(ledger):
    ref = ended(ledger)
    before = found(ledger, ref)
    ledger.client.hset(KEYS.record(ref), "ofALaterRelease", "x")
    assert found(ledger, ref) == before


def test_an_attempt_with_one_more_value_is_read_as_before(ledger):
    ref = ended(ledger)
    before = found(ledger, ref)
    attempts = ledger.client.hget(KEYS.record(ref), "attempts").decode()
    ledger.client.hset(KEYS.record(ref), "attempts", f'{attempts[:-1]},"more"]')
    assert found(ledger, ref) == before


@pytest.mark.parametrize("field", ["state", "outcome", "sent", "lane", "attempts"])
def test_a_value_that_this_release_does_not_know_is_shown_as_damaged(ledger, field):
    ref, other = ended(ledger), ended(ledger)
    ledger.client.hset(KEYS.record(ref), field, '[1,5,200,"later","no"]' if field == "attempts" else "later")
    rows = {row.reference_id: row for row in ledger.listing.page("acme", Filter(), limit=10).rows}
    assert rows[ref].damaged == (field,)
    assert rows[other].damaged == ()


def test_calls_in_an_unknown_state_are_not_run_and_hold_up_no_other(ledger):
    refs = ledger.accepted_many(3)
    ledger.client.hset(KEYS.record(refs[1]), "state", "later")
    for ref in refs:
        ledger.ring(ref)
    assert {refs[0], refs[2]} <= {ref for ref, _ in ledger.store.sweep(limit=10)}
    ledger.client.rpush("relay:{0}:waiting:bulk", *refs)
    taken = ledger.store.waiting.take(0, ["bulk"], most=10)
    assert {record.reference_id for record in taken.records} == {refs[0], refs[2]}
    assert ledger.store.claim(refs, ledger.token()).granted == {refs[0], refs[2]}
    assert ledger.client.hget(KEYS.record(refs[1]), "state") == b"later"


def test_a_head_with_one_more_value_is_heard(ledger):
    vault = Vault.from_text(Vault.new_key_text())
    payload = json.dumps(["w1", "{0}", 3, 7, "run", "", "", "later"]).encode()
    listening = Heads(ledger.client, vault).listen()
    next(listening)
    ledger.client.publish(keyspace.heads(), vault.macs(b"heads", payload)[0].encode() + b"\n" + payload)
    assert next(listening) == ChainHead("w1", "{0}", 3, 7, "run")


def test_a_notice_with_one_more_word_is_heard():
    text = NOTICE.format(ref="r1", state="delivered", outcome="answered", size=4, more=" later") + "data"
    text += NOTICE.format(ref="r2", state="delivered", outcome="answered", size=-1, more="")
    one, two = read_notices(text.encode())
    assert (one.reference_id, one.state, one.sealed, two.reference_id) == ("r1", State.DELIVERED, b"data", "r2")


@pytest.mark.parametrize(
    "message",
    [
        NOTICE.format(ref="r1", state="later", outcome="answered", size=-1, more=""),
        NOTICE.format(ref="r1", state="delivered", outcome="later", size=-1, more=""),
        "r1 delivered answered 200 0 -1\n",
    ],
)
def test_a_notice_that_is_not_understood_makes_waiters_look_and_the_next_one_is_heard(ledger, message):
    heard, renewals, stop, told = [], threading.Semaphore(0), threading.Event(), threading.Event()
    subscription = Subscription(ledger.client, "api1")

    def deliver(notice):
        heard.append(notice.reference_id)
        told.set()

    thread = threading.Thread(target=subscription.run, args=(deliver, renewals.release, stop))
    thread.start()
    try:
        assert renewals.acquire(timeout=10)
        well = NOTICE.format(ref="r2", state="delivered", outcome="answered", size=-1, more="")
        for text in (message, well):  # one right after the other: a subscription that is begun anew misses the second
            ledger.client.publish(keyspace.notice("api1"), text)
        assert told.wait(10)
        assert heard == ["r2"]
        assert renewals.acquire(timeout=10)
    finally:
        stop.set()
        thread.join()


def stepped(ledger):
    """Return a chain, and its step, which was delivered."""
    parent = ledger.accepted(pins='{"hook":1}', repeatable=True)
    step = NewStep(ledger.new().reference_id, "hook", 1, 1_000, False, b"\x01", 1)
    ledger.advance(parent, step)
    token = ledger.token()
    assert ledger.store.claim([step.reference_id], token).granted
    ledger.store.settle([ledger.settlement(step.reference_id, token)])
    return parent, step.reference_id


def test_a_step_with_an_unknown_outcome_has_none_and_one_in_an_unknown_state_stops_its_own_chain_only(ledger):
    steps, (parent, step), (other, _) = Steps(ledger.client), stepped(ledger), stepped(ledger)
    assert [each.outcome for each in steps.of(parent)] == [Outcome.ANSWERED]
    ledger.client.hset(KEYS.record(step), "outcome", "later")
    assert [each.outcome for each in steps.of(parent)] == [None]
    ledger.client.hset(KEYS.record(step), "state", "later")
    with pytest.raises(StoreFault):
        steps.of(parent)
    assert [each.state for each in steps.of(other)] == [State.DELIVERED]


def test_a_chain_in_an_unknown_state_still_hides_its_secrets(ledger):
    ref = ledger.accepted(pins='{"hook":1}')
    ledger.client.set(KEYS.secrets(ref), b"sealed")
    ledger.client.hset(KEYS.record(ref), "state", "later")
    assert Steps(ledger.client).secrets(ref) == b"sealed"


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (Shape.from_json, Shape("hook", "POST")),
        (target_from_json, Target(ENDPOINT, credentials=Credentials())),
        (Trigger.from_json, Trigger({"a": 1})),
    ],
    ids=["shape", "target", "trigger"],
)
def test_shapes_targets_and_triggers_with_one_more_member_are_read_as_before(read, value):
    written = json.loads(value.to_json())
    assert read(json.dumps(written | {"ofALaterRelease": 1}).encode()) == value


def test_a_sealed_list_and_a_note_with_one_more_value_are_read_as_before():
    hiding = _Hiding(("a",), 1, masks=False, pins={"hook": 2})
    assert _Hiding.from_json(json.dumps([*json.loads(hiding.to_json()), "later"]).encode()) == hiding
    assert _Hiding.from_json(json.dumps(json.loads(hiding.to_json())[:3]).encode()) == replace(hiding, pins={})
    assert replace(hiding, count=2) != hiding
    note = b"60000 hook 1 delivered:answered:200:0%b=5"
    assert amounts_of([note % b":later"]) == amounts_of([note % b""])
