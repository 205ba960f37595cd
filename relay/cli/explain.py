"""``relay explain``: the exact request that a trigger would become. Nothing is sent and nothing stored."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Group, RenderableType

from relay.answer.masking import REPLACEMENT
from relay.audit.entry import Act
from relay.cli.address import shown_url
from relay.cli.chain_plan import auth_of, head_lines, plan_of, plan_picture, shown_prefilled
from relay.cli.command import acting, command_runtime
from relay.cli.names import current_webhook
from relay.cli.output import Screen, facts_of, lines_of
from relay.cli.parameters import trigger_options, trigger_value, webhook_options
from relay.domain.reference_id import new_reference_id
from relay.registration import ChainTarget, Shape, Target
from relay.registration.changes import HIDDEN
from relay.registration.fixed_data import covered
from relay.registration.stored_secrets import spelled
from relay.request.rendering import Template
from relay.request.trigger import Trigger, check
from relay.views import seconds

if TYPE_CHECKING:
    from collections.abc import Mapping


#: How much of a body is shown at most.
PREVIEW_BYTES: Final = 2_048


@click.command()
@webhook_options
@trigger_options
@acting(Act.WEBHOOK_SHOW)
def explain(screen: Screen, *, webhook_id: str, plugin: str, **parts: Any) -> None:
    """Show the request that a trigger would become. Its secrets are masked, and nothing is sent.

    For a chain, show the whole plan: the request of every step, and the expressions that fill it. The transport adds
    Accept-Encoding, and on a real call webhook-id is the reference id.
    """
    runtime = command_runtime()
    registry = runtime.registry
    value = trigger_value(**parts)
    number, shape = current_webhook(registry, plugin, webhook_id)
    target = registry.open_target(plugin, webhook_id, number)
    trigger = check(shape, Trigger.from_value(value))
    runtime.audit_writer.write(Act.WEBHOOK_SHOW, plugin=plugin, subject=webhook_id)
    about = {"plugin": plugin, "webhookId": webhook_id, "revision": number}
    if isinstance(target, ChainTarget):
        plan = about | plan_of(registry, plugin, shape, target)
        screen.show(plan, lambda: plan_picture(plan))
        return
    found = about | explained(shape, target, trigger)
    screen.show(found, lambda: _picture(found))


def explained(shape: Shape, target: Target, trigger: Trigger) -> dict[str, Any]:
    """Return the request that a trigger becomes, with its secrets masked."""
    target = spelled(target)
    request = Template(shape, target).fill(trigger, new_reference_id())
    shown, headers = request, dict(request.headers)
    if target.fixed_data:
        covering = replace(target, fixed_data=covered(target.fixed_data, REPLACEMENT))
        shown = Template(shape, covering).fill(trigger, new_reference_id())
        # of the request that is shown, since each has a boundary of its own; but with the true length
        headers = {**shown.headers, "Content-Length": request.headers["Content-Length"]}
    return {
        "method": request.method,
        "url": shown_url(str(request.url), target),
        "headers": _headers(headers, target),
        "body": _body(request.body, shown.body),
        "timeout": seconds(shape.timeout_ms),
        "repeatable": shape.repeatable,
        "auth": auth_of(target),
        "secrets": list(shape.secrets),
    }


def _headers(headers: Mapping[str, str | bytes], target: Target) -> dict[str, str]:
    """Return all headers, with the secrets of those that every call has masked."""
    prefilled = shown_prefilled(target)
    fixed = {name.lower() for name in prefilled}
    others = {name: _text(value) for name, value in headers.items() if name.lower() not in fixed}
    return {"Host": target.endpoint.authority, **others, **prefilled}


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def _body(body: Any, shown: Any) -> dict[str, Any] | None:
    """Return size, hash and beginning of a body, which is ``shown`` without its secrets; None if there is no body.

    Of a body with secrets there is no hash: they could be guessed from it.
    """
    if body is None:
        return None
    whole, raw = bytes(body), bytes(shown)
    start = raw[:PREVIEW_BYTES]
    try:
        preview, encoding = start.decode("utf-8"), "text"
    except UnicodeDecodeError as error:
        if len(raw) > len(start) >= error.start > len(start) - 4:  # text that was cut within a character
            preview, encoding = start[: error.start].decode("utf-8"), "text"
        else:
            preview, encoding = b64encode(start).decode(), "base64"
    return {
        "bytes": len(whole),
        "sha256": hashlib.sha256(whole).hexdigest() if raw == whole else None,
        "encoding": encoding,
        "preview": preview,
        "complete": len(raw) == len(start),
    }


def request_lines(found: dict[str, Any]) -> list[str]:
    """Return a result of `explained` as the lines of a request."""
    lines = head_lines(found)
    body = found["body"]
    if body is not None:
        lines += ["", body["preview"] if body["complete"] else f"{body['preview']}..."]
    return lines


def _picture(found: dict[str, Any]) -> RenderableType:
    lines, body = request_lines(found), found["body"]
    about = [(name, found[name]) for name in ("plugin", "webhookId", "revision", "timeout", "repeatable")]
    if body is not None:
        about += [
            ("body bytes", body["bytes"]),
            ("body sha256", body["sha256"] or HIDDEN),
            ("body shown as", body["encoding"]),
        ]
    return Group(facts_of(about), lines_of("", *lines))
