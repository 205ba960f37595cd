"""`python -m bench.soak`: whether the memory, files and counts of a whole relay stay within bounds for an hour.

`relay up` runs with the shortest retention that it takes, a day, for which an Idempotency-Key is honoured. That is too
long for a soak, so the soak shortens retention itself. Every few seconds it sets the time at which records have to be
deleted (the scores of `expiry`) to now for those that have been final for five minutes, and lets used idempotency keys
end five minutes after their use; workers then delete them like old ones. In a run of less than an hour it is a twelfth
of the run. For the same reason the server may rewrite its file from 64 MiB on, not 1 GiB.

The audit trail is kept for 400 days and grows with every request by design: its bytes are shown, and are not part of
the server's memory here. The endpoint answers in a known way, so that each id has to be received a known number of
times: once, three times where the registration has three attempts, never where nothing listens.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections import Counter
from contextlib import suppress
from itertools import product
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import click
import psutil
import redis
import requests
from rich.console import Console
from rich.table import Table

from bench.children import ROOT, UP, Children, clean_environment, end_on_sigterm, role_of
from bench.contenders.contender import CHAIN, CHAIN_STEPS, FAILING, Stage
from bench.contenders.relay import PLUGINS, Relay, create_key, run, written
from bench.machine import commit, machine
from bench.ports import free_port
from bench.scene import start_endpoint
from bench.soak_callers import ASKING, ATTEMPTS, NAMES, RETRIED, STEP, TOLD, UNREACHABLE, Traffic, registrations
from relay.store.keys.names import ROOT as LEDGER
from relay.store.keys.names import SHARED_ROOT, TRAIL, key_in
from relay.up.log_file import MAX_LOG_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.receipts import EndpointControl

BUILD: Final = ROOT / "build" / "soak"
SETTINGS: Final = dict.fromkeys(("RELAY_RETENTION", "RELAY_FAILED_RETENTION", "RELAY_REJECTED_RETENTION"), "1d")
DAY_MS: Final = 24 * 3600 * 1000
NOWHERE: Final = free_port()
SAMPLE_S, AGE_S = 10.0, 5.0
SETTLED_S: Final = 5.0  # nothing may happen for this long before counts are compared
PATIENCE_S: Final = 300.0
MIB: Final = 1 << 20
REWRITE_BYTES: Final = 64 * MIB
SHOWN_BYTES: Final = 64 * 1024  # smaller files are in soak.json only
GROWTH: Final = 1.10
#: Pools of connections grow to the most ever in use at once; revisions and keys that were decided are kept.
ALLOWED: Final = {"MiB": 4.0, "descriptors": 10.0, "keys": 300.0}
#: Kept for its own time, a day or longer, which no soak reaches.
BY_DESIGN: Final = ("audit trail: MiB", "keys that end: keys")
TRAILS: Final = tuple(root + kind for root in (LEDGER, SHARED_ROOT) for kind in TRAIL.values())


class Site:
    """A relay that runs, seen from outside: its processes, its server and its files."""

    def __init__(self, stage: Stage, age_s: float) -> None:
        self.door = Relay().up(stage, registrations(stage.endpoint, NOWHERE), SETTINGS)
        self._stage, self._data, self._age_ms = stage, stage.folder / "relay", int(age_s * 1000)
        self.began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.client = redis.Redis.from_url((self._data / "admin.url").read_text().strip())
        self.client.config_set("auto-aof-rewrite-min-size", REWRITE_BYTES)
        self._revisions = self.replayed = 0

    def age(self, age_ms: int | None = None) -> None:
        """Let workers delete what has been final for ``age_ms``; idempotency keys count from their use."""
        given_ms, now_ms = self._age_ms if age_ms is None else age_ms, int(time.time() * 1000)
        expiry = key_in(LEDGER, "expiry")
        # Every retention is a day, so whatever is to be deleted within a day less the age has been final for that age.
        old: Any = self.client.zrangebyscore(expiry, now_ms + 1, now_ms + DAY_MS - given_ms)
        if old:
            self.client.zadd(expiry, dict.fromkeys(old, now_ms), xx=True)
        for key in self.client.scan_iter(f"{LEDGER}p:*:idem:*", count=1_000):
            self.client.pexpire(key, max(given_ms, 1), lt=True)

    def operate(self, session: requests.Session, traffic: Traffic) -> None:
        """Apply a new revision, make a key and revoke it, and replay some calls that failed."""
        self._revisions += 1
        plugin = self._revisions % len(PLUGINS)
        file = written(self._stage, registrations(self._stage.endpoint, NOWHERE, 20 + self._revisions % 2)[:1])
        self._run("webhooks", "apply", str(file), "--plugin", PLUGINS[plugin])
        self._run("keys", "revoke", json.loads(self._run(*create_key(PLUGINS[plugin])))["id"])
        wanted = {"filter": {"webhookId": FAILING}, "max": 20, "includeUncertain": True}
        job = traffic.ask(plugin, session, "POST", "/v1/replays", json=wanted)
        while not job.get("finishedAt"):
            time.sleep(0.2)
            job = traffic.ask(plugin, session, "GET", f"/v1/replays/{job['replayId']}")
        self.replayed += job["started"]

    def _run(self, *arguments: str) -> bytes:
        return run(("--data-dir", str(self._data), *arguments), clean_environment())

    def processes(self) -> list[tuple[str, psutil.Process]]:
        """Return the relay's processes, by role."""
        up = psutil.Process(self._stage.children.pid(UP))
        found = [("supervisor", up)]
        for process in up.children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it has just ended
                role = role_of(process)
                if role and not (role == "server" and process.ppid() != up.pid):  # its child rewrites the file
                    found.append((role, process))
        return found

    def sample(self) -> dict[str, float]:
        """Return memory and descriptors of each role, the server's memory and keys, and the size of each file."""
        found: Counter[str] = Counter()
        for role, process in self.processes():
            found[f"{role}: MiB"] += process.memory_full_info().uss / MIB
            found[f"{role}: descriptors"] += process.num_fds()
        sizes: list[Any] = [self.client.memory_usage(key) or 0 for key in TRAILS]
        about: Any = self.client.info()
        found["audit trail: MiB"] = sum(sizes) / MIB
        found["server: MiB"] -= found["audit trail: MiB"]
        found["used_memory without it: MiB"] = about["used_memory"] / MIB - found["audit trail: MiB"]
        found["final records"] = self.client.zcard(key_in(LEDGER, "expiry"))
        found["keys beside these: keys"] = about["db0"]["keys"] - about["db0"]["expires"] - found["final records"]
        found["keys that end: keys"] = about["db0"]["expires"]
        for file in self._data.rglob("*"):
            with suppress(OSError):
                name = "append-only file" if "appendonlydir" in file.parts else file.relative_to(self._data)
                if file.is_file():
                    found[f"file {name}: MiB"] += file.stat().st_size / MIB  # type: ignore[assignment]
        return dict(found)

    def is_idle(self) -> bool:
        """Whether no call is pending and no callback is to be made."""
        pending: Any = self.client.hget(key_in(LEDGER, "pending"), "count")
        return int(pending or 0) == 0 and not self.client.zcard(key_in(LEDGER, "callbacks"))

    def left(self) -> Counter[str]:
        """Return how many keys of each kind there are, the variable parts of their names left out."""
        names = (key.decode() for key in self.client.scan_iter(count=1_000))
        return Counter(re.sub(r"[0-9a-f-]{14,}|\d+$|\d{6,}", "#", name) for name in names)


def count_faults(site: Site, traffic: Traffic, session: requests.Session, times: Mapping[str, int]) -> list[str]:
    """Compare the answers to callers with the relay's counts and the endpoint's receipts."""
    counted: Counter[str] = Counter()
    for plugin, name in product(range(len(PLUGINS)), NAMES):
        told = traffic.ask(plugin, session, "GET", f"/v1/stats?since={site.began}&webhookId={name}")
        for minute in told["buckets"]:
            counted[name] += minute["accepted"]
            counted["not ended"] += minute["accepted"] - sum(minute["final"].values())
    ids = traffic.ids
    wanted = {name: len(ids[name]) for name in NAMES} | {STEP: CHAIN_STEPS * len(ids[CHAIN]), TOLD: len(ids[ASKING])}
    wanted |= {FAILING: len(ids[FAILING]) + site.replayed, "not ended": 0}
    called = [name for name in NAMES if name not in {CHAIN, UNREACHABLE}]
    lost = {ref for name in called for ref in ids[name]} - times.keys()
    received = sum(wanted[name] for name in called)
    wrong = [ref for ref, count in times.items() if count != (ATTEMPTS if ref in ids[RETRIED] else 1)]
    return [
        *(f"{count} x {fault}" for fault, count in traffic.faults.items()),
        *(
            f"{name}: {counted[name]} counted, not {number}"
            for name, number in wanted.items()
            if counted[name] != number
        ),
        *[f"{len(lost)} accepted calls were not received, such as {min(lost, default='')}"] * bool(lost),
        *[f"{len(times)} ids were received, not {received}"] * (len(times) != received),
        *[f"{len(wrong)} ids were not received as often as they have to be, such as {wrong[:2]}"] * bool(wrong),
    ]


def growth(
    samples: Sequence[tuple[float, Mapping[str, float]]], seconds: float
) -> list[tuple[str, float, float, bool]]:
    """Return each name with its medians in the second and last sixth of the run, and whether it grew too much."""
    early = [found for at_s, found in samples if seconds / 6 <= at_s <= seconds / 3]
    late = [found for at_s, found in samples if at_s >= seconds * 5 / 6]
    rows = []
    for name in sorted({name for _, found in samples for name in found}):
        before, after = (median(found.get(name, 0.0) for found in window) for window in (early, late))
        most = max(found.get(name, 0.0) for _, found in samples)
        unit = name.rpartition(" ")[2]
        if "append-only" in name:  # a saw-tooth: it is rewritten when it is twice as large as after the last time
            memory_mib = max(found["used_memory without it: MiB"] + found["audit trail: MiB"] for _, found in samples)
            is_bad = most > REWRITE_BYTES / MIB + 3 * memory_mib
        elif ".log" in name:  # put aside at its limit, and deleted when there are too many; below that it may grow
            is_bad = most > MAX_LOG_BYTES / MIB + ALLOWED[unit]
        else:
            is_bad = unit in ALLOWED and after > (GROWTH * before if unit == "MiB" else before) + ALLOWED[unit]
        rows.append((name, before, after, is_bad and name not in BY_DESIGN))
    return rows


def soak(site: Site, traffic: Traffic, seconds: float) -> list[tuple[float, dict[str, float]]]:
    """Keep traffic up for ``seconds``, and meanwhile sample, let records grow old, and do what operators do."""
    began_s, samples = time.monotonic(), []
    due_s = {"sample": 0.0, "age": 0.0, "operate": seconds / 12}
    every_s = {"sample": min(SAMPLE_S, seconds / 60), "age": AGE_S, "operate": max(seconds / 60, 10.0)}
    with requests.Session() as session:
        session.trust_env = False
        while (at_s := time.monotonic() - began_s) < seconds:
            ready = [name for name, when_s in due_s.items() if when_s <= at_s]
            for name in ready:
                due_s[name] = at_s + every_s[name]
            if "sample" in ready:
                samples.append((at_s, site.sample()))
            if "age" in ready:
                site.age()
            if "operate" in ready:
                site.operate(session, traffic)
            time.sleep(0.2)
    return samples


def ended(site: Site, traffic: Traffic, children: Children, endpoint: EndpointControl) -> list[str]:
    """Wait for the last end and compare counts; then let everything be deleted. Return the faults."""
    children.wait_until("the last end", site.is_idle, PATIENCE_S)
    time.sleep(SETTLED_S)  # anything that should not come would come now
    children.wait_until("the last callback", site.is_idle, PATIENCE_S)
    with requests.Session() as session:
        session.trust_env = False
        faults = count_faults(site, traffic, session, endpoint.times())
    site.age(0)
    children.wait_until("the last deletion", lambda: not site.client.zcard(key_in(LEDGER, "expiry")), PATIENCE_S)
    time.sleep(1)
    left = site.left()
    return faults + [
        f"{count} keys {name} are left" for name, count in left.items() if "inv:" in name or ":idem:" in name
    ]


@click.command()
@click.option("--seconds", type=click.IntRange(60), default=3600, show_default=True)
@click.option("--rate", type=click.FloatRange(1, 1000), default=60.0, show_default=True, help="Calls a second, about.")
def main(seconds: int, rate: float) -> None:
    """Let a whole relay run under moderate load, and compare its end with its beginning."""
    end_on_sigterm()
    shutil.rmtree(BUILD, ignore_errors=True)
    with Children(BUILD) as children:
        endpoint = start_endpoint(children, "endpoint", 0.0)
        site = Site(Stage(endpoint, children, BUILD), min(300.0, seconds / 12))
        processes, keys = site.processes(), site.left()
        traffic = Traffic(site.door, rate)
        traffic.start()
        try:
            samples = soak(site, traffic, seconds)
        finally:
            traffic.stop()
        faults = ended(site, traffic, children, endpoint)
        if site.processes() != processes:
            faults.append("a process was started again")
        left = site.left()
    rows = growth(samples, seconds)
    more = {name: count - keys[name] for name, count in sorted(left.items()) if count > keys[name] + 1}
    _show(rows, faults, {name: count for name, count in more.items() if ":minute:" not in name})
    accepted = {name: len(ids) for name, ids in traffic.ids.items()}
    written_out = {"machine": machine(), "commit": commit(), "seconds": seconds, "rate": rate, "accepted": accepted}
    written_out |= {"faults": faults, "growth": rows, "keys left": left, "samples": samples}
    (BUILD / "soak.json").write_text(json.dumps(written_out, indent=1))
    sys.exit(1 if faults or any(is_bad for *_, is_bad in rows) else 0)


def _show(rows: Sequence[tuple[str, float, float, bool]], faults: Sequence[str], keys: Mapping[str, Any]) -> None:
    table = Table(title="Medians of the second and of the last sixth of the run", title_justify="left")
    for column in ("what", "second", "last", "ratio", ""):
        table.add_column(column, justify="left" if column in {"what", ""} else "right")
    for name, before, after, is_bad in rows:
        if name.startswith("file ") and max(before, after) * MIB < SHOWN_BYTES and not is_bad:
            continue
        ratio = f"{after / before:.2f}" if before else ""
        table.add_row(name, f"{before:.1f}", f"{after:.1f}", ratio, "grew" if is_bad else "")
    console = Console(width=120)
    console.print(table)
    console.print("Keys that are left, beside one of a kind and counts of minutes:", keys or "none")
    console.print(*(faults or ["Every count is exact."]), sep="\n")


if __name__ == "__main__":
    main()
