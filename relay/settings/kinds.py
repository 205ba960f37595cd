"""Reads the text of each kind of setting, with one function per kind. Pure, except for ``file``.

All functions raise ``ValueError`` with a sentence that does not quote the text, which may be a secret.
"""

from __future__ import annotations

from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar
from urllib.parse import SplitResult, urlsplit

from relay.text.hosts import MAX_PORT, is_host_name, is_label
from relay.text.ids import ID_PATTERN
from relay.text.quantities import read_bytes, read_rate, read_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

N = TypeVar("N", bound=float)
V = TypeVar("V")
Network: TypeAlias = IPv4Network | IPv6Network

_LOG_LEVELS: Final = ("debug", "info", "warning", "error")
_TRUE: Final = ("1", "true", "yes", "on")
_FALSE: Final = ("", "0", "false", "no", "off")
_MIN_RETENTION_S: Final = 86_400  # an Idempotency-Key is honoured for 24 h, and needs its record
_MAX_RETENTION_S: Final = 10 * 366 * 86_400
_MAX_NAME_CHARS: Final = 64
MOST_PARTITIONS: Final = 100


class Secret:
    """Text that cannot be shown by accident: ``str`` and ``repr`` show ``***``, ``reveal()`` returns the text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text

    def __str__(self) -> str:
        return "***"

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __bool__(self) -> bool:
        return bool(self._text)


def optional(text: str, *, read: Callable[[str], V]) -> V | None:
    """Read a text by another function; None if empty."""
    return read(text) if text else None


def flower_auth(text: str) -> Secret:
    """Read ``user:password``."""
    if not all(text.partition(":")):
        raise ValueError("must be user:password")
    return Secret(text)


def flag(text: str) -> bool:
    """Read true or false, also written as 1, yes or on, or as 0, no, off or an empty text."""
    if text.lower() in _TRUE + _FALSE:
        return text.lower() in _TRUE
    raise ValueError("must be true or false")


def entries(text: str) -> tuple[str, ...]:
    """Read a comma-separated list; its entries are not interpreted."""
    return tuple(part for part in (part.strip() for part in text.split(",")) if part)


def ports(text: str) -> tuple[int, ...]:
    """Read comma-separated port numbers."""
    parts = entries(text)
    if not all(part.isascii() and part.isdigit() and 1 <= int(part[:6]) <= MAX_PORT for part in parts):
        raise ValueError(f"must be port numbers (1 to {MAX_PORT}), separated by commas")
    return tuple(int(part) for part in parts)


def networks(text: str) -> tuple[Network, ...]:
    """Read comma-separated addresses and networks."""
    try:
        return tuple(ip_network(part) for part in entries(text))
    except ValueError:
        raise ValueError("must be addresses or networks (10.0.0.0/8), separated by commas") from None


def labels(text: str) -> tuple[str, ...]:
    """Read comma-separated DNS labels; return them in lower case, without leading dots."""
    parts = tuple(part.lower().lstrip(".") for part in entries(text))
    if not all(is_label(part) for part in parts):
        raise ValueError("must be names without dots, separated by commas")
    return parts


def hosts(text: str) -> tuple[str, ...]:
    """Read comma-separated host names and addresses, without ports; return them in lower case."""
    parts = tuple(part.lower().removesuffix(".").strip("[]") for part in entries(text))
    if not all(is_host_name(part) or is_address(part) for part in parts):
        raise ValueError("must be host names or addresses without ports (relay.example.com), separated by commas")
    return parts


def is_address(text: str) -> bool:
    """Return whether a text is an IP address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def file(text: str) -> str:
    """Read the path of an existing file; return it absolute, as children run elsewhere."""
    if not Path(text).is_file():
        raise ValueError("must be the path of a file that exists")
    return str(Path(text).resolve())


def rate(text: str) -> str:
    """Read ``n/s`` or ``n/m``."""
    return str(read_rate(text))


def log_level(text: str) -> str:
    """Read a level of the standard library's logging, in lower case."""
    if text.lower() not in _LOG_LEVELS:
        raise ValueError(f"must be one of {', '.join(_LOG_LEVELS)}")
    return text.lower()


def http_url(text: str) -> str:
    """Read an http or https base URL, without its last slash."""
    parts = split_url(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be an http or https URL")
    return text.rstrip("/")


def proxy_url(text: str) -> Secret:
    """Read the URL of a proxy with its port, optionally with user and password."""
    parts = split_url(text)
    rest = parts.path.strip("/") or parts.query or parts.fragment
    if parts.scheme not in ("http", "https") or not parts.hostname or not parts.port or rest:
        raise ValueError("must be http://host:port or https://host:port, with user:password@ if the proxy requires it")
    return Secret(text)


def number(least: int, most: int) -> Callable[[str], int]:
    """Make a reader of whole numbers in a range."""
    return partial(_in_range, read=_whole, least=least, most=most, unit="")


def size(least: str, most: str) -> Callable[[str], int]:
    """Make a reader of sizes in a range; the value is in bytes."""
    return partial(_in_range, read=read_bytes, least=read_bytes(least), most=read_bytes(most), unit=" bytes")


def seconds(least: float, most: float) -> Callable[[str], float]:
    """Make a reader of durations in a range; the value is in seconds."""
    return partial(_in_range, read=read_seconds, least=least, most=most, unit=" seconds")


def operator(text: str) -> str:
    """Read the name of a person: at most 64 printable characters."""
    if len(text) > _MAX_NAME_CHARS or not text.isprintable():
        raise ValueError(f"must be a name of at most {_MAX_NAME_CHARS} printable characters")
    return text


def retention(text: str) -> int:
    """Read a duration of at least a day, in whole seconds."""
    least, most = float(_MIN_RETENTION_S), float(_MAX_RETENTION_S)
    return int(_in_range(text, read=read_seconds, least=least, most=most, unit=" seconds"))


def plugin(text: str) -> str:
    """Read the name of a plugin."""
    if not ID_PATTERN.match(text):
        raise ValueError("must be a plugin's name: a-z, 0-9, _ and -, at most 64")
    return text


def webhook(text: str) -> str:
    """Read ``plugin/webhook``, both ids."""
    owner, slash, name = text.partition("/")
    if not (slash and ID_PATTERN.match(owner) and ID_PATTERN.match(name)):
        raise ValueError("must be plugin/webhook, such as ops/on-alert")
    return text


def as_text(value: Any) -> str:
    """Return a setting's value as text that its reader accepts again, secrets in clear."""
    match value:
        case None:
            return ""
        case Secret():
            return value.reveal()
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(str(part) for part in value)
        case float():
            return f"{value:.12g}"
        case _:
            return str(value)


def split_url(text: str) -> SplitResult:
    """Split a URL into its parts."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ValueError("must be a valid URL") from None
    return parts


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise ValueError("must be a whole number")
    return int(text)


def _in_range(text: str, *, read: Callable[[str], N], least: N, most: N, unit: str) -> N:
    value = read(text)
    if not least <= value <= most:
        raise ValueError(
            f"must be {least:g} to {most:g}{unit}" if most < 1e6 else f"must be {least:.0f} to {most:.0f}{unit}"
        )
    return value
