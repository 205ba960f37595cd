r"""The grammar of host names and ports in lower case, for URLs, origins and settings.

Patterns are texts, so that they can be combined; code that compiles one ends it with ``\Z``. A service's name in a
server's address (`server_addresses`) is not DNS and may contain underscores.
"""

from __future__ import annotations

import re
from typing import Final

#: Letters, digits and hyphens, 1 to 63 of them; may begin with a digit (RFC 1123, 2.1, which widens RFC 1035, 2.3.1).
LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
#: Labels joined by dots, of any total length; a text that looks like an IPv4 address matches too.
NAME: Final = rf"{LABEL}(?:\.{LABEL})*"
#: A number without sign and leading zero; some of these are larger than `MAX_PORT`.
PORT: Final = r"[1-9][0-9]{0,4}"
MAX_PORT: Final = 65_535
#: The address of this machine that no other can reach.
LOOPBACK: Final = "127.0.0.1"

_LABEL: Final = re.compile(rf"{LABEL}\Z")
_PORT: Final = re.compile(rf"{PORT}\Z")
#: At most 253 characters (RFC 1035, 2.3.4), and a last label that no resolver reads as a part of an IPv4 address.
_HOST_NAME: Final = re.compile(rf"(?!.{{254}})(?:{LABEL}\.)*(?![0-9]+\Z|0x){LABEL}\Z")


def is_label(text: str) -> bool:
    """Return whether a text is one label of a DNS name."""
    return _LABEL.match(text) is not None


def is_host_name(text: str) -> bool:
    """Return whether a text is a DNS name that no resolver reads as an address."""
    return _HOST_NAME.match(text) is not None


def read_port(digits: str) -> int | None:
    """Read a port, 1 to `MAX_PORT` without a leading zero; None for anything else."""
    return int(digits) if _PORT.match(digits) and int(digits) <= MAX_PORT else None
