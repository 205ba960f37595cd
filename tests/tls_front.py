"""Terminates TLS in front of a server without it; the embedded Valkey is built without TLS."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

_TLS_HANDSHAKE = b"\x16"  # how a client that speaks TLS begins (RFC 8446, 5.1)


@contextmanager
def tls_or_plain_front(context: ssl.SSLContext, port: int) -> Iterator[int]:
    """Provide a loopback port that forwards to ``port`` what clients send by TLS, and what they send in the clear."""
    with (
        tls_front(context, port) as tls_port,
        _front(lambda first: tls_port if first.startswith(_TLS_HANDSHAKE) else port, None) as either_port,
    ):
        yield either_port


@contextmanager
def tls_front(context: ssl.SSLContext, port: int) -> Iterator[int]:
    """Provide a loopback port that speaks TLS with this context, and forwards to ``port``."""
    with _front(lambda _first: port, context) as tls_port:
        yield tls_port


@contextmanager
def _front(port_for: Callable[[bytes], int], context: ssl.SSLContext | None) -> Iterator[int]:
    """Forward each connection to the port that ``port_for`` chooses by the first bytes that the client sends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await reader.read(1 << 16)
            behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", port_for(first))
        except OSError:
            writer.close()
            return
        behind_writer.write(first)
        await asyncio.gather(_pump(reader, behind_writer), _pump(behind_reader, writer))

    async def start() -> asyncio.Server:
        return await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)

    async def stop() -> None:
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()
