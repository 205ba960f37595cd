"""A plugin moves to another partition, whichever process dies: all its data arrives, other data stays unchanged."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from dataclasses import dataclass

import pytest

from relay.accept.intake import TriggerRequest
from relay.cli.names import check_plugin
from relay.doctor.registrations import examine_waiting
from relay.errors import BadParameter, Conflict, SettingsError, Unavailable
from relay.invocation import Attempt, Outcome, Sent, State
from relay.reference_id import bucket_of_plugin, new_reference_id
from relay.registration.document import read_registrations
from relay.replay.planning import Request
from relay.rotation.resealing import Resealing
from relay.runtime import Runtime
from relay.settings import Settings
from relay.store.answering import PatientConnection
from relay.store.bucket_keys import OF_IDS, OF_WEBHOOKS, bucket_of_key, bucket_of_member
from relay.store.bucket_locations import FRESH_S, table_key
from relay.store.key_names import PARTITIONED, partition_root
from relay.store.listing import Filter
from relay.store.moving import PluginMoves
from relay.store.partition_states import partition_states
from relay.store.replicas import primary_of
from relay.store.sealed_values import SealedValues
from relay.store.transitions import Settlement
from relay.vault import Vault
from tests.cluster.load import Load
from tests.integration.worker_harness import worker_harness
from tests.receivers import json_answer, receiver
from tests.timing import wait_until

PLUGIN, NEIGHBOUR = "traveller", "stays"
OF_PLUGINS = ("plugins",)
SHARED = (*OF_IDS, *OF_WEBHOOKS, *OF_PLUGINS)
#: Keys whose numbers are sums over plugins.
SUMS = ("pending",)
#: Keys about the partition as a whole, which stay where they are.
STAYING = ("backlog", "sweeps", "confirmed", "counting_lock", "moved", "move_lock")
LANES = ("interactive", "bulk", "replay")
NEWER = Vault.new_key_text()
HOOK = {"id": "hook", "url": "https://hooks.vendor.com/x", "method": "POST"}


OPENED: list[Runtime] = []


def opened(settings):
    """Return a runtime that looks like a separate process to the store; it is closed after the test."""
    runtime = Runtime(settings, holds_target_keys=True)
    OPENED.append(runtime)
    return runtime


@pytest.fixture(autouse=True)
def closed():
    yield
    while OPENED:
        OPENED.pop().close()


class Killed(BaseException):
    """Simulates kill -9 of the mover: nothing runs after it, not even an ``except Exception``."""


@dataclass
class Held:
    """What a plugin was given, and must still have after its move."""

    delivered: str
    parked: str
    replay: str
    keyed: str  # accepted with the Idempotency-Key `once`


@pytest.fixture
def settings(three_nodes):
    return Settings.from_environ(
        {
            "RELAY_REDIS_URL": three_nodes.url,
            "RELAY_BROKER_URL": "amqp://nobody:x@127.0.0.1:1/",
            "RELAY_TARGET_KEYS": Vault.new_key_text(),
            "RELAY_DATA_KEYS": Vault.new_key_text(),
        }
    )


@pytest.fixture
def runtime(settings):
    runtime = opened(settings)
    runtime.client.flushall(target_nodes="primaries")
    runtime = opened(settings)
    for plugin in (PLUGIN, NEIGHBOUR):
        runtime.registry.apply(*read_registrations(json.dumps([HOOK]), runtime.rules, plugin=plugin))
    return runtime


@pytest.fixture
def held(runtime):
    return fill(runtime, PLUGIN)


def trigger(runtime, plugin, key=None):
    call = TriggerRequest(plugin, "hook", {"data": {}}, new_reference_id(plugin), "k1", idempotency_key=key)
    return runtime.dispatcher.trigger(call)


def fill(runtime, plugin):
    """Make calls of every kind, and a replay of a failed one; then pause the plugin."""
    refs = [trigger(runtime, plugin).reference_id for _ in range(6)]
    keyed = trigger(runtime, plugin, "once").reference_id
    token = "t" * 32
    assert runtime.store.claim(refs[:4], token).granted == set(refs[:4])
    ends = [settlement(ref, token, 200 if number % 2 else 500) for number, ref in enumerate(refs[:4])]
    assert all(runtime.store.settle(ends).counted)
    job = runtime.replays.start(plugin, Request(reference_ids=[refs[0]]), caller="k1")
    runtime.policies.pause(plugin, "hook")
    runtime.store.claim(refs[4:], "p" * 32)
    assert runtime.store.find(refs[4]).state is State.QUEUED
    return Held(refs[1], refs[4], job.replay_id, keyed)


def settlement(ref, token, status):
    attempt = Attempt(1, 1, 5, status, Outcome.ANSWERED, Sent.ANSWERED)
    return Settlement(ref, token, State.DELIVERED, Outcome.ANSWERED, status, status >= 400, attempt, result=b"answer")


def moves(runtime, wait=lambda _: None):
    return PluginMoves(runtime.client, runtime.keyspace.partitions, wait=wait)


def again(runtime):
    """Return the moves as seen by the next mover, a minute after another was killed: its lock has expired."""
    for key in runtime.client.scan_iter(match="relay:{*}:moved:*:turn"):
        runtime.client.delete(key)
    return moves(runtime)


def values_of(server, keys):
    """Return the type and the value of each key that exists, and whether it expires."""
    asked = server.pipeline(transaction=False)
    for key in keys:
        asked.type(key).pttl(key)
    told = asked.execute()
    found = [(key, kind.decode(), ms) for key, kind, ms in zip(keys, told[::2], told[1::2], strict=True) if ms != -2]
    ways = {
        "string": asked.get,
        "hash": asked.hgetall,
        "set": asked.smembers,
        "zset": lambda key: asked.zrange(key, 0, -1, withscores=True),
        "list": lambda key: asked.lrange(key, 0, -1),
    }
    for key, kind, _ in found:
        ways[kind](key)
    values = zip(found, asked.execute(), strict=True)
    return {key: (kind, dict(value) if kind == "zset" else value, ms > 0) for (key, kind, ms), value in values}


def contents(runtime, number, bucket):
    """Return all that a partition has of a bucket: its keys, and its members of shared keys."""
    root = partition_root(number)
    server = primary_of(runtime.client, root)
    tails = [key.decode()[len(root) :] for key in server.scan_iter(match=f"{root}*", count=1_000)]
    own = [tail for tail in tails if bucket_of_key(tail) == bucket]
    shared = {PARTITIONED[kind].format(lane=lane): kind for kind in SHARED for lane in LANES}
    values = values_of(server, [root + tail for tail in (*own, *shared)])
    found = {tail: values[root + tail] for tail in own if root + tail in values}
    for tail, kind in shared.items():
        members = values[root + tail][1] if root + tail in values else ()
        ours = [each for each in members if member_bucket(kind, each.decode()) == bucket]
        if ours:
            found["shared " + tail] = {each: members[each] if isinstance(members, dict) else 0 for each in ours}
    return found


def member_bucket(kind, member):
    return bucket_of_plugin(member) if kind in OF_PLUGINS else bucket_of_member(member)


def sums(runtime):
    """Return the pending count of each partition that has one."""
    found = {}
    for number in range(runtime.keyspace.partitions):
        both = runtime.client.hmget(runtime.keyspace.pending(number), "count", "bytes")
        if any(int(each or 0) for each in both):
            found[number] = [int(each or 0) for each in both]
    return found


def assert_all_is_there(settings, held):
    """Check that a new process finds everything that the plugin had."""
    runtime = opened(settings)
    assert runtime.store.get(PLUGIN, held.delivered).status == 200
    assert runtime.store.get(PLUGIN, held.parked).state is State.QUEUED
    assert runtime.store.result_of(held.delivered) == b"answer"
    assert trigger(runtime, PLUGIN, "once").reference_id == held.keyed
    assert runtime.replays.get(PLUGIN, held.replay).replay_id == held.replay
    assert held.delivered in [each.reference_id for each in runtime.listing.page(PLUGIN, Filter()).rows]
    assert [each.webhook_id for each in runtime.registry.shapes(PLUGIN)] == ["hook"]
    assert set(runtime.registry.plugins()) == {PLUGIN, NEIGHBOUR}
    assert runtime.policies.traffic(PLUGIN, "hook").paused


def assert_every_listing_names_it(settings):
    """Check that, whatever a mover has left, listings name every plugin, and read those that are not on the move."""
    runtime = opened(settings)
    assert runtime.registry.plugins() == [NEIGHBOUR, PLUGIN]
    states = partition_states(runtime.client, runtime.keyspace)
    assert all(state.server for state in states)
    assert {name for state in states for name in (*state.plugins, *state.moving)} == {NEIGHBOUR, PLUGIN}
    assert sum(PLUGIN in state.plugins for state in states) <= 1
    at_rest = runtime.registry.plugins_at_rest()
    assert at_rest == [NEIGHBOUR, PLUGIN][: len(at_rest)] != []
    page = runtime.metrics_page.text().decode()
    assert [name for name in (NEIGHBOUR, PLUGIN) if f'plugin="{name}"' in page] == at_rest
    assert [each.webhook_id for name in at_rest for each in runtime.registry.shapes(name)] == ["hook"] * len(at_rest)
    check_plugin(runtime, PLUGIN)
    runtime.measures.count_everything()
    runtime.store.drop_contents(limit=10)
    list(examine_waiting(runtime, at_rest))
    for plugin, webhook in (*runtime.store.revisits(limit=10), *runtime.store.parked_calls.webhooks(limit=10)):
        runtime.policies.traffics(plugin, [webhook])


def what_listings_see(runtime):
    """Return all that listings depend on: where plugins are, are noted, and have queued calls; equal ones are alike."""
    asked = runtime.client.pipeline(transaction=False)
    for number in range(16):
        asked.hgetall(table_key(number))
        asked.smembers(runtime.keyspace.plugins(number))
        asked.exists(runtime.keyspace.due_queued("bulk", number))
    return repr([{**each, b"written": 0} if isinstance(each, dict) else each for each in asked.execute()])


def elsewhere(runtime, plugin=PLUGIN):
    """Return the number of a partition on another primary."""
    home = runtime.keyspace.root(plugin)
    there = primary_of(runtime.client, home)
    return next(n for n in range(16) if primary_of(runtime.client, partition_root(n)) is not there)


def test_every_key_of_a_partition_moves_with_its_plugin_is_shared_or_stays():
    parts = {"plugin": "p", "webhook": "w", "ref": new_reference_id("p"), "replay": new_reference_id("p")}
    more = dict.fromkeys(
        ("kind", "minute", "hour", "process", "request", "revision", "mac", "plan", "lane", "bucket"), "1"
    )
    for kind, template in PARTITIONED.items():
        if kind == "moving":
            continue
        bucket = bucket_of_key(template.format(**parts, **more))
        known = kind in (*SHARED, *SUMS, *STAYING)
        assert (bucket is None) == known, f"{kind} belongs into relay/store/bucket_keys.py, or into the lists above"
        assert known or bucket == bucket_of_plugin("p")


def test_a_plugin_is_moved_with_all_that_it_has_and_others_stay(settings, runtime, held):
    fill(runtime, NEIGHBOUR)
    bucket, home, target = bucket_of_plugin(PLUGIN), runtime.keyspace.partition_of(PLUGIN), elsewhere(runtime)
    before, others, pending = contents(runtime, home, bucket), everything_of_others(runtime, bucket), sums(runtime)
    moved = moves(runtime).move(PLUGIN, target)
    assert (moved.plugins, moved.source, moved.target) == ((PLUGIN,), home, target)
    assert contents(runtime, target, bucket) == before
    assert contents(runtime, home, bucket) == {}
    assert everything_of_others(runtime, bucket) == others
    assert sums(runtime).pop(target) == pending.pop(home)
    assert sums(runtime) == {target: sums(runtime)[target], **pending}
    assert_all_is_there(settings, held)
    assert moves(runtime).move(PLUGIN, target).keys == 0, "it is there already"


def everything_of_others(runtime, bucket):
    """Return what all partitions have of the neighbour plugin."""
    return {number: contents(runtime, number, bucket_of_plugin(NEIGHBOUR)) for number in range(16)} | {
        "webhooks": runtime.client.hgetall(runtime.keyspace.webhooks(NEIGHBOUR))
    }


class Stopping:
    """Stops the process at its n-th request to a server: before the server gets the request, or after its reply."""

    def __init__(self, monkeypatch):
        self.count, self.at, self.after = 0, 0, False
        send = PatientConnection.send_packed_command

        def counting(connection, command, check_health=True):
            self.count += 1
            stops = self.count == self.at
            if stops and not self.after:
                raise Killed
            send(connection, command, check_health)
            if stops:
                connection.read_response()
                connection.disconnect()
                raise Killed

        monkeypatch.setattr(PatientConnection, "send_packed_command", counting)

    def at_step(self, number, *, after):
        self.count, self.at, self.after = 0, number, after


@pytest.mark.parametrize("after", [False, True], ids=["before the server is told", "after it was told"])
def test_a_move_that_is_killed_at_any_step_is_finished_by_the_next(settings, runtime, held, monkeypatch, after):
    bucket, home = bucket_of_plugin(PLUGIN), runtime.keyspace.partition_of(PLUGIN)
    places = [home, elsewhere(runtime)]
    assert_every_listing_names_it(settings)  # which also counts what was noted
    before, pending = contents(runtime, home, bucket), sums(runtime)[home]
    stopping, number, was_killed, looked_at = Stopping(monkeypatch), 0, True, set()
    while was_killed:
        number += 1
        source, target = places[(number + 1) % 2], places[number % 2]
        stopping.at_step(number, after=after)
        try:
            moves(runtime).move(PLUGIN, target)
            was_killed = False
        except Killed:
            was_killed = True
        finally:
            stopping.at_step(0, after=after)
        if was_killed:
            if (state := what_listings_see(runtime)) not in looked_at:
                assert_every_listing_names_it(settings)
                looked_at.add(state)
            again(runtime).move(PLUGIN, target)
        assert contents(runtime, target, bucket) == before, f"killed at step {number}"
        assert contents(runtime, source, bucket) == {}, f"killed at step {number}"
        assert sums(runtime) == {target: pending}, f"killed at step {number}"
    assert number > 30, "there are more steps than that"
    assert len(looked_at) > 8, "there is more to see than that"
    assert_all_is_there(settings, held)


class Values(SealedValues):
    """All sealed values; an act is run before one of them is returned."""

    def __init__(self, runtime, moment, act):
        super().__init__(runtime.client, runtime.keyspace)
        self._moment, self._act, self.looked_at = moment, act, 0

    def every(self):
        for value in super().every():
            if self.looked_at == self._moment:
                self._act()
            self.looked_at += 1
            yield value


def resealing(runtime, moment=-1, act=None):
    """Return a resealing with a data key newer than the one under which everything is sealed."""
    vault = Vault.from_text(f"{NEWER},{runtime.settings.data_keys.reveal()}")
    values = Values(runtime, moment, act)
    return Resealing(values, {"data": vault, "target": runtime.target_vault}, runtime.api_keys, runtime.registry)


@pytest.fixture
def sealed(runtime, held):
    """The plugin of `held`, without its results, which are not really sealed."""
    for key in runtime.client.scan_iter(match="relay:{*}:inv:*:result"):
        runtime.client.delete(key)


@pytest.mark.parametrize("way", ["run", "uses"])
def test_who_goes_through_all_that_is_sealed_is_told_of_a_move_meanwhile(runtime, sealed, way):
    """Also if the plugin moves there and back, so that everything is where it was."""
    home, target = runtime.keyspace.partition_of(PLUGIN), elsewhere(runtime)

    def there_and_back():
        for number in (target, home):
            moves(runtime).move(PLUGIN, number)

    def gone_through(moment):
        every = resealing(runtime, moment, there_and_back)
        return every.run(lambda: None) if way == "run" else every.uses()

    for moment in (0, 1, 4, 8):
        with pytest.raises(Conflict, match="was moved to another partition meanwhile"):
            gone_through(moment)
    gone_through(-1)


def test_nothing_is_sealed_anew_while_a_plugin_is_on_its_way_or_has_left_something(runtime, sealed, monkeypatch):
    """Otherwise a forgotten copy might stay sealed under a key that seems unused."""
    stopping, home, target = Stopping(monkeypatch), runtime.keyspace.partition_of(PLUGIN), elsewhere(runtime)
    refused = 0
    for number in range(1, 80, 6):
        stopping.at_step(number, after=True)
        with suppress(Killed):
            moves(runtime).move(PLUGIN, target)
        stopping.at_step(0, after=True)
        tables = [runtime.client.hgetall(table_key(each)) for each in range(16)]
        if any(b":" in field + text for table in tables for field, text in table.items()):
            refused += 1
            for act in (resealing(runtime).uses, lambda: resealing(runtime).run(lambda: None)):
                with pytest.raises(Conflict, match=f"Being moved to another partition: {PLUGIN}"):
                    act()
        again(runtime).move(PLUGIN, target)
        again(runtime).move(PLUGIN, home)
    assert refused > 5
    old = Vault.from_text(runtime.settings.data_keys.reveal()).key_ids[0]
    assert resealing(runtime).uses().counts["data"][old] > 3
    assert resealing(runtime).run(lambda: None).damaged.keys == []
    assert resealing(runtime).uses().counts["data"][old] == 0


def test_while_it_is_moved_it_is_not_now_for_it_alone(settings, runtime, held):
    seen = []

    def look(_):
        other = opened(settings)
        with pytest.raises(Unavailable):
            trigger(other, PLUGIN)
        with pytest.raises(Unavailable):
            other.store.get(PLUGIN, held.delivered)
        seen.append(trigger(other, NEIGHBOUR).state)

    moves(runtime, look).move(PLUGIN, elsewhere(runtime))
    assert seen == [State.QUEUED]


def test_who_has_looked_before_learns_of_a_move_within_a_second(settings, runtime, held):
    other = opened(settings)
    assert other.store.get(PLUGIN, held.delivered).status == 200

    def until_learnt(_):
        def is_told():
            try:
                other.keyspace.root(PLUGIN)
            except Unavailable:
                return True
            return False

        wait_until(is_told, FRESH_S + 30)

    moves(runtime, until_learnt).move(PLUGIN, elsewhere(runtime))
    wait_until(lambda: finds(other, held.delivered), FRESH_S + 30)


def finds(runtime, ref):
    try:
        return runtime.store.get(PLUGIN, ref).status == 200
    except Unavailable:
        return False


def test_what_is_not_paused_is_refused_by_name(runtime, held):
    for _ in runtime.policies.resume(PLUGIN, "hook"):
        pass
    with pytest.raises(Conflict, match=f"Not paused: {PLUGIN}/hook"):
        moves(runtime).move(PLUGIN, elsewhere(runtime))
    assert finds(runtime, held.delivered)


def test_calls_that_are_being_sent_are_waited_for(runtime):
    ref = trigger(runtime, PLUGIN).reference_id
    assert runtime.store.claim([ref], "t" * 32).granted == {ref}
    runtime.policies.pause(PLUGIN, "hook")
    with pytest.raises(Conflict, match="1 of the plugin's calls are being sent"):
        moves(runtime).move(PLUGIN, elsewhere(runtime))
    runtime.store.settle([settlement(ref, "t" * 32, 200)])
    moves(runtime).move(PLUGIN, elsewhere(runtime))


def test_calls_that_go_again_before_all_know_of_the_move_end_it_and_it_stays(runtime, held):
    policy = runtime.keyspace.policy(PLUGIN, "hook")
    bucket, home = bucket_of_plugin(PLUGIN), runtime.keyspace.partition_of(PLUGIN)
    with pytest.raises(Conflict, match="Not paused"):
        moves(runtime, lambda _: runtime.client.hset(policy, "paused", "0")).move(PLUGIN, elsewhere(runtime))
    assert "shared plugins" in contents(runtime, home, bucket)
    wait_until(lambda: finds(runtime, held.delivered), FRESH_S + 30)


def test_another_target_is_refused_while_it_is_on_its_way(runtime, held):
    def stop(_):
        raise Killed

    target = elsewhere(runtime)
    with pytest.raises(Killed):
        moves(runtime, stop).move(PLUGIN, target)
    with pytest.raises(Conflict, match="Another process is moving it"):
        moves(runtime).move(PLUGIN, target)
    with pytest.raises(Conflict, match=f"to partition {target}"):
        again(runtime).move(PLUGIN, (target + 1) % 16)
    assert moves(runtime).knows(PLUGIN)
    assert moves(runtime).move(PLUGIN, target).target == target


@pytest.mark.parametrize("target", [-1, 16, 99])
def test_a_partition_that_there_is_not_is_refused(runtime, held, target):
    with pytest.raises(BadParameter, match="partitions 0 to 15"):
        moves(runtime).move(PLUGIN, target)


def test_calls_wait_through_a_move_under_load_and_are_sent_when_it_is_over(three_nodes, tmp_path_factory):
    client = opened(
        Settings.from_environ({"RELAY_REDIS_URL": three_nodes.url, "RELAY_BROKER_URL": "amqp://a:b@127.0.0.1:1/"})
    ).client
    client.flushall(target_nodes="primaries")
    with worker_harness(tmp_path_factory, RELAY_STORE_URL=three_nodes.url) as harness:
        harness.start_worker("bulk")
        with Load(harness, pause_s=0.05) as load, receiver(json_answer({"ok": True})) as own:
            load.wait_for(60)
            runtime = harness.runtime
            harness.register({"id": "hook", "url": own.url, "method": "POST"}, plugin=PLUGIN)
            runtime.policies.pause(PLUGIN, "hook")
            refs = [trigger(runtime, PLUGIN).reference_id for _ in range(30)]
            target, moving = elsewhere(runtime), []
            mover = PluginMoves(runtime.client, 16, learnt_s=3)
            thread = threading.Thread(target=lambda: moving.append(mover.move(PLUGIN, target)))
            thread.start()
            load.wait_for(60)
            thread.join()
            assert moving[0].target == target
            refused = load.refused
            wait_until(lambda: runtime.keyspace.partition_of(PLUGIN) == target, 30)
            queued = [pair for ready in mover.queued(PLUGIN, target) for pair in ready]
            assert {ref for ref, lane in queued if lane == "bulk"} <= set(refs)
            runtime.publisher.publish_ready(queued)
            for ready in runtime.policies.resume(PLUGIN, "hook"):
                runtime.publisher.publish_ready(ready)
            assert {each.state for each in harness.finals(refs)} == {State.DELIVERED}
            assert len({each.header("webhook-id") for each in own.requests} & set(refs)) == 30 == len(own.requests)
            load.check()
            assert refused == 0


def test_a_store_of_one_partition_is_divided_and_its_plugins_are_moved(valkey):
    """Processes that have not noticed it yet go on; everything that any process wrote is found."""
    given = {
        "RELAY_REDIS_URL": valkey.tcp_url,
        "RELAY_TARGET_KEYS": Vault.new_key_text(),
        "RELAY_DATA_KEYS": Vault.new_key_text(),
    }
    old = opened(Settings.from_environ(given))
    for plugin in (PLUGIN, NEIGHBOUR):
        old.registry.apply(*read_registrations(json.dumps([HOOK]), old.rules, plugin=plugin))
    held = fill(old, PLUGIN)
    settings = Settings.from_environ({**given, "RELAY_PARTITIONS": "16"})
    assert_all_is_there(settings, held)
    by_new = trigger(opened(settings), NEIGHBOUR).reference_id
    assert old.store.get(NEIGHBOUR, by_new).state is State.QUEUED
    assert {opened(settings).keyspace.partition_of(plugin) for plugin in (PLUGIN, NEIGHBOUR)} == {0}
    moved = PluginMoves(opened(settings).client, 16, wait=lambda _: None).move(PLUGIN)
    home = bucket_of_plugin(PLUGIN) % 16
    assert (moved.source, moved.target) == (0, home)
    assert home != 0
    assert_all_is_there(settings, held)
    assert opened(settings).store.get(NEIGHBOUR, by_new).state is State.QUEUED
    with pytest.raises(SettingsError, match="the store has 16"):
        _ = opened(Settings.from_environ({**given, "RELAY_PARTITIONS": "32"})).client
    with pytest.raises(SettingsError, match="the store has 16"):
        _ = opened(Settings.from_environ(given)).client
