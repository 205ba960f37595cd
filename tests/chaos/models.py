"""The sequential models of calls, API keys and webhooks, as clients and operators see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.chaos.history import Operation

#: For how long a process may still accept a key whose revocation was confirmed.
HONOURED_S = 1.0
ABSENT, PENDING = ("absent",), ("pending",)


class CallModel:
    """A call is accepted, pending and then final for good; workers may end it between any two operations."""

    start = ABSENT

    def follow(self, state: tuple[object, ...], operation: Operation) -> Iterable[tuple[object, ...]]:
        if operation.kind == "accept":
            return [PENDING if state == ABSENT else state]
        if operation.told == "unknown":
            return [ABSENT] if state == ABSENT else []
        if operation.kind == "cancel":
            return self._cancelled(state, operation)
        if state == ABSENT:
            return []
        if operation.told == "unfinished":
            return [PENDING] if state == PENDING else []
        end = ("final", operation.told)
        return [end] if state in (PENDING, end) else []

    @staticmethod
    def _cancelled(state: tuple[object, ...], operation: Operation) -> Iterable[tuple[object, ...]]:
        cancelled = ("final", "cancelled")
        if state == ABSENT:
            return []
        if operation.is_lost:
            return [state, cancelled] if state == PENDING else [state]
        if operation.told == "cancelled":
            return [cancelled] if state in (PENDING, cancelled) else []
        return [state]  # refused: it was being sent, or final


class KeyModel:
    """A key is valid until it is revoked."""

    start = ("valid",)

    def follow(self, state: tuple[object, ...], operation: Operation) -> Iterable[tuple[object, ...]]:
        if operation.kind == "revoke":
            return [("valid",), ("revoked",)] if operation.is_lost and state == ("valid",) else [("revoked",)]
        return [state] if operation.told == state[0] else []


class WebhookModel:
    """A webhook sends or is paused; an attempt that began tells that it was sending then."""

    start = ("sending",)

    def follow(self, state: tuple[object, ...], operation: Operation) -> Iterable[tuple[object, ...]]:
        if operation.kind == "attempt":
            return [state] if state == ("sending",) else []
        after = ("paused",) if operation.kind == "pause" else ("sending",)
        return [state, after] if operation.is_lost else [after]


MODELS = {"call": CallModel(), "key": KeyModel(), "webhook": WebhookModel()}


def end_of(state: str, result: tuple[int | None, bool | None] | None) -> str:
    """Return what a client learns of a call from its state, and the status and error of its result, if it has one."""
    if state in {"cancelled", "rejected"}:
        return state
    return "unfinished" if result is None else f"{result[0]} {result[1]}"
