"""The chain of decisions on a server: written by many at once, set back, lost by a failover, and repaired."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import replace
from types import SimpleNamespace

import pytest
import redis

from relay.audit.checkpoint import Signed
from relay.audit.entry import Act, AuditEntry
from relay.audit.signing_keys import AuditSigner, new_private_text
from relay.errors import Conflict, NotFound, Unauthenticated, Unavailable
from relay.registration.retrying import RetryPolicy
from relay.store.api_keys.keys import ApiKeys
from relay.store.backups.epoch import Epoch, Epochs, Phase
from relay.store.decisions import decisions as decisions_module
from relay.store.decisions import heads as heads_module
from relay.store.decisions.chain import GONE, PAUSED, key_subject, pause_subject
from relay.store.decisions.decisions import STALE, Decisions
from relay.store.decisions.every import EveryDecision
from relay.store.decisions.heads import ChainHead, Heads
from relay.store.decisions.stored import StoredChain
from relay.store.keys import keyspace
from relay.store.keys.keyspace import Keyspace
from relay.store.keys.names import ROOT, SHARED_ROOT, partition_root, root_name
from relay.store.ledger.policies import Policies
from relay.store.registry.webhooks import Registry
from relay.store.scripting.scripts import Scripts
from relay.store.server import fields as fields_module
from relay.store.server.availability import going_on_without
from relay.store.trail.trail import Trail
from relay.store.trail.writer import AuditWriter
from relay.text.quantities import Rate
from relay.upkeep import watching as watching_module
from relay.upkeep.checkpointing import Checkpointing
from relay.upkeep.watching import Watching, hear_all
from relay.vault import Vault
from tests.contract.ledger import Ledger
from tests.contract.test_registry import a_registration
from tests.store_keys import KEYS
from tests.timing import ANSWER_S

CHAIN = keyspace.decisions(SHARED_ROOT)
WRITERS = [2, 8]


@pytest.fixture
def vault():
    return Vault.from_text(Vault.new_key_text())


def a_chain(client, vault):
    return Decisions(client, vault, SHARED_ROOT)


def decide(chain, **values):
    """Decide about keys, as `ApiKeys` does, without their records."""
    decide_about(chain, {key_subject(key_id): value for key_id, value in values.items()})


def decide_about(chain, changes):
    for end in chain.ends():
        if chain._scripts.run("write_keys", ["", 0, *end.adding(changes)]) != STALE:
            chain.refresh()
            return


def values_of(chain):
    chain.refresh()
    return {subject.removeprefix("key/"): each.value for subject, each in chain._known.items()}


def set_back(client, entries):
    client.delete(CHAIN)
    if entries:
        client.rpush(CHAIN, *entries)


def at_once(count, act):
    """Run ``act(number)`` in as many threads, which start together; raise what one of them raised."""
    start, faults = threading.Barrier(count), []

    def run(number):
        start.wait()
        try:
            act(number)
        except Exception as error:  # noqa: BLE001 - raised again below
            faults.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]


# -- several writers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", WRITERS)
def test_writers_at_the_same_time_leave_one_unbroken_chain_with_every_decision(valkey, vault, count):
    with valkey.client() as client:
        client.flushall()
        at_once(count, lambda number: [decide(a_chain(client, vault), **{f"k{number}": str(n)}) for n in range(10)])
        chain = a_chain(client, vault)
        assert values_of(chain) == {f"k{number}": "9" for number in range(count)}
        assert chain.is_intact
        numbers = [int(entry.split()[0]) for entry in client.lrange(CHAIN, 0, -1)]
        assert numbers == list(range(1, 10 * count + 1))


@pytest.mark.parametrize("count", WRITERS)
def test_keys_that_are_revoked_at_the_same_time_are_all_revoked(valkey, vault, count):
    with valkey.client() as client:
        client.flushall()
        keys = ApiKeys(client, vault)
        made = [keys.create("acme", ["trigger"]) for _ in range(count)]
        at_once(count, lambda number: ApiKeys(client, vault).revoke(made[number][1].id))
        for text, _ in made:
            with pytest.raises(Unauthenticated):
                ApiKeys(client, vault).authenticate(text)
        assert ApiKeys(client, vault).unverified() == ()
        assert all(key.revoked for key in ApiKeys(client, vault).list())


def test_a_key_that_is_rotated_and_revoked_at_the_same_time_is_revoked(valkey, vault):
    with valkey.client() as client:
        for _ in range(10):
            client.flushall()
            text, key = ApiKeys(client, vault).create("acme", ["trigger"])

            def end(number, key=key):
                keys = ApiKeys(client, vault)
                if number:
                    keys.revoke(key.id)
                else:
                    with suppress(NotFound):  # it was revoked first
                        keys.rotate(key.id, 1000)

            at_once(2, end)
            with pytest.raises(Unauthenticated):
                ApiKeys(client, vault).authenticate(text)
            assert ApiKeys(client, vault).unverified() == ()


def test_a_decision_gives_up_where_others_never_end_to_decide(redis_client, vault, monkeypatch):
    monkeypatch.setattr(decisions_module, "_TRY_S", 0.2)
    chain = a_chain(redis_client, vault)
    with pytest.raises(Conflict, match="at the same time"):
        for _ in chain.ends():
            pass


#: Acts that decide something, each with a look at what came of it; both are given registry, keys, a key and policies.
ACTS = {
    "a webhook is registered": (
        lambda registry, *_: registry.apply("acme", [a_registration("new")]),
        lambda registry, *_: registry.current("acme", "new") is not None,
    ),
    "a webhook is removed": (
        lambda registry, *_: registry.remove("acme", "hook"),
        lambda registry, *_: registry.current("acme", "hook") is None,
    ),
    "a secret is set": (
        lambda registry, *_: registry.secrets.set("acme", "NEW", "new-value"),
        lambda registry, *_: registry.secrets.names("acme") == ["NEW", "OLD"],
    ),
    "a secret is removed": (
        lambda registry, *_: registry.secrets.remove("acme", "OLD"),
        lambda registry, *_: registry.secrets.names("acme") == [],
    ),
    "a key is made": (
        lambda _, keys, *__: keys.create("acme", ["trigger"]),
        lambda _, keys, *__: len(keys.list()) == 2,
    ),
    "a key is rotated": (
        lambda _, keys, key, __: keys.rotate(key.id, 60),
        lambda _, keys, *__: [each.expires_at_ms is not None for each in keys.list()] == [True, False],
    ),
    "a key is revoked": (
        lambda _, keys, key, __: keys.revoke(key.id),
        lambda _, keys, *__: keys.list()[0].revoked,
    ),
    "a webhook is paused": (
        lambda *all_parts: all_parts[-1].pause("acme", "hook"),
        lambda *all_parts: all_parts[-1].traffic("acme", "hook").paused,
    ),
}


@pytest.mark.parametrize("act", ACTS)
def test_an_act_that_another_process_overtakes_is_done_nevertheless(redis_client, vault, monkeypatch, act):
    def parts(key=None):
        registry, keys = Registry(redis_client, vault, vault), ApiKeys(redis_client, vault)
        policies = Policies(redis_client, Ledger(redis_client).store, EveryDecision(redis_client, vault))
        return registry, keys, key or keys.create("acme", ["trigger"])[1], policies

    registry, keys, key, policies = parts()
    registry.apply("acme", [a_registration("hook")])
    registry.secrets.set("acme", "OLD", "old-value")
    ends, tried = Decisions.ends, []

    def overtaken(chain):
        for end in ends(chain):
            tried.append(end)
            if len(tried) == 1:
                other = next(ends(Decisions(redis_client, vault, chain.root)))
                redis_client.rpush(keyspace.decisions(chain.root), other.adding({"key/other": "x"})[-1])
            yield end

    monkeypatch.setattr(Decisions, "ends", overtaken)
    do, is_done = ACTS[act]
    do(registry, keys, key, policies)
    assert len(tried) > 1
    assert is_done(*parts(key))


def test_a_repeated_write_adds_its_decision_once(redis_client, vault):
    chain = a_chain(redis_client, vault)
    args = ["", 0, *next(chain.ends()).adding({"key/a": "1"})]
    for _ in range(2):
        assert chain._scripts.run("write_keys", args) == 1
    assert redis_client.llen(CHAIN) == 1
    assert chain._scripts.run("write_keys", ["", 0, 0, "", "1 key/b 1 mac"]) == STALE


# -- older decisions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [*range(4), "another type"])
def test_a_process_goes_by_what_it_remembers_reports_it_and_writes_it_back(
    redis_client, vault, kept, monkeypatch, events_of
):
    told = events_of(decisions_module)
    monkeypatch.setattr(decisions_module, "_NAMED", 3)
    chain = a_chain(redis_client, vault)
    for number in range(4):
        decide(chain, a=str(number), **{f"k{number}": "x"})
    before = values_of(chain)
    if kept == "another type":
        redis_client.delete(CHAIN)
        redis_client.set(CHAIN, "planted")
    else:
        set_back(redis_client, redis_client.lrange(CHAIN, 0, 2 * kept - 1) if kept else [])
    assert values_of(chain) == before
    assert not chain.is_intact
    gone = ["key/a", *(f"key/k{number}" for number in range(kept if isinstance(kept, int) else 0, 4))]
    said = {"level": logging.ERROR, "root": "shared", "what": "restored", "subjects": gone[:3]}
    assert told == [("decisions_breach", said)]
    newcomer = a_chain(redis_client, vault)
    assert values_of(newcomer) != before
    assert chain.repair()
    assert values_of(newcomer) == values_of(chain) == before
    assert newcomer.is_intact
    assert not chain.repair()
    assert b"decisions_restore" in redis_client.lindex(keyspace.audit("entries", SHARED_ROOT), -1)


@pytest.mark.parametrize("index", range(3))
def test_an_entry_that_is_altered_in_the_middle_is_found_by_a_process_that_knows_it(redis_client, vault, index):
    chain = a_chain(redis_client, vault)
    for value in "1234":
        decide(chain, a=value, **{f"k{value}": "x"})
    before = values_of(chain)
    chain.look()
    redis_client.lset(CHAIN, index, redis_client.lindex(CHAIN, index + 1))
    chain._whole_at_s = float("-inf")
    chain.look()
    assert not chain.is_intact
    assert values_of(chain) == before
    assert chain.repair()
    newcomer = a_chain(redis_client, vault)
    assert values_of(newcomer) == before
    assert newcomer.is_intact
    assert not chain.repair()


@pytest.mark.parametrize("written", ["3", "gone"])
def test_nobody_is_believed_about_what_was_decided_on_an_older_chain(redis_client, vault, written):
    """It may be the attacker's doing that somebody decided without what was decided before."""
    chain, late = a_chain(redis_client, vault), a_chain(redis_client, vault)
    decide(chain, a="1")
    kept = redis_client.lrange(CHAIN, 0, -1)
    decide(chain, a="2", b="1")
    assert values_of(late) == {"a": "2", "b": "1"}
    set_back(redis_client, kept)
    decide(a_chain(redis_client, vault), a=written)
    assert (
        values_of(chain)
        == values_of(late)
        == {"a": f"{max('2', written) if written != 'gone' else 2}.in_doubt", "b": "1"}
    )
    assert chain.repair()
    assert values_of(late) == values_of(a_chain(redis_client, vault)) == values_of(chain)
    decide(a_chain(redis_client, vault), a="4")
    assert values_of(late) == values_of(chain) == {"a": "4", "b": "1"}


@pytest.mark.parametrize("decided", [PAUSED, GONE])
@pytest.mark.parametrize("written", [PAUSED, GONE])
def test_a_pause_about_which_an_older_chain_says_something_else_holds(redis_client, vault, decided, written):
    chain = a_chain(redis_client, vault)
    decide(chain, a="1")
    decide_about(chain, {pause_subject("acme", "hook"): decided})
    set_back(redis_client, [])
    decide_about(a_chain(redis_client, vault), {pause_subject("acme", "hook"): written})
    chain.refresh()
    assert chain.paused == {("acme", "hook")}
    assert chain.repair()
    newcomer = a_chain(redis_client, vault)
    newcomer.refresh()
    assert newcomer.paused == {("acme", "hook")}


@pytest.mark.parametrize("server", ["one", "two"])
def test_a_chain_that_was_being_restored_when_it_was_read_is_read_again(redis_client, vault, monkeypatch, server):
    read, run, only = StoredChain.read, ["one"], []

    def answer(self, start):
        last, added, _ = read(self, start)
        return last, added[: only.pop()] if only and start == 0 else added, run[0]

    monkeypatch.setattr(StoredChain, "read", answer)
    chain = a_chain(redis_client, vault)
    decide(chain, a="1")
    decide(chain, b="1")
    kept = redis_client.lrange(CHAIN, 0, -1)
    decide(chain, a="2")
    Epochs(redis_client, vault).write(Epoch(1, Phase.FINISHED))
    set_back(redis_client, kept)
    run[0] = server
    only.append(1)
    chain.refresh()
    assert [chain.value(key_subject(name)) for name in "ab"] == ["1", "1"]
    assert (chain.is_intact, chain.epoch, only) == (True, 1, [])


def test_what_was_found_set_back_is_not_written_back_once_the_store_was_restored(redis_client, vault):
    chain = a_chain(redis_client, vault)
    decide(chain, a="1")
    kept = redis_client.lrange(CHAIN, 0, -1)
    decide(chain, a="2")
    set_back(redis_client, kept)
    assert values_of(chain) == {"a": "2"}
    Epochs(redis_client, vault).write(Epoch(1, Phase.FINISHED))
    assert not chain.repair()
    assert redis_client.lrange(CHAIN, 0, -1) == kept
    assert (chain.value(key_subject("a")), chain.is_intact) == ("1", True)
    assert values_of(chain) == {"a": "1"}


def test_who_can_do_without_decisions_does_not_wait_behind_others_that_read_them(redis_client, vault):
    chain = a_chain(redis_client, vault)
    decide(chain, a="1")
    held, done = threading.Event(), threading.Event()

    def hold():
        with chain._lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        with going_on_without(0.01), pytest.raises(Unavailable):
            chain.refresh()
    finally:
        done.set()
        thread.join()
    assert values_of(chain) == {"a": "1"}


@pytest.mark.parametrize("whole", [False, True])
def test_who_has_waited_while_another_read_the_decisions_needs_not_read_them_again(
    redis_client, vault, monkeypatch, whole
):
    chain, waits, read, reads = a_chain(redis_client, vault), threading.Event(), StoredChain.read, []
    decide(chain, a="1")
    thread = threading.Thread(target=lambda: chain.refresh(whole=whole))

    def patience_s():
        if threading.current_thread() is thread:
            waits.set()
        return -1.0

    monkeypatch.setattr(StoredChain, "read", lambda self, start: reads.append(start) or read(self, start))
    monkeypatch.setattr(decisions_module, "patience_s", patience_s)
    with chain._lock:
        thread.start()
        waits.wait()
        chain.refresh()
    thread.join()
    assert reads == [1, 0][: 1 + whole]


def test_a_server_whose_run_may_not_be_asked_for_tells_its_decisions_all_the_same(valkey, vault):
    with valkey.client() as client:
        decide(a_chain(client, vault), a="1")
        client.execute_command("ACL SETUSER", "app", "on", "nopass", "~*", "+@all", "-info", "-lrange")
        try:
            with redis.Redis.from_url(valkey.url, username="app", password="any", socket_timeout=ANSWER_S) as app:
                stored = StoredChain(app, SHARED_ROOT)
                with pytest.raises(redis.ResponseError):
                    stored.read(0)
                client.execute_command("ACL SETUSER", "app", "+info", "+lrange")
                last, entries, run = stored.read(1)
                assert (last, entries, run) == (client.lindex(CHAIN, 0), [], client.info("server")["run_id"])
                client.execute_command("ACL SETUSER", "app", "-info")
                assert stored.read(0) == (last, [last], "")
        finally:
            client.acl_deluser("app")


@pytest.mark.parametrize("text", ["WRONGTYPE Operation", "LOADING the dataset", "ERR index out of range"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_chain_that_cannot_be_read_is_empty_only_if_it_is_none(redis_client, monkeypatch, events_of, text, place):
    told = events_of(fields_module)
    fields_module.tell_damage.cache_clear()
    stored, replies = StoredChain(redis_client, SHARED_ROOT), [b"last", [b"more"], {"run_id": "r"}]
    replies[place] = redis.ResponseError(text)
    monkeypatch.setattr(redis.client.Pipeline, "execute", lambda *_, **__: replies)
    if text.startswith("WRONGTYPE"):
        assert stored.read(1) == (None, [], "r")
    else:
        with pytest.raises(redis.ResponseError, match=text):
            stored.read(1)
    assert [fields["key"] for _, fields in told] == ([CHAIN] if text.startswith("WRONGTYPE") else [])


def test_decisions_that_were_added_to_an_older_chain_stay(redis_client, vault):
    chain = a_chain(redis_client, vault)
    decide(chain, a="1")
    kept = redis_client.lrange(CHAIN, 0, -1)
    decide(chain, a="2", b="1")
    set_back(redis_client, kept)
    decide(a_chain(redis_client, vault), c="1")
    assert values_of(chain) == {"a": "2", "b": "1", "c": "1"}
    chain.repair()
    assert values_of(a_chain(redis_client, vault)) == {"a": "2", "b": "1", "c": "1"}


def test_callers_of_a_server_that_is_away_wait_together_and_not_one_after_another(redis_client, vault, monkeypatch):
    chain, reads, callers = a_chain(redis_client, vault), [], 16
    all_ask = threading.Barrier(callers)

    def away(*_):
        reads.append(time.sleep(0.5))
        raise redis.ConnectionError

    def refused(_):
        all_ask.wait()
        with pytest.raises(Unavailable):
            chain.refresh()

    monkeypatch.setattr(StoredChain, "read", away)
    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(refused, range(callers)))
    assert len(reads) < callers / 4


@pytest.mark.parametrize("part", [StoredChain, Epochs])
def test_who_asks_while_another_finds_the_server_back_waits_for_that(redis_client, vault, monkeypatch, part):
    chain, read, reading = a_chain(redis_client, vault), part.read, threading.Event()
    decide(chain, a="1")

    def away(*_):
        raise redis.ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(StoredChain, "read", away)
        with pytest.raises(Unavailable):
            chain.refresh()

    def back(*args):
        reading.set()
        time.sleep(0.2)
        return read(*args)

    monkeypatch.setattr(part, "read", back)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(chain.look)
        assert reading.wait(ANSWER_S)
        chain.refresh()
        found.result()


@pytest.mark.parametrize("is_restored", [False, True])
def test_what_a_failover_lost_is_no_tampering(redis_client, vault, monkeypatch, events_of, is_restored):
    told = events_of(decisions_module)
    read, run = StoredChain.read, ["one"]
    monkeypatch.setattr(StoredChain, "read", lambda self, start: (*read(self, start)[:2], run[0]))
    chain = a_chain(redis_client, vault)
    decide(chain, a="1")
    kept = redis_client.lrange(CHAIN, 0, -1)
    decide(chain, a="2")
    set_back(redis_client, kept)
    if is_restored:
        Epochs(redis_client, vault).write(Epoch(1, Phase.FINISHED))
    run[0] = "two"
    assert values_of(chain) == {"a": "1"}
    said = {"level": logging.WARNING, "root": "shared", "what": "lost", "subjects": ["key/a"]}
    assert (told, chain.is_intact) == ([] if is_restored else [("decisions_breach", said)], True)
    assert not chain.repair()
    decide(chain, a="3")
    assert values_of(a_chain(redis_client, vault)) == {"a": "3"}


def test_a_process_that_hears_of_newer_decisions_than_the_server_has_reports_it_once(redis_client, vault, monkeypatch):
    told = []
    chain, other = a_chain(redis_client, vault), a_chain(redis_client, vault)
    decide(chain, a="1")
    other.refresh()
    kept = redis_client.lrange(CHAIN, 0, -1)
    decide(chain, a="2")
    head = chain.head
    other.hear(*head)  # it has not read them yet, and the server has them
    assert (other.head, other.is_intact) == (head, True)
    set_back(redis_client, kept)
    newcomer = a_chain(redis_client, vault)
    newcomer.refresh()
    monkeypatch.setattr(decisions_module, "event", lambda name, **fields: told.append(fields["what"]))
    newcomer.hear(head[0] + 9, "the run of another server")
    newcomer.hear(head[0] - 1, head[1])
    assert (told, newcomer.is_intact) == ([], True)
    for _ in range(2):
        newcomer.hear(*head)
    assert (told, newcomer.is_intact) == (["restored"], False)


def test_what_another_run_of_the_server_had_is_no_tampering_also_if_that_shows_only_on_a_look(
    redis_client, vault, monkeypatch
):
    told, read, run = [], StoredChain.read, ["one"]
    monkeypatch.setattr(StoredChain, "read", lambda self, start: (*read(self, start)[:2], run[0]))
    monkeypatch.setattr(decisions_module, "event", lambda name, **fields: told.append(fields["what"]))
    chain = a_chain(redis_client, vault)
    decide(chain, a="1")
    run[0] = "two"
    chain.hear(5, "one")
    assert (told, chain.is_intact) == ([], True)
    chain.hear(5, "two")
    assert (told, chain.is_intact) == (["restored"], False)


@pytest.mark.parametrize(
    ("process", "root", "epoch", "is_compared"),
    [("two", SHARED_ROOT, 0, True), ("one", SHARED_ROOT, 0, False), ("two", ROOT, 0, False), ("two", SHARED_ROOT, 1, False)],
)  # fmt: skip
def test_only_heads_of_others_about_the_same_root_and_epoch_are_compared(
    redis_client, vault, process, root, epoch, is_compared
):
    chain = a_chain(redis_client, vault)
    decide(chain, a="1")
    watching = Watching("one", chain, Heads(redis_client, vault))
    watching.hear(ChainHead(process, root, epoch, 99, chain.head[1]))
    assert chain.is_intact is not is_compared


def test_after_a_restore_less_than_was_heard_before_is_reported_again(redis_client, vault, monkeypatch):
    told = []
    monkeypatch.setattr(decisions_module, "event", lambda name, **fields: told.append(fields["what"]))
    chain = a_chain(redis_client, vault)
    decide(chain, a="1")
    chain.hear(9, chain.head[1])
    Epochs(redis_client, vault).write(Epoch(1, Phase.FINISHED))
    chain.look()
    assert (told, chain.is_intact) == (["restored"], True)
    for seq in (5, 5, 4, 6):
        chain.hear(seq, chain.head[1])
    assert (told, chain.is_intact) == (["restored"] * 3, False)


@pytest.mark.parametrize("number", [0, 7])
def test_the_epoch_is_resealed_with_the_decisions_where_the_store_was_restored(redis_client, number):
    old, new = Vault.new_key_text(), Vault.new_key_text()
    epochs = Epochs(redis_client, Vault.from_text(f"{new},{old}"))
    if number:
        epoch = Epoch(number, Phase.FENCED, "b1", {"0": 3})
        Epochs(redis_client, Vault.from_text(old)).write(epoch)
        assert Epochs(redis_client, Vault.from_text(new)).read().number == 0
    before = redis_client.exists(keyspace.shared("epoch"))
    EveryDecision(redis_client, Vault.from_text(f"{new},{old}")).reseal()
    assert redis_client.exists(keyspace.shared("epoch")) == before == bool(number)
    assert Epochs(redis_client, Vault.from_text(new)).read() == (epoch if number else Epoch())
    assert epochs.read().number == number


def test_a_store_whose_phase_is_damaged_counts_as_fenced(redis_client, vault):
    epochs = Epochs(redis_client, vault)
    epochs.write(Epoch(1, Phase.FINISHED))
    assert not epochs.read().is_fenced
    redis_client.hset(keyspace.shared("epoch"), "phase", "later")
    assert epochs.read().is_fenced


def test_a_webhook_that_another_process_has_resumed_is_not_paused(redis_client, vault):
    here, elsewhere = EveryDecision(redis_client, vault), EveryDecision(redis_client, vault)
    Registry(redis_client, vault, vault, decisions=elsewhere).apply("acme", [a_registration()])
    policies = Policies(redis_client, Ledger(redis_client).store, elsewhere)
    policies.pause("acme", "ping")
    assert here.paused([("acme", "ping"), ("acme", "other")]) == {("acme", "ping")}
    list(policies.resume("acme", "ping"))
    assert here.paused([("acme", "ping")]) == set()
    assert here.paused([("acme", "other")]) == set()


def test_replaced_decisions_are_dropped_and_no_process_misses_them(redis_client, vault, monkeypatch):
    monkeypatch.setattr(decisions_module, "MOST_REPLACED", 5)
    chain, other = a_chain(redis_client, vault), a_chain(redis_client, vault)
    for number in range(20):
        decide(chain, a=str(number), b="1")
        assert redis_client.llen(CHAIN) <= 2 + 5 + 2
        assert values_of(other) == values_of(chain) == {"a": str(number), "b": "1"}
    assert chain.is_intact
    assert other.is_intact


def test_resealed_decisions_are_the_same_to_all(redis_client):
    old, new = Vault.new_key_text(), Vault.new_key_text()
    both = Vault.from_text(f"{new},{old}")
    chain, reader = a_chain(redis_client, both), a_chain(redis_client, both)
    decide(a_chain(redis_client, Vault.from_text(old)), a="1")
    assert values_of(reader) == {"a": "1"}
    chain.reseal()
    assert values_of(reader) == values_of(a_chain(redis_client, Vault.from_text(new))) == {"a": "1"}
    assert reader.is_intact


@pytest.mark.parametrize("forged", [partition_root(0), partition_root(1)])
def test_all_other_chains_and_the_epoch_are_resealed_although_one_fails_verification(redis_client, forged):
    old, new = Vault.new_key_text(), Vault.new_key_text()
    decide(a_chain(redis_client, Vault.from_text(old)), a="1")
    Epochs(redis_client, Vault.from_text(old)).write(Epoch(5, Phase.FINISHED))
    redis_client.rpush(keyspace.decisions(forged), "planted")
    with pytest.raises(Conflict, match=f"of `{root_name(forged)}`"):
        EveryDecision(redis_client, Vault.from_text(f"{new},{old}"), Keyspace(2)).reseal()
    assert redis_client.lrange(keyspace.decisions(forged), 0, -1) == [b"planted"]
    assert values_of(a_chain(redis_client, Vault.from_text(new))) == {"a": "1"}
    assert Epochs(redis_client, Vault.from_text(new)).read().number == 5


def test_a_chain_with_entries_of_a_missing_key_is_not_resealed_unless_they_are_given_up(redis_client):
    old, new = Vault.new_key_text(), Vault.new_key_text()
    decide(a_chain(redis_client, Vault.from_text(old)), a="1")
    decide(a_chain(redis_client, Vault.from_text(f"{new},{old}")), b="1")
    before, behind = redis_client.lrange(CHAIN, 0, -1), Vault.from_text(new)
    every = EveryDecision(redis_client, behind)
    with pytest.raises(Conflict, match=r"fail verification .* if a key is missing"):
        every.reseal()
    assert redis_client.lrange(CHAIN, 0, -1) == before
    assert values_of(a_chain(redis_client, Vault.from_text(old))) == {"a": "1"}
    every.reseal(give_up=True)
    assert values_of(a_chain(redis_client, behind)) == {"b": "1"}


def test_what_is_decided_over_a_chain_of_another_type_begins_a_new_one(redis_client, vault):
    redis_client.set(CHAIN, "planted")
    decide(a_chain(redis_client, vault), a="1")
    assert values_of(a_chain(redis_client, vault)) == {"a": "1"}


def test_a_process_that_lacks_a_key_of_the_ring_undoes_nothing_and_believes_it_once_it_has_the_key(
    redis_client, monkeypatch
):
    monkeypatch.setattr(decisions_module, "MOST_REPLACED", 1)
    old, new = Vault.new_key_text(), Vault.new_key_text()
    behind = a_chain(redis_client, Vault.from_text(old))
    decide(behind, a="1", b="1")
    decide(a_chain(redis_client, Vault.from_text(f"{new},{old}")), a="2")
    decide(behind, b="2")
    before = redis_client.lrange(CHAIN, 0, -1)
    assert values_of(behind) == {"a": "1", "b": "2"}
    assert not behind.is_intact
    assert not behind.repair()
    assert redis_client.lrange(CHAIN, 0, -1) == before
    behind._vault = Vault.from_text(f"{old},{new}")
    behind._whole_at_s = float("-inf")
    behind.look()
    assert values_of(behind) == {"a": "2", "b": "2"}


def test_what_is_no_entry_is_forged(redis_client, vault, events_of):
    told = events_of(decisions_module)
    chain = a_chain(redis_client, vault)
    decide(chain, a="1")
    for text in (b"", b"\xff\xfe", b"9" * 5_000 + b" key/a 2 mac", b"-7 key/a 2 mac", b"1 key/a"):
        redis_client.rpush(CHAIN, text)
        newcomer = a_chain(redis_client, vault)
        for _ in range(2):
            assert values_of(newcomer) == values_of(chain) == {"a": "1"}
        assert not newcomer.is_intact
    said = {"level": logging.ERROR, "root": "shared", "what": "forged", "subjects": []}
    assert told == [("decisions_breach", said)] * 6  # each of the newcomers and the first process once


def test_what_is_remembered_of_decisions_that_were_read_is_bounded(redis_client, vault, monkeypatch):
    monkeypatch.setattr(decisions_module, "_MOST_READ", 2)
    chain = a_chain(redis_client, vault)
    for number in range(9):
        decide(chain, a=str(number))
        assert len(chain._read_ever) == 1 + number % 3


# -- heads ----------------------------------------------------------------------------------------------------------------


def test_heads_come_from_processes_of_the_relay_alone(valkey, vault):
    with valkey.client() as client:
        listening = Heads(client, vault).listen()
        next(listening)
        signed = Signed({"trail": "0", "at": 5}, b"signature")
        head, full = (
            ChainHead("w1", SHARED_ROOT, 3, 7, "run"),
            ChainHead("w2", ROOT, 4, 8, "run", signed, "another run"),
        )
        Heads(client, Vault.from_text(Vault.new_key_text())).tell(head)
        client.publish(keyspace.heads(), b"garbage")
        Heads(client, vault).tell(head)
        Heads(client, vault).tell(full)
        found = [next(listening) for _ in range(5)]
    assert [each for each in found if each is not None] == [head, full]


class Quiet:
    """A server on whose channels messages come at their seconds; each poll takes its whole time."""

    def __init__(self, now_s, messages):
        self._now_s, self._messages = now_s, messages
        self.channels, self.pings, self.published = [], [], []

    def pubsub(self):
        return nullcontext(SimpleNamespace(subscribe=self.channels.append, ping=self._ping, get_message=self._poll))

    def publish(self, channel, message):
        self.published.append((channel, message))

    def _ping(self):
        self.pings.append(self._now_s[0])

    def _poll(self, timeout):
        self._now_s[0] += timeout
        return self._messages.pop(self._now_s[0], None)


def test_heads_are_asked_of_another_server_after_ten_quiet_seconds_and_the_connection_is_tested_after_five(
    redis_client, vault, monkeypatch
):
    now_s, pong, refreshed = [100.0], {"type": "pong", "data": b""}, []
    monkeypatch.setattr(heads_module, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    servers = [Quiet(now_s, {}), Quiet(now_s, {103.0: pong, 110.0: pong}), Quiet(now_s, {})]
    monkeypatch.setattr(heads_module, "primaries_of", lambda _: servers)
    monkeypatch.setattr(
        heads_module, "refresh_primaries", lambda _, *, at_most_once_in_s: refreshed.append(at_most_once_in_s)
    )
    heads = Heads(redis_client, vault)
    assert list(heads.listen()) == [None] * 19
    assert (now_s[0], servers[1].pings, servers[1].channels) == (120.0, [108.0, 115.0], [keyspace.heads()])
    assert list(heads.listen()) == [None] * 9
    assert (now_s[0], servers[2].pings, servers[0].channels, refreshed) == (130.0, [125.0], [], [1.0, 1.0])
    heads.tell(ChainHead("w1", SHARED_ROOT, 3, 7, "run"))
    assert [len(each.published) for each in servers] == [0, 0, 1]
    list(heads.listen())
    assert servers[0].channels == [keyspace.heads()]


def test_a_head_is_heard_whichever_key_of_the_ring_vouches_for_it_and_whatever_a_newer_release_adds(
    redis_client, monkeypatch
):
    old, new, now_s = Vault.new_key_text(), Vault.new_key_text(), [100.0]
    server, head = Quiet(now_s, {}), ChainHead("w1", ROOT, 3, 7, "run", None, "another run")
    monkeypatch.setattr(heads_module, "primaries_of", lambda _: [server])
    Heads(redis_client, Vault.from_text(old)).tell(head)
    ((channel, message),) = server.published
    assert channel == keyspace.heads()
    payload = message.partition(b"\n")[2]
    longer = payload[:-1] + b',"more"]'
    more = Vault.from_text(old).macs(b"heads", longer)[0].encode() + b"\n" + longer
    unheard = [(f"{new},{old}", message + b" "), (old, message.replace(b"w1", b"w2")), (new, message)]
    heard = [(ring, each) for ring in (old, f"{new},{old}", f"{old},{new}") for each in (message, more)]
    for cases, expected in ((heard, head), (unheard, None)):
        for ring, data in cases:
            server._messages[now_s[0] + 1.0] = {"type": "message", "data": data}
            assert next(Heads(redis_client, Vault.from_text(ring)).listen()) == expected


def test_what_processes_publish_is_compared_in_every_root(redis_client, vault):
    chains = [Decisions(redis_client, vault, root) for root in (ROOT, SHARED_ROOT)]
    for chain in chains:
        chain.refresh()
    published = [None, ChainHead("w2", SHARED_ROOT, 0, 9, chains[1].head[1]), None]
    heads = Heads(redis_client, vault)
    heads.listen = lambda: iter(published)
    hear_all(heads, [Watching("w1", chain, heads) for chain in chains])
    assert [chain.is_intact for chain in chains] == [True, False]


@pytest.mark.parametrize("phase", [Phase.COPYING, Phase.FENCED])
def test_while_a_backup_is_copied_nobody_is_told_of_decisions_and_none_are_written_back(redis_client, vault, phase):
    chain, told, heads = a_chain(redis_client, vault), [], Heads(redis_client, vault)
    decide(chain, a="1")
    heads.tell = told.append
    Epochs(redis_client, vault).write(Epoch(5, phase, "b1"))
    redis_client.delete(CHAIN)
    Watching("w1", chain, heads).look()
    assert not redis_client.exists(CHAIN)
    assert [(head.process, head.root, head.epoch, head.seq) for head in told] == (
        [] if phase is Phase.COPYING else [("w1", SHARED_ROOT, 5, 0)]
    )


@pytest.mark.parametrize("epoch", [0, 1])
def test_checkpoints_of_this_epoch_are_told_and_heard_beside_decisions(redis_client, vault, epoch):
    signer, told, heads = AuditSigner(new_private_text()), [], Heads(redis_client, vault)
    heads.tell = told.append

    def process(name):
        epochs = Epochs(redis_client, vault)
        worker = Checkpointing(Trail(redis_client), epochs, signer, name, retention_ms=1 << 40)
        return worker, Watching(name, Decisions(redis_client, vault, ROOT), heads, None, worker)

    worker, watching = process("w1")
    watching.look()  # nothing is signed yet
    AuditWriter(redis_client).write_all([AuditEntry(0, Act.FORGET, "k1", "acme", "s1")])
    worker.iterate()
    watching.look()
    assert [head.checkpoint and head.checkpoint.checkpoint().last for head in told] == [None, 1]
    assert told[1].checkpoint_server == worker.newest[1]
    other, other_watching = process("w2")
    other_watching.look()
    other._read_epoch()
    other_watching.hear(replace(told[1], epoch=epoch))
    assert list(other._heard) == ["w1"][epoch:]


# -- pauses ---------------------------------------------------------------------------------------------------------------


def test_a_policy_is_as_was_decided_also_while_the_chain_is_an_older_one(redis_client, vault):
    Registry(redis_client, vault, vault).apply("acme", [a_registration("hook")])
    Policies(redis_client, Ledger(redis_client).store, EveryDecision(redis_client, vault)).pause("acme", "hook")
    chain = Decisions(redis_client, vault, ROOT)
    chain.refresh()
    redis_client.ltrim(keyspace.decisions(), 0, -2)
    chain.refresh()
    assert chain.policies["acme", "hook"][0] == "1"


def test_paused_webhooks_are_found_in_whichever_partitions_they_are(redis_client, vault):
    decisions = EveryDecision(redis_client, vault, Keyspace(4))
    hooks = [(f"plugin{number}", "hook") for number in range(8)]
    roots = {decisions.of(plugin).root for plugin, _ in hooks}
    assert len(roots) > 2
    paused = set(hooks[1:])
    for plugin, hook in paused:
        chain = decisions.of(plugin)
        chain.refresh()
        entry = next(chain.ends()).adding({pause_subject(plugin, hook): PAUSED})[-1]
        redis_client.rpush(keyspace.decisions(chain.root), entry)
    assert EveryDecision(redis_client, vault, Keyspace(4)).paused(hooks) == paused


@pytest.mark.parametrize("count", WRITERS)
def test_webhooks_that_are_paused_and_resumed_at_the_same_time_are_as_was_decided(valkey, vault, count):
    with valkey.client() as client:
        client.flushall()
        ledger = Ledger(client)

        def steer(number):
            policies = Policies(client, ledger.store, EveryDecision(client, vault))
            policies.pause("acme", f"hook{number}")
            policies.pause("acme", "shared")
            list(policies.resume("acme", "shared"))

        at_once(count, steer)
        chain = Decisions(client, vault, keyspace.ROOT)
        chain.refresh()
        policies = Policies(client, ledger.store, EveryDecision(client, vault))
        paused = {("acme", f"hook{number}") for number in range(count)}
        assert (
            chain.paused == {name for name in {*paused, ("acme", "shared")} if policies.traffic(*name).paused} == paused
        )


@pytest.mark.parametrize(
    "altered",
    [{"paused": ""}, {"concurrency": "9"}, {"rateCount": "", "ratePeriod": ""}, {"retry": ""}, {"ratePeriod": b"\xff"}],
    ids=str,
)
def test_a_policy_that_somebody_alters_is_reported_and_is_again_as_was_decided(redis_client, vault, altered, events_of):
    told = events_of(watching_module)
    decisions, policy = EveryDecision(redis_client, vault), KEYS.policy("acme", "ping")
    registry = Registry(redis_client, vault, vault, decisions=decisions)
    registry.apply("acme", [a_registration(concurrency=3, rate=Rate(6, 60), retry=RetryPolicy(2))])
    policies = Policies(redis_client, Ledger(redis_client).store, decisions)
    policies.pause("acme", "ping")
    before = redis_client.hgetall(policy)
    redis_client.hset(policy, mapping=altered)
    watching = Watching("one", decisions.of("acme"), Heads(redis_client, vault), policies)
    watching.look()
    assert told == []  # it may have been decided meanwhile
    watching.look()
    assert redis_client.hgetall(policy) == before
    watching.look()
    assert told == [("policy_unverified", {"level": logging.ERROR, "plugin": "acme", "webhook": "ping"})]


def test_a_pause_that_was_not_decided_is_reported_once_and_stays(redis_client, vault, events_of):
    told = events_of(watching_module)
    decisions, policy = EveryDecision(redis_client, vault), KEYS.policy("acme", "ping")
    Registry(redis_client, vault, vault, decisions=decisions).apply("acme", [a_registration()])
    policies = Policies(redis_client, Ledger(redis_client).store, decisions)
    redis_client.hset(policy, "paused", "1")
    before = redis_client.llen(keyspace.audit("entries"))
    watching = Watching("one", decisions.of("acme"), Heads(redis_client, vault), policies)
    for _ in range(4):
        watching.look()
    assert redis_client.hget(policy, "paused") == b"1"
    assert told == [("policy_unverified", {"level": logging.ERROR, "plugin": "acme", "webhook": "ping"})]
    assert redis_client.llen(keyspace.audit("entries")) == before


def test_a_difference_counts_if_it_is_found_twice_in_a_row_and_not_if_it_was_over_between(
    redis_client, vault, monkeypatch
):
    told = []
    monkeypatch.setattr(watching_module, "event", lambda name, **fields: told.append(fields["webhook"]))
    decisions, policy = EveryDecision(redis_client, vault), KEYS.policy("acme", "ping")
    Registry(redis_client, vault, vault, decisions=decisions).apply("acme", [a_registration(concurrency=3)])
    policies = Policies(redis_client, Ledger(redis_client).store, decisions)
    watching = Watching("one", decisions.of("acme"), Heads(redis_client, vault), policies)
    said = []
    for limit in ("9", "3", "9", "3", "9", "9", "3", "9", "9"):
        redis_client.hset(policy, "concurrency", limit)
        watching.look()
        said.append((len(told), redis_client.hget(policy, "concurrency").decode()))
    assert said == [
        *((0, "9"), (0, "3"), (0, "9"), (0, "3"), (0, "9"), (1, "3"), (1, "3"), (1, "9"), (2, "3")),
    ]


def test_a_damaged_policy_hides_no_other(redis_client, vault):
    decisions = EveryDecision(redis_client, vault)
    registry = Registry(redis_client, vault, vault, decisions=decisions)
    registry.apply("acme", [a_registration("a"), a_registration("b", concurrency=3)])
    policies = Policies(redis_client, Ledger(redis_client).store, decisions)
    redis_client.delete(KEYS.policy("acme", "a"))
    redis_client.set(KEYS.policy("acme", "a"), "planted")
    redis_client.hset(KEYS.policy("acme", "b"), "concurrency", "")
    watching = Watching("one", decisions.of("acme"), Heads(redis_client, vault), policies)
    for _ in range(2):
        watching.look()
    assert redis_client.hget(KEYS.policy("acme", "b"), "concurrency") == b"3"


def test_policies_of_many_webhooks_are_compared_in_turn(redis_client, vault, monkeypatch):
    monkeypatch.setattr(watching_module, "COMPARED", 2)
    decisions = EveryDecision(redis_client, vault)
    registry = Registry(redis_client, vault, vault, decisions=decisions)
    registry.apply("acme", [a_registration(f"hook{number}", concurrency=3) for number in range(5)])
    policies = Policies(redis_client, Ledger(redis_client).store, decisions)
    keys = [KEYS.policy("acme", f"hook{number}") for number in range(5)]
    for key in keys:
        redis_client.hset(key, "concurrency", "")
    watching = Watching("one", decisions.of("acme"), Heads(redis_client, vault), policies)
    for _ in range(4):
        watching.look()
    assert [redis_client.hget(key, "concurrency") for key in keys] == [b"3"] * 5


def test_a_webhook_that_is_removed_is_no_longer_paused(redis_client, vault):
    decisions = EveryDecision(redis_client, vault)
    registry = Registry(redis_client, vault, vault, decisions=decisions)
    registry.apply("acme", [a_registration()])
    Policies(redis_client, Ledger(redis_client).store, decisions).pause("acme", "ping")
    decisions.of("acme").refresh()
    assert decisions.paused([("acme", "ping")]) == {("acme", "ping")}
    registry.remove("acme", "ping")
    assert decisions.paused([("acme", "ping")]) == set()
    registry.apply("acme", [a_registration()])
    assert registry.current("acme", "ping")[0] == 2


@pytest.mark.parametrize("count", [1, 1_000, 1_001, 2_001])
def test_however_many_decisions_replace_a_chain_each_is_written_once_and_in_order(redis_client, count):
    entries, chain = [f"entry-{number}" for number in range(count)], "relay:{0}:decisions"
    redis_client.rpush(chain, "one", "other")
    for act in ("", "decisions_restore"):  # the first reply may be lost
        assert Scripts(redis_client).run("rewrite_decisions", [act, "cli", 2, "other", *entries]) == 1
        assert redis_client.lrange(chain, 0, -1) == [entry.encode() for entry in entries]
    (noted,) = redis_client.lrange("relay:{0}:audit:entries", 0, -1)
    assert noted.decode().split(" ")[1:] == ["decisions_restore", "cli", "", "", "", "restored", str(count), "", ""]
