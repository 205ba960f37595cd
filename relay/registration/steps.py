"""The steps of a chain: which webhook each calls, and how its trigger is made from input and earlier results."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias

from relay.text.expressions import Expression

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_STEPS: Final = 50
#: How deep chains may be nested; a chain of plain webhooks is one deep.
MAX_CHAIN_DEPTH: Final = 8
#: The most elements of one ``forEach``.
MAX_ELEMENTS: Final = 100
DEFAULT_CHAIN_TIMEOUT_S: Final = 120
MAX_CHAIN_TIMEOUT_S: Final = 900

OnError: TypeAlias = Literal["stop", "continue"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step. Its expressions see ``{input, steps}``.

    With ``for_each`` those of ``data`` and of the mappings also see ``item``.
    """

    webhook: str
    data: Expression | None = None
    headers: Mapping[str, Expression] = field(default_factory=dict, hash=False)
    query_params: Mapping[str, Expression] = field(default_factory=dict, hash=False)
    when: Expression | None = None
    on_error: OnError = "stop"
    for_each: Expression | None = None
    mask: tuple[Expression, ...] = ()
    path_params: Mapping[str, Expression] = field(default_factory=dict, hash=False)

    def expressions(self) -> Iterator[tuple[str, Expression, bool]]:
        """Yield every expression, with its JSON pointer in the step and whether it sees ``item``."""
        if self.when is not None:
            yield "/when", self.when, False
        if self.for_each is not None:
            yield "/forEach", self.for_each, False
        each = self.for_each is not None
        if self.data is not None:
            yield "/data", self.data, each
        yield from ((f"/headers/{name}", expression, each) for name, expression in self.headers.items())
        yield from ((f"/queryParams/{name}", expression, each) for name, expression in self.query_params.items())
        yield from ((f"/pathParams/{name}", expression, each) for name, expression in self.path_params.items())
        yield from ((f"/mask/{number}", expression, False) for number, expression in enumerate(self.mask))

    def to_value(self) -> dict[str, Any]:
        """Return the step as a registration document has it, with every member but an empty ``pathParams``."""
        path_params = {name: expression.text for name, expression in self.path_params.items()}
        return {
            "webhook": self.webhook,
            "data": self.data and self.data.text,
            "headers": {name: expression.text for name, expression in self.headers.items()},
            "queryParams": {name: expression.text for name, expression in self.query_params.items()},
            **({"pathParams": path_params} if path_params else {}),
            "when": self.when and self.when.text,
            "onError": self.on_error,
            "forEach": self.for_each and self.for_each.text,
            "mask": [expression.text for expression in self.mask],
        }

    @classmethod
    def from_value(cls, value: Mapping[str, Any]) -> Self:
        """Read the value that ``to_value`` returned."""
        return cls(
            webhook=value["webhook"],
            data=_expression(value["data"]),
            headers={name: Expression(text) for name, text in value["headers"].items()},
            query_params={name: Expression(text) for name, text in value["queryParams"].items()},
            when=_expression(value["when"]),
            on_error=value["onError"],
            for_each=_expression(value["forEach"]),
            mask=tuple(map(Expression, value["mask"])),
            path_params={name: Expression(text) for name, text in value.get("pathParams", {}).items()},
        )


def _expression(text: str | None) -> Expression | None:
    return None if text is None else Expression(text)
