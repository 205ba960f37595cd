"""Loads the scripts so that a run stops before its n-th write, as if the server refused it, and judges what it leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.queue import LANES
from relay.store.scripting.library import library
from tests.store_keys import KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

_BEGINS = "local run = runs.begin(keys[1], args)\n"
#: Wraps `redis.call`: a writing command raises an error once as many as the key `stop` says were run.
_WRAPPED = """
local stops_after
local WRITES = {{ {writes} }}
local function given() return redis end -- while the library is loaded, another one than later
local redis = {{ register_function = redis.register_function }}
redis.pcall = function(...) return given().pcall(...) end
redis.call = function(command, ...)
  if stops_after and WRITES[command] then
    if stops_after == 0 then error({{ err = 'ERR stopped here' }}) end
    stops_after = stops_after - 1
  end
  return given().call(command, ...)
end
"""
FINAL = {"delivered", "unreachable", "interrupted", "rejected", "cancelled"}
#: Parts of the keys that have to end by themselves.
ENDING = (
    ":idem:",
    ":rate",
    ":refusals:",
    ":recent-over-capacity",
    ":minute:",
    ":hour:",
    ":gathered:",
    ":backlog:",
    ":secrets",
)
_EVERYTHING = """
local readers = {
  hash = function(key) return redis.call('HGETALL', key) end,
  string = function(key) return redis.call('GET', key) end,
  zset = function(key) return redis.call('ZRANGE', key, 0, -1) end,
}
local told = {}
for _, key in ipairs(redis.call('KEYS', 'relay:*')) do
  local read = readers[redis.call('TYPE', key)['ok']]
  told[#told + 1] = { key, redis.call('TTL', key), read and read(key) or '' }
end
return told
"""
_JOB_COUNTS = ("delivered", "failed", "matched")


def load(client: redis.Redis) -> None:
    """Load the wrapped scripts under the names of the real ones."""
    commands = client.command()
    writes = ", ".join(f"['{name.upper()}'] = true" for name, each in commands.items() if "write" in each["flags"])
    shebang, _, text = library().text.partition("\n")
    assert _BEGINS in text
    text = text.replace(_BEGINS, f"{_BEGINS}stops_after = tonumber(given().call('GET', 'stop') or '')\n")
    client.function_flush()
    client.function_load(f"{shebang}\n{_WRAPPED.format(writes=writes)}{text}")


def stop_after(client: redis.Redis, writes: int | None) -> None:
    """Let each run stop before it has made one more write than these; None: let it go on."""
    if writes is None:
        client.delete("stop")
    else:
        client.set("stop", writes)


class Left:
    """A reading of the whole store after a script."""

    def __init__(self, client: redis.Redis) -> None:
        self._ends: dict[str, int] = {}
        self._values: dict[str, Any] = {}
        for key, ends, value in client.eval(_EVERYTHING, 0):
            name = key.decode()
            self._ends[name] = ends
            texts = value.decode("latin-1") if isinstance(value, bytes) else [each.decode("latin-1") for each in value]
            self._values[name] = texts

    def faults(self) -> set[str]:
        """Return what no sweep and no pruning would ever set right."""
        return {*self._of_records(), *self._of_jobs(), *self._without_end()}

    def counts(self) -> dict[str, float]:
        """Return every count of the store, by key and field."""
        found: dict[str, float] = {}
        for name, value in self._values.items():
            if name.endswith((":pending", ":counted")) and isinstance(value, str):
                found[name] = float(value)
            elif name.endswith(("pending", ":bytes", ":counts", ":totals")) or ":minute:" in name or ":hour:" in name:
                found |= {f"{name} {field}": float(text) for field, text in _pairs(value) if field != "from"}
            elif _is_job(name):
                fields = dict(_pairs(value))
                found |= {f"{name} {field}": float(fields.get(field) or 0) for field in _JOB_COUNTS}
                # What a stopped run has begun to make counts as replayed, and so as skipped, when it is repeated.
                found[f"{name} decided"] = sum(float(fields.get(field) or 0) for field in ("started", "skipped"))
        return found

    def _members(self, *names: str) -> set[str]:
        return {member for name in names for member in self._values.get(name, ())}

    @property
    def _alarmed(self) -> set[str]:
        return self._members(KEYS.due_running(), *map(KEYS.due_queued, LANES))

    def _of_records(self) -> Iterator[str]:
        alarmed, expiring = self._alarmed, self._members(KEYS.expiry())
        for name in self._values:
            if not name.startswith(_RECORDS):
                continue
            ref, _, part = name.removeprefix(_RECORDS).partition(":")
            state = dict(_pairs(self._values.get(KEYS.record(ref), []))).get("state")
            if state is None:
                if self._ends[name] == -1:
                    yield f"{part or 'record'} without state"
            elif state not in FINAL:
                if ref not in alarmed:
                    yield f"{state} without alarm"
            elif ref not in expiring:
                yield f"{state} without expiry"
            elif part == "payload" and self._ends[name] == -1:
                yield f"payload of {state} without expiry"

    def _of_jobs(self) -> Iterator[str]:
        alarmed, expiring = self._alarmed, self._members(KEYS.expiry())
        for name, value in self._values.items():
            if not _is_job(name):
                continue
            fields, member = dict(_pairs(value)), f"replay-{name.rpartition(':')[2]}"
            if "createdAt" not in fields:
                yield "a part of a job"
            elif fields.get("finishedAt"):
                if member not in expiring:
                    yield "job without expiry"
            elif fields["state"] in {"running", "planning"} and member not in alarmed:
                yield f"{fields['state']} job without alarm"

    def _without_end(self) -> Iterator[str]:
        for name, ends in self._ends.items():
            part = next((part for part in ENDING if part in name), None)
            if part and ends == -1:
                yield f"{part} without end"


_RECORDS = "relay:{0}:inv:"


def _pairs(flat: list[str]) -> Iterator[tuple[str, str]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _is_job(name: str) -> bool:
    return name.startswith("relay:{0}:replay:") and name.count(":") == 3


def twice(before: Left, once: Left, now: Left) -> set[str]:
    """Return the counts that have changed by more than one run of the script changes them."""
    wrong = set()
    first, meant_end, end = before.counts(), once.counts(), now.counts()
    for name in meant_end.keys() | end.keys():
        meant, changed = (each.get(name, 0) - first.get(name, 0) for each in (meant_end, end))
        if abs(changed) > abs(meant) or changed * meant < 0:
            wrong.add(f"{name}: {changed:+g} instead of {meant:+g}")
    return wrong
