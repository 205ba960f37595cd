"""Shows Flower only events in the form that workers send, since one value of another kind breaks a page for good."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from celery.events import EventReceiver

from workers.lanes import drop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MAX_CHARS: Final = 1_024
#: Larger numbers lose digits in a browser.
_EXACT: Final = 2**53
#: Moments that every page can show as a date, in seconds: the years 2020 to 2100.
_FIRST_S: Final = 1_577_836_800
_LAST_S: Final = 4_102_444_800


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _MAX_CHARS and value.isprintable()


def _is_text_or_none(value: Any) -> bool:
    return value is None or _is_text(value)


def _is_name(value: Any) -> bool:
    return _is_text(value) and bool(value)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _EXACT


def _is_number(value: Any, least: float = 1 - _EXACT, most: float = _EXACT - 1) -> bool:
    return type(value) in (int, float) and least <= value <= most


_is_duration: Final = partial(_is_number, least=0)
_is_moment: Final = partial(_is_number, least=_FIRST_S, most=_LAST_S)
_is_offset: Final = partial(_is_number, least=-24, most=24)  # hours


def _is_load(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(_is_duration, value))


#: What each field may be: those of every event, and those of workers and of tasks.
_ALWAYS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "type": _is_name,
    "hostname": _is_name,
    "timestamp": _is_moment,
    "utcoffset": _is_offset,
    "pid": _is_count,
    "clock": _is_count,
}
_OF_WORKERS: Final[Mapping[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(("sw_ident", "sw_ver", "sw_sys"), _is_text),
    **dict.fromkeys(("active", "processed"), _is_count),
    "freq": _is_duration,
    "loadavg": _is_load,
}
_OF_TASKS: Final[Mapping[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(("uuid", "name"), _is_name),
    **dict.fromkeys(("args", "kwargs", "result", "exception", "traceback", "routing_key"), _is_text_or_none),
    **dict.fromkeys(("received", "started"), _is_moment),
    "runtime": _is_duration,
    "retries": _is_count,
}
_TYPES: Final = {
    **dict.fromkeys(("worker-online", "worker-heartbeat", "worker-offline"), _OF_WORKERS),
    **dict.fromkeys(("task-succeeded", "task-failed", "task-retried"), _OF_TASKS),
}
_NEEDED: Final = {
    "worker": {"type", "hostname", "timestamp"},
    "task": {"type", "hostname", "timestamp", "uuid", "name"},
}


def is_event(event: Any) -> bool:
    """Return whether an event has the fields that workers send, each with a value of the right kind."""
    kind = event.get("type") if isinstance(event, dict) else None
    if not isinstance(kind, str) or kind not in _TYPES:
        return False
    fields = {**_ALWAYS, **_TYPES[kind]}
    if not _NEEDED[kind.partition("-")[0]] <= event.keys() <= fields.keys():
        return False
    return all(fields[name](value) for name, value in event.items())


class Receiver(EventReceiver):
    """Receives events for Flower; drops those that no worker sends."""

    def _receive(self, body: Any, message: Any, **options: Any) -> None:
        events = body if isinstance(body, list) else [body]
        good = [event for event in events if is_event(event)]
        if len(good) < len(events):
            drop("events")
        if good:
            super()._receive(good, message, **options)

    def on_decode_error(self, message: Any, exc: Exception) -> None:  # noqa: ARG002 - both quote the message
        """Drop a message that cannot be read; kombu would write all of it to the log."""
        drop("events")
