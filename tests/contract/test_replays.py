"""Replay jobs: what is matched, what is made, what is skipped and why, and how they are steered."""

from dataclasses import replace

import pytest

from relay.errors import BadParameter, Conflict, NotFound
from relay.invocation import Outcome, Sent, State
from relay.reference_id import new_reference_id
from relay.replay.planning import Request
from relay.store import keyspace
from relay.store.invocations import NewStep
from relay.store.listing import Filter
from relay.store.replay_runs import NewReplay, Verdict
from relay.store.replays import ReplayState
from tests.contract.desk import Desk
from tests.contract.ledger import LIMITS, Ledger

HOUR_MS = 3600 * 1000


@pytest.fixture
def desk(ledger):
    return Desk(ledger)


# -- what is matched ------------------------------------------------------------------------------------------------


def test_a_filter_without_states_takes_what_failed(desk):
    failed = desk.failed(3)
    desk.ended(status=200)
    desk.ledger.accepted()
    job = desk.start()
    assert (job.state, job.matched, job.started) == (ReplayState.RUNNING, 3, 0)
    desk.create_all(job)
    assert [desk.record(ref).replay_of for ref in desk.made(job)] == failed


def test_a_filter_with_states_takes_those_also_with_success(desk):
    done = desk.ended(status=200)
    desk.failed(1)
    job = desk.start(filter=Filter(states=frozenset({State.DELIVERED}), status=(200,)))
    assert job.matched == 1
    desk.create_all(job)
    assert desk.record(done).replayed_by == desk.made(job)[0]


def test_what_ends_after_the_job_was_made_is_not_matched(desk):
    desk.failed(1)
    late = desk.ended()
    desk.client.hincrby(keyspace.record(late), "finishedAt", HOUR_MS)
    assert desk.start().matched == 1
    assert desk.replays.plan("acme", Request(filter=Filter())).matched == 1


def test_steps_of_chains_are_never_matched(desk):
    parent, token = desk.ledger.claimed(pins="{}", repeatable=True)
    step = new_reference_id()
    desk.ledger.store.advance(parent, token, 0, [NewStep(step, "hook", 1, 20_000, False, b"\x01", 1)])
    desk.send([step], status=503)
    token = desk.ledger.token()
    desk.ledger.store.claim([parent], token)
    desk.settle(parent, token)
    job = desk.start()
    assert job.matched == 1
    desk.create_all(job)
    (new,) = desk.made(job)
    assert desk.record(new).replay_of == parent


def test_only_the_newest_of_a_family_is_matched(desk):
    (first,) = desk.failed(1)
    job = desk.start()
    desk.create_all(job)
    (second,) = desk.made(job)
    desk.send([second], status=503)
    again = desk.start()
    assert again.matched == 1
    desk.create_all(again)
    (third,) = desk.made(again)
    assert desk.record(third).replay_of == second
    assert [desk.record(ref).replayed_by for ref in (first, second, third)] == [second, third, None]
    desk.send([third])
    assert desk.start().matched == 0


def test_max_takes_the_newest(desk):
    failed = desk.failed(5)
    job = desk.start(max=2)
    assert job.matched == 2
    desk.create_all(job)
    assert [desk.record(ref).replay_of for ref in desk.made(job)] == failed[3:]


def test_a_job_of_nothing_is_done(desk):
    job = desk.start()
    assert (job.state, job.matched) == (ReplayState.DONE, 0)
    assert job.finished_at_ms is not None
    assert desk.start(reference_ids=[]).state is ReplayState.DONE


def test_ids_that_are_given_count_once_and_in_their_order(desk):
    a, b, c = desk.failed(3)
    job = desk.start(reference_ids=iter([c, a, c, b, a]))
    assert (job.matched, job.by_hand) == (3, True)
    desk.create_all(job)
    assert [desk.record(ref).replay_of for ref in desk.made(job)] == [c, a, b]


def test_ids_may_come_in_many_pieces(desk):
    unknown = [new_reference_id() for _ in range(700)]
    (known,) = desk.failed(1)
    job = desk.start(reference_ids=[*unknown, known])
    assert job.matched == 701
    desk.create_all(job)
    desk.send(desk.made(job))
    job = desk.job(job)
    assert (job.state, job.started, job.skipped_reasons) == (ReplayState.DONE, 1, {"expired": 700})


def test_a_list_with_something_that_is_no_id_starts_nothing(desk):
    (known,) = desk.failed(1)
    with pytest.raises(BadParameter):
        desk.start(reference_ids=[known, "no-id"])
    assert [job.state for job in desk.store.list("acme")] == [ReplayState.CANCELLED]
    assert desk.record(known).replayed_by is None


@pytest.mark.parametrize(
    "request_",
    [
        Request(),
        Request(filter=Filter(), reference_ids=[]),
        Request(filter=Filter(), rate_per_second=0),
        Request(filter=Filter(), rate_per_second=float("nan")),
        Request(filter=Filter(), rate_per_second=20_000),
        Request(filter=Filter(), max=0),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(desk, request_):
    for call in (desk.replays.plan, lambda *args: desk.replays.start(*args, caller="k9")):
        with pytest.raises(BadParameter):
            call("acme", request_)
    assert desk.store.list("acme") == []


# -- what is made ---------------------------------------------------------------------------------------------------


def test_a_replay_is_a_new_record_made_by_todays_registration(desk):
    desk.ledger.client.hset(keyspace.webhooks("acme"), "hook", 7)
    original = desk.ended(revision=7, caller="k1", traceparent="tp")
    job = desk.start()
    desk.ledger.client.hset(keyspace.webhooks("acme"), "hook", 8)
    token = desk.take(job)
    assert desk.step(job, token, revision=7).verdict is Verdict.STALE
    created = desk.step(job, token, revision=8)
    (new,) = desk.made(job)
    assert created.ready == ((new, "replay"),)
    record = desk.record(new)
    assert (record.revision, record.lane, record.caller, record.traceparent) == (8, "replay", "k9", None)
    assert (record.replay_of, record.replay, record.request_bytes) == (original, job.replay_id, 100)
    assert desk.record(original).replayed_by == new
    (published,) = desk.ledger.store.read([new])
    assert published.payload == b"\x02\x01sealed"
    assert desk.client.hget(keyspace.pending(), "count") == b"1"


def test_an_original_whose_webhook_is_gone_ends_rejected_in_the_report(desk):
    desk.failed(1)
    job = desk.start()
    desk.client.hdel(keyspace.webhooks("acme"), "hook")
    token = desk.take(job)
    assert desk.step(job, token).verdict is Verdict.STALE
    assert desk.step(job, token, revision=None).verdict is Verdict.DECIDED
    (new,) = desk.made(job)
    (published,) = desk.ledger.store.read([new])
    assert published.current_revision is None
    token = desk.ledger.token()
    desk.ledger.store.claim([new], token)
    rejected = desk.ledger.settlement(
        new, token, state=State.REJECTED, outcome=Outcome.WEBHOOK_NOT_REGISTERED, status=None, error=None, attempt=None
    )
    desk.ledger.store.settle([rejected])
    job = desk.job(job)
    assert (job.state, job.delivered, job.failed) == (ReplayState.DONE, 0, 1)


def test_a_job_is_done_when_its_counts_add_up(desk):
    desk.failed(4)
    job = desk.start()
    assert desk.create_all(job).verdict is Verdict.DECIDED
    first, second, third, fourth = desk.made(job)
    desk.send([first])
    desk.send([second], status=399)
    desk.send([third], status=400)
    assert desk.job(job).state is ReplayState.RUNNING
    desk.send([fourth], outcome=Outcome.CONNECT_FAILED, status=0, sent=Sent.NO)
    job = desk.job(job)
    assert (job.state, job.started, job.delivered, job.failed, job.skipped) == (ReplayState.DONE, 4, 2, 2, 0)
    assert job.finished_at_ms is not None
    assert desk.client.zscore(keyspace.due_running(), f"replay-{job.replay_id}") is None


def test_a_repeated_creation_changes_nothing_and_says_what_is_ready(desk):
    desk.failed(3)
    job = desk.start()
    token = desk.take(job)
    place, news = desk.brought(job)
    created = desk.runs.create(job.replay_id, token, place, news)
    before = {key: value for key, value in desk.ledger.everything().items() if b"due" not in key}
    again = desk.runs.create(job.replay_id, token, place, news)
    assert again.ready == created.ready or again.verdict is Verdict.LATE
    assert desk.made(job) == [new.reference_id for new in news]
    after = {key: value for key, value in desk.ledger.everything().items() if b"due" not in key}
    assert after.keys() == before.keys()
    assert desk.job(job).started == 3


def test_a_repeated_creation_in_the_midst_says_where_the_job_stands(desk):
    failed = desk.failed(4)
    job = desk.start()
    token = desk.take(job)
    place, news = desk.brought(job, 2)
    first = desk.runs.create(job.replay_id, token, place, news)
    second = desk.runs.create(job.replay_id, token, place, news)
    assert (second.verdict, second.place, second.ready) == (Verdict.AGAIN, 2, first.ready)
    assert desk.job(job).started == 2
    desk.step(job, token)
    assert [desk.record(ref).replay_of for ref in desk.made(job)] == failed


def test_a_second_runner_gets_no_job_that_is_held_and_creates_nothing(desk):
    desk.failed(2)
    job = desk.start()
    token = desk.take(job)
    assert desk.take(job) is None
    place, news = desk.brought(job)
    assert desk.runs.create(job.replay_id, "another", place, news).verdict is Verdict.LATE
    desk.lose_holder(job)
    second = desk.take(job)
    assert second is not None
    assert desk.runs.create(job.replay_id, token, place, news).verdict is Verdict.LATE
    assert desk.made(job) == []
    assert desk.runs.create(job.replay_id, second, place, news).verdict is Verdict.DECIDED


def test_a_lost_holders_job_is_found_by_the_sweep(desk):
    desk.failed(1)
    job = desk.start()
    name = (f"replay-{job.replay_id}", "replay")
    assert name in desk.published
    desk.take(job)
    assert name not in desk.ledger.store.sweep("w1", [], limit=10)
    desk.lose_holder(job)
    assert name in desk.ledger.store.sweep("w1", [], limit=10)
    assert name not in desk.ledger.store.sweep("w1", [], limit=10)


def test_a_job_keeps_at_most_1000_of_its_own_unfinished_and_is_woken_when_half_have_ended(desk):
    desk.ledger.store = Ledger(desk.client, replace(LIMITS, max_pending_per_plugin=2_000, max_pending=2_000)).store
    refs = [each.reference_id for each in desk.ledger.store.accept([desk.ledger.new() for _ in range(1010)])]
    for ref in refs:
        desk.client.hset(keyspace.record(ref), mapping={"state": "unreachable", "finishedAt": 1, "error": "1"})
    job = desk.start(reference_ids=refs)
    assert job.matched == 1010
    created = desk.create_all(job)
    assert (created.verdict, created.place) == (Verdict.FULL, 1000)
    assert desk.create_all(job).verdict is Verdict.FULL
    made = desk.made(job)
    desk.published.clear()
    desk.send(made[:499])
    assert (f"replay-{job.replay_id}", "replay") not in desk.published
    desk.send(made[499:501])
    assert desk.published.count((f"replay-{job.replay_id}", "replay")) == 1
    assert desk.create_all(job).verdict is Verdict.DECIDED
    desk.send(desk.made(job)[501:])
    assert desk.job(job).state is ReplayState.DONE
    assert desk.job(job).delivered == 1010


def test_a_rate_paces_what_is_made(desk):
    desk.failed(30)
    job = desk.start(rate_per_second=50)
    token = desk.take(job)
    created = desk.step(job, token)
    assert created.verdict is Verdict.PACED
    assert created.place <= 8  # a tenth of a second's worth, and what the time between allows
    assert 0 < created.wait_ms <= 20


# -- what is skipped ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "uncertain"),
    [
        ({"outcome": Outcome.ANSWERED, "status": 503}, False),
        ({"outcome": Outcome.CONNECT_FAILED, "status": 0, "sent": Sent.NO}, False),
        ({"outcome": Outcome.ANSWER_TIMEOUT, "status": 0, "sent": Sent.MAYBE}, True),
        ({"outcome": Outcome.ANSWER_REJECTED, "status": 0, "sent": Sent.ANSWERED}, True),
        ({"outcome": Outcome.RESPONSE_REJECTED, "status": 200}, True),
        ({"outcome": Outcome.RESPONSE_REJECTED, "status": 422}, False),
    ],
)
def test_the_uncertain_ones_of_unrepeatable_webhooks_are_skipped_unless_included(desk, end, uncertain):
    desk.ended(**end)
    desk.ended(**end, repeatable=True)
    job = desk.start()
    desk.create_all(job)
    assert desk.decided(job) == ["uncertain" if uncertain else True, True]
    included = desk.start(include_uncertain=True)
    if uncertain:
        desk.create_all(included)
        assert desk.decided(included) == [True]


def test_an_interrupted_call_is_uncertain(desk):
    ref, _ = desk.ledger.claimed()
    desk.ledger.lose_lease(ref)
    desk.ledger.store.claim([ref], desk.ledger.token())
    job = desk.start()
    desk.create_all(job)
    assert (desk.decided(job), desk.job(job).state) == (["uncertain"], ReplayState.DONE)
    assert desk.adds_up(job)


@pytest.mark.parametrize(
    ("repeatable", "status", "expected"),
    [(False, 200, "uncertain"), (True, 200, True), (False, 500, True)],
)
def test_a_failed_chain_with_a_delivered_unrepeatable_step_is_uncertain(desk, repeatable, status, expected):
    parent, token = desk.ledger.claimed(pins="{}", repeatable=True)
    step = new_reference_id()
    desk.ledger.store.advance(parent, token, 0, [NewStep(step, "hook", 1, 20_000, repeatable, b"\x01", 1)])
    desk.send([step], status=status)
    token = desk.ledger.token()
    desk.ledger.store.claim([parent], token)
    desk.settle(parent, token)
    job = desk.start()
    desk.create_all(job)
    assert desk.decided(job) == [expected]


def test_a_failed_chain_whose_steps_are_no_longer_known_is_uncertain(desk):
    parent, token = desk.ledger.claimed(pins="{}", repeatable=True)
    step = new_reference_id()
    desk.ledger.store.advance(parent, token, 0, [NewStep(step, "hook", 1, 20_000, True, b"\x01", 1)])
    desk.send([step])
    token = desk.ledger.token()
    desk.ledger.store.claim([parent], token)
    desk.settle(parent, token)
    desk.client.delete(keyspace.record(step))
    job = desk.start()
    desk.create_all(job)
    assert desk.decided(job) == ["uncertain"]


def test_what_another_job_has_sent_since_is_skipped(desk):
    desk.failed(3)
    first, second = desk.start(), desk.start()
    desk.create_all(first)
    a, b, c = desk.made(first)
    desk.send([a])
    desk.send([b], status=503)
    desk.create_all(second)
    assert desk.decided(second) == ["replayed", True, "being_replayed"]
    (again,) = desk.made(second)
    assert desk.record(b).replayed_by == again  # the newest of the family is one
    desk.send([again, c])
    assert desk.adds_up(first)
    assert desk.adds_up(second)


def test_a_family_is_sent_once_by_a_job_however_many_of_it_are_given(desk):
    (first,) = desk.failed(1)
    job = desk.start()
    desk.create_all(job)
    (second,) = desk.made(job)
    desk.send([second], status=503)
    both = desk.start(reference_ids=[first, second])
    desk.create_all(both)
    assert desk.decided(both) == [True, "replayed"]


def test_what_has_a_replay_that_is_no_longer_known_counts_as_replayed(desk):
    (first,) = desk.failed(1)
    desk.client.hset(keyspace.record(first), "replayedBy", new_reference_id())
    job = desk.start(reference_ids=[first])
    desk.create_all(job)
    assert desk.decided(job) == ["replayed"]


def test_what_cannot_be_sent_again_is_skipped_and_says_why(desk):
    gone, expired, forgotten = desk.failed(3)
    queued = desk.ledger.accepted()
    parent, token = desk.ledger.claimed(pins="{}", repeatable=True)
    step = new_reference_id()
    desk.ledger.store.advance(parent, token, 0, [NewStep(step, "hook", 1, 20_000, False, b"\x01", 1)])
    desk.client.hset(keyspace.webhooks("rival"), "hook", 1)
    foreign = desk.ended(plugin="rival")
    job = desk.start(reference_ids=[gone, expired, forgotten, queued, step, foreign])
    desk.client.delete(keyspace.record(gone))
    desk.client.delete(keyspace.payload(expired))
    desk.ledger.store.forget("acme", forgotten)
    desk.create_all(job)
    assert desk.decided(job) == ["expired", "expired", "forgotten", "not_final", "chain_step", "expired"]
    job = desk.job(job)
    assert (job.state, job.skipped) == (ReplayState.DONE, 6)
    assert job.skipped_reasons == {"expired": 3, "forgotten": 1, "not_final": 1, "chain_step": 1}
    assert desk.record(queued).replayed_by is None


def test_contents_that_do_not_open_are_skipped(desk):
    desk.failed(1)
    job = desk.start()
    token = desk.take(job)
    desk.runs.create(job.replay_id, token, 0, [NewReplay(new_reference_id(), 1, 20_000)])
    assert (desk.decided(job), desk.job(job).state) == (["unreadable"], ReplayState.DONE)


def test_an_original_that_was_to_be_skipped_and_may_go_by_now_is_read_again(desk):
    (first,) = desk.failed(1)
    other, job = desk.start(), desk.start()
    desk.create_all(other)
    token = desk.take(job)
    place, news = desk.brought(job)
    assert news == [NewReplay()]
    desk.send(desk.made(other), status=503)
    created = desk.runs.create(job.replay_id, token, place, news)
    assert (created.verdict, created.place) == (Verdict.AGAIN, 0)
    desk.step(job, token)
    assert desk.record(desk.made(job)[0]).replay_of == first


# -- steering -------------------------------------------------------------------------------------------------------


def test_while_a_job_is_paused_claims_of_its_calls_put_them_back(desk):
    desk.failed(3)
    job = desk.start()
    token = desk.take(job)
    desk.step(job, token, 2)
    one, two = desk.made(job)
    desk.client.hset(keyspace.policy("acme", "hook"), "concurrency", 1)
    live = desk.ledger.accepted()
    assert desk.ledger.store.claim([one], "t-one").granted == {one}
    assert desk.ledger.store.claim([two], "t-two").parked == {two}  # at its webhook's cap
    assert desk.replays.pause("acme", job.replay_id).state is ReplayState.PAUSED
    assert desk.step(job, token).verdict is Verdict.LATE
    assert desk.take(job) is None

    assert desk.ledger.store.claim([two], "t-three").parked == {two}
    assert desk.client.zcard(keyspace.parked("acme", "hook")) == 0
    desk.settle(one, "t-one", status=200)
    assert desk.ledger.store.claim([live], "t-live").granted == {live}
    desk.settle(live, "t-live", status=200)
    assert two not in {ref for ref, _ in desk.ledger.store.sweep("w1", ["replay"], limit=10)}
    assert desk.replays.pause("acme", job.replay_id).state is ReplayState.PAUSED

    desk.published.clear()
    assert desk.replays.resume("acme", job.replay_id).state is ReplayState.RUNNING
    assert set(desk.published) == {(two, "replay"), (f"replay-{job.replay_id}", "replay")}
    assert desk.send([two]) == {two}
    desk.create_all(job)
    desk.send(desk.made(job)[2:])
    job = desk.job(job)
    assert (job.state, job.delivered) == (ReplayState.DONE, 3)
    assert desk.client.keys("*parked*") == []


def test_a_paused_jobs_lost_call_waits_too_and_is_sent_after_resume(desk):
    desk.ended(repeatable=True)
    job = desk.start()
    token = desk.take(job)
    place, (new,) = desk.brought(job)
    new = NewReplay(new.reference_id, 1, 20_000, True, new.payload)
    desk.runs.create(job.replay_id, token, place, [new])
    desk.ledger.store.claim([new.reference_id], "lost")
    desk.ledger.lose_lease(new.reference_id)
    desk.replays.pause("acme", job.replay_id)
    assert desk.ledger.store.claim([new.reference_id], "t2").parked == {new.reference_id}
    assert desk.client.zcard(keyspace.running("acme", "hook")) == 0
    desk.replays.resume("acme", job.replay_id)
    assert desk.send([new.reference_id]) == {new.reference_id}
    assert desk.job(job).state is ReplayState.DONE


def test_a_chain_that_waited_for_its_job_has_its_whole_time_before_it(desk):
    parent, token = desk.ledger.claimed(pins="{}", repeatable=True)
    desk.settle(parent, token)
    job = desk.start()
    token = desk.take(job)
    new = NewReplay(new_reference_id(), 1, 20_000, True, b"\x02", "{}")
    desk.runs.create(job.replay_id, token, 0, [new])
    desk.replays.pause("acme", job.replay_id)
    desk.client.hset(keyspace.record(new.reference_id), "deadline", 1)
    assert desk.ledger.store.claim([new.reference_id], "t1").parked == {new.reference_id}
    desk.replays.resume("acme", job.replay_id)
    assert desk.ledger.store.claim([new.reference_id], "t2").granted == {new.reference_id}


def test_cancelling_stops_what_was_not_sent_and_skips_the_rest(desk):
    desk.failed(5)
    job = desk.start()
    token = desk.take(job)
    desk.step(job, token, 3)
    sent, waiting, sending = desk.made(job)
    desk.send([sent])
    desk.ledger.store.claim([sending], "t1")
    cancelled = desk.replays.cancel("acme", job.replay_id)
    assert (cancelled.state, cancelled.started, cancelled.delivered) == (ReplayState.CANCELLED, 3, 1)
    assert (cancelled.failed, cancelled.skipped, cancelled.skipped_reasons) == (1, 2, {"cancelled": 2})
    assert cancelled.finished_at_ms is None
    assert desk.record(waiting).state is State.CANCELLED
    assert desk.step(job, token).verdict is Verdict.LATE
    assert desk.replays.cancel("acme", job.replay_id) == cancelled
    desk.settle(sending, "t1", status=200)
    job = desk.job(job)
    assert (job.state, job.delivered, job.matched) == (ReplayState.CANCELLED, 2, 5)
    assert job.finished_at_ms is not None
    assert desk.adds_up(job)


def test_a_cancelled_jobs_call_is_not_sent_again_after_its_worker_was_lost(desk):
    desk.ended(repeatable=True)
    job = desk.start()
    token = desk.take(job)
    place, (new,) = desk.brought(job)
    new = NewReplay(new.reference_id, 1, 20_000, True, new.payload)
    desk.runs.create(job.replay_id, token, place, [new])
    desk.ledger.store.claim([new.reference_id], "lost")
    desk.replays.cancel("acme", job.replay_id)
    desk.ledger.lose_lease(new.reference_id)
    desk.ledger.store.claim([new.reference_id], "t2")
    assert desk.record(new.reference_id).state is State.INTERRUPTED
    assert desk.adds_up(job)


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel"])
def test_a_job_that_is_over_cannot_be_steered(desk, verb):
    job = desk.start()
    with pytest.raises(Conflict):
        getattr(desk.replays, verb)("acme", job.replay_id)


@pytest.mark.parametrize("verb", ["get", "pause", "resume", "cancel"])
def test_an_unknown_or_foreign_job_is_not_found(desk, verb):
    job = desk.start()
    for plugin, replay_id in (("rival", job.replay_id), ("acme", new_reference_id()), ("acme", "nonsense:ids")):
        with pytest.raises(NotFound):
            getattr(desk.replays, verb)(plugin, replay_id)


# -- planning -------------------------------------------------------------------------------------------------------


def test_a_plan_says_what_a_job_would_do_and_starts_nothing(desk):
    desk.failed(3)
    desk.ended(outcome=Outcome.ANSWER_TIMEOUT, status=0, sent=Sent.MAYBE)
    before = desk.ledger.everything().keys()
    plan = desk.replays.plan("acme", Request(filter=Filter(), rate_per_second=2))
    assert (plan.matched, plan.skipped, plan.skipped_reasons) == (4, 1, {"uncertain": 1})
    assert [(each.outcome, each.status, each.count) for each in plan.breakdown] == [
        ("answered", 503, 3),
        ("answer_timeout", 0, 1),
    ]
    assert len(plan.sample) == 4
    assert plan.estimated_s == 1.5
    assert {key for key in desk.ledger.everything() if b":plan:" not in key} == before


def test_a_plan_of_ids_counts_them_once(desk):
    (known,) = desk.failed(1)
    plan = desk.replays.plan("acme", Request(reference_ids=[known, known, new_reference_id()]))
    assert (plan.matched, plan.skipped_reasons, plan.plan_id) == (2, {"expired": 1}, None)


def test_a_plan_of_many_adds_up(desk):
    for _ in range(7):
        desk.ledger.store.accept([desk.ledger.new(refusal=Outcome.REQUEST_REJECTED, payload=b"") for _ in range(80)])
    wanted = Request(filter=Filter(states=frozenset({State.REJECTED})))
    plan = desk.replays.plan("acme", wanted)
    assert (plan.matched, plan.skipped_reasons, len(plan.sample)) == (560, {"expired": 560}, 10)
    limited = desk.replays.plan("acme", Request(filter=wanted.filter, max=300))
    assert (limited.matched, limited.skipped) == (300, 300)


def test_what_was_planned_can_be_started_and_takes_nothing_that_failed_since(desk):
    desk.failed(2)
    plan = desk.replays.plan("acme", Request(filter=Filter(), rate_per_second=3, max=10))
    late, token = desk.ledger.claimed()
    desk.client.hset(keyspace.record(late), "createdAt", 1)
    desk.settle(late, token)
    desk.client.hincrby(keyspace.record(late), "finishedAt", 10)
    job = desk.replays.start_planned("acme", plan.plan_id, caller="k9")
    assert (job.matched, job.rate_per_second, job.max) == (2, 3, 10)
    assert desk.replays.start_planned("acme", plan.plan_id, caller="k9", rate_per_second=9).rate_per_second == 9
    for plugin, plan_id in (("rival", plan.plan_id), ("acme", new_reference_id()), ("acme", "x")):
        with pytest.raises(NotFound):
            desk.replays.start_planned(plugin, plan_id, caller="k9")


def test_a_large_job_is_planned_by_workers(desk, monkeypatch):
    monkeypatch.setattr("relay.replay.planning.PLANNED_AT_ONCE", 300)
    for _ in range(7):
        desk.ledger.store.accept([desk.ledger.new(refusal=Outcome.REQUEST_REJECTED, payload=b"") for _ in range(80)])
    job = desk.start(filter=Filter(states=frozenset({State.REJECTED})))
    assert (job.state, job.matched) == (ReplayState.PLANNING, None)
    with pytest.raises(Conflict):
        desk.replays.pause("acme", job.replay_id)
    token = desk.take(job)
    assert desk.runs.plan(job.replay_id, "another") == ("late", 500)
    while desk.runs.plan(job.replay_id, token)[0] == "planning":
        pass
    assert desk.job(job).matched == 560
    cancelled = desk.replays.cancel("acme", job.replay_id)
    assert (cancelled.skipped, cancelled.finished_at_ms is not None) == (560, True)


def test_a_job_that_is_cancelled_while_it_is_planned_has_what_was_found(desk, monkeypatch):
    monkeypatch.setattr("relay.replay.planning.PLANNED_AT_ONCE", 0)
    for _ in range(7):
        desk.ledger.store.accept([desk.ledger.new(refusal=Outcome.REQUEST_REJECTED, payload=b"") for _ in range(80)])
    job = desk.start(filter=Filter(states=frozenset({State.REJECTED})))
    cancelled = desk.replays.cancel("acme", job.replay_id)
    assert cancelled.matched == cancelled.skipped == 250
    assert desk.take(job) is None


# -- looking --------------------------------------------------------------------------------------------------------


def test_jobs_are_listed_newest_first_and_the_forgotten_are_left_out(desk):
    jobs = [desk.start() for _ in range(4)]
    for number, job in enumerate(jobs):
        desk.client.zadd(keyspace.replays("acme"), {job.replay_id: number})
    assert [job.replay_id for job in desk.store.list("acme")] == [job.replay_id for job in reversed(jobs)]
    desk.client.delete(keyspace.replay(jobs[3].replay_id))
    assert [job.replay_id for job in desk.store.list("acme", limit=2)] == [jobs[2].replay_id, jobs[1].replay_id]
    assert desk.store.list("rival") == []


def test_what_a_job_made_is_listed_newest_first(desk):
    desk.failed(3)
    desk.ended(outcome=Outcome.ANSWER_TIMEOUT, status=0, sent=Sent.MAYBE)
    job = desk.start(rate_per_second=None)
    desk.create_all(job)
    made = desk.made(job)
    desk.send(made[:1], status=503)
    wanted = Filter(replay=job.replay_id)
    first = desk.ledger.listing.page("acme", wanted, limit=2)
    assert [row.reference_id for row in first.rows] == [made[2], made[1]]
    second = desk.ledger.listing.page("acme", wanted, limit=2, cursor=first.cursor)
    assert ([row.reference_id for row in second.rows], second.cursor) == ([made[0]], None)
    failed = desk.ledger.listing.page("acme", Filter(replay=job.replay_id, error=True))
    assert [row.reference_id for row in failed.rows] == made[:1]
    assert desk.ledger.listing.page("rival", wanted).rows == []
    assert desk.replays.plan("acme", Request(filter=Filter(replay=job.replay_id))).matched == 1


def test_an_ended_job_is_kept_for_its_time(desk):
    desk.failed(1)
    job = desk.start()
    desk.create_all(job)
    keys = desk.client.keys(f"relay:replay:{job.replay_id}*")
    assert all(desk.client.pttl(key) == -1 for key in keys)
    desk.send(desk.made(job))
    keys = desk.client.keys(f"relay:replay:{job.replay_id}*")
    assert len(keys) == 3
    assert all(0 < desk.client.pttl(key) <= 24 * HOUR_MS for key in keys)
