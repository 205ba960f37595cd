"""What chains need of their steps is read together, and read for each chain where that fails or is out of date."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from relay.answer.results import Result
from relay.answer.search import TooMuchWork
from relay.chains import Create, Finish, StepResult
from relay.domain.invocation import Outcome, State
from relay.domain.reference_id import new_reference_id
from relay.errors import NotFound, RequestRejected, StoreFault, Unavailable
from relay.executor import chain_evaluation
from relay.executor import chain_states as chain_states_module
from relay.executor.chain_evaluation import ChainEvaluator, Hidden, _Evaluation, _Hiding
from relay.executor.chain_states import ChainStates
from relay.executor.large_work import LARGE_BYTES
from relay.registration import Shape
from relay.request.trigger import Trigger
from relay.store.ledger.steps import StepRecord
from relay.store.ledger.transitions import CallRecord, Settlement
from relay.telemetry import log
from relay.vault import Vault


class Steps:
    """The steps of chains, which counts how it is asked and fails with an error if it has one."""

    def __init__(self):
        self.made = {}
        self.together, self.alone, self.error = [], [], None

    def of(self, parent, first=0, end=None):
        self.alone.append(parent)
        return self.made.get(parent, [])[first:end]

    def of_each(self, ranges):
        self.together.append([parent for parent, _, _ in ranges])
        if self.error:
            raise self.error
        return [self.made.get(parent, [])[first:end] for parent, first, end in ranges]

    def make(self, chain, state=State.DELIVERED, raw=b"null"):
        steps = self.made.setdefault(chain.reference_id, [])
        steps.append(StepRecord(new_reference_id(), len(steps), state, 200, False, Outcome.ANSWERED, None, raw))
        return steps[-1]

    def now(self, chain):
        """Return a chain as it is read now."""
        return chain._replace(made=len(self.made.get(chain.reference_id, ())))


@pytest.fixture
def steps():
    return Steps()


@pytest.fixture
def chain_states(steps):
    plans = SimpleNamespace(chain=lambda *_: None, stamp=lambda *_: "s")
    return ChainStates(
        plans, None, steps, SimpleNamespace(open=lambda *_: None), SimpleNamespace(open=lambda raw, _: raw)
    )


def chains(count):
    refs = [new_reference_id() for _ in range(count)]
    return [CallRecord(ref, State.QUEUED, "acme", "c", 1, 1, b"", None, 1_000, "bulk", pins="{}") for ref in refs]


def test_the_steps_of_chains_are_read_together_from_where_each_was_left(steps, chain_states):
    three = chains(3)
    for number in range(3):
        for chain in three[: number + 1]:
            steps.make(chain)
        now = [steps.now(chain) for chain in three]
        chain_states.read_ahead(now)
        assert [chain_states.current(chain).count for chain in now] == [number + 1, number, max(0, number - 1)]
    assert [len(each) for each in steps.together] == [1, 2, 3]
    assert steps.alone == []


def test_of_chains_that_have_not_begun_or_are_known_nothing_is_read(steps, chain_states):
    new, known = chains(2)
    steps.make(known)
    known = steps.now(known)
    assert chain_states.current(known).count == 1
    steps.alone.clear()
    ChainEvaluator(None, None, chain_states, None, None).read_ahead([new, known])
    assert [chain_states.current(chain).count for chain in (new, known)] == [0, 1]
    assert (steps.together, steps.alone) == ([], [])


@pytest.mark.parametrize("error", [Unavailable(), StoreFault()])
def test_if_they_cannot_be_read_together_each_chain_reads_its_own(steps, chain_states, error):
    one, other = chains(2)
    steps.make(one)
    steps.error = error
    now = [steps.now(one), other]
    chain_states.read_ahead(now)
    assert [chain_states.current(chain).count for chain in now] == [1, 0]
    assert steps.alone == [one.reference_id]


def test_what_was_read_ahead_serves_once_and_only_from_where_it_was_read(steps, chain_states):
    (chain,) = chains(1)
    steps.make(chain)
    now = steps.now(chain)
    chain_states.read_ahead([now])
    assert chain_states.current(now).count == 1
    assert steps.alone == []
    chain_states.forget(chain.reference_id)
    assert chain_states.current(now).count == 1
    assert len(steps.alone) == 1
    steps.make(chain)
    later = steps.now(chain)
    chain_states.read_ahead([later])
    chain_states.forget(chain.reference_id)
    assert chain_states.current(later).count == 2
    assert len(steps.alone) == 2


def test_calls_that_were_made_after_a_chain_was_read_do_not_count(steps, chain_states):
    (chain,) = chains(1)
    steps.make(chain)
    read = steps.now(chain)
    steps.make(chain, State.SENDING)
    for reads_ahead in (True, False):
        if reads_ahead:
            chain_states.read_ahead([read])
        state = chain_states.current(read)
        assert (state.count, list(state.results)) == (1, [0])
        chain_states.forget(chain.reference_id)


@pytest.mark.parametrize("reads_ahead", [True, False])
def test_of_what_is_known_of_a_chain_only_what_its_record_says_counts(steps, chain_states, reads_ahead):
    """A server that takes over may lack the last writes: what was decided on these would never be done."""
    (chain,) = chains(1)
    steps.make(chain)
    less = steps.now(chain)
    steps.make(chain)
    assert chain_states.current(steps.now(chain)).count == 2
    steps.made[chain.reference_id].pop()
    if reads_ahead:
        chain_states.read_ahead([less])
    state = chain_states.current(less)
    assert (state.count, list(state.results)) == (1, [0])


@pytest.fixture
def deciding(steps, chain_states):
    """An evaluator that has decided to make a chain's first step, and the chain."""
    (chain,) = chains(1)
    plan = SimpleNamespace(steps=[SimpleNamespace(for_each=None)] * 2)
    chain_states._plans.chain = lambda *_: plan
    assert chain_states.current(chain).count == 0
    evaluator = ChainEvaluator(None, None, chain_states, None, None)
    evaluator._keep((chain.reference_id, 0), _Hiding((), 0, False, {}))
    return evaluator, chain, plan


def settled(chain, made, **changes):
    """Return a step of a chain, and its settlement."""
    fields = {"state": State.DELIVERED, "outcome": Outcome.ANSWERED, "status": made.status, "error": made.error}
    settlement = Settlement(made.reference_id, "token", attempt=None, raw=made.raw, **fields)._replace(**changes)
    return chain._replace(
        reference_id=made.reference_id, parent=chain.reference_id, step=made.step, pins=None
    ), settlement


def test_an_answer_that_this_process_has_settled_is_not_read_again(steps, chain_states, deciding):
    evaluator, chain, _ = deciding
    made = steps.make(chain, raw=b'{"n": 1}')
    evaluator.settled(*settled(chain, made))
    state = chain_states.current(steps.now(chain))
    assert (state.count, state.results) == (
        1,
        {0: [StepResult(200, {"n": 1}, False, Outcome.ANSWERED, State.DELIVERED)]},
    )
    assert (steps.together, steps.alone) == ([], [])
    evaluator.settled(*settled(chain, made))  # once more, which changes nothing
    assert chain_states.current(steps.now(chain)).count == 1


UNKNOWN = {
    "of a forEach": {"for_each": "input.data"},
    "without an answer": {"raw": b""},
    "large": {"raw": b"[" + b" " * LARGE_BYTES + b"]"},
    "of a chain that another process has decided on": {"hiding": None},
    "after calls of which this process does not know": {"hiding": _Hiding((), 1, False, {})},
    "of a chain that is not known any more": {"forgets": True},
    "no step": {"parent": None, "step": None},
}


@pytest.mark.parametrize("why", UNKNOWN)
def test_any_other_answer_is_read(steps, chain_states, deciding, why):
    evaluator, chain, plan = deciding
    given, place = UNKNOWN[why], (chain.reference_id, 0)
    if "for_each" in given:
        plan.steps[0].for_each = given["for_each"]
    if "hiding" in given:
        evaluator._hidings.pop(place)
        if given["hiding"] is not None:
            evaluator._keep(place, given["hiding"])
    if given.get("forgets"):
        chain_states.forget(chain.reference_id)
    step, settlement = settled(chain, steps.make(chain), **{name: given[name] for name in given if name == "raw"})
    evaluator.settled(step._replace(**{name: given[name] for name in given if name in {"parent", "step"}}), settlement)
    assert chain_states.current(steps.now(chain)).count == 1
    assert steps.alone == [chain.reference_id]


def test_a_chain_does_not_go_on_without_an_answer_of_its_steps(steps, chain_states):
    (chain,) = chains(1)
    steps.make(chain, raw=None)
    with pytest.raises(NotFound):
        chain_states.current(steps.now(chain))


def test_the_newest_chains_are_kept_as_far_as_their_bytes_go_and_none_that_is_large(steps, chain_states, monkeypatch):
    monkeypatch.setattr(chain_states_module, "MAX_KEPT_BYTES", 100)
    monkeypatch.setattr(chain_states_module, "MAX_KEPT_BYTES_OF_ONE", 60)
    for _ in range(3):
        *small, large = chains(6)
        for chain in (*small, large):
            steps.make(chain, raw=b'"%b"' % (b"x" * (59 if chain is large else 28)))
            for _ in range(2):  # counts once
                chain_states.current(steps.now(chain))
        assert list(chain_states._kept) == [chain.reference_id for chain in small[2:]]
        for chain in (*small, large):
            chain_states.forget(chain.reference_id)
        assert (chain_states._kept, chain_states._kept_bytes) == ({}, 0)


def test_so_many_chains_are_kept_however_small_they_are(chain_states, monkeypatch):
    monkeypatch.setattr(chain_states_module, "MAX_KEPT", 2)
    three = chains(3)
    for chain in three:
        chain_states.current(chain)
    assert list(chain_states._kept) == [chain.reference_id for chain in three[1:]]


def test_the_state_at_a_step_is_read_on_where_the_chain_was_known_only_up_to_an_earlier_one(steps, chain_states):
    (chain,) = chains(1)
    reads = []
    chain_states._store = SimpleNamespace(read=lambda refs: reads.append(refs) or [steps.now(chain)])
    step = chain._replace(reference_id=new_reference_id(), parent=chain.reference_id, step=2)
    steps.make(chain)
    assert chain_states.current(steps.now(chain)).count == 1
    steps.make(chain)
    steps.make(chain)
    steps.alone.clear()
    assert [chain_states.of_step(step, count).count for count in (2, 1, 2)] == [2, 2, 2]
    assert (steps.alone, reads) == ([chain.reference_id], [[chain.reference_id]])
    chain_states.forget(chain.reference_id)
    assert chain_states.of_step(step, 2).count == 2


def test_a_chain_whose_trigger_does_not_fit_its_registration_is_not_decided_on():
    state = SimpleNamespace(trigger=Trigger(None, {"X-Other": "x"}))
    plans, states = SimpleNamespace(shape=lambda *_: Shape("c", None)), SimpleNamespace(current=lambda _: state)
    with pytest.raises(RequestRejected):
        ChainEvaluator(plans, None, states, None, None).decide(chains(1)[0])


def test_what_the_newest_steps_hide_is_kept(monkeypatch):
    monkeypatch.setattr(chain_evaluation, "MAX_HIDINGS", 2)
    evaluator, hiding = ChainEvaluator(None, None, None, None, None), _Hiding((), 0, False, {})
    for number in range(4):
        evaluator._keep(("chain", number), hiding)
    assert list(evaluator._hidings) == [("chain", 2), ("chain", 3)]


def test_what_a_step_hides_is_read_by_other_workers_once_and_still_known_when_its_chain_is_over():
    vault, (chain,) = Vault.from_text(Vault.new_key_text()), chains(1)
    step = chain._replace(reference_id=new_reference_id(), parent=chain.reference_id, step=0)
    state = SimpleNamespace(count=3, plan=SimpleNamespace(steps=[SimpleNamespace(mask=())]))
    one = ChainEvaluator(None, None, None, None, vault)
    stored = {chain.reference_id: one._sealed_secrets(_Evaluation(chain, state, None, ("secret",)), Create(0, ()))}
    other = ChainEvaluator(None, SimpleNamespace(secrets=lambda parent: stored.pop(parent, None)), None, None, vault)
    hiding = _Hiding(("secret",), 3, False, {})
    assert [other._hidden_in(each) for each in (step, step, step._replace(step=1))] == [hiding, hiding, None]
    assert one._hidden_in(step) == hiding


@pytest.mark.parametrize("masks", [False, True])
def test_what_a_step_s_answer_must_not_show_is_known_after_its_chain_s_end_unless_the_step_has_masks_of_its_own(masks):
    (chain,) = chains(1)
    step = chain._replace(reference_id=new_reference_id(), parent=chain.reference_id, step=0)
    plans, gone = SimpleNamespace(chain_mask=lambda *asked: asked), SimpleNamespace(of_step=lambda *_: None)
    evaluator = ChainEvaluator(plans, None, gone, None, None)
    evaluator._keep((chain.reference_id, 0), _Hiding(("secret",), 1, masks, {"hook": 2}))
    hidden = evaluator.hidden_beside(step, Result(200, {}, False), 0)
    assert hidden == (None if masks else Hidden(("acme", {"hook": 2}), ("secret",)))


def test_what_a_step_hides_is_read_as_an_older_release_wrote_it():
    hiding = _Hiding(("secret",), 3, True, {"hook": 2})
    assert _Hiding.from_json(hiding.to_json()) == hiding
    assert _Hiding.from_json(b'[["secret"],3,true]') == _Hiding(("secret",), 3, True, {})


def test_a_chain_whose_mask_cannot_be_made_shows_no_data_and_that_is_logged(events_of):
    said = events_of(log)

    def chain_mask(*_):
        raise ZeroDivisionError

    evaluator = ChainEvaluator(SimpleNamespace(chain_mask=chain_mask), None, None, None, None)
    evaluation = SimpleNamespace(record=chains(1)[0])
    assert evaluator._masked(evaluation, Result(200, {"secret": 1}, False)) == (None, 0)
    assert [fields["where"] for _, fields in said] == ["chain_mask"]


def test_a_chain_whose_mask_cannot_be_read_now_is_decided_on_later():
    def chain_mask(*_):
        raise Unavailable

    kept = []
    states = SimpleNamespace(forget=kept.append)
    evaluator = ChainEvaluator(SimpleNamespace(chain_mask=chain_mask), None, states, None, None)
    finish = Finish(Result(200, {"secret": 1}, error=False), Outcome.ANSWERED, State.DELIVERED)
    with pytest.raises(Unavailable):
        evaluator._end(_Evaluation(chains(1)[0], SimpleNamespace(size_bytes=1, ids=()), finish, ()), "token", finish)
    assert kept == []  # its state still serves


def test_a_chain_whose_result_takes_too_long_to_search_for_secrets_ends_in_error_without_data():
    def value(_data):
        raise TooMuchWork

    mask = SimpleNamespace(with_texts=lambda _: SimpleNamespace(value=value))
    evaluator = ChainEvaluator(
        SimpleNamespace(chain_mask=lambda *_: mask), None, SimpleNamespace(forget=lambda _: None), None, None
    )
    finish = Finish(Result(200, {"secret": 1}, error=False), Outcome.ANSWERED, State.DELIVERED)
    evaluation = _Evaluation(chains(1)[0], SimpleNamespace(size_bytes=1, ids=()), finish, ())
    settled = evaluator._end(evaluation, "token", finish)
    assert (settled.reference_id, settled.claim_token) == (evaluation.record.reference_id, "token")
    assert (settled.state, settled.outcome) == (State.UNREACHABLE, Outcome.ANSWER_REJECTED)
    assert (settled.status, settled.error, settled.masked, settled.result, settled.raw) == (0, True, 0, b"", b"")
