"""`relay backup` and `relay restore` on one server that is emptied in between: what they refuse, and what they undo."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis
from redis.client import Pipeline
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from relay.audit.entry import Act
from relay.audit.signing_keys import new_private_text
from relay.backup.manifest import Manifest
from relay.backup.restoring import Restoring
from relay.backup.undoing import ShippedTrail
from relay.backup.unfinished import Unfinished
from relay.domain.invocation import Outcome, State
from relay.domain.reference_id import new_reference_id
from relay.errors import Conflict, NotFound, Unavailable
from relay.replay.running import Replaying
from relay.store.api_keys.keys import ApiKeys
from relay.store.backups import copying, snapshot
from relay.store.backups.copying import REVISIONS_LEFT_OUT, BackupCounts
from relay.store.backups.epoch import FENCE, Epoch, Epochs, Phase
from relay.store.backups.snapshot import sources_of
from relay.store.decisions.chain import key_subject, webhook_subject
from relay.store.decisions.every import EveryDecision
from relay.store.keys import keyspace
from relay.store.keys.names import ROOT, SHARED_ROOT, TRAIL, key_in, partition_root
from relay.store.ledger.transitions import ChainEnd, NewStep, NextStep, Settlement
from relay.store.partitions.format import FORMAT, NEWEST
from relay.store.scripting.loading import load_into
from relay.up.access import template
from relay.upkeep.callbacks import CallbackSender
from relay.vault import Vault
from tests.contract.snapshots import everything
from tests.timing import ANSWER_S, wait_until
from tests.unit.cli import Cli, a_webhook, old_ring_text
from tests.unit.test_cli_invocations import settle

PLUGIN = ("--plugin", "acme")
USES = {"headers": {"Authorization": "Bearer ${secret:VENDOR_KEY}"}, "queryParams": []}
INTERRUPTED = ("interrupted", [("restored", "maybe")])


def fill(cli):
    """Fill a store; return the ids of three keys and of four calls, the last of which has ended and told nobody."""
    told = a_webhook(id="told", hidden=True, headers={}, queryParams=[])
    posts = [a_webhook(id=name) for name in ("removed", "changed", "paused")]
    for name in ("VENDOR_KEY", "UNUSED"):
        cli.json("secrets", "set", name, *PLUGIN, text="at the backup")
    posts.append(a_webhook(id="uses", **USES))
    cli.apply(told, *posts, a_webhook(id="kept", callback="told"), a_webhook(id="get", method="GET", callback="told"))
    keys = [cli.json("keys", "create", *PLUGIN, "--scope", "trigger")["id"] for _ in range(3)]
    calls = [cli.json("trigger", name, *PLUGIN, "--async")["referenceId"] for name in ("kept", "get", "get", "get")]
    assert cli.run("invocations", "cancel", calls[3], *PLUGIN).exit_code == 0
    return keys, calls


def go_on(cli, keys, calls):
    """Do everything that a trail tells after a backup."""
    cli.json("keys", "revoke", keys[0])
    cli.json("keys", "rotate", keys[1])
    cli.json("keys", "create", *PLUGIN, "--scope", "trigger")
    cli.json("webhooks", "remove", "removed", *PLUGIN)
    cli.apply(a_webhook(id="changed", description="new"))
    for name in ("paused", "kept"):
        cli.json("webhooks", "pause", name, *PLUGIN)
    cli.json("webhooks", "resume", "kept", *PLUGIN)
    cli.json("secrets", "set", "VENDOR_KEY", *PLUGIN, text="later")
    cli.json("secrets", "remove", "UNUSED", *PLUGIN)
    later = cli.json("trigger", "get", *PLUGIN, "--async")["referenceId"]  # the backup does not know it
    for call in (later, calls[1]):
        cli.json("invocations", "cancel", call, *PLUGIN)
    settle(cli, calls[2])
    for call in (later, calls[2], calls[3]):
        cli.json("invocations", "forget", call, *PLUGIN)
    cli.json("trigger", "kept", *PLUGIN, "--async")


@pytest.fixture(scope="module")
def saved(empty_server, tmp_path_factory):
    """A backup, and the trail that was shipped after more had happened."""
    folder = tmp_path_factory.mktemp("saved")
    with empty_server.client() as client:
        client.flushall()
        client.config_set("repl-diskless-sync-delay", 0)
        cli = Cli(empty_server.url, folder)
        keys, calls = fill(cli)
        said = cli.json("backup", str(folder / "b"))
        go_on(cli, keys, calls)
        assert cli.run("audit", "export", "--file", str(folder / "trail.jsonl")).exit_code == 0
        cli.close()
    return cli, keys, calls, said, folder


@pytest.fixture
def empty(saved, valkey, tmp_path):
    """The command on an empty store, and a copy of the backup."""
    cli = Cli(valkey.url, tmp_path, saved[0].keys)
    shutil.copytree(saved[-1] / "b", tmp_path / "b")
    yield cli
    cli.close()


def restore(cli, *more, **how):
    return cli.json("restore", str(cli.directory / "b"), *more, **how)


def store(valkey):
    with valkey.client() as client:
        own = (b"audit", b":format")  # what commands write that look at an empty store
        return {key: value for key, value in everything(client).items() if not any(map(key.__contains__, own))}


def test_a_backup_says_what_it_holds_and_holds_no_key(saved):
    cli, _, _, said, folder = saved
    assert {name: said[name] for name in ("plugins", "records", "pending", "keys")} == {
        "plugins": 1,
        "records": 4,
        "pending": 3,
        "keys": 3,
    }
    assert said["elsewhere"]["RELAY_DATA_KEYS"] == "the environment (RELAY_DATA_KEYS)"
    manifest = json.loads((folder / "b" / "manifest.json").read_text())
    assert list(manifest) == [
        *("format", "backup", "relay", "beganAt", "endedAt", "epoch", "partitions", "storeFormat", "counts"),
        *("files", "elsewhere", "rings", "mac"),
    ]
    counts = {name: said[name] for name in manifest["counts"]}
    assert manifest["counts"] == manifest["files"][0]["counts"] == counts
    assert counts["records"] == 4
    assert manifest["relay"] == metadata.version("webhook-relay")
    assert manifest["beganAt"] <= manifest["endedAt"]
    assert manifest["storeFormat"] == FORMAT
    assert manifest["files"][0]["server"].startswith("valkey ")
    assert {path.name for path in (folder / "b").iterdir()} == {"manifest.json", "server1.rdb"}
    assert (folder / "b").stat().st_mode & 0o077 == 0
    for path in (folder / "b").iterdir():
        assert path.stat().st_mode & 0o077 == 0
        content = path.read_bytes()
        for ring in cli.keys.values():
            assert ring.rpartition(":")[2].encode() not in content


@pytest.mark.usefixtures("saved")  # with it the server does not wait for further replicas
def test_a_backup_says_in_which_files_the_keys_and_passwords_are_that_it_does_not_hold(cli, tmp_path):
    cli.use_ring_files()
    (tmp_path / "passwords").mkdir()
    cli.keys["RELAY_AUDIT_KEY"] = new_private_text()
    said = cli.json("backup", str(tmp_path / "b"))
    assert said["elsewhere"] == {
        "RELAY_DATA_KEYS": str(tmp_path / "data.keys"),
        "RELAY_TARGET_KEYS": str(tmp_path / "target.keys"),
        "RELAY_AUDIT_KEY": "the environment (RELAY_AUDIT_KEY)",
        "passwords of server users": str(tmp_path / "passwords"),
    }
    assert json.loads((tmp_path / "b" / "manifest.json").read_text())["elsewhere"] == said["elsewhere"]


def test_a_backup_of_a_server_that_was_replaced_meanwhile_is_not_completed(empty, monkeypatch):
    looks = []

    def sources(client, roots):
        looks.append(1)
        found = sources_of(client, roots)
        return found if len(looks) == 1 else [replace(each, run="another") for each in found]

    monkeypatch.setattr("relay.backup.taking.sources_of", sources)
    fault = empty.json("backup", str(empty.directory / "other"), exit_code=1)
    assert (fault["code"], "was replaced" in fault["message"]) == ("conflict", True)
    assert "not completed" in empty.json("restore", str(empty.directory / "other"), exit_code=2)["message"]


def test_a_restore_and_its_end_are_in_the_trail(empty):
    backup = restore(empty)["backup"]
    empty.json("restore", "finish")
    rows = empty.json("audit", "list", "--act", "restore")
    assert [(row["subject"], row["outcome"]) for row in rows[::-1]] == [
        (backup, "fenced"),
        ("finish", "begun"),
        ("finish", "done"),
    ]


def test_a_backup_needs_an_empty_directory(empty):
    fault = empty.json("backup", str(empty.directory / "b"), exit_code=2)
    assert "not empty" in fault["message"]


def test_every_file_of_a_backup_is_safe_on_disk_as_a_whole_and_then_so_are_their_names(empty, monkeypatch):
    synced, sync, folder = [], os.fsync, empty.directory / "new"

    def noted(descriptor):
        found = os.fstat(descriptor)
        synced.append((found.st_ino, found.st_size))
        sync(descriptor)

    monkeypatch.setattr("relay.backup.taking.os.fsync", noted)
    empty.json("backup", str(folder))
    whole = [folder / "server1.rdb", folder / "manifest.json"]
    assert synced[:-1] == [(path.stat().st_ino, path.stat().st_size) for path in whole]
    assert synced[-1][0] == folder.stat().st_ino
    assert {path.stat().st_mode & 0o777 for path in whole} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_backup_is_taken_without_the_target_ring_and_needs_none_of_its_keys(empty, monkeypatch):
    monkeypatch.delitem(empty.keys, "RELAY_TARGET_KEYS")
    empty.json("backup", str(empty.directory / "other"))
    rings = json.loads((empty.directory / "other" / "manifest.json").read_text())["rings"]
    assert {ring: len(ids) for ring, ids in rings.items()} == {"RELAY_DATA_KEYS": 1, "RELAY_TARGET_KEYS": 0}


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_backup_on_a_full_disk_says_so_and_can_be_repeated(empty, monkeypatch, nth):
    """There is no space for the snapshot, the manifest or the directory."""
    left, fsync = count(1), os.fsync

    def full(descriptor):
        if next(left) == nth:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        fault = empty.json("backup", str(empty.directory / "c"), exit_code=1)
    assert fault["message"] == "The backup cannot be written: No space left on device."
    assert list((empty.directory / "c").iterdir()) == []
    empty.json("backup", str(empty.directory / "c"))


def test_a_backup_that_ctrl_c_ends_can_be_repeated(empty, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("relay.backup.taking.loaded", interrupted)
        assert empty.run("backup", str(empty.directory / "c")).exit_code == 1
    assert list((empty.directory / "c").iterdir()) == []
    empty.json("backup", str(empty.directory / "c"))


def test_a_backup_leaves_alone_what_another_wrote_meanwhile(empty, monkeypatch):
    folder, sources = empty.directory / "c", sources_of

    def slow(*given):
        (folder / "server1.rdb").write_text("of another")
        return sources(*given)

    monkeypatch.setattr("relay.backup.taking.sources_of", slow)
    assert empty.json("backup", str(folder), exit_code=1)["message"] == "The backup cannot be written: File exists."
    assert (folder / "server1.rdb").read_text() == "of another"


def test_a_restore_without_space_for_the_server_that_reads_the_backup_says_so(empty, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "folder")

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkdtemp", full)
        fault = restore(empty, exit_code=1)
    assert (fault["code"], "No space left on device (folder)" in fault["message"]) == ("bad_settings", True)
    assert restore(empty)["records"] == 4


def spoil(folder, how):
    file, manifest = folder / "server1.rdb", folder / "manifest.json"
    value = json.loads(manifest.read_text())
    match how:
        case "a byte changed":
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 1
            file.write_bytes(content)
        case "cut off":
            file.write_bytes(file.read_bytes()[:-1])
        case "a file gone":
            file.unlink()
        case "no manifest":
            manifest.unlink()
        case "no JSON":
            manifest.write_text("{")
        case "another count":
            value["counts"]["records"] += 1
            manifest.write_text(json.dumps(value))
        case "another form":
            manifest.write_text(json.dumps(value | {"format": 2}))
        case "a path":
            value["files"][0]["name"] = "../server1.rdb"
            manifest.write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("a byte changed", "not the file that the manifest names"),
        ("cut off", "not the file that the manifest names"),
        ("a file gone", "lacks server1.rdb"),
        ("no manifest", "not completed"),
        ("no JSON", "cannot be read"),
        ("another count", "No key of RELAY_DATA_KEYS has signed"),
        ("a path", "No key of RELAY_DATA_KEYS has signed"),
        ("another form", "form 2"),
    ],
)
def test_a_backup_that_is_not_as_it_was_made_is_refused(empty, valkey, how, says):
    spoil(empty.directory / "b", how)
    assert says in restore(empty, exit_code=2)["message"]
    assert store(valkey) == {}


def test_a_backup_of_a_newer_release_is_refused_and_one_without_a_format_is_not(empty, valkey):
    folder, vault = empty.directory / "b", empty.runtime().data_vault
    file, manifest = folder / "manifest.json", Manifest.read(folder, vault)
    file.write_text(replace(manifest, store_format=NEWEST + 1).to_json(vault))
    assert f"(format {NEWEST + 1}; this release reads {NEWEST})" in restore(empty, exit_code=2)["message"]
    assert store(valkey) == {}
    newer = {"mac", "storeFormat", "rings"}
    value = {name: each for name, each in json.loads(manifest.to_json(vault)).items() if name not in newer}
    mac = vault.macs(b"manifest of a backup", json.dumps(value, sort_keys=True, separators=(",", ":")).encode())[0]
    file.write_text(json.dumps(value | {"mac": mac}))
    assert restore(empty)["backup"] == manifest.backup


def test_a_backup_of_another_key_ring_is_refused(empty, valkey):
    other = Cli(empty.url, empty.directory)
    assert "another key ring" in restore(other, exit_code=2)["message"]
    assert store(valkey) == {}


def test_a_backup_whose_data_key_is_retired_is_refused(empty, valkey):
    retired = Vault.retired_text(empty.keys["RELAY_DATA_KEYS"])
    other = Cli(empty.url, empty.directory, empty.keys | {"RELAY_DATA_KEYS": f"{Vault.new_key_text()},{retired}"})
    assert "a key that was retired" in restore(other, exit_code=2)["message"]
    assert store(valkey) == {}


@pytest.mark.parametrize("ring", ["RELAY_DATA_KEYS", "RELAY_TARGET_KEYS"])
@pytest.mark.parametrize("kept", ["newest", "retired", "none"])
def test_a_restore_needs_all_keys_that_the_rings_had_and_names_those_that_are_gone(valkey, tmp_path, ring, kept):
    cli = Cli(valkey.url, tmp_path)
    newest, oldest = Vault.new_key_text(), old_ring_text(1)
    cli.keys[ring] = f"{newest},{oldest}"
    cli.json("backup", str(tmp_path / "b"))
    cli.keys[ring] = {"newest": newest, "retired": f"{newest},{Vault.retired_text(oldest)}", "none": oldest}[kept]
    gone = (newest if kept == "none" else oldest).partition(":")[0]
    if (ring, kept) == ("RELAY_DATA_KEYS", "none"):
        assert "No key of RELAY_DATA_KEYS has signed" in restore(cli, exit_code=2)["message"]
    else:
        message = restore(cli, exit_code=2)["message"]
        assert (f"{ring} lacks keys" in message, gone in message) == (True, True)
    cli.keys[ring] = f"{Vault.new_key_text()},{newest},{oldest}"
    assert restore(cli)["records"] == 0
    cli.close()


def test_a_backup_with_another_number_of_partitions_is_refused(empty):
    other = Cli(empty.url, empty.directory, empty.keys | {"RELAY_PARTITIONS": "3"})
    assert "RELAY_PARTITIONS=1" in restore(other, exit_code=2)["message"]
    assert not other.runtime().epochs.read().is_fenced
    other.close()


def test_a_store_that_is_not_empty_is_refused_and_stays_as_it_was(empty, valkey):
    empty.apply(a_webhook())
    before = store(valkey)
    assert "is not empty" in restore(empty, exit_code=1)["message"]
    assert store(valkey) == before


def test_only_a_fenced_store_is_finished_and_it_is_not_backed_up(empty, saved):
    assert "nothing to finish" in empty.json("restore", "finish", exit_code=1)["message"]
    restore(empty)
    assert "being restored" in empty.json("backup", str(empty.directory / "c"), exit_code=1)["message"]
    assert restore(empty)["unfinished"]["calls"], "it is not copied again"
    vault, file = empty.runtime().data_vault, empty.directory / "b" / "manifest.json"
    file.write_text(replace(Manifest.read(file.parent, vault), backup="another").to_json(vault))
    assert "is not empty" in restore(empty, exit_code=1)["message"]
    assert empty.json("restore", "finish") == {"ended": 2, "goOn": 2, "replays": 0, "undone": []}
    before = empty.json("keys", "list")
    refused = empty.run("restore", "finish", "--audit", str(saved[-1] / "trail.jsonl"), text="y\n" * 99)
    assert (refused.exit_code, "nothing to finish" in refused.stderr, "[Y/n]" in refused.stderr) == (1, True, False)
    assert empty.json("keys", "list") == before


def test_a_restore_that_was_stopped_is_done_again(empty, monkeypatch):
    whole = copying._copy_trail

    def stop(*_):
        raise Unavailable("stopped here")

    monkeypatch.setattr(copying, "_copy_trail", stop)
    assert restore(empty, exit_code=1)["message"] == "stopped here"
    assert "not restored completely" in empty.json("restore", "finish", exit_code=1)["message"]
    fault = empty.json("trigger", "kept", *PLUGIN, "--async", exit_code=1)
    assert fault["code"] == "unavailable"
    monkeypatch.setattr(copying, "_copy_trail", whole)
    assert restore(empty)["records"] == 4
    assert empty.json("restore", "finish")["ended"] == 2


def test_what_comes_in_just_before_the_fence_keeps_the_store_as_it_was_and_open(empty, valkey, monkeypatch):
    fence, key = Epochs.fence, "relay:{0}:p:acme:webhooks"

    def fence_too_late(epochs, number):
        with valkey.client() as client:
            client.hset(key, "new", 1)
        fence(epochs, number)

    with monkeypatch.context() as patch:
        patch.setattr(Epochs, "fence", fence_too_late)
        assert f"is not empty (`{key}`)" in restore(empty, exit_code=1)["message"]
    assert [each.decode() for each in store(valkey)] == [key]
    runtime = empty.runtime()
    assert (runtime.epochs.read(), runtime.epochs.fenced_partitions()) == (Epoch(), [])
    with valkey.client() as client:
        client.delete(key)
    assert restore(empty)["records"] == 4


def test_a_restore_that_has_other_counts_than_the_manifest_is_not_finished(empty):
    file, vault = empty.directory / "b" / "manifest.json", empty.runtime().data_vault
    manifest = Manifest.read(file.parent, vault)
    (whole,) = manifest.files
    one_more = replace(whole, counts=replace(whole.counts, records=whole.counts.records + 1))
    file.write_text(replace(manifest, files=(one_more,)).to_json(vault))
    fault = restore(empty, exit_code=1)
    assert (fault["code"], "restore it again" in fault["message"]) == ("conflict", True)
    assert "not restored completely" in empty.json("restore", "finish", exit_code=1)["message"]
    file.write_text(manifest.to_json(vault))
    assert restore(empty)["records"] == whole.counts.records
    assert empty.json("restore", "finish")["ended"] == 2


@pytest.mark.parametrize("kind", ["string", "list", "hash", "set", "zset"])
@pytest.mark.parametrize("gone_after", range(3))
def test_what_expires_while_it_is_copied_is_left_out(valkey, kind, gone_after):
    """It is gone when its name, its type or its first piece was read."""
    with valkey.client() as source, valkey.client() as looking:
        key = "relay:{0}:inv:x:result"
        adding = {"hash": ["HSET", key, "a", "b"], "list": ["RPUSH", key, "a"], "set": ["SADD", key, "a"]}
        source.execute_command(*adding.get(kind, ["ZADD", key, 1, "a"] if kind == "zset" else ["SET", key, "a"]))
        source.pexpire(key, 60_000)
        pipeline = Expiring(source, looking, key, gone_after)
        commands = list(copying._copying(pipeline, [key.encode()]))
    assert [command[0] for command in commands if command[0] != "PEXPIREAT"] == (
        [adding.get(kind, ["ZADD" if kind == "zset" else "SET"])[0]] if gone_after == 2 else []
    )


def test_neither_a_key_that_is_gone_nor_the_last_number_of_a_webhook_s_revisions_ends_the_copying(valkey):
    gone, text = f"{ROOT}inv:gone:result", f"{ROOT}inv:x:result"
    last = [key_in(ROOT, "last_revision", plugin="acme", webhook=name) for name in ("hook", "other")]
    with valkey.client() as source, valkey.client() as looking:
        for number, key in enumerate((gone, last[0], text, last[1])):
            source.set(key, number)
        keys = [key.encode() for key in (gone, last[0], text, last[1])]
        commands = list(copying._copying(Expiring(source, looking, gone, 1), keys))
    assert [(name, key.decode(), int(value)) for name, key, value in commands] == [
        ("SET", last[0], 1 + REVISIONS_LEFT_OUT),
        ("SET", text, 2),
        ("SET", last[1], 3 + REVISIONS_LEFT_OUT),
    ]


@pytest.mark.parametrize("kind", ["string", "list", "hash", "set", "zset"])
@pytest.mark.parametrize("ends_at_ms", [-1, 4_000_000_000_000])
@pytest.mark.parametrize("members", [1, 2, 3, 1_201])
def test_a_key_of_each_type_is_copied_in_pieces_with_all_that_it_holds_and_its_end(
    valkey, monkeypatch, kind, ends_at_ms, members
):
    monkeypatch.setattr(copying, "_MEMBERS", 2 if members < 10 else 400)
    names = [f"m{number}" for number in range(members)]
    key = "relay:{0}:inv:x"
    with valkey.client() as client:
        match kind:
            case "string":
                client.set(key, members)
            case "list":
                client.rpush(key, *names)
            case "hash":
                client.hset(key, mapping=dict.fromkeys(names, "a"))
            case "set":
                client.sadd(key, *names)
            case "zset":
                client.zadd(key, {name: number / 4 for number, name in enumerate(names)})
        if ends_at_ms > 0:
            client.pexpireat(key, ends_at_ms)
        before = everything(client)
        commands = list(copying._copying(client, [key.encode()]))
        client.flushall()
        for command in commands:
            client.execute_command(*command)
        assert everything(client) == before
        assert client.execute_command("PEXPIRETIME", key) == ends_at_ms


@pytest.mark.parametrize("known", [(), ("audit_head",), ("audit_beginning",), ("audit_head", "audit_beginning")])
def test_a_trail_is_copied_in_its_order_and_what_the_empty_store_wrote_follows(valkey, monkeypatch, known):
    monkeypatch.setattr(copying, "_MEMBERS", 2)
    monkeypatch.setattr(copying, "_KEYS", 2)
    names = {kind: ROOT + name for kind, name in TRAIL.items()}
    with valkey.client() as source, redis.Redis.from_url(f"{valkey.url}?db=1", socket_timeout=ANSWER_S) as target:
        target.flushdb()
        for client, label, count in ((source, "old", 5), (target, "own", 3)):
            for kind in ("audit_entries", "audit_segments"):
                client.rpush(names[kind], *(f"{label}-{number}" for number in range(count)))
        for kind in ("audit_head", "audit_beginning"):
            target.set(names[kind], "own")
        for kind in known:
            source.set(names[kind], f"old {kind}")
        target.hset(key_in(ROOT, "pending"), FENCE, 7)
        list(copying.copy_roots(source, target, [ROOT], 7))
        old, own = (
            [f"{label}-{number}".encode() for number in range(count)] for label, count in (("old", 5), ("own", 3))
        )
        assert target.lrange(names["audit_entries"], 0, -1) == [*old, *own]
        assert target.lrange(names["audit_segments"], 0, -1) == old
        for kind in ("audit_head", "audit_beginning"):
            assert target.get(names[kind]) == (f"old {kind}".encode() if kind in known else None)
        target.flushdb()


#: What processes write into a store, also an empty one; it is neither copied nor deleted.
RUNNING = (
    *(f"{ROOT}{name}" for name in ("confirmed", "counting", "partitions", "audit:lock")),
    *(f"{ROOT}p:acme:{name}" for name in ("alerts", "pending-alerts", "alerts:lock")),
    *(f"{SHARED_ROOT}{name}" for name in ("partitions", "workers", "workers:lanes", "clock:jump")),
)
#: What processes write into an empty store, and a restore replaces.
REPLACED = tuple(
    f"{ROOT}{name}"
    for name in ("sweeps", "format", "decisions", "due:backlog:7", "waiting:bulk", "audit:entries", "audit:head")
)
CONTENTS = tuple(
    f"{ROOT}{name}" for name in ("inv:x", "p:acme:webhooks", "p:acme:alerts:more", "plugins", "due:queued:bulk")
)


def test_what_a_restore_has_copied_is_deleted_and_what_processes_need_stays(valkey):
    with valkey.client() as client:
        pending, epoch = key_in(ROOT, "pending"), keyspace.shared("epoch")
        client.hset(pending, mapping={FENCE: 7, "count": 3})
        client.hset(epoch, "number", 7)
        others = f"{partition_root(1)}inv:y", f"{SHARED_ROOT}key:k", "somebody:s"
        for key in (*RUNNING, *REPLACED, *CONTENTS, *others):
            client.set(key, "x")
        for number in (6, 8):
            with pytest.raises(Conflict, match="Another restore has begun"):
                copying.clear(client, [ROOT], number)
        assert client.exists(*REPLACED, *CONTENTS) == len(REPLACED + CONTENTS)
        copying.clear(client, [ROOT], 7)
        assert {key.decode() for key in client.keys("*")} == {*RUNNING, *others, pending, epoch}
        copying.clear(client, [ROOT, SHARED_ROOT], 7)
        assert {key.decode() for key in client.keys("*")} == {*RUNNING, others[0], others[2], pending, epoch}


def test_only_what_no_process_writes_into_an_empty_store_is_in_the_way(valkey):
    with valkey.client() as client:
        for key in (*RUNNING, *REPLACED, key_in(ROOT, "pending"), keyspace.shared("epoch"), "somebody:s"):
            client.set(key, "x")
        assert copying.first_key(client) is None
        for key in (*CONTENTS, f"{SHARED_ROOT}keys"):
            client.set(key, "x")
            assert copying.first_key(client) == key
            client.delete(key)


FILE, MARK = b"REDIS0011" + bytes(range(256)), b"0123456789abcdef" * 2 + b"01234567"
STREAMS = {
    "of a known length": b"$%d\r\n" % len(FILE) + FILE,
    "after line feeds": b"\n\n$%d\r\n" % len(FILE) + FILE,
    "up to a mark": b"\n$EOF:" + MARK + b"\r\n" + FILE + MARK,
}


class Stream:
    """Stands in for a server's socket: gives these pieces."""

    def __init__(self, *pieces):
        self._pieces = [piece for piece in pieces if piece]

    def recv(self, _most):
        return self._pieces.pop(0) if self._pieces else b""


@pytest.mark.parametrize("kind", STREAMS)
def test_a_snapshot_is_the_same_in_whatever_pieces_it_comes_and_is_missed_where_its_end_is(kind):
    text = STREAMS[kind]
    for at in range(len(text)):
        assert b"".join(snapshot._pieces(Stream(text[:at], text[at:]))) == FILE
        with pytest.raises(RedisError):
            b"".join(snapshot._pieces(Stream(text[:at])))
    assert b"".join(snapshot._pieces(Stream(*(text[at : at + 1] for at in range(len(text)))))) == FILE


@pytest.mark.parametrize(
    ("text", "error"),
    [(b"-NOPERM no\r\n", NoPermissionError), (b"-ERR no\r\n", ResponseError), (b"x" * 500, Unavailable)],
)
def test_what_is_no_snapshot_is_not_waited_for(text, error):
    with pytest.raises(error):
        list(snapshot._pieces(Stream(*(text[at : at + 50] for at in range(0, len(text), 50)), *[b"y"] * 500)))


class Expiring:
    """A client of a server on which a key expires after so many pipelines."""

    def __init__(self, source, looking, key, gone_after):
        self._source, self._looking, self._key, self._left = source, looking, key, gone_after

    def pipeline(self, **how):
        self._expire()
        pipeline = self._source.pipeline(**how)
        execute = pipeline.execute

        def then_expire():
            replies = execute()
            self._left -= 1
            self._expire()
            return replies

        pipeline.execute = then_expire
        return pipeline

    def _expire(self):
        if self._left == 0:
            self._looking.delete(self._key)


def restoring(cli):
    """A restore, as the command begins it, that can be stopped and go on."""
    runtime, folder = cli.runtime(), cli.directory / "b"
    manifest = Manifest.read(folder, runtime.data_vault)
    return Restoring(runtime.client, runtime.keyspace, runtime.data_vault, manifest, folder)


def run_restore(one):
    one.begin()
    for _ in one.steps():
        pass
    return one.finish()


def test_the_slower_of_two_restores_ends_without_another_write(empty, valkey, monkeypatch):
    """The second begins just before each write of the first, which has looked already whether it is the only one."""
    for nth in count(1):
        slow, fast = restoring(empty), restoring(empty)
        after = begins_before_write(nth, fast, monkeypatch, valkey)
        try:
            run_restore(slow)
        except (Conflict, Unavailable):
            assert store(valkey) == after[0]
        else:
            break
        finally:
            monkeypatch.undo()
        with valkey.client() as client:
            client.flushall()
        empty.close()
    assert (after, nth > 5) == ([], True)


def begins_before_write(nth, fast, monkeypatch, valkey):
    """Let a restore begin before the nth write of another; return a list that then has what the store holds."""
    left, after, multi = iter(range(1, nth)), [], Pipeline.multi

    def begin(pipeline):
        multi(pipeline)
        if next(left, None) is None:
            monkeypatch.undo()
            fast.begin()
            after.append(store(valkey))

    monkeypatch.setattr(Pipeline, "multi", begin)
    return after


def test_a_restore_that_goes_on_after_another_was_finished_changes_nothing(empty, valkey):
    slow = restoring(empty)
    slow.begin()
    pieces = slow.steps()
    next(pieces)
    assert restore(empty)["records"] == 4
    assert empty.json("restore", "finish")["ended"] == 2
    before = store(valkey)
    with pytest.raises(Conflict, match="Another restore has begun"):
        list(pieces)
    with pytest.raises(Conflict):
        slow.finish()
    assert store(valkey) == before


def test_a_restored_store_is_what_it_was(empty, saved):
    _, keys, calls, _, _ = saved
    restored = restore(empty)["unfinished"]
    assert restored["calls"] == [
        {"plugin": "acme", "webhook": "get", "end": 0, "goOn": 2},
        {"plugin": "acme", "webhook": "kept", "end": 1, "goOn": 0},
    ]
    assert restored["callbacks"] == 1
    empty.json("restore", "finish")
    (told,) = empty.json("invocations", "list", *PLUGIN, "--webhook", "told")
    told = empty.json("invocations", "show", told["referenceId"], *PLUGIN)
    assert (told["state"], [(each["outcome"], each["sent"]) for each in told["attempts"]]) == INTERRUPTED
    runtime = empty.runtime()
    assert runtime.client.zrange(key_in(ROOT, "callbacks"), 0, -1) == [calls[0].encode()]  # that its end is new
    assert {row["id"] for row in empty.json("keys", "list")} == set(keys)
    webhooks = {row["id"] for row in empty.json("webhooks", "list", *PLUGIN)}
    assert webhooks == {"removed", "changed", "paused", "uses", "kept", "get", "told"}
    assert {row["name"]: row["webhooks"] for row in empty.json("secrets", "list", *PLUGIN)} == {
        "UNUSED": [],
        "VENDOR_KEY": ["uses"],
    }
    registry = runtime.registry
    assert registry.fill("acme", registry.open_target("acme", "uses", 1)).headers["Authorization"] == (
        "Bearer at the backup"
    )
    first = empty.json("invocations", "show", calls[0], *PLUGIN)
    assert (first["state"], [(each["outcome"], each["sent"]) for each in first["attempts"]]) == INTERRUPTED
    assert empty.json("invocations", "show", calls[1], *PLUGIN)["state"] == "queued"
    number = empty.apply(a_webhook(id="changed", description="later"))["webhooks"][0]["revision"]
    assert number == 2 + REVISIONS_LEFT_OUT  # revision 2 was given since the backup, to another registration


@pytest.mark.parametrize("is_shared_first", [False, True])
def test_a_backup_of_several_servers_tells_where_the_trail_of_each_ended(empty, saved, is_shared_first):
    runtime, folder = empty.runtime(), empty.directory / "b"
    manifest = Manifest.read(folder, runtime.data_vault)
    (whole,) = manifest.files  # the same file stands for those of two servers, of which one has the shared keys
    halves = [replace(whole, shared=False), replace(whole, partitions=(), shared=True, counts=BackupCounts())]
    manifest = replace(manifest, files=tuple(halves[::-1] if is_shared_first else halves))
    restoring = Restoring(runtime.client, runtime.keyspace, runtime.data_vault, manifest, folder)
    restoring.begin()
    assert sum(restoring.steps())
    trails = restoring.finish().trails
    shipped = map(json.loads, (saved[-1] / "trail.jsonl").read_text().splitlines())
    backups = {line["trail"]: line["seq"] for line in shipped if line.get("act") == Act.BACKUP}
    assert trails.keys() == {"0", "shared"}
    assert trails["0"] > 0
    assert [trails[trail] for trail in backups] == [seq - 1 for seq in backups.values()]


def test_living_processes_believe_the_restored_store_and_write_nothing_newer_into_it(empty, valkey):
    restore(empty)
    empty.json("restore", "finish")
    empty.apply(a_webhook(id="changed", description="since the backup"), a_webhook(id="new"))
    key = empty.json("keys", "create", *PLUGIN, "--scope", "trigger")["id"]
    with valkey.client() as client:
        chains = list(EveryDecision(client, Vault.from_text(empty.keys["RELAY_DATA_KEYS"])))
        for chain in chains:
            chain.look()
        client.flushall()
        ended = threading.Event()
        with watched(chains, ended):
            wait_until(lambda: all(client.exists(keyspace.decisions(chain.root)) for chain in chains), 20)
            restore(empty)
            wait_until(lambda: all(chain.epoch == empty.runtime().epochs.read().number for chain in chains), 20)
        after = [client.lrange(keyspace.decisions(chain.root), 0, -1) for chain in chains]
        assert all(chain.is_intact and not chain.repair() for chain in chains)
        assert chains[-1].value(key_subject(key)) == chains[0].value(webhook_subject("acme", "new")) == ""
        assert after == [client.lrange(keyspace.decisions(chain.root), 0, -1) for chain in chains]
    empty.json("restore", "finish")
    assert {row["id"] for row in empty.json("webhooks", "list", *PLUGIN)} >= {"changed", "kept"}
    assert len(empty.json("keys", "list")) == 3


@contextmanager
def watched(chains, ended):
    """Look at each chain again and again, and repair it, as a process does."""

    def go_on(chain):
        while not ended.wait(0.005):
            chain.look()
            if chain.epoch is not None:
                chain.repair()

    with ThreadPoolExecutor() as pool:
        running = [pool.submit(go_on, chain) for chain in chains]
        try:
            yield
        finally:
            ended.set()
        for each in running:
            each.result()


@pytest.mark.parametrize("limit", ["RELAY_MAX_PENDING", "RELAY_MAX_PENDING_PER_PLUGIN"])
def test_a_restore_is_finished_though_so_much_is_pending_that_callbacks_are_over_the_limit(empty, limit):
    empty.keys[limit] = "3"  # as many as were pending at the backup
    assert restore(empty)["unfinished"]["callbacks"] == 1
    assert empty.json("restore", "finish") == {"ended": 2, "goOn": 2, "replays": 0, "undone": []}
    empty.json("trigger", "kept", *PLUGIN, "--async")
    assert empty.json("trigger", "kept", *PLUGIN, "--async", exit_code=1)["code"] == "over_capacity"
    del empty.keys[limit]


def test_what_the_trail_knows_is_done_again_unless_it_is_refused(empty, saved):
    _, keys, calls, _, folder = saved
    answers = "y\nyes\n\nn\ny\ny\ny\ny\ny\n"
    undone = restore(empty, "--audit", str(folder / "trail.jsonl"), text=answers)["unfinished"]["undone"]
    assert [(each["what"], each["subject"], each["applied"]) for each in undone] == [
        ("key revoked", keys[0], True),
        ("key rotated", keys[1], True),
        ("webhook removed", "removed", True),
        ("webhook changed", "changed", False),
        ("webhook paused", "paused", True),
        ("secret set", "VENDOR_KEY", True),
        ("secret removed", "UNUSED", True),
        ("invocations cancelled", "2 invocations", True),
        ("invocations forgotten", "3 invocations", True),
    ]
    assert {row["id"] for row in empty.json("keys", "list") if not row["revoked"]} == {keys[2]}
    webhooks = {row["id"]: row for row in empty.json("webhooks", "list", *PLUGIN)}
    assert set(webhooks) == {"changed", "paused", "uses", "kept", "get", "told"}
    assert empty.runtime().policies.traffic("acme", "uses").paused
    assert [row["name"] for row in empty.json("secrets", "list", *PLUGIN)] == ["VENDOR_KEY"]
    again = empty.json("restore", "finish", "--audit", str(folder / "trail.jsonl"), text="")["undone"]
    left = {(each["what"], each["subject"]) for each in again}
    assert ("webhook changed", "changed") in left
    done = {("key revoked", keys[0]), ("webhook removed", "removed"), ("webhook paused", "paused")}
    assert not left & {*done, ("secret removed", "UNUSED")}
    cancelled = empty.json("invocations", "show", calls[1], *PLUGIN)
    assert (cancelled["state"], [(each["outcome"], each["sent"]) for each in cancelled["attempts"]]) == INTERRUPTED
    for call, state in ((calls[2], "interrupted"), (calls[3], "cancelled")):
        shown = empty.json("invocations", "show", call, *PLUGIN)
        assert (shown["state"], bool(shown["forgottenAt"])) == (state, True)


#: Chains by what they call; each has made a first step, which is queued, and so has each chain that is such a step.
CHAINS = {
    "gets": ["get"],
    "posts": ["post"],
    "mixed": ["get", "post"],
    "of-gets": ["gets"],
    "of-mixed": ["mixed"],
    "of-both": ["gets", "posts"],
}


def begin(runtime, reference_id):
    """Make the first step of a chain, and that of the step if it is a chain, as workers do."""
    (record,) = runtime.store.read([reference_id])
    called = CHAINS[record.webhook_id][0]
    number, shape = runtime.registry.current("acme", called)
    step = NewStep(
        new_reference_id("acme"),
        called,
        number,
        shape.timeout_ms,
        repeatable=shape.repeatable,
        payload=b"sealed",
        request_bytes=1,
        pins=record.pins if shape.chain else None,
    )
    assert runtime.store.advance([NextStep(reference_id, "token", 0, 0, [step])]).granted
    if shape.chain:
        begin(runtime, step.reference_id)


def test_what_a_restore_shows_to_end_is_what_ends_also_in_chains_of_chains(cli):
    plain = {"headers": {}, "queryParams": []}
    cli.apply(a_webhook(id="get", method="GET", **plain), a_webhook(id="post", **plain))
    cli.apply(*({"id": name, "steps": [{"webhook": used} for used in uses]} for name, uses in CHAINS.items()))
    runtime = cli.runtime()
    for name in (*CHAINS, "get", "post"):
        ref = cli.json("trigger", name, *PLUGIN, "--async")["referenceId"]
        if name in CHAINS:
            begin(runtime, ref)
    epochs = runtime.epochs
    epochs.write(Epoch(7, Phase.FENCED, "backup"))
    epochs.fence(7)
    unfinished = Unfinished(runtime.client, runtime.keyspace, runtime.registry, runtime.limits, epochs)
    calls = list(unfinished.calls())
    assert len(calls) == 8 + len(CHAINS) + 3  # and the steps of three steps
    assert {each.ends for each in calls if each.webhook_id == "get"} == {False, True}
    unfinished.decide(sender=None)  # there is no end that was not told
    with pytest.raises(Conflict, match="there is nothing to finish"):
        unfinished.decide(sender=None)
    assert {each: runtime.store.find(each.reference_id).final for each in calls} == {each: each.ends for each in calls}


def test_a_chain_that_calls_what_is_not_known_any_more_ends(cli):
    cli.apply(a_webhook(id="get", method="GET", headers={}, queryParams=[]))
    cli.apply({"id": "gets", "steps": [{"webhook": "get"}]})
    calls = [cli.json("trigger", name, *PLUGIN, "--async")["referenceId"] for name in ("gets", "get")]
    begin(cli.runtime(), calls[0])
    runtime = cli.runtime()
    runtime.epochs.write(Epoch(7, Phase.FENCED, "backup"))
    runtime.epochs.fence(7)
    for is_known in (True, False):
        if not is_known:
            runtime.client.delete(runtime.keyspace.of_plugin("revision", "acme", webhook="get", revision=1))
            runtime = cli.runtime()
        unfinished = Unfinished(runtime.client, runtime.keyspace, runtime.registry, runtime.limits, runtime.epochs)
        found = {each.reference_id: each.ends for each in unfinished.calls()}
        assert [found.pop(each) for each in calls] == [not is_known, False]
        assert list(found.values()) == [not is_known], "its step ends with it"


def test_what_was_lost_is_counted_with_all_of_each_entry_after_the_backup():
    lost = [("trigger", "accepted", {"count": 40}), ("trigger", "accepted", {}), ("trigger", "refused", {"count": 9})]
    lost += [("key_create", "created", {}), ("key_rotate", "rotated", {}), ("replay_start", "started", {})]
    known = {"at": "2026-11-29T00:00:00.000Z", "operator": "root"}
    entries = [known | {"act": act, "outcome": outcome, **more} for act, outcome, more in lost]
    lines = [
        json.dumps({"trail": trail, "seq": seq, **each})
        for trail in ("0", "1", "shared")
        for seq, each in enumerate(entries * 2, 1)
    ]
    half = len(entries)
    trail = ShippedTrail(io.BytesIO("\n".join(lines).encode()), {"0": half, "1": 2 * half})
    assert trail.lost == {
        "triggers": 41 * 3,
        "keys": 2 * 3,
        "replays": 1 * 3,
    }  # once of trail 0, twice of the shared one


def test_subjects_that_were_forgotten_after_the_backup_are_said_to_be_readable_again(valkey, tmp_path):
    cli = Cli(valkey.url, tmp_path)
    cli.apply(a_webhook())
    calls = {
        subject: cli.json("trigger", "ping", *PLUGIN, "--async", "--subject", subject)["referenceId"]
        for subject in ("Ann", "Bob", "Eve")
    }
    for call in calls.values():
        settle(cli, call)
    forget = ("invocations", "forget", *PLUGIN, "--subject")
    cli.json(*forget, "Eve")
    cli.json("backup", str(tmp_path / "b"))
    cli.json(*forget, "Ann")
    cli.json(*forget, "Bob")
    assert cli.run("audit", "export", "--file", str(tmp_path / "trail.jsonl")).exit_code == 0
    last_at = cli.json("audit", "list", "--act", "forget_subject")[0]["at"]
    cli.close()
    with valkey.client() as client:
        client.flushall()
    trail = ("--audit", str(tmp_path / "trail.jsonl"))
    for command in ((str(tmp_path / "b"),), ("finish",)):
        said = cli.run("restore", *command, *trail, text="").stderr
        assert (
            "subjects of acme were forgotten, whose contents it has (jobs begun: 2, ended: 2, invocations: 2," in said
        )
        assert f"the last at {last_at}" in said
        assert "relay invocations forget --plugin acme --subject SUBJECT" in said
    store = cli.runtime().store
    assert [store.payload_of(call) is None for call in calls.values()] == [False, False, True]
    assert cli.json(*forget, "Ann")["forgotten"] == 1
    cli.close()


def test_each_call_that_was_forgotten_since_is_forgotten_again_but_a_step_that_its_chain_needs(valkey, tmp_path):
    cli = Cli(valkey.url, tmp_path)
    cli.apply(a_webhook(id="get", method="GET", headers={}, queryParams=[]))
    cli.apply({"id": "gets", "steps": [{"webhook": "get"}]})
    chain, call = (cli.json("trigger", name, *PLUGIN, "--async")["referenceId"] for name in ("gets", "get"))
    begin(cli.runtime(), chain)
    (step,) = cli.json("invocations", "show", chain, *PLUGIN)["chain"]["steps"]
    settle(cli, call)
    cli.json("backup", str(tmp_path / "b"))
    settle(cli, step)
    end = Settlement(chain, "end", State.DELIVERED, Outcome.ANSWERED, status=200, error=False, attempt=None)
    assert cli.runtime().store.advance([ChainEnd(1, end)]).granted
    for each in (step, call):
        cli.json("invocations", "forget", each, *PLUGIN)
    assert cli.run("audit", "export", "--file", str(tmp_path / "trail.jsonl")).exit_code == 0
    cli.close()
    with valkey.client() as client:
        client.flushall()
    said = cli.run("restore", str(tmp_path / "b"), "--audit", str(tmp_path / "trail.jsonl"), text="")
    assert "invocations forgotten: acme/2 invocations: " in said.stderr
    store = cli.runtime().store
    assert [store.payload_of(each) is None for each in (step, call)] == [False, True]
    cli.close()


@pytest.mark.parametrize(("acts", "ends"), [(("cancel",), True), (("pause",), True), (("pause", "resume"), False)])
def test_calls_of_a_replay_that_was_stopped_since_are_not_sent_after_a_restore(valkey, tmp_path, acts, ends):
    cli = Cli(valkey.url, tmp_path)
    cli.apply(a_webhook(id="get", method="GET", headers={}, queryParams=[]))
    original = cli.json("trigger", "get", *PLUGIN, "--async")["referenceId"]
    settle(cli, original, status=503)
    runtime = cli.runtime()
    parts = runtime.replay_runs, runtime.replay_store, runtime.registry, runtime.data_vault
    replay = cli.json("replay", "start", *PLUGIN, original)["replayId"]
    Replaying(*parts, publish=list).run(replay)
    cli.json("backup", str(tmp_path / "b"))
    for act in acts:
        cli.json("replay", act, replay, *PLUGIN)
    assert cli.run("audit", "export", "--file", str(tmp_path / "trail.jsonl")).exit_code == 0
    cli.close()
    with valkey.client() as client:
        client.flushall()
    said = restore(cli, "--audit", str(tmp_path / "trail.jsonl"), text="")
    told = [("replay stopped", replay, True)] if ends else []
    assert [(each["what"], each["subject"], each["applied"]) for each in said["unfinished"]["undone"]] == told
    assert cli.json("restore", "finish", "--audit", str(tmp_path / "trail.jsonl"), text="")["undone"] == []
    (call,) = cli.json("invocations", "list", *PLUGIN, "--replay", replay)
    assert call["state"] == ("interrupted" if ends else "queued")
    assert cli.json("replay", "status", replay, *PLUGIN)["failed"] == ends
    cli.close()


def test_a_file_that_is_no_trail_is_refused(empty):
    (empty.directory / "none.txt").write_text("who did what\n")
    fault = restore(empty, "--audit", str(empty.directory / "none.txt"), exit_code=2)
    assert "Line 1 of the file" in fault["message"]


def remove(*names):
    return [("webhooks", "remove", name, *PLUGIN) for name in names]


def apply(*webhooks):
    return [("webhooks", "apply", json.dumps(each), *PLUGIN) for each in webhooks]


STEP = a_webhook(id="step", headers={}, queryParams=[])
CHAIN = {"id": "chain", "steps": [{"webhook": "step", "data": "input.data"}]}
OTHER = a_webhook(id="chain")
#: What is done to two webhooks after a backup at which `chain` uses `step`; answers; what is left, and whether it is paused.
SINCE = {
    "both removed": (remove("chain", "step"), "", {}),
    "changed, then both removed": ([*apply(STEP | {"description": "x"}), *remove("chain", "step")], "", {}),
    "the user removed twice": ([*remove("chain", "step"), *apply(OTHER), *remove("chain")], "", {}),
    "a new one changed and paused": (
        [*apply(a_webhook(id="new"), a_webhook(id="new", description="x")), ("webhooks", "pause", "new", *PLUGIN)],
        "",
        {"chain": False, "step": False},
    ),
    "the user stays": (remove("chain", "step"), "n\n", {"chain": False, "step": True}),
    "the user was changed": ([*apply(OTHER), *remove("step")], "", {"chain": True, "step": True}),
    "changed and paused": (
        [*apply(STEP | {"description": "x"}), ("webhooks", "pause", "step", *PLUGIN)],
        "n\n",
        {"chain": False, "step": True},
    ),
}


@pytest.mark.parametrize("how", SINCE)
def test_a_webhook_that_was_removed_or_paused_is_not_live_after_a_restore(valkey, tmp_path, how):
    acts, answers, left = SINCE[how]
    cli = Cli(valkey.url, tmp_path)
    cli.apply(STEP, CHAIN)
    cli.json("backup", str(tmp_path / "b"))
    for group, act, name, *more in acts:
        if act == "apply":
            cli.json(group, act, "-", *more, text=name)
        else:
            cli.json(group, act, name, *more)
    assert cli.run("audit", "export", "--file", str(tmp_path / "trail.jsonl")).exit_code == 0
    cli.close()
    with valkey.client() as client:
        client.flushall()
    said = cli.run("restore", str(tmp_path / "b"), "--audit", str(tmp_path / "trail.jsonl"), text=answers)
    assert ("It is paused." in said.stderr) == (left.get("step", False) and how != "changed and paused")
    assert "acme/new" not in said.stderr, "the backup does not know it"
    rows = cli.json("webhooks", "list", *PLUGIN)
    assert {row["id"]: cli.runtime().policies.traffic("acme", row["id"]).paused for row in rows} == left
    cli.close()


def test_a_secret_that_is_in_use_after_a_restore_stays_and_no_webhook_is_paused_for_it(valkey, tmp_path):
    cli = Cli(valkey.url, tmp_path)
    cli.json("secrets", "set", "VENDOR_KEY", *PLUGIN, text="at the backup")
    cli.apply(a_webhook(id="uses", **USES))
    cli.json("backup", str(tmp_path / "b"))
    cli.apply(a_webhook(id="uses"))
    cli.json("secrets", "remove", "VENDOR_KEY", *PLUGIN)
    assert cli.run("audit", "export", "--file", str(tmp_path / "trail.jsonl")).exit_code == 0
    cli.close()
    with valkey.client() as client:
        client.flushall()
    said = cli.run("restore", str(tmp_path / "b"), "--audit", str(tmp_path / "trail.jsonl"), text="n\ny\n")
    assert re.search(r"secret removed: acme/VENDOR_KEY: .*`uses`", said.stderr)
    assert "It is paused." not in said.stderr
    assert not cli.runtime().policies.traffic("acme", "uses").paused
    assert [row["name"] for row in cli.json("secrets", "list", *PLUGIN)] == ["VENDOR_KEY"]
    cli.close()


ENTRY = {"trail": "0", "seq": 99_999, "at": "2026-11-29T00:00:00.000Z", "act": "trigger", "operator": "root"}
ENTRY |= {"plugin": "acme", "outcome": "accepted"}
NO_TRAIL = {
    "text": (b"who did what\n", "Line 1 of the file is no JSON object"),
    "another encoding": ("{}\n\u00e9".encode("latin-1"), "Line 2 of the file is no JSON object"),
    "a list": (b"\n[]\n", "Line 2 of the file is no JSON object"),
    "half a line": (json.dumps(ENTRY).encode()[:-9], "was cut off"),
    "half a packed file": (gzip.compress(json.dumps(ENTRY).encode() * 99)[:-9], "cannot be read to its end"),
    "a damaged packed file": (b"\x1f\x8b" + bytes(99), "cannot be read to its end"),
    **{
        f"{name} {value!r}": (json.dumps(ENTRY | {name: value}).encode(), "Line 1 of the file is not an entry")
        for name in ("seq", "trail", "act", "plugin", "subject", "outcome", "count", "references")
        for value in ([1], {}, 1.5, "" if name in {"seq", "count", "references"} else 7)
    },
}


def test_an_entry_and_a_signature_are_a_trail():
    lines = [json.dumps(ENTRY), "", json.dumps({"trail": "0", "checkpoint": {}, "signature": ""})]
    trail = ShippedTrail(io.BytesIO("\n".join(lines).encode()), {"0": 99_998})
    assert (trail.following, trail.lost) == ({"0": 1}, {"triggers": 1})


@pytest.mark.parametrize("how", NO_TRAIL)
def test_a_file_that_is_no_trail_is_refused_before_anything_is_done(empty, valkey, how):
    content, says = NO_TRAIL[how]
    (empty.directory / "none.txt").write_bytes(content)
    assert says in restore(empty, "--audit", str(empty.directory / "none.txt"), exit_code=2)["message"]
    assert store(valkey) == {}


def test_a_trail_that_comes_through_a_pipe_cannot_be_read_twice_and_is_refused(empty, valkey):
    pipe = empty.directory / "pipe"
    os.mkfifo(pipe)
    opened = os.open(pipe, os.O_RDWR)  # so that the command does not wait for a writer
    assert "give a file, and no pipe" in restore(empty, "--audit", str(pipe), exit_code=2)["message"]
    os.close(opened)
    assert store(valkey) == {}


def test_a_trail_that_gzip_has_packed_is_read_and_one_from_before_the_backup_is_named(empty, saved):
    lines = (saved[-1] / "trail.jsonl").read_bytes().splitlines(keepends=True)
    (empty.directory / "all.gz").write_bytes(gzip.compress(b"".join(lines)))
    (empty.directory / "old.gz").write_bytes(gzip.compress(b"".join(lines[:3])))
    said = empty.run("restore", str(empty.directory / "b"), "--audit", str(empty.directory / "old.gz"))
    assert "by trail: 0: 0, shared: 0." in said.stderr
    assert "None follows" in said.stderr
    said = empty.run("restore", "finish", "--audit", str(empty.directory / "all.gz"), text="")
    assert "webhook removed: acme/removed: remove the webhook again?" in said.stderr
    assert "None follows" not in said.stderr


def test_a_finish_that_was_stopped_half_way_takes_no_trail_any_more(empty, saved, monkeypatch):
    def stop(*_):
        raise Unavailable("stopped here")

    trail = ("--audit", str(saved[-1] / "trail.jsonl"))
    restore(empty)
    with monkeypatch.context() as patch:
        patch.setattr(Unfinished, "_decide", stop)
        assert empty.json("restore", "finish", *trail, text="", exit_code=1)["message"] == "stopped here"
    assert "without --audit" in empty.json("restore", "finish", *trail, text="", exit_code=1)["message"]
    assert empty.json("restore", "finish")["undone"] == []


def test_callbacks_that_cannot_be_recorded_keep_a_restore_from_being_finished_but_not_for_ever(empty, monkeypatch):
    restore(empty)
    clock_s, tries = [0.0], []

    def sleep(_s):
        clock_s[0] += 10.0

    monkeypatch.setattr("relay.backup.unfinished.time", SimpleNamespace(monotonic=lambda: clock_s[0], sleep=sleep))
    with monkeypatch.context() as patch:
        patch.setattr(CallbackSender, "send_due", lambda _: tries.append(clock_s[0]))
        fault = empty.json("restore", "finish", exit_code=1)
    assert fault["message"] == "The callbacks of some ends cannot be recorded now: run the command again."
    assert tries == [10.0 * number for number in range(8)]
    assert empty.runtime().epochs.read().phase is Phase.FENCED
    assert empty.json("restore", "finish")["ended"] == 2


def test_calls_that_one_look_does_not_find_are_decided_about_at_the_next(empty, monkeypatch):
    restore(empty)
    find, looks = Unfinished._calls_of, []

    def find_one_at_first(unfinished, number):
        looks.append(number)
        found = find(unfinished, number)
        return found[:1] if len(looks) == 1 else found

    monkeypatch.setattr(Unfinished, "_calls_of", find_one_at_first)
    assert empty.json("restore", "finish") == {"ended": 2, "goOn": 2, "replays": 0, "undone": []}


def test_an_act_that_cannot_be_done_again_is_named_and_the_others_are_done(empty, saved, monkeypatch):
    def refuse(*_):
        raise NotFound("There is no such key.")

    monkeypatch.setattr(ApiKeys, "revoke", refuse)
    said = empty.run(
        "restore", str(empty.directory / "b"), "--audit", str(saved[-1] / "trail.jsonl"), "--output", "json"
    )
    undone = json.loads(said.stdout)["unfinished"]["undone"]
    assert [(each["what"], each["applied"]) for each in undone if each["what"].startswith("key ")] == [
        ("key revoked", False),
        ("key rotated", False),
    ]
    assert {each["applied"] for each in undone if not each["what"].startswith("key ")} == {True}
    assert said.stderr.count(": There is no such key.\n") == 2


def test_a_restore_that_is_cut_off_while_it_asks_is_given_again_and_asks_again(empty, saved, monkeypatch):
    trail = ("--audit", str(saved[-1] / "trail.jsonl"))

    def cut_off(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("relay.cli.restore._is_wanted", cut_off)
        assert empty.run("restore", str(empty.directory / "b"), *trail).exit_code == 1
    number = empty.runtime().epochs.read().number
    plan = restore(empty, *trail, text="")
    assert (plan["epoch"], plan["records"], len(plan["unfinished"]["undone"])) == (number, 4, 9)
    again = restore(empty)
    assert (again["epoch"], again["unfinished"]["undone"]) == (number, [])
    assert empty.json("restore", "finish")["ended"] > 0


LOADING = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests may ignore these
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from pathlib import Path
from relay.up.alone import loaded
with loaded(Path(sys.argv[1]), 0) as client:
    print(client.connection_pool.connection_kwargs["path"], flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_the_server_that_reads_a_backup_ends_with_the_command(saved, number):
    command = [sys.executable, "-c", LOADING, str(saved[-1] / "b" / "server1.rdb")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        path = Path(process.stdout.readline().strip())
        assert answers(path)
        process.send_signal(number)
        process.wait(60)
    wait_until(lambda: not answers(path), 60)
    assert path.parent.exists() == (number is signal.SIGKILL)
    shutil.rmtree(path.parent, ignore_errors=True)


def answers(path):
    with socket.socket(socket.AF_UNIX) as asking:
        return asking.connect_ex(str(path)) == 0


def test_a_user_for_backups_needs_the_rights_of_a_replica(empty, valkey):
    rule = next(line for line in template().splitlines() if line.startswith("user operator ")).replace(
        "@operator@", "pw"
    )
    with valkey.client() as client:
        load_into(client)
        client.execute_command("ACL", "SETUSER", *rule.split()[1:])
        try:
            url = valkey.tcp_url.replace("redis://", "redis://operator:pw@")
            other = Cli(url, empty.directory, empty.keys)
            fault = other.json("backup", str(empty.directory / "c"), exit_code=1)
            assert (fault["code"], "rights of a replica" in fault["message"]) == ("bad_settings", True)
            shutil.rmtree(empty.directory / "c")
            client.execute_command("ACL", "SETUSER", "operator", "+sync", "+psync", "+replconf")
            assert other.json("backup", str(empty.directory / "c"))["records"] == 0
        finally:
            client.execute_command("ACL", "DELUSER", "operator")
