"""Shows operators the whole plan of a chain: every step's request, with secrets masked and expressions as written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType

from relay.answer.masking import REPLACEMENT
from relay.cli.address import shown_url
from relay.cli.output import facts_of, lines_of
from relay.registration import ChainTarget, Shape, Step, Target
from relay.registration.credentials import OAuth2Client
from relay.registration.header_rules import PUBLIC_HEADERS
from relay.registration.steps import MAX_CHAIN_DEPTH
from relay.registration.stored_secrets import spelled
from relay.views import seconds

if TYPE_CHECKING:
    from relay.store.registry.webhooks import Registry

#: Stands in for the headers of a signature, which is made when the request is sent.
AT_SENDING = "[at sending]"


def plan_of(registry: Registry, plugin: str, shape: Shape, target: ChainTarget, depth: int = 1) -> dict[str, Any]:
    """Return the members ``steps`` and ``result`` of a chain; a step that is a chain has its own plan in it.

    Raises:
        VaultError, SettingsError: a target cannot be opened.
    """
    return {
        "timeout": seconds(shape.timeout_ms),
        "steps": [_step(registry, plugin, number, step, depth) for number, step in enumerate(target.steps)],
        "result": None if target.result is None else target.result.text,
    }


def _step(registry: Registry, plugin: str, number: int, step: Step, depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {"step": number, **step.to_value()}
    found = registry.current(plugin, step.webhook, refresh=True)
    if found is None or depth > MAX_CHAIN_DEPTH:  # a chain that was registered has neither fault
        return value
    revision, shape = found
    target = registry.open_target(plugin, step.webhook, revision)
    if not isinstance(target, ChainTarget):
        target = spelled(target)
    value |= {"revision": revision, "hidden": shape.hidden}
    if isinstance(target, ChainTarget):
        return value | {"chain": plan_of(registry, plugin, shape, target, depth + 1)}
    return value | {"request": _request(shape, target)}


def _request(shape: Shape, target: Target) -> dict[str, Any]:
    return {
        "method": shape.method,
        "url": shown_url(target.endpoint.url, target),
        "headers": {"Host": target.endpoint.authority, **shown_prefilled(target)},
        "auth": auth_of(target),
        "secrets": list(shape.secrets),
        "encoding": shape.encoding,
        "timeout": seconds(shape.timeout_ms),
        "repeatable": shape.repeatable,
    }


def shown_prefilled(target: Target) -> dict[str, str]:
    """Return the headers that every call has, with secrets masked and ``AT_SENDING`` for those of a signature."""
    shown = {name: value if name.lower() in PUBLIC_HEADERS else REPLACEMENT for name, value in target.headers.items()}
    if target.credentials.authorization is not None:
        shown["Authorization"] = REPLACEMENT
    if target.signing:
        shown |= {"webhook-timestamp": AT_SENDING, "webhook-signature": AT_SENDING}
    return shown


def auth_of(target: Target) -> list[dict[str, Any]]:
    """Return the kinds of a call's credentials, and the address from which its token comes."""
    shown: list[dict[str, Any]] = [{"type": kind} for kind in target.credentials.kinds]
    authorization = target.credentials.authorization
    if isinstance(authorization, OAuth2Client):
        shown[0] |= {
            "tokenUrl": authorization.token_url.url.partition("?")[0],
            "scope": authorization.scope,
            "audience": authorization.audience,
            **{name: value for name, value in authorization.ways().items() if value is not None},
        }
    return shown


def auth_words(auth: dict[str, Any]) -> str:
    """Return one kind of credentials in words, with the ways that are not the usual ones."""
    ways = [auth[name] for name in ("grant", "clientAuth", "algorithm") if name in auth]
    return f"{auth['type']} ({', '.join(ways)})" if ways else str(auth["type"])


def plan_picture(explained: dict[str, Any]) -> RenderableType:
    """Draw a chain's plan as lines, nested chains indented."""
    about = [(name, explained[name]) for name in ("plugin", "webhookId", "revision", "timeout")]
    return Group(facts_of(about), lines_of("", *_lines(explained)))


def _lines(plan: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for step in plan["steps"]:
        hidden = ", hidden" if step.get("hidden") else ""
        lines.append(f"{step['step']}. {step['webhook']} (revision {step.get('revision', '-')}{hidden})")
        request = head_lines(step["request"]) if "request" in step else []
        nested = _lines(step["chain"]) if "chain" in step else []
        lines += _indented([*_conditions(step), *request, *_mapped(step), *nested, *_endings(step)])
    if plan["result"] is not None:
        lines.append(f"result: {plan['result']}")
    return lines


def head_lines(request: dict[str, Any]) -> list[str]:
    """Return a request as lines, without its body."""
    return [
        f"{request['method']} {request['url']}",
        *(f"{name}: {value}" for name, value in request["headers"].items()),
        *(f"auth: {auth_words(each)}" for each in request["auth"]),
        *(f"secret: {name}" for name in request["secrets"]),
    ]


def _indented(lines: list[str]) -> list[str]:
    return [f"   {line}" for line in lines]


def steps_in_words(steps: list[dict[str, Any]]) -> list[str]:
    """Return steps as they are registered, with a line for each member."""
    lines: list[str] = []
    for number, step in enumerate(steps):
        lines.append(f"{number}. {step['webhook']}")
        lines += _indented([*_conditions(step), *_mapped(step), *_endings(step)])
    return lines


def _conditions(step: dict[str, Any]) -> list[str]:
    return [f"{name}: {step[name]}" for name in ("when", "forEach") if step.get(name) is not None]


def _mapped(step: dict[str, Any]) -> list[str]:
    lines = [f"{name} <- {expression}" for name, expression in step.get("headers", {}).items()]
    lines += [f"?{name} <- {expression}" for name, expression in step.get("queryParams", {}).items()]
    lines += [f"{{{name}}} <- {expression}" for name, expression in step.get("pathParams", {}).items()]
    return lines + ([f"data <- {step['data']}"] if step.get("data") is not None else [])


def _endings(step: dict[str, Any]) -> list[str]:
    lines = [f"mask: {expression}" for expression in step.get("mask", ())]
    return [*lines, "in error: the chain goes on"] if step.get("onError") == "continue" else lines
