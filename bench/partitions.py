"""What partitions, replicas and a cluster's gossip cost: the servers' processor time, which other load changes little.

python -m bench.partitions                 some minutes; tables, and build/partitions/found.json for `bench.fleet`
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import click
import redis
from rich.console import Console
from rich.table import Table

from bench.children import ROOT, Children
from bench.made_calls import LIMITS, make, new_call, plugins_of, register, store_of
from bench.nodes import Nodes, cpu_us
from bench.report import machine
from bench.rounds import percentile
from relay.store.backlog import Backlog
from relay.store.functions import Functions
from relay.store.invocations import InvocationStore
from relay.store.keyspace import Keyspace
from relay.store.listing import Filter, Listing
from relay.store.measures import Measures

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.rounds import Fsync

BUILD: Final = ROOT / "build" / "partitions"
LANES: Final = ("interactive", "bulk", "replay")
GROUP: Final = 32  # calls of one script run
CONFIRM_MS: Final = 1_000
Rows = dict[str, dict[str, float]]


def call_costs(folder: Path, calls: int, rounds: int) -> Rows:
    """Measure what all primaries spend on a call, with the plugins on one, two and three of them, in turn.

    On a machine with few processors, three alternating servers find their caches cold. So each runs a hundred groups
    in a row, as on a machine of its own; the last two rows show what alternating and small groups cost.
    """
    spent: dict[str, list[tuple[float, float]]] = {}
    with Children(folder) as children:
        nodes = Nodes(children, folder, primaries=3)
        store, plugins = store_of(nodes.client, 16), plugins_of(nodes, Keyspace(16))
        kinds: dict[str, tuple[list[list[str]], int]] = {
            f"{count} primar{'y' if count == 1 else 'ies'}": ([[each] for each in plugins[:count]], GROUP)
            for count in (1, 2, 3)
        }
        kinds[f"3 primaries in turn, {GROUP} calls of each"] = ([plugins], 3 * GROUP)
        kinds[f"3 primaries in turn, {GROUP} calls of all"] = ([plugins], GROUP)
        make(store, plugins, 30 * GROUP, GROUP)
        idle = idle_us_s(nodes, 2.0)
        for _ in range(rounds):
            for name, (turns, group) in kinds.items():
                whole = calls // len(turns) // group * group
                commands, used, began_s = commands_of(nodes), nodes.cpu_us(), time.monotonic()
                for each in turns:
                    make(store, each, whole, group)
                used = nodes.cpu_us() - used - idle * (time.monotonic() - began_s)
                made = whole * len(turns)
                spent.setdefault(name, []).append((used / made, (commands_of(nodes) - commands) / made))
    first = median(us for us, _ in spent["1 primary"])
    found = {name: (median(us for us, _ in each), median(count for _, count in each)) for name, each in spent.items()}
    return {
        name: {"us a call": us, "of the first": us / first, "commands a call": count}
        for name, (us, count) in found.items()
    }


def commands_of(nodes: Nodes) -> int:
    """Return how many commands the primaries have run, including those within scripts."""
    return sum(each["calls"] for client in nodes.primaries for each in client.info("commandstats").values())


def idle_us_s(nodes: Nodes, seconds: float) -> float:
    """Return microseconds of all primaries in a second without requests."""
    before, began_s = nodes.cpu_us(), time.monotonic()
    time.sleep(seconds)
    return (nodes.cpu_us() - before) / (time.monotonic() - began_s)


def upkeep_costs(folder: Path, rounds: int) -> Rows:
    """Measure work that goes through all partitions, one plugin in each: its milliseconds, and the servers'."""
    found: Rows = {}
    for partitions in (1, 16, 64):
        stage = folder / str(partitions)
        with Children(stage) as children:
            nodes = Nodes(children, stage, primaries=3)
            keys = Keyspace(partitions)
            for number in range(partitions):
                register(nodes.client, keys, plugin_in(keys, number))
            store = store_of(nodes.client, partitions)
            make(store, [plugin_in(keys, number) for number in range(partitions)], 64 * 20, 64)
            acts = upkeep_acts(nodes.client, keys, store)
            for name, act in acts.items():
                act()
                took, used = timed(act, rounds, nodes.cpu_us)
                found[f"{name}, {partitions} partition{'s' * (partitions > 1)}"] = {"ms": took, "server us": used}
    return found


def upkeep_acts(client: Any, keys: Keyspace, store: InvocationStore) -> dict[str, Callable[[], object]]:
    """Return the repeated acts to measure, by name."""
    listing, backlog, measures = Listing(client, keys), Backlog(client, keys), Measures(client, keys)
    return {
        "a sweep": lambda: swept(store),
        "a page of a listing": lambda: listing.page(plugin_in(keys, 0), Filter()),
        "the backlog of all": lambda: backlog.of(LANES),
        "counting what was noted": measures.count_everything,
    }


def plugin_in(keys: Keyspace, partition: int) -> str:
    """Return the name of a plugin that lives in a partition."""
    return next(name for number in range(10_000) if keys.partition_of(name := f"p{number}") == partition)


def swept(store: InvocationStore) -> None:
    """Sweep all partitions, as a worker does once a second."""
    store.sweep(LANES, limit=1_000, lane_limit=100)
    store.drop_contents(limit=250)
    store.revisits(limit=16)
    store.expire(limit=64)
    store.prune(limit=250)


def timed(act: Callable[[], object], rounds: int, used_us: Callable[[], float]) -> tuple[float, float]:
    """Return the median of an act's milliseconds, and the mean of the servers' microseconds."""
    before, times = used_us(), []
    for _ in range(rounds):
        began_s = time.perf_counter()
        act()
        times.append((time.perf_counter() - began_s) * 1000)
    return median(times), (used_us() - before) / rounds


def waiting_costs(folder: Path, rounds: int) -> Rows:
    """Measure milliseconds to accept one call with the wait that follows it, with one and two replicas."""
    found: Rows = {}
    modes: tuple[Fsync, ...] = ("everysec", "always")
    for fsync in modes:
        stage = folder / fsync
        with Children(stage) as children:
            nodes = Nodes(children, stage, primaries=1, replicas=2, fsync=fsync)
            register(nodes.client, Keyspace(), "p")
            Functions(nodes.client).check()
            server = nodes.primaries[0]
            confirmations: dict[str, tuple[object, ...]] = {"nothing": ()}
            confirmations |= {f"WAIT {count}": ("WAIT", count, CONFIRM_MS) for count in (1, 2)}
            confirmations |= {f"WAITAOF 1 {count}": ("WAITAOF", 1, count, CONFIRM_MS) for count in (1, 2)}
            times: dict[str, list[float]] = {name: [] for name in confirmations}
            for place in range(rounds):
                for name, confirmation in confirmations.items():
                    if confirmation[:1] != ("WAITAOF",) or place % 20 == 0:  # WAITAOF takes a second
                        times[name].append(accepted_ms(server, confirmation))
            for name, each in times.items():
                found[f"{name}, {fsync}"] = {"median ms": median(each), "p99 ms": percentile(each, 99) or 0.0}
    return found


def accepted_ms(server: redis.Redis, confirmation: tuple[object, ...]) -> float:
    """Time an accept, a small write and the wait for it, in one round trip, as `relay.store.replicas` does."""
    store = InvocationStore(server, LIMITS, lease_margin_ms=10_000)
    began_s = time.perf_counter()
    store.accept([new_call("p")], ())
    if confirmation:
        pipeline = server.pipeline(transaction=False)
        pipeline.set("relay:{0}:confirmed", 1, px=60_000)
        pipeline.execute_command(*confirmation)
        pipeline.execute()
    return (time.perf_counter() - began_s) * 1000


def talk_costs(folder: Path, seconds: float, notices: int) -> Rows:
    """Measure what servers spend on one another: idle, by their number, and on notices published on another one."""
    found: Rows = {}
    for count in (3, 12):
        stage = folder / str(count)
        with Children(stage) as children:
            nodes = Nodes(children, stage, primaries=count)
            time.sleep(1)
            found[f"idle, {count} servers"] = {"us a second, each": idle_us_s(nodes, seconds) / count}
            if count == 3:
                found |= notice_costs(nodes, notices)
                found |= connection_costs(nodes.primaries[0])
    return found


def notice_costs(nodes: Nodes, notices: int) -> Rows:
    """Measure a notice of 300 bytes: its cost on its own server, and on each other one (without listeners)."""
    given, *others = nodes.primaries
    pipeline = given.pipeline(transaction=False)
    before, others_before = cpu_us(given), nodes.cpu_us(others)
    for start in range(0, notices, 100):
        for _ in range(start, start + 100):
            pipeline.publish("relay:notices:none", b"n" * 300)
        pipeline.execute()
    time.sleep(1)
    return {
        "a notice, the server that is given it": {"us": (cpu_us(given) - before) / notices},
        "a notice, every other server": {"us": (nodes.cpu_us(others) - others_before) / notices / len(others)},
    }


def connection_costs(server: Any, count: int = 1_000) -> Rows:
    """Return the bytes that a kept connection takes on the server."""
    port = server.connection_pool.connection_kwargs["port"]
    before = int(server.info("memory")["used_memory"])
    kept = [redis.Redis(port=port, single_connection_client=True) for _ in range(count)]
    bytes_each = (int(server.info("memory")["used_memory"]) - before) / count
    for each in kept:
        each.close()
    return {"a connection that is kept": {"bytes": bytes_each}}


def show(console: Console, title: str, rows: Rows) -> None:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in next(iter(rows.values())):
        table.add_column(name, justify="right")
    for name, values in rows.items():
        table.add_row(name, *(f"{value:,.2f}" for value in values.values()))
    console.print(table)


@click.command()
@click.option("--calls", type=int, default=6_000, show_default=True, help="of each round and kind")
@click.option("--rounds", type=int, default=5, show_default=True)
@click.option("--only", type=click.Choice(["calls", "upkeep", "waiting", "talk"]), multiple=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), default=BUILD / "found.json", show_default=False)
def main(calls: int, rounds: int, only: tuple[str, ...], json_file: Path) -> None:
    """Measure, and print tables."""
    stage = BUILD / "stage"
    shutil.rmtree(stage, ignore_errors=True)
    parts: dict[str, tuple[str, Callable[[], Rows]]] = {
        "calls": ("A call, from its acceptance to its end", lambda: call_costs(stage / "calls", calls, rounds)),
        "upkeep": ("What goes through all partitions", lambda: upkeep_costs(stage / "upkeep", 20 * rounds)),
        "waiting": ("An accept, and what waits for replicas", lambda: waiting_costs(stage / "waiting", 100 * rounds)),
        "talk": ("What servers use for each other", lambda: talk_costs(stage / "talk", 2.0 * rounds, 2_000 * rounds)),
    }
    console = Console(width=110)
    found: dict[str, Any] = {"machine": machine()}
    for name, (title, measure) in parts.items():
        if not only or name in only:
            found[name] = measure()
            for columns in {tuple(values): None for values in found[name].values()}:
                show(console, title, {row: each for row, each in found[name].items() if tuple(each) == columns})
    json_file.parent.mkdir(parents=True, exist_ok=True)
    json_file.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
