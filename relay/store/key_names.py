"""The one list of every Redis key: what each is called, of which type it is, and what it holds.

Every key has a root. Those of the ledger begin with that of their partition, ``relay:{N}:``; what a plugin has lies in
one partition, and a script touches the keys of one root alone. The few that belong to no plugin begin with
``relay:{shared}:``. The braces are the hash tag of a cluster: all keys of one root lie on one server.

A plugin is part of every key except those of a single invocation, which are named by its reference id alone:
only reference ids travel on the broker, so a worker has nothing else to look a record up with. The record
itself names its plugin, and every read on a plugin's behalf compares it.

Only ids, reference ids and keyed hashes ever become part of a key.
"""

from __future__ import annotations

from typing import Final, Literal

#: With what every key and channel begins.
PREFIX: Final = "relay:"
#: The root of what belongs to no plugin.
SHARED_ROOT: Final = f"{PREFIX}{{shared}}:"

#: The keys of a partition.
PARTITIONED: Final = {
    # one invocation
    "record": "inv:{ref}",  # hash: the record (field names in lua/accept.lua)
    "payload": "inv:{ref}:payload",  # string: sealed trigger
    "result": "inv:{ref}:result",  # string: sealed data of the answer
    "steps": "inv:{ref}:steps",  # list: a chain's steps, reference ids as they were created
    "raw": "inv:{ref}:raw",  # string: sealed data of a step's answer before masking, while its chain runs
    "secrets": "inv:{ref}:secrets",  # string: sealed texts that a chain hides in its steps' answers, while it runs
    # alarms and ends
    "due_running": "due:running",  # zset referenceId -> ms: leases, retries, deadlines
    "due_queued": "due:queued:{lane}",  # zset referenceId -> ms: queued ids of a lane
    "ages": "ages",  # zset plugin/webhook -> ms: not before then does one of its open calls have to end
    "parked_webhooks": "parked",  # set of plugin/webhook: those that have parked calls, and some that had
    "revisits": "revisits",  # set of plugin/webhook: whose calls somebody has to go through (lua/revisit.lua)
    "callbacks": "callbacks",  # zset referenceId -> ms: ends that a webhook is to be told of, when to look again
    "expiry": "expiry",  # zset referenceId -> ms: final records, when to forget them
    "pending": "pending",  # hash: invocations and bytes not final, in all
    # one plugin
    "plugins": "plugins",  # set of plugin names
    "plugin_pending": "p:{plugin}:pending",  # int: invocations not final
    "plugin_bytes": "p:{plugin}:bytes",  # hash: of contents `pending` and `kept`; `from`, where to look for old ones
    "plugin_index": "p:{plugin}:invocations",  # zset referenceId -> createdAt ms
    "webhook_index": "p:{plugin}:invocations:{webhook}",  # the same of one webhook
    "ends": "p:{plugin}:ends:{kind}",  # the same of those that ended alike (lua/include/ends.lua)
    "kinds": "p:{plugin}:ends",  # set: the kinds of ends that have occurred
    "plugin_counts": "p:{plugin}:counts",  # hash: counters by name
    "notes": "p:{plugin}:notes",  # list: what happened and is not counted yet (lua/include/tallies.lua)
    "counted": "p:{plugin}:notes:counted",  # int: how many notes have been counted
    "totals": "p:{plugin}:totals",  # hash: counts and histograms by webhook
    "minute": "p:{plugin}:minute:{minute}:{webhook}",  # hash: counts of one minute, of a webhook or ('') of all
    "hour": "p:{plugin}:hour:{hour}",  # hash: counts of one hour by webhook
    "told_full": "p:{plugin}:told:full",  # list: the first id of each group that was refused as over capacity, lately
    "gathered": "p:{plugin}:gathered:{process}",  # int: the last histograms that a worker has brought
    "plugin_rate": "p:{plugin}:rate",  # us: when the plugin's rate is unused again
    "plugin_rate_taken": "p:{plugin}:rate:{token}",  # string: a call that has taken of the rate, for a minute
    "refusals": "p:{plugin}:refusals:{minute}",  # int: rejected records written in this minute
    "webhooks": "p:{plugin}:webhooks",  # hash webhookId -> current revision
    "pointer_macs": "p:{plugin}:webhooks:macs",  # hash webhookId -> MAC of its current revision
    "revision": "p:{plugin}:webhook:{webhook}:{revision}",  # hash: shape (JSON), createdAt
    "last_revision": "p:{plugin}:webhook:{webhook}:last",  # int: the highest revision ever given
    "users": "p:{plugin}:users:{webhook}",  # set: chains that have it among their steps, webhooks whose callback it is
    # what only workers and the CLI may read (the API's server user may not)
    "target": "target:{plugin}:{webhook}:{revision}",  # string: a revision's target, sealed
    "token": "token:{plugin}:{webhook}:{revision}",  # string: a webhook's OAuth access token, sealed
    "token_fetcher": "token:{plugin}:{webhook}:{revision}:turn",  # string: who fetches the next one
    "running": "p:{plugin}:running:{webhook}",  # zset referenceId -> leaseEnd ms: places taken
    "open": "p:{plugin}:open:{webhook}",  # zset referenceId -> ms: calls that are not final, when each has to end
    "parked": "p:{plugin}:parked:{webhook}",  # zset referenceId -> createdAt ms: calls that may not go now
    "policy": "p:{plugin}:policy:{webhook}",  # hash: limits, pause, rate and breaker (lua/include/places.lua)
    "idempotency": "p:{plugin}:idem:{webhook}:{mac}",  # hash: ref, fingerprint
    # replays
    "replays": "p:{plugin}:replays",  # zset replay id -> createdAt ms
    "replay_plan": "p:{plugin}:plan:{plan}",  # string: what was planned (JSON), for a day
    "replay": "replay:{replay}",  # hash: a job (field names in lua/replay_make.lua)
    "replay_ids": "replay:{replay}:ids",  # list: its originals, the first one to be sent at the end
    "replay_seen": "replay:{replay}:seen",  # set: ids that were given by hand, while they come
    "replay_decided": "replay:{replay}:decided",  # list: of each original, in turn: the id made of it, or why not
    "replay_open": "replay:{replay}:open",  # set: the ids that it made and that are not final
    "replay_parked": "replay:{replay}:parked",  # zset referenceId -> createdAt ms: of them, what waits for `resume`
    # sweeps
    "backlog": "due:backlog:{minute}",  # hash lane -> the most calls that waited in it at a time in this minute
    "sweeps": "sweeps",  # hash: how many sweeps there were, and how many ids they published
    "confirmed": "confirmed",  # string: written so that its replication can be waited for
    # plugins that are elsewhere
    "moved": "moved",  # hash bucket -> where it is (relay/store/places.py)
    "moving": "moving:{bucket}:{what}",  # what is set aside of a bucket while it is moved (relay/store/moving.py)
    # Locks keep the keys that they have always had: during an upgrade old and new processes have to share them.
    "move_lock": "moved:{bucket}:turn",  # string: somebody moves this bucket now
    "counting_lock": "counting",  # string: a worker counts notes now
}

#: The keys that all partitions have in common.
SHARED: Final = {
    "partitions": "partitions",  # int: how many there are, for good
    "api_keys": "keys",  # set of API key ids
    "api_key": "key:{key}",  # hash: one API key
    "api_key_uses": "keys:used",  # hash key id -> ms: when each was last used
    "promotions": "vault:promoted",  # hash ring -> ms: since when its newest key seals
    "revocations": "keys:revoked",  # list: revoked keys in turn, each entry bound to the one before
    "named_webhooks": "metrics:webhooks",  # hash plugin/webhook -> number: those that metrics name
    "workers": "workers",  # zset process -> ms of its last heartbeat
    "alerts": "alerts",  # hash: of each alert that holds, its phase, since when, and its detail (lua/alerts.lua)
    "alerts_untold": "alerts:untold",  # hash: changes of alerts that the operators' webhook is to be told of
    "alerts_lock": "alerts:turn",  # string: a worker looks at what alerts are about
    "clock_jump": "clock:jump",  # string: when the server's clock last jumped and by how much, for an hour
    "dropped_messages": "lanes:dropped",  # hash lane -> how much on it was no message
    "worker_lanes": "workers:lanes",  # hash process -> the lanes that it serves, with commas between
}

#: The audit trail of each root. It only ever grows at its end: the API's server user may add entries, and nothing more.
TRAIL: Final = {
    "audit_entries": "audit:entries",  # list: entries that are in no segment yet (relay/audit/entry.py)
    "audit_head": "audit:head",  # string: the signed checkpoint over the first of these
    "audit_segments": "audit:segments",  # list: older entries, compressed, each segment with its signed checkpoint
    "audit_beginning": "audit:beginning",  # string: where the trail begins after the oldest segments went, signed
    "audit_lock": "audit:turn",  # string: a worker signs now
}

#: The pub/sub channels, which no partition has to itself: a subscriber hears all of them.
CHANNELS: Final = {
    "notice": "notice:{process}",  # of one API process
}


def partition_root(number: int | Literal["*"]) -> str:
    """Return the root of a partition's keys; with ``*`` a pattern of all of them."""
    return f"{PREFIX}{{{number}}}:"


#: The root of the first partition's keys, and of all of them where there is one partition.
ROOT: Final = partition_root(0)


def root_of_key(key: str) -> str:
    """Return the root that a key begins with."""
    return key[: key.index("}") + 2]
