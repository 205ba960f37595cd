"""Every way in which an attempt can fail, and what its outcome says about the request."""

import contextlib
import errno
import logging
import os
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import certifi
import gevent
import pytest

from relay.domain.invocation import Outcome, Sent
from relay.egress import AddressPolicy
from relay.errors import SettingsError
from relay.outbound import exchange, sender
from relay.outbound.gate import Gate
from relay.outbound.multi import HubMulti
from relay.outbound.transport import CurlTransport
from relay.outbound.trust import Trust
from relay.process.clock import boot_time_s
from relay.telemetry.log import Event
from tests.outbound import LOOPBACK_ALLOWED, calling
from tests.receivers import (
    answer,
    closed_port,
    drips,
    full_backlog,
    hangs_up,
    in_turn,
    json_answer,
    make_authority,
    never_answers,
    raw_answer,
    receiver,
    says,
    slow,
)
from tests.timing import START_S, promptest_s, wait_until

LATE_S = 0.25  # the contract: an attempt ends at most this long after its deadline
SENT_S = 1.5  # a timeout within which the request is sent on a busy machine, too
UNRESOLVABLE = "a" * 64 + ".example.com"  # a label too long for DNS: no query leaves the machine


@pytest.fixture
def caller():
    with calling() as made:
        yield made


@contextlib.contextmanager
def listening_once(act):
    """Provide a port; ``act`` handles its first connection, which is then closed."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            sock, _ = listening.accept()
            with sock:
                act(sock)

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]


def ended_by_time(caller, url, timeout_s):
    """Return the reply to an attempt that only its deadline ends; check that this happens when the contract says."""
    replies = []
    took_s = promptest_s(lambda: replies.append(caller.call(url, timeout_s=timeout_s)), within_s=timeout_s + LATE_S)
    assert timeout_s - 0.1 < took_s < timeout_s + LATE_S
    return replies[-1]


def seen(reply):
    return reply.outcome, reply.sent, reply.status, reply.body


def test_a_closed_port_is_connect_failed_and_nothing_was_sent(caller):
    assert seen(caller.call(f"http://127.0.0.1:{closed_port()}/")) == (Outcome.CONNECT_FAILED, Sent.NO, 0, b"")


def test_an_unknown_name_is_dns_failed_and_nothing_was_sent(caller):
    assert seen(caller.call(f"http://{UNRESOLVABLE}/")) == (Outcome.DNS_FAILED, Sent.NO, 0, b"")


def test_a_connect_that_hangs_is_a_connect_timeout_and_nothing_was_sent(caller):
    with full_backlog() as port:
        reply = ended_by_time(caller, f"http://127.0.0.1:{port}/", 0.4)
    assert seen(reply) == (Outcome.CONNECT_TIMEOUT, Sent.NO, 0, b"")


def test_a_handshake_that_hangs_is_a_connect_timeout_and_nothing_was_sent(caller):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        reply = caller.call(f"https://127.0.0.1:{mute.getsockname()[1]}/", timeout_s=0.4)
    assert seen(reply) == (Outcome.CONNECT_TIMEOUT, Sent.NO, 0, b"")


def test_an_endpoint_that_never_answers_is_an_answer_timeout_and_the_request_may_have_arrived(caller):
    with receiver(never_answers) as r:
        reply = ended_by_time(caller, r.url, SENT_S)
    assert seen(reply) == (Outcome.ANSWER_TIMEOUT, Sent.MAYBE, 0, b"")


def test_a_slow_drip_ends_at_the_deadline(caller):
    with receiver(drips(0.05)) as r:
        reply = ended_by_time(caller, r.url, SENT_S)
    assert seen(reply) == (Outcome.ANSWER_TIMEOUT, Sent.MAYBE, 0, b"")


def test_a_dripping_header_block_ends_at_the_deadline(caller):
    def drip_headers(connection, _request):
        connection.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.send(b"X-Drip: 1\r\n")
            time.sleep(0.05)

    with receiver(drip_headers) as r:
        reply = ended_by_time(caller, r.url, SENT_S)
    assert reply.outcome is Outcome.ANSWER_TIMEOUT


def test_a_deadline_in_the_past_sends_nothing(caller):
    with receiver(answer()) as r:
        assert seen(caller.call(r.url, timeout_s=-1)) == (Outcome.CONNECT_TIMEOUT, Sent.NO, 0, b"")
        assert r.connections == 0


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 OK\r\nContent-", raw_answer(200, b"half", length=8)])
def test_a_connection_lost_after_the_request_may_have_delivered_it(caller, reset, part):
    with receiver(hangs_up(reset=reset, after=part)) as r:
        assert seen(caller.call(r.url)) == (Outcome.CONNECTION_LOST, Sent.MAYBE, 0, b"")
        assert len(r.requests) == 1


def test_broken_chunks_are_no_answer(caller):
    with receiver(says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello")) as r:
        reply = caller.call(r.url)
    assert (reply.outcome, reply.sent) == (Outcome.CONNECTION_LOST, Sent.MAYBE)


def test_a_connection_lost_in_the_handshake_is_tls_failed_and_nothing_was_sent(caller):
    with listening_once(lambda _sock: None) as port:
        assert seen(caller.call(f"https://127.0.0.1:{port}/")) == (Outcome.TLS_FAILED, Sent.NO, 0, b"")


# TLS


def test_a_private_authority_is_trusted_when_it_is_given(authority):
    with (
        calling(ca_file=authority.ca_file) as caller,
        receiver(json_answer(1), tls=authority.context("127.0.0.1")) as r,
    ):
        assert caller.call(r.url).outcome is Outcome.ANSWERED
        assert caller.call(r.url).outcome is Outcome.ANSWERED
        assert r.connections == 1


def test_an_unknown_authority_is_tls_failed_and_nothing_was_sent(caller, authority):
    with receiver(answer(), tls=authority.context("127.0.0.1")) as r:
        assert seen(caller.call(r.url)) == (Outcome.TLS_FAILED, Sent.NO, 0, b"")
        assert r.requests == []


def test_a_certificate_for_another_name_is_tls_failed(authority):
    with (
        calling(ca_file=authority.ca_file) as caller,
        receiver(answer(), tls=authority.context("other.example.com")) as r,
    ):
        assert seen(caller.call(r.url)) == (Outcome.TLS_FAILED, Sent.NO, 0, b"")
        assert r.requests == []


def test_tls_before_1_2_is_refused(authority):
    import ssl
    import warnings

    context = authority.context("127.0.0.1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with calling(ca_file=authority.ca_file) as caller, receiver(answer(), tls=context) as r:
        assert seen(caller.call(r.url)) == (Outcome.TLS_FAILED, Sent.NO, 0, b"")


def test_plain_http_on_a_tls_port_is_tls_failed(caller):
    with listening_once(lambda sock: sock.sendall(raw_answer(400, b"plain"))) as port:
        assert seen(caller.call(f"https://127.0.0.1:{port}/")) == (Outcome.TLS_FAILED, Sent.NO, 0, b"")


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_an_invalid_ca_file_is_a_bad_setting(tmp_path, content):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match="RELAY_CA_FILE"):
        CurlTransport(LOOPBACK_ALLOWED, ca_file=str(path), max_response_bytes=1, max_in_flight=1)


@pytest.mark.parametrize("where", [*["memory"] * hasattr(os, "memfd_create"), "a file"])
def test_a_further_authority_is_kept_with_the_others_in_memory_where_a_system_can(tmp_path, monkeypatch, where):
    if where == "a file":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    further, trust = Path(make_authority(tmp_path).ca_file), Trust(str(tmp_path / "ca.pem"))
    assert Path(trust.path).read_bytes() == Path(certifi.where()).read_bytes() + b"\n" + further.read_bytes()
    assert trust.path.startswith("/proc/self/fd/") == (where == "memory")
    with calling(ca_file=str(tmp_path / "ca.pem")) as caller:
        assert Path(caller.transport._rules.ca_path).exists()
    trust.close()
    assert not any(Path(path).exists() for path in (trust.path, caller.transport._rules.ca_path))


# The guard


def test_loopback_is_refused_unless_it_is_allowed(capfd):
    with calling(AddressPolicy(ports=[1])) as caller, receiver(answer()) as r:
        assert seen(caller.call(r.url)) == (Outcome.ADDRESS_REFUSED, Sent.NO, 0, b"")
        assert r.connections == 0
    assert capfd.readouterr().err == ""  # to which libcurl would print that a callback has failed


def test_the_address_that_a_name_resolves_to_is_what_is_judged():
    with receiver(answer()) as r:
        names = [f"rebound.example.com:{r.port}:127.0.0.1"]
        with calling(AddressPolicy(ports=[r.port]), resolve=names) as caller:
            reply = caller.call(f"http://rebound.example.com:{r.port}/")
        assert seen(reply) == (Outcome.ADDRESS_REFUSED, Sent.NO, 0, b"")
        assert r.connections == 0


def test_of_several_addresses_each_is_judged_alone_and_an_allowed_one_is_used():
    with receiver(answer()) as r:
        names = [f"mixed.example.com:{r.port}:127.0.0.2,127.0.0.1"]
        policy = AddressPolicy(allow=["127.0.0.1/32"], ports=[r.port])
        with calling(policy, resolve=names) as caller:
            assert caller.call(f"http://mixed.example.com:{r.port}/").outcome is Outcome.ANSWERED


def test_a_refused_connection_beside_a_veto_is_connect_failed():
    port = closed_port()
    names = [f"mixed.example.com:{port}:10.0.0.1,127.0.0.1"]
    with calling(AddressPolicy(allow=["127.0.0.1/32"], ports=[port]), resolve=names) as caller:
        assert seen(caller.call(f"http://mixed.example.com:{port}/")) == (Outcome.CONNECT_FAILED, Sent.NO, 0, b"")


def test_an_exception_for_a_name_holds_for_that_name_only():
    with receiver(answer()) as r:
        names = [f"{name}.example.com:{r.port}:127.0.0.1" for name in ("inhouse", "other")]
        with calling(AddressPolicy(allow=[f"inhouse.example.com:{r.port}"]), resolve=names) as caller:
            assert caller.call(f"http://inhouse.example.com:{r.port}/").outcome is Outcome.ANSWERED
            assert caller.call(f"http://other.example.com:{r.port}/").outcome is Outcome.ADDRESS_REFUSED


def test_a_guard_that_fails_refuses(capfd):
    class Broken(AddressPolicy):
        def allows(self, *_args, **_kwargs):
            raise RuntimeError("boom")

    with calling(Broken()) as caller, receiver(answer()) as r:
        assert caller.call(r.url).outcome is Outcome.ADDRESS_REFUSED
        assert r.connections == 0
    assert capfd.readouterr().err == ""


def test_a_process_that_may_open_no_more_sockets_has_sent_nothing(monkeypatch, capfd):
    def no_more(*_):
        raise OSError(errno.EMFILE, "too many open files")

    with calling() as caller, receiver(answer()) as r:
        with monkeypatch.context() as patch:
            patch.setattr(exchange, "_socket", SimpleNamespace(socket=no_more))
            assert seen(caller.call(r.url)) == (Outcome.CONNECT_FAILED, Sent.NO, 0, b"")
        assert caller.call(r.url).outcome is Outcome.ANSWERED
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x", "ws://127.0.0.1/", "unix:/tmp/s"]
)
def test_other_protocols_are_not_spoken(caller, url):
    from requests import Request

    deadline_s = boot_time_s() + 2
    prepared = Request("GET", "http://127.0.0.1/").prepare()
    prepared.url = url
    from relay.outbound.sender import Sender

    reply = Sender(caller.transport).send(prepared, gate=Gate(deadline_s), deadline_s=deadline_s, repeatable=True)
    assert reply.sent is Sent.NO
    assert reply.status == 0


# What the sender refuses to send, and its own faults


@pytest.mark.parametrize("header", ["a\r\nInjected: 1", "a\nInjected: 1", "caf\xe9", "a\x00b"])
def test_a_header_that_would_break_out_is_not_sent(caller, header):
    from requests import Request

    from relay.outbound.sender import Sender

    with receiver(answer()) as r:
        prepared = Request("POST", r.url, data=b"x").prepare()
        prepared.headers["X-Bad"] = header
        deadline_s = boot_time_s() + 2
        reply = Sender(caller.transport).send(prepared, gate=Gate(deadline_s), deadline_s=deadline_s, repeatable=True)
        assert (reply.outcome, reply.sent) == (Outcome.PREPARE_FAILED, Sent.NO)
        assert r.connections == 0


def test_a_fault_of_the_transport_is_an_answer_too_and_shuts_the_gate(caller, monkeypatch):
    def fail(*_args, **_kwargs):
        raise RuntimeError("https://secret.example.com")

    logged = []
    monkeypatch.setattr(caller.transport, "perform", fail)
    monkeypatch.setattr(sender, "event", lambda name, **fields: logged.append((name, fields)))
    gate = Gate(boot_time_s() + 5)
    reply = caller.call("http://127.0.0.1:1/", gate=gate)
    assert (reply.outcome, reply.sent) == (Outcome.PREPARE_FAILED, Sent.NO)
    assert not gate.enter()
    assert logged == [(Event.OUTBOUND_FAULT, {"level": logging.ERROR, "kind": "RuntimeError"})]


def test_after_every_failure_the_next_call_is_served(caller):
    scripts = [
        hangs_up(),
        hangs_up(reset=True),
        says(b"rubbish\r\n\r\n"),
        answer(200, b"x" * 2_000_000),
        slow(2 * SENT_S, answer()),
    ]
    with receiver(in_turn(*[one for script in scripts for one in (script, json_answer(1))])) as r:
        for _ in scripts:
            assert caller.call(r.url, timeout_s=SENT_S).outcome is not Outcome.ANSWERED
            assert caller.call(r.url).outcome is Outcome.ANSWERED


def test_a_name_that_does_not_resolve_fails_for_every_call_that_waits_for_it(caller):
    calls = [gevent.spawn(caller.call, f"http://{UNRESOLVABLE}/?n={n}") for n in range(50)]
    gevent.joinall(calls, raise_error=True)
    assert {seen(call.value) for call in calls} == {(Outcome.DNS_FAILED, Sent.NO, 0, b"")}


def test_calls_to_a_name_that_is_found_do_not_wait_for_one_whose_handshake_hangs(caller):
    def accepted():
        with contextlib.suppress(BlockingIOError):
            return mute.accept()[0]

    with socket.create_server(("127.0.0.1", 0)) as mute, contextlib.ExitStack() as dialled:
        mute.setblocking(False)
        url = f"https://127.0.0.1:{mute.getsockname()[1]}/"
        calls = [gevent.spawn(caller.call, url, timeout_s=2 * START_S) for _ in range(3)]
        for _ in calls:
            dialled.enter_context(wait_until(accepted, sleep=gevent.sleep))
        gevent.killall(calls)


@pytest.mark.parametrize("waits", [0, 1])
def test_a_time_that_libcurl_does_not_set_a_second_time_is_waited_for_while_a_transfer_runs(waits):
    multi = HubMulti(gevent.get_hub(), max_connections=1)
    multi._multi.close()
    multi._multi = SimpleNamespace(timeout=lambda: 30_000, socket_action=lambda *_: (0, waits), close=lambda: None)
    multi._waits = dict.fromkeys(range(waits))
    multi._on_timeout()
    assert (multi._timer is not None) == bool(waits)
    multi.close()
