"""Decides whether and when another attempt is made, by the registered policy and the endpoint's Retry-After. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, Self

from relay.domain.invocation import Outcome, Sent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.domain.invocation import Attempt

#: Statuses that say "not now": retried for any method unless the registration lists others.
STATUSES: Final = frozenset({429, 503})
#: Further statuses, which leave open whether the request was carried out: retried only if the webhook is repeatable.
REPEATABLE_STATUSES: Final = frozenset({408, 500, 502, 504})
#: The longest pause that an endpoint's Retry-After can cause, in seconds.
RETRY_AFTER_CAP_S: Final = 3600.0

#: Failures that another attempt cannot cure.
_HOPELESS: Final = frozenset({Outcome.PREPARE_FAILED, Outcome.ANSWER_REJECTED, Outcome.RESPONSE_REJECTED})
_SECONDS: Final = re.compile(r"[0-9]{1,9}\Z")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """A registered policy: the number of attempts in all, and the pauses between them in seconds."""

    attempts: int
    initial_s: float = 1.0
    factor: float = 2.0
    maximum_s: float = 300.0
    statuses: tuple[int, ...] | None = None  # None: the defaults above

    def to_value(self) -> dict[str, Any]:
        """Return the policy as a registration document has it."""
        value: dict[str, Any] = {
            "attempts": self.attempts,
            "initial": self.initial_s,
            "factor": self.factor,
            "maximum": self.maximum_s,
        }
        return value if self.statuses is None else value | {"statuses": list(self.statuses)}

    @classmethod
    def from_value(cls, value: Mapping[str, Any]) -> Self:
        """Read the value that ``to_value`` returned, or a document's checked ``retry``."""
        names = {"initial": "initial_s", "factor": "factor", "maximum": "maximum_s"}
        pauses = {names[name]: float(value[name]) for name in names if name in value}
        statuses = value.get("statuses")
        return cls(value["attempts"], statuses=None if statuses is None else tuple(statuses), **pauses)

    def pause_s(self, attempt: int, jitter: float) -> float:
        """Return the pause in seconds after attempt number ``attempt`` (from 1), with full ``jitter``, from 0 to 1."""
        ceiling = min(self.maximum_s, self.initial_s * self.factor ** min(attempt - 1, 64))
        return ceiling * jitter


def retry_delay_ms(
    policy: RetryPolicy | None, last: Attempt, jitter: float, *, repeatable: bool, retry_after_s: float | None = None
) -> int | None:
    """Return in how many milliseconds there may be another attempt after the ``last``; None if there is none.

    ``jitter`` is a random number from 0 to 1; ``retry_after_s`` is what the endpoint asked for.
    """
    if policy is None or last.number >= policy.attempts or not _may_repeat(policy, last, repeatable=repeatable):
        return None
    pause_s = policy.pause_s(last.number, jitter)
    if retry_after_s is not None:
        pause_s = max(pause_s, min(retry_after_s, RETRY_AFTER_CAP_S))
    return int(pause_s * 1000)


def _may_repeat(policy: RetryPolicy, last: Attempt, *, repeatable: bool) -> bool:
    if last.outcome is not Outcome.ANSWERED:
        return last.outcome not in _HOPELESS and (repeatable or last.sent is Sent.NO)
    if policy.statuses is not None:
        return last.status in policy.statuses
    return last.status in STATUSES or (repeatable and last.status in REPEATABLE_STATUSES)


def read_retry_after(value: str | None, now_s: float) -> float | None:
    """Read the seconds to wait from a Retry-After field (RFC 9110, 10.2.3): a number of seconds, or a date.

    ``now_s`` is seconds since the epoch. A date that names no zone is in UTC. Returns None if the field is missing or
    unreadable.
    """
    if value is None:
        return None
    text = value.strip()
    if _SECONDS.match(text):
        return float(text)
    try:
        date = parsedate_to_datetime(text)
        return max(0.0, date.replace(tzinfo=date.tzinfo or UTC).timestamp() - now_s)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
