"""Converts an invocation's hash to an `Invocation`, and an attempt to the text that the hash keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from relay.domain.invocation import Attempt, Invocation, Outcome, Sent, State, StepOf

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: States by the bytes that a record holds.
STATES: Final = {state.encode(): state for state in State}
# Fields for operators to read; no code depends on them.
_EXTRA: Final = ("lateAnswer", "reason")


def attempt_text(attempt: Attempt) -> str:
    """Return an attempt as the record stores it; its number is its position. ``conclude.lua`` writes this form too."""
    row = [attempt.started_at_ms, attempt.duration_ms, attempt.status, attempt.outcome, attempt.sent]
    return orjson.dumps(row).decode()


def _attempts(text: str) -> tuple[Attempt, ...]:
    rows = orjson.loads(f"[{text}]")
    return tuple(
        Attempt(number, started, duration, status, Outcome(outcome), Sent(sent))
        for number, (started, duration, status, outcome, sent) in enumerate(rows, 1)
    )


def invocation_from(reference_id: str, fields: Mapping[bytes, bytes], steps: Sequence[bytes] = ()) -> Invocation:
    """Make an `Invocation` from the fields of its hash and, for a chain, the list of its steps."""
    text = {name.decode(): value.decode() for name, value in fields.items()}

    def number(name: str) -> int | None:
        value = text.get(name)
        return int(value) if value else None

    state = State(text["state"])
    error = text.get("error")
    outcome, sent = text.get("outcome"), text.get("sent")
    return Invocation(
        reference_id=reference_id,
        plugin=text["plugin"],
        webhook_id=text["webhook"],
        revision=int(text["revision"]),
        state=state,
        lane=text["lane"],
        created_at_ms=int(text["createdAt"]),
        timeout_ms=number("timeout") or 0,
        repeatable=text.get("repeatable") == "1",
        attempts=_attempts(text.get("attempts", "")),
        finished_at_ms=number("finishedAt"),
        not_before_ms=number("notBefore") if state in {State.QUEUED, State.RETRYING} else None,
        losses=number("losses") or 0,
        status=number("status"),
        error=error == "1" if error else None,
        outcome=Outcome(outcome) if outcome else None,
        sent=Sent(sent) if sent else None,
        request_bytes=number("requestBytes") or 0,
        response_bytes=number("responseBytes") or 0,
        masked=number("masked") or 0,
        caller=text.get("caller") or None,
        traceparent=text.get("traceparent") or None,
        replay_of=text.get("replayOf") or None,
        replayed_by=text.get("replayedBy") or None,
        replay=text.get("replay") or None,
        forgotten_at_ms=number("forgottenAt"),
        expires_at_ms=number("expiresAt"),
        step_of=StepOf(text["parent"], int(text["parentStep"]), int(text["parentItem"])) if "parent" in text else None,
        is_chain=text.get("chain") == "1",
        pins=text.get("pins"),
        steps=tuple(step.decode() for step in steps),
        extra={name: text[name] for name in _EXTRA if text.get(name)},
    )
