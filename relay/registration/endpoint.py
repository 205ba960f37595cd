"""The registered URL: one ASCII grammar, parsed once, its parts stored (security.md, "Registered URL").

Nothing parses the URL again: a request is made from these parts, with the escapes exactly as registered.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from relay.registration.path_params import MAX_PATH_PARAMS, PARAMETER_NAME, PARAMETER_NAME_RULE
from relay.text.hosts import MAX_PORT, is_host_name, read_port

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.egress import AddressPolicy

DEFAULT_PORTS: Final = {"https": 443, "http": 80}
MAX_URL_LENGTH: Final = 2_048

#: Top labels that never name a public host (RFC 6761 and what private networks use).
SPECIAL_USE_SUFFIXES: Final = frozenset(
    [
        *("localhost", "localdomain", "local", "lan", "home", "corp", "internal", "intranet", "svc"),
        *("arpa", "onion", "alt", "invalid", "example", "test"),
    ]
)

_URL_TEXT: Final = re.compile(r"[!-~]+\Z")
_URL: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<host>\[[0-9A-Fa-f:.]*\]|[A-Za-z0-9.-]*)(?::(?P<port>[0-9]*))?"
    r"(?P<path>/[^?]*)?(?P<query>\?.*)?\Z"
)
_USERINFO: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*@")
_PATH: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]*\Z")  # RFC 3986, 3.3
_QUERY: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*\Z")  # RFC 3986, 3.4
_ESCAPE: Final = re.compile(r"%(.{0,2})")
_HEX: Final = re.compile(r"[0-9A-F]{2}\Z")
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_SEGMENT: Final = re.compile(rf"(?<=/){_PLACEHOLDER.pattern}(?=/|\Z)")
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_SEPARATORS: Final = frozenset(b"/\\")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a call goes. ``host`` is lower-case (an IPv6 literal in brackets), ``query`` is raw and without ``?``.

    A segment ``{name}`` of ``path`` is filled by callers; no other part of an endpoint has braces.
    """

    scheme: str
    host: str
    port: int
    path: str
    query: str = ""

    def to_value(self) -> list[str | int]:
        """Return it as a JSON-ready value: its parts in order."""
        return [self.scheme, self.host, self.port, self.path, self.query]

    @property
    def authority(self) -> str:
        """``host[:port]`` as it is sent in ``Host``: a default port is left out."""
        return self.host if self.port == DEFAULT_PORTS[self.scheme] else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole URL, with the escapes exactly as registered."""
        query = f"?{self.query}" if self.query else ""
        return f"{self.scheme}://{self.authority}{self.path}{query}"

    @property
    def placeholders(self) -> list[str]:
        """The names of the path's segments that callers fill, in order."""
        return _PLACEHOLDER.findall(self.path)

    @property
    def fixed_paths(self) -> list[str]:
        """The path's parts between its placeholders; the whole path if it has none."""
        parts = _PLACEHOLDER.split(self.path)[::2]
        return [part.rstrip("/") for part in parts] if len(parts) > 1 else parts

    @property
    def url_pieces(self) -> list[str]:
        """The URL in pieces: the first, third, ... are sent as they are, between them are names of placeholders."""
        first, *others = _PLACEHOLDER.split(self.path)
        pieces = [f"{self.scheme}://{self.authority}{first}", *others]
        pieces[-1] += f"?{self.query}" if self.query else ""
        return pieces

    @property
    def fixed_query(self) -> tuple[tuple[str, str], ...]:
        """Names and values that are fixed in the URL, percent-decoded."""
        if not self.query:
            return ()
        pairs = (part.partition("=") for part in self.query.split("&"))
        return tuple((unquote(name), unquote(value)) for name, _, value in pairs)


@dataclass(frozen=True, slots=True)
class EndpointRules:
    """The operator's settings for URLs: which addresses are exempt, and which special-use suffixes are ordinary."""

    policy: AddressPolicy
    extra_suffixes: frozenset[str] = frozenset()


def parse_endpoint(url: str, rules: EndpointRules) -> Endpoint:
    """Parse a registered URL; raise ``ValueError`` with a sentence that does not quote it."""
    if len(url) > MAX_URL_LENGTH:
        raise ValueError(f"is longer than {MAX_URL_LENGTH} characters")
    if not _URL_TEXT.match(url):
        raise ValueError("must be of visible ASCII characters only (a name in another script as `xn--...`)")
    match = _URL.match(url)
    if match is None and "{" in url.partition("?")[0].partition("://")[2].partition("/")[0]:
        raise ValueError("has a `{...}` outside its path: only a whole segment of the path is left to callers")
    if match is None and _USERINFO.match(url):
        raise ValueError(
            'must hold no user and password: put them into `auth`, as {type: "basic", username: ..., password: ...}'
        )
    if match is None:
        raise ValueError("must be an absolute URL: `https://`, a host, an optional port, path and query, nothing else")
    scheme = match["scheme"].lower()
    if scheme not in DEFAULT_PORTS:
        raise ValueError("must begin with `https://`")
    host = _host(match["host"].lower())
    port = DEFAULT_PORTS[scheme] if match["port"] is None else _port(match["port"])
    if not rules.policy.exempts(host, port):
        _check_public(scheme, host, port, rules)
    path, query = match["path"] or "/", match["query"]
    _check_path(_SEGMENT.sub("x", path))
    _check_placeholders(_SEGMENT.findall(path))
    if query is not None:
        if query == "?":
            raise ValueError("ends in an empty query")
        check_query(query[1:])
    return Endpoint(scheme, host, port, path, query[1:] if query else "")


def _host(host: str) -> str:
    """Return the host, a DNS name or an address literal, in its canonical spelling."""
    try:
        if host.startswith("["):
            return f"[{IPv6Address(host[1:-1])}]"
        if host.rpartition(".")[2].isdigit():
            return str(IPv4Address(host))
    except AddressValueError:
        raise ValueError("has a host that looks like an address but is not one") from None
    if not is_host_name(host):
        raise ValueError(
            "must have a host name of letters, digits and hyphens in labels of at most 63, without a dot at its end"
        )
    return host


def _port(digits: str) -> int:
    port = read_port(digits)
    if port is None:
        raise ValueError(f"has a port that is not a number from 1 to {MAX_PORT} without leading zero")
    return port


def _check_public(scheme: str, host: str, port: int, rules: EndpointRules) -> None:
    """Check the rules for a host and port that the operator's settings do not exempt."""
    if scheme != "https":
        raise ValueError("must begin with `https://`; `http://` only where RELAY_EGRESS_ALLOW names the host and port")
    if host.startswith("[") or host.rpartition(".")[2].isdigit():
        raise ValueError("must name its host: an address is not allowed")
    labels = host.split(".")
    if len(labels) < 2:
        raise ValueError("must have a host name of at least two labels")
    if labels[-1] in SPECIAL_USE_SUFFIXES - rules.extra_suffixes:
        raise ValueError("has a host name under a special-use suffix, which is never public")
    if port not in rules.policy.ports:
        raise ValueError("has a port that is not open (RELAY_EGRESS_PORTS)")


def _check_placeholders(names: Sequence[str]) -> None:
    if not all(map(PARAMETER_NAME.match, names)):
        raise ValueError(f"has a `{{...}}` in its path whose name {PARAMETER_NAME_RULE}")
    if len(set(names)) != len(names):
        raise ValueError("has a `{...}` twice in its path")
    if len(names) > MAX_PATH_PARAMS:
        raise ValueError(f"has more than {MAX_PATH_PARAMS} `{{...}}` in its path")


def _check_path(path: str) -> None:
    """Check a path in which each placeholder has been replaced by something ordinary."""
    if "{" in path or "}" in path:
        raise ValueError("has a brace in its path that is not of a whole segment, such as `/{name}/`")
    if not _PATH.match(path):
        raise ValueError("has a character in its path that must be percent-escaped, or a fragment")
    _check_escapes(path, forbidden=_SEPARATORS)
    segments = path[1:].split("/")
    if "" in segments[:-1]:
        raise ValueError("has `//` in its path")
    if any(segment.partition(";")[0] in {".", ".."} for segment in segments):
        raise ValueError("has a dot segment in its path")


def check_query(query: str) -> None:
    """Raise ``ValueError`` if this cannot be the raw query of a registered URL."""
    if "{" in query or "}" in query:
        raise ValueError("has a brace in its query: callers fill the parameters that `queryParams` names")
    if not _QUERY.match(query):
        raise ValueError("has a character in its query that must be percent-escaped, or a fragment")
    _check_escapes(query, forbidden=frozenset())


def _check_escapes(text: str, *, forbidden: frozenset[int]) -> None:
    for match in _ESCAPE.finditer(text):
        if not _HEX.match(match[1]):
            raise ValueError("has a percent-escape that is not two upper-case hexadecimal digits")
        byte = int(match[1], 16)
        if byte in _UNRESERVED:
            raise ValueError("escapes a character that needs no escape")
        if byte < 0x20 or byte == 0x7F or byte in forbidden:
            raise ValueError("escapes a control character, slash or backslash")
