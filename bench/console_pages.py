"""`python -m bench.console_pages`: how long the console's requests take with a million records.

The records are those of `bench.lookups`; the requests go through a real API process. Scripts that block the server
for longer than the bound are named, from the server's own slow log.
"""

from __future__ import annotations

import shutil
import sys
import time
from statistics import median
from typing import Any, Final

import click
import requests
from rich.console import Console
from rich.table import Table

from bench.children import ROOT, Children, clean_environment
from bench.lookups import Archive
from bench.ports import free_port
from bench.server import Server
from relay.domain.reference_id import new_reference_id
from relay.registration.document import read_registrations
from relay.settings import Settings
from relay.store.keys.keyspace import SINGLE
from relay.store.keys.names import partition_root
from relay.vault import Vault
from relay.wiring.runtime import cli_runtime

BUILD: Final = ROOT / "build" / "console"
PLUGIN: Final = "shop"
BOUND_MS: Final = 1_000.0  # of a request
HELD_UP_MS: Final = 50  # of the server, by one script or command
ROUNDS: Final = 5
_START_S: Final = 60.0

#: The requests of the console's views.
PAGES: Final = {
    "overview: stats of a day": "/v1/stats?since={day}",
    "overview: stats of an hour": "/v1/stats?since={hour}",
    "overview: stats of a webhook": "/v1/stats?since={day}&webhookId=hook3",
    "overview: failing groups": "/v1/groups?since={day}",
    "overview: lanes": "/v1/lanes",
    "webhooks: traffic": "/v1/traffic",
    "invocations": "/v1/invocations?limit=50",
    "invocations of a webhook": "/v1/invocations?limit=50&webhookId=hook3",
    "invocations that failed": "/v1/invocations?limit=50&state=unreachable",
    "invocations: rare outcome": "/v1/invocations?limit=50&outcome=tls_failed",
    "invocations: nothing such": "/v1/invocations?limit=50&outcome=dns_failed",
    "invocations: nothing of a caller": "/v1/invocations?limit=50&caller=nobody",
    "invocations: not replayed": "/v1/invocations?limit=50&unreplayed=true",
    "replays": "/v1/replays",
    "metrics": "/metrics",
}

#: How many records the scripts of calls make; the rest are copies of these, spread over the day before.
TEMPLATES: Final = 20_000
_COPIES: Final = 500  # in one script
_COPY: Final = """
local root, plugin, shift = ARGV[1], ARGV[2], tonumber(ARGV[3])
local at = root .. 'p:' .. plugin .. ':'
for index = 4, #ARGV, 2 do
  local old, new = root .. 'inv:' .. ARGV[index], root .. 'inv:' .. ARGV[index + 1]
  redis.call('COPY', old, new)
  local f = redis.call('HMGET', new, 'createdAt', 'finishedAt', 'expiresAt', 'webhook', 'state', 'outcome', 'status',
    'error')
  local function moved(number) return string.format('%d', tonumber(number) - shift) end
  local created = moved(f[1])
  redis.call('HSET', new, 'createdAt', created, 'finishedAt', moved(f[2]), 'expiresAt', moved(f[3]))
  local ends = at .. 'ends:' .. f[5] .. ':' .. f[6] .. ':' .. math.floor(tonumber(f[7]) / 100) .. ':' .. f[8]
  for _, key in ipairs({ at .. 'invocations', at .. 'invocations:' .. f[4], ends }) do
    redis.call('ZADD', key, created, ARGV[index + 1])
  end
  redis.call('ZADD', root .. 'expiry', moved(f[3]), ARGV[index + 1])
end
"""


def multiply(client: Any, more: int) -> None:
    """Add ``more`` records as copies of the existing ones, each round of copies with earlier times."""
    templates = [ref.decode() for ref in client.zrange(SINGLE.of_plugin("plugin_index", PLUGIN), 0, -1)]
    copy, day_ms, made = client.register_script(_COPY), 86_000_000, 0
    while made < more:
        shift_ms = int(day_ms * made / more)
        place = made % len(templates)
        chosen = templates[place : place + min(_COPIES, more - made)]
        pairs = [word for ref in chosen for word in (ref, new_reference_id(PLUGIN))]
        copy(args=[partition_root(0), PLUGIN, shift_ms, *pairs])
        made += len(chosen)


class Site:
    """A server with records, and an API process that serves them."""

    def __init__(self, children: Children, records: int) -> None:
        self.server = Server(children, BUILD / "stage" / "server", "everysec")
        archive = Archive(self.server.client)
        archive.fill(min(records, TEMPLATES))
        multiply(self.server.client, records - TEMPLATES)
        environ = {
            "RELAY_REDIS_URL": self.server.url(),
            "RELAY_TARGET_KEYS": Vault.new_key_text(),
            "RELAY_DATA_KEYS": Vault.new_key_text(),
        }
        runtime = cli_runtime(Settings.from_environ(environ))
        hooks = "".join(f'{{id: "hook{n}", url: "https://hooks.vendor.com/x", method: "POST"}}\n' for n in range(10))
        runtime.registry.apply(PLUGIN, read_registrations(hooks, runtime.rules, plugin=PLUGIN)[1])
        self._key, _ = runtime.api_keys.create(PLUGIN, ["trigger", "operate", "metrics"])
        port = free_port()
        command = ["granian", "--interface", "wsgi", "--port", str(port), "--blocking-threads", "32", "api.wsgi:app"]
        children.start("api", [sys.executable, "-m", *command], {**clean_environment(), **environ})
        self._url = f"http://127.0.0.1:{port}"
        children.wait_until("the API", self._answers, _START_S)

    def asked(self, path: str) -> tuple[float, int]:
        """Return milliseconds and bytes of one answer."""
        began = time.perf_counter()
        answer = requests.get(self._url + path, headers={"Authorization": f"Bearer {self._key}"}, timeout=600)
        took_ms = (time.perf_counter() - began) * 1000
        answer.raise_for_status()
        return took_ms, len(answer.content)

    def held_up(self) -> list[dict[str, Any]]:
        """Return what has blocked the server for too long since the last call."""
        found: list[dict[str, Any]] = self.server.client.slowlog_get(128)
        self.server.client.slowlog_reset()
        return found

    def _answers(self) -> bool:
        try:
            return bool(requests.get(f"{self._url}/healthz", timeout=5).ok)
        except requests.RequestException:
            return False


def _moment(seconds_ago: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds_ago))


@click.command()
@click.option("--records", type=click.IntRange(1_000, 10_000_000), default=1_000_000, show_default=True)
def main(records: int) -> None:
    """Measure every page of the console with a million records."""
    shutil.rmtree(BUILD / "stage", ignore_errors=True)
    table, slow = Table(title=f"The console among {records:,} records", title_justify="left"), 0
    for column in ("asked for", "median ms", "worst ms", "KiB", f"held the server up > {HELD_UP_MS} ms"):
        table.add_column(column)
    with Children(BUILD / "stage") as children:
        site = Site(children, records)
        site.server.client.config_set("slowlog-log-slower-than", HELD_UP_MS * 1000)
        places = {"day": _moment(86_400 - 60), "hour": _moment(3_600)}
        for name, path in PAGES.items():
            site.held_up()
            found = [site.asked(path.format(**places)) for _ in range(ROUNDS)]
            times_ms = [took_ms for took_ms, _ in found]
            held = [f"{each['command'].split()[1].decode()} {each['duration'] / 1000:.0f}" for each in site.held_up()]
            size_kib = f"{found[-1][1] / 1024:.1f}"
            table.add_row(name, f"{median(times_ms):.1f}", f"{max(times_ms):.1f}", size_kib, ", ".join(held))
            slow += max(times_ms) > BOUND_MS or bool(held)
    Console(width=140).print(table)
    sys.exit(1 if slow else 0)


if __name__ == "__main__":
    main()
