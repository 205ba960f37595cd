"""A store with one partition is divided, wherever it is killed: all is there afterwards, and all goes on."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass
from itertools import islice

import pytest
from redis.connection import Connection

from relay.accept.intake import TriggerRequest
from relay.domain.invocation import Attempt, Outcome, Sent, State
from relay.domain.reference_id import bucket_of_plugin, new_reference_id
from relay.errors import BadParameter, Conflict, SettingsError, Unavailable
from relay.registration.document import read_registrations
from relay.settings import Settings
from relay.store.backups.epoch import Epoch, Phase
from relay.store.counts.totals import StoreCounts
from relay.store.keys import keyspace
from relay.store.keys.buckets import LISTS, SETS, SORTED_SETS, bucket_of_key, bucket_of_member, shared_kind
from relay.store.keys.names import PARTITIONED, ROOT, key_in, partition_root
from relay.store.ledger.callbacks import Callbacks
from relay.store.ledger.listing import Filter
from relay.store.ledger.transitions import Settlement
from relay.store.partitions import dividing
from relay.store.partitions.dividing import SILENT_MS, Division
from relay.store.partitions.number import agree_on_partitions
from relay.store.replays.runs import Request
from relay.store.server.connection import client_of
from relay.vault import Vault
from relay.wiring.runtime import Runtime
from tests.contract.snapshots import everything, keep, put_back
from tests.timing import ANSWER_S, wait_until

#: In the first partition, where calls stay among those that are moved away, and in two others.
PLUGINS = ("acme", "cyberdyne", "globex", "initech")
PARTITIONS = 4
HOOKS = [
    {"id": "hook", "url": "https://hooks.vendor.com/x", "method": "POST"},
    {"id": "told", "url": "https://hooks.vendor.com/t", "method": "POST", "callback": "hook"},
]
#: Keys that stay in the first partition: sums over all, locks, what is written anew, and what is copied (`decisions`)
#: or calculated (`pending`) in the end.
STAYING = ("backlog", "sweeps", "confirmed", "counting_lock", "pending", "partitions_copy", "format_copy", "decisions")
#: Members and keys that are moved at a time, so that there are several pieces of each.
PIECE = 20
MOST_STEPS = 1_000
ALIVE_MS = 1_000_000_000


@dataclass
class Held:
    """The calls of a plugin, by how far they have come."""

    queued: str
    sending: tuple[str, str]  # with its token
    parked: str
    delayed: str
    retrying: str
    failed: str
    delivered: str
    keyed: str  # with the Idempotency-Key `once`
    replay: str


@pytest.fixture
def relay(valkey):
    """A function that starts a process with a number of partitions on the server."""
    keys = {f"RELAY_{ring}_KEYS": Vault.new_key_text() for ring in ("TARGET", "DATA")}
    made = []

    def start(partitions=1):
        settings = {"RELAY_REDIS_URL": valkey.tcp_url, "RELAY_PARTITIONS": str(partitions), **keys}
        made.append(Runtime(Settings.from_environ(settings), holds_target_keys=True))
        return made[-1]

    yield start
    for each in made:
        each.close()


@pytest.fixture
def held(relay):
    """What each plugin has, in a store with one partition."""
    runtime = relay()
    found = {plugin: fill(runtime, plugin) for plugin in PLUGINS}
    runtime.measures.count_everything()
    runtime.client.delete(key_in(partition_root(0), "counting_lock"))  # it would expire in the middle of a test
    for plugin in PLUGINS:
        ended(runtime, [trigger(runtime, plugin)])  # its events are not counted yet
    return found


@pytest.fixture
def client(valkey, held):
    with client_of(valkey.tcp_url, socket_timeout=ANSWER_S) as client:
        yield client


def trigger(runtime, plugin, webhook="hook", key=None, **members):
    value = {"data": {}, **members}
    call = TriggerRequest(plugin, webhook, value, new_reference_id(plugin), "k1", idempotency_key=key)
    return runtime.dispatcher.trigger(call).reference_id


def ended(runtime, refs, *, status=200, state=State.DELIVERED):
    """Claim and settle calls; return their ids."""
    token = new_reference_id("acme")
    assert runtime.store.claim(refs, token).granted == set(refs)
    attempt = Attempt(1, 1, 5, status, Outcome.ANSWERED, Sent.ANSWERED)
    assert all(
        runtime.store.settle(
            [Settlement(ref, token, state, Outcome.ANSWERED, status, status >= 400, attempt, result=b"answer")]
        ).verdicts
        for ref in refs
    )
    return refs


def fill(runtime, plugin):
    """Bring calls of a plugin into every state that lasts."""
    runtime.registry.apply(*read_registrations(json.dumps(HOOKS), runtime.rules, plugin=plugin))
    runtime.api_keys.create(plugin, ["trigger"])
    delivered, failed, retrying, sending, queued = (trigger(runtime, plugin) for _ in range(5))
    ended(runtime, [delivered])
    ended(runtime, [trigger(runtime, plugin, "told")])  # its callback is to be told
    ended(runtime, [failed], status=500)
    token = new_reference_id("acme")
    assert runtime.store.claim([retrying], token).granted
    attempt = Attempt(1, 1, 5, None, Outcome.CONNECT_FAILED, Sent.NO)
    again = Settlement(retrying, token, State.RETRYING, Outcome.CONNECT_FAILED, None, None, attempt, delay_ms=3_600_000)
    assert runtime.store.settle([again]).verdicts
    token = new_reference_id("acme")
    assert runtime.store.claim([sending], token).granted
    keyed, delayed = trigger(runtime, plugin, "hook", "once"), trigger(runtime, plugin, delay=3_600)
    job = runtime.replays.start(plugin, Request(reference_ids=[failed]), caller="k1")
    parked = trigger(runtime, plugin, "told")
    runtime.policies.pause(plugin, "told")
    runtime.store.claim([parked], new_reference_id("acme"))
    return Held(queued, (sending, token), parked, delayed, retrying, failed, delivered, keyed, job.replay_id)


def divide(client, partitions=PARTITIONS):
    """Divide the store as the command does; return how many keys were examined."""
    division = Division(client, partitions)
    if not division.begin():
        return 0
    examined = list(islice(division.steps(), MOST_STEPS))
    assert len(examined) < MOST_STEPS, "it never ends"
    division.finish()
    return sum(examined)


def together(client):
    """Return all that a server has, with its partitions put together; equal stores have the same calls."""
    found = {}
    for key, value in everything(client).items():
        root, brace, tail = key.decode().partition("}:")
        if not brace or not root.removeprefix("relay:{").isdecimal():
            if key.decode() != keyspace.shared("partitions"):
                found[key] = value
        elif shared_kind(tail) in SORTED_SETS:
            found.setdefault(tail, {}).update(zip(value[::2], value[1::2], strict=True))
        elif shared_kind(tail) in SETS:
            found.setdefault(tail, set()).update(value)
        elif shared_kind(tail) in LISTS:
            found[tail] = sorted([*found.get(tail, ()), *value])
        elif tail == "pending":
            sums = dict(zip(value[::2], map(int, value[1::2]), strict=True))
            old = found.setdefault(tail, {b"count": 0, b"bytes": 0})
            found[tail] = {name: old[name] + sums.get(name, 0) for name in old}
        elif tail == "decisions":
            assert found.setdefault(tail, value) == value, "each partition has all of it"
        else:
            assert tail not in found, f"{tail} is in two partitions"
            found[tail] = value
    return found


def assert_all_lie_where_they_belong(client):
    keys = keyspace.Keyspace(PARTITIONS)
    numbers = set()
    for number in range(PARTITIONS):
        root = partition_root(number)
        for key, value in everything(client).items():
            tail = key.decode().removeprefix(root)
            if tail != key.decode():
                bucket, kind = bucket_of_key(tail), shared_kind(tail)
                assert bucket is None or bucket % PARTITIONS == number, key
                members = value[::2] if kind in SORTED_SETS else value if kind else ()
                assert {bucket_of_member(kind, member.decode()) % PARTITIONS for member in members} <= {number}, key
                numbers |= {number} if bucket is not None else set()
        pending = sum(int(client.get(f"{root}p:{each}:pending") or 0) for each in PLUGINS if keys.root(each) == root)
        assert int(client.hget(key_in(partition_root(number), "pending"), "count") or 0) == pending
    assert len(numbers) > 1, "the plugins of this test are in several partitions"


def assert_all_goes_on(runtime, held):
    """Check that a process finds every call where it was, and can do with it what could be done before."""
    assert runtime.registry.plugins() == sorted(PLUGINS)
    assert len(runtime.api_keys.list()) == len(PLUGINS)
    for plugin, had in held.items():
        store = runtime.store
        states = {ref: store.get(plugin, ref).state for ref in (had.queued, had.parked, had.delayed, had.retrying)}
        assert states == {
            had.queued: State.QUEUED,
            had.parked: State.QUEUED,
            had.delayed: State.QUEUED,
            had.retrying: State.RETRYING,
        }
        assert store.result_of(had.delivered) == b"answer"
        assert trigger(runtime, plugin, "hook", "once") == had.keyed
        ref, token = had.sending
        attempt = Attempt(1, 1, 5, 200, Outcome.ANSWERED, Sent.ANSWERED)
        end = Settlement(ref, token, State.DELIVERED, Outcome.ANSWERED, 200, False, attempt, result=b"late")
        assert store.settle([end]).verdicts
        ended(runtime, [had.queued, trigger(runtime, plugin)])
        assert runtime.policies.traffic(plugin, "told").paused
        resumed = [ref for ready in runtime.policies.resume(plugin, "told") for ref, _ in ready]
        assert had.parked in resumed
        ended(runtime, [had.parked])
        store.cancel(had.delayed, plugin=plugin)
        assert store.get(plugin, had.delayed).state is State.CANCELLED
        assert runtime.replays.get(plugin, had.replay).replay_id == had.replay
        listed = {row.reference_id for row in runtime.listing.page(plugin, Filter(), limit=50).rows}
        assert {had.queued, had.failed, had.delivered, ref} <= listed
    callbacks = Callbacks(runtime.client)
    told = [each for ends in runtime.partitions.ask(lambda number: callbacks.take(number, 100)) for each in ends]
    assert {each.plugin for each in told} == set(PLUGINS)


def test_every_key_of_a_partition_is_a_plugin_s_or_shared_or_stays():
    parts = {"plugin": "p", "webhook": "w", "ref": new_reference_id("p"), "replay": new_reference_id("p")}
    more = dict.fromkeys(
        ("kind", "minute", "hour", "process", "request", "revision", "mac", "plan", "lane", "secret", "subject"), "1"
    )
    for kind, template in PARTITIONED.items():
        tail = template.format(**parts, **more)
        found = (bucket_of_key(tail) == bucket_of_plugin("p"), shared_kind(tail) == kind, kind in STAYING)
        assert sum(found) == 1, f"{kind} belongs into relay/store/keys/buckets.py, or into the list above"


def test_all_is_divided_and_goes_on(client, relay, held):
    before, had = together(client), StoreCounts.read(client, keyspace.SINGLE)
    waiting = key_in(ROOT, "waiting", lane="bulk")
    in_order = client.lrange(waiting, 0, -1)
    divide(client)
    for number in range(PARTITIONS):
        ours = [ref for ref in in_order if keyspace.Keyspace(PARTITIONS).partition_of_ref(ref.decode()) == number]
        assert client.lrange(key_in(partition_root(number), "waiting", lane="bulk"), 0, -1) == ours
    assert together(client) == before
    assert_all_lie_where_they_belong(client)
    assert StoreCounts.read(client, keyspace.Keyspace(PARTITIONS)) == had
    assert had.plugins == len(PLUGINS)
    assert had.records > 9 * len(PLUGINS)
    assert_all_goes_on(relay(PARTITIONS), held)
    with pytest.raises(SettingsError, match=f"RELAY_PARTITIONS is 1, but the store has {PARTITIONS}"):
        agree_on_partitions(client, 1)


class Killed(BaseException):
    """Simulates kill -9: nothing runs after it, not even an ``except Exception``."""


class Stopping:
    """Stops the process at its n-th request to a server: before it, in the middle of it, or once it was sent."""

    def __init__(self, monkeypatch):
        self.count, self.at, self.sent = 0, 0, ""
        send = Connection.send_packed_command

        def counting(connection, command, check_health=True):
            self.count += 1
            if self.count != self.at:
                send(connection, command, check_health)
                return
            whole = b"".join([command] if isinstance(command, bytes) else command)
            part = {"nothing": b"", "half": whole[: len(whole) // 2], "all": whole}[self.sent]
            send(connection, [part] if part else [], check_health)
            connection.disconnect()
            raise Killed

        monkeypatch.setattr(Connection, "send_packed_command", counting)

    def at_step(self, number, sent):
        self.count, self.at, self.sent = 0, number, sent


@pytest.mark.parametrize("sent", ["nothing", "half", "all"])
def test_a_division_that_is_killed_at_any_step_is_completed_by_the_next(client, held, monkeypatch, valkey, sent):
    monkeypatch.setattr(dividing, "_PIECE", PIECE)
    kept, before, stopping = keep(client), together(client), Stopping(monkeypatch)
    steps, was_killed, marked = 0, True, 0
    while was_killed:
        steps += 1
        with (
            client_of(valkey.tcp_url, socket_timeout=ANSWER_S) as doomed,
            client_of(valkey.tcp_url, socket_timeout=ANSWER_S) as other,
        ):
            stopping.at_step(steps, sent)
            try:
                divide(doomed)
                was_killed = False
            except Killed:
                pass
            stopping.at_step(0, sent)
            wait_until(lambda: not busy(client), 10)
            assert together(client) == before, steps
            if (client.get(keyspace.shared("partitions")) or b"").startswith(b"dividing"):
                marked += 1
                for number in (1, PARTITIONS):
                    with pytest.raises(SettingsError, match=f"again: relay partitions divide {PARTITIONS}"):
                        agree_on_partitions(other, number)
            divide(other)
            assert together(client) == before, steps
            assert_all_lie_where_they_belong(client)
            put_back(client, kept)
    assert steps > marked > 20


def busy(client):
    """Return whether the server has a client whose connection is closing with commands that were not run yet."""
    return any(int(each["qbuf"]) and each["cmd"] != "client|list" for each in client.client_list())


def test_a_worker_or_an_api_process_that_runs_is_named_and_nothing_is_changed(client, relay, held):
    before = everything(client)
    client.zadd(keyspace.shared("workers"), {"bulk1@here": time_ms(client)})
    with pytest.raises(Conflict, match=r"Still running: worker bulk1@here\. Stop every process"):
        divide(client)
    client.zadd(keyspace.shared("workers"), {"bulk1@here": time_ms(client) - SILENT_MS - 1})
    client.zadd(keyspace.shared("workers"), {"ahead@here": time_ms(client) + ALIVE_MS})  # the clock was set back since
    stop, begun = threading.Event(), threading.Event()
    door = threading.Thread(target=relay().subscribe("door-1").run, args=(lambda _: None, begun.set, stop))
    door.start()
    try:
        assert begun.wait(10)
        with pytest.raises(Conflict, match=r"Still running: API process door-1\. Stop"):
            divide(client)
    finally:
        stop.set()
        door.join()
    client.delete(keyspace.shared("workers"))
    wait_until(lambda: not client.pubsub_channels(keyspace.notice("*")), 10)
    assert everything(client) == before
    divide(client)


@pytest.mark.parametrize(("count", "more"), [(1, ""), (10, ""), (11, " and 1 more"), (25, " and 15 more")])
def test_the_first_ten_processes_that_run_are_named_and_how_many_more_there_are(client, held, count, more):
    names = [f"w{number:02}@here" for number in range(count)]
    now_ms = time_ms(client)
    beats = dict(zip(names, (now_ms + (-1) ** number * number * 100 for number in range(count)), strict=True))
    client.zadd(keyspace.shared("workers"), {**beats, "before a jump": now_ms + 10 * SILENT_MS})
    with pytest.raises(Conflict) as caught:
        divide(client)
    named = ", ".join(f"worker {name}" for name in names[:10])
    assert caught.value.message.startswith(f"Still running: {named}{more}. Stop every process")
    client.delete(keyspace.shared("workers"))


def test_a_division_that_was_interrupted_does_not_go_on_while_a_process_runs(client, held):
    division = Division(client, PARTITIONS)
    assert division.begin()
    next(division.steps())
    before = everything(client)
    client.zadd(keyspace.shared("workers"), {"bulk1@here": time_ms(client)})
    with pytest.raises(Conflict, match=r"Still running: worker bulk1@here"):
        divide(client)
    client.delete(keyspace.shared("workers"))
    assert everything(client) == before
    divide(client)
    assert_all_lie_where_they_belong(client)


def time_ms(client):
    seconds, micros = client.time()
    return seconds * 1000 + micros // 1000


def test_a_process_that_starts_just_before_the_mark_is_noticed_and_the_mark_taken_back(client, monkeypatch):
    before, read = everything(client), StoreCounts.read

    def starting(*given):
        client.zadd(keyspace.shared("workers"), {"late@here": time_ms(client)})
        return read(*given)

    monkeypatch.setattr(StoreCounts, "read", starting)
    with pytest.raises(Conflict, match="worker late@here"):
        divide(client)
    client.delete(keyspace.shared("workers"))
    assert everything(client) == before


@pytest.mark.parametrize("phase", [phase for phase in Phase if Epoch(phase=phase).is_fenced])
def test_a_store_that_is_being_restored_is_not_divided_and_nothing_is_changed(client, relay, phase):
    epochs = relay().epochs
    epochs.write(Epoch(1, phase, "b1"))
    epochs.fence(1)
    before = everything(client)
    with pytest.raises(Conflict, match="end that first, with `relay restore finish`"):
        divide(client)
    assert everything(client) == before
    epochs.open(0)
    epochs.write(Epoch(1, Phase.FINISHED, "b1"))
    divide(client)
    assert relay(PARTITIONS).epochs.fenced_partitions() == []


def test_a_restore_that_begins_just_before_the_mark_is_noticed_and_the_mark_taken_back(client, relay, monkeypatch):
    epochs, read = relay().epochs, StoreCounts.read

    def beginning(*given):
        epochs.write(Epoch(1, Phase.COPYING, "b1"))
        return read(*given)

    monkeypatch.setattr(StoreCounts, "read", beginning)
    with pytest.raises(Conflict, match="end that first"):
        divide(client)
    assert not client.exists(keyspace.shared("partitions"))


def test_a_fence_stays_if_a_division_had_begun_with_it(client, relay):
    relay().epochs.fence(7)  # without an epoch, so that it begins, as an older release did
    Division(client, PARTITIONS).begin()
    divide(client)
    assert relay(PARTITIONS).epochs.fenced_partitions() == list(range(PARTITIONS))


def test_the_number_is_permanent_once_it_is_chosen(client):
    division = Division(client, PARTITIONS)
    assert division.begin()
    with pytest.raises(Conflict, match=f"is being divided into {PARTITIONS} partitions"):
        divide(client, PARTITIONS + 1)
    divide(client)
    with pytest.raises(Conflict, match=f"has {PARTITIONS} partitions, and their number is permanent"):
        divide(client, PARTITIONS + 1)
    assert divide(client) == 0, "it was done before"


def test_a_cluster_is_not_divided_and_nothing_is_changed(cluster_node):
    with client_of(cluster_node.tcp_url.replace("redis://", "redis+cluster://"), socket_timeout=ANSWER_S) as client:
        client.flushall()
        with pytest.raises(BadParameter, match="is a cluster"):
            divide(client)
        assert client.keys("*") == []


def test_what_another_process_has_written_meanwhile_is_not_overwritten(client):
    plugin = next(name for name in PLUGINS if keyspace.Keyspace(PARTITIONS).partition_of(name))
    taken = keyspace.Keyspace(PARTITIONS).of_plugin("webhooks", plugin)
    client.hset(taken, "other", 1)
    with pytest.raises(Conflict, match=f"and `{re.escape(taken)}` exist: delete one of them"):
        divide(client)
    client.delete(taken)
    divide(client)


def test_a_key_that_is_gone_before_it_is_renamed_hides_no_name_that_is_taken(client, monkeypatch):
    keys = keyspace.Keyspace(PARTITIONS)
    plugin = next(name for name in PLUGINS if keys.partition_of(name))
    names = [keyspace.SINGLE.of_plugin(kind, plugin) for kind in ("replays", "webhooks", "secret_names")]
    client.hset(names[1], "hook", 1)
    division = Division(client, PARTITIONS)
    division.begin()
    assert division.size() == client.dbsize() > 1
    listed = [[name.encode() for name in names], []]
    monkeypatch.setattr(client, "scan_iter", lambda **_: iter(listed.pop(0)))
    assert sum(division.steps()) == 3
    assert client.exists(keys.of_plugin("webhooks", plugin))
    client.hset(names[1], "other", 1)
    listed.append([name.encode() for name in names])
    with pytest.raises(Conflict, match="delete one of them"):
        list(division.steps())


def test_what_comes_while_a_store_is_divided_is_moved_too(valkey):
    keys = keyspace.Keyspace(PARTITIONS)
    plugin = next(name for name in PLUGINS if keys.partition_of(name))
    with client_of(valkey.tcp_url, socket_timeout=ANSWER_S) as client:
        client.hset(keyspace.SINGLE.of_plugin("webhooks", plugin), "hook", 1)
        division = Division(client, PARTITIONS)
        division.begin()
        steps = division.steps()
        next(steps)
        client.hset(keyspace.SINGLE.of_plugin("policy", plugin, webhook="hook"), "concurrency", 1)
        assert list(steps)
        assert client.exists(keys.of_plugin("policy", plugin, webhook="hook"))


def test_counts_that_differ_leave_the_mark(client):
    division = Division(client, PARTITIONS)
    division.begin()
    assert sum(division.steps())
    client.zadd(key_in(partition_root(0), "due_queued", lane="bulk"), {new_reference_id("acme"): 1})
    with pytest.raises(Conflict, match="Another process has used the store meanwhile"):
        division.finish()
    with pytest.raises(SettingsError):
        agree_on_partitions(client, PARTITIONS)


def test_who_has_waited_for_the_server_serves_nobody_while_it_is_divided(client, valkey, monkeypatch):
    Division(client, PARTITIONS).begin()
    settings = Settings.from_environ({"RELAY_REDIS_URL": valkey.tcp_url, "RELAY_DATA_KEYS": Vault.new_key_text()})
    monkeypatch.setattr("relay.store.partitions.number.agree_on_partitions", _unavailable)  # it was away at the start
    runtime = Runtime(settings, holds_target_keys=False)
    with pytest.raises(Unavailable, match="is being divided into 4 partitions"):
        runtime.registry.plugins()
    runtime.close()


def _unavailable(*_):
    raise Unavailable


def test_a_user_without_the_rights_is_told_so(client, valkey):
    client.execute_command("ACL", "SETUSER", "some", "on", ">p", "~*", "+@all", "-renamenx")
    try:
        with (
            client_of(valkey.tcp_url.replace("://", "://some:p@"), socket_timeout=ANSWER_S) as other,
            pytest.raises(SettingsError, match="all rights"),
        ):
            divide(other)
    finally:
        client.execute_command("ACL", "DELUSER", "some")
    divide(client)
