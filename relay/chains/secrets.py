"""Finds the texts that a chain hides: those that its steps' ``mask`` expressions find in the endpoints' answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay.chains.mapping import Unmappable
from relay.chains.progress import Create, ran_step, seen_at_start
from relay.chains.results import Ran
from relay.registration.header_rules import MIN_MASKED_LENGTH
from relay.text.expressions import Unevaluable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from relay.chains.plan import ChainPlan
    from relay.chains.results import StepResult
    from relay.registration import Step
    from relay.request.trigger import Trigger

#: The most texts and characters that one chain may hide: more would slow other calls down too much.
MAX_SECRETS: Final = 256
MAX_SECRET_CHARACTERS: Final = 8 * 1024


class TooManySecrets(ValueError):
    """The masks of a chain find more texts than it may hide; ``step`` says where (None: in the chains above)."""

    def __init__(self, step: int | None) -> None:
        super().__init__(f"/mask: finds more than {MAX_SECRETS} texts or {MAX_SECRET_CHARACTERS} characters to hide")
        self.step = step


def found_secrets(
    plan: ChainPlan, trigger: Trigger, results: Mapping[int, Sequence[StepResult]], above: Iterable[str] = ()
) -> tuple[str, ...]:
    """Return the texts ``above``, of enclosing chains, and those that the masks of the finished steps find, each once.

    All of them must be hidden in whatever leaves the relay for this chain. Texts inside lists count; texts shorter than
    ``MIN_MASKED_LENGTH`` and other values do not. Raises TooManySecrets.
    """
    found = _Found(above)
    seen = seen_at_start(trigger)
    for number, step in enumerate(plan.steps):
        try:
            ran = ran_step(plan, number, results, seen)
        except Unmappable:
            break
        if isinstance(ran, Create):
            break
        seen["steps"].append(None if ran is None else ran.view)
        if ran is None:
            continue
        found.take(number, step, seen)
        if ran.failed and step.on_error == "stop":
            break
    return found.texts


def secrets_beside(
    step: Step, number: int, seen: Mapping[str, Any], result: StepResult, above: Iterable[str]
) -> tuple[str, ...]:
    """Return the texts ``above``, and those that a step's masks find in one of its results.

    ``seen`` is what expressions see before the step has run.

    Raises TooManySecrets.
    """
    found = _Found(above)
    ran = Ran.once(result) if step.for_each is None else Ran.each([result])
    found.take(number, step, {**seen, "steps": [*seen["steps"], ran.view]})
    return found.texts


class _Found:
    def __init__(self, texts: Iterable[str]) -> None:
        self._texts: dict[str, None] = {}
        self._characters = 0
        self._add(texts)

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(self._texts)

    def take(self, number: int, step: Step, seen: Mapping[str, Any]) -> None:
        for expression in step.mask:
            try:
                value = expression.evaluate(seen)
            except Unevaluable:  # the chain ends there: see `progress`
                continue
            self._add(_secret_texts(value), number)

    def _add(self, texts: Iterable[str], number: int | None = None) -> None:
        for text in texts:
            if text in self._texts:
                continue
            self._texts[text] = None
            self._characters += len(text)
            if len(self._texts) > MAX_SECRETS or self._characters > MAX_SECRET_CHARACTERS:
                raise TooManySecrets(number)


def _secret_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str) and len(value) >= MIN_MASKED_LENGTH:
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _secret_texts(item)
