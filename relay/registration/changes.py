"""Compares two revisions of a webhook, member by member; for secrets it shows only that they differ. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from relay.registration.fixed_data import scalars_in
from relay.registration.target import ChainTarget

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.registration.shape import Shape
    from relay.registration.target import Target

#: Shown instead of a secret value, and instead of the secret value that replaced it.
HIDDEN: Final = "(hidden)"
CHANGED: Final = "changed"


@dataclass(frozen=True, slots=True)
class Change:
    """A member that differs, None on the side that lacks it. A secret is `HIDDEN`, and `CHANGED` after a change."""

    member: str
    before: Any
    after: Any


def changes(before: tuple[Shape, Target | ChainTarget], after: tuple[Shape, Target | ChainTarget]) -> list[Change]:
    """Return the members that differ, sorted by name."""
    old, new = _members(*before), _members(*after)
    differing = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    return [_change(name, old.get(name), new.get(name)) for name in differing]


@dataclass(frozen=True, slots=True)
class _Hidden:
    """A secret, which is compared but not shown."""

    text: str


def _members(shape: Shape, target: Target | ChainTarget) -> dict[str, Any]:
    members: dict[str, Any] = {
        name: value for name, value in json.loads(shape.to_json()).items() if value not in (None, [], {}, False)
    }
    members.pop("fixedMembers", None)
    if isinstance(target, ChainTarget):
        members.update(json.loads(target.to_json()))
        return members
    members["url"] = _Hidden(target.endpoint.url) if "?" in target.endpoint.url else target.endpoint.url
    members |= {f"headers.{name}": _Hidden(value) for name, value in target.headers.items()}
    members |= {f"signing.{index}": _Hidden(secret) for index, secret in enumerate(target.signing)}
    members |= {f"fixedData{at}": _Hidden(json.dumps(value)) for at, value in scalars_in(target.fixed_data)}
    return members | _credentials(target.credentials.to_value())


def _credentials(value: Mapping[str, Any]) -> dict[str, Any]:
    return {f"auth.{name}": _Hidden(json.dumps(each)) for name, each in value.items() if each is not None}


def _change(name: str, old: Any, new: Any) -> Change:
    if isinstance(old, _Hidden) and isinstance(new, _Hidden):
        return Change(name, HIDDEN, CHANGED)
    return Change(name, _shown(old), _shown(new))


def _shown(value: Any) -> Any:
    return HIDDEN if isinstance(value, _Hidden) else value
