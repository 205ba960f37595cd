"""Calls of several partitions, which are claimed and counted together as those of each partition are alone."""

from __future__ import annotations

import logging
import time
from itertools import chain, combinations

import pytest
from redis.cluster import RedisCluster
from redis.exceptions import ConnectionError as ServerGone
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as ServerSilent

from relay.audit.entry import Act, AuditEntry, entry_from
from relay.domain.invocation import Attempt, Outcome, Sent, State
from relay.domain.reference_id import new_reference_id
from relay.errors import StoreFault, Unavailable
from relay.store.counts.backlog import Backlog
from relay.store.counts.measures import Measures, Sweeps
from relay.store.counts.notes import HOUR_MS
from relay.store.keys.keyspace import Keyspace
from relay.store.keys.names import SHARED_ROOT, key_in, partition_root
from relay.store.ledger.acceptance import AcceptVerdict, NewInvocation
from relay.store.ledger.invocations import InvocationStore
from relay.store.ledger.transitions import Settlement
from relay.store.partitions import reachable
from relay.store.partitions import states as states_module
from relay.store.partitions.reachable import ask_first, ask_partitions
from relay.store.partitions.states import PartitionState, partition_states
from relay.store.server import fields as fields_module
from relay.store.trail.trail import Trail
from relay.store.trail.writer import AuditWriter
from tests.contract.ledger import LIMITS

KEYS = Keyspace(2)
ROLES = ("take", "full", "park")
#: What a partition has of the claim.
PARTS = tuple(chain.from_iterable(combinations(ROLES, count) for count in range(1, len(ROLES) + 1)))


@pytest.fixture
def store(redis_client):
    return InvocationStore(redis_client, LIMITS, lease_margin_ms=10_000, keys=KEYS)


def plugins_of(partition, count):
    names = (f"plugin-{number}" for number in range(100))
    return [name for name in names if KEYS.partition_of(name) == partition][:count]


def waiting_calls(client, store, plugin, roles):
    """Accept a call for each role, of a webhook with room for one more than runs; return their ids by role."""
    client.hset(KEYS.of_plugin("webhooks", plugin), "hook", 1)
    client.hset(KEYS.of_plugin("policy", plugin, webhook="hook"), "concurrency", 2)
    news = [NewInvocation(new_reference_id(plugin), plugin, "hook", 1, "bulk", 20_000) for _ in range(1 + len(roles))]
    running, *refs = [answer.reference_id for answer in store.accept(news, ())[0]]
    assert store.claim([running], f"before-{plugin}").granted == {running}
    return dict(zip(roles, refs, strict=True))


def claimed(store, token, groups):
    """Claim all of these together; return what became of each, by partition and role."""
    asked = {role: [refs[role] for refs in groups if role in refs] for role in ROLES}
    said = store.claim(asked["take"], token, full=asked["full"], park=asked["park"])
    ready = {ref for ref, _ in said.ready}
    names = {ref: (store.keys.partition_of_ref(ref), role) for refs in groups for role, ref in refs.items()}
    return {names[ref]: (ref in said.granted, ref in said.parked, ref in ready) for ref in names}


@pytest.mark.parametrize("first", PARTS, ids="+".join)
def test_a_claim_in_two_partitions_is_what_claims_in_each_are(redis_client, store, first):
    plugins = zip(plugins_of(0, 2 * len(PARTS)), plugins_of(1, 2 * len(PARTS)), strict=True)
    for second in PARTS:
        together, alone = (
            [
                waiting_calls(redis_client, store, plugin, roles)
                for plugin, roles in zip(pair, (first, second), strict=True)
            ]
            for pair in (next(plugins), next(plugins))
        )
        expected = claimed(store, "t1", alone[:1]) | claimed(store, "t2", alone[1:])
        assert claimed(store, "t3", together) == expected, second


def test_where_there_is_nothing_to_do_nothing_is_asked(redis_client, store):
    assert Measures(redis_client, KEYS).add_all("w1", {}) == []
    assert store.waiting.queue((), lambda *_: ()) == []
    assert AuditWriter(redis_client, KEYS).write_all([]) == []
    assert store.accept([], ()) == ([], [])
    assert (store.settle([]).verdicts, store.release([], "t"), store.read([])) == ((), (), [])


@pytest.mark.parametrize("older", [0, 1])
def test_the_oldest_call_of_any_partition_is_a_lane_s_oldest(redis_client, store, older):
    for partition in range(2):
        (plugin,) = plugins_of(partition, 1)
        redis_client.hset(KEYS.of_plugin("webhooks", plugin), "hook", 1)
        new = NewInvocation(new_reference_id(plugin), plugin, "hook", 1, "bulk", 20_000)
        (answer,) = store.accept([new], ())[0]
        if partition == older:
            redis_client.hincrby(KEYS.of_ref("record", answer.reference_id), "createdAt", -HOUR_MS)
    (found,) = Backlog(redis_client, KEYS).of(["bulk"])
    assert (found.pending, found.oldest_ms >= HOUR_MS) == (2, True)


@pytest.mark.parametrize("old", [(0, 0), (2, 0), (0, 2), (1, 1), (2, 2)])
def test_whether_more_is_waiting_to_be_ended_is_said_for_every_partition(redis_client, store, old):
    for partition, count in enumerate(old):
        (plugin,) = plugins_of(partition, 1)
        redis_client.hset(KEYS.of_plugin("webhooks", plugin), "hook", 1)
        news = [
            NewInvocation(new_reference_id(plugin), plugin, "hook", 1, "bulk", 20_000, max_age_ms=1)
            for _ in range(count)
        ]
        store.accept(news, ()) if news else None
    time.sleep(0.005)
    ended, more, _ = store.expire(limit=1)
    assert (ended, more) == (sum(map(bool, old)), max(old) > 1)


@pytest.mark.parametrize("error", [ServerSilent(), ServerGone()])
def test_the_one_server_of_all_partitions_is_not_waited_for_again_once_it_was_silent(redis_client, error):
    asked = []

    def ask(number):
        asked.append(number)
        if number == 1:
            raise Unavailable from error
        return number

    if isinstance(error, ServerSilent) and not isinstance(redis_client, RedisCluster):
        with pytest.raises(Unavailable):
            ask_partitions(redis_client, Keyspace(4), ask)
        assert asked == [0, 1]
    else:
        answers = ask_partitions(redis_client, Keyspace(4), ask)
        assert (list(answers), list(answers.silent), answers.complete) == ([0, 2, 3], [1], False)


@pytest.mark.parametrize("silent", [None, 0, 1])
def test_sweeps_are_counted_in_all_partitions_or_not_at_all(redis_client, monkeypatch, silent):
    for number, sweeps in enumerate((3, 5)):
        key = key_in(partition_root(number), "sweeps")
        redis_client.hset(key, mapping={"sweeps": sweeps, "published": 10 * sweeps})
    measures = Measures(redis_client, KEYS)
    read = measures._numbers

    def answer(keys):
        if silent is not None and keys[0].startswith(partition_root(silent)):
            raise Unavailable
        return read(keys)

    monkeypatch.setattr(measures, "_numbers", answer)
    assert measures.sweeps() == (Sweeps(8, 80) if silent is None else None)


@pytest.mark.parametrize("silent", [(), (0,), (1,), (0, 1)])
def test_calls_wait_for_a_worker_in_each_partition_that_answers(store, monkeypatch, silent):
    plugins, run = [plugins_of(partition, 1)[0] for partition in range(2)], store.waiting._scripts.run
    ready = tuple((new_reference_id(plugin), "bulk") for plugin in plugins)
    told = {}

    def answer(name, args, root):
        if root in {partition_root(partition) for partition in silent}:
            raise Unavailable
        told[root] = args[3:]
        return run(name, args, root)

    def messages(lanes, partition):
        return [(lane, b"") for lane in lanes]

    monkeypatch.setattr(store.waiting._scripts, "run", answer)
    if len(silent) == 2:
        with pytest.raises(Unavailable):
            store.waiting.queue(ready, messages)
        return
    left = [partition for partition in range(2) if partition not in silent]
    assert store.waiting.queue(ready, messages) == [("bulk", partition) for partition in left]
    assert told == {partition_root(partition): [ready[partition][0]] for partition in left}


SEVERAL = Keyspace(3)


@pytest.fixture
def wide(redis_client):
    """A store with three partitions, and a plugin with a webhook in each."""
    store = InvocationStore(redis_client, LIMITS, lease_margin_ms=10_000, keys=SEVERAL)
    names = [f"plugin-{number}" for number in range(100)]
    plugins = [next(name for name in names if SEVERAL.partition_of(name) == number) for number in range(3)]
    for plugin in plugins:
        redis_client.hset(SEVERAL.of_plugin("webhooks", plugin), "hook", 1)
        redis_client.sadd(SEVERAL.of_plugin("plugins", plugin), plugin)
    return store, plugins


def made(plugin, **changes):
    fields = {"revision": 1, "lane": "bulk", "timeout_ms": 20_000, "payload": b"\x01" + plugin.encode(), **changes}
    return NewInvocation(new_reference_id(plugin), plugin, "hook", **fields)


def in_turn(plugins, count):
    return [plugins[number % len(plugins)] for number in range(count)]


def test_each_trigger_of_several_partitions_gets_its_own_answer_and_each_lane_its_message(wide):
    store, plugins = wide
    news = [made(plugin, revision=number % 2 + 1) for number, plugin in enumerate(in_turn(plugins, 12))]
    answers, messages = store.accept(news, [("bulk", b"")])
    stale, fine = AcceptVerdict.STALE, AcceptVerdict.ACCEPTED
    assert [each.verdict for each in answers] == [stale if new.revision == 2 else fine for new in news]
    assert [each.reference_id for each in answers if each.verdict is fine] == [
        new.reference_id for new in news if new.revision == 1
    ]
    assert sorted(messages) == [("bulk", partition) for partition in range(3)]


def test_calls_of_several_partitions_are_read_settled_and_released_each_as_it_stands(redis_client, wide):
    store, plugins = wide
    news = [made(plugin) for plugin in in_turn(plugins, 9)]
    refs = [answer.reference_id for answer in store.accept(news, ())[0]]
    claimed = store.claim(refs[:6], "mine")
    assert claimed.granted == claimed.waited_ms.keys() == set(refs[:6])
    assert {each.reference_id: each.payload for each in store.read(refs)} == {
        new.reference_id: new.payload for new in news
    }
    attempt = Attempt(1, 1_700_000_000_000, 5, 200, Outcome.ANSWERED, Sent.ANSWERED)
    settled = store.settle(
        [
            Settlement(ref, token, State.DELIVERED, Outcome.ANSWERED, 200, False, attempt)
            for ref, token in zip(refs[:4], ("mine", "other", "mine", "mine"), strict=True)
        ]
    )
    assert settled.verdicts == (True, False, True, True)
    assert sorted(ref for ref, _ in store.release(refs[:6], "mine")) == sorted([refs[1], refs[4], refs[5]])
    assert {each.reference_id for each in store.read(refs)} == {refs[1], *refs[4:]}


def test_a_sweep_takes_the_alarms_of_every_partition_and_prunes_its_old_records(redis_client, wide):
    store, plugins = wide
    refs = [answer.reference_id for answer in store.accept([made(plugin) for plugin in plugins * 2], ())[0]]
    for ref in refs:
        redis_client.zadd(key_in(SEVERAL.root_of_ref(ref), "due_queued", lane="bulk"), {ref: 1})
    assert sorted(ref for ref, _ in store.sweep(limit=10)) == sorted(refs)
    for ref in refs:
        store.cancel(ref)
        redis_client.zadd(key_in(SEVERAL.root_of_ref(ref), "expiry"), {ref: 1})
    assert [store.prune(limit=1), store.prune(limit=10), store.prune(limit=10)] == [3, 3, 0]


@pytest.mark.parametrize("silent", [(), (1,), (0, 2), ("shared",), (0, "shared")])
def test_entries_of_the_audit_trail_whose_partition_is_silent_are_returned_and_the_others_written(
    redis_client, wide, monkeypatch, silent
):
    plugins = wide[1]
    writer, wanted = AuditWriter(redis_client, SEVERAL), [*in_turn(plugins, 6), "", ""]
    run, roots = writer._scripts.run, {SHARED_ROOT if each == "shared" else partition_root(each) for each in silent}

    def answer(name, args, root):
        if root in roots:
            raise Unavailable
        return run(name, args, root)

    monkeypatch.setattr(writer._scripts, "run", answer)
    entries = [AuditEntry(0, Act.REQUEST, "k1", plugin, f"s{number}") for number, plugin in enumerate(wanted)]
    left = writer.write_all(entries)
    root_of = {each.subject: SEVERAL.root(each.plugin) if each.plugin else SHARED_ROOT for each in entries}
    assert {each.subject for each in left} == {subject for subject, root in root_of.items() if root in roots}
    for root in {*root_of.values()} - roots:
        written = [entry_from(entry).subject for entry in Trail(redis_client, root).end().entries]
        assert written == [subject for subject, its_root in root_of.items() if its_root == root]


def test_each_partition_says_what_it_has_and_what_is_damaged_is_not_known(redis_client, wide, events_of):
    store, plugins = wide
    told = events_of(fields_module)
    fields_module.tell_damage.cache_clear()
    store.accept([made(plugins[number]) for number in (0, 1, 1, 2, 2, 2)], ())
    redis_client.sadd(SEVERAL.of_plugin("plugins", plugins[1]), plugins[1], "not a plugin")

    def states():
        found = partition_states(redis_client, SEVERAL)
        assert [each.root for each in found] == [partition_root(number) for number in range(3)]
        return [(each.number, each.plugins, each.pending, each.records) for each in found]

    expected = [(number, (plugin,), number + 1, number + 1) for number, plugin in enumerate(plugins)]
    assert states() == expected
    redis_client.hset(key_in(partition_root(1), "pending"), "count", "x")
    redis_client.delete(SEVERAL.of_plugin("plugin_index", plugins[2]))
    redis_client.set(SEVERAL.of_plugin("plugin_index", plugins[2]), "planted")
    assert states() == [expected[0], (1, (plugins[1],), None, 2), (2, (plugins[2],), 3, None)]
    damaged = [
        (SEVERAL.of_plugin("plugins", plugins[1]), "not a plugin"),
        (key_in(partition_root(1), "pending"), "count"),
    ]
    assert told == [("value_damaged", {"level": logging.ERROR, "key": key, "field": name}) for key, name in damaged]


def test_of_a_partition_that_is_silent_only_its_number_is_known(redis_client, wide, monkeypatch):
    read, known = states_module.plugins_in, partition_states(redis_client, SEVERAL)

    def answer(client, number):
        if number == 1:
            raise Unavailable
        return read(client, number)

    monkeypatch.setattr(states_module, "plugins_in", answer)
    assert partition_states(redis_client, SEVERAL) == [known[0], PartitionState(1, partition_root(1), None), known[2]]


@pytest.mark.parametrize("away", ["", "0", "0 1"])
@pytest.mark.parametrize("servers", [1, 2])
def test_partitions_are_asked_one_after_another_where_the_shared_keys_are_silent_and_are_on_another_server(
    redis_client, monkeypatch, servers, away
):
    silent, asked = {SHARED_ROOT, *map(partition_root, map(int, away.split()))}, []
    monkeypatch.setattr(reachable, "primaries_of", lambda _: range(servers))

    def ask(root):
        asked.append(root)
        if root in silent:
            raise Unavailable(root)
        return root

    every = [SHARED_ROOT, *map(partition_root, range(3))] if servers > 1 else [SHARED_ROOT]
    expected = next((each for each in every if each not in silent), None)
    if expected is None:
        with pytest.raises(Unavailable, match=every[-1]):
            ask_first(redis_client, SEVERAL, ask)
        assert asked == every
    else:
        assert ask_first(redis_client, SEVERAL, ask) == expected
        assert asked == every[: every.index(expected) + 1]


@pytest.mark.parametrize("error", [StoreFault(), Unavailable()])
def test_a_server_that_refuses_is_no_reason_to_ask_another(redis_client, monkeypatch, error):
    asked = []
    monkeypatch.setattr(reachable, "primaries_of", lambda _: range(2))

    def refuse(root):
        asked.append(root)
        raise error from (ResponseError() if isinstance(error, Unavailable) else None)

    with pytest.raises(type(error)):
        ask_first(redis_client, SEVERAL, refuse)
    assert asked == [SHARED_ROOT]
