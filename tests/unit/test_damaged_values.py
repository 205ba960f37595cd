"""A sealed value that cannot be opened is counted and named, and hides nothing else from operators of the key rings."""

from __future__ import annotations

import json

import pytest
import redis

from relay.rotation.ring_file import RingFile
from relay.store.keys import keyspace
from relay.store.keys.names import SHARED_ROOT, partition_root
from relay.vault import (
    Vault,
    raw_owner,
    result_owner,
    secret_owner,
    secrets_owner,
    subject_key_owner,
    token_owner,
)
from tests.store_keys import KEYS
from tests.unit.cli import Cli, a_webhook
from tests.unit.kept import Kept

PLANTED = b"planted-contents-that-nobody-sealed"
OWNERS = {
    "result": lambda ref, _: result_owner("acme", ref),
    "raw": lambda ref, _: raw_owner("acme", ref, "", 0),
    "secrets": lambda ref, _: secrets_owner("acme", ref, 0),
    "token": lambda _, stamp: token_owner("acme", "ping", 1, stamp),
    "secret": lambda *_: secret_owner("acme", "TOKEN"),
    "subject-key": lambda *_: subject_key_owner("acme"),
}
DATA = {"payload", "result", "subject-key"}
KINDS = [*OWNERS, "payload", "target"]


class Site:
    """A relay with a sealed value of each kind; each ring is a file of two keys, all sealed under the older one."""

    def __init__(self, cli):
        self.cli = cli
        cli.use_ring_files(keys=2)
        cli.apply(a_webhook())
        self.ref = cli.json("trigger", "ping", "--plugin", "acme", "--async")["referenceId"]
        runtime = cli.runtime()
        self.client, self.vaults = runtime.client, {"data": runtime.data_vault, "target": runtime.target_vault}
        stamp = runtime.registry.revision("acme", "ping", 1).stamp
        for kind, owner in OWNERS.items():
            self.client.set(self.key(kind), self.vault(kind).seal(b"a value", owner(self.ref, stamp)))
        cli.json("vault", "promote")
        self.whole, self.checks = self.rows()[0], self.checked()

    def checked(self):
        """Return what `relay doctor` finds."""
        return [row["check"] for row in self.cli.json("doctor", exit_code=1)]

    def key(self, kind):
        if kind == "target":
            return KEYS.target("acme", "ping", 1)
        if kind == "token":
            return KEYS.access_token("acme", "ping", 1)
        if kind == "secret":
            return KEYS.secret("acme", "TOKEN")
        if kind == "subject-key":
            return KEYS.subject_key("acme")
        return getattr(KEYS, kind)(self.ref)

    def ring(self, kind):
        return "data" if kind in DATA else "target"

    def vault(self, kind):
        return self.vaults[self.ring(kind)]

    def rows(self):
        """Return the rings' keys, with what is sealed under each, and what is damaged."""
        rows = self.cli.json("vault", "status")
        keys = {(row["ring"], row["key"]): row["sealed"] for row in rows if row["role"] != "damaged"}
        return keys, [row for row in rows if row["role"] == "damaged"]


def _another_type(site, kind):
    site.client.delete(site.key(kind))
    site.client.hset(site.key(kind), "a", PLANTED)


def _put(site, kind, change):
    site.client.set(site.key(kind), change(site.client.get(site.key(kind))))


DAMAGES = {
    "empty": lambda site, kind: _put(site, kind, lambda _: b""),
    "plain text": lambda site, kind: _put(site, kind, lambda _: PLANTED),
    "binary": lambda site, kind: _put(site, kind, lambda _: bytes(range(256))),
    "truncated at its end": lambda site, kind: _put(site, kind, lambda sealed: sealed[:-1]),
    "truncated at its beginning": lambda site, kind: _put(site, kind, lambda sealed: sealed[:12]),
    "altered": lambda site, kind: _put(site, kind, lambda sealed: sealed[:-1] + bytes([sealed[-1] ^ 1])),
    "of a foreign key": lambda site, kind: _put(
        site, kind, lambda _: Vault.from_text(Vault.new_key_text()).seal(PLANTED, "somebody")
    ),
    "of another owner": lambda site, kind: _put(site, kind, lambda _: site.vault(kind).seal(PLANTED, "somebody")),
    "of another type": _another_type,
}


@pytest.fixture(scope="module")
def made(empty_server, tmp_path_factory):
    """A site, and what it consisted of before any test."""
    with empty_server.client() as client, pytest.MonkeyPatch.context() as patch:
        patch.setattr("relay.cli.vault.SETTLED_S", 0.0)
        site = Site(Cli(empty_server.tcp_url, tmp_path_factory.mktemp("site")))
        yield site, Kept.of(client, site.cli.directory)
        site.cli.close()


@pytest.fixture
def site(made):
    site, kept = made
    kept.put_back()
    return site


def test_what_is_whole_is_counted_and_nothing_else_is_shown(site):
    keys, damaged = site.rows()
    assert (sorted(keys.values()), damaged) == ([0, 0, 3, 5], [])
    assert site.cli.run("vault", "status").stderr == ""


def test_values_that_go_while_they_are_looked_for_need_no_key(site, monkeypatch):
    scan = redis.Redis.scan_iter

    def going(client, **wanted):
        for key in scan(client, **wanted):
            client.delete(key)
            yield key

    with monkeypatch.context() as patch:
        patch.setattr(redis.Redis, "scan_iter", going)
        assert site.cli.json("vault", "reseal") == {"resealed": 0, "current": 0, "unreadable": 0}
    keys, damaged = site.rows()
    assert (set(keys.values()), damaged) == ({0}, [])


def test_an_old_key_is_retired_alone_and_only_once_nothing_is_sealed_under_it(site):
    before, old = site.whole, {ring: key for (ring, key), count in site.whole.items() if count}
    refused = site.cli.json("vault", "retire", old["data"], exit_code=1)
    count = before["data", old["data"]]
    sentence = f"{count} values are still sealed under {old['data']} of the data ring: relay vault reseal."
    assert (refused["code"], refused["message"]) == ("conflict", sentence)
    assert site.rows()[0] == before
    for command in ("add", "promote", "reseal"):  # now there are two old keys
        site.cli.json("vault", command)
    every = set(site.rows()[0])
    assert site.cli.json("vault", "retire", old["data"]) == [{"ring": "data", "key": old["data"]}]
    assert set(site.rows()[0]) == every - {("data", old["data"])}
    assert site.cli.json("vault", "retire", old["data"], exit_code=1)["code"] == "not_found"
    assert site.cli.json("vault", "retire", _newest(site, "data"), exit_code=1)["code"] == "conflict"
    assert site.checked() == site.checks


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_value_is_named_and_all_others_are_counted_resealed_and_retired(site, kind, damage):
    ring, other = site.ring(kind), ({"data", "target"} - {site.ring(kind)}).pop()
    before = site.whole
    old = {ring: key for (ring, key), count in before.items() if count}
    DAMAGES[damage](site, kind)

    keys, damaged = site.rows()
    assert keys == before | {(ring, old[ring]): before[ring, old[ring]] - 1}
    row = {"ring": ring, "key": None, "role": "damaged", "sealed": 1, "kind": kind, "plugin": "acme"}
    if damage == "of another type" and kind not in {"target", "token", "secret", "subject-key"}:
        row["plugin"] = None
    assert damaged == [row]
    shown = site.cli.run("vault", "status")
    assert f"damaged: {kind} of {row['plugin'] or 'no plugin'}" in shown.stdout
    assert f"Values that no configured key opens: 1 ({site.key(kind)})." in shown.stderr
    assert PLANTED.decode() not in shown.output

    resealed = site.cli.run("vault", "reseal", "--output", "json")
    done = json.loads(resealed.stdout)
    assert done == {"resealed": sum(before.values()) - 1, "current": 0, "unreadable": 1}
    assert resealed.stderr == shown.stderr
    refused = site.cli.run("vault", "retire")
    assert refused.exit_code == 1
    assert f"Values of the {ring} ring that do not open: 1. They may need {old[ring]}" in refused.stderr
    assert f"Retired: {old[other]} of the {other} ring." in refused.stderr
    assert set(site.rows()[0]) == set(before) - {(other, old[other])}
    assert site.checked() == site.checks

    given_up = site.cli.json("vault", "retire", "--give-up-damaged")
    assert given_up == [{"ring": ring, "key": old[ring]}]
    assert site.rows()[1] == [row]
    (applied,) = site.cli.apply(a_webhook())["webhooks"]
    assert applied["change"] == ("changed" if kind == "target" else "unchanged"), "to register it anew repairs it"


def _revision_of_no_number(site):
    site.client.hset(KEYS.record(site.ref), mapping={"revision": "x", "parentStep": "y", "parent": "z", "step": "?"})


RECORDS = {
    "gone": lambda site: site.client.delete(KEYS.record(site.ref)),
    "of no numbers": _revision_of_no_number,
    "of no text": lambda site: site.client.hset(KEYS.record(site.ref), "plugin", b"\xff\xfe"),
}


@pytest.mark.parametrize("damage", RECORDS)
def test_contents_whose_record_says_no_more_whose_they_are_are_damaged(site, damage):
    RECORDS[damage](site)
    keys, damaged = site.rows()
    kinds = {row["kind"] for row in damaged}
    assert kinds == {"payload", "raw", "secrets"} | ({"result"} if damage != "of no numbers" else set())
    assert sum(keys.values()) == len(KINDS) - len(kinds)
    assert site.cli.json("vault", "reseal")["unreadable"] == len(kinds)


def test_what_lies_under_names_that_are_nobody_s_is_no_sealed_value(site):
    for name in ("target:x", "target:a:b:x", "token:acme:ping:1:lock", "inv:x:y:z", "inv::", "target:"):
        site.client.set(f"relay:{{0}}:{name}", PLANTED)
    site.client.set(b"relay:{0}:target:\xff:a:1", PLANTED)
    assert site.rows()[1] == []


def test_a_rotation_in_one_go_does_all_but_retire_the_key_that_may_be_needed(site):
    DAMAGES["plain text"](site, "payload")
    refused = site.cli.run("vault", "rotate")
    assert refused.exit_code == 1
    assert "Values of the data ring that do not open: 1." in refused.stderr
    keys, (damaged,) = site.rows()
    assert damaged["kind"] == "payload"
    assert sorted(keys.values()) == [0, 0, 2, 5]


def _known(site):
    """Return the ids of all keys and webhooks that count."""
    keys = [row["id"] for row in site.cli.json("keys", "list")]
    return keys, [row["id"] for row in site.cli.json("webhooks", "list", "--plugin", "acme")]


@pytest.mark.parametrize("resealed", [False, True])
def test_no_key_or_webhook_needs_a_data_key_that_is_retired(site, monkeypatch, resealed):
    site.client.delete(*map(site.key, DATA))  # as when all contents have expired: nothing is sealed with the old key
    site.cli.json("keys", "create", "--plugin", "acme", "--scope", "trigger")
    known = _known(site)
    if resealed:
        site.cli.json("vault", "reseal")
        site.cli.json("vault", "add", "--ring", "data")  # and the next rotation is never resealed
        site.cli.json("vault", "promote", "--ring", "data")
    assert site.cli.json("vault", "retire", "--ring", "data")
    monkeypatch.setattr("relay.cli.vault.IDEMPOTENCY_MS", -1)  # a day later
    assert site.cli.json("vault", "retire", "--ring", "data") == []
    assert "mac:" not in (site.cli.directory / "data.keys").read_text()
    assert _known(site) == known
    assert site.checked() == site.checks


@pytest.mark.parametrize("root", [SHARED_ROOT, partition_root(0)])
def test_decisions_that_fail_verification_keep_the_old_data_keys_until_they_are_given_up(site, root):
    site.cli.json("keys", "create", "--plugin", "acme", "--scope", "trigger")
    known = _known(site)
    chain = keyspace.decisions(root)
    site.client.rpush(chain, "9 key/x y " + "0" * 64)
    forged, ring = site.client.lrange(chain, 0, -1), (site.cli.directory / "data.keys").read_text()
    for command in ("reseal", "retire --ring data --ring target", "rotate"):
        refused = site.cli.json("vault", *command.split(), exit_code=1)
        assert (refused["code"], "fail verification" in refused["message"]) == ("conflict", True)
        assert ("of the target ring" in refused["message"]) == ("target" in command), "the other ring is gone through"
        assert site.client.lrange(chain, 0, -1) == forged
    left = site.cli.json("audit", "list", "--act", "vault_retire", "--outcome", "conflict")
    assert [each["subject"] for each in left if ":" not in each["subject"]] == ["data"]
    assert ring.strip() in (site.cli.directory / "data.keys").read_text(), "no key was taken out"
    site.cli.json("vault", "add", "--ring", "target")
    site.cli.json("vault", "promote", "--ring", "target")
    site.cli.json("vault", "reseal", exit_code=1)
    old = next(key for key in RingFile("target", site.cli.directory / "target.keys").key_ids()[1:])
    assert site.cli.json("vault", "retire", old) == [{"ring": "target", "key": old}], "it needs no decisions"
    keys = site.rows()[0]
    assert sum(keys.values()) == len(KINDS), "all values are resealed all the same"
    assert {key for (_, key), count in keys.items() if count} == {_newest(site, each) for each in ("data", "target")}

    assert len(site.cli.json("vault", "retire", "--ring", "data", "--give-up-damaged")) == 2
    assert _known(site) == known
    assert "verification" not in site.cli.run("vault", "reseal").output

    site.client.rpush(chain, "99 key/x y " + "0" * 64)
    assert site.cli.json("vault", "retire", "--ring", "data", "--give-up-damaged") == [], "there is one key only"
    site.cli.json("vault", "reseal")


def _newest(site, ring):
    return (site.cli.directory / f"{ring}.keys").read_text().partition(":")[0]


def test_one_ring_is_gone_through_without_the_keys_of_the_other(site, monkeypatch):
    monkeypatch.delitem(site.cli.keys, "RELAY_TARGET_KEYS_FILE")
    (site.cli.directory / "target.keys").unlink()
    assert [row["role"] for row in site.cli.json("vault", "status", "--ring", "data")] == ["seals", "opens"]
    assert site.cli.json("vault", "reseal", "--ring", "data") == {"resealed": 3, "current": 0, "unreadable": 0}
    assert len(site.cli.json("vault", "retire", "--ring", "data")) == 1
