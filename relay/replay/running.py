"""Use case: run replay jobs, in workers. What is decided is decided by the script that makes the invocations."""

from __future__ import annotations

import logging
from threading import Event
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from relay.chains import pins_of
from relay.errors import NotFound, Unavailable, VaultError
from relay.invocation import Purpose
from relay.reference_id import REPLAY_PREFIX, new_reference_id, replay_named_by
from relay.store.replay_runs import NewReplay, ReplayVerdict
from relay.store.replays import ReplayState
from relay.telemetry import log
from relay.text.documents import dump_json
from relay.vault import payload_owner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay.store.registry import Registry
    from relay.store.replay_runs import Created, Original, ReplayRuns, Taken
    from relay.store.replays import ReplayStore
    from relay.store.transitions import Ready
    from relay.vault import Vault

#: Originals that one script decides.
PIECE: Final = 50
#: Under a rate, so long is waited until more than one may go again: every step has a price of its own, but whoever
#: waits for another call may have to wait for a step, so that none is large either (ADR 0017).
STEP_S: Final = 0.02
#: A holder that has to wait for longer lets go of its job, and is woken.
LONG_WAIT_S: Final = 2.0
#: After something has changed under it.
SOON_S: Final = 0.05


class Replaying:
    """Runs the jobs that one worker process is given. ``vault`` has the data keys."""

    def __init__(
        self,
        runs: ReplayRuns,
        store: ReplayStore,
        webhooks: Registry,
        vault: Vault,
        publish: Callable[[Ready], object],
    ) -> None:
        self._runs = runs
        self._store = store
        self._webhooks = webhooks
        self._vault = vault
        self._publish = publish
        self._in_progress: set[str] = set()
        self._stopping = Event()

    def stop(self) -> None:
        """Let go of every job soon."""
        self._stopping.set()

    @property
    def busy(self) -> bool:
        """Whether this process still runs a replay job."""
        return bool(self._in_progress)

    @staticmethod
    def named_by(names: Sequence[object]) -> list[str]:
        """Return the jobs among what a message names."""
        prefixed = [name for name in names if isinstance(name, str) and name.startswith(REPLAY_PREFIX)]
        return [replay_id for replay_id in map(replay_named_by, prefixed) if replay_id is not None]

    def run(self, replay_id: str) -> None:
        """Plan and run a job, as far as it goes now; returns at once if somebody does. Never raises."""
        if replay_id in self._in_progress or self._stopping.is_set():
            return
        self._in_progress.add(replay_id)
        try:
            claim_token = uuid4().hex
            taken = self._runs.claim(replay_id, claim_token)
            if taken is not None:
                self._go(replay_id, claim_token, taken)
        except Unavailable:  # the lease ends by itself
            log.event(log.Event.STORE_AWAY, level=logging.WARNING, doing="replay", replay=replay_id)
        except Exception as error:  # noqa: BLE001 - nobody waits for this greenlet: say what happened
            log.fault(error, "replay")
        finally:
            self._in_progress.discard(replay_id)

    def _go(self, replay_id: str, claim_token: str, taken: Taken) -> None:
        state: str = taken.state
        while state == ReplayState.PLANNING and not self._stopping.is_set():
            if taken.by_hand:  # whoever brought the ids is gone, and nobody was told of this job
                self._publish(self._store.cancel(taken.plugin, replay_id)[1])
                return
            state, _ = self._runs.plan(replay_id, claim_token)
        after_s = 0.0
        while state == ReplayState.RUNNING and not self._stopping.is_set():
            created = self._step(replay_id, claim_token, taken)
            self._publish(created.ready)
            if created.verdict in {ReplayVerdict.LATE, ReplayVerdict.FULL, ReplayVerdict.DECIDED}:
                return
            after_s = _wait_s(created)
            if after_s > LONG_WAIT_S:
                break
            self._stopping.wait(after_s)  # gevent's, in a worker
        self._publish(self._runs.leave(replay_id, claim_token, after_ms=int(after_s * 1000)))

    def _step(self, replay_id: str, claim_token: str, taken: Taken) -> Created:
        rate = taken.rate_per_second
        piece = PIECE if rate is None else min(PIECE, 2 + int(rate * STEP_S))
        place, originals = self._runs.read(replay_id, piece)
        known: dict[str, NewReplay] = {}
        news = [self._new(taken.plugin, original, known) for original in originals]
        created = self._runs.create(replay_id, claim_token, place, news)
        if created.verdict is ReplayVerdict.STALE:
            for webhook_id in known:
                self._registered(taken.plugin, webhook_id, refresh=True)
        return created

    def _new(self, plugin: str, original: Original, known: dict[str, NewReplay]) -> NewReplay:
        """Make the replay of an original by today's registration; whoever sends it checks whether it still fits."""
        if original.skip is not None:
            return NewReplay()
        webhook_id = original.purpose.webhook_id
        if webhook_id not in known:
            known[webhook_id] = self._registered(plugin, webhook_id)
        today = known[webhook_id]
        reference_id = new_reference_id(plugin)
        return NewReplay(
            reference_id,
            today.revision,
            today.timeout_ms,
            today.repeatable,
            self._resealed(plugin, original, reference_id, today),
            today.pins,
            today.max_age_ms,
            today.callback,
        )

    def _registered(self, plugin: str, webhook_id: str, *, refresh: bool = False) -> NewReplay:
        try:
            found = self._webhooks.current(plugin, webhook_id, refresh=refresh)
        except NotFound:
            found = None
        if found is None:
            return NewReplay()
        revision, shape = found
        pins = dump_json(pins_of(plugin, shape, self._webhooks.current)).decode() if shape.chain else None
        about = (shape.max_age_ms, shape.callback or "")
        return NewReplay("", revision, shape.timeout_ms, shape.repeatable, b"", pins, *about)

    def _resealed(self, plugin: str, original: Original, reference_id: str, today: NewReplay) -> bytes:
        """Seal the payload for its new owner; empty where the old one does not open."""
        old = original.purpose
        try:
            opened = self._vault.open(original.payload, payload_owner(plugin, original.reference_id, old))
        except VaultError:
            return b""
        purpose = Purpose(old.webhook_id, today.revision or 0, today.pins)
        return self._vault.seal(opened, payload_owner(plugin, reference_id, purpose))


def _wait_s(created: Created) -> float:
    if created.verdict is ReplayVerdict.PACED:
        return max(created.wait_ms / 1000, STEP_S)
    return SOON_S if created.verdict in {ReplayVerdict.STALE, ReplayVerdict.AGAIN} else 0.0
