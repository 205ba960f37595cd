"""Checks when certificates end: those of servers that settings name, and those in files."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from ssl import get_server_certificate
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from cryptography.x509 import load_pem_x509_certificates

from relay.doctor.finding import Finding, Level, listed
from relay.store.server.connection import places_behind
from relay.text.server_addresses import places_in, scheme_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from relay.settings import Settings

#: How soon the end of a certificate is a problem, and how soon a note.
SOON: Final = {Level.PROBLEM: timedelta(days=7), Level.NOTE: timedelta(days=30)}
_CONNECT_S: Final = 2.0
#: The schemes of addresses that are reached by TLS, with their ports.
_PORTS: Final = {"https": 443, "amqps": 5671, "rediss": 6379, "rediss+cluster": 6379, "rediss+sentinel": 26379}
#: The options of an address that name a file of certificates.
_FILES: Final = ("ssl_ca_certs", "ssl_certfile")


def examine_certificates(settings: Settings) -> Iterator[Finding]:
    """Yield the findings on the certificates of servers and in files that settings name."""
    sources: dict[str | tuple[str, int], str] = {settings.ca_file: "RELAY_CA_FILE"} if settings.ca_file else {}
    for name, text in settings.to_environ().items():
        if scheme_of(text) in _PORTS:
            for host, port in (*places_in(text), *places_behind(text)):
                sources.setdefault((host or "", port or _PORTS[scheme_of(text)]), name)
            for option, path in parse_qsl(text.partition("?")[2]):
                if option in _FILES:
                    sources.setdefault(path, name)
    with ThreadPoolExecutor(len(sources) or 1) as pool:  # each silent server takes the whole time
        read = zip(sources.items(), pool.map(_end_at, sources), strict=True)
        ends = {f"{_shown(source)} ({name})": end for (source, name), end in read}
    advice = "Renew them in time: no connection is made with one that has ended. Restart what reads the files."
    yield from judged_ends("certificates", ends, advice)


def judged_ends(check: str, ends: Mapping[str, datetime | None], advice: str) -> Iterator[Finding]:
    """Yield findings on when the certificates of these names end, None: not known; none if there are no names."""
    now, by_level = datetime.now(UTC), {level: list[str]() for level in (*SOON, Level.OK)}
    known = sorted((end, name) for name, end in ends.items() if end is not None)
    for end, name in known:
        level = next((level for level, time in SOON.items() if end - now < time), Level.OK)
        by_level[level].append(f"{name} {'ended' if end < now else 'ends'} on {end:%Y-%m-%d} (UTC)")
    for level in SOON:
        if by_level[level]:
            yield Finding(check, level, listed(by_level[level]), advice)
    unknown = [name for name, end in ends.items() if end is None]
    if unknown:
        advice = "Start the server, or correct the setting: one that cannot be read from here ends unnoticed."
        yield Finding(check, Level.NOTE, f"not known when those of {listed(unknown)} end", advice)
    elif ends and len(by_level[Level.OK]) == len(ends):
        yield Finding(check, Level.OK, f"first of {len(ends)}: {by_level[Level.OK][0]}")


def end_of(pem: bytes) -> datetime | None:
    """Return when the first certificate of a PEM text ends, or the last of those with its subject; None: unreadable.

    A file may hold the old certificate of an authority beside its new one.
    """
    ends: dict[object, datetime] = {}
    with suppress(ValueError):
        for each in load_pem_x509_certificates(pem):
            ends[each.subject] = max(each.not_valid_after_utc, ends.get(each.subject, each.not_valid_after_utc))
    return min(ends.values(), default=None)


def _end_at(source: str | tuple[str, int]) -> datetime | None:
    """Return when the certificate in a file or of a server ends, even if nobody would accept it: nothing is sent."""
    with suppress(OSError, ValueError):
        if isinstance(source, str):
            return end_of(Path(source).read_bytes())
        return end_of(get_server_certificate(source, timeout=_CONNECT_S).encode())
    return None


def _shown(source: str | tuple[str, int]) -> str:
    if isinstance(source, str):
        return source
    host, port = source
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
