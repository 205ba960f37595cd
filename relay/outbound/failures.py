"""Classifies failed transfers by libcurl's error number and the callbacks' notes, never by message text."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from relay.domain.invocation import Outcome, Sent

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Outcomes of errors before the gate, when nothing was sent. Any other number is ``connect_failed``.
_BEFORE_THE_GATE: Final[Mapping[int, Outcome]] = MappingProxyType(
    {
        1: Outcome.PREPARE_FAILED,  # UNSUPPORTED_PROTOCOL
        2: Outcome.PREPARE_FAILED,  # FAILED_INIT
        3: Outcome.PREPARE_FAILED,  # URL_MALFORMAT
        6: Outcome.DNS_FAILED,  # COULDNT_RESOLVE_HOST
        7: Outcome.CONNECT_FAILED,  # COULDNT_CONNECT: refused, unreachable, or vetoed by the guard
        27: Outcome.PREPARE_FAILED,  # OUT_OF_MEMORY
        28: Outcome.CONNECT_TIMEOUT,  # OPERATION_TIMEDOUT
        35: Outcome.TLS_FAILED,  # SSL_CONNECT_ERROR
        43: Outcome.PREPARE_FAILED,  # BAD_FUNCTION_ARGUMENT
        48: Outcome.PREPARE_FAILED,  # UNKNOWN_OPTION
        53: Outcome.TLS_FAILED,  # SSL_ENGINE_NOTFOUND
        54: Outcome.TLS_FAILED,  # SSL_ENGINE_SETFAILED
        58: Outcome.TLS_FAILED,  # SSL_CERTPROBLEM: the client's certificate
        59: Outcome.TLS_FAILED,  # SSL_CIPHER
        60: Outcome.TLS_FAILED,  # PEER_FAILED_VERIFICATION
        64: Outcome.TLS_FAILED,  # USE_SSL_FAILED
        66: Outcome.TLS_FAILED,  # SSL_ENGINE_INITFAILED
        77: Outcome.TLS_FAILED,  # SSL_CACERT_BADFILE
        80: Outcome.TLS_FAILED,  # SSL_SHUTDOWN_FAILED
        82: Outcome.TLS_FAILED,  # SSL_CRL_BADFILE
        83: Outcome.TLS_FAILED,  # SSL_ISSUER_ERROR
        90: Outcome.TLS_FAILED,  # SSL_PINNEDPUBKEYNOTMATCH
        91: Outcome.TLS_FAILED,  # SSL_INVALIDCERTSTATUS
        98: Outcome.TLS_FAILED,  # SSL_CLIENTCERT
    }
)

_TIMED_OUT: Final = 28

#: Errors after the gate that mean an unacceptable answer. Any other number but `_TIMED_OUT` is ``connection_lost``.
_ANSWERED_BADLY: Final = frozenset(
    {
        1,  # UNSUPPORTED_PROTOCOL: HTTP/0.9, or no HTTP at all
        8,  # WEIRD_SERVER_REPLY
        61,  # BAD_CONTENT_ENCODING: a transfer coding besides "chunked"
        63,  # FILESIZE_EXCEEDED
        100,  # TOO_LARGE: a header line longer than libcurl takes
    }
)


@dataclass(frozen=True, slots=True)
class TransferNotes:
    """What the callbacks noted about a transfer that failed."""

    entered: bool  # its gate was passed: a request may have been sent
    late: bool  # the gate was reached after the deadline
    vetoed: bool  # the guard refused an address
    opened: bool  # an allowed address was tried
    excessive: bool  # the answer exceeded a limit of the relay


def classify(code: int, notes: TransferNotes) -> tuple[Outcome, Sent]:
    """Return the outcome of a transfer that ended with libcurl's error ``code`` (not 0)."""
    if not notes.entered:
        return _before_the_gate(code, notes), Sent.NO
    if notes.excessive or code in _ANSWERED_BADLY:
        return Outcome.ANSWER_REJECTED, Sent.ANSWERED
    if code == _TIMED_OUT:
        return Outcome.ANSWER_TIMEOUT, Sent.MAYBE
    return Outcome.CONNECTION_LOST, Sent.MAYBE


def _before_the_gate(code: int, notes: TransferNotes) -> Outcome:
    if notes.late:
        return Outcome.CONNECT_TIMEOUT
    outcome = _BEFORE_THE_GATE.get(code, Outcome.CONNECT_FAILED)
    if outcome is Outcome.CONNECT_FAILED and notes.vetoed and not notes.opened:
        return Outcome.ADDRESS_REFUSED
    return outcome
