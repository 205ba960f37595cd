"""How clients of the store are made: of one server, of Sentinels and of a cluster, and what they find out of it."""

from __future__ import annotations

from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
import redis
from redis import exceptions
from redis.cluster import ClusterNode, NodesManager, RedisCluster
from redis.sentinel import Sentinel

from relay.errors import Unavailable
from relay.store.partitions.states import _address_of
from relay.store.scripting.scripts import Scripts
from relay.store.server import connection as module
from relay.store.server import replicas
from relay.store.server.availability import patience_s
from relay.store.server.connection import client_of, connect, places_behind, servers_of
from relay.store.server.exchange import Exchange
from relay.store.server.replicas import WAIT_MS, refresh_primaries, require_replicas
from relay.text.server_addresses import ASKING_A_SENTINEL
from tests.receivers import LOOPBACK, closed_port
from tests.timing import ANSWER_S
from tests.unit.test_settings import settings


def of_cluster(node):
    return node.tcp_url.replace("redis://", "redis+cluster://")


def test_a_client_of_sentinels_asks_each_of_them_for_its_service_and_logs_in_to_the_server_alone():
    url = "rediss+sentinel://me:p%40ss@a:1,b:2/relay/3?ssl_ca_certs=/ca.pem"
    client = client_of(url, socket_timeout=7, socket_connect_timeout=8, max_connections=9)
    pool = client.connection_pool
    assert (pool.service_name, pool.max_connections) == ("relay", 9)
    of_server = {"db": 3, "username": "me", "password": "p@ss", "ssl_ca_certs": "/ca.pem"}
    assert of_server.items() <= pool.connection_kwargs.items()
    assert {"socket_timeout": 7, "socket_connect_timeout": 8}.items() <= pool.connection_kwargs.items()
    asked = [each.connection_pool for each in pool.sentinel_manager.sentinels]
    assert [(each.connection_kwargs["host"], each.connection_kwargs["port"]) for each in asked] == [("a", 1), ("b", 2)]
    for each in asked:
        assert issubclass(each.connection_class, redis.SSLConnection)
        options = {"ssl_ca_certs": "/ca.pem", **ASKING_A_SENTINEL}
        assert options.items() <= each.connection_kwargs.items()
        assert not {"username", "password", "db"} & {name for name, value in each.connection_kwargs.items() if value}
    client.close()


@pytest.mark.parametrize(("host", "asked"), [("a", "a"), ("[::1]", "::1")])
def test_a_client_of_a_cluster_asks_every_server_that_the_address_names(monkeypatch, host, asked):
    made = {}
    monkeypatch.setattr(RedisCluster, "__init__", lambda _, **options: made.update(options))
    monkeypatch.setattr(module._Cluster, "nodes_manager", SimpleNamespace(initialize=None), raising=False)
    client_of(f"rediss+cluster://me:p%40ss@{host}:1,b:2?ssl_ca_certs=/ca.pem", socket_timeout=7)
    first = urlsplit(made["url"])
    nodes = [(each.host, each.port) for each in made["startup_nodes"]]
    assert ((first.hostname, first.port), nodes) == ((asked, 1), [("b", 2)])
    assert (made["username"], made["password"], made["ssl_ca_certs"], made["socket_timeout"]) == (
        *("me", "p@ss", "/ca.pem", 7),
    )
    assert made["connection_class"] is module.PatientSslConnection
    assert made["require_full_coverage"] is False


def test_a_silent_server_is_waited_for_only_briefly_to_say_where_the_keys_are_unless_all_are_silent(
    cluster_node, monkeypatch
):
    initialize, waited_s = NodesManager.initialize, []

    def slow_at_first(self, *args, **options):
        waited_s.append(patience_s())
        if len(waited_s) == 1:
            raise exceptions.TimeoutError
        return initialize(self, *args, **options) if len(waited_s) == 2 else None

    monkeypatch.setattr(NodesManager, "initialize", slow_at_first)
    with client_of(of_cluster(cluster_node), socket_timeout=ANSWER_S) as client:
        assert waited_s == [0.3, -1.0]
        refresh_primaries(client, at_most_once_in_s=0.0)
    assert waited_s == [0.3, -1.0, 0.3]


def test_what_any_server_knows_is_asked_of_one_that_is_not_silent(cluster_node, monkeypatch):
    others, silent = [ClusterNode("b", 2), ClusterNode("c", 3)], set()
    monkeypatch.setattr(module, "is_silent", lambda host, port: (host, port) in silent)
    with client_of(of_cluster(cluster_node), socket_timeout=ANSWER_S) as client:
        default = client.get_default_node()
        monkeypatch.setattr(client, "get_primaries", lambda: [default, *others])
        found = []
        for place in ((default.host, default.port), ("b", 2), ("c", 3)):
            silent.add(place)
            found.append(client.get_default_node())
    assert found == [*others, default]


def test_the_servers_behind_an_address_are_found_where_it_need_not_name_them(cluster_node, monkeypatch):
    place, made, make = urlsplit(cluster_node.tcp_url), [], module.client_of

    def noting(url, **options):
        made.append(options)
        return make(url, **dict.fromkeys(options, ANSWER_S))

    monkeypatch.setattr(module, "client_of", noting)
    monkeypatch.setattr(Sentinel, "discover_master", lambda _, service: (f"{service}.example", 6380))
    assert places_behind(of_cluster(cluster_node)) == {(place.hostname, place.port)}
    assert places_behind(f"redis+sentinel://{LOOPBACK}:{closed_port()}/relay") == {("relay.example", 6380)}
    assert made == [{"socket_timeout": 2, "socket_connect_timeout": 2}] * 2
    for url in (cluster_node.tcp_url, cluster_node.url):
        assert places_behind(url) == set()
    assert len(made) == 2, "the address itself names the server"
    assert places_behind(f"redis+cluster://{LOOPBACK}:{closed_port()}") == set()


def test_each_server_of_a_cluster_has_an_address_with_the_user_and_options_and_any_other_store_its_own(cluster_node):
    port = urlsplit(cluster_node.tcp_url).port
    with client_of(of_cluster(cluster_node), socket_timeout=ANSWER_S) as client:
        found = servers_of(client, f"redis+cluster://me:secret@{LOOPBACK}:{port},b.example:2?protocol=3")
    assert found == (
        {
            f"{LOOPBACK}:{port}": f"redis://me:secret@{LOOPBACK}:{port}/0?protocol=3",
            "b.example:2": "redis://me:secret@b.example:2/0?protocol=3",
        },
        {"b.example:2"},
    )
    with client_of(cluster_node.url) as client:
        assert servers_of(client, cluster_node.url) == ({"the server": cluster_node.url}, set())


@pytest.mark.parametrize("count", [0, 2])
def test_a_process_waits_briefly_tries_rarely_and_requires_the_replicas_of_its_settings(cluster_node, count):
    for url, keeps_alive in ((cluster_node.tcp_url, True), (cluster_node.url, None)):
        with connect(settings(REDIS_URL=url, STORE_REPLICAS=str(count))) as client:
            options = client.connection_pool.connection_kwargs
            assert (options["socket_timeout"], options["socket_connect_timeout"]) == (5, 2)
            assert (options["health_check_interval"], options.get("socket_keepalive")) == (15, keeps_alive)
            assert options["retry"].get_retries() == 2
            assert client.connection_pool.max_connections == 4_096
            assert Scripts(client).waits is (count > 0)


def test_the_server_of_a_partition_is_named_by_its_present_place(cluster_node, monkeypatch):
    monkeypatch.setattr(Sentinel, "discover_master", lambda *_: ("relay.example", 6380))
    place = urlsplit(cluster_node.tcp_url)
    urls = {
        f"redis+sentinel://{LOOPBACK}:1/relay": "relay.example:6380",
        cluster_node.tcp_url: f"{place.hostname}:{place.port}",
        cluster_node.url: f"unix:{urlsplit(cluster_node.url).path}",
    }
    for url, named in urls.items():
        with client_of(url) as client:
            assert _address_of(client) == named


class Confirming:
    """A server whose replicas confirm as many writes as they are told, and its one connection."""

    def __init__(self, *confirmed):
        self.confirmed, self.sent, self.patience_s = list(confirmed), [], []
        self.connection_pool, self.replies, self.is_closed = self, [], False

    def get_connection(self):
        return self

    def release(self, connection):
        assert connection is self

    def pack_commands(self, commands):
        return commands

    def send_packed_command(self, commands):
        *others, last = commands
        assert last == ("WAIT", 2, WAIT_MS)
        self.sent.append(list(commands))
        self.patience_s.append(patience_s())
        confirmed = self.confirmed.pop(0)
        self.replies = confirmed if isinstance(confirmed, list) else [*(command[0] for command in others), confirmed]

    def read_response(self):
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def disconnect(self):
        self.is_closed = True


ROOT, SMALL = "relay:{0}:", "relay:{0}:confirmed"
SETS_SMALL = ("SET", SMALL, 1, "PX", 60_000)
WRITES = {
    "a script": (
        lambda each: each.run(Exchange(confirms=True), "f", ROOT, [7]),
        "FCALL",
        [("FCALL", "f", 2, ROOT, SMALL, 7)],
    ),
    "a command": (
        lambda each: each.write(Exchange(confirms=True), ROOT, ("DEL", "k")),
        "DEL",
        [("DEL", "k"), SETS_SMALL],
    ),
    "nothing new": (lambda each: each.confirm(ROOT), None, [SETS_SMALL]),
}


@pytest.fixture
def now_s(monkeypatch):
    now_s = [1_000.0]
    monkeypatch.setattr(replicas, "time", SimpleNamespace(monotonic=lambda: now_s[0], sleep=lambda _: None))
    return now_s


def requiring(server, count=2):
    require_replicas(server, count)
    return replicas.Replicas(server)


@pytest.mark.parametrize("what", WRITES)
def test_what_enough_replicas_have_is_confirmed_and_a_server_with_too_few_is_left_alone_for_a_second(now_s, what):
    act, reply, sent = WRITES[what]
    server = Confirming(2, 3, 1, 2)
    writing = requiring(server)
    assert [act(writing) for _ in range(2)] == [reply] * 2
    assert server.sent[0][:-1] == sent
    for later_s, tries in ((0.0, 3), (0.9, 3)):
        now_s[0] = 1_000.0 + later_s
        with pytest.raises(Unavailable, match="may or may not have happened"):
            act(writing)
        assert len(server.sent) == tries
    now_s[0] = 1_001.0
    assert act(writing) == reply
    assert server.patience_s == [-1.0] * 4


def test_who_begins_to_require_replicas_asks_every_server(now_s):
    server = Confirming(0, 2)
    with pytest.raises(Unavailable):
        requiring(server).confirm(ROOT)
    requiring(server).confirm(ROOT)
    assert len(server.sent) == 2


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_write_that_is_refused_is_not_confirmed_and_is_no_lack_of_replicas(now_s, place):
    replies = [b"OK", b"OK", 2]
    replies[place] = exceptions.ResponseError("OOM")
    server = Confirming(replies, 2)
    writing, exchange = requiring(server), Exchange(confirms=True)
    # What was done before the refusal is done.
    with (
        pytest.raises(Unavailable if place else exceptions.ResponseError, match="may not have" if place else "OOM"),
        exchange,
    ):
        writing.write(exchange, ROOT, ("DEL", "k"))
    assert server.is_closed, "nobody may read the replies that are left"
    assert writing.write(exchange, ROOT, ("DEL", "k")) == "DEL"


def test_where_no_replica_is_required_nothing_is_waited_for():
    server = Confirming()
    requiring(server, 0).confirm(ROOT)
    assert server.sent == []
