"""Real Celery workers on a separate Valkey; tests make calls through the dispatcher, as the API does."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager

from relay.accept.intake import TriggerRequest
from relay.cli.secrets import look_up_in
from relay.domain.reference_id import new_reference_id
from relay.registration.document import read_registrations
from relay.settings import Settings
from relay.up.processes import worker
from relay.vault import Vault, result_owner
from relay.wiring.runtime import cli_runtime
from tests.conftest import start_valkey
from tests.forked_processes import start_forked
from tests.processes import signal_group
from tests.timing import START_S, wait_until


class WorkerHarness:
    """A store and its workers."""

    def __init__(self, directory, **settings):
        self.server = start_valkey(directory)
        self.log = directory / "workers.log"
        self.environ = {
            "RELAY_REDIS_URL": f"redis://127.0.0.1:{self.server.port}/0",
            "RELAY_TARGET_KEYS": Vault.new_key_text(),
            "RELAY_DATA_KEYS": Vault.new_key_text(),
            "RELAY_EGRESS_ALLOW": "127.0.0.0/8",
            **settings,
        }
        self.runtime = cli_runtime(Settings.from_environ(self.environ))
        self.store = self.runtime.store
        self.workers = []

    def register(self, *webhooks, plugin="acme"):
        look_up = look_up_in(self.runtime.registry)
        text = json.dumps(list(webhooks))
        _, registrations = read_registrations(text, self.runtime.rules, plugin=plugin, look_up=look_up)
        self.runtime.registry.apply(plugin, registrations)

    def start_worker(self, group="bulk", number=1, *, sabotage="", waits=True):
        """Start a worker. ``sabotage`` is Python code that it runs first, with its modules already imported."""
        command = worker(group, number).command
        with self.log.open("ab") as log:
            streams = [log.fileno(), log.fileno()]
            process = start_forked(command, {**os.environ, **self.environ}, streams, sabotage=sabotage)
        self.workers.append(process)
        name = command[-1].split("@")[0]
        if waits:
            wait_until(
                lambda: any(alive.name.startswith(f"{name}@") for alive in self.runtime.workers.alive()), START_S
            )
        return process

    def trigger(self, webhook="hook", data=None, *, awaited=False):
        call = TriggerRequest("acme", webhook, {"data": data}, new_reference_id("acme"), "k1", awaited=awaited)
        return self.runtime.dispatcher.trigger(call).reference_id

    def trigger_many(self, count, webhook="hook", data=None):
        calls = [TriggerRequest("acme", webhook, {"data": data}, new_reference_id("acme"), "k1") for _ in range(count)]
        return [answer.reference_id for answer in self.runtime.dispatcher.trigger_many(calls)]

    def trigger_each(self, data, webhook):
        calls = [TriggerRequest("acme", webhook, {"data": each}, new_reference_id("acme"), "k1") for each in data]
        return [answer.reference_id for answer in self.runtime.dispatcher.trigger_many(calls)]

    def record(self, reference_id):
        return self.store.find(reference_id)

    def final(self, reference_id, within_s=20):
        wait_until(lambda: self.record(reference_id).state.final, within_s)
        return self.record(reference_id)

    def finals(self, reference_ids, within_s=60):
        """Return the final records of calls, each of which is read once when it is final."""
        found = {}

        def are_found():
            for ref in reference_ids:
                if ref not in found:
                    record = self.record(ref)
                    if not record.state.final:
                        return False
                    found[ref] = record
            return True

        wait_until(are_found, within_s, every_s=0.2)
        return [found[ref] for ref in reference_ids]

    def data(self, reference_id):
        sealed = self.store.result_of(reference_id)
        return json.loads(self.runtime.data_vault.open(sealed, result_owner("acme", reference_id)))

    def close(self):
        for process in self.workers:
            signal_group(process)
            process.wait(10)
        self.runtime.close()
        self.server.terminate()


@contextmanager
def worker_harness(tmp_path_factory, **settings):
    directory = tmp_path_factory.mktemp("harness")
    harness = WorkerHarness(directory, **settings)
    try:
        yield harness
    finally:
        harness.close()
        shutil.rmtree(directory, ignore_errors=True)


def hook(url, **fields):
    return {"id": "hook", "url": url, "method": "POST", **fields}
