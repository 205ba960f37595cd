"""Calls through a proxy: the guard decides before the proxy is asked, and TLS is end to end with the endpoint."""

from __future__ import annotations

import socket
import ssl
import threading
import warnings

import gevent
import pycurl
import pytest

from relay.domain.invocation import Outcome, Sent, State
from relay.egress import AddressPolicy
from relay.outbound import egress_proxy
from relay.outbound.egress_proxy import ADDRESS_AGE_S, MAX_ADDRESSES, EgressProxy, connect_to
from relay.outbound.exchange import MAX_HEADER_LINES
from relay.process.clock import boot_time_s
from tests.connect_proxy import OPEN, basic, connect_proxy
from tests.integration.worker_harness import hook, worker_harness
from tests.outbound import calling
from tests.receivers import answer, closed_port, hangs_up, json_answer, once_set, receiver
from tests.timing import BUSY_S, START_S, stop_clock, wait_until

SECRET = "a-header-for-the-endpoint-alone"
PASSWORD = "p:ss/w@rd"
AT = "http://127.0.0.1:{}"


def seen(reply):
    return reply.outcome, reply.sent


def names(port, *addresses, host="api.example.com"):
    return [f"{host}:{port}:{','.join(addresses)}"]


def test_a_call_goes_through_the_proxy_which_is_asked_for_the_address_and_told_no_more():
    with receiver(answer(200, b"fine")) as r, connect_proxy() as proxy:
        url = f"http://api.example.com:{r.port}/path?q=1"
        with calling(proxy=AT.format(proxy.port), resolve=names(r.port, "127.0.0.1")) as caller:
            reply = caller.call(url, headers={"X-Api-Key": SECRET})
    assert (reply.outcome, reply.status, reply.body) == (Outcome.ANSWERED, 200, b"fine")
    assert proxy.lines == [f"CONNECT 127.0.0.1:{r.port} HTTP/1.1"]
    (head,) = proxy.heads
    assert {line.split(":")[0] for line in head.split("\r\n")[1:]} <= {"Host", "Proxy-Connection"}
    (request,) = r.requests
    assert request.target == "/path?q=1"
    assert request.header("host") == f"api.example.com:{r.port}"
    assert request.header("x-api-key") == SECRET
    assert request.header("proxy-connection") is None


def test_what_the_proxy_says_when_it_opens_the_tunnel_is_no_part_of_the_answer_nor_of_its_limits(monkeypatch):
    more = b"X-Proxy: told\r\n" * MAX_HEADER_LINES
    monkeypatch.setattr("tests.connect_proxy.OPEN", OPEN.removesuffix(b"\r\n") + more + b"\r\n")
    with receiver(answer(503, b"")) as r, connect_proxy() as proxy, calling(proxy=AT.format(proxy.port)) as caller:
        reply = caller.call(r.url)
    assert (reply.status, reply.retry_after) == (503, None)


def test_the_endpoint_s_certificate_is_verified_for_its_name_within_the_tunnel(authority):
    asked = []
    context = authority.context("api.example.com")
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    with receiver(answer(), tls=context) as r, connect_proxy() as proxy:
        url = f"https://api.example.com:{r.port}/"
        given = {"proxy": AT.format(proxy.port), "ca_file": authority.ca_file}
        with calling(resolve=names(r.port, "127.0.0.1"), **given) as caller:
            assert seen(caller.call(url, headers={"X-Api-Key": SECRET})) == (Outcome.ANSWERED, Sent.ANSWERED)
        with calling(resolve=names(r.port, "127.0.0.1", host="other.example.com"), **given) as caller:
            assert seen(caller.call(f"https://other.example.com:{r.port}/")) == (Outcome.TLS_FAILED, Sent.NO)
        with calling(resolve=names(r.port, "127.0.0.1"), proxy=AT.format(proxy.port)) as caller:
            assert seen(caller.call(url)) == (Outcome.TLS_FAILED, Sent.NO)  # an authority that is not trusted
    assert asked[0] == "api.example.com"
    assert SECRET.encode() not in proxy.passed
    assert len(r.requests) == 1


def test_an_address_that_the_guard_refuses_is_not_asked_for():
    with receiver(answer()) as r, connect_proxy() as proxy:
        policy = AddressPolicy(ports=[r.port])
        with calling(policy, proxy=AT.format(proxy.port), resolve=names(r.port, "127.0.0.1", "10.0.0.1")) as caller:
            assert seen(caller.call(f"http://api.example.com:{r.port}/")) == (Outcome.ADDRESS_REFUSED, Sent.NO)
        policy = AddressPolicy(allow=["127.0.0.1"], ports=[r.port])
        with calling(policy, proxy=AT.format(proxy.port), resolve=names(r.port, "10.0.0.1", "127.0.0.1")) as caller:
            assert caller.call(f"http://api.example.com:{r.port}/").outcome is Outcome.ANSWERED
    assert proxy.lines == [f"CONNECT 127.0.0.1:{r.port} HTTP/1.1"]


def test_an_exception_for_a_name_holds_for_that_name_only():
    with receiver(answer()) as r, connect_proxy() as proxy:
        known = [*names(r.port, "127.0.0.1", host="in.example.com"), *names(r.port, "127.0.0.1", host="no.example.com")]
        policy = AddressPolicy(allow=[f"in.example.com:{r.port}"])
        with calling(policy, proxy=AT.format(proxy.port), resolve=known) as caller:
            assert caller.call(f"http://in.example.com:{r.port}/").outcome is Outcome.ANSWERED
            assert caller.call(f"http://no.example.com:{r.port}/").outcome is Outcome.ADDRESS_REFUSED


@pytest.mark.parametrize("host", ["nothing.invalid", "a" * 64 + ".example.com"])
def test_names_are_looked_up_here_and_one_that_does_not_resolve_is_dns_failed(host):
    with connect_proxy() as proxy, calling(proxy=AT.format(proxy.port)) as caller:
        assert seen(caller.call(f"http://{host}/", timeout_s=20)) == (Outcome.DNS_FAILED, Sent.NO)
    assert proxy.heads == []


def test_a_name_is_looked_up_for_as_long_as_the_call_still_has(monkeypatch):
    stop_clock(monkeypatch)
    within_s = []
    monkeypatch.setattr(egress_proxy, "_look_up", lambda *asked: within_s.append(asked[2]) or Outcome.CONNECT_TIMEOUT)
    proxy = EgressProxy("http://proxy:3128", AddressPolicy(), "")
    assert proxy.addresses("https://api.example.com/", boot_time_s() + 5) is Outcome.CONNECT_TIMEOUT
    assert within_s == [pytest.approx(5)]


def test_a_call_whose_time_is_over_when_its_name_is_found_does_not_ask_the_proxy(monkeypatch):
    monkeypatch.setattr(egress_proxy, "_look_up", lambda *_: gevent.sleep(0.2) or ("127.0.0.1",))
    with connect_proxy() as proxy, calling(proxy=AT.format(proxy.port)) as caller:
        reply = caller.call("http://api.example.com/", timeout_s=0.1)
    assert (*seen(reply), proxy.heads) == (Outcome.CONNECT_TIMEOUT, Sent.NO, [])


def test_a_look_up_that_hangs_ends_with_the_time_for_it(monkeypatch):
    monkeypatch.setattr(egress_proxy.hub_socket, "getaddrinfo", lambda *_, **__: gevent.sleep(10 * BUSY_S))
    assert egress_proxy._look_up("api.example.com", 443, 0.01) is Outcome.CONNECT_TIMEOUT


def test_a_name_is_looked_up_again_after_a_while_and_so_many_are_remembered(monkeypatch):
    clock, asked, answers = stop_clock(monkeypatch), [], ["192.0.2.1", Outcome.DNS_FAILED, "192.0.2.3"]

    def look_up(host, _port, _within_s):
        asked.append(host)
        said = answers[len(asked) - 1] if len(asked) <= len(answers) else "192.0.2.9"
        return said if isinstance(said, Outcome) else (said,)

    monkeypatch.setattr(egress_proxy, "_look_up", look_up)
    monkeypatch.setattr(egress_proxy, "_MAX_KNOWN", 2)
    proxy = EgressProxy("http://proxy:3128", AddressPolicy(allow=["192.0.2.0/24"]), "")

    def addresses(host="api.example.com"):
        return proxy.addresses(f"https://{host}/", boot_time_s() + 5)

    for age_s, found in ((0, ("192.0.2.1",)), (ADDRESS_AGE_S - 1, ("192.0.2.1",)), (1, Outcome.DNS_FAILED)):
        clock(age_s)
        assert addresses() == found
    assert [addresses(), addresses(), len(asked)] == [("192.0.2.3",), ("192.0.2.3",), 3]  # a failure is not remembered
    for number in range(5):
        addresses(f"{number}.example.com")
        assert len(proxy._known) <= 2


def test_of_many_addresses_the_first_that_may_be_called_are_asked_for_each_once(monkeypatch):
    found = ["10.0.0.1", *(f"192.0.2.{number // 2}" for number in range(2 * MAX_ADDRESSES + 4))]
    rows = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in found]
    monkeypatch.setattr(egress_proxy.hub_socket, "getaddrinfo", lambda *_, **__: rows)
    proxy = EgressProxy("http://proxy:3128", AddressPolicy(allow=["192.0.2.0/24"]), "")
    addresses = proxy.addresses("https://api.example.com/", boot_time_s() + BUSY_S)
    assert addresses == tuple(f"192.0.2.{number}" for number in range(MAX_ADDRESSES))


@pytest.mark.parametrize(
    ("url", "shown", "login"),
    [
        ("http://proxy:3128", "http://proxy:3128", None),
        ("https://[2001:db8::1]:3128", "https://[2001:db8::1]:3128", None),
        ("http://desk:p%3Ass%2Fw%40rd@proxy:3128", "http://proxy:3128", ("desk", PASSWORD)),
        ("http://desk@proxy:3128", "http://proxy:3128", ("desk", "")),
        ("http://:secret@proxy:3128", "http://proxy:3128", ("", "secret")),
    ],
)
def test_a_proxy_is_named_without_its_user_and_password(url, shown, login):
    proxy = EgressProxy(url, AddressPolicy(), "")
    options = dict(proxy.options())
    assert (options[pycurl.PROXY], repr(proxy)) == (shown, f"EgressProxy({shown})")
    assert (options.get(pycurl.PROXYUSERNAME), options.get(pycurl.PROXYPASSWORD)) == (login or (None, None))


@pytest.mark.parametrize(
    ("address", "url", "said"),
    [
        ("192.0.2.1", "https://api.example.com/", "::192.0.2.1:443"),
        ("2001:db8::1", "https://api.example.com/", "::[2001:db8::1]:443"),
        ("2001:db8::1", "http://api.example.com:8080/", "::[2001:db8::1]:8080"),
    ],
)
def test_the_proxy_is_asked_for_addresses_of_both_kinds_at_the_url_s_port(address, url, said):
    assert connect_to(address, url) == said


def test_the_system_s_resolver_is_asked():
    with receiver(answer()) as r, connect_proxy() as proxy, calling(proxy=AT.format(proxy.port)) as caller:
        assert caller.call(f"http://localhost:{r.port}/").outcome is Outcome.ANSWERED
    assert proxy.lines[-1] == f"CONNECT 127.0.0.1:{r.port} HTTP/1.1"


def test_user_and_password_go_to_the_proxy_alone():
    def guarded(_line):
        return None if proxy.header("Proxy-Authorization")[-1] == basic("desk", PASSWORD) else refusal(407)

    with receiver(answer()) as r, connect_proxy(guarded) as proxy:
        with calling(proxy=f"http://desk:p%3Ass%2Fw%40rd@127.0.0.1:{proxy.port}") as caller:
            assert caller.call(r.url).outcome is Outcome.ANSWERED
        with calling(proxy=f"http://desk:wrong@127.0.0.1:{proxy.port}") as caller:
            assert seen(caller.call(r.url)) == (Outcome.CONNECT_FAILED, Sent.NO)
    (request,) = r.requests
    assert request.header("proxy-authorization") is None
    assert request.header("authorization") is None


def refusal(status):
    return b"HTTP/1.1 %d No\r\nContent-Length: 0\r\nProxy-Authenticate: Basic realm=x\r\n\r\n" % status


@pytest.mark.parametrize("said", [refusal(403), refusal(502), refusal(407), b"", b"nonsense\r\n\r\n"])
def test_a_proxy_that_opens_no_tunnel_is_connect_failed_and_nothing_was_sent(said):
    with receiver(answer()) as r, connect_proxy(lambda _line: said) as proxy:
        with calling(proxy=AT.format(proxy.port)) as caller:
            assert seen(caller.call(r.url)) == (Outcome.CONNECT_FAILED, Sent.NO)
        assert r.connections == 0


def test_a_proxy_that_is_not_there_is_connect_failed_and_nobody_is_called_past_it():
    with receiver(answer()) as r, calling(proxy=AT.format(closed_port())) as caller:
        assert seen(caller.call(r.url)) == (Outcome.CONNECT_FAILED, Sent.NO)
        assert r.connections == 0


def test_a_proxy_that_says_nothing_is_a_connect_timeout_at_the_deadline():
    over = threading.Event()
    with receiver(answer()) as r, connect_proxy(lambda _line: over.wait(30) and b"") as proxy:
        with calling(proxy=AT.format(proxy.port)) as caller:
            reply = caller.call(r.url, timeout_s=1)
        over.set()
    assert seen(reply) == (Outcome.CONNECT_TIMEOUT, Sent.NO)
    assert reply.duration_ms < 5_000


def test_the_next_address_is_asked_for_where_the_proxy_cannot_reach_the_first():
    with receiver(answer()) as r, connect_proxy(lambda line: refusal(502) if "127.0.0.9" in line else None) as proxy:
        known = names(r.port, "127.0.0.9", "127.0.0.1")
        with calling(proxy=AT.format(proxy.port), resolve=known) as caller:
            assert caller.call(f"http://api.example.com:{r.port}/").outcome is Outcome.ANSWERED
    assert [line.split()[1] for line in proxy.lines] == [f"127.0.0.9:{r.port}", f"127.0.0.1:{r.port}"]


def test_calls_through_the_proxy_to_one_name_do_not_wait_for_one_another():
    may_answer = threading.Event()
    with (
        receiver(once_set(may_answer, answer())) as r,
        connect_proxy() as proxy,
        calling(proxy=AT.format(proxy.port)) as caller,
    ):
        calls = [gevent.spawn(caller.call, r.url, timeout_s=START_S) for _ in range(3)]
        wait_until(lambda: len(r.requests) == len(calls), sleep=gevent.sleep)
        may_answer.set()
        gevent.joinall(calls, raise_error=True)
    assert [call.value.outcome for call in calls] == [Outcome.ANSWERED] * 3


def test_no_variable_of_the_environment_lets_a_call_past_the_proxy(monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "*")
    with receiver(answer()) as r, connect_proxy() as proxy, calling(proxy=AT.format(proxy.port)) as caller:
        assert caller.call(r.url).outcome is Outcome.ANSWERED
    assert proxy.lines == [f"CONNECT 127.0.0.1:{r.port} HTTP/1.1"]


def test_a_kept_tunnel_is_used_again_and_only_for_its_own_endpoint():
    with receiver(answer()) as r, receiver(answer()) as other, connect_proxy() as proxy:
        at = AT.format(proxy.port)
        with calling(proxy=at) as caller:
            for _ in range(3):
                assert caller.call(r.url, repeatable=True).outcome is Outcome.ANSWERED
            assert caller.call(other.url, repeatable=True).outcome is Outcome.ANSWERED
    assert proxy.tunnels == 2
    assert (len(r.requests), len(other.requests)) == (3, 1)


def test_a_tunnel_that_dies_after_the_request_may_have_delivered_it_once():
    with receiver(hangs_up()) as r, connect_proxy() as proxy, calling(proxy=AT.format(proxy.port)) as caller:
        assert seen(caller.call(r.url)) == (Outcome.CONNECTION_LOST, Sent.MAYBE)
        assert len(r.requests) == 1


def test_the_proxy_itself_may_be_reached_by_tls_and_is_verified(authority):
    with receiver(answer()) as r, connect_proxy(tls=authority.context("localhost")) as proxy:
        at = f"https://localhost:{proxy.port}"
        with calling(proxy=at, ca_file=authority.ca_file) as caller:
            assert caller.call(r.url).outcome is Outcome.ANSWERED
        with calling(proxy=at) as caller:
            assert seen(caller.call(r.url)) == (Outcome.TLS_FAILED, Sent.NO)
    with receiver(answer()) as r, connect_proxy(tls=authority.context("another.example.com")) as proxy:
        with calling(proxy=f"https://localhost:{proxy.port}", ca_file=authority.ca_file) as caller:
            assert seen(caller.call(r.url)) == (Outcome.TLS_FAILED, Sent.NO)
        assert proxy.heads == []


def test_a_worker_calls_through_the_proxy_and_says_its_password_nowhere(tmp_path_factory):
    with receiver(json_answer({"ok": True})) as r, connect_proxy() as proxy:
        at = f"http://desk:{PASSWORD.replace('/', '%2F').replace('@', '%40')}@127.0.0.1:{proxy.port}"
        with worker_harness(tmp_path_factory, RELAY_EGRESS_PROXY=at, RELAY_LOG_LEVEL="debug") as harness:
            harness.start_worker()
            harness.register(hook(r.url))
            assert harness.final(harness.trigger()).state is State.DELIVERED
            harness.runtime.registry.remove("acme", "hook")
            log = harness.log.read_text()
    assert proxy.lines == [f"CONNECT 127.0.0.1:{r.port} HTTP/1.1"]
    assert proxy.header("Proxy-Authorization") == [basic("desk", PASSWORD)]
    assert PASSWORD not in log
    assert basic("desk", PASSWORD).split()[1] not in log


def test_tls_within_the_tunnel_is_1_2_or_newer(authority):
    context = authority.context("127.0.0.1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with receiver(answer(), tls=context) as r, connect_proxy() as proxy:
        at = AT.format(proxy.port)
        with calling(proxy=at, ca_file=authority.ca_file) as caller:
            assert seen(caller.call(f"https://127.0.0.1:{r.port}/")) == (Outcome.TLS_FAILED, Sent.NO)
