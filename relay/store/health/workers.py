"""Records which worker processes are alive and which lanes they serve; each sends a heartbeat about once a second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from relay.errors import Unavailable
from relay.queue import LANES
from relay.store.keys import keyspace
from relay.store.keys.names import SHARED_ROOT
from relay.store.scripting.scripts import Scripts
from relay.store.server.availability import going_on_without
from relay.store.server.clock import TOLD_MS, time_ms_from
from relay.store.server.errors import store_errors
from relay.store.server.fields import MOST
from relay.store.server.replies import replies_to

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    import redis

    from relay.store.server.clock import ClockJump

#: After this many milliseconds without a heartbeat a worker counts as gone.
SILENCE_MS: Final = 4_000
#: After this many milliseconds without a heartbeat a worker is deleted from the list.
FORGET_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class LiveWorker:
    """A worker process with a recent heartbeat."""

    name: str
    lanes: frozenset[str]
    silent_ms: int


class Workers:
    """Heartbeats of workers. Every method raises `Unavailable` while the server is away."""

    def __init__(self, client: redis.Redis) -> None:
        self._client: Any = client
        self._scripts = Scripts(client)
        self.number_alive = 1  # how many workers were alive at this process's last beat

    def beat(self, worker: str, lanes: Collection[str]) -> int:
        """Send the heartbeat of a worker that serves these lanes; return the server's time, in milliseconds."""
        now_ms, self.number_alive = self._scripts.run("beat", [worker, ",".join(sorted(lanes)), FORGET_MS, SILENCE_MS])
        return int(now_ms)

    def note_jump(self, jump: ClockJump) -> None:
        """Record that the server's clock has jumped; the record lasts for `TOLD_MS`."""
        with store_errors():
            self._client.set(keyspace.shared("clock_jump"), jump.to_text(), px=TOLD_MS)

    def alive(self) -> list[LiveWorker]:
        """List the workers that sent a heartbeat within `SILENCE_MS`, by name."""
        with store_errors():
            beats = self._client.zrange(keyspace.shared("workers"), 0, -1, withscores=True)
        lanes, time = replies_to(self._client, [("HGETALL", keyspace.shared("worker_lanes"))], time_of=SHARED_ROOT)
        served = {} if isinstance(lanes, Exception) else lanes
        return sorted(live_workers(beats, served, time_ms_from(time)), key=lambda worker: worker.name)


def known_workers(workers: Workers) -> list[LiveWorker] | None:
    """List the live workers, like `Workers.alive`; None if the shared keys do not answer soon."""
    try:
        with going_on_without():
            return workers.alive()
    except Unavailable:
        return None


def live_workers(
    beats: Iterable[tuple[bytes, float]], lanes: Mapping[bytes, bytes], now_ms: float
) -> Iterable[LiveWorker]:
    """Yield the workers whose heartbeat is at most `SILENCE_MS` old; one further ahead is from before a clock jump."""
    for name, at_ms in beats:
        silent_ms = int(max(-MOST, min(MOST, now_ms - at_ms)))  # an altered time may be infinite
        if abs(silent_ms) <= SILENCE_MS:
            served = lanes.get(name, b"").decode("utf-8", "backslashreplace")
            shown = name.decode("utf-8", "backslashreplace")
            yield LiveWorker(shown, frozenset(filter(None, served.split(","))), max(0, silent_ms))


def workers_by_lane(workers: Collection[LiveWorker]) -> dict[str, int]:
    """Count the workers that serve each lane."""
    return {lane: sum(lane in worker.lanes for worker in workers) for lane in LANES}
