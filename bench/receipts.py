"""The endpoint's counts of receipts, and the client that asks for them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

CONTROL_TIMEOUT_S: Final = 30


@dataclass(frozen=True, slots=True)
class Receipts:
    """Counts since the last reset; ``digest`` stands for the set of ids; times in monotonic seconds."""

    receipts: int
    distinct: int
    doubled: int
    unnamed: int
    digest: str
    first_s: float | None
    last_s: float | None
    most_open: int = 0  # the most calls without an answer at one moment
    open_s: float = 0.0  # how long calls waited for their late answers, in all
    answered_s: float | None = None  # when the last late answer was given
    handshakes: int = 0


@dataclass(frozen=True, slots=True)
class Lags:
    """How long calls were pending, from sending by a caller to receipt, for those that carry their time of sending.

    ``early_ms`` and ``late_ms`` are the medians of the first and of the last third that were received.
    """

    receipts: int
    p50_ms: float | None
    p99_ms: float | None
    most_ms: float
    early_ms: float
    late_ms: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How many requests came, the longest lag, and when the last one came: cheap to query."""

    receipts: int
    most_ms: float
    first_s: float | None
    last_s: float | None


def digest_of(ids: Iterable[bytes]) -> str:
    """Return a digest of a set of ids, whatever their order: equal only for equal sets."""
    return hashlib.sha256(b"\n".join(sorted(set(ids)))).hexdigest()


class EndpointControl:
    """The harness's client for the endpoint's control paths."""

    def __init__(self, port: int) -> None:
        self._port = port

    @property
    def url(self) -> str:
        return self.url_of("bench")

    def url_of(self, name: str) -> str:
        """Return the address of ``bench``, of ``slow``, which answers late, or of ``failing``, which answers 500."""
        return f"http://127.0.0.1:{self._port}/hooks/{name}"

    def reset(self) -> None:
        self._get("/_bench/reset")

    def receipts(self) -> Receipts:
        return Receipts(**json.loads(self._get("/_bench/receipts")))

    def lags(self) -> Lags:
        return Lags(**json.loads(self._get("/_bench/lags")))

    def progress(self) -> Progress:
        return Progress(**json.loads(self._get("/_bench/progress")))

    def times(self) -> dict[str, int]:
        """Return how many times each id was received."""
        found: dict[str, int] = json.loads(self._get("/_bench/times"))
        return found

    def _get(self, path: str) -> bytes:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=CONTROL_TIMEOUT_S)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()
