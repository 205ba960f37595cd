"""One shard of a cluster, a primary and its replica, is silent: plugins elsewhere are served as before, and in time.

The routes are those of the API's document, the commands those of the `relay` command: whatever is added to either is
tried here as well.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from itertools import count

import click
import pytest
import requests

from api.reference.document import make_document
from relay.audit.signing_keys import new_private_text
from relay.cli import main
from relay.store.keys.names import SHARED_ROOT
from relay.store.server.availability import SHORT_S
from relay.store.trail.trail import Trail
from relay.vault import Vault
from tests.cluster.servers import LOOKS_S, WITHIN_S, cluster, wait_for_servers
from tests.cluster.test_silent_primary import is_signed
from tests.integration.api_harness import running_api
from tests.integration.worker_harness import worker_harness
from tests.receivers import answer, json_answer, receiver
from tests.timing import START_S, wait_until
from tests.unit.forked_command import start_command

SHARDS = 3
#: The promise, in seconds; a busy machine may add as long as the same thing took before.
LIMIT_S = 2.0
#: The wait, in seconds, for a server that a process may have taken for silent: it may have asked just after we did.
LATE_S = SHORT_S - LOOKS_S
#: How long after such a wait, in seconds, requests may be refused: a process leaves the server alone for a second, and
#: servers that took the whole cluster for down do so for a few more.
REFUSED_S = 5.0
#: How long, in seconds, what workers do by themselves may take: a sweep that meets the silent server comes late.
BY_ITSELF_S = 60
TRIES = 10
#: How often a shard falls silent at most, until all routes have answered in time throughout one silence.
SILENCES = 5
SERVERLESS = "audit key"
SCOPES = ("trigger", "operate", "metrics")
ROUTES = [(method, path) for path, item in make_document()["paths"].items() for method in item]
REPLAY = {"filter": {"webhookId": "fails"}}
#: What is sent with a request that has a body, and is not sent without.
BODIES = {
    "/v1/webhooks/{webhookId}/trigger": {"data": {"n": 1}},
    "/v1/triggers": [{"webhookId": "post", "data": {"n": 2}}],
    "/v1/replays": {**REPLAY, "dryRun": True},
}
#: The commands that write or run something; all others read.
WRITING = {
    *("up", "settings init", "trigger", "functions load", "partitions divide", "backup", "restore"),
    *("secrets set", "secrets remove"),
    *(f"webhooks {verb}" for verb in ("apply", "close-breaker", "pause", "remove", "resume", "rollback", "set-secret")),
    *("webhooks test", "keys create", "keys revoke", "keys rotate", "invocations cancel", "invocations forget"),
    *(f"replay {verb}" for verb in ("cancel", "pause", "resume", "start")),
    *(f"vault {verb}" for verb in ("add", "promote", "reseal", "retire", "rotate")),
}
FOLLOWING = {"invocations tail"}
#: Commands that read what several shards have, or the shared keys: they say what did not answer, and fail.
OF_SEVERAL = {"doctor", "vault status", "audit export", "audit verify", "audit tail", "audit list"}
OF_SHARED_KEYS = {"keys list"}


def commands(group=main, words=()):
    """Yield the words and the command of every command."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


READING = {name: command for name, command in commands() if name not in WRITING}


class Plugin:
    """A plugin, its API key, and what it has in the store."""

    def __init__(self, name, key):
        self.name, self.key = name, key
        self.referenceId = self.replayId = ""
        self.webhookId = "post"


class Site:
    """A relay on a cluster; its plugins are in all shards, one each."""

    def __init__(self, servers, harness, api, directory):
        self.servers, self.harness, self.api, self.directory = servers, harness, api, directory
        self.environ = {**os.environ, **harness.environ}

    def shard_of(self, root):
        port = self.harness.runtime.client.get_node_from_key(root).port
        number = next(number for number, server in enumerate(self.servers.servers) if server.port == port)
        return number % SHARDS

    def plugins(self, name="plugin"):
        """Return the first name in each shard."""
        found = {}
        numbers = count()
        while len(found) < SHARDS:
            plugin = f"{name}-{next(numbers)}"
            found.setdefault(self.shard_of(self.harness.runtime.keyspace.root(plugin)), plugin)
        return [found[shard] for shard in range(SHARDS)]

    def ask(self, plugin, method, path, **options):
        path = path.format(**vars(plugin))
        headers = {"Authorization": f"Bearer {plugin.key}", **options.pop("headers", {})}
        return requests.request(method, self.api.url + path, headers=headers, timeout=60, **options)

    def trigger(self, plugin, webhook="post", **trigger):
        return self.ask(plugin, "post", f"/v1/webhooks/{webhook}/trigger", json={"data": {"n": 0}, **trigger})

    def run(self, plugin, name):
        """Run a command; return its exit status and output. One that follows something ends with its first line."""
        words = self._words(plugin, name, READING[name])
        out, err = self.directory / "out", self.directory / "err"
        out.write_text("")
        err.write_text("")
        process = start_command(words, self.environ, [os.devnull, str(out), str(err)])
        if name in FOLLOWING:
            wait_until(out.read_text, START_S, otherwise=f"{name}: {err.read_text()}")
            process.kill()
        process.join(START_S)
        assert not process.is_alive(), name
        return 0 if name in FOLLOWING else process.exitcode, out.read_text() + err.read_text()

    def _words(self, plugin, name, command):
        values = {
            "webhook_id": plugin.webhookId,
            "reference_id": plugin.referenceId,
            "replay_id": plugin.replayId,
            "first": "1",
            "older": "1",
        }
        words = ["--data-dir", str(self.directory), *name.split()]
        for each in command.params:
            if isinstance(each, click.Argument) and each.required:
                words.append(values[each.name])
            elif each.name == "plugin":
                words += ["--plugin", plugin.name]
            elif "--once" in each.opts or "--no-follow" in each.secondary_opts:
                words.append([*each.secondary_opts, "--once"][0])
        return words

    @contextmanager
    def silent(self, shard):
        """Freeze a shard; yield how long the servers of the others keep somebody waiting."""
        numbers = (shard, shard + SHARDS)
        others = [number for number in range(2 * SHARDS) if number not in numbers]
        for number in numbers:
            self.servers.freeze(number)
        try:
            with self.servers.waits(others) as waits:
                yield waits
        finally:
            for number in numbers:
                self.servers.thaw(number)
            wait_for_servers(self.servers.is_whole)


@pytest.fixture(scope="module")
def servers():
    with cluster(SHARDS, replicas=1) as servers:
        servers.spare_the_disk()
        yield servers


@pytest.fixture(scope="module")
def endpoint():
    with receiver(json_answer({"ok": True})) as received:
        yield received


@pytest.fixture(scope="module")
def failing():
    with receiver(answer(500)) as received:
        yield received


@pytest.fixture(scope="module")
def rings(tmp_path_factory):
    directory = tmp_path_factory.mktemp("rings")
    files = {name: directory / name for name in ("TARGET", "DATA")}
    for file in files.values():
        file.write_text(Vault.new_key_text())
        file.chmod(0o600)
    return {f"RELAY_{name}_KEYS_FILE": str(file) for name, file in files.items()}


@pytest.fixture(scope="module", params=range(SHARDS))
def shard(request):
    """The shard that is going to be silent."""
    return request.param


@pytest.fixture(scope="module")
def site(servers, shard, rings, endpoint, tmp_path_factory):
    settings = {
        **rings,
        "RELAY_TARGET_KEYS": "",
        "RELAY_DATA_KEYS": "",
        "RELAY_STORE_URL": servers.url,
        "RELAY_STORE_REPLICAS": "1",
        "RELAY_AUDIT_KEY": new_private_text(),
    }
    with worker_harness(tmp_path_factory, **settings) as harness:
        site = Site(servers, harness, None, tmp_path_factory.mktemp("site"))
        told = site.plugins("ops")[(shard + 1) % SHARDS]
        harness.environ["RELAY_ALERTS"] = f"{told}/on-alert"
        with running_api(harness.environ, threads=32) as site.api:
            for group in ("interactive", "bulk"):
                harness.start_worker(group)
            site.told = told
            site.seen = len(endpoint.requests)
            yield site


@pytest.fixture(scope="module")
def plugins(site, endpoint, failing):
    """A plugin in each shard, in order, each with an ended call, a failed one, and a replay."""
    made = []
    for name in site.plugins():
        post = {"url": endpoint.url, "method": "POST"}
        site.harness.register({"id": "post", **post, "description": "Older"}, plugin=name)
        site.harness.register(
            {"id": "post", "callback": "told", **post},
            {"id": "told", **post},
            {"id": "fails", "url": failing.url, "method": "POST"},
            plugin=name,
        )
        plugin = Plugin(name, site.harness.runtime.api_keys.create(name, SCOPES)[0])
        plugin.referenceId = site.trigger(plugin).json()["referenceId"]
        assert site.trigger(plugin, "fails").json()["status"] == 500
        plugin.replayId = site.ask(plugin, "post", "/v1/replays", json=REPLAY).json()["replayId"]
        made.append(plugin)
    site.harness.register({"id": "on-alert", "url": endpoint.url, "method": "POST"}, plugin=site.told)
    return made


def test_plugins_in_other_shards_are_served_in_time(site, shard, plugins, endpoint):
    elsewhere = [plugin for number, plugin in enumerate(plugins) if number != shard]
    usual = {(route, plugin.name): took_s(site, plugin, *route)[0] for plugin in elsewhere for route in ROUTES}
    usual |= {(name, plugin.name): ran_s(site, plugin, name)[0] for plugin in elsewhere[:1] for name in READING}
    late = {}
    with site.silent(shard) as waits:
        faults = faults_of_routes(site, waits, elsewhere, usual)
        plugin = elsewhere[0]
        told = told_of_silence(site, shard)
        for name in READING:
            seconds = told_s(site, waits, plugin, name, *told.get(name, (0, "")))
            if seconds > LIMIT_S + usual[name, plugin.name] and is_late(site, plugin, name, usual):
                late[name] = seconds
        goes_on(site, waits, elsewhere, endpoint)
        assert site.trigger(plugins[shard]).status_code == 503
    all_are_served(site, plugins)
    for _ in range(SILENCES - 1):
        if not faults:
            break
        with site.silent(shard) as waits:  # on a machine so busy that a server that is well takes seconds to answer
            faults = faults_of_routes(site, waits, elsewhere, usual)
        all_are_served(site, plugins)
    assert (faults, late) == ({}, {})
    wait_until(lambda: "over" in alert_states(site, endpoint), BY_ITSELF_S, every_s=0.5)


def faults_of_routes(site, waits, plugins, usual):
    """Ask every route twice; return which answers came late or refused, with their times.

    A refusal that comes at once fails, unless a server that is well, or the API, has just kept somebody waiting: on a
    machine so busy, a process may take a server for silent that waited for a processor.
    """
    faults = {}
    for number in range(2):
        for plugin in plugins:
            for route in ROUTES:
                began_s = time.monotonic()
                seconds, response = took_s(site, plugin, *route)
                if seconds > LIMIT_S:
                    waits.add(seconds)
                is_refused = response.status_code >= 500
                assert not is_refused or was_late(waits, began_s), (number, plugin.name, route, seconds, response.text)
                if is_refused or seconds > LIMIT_S + usual[route, plugin.name]:
                    faults[number, plugin.name, route] = seconds
    return faults


def was_late(waits, began_s):
    """Return whether what began at a monotonic time may have been refused because a server that is well was late."""
    return waits.longest_s(began_s - REFUSED_S) > LATE_S


def all_are_served(site, plugins):
    for each in plugins:
        wait_until(lambda each=each: site.trigger(each).status_code == 200, WITHIN_S, every_s=0.5)


def is_late(site, plugin, name, usual):
    """Return whether a command is late in every try, though a busy machine may take longer than usual for its work.

    How much longer, a command that asks no server shows.
    """

    def is_late_once():
        busy = max(1.0, ran_s(site, plugin, SERVERLESS)[0] / usual[SERVERLESS, plugin.name])
        return ran_s(site, plugin, name)[0] > LIMIT_S + busy * usual[name, plugin.name]

    return all(is_late_once() for _ in range(TRIES))


def took_s(site, plugin, method, path):
    began_s = time.monotonic()
    response = site.ask(plugin, method, path, json=BODIES.get(path) if method == "post" else None)
    return time.monotonic() - began_s, response


def ran_s(site, plugin, name):
    began_s = time.monotonic()
    status, said = site.run(plugin, name)
    return time.monotonic() - began_s, status, said


def told_of_silence(site, shard):
    """Check that readiness names what is silent; return exit status and text of the commands that do, by name."""
    keyspace = site.harness.runtime.keyspace
    number = next(number for number in range(keyspace.partitions) if site.shard_of(f"relay:{{{number}}}:") == shard)
    ready = requests.get(f"{site.api.url}/readyz", timeout=60)
    assert ready.status_code == 200
    assert str(number) in ready.json()["warnings"][0]
    told = {"partitions show": (0, str(number)), **dict.fromkeys(OF_SEVERAL, (1, str(number)))}
    if site.shard_of(SHARED_ROOT) == shard:
        told |= dict.fromkeys(OF_SHARED_KEYS, (1, "shared keys"))
    return told


def told_s(site, waits, plugin, name, status, text):
    """Run a command that has to end with a status and to show a text; return how long that took, in seconds.

    It is run again if it does otherwise just after a server that is well was late.
    """
    while True:
        began_s = time.monotonic()
        seconds, ended, said = ran_s(site, plugin, name)
        if ended == status and text in said:
            return seconds
        assert was_late(waits, began_s), (name, ended, said)


def goes_on(site, waits, plugins, endpoint):
    """Check that calls, callbacks, retries, replays, alerts and signatures of these plugins go on."""
    delayed, replays = {}, {}
    for plugin in plugins:
        delayed[plugin] = accepted(waits, lambda p=plugin: site.trigger(p, delay=1))["referenceId"]
        started = accepted(waits, lambda p=plugin: site.ask(p, "post", "/v1/replays", json=REPLAY))
        replays[plugin] = started["replayId"]
    for plugin, ref in delayed.items():
        wait_until(lambda p=plugin, ref=ref: state_of(site, p, ref) == "delivered", BY_ITSELF_S, every_s=0.3)
        wait_until(lambda ref=ref: ref in told_of(endpoint), BY_ITSELF_S, every_s=0.3)
    for plugin, replay in replays.items():
        path = f"/v1/replays/{replay}"
        wait_until(
            lambda p=plugin, path=path: site.ask(p, "get", path).json().get("state") == "done", BY_ITSELF_S, every_s=0.3
        )
    wait_until(lambda: "firing" in alert_states(site, endpoint), BY_ITSELF_S, every_s=0.5)
    for plugin in plugins:
        site.harness.runtime.audit_writer.write("forget", plugin=plugin.name, subject="s")
        trail = Trail(site.harness.runtime.client, site.harness.runtime.keyspace.root(plugin.name))
        wait_until(lambda trail=trail: is_signed(trail), BY_ITSELF_S, every_s=0.3)


def accepted(waits, ask):
    """Ask, and again after a refusal if a server that is well was late; return the answer."""

    def answer():
        began_s = time.monotonic()
        response = ask()
        assert response.status_code == 202 or was_late(waits, began_s), response.text
        return response.status_code == 202 and response.json()

    return wait_until(answer, WITHIN_S, every_s=0.3)


def state_of(site, plugin, reference_id):
    return site.ask(plugin, "get", f"/v1/invocations/{reference_id}").json().get("state")


def bodies(endpoint):
    return [json.loads(request.body or b"{}") for request in list(endpoint.requests)]


def told_of(endpoint):
    return {body["referenceId"] for body in bodies(endpoint) if "referenceId" in body}


def alert_states(site, endpoint):
    return [body["state"] for body in bodies(endpoint)[site.seen :] if body.get("alert") == "partitions_silent"]


def test_every_command_that_writes_exists():
    assert {name for name, _ in commands()} >= WRITING
