"""`python -m bench.lookups`: how long listings take with a million records, and what a replay of them all costs.

The records are made by the relay's own scripts on a fresh server: ten webhooks, a tenth of the calls failed. A second
table shows what else depends on a store's size: sweeps, a backup, and the start of the server, the API and a worker.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import click
from rich.console import Console
from rich.table import Table

from bench.children import ROOT, Children
from bench.contenders.contender import Stage
from bench.machine import machine
from bench.ports import free_port
from bench.receipts import EndpointControl
from bench.upkeep_costs import SUBJECT, Upkeep, bounded
from relay.domain.invocation import FINAL, Attempt, Outcome, Sent, State
from relay.domain.reference_id import new_reference_id
from relay.replay.planning import Replays
from relay.store.keys.keyspace import SINGLE
from relay.store.ledger.acceptance import NewInvocation
from relay.store.ledger.invocations import InvocationStore
from relay.store.ledger.limits import Limits
from relay.store.ledger.listing import Filter, Listing
from relay.store.ledger.transitions import Settlement
from relay.store.replays.jobs import ReplayState, ReplayStore
from relay.store.replays.runs import NewReplay, ReplayRuns, Request

if TYPE_CHECKING:
    from collections.abc import Callable

BUILD: Final = ROOT / "build" / "lookups"
GROUP: Final = 128
PAGES: Final = 200  # of each listing, one after the other
BOUND_MS: Final = 20.0
DAY_MS: Final = 24 * 3600 * 1000
LIMITS: Final = Limits(10**9, 10**9, 1 << 50, 30 * DAY_MS, 90 * DAY_MS, 30 * DAY_MS, DAY_MS)
#: How each of a hundred calls ends, in order.
ENDS: Final = (
    *[(State.DELIVERED, Outcome.ANSWERED, 200)] * 90,
    *[(State.DELIVERED, Outcome.ANSWERED, 503)] * 5,
    *[(State.DELIVERED, Outcome.ANSWERED, 404)] * 2,
    *[(State.UNREACHABLE, Outcome.CONNECT_FAILED, 0)] * 2,
    (State.UNREACHABLE, Outcome.TLS_FAILED, 0),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """The measurements of one kind of look-up; times in milliseconds."""

    name: str
    median_ms: float
    worst_ms: float
    rows: int  # of all pages
    promised: bool


class Archive:
    """A store with many final records."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.store = InvocationStore(client, LIMITS, lease_margin_ms=10_000)
        self.listing = Listing(client)
        self.runs = ReplayRuns(client, keep_ms=DAY_MS, max_age_ms=DAY_MS)
        self.replays = Replays(ReplayStore(client, LIMITS), self.runs, self.listing, lambda _ready: None)
        for number in range(10):
            client.hset(SINGLE.of_plugin("webhooks", "shop"), f"hook{number}", 1)

    def fill(self, records: int) -> None:
        """Make ``records`` records with the scripts that calls use."""
        for start in range(0, records, GROUP):
            news = [_call(number) for number in range(start, min(start + GROUP, records))]
            self.store.accept(news, ())
            token = uuid4().hex
            self.store.claim([new.reference_id for new in news], token)
            self.store.settle([_end(new, token, start + number) for number, new in enumerate(news)])

    def pages(self, name: str, wanted: Filter, *, promised: bool) -> Finding:
        """Read pages of 50 one after the other, and begin again after the last one."""
        cursor, times_ms, rows = None, [], 0
        for _ in range(PAGES):
            began = time.perf_counter()
            page = self.listing.page("shop", wanted, limit=50, cursor=cursor)
            times_ms.append((time.perf_counter() - began) * 1000)
            rows += len(page.rows)
            cursor = page.cursor
        return Finding(name, round(median(times_ms), 2), round(max(times_ms), 2), rows, promised)

    def span(self) -> tuple[int, int]:
        """Return when the second quarter of the records was created, in milliseconds: from, until."""
        key = SINGLE.of_plugin("plugin_index", "shop")
        count = self.client.zcard(key)
        since, until = (self.client.zrange(key, at, at, withscores=True)[0][1] for at in (count // 4, count // 2))
        return int(since), int(until)

    def lookups(self) -> list[Finding]:
        """Measure every kind of listing."""
        since_ms, until_ms = self.span()
        middle = Filter(since_ms=since_ms, until_ms=until_ms)
        failed = Filter(error=True)
        promised = {
            "everything": Filter(),
            "webhook": Filter(webhook_id="hook3"),
            "state delivered": Filter(states=frozenset({State.DELIVERED})),
            "state unreachable": Filter(states=frozenset({State.UNREACHABLE})),
            "outcome tls_failed": Filter(outcome=Outcome.TLS_FAILED),
            "a time span": middle,
            "failed": failed,
            "status 5xx": Filter(status=("5xx",)),
            "failed in a time span": replace(middle, error=True),
        }
        others = {
            "status 503": Filter(status=(503,)),
            "webhook and failed": replace(failed, webhook_id="hook5"),
            "unfinished (none)": Filter(states=frozenset({State.QUEUED, State.SENDING})),
            "caller of one in 1,000": Filter(caller="rare"),
            "caller of none": Filter(caller="nobody"),
        }
        found = [self.pages(name, wanted, promised=True) for name, wanted in promised.items()]
        return found + [self.pages(name, wanted, promised=False) for name, wanted in others.items()]


def _call(number: int) -> NewInvocation:
    return NewInvocation(
        reference_id=new_reference_id(),
        plugin="shop",
        webhook_id=f"hook{number % 10}",
        revision=1,
        lane="bulk",
        timeout_ms=20_000,
        payload=b"sealed" * 20,
        request_bytes=100,
        caller="rare" if number % 1000 == 0 else "key",
        subject=SUBJECT if number % 10 == 0 else "",
    )


def _end(new: NewInvocation, token: str, number: int) -> Settlement:
    state, outcome, status = ENDS[number // 10 % 100]
    error = status != 200
    sent = Sent.ANSWERED if status else Sent.NO
    attempt = Attempt(1, int(time.time() * 1000), 5, status, outcome, sent)
    return Settlement(new.reference_id, token, state, outcome, status, error, attempt, result=b"sealed" * 5)


def _timed(act: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = act()
    return round(time.perf_counter() - began, 2), result


def _replay(archive: Archive, most: int) -> dict[str, float]:
    """Measure grouping, a plan and a job of everything; make at most ``most`` of its replays."""
    everything = Request(filter=Filter(states=FINAL), max=None)
    groups_s, _ = _timed(lambda: archive.listing.groups("shop", Filter()))
    plan_s, plan = _timed(lambda: archive.replays.plan("shop", everything))
    job = archive.replays.start("shop", everything, caller="bench")
    token = uuid4().hex
    archive.runs.claim(job.replay_id, token)

    def planned() -> None:
        state = "planning"
        while state == ReplayState.PLANNING:
            state, _ = archive.runs.plan(job.replay_id, token)

    job_s = 0.0
    if archive.replays.get("shop", job.replay_id).state is ReplayState.PLANNING:
        job_s, _ = _timed(planned)
    made_s, made = _timed(lambda: _made(archive, job.replay_id, token, most))
    return {
        "groups of all (s)": groups_s,
        "plan of all (s)": plan_s,
        "matched": plan.matched,
        "planning the job (s)": job_s,
        "replays made a second": round(made / made_s) if made_s else 0,
    }


def _made(archive: Archive, replay_id: str, token: str, most: int) -> int:
    """Make replays, and end each at once so that the job's cap is never reached."""
    made = 0
    while made < most:
        place, originals = archive.runs.read(replay_id, 50)
        if not originals:
            break
        news = [NewReplay(new_reference_id(), 1, 20_000, payload=original.payload) for original in originals]
        archive.runs.create(replay_id, token, place, news)
        refs, call = [new.reference_id for new in news], uuid4().hex
        archive.store.claim(refs, call)
        ends = [_end(NewInvocation(ref, "shop", "hook0", 1, "replay"), call, 0) for ref in refs]
        archive.store.settle(ends)
        made += len(originals)
    return made


def _table_of(findings: list[Finding], records: int) -> Table:
    title = f"A page of 50 among {records:,} records"
    table = Table("listing", "median ms", "worst ms", "rows", title=title, title_justify="left")
    for each in findings:
        table.add_row(each.name, f"{each.median_ms}", f"{each.worst_ms}", str(each.rows))
    return table


@click.command()
@click.option("--records", type=click.IntRange(1_000, 10_000_000), default=1_000_000, show_default=True)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), default=BUILD / "lookups.json", show_default=False
)
def main(records: int, json_file: Path) -> None:
    """Measure listings and replays with a million records."""
    shutil.rmtree(BUILD / "stage", ignore_errors=True)
    console = Console()
    with Children(BUILD / "stage") as children:
        stage = Stage(EndpointControl(free_port()), children, BUILD / "stage", "everysec")  # no call is sent
        server, upkeep = stage.server, Upkeep(stage)
        starts = upkeep.starts()
        archive = Archive(server.client)
        filled_s, _ = _timed(lambda: archive.fill(records))
        memory = int(server.client.info("memory")["used_memory"])
        findings = archive.lookups()
        console.print(_table_of(findings, records))
        costs = _replay(archive, min(20_000, records))
        grown = int(server.client.info("memory")["used_memory"]) - memory
        bounds = bounded(upkeep.costs(records), starts, records)
    costs |= {
        "bytes a record": memory // records,
        "server bytes more, an original": grown // records,
        "filled (s)": filled_s,
    }
    console.print(costs)
    console.print(bounds.table())
    written = {"machine": machine(), "records": records, "pages": [asdict(each) for each in findings], "costs": costs}
    written["upkeep"] = bounds.rows
    json_file.parent.mkdir(parents=True, exist_ok=True)
    json_file.write_text(json.dumps(written, indent=2, default=str))
    slow = [each.name for each in findings if each.promised and each.median_ms > BOUND_MS]
    sys.exit(1 if slow or bounds.exceeded else 0)


if __name__ == "__main__":
    main()
