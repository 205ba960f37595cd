from relay.accept.intake import TriggerRequest
from relay.domain.reference_id import new_reference_id
from relay.store.ledger.transitions import NewStep, NextStep
from tests.store_keys import KEYS
from tests.unit.cli import a_webhook
from tests.unit.test_cli_invocations import settle


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


def test_a_removed_webhook_can_be_paused_until_the_last_of_its_calls_has_ended(cli):
    cli.apply(a_webhook())
    ref = cli.json("trigger", "ping", "--plugin", "acme", "--async")["referenceId"]
    cli.runtime().store.claim([ref], "token")
    cli.json("webhooks", "remove", "ping", "--plugin", "acme")
    assert cli.json("webhooks", "pause", "ping", "--plugin", "acme")["paused"] is True
    assert cli.json("webhooks", "resume", "ping", "--plugin", "acme")["paused"] is False
    assert cli.json("webhooks", "close-breaker", "ping", "--plugin", "acme")["breaker"] == "closed"
    settle(cli, ref)
    for verb in ("pause", "resume", "close-breaker"):
        answer = cli.json("webhooks", verb, "ping", "--plugin", "acme", exit_code=1)
        assert answer["code"] == "webhook_not_registered"


def test_limits_of_a_webhook_are_shown(cli):
    cli.apply(a_webhook(concurrency=3, rate="600/m", retry={"attempts": 4}))
    shown = cli.json("webhooks", "show", "ping", "--plugin", "acme")
    assert (shown["concurrency"], shown["rate"], shown["retry"]["attempts"]) == (3, "600/m", 4)


def waiting(cli, *, of="ping", count=1):
    """Trigger a webhook, and let a worker take the calls; return their ids, and leave the lanes empty."""
    runtime = cli.runtime()
    refs = [cli.json("trigger", of, "--plugin", "acme", "--async")["referenceId"] for _ in range(count)]
    runtime.store.waiting.take(0, ["bulk"], most=10)
    runtime.store.claim(refs, "t1")
    runtime.client.delete("bulk")
    return refs


def test_calls_that_wait_for_a_breaker_are_published_when_it_is_closed(cli):
    cli.apply(a_webhook(idempotent=True, retry={"attempts": 4}))
    policy = {"failures": 20, "openUntil": 9_999_999_999_999, "openFor": 60_000}
    cli.runtime().client.hset(KEYS.policy("acme", "ping"), mapping=policy)
    tried, *held = waiting(cli, count=3)  # one is tried, and the others wait for how it ends
    states = [cli.json("invocations", "show", ref)["state"] for ref in (tried, *held)]
    assert states == ["sending", "retrying", "retrying"]
    cli.json("webhooks", "close-breaker", "ping", "--plugin", "acme")
    assert cli.runtime().client.llen("bulk") == 1, "a message for both"
    assert set(cli.runtime().store.waiting.take(0, ["bulk"], most=10).reference_ids) == set(held)


def test_a_chain_is_published_when_its_step_is_cancelled(cli):
    cli.apply(a_webhook(), {"id": "chain", "steps": [{"webhook": "ping"}]})
    (chain,) = waiting(cli, of="chain")
    store = cli.runtime().store
    step = NewStep(new_reference_id(), "ping", 1, 20_000, repeatable=False, payload=b"", request_bytes=0)
    assert store.advance([NextStep(chain, "t1", 0, 0, [step])]).granted
    cli.runtime().client.delete("bulk")
    cli.json("invocations", "cancel", step.reference_id)
    assert cli.runtime().client.llen("bulk") == 1
    assert chain in store.waiting.take(0, ["bulk"], most=10).reference_ids
