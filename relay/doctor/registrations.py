"""Checks that registrations open and that their endpoints may be called; finds calls that wait for an operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.doctor.finding import Finding, Level, judged, listed
from relay.errors import NotFound, RelayError, StoreFault, VaultError
from relay.registration.endpoint import parse_endpoint
from relay.registration.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from relay.registration.endpoint import Endpoint
    from relay.store.registry.revisions import Registered
    from relay.wiring.runtime import Runtime


def examine_registrations(runtime: Runtime, plugins: Sequence[str]) -> Iterator[Finding]:
    """Yield the findings on current registrations; name those that the target keys at hand do not open."""
    opened, closed, refused, forged = 0, [], [], []
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
    found = f"{opened} open" + (f", {len(closed)} do not: {listed(closed)}" if closed else "")
    advice = "Put the key that sealed them back into RELAY_TARGET_KEYS (from the back-up), or register them again."
    yield judged("registrations", not closed, found, advice)
    yield judged(
        "endpoints",
        not refused,
        f"the guard refuses those of {listed(refused)}" if refused else "the guard refuses none of their names",
        "Their calls end with `address_refused`. To allow them, set RELAY_EGRESS_ALLOW or RELAY_EGRESS_PORTS.",
    )


def examine_alerts(runtime: Runtime) -> Iterator[Finding]:
    """Yield whether the webhook that alerts go to is registered."""
    name = runtime.settings.alerts
    if name is None:
        return
    found = runtime.registry.current(*name.split("/"), refresh=True)
    advice = f"Register it: relay webhooks apply FILE --plugin {name.split('/')[0]}. Until then alerts are lost."
    yield judged("alerts", found is not None, f"go to {name}" if found else f"{name} is not registered", advice)


def examine_waiting(runtime: Runtime, plugins: Sequence[str]) -> Iterator[Finding]:
    """Yield the webhooks with parked calls that are paused, or whose registration was removed."""
    paused, removed = [], []
    for plugin in plugins:
        registered = {webhook.webhook_id for webhook in runtime.registry.shapes(plugin)}
        known = {webhook for webhook, _ in runtime.measures.totals(plugin) if webhook} | registered
        names = sorted(known)
        for webhook_id, traffic in zip(names, runtime.policies.traffics(plugin, names), strict=True):
            if not traffic.parked:
                continue
            waiting = f"{plugin}/{webhook_id} ({traffic.parked})"
            if webhook_id not in registered:
                removed.append(waiting)
            elif traffic.paused:
                paused.append(waiting)
    if paused:
        yield Finding("paused", Level.NOTE, f"calls wait: {listed(paused)}", "`relay webhooks resume` sends them.")
    if removed:
        advice = "`relay webhooks resume` ends them as `rejected`; to have them sent, register the webhook again."
        yield Finding("removed", Level.PROBLEM, f"calls of removed webhooks wait: {listed(removed)}", advice)


def _endpoints(runtime: Runtime, plugin: str, webhook: Registered) -> list[Endpoint] | None:
    """Return the endpoints that a registration calls; an empty list for a chain, None if it does not open."""
    try:
        target = runtime.registry.open_target(plugin, webhook.webhook_id, webhook.revision)
    except (VaultError, NotFound, StoreFault):
        return None
    if not isinstance(target, Target):
        return []
    token_url = getattr(target.credentials.authorization, "token_url", None)
    return [target.endpoint, *([token_url] if token_url is not None else [])]


def _is_refused(runtime: Runtime, endpoint: Endpoint) -> bool:
    """Return whether the current settings would refuse the endpoint, at registration or when it is called."""
    try:
        parse_endpoint(endpoint.url, runtime.rules)
    except ValueError:
        return True
    return runtime.policy.denies(endpoint.host, endpoint.port)
