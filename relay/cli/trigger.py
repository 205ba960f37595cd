"""``relay trigger``: sends one trigger the way the API does, and shows its result."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Group, RenderableType

from relay.accept.intake import TriggerRequest
from relay.cli.command import command_runtime
from relay.cli.completion import webhooks_like
from relay.cli.filters import subject_option
from relay.cli.names import not_registered
from relay.cli.output import Screen, as_json, facts_of, lines_of, screened
from relay.cli.parameters import CALLER, plugin_option, trigger_options, trigger_value
from relay.cli.reading import adding_reference_id, result_in
from relay.domain.invocation import Invocation, Outcome, State
from relay.domain.reference_id import new_reference_id
from relay.errors import Cancelled, RequestRejected, WebhookNotRegistered
from relay.request.directions import MAX_DELAY_S
from relay.text.ids import ID_PATTERN

if TYPE_CHECKING:
    from relay.store.ledger.invocations import InvocationStore
    from relay.wiring.runtime import Runtime

MAX_WAIT_S: Final = 900
_LOOK_S: Final = 0.05  # between two looks at the record


class _Seconds(click.FloatRange):
    """A range of seconds, without NaN, which every comparison lets through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; raise a usage error if it is not in the range."""
        seconds = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail("nan is not a number of seconds.", param, ctx)
        return seconds


@click.command()
@click.argument("webhook_id", metavar="ID", shell_complete=webhooks_like)
@plugin_option()
@trigger_options
@click.option("--async", "is_async", is_flag=True, help="Do not wait for the result.")
@click.option("--wait", "wait_s", type=_Seconds(0, MAX_WAIT_S), help="Seconds to wait [default: RELAY_DEFAULT_WAIT].")
@click.option(
    "--delay", "delay_s", type=_Seconds(0, MAX_DELAY_S), help="Seconds to wait before sending; implies --async."
)
@subject_option("Whom it concerns, such as a patient's id; never sent.")
@screened
def trigger(
    screen: Screen,
    *,
    webhook_id: str,
    plugin: str,
    is_async: bool,
    wait_s: float | None,
    delay_s: float | None,
    subject: str | None,
    **parts: Any,
) -> None:
    """Trigger a webhook and show its result. If none comes in time, show its reference id and state."""
    runtime = command_runtime()
    value = trigger_value(**parts)
    if subject is not None:
        value["subject"] = subject
    if delay_s:
        value["delay"], is_async = delay_s, True
    call = TriggerRequest(plugin, webhook_id, value, new_reference_id(plugin), CALLER, awaited=not is_async)
    limit_s = 0.0 if is_async else runtime.settings.default_wait_s if wait_s is None else wait_s
    with adding_reference_id(screen, call.reference_id):
        made = _made(runtime, call, limit_s)
        screen.show(made, lambda: _picture(made))


def _made(runtime: Runtime, call: TriggerRequest, limit_s: float) -> dict[str, Any]:
    """Trigger the webhook; return its result, or its reference id and state if there is no result in time."""
    try:
        reference_id = runtime.dispatcher.trigger(call).reference_id
    except WebhookNotRegistered as error:
        raise _explained(runtime, call, error) from None
    invocation = _await(runtime.store, call.plugin, reference_id, limit_s)
    if not (call.awaited and invocation.final):
        return {"referenceId": reference_id, "state": invocation.state}
    _raise_refusal(invocation)
    return {"referenceId": reference_id, **(result_in(runtime, invocation) or {})}


def _explained(runtime: Runtime, call: TriggerRequest, error: WebhookNotRegistered) -> WebhookNotRegistered:
    """Return the error with the name that was probably meant, which the API does not tell a plugin."""
    if not (isinstance(call.webhook_id, str) and ID_PATTERN.match(call.webhook_id)):
        return error
    found = runtime.registry.current(call.plugin, call.webhook_id)
    if found is not None:
        return error  # a hidden one
    explained = not_registered(runtime.registry, call.plugin, call.webhook_id)
    return WebhookNotRegistered(explained.message, reference_id=error.reference_id)


def _await(store: InvocationStore, plugin: str, reference_id: str, limit_s: float) -> Invocation:
    """Wait until the record is final; return it as it is after ``limit_s`` seconds at the latest."""
    deadline_s = time.monotonic() + limit_s
    while True:
        invocation = store.get(plugin, reference_id)
        if invocation.final or time.monotonic() >= deadline_s:
            return invocation
        time.sleep(_LOOK_S)


def _raise_refusal(invocation: Invocation) -> None:
    """Raise the error of an invocation that ended cancelled or rejected; do nothing for any other."""
    if invocation.state is State.CANCELLED:
        raise Cancelled(reference_id=invocation.reference_id)
    if invocation.state is State.REJECTED:
        unknown = invocation.outcome is Outcome.WEBHOOK_NOT_REGISTERED
        raise (WebhookNotRegistered if unknown else RequestRejected)(reference_id=invocation.reference_id)


def _picture(value: dict[str, Any]) -> RenderableType:
    facts = facts_of((name, each) for name, each in value.items() if name != "data")
    if "data" not in value:
        return facts
    return Group(facts, lines_of("data", *as_json(value["data"]).splitlines()))
