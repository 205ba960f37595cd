"""Replays on real workers, and a day's story: an endpoint fails for a while, and what failed is sent again, carefully."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter

import orjson
import pytest

from relay.invocation import Outcome, State
from relay.replay.planning import Request
from relay.store.listing import Filter, Group
from relay.store.replays import ReplayState
from tests.integration.worker_house import hook, until, worker_house
from tests.receivers import answer, in_turn, json_answer, receiver

BEFORE, DURING, AFTER = 5_000, 8_000, 7_000
OK = json_answer({"ok": True})


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with worker_house(tmp_path_factory, RELAY_LEASE_MARGIN="2", RELAY_MAX_IN_FLIGHT="64") as house:
        house.start_worker()
        yield house


def start(house, **request):
    return house.runtime.replays.start("acme", Request(**request), caller="k9")


def job_of(house, job):
    return house.runtime.replays.get("acme", job.replay_id)


def finished(house, job, within_s=30):
    until(lambda: job_of(house, job).over, within_s)
    return job_of(house, job)


def test_what_failed_is_sent_again_by_todays_registration(house):
    with receiver(in_turn(answer(503), OK)) as endpoint:
        house.register(hook(endpoint.url))
        ref = house.trigger(data={"a": 1})
        house.final(ref)
        house.register(hook(endpoint.url + "/new", headers={"x-version": "2"}))
        job = finished(house, start(house, reference_ids=[ref]))
    assert (job.state, job.matched, job.delivered) == (ReplayState.DONE, 1, 1)
    first, second = endpoint.requests
    assert (first.body, second.body) == (b'{"a":1}', b'{"a":1}')
    assert (second.target, second.header("x-version")) == ("/hook/new", "2")
    assert second.header("webhook-id") == house.record(ref).replayed_by != ref
    assert house.data(house.record(ref).replayed_by) == {"ok": True}


def test_what_no_longer_fits_is_rejected_in_the_report_and_the_others_go_on(house):
    with receiver(answer(503)) as endpoint:
        house.register(hook(endpoint.url))
        refs = [house.trigger(data={"a": 1}), house.trigger(data={"b": 2}), house.trigger(data={"a": 3})]
        house.finals(refs)
    with receiver(OK) as endpoint:
        house.register(hook(endpoint.url, dataSchema={"type": "object", "required": ["a"]}))
        job = finished(house, start(house, reference_ids=refs))
    assert (job.matched, job.delivered, job.failed, job.skipped) == (3, 2, 1, 0)
    assert sorted(request.body for request in endpoint.requests) == [b'{"a":1}', b'{"a":3}']
    rejected = house.record(house.record(refs[1]).replayed_by)
    assert (rejected.state, rejected.outcome) == (State.REJECTED, Outcome.REQUEST_REJECTED)


def test_a_removed_webhooks_replays_are_rejected(house):
    with receiver(answer(503)) as endpoint:
        house.register(hook(endpoint.url))
        ref = house.trigger()
        house.final(ref)
    house.runtime.registry.remove("acme", "hook")
    job = finished(house, start(house, reference_ids=[ref]))
    assert (job.state, job.failed) == (ReplayState.DONE, 1)
    assert house.record(house.record(ref).replayed_by).outcome is Outcome.WEBHOOK_NOT_REGISTERED


def test_a_rate_is_kept_and_a_cancelled_job_sends_no_more(house):
    with receiver(answer(503)) as endpoint:
        house.register(hook(endpoint.url))
        refs = house.trigger_many(60)
        house.finals(refs)
    with receiver(OK) as endpoint:
        house.register(hook(endpoint.url))
        began = time.monotonic()
        job = start(house, reference_ids=refs, rate_per_second=20)
        until(lambda: len(endpoint.requests) >= 30, 20)
        took_s = time.monotonic() - began
        house.runtime.replays.cancel("acme", job.replay_id)
        job = finished(house, job)
        received = len(endpoint.requests)
        time.sleep(1)
        assert len(endpoint.requests) == received < 60
    assert took_s > 1.3  # 30 at 20 a second, but for what goes at once
    assert (job.state, job.matched) == (ReplayState.CANCELLED, 60)
    assert (job.delivered, job.delivered + job.failed + job.skipped) == (received, 60)


def test_a_worker_that_stops_lets_go_of_its_job_for_another(tmp_path_factory):
    with receiver(OK) as endpoint, worker_house(tmp_path_factory) as house:
        house.register(hook(endpoint.url))
        first = house.start_worker()
        refs = house.trigger_many(100)
        house.finals(refs)
        delivered = Filter(states=frozenset({State.DELIVERED}))
        job = start(house, filter=delivered, rate_per_second=40)
        until(lambda: job_of(house, job).delivered >= 20, 20)
        first.send_signal(signal.SIGTERM)
        assert first.wait(20) == 0
        assert house.runtime.client.hget(f"relay:replay:{job.replay_id}", "leaseEnd") == b""
        assert job_of(house, job).started < 100
        house.start_worker(number=2)
        job = finished(house, job)
    assert (job.state, job.delivered) == (ReplayState.DONE, 100)
    assert len(endpoint.requests) == 200


class Shop:
    """An endpoint that is down at times, and remembers which orders it took."""

    def __init__(self):
        self.down = False
        self.taken = Counter()

    def __call__(self, connection, request):
        if self.down:
            answer(503)(connection, request)
            return
        self.taken[orjson.loads(request.body)["order"]] += 1
        OK(connection, request)


def kill(house):
    """The worker dies at once, and another one comes."""
    (process,) = house.workers
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
    house.workers.clear()
    house.start_worker()


def bring(house, orders, webhook="orders"):
    for start_at in range(orders.start, orders.stop, 1_000):
        numbers = range(start_at, min(start_at + 1_000, orders.stop))
        house.trigger_each(({"order": number} for number in numbers), webhook)
    until(lambda: int(house.runtime.client.hget("relay:pending", "count") or 0) == 0, 60, every_s=0.1)


@pytest.mark.timeout(180)
def test_a_days_story(tmp_path_factory):
    shop = Shop()
    with (
        receiver(shop) as endpoint,
        receiver(OK) as other,
        worker_house(tmp_path_factory, RELAY_LEASE_MARGIN="1") as house,
    ):
        house.register(hook(endpoint.url, id="orders", timeout=2), hook(other.url, id="mails"))
        house.start_worker()
        bring(house, range(BEFORE))
        shop.down = True
        bring(house, range(BEFORE, BEFORE + DURING))
        bring(house, range(100), webhook="mails")
        shop.down = False
        bring(house, range(BEFORE + DURING, BEFORE + DURING + AFTER - 100))
        assert shop.taken.total() == BEFORE + AFTER - 100

        # what is failing now?
        (group,) = house.runtime.listing.groups("acme", Filter(error=True))
        assert (group.webhook_id, group.outcome, group.status, group.count) == ("orders", "answered", 503, DURING)
        everything = house.runtime.listing.groups("acme", Filter())
        assert sum(each.count for each in everything) == BEFORE + DURING + AFTER

        # what would be sent again?
        wanted = Filter(webhook_id="orders", status=("5xx",), since_ms=group.first_ms)
        plan = house.runtime.replays.plan("acme", Request(filter=wanted, rate_per_second=2_000))
        assert (plan.matched, plan.skipped, plan.estimated_s) == (DURING, 0, DURING / 2_000)
        assert plan.breakdown == [Group("orders", "answered", 503, DURING, group.first_ms, group.last_ms)]

        # paced, paused, killed, resumed, killed again while it runs
        job = house.runtime.replays.start_planned("acme", plan.plan_id, caller="k9")
        assert job.matched == DURING
        until(lambda: job_of(house, job).delivered > 1_000, 30)
        assert house.runtime.replays.pause("acme", job.replay_id).state is ReplayState.PAUSED
        until(lambda: house.runtime.client.zcard("relay:p:acme:running:orders") == 0, 10)
        paused = job_of(house, job)
        kill(house)
        time.sleep(1)
        assert job_of(house, job) == paused
        house.runtime.replays.resume("acme", job.replay_id)
        until(lambda: job_of(house, job).delivered > 4_000, 30)
        kill(house)
        job = finished(house, job, 60)

        # every count exact
        lost = [
            row
            for row in house.runtime.listing.every("acme", Filter(replay=job.replay_id))
            if row.state is State.INTERRUPTED
        ]
        assert job.state is ReplayState.DONE
        assert (job.matched, job.started, job.skipped) == (DURING, DURING, 0)
        assert (job.delivered, job.failed) == (DURING - len(lost), len(lost))
        assert set(shop.taken.values()) == {1}

        # who was being sent when the worker was killed: the shop's books say whether it came
        missing = [row.reference_id for row in lost if order_of(house, row) not in shop.taken]
        rest = finished(house, start(house, reference_ids=missing, include_uncertain=True))
        assert (rest.matched, rest.delivered) == (len(missing), len(missing))
        assert shop.taken == Counter(range(BEFORE + DURING + AFTER - 100))
        again = house.runtime.replays.plan("acme", Request(filter=wanted))
        assert again.matched == 0


def order_of(house, row):
    sealed = house.store.payload_of(row.reference_id)
    opened = house.runtime.data_vault.open(sealed, f"payload/acme/{row.reference_id}")
    return orjson.loads(opened)["data"]["order"]
