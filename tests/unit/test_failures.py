"""What libcurl's error numbers mean before and after the gate, and which address it is about to dial."""

import socket
from contextlib import ExitStack
from types import SimpleNamespace

import pycurl
import pytest

from relay.domain.invocation import Outcome, Sent
from relay.outbound import egress_proxy
from relay.outbound import sockets as sockets_module
from relay.outbound.failures import TransferNotes, classify
from relay.outbound.sockets import Sockets, dialled
from tests.timing import BUSY_S, wait_until


def notes(**seen):
    return TransferNotes(
        **{"entered": False, "late": False, "vetoed": False, "opened": False, "excessive": False, **seen}
    )


@pytest.mark.parametrize("code", range(1, 110))
def test_nothing_was_sent_if_the_gate_was_not_passed(code):
    outcome, sent = classify(code, notes())
    assert sent is Sent.NO
    assert outcome not in (Outcome.ANSWER_TIMEOUT, Outcome.CONNECTION_LOST, Outcome.ANSWER_REJECTED)


@pytest.mark.parametrize("code", range(1, 110))
def test_it_is_never_said_that_nothing_was_sent_once_the_gate_was_passed(code):
    outcome, sent = classify(code, notes(entered=True, opened=True))
    assert sent is (Sent.ANSWERED if outcome is Outcome.ANSWER_REJECTED else Sent.MAYBE)
    assert outcome in (Outcome.ANSWER_TIMEOUT, Outcome.CONNECTION_LOST, Outcome.ANSWER_REJECTED)


@pytest.mark.parametrize(
    ("code", "seen", "outcome"),
    [
        (6, {}, Outcome.DNS_FAILED),
        (7, {"opened": True}, Outcome.CONNECT_FAILED),
        (7, {"vetoed": True}, Outcome.ADDRESS_REFUSED),
        (7, {"vetoed": True, "opened": True}, Outcome.CONNECT_FAILED),
        (28, {"vetoed": True, "opened": True}, Outcome.CONNECT_TIMEOUT),
        (60, {"opened": True}, Outcome.TLS_FAILED),
        (42, {"opened": True, "late": True}, Outcome.CONNECT_TIMEOUT),
        (42, {"opened": True}, Outcome.CONNECT_FAILED),
        (3, {}, Outcome.PREPARE_FAILED),
        # a resend that met a closed port, a veto or the gate: the first request may have arrived
        (7, {"entered": True, "opened": True}, Outcome.CONNECTION_LOST),
        (7, {"entered": True, "vetoed": True}, Outcome.CONNECTION_LOST),
        (42, {"entered": True}, Outcome.CONNECTION_LOST),
        (60, {"entered": True}, Outcome.CONNECTION_LOST),
        (23, {"entered": True, "excessive": True}, Outcome.ANSWER_REJECTED),
        (28, {"entered": True}, Outcome.ANSWER_TIMEOUT),
        (61, {"entered": True}, Outcome.ANSWER_REJECTED),
    ],
)
def test_an_error_number_and_what_the_callbacks_saw_give_the_outcome(code, seen, outcome):
    assert classify(code, notes(**seen))[0] is outcome


#: libcurl's errors that have an outcome of their own before the gate, and those that mean a bad answer after it; the
#: numbers have no name in pycurl.
BEFORE = {
    Outcome.PREPARE_FAILED: [
        *("UNSUPPORTED_PROTOCOL", "FAILED_INIT", "URL_MALFORMAT", "OUT_OF_MEMORY", "BAD_FUNCTION_ARGUMENT"),
        "UNKNOWN_OPTION",
    ],
    Outcome.DNS_FAILED: ["COULDNT_RESOLVE_HOST"],
    Outcome.CONNECT_TIMEOUT: ["OPERATION_TIMEDOUT"],
    Outcome.TLS_FAILED: [
        *("SSL_CONNECT_ERROR", "SSL_ENGINE_NOTFOUND", "SSL_ENGINE_SETFAILED", "SSL_CERTPROBLEM", "SSL_CIPHER"),
        *("PEER_FAILED_VERIFICATION", "USE_SSL_FAILED", "SSL_ENGINE_INITFAILED", "SSL_CACERT_BADFILE"),
        *("SSL_SHUTDOWN_FAILED", "SSL_CRL_BADFILE", "SSL_ISSUER_ERROR", "SSL_PINNEDPUBKEYNOTMATCH"),
        *("SSL_INVALIDCERTSTATUS", 98),
    ],
}
AFTER = {
    Outcome.ANSWER_TIMEOUT: ["OPERATION_TIMEDOUT"],
    Outcome.ANSWER_REJECTED: [
        *("UNSUPPORTED_PROTOCOL", "FTP_WEIRD_SERVER_REPLY", "BAD_CONTENT_ENCODING", "FILESIZE_EXCEEDED", 100),
    ],
}


@pytest.mark.parametrize(
    ("entered", "outcomes", "any_other"),
    [(False, BEFORE, Outcome.CONNECT_FAILED), (True, AFTER, Outcome.CONNECTION_LOST)],
    ids=["before the gate", "after it"],
)
def test_each_error_means_what_libcurl_s_name_for_it_says(entered, outcomes, any_other):
    said = {
        name if isinstance(name, int) else getattr(pycurl, f"E_{name}"): outcome
        for outcome, errors in outcomes.items()
        for name in errors
    }
    for code in range(1, 110):
        assert classify(code, notes(entered=entered, opened=True))[0] is said.get(code, any_other), code


@pytest.mark.parametrize("flags", [0, socket.SOCK_CLOEXEC, socket.SOCK_NONBLOCK])
@pytest.mark.parametrize(
    ("family", "address", "said"),
    [
        (socket.AF_INET, (b"192.0.2.1", 443), ("192.0.2.1", 443)),
        (socket.AF_INET, ("192.0.2.1", 443), ("192.0.2.1", 443)),
        (socket.AF_INET6, (b"2001:db8::1", 443, 0, 0), ("2001:db8::1", 443)),
        (socket.AF_INET6, (b"fe80::1", 443, 0, 2), ("fe80::1%2", 443)),
    ],
)
def test_what_is_dialled_is_judged_with_its_scope(family, address, said, flags):
    assert dialled(SimpleNamespace(family=family, socktype=socket.SOCK_STREAM | flags, addr=address)) == said


@pytest.mark.parametrize(
    ("family", "kind"),
    [(socket.AF_UNIX, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM), (socket.AF_INET6, socket.SOCK_RAW)],
)
def test_nothing_but_tcp_over_ip_is_dialled(family, kind):
    with pytest.raises(ValueError, match="TCP"):
        dialled(SimpleNamespace(family=family, socktype=kind, addr=(b"127.0.0.1", 443)))


@pytest.mark.parametrize(
    ("row", "text"),
    [
        *((("192.0.2.1", 443), "192.0.2.1"), (("2001:db8::1", 443, 0, 0), "2001:db8::1")),
        *((("fe80::1", 443, 0, 2), "fe80::1%2"), (("fe80::1%eth0", 443, 0, 2), "fe80::1%eth0")),
    ],
)
def test_what_the_resolver_finds_for_a_proxy_is_judged_with_its_scope_too(row, text):
    assert egress_proxy._text(row) == text


def test_a_kept_connection_has_ended_once_its_peer_has_closed_it_and_an_unknown_one_never():
    sockets = Sockets()
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as stack:
        ours, theirs = [], []
        for _ in range(2):
            ours.append(stack.enter_context(socket.create_connection(server.getsockname())))
            theirs.append(stack.enter_context(server.accept()[0]))
        ends = [each.getsockname() for each in ours]
        for end in ends:
            sockets.learn([1 << 20, *(each.fileno() for each in ours)], *end)  # the first is closed
        assert [sockets.has_ended(*end) for end in ends] == [False, False]
        theirs[1].close()
        wait_until(lambda: sockets.has_ended(*ends[1]), BUSY_S)
        assert not sockets.has_ended(*ends[0])
        theirs[0].sendall(b"what nobody asked for")
        wait_until(lambda: sockets.has_ended(*ends[0]), BUSY_S)
        assert not sockets.has_ended("127.0.0.1", 1)


def test_so_many_connections_are_known(monkeypatch):
    monkeypatch.setattr(sockets_module, "_MAX_KNOWN", 2)
    monkeypatch.setattr(sockets_module, "_local_end", lambda fd: ("127.0.0.1", fd))
    sockets = Sockets()
    with ExitStack() as stack:
        fds = [stack.enter_context(socket.socket()).fileno() for _ in range(4)]
        for fd in fds:
            sockets.learn([fd], "127.0.0.1", fd)
        sockets.learn([fds[2]], "127.0.0.1", fds[2])  # known again, so it is the newest
        assert list(sockets._known) == [("127.0.0.1", fd) for fd in (fds[3], fds[2])]
