"""Decides about everything that was not final at the backup, so that nothing unrepeatable is sent twice.

Since the backup, each such call may have been sent, each callback made and each replay made. What must not be
repeated ends as interrupted, with the outcome `restored`; the rest goes on.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from relay.domain.invocation import FINAL, State
from relay.domain.reference_id import REPLAY_PREFIX
from relay.errors import Conflict, NotFound, Unavailable
from relay.queue import LANES
from relay.store.backups.epoch import Phase
from relay.store.keys.names import key_in, partition_root
from relay.store.partitions.plugins import plugins_in
from relay.store.partitions.spreading import pieces
from relay.store.replays.jobs import ReplayState
from relay.store.scripting.scripts import Scripts
from relay.store.server.errors import store_errors
from relay.text.strict_json import read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import redis

    from relay.store.backups.epoch import Epochs
    from relay.store.keys.keyspace import Keyspace
    from relay.store.ledger.limits import Limits
    from relay.store.registry.webhooks import Registry
    from relay.upkeep.callbacks import CallbackSender

_PIECE: Final = 64  # calls of one script
_READ: Final = 1_000
#: Longer than a process that takes due callbacks keeps others from taking them.
_TELLING_S: Final = 60.0
_POLL_S: Final = 0.2
_FIELDS: Final = ("state", "plugin", "webhook", "repeatable", "chain", "pins", "root")
_UNFINISHED: Final = frozenset(State) - FINAL
_UNFINISHED_JOBS: Final = frozenset({ReplayState.PLANNING, ReplayState.RUNNING, ReplayState.PAUSED})


@dataclass(frozen=True, slots=True)
class Undecided:
    """A call that was not final at the backup; whether it has to end, since it or a step of it is not repeatable."""

    reference_id: str
    plugin: str
    webhook_id: str
    ends: bool


@dataclass(slots=True)
class Decided:
    """How many calls ended, how many go on, and how many replays make no more calls."""

    ended: int = 0
    goes_on: int = 0
    replays: int = 0


class Unfinished:
    """What was not final at the backup of a fenced store. Methods raise ``Unavailable`` while a server is away."""

    def __init__(self, client: redis.Redis, keys: Keyspace, registry: Registry, limits: Limits, epochs: Epochs) -> None:
        self._client: Any = client
        self._keys = keys
        self._registry = registry
        self._limits = limits
        self._epochs = epochs
        self._scripts = Scripts(client)

    def calls(self) -> Iterator[Undecided]:
        """Yield the calls that are not final, of all fenced partitions."""
        for number in self._epochs.fenced_partitions():
            yield from self._calls_of(number)

    def replays(self) -> list[str]:
        """Return the ids of the replay jobs that are not over, of all fenced partitions."""
        return [job for number in self._epochs.fenced_partitions() for job in self._jobs_of(number)]

    def untold(self) -> int:
        """Return how many calls have ended whose callbacks are still due."""
        with store_errors():
            keys = [key_in(partition_root(n), "callbacks") for n in self._epochs.fenced_partitions()]
            return sum(self._client.zcard(key) for key in keys)

    def decide(self, sender: CallbackSender) -> Decided:
        """Decide about everything, and take the fence away. May be stopped, and repeated.

        ``sender`` accepts the callbacks that were due at the backup. They may have been made since, so they are decided
        about like any call.

        Raises ``Conflict``: the store is not fenced, or not all of the backup is there.
        """
        epoch = self._epochs.read()
        if epoch.phase is Phase.COPYING:
            raise Conflict("The backup is not restored completely: run `relay restore` with its directory again.")
        if not epoch.is_fenced:
            raise Conflict("The store is not being restored: there is nothing to finish.")
        if epoch.phase is Phase.FENCED:
            self._tell(sender)
            self._epochs.write(replace(epoch, phase=Phase.DECIDING))
        decided = Decided()
        for number in self._epochs.fenced_partitions():
            while self._decide(number, decided):
                pass
            self._epochs.open(number)
        self._epochs.write(replace(epoch, phase=Phase.FINISHED))
        return decided

    def end(self, reference_ids: Iterable[str]) -> None:
        """End these calls unless they are final, even if they are repeatable."""
        for group in self._keys.spread(list(reference_ids), self._keys.root_of_ref):
            for some in pieces(group.items, _PIECE):
                self._run(group.root, [part for ref in some for part in (ref, "1")], len(some))

    def _tell(self, sender: CallbackSender) -> None:
        until_s = time.monotonic() + _TELLING_S
        while self.untold():
            sender.send_due()
            if time.monotonic() > until_s:
                raise Unavailable("The callbacks of some ends cannot be recorded now: run the command again.")
            if self.untold():
                time.sleep(_POLL_S)

    def _decide(self, number: int, decided: Decided) -> int:
        """Decide about the calls and jobs of a partition; return how many were left to decide about."""
        items: list[tuple[str, str]] = [(each.reference_id, "1" * each.ends) for each in self._calls_of(number)]
        items += [(REPLAY_PREFIX + job, "") for job in self._jobs_of(number)]
        before = decided.ended + decided.goes_on + decided.replays
        for some in pieces(items, _PIECE):
            ended, goes_on, replays = self._run(
                partition_root(number), [part for item in some for part in item], len(some)
            )
            decided.ended += ended
            decided.goes_on += goes_on
            decided.replays += replays
        return decided.ended + decided.goes_on + decided.replays - before

    def _run(self, root: str, flat: Sequence[str], count: int) -> tuple[int, int, int]:
        ended, goes_on, replays = self._scripts.run("restore", [*self._limits.retention_args, count, *flat], root)
        return int(ended), int(goes_on), int(replays)

    def _calls_of(self, number: int) -> list[Undecided]:
        found = list(self._read_calls(number))
        ending = {each.reference_id for each, _ in found if each.ends}
        return [replace(each, ends=each.ends or root in ending) for each, root in found]

    def _read_calls(self, number: int) -> Iterator[tuple[Undecided, str]]:
        """Yield the calls of a partition, each with the id of its outermost chain, or ''."""
        prefix = partition_root(number)
        keys = [key_in(prefix, "due_running"), *(key_in(prefix, "due_queued", lane=lane) for lane in LANES)]
        with store_errors():
            refs = sorted({ref.decode() for key in keys for ref, _ in self._client.zscan_iter(key, count=_READ)})
        for some in pieces((ref for ref in refs if not ref.startswith(REPLAY_PREFIX)), _PIECE):
            with store_errors():
                pipeline = self._client.pipeline(transaction=False)
                for ref in some:
                    pipeline.hmget(key_in(prefix, "record", ref=ref), _FIELDS)
                rows = pipeline.execute()
            for ref, row in zip(some, rows, strict=True):
                state, plugin, webhook, repeatable, chain, pins, root = ((each or b"").decode() for each in row)
                if state in _UNFINISHED:
                    ends = self._pins_end(plugin, pins) if chain else repeatable != "1"
                    yield Undecided(ref, plugin, webhook, ends), root

    def _pins_end(self, plugin: str, pins: str) -> bool:
        """Return whether a chain calls a webhook that is not repeatable, directly or through a chain within it."""
        try:
            pinned = read_json(pins.encode() or b"{}")
            return not all(self._registry.revision(plugin, *pin).shape.repeatable for pin in pinned.items())
        except NotFound:
            return True

    def _jobs_of(self, number: int) -> list[str]:
        root = partition_root(number)
        with store_errors():
            jobs = [
                job.decode()
                for plugin in plugins_in(self._client, number)
                for job in self._client.zrange(key_in(root, "replays", plugin=plugin), 0, -1)
            ]
            pipeline = self._client.pipeline(transaction=False)
            for job in jobs:
                pipeline.hget(key_in(root, "replay", replay=job), "state")
            states = pipeline.execute() if jobs else []
        return [job for job, state in zip(jobs, states, strict=True) if (state or b"").decode() in _UNFINISHED_JOBS]


def by_webhook(calls: Iterable[Undecided]) -> list[dict[str, Any]]:
    """Count calls by webhook: how many end, and how many go on."""
    counts = Counter((each.plugin, each.webhook_id, each.ends) for each in calls)
    names = sorted({(plugin, webhook) for plugin, webhook, _ in counts})
    return [
        {
            "plugin": plugin,
            "webhook": webhook,
            "end": counts[plugin, webhook, True],
            "goOn": counts[plugin, webhook, False],
        }
        for plugin, webhook in names
    ]
