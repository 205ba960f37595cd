"""Every end without an acceptable answer says whether a request of the call may have been sent."""

from __future__ import annotations

import pytest

from relay.domain.invocation import Attempt, Outcome, Sent, State
from relay.store.ledger.notices import read_notices
from relay.store.scripting.scripts import Scripts
from tests.contract.test_chains import Chain
from tests.store_keys import KEYS
from tests.timing import BUSY_S

FAR_MS = 3_600_000


def tried(ledger, ref, outcome, sent, *, retried=False, status=0):
    """Claim a call and settle it with one attempt."""
    token = ledger.token()
    assert ledger.store.claim([ref], token).granted == {ref}
    number = len(ledger.store.find(ref).attempts) + 1
    more = {"attempt": Attempt(number, 1, 5, status, outcome, sent), "outcome": outcome}
    if retried:
        more |= {"state": State.RETRYING, "delay_ms": 0}
    ledger.store.settle([ledger.failure(ref, token, **more)])


def connection_lost(ledger, ref):
    tried(ledger, ref, Outcome.CONNECTION_LOST, Sent.MAYBE)


def dns_failed(ledger, ref):
    tried(ledger, ref, Outcome.DNS_FAILED, Sent.NO)


def lost_then_refused(ledger, ref):
    tried(ledger, ref, Outcome.CONNECTION_LOST, Sent.MAYBE, retried=True)
    tried(ledger, ref, Outcome.CONNECT_FAILED, Sent.NO)


def answered_then_refused(ledger, ref):
    tried(ledger, ref, Outcome.ANSWERED, Sent.ANSWERED, retried=True, status=503)
    tried(ledger, ref, Outcome.CONNECT_FAILED, Sent.NO)


def refused_twice(ledger, ref):
    tried(ledger, ref, Outcome.CONNECT_FAILED, Sent.NO, retried=True)
    tried(ledger, ref, Outcome.CONNECT_FAILED, Sent.NO)


def worker_lost(ledger, ref):
    assert ledger.store.claim([ref], ledger.token()).granted == {ref}
    ledger.lose_lease(ref)
    assert not ledger.store.claim([ref], ledger.token()).granted


def too_old_unsent(ledger, ref):
    ledger.grow_old(ref)


def too_old_after_a_503(ledger, ref):
    tried(ledger, ref, Outcome.ANSWERED, Sent.ANSWERED, retried=True, status=503)
    ledger.grow_old(ref)


def too_old_after_a_refusal(ledger, ref):
    tried(ledger, ref, Outcome.CONNECT_FAILED, Sent.NO, retried=True)
    ledger.grow_old(ref)


def breaker_open(ledger, ref):
    ledger.limit(failures=20, openUntil=int(ledger.time_ms(ref, "createdAt")) + FAR_MS, openFor=FAR_MS)
    ledger.store.claim([ref], ledger.token())


def cancelled(ledger, ref):
    ledger.store.cancel(ref)


def cancelled_after_a_refusal(ledger, ref):
    tried(ledger, ref, Outcome.CONNECT_FAILED, Sent.NO, retried=True)
    ledger.store.cancel(ref)


def cancelled_after_a_503(ledger, ref):
    tried(ledger, ref, Outcome.ANSWERED, Sent.ANSWERED, retried=True, status=503)
    ledger.store.cancel(ref)


ENDS = [
    (connection_lost, Outcome.CONNECTION_LOST, Sent.MAYBE),
    (dns_failed, Outcome.DNS_FAILED, Sent.NO),
    (lost_then_refused, Outcome.CONNECT_FAILED, Sent.MAYBE),
    (answered_then_refused, Outcome.CONNECT_FAILED, Sent.MAYBE),
    (refused_twice, Outcome.CONNECT_FAILED, Sent.NO),
    (worker_lost, Outcome.LEASE_LOST, Sent.MAYBE),
    (too_old_unsent, Outcome.EXPIRED, Sent.NO),
    (too_old_after_a_503, Outcome.EXPIRED, Sent.MAYBE),
    (too_old_after_a_refusal, Outcome.EXPIRED, Sent.NO),
    (breaker_open, Outcome.BREAKER_OPEN, Sent.NO),
    (cancelled, None, Sent.NO),
    (cancelled_after_a_refusal, None, Sent.NO),
    (cancelled_after_a_503, None, Sent.MAYBE),
]


@pytest.mark.parametrize(("end", "outcome", "sent"), ENDS, ids=lambda each: getattr(each, "__name__", str(each)))
def test_record_and_notice_of_an_end_without_an_answer_say_what_was_sent(ledger, end, outcome, sent):
    with ledger.client.pubsub() as listener:
        listener.subscribe("relay:notice:api1")
        ref = ledger.accepted(waiter="api1")
        end(ledger, ref)
        record = ledger.store.find(ref)
        assert (record.outcome, record.sent) == (outcome, sent)
        messages = iter(lambda: listener.get_message(timeout=BUSY_S), None)
        (notice,) = read_notices(next(each["data"] for each in messages if each["type"] == "message"))
        assert listener.get_message() is None  # one message
    assert (notice.reference_id, notice.state, notice.outcome, notice.sent) == (ref, record.state, outcome, sent)
    assert (notice.status, notice.error, notice.sealed) == (record.status, record.error, None)


def test_an_answer_says_nothing_of_what_was_sent(ledger):
    ref, token = ledger.claimed()
    ledger.store.settle([ledger.settlement(ref, token)])
    assert ledger.store.find(ref).sent is None


def unsent(_chain, _steps):
    pass


def in_flight(chain, steps):
    chain.claim(steps[0])


def answered(chain, steps):
    chain.deliver(steps[0])
    chain.ledger.client.hset(KEYS.record(chain.ref), "state", "waiting")


@pytest.mark.parametrize(
    ("step", "sent"),
    [(unsent, Sent.NO), (in_flight, Sent.MAYBE), (answered, Sent.MAYBE)],
    ids=["unsent", "in flight", "answered"],
)
def test_a_chain_past_its_deadline_says_whether_a_request_of_its_steps_may_have_left(ledger, step, sent):
    chain = Chain(ledger)
    step(chain, chain.begun(count=2))
    chain.past_deadline()
    ledger.store.claim([chain.ref], ledger.token())
    record = ledger.store.find(chain.ref)
    assert (record.outcome, record.sent) == (Outcome.CHAIN_TIMEOUT, sent)


def test_a_chain_within_a_chain_counts_by_its_own_steps(ledger):
    chain = Chain(ledger)
    (inner,) = chain.begun(pins='{"hook":1}')
    _, (step,), _ = chain.advance(ref=inner)
    chain.claim(step)
    chain.past_deadline()
    ledger.store.claim([chain.ref], ledger.token())
    assert ledger.store.find(chain.ref).sent is Sent.MAYBE


def restore(ledger, *references, ends=""):
    """Decide about calls as `relay restore finish` does."""
    flat = [part for reference in references for part in (reference, ends)]
    ledger.client.hset(KEYS.pending(), "fence", 1)
    Scripts(ledger.client).run("restore", [*ledger.store._limits.retention_args, len(references), *flat])
    ledger.client.hdel(KEYS.pending(), "fence")


def test_what_a_restore_ends_may_have_been_sent_steps_and_chains_within_included(ledger):
    call, chain = ledger.accepted(), Chain(ledger)
    (inner,) = chain.begun(pins='{"hook":1}')
    _, (step,), _ = chain.advance(ref=inner)
    restore(ledger, call, chain.ref, ends="1")
    records = [ledger.store.find(ref) for ref in (call, chain.ref, inner, step)]
    assert {(each.state, each.outcome, each.sent) for each in records} == {
        (State.INTERRUPTED, Outcome.RESTORED, Sent.MAYBE)
    }


def test_a_repeatable_call_that_goes_on_after_a_restore_may_have_been_sent(ledger):
    ref = ledger.accepted(repeatable=True)
    restore(ledger, ref)
    dns_failed(ledger, ref)
    record = ledger.store.find(ref)
    assert (record.outcome, record.sent) == (Outcome.DNS_FAILED, Sent.MAYBE)


@pytest.mark.parametrize("is_nested", [False, True])
def test_a_chain_that_goes_on_after_a_restore_may_have_had_steps_that_the_backup_does_not_know(ledger, is_nested):
    chain = Chain(ledger)
    restore(ledger, *(chain.begun(pins='{"hook":1}', repeatable=True) if is_nested else [chain.ref]))
    chain.past_deadline()
    ledger.store.claim([chain.ref], ledger.token())
    record = ledger.store.find(chain.ref)
    assert (record.outcome, record.sent, record.attempts) == (Outcome.CHAIN_TIMEOUT, Sent.MAYBE, ())
