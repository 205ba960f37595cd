"""How scripts are loaded into the server and found there, on the fake and on a real server."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import redis

from relay.errors import SettingsError, StoreFault, Unavailable
from relay.store.keys.names import ROOT
from relay.store.partitions import reachable
from relay.store.scripting import loading as functions
from relay.store.scripting import scripts
from relay.store.scripting.library import Kind, Library, ScriptFunction, library
from relay.store.scripting.loading import Functions, has_functions, load_functions, load_into, renew
from relay.store.scripting.scripts import AHEAD, Scripts
from relay.store.server import replicas
from relay.store.server.connection import client_of
from relay.store.server.replicas import primaries_of, require_replicas
from relay.up import access
from tests.faulty_server import Fault, faulty_server
from tests.store_keys import KEYS
from tests.timing import ANSWER_S

#: An argument by which a script fails.
NO_JSON = "no JSON"
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


def load(client):
    for server in primaries_of(client):
        load_into(server)


def test_what_another_process_has_loaded_meanwhile_is_left_alone(redis_client, runner):
    load(redis_client)
    load(redis_client)
    assert runner.run("read", []) == []


def test_a_text_that_the_server_refuses_is_a_fault_of_ours(runner, monkeypatch):
    named = {"read": ScriptFunction("relay_read_0", is_shared=False, is_fenced=False, kind=Kind.READS)}
    wrong = Library("relay_0", "#!lua name=relay_0\nnot lua", named)
    for module in (functions, scripts):
        monkeypatch.setattr(module, "library", lambda: wrong)
    with pytest.raises(StoreFault):
        runner.run("read", [])


def test_a_script_s_error_is_not_taken_for_a_missing_one(redis_client, runner):
    load(redis_client)
    with pytest.raises(StoreFault):
        runner.run("tally", ["p", NO_JSON, "", 10])


def test_a_failed_run_leaves_nothing_for_the_next_one(redis_client, runner):
    """Data that a run collects stays in the server's memory until the next run resets it."""
    for ref, webhook in (("a", "w"), ("b", "damaged")):
        record = {"state": "queued", "plugin": "p", "webhook": webhook, "lane": "bulk", "timeout": "1000"}
        redis_client.hset(f"relay:{{0}}:inv:{ref}", mapping=record | {"createdAt": "1", "requestBytes": "1"})
    redis_client.set(KEYS.policy("p", "damaged"), "no hash")
    with pytest.raises(StoreFault):
        runner.run("claim", ["t", 1, 1, 1, 1, 1, 1, 2, 0, "a", "b"])
    redis_client.delete("relay:{0}:inv:b")
    now_ms, replies, ready = runner.run("claim", ["t", 1, 1, 1, 1, 1, 1, 1, 0, "b"])
    assert (replies, ready) == ([b"skipped", b"gone", b""], [])
    assert redis_client.zcard("relay:{0}:due:running") == 0
    assert int(now_ms) > 0


REFS = [f"ref-{number}" for number in range(6)]


def rows(client):
    """Write records that each read differently, one of them malformed."""
    for number, ref in enumerate(REFS):
        record = {"state": "queued", "plugin": f"plugin-{number}", "webhook": "w", "lane": "bulk", "timeout": "1000"}
        client.hset(f"{ROOT}inv:{ref}", mapping=record | {"createdAt": "1", "requestBytes": "1"})
    client.delete(f"{ROOT}inv:{REFS[2]}")
    client.set(f"{ROOT}inv:{REFS[2]}", "no hash")


def runs(*, at=None, mishap=None):
    """Yield the runs that read one record after another; ``mishap`` is called before the one at ``at``."""
    for number, ref in enumerate(REFS):
        if number == at:
            mishap()
        yield ROOT, [ref]


def told(replies):
    return [type(reply) if isinstance(reply, Exception) else reply for reply in replies]


def one_by_one(runner):
    def run(ref):
        try:
            return runner.run("read", [ref])
        except StoreFault as error:
            return error

    return told(map(run, REFS))


def test_runs_in_turn_are_answered_as_each_would_be_alone(redis_client, runner):
    rows(redis_client)
    found = told(runner.run_in_turn("read", runs()))
    assert found == one_by_one(runner)
    assert len({str(reply) for reply in found}) == len(REFS)


def test_a_fault_in_one_of_several_runs_in_turn_is_that_run_s_own(runner):
    given = ["{}", NO_JSON, "{}"]
    found = told(runner.run_in_turn("tally", ((ROOT, ["p", filter_text, "", 10]) for filter_text in given)))
    assert [reply is StoreFault for reply in found] == [text == NO_JSON for text in given]


@pytest.mark.parametrize("at", range(len(REFS)))
@pytest.mark.parametrize("mishap", ["forgets", "hangs up", "hangs up and forgets"])
def test_whatever_the_server_loses_between_runs_in_turn_each_has_its_own_reply(valkey, mishap, at):
    def happen():
        if "forgets" in mishap:
            client.function_flush()
        if "hangs up" in mishap:
            client.client_kill_filter(_type="normal", skipme=True)

    with valkey.client() as client, valkey.client() as own:
        rows(client)
        runner = Scripts(own)
        wanted = one_by_one(runner)
        assert told(runner.run_in_turn("read", runs(at=at, mishap=happen))) == wanted
        assert one_by_one(runner) == wanted


def test_the_next_run_is_made_before_the_one_at_the_server_has_answered(valkey):
    taken = []
    with valkey.client() as client:
        rows(client)
        replies = Scripts(client).run_in_turn("read", (taken.append(each) or each for each in runs()))
        next(replies)
        assert len(taken) == AHEAD
        assert len(told(replies)) == len(REFS) - 1


def test_runs_one_by_one_and_in_turn_leave_their_connection_to_the_next(valkey, monkeypatch):
    with valkey.client() as client:
        load(client)
        taken, take = [], client.client
        monkeypatch.setattr(client, "client", lambda: taken.append(take()) or taken[-1])
        runner = Scripts(client)
        for _ in range(2):
            assert runner.run("read", []) == []
            assert list(runner.run_in_turn("read", [(ROOT, [])] * 3)) == [[]] * 3
        assert len(taken) == 1


@pytest.mark.parametrize("is_killed", [True, False])
def test_a_run_survives_the_loss_of_its_connection_and_leaves_one_that_is_to_move(valkey, is_killed):
    with valkey.client() as client:
        load(client)
        runner = Scripts(client)
        assert runner.run("read", []) == []
        (kept,) = runner._kept
        number = kept.client_id()
        if is_killed:
            client.client_kill_filter(_id=number)
        else:  # as redis-py does when the server says that it moves
            kept.connection.mark_for_reconnect()
        assert [runner.run("read", []) for _ in range(2)] == [[], []]
        (kept,) = runner._kept
        assert kept.client_id() != number


def test_only_a_script_that_confirms_something_needs_replicas(valkey, monkeypatch):
    monkeypatch.setattr(replicas, "WAIT_MS", 50)
    given = {"read": [], "replay_leave": ["no-job", "token", 0, 0], "audit_sign": [1, "", "", 0, "", 0, ""]}
    reads, counts, confirms = given
    assert [library().functions[name].kind for name in given] == [Kind.READS, Kind.COUNTS, Kind.CONFIRMS]
    with valkey.client() as client:
        require_replicas(client, 1)
        runner = Scripts(client)
        assert runner.run(reads, given[reads]) == []
        assert runner.run(counts, given[counts]) == []
        with pytest.raises(Unavailable, match="Too few replicas"):
            runner.run(confirms, given[confirms])


def port_of(valkey):
    return int(valkey.tcp_url.rpartition(":")[2].removesuffix("/0"))


@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name)
@pytest.mark.parametrize("error", [b"LOADING Valkey is loading the dataset in memory", b"READONLY You can't write"])
@pytest.mark.parametrize(
    ("name", "args"),
    [("read", []), ("replay_leave", ["no-job", "token", 0, 0]), ("audit_sign", [1, "", "", 0, "", 0, ""])],
)
def test_what_a_lost_reply_leaves_open_is_said_of_what_confirms_and_of_nothing_else(valkey, name, args, error, fault):
    with faulty_server(port_of(valkey)) as server, redis.Redis(port=server.port) as client:
        load(client)
        runner = Scripts(client)
        assert runner.run("read", []) == []
        server.error, server.fault, server.at = error, fault, server.requests
        if fault is not Fault.LOST and error.startswith(b"LOADING"):
            runner.run(name, args)  # a server that was loading is asked again
            return
        with pytest.raises(Unavailable) as raised:
            runner.run(name, args)
        is_open = fault is Fault.LOST and library().functions[name].kind is Kind.CONFIRMS
        assert raised.value.message.endswith("may or may not have happened.") is is_open
        server.at = None
        runner.run(name, args)


@contextmanager
def store_of(request, kind):
    """Yield a proxy before a server, and a client through it: of one server, one that requires replicas, or a cluster."""
    node = request.getfixturevalue("cluster_node" if kind == "cluster" else "valkey")
    with faulty_server(port_of(node)) as server, node.client() as direct:
        url = f"redis+cluster://127.0.0.1:{server.port}" if kind == "cluster" else server.url
        if kind == "cluster":
            direct.config_set("cluster-announce-port", server.port)
        try:
            with client_of(url, socket_timeout=ANSWER_S) as client:
                load(client)
                if kind == "replicas":
                    require_replicas(client, 1)
                yield server, client
        finally:
            if kind == "cluster":
                direct.config_set("cluster-announce-port", 0)


SIGNS = ("audit_sign", [1, "", "", 0, "", 0, ""])
WAYS = {
    "a script": lambda runner: runner.run(*SIGNS),
    "a write": lambda runner: runner.write(ROOT, "SET", f"{ROOT}any", 1),
    "in turn": lambda runner: raised(*runner.run_in_turn(SIGNS[0], [(ROOT, SIGNS[1])])),
}


def raised(reply):
    if isinstance(reply, Exception):
        raise reply


@pytest.mark.parametrize("kind", ["single", "replicas", "cluster"])
@pytest.mark.parametrize("way", WAYS)
def test_a_lost_reply_is_told_alike_whatever_was_asked_of_whichever_store(request, kind, way):
    with store_of(request, kind) as (server, client):
        runner = Scripts(client)
        assert runner.run("read", []) == []
        client.set(f"{ROOT}any", 0)
        server.at = server.requests
        with pytest.raises(Unavailable) as error:
            WAYS[way](runner)
        lost = "The store gave no answer: what was asked for may or may not have happened."
        assert error.value.message == f"{Unavailable.sentence} {lost}"


@pytest.mark.parametrize("lost", range(len(REFS)))
def test_of_runs_in_turn_only_those_that_the_server_was_given_may_have_happened(valkey, lost):
    with faulty_server(port_of(valkey)) as server, redis.Redis(port=server.port) as client:
        load(client)
        runner = Scripts(client)
        assert runner.run("read", []) == []

        def runs():
            for number, _ in enumerate(REFS):
                if number == lost:  # the reply to the one before, which may be at the server, may be lost as well
                    server.at = server.requests
                yield ROOT, SIGNS[1]

        found = [getattr(reply, "message", "") for reply in runner.run_in_turn(SIGNS[0], runs())]
    is_told = ["may or may not have happened" in said for said in found]
    assert not any(found[: max(0, lost - 1)])
    assert any(is_told[max(0, lost - 1) : lost + 1])
    assert set(found[lost + AHEAD :]) <= {Unavailable.sentence}


def test_a_server_that_is_away_was_asked_for_nothing(valkey):
    with faulty_server(port_of(valkey)) as server, redis.Redis(port=server.port) as client:
        server.at = -1
        with pytest.raises(Unavailable) as raised:
            Scripts(client).run("audit_sign", [1, "", "", 0, "", 0, ""])
        assert raised.value.message == Unavailable.sentence


@pytest.mark.parametrize("after", range(len(REFS)))
def test_whoever_wants_no_more_replies_leaves_none_to_others(valkey, after):
    with valkey.client() as client:
        rows(client)
        runner = Scripts(client)
        wanted = one_by_one(runner)
        replies = runner.run_in_turn("read", runs())
        for _ in range(after):
            next(replies)
        replies.close()
        assert one_by_one(runner) == wanted


def test_runs_in_turn_on_a_server_that_is_away_are_each_unavailable():
    runner = Scripts(redis.Redis(host="127.0.0.1", port=1, retry=None))
    assert told(runner.run_in_turn("read", runs())) == [Unavailable] * len(REFS)


def test_a_full_server_runs_what_it_knows_and_is_unavailable_for_what_it_does_not(valkey):
    with valkey.client() as client:
        runner = Scripts(client)
        load(client)
        client.config_set("maxmemory", "1mb")
        try:
            assert runner.run("read", []) == []
            client.function_flush()
            with pytest.raises(Unavailable, match="no room"):
                runner.run("read", [])
        finally:
            client.config_set("maxmemory", "0")


class OneServer:
    """A server of a cluster as a check of its functions sees it: it has them, lacks them, refuses or does not answer."""

    def __init__(self, *answers):
        self._answers = list(answers)
        self.loaded = 0

    def fcall(self, *_):
        if error := self._answers.pop(0):
            raise error

    def function_load(self, _):
        self.loaded += 1


LACKING = redis.ResponseError("Function not found")
REFUSES = redis.exceptions.NoPermissionError("NOPERM")
FULL = redis.exceptions.OutOfMemoryError("OOM")


@pytest.fixture
def now_s(monkeypatch):
    now_s = [1_000.0]
    monkeypatch.setattr(functions, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    return now_s


def checking(monkeypatch, *servers):
    monkeypatch.setattr(reachable, "primaries_of", lambda _: servers)
    return Functions(None)


def test_servers_that_have_the_functions_are_believed_to_for_ten_seconds(monkeypatch, now_s):
    server = OneServer(None, LACKING, None)
    checked = checking(monkeypatch, server)
    for later_s in (0.0, 9.9):
        now_s[0] = 1_000.0 + later_s
        checked.check()
    assert (len(server._answers), server.loaded) == (2, 0)
    now_s[0] = 1_010.0
    checked.check()
    assert (len(server._answers), server.loaded) == (1, 1)
    now_s[0] = 1_019.9
    checked.check()
    assert len(server._answers) == 1


def test_a_server_that_does_not_answer_is_checked_again_at_once_and_the_others_serve_meanwhile(monkeypatch, now_s):
    servers = OneServer(None, None, None), OneServer(redis.ConnectionError(), LACKING, None)
    checked = checking(monkeypatch, *servers)
    for left, loaded in ((2, 0), (1, 1), (1, 1)):
        checked.check()
        assert [len(each._answers) for each in servers] == [left, left]
        assert [each.loaded for each in servers] == [0, loaded]


@pytest.mark.parametrize("first", [True, False])
def test_one_server_that_refuses_is_enough_to_say_so(monkeypatch, now_s, first):
    servers = [OneServer(None, None), OneServer(REFUSES, None)]
    checked = checking(monkeypatch, *(reversed(servers) if first else servers))
    with pytest.raises(Unavailable):
        checked.check()
    checked.check()
    assert [each._answers for each in servers] == [[], []]


def test_a_replica_that_refuses_to_run_a_function_has_it():
    assert has_functions(OneServer(redis.exceptions.ReadOnlyError("READONLY")))
    assert has_functions(OneServer(None))
    assert not has_functions(OneServer(LACKING))
    for error in (REFUSES, FULL, redis.ResponseError("Function not found: by somebody"), redis.ConnectionError()):
        with pytest.raises(type(error)):
            has_functions(OneServer(error))


def test_a_start_on_a_server_of_its_own_takes_the_scripts_of_other_versions_away(valkey):
    with valkey.client() as client:
        for name in ("relay_0123456789abcdef", "somebody_s"):
            client.function_load(FOREIGN.format(name=name))
        renew(valkey.url)
        assert libraries(client) == {"somebody_s", library().name}


PROCESSES = [user.name for user in access.users()]


@pytest.fixture
def address_of(valkey):
    """Return a user's address of a server with the users of `deploy/users.acl`."""
    with valkey.client() as client:
        for user in access.users():
            _, name, *rules = user.rule("secret").split()
            client.execute_command("ACL", "SETUSER", name, *rules)
        yield lambda name: valkey.tcp_url.replace("://", f"://{name}:secret@")
        client.execute_command("ACL", "DELUSER", *PROCESSES)


@pytest.mark.parametrize("user", ["api", "worker", "operator"])
def test_a_process_that_may_not_load_scripts_names_what_is_missing_until_somebody_else_has_loaded_it(
    valkey, address_of, user
):
    with redis.Redis.from_url(address_of(user), socket_timeout=ANSWER_S) as client:
        runner, functions = Scripts(client), Functions(client)
        for act in (lambda: runner.run("read", []), functions.check):
            with pytest.raises(Unavailable, match=library().name) as raised:
                act()
            assert "`relay functions load`" in raised.value.message
        assert load_functions(valkey.url) == 1
        functions.check()
        assert runner.run("read", []) == []
        assert load_functions(valkey.url) == 0


@pytest.mark.parametrize("user", PROCESSES)
def test_no_process_may_add_replace_or_take_away_a_script(valkey, address_of, user):
    load_functions(valkey.url)
    with redis.Redis.from_url(address_of(user), socket_timeout=ANSWER_S) as client:
        mine = FOREIGN.format(name="mine")
        theirs = f"#!lua name={library().name}\nredis.register_function('f', function() return 1 end)"
        for command in (
            ("FUNCTION", "LOAD", mine),
            ("FUNCTION", "LOAD", "REPLACE", theirs),
            ("FUNCTION", "DELETE", library().name),
            ("FUNCTION", "FLUSH"),
            ("FUNCTION", "RESTORE", b"x"),
            ("FUNCTION", "KILL"),
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command)
        with pytest.raises(SettingsError, match="administrator"):
            load_functions_after_a_flush(valkey, address_of(user))


def load_functions_after_a_flush(valkey, url):
    with valkey.client() as client:
        client.function_flush()
    return load_functions(url)
