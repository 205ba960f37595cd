"""Log events: one catalogue of their names, and one JSON line for each event.

A line may hold ids, codes, times and sizes; never a URL, a header value, a parameter, a body or a traceback's
locals (``security.md``, Hiding). Values are escaped by the JSON renderer, so no caller can forge a line.
"""

from __future__ import annotations

import io
import logging
import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import orjson

from relay.errors import StoreFault
from relay.telemetry.sink import LogSink


class Event(StrEnum):
    """Every event that the relay logs, and the hop that logs it."""

    REQUEST = "request"  # api: one HTTP request answered
    REFUSED_WITHOUT_KEY = "refused_without_key"  # api, flower: requests of a minute that were refused for lack of a key
    INTERNAL_ERROR = "internal_error"  # any: a fault of the relay; the exception's type and where it was raised
    PUBLISH_FAILED = "publish_failed"  # any: the broker was away; the sweeper will publish again
    KEY_UNVERIFIED = "key_unverified"  # any: an API key's record was not written by this relay, and is ignored
    REVISION_UNVERIFIED = "revision_unverified"  # any: no relay made this revision the current one; it is ignored
    CALLBACK_UNVERIFIED = "callback_unverified"  # worker: the called revision names no such callback; it is not called
    STORE_AWAY = "store_away"  # any: Redis could not be reached; the process tries again
    CALLS_STARTED = "calls_started"  # worker: how many of a message's calls were started, parked or skipped
    CALLS_SETTLED = "calls_settled"  # worker: a group of calls was settled: id, outcome, status, milliseconds of each
    LATE_ANSWER = "late_answer"  # worker: an answer came after the worker had lost the call
    SWEPT = "swept"  # worker: alarms that rang and were published again
    ALERT = "alert"  # worker: an alert began or ended, and the operators' webhook was told
    CALLED_BACK = "called_back"  # worker: callbacks were called about ended invocations
    EXPIRED = "expired"  # worker: calls that were too old were ended
    PRUNED = "pruned"  # worker: records past their retention were deleted
    CLOCK_JUMPED = "clock_jumped"  # worker: the server's clock jumped, perhaps because another machine serves now
    STUCK = "stuck"  # worker: a part of it no longer moves; the process ends, to be started again
    MESSAGE_DROPPED = "message_dropped"  # worker: a lane contained something that is not a message of the relay
    LOG_LINES_DROPPED = "log_lines_dropped"  # any: the log's sink was full, closed or slow, and takes lines again
    CONTENTS_DROPPED = "contents_dropped"  # worker: plugins kept too many bytes; their oldest contents were deleted
    AUDIT_SIGNED = (
        "audit_signed"  # worker: once a minute: number and head of the newest signed entry of the audit trail
    )
    AUDIT_BREACH = "audit_breach"  # worker: signed entries of the audit trail have been changed
    AUDIT_PRUNED = "audit_pruned"  # worker: segments of the audit trail past their retention were dropped
    DRAINED = "drained"  # worker: a stop let running calls end and gave the others back


#: Loggers that write a line for each message; the relay's own events say more.
_CHATTY = ("celery.worker.strategy", "celery.app.trace")

#: Characters for which a value is quoted in a line for people.
_QUOTED = frozenset(" \t\r\n=\"'")


class _JsonLines:
    """Writes events of a level and above, each as a JSON line, to a sink."""

    def __init__(self, level: int, sink: LogSink) -> None:
        self._level, self._sink = level, sink

    def log(self, level: int, name: str, **fields: Any) -> None:
        """Write one event."""
        if level >= self._level:
            fields |= {"event": name, "level": logging.getLevelName(level).lower(), "timestamp": _now()}
            self._sink.put(orjson.dumps(fields, default=repr))


class _TextLines:
    """Prints faults alone, for people, on standard error."""

    def log(self, level: int, name: str, **fields: Any) -> None:
        """Print one event, if it is a fault."""
        if level >= logging.ERROR:
            at = datetime.now(UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
            told = " ".join(f"{each}={_quoted(value)}" for each, value in sorted(fields.items()))
            line = f"{at} [{logging.getLevelName(level).lower():<9}] {name:<30} {told}"
            sys.stderr.write(line.rstrip() + "\n")


class _Handler(logging.Handler):
    """Writes other libraries' records to the same sink."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record. Never raises, never waits."""
        try:
            line = _line_of(record)
        except Exception:  # noqa: BLE001 - a record that cannot be written must not stop the work that it reports
            _log.sink.dropped += 1
        else:
            _log.sink.put(line)


class _Stream(io.TextIOBase):
    """Stands in for standard error, so that printing to it (a library's traceback, say) does not wait either."""

    def write(self, text: str) -> int:
        """Write the printed text without its last line ends."""
        if text.strip():
            _log.sink.put(text.rstrip("\n").encode(errors="replace"))
        return len(text)


class _Log:
    """This process's log; until it is set up, that of a command."""

    lines: _JsonLines | _TextLines = _TextLines()
    sink: LogSink = LogSink(None, lambda _: b"")


_log = _Log()


def configure(level: str) -> None:
    """Set up this process's log: JSON lines on standard error, other libraries' records included."""
    numeric = logging.getLevelNamesMapping()[level.upper()]
    _log.sink = LogSink(_standard_error(), _dropped_line)
    _log.lines = _JsonLines(numeric, _log.sink)
    root = logging.getLogger()
    root.handlers[:] = [_Handler()]
    root.setLevel(max(numeric, logging.INFO))
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    sys.stderr = _Stream()


def configure_command() -> None:
    """Set up a command's log: faults only, for people, on standard error."""
    _log.lines = _TextLines()


def event(name: Event, *, level: int = logging.INFO, **fields: Any) -> None:
    """Log one event. Never raises and never waits: an event that cannot be written is dropped and counted."""
    try:
        _log.lines.log(level, name, **fields)
    except Exception:  # noqa: BLE001 - logging must not get in the way of work
        _log.sink.dropped += 1


def fault(error: BaseException, where: str) -> None:
    """Log a fault of the relay: its type and the line that raised it, not its message, which may quote input."""
    if isinstance(error, StoreFault) and error.__cause__ is not None:
        error = error.__cause__
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    line = f"{frame.tb_frame.f_code.co_qualname}:{frame.tb_lineno}" if frame is not None else ""
    event(Event.INTERNAL_ERROR, level=logging.ERROR, where=where, kind=type(error).__name__, line=line)


def _standard_error() -> int | None:
    try:
        return sys.__stderr__.fileno() if sys.__stderr__ is not None else None
    except (OSError, ValueError):  # closed before the process began
        return None


def _dropped_line(count: int) -> bytes:
    return orjson.dumps({"event": Event.LOG_LINES_DROPPED, "lines": count, "level": "warning", "timestamp": _now()})


def _line_of(record: logging.LogRecord) -> bytes:
    """Return a library's record as a JSON line, with only the type of an exception: its text may quote private data."""
    fields = {"event": record.getMessage(), "level": record.levelname.lower(), "timestamp": _now()}
    fields["logger"] = record.name
    if record.exc_info and record.exc_info[0] is not None:
        fields["kind"] = record.exc_info[0].__name__
    return orjson.dumps(fields)


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _quoted(value: Any) -> str:
    return value if isinstance(value, str) and not _QUOTED.intersection(value) else repr(value)
