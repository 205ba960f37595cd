"""Checks that registrations open and that their endpoints may be called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.doctor.finding import Finding, Level, judged, listed
from relay.errors import DocumentError, NotFound, RelayError, StoreFault, VaultError
from relay.registration.endpoint import parse_endpoint
from relay.registration.stored_secrets import spelled
from relay.registration.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from relay.registration.endpoint import Endpoint
    from relay.store.registry.revisions import Registered
    from relay.wiring.runtime import Runtime


def examine_registrations(runtime: Runtime, plugins: Sequence[str]) -> Iterator[Finding]:
    """Yield the findings on current registrations; name those that the target keys at hand do not open."""
    opened, closed, refused, forged, unfilled = 0, [], [], [], []
    try:
        for plugin in plugins:
            forged += [f"{plugin}/{webhook_id}" for webhook_id in runtime.registry.unverified(plugin)]
            for webhook in runtime.registry.shapes(plugin):
                name = f"{plugin}/{webhook.webhook_id}"
                endpoints = _endpoints(runtime, plugin, webhook)
                if endpoints is None:
                    closed.append(name)
                    continue
                opened += 1
                if webhook.shape.secrets and not _is_filled(runtime, plugin, webhook):
                    unfilled.append(name)
                if any(_is_refused(runtime, endpoint) for endpoint in endpoints):
                    refused.append(name)
    except RelayError as error:
        yield Finding("registrations", Level.PROBLEM, error.message, "See the findings above.")
        return
    if forged:
        advice = "Somebody other than the relay writes to the server: find out who, and register them again."
        yield Finding(
            "revisions", Level.PROBLEM, f"made current by something other than a relay: {listed(forged)}", advice
        )
    if unfilled:
        advice = "Their calls end with `prepare_failed`. Set the secrets again: relay secrets set NAME --plugin P."
        found = f"those of {listed(unfilled)} do not open, or do not fit where they stand"
        yield Finding("secrets", Level.PROBLEM, found, advice)
    altered = [chain.root for chain in runtime.decisions if not chain.is_intact] if plugins else []
    if altered:
        advice = "Somebody other than the relay writes to the server: find out who, and rotate the data keys."
        yield Finding("decisions", Level.PROBLEM, f"altered by something other than a relay: {listed(altered)}", advice)
    found = f"{opened} open" + (f", {len(closed)} do not: {listed(closed)}" if closed else "")
    advice = "Put the key that sealed them back into RELAY_TARGET_KEYS (from the back-up), or register them again."
    yield judged("registrations", not closed, found, advice)
    yield judged(
        "endpoints",
        not refused,
        f"the guard refuses those of {listed(refused)}" if refused else "the guard refuses none of their names",
        "Their calls end with `address_refused`. To allow them, set RELAY_EGRESS_ALLOW or RELAY_EGRESS_PORTS.",
    )


def _endpoints(runtime: Runtime, plugin: str, webhook: Registered) -> list[Endpoint] | None:
    """Return the endpoints that a registration calls; an empty list for a chain, None if it does not open."""
    try:
        target = runtime.registry.open_target(plugin, webhook.webhook_id, webhook.revision)
    except (VaultError, NotFound, StoreFault):
        return None
    if not isinstance(target, Target):
        return []
    target = spelled(target)
    token_url = getattr(target.credentials.authorization, "token_url", None)
    return [target.endpoint, *([token_url] if token_url is not None else [])]


def _is_filled(runtime: Runtime, plugin: str, webhook: Registered) -> bool:
    """Return whether the secrets to which a registration refers are there and fit."""
    target = runtime.registry.open_target(plugin, webhook.webhook_id, webhook.revision)
    try:
        return isinstance(target, Target) and bool(runtime.registry.fill(plugin, target))
    except (VaultError, NotFound, DocumentError):
        return False


def _is_refused(runtime: Runtime, endpoint: Endpoint) -> bool:
    """Return whether the current settings would refuse the endpoint, at registration or when it is called."""
    try:
        parse_endpoint(endpoint.url, runtime.rules)
    except ValueError:
        return True
    return runtime.policy.denies(endpoint.host, endpoint.port)
