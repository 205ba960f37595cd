"""Notices: the ends of invocations, published to the API processes whose callers wait for them.

A message on a process's channel holds any number of entries. Each is a line ``reference-id state outcome status error
sent size``, and ``size`` bytes of sealed result. ``-`` stands for a missing value. Size -1 means that the result is too
large for a notice and has to be read from the store. A newer release may add words after these.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from zlib import crc32

from redis.cluster import RedisCluster

from relay.domain.invocation import Outcome, Sent, State
from relay.errors import Unavailable
from relay.process.loops import Failures
from relay.store.keys import keyspace
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.partitions.reachable import ask_groups
from relay.store.scripting.scripts import Scripts
from relay.store.server.availability import going_on_without
from relay.store.server.errors import is_ours
from relay.store.server.replicas import primaries_of, refresh_primaries

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence

    import redis

    from relay.store.partitions.spreading import Spread
#: How soon a stop is noticed, after how much silence the connection is tested with a ping, and after how much it is
#: given up, in seconds. In a cluster, another server has the same notices.
_OF_A_SERVER: Final = (1.0, 5.0, 10.0)
_OF_A_CLUSTER: Final = (0.25, 0.4, 0.9)
_PAUSE_FIRST_S: Final = 0.05
_PAUSE_MAXIMUM_S: Final = 1.0
#: How soon, in seconds, a partition that did not confirm is asked again; this may hold up others' notices for a second.
_CONFIRM_AGAIN_S: Final = 5.0
_MOST_UNCONFIRMED: Final = 10_000  # of one partition; callers whose notice is dropped find out later


class Notice(NamedTuple):
    """The end of an invocation. ``sealed`` is the result's data; None if there is none, or if it is ``in_store``."""

    reference_id: str
    state: State
    outcome: Outcome | None
    status: int | None
    error: bool | None
    sent: Sent | None  # for an end without an acceptable answer: whether a request may have left
    sealed: bytes | None = None
    in_store: bool = False  # the result is too large for a notice: read it from the store


def read_notices(message: bytes) -> Iterator[Notice]:
    """Yield the entries of one message. Raises ``ValueError`` for a form that this release does not know."""
    at = 0
    while at < len(message):
        line_end = message.index(b"\n", at)
        ref, state, outcome, status, error, sent, size, *_ = message[at:line_end].decode().split(" ")
        at = line_end + 1 + max(0, int(size))
        yield Notice(
            reference_id=ref,
            state=State(state),
            outcome=None if outcome == "-" else Outcome(outcome),
            status=None if status == "-" else int(status),
            error=None if error == "-" else error == "1",
            sent=None if sent == "-" else Sent(sent),
            sealed=message[line_end + 1 : at] or None,
            in_store=size == "-1",
        )


def _unchanged(message: Any) -> Any:
    """Return the message unchanged; redis-py's own handler formats every message for its log."""
    return message


class Subscription:
    """One API process's channel; ``run`` reads it for as long as the process lives."""

    def __init__(self, client: redis.Redis, process: str, keys: Keyspace = SINGLE) -> None:
        self._client: Any = client
        self._scripts = Scripts(client)
        self._keys = keys
        self._unconfirmed: dict[str, deque[Notice]] = {}  # by root
        self._confirm_at_s = 0.0  # when to ask for these again
        self.process = process
        self._channel = keyspace.notice(process)
        self._number = crc32(process.encode())  # processes spread over the servers of a cluster
        self._silence = _OF_A_CLUSTER if isinstance(cast("Any", client), RedisCluster) else _OF_A_SERVER

    def run(self, deliver: Callable[[Notice], None], renew: Callable[[], None], stop: threading.Event) -> None:
        """Pass every notice to ``deliver`` until ``stop`` is set, even across restarts of the server.

        ``renew`` is called after every subscription, including the first. Notices published before that are lost, so
        the waiters have to find out from the store whether their calls have ended.
        """
        pause_s = _PAUSE_FIRST_S
        failures = Failures("notices")
        while not stop.is_set():
            try:
                for notice in self._listen(renew, stop):
                    pause_s = _PAUSE_FIRST_S
                    failures.succeeded()
                    deliver(notice)
                failures.succeeded()
            except Exception as error:  # noqa: BLE001 - the waiters depend on this, so no error may end it
                failures.note(error if is_ours(error) else Unavailable())
                stop.wait(pause_s)
                pause_s = min(2 * pause_s, _PAUSE_MAXIMUM_S)

    def _confirmed(self, notices: list[Notice]) -> list[Notice]:
        """Return the notices of ends that enough replicas have, so that a failover cannot undo them.

        If a partition does not confirm, its notices are kept and checked again later: its callers wait longer, those
        of other partitions hardly at all.
        """
        if not self._scripts.waits:
            return notices
        held = [notice for notice in notices if self._root_of(notice) in self._unconfirmed]
        self._keep(held)
        return self._ended([notice for notice in notices if notice not in held] if held else notices)

    def _confirmed_since(self) -> Iterator[Notice]:
        """Ask again, every few seconds, for the notices that were not confirmed; yield those that are now."""
        if self._unconfirmed and time.monotonic() >= self._confirm_at_s:
            kept, self._unconfirmed = self._unconfirmed, {}
            yield from self._ended([notice for notices in kept.values() for notice in notices])

    def _ended(self, notices: Sequence[Notice]) -> list[Notice]:
        """Return notices whose end the present primary and enough replicas have; keep those of silent partitions."""

        def ended(group: Spread[Notice]) -> list[Notice]:
            found = self._scripts.run("ended", [notice.reference_id for notice in group.items], group.root)
            return [notice for notice, is_final in zip(group.items, found, strict=True) if is_final]

        replies, left = ask_groups(self._client, notices, self._root_of, ended)
        if left:
            self._keep(left)
            self._confirm_at_s = time.monotonic() + _CONFIRM_AGAIN_S
        return [notice for reply in replies for notice in reply]

    def _root_of(self, notice: Notice) -> str:
        return self._keys.root_of_ref(notice.reference_id)

    def _keep(self, notices: Sequence[Notice]) -> None:
        """Keep notices for later, without their results, which are in the store; new ones displace the oldest."""
        for notice in notices:
            slim = notice._replace(sealed=None, in_store=notice.in_store or notice.sealed is not None)
            kept = self._unconfirmed.setdefault(self._root_of(notice), deque(maxlen=_MOST_UNCONFIRMED))
            kept.append(slim)

    def _next_server(self) -> Any:
        """Return a client of a cluster's next server: each has every notice, and the last one may be silent."""
        self._number += 1
        refresh_primaries(self._client, at_most_once_in_s=_PAUSE_MAXIMUM_S)
        servers = sorted(primaries_of(self._client), key=_place)
        return servers[self._number % len(servers)]

    def _listen(self, renew: Callable[[], None], stop: threading.Event) -> Iterator[Notice]:
        poll_s, ping_after_s, given_up_s = self._silence
        with self._next_server().pubsub(push_handler_func=_unchanged) as pubsub:
            with going_on_without():
                pubsub.subscribe(self._channel)
            heard_at_s, asked = time.monotonic(), False
            while not stop.is_set():
                message = pubsub.get_message(timeout=poll_s)
                now_s = time.monotonic()
                yield from self._confirmed_since()
                if message is not None:
                    heard_at_s, asked = now_s, False
                    if message["type"] == "subscribe":  # the first one, or redis-py has reconnected by itself
                        renew()
                    elif message["type"] == "message":
                        try:
                            notices = list(read_notices(message["data"]))
                        except ValueError:
                            renew()  # another release wrote it: the waiters read their records
                        else:
                            yield from self._confirmed(notices)
                elif now_s - heard_at_s >= given_up_s:
                    renew()  # the connection is dead, although no error was raised; the next one may take a moment
                    return
                elif now_s - heard_at_s >= ping_after_s and not asked:
                    pubsub.ping()
                    asked = True


def _place(server: Any) -> tuple[str, ...]:
    options = server.connection_pool.connection_kwargs
    return str(options.get("host")), str(options.get("port"))
