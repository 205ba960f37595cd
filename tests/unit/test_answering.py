"""Only one caller at a time asks a silent server; once it has answered, all callers do again."""

from __future__ import annotations

import socket
import time
from contextlib import nullcontext
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from redis import exceptions
from redis.cluster import ClusterPipeline
from redis.connection import Connection

from relay.errors import Unavailable
from relay.store.api_keys.keys import KEY_AGE_S
from relay.store.keys.keyspace import Keyspace
from relay.store.partitions.reachable import ask_partitions
from relay.store.server import availability as module
from relay.store.server import replicas
from relay.store.server.availability import (
    GONE_S,
    LEFT_OUT_S,
    PATIENCE_S,
    PAUSE_S,
    SHORT_S,
    NotAskedError,
    PatientConnection,
    WaitingConnections,
    going_on_without,
    leaving_out_longer,
    waiting_longer,
)
from relay.store.server.connection import client_of
from relay.store.server.replicas import refresh_primaries
from tests.receivers import LOOPBACK, closed_port, full_backlog
from tests.timing import ANSWER_S, BUSY_S


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""
    now_s = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now_s[0])

    def move_on(seconds):
        now_s[0] += seconds

    return move_on


@pytest.fixture
def waiting():
    return WaitingConnections()


def test_many_ask_a_server_that_takes_its_time(clock, waiting):
    waiting.begin_wait("a")
    clock(PATIENCE_S)
    waiting.begin_wait("b")


def test_nobody_else_asks_while_somebody_waits_for_too_long(clock, waiting):
    waiting.begin_wait("a")
    clock(PATIENCE_S + 0.1)
    with pytest.raises(NotAskedError):
        waiting.begin_wait("b")
    waiting.answered("a")
    waiting.begin_wait("b")


def test_after_one_has_waited_in_vain_one_asks_at_a_time(clock, waiting):
    waiting.begin_wait("a")
    waiting.gave_up("a")
    waiting.begin_wait("b")
    with pytest.raises(NotAskedError):
        waiting.begin_wait("c")
    waiting.gave_up("b")
    waiting.begin_wait("c")
    waiting.answered("c")
    waiting.begin_wait("a")
    waiting.begin_wait("b")


def test_after_a_time_out_nobody_asks_for_a_moment_not_even_who_waited(clock, waiting):
    waiting.begin_wait("a")
    waiting.timed_out("a", 100.0)
    clock(PAUSE_S - 0.1)
    for each in ("a", "b"):
        with pytest.raises(NotAskedError):
            waiting.begin_wait(each)
    clock(0.1)
    waiting.begin_wait("b")
    with pytest.raises(NotAskedError):
        waiting.begin_wait("a")


def test_a_server_that_answered_others_meanwhile_is_asked_on(clock, waiting):
    waiting.begin_wait("lost")
    clock(1.0)
    waiting.begin_wait("well")
    waiting.answered("well")
    clock(4.0)
    waiting.timed_out("lost", 100.0)
    waiting.begin_wait("well")


def test_an_answer_ends_the_pause_after_a_time_out(clock, waiting):
    waiting.begin_wait("a")
    waiting.begin_wait("b")
    waiting.timed_out("a", 100.0)
    waiting.answered("b")
    waiting.begin_wait("c")
    waiting.begin_wait("d")


def test_an_answer_to_anybody_shows_that_the_server_is_well(clock, waiting):
    waiting.begin_wait("a")
    waiting.begin_wait("b")
    waiting.gave_up("a")
    waiting.answered("b")
    waiting.begin_wait("c")
    waiting.begin_wait("d")


def test_who_closes_a_connection_without_a_question_says_nothing_of_the_server(clock, waiting):
    waiting.gave_up("a")
    waiting.begin_wait("b")
    waiting.begin_wait("c")


def test_who_connects_first_is_let_through_though_the_last_one_got_no_answer(clock, waiting):
    waiting.begin_wait("a")
    waiting.gave_up("a")
    waiting.begin_wait("b")
    waiting.begin_wait("b")  # what it says to connect
    waiting.answered("b")
    waiting.pause_wait("b")
    waiting.resume_wait("b")
    clock(PATIENCE_S + 0.1)
    with pytest.raises(NotAskedError):
        waiting.begin_wait("c")


def test_an_answer_that_nobody_reads_yet_makes_nobody_wait(clock, waiting):
    waiting.begin_wait("a")
    waiting.pause_wait("a")
    clock(PATIENCE_S + 0.1)
    waiting.begin_wait("b")
    waiting.answered("b")
    waiting.resume_wait("a")
    clock(PATIENCE_S + 0.1)
    with pytest.raises(NotAskedError):
        waiting.begin_wait("b")


def test_who_went_without_a_word_keeps_nobody_from_asking(clock, waiting):
    waiting.begin_wait("a")
    clock(GONE_S + 0.1)
    waiting.begin_wait("b")
    waiting.begin_wait("c")
    assert list(waiting._waiting) == ["b", "c"], "it is not remembered either"


def test_a_connection_that_listens_and_is_not_read_keeps_nobody_from_asking(cluster_node, monkeypatch):
    with client_of(cluster_node.tcp_url.replace("redis://", "redis+cluster://"), socket_timeout=ANSWER_S) as client:
        listener = client.pubsub(node=client.get_default_node())
        listener.subscribe("nobody-reads")
        listener.ping()
        monkeypatch.setattr(module, "PATIENCE_S", -1.0)  # whoever waits, waits for too long
        assert client.ping()
        listener.close()


def test_an_answer_that_is_an_error_is_one(cluster_node, monkeypatch):
    with client_of(cluster_node.tcp_url.replace("redis://", "redis+cluster://"), socket_timeout=ANSWER_S) as client:
        server = client.get_redis_connection(client.get_default_node())
        first, second = (server.connection_pool.get_connection() for _ in range(2))
        monkeypatch.setattr(module, "PATIENCE_S", -1.0)  # whoever waits, waits for too long
        first.send_command("FCALL", "nobody's", 0)
        with pytest.raises(exceptions.ResponseError):
            first.read_response()
        second.send_command("PING")
        assert second.read_response() == b"PONG"
        for each in (first, second):
            server.connection_pool.release(each)


def test_who_has_asked_and_does_not_read_the_answer_yet_keeps_nobody_from_asking(cluster_node, monkeypatch):
    with client_of(cluster_node.tcp_url.replace("redis://", "redis+cluster://"), socket_timeout=ANSWER_S) as client:
        server = client.get_redis_connection(client.get_default_node())
        first, second = (server.connection_pool.get_connection() for _ in range(2))
        monkeypatch.setattr(module, "PATIENCE_S", -1.0)  # whoever waits, waits for too long
        for each in (first, second):
            each.send_command("PING")
        for each in (first, second):
            assert each.read_response() == b"PONG"
            server.connection_pool.release(each)


def test_who_lost_the_connection_on_which_it_waited_keeps_nobody_from_asking(cluster_node, monkeypatch):
    with client_of(cluster_node.tcp_url.replace("redis://", "redis+cluster://"), socket_timeout=ANSWER_S) as client:
        server = client.get_redis_connection(client.get_default_node())
        first, second = (server.connection_pool.get_connection() for _ in range(2))
        first.send_command("QUIT")
        assert first.read_response() == b"OK"
        with pytest.raises(exceptions.ConnectionError):
            first.read_response()  # the server has closed it
        monkeypatch.setattr(module, "PATIENCE_S", -1.0)  # whoever waits, waits for too long
        second.send_command("PING")
        assert second.read_response() == b"PONG"
        for each in (first, second):
            server.connection_pool.release(each)


def test_a_server_that_was_silent_is_asked_again_on_connections_that_are_made_anew(cluster_node):
    with client_of(cluster_node.tcp_url.replace("redis://", "redis+cluster://"), socket_timeout=ANSWER_S) as client:
        node = client.get_redis_connection(client.get_default_node())
        connection = node.connection_pool.get_connection()
        connection._waiting._failed = True
        connection.disconnect()
        connection.send_command("PING")  # connects first, which also asks the server
        assert connection.read_response() == b"PONG"
        node.connection_pool.release(connection)


def connection_to(port):
    return PatientConnection(host=LOOPBACK, port=port, socket_connect_timeout=0.2, retry=None)


def test_who_cannot_connect_in_time_waits_in_vain_too():
    with full_backlog() as port:
        with pytest.raises(exceptions.TimeoutError) as first:
            connection_to(port).connect()
        with pytest.raises(NotAskedError):
            connection_to(port).connect()
    assert first.type is exceptions.TimeoutError


def test_who_can_go_on_without_an_answer_waits_for_a_moment_and_then_leaves_the_server_out():
    with socket.create_server((LOOPBACK, 0)) as silent:  # connections wait in its backlog
        where = {"host": LOOPBACK, "port": silent.getsockname()[1], "socket_timeout": ANSWER_S, "retry": None}
        first, second = PatientConnection(**where), PatientConnection(**where)
        began_s = time.monotonic()
        with going_on_without(0.05), leaving_out_longer():
            with pytest.raises(exceptions.TimeoutError) as caught:
                first.connect()  # says what it is, and waits for the answer
            assert (caught.type, module.is_silent(LOOPBACK, where["port"])) == (exceptions.TimeoutError, True)
            with pytest.raises(NotAskedError):
                second.connect()
        assert time.monotonic() - began_s < BUSY_S < ANSWER_S
        for each in (first, second):
            each.disconnect()


def test_a_connection_whose_server_is_found_silent_while_it_greets_it_is_not_made(monkeypatch):
    monkeypatch.setattr(module, "PAUSE_S", ANSWER_S)
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]

        def greet(connection):
            module._BY_SERVER[LOOPBACK, port].timed_out("another", time.monotonic())
            connection.send_command("PING")

        connection = PatientConnection(host=LOOPBACK, port=port, retry=None, redis_connect_func=greet)
        with pytest.raises(NotAskedError):
            connection.connect()
        connection.disconnect()
        connection._waiting.answered(connection)


@pytest.mark.parametrize(
    ("command", "answers", "is_silent"), [(("BLPOP", "nothing", 0), 0, True), (("SUBSCRIBE", "nothing"), 1, False)]
)
def test_who_gets_no_answer_has_waited_in_vain_and_who_listens_has_not(
    cluster_node, monkeypatch, command, answers, is_silent
):
    where = {"host": LOOPBACK, "port": urlsplit(cluster_node.tcp_url).port}
    connection = PatientConnection(**where, socket_timeout=ANSWER_S, retry=None)
    connection.connect()
    now_s = time.monotonic()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now_s))
    try:
        connection.send_command(*command)
        for _ in range(answers):
            connection.read_response(push_request=True)
        with going_on_without(0.05), pytest.raises(exceptions.TimeoutError):
            connection.read_response(timeout=0.05, push_request=True, disconnect_on_error=False)
        assert module.is_silent(**where) is is_silent
    finally:
        connection._waiting.answered(connection)
        connection.disconnect()


def test_a_root_whose_server_has_just_been_silent_is_not_asked(cluster_node, monkeypatch):
    place, asked = urlsplit(cluster_node.tcp_url), []
    with client_of(cluster_node.tcp_url.replace("redis://", "redis+cluster://"), socket_timeout=ANSWER_S) as client:
        assert list(ask_partitions(client, Keyspace(2), asked.append)) == [None, None]
        monkeypatch.setattr(replicas, "is_silent", lambda *where: where == (place.hostname, place.port))
        with pytest.raises(Unavailable):
            ask_partitions(client, Keyspace(2), asked.append)
        assert asked == [0, 1]


def test_a_connection_that_was_needed_only_soon_waits_as_usual_later(monkeypatch):
    waited_s, connection = [], connection_to(closed_port())

    def connect(self):
        waited_s.append(self.socket_connect_timeout)
        raise ConnectionRefusedError

    monkeypatch.setattr(Connection, "_connect", connect)
    for within in (nullcontext(), going_on_without(0.05), nullcontext()):
        with within, pytest.raises(exceptions.ConnectionError):
            connection.connect()
    assert waited_s == [0.2, 0.05, 0.2]


def test_a_server_that_refuses_connections_is_asked_by_all():
    port = closed_port()
    assert not module.is_silent(LOOPBACK, port)  # nobody has asked it yet
    for _ in range(3):
        with pytest.raises(exceptions.ConnectionError):
            connection_to(port).connect()


def test_who_can_go_on_without_the_server_leaves_it_out_and_says_nothing_to_others(clock, waiting):
    with going_on_without():
        waiting.begin_wait("a")
        clock(SHORT_S)
        waiting.timed_out("a", 100.0)
        with pytest.raises(NotAskedError):
            waiting.begin_wait("a")
    waiting.begin_wait("b")
    waiting.begin_wait("c")  # nobody says that the last one got no answer
    clock(LEFT_OUT_S)
    with going_on_without():
        waiting.begin_wait("a")


def test_an_answer_to_anybody_ends_the_leaving_out(clock, waiting):
    with going_on_without():
        waiting.timed_out("a", 100.0)
        assert waiting.is_silent
        waiting.answered("c")
        waiting.begin_wait("a")


def test_a_server_is_left_out_for_no_longer_than_a_key_is_used_without_asking():
    assert LEFT_OUT_S <= KEY_AGE_S


def test_where_the_server_waits_itself_it_is_given_the_time():
    with going_on_without():
        with waiting_longer(1.0):
            assert module._short_s.get() == SHORT_S + 1.0
        assert module._short_s.get() == SHORT_S
    with waiting_longer(1.0):
        assert module._short_s.get() is None


def test_a_cluster_is_asked_for_its_primaries_only_so_often_and_any_other_server_never(cluster_node, monkeypatch):
    now_s, asked = [0.0], []
    monkeypatch.setattr(replicas, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    url = cluster_node.tcp_url
    with client_of(url) as server, client_of(url.replace("redis://", "redis+cluster://")) as cluster:
        monkeypatch.setattr(cluster.nodes_manager, "initialize", lambda: asked.append(now_s[0]))
        for now_s[0], within_s in ((100.0, 1.0), (100.9, 1.0), (101.0, 1.0), (101.1, 0.0), (101.2, 0.2), (101.4, 0.2)):
            refresh_primaries(cluster, at_most_once_in_s=within_s)
            refresh_primaries(server, at_most_once_in_s=within_s)
    assert asked == [100.0, 101.0, 101.1, 101.4]


def test_a_pipeline_of_a_cluster_raises_errors_unless_it_is_to_return_them(cluster_node):
    with client_of(cluster_node.tcp_url.replace("redis://", "redis+cluster://"), socket_timeout=ANSWER_S) as client:
        pipeline = client.pipeline(transaction=False)
        pipeline.set("{p}:text", "x").lpush("{p}:text", "x").get("{p}:text")
        with pytest.raises(exceptions.ResponseError, match="WRONGTYPE"):
            pipeline.execute()
        pipeline.set("{p}:text", "x").lpush("{p}:text", "x").get("{p}:text")
        is_set, refused, text = pipeline.execute(raise_on_error=False)
        assert (is_set, type(refused), text) == (True, exceptions.ResponseError, b"x")
        client.delete("{p}:text")


def test_after_any_error_of_a_cluster_its_primaries_are_asked_for(cluster_node, monkeypatch):
    port, asked = urlsplit(cluster_node.tcp_url).port, []
    errors = [exceptions.MovedError(f"0 {LOOPBACK}:{port}")] * 3
    with client_of(cluster_node.tcp_url.replace("redis://", "redis+cluster://"), socket_timeout=ANSWER_S) as client:
        monkeypatch.setattr(client.nodes_manager, "initialize", lambda *_, **__: asked.append(len(errors)))
        read = PatientConnection.read_response

        def answer(self, *args, **options):
            reply = read(self, *args, **options)
            if errors and reply is None:
                raise errors.pop()
            return reply

        monkeypatch.setattr(PatientConnection, "read_response", answer)
        assert client.get("{p}:nothing") is None
    assert asked == [2, 1, 0]


def test_after_a_pipeline_has_found_the_cluster_down_its_primaries_are_asked_for(cluster_node, monkeypatch):
    def down(*_):
        raise exceptions.ClusterDownError("CLUSTERDOWN The cluster is down")

    asked = []
    with client_of(cluster_node.tcp_url.replace("redis://", "redis+cluster://"), socket_timeout=ANSWER_S) as client:
        monkeypatch.setattr(client.nodes_manager, "initialize", lambda: asked.append("primaries"))
        with monkeypatch.context() as patch:
            patch.setattr(ClusterPipeline, "execute", down)
            with pytest.raises(exceptions.ClusterDownError):
                client.pipeline(transaction=False).get("{p}:text").execute()
        assert client.pipeline(transaction=False).get("{p}:text").execute() == [None]
    assert asked == ["primaries"]


@pytest.mark.parametrize(
    ("error", "tries", "refreshed_s"),
    [
        (exceptions.TimeoutError(), 1, 0.0),  # it would keep the caller waiting for as long again
        (NotAskedError(), 1, 1.0),
        (exceptions.ConnectionError(), 3, 0.0),
        (exceptions.ClusterDownError("CLUSTERDOWN"), 3, 0.0),
        (exceptions.MovedError("1 127.0.0.1:1"), 3, 0.0),
        (exceptions.AskError("1 127.0.0.1:1"), 1, None),  # it is not followed
        (exceptions.ResponseError(), 1, None),
    ],
)
def test_what_a_primary_did_not_do_is_tried_again_unless_it_is_silent(
    cluster_node, monkeypatch, error, tries, refreshed_s
):
    def act(server):
        asked.append(server)
        raise error

    def refresh(_, *, at_most_once_in_s):
        refreshed.append(at_most_once_in_s)

    monkeypatch.setattr(replicas, "_PAUSE_S", 0.0)
    monkeypatch.setattr(replicas, "refresh_primaries", refresh)
    for url in (cluster_node.tcp_url.replace("redis://", "redis+cluster://"), cluster_node.tcp_url):
        asked, refreshed = [], []
        with client_of(url, socket_timeout=ANSWER_S) as client:
            with pytest.raises(type(error)):
                replicas.on_primary(client, "relay:{0}:", act)
            assert len(asked) == tries
            assert refreshed == ([] if refreshed_s is None else [refreshed_s] * min(tries, 2))


def test_what_a_silent_primary_did_not_do_is_tried_where_the_keys_are_by_then(cluster_node, monkeypatch):
    with client_of(cluster_node.tcp_url.replace("redis://", "redis+cluster://"), socket_timeout=ANSWER_S) as client:
        primaries = iter(("old", "new", "new"))
        monkeypatch.setattr(replicas, "primary_of", lambda *_: next(primaries))

        def act(server):
            if server == "old":
                raise exceptions.TimeoutError
            return f"done by {server}"

        assert replicas.on_primary(client, "relay:{0}:", act) == "done by new"
