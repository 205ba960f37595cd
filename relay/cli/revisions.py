"""``relay webhooks history``, ``diff``, ``rollback`` and ``set-secret``: shows, restores and makes revisions."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from relay.audit.entry import Act, name_of
from relay.cli.command import acting, command_runtime
from relay.cli.names import current_webhook, not_registered
from relay.cli.output import Screen, lines_of, moment, table_of
from relay.cli.parameters import plugin_option, read_secret, webhook_argument, webhook_options
from relay.errors import BadParameter, Fault, NotFound, StoreFault, Unavailable
from relay.registration import ChainTarget, Shape, Target
from relay.registration.building import Registration
from relay.registration.changes import Change, changes
from relay.registration.header_rules import value_fault
from relay.registration.stored_secrets import referred
from relay.store.server.errors import adding_sentence
from relay.text.similar import hint
from relay.text.timestamps import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.table import Table

    from relay.store.registry.webhooks import Registry

#: The changes that a registration would make, by webhook id.
Differences: TypeAlias = "dict[str, list[Change]]"

_NUMBER = click.IntRange(min=1)


@click.command()
@webhook_options
@acting(Act.WEBHOOK_SHOW)
def history(screen: Screen, webhook_id: str, plugin: str) -> None:
    """Show a webhook's revisions, newest first. Each says who made it, when, and what changed.

    Changes of the secrets that a revision referred to are shown between the revisions. A removed webhook has its
    revisions, too.
    """
    registry, last = _shown(plugin, webhook_id)
    current = registry.current(plugin, webhook_id, refresh=True)
    rows: list[dict[str, Any]] = []
    shapes: list[tuple[int, Shape]] = []
    before: tuple[Shape, Target | ChainTarget] | None = None
    for number in range(1, last + 1):
        found = registry.revision(plugin, webhook_id, number)
        both = (found.shape, registry.open_target(plugin, webhook_id, number))
        changed = [] if before is None else [change.member for change in changes(before, both)]
        is_current = current is not None and current[0] == number
        made = {"at": rfc3339(found.created_at_ms), "by": name_of(found.by) or None}
        rows.append({"revision": number, **made, "current": is_current, "changed": changed})
        shapes.append((found.created_at_ms, found.shape))
        before = both
    rows += _settings(registry, plugin, shapes)
    rows.sort(key=lambda row: row["at"], reverse=True)
    columns = ("revision", "at (UTC)", "by", "current", "changed")
    lines = [(row["revision"], moment(row["at"]), row["by"], row["current"], row["changed"]) for row in rows]
    screen.show(rows, lambda: table_of(columns, lines))


def _settings(registry: Registry, plugin: str, shapes: Sequence[tuple[int, Shape]]) -> Iterator[dict[str, Any]]:
    """Yield a row for each time that a secret was set while a revision referred to it.

    ``shapes`` have when each revision began, in order.
    """
    names = sorted({name for _, shape in shapes for name in shape.secrets})
    ends = [*(at_ms for at_ms, _ in shapes[1:]), math.inf]
    for name, settings in registry.secrets.settings(plugin, names).items():
        for at_ms, by in settings:
            if any(
                began_ms < at_ms < end_ms and name in shape.secrets
                for (began_ms, shape), end_ms in zip(shapes, ends, strict=True)
            ):
                changed = [f"secrets.{name}"]
                yield {"revision": None, "at": rfc3339(at_ms), "by": by, "current": False, "changed": changed}


@click.command()
@webhook_options
@click.argument("before", metavar="[FROM]", type=_NUMBER, required=False)
@click.argument("after", metavar="[TO]", type=_NUMBER, required=False)
@acting(Act.WEBHOOK_SHOW)
def diff(screen: Screen, webhook_id: str, before: int | None, after: int | None, plugin: str) -> None:
    """Show what differs between two revisions. The default is the last and the one before. Secrets are not shown."""
    registry, newest = _shown(plugin, webhook_id, before, after)
    last = after or newest
    first = before or max(last - 1, 1)
    found = changes(*(_both(registry, plugin, webhook_id, number) for number in (first, last)))
    value = {"from": first, "to": last, "changes": [asdict(change) for change in found]}
    columns = ("member", f"revision {first}", f"revision {last}")
    rows = [(each.member, each.before, each.after) for each in found]
    same = f"Revision {last} is the only one." if newest == 1 else f"Revisions {first} and {last} do not differ."
    screen.show(value, lambda: table_of(columns, rows) if rows else lines_of(same))


@click.command()
@webhook_options
@click.argument("revision", type=_NUMBER, required=False)
@acting(Act.WEBHOOK_ROLLBACK)
def rollback(screen: Screen, webhook_id: str, revision: int | None, plugin: str) -> None:
    """Make an older revision current again, as a new one. The default is the one before the last."""
    registry = command_runtime().registry
    current = registry.current(plugin, webhook_id, refresh=True)
    last = _last(registry, plugin, webhook_id)
    number = revision or last - 1
    if number < 1:
        raise NotFound("There is no revision before this one.")
    _check_number(webhook_id, number, last)
    again = f"If it was done nevertheless, revision {last + 1} is the new one: `relay webhooks history {webhook_id}`."
    with adding_sentence(again, Unavailable, StoreFault):
        both = _both(registry, plugin, webhook_id, number)
        based_on = current[0] if current else 0
        _apply(screen, registry, plugin, Registration(*both), Act.WEBHOOK_ROLLBACK, based_on)


@click.command("set-secret")
@webhook_argument
@click.option("--header", required=True, metavar="NAME", help="The pre-filled header whose value is replaced.")
@plugin_option()
@acting(Act.WEBHOOK_SET_SECRET)
def set_secret(screen: Screen, webhook_id: str, header: str, plugin: str) -> None:
    """Replace the value of one pre-filled header. It is read from the terminal or from standard input."""
    registry = command_runtime().registry
    secret = read_secret(f"New value of {header}")  # first: nothing is read that may change while somebody types
    number, shape = current_webhook(registry, plugin, webhook_id)
    target = registry.open_target(plugin, webhook_id, number)
    headers = {} if isinstance(target, ChainTarget) else target.headers
    name = next((each for each in headers if each.lower() == header.lower()), None)
    if name is None or isinstance(target, ChainTarget):
        meant = hint(header, headers) or "."
        raise BadParameter(f"Webhook `{webhook_id}` has no pre-filled header `{header}`{meant}")
    if fault := value_fault(secret):
        raise BadParameter("This cannot be a header's value.", faults=(Fault(f"/headers/{name}", fault),))
    changed = replace(target, headers={**target.headers, name: secret})
    shape = replace(shape, secrets=referred(changed))
    _apply(screen, registry, plugin, Registration(shape, changed), Act.WEBHOOK_SET_SECRET, number)


def _shown(plugin: str, webhook_id: str, *numbers: int | None) -> tuple[Registry, int]:
    """Check that these revisions exist, and note that they are shown; return the registry and the last one's number."""
    runtime = command_runtime()
    last = _last(runtime.registry, plugin, webhook_id)
    for number in numbers:
        _check_number(webhook_id, number, last)
    runtime.audit_writer.write(Act.WEBHOOK_SHOW, plugin=plugin, subject=webhook_id)
    return runtime.registry, last


def _check_number(webhook_id: str, number: int | None, last: int) -> None:
    if number is not None and number > last:
        raise NotFound(f"Webhook `{webhook_id}` has no revision {number}: its last one is {last}.")


def _last(registry: Registry, plugin: str, webhook_id: str) -> int:
    number = registry.last_revision(plugin, webhook_id)
    if not number:
        raise not_registered(registry, plugin, webhook_id)
    return number


def _both(registry: Registry, plugin: str, webhook_id: str, number: int) -> tuple[Shape, Target | ChainTarget]:
    return registry.revision(plugin, webhook_id, number).shape, registry.open_target(plugin, webhook_id, number)


def _apply(
    screen: Screen, registry: Registry, plugin: str, registration: Registration, act: Act, based_on: int
) -> None:
    (applied,) = registry.apply(plugin, [registration], act=act, based_on={registration.shape.webhook_id: based_on})
    value = {"id": applied.webhook_id, "revision": applied.revision, "change": applied.change}
    screen.tell(
        value, f"Webhook {applied.webhook_id} of plugin {plugin}: revision {applied.revision}, {applied.change}."
    )


def differing(registry: Registry, plugin: str, registrations: Iterable[Registration]) -> Differences:
    """Return the changes that each registration would make to its webhook's current one, if there are any."""
    found: Differences = {}
    for each in registrations:
        webhook_id = each.shape.webhook_id
        current = registry.current(plugin, webhook_id, refresh=True)
        if current is not None:
            now = _both(registry, plugin, webhook_id, current[0])
            found[webhook_id] = changes(now, (each.shape, each.target))
    return {webhook_id: changed for webhook_id, changed in found.items() if changed}


def differences_pictures(differences: Differences) -> list[Table]:
    """Draw a table for each webhook that would change."""
    columns = ("now", "then")
    return [
        table_of((webhook_id, *columns), [(each.member, each.before, each.after) for each in changed])
        for webhook_id, changed in differences.items()
    ]
