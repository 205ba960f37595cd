"""Converts an invocation's hash to an `Invocation`, and an attempt to the text that the hash keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import orjson

from relay.domain.invocation import FINAL, WITH_RESULT, Attempt, Invocation, Outcome, Sent, State, StepOf
from relay.domain.reference_id import reference_time_ms
from relay.queue import LANES
from relay.store.server.fields import StoredFields, number_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: States by the bytes that a record holds.
STATES: Final = {state.encode(): state for state in State}
_LANES: Final = {lane: lane for lane in LANES}
_YES_OR_NO: Final = {"0": False, "1": True}


def attempt_text(attempt: Attempt) -> str:
    """Return an attempt as the record stores it; its number is its position. ``conclude.lua`` writes this form too."""
    row = [attempt.started_at_ms, attempt.duration_ms, attempt.status, attempt.outcome, attempt.sent]
    return orjson.dumps(row).decode()


def _attempts(text: str) -> tuple[Attempt, ...]:
    rows = orjson.loads(f"[{text}]")
    return tuple(
        Attempt(number, _signed(started), _signed(duration), number_of(status), Outcome(outcome), Sent(sent))
        for number, (started, duration, status, outcome, sent, *_) in enumerate(rows, 1)
    )


def _signed(given: int) -> int:
    """Return a time or duration; it may be negative if the server's clock was set back."""
    return -number_of(-given) if given < 0 else number_of(given)


def invocation_from(
    reference_id: str,
    key: str,
    fields: Mapping[bytes, bytes] | Exception,
    steps: Sequence[bytes] | Exception | None = (),
) -> Invocation:
    """Make an `Invocation` from the fields of its hash, which has this key, and, for a chain, the list of its steps.

    A field that cannot be read is named in ``damaged``. Either argument may be the server's error: then it all is.
    """
    known_steps = None if isinstance(steps, Exception) else steps
    record = StoredFields(key, fields)
    number = record.number
    state = record.needed("state", State)
    created_at_ms = record.needed("createdAt", number_of)
    invocation = Invocation(
        reference_id=reference_id,
        plugin=record.needed("plugin", str) or "",
        webhook_id=record.text("webhook") or "",
        revision=record.needed("revision", number_of) or 0,
        state=state,
        lane=record.needed("lane", _LANES.__getitem__) or "",
        created_at_ms=reference_time_ms(reference_id) or 0 if created_at_ms is None else created_at_ms,
        timeout_ms=number("timeout") or 0,
        repeatable=record.get("repeatable", _YES_OR_NO.__getitem__) or False,
        attempts=record.get("attempts", _attempts) or (),
        finished_at_ms=record.needed("finishedAt", number_of) if state in FINAL else number("finishedAt"),
        not_before_ms=number("notBefore") if state in {State.QUEUED, State.RETRYING} else None,
        losses=number("losses") or 0,
        status=number("status"),
        error=record.get("error", _YES_OR_NO.__getitem__),
        outcome=record.needed("outcome", Outcome) if state in WITH_RESULT else record.get("outcome", Outcome),
        sent=record.get("sent", Sent),
        request_bytes=number("requestBytes") or 0,
        response_bytes=number("responseBytes") or 0,
        masked=number("masked") or 0,
        caller=record.text("caller"),
        traceparent=record.text("traceparent"),
        replay_of=record.text("replayOf"),
        replayed_by=record.text("replayedBy"),
        replay=record.text("replay"),
        forgotten_at_ms=number("forgottenAt"),
        expires_at_ms=number("expiresAt"),
        step_of=_step_of(record),
        is_chain=record.text("chain") == "1",
        pins=record.text("pins"),
        steps=tuple(step.decode("utf-8", "backslashreplace") for step in known_steps or ()),
        reason=record.text("reason"),
        late_answer=record.get("lateAnswer", _late_answer),
    )
    damaged = (*record.damaged, *(("steps",) if known_steps is None else ()))
    return replace(invocation, damaged=damaged) if damaged else invocation


def _late_answer(text: str) -> str:
    """Return a late answer, kept after the token of its claim, as Flower shows results."""
    _, outcome, status = text.split(" ")
    return f"{int(status)} {Outcome(outcome)}"


def _step_of(record: StoredFields) -> StepOf | None:
    parent = record.text("parent")
    if parent is None:
        return None
    step, item = (record.needed(name, number_of) for name in ("parentStep", "parentItem"))
    return None if step is None or item is None else StepOf(parent, step, item)
