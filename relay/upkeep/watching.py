"""Watches the chains, in every worker and API process: what was decided about keys and webhooks, and the audit trails.

Each process reads the end of each chain every second, tells the others how far it has read, and learns how far they
have. Workers also compare the policies of webhooks with what was decided.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from relay.errors import StoreFault
from relay.store.decisions.heads import ChainHead
from relay.store.server.availability import going_on_without
from relay.telemetry.log import Event, event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.audit.checkpoint import Signed
    from relay.store.decisions.decisions import Decisions
    from relay.store.decisions.every import EveryDecision
    from relay.store.decisions.heads import Heads
    from relay.store.ledger.policies import Policies
    from relay.upkeep.checkpointing import Checkpointing

#: Seconds between two looks at a chain.
PERIOD_S: Final = 1.0
#: How many webhooks' policies are compared in one look.
COMPARED: Final = 1_000


class Watching:
    """Watches the chain of decisions and the audit trail of one root, for one process; compares policies if it can."""

    def __init__(
        self,
        process: str,
        decisions: Decisions,
        heads: Heads,
        policies: Policies | None = None,
        checkpointing: Checkpointing | None = None,
    ) -> None:
        self._process = process
        self._decisions = decisions
        self._heads = heads
        self._policies = policies
        self._checkpointing = checkpointing
        self._unlike: set[tuple[str, str]] = set()  # webhooks whose policy was not as decided in the last look
        self._reported: set[tuple[str, str]] = set()
        self._compared = 0  # how many have been compared in this round

    @property
    def root(self) -> str:
        """The root of the chains."""
        return self._decisions.root

    def look(self) -> None:
        """Read the decisions, repair what was set back, and tell the others how far this process has read."""
        with going_on_without():  # nobody should have to wait for what this process needs only later
            self._decisions.look()
        epoch = self._decisions.epoch
        if epoch is None:
            return  # a backup is being copied into the store
        self._decisions.repair()
        seq, server = self._decisions.head
        signed, signed_server = self._checkpoint(epoch) or (None, "")
        if epoch == self._decisions.epoch:
            self._heads.tell(ChainHead(self._process, self.root, epoch, seq, server, signed, signed_server))
        if self._policies is not None:
            self._compare(self._policies)

    def hear(self, head: ChainHead) -> None:
        """Compare with what another process has read."""
        if head.process == self._process or head.root != self.root:
            return
        if head.epoch == self._decisions.epoch:
            self._decisions.hear(head.seq, head.server)
        if self._checkpointing is not None and head.checkpoint is not None and head.epoch == self._checkpointing.epoch:
            self._checkpointing.hear(head.process, head.checkpoint, head.checkpoint_server)

    def _checkpoint(self, epoch: int) -> tuple[Signed, str] | None:
        """Return the newest checkpoint of the trail that this process knows, if it is of this epoch."""
        if self._checkpointing is None or self._checkpointing.epoch != epoch:
            return None
        return self._checkpointing.newest

    def _compare(self, policies: Policies) -> None:
        """Report, once, webhooks whose pause or limits are not as decided, and restore these.

        A difference counts only if it is found twice in a row, since decision and policy are read one after the other.
        """
        decided = self._decisions.policies
        some = list(decided)[self._compared : self._compared + COMPARED]
        self._compared = self._compared + COMPARED if len(some) == COMPARED else 0
        unlike = policies.differing({name: decided[name] for name in {*some, *self._unlike} & decided.keys()})
        for plugin, webhook_id in sorted(unlike & self._unlike):
            if (plugin, webhook_id) not in self._reported:
                event(Event.POLICY_UNVERIFIED, level=logging.ERROR, plugin=plugin, webhook=webhook_id)
            with suppress(StoreFault):  # it is damaged; workers know of the pause all the same
                policies.enforce(plugin, webhook_id)
        self._reported = unlike & self._unlike
        self._unlike = unlike


def watchings(
    process: str,
    decisions: EveryDecision,
    heads: Heads,
    policies: Policies | None = None,
    checkpointing: Sequence[Checkpointing] = (),
) -> list[Watching]:
    """Return what watches the chains of each root; only workers give ``policies`` and ``checkpointing``.

    ``checkpointing`` has one for each audit trail, in the order of the roots.
    """
    trails = [*checkpointing, *[None] * (len(decisions) - len(checkpointing))]
    return [Watching(process, chain, heads, policies, trail) for chain, trail in zip(decisions, trails, strict=True)]


def hear_all(heads: Heads, watching: Sequence[Watching]) -> None:
    """Compare what other processes have read with what this one reads; end if the server is silent."""
    for head in heads.listen():
        if head is not None:
            for each in watching:
                each.hear(head)
