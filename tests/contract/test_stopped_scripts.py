"""Every script, stopped before each of its writes, leaves a state from which a repeat goes on."""

from __future__ import annotations

from collections import defaultdict

import pytest
import redis

from relay.store.scripting.library import Kind, library
from tests.contract.snapshots import put_back
from tests.contract.stopping import Left, load, stop_after, twice

WRITING = [name for name in library().functions if library().functions[name].kind is not Kind.READS]


@pytest.fixture(scope="module")
def client(valkey_server, runs):
    with valkey_server.client() as client:
        load(client)
        yield client
        client.flushall()
        client.function_flush()


def run_once(client, run, writes=None):
    """Run a script; return whether it was stopped before it had made one more write than these."""
    stop_after(client, writes)
    root = run.root or ("relay:{shared}:" if library().functions[run.script].is_shared else "relay:{0}:")
    try:
        client.fcall(library().functions[run.script].name, 1, root, *run.args)
    except redis.ResponseError as error:
        if "stopped here" not in str(error):
            raise
        return True
    finally:
        stop_after(client, None)
    return False


@pytest.mark.parametrize("name", WRITING)
def test_a_script_that_is_stopped_before_any_of_its_writes_can_be_repeated(runs, client, name):
    wrong = defaultdict(set)
    for run in _most_different([run for run in runs if run.script == name]):
        put_back(client, run.before)
        before = Left(client)
        run_once(client, run)
        once = Left(client)
        writes = 0
        while True:
            put_back(client, run.before)
            if not run_once(client, run, writes):
                break
            run_once(client, run)
            now = Left(client)
            for fault in (now.faults() - before.faults()) | twice(before, once, now):
                wrong[fault].add(writes)
            writes += 1
    assert dict(wrong) == {}


def test_a_run_that_adds_originals_and_is_stopped_anywhere_loses_and_doubles_none_when_it_is_repeated(client, runs):
    run = max((run for run in runs if run.script == "replay_add"), key=lambda run: len(run.args))
    put_back(client, run.before)
    run_once(client, run)
    ids = f"relay:{{0}}:replay:{run.args[0]}:ids"
    expected, writes = client.lrange(ids, 0, -1), 0
    assert len(expected) > 1
    while True:
        put_back(client, run.before)
        if not run_once(client, run, writes):
            break
        run_once(client, run)
        assert client.lrange(ids, 0, -1) == expected
        writes += 1
    assert writes > 2 * len(expected)


def _most_different(runs):
    """Return a few runs: those with the most arguments, and the last."""
    return [*sorted(runs, key=lambda run: len(run.args))[-2:], runs[-1]][-len(runs) :]
