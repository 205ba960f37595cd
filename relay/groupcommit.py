"""Group commit: what concurrent threads bring is committed together, without a thread of its own.

The first to come leads: it commits what is there and hands the lead to the first of those that came meanwhile. A
lone item is therefore never delayed, and under load a group is what arrived during one commit. When a commit held
more than one item, the next leader waits a moment more, so that a burst becomes a few large groups.
"""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True, eq=False)
class _Ticket(Generic[T, R]):
    """One caller's item on its way. ``woken`` is locked until there is a reply, or it is this caller's turn to lead."""

    item: T
    size_bytes: int
    woken: threading.Lock = field(default_factory=threading.Lock)
    leads: bool = False
    pauses: bool = False  # when it leads: it follows a group of several
    replies: list[R] = field(default_factory=list)  # none or one
    error: BaseException | None = None

    def reply(self) -> R:
        if self.replies:
            return self.replies[0]
        raise copy.copy(self.error) if self.error else RuntimeError("a group was left without a reply")


class GroupCommit(Generic[T, R]):
    """Groups what ``submit`` brings, at most ``max_items`` and ``max_bytes`` each; a larger single item goes alone.

    ``commit`` gets the items of a group in order and returns one reply each; what it raises reaches every caller of
    the group. ``window_s`` is how long the leader after a group of several waits for more.
    """

    def __init__(
        self, commit: Callable[[Sequence[T]], Sequence[R]], *, max_items: int, max_bytes: int, window_s: float
    ) -> None:
        self._commit = commit
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._window_s = window_s
        self._changed = threading.Condition()
        self._waiting: list[_Ticket[T, R]] = []
        self._waiting_bytes = 0
        self._led = False

    def submit(self, item: T, size_bytes: int) -> R:
        """Bring one item and wait for its reply."""
        ticket: _Ticket[T, R] = _Ticket(item, size_bytes)
        ticket.woken.acquire()
        if self._enter(ticket):
            self._lead(ticket)
            return ticket.reply()
        ticket.woken.acquire()  # until the reply is there, or the lead is handed on
        if ticket.leads:
            self._lead(ticket)
        return ticket.reply()

    def _enter(self, ticket: _Ticket[T, R]) -> bool:
        """Queue a ticket; whether its caller is to lead because nobody does."""
        with self._changed:
            self._waiting.append(ticket)
            self._waiting_bytes += ticket.size_bytes
            if self._full():
                self._changed.notify()
            leads, self._led = not self._led, True
        return leads

    def _lead(self, ticket: _Ticket[T, R]) -> None:
        group = self._take(pause=ticket.pauses)
        try:
            replies = self._commit([each.item for each in group])
            for each, reply in zip(group, replies, strict=True):
                each.replies.append(reply)
        except BaseException as error:  # noqa: BLE001 - it is everybody's: each caller raises it
            for each in group:
                each.error = error
        self._hand_on(busy=len(group) > 1)
        for each in group:
            if each is not ticket:
                each.woken.release()

    def _take(self, *, pause: bool) -> list[_Ticket[T, R]]:
        """The next group, first come first served; with ``pause`` after a moment, or as soon as it is full."""
        with self._changed:
            if pause:
                self._changed.wait_for(self._full, self._window_s)
            count, size_bytes = 0, 0
            for each in self._waiting[: self._max_items]:
                if count and size_bytes + each.size_bytes > self._max_bytes:
                    break
                count, size_bytes = count + 1, size_bytes + each.size_bytes
            group = self._waiting[:count]
            del self._waiting[:count]
            self._waiting_bytes -= size_bytes
        return group

    def _hand_on(self, *, busy: bool) -> None:
        with self._changed:
            if not self._waiting:
                self._led = False
                return
            heir = self._waiting[0]
        heir.leads, heir.pauses = True, busy
        heir.woken.release()

    def _full(self) -> bool:
        return len(self._waiting) >= self._max_items or self._waiting_bytes >= self._max_bytes
