"""Gives the Lua scripts the names of all keys, from the same templates as Python's."""

from __future__ import annotations

from string import Formatter

from relay.store.keys.names import CHANNELS, PARTITIONED, PREFIX, SHARED, TRAIL


def lua_prelude() -> str:
    """Return the Lua source of a table ``KEY`` with one function per key; ``ROOT`` is the root of a run."""
    rooted = {kind: ("ROOT .. ", template) for kind, template in (PARTITIONED | SHARED | TRAIL).items()}
    channels = {kind: ("", PREFIX + template) for kind, template in CHANNELS.items()}
    lines = ["local KEY = {}"]
    for kind, (root, template) in (rooted | channels).items():
        pieces, names = [], []
        for literal, name, _, _ in Formatter().parse(template):
            if literal:
                pieces.append(f"'{literal}'")
            if name:
                pieces.append(name)
                names.append(name)
        lines.append(f"function KEY.{kind}({', '.join(names)}) return {root}{' .. '.join(pieces)} end")
    return "\n".join(lines)
