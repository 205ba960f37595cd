"""A small proxy on loopback that supports only CONNECT, and records the requests that it gets."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

LOOPBACK = "127.0.0.1"
PIECE = 65_536
OPEN = b"HTTP/1.1 200 Connection established\r\nRetry-After: 77\r\nX-Proxy: told\r\n\r\n"


@dataclass
class ConnectProxy:
    """A running proxy: its port, the heads of its requests, the count of tunnels, and the bytes passed through them."""

    port: int
    heads: list[str] = field(default_factory=list)
    tunnels: int = 0
    passed: bytearray = field(default_factory=bytearray)  # the bytes from clients, as the proxy sees them
    live: list[socket.socket] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """The first line of each request."""
        return [head.split("\r\n", 1)[0] for head in self.heads]

    def header(self, name: str) -> list[str | None]:
        """Return the header's value in each request; None where it is missing."""
        found = []
        for head in self.heads:
            pairs = [line.split(":", 1) for line in head.split("\r\n")[1:] if ":" in line]
            found.append(next((value.strip() for given, value in pairs if given.lower() == name.lower()), None))
        return found

    def cut(self) -> None:
        """End every tunnel."""
        for each in self.live:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@contextlib.contextmanager
def connect_proxy(
    answer: Callable[[str], bytes | None] = lambda _line: None, *, tls: ssl.SSLContext | None = None
) -> Iterator[ConnectProxy]:
    """Run a proxy until the context ends. ``answer`` maps a request line to a raw answer, or to None: open a tunnel."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        proxy = ConnectProxy(listener.getsockname()[1])
        threading.Thread(target=_accept, args=(listener, proxy, answer, tls), daemon=True).start()
        try:
            yield proxy
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # or the accepting thread would never end, and keep the proxy alive
            proxy.cut()
            for each in proxy.live:
                each.close()


def _accept(listener, proxy, answer, tls) -> None:
    while True:
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(sock, proxy, answer, tls), daemon=True).start()


def _serve(sock, proxy, answer, tls) -> None:
    proxy.live.append(sock)
    with contextlib.suppress(OSError):
        if tls is not None:
            sock = tls.wrap_socket(sock, server_side=True)
        head = b""
        while b"\r\n\r\n" not in head:
            piece = sock.recv(PIECE)
            if not piece:
                return
            head += piece
        text = head.partition(b"\r\n\r\n")[0].decode("latin-1")
        proxy.heads.append(text)
        line = text.split("\r\n", 1)[0]
        said = answer(line)
        if said is not None:
            sock.sendall(said)
            sock.close()
            return
        method, where, _ = line.split(" ")
        assert method == "CONNECT"
        host, port = where.rsplit(":", 1)
        onward = socket.create_connection((host.strip("[]"), int(port)), timeout=5)
        onward.settimeout(None)
        proxy.live.append(onward)
        proxy.tunnels += 1
        sock.sendall(OPEN)
        threading.Thread(target=_pump, args=(onward, sock, None), daemon=True).start()
        _pump(sock, onward, proxy.passed)


def _pump(source, sink, seen) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE):
            if seen is not None:
                seen += piece
            sink.sendall(piece)
    for each in (source, sink):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
