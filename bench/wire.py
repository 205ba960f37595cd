"""Just enough HTTP/1.1 to read a request or an answer with a Content-Length."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

END_OF_HEAD: Final = b"\r\n\r\n"
MAX_MESSAGE_BYTES: Final = 4 << 20
#: Stands in a call's data, under ``sentAt``, for microseconds of the monotonic clock, which all processes share.
STAMP: Final = b"0" * 15
STAMPED: Final = b"sentAt"


class UnreadableMessageError(Exception):
    """A message without a Content-Length, or one over ``MAX_MESSAGE_BYTES``."""


@dataclass(frozen=True, slots=True)
class Message:
    """One complete message: ``start`` is its first line; ``head`` holds all its lines."""

    head: bytes
    body: bytes

    @property
    def start(self) -> bytes:
        return self.head.partition(b"\r\n")[0]

    def field(self, name: bytes) -> bytes | None:
        """The value of a header, its name in lower case."""
        return header(self.head, name)


def header(head: bytes, name: bytes) -> bytes | None:
    """Return the value of a header, its name given in lower case: most senders write it so, and it is tried first."""
    at = head.find(b"\r\n" + name + b": ")
    if at < 0:
        at = head.lower().find(b"\r\n" + name + b":")
        if at < 0:
            return None
    begin = at + len(name) + 3
    end = head.find(b"\r\n", begin)
    return head[begin : end if end >= 0 else len(head)].strip()


def take_message(buffer: bytearray) -> Message | None:
    """Take the first complete message off the buffer; None if it has not arrived completely."""
    end = buffer.find(END_OF_HEAD)
    if end < 0:
        if len(buffer) > MAX_MESSAGE_BYTES:
            raise UnreadableMessageError
        return None
    head = bytes(buffer[:end])
    body_at = end + len(END_OF_HEAD)
    size = _body_bytes(head)
    if len(buffer) < body_at + size:
        return None
    message = Message(head, bytes(buffer[body_at : body_at + size]))
    del buffer[: body_at + size]
    return message


def _body_bytes(head: bytes) -> int:
    length = header(head, b"content-length")
    if length is None:
        if head.startswith((b"GET ", b"DELETE ")):
            return 0
        raise UnreadableMessageError
    size = int(length)
    if size > MAX_MESSAGE_BYTES:
        raise UnreadableMessageError
    return size


def stamp() -> bytes:
    """Return the time, to be put in the place of ``STAMP``."""
    return b"%015d" % (time.monotonic_ns() // 1000)


def stamped_s(body: bytes) -> float | None:
    """Return the time that a body was stamped with; None without one."""
    at = body.find(STAMPED)
    if at < 0:
        return None
    digits = body[at + len(STAMPED) + 1 :].lstrip(b' :"')[: len(STAMP)]
    return int(digits) / 1e6 if digits != STAMP else None
