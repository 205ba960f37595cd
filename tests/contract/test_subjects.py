"""Invocations that concern a subject: how they are found, and how all of them are forgotten."""

from __future__ import annotations

import itertools
from functools import partial
from types import SimpleNamespace

import pytest

from relay.domain.invocation import State
from relay.domain.reference_id import new_reference_id
from relay.errors import Unavailable, VaultError
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.keys.names import key_in, partition_root
from relay.store.ledger.invocations import InvocationStore
from relay.store.ledger.listing import Filter
from relay.store.ledger.transitions import NewStep
from relay.store.partitions.reachable import Partitions
from relay.store.replays.runs import Request
from relay.store.scripting.scripts import Scripts
from relay.store.subjects import hashes
from relay.store.subjects.forgetting import LATER_MS, Forgetting
from relay.store.subjects.hashes import SubjectHashes
from relay.upkeep import forgetting as forgetting_module
from relay.upkeep.forgetting import forget_due
from relay.upkeep.sweeper import Sweeper
from relay.vault import Vault
from tests.contract.clocked import START_MS
from tests.contract.ledger import LIMITS, Ledger
from tests.contract.replay_harness import ReplayHarness
from tests.store_keys import KEYS

ROOT = partition_root(0)
ANN, BOB = "a" * 32, "b" * 32  # keyed hashes


def index_of(ledger, subject=ANN):
    key = key_in(ROOT, "subject_index", plugin="acme", subject=subject)
    return {ref.decode() for ref in ledger.client.zrange(key, 0, -1)}


def ended(ledger, subject=ANN, **changes):
    ref, token = ledger.claimed(subject=subject, **changes)
    ledger.store.settle([ledger.settlement(ref, token)])
    return ref


def has_contents(ledger, ref):
    return ledger.client.exists(KEYS.payload(ref), KEYS.result(ref), KEYS.raw(ref), KEYS.secrets(ref)) > 0


def are_forgotten(ledger, *refs):
    return all(not has_contents(ledger, ref) and ledger.store.find(ref).forgotten_at_ms for ref in refs)


def look_again(ledger, subject=ANN):
    """Let the job look again at once at what had not ended."""
    key = key_in(ROOT, "forgetting_open", plugin="acme", subject=subject)
    for ref in ledger.client.zrange(key, 0, -1):
        ledger.client.zadd(key, {ref: 1})
    return Forgetting(ledger.client).go_on("acme", subject)


@pytest.fixture
def forgetting(ledger):
    return Forgetting(ledger.client)


@pytest.fixture
def vault():
    return Vault.from_text(Vault.new_key_text())


# -- hashes ---------------------------------------------------------------------------------------------------------------


def test_a_plugin_s_key_is_read_again_after_a_second(redis_client, vault, monkeypatch):
    now_s = [0.0]
    monkeypatch.setattr(hashes, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    subjects = SubjectHashes(redis_client, vault)
    first = subjects.of("acme", "4711")
    redis_client.delete(KEYS.of_plugin("subject_key", "acme"))
    found = []
    for now_s[0] in (0.0, 0.9, 1.0, 1.9):
        found.append(subjects.of("acme", "4711"))
    assert found[:2] == [first] * 2
    assert found[2] == found[3] != first
    assert len({subjects.known("other", "4711") for _ in range(2)}) == 2
    assert not redis_client.exists(KEYS.of_plugin("subject_key", "other"))


@pytest.mark.parametrize("kept", [1, 10])
def test_a_subject_has_one_hash_in_each_plugin_for_every_process(redis_client, vault, monkeypatch, kept):
    monkeypatch.setattr(hashes, "_MOST_KEPT", kept)
    one, other = SubjectHashes(redis_client, vault), SubjectHashes(redis_client, vault)
    assert one.of("acme", "4711") == other.of("acme", "4711") == one.known("acme", "4711")
    assert len({one.of("acme", "4711"), one.of("rival", "4711"), one.of("acme", "4712")}) == 3
    assert len(one.of("acme", "4711")) == 2 * hashes.HASH_BYTES
    assert len(one._kept) == min(kept, 2)


def test_a_search_makes_no_key_and_finds_nothing(redis_client, vault):
    subjects = SubjectHashes(redis_client, vault)
    searched = subjects.known("acme", "4711")
    assert redis_client.keys("*") == []
    assert searched != subjects.of("acme", "4711")


def test_hashes_stay_the_same_when_the_data_keys_change(redis_client, monkeypatch):
    monkeypatch.setattr(hashes, "KEY_AGE_S", 0.0)
    old, new = Vault.new_key_text(), Vault.new_key_text()
    before = SubjectHashes(redis_client, Vault.from_text(old)).of("acme", "4711")
    after = SubjectHashes(redis_client, Vault.from_text(f"{new},{old}"))
    assert after.of("acme", "4711") == before
    with pytest.raises(VaultError):  # and no new key in its place, under which nothing would be found
        SubjectHashes(redis_client, Vault.from_text(new)).of("acme", "4711")


def test_a_server_that_lost_a_key_gets_one_that_every_process_uses(redis_client, vault, monkeypatch):
    monkeypatch.setattr(hashes, "KEY_AGE_S", 0.0)
    one, other = SubjectHashes(redis_client, vault), SubjectHashes(redis_client, vault)
    before = one.of("acme", "4711")
    redis_client.flushall()
    assert one.of("acme", "4711") == other.of("acme", "4711") != before


# -- who is found ---------------------------------------------------------------------------------------------------------


def test_calls_steps_and_replays_are_found_by_their_subject(ledger):
    plain, chain = ended(ledger), ledger.accepted(subject=ANN, pins="{}")
    ended(ledger, BOB)
    ended(ledger, "")
    step = new_reference_id()
    ledger.advance(chain, NewStep(step, "hook", 1, 1_000, False, b"\x01", 1))
    replaying = ReplayHarness(ledger)
    replaying.create_all(job := replaying.start(reference_ids=[failed := replaying.ended(subject=ANN)]))
    (replay,) = replaying.made(job)
    found = {row.reference_id for row in ledger.listing.every("acme", Filter(subject=ANN))}
    assert found == index_of(ledger) == {plain, chain, step, failed, replay}


@pytest.mark.parametrize(
    ("wanted", "places"),
    [
        (Filter(subject=ANN), [3, 1, 0]),
        (Filter(subject=ANN, webhook_id="hook"), [3, 1, 0]),
        (Filter(subject=ANN, states=frozenset({State.DELIVERED})), [1, 0]),
        (Filter(subject=ANN, states=frozenset({State.QUEUED})), [3]),
        (Filter(subject=ANN, status=(503,)), []),
        (Filter(subject=BOB, states=frozenset({State.DELIVERED})), [2]),
        (Filter(subject="c" * 32), []),
    ],
)
def test_a_subject_is_one_filter_among_others(ledger, wanted, places):
    made = [ended(ledger), ended(ledger), ended(ledger, BOB), ledger.accepted(subject=ANN), ledger.accepted()]
    assert [row.reference_id for row in ledger.listing.every("acme", wanted)] == [made[place] for place in places]
    assert sum(group.count for group in ledger.listing.groups("acme", wanted)) == len(places)


def test_a_replay_takes_the_failures_of_a_subject_only(ledger):
    replaying = ReplayHarness(ledger)
    ours = replaying.ended(subject=ANN)
    replaying.ended(subject=BOB)
    ended(ledger)
    request = Request(filter=Filter(subject=ANN))
    assert replaying.replays.plan("acme", request).matched == 1
    job = replaying.start(filter=request.filter)
    replaying.create_all(job)
    assert [replaying.record(ref).replay_of for ref in replaying.made(job)] == [ours]


def test_no_record_shows_its_subject(ledger):
    record = ledger.store.find(ended(ledger))
    assert ANN not in repr(record)


def test_what_is_pruned_leaves_its_subject_s_index(ledger):
    ref, other = ended(ledger), ended(ledger)
    ledger.client.zadd(KEYS.expiry(), {ref: 1})
    ledger.store.prune(limit=10)
    assert index_of(ledger) == {other}


# -- forgetting -----------------------------------------------------------------------------------------------------------


def test_everything_that_ended_is_forgotten_and_nothing_of_anybody_else(ledger, forgetting):
    ours, theirs = [ended(ledger) for _ in range(5)], [ended(ledger, BOB), ended(ledger, "")]
    forgetting.begin("acme", ANN)
    progress = forgetting.go_on("acme", ANN)
    assert (progress.done, progress.looked, progress.total, progress.forgotten, progress.unfinished) == (
        True,
        5,
        5,
        5,
        0,
    )
    assert are_forgotten(ledger, *ours)
    assert all(has_contents(ledger, ref) for ref in theirs)
    assert index_of(ledger) == set(ours)  # their records stay, and are found
    assert forgetting.go_on("acme", ANN) == progress
    assert forgetting.due(0, 10) == []


def test_the_bytes_that_a_forgotten_subject_s_contents_took_are_free_again(ledger, forgetting):
    for subject in (ANN, ANN, ANN, BOB):
        ended(ledger, subject)
    kept = int(ledger.client.hget(KEYS.plugin_bytes("acme"), "kept"))
    forgetting.begin("acme", ANN)
    for left in (2, 1, 1):  # a piece that comes twice frees nothing twice
        forgetting.go_on("acme", ANN, 2)
        assert int(ledger.client.hget(KEYS.plugin_bytes("acme"), "kept")) == left * kept // 4


def test_pieces_are_bounded_and_any_of_them_may_be_done_by_anybody(ledger, forgetting):
    ours = [ended(ledger) for _ in range(7)]
    forgetting.begin("acme", ANN)
    seen = [forgetting.go_on("acme", ANN, 2) for _ in range(4)]
    assert [(each.looked, each.total, each.forgotten) for each in seen] == [(2, 7, 2), (4, 7, 4), (6, 7, 6), (7, 7, 7)]
    assert [(each.walked, each.unfinished) for each in seen[-1:]] == [(True, 0)]
    assert [each.done for each in seen] == [False, False, False, True]
    assert are_forgotten(ledger, *ours)


def test_what_has_not_ended_keeps_no_piece_from_what_was_not_looked_at(ledger, forgetting):
    waiting = ledger.accepted_many(4, subject=ANN)
    ours = [ended(ledger) for _ in range(4)]
    forgetting.begin("acme", ANN)
    key = key_in(ROOT, "forgetting_open", plugin="acme", subject=ANN)
    for _ in range(4):
        ledger.client.zadd(key, dict.fromkeys(waiting, 1))  # all of them are due at once
        forgetting.go_on("acme", ANN, 4)
    assert are_forgotten(ledger, *ours)


def test_what_is_accepted_meanwhile_and_what_has_not_ended_is_forgotten_at_its_end(ledger, forgetting):
    before = ledger.accepted(subject=ANN)
    forgetting.begin("acme", ANN)
    assert forgetting.go_on("acme", ANN)[-2:] == (0, 1)
    meanwhile = ledger.accepted(subject=ANN)
    assert look_again(ledger).unfinished == 2
    for ref in (before, meanwhile):
        token = ledger.token()
        ledger.store.claim([ref], token)
        assert look_again(ledger).done is False
        ledger.store.settle([ledger.settlement(ref, token)])
    assert look_again(ledger)[-2:] == (2, 0)
    assert are_forgotten(ledger, before, meanwhile)
    later = ended(ledger)
    assert forgetting.go_on("acme", ANN).done
    assert has_contents(ledger, later)  # accepted after the job's end


def test_what_has_not_ended_is_looked_at_again_in_a_second_and_not_before(clock, redis_client):
    ledger = Ledger(redis_client)
    forgetting = Forgetting(redis_client)
    key = key_in(ROOT, "forgettings")
    ref, token = ledger.claimed(subject=ANN)
    forgetting.begin("acme", ANN)
    assert redis_client.zscore(key, f"acme/{ANN}") == START_MS
    forgetting.go_on("acme", ANN)
    ledger.store.settle([ledger.settlement(ref, token)])
    for now_ms in (START_MS, START_MS + LATER_MS - 1):
        clock.set_ms(now_ms)
        assert forgetting.go_on("acme", ANN).unfinished == 1
        assert redis_client.zscore(key, f"acme/{ANN}") == START_MS + LATER_MS
    clock.set_ms(START_MS + LATER_MS)
    assert forgetting.go_on("acme", ANN).done
    assert redis_client.zscore(key, f"acme/{ANN}") is None


def test_how_a_job_that_is_done_went_can_be_asked_for_an_hour(ledger, forgetting):
    ended(ledger)
    forgetting.begin("acme", ANN)
    key = key_in(ROOT, "forgetting", plugin="acme", subject=ANN)
    assert ledger.client.pttl(key) == -1
    forgetting.go_on("acme", ANN)
    assert 3_500_000 < ledger.client.pttl(key) <= 3_600_000


def test_a_job_is_due_at_once_while_it_has_not_looked_at_everything(clock, ledger, forgetting):
    waiting = ledger.accepted(subject=ANN)
    for _ in range(3):
        ended(ledger)
    forgetting.begin("acme", ANN)
    looked = []
    for number in range(4):
        clock.set_ms(START_MS + number)
        progress = forgetting.go_on("acme", ANN, 1)
        looked.append((progress.looked, progress.walked, progress.unfinished))
        assert ledger.client.zscore(key_in(ROOT, "forgettings"), f"acme/{ANN}") == START_MS + number
    assert looked == [(1, False, 0), (2, False, 0), (3, False, 0), (4, False, 1)]
    clock.set_ms(START_MS + 4)
    assert forgetting.go_on("acme", ANN, 1).walked
    ahead_ms = ledger.client.zscore(key_in(ROOT, "forgettings"), f"acme/{ANN}") - START_MS
    assert ahead_ms == 3 + LATER_MS
    ledger.store.cancel(waiting)


def test_a_running_chain_keeps_its_steps_until_it_has_ended(ledger, forgetting):
    chain = ledger.accepted(subject=ANN, pins="{}")
    step = new_reference_id()
    ledger.advance(chain, NewStep(step, "hook", 1, 1_000, False, b"\x01", 1), secrets=b"hidden")
    token = ledger.token()
    ledger.store.claim([step], token)
    ledger.store.settle([ledger.settlement(step, token, raw=b"raw")])
    forgetting.begin("acme", ANN)
    assert forgetting.go_on("acme", ANN)[-2:] == (0, 2)
    assert ledger.client.exists(KEYS.raw(step), KEYS.secrets(chain)) == 2
    ledger.end_chain(chain)
    progress = look_again(ledger)
    progress = progress if progress.done else look_again(ledger)  # a step may have been looked at before its chain
    assert (progress.done, progress.forgotten) == (True, 2)
    assert are_forgotten(ledger, chain, step)


def test_a_step_that_is_sent_still_when_its_chain_is_forgotten_is_forgotten_too(ledger, forgetting):
    chain = ledger.accepted(subject=ANN, pins="{}")
    step = new_reference_id()
    ledger.advance(chain, NewStep(step, "hook", 1, 1_000, False, b"\x01", 1))
    step_token = ledger.token()
    ledger.store.claim([step], step_token)
    ledger.store.cancel(chain)
    forgetting.begin("acme", ANN)
    assert forgetting.go_on("acme", ANN)[-2:] == (1, 1)
    ledger.store.settle([ledger.settlement(step, step_token, raw=b"raw")])
    assert look_again(ledger).done
    assert are_forgotten(ledger, chain, step)


def test_a_late_answer_to_what_was_forgotten_leaves_no_contents(ledger, forgetting):
    ref, token = ledger.claimed(subject=ANN)
    ledger.lose_lease(ref)
    ledger.store.claim([ref], ledger.token())  # unrepeatable: it ends interrupted
    forgetting.begin("acme", ANN)
    assert forgetting.go_on("acme", ANN).done
    assert ledger.store.settle([ledger.settlement(ref, token, raw=b"raw")]).verdicts == (False,)
    assert are_forgotten(ledger, ref)


def test_a_replay_that_is_made_of_a_subject_s_call_meanwhile_is_forgotten_too(ledger, forgetting):
    replaying = ReplayHarness(ledger)
    unfinished, failed = ledger.accepted(subject=ANN), replaying.ended(subject=ANN)
    job = replaying.start(reference_ids=[failed])
    forgetting.begin("acme", ANN)
    replaying.create_all(job)  # before the job has come so far
    (replay,) = replaying.made(job)
    forgetting.go_on("acme", ANN)
    replaying.send([unfinished, replay])
    assert look_again(ledger).done
    assert are_forgotten(ledger, unfinished, failed, replay)


def test_to_begin_again_goes_on_with_the_same_job_and_then_makes_another(ledger, forgetting):
    ref = ledger.accepted(subject=ANN)
    ended(ledger)
    for _ in range(2):
        forgetting.begin("acme", ANN)
        assert forgetting.go_on("acme", ANN)[-2:] == (1, 1)
    ledger.store.cancel(ref)
    assert look_again(ledger)[-2:] == (2, 0)
    forgetting.begin("acme", ANN)
    assert forgetting.go_on("acme", ANN)[-2:] == (0, 0)


def test_workers_go_on_with_every_job_that_is_due(ledger, forgetting):
    ours, theirs = [ended(ledger) for _ in range(3)], [ended(ledger, BOB) for _ in range(3)]
    forgetting.begin("acme", ANN)
    forgetting.begin("acme", BOB)
    assert sorted(forgetting.due(0, 10)) == [("acme", ANN), ("acme", BOB)]
    assert forget_due(forgetting, Partitions(ledger.client, SINGLE)) == 2
    assert are_forgotten(ledger, *ours, *theirs)
    assert forget_due(forgetting, Partitions(ledger.client, SINGLE)) == 0


def test_a_sweep_ends_once_its_time_for_jobs_is_over_and_the_next_goes_on(ledger, forgetting, monkeypatch):
    refs = [ended(ledger, subject) for subject in (ANN, BOB)]
    for subject in (ANN, BOB):
        forgetting.begin("acme", subject)
    clock = itertools.count(100.0, 0.5)  # each look at the clock is half a second after the one before
    monkeypatch.setattr(forgetting_module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    for done in (1, 1, 0):
        assert forget_due(forgetting, Partitions(ledger.client, SINGLE)) == done
    assert are_forgotten(ledger, *refs)


@pytest.mark.parametrize("part", ["jobs", "revisits"])
def test_a_partition_that_confirms_nothing_holds_up_no_other(redis_client, monkeypatch, part):
    keys = Keyspace(4)
    plugins = {keys.partition_of(f"p{number}"): f"p{number}" for number in range(40)}
    store, run = InvocationStore(redis_client, LIMITS, lease_margin_ms=0, keys=keys), Scripts.run
    forgetting, partitions = Forgetting(redis_client, keys), Partitions(redis_client, keys)
    for plugin in plugins.values():
        if part == "jobs":
            forgetting.begin(plugin, ANN)
        else:
            redis_client.sadd(key_in(partition_root(keys.partition_of(plugin)), "revisits"), f"{plugin}/hook")

    def running(self, script, args=(), root=None):
        if script in {"forget_piece", "revisit"} and root == partition_root(1):
            raise Unavailable  # too few replicas have it
        return run(self, script, args, root)

    monkeypatch.setattr(Scripts, "run", running)
    pruned = []
    monkeypatch.setattr(store, "prune", lambda *, limit: pruned.append(limit) or 0)
    forget, publisher = partial(forget_due, forgetting, partitions), SimpleNamespace(publish_ready=lambda _: None)
    Sweeper(store, publisher, partitions, send_due=int, forget_due=forget, workers_alive=lambda: 1).sweep()
    left = [
        key_in(partition_root(number), "forgettings") if part == "jobs" else key_in(partition_root(number), "revisits")
        for number in range(4)
    ]
    assert [redis_client.exists(key) for key in left] == [0, 1, 0, 0]
    assert pruned


def test_a_job_goes_on_when_the_clock_has_gone_back(ledger, forgetting):
    ref = ledger.accepted(subject=ANN)
    forgetting.begin("acme", ANN)
    forgetting.go_on("acme", ANN)
    ledger.store.cancel(ref)
    for kind in ("forgettings", "forgetting_open"):
        key = key_in(ROOT, kind, plugin="acme", subject=ANN)
        for member in ledger.client.zrange(key, 0, -1):
            ledger.client.zadd(key, {member: 9e12})
    assert forget_due(forgetting, Partitions(ledger.client, SINGLE)) == 1
    assert are_forgotten(ledger, ref)


def test_a_record_that_is_gone_leaves_the_index(ledger, forgetting):
    ref = ended(ledger)
    ledger.client.delete(KEYS.record(ref))
    forgetting.begin("acme", ANN)
    assert forgetting.go_on("acme", ANN)[-2:] == (0, 0)
    assert index_of(ledger) == set()


def test_the_audit_trail_says_who_began_and_how_many_were_forgotten_but_not_of_whom(ledger, forgetting, monkeypatch):
    monkeypatch.setattr("relay.store.subjects.forgetting.actor", lambda: "k7")
    ended(ledger)
    ended(ledger)
    forgetting.begin("acme", ANN)
    forgetting.go_on("acme", ANN)
    entries = [each.decode().split(" ") for each in ledger.client.lrange(f"{ROOT}audit:entries", 0, -1)]
    found = [each[1:2] + each[3:] for each in entries if each[1] == "forget_subject"]
    assert found == [
        ["forget_subject", "acme", "", "", "started", "", "", ""],
        ["forget_subject", "acme", "", "", "forgotten", "2", "", ""],
    ]
    assert {each[2] for each in entries if each[1] == "forget_subject"} == {"k7"}
    assert not any(ANN in word for entry in entries for word in entry)
