"""Checks the servers of the store; a finding on some of several servers names them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.doctor.finding import SHARES, Finding, Level, graded, judged, listed
from relay.store.scripting.library import library
from relay.store.server.clock import MOST_OFF_MS, UNNOTICED_MS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from relay.store.health.readiness import StoreHealth
    from relay.store.health.server import ServerHealth

SERVER_FLOORS: Final = {"redis": (7,), "valkey": (8,)}
_MEMORY_SHARE: Final = 0.9


def examine_servers(store: StoreHealth, replicas: int) -> Iterator[Finding]:
    """Yield the findings on the store's servers; ``replicas`` of each primary must confirm a write."""
    if store.away:
        advice = (
            "Start it: if it was a primary, its partitions' calls wait until it or one of its replicas serves them."
        )
        yield Finding("redis", Level.PROBLEM, f"cannot be reached: {listed(store.away)}", advice)
    by_check: dict[str, list[tuple[str, Finding]]] = {}
    for server in store.servers:
        for finding in _server(server):
            by_check.setdefault(finding.check, []).append((server.name, finding))
    for found in by_check.values():
        yield from _together(found, several=len(store.servers) > 1)
    if replicas:
        yield _replicas(store.servers, replicas)
    if store.clock_jump is not None:
        advice = "Leases may have ended early, or last longer. Run NTP on every server that may become a primary."
        yield Finding("clock jump", Level.NOTE, store.clock_jump.sentence, advice)


def _together(found: Sequence[tuple[str, Finding]], *, several: bool) -> Iterator[Finding]:
    """Merge what one check found on each server: one finding if all are OK, otherwise one for each kind of trouble."""
    troubles = [(name, each) for name, each in found if each.level is not Level.OK]
    if len(found) == 1 and not (several and troubles):
        yield found[0][1]
        return
    check = found[0][1].check
    if not troubles:
        said = sorted({each.found for _, each in found})
        yield Finding(check, Level.OK, f"{len(found)} servers: {said[0] if len(said) == 1 else 'all well'}")
    names: dict[Finding, list[str]] = {}
    for name, each in troubles:
        names.setdefault(each, []).append(name)
    for each, servers in names.items():
        yield Finding(check, each.level, f"{each.found} ({listed(servers)})", each.advice)


def _replicas(servers: Sequence[ServerHealth], wanted: int) -> Finding:
    few = [each.name for each in servers if each.replicas is not None and each.replicas < wanted]
    found = f"fewer than {wanted} follow {listed(few)}" if few else f"at least {wanted} follow every primary"
    advice = "Start replicas, or lower RELAY_STORE_REPLICAS: until then calls of that primary's plugins get 503."
    return judged("replicas", not few, found, advice)


def _server(health: ServerHealth) -> Iterator[Finding]:
    floor = SERVER_FLOORS[health.software]
    found = f"reachable, {health.software} {'.'.join(map(str, health.version))}"
    yield judged("redis", health.version >= floor, found, "Use Redis 7 or Valkey 8, or newer.")
    yield _append_only(health)
    yield _rights(health)
    yield judged(
        "functions",
        health.has_functions,
        library().name if health.has_functions else f"it lacks {library().name}",
        "Load them with `relay functions load`: until then no process of this version is ready.",
    )
    yield judged(
        "eviction",
        health.eviction in ("noeviction", None),
        f"maxmemory-policy {health.eviction or 'unknown'}",
        "Set maxmemory-policy noeviction: a full server has to refuse work, not forget records.",
    )
    if health.maximum_bytes:
        share = health.used_bytes / health.maximum_bytes
        yield judged("memory", share < _MEMORY_SHARE, f"{share:.0%} used", "Raise maxmemory, or lower the retentions.")
    if health.most_connections:
        share = health.connections / health.most_connections
        advice = "Raise maxclients and the server's limit of open files: it refuses connections beyond that."
        yield graded("connections", share, SHARES, f"{share:.0%} of maxclients", advice)
    yield graded(
        "clock",
        abs(health.skew_ms),
        (UNNOTICED_MS, MOST_OFF_MS),
        f"the server is {round(health.skew_ms):+d} ms off this machine",
        "Run NTP on both: leases count on the server's clock, and it must not jump.",
    )


def _rights(health: ServerHealth) -> Finding:
    """Check that no process of the relay could configure or empty the server."""
    wide = listed(health.unrestricted)
    found = f"may do more than needed: {wide}" if wide else "none may configure or empty the server"
    advice = "Give each process a user of its own, as in deploy/users.acl."
    return judged("server users", not wide, found, advice, Level.NOTE)


def _append_only(health: ServerHealth) -> Finding:
    check, found = "append-only file", f"on, appendfsync {health.fsync or 'unknown'}"
    if not health.append_only or health.fsync == "no":
        found = found if health.append_only else "off"
        advice = "Set appendonly yes and appendfsync always: otherwise records are lost."
        return Finding(check, Level.PROBLEM, found, advice)
    if not health.append_only_healthy:
        advice = "Check the server's disk: while it cannot write, the server takes nothing new."
        return Finding(check, Level.PROBLEM, "on, but the last write failed", advice)
    if health.failed_writes:
        found = f"on, but {' and '.join(health.failed_writes)} failed the last time"
        return Finding(check, Level.PROBLEM, found, "Check the server's disk and its log.")
    advice = "A killed server may lose its last two seconds; with appendfsync always it loses nothing."
    return judged(check, health.fsync != "everysec", found, advice, Level.NOTE)
