"""The executor's steps before the claim, with a store that grants everything."""

from __future__ import annotations

from types import SimpleNamespace

import gevent
import pytest
from gevent.event import Event

from relay.domain.invocation import Outcome, State
from relay.domain.reference_id import new_reference_id
from relay.domain.shares import capacity_left
from relay.errors import Unavailable
from relay.executor import batch, pipeline
from relay.executor.active_calls import ActiveCall
from relay.executor.batch import HOLD_S, LEFT_OUT, Batch
from relay.executor.chain_evaluation import Decided
from relay.executor.pipeline import CLAIM_ITEMS, MAX_TOKENS_WANTED, SETTLE_S, Executor
from relay.executor.preparation import Prepared, Unsendable
from relay.executor.slots import BRIEF_S
from relay.outbound.gate import Gate
from relay.process.clock import boot_time_s
from relay.process.pulse import LOOK_S
from relay.queue import GROUP_IDS
from relay.registration.fields import MAX_TIMEOUT_S
from relay.store.keys.keyspace import SINGLE
from relay.store.ledger.transitions import CallRecord, Claimed, NextStep, Settled
from relay.store.ledger.waiting import TakenCalls
from relay.telemetry import log
from relay.telemetry.log import Event as LogEvent
from tests.timing import BUSY_S, stop_clock, wait_until

SLOTS = 10
A_WHILE_S = 0.15


class Waiting:
    """The lists of calls that wait, in two partitions."""

    partitions = 2

    def __init__(self, store):
        self._store = store
        self.lists = {0: [], 1: []}
        self.asked = []

    def take(self, partition, lanes, *, most):
        self.asked.append((partition, tuple(lanes)))
        found = self.lists[partition]
        if isinstance(found, Exception):
            raise found
        taken, self.lists[partition] = found[:most], found[most:]
        return TakenCalls(taken, [self._store.published[ref] for ref in taken], bool(self.lists[partition]))


class Store:
    """Grants every claim, and settles calls once the test allows it."""

    keys = SINGLE
    lease_margin_s = 10.0

    def __init__(self):
        self.waiting = Waiting(self)
        self.published: dict[str, CallRecord] = {}
        self.reads: list[list[str]] = []
        self.prepared: list[str] = []
        self.granted: list[str] = []
        self.claimed_at_once: list[int] = []
        self.parked: list[str] = []
        self.woken: list[tuple[str, int, list[str]]] = []
        self.capacities: list[int | None] = []
        self.paused: set[tuple[str, str]] = set()  # by what was decided
        self.may_settle = Event()
        self.reads_ahead: list[list[CallRecord]] = []
        self.advanced: list[list[str]] = []
        self.may_advance = Event()
        self.may_advance.set()

    def call(self, webhook_id="hook", **fields):
        ref = new_reference_id()
        self.published[ref] = CallRecord(
            ref, State.QUEUED, "acme", webhook_id, 1, 1, b"", None, 20_000, "bulk", **fields
        )
        return ref

    def read(self, refs):
        self.reads.append(list(refs))
        return [self.published[ref] for ref in refs]

    def claim(self, refs, _token, *, full, park):
        self.claimed_at_once.append(len(refs))
        self.granted += refs
        self.parked += [*full, *park]
        return Claimed(1, frozenset(refs), frozenset((*full, *park)), ())

    def advance(self, decisions):
        self.advanced.append([each.reference_id for each in decisions])
        self.may_advance.wait()
        return Claimed(1, frozenset(self.advanced[-1]), frozenset(), ())

    @property
    def parked_calls(self):
        return self

    def webhooks(self, *, limit):
        return [("acme", name) for name in ("busy", "other")][:limit]

    def wake(self, _plugin, webhook_id, capacity, lanes):
        self.woken.append((webhook_id, capacity, lanes))
        ref = self.call(webhook_id)
        return ((ref, "bulk"),)

    def settle(self, group):
        self.capacities += [settlement.capacity for settlement in group]
        self.may_settle.wait()
        return Settled((True,) * len(group), ())


@pytest.fixture
def store():
    store = Store()
    yield store
    store.may_settle.set()


@pytest.fixture
def executor(store):
    """An executor whose calls are never sent, and hold their slots until they are settled."""
    return make_executor(store, SLOTS)


def make_executor(store, slots):
    def prepare(published, *, waits):
        if published.webhook_id == "unreadable":
            raise Unavailable
        if published.webhook_id == "hanging":
            if not waits:
                return None
            store.may_settle.wait()
        if published.webhook_id == "tokenless":
            if not waits:
                return None
            raise Unavailable
        store.prepared.append(published.reference_id)
        return Unsendable(published, Outcome.ADDRESS_REFUSED)

    def decide(chain):
        if chain.webhook_id == "unreadable":
            raise Unavailable
        return Decided(chain, NextStep(chain.reference_id, "token", chain.made, 0, ()))

    return Executor(
        store,
        SimpleNamespace(paused=store.paused.intersection),
        SimpleNamespace(read_ahead=store.reads_ahead.append, prepare=prepare, decide=decide),
        None,
        None,
        None,
        SimpleNamespace(named_by=lambda _refs: [], stop=lambda: None, busy=False),
        SimpleNamespace(
            sending=lambda _active: None, claimed=lambda _active: None, settled=lambda _active, _settlement: None
        ),
        max_in_flight=slots,
        lanes=["bulk"],
        publisher=SimpleNamespace(publish_ready=pytest.fail),
    )


def test_what_was_read_as_full_is_parked_with_the_claim_of_the_others(store, executor):
    full, other = store.call("capped", full=True), store.call()
    counts = executor.run([full, other])
    assert (store.granted, store.parked) == ([other], [full])
    assert counts == {"started": 1, "skipped": 0, "parked": 1}


def test_chains_are_taken_further_together_without_a_claim_and_without_slots(store, executor):
    executor._slots.take(SLOTS)
    chains, other = [store.call("chain", pins="{}") for _ in range(3)], store.call(full=True)
    counts = executor.run([chains[0], other, *chains[1:]])
    assert (store.advanced, store.granted, store.parked) == ([chains], [], [other])
    assert store.reads_ahead == [[store.published[ref] for ref in chains]]
    assert counts == {"started": 3, "skipped": 0, "parked": 1}
    assert not executor.scheduler._held
    assert executor._slots.free == 0


def test_a_chain_that_waits_or_is_held_is_not_decided_on_and_left_to_the_claim(store, executor):
    waiting, held = store.call("chain", pins="{}"), store.call("chain", pins="{}", full=True)
    store.published[waiting] = store.published[waiting]._replace(state=State.WAITING)
    counts = executor.run([waiting, held])
    assert (store.advanced, store.granted, store.parked) == ([], [], [waiting, held])
    assert counts == {"started": 0, "skipped": 0, "parked": 2}


def test_a_chain_that_cannot_be_decided_on_now_is_left_to_a_sweep_and_keeps_no_other_one_back(store, executor):
    left, chain = store.call("unreadable", pins="{}"), store.call("chain", pins="{}")
    counts = executor.run([left, chain])
    assert (store.advanced, counts) == ([[chain]], {"started": 1, "skipped": 1, "parked": 0})
    assert not executor.scheduler._held


def test_a_task_ends_once_its_chains_were_taken_further_so_that_no_more_of_them_are_at_work_than_were_taken(
    store, executor
):
    store.may_advance.clear()
    store.waiting.lists[0] = [store.call("chain", pins="{}") for _ in range(GROUP_IDS + 1)]
    task = gevent.spawn(executor.run_waiting, ("bulk",), 0)
    soon(lambda: store.advanced)
    gevent.sleep(A_WHILE_S)
    assert len(store.waiting.lists[0]) == 1
    store.may_advance.set()
    assert task.get(timeout=BUSY_S)["started"] == GROUP_IDS + 1


def test_a_call_of_a_webhook_that_was_paused_is_left_out_if_its_record_says_otherwise(store, executor):
    """To park it would wake it again at once, since the scripts go by the record."""
    store.paused.add(("acme", "held"))
    held, full, other = store.call("held"), store.call("held", full=True), store.call()
    counts = executor.run([held, full, other])
    assert (store.granted, store.parked) == ([other], [full])
    assert counts == {"started": 1, "skipped": 1, "parked": 1}
    store.paused.clear()
    executor.run([held])
    assert store.granted == [other, held]


def test_only_what_may_go_is_prepared_and_that_once(store, executor):
    executor.run([store.call("busy") for _ in range(SLOTS - 2)])
    few, many = [store.call(f"hook-{number}") for number in range(4)], [store.call("busy") for _ in range(40)]
    running = gevent.spawn(executor.run, [store.call("capped", full=True), *many, *few])
    soon(lambda: store.granted[-2:] == few[:2])  # the other two have no slots yet
    store.may_settle.set()
    running.get(timeout=BUSY_S)
    assert sorted(store.prepared) == sorted(store.granted)
    assert set(many) & set(store.parked)  # beyond their webhook's share


@pytest.mark.parametrize("refused", range(3))
def test_only_what_was_granted_holds_slots(store, executor, monkeypatch, refused):
    def claim(refs, _token, *, full, park):
        return Claimed(1, frozenset(refs[refused:]), frozenset((*full, *park)), ())

    monkeypatch.setattr(store, "claim", claim)
    executor.run([store.call("one"), store.call("other"), store.call("capped", full=True)])
    assert executor._slots.free == SLOTS - (2 - refused)


def test_what_is_parked_may_be_taken_in_hand_again(store, executor):
    ref = store.call("capped", full=True)
    executor.run([ref])
    executor.run([ref])
    assert store.parked == [ref, ref]


def test_what_a_claim_has_made_ready_runs_here_and_the_calls_that_it_has_ended_are_noted(store, executor, monkeypatch):
    executor.run([store.call("busy") for _ in range(SLOTS - 2)])  # its share
    lost, capped, beyond, other = store.call(), store.call(full=True), store.call("busy"), store.call()
    ends = {ref: (State.UNREACHABLE, f"outcome {number}") for number, ref in enumerate((lost, capped, beyond))}
    woken, noted = store.call("woken"), []
    claimed = Claimed(1, frozenset([other]), frozenset(), ((woken, "bulk"),), ends)
    monkeypatch.setattr(batch, "HOLD_S", 0.0)
    monkeypatch.setattr(executor._watch, "ended", lambda *ended: noted.append(ended), raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(store, "claim", lambda *_, **__: claimed)
        executor.run([lost, capped, beyond, other])
    soon(lambda: store.granted[-1] == woken)
    assert noted == [(store.published[ref], *end) for ref, end in ends.items()]


def test_what_the_settle_of_another_call_has_brought_is_not_read_again(store, executor):
    known, unknown = store.call(), store.call()
    executor.run([known, unknown], [store.published[known]])
    assert store.reads == [[unknown]]
    assert set(store.granted) == {known, unknown}


@pytest.fixture
def clock(monkeypatch):
    """Stops the clock by which messages hold calls back and webhooks are slow; the test moves it on."""
    return stop_clock(monkeypatch)


def soon(check):
    """Wait until a check is true, while greenlets go on."""
    wait_until(check, every_s=0.001, sleep=gevent.sleep)


def test_nothing_is_claimed_for_a_webhook_that_has_enough_until_a_call_of_it_has_ended(
    store, executor, clock, monkeypatch
):
    monkeypatch.setattr(batch, "HOLD_S", 10 * BUSY_S)
    executor.run([store.call()])
    has_enough = [True]
    monkeypatch.setattr(executor._slots, "has_enough", lambda _name: has_enough[0])
    late = store.call()
    running = gevent.spawn(executor.run, [late])
    gevent.sleep(A_WHILE_S)
    assert late not in store.granted
    has_enough[0] = False
    store.may_settle.set()
    running.get(timeout=BUSY_S)
    assert late in store.granted


def test_a_webhook_whose_calls_do_not_end_has_enough_for_as_long_as_a_message_is_held(store, executor, monkeypatch):
    executor.run([store.call()])
    monkeypatch.setattr(executor._slots, "has_enough", lambda _name: True)
    late = store.call()
    executor.run([late])
    assert late in store.granted


def test_a_message_whose_calls_are_claimed_has_more_time_and_one_whose_calls_are_parked_has_none(clock):
    going, parking = Batch({"a", "b"}, waits=False), Batch({"a", "b"}, waits=False)
    clock(HOLD_S / 2)
    going.claimed(Claimed(1, frozenset("a"), frozenset(), ()))
    parking.claimed(Claimed(1, frozenset(), frozenset("a"), ()))
    assert (going.hold_s, parking.hold_s) == (HOLD_S, HOLD_S / 2)
    assert going.left == parking.left == {"b"}
    clock(HOLD_S)
    assert (going.hold_s, parking.hold_s) == (0, 0)


def test_a_call_of_another_webhook_does_not_wait_behind_many_that_are_kept_in_hand(store, executor, clock):
    executor.run([store.call("busy") for _ in range(SLOTS)])
    busy, other = [store.call("busy") for _ in range(40)], store.call("other")
    running = gevent.spawn(executor.run, [*busy, other])
    soon(lambda: other in store.granted)
    gevent.sleep(A_WHILE_S)
    assert not set(busy) & {*store.granted, *store.parked}
    clock(HOLD_S)
    running.get(timeout=BUSY_S)
    assert set(busy) <= set(store.parked)


def test_what_was_read_as_full_is_parked_at_once_though_all_others_are_kept_in_hand(store, executor, clock):
    executor.run([store.call("busy") for _ in range(SLOTS)])
    busy, full = [store.call("busy") for _ in range(4)], store.call("capped", full=True)
    running = gevent.spawn(executor.run, [*busy, full])
    soon(lambda: full in store.parked)
    assert not set(busy) & set(store.parked)
    clock(HOLD_S)
    running.get(timeout=BUSY_S)
    assert set(busy) <= set(store.parked)


def test_parked_calls_are_woken_as_far_as_there_is_room_and_run_here(store, executor):
    executor.run([store.call("busy") for _ in range(SLOTS - 4)])
    executor.scheduler.wake()
    soon(lambda: len(store.granted) == SLOTS - 4 + 2)
    assert store.woken[0] == ("busy", 2, ["bulk"])  # a webhook may always hold eight
    assert store.woken[1][:2] == ("other", 4)


def test_a_process_whose_slots_are_all_taken_wakes_nobody_and_asks_for_nobody(store, executor):
    store.webhooks = lambda *, limit: pytest.fail(f"asked for {limit}")
    executor.run([store.call(f"hook{number}") for number in range(SLOTS)])
    executor.scheduler.wake()
    assert store.woken == []


@pytest.mark.parametrize(("replied_after_s", "late_s"), [(0.0, 0.0), (4.9, 0.0), (5.1, 0.1), (9.0, 4.0)])
def test_a_slow_reply_to_a_claim_costs_calls_no_time_up_to_half_the_margin_of_their_leases(
    store, executor, clock, replied_after_s, late_s
):
    grant = store.claim
    store.claim = lambda *args, **kwargs: (clock(replied_after_s), grant(*args, **kwargs))[1]
    call = Unsendable(store.published[store.call()], Outcome.ADDRESS_REFUSED)
    _, (active,) = executor._claimer.claim([call], [], [])
    assert active.gate.deadline_s - active.claimed_at_s == pytest.approx(call.record.timeout_ms / 1000 - late_s)


def test_what_may_go_now_runs_here_as_far_as_there_is_room_and_all_else_waits_for_any_worker(store, executor):
    others = []
    executor.scheduler._publisher.publish_ready = others.extend
    executor.run([store.call() for _ in range(3)])
    foreign, own = (new_reference_id(), "interactive"), [store.call(f"hook{number}") for number in range(SLOTS)]
    executor.scheduler.run_or_publish((foreign, *((ref, "bulk") for ref in own)))
    assert others == [foreign, *((ref, "bulk") for ref in own[SLOTS - 3 :])]
    soon(lambda: store.granted[3:] == own[: SLOTS - 3])


@pytest.mark.parametrize("error", [Unavailable(), RuntimeError()])
def test_calls_that_cannot_be_published_are_left_to_a_sweep_and_stop_nothing(executor, events_of, error):
    def publish_ready(_ready):
        raise error

    said = events_of(log)
    executor.scheduler._publisher.publish_ready = publish_ready
    executor.scheduler.run_or_publish(((new_reference_id(), "interactive"), (new_reference_id(), "replay")))
    ((name, fields),) = said
    if isinstance(error, Unavailable):
        assert (name, fields["doing"], fields["calls"]) == (LogEvent.STORE_AWAY, "publish", 2)
    else:
        assert (name, fields["where"]) == (LogEvent.INTERNAL_ERROR, "publish")


def test_a_settle_says_how_much_room_there_is_when_its_calls_have_left(store, executor):
    executor.run([store.call("busy") for _ in range(6)])
    store.may_settle.set()
    soon(lambda: len(store.capacities) == 6)
    assert store.capacities[0] in range(4, SLOTS + 1)  # as many as had ended by then
    assert store.capacities[-1] == capacity_left(0, SLOTS)


def test_one_script_claims_so_many_and_no_more(store):
    executor = make_executor(store, 3 * CLAIM_ITEMS)
    executor.run([store.call(f"hook-{number}") for number in range(CLAIM_ITEMS + 1)])
    assert store.claimed_at_once == [CLAIM_ITEMS, 1]


def test_one_script_claims_so_many_also_where_all_are_looked_at(store, clock):
    executor = make_executor(store, 10 * CLAIM_ITEMS)
    executor.run([store.call("busy") for _ in range(8 * CLAIM_ITEMS)])  # its share
    others = [store.call(f"hook-{number}") for number in range(CLAIM_ITEMS + 8)]
    running = gevent.spawn(executor.run, [*(store.call("busy") for _ in range(CLAIM_ITEMS)), *others])
    soon(lambda: set(others) <= set(store.granted))
    clock(HOLD_S)
    running.get(timeout=BUSY_S)
    assert max(store.claimed_at_once) == CLAIM_ITEMS


def test_calls_that_fail_together_are_each_tried_alone_and_that_once(store, executor):
    asked = []

    def paused(names):
        asked.append(sorted(name for _, name in names))
        raise ValueError

    executor._decisions.paused = paused
    executor.run([store.call("one"), store.call("other")])
    soon(lambda: len(asked) == 3)
    gevent.sleep(A_WHILE_S)
    assert sorted(asked) == [["one"], ["one", "other"], ["other"]]
    assert executor.scheduler._held == set()


def test_calls_that_are_tried_alone_wait_neither_for_one_another_nor_hold_a_task(store, executor):
    may_go = Event()

    def paused(names):
        if len(names) > 1:
            raise ValueError
        if ("acme", "slow") in names:
            may_go.wait()
        return set()

    executor._decisions.paused = paused
    slow, other = store.call("slow"), store.call("other")
    gevent.spawn(executor.run, [slow, other]).get(timeout=BUSY_S)
    soon(lambda: store.granted == [other])
    may_go.set()
    soon(lambda: store.granted == [other, slow])


@pytest.mark.parametrize(("unreadable", "started"), [(LEFT_OUT, 1), (LEFT_OUT + 1, 0)])
def test_a_few_that_cannot_be_prepared_now_are_left_out_and_with_more_the_store_is_away(
    store, executor, unreadable, started
):
    refs = [store.call("unreadable") for _ in range(unreadable)] + [store.call()]
    assert executor.run(refs) == {"started": started, "skipped": len(refs) - started, "parked": 0}
    assert executor.scheduler._held == set(store.granted)


def test_calls_whose_tokens_hang_hold_no_task_and_hold_up_no_others(store, executor):
    hanging = [store.call("hanging") for _ in range(4)]
    assert executor.run([*hanging, store.call()])["started"] == 1
    assert executor.run([store.call()])["started"] == 1
    assert executor.run(hanging)["started"] == 0  # they are already in progress
    store.may_settle.set()
    soon(lambda: set(hanging) <= set(store.granted))
    soon(lambda: (executor._tokens_wanted, executor.scheduler._held, executor._slots.free) == (0, set(), SLOTS))


def test_calls_of_one_revision_do_not_wait_for_the_token_of_another(store, executor):
    may_go = Event()

    def prepare(record, *, waits):
        if waits and record.revision == 1:
            may_go.wait()
        return Unsendable(record, Outcome.ADDRESS_REFUSED) if waits else None

    executor._preparation.prepare = prepare
    first, second = store.call(), store.call()
    store.published[second] = store.published[second]._replace(revision=2)
    executor.run([first, second])
    soon(lambda: store.granted == [second])
    may_go.set()
    soon(lambda: store.granted == [second, first])


def test_a_call_whose_token_is_not_had_is_logged_as_skipped(store, executor, monkeypatch):
    logged = []
    monkeypatch.setattr(pipeline, "event", lambda _name, **fields: logged.append(fields))
    executor.run([store.call("tokenless"), store.call()])
    soon(lambda: len(logged) == 2)
    assert logged == [{"started": 1, "skipped": 1, "parked": 0}, {"started": 0, "skipped": 1, "parked": 0}]


@pytest.mark.parametrize(("held", "started"), [(MAX_TOKENS_WANTED - 1, 1), (MAX_TOKENS_WANTED, 0)])
def test_so_many_calls_wait_for_tokens_and_more_come_again(store, executor, held, started):
    executor._tokens_wanted = held
    executor.run([store.call("hanging"), store.call("hanging")])
    assert len(executor.scheduler._held) == started
    store.may_settle.set()
    soon(lambda: executor._tokens_wanted == held)
    assert len(store.granted) == started


def test_a_call_for_which_no_endpoint_is_called_counts_as_answered_at_once(store, executor, clock):
    for _ in range(2):
        executor.run([store.call()])
        for _ in range(3):
            gevent.sleep(0)
        clock(0.6 * BRIEF_S)
    assert executor._slots.soon_free([("acme", "hook")], BUSY_S)


# -- calls that wait -----------------------------------------------------------------------------------------------------


def test_a_task_takes_the_calls_that_wait_in_its_lane_until_none_is_left(store):
    executor = make_executor(store, 1_000)
    refs = store.waiting.lists[1] = [store.call(f"hook{number}") for number in range(300)]
    assert executor.run_waiting(("bulk",), 1) == {"started": 300, "skipped": 0, "parked": 0}
    assert store.granted == refs
    assert store.waiting.asked == [(1, ("bulk",))] * 3  # 128, 128 and 44
    assert store.reads == []  # what was taken is read already


@pytest.mark.parametrize("partition", [-1, 2, 10**40])
def test_a_partition_that_does_not_exist_is_not_asked(store, executor, partition):
    assert executor.run_waiting(("bulk",), partition) == {"started": 0, "skipped": 0, "parked": 0}
    assert store.waiting.asked == []


@pytest.mark.parametrize("is_taken", [False, True])
def test_the_replay_jobs_among_what_waits_are_run_beside_the_calls(store, executor, is_taken):
    job, ref, ran = new_reference_id(), store.call(), []
    store.read = lambda _refs: []  # a job is no call
    executor._replaying = SimpleNamespace(named_by=lambda refs: [each for each in refs if each == job], run=ran.append)
    if is_taken:
        store.waiting.take = lambda *_, **__: TakenCalls([job, ref], [store.published[ref]], False)
        executor.run_waiting(("bulk",), 0)
    else:
        executor.run([job, ref], [store.published[ref]])
    soon(lambda: (ran, store.granted) == ([job], [ref]))


def test_nothing_is_taken_while_every_slot_is_taken(store, executor):
    executor.run([store.call(f"hook{number}") for number in range(SLOTS)])
    store.waiting.lists[0] = [store.call("other")]
    executor.look()
    task = gevent.spawn(executor.run_waiting, ("bulk",), 0)
    gevent.sleep(A_WHILE_S)
    assert store.waiting.asked == []
    store.may_settle.set()
    task.join(BUSY_S)
    assert len(store.granted) == SLOTS + 1


def test_a_look_takes_what_waits_in_each_partition_without_a_message(store, executor):
    refs = [store.call("one"), store.call("two")]
    store.waiting.lists = {0: refs[:1], 1: refs[1:]}
    executor.look()
    wait_until(lambda: len(store.granted) == len(refs), BUSY_S, sleep=gevent.sleep)
    assert sorted(store.granted) == sorted(refs)
    later = store.waiting.lists[1] = [store.call("later")]
    soon(lambda: not executor._looking)
    executor.look()
    soon(lambda: store.granted[len(refs) :] == later)


def test_a_partition_that_cannot_be_asked_delays_no_other(store, executor):
    ref = store.call()
    store.waiting.lists = {0: Unavailable(), 1: [ref]}
    executor.look()
    wait_until(lambda: store.granted == [ref], BUSY_S, sleep=gevent.sleep)
    assert executor.run_waiting(("bulk",), 0) == {"started": 0, "skipped": 0, "parked": 0}


def test_a_partition_that_does_not_answer_is_not_asked_again_meanwhile(store, executor):
    may_answer, take = Event(), store.waiting.take

    def hang(partition, lanes, *, most):
        taken = take(partition, lanes, most=most)
        if partition == 0:
            may_answer.wait()
        return taken

    store.waiting.take = hang
    for _ in range(3):
        executor.look()
        soon(lambda: 1 not in executor._looking)
    assert sorted(partition for partition, _ in store.waiting.asked) == [0, 1, 1, 1]
    may_answer.set()


def test_a_worker_that_drains_takes_nothing(store, executor):
    store.waiting.lists[0] = [store.call()]
    executor.drain(0.0)
    executor.look()
    assert executor.run_waiting(("bulk",), 0)["started"] == 0
    assert store.waiting.asked == []


def test_a_worker_that_begins_to_drain_while_it_waits_for_a_slot_takes_nothing(store, executor):
    executor.run([store.call(f"hook{number}") for number in range(SLOTS)])
    store.waiting.lists[0] = [store.call()]
    task = gevent.spawn(executor.run_waiting, ("bulk",), 0)
    gevent.sleep(A_WHILE_S)
    executor.scheduler.draining = True
    store.may_settle.set()
    assert task.get(timeout=BUSY_S)["started"] == 0
    assert store.waiting.asked == []


def test_a_stop_waits_for_no_settlement_beyond_its_time_and_says_how_many_calls_are_left(
    store, executor, events_of, clock
):
    executor.run([store.call("one"), store.call("other")])
    soon(lambda: not executor._in_flight.settlers.flush(0))  # they wait to be settled
    said = events_of(pipeline)
    gevent.spawn(executor.drain, 0.0).get(timeout=BUSY_S)
    assert said == [(LogEvent.DRAINED, {"given_back": 0, "left": 2})]


def test_the_parts_that_must_move_have_names_and_calls_must_end_only_while_every_slot_is_taken(store, executor):
    parts = {part.name: part for part in executor.parts()}
    assert list(parts) == ["settler", "advancer", "calls"]
    calls = parts["calls"]
    executor._in_flight.settlers._queues[0].moves, executor._advancers._queues[0].moves = 3, 5
    assert (parts["settler"].moves(), parts["advancer"].moves()) == (3, 5)
    executor.run([store.call(f"hook{number}") for number in range(SLOTS - 1)])
    assert calls.moves() is None
    executor.run([store.call("last")])
    assert calls.moves() == 0
    store.may_settle.set()
    soon(lambda: executor._slots.free == SLOTS)
    assert calls.moves() is None
    executor.run([store.call(f"hook{number}") for number in range(SLOTS)])
    assert calls.moves() == SLOTS
    assert min(calls.still_looks, calls.stuck_looks) * LOOK_S > MAX_TIMEOUT_S


@pytest.mark.parametrize("busy", ["replay job", "claim"])
def test_a_stop_waits_for_a_replay_job_or_a_claim_but_leaves_time_to_settle(executor, clock, busy):
    if busy == "claim":
        executor._claimer._under_way = 1
    else:
        executor._replaying.busy = True
    stop = gevent.spawn(executor.drain, SETTLE_S + 1)
    gevent.sleep(A_WHILE_S)
    assert not stop.ready()
    clock(1)
    stop.get(timeout=BUSY_S)


def test_a_stop_gives_back_what_was_not_sent_claim_by_claim_and_stops_replay_jobs(store, executor, events_of):
    stopped, given_back, published, said = [], [], [], events_of(pipeline)
    executor._replaying.stop = lambda: stopped.append(True)
    store.release = lambda refs, token: given_back.append((token, refs)) or [(refs[0], "bulk")]
    executor.scheduler._publisher.publish_ready = published.extend
    refs, now_s = [store.call() for _ in range(3)], boot_time_s()
    for ref, token in zip(refs, ("one", "one", "other"), strict=True):
        call, gate = Prepared(store.published[ref], None, None, None), Gate(now_s + BUSY_S)
        executor._slots.take(1)
        executor._active_calls.add(ActiveCall(call, ("acme", "hook"), token, gate, claimed_at_ms=1, claimed_at_s=now_s))
    executor.drain(0.0)
    assert (given_back, stopped) == ([("one", refs[:2]), ("other", refs[2:])], [True])
    assert published == [(refs[0], "bulk"), (refs[2], "bulk")]
    assert said == [(LogEvent.DRAINED, {"given_back": 3, "left": 0})]


def test_a_stop_leaves_what_has_no_slot_yet_to_other_workers(store, executor):
    left = []
    executor.scheduler._publisher.publish_ready = left.extend
    executor.run([store.call(f"hook{number}") for number in range(SLOTS)])
    late = store.call("late")
    running = gevent.spawn(executor.run, [late])
    soon(lambda: late in store.prepared)
    executor.scheduler.draining = True
    store.may_settle.set()
    running.get(timeout=BUSY_S)
    assert (left, late in store.granted) == ([(late, "bulk")], False)
    soon(lambda: executor._slots.free == SLOTS)


def test_a_call_that_was_taken_again_while_it_was_parked_is_left_to_other_workers_by_a_stop(
    store, executor, monkeypatch
):
    """It was made ready meanwhile, and is in no list any more."""
    may_park, claim, left = Event(), store.claim, []

    def slow_claim(*claimed, **more):
        may_park.wait()
        return claim(*claimed, **more)

    monkeypatch.setattr(store, "claim", slow_claim)
    executor.scheduler._publisher.publish_ready = left.extend
    ref = store.call("capped", full=True)
    parking = gevent.spawn(executor.run, [ref])
    soon(lambda: executor._claimer.busy)
    executor.run([ref])
    executor.scheduler.draining = True
    may_park.set()
    parking.get(timeout=BUSY_S)
    assert store.parked == [ref]
    soon(lambda: left == [(ref, "bulk")])
    assert not executor.scheduler._held


def test_a_stop_that_gives_back_all_calls_leaves_what_waits_for_their_slots_to_other_workers(store, executor):
    """Their connections may hang for as long as the calls may take."""
    left, now_s = [], boot_time_s()
    store.release = lambda _refs, _token: []
    executor.scheduler._publisher.publish_ready = left.extend
    executor._slots.take(SLOTS)
    for _ in range(SLOTS):
        call, gate = Prepared(store.published[store.call()], None, None, None), Gate(now_s + BUSY_S)
        executor._active_calls.add(ActiveCall(call, ("acme", "hook"), "t", gate, claimed_at_ms=1, claimed_at_s=now_s))
    late = store.call("late")
    running = gevent.spawn(executor.run, [late])
    soon(lambda: late in store.prepared)
    executor.drain(0.0)
    running.get(timeout=BUSY_S)
    assert (left, late in store.granted) == ([(late, "bulk")], False)


def test_a_task_does_not_wait_for_calls_of_one_of_several_partitions(store, executor, monkeypatch):
    monkeypatch.setattr(pipeline, "APART_S", 0.01)
    executor.run([store.call(f"hook{number}") for number in range(SLOTS)])
    monkeypatch.setattr(Store, "keys", SimpleNamespace(partitions=2))
    assert executor.run_waiting(("bulk",), 1) == {"started": 0, "skipped": 0, "parked": 0}


def test_a_task_says_what_it_has_started_also_where_there_are_several_partitions(store, executor, monkeypatch):
    monkeypatch.setattr(pipeline, "APART_S", 10 * BUSY_S)
    store.waiting.lists[1] = [store.call("capped", full=True), store.call()]
    monkeypatch.setattr(Store, "keys", SimpleNamespace(partitions=2))
    assert executor.run_waiting(("bulk",), 1) == {"started": 1, "skipped": 0, "parked": 1}
