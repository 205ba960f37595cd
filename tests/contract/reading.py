"""A store with a key of nearly every kind, read through every route and every reading command, in this process."""

from __future__ import annotations

import time
import unicodedata
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner
from falcon.testing import TestClient

import api.app
from api.app import create_app
from api.awaiting import Waiters
from api.request_audit import ActCounts
from api.request_log import RequestLog
from relay.answer.results import Result, json_data
from relay.audit.signing_keys import new_private_text
from relay.authentication.source_address import SourceAddresses
from relay.cli import main
from relay.cli.tail import Watch
from relay.errors import RelayError, StoreFault
from relay.queue import LANES
from relay.settings import Settings
from relay.store.health.alerts import Alerts, Condition
from relay.store.ledger.listing import Filter
from relay.store.server.clock import ClockJump
from relay.telemetry import log
from relay.vault import result_owner
from relay.wiring.runtime import api_runtime
from tests.contract.story import PLUGIN, Story
from tests.store_keys import KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PARTS_OF_CALLS = {"record", "steps", "payload", "result"}
_HIDDEN = {"Cc", "Cf", "Zl", "Zp", "Cs"}  # categories of characters that act on a terminal, or mislead its reader


def make_app(settings: Settings, runtime: Any) -> Any:
    """Make the API's application; its threads do not run."""
    return create_app(
        settings,
        runtime,
        Waiters(runtime.subscribe("reader"), runtime.store, 8),
        ActCounts(runtime.audit_writer),
        RequestLog(SourceAddresses(settings.trusted_proxies)),
    )


class Reader:
    """Reads everything that may be read, as plugin and operator, and reports what went wrong."""

    def __init__(self, url: str, directory: Path) -> None:
        log.configure_command()
        self._directory = directory
        self._story = story = Story(url)
        story.fill()
        self.client = story.client
        self._add_rare_keys()
        self._use_files(directory)
        self._key, _ = story.runtime.api_keys.create(PLUGIN, ["trigger", "operate", "metrics"])
        self._replay = story.runtime.replay_store.list(PLUGIN)[-1].replay_id
        every = list(story.runtime.listing.every(PLUGIN, Filter()))
        self._chain = next(each for each in every if each.is_chain)
        self.samples = {self._chain.reference_id: "chain", self._chain.steps[0]: "step"}
        for each in every:
            name = f"{each.state}{' replay' if each.replay else ''}{' replayed' if each.replayed_by else ''}"
            if name not in self.samples.values():
                self.samples[each.reference_id] = name
        self._runtime: Any = None
        self.begin()

    def _add_rare_keys(self) -> None:
        """Add what the story leaves out: results that open, and keys that a relay only sometimes has."""
        story, client = self._story, self.client
        sealed = json_data(Result(200, {"a": 1}, error=False))
        for key in client.keys(KEYS.result("*")):
            owner = result_owner(PLUGIN, key.decode().split(":")[3])
            client.set(key, story.runtime.data_vault.seal(sealed, owner), keepttl=True)
        story._trigger("hook", idempotency_key="planted")
        story.runtime.registry.secrets.set(PLUGIN, "TOKEN", "planted-value")
        referring = {"id": "referring", "url": "https://a.example.com/", "method": "POST"}
        story._apply(referring | {"headers": {"X-Key": "${secret:TOKEN}"}})
        now_ms = int(time.time() * 1000)
        story.runtime.workers.note_jump(ClockJump(now_ms, 5_000))
        client.hset("relay:{shared}:vault:promoted", "data", now_ms)
        Alerts(client, PLUGIN).evaluate([Condition("backlog", True, {"lane": "bulk"})])

    def _use_files(self, directory: Path) -> None:
        """Put the rings into files, as `relay up` does, so that the commands of the vault work."""
        environ = self._story.environ
        for ring in ("TARGET", "DATA"):
            file = directory / f"{ring.lower()}.keys"
            file.touch(0o600)
            file.write_text(environ.pop(f"RELAY_{ring}_KEYS"))
            environ[f"RELAY_{ring}_KEYS_FILE"] = str(file)
        environ["RELAY_AUDIT_KEY"] = new_private_text()

    def close(self) -> None:
        self._runtime.close()
        self._story.close()

    def begin(self) -> None:
        """Start anew: with processes that remember nothing, and a worker that is alive."""
        if self._runtime is not None:
            self._runtime.close()
        settings = Settings.from_environ(self._story.environ)
        self._runtime = api_runtime(settings)
        self._api = TestClient(make_app(settings, self._runtime))
        self._story.runtime.workers.beat("interactive", LANES)

    def keys_to_damage(self, kind: str, keys: list[bytes]) -> list[bytes]:
        """Return some of the keys of a kind: those of one call in each state, and one of any other kind."""
        if kind in _PARTS_OF_CALLS:
            return [key for key in keys if key.decode().split(":")[3] in self.samples]
        return keys[:1]

    def get(self, path: str) -> Any:
        return self._api.simulate_get(path, headers={"Authorization": f"Bearer {self._key}"})

    def routes(self) -> Iterator[tuple[str, str]]:
        """Read every route; yield those that failed, and how. ``damaged`` stands for an error that says so."""
        faults: list[Exception] = []
        api.app.fault = lambda error, _where: faults.append(error)
        for path in self._paths():
            faults.clear()
            status = self.get(path).status_code
            if status >= 500:
                yield path, "damaged" if faults and _is_damage(faults[0]) else f"{status} {faults}"

    def commands(self) -> Iterator[tuple[str, str]]:
        """Run every reading command; yield those that failed without saying at what, and how."""
        for line in self._lines():
            done = CliRunner().invoke(main, ["--data-dir", str(self._directory), *line], env=self._story.environ)
            if done.exception is not None and not isinstance(done.exception, SystemExit):
                yield " ".join(line), repr(done.exception)
            elif "unexpectedly" in done.stderr:  # any other sentence says what it is that cannot be shown
                yield " ".join(line), done.stderr
            shown = {char for char in done.stdout if char != "\n" and unicodedata.category(char) in _HIDDEN}
            if shown:
                yield " ".join(line), f"shows {shown}"

    def tail(self) -> Iterator[tuple[str, str]]:
        """Follow the calls for a moment, as `relay invocations tail` does."""
        watch = Watch(self._runtime, PLUGIN, Filter())
        try:
            watch.begin(10)
            list(watch.look())
        except RelayError as error:
            yield "tail", "damaged" if _is_damage(error) else repr(error)

    def _paths(self) -> list[str]:
        filters = ["", "?failed=true&unreplayed=true", "?state=queued,sending,retrying", "?webhookId=hook&status=2xx,0"]
        filters += [f"?chain={self._chain.reference_id}", f"?replay={self._replay}", "?outcome=answered&caller=k1"]
        return [
            *(f"/v1/invocations{each}" for each in filters),
            *(f"/v1/invocations/{ref}{part}" for ref in self.samples for part in ("", "/request")),
            *("/v1/webhooks.d.ts", "/v1/webhooks", "/v1/webhooks/hook", "/v1/webhooks/chain"),
            *("/v1/replays", f"/v1/replays/{self._replay}"),
            *("/v1/stats", "/v1/stats?webhookId=hook", "/v1/groups", "/v1/traffic"),
            *("/v1/lanes", "/v1/lanes?since=2020-01-01T00:00:00Z", "/metrics"),
        ]

    def _lines(self) -> list[list[str]]:
        plugin = ["--plugin", PLUGIN]
        return [
            ["doctor"],
            *(["webhooks", verb, *plugin] for verb in ("list",)),
            *(["webhooks", "show", webhook, *plugin] for webhook in ("hook", "chain")),
            ["webhooks", "types", *plugin],
            ["webhooks", "history", "told", *plugin],
            ["webhooks", "diff", "told", "1", "2", *plugin],
            ["keys", "list"],
            ["secrets", "list", *plugin],
            *(["invocations", "list", *plugin, *more] for more in ([], ["--group"], ["--failed"])),
            *(["invocations", "show", ref] for ref in self.samples),
            ["invocations", "export", *plugin],
            ["invocations", "export", *plugin, "--format", "csv", "--with-payload"],
            *(["replay", verb, *plugin] for verb in ("plan", "list")),
            ["replay", "status", self._replay, *plugin],
            *(["explain", webhook, *plugin] for webhook in ("hook", "chain")),
            ["vault", "status"],
            ["partitions", "show"],
            *(["audit", *verb] for verb in (["export"], ["verify"], ["tail", "--no-follow"])),
        ]


def _is_damage(error: Exception) -> bool:
    return isinstance(error, StoreFault) and "is damaged" in error.message
