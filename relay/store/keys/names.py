"""The one list of every Redis key: its name, its type, and what it holds.

Every key begins with a root. The root of the ledger's keys is that of their partition, ``relay:{N}:``; everything that
a plugin has is in one partition, and a script touches only the keys of one root. The few keys that belong to no plugin
begin with ``relay:{shared}:``. The braces are a cluster's hash tag: all keys of one root are on one server.

A plugin is part of every key except those of a single invocation, which are named by its reference id alone: the lists
of waiting calls have only reference ids, so a worker has nothing else to look a record up with. The record itself names
its plugin, and every read on a plugin's behalf compares it.

Only ids, reference ids and keyed hashes ever become part of a key.
"""

from __future__ import annotations

from typing import Final, Literal

#: The prefix of every key and channel.
PREFIX: Final = "relay:"
#: The root of the keys that belong to no plugin.
SHARED_ROOT: Final = f"{PREFIX}{{shared}}:"
#: The rest of the key, below each root, that is written only to give WAIT a write to wait for; a string.
CONFIRMED: Final = "confirmed"
#: The rest of the key, below each root, of what was decided about its subjects; a list (relay/store/decisions/).
DECISIONS: Final = "decisions"

#: The keys of a partition.
PARTITIONED: Final = {
    # one invocation
    "record": "inv:{ref}",  # hash: the record (written by `write` of lua/lib/record.lua)
    "payload": "inv:{ref}:payload",  # string: sealed trigger
    "result": "inv:{ref}:result",  # string: sealed data of the answer
    "steps": "inv:{ref}:steps",  # list: a chain's steps, reference ids as they were created
    "raw": "inv:{ref}:raw",  # string: sealed data of a step's answer before masking, while its chain runs
    "secrets": "inv:{ref}:secrets",  # string: sealed texts that a chain hides in its steps' answers, while it runs
    # alarms and ends
    "due_running": "due:running",  # zset referenceId -> ms: leases, retries, deadlines
    "due_queued": "due:queued:{lane}",  # zset referenceId -> ms: queued ids of a lane
    "waiting": "waiting:{lane}",  # list: ids of the lane that no worker has taken yet, oldest first
    "ages": "ages",  # zset plugin/webhook -> ms: before then, none of its open calls has to end
    "parked_webhooks": "parked",  # set of plugin/webhook: those with parked calls, and some that had them
    "revisits": "revisits",  # set of plugin/webhook: those whose calls have to be revisited (lua/ledger/revisit.lua)
    "callbacks": "callbacks",  # zset referenceId -> ms: finished calls whose callback is not sent, and when to try
    "expiry": "expiry",  # zset referenceId -> ms: final records and their contents, and when they go
    "pending": "pending",  # hash: number and bytes of all invocations that are not final; `fence` after a restore
    # one plugin
    "plugins": "plugins",  # set of plugin names
    "plugin_pending": "p:{plugin}:pending",  # int: how many of its invocations are not final
    "plugin_bytes": "p:{plugin}:bytes",  # hash: bytes of contents, `pending` and `kept`; `from`: where old ones begin
    "plugin_index": "p:{plugin}:invocations",  # zset referenceId -> createdAt ms
    "webhook_index": "p:{plugin}:invocations:{webhook}",  # the same for one webhook
    "ends": "p:{plugin}:ends:{kind}",  # the same for those that ended alike (lua/lib/outcomes.lua)
    "kinds": "p:{plugin}:ends",  # set: the kinds of ends that have occurred
    # the subjects of invocations (relay/store/subjects)
    "subject_key": "p:{plugin}:subject-key",  # string: sealed key of the keyed hashes of the plugin's subjects
    "subject_index": "p:{plugin}:subject:{subject}",  # zset referenceId -> createdAt ms: those that concern a subject
    "forgetting": "p:{plugin}:forgetting:{subject}",  # hash: the job that forgets a subject (lua/subjects/)
    "forgetting_open": "p:{plugin}:forgetting:{subject}:open",  # zset referenceId -> ms: left to forget, and when
    "forgettings": "forgettings",  # zset plugin/subject -> ms: unfinished jobs, and when to continue each
    "plugin_counts": "p:{plugin}:counts",  # hash: counters by name
    "notes": "p:{plugin}:notes",  # list: events that have not been counted yet (lua/lib/tallies.lua)
    "counted": "p:{plugin}:notes:counted",  # int: how many notes have been counted
    "totals": "p:{plugin}:totals",  # hash: counts and histograms by webhook
    "minute": "p:{plugin}:minute:{minute}:{webhook}",  # hash: one minute's counts of a webhook, or of all ('')
    "hour": "p:{plugin}:hour:{hour}",  # hash: counts of one hour by webhook
    "recent_over_capacity": "p:{plugin}:recent-over-capacity",  # list: the first id of each group refused lately
    "gathered": "p:{plugin}:gathered:{process}",  # string: the last batch of histograms that a worker added
    "plugin_rate": "p:{plugin}:rate",  # string: when the plugin's rate will be unused again, and how long that was (us)
    "plugin_rate_taken": "p:{plugin}:rate:{request}",  # string: it was counted in the rate; kept for a minute
    "refusals": "p:{plugin}:refusals:{minute}",  # int: rejected records written in this minute
    "decisions": DECISIONS,
    "webhooks": "p:{plugin}:webhooks",  # hash webhookId -> current revision
    "revision": "p:{plugin}:webhook:{webhook}:{revision}",  # hash: shape (JSON), createdAt, by, stamp (random)
    "last_revision": "p:{plugin}:webhook:{webhook}:last",  # int: the highest revision ever given
    "users": "p:{plugin}:users:{webhook}",  # set: chains with it among their steps, webhooks whose callback it is
    # alerts, of the plugin whose webhook receives them
    "alerts": "p:{plugin}:alerts",  # hash: phase, beginning and detail of each alert that holds (lua/health/alerts.lua)
    "pending_alerts": "p:{plugin}:pending-alerts",  # hash: changes of alerts that have not been delivered yet
    "alerts_lock": "p:{plugin}:alerts:lock",  # string: a worker is checking for alerts
    # keys that only workers and commands may read, not the API's server user
    "target": "target:{plugin}:{webhook}:{revision}",  # string: a revision's target, sealed
    "access_token": "token:{plugin}:{webhook}:{revision}",  # string: a webhook's OAuth access token, sealed
    "access_token_fetcher": "token:{plugin}:{webhook}:{revision}:lock",  # string: the process that is fetching the next
    "secret_names": "secret:{plugin}",  # set: the names of a plugin's secrets
    "secret": "secret:{plugin}:{secret}",  # string: a secret's value and its recent ones, sealed
    "secret_settings": "secret:{plugin}:{secret}:set",  # zset "id who" -> ms: when it was set, the last hundred times
    "secret_users": "secret:{plugin}:{secret}:users",  # set of webhook ids: those whose current revision refers to it
    "running": "p:{plugin}:running:{webhook}",  # zset referenceId -> leaseEnd ms: permits taken
    "open": "p:{plugin}:open:{webhook}",  # zset referenceId -> ms: calls that are not final, and when each has to end
    "parked": "p:{plugin}:parked:{webhook}",  # zset referenceId -> createdAt ms: calls that may not be sent now
    "policy": "p:{plugin}:policy:{webhook}",  # hash: limits, pause, rate and breaker (lua/lib/policy.lua)
    "idempotency": "p:{plugin}:idem:{webhook}:{mac}",  # hash: ref, fingerprint
    # replays
    "replays": "p:{plugin}:replays",  # zset replay id -> createdAt ms
    "replay_plan": "p:{plugin}:plan:{plan}",  # string: the plan (JSON), for a day
    "replay": "replay:{replay}",  # hash: a job (field names in lua/replays/replay_make.lua)
    "replay_ids": "replay:{replay}:ids",  # list: its originals; the one to be sent first is last
    "replay_seen": "replay:{replay}:seen",  # set: the ids given by hand so far, while they are being added
    "replay_decided": "replay:{replay}:decided",  # list: for each original, in order, the id made from it, or why not
    "replay_open": "replay:{replay}:open",  # set: ids that it made and that are not final
    "replay_parked": "replay:{replay}:parked",  # zset referenceId -> createdAt ms: those of them that wait for `resume`
    # sweeps
    "backlog": "due:backlog:{minute}",  # hash lane -> the most calls that waited in it at once in this minute
    "sweeps": "sweeps",  # hash: how many sweeps there were, and ids they published; times (lua/lib/jumps.lua)
    "confirmed": CONFIRMED,
    "partitions_copy": "partitions",  # int: how many partitions there are, as `partitions` below
    "format_copy": "format",  # int: the format of what the store holds, as `format` below
    "counting_lock": "counting",  # string: a worker is counting notes
}

#: The keys that belong to no partition.
SHARED: Final = {
    "partitions": "partitions",  # int: how many partitions there are; never changes
    "format": "format",  # int: the format of what the store holds (relay/store/partitions/format.py)
    "epoch": "epoch",  # hash: which backup the store was restored from, and how far (relay/store/backups/epoch.py)
    "api_keys": "keys",  # set of API key ids
    "api_key": "key:{key}",  # hash: one API key
    "api_key_uses": "keys:used",  # hash key id -> ms: when each was last used
    "promotions": "vault:promoted",  # hash ring:retired:key -> ms: when a key of a ring was retired
    "key_decisions": DECISIONS,
    "named_webhooks": "metrics:webhooks",  # hash plugin/webhook -> number: those that metrics name individually
    "workers": "workers",  # zset process -> ms of its last heartbeat
    "clock_jump": "clock:jump",  # string: when the server's clock last jumped and by how much, for an hour
    "worker_lanes": "workers:lanes",  # hash process -> the lanes that it serves, separated by commas
    "shared_confirmed": CONFIRMED,
}

#: The audit trail of each root. The API's server user may append entries to it, and do nothing else.
TRAIL: Final = {
    "audit_entries": "audit:entries",  # list: entries that are in no segment yet (relay/audit/entry.py)
    "audit_head": "audit:head",  # string: the signed checkpoint over the first of these entries
    "audit_segments": "audit:segments",  # list: older entries, compressed, each segment with its signed checkpoint
    "audit_beginning": "audit:beginning",  # string: where the trail begins once old segments are deleted, signed
    "audit_lock": "audit:lock",  # string: a worker is signing
}

#: The pub/sub channels, which belong to no partition.
CHANNELS: Final = {
    "heads": "heads",  # the newest heads of chains that each process has read
    "notice": "notice:{process}",  # one per API process
}


def partition_root(number: int | Literal["*"]) -> str:
    """Return the root of a partition's keys; with ``*`` a pattern that matches every such root."""
    return f"{PREFIX}{{{number}}}:"


def root_name(root: str) -> str:
    """Return the number of the partition that has this root, as text; ``shared`` for the shared keys."""
    return root.removeprefix(PREFIX).strip("{}:")


#: The root of the first partition's keys, and of all keys if there is only one partition.
ROOT: Final = partition_root(0)


def key_in(root: str, kind: str, **parts: object) -> str:
    """Return a key of the partition that has this root; ``parts`` fill in its template."""
    return root + PARTITIONED[kind].format(**parts)


def root_of_key(key: str) -> str:
    """Return the root that a key begins with."""
    return key[: key.index("}") + 2]
