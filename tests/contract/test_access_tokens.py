"""Access tokens: fetched once for all processes, stored sealed, and deleted when an endpoint refuses them."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import gevent
import pytest

from relay.answer.endpoint_answer import EndpointAnswer
from relay.domain.invocation import Outcome, Sent
from relay.errors import StoreFault, Unavailable
from relay.executor import access_tokens as tokens_module
from relay.executor.access_tokens import AccessTokens
from relay.registration.credentials import OAuth2Client
from relay.registration.endpoint import Endpoint
from relay.request.oauth import NoToken
from relay.store.registry.access_tokens import AccessTokenStore, RevisionId
from relay.vault import Vault, token_owner
from tests.store_keys import KEYS
from tests.timing import stop_clock

REVISION = RevisionId("acme", "hook", 3, "s")
CREDENTIALS = OAuth2Client(Endpoint("https", "login.example.com", 443, "/token"), "client", "planted-client-secret")


class AuthorizationServer:
    """Stands in for the network: answers token requests."""

    def __init__(self):
        self.asked = []
        self.outcome = Outcome.ANSWERED
        self.lifetime_s = 3600
        self.delay_s = 0.0

    def send(self, request, *, gate, deadline_s, repeatable):
        del gate, deadline_s, repeatable
        self.asked.append(request)
        number = len(self.asked)
        gevent.sleep(self.delay_s)
        body = json.dumps({"access_token": f"planted-token-{number}", "expires_in": self.lifetime_s}).encode()
        status = 200 if self.outcome is Outcome.ANSWERED else 0
        return EndpointAnswer(self.outcome, Sent.ANSWERED, status, "application/json", body, 5, len(body), None, 0)


@pytest.fixture
def server():
    return AuthorizationServer()


@pytest.fixture
def vault():
    return Vault.from_text(Vault.new_key_text())


@pytest.fixture
def process(redis_client, server, vault):
    """A function that makes the access tokens object of one more process."""
    return lambda: AccessTokens(AccessTokenStore(redis_client), server, vault)


def test_a_token_is_fetched_once_and_used_again_by_every_process(process, server):
    first, second = process(), process()
    assert first.access(REVISION, CREDENTIALS).token == "planted-token-1"
    assert first.access(REVISION, CREDENTIALS).token == "planted-token-1"
    assert second.access(REVISION, CREDENTIALS).token == "planted-token-1"
    assert len(server.asked) == 1


def test_many_calls_at_once_in_several_processes_make_one_request(process, server):
    server.delay_s = 0.2
    processes = [process() for _ in range(3)]
    calls = [gevent.spawn(each.access, REVISION, CREDENTIALS) for each in processes for _ in range(20)]
    gevent.joinall(calls, raise_error=True)
    assert {call.value.token for call in calls} == {"planted-token-1"}
    assert len(server.asked) == 1


def test_each_revision_has_a_token_of_its_own(process, server):
    tokens = process()
    assert tokens.access(REVISION, CREDENTIALS).token == "planted-token-1"
    assert tokens.access(RevisionId("acme", "hook", 4, "s"), CREDENTIALS).token == "planted-token-2"
    assert tokens.access(RevisionId("other", "hook", 3, "s"), CREDENTIALS).token == "planted-token-3"
    assert len(server.asked) == 3


def test_a_process_remembers_so_many_tokens(process, monkeypatch):
    monkeypatch.setattr(tokens_module, "MAX_REMEMBERED", 2)
    tokens = process()
    for number in range(7):
        assert tokens.access(REVISION._replace(webhook_id=f"hook-{number}"), CREDENTIALS)
        assert len(tokens._known) <= 2
        assert len(tokens._fetchers) <= 3
    other = process()
    assert all(other.existing(REVISION._replace(webhook_id=f"hook-{number}"), CREDENTIALS) for number in range(7))
    assert len(other._known) <= 2


def test_a_process_remembers_so_many_failures(process, server, monkeypatch):
    monkeypatch.setattr(tokens_module, "MAX_REMEMBERED", 2)
    server.outcome, tokens = Outcome.CONNECT_FAILED, process()
    for number in range(7):
        with pytest.raises(NoToken):
            tokens.access(REVISION._replace(webhook_id=f"hook-{number}"), CREDENTIALS)
        assert max(len(tokens._failures), len(tokens._fetchers)) <= 2


def test_nothing_in_the_store_shows_a_token_or_a_secret(process, redis_client):
    process().access(REVISION, CREDENTIALS)
    stored = b"".join(key + (redis_client.get(key) or b"") for key in redis_client.keys("*"))
    assert b"token-1" not in stored
    assert b"planted" not in stored


def test_a_token_leaves_the_store_before_it_expires(process, redis_client, server):
    server.lifetime_s = 100
    process().access(REVISION, CREDENTIALS)
    (key,) = redis_client.keys("*token*")
    assert 30_000 < redis_client.pttl(key) <= 50_000


def test_an_expired_token_is_fetched_anew(process, server, monkeypatch):
    server.lifetime_s = 0.2
    tokens = process()
    assert tokens.access(REVISION, CREDENTIALS).token == "planted-token-1"
    gevent.sleep(0.15)
    assert tokens.access(REVISION, CREDENTIALS).token == "planted-token-2"


def test_a_refused_token_is_forgotten_everywhere_and_the_next_one_fetched(process, server, monkeypatch):
    monkeypatch.setattr(tokens_module, "BELIEVED_S", 0.0)
    first, second = process(), process()
    access = first.access(REVISION, CREDENTIALS)
    second.access(REVISION, CREDENTIALS)
    first.drop(access)
    assert second.access(REVISION, CREDENTIALS).token == "planted-token-2"
    assert first.access(REVISION, CREDENTIALS).token == "planted-token-2"
    assert len(server.asked) == 2


def test_a_token_that_has_come_in_the_refused_one_s_place_stays(process, server):
    first, second = process(), process()
    old = first.access(REVISION, CREDENTIALS)
    first.drop(old)
    first.access(REVISION, CREDENTIALS)
    second.drop(old)
    assert second.access(REVISION, CREDENTIALS).token == "planted-token-2"
    assert len(server.asked) == 2


def test_a_token_sealed_under_a_lost_key_is_replaced(process, server, redis_client):
    process().access(REVISION, CREDENTIALS)
    other = AccessTokens(AccessTokenStore(redis_client), server, Vault.from_text(Vault.new_key_text()))
    assert other.access(REVISION, CREDENTIALS).token == "planted-token-2"


def test_a_failure_is_shared_by_those_who_wait_and_not_tried_again_at_once(process, server, monkeypatch):
    server.outcome, server.delay_s = Outcome.CONNECT_FAILED, 0.1
    tokens = process()
    calls = [gevent.spawn(tokens.access, REVISION, CREDENTIALS) for _ in range(20)]
    gevent.joinall(calls)
    assert {type(call.exception) for call in calls} == {NoToken}
    assert {call.exception.outcome for call in calls} == {Outcome.CONNECT_FAILED}
    assert len(server.asked) == 1
    server.outcome = Outcome.ANSWERED
    with pytest.raises(NoToken):
        tokens.access(REVISION, CREDENTIALS)
    gevent.sleep(1.1)
    assert tokens.access(REVISION, CREDENTIALS).token == "planted-token-2"


def test_the_lock_of_a_fetcher_that_was_lost_ends(process, server, redis_client, monkeypatch):
    monkeypatch.setattr(tokens_module, "FETCH_LOCK_S", 0.3)
    assert AccessTokenStore(redis_client).lock_fetch(REVISION, "lost", 0.3)
    assert process().access(REVISION, CREDENTIALS).token == "planted-token-1"


@pytest.mark.parametrize("error", [Unavailable(), StoreFault()])
@pytest.mark.parametrize("failing", ["write", "unlock_fetch"])
def test_a_token_is_used_though_the_store_has_failed_since_it_was_fetched(
    server, vault, redis_client, monkeypatch, failing, error
):
    def fail(*_):
        raise error

    tokens = AccessTokens(AccessTokenStore(redis_client), server, vault)
    monkeypatch.setattr(tokens._store, failing, fail)
    assert [tokens.access(REVISION, CREDENTIALS).token for _ in range(2)] == ["planted-token-1"] * 2


def test_a_token_that_another_process_has_fetched_before_this_one_got_the_lock_is_used(process, server, monkeypatch):
    one, other = process(), process()
    lock = one._store.lock_fetch
    monkeypatch.setattr(one._store, "lock_fetch", lambda *of: other.access(REVISION, CREDENTIALS) and lock(*of))
    assert one.access(REVISION, CREDENTIALS).token == "planted-token-1"
    assert len(server.asked) == 1


def test_a_token_whose_time_is_over_is_not_used_though_the_store_has_it_still(process, vault, redis_client):
    now_s = time.time()
    value = ["planted-old-token", now_s - 20, now_s - 10, tokens_module._fingerprint(CREDENTIALS)]
    sealed = vault.seal(json.dumps(value).encode(), token_owner(*REVISION))
    AccessTokenStore(redis_client).write(REVISION, sealed, 60.0)
    assert process().access(REVISION, CREDENTIALS).token == "planted-token-1"


def test_a_token_request_is_made_once_and_ends_before_its_lock_does(process, server, monkeypatch):
    stop_clock(monkeypatch)
    asked, answer = [], server.send
    monkeypatch.setattr(server, "send", lambda request, **how: asked.append(how) or answer(request, **how))
    process().access(REVISION, CREDENTIALS)
    until_s = tokens_module.boot_time_s() + tokens_module.FETCH_S
    assert [(how["deadline_s"], how["gate"].deadline_s, how["repeatable"]) for how in asked] == [
        (until_s, until_s, False)
    ]


def test_a_process_waits_until_the_lock_of_a_fetcher_that_was_lost_has_ended(
    process, server, redis_client, monkeypatch
):
    clock, store, waited_s = stop_clock(monkeypatch), AccessTokenStore(redis_client), []
    assert store.lock_fetch(REVISION, "lost", 60)

    def sleep(_seconds):
        waited_s.append(0.5)
        clock(0.5)
        if sum(waited_s) >= tokens_module.FETCH_LOCK_S:
            store.unlock_fetch(REVISION, "lost")

    monkeypatch.setattr(gevent, "sleep", sleep)
    assert process().access(REVISION, CREDENTIALS).token == "planted-token-1"


def test_while_a_token_is_fetched_its_lock_ends_by_itself_seconds_later(process, server, redis_client, monkeypatch):
    """Otherwise a process that dies in a fetch would keep the others from theirs."""
    left_ms, answer = [], server.send

    def send(*args, **kwargs):
        left_ms.append(redis_client.pttl(KEYS.of_plugin("access_token_fetcher", "acme", webhook="hook", revision=3)))
        return answer(*args, **kwargs)

    monkeypatch.setattr(server, "send", send)
    process().access(REVISION, CREDENTIALS)
    assert 0 < left_ms[0] <= tokens_module.FETCH_LOCK_S * 1_000


def test_a_fetch_that_another_process_does_not_end_is_waited_for_and_may_be_tried_again(
    process, server, redis_client, monkeypatch
):
    clock = stop_clock(monkeypatch)
    assert AccessTokenStore(redis_client).lock_fetch(REVISION, "another", 60)
    monkeypatch.setattr(gevent, "sleep", lambda _: clock(1.0))
    with pytest.raises(NoToken) as caught:
        process().access(REVISION, CREDENTIALS)
    assert (caught.value.outcome, server.asked) == (Outcome.CONNECT_TIMEOUT, [])


@pytest.mark.parametrize(("lifetime_s", "most_ms"), [(0.0001, 1), (0.5, 500), (3_600, 3_600_000)])
def test_a_token_is_kept_for_its_lifetime_however_short_that_is(redis_client, lifetime_s, most_ms):
    store = AccessTokenStore(redis_client)
    store.write(REVISION, b"sealed", lifetime_s)
    key = KEYS.of_plugin("access_token", "acme", webhook="hook", revision=3)
    assert most_ms - 30_000 < redis_client.pttl(key) <= most_ms


def test_a_lock_is_freed_by_its_owner_only(redis_client):
    store = AccessTokenStore(redis_client)
    assert store.lock_fetch(REVISION, "a", 30)
    assert store.lock_fetch(REVISION, "a", 30)  # asked again, because the reply was lost
    assert not store.lock_fetch(REVISION, "b", 30)
    store.unlock_fetch(REVISION, "b")
    assert not store.lock_fetch(REVISION, "b", 30)
    store.unlock_fetch(REVISION, "a")
    assert store.lock_fetch(REVISION, "b", 30)


def test_an_owner_that_has_the_lock_gets_its_whole_time_again(redis_client):
    store, key = (
        AccessTokenStore(redis_client),
        KEYS.of_plugin("access_token_fetcher", "acme", webhook="hook", revision=3),
    )
    assert store.lock_fetch(REVISION, "a", 30)
    redis_client.pexpire(key, 100)
    assert not store.lock_fetch(REVISION, "b", 30)
    assert redis_client.pttl(key) <= 100
    assert store.lock_fetch(REVISION, "a", 30)
    assert redis_client.pttl(key) > 20_000


def losing_the_reply(method):
    """Return a method that does its work and then, the first time, raises as if the reply had been lost."""
    lost = []

    def lose(*args):
        reply = method(*args)
        if not lost:
            lost.append(args)
            raise Unavailable
        return reply

    return lose


def wait_for_no_lock(patch):
    patch.setattr(tokens_module, "gevent", SimpleNamespace(sleep=lambda _: pytest.fail("it waits for a lock")))


def test_a_process_to_which_the_reply_was_lost_that_gave_it_the_lock_goes_on_with_it_at_once(process, monkeypatch):
    tokens = process()
    monkeypatch.setattr(tokens._store, "lock_fetch", losing_the_reply(tokens._store.lock_fetch))
    with pytest.raises(Unavailable):
        tokens.access(REVISION, CREDENTIALS)
    wait_for_no_lock(monkeypatch)
    assert tokens.access(REVISION, CREDENTIALS).token == "planted-token-1"


def test_a_process_that_could_not_release_its_lock_fetches_again_at_once(process, server, monkeypatch):
    move_on, tokens = stop_clock(monkeypatch), process()
    monkeypatch.setattr(tokens._store, "unlock_fetch", losing_the_reply(lambda *_: None))
    server.outcome = Outcome.CONNECT_FAILED
    with pytest.raises(NoToken):
        tokens.access(REVISION, CREDENTIALS)
    move_on(tokens_module.FIRST_PAUSE_S)
    server.outcome = Outcome.ANSWERED
    wait_for_no_lock(monkeypatch)
    assert tokens.access(REVISION, CREDENTIALS).token == "planted-token-2"


def test_a_client_whose_secret_is_another_gets_a_token_of_its_own_at_once(process, server):
    renewed = replace(CREDENTIALS, client_secret="planted-other-secret")
    first, second = process(), process()
    assert first.access(REVISION, CREDENTIALS).token == "planted-token-1"
    assert first.access(REVISION, renewed).token == "planted-token-2"
    assert second.existing(REVISION, CREDENTIALS) is None
    assert second.existing(REVISION, renewed).token == "planted-token-2"


def test_a_failure_with_one_secret_does_not_delay_a_request_with_another(process, server):
    server.outcome = Outcome.ANSWER_TIMEOUT
    tokens = process()
    with pytest.raises(NoToken):
        tokens.access(REVISION, CREDENTIALS)
    server.outcome = Outcome.ANSWERED
    with pytest.raises(NoToken):  # it is not tried again yet
        tokens.access(REVISION, CREDENTIALS)
    assert tokens.access(REVISION, replace(CREDENTIALS, client_secret="planted-other-secret")).token


def test_pauses_after_failures_double_to_the_longest_and_a_success_begins_anew(process, server, monkeypatch):
    move_on, tokens = stop_clock(monkeypatch), process()

    def pause_s():
        """Fail, and return after how many seconds the server is asked again."""
        begun, paused_s = len(server.asked), 0.0
        while len(server.asked) == begun:
            with suppress(NoToken):
                tokens.access(REVISION, CREDENTIALS)
            if len(server.asked) == begun:
                move_on(tokens_module.FIRST_PAUSE_S)
                paused_s += tokens_module.FIRST_PAUSE_S
        return paused_s

    first_s, longest_s = tokens_module.FIRST_PAUSE_S, tokens_module.LONGEST_PAUSE_S
    server.outcome = Outcome.CONNECT_FAILED
    expected = [0.0, *(min(longest_s, first_s * 2**number) for number in range(8))]
    assert [pause_s() for _ in expected] == pytest.approx(expected)
    assert expected[-1] == longest_s
    server.outcome = Outcome.ANSWERED
    assert pause_s() == pytest.approx(longest_s)
    tokens.drop(tokens.access(REVISION, CREDENTIALS))
    server.outcome = Outcome.CONNECT_FAILED
    assert [pause_s(), pause_s()] == pytest.approx([0.0, first_s])


def test_a_process_whose_fetch_failed_uses_the_token_of_another_at_once(process, server):
    one, other = process(), process()
    server.outcome = Outcome.CONNECT_FAILED
    with pytest.raises(NoToken):
        one.access(REVISION, CREDENTIALS)
    server.outcome = Outcome.ANSWERED
    fetched = other.access(REVISION, CREDENTIALS)
    assert one.existing(REVISION, CREDENTIALS).token == one.access(REVISION, CREDENTIALS).token == fetched.token


@pytest.mark.parametrize("between", ["a token of another process", "nothing"])
def test_failures_hours_apart_pause_for_a_second_each(process, server, monkeypatch, between):
    now_s = [1_000.0]
    monkeypatch.setattr(tokens_module, "boot_time_s", lambda: now_s[0])
    one, other = process(), process()
    for _ in range(4):
        server.outcome = Outcome.CONNECT_FAILED
        with pytest.raises(NoToken):
            one.access(REVISION, CREDENTIALS)
        now_s[0] += tokens_module.FIRST_PAUSE_S - 0.1
        with pytest.raises(NoToken):
            one.existing(REVISION, CREDENTIALS)
        now_s[0] += 0.2
        assert one.existing(REVISION, CREDENTIALS) is None
        if between != "nothing":
            server.outcome = Outcome.ANSWERED
            other.access(REVISION, CREDENTIALS)
            one.drop(one.existing(REVISION, CREDENTIALS))
            other._known.clear()
        now_s[0] += 3_600
