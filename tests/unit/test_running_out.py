"""Doctor names what runs out before it has: clocks that part, connections, descriptors, inodes, certificates."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import resource
import socket
import ssl
import subprocess
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
import redis

from relay.cli.secrets import look_up_in
from relay.doctor import Level, examine
from relay.doctor.certificates import _end_at, judged_ends
from relay.doctor.servers import examine_servers
from relay.process.descriptors import BESIDE_CALLS, BESIDE_CONNECTIONS
from relay.registration.document import read_registrations
from relay.settings import Settings
from relay.store.health.readiness import StoreHealth
from relay.up.child import MARK
from relay.vault import Vault
from relay.wiring.runtime import cli_runtime
from tests.conftest import start_valkey
from tests.receivers import closed_port
from tests.timing import ANSWER_S
from tests.tls_front import tls_front
from tests.unit.test_doctor import WELL, findings


@pytest.fixture
def given(valkey):
    return {
        "RELAY_REDIS_URL": valkey.url,
        "RELAY_TARGET_KEYS": Vault.new_key_text(),
        "RELAY_DATA_KEYS": Vault.new_key_text(),
    }


# -- clocks


def shifted(by_s, round_trip_s=0.0):
    """Make redis-py's TIME tell another time, after half of a round trip."""

    def told(_client):
        time.sleep(round_trip_s / 2)
        now_s = time.time() + by_s
        time.sleep(round_trip_s / 2)
        return int(now_s), int(now_s % 1 * 1e6)

    return told


@pytest.mark.parametrize(
    ("by_s", "level"),
    [
        (0, Level.OK), (0.5, Level.OK), (-0.5, Level.OK), (1.5, Level.NOTE), (-1.5, Level.NOTE), (3, Level.PROBLEM),
        (-3_600, Level.PROBLEM),
    ],
)  # fmt: skip
def test_clocks_that_part_are_a_note_before_they_are_a_problem(given, tmp_path, monkeypatch, by_s, level):
    monkeypatch.setattr(redis.Redis, "time", shifted(by_s))
    found = findings(given, tmp_path)["clock"]
    assert (found.level, bool(found.advice)) == (level, level is not Level.OK)


def test_the_time_that_an_answer_was_under_way_is_no_difference_of_clocks(given, tmp_path, monkeypatch):
    monkeypatch.setattr(redis.Redis, "time", shifted(0, round_trip_s=0.8))
    found = findings(given, tmp_path)["clock"]
    assert abs(int(re.search(r"[-+]\d+", found.found)[0])) < 300


def test_of_several_servers_those_are_named_whose_clock_is_off():
    servers = [dataclasses.replace(WELL, name=f"a:{number}", skew_ms=skew) for number, skew in ((1, 2), (2, -1_400))]
    (found,) = (each for each in examine_servers(StoreHealth(tuple(servers)), 0) if each.check == "clock")
    assert (found.level, found.found) == (Level.NOTE, "the server is -1400 ms off this machine (a:2)")


# -- servers


@pytest.mark.parametrize(("idle", "level"), [(10, Level.OK), (82, Level.NOTE), (94, Level.PROBLEM)])
def test_a_server_that_is_about_to_refuse_connections_is_found(given, tmp_path, idle, level):
    server = start_valkey(tmp_path, maxclients="100")
    try:
        with ExitStack() as stack:
            for _ in range(idle):
                stack.enter_context(
                    redis.Redis(port=server.port, single_connection_client=True, socket_timeout=ANSWER_S)
                )
            found = findings({**given, "RELAY_REDIS_URL": f"redis://127.0.0.1:{server.port}/0"}, tmp_path)
    finally:
        server.terminate()
    assert found["connections"].level is level
    assert "maxclients" in found["connections"].found


@pytest.mark.parametrize("field", ["connected_clients", "connected_slaves", "cluster_connections"])
def test_every_kind_of_connection_counts(given, tmp_path, monkeypatch, field):
    info = redis.Redis.info
    monkeypatch.setattr(redis.Redis, "info", lambda self, *a: {**info(self, *a), field: 99_999})
    assert findings(given, tmp_path)["connections"].level is Level.PROBLEM


@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_a_failed_write_is_a_problem_however_often_the_server_syncs(fsync):
    failed = dataclasses.replace(WELL, fsync=fsync, failed_writes=("snapshot",))
    (found,) = (each for each in examine_servers(StoreHealth((failed,)), 0) if each.check == "append-only file")
    assert (found.level, "snapshot failed" in found.found) == (Level.PROBLEM, True)


# -- certificates

ENDS = {-2: Level.PROBLEM, 3: Level.PROBLEM, 20: Level.NOTE, 300: Level.OK}


def in_days(days):
    return datetime.now(UTC) + timedelta(days=days, hours=1)


def issued_by(authority, days, *names, **more):
    """Issue a certificate that ends in so many days."""
    return authority.authority.issue_cert(*names, not_before=in_days(-30), not_after=in_days(days), **more)


def context_of(authority, days):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued_by(authority, days, "127.0.0.1").configure_cert(context)
    return context


def certificate(authority, days, name="ada"):
    """Return a certificate that ends in so many days, and its key, in PEM."""
    issued = issued_by(authority, days, common_name=name, organization_unit_name=name)
    return issued.cert_chain_pems[0].bytes().decode(), issued.private_key_pem.bytes().decode()


@pytest.fixture(scope="module")
def tls_ports(authority, empty_server):
    """A port of the server by TLS for each of `ENDS`, whose certificate ends in so many days."""
    behind = int(empty_server.tcp_url.rpartition(":")[2].partition("/")[0])
    with ExitStack() as stack:
        yield {days: stack.enter_context(tls_front(context_of(authority, days), behind)) for days in ENDS}


def certificates(given, data_dir, check="certificates"):
    settings = Settings.from_environ(given)
    return [each for each in examine(data_dir, settings, cli_runtime(settings)) if each.check == check]


def takes(setting, text):
    try:
        setting.read(text)
    except ValueError:
        return False
    return True


TLS = ("rediss://127.0.0.1:{}/0", "https://127.0.0.1:{}", "https://u:planted@127.0.0.1:{}", "amqps://127.0.0.1:{}")
ADDRESSES = {  # every setting that is an address which may be one by TLS
    setting.name: text
    for _, setting in Settings.described()
    for text in TLS
    if takes(setting, text.format(1)) and not takes(setting, "no address")
}
FILES = [
    setting.name for _, setting in Settings.described() if takes(setting, __file__) and not takes(setting, "no file")
]


def test_the_addresses_and_files_that_settings_name_are_found():
    assert {"RELAY_REDIS_URL", "RELAY_STORE_URL", "RELAY_BROKER_URL", "RELAY_EGRESS_PROXY"} < set(ADDRESSES)
    assert FILES == ["RELAY_CA_FILE"]


@pytest.mark.parametrize("days", ENDS)
@pytest.mark.parametrize("name", ADDRESSES)
def test_a_server_s_certificate_is_told_of_before_it_ends(given, tmp_path, tls_ports, name, days):
    given = {"RELAY_BROKER_URL": given["RELAY_REDIS_URL"], "RELAY_STORE_URL": given["RELAY_REDIS_URL"], **given}
    (found,) = certificates({**given, name: ADDRESSES[name].format(tls_ports[days])}, tmp_path)
    assert (found.level, bool(found.advice)) == (ENDS[days], days < 30)
    said = f"127.0.0.1:{tls_ports[days]} ({name}) {'ended' if days < 0 else 'ends'} on {in_days(days):%Y-%m-%d} (UTC)"
    assert said in found.found
    assert "planted" not in str(found)


def test_a_server_that_says_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr("relay.doctor.certificates._CONNECT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert _end_at(server.getsockname()) is None


@pytest.mark.parametrize("days", ENDS)
@pytest.mark.parametrize("where", [*FILES, "ssl_ca_certs", "ssl_certfile"])
def test_a_certificate_in_a_file_is_told_of_before_it_ends(given, tmp_path, tls_ports, authority, where, days):
    path = tmp_path / "some.pem"
    path.write_text(certificate(authority, days - 0.1)[0])  # before the server's
    name = where if where in FILES else "RELAY_REDIS_URL"
    text = str(path) if where in FILES else f"rediss://127.0.0.1:{tls_ports[300]}/0?{where}={path}"
    found = certificates({**given, name: text}, tmp_path)
    assert found[0].level is ENDS[days]
    assert f"{path} ({name})" in found[0].found


def test_an_old_certificate_of_an_authority_beside_its_new_one_is_no_trouble(given, tmp_path, authority):
    path = tmp_path / "some.pem"
    given = {**given, "RELAY_CA_FILE": str(path)}
    old, older, new = (certificate(authority, days)[0] for days in (-2, -3, 300))
    for pems in permutations([old, older, new]):
        path.write_text("".join(pems))
        assert certificates(given, tmp_path)[0].level is Level.OK
    for pems in permutations([certificate(authority, 3, "bob")[0], old, new]):
        path.write_text("".join(pems))
        assert certificates(given, tmp_path)[0].level is Level.PROBLEM


def test_what_cannot_be_read_from_here_is_a_note_and_hides_nothing(given, tmp_path, tls_ports):
    (tmp_path / "some.pem").write_text("no certificate")
    given = {
        **given,
        "RELAY_CA_FILE": str(tmp_path / "some.pem"),
        "RELAY_API_URL": f"https://127.0.0.1:{closed_port()}",
        "RELAY_EGRESS_PROXY": f"https://127.0.0.1:{tls_ports[3]}",
    }
    soon, unknown = certificates(given, tmp_path)
    assert (soon.level, unknown.level) == (Level.PROBLEM, Level.NOTE)
    assert "RELAY_EGRESS_PROXY" in soon.found
    assert all(name in unknown.found for name in ("RELAY_CA_FILE", "RELAY_API_URL"))


def test_certificates_are_told_apart_by_how_soon_they_end_and_the_first_of_good_ones_is_named():
    days = {"good": 300, "better": 400, "soon": 29, "sooner": 8, "at once": 6, "gone": -2}
    ends = {name: in_days(each) for name, each in days.items()}
    told = {
        name: f"{name} {'ended' if end < datetime.now(UTC) else 'ends'} on {end:%Y-%m-%d} (UTC)"
        for name, end in ends.items()
    }
    problems, notes = f"{told['gone']}, {told['at once']}", f"{told['sooner']}, {told['soon']}"
    found = [(each.level, each.found) for each in judged_ends("x", ends, "Do it.")]
    assert found == [(Level.PROBLEM, problems), (Level.NOTE, notes)]
    unknown = [(each.level, each.found) for each in judged_ends("x", {**ends, "a": None, "b": None}, "Do it.")]
    assert unknown == [*found, (Level.NOTE, "not known when those of a, b end")]
    good = {name: ends[name] for name in ("better", "good")}
    (first,) = judged_ends("x", good, "Do it.")
    assert (first.level, first.found, first.advice) == (Level.OK, f"first of 2: {told['good']}", "")
    assert [each.level for each in judged_ends("x", {**good, "a": None}, "Do it.")] == [Level.NOTE]
    assert list(judged_ends("x", {}, "Do it.")) == []


def test_a_relay_without_tls_has_no_certificates_to_tell_of(given, tmp_path):
    assert certificates(given, tmp_path) == []


@pytest.mark.parametrize("days", ENDS)
@pytest.mark.parametrize("referring", [False, True])
def test_a_webhook_s_client_certificate_is_told_of_before_it_ends(given, tmp_path, authority, days, referring):
    chain, key = certificate(authority, days)
    runtime = cli_runtime(Settings.from_environ(given))
    if referring:
        runtime.registry.secrets.set("shop", "CHAIN", chain)
        runtime.registry.secrets.set("shop", "KEY", key)
    shown = ("${secret:CHAIN}", "${secret:KEY}") if referring else (chain, key)
    auth = dict(zip(("type", "certificate", "key"), ("mtls", *shown), strict=True))
    hook = json.dumps({"id": "echo", "url": "https://hooks.vendor.com/x", "method": "POST", "auth": auth})
    look_up = look_up_in(runtime.registry)
    runtime.registry.apply(*read_registrations(hook, runtime.rules, plugin="shop", look_up=look_up))
    (found,) = certificates(given, tmp_path, "client certificates")
    assert (found.level, "shop/echo" in found.found) == (ENDS[days], True)


# -- disks


@pytest.mark.parametrize(
    ("free", "level"), [(900, Level.OK), (210, Level.OK), (190, Level.NOTE), (60, Level.NOTE), (40, Level.PROBLEM)]
)
def test_inodes_are_told_of_before_there_are_none(given, tmp_path, monkeypatch, free, level):
    (tmp_path / "relay.env").touch(0o600)
    real = os.statvfs(tmp_path)
    # 500 more are kept for root
    told = os.statvfs_result((*real[:5], 1_500, free + 500, free, *real[8:]))
    monkeypatch.setattr(os, "statvfs", lambda _path: told)
    assert findings(given, tmp_path)["inodes"].level is level


def test_a_file_system_that_makes_inodes_as_it_needs_them_does_not_run_out_of_them(given, tmp_path, monkeypatch):
    (tmp_path / "relay.env").touch(0o600)
    real = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result((*real[:5], 0, 0, 0, *real[8:])))
    assert "inodes" not in findings(given, tmp_path)


# -- descriptors


@pytest.mark.parametrize(
    ("setting", "beside"), [("RELAY_MAX_IN_FLIGHT", BESIDE_CALLS), ("RELAY_MAX_CONNECTIONS", BESIDE_CONNECTIONS)]
)
def test_a_limit_below_what_the_settings_need_is_a_problem(given, tmp_path, monkeypatch, setting, beside):
    given = {**given, "RELAY_MAX_CONNECTIONS": "64", setting: "3000"}
    most = [3_000 + beside]
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (256, most[0]))
    assert findings(given, tmp_path)["descriptors"].level is Level.OK
    most[0] -= 1
    found = findings(given, tmp_path)["descriptors"]
    assert (found.level, str(most[0]) in found.found, setting in found.advice) == (Level.PROBLEM, True, True)
    most[0] = resource.RLIM_INFINITY
    assert findings(given, tmp_path)["descriptors"].level is Level.OK


OPENING = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
kept = [os.dup(0) for _ in range(int(sys.argv[1]) - len(os.listdir("/proc/self/fd")) + 1)]
print("open", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not show what another process has open")
@pytest.mark.parametrize(("number", "level"), [(50, Level.OK), (82, Level.NOTE), (96, Level.PROBLEM)])
def test_a_process_of_relay_up_that_is_about_to_run_out_of_descriptors_is_named(given, tmp_path, number, level):
    assert "open files" not in findings(given, tmp_path)
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", OPENING, str(number)]
    with subprocess.Popen(command, env={MARK: str(tmp_path)}, stdin=pipe, stdout=pipe) as process:
        assert process.stdout.readline() == b"open\n"
        every = findings(given, tmp_path)
    found = every["open files"]
    assert every["descriptors"].found == "a process may need 2048, and is allowed 200"
    assert (found.level, f"{number}%" in found.found) == (level, True)
    assert (f"(pid {process.pid})" in found.found) is (level is not Level.OK)
