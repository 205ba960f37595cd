"""The harness of the acceptance tests: a relay started by ``relay up``, and every kind of endpoint to call.

Only these endpoints are allowed, by name or port; everything else on loopback is refused, as in production. No name is
looked up in DNS: libcurl itself resolves ``.localhost`` to loopback and rejects ``.onion`` (RFC 6761, 7686).
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from relay.client import Relay
from tests.e2e.conftest import relay_command, start_relay, stop_relay
from tests.receivers import (
    Connection,
    Receiver,
    Request,
    answer,
    answers_once_then_hangs_up,
    closed_port,
    full_backlog,
    make_authority,
    receiver,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import RunningRelay
    from tests.receivers import Script

NAMED_HOST = "hook.vendor.localhost"
NOWHERE = "https://nx.vendor.onion/orders"
REFUSED_ADDRESS = "https://meta.vendor.localhost/latest/meta-data"  # loopback, port 443, which is not allowed
_NOT_FOUND = answer(404, b"no such page")


@dataclass
class Site:
    """An endpoint whose pages are scripts; tests may add pages at any time."""

    pages: dict[str, Script] = field(default_factory=dict)
    served: Receiver | None = None

    def __call__(self, connection: Connection, request: Request) -> object:
        return self.pages.get(request.target.partition("?")[0], _NOT_FOUND)(connection, request)

    def page(self, path: str, script: Script) -> str:
        """Serve ``script`` at ``path``; return its URL."""
        self.pages[path] = script
        return f"{self.origin}{path}"

    @property
    def origin(self) -> str:
        assert self.served
        return f"{self.served.scheme}://{self.served.host}:{self.served.port}"

    def received(self, reference_id: str) -> list[Request]:
        """Return the requests of one invocation."""
        assert self.served
        return [each for each in list(self.served.requests) if each.header("webhook-id") == reference_id]


@dataclass(frozen=True)
class Harness:
    """A running relay and the endpoints around it."""

    relay: RunningRelay
    site: Site  # http on 127.0.0.1
    named: Site  # https, with a host name and a trusted certificate
    stranger: Receiver  # https, with a certificate of an unknown authority
    trap: Receiver  # answers the first request of each connection, hangs up (FIN) after reading the second
    reset_trap: Receiver  # the same with RST
    closed: str
    full: str

    @property
    def url(self) -> str:
        return self.relay.base_url

    def plugin(self, name: str, webhooks: list[dict[str, Any]]) -> Plugin:
        """Make a plugin with these webhooks and an API key."""
        if webhooks:
            self.relay.apply(name, webhooks)
        return Plugin(
            self, name, self.relay.create_key(name), self.relay.create_key(name, ("trigger", "operate"), (ORIGIN,))
        )


ORIGIN = "https://app.example.com"


@dataclass(frozen=True)
class Plugin:
    """A plugin of the harness, with the ways to call its webhooks."""

    harness: Harness
    name: str
    key: str
    operator_key: str

    def call(self, method: str, path: str, *, key: str | None = None, **how: Any) -> requests.Response:
        """Make one HTTP request, with the plugin's key or another."""
        headers = {"Authorization": f"Bearer {key or self.key}", **how.pop("headers", {})}
        return requests.request(method, self.harness.url + path, headers=headers, timeout=60, **how)

    def trigger(self, webhook_id: str, value: Any = None, prefer: str | None = None, **how: Any) -> requests.Response:
        headers = {**({"Prefer": prefer} if prefer else {}), **how.pop("headers", {})}
        return self.call("POST", f"/v1/webhooks/{webhook_id}/trigger", json=value or {}, headers=headers, **how)

    def record(self, reference_id: str, *, wait_s: int = 0) -> dict[str, Any]:
        """Return the record as an operator sees it."""
        headers = {"Prefer": f"wait={wait_s}"} if wait_s else {}
        found = self.call("GET", f"/v1/invocations/{reference_id}", key=self.operator_key, headers=headers)
        assert found.status_code == 200, found.text
        return found.json()

    def by_client(self, webhook_id: str, data: Any, headers: dict[str, str], query: dict[str, Any]) -> dict[str, Any]:
        with Relay(self.harness.url, self.key) as client:
            return client.webhooks.trigger(webhook_id, data, headers, query)

    def by_http(self, webhook_id: str, data: Any, headers: dict[str, str], query: dict[str, Any]) -> dict[str, Any]:
        """Trigger a webhook by plain HTTP, as a plugin without our clients would."""
        ours = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        body = json.dumps({"data": data, "headers": headers, "queryParams": query}).encode()
        request = urllib.request.Request(f"{self.harness.url}/v1/webhooks/{webhook_id}/trigger", body, ours)
        with urllib.request.urlopen(request, timeout=60) as answered:
            assert answered.status == 200
            return json.load(answered)

    def by_command(self, webhook_id: str, data: Any, headers: dict[str, str], query: dict[str, Any]) -> dict[str, Any]:
        return self.harness.relay.cli(*self._command(webhook_id, headers, query), text=json.dumps(data))

    def by_cli(self, webhook_id: str, data: Any, headers: dict[str, str], query: dict[str, Any]) -> dict[str, Any]:
        """Trigger a webhook by the command in a separate process, which takes half a second."""
        directory, arguments = self.harness.relay.data_dir, self._command(webhook_id, headers, query)
        command = [relay_command(), "--data-dir", str(directory), *arguments, "--output", "json"]
        done = subprocess.run(command, input=json.dumps(data), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def _command(self, webhook_id: str, headers: dict[str, str], query: dict[str, Any]) -> list[str]:
        command = ["trigger", webhook_id, "--plugin", self.name, "--data", "-"]
        for option, pairs in (("--header", headers), ("--query", query)):
            command += [part for name, value in pairs.items() for part in (option, f"{name}={value}")]
        return command


@contextlib.contextmanager
def open_harness(**settings: str) -> Iterator[Harness]:
    """Start the endpoints, then a relay that may call them; stop all of it at the end."""
    directory = Path(tempfile.mkdtemp(prefix="rly"))  # short: a socket's path has at most 107 bytes
    authority, nobody = make_authority(directory), make_authority(directory, "nobody.pem")
    site, named = Site(), Site()
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        site.served = stack.enter_context(receiver(site))
        named.served = stack.enter_context(receiver(named, tls=authority.context(NAMED_HOST), name=NAMED_HOST))
        stranger = stack.enter_context(receiver(answer(200), tls=nobody.context("127.0.0.1")))
        traps = [stack.enter_context(receiver(answers_once_then_hangs_up(reset=reset))) for reset in (False, True)]
        closed, full = closed_port(), stack.enter_context(full_backlog())
        ports = [site.served.port, stranger.port, *(trap.port for trap in traps), closed, full]
        allowed = [*(f"127.0.0.1:{port}" for port in ports), f"{NAMED_HOST}:{named.served.port}"]
        given = {
            "RELAY_EGRESS_ALLOW": ",".join(allowed),
            "RELAY_EXTRA_SUFFIXES": "localhost,onion",
            "RELAY_CA_FILE": authority.ca_file,
            "RELAY_STOP_TIMEOUT": "6",
            **settings,
        }
        process, relay = start_relay(directory / "d", **given)
        stack.callback(stop_relay, process)
        yield Harness(
            relay, site, named, stranger, *traps, f"http://127.0.0.1:{closed}/hook", f"http://127.0.0.1:{full}/hook"
        )
