"""What chains need of their steps is read together, and read for each chain where that fails or is out of date."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from relay.answer.results import Result
from relay.answer.search import TooMuchWork
from relay.chains import Create, Finish
from relay.domain.invocation import Outcome, State
from relay.domain.reference_id import new_reference_id
from relay.errors import NotFound, StoreFault, Unavailable
from relay.executor import chain_evaluation
from relay.executor import chain_states as chain_states_module
from relay.executor.chain_evaluation import ChainEvaluation, ChainEvaluator, Hidden, _Hiding
from relay.executor.chain_states import ChainStates
from relay.process import loops
from relay.store.ledger.steps import StepRecord
from relay.store.ledger.transitions import CallRecord
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
        chain_states.read_ahead(three)
        assert [chain_states.current(chain).count for chain in three] == [number + 1, number, max(0, number - 1)]
    assert (len(steps.together), steps.alone) == (3, [])


def test_what_chains_need_is_read_ahead_for_their_evaluator(steps, chain_states):
    two = chains(2)
    ChainEvaluator(None, None, chain_states, None, None).read_ahead(two)
    assert [chain_states.current(chain).count for chain in two] == [0, 0]
    assert (steps.together, steps.alone) == ([[chain.reference_id for chain in two]], [])


@pytest.mark.parametrize("error", [Unavailable(), StoreFault()])
def test_if_they_cannot_be_read_together_each_chain_reads_its_own(steps, chain_states, error):
    one, other = chains(2)
    steps.make(one)
    steps.error = error
    chain_states.read_ahead([one, other])
    assert [chain_states.current(chain).count for chain in (one, other)] == [1, 0]
    assert steps.alone == [one.reference_id, other.reference_id]


def test_what_was_read_ahead_serves_once_and_only_from_where_it_was_read(steps, chain_states):
    (chain,) = chains(1)
    chain_states.read_ahead([chain])
    steps.make(chain)
    assert chain_states.current(chain).count == 0
    assert chain_states.current(chain).count == 1
    chain_states.read_ahead([chain])
    chain_states.forget(chain.reference_id)
    assert chain_states.current(chain).count == 1
    assert len(steps.alone) == 2


def test_of_steps_at_work_nothing_is_kept(steps, chain_states):
    (chain,) = chains(1)
    steps.make(chain, State.SENDING)
    chain_states.read_ahead([chain])
    assert chain_states.current(chain).results == {}
    steps.made[chain.reference_id].clear()
    steps.make(chain)
    chain_states.read_ahead([chain])
    assert list(chain_states.current(chain).results) == [0]


def test_a_chain_does_not_go_on_without_an_answer_of_its_steps(steps, chain_states):
    (chain,) = chains(1)
    steps.make(chain, raw=None)
    with pytest.raises(NotFound):
        chain_states.current(chain)


def test_the_newest_chains_are_kept_as_far_as_their_bytes_go_and_none_that_is_large(steps, chain_states, monkeypatch):
    monkeypatch.setattr(chain_states_module, "MAX_KEPT_BYTES", 100)
    monkeypatch.setattr(chain_states_module, "MAX_KEPT_BYTES_OF_ONE", 60)
    for _ in range(3):
        *small, large = chains(6)
        for chain in (*small, large):
            steps.make(chain, raw=b'"%b"' % (b"x" * (59 if chain is large else 28)))
            chain_states.current(chain)
            chain_states.current(chain)  # counts once
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
    chain_states._store = SimpleNamespace(read=lambda refs: reads.append(refs) or [chain])
    step = chain._replace(reference_id=new_reference_id(), parent=chain.reference_id, step=2)
    steps.make(chain)
    assert chain_states.current(chain).count == 1
    steps.make(chain)
    steps.make(chain)
    steps.alone.clear()
    assert [chain_states.of_step(step, count).count for count in (2, 1, 2)] == [2, 2, 2]
    assert (steps.alone, reads) == ([chain.reference_id], [[chain.reference_id]])


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
    stored = {chain.reference_id: one.sealed_secrets(ChainEvaluation(chain, state, None, ("secret",)), Create(0, ()))}
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


def test_a_chain_whose_mask_cannot_be_made_shows_no_data_and_that_is_logged(monkeypatch, events_of):
    monkeypatch.setattr(loops, "RETRY_S", 0.0)
    said = events_of(log)

    def chain_mask(*_):
        raise ZeroDivisionError

    evaluator = ChainEvaluator(SimpleNamespace(chain_mask=chain_mask), None, None, None, None)
    evaluation = SimpleNamespace(record=chains(1)[0])
    assert evaluator._masked(evaluation, Result(200, {"secret": 1}, False)) == (None, 0)
    assert [fields["where"] for _, fields in said] == ["conclude", "chain_mask"]


def test_a_chain_whose_result_takes_too_long_to_search_for_secrets_ends_in_error_without_data():
    def value(_data):
        raise TooMuchWork

    mask = SimpleNamespace(with_texts=lambda _: SimpleNamespace(value=value))
    evaluator = ChainEvaluator(
        SimpleNamespace(chain_mask=lambda *_: mask), None, SimpleNamespace(forget=lambda _: None), None, None
    )
    finish = Finish(Result(200, {"secret": 1}, error=False), Outcome.ANSWERED, State.DELIVERED)
    evaluation = ChainEvaluation(chains(1)[0], SimpleNamespace(size_bytes=1), finish, ())
    settled = evaluator.end(evaluation, "token")
    assert (settled.reference_id, settled.claim_token) == (evaluation.record.reference_id, "token")
    assert (settled.state, settled.outcome) == (State.UNREACHABLE, Outcome.ANSWER_REJECTED)
    assert (settled.status, settled.error, settled.masked, settled.result, settled.raw) == (0, True, 0, b"", b"")
