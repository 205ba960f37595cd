"""Answers of a hostile endpoint: much work for whoever reads them, few bytes, and often no content at all."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relay.domain.invocation import Outcome
from relay.outbound.exchange import MAX_HEADER_BYTES, MAX_HEADER_LINES
from tests.receivers import Script, drips, raw_answer, says

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1024 * 1024

_CODE_LENGTH_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)


@dataclass(frozen=True)
class Hostile:
    """An answer, and the outcome of a call that gets it within ``timeout_s`` seconds."""

    name: str
    script: Script
    outcome: Outcome = Outcome.ANSWER_REJECTED
    timeout_s: float = 60.0


def deflated(content: bytes, form: int, level: int = 9) -> bytes:
    """Return the content in one of zlib's formats: 31 is gzip, 15 zlib, -15 the raw one."""
    packer = zlib.compressobj(level, zlib.DEFLATED, form)
    return packer.compress(content) + packer.flush()


def _bytes_of(fields: list[tuple[int, int]]) -> bytes:
    """Return (value, number of bits) pairs, eight times over so that they end with a byte, as deflate packs them."""
    bits = "".join(format(value, f"0{count}b")[::-1] for value, count in fields * 8)
    return int(bits[::-1], 2).to_bytes(len(bits) // 8, "little")


def _many(part: bytes, size: int) -> bytes:
    return part * (size // len(part))


#: Blocks of deflate without content, each of which is never the last one.
FIXED_BLOCK = _bytes_of([(0, 1), (1, 2), (0, 7)])
STORED_BLOCK = b"\x00\x00\x00\xff\xff"
#: Its two tables have to be built for nothing: 256 literals that do not occur, and the end of the block.
DYNAMIC_BLOCK = _bytes_of(
    [
        *((0, 1), (2, 2), (0, 5), (0, 5), (14, 4)),
        *((1 if symbol in (1, 18) else 0, 3) for symbol in _CODE_LENGTH_ORDER[:18]),
        *((1, 1), (127, 7), (1, 1), (107, 7), (0, 1), (0, 1), (0, 1)),
    ]
)
EMPTY_BLOCKS = {"fixed": FIXED_BLOCK, "stored": STORED_BLOCK, "dynamic": DYNAMIC_BLOCK}
GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
ZLIB_HEAD = b"\x78\x9c"


def coded_bodies(size: int) -> Iterator[tuple[str, str, bytes]]:
    """Yield a name, a Content-Encoding and a body of about ``size`` bytes, most of them without content."""
    for kind, block in EMPTY_BLOCKS.items():
        blocks = _many(block, size)
        yield f"gzip of empty {kind} blocks", "gzip", GZIP_HEAD + blocks
        yield f"zlib of empty {kind} blocks", "deflate", ZLIB_HEAD + blocks
        yield f"raw deflate of empty {kind} blocks", "deflate", blocks
        thrice = deflated(deflated(GZIP_HEAD + blocks * 16, 31), 31)
        yield f"gzip three times around empty {kind} blocks", "gzip, gzip, gzip", thrice
    yield "a bomb", "gzip", deflated(bytes(32 * size), 31)
    yield "a bomb of members", "gzip", _many(deflated(bytes(64 * 1024), 31), size)
    yield "a preset dictionary", "deflate", b"\x78\xbb\x00\x00\x00\x01" + bytes(size // 2)
    yield "an endless gzip header", "gzip", b"\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\xff" + b"n" * size
    yield "a cut body", "gzip", deflated(bytes(range(256)) * 100, 31)[:-1]
    for coding in ("br", "zstd", "compress", "gzip, br", "no-such"):
        yield f"the coding {coding}", coding, deflated(b"content" * 100, 31)


def hostile_answers(size: int = MIB) -> Iterator[Hostile]:
    """Yield answers that are about ``size`` bytes long, if they are of a kind that can be long."""
    for name, coding, body in coded_bodies(size):
        yield Hostile(name, says(raw_answer(200, body, ("Content-Encoding", coding))))
    for content in (b"", b"x"):
        members = raw_answer(200, _many(deflated(content, 31), size), ("Content-Encoding", "x-gzip"))
        yield Hostile(f"gzip members of {len(content)} bytes", says(members), Outcome.ANSWERED)
    windows = deflated(bytes(range(256)) * 128 * (size // 32_768 - 1), 31)
    yield Hostile(
        "references to a whole window", says(raw_answer(200, windows, ("Content-Encoding", "gzip"))), Outcome.ANSWERED
    )
    stored = deflated(bytes(size), 31, level=0)
    yield Hostile("stored blocks", says(raw_answer(200, stored, ("Content-Encoding", "gzip"))), Outcome.ANSWERED)
    yield from _uncoded(size)


def _uncoded(size: int) -> Iterator[Hostile]:
    interim = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    yield Hostile("interim answers", says(_many(interim, size)))
    yield Hostile("a few interim answers", says(interim * 50 + raw_answer(200, b"{}")), Outcome.ANSWERED)
    yield Hostile("many headers", says(raw_answer(200, b"{}", *[("a", "b")] * (2 * MAX_HEADER_LINES))))
    yield Hostile("a long header", says(raw_answer(200, b"{}", ("a", "b" * 2 * MAX_HEADER_BYTES))))
    yield Hostile("chunks of one byte", says(_chunked(_many(b"1\r\nx\r\n", 6 * size))))
    yield Hostile("chunks of 32 bytes", says(_chunked(_many(b"20\r\n" + b"x" * 32 + b"\r\n", size))), Outcome.ANSWERED)
    yield Hostile("chunks with extensions", says(_chunked(_many(b"1;" + b"e" * 10 + b"\r\nx\r\n", 6 * size))))
    yield Hostile("one long extension", says(_chunked(b"1;" + b"e" * (20 * size) + b"\r\nx\r\n")), Outcome.ANSWERED)
    yield Hostile("trailers", says(_chunked(b"1\r\nx\r\n")[:-2] + _many(b"a: b\r\n", size)))
    packed = deflated(bytes(size), 31)
    transfer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
    yield Hostile("gzip as transfer coding", says(transfer % (len(packed), packed)))
    yield Hostile("a byte at a time", drips(0.001, bytes(size)), Outcome.ANSWER_TIMEOUT, timeout_s=1.0)


def _chunked(chunks: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
