"""Declares a plugin's webhooks for TypeScript: the types of the module at `/webhooks.js`, and of its webhooks."""

from __future__ import annotations

import json
import re
from importlib import resources
from typing import TYPE_CHECKING, Final

from relay.declarations.kinds import NEVER, Alternatives, ArrayOf, Constants, Members, Named, Plain
from relay.declarations.names import TypeNames, note

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from relay.declarations.calls import WebhookCall
    from relay.declarations.kinds import Member, ValueKind

#: The types of the module, for any plugin.
MODULE_TYPES: Final = (resources.files("relay.declarations") / "webhooks.d.ts").read_text(encoding="utf-8")
MEDIA_TYPE: Final = "application/typescript; charset=utf-8"

_INDENT: Final = "  "
_IDENTIFIER: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*\Z")
_WORDS: Final[Mapping[str, str]] = {
    "any": "any",
    "never": "never",
    "null": "null",
    "boolean": "boolean",
    "integer": "number",
    "number": "number",
    "string": "string",
    "binary": "string | Blob | ArrayBuffer | ArrayBufferView",
    "nothing": "Record<string, never>",
    "data": "Data",
    "file": "Blob | { filename: string; contentType?: string; content: string }",
    "formData": "FormData",
}
#: Integers that a number of JavaScript holds exactly.
_MAX_EXACT: Final = 2**53 - 1


def typescript_of(plugin: str, calls: Iterable[WebhookCall]) -> str:
    """Return a `.d.ts` with all of `MODULE_TYPES` and the plugin's webhooks."""
    names = TypeNames()
    aliases: list[str] = []
    entries: list[str] = []
    for call in calls:
        named = {pointer: names.give(call.webhook_id, "Data", pointer) for pointer in call.named}
        writer = _Writer(named)
        aliases += [f"type {named[pointer]} = {writer.kind(kind, '')};" for pointer, kind in call.named.items()]
        entries += [*_comment(call.about, _INDENT * 2), f"{_INDENT * 2}{_name(call.webhook_id)}: {{"]
        entries += [f"{_INDENT * 3}{writer.member(name, each, _INDENT * 3)}" for name, each in call.members.items()]
        entries.append(f"{_INDENT * 2}}};")
    opening = [f"{_INDENT}/** The webhooks of the plugin {plugin}. */", f"{_INDENT}interface RelayWebhooks {{"]
    return "\n".join([MODULE_TYPES, *aliases, "declare global {", *opening, *entries, f"{_INDENT}}}", "}", ""])


class _Writer:
    """Writes kinds as types; those that references name have the given names."""

    def __init__(self, named: Mapping[str, str]) -> None:
        self._named = named

    def kind(self, kind: ValueKind, indent: str) -> str:
        if isinstance(kind, Plain):
            return _WORDS[kind.word]
        if isinstance(kind, Constants):
            return " | ".join(dict.fromkeys(_constant(value) for value in kind.values))
        if isinstance(kind, Alternatives):
            return " | ".join(dict.fromkeys(self.kind(each, indent) for each in kind.kinds))
        if isinstance(kind, ArrayOf):
            return f"Array<{self.kind(kind.item, indent)}>"
        return self._named[kind.pointer] if isinstance(kind, Named) else self._object(kind, indent)

    def member(self, name: str, member: Member, indent: str) -> str:
        return f"{_name(name)}{'' if member.required else '?'}: {self.kind(member.kind, indent)};"

    def _object(self, kind: Members, indent: str) -> str:
        others = kind.others
        if not kind.members:
            return "Record<string, never>" if others == NEVER else f"Record<string, {self.kind(others, indent)}>"
        inner = indent + _INDENT
        lines: list[str] = []
        for name, member in kind.members.items():
            lines += [*_comment(member.about, inner), inner + self.member(name, member, inner)]
        if others != NEVER:
            lines.append(f"{inner}[name: string]: any;")  # a narrower type would have to fit the members, too
        return "\n".join(["{", *lines, f"{indent}}}"])


def _constant(value: str | float) -> str:
    exact = isinstance(value, str | bool) or abs(value) <= _MAX_EXACT
    return json.dumps(value) if exact else "number"


def _name(name: str) -> str:
    return name if _IDENTIFIER.match(name) else json.dumps(name)


def _comment(text: str | None, indent: str) -> list[str]:
    said = note(text)
    return [f"{indent}/** {said} */"] if said else []
