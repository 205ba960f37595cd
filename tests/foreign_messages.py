"""Messages that a stranger may put on a lane, for tests of what workers do with them: nothing, or a look at a lane."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from relay.queue import RUN

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What no log line may have.
PLANTED: Final = "planted-in-a-message"
#: How much a message that is short takes once it is decompressed, in bytes.
BOMB_BYTES: Final = 400_000_000


class Foreign(NamedTuple):
    """A message: what is odd in it, its body, headers, content type and encoding; whether it is a hint all the same."""

    what: str
    body: bytes
    headers: dict[str, Any]
    content_type: str = "application/json"
    encoding: str = "utf-8"
    is_hint: bool = False


def foreign_messages(link: Any) -> Iterator[Foreign]:
    """Yield messages, some of which would have Celery publish ``link``, the signature of another task."""
    headers = {"task": RUN, "id": PLANTED, "lang": "py", "argsrepr": PLANTED}
    links = {"callbacks": [link], "errbacks": [link], "chain": [link], "chord": link}
    hint = [["bulk", 0], {}, links]
    plain = json.dumps(hint).encode()
    yield Foreign("links", plain, headers, is_hint=True)
    yield Foreign("reply", plain, {**headers, "reply_to": "interactive", "ignore_result": False}, is_hint=True)
    times = {"eta": "nonsense", "expires": "2000-01-01", "retries": "x", "timelimit": 7, "group": 7, "root_id": []}
    yield Foreign("times", plain, {**headers, **times}, is_hint=True)
    yield Foreign("no headers", plain, {}, is_hint=True)
    for task in ("celery.accumulate", "celery.chain", "celery.map", "celery.backend_cleanup", "unknown", "", None, 7):
        yield Foreign(f"task {task!r}", plain, {**headers, "task": task}, is_hint=True)
    for task in ([RUN], {"a": RUN}):
        yield Foreign(f"task {task!r}", plain, {**headers, "task": task}, is_hint=True)
    for partition in (-1, 1, 10**30):
        yield Foreign(f"partition {partition}", json.dumps([["bulk", partition]]).encode(), headers, is_hint=True)
    first = {"task": "celery.accumulate", "id": PLANTED, "args": ["bulk", 0], "kwargs": {}, "callbacks": [link]}
    for task in ("celery.accumulate", RUN, ["x"], None):
        yield Foreign(f"protocol 1, task {task!r}", json.dumps({**first, "task": task}).encode(), {})
    bodies = [
        [],
        [[]],
        [["bulk"]],
        [["nowhere", 0]],
        [["bulk", "0"]],
        [["bulk", True]],
        [[["bulk"], 0]],
        {},
        7,
        PLANTED,
    ]
    for body in bodies:
        yield Foreign(f"body {body!r}", json.dumps(body).encode(), headers)
    for what, body in (("none", b""), ("bytes", b"\xff\xfe"), ("deep", b"[" * 100_000), ("numbers", b"[[NaN, 1e999]]")):
        yield Foreign(f"body: {what}", body, headers)
        yield Foreign(f"body: {what}, no headers", body, {})
    yield Foreign("pickle", PLANTED.encode(), headers, "application/x-python-serialize", "binary")
    yield Foreign("unknown type", PLANTED.encode(), headers, "text/planted", "binary")
    yield Foreign("unknown encoding", b"[]", headers, encoding="nope")
    for kind in ("nope", ["x"], "application/x-gzip"):
        yield Foreign(f"not compressed by {kind!r}", plain, {**headers, "compression": kind})
    bomb = zlib.compress(b'"' + b"x" * BOMB_BYTES + b'"', 9)
    yield Foreign("compressed", bomb, {**headers, "compression": "application/x-gzip"})
    yield Foreign("compressed hint", zlib.compress(plain), {**headers, "compression": "zlib"})
