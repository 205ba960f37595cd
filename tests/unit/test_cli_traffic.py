from relay.accept.intake import TriggerRequest
from relay.domain.reference_id import new_reference_id
from tests.store_keys import KEYS
from tests.unit.cli import a_webhook


def test_a_webhook_is_paused_and_resumed_and_its_parked_calls_are_published(cli):
    cli.apply(a_webhook())
    assert cli.json("webhooks", "pause", "ping", "--plugin", "acme")["paused"] is True
    runtime = cli.runtime()
    ref = runtime.dispatcher.trigger(TriggerRequest("acme", "ping", {}, new_reference_id(), "k")).reference_id
    runtime.client.delete("bulk")
    assert runtime.store.waiting.take(0, ["bulk"], most=10).reference_ids == [ref]
    runtime.store.claim([ref], "t1")
    assert cli.json("webhooks", "show", "ping", "--plugin", "acme")["traffic"]["parked"] == 1
    assert cli.json("webhooks", "resume", "ping", "--plugin", "acme")["paused"] is False
    assert runtime.client.llen("bulk") == 1
    assert runtime.store.claim([ref], "t2").granted == {ref}


def test_an_open_breaker_is_seen_and_can_be_closed(cli):
    cli.apply(a_webhook())
    cli.runtime().client.hset(
        KEYS.policy("acme", "ping"),
        mapping={"failures": 20, "openUntil": 9_999_999_999_999, "openFor": 9_999_999_999_999},
    )
    shown = cli.json("webhooks", "show", "ping", "--plugin", "acme")["traffic"]
    assert (shown["breaker"], shown["failures"], shown["openUntil"]) == ("open", 20, "2286-11-20T17:46:39.999Z")
    assert cli.json("webhooks", "close-breaker", "ping", "--plugin", "acme")["breaker"] == "closed"


def test_what_is_not_registered_cannot_be_paused(cli):
    for verb in ("pause", "resume", "close-breaker"):
        answer = cli.json("webhooks", verb, "nobody", "--plugin", "acme", exit_code=1)
        assert answer["code"] == "webhook_not_registered"


def test_limits_of_a_webhook_are_shown(cli):
    cli.apply(a_webhook(concurrency=3, rate="600/m", retry={"attempts": 4}))
    shown = cli.json("webhooks", "show", "ping", "--plugin", "acme")
    assert (shown["concurrency"], shown["rate"], shown["retry"]["attempts"]) == (3, "600/m", 4)
