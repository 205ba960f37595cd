"""Makes JSON-ready forms of invocations, webhooks, jobs and counts for the API and the commands, in a fixed order.

A key with the scope ``operate`` sees every member of an invocation. A plugin's own key (``trigger``) sees neither the
caller nor the chain, neither why that ended nor what came too late, and of an outcome only the coarse code that an
answer carries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay.answer.results import failure_result
from relay.domain.invocation import MEANINGS, WITH_RESULT, is_error
from relay.text import gradual_json
from relay.text.timestamps import rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay.domain.invocation import Attempt, Invocation
    from relay.registration import Shape
    from relay.replay.planning import ReplayPlan
    from relay.store.counts.backlog import BacklogMinute, LaneBacklog
    from relay.store.counts.counts import Counts
    from relay.store.counts.measures import Minute
    from relay.store.ledger.listing import Filter, OutcomeGroup
    from relay.store.replays.jobs import ReplayJob
    from relay.traffic import WebhookTraffic

_OPERATE_ONLY: Final = ("caller", "chain", "reason", "lateAnswer")


def seconds(duration_ms: int) -> int | float:
    """Return milliseconds in seconds, as registrations write them: whole seconds without a fraction."""
    whole, rest = divmod(duration_ms, 1000)
    return duration_ms / 1000 if rest else whole


def path_params_of(shape: Shape) -> dict[str, dict[str, str]]:
    """Return a webhook's path parameters as they are registered."""
    return {name: {"pattern": pattern} for name, pattern in shape.path_params.items()}


def webhook_of(shape: Shape) -> dict[str, Any]:
    """Return what a plugin may know of a webhook: how to call it, never where it goes."""
    return {
        "id": shape.webhook_id,
        "description": shape.description,
        "dataSchema": shape.data_schema,
        "headers": list(shape.fillable_headers),
        "queryParams": list(shape.query_params),
        "payloadEncoding": "base64" if shape.encoding == "base64" else None,
        **({"payload": "multipart"} if shape.encoding == "multipart" else {}),
        **({"pathParams": path_params_of(shape)} if shape.path_params else {}),
    }


def record_of(invocation: Invocation, *, operate: bool, result: dict[str, Any] | None) -> dict[str, Any]:
    """Return the record of an invocation, with the given result (``{status, data, error}``, or None without one).

    Without ``operate``, the members of ``_OPERATE_ONLY`` are left out, and outcomes are coarse codes (null for an
    answer).
    """
    record: dict[str, Any] = {
        "referenceId": invocation.reference_id,
        "webhookId": invocation.webhook_id,
        "revision": invocation.revision or None,  # 0: the webhook was not registered
        "state": invocation.state and str(invocation.state),
        "createdAt": rfc3339(invocation.created_at_ms),
        "finishedAt": rfc3339(invocation.finished_at_ms),
        "attempts": [_attempt(attempt, operate=operate) for attempt in invocation.attempts],
        "result": result,
        "requestBytes": invocation.request_bytes,
        "responseBytes": invocation.response_bytes,
        "caller": invocation.caller,
        "replayOf": invocation.replay_of,
        "replayedBy": invocation.replayed_by,
        "chain": _chain(invocation),
        "expiresAt": rfc3339(invocation.expires_at_ms),
    }
    if invocation.not_before_ms is not None:
        record["notBefore"] = rfc3339(invocation.not_before_ms)
    if invocation.forgotten_at_ms is not None:
        record["forgottenAt"] = rfc3339(invocation.forgotten_at_ms)
    if invocation.reason is not None:
        record["reason"] = invocation.reason
    if invocation.late_answer is not None:
        record["lateAnswer"] = invocation.late_answer
    if invocation.damaged:
        record["damaged"] = list(invocation.damaged)
    if not operate:
        for name in _OPERATE_ONLY:
            record.pop(name, None)
    return record


def result_of(invocation: Invocation, opened: bytes | None) -> dict[str, Any] | None:
    """Return the result ``{status, data, error}`` of an invocation; None if it has none, or none yet.

    ``opened`` is the opened data of the endpoint's answer (JSON), or None if no data is kept; ``data`` is then
    derived from the outcome (`failure_result`).
    """
    summary = summary_of(invocation)
    if summary is None:
        return None
    data: Any = None
    if opened is not None:
        data = gradual_json.loads(opened)
    elif invocation.outcome is not None and MEANINGS[invocation.outcome].code is not None:
        data = failure_result(invocation.outcome, invocation.sent).data
    return {"status": summary["status"], "data": data, "error": summary["error"]}


def row_of(invocation: Invocation) -> dict[str, Any]:
    """Return a row of a listing (scope ``operate``): the record, with a ``result`` without data."""
    return record_of(invocation, operate=True, result=summary_of(invocation))


def group_of(group: OutcomeGroup) -> dict[str, Any]:
    """Return a group of a webhook's invocations that ended with the same outcome and status, and their number."""
    return {
        "webhookId": group.webhook_id,
        "outcome": group.outcome,
        "status": group.status,
        "count": group.count,
        "firstAt": rfc3339(group.first_ms),
        "lastAt": rfc3339(group.last_ms),
    }


def plan_of(plan: ReplayPlan) -> dict[str, Any]:
    """Return what a replay would do."""
    return {
        "planId": plan.plan_id,
        "matched": plan.matched,
        "skipped": plan.skipped,
        "breakdown": [group_of(group) for group in plan.breakdown],
        "skippedReasons": _counts(plan.skipped_reasons),
        "leftOut": _counts(plan.left_out),
    }


def counts_of(counts: Counts) -> dict[str, Any]:
    """Return counts of invocations; each final state has one, even if it did not occur."""
    final = {str(state): count for state, count in counts.final.items()}
    return {"accepted": counts.accepted, "final": final, "errors": counts.errors}


def minute_of(minute: Minute) -> dict[str, Any]:
    """Return the counts and percentiles of one minute."""
    percentiles = {"p50Ms": minute.p50_ms, "p95Ms": minute.p95_ms, "p99Ms": minute.p99_ms}
    return {"start": rfc3339(minute.start_ms), **counts_of(minute.counts), **percentiles}


def traffic_of(webhook: WebhookTraffic) -> dict[str, Any]:
    """Return a webhook's counts, calls in flight, parked calls and breaker."""
    now, counts = webhook.now, webhook.counts
    breaker = {"state": now.breaker, "failures": now.failures, "openUntil": rfc3339(now.open_until_ms)}
    return {
        "webhookId": webhook.registered.shape.webhook_id,
        "revision": webhook.registered.number,
        "hidden": webhook.registered.shape.hidden,
        **counts_of(counts.day),
        "recent": {"fiveMinutes": counts_of(counts.recent), "hour": counts_of(counts.hour)},
        "trend": {"hour": _trend(counts.hour_trend), "day": _trend(counts.day_trend)},
        "lastErrorAt": rfc3339(counts.last_error_ms),
        "inFlight": now.running,
        "parked": now.parked,
        "paused": now.paused,
        "breaker": breaker,
    }


def _trend(parts: Sequence[Counts]) -> dict[str, list[int]]:
    """Return how many calls ended with a result in each part of a time, and how many of these in error."""
    ended = [sum(part.final[state] for state in WITH_RESULT) for part in parts]
    return {"ended": ended, "errors": [part.errors for part in parts]}


def lane_of(backlog: LaneBacklog, workers: int | None) -> dict[str, Any]:
    """Return how many calls wait in a lane, the age of the oldest, and how many workers serve it; None: not known."""
    oldest_s = None if backlog.oldest_ms is None else backlog.oldest_ms / 1000
    return {"lane": backlog.lane, "pending": backlog.pending, "oldestSeconds": oldest_s, "workers": workers}


def backlog_minute_of(minute: BacklogMinute) -> dict[str, Any]:
    """Return how many calls waited in each lane in one minute."""
    return {"start": rfc3339(minute.start_ms), "pending": dict(minute.pending)}


def job_of(job: ReplayJob) -> dict[str, Any]:
    """Return a replay job as the API and the commands show it."""
    shown: dict[str, Any] = {
        "replayId": job.replay_id,
        "state": job.state and str(job.state),
        "matched": job.matched,
        "started": job.started,
        "delivered": job.delivered,
        "failed": job.failed,
        "skipped": job.skipped,
        "ratePerSecond": plain_number(job.rate_per_second),
        "createdAt": rfc3339(job.created_at_ms),
        "finishedAt": rfc3339(job.finished_at_ms),
        "skippedReasons": _counts(job.skipped_reasons),
        "caller": job.caller,
        "filter": None if job.by_hand else filter_of(job.filter),
    }
    if job.damaged:
        shown["damaged"] = list(job.damaged)
    return shown


def filter_of(chosen: Filter) -> dict[str, Any]:
    """Return a filter's members, under the names of the API's parameters, without those that are not given."""
    members = {
        "webhookId": chosen.webhook_id,
        "states": sorted(map(str, chosen.states)),
        "status": list(chosen.status),
        "outcome": chosen.outcome and str(chosen.outcome),
        "caller": chosen.caller,
        "chain": chosen.chain,
        "replay": chosen.replay,
        "subject": chosen.subject and True,  # the store has only a hash of it
        "since": rfc3339(chosen.since_ms),
        "until": rfc3339(chosen.until_ms),
        "failed": chosen.error,
        "unreplayed": chosen.unreplayed or None,
    }
    return {name: value for name, value in members.items() if value not in (None, [])}


def _counts(counted: Mapping[str, int]) -> dict[str, int]:
    """Return how many invocations there are for each reason."""
    return {str(reason): count for reason, count in counted.items()}


def plain_number(number: float | None) -> float | int | None:
    """Return a whole number as an int, any other number (or None) as it is."""
    return int(number) if number is not None and number == int(number) else number


def _chain(invocation: Invocation) -> dict[str, Any] | None:
    """Return the place of a step and the steps of a chain, or None; a chain within a chain has both."""
    chain: dict[str, Any] = {}
    if invocation.step_of is not None:
        step = invocation.step_of
        chain = {"parent": step.parent, "step": step.step, "item": step.item}
    if invocation.is_chain:
        chain["steps"] = list(invocation.steps)
    return chain or None


def summary_of(invocation: Invocation) -> dict[str, Any] | None:
    """Return a result without data, ``{status, error}``, each null if it is damaged; None if there is no result."""
    state, damaged = invocation.state, set(invocation.damaged)
    if state is None or state not in WITH_RESULT:
        return None
    return {
        "status": None if damaged & {"status", "outcome"} else invocation.status or 0,
        "error": None if damaged & {"error", "outcome"} else is_error(state, invocation.error),
    }


def _attempt(attempt: Attempt, *, operate: bool) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "startedAt": rfc3339(attempt.started_at_ms),
        "durationMs": attempt.duration_ms,
        "status": attempt.status,
        "outcome": str(attempt.outcome) if operate else MEANINGS[attempt.outcome].code,
        "sent": str(attempt.sent),
    }
