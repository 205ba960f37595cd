"""References from a target to secrets of its plugin, which are kept apart from it and read when a call is made. Pure.

In the texts of a target, a secret's name is put between two NULs, which no text of a registration may contain.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import quote

from relay.registration.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Where a text stands in a webhook's document: the names and numbers that lead to it.
Place: TypeAlias = "tuple[str | int, ...]"

NUL: Final = "\0"
_REFERENCE: Final = re.compile(f"{NUL}([^{NUL}]+){NUL}")
_IN_JSON: Final = re.compile(r"\\u0000([^\\]+)\\u0000")
#: Where a target's value holds the raw query of its URL.
_QUERY: Final = 4
#: The members of a client certificate, in the order in which a target's value has them.
_OF_CERTIFICATE: Final = ("certificate", "key")


def reference(name: str) -> str:
    """Return what stands in a target for a secret."""
    return f"{NUL}{name}{NUL}"


def referred(target: Target) -> tuple[str, ...]:
    """Return the names of the secrets to which a target refers, in order."""
    return tuple(sorted(set(_IN_JSON.findall(target.to_json().decode()))))


def spelled(target: Target) -> Target:
    """Return a target with its references as they are written in a registration, for people to read."""
    return Target.from_value(_replaced(json.loads(target.to_json()), lambda name: f"${{secret:{name}}}"))


def filled(target: Target, values: Mapping[str, str]) -> Target:
    """Return a target with its references replaced by values.

    Raises:
        DocumentError: a value does not fit where it stands. No fault quotes it.
    """
    from relay.registration.recheck import check_secrets  # noqa: PLC0415 - few processes check what is registered

    value = json.loads(target.to_json())
    query = _replaced(value["endpoint"][_QUERY], lambda name: quote(values[name], safe=""))
    value = _replaced(value, lambda name: values[name])
    value["endpoint"][_QUERY] = query
    made = Target.from_value(value)
    check_secrets(made)
    return made


def may_refer(place: Place) -> bool:
    """Return whether the value at this place of a webhook's document is secret, and so may refer to a secret."""
    match [step for step in place if isinstance(step, str)]:
        case ["auth", name]:
            return name not in {"type", "tokenUrl"}
        case ["url"] | ["signing"] | ["headers", _] | ["fixedData", *_] | ["auth", "tokenParams", _]:
            return True
    return False


def referring(target: Target, written: Mapping[Place, str]) -> Target:
    """Return a target in which these texts, by their places in the document, are as they were written."""
    value = json.loads(target.to_json())
    for place, text in written.items():
        holder, step = _place(value, place)
        holder[step] = text
    return Target.from_value(value)


def _replaced(value: Any, replacement: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {name: _replaced(each, replacement) for name, each in value.items()}
    if isinstance(value, list):
        return [_replaced(each, replacement) for each in value]
    if isinstance(value, str) and NUL in value:
        return _REFERENCE.sub(lambda found: replacement(found[1]), value)
    return value


def _place(value: Any, place: Place) -> tuple[Any, Any]:
    """Return where a target's value holds the text that stands at this place in the document."""
    names = [step for step in place if isinstance(step, str)]
    match names:
        case ["url"]:
            return value["endpoint"], _QUERY
        case ["signing"]:
            return value["signing"], next((step for step in place if isinstance(step, int)), 0)
        case ["auth", name] if name in _OF_CERTIFICATE:
            return value["credentials"]["certificate"], _OF_CERTIFICATE.index(name)
        case ["auth", *within_auth]:
            within: Place = ("credentials", "authorization", *within_auth)
        case _:
            within = place
    for step in within[:-1]:
        value = value[step]
    return value, within[-1]
