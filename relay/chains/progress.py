"""Decides what a chain does next, only from the plan, the input and the results so far. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from relay.answer.results import Result
from relay.chains.mapping import Unmappable, elements_of, evaluated, trigger_of
from relay.chains.results import Ran
from relay.domain.invocation import Outcome, State
from relay.text.expressions import is_true

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay.chains.plan import ChainPlan
    from relay.chains.results import StepResult
    from relay.registration import Step
    from relay.request.trigger import Trigger


@dataclass(frozen=True, slots=True)
class Create:
    """Create the invocations of this step: one, or one per element of its ``forEach``, in order."""

    step: int  # from 0
    triggers: tuple[Trigger, ...]


@dataclass(frozen=True, slots=True)
class Finish:
    """The chain ends with this result, which has not been masked yet."""

    result: Result
    outcome: Outcome
    state: State


@dataclass(frozen=True, slots=True)
class Reject:
    """The chain ends as STEP_REJECTED: this step cannot be made. ``reason`` is for operators, and quotes no data."""

    step: int  # from 0; the number of steps stands for the chain's own ``result``
    reason: str


Next: TypeAlias = Create | Finish | Reject

_NOTHING_RAN: Final = Finish(Result(204, None, error=False), Outcome.ANSWERED, State.DELIVERED)


def progress(plan: ChainPlan, trigger: Trigger, results: Mapping[int, Sequence[StepResult]]) -> Next:
    """Return what a chain does next, given the results of the steps that were created.

    ``results`` has the calls of every created step, all final, those of a ``forEach`` in the order of its elements.
    Every ``Create`` takes the chain to a later step, so every chain ends.
    """
    seen = seen_at_start(trigger)
    last: Ran | None = None
    for number, step in enumerate(plan.steps):
        try:
            ran = ran_step(plan, number, results, seen)
            if isinstance(ran, Create):
                return ran
            seen["steps"].append(None if ran is None else ran.view)
            if ran is not None:
                _check_masks(step, seen)
        except Unmappable as error:
            return Reject(number, str(error))
        if ran is None:
            continue
        last = ran
        if ran.failed and step.on_error == "stop":
            return Finish(*ran.ending())
    return _end(plan, last, seen)


def seen_at_start(trigger: Trigger) -> dict[str, Any]:
    """Return what expressions see before any step has run."""
    return {"input": trigger.to_value(), "steps": []}


def seen_before(
    plan: ChainPlan, trigger: Trigger, results: Mapping[int, Sequence[StepResult]], number: int
) -> dict[str, Any]:
    """Return what expressions see when step ``number`` is made; all steps before it have ended or were skipped."""
    seen = seen_at_start(trigger)
    for before in range(number):
        ran = ran_step(plan, before, results, seen)
        seen["steps"].append(ran.view if isinstance(ran, Ran) else None)
    return seen


def ran_step(
    plan: ChainPlan, number: int, results: Mapping[int, Sequence[StepResult]], seen: Mapping[str, Any]
) -> Ran | Create | None:
    """Return a step's result, or what to create for it; None if it is skipped. Raises Unmappable."""
    step, created = plan.steps[number], results.get(number)
    if created:
        return Ran.once(created[0]) if step.for_each is None else Ran.each(created)
    if step.when is not None and not is_true(evaluated(step.when, seen, "/when")):
        return None
    shape = plan.shapes[number]
    if shape is None:
        raise Unmappable("/webhook: its pinned revision is missing")
    elements = elements_of(step, seen)
    if elements is None:
        return Create(number, (trigger_of(step, shape, seen),))
    if not elements:
        return Ran.each(())
    return Create(number, tuple(trigger_of(step, shape, {**seen, "item": element}) for element in elements))


def _check_masks(step: Step, seen: Mapping[str, Any]) -> None:
    """Raise Unmappable for a mask that cannot be evaluated: the chain must end, or what the mask hides would leak."""
    for number, expression in enumerate(step.mask):
        evaluated(expression, seen, f"/mask/{number}")


def _end(plan: ChainPlan, last: Ran | None, seen: Mapping[str, Any]) -> Finish | Reject:
    """Return the end after the last step: the ``result``, with status and error of the last step that ran."""
    finish = _NOTHING_RAN if last is None else Finish(*last.ending())
    if plan.result is None:
        return finish
    try:
        data = evaluated(plan.result, seen, "/result")
    except Unmappable as error:
        return Reject(len(plan.steps), str(error))
    return Finish(Result(finish.result.status, data, finish.result.error), finish.outcome, finish.state)
