"""Checks that registrations open and that their endpoints may be called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.doctor.certificates import end_of, judged_ends
from relay.doctor.finding import FOREIGN_WRITER, Finding, Level, judged, listed
from relay.errors import DocumentError, NotFound, RelayError, StoreFault, VaultError
from relay.registration.endpoint import parse_endpoint
from relay.registration.stored_secrets import spelled
from relay.registration.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from relay.registration.target import ChainTarget
    from relay.store.registry.revisions import StoredRevision
    from relay.wiring.runtime import Runtime


def examine_registrations(runtime: Runtime, plugins: Sequence[str]) -> Iterator[Finding]:
    """Yield the findings on current registrations; name those that the target keys at hand do not open."""
    try:
        forged = [f"{plugin}/{webhook_id}" for plugin in plugins for webhook_id in runtime.registry.unverified(plugin)]
        targets = {
            (plugin, webhook.shape.webhook_id): _target(runtime, plugin, webhook)
            for plugin in plugins
            for webhook in runtime.registry.shapes(plugin)
        }
        calling = {key: target for key, target in targets.items() if isinstance(target, Target)}  # without chains
        filled = {"/".join(key): _filled(runtime, key[0], target) for key, target in calling.items()}
    except RelayError as error:
        yield Finding("registrations", Level.PROBLEM, error.message, "See the findings above.")
        return
    closed = ["/".join(key) for key, target in targets.items() if target is None]
    unfilled = [name for name, target in filled.items() if target is None]
    refused = ["/".join(key) for key, target in calling.items() if _is_refused(runtime, target)]
    if forged:
        advice = f"{FOREIGN_WRITER}: find out who, and register them again."
        found = f"made current by something other than a relay: {listed(forged)}"
        yield Finding("revisions", Level.PROBLEM, found, advice)
    if unfilled:
        advice = "Their calls end with `prepare_failed`. Set the secrets again: relay secrets set NAME --plugin P."
        found = f"those of {listed(unfilled)} do not open, or do not fit where they stand"
        yield Finding("secrets", Level.PROBLEM, found, advice)
    altered = [chain.root for chain in runtime.decisions if not chain.is_intact] if plugins else []
    if altered:
        advice = f"{FOREIGN_WRITER}: find out who, and rotate the data keys."
        yield Finding("decisions", Level.PROBLEM, f"altered by something other than a relay: {listed(altered)}", advice)
    found = f"{len(targets) - len(closed)} open" + (f", {len(closed)} do not: {listed(closed)}" if closed else "")
    advice = "Put the key that sealed them back into RELAY_TARGET_KEYS (from the back-up), or register them again."
    yield judged("registrations", not closed, found, advice)
    yield judged(
        "endpoints",
        not refused,
        f"the guard refuses those of {listed(refused)}" if refused else "the guard refuses none of their names",
        "Their calls end with `address_refused`. To allow them, set RELAY_EGRESS_ALLOW or RELAY_EGRESS_PORTS.",
    )
    advice = "Register them with new ones, or set the secrets to which they refer: endpoints refuse one that has ended."
    shown = {name: target.credentials.certificate for name, target in filled.items() if target is not None}
    ends = {name: end_of(each.certificate.encode()) for name, each in shown.items() if each is not None}
    yield from judged_ends("client certificates", ends, advice)


def _target(runtime: Runtime, plugin: str, webhook: StoredRevision) -> Target | ChainTarget | None:
    """Return the target of a registration; None if it does not open."""
    try:
        return runtime.registry.open_target(plugin, webhook.shape.webhook_id, webhook.number)
    except (VaultError, NotFound, StoreFault):
        return None


def _filled(runtime: Runtime, plugin: str, target: Target) -> Target | None:
    """Return a target with the secrets to which it refers; None if one is not there or does not fit."""
    try:
        return runtime.registry.fill(plugin, target)
    except (VaultError, NotFound, DocumentError):
        return None


def _is_refused(runtime: Runtime, target: Target) -> bool:
    """Return whether the current settings would refuse an endpoint, at registration or when it is called."""
    target = spelled(target)
    token_url = getattr(target.credentials.authorization, "token_url", None)
    for endpoint in (target.endpoint, *([token_url] if token_url is not None else [])):
        try:
            parse_endpoint(endpoint.url, runtime.rules)
        except ValueError:
            return True
        if runtime.policy.denies(endpoint.host, endpoint.port):
            return True
    return False
