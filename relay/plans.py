"""What a worker needs of a webhook's revision, made once and kept: its shape, its template and its mask."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from relay.masking import Mask
from relay.rendering import Template

if TYPE_CHECKING:
    from relay.outbound.guard import AddressPolicy
    from relay.registration import Shape
    from relay.store.registry import Registry

#: Revisions never change, so a plan is good for ever; this bounds memory.
MAX_PLANS: Final = 2_048


@dataclass(frozen=True, slots=True)
class Plan:
    """One revision of a webhook, ready to be called."""

    shape: Shape
    template: Template
    mask: Mask
    sendable: bool  # plain http goes only where an exception still stands (security.md, Egress guard)


class Plans:
    """Plans by plugin, webhook and revision."""

    def __init__(self, registry: Registry, policy: AddressPolicy) -> None:
        self._registry = registry
        self._policy = policy
        self._cached = lru_cache(MAX_PLANS)(self._make)

    def of(self, plugin: str, webhook_id: str, revision: int) -> Plan:
        """The plan of a revision.

        Raises:
            NotFound: there is no such revision.
            VaultError: its target does not open with the keys at hand.
        """
        return self._cached(plugin, webhook_id, revision)

    def _make(self, plugin: str, webhook_id: str, revision: int) -> Plan:
        shape = self._registry.revision(plugin, webhook_id, revision).shape
        target = self._registry.open_target(plugin, webhook_id, revision)
        endpoint = target.endpoint
        sendable = endpoint.scheme == "https" or self._policy.exempts(endpoint.host, endpoint.port)
        return Plan(shape, Template.of(shape, target), Mask.of(shape, target), sendable)
