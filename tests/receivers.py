"""Endpoints on loopback whose answers a test scripts down to the byte: real sockets, one thread for each connection.

    with receiver(answer(200, b'{"ok":true}', ("Content-Type", "application/json"))) as r:
        ... r.url ... r.port ... r.requests

A script is a function of ``(Connection, Request)``, called for each request. It may use the connection as it likes,
close it (``connection.close()``, ``connection.reset()``), and returns. Scripts for common answers and faults follow.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trustme

from tests.timing import BUSY_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOOPBACK = "127.0.0.1"
MAX_HEAD_BYTES = 256 * 1024
RECEIVE_BYTES = 65_536
JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffdb") + bytes(range(256)) * 8 + b"\xff\xd9"


@dataclass(frozen=True)
class Request:
    """A request as received, with header names as the caller spelled them."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    head: bytes  # the raw request line and headers
    connection: int  # 1 is the receiver's first
    position: int  # 1 is the connection's first

    def header(self, name: str) -> str | None:
        """Return the first value of a header; None if it is missing."""
        return next((value for given, value in self.headers if given.lower() == name.lower()), None)


class Hangup(Exception):
    """Raised when the peer or the script has closed the connection."""


class Connection:
    """An accepted connection, as scripts use it."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self.number = number
        self.served = 0
        self._received = b""

    def send(self, raw: bytes) -> None:
        """Send bytes; raises Hangup if the peer is gone."""
        try:
            self.sock.sendall(raw)
        except OSError as gone:
            raise Hangup from gone

    def close(self) -> None:
        """Hang up with a FIN."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def reset(self) -> None:
        """Hang up with a RST."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def read_request(self) -> Request:
        """Read and return the next whole request; raises Hangup if the connection ends first."""
        while b"\r\n\r\n" not in self._received:
            self._more()
            if len(self._received) > MAX_HEAD_BYTES:
                raise Hangup
        head, _, rest = self._received.partition(b"\r\n\r\n")
        self._received = rest
        line, *fields = head.decode("latin-1").split("\r\n")
        method, target, _ = line.split(" ", 2)
        headers = tuple((name, value.strip()) for name, _, value in (text.partition(":") for text in fields))
        length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
        while len(self._received) < length:
            self._more()
        body, self._received = self._received[:length], self._received[length:]
        self.served += 1
        return Request(method, target, headers, body, head, self.number, self.served)

    def _more(self) -> None:
        try:
            chunk = self.sock.recv(RECEIVE_BYTES)
        except (OSError, ValueError) as gone:
            raise Hangup from gone
        if not chunk:
            raise Hangup
        self._received += chunk


Script = Callable[[Connection, Request], object]


@dataclass
class Receiver:
    """A running endpoint. ``requests`` holds those received in full, and grows."""

    port: int
    scheme: str = "http"
    host: str = LOOPBACK
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}/hook"

    @property
    def receipts(self) -> Counter[str | None]:
        """How often each ``webhook-id`` was received, by its value."""
        return Counter(request.header("webhook-id") for request in list(self.requests))

    def wait_for(self, count: int, timeout_s: float = BUSY_S) -> None:
        """Wait until ``count`` requests were received; raises AssertionError if they do not come in time."""
        wait_until(
            lambda: len(self.requests) >= count,
            timeout_s,
            otherwise=lambda: f"{len(self.requests)} of {count} requests came",
            every_s=0.005,
        )


@contextlib.contextmanager
def receiver(
    script: Script, *, tls: ssl.SSLContext | None = None, host: str = LOOPBACK, name: str | None = None
) -> Iterator[Receiver]:
    """Serve ``script`` until the block ends. ``name`` is the host in the URL, if it is to differ from the address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family, backlog=1024) as listening:
        shown = name or (f"[{host}]" if ":" in host else host)
        served = Receiver(listening.getsockname()[1], "https" if tls else "http", shown)
        live: set[socket.socket] = set()
        accepting = threading.Thread(target=_accept, args=(listening, script, served, tls, live), daemon=True)
        accepting.start()
        try:
            yield served
        finally:
            served.stopped.set()
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            for sock in list(live):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            accepting.join(2)


def _accept(
    listening: socket.socket,
    script: Script,
    served: Receiver,
    tls: ssl.SSLContext | None,
    live: set[socket.socket],
) -> None:
    while not served.stopped.is_set():
        try:
            sock, _ = listening.accept()
        except OSError:
            return
        served.connections += 1
        live.add(sock)
        threading.Thread(target=_serve, args=(sock, served.connections, script, served, tls, live), daemon=True).start()


def _serve(sock, number: int, script: Script, served: Receiver, tls, live: set[socket.socket]) -> None:
    live_sock = sock
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            sock = tls.wrap_socket(sock, server_side=True)
        connection = Connection(sock, number)
        while not served.stopped.is_set():
            request = connection.read_request()
            served.requests.append(request)
            script(connection, request)
    except (Hangup, OSError):
        pass
    finally:
        live.discard(live_sock)
        sock.close()


# Answers


def raw_answer(status: int, body: bytes, *headers: tuple[str, str], length: int | None = None) -> bytes:
    """Return an HTTP/1.1 answer; its Content-Length is that of the body, or ``length``, which may be false."""
    lines = [f"HTTP/1.1 {status} Reason"]
    lines += [f"{name}: {value}" for name, value in headers]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def answer(status: int = 200, body: bytes = b"", *headers: tuple[str, str]) -> Script:
    """Answers every request alike."""
    raw = raw_answer(status, body, *headers)
    return lambda connection, _request: connection.send(raw)


def says(raw: bytes, *, then_close: bool = True) -> Script:
    """Sends exactly these bytes, valid HTTP or not, and by default closes the connection."""

    def script(connection: Connection, _request: Request) -> None:
        connection.send(raw)
        if then_close:
            connection.close()
            raise Hangup

    return script


def json_answer(value: object, status: int = 200) -> Script:
    """Answers every request with this value as JSON."""
    return answer(status, json.dumps(value).encode(), ("Content-Type", "application/json"))


def echo(connection: Connection, request: Request) -> None:
    """Answers with the method, URL (with its query), headers and body of the request, as JSON."""
    host = request.header("host") or ""
    scheme = "https" if isinstance(connection.sock, ssl.SSLSocket) else "http"
    echoed = {
        "method": request.method,
        "url": f"{scheme}://{host}{request.target}",
        "headers": {name.lower(): value for name, value in request.headers},
        "data": request.body.decode("latin-1"),
    }
    connection.send(raw_answer(200, json.dumps(echoed).encode(), ("Content-Type", "application/json; charset=utf-8")))


def image(connection: Connection, _request: Request) -> None:
    """Answers with binary data: a JPEG image."""
    connection.send(raw_answer(200, JPEG, ("Content-Type", "image/jpeg")))


def redirect(location: str, status: int = 302) -> Script:
    """Redirects to another location."""
    return answer(status, b"moved", ("Location", location), ("Content-Type", "text/plain"))


def gzipped(body: bytes, *headers: tuple[str, str]) -> Script:
    """Answers with a body compressed by gzip."""
    return answer(200, _gzip(body), ("Content-Encoding", "gzip"), *headers)


def gzip_bomb(decoded_bytes: int) -> Script:
    """Sends a small answer that decodes to ``decoded_bytes`` zero bytes, in whole MiB."""

    def script(connection: Connection, request: Request) -> object:
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        block = bytes(1024 * 1024)
        packed = b"".join(packer.compress(block) for _ in range(decoded_bytes // len(block))) + packer.flush()
        return answer(200, packed, ("Content-Encoding", "gzip"), ("Content-Type", "application/json"))(
            connection, request
        )

    return script


def _gzip(body: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()


# Faults


def never_answers(connection: Connection, _request: Request) -> None:
    """Reads the request and sends nothing until the caller hangs up."""
    with contextlib.suppress(OSError):
        connection.sock.recv(1)
    raise Hangup


def drips(interval_s: float = 0.1, body: bytes = b"x" * 10_000) -> Script:
    """Sends the body one byte at a time, with a pause after each."""

    def script(connection: Connection, _request: Request) -> None:
        connection.send(raw_answer(200, b"", length=len(body)))
        for byte in body:
            connection.send(bytes([byte]))
            time.sleep(interval_s)

    return script


def slow(delay_s: float, then: Script) -> Script:
    """Waits before it runs another script."""

    def script(connection: Connection, request: Request) -> None:
        time.sleep(delay_s)
        then(connection, request)

    return script


def once_set(go_on: threading.Event, then: Script) -> Script:
    """Holds its answer back until the test sets the event."""

    def script(connection: Connection, request: Request) -> None:
        assert go_on.wait(60)
        then(connection, request)

    return script


def hangs_up(*, reset: bool = False, after: bytes = b"") -> Script:
    """Reads the request, sends the part of an answer given by ``after``, and hangs up (FIN or RST)."""

    def script(connection: Connection, _request: Request) -> None:
        if after:
            connection.send(after)
        (connection.reset if reset else connection.close)()
        raise Hangup

    return script


def answers_once_then_hangs_up(*, reset: bool = False) -> Script:
    """Answers each connection's first request and hangs up after reading the second, to provoke a double send."""
    trap, good = hangs_up(reset=reset), json_answer({"ok": True})

    def script(connection: Connection, request: Request) -> None:
        (good if request.position == 1 else trap)(connection, request)

    return script


def in_turn(*scripts: Script) -> Script:
    """Runs one script after another, one for each request to the receiver, and the last one for all that follow."""
    lock, turns = threading.Lock(), iter(scripts)
    current = [scripts[0]]

    def script(connection: Connection, request: Request) -> None:
        with lock:
            current[0] = next(turns, current[0])
            mine = current[0]
        mine(connection, request)

    return script


# TLS


@dataclass(frozen=True)
class Authority:
    """A private certificate authority; ``ca_file`` is for RELAY_CA_FILE."""

    authority: trustme.CA
    ca_file: str

    def context(self, *names: str) -> ssl.SSLContext:
        """A server context with a certificate for ``names`` (host names or addresses)."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*names).configure_cert(context)
        return context

    def files(self, directory: Path, *names: str) -> Certificate:
        """Write a certificate for ``names`` into files, for servers that take file names."""
        issued = self.authority.issue_cert(*names)
        chain, key = directory / "certificate.pem", directory / "key.pem"
        for number, part in enumerate(issued.cert_chain_pems):
            part.write_to_path(str(chain), append=number > 0)
        issued.private_key_pem.write_to_path(str(key))
        return Certificate(chain, key)


@dataclass(frozen=True)
class Certificate:
    """A certificate with its chain, and its private key, in files."""

    chain: Path
    key: Path


def make_authority(directory: Path, name: str = "ca.pem") -> Authority:
    """Make a new authority, and write its certificate to ``directory``."""
    authority = trustme.CA()
    path = directory / name
    authority.cert_pem.write_to_path(str(path))
    return Authority(authority, str(path))


#: Has a port and never listens on it: connections are refused, and nobody else is given the port.
_CLOSED = socket.socket()
_CLOSED.bind((LOOPBACK, 0))


def closed_port() -> int:
    """Return the loopback port of this process on which nothing ever listens."""
    return _CLOSED.getsockname()[1]


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """Provide a port whose backlog is full, so that connecting to it hangs."""
    with socket.socket() as listening, contextlib.ExitStack() as waiting:
        listening.bind((LOOPBACK, 0))
        listening.listen(0)
        for _ in range(4):
            filler = waiting.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        time.sleep(0.05)
        yield listening.getsockname()[1]
