"""Builds and caches what a worker needs to call a revision of a webhook: its shape, its template and its mask."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from relay.answer.masking import Mask
from relay.chains import ChainPlan
from relay.errors import DocumentError, NotFound
from relay.registration import ChainTarget
from relay.registration.credentials import OAuth2Client
from relay.registration.stored_secrets import filled
from relay.request.rendering import Template

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.egress import AddressPolicy
    from relay.registration import Shape, Target
    from relay.store.registry.revisions import StoredRevision
    from relay.store.registry.secrets import SecretValue
    from relay.store.registry.webhooks import Registry

#: How many plans are kept. No plan goes stale, since revisions never change and a plan that uses secrets is kept
#: together with their values; the bound is for memory.
MAX_PLANS: Final = 2_048
MAX_CHAIN_MASKS: Final = 256


@dataclass(frozen=True, slots=True)
class CallPlan:
    """One revision of a webhook, ready to be called."""

    shape: Shape
    stamp: str  # of the revision
    template: Template
    mask: Mask
    sendable: bool  # false for plain http that no exception allows (security.md, "Egress guard")
    oauth: OAuth2Client | None = None  # set if every call needs an access token


class CallPlans:
    """Makes the plans of revisions, and keeps the most recently used ones."""

    def __init__(self, registry: Registry, policy: AddressPolicy) -> None:
        self._registry = registry
        self._policy = policy
        self._cached = lru_cache(MAX_PLANS)(self._make)
        self._filled = lru_cache(MAX_PLANS)(self._make_filled)
        self._chain_masks = lru_cache(MAX_CHAIN_MASKS)(Mask.of_all)

    def of(self, plugin: str, webhook_id: str, revision: int) -> CallPlan:
        """Return the plan of a revision of a webhook that is not a chain, with the present values of its secrets.

        Raises:
            NotFound: there is no such revision, or it is a chain's, or a secret that it refers to is not set.
            VaultError: its target or a secret does not open with this process's keys.
            DocumentError: a secret's value is not allowed where the target uses it.
        """
        plan = self._cached(plugin, webhook_id, revision)
        if isinstance(plan, CallPlan):
            return plan
        return self._filled(plugin, webhook_id, revision, plan, self._registry.secrets.values(plugin, plan))

    def stamp(self, plugin: str, webhook_id: str, revision: int) -> str:
        """Return what tells a revision from any other that ever had its number; raise NotFound if there is none."""
        return self._registry.revision(plugin, webhook_id, revision).stamp

    def is_changed(self, plugin: str, webhook_id: str, revision: int) -> bool:
        """Return whether the store now has a different revision under this number; if it has, forget all plans.

        A plan is used only for calls that were accepted for its stamp, so this is checked when a call does not open.
        """
        is_changed = self._registry.is_changed(plugin, webhook_id, revision)
        if is_changed:
            self._cached.cache_clear()
            self._filled.cache_clear()
        return is_changed

    def chain(self, plugin: str, webhook_id: str, revision: int, pins: Mapping[str, int]) -> ChainPlan:
        """Return the plan of a revision of a chain; ``pins`` has the revision of each webhook that its steps call.

        Raises:
            NotFound: there is no such revision, or it is not a chain's.
            VaultError: its target does not open with this process's keys.
        """
        target = self._registry.open_target(plugin, webhook_id, revision)
        if not isinstance(target, ChainTarget):
            raise NotFound("This revision is not a chain.")
        shapes: dict[str, Shape] = {}
        for step in target.steps:
            with suppress(KeyError, NotFound):
                shapes[step.webhook] = self._registry.revision(plugin, step.webhook, pins[step.webhook]).shape
        return ChainPlan.of(target, shapes)

    def shape(self, plugin: str, webhook_id: str, revision: int) -> Shape:
        """Return the shape of any revision; raise NotFound if there is no such revision."""
        return self._registry.revision(plugin, webhook_id, revision).shape

    def chain_mask(self, plugin: str, pins: Mapping[str, int]) -> Mask:
        """Make the mask for the secrets and addresses of every webhook that a chain calls, even through other chains.

        Raises what ``of`` raises.
        """
        shapes = {pin: self._registry.revision(plugin, *pin).shape for pin in sorted(pins.items())}
        names = sorted({name for shape in shapes.values() for name in shape.secrets})
        if names:  # another process may have just sent newer values than this one remembers
            self._registry.secrets.values(plugin, names, fresh=True)
        return self._chain_masks(tuple(self.of(plugin, *pin).mask for pin, shape in shapes.items() if not shape.chain))

    def _make(self, plugin: str, webhook_id: str, revision: int) -> CallPlan | tuple[str, ...]:
        """Make a plan; if the webhook refers to secrets, return their names instead."""
        stored, target = self._read(plugin, webhook_id, revision)
        return stored.shape.secrets or self._plan(stored, target, Mask.of(stored.shape, target))

    def _make_filled(
        self, plugin: str, webhook_id: str, revision: int, names: tuple[str, ...], values: tuple[SecretValue, ...]
    ) -> CallPlan:
        """Make a plan with these values of the secrets. Its mask also hides what they were a short while ago."""
        stored, target = self._read(plugin, webhook_id, revision)
        now = {name: each.value for name, each in zip(names, values, strict=True)}
        former = [(name, old) for name, each in zip(names, values, strict=True) for old in each.former]
        full = filled(target, now)
        masks = [Mask.of(stored.shape, full)]
        for name, old in former:
            with suppress(DocumentError):  # it may never have been allowed here
                masks.append(Mask.of(stored.shape, filled(target, now | {name: old})))
        # Each on its own, too: it may be part of what is sent, or have been sent with others that have changed since.
        texts = [*now.values(), *(old for _, old in former)]
        return self._plan(stored, full, Mask.of_all(masks).with_texts(texts))

    def _read(self, plugin: str, webhook_id: str, revision: int) -> tuple[StoredRevision, Target]:
        stored = self._registry.revision(plugin, webhook_id, revision)
        target = self._registry.open_target(plugin, webhook_id, revision)
        if isinstance(target, ChainTarget):
            raise NotFound("A chain has no request of its own.")
        return stored, target

    def _plan(self, stored: StoredRevision, target: Target, mask: Mask) -> CallPlan:
        authorization = target.credentials.authorization
        oauth = authorization if isinstance(authorization, OAuth2Client) else None
        endpoints = [target.endpoint] if oauth is None else [target.endpoint, oauth.token_url]
        sendable = all(each.scheme == "https" or self._policy.exempts(each.host, each.port) for each in endpoints)
        shape = stored.shape
        return CallPlan(shape, stored.stamp, Template(shape, target), mask, sendable, oauth)
