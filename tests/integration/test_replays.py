"""Replays on real workers, and a typical incident: an endpoint fails for a while, and its failed calls are replayed."""

from __future__ import annotations

import signal
import time
from collections import Counter

import orjson
import pytest

from relay.domain.invocation import Outcome, State
from relay.store.ledger.listing import Filter, OutcomeGroup
from relay.store.replays.jobs import ReplayState
from relay.store.replays.runs import Request
from relay.vault import payload_owner
from tests.depth import examples
from tests.integration.worker_harness import hook, worker_harness
from tests.processes import signal_group
from tests.receivers import answer, in_turn, json_answer, receiver
from tests.store_keys import KEYS
from tests.timing import wait_until

BEFORE, DURING, AFTER = examples(1_000), examples(1_600), examples(1_400)
RATE = DURING / 4  # per second: slow enough to pause the replay and to kill two workers
THOUSANDS_S = 120.0  # how long a busy machine may take for thousands of calls
OK = json_answer({"ok": True})


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    with worker_harness(tmp_path_factory, RELAY_LEASE_MARGIN="2", RELAY_MAX_IN_FLIGHT="64") as harness:
        harness.start_worker()
        yield harness


def start(harness, **request):
    return harness.runtime.replays.start("acme", Request(**request), caller="k9")


def job_of(harness, job):
    return harness.runtime.replays.get("acme", job.replay_id)


def finished(harness, job):
    wait_until(lambda: job_of(harness, job).over, THOUSANDS_S)
    return job_of(harness, job)


def test_what_failed_is_sent_again_by_todays_registration(harness):
    with receiver(in_turn(answer(503), OK)) as endpoint:
        harness.register(hook(endpoint.url))
        ref = harness.trigger(data={"a": 1})
        harness.final(ref)
        harness.register(hook(endpoint.url + "/new", headers={"x-version": "2"}))
        job = finished(harness, start(harness, reference_ids=[ref]))
    assert (job.state, job.matched, job.delivered) == (ReplayState.DONE, 1, 1)
    first, second = endpoint.requests
    assert (first.body, second.body) == (b'{"a":1}', b'{"a":1}')
    assert (second.target, second.header("x-version")) == ("/hook/new", "2")
    assert second.header("webhook-id") == harness.record(ref).replayed_by != ref
    assert harness.data(harness.record(ref).replayed_by) == {"ok": True}


TODAYS = {"timeout": 7, "idempotent": True, "maxAge": "90s", "callback": "told"}


def recorded(harness, ref):
    """Return what a record has of the registration by which it was made."""
    names = ("revision", "timeout", "repeatable", "callback", "chain", "pins")
    record = harness.runtime.client.hgetall(KEYS.record(ref))
    return [record.get(name.encode()) for name in names] + [int(record[b"endBy"]) - int(record[b"createdAt"])]


@pytest.mark.parametrize("changed", [*TODAYS, "everything", "steps"])
def test_a_replay_is_recorded_like_a_new_call_of_todays_registration(harness, changed):
    with receiver(answer(503)) as endpoint:
        told = {**hook("http://127.0.0.1:9/told"), "id": "told"}  # always the same: a worker may know it for a second
        harness.register(hook(endpoint.url), told)
        ref = harness.trigger()
        harness.final(ref)
        chain = {"id": "hook", "steps": [{"webhook": "told"}], "maxAge": "80s"}
        by_all = hook(endpoint.url, **{name: each for name, each in TODAYS.items() if changed in {name, "everything"}})
        harness.register(chain if changed == "steps" else by_all, told)
    harness.runtime.policies.pause("acme", "hook")
    try:
        new = harness.trigger()
        job = start(harness, reference_ids=[ref])
        wait_until(lambda: harness.record(ref).replayed_by is not None, 20)
        assert recorded(harness, harness.record(ref).replayed_by) == recorded(harness, new)
        harness.runtime.replays.cancel("acme", job.replay_id)
        harness.runtime.store.cancel(new, plugin="acme")
    finally:
        list(harness.runtime.policies.resume("acme", "hook"))


def test_what_no_longer_fits_is_rejected_in_the_report_and_the_others_go_on(harness):
    with receiver(answer(503)) as endpoint:
        harness.register(hook(endpoint.url))
        refs = [harness.trigger(data={"a": 1}), harness.trigger(data={"b": 2}), harness.trigger(data={"a": 3})]
        harness.finals(refs)
    with receiver(OK) as endpoint:
        harness.register(hook(endpoint.url, dataSchema={"type": "object", "required": ["a"]}))
        job = finished(harness, start(harness, reference_ids=refs))
    assert (job.matched, job.delivered, job.failed, job.skipped) == (3, 2, 1, 0)
    assert sorted(request.body for request in endpoint.requests) == [b'{"a":1}', b'{"a":3}']
    rejected = harness.record(harness.record(refs[1]).replayed_by)
    assert (rejected.state, rejected.outcome) == (State.REJECTED, Outcome.REQUEST_REJECTED)


def test_a_removed_webhooks_replays_are_rejected(harness):
    with receiver(answer(503)) as endpoint:
        harness.register(hook(endpoint.url))
        ref = harness.trigger()
        harness.final(ref)
    harness.runtime.registry.remove("acme", "hook")
    job = finished(harness, start(harness, reference_ids=[ref]))
    assert (job.state, job.failed) == (ReplayState.DONE, 1)
    assert harness.record(harness.record(ref).replayed_by).outcome is Outcome.WEBHOOK_NOT_REGISTERED


def test_a_rate_is_kept_and_a_cancelled_job_sends_no_more(harness):
    with receiver(answer(503)) as endpoint:
        harness.register(hook(endpoint.url))
        refs = harness.trigger_many(60)
        harness.finals(refs)
    with receiver(OK) as endpoint:
        harness.register(hook(endpoint.url))
        began = time.monotonic()
        job = start(harness, reference_ids=refs, rate_per_second=20)
        wait_until(lambda: len(endpoint.requests) >= 30, 20)
        took_s = time.monotonic() - began
        harness.runtime.replays.cancel("acme", job.replay_id)
        job = finished(harness, job)
        received = len(endpoint.requests)
        time.sleep(1)
        assert len(endpoint.requests) == received < 60
    assert took_s > 1.3  # 30 calls at 20 a second, except those that go at once
    assert (job.state, job.matched) == (ReplayState.CANCELLED, 60)
    assert (job.delivered, job.delivered + job.failed + job.skipped) == (received, 60)


def test_a_worker_that_stops_lets_go_of_its_job_for_another(tmp_path_factory):
    with receiver(OK) as endpoint, worker_harness(tmp_path_factory) as harness:
        harness.register(hook(endpoint.url))
        first = harness.start_worker()
        refs = harness.trigger_many(100)
        harness.finals(refs)
        delivered = Filter(states=frozenset({State.DELIVERED}))
        job = start(harness, filter=delivered, rate_per_second=40)
        wait_until(lambda: job_of(harness, job).delivered >= 20, 20)
        first.send_signal(signal.SIGTERM)
        assert first.wait(20) == 0
        assert harness.runtime.client.hget(f"relay:{{0}}:replay:{job.replay_id}", "leaseEnd") == b""
        assert job_of(harness, job).started < 100
        harness.start_worker(number=2)
        job = finished(harness, job)
    assert (job.state, job.delivered) == (ReplayState.DONE, 100)
    assert len(endpoint.requests) == 200


class Shop:
    """An endpoint that is sometimes down, and remembers which orders it has taken."""

    def __init__(self):
        self.down = False
        self.taken = Counter()

    def __call__(self, connection, request):
        if self.down:
            answer(503)(connection, request)
            return
        self.taken[orjson.loads(request.body)["order"]] += 1
        OK(connection, request)


def kill(harness):
    """Kill the worker, and start another one."""
    (process,) = harness.workers
    signal_group(process)
    process.wait(10)
    harness.workers.clear()
    harness.start_worker()


def bring(harness, orders, webhook="orders"):
    for start_at in range(orders.start, orders.stop, 1_000):
        numbers = range(start_at, min(start_at + 1_000, orders.stop))
        harness.trigger_each(({"order": number} for number in numbers), webhook)
    wait_until(
        lambda: int(harness.runtime.client.hget("relay:{0}:pending", "count") or 0) == 0, THOUSANDS_S, every_s=0.1
    )


@pytest.mark.timeout(480)
def test_a_days_story(tmp_path_factory):
    shop = Shop()
    with (
        receiver(shop) as endpoint,
        receiver(OK) as other,
        worker_harness(tmp_path_factory, RELAY_LEASE_MARGIN="3") as harness,
    ):
        harness.register(hook(endpoint.url, id="orders", timeout=8), hook(other.url, id="mails"))
        harness.start_worker()
        bring(harness, range(BEFORE))
        shop.down = True
        bring(harness, range(BEFORE, BEFORE + DURING))
        bring(harness, range(100), webhook="mails")
        shop.down = False
        bring(harness, range(BEFORE + DURING, BEFORE + DURING + AFTER - 100))
        assert shop.taken.total() == BEFORE + AFTER - 100

        # what is failing now?
        (group,) = harness.runtime.listing.groups("acme", Filter(error=True))
        assert (group.webhook_id, group.outcome, group.status, group.count) == ("orders", "answered", 503, DURING)
        everything = harness.runtime.listing.groups("acme", Filter())
        assert sum(each.count for each in everything) == BEFORE + DURING + AFTER

        # what would be sent again?
        wanted = Filter(webhook_id="orders", status=("5xx",), since_ms=group.first_ms)
        plan = harness.runtime.replays.plan("acme", Request(filter=wanted, rate_per_second=RATE))
        assert (plan.matched, plan.skipped, plan.estimated_s) == (DURING, 0, DURING / RATE)
        assert plan.breakdown == [OutcomeGroup("orders", "answered", 503, DURING, group.first_ms, group.last_ms)]

        # paced, paused, killed, resumed, killed again while it runs
        job = harness.runtime.replays.start_planned("acme", plan.plan_id, caller="k9")
        assert job.matched == DURING
        wait_until(lambda: job_of(harness, job).delivered > DURING / 8, THOUSANDS_S)
        assert harness.runtime.replays.pause("acme", job.replay_id).state is ReplayState.PAUSED
        wait_until(lambda: harness.runtime.client.zcard("relay:{0}:p:acme:running:orders") == 0, 10)
        paused = job_of(harness, job)
        kill(harness)
        time.sleep(1)
        assert job_of(harness, job) == paused
        harness.runtime.replays.resume("acme", job.replay_id)
        wait_until(lambda: job_of(harness, job).delivered > DURING / 2, THOUSANDS_S)
        kill(harness)
        job = finished(harness, job)

        # every count exact
        lost = [
            row
            for row in harness.runtime.listing.every("acme", Filter(replay=job.replay_id))
            if row.state is State.INTERRUPTED
        ]
        assert job.state is ReplayState.DONE
        assert (job.matched, job.started, job.skipped) == (DURING, DURING, 0)
        assert (job.delivered, job.failed) == (DURING - len(lost), len(lost))
        assert set(shop.taken.values()) == {1}

        # calls that were being sent when the worker was killed: the shop's books show whether they arrived
        missing = [row.reference_id for row in lost if order_of(harness, row) not in shop.taken]
        rest = finished(harness, start(harness, reference_ids=missing, include_uncertain=True))
        assert (rest.matched, rest.delivered) == (len(missing), len(missing))
        assert shop.taken == Counter(range(BEFORE + DURING + AFTER - 100))
        again = harness.runtime.replays.plan("acme", Request(filter=wanted))
        unknown = len(lost) - len(missing)  # the endpoint has had them, which nothing but its books shows
    assert (again.matched, again.skipped_reasons.get("uncertain", 0)) == (unknown, unknown)


def order_of(harness, row):
    sealed = harness.store.payload_of(row.reference_id)
    stamp = harness.runtime.registry.revision("acme", row.webhook_id, row.revision).stamp
    opened = harness.runtime.data_vault.open(sealed, payload_owner("acme", row.reference_id, row.purpose, stamp))
    return orjson.loads(opened)["data"]["order"]
