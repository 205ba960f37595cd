"""With RELAY_STORE_REPLICAS=1 and a replica that is cut off, nothing that writes is confirmed to anybody.

The commands are those of the command tree, the routes those of the API's document, so that a new one cannot be
forgotten. What still succeeds has to have written nothing but what only counts.
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager

import pytest
import redis

from api.reference.document import make_document
from bench.ports import free_port
from relay.errors import Unavailable
from relay.store.backups.epoch import Epoch, Phase
from relay.store.server.replicas import require_replicas
from tests.conftest import start_valkey
from tests.contract.ledger import Ledger
from tests.integration.api_harness import environ_for, running_api
from tests.timing import wait_until
from tests.unit.cli import Cli
from tests.unit.command_tree import GOOD, arguments, make_site

#: The ends of keys on which nobody relies: entries of what was only read, when a key was used, rates, counters.
COUNTED = (
    *("audit:entries", "keys:used", ":rate", ":counts", ":notes", ":counted", ":totals", ":minute", ":hour"),
    *("metrics:webhooks", "sweeps", "due:backlog", "confirmed", "workers"),
)
MAY = "may or may not have happened"
#: Commands that end what others need; they come last.
LAST = (("keys", "revoke"), ("webhooks", "remove"))
#: A command that would go on for ever; it lists what `invocations list` lists.
ENDLESS = ("invocations", "tail")
#: Commands that fail without a try to write: doctor finds a fault, and no restore has begun (below one is finished).
WITHOUT_ACT = {("doctor",), ("restore",)}
#: Commands that write, whoever adds others.
SURELY = {
    *(
        ("invocations", "cancel"),
        ("keys", "revoke"),
        ("keys", "rotate"),
        ("webhooks", "resume"),
        ("webhooks", "remove"),
    ),
    *(("replay", "pause"), ("vault", "reseal"), ("webhooks", "set-secret"), ("trigger",)),
}
#: The body that each route which takes one is sent.
BODIES = {
    "/v1/webhooks/{webhookId}/trigger": {},
    "/v1/triggers": [{"webhookId": "order"}],
    "/v1/replays": {"filter": {}},
}


class Pair:
    """A primary and its replica, which can be cut off, and can take over."""

    def __init__(self, directory):
        for name in ("primary", "replica"):
            (directory / name).mkdir()
        self.primary = start_valkey(directory / "primary", **{"repl-diskless-sync-delay": "0"})
        follows = f"127.0.0.1 {self.primary.port}"
        self.replica = start_valkey(directory / "replica", replicaof=follows)
        self.clients = [redis.Redis(port=each.port, socket_timeout=10) for each in (self.primary, self.replica)]
        self.url = f"redis://127.0.0.1:{self.primary.port}/0"
        self.join()

    def join(self):
        self.clients[1].execute_command("REPLICAOF", "127.0.0.1", self.primary.port)
        wait_until(lambda: self.clients[1].info("replication")["master_link_status"] == "up", 30)
        wait_until(lambda: self.clients[0].wait(1, 1_000) == 1, 30)

    def cut_off(self):
        """Let the replica follow nobody, with what it has."""
        self.clients[1].execute_command("REPLICAOF", "127.0.0.1", free_port())
        wait_until(lambda: self.clients[0].info("replication")["connected_slaves"] == 0, 30)

    def fail_over(self):
        self.clients[1].execute_command("REPLICAOF", "NO", "ONE")
        return f"redis://127.0.0.1:{self.replica.port}/0"

    def written(self):
        """Return every value of the primary on which somebody relies, in the server's own form."""
        client = self.clients[0]
        names = sorted(name for name in client.scan_iter(count=1_000) if not _only_counts(name.decode()))
        return {name: client.dump(name) for name in names}

    def stop(self):
        for client in self.clients:
            client.close()
        for server in (self.primary, self.replica):
            server.terminate()


def _only_counts(name):
    return name.endswith(COUNTED) or any(f"{part}:" in name for part in COUNTED)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    pair = Pair(tmp_path_factory.mktemp("pair"))
    yield pair
    pair.stop()


@contextmanager
def cut_off(pair):
    pair.cut_off()
    try:
        yield
    finally:
        pair.join()


@pytest.fixture(scope="module")
def site(pair, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("relay.cli.vault.SETTLED_S", 0.0)
        patch.setattr("relay.store.server.replicas.WAIT_MS", 100)
        cli = Cli(pair.url, tmp_path_factory.mktemp("site"))
        cli.keys["RELAY_STORE_REPLICAS"] = "1"
        yield make_site(cli)
        cli.close()


def test_no_command_that_writes_is_confirmed_without_replicas(pair, site):
    refused, wrong = set(), {}
    for path in (*sorted(GOOD.keys() - {ENDLESS, *LAST}), *LAST):
        with cut_off(pair):
            before = pair.written()
            result = site.cli.run(*arguments(site, path), "--output", "json", text="Bearer new")
            changed = {name for name, value in (pair.written().items() ^ before.items())}
        if '"code": "unavailable"' in result.stdout:
            refused.add(path)
            assert (result.exit_code, MAY in result.stdout) == (1, True), result.output
        elif changed or (result.exit_code and path not in WITHOUT_ACT):
            wrong[path] = changed, result.output
    assert wrong == {}
    assert refused >= SURELY


def test_what_was_not_confirmed_may_be_gone_after_a_failover_and_what_was_is_not(pair, tmp_path):
    pair.clients[0].flushall()
    cli = Cli(pair.url, tmp_path)
    cli.keys["RELAY_STORE_REPLICAS"] = "1"
    site = make_site(cli)
    paused = cli.json(*arguments(site, ("trigger",)))["referenceId"]
    assert cli.run("webhooks", "pause", "ping", "--plugin", "acme").exit_code == 0
    assert cli.run("invocations", "cancel", paused, "--plugin", "acme").exit_code == 0
    pair.cut_off()
    refused = [
        ("invocations", "cancel", site.ref, "--plugin", "acme"),
        ("keys", "revoke", site.key_id),
        ("webhooks", "resume", "ping", "--plugin", "acme"),
        ("webhooks", "remove", "ping", "--plugin", "acme", "--yes"),
    ]
    assert {cli.run(*line).exit_code for line in refused} == {1}
    cli.close()
    after = Cli(pair.fail_over(), tmp_path, cli.keys | {"RELAY_STORE_REPLICAS": "0"})
    try:
        states = [after.json("invocations", "show", ref, "--plugin", "acme")["state"] for ref in (paused, site.ref)]
        assert states == ["cancelled", "queued"]
        (key,) = (each for each in after.json("keys", "list") if each["id"] == site.key_id)
        (webhook,) = after.json("webhooks", "list", "--plugin", "acme")
        assert (key["revoked"], webhook["paused"]) == (False, True)
    finally:
        after.close()
        pair.join()


def test_a_restore_is_not_finished_without_replicas(pair, tmp_path):
    pair.clients[0].flushall()
    cli = Cli(pair.url, tmp_path)
    cli.keys["RELAY_STORE_REPLICAS"] = "1"
    site = make_site(cli)
    runtime = cli.runtime()
    runtime.epochs.write(Epoch(1, Phase.FENCED))
    runtime.epochs.fence(1)
    finish = ("restore", "finish", "--output", "json")
    with cut_off(pair):
        result = cli.run(*finish)
        assert (result.exit_code, '"code": "unavailable"' in result.stdout, MAY in result.stdout) == (1, True, True)
    assert cli.json("restore", "finish") == {"ended": 1, "goOn": 0, "replays": 1, "undone": []}
    assert cli.json("invocations", "show", site.ref, "--plugin", "acme")["state"] == "interrupted"
    assert not runtime.epochs.read().is_fenced
    cli.close()


def test_a_full_server_whose_replica_is_behind_grants_no_claim(pair):
    pair.clients[0].flushall()
    with redis.Redis(port=pair.primary.port) as client:
        require_replicas(client, 1)
        ledger = Ledger(client)
        ref = ledger.accepted()
        pair.clients[0].config_set("maxmemory", "1mb")
        os.kill(pair.replica._process.pid, signal.SIGSTOP)  # it stays connected, and confirms nothing
        try:
            with pytest.raises(Unavailable, match=MAY):
                ledger.store.claim([ref], "token")
        finally:
            os.kill(pair.replica._process.pid, signal.SIGCONT)
            pair.clients[0].config_set("maxmemory", "0")
        pair.join()
        require_replicas(client, 1)
        assert Ledger(client).store.claim([ref], "token").granted == {ref}  # without waiting until it is tried again


def test_no_route_that_writes_is_confirmed_without_replicas(pair):
    pair.clients[0].flushall()
    environ = environ_for(pair.url, RELAY_STORE_REPLICAS="1")
    paths = make_document()["paths"]
    refused, wrong = set(), {}
    with running_api(environ) as api:
        key, _ = api.runtime.api_keys.create("acme", ["trigger", "operate", "metrics"])
        ref = api.trigger(prefer="respond-async").json()["referenceId"]
        api.settle([ref])
        replay = api.call("POST", "/v1/replays", key=key, json={"filter": {}}).json()["replayId"]
        parts = {"webhookId": "order", "referenceId": ref, "replayId": replay}
        for path, methods in paths.items():
            if path == "/readyz":
                continue  # 503: there are no workers
            for method in methods.keys() & {"get", "post", "put", "patch", "delete"}:
                with cut_off(pair):
                    before = pair.written()
                    sent = {"json": BODIES[path]} if method != "get" and path in BODIES else {}
                    answer = api.call(method.upper(), path.format(**parts), key=key, **sent)
                    changed = {name for name, value in (pair.written().items() ^ before.items())}
                if answer.status_code == 503:
                    refused.add((method, path))
                    assert (answer.json()["code"], MAY in answer.text) == ("unavailable", True), path
                elif changed or not answer.ok:
                    wrong[method, path] = (answer.status_code, changed, answer.text)
    assert wrong == {}
    posts = {(method, path) for path, methods in paths.items() for method in methods if method == "post"}
    assert posts <= refused
