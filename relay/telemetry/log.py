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
import structlog

from relay.errors import StoreFault
from relay.telemetry.sink import LogSink


class Event(StrEnum):
    """Every event that the relay logs, and the hop that logs it."""

    REQUEST = "request"  # api: one HTTP request answered that is not in `calls_accepted`
    CALLS_ACCEPTED = "calls_accepted"  # api: calls accepted in a moment: id, status, milliseconds, plugin, key of each
    REFUSED_WITHOUT_KEY = "refused_without_key"  # api, flower: requests of a minute that were refused for lack of a key
    INTERNAL_ERROR = "internal_error"  # any: a fault of the relay; the exception's type and where it was raised
    PUBLISH_FAILED = "publish_failed"  # any: the broker was away; the sweeper will publish again
    KEY_UNVERIFIED = "key_unverified"  # any: an API key's record was not written by this relay, and is ignored
    REVISION_UNVERIFIED = "revision_unverified"  # any: no relay made this revision the current one; it is ignored
    SECRET_UNVERIFIED = "secret_unverified"  # noqa: S105 - the name of an event; worker: this value is not the one set last
    DECISIONS_BREACH = "decisions_breach"  # any: decisions about keys or webhooks were forged, set back or lost
    POLICY_UNVERIFIED = "policy_unverified"  # worker: a webhook's pause or limits differ from what was decided
    CALLBACK_UNVERIFIED = "callback_unverified"  # worker: the called revision names no such callback; it is not called
    VALUE_DAMAGED = "value_damaged"  # any: a field of the store cannot be read: its key and name, once a process
    STORE_AWAY = "store_away"  # any: Redis could not be reached, or lacks functions; the process tries again
    CALLS_STARTED = "calls_started"  # worker: how many of a message's calls were started, parked or skipped
    CALLS_SETTLED = "calls_settled"  # worker: a group of calls was settled: id, outcome, status, milliseconds of each
    LATE_ANSWER = "late_answer"  # worker: an answer came after the worker had lost the call
    OUTBOUND_FAULT = "outbound_fault"  # worker: a fault of the relay ended a request; the exception's type
    SWEPT = "swept"  # worker: alarms that rang and were published again
    ALERT = "alert"  # worker: an alert began or ended, and the operators' webhook was told
    CALLED_BACK = "called_back"  # worker: callbacks were called about ended invocations
    EXPIRED = "expired"  # worker: calls that were too old were ended
    PRUNED = "pruned"  # worker: records past their retention were deleted
    CLOCK_JUMPED = "clock_jumped"  # worker: the server's clock jumped, perhaps because another machine serves now
    STUCK = "stuck"  # worker: a part of it no longer moves; the process ends, to be started again
    MESSAGE_DROPPED = "message_dropped"  # worker: a lane contained something that names no waiting calls
    LOG_LINES_DROPPED = "log_lines_dropped"  # any: the log's sink was full, closed or slow, and takes lines again
    CONTENTS_DROPPED = "contents_dropped"  # worker: plugins kept too many bytes; their oldest contents were deleted
    AUDIT_SIGNED = "audit_signed"  # worker: once a minute: number and head of the newest signed entry of the trail
    AUDIT_BREACH = "audit_breach"  # worker: signed entries of the audit trail have been changed
    AUDIT_PRUNED = "audit_pruned"  # worker: segments of the audit trail past their retention were dropped
    DRAINED = "drained"  # worker: before it stopped, it let running calls end and gave the others back


#: Loggers that write a line for each message; the relay's own events say more.
_CHATTY = ("celery.worker.strategy", "celery.app.trace")

_RENDERED = (
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


class _Logger:
    """Writes structlog's lines to a sink."""

    def __init__(self, sink: LogSink) -> None:
        self.msg = sink.put
        self.debug = self.info = self.warning = self.error = self.critical = sink.put


class _Handler(logging.Handler):
    """Writes other libraries' records to the same sink."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record. Never raises, never waits."""
        try:
            line = self.format(record).encode(errors="replace")
        except Exception:  # noqa: BLE001 - a record that cannot be written must not stop the work that it reports
            _bound.sink.dropped += 1
        else:
            _bound.sink.put(line)


class _Stream(io.TextIOBase):
    """Stands in for standard error, so that printing to it (a library's traceback, say) does not wait either."""

    def write(self, text: str) -> int:
        """Write the printed text without its last line ends."""
        if text.strip():
            _bound.sink.put(text.rstrip("\n").encode(errors="replace"))
        return len(text)


class _Bound:
    """The logger, bound once: binding it for each event would cost more than the event."""

    logger: Any = structlog.get_logger()
    sink: LogSink = LogSink(None, lambda _: b"")


_bound = _Bound()


def configure(level: str) -> None:
    """Set up this process's log: JSON lines on standard error, other libraries' records included."""
    numeric = logging.getLevelNamesMapping()[level.upper()]
    _bound.sink = LogSink(_standard_error(), _dropped_line)
    structlog.configure(
        processors=[*_RENDERED, structlog.processors.JSONRenderer(serializer=orjson.dumps)],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=lambda *_: _Logger(_bound.sink),
        cache_logger_on_first_use=True,
    )
    _bound.logger = structlog.get_logger().bind()
    handler = _Handler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_RENDERED, structlog.stdlib.add_logger_name, _without_traceback],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=_dumps_text),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(numeric, logging.INFO))
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    sys.stderr = _Stream()


def configure_command() -> None:
    """Set up a command's log: faults only, for people, on standard error."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def event(name: Event, *, level: int = logging.INFO, **fields: Any) -> None:
    """Log one event. Never raises and never waits: an event that cannot be written is dropped and counted."""
    try:
        _bound.logger.log(level, name, **fields)
    except Exception:  # noqa: BLE001 - logging must not get in the way of work
        _bound.sink.dropped += 1


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
    at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return orjson.dumps({"event": Event.LOG_LINES_DROPPED, "lines": count, "level": "warning", "timestamp": at})


def _without_traceback(_logger: Any, _method: str, fields: structlog.types.EventDict) -> structlog.types.EventDict:
    """Keep only the type of an exception: a library's text may quote what was sent or received."""
    failure = fields.pop("exc_info", None)
    if isinstance(failure, tuple) and failure[0] is not None:
        fields["kind"] = failure[0].__name__
    return fields


def _dumps_text(value: Any, **_: Any) -> str:
    return orjson.dumps(value, default=str).decode()
