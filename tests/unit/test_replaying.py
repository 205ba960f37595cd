"""When a worker that runs a replay job waits for the job's rate, and when it gives the job up to be woken later."""

from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from relay.domain.invocation import Purpose
from relay.domain.reference_id import new_reference_id
from relay.errors import NotFound, Unavailable
from relay.registration import Shape
from relay.replay.running import LONG_WAIT_S, PIECE, SOON_S, STEP_S, Replaying
from relay.store.replays.jobs import ReplayState, Skip
from relay.store.replays.runs import ClaimedJob, CreateReply, NewReplay, Original, ReplayVerdict
from relay.telemetry import log
from relay.vault import Vault, payload_owner


@pytest.fixture(autouse=True)
def nothing_else_is_logged(logged):
    """A fault that a job only logs fails the test."""


class Runs:
    """A job of these originals, whose creations are answered with verdicts and waits (ms), in order."""

    def __init__(self, answers, originals=()):
        self._answers = iter(answers)
        self._originals = originals
        self.claimed = ClaimedJob(ReplayState.RUNNING, "acme", by_hand=False, rate_per_second=5.0)
        self.left_ms, self.news = [], []

    def claim(self, _replay_id, _token):
        return self.claimed

    def read(self, _replay_id, _limit):
        return 0, self._originals

    def create(self, _replay_id, _token, _place, news):
        self.news = news
        verdict, wait_ms = next(self._answers)
        return CreateReply(verdict, 0, wait_ms, ())

    def leave(self, _replay_id, _token, *, after_ms):
        self.left_ms.append(after_ms)
        return ()


def ran(monkeypatch, *answers):
    """Run the job until it is given up; return the waits on the way (s), and after how many ms it is to be woken."""
    runs, waits = Runs([*answers, (ReplayVerdict.DECIDED, 0)]), []
    replaying = Replaying(runs, None, None, None, lambda _ready: None)
    monkeypatch.setattr(replaying._stopping, "wait", waits.append)
    replaying.run(new_reference_id())
    assert not replaying.busy
    return waits, runs.left_ms


LONG_MS = int(LONG_WAIT_S * 1000)


@pytest.mark.parametrize("wait_ms", [0, 1, 20, 21, LONG_MS - 1, LONG_MS])
def test_a_short_wait_for_the_rate_is_waited_for(monkeypatch, wait_ms):
    waits = [max(STEP_S, wait_ms / 1000)] * 3
    assert ran(monkeypatch, *[(ReplayVerdict.PACED, wait_ms)] * 3) == (waits, [])


@pytest.mark.parametrize(("rate", "piece"), [(None, PIECE), (0.001, 2), (5.0, 2), (1_000.0, 22), (10_000.0, PIECE)])
def test_a_step_is_as_large_as_the_rate_allows_and_no_larger_than_a_piece(monkeypatch, rate, piece):
    runs, limits = Runs([(ReplayVerdict.DECIDED, 0)]), []
    runs.claimed = ClaimedJob(ReplayState.RUNNING, "acme", by_hand=False, rate_per_second=rate)
    monkeypatch.setattr(runs, "read", lambda _replay_id, limit: limits.append(limit) or (0, []))
    Replaying(runs, None, None, None, lambda _ready: None).run(new_reference_id())
    assert limits == [piece]


@pytest.mark.parametrize("before", [0, 1, 2])
@pytest.mark.parametrize("wait_ms", [LONG_MS + 1, 60_000, 3_600_000])
def test_a_worker_that_had_to_wait_long_gives_the_job_up_until_then(monkeypatch, wait_ms, before):
    paced = [(ReplayVerdict.PACED, 100)] * before
    assert ran(monkeypatch, *paced, (ReplayVerdict.PACED, wait_ms)) == ([0.1] * before, [wait_ms])


@pytest.mark.parametrize("verdict", [ReplayVerdict.STALE, ReplayVerdict.AGAIN])
def test_a_try_that_a_change_made_void_is_soon_made_again(monkeypatch, verdict):
    assert ran(monkeypatch, (verdict, 60_000), (verdict, 0)) == ([SOON_S, SOON_S], [])


@pytest.mark.parametrize("verdict", [ReplayVerdict.LATE, ReplayVerdict.FULL, ReplayVerdict.DECIDED])
def test_a_job_that_goes_on_without_this_worker_is_not_given_up_by_it(monkeypatch, verdict):
    assert ran(monkeypatch, (ReplayVerdict.ON, 0), (verdict, 60_000)) == ([0.0], [])


def test_what_each_step_has_made_is_told_at_once_and_the_job_itself_when_it_is_left(monkeypatch):
    runs, published = Runs([]), []
    verdicts = iter((ReplayVerdict.ON, ReplayVerdict.ON, ReplayVerdict.PACED))
    monkeypatch.setattr(
        runs, "create", lambda *_: CreateReply(next(verdicts), 0, LONG_MS + 1, ((f"call-{len(published)}", "replay"),))
    )
    monkeypatch.setattr(runs, "leave", lambda *_, after_ms: (("the job", "replay"),))
    Replaying(runs, None, None, None, published.append).run(new_reference_id())
    assert published == [((name, "replay"),) for name in ("call-0", "call-1", "call-2", "the job")]


def test_a_job_whose_caller_was_lost_before_all_ids_were_given_is_cancelled_and_who_may_go_now_is_told():
    runs, steered, published, replay_id = Runs([]), [], [], new_reference_id()
    runs.claimed = ClaimedJob(ReplayState.PLANNING, "acme", by_hand=True, rate_per_second=None)
    woken = (("another", "bulk"),)
    store = SimpleNamespace(steer=lambda *args: steered.append(args) or (None, woken))
    Replaying(runs, store, None, None, published.append).run(replay_id)
    assert (steered, published, runs.left_ms) == ([("acme", replay_id, "cancel")], [woken], [])


def test_a_job_that_this_worker_runs_is_not_claimed_by_it_again(monkeypatch):
    runs, claims, replay_id = Runs([(ReplayVerdict.DECIDED, 0)]), [], new_reference_id()
    replaying = Replaying(runs, None, None, None, lambda _ready: None)
    monkeypatch.setattr(runs, "claim", lambda *_: claims.append(1) or runs.claimed)
    monkeypatch.setattr(runs, "read", lambda *_: replaying.run(replay_id) or (0, [1] * (not replaying.busy)))
    replaying.run(replay_id)
    assert (claims, runs.news) == ([1], [])


def test_of_the_names_in_a_message_only_those_of_replay_jobs_are_taken():
    one, other = new_reference_id("acme"), new_reference_id()
    names = [f"replay-{one}", new_reference_id(), "replay-", "replay-x", f"replay-{other}x", 5, None, f"replay-{other}"]
    assert Replaying.named_by(names) == [one, other]


def test_a_worker_that_stops_is_busy_until_it_has_given_its_job_up(monkeypatch):
    runs, busy = Runs([(ReplayVerdict.ON, 0)]), []
    replaying = Replaying(runs, None, None, None, lambda _ready: None)
    monkeypatch.setattr(runs, "read", lambda *_: replaying.stop() or (0, []))
    monkeypatch.setattr(runs, "leave", lambda *_, after_ms: busy.append((replaying.busy, after_ms)) or ())
    replaying.run(new_reference_id())
    assert (busy, replaying.busy) == ([(True, 0)], False)


def test_a_worker_that_stops_plans_no_further_and_takes_no_other_job(monkeypatch):
    runs, plans, claims = Runs([]), [], []
    runs.claimed = ClaimedJob(ReplayState.PLANNING, "acme", by_hand=False, rate_per_second=None)
    replaying = Replaying(runs, None, None, None, lambda _ready: None)
    monkeypatch.setattr(runs, "claim", lambda *_: claims.append(1) or runs.claimed)
    monkeypatch.setattr(
        runs, "plan", lambda *_: plans.append(1) or replaying.stop() or (ReplayState.PLANNING, 0), raising=False
    )
    replaying.run(new_reference_id())
    replaying.run(new_reference_id())
    assert (claims, plans, runs.left_ms) == ([1], [1], [0])


@pytest.mark.parametrize("failing", ["claim", "read", "create", "leave"])
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Unavailable(), (log.Event.STORE_AWAY, {"doing": "replay", "replay": "the-job"})),
        (ZeroDivisionError(), (log.Event.INTERNAL_ERROR, {"where": "replay", "kind": "ZeroDivisionError"})),
    ],
)
def test_a_job_that_fails_is_logged_and_may_be_run_again(monkeypatch, logged, failing, error, expected):
    runs = Runs([(ReplayVerdict.PACED, LONG_MS + 1)])
    replaying = Replaying(runs, None, None, None, lambda _ready: None)
    monkeypatch.setattr(runs, failing, Mock(side_effect=error))
    replaying.run("the-job")
    name, fields = logged.pop()
    assert (name, fields | expected[1], replaying.busy) == (expected[0], fields, False)


def test_a_job_is_planned_to_its_end_before_it_runs(monkeypatch):
    runs, states = Runs([(ReplayVerdict.DECIDED, 0)]), ["planning", "planning", "running"]
    runs.claimed = ClaimedJob(ReplayState.PLANNING, "acme", by_hand=False, rate_per_second=None)
    monkeypatch.setattr(runs, "plan", lambda *_: (states.pop(0), 0), raising=False)
    Replaying(runs, None, None, None, lambda _ready: None).run(new_reference_id())
    assert (states, runs.left_ms, next(runs._answers, None)) == ([], [], None)


@pytest.mark.parametrize("state", [each for each in ReplayState if each not in ("planning", "running")])
def test_of_a_job_that_is_not_to_run_once_it_is_planned_nothing_is_made(monkeypatch, state):
    runs = Runs([])
    runs.claimed = ClaimedJob(ReplayState.PLANNING, "acme", by_hand=False, rate_per_second=None)
    monkeypatch.setattr(runs, "plan", lambda *_: (state, 0), raising=False)
    monkeypatch.setattr(runs, "read", Mock())
    Replaying(runs, None, None, None, lambda _ready: None).run(new_reference_id())
    assert (runs.read.called, runs.left_ms) == (False, [0])


class Webhooks:
    """Webhooks, by id: each with the number of its revision and its shape, None if it was removed."""

    def __init__(self, **registered):
        self.registered = registered
        self.asked = []

    def current(self, _plugin, webhook_id, *, refresh=False):
        self.asked.append((webhook_id, refresh))
        return self.registered.get(webhook_id)

    def revision(self, _plugin, webhook_id, number):
        if webhook_id not in self.registered or not number:
            raise NotFound
        return SimpleNamespace(stamp=f"{webhook_id}-{number}")


def test_after_a_change_each_webhook_of_a_piece_is_read_anew():
    originals = [Original(new_reference_id(), None, Purpose(name, 1), b"") for name in ("one", "other", "one")]
    runs, webhooks = Runs([(ReplayVerdict.STALE, 0), (ReplayVerdict.DECIDED, 0)], originals), Webhooks()
    Replaying(runs, None, webhooks, None, lambda _ready: None).run(new_reference_id())
    once, anew = [("one", False), ("other", False)], [("one", True), ("other", True)]
    assert webhooks.asked == [*once, *anew, *once]


def test_after_a_change_the_steps_of_a_chain_are_read_anew_too():
    originals = [Original(new_reference_id(), None, Purpose("outer", 1), b"")]
    webhooks = Webhooks(outer=(7, Shape("outer", "POST", chain=True, uses=("hook",))), hook=(5, Shape("hook", "POST")))
    runs = Runs([(ReplayVerdict.STALE, 0), (ReplayVerdict.DECIDED, 0)], originals)
    Replaying(runs, None, webhooks, Vault.from_text(Vault.new_key_text()), lambda _ready: None).run(new_reference_id())
    assert webhooks.asked == [(name, refresh) for refresh in (False, True, False) for name in ("outer", "hook")]


@pytest.mark.parametrize("skip", Skip)
def test_for_an_original_that_is_skipped_nothing_is_made(skip):
    originals = [Original(new_reference_id(), each, Purpose("hook", 1), b"") for each in (skip, None)]
    runs, webhooks = Runs([(ReplayVerdict.DECIDED, 0)], originals), Webhooks()
    Replaying(runs, None, webhooks, None, lambda _ready: None).run(new_reference_id())
    skipped, other = runs.news
    assert skipped == NewReplay()
    assert other.reference_id
    assert webhooks.asked == [("hook", False)]


@pytest.mark.parametrize("why", ["of another call", "of another revision", "of a revision that is gone", "damaged"])
def test_a_payload_that_does_not_open_is_told_to_be_empty(why):
    vault, ref, old = Vault.from_text(Vault.new_key_text()), new_reference_id(), Purpose("hook", 1)
    sealed_for = {"of another call": new_reference_id()}.get(why, ref)
    stamp = "hook-2" if why == "of another revision" else "hook-1"
    sealed = vault.seal(b"trigger", payload_owner("acme", sealed_for, old, stamp))
    webhooks = Webhooks(hook=(3, Shape("hook", "POST")))
    old = old._replace(revision=0) if why == "of a revision that is gone" else old
    originals = [Original(ref, None, old, sealed[:-1] if why == "damaged" else sealed)]
    runs = Runs([(ReplayVerdict.DECIDED, 0)], originals)
    Replaying(runs, None, webhooks, vault, lambda _ready: None).run(new_reference_id())
    assert [(new.revision, new.payload) for new in runs.news] == [(3, b"")]


def test_a_replay_of_a_chain_is_sealed_for_the_revisions_of_today():
    vault, old, ref = Vault.from_text(Vault.new_key_text()), Purpose("outer", 2, '{"hook":1}'), new_reference_id()
    webhooks = Webhooks(outer=(7, Shape("outer", "POST", chain=True, uses=("hook",))), hook=(5, Shape("hook", "POST")))
    sealed = vault.seal(b"trigger", payload_owner("acme", ref, old, "outer-2"))
    runs = Runs([(ReplayVerdict.DECIDED, 0)], [Original(ref, None, old, sealed)])
    Replaying(runs, None, webhooks, vault, lambda _ready: None).run(new_reference_id())
    (new,) = runs.news
    assert (new.revision, new.pins) == (7, '{"hook":5}')
    owner = payload_owner("acme", new.reference_id, Purpose("outer", 7, new.pins), "outer-7")
    assert vault.open(new.payload, owner) == b"trigger"


@pytest.mark.parametrize("chain", [False, True])
@pytest.mark.parametrize(("max_age_ms", "callback"), [(None, None), (5_000, "told")])
def test_a_replay_is_made_as_todays_revision_says(max_age_ms, callback, chain):
    vault, old, ref = Vault.from_text(Vault.new_key_text()), Purpose("hook", 1), new_reference_id()
    shape = Shape(
        "hook", "POST", timeout_ms=7_000, idempotent=True, max_age_ms=max_age_ms, callback=callback, chain=chain
    )
    sealed = vault.seal(b"trigger", payload_owner("acme", ref, old, "hook-1"))
    runs = Runs([(ReplayVerdict.DECIDED, 0)], [Original(ref, None, old, sealed)])
    Replaying(runs, None, Webhooks(hook=(3, shape)), vault, lambda _ready: None).run(new_reference_id())
    (new,) = runs.news
    assert (new.revision, new.timeout_ms, new.repeatable, new.pins) == (3, 7_000, True, "{}" if chain else None)
    assert (new.max_age_ms, new.callback) == (max_age_ms, callback or "")


@pytest.mark.parametrize("current", [Mock(return_value=None), Mock(side_effect=NotFound)])
def test_a_replay_of_a_removed_webhook_is_made_without_a_revision(monkeypatch, current):
    webhooks = Webhooks(hook=None)
    monkeypatch.setattr(webhooks, "current", current)
    vault, old, ref = Vault.from_text(Vault.new_key_text()), Purpose("hook", 1), new_reference_id()
    sealed = vault.seal(b"trigger", payload_owner("acme", ref, old, "hook-1"))
    runs = Runs([(ReplayVerdict.DECIDED, 0)], [Original(ref, None, old, sealed)])
    Replaying(runs, None, webhooks, vault, lambda _ready: None).run(new_reference_id())
    (new,) = runs.news
    assert new.revision is None
    assert vault.open(new.payload, payload_owner("acme", new.reference_id, Purpose("hook", 0), "")) == b"trigger"
