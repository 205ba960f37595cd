"""Server users: each may do what its process needs, and nothing by which it could see more or harm others."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from relay.settings import Settings
from relay.store.keys.names import CHANNELS, PARTITIONED, PREFIX, SHARED, SHARED_ROOT, TRAIL, partition_root
from relay.up import access, processes
from tests.procfile import default_processes

FOLDER = Path(__file__).parents[2]
NAMES = [user.name for user in access.users()]
FORBIDDEN = [
    *("CONFIG GET *", "CONFIG SET dir /", "DEBUG SLEEP 1", "FLUSHALL", "FLUSHDB", "KEYS *", "SHUTDOWN", "ACL LIST"),
    *("ACL SETUSER x on", "CLIENT KILL ID 1", "REPLICAOF h 1", "SCRIPT FLUSH", "SCRIPT KILL", "FUNCTION FLUSH", "SAVE"),
    *("MODULE LIST", "MONITOR", "SLOWLOG GET", "EVAL return 0", "BGREWRITEAOF", "CLUSTER RESET", "RESTORE k 0 v"),
    *("MIGRATE h 1 k 0 1", "SWAPDB 0 1"),
]


@pytest.fixture
def server(valkey):
    with valkey.client() as client:
        for user in access.users():
            _, name, *rules = user.rule("secret").split()
            client.execute_command("ACL", "SETUSER", name, *rules)
        yield client
        client.execute_command("ACL", "DELUSER", *NAMES)


def allows(server, user, command):
    return server.execute_command("ACL", "DRYRUN", user, *shlex.split(command)) in (b"OK", "OK")


def filled_in(template):
    return re.sub(r"{[a-z]+}", "x", template)


def keys(name):
    """Return keys of this kind with all parts filled in: in partitions of one and two digits, or the global key."""
    if name in SHARED:
        return [SHARED_ROOT + filled_in(SHARED[name])]
    return [partition_root(number) + filled_in(PARTITIONED[name]) for number in (0, 42)]


@pytest.mark.parametrize("user", NAMES)
def test_no_process_may_configure_empty_or_search_the_server(server, user):
    allowed = [command for command in FORBIDDEN if allows(server, user, command)]
    assert not allowed


def test_the_administrator_alone_may_and_nobody_without_a_name(server):
    first, second = access.template().splitlines()[:2]
    assert first.startswith("user admin on")
    assert first.endswith("+@all")
    assert second == "user default off"


@pytest.mark.parametrize("name", PARTITIONED | SHARED)
def test_the_api_reaches_every_key_but_those_that_the_target_ring_seals(server, name):
    sealed_for_workers = name in {"target", "access_token", "access_token_fetcher", "secret"} or name.startswith(
        "secret_"
    )
    for key in keys(name):
        assert allows(server, "api", f"GET {key}") is not sealed_for_workers
        assert allows(server, "worker", f"GET {key}")
        assert allows(server, "operator", f"GET {key}")


@pytest.mark.parametrize("user", ["api", "worker", "operator"])
def test_all_that_have_to_do_with_the_store_give_scripts_a_root_and_hear_notices(server, user):
    for root in (partition_root(0), partition_root(99), SHARED_ROOT):
        assert allows(server, user, f"FCALL f 1 {root}")
    for channel in CHANNELS.values():
        assert allows(server, user, f"SUBSCRIBE {PREFIX}{filled_in(channel)}")


@pytest.mark.parametrize("user", ["api", "operator"])
def test_the_audit_trail_is_only_added_to(server, user):
    entries, trail = partition_root(0) + TRAIL["audit_entries"], [partition_root(0) + each for each in TRAIL.values()]
    assert allows(server, user, f"RPUSH {entries} x")
    changes = ("LTRIM {} 1 0", "LSET {} 0 x", "LPOP {}", "RPOP {}", "LREM {} 0 x", "LPUSH {} x", "DEL {}", "UNLINK {}")
    more = ("RPOPLPUSH {} x", "LINSERT {} BEFORE x y", "SET {} x", "EXPIRE {} 1", "GETDEL {}", "RENAME {} x")
    assert not [change for change in changes + more for name in trail if allows(server, user, change.format(name))]
    assert not [name for name in trail if name != entries and allows(server, user, f"RPUSH {name} x")]
    assert allows(server, user, f"LRANGE {entries} 0 -1") is (user == "operator")


@pytest.mark.parametrize("name", PARTITIONED | SHARED)
def test_flower_reaches_nothing_of_the_store(server, name):
    for command in ("GET", "HGETALL", "DEL"):
        for key in keys(name):
            assert not allows(server, "flower", f"{command} {key}")


def test_every_command_of_a_script_is_allowed_to_those_who_run_it(server):
    folder = FOLDER / "relay" / "store" / "lua"
    called = {name for path in folder.rglob("*.lua") for name in re.findall(r"'([A-Z]{3,})'", path.read_text())}
    info = {name.upper(): each for name, each in server.command().items()}
    known = sorted(name for name in called if name in info)
    assert {"HSET", "ZADD", "PUBLISH"} <= set(known)
    refused = []
    for user in ("api", "worker", "operator"):
        for name in known:
            arity = max(abs(info[name]["arity"]) - 1, 1)
            key = f"{partition_root(0)}p:x" if info[name]["first_key_pos"] else f"{PREFIX}notice:x"
            command = f"{name} {' '.join([key, *['1'] * (arity - 1)])}" if name != "TIME" else "TIME"
            if not allows(server, user, command):
                refused.append((user, command))
    assert not refused


def test_the_users_of_the_compose_file_are_these():
    assert (FOLDER / "deploy" / "users.acl").read_text() == access.template(), "run: make users"


def test_what_is_kept_from_a_process_is_a_setting():
    names = {about.name for _, about in Settings.described()}
    for process in (*default_processes(), processes.demo_endpoint(1)):
        assert set(process.without) <= names
    withheld = {process.name: set(process.without) for process in default_processes()}
    assert {"RELAY_TARGET_KEYS", "RELAY_AUDIT_KEY"} <= withheld["api"]
    assert {"RELAY_TARGET_KEYS", "RELAY_DATA_KEYS", "RELAY_AUDIT_KEY"} <= withheld["flower"]
