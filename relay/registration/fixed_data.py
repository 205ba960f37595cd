"""Fixed data: members that a registration adds to what callers send. Their values are the target's, and secret. Pure.

Only their names are in the shape: a tree of objects, in which None stands for a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay.text.json_pointers import escape_step

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: The most bytes of fixed data, as compact JSON.
MAX_FIXED_BYTES: Final = 8_192

_UNSETTABLE: Final = "is not a member that callers of this webhook may set"


def names_in(fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tree of the names of fixed data."""
    return {name: names_in(value) if _is_inner(value) else None for name, value in fixed.items()}


def merged(data: Mapping[str, Any], fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Return a caller's data, which `setting_faults` has found nothing in, with the fixed members added."""
    added = {name: merged(data.get(name, {}), value) if _is_inner(value) else value for name, value in fixed.items()}
    return {**data, **added}


def setting_faults(names: Mapping[str, Any], data: Any, pointer: str = "") -> Iterator[tuple[str, str]]:
    """Yield pointer and sentence of each place at which a caller's data would set a fixed member.

    Names in another case are refused too: many servers take them for the same name.
    """
    if not isinstance(data, dict):
        yield pointer, "must be an object, since the registration adds members to it"
        return
    folded = {name.casefold() for name in names}
    for name, value in data.items():
        if name.casefold() in folded:
            place = f"{pointer}/{escape_step(name)}"
            if names.get(name) is None:
                yield place, _UNSETTABLE
            else:
                yield from setting_faults(names[name], value, place)


def scalars_in(value: Any, pointer: str = "") -> Iterator[tuple[str, str | int | float | bool | None]]:
    """Yield every text, number, boolean and null of fixed data with its pointer."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from scalars_in(inner, f"{pointer}/{escape_step(name)}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from scalars_in(inner, f"{pointer}/{number}")
    else:
        yield pointer, value


def covered(value: Any, cover: str) -> Any:
    """Return fixed data with ``cover`` in place of each value."""
    if isinstance(value, dict):
        return {name: covered(inner, cover) for name, inner in value.items()}
    return [covered(inner, cover) for inner in value] if isinstance(value, list) else cover


def _is_inner(value: Any) -> bool:
    return isinstance(value, dict) and bool(value)
