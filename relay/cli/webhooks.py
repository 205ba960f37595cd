"""``relay webhooks``: registers, lists, shows and removes the webhooks that a plugin may call."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import IO, TYPE_CHECKING, Any, Final

import click
from rich.console import Group

from relay.answer.masking import REPLACEMENT
from relay.audit.entry import Act
from relay.cli.address import shown_url
from relay.cli.call_once import test as call_once
from relay.cli.chain_plan import auth_of
from relay.cli.command import acting, command_runtime
from relay.cli.names import check_new_plugin, check_plugin, current_webhook, not_registered
from relay.cli.output import Screen, bad, facts_of, table_of
from relay.cli.parameters import create_plugin_option, data_dir, plugin_option, read_source, webhook_options
from relay.cli.revisions import Differences, diff, differences_pictures, differing, history, rollback, set_secret
from relay.cli.secrets import look_up_in
from relay.cli.traffic import close_breaker, pause, resume, traffic_of
from relay.cli.types import types
from relay.cli.webhook_words import webhook_facts
from relay.errors import Conflict, DocumentError, Fault, WebhookNotRegistered
from relay.registration import ChainTarget, Shape, Step, Target
from relay.registration.document import read_registrations
from relay.registration.fixed_data import covered
from relay.registration.stored_secrets import spelled
from relay.settings import default_plugin
from relay.text.timestamps import rfc3339
from relay.views import path_params_of, seconds

if TYPE_CHECKING:
    from relay.store.ledger.policies import Traffic
    from relay.store.registry.revisions import Applied, StoredRevision
    from relay.wiring.runtime import Runtime

_COLUMNS: Final = ("id", "revision", "method", "headers", "query", "state", "description")


@click.group()
def webhooks() -> None:
    """Register, show, pause and remove a plugin's webhooks."""


for _command in (call_once, pause, resume, close_breaker, history, diff, rollback, set_secret, types):
    webhooks.add_command(_command)


@webhooks.command()
@click.argument("file", type=click.File("rb"))
@plugin_option(required=False)
@click.option("--dry-run", is_flag=True, help="Say what would change, field by field, and change nothing.")
@create_plugin_option
@acting(Act.WEBHOOK_APPLY)
def apply(screen: Screen, file: IO[bytes], plugin: str | None, *, dry_run: bool, create_plugin: bool) -> None:
    """Register every webhook of FILE, or none if any is wrong.

    FILE (- is standard input) is JSON or JavaScript object text: one webhook, several, a list, or {plugin, webhooks:
    [...]}, for which --plugin is not needed. If neither names the plugin, RELAY_PLUGIN does. Webhooks that FILE does
    not mention stay as they are. In values of headers, auth, signing and fixedData, ${env:NAME} and ${file:PATH} are
    replaced by what they name; ${secret:NAME} (also in the URL's query) refers to a secret of the plugin
    (`relay secrets`).
    """
    runtime = command_runtime()
    named, registrations = read_registrations(
        _text(file),
        runtime.rules,
        plugin=plugin,
        default_plugin=default_plugin(data_dir()),
        look_up=look_up_in(runtime.registry),
    )
    is_new = check_new_plugin(runtime.registry, named, meant=create_plugin)
    differences = differing(runtime.registry, named, registrations) if dry_run else {}
    if dry_run:
        runtime.audit_writer.write(Act.WEBHOOK_APPLY, plugin=named, outcome="dry_run", count=len(registrations))
    applied = runtime.registry.apply(named, registrations, dry_run=dry_run)
    warnings = [
        f"{registration.shape.webhook_id}: {warning}"
        for registration in registrations
        for warning in registration.warnings
    ]
    value = {"plugin": named, "webhooks": [_change(each, differences) for each in applied], "warnings": warnings}
    rows = [(each.webhook_id, each.revision, each.change) for each in applied]
    screen.show(value, lambda: Group(table_of(("id", "revision", "change"), rows), *differences_pictures(differences)))
    for warning in warnings:
        screen.note(f"Warning: {warning}")
    if is_new:
        screen.note(f"Plugin {named} is new: it {'would be' if dry_run else 'was'} created.")
    if dry_run:
        screen.note("Dry run: nothing was stored.")


@webhooks.command("list")
@plugin_option()
@acting(Act.WEBHOOK_SHOW)
def list_webhooks(screen: Screen, plugin: str) -> None:
    """List a plugin's webhooks and what their callers may send."""
    runtime = command_runtime()
    check_plugin(runtime, plugin)
    runtime.audit_writer.write(Act.WEBHOOK_SHOW, plugin=plugin)
    found = runtime.registry.shapes(plugin)
    now = runtime.policies.traffics(plugin, [each.shape.webhook_id for each in found])
    rows = [_row(each, traffic) for each, traffic in zip(found, now, strict=True)]
    screen.show(rows, lambda: table_of(_COLUMNS, (_line(row) for row in rows)))


@webhooks.command()
@webhook_options
@acting(Act.WEBHOOK_SHOW)
def show(screen: Screen, webhook_id: str, plugin: str) -> None:
    """Show one webhook with its address. Values of pre-filled headers are never shown."""
    runtime = command_runtime()
    registry = runtime.registry
    number, shape = current_webhook(registry, plugin, webhook_id)
    runtime.audit_writer.write(Act.WEBHOOK_SHOW, plugin=plugin, subject=webhook_id)
    created_at_ms = registry.revision(plugin, webhook_id, number).created_at_ms
    target = registry.open_target(plugin, webhook_id, number)
    if not isinstance(target, ChainTarget):
        target = spelled(target)
    value = {
        "id": webhook_id,
        "plugin": plugin,
        "revision": number,
        "createdAt": rfc3339(created_at_ms),
        "url": None if isinstance(target, ChainTarget) else shown_url(target.endpoint.url, target),
        **_members(shape),
        "headers": _headers(shape, target),
        "dataSchema": shape.data_schema,
        "responseSchema": shape.response_schema,
        **_hidden_half(target),
        "traffic": traffic_of(runtime, plugin, webhook_id),
    }
    screen.show(value, lambda: facts_of(webhook_facts(value)))


@webhooks.command()
@webhook_options
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@acting(Act.WEBHOOK_REMOVE, noted=(Conflict, WebhookNotRegistered))
def remove(screen: Screen, webhook_id: str, plugin: str, *, yes: bool) -> None:
    """Remove a webhook. Its waiting invocations end as rejected."""
    runtime = command_runtime()
    if not yes and sys.stdin.isatty():
        _ask_to_remove(runtime, plugin, webhook_id)
    if not runtime.registry.remove(plugin, webhook_id):
        raise not_registered(runtime.registry, plugin, webhook_id)
    for ready in runtime.store.revisit(plugin, webhook_id):
        runtime.publisher.publish_ready(ready)
    value = {"plugin": plugin, "id": webhook_id, "removed": True}
    screen.tell(value, f"Webhook {webhook_id} of plugin {plugin} is removed.")


def _ask_to_remove(runtime: Runtime, plugin: str, webhook_id: str) -> None:
    current_webhook(runtime.registry, plugin, webhook_id)
    now = runtime.policies.traffic(plugin, webhook_id)
    waiting = f" {now.parked + now.running} of its calls have not ended." if now.parked + now.running else ""
    click.confirm(f"Remove webhook {webhook_id} of plugin {plugin}?{waiting}", abort=True, err=True)


def _text(file: IO[bytes]) -> str:
    try:
        return read_source(file.read).decode()
    except UnicodeDecodeError as error:
        raise DocumentError(faults=(Fault("", f"is not UTF-8 text (byte {error.start + 1})"),)) from None


def _change(applied: Applied, differences: Differences) -> dict[str, Any]:
    value: dict[str, Any] = {"id": applied.webhook_id, "revision": applied.revision, "change": applied.change}
    if applied.webhook_id in differences:
        value["changes"] = [asdict(change) for change in differences[applied.webhook_id]]
    return value


def _row(registered: StoredRevision, traffic: Traffic) -> dict[str, Any]:
    shape = registered.shape
    return {
        "id": shape.webhook_id,
        "revision": registered.number,
        "createdAt": rfc3339(registered.created_at_ms),
        **_members(shape),
        "headers": list(shape.fillable_headers),
        "paused": traffic.paused,
        "breaker": traffic.breaker,
    }


def _line(row: dict[str, Any]) -> list[object]:
    method = "chain" if row["chain"] else row["method"]
    stopped = [
        word
        for word, is_so in (("paused", row["paused"]), (f"breaker {row['breaker']}", row["breaker"] != "closed"))
        if is_so
    ]
    words = [*stopped, *(["hidden"] if row["hidden"] else [])]
    sent = (row["headers"], row["queryParams"])
    return [row["id"], row["revision"], method, *sent, bad(*words) if stopped else words, row["description"]]


def _members(shape: Shape) -> dict[str, Any]:
    return {
        "method": None if shape.chain else shape.method,
        "chain": shape.chain,
        "queryParams": list(shape.query_params),
        "pathParams": path_params_of(shape),
        "encoding": shape.encoding,
        "hidden": shape.hidden,
        "timeout": seconds(shape.timeout_ms),
        "idempotent": shape.idempotent,
        "revealUrl": shape.reveal_url,
        "description": shape.description,
        "retry": shape.retry and shape.retry.to_value(),
        "concurrency": shape.concurrency,
        "rate": shape.rate and str(shape.rate),
        "repeatable": shape.repeatable,
        "callback": shape.callback,
        "secrets": list(shape.secrets),
    }


def _headers(shape: Shape, target: Target | ChainTarget) -> dict[str, str]:
    prefilled = () if isinstance(target, ChainTarget) else target.headers
    return dict.fromkeys(prefilled, "pre-filled") | dict.fromkeys(shape.fillable_headers, "fillable")


def _hidden_half(target: Target | ChainTarget) -> dict[str, Any]:
    """Return what is not secret in a target: steps as written, kinds of credentials, number of signing secrets."""
    if isinstance(target, ChainTarget):
        result = None if target.result is None else target.result.text
        return {
            "auth": [],
            "credentials": [],
            "signingSecrets": 0,
            "fixedData": None,
            "steps": [_step(step) for step in target.steps],
            "result": result,
        }
    return {
        "auth": list(target.credentials.kinds),
        "credentials": auth_of(target),
        "signingSecrets": len(target.signing),
        "fixedData": covered(target.fixed_data, REPLACEMENT) or None,
        "steps": None,
        "result": None,
    }


def _step(step: Step) -> dict[str, Any]:
    return {name: value for name, value in step.to_value().items() if value not in (None, {}, [])}
