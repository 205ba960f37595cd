"""Makes clients of the store: of one server, of the primary that Sentinels name, or of a cluster."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast
from weakref import WeakKeyDictionary

import redis
from redis.backoff import ExponentialBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import ClusterDownError, RedisClusterException
from redis.exceptions import TimeoutError as ServerSilent
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelManagedConnection, SentinelManagedSSLConnection

from relay.errors import Unavailable
from relay.store.scripting.packing import SCRIPT_PACKER
from relay.store.server.availability import PatientConnection, PatientSslConnection, going_on_without, is_silent
from relay.store.server.errors import store_errors
from relay.store.server.replicas import require_replicas
from relay.text.server_addresses import (
    ASKING_A_SENTINEL,
    CLUSTER,
    SENTINEL,
    ServerAddress,
    read_address,
    scheme_of,
)

if TYPE_CHECKING:
    from relay.settings import Settings

#: A command is repeated this many times if its connection breaks; then the store counts as away.
_RETRIES: Final = 2
_SOCKET_TIMEOUT_S: Final = 5
_CONNECT_TIMEOUT_S: Final = 2
#: How long each server of a cluster may take to say where the keys are, in seconds: any of them knows.
_SLOTS_S: Final = 0.3
#: How many threads of an API process may use the store at once, waiters included; redis-py's own limit is 100.
_MAX_CONNECTIONS: Final = 4_096
#: How often the Sentinels are asked whether they have replaced the primary, in seconds.
_ASK_AGAIN_S: Final = 5.0
#: When each pool of connections last asked them.
_ASKED_S: Final[WeakKeyDictionary[Any, float]] = WeakKeyDictionary()
#: Without this, redis-py looks up its version for each connection, which takes longer than the rest of connecting.
_DRIVER: Final = redis.DriverInfo()


def connect(settings: Settings) -> redis.Redis:
    """Make a client of the store, which requires the settings' replicas; replies are bytes.

    It retries rarely: the API answers 503 rather than wait. What a server does not answer in time is not repeated, as
    redis-py would also repeat the greeting of each new connection, and health checks: 92 s for one trigger. A cluster's
    client asks other servers instead.
    """
    url = settings.store_url.reveal()
    repeated = (redis.ConnectionError, ServerSilent) if scheme_of(url) in CLUSTER else (redis.ConnectionError,)
    keepalive = {} if url.startswith("unix:") else {"socket_keepalive": True}  # redis-py refuses it for a Unix socket
    client = client_of(
        url,
        socket_timeout=_SOCKET_TIMEOUT_S,
        socket_connect_timeout=_CONNECT_TIMEOUT_S,
        max_connections=_MAX_CONNECTIONS,
        health_check_interval=15,
        retry=Retry(ExponentialBackoff(cap=0.4, base=0.05), _RETRIES, supported_errors=repeated),
        **keepalive,
    )
    require_replicas(client, settings.store_replicas)
    return client


def client_of(url: str, **options: Any) -> redis.Redis:
    """Make a client of the server, Sentinels or cluster at an address, with these options of redis-py.

    For a cluster, asks for its servers at once, and raises `Unavailable` if none of them answers.
    """
    options = {"driver_info": _DRIVER, **options}
    scheme = scheme_of(url)
    if scheme in CLUSTER:
        return _cluster(read_address(url), options)  # its connections choose their packer themselves
    options = {"command_packer": SCRIPT_PACKER, **options}
    if scheme in SENTINEL:
        return _sentinel(read_address(url), options)
    return redis.Redis.from_url(url, **options)


def servers_of(client: Any, url: str) -> tuple[dict[str, str], set[str]]:
    """Return the address of each server that a client of ``url`` uses, by name; for Sentinels, ``url`` itself.

    For a cluster, these are the servers that it knows, and others that the address names. The names of these others
    are returned as well: if one of them answers, the cluster knows it by another name.
    """
    if not isinstance(client, RedisCluster):
        return {"the server": url}, set()
    address = read_address(url)
    nodes: list[Any] = cast("Any", client).get_nodes()
    known = {(node.host, int(node.port)) for node in nodes}
    others = set(address.hosts) - known
    addresses = {f"{host}:{port}": address.of_one(host, port) for host, port in sorted(known | others)}
    return addresses, {f"{host}:{port}" for host, port in others}


def places_behind(url: str) -> set[tuple[str, int]]:
    """Return host and port of the servers that an address need not name: a cluster's, or Sentinels' primary."""
    if scheme_of(url) not in (*CLUSTER, *SENTINEL):
        return set()
    times_s = {"socket_timeout": _CONNECT_TIMEOUT_S, "socket_connect_timeout": _CONNECT_TIMEOUT_S}
    with suppress(Unavailable, redis.RedisError), client_of(url, **times_s) as client:
        if isinstance(client, RedisCluster):
            return {(node.host, int(node.port)) for node in cast("Any", client).get_nodes()}
        return {cast("Any", client.connection_pool).get_master_address()}
    return set()


def _cluster(address: ServerAddress, options: dict[str, Any]) -> redis.Redis:
    nodes = [ClusterNode(host, port) for host, port in address.hosts[1:]]  # type: ignore[no-untyped-call]
    host, port = address.hosts[0]
    given = _credentials(address)
    connection_class = PatientSslConnection if given.pop("ssl", False) else PatientConnection
    with store_errors():
        # Its methods take and return the same as those of `Redis`.
        return cast(
            "redis.Redis",
            _Cluster(  # it accepts a connection class only together with a url
                url=f"redis://{f'[{host}]' if ':' in host else host}:{port}",
                startup_nodes=nodes,
                require_full_coverage=False,  # the other primaries stay usable when one is gone
                # After any error, ask the other servers where the keys are. redis-py counts the errors within one
                # pipeline up to this number, and would give up a pipeline before it had counted to a higher one.
                reinitialize_steps=1,
                connection_class=connection_class,
                **given,
                **options,
            ),
        )


class _Cluster(RedisCluster):
    """redis-py's cluster client, but it does not wait for a silent server to say where the keys are if others may.

    Its pipelines also look up the slots again after a server reports the cluster down.
    """

    def __init__(self, **options: Any) -> None:
        try:
            with going_on_without(_SLOTS_S):
                super().__init__(**options)
        except (RedisClusterException, ServerSilent):  # on a busy machine all of them may take longer
            super().__init__(**options)
        manager: Any = self.nodes_manager
        initialize = manager.initialize

        def initialize_soon(*args: Any, **more: Any) -> None:
            with going_on_without(_SLOTS_S):
                initialize(*args, **more)

        manager.initialize = initialize_soon

    def get_default_node(self) -> Any:
        """Return a server to ask for what any server knows."""
        default: Any = super().get_default_node()  # type: ignore[no-untyped-call]
        others = (node for node in self.get_primaries() if not is_silent(node.host, int(node.port)))  # type: ignore[no-untyped-call]
        return next(others, default) if default and is_silent(default.host, int(default.port)) else default

    def pipeline(self, *args: Any, **options: Any) -> Any:
        """Make a pipeline; if it finds the cluster down, it fails, but later pipelines ask the new primaries."""
        pipeline: Any = super().pipeline(*args, **options)  # type: ignore[no-untyped-call]
        execute = pipeline.execute

        def noticing(raise_on_error: bool = True) -> Any:
            try:
                return execute(raise_on_error)
            except ClusterDownError:
                self.nodes_manager.initialize()
                raise

        pipeline.execute = noticing
        return pipeline


def _sentinel(address: ServerAddress, options: dict[str, Any]) -> redis.Redis:
    credentials = _credentials(address)
    of_sentinels = {name: value for name, value in credentials.items() if name.startswith("ssl")}
    sentinel = Sentinel(list(address.hosts), sentinel_kwargs={**of_sentinels, **ASKING_A_SENTINEL})  # type: ignore[no-untyped-call]
    connection_class = _NamedSslConnection if credentials.pop("ssl", False) else _NamedConnection
    client = sentinel.master_for(  # type: ignore[no-untyped-call]
        address.service, db=address.database, connection_class=connection_class, **credentials, **options
    )
    return cast("redis.Redis", client)


class _Named:
    """Connects to the primary that Sentinels name now, and closes itself if that one does not answer.

    redis-py's connections would stay with a primary that has been replaced for as long as it answers, connect to it
    again, or give its late answer to a later command, and repeat within each repeat of a command.
    """

    def check_health(self) -> None:
        this: Any = self
        pool, now_s = this.connection_pool, time.monotonic()
        if now_s - _ASKED_S.get(pool, -_ASK_AGAIN_S) >= _ASK_AGAIN_S:
            _ASKED_S[pool] = now_s
            with suppress(redis.RedisError):  # while they name none, the last one may still work
                pool.get_master_address()
        if pool.master_address != (this.host, this.port):
            this.disconnect()
            self.connect()
        super().check_health()  # type: ignore[misc]

    def connect(self) -> None:
        this: Any = self
        if not this.is_connected:
            this.connect_to(this.connection_pool.get_master_address())

    def send_packed_command(self, *args: Any, **options: Any) -> None:
        self.connect()
        super().send_packed_command(*args, **options)  # type: ignore[misc]

    def read_response(self, *args: Any, **options: Any) -> Any:
        return super().read_response(*args, **{"disconnect_on_error": True, **options})  # type: ignore[misc]


class _NamedConnection(_Named, SentinelManagedConnection):
    """A plain connection to the primary that Sentinels name."""


class _NamedSslConnection(_Named, SentinelManagedSSLConnection):
    """A TLS connection to the primary that Sentinels name."""


def _credentials(address: ServerAddress) -> dict[str, Any]:
    given = {"ssl": address.encrypted, "username": address.user, "password": address.password}
    return {**address.tls_options, **{name: value for name, value in given.items() if value}}
