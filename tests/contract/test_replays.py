"""Replay jobs: what they match, create and skip, why, and how operators control them."""

import itertools
import json
from base64 import urlsafe_b64encode
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from relay.domain.invocation import Outcome, Purpose, Sent, State
from relay.domain.reference_id import new_reference_id, reference_time_ms
from relay.errors import BadParameter, Conflict, NotFound, StoreFault, Unavailable
from relay.replay.planning import MIN_RATE, PLANNING_S, SAMPLE
from relay.store.ledger.invocations import GRACE_MS
from relay.store.ledger.listing import LOOKED_AT, LOOKED_AT_BY_SCRIPT, Filter, OutcomeGroups
from relay.store.ledger.transitions import NewStep
from relay.store.replays import runs as replay_runs
from relay.store.replays.jobs import ReplayState
from relay.store.replays.runs import ClaimedJob, NewReplay, ReplayVerdict, Request, Tally
from relay.store.scripting.generated_modules import MOST_HOPS
from tests.contract.clocked import START_MS
from tests.contract.ledger import LIMITS, Ledger
from tests.contract.replay_harness import DAY_MS, FAILED, ReplayHarness
from tests.store_keys import KEYS

HOUR_MS = 3600 * 1000


@pytest.fixture
def harness(ledger):
    return ReplayHarness(ledger)


# -- what is matched ------------------------------------------------------------------------------------------------


def test_a_filter_without_states_takes_what_failed(harness):
    failed = harness.failed(3)
    harness.ended(status=200)
    harness.ledger.accepted()
    job = harness.start()
    assert (job.state, job.matched, job.started) == (ReplayState.RUNNING, 3, 0)
    harness.create_all(job)
    assert [harness.record(ref).replay_of for ref in harness.made(job)] == failed


@pytest.mark.parametrize("error", [True, False])
def test_a_filter_without_states_takes_what_its_error_says(harness, error):
    failed, done = harness.failed(2), harness.ended(status=200)
    job = harness.start(filter=Filter(error=error))
    harness.create_all(job)
    assert [harness.record(ref).replay_of for ref in harness.made(job)] == (failed if error else [done])


def test_a_filter_with_states_takes_those_also_with_success(harness):
    done = harness.ended(status=200)
    harness.failed(1)
    job = harness.start(filter=Filter(states=frozenset({State.DELIVERED}), status=(200,)))
    assert job.matched == 1
    harness.create_all(job)
    assert harness.record(done).replayed_by == harness.made(job)[0]


def test_what_ends_after_the_job_was_made_is_not_matched(harness):
    harness.failed(1)
    late = harness.ended()
    harness.client.hincrby(KEYS.record(late), "finishedAt", HOUR_MS)
    assert harness.start().matched == 1
    assert harness.replays.plan("acme", Request(filter=Filter())).matched == 1


def failed_chain(harness, steps=1, *, repeatable, status=200):
    """Make a chain that failed after so many steps, which were answered with this status; return its reference id."""
    parent = harness.ledger.accepted(pins="{}", repeatable=True)
    news = [NewStep(new_reference_id(), "hook", 1, 20_000, repeatable, b"\x01", 1) for _ in range(steps)]
    harness.ledger.advance(parent, *news)
    harness.send([new.reference_id for new in news], status=status)
    harness.fail_chain(parent)
    return parent


def test_steps_of_chains_are_never_matched(harness):
    parent = failed_chain(harness, repeatable=False, status=503)
    job = harness.start()
    assert job.matched == 1
    harness.create_all(job)
    (new,) = harness.made(job)
    assert harness.record(new).replay_of == parent


@pytest.mark.parametrize(("family", "matched"), [(0, 3), (16, 3), (30, 1)])
def test_one_script_of_a_plan_looks_at_so_many_records_and_no_more(harness, monkeypatch, family, matched):
    monkeypatch.setattr(replay_runs, "LOOKED_AT", 5)  # and four times as many members of families
    *_, newest = harness.failed(3)
    line = [newest, *(new_reference_id() for _ in range(family))]
    for ref, before in itertools.pairwise(line):
        harness.client.hset(KEYS.record(ref), "replayOf", before)
        harness.client.hset(KEYS.record(before), mapping={"plugin": "acme", "repeatable": "1", "state": "delivered"})
        harness.client.hset(KEYS.record(before), mapping={"error": "1", "requestBytes": "0", "timeout": "1"})
    tally = harness.runs.tally("acme", Request(filter=FAILED), Tally("", "", 0, [], {}, {}), 10, OutcomeGroups())
    assert tally.matched == matched
    assert harness.replays.plan("acme", Request(filter=FAILED)).matched == 3


@pytest.mark.parametrize("steps", [1, 4, 5, 30])
def test_a_plan_of_chains_counts_all_of_them_however_many_steps_they_have(harness, monkeypatch, steps):
    monkeypatch.setattr(replay_runs, "LOOKED_AT", 5)  # and four times as many steps
    chains = [failed_chain(harness, steps, repeatable=True) for _ in range(12)]
    pieces = []
    tally = harness.runs.tally
    monkeypatch.setattr(harness.runs, "tally", lambda *args: pieces.append(args[-1]) or tally(*args))
    for request in (Request(filter=Filter()), Request(reference_ids=chains)):
        pieces.clear()
        plan = harness.replays.plan("acme", request)
        assert (plan.matched, plan.skipped, plan.breakdown[0].count) == (12, 0, 12)
        assert {row.reference_id for row in plan.sample} < set(chains)
    a_run = -(-20 // (1 + steps))  # how many chains one script takes
    assert len(pieces) == -(-12 // a_run)
    assert harness.start().matched == 12


def test_only_the_newest_of_a_family_is_matched(harness):
    (first,) = harness.failed(1)
    job = harness.start()
    harness.create_all(job)
    (second,) = harness.made(job)
    harness.send([second], status=503)
    again = harness.start()
    assert again.matched == 1
    harness.create_all(again)
    (third,) = harness.made(again)
    assert harness.record(third).replay_of == second
    assert [harness.record(ref).replayed_by for ref in (first, second, third)] == [second, third, None]
    harness.send([third])
    assert harness.start().matched == 0


def test_max_takes_the_newest(harness):
    failed = harness.failed(5)
    job = harness.start(max=2)
    assert job.matched == 2
    harness.create_all(job)
    assert [harness.record(ref).replay_of for ref in harness.made(job)] == failed[3:]


@pytest.mark.parametrize("looked_at", [1, 2, 3, 100])
@pytest.mark.parametrize("most", [1, 2, 3, 4, 5, 6, 7, None])
def test_max_counts_what_all_pieces_of_the_search_find_together(harness, monkeypatch, most, looked_at):
    harness.failed(6)
    monkeypatch.setattr(replay_runs, "LOOKED_AT", looked_at)
    plan = harness.replays.plan("acme", Request(filter=Filter(), max=most))
    assert plan.matched == harness.start(max=most).matched == min(most or 6, 6)


def test_a_job_of_nothing_is_done(harness):
    job = harness.start()
    assert (job.state, job.matched) == (ReplayState.DONE, 0)
    assert job.finished_at_ms is not None
    assert harness.start(reference_ids=[]).state is ReplayState.DONE


def test_ids_that_are_given_count_once_and_in_their_order(harness):
    a, b, c = harness.failed(3)
    job = harness.start(reference_ids=iter([c, a, c, b, a]))
    assert (job.matched, job.by_hand) == (3, True)
    harness.create_all(job)
    assert [harness.record(ref).replay_of for ref in harness.made(job)] == [c, a, b]


def test_ids_may_come_in_many_pieces(harness):
    unknown = [new_reference_id() for _ in range(700)]
    (known,) = harness.failed(1)
    job = harness.start(reference_ids=[*unknown, known])
    assert job.matched == 701
    harness.create_all(job)
    harness.send(harness.made(job))
    job = harness.job(job)
    assert (job.state, job.started, job.skipped_reasons) == (ReplayState.DONE, 1, {"expired": 700})


def test_a_list_with_an_invalid_id_starts_nothing(harness):
    (known,) = harness.failed(1)
    with pytest.raises(BadParameter):
        harness.start(reference_ids=[known, "no-id"])
    assert [job.state for job in harness.store.list("acme")] == [ReplayState.CANCELLED]
    assert harness.record(known).replayed_by is None


@pytest.mark.parametrize(
    "request_",
    [
        Request(),
        Request(filter=Filter(), reference_ids=[]),
        Request(filter=Filter(), rate_per_second=0),
        Request(filter=Filter(), rate_per_second=float("nan")),
        Request(filter=Filter(), rate_per_second=20_000),
        Request(filter=Filter(), rate_per_second=MIN_RATE * 0.999),
        Request(filter=Filter(), rate_per_second=5e-324),
        Request(filter=Filter(), max=0),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(harness, request_):
    for call in (harness.replays.plan, lambda *args: harness.replays.start(*args, caller="k9")):
        with pytest.raises(BadParameter):
            call("acme", request_)
    assert harness.store.list("acme") == []


@pytest.mark.parametrize("error", [Unavailable, StoreFault])
@pytest.mark.parametrize("failing", ["make", "plan", "add", "leave"])
def test_a_start_that_fails_says_whether_the_job_was_made_nevertheless(harness, monkeypatch, failing, error):
    refs = harness.failed(1)
    monkeypatch.setattr(harness.runs, failing, Mock(side_effect=error))
    with pytest.raises(error) as caught:
        harness.start(**({"reference_ids": refs} if failing == "add" else {}))
    told = [
        f"Replay {job.replay_id} was made nevertheless: do not start another one." for job in harness.store.list("acme")
    ]
    assert len(told) == (failing != "make")
    assert str(caught.value) == " ".join([str(error()), *told])


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("by_worker", [False, True])
def test_ids_that_come_after_the_job_was_ended_start_nothing_and_nobody_is_told_that_it_was_made(
    harness, place, by_worker
):
    originals = harness.failed(1)

    def slow_ids():
        for number in range(3):
            if number == place:
                (job,) = harness.store.list("acme")
                if by_worker:  # to which the maker seems lost
                    harness.lose_holder(job)
                    harness.take(job)
                harness.replays.cancel("acme", job.replay_id)
            if number < 2:
                yield from (originals[0], *(new_reference_id() for _ in range(249)))

    with pytest.raises(Unavailable) as caught:
        harness.start(reference_ids=slow_ids())
    assert str(caught.value) == "The reference ids came too slowly: the replay was ended."
    (job,) = harness.store.list("acme")
    assert (job.state, job.started) == (ReplayState.CANCELLED, 0)
    harness.create_all(harness.start(reference_ids=originals))
    assert harness.record(originals[0]).replayed_by is not None


# -- what is made ---------------------------------------------------------------------------------------------------


def test_a_replay_is_a_new_record_made_by_todays_registration(harness):
    harness.ledger.client.hset(KEYS.webhooks("acme"), "hook", 7)
    original = harness.ended(revision=7, caller="k1", traceparent="tp")
    job = harness.start()
    harness.ledger.client.hset(KEYS.webhooks("acme"), "hook", 8)
    token = harness.take(job)
    assert harness.step(job, token, revision=7).verdict is ReplayVerdict.STALE
    created = harness.step(job, token, revision=8)
    (new,) = harness.made(job)
    assert created.ready == ((new, "replay"),)
    record = harness.record(new)
    assert (record.revision, record.lane, record.caller, record.traceparent) == (8, "replay", "k9", None)
    assert (record.replay_of, record.replay, record.request_bytes) == (original, job.replay_id, 100)
    assert harness.record(original).replayed_by == new
    (published,) = harness.ledger.store.read([new])
    assert published.payload == b"\x02\x01sealed"
    assert harness.client.hget(KEYS.pending(), "count") == b"1"


@pytest.mark.parametrize("pins", [None, '{"hook":1}'])
def test_a_replay_is_recorded_as_its_maker_and_its_original_say(clock, harness, pins):
    original = harness.ended(request_bytes=12, subject="hash", callback="first", timeout_ms=1_000)
    job = harness.start()
    clock.set_ms(START_MS + 5)
    new = NewReplay(new_reference_id(), 1, 7_000, True, b"\x02text", pins, 90_000, "told")
    created = harness.runs.create(job.replay_id, harness.take(job), 0, [new])
    assert (created.verdict, harness.made(job)) == (ReplayVerdict.DECIDED, [new.reference_id])
    now_ms = START_MS + 5
    fields = {"plugin": "acme", "webhook": "hook", "revision": 1, "state": "queued", "lane": "replay", "caller": "k9"}
    fields |= {"createdAt": now_ms, "readyAt": now_ms, "timeout": 7_000, "repeatable": 1, "requestBytes": 12}
    fields |= {"endBy": now_ms + 90_000, "callback": "told", "subject": "hash", "replay": job.replay_id}
    fields |= {"replayOf": original, "follows": original}
    if pins:
        fields |= {"chain": 1, "pins": pins, "deadline": now_ms + 7_000, "step": -1, "open": 0}
        fields["root"] = new.reference_id
    record = {name.encode(): str(value).encode() for name, value in fields.items()}
    assert harness.client.hgetall(KEYS.record(new.reference_id)) == record
    assert harness.client.get(KEYS.payload(new.reference_id)) == b"\x02text"
    assert harness.client.zscore(KEYS.due_queued("replay"), new.reference_id) == now_ms + GRACE_MS


@pytest.mark.parametrize("caller", ["callback", "alert"])
def test_a_replay_of_what_the_relay_itself_called_has_no_callback_and_no_replay_of_it_has(harness, caller):
    harness.ended(caller=caller)
    other = harness.ended()
    for _ in range(2):
        job = harness.start()
        place, news = harness.brought(job)
        news = [replace(new, callback="ended") for new in news]
        harness.runs.create(job.replay_id, harness.take(job), place, news)
        made = {harness.record(ref).replay_of: KEYS.record(ref) for ref in harness.made(job)}
        callbacks = {original: harness.client.hget(key, "callback") for original, key in made.items()}
        assert sorted(callbacks.values(), key=bool) == [None, b"ended"]
        assert callbacks[other] == b"ended"
        harness.send(harness.made(job), status=503)
        (other,) = (ref for ref in harness.made(job) if harness.record(ref).replay_of == other)


def test_a_chain_is_replayed_with_the_revisions_that_its_steps_have_today(harness):
    harness.failed(1)
    job = harness.start()
    token = harness.take(job)
    place, (new,) = harness.brought(job)
    for pins, verdict in (('{"hook":2}', ReplayVerdict.STALE), ('{"hook":1}', ReplayVerdict.DECIDED)):
        assert harness.runs.create(job.replay_id, token, place, [replace(new, pins=pins)]).verdict is verdict
    (made,) = harness.made(job)
    assert harness.record(made).pins == '{"hook":1}'


def test_an_original_whose_webhook_is_gone_ends_rejected_in_the_report(harness):
    harness.failed(1)
    job = harness.start()
    harness.client.hdel(KEYS.webhooks("acme"), "hook")
    token = harness.take(job)
    assert harness.step(job, token).verdict is ReplayVerdict.STALE
    assert harness.step(job, token, revision=None).verdict is ReplayVerdict.DECIDED
    (new,) = harness.made(job)
    (published,) = harness.ledger.store.read([new])
    assert published.current_revision is None
    token = harness.ledger.token()
    harness.ledger.store.claim([new], token)
    rejected = harness.ledger.settlement(
        new, token, state=State.REJECTED, outcome=Outcome.WEBHOOK_NOT_REGISTERED, status=None, error=None, attempt=None
    )
    harness.ledger.store.settle([rejected])
    job = harness.job(job)
    assert (job.state, job.delivered, job.failed) == (ReplayState.DONE, 0, 1)


def test_a_job_is_done_when_its_counts_add_up(harness):
    harness.failed(4)
    job = harness.start()
    assert harness.create_all(job).verdict is ReplayVerdict.DECIDED
    first, second, third, fourth = harness.made(job)
    harness.send([first])
    harness.send([second], status=399)
    harness.send([third], status=400)
    assert harness.job(job).state is ReplayState.RUNNING
    harness.send([fourth], outcome=Outcome.CONNECT_FAILED, status=0, sent=Sent.NO)
    job = harness.job(job)
    assert (job.state, job.started, job.delivered, job.failed, job.skipped) == (ReplayState.DONE, 4, 2, 2, 0)
    assert job.finished_at_ms is not None
    assert harness.client.zscore(KEYS.due_running(), f"replay-{job.replay_id}") is None


def test_a_repeated_last_creation_changes_nothing_says_that_the_job_is_over_and_what_it_made_is_looked_at(harness):
    harness.failed(3)
    job = harness.start()
    token = harness.take(job)
    place, news = harness.brought(job)
    created = harness.runs.create(job.replay_id, token, place, news)
    assert [ref for ref, _ in created.ready] == [new.reference_id for new in news]
    before = _but_for_alarms(harness)
    again = harness.runs.create(job.replay_id, token, place, news)
    assert (again.verdict, again.ready) == (ReplayVerdict.LATE, ())
    alarms = harness.client.zrange(KEYS.due_queued("replay"), 0, -1)
    assert {ref.decode() for ref in alarms} == set(harness.made(job))
    assert harness.made(job) == [new.reference_id for new in news]
    assert _but_for_alarms(harness) == before
    assert harness.job(job).started == 3


def _but_for_alarms(harness):
    """Return the whole store without the times of alarms, which a repeated act sets anew for the calls made ready."""
    everything = harness.ledger.everything()
    for key, value in everything.items():
        if b":due:" in key:
            everything[key] = sorted(member for member, _ in value)
        elif key.startswith(b"relay:inv:") and isinstance(value, dict):
            everything[key] = {name: text for name, text in value.items() if name != b"readyAt"}
    return everything


def test_a_repeated_creation_in_the_midst_says_where_the_job_stands(harness):
    failed = harness.failed(4)
    job = harness.start()
    token = harness.take(job)
    place, news = harness.brought(job, 2)
    first = harness.runs.create(job.replay_id, token, place, news)
    second = harness.runs.create(job.replay_id, token, place, news)
    assert (second.verdict, second.cursor, second.ready) == (ReplayVerdict.AGAIN, 2, first.ready)
    assert harness.job(job).started == 2
    harness.step(job, token)
    assert [harness.record(ref).replay_of for ref in harness.made(job)] == failed


def test_a_repeated_creation_names_only_the_calls_that_no_worker_has_claimed_yet(harness):
    harness.failed(4)
    job = harness.start()
    token = harness.take(job)
    place, news = harness.brought(job, 3)
    harness.runs.create(job.replay_id, token, place, news)
    ended, sending, queued = harness.made(job)
    harness.send([ended])
    harness.ledger.store.claim([sending], "t1")
    again = harness.runs.create(job.replay_id, token, place, news)
    assert (again.verdict, again.ready) == (ReplayVerdict.AGAIN, ((queued, "replay"),))


def test_a_creation_ahead_of_what_was_decided_makes_nothing_and_says_where_the_job_stands(harness):
    harness.failed(4)
    job = harness.start()
    token = harness.take(job)
    place, news = harness.brought(job, 2)
    created = harness.runs.create(job.replay_id, token, place + 2, news)  # a failover has undone the first two
    assert (created.verdict, created.cursor, created.ready) == (ReplayVerdict.AGAIN, 0, ())
    assert harness.made(job) == []


def test_a_second_runner_gets_no_job_that_is_held_and_creates_nothing(harness):
    harness.failed(2)
    job = harness.start()
    token = harness.take(job)
    assert harness.take(job) is None
    place, news = harness.brought(job)
    assert harness.runs.create(job.replay_id, "another", place, news).verdict is ReplayVerdict.LATE
    harness.lose_holder(job)
    second = harness.take(job)
    assert second is not None
    assert harness.runs.create(job.replay_id, token, place, news).verdict is ReplayVerdict.LATE
    assert harness.made(job) == []
    assert harness.runs.create(job.replay_id, second, place, news).verdict is ReplayVerdict.DECIDED


@pytest.mark.parametrize("rate", [None, 0.5, 7.0])
@pytest.mark.parametrize("by_hand", [False, True])
def test_a_holder_is_told_what_its_job_is(harness, rate, by_hand):
    refs = harness.failed(1)
    job = harness.start(rate_per_second=rate, **({"reference_ids": refs} if by_hand else {}))
    claimed = harness.runs.claim(job.replay_id, harness.ledger.token())
    assert claimed == ClaimedJob(ReplayState.RUNNING, "acme", by_hand=by_hand, rate_per_second=rate)


@pytest.mark.parametrize("pins", [None, '{"hook":1}'])
def test_an_original_is_read_with_what_its_payload_is_sealed_for(harness, pins):
    if pins is None:
        ref, token = harness.ledger.claimed(payload=b"sealed")
        harness.settle(ref, token)
    else:
        ref = harness.ledger.accepted(pins=pins, payload=b"sealed")
        harness.fail_chain(ref)
    job = harness.start()
    _, (original,) = harness.runs.read(job.replay_id, 50)
    record = harness.record(ref)
    assert (original.reference_id, original.skip, original.payload) == (ref, None, b"sealed")
    assert original.purpose == Purpose(record.webhook_id, record.revision, pins)


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_job_is_looked_at_when_the_lease_of_its_maker_or_holder_ends(harness, by_hand):
    refs, replay_id = harness.failed(3), new_reference_id("acme")
    request = Request(reference_ids=refs) if by_hand else Request(filter=FAILED)

    def held_for_ms():
        created_ms, lease_end_ms = map(int, harness.client.hmget(KEYS.replay(replay_id), "createdAt", "leaseEnd"))
        assert harness.client.zscore(KEYS.due_running(), f"replay-{replay_id}") == lease_end_ms
        return lease_end_ms - created_ms

    harness.runs.make(replay_id, "acme", request, "maker", caller="k9", ended_by_ms=None)
    assert held_for_ms() == replay_runs.LEASE_MS
    harness.client.hset(KEYS.replay(replay_id), "leaseEnd", 1)
    if by_hand:
        harness.runs.add(replay_id, "maker", 0, refs, last=True)
    else:
        harness.runs.plan(replay_id, "maker")
    assert held_for_ms() >= replay_runs.LEASE_MS
    harness.client.hset(KEYS.replay(replay_id), "leaseEnd", 1)
    job = harness.store.get("acme", replay_id)
    token = harness.take(job)
    assert held_for_ms() >= replay_runs.LEASE_MS
    harness.client.hset(KEYS.replay(replay_id), "leaseEnd", 1)
    assert harness.step(job, token, 2).verdict is ReplayVerdict.ON
    assert held_for_ms() >= replay_runs.LEASE_MS


def test_a_job_that_waits_for_a_holder_and_its_unclaimed_calls_are_looked_at_after_the_grace(clock, harness):
    def alarm_in_ms(lane, member):
        key = KEYS.due_queued(lane) if lane else KEYS.due_running()
        return harness.client.zscore(key, member) - START_MS

    harness.failed(2)
    job = harness.start()
    member = f"replay-{job.replay_id}"
    assert alarm_in_ms(None, member) == GRACE_MS
    harness.step(job, harness.take(job), 1)
    (ref,) = harness.made(job)
    assert alarm_in_ms("replay", ref) == GRACE_MS
    harness.replays.pause("acme", job.replay_id)
    assert harness.ledger.store.claim([ref], "t1").parked == {ref}
    harness.replays.resume("acme", job.replay_id)
    assert (alarm_in_ms(None, member), alarm_in_ms("replay", ref)) == (GRACE_MS, GRACE_MS)


def test_a_lost_holders_job_is_found_by_the_sweep(harness):
    harness.failed(1)
    job = harness.start()
    name = (f"replay-{job.replay_id}", "replay")
    assert name in harness.published
    harness.take(job)
    assert name not in harness.ledger.store.sweep(limit=10)
    harness.lose_holder(job)
    assert name in harness.ledger.store.sweep(limit=10)
    assert name not in harness.ledger.store.sweep(limit=10)


def test_a_job_is_ready_as_soon_as_its_holder_s_lease_ends_and_looked_at_again_after_the_grace(clock, harness):
    harness.failed(1)
    job = harness.start()
    harness.take(job)
    name = (f"replay-{job.replay_id}", "replay")
    lease_end_ms = int(harness.client.hget(KEYS.replay(job.replay_id), "leaseEnd"))
    clock.set_ms(lease_end_ms - 1)
    assert name not in harness.ledger.store.sweep(limit=10)
    clock.set_ms(lease_end_ms)
    assert name in harness.ledger.store.sweep(limit=10)
    assert harness.client.zscore(KEYS.due_running(), name[0]) == lease_end_ms + GRACE_MS
    assert harness.runs.claim(job.replay_id, "next")


def test_a_job_keeps_at_most_1000_of_its_own_unfinished_and_is_woken_when_half_have_ended(harness):
    harness.ledger.store = Ledger(
        harness.client, replace(LIMITS, max_pending_per_plugin=2_000, max_pending=2_000)
    ).store
    refs = [each.reference_id for each in harness.ledger.accept([harness.ledger.new() for _ in range(1010)])]
    for ref in refs:
        harness.client.hset(KEYS.record(ref), mapping={"state": "unreachable", "finishedAt": 1, "error": "1"})
    job = harness.start(reference_ids=refs)
    assert job.matched == 1010
    created = harness.create_all(job)
    assert (created.verdict, created.cursor) == (ReplayVerdict.FULL, 1000)
    assert harness.create_all(job).verdict is ReplayVerdict.FULL
    made = harness.made(job)
    harness.published.clear()
    harness.send(made[:499])
    assert (f"replay-{job.replay_id}", "replay") not in harness.published
    for last in (500, 501):  # once
        harness.send(made[last - 1 : last])
        assert harness.published.count((f"replay-{job.replay_id}", "replay")) == 1
    assert harness.create_all(job).verdict is ReplayVerdict.DECIDED
    harness.send(harness.made(job)[501:])
    assert harness.job(job).state is ReplayState.DONE
    assert harness.job(job).delivered == 1010


def test_a_rate_paces_what_is_made(harness):
    harness.failed(30)
    job = harness.start(rate_per_second=50)
    token = harness.take(job)
    created = harness.step(job, token)
    assert created.verdict is ReplayVerdict.PACED
    assert created.cursor <= 8  # a tenth of a second's worth, and what the time since then allows
    assert 0 < created.wait_ms <= 20


@pytest.mark.parametrize("rate", [MIN_RATE, 1e-9, 1e-300, 5e-324, 0, -1, "nan"])
def test_a_job_waits_no_longer_than_the_least_rate_says_whatever_its_rate_is(harness, rate):
    harness.failed(5)
    job = harness.start(rate_per_second=MIN_RATE)
    harness.client.hset(KEYS.replay(job.replay_id), "rate", rate)  # of an older release, or altered
    token = harness.take(job)
    for _ in range(2):
        created = harness.step(job, token)
        assert (created.verdict, created.cursor) == (ReplayVerdict.PACED, 1)
        assert 900 / MIN_RATE < created.wait_ms <= 1000 / MIN_RATE
    harness.client.hset(
        KEYS.replay(job.replay_id), "tat", f"{1e300:.3f}"
    )  # as the release before wrote with such a rate
    assert harness.step(job, token).cursor == 2


# -- what is skipped ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "uncertain"),
    [
        ({"outcome": Outcome.ANSWERED, "status": 503}, False),
        ({"outcome": Outcome.CONNECT_FAILED, "status": 0, "sent": Sent.NO}, False),
        ({"outcome": Outcome.ANSWER_TIMEOUT, "status": 0, "sent": Sent.MAYBE}, True),
        ({"outcome": Outcome.ANSWER_REJECTED, "status": 0, "sent": Sent.ANSWERED}, True),
        ({"outcome": Outcome.RESPONSE_REJECTED, "status": 200}, True),
        ({"outcome": Outcome.RESPONSE_REJECTED, "status": 399}, True),
        ({"outcome": Outcome.RESPONSE_REJECTED, "status": 400}, False),
    ],
)
def test_the_uncertain_ones_of_unrepeatable_webhooks_are_skipped_unless_included(harness, end, uncertain):
    harness.ended(**end)
    harness.ended(**end, repeatable=True)
    job = harness.start()
    harness.create_all(job)
    assert harness.decided(job) == ["uncertain" if uncertain else True, True]
    included = harness.start(include_uncertain=True)
    if uncertain:
        harness.create_all(included)
        assert harness.decided(included) == [True]


def test_an_interrupted_call_is_uncertain(harness):
    ref, _ = harness.ledger.claimed()
    harness.ledger.lose_lease(ref)
    harness.ledger.store.claim([ref], harness.ledger.token())
    job = harness.start()
    harness.create_all(job)
    assert (harness.decided(job), harness.job(job).state) == (["uncertain"], ReplayState.DONE)
    assert harness.adds_up(job)


@pytest.mark.parametrize(
    ("repeatable", "status", "expected"),
    [(False, 200, "uncertain"), (True, 200, True), (False, 500, True)],
)
def test_a_failed_chain_with_a_delivered_unrepeatable_step_is_uncertain(harness, repeatable, status, expected):
    failed_chain(harness, repeatable=repeatable, status=status)
    job = harness.start()
    harness.create_all(job)
    assert harness.decided(job) == [expected]


def ended_chain(harness, depth, *, repeatable, status):
    """Make a failed chain of chains, so many deep, whose innermost call ended so; return its id."""
    chains = [harness.ledger.accepted(pins="{}", repeatable=True)]
    for level in range(depth):
        inner, pins = new_reference_id(), "{}" if level < depth - 1 else None
        step = NewStep(inner, "hook", 1, 20_000, repeatable or pins is not None, b"\x01", 1, pins=pins)
        harness.ledger.advance(chains[-1], step)
        if pins is None:
            harness.send([inner], status=status)
        else:
            chains.append(inner)
    for chain in reversed(chains):
        harness.fail_chain(chain)
    return chains[0]


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("repeatable", [False, True])
@pytest.mark.parametrize("status", [200, 503])
def test_a_failed_chain_is_uncertain_by_what_its_innermost_calls_have_done(harness, depth, repeatable, status):
    ended_chain(harness, depth, repeatable=repeatable, status=status)
    plan = harness.replays.plan("acme", Request(filter=Filter()))
    job = harness.start()
    harness.create_all(job)
    assert harness.decided(job) == ["uncertain" if status == 200 and not repeatable else True]
    assert plan.skipped == harness.decided(job).count("uncertain")


def test_a_failed_chain_whose_steps_are_no_longer_known_is_uncertain(harness):
    parent = failed_chain(harness, repeatable=True)
    (step,) = harness.client.lrange(KEYS.steps(parent), 0, -1)
    harness.client.delete(KEYS.record(step.decode()))
    job = harness.start()
    harness.create_all(job)
    assert harness.decided(job) == ["uncertain"]


def test_what_another_job_has_sent_since_is_skipped(harness):
    harness.failed(3)
    first, second = harness.start(), harness.start()
    harness.create_all(first)
    a, b, c = harness.made(first)
    harness.send([a])
    harness.send([b], status=503)
    harness.create_all(second)
    assert harness.decided(second) == ["replayed", True, "being_replayed"]
    (again,) = harness.made(second)
    assert harness.record(b).replayed_by == again  # the job replays the newest of the family
    harness.send([again, c])
    assert harness.adds_up(first)
    assert harness.adds_up(second)


def test_a_family_is_sent_once_by_a_job_however_many_of_it_are_given(harness):
    (first,) = harness.failed(1)
    job = harness.start()
    harness.create_all(job)
    (second,) = harness.made(job)
    harness.send([second], status=503)
    both = harness.start(reference_ids=[first, second])
    harness.create_all(both)
    assert harness.decided(both) == [True, "replayed"]


def test_what_has_a_replay_that_is_no_longer_known_counts_as_replayed(harness):
    (first,) = harness.failed(1)
    harness.client.hset(KEYS.record(first), "replayedBy", new_reference_id())
    job = harness.start(reference_ids=[first])
    harness.create_all(job)
    assert harness.decided(job) == ["replayed"]


def test_what_cannot_be_sent_again_is_skipped_and_says_why(harness):
    gone, expired, forgotten = harness.failed(3)
    queued = harness.ledger.accepted()
    parent = harness.ledger.accepted(pins="{}", repeatable=True)
    step = new_reference_id()
    harness.ledger.advance(parent, NewStep(step, "hook", 1, 20_000, False, b"\x01", 1))
    harness.client.hset(KEYS.webhooks("rival"), "hook", 1)
    foreign = harness.ended(plugin="rival")
    job = harness.start(reference_ids=[gone, expired, forgotten, queued, step, foreign])
    harness.client.delete(KEYS.record(gone))
    harness.client.delete(KEYS.payload(expired))
    harness.ledger.store.forget("acme", forgotten)
    harness.create_all(job)
    assert harness.decided(job) == ["expired", "expired", "forgotten", "not_final", "chain_step", "expired"]
    job = harness.job(job)
    assert (job.state, job.skipped) == (ReplayState.DONE, 6)
    assert job.skipped_reasons == {"expired": 3, "forgotten": 1, "not_final": 1, "chain_step": 1}
    assert harness.record(queued).replayed_by is None


def test_contents_that_do_not_open_are_skipped(harness):
    harness.failed(1)
    job = harness.start()
    token = harness.take(job)
    harness.runs.create(job.replay_id, token, 0, [NewReplay(new_reference_id(), 1, 20_000)])
    assert (harness.decided(job), harness.job(job).state) == (["unreadable"], ReplayState.DONE)


def test_an_original_that_was_to_be_skipped_and_may_go_by_now_is_read_again(harness):
    (first,) = harness.failed(1)
    other, job = harness.start(), harness.start()
    harness.create_all(other)
    token = harness.take(job)
    place, news = harness.brought(job)
    assert news == [NewReplay()]
    harness.send(harness.made(other), status=503)
    created = harness.runs.create(job.replay_id, token, place, news)
    assert (created.verdict, created.cursor) == (ReplayVerdict.AGAIN, 0)
    harness.step(job, token)
    assert harness.record(harness.made(job)[0]).replay_of == first


# -- steering -------------------------------------------------------------------------------------------------------


def test_while_a_job_is_paused_claims_of_its_calls_put_them_back(harness):
    harness.failed(3)
    job = harness.start()
    token = harness.take(job)
    harness.step(job, token, 2)
    one, two = harness.made(job)
    harness.client.hset(KEYS.policy("acme", "hook"), "concurrency", 1)
    live = harness.ledger.accepted()
    assert harness.ledger.store.claim([one], "t-one").granted == {one}
    assert harness.ledger.store.claim([two], "t-two").parked == {two}  # at its webhook's cap
    assert harness.replays.pause("acme", job.replay_id).state is ReplayState.PAUSED
    assert harness.step(job, token).verdict is ReplayVerdict.LATE
    assert harness.take(job) is None

    assert harness.ledger.store.claim([two], "t-three").parked == {two}
    assert harness.client.zcard(KEYS.parked("acme", "hook")) == 0
    harness.settle(one, "t-one", status=200)
    assert harness.ledger.store.claim([live], "t-live").granted == {live}
    harness.settle(live, "t-live", status=200)
    assert two not in {ref for ref, _ in harness.ledger.store.sweep(limit=10)}
    assert harness.replays.pause("acme", job.replay_id).state is ReplayState.PAUSED

    harness.published.clear()
    assert harness.replays.resume("acme", job.replay_id).state is ReplayState.RUNNING
    assert set(harness.published) == {(two, "replay"), (f"replay-{job.replay_id}", "replay")}
    assert not harness.client.exists(f"relay:{{0}}:replay:{job.replay_id}:parked")
    assert harness.client.hget(KEYS.record(two), "parked") == b""
    assert harness.send([two]) == {two}
    harness.create_all(job)
    harness.send(harness.made(job)[2:])
    job = harness.job(job)
    assert (job.state, job.delivered) == (ReplayState.DONE, 3)
    assert harness.client.keys("*:parked:*") == []


def held_call(harness):
    """Return a job that was paused before its one call was claimed, and the call's id."""
    harness.failed(1)
    job = harness.start()
    harness.create_all(job)
    (ref,) = harness.made(job)
    harness.replays.pause("acme", job.replay_id)
    assert harness.ledger.store.claim([ref], "t1").parked == {ref}
    return job, ref


def test_a_call_that_its_job_held_and_that_is_sent_is_held_no_more(harness):
    job, ref = held_call(harness)
    harness.client.hset(KEYS.replay(job.replay_id), "state", "running")  # a resume was stopped half-way
    assert harness.ledger.store.claim([ref], "t2").granted == {ref}
    harness.replays.pause("acme", job.replay_id)
    harness.published.clear()
    harness.replays.resume("acme", job.replay_id)
    assert (ref, "replay") not in harness.published


@pytest.mark.parametrize("state", ["paused", "running", "cancelled", "done", None])
def test_a_held_call_is_found_by_the_sweep_unless_its_job_is_paused(harness, state):
    job, ref = held_call(harness)
    harness.client.delete(KEYS.replay(job.replay_id))
    if state is not None:
        harness.client.hset(KEYS.replay(job.replay_id), "state", state)
    harness.client.zadd(KEYS.due_queued("replay"), {ref: 1})
    assert harness.ledger.store.sweep(limit=10) == (() if state == "paused" else ((ref, "replay"),))


def test_a_held_call_is_looked_at_every_quarter_of_an_hour_while_its_job_is_paused(clock, harness):
    _, ref = held_call(harness)
    for quarter in range(3):
        clock.set_ms(START_MS + quarter * 15 * 60_000)
        assert ref not in {each for each, _ in harness.ledger.store.sweep(limit=9)}
        assert harness.client.zscore(KEYS.due_queued("replay"), ref) == START_MS + max(1, quarter + 1) * 15 * 60_000


def test_a_resume_passes_over_held_calls_that_are_over_or_gone(harness):
    harness.failed(1)
    job, gone, over = harness.start(), new_reference_id("acme"), harness.ended()
    harness.replays.pause("acme", job.replay_id)
    harness.client.zadd(f"relay:{{0}}:replay:{job.replay_id}:parked", {gone: 1, over: 2})
    before = harness.client.hgetall(KEYS.record(over))
    harness.published.clear()
    harness.replays.resume("acme", job.replay_id)
    assert harness.published == [(f"replay-{job.replay_id}", "replay")]
    assert harness.client.hgetall(KEYS.record(over)) == before
    assert not harness.client.exists(KEYS.record(gone))


@pytest.mark.parametrize("originals", [1, 1_000, 1_001, 2_001])
def test_a_job_that_a_restore_ends_skips_however_many_originals_are_left(harness, originals):
    harness.failed(1)
    job = harness.start()
    ids = f"relay:{{0}}:replay:{job.replay_id}:ids"
    if originals > 1:
        harness.client.lpush(ids, *(f"ref-{number}" for number in range(originals - 1)))
    harness.client.hset(KEYS.replay(job.replay_id), "matched", originals)
    harness.client.hset(KEYS.pending(), "fence", 1)
    args = [*LIMITS.retention_args, 1, f"replay-{job.replay_id}", ""]
    assert harness.store._scripts.run("restore", args, KEYS.root("acme")) == [0, 0, 1]
    assert harness.decided(job) == ["restored"] * originals
    found = harness.job(job)
    assert (found.state, found.skipped, found.skipped_reasons) == (ReplayState.DONE, originals, {"restored": originals})


def restored(harness, job):
    """Decide about a job as the end of a restore does; return its state, and how many the script says it has ended."""
    harness.client.hset(KEYS.pending(), "fence", 1)
    args = [*LIMITS.retention_args, 1, f"replay-{job.replay_id}", ""]
    *_, ended = harness.store._scripts.run("restore", args, KEYS.root("acme"))
    harness.client.hdel(KEYS.pending(), "fence")
    return harness.job(job).state, ended


@pytest.mark.parametrize("found", [0, 1, 2])
def test_a_job_that_is_planned_still_when_a_restore_ends_it_skips_what_was_found(harness, monkeypatch, found):
    monkeypatch.setattr(replay_runs, "LOOKED_AT", 1)
    harness.failed(3)
    job = SimpleNamespace(plugin="acme", replay_id=new_reference_id("acme"))
    harness.runs.make(job.replay_id, "acme", Request(filter=FAILED), "maker", caller="k9", ended_by_ms=None)
    for _ in range(found):
        assert harness.runs.plan(job.replay_id, "maker")[0] == "planning"
    assert restored(harness, job) == (ReplayState.DONE, 1)
    assert (harness.job(job).matched, harness.job(job).skipped) == (found, found)
    assert restored(harness, job) == (ReplayState.DONE, 0)


@pytest.mark.parametrize("made", [1, 2])
def test_a_paused_job_whose_calls_a_restore_lets_go_on_stays_paused(harness, made):
    harness.failed(2)
    job = harness.start()
    harness.step(job, harness.take(job), limit=made)
    harness.replays.pause("acme", job.replay_id)
    for ended in (2 - made, 0):  # of which all were decided, nothing is left to be skipped
        assert restored(harness, job) == (ReplayState.PAUSED, ended)


def test_a_paused_jobs_lost_call_waits_too_and_is_sent_after_resume(harness):
    harness.ended(repeatable=True)
    job = harness.start()
    token = harness.take(job)
    place, (new,) = harness.brought(job)
    new = NewReplay(new.reference_id, 1, 20_000, True, new.payload)
    harness.runs.create(job.replay_id, token, place, [new])
    harness.ledger.store.claim([new.reference_id], "lost")
    harness.ledger.lose_lease(new.reference_id)
    harness.replays.pause("acme", job.replay_id)
    assert harness.ledger.store.claim([new.reference_id], "t2").parked == {new.reference_id}
    assert harness.client.zcard(KEYS.running("acme", "hook")) == 0
    harness.replays.resume("acme", job.replay_id)
    assert harness.send([new.reference_id]) == {new.reference_id}
    assert harness.job(job).state is ReplayState.DONE


def test_a_chain_that_waited_for_its_job_has_its_whole_time_before_it(harness):
    harness.fail_chain(harness.ledger.accepted(pins="{}", repeatable=True))
    job = harness.start()
    token = harness.take(job)
    new = NewReplay(new_reference_id(), 1, 20_000, True, b"\x02", "{}")
    harness.runs.create(job.replay_id, token, 0, [new])
    harness.replays.pause("acme", job.replay_id)
    harness.client.hset(KEYS.record(new.reference_id), "deadline", 1)
    assert harness.begin(new.reference_id) == "parked"
    harness.replays.resume("acme", job.replay_id)
    assert harness.begin(new.reference_id) == "granted"


def new_chain(harness):
    """Return a job, and a chain that it has made and that has not begun."""
    harness.fail_chain(harness.ledger.accepted(pins="{}", repeatable=True))
    job = harness.start()
    new = NewReplay(new_reference_id(), 1, 20_000, True, b"\x02", "{}")
    harness.runs.create(job.replay_id, harness.take(job), 0, [new])
    return job, new.reference_id


@pytest.mark.parametrize("held_by_webhook", [False, True])
def test_a_chain_that_nobody_began_while_its_job_was_paused_has_its_whole_time_too(harness, held_by_webhook):
    job, chain = new_chain(harness)
    if held_by_webhook:
        harness.ledger.policies.pause("acme", "hook")
        assert harness.begin(chain) == "parked"
    harness.replays.pause("acme", job.replay_id)
    harness.client.hset(KEYS.record(chain), "deadline", 1)
    harness.ledger.look_at_ages()
    assert harness.ledger.store.expire(limit=100)[0] == 0
    harness.replays.resume("acme", job.replay_id)
    assert len(list(harness.ledger.policies.resume("acme", "hook"))) == held_by_webhook
    assert harness.begin(chain) == "granted"


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_pause_gives_a_chain_its_whole_time_again_unless_it_has_begun(harness, has_begun):
    job, chain = new_chain(harness)
    if has_begun:
        assert harness.begin(chain) == "granted"
    ends_ms = int(harness.client.hget(KEYS.record(chain), "deadline")) - 5_000  # as if five seconds had passed
    harness.client.hset(KEYS.record(chain), "deadline", ends_ms)
    harness.replays.pause("acme", job.replay_id)
    harness.replays.resume("acme", job.replay_id)
    assert (int(harness.client.hget(KEYS.record(chain), "deadline")) == ends_ms) == has_begun


@pytest.mark.parametrize(("timeout_ms", "age_ms"), [(7_000, 90_000), (90_000, 7_000)])
def test_a_chain_of_a_job_is_looked_at_when_its_time_is_over_which_a_pause_gives_it_again(
    clock, harness, timeout_ms, age_ms
):
    harness.failed(1)
    job = harness.start()
    new = NewReplay(new_reference_id(), 1, timeout_ms, True, b"\x02", "{}", age_ms)
    harness.runs.create(job.replay_id, harness.take(job), 0, [new])

    def looked_at_ms(*, again):
        if again:  # too early
            harness.ledger.look_at_ages()
            assert harness.ledger.store.expire(limit=9)[0] == 0
        return harness.client.zscore(KEYS.open_calls("acme", "hook"), new.reference_id)

    for again in (False, True):
        assert looked_at_ms(again=again) == START_MS + min(timeout_ms, age_ms)
    harness.replays.pause("acme", job.replay_id)
    assert looked_at_ms(again=True) == START_MS + age_ms
    clock.set_ms(START_MS + 1_000)
    harness.replays.resume("acme", job.replay_id)
    for again in (False, True):
        assert looked_at_ms(again=again) == START_MS + min(1_000 + timeout_ms, age_ms)


@pytest.mark.parametrize("is_repeated", [False, True])
def test_a_chain_that_has_not_begun_when_its_job_is_paused_waits_for_the_resume(harness, is_repeated):
    job, chain = new_chain(harness)
    harness.replays.pause("acme", job.replay_id)
    harness.client.hset(KEYS.record(chain), "deadline", 1)
    for _ in range(1 + is_repeated):  # the first reply may be lost
        assert harness.begin(chain, token="t1") == "parked"
    assert harness.client.llen(KEYS.steps(chain)) == 0
    assert harness.record(chain).state is State.QUEUED
    assert harness.client.zscore(KEYS.due_queued("replay"), chain) is not None
    harness.published.clear()
    harness.replays.resume("acme", job.replay_id)
    assert (chain, "replay") in harness.published
    assert harness.begin(chain) == "granted"
    harness.replays.pause("acme", job.replay_id)  # it has begun, so that it goes on
    (step,) = harness.client.lrange(KEYS.steps(chain), 0, -1)
    assert harness.send([step.decode()]) == {step.decode()}
    assert harness.begin(chain, step=1) == "granted"


@pytest.mark.parametrize(("own_ms", "expected_ms"), [(None, DAY_MS), (5_000, 5_000), (9 * DAY_MS, 9 * DAY_MS)])
def test_a_replay_has_the_age_of_its_webhook_or_the_settings_one(harness, own_ms, expected_ms):
    harness.failed(1)
    job = harness.start()
    token = harness.take(job)
    place, (new,) = harness.brought(job)
    harness.runs.create(job.replay_id, token, place, [replace(new, max_age_ms=own_ms)])
    created, end_by = map(int, harness.client.hmget(KEYS.record(new.reference_id), "createdAt", "endBy"))
    assert end_by - created == expected_ms


@pytest.mark.parametrize("is_repeated", [False, True])
def test_a_chain_that_has_not_begun_when_its_job_is_cancelled_never_begins(harness, is_repeated):
    job, chain = new_chain(harness)
    harness.client.hset(KEYS.replay(job.replay_id), "state", "cancelled")  # although that cancels its calls too
    assert harness.begin(chain, token="t1") == "ended"
    if is_repeated:  # the first reply may be lost
        assert harness.begin(chain, token="t1") == "skipped"
    assert harness.client.llen(KEYS.steps(chain)) == 0
    assert harness.record(chain).state is State.CANCELLED
    job = harness.job(job)
    assert job.finished_at_ms is not None
    assert harness.adds_up(job)


def test_a_chain_that_has_begun_when_its_job_is_cancelled_goes_on(harness):
    job, chain = new_chain(harness)
    for _ in range(2):  # the first reply may be lost
        assert harness.begin(chain, token="t1") == "granted"
        harness.replays.cancel("acme", job.replay_id)
    (step,) = harness.client.lrange(KEYS.steps(chain), 0, -1)
    assert harness.send([step.decode()]) == {step.decode()}
    assert harness.begin(chain, step=1) == "granted"


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("decided", range(5))
def test_a_job_that_a_restore_ends_says_why_each_original_was_skipped(harness, decided, paused):
    for sent in (Sent.MAYBE, Sent.NO, Sent.MAYBE, Sent.NO):
        harness.ended(Outcome.ANSWER_TIMEOUT, status=0, sent=sent)
    job = harness.start()
    token = harness.take(job)
    if decided:
        harness.step(job, token, decided)
    before = harness.job(job)
    if paused and before.state is ReplayState.RUNNING:
        harness.replays.pause("acme", job.replay_id)
    harness.client.hset(KEYS.pending(), "fence", 1)
    for _ in range(2):  # the first reply may be lost
        args = [*LIMITS.retention_args, 1, f"replay-{job.replay_id}", ""]
        harness.store._scripts.run("restore", args, KEYS.root("acme"))
        found = harness.job(job)
        left = {"restored": 4 - decided} if decided < 4 else {}
        assert found.skipped_reasons == {**before.skipped_reasons, **left}
        assert (found.matched, found.skipped) == (4, sum(found.skipped_reasons.values()))
    harness.client.hdel(KEYS.pending(), "fence")
    if found.state is ReplayState.PAUSED:
        harness.replays.resume("acme", job.replay_id)
    harness.send(harness.made(job))
    assert harness.job(job).state is ReplayState.DONE
    assert harness.adds_up(job)


def test_cancelling_stops_what_was_not_sent_and_skips_the_rest(harness):
    harness.failed(5)
    job = harness.start()
    token = harness.take(job)
    harness.step(job, token, 3)
    sent, waiting, sending = harness.made(job)
    harness.send([sent])
    harness.ledger.store.claim([sending], "t1")
    cancelled = harness.replays.cancel("acme", job.replay_id)
    assert (cancelled.state, cancelled.started, cancelled.delivered) == (ReplayState.CANCELLED, 3, 1)
    assert (cancelled.failed, cancelled.skipped, cancelled.skipped_reasons) == (1, 2, {"cancelled": 2})
    assert cancelled.finished_at_ms is None
    assert harness.record(waiting).state is State.CANCELLED
    assert harness.step(job, token).verdict is ReplayVerdict.LATE
    assert harness.replays.cancel("acme", job.replay_id) == cancelled
    harness.settle(sending, "t1", status=200)
    job = harness.job(job)
    assert (job.state, job.delivered, job.matched) == (ReplayState.CANCELLED, 2, 5)
    assert job.finished_at_ms is not None
    assert harness.adds_up(job)


@pytest.mark.parametrize("decided", [0, 1, 2, 3])
@pytest.mark.parametrize("is_paused", [False, True])
def test_a_cancelled_jobs_counts_add_up_however_many_were_skipped_before(harness, decided, is_paused):
    ends = [{}, {"outcome": Outcome.ANSWER_TIMEOUT, "status": 0, "sent": Sent.MAYBE}] * 2
    job = harness.start(reference_ids=[harness.ended(**end) for end in ends])
    if decided:
        harness.step(job, harness.take(job), limit=decided)
    made = harness.made(job)
    harness.send(made[:1])
    if is_paused:
        harness.replays.pause("acme", job.replay_id)
    uncertain, left = decided // 2, 4 - decided
    for _ in range(2):
        over = harness.replays.cancel("acme", job.replay_id)
        assert (over.matched, over.started, over.skipped) == (4, len(made), uncertain + left)
        assert over.skipped_reasons == ({"uncertain": uncertain} if uncertain else {}) | {"cancelled": left}
        assert over.delivered + over.failed + over.skipped == 4


def test_a_cancelled_jobs_call_is_not_sent_again_after_its_worker_was_lost(harness):
    harness.ended(repeatable=True)
    job = harness.start()
    token = harness.take(job)
    place, (new,) = harness.brought(job)
    new = NewReplay(new.reference_id, 1, 20_000, True, new.payload)
    harness.runs.create(job.replay_id, token, place, [new])
    harness.ledger.store.claim([new.reference_id], "lost")
    harness.replays.cancel("acme", job.replay_id)
    harness.ledger.lose_lease(new.reference_id)
    harness.ledger.store.claim([new.reference_id], "t2")
    assert harness.record(new.reference_id).state is State.INTERRUPTED
    assert harness.adds_up(job)


@pytest.mark.parametrize(
    ("state", "verb", "past"),
    [
        *(("done", "pause", "paused"), ("done", "resume", "resumed"), ("done", "cancel", "cancelled")),
        *(("cancelled", "pause", "paused"), ("cancelled", "resume", "resumed")),
    ],
)
def test_a_job_that_is_over_cannot_be_steered_and_the_answer_says_why(harness, verb, past, state):
    harness.failed(1)
    job = harness.start()
    if state == "cancelled":
        harness.replays.cancel("acme", job.replay_id)
    else:
        harness.create_all(job)
        harness.send(harness.made(job))
    with pytest.raises(Conflict, match=rf"^The replay is {state}: it cannot be {past}\.$"):
        getattr(harness.replays, verb)("acme", job.replay_id)


@pytest.mark.parametrize("verb", ["get", "pause", "resume", "cancel"])
def test_an_unknown_or_foreign_job_is_not_found(harness, verb):
    job = harness.start()
    for plugin, replay_id in (("rival", job.replay_id), ("acme", new_reference_id()), ("acme", "nonsense:ids")):
        with pytest.raises(NotFound):
            getattr(harness.replays, verb)(plugin, replay_id)


# -- planning -------------------------------------------------------------------------------------------------------


def test_a_plan_is_kept_for_its_time_and_for_its_plugin(harness):
    plan_id = new_reference_id("acme")
    harness.store.save_plan("acme", plan_id, b"plan", keep_s=86_400)
    assert harness.store.plan_of("acme", plan_id) == b"plan"
    assert 86_300 < harness.client.ttl(KEYS.of_plugin("replay_plan", "acme", plan=plan_id)) <= 86_400
    malformed = "*", "", "\udc80"
    for plugin, wanted in (
        ("rival", plan_id),
        ("acme", new_reference_id("acme")),
        *(("acme", id_) for id_ in malformed),
    ):
        with pytest.raises(NotFound):
            harness.store.plan_of(plugin, wanted)
    for wanted in malformed:
        for act in (harness.store.get, partial(harness.store.steer, verb="pause")):
            with pytest.raises(NotFound):
                act("acme", wanted)
    harness.failed(1)
    planned = harness.replays.plan("acme", Request(filter=FAILED)).plan_id
    assert 0 < harness.client.ttl(KEYS.of_plugin("replay_plan", "acme", plan=planned)) <= 86_400


def test_a_plan_says_what_a_job_would_do_and_starts_nothing(harness):
    harness.failed(3)
    harness.ended(outcome=Outcome.ANSWER_TIMEOUT, status=0, sent=Sent.MAYBE)
    before = harness.ledger.everything().keys()
    plan = harness.replays.plan("acme", Request(filter=Filter(), rate_per_second=2))
    assert (plan.matched, plan.skipped, plan.skipped_reasons) == (4, 1, {"uncertain": 1})
    assert [(each.outcome, each.status, each.count) for each in plan.breakdown] == [
        ("answered", 503, 3),
        ("answer_timeout", 0, 1),
    ]
    assert len(plan.sample) == 4
    assert plan.estimated_s == 1.5
    assert {key for key in harness.ledger.everything() if b":plan:" not in key} == before


def test_a_plan_says_how_many_have_been_replayed_and_is_empty_once_all_have(harness):
    harness.failed(5)
    job = harness.start()
    harness.create_all(job)
    made = harness.made(job)
    assert harness.replays.plan("acme", Request(filter=Filter())).left_out == {"being_replayed": 5}
    harness.send(made[:2])
    harness.send(made[2:3], status=503)
    plan = harness.replays.plan("acme", Request(filter=Filter()))
    assert (plan.matched, plan.left_out) == (1, {"replayed": 2, "being_replayed": 2})
    harness.send(made[3:])
    again = harness.start(filter=Filter(status=("5xx",)))
    harness.create_all(again)
    harness.send(harness.made(again))
    for wanted in (Filter(), Filter(error=True, unreplayed=True), Filter(status=(503,))):
        plan = harness.replays.plan("acme", Request(filter=wanted))
        assert (plan.matched, plan.left_out) == (0, {"replayed": 6})
    assert harness.replays.plan("acme", Request(filter=Filter(status=(404,)))).left_out == {}


def test_what_failed_is_replayed_again_after_its_replay_was_cancelled(harness):
    harness.failed(3)
    job = harness.start()
    harness.create_all(job)
    first, *others = harness.made(job)
    harness.send([first], status=503)
    harness.replays.cancel("acme", job.replay_id)
    assert {harness.record(ref).state for ref in others} == {State.CANCELLED}
    for wanted in (Filter(), Filter(status=(503,)), Filter(error=True, unreplayed=True)):
        plan = harness.replays.plan("acme", Request(filter=wanted))
        assert (plan.matched, plan.skipped_reasons, plan.left_out) == (3, {}, {})
    again = harness.start()
    assert again.matched == 3
    harness.create_all(again)
    assert harness.decided(again) == [True, True, True]
    made = harness.made(again)
    assert {harness.record(ref).replayed_by for ref in (first, *others)} == set(made)
    assert harness.replays.plan("acme", Request(filter=Filter())).left_out == {"being_replayed": 4}
    harness.send(made)
    assert harness.replays.plan("acme", Request(filter=Filter())).left_out == {"replayed": 4}


def test_one_member_of_a_family_is_matched_whichever_of_them_the_filter_selects(harness):
    (original,) = harness.failed(1)  # with 503
    newest = original
    for end in ({"status": 503}, {"status": 500}, {"status": 404}):
        job = harness.start(reference_ids=[original])
        harness.create_all(job)
        (newest,) = harness.made(job)
        harness.send([newest], **end)
    for status, matched in ((503, 1), (500, 1), (404, 1), (429, 0)):
        plan = harness.replays.plan("acme", Request(filter=Filter(status=(status,))))
        assert (plan.matched, plan.left_out) == (matched, {}), status
    job = harness.start()
    harness.create_all(job)
    assert (job.matched, harness.decided(job)) == (1, [True])
    assert harness.record(newest).replayed_by == harness.made(job)[0]


def test_a_plan_leaves_out_what_is_not_final_without_saying_that_it_is_being_replayed(harness):
    harness.failed(1)
    harness.ledger.accepted()
    harness.ledger.claimed()
    unfinished = frozenset({State.QUEUED, State.SENDING})
    for states, matched in ((unfinished, 0), (unfinished | {State.DELIVERED}, 1)):
        plan = harness.replays.plan("acme", Request(filter=Filter(states=states)))
        assert (plan.matched, plan.left_out) == (matched, {})


def test_a_plan_of_ids_counts_them_once(harness):
    (known,) = harness.failed(1)
    plan = harness.replays.plan("acme", Request(reference_ids=[known, known, new_reference_id()]))
    assert (plan.matched, plan.skipped_reasons, plan.plan_id) == (2, {"expired": 1}, None)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (1, 0, 2)])
def test_a_plan_of_ids_goes_from_the_first_to_the_last_in_whatever_order_they_are_given(clock, harness, order):
    refs = []
    for number in range(3):
        clock.set_ms(START_MS + number)
        refs.append(harness.ended())
    (group,) = harness.replays.plan("acme", Request(reference_ids=[refs[place] for place in order])).breakdown
    assert (group.count, group.first_ms, group.last_ms) == (3, START_MS, START_MS + 2)


def test_a_plan_of_many_adds_up(harness):
    for _ in range(7):
        harness.ledger.accept([harness.ledger.new(refusal=Outcome.REQUEST_REJECTED, payload=b"") for _ in range(80)])
    wanted = Request(filter=Filter(states=frozenset({State.REJECTED})))
    plan = harness.replays.plan("acme", wanted)
    assert (plan.matched, plan.skipped_reasons, len(plan.sample)) == (560, {"refused": 560}, 10)
    limited = harness.replays.plan("acme", Request(filter=wanted.filter, max=300))
    assert (limited.matched, limited.skipped) == (300, 300)


def test_a_plan_and_a_job_count_what_was_made_in_the_same_millisecond_once_however_many_pieces_it_takes(
    clock, harness, monkeypatch
):
    monkeypatch.setattr(replay_runs, "LOOKED_AT", 2)
    harness.failed(5)
    assert harness.replays.plan("acme", Request(filter=FAILED, max=7)).matched == 5
    assert harness.start(max=7).matched == 5


def test_a_plan_shows_the_newest_of_all_pieces(harness, monkeypatch):
    monkeypatch.setattr(replay_runs, "LOOKED_AT", 4)
    harness.failed(SAMPLE + 2)
    newest = harness.ledger.listing.page("acme", FAILED, limit=SAMPLE).rows
    sample = harness.replays.plan("acme", Request(filter=FAILED)).sample
    assert [each.reference_id for each in sample] == [each.reference_id for each in newest]


def test_what_was_planned_can_be_started_and_takes_nothing_that_failed_since(harness):
    harness.failed(2)
    plan = harness.replays.plan("acme", Request(filter=Filter(), rate_per_second=3, max=10))
    late, token = harness.ledger.claimed()
    harness.client.hset(KEYS.record(late), "createdAt", 1)
    harness.settle(late, token)
    harness.client.hincrby(KEYS.record(late), "finishedAt", 10)
    job = harness.replays.start_planned("acme", plan.plan_id, caller="k9")
    assert (job.matched, job.rate_per_second, job.max) == (2, 3, 10)
    assert harness.replays.start_planned("acme", plan.plan_id, caller="k9", rate_per_second=9).rate_per_second == 9
    for plugin, plan_id in (("rival", plan.plan_id), ("acme", new_reference_id()), ("acme", "x")):
        with pytest.raises(NotFound):
            harness.replays.start_planned(plugin, plan_id, caller="k9")
    jobs = len(harness.store.list("acme"))
    with pytest.raises(BadParameter, match="ratePerSecond must be at least"):
        harness.replays.start_planned("acme", plan.plan_id, caller="k9", rate_per_second=5e-324)
    assert len(harness.store.list("acme")) == jobs


PLANNED = {"filter": "{}", "uncertain": False, "max": None, "rate": None, "endedBy": 1}


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "[]", "5", "null", "{}"),
        *(json.dumps({name: value for name, value in PLANNED.items() if name != left_out}) for left_out in PLANNED),
        *(json.dumps({**PLANNED, "filter": odd}) for odd in (None, 5, "x", "[]", '{"states": 5}')),
        *(json.dumps({**PLANNED, name: odd}) for name in ("endedBy", "rate", "max") for odd in ("x", [], {})),
    ],
)
def test_a_plan_that_cannot_be_read_starts_nothing_and_says_so(harness, text):
    plan_id = new_reference_id("acme")
    harness.store.save_plan("acme", plan_id, json.dumps(PLANNED).encode(), keep_s=60)
    assert harness.replays.start_planned("acme", plan_id, caller="k9").matched == 0
    harness.store.save_plan("acme", plan_id, text.encode(), keep_s=60)
    with pytest.raises(Conflict, match="plan is damaged"):
        harness.replays.start_planned("acme", plan_id, caller="k9")
    assert len(harness.store.list("acme")) == 1


@pytest.mark.parametrize("rate", [None, 4])
@pytest.mark.parametrize("most", [None, 2])
@pytest.mark.parametrize("uncertain", [False, True])
@pytest.mark.parametrize("chosen", [{}, {"webhook_id": "hook"}, {"states": frozenset({State.UNREACHABLE})}])
def test_a_job_of_a_plan_is_the_one_that_the_same_request_would_start(harness, chosen, uncertain, most, rate):
    harness.failed(2)
    for repeatable in (False, True):
        harness.ended(outcome=Outcome.ANSWER_TIMEOUT, status=0, sent=Sent.MAYBE, repeatable=repeatable)
    wanted = Request(filter=Filter(**chosen), include_uncertain=uncertain, max=most, rate_per_second=rate)
    plan = harness.replays.plan("acme", wanted)
    started = harness.replays.start("acme", wanted, caller="k9")
    planned = harness.replays.start_planned("acme", plan.plan_id, caller="k9")
    same = ("plugin", "filter", "include_uncertain", "max", "rate_per_second", "caller", "matched", "by_hand")
    assert [getattr(planned, name) for name in same] == [getattr(started, name) for name in same]
    if rate is None:
        harness.create_all(planned)
    job = harness.job(planned)
    assert job.matched == plan.matched
    assert rate or (job.skipped, job.skipped_reasons) == (plan.skipped, plan.skipped_reasons)


def test_a_large_job_is_planned_by_workers(harness, monkeypatch):
    monkeypatch.setattr("relay.replay.planning.PLANNED_AT_ONCE", 300)
    for _ in range(7):
        harness.ledger.accept([harness.ledger.new(refusal=Outcome.REQUEST_REJECTED, payload=b"") for _ in range(80)])
    job = harness.start(filter=Filter(states=frozenset({State.REJECTED})))
    assert (job.state, job.matched) == (ReplayState.PLANNING, None)
    with pytest.raises(Conflict, match="is planning: it cannot be paused"):
        harness.replays.pause("acme", job.replay_id)
    token = harness.take(job)
    assert harness.runs.plan(job.replay_id, "another") == ("late", 500)
    while harness.runs.plan(job.replay_id, token)[0] == "planning":
        pass
    assert harness.job(job).matched == 560
    cancelled = harness.replays.cancel("acme", job.replay_id)
    assert (cancelled.skipped, cancelled.finished_at_ms is not None) == (560, True)


def test_a_job_whose_originals_are_few_among_many_is_planned_for_a_while_and_then_left_to_workers(harness, monkeypatch):
    now_s = itertools.count(0.0, 0.4 * PLANNING_S)
    monkeypatch.setattr("relay.replay.planning.time", SimpleNamespace(monotonic=lambda: next(now_s)))
    monkeypatch.setattr(replay_runs, "LOOKED_AT", 1)
    harness.failed(10)
    job = harness.start()
    assert (job.state, job.matched) == (ReplayState.PLANNING, None)
    assert (f"replay-{job.replay_id}", "replay") in harness.published


@pytest.mark.parametrize("pieces", [0, 1, 2])
@pytest.mark.parametrize("left", [0, 1, 2])
def test_what_a_stopped_run_has_found_is_found_again_and_counts_once(harness, monkeypatch, pieces, left):
    monkeypatch.setattr(replay_runs, "LOOKED_AT", 2)
    newest_first, replay_id = harness.failed(6)[::-1], new_reference_id("acme")
    ids = f"relay:{{0}}:replay:{replay_id}:ids"
    harness.runs.make(replay_id, "acme", Request(filter=FAILED), "maker", caller="k9", ended_by_ms=None)
    for piece in range(5):
        if piece == pieces and left:  # it was stopped before it wrote down how far it had come
            harness.client.rpush(ids, *newest_first[2 * piece : 2 * piece + left])
        state, count = harness.runs.plan(replay_id, "maker")
        assert harness.client.lrange(ids, 0, -1) == [ref.encode() for ref in newest_first[:count]]
        if state != "planning":
            break
    assert (state, count) == ("running", 6)
    assert harness.store.get("acme", replay_id).matched == 6


def test_a_job_that_is_cancelled_while_it_is_planned_has_what_was_found(harness, monkeypatch):
    monkeypatch.setattr("relay.replay.planning.PLANNED_AT_ONCE", 0)
    for _ in range(7):
        harness.ledger.accept([harness.ledger.new(refusal=Outcome.REQUEST_REJECTED, payload=b"") for _ in range(80)])
    job = harness.start(filter=Filter(states=frozenset({State.REJECTED})))
    cancelled = harness.replays.cancel("acme", job.replay_id)
    assert cancelled.matched == cancelled.skipped == 250
    assert harness.take(job) is None


# -- looking --------------------------------------------------------------------------------------------------------


def test_jobs_are_listed_newest_first_and_the_forgotten_are_left_out(harness):
    jobs = [harness.start() for _ in range(4)]
    for number, job in enumerate(jobs):
        harness.client.zadd(KEYS.replays("acme"), {job.replay_id: number})
    assert [job.replay_id for job in harness.store.list("acme")] == [job.replay_id for job in reversed(jobs)]
    harness.client.delete(KEYS.replay(jobs[3].replay_id))
    assert [job.replay_id for job in harness.store.list("acme", limit=2)] == [jobs[2].replay_id, jobs[1].replay_id]
    assert [job.replay_id for job in harness.replays.list("acme", limit=1)] == [jobs[2].replay_id]
    assert harness.store.list("rival") == []


def test_every_field_of_a_job_is_read_and_one_that_cannot_be_is_named(harness):
    job = harness.start(reference_ids=harness.failed(1))
    numbers = {"matched": 20, "started": 9, "delivered": 4, "failed": 3, "skipped": 13, "max": 50}
    times = {"createdAt": 1_700_000_000_000, "finishedAt": 1_700_000_001_000}
    others = {"state": "cancelled", "rate": "2.5", "uncertain": "1", "caller": "k7"}
    reasons = {"skipped:uncertain": 5, "skipped:cancelled": 8, "skipped:expired": 0}
    harness.client.hset(KEYS.replay(job.replay_id), mapping={**numbers, **times, **others, **reasons})
    read = harness.job(job)
    assert {name: getattr(read, name) for name in numbers} == numbers
    assert (read.created_at_ms, read.finished_at_ms, read.over) == (*times.values(), True)
    assert (read.state, read.rate_per_second, read.include_uncertain, read.caller) == (
        *(ReplayState.CANCELLED, 2.5, True, "k7"),
    )
    assert (read.skipped_reasons, read.damaged, read.by_hand) == ({"uncertain": 5, "cancelled": 8}, (), True)
    for name in (*numbers, "createdAt", "finishedAt", "state", "rate"):
        harness.client.hset(KEYS.replay(job.replay_id), name, "x")
    damaged = harness.job(job)
    assert set(damaged.damaged) == {*numbers, "createdAt", "finishedAt", "state", "rate"}
    assert (damaged.state, damaged.matched, damaged.started) == (None, None, 0)
    assert damaged.created_at_ms == reference_time_ms(job.replay_id)


def test_what_a_job_made_is_listed_newest_first(harness):
    harness.failed(3)
    harness.ended(outcome=Outcome.ANSWER_TIMEOUT, status=0, sent=Sent.MAYBE)
    job = harness.start(rate_per_second=None)
    harness.create_all(job)
    made = harness.made(job)
    harness.send(made[:1], status=503)
    wanted = Filter(replay=job.replay_id)
    first = harness.ledger.listing.page("acme", wanted, limit=2)
    assert [row.reference_id for row in first.rows] == [made[2], made[1]]
    second = harness.ledger.listing.page("acme", wanted, limit=2, cursor=first.cursor)
    assert ([row.reference_id for row in second.rows], second.cursor) == ([made[0]], None)
    failed = harness.ledger.listing.page("acme", Filter(replay=job.replay_id, error=True))
    assert [row.reference_id for row in failed.rows] == made[:1]
    assert harness.ledger.listing.page("rival", wanted).rows == []
    assert harness.replays.plan("acme", Request(filter=Filter(replay=job.replay_id))).matched == 1


@pytest.mark.parametrize("left", [3, 500, 999_999_999_999])
@pytest.mark.parametrize("is_forgotten", [False, True])
def test_a_cursor_beyond_what_a_job_made_begins_at_its_end_and_comes_to_an_end(harness, left, is_forgotten):
    harness.failed(2)
    job = harness.start()
    harness.create_all(job)
    made = harness.made(job)
    harness.send(made)
    if is_forgotten:
        harness.client.zadd(KEYS.expiry(), {f"replay-{job.replay_id}": 1})
        assert harness.ledger.store.prune(limit=10) == 1
    cursor = urlsafe_b64encode(f"#{left}".encode()).decode().rstrip("=")
    page = harness.ledger.listing.page("acme", Filter(replay=job.replay_id), cursor=cursor)
    assert [row.reference_id for row in page.rows] == ([] if is_forgotten else made[::-1])
    assert page.cursor is None


@pytest.mark.parametrize("skipped", [LOOKED_AT_BY_SCRIPT, LOOKED_AT, LOOKED_AT + 1])
def test_what_a_job_made_is_listed_however_many_originals_it_has_skipped_since(harness, skipped):
    harness.failed(2)
    job = harness.start()
    harness.create_all(job)
    decided, made = f"relay:{{0}}:replay:{job.replay_id}:decided", harness.made(job)
    harness.client.rpush(decided, *["expired"] * skipped)
    rows, cursor = [], None
    for _ in range(1 + skipped // LOOKED_AT):  # a page looks at no more
        page = harness.ledger.listing.page("acme", Filter(replay=job.replay_id), cursor=cursor)
        rows, cursor = rows + page.rows, page.cursor
    assert ([row.reference_id for row in rows], cursor) == (made[::-1], None)


def test_an_ended_job_is_kept_for_its_time(harness):
    harness.failed(1)
    job = harness.start()
    harness.create_all(job)
    member = f"replay-{job.replay_id}"
    assert harness.client.zscore(KEYS.expiry(), member) is None
    harness.send(harness.made(job))
    over = harness.job(job)
    assert harness.client.zscore(KEYS.expiry(), member) == over.finished_at_ms + 24 * HOUR_MS


@pytest.mark.parametrize("by_hand", [False, True], ids=["by filter", "by hand"])
@pytest.mark.parametrize("cancelled", [False, True], ids=["done", "cancelled"])
def test_a_job_that_is_over_keeps_no_list_of_its_originals_and_still_lists_what_it_made(harness, by_hand, cancelled):
    refs = harness.failed(3)
    job = harness.start(**({"reference_ids": refs} if by_hand else {}))
    harness.create_all(job)
    made = harness.made(job)
    assert harness.client.llen(f"relay:{{0}}:replay:{job.replay_id}:ids") == 3
    if cancelled:
        harness.store.steer("acme", job.replay_id, "cancel")
    else:
        harness.send(made)
    assert harness.job(job).over
    left = {key.decode().rpartition(":")[2] for key in harness.client.keys(f"relay:{{0}}:replay:{job.replay_id}*")}
    assert left == {job.replay_id, "decided"}
    page = harness.ledger.listing.page("acme", Filter(replay=job.replay_id), limit=10)
    assert {row.reference_id for row in page.rows} == set(made)


def test_a_job_past_its_time_is_forgotten_whole_without_anybody_listing_it(harness):
    kept, gone = (over(harness) for _ in range(2))
    assert harness.ledger.store.prune(limit=100) == 0
    harness.client.zincrby(KEYS.expiry(), -2 * DAY_MS, f"replay-{gone.replay_id}")
    assert harness.ledger.store.prune(limit=100) == 1
    assert harness.client.keys(f"relay:{{0}}:replay:{gone.replay_id}*") == []
    assert harness.client.zrange(KEYS.replays("acme"), 0, -1) == [kept.replay_id.encode()]
    assert harness.job(kept).over


def over(harness):
    harness.failed(1)
    job = harness.start()
    harness.create_all(job)
    harness.send(harness.made(job))
    return harness.job(job)


LINE = 4  # an original and three replays of the family


def line_of(harness, uncertain_at, replay_of_first):
    """Make a family of replays, one of which may have been executed; each replays the newest, or always the first."""
    refs = []
    for number in range(LINE):
        if not refs:
            refs.append(harness.ledger.accepted())
        else:
            original = refs[0] if replay_of_first else refs[-1]
            job = harness.start(reference_ids=[original], include_uncertain=True)
            harness.create_all(job)
            refs += harness.made(job)
        end = {"outcome": Outcome.CONNECTION_LOST, "status": 0, "sent": Sent.MAYBE} if number == uncertain_at else {}
        harness.send([refs[-1]], **({"status": 503} | end))
    return refs


@pytest.mark.parametrize("replay_of_first", [False, True])
@pytest.mark.parametrize("asked", range(LINE))
@pytest.mark.parametrize("uncertain_at", [None, *range(LINE)])
def test_whichever_of_a_family_may_have_been_executed_none_of_it_is_sent_again(
    harness, uncertain_at, asked, replay_of_first
):
    refs = line_of(harness, uncertain_at, replay_of_first)
    job = harness.start(reference_ids=[refs[asked]])
    harness.create_all(job)
    assert harness.decided(job) == [True if uncertain_at is None else "uncertain"]
    assert harness.replays.plan("acme", Request(reference_ids=[refs[asked]])).skipped == (uncertain_at is not None) or (
        uncertain_at is None  # it is being replayed already
    )


@pytest.mark.parametrize(("repeatable", "decided"), [(False, "uncertain"), (True, True)])
def test_a_replay_whose_original_is_forgotten_counts_as_uncertain(harness, repeatable, decided):
    original = harness.ended(repeatable=repeatable)
    job = harness.start(reference_ids=[original])
    harness.create_all(job)
    (replay,) = harness.made(job)
    harness.client.hset(KEYS.record(replay), "repeatable", int(repeatable))
    harness.send([replay], status=503)
    harness.client.delete(KEYS.record(original))
    again = harness.start(reference_ids=[replay])
    harness.create_all(again)
    assert harness.decided(again) == [decided]


@pytest.mark.parametrize("is_registered", [True, False])
@pytest.mark.parametrize("repeatable", [False, True])
def test_a_replay_of_a_chain_whose_original_is_forgotten_counts_as_uncertain(harness, repeatable, is_registered):
    original = failed_chain(harness, repeatable=repeatable)
    job = harness.start(reference_ids=[original], include_uncertain=True)
    if is_registered:
        new = NewReplay(new_reference_id(), 1, 20_000, True, b"\x02", "{}")
    else:
        harness.client.hdel(KEYS.webhooks("acme"), "hook")
        new = NewReplay(new_reference_id(), payload=b"\x02")
    assert harness.runs.create(job.replay_id, harness.take(job), 0, [new]).verdict is ReplayVerdict.DECIDED
    if is_registered:
        harness.fail_chain(new.reference_id)
    else:
        harness.send([new.reference_id], outcome=Outcome.CONNECT_FAILED, status=0, sent=Sent.NO)
    request = Request(reference_ids=[new.reference_id])
    assert harness.replays.plan("acme", request).skipped_reasons == ({} if repeatable else {"uncertain": 1})
    harness.client.zadd(KEYS.expiry(), {original: 1})
    assert harness.ledger.store.prune(limit=10) == 1
    assert harness.replays.plan("acme", request).skipped_reasons == {"uncertain": 1}
    again = harness.start(reference_ids=[new.reference_id])
    harness.create_all(again)
    assert harness.decided(again) == ["uncertain"]


@pytest.mark.parametrize("chain", [False, True])
def test_a_chain_in_a_family_too_long_to_go_through_counts_as_uncertain(harness, chain):
    (newest,) = harness.failed(1)
    line = [newest, *(new_reference_id() for _ in range(MOST_HOPS + 1))]
    for ref, before in itertools.pairwise(line):
        record = dict.fromkeys(("plugin", "webhook"), "acme") | {"state": "delivered", "repeatable": 1, "error": 1}
        record |= {"requestBytes": 0, "timeout": 1} | ({"chain": 1} if chain else {})
        harness.client.hset(KEYS.record(before), mapping=record)
        harness.client.hset(KEYS.record(ref), mapping=record | {"replayOf": before})
    plan = harness.replays.plan("acme", Request(reference_ids=[newest]))
    assert plan.skipped_reasons == ({"uncertain": 1} if chain else {})


def test_what_the_door_refused_is_skipped_as_that_and_not_as_expired(harness):
    refused = harness.ledger.accepted(refusal=Outcome.REQUEST_REJECTED, payload=b"", request_bytes=0)
    (failed,) = harness.failed(1)
    harness.client.delete(KEYS.payload(failed))  # as happens at the end of its retention
    plan = harness.replays.plan("acme", Request(reference_ids=[refused, failed]))
    assert plan.skipped_reasons == {"refused": 1, "expired": 1}
    job = harness.start(reference_ids=[refused, failed])
    harness.create_all(job)
    assert harness.decided(job) == ["refused", "expired"]


def test_a_filter_of_a_webhook_that_there_never_was_is_said_to_be_wrong(harness):
    for ask in (harness.replays.plan, lambda *args: harness.replays.start(*args, caller="k9")):
        with pytest.raises(BadParameter, match="no webhook `hok`") as caught:
            ask("acme", Request(filter=Filter(webhook_id="hok")))
        assert [fault.pointer for fault in caught.value.faults] == ["/filter/webhookId"]
    harness.failed(1)
    harness.client.hdel(KEYS.webhooks("acme"), "hook")
    assert (
        harness.replays.plan("acme", Request(filter=Filter(webhook_id="hook"))).matched == 1
    )  # removed, and was there


@pytest.mark.parametrize("repeated", [0, 1, 260])
@pytest.mark.parametrize("most", [1, 249, 250, 251, 500, 501, 520, None])
def test_max_counts_the_ids_of_all_pieces_together(harness, most, repeated):
    ids = [new_reference_id() for _ in range(520)]
    given = [*ids[:repeated], *ids]
    plan = harness.replays.plan("acme", Request(reference_ids=given, max=most))
    job = harness.start(reference_ids=given, max=most)
    assert plan.matched == job.matched == min(most or 520, 520)
