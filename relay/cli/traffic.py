"""``relay webhooks pause | resume | close-breaker``: stops a webhook's calls, and lets them go again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from relay.audit.entry import Act
from relay.cli.command import acting, command_runtime
from relay.cli.names import not_registered
from relay.cli.parameters import webhook_options
from relay.text.timestamps import rfc3339

if TYPE_CHECKING:
    from relay.cli.output import Screen
    from relay.wiring.runtime import Runtime


def traffic_of(runtime: Runtime, plugin: str, webhook_id: str) -> dict[str, Any]:
    """Return how a webhook's calls stand, as ``webhooks show`` and these commands print it."""
    traffic = runtime.policies.traffic(plugin, webhook_id)
    return {
        "paused": traffic.paused,
        "breaker": traffic.breaker,
        "failures": traffic.failures,
        "openUntil": rfc3339(traffic.open_until_ms),
        "parked": traffic.parked,
        "running": traffic.running,
    }


@click.command()
@webhook_options
@acting(Act.WEBHOOK_PAUSE)
def pause(screen: Screen, webhook_id: str, plugin: str) -> None:
    """Pause a webhook. Accepted calls wait; calls that are being sent end."""
    runtime = _runtime(plugin, webhook_id)
    runtime.policies.pause(plugin, webhook_id)
    _show(screen, runtime, plugin, webhook_id, "is paused")


@click.command()
@webhook_options
@acting(Act.WEBHOOK_RESUME)
def resume(screen: Screen, webhook_id: str, plugin: str) -> None:
    """Resume a webhook. Its waiting calls are sent, the oldest first."""
    runtime = _runtime(plugin, webhook_id)
    for ready in runtime.policies.resume(plugin, webhook_id):
        runtime.publisher.publish_ready(ready)
    _show(screen, runtime, plugin, webhook_id, "sends again")


@click.command("close-breaker")
@webhook_options
@acting(Act.WEBHOOK_CLOSE_BREAKER)
def close_breaker(screen: Screen, webhook_id: str, plugin: str) -> None:
    """Close a webhook's breaker. Its calls are sent again, although the endpoint could not be contacted before."""
    runtime = _runtime(plugin, webhook_id)
    for ready in runtime.policies.close_breaker(plugin, webhook_id):
        runtime.publisher.publish_ready(ready)
    _show(screen, runtime, plugin, webhook_id, "has a closed breaker")


def _runtime(plugin: str, webhook_id: str) -> Runtime:
    runtime = command_runtime()
    registered = runtime.registry.current(plugin, webhook_id, refresh=True) is not None
    if not registered and not runtime.store.waits(plugin, webhook_id):
        raise not_registered(runtime.registry, plugin, webhook_id)
    return runtime


def _show(screen: Screen, runtime: Runtime, plugin: str, webhook_id: str, said: str) -> None:
    value = {"id": webhook_id, "plugin": plugin, **traffic_of(runtime, plugin, webhook_id)}
    screen.tell(value, f"Webhook {webhook_id} of plugin {plugin} {said}.")
