"""Wraps a libcurl handle that makes one transfer after another: its options, its callbacks and its limits."""

from __future__ import annotations

import _socket
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pycurl

from relay.outbound.content_coding import OFFERED, max_coded_bytes
from relay.outbound.failures import TransferNotes
from relay.outbound.lookups import CACHE_S, FRESH_CACHE_S
from relay.outbound.sockets import Sockets, dialled
from relay.registration.methods import METHODS
from relay.request.rendering import OutgoingHeaders, OutgoingRequest

if TYPE_CHECKING:
    from requests import PreparedRequest

    from relay.egress import AddressPolicy
    from relay.outbound.egress_proxy import EgressProxy
    from relay.outbound.transfer import Transfer
    from relay.registration.credentials import ClientCertificate

MAX_HEADER_BYTES: Final = 64 * 1024  # of an answer: interim answers, headers and trailers together
MAX_HEADER_LINES: Final = 256
MANY_PIECES: Final = 8_192  # more chunks or packets than this have to bring `FEW_BYTES` each: every one costs a call
FEW_BYTES: Final = 16
#: How much libcurl reads at a time. It reads up to ten times before other sockets get their turn.
READ_BYTES: Final = 8 * 1024
UNREPEATABLE_IDLE_S: Final = 1  # a connection idle for longer may be dead, and the gate lets nothing through twice
REPEATABLE_IDLE_S: Final = 60
CONNECTION_LIFETIME_S: Final = 300  # after this, a new connection resolves the name and judges the address again
MAX_KEPT_BODY_BYTES: Final = 64 * 1024  # a handle that holds a longer request body is not used again

_QUICK_EXIT: Final = 322  # CURLOPT_QUICK_EXIT, which pycurl does not name
_PASS: Final[int] = pycurl.PREREQFUNC_OK
_ABORT: Final[int] = pycurl.PREREQFUNC_ABORT
_SOCKET_AS_IT_IS: Final[int] = pycurl.SOCKOPT_OK

#: The options that are the same for every handle.
_OPTIONS: Final[tuple[tuple[int, Any], ...]] = (
    (pycurl.NOSIGNAL, 1),
    (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
    (pycurl.PROXY, ""),
    (pycurl.NOPROXY, "*"),
    (pycurl.NETRC, pycurl.NETRC_IGNORED),
    (pycurl.FOLLOWLOCATION, 0),
    (pycurl.PATH_AS_IS, 1),
    # HTTP/2 would gain nothing for small calls to few endpoints. With one request at a time per connection,
    # "the connection died" and "the request died" mean the same.
    (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
    (pycurl.HTTP09_ALLOWED, 0),
    (pycurl.BUFFERSIZE, READ_BYTES),
    (pycurl.HTTP_CONTENT_DECODING, 0),  # it would inflate without limit on the thread that drives it
    (pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2),
    (pycurl.SSL_VERIFYPEER, 1),
    (pycurl.SSL_VERIFYHOST, 2),
    (pycurl.MAXLIFETIME_CONN, CONNECTION_LIFETIME_S),
    (_QUICK_EXIT, 1),  # never wait for a resolver thread: the deadline holds for DNS too
)


# For requests without these headers: those that libcurl would add by itself are suppressed, and codings are offered.
_UNLESS_GIVEN: Final = {
    "accept": "Accept:",
    "accept-encoding": f"Accept-Encoding: {OFFERED}",
    "content-type": "Content-Type:",
    "user-agent": "User-Agent:",
}


class UnsafeHeader(ValueError):
    """The request is not one that ``rendering`` makes; none of it was sent."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that apply to every transfer of a transport."""

    policy: AddressPolicy
    ca_path: str
    max_response_bytes: int
    proxy: EgressProxy | None = None  # every transfer goes through it


class Exchange:
    """An easy handle and what its callbacks note. The callbacks never raise: libcurl does not propagate exceptions."""

    def __init__(self, rules: Rules) -> None:
        self._policy = rules.policy
        self._proxied = rules.proxy is not None
        self._max_body_bytes = max_coded_bytes(rules.max_response_bytes)
        self._url = ""
        self._mode: object = None  # the arguments of the last `_set_mode`
        self._kept_body_bytes = 0
        self._keeps_key = False
        self._transfer: Transfer | None = None
        self._sockets = Sockets()  # of the multi handle that runs the transfer
        self._fds: list[int] = []  # of this transfer
        self.stale = False  # libcurl chose a kept connection that was closed; nothing was sent
        self._late = self._vetoed = self._opened = self._excessive = False
        self._header_bytes = self.received_bytes = 0
        self.header_lines: list[bytes] = []
        self._chunks: list[bytes] = []
        self.easy = pycurl.Curl()
        self._set_up(rules)

    def _set_up(self, rules: Rules) -> None:
        """Set the options that are the same for every transfer."""
        own: list[tuple[int, Any]] = [
            (pycurl.CAINFO, rules.ca_path),
            (pycurl.OPENSOCKETFUNCTION, self._on_open_socket),
            (pycurl.SOCKOPTFUNCTION, self._on_socket),
            (pycurl.PREREQFUNCTION, self._on_prereq),
            (pycurl.HEADERFUNCTION, self._on_header),
            (pycurl.WRITEFUNCTION, self._on_body),
        ]
        for option, value in (*_OPTIONS, *own, *(() if rules.proxy is None else rules.proxy.options())):
            self.easy.setopt(option, value)
        self.easy.unsetopt(pycurl.CAPATH)  # the directory that libcurl was built with

    def start(self, transfer: Transfer, sockets: Sockets, remaining_s: float) -> None:
        """Prepare the handle for one transfer of at most ``remaining_s`` seconds (> 0). Raises UnsafeHeader."""
        self._transfer = transfer
        self._sockets = sockets
        self._fds = []
        self.stale = self._late = self._vetoed = self._opened = self._excessive = False
        self._header_bytes = self.received_bytes = 0
        request, url, body = transfer.request, transfer.url, transfer.request.body
        if not (url and url.isascii()) or request.method not in METHODS or not isinstance(body, bytes | str | None):
            raise UnsafeHeader("Only a complete request with its body in memory can be sent.")
        setopt = self.easy.setopt
        setopt(pycurl.HTTPHEADER, _header_lines(request))
        setopt(pycurl.TIMEOUT_MS, math.ceil(remaining_s * 1000))
        if url != self._url:
            setopt(pycurl.URL, url)
            self._url = url
        self._set_body(body)
        if isinstance(request, OutgoingRequest) and request.certificate is not None:
            self._present(request.certificate)
        mode = (request.method, transfer.repeatable, transfer.lookup is None, transfer.connect_to)
        if mode != self._mode:
            self._set_mode(*mode)
            self._mode = mode

    def _set_mode(self, method: str, repeatable: bool, is_known: bool, connect_to: list[str] | None) -> None:
        """Set the options that seldom change: the method, the use of kept connections, whether to look up the name."""
        self.easy.setopt(pycurl.CUSTOMREQUEST, method)
        self.easy.setopt(pycurl.MAXAGE_CONN, REPEATABLE_IDLE_S if repeatable else UNREPEATABLE_IDLE_S)
        self.easy.setopt(pycurl.DNS_CACHE_TIMEOUT, CACHE_S if is_known else FRESH_CACHE_S)
        if connect_to is not None:
            self.easy.setopt(pycurl.CONNECT_TO, connect_to)

    def _set_body(self, body: bytes | str | None) -> None:
        if body:
            content = body.encode() if isinstance(body, str) else body
            self.easy.setopt(pycurl.POSTFIELDS, content)
            self._kept_body_bytes = len(content)
        else:
            self.easy.setopt(pycurl.HTTPGET, 1)  # no body; the method is CUSTOMREQUEST's

    def _present(self, certificate: ClientCertificate) -> None:
        """Present a client certificate. libcurl shares no connection and no TLS session between certificates."""
        self.easy.setopt(pycurl.SSLCERT_BLOB, certificate.certificate.encode("ascii"))
        self.easy.setopt(pycurl.SSLKEY_BLOB, certificate.key.encode("ascii"))
        self._keeps_key = True

    @property
    def is_call(self) -> bool:
        """Whether the transfer is that of a call, not of a request for its access token."""
        return self._transfer is not None and "webhook-id" in self._transfer.request.headers

    @property
    def reusable(self) -> bool:
        """Whether the handle may be kept after a success: not if it holds a long body or a private key."""
        return self._kept_body_bytes <= MAX_KEPT_BODY_BYTES and not self._keeps_key

    @property
    def body(self) -> bytes:
        """The part of the answer's body that was received, in its content coding."""
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    def notes(self, *, entered: bool) -> TransferNotes:
        """Return what the callbacks noted about this transfer."""
        return TransferNotes(
            entered=entered,
            late=self._late,
            vetoed=self._vetoed,
            opened=self._opened,
            excessive=self._excessive,
        )

    def finish(self) -> None:
        """Drop the data of the last transfer."""
        self._transfer = None
        self.header_lines = []
        self._chunks = []

    # libcurl's callbacks

    def _on_open_socket(self, _purpose: int, address: Any) -> Any:
        """Judge the very address that is about to be dialled; after a refusal libcurl tries the next one.

        A proxy's address is not judged: the endpoint's is, before the proxy is asked to connect to it.
        """
        transfer = self._transfer
        if transfer is None:
            return pycurl.SOCKET_BAD
        if transfer.lookup is not None:
            transfer.lookup.found()
        try:
            allowed = self._proxied or self._policy.allows(*dialled(address), urlsplit(transfer.url).hostname)
        except Exception:  # noqa: BLE001 - an address that cannot be judged is refused
            allowed = False
        if not allowed:
            self._vetoed = True
            return pycurl.SOCKET_BAD
        self._opened = True
        try:
            # Not the socket class: it may be gevent's, and pycurl only duplicates the file descriptor.
            return _socket.socket(address.family, address.socktype, address.protocol)
        except OSError:
            return pycurl.SOCKET_BAD

    def _on_socket(self, fd: int, _purpose: int) -> int:
        self._fds.append(fd)
        return _SOCKET_AS_IT_IS

    def _on_prereq(self, _address: str, local_address: str, _port: int, local_port: int) -> int:
        transfer = self._transfer
        if transfer is None:
            return _ABORT
        if self._opened:
            self._sockets.learn(self._fds, local_address, local_port)
        elif self._sockets.has_ended(local_address, local_port):
            self.stale = True
            return _ABORT
        if transfer.lookup is not None:
            transfer.lookup.not_needed()
        if transfer.gate.enter():
            if transfer.opening is not None:
                transfer.opening.connected((local_address, local_port), is_new=self._opened)
            return _PASS
        self._late = transfer.gate.expired
        return _ABORT

    def _on_header(self, line: bytes) -> int:
        self._header_bytes += len(line)
        if self._header_bytes > MAX_HEADER_BYTES or len(self.header_lines) >= MAX_HEADER_LINES:
            self._excessive = True
            return 0
        self.header_lines.append(line)
        return len(line)

    def _on_body(self, chunk: bytes) -> int:
        self.received_bytes += len(chunk)
        most_pieces = MANY_PIECES + self.received_bytes // FEW_BYTES
        if self.received_bytes > self._max_body_bytes or len(self._chunks) >= most_pieces:
            self._excessive = True
            return 0
        self._chunks.append(chunk)
        return len(chunk)


def _header_lines(request: PreparedRequest) -> list[str]:
    """Return lines for the request's headers and the offered codings.

    Raises UnsafeHeader if one could break out of its line.
    """
    headers = request.headers if isinstance(request.headers, OutgoingHeaders) else OutgoingHeaders(request.headers)
    lines = [f"{name}: {value}" if value else f"{name};" for name, value in headers.pairs()]
    joined = "".join(lines)
    if not (joined.isascii() and joined.isprintable()):
        raise UnsafeHeader("A header is not visible ASCII.")
    given = headers.lowered()
    return ["Expect:", *lines, *[line for name, line in _UNLESS_GIVEN.items() if name not in given]]
