"""Every script, as a story runs it: without the replicas that it has to wait for."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
import redis

from relay.errors import Unavailable
from relay.store.keys import keyspace
from relay.store.keys.names import SHARED_ROOT
from relay.store.scripting.library import Kind, library
from relay.store.scripting.scripts import Scripts
from relay.store.server.replicas import require_replicas
from tests.contract.snapshots import everything, put_back

#: Scripts that add to the chain of decisions, or act on its end as their caller read it.
DECIDING = (
    *("apply_webhooks", "remove_webhook", "pause", "resume", "enforce", "set_secret", "remove_secret", "write_keys"),
    *("rewrite_decisions", "rewrite_key_decisions"),
)
#: What may have happened to a chain since it was read.
SINCE = {
    "something was decided": lambda client, chain: client.rpush(chain, "decided since"),
    "its end was replaced": lambda client, chain: client.exists(chain) and client.lset(chain, -1, "another end"),
    "its beginning was dropped": lambda client, chain: client.lpop(chain),
}
#: What adds nothing needs only the end to be as it was read.
CHANGED = [(name, since) for name in DECIDING for since in SINCE if name != "enforce" or "beginning" not in since]


@pytest.fixture
def client(valkey_server):
    with valkey_server.client() as client:
        yield client


def of_kind(kind):
    return [name for name in library().functions if library().functions[name].kind is kind]


def test_the_story_runs_every_script(runs):
    assert Counter(run.script for run in runs).keys() == library().functions.keys()


@pytest.mark.parametrize("name", of_kind(Kind.CONFIRMS))
def test_a_script_that_confirms_is_not_now_without_its_replicas(runs, client, monkeypatch, name):
    monkeypatch.setattr("relay.store.server.replicas.WAIT_MS", 20)
    require_replicas(client, 1)
    run = next(run for run in runs if run.script == name)
    put_back(client, run.before)
    with pytest.raises(Unavailable, match="may or may not have happened"):
        Scripts(client).run(name, run.args, run.root)


def test_a_server_with_too_few_replicas_is_asked_again_only_after_a_second(client, monkeypatch):
    now_s = [100.0]
    monkeypatch.setattr("relay.store.server.replicas.WAIT_MS", 20)
    monkeypatch.setattr("relay.store.server.replicas.time", SimpleNamespace(monotonic=lambda: now_s[0]))
    require_replicas(client, 1)
    client.config_resetstat()
    for now_s[0], asked in ((100.0, 1), (100.9, 1), (101.0, 2), (101.5, 2), (102.0, 3)):
        with pytest.raises(Unavailable, match="may or may not have happened"):
            Scripts(client).write("relay:{0}:", "SET", "relay:{0}:any", now_s[0])
        assert client.info("commandstats")["cmdstat_wait"]["calls"] == asked
    assert client.get("relay:{0}:any") == b"102.0"


@pytest.mark.parametrize("name", [*of_kind(Kind.READS), *of_kind(Kind.COUNTS)])
def test_a_script_that_confirms_nothing_waits_for_nobody(runs, client, name):
    require_replicas(client, 1)
    run = next(run for run in runs if run.script == name)
    put_back(client, run.before)
    Scripts(client).run(name, run.args, run.root)


@pytest.mark.parametrize("name", of_kind(Kind.READS))
def test_a_script_that_reads_is_one_that_the_server_lets_write_nothing(runs, client, name):
    run = next(run for run in runs if run.script == name)
    put_back(client, run.before)
    before = everything(client)
    root = run.root or "relay:{0}:"
    client.execute_command("FCALL_RO", library().functions[name].name, 1, root, *run.args)
    assert everything(client) == before


@pytest.mark.parametrize(("name", "since"), CHANGED)
def test_a_script_whose_chain_has_changed_since_it_was_read_says_so_and_does_nothing(runs, client, name, since):
    run = next(run for run in reversed(runs) if run.script == name)
    chain = keyspace.decisions(SHARED_ROOT if library().functions[name].is_shared else run.root or "relay:{0}:")
    put_back(client, run.before)
    assert SINCE[since](client, chain)
    before = everything(client)
    assert Scripts(client).run(name, run.args, run.root) in {b"stale", 0}
    assert everything(client) == before


def test_a_repeated_script_that_writes_nothing_is_still_followed_by_a_write_that_is_waited_for(runs, client):
    run = next(run for run in runs if run.script == "claim")
    put_back(client, run.before)
    function = library().functions["claim"].name
    for _ in range(2):
        client.delete("relay:{0}:confirmed")
        client.fcall(function, 2, "relay:{0}:", "relay:{0}:confirmed", *run.args)
        assert client.exists("relay:{0}:confirmed")


def test_a_full_server_confirms_what_it_still_does(runs, client, valkey_server, monkeypatch):
    """A command would be refused there, and `WAIT` would then count from the connection's last write, or from 0."""
    monkeypatch.setattr("relay.store.server.replicas.WAIT_MS", 20)
    require_replicas(client, 1)
    run = next(run for run in runs if run.script == "settle")
    put_back(client, run.before)
    client.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(Unavailable, match="may or may not have happened"):
            Scripts(client).run("settle", run.args, run.root)
        assert client.exists("relay:{0}:confirmed")
        with valkey_server.client() as other:
            require_replicas(other, 1)
            with pytest.raises(Unavailable) as caught:
                Scripts(other).write("relay:{0}:", "DEL", "relay:{0}:none")  # allowed; the write for `WAIT` is not
        assert isinstance(caught.value.__cause__, redis.exceptions.OutOfMemoryError)
    finally:
        client.config_set("maxmemory", "0")


#: Scripts that add work.
ADDING = {"accept", "replay_make", "replay_create"}


@pytest.mark.parametrize("name", sorted(library().functions))
def test_a_full_server_refuses_what_adds_work_and_nothing_else(runs, client, name):
    run, function = next(run for run in runs if run.script == name), library().functions[name]
    put_back(client, run.before)
    root = run.root or (SHARED_ROOT if function.is_shared else "relay:{0}:")
    client.config_set("maxmemory", "1mb")
    try:
        if name in ADDING:
            with pytest.raises(redis.exceptions.OutOfMemoryError):
                client.fcall(function.name, 1, root, *run.args)
        else:
            client.fcall(function.name, 1, root, *run.args)
    finally:
        client.config_set("maxmemory", "0")
