"""A store of sixteen partitions on three primaries: every plugin's calls work as on a single server."""

from __future__ import annotations

import threading
import uuid

import pytest

from relay.audit.signing_keys import AuditSigner, new_private_text
from relay.domain.invocation import Attempt, Outcome, Sent, State
from relay.domain.reference_id import new_reference_id
from relay.errors import SettingsError, Unavailable
from relay.store.api_keys.keys import ApiKeys
from relay.store.backups.epoch import Epochs
from relay.store.counts.backlog import Backlog
from relay.store.counts.measures import Measures
from relay.store.decisions.chain import GONE, key_subject
from relay.store.decisions.decisions import Decisions
from relay.store.decisions.every import EveryDecision
from relay.store.health.workers import Workers
from relay.store.keys import keyspace as shared
from relay.store.keys.keyspace import Keyspace
from relay.store.keys.names import SHARED_ROOT, key_in, partition_root
from relay.store.ledger.acceptance import AcceptVerdict, NewInvocation
from relay.store.ledger.invocations import InvocationStore
from relay.store.ledger.listing import Filter, Listing
from relay.store.ledger.notices import Subscription, read_notices
from relay.store.ledger.policies import Policies
from relay.store.ledger.transitions import Settlement
from relay.store.partitions.number import agree_on_partitions
from relay.store.registry.webhooks import Registry
from relay.store.scripting.scripts import Scripts
from relay.store.server.connection import client_of
from relay.store.server.replicas import primaries_of, require_replicas
from relay.store.trail.trail import trails
from relay.upkeep.checkpointing import Checkpointing
from relay.vault import Vault
from tests.cluster.slots import halfway, slot_of
from tests.contract.ledger import LIMITS
from tests.timing import ANSWER_S, wait_until

PLUGINS = [f"plugin-{number}" for number in range(12)]
KEYS = Keyspace(16)
LANES = ("interactive", "bulk", "replay")


@pytest.fixture
def client(three_nodes):
    client = client_of(three_nodes.url, socket_timeout=ANSWER_S)
    client.flushall(target_nodes="primaries")
    for plugin in PLUGINS:
        client.hset(KEYS.of_plugin("webhooks", plugin), "hook", 1)
        client.sadd(key_in(partition_root(KEYS.partition_of(plugin)), "plugins"), plugin)
    yield client
    client.close()


@pytest.fixture
def store(client):
    return InvocationStore(client, LIMITS, lease_margin_ms=10_000, keys=KEYS)


def new_call(plugin, **more):
    given = {"timeout_ms": 1_000, "payload": b"sealed", "request_bytes": 6} | more
    return NewInvocation(new_reference_id(plugin), plugin, "hook", 1, "bulk", **given)


def settlement(ref, token):
    attempt = Attempt(1, 1, 5, 200, Outcome.ANSWERED, Sent.ANSWERED)
    return Settlement(ref, token, State.DELIVERED, Outcome.ANSWERED, 200, False, attempt, result=b"answer")


def test_plugins_are_on_every_primary(client):
    nodes = {client.get_node_from_key(KEYS.root(plugin)).name for plugin in PLUGINS}
    assert len(nodes) == 3


def test_an_id_tells_the_partition_of_its_plugin():
    for plugin in PLUGINS:
        assert KEYS.root_of_ref(new_reference_id(plugin)) == KEYS.root(plugin)


def test_a_group_of_many_plugins_is_accepted_claimed_and_settled_as_one(store):
    news = [new_call(PLUGINS[number % 12]) for number in range(36)]
    accepted, published = store.accept(news, [])
    assert [each.reference_id for each in accepted] == [new.reference_id for new in news]
    assert {each.verdict for each in accepted} == {AcceptVerdict.ACCEPTED}
    assert not published
    refs = [new.reference_id for new in news]
    assert {each.reference_id for each in store.read(refs)} == set(refs)
    token = uuid.uuid4().hex
    assert store.claim(refs[:30], token, park=refs[30:]).granted == set(refs[:30])
    settled = store.settle(
        [settlement(ref, token if place % 2 else "another's") for place, ref in enumerate(refs[:30])]
    )
    assert settled.verdicts == tuple(bool(place % 2) for place in range(30))
    for place, ref in enumerate(refs[:30]):
        assert store.find(ref).state is (State.DELIVERED if place % 2 else State.SENDING)


def test_a_lost_message_of_any_partition_is_found_by_one_sweep(store, client):
    news = [new_call(plugin) for plugin in PLUGINS]
    store.accept(news, [])
    for new in news:
        client.zadd(
            key_in(partition_root(KEYS.partition_of(new.plugin)), "due_queued", lane="bulk"), {new.reference_id: 1}
        )
    ready = store.sweep(limit=100)
    assert {ref for ref, _ in ready} == {new.reference_id for new in news}


def test_age_and_retention_end_what_is_old_in_every_partition(store, client):
    news = [new_call(plugin) for plugin in PLUGINS]
    store.accept(news, [])
    for new in news:
        client.hset(KEYS.of_ref("record", new.reference_id), "endBy", 1)
        client.zadd(KEYS.of_plugin("open", new.plugin, webhook="hook"), {new.reference_id: 1})
        client.zadd(key_in(KEYS.root(new.plugin), "ages"), {f"{new.plugin}/hook": 1})
    ended, _, _ = store.expire(limit=100)
    assert ended == len(news)
    for new in news:
        assert store.find(new.reference_id).outcome is Outcome.EXPIRED
        client.zadd(key_in(KEYS.root(new.plugin), "expiry"), {new.reference_id: 1})
    assert store.prune(limit=100) == len(news)
    assert client.exists(*(KEYS.of_ref("record", news[0].reference_id),)) == 0


def test_listings_counts_and_backlog_are_of_all_partitions(store, client):
    news = [new_call(plugin) for plugin in PLUGINS]
    store.accept(news, [])
    assert Backlog(client, KEYS).of(["bulk"])[0].pending == len(news)
    for new in news[:3]:
        rows = Listing(client, KEYS).page(new.plugin, Filter()).rows
        assert [row.reference_id for row in rows] == [new.reference_id]
        assert [group.count for group in Listing(client, KEYS).groups(new.plugin, Filter())] == [1]
    measures = Measures(client, KEYS)
    measures.count_everything()
    assert all(measures.totals(plugin)["hook", "accepted"] == 1 for plugin in PLUGINS)
    store.sweep(limit=10)
    assert measures.sweeps().sweeps == 16


def test_a_webhook_is_paused_and_resumed_in_its_partition(store, client):
    policies = Policies(client, store, EveryDecision(client, Vault.from_text(Vault.new_key_text()), KEYS), KEYS)
    policies.pause(PLUGINS[0], "hook")
    assert policies.traffic(PLUGINS[0], "hook").paused
    assert not policies.traffic(PLUGINS[1], "hook").paused
    list(policies.resume(PLUGINS[0], "hook"))
    assert not policies.traffic(PLUGINS[0], "hook").paused
    list(policies.close_breaker(PLUGINS[0], "hook"))


def test_keys_are_made_revoked_and_known_to_everybody(client):
    vault = Vault.from_text(Vault.new_key_text())
    keys = ApiKeys(client, vault, KEYS)
    made = [keys.create(plugin, ["trigger"]) for plugin in PLUGINS]
    assert {key.plugin for key in keys.list()} == set(PLUGINS)
    assert keys.authenticate(made[0][0]).plugin == PLUGINS[0]
    keys.revoke(made[0][1].id)
    keys.revoke(made[1][1].id)
    assert {key.id for key in ApiKeys(client, vault, KEYS).list() if key.revoked} == {made[0][1].id, made[1][1].id}
    decisions = Decisions(client, vault, SHARED_ROOT)
    decisions.reseal()
    assert keys.unverified() == ()
    assert {decisions.value(key_subject(key.id)) for _, key in made[:2]}.isdisjoint({"", GONE})
    assert set(Registry(client, vault, keys=KEYS).plugins()) == set(PLUGINS)


def test_the_trail_of_every_root_is_signed(client, store):
    store.accept([new_call(plugin) for plugin in PLUGINS], [])
    signer = AuditSigner(new_private_text())
    for trail in trails(client, KEYS):
        Checkpointing(
            trail, Epochs(client, Vault.from_text(Vault.new_key_text())), signer, "w1", retention_ms=1_000_000
        ).iterate()
    written = [end for trail in trails(client, KEYS) if (end := trail.end()).entries]
    assert sum(len(end.entries) for end in written) >= len(PLUGINS)
    assert all(end.head for end in written)


def test_workers_are_heard_by_everybody(client):
    Workers(client).beat("w1", ["bulk"])
    assert [worker.name for worker in Workers(client).alive()] == ["w1"]


def test_a_notice_reaches_a_subscriber_whatever_primary_the_call_ended_on(store, client):
    told, subscribed, stop = [], threading.Event(), threading.Event()
    subscription = Subscription(client, "api1", KEYS)
    thread = threading.Thread(target=subscription.run, args=(told.append, subscribed.set, stop))
    thread.start()
    try:
        assert subscribed.wait(20)
        news = [new_call(plugin, waiter="api1") for plugin in PLUGINS]
        refs = [new.reference_id for new in news]
        store.accept(news, [])
        store.claim(refs, "t")
        store.settle([settlement(ref, "t") for ref in refs])
        wait_until(lambda: len(told) == len(refs), 20)
        assert {notice.reference_id for notice in told} == set(refs)
    finally:
        stop.set()
        thread.join()


def test_scripts_are_loaded_on_every_primary_that_lacks_them(client):
    client.function_flush()
    for plugin in PLUGINS:
        Scripts(client).run("read", [], KEYS.root(plugin))
    for primary in primaries_of(client):
        assert len(primary.function_list()) == 1


def test_no_script_runs_while_a_slot_is_moved_key_by_key_and_all_do_as_soon_as_it_is(three_nodes, client, store):
    plugin = PLUGINS[0]
    slot = slot_of(KEYS.root(plugin))
    target = (three_nodes.owner(slot) + 1) % 3
    store.accept([new_call(plugin)], [])
    with halfway(three_nodes, slot, target) as (giver, taker):
        before = giver.execute_command("CLUSTER COUNTKEYSINSLOT", slot)
        for replicas in (0, 1):
            require_replicas(client, replicas)
            with pytest.raises(Unavailable):
                InvocationStore(client, LIMITS, lease_margin_ms=10_000, keys=KEYS).accept([new_call(plugin)], [])
        counts = [server.execute_command("CLUSTER COUNTKEYSINSLOT", slot) for server in (giver, taker)]
        assert counts == [before, 0]
        for server in (taker, giver):
            server.execute_command("CLUSTER SETSLOT", slot, "STABLE")
    store.accept([new_call(plugin)], [])
    assert Backlog(client, KEYS).of(["bulk"])[0].pending == 2


def test_another_number_of_partitions_is_refused(client):
    agree_on_partitions(client, 16)
    agree_on_partitions(client, 16)
    with pytest.raises(SettingsError, match="use 16 for every process"):
        agree_on_partitions(client, 8)
    assert int(client.get(shared.shared("partitions"))) == 16


def test_too_few_replicas_are_not_now(client):
    require_replicas(client, 1)
    store = InvocationStore(client, LIMITS, lease_margin_ms=10_000, keys=KEYS)
    with pytest.raises(Unavailable, match="replicas"):
        store.accept([new_call(PLUGINS[0])], [])
    notice = f"{new_reference_id(PLUGINS[0])} delivered answered 200 0 - -1\n".encode()
    assert Subscription(client, "api1", KEYS)._confirmed(list(read_notices(notice))) == []
