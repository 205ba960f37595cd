"""An operator's decision about a webhook reaches each of its waiting calls, at once, whichever process dies."""

from __future__ import annotations

import time

import pytest

from relay.audit.actor import actor
from relay.domain.invocation import FINAL, Attempt, Outcome, Sent, State
from relay.registration import Shape
from relay.store.decisions.chain import GONE, pause_subject
from relay.store.ledger.invocations import REVISITED
from relay.store.scripting.scripts import Scripts
from tests.contract.ledger import Ledger
from tests.contract.test_age import HOLDS
from tests.contract.test_chains import Chain
from tests.contract.test_parking import open_breaker
from tests.store_keys import KEYS


def retrying(ledger):
    ref, token = ledger.claimed()
    attempt = Attempt(1, 1, 5, 503, Outcome.ANSWERED, Sent.ANSWERED)
    ledger.store.settle(
        [ledger.settlement(ref, token, state=State.RETRYING, attempt=attempt, delay_ms=3_600_000, result=b"")]
    )
    return ref


def remove(ledger, *, begins=True, last=1):
    """Remove the webhook as the command does; with ``begins`` false the command is killed half-way."""
    ledger.client.set(KEYS.last_revision("acme", "hook"), last)
    ledger.client.hset(KEYS.revision("acme", "hook", 1), "shape", Shape("hook", "POST").to_json())
    end = next(ledger.policies._decisions.of("acme").ends())
    args = ["acme", "hook", actor(), *end.adding({pause_subject("acme", "hook"): GONE})]
    assert Scripts(ledger.client).run("remove_webhook", args) == []
    return [ref for page in ledger.store.revisit("acme", "hook") for ref, _ in page] if begins else []


def end_of(ledger, ref):
    record = ledger.store.find(ref)
    return record.state, record.outcome


REJECTED = (State.REJECTED, Outcome.WEBHOOK_NOT_REGISTERED)


@pytest.mark.parametrize("hold", [*HOLDS, retrying])
def test_removing_a_webhook_ends_what_waits_whatever_holds_it_back(ledger, hold):
    ref = hold(ledger)
    remove(ledger)
    assert end_of(ledger, ref) == REJECTED
    assert ledger.alarms(ref) == set()
    assert ledger.client.zscore(KEYS.parked("acme", "hook"), ref) is None
    before = ledger.everything()
    remove_again = list(ledger.store.revisit("acme", "hook"))
    assert (remove_again, ledger.everything()) == ([()], before)


def test_removing_a_webhook_of_which_an_earlier_revision_is_current_ends_calls_of_the_later_one_too(ledger):
    ledger.client.hset(KEYS.webhooks("acme"), "hook", 2)
    later = ledger.accepted(revision=2)
    ledger.client.hset(KEYS.webhooks("acme"), "hook", 1)  # brought back
    earlier = ledger.accepted()
    remove(ledger, last=2)
    assert [end_of(ledger, ref) for ref in (later, earlier)] == [REJECTED] * 2


@pytest.mark.parametrize("hold", [*HOLDS, retrying])
def test_a_claim_ends_it_where_the_remover_was_killed(ledger, hold):
    ref = hold(ledger)
    remove(ledger, begins=False)
    assert ledger.store.claim([ref], ledger.token()).granted == set()
    assert end_of(ledger, ref) == REJECTED


def test_a_sweep_finds_what_the_remover_left_undone(ledger):
    refs = [ledger.accepted() for _ in range(3)]
    remove(ledger, begins=False)
    assert ledger.store.revisits(0, limit=10) == [("acme", "hook")]
    for plugin, webhook in ledger.store.revisits(0, limit=10):
        list(ledger.store.revisit(plugin, webhook))
    assert {end_of(ledger, ref) for ref in refs} == {REJECTED}
    assert ledger.store.revisits(0, limit=10) == []


def test_a_sweep_finds_what_was_left_undone_by_who_closed_a_breaker(ledger):
    ledger.limit(retry=1)
    open_breaker(ledger)
    held = ledger.accepted()
    ledger.store.claim([held], ledger.token())
    Scripts(ledger.client).run("close_breaker", ["acme", "hook", actor()])
    assert ledger.store.revisits(0, limit=10) == [("acme", "hook")]
    assert [ref for page in ledger.store.revisit("acme", "hook") for ref, _ in page] == [held]
    assert ledger.store.revisits(0, limit=10) == []


def test_a_lost_call_whose_webhook_was_removed_is_not_sent_again(ledger):
    ref, _ = ledger.claimed(repeatable=True)
    remove(ledger)
    ledger.lose_lease(ref)
    assert ledger.store.claim([ref], ledger.token()).granted == set()
    assert end_of(ledger, ref) == (State.INTERRUPTED, Outcome.LEASE_LOST)


def test_many_waiting_calls_end_in_pieces(valkey):
    with valkey.client() as client:
        ledger = Ledger(client)
        refs = [ref for _ in range(5) for ref in ledger.accepted_many(80)]
        client.config_resetstat()
        remove(ledger)
        assert {end_of(ledger, ref) for ref in refs} == {REJECTED}
        calls = client.info("commandstats")["cmdstat_zscan"]["calls"]
        assert calls >= len(refs) / (2 * REVISITED)


def test_what_is_being_sent_ends_its_attempt_and_gets_no_other_one(ledger):
    (delivered, token), (failed, other) = ledger.claimed(), ledger.claimed()
    remove(ledger)
    assert {ledger.state(delivered), ledger.state(failed)} == {State.SENDING}
    attempt = Attempt(1, 1, 5, 503, Outcome.ANSWERED, Sent.ANSWERED)
    retry = ledger.settlement(failed, other, state=State.RETRYING, attempt=attempt, delay_ms=0, result=b"")
    assert ledger.store.settle([ledger.settlement(delivered, token), retry]).verdicts == (True, True)
    assert ledger.state(delivered) is State.DELIVERED
    assert end_of(ledger, failed) == REJECTED
    assert len(ledger.store.find(failed).attempts) == 1


def test_what_a_chain_has_begun_goes_on_though_it_was_paused(ledger):
    chain = ledger.accepted(pins='{"hook":1}', repeatable=True, timeout_ms=120_000)
    step = Chain.step(None)  # the step of an arbitrary chain
    ledger.advance(chain, step)
    ledger.policies.pause("acme", "hook")
    assert ledger.store.claim([step.reference_id], ledger.token()).parked == {step.reference_id}
    assert step.reference_id in remove(ledger)
    assert ledger.state(chain) is State.WAITING
    assert ledger.store.claim([step.reference_id], ledger.token()).granted == {step.reference_id}


def test_an_id_that_is_registered_anew_is_not_paused_and_its_breaker_is_closed(ledger):
    open_breaker(ledger)
    ledger.policies.pause("acme", "hook")
    old = ledger.accepted()
    remove(ledger, begins=False)
    ledger.client.hset(KEYS.webhooks("acme"), "hook", 2)
    traffic = ledger.policies.traffic("acme", "hook")
    assert (traffic.paused, traffic.breaker, traffic.failures) == (False, "closed", 0)
    new, token = ledger.accepted(revision=2), ledger.token()
    assert ledger.store.claim([old, new], token).granted == {new}
    assert end_of(ledger, old) == REJECTED


@pytest.mark.parametrize("paused", [False, True])
def test_closing_a_breaker_lets_go_at_once_what_it_held_back(ledger, paused):
    ledger.client.hset(KEYS.policy("acme", "hook"), "retry", 1)
    open_breaker(ledger)
    held, waits = ledger.accepted_many(3), retrying_of_its_own(ledger)
    ledger.store.claim(held, ledger.token())
    assert {ledger.state(ref) for ref in held} == {State.RETRYING}
    if paused:
        ledger.policies.pause("acme", "hook")
    woken = [ref for page in ledger.policies.close_breaker("acme", "hook") for ref, _ in page]
    assert sorted(woken) == ([] if paused else sorted(held))
    if not paused:
        assert ledger.store.claim([*held, waits], ledger.token()).granted == set(held)


def retrying_of_its_own(ledger):
    """Make a call that waits for its retry, whose pause is not over."""
    ref = ledger.accepted()
    later = int(time.time() * 1000) + 3_600_000
    ledger.client.hset(KEYS.record(ref), mapping={"state": "retrying", "notBefore": later})
    return ref


def test_calls_wait_in_no_set_that_is_forgotten(ledger):
    """One key lists every unfinished call of a webhook, whatever holds it back."""
    refs = {hold(ledger) for hold in HOLDS[:1]} | {retrying(ledger), ledger.claimed()[0]}
    found = {ref.decode() for ref in ledger.client.zrange(KEYS.open_calls("acme", "hook"), 0, -1)}
    assert refs <= found
    assert all(ledger.state(ref) not in FINAL for ref in found)
    assert ledger.store.waits("acme", "hook")
    assert not ledger.store.waits("acme", "other")
