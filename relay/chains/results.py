"""What the steps of a chain came to, and how expressions see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from relay.answer.results import Result, failure_result
from relay.invocation import MEANINGS, Outcome, State

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class StepResult:
    """How one step's invocation ended. ``data`` is as the endpoint sent it: masked is only what leaves the relay."""

    status: int
    data: Any
    error: bool
    outcome: Outcome | None
    state: State

    @property
    def answered(self) -> bool:
        """Whether there is an answer whose data may be used."""
        return self.state is State.DELIVERED and self.outcome in {None, Outcome.ANSWERED}

    @property
    def failure(self) -> Outcome:
        """The outcome of a chain that ends with this step, if it has no usable answer.

        A step that was rejected or cancelled says that the chain could not go on; any other says its own.
        """
        own = self.state in {State.UNREACHABLE, State.INTERRUPTED, State.DELIVERED}
        return self.outcome if own and self.outcome is not None else _FAILURES[self.state]

    def ending(self) -> Result:
        """Return the result of a chain that ends with this step."""
        if self.answered:
            return Result(self.status, self.data, self.error)
        return failure_result(self.failure, status=self.status if self.state is State.DELIVERED else 0)


@dataclass(frozen=True, slots=True)
class Ran:
    """A step that was run: what expressions see of it, and the invocation that it stands and falls with.

    That is its only one, or of a ``forEach`` the first that failed, else the last; None if the list was empty.
    """

    view: dict[str, Any]
    decisive: StepResult | None

    @classmethod
    def once(cls, result: StepResult) -> Self:
        """Make the end of a step of one call."""
        return cls(_view(result), result)

    @classmethod
    def each(cls, results: Sequence[StepResult]) -> Self:
        """Make the end of a ``forEach`` step, its calls in the order of their elements."""
        if not results:
            return cls({"status": 204, "data": [], "error": False}, None)
        decisive = next((result for result in results if _view(result)["error"]), results[-1])
        own = _view(decisive)
        return cls(
            {"status": own["status"], "data": [_view(result) for result in results], "error": own["error"]}, decisive
        )

    @property
    def failed(self) -> bool:
        """Whether the step ended in error, as `error` of its result says."""
        return bool(self.view["error"])

    def ending(self) -> tuple[Result, Outcome, State]:
        """Result, outcome and state of a chain that ends with this step."""
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
