"""``relay webhooks test``: makes one call at once, recorded like every other, and shows the exchange."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Group, RenderableType

from relay.accept.dispatcher import Dispatcher
from relay.accept.intake import TriggerRequest
from relay.answer.masking import Mask
from relay.audit.entry import Act
from relay.cli.command import acting, command_runtime
from relay.cli.explain import explained, request_lines
from relay.cli.names import current_webhook
from relay.cli.output import EXIT_FAILED, Screen, as_json, facts_of, lines_of
from relay.cli.parameters import CALLER, trigger_options, trigger_value, webhook_options
from relay.cli.reading import adding_reference_id, result_in
from relay.domain.reference_id import new_reference_id
from relay.errors import BadParameter, OverCapacity
from relay.outbound.heads import Head
from relay.queue import make_app
from relay.registration import ChainTarget, Shape, Target
from relay.request.trigger import Trigger, check

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from relay.domain.invocation import Invocation
    from relay.outbound.exchange import Exchange
    from relay.wiring.runtime import Runtime

#: Headers of the answer that are shown, masked, because they tell something about the endpoint.
_SHOWN_HEADERS: Final = frozenset(
    {"content-type", "content-length", "content-encoding", "date", "server", "retry-after", "www-authenticate", "allow"}
)
_WORDS: Final = {
    "dnsMs": "dns",
    "connectMs": "connect",
    "tlsMs": "tls",
    "firstByteMs": "first byte",
    "totalMs": "total",
}
#: What is seen of an exchange: the answer's headers, unmasked, and how long each part took.
_Observed = tuple[Head, dict[str, float | None]]


class NoLane:
    """A publisher for which no call waits, so that no worker takes the one that this process makes."""

    def messages(self, lanes: Iterable[str], partition: int) -> Sequence[tuple[str, bytes]]:
        """Return no lanes."""
        del lanes, partition
        return ()

    def announce(self, messages: Iterable[tuple[str, int]]) -> None:
        """Do nothing, because this process makes the call."""
        del messages


@click.command()
@webhook_options
@trigger_options
@acting(Act.TRIGGER, noted=(OverCapacity,))
def test(screen: Screen, *, webhook_id: str, plugin: str, **parts: Any) -> None:
    """Call a webhook once, from this machine. Show the exchange, with secrets masked, and how long each part took.

    The call is recorded, limited and counted like any other, but not retried. The exit status is 1 if it fails.
    """
    runtime = command_runtime()
    value = trigger_value(**parts)
    number, shape = current_webhook(runtime.registry, plugin, webhook_id)
    target = runtime.registry.open_target(plugin, webhook_id, number)
    if isinstance(target, ChainTarget):
        raise BadParameter("A chain sends nothing itself: test the webhooks of its steps.")
    target = runtime.registry.fill(plugin, target)
    request = explained(shape, target, check(shape, Trigger.from_value(value)))
    call = TriggerRequest(plugin, webhook_id, value, new_reference_id(plugin), CALLER, awaited=True)
    with adding_reference_id(screen, call.reference_id):
        invocation, observed = _call(runtime, call, shape)
        found = _value(runtime, invocation, request, _answer(observed, shape, target), screen)
    screen.show(found, lambda: _picture(found))
    if not (found["result"] and not found["result"]["error"]):
        raise click.exceptions.Exit(EXIT_FAILED)


def _call(runtime: Runtime, call: TriggerRequest, shape: Shape) -> tuple[Invocation, _Observed | None]:
    from relay.executor.single import run_once  # noqa: PLC0415 - libcurl and gevent only where they are used
    from relay.outbound.timings import timings_of  # noqa: PLC0415
    from relay.wiring.worker_runtime import worker_parts  # noqa: PLC0415

    seen: list[_Observed] = []

    def observe(exchange: Exchange) -> None:
        if exchange.is_call:
            seen.append((Head(exchange.header_lines), timings_of(exchange)))

    parts = worker_parts(runtime.settings, make_app(runtime.settings), "test", ())
    parts.transport.observe = observe
    dispatcher = Dispatcher(runtime.registry, runtime.store, runtime.data_vault, runtime.subject_hashes, NoLane())
    with closing(dispatcher), closing(parts):
        reference_id = dispatcher.trigger(call).reference_id
        publish = runtime.publisher.publish_ready
        invocation = run_once(parts.executor, runtime.store, publish, reference_id, timeout_s=shape.timeout_ms / 1000)
    return invocation, seen[-1] if seen else None


def _answer(observed: _Observed | None, shape: Shape, target: Target) -> dict[str, Any] | None:
    if observed is None:
        return None
    head, timings = observed
    mask = Mask.of(shape, target)
    shown = {name: mask.text(value)[0] for name, value in head.items() if name.lower() in _SHOWN_HEADERS}
    return {"headers": shown, "timings": timings}


def _value(
    runtime: Runtime, invocation: Invocation, request: dict[str, Any], answer: dict[str, Any] | None, screen: Screen
) -> dict[str, Any]:
    attempt = invocation.attempts[-1] if invocation.attempts else None
    request["headers"]["webhook-id"] = invocation.reference_id
    return {
        "referenceId": invocation.reference_id,
        "state": invocation.state,
        "outcome": None if attempt is None else str(attempt.outcome),
        "request": request,
        "answer": answer,
        "result": result_in(runtime, invocation, screen),
    }


def _picture(found: dict[str, Any]) -> RenderableType:
    lines = [*request_lines(found["request"]), ""]
    answer, result = found["answer"], found["result"]
    if answer is not None:
        took = answer["timings"]
        parts = ((word, took[name]) for name, word in _WORDS.items())
        lines.append(", ".join(f"{word} {took_ms:.1f} ms" for word, took_ms in parts if took_ms is not None))
    if result is None:
        lines.append("Nothing was sent: the webhook is paused, at its limit, or its breaker is open.")
    elif result["status"]:
        lines.append(f"HTTP {result['status']}")
    lines += [f"{name}: {value}" for name, value in (answer or {"headers": {}})["headers"].items()]
    if result is not None and result["data"] is not None:
        lines += ["", *as_json(result["data"]).splitlines()]
    about = [("reference id", found["referenceId"]), ("state", found["state"]), ("outcome", found["outcome"])]
    return Group(lines_of(*lines, ""), facts_of(about))
