"""Puts the members of a webhook into words for people, for `relay webhooks show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay.cli.chain_plan import auth_words, steps_in_words
from relay.cli.output import bad, moment

if TYPE_CHECKING:
    from collections.abc import Iterator

_SCHEMA: Final = "yes (shown with --output json)"
_ENCODINGS: Final = {
    "json": "JSON",
    "form": "a form",
    "multipart": "multipart/form-data",
    "base64": "the bytes of base64 text",
}


def webhook_facts(value: dict[str, Any]) -> list[tuple[str, object]]:
    """Return name and words of each member that the webhook has."""
    return [(name, words) for name, words in _facts(value) if words not in (None, [], "")]


def _facts(value: dict[str, Any]) -> Iterator[tuple[str, object]]:
    yield "webhook", f"{value['id']} of plugin {value['plugin']}, revision {value['revision']}"
    yield "description", value["description"]
    yield "registered", f"{moment(value['createdAt'])} UTC"
    yield "sends", "its steps, one after the other" if value["chain"] else f"{value['method']} {value['url']}"
    yield "data as", None if value["chain"] else _ENCODINGS[value["encoding"]]
    yield "data with", list(value["fixedData"] or ())
    yield "headers", [f"{name}: {kind}" for name, kind in value["headers"].items()]
    yield "parameters", value["queryParams"]
    yield "in the path", [f"{name}: {each['pattern']}" for name, each in value["pathParams"].items()]
    yield "steps", steps_in_words(value["steps"] or [])
    yield "result", value["result"]
    yield "data has to fit", _SCHEMA if value["dataSchema"] is not None else None
    yield "answer has to fit", _SCHEMA if value["responseSchema"] is not None else None
    yield (
        "authenticates by",
        [*map(auth_words, value["credentials"]), *(["a signature"] if value["signingSecrets"] else [])],
    )
    yield "secrets", value["secrets"]
    yield "callback", value["callback"]
    yield "timeout", f"{value['timeout']} s"
    yield "repeated", _repeated(value)
    yield "limits", _limits(value)
    yield "shown to plugins", "no: only chains, callbacks and alerts reach it" if value["hidden"] else "yes"
    yield "address in answers", "shown" if value["revealUrl"] else "masked"
    yield "now", _traffic(value["traffic"])


def _repeated(value: dict[str, Any]) -> str | None:
    if value["chain"]:
        return None
    again = (
        "even if it is not known whether it was received"
        if value["repeatable"]
        else "never once it may have been received"
    )
    retry = value["retry"]
    if retry is None:
        return f"only by replays; {again}"
    statuses = ", ".join(map(str, retry["statuses"])) if retry.get("statuses") else "the usual statuses"
    pause = f"after {retry['initial']:g} s, then {retry['factor']:g} times as long, at most {retry['maximum']:g} s"
    return f"{retry['attempts']} attempts in all, {pause}; on {statuses}; {again}"


def _limits(value: dict[str, Any]) -> list[str]:
    limits = [f"{value['concurrency']} at once"] if value["concurrency"] else []
    return [*limits, value["rate"]] if value["rate"] else limits


def _traffic(now: dict[str, Any]) -> object:
    words = [f"{now['running']} being sent, {now['parked']} waiting for room"]
    if now["paused"]:
        words.insert(0, "paused")
    if now["breaker"] != "closed":
        until = f" until {moment(now['openUntil'])} UTC" if now["breaker"] == "open" else ""
        words.insert(0, f"breaker {now['breaker']}{until}, {now['failures']} failures in a row")
    return bad("; ".join(words)) if len(words) > 1 else words[0]
