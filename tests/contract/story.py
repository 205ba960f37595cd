"""Runs every script at least once, through the store's own methods, and keeps what each run found and was given."""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from relay.accept.intake import TriggerRequest
from relay.audit.checkpoint import NOTHING, Signed, beginning_members
from relay.audit.signing_keys import AuditSigner, new_private_text
from relay.backup.unfinished import Unfinished
from relay.cli.secrets import look_up_in
from relay.domain.reference_id import new_reference_id
from relay.errors import Conflict, NotFound
from relay.registration.document import read_registrations
from relay.settings import Settings
from relay.store.backups.epoch import Epoch, Phase
from relay.store.health.alerts import Alerts, Condition
from relay.store.ledger.callbacks import Callbacks
from relay.store.ledger.listing import Filter
from relay.store.ledger.notices import Subscription
from relay.store.ledger.rates import PluginRates
from relay.store.registry.access_tokens import AccessTokenStore, RevisionId
from relay.store.replays.runs import Request
from relay.store.rings.sealed_values import SealedValues
from relay.store.scripting.scripts import Scripts
from relay.store.trail.trail import Trail
from relay.upkeep.callbacks import CallbackSender
from relay.upkeep.checkpointing import Checkpointing
from relay.vault import Vault
from relay.wiring.runtime import cli_runtime
from tests.contract.ledger import Ledger
from tests.contract.replay_harness import ReplayHarness
from tests.contract.snapshots import keep
from tests.contract.test_chain_groups import new_step
from tests.store_keys import KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

PLUGIN = "acme"
HOOKS = [
    {"id": "told", "url": "https://hook.example.com/told", "method": "POST", "hidden": True},
    {"id": "hook", "url": "https://hook.example.com/hook", "method": "POST", "callback": "told", "concurrency": 2},
    {"id": "slow", "url": "https://hook.example.com/slow", "method": "POST", "rate": "1/m"},
    {"id": "chain", "steps": [{"webhook": "hook"}]},
]


class Run(NamedTuple):
    """A run of a script: what it was given, and the whole store before."""

    script: str
    args: tuple[Any, ...]
    root: str | None
    before: bytes


class Story:
    """A relay on a real server, without workers, on which everything happens once."""

    def __init__(self, url: str) -> None:
        self.environ = {
            "RELAY_REDIS_URL": url,
            "RELAY_TARGET_KEYS": Vault.new_key_text(),
            "RELAY_DATA_KEYS": Vault.new_key_text(),
        }
        self.runtime = cli_runtime(Settings.from_environ(self.environ))
        self.client: redis.Redis = self.runtime.client
        self.store = self.runtime.store
        self.ledger = Ledger(self.client)
        self.replaying = ReplayHarness(self.ledger)
        self.runs: list[Run] = []

    def close(self) -> None:
        self.runtime.close()

    @contextmanager
    def _recording(self) -> Iterator[None]:
        run = Scripts.run

        def recording(scripts: Scripts, name: str, args: Any = (), root: str | None = None) -> Any:
            self.runs.append(Run(name, tuple(args), root, keep(self.client)))
            return run(scripts, name, args, root)

        Scripts.run = recording  # type: ignore[method-assign]
        try:
            yield
        finally:
            Scripts.run = run  # type: ignore[method-assign]

    def tell(self) -> list[Run]:
        """Let everything happen; return every run of a script, in order."""
        with self._recording():
            self.fill()
            self._ends()
            self._restored()
        return self.runs

    def fill(self) -> None:
        """Let everything happen but the end: the store then has a key of nearly every kind."""
        for chapter in (
            self._registrations,
            self._calls,
            self._parked,
            self._chains,
            self._replays,
            self._subjects,
            self._keys,
            self._reading,
            self._upkeep,
            self._trail,
        ):
            chapter()

    def _apply(self, *hooks: dict[str, Any]) -> None:
        _, registrations = read_registrations(
            json.dumps(list(hooks)), self.runtime.rules, plugin=PLUGIN, look_up=look_up_in(self.runtime.registry)
        )
        self.runtime.registry.apply(PLUGIN, registrations)

    def _trigger(self, *webhooks: str, **more: Any) -> list[str]:
        calls = [
            TriggerRequest(PLUGIN, webhook, {"data": {"n": 1}}, new_reference_id(PLUGIN), "k1", **more)
            for webhook in webhooks
        ]
        return [each.reference_id for each in self.runtime.dispatcher.trigger_many(calls)]

    def _registrations(self) -> None:
        self._apply(*HOOKS)
        self._apply(HOOKS[0] | {"description": "second"})
        secrets = self.runtime.registry.secrets
        secrets.set(PLUGIN, "TOKEN", "first-value")
        secrets.set(PLUGIN, "TOKEN", "other-value")
        referring = {"id": "referring", "url": "https://a.example.com/", "method": "POST"}
        self._apply(referring | {"headers": {"X-Key": "${secret:TOKEN}"}})
        with suppress(Conflict):
            secrets.remove(PLUGIN, "TOKEN")
        self.runtime.registry.remove(PLUGIN, "referring")
        secrets.remove(PLUGIN, "TOKEN")

    def _calls(self) -> None:
        refs = self._trigger("hook", "hook", "slow", "unknown")
        refs += [
            each.reference_id
            for each in self.ledger.accept(
                [self.ledger.new(delay_ms=60_000), self.ledger.new(waiter="api1", callback="told"), self.ledger.new()]
            )
        ]
        self.store.read(refs)
        token = self.ledger.token()
        granted = sorted(self.store.claim(refs, token).granted)
        self.store.settle(
            [self.ledger.settlement(granted[0], token), *(self.ledger.failure(ref, token) for ref in granted[1:])]
        )
        for _ in range(20):  # the breaker opens
            ref, token = self.ledger.claimed(webhook_id="told", revision=2)
            self.store.settle([self.ledger.failure(ref, token)])
        ref, token = self.ledger.claimed()
        self.store.release([ref], token)
        ref, token = self.ledger.claimed(repeatable=True)
        self.ledger.lose_lease(ref)
        self.store.claim([ref], self.ledger.token())
        self.store.join(PLUGIN, self.ledger.accepted(), "api2")
        self.store.cancel(self.ledger.accepted(callback="told", waiter="api1"))

    def _parked(self) -> None:
        self.runtime.policies.pause(PLUGIN, "hook")
        refs = self.ledger.accepted_many(4)
        self.store.claim(refs[:2], self.ledger.token(), park=refs[2:])
        list(self.runtime.policies.resume(PLUGIN, "hook"))
        self.client.hset(KEYS.policy(PLUGIN, "hook"), "concurrency", 7)
        self.runtime.policies.enforce(PLUGIN, "hook")
        self.store.parked_calls.wake(PLUGIN, "hook", 2, ["bulk"])
        list(self.runtime.policies.close_breaker(PLUGIN, "told") or ())
        list(self.store.revisit(PLUGIN, "told"))
        for ref in refs:
            self.ledger.ring(ref)
        ready = self.store.sweep(limit=100)
        self.store.waiting.queue(ready, lambda lanes, _: [(lane, b"") for lane in lanes])
        self.store.waiting.take(0, ["bulk"], most=10)
        self.ledger.grow_old(refs[0])

    def _chains(self) -> None:
        for verdict in ("delivered", "cancelled"):
            ref = self.ledger.accepted(pins='{"hook":1}', repeatable=True, timeout_ms=120_000, webhook_id="chain")
            steps = [new_step() for _ in range(3)]
            self.ledger.advance(ref, *steps, secrets=b"hidden")
            if verdict == "cancelled":
                self.store.cancel(ref)
                continue
            for step in steps:
                token = self.ledger.token()
                self.store.claim([step.reference_id], token)
                self.store.settle([self.ledger.settlement(step.reference_id, token, raw=b"raw")])
            self.ledger.end_chain(ref)

    def _replays(self) -> None:
        replaying = self.replaying
        originals = replaying.failed(3)
        wanted = Request(filter=Filter())
        self.runtime.replays.plan(PLUGIN, wanted)
        job = replaying.start(max=4)
        token = replaying.take(job)
        assert token is not None
        replaying.step(job, token, limit=2)
        self.runtime.replay_runs.leave(job.replay_id, token, after_ms=0)
        self.runtime.replay_store.steer(PLUGIN, job.replay_id, "pause")
        self.store.claim(replaying.made(job), self.ledger.token())
        self.runtime.replay_store.steer(PLUGIN, job.replay_id, "resume")
        replaying.create_all(job)
        replaying.send(replaying.made(job))
        by_hand = replaying.start(reference_ids=originals)
        self.runtime.replay_store.steer(PLUGIN, by_hand.replay_id, "cancel")
        self.runtime.listing.page(PLUGIN, Filter(replay=job.replay_id))

    def _subjects(self) -> None:
        subject = self.runtime.subject_hashes.of(PLUGIN, "patient 4711")
        ended, unfinished = self.replaying.ended(subject=subject), self.ledger.accepted(subject=subject)
        self.runtime.forgetting.begin(PLUGIN, subject)
        self.runtime.forgetting.begin(PLUGIN, subject)
        assert self.runtime.forgetting.go_on(PLUGIN, subject, 1).looked == 1
        self.ledger.accepted(subject=subject)
        assert self.runtime.forgetting.go_on(PLUGIN, subject).unfinished == 2
        self.store.cancel(unfinished)
        self.client.zadd(f"relay:{{0}}:p:{PLUGIN}:forgetting:{subject}:open", {unfinished: 1})
        assert self.runtime.forgetting.go_on(PLUGIN, subject).forgotten == 2
        assert self.store.payload_of(ended) is None

    def _keys(self) -> None:
        keys = self.runtime.api_keys
        _, key = keys.create(PLUGIN, ["trigger"])
        _, new, _ = keys.rotate(key.id, 60)
        keys.revoke(new.id)
        keys.revoke(key.id)
        for chain in self.runtime.decisions:
            chain.reseal()
        values = SealedValues(self.client)
        value = next(each for each in values.every() if each is not None)
        values.replace(value, value.sealed + b"anew")
        tokens = AccessTokenStore(self.client)
        revision = RevisionId(PLUGIN, "hook", 1, "s")
        tokens.write(revision, b"sealed", 60)
        tokens.drop(revision, b"sealed")

    def _reading(self) -> None:
        PluginRates(self.client, "10/s").take(PLUGIN)
        self.runtime.listing.page(PLUGIN, Filter())
        self.runtime.listing.groups(PLUGIN, Filter())
        ref = self.ledger.accepted()
        self.store.look_up(ref)
        with suppress(NotFound):
            self.store.cancel(new_reference_id(PLUGIN))

    def _upkeep(self) -> None:
        self.runtime.workers.beat("worker", ["bulk"])
        self.runtime.measures.count(PLUGIN)
        self.runtime.measures.add(PLUGIN, "worker", "batch", {"hook:call_ms:5": 3})
        self.runtime.measures.name_webhooks([f"{PLUGIN}/hook"], at_most=5)
        alerts = Alerts(self.client, PLUGIN)
        alerts.evaluate([Condition("backlog", True, {"lane": "bulk"}), Condition("workers", True, {}, 60_000)])
        alerts.evaluate([])
        callbacks = Callbacks(self.client)
        assert callbacks.take(0, 100)
        ended = self.replaying.ended()
        assert Subscription(self.client, "api1")._scripts.run("ended", [ended]) == [1]

    def _trail(self) -> None:
        self.runtime.audit_writer.write("doctor")
        trail = Trail(self.client)
        signer = AuditSigner(new_private_text())
        signing = Checkpointing(trail, self.runtime.epochs, signer, "worker", retention_ms=0)
        signing.iterate()
        end = trail.end()
        trail.trim(end.entries[0], 1)
        begins = Signed.by(signer, beginning_members(trail.name, 1, NOTHING, end.now_ms, signer.key_id))
        trail.prune(end.beginning, begins, 0)

    def _ends(self) -> None:
        ref = self.replaying.ended(status=200)
        self.store.forget(PLUGIN, ref)
        with suppress(Conflict):
            self.store.forget(PLUGIN, self.ledger.accepted())
        with suppress(Conflict):
            self.runtime.registry.remove(PLUGIN, "hook")
        self.runtime.registry.remove(PLUGIN, "chain")
        for key in self.client.keys("relay:{0}:p:*:bytes"):
            self.client.hset(key, "kept", 1 << 40)
        self.store.drop_contents(limit=100)
        expiry = "relay:{0}:expiry"
        self.client.zadd(expiry, dict.fromkeys(self.client.zrange(expiry, 0, -1), 1))
        self.store.prune(limit=10_000)

    def _restored(self) -> None:
        """End a restore, with calls of every kind that were not final at the backup."""
        self._apply(*HOOKS)
        self._trigger("slow", "chain")
        self.ledger.accepted(repeatable=True)
        ended = self.ledger.accepted(callback="told")
        self.store.cancel(ended)
        chain = self.ledger.accepted(pins='{"hook":1}', repeatable=True, timeout_ms=120_000, webhook_id="chain")
        self.ledger.advance(chain, *(new_step() for _ in range(2)), secrets=b"hidden")
        originals = self.replaying.failed(3)
        for state in ("planning", "paused"):
            job = self.replaying.start(reference_ids=originals) if state == "paused" else self.replaying.start(max=4)
            if state == "paused":
                held = self.replaying.take(job)
                self.replaying.step(job, held, limit=1)
                self.runtime.replay_store.steer(PLUGIN, job.replay_id, "pause")
        runtime = self.runtime
        runtime.epochs.write(Epoch(1, Phase.FENCED))
        runtime.epochs.fence(1)
        unfinished = Unfinished(runtime.client, runtime.keyspace, runtime.registry, runtime.limits, runtime.epochs)
        unfinished.end([ended])
        callbacks = Callbacks(runtime.client, ends_restore=True)
        sender = CallbackSender(runtime.partitions, callbacks, runtime.dispatcher, runtime.registry)
        assert unfinished.decide(sender).ended
