"""Chains in random interleavings of two workers, lost leases and replies, cancels, deadlines: none stuck or doubled."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from relay.domain.invocation import FINAL, State
from relay.domain.reference_id import new_reference_id
from relay.errors import Conflict
from relay.store.ledger.transitions import ChainEnd, NewStep, NextStep
from tests.contract.ledger import Ledger, verdict_on
from tests.depth import examples
from tests.store_keys import KEYS

STEPS = (1, 3, 1)  # how many calls each step makes


class ChainMachine(RuleBasedStateMachine):
    """One chain of three steps; the test derives its next step from the records alone."""

    client: object

    def __init__(self):
        super().__init__()
        self.client.flushall()
        self.ledger = Ledger(self.client)
        self.store = self.ledger.store
        self.chain = self.ledger.accepted(pins="{}", repeatable=True, timeout_ms=120_000)
        self.decided = []  # what workers want to do with the chain, some of it long ago
        self.held = {}  # reference id -> token of the worker that sends it
        self.ends = {}  # reference id -> the final state that was seen

    # -- what is known ------------------------------------------------------------------------------------------

    def records(self):
        parent = self.store.find(self.chain)
        return [parent, *(self.store.find(ref) for ref in parent.steps)]

    def steps(self, number):
        return [record for record in self.records()[1:] if record.step_of.step == number]

    def next_step(self):
        made = {record.step_of.step for record in self.records()[1:]}
        return max(made, default=-1) + 1

    def some(self, data, refs):
        return data.draw(st.sampled_from(sorted(refs)))

    # -- what workers and time do ---------------------------------------------------------------------------------

    @rule(data=st.data(), repeat=st.booleans())
    def claim(self, data, repeat):
        ref, token = self.some(data, [record.reference_id for record in self.records()]), self.ledger.token()
        claimed = self.store.claim([ref], token)
        if repeat:
            assert self.store.claim([ref], token).granted == claimed.granted
        if claimed.granted:
            self.held[ref] = token

    @rule()
    def decide_what_the_chain_does_next(self):
        if self.store.find(self.chain).state is State.QUEUED:  # no worker decides on any other
            self.decided.append(self.decision())

    @precondition(lambda self: self.decided)
    @rule(data=st.data(), repeat=st.booleans())
    def take_the_chain_further(self, data, repeat):
        decision = self.decided.pop(data.draw(st.integers(0, len(self.decided) - 1)))
        is_current, before = decision == self.decision(decision), self.records()
        verdict = verdict_on(self.store.advance([decision]), self.chain)
        if repeat:
            again = verdict_on(self.store.advance([decision]), self.chain)
            assert again == ("skipped" if self.store.find(self.chain).state in FINAL else verdict)
        if verdict == "granted":
            assert is_current
            assert before[0].state is State.QUEUED
        assert len(self.records()) - len(before) in {0, len(getattr(decision, "news", ()))}

    @precondition(lambda self: self.held)
    @rule(data=st.data(), repeat=st.booleans())
    def settle_a_step(self, data, repeat):
        ref = self.some(data, self.held)
        settlement = self.ledger.settlement(ref, self.held.pop(ref), raw=b"raw")
        counted = self.store.settle([settlement]).verdicts
        if repeat:
            assert self.store.settle([settlement]).verdicts == counted

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def lose_a_worker(self, data):
        ref = self.some(data, self.held)
        del self.held[ref]
        if self.store.find(ref).state is State.SENDING:
            self.ledger.lose_lease(ref)

    @rule(data=st.data())
    def cancel(self, data):
        ref = self.some(data, [record.reference_id for record in self.records()])
        try:
            self.store.cancel(ref)
        except Conflict:
            return

    @rule()
    def pass_the_deadline(self):
        if self.store.find(self.chain).state not in FINAL:
            self.ledger.client.hset(KEYS.record(self.chain), "deadline", 1)

    # -- what must hold -------------------------------------------------------------------------------------------

    @invariant()
    def a_final_state_never_changes(self):
        for record in self.records():
            if record.reference_id in self.ends:
                assert record.state is self.ends[record.reference_id]
            elif record.state in FINAL:
                self.ends[record.reference_id] = record.state

    @invariant()
    def a_step_is_created_once_and_after_the_one_before_it(self):
        for number, calls in enumerate(STEPS):
            steps = self.steps(number)
            assert len(steps) in {0, calls}
            if steps and number:
                assert all(step.state in FINAL for step in self.steps(number - 1))

    @invariant()
    def every_unfinished_record_has_one_alarm_and_a_final_one_none(self):
        for record in self.records():
            assert len(self.ledger.alarms(record.reference_id)) == (0 if record.state in FINAL else 1)

    @invariant()
    def a_waiting_chain_has_an_unfinished_step_and_holds_no_place(self):
        parent, *steps = self.records()
        if parent.state is State.WAITING:
            assert any(step.state not in FINAL for step in steps)
            assert self.ledger.client.zscore(KEYS.running("acme", "hook"), self.chain) is None

    @invariant()
    def what_is_pending_is_what_is_not_final(self):
        pending = self.ledger.client.hget(KEYS.pending(), "count")
        assert int(pending) == sum(record.state not in FINAL for record in self.records())

    def decision(self, like=None):
        """Return what is to be done with the chain now; with ``like``, by the same worker in the same calls."""
        number = self.next_step()
        token = like.settlement.claim_token if isinstance(like, ChainEnd) else like.token if like else None
        if number < len(STEPS):
            news = like.news if isinstance(like, NextStep) else [self.new_step() for _ in range(STEPS[number])]
            return self.ledger.next_step(self.chain, *news, step=number, token=token)
        end = self.ledger.settlement(self.chain, token or self.ledger.token(), attempt=None)
        return ChainEnd(len(self.records()) - 1, end)

    def new_step(self):
        return NewStep(new_reference_id(), "hook", 1, 20_000, repeatable=False, payload=b"p", request_bytes=10)

    def teardown(self):
        """Check that, given time and one worker, everything ends, whatever happened before."""
        for _ in range(60):
            unfinished = [record for record in self.records() if record.state not in FINAL]
            if not unfinished:
                return
            for record in unfinished:
                ref = record.reference_id
                if record.state is State.SENDING and ref not in self.held:
                    self.ledger.lose_lease(ref)
                token = self.ledger.token()
                if self.store.claim([ref], token).granted:
                    self.held[ref] = token
            for ref in list(self.held):
                self.store.settle([self.ledger.settlement(ref, self.held.pop(ref))])
            if self.store.find(self.chain).state is State.QUEUED:
                self.store.advance([self.decision()])
        raise AssertionError([(record.reference_id, record.state) for record in self.records()])


def test_chains_keep_every_promise_in_any_order(valkey):
    with valkey.client() as client:
        machine = type("Machine", (ChainMachine,), {"client": client})
        each = settings(max_examples=examples(60), stateful_step_count=30, deadline=None)
        run_state_machine_as_test(machine, settings=each)
