"""Generates the two Lua modules with what the scripts share with Python: the names of all keys, and constants."""

from __future__ import annotations

from string import Formatter
from typing import Final

from relay.domain.invocation import OWN_CALLERS
from relay.queue import GROUP_IDS, LANES, REPLAYS
from relay.registration.steps import MAX_CHAIN_TIMEOUT_S
from relay.store.keys.names import CHANNELS, PARTITIONED, PREFIX, SHARED, TRAIL
from relay.store.server.clock import UNNOTICED_MS
from relay.store.server.errors import FENCED_SENTENCE
from relay.store.server.replicas import KEPT_MS

#: How many replays of replays are followed.
MOST_HOPS: Final = 100
#: The error of scripts while their partition is fenced after a restore (relay/store/backups/epoch.py).
FENCED: Final = f"FENCED {FENCED_SENTENCE}"
#: How long the store keeps what only a running chain needs, in milliseconds: longer than any chain may take.
_CHAIN_KEPT_MS: Final = 4 * MAX_CHAIN_TIMEOUT_S * 1_000


def constants_module() -> str:
    """Return the text of the Lua module ``constants``."""
    own = ", ".join(f"{caller} = true" for caller in sorted(OWN_CALLERS))
    lanes = ", ".join(f"'{lane}'" for lane in LANES)
    is_lane = ", ".join(f"{lane} = true" for lane in LANES)
    members = (
        f"LANES = {{ {lanes} }}",
        f"IS_LANE = {{ [false] = false, {is_lane} }}",
        f"LAST_LANE = '{LANES[-1]}'",
        f"OWN_CALLERS = {{ {own} }}",
        f"JOB_LANE = '{REPLAYS}'",
        f"GROUP_IDS = {GROUP_IDS}",
        f"MOST_HOPS = {MOST_HOPS}",
        f"CHAIN_KEPT_MS = {_CHAIN_KEPT_MS}",
        f"CONFIRMED_KEPT_MS = {KEPT_MS}",
        f"UNNOTICED = {UNNOTICED_MS}",
        f"FENCED = '{FENCED}'",
    )
    return "return {\n  " + ",\n  ".join(members) + ",\n}\n"


def keys_module() -> str:
    """Return the text of the Lua module ``keys``: a function for each key, which takes the run and what varies."""
    rooted = {kind: ("run.root .. ", template) for kind, template in (PARTITIONED | SHARED | TRAIL).items()}
    channels = {kind: ("", PREFIX + template) for kind, template in CHANNELS.items()}
    lines = ["local KEY = {}"]
    for kind, (root, template) in (rooted | channels).items():
        pieces, names = [], ["run" if root else "_"]
        for literal, name, _, _ in Formatter().parse(template):
            if literal:
                pieces.append(f"'{literal}'")
            if name:
                pieces.append(name)
                names.append(name)
        lines.append(f"function KEY.{kind}({', '.join(names)}) return {root}{' .. '.join(pieces)} end")
    return "\n".join((*lines, "return KEY", ""))
