"""Runs replay jobs inside workers. The script that creates the invocations makes every decision; this code paces it."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from relay.chains import pins_of
from relay.domain.invocation import Purpose
from relay.domain.reference_id import new_reference_id, replay_named_by
from relay.errors import NotFound, Unavailable, VaultError
from relay.store.replays.jobs import ReplayState
from relay.store.replays.runs import NewReplay, ReplayVerdict
from relay.telemetry import log
from relay.text.strict_json import dump_json
from relay.vault import payload_owner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay.store.ledger.transitions import Ready
    from relay.store.registry.webhooks import Registry
    from relay.store.replays.jobs import ReplayStore
    from relay.store.replays.runs import ClaimedJob, CreateReply, Original, ReplayRuns
    from relay.vault import Vault

#: How many originals one run of the script decides about.
PIECE: Final = 50
#: How long a job with a rate waits between steps, in seconds, so that more than one call may go in each: every step has
#: a fixed cost. But steps must not be large either, since other calls may have to wait for one (ADR 0017).
STEP_S: Final = 0.02
#: If a job has to wait for longer than this, in seconds, its holder gives it up, to be woken later.
LONG_WAIT_S: Final = 2.0
#: How long to wait before another try if a concurrent change made this one void, in seconds.
SOON_S: Final = 0.05


class Replaying:
    """Runs the replay jobs of one worker process. ``vault`` has the data keys."""

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
        """Make this process give up every job soon."""
        self._stopping.set()

    @property
    def busy(self) -> bool:
        """Whether this process is still running a replay job."""
        return bool(self._in_progress)

    @staticmethod
    def named_by(names: Sequence[object]) -> list[str]:
        """Return the ids of the replay jobs among these names of calls and jobs."""
        named = (replay_named_by(name) for name in names if isinstance(name, str))
        return [replay_id for replay_id in named if replay_id is not None]

    def run(self, replay_id: str) -> None:
        """Plan and run a job as far as it can go now; return at once if it has another holder. Never raises."""
        if replay_id in self._in_progress or self._stopping.is_set():
            return
        self._in_progress.add(replay_id)
        try:
            claim_token = uuid4().hex
            claimed = self._runs.claim(replay_id, claim_token)
            if claimed is not None:
                self._plan_and_run(replay_id, claim_token, claimed)
        except Unavailable:  # the lease ends by itself
            log.event(log.Event.STORE_AWAY, level=logging.WARNING, doing="replay", replay=replay_id)
        except Exception as error:  # noqa: BLE001 - nothing waits for this greenlet, so log the error here
            log.fault(error, "replay")
        finally:
            self._in_progress.discard(replay_id)

    def _plan_and_run(self, replay_id: str, claim_token: str, claimed: ClaimedJob) -> None:
        state: str = claimed.state
        while state == ReplayState.PLANNING and not self._stopping.is_set():
            if claimed.by_hand:  # the caller who gave the ids is gone, and never learned of this job
                self._publish(self._store.steer(claimed.plugin, replay_id, "cancel")[1])
                return
            state, _ = self._runs.plan(replay_id, claim_token)
        after_s = 0.0
        while state == ReplayState.RUNNING and not self._stopping.is_set():
            created = self._step(replay_id, claim_token, claimed)
            self._publish(created.ready)
            if created.verdict in {ReplayVerdict.LATE, ReplayVerdict.FULL, ReplayVerdict.DECIDED}:
                return
            after_s = _wait_s(created)
            if after_s > LONG_WAIT_S:
                break
            self._stopping.wait(after_s)  # gevent's, in a worker
        self._publish(self._runs.leave(replay_id, claim_token, after_ms=int(after_s * 1000)))

    def _step(self, replay_id: str, claim_token: str, claimed: ClaimedJob) -> CreateReply:
        rate = claimed.rate_per_second
        piece = PIECE if rate is None else min(PIECE, 2 + int(rate * STEP_S))
        cursor, originals = self._runs.read(replay_id, piece)
        known: dict[str, NewReplay] = {}
        news = [self._new(claimed.plugin, original, known) for original in originals]
        created = self._runs.create(replay_id, claim_token, cursor, news)
        if created.verdict is ReplayVerdict.STALE:
            for webhook_id in known:
                self._registered(claimed.plugin, webhook_id, refresh=True)
        return created

    def _new(self, plugin: str, original: Original, known: dict[str, NewReplay]) -> NewReplay:
        """Make an original's replay for the current registration; the worker that sends it checks that it fits."""
        if original.skip is not None:
            return NewReplay()
        webhook_id = original.purpose.webhook_id
        if webhook_id not in known:
            known[webhook_id] = self._registered(plugin, webhook_id)
        today = known[webhook_id]
        reference_id = new_reference_id(plugin)
        payload = self._resealed(plugin, original, reference_id, today)
        return replace(today, reference_id=reference_id, payload=payload)

    def _registered(self, plugin: str, webhook_id: str, *, refresh: bool = False) -> NewReplay:
        try:
            found = self._webhooks.current(plugin, webhook_id, refresh=refresh)
        except NotFound:
            found = None
        if found is None:
            return NewReplay()
        revision, shape = found
        pins = None
        if shape.chain:
            pins = dump_json(pins_of(plugin, shape, partial(self._webhooks.current, refresh=refresh))).decode()
        about = (shape.max_age_ms, shape.callback or "")
        return NewReplay("", revision, shape.timeout_ms, shape.repeatable, b"", pins, *about)

    def _resealed(self, plugin: str, original: Original, reference_id: str, today: NewReplay) -> bytes:
        """Seal an original's payload for the replay; return b"" if it does not open."""
        old = original.purpose
        try:
            stamp = self._webhooks.revision(plugin, old.webhook_id, old.revision).stamp
            opened = self._vault.open(original.payload, payload_owner(plugin, original.reference_id, old, stamp))
        except (NotFound, VaultError):
            return b""
        purpose = Purpose(old.webhook_id, today.revision or 0, today.pins)
        stamp = self._webhooks.revision(plugin, old.webhook_id, purpose.revision).stamp if today.revision else ""
        return self._vault.seal(opened, payload_owner(plugin, reference_id, purpose, stamp))


def _wait_s(created: CreateReply) -> float:
    if created.verdict is ReplayVerdict.PACED:
        return max(created.wait_ms / 1000, STEP_S)
    return SOON_S if created.verdict in {ReplayVerdict.STALE, ReplayVerdict.AGAIN} else 0.0
