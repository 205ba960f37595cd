"""The results of a chain's steps, and what expressions see of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from relay.answer.results import Result, failure_result
from relay.domain.invocation import MEANINGS, Outcome, Sent, State

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class StepResult:
    """How one call of a step ended. ``data`` is as the endpoint sent it: only what leaves the relay is masked."""

    status: int
    data: Any
    error: bool
    outcome: Outcome | None
    state: State
    sent: Sent | None = None  # of a call without an acceptable answer

    @property
    def answered(self) -> bool:
        """Whether the call has an answer whose data may be used."""
        return self.state is State.DELIVERED and self.outcome in {None, Outcome.ANSWERED}

    @property
    def failure(self) -> Outcome:
        """The outcome of a chain that ends with this step, if it has no usable answer.

        For a rejected or cancelled step it is ``STEP_REJECTED``; for any other, the step's own outcome.
        """
        own = self.state in {State.UNREACHABLE, State.INTERRUPTED, State.DELIVERED}
        return self.outcome if own and self.outcome is not None else _FAILURES[self.state]

    def ending(self) -> Result:
        """Return the result of a chain that ends with this step."""
        if self.answered:
            return Result(self.status, self.data, self.error)
        return failure_result(self.failure, self.sent, status=self.status if self.state is State.DELIVERED else 0)


@dataclass(frozen=True, slots=True)
class Ran:
    """A step that has run: what expressions see of it, and the call that decides its result.

    This is its only call, or for a ``forEach`` the first that failed, else the last; None if the list was empty.
    """

    view: dict[str, Any]
    decisive: StepResult | None

    @classmethod
    def once(cls, result: StepResult) -> Self:
        """Return the end of a step with one call."""
        return cls(_view(result), result)

    @classmethod
    def each(cls, results: Sequence[StepResult]) -> Self:
        """Return the end of a ``forEach`` step, given its calls in the order of the elements."""
        if not results:
            return cls({"status": 204, "data": [], "error": False}, None)
        decisive = next((result for result in results if _view(result)["error"]), results[-1])
        own = _view(decisive)
        return cls(
            {"status": own["status"], "data": [_view(result) for result in results], "error": own["error"]}, decisive
        )

    @property
    def failed(self) -> bool:
        """Whether the step ended in error, according to the `error` of its result."""
        return bool(self.view["error"])

    def ending(self) -> tuple[Result, Outcome, State]:
        """Return the result, outcome and state of a chain that ends with this step."""
        if self.decisive is None or self.decisive.answered:
            view = self.view
            return Result(view["status"], view["data"], view["error"]), Outcome.ANSWERED, State.DELIVERED
        outcome = self.decisive.failure
        return self.decisive.ending(), outcome, MEANINGS[outcome].state


_FAILURES = {
    State.UNREACHABLE: Outcome.CONNECT_FAILED,
    State.INTERRUPTED: Outcome.LEASE_LOST,
    State.REJECTED: Outcome.STEP_REJECTED,
    State.CANCELLED: Outcome.STEP_REJECTED,
}


def _view(result: StepResult) -> dict[str, Any]:
    ending = result.ending()
    return {"status": ending.status, "data": ending.data, "error": ending.error}
