"""Reads addresses of several servers: ``scheme://user:password@host:port,host:port/service/database?option=value``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from relay.text.hosts import MAX_PORT

if TYPE_CHECKING:
    from collections.abc import Mapping

CLUSTER: Final = ("redis+cluster", "rediss+cluster")
SENTINEL: Final = ("redis+sentinel", "rediss+sentinel")
#: How a Sentinel is asked, as redis-py's options: once and not for long, since the others know the primary, too.
ASKING_A_SENTINEL: Final = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0, "retry": None}
#: The scheme of Sentinels in Celery's transport.
BROKER_SENTINEL: Final = "sentinel"
_ADDRESS: Final = re.compile(
    r"(?P<scheme>[a-z+]+)://(?:(?P<user>[^:@/?#]*):(?P<password>[^@/?#]*)@)?"
    r"(?P<hosts>[^@/?#]+)(?:/(?P<path>[^?#]*))?(?:\?(?P<query>[^#]*))?\Z"
)
_HOST: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})\Z")
_SERVICE: Final = re.compile(r"[A-Za-z0-9._-]+\Z")


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """The address of several servers that clients use as one."""

    scheme: str
    hosts: tuple[tuple[str, int], ...]
    user: str = ""
    password: str = field(default="", repr=False)
    service: str = ""  # the name that Sentinels give to a primary and its replicas
    database: int = 0
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def encrypted(self) -> bool:
        """Whether the server is reached over TLS."""
        return self.scheme.startswith("rediss")

    @property
    def tls_options(self) -> dict[str, str]:
        """The address's options for TLS, ``ssl_...``; empty if the server is reached in the clear."""
        return {name: value for name, value in self.options.items() if self.encrypted and name.startswith("ssl_")}

    def of_one(self, host: str, port: int) -> str:
        """Return the address of one of the servers alone, with the same user and options."""
        query = f"?{urlencode(self.options)}" if self.options else ""
        return f"redis{'s' * self.encrypted}://{self._authority(host, port)}/{self.database}{query}"

    def for_kombu(self) -> str:
        """Return the addresses of Sentinels as kombu takes them: a URL for each one, separated by ``;``."""
        return ";".join(f"{BROKER_SENTINEL}://{self._authority(*each)}/{self.database}" for each in self.hosts)

    def _authority(self, host: str, port: int) -> str:
        """Return the authority of a URL (RFC 3986, 3.2): user and password, host and port."""
        user = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}@" if self.password else ""
        return f"{user}{f'[{host}]' if ':' in host else host}:{port}"


def scheme_of(text: str) -> str:
    """Return the scheme, which is the part before ``://``, in lower case."""
    return text.partition("://")[0].lower()


def is_cluster(text: str) -> bool:
    """Return whether an address is that of a cluster."""
    return scheme_of(text) in CLUSTER


def places_in(text: str) -> tuple[tuple[str | None, int | None], ...]:
    """Return the hosts and ports that an address names."""
    if scheme_of(text) in (*CLUSTER, *SENTINEL, BROKER_SENTINEL):
        return read_address(text).hosts
    parts = urlsplit(text)
    return ((parts.hostname, parts.port),)


def read_address(text: str) -> ServerAddress:
    """Read the parts of an address of a cluster or of Sentinels.

    Raises ``ValueError`` with a sentence that does not quote the text.
    """
    found = _ADDRESS.match(text)
    hosts = [_HOST.match(each) for each in found["hosts"].split(",")] if found else []
    if found is None or not all(hosts):
        raise ValueError("must be scheme://host:port,host:port,...")
    named = tuple((each["host"].strip("[]"), int(each["port"])) for each in hosts if each)
    if not all(0 < port <= MAX_PORT for _, port in named):
        raise ValueError(f"must have ports of 1 to {MAX_PORT}")
    user, password = unquote(found["user"] or ""), unquote(found["password"] or "")
    options = dict(parse_qsl(found["query"] or "", keep_blank_values=True))
    service, database = _path_of(found["scheme"], found["path"] or "")
    return ServerAddress(found["scheme"], named, user, password, service, database, options)


def _path_of(scheme: str, path: str) -> tuple[str, int]:
    """Read the service and the database from the path of Sentinels' address; a cluster has neither."""
    service, _, database = path.partition("/")
    if scheme in CLUSTER:
        if path not in ("", "0"):
            raise ValueError("must have no path: a cluster has one database")
        return "", 0
    if not _SERVICE.match(service):
        raise ValueError("must name the Sentinels' service: scheme://host:port,.../service")
    if database and not (database.isascii() and database.isdigit()):
        raise ValueError("must end with the number of a database")
    return service, int(database or 0)
