"""Every Redis key that Python names, one function each; `relay.store.lua_keys` hands the same names to scripts."""

from __future__ import annotations

from typing import Final

from relay.store.key_names import CHANNELS, PARTITIONED, PREFIX, SHARED, SHARED_ROOT, TRAIL, partition_root

#: The root of the only partition.
ROOT: Final = partition_root(0)


def _name(kind: str, **parts: object) -> str:
    if kind in SHARED:
        return SHARED_ROOT + SHARED[kind].format(**parts)
    return ROOT + PARTITIONED[kind].format(**parts)


def record(ref: str) -> str:
    """Hash: the record of an invocation."""
    return _name("record", ref=ref)


def payload(ref: str) -> str:
    """String: the sealed trigger of an invocation."""
    return _name("payload", ref=ref)


def result(ref: str) -> str:
    """String: the sealed data of an invocation's answer."""
    return _name("result", ref=ref)


def steps(ref: str) -> str:
    """List: the reference ids of a chain's steps."""
    return _name("steps", ref=ref)


def raw(ref: str) -> str:
    """String: the sealed data of a step's answer before masking, while its chain runs."""
    return _name("raw", ref=ref)


def secrets(ref: str) -> str:
    """String: the sealed texts that a chain hides in its steps' answers, while it runs."""
    return _name("secrets", ref=ref)


def callbacks() -> str:
    """Sorted set: ends that a webhook is to be told of."""
    return _name("callbacks")


def alerts(kind: str = "alerts") -> str:
    """Hash: the alerts that hold; of the kind `alerts_untold` changes that nobody was told of."""
    return _name(kind)


def plugins() -> str:
    """Set: the plugins that exist."""
    return _name("plugins")


def plugin_bytes(plugin: str) -> str:
    """Hash: the bytes of a plugin's contents, of unfinished invocations and kept ones."""
    return _name("plugin_bytes", plugin=plugin)


def plugin_index(plugin: str) -> str:
    """Sorted set: a plugin's reference ids by createdAt."""
    return _name("plugin_index", plugin=plugin)


def webhook_index(plugin: str, webhook: str) -> str:
    """Sorted set: a webhook's reference ids by createdAt."""
    return _name("webhook_index", plugin=plugin, webhook=webhook)


def plugin_counts(plugin: str) -> str:
    """Hash: a plugin's counters."""
    return _name("plugin_counts", plugin=plugin)


def notes(plugin: str) -> str:
    """List: what happened to a plugin's invocations and is not counted yet."""
    return _name("notes", plugin=plugin)


def counted(plugin: str) -> str:
    """Integer: how many of a plugin's notes have been counted."""
    return _name("counted", plugin=plugin)


def totals(plugin: str) -> str:
    """Hash: a plugin's counts and histograms by webhook."""
    return _name("totals", plugin=plugin)


def minute(plugin: str, minute: int, webhook: str = "") -> str:
    """Hash: what was counted in a minute of a webhook, or of all."""
    return _name("minute", plugin=plugin, minute=minute, webhook=webhook)


def hour(plugin: str, hour: int) -> str:
    """Hash: what was counted in an hour, by webhook."""
    return _name("hour", plugin=plugin, hour=hour)


def webhooks(plugin: str) -> str:
    """Hash: a plugin's webhook ids and their current revisions."""
    return _name("webhooks", plugin=plugin)


def pointer_macs(plugin: str) -> str:
    """Hash: of each webhook, the MAC of its current revision."""
    return _name("pointer_macs", plugin=plugin)


def revision(plugin: str, webhook: str, number: int) -> str:
    """Hash: one immutable revision of a registration."""
    return _name("revision", plugin=plugin, webhook=webhook, revision=number)


def target(plugin: str, webhook: str, number: int) -> str:
    """String: the sealed target of a revision."""
    return _name("target", plugin=plugin, webhook=webhook, revision=number)


def last_revision(plugin: str, webhook: str) -> str:
    """Integer: the highest revision ever given to a webhook id."""
    return _name("last_revision", plugin=plugin, webhook=webhook)


def users(plugin: str, webhook: str) -> str:
    """Set: the chains that have a webhook among their steps."""
    return _name("users", plugin=plugin, webhook=webhook)


def token(plugin: str, webhook: str, revision: int) -> str:
    """String: the sealed access token of a webhook's revision."""
    return _name("token", plugin=plugin, webhook=webhook, revision=revision)


def token_fetcher(plugin: str, webhook: str, revision: int) -> str:
    """String: who fetches the next access token."""
    return _name("token_fetcher", plugin=plugin, webhook=webhook, revision=revision)


def running(plugin: str, webhook: str) -> str:
    """Sorted set: the places that a webhook's running calls hold."""
    return _name("running", plugin=plugin, webhook=webhook)


def parked(plugin: str, webhook: str) -> str:
    """Sorted set: a webhook's parked calls by age."""
    return _name("parked", plugin=plugin, webhook=webhook)


def open_calls(plugin: str, webhook: str) -> str:
    """Sorted set: a webhook's calls that are not final, by when each has to end."""
    return _name("open", plugin=plugin, webhook=webhook)


def parked_webhooks() -> str:
    """Set: webhooks that have parked calls."""
    return _name("parked_webhooks")


def revisits() -> str:
    """Set: webhooks whose waiting calls somebody has to go through."""
    return _name("revisits")


def ages() -> str:
    """Sorted set: webhooks by when the first of their calls may have to end."""
    return _name("ages")


def policy(plugin: str, webhook: str) -> str:
    """Hash: a webhook's limits, pause, rate and breaker."""
    return _name("policy", plugin=plugin, webhook=webhook)


def idempotency(plugin: str, webhook: str, mac: str) -> str:
    """Hash: what an Idempotency-Key was used for."""
    return _name("idempotency", plugin=plugin, webhook=webhook, mac=mac)


def due_running() -> str:
    """Sorted set: alarms of leases, retries and deadlines."""
    return _name("due_running")


def due_queued(lane: str) -> str:
    """Sorted set: alarms of a lane's queued ids."""
    return _name("due_queued", lane=lane)


def backlog(minute: int) -> str:
    """Hash: the most calls that waited in each lane at a time, of one minute."""
    return _name("backlog", minute=minute)


def expiry() -> str:
    """Sorted set: when final records are forgotten."""
    return _name("expiry")


def pending() -> str:
    """Hash: how much is not final, ``count`` and ``bytes``."""
    return _name("pending")


def plugin_pending(plugin: str) -> str:
    """Integer: a plugin's invocations that are not final."""
    return _name("plugin_pending", plugin=plugin)


def replays(plugin: str) -> str:
    """Sorted set: a plugin's replay jobs by createdAt."""
    return _name("replays", plugin=plugin)


def replay_plan(plugin: str, plan: str) -> str:
    """String: what was planned to be replayed."""
    return _name("replay_plan", plugin=plugin, plan=plan)


def replay(replay_id: str) -> str:
    """Hash: a replay job."""
    return _name("replay", replay=replay_id)


def api_keys() -> str:
    """Set: the ids of all API keys."""
    return _name("api_keys")


def api_key(key_id: str) -> str:
    """Hash: one API key, its secret as a SHA-256 only."""
    return _name("api_key", key=key_id)


def api_key_uses() -> str:
    """Hash: when each API key was last used."""
    return _name("api_key_uses")


def promotions() -> str:
    """Hash: since when the newest key of each ring seals."""
    return _name("promotions")


def revocations() -> str:
    """List: the revoked API keys."""
    return _name("revocations")


def audit(part: str, root: str = ROOT) -> str:
    """A key of a root's audit trail: ``entries``, ``head``, ``segments``, ``beginning`` or ``turn``."""
    return root + TRAIL[f"audit_{part}"]


def notice(process: str) -> str:
    """Channel: what an API process's waiters are told."""
    return PREFIX + CHANNELS["notice"].format(process=process)


def sweeps() -> str:
    """Hash: how many sweeps there were, and how many ids they published."""
    return _name("sweeps")


def turn(kind: str) -> str:
    """String: a worker does now what one is enough for (`counting_turn`, `alerts_turn`)."""
    return _name(kind)


def workers() -> str:
    """Sorted set: worker processes by their last heartbeat."""
    return _name("workers")


def clock_jump() -> str:
    """String: the last jump of the server's clock."""
    return _name("clock_jump")


def worker_lanes() -> str:
    """Hash: the lanes that each worker process serves."""
    return _name("worker_lanes")


def dropped_messages() -> str:
    """Hash: by lane, how many things on it were no messages of the relay's."""
    return _name("dropped_messages")
