"""What the store's methods raise where one of their commands gets no answer: `Unavailable`, whichever it is."""

from __future__ import annotations

import json
from contextlib import closing, suppress
from itertools import count

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from relay.errors import Unavailable
from relay.registration.document import read_registrations
from relay.settings import Settings
from relay.store.backups.copying import counts_of, first_key
from relay.store.backups.snapshot import sources_of
from relay.store.health.alerts import Alerts
from relay.store.ledger.callbacks import Callbacks
from relay.store.ledger.listing import Filter
from relay.store.ledger.rates import PluginRates
from relay.store.ledger.steps import Steps
from relay.store.partitions.dividing import Division
from relay.store.partitions.format import agree_on_format, format_at
from relay.store.partitions.number import agree_on_partitions
from relay.store.partitions.states import partition_states
from relay.store.registry.access_tokens import AccessTokenStore, RevisionId
from relay.store.rings.log import note_retired, retired_ms_ago
from relay.store.rings.sealed_values import SealedValues
from relay.store.scripting.library import Kind, library
from relay.store.trail.trail import Trail
from relay.wiring.runtime import cli_runtime
from tests.contract.story import PLUGIN, Story

TOKEN = RevisionId(PLUGIN, "hook", 1, "s")
#: What each part does with a store in which everything has happened, given the runtime and the id of a call.
CALLS = {
    "api_keys.create": lambda my, _: my.api_keys.create(PLUGIN, ["trigger"]),
    "api_keys.list": lambda my, _: my.api_keys.list(),
    "api_keys.unverified": lambda my, _: my.api_keys.unverified(),
    "api_keys.revoke": lambda my, _: my.api_keys.revoke(my.api_keys.list()[0].id),
    "api_keys.origins": lambda my, _: my.api_keys.origins(),
    "audit_writer.write": lambda my, _: my.audit_writer.write("doctor"),
    "alerts.take_lock": lambda my, _: Alerts(my.client, PLUGIN).take_lock(),
    "alerts.holding": lambda my, _: Alerts(my.client, PLUGIN).holding(),
    "alerts.evaluate": lambda my, _: Alerts(my.client, PLUGIN).evaluate([]),
    "backlog.of": lambda my, _: my.backlog.of(["bulk"]),
    "backlog.minutes": lambda my, _: my.backlog.minutes(["bulk"], 0),
    "callbacks.take": lambda my, _: Callbacks(my.client).take(0, 9),
    "callbacks.delete": lambda my, _: Callbacks(my.client).delete(0, ["none"]),
    "counts_of": lambda my, _: counts_of(my.client, [0], shared=True),
    "decisions.paused": lambda my, _: my.decisions.paused([(PLUGIN, "hook")]),
    "decisions.reseal": lambda my, _: my.decisions.reseal(),
    "division.counts": lambda my, _: Division(my.client, 1).counts(),
    "epochs.read": lambda my, _: my.epochs.read(),
    "epochs.fenced_partitions": lambda my, _: my.epochs.fenced_partitions(),
    "epochs.open": lambda my, _: my.epochs.open(0),
    "first_key": lambda my, _: first_key(my.client),
    "forgetting.due": lambda my, _: my.forgetting.due(0, 9),
    "forgetting.go_on": lambda my, _: my.forgetting.go_on(PLUGIN, "none"),
    "format_at": lambda my, _: format_at(my.client, "relay:"),
    "agree_on_format": lambda my, _: agree_on_format(my.client, my.keyspace),
    "agree_on_partitions": lambda my, _: agree_on_partitions(my.client, 1),
    "listing.check_webhook": lambda my, _: my.listing.check_webhook(PLUGIN, Filter(webhook_id="hook")),
    "listing.knows": lambda my, _: my.listing.knows(PLUGIN),
    "listing.page": lambda my, _: my.listing.page(PLUGIN, Filter()),
    "listing.every": lambda my, _: list(my.listing.every(PLUGIN, Filter())),
    "listing.newest_groups": lambda my, _: my.listing.newest_groups(PLUGIN, Filter()),
    "measures.count_everything": lambda my, _: my.measures.count_everything(),
    "measures.minutes": lambda my, _: my.measures.minutes(PLUGIN),
    "measures.recent": lambda my, _: my.measures.recent(PLUGIN, 5),
    "measures.webhooks": lambda my, _: my.measures.webhooks(PLUGIN),
    "measures.totals": lambda my, _: my.measures.totals(PLUGIN),
    "measures.sweeps": lambda my, _: my.measures.sweeps(),
    "partition_states": lambda my, _: partition_states(my.client, my.keyspace),
    "partitions.silence": lambda my, _: my.partitions.silence(),
    "policies.pause": lambda my, _: my.policies.pause(PLUGIN, "hook"),
    "policies.resume": lambda my, _: list(my.policies.resume(PLUGIN, "hook")),
    "policies.traffics": lambda my, _: my.policies.traffics(PLUGIN, ["hook", "slow"]),
    "policies.differing": lambda my, _: my.policies.differing({(PLUGIN, "hook"): ("",)}),
    "rates.take": lambda my, _: PluginRates(my.client, "1000/s").take(PLUGIN),
    "registry.plugins": lambda my, _: my.registry.plugins(),
    "registry.has_plugin": lambda my, _: my.registry.has_plugin(PLUGIN),
    "registry.current": lambda my, _: my.registry.current(PLUGIN, "hook", refresh=True),
    "registry.shapes": lambda my, _: my.registry.shapes(PLUGIN),
    "registry.unverified": lambda my, _: my.registry.unverified(PLUGIN),
    "registry.revision": lambda my, _: my.registry.revision(PLUGIN, "hook", 1),
    "registry.open_target": lambda my, _: my.registry.open_target(PLUGIN, "hook", 1),
    "registry.is_changed": lambda my, _: my.registry.is_changed(PLUGIN, "hook", 1),
    "registry.last_revision": lambda my, _: my.registry.last_revision(PLUGIN, "hook"),
    "registry.remove": lambda my, _: my.registry.remove(PLUGIN, "none"),
    "replay_store.list": lambda my, _: my.replay_store.list(PLUGIN),
    "retired_ms_ago": lambda my, _: retired_ms_ago(my.client, "data", "k1"),
    "note_retired": lambda my, _: note_retired(my.client, "data", "k1"),
    "sealed_values.every": lambda my, _: list(SealedValues(my.client).every()),
    "secrets.set": lambda my, _: my.registry.secrets.set(PLUGIN, "OTHER", "other-value"),
    "secrets.values": lambda my, _: my.registry.secrets.values(PLUGIN, ["OTHER"], fresh=True),
    "secrets.names": lambda my, _: my.registry.secrets.names(PLUGIN),
    "secrets.users": lambda my, _: my.registry.secrets.users(PLUGIN, "OTHER"),
    "secrets.settings": lambda my, _: my.registry.secrets.settings(PLUGIN, ["OTHER"]),
    "secrets.remove": lambda my, _: my.registry.secrets.remove(PLUGIN, "OTHER"),
    "sources_of": lambda my, _: sources_of(my.client, ["relay:"]),
    "steps.of": lambda my, ref: Steps(my.client, my.keyspace).of(ref),
    "steps.secrets": lambda my, ref: Steps(my.client, my.keyspace).secrets(ref),
    "store.find": lambda my, ref: my.store.find(ref),
    "store.look_up": lambda my, ref: my.store.look_up(ref),
    "store.join": lambda my, ref: my.store.join(PLUGIN, ref, "api1"),
    "store.result_of": lambda my, ref: my.store.result_of(ref),
    "store.payload_of": lambda my, ref: my.store.payload_of(ref),
    "store.count": lambda my, _: my.store.count(PLUGIN, "masked"),
    "store.counts": lambda my, _: my.store.counts(PLUGIN),
    "store.read": lambda my, ref: my.store.read([ref]),
    "store.claim": lambda my, ref: my.store.claim([ref], "t"),
    "store.release": lambda my, ref: my.store.release([ref], "t"),
    "store.sweep": lambda my, _: my.store.sweep(limit=9),
    "store.expire": lambda my, _: my.store.expire(limit=9),
    "store.revisits": lambda my, _: my.store.revisits(0, limit=9),
    "store.revisit": lambda my, _: list(my.store.revisit(PLUGIN, "hook")),
    "store.prune": lambda my, _: my.store.prune(limit=9),
    "store.drop_contents": lambda my, _: my.store.drop_contents(limit=9),
    "store.parked_calls.webhooks": lambda my, _: my.store.parked_calls.webhooks(limit=9),
    "store.waiting.take": lambda my, _: my.store.waiting.take(0, ["bulk"], most=9),
    "subject_hashes.of": lambda my, _: my.subject_hashes.of(PLUGIN, "patient 1"),
    "subject_hashes.known": lambda my, _: my.subject_hashes.known(PLUGIN, "patient 1"),
    "tokens.read": lambda my, _: AccessTokenStore(my.client).read(TOKEN),
    "tokens.write": lambda my, _: AccessTokenStore(my.client).write(TOKEN, b"sealed", 60),
    "tokens.drop": lambda my, _: AccessTokenStore(my.client).drop(TOKEN, b"other"),
    "tokens.lock_fetch": lambda my, _: AccessTokenStore(my.client).lock_fetch(TOKEN, "w1", 1),
    "tokens.unlock_fetch": lambda my, _: AccessTokenStore(my.client).unlock_fetch(TOKEN, "w1"),
    "trail.end": lambda my, _: Trail(my.client).end(9),
    "trail.confirmed_end": lambda my, _: Trail(my.client).confirmed_end(9),
    "trail.server": lambda my, _: Trail(my.client).server(),
    "trail.beginning": lambda my, _: Trail(my.client).beginning(),
    "trail.blocks": lambda my, _: list(Trail(my.client).blocks()),
    "trail.newest_first": lambda my, _: list(Trail(my.client).newest_first()),
    "trail.after": lambda my, _: Trail(my.client).after(0),
    "trail.archived": lambda my, _: Trail(my.client).archived(1, 9),
    "trail.take_lock": lambda my, _: Trail(my.client).take_lock("w1"),
    "workers.alive": lambda my, _: my.workers.alive(),
    "workers.beat": lambda my, _: my.workers.beat("w1", ["bulk"]),
}


class Unanswered(redis.UnixDomainSocketConnection):
    """A connection to a real server that is lost after one of the requests."""

    left = -1  # requests before the one that gets no answer; fewer than none: that is over, or none is to
    _is_greeting = False

    def on_connect_check_health(self, check_health=True):
        self._is_greeting = True
        super().on_connect_check_health(check_health)
        self._is_greeting = False

    def send_packed_command(self, command, check_health=True):
        super().send_packed_command(command, check_health)
        if self._is_greeting:
            return
        Unanswered.left -= 1
        if Unanswered.left == -1:
            raise redis.TimeoutError("lost")


def client_of(url):
    return redis.Redis.from_url(url, connection_class=Unanswered, retry=Retry(NoBackoff(), 0))


@pytest.fixture(scope="module")
def told(valkey_server):
    """A relay in which everything has happened, with much that is kept, and the id of a call."""
    with valkey_server.client() as client:
        client.flushall()
        client.function_flush()
    story = Story(valkey_server.url)
    story.fill()
    story.store.sweep(limit=1_000)
    yield story.environ, story.ledger.accepted()
    story.close()


@pytest.mark.parametrize("name", CALLS)
def test_whichever_command_gets_no_answer_the_store_is_unavailable(told, name):
    environ, ref = told
    for number in count():
        runtime = cli_runtime(Settings.from_environ(environ))
        runtime.client = client_of(environ["RELAY_REDIS_URL"])
        Unanswered.left = number
        with suppress(Unavailable):
            CALLS[name](runtime, ref)
        has_failed, Unanswered.left = Unanswered.left < 0, -1
        runtime.close()
        if not has_failed:
            break
    assert number


OTHER = json.dumps([{"id": "other", "url": "https://hook.example.com/other", "method": "POST"}])
#: What people do and a script confirms, given the runtime and the id of a key.
ACTS = {
    "api_keys.create": lambda my, _: my.api_keys.create(PLUGIN, ["trigger"]),
    "api_keys.rotate": lambda my, key_id: my.api_keys.rotate(key_id, 60),
    "api_keys.revoke": lambda my, key_id: my.api_keys.revoke(key_id),
    "policies.pause": lambda my, _: my.policies.pause(PLUGIN, "slow"),
    "policies.resume": lambda my, _: list(my.policies.resume(PLUGIN, "slow")),
    "registry.apply": lambda my, _: my.registry.apply(*read_registrations(OTHER, my.rules, plugin=PLUGIN)),
    "registry.remove": lambda my, _: my.registry.remove(PLUGIN, "other"),
    "secrets.set": lambda my, _: my.registry.secrets.set(PLUGIN, "NEW", "new-value"),
    "secrets.remove": lambda my, _: my.registry.secrets.remove(PLUGIN, "NEW"),
}
CONFIRMING = {each.name for each in library().functions.values() if each.kind is Kind.CONFIRMS}


class AwayOnceGiven(redis.UnixDomainSocketConnection):
    """A connection to a server that takes nothing after something that it confirms."""

    is_given = False

    def send_packed_command(self, command, check_health=True):
        if AwayOnceGiven.is_given:
            raise redis.ConnectionError("away")
        super().send_packed_command(command, check_health)

    def send_command(self, *command, **options):
        super().send_command(*command, **options)
        AwayOnceGiven.is_given = command[0] == "FCALL" and command[1] in CONFIRMING


@pytest.mark.parametrize("name", ACTS)
def test_an_act_that_is_confirmed_needs_nothing_more_from_the_store(told, monkeypatch, name):
    environ, _ = told
    with closing(cli_runtime(Settings.from_environ(environ))) as runtime:
        _, key = runtime.api_keys.create(PLUGIN, ["trigger"])
    with closing(cli_runtime(Settings.from_environ(environ))) as runtime:
        runtime.client = redis.Redis.from_url(environ["RELAY_REDIS_URL"], connection_class=AwayOnceGiven)
        monkeypatch.setattr(AwayOnceGiven, "is_given", False)
        ACTS[name](runtime, key.id)
        assert AwayOnceGiven.is_given
