"""How scripts come to the server and how they are found there, on the fake and on a real server."""

from __future__ import annotations

import pytest

from relay.errors import StoreFault, Unavailable
from relay.store import scripts as module
from relay.store.library import Library, ScriptFunction, library
from relay.store.scripts import Scripts, renew

FOREIGN = "#!lua name={name}\nredis.register_function('{name}', function() return 1 end)"


def libraries(client):
    return {item[1].decode() for item in client.function_list()}


@pytest.fixture
def runner(redis_client):
    redis_client.function_flush()
    return Scripts(redis_client)


def test_the_first_script_that_is_missing_brings_all_of_them(redis_client, runner):
    assert runner.run("read", []) == []
    assert libraries(redis_client) == {library().name}


def test_a_server_that_forgot_its_functions_gets_them_again(redis_client, runner):
    runner.run("read", [])
    redis_client.function_flush()
    assert runner.run("read", []) == []


def test_what_another_process_has_loaded_meanwhile_is_left_alone(redis_client, runner):
    runner.load()
    runner.load()
    assert runner.run("read", []) == []


def test_a_text_that_the_server_refuses_is_a_fault_of_ours(runner, monkeypatch):
    functions = {"read": ScriptFunction("relay_read_0", is_shared=False)}
    wrong = Library("relay_0", "#!lua name=relay_0\nnot lua", functions)
    monkeypatch.setattr(module, "library", lambda: wrong)
    with pytest.raises(StoreFault):
        runner.run("read", [])


def test_a_script_s_error_is_not_taken_for_a_missing_one(redis_client, runner):
    runner.load()
    redis_client.set("relay:{0}:inv:x", "no hash")
    with pytest.raises(StoreFault):
        runner.run("read", ["x"])


def test_a_failed_run_leaves_nothing_for_the_next_one(redis_client, runner):
    """What a run collects stands in the server's memory until the next one begins anew."""
    redis_client.hset("relay:{0}:inv:a", mapping={"state": "queued", "plugin": "p", "webhook": "w", "lane": "bulk"})
    redis_client.hset("relay:{0}:inv:a", mapping={"createdAt": "1", "requestBytes": "1", "timeout": "1000"})
    redis_client.set("relay:{0}:inv:b", "no hash")
    with pytest.raises(StoreFault):
        runner.run("claim", ["t", 1, 1, 1, 1, 1, 1, 2, 0, "a", "b"])
    redis_client.delete("relay:{0}:inv:b")
    now_ms, replies, ready = runner.run("claim", ["t", 1, 1, 1, 1, 1, 1, 1, 0, "b"])
    assert (replies, ready) == ([[b"skipped", b"gone"]], [])
    assert redis_client.zcard("relay:{0}:due:running") == 0
    assert int(now_ms) > 0


def test_a_full_server_runs_what_it_knows_and_is_unavailable_for_what_it_does_not(valkey):
    with valkey.client() as client:
        runner = Scripts(client)
        runner.load()
        client.config_set("maxmemory", "1mb")
        try:
            assert runner.run("read", []) == []
            client.function_flush()
            with pytest.raises(Unavailable):
                runner.run("read", [])
        finally:
            client.config_set("maxmemory", "0")


def test_a_start_on_a_server_of_its_own_takes_the_scripts_of_other_versions_away(valkey):
    with valkey.client() as client:
        for name in ("relay_0123456789abcdef", "somebody_s"):
            client.function_load(FOREIGN.format(name=name))
        renew(valkey.url)
        assert libraries(client) == {"somebody_s", library().name}
