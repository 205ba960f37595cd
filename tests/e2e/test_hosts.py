"""A relay on four hosts: the store, two API processes behind one address, and workers, each with its own key files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from relay.registration.document import read_registrations
from relay.settings import Settings
from relay.up import processes
from relay.up.child import program
from relay.vault import Vault
from relay.wiring.runtime import cli_runtime
from tests.cluster.hosted import PORT, hosted_server
from tests.hosts import network
from tests.processes import signal_group
from tests.receivers import json_answer, receiver
from tests.timing import wait_until
from tests.tools import require

API_PORT = 8000
READY_S = 90
PLUGIN = "acme"
pytestmark = pytest.mark.timeout(240)


class Machine:
    """A host with its own directory, which contains its key files, and its environment variables."""

    def __init__(self, host, directory, variables, keys):
        directory.mkdir()
        self.host = host
        self.directory = directory
        self.variables = {"PATH": f"{Path(sys.executable).parent}:{os.defpath}", "HOME": str(directory), **variables}
        for name, text in keys.items():
            file = directory / name.lower()
            file.touch(0o600)
            file.write_text(text)
            self.variables[f"{name}_FILE"] = str(file)
        self.processes = []

    def start(self, process):
        """Start one of the relay's processes."""
        command = [program(process.command[0]), *process.command[1:]]
        log = self.directory / f"{process.name}.log"
        started = self.host.start(command, log, env=self.variables, cwd=self.directory)
        self.processes.append(started)
        return started

    def last_words(self):
        return "\n".join(f"{log}\n{log.read_text()[-1_000:]}" for log in self.directory.glob("*.log"))

    def close(self):
        for started in self.processes:
            kill(started)


def kill(started: subprocess.Popen[bytes]):
    if started.poll() is None:
        signal_group(started)
    started.wait()


def is_ready(url):
    try:
        return requests.get(f"{url}/readyz", timeout=2).ok
    except requests.RequestException:
        return False


def test_api_processes_behind_one_address_and_workers_elsewhere_need_addresses_and_key_files_only(tmp_path):
    data, target = ({f"RELAY_{name}_KEYS": Vault.new_key_text()} for name in ("DATA", "TARGET"))
    with network(3) as net, receiver(json_answer({"ok": True}), host=net.ours) as endpoint:
        store = hosted_server(net.hosts[0], tmp_path / "store")
        url = {"RELAY_REDIS_URL": f"redis://{net.hosts[0].address}:{PORT}/0", "RELAY_REDIS_PLAINTEXT": "true"}
        doors = Machine(net.hosts[1], tmp_path / "doors", url, data)
        workers = Machine(net.hosts[2], tmp_path / "workers", url | {"RELAY_EGRESS_ALLOW": net.ours}, data | target)
        try:
            api = processes.api(host=net.hosts[1].address, port=API_PORT)
            apis = [doors.start(api) for _ in range(2)]
            for group in ("interactive", "bulk"):
                workers.start(processes.worker(group))
            runtime = cli_runtime(Settings.from_environ({**url, **data, **target, "RELAY_EGRESS_ALLOW": net.ours}))
            hook = json.dumps({"id": "hook", "url": endpoint.url, "method": "POST"})
            runtime.registry.apply(PLUGIN, read_registrations(hook, runtime.rules, plugin=PLUGIN)[1])
            key, _ = runtime.api_keys.create(PLUGIN, ["trigger"], [])
            base = f"http://{net.hosts[1].address}:{API_PORT}"

            def trigger(_number):  # on a new connection, which the kernel gives to either API process
                headers = {"Authorization": f"Bearer {key}", "Prefer": "wait=20", "Connection": "close"}
                answer = requests.post(f"{base}/v1/webhooks/hook/trigger", json={}, headers=headers, timeout=30)
                assert answer.status_code == 200, answer.text
                return answer.json()["referenceId"]

            wait_until(lambda: listening(net.hosts[1]) == 2 and is_ready(base), READY_S)
            refs = {trigger(number) for number in range(20)}
            for each in apis:  # while the first is down the second serves, then the restarted first
                kill(each)
                wait_until(lambda: listening(net.hosts[1]) == 1, READY_S)
                refs |= {trigger(number) for number in range(20)}
                doors.start(api)
                wait_until(lambda: listening(net.hosts[1]) == 2, READY_S)
            assert len(refs) == 60
            assert dict.fromkeys(refs, 1) == endpoint.receipts
        except BaseException:
            print(doors.last_words(), workers.last_words())
            raise
        finally:
            for machine in (doors, workers):
                machine.close()
            store.terminate()


def listening(host):
    """Return how many sockets accept connections on the API's port."""
    out = subprocess.run(
        [require("ip"), "netns", "exec", host.namespace, "cat", "/proc/net/tcp"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return sum(f":{API_PORT:04X} 00000000:0000 0A" in line for line in out.splitlines())
