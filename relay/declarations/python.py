"""Declares a plugin's webhooks for Python: a module of `TypedDict`s, and of the client's calls with their types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.declarations.kinds import NEVER, Alternatives, ArrayOf, Constants, Members, Named, Plain, union
from relay.declarations.names import TypeNames, note

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from relay.declarations.calls import WebhookCall
    from relay.declarations.kinds import ValueKind

_HEAD: Final = '''\
"""The webhooks of the plugin {plugin}, as `relay webhooks types` wrote them: their ids, and what each of them takes.

    from {example} import webhooks_of

    with Relay(url, key) as relay:
        webhooks_of(relay).trigger(...)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import IO, TYPE_CHECKING, Any, Literal, Never, NotRequired, Protocol, TypedDict, Union, cast, overload

if TYPE_CHECKING:
    from relay.client import AsyncRelay, Relay


class Result(TypedDict):
    """What became of a trigger."""

    referenceId: str
    status: int
    data: Any
    error: bool


class File(TypedDict):
    """A file that is a member of data; its content is base64 text."""

    filename: str
    contentType: NotRequired[str]
    content: str


class Accepted(TypedDict):
    """A trigger that was accepted."""

    referenceId: str
    state: str
'''
_TAIL: Final = '''

@overload
def webhooks_of(relay: Relay) -> Webhooks: ...
@overload
def webhooks_of(relay: AsyncRelay) -> AsyncWebhooks: ...
def webhooks_of(relay: Relay | AsyncRelay) -> Webhooks | AsyncWebhooks:
    """Return the client's calls with the types of this plugin's webhooks."""
    return cast("Webhooks | AsyncWebhooks", relay.webhooks)
'''
_WORDS: Final[Mapping[str, str]] = {
    "any": "Any",
    "never": "Never",
    "null": "None",
    "boolean": "bool",
    "integer": "int",
    "number": "float",
    "string": "str",
    "binary": "Union[str, bytes, bytearray, memoryview]",
    "nothing": "Mapping[str, Never]",
    "data": "Union[str, Mapping[str, Any], list[Any], None]",
    "file": "Union[IO[bytes], File]",
    "formData": "Never",
}
#: The parameters of the client's calls that every webhook has; a trigger's own members come first.
_SHARED: Final = ("subject: str | None = None", "timeout_s: float | None = None", "idempotency_key: str | None = None")
#: The parameters of each of these calls.
_OPTIONS: Final = {"trigger": _SHARED, "trigger_async": (*_SHARED, "delay_s: float | None = None")}
_RESULTS: Final = {"trigger": "Result", "trigger_async": "Accepted"}
#: The client's parameters for a trigger's members, in their order.
_PARAMETERS: Final = {"data": "data", "headers": "headers", "queryParams": "query_params"}
#: The same, for those that are given by name.
_NAMED_PARAMETERS: Final = {"pathParams": "path_params"}
_ITEM_OPTIONS: Final = '"subject": NotRequired[str], "idempotencyKey": NotRequired[str], "delay": NotRequired[float]'


def python_of(plugin: str, calls: Iterable[WebhookCall]) -> str:
    """Return the text of the module; it needs nothing but Python 3.11, and the client to check types."""
    module = _Module()
    for call in calls:
        module.add(call)
    example = f"{plugin.replace('-', '_')}_webhooks"
    head = _HEAD.replace("{plugin}", plugin).replace("{example}", example if example.isidentifier() else "webhooks")
    parts = [head, *module.types, module.protocol("Webhooks", ""), module.protocol("AsyncWebhooks", "async "), _TAIL]
    return "\n".join(parts)


class _Module:
    """The types of the calls that were added, and the calls themselves."""

    def __init__(self) -> None:
        self.types: list[str] = []
        self._names = TypeNames()
        self._calls: list[tuple[WebhookCall, dict[str, str]]] = []
        self._items: list[str] = []
        self._named: dict[str, str] = {}

    def add(self, call: WebhookCall) -> None:
        """Write the types of a webhook's members."""
        self._named = {pointer: self._names.give(call.webhook_id, "Data", pointer) for pointer in call.named}
        for pointer, kind in call.named.items():
            self._define_named(self._named[pointer], kind)
        types = {name: self._kind(each.kind, (call.webhook_id, name)) for name, each in call.members.items()}
        self._calls.append((call, types))
        item = self._names.give(call.webhook_id, "Item")
        members = [f'"webhookId": Literal[{call.webhook_id!r}]']
        members += [
            f'"{name}": {types[name] if each.required else f"NotRequired[{types[name]}]"}'
            for name, each in call.members.items()
        ]
        self.types.append(f"{item} = TypedDict({item!r}, {{{', '.join([*members, _ITEM_OPTIONS])}}})")
        self._items.append(item)

    def protocol(self, name: str, opening: str) -> str:
        """Return the calls as a class; ``opening`` begins each definition."""
        lines = ["", "", f"class {name}(Protocol):", '    """The client\'s calls, each with what its webhook takes."""']
        for method, options in _OPTIONS.items():
            for call, types in self._calls:
                given = _parameters(call, types, _PARAMETERS)
                named = [*_parameters(call, types, _NAMED_PARAMETERS), *options]
                parameters = [f"webhook_id: Literal[{call.webhook_id!r}]", *given, "*", *named]
                lines += _method(opening, method, parameters, _RESULTS[method], overloaded=len(self._calls) > 1)
            if not self._calls:
                lines += _method(opening, method, ["webhook_id: Never"], _RESULTS[method], overloaded=False)
        items = " | ".join(self._items) or "Never"
        many = [f"items: Iterable[{items}]", "*", "timeout_s: float | None = None"]
        lines += _method(opening, "trigger_many", many, "list[dict[str, Any]]", overloaded=False)
        return "\n".join(lines)

    def _define_named(self, name: str, kind: ValueKind) -> None:
        if isinstance(kind, Members) and kind.members and kind.others == NEVER:
            self._typed_dict(name, kind)
        else:
            self.types.append(f"{name} = {self._kind(kind, (name,))}")

    def _kind(self, kind: ValueKind, path: tuple[str, ...]) -> str:
        """Return a kind's type; write those that need a name of their own first."""
        if isinstance(kind, Plain):
            return _WORDS[kind.word]
        if isinstance(kind, Constants):
            return f"Literal[{', '.join(dict.fromkeys(map(ascii, kind.values)))}]"
        if isinstance(kind, Alternatives):
            return f"Union[{', '.join(dict.fromkeys(self._kind(each, path) for each in kind.kinds))}]"
        if isinstance(kind, ArrayOf):
            return f"list[{self._kind(kind.item, path)}]"
        if isinstance(kind, Named):
            return f'"{self._named[kind.pointer]}"'
        return self._object(kind, path)

    def _object(self, kind: Members, path: tuple[str, ...]) -> str:
        if kind.members and kind.others == NEVER:
            name = self._names.give(*path)
            self._typed_dict(name, kind)
            return name
        # A TypedDict cannot have members of other names.
        others = union([kind.others, *(each.kind for each in kind.members.values())])
        return "Mapping[str, Never]" if others == NEVER else f"Mapping[str, {self._kind(others, path)}]"

    def _typed_dict(self, name: str, kind: Members) -> None:
        lines = [f"{name} = TypedDict("]
        members: list[str] = []
        for member, each in kind.members.items():
            found = self._kind(each.kind, (name, member))
            said = note(each.about)
            members += [f"        # {said}"] if said else []
            members.append(f"        {member!a}: {found if each.required else f'NotRequired[{found}]'},")
        lines += [f"    {name!r},", "    {", *members, "    },", ")"]
        self.types.append("\n".join(lines))


def _parameters(call: WebhookCall, types: Mapping[str, str], names: Mapping[str, str]) -> list[str]:
    """Return the parameters for a trigger's members: None may be given for what is not required."""
    return [
        f"{names[name]}: {types[name]}{'' if each.required else ' = None'}"
        for name, each in call.members.items()
        if name in names
    ]


def _method(opening: str, name: str, parameters: list[str], result: str, *, overloaded: bool) -> list[str]:
    lines = ["    @overload"] if overloaded else []
    return [*lines, f"    {opening}def {name}(self, {', '.join(parameters)}) -> {result}: ..."]
