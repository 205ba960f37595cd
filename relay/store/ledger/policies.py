"""Lets operators pause and resume a webhook, and read or close its circuit breaker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from relay.audit.actor import actor
from relay.store.decisions.chain import GONE, PAUSED, pause_subject
from relay.store.decisions.decisions import STALE
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.ledger.invocations import GRACE_MS
from relay.store.ledger.transitions import ready_from
from relay.store.scripting.scripts import Scripts
from relay.store.server.clock import time_ms_at, within_ms
from relay.store.server.fields import StoredFields
from relay.store.server.replies import replies_to

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import redis

    from relay.store.decisions.every import EveryDecision
    from relay.store.ledger.invocations import InvocationStore
    from relay.store.ledger.transitions import Ready

Breaker = Literal["closed", "open", "half-open"]
BREAKER_STATES: Final[tuple[Breaker, ...]] = get_args(Breaker)
#: The fields of a policy that are covered by decisions, in the order in which a decision has them.
_DECIDED: Final = (b"paused", b"concurrency", b"rateCount", b"ratePeriod", b"retry")
#: How many parked calls one run of a script makes ready.
_PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Traffic:
    """The state of a webhook's calls: whether it is paused, its breaker, and how many calls are parked and running."""

    paused: bool
    breaker: Breaker
    failures: int  # attempts in a row that could not contact the endpoint
    open_until_ms: int | None  # by the server's clock
    parked: int
    running: int


class Policies:
    """Pauses and breakers. Every method raises `Unavailable` while the server is away."""

    def __init__(
        self, client: redis.Redis, store: InvocationStore, decisions: EveryDecision, keys: Keyspace = SINGLE
    ) -> None:
        self._keys = keys
        self._decisions = decisions
        self._client: Any = client
        self._store = store
        self._scripts = Scripts(client)

    def pause(self, plugin: str, webhook_id: str) -> None:
        """Pause a webhook: its calls are accepted and parked, but not sent."""
        self._decide("pause", plugin, webhook_id, PAUSED, [actor()])

    def resume(self, plugin: str, webhook_id: str) -> Iterator[Ready]:
        """Resume a webhook; yield pages of parked calls that may be sent now, for the caller to publish."""
        offset = 0
        while True:
            args = [GRACE_MS, offset, _PAGE, actor()]
            if offset == 0:
                reply = self._decide("resume", plugin, webhook_id, GONE, args)
            else:
                reply = self._scripts.run("resume", [plugin, webhook_id, *args], self._keys.root(plugin))
            page = ready_from(reply)
            if page:
                yield page
            if len(page) < _PAGE:
                return
            offset += _PAGE

    def enforce(self, plugin: str, webhook_id: str) -> None:
        """Pause and limit a webhook as was decided, where its policy says otherwise. Never resumes a webhook."""
        decisions = self._decisions.of(plugin)
        for end in decisions.ends():
            decided = decisions.policies.get((plugin, webhook_id))
            args = [plugin, webhook_id, actor(), *(decided or ()), *end.adding({})]
            if decided is None or self._scripts.run("enforce", args, self._keys.root(plugin)) != STALE:
                return

    def differing(self, decided: Mapping[tuple[str, str], tuple[str, ...]]) -> set[tuple[str, str]]:
        """Return the webhooks whose policy, as scripts see it, is not what was decided."""
        keys = [self._keys.of_plugin("policy", plugin, webhook=webhook) for plugin, webhook in decided]
        replies = replies_to(self._client, [("HGETALL", key) for key in keys])
        return {
            webhook
            for (webhook, policy), found in zip(decided.items(), replies, strict=True)
            if isinstance(found, Exception)
            or [found.get(field, b"") for field in _DECIDED] != [each.encode() for each in policy]
        }

    def _decide(self, script: str, plugin: str, webhook_id: str, value: str, args: Sequence[Any]) -> Any:
        """Run a script that decides whether a webhook is paused; return its reply."""
        decisions, subject = self._decisions.of(plugin), pause_subject(plugin, webhook_id)
        for end in decisions.ends():
            changes = {} if (decisions.value(subject) or GONE) == value else {subject: value}
            all_args = [plugin, webhook_id, *args, *end.adding(changes)]
            reply = self._scripts.run(script, all_args, self._keys.root(plugin))
            if reply != STALE:
                break
        return reply

    def close_breaker(self, plugin: str, webhook_id: str) -> Iterator[Ready]:
        """Close a webhook's breaker; yield pages of the calls that it held back, for the caller to publish."""
        self._scripts.run("close_breaker", [plugin, webhook_id, actor()], self._keys.root(plugin))
        return self._store.revisit(plugin, webhook_id)

    def traffic(self, plugin: str, webhook_id: str) -> Traffic:
        """Read the state of a webhook's calls at this moment."""
        return self.traffics(plugin, [webhook_id])[0]

    def traffics(self, plugin: str, webhook_ids: Sequence[str]) -> list[Traffic]:
        """Read the state of several webhooks' calls, in the order of the ids."""
        now_ms = time_ms_at(self._client, self._keys.root(plugin))
        keys = self._keys
        commands: list[tuple[Any, ...]] = []
        for webhook_id in webhook_ids:  # a call whose lease has ended has no permit
            commands.append(("HGETALL", keys.of_plugin("policy", plugin, webhook=webhook_id)))
            commands.append(("ZCARD", keys.of_plugin("parked", plugin, webhook=webhook_id)))
            commands.append(("ZCOUNT", keys.of_plugin("running", plugin, webhook=webhook_id), f"({now_ms}", "+inf"))
        replies = replies_to(self._client, commands)
        rows = zip(commands[::3], replies[::3], replies[1::3], replies[2::3], strict=True)
        return [
            _traffic(StoredFields(key, policy), parked, running, now_ms) for (_, key), policy, parked, running in rows
        ]


def _traffic(policy: StoredFields, parked: int | Exception, running: int | Exception, now_ms: int) -> Traffic:
    until_ms = within_ms(policy.number("openUntil") or 0, now_ms, policy.number("openFor") or 0)
    state: Breaker = "closed"
    if until_ms:
        state = "open" if until_ms > now_ms else "half-open"
    counts = (0 if isinstance(count, Exception) else count for count in (parked, running))
    return Traffic(policy.text("paused") == "1", state, policy.number("failures") or 0, until_ms or None, *counts)
