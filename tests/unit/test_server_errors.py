"""Which errors of the server mean "not now", and which are our own faults."""

from __future__ import annotations

import pytest
from redis import exceptions

from relay.errors import NotFound, StoreFault, Unavailable
from relay.store.server.errors import is_of_another_type, store_errors
from relay.store.server.replies import replies_to
from tests.executor.server_faults import ANSWERS, OURS, Unheard, answered, every_class, in_pipeline

#: The only classes which mean that redis-py itself was called wrongly.
OUR_CLASSES = {"DataError", "ClusterCrossSlotError"}


def raised(error):
    with pytest.raises((StoreFault, Unavailable)) as caught, store_errors():
        raise error
    assert caught.value.__cause__ is error
    return type(caught.value)


@pytest.mark.parametrize("make", [answered, in_pipeline])
@pytest.mark.parametrize("text", ANSWERS, ids=lambda text: text[:30])
def test_whatever_a_server_answers_is_not_now(text, make):
    assert raised(make(text)) is Unavailable


@pytest.mark.parametrize("make", [answered, in_pipeline])
@pytest.mark.parametrize("text", OURS, ids=lambda text: text[:30])
def test_what_is_wrong_with_a_command_or_script_is_ours(text, make):
    assert raised(make(text)) is StoreFault


@pytest.mark.parametrize(("name", "error"), list(every_class()))
def test_every_class_of_redis_py_but_those_of_wrong_calls_is_not_now(name, error):
    assert raised(error) is (StoreFault if name in OUR_CLASSES else Unavailable)


@pytest.mark.parametrize(
    "kind",
    [
        *(exceptions.ConnectionError, exceptions.TimeoutError, exceptions.RedisError),
        exceptions.AuthenticationWrongNumberOfArgsError,
    ],
)
@pytest.mark.parametrize("text", OURS, ids=lambda text: text[:30])
def test_an_exception_that_is_not_the_server_s_answer_means_not_now_whatever_its_words(text, kind):
    assert raised(kind(text)) is Unavailable


@pytest.mark.parametrize("error", [Unheard(), OSError(5, ""), MemoryError(), RuntimeError(), ConnectionResetError()])
def test_what_nobody_knows_is_not_now(error):
    assert raised(error) is Unavailable


@pytest.mark.parametrize("error", [TypeError(), KeyError(), ValueError(), AttributeError(), ZeroDivisionError()])
def test_a_fault_of_our_own_code_is_ours(error):
    assert raised(error) is StoreFault


def test_what_the_store_has_to_say_is_said_as_it_is():
    with pytest.raises(NotFound), store_errors():
        raise NotFound


def test_a_class_that_redis_py_will_invent_is_not_now():
    class Invented(exceptions.ResponseError):
        pass

    assert raised(Invented("ERR nothing known")) is Unavailable


# A real server's errors for real faults.

BROKEN = {
    "nil": "local a = nil; return a.b",
    "global": "return nowhere",
    "no Lua": "return (",
    "raised": "error('boo')",
    "unknown command": "return redis.call('NOWHERE')",
    "arguments": "return redis.call('SET')",
    "kinds of arguments": "return redis.call('SET', 'a', {})",
    "type": "redis.call('SET', 's', 'x'); return redis.call('HGET', 's', 'a')",
    "number": "redis.call('SET', 's', 'x'); return redis.call('INCR', 's')",
    "JSON": "return cjson.decode('{')",
    "stack": "local function f() return 1 + f() end return f()",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_script_is_ours(valkey, text):
    with valkey.client() as client, pytest.raises(StoreFault), store_errors():
        client.eval(text, 0)


@pytest.mark.parametrize("command", [("NOWHERE",), ("SET",), ("SET", "a", "b", "c"), ("CLIENT", "NOWHERE")])
def test_a_broken_command_is_ours(valkey, command):
    with valkey.client() as client, pytest.raises(StoreFault), store_errors():
        client.execute_command(*command)


WRITE = "return redis.call('HSET', 'h', 'a', 'b')"


@pytest.mark.parametrize("rights", ["-hset", "-evalsha", "-@write", "resetkeys"])
def test_rights_that_were_taken_away_are_not_now(valkey, rights):
    with valkey.client() as admin, valkey.client() as client:
        digest = admin.script_load(WRITE)
        admin.execute_command("ACL", "SETUSER", "someone", "on", "nopass", "allkeys", "+@all")
        client.execute_command("AUTH", "someone", "any")
        client.evalsha(digest, 0)
        admin.execute_command("ACL", "SETUSER", "someone", rights)
        with pytest.raises(Unavailable), store_errors():
            client.evalsha(digest, 0)
        admin.execute_command("ACL", "DELUSER", "someone")


@pytest.mark.parametrize("flags", ["", "#!lua flags=allow-oom\n"])
def test_too_few_replicas_are_not_now(valkey, flags):
    with valkey.client() as client:
        client.config_set("min-replicas-to-write", 1)
        try:
            with pytest.raises(Unavailable), store_errors():
                client.eval(flags + WRITE, 0)
            with pytest.raises(Unavailable), store_errors():
                client.pipeline(transaction=False).hset("h", "a", "b").execute()
        finally:
            client.config_set("min-replicas-to-write", 0)


def test_a_value_of_another_type_costs_only_its_own_reply_and_hides_no_other_error(redis_client):
    redis_client.set("text", "x")
    ask = [("HGETALL", "text"), ("GET", "text"), ("LRANGE", "text", 0, -1), ("GET", "nothing")]
    first, text, second, nothing, now = replies_to(redis_client, ask, time_of="text")
    assert [is_of_another_type(each) for each in (first, second)] == [True, True]
    assert (text, nothing, len(now)) == (b"x", None, 2)
    assert replies_to(redis_client, [("GET", "text")]) == [b"x"]
    assert replies_to(redis_client, []) == []
    for wrong in (("INCR", "text"), ("GET", "text", "x")):
        for commands in ([ask[0], wrong], [wrong, ask[0]], [wrong]):
            with pytest.raises(StoreFault) as caught:
                replies_to(redis_client, commands)
            assert not is_of_another_type(caught.value.__cause__)
