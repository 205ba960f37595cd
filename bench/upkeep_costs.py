"""What depends on the size of a store besides listings, with a bound for each: sweeps, backups and starts."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

from bench.contenders.contender import START_S
from bench.contenders.relay import Relay, webhook
from relay.settings import Settings
from relay.store.keys import keyspace
from relay.store.keys.keyspace import SINGLE
from relay.store.keys.names import ROOT, key_in
from relay.store.ledger.callbacks import Callbacks
from relay.upkeep.callbacks import CallbackSender
from relay.upkeep.forgetting import forget_due
from relay.upkeep.sweeper import RECORDS, Sweeper
from relay.wiring.runtime import cli_runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.contenders.contender import Stage

PLUGIN: Final = "shop"
SUBJECT: Final = "5" * 32  # the keyed hash of a subject whom one call of ten concerns
TURNS: Final = 20
WORST_MS: Final = 50.0  # the server does nothing else meanwhile
START_MORE_S: Final = 10.0
BACKUP_S, LOAD_S = 60.0, 60.0  # a million records


@dataclass(frozen=True, slots=True)
class Bounded:
    """What was measured, each with its bound, in the same unit."""

    rows: tuple[tuple[str, float, float | None], ...]

    @property
    def exceeded(self) -> bool:
        return any(bound is not None and value > bound for _, value, bound in self.rows)

    def table(self) -> Table:
        table = Table("upkeep", "measured", "bound", title="With the same records", title_justify="left")
        for name, value, bound in self.rows:
            mark = " !" if bound is not None and value > bound else ""
            table.add_row(name, f"{value:,.2f}{mark}", "" if bound is None else f"{bound:,.1f}")
        return table


class Upkeep:
    """Measures what workers, commands and starts cost on a stage's store."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._relay = stage, Relay()
        file = stage.folder / "registrations.json"
        file.write_text(json.dumps([webhook("hook0", stage.endpoint.url)]))
        self._relay.command(stage, "webhooks", "apply", str(file), "--plugin", PLUGIN)

    def starts(self) -> dict[str, float]:
        """Return the seconds until a fresh API process is healthy, and until a fresh worker has a heartbeat."""
        children, client = self._stage.children, self._stage.server.client
        api_s = _took_s(lambda: self._relay.serve(self._stage))
        children.stop("api")
        client.delete(keyspace.shared("workers"))
        self._relay.start_worker(self._stage, "bulk")
        worker_s = _took_s(
            lambda: children.wait_until("a worker", lambda: bool(client.zcard(keyspace.shared("workers"))), START_S)
        )
        children.stop("worker")
        return {"start of the API": api_s, "start of a worker": worker_s}

    def costs(self, records: int) -> dict[str, float]:
        """Return the milliseconds of workers' pieces of work, and the seconds of the rest."""
        millions, stage = max(records / 1e6, 1.0), self._stage
        found = self._pieces()
        folder = stage.folder / "backup"
        found["backup (s)"] = _took_s(
            lambda: self._relay.command(stage, "backup", str(folder), within_s=10 * BACKUP_S * millions)
        )
        found["backup (bytes)"] = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        stopped_s = _took_s(lambda: stage.children.stop("server"))
        found["stop and load (s)"] = stopped_s + _took_s(lambda: stage.server.restart(10 * LOAD_S * millions))
        return found | self.starts()

    def _pieces(self) -> dict[str, float]:
        """Measure sweeps with nothing to do, and with one piece of old records or of a subject to be forgotten."""
        runtime = cli_runtime(Settings.from_environ(self._relay.environment(self._stage)))
        callbacks = Callbacks(runtime.client)
        sender = CallbackSender(runtime.partitions, callbacks, runtime.dispatcher, runtime.registry)
        sweeper = Sweeper(
            runtime.store,
            runtime.publisher,
            runtime.partitions,
            send_due=sender.send_due,
            forget_due=partial(forget_due, runtime.forgetting, runtime.partitions),
            workers_alive=lambda: 1,
        )
        found = _times("a sweep with nothing due", sweeper.sweep)
        runtime.forgetting.begin(PLUGIN, SUBJECT)
        found |= _times("a piece of forgetting a subject", lambda: runtime.forgetting.go_on(PLUGIN, SUBJECT))
        client: Any = self._stage.server.client
        old = client.zrange(key_in(ROOT, "expiry"), 0, TURNS * RECORDS - 1)
        client.zadd(key_in(ROOT, "expiry"), dict.fromkeys(old, int(time.time() * 1000)), xx=True)
        before = client.zcard(SINGLE.of_plugin("plugin_index", PLUGIN))
        found |= _times(f"deleting {RECORDS} old records", lambda: runtime.store.prune(limit=RECORDS))
        found["records deleted"] = before - client.zcard(SINGLE.of_plugin("plugin_index", PLUGIN))
        runtime.close()
        return found


def bounded(costs: Mapping[str, float], starts: Mapping[str, float], records: int) -> Bounded:
    """Put its bound beside each cost; ``starts`` are those on an empty store."""
    bounds = {name: starts_s + START_MORE_S for name, starts_s in starts.items()}
    bounds |= {"backup (s)": max(BACKUP_S * records / 1e6, BACKUP_S)}
    bounds |= {"stop and load (s)": max(LOAD_S * records / 1e6, LOAD_S)}
    bounds |= {name: WORST_MS for name in costs if name.endswith("median (ms)")}
    rows = [(name, value, bounds.get(name)) for name, value in costs.items()]
    return Bounded((*rows, *((f"{name}, empty store", value, None) for name, value in starts.items())))


def _times(name: str, act: Callable[[], object]) -> dict[str, float]:
    times_ms = [_took_s(act) * 1000 for _ in range(TURNS)]
    return {f"{name}, median (ms)": median(times_ms), f"{name}, worst (ms)": max(times_ms)}


def _took_s(act: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    act()
    return time.perf_counter() - began_s
