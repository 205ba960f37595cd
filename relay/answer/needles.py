"""Lists what an answer must not show, and the forms in which the mask looks for it (security.md, "Hiding").

All forms are lower-cased ASCII (other bytes as they are): the mask searches lower-cased answers, so a host or a
secret echoed in another case, and escapes in upper- and lower-case hex, are the same form here.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, unquote_plus

from relay.registration.credentials import Basic, OAuth2Client
from relay.registration.fixed_data import scalars_in
from relay.registration.header_rules import MIN_MASKED_LENGTH, PUBLIC_HEADERS
from relay.registration.signing import SECRET_PREFIX, secret_bytes
from relay.text.scalars import scalar_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from relay.registration import Shape, Target
    from relay.registration.endpoint import Endpoint

#: A run of letters and digits of this length is the core of a secret, which is hidden whatever is done to the rest.
MIN_CORE_CHARACTERS: Final = 16
#: Shorter path segments of digits and letters occur in too many paths to be taken for tokens.
MIN_TOKEN_CHARACTERS: Final = 12
#: Shorter runs of letters and digits occur in too many answers to look for escapes around each.
MIN_ANCHOR_CHARACTERS: Final = 4

_HEADERS_OF_PAIRS: Final = frozenset({"authorization", "cookie"})

_RUN: Final = re.compile(r"[A-Za-z0-9]+")
# In an endpoint's address, an IPv4 address is a run too: encoders leave its dots alone.
_RUN_OF_ADDRESS: Final = re.compile(rf"(?:[0-9]{{1,3}}\.){{3}}[0-9]{{1,3}}|{_RUN.pattern}")
_COMMON_RUNS: Final = frozenset({"http", "https"})
_CORE: Final = re.compile(rf"(?=[0-9]*[A-Za-z])(?=[A-Za-z]*[0-9])[A-Za-z0-9]{{{MIN_CORE_CHARACTERS},}}")
# A version number: the only digits that an ordinary segment of a path may have among its letters.
_VERSION: Final = re.compile(r"(?<![A-Za-z0-9])v[0-9]{1,3}(?![A-Za-z0-9])", re.IGNORECASE)
_MIXED: Final = re.compile(r"(?=.*[0-9]).*[A-Za-z]", re.DOTALL)
_UUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_PAIR_VALUE: Final = re.compile(r"=\"?([^\s\";,]+)")


@dataclass(frozen=True, slots=True)
class Needle:
    """A text to hide. A ``whole`` one is also looked for in hex and base64 whose letters have changed their case.

    Other needles are made of whole ones (a URL, of its authority and path) or parts of them, and need no such forms.
    """

    text: str
    whole: bool = True
    raw: bytes | None = None  # the bytes of a secret that is not text; ``text`` is then these bytes as Latin-1
    is_address: bool = False  # the endpoint's address, or a part of it


def needles_of(shape: Shape, target: Target) -> Iterator[Needle]:
    """Yield everything of a target that an answer must not show, each at least ``MIN_MASKED_LENGTH`` long."""
    texts, authorization = _with_cores(_secrets(target)), target.credentials.authorization
    if not shape.reveal_url:
        texts += (replace(needle, is_address=True) for needle in _address(target.endpoint))
    if isinstance(authorization, OAuth2Client):
        texts += (replace(needle, is_address=True) for needle in _address(authorization.token_url))
    return (needle for needle in texts if len(needle.text) >= MIN_MASKED_LENGTH)


def needles_of_texts(texts: Iterable[str]) -> Iterator[Needle]:
    """Yield the needles of secret texts, each at least ``MIN_MASKED_LENGTH`` long."""
    return (needle for needle in _with_cores(map(Needle, texts)) if len(needle.text) >= MIN_MASKED_LENGTH)


def _with_cores(needles: Iterable[Needle]) -> list[Needle]:
    found = list(needles)
    return found + [Needle(core, whole=False) for needle in found for core in _CORE.findall(needle.text)]


def forms_of(needle: Needle) -> set[bytes]:
    """Return the forms in which a needle is looked for under all layers of encodings, lower-cased, in UTF-8.

    They include encodings that cannot be undone once the case of their letters has changed.
    """
    raw = needle.text.encode("utf-8", "surrogatepass") if needle.raw is None else needle.raw
    forms = {raw, raw.replace(b" ", b"+"), raw.replace(b" ", b"_")}  # as forms and e-mail headers write blanks
    if needle.whole:
        forms |= {form.encode() for form in (raw.hex(), *_base64_forms(raw))}
    return {form.lower() for form in forms}


def anchor_of(needle: Needle) -> bytes | None:
    """Return a needle's longest run of letters and digits, lower-cased, which most encoders leave alone.

    Returns None if no run is long enough: such a needle has to be looked for everywhere.
    """
    pattern = _RUN_OF_ADDRESS if needle.is_address else _RUN
    runs = [run.lower() for run in pattern.findall(needle.text)]
    run = max((run for run in runs if run not in _COMMON_RUNS), key=len, default="")
    return run.encode("ascii") if len(run) >= MIN_ANCHOR_CHARACTERS else None


def _secrets(target: Target) -> Iterator[Needle]:
    for name, value in target.headers.items():
        if name.lower() not in PUBLIC_HEADERS:
            yield from _parts_of_header(name.lower(), value)
    for pair in target.endpoint.query.split("&"):
        name, equals, value = pair.partition("=")
        secret = value if equals else name  # a bare token
        yield from (Needle(secret), Needle(unquote(secret)), Needle(unquote_plus(secret)))
    for secret in target.signing:
        key = secret_bytes(secret)
        yield from (Needle(secret, whole=False), Needle(secret.removeprefix(SECRET_PREFIX)))
        yield Needle(key.decode("latin-1"), raw=key)
    for _, fixed in scalars_in(target.fixed_data):
        yield from _parts_of_header("", scalar_text(fixed) or "")
    yield from _parts_of_credentials(target.credentials.authorization)


def _parts_of_header(name: str, value: str) -> Iterator[Needle]:
    """Yield the value, its token (``Bearer xyz`` -> ``xyz``), both halves of Basic, values of cookies and the like."""
    scheme, _, token = value.partition(" ")
    token = token.strip()
    yield Needle(value, whole=len(token) < MIN_MASKED_LENGTH)
    yield Needle(token)
    if scheme.lower() == "basic":
        try:
            login = b64decode(token + "==").decode()
        except ValueError:  # the base of binascii.Error and of UnicodeDecodeError
            login = ""
        user, _, password = login.partition(":")
        yield from (Needle(login), Needle(user), Needle(password))
    if name in _HEADERS_OF_PAIRS:
        yield from map(Needle, _PAIR_VALUE.findall(value))


def _parts_of_credentials(authorization: Basic | OAuth2Client | None) -> Iterator[Needle]:
    """Yield the secrets of credentials. Keys are not among them, as they are never sent; nor are certificates."""
    if authorization is None:
        return
    if authorization.header is not None:
        yield from _parts_of_header("authorization", authorization.header)
    if isinstance(authorization, Basic):
        yield from (Needle(authorization.username), Needle(authorization.password))
        return
    further = (value for value in authorization.token_params.values() if _looks_like_a_token(value))
    yield from (Needle(text) for text in (authorization.client_id, authorization.client_secret, *further) if text)


def _address(endpoint: Endpoint) -> Iterator[Needle]:
    """Yield what `_address_as_written` does, also for the host in its own script, as its server may name itself."""
    yield from _address_as_written(endpoint)
    labels = endpoint.host.split(".")
    with suppress(UnicodeError):
        shown = [text[4:].encode().decode("punycode") if text.startswith("xn--") else text for text in labels]
        if shown != labels:
            yield from _address_as_written(replace(endpoint, host=".".join(shown)))


def _address_as_written(endpoint: Endpoint) -> Iterator[Needle]:
    """Yield the URL, its authority, host and path, alone and joined as servers echo them."""
    yield from (Needle(endpoint.host), Needle(endpoint.host.strip("[]")), Needle(endpoint.authority))
    first, *further = endpoint.fixed_paths
    for path in {first, unquote(first)}:
        yield from _parts_of_path(path, alone=not further)
        yield Needle(endpoint.authority + path)
        yield from (Needle(text, whole=False) for text in _joined(endpoint, path))
    for path in {each for part in further for each in (part, unquote(part))}:
        yield Needle(path)
        yield from _parts_of_path(path, alone=False)


def _parts_of_path(path: str, *, alone: bool) -> Iterator[Needle]:
    """Yield a path without its slashes, and what looks like a token in it.

    One segment beside a placeholder is looked for with its slash only: answers name resources as paths do.
    """
    stripped = path.strip("/")
    if alone or "/" in stripped:
        yield Needle(stripped)
    yield from (Needle(core, whole=False) for core in _CORE.findall(path))
    yield from (Needle(segment) for segment in path.split("/") if _looks_like_a_token(unquote(segment)))


def _looks_like_a_token(segment: str) -> bool:
    """Return whether a path's segment is a UUID, or digits and letters mixed, with any marks between them."""
    if len(segment) < MIN_TOKEN_CHARACTERS:
        return False
    return bool(_UUID.fullmatch(segment) or _MIXED.match(_VERSION.sub("", segment)))


def _joined(endpoint: Endpoint, path: str) -> Iterator[str]:
    query = f"?{endpoint.query}" if endpoint.query else ""
    yield from (path, path + query)
    for authority in {endpoint.authority, f"{endpoint.host}:{endpoint.port}"}:
        for before in ("", f"{endpoint.scheme}://"):
            yield from (before + authority, before + authority + path, before + authority + path + query)


def _base64_forms(raw: bytes) -> set[str]:
    """Return the parts of the base64 text that do not depend on what surrounds it, for each of three alignments."""
    forms = set()
    for before in range(3):
        encoded = b64encode(bytes(before) + raw).decode("ascii")
        stable = encoded[(8 * before + 5) // 6 : 8 * (before + len(raw)) // 6]
        forms |= {stable, stable.translate(str.maketrans("+/", "-_"))}
    return forms
