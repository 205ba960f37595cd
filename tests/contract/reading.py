"""Reads a store through every route and every reading command, in this process."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from click.testing import CliRunner
from falcon.testing import TestClient

from api.app import Parts, create_app
from api.awaiting import Waiters
from api.bodies import Bodies
from api.parsing_budget import ParsingBudget
from api.request_audit import ActCounts
from api.request_log import RequestLog
from relay.audit.signing_keys import new_private_text
from relay.authentication.source_address import SourceAddresses
from relay.cli import main
from relay.cli.tail import Watch
from relay.settings import Settings
from relay.store.health.readiness import ServerWarnings
from relay.store.ledger.listing import Filter
from relay.store.ledger.rates import PluginRates
from relay.wiring.runtime import api_runtime
from tests.contract.story import PLUGIN, Story

if TYPE_CHECKING:
    from pathlib import Path


def the_app(settings, runtime):
    return create_app(
        settings,
        Parts(
            api_keys=runtime.api_keys,
            store=runtime.store,
            data_vault=runtime.data_vault,
            dispatcher=runtime.dispatcher,
            waiters=Waiters(runtime.subscribe("reader"), 8),
            rates=PluginRates(runtime.client, settings.plugin_rate, runtime.keyspace),
            functions=runtime.functions,
            warnings=ServerWarnings(runtime.client),
            workers=runtime.workers,
            listing=runtime.listing,
            replays=runtime.replays,
            measures=runtime.measures,
            traffic=runtime.traffic,
            backlog=runtime.backlog,
            metrics_page=runtime.metrics_page,
            spans=runtime.spans("api"),
            registry=runtime.registry,
            bodies=Bodies(ParsingBudget(settings.max_parsing_bytes), max_bytes=settings.max_body_bytes),
            addresses=SourceAddresses(settings.trusted_proxies),
            request_log=RequestLog(SourceAddresses(settings.trusted_proxies)),
            audit_writer=runtime.audit_writer,
            act_counts=ActCounts(runtime.audit_writer),
        ),
    )


class Reader:
    def __init__(self, url: str, directory: Path) -> None:
        self.directory = directory
        self.story = story = Story(url)
        story.fill()
        self.client = story.client
        from relay.answer.results import Result, json_data
        from relay.queue import LANES
        from relay.telemetry import log
        from relay.vault import result_owner

        log.configure_command()
        vault = story.runtime.data_vault
        for key in self.client.keys("relay:*:inv:*:result"):
            ref = key.decode().split(":")[3]
            self.client.set(
                key, vault.seal(json_data(Result(200, {"a": 1}, error=False)), result_owner(PLUGIN, ref)), keepttl=True
            )
        self.ref = story._trigger("hook", idempotency_key="planted")[0]
        story._trigger("nobody")
        story.runtime.workers.beat("interactive", LANES)
        story.runtime.workers.count_dropped({"bulk": 2})
        import time as clock

        from relay.store.server.clock import ClockJump

        story.runtime.workers.note_jump(ClockJump(int(clock.time() * 1000), 5_000))
        story.client.hset("relay:{shared}:vault:promoted", "data", int(clock.time() * 1000))
        from relay.store.health.alerts import Alerts, Condition

        Alerts(self.client).judge([Condition("backlog", True, {"lane": "bulk"})])
        for ring in ("TARGET", "DATA"):
            file = directory / f"{ring.lower()}.keys"
            file.touch(0o600)
            file.write_text(story.environ.pop(f"RELAY_{ring}_KEYS"))
            story.environ[f"RELAY_{ring}_KEYS_FILE"] = str(file)
        story.environ["RELAY_AUDIT_KEY"] = new_private_text()
        self.key, self.row = story.runtime.api_keys.create(PLUGIN, ["trigger", "operate", "metrics"])
        self.replay = story.runtime.replay_store.list(PLUGIN)[-1].replay_id
        listing = story.runtime.listing
        every = list(listing.every(PLUGIN, Filter()))
        self.chain = next(each for each in every if each.is_chain)
        self.samples = {self.chain.reference_id: "chain", self.chain.steps[0]: "step"}
        for each in every:
            name = str(each.state) + (" replay" if each.replay else "") + (" replayed" if each.replayed_by else "")
            if name not in self.samples.values():
                self.samples[each.reference_id] = name
        self.runtimes = []
        self.fresh()

    def fresh(self) -> None:
        """Forget what processes remember."""
        for runtime in self.runtimes:
            runtime.close()
        settings = Settings.from_environ(self.story.environ)
        runtime = api_runtime(settings)
        self.runtimes = [runtime]
        self.api = TestClient(the_app(settings, runtime))
        self.runtime = runtime

    def interesting(self, kind, keys):
        if kind in ("record", "steps", "payload", "result"):
            return [key for key in keys if key.decode().split(":")[3] in self.samples]
        return keys[:2]

    def paths(self) -> list[str]:
        refs = [f"/v1/invocations/{ref}" for ref in self.samples]
        return [
            "/v1/webhooks",
            "/v1/webhooks/hook",
            "/v1/webhooks/chain",
            "/v1/invocations",
            "/v1/invocations?failed=true",
            "/v1/invocations?failed=true&unreplayed=true",
            "/v1/invocations?state=queued,sending,retrying",
            f"/v1/invocations?chain={self.chain.reference_id}",
            f"/v1/invocations?replay={self.replay}",
            "/v1/invocations?webhookId=hook&status=2xx,0",
            *refs,
            "/v1/replays",
            f"/v1/replays/{self.replay}",
            "/v1/stats",
            "/v1/stats?webhookId=hook",
            "/v1/lanes",
            "/v1/lanes?since=2020-01-01T00:00:00Z",
            "/v1/groups",
            "/v1/traffic",
            "/metrics",
            "/readyz",
        ]

    def commands(self):
        plugin = ["--plugin", PLUGIN]
        shows = [["invocations", "show", ref] for ref in self.samples]
        return [
            ["doctor"],
            ["settings"],
            ["webhooks", "list", *plugin],
            ["webhooks", "show", "hook", *plugin],
            ["webhooks", "show", "chain", *plugin],
            ["webhooks", "history", "told", *plugin],
            ["webhooks", "diff", "told", "1", "2", *plugin],
            ["keys", "list"],
            ["invocations", "list", *plugin],
            ["invocations", "list", *plugin, "--group"],
            ["invocations", "list", *plugin, "--failed"],
            *shows,
            ["invocations", "export", *plugin],
            ["invocations", "export", *plugin, "--format", "csv", "--with-payload"],
            ["replay", "plan", *plugin],
            ["replay", "list", *plugin],
            ["replay", "status", self.replay, *plugin],
            ["explain", "hook", *plugin],
            ["explain", "chain", *plugin],
            ["vault", "status"],
            ["partitions", "show"],
            ["audit", "export"],
            ["audit", "verify"],
            ["audit", "tail", "--no-follow"],
        ]

    def read(self):
        return [*self.read_routes(), *self.read_commands(), *self.read_tail()]

    def read_routes(self):
        import api.app

        for path in self.paths():
            faults = []
            api.app.fault = lambda error, _where, faults=faults: faults.append(error)
            answer = self.api.simulate_get(path, headers={"Authorization": f"Bearer {self.key}"})
            if answer.status_code >= 400:
                yield (
                    where(path, self.samples),
                    f"{answer.status_code} {brief(faults[0]) if faults else answer.json.get('code')}",
                )

    def read_commands(self):
        for line in self.commands():
            result = CliRunner().invoke(main, ["--data-dir", str(self.directory), *line], env=self.story.environ)
            if result.exception is not None and not isinstance(result.exception, SystemExit):
                yield where(" ".join(line), self.samples), brief(result.exception)
            elif result.exit_code and line[0] not in ("doctor", "audit"):
                yield where(" ".join(line), self.samples), f"exit {result.exit_code} {result.stderr.strip()[:200]}"

    def read_tail(self):
        watch = Watch(self.runtime, PLUGIN, Filter())
        try:
            watch.begin(10)
            watch.look()
        except Exception as error:  # noqa: BLE001 - whatever comes is what is looked for
            yield "tail", brief(error)


def brief(error):
    if error.__cause__ is not None:
        error = error.__cause__
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if "/trees/" in f.filename and "site-packages" not in f.filename and "/tests/" not in f.filename
    ]
    last = f"{frames[-1].filename.partition('damaged/')[2]}:{frames[-1].lineno}" if frames else "?"
    return f"{type(error).__name__} {str(error)[:90]!r} {last}"


def where(text, samples):
    for ref, name in samples.items():
        text = text.replace(ref, f"<{name}>")
    return text
