"""Gives the Lua scripts what they share with Python: the names of all keys, from the same templates, and constants."""

from __future__ import annotations

from string import Formatter
from typing import Final

from relay.domain.invocation import OWN_CALLERS
from relay.queue import GROUP_IDS, LANES, REPLAYS
from relay.registration.steps import MAX_CHAIN_TIMEOUT_S
from relay.store.keys.names import CHANNELS, PARTITIONED, PREFIX, SHARED, TRAIL
from relay.store.server.clock import UNNOTICED_MS
from relay.store.server.errors import FENCED_SENTENCE

#: How many replays of replays are followed.
MOST_HOPS: Final = 100
#: The error of scripts while their partition is fenced after a restore (relay/store/backups/epoch.py).
FENCED: Final = f"FENCED {FENCED_SENTENCE}"
#: How long, in milliseconds, the store keeps what only a running chain needs: longer than any chain may take.
_CHAIN_KEPT_MS: Final = 4 * MAX_CHAIN_TIMEOUT_S * 1_000


#: Functions with which scripts read what may be damaged: whole numbers, the fields of records (for their generated
#: readers), and `try`, which tells whether a function ran to its end. All other errors are raised.
_READING: Final = """\
local function is_damage(err)
  if type(err) ~= 'table' then return true end
  local text = err.err or ''
  return string.find(text, 'WRONGTYPE', 1, true) or string.find(text, 'is not an integer', 1, true)
    or string.find(text, 'not a valid float', 1, true)
end
local function try(act, ...)
  local is_whole, one, other = pcall(act, ...)
  if not is_whole and not is_damage(one) then error(one) end
  return is_whole, one, other
end
local function fields_of_record(...)
  local f = redis.pcall('HMGET', ...)
  if f.err and not is_damage(f) then error(f) end
  return f
end
local function whole(text)
  return text and #text < 17 and string.find(text, '^%-?%d+$') and text
end
local function created_of(ref)
  return string.format('%.0f', tonumber(string.sub(ref, 1, 8) .. string.sub(ref, 10, 13), 16) or 0)
end"""


def lua_constants() -> str:
    """Return the Lua source of the constants, and of the functions that every reader of records may use."""
    own = ", ".join(f"{caller} = true" for caller in sorted(OWN_CALLERS))
    lanes = ", ".join(f"'{lane}'" for lane in LANES)
    return "\n".join(
        (
            f"local LANES = {{ {lanes} }}",
            f"local IS_LANE = {{ [false] = false, {', '.join(f'{lane} = true' for lane in LANES)} }}",
            f"local OWN_CALLERS = {{ {own} }}",
            f"local JOB_LANE = '{REPLAYS}'",
            f"local GROUP_IDS = {GROUP_IDS}",
            f"local MOST_HOPS = {MOST_HOPS}",
            f"local CHAIN_KEPT_MS = {_CHAIN_KEPT_MS}",
            f"local UNNOTICED = {UNNOTICED_MS}",
            f"local FENCED = '{FENCED}'",
            _READING,
        )
    )


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
